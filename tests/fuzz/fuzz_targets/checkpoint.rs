//! Any bytes as a safetensors file: read or refused by a sentence; what is read can be taken.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linearium::model::checkpoint::Checkpoint;
use linearium::model::config::Config;

const CONFIGS: [&str; 3] = [
    r#"{"model_type":"mamba2","vocab_size":256,"hidden_size":8,"num_hidden_layers":2,"state_size":3,
       "head_dim":4,"num_heads":4,"n_groups":2,"tie_word_embeddings":true}"#,
    r#"{"model_type":"mamba","vocab_size":256,"hidden_size":8,"num_hidden_layers":1,"state_size":3}"#,
    r#"{"model_type":"llama","vocab_size":256,"hidden_size":8,"intermediate_size":12,
       "num_hidden_layers":1,"num_attention_heads":4,"num_key_value_heads":2}"#,
];

fn one_sentence(sentence: &str) {
    assert!(
        sentence.lines().count() == 1 && sentence.contains(": "),
        "{sentence}"
    );
}

fuzz_target!(|data: &[u8]| {
    let mut checkpoint = match Checkpoint::read(data.to_vec()) {
        Ok(checkpoint) => checkpoint,
        Err(sentence) => return one_sentence(&sentence),
    };
    let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    for name in names {
        let shape = checkpoint
            .shape(&name)
            .expect("a name of the list")
            .to_vec();
        match checkpoint.take(&name, &shape) {
            Ok(tensor) => {
                assert_eq!(tensor.data.len(), shape.iter().product::<usize>());
                assert!(tensor.data.iter().all(|x| x.is_finite()));
            }
            Err(sentence) => one_sentence(&sentence),
        }
    }
    for config in CONFIGS {
        let config = Config::read(config.as_bytes()).expect("a valid configuration");
        if let Err(sentence) = config.check(&mut checkpoint) {
            one_sentence(&sentence);
        }
    }
});
