//! The checkpoint reader. Here: every malformed or hostile model gets its sentence, in bounded
//! time and memory, and no mutation of a valid one ever makes the reader panic.
#![allow(
    unsafe_code,
    reason = "an allocator that counts can only be written so"
)]

mod families;
mod halves;
mod hostile;
mod packed;
mod valid;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hostile::{LLAMA, MAMBA, MAMBA2, llama, mamba, mamba2};
use linearium::model::{self, config::open};
use proptest::prelude::*;

/// Counts what the current thread holds; tests run on several threads at once.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes to the system allocator unchanged; the counters are plain cells without
// destructors, so they neither allocate nor fail.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }
    // The default of `realloc` would hold both blocks and count both; the system may not.
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `f` and tells how many bytes it held at most, beyond what was there before.
fn peak<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.get();
    PEAK.set(before);
    let out = f();
    (out, (PEAK.get() - before).max(0) as usize)
}

/// Reads a model to its last value, as every program that uses one does, and drops it.
fn load(config: &[u8], model: Vec<u8>) -> Result<usize, String> {
    let (config, mut checkpoint) = open(config, model)?;
    let mut tensors = Vec::new();
    for spec in config.tensors() {
        if spec.required {
            tensors.push(checkpoint.take(&spec.name, &spec.shape)?);
        } else {
            tensors.extend(checkpoint.optional(&spec.name, &spec.shape)?);
        }
    }
    checkpoint.finish(|name| config.ignores(name))?;
    Ok(tensors.iter().map(|t| t.data.len()).sum())
}

/// What reading files of this size may hold at most, the files themselves not counted: the header
/// as a map or the tensors in f32, and the tree of config.json, whose values are limited in number.
fn allowed(config: usize, model: usize) -> usize {
    8 * (config + model) + (1 << 20)
}

#[test]
fn the_bases_of_the_cases_are_valid() {
    assert_eq!(
        load(MAMBA2.as_bytes(), mamba2().bytes()),
        Ok(mamba2().data.len() / 2)
    );
    assert_eq!(
        load(LLAMA.as_bytes(), llama().bytes()),
        Ok(llama().data.len() / 2)
    );
    assert_eq!(
        load(MAMBA.as_bytes(), mamba().bytes()),
        Ok(mamba().data.len() / 2)
    );
}

#[test]
fn every_case_gets_its_sentence_in_bounded_time_and_memory() {
    let cases = hostile::cases();
    let names: BTreeSet<&str> = cases.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "two cases have the same name");
    assert!(cases.len() >= 60);
    let mut faults = Vec::new();
    for case in cases {
        let allowed = allowed(case.config.len(), case.model.len());
        let start = Instant::now();
        let (result, held) = peak(|| load(&case.config, case.model));
        let time = start.elapsed();
        let Err(sentence) = result else {
            faults.push(format!("{}: was read without an error", case.name));
            continue;
        };
        for word in &case.expected {
            if !sentence.contains(word) {
                faults.push(format!("{}: no “{word}” in: {sentence}", case.name));
            }
        }
        // What is wrong and where, then what to do.
        if sentence.lines().count() != 1 || !sentence.contains(": ") || sentence.len() > 700 {
            faults.push(format!(
                "{}: is not one clear sentence: {sentence}",
                case.name
            ));
        }
        if held > allowed {
            faults.push(format!(
                "{}: held {held} bytes, more than {allowed}",
                case.name
            ));
        }
        if time > Duration::from_secs(1) {
            faults.push(format!("{}: took {time:?}", case.name));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The loader that the page and the command line use adds layers, not leniency.
#[test]
fn the_model_loader_refuses_every_case_within_the_same_bounds() {
    for case in hostile::cases() {
        let allowed = allowed(case.config.len(), case.model.len());
        let (result, held) = peak(|| model::load::load(&case.config, case.model).map(drop));
        let Err(sentence) = result else {
            panic!("{}: was loaded without an error", case.name);
        };
        for word in &case.expected {
            assert!(
                sentence.contains(word),
                "{}: no “{word}” in: {sentence}",
                case.name
            );
        }
        assert!(
            held <= allowed,
            "{}: held {held} bytes, more than {allowed}",
            case.name
        );
    }
    for (config, file) in [(MAMBA2, mamba2()), (LLAMA, llama()), (MAMBA, mamba())] {
        model::load::load(config.as_bytes(), file.bytes())
            .map(drop)
            .unwrap();
    }
}

/// Checked on each of the shipped models: cut anywhere in the header or at the end of any tensor,
/// the file is called truncated or its header incomplete.
#[test]
fn a_file_cut_at_any_boundary_is_named_truncated() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");
    for name in [
        "mamba2-passkey-t128",
        "mamba2-text-t1024",
        "llama-text-t256",
    ] {
        let config = std::fs::read(format!("{models}/{name}/config.json")).unwrap();
        let whole = std::fs::read(format!("{models}/{name}/model.safetensors")).unwrap();
        let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        for cut in 0..8 + header {
            let sentence = load(&config, whole[..cut].to_vec()).unwrap_err();
            let word = match cut {
                0 => "is empty",
                1..8 => "too short",
                _ => "truncated",
            };
            assert!(sentence.contains(word), "{name} cut at {cut}: {sentence}");
        }
        let parsed: serde_json::Value = serde_json::from_slice(&whole[8..8 + header]).unwrap();
        let entries = parsed
            .as_object()
            .unwrap()
            .iter()
            .filter(|(n, _)| *n != "__metadata__");
        let mut boundaries: Vec<usize> = entries
            .map(|(_, e)| e["data_offsets"][0].as_u64().unwrap() as usize)
            .collect();
        boundaries.sort_unstable();
        assert_eq!(boundaries[0], 0);
        for begin in boundaries {
            for cut in [begin, begin + 1] {
                let sentence = load(&config, whole[..8 + header + cut].to_vec()).unwrap_err();
                assert!(
                    sentence.contains("truncated"),
                    "{name} cut at data {cut}: {sentence}"
                );
            }
        }
    }
}

#[test]
fn a_valid_model_is_never_copied_as_a_whole() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../web/public/models");
    let config = std::fs::read(format!("{models}/llama-text-t256/config.json")).unwrap();
    let model = std::fs::read(format!("{models}/llama-text-t256/model.safetensors")).unwrap();
    let (elements, held) = peak(|| load(&config, model));
    // The f32 values and nothing else of their order.
    let values = 4 * elements.unwrap();
    assert!(
        held < values + (128 << 10),
        "{held} bytes held for {values} bytes of values"
    );
}

/// A large header of nothing but entries: the worst that memory per byte of file can be.
#[test]
fn a_header_of_ten_megabytes_is_refused_in_bounded_time_and_memory() {
    let mut text = String::from("{");
    for i in 0..200_000 {
        text.push_str(&format!(
            r#""{i:x}":{{"dtype":"I8","shape":[],"data_offsets":[{i},{}]}},"#,
            i + 1
        ));
    }
    text.pop();
    text.push('}');
    let model = hostile::with_header(text.as_bytes(), &vec![0; 200_000]);
    let allowed = allowed(MAMBA2.len(), model.len());
    let start = Instant::now();
    let (result, held) = peak(|| load(MAMBA2.as_bytes(), model));
    assert!(result.unwrap_err().contains("backbone.embeddings.weight"));
    assert!(
        held <= allowed,
        "{held} bytes held where {allowed} are allowed"
    );
    assert!(start.elapsed() < Duration::from_secs(5));
}

/// A change of some bytes of a file.
#[derive(Clone, Debug)]
enum Mutation {
    /// One byte becomes another.
    Byte(u8),
    /// One bit flips.
    Bit(u8),
    /// Bytes are put in.
    Insert(Vec<u8>),
    /// Bytes are left out.
    Remove(usize),
    /// A piece from elsewhere is put in.
    Repeat(usize, usize),
    /// The rest is cut off.
    Cut,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let words = [
        "null",
        "-1",
        "0",
        "1e308",
        "[",
        "{",
        "\"",
        "]",
        "}",
        ",",
        ":",
        "18446744073709551615",
    ];
    prop_oneof![
        any::<u8>().prop_map(Mutation::Byte),
        (0..8u8).prop_map(Mutation::Bit),
        proptest::collection::vec(any::<u8>(), 1..8).prop_map(Mutation::Insert),
        proptest::sample::select(words.to_vec()).prop_map(|w| Mutation::Insert(w.into())),
        (1usize..40).prop_map(Mutation::Remove),
        (any::<usize>(), 1usize..60).prop_map(|(from, n)| Mutation::Repeat(from, n)),
        Just(Mutation::Cut),
    ]
}

fn mutate(bytes: &mut Vec<u8>, place: usize, mutation: Mutation) {
    if bytes.is_empty() {
        return;
    }
    let at = place % bytes.len();
    match mutation {
        Mutation::Byte(b) => bytes[at] = b,
        Mutation::Bit(bit) => bytes[at] ^= 1 << bit,
        Mutation::Insert(new) => drop(bytes.splice(at..at, new)),
        Mutation::Remove(n) => drop(bytes.drain(at..(at + n).min(bytes.len()))),
        Mutation::Repeat(from, n) => {
            let from = from % bytes.len();
            let piece = bytes[from..(from + n).min(bytes.len())].to_vec();
            bytes.splice(at..at, piece);
        }
        Mutation::Cut => bytes.truncate(at),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Mutations anywhere in the file, its length kept or repaired: either the model is read or
    /// there is one sentence, within the bounds.
    #[test]
    fn a_mutated_model_is_read_or_refused(
        which in 0..3usize,
        in_header in prop::collection::vec((any::<usize>(), mutation()), 0..4),
        in_file in prop::collection::vec((any::<usize>(), mutation()), 0..3),
        in_config in prop::collection::vec((any::<usize>(), mutation()), 0..3),
    ) {
        let (config, file) = match which {
            0 => (MAMBA2, mamba2()),
            1 => (LLAMA, llama()),
            _ => (MAMBA, mamba()),
        };
        let mut config = config.as_bytes().to_vec();
        let mut header = file.header().into_bytes();
        for (place, m) in in_header {
            mutate(&mut header, place, m);
        }
        let mut model = hostile::with_header(&header, &file.data);
        for (place, m) in in_file {
            mutate(&mut model, place, m);
        }
        for (place, m) in in_config {
            mutate(&mut config, place, m);
        }
        let allowed = allowed(config.len(), model.len());
        let (result, held) = peak(|| load(&config, model));
        prop_assert!(held <= allowed, "{held} bytes held where {allowed} are allowed");
        if let Err(sentence) = result {
            prop_assert!(sentence.lines().count() == 1 && sentence.contains(": "), "{sentence}");
        }
    }

    /// Bytes that nobody chose.
    #[test]
    fn any_bytes_are_refused(
        length in prop_oneof![0u64..64, any::<u64>()],
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let model = [&length.to_le_bytes()[..], &rest].concat();
        let allowed = allowed(MAMBA2.len() + rest.len(), model.len());
        let (result, held) = peak(|| load(MAMBA2.as_bytes(), model));
        prop_assert!(result.is_err() && held <= allowed);
        prop_assert!(load(&rest, mamba2().bytes()).is_err());
    }
}
