//! Where a model comes from: a folder with its two files, or a random number generator.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use linearium::mixers;
use linearium::model::checkpoint::MAX_HEADER_BYTES;
use linearium::model::config::{MAX_CONFIG_BYTES, MAX_PARAMETERS};
use linearium::model::load::load;
use linearium::model::stack::Stack;
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
            Source::Folder(dir) => {
                let [config, weights] = read(dir)?;
                load(&config, weights)
                    .map(Rc::new)
                    .map_err(|sentence| format!("{}: {sentence}", dir.display()))
            }
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

/// The bytes of `config.json` and `model.safetensors`.
///
/// # Errors
/// One sentence if the folder or a file is missing, or a file is larger than any model that fits.
pub fn read(dir: &Path) -> Result<[Vec<u8>; 2], String> {
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
    let file = |name: &str, most: u64, advice: &str| {
        let path = dir.join(name);
        if !path.exists() {
            return Err(format!(
                "{} has no {name}: give a folder with config.json and model.safetensors",
                dir.display()
            ));
        }
        match fs::metadata(&path) {
            Ok(m) if m.len() > most => Err(format!(
                "{} is {} bytes long where at most {most} are read: choose {advice}",
                path.display(),
                m.len()
            )),
            _ => files::read_start(&path, most),
        }
    };
    Ok([
        file(
            "config.json",
            MAX_CONFIG_BYTES as u64,
            "the config.json of the model, not its tokenizer or weights",
        )?,
        // Eight bytes of length, the header, and four bytes a parameter.
        file(
            "model.safetensors",
            8 + MAX_HEADER_BYTES + 4 * MAX_PARAMETERS,
            "a smaller model",
        )?,
    ])
}
