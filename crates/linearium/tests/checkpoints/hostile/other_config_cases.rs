//! Cases in which the `config.json` of a Llama or Mamba model is to blame; the checkpoint is right.

use super::config_cases::with;
use super::{Case, LLAMA, MAMBA, case, llama, mamba};

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    for (name, key, value, expected) in [
        (
            "rope-type-llama3",
            "rope_scaling",
            r#"{"rope_type": "llama3", "factor": 8.0}"#,
            "“llama3” under rope_scaling",
        ),
        (
            "rope-type-yarn",
            "rope_parameters",
            r#"{"rope_type": "yarn", "rope_theta": 1e4}"#,
            "“yarn” under rope_parameters",
        ),
        (
            "rope-type-old-key",
            "rope_scaling",
            r#"{"type": "linear", "factor": 2.0}"#,
            "“linear” under rope_scaling",
        ),
        (
            "rope-type-number",
            "rope_parameters",
            r#"{"rope_type": 3}"#,
            "of type 3",
        ),
        (
            "rope-not-an-object",
            "rope_parameters",
            "[1]",
            "a list under rope_parameters",
        ),
        ("rope-theta-zero", "rope_theta", "0", "0 under rope_theta"),
        (
            "rope-theta-negative",
            "rope_parameters",
            r#"{"rope_theta": -1.0}"#,
            "-1 under rope_theta",
        ),
        (
            "rope-theta-text",
            "rope_theta",
            "\"10000\"",
            "under rope_theta",
        ),
        (
            "rope-theta-infinite",
            "rope_theta",
            "Infinity",
            "under rope_theta",
        ),
        (
            "rope-partial",
            "partial_rotary_factor",
            "0.5",
            "0.5 under partial_rotary_factor",
        ),
        (
            "kv-heads-do-not-divide",
            "num_key_value_heads",
            "3",
            "3 num_key_value_heads do not divide",
        ),
        (
            "kv-heads-zero",
            "num_key_value_heads",
            "0",
            "0 under num_key_value_heads",
        ),
        (
            "kv-heads-contradict",
            "num_key_value_heads",
            "4",
            "self_attn.k_proj.weight",
        ),
        ("head-dim-odd", "head_dim", "3", "head_dim of 3"),
        (
            "head-dim-contradicts",
            "head_dim",
            "4",
            "self_attn.q_proj.weight",
        ),
        (
            "heads-do-not-divide",
            "num_attention_heads",
            "6",
            "6 num_attention_heads",
        ),
        (
            "attention-bias-contradicts",
            "attention_bias",
            "true",
            "q_proj.bias",
        ),
        (
            "feed-forward-bias-contradicts",
            "mlp_bias",
            "true",
            "gate_proj.bias",
        ),
        (
            "feed-forward-contradicts",
            "intermediate_size",
            "16",
            "[12, 8]",
        ),
        (
            "norm-epsilon",
            "rms_norm_eps",
            "null",
            "null under rms_norm_eps",
        ),
    ] {
        let expected = &[expected];
        out.push(case(
            &format!("llama-{name}"),
            with(LLAMA, key, value),
            llama().bytes(),
            expected,
        ));
    }
    for (name, key, value, expected) in [
        (
            "rank-text",
            "time_step_rank",
            "\"large\"",
            "“large” under time_step_rank",
        ),
        ("rank-zero", "time_step_rank", "0", "0 under time_step_rank"),
        (
            "rank-contradicts",
            "time_step_rank",
            "2",
            "mixer.x_proj.weight",
        ),
        (
            "width-contradicts",
            "intermediate_size",
            "24",
            "mixer.in_proj.weight",
        ),
        ("expand-fraction", "expand", "0.3", "0.3 under expand"),
        (
            "state-size-contradicts",
            "state_size",
            "16",
            "mixer.x_proj.weight",
        ),
    ] {
        let expected = &[expected];
        out.push(case(
            &format!("mamba-{name}"),
            with(MAMBA, key, value),
            mamba().bytes(),
            expected,
        ));
    }
    out
}
