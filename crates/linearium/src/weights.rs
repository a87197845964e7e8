//! The values of a weight tensor.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// Values of a weight tensor, row-major; clones share them.
///
/// A large matrix of a checkpoint in f16 is kept as it was stored, two halves to a word: players
/// take it so. Whoever looks at its values (a definition in f64, a probe) has them unpacked then,
/// and they stay.
#[derive(Clone)]
pub struct Weights(Arc<Stored>);

struct Stored {
    len: usize,
    #[cfg(feature = "zoo")]
    halves: Option<Arc<[f32]>>,
    values: OnceLock<Arc<[f32]>>,
}

impl Weights {
    /// Number of values. Unlike that of the slice this unpacks nothing.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// The values in f32.
    pub fn values(&self) -> &Arc<[f32]> {
        self.0.values.get_or_init(|| self.unpack())
    }

    #[cfg(not(feature = "zoo"))]
    fn unpack(&self) -> Arc<[f32]> {
        Arc::from([])
    }

    #[cfg(feature = "zoo")]
    fn unpack(&self) -> Arc<[f32]> {
        let words = self.0.halves.as_deref().unwrap_or_default();
        let mut values = vec![0.0; 2 * words.len()];
        crate::kernels::matmul_half::unpack(words, &mut values);
        values.into()
    }

    /// From words of two finite halves, the lower one first (`kernels/matmul_half.rs`).
    #[cfg(feature = "zoo")]
    pub fn of_halves(words: Arc<[f32]>) -> Weights {
        Weights(Arc::new(Stored {
            len: 2 * words.len(),
            halves: Some(words),
            values: OnceLock::new(),
        }))
    }

    /// The words of two halves, if it is kept so.
    #[cfg(feature = "zoo")]
    pub fn halves(&self) -> Option<&Arc<[f32]>> {
        self.0.halves.as_ref()
    }

    /// The same values, not packed.
    #[cfg(feature = "zoo")]
    pub fn unpacked(&self) -> Weights {
        self.values().clone().into()
    }
}

impl Weights {
    /// Matrices of the same width, one below the other; packed if all of them are.
    pub fn stacked(parts: &[Weights]) -> Weights {
        #[cfg(feature = "zoo")]
        if let Some(halves) = parts
            .iter()
            .map(Weights::halves)
            .collect::<Option<Vec<_>>>()
        {
            let words: Vec<f32> = halves.iter().flat_map(|h| h.iter().copied()).collect();
            return Weights::of_halves(words.into());
        }
        let values: Vec<f32> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        values.into()
    }
}

impl From<Arc<[f32]>> for Weights {
    fn from(values: Arc<[f32]>) -> Weights {
        Weights(Arc::new(Stored {
            len: values.len(),
            #[cfg(feature = "zoo")]
            halves: None,
            values: values.into(),
        }))
    }
}

impl From<Vec<f32>> for Weights {
    fn from(values: Vec<f32>) -> Weights {
        Arc::<[f32]>::from(values).into()
    }
}

impl From<&[f32]> for Weights {
    fn from(values: &[f32]) -> Weights {
        Arc::<[f32]>::from(values).into()
    }
}

impl Default for Weights {
    fn default() -> Weights {
        Vec::new().into()
    }
}

impl FromIterator<f32> for Weights {
    fn from_iter<I: IntoIterator<Item = f32>>(values: I) -> Weights {
        Arc::<[f32]>::from_iter(values).into()
    }
}

impl Deref for Weights {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        self.values()
    }
}

impl PartialEq for Weights {
    fn eq(&self, other: &Weights) -> bool {
        self[..] == other[..]
    }
}

impl fmt::Debug for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}
