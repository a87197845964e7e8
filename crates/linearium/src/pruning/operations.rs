//! How much arithmetic a recording is: multiply-adds of matrices, convolutions, scans and attention.
//! What is done once for each value (norms, gates, copies of rows) is not counted.

use crate::kernels::causal_conv::CausalConv;
use crate::kernels::matmul::Matmul;
use crate::kernels::routed_conv::RoutedConv;
use crate::kernels::scan_complex::ScanComplex;
use crate::kernels::scan_delta::ScanDelta;
use crate::kernels::scan_elementwise::ScanElementwise;
use crate::kernels::scan_outer::ScanOuter;
use crate::kernels::scan_wkv::ScanWkv;
use crate::kernels::score_attention::ScoreAttention;
use crate::kernels::softmax_attention::SoftmaxAttention;
use crate::recording::{Pass, Recording};

/// Multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Operations {
    /// Of scans and attention: what goes from token to token.
    pub scan: u64,
    /// Of all passes.
    pub all: u64,
}

impl Operations {
    /// Those of a recording.
    pub fn of(recording: &Recording) -> Operations {
        let mut out = Operations::default();
        for pass in &recording.passes {
            let count = multiply_adds(pass);
            out.all += count;
            out.scan += if is_scan(pass) { count } else { 0 };
        }
        out
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Operations) -> Operations {
        Operations {
            scan: self.scan + other.scan,
            all: self.all + other.all,
        }
    }
}

/// True for a pass that goes from token to token: a scan, or attention.
pub fn is_scan(pass: &Pass) -> bool {
    let name = pass.kernel.name;
    name.starts_with("scan_") || name.ends_with("_attention")
}

/// True for a scan, and for what dropped tokens make necessary beside it: rows that are taken, and
/// sums and held inputs over gaps.
pub fn belongs_to_scan(pass: &Pass) -> bool {
    is_scan(pass) || ["reorder", "gap_sum", "hold_input"].contains(&pass.kernel.name)
}

/// Keys that `t` queries behind so many tokens see, of at most `window` each (0 for all).
fn seen(position: u64, t: u64, window: u64) -> u64 {
    (position + 1..=position + t)
        .map(|keys| if window == 0 { keys } else { keys.min(window) })
        .sum()
}

fn multiply_adds(pass: &Pass) -> u64 {
    let product = |factors: &[u32]| factors.iter().map(|f| u64::from(*f)).product();
    let params = &pass.params;
    match pass.kernel.name {
        "matmul" | "matmul_half" => {
            let p: Matmul = params.unpack();
            product(&[p.t, p.k, p.n])
        }
        "causal_conv" => {
            let p: CausalConv = params.unpack();
            product(&[p.t, p.channels, p.width])
        }
        "routed_conv" => {
            let p: RoutedConv = params.unpack();
            product(&[p.t, p.memories, p.channels, p.width])
        }
        // Decay, write and read of every value of the state.
        "scan_outer" => {
            let p: ScanOuter = params.unpack();
            product(&[3, p.t, p.heads, p.key, p.value])
        }
        "scan_elementwise" => {
            let p: ScanElementwise = params.unpack();
            product(&[3, p.t, p.channels, p.states])
        }
        // What is erased is recalled and written back beside it.
        "scan_delta" => {
            let p: ScanDelta = params.unpack();
            product(&[5, p.t, p.heads, p.key, p.value])
        }
        // Complex products are of four; so is each coupling's.
        "scan_complex" => {
            let p: ScanComplex = params.unpack();
            product(&[8 + 4 * p.rank, p.t, p.channels, p.states])
        }
        "scan_wkv" => {
            let p: ScanWkv = params.unpack();
            product(&[6, p.t, p.channels])
        }
        "softmax_attention" => {
            let p: SoftmaxAttention = params.unpack();
            let keys = seen(p.position.into(), p.t.into(), p.window.into());
            keys * product(&[2, p.heads, p.key])
        }
        "score_attention" => {
            let p: ScoreAttention = params.unpack();
            let keys = seen(p.position.into(), p.t.into(), p.window.into());
            keys * product(&[p.heads, p.key + p.value])
        }
        _ => 0,
    }
}
