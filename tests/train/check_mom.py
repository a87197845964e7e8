"""The forward pass of mom.py against the rule token by token, in f64, on the checkpoints it wrote.

    python check_mom.py DIR/mom-recall-mom ...
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import mom


def rms(x, weight, eps):
    return x / (x.square().mean() + eps).sqrt() * weight


def layer(t, config, u):
    """One MoM or gated delta rule layer over u [T, D], a token at a time."""
    key, routed = config["head_dim"], config.get("num_memories", 0)
    value = t["o_proj.weight"].shape[1]
    states = [torch.zeros(key, value, dtype=torch.float64) for _ in range(routed + 1)]
    tails = [[] for _ in states]
    rates = -t["A_log"].exp()
    out = []
    for x in u:
        weights = torch.zeros(routed + 1, dtype=torch.float64)
        weights[routed] = 1
        if routed:
            p = (t["gate.weight"] @ x).softmax(0)
            best = p.topk(config["topk"]).indices
            weights[best] = p[best] / p[best].sum()
        read = 0
        for m in range(routed + 1):
            if weights[m] == 0:
                continue

            def of(part):
                if not routed:
                    return t[f"{part}_proj.weight"]
                return t[f"shared_{part}.weight" if m == routed else f"{part}_proj.{m}.weight"]

            tails[m].append([t["q_proj.weight"] @ x, of("k") @ x, of("v") @ x])
            q, k, v = (
                F.silu(sum(w[:, 0, -1 - j] * tails[m][-1 - j][n] for j in range(min(4, len(tails[m])))))
                for n, w in enumerate(t[f"{part}_conv1d.weight"] for part in "qkv")
            )
            q, k = (y / (y.square().sum() + 1e-6).sqrt() for y in (q, k))
            g = rates * F.softplus(of("a") @ x + t["dt_bias"])
            state = states[m] * g.exp()
            states[m] = state + (of("b") @ x).sigmoid() * torch.outer(k, v - state.T @ k)
            read = read + weights[m] * (states[m].T @ q) * key**-0.5
        gated = rms(read, t["o_norm.weight"], config["norm_eps"]) * F.silu(t["g_proj.weight"] @ x)
        out.append(t["o_proj.weight"] @ gated)
    return torch.stack(out)


def model(folder, tokens):
    config = json.loads((folder / "config.json").read_text())
    t = {k: v.double() for k, v in load_file(folder / "model.safetensors").items()}
    h = t["model.embeddings.weight"][tokens]
    for i in range(config["num_hidden_layers"]):
        own = {k.removeprefix(f"model.layers.{i}."): v for k, v in t.items() if k.startswith(f"model.layers.{i}.")}
        attn = {k.removeprefix("attn."): v for k, v in own.items() if k.startswith("attn.")}
        h = h + layer(attn, config, torch.stack([rms(x, own["attn_norm.weight"], config["norm_eps"]) for x in h]))
        x = torch.stack([rms(x, own["mlp_norm.weight"], config["norm_eps"]) for x in h])
        inner = F.silu(x @ own["mlp.gate_proj.weight"].T) * (x @ own["mlp.up_proj.weight"].T)
        h = h + inner @ own["mlp.down_proj.weight"].T
    x = torch.stack([rms(x, t["model.norm.weight"], config["norm_eps"]) for x in h])
    return config, x @ t["model.embeddings.weight"].T


def chunked(folder, tokens):
    """The same by mom.logits, from the stored tensors."""
    config = json.loads((folder / "config.json").read_text())
    t = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    routed = config.get("num_memories", 0)
    p = {"embeddings": t["model.embeddings.weight"], "norm_f": t["model.norm.weight"]}
    for i in range(config["num_hidden_layers"]):
        layer, a = f"model.layers.{i}.", f"model.layers.{i}.attn."
        p[f"{i}.norm"], p[f"{i}.mlp_norm"] = t[layer + "attn_norm.weight"], t[layer + "mlp_norm.weight"]
        for name, at in (("gate_proj", "mlp_gate"), ("up_proj", "up"), ("down_proj", "down")):
            p[f"{i}.{at}"] = t[layer + f"mlp.{name}.weight"]
        for name, at in (("q_proj", "q"), ("g_proj", "gate"), ("o_proj", "out"), ("o_norm", "o_norm")):
            p[f"{i}.{at}"] = t[a + f"{name}.weight"]
        for part in "qkv":
            p[f"{i}.{part}_conv"] = t[a + f"{part}_conv1d.weight"][:, 0]
        for part in "kvab":
            names = [f"{part}_proj.{m}" for m in range(routed)] + [f"shared_{part}"] if routed else [f"{part}_proj"]
            stacked = torch.stack([t[a + f"{n}.weight"] for n in names])
            p[f"{i}.{part}"] = stacked[:, 0] if part in "ab" else stacked
        p[f"{i}.A_log"], p[f"{i}.dt_bias"] = t[a + "A_log"], t[a + "dt_bias"]
        if routed:
            p[f"{i}.router"] = t[a + "gate.weight"]
    p = {k: v[None] for k, v in p.items()}
    value = p["0.o_norm"].shape[-1]
    sizes = mom.Sizes([(routed, config["head_dim"], value, 0)], "cpu")
    with torch.no_grad():
        return mom.logits(p, tokens[None, None], sizes)[0][0, 0]


def main():
    generator = torch.Generator().manual_seed(5)
    tokens, _ = mom.sequences(torch.tensor([24]), generator, "cpu")
    worst = 0.0
    for folder in map(Path, sys.argv[1:]):
        _, expected = model(folder, tokens[0])
        found = chunked(folder, tokens[0])
        ratio = ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()
        worst = max(worst, ratio)
        print(folder.name, f"RMS ratio {ratio:.2e}")
    if worst > 1e-4:
        raise SystemExit("the two differ by more than 1e-4")


if __name__ == "__main__":
    main()
