"""Writes checkpoint_layouts.json: for many configurations, the config.json that the transformers
library saves and the names and shapes of the tensors of the model that it builds from it.

Run with transformers 5.23.0 and torch: python tests/golden/make/checkpoint_layouts.py
"""

import json
import pathlib
import tempfile

import torch
import transformers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

MAMBA2 = dict(vocab_size=256, hidden_size=16, num_hidden_layers=2, state_size=8, head_dim=4,
              num_heads=8, n_groups=1)
MAMBA = dict(vocab_size=256, hidden_size=24, num_hidden_layers=2, state_size=4)
LLAMA = dict(vocab_size=300, hidden_size=32, intermediate_size=40, num_hidden_layers=2,
             num_attention_heads=4)

CASES = [
    (Mamba2Config, Mamba2ForCausalLM, kwargs)
    for kwargs in [
        {},
        MAMBA2,
        MAMBA2 | dict(n_groups=4, tie_word_embeddings=True),
        MAMBA2 | dict(use_bias=True, use_conv_bias=False, conv_kernel=3),
        MAMBA2 | dict(time_step_limit=(0.001, 0.1), layer_norm_epsilon=1e-6),
        MAMBA2 | dict(expand=3, num_heads=12, n_groups=2),
    ]
] + [
    (MambaConfig, MambaForCausalLM, kwargs)
    for kwargs in [
        {},
        MAMBA,
        MAMBA | dict(time_step_rank=5, tie_word_embeddings=False),
        MAMBA | dict(use_bias=True, use_conv_bias=False, conv_kernel=2),
        MAMBA | dict(expand=3, layer_norm_epsilon=1e-6),
        MAMBA | dict(intermediate_size=40),
    ]
] + [
    (LlamaConfig, LlamaForCausalLM, kwargs)
    for kwargs in [
        {},
        LLAMA,
        LLAMA | dict(num_key_value_heads=2, tie_word_embeddings=True),
        LLAMA | dict(num_key_value_heads=1, head_dim=16, attention_bias=True),
        LLAMA | dict(mlp_bias=True, rms_norm_eps=1e-5),
        LLAMA | dict(rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
        LLAMA | dict(rope_theta=123456.0),
        LLAMA | dict(rope_theta=2e4, rope_scaling={"rope_type": "default", "rope_theta": 3e4}),
    ]
]


def load(config_class, text):
    """The configuration that the library reads from a config.json of this text."""
    with tempfile.TemporaryDirectory() as folder:
        (pathlib.Path(folder) / "config.json").write_text(text)
        return config_class.from_pretrained(folder)


def record(config_class, model_class, kwargs, form):
    """One case; `form` says whether the library saves every key or only what differs."""
    config = config_class(**kwargs)
    config.architectures = [model_class.__name__]
    text = config.to_json_string(use_diff=form == "differences")
    # As a stranger would: from the saved text, not from the object in memory.
    config = load(config_class, text)
    with torch.device("meta"):
        model = model_class(config)
    numbers = {k: getattr(config, k) for k in ("layer_norm_epsilon", "rms_norm_eps") if hasattr(config, k)}
    if config_class is LlamaConfig:
        numbers["rope_theta"] = config.rope_parameters["rope_theta"]
    if config_class is Mamba2Config:
        low, high = config.time_step_limit
        numbers["time_step_limit"] = [low, None if high == float("inf") else high]
    tied = config.tie_word_embeddings
    return {
        "config": text,
        "tied": tied,
        "numbers": numbers,
        "parameters": sum(p.numel() for p in model.parameters()),
        "layers": config.num_hidden_layers,
        # The last layers of the default configurations say no more than the first.
        "tensors": {
            name: list(t.shape)
            for name, t in model.state_dict().items()
            if ".layers." not in name or int(name.split(".")[2]) < 2
        },
    }


def raw(config_class, model_class, kwargs):
    """One case whose config.json holds only what a person would write."""
    out = record(config_class, model_class, kwargs, "differences")
    text = json.dumps({"model_type": config_class.model_type, **kwargs})
    # The library must mean the same by it.
    full = json.loads(load(config_class, out["config"]).to_json_string(use_diff=False))
    mine = json.loads(load(config_class, text).to_json_string(use_diff=False))
    for key in ("architectures", "dtype", "_name_or_path"):
        full.pop(key, None), mine.pop(key, None)
    assert mine == full, (mine, full)
    return out | {"config": text}


cases = [make(*case) for case in CASES for make in (
    lambda *c: record(*c, "all keys"),
    lambda *c: record(*c, "differences"),
    raw,
)]
golden = {
    "source": "github.com/huggingface/transformers v5.23.0, src/transformers/models/{mamba2,mamba,llama}",
    "command": "python tests/golden/make/checkpoint_layouts.py",
    "versions": {"transformers": transformers.__version__, "torch": torch.__version__.split("+")[0]},
    "cases": cases,
}
path = pathlib.Path(__file__).parents[1] / "checkpoint_layouts.json"
lines = ",\n".join(json.dumps(c) for c in cases)
head = {k: v for k, v in golden.items() if k != "cases"}
path.write_text(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}\n")
print(len(cases), "cases in", path)
