//! `linearium claims`: what the papers say against what is measured.

use std::path::Path;

use linearium::exhibit::{Checked, Claim};
use linearium::exhibits::ALL;
use linearium::number::short;
use pollster::block_on;
use serde::Serialize;

use crate::arguments::{Arguments, Flag};
use crate::exhibit::{backend_flag, lab, models_flag, models_folder, provide, rest};
use crate::files::NewFile;
use crate::{Failure, Outcome, say};

pub fn flags() -> Vec<Flag> {
    vec![
        backend_flag(),
        models_flag(),
        Flag::new("json", "F", "Where to write the ledger."),
    ]
}

/// A line of the ledger: what was published and what was measured.
#[derive(Serialize)]
struct Written {
    #[serde(flatten)]
    published: &'static Claim,
    #[serde(flatten)]
    checked: Checked,
}

pub fn run(arguments: &Arguments) -> Outcome {
    let json = arguments.raw("json").map(Path::new);
    let asked = &arguments.operands;
    let exhibits = ALL
        .iter()
        .filter(|e| asked.is_empty() || asked.iter().any(|slug| slug == e.slug));
    block_on(async {
        let out = json.map(NewFile::create).transpose()?;
        let (mut lab, gpu) = lab(arguments).await?;
        let (mut rows, mut broken) = (Vec::new(), Vec::new());
        for exhibit in exhibits {
            for claim in exhibit.claims {
                let needs = lab.claim_needs(exhibit.slug, claim.id)?;
                provide(&mut lab, &needs, &models_folder(arguments))?;
                let checked = lab
                    .check_claim(exhibit.slug, claim.id, gpu, &rest)
                    .await
                    .map_err(|e| format!("{}, {}: {e}", exhibit.slug, claim.id))?;
                print(exhibit.title, claim, &checked)?;
                if claim.reproducible && !checked.holds {
                    broken.push(format!("{}/{}", exhibit.slug, claim.id));
                }
                let published = claim;
                rows.push(Written { published, checked });
            }
        }
        if let Some(mut out) = out {
            let text = serde_json::to_string_pretty(&rows)
                .map_err(|e| format!("the ledger cannot be written as JSON: {e}"))?;
            out.write(text.as_bytes())?;
            out.write(b"\n")?;
            out.finish()?;
        }
        if broken.is_empty() {
            return Ok(());
        }
        Err(Failure::Other(format!(
            "{} of {} claims must hold here and do not: {}",
            broken.len(),
            rows.len(),
            broken.join(", ")
        )))
    })
}

fn print(title: &str, claim: &Claim, checked: &Checked) -> Outcome {
    let verdict = match (checked.holds, claim.reproducible) {
        (true, _) => "holds",
        (false, true) => "DOES NOT HOLD, though it must here",
        (false, false) => "does not hold here",
    };
    let [low, high] = claim.expected;
    let bounds = match (low.is_finite(), high.is_finite()) {
        (true, true) => format!("{} to {}", short(low), short(high)),
        (false, _) => format!("at most {}", short(high)),
        (_, false) => format!("at least {}", short(low)),
    };
    let unit = match claim.unit {
        "" => String::new(),
        unit => format!(" {unit}"),
    };
    let why = match claim.why {
        "" => String::new(),
        why => format!("\n  why: {why}"),
    };
    say(&format!(
        "{title}, {}: {verdict}\n  published: {} ({})\n  measured: {}: {}{unit}, expected {bounds}{unit}. {}\n  scale: {}\n  on {}, {} ms{why}",
        claim.id,
        claim.statement,
        claim.source,
        claim.measured,
        short(checked.measured.value),
        checked.measured.words,
        claim.scale,
        checked.backend,
        short(checked.ms.round()),
    ))
}
