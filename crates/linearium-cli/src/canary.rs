//! `linearium canary`.

use linearium_gpu::{Gpu, TOLERANCE};
use pollster::block_on;

use crate::arguments::{Arguments, Flag};
use crate::{Failure, Outcome, say};

pub fn flags() -> Vec<Flag> {
    Vec::new()
}

pub fn run(_: &Arguments) -> Outcome {
    let report = block_on(async { Gpu::new().await?.self_check().await })?;
    say(&format!(
        "{}: RMS difference to the CPU over RMS value, at most {TOLERANCE:.0e}",
        report.adapter
    ))?;
    for row in &report.rows {
        let verdict = if row.ok { "ok" } else { "WRONG" };
        say(&format!(
            "  {:<20} {:.1e}  {verdict}",
            row.kernel, row.rms_ratio
        ))?;
    }
    match report.ok {
        true => Ok(()),
        false => Err(Failure::Other(format!(
            "the GPU {} computes some kernels wrongly: use --backend cpu",
            report.adapter
        ))),
    }
}
