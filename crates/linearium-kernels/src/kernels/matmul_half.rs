//! Linear layer whose weights are halves (IEEE binary16), two to a word: `matmul` of the same
//! values, in half of the memory. A weight that was stored as a half is one in f32 too, so the two
//! kernels multiply the same numbers.

use fearless_simd::{Level, dispatch};

use super::matmul::{self, Matmul, Rows};
use crate::random::Random;
use crate::recording::{Call, Kernel, Params, Stage};

fn canary(seed: u64) -> Call {
    let mut random = Random::new(seed);
    // More than one tile of the shader in each direction, none of them full.
    let (t, k, n, x_stride, x_offset) = ([70, 1][(seed % 2) as usize], 38, 75, 50, 6);
    let params = Matmul {
        t,
        k,
        n,
        x_stride,
        x_offset,
        has_bias: 1,
        has_residual: 1,
    };
    // Exponents from 2^-8 to 2^-2: a GPU may take a subnormal half for zero.
    let mut half =
        || (random.below(2) << 15 | (7 + random.below(7)) << 10 | random.below(1024)) as u32;
    let w = (0..n * k / 2)
        .map(|_| f32::from_bits(half() | half() << 16))
        .collect();
    Call {
        params: Params::pack(&params),
        reads: vec![
            random.normals((x_offset + t * x_stride) as usize, 1.0),
            w,
            random.normals(n as usize, 0.2),
            random.normals((t * n) as usize, 1.0),
        ],
        writes: vec![vec![f32::NAN; (t * n) as usize]],
    }
}

/// Reads `x [T, K]` (strided), `w [N, K / 2]` (words of two halves, the lower one first; K is
/// even), `bias [N]`, `residual [T, N]`; writes `y [T, N]`. Its parameters are [`Matmul`].
pub static KERNEL: Kernel = Kernel {
    name: "matmul_half",
    reads: 4,
    writes: 1,
    wgsl: include_str!(concat!(env!("OUT_DIR"), "/matmul_half.wgsl")),
    canary,
    stages: &[
        Stage {
            entry: "tiles",
            workgroups: |p| (matmul::KERNEL.stages[0].workgroups)(p),
        },
        Stage {
            entry: "few_rows",
            workgroups: |p| (matmul::KERNEL.stages[1].workgroups)(p),
        },
    ],
    cpu,
}
.of_this_build();

fn cpu(level: Level, params: &Params, reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    dispatch!(level, simd => {
        let (p, [x, w, bias, residual]) = (params.unpack::<Matmul>(), reads) else {
            unreachable!()
        };
        let k = p.k as usize;
        let rows = Halves { w, k, unpacked: vec![0.0; 4 * k] };
        matmul::matmul(simd, &p, rows, [x, bias, residual], writes);
    });
}

/// Rows that are unpacked when they are asked for.
struct Halves<'a> {
    w: &'a [f32],
    k: usize,
    unpacked: Vec<f32>,
}

impl Rows for Halves<'_> {
    #[inline(always)]
    fn four(&mut self, rows: [usize; 4]) -> [&[f32]; 4] {
        let (k, words) = (self.k, self.k / 2);
        for (i, row) in rows.into_iter().enumerate() {
            unpack(
                &self.w[row * words..][..words],
                &mut self.unpacked[i * k..][..k],
            );
        }
        std::array::from_fn(|i| &self.unpacked[i * k..][..k])
    }
}

/// The halves of words, exactly; none may be infinite or NaN. `out` has two values a word.
#[inline(always)]
pub fn unpack(words: &[f32], out: &mut [f32]) {
    for (pair, word) in out.as_chunks_mut::<2>().0.iter_mut().zip(words) {
        let bits = word.to_bits();
        *pair = [from_half(bits & 0xffff), from_half(bits >> 16)];
    }
}

/// IEEE half precision to single precision for finite values, without a branch. Read as the upper
/// bits of an f32 the exponent is too small by 112, the difference of the two biases; the product
/// mends that for subnormal halves too.
#[inline(always)]
fn from_half(half: u32) -> f32 {
    const TWO_TO_112: f32 = f32::from_bits((112 + 127) << 23);
    let magnitude = f32::from_bits((half & 0x7fff) << 13) * TWO_TO_112;
    f32::from_bits(magnitude.to_bits() | (half & 0x8000) << 16)
}
