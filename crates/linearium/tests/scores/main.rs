//! Token pruning against official code, as golden files recorded what that chose, merged and weighed.

#[path = "../golden/golden.rs"]
mod golden;
mod mixers;

use golden::Golden;
use linearium::pruning::influence::shares;
use linearium::pruning::scores::gumbel_mask::{Generator, Mask};
use linearium::pruning::scores::heavy_hitters::{Cache, restrict};
use linearium::pruning::scores::long_mamba::Rule;
use linearium::pruning::scores::merging::{Merged, soft_matching};
use linearium::pruning::scores::router;
use linearium::pruning::scores::spec_pc::{self, Options};
use linearium::pruning::scores::step_size::StepSize;
use linearium::pruning::scores::window_vote::{Reduce, kept_by_head};
use linearium::pruning::{Score, Seen, ranking};
use serde_json::Value;

/// Positions, counts and masks.
fn whole(golden: &Golden, name: &str) -> Vec<usize> {
    let name = format!("case{}.{name}", golden.case);
    let (values, rest) = golden.file.raw(&name).unwrap().as_chunks::<4>();
    assert!(rest.is_empty());
    let of = |b: &[u8; 4]| usize::try_from(i32::from_le_bytes(*b)).unwrap();
    values.iter().map(of).collect()
}

fn mask(golden: &Golden, name: &str) -> Vec<bool> {
    whole(golden, name).into_iter().map(|x| x == 1).collect()
}

fn exact(golden: &Golden, name: &str) -> Vec<f64> {
    golden.input(name).into_iter().map(f64::from).collect()
}

fn setting(golden: &Golden, name: &str) -> Value {
    let text = &golden.file.metadata()[&format!("case{}", golden.case)];
    serde_json::from_str::<Value>(text).unwrap()[name].clone()
}

fn count(golden: &Golden, name: &str) -> usize {
    let value = setting(golden, name).as_u64().unwrap();
    value.try_into().unwrap()
}

fn near(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "{i}: {got} {want}");
    }
}

/// Attention of `q [H, T, K]` and `k [G, T, K]`: the rows of every head.
fn attention(golden: &Golden) -> (Vec<Vec<Vec<f64>>>, usize) {
    let [heads, tokens, key] = golden.shape("q")[..] else {
        unreachable!()
    };
    let groups = golden.shape("k")[0];
    let by_token = |x: Vec<f32>, heads: usize| -> Vec<f32> {
        let row = |t: usize, h: usize| x[(h * tokens + t) * key..][..key].to_vec();
        (0..tokens)
            .flat_map(|t| (0..heads).map(move |h| (t, h)))
            .flat_map(|(t, h)| row(t, h))
            .collect()
    };
    let rows = |h: usize| {
        // A head of queries with its head of keys.
        let of = |x: Vec<f32>, h: usize| x[h * tokens * key..][..tokens * key].to_vec();
        let (q, k) = (
            of(golden.input("q"), h),
            of(golden.input("k"), h * groups / heads),
        );
        let seen = Seen {
            tokens,
            heads: 1,
            key,
            value: 0,
            q: &by_token(q, 1),
            k: &by_token(k, 1),
            scale: (key as f32).sqrt().recip(),
            softmax: true,
            ..Seen::default()
        };
        let f = seen.factors(0);
        (0..tokens).map(|i| shares(&f, i)).collect()
    };
    ((0..heads).map(rows).collect(), groups)
}

#[test]
fn tokens_merge_as_in_tome() {
    for golden in Golden::first_cases(4, "pruning_tome") {
        let [tokens, width] = golden.shape("keys")[..] else {
            unreachable!()
        };
        let class = usize::from(setting(&golden, "class_token") == true);
        let r = count(&golden, "r").min((tokens - class) / 2);
        let pairs = soft_matching(&exact(&golden, "keys"), width, class);
        let merged = Merged::new(tokens, &pairs, r);
        let sizes = golden.exact("sizes_before");
        let (rows, held) = merged.means(&exact(&golden, "x"), 3, &sizes);
        // The official rows stand in another order; which tokens a row holds says which it is.
        let source = whole(&golden, "source");
        let (want_rows, want_held) = (golden.exact("rows"), golden.exact("sizes"));
        assert_eq!(held.len(), want_held.len());
        for (place, &t) in merged.kept().iter().enumerate() {
            let group = merged.into.iter().map(|&into| usize::from(into == t));
            let group: Vec<usize> = group.collect();
            let theirs = source.chunks_exact(tokens).position(|row| row == group);
            let theirs = theirs.unwrap_or_else(|| panic!("no row holds the group of token {t}"));
            near(
                &rows[3 * place..][..3],
                &want_rows[3 * theirs..][..3],
                1e-12,
            );
            near(&held[place..][..1], &want_held[theirs..][..1], 1e-12);
        }
    }
}

#[test]
fn heads_keep_what_compress_kv_keeps() {
    let reduce = |golden: &Golden, name: &str| match setting(golden, name).as_str() {
        Some("max") => Reduce::Max,
        Some("mean") => Reduce::Mean,
        other => panic!("{other:?}"),
    };
    for golden in Golden::first_cases(4, "pruning_speckv") {
        let (rows, groups) = attention(&golden);
        let [window, capacity, kernel] =
            ["window", "capacity", "kernel"].map(|name| count(&golden, name));
        let tokens = rows[0].len();
        let of_group = rows.len() / groups;
        let want = whole(&golden, "indices");
        let want: Vec<&[usize]> = want.chunks_exact(capacity - window).collect();
        assert_eq!(want.len(), groups);
        for (g, want) in want.into_iter().enumerate() {
            let heads = &rows[g * of_group..][..of_group];
            let voters: Vec<Vec<f64>> = heads
                .iter()
                .flat_map(|rows| rows[tokens - window..].to_vec())
                .collect();
            let how = [reduce(&golden, "reduction"), reduce(&golden, "pooling")];
            let got = kept_by_head(&voters, tokens, window, capacity, how, kernel);
            assert_eq!(got, want, "case {}", golden.case);
        }
    }
}

#[test]
fn prompts_are_compressed_as_by_specpc() {
    for golden in Golden::first_cases(5, "pruning_specpc") {
        let [layers, heads, window, tokens] = golden.shape("prompt")[..] else {
            unreachable!()
        };
        let first = count(&golden, "starting_layer");
        let prompt = exact(&golden, "prompt");
        let guesses = count(&golden, "guessed");
        let guessed = if guesses > 0 {
            exact(&golden, "guessed")
        } else {
            Vec::new()
        };
        let weights = spec_pc::query_weights(window);
        let of_prompt = (first * heads * window..layers * heads * window)
            .map(|row| (weights[row % window], &prompt[row * tokens..][..tokens]));
        let width = tokens + guesses.max(1);
        let of_guesses = (0..guesses * layers * heads)
            .filter(|row| row / heads % layers >= first)
            .map(|row| (1.0, &guessed[row * width..][..tokens]));
        let importance = spec_pc::importance(tokens, of_prompt.chain(of_guesses));
        near(&importance, &golden.exact("importance"), 1e-12);
        let kernel = count(&golden, "kernel");
        let pool = match setting(&golden, "pool").as_str() {
            Some("none") => None,
            Some("max") => Some((Reduce::Max, kernel)),
            _ => Some((Reduce::Mean, kernel)),
        };
        let options = Options {
            window: count(&golden, "window"),
            pool,
            neighbours: count(&golden, "neighbours"),
        };
        let kept = spec_pc::kept(&importance, count(&golden, "capacity"), &options).unwrap();
        assert_eq!(kept, whole(&golden, "kept"), "case {}", golden.case);
    }
}

#[test]
fn caches_hold_what_heavy_hitters_hold() {
    for golden in Golden::first_cases(3, "pruning_h2o") {
        let (rows, _) = attention(&golden);
        let prompt = count(&golden, "prompt");
        let tokens = rows[0].len();
        let [steps, heads, longest] = golden.shape("kept")[..] else {
            unreachable!()
        };
        assert_eq!((steps, longest), (tokens - prompt + 1, tokens + 1));
        let kept = mask(&golden, "kept");
        let given = golden.exact("given");
        for (h, rows) in rows.iter().enumerate() {
            let mut cache = Cache::new(count(&golden, "heavy"), count(&golden, "recent"));
            cache.read(&rows[..prompt]);
            for step in 0..steps {
                if step > 0 {
                    let row = restrict(&rows[prompt + step - 1], &cache.kept);
                    cache.read(&[row]);
                }
                let want = &kept[(step * heads + h) * longest..][..prompt + step];
                assert_eq!(
                    cache.kept, want,
                    "case {}, head {h}, step {step}",
                    golden.case
                );
            }
            near(&cache.given, &given[h * tokens..][..tokens], 1e-5);
        }
    }
}

#[test]
fn tokens_wake_as_in_seqboat() {
    for golden in Golden::first_cases(2, "pruning_seqboat") {
        let logits = exact(&golden, "logits");
        let temperature = setting(&golden, "temperature").as_f64().unwrap();
        let (active, weights) = router::active(&logits, temperature);
        let probabilities = exact(&golden, "probabilities");
        for (pair, want) in logits.chunks_exact(2).zip(probabilities.chunks_exact(2)) {
            near(
                &[router::probability([pair[0], pair[1]], temperature)],
                &want[1..],
                1e-6,
            );
        }
        near(&weights, &exact(&golden, "weights"), 1e-6);
        assert_eq!(router::places(&active), whole(&golden, "places"));
        let width = golden.shape("rows")[1];
        let dense = router::compress(&golden.input("rows"), width, &active);
        assert_eq!(dense, golden.input("compressed"));
        assert_eq!(
            router::extract(&dense, width, &active),
            golden.input("extracted")
        );
    }
}

#[test]
fn channels_filter_as_in_longmamba() {
    for golden in Golden::first_cases(2, "pruning_longmamba") {
        let [channels, tokens] = golden.shape("steps")[..] else {
            unreachable!()
        };
        let steps = golden.input("steps");
        let k = count(&golden, "k");
        let norm = golden.exact("norm");
        for c in 0..channels {
            let of_channel = &steps[c * tokens..][..tokens];
            for (name, rule) in [
                ("threshold", Rule::Threshold(golden.input("limits")[c])),
                ("top_k", Rule::TopK(k)),
                ("share", Rule::Share(golden.exact("shares")[c])),
                ("budget", Rule::Budget(golden.exact("budgets")[c])),
            ] {
                let kept: Vec<bool> = rule.filter(of_channel).iter().map(|&s| s > 0.0).collect();
                let want = &mask(&golden, name)[c * tokens..][..tokens];
                assert_eq!(kept, want, "{name}, case {}, channel {c}", golden.case);
                assert!(kept.contains(&true) && kept.contains(&false), "{name}");
            }
            let scaled = Rule::Norm(golden.exact("budgets")[c]).filter(of_channel);
            let scaled: Vec<f64> = scaled.into_iter().map(f64::from).collect();
            near(&scaled, &norm[c * tokens..][..tokens], 1e-6);
        }
        let by_token: Vec<f32> = (0..tokens)
            .flat_map(|t| (0..channels).map(move |c| (t, c)))
            .map(|(t, c)| steps[c * tokens + t])
            .collect();
        let seen = Seen {
            tokens,
            heads: channels,
            steps: Some(&by_token),
            ..Seen::default()
        };
        let scores = StepSize.score(&seen).unwrap();
        assert_eq!(ranking::highest(&scores, k), whole(&golden, "tokens"));
    }
}

/// Of pairs [keep, drop], as the official code has them, [drop, keep].
fn swapped(pairs: &[f64]) -> Vec<f64> {
    pairs.chunks_exact(2).flat_map(|p| [p[1], p[0]]).collect()
}

#[test]
fn masks_are_drawn_as_gumbel_softmax_draws() {
    for mut golden in Golden::first_cases(2, "pruning_gumbel") {
        let width = count(&golden, "width");
        let generator = Generator::load(&mut golden.weights(), width).unwrap();
        let features = exact(&golden, "features");
        let logits = generator.logits(&features, &mask(&golden, "policy"));
        let want = golden.exact("logits");
        near(&logits, &swapped(&want), 1e-12);
        let tau = setting(&golden, "tau").as_f64().unwrap();
        let uniforms = swapped(&golden.exact("uniforms"));
        let drawn = Mask::draw(&swapped(&want), &uniforms, tau);
        let keeps: Vec<f64> = golden.exact("soft").chunks_exact(2).map(|p| p[0]).collect();
        near(&drawn.soft, &keeps, 1e-9);
        let hard: Vec<bool> = whole(&golden, "hard")
            .chunks_exact(2)
            .map(|p| p[0] == 1)
            .collect();
        assert_eq!(drawn.kept, hard);
        assert!(hard.contains(&true) && hard.contains(&false));
        let gradient = drawn.backward(&golden.exact("rates"));
        near(&gradient, &swapped(&golden.exact("gradient")), 1e-9);
    }
    let mut golden = Golden::open("pruning_gumbel", 0);
    let error = Generator::load(&mut golden.weights(), 6).err().unwrap();
    assert!(error.contains("quartered"), "{error}");
}
