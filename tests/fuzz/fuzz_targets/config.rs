//! Any bytes as `config.json`: refused by a sentence, or a configuration whose sizes are bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linearium::model::config::{Config, MAX_LAYERS, MAX_PARAMETERS, MAX_VOCABULARY};

fuzz_target!(|data: &[u8]| {
    match Config::read(data) {
        Ok(config) => {
            assert!((1..=MAX_LAYERS).contains(&config.common().num_hidden_layers));
            assert!((1..=MAX_VOCABULARY).contains(&config.common().vocab_size));
            assert!(config.parameters() <= MAX_PARAMETERS);
            let parameters: u64 = config
                .tensors()
                .filter(|t| t.required)
                .map(|t| t.shape.iter().map(|&n| n as u64).product::<u64>())
                .sum();
            assert_eq!(parameters, config.parameters());
        }
        Err(sentence) => {
            assert!(
                sentence.lines().count() == 1 && sentence.contains(": "),
                "{sentence}"
            );
        }
    }
});
