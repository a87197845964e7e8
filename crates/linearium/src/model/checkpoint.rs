//! safetensors: from the bytes of a file to checked tensors in f32.
//!
//! The format (github.com/huggingface/safetensors, README “Format”): 8 bytes little-endian length
//! of the header; the header, a JSON object from tensor names to `dtype`, `shape` and
//! `data_offsets`, with an optional `__metadata__` of texts, perhaps padded with spaces; then the
//! data, in which the tensors lie without hole or overlap.
//!
//! Everything that the header claims is checked against the length of the file before anything
//! of that size is allocated; the data is converted one tensor at a time, so a file is never
//! copied as a whole.

mod header;
#[cfg(feature = "zoo")]
mod sharded;

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

pub use self::header::{Dtype, MAX_HEADER_BYTES};
use self::header::{Entry, Header};
#[cfg(feature = "zoo")]
pub use self::sharded::{Index, MAX_INDEX_BYTES};
use super::json::quote;
use crate::mixers::Weights;

/// A dense tensor in f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Lengths of the dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// All elements, as many as the product of `shape`.
    pub data: Weights,
}

/// A safetensors file, or the parts of a sharded one, whose headers have been read and checked as a
/// whole.
pub struct Checkpoint {
    parts: Vec<Part>,
    entries: BTreeMap<String, Entry>,
}

/// One file.
struct Part {
    bytes: Vec<u8>,
    /// Where the data part begins in `bytes`.
    data: usize,
}

/// The part of a header that [`Checkpoint::metadata`] reads.
#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "__metadata__")]
    texts: BTreeMap<String, String>,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "Checkpoint of {} tensors in {} bytes",
            self.entries.len(),
            self.parts.iter().map(|p| p.bytes.len()).sum::<usize>()
        )
    }
}

impl Checkpoint {
    /// Reads and checks the header of a safetensors file, which is kept as it is.
    ///
    /// # Errors
    /// One sentence on the first rule of the format that the file breaks.
    pub fn read(bytes: Vec<u8>) -> Result<Checkpoint, String> {
        let Header { data, entries } = Header::read(&bytes)?;
        Ok(Checkpoint {
            parts: vec![Part { bytes, data }],
            entries,
        })
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The shape of a tensor, if the file has it.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// The element type of a tensor, if the file has it.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        self.entries.get(name).map(|e| e.dtype)
    }

    /// The stored bytes of a tensor, little-endian and row-major, if the file has it.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        let entry = self.entries.get(name)?;
        let Part { bytes, data } = &self.parts[entry.part];
        Some(&bytes[data + entry.begin..data + entry.end])
    }

    /// The texts under `__metadata__`, of the first file where there are several.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let Some(Part { bytes, data }) = self.parts.first() else {
            return BTreeMap::new();
        };
        // Behind the length of 8 bytes. What has been checked can be read, so nothing is lost.
        serde_json::from_slice::<Metadata>(&bytes[8..*data])
            .map(|m| m.texts)
            .unwrap_or_default()
    }

    /// The number of elements of all tensors together.
    pub fn elements(&self) -> u64 {
        self.entries
            .values()
            .map(|e| e.shape.iter().map(|&n| n as u64).product::<u64>())
            .sum()
    }

    /// Gives a tensor the name under which it is known here, if the file has it under `stored`
    /// and has none called `name`.
    pub(super) fn rename(&mut self, stored: &str, name: &str) {
        if !self.entries.contains_key(name)
            && let Some(entry) = self.entries.remove(stored)
        {
            self.entries.insert(name.to_owned(), entry);
        }
    }

    /// Whether a tensor is there and could be taken with this shape: everything but its values.
    ///
    /// # Errors
    /// One sentence if it is missing, of another shape, or of an element type that weights cannot
    /// have.
    pub fn expect(&self, name: &str, shape: &[usize]) -> Result<(), String> {
        let entry = self.entries.get(name).ok_or_else(|| {
            format!("the tensor {} is missing in the safetensors file: save the whole model again or correct config.json", quote(name))
        })?;
        if entry.shape != shape {
            return Err(format!(
                "the tensor {} has shape {:?} in the safetensors file but config.json asks for {shape:?}: use the config.json that belongs to this file",
                quote(name),
                entry.shape
            ));
        }
        match entry.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::Bf16 => Ok(()),
            other => Err(format!(
                "the tensor {} has the element type {}, which cannot be read as weights: convert it to F32, F16 or BF16",
                quote(name),
                other.name()
            )),
        }
    }

    /// The tensor `name`, which must have this shape and only finite values, converted to f32; a
    /// large matrix of halves stays as it is. Allocates the result and nothing else.
    ///
    /// # Errors
    /// Those of [`Checkpoint::expect`], and one sentence with place and number of values that are
    /// infinite or not a number.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor, String> {
        self.expect(name, shape)?;
        let stored = self.raw(name).unwrap_or_default();
        let data: Weights = match self.dtype(name) {
            #[cfg(feature = "zoo")]
            Some(Dtype::F16) if stays_packed(stored, shape) => halves(stored),
            Some(Dtype::F16) => convert(stored, |b| f16_to_f32(u16::from_le_bytes(b))),
            Some(Dtype::Bf16) => convert(stored, |b| bf16_to_f32(u16::from_le_bytes(b))),
            _ => convert(stored, f32::from_le_bytes),
        };
        #[cfg(feature = "zoo")]
        let known_finite = data.halves().is_some();
        #[cfg(not(feature = "zoo"))]
        let known_finite = false;
        if !known_finite && let Some(first) = data.iter().position(|x| !x.is_finite()) {
            let count = data.iter().filter(|x| !x.is_finite()).count();
            let what = if data[first].is_nan() {
                "not a number (NaN)"
            } else {
                "infinite"
            };
            return Err(format!(
                "the tensor {} has {count} of {} values that are not finite, the first at index {:?} is {what}: this checkpoint is damaged or diverged in training, use another one",
                quote(name),
                data.len(),
                coordinates(first, shape)
            ));
        }
        if let Some(entry) = self.entries.get_mut(name) {
            entry.taken = true;
        }
        Ok(Tensor {
            shape: shape.to_vec(),
            data,
        })
    }

    /// As [`Checkpoint::take`], or `None` if the file has no such tensor.
    ///
    /// # Errors
    /// Those of [`Checkpoint::take`], except that a tensor may be missing.
    pub fn optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>, String> {
        if self.entries.contains_key(name) {
            self.take(name, shape).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Ends the reading: whatever nobody took must be something that `ignorable` knows.
    ///
    /// # Errors
    /// One sentence that names the first tensor that was not used and says how many there are.
    pub fn finish(self, ignorable: impl Fn(&str) -> bool) -> Result<(), String> {
        no_others(
            self.entries
                .iter()
                .filter(|(_, e)| !e.taken)
                .map(|(n, _)| n),
            ignorable,
        )
    }
}

/// An error if there is a name that is not ignorable.
pub(super) fn no_others<'a>(
    names: impl Iterator<Item = impl AsRef<str> + 'a>,
    ignorable: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let mut others = names.filter(|n| !ignorable(n.as_ref()));
    let Some(first) = others.next() else {
        return Ok(());
    };
    let more = match others.count() {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Err(format!(
        "the safetensors file holds the tensor {}{more}, which a model with this config.json has no use for: use the config.json that belongs to this file",
        quote(first.as_ref())
    ))
}

/// Converts little-endian elements of `N` bytes in one allocation: the length is known exactly.
fn convert<const N: usize>(stored: &[u8], element: impl Fn([u8; N]) -> f32) -> Weights {
    let (chunks, _) = stored.as_chunks::<N>();
    chunks.iter().map(|b| element(*b)).collect()
}

/// Values from which on a matrix of halves stays packed: for a small one the words that are saved
/// are not worth unpacking them again and again.
#[cfg(feature = "zoo")]
const MIN_PACKED: usize = 1 << 15;

/// True for a large matrix of finite halves whose rows are whole words.
#[cfg(feature = "zoo")]
fn stays_packed(stored: &[u8], shape: &[usize]) -> bool {
    let &[rows, columns] = shape else {
        return false;
    };
    let (halves, _) = stored.as_chunks::<2>();
    rows * columns >= MIN_PACKED
        && columns.is_multiple_of(2)
        && halves
            .iter()
            .all(|h| u16::from_le_bytes(*h) & 0x7c00 != 0x7c00)
}

/// Words of two halves, in one allocation.
#[cfg(feature = "zoo")]
fn halves(stored: &[u8]) -> Weights {
    let (words, _) = stored.as_chunks::<4>();
    Weights::of_halves(
        words
            .iter()
            .map(|w| f32::from_bits(u32::from_le_bytes(*w)))
            .collect(),
    )
}

/// IEEE half precision to single precision, exactly.
pub fn f16_to_f32(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    let exponent = u32::from(half >> 10) & 0x1f;
    let mantissa = u32::from(half & 0x3ff);
    let magnitude = match exponent {
        // Subnormal: mantissa · 2⁻²⁴, which f32 holds as a normal number.
        0 => (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits(),
        31 => 0x7f80_0000 | (mantissa << 13),
        // The bias of the exponent is 15 there and 127 here.
        _ => ((exponent + 112) << 23) | (mantissa << 13),
    };
    f32::from_bits(sign | magnitude)
}

/// bfloat16 to single precision, exactly: it is the upper half of the same bits.
pub fn bf16_to_f32(upper: u16) -> f32 {
    f32::from_bits(u32::from(upper) << 16)
}

/// Indices of the element with this number in a row-major tensor of this shape.
fn coordinates(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut out: Vec<usize> = shape
        .iter()
        .rev()
        .map(|&n| {
            let i = index % n;
            index /= n;
            i
        })
        .collect();
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a binary float of 16 bits by its definition, in f64.
    fn by_definition(bits: u16, exponent_bits: u32) -> f64 {
        let mantissa_bits = 15 - exponent_bits;
        let exponent = i32::from((bits >> mantissa_bits) & ((1 << exponent_bits) - 1));
        let mantissa = f64::from(bits & ((1 << mantissa_bits) - 1));
        let unit = f64::from(1u32 << mantissa_bits);
        let bias = (1 << (exponent_bits - 1)) - 1;
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let magnitude = if exponent == (1 << exponent_bits) - 1 {
            if mantissa == 0.0 {
                f64::INFINITY
            } else {
                f64::NAN
            }
        } else if exponent == 0 {
            mantissa / unit * 2f64.powi(1 - bias)
        } else {
            (1.0 + mantissa / unit) * 2f64.powi(exponent - bias)
        };
        sign * magnitude
    }

    #[test]
    fn all_bit_patterns_of_both_halves_convert_exactly() {
        for bits in 0..=u16::MAX {
            for (got, exponent_bits) in [(f16_to_f32(bits), 5), (bf16_to_f32(bits), 8)] {
                let expected = by_definition(bits, exponent_bits);
                if expected.is_nan() {
                    assert!(got.is_nan(), "{bits:#06x}");
                } else {
                    assert_eq!(f64::from(got), expected, "{bits:#06x}");
                    assert_eq!(got.is_sign_negative(), bits >> 15 == 1, "{bits:#06x}");
                }
            }
        }
    }

    #[test]
    fn coordinates_are_row_major() {
        assert_eq!(coordinates(0, &[2, 3, 4]), [0, 0, 0]);
        assert_eq!(coordinates(23, &[2, 3, 4]), [1, 2, 3]);
        assert_eq!(coordinates(17, &[2, 3, 4]), [1, 1, 1]);
        assert_eq!(coordinates(0, &[]), [0usize; 0]);
    }
}
