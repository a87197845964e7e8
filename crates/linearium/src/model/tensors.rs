//! The tensors of a model by their official names: taken from a checkpoint, or listed.
//!
//! A family's layer is built once, by one function that takes its tensors; what that function asks
//! for is also the list that a file is checked against before any value is read. So no name and no
//! shape stands in two places.

use super::checkpoint::Checkpoint;
use crate::mixers::Weights;

/// A tensor that a checkpoint may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in the file.
    pub name: String,
    /// Lengths of the dimensions.
    pub shape: Vec<usize>,
    /// False for a head that is the embedding where the file has none.
    pub required: bool,
    /// Other names under which files are known to hold it.
    pub other_names: Vec<&'static str>,
}

/// Where tensors come from.
enum Source<'a> {
    File(&'a mut Checkpoint),
    /// Nothing is read: what is asked for is noted, and comes back empty.
    List(&'a mut Vec<TensorSpec>),
}

/// How files of another layout hold a tensor.
#[cfg(feature = "zoo")]
pub struct Elsewhere {
    /// Its name there.
    pub name: String,
    /// How its values lie there.
    pub form: Form,
}

/// How values lie in another layout.
#[cfg(feature = "zoo")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the same shape.
    Same,
    /// A matrix with rows and columns exchanged.
    Transposed,
    /// A vector in the shape `[1, 1, n]`.
    Row,
}

/// Names of another layout for those of this one.
#[cfg(feature = "zoo")]
type Translation = fn(&str) -> Elsewhere;

/// Tensors whose names begin with a prefix.
///
/// While they are listed every tensor comes back without values: whoever takes some may map them
/// and put them together, but not look a value up by its place.
pub struct Tensors<'a> {
    source: Source<'a>,
    prefix: String,
    /// The names that begin with the first so many bytes of the prefix are translated behind them.
    #[cfg(feature = "zoo")]
    translation: Option<(usize, Translation)>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `file` whose names begin with `prefix`.
    pub fn new(file: &'a mut Checkpoint, prefix: String) -> Tensors<'a> {
        Tensors {
            source: Source::File(file),
            prefix,
            #[cfg(feature = "zoo")]
            translation: None,
        }
    }

    /// Notes in `list` what is asked for.
    pub fn listing(list: &'a mut Vec<TensorSpec>) -> Tensors<'a> {
        Tensors {
            source: Source::List(list),
            prefix: String::new(),
            #[cfg(feature = "zoo")]
            translation: None,
        }
    }

    /// Those of them whose names go on with `prefix`.
    pub fn within(&mut self, prefix: &str) -> Tensors<'_> {
        Tensors {
            source: match &mut self.source {
                Source::File(file) => Source::File(file),
                Source::List(list) => Source::List(list),
            },
            prefix: format!("{}{prefix}", self.prefix),
            #[cfg(feature = "zoo")]
            translation: self.translation,
        }
    }

    /// The same tensors out of files of another layout, which has other names for them.
    #[cfg(feature = "zoo")]
    pub fn translated(&mut self, translation: Translation) -> Tensors<'_> {
        let mut t = self.within("");
        t.translation = Some((t.prefix.len(), translation));
        t
    }

    /// False while tensors are only listed.
    #[cfg(feature = "zoo")]
    pub fn reads(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Takes a tensor of this shape.
    ///
    /// # Errors
    /// A sentence if it is missing or has another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Weights, String> {
        self.take_named(name, shape, &[])
    }

    /// As [`Tensors::take`] for a tensor that files are known to hold under other names too, which
    /// are whole names; the check of a file has given it its own by the time it is taken.
    ///
    /// # Errors
    /// As [`Tensors::take`].
    pub fn take_named(
        &mut self,
        name: &str,
        shape: &[usize],
        other_names: &[&'static str],
    ) -> Result<Weights, String> {
        let name = format!("{}{name}", self.prefix);
        #[cfg(feature = "zoo")]
        if let Some((base, translation)) = self.translation {
            return self.take_elsewhere(&name[..base], translation(&name[base..]), shape);
        }
        match &mut self.source {
            Source::File(file) => Ok(file.take(&name, shape)?.data),
            Source::List(list) => {
                list.push(TensorSpec {
                    name,
                    shape: shape.to_vec(),
                    required: true,
                    other_names: other_names.to_vec(),
                });
                Ok(Weights::default())
            }
        }
    }

    #[cfg(feature = "zoo")]
    fn take_elsewhere(
        &mut self,
        prefix: &str,
        elsewhere: Elsewhere,
        shape: &[usize],
    ) -> Result<Weights, String> {
        let stored = match (elsewhere.form, shape) {
            (Form::Transposed, &[rows, columns]) => vec![columns, rows],
            (Form::Row, &[n]) => vec![1, 1, n],
            _ => shape.to_vec(),
        };
        let name = format!("{prefix}{}", elsewhere.name);
        let mut t = Tensors {
            prefix: String::new(),
            translation: None,
            ..self.within("")
        };
        let values = t.take(&name, &stored)?;
        Ok(match (elsewhere.form, &stored[..]) {
            (Form::Transposed, &[_, columns]) if !values.is_empty() => (0..columns)
                .flat_map(|c| values[c..].iter().step_by(columns).copied())
                .collect(),
            _ => values,
        })
    }

    /// Takes a tensor that the file may have.
    ///
    /// # Errors
    /// A sentence if it has another shape.
    pub fn take_any(&mut self, name: &str, shape: &[usize]) -> Result<Option<Weights>, String> {
        let name = format!("{}{name}", self.prefix);
        match &mut self.source {
            Source::File(file) => Ok(file.optional(&name, shape)?.map(|t| t.data)),
            Source::List(list) => {
                list.push(TensorSpec {
                    name,
                    shape: shape.to_vec(),
                    required: false,
                    other_names: Vec::new(),
                });
                Ok(None)
            }
        }
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
        let parts = parts
            .iter()
            .map(|(name, rows)| self.take(&format!("{name}.weight"), &[*rows, width]))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Weights::stacked(&parts))
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

/// A = -exp(A_log), the rates of decay of Mamba.
pub fn rates(a_log: &Weights) -> Weights {
    a_log.iter().map(|a| -a.exp()).collect()
}

/// Rows in blocks of `block` values, each block `times` times: the keys of a group for all its
/// heads.
#[cfg(feature = "zoo")]
pub fn repeated(rows: &Weights, block: usize, times: usize) -> Weights {
    if times == 1 {
        return rows.clone();
    }
    let blocks = rows.chunks_exact(block);
    blocks.flat_map(|b| b.repeat(times)).collect()
}
