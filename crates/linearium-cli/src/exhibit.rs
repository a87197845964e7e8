//! `linearium exhibit`: a paper as a thing that runs, without a page.

use std::path::{Path, PathBuf};

use linearium::exhibit::{Exhibit, Idle, Pending, Value};
use linearium::exhibits::{ALL, known};
use linearium::lab::{Lab, Need};
use linearium::number::short;
use linearium::settings::Settings;
use linearium::views::Panel;
use linearium_gpu::LabHost;
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::files::{self, NewFile};
use crate::{Failure, Outcome, backend, models, note, picture, probe, say};

/// Where the shipped models and texts are.
const MODELS: &str = "web/public/models";
/// A shipped text is far smaller.
const MAX_TEXT: usize = 1 << 24;

/// The slugs of all exhibits.
pub fn slugs() -> Vec<&'static str> {
    ALL.iter().map(|e| e.slug).collect()
}

pub fn flags() -> Vec<Flag> {
    let mut set = Flag::new(
        "set",
        "NAME=VALUE",
        "A control of the exhibit; `linearium exhibit SLUG --set help=` lists them.",
    );
    set.many = true;
    vec![
        set,
        backend_flag(),
        models_flag(),
        Flag::new(
            "json",
            "F",
            "Where to write the panel: views with their arrays, axes and provenance, and the live values.",
        ),
        Flag::new(
            "png",
            "DIR",
            "A folder, made if need be, for a picture of every view.",
        ),
    ]
}

/// The flag `--backend` of what runs on one back end.
pub fn backend_flag() -> Flag {
    Flag::new(
        "backend",
        "cpu|gpu",
        "What computes: the CPU, or the GPU (Vulkan; LINEARIUM_ADAPTER chooses one by a part of its name). Default: cpu.",
    )
}

/// The flag `--models`.
pub fn models_flag() -> Flag {
    Flag::new(
        "models",
        "DIR",
        &format!("Where the shipped models and texts are, for what needs them. Default: {MODELS}."),
    )
}

/// The value of `--models`.
pub fn models_folder(arguments: &Arguments) -> PathBuf {
    arguments
        .raw("models")
        .map_or_else(|| PathBuf::from(MODELS), PathBuf::from)
}

/// A lab on the back end that was asked for.
pub async fn lab(arguments: &Arguments) -> Result<(Lab<LabHost>, bool), Failure> {
    let choice = match backend::choice(arguments)? {
        backend::Choice::Auto => {
            return Err(Failure::Usage(
                "--backend auto is not known here: give cpu or gpu".to_owned(),
            ));
        }
        choice => choice,
    };
    let (host, has_gpu) = backend::host(choice).await?;
    let mut lab = Lab::new(host);
    if has_gpu {
        lab.gpu_is_ready();
    }
    Ok((lab, has_gpu))
}

/// Nobody else waits for this thread.
pub fn rest() -> Pending<'static, ()> {
    Box::pin(async { Ok(()) })
}

/// Gives the lab shipped models and texts.
pub fn provide(lab: &mut Lab<LabHost>, needs: &[Need], folder: &Path) -> Outcome {
    for need in needs {
        match need.kind {
            "model" => {
                let dir = folder.join(&need.id);
                lab.provide_model(&need.id, models::read(&dir)?)
                    .map_err(|sentence| format!("{}: {sentence}", dir.display()))?;
            }
            "image" => {
                return Err(Failure::Usage(
                    "a picture of one's own is not read here: give it to linearium prune --image"
                        .to_owned(),
                ));
            }
            _ => {
                let text = files::read_text(&folder.join(format!("{}.txt", need.id)), MAX_TEXT)?;
                lab.provide_text(&need.id, text.bytes)?;
            }
        }
    }
    Ok(())
}

/// What is written.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(flatten)]
    panel: &'a Panel,
    values: &'a [Value],
    idle: &'a [Idle],
    /// The controls as a query: the page shows the same with it.
    settings: &'a str,
    version: &'a str,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let exhibit = known(arguments.operand()).map_err(Failure::Usage)?;
    let mut settings = Settings::of(exhibit.controls);
    for given in arguments.all("set") {
        let given = given
            .to_str()
            .ok_or_else(|| Failure::Usage("--set is not UTF-8 text".to_owned()))?;
        let Some((name, value)) = given.split_once('=') else {
            return Err(Failure::Usage(format!(
                "--set {given} has no value: give NAME=VALUE with one of {}",
                names(exhibit)
            )));
        };
        if name == "help" {
            return list(exhibit);
        }
        if name == "backend" {
            return Err(Failure::Usage(
                "the back end has a flag of its own: give --backend cpu or gpu".to_owned(),
            ));
        }
        settings.set(name, value).map_err(|sentence| {
            Failure::Usage(format!(
                "--set {sentence}; {} has {}",
                exhibit.slug,
                names(exhibit)
            ))
        })?;
    }
    if let Some(backend) = arguments.text("backend")? {
        settings
            .set("backend", backend)
            .map_err(|sentence| Failure::Usage(format!("--{sentence}")))?;
    }
    let json = arguments.raw("json").map(Path::new);
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (mut lab, _) = lab(arguments).await?;
        let query = settings.to_query();
        let mut answer = lab.exhibit(exhibit.slug, &query, &rest).await?;
        if answer.panel.is_none() {
            provide(&mut lab, &answer.needs, &models_folder(arguments))?;
            answer = lab.exhibit(exhibit.slug, &query, &rest).await?;
        }
        while answer.progress[0] < answer.progress[1] {
            answer = lab.exhibit(exhibit.slug, &query, &rest).await?;
        }
        answer.notices.iter().for_each(|n| note(n));
        let panel = answer
            .panel
            .ok_or_else(|| Failure::Other("the exhibit has no answer".to_owned()))?;
        if let Some(mut file) = out {
            let written = Written {
                panel: &panel,
                values: &answer.values,
                idle: &answer.idle,
                settings: &answer.query,
                version: env!("CARGO_PKG_VERSION"),
            };
            let text = serde_json::to_string(&written)
                .map_err(|e| format!("the panel cannot be written as JSON: {e}"))?;
            file.write(text.as_bytes())?;
            file.write(b"\n")?;
            file.finish()?;
        }
        if let Some(folder) = arguments.raw("png") {
            picture::write_all(&panel, Path::new(folder))?;
        }
        print(exhibit, &panel, &answer.values, &answer.idle)
    })
}

fn names(exhibit: &Exhibit) -> String {
    let ids: Vec<&str> = exhibit.controls.iter().map(|p| p.id).collect();
    ids.join(", ")
}

fn list(exhibit: &Exhibit) -> Outcome {
    for p in exhibit.controls {
        let flag = Flag::of(p);
        say(&format!("{} {}\n    {}", flag.name, flag.value, flag.help))?;
    }
    Ok(())
}

fn print(exhibit: &Exhibit, panel: &Panel, values: &[Value], idle: &[Idle]) -> Outcome {
    probe::print(panel)?;
    say("")?;
    for value in values {
        let Some(symbol) = exhibit.symbols.iter().find(|s| s.id == value.symbol) else {
            continue;
        };
        let number = match value.words.as_str() {
            "" => short(value.value),
            words => words.to_owned(),
        };
        let line = format!("{} = {number} {}", symbol.letter, symbol.unit);
        say(&format!("{}  ({})", line.trim_end(), symbol.meaning))?;
    }
    for idle in idle {
        say(&format!("{} does not act here: {}", idle.control, idle.why))?;
    }
    Ok(())
}
