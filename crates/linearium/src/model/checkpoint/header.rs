//! The header of a safetensors file: from its text to the checked place of every tensor.

use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use super::super::json::{self, Bounded, Json, quote};

/// The longest header that the format allows, in bytes.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
/// The most dimensions that a tensor may have here; no layer has more than four.
const MAX_DIMENSIONS: usize = 8;

/// Declares [`Dtype`] with the name and the width in bits of each element type of the format.
macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $bits:literal,)*) => {
        /// Element type of a stored tensor: all that the format knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Dtype { $($(#[$doc])* $variant,)* }

        impl Dtype {
            /// Every element type of the format.
            pub const ALL: &[Dtype] = &[$(Dtype::$variant,)*];
            /// The name in the header.
            pub fn name(self) -> &'static str {
                match self { $(Dtype::$variant => $name,)* }
            }
            /// Width of one element in bits.
            pub fn bits(self) -> u64 {
                match self { $(Dtype::$variant => $bits,)* }
            }
        }
    };
}

dtypes! {
    /// Boolean, a byte.
    Bool "BOOL" 8,
    /// 4-bit float of the OCP microscaling formats.
    F4 "F4" 4,
    /// 6-bit float, 2 bits of exponent.
    F6E2M3 "F6_E2M3" 6,
    /// 6-bit float, 3 bits of exponent.
    F6E3M2 "F6_E3M2" 6,
    /// Unsigned byte.
    U8 "U8" 8,
    /// Signed byte.
    I8 "I8" 8,
    /// 8-bit float, 5 bits of exponent.
    F8E5M2 "F8_E5M2" 8,
    /// 8-bit float, 4 bits of exponent.
    F8E4M3 "F8_E4M3" 8,
    /// 8 bits of exponent alone.
    F8E8M0 "F8_E8M0" 8,
    /// 8-bit float, 4 bits of exponent, no negative zero.
    F8E4M3Fnuz "F8_E4M3FNUZ" 8,
    /// 8-bit float, 5 bits of exponent, no negative zero.
    F8E5M2Fnuz "F8_E5M2FNUZ" 8,
    /// Signed 16-bit integer.
    I16 "I16" 16,
    /// Unsigned 16-bit integer.
    U16 "U16" 16,
    /// IEEE half precision.
    F16 "F16" 16,
    /// The upper half of an f32.
    Bf16 "BF16" 16,
    /// Signed 32-bit integer.
    I32 "I32" 32,
    /// Unsigned 32-bit integer.
    U32 "U32" 32,
    /// IEEE single precision.
    F32 "F32" 32,
    /// Complex number of two f32.
    C64 "C64" 64,
    /// IEEE double precision.
    F64 "F64" 64,
    /// Signed 64-bit integer.
    I64 "I64" 64,
    /// Unsigned 64-bit integer.
    U64 "U64" 64,
}

/// Where one tensor lies; `begin..end` are bytes of the data part.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) begin: usize,
    pub(super) end: usize,
    /// The file that holds it, where there are several.
    pub(super) part: usize,
    /// Whether the tensor has been read.
    pub(super) taken: bool,
}

/// What the header holds, checked against the file as a whole.
#[derive(Default)]
pub(super) struct Header {
    /// Where the data part begins in the file.
    pub(super) data: usize,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads the header of a whole file; see [`super::Checkpoint::read`].
    pub(super) fn read(bytes: &[u8]) -> Result<Header, String> {
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(match bytes.len() {
                0 => "the safetensors file is empty: choose or download it again".to_owned(),
                n => format!(
                    "the safetensors file is only {n} bytes long, too short for the 8 bytes that every such file begins with: download it again"
                ),
            });
        };
        let length = u64::from_le_bytes(*length);
        let length = match usize::try_from(length) {
            Ok(n) if length <= MAX_HEADER_BYTES && n <= rest.len() => n,
            _ => return Err(wrong_length(length, bytes)),
        };
        let header = &rest[..length];
        if header.first() != Some(&b'{') {
            return Err("the header of the safetensors file does not begin with “{” at byte 8: this is not a safetensors file or it is damaged, choose or save it again".to_owned());
        }
        let text = std::str::from_utf8(header).map_err(|e| {
            format!(
                "the header of the safetensors file is not UTF-8 text at byte {}: the file is damaged, download or save it again",
                8 + e.valid_up_to()
            )
        })?;
        let mut header = json::parse_with(text, HeaderSeed).map_err(|e| {
            format!(
                "in the header of the safetensors file (which begins at byte 8) {e}: save the file again with the safetensors library"
            )
        })?;
        header.data = 8 + length;
        check_layout(&header.entries, bytes.len() - header.data)?;
        Ok(header)
    }
}

/// Reads the header entry by entry, so that no tree of the whole is ever in memory.
struct HeaderSeed;

impl<'de> DeserializeSeed<'de> for HeaderSeed {
    type Value = Header;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Header, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed {
    type Value = Header;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of tensors")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header::default();
        let mut metadata_seen = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut metadata_seen, true) {
                    return Err(json::duplicate(&name));
                }
                map.next_value_seed(MetadataSeed)?;
                continue;
            }
            if header.entries.contains_key(&name) {
                return Err(json::duplicate(&name));
            }
            let budget = Cell::new(64);
            let value = map.next_value_seed(Bounded {
                depth: 3,
                budget: &budget,
            })?;
            let entry = entry(&value)
                .map_err(|e| de::Error::custom(format_args!("the tensor {} {e}", quote(&name))))?;
            header.entries.insert(name, entry);
        }
        Ok(header)
    }
}

/// `__metadata__`: texts by name, checked and let go; [`super::Checkpoint::metadata`] reads them.
struct MetadataSeed;

impl<'de> DeserializeSeed<'de> for MetadataSeed {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MetadataSeed {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of texts under __metadata__")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let budget = Cell::new(1);
            let value = map.next_value_seed(Bounded {
                depth: 0,
                budget: &budget,
            })?;
            if !matches!(value, Json::Text(_)) {
                return Err(de::Error::custom(format_args!(
                    "__metadata__ has {} under {} where only texts may stand",
                    value.describe(),
                    quote(&key)
                )));
            }
            if seen.contains(&key) {
                return Err(json::duplicate(&key));
            }
            seen.insert(key);
        }
        Ok(())
    }
}

/// One entry of the header, checked in itself: the error goes on after “the tensor x”.
fn entry(value: &Json) -> Result<Entry, String> {
    let Json::Object(keys) = value else {
        return Err(format!(
            "is described by {} instead of an object",
            value.describe()
        ));
    };
    let (mut dtype, mut shape, mut offsets) = (None, None, None);
    for (key, value) in keys {
        match key.as_str() {
            "dtype" => {
                dtype = Some(match value {
                    Json::Text(name) => Dtype::ALL
                        .iter()
                        .copied()
                        .find(|d| d.name() == name)
                        .ok_or_else(|| format!("has the unknown dtype {}", quote(name)))?,
                    other => return Err(format!("has {} as its dtype", other.describe())),
                });
            }
            "shape" => shape = Some(counts(value, "shape")?),
            "data_offsets" => offsets = Some(counts(value, "data_offsets")?),
            other => return Err(format!("has the unknown key {}", quote(other))),
        }
    }
    let dtype = dtype.ok_or("has no dtype")?;
    let shape = shape.ok_or("has no shape")?;
    let offsets = offsets.ok_or("has no data_offsets")?;
    if shape.len() > MAX_DIMENSIONS {
        return Err(format!(
            "has {} dimensions where at most {MAX_DIMENSIONS} are possible",
            shape.len()
        ));
    }
    let [begin, end] = offsets[..] else {
        return Err(format!("has {} data_offsets instead of two", offsets.len()));
    };
    if begin > end {
        return Err(format!(
            "ends at byte {end} of the data, before it begins at byte {begin}"
        ));
    }
    let bits = shape
        .iter()
        .try_fold(dtype.bits(), |n, &d| n.checked_mul(d as u64));
    match bits {
        Some(bits) if bits % 8 == 0 && bits / 8 == (end - begin) as u64 => {}
        Some(bits) => {
            return Err(format!(
                "of shape {shape:?} and dtype {} needs {} bytes but its data_offsets [{begin}, {end}] hold {}",
                dtype.name(),
                bits.div_ceil(8),
                end - begin
            ));
        }
        None => return Err(format!("has the shape {shape:?}, larger than any file")),
    }
    Ok(Entry {
        dtype,
        shape,
        begin,
        end,
        part: 0,
        taken: false,
    })
}

/// A list of whole numbers that this machine can address.
fn counts(value: &Json, key: &str) -> Result<Vec<usize>, String> {
    let Json::List(list) = value else {
        return Err(format!(
            "has {} as its {key} instead of a list",
            value.describe()
        ));
    };
    list.iter()
        .map(|v| match v {
            Json::Count(n) => usize::try_from(*n)
                .map_err(|_| format!("has {n} in its {key}, larger than any file")),
            other => Err(format!(
                "has {} in its {key} where only whole numbers from 0 may stand",
                other.describe()
            )),
        })
        .collect()
}

/// The tensors must fill the data part from its first to its last byte, each byte once.
fn check_layout(entries: &BTreeMap<String, Entry>, available: usize) -> Result<(), String> {
    let mut order: Vec<(&String, &Entry)> = entries.iter().collect();
    order.sort_unstable_by_key(|(_, e)| (e.begin, e.end));
    let mut filled = 0;
    let mut previous: Option<&String> = None;
    for (name, e) in order {
        if e.begin < filled {
            return Err(format!(
                "the tensor {} begins at byte {} of the data, inside the tensor {} that ends at byte {filled}: the file is damaged, save it again",
                quote(name),
                e.begin,
                previous.map_or_else(String::new, |p| quote(p))
            ));
        }
        if e.begin > filled {
            return Err(format!(
                "bytes {filled} to {} of the data, before the tensor {}, belong to no tensor: the file is damaged, save it again",
                e.begin,
                quote(name)
            ));
        }
        if e.end > available {
            return Err(format!(
                "the tensor {} ends at byte {} of the data but the safetensors file holds only {available} bytes of data: the file is truncated, download it again",
                quote(name),
                e.end
            ));
        }
        filled = e.end;
        previous = Some(name);
    }
    if filled != available {
        return Err(format!(
            "the tensors end at byte {filled} of the data but the safetensors file goes on to byte {available}: the file is damaged, save it again"
        ));
    }
    Ok(())
}

/// The sentence for a header length that cannot be.
fn wrong_length(length: u64, bytes: &[u8]) -> String {
    if length > MAX_HEADER_BYTES {
        return foreign(bytes).unwrap_or_else(|| format!(
            "the first 8 bytes of the safetensors file claim a header of {length} bytes where at most {MAX_HEADER_BYTES} are allowed: this is not a safetensors file, choose model.safetensors"
        ));
    }
    format!(
        "the safetensors file claims a header of {length} bytes but only {} bytes follow: the file is truncated, download it again",
        bytes.len() - 8
    )
}

/// The sentence for a file of another kind that people choose by mistake.
fn foreign(bytes: &[u8]) -> Option<String> {
    let starts = |mark: &[u8]| bytes.starts_with(mark);
    let (kind, remedy) = if starts(b"PK\x03\x04") || starts(&[0x80, 0x02]) {
        (
            "a PyTorch archive",
            "convert it with the safetensors library",
        )
    } else if starts(b"GGUF") {
        (
            "a GGUF file",
            "choose the model.safetensors of the same model",
        )
    } else if starts(b"version https://git-lfs") {
        ("a Git LFS pointer", "download the file that it points to")
    } else if starts(b"<!") || starts(b"<html") {
        ("a web page", "download the file itself")
    } else if starts(b"{") {
        (
            "JSON text",
            "choose model.safetensors here and config.json beside it",
        )
    } else {
        return None;
    };
    Some(format!("this is {kind}, not a safetensors file: {remedy}"))
}
