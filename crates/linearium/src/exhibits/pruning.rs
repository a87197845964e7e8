//! The pruning bench: what is important and what dropping means as two choices, on texts and on
//! images.

#[path = "pruning/claims.rs"]
mod claims;
#[path = "pruning/flip.rs"]
mod flip;
#[path = "pruning/image.rs"]
mod image;
#[path = "pruning/sweep.rs"]
mod sweep;
#[path = "pruning/text.rs"]
mod text;

use crate::exhibit::declared::{control, measured, number, one_of, symbol, table, whole, word};
use crate::exhibit::{Act, BACKEND, Bench, Exhibit, Pending, Shown, Step};
use crate::lab::Need;
use crate::mixers::RANDOM_MODELS;
use crate::pruning::{draft, scores};
use crate::settings::{Choice, Kind, Property, Settings, choice};
use crate::views::{Cell, Drawing};

/// The bench.
pub static EXHIBIT: Exhibit = Exhibit {
    slug: "pruning",
    title: "Token pruning",
    see: "What is dropped and what dropping means are two choices: the same tokens kept, and the model remembers something else.",
    paper: None,
    controls: &[
        control(
            "read",
            "What is read",
            "input",
            one_of(&[choice("text", "A text"), choice("image", "An image")]),
            "text",
            "A language model that drops tokens of a text, or an image classifier that drops patches.",
        ),
        control(
            "show",
            "What is shown",
            "input",
            one_of(&[
                choice("one", "One pruned run"),
                choice("scores", "All scores: quality against cost"),
                choice("modes", "All drop modes: empty and redundant"),
            ]),
            "one",
            "One run beside the unpruned one; or every score at several keep ratios, measured here and now; or every drop mode where the dropped tokens say nothing and where they repeat their neighbours.",
        ),
        Property {
            when: &["read=text"],
            ..control(
                "model",
                "Model",
                "input",
                Kind::Choice { choices: &MODELS },
                "mamba2-passkey-t128",
                "Trained checkpoints, or two layers of any mixer with random weights, whose loss means nothing but whose error does.",
            )
        },
        Property {
            when: &["read=text"],
            ..control(
                "input",
                "Text",
                "input",
                one_of(&[
                    choice("passkey", "Passkey in text"),
                    choice("sample", "Sample text"),
                    choice("heldout", "Held-out text"),
                    choice("text", "Your own text"),
                ]),
                "passkey",
                "A passkey is stated once in the middle and asked for at the end.",
            )
        },
        Property {
            when: &["input=text"],
            ..control(
                "text",
                "Your text",
                "input",
                Kind::Text { max_bytes: 2000 },
                "What is not written into the state is not forgotten but never known. ",
                "Read as UTF-8 bytes, up to the length below.",
            )
        },
        Property {
            unit: "tokens",
            when: &["read=text"],
            ..control(
                "length",
                "Length T",
                "input",
                whole(64, 2048, true),
                "128",
                "How much is read.",
            )
        },
        Property {
            when: &["read=image"],
            ..control(
                "classifier",
                "Classifier",
                "input",
                one_of(&[
                    choice("digits-vim", "ViM, trained without pruning"),
                    choice("digits-vim-gather", "ViM, tuned with gather"),
                    choice("digits-vim-decay", "ViM, tuned with decay-default"),
                    choice("digits-plain", "Four snakes, no class token"),
                ]),
                "digits-vim",
                "Digits on clutter, 112 by 112 pixels, 196 patches; the tuned ones went on training for 14 s while they pruned as ToP-ViM does.",
            )
        },
        Property {
            when: &["read=image"],
            ..control(
                "picture",
                "Image",
                "input",
                one_of(&[
                    choice("empty", "Digit on an empty background"),
                    choice("redundant", "Digit on a redundant background"),
                    choice("file", "Your own image"),
                ]),
                "empty",
                "Empty: one level and hardly any noise. Redundant: levels that change slowly, so that neighbours say the same. Of your own image the middle square is read as grey.",
            )
        },
        Property {
            when: &["read=image"],
            ..control(
                "scene",
                "Scene",
                "input",
                whole(0, 9999, false),
                "1",
                "Seed of the digit, its place and the clutter.",
            )
        },
        control(
            "score",
            "Score",
            "prune",
            Kind::Choice { choices: &SCORES },
            "write_norm",
            "What is important: the tokens with the highest scores stay.",
        ),
        Property {
            when: &["score=spec_kv", "score=spec_pc", "show=scores"],
            ..control(
                "draft",
                "Draft model",
                "prune",
                one_of(&DRAFTS),
                "mamba2-n16-t512",
                "A smaller checkpoint reads the text first: SpecKV lets its guess of what comes next vote, SpecPC takes what it looks at.",
            )
        },
        control(
            "mode",
            "Drop mode",
            "prune",
            one_of(&[
                choice("mask", "Mask: embedding 0, all work stays"),
                choice("gather", "Gather: the gap closes"),
                choice("hold", "Hold: the state waits"),
                choice("decay-true", "Decay-true: it fades as it would have"),
                choice("decay-default", "Decay-default: it fades by a default step"),
                choice("carry", "Carry: the last kept token again"),
            ]),
            "gather",
            "What a dropped token does to the state.",
        ),
        Property {
            when: &["read=text"],
            ..control(
                "conv",
                "Convolution sees",
                "prune",
                one_of(&[
                    choice("original", "Original neighbours"),
                    choice("condensed", "Kept neighbours"),
                ]),
                "original",
                "What stands before a kept token in the short convolution or token shift.",
            )
        },
        control(
            "keep",
            "Keep ratio",
            "prune",
            number(0.0, 1.0, false),
            "0.7",
            "The share of the tokens left that each pruning keeps; of patches an even number beside the class token, as ToP-ViM rounds.",
        ),
        control(
            "layer",
            "Layer",
            "prune",
            whole(0, 7, false),
            "1",
            "The first layer that drops, from 0; a model with fewer layers takes its last. An image is pruned from block 1 on, since a score reads the block before.",
        ),
        control(
            "schedule",
            "Schedule",
            "prune",
            one_of(&[
                choice("once", "Once, at this layer"),
                choice("each", "At every layer from there"),
                choice("three", "Three times, spread as in ToP-ViM"),
            ]),
            "once",
            "ToP-ViM prunes before blocks 5, 10 and 15 of 24: here at the same shares of the depth. With a keep ratio of 0.8 an image goes 197, 157, 125, 101.",
        ),
        Property {
            unit: "tokens",
            when: &["read=text"],
            ..control(
                "protect",
                "Last tokens that stay",
                "prune",
                whole(8, 128, false),
                "32",
                "The question is never dropped; qualities of all scores are compared on these tokens.",
            )
        },
        Property {
            when: &["read=image"],
            ..control(
                "as",
                "ToP-ViM",
                "prune",
                one_of(&[
                    choice("described", "As described"),
                    choice("released", "As released"),
                ]),
                "described",
                "The released code scores by the last scan order read from its end, and moves the class token to the middle of the kept patches.",
            )
        },
        control(
            "seed",
            "Seed",
            "prune",
            whole(0, 1000, false),
            "1",
            "For scores that draw, for passkeys and for random weights.",
        ),
        BACKEND,
    ],
    symbols: &[
        measured("tokens", "T", "tokens", "tokens", "length"),
        measured("kept", "K", "tokens that reach the head", "tokens", "keep"),
        symbol(
            "error",
            "ε",
            "error of the kept logits over the unpruned run",
            "mode",
        ),
        symbol("lost", "ε₁", "of it, lost content", "score"),
        symbol("moved", "ε₂", "of it, moved neighbours", "conv"),
        symbol("shifted", "ε₃", "of it, shifted decay", "mode"),
        measured("loss", "ℓ", "loss, unpruned", "nats", "model"),
        measured("loss_pruned", "ℓ′", "loss, pruned", "nats", "score"),
        symbol(
            "recall",
            "r",
            "digits of the passkey found, unpruned, of 5",
            "input",
        ),
        symbol(
            "recall_pruned",
            "r′",
            "digits of the passkey found, pruned, of 5",
            "keep",
        ),
        symbol(
            "operations",
            "ω",
            "multiply-adds over the unpruned run",
            "schedule",
        ),
        measured("time", "t", "time, unpruned", "ms", "backend"),
        measured("time_pruned", "t′", "time, pruned", "ms", "keep"),
    ],
    needs,
    run,
    claims: &claims::CLAIMS,
    tour: &[
        Step {
            ask: "A passkey of five digits is said in a text of 128 tokens and asked for at the end. Half of the tokens are dropped in the second layer, the question stays. How many of the five digits are found?",
            settings: "keep=0.5",
            act: Act::Mark {
                symbol: "recall_pruned",
                min: 0.0,
                max: 5.0,
                log: false,
            },
            reveal: "None. The size of a write does not say what will be asked for.",
        },
        Step {
            ask: "Nothing lies between a few events, and half of the tokens are dropped. If the state fades over each gap as it would have, how large is the error?",
            settings: "show=modes&keep=0.5",
            act: Act::Mark {
                symbol: "error",
                min: 0.0001,
                max: 1.0,
                log: true,
            },
            reveal: "Two thousandths: what was dropped said nothing. At the other end of the picture it repeats its neighbours, and fading is the worse choice.",
        },
        Step {
            ask: "Find a way to drop tokens with which all five digits are still found.",
            settings: "",
            act: Act::Find {
                symbol: "recall_pruned",
                low: 5.0,
                high: 5.0,
            },
            reveal: "Keeping everything is one. Another is to ask a draft model of a twelfth of the size what it looks at: with half of the tokens gone all five are found, where the hidden attention of the last token finds three.",
        },
    ],
    formula: r"h_p = a_p h_{p-1}\ \text{(decay-true)},\quad h_p = h_{p-1}\ \text{(hold)},\quad h_p = a_0 h_{p-1}\ \text{(decay-default)}",
    source: "ToP-ViM (arXiv 2409.18962; ZLKong/ToP-ViM vim/models_mamba.py); LongMamba (arXiv 2504.16053) for hold; the score's own source in its row",
    tolerance: "RMS ratio at most 1e-5 for the four exact facts on both back ends; images equal to PyTorch on 8 scenes and in every class of the test set",
};

/// Trained models, then those with random weights.
const MODELS: [Choice; 3 + RANDOM_MODELS.len()] = {
    let mut all = [choice("", ""); 3 + RANDOM_MODELS.len()];
    all[0] = choice(
        "mamba2-passkey-t128",
        "Mamba-2, passkey, trained at 128 tokens",
    );
    all[1] = choice(
        "mamba2-text-t1024",
        "Mamba-2, text, trained at 1,024 tokens",
    );
    all[2] = choice("llama-text-t256", "Transformer, trained at 256 tokens");
    let mut i = 0;
    while i < RANDOM_MODELS.len() {
        all[3 + i] = choice(RANDOM_MODELS[i].0, RANDOM_MODELS[i].1);
        i += 1;
    }
    all
};

/// Smaller models than those that are pruned.
const DRAFTS: [Choice; 3] = [
    choice("mamba2-n16-t512", "Mamba-2, 2 layers of 64, 16 states"),
    choice("mamba2-n4-t512", "Mamba-2, 2 layers of 64, 4 states"),
    choice(
        "mamba2-passkey-t128",
        "Mamba-2, passkey, trained at 128 tokens",
    ),
];

/// The scores by what they look at.
const SCORES: [Choice; 27] = [
    choice("random", "Random"),
    choice("stride", "Uniform stride"),
    choice("recency", "Recency window"),
    choice("norm_l2", "Input norm, l2"),
    choice("norm_l1", "Input norm, l1"),
    choice("write_norm", "Write norm"),
    choice("step_size", "Step size Δ"),
    choice("retained_mass", "Retained mass"),
    choice("activation_clip", "Output activation, clipped (ToP-ViM)"),
    choice("activation_l1", "Output activation, l1"),
    choice("activation_l2", "Output activation, l2"),
    choice("activation_sum", "Output activation, unclipped"),
    choice("received", "Hidden attention received"),
    choice("given", "Hidden attention of the last token"),
    choice("heavy_hitters", "Heavy hitters (H2O)"),
    choice("window_vote", "Window vote (SnapKV)"),
    choice("spec_kv", "Window and draft vote (SpecKV)"),
    choice("spec_pc", "What a draft looks at (SpecPC)"),
    choice("alisa", "Sparse window attention (ALISA)"),
    choice("merging", "Similarity merging (ToMe)"),
    choice("merging_next", "Merging with the next token"),
    choice("importance_similarity", "Importance and similarity"),
    choice("gradient", "Gradient saliency"),
    choice("gumbel_mask", "Gumbel mask (Selective S4)"),
    choice("router", "Sparse modular activation (SeqBoat)"),
    choice("long_mamba", "LongMamba's filter"),
    choice("oracle_all", "Oracle"),
];

fn need(kind: &'static str, id: &str) -> Need {
    Need {
        kind,
        id: id.to_owned(),
    }
}

/// True if a draft model has to be there.
fn asks_draft(settings: &Settings) -> bool {
    match settings.get("show") {
        "one" => scores::by_id(settings.get("score")).is_ok_and(draft::is_asked),
        show => show == "scores",
    }
}

fn needs(settings: &Settings) -> Vec<Need> {
    let mut out = Vec::new();
    if settings.get("read") == "image" {
        out.push(need("model", settings.get("classifier")));
        if (settings.get("show"), settings.get("picture")) == ("one", "file") {
            out.push(need("image", "file"));
        }
        return out;
    }
    if settings.get("show") == "modes" {
        return out;
    }
    let model = settings.get("model");
    if !model.starts_with("random-") {
        out.push(need("model", model));
    }
    if asks_draft(settings) && settings.get("draft") != model {
        out.push(need("model", settings.get("draft")));
    }
    match settings.get("input") {
        "sample" => out.push(need("text", "sample")),
        "text" => {}
        _ => out.push(need("text", "heldout")),
    }
    out
}

fn run<'a>(settings: &'a Settings, bench: &'a Bench<'a>) -> Pending<'a, Shown> {
    Box::pin(async move {
        match (settings.get("read"), settings.get("show")) {
            ("image", "one") => image::one(settings, bench).await,
            ("image", "scores") => image::all_scores(settings, bench).await,
            ("image", _) => image::all_modes(settings, bench).await,
            (_, "one") => text::one(settings, bench).await,
            (_, "scores") => text::all_scores(settings, bench).await,
            _ => flip::all_modes(settings, bench).await,
        }
    })
}

/// What is shown where these settings cannot be: the sentence that says why.
fn cannot(sentence: &str) -> Shown {
    let sentence = format!("Nothing is pruned: {sentence}.");
    let mut out = Shown {
        summary: sentence.clone(),
        ..Shown::default()
    };
    out.words("error", f64::NAN, "none");
    let rows = vec![vec![word(sentence)]];
    let drawing = Drawing::Table(table(&["Why there is no pruned run"], rows));
    out.view("why", "These choices do not go together", drawing);
    out
}

/// A row of a table of numbers before and after.
fn pair(what: &str, before: f64, after: f64, unit: &str) -> Vec<Cell> {
    vec![
        word(what),
        Cell::Number(before),
        Cell::Number(after),
        word(unit),
    ]
}

/// The layers that drop: from the controls, of a model with so many, at the earliest at `first`.
fn layers(settings: &Settings, of: usize, first: usize) -> Vec<usize> {
    let at = (settings.integer("layer") as usize)
        .max(first)
        .min(of.saturating_sub(1));
    match settings.get("schedule") {
        "each" => (at..of).collect(),
        "three" => {
            let mut all: Vec<usize> = [5, 10, 15]
                .iter()
                .map(|layer| ((layer * of) as f64 / 24.0).round() as usize)
                .map(|layer| layer.clamp(first.min(of - 1), of - 1))
                .collect();
            all.dedup();
            all
        }
        _ => vec![at],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_but_the_oracle_of_one_readout_can_be_chosen() {
        let chosen: Vec<&str> = SCORES.iter().map(|choice| choice.id).collect();
        let all = scores::ALL.iter().map(|score| score.id());
        let mut missing: Vec<&str> = all.filter(|id| !chosen.contains(id)).collect();
        missing.sort_unstable();
        assert_eq!(missing, ["oracle"]);
        for id in chosen {
            assert!(scores::by_id(id).is_ok(), "{id}");
        }
    }
}
