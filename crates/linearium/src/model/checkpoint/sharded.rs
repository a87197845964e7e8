//! Checkpoints in several files with an index, `model.safetensors.index.json`, as `transformers`
//! writes them: its `weight_map` has for each tensor the name of the file that holds it.

use std::collections::{BTreeMap, HashMap};

use super::Checkpoint;
use crate::model::json::{self, Json, quote};

/// The longest index that is read, in bytes.
pub const MAX_INDEX_BYTES: usize = 16 << 20;
/// The most tensors in an index.
const MAX_VALUES: usize = 200_000;
const MAX_DEPTH: usize = 8;

/// The file of every tensor.
pub struct Index(BTreeMap<String, String>);

impl Index {
    /// Reads and checks an index.
    ///
    /// # Errors
    /// One sentence on what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Index, String> {
        let wrong = |what: &str| format!("model.safetensors.index.json {what}: download it again");
        if bytes.len() > MAX_INDEX_BYTES {
            return Err(wrong(&format!(
                "is {} bytes long where at most {MAX_INDEX_BYTES} are read",
                bytes.len()
            )));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
        let keys = match json::parse(text, MAX_DEPTH, MAX_VALUES) {
            Ok(Json::Object(keys)) => keys,
            Ok(other) => {
                return Err(wrong(&format!(
                    "holds {} instead of an object",
                    other.describe()
                )));
            }
            Err(e) => return Err(wrong(&format!("cannot be read, {e}"))),
        };
        let map = match keys.into_iter().find(|(key, _)| key == "weight_map") {
            Some((_, Json::Object(map))) => map,
            Some((_, other)) => {
                let what = format!("holds {} under weight_map", other.describe());
                return Err(wrong(&what));
            }
            None => return Err(wrong("has no weight_map")),
        };
        let mut files = BTreeMap::new();
        for (tensor, file) in map {
            match file {
                Json::Text(file) if is_plain(&file) => files.insert(tensor, file),
                other => {
                    let (tensor, other) = (quote(&tensor), other.describe());
                    let what = format!(
                        "holds {other} for the tensor {tensor}, not the name of a file beside it"
                    );
                    return Err(wrong(&what));
                }
            };
        }
        Ok(Index(files))
    }

    /// The names of the files, each once, in alphabetical order.
    pub fn files(&self) -> Vec<&str> {
        let mut files: Vec<&str> = self.0.values().map(String::as_str).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// True for a name that stays in its folder.
fn is_plain(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(['/', '\\', ':', '\0'])
}

impl Checkpoint {
    /// Reads and checks the headers of all files of a sharded checkpoint, which are kept as they
    /// are, and holds them against the index.
    ///
    /// # Errors
    /// One sentence on the first file that is missing or breaks a rule.
    pub fn read_sharded(
        index: &Index,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<Checkpoint, String> {
        let mut given: HashMap<String, Vec<u8>> = HashMap::new();
        for (name, bytes) in files {
            if given.insert(name.clone(), bytes).is_some() {
                return Err(format!(
                    "the file {} was given twice: give it once",
                    quote(&name)
                ));
            }
        }
        let mut whole = Checkpoint {
            parts: Vec::new(),
            entries: BTreeMap::new(),
        };
        for name in index.files() {
            let Some(bytes) = given.remove(name) else {
                let all: Vec<&str> = index.files();
                return Err(format!(
                    "the file {} is missing, one of {} that model.safetensors.index.json names: give all of them together",
                    quote(name),
                    all.len()
                ));
            };
            let part = Checkpoint::read(bytes).map_err(|e| format!("{name}: {e}"))?;
            for (tensor, mut entry) in part.entries {
                if index.0.get(&tensor).map(String::as_str) != Some(name) {
                    return Err(format!(
                        "{name} holds the tensor {}, which model.safetensors.index.json does not say: use the index that belongs to these files",
                        quote(&tensor)
                    ));
                }
                entry.part = whole.parts.len();
                whole.entries.insert(tensor, entry);
            }
            whole.parts.extend(part.parts);
        }
        if let Some(other) = given.keys().min() {
            return Err(format!(
                "the file {} is not one of those that model.safetensors.index.json names: give only these",
                quote(other)
            ));
        }
        if let Some((tensor, file)) = index
            .0
            .iter()
            .find(|(t, _)| !whole.entries.contains_key(*t))
        {
            return Err(format!(
                "the tensor {} is missing in {file}, where model.safetensors.index.json says it is: download the file again",
                quote(tensor)
            ));
        }
        Ok(whole)
    }
}
