//! Where a model comes from: a folder with its two files, or a random number generator.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use linearium::mixers;
use linearium::model::checkpoint::{Index, MAX_HEADER_BYTES, MAX_INDEX_BYTES};
use linearium::model::config::{MAX_CONFIG_BYTES, MAX_PARAMETERS};
use linearium::model::load::{Files, load_files};
use linearium::model::stack::Stack;
use linearium::model::tokenizer::MAX_TOKENIZER_BYTES;
use linearium::settings::{Kind, Settings, property};

use crate::arguments::Flag;
use crate::{Failure, files};

/// Where a model comes from.
#[derive(PartialEq, Eq)]
pub enum Source {
    /// The id of a model with random weights, for example `random-ssd`.
    Random(String),
    /// A folder.
    Folder(PathBuf),
}

/// The ids of models with random weights.
pub fn random_ids() -> Vec<String> {
    mixers::ALL
        .iter()
        .map(|d| format!("random-{}", d.id))
        .collect()
}

/// The flag `--model`.
pub fn flag() -> Flag {
    Flag::new(
        "model",
        "DIR",
        &format!(
            "A folder with config.json and model.safetensors, or a model with random weights: {}.",
            random_ids().join(", ")
        ),
    )
}

impl Source {
    /// From the value of `--model`.
    pub fn new(value: &OsStr) -> Result<Source, Failure> {
        match value.to_str() {
            Some(id) if random_ids().iter().any(|r| r == id) => Ok(Source::Random(id.to_owned())),
            Some(id) if id.starts_with("random-") && !Path::new(id).exists() => {
                Err(Failure::Usage(format!(
                    "there is no model “{id}”: give a folder, or one of {}",
                    random_ids().join(", ")
                )))
            }
            _ => Ok(Source::Folder(value.into())),
        }
    }

    /// Its id in the settings of the lab: that of a shipped model for a folder of that name, so
    /// that the same settings show the same on the page; `file` for any other folder.
    pub fn id(&self) -> &str {
        let shipped = |dir: &Path| match &property("model")?.kind {
            Kind::Choice { choices } => {
                let name = dir.file_name()?;
                choices.iter().map(|c| c.id).find(|id| name == *id)
            }
            _ => None,
        };
        match self {
            Source::Random(id) => id,
            Source::Folder(dir) => shipped(dir).unwrap_or("file"),
        }
    }

    /// A name for people.
    pub fn name(&self) -> String {
        match self {
            Source::Random(id) => id.clone(),
            Source::Folder(dir) => dir
                .file_name()
                .map_or_else(|| dir.display().to_string(), |n| n.to_string_lossy().into()),
        }
    }

    /// The model. Random weights come from the lab's default seed.
    ///
    /// # Errors
    /// One sentence that begins with the folder.
    pub fn load(&self) -> Result<Rc<Stack>, String> {
        match self {
            Source::Folder(dir) => load_files(read(dir)?)
                .map(Rc::new)
                .map_err(|sentence| format!("{}: {sentence}", dir.display())),
            Source::Random(id) => {
                let definition = mixers::ALL
                    .iter()
                    .find(|d| id.strip_prefix("random-") == Some(d.id))
                    .ok_or_else(|| format!("there is no model {id}"))?;
                let seed = Settings::default().integer("seed") as u64;
                Ok(Rc::new(Stack::random(definition, seed)))
            }
        }
    }
}

/// The most bytes of weights: eight of length, the header, and four for each parameter.
const MAX_WEIGHTS_BYTES: u64 = 8 + MAX_HEADER_BYTES + 4 * MAX_PARAMETERS;

/// The files of a model's folder: `config.json`, the weights in one file or in several with their
/// index, and `tokenizer.json` if there is one.
///
/// # Errors
/// One sentence if the folder or a file is missing, or a file is larger than any model that fits.
pub fn read(dir: &Path) -> Result<Files, String> {
    if !dir.is_dir() {
        let why = match dir.exists() {
            true => "is a file",
            false => "does not exist",
        };
        return Err(format!(
            "{} {why}: give a folder with config.json and model.safetensors",
            dir.display()
        ));
    }
    let config = optional(
        dir,
        "config.json",
        MAX_CONFIG_BYTES as u64,
        "the config.json of the model, not its tokenizer or weights",
    )?;
    let weights = |name: &str| optional(dir, name, MAX_WEIGHTS_BYTES, "a smaller model");
    let whole = weights("model.safetensors")?;
    let index = match whole {
        Some(_) => None,
        None => optional(
            dir,
            "model.safetensors.index.json",
            MAX_INDEX_BYTES as u64,
            "the index of the model",
        )?,
    };
    let mut parts = Vec::new();
    match (whole, &index) {
        (Some(whole), _) => parts.push(("model.safetensors".to_owned(), whole)),
        (None, Some(index)) => {
            let index = Index::read(index).map_err(|e| format!("{}: {e}", dir.display()))?;
            for name in index.files() {
                // Of one that is missing the loader says so.
                parts.extend(weights(name)?.map(|part| (name.to_owned(), part)));
            }
        }
        (None, None) => {
            let missing = match config {
                Some(_) => "model.safetensors",
                None => "config.json",
            };
            return Err(format!(
                "{} has no {missing}: give a folder with config.json and model.safetensors",
                dir.display()
            ));
        }
    }
    let tokenizer = optional(
        dir,
        "tokenizer.json",
        MAX_TOKENIZER_BYTES as u64,
        "the tokenizer.json of the model",
    )?;
    Ok(Files {
        config,
        index,
        weights: parts,
        tokenizer,
    })
}

/// The bytes of a file, if it is there.
fn optional(dir: &Path, name: &str, most: u64, advice: &str) -> Result<Option<Vec<u8>>, String> {
    let path = dir.join(name);
    if !path.exists() {
        return Ok(None);
    }
    match fs::metadata(&path) {
        Ok(m) if m.len() > most => Err(format!(
            "{} is {} bytes long where at most {most} are read: choose {advice}",
            path.display(),
            m.len()
        )),
        _ => files::read_start(&path, most).map(Some),
    }
}
