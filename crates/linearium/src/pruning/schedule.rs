//! How many tokens stay, layer by layer.

/// How many of the tokens that are left a layer keeps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keep {
    /// This share of them, rounded up, from 0 to 1.
    Share(f64),
    /// So many, all if there are fewer.
    Count(usize),
    /// This share of the patches beside one class token: rounded up, then up to an odd number, less
    /// one, and the class token (`vim/models_mamba.py` of ToP-ViM). 0.8 takes 197 to 157, 125, 101.
    ClassAndShare(f64),
}

impl Keep {
    /// How many of `alive` tokens are kept.
    ///
    /// # Errors
    /// A sentence if the share is not a number from 0 to 1.
    pub fn count(self, alive: usize) -> Result<usize, String> {
        let part = |share: f64, of: usize| {
            if !(0.0..=1.0).contains(&share) {
                return Err(format!(
                    "a keep ratio of {share} is not a share of the tokens: choose one from 0 to 1"
                ));
            }
            // What a product lies above a whole number by rounding alone does not count.
            Ok((share * of as f64 - 1e-9).ceil().max(0.0) as usize)
        };
        match self {
            Keep::Share(share) => part(share, alive),
            Keep::Count(count) => Ok(count.min(alive)),
            Keep::ClassAndShare(share) => {
                let patches = alive.saturating_sub(1);
                let odd = part(share, patches)? | 1;
                Ok((odd - 1).min(patches) + alive.min(1))
            }
        }
    }
}

/// One pruning: at the input of this layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Layer, from 0.
    pub layer: usize,
    /// How many stay.
    pub keep: Keep,
}

/// Prunings in the order of their layers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule(Vec<Step>);

impl Schedule {
    /// Steps in the order of their layers.
    ///
    /// # Errors
    /// A sentence if a layer comes twice or too early, or is none of `layers`.
    pub fn new(steps: Vec<Step>, layers: usize) -> Result<Schedule, String> {
        if let Some(step) = steps.iter().find(|step| step.layer >= layers) {
            return Err(format!(
                "there is no layer {} to prune at: the model has layers 0 to {}",
                step.layer,
                layers.saturating_sub(1)
            ));
        }
        if let Some(pair) = steps.windows(2).find(|pair| pair[0].layer >= pair[1].layer) {
            return Err(format!(
                "pruning at layer {} cannot follow pruning at layer {}: name each layer once, in order",
                pair[1].layer, pair[0].layer
            ));
        }
        for step in &steps {
            step.keep.count(1)?;
        }
        Ok(Schedule(steps))
    }

    /// ToP-ViM on 24 blocks: the share 0.8 before blocks 5, 10 and 15, counted from 0 (in the released
    /// code: after blocks 5, 10 and 15, counted from 1).
    pub fn top_vim() -> Schedule {
        let keep = Keep::ClassAndShare(0.8);
        Schedule([5, 10, 15].map(|layer| Step { layer, keep }).to_vec())
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The tokens that are left after each step, of so many at first.
    ///
    /// # Errors
    /// As [`Keep::count`].
    pub fn counts(&self, tokens: usize) -> Result<Vec<usize>, String> {
        let mut alive = tokens;
        let counts = self.0.iter().map(|step| {
            alive = step.keep.count(alive)?;
            Ok(alive)
        });
        counts.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_vim_keeps_its_counts() {
        assert_eq!(Schedule::top_vim().counts(197), Ok(vec![157, 125, 101]));
    }

    #[test]
    fn shares_round_up_and_end_at_0_and_1() {
        let count = |share, alive| Keep::Share(share).count(alive);
        assert_eq!(count(0.5, 4096), Ok(2048));
        assert_eq!(count(0.7, 10), Ok(7));
        assert_eq!(count(0.001, 10), Ok(1));
        assert_eq!(count(0.0, 10), Ok(0));
        assert_eq!(count(1.0, 10), Ok(10));
        assert_eq!(count(0.5, 0), Ok(0));
        for share in [1.0001, -0.1, f64::NAN, f64::INFINITY] {
            assert!(count(share, 10).unwrap_err().contains("from 0 to 1"));
        }
        assert_eq!(Keep::Count(12).count(10), Ok(10));
        for alive in 0..300 {
            let class = Keep::ClassAndShare(0.8).count(alive).unwrap();
            assert!(class <= alive && (class >= 1 || alive == 0), "{alive}");
        }
    }

    #[test]
    fn layers_come_once_and_in_order() {
        let step = |layer| Step {
            layer,
            keep: Keep::Share(0.5),
        };
        assert!(Schedule::new(vec![step(0), step(3)], 4).is_ok());
        assert!(Schedule::new(vec![step(3), step(3)], 4).is_err());
        assert!(Schedule::new(vec![step(3), step(1)], 4).is_err());
        let error = Schedule::new(vec![step(4)], 4).unwrap_err();
        assert!(error.contains("layers 0 to 3"), "{error}");
    }
}
