//! The player: buffers of a layout on the device, recordings as one command buffer each.

use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use linearium::player::Player;
use linearium::recording::{BufferId, Layout, Pass, Recording, Role};

use crate::Gpu;
use crate::device::{PARAMS_BYTES, Pipelines, Shared, refused};
use crate::faults::{Pending, first_error, known_errors, scoped, sentence};

/// Bytes from one pass's parameters to the next: what WebGPU guarantees as an offset.
const PARAMS_STRIDE: u64 = 256;
/// Passes that the first buffer of parameters has room for.
const FIRST_PASSES: u64 = 1024;
/// Elements that are uploaded in one piece, so that the copy on the way stays small.
const PIECE: usize = 1 << 22;
/// Workgroups that WebGPU guarantees in a dimension.
const MAX_WORKGROUPS: u32 = 65_535;
const F32: u64 = size_of::<f32>() as u64;

/// Plays recordings on a [`Gpu`].
pub struct GpuPlayer {
    shared: Rc<Shared>,
    backend: String,
    buffers: Vec<Slot>,
    params: wgpu::Buffer,
    /// What `params` holds, so that a recording that is played again uploads nothing.
    uploaded: Vec<u32>,
    bind_groups: HashMap<BindGroupKey, wgpu::BindGroup>,
    /// Errors of what was played and is not yet known to be right.
    pending: Vec<Pending>,
}

/// A buffer of the layout.
struct Slot {
    name: String,
    len: usize,
    role: Role,
    gpu: wgpu::Buffer,
}

/// Number of buffers that are only read, and all buffers.
type BindGroupKey = (usize, Vec<BufferId>);

impl GpuPlayer {
    /// Makes the buffers of `layout`.
    ///
    /// # Errors
    /// If a buffer is larger than the device's limits, memory is short, or the device is lost.
    pub async fn new(gpu: &Gpu, layout: &Layout) -> Result<GpuPlayer, String> {
        let shared = gpu.shared.clone();
        shared.usable()?;
        let limits = shared.device.limits();
        let most = limits
            .max_storage_buffer_binding_size
            .min(limits.max_buffer_size);
        for info in &layout.buffers {
            let bytes = info.len as u64 * F32;
            if bytes > most {
                let instead = match info.role {
                    Role::Weight => "use a model with its weights in f16",
                    _ => "use a shorter context",
                };
                return Err(format!(
                    "The buffer {} needs {bytes} bytes, and this GPU allows {most} in one; \
                     {instead} or go on on the CPU.",
                    info.name
                ));
            }
        }
        let make = || {
            let slots: Vec<Slot> = layout
                .buffers
                .iter()
                .map(|info| Slot {
                    name: info.name.clone(),
                    len: info.len,
                    role: info.role,
                    gpu: shared.device.create_buffer(&wgpu::BufferDescriptor {
                        label: Some(&info.name),
                        size: info.len as u64 * F32,
                        usage: wgpu::BufferUsages::STORAGE
                            | wgpu::BufferUsages::COPY_SRC
                            | wgpu::BufferUsages::COPY_DST,
                        mapped_at_creation: false,
                    }),
                })
                .collect();
            let params = shared.params_buffer(FIRST_PASSES);
            (slots, params)
        };
        let ((buffers, params), pending) = scoped(&shared.device, make);
        if let Some(error) = first_error(pending).await {
            let bytes: u64 = layout.buffers.iter().map(|b| b.len as u64 * F32).sum();
            return Err(format!(
                "The GPU has no room for {bytes} bytes of buffers ({}); use a shorter context or \
                 go on on the CPU.",
                sentence(&error)
            ));
        }
        let player = GpuPlayer {
            backend: format!("gpu ({})", gpu.adapter()),
            buffers,
            params,
            uploaded: Vec::new(),
            bind_groups: HashMap::new(),
            pending: Vec::new(),
            shared,
        };
        let ((), pending) = scoped(&player.shared.device, || player.fill(layout));
        if let Some(error) = first_error(pending).await {
            return Err(format!(
                "The weights did not reach the GPU: {}",
                sentence(&error)
            ));
        }
        player.shared.usable()?;
        Ok(player)
    }

    /// Weights get their content and scratch NaN; new buffers are zero by themselves.
    fn fill(&self, layout: &Layout) {
        let queue = &self.shared.queue;
        let is_scratch = |slot: &&Slot| matches!(slot.role, Role::Scratch | Role::Workspace);
        let longest = self.buffers.iter().filter(is_scratch).map(|s| s.len).max();
        let nan_len = longest.unwrap_or(0).min(PIECE);
        let nan = self.shared.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("NaN"),
            size: nan_len.max(1) as u64 * F32,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        queue.write_buffer(&nan, 0, bytemuck::cast_slice(&vec![f32::NAN; nan_len]));
        let mut encoder = self
            .shared
            .device
            .create_command_encoder(&Default::default());
        for (slot, info) in self.buffers.iter().zip(&layout.buffers) {
            if let Some(data) = &info.data {
                self.upload(slot, 0, data);
            } else if is_scratch(&slot) {
                for start in (0..slot.len).step_by(PIECE) {
                    let len = (slot.len - start).min(PIECE) as u64 * F32;
                    encoder.copy_buffer_to_buffer(&nan, 0, &slot.gpu, start as u64 * F32, len);
                }
            }
        }
        queue.submit([encoder.finish()]);
        nan.destroy();
    }

    fn upload(&self, slot: &Slot, start: usize, data: &[f32]) {
        for (i, piece) in data.chunks(PIECE).enumerate() {
            let offset = (start + i * PIECE) as u64 * F32;
            let bytes = bytemuck::cast_slice(piece);
            self.shared.queue.write_buffer(&slot.gpu, offset, bytes);
            if piece.len() == PIECE {
                // Starts the transfer, so that the next piece does not pile up on it.
                self.shared.queue.submit([]);
            }
        }
    }

    /// The slot of a buffer, with room for these elements.
    fn slot(&self, buffer: BufferId, range: &Range<usize>) -> Result<&Slot, String> {
        let slot = self
            .buffers
            .get(buffer.0 as usize)
            .ok_or_else(|| format!("There is no buffer {} on the GPU.", buffer.0))?;
        if range.start > range.end || range.end > slot.len {
            return Err(format!(
                "Elements {} to {} of the buffer {} were asked for, which has {}.",
                range.start, range.end, slot.name, slot.len
            ));
        }
        Ok(slot)
    }

    /// Whether everything so far is right, as far as is known by now.
    fn usable(&mut self) -> Result<(), String> {
        if let Some(error) = known_errors(&mut self.pending) {
            self.shared.faults.report(&sentence(&error));
        }
        self.shared.usable()
    }

    /// Pipelines from the cache, else made now; then their errors come out with the next reading.
    fn pipelines(&mut self, pass: &Pass) -> Result<Pipelines, String> {
        if let Some(made) = self.shared.pipelines(pass.kernel) {
            return made;
        }
        let (pipelines, pending) = self.shared.make_pipelines(pass.kernel);
        let mut pending = Vec::from(pending);
        // Natively they are known at once.
        if let Some(error) = known_errors(&mut pending) {
            return Err(refused(pass.kernel, &error));
        }
        self.pending.extend(pending);
        self.shared.keep_pipelines(pass.kernel, pipelines.clone());
        Ok(pipelines)
    }

    fn bind_group(&mut self, pass: &Pass) -> Result<wgpu::BindGroup, String> {
        let key = (pass.kernel.reads, pass.bindings.clone());
        if let Some(group) = self.bind_groups.get(&key) {
            return Ok(group.clone());
        }
        let mut entries = vec![wgpu::BindGroupEntry {
            binding: 0,
            resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                buffer: &self.params,
                offset: 0,
                size: wgpu::BufferSize::new(PARAMS_BYTES),
            }),
        }];
        for (i, &buffer) in pass.bindings.iter().enumerate() {
            entries.push(wgpu::BindGroupEntry {
                binding: i as u32 + 1,
                resource: self.slot(buffer, &(0..0))?.gpu.as_entire_binding(),
            });
        }
        let layout = self.shared.layout(pass.kernel.reads, pass.kernel.writes);
        let group = self
            .shared
            .device
            .create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(pass.kernel.name),
                layout: &layout,
                entries: &entries,
            });
        self.bind_groups.insert(key, group.clone());
        Ok(group)
    }

    /// Uploads the parameters of all passes, in a larger buffer if they need one.
    fn upload_params(&mut self, recording: &Recording) {
        let passes = recording.passes.len() as u64;
        if passes * PARAMS_STRIDE > self.params.size() {
            self.params.destroy();
            self.params = self.shared.params_buffer(passes.next_power_of_two());
            self.uploaded.clear();
            self.bind_groups.clear();
        }
        let words = PARAMS_STRIDE as usize / size_of::<u32>();
        let mut data = vec![0u32; recording.passes.len() * words];
        for (to, pass) in data.chunks_exact_mut(words).zip(&recording.passes) {
            to[..pass.params.0.len()].copy_from_slice(&pass.params.0);
        }
        if !self.uploaded.starts_with(&data) {
            let bytes = bytemuck::cast_slice(&data);
            self.shared.queue.write_buffer(&self.params, 0, bytes);
            self.uploaded = data;
        }
    }

    /// One dispatch for each stage that has work, with the time at the start and at the end.
    fn encode(
        &mut self,
        recording: &Recording,
        times: Option<&Times>,
    ) -> Result<wgpu::CommandBuffer, String> {
        let mut encoder = self
            .shared
            .device
            .create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes: times.map(|times| wgpu::ComputePassTimestampWrites {
                    query_set: &times.queries,
                    beginning_of_pass_write_index: Some(0),
                    end_of_pass_write_index: Some(1),
                }),
            });
            for (i, p) in recording.passes.iter().enumerate() {
                let pipelines = self.pipelines(p)?;
                let params = p.params.on(self.shared.crossover.get());
                let group = self.bind_group(p)?;
                pass.set_bind_group(0, &group, &[(i as u64 * PARAMS_STRIDE) as u32]);
                for (stage, pipeline) in p.kernel.stages.iter().zip(pipelines.iter()) {
                    let count = (stage.workgroups)(&params);
                    if count.contains(&0) {
                        continue;
                    }
                    if count.iter().any(|&n| n > MAX_WORKGROUPS) {
                        return Err(format!(
                            "The stage {} of the kernel {} needs {count:?} workgroups, and WebGPU \
                             allows {MAX_WORKGROUPS} in a dimension; use shorter segments.",
                            stage.entry, p.kernel.name
                        ));
                    }
                    pass.set_pipeline(pipeline);
                    pass.dispatch_workgroups(count[0], count[1], count[2]);
                }
            }
        }
        if let Some(times) = times {
            encoder.resolve_query_set(&times.queries, 0..2, &times.resolved, 0);
            encoder.copy_buffer_to_buffer(&times.resolved, 0, &times.staging, 0, TIMES_BYTES);
        }
        Ok(encoder.finish())
    }

    fn submit(&mut self, recording: &Recording, times: Option<&Times>) -> Result<(), String> {
        self.upload_params(recording);
        let commands = self.encode(recording, times)?;
        self.shared.queue.submit([commands]);
        Ok(())
    }

    /// Plays a recording and gives the seconds that the GPU took for it, by its own clock; `None`
    /// if the device was made without [`wgpu::Features::TIMESTAMP_QUERY`].
    ///
    /// # Errors
    /// As [`Player::play`] and [`Player::read`].
    pub async fn time(&mut self, recording: &Recording) -> Result<Option<f64>, String> {
        self.usable()?;
        let device = self.shared.device.clone();
        if !device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Ok(None);
        }
        let (times, pending) = scoped(&device, || {
            let times = Times::new(&device);
            self.submit(recording, Some(&times)).map(|()| times)
        });
        self.pending.extend(pending);
        let times = times?;
        self.usable()?;
        map(&self.shared, &times.staging).await?;
        let view = times.staging.get_mapped_range(..).map_err(|e| {
            format!("The times that the GPU took could not be read ({e}); start again.")
        })?;
        let mut ticks = [0u64; 2];
        bytemuck::cast_slice_mut(&mut ticks).copy_from_slice(&view);
        let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64
            * f64::from(self.shared.queue.get_timestamp_period());
        Ok(Some(nanoseconds * 1e-9))
    }
}

/// Two times of the GPU's clock.
const TIMES_BYTES: u64 = 16;

/// Where the start and the end of a recording are noted.
struct Times {
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    staging: wgpu::Buffer,
}

impl Times {
    fn new(device: &wgpu::Device) -> Times {
        let buffer = |usage| {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("times"),
                size: TIMES_BYTES,
                usage,
                mapped_at_creation: false,
            })
        };
        Times {
            queries: device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("times"),
                ty: wgpu::QueryType::Timestamp,
                count: 2,
            }),
            resolved: buffer(wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            staging: buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST),
        }
    }
}

impl Drop for GpuPlayer {
    /// Gives the memory back at once: a browser would wait for its collector, which sees only
    /// small objects.
    fn drop(&mut self) {
        for slot in &self.buffers {
            slot.gpu.destroy();
        }
        self.params.destroy();
    }
}

impl Player for GpuPlayer {
    fn backend(&self) -> String {
        self.backend.clone()
    }

    fn segment_tokens(&self) -> usize {
        512
    }

    fn write(&mut self, buffer: BufferId, start: usize, data: &[f32]) -> Result<(), String> {
        self.usable()?;
        let slot = self.slot(buffer, &(start..start + data.len()))?;
        self.upload(slot, start, data);
        self.shared.faults.check()
    }

    fn reset(&mut self) -> Result<(), String> {
        self.usable()?;
        let mut encoder = self
            .shared
            .device
            .create_command_encoder(&Default::default());
        for slot in self.buffers.iter().filter(|s| s.role == Role::State) {
            encoder.clear_buffer(&slot.gpu, 0, None);
        }
        self.shared.queue.submit([encoder.finish()]);
        self.shared.faults.check()
    }

    fn play(&mut self, recording: &Recording) -> Result<(), String> {
        self.usable()?;
        if recording.passes.is_empty() {
            return Ok(());
        }
        let device = self.shared.device.clone();
        let (played, pending) = scoped(&device, || self.submit(recording, None));
        self.pending.extend(pending);
        played?;
        self.usable()
    }

    async fn read(&mut self, parts: &[(BufferId, Range<usize>)]) -> Result<Vec<Vec<f32>>, String> {
        self.usable()?;
        let mut total = 0;
        for (buffer, range) in parts {
            self.slot(*buffer, range)?;
            total += range.len();
        }
        let bytes = total as u64 * F32;
        let limit = self.shared.device.limits().max_buffer_size;
        if bytes > limit {
            return Err(format!(
                "{bytes} bytes were asked for in one reading, and this GPU allows {limit}; read \
                 in pieces."
            ));
        }
        let mut values = vec![0.0f32; total];
        if total > 0 {
            let staging = self.stage(parts, bytes).await?;
            let view = staging.get_mapped_range(..).map_err(|e| {
                format!("What the GPU computed could not be read ({e}); start again.")
            })?;
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(&view);
            drop(view);
            staging.destroy();
        }
        // Known only now: a fault on the way would have left old values. One by one, so that a
        // reading that is given up in between forgets none.
        while let Some(errors) = self.pending.last_mut() {
            if let Some(error) = errors.await {
                self.shared.faults.report(&sentence(&error));
            }
            self.pending.pop();
        }
        self.shared.usable()?;
        let mut rest = values.as_slice();
        Ok(parts
            .iter()
            .map(|(_, range)| {
                let (part, others) = rest.split_at(range.len());
                rest = others;
                part.to_vec()
            })
            .collect())
    }
}

impl GpuPlayer {
    /// Copies the parts into one buffer and maps it, after all that was played.
    async fn stage(
        &mut self,
        parts: &[(BufferId, Range<usize>)],
        bytes: u64,
    ) -> Result<wgpu::Buffer, String> {
        let shared = self.shared.clone();
        let (staging, pending) = scoped(&shared.device, || {
            let staging = shared.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("reading"),
                size: bytes,
                usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            let mut encoder = shared.device.create_command_encoder(&Default::default());
            let mut offset = 0;
            for (buffer, range) in parts {
                let len = range.len() as u64 * F32;
                let from = &self.buffers[buffer.0 as usize].gpu;
                if len > 0 {
                    let start = range.start as u64 * F32;
                    encoder.copy_buffer_to_buffer(from, start, &staging, offset, len);
                }
                offset += len;
            }
            shared.queue.submit([encoder.finish()]);
            staging
        });
        self.pending.extend(pending);
        self.usable()?;
        map(&shared, &staging).await?;
        Ok(staging)
    }
}

impl Shared {
    /// A buffer with the parameters of so many passes.
    fn params_buffer(&self, passes: u64) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("parameters"),
            size: passes * PARAMS_STRIDE,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }
}

/// What has become of a mapping, and who waits for it.
#[derive(Default)]
struct Mapping {
    done: Option<Result<(), wgpu::BufferAsyncError>>,
    waker: Option<Waker>,
}

/// Waits until the buffer can be read. In the browser the callback wakes the future; natively the
/// device is polled, which blocks.
async fn map(shared: &Shared, buffer: &wgpu::Buffer) -> Result<(), String> {
    let mapping = Arc::new(Mutex::new(Mapping::default()));
    let of_callback = mapping.clone();
    buffer.map_async(wgpu::MapMode::Read, .., move |result| {
        let mut mapping = of_callback.lock().unwrap_or_else(PoisonError::into_inner);
        mapping.done = Some(result);
        if let Some(waker) = mapping.waker.take() {
            waker.wake();
        }
    });
    let result = poll_fn(|context| {
        // Does nothing on the web. A failure is a loss, which the callbacks report.
        let polled = shared.device.poll(wgpu::PollType::wait_indefinitely());
        let mut mapping = mapping.lock().unwrap_or_else(PoisonError::into_inner);
        match (mapping.done.take(), polled) {
            (Some(result), _) => Poll::Ready(result.map_err(|e| e.to_string())),
            (None, Err(e)) => Poll::Ready(Err(e.to_string())),
            (None, Ok(_)) => {
                mapping.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await;
    // The reason of a loss says more than the mapping that it broke off.
    shared.usable()?;
    result.map_err(|e| format!("What the GPU computed could not be read ({e}); start again."))
}
