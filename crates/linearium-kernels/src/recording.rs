//! A recording: passes over named buffers, as plain data. It is made once from a definition and
//! played by two players, on the CPU (`player::CpuPlayer`) and on the GPU
//! (`linearium-gpu`), neither of which knows any piece by its name.

use std::sync::Arc;

use bytemuck::Pod;
use fearless_simd::Level;

/// A kernel: one piece of arithmetic, written once for each back end.
///
/// The bindings are the `reads` input buffers, then the `writes` output buffers, in one order for
/// the Rust function, for the shader (`@binding(1)` onwards; `@binding(0)` is the uniform with the
/// parameters) and for [`Pass::bindings`].
pub struct Kernel {
    /// Name of the files `kernels/<name>.rs` and `kernels/<name>.wgsl`.
    pub name: &'static str,
    /// Number of buffers that are only read.
    pub reads: usize,
    /// Number of buffers that are written (and may be read).
    pub writes: usize,
    /// The shader.
    pub wgsl: &'static str,
    /// A small call by which the two back ends are held against each other, at every start and in
    /// the tests. Seeds from 0 upwards vary its flags and its shape.
    pub canary: fn(seed: u64) -> Call,
    /// The entry points of the shader, played in this order with the same bindings.
    pub stages: &'static [Stage],
    /// The CPU twin.
    pub cpu: Cpu,
}

impl Kernel {
    /// Without the feature `gpu` a kernel has nothing that only a GPU needs, so that the engine of
    /// the page's first load does not carry it: neither shader nor canary.
    pub(crate) const fn of_this_build(self) -> Kernel {
        if cfg!(feature = "gpu") {
            return self;
        }
        Kernel {
            wgsl: "",
            canary: |_| Call {
                params: Params::pack(&[0u32; 16]),
                reads: Vec::new(),
                writes: Vec::new(),
            },
            stages: &[],
            ..self
        }
    }
}

/// One entry point of a shader.
pub struct Stage {
    /// Name of the entry point.
    pub entry: &'static str,
    /// Number of workgroups; a zero in it skips the stage.
    pub workgroups: fn(&Params) -> [u32; 3],
}

/// A kernel's arguments by value.
#[derive(Clone, Debug)]
pub struct Call {
    /// The parameters.
    pub params: Params,
    /// The buffers that are only read.
    pub reads: Vec<Vec<f32>>,
    /// The buffers that are written, as they are before the call. NaN stands for memory that
    /// nothing has been written to; what a CPU twin leaves NaN is scratch of the shader.
    pub writes: Vec<Vec<f32>>,
}

/// The CPU twin of a kernel: parameters, the buffers that are read, the buffers that are written.
pub type Cpu = fn(Level, &Params, &[&[f32]], &mut [&mut [f32]]);

/// Where a kernel's one pass, in which a workgroup walks over all chunks of tokens, gives way to
/// several passes with the chunks side by side: the most chunks for which the walk was faster, by
/// the number of walks: fewer than 4, fewer than 16, fewer than 64, more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossover(pub [u32; 4]);

impl Crossover {
    /// Whether to walk.
    pub fn walks(&self, walks: u32, chunks: u32) -> bool {
        chunks <= self.0[(walks.max(1).ilog2() / 2).min(3) as usize]
    }
}

impl Default for Crossover {
    /// Where nothing was measured: a single chunk needs no passes.
    fn default() -> Crossover {
        Crossover([1; 4])
    }
}

/// The parameters of a pass: 16 words, read by a kernel as its own `repr(C)` struct; and the
/// crossover that holds where it is played, `None` until a player has set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params(pub [u32; 16], pub Option<Crossover>);

impl Params {
    /// Packs a kernel's parameter struct, 64 bytes at most.
    pub fn pack<P: Pod>(params: &P) -> Params {
        let words: &[u32] = bytemuck::cast_slice(std::slice::from_ref(params));
        let mut out = [0; 16];
        out[..words.len()].copy_from_slice(words);
        Params(out, None)
    }

    /// The same on a device with this crossover, unless another one is wanted.
    #[must_use]
    pub fn on(self, crossover: Crossover) -> Params {
        Params(self.0, self.1.or(Some(crossover)))
    }

    /// The crossover, the default one if there is none.
    pub fn crossover(&self) -> Crossover {
        self.1.unwrap_or_default()
    }

    /// Reads them back as the kernel's parameter struct.
    pub fn unpack<P: Pod>(&self) -> P {
        *bytemuck::from_bytes(&bytemuck::bytes_of(&self.0)[..size_of::<P>()])
    }
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Kernel) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// A buffer of f32 in a [`Layout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// The buffer that is bound where a kernel takes none: one zero.
pub const NONE: BufferId = BufferId(0);

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Written once, when the player is made.
    Weight,
    /// Carried from one recording to the next; zero at the start of a sequence.
    State,
    /// Valid within one recording; filled with NaN at first, so that a read before a write shows.
    Scratch,
    /// Scratch memory between the passes of one kernel on the GPU; kernels of the CPU do without.
    Workspace,
    /// Written by the host before a recording is played.
    Input,
}

/// A buffer's declaration.
#[derive(Clone, Debug)]
pub struct BufferInfo {
    /// For messages and for taps, for example `layers.0.state`.
    pub name: String,
    /// Number of f32.
    pub len: usize,
    /// What it is for.
    pub role: Role,
    /// The content of a weight.
    pub data: Option<Arc<[f32]>>,
}

/// All buffers that the recordings of one model use.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Index = [`BufferId`].
    pub buffers: Vec<BufferInfo>,
}

impl Default for Layout {
    fn default() -> Layout {
        let mut layout = Layout {
            buffers: Vec::new(),
        };
        layout.weight("none", Arc::from([0.0]));
        layout
    }
}

impl Layout {
    fn push(&mut self, name: &str, len: usize, role: Role, data: Option<Arc<[f32]>>) -> BufferId {
        self.buffers.push(BufferInfo {
            name: name.to_owned(),
            len: len.max(1),
            role,
            data,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// Declares a weight.
    pub fn weight(&mut self, name: &str, data: Arc<[f32]>) -> BufferId {
        self.push(name, data.len(), Role::Weight, Some(data))
    }

    /// Declares a state of `len` values.
    pub fn state(&mut self, name: &str, len: usize) -> BufferId {
        self.push(name, len, Role::State, None)
    }

    /// Declares scratch memory of `len` values.
    pub fn scratch(&mut self, name: &str, len: usize) -> BufferId {
        self.push(name, len, Role::Scratch, None)
    }

    /// Declares the workspace of a kernel, of `len` values on the GPU.
    pub fn workspace(&mut self, name: &str, len: usize) -> BufferId {
        self.push(name, len, Role::Workspace, None)
    }

    /// Declares an input of `len` values.
    pub fn input(&mut self, name: &str, len: usize) -> BufferId {
        self.push(name, len, Role::Input, None)
    }

    /// The declaration of a buffer.
    pub fn info(&self, id: BufferId) -> &BufferInfo {
        &self.buffers[id.0 as usize]
    }
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct Pass {
    /// The kernel.
    pub kernel: &'static Kernel,
    /// Its buffers: those read, then those written. No buffer is both.
    pub bindings: Vec<BufferId>,
    /// Its parameters.
    pub params: Params,
}

/// Passes in order.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// The passes.
    pub passes: Vec<Pass>,
}

impl Recording {
    /// Appends one kernel call.
    ///
    /// # Panics
    /// If the numbers of buffers are not the kernel's, or a buffer is both read and written:
    /// mistakes in the program that no input can cause.
    pub fn push<P: Pod>(
        &mut self,
        kernel: &'static Kernel,
        params: &P,
        reads: &[BufferId],
        writes: &[BufferId],
    ) {
        assert!(
            (reads.len(), writes.len()) == (kernel.reads, kernel.writes),
            "the kernel has other numbers of buffers"
        );
        assert!(
            writes.iter().all(|w| !reads.contains(w)),
            "the kernel reads what it writes"
        );
        self.passes.push(Pass {
            kernel,
            bindings: [reads, writes].concat(),
            params: Params::pack(params),
        });
    }
}
