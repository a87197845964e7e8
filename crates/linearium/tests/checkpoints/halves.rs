//! A shipped model with its values rounded to halves, as files in F16 and in F32: the same model
//! packed and not packed.

use linearium::model::checkpoint::{Checkpoint, f16_to_f32};

/// The files of a model.
pub struct Files {
    pub config: Vec<u8>,
    pub f16: Vec<u8>,
    pub f32: Vec<u8>,
}

/// A half near `x`: towards zero, and zero where a half would be subnormal.
fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 112;
    assert!(exponent < 31, "{x} is too large for a half");
    let magnitude = match exponent {
        1.. => (exponent as u32) << 10 | bits >> 13 & 0x3ff,
        _ => 0,
    };
    (bits >> 16 & 0x8000 | magnitude) as u16
}

/// Those of `web/public/models/<name>`.
pub fn of_shipped(name: &str) -> Files {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");
    let file = |f: &str| std::fs::read(format!("{root}/{name}/{f}")).unwrap();
    let mut shipped = Checkpoint::read(file("model.safetensors")).unwrap();
    let names: Vec<String> = shipped.names().map(str::to_owned).collect();
    let (mut halves, mut singles) = (Vec::new(), Vec::new());
    for name in names {
        let shape = shipped.shape(&name).unwrap().to_vec();
        let values = shipped.take(&name, &shape).unwrap().data;
        let rounded: Vec<u16> = values.iter().map(|&x| half(x)).collect();
        let bytes = rounded.iter().flat_map(|h| f16_to_f32(*h).to_le_bytes());
        singles.push((
            name.clone(),
            "F32",
            shape.clone(),
            bytes.collect::<Vec<u8>>(),
        ));
        let bytes = rounded.iter().flat_map(|h| h.to_le_bytes());
        halves.push((name, "F16", shape, bytes.collect()));
    }
    Files {
        config: file("config.json"),
        f16: safetensors(&halves),
        f32: safetensors(&singles),
    }
}

fn safetensors(tensors: &[(String, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (String::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let comma = if begin == 0 { "" } else { "," };
        header += &format!(
            r#"{comma}"{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{}]}}"#,
            data.len()
        );
    }
    let header = format!("{{{header}}}");
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(&data);
    out
}
