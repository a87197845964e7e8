//! `linearium generate`.

use std::io::{self, IsTerminal, Write};

use linearium::lab::Host;
use linearium::model::session::{Options, Session};
use linearium::player::Player;
use linearium::random::Random;
use linearium::settings::MAX_CONTEXT;
use pollster::block_on;

use crate::arguments::{Arguments, Flag};
use crate::backend::{self, Choice};
use crate::models::{self, Source};
use crate::{Failure, Outcome};

const MAX_TOKENS: usize = 1 << 24;
const MAX_SEED: usize = 1_000_000;

pub fn flags() -> Vec<Flag> {
    vec![
        models::flag(),
        Flag::new("prompt", "TEXT", "What the model reads first."),
        Flag::new("tokens", "N", "How many tokens it writes. Default: 200."),
        Flag::new(
            "temperature",
            "0..10",
            "Logits are divided by it; 0 takes the most likely token. Default: 0.",
        ),
        Flag::new("seed", "N", "Seed of the choice of tokens. Default: 0."),
        backend::flag(),
    ]
}

pub fn run(arguments: &Arguments) -> Outcome {
    let source = Source::new(arguments.required("model", "a folder, or random-ssd")?)?;
    arguments.required("prompt", "the text that the model reads first")?;
    let prompt = arguments.text("prompt")?.unwrap_or_default();
    if prompt.is_empty() {
        return Err(Failure::Usage(
            "--prompt is empty: give at least one character".to_owned(),
        ));
    }
    let count = arguments.integer("tokens", 1, MAX_TOKENS)?.unwrap_or(200);
    let temperature = arguments.number("temperature", 0.0, 10.0)?.unwrap_or(0.0);
    let seed = arguments.integer("seed", 0, MAX_SEED)?.unwrap_or(0);
    let choice = backend::choice(arguments)?;
    block_on(generate(
        &source,
        prompt,
        count,
        temperature,
        &mut Random::new(seed as u64),
        choice,
    ))
}

async fn generate(
    source: &Source,
    prompt: &str,
    count: usize,
    temperature: f64,
    random: &mut Random,
    choice: Choice,
) -> Outcome {
    let stack = source.load()?;
    if !stack.reads_text() {
        return Err(Failure::Other(format!(
            "{} has a vocabulary of {} tokens and no tokenizer.json, so its tokens have no text: add that file to the folder or give a model that reads bytes",
            source.name(),
            stack.vocab
        )));
    }
    let mut tokens = stack.encode(prompt.as_bytes());
    if tokens.is_empty() {
        return Err(Failure::Other(format!(
            "--prompt has no tokens for {}: give another one",
            source.name()
        )));
    }
    let capacity = tokens.len() + count;
    if stack.has_cache() && capacity > MAX_CONTEXT {
        return Err(Failure::Other(format!(
            "{} keeps a cache that grows with every token: prompt and --tokens may have {MAX_CONTEXT} tokens together, not {capacity}",
            source.name()
        )));
    }
    let (host, gpu) = backend::host(choice).await?;
    let options = Options {
        capacity,
        ..Options::default()
    };
    let segment = host.segment_tokens(gpu).min(tokens.len());
    let vocab = stack.vocab;
    let mut session = Session::new(stack.clone(), &options, segment, |layout| {
        host.player(gpu, layout)
    })
    .await?;
    let mut out = io::stdout().lock();
    for _ in 0..count {
        let mut last = 0;
        while !tokens.is_empty() {
            let n = session.next_segment(tokens.len());
            session.feed(&tokens[..n], None).await?;
            tokens.drain(..n);
            last = n - 1;
        }
        let row = last * vocab..(last + 1) * vocab;
        let read = session.player.read(&[(session.plan.logits, row)]).await?;
        let token = choose(&read[0], temperature, random);
        out.write_all(&stack.bytes_of(token))?;
        out.flush()?;
        tokens.push(token);
    }
    if out.is_terminal() {
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// A token by its probability `softmax(logits / temperature)`; the most likely one at 0.
fn choose(logits: &[f32], temperature: f64, random: &mut Random) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    if temperature == 0.0 {
        return best as u32;
    }
    let weight = |logit: f32| (f64::from(logit - logits[best]) / temperature).exp();
    let sum: f64 = logits.iter().map(|&l| weight(l)).sum();
    let mut left = random.uniform() * sum;
    for (i, &logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return i as u32;
        }
    }
    best as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_as_often_as_they_should() {
        let logits = [0.0, 1.0, -1.0, 0.5];
        let random = &mut Random::new(3);
        assert_eq!(choose(&logits, 0.0, random), 1);
        let temperature = 0.7;
        let mut counts = [0.0; 4];
        let n = 40_000;
        for _ in 0..n {
            counts[choose(&logits, temperature, random) as usize] += 1.0 / f64::from(n);
        }
        let weights = logits.map(|l: f32| (f64::from(l) / temperature).exp());
        let sum: f64 = weights.iter().sum();
        for (got, weight) in counts.iter().zip(weights) {
            // Four standard errors of a share near one half.
            assert!((got - weight / sum).abs() < 0.01, "{counts:?}");
        }
    }
}
