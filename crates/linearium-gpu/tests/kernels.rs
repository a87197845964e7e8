//! Every kernel on the GPU against its CPU twin.

use linearium_gpu::{Gpu, TOLERANCE};

fn gpu() -> Gpu {
    pollster::block_on(Gpu::new()).expect("a test machine has a Vulkan adapter")
}

#[test]
fn every_canary_gives_what_the_cpu_gives() {
    let report = pollster::block_on(gpu().self_check()).unwrap();
    for row in &report.rows {
        eprintln!("{:20} {:.2e}", row.kernel, row.rms_ratio);
    }
    assert_eq!(report.rows.len(), linearium::kernels::ALL.len());
    assert!(report.ok, "{report:?}");
    assert!(report.worst <= TOLERANCE);
}
