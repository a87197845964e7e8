"""Writes trained_families.json: losses of the small trained checkpoints in web/public/models on fixed
tokens. Those of Mamba-2 are transformers' (f32, CPU) as means over octaves of position, those of
the recall models the rule token by token in f64 (tests/train/check_mom.py), every position.

    python tests/golden/make/trained_families.py
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import Mamba2Config, Mamba2ForCausalLM

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tests/train"))
import check_mom  # noqa: E402
import mom  # noqa: E402

MODELS = ROOT / "web/public/models"
OCTAVES = [0, 64, 128, 256, 512, 1023]


def mamba2(folder, tokens):
    config = json.loads((folder / "config.json").read_text()) | {"time_step_limit": (0.0, float("inf"))}
    model = Mamba2ForCausalLM(Mamba2Config(**config)).float().eval()
    state = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    model.load_state_dict(state, strict=False)
    model.tie_weights()
    with torch.no_grad():
        logits = model(tokens[None]).logits[0]
    losses = F.cross_entropy(logits[:-1], tokens[1:], reduction="none")
    return [losses[a:b].mean().item() for a, b in zip(OCTAVES, OCTAVES[1:])]


def main():
    text = torch.tensor(list((MODELS / "heldout.txt").read_bytes()[:1024]))
    out = {"source": "transformers 5.23.0; tests/train/check_mom.py", "octaves": OCTAVES, "mamba2": {}, "recall": {}}
    for folder in sorted(MODELS.glob("mamba2-n*")):
        out["mamba2"][folder.name] = mamba2(folder, text)
    for folder in sorted(MODELS.glob("mom-recall-*")):
        if not folder.is_dir():
            continue
        tokens, _ = mom.sequences(torch.tensor([8]), torch.Generator().manual_seed(3), "cpu")
        _, logits = check_mom.model(folder, tokens[0])
        losses = F.cross_entropy(logits[:-1], tokens[0][1:], reduction="none")
        out["recall"][folder.name] = {"tokens": tokens[0].tolist(), "losses": losses.tolist()}
    (ROOT / "tests/golden/trained_families.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
