//! The device: adapter, limits, and a compute pipeline for each stage of each kernel in use.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use linearium::recording::{Crossover, Kernel};

use crate::faults::{Faults, first_error, scoped, sentence};

/// Bytes of a kernel's parameters.
pub(crate) const PARAMS_BYTES: u64 = 64;

/// A GPU with the pipelines made so far. Clones share the device.
#[derive(Clone)]
pub struct Gpu {
    pub(crate) shared: Rc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) faults: Faults,
    info: wgpu::AdapterInfo,
    pub(crate) crossover: Cell<Crossover>,
    /// By number of buffers that are read and written.
    layouts: RefCell<HashMap<(usize, usize), wgpu::BindGroupLayout>>,
    /// By address of the kernel, which is a static; one pipeline a stage.
    pipelines: RefCell<HashMap<usize, Result<Pipelines, String>>>,
}

pub(crate) type Pipelines = Rc<[wgpu::ComputePipeline]>;

impl Gpu {
    /// Asks for an adapter and a device with the default WebGPU limits, larger only in the size of
    /// buffers where the adapter allows it.
    ///
    /// Natively the environment variable `LINEARIUM_ADAPTER` chooses the adapter by a part of its
    /// name; otherwise a discrete GPU goes before an integrated one and that before a processor.
    ///
    /// # Errors
    /// If there is no adapter, none of that name, or it gives no device.
    pub async fn new() -> Result<Gpu, String> {
        Gpu::with_features(wgpu::Features::empty()).await
    }

    /// The same with those of the `features` that the adapter has, for measurements.
    pub async fn with_features(features: wgpu::Features) -> Result<Gpu, String> {
        let adapter = adapter().await?;
        let info = adapter.get_info();
        let allowed = adapter.limits();
        let mut limits = wgpu::Limits::default();
        limits.max_storage_buffer_binding_size = limits
            .max_storage_buffer_binding_size
            .max(allowed.max_storage_buffer_binding_size);
        limits.max_buffer_size = limits.max_buffer_size.max(allowed.max_buffer_size);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("linearium"),
                required_features: features & adapter.features(),
                required_limits: limits,
                ..Default::default()
            })
            .await
            .map_err(|e| {
                let name = adapter_name(&info);
                format!("The GPU {name} gives no device ({e}); go on on the CPU.")
            })?;
        let faults = Faults::default();
        faults.listen(&device);
        Ok(Gpu {
            shared: Rc::new(Shared {
                device,
                queue,
                faults,
                info,
                crossover: Cell::default(),
                layouts: RefCell::default(),
                pipelines: RefCell::default(),
            }),
        })
    }

    /// Name of the adapter, for people.
    pub fn adapter(&self) -> String {
        adapter_name(&self.shared.info)
    }

    /// Whether the adapter is a processor that plays a GPU: right, but slower than the CPU player.
    pub fn is_software(&self) -> bool {
        self.shared.info.device_type == wgpu::DeviceType::Cpu
    }

    /// The device, for measurements.
    pub fn device(&self) -> &wgpu::Device {
        &self.shared.device
    }

    /// The queue, for measurements.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.shared.queue
    }

    /// Whether the device is gone. Its buffers are gone with it.
    pub fn is_lost(&self) -> bool {
        self.shared.look();
        self.shared.faults.is_lost()
    }

    /// Gives the device up, as a driver does that is reset: a hook for tests of what follows.
    pub fn lose(&self) {
        self.shared.device.destroy();
        // The callback says so too, but only when the work on the way is done.
        self.shared.faults.lose("it was given up");
    }

    /// Makes the pipelines of these kernels, so that playing them starts at once.
    ///
    /// # Errors
    /// If a shader or a pipeline is refused, or the device is lost.
    pub async fn prepare(&self, kernels: &[&'static Kernel]) -> Result<(), String> {
        for kernel in kernels {
            self.shared.usable()?;
            if let Some(made) = self.shared.pipelines.borrow().get(&address(kernel)) {
                made.as_ref().map_err(String::clone)?;
                continue;
            }
            let (pipelines, pending) = self.shared.make_pipelines(kernel);
            let made = match first_error(pending).await {
                Some(error) => Err(refused(kernel, &error)),
                None => Ok(pipelines),
            };
            self.shared.usable()?;
            self.shared
                .pipelines
                .borrow_mut()
                .insert(address(kernel), made.clone());
            made?;
        }
        Ok(())
    }
}

impl Shared {
    /// Lets callbacks run that are due. On the web they run by themselves.
    fn look(&self) {
        // A failure here is the loss that the callback reports.
        let _ = self.device.poll(wgpu::PollType::Poll);
    }

    /// Whether the device can be used.
    pub(crate) fn usable(&self) -> Result<(), String> {
        self.look();
        self.faults.check()
    }

    /// The pipelines of a kernel, if [`Gpu::prepare`] has made them.
    pub(crate) fn pipelines(&self, kernel: &'static Kernel) -> Option<Result<Pipelines, String>> {
        self.pipelines.borrow().get(&address(kernel)).cloned()
    }

    /// Makes the pipelines of a kernel at once; what is wrong with them comes out of the futures.
    pub(crate) fn make_pipelines(
        &self,
        kernel: &'static Kernel,
    ) -> (Pipelines, [crate::faults::Pending; 3]) {
        let group = self.layout(kernel.reads, kernel.writes);
        scoped(&self.device, || {
            let module = self
                .device
                .create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some(kernel.name),
                    source: wgpu::ShaderSource::Wgsl(kernel.wgsl.into()),
                });
            let layout = self
                .device
                .create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: Some(kernel.name),
                    bind_group_layouts: &[Some(&group)],
                    immediate_size: 0,
                });
            let stage = |entry: &'static str| {
                self.device
                    .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                        label: Some(entry),
                        layout: Some(&layout),
                        module: &module,
                        entry_point: Some(entry),
                        compilation_options: wgpu::PipelineCompilationOptions::default(),
                        cache: None,
                    })
            };
            kernel.stages.iter().map(|s| stage(s.entry)).collect()
        })
    }

    /// Keeps pipelines that were made while playing.
    pub(crate) fn keep_pipelines(&self, kernel: &'static Kernel, pipelines: Pipelines) {
        self.pipelines
            .borrow_mut()
            .insert(address(kernel), Ok(pipelines));
    }

    /// Binding 0 is the uniform with the parameters, then come the buffers that are read, then
    /// those that are written.
    pub(crate) fn layout(&self, reads: usize, writes: usize) -> wgpu::BindGroupLayout {
        let storage = |i: usize| wgpu::BindGroupLayoutEntry {
            binding: i as u32 + 1,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Storage {
                    read_only: i < reads,
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        };
        let params = wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: wgpu::BufferSize::new(PARAMS_BYTES),
            },
            count: None,
        };
        self.layouts
            .borrow_mut()
            .entry((reads, writes))
            .or_insert_with(|| {
                let mut entries = vec![params];
                entries.extend((0..reads + writes).map(storage));
                self.device
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
                        label: Some("kernel"),
                        entries: &entries,
                    })
            })
            .clone()
    }
}

impl Drop for Shared {
    /// Gives the device back at once, not when a browser collects it.
    fn drop(&mut self) {
        self.device.destroy();
    }
}

/// Kernels are statics: an address is a kernel.
fn address(kernel: &'static Kernel) -> usize {
    std::ptr::from_ref(kernel).addr()
}

/// The sentence for a kernel that the GPU does not take.
pub(crate) fn refused(kernel: &Kernel, error: &wgpu::Error) -> String {
    format!(
        "The GPU refuses the kernel {}: {}",
        kernel.name,
        sentence(error)
    )
}

fn adapter_name(info: &wgpu::AdapterInfo) -> String {
    // A browser may keep the name to itself.
    match info.device_type {
        _ if !info.name.is_empty() => info.name.clone(),
        wgpu::DeviceType::Cpu => "software".to_owned(),
        _ => "unnamed".to_owned(),
    }
}

#[cfg(not(target_arch = "wasm32"))]
async fn adapter() -> Result<wgpu::Adapter, String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        flags: wgpu::InstanceFlags::empty(),
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut adapters = instance.enumerate_adapters(wgpu::Backends::VULKAN).await;
    adapters.sort_by_key(|a| match a.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Cpu => 3,
        wgpu::DeviceType::Other => 4,
    });
    let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
    let wanted = std::env::var("LINEARIUM_ADAPTER").unwrap_or_default();
    adapters
        .into_iter()
        .zip(&names)
        .find(|(_, name)| {
            name.to_ascii_lowercase()
                .contains(&wanted.to_ascii_lowercase())
        })
        .map(|(adapter, _)| adapter)
        .ok_or_else(|| {
            if names.is_empty() {
                "There is no Vulkan adapter: install a driver (in software: mesa-vulkan-drivers), \
                 or go on on the CPU."
                    .to_owned()
            } else {
                format!(
                    "No GPU has \"{wanted}\" (LINEARIUM_ADAPTER) in its name; there is {}.",
                    names.join(", ")
                )
            }
        })
}

#[cfg(target_arch = "wasm32")]
async fn adapter() -> Result<wgpu::Adapter, String> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::BROWSER_WEBGPU,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    instance
        .request_adapter(&wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        })
        .await
        .map_err(|_| "This browser has no WebGPU adapter; go on on the CPU.".to_owned())
}
