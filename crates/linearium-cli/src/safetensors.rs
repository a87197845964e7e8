//! Writes safetensors files: 8 bytes of length, a JSON header, the data.

use serde_json::{Map, Value, json};

use crate::files::NewFile;

/// A tensor that is to be written: name, type and shape; its elements have four bytes.
pub struct Entry<'a> {
    /// Name.
    pub name: &'a str,
    /// `F32` or `I32`.
    pub dtype: &'a str,
    /// Shape.
    pub shape: &'a [usize],
}

/// Writes the header; the tensors' bytes follow in the order of `entries`, little-endian.
///
/// # Errors
/// The sentence of the file.
pub fn write_header(
    file: &mut NewFile,
    metadata: &[(&str, String)],
    entries: &[Entry<'_>],
) -> Result<(), String> {
    let mut header = Map::new();
    let metadata: Map<String, Value> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.as_str().into()))
        .collect();
    header.insert("__metadata__".to_owned(), metadata.into());
    let mut end = 0;
    for e in entries {
        let begin = end;
        end += 4 * e.shape.iter().product::<usize>();
        header.insert(
            e.name.to_owned(),
            json!({"dtype": e.dtype, "shape": e.shape, "data_offsets": [begin, end]}),
        );
    }
    let mut text = Value::Object(header).to_string();
    // The format wants the data to begin at a multiple of eight bytes.
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    file.write(&(text.len() as u64).to_le_bytes())?;
    file.write(text.as_bytes())
}

/// The bytes of f32 values.
pub fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
