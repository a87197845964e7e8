"""Associative recall with mixture of memories (MoM, arXiv 2502.13685) against one memory.

A sequence states n pairs of a key and a value, bytes of two disjoint sets drawn anew every time,
then asks for them in random order: after a key the model must say its value. Key and value of a
pair stand in different tokens: a layer must bring them together before a router can send pairs of
one key to one memory and its question there too.

Kinds: `mom` (8 routed memories of 16 x 16, two for a token, and a shared one), `frozen` (the same,
its router stays as drawn), `unbalanced` (no balance loss), and one gated delta rule memory:
`state` (48 x 48, the same state as all memories together), `wide` (144 x 16, the same state with
long keys) and `cost` (28 x 28, the elements that MoM updates for a token).

    python mom.py --out DIR --seconds 80

Writes DIR/mom-recall-{kind}/ (layout of flash-linear-attention's MomForCausalLM or
GatedDeltaNetForCausalLM, first seed), DIR/recall.json (all seeds) and DIR/mom.tar with both.
"""

import argparse
import json
import math
import tarfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import ensemble

WIDTH, LAYERS, INNER, VOCABULARY, CONV, CHUNK, EPS = 64, 2, 64, 256, 4, 64, 1e-5
MEMORIES, TOP, SMALL = 8, 2, 16
LENGTH = 256
KEYS, VALUES = (0, 96), (128, 224)
PAIRS = [4, 8, 16, 24, 32, 48, 64]
BALANCE = 0.01
# Steps until the next number of pairs is asked for too.
CURRICULUM = 250
ROUTED = {"mom": (BALANCE, True), "frozen": (BALANCE, False), "unbalanced": (0.0, True)}
SINGLE = {"state": (48, 48), "wide": (144, 16), "cost": (28, 28)}
DECAYED = ("embeddings", "q", "k", "v", "a", "b", "gate", "out", "up", "down", "mlp_gate", "router")


def parameters(kinds, device):
    """kinds: for each model (routed memories, key, value, seed), padded with zeros to the widest."""
    routed = kinds[0][0]
    memories = routed + 1
    key, value = max(k for _, k, _, _ in kinds), max(v for _, _, v, _ in kinds)
    models = []
    for _, own_key, own_value, seed in kinds:
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape, columns=None):
            bound = (columns or shape[-1]) ** -0.5
            return (2 * torch.rand(*shape, generator=generator) - 1) * bound

        def of_keys(x):
            x[..., own_key:, :] = 0
            return x

        def of_values(x):
            x[..., own_value:, :] = 0
            return x

        p = {"embeddings": torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.02}
        for i in range(LAYERS):
            p[f"{i}.norm"], p[f"{i}.mlp_norm"] = torch.ones(WIDTH), torch.ones(WIDTH)
            if routed:
                p[f"{i}.router"] = uniform(routed, WIDTH)
            p[f"{i}.q"] = of_keys(uniform(key, WIDTH))
            p[f"{i}.k"] = of_keys(uniform(memories, key, WIDTH))
            p[f"{i}.v"] = of_values(uniform(memories, value, WIDTH))
            p[f"{i}.a"], p[f"{i}.b"] = uniform(memories, WIDTH), uniform(memories, WIDTH)
            p[f"{i}.gate"] = of_values(uniform(value, WIDTH))
            p[f"{i}.out"] = of_values(uniform(value, WIDTH, columns=own_value)).T / math.sqrt(2 * LAYERS)
            for name, make, rows in (("q", of_keys, key), ("k", of_keys, key), ("v", of_values, value)):
                p[f"{i}.{name}_conv"] = make(uniform(rows, CONV))
            p[f"{i}.A_log"] = torch.zeros(1)
            p[f"{i}.dt_bias"] = torch.full((1,), math.log(math.expm1(1e-3)))
            p[f"{i}.o_norm"] = torch.ones(value)
            p[f"{i}.mlp_gate"], p[f"{i}.up"] = uniform(INNER, WIDTH), uniform(INNER, WIDTH)
            p[f"{i}.down"] = uniform(WIDTH, INNER) / math.sqrt(2 * LAYERS)
        p["norm_f"] = torch.ones(WIDTH)
        models.append(p)
    return {k: torch.stack([p[k] for p in models]).float().to(device).contiguous() for k in models[0]}


class Sizes:
    """What of the padded widths is each model's own, and how its router is trained."""

    def __init__(self, kinds, device, balance=None, learn=None):
        r = len(kinds)
        self.routed = kinds[0][0]
        self.scale = torch.tensor([k**-0.5 for _, k, _, _ in kinds], device=device).view(r, 1, 1, 1)
        self.value = torch.tensor([float(v) for _, _, v, _ in kinds], device=device).view(r, 1, 1, 1)
        self.balance = torch.tensor(balance or [0.0] * r, device=device)
        self.learn = torch.tensor(learn or [1.0] * r, device=device).view(r, 1, 1)


def rms(x, weight):
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)
    return x * weight.view(weight.shape[0], *[1] * (x.dim() - 2), -1)


def times(x, weight):
    """x [R, b, T, D] by weight [R, O, D]."""
    r, b, t, d = x.shape
    return torch.bmm(x.reshape(r, b * t, d), weight.transpose(1, 2)).view(r, b, t, -1)


def inverse(lower):
    """Inverse of unit lower triangular matrices [..., C, C], blocks of twice the size at a time."""
    size = lower.shape[-1]
    flat = lower.reshape(-1, size, size)
    blocks = torch.ones(flat.shape[0], size, 1, 1, device=lower.device)
    s = 1
    while s < size:
        n = size // (2 * s)
        below = flat.view(-1, n, 2 * s, n, 2 * s).diagonal(0, 1, 3).permute(0, 3, 1, 2)[:, :, s:, :s]
        first, second = blocks[:, 0::2], blocks[:, 1::2]
        corner = -(second @ below @ first)
        top = torch.cat([first, torch.zeros_like(corner)], -1)
        blocks = torch.cat([top, torch.cat([corner, second], -1)], -2)
        s *= 2
    return blocks.view(lower.shape)


def gated_delta(q, k, v, g, beta):
    """S_t = e^g S_{t-1} + beta k (v - e^g S_{t-1}^T k)^T, o = S^T q, over [X, T, .] in chunks."""
    x, length, key = k.shape
    n = length // CHUNK
    q, k, v = (t.view(x, n, CHUNK, -1) for t in (q, k, v))
    beta = beta.view(x, n, CHUNK, 1)
    total = g.view(x, n, CHUNK).cumsum(-1)
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=q.device).tril()
    decay = torch.exp((total[..., :, None] - total[..., None, :]).masked_fill(~lower, -math.inf))
    system = (beta * decay * (k @ k.transpose(-1, -2))).tril(-1)
    solve = inverse(system + torch.eye(CHUNK, device=q.device))
    grown = torch.exp(total)[..., None]
    written, erased = solve @ (beta * v), solve @ (beta * grown * k)
    attention = decay * (q @ k.transpose(-1, -2))
    last = total[..., -1:]
    to_end = k * torch.exp(last - total)[..., None]
    state = torch.zeros(x, key, v.shape[-1], device=q.device)
    out = []
    for c in range(n):
        value = written[:, c] - erased[:, c] @ state
        out.append((grown[:, c] * q[:, c]) @ state + attention[:, c] @ value)
        state = state * torch.exp(last[:, c])[..., None] + to_end[:, c].transpose(-1, -2) @ value
    return torch.stack(out, 1).view(x, length, -1)


def convolve(x, weight, before):
    """x [R, b, m, T, K] with weight [R, K, CONV] along the tokens of each memory; `before[j]` holds
    the place of the token j earlier in the memory and whether there is one."""
    weight = weight[:, None, None, None]
    out = x * weight[..., CONV - 1]
    for j, (place, there) in enumerate(before, 1):
        index = place[..., None].expand(*place.shape, x.shape[-1])
        earlier = torch.gather(x.expand(*place.shape, x.shape[-1]), 3, index) * there[..., None]
        out = out + earlier * weight[..., CONV - 1 - j]
    return F.silu(out)


def length_one(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def mixer(p, i, u, sizes):
    """Output [R, b, T, D], and the router's probabilities and choice [R, b, T, M]."""
    r, b, t, _ = u.shape
    m = sizes.routed + 1
    probabilities = chosen = None
    taken = torch.ones(r, b, t, 1, device=u.device)
    weights = taken
    if sizes.routed:
        router = p[f"{i}.router"]
        router = router * sizes.learn + router.detach() * (1 - sizes.learn)
        probabilities = times(u, router).softmax(-1)
        best = probabilities.topk(TOP, -1).indices
        chosen = torch.zeros_like(probabilities).scatter(-1, best, 1.0)
        kept = probabilities * chosen
        taken = torch.cat([chosen, taken], -1)
        weights = torch.cat([kept / kept.sum(-1, keepdim=True), weights], -1)
    taken, weights = (x.permute(0, 1, 3, 2) for x in (taken, weights))  # [R, b, m, T]
    # The last token of the memory before each place, then the one before that.
    position = torch.arange(t, device=u.device).expand(r, b, m, t)
    latest = torch.where(taken > 0, position, -1).cummax(-1).values
    previous = F.pad(latest, (1, 0), value=-1)[..., :-1]
    before, place, there = [], position, torch.ones_like(taken)
    for _ in range(CONV - 1):
        step = torch.gather(previous, 3, place)
        there = there * (step >= 0)
        place = step.clamp_min(0)
        before.append((place, there))

    def each(name):
        weight = p[f"{i}.{name}"]
        return times(u, weight.flatten(1, 2)).view(r, b, t, m, -1).transpose(2, 3)

    q = times(u, p[f"{i}.q"])[:, :, None].expand(r, b, m, t, -1)
    q = length_one(convolve(q, p[f"{i}.q_conv"], before))
    k = length_one(convolve(each("k"), p[f"{i}.k_conv"], before))
    v = convolve(each("v"), p[f"{i}.v_conv"], before)
    a, beta = (times(u, p[f"{i}.{x}"]).permute(0, 1, 3, 2) for x in ("a", "b"))
    g = -torch.exp(p[f"{i}.A_log"])[:, None, None] * F.softplus(a + p[f"{i}.dt_bias"][:, None, None])
    flat = lambda x: x.reshape(r * b * m, t, *x.shape[4:])
    o = gated_delta(flat(q), flat(k), flat(v), flat(g * taken), flat(beta.sigmoid() * taken))
    o = (o.view(r, b, m, t, -1) * weights[..., None]).sum(2) * sizes.scale
    o = o * torch.rsqrt(o.square().sum(-1, keepdim=True) / sizes.value + EPS)
    o = o * p[f"{i}.o_norm"][:, None, None] * F.silu(times(u, p[f"{i}.gate"]))
    return times(o, p[f"{i}.out"]), probabilities, chosen


def logits(p, tokens, sizes):
    """tokens [R, b, T] to logits [R, b, T, V]; the routing of each layer."""
    r = tokens.shape[0]
    index = tokens + VOCABULARY * torch.arange(r, device=tokens.device)[:, None, None]
    h = F.embedding(index, p["embeddings"].flatten(0, 1))
    routing = []
    for i in range(LAYERS):
        out, probabilities, chosen = mixer(p, i, rms(h, p[f"{i}.norm"]), sizes)
        routing.append((probabilities, chosen))
        h = h + out
        x = rms(h, p[f"{i}.mlp_norm"])
        h = h + times(F.silu(times(x, p[f"{i}.mlp_gate"])) * times(x, p[f"{i}.up"]), p[f"{i}.down"])
    return times(rms(h, p["norm_f"]), p["embeddings"]), routing


def balance(routing):
    """M sum_m f_m P_m over the tokens of all layers (`load_balancing_loss_func` of OpenSparseLLMs/MoM)."""
    probabilities = torch.cat([x.flatten(1, 2) for x, _ in routing], 1)
    chosen = torch.cat([x.flatten(1, 2) for _, x in routing], 1)
    return probabilities.shape[-1] * (chosen.mean(1) * probabilities.mean(1)).sum(-1)


def shuffled(low, high, count, rows, generator, device):
    keys = torch.rand(rows, high - low, generator=generator, device=device).argsort(-1)
    return low + keys[:, :count]


def sequences(pairs, generator, device, length=LENGTH):
    """One sequence for each entry of pairs [rows] (on the device): tokens and a mark, 1 on the
    values that answer the first question about their pair, 0.5 on later ones."""
    rows, most = pairs.shape[0], max(PAIRS)
    keys = shuffled(*KEYS, most, rows, generator, device)
    low, high = VALUES
    values = torch.randint(low, high, (rows, most), generator=generator, device=device)
    slot = torch.arange(length // 2, device=device)[None]
    # Rounds of questions, each in an order of its own; the order of a round sorts random numbers,
    # those of absent pairs last.
    rounds = length // (2 * min(PAIRS))
    order = torch.rand(rows, rounds, most, generator=generator, device=device)
    absent = torch.arange(most, device=device)[None, None] >= pairs[:, None, None]
    order = (order + absent * 2).argsort(-1)
    asked = (slot - pairs[:, None]).clamp_min(0)
    turn = asked // pairs[:, None]
    of = order.flatten(1).gather(1, turn * most + asked % pairs[:, None])
    pair = torch.where(slot < pairs[:, None], slot.clamp_max(most - 1), of)
    tokens = torch.stack([keys.gather(1, pair), values.gather(1, pair)], -1).flatten(1)
    mark = torch.where(slot < pairs[:, None], 0.0, torch.where(turn == 0, 1.0, 0.5))
    marks = torch.stack([torch.zeros_like(mark), mark], -1).flatten(1)
    return tokens, marks


def answers(p, tokens, sizes):
    """Loss of each next token and whether the guess is right [R, b, T-1], and the routing."""
    out, routing = logits(p, tokens, sizes)
    out, targets = out[:, :, :-1], tokens[:, :, 1:]
    each = F.cross_entropy(out.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)
    return each, out, targets, routing


def train(names, kinds, balances, learns, arguments, seconds, device, log):
    sizes = Sizes(kinds, device, balances, learns)
    p = parameters(kinds, device)
    generator = torch.Generator(device).manual_seed(11)
    choices = torch.tensor(PAIRS, device=device)
    r = len(kinds)

    def batch(step):
        # Few pairs first: with many from the start the models find no way in.
        allowed = min(len(PAIRS), 2 + step // CURRICULUM)
        which = torch.randint(allowed, (arguments.rows,), generator=generator, device=device)
        return sequences(choices[which], generator, device)

    def loss(tokens, marks):
        each, _, _, routing = answers(p, tokens[None].expand(r, -1, -1), sizes)
        asked = (marks[:, 1:] > 0).float()
        # A sequence counts as much as another, however many questions fit into it.
        out = ((each * asked).sum(-1) / asked.sum(-1).clamp_min(1)).mean(1)
        return out + sizes.balance * balance(routing) if sizes.routed else out

    decayed = {k for k in p if k.split(".")[-1] in DECAYED}
    steps = ensemble.train(p, decayed, batch, loss, arguments.peak, arguments.steps, seconds, None, log)
    p = {k: torch.stack([ensemble.stored(m).float() for m in v]) for k, v in p.items()}
    torch.set_float32_matmul_precision("highest")
    generator = torch.Generator(device).manual_seed(12)
    found = [{"kind": n, "seed": k[3], "steps": steps, "recall": {}, "load": None} for n, k in zip(names, kinds)]
    load = 0
    for n in PAIRS:
        pairs = torch.full((arguments.samples,), n, device=device)
        tokens, marks = sequences(pairs, generator, device)
        with torch.no_grad():
            _, out, targets, routing = answers(p, tokens[None].expand(r, -1, -1), sizes)
        first = marks[:, 1:] == 1
        right = ((out.argmax(-1) == targets) & first).double().sum((1, 2)) / first.sum()
        for f, x in zip(found, right.tolist()):
            f["recall"][n] = x
        if sizes.routed:
            load = load + torch.stack([c.mean((1, 2)) for _, c in routing], 1) / TOP / len(PAIRS)
    if sizes.routed:
        for f, x in zip(found, load.tolist()):
            f["load"] = x
    torch.set_float32_matmul_precision("high")
    for f in found:
        log(f"{f['kind']} seed {f['seed']}: " + ", ".join(f"{n} pairs {x:.2f}" for n, x in f["recall"].items()))
    return p, found


def checkpoint(p, r, kind):
    """Config and tensors of model r in the layout of flash-linear-attention."""
    routed, key, value, _ = kind
    p = {k: v[r].detach().cpu() for k, v in p.items()}
    t = {"model.embeddings.weight": p["embeddings"], "model.norm.weight": p["norm_f"]}
    for i in range(LAYERS):
        layer, a = f"model.layers.{i}.", f"model.layers.{i}.attn."
        own = {x: p[f"{i}.{x}"] for x in ("q", "k", "v", "a", "b", "gate", "out", "o_norm")}
        t[layer + "attn_norm.weight"], t[layer + "mlp_norm.weight"] = p[f"{i}.norm"], p[f"{i}.mlp_norm"]
        for name, at in (("gate_proj", "mlp_gate"), ("up_proj", "up"), ("down_proj", "down")):
            t[layer + f"mlp.{name}.weight"] = p[f"{i}.{at}"]
        t[a + "q_proj.weight"], t[a + "g_proj.weight"] = own["q"][:key], own["gate"][:value]
        t[a + "o_proj.weight"], t[a + "o_norm.weight"] = own["out"][:, :value], own["o_norm"][:value]
        t[a + "A_log"], t[a + "dt_bias"] = p[f"{i}.A_log"], p[f"{i}.dt_bias"]
        for name, rows in (("q", key), ("k", key), ("v", value)):
            t[a + f"{name}_conv1d.weight"] = p[f"{i}.{name}_conv"][:rows, None]
        parts = {"k": own["k"][:, :key], "v": own["v"][:, :value], "a": own["a"][:, None], "b": own["b"][:, None]}
        for name, x in parts.items():
            for m in range(routed):
                t[a + f"{name}_proj.{m}.weight"] = x[m]
            t[a + (f"shared_{name}.weight" if routed else f"{name}_proj.weight")] = x[routed]
        if routed:
            t[a + "gate.weight"] = p[f"{i}.router"]
    config = {
        "architectures": ["MomForCausalLM" if routed else "GatedDeltaNetForCausalLM"],
        "model_type": "mom" if routed else "gated_deltanet", "vocab_size": VOCABULARY,
        "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_heads": 1, "head_dim": key,
        "expand_v": value / key, "use_short_conv": True, "conv_size": CONV, "intermediate_size": INNER,
        "hidden_act": "swish", "norm_eps": EPS, "tie_word_embeddings": True,
        "train_context_length": LENGTH, "tokenizer": "bytes",
    }
    config |= {"num_memories": routed, "topk": TOP, "shared_mem": True, "single_kv_proj": False, "use_output_gate": True} if routed else {"use_gate": True}
    return config, t


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=80, help="for the training alone")
    parser.add_argument("--steps", type=int, default=20_000, help="of each of the two ensembles, at most")
    parser.add_argument("--rows", type=int, default=32, help="sequences a step and model")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--peak", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--samples", type=int, default=200, help="sequences for each number of pairs")
    a = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    begun = time.time()

    def log(line):
        print(f"[{time.time() - begun:6.1f}] {line}", flush=True)

    a.out.mkdir(parents=True, exist_ok=True)
    models = []
    for table, share in ((ROUTED, 0.6), (SINGLE, 0.4)):
        of = [(name, s) for s in range(a.seeds) for name in table]
        names = [name for name, _ in of]
        if table is ROUTED:
            kinds = [(MEMORIES, SMALL, SMALL, s) for _, s in of]
            balances = [ROUTED[n][0] for n in names]
            learns = [float(ROUTED[n][1]) for n in names]
        else:
            kinds, balances, learns = [(0, *SINGLE[n], s) for n, s in of], None, None
        log(f"{len(kinds)} models on {device}: {', '.join(table)}")
        p, found = train(names, kinds, balances, learns, a, share * a.seconds, device, log)
        models += found
        for r, (name, seed) in enumerate(of):
            if seed == 0:
                ensemble.save(a.out / f"mom-recall-{name}", *checkpoint(p, r, kinds[r]))
        (a.out / "recall.json").write_text(json.dumps({"pairs": PAIRS, "samples": a.samples, "models": models}))
    with tarfile.open(a.out / "mom.tar", "w") as tar:
        for path in sorted(a.out.glob("mom-recall-*")) + [a.out / "recall.json"]:
            tar.add(path, path.name)
    log("done")


if __name__ == "__main__":
    main()
