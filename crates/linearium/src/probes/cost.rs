//! What it costs the model: loss by position, and bytes carried.

/// Mean loss in nats of the positions of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// First position.
    pub from: usize,
    /// Position after the last.
    pub to: usize,
    /// Mean loss of the positions in it, NaN if there is none.
    pub loss: f64,
}

/// Mean loss in octaves of position: 0-64, 64-128, 128-256, ... `losses[t]` is the loss of
/// predicting token t + 1; the loss of the last token of a text is not known, so `losses` has one
/// entry fewer than the text has tokens. The last bucket may be partial.
pub fn octaves(losses: &[f32]) -> Vec<Bucket> {
    let mut out = Vec::new();
    let (mut from, mut to) = (0, 64);
    while from < losses.len() {
        let part = &losses[from..to.min(losses.len())];
        let loss = part.iter().map(|&l| f64::from(l)).sum::<f64>() / part.len() as f64;
        out.push(Bucket {
            from,
            to: from + part.len(),
            loss,
        });
        (from, to) = (to, to * 2);
    }
    out
}

/// Mean loss in `count` equal buckets.
pub fn equal_buckets(losses: &[f32], count: usize) -> Vec<Bucket> {
    let width = losses.len().div_ceil(count.max(1)).max(1);
    losses
        .chunks(width)
        .enumerate()
        .map(|(i, part)| Bucket {
            from: i * width,
            to: i * width + part.len(),
            loss: part.iter().map(|&l| f64::from(l)).sum::<f64>() / part.len() as f64,
        })
        .collect()
}

/// Bytes of a key-value cache in f32 for `t` tokens of a transformer of the same width and depth
/// with full heads: `2 * 4 * layers * D * t`.
pub fn cache_bytes(layers: usize, width: usize, t: usize) -> usize {
    8 * layers * width * t
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octaves_hold_their_positions() {
        let losses: Vec<f32> = (0..300).map(|i| i as f32).collect();
        let got = octaves(&losses);
        let spans: Vec<_> = got.iter().map(|b| (b.from, b.to)).collect();
        assert_eq!(spans, [(0, 64), (64, 128), (128, 256), (256, 300)]);
        assert_eq!(got[1].loss, 95.5);
        assert_eq!(got[3].loss, 277.5);
        assert!(octaves(&[]).is_empty());
    }

    #[test]
    fn equal_buckets_cover_everything_once() {
        let losses = [1.0, 2.0, 3.0, 4.0, 5.0];
        let got = equal_buckets(&losses, 2);
        assert_eq!(
            (got[0].loss, got[1].from, got[1].to, got[1].loss),
            (2.0, 3, 5, 4.5)
        );
        assert!(equal_buckets(&[], 4).is_empty());
    }
}
