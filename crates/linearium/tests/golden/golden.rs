//! Golden files: what official code gave, with its repository, path, commit and command.

use linearium::model::checkpoint::Checkpoint;
use linearium::model::tensors::Tensors;

/// One case of a golden file.
pub struct Golden {
    pub file: Checkpoint,
    pub case: usize,
}

impl Golden {
    /// A case of a file, which must say where it is from.
    pub fn open(id: &str, case: usize) -> Golden {
        let path = format!(
            "{}/../../tests/golden/{id}.safetensors",
            env!("CARGO_MANIFEST_DIR")
        );
        let file = Checkpoint::read(std::fs::read(&path).unwrap()).unwrap();
        for key in ["repository", "commit", "path", "command", "torch"] {
            assert!(!file.metadata()[key].is_empty(), "{path} names no {key}");
        }
        Golden { file, case }
    }

    /// The first cases of a file.
    pub fn first_cases(count: usize, id: &str) -> impl Iterator<Item = Golden> {
        (0..count).map(move |case| Golden::open(id, case))
    }

    fn name(&self, name: &str) -> String {
        format!("case{}.{name}", self.case)
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.file.shape(&self.name(name)).unwrap().to_vec()
    }

    /// A tensor in f32.
    pub fn input(&self, name: &str) -> Vec<f32> {
        let (values, rest) = self.file.raw(&self.name(name)).unwrap().as_chunks::<4>();
        assert!(rest.is_empty());
        values.iter().map(|&b| f32::from_le_bytes(b)).collect()
    }

    /// A tensor in f64.
    pub fn exact(&self, name: &str) -> Vec<f64> {
        let (values, rest) = self.file.raw(&self.name(name)).unwrap().as_chunks::<8>();
        assert!(rest.is_empty());
        values.iter().map(|&b| f64::from_le_bytes(b)).collect()
    }

    /// The weights under their official names.
    pub fn weights(&mut self) -> Tensors<'_> {
        let prefix = self.name("weights.");
        Tensors::new(&mut self.file, prefix)
    }
}
