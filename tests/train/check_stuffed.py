"""The forward pass of stuffed.py against transformers on the checkpoints that it wrote.

    python check_stuffed.py DIR/mamba2-n4-t64 ...
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import Mamba2Config, Mamba2ForCausalLM

import stuffed


def ours(folder, tokens, span=None):
    config = json.loads((folder / "config.json").read_text())
    t = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    p = {"embeddings": t["backbone.embeddings.weight"], "norm_f": t["backbone.norm_f.weight"]}
    for i in range(stuffed.LAYERS):
        layer, m = f"backbone.layers.{i}.", f"backbone.layers.{i}.mixer."
        p[f"{i}.norm"], p[f"{i}.gate_norm"] = t[layer + "norm.weight"], t[m + "norm.weight"]
        p[f"{i}.conv"], p[f"{i}.conv_bias"] = t[m + "conv1d.weight"][:, 0], t[m + "conv1d.bias"]
        for name in ("in_proj", "out_proj"):
            p[f"{i}.{name}"] = t[m + name + ".weight"]
        for name in ("A_log", "D", "dt_bias"):
            p[f"{i}.{name}"] = t[m + name]
    p = {k: v[None] for k, v in p.items()}
    length = len(tokens)
    with torch.no_grad():
        out = stuffed.logits(p, tokens[None, None], stuffed.Resets([span or length], length, "cpu"))
    return config, out[0, 0]


def main():
    tokens = torch.randint(0, 256, (512,), generator=torch.Generator().manual_seed(5))
    worst = 0.0
    folder = Path(sys.argv[1])
    _, apart = ours(folder, tokens[256:])
    both = ours(folder, tokens, 256)[1][256:]
    worst = ((both - apart).square().mean().sqrt() / apart.square().mean().sqrt()).item()
    print(f"a sequence behind another one against the same alone: RMS ratio {worst:.2e}")
    for folder in map(Path, sys.argv[1:]):
        config, out = ours(folder, tokens)
        config["time_step_limit"] = (0.0, float("inf"))
        model = Mamba2ForCausalLM(Mamba2Config(**config)).float().eval()
        state = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
        missing = model.load_state_dict(state, strict=False)
        assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys, missing
        model.tie_weights()
        with torch.no_grad():
            theirs = model(tokens[None]).logits[0]
        ratio = ((out - theirs).square().mean().sqrt() / theirs.square().mean().sqrt()).item()
        worst = max(worst, ratio)
        print(folder.name, f"RMS ratio {ratio:.2e}")
    if worst > 1e-4:
        raise SystemExit("the two differ by more than 1e-4")


if __name__ == "__main__":
    main()
