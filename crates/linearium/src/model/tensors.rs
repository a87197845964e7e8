//! The tensors of one layer of a checkpoint, by their official names.

use super::checkpoint::Checkpoint;
use crate::mixers::Weights;

/// Tensors whose names begin with a prefix.
pub struct Tensors<'a> {
    file: &'a mut Checkpoint,
    prefix: String,
}

impl<'a> Tensors<'a> {
    /// The tensors of `file` whose names begin with `prefix`.
    pub fn new(file: &'a mut Checkpoint, prefix: String) -> Tensors<'a> {
        Tensors { file, prefix }
    }

    /// Takes a tensor of this shape.
    ///
    /// # Errors
    /// A sentence if it is missing or has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weights, String> {
        let name = format!("{}{name}", self.prefix);
        Ok(self.file.take(&name, shape)?.data)
    }

    /// Takes a vector that is there only if the configuration says so.
    ///
    /// # Errors
    /// As [`Tensors::take`].
    pub fn take_if(
        &mut self,
        there: bool,
        name: &str,
        n: usize,
    ) -> Result<Option<Weights>, String> {
        if there {
            self.take(name, &[n]).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Takes several matrices of the same inner width, one below the other: for each its name
    /// without `.weight`, and its rows.
    ///
    /// # Errors
    /// As [`Tensors::take`].
    pub fn stacked(&mut self, parts: &[(&str, usize)], width: usize) -> Result<Weights, String> {
        let mut out = Vec::new();
        for (name, rows) in parts {
            out.extend_from_slice(&self.take(&format!("{name}.weight"), &[*rows, width])?);
        }
        Ok(out.into())
    }

    /// Takes their biases, one after the other, if the configuration says that there are some.
    ///
    /// # Errors
    /// As [`Tensors::take`].
    pub fn stacked_bias(
        &mut self,
        there: bool,
        parts: &[(&str, usize)],
    ) -> Result<Option<Weights>, String> {
        if !there {
            return Ok(None);
        }
        let mut out = Vec::new();
        for (name, rows) in parts {
            out.extend_from_slice(&self.take(&format!("{name}.bias"), &[*rows])?);
        }
        Ok(Some(out.into()))
    }
}
