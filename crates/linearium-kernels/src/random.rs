//! Seeded random numbers (SplitMix64; Steele, Lea, Flood 2014): the same on every machine, for
//! random weights, noise texts, passkeys and tests.

/// A generator.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
    /// Lists are zeros.
    blank: bool,
}

impl Random {
    /// Equal seeds give equal sequences.
    pub fn new(seed: u64) -> Random {
        Random {
            state: seed,
            blank: false,
        }
    }

    /// A generator whose lists are all zeros: for whoever wants to know how many weights there
    /// would be, without the time that drawing them takes.
    pub fn blank() -> Random {
        Random {
            state: 0,
            blank: true,
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.state ^ (self.state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A whole number from 0 to `end - 1`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.uniform() * end as f64) as usize
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.uniform();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `len` normal values with this standard deviation. Never inlined: many canaries call it, and
    /// their code is downloaded.
    #[inline(never)]
    pub fn normals(&mut self, len: usize, deviation: f64) -> Vec<f32> {
        if self.blank {
            return vec![0.0; len];
        }
        (0..len)
            .map(|_| (self.normal() * deviation) as f32)
            .collect()
    }

    /// `len` uniform values in [`low`, `high`). Never inlined, as [`Random::normals`].
    #[inline(never)]
    pub fn uniforms(&mut self, len: usize, low: f64, high: f64) -> Vec<f32> {
        if self.blank {
            return vec![0.0; len];
        }
        (0..len)
            .map(|_| (low + (high - low) * self.uniform()) as f32)
            .collect()
    }
}
