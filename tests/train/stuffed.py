"""A family of small Mamba-2 models for the laws of Stuffed Mamba (arXiv 2410.07145).

State size N and training length T vary, all else is equal: 2 layers, width 64, 4 heads of 32,
bytes. A quarter of the sequences are text, the others text with passkeys as the lab's probe asks for
them; from 128 bytes on a sequence can hold several, at distances spread evenly in the logarithm. All
models see the same number of bytes a step and, for one T and seed, the same bytes. The slowest heads
start with a step of 1e-5, so that a model forgets because it has learnt to.

    python stuffed.py --text text.bin --heldout heldout.txt --out DIR --seconds 120

Writes DIR/mamba2-n{N}-t{T}/ (layout of transformers' Mamba2ForCausalLM, first seed),
DIR/family.json (what was measured, all seeds) and DIR/stuffed.tar with both.
"""

import argparse
import json
import math
import tarfile
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

import ensemble

STATES = [4, 8, 16, 32, 64]
LENGTHS = [64, 128, 256, 512, 1024]
WIDTH, LAYERS, HEADS, HEAD = 64, 2, 4, 32
INNER = HEADS * HEAD
CONV, CHUNK, VOCABULARY, EPS = 4, 64, 256, 1e-5
ROW = 1024
STATEMENT, QUESTION, DIGITS = b"\nRemember the pass key: ", b"\nWhat is the pass key? ", 5
SHORTEST = len(STATEMENT) + len(QUESTION) + 2 * DIGITS
DEPTHS = [0.0, 0.25, 0.5, 0.75, 1.0]
DECAYED = ("in_proj", "out_proj", "embeddings")


def parameters(states, seeds, device):
    """Named tensors [R, ...]; B and C are as wide as the widest state, zero beyond the model's own:
    there both stay exactly zero, since the gradient of each is a product with the other."""
    widest = max(states)
    models = []
    for state, seed in zip(states, seeds):
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape, bound=1.0):
            return (2 * torch.rand(*shape, generator=generator) - 1) * bound

        p = {"embeddings": torch.randn(VOCABULARY, WIDTH, generator=generator) * 0.02}
        for i in range(LAYERS):
            own = torch.zeros(2 * INNER + 2 * widest + HEADS)
            own[: 2 * INNER + state] = 1
            own[2 * INNER + widest : 2 * INNER + widest + state] = 1
            own[-HEADS:] = 1
            weight = uniform(2 * INNER + 2 * widest + HEADS, WIDTH, bound=WIDTH**-0.5)
            p[f"{i}.in_proj"] = weight * own[:, None]
            channels = own[INNER:-HEADS, None]
            p[f"{i}.conv"] = uniform(INNER + 2 * widest, CONV, bound=CONV**-0.5) * channels
            p[f"{i}.conv_bias"] = torch.zeros(INNER + 2 * widest)
            p[f"{i}.A_log"] = torch.log(1 + 15 * torch.rand(HEADS, generator=generator))
            low, high = math.log(1e-5), math.log(0.1)
            spread = (torch.arange(HEADS) + torch.rand(HEADS, generator=generator)) / HEADS
            dt = torch.exp(low + (high - low) * spread)
            p[f"{i}.dt_bias"] = dt + torch.log(-torch.expm1(-dt))
            p[f"{i}.D"] = torch.ones(HEADS)
            p[f"{i}.gate_norm"] = torch.ones(INNER)
            p[f"{i}.norm"] = torch.ones(WIDTH)
            p[f"{i}.out_proj"] = uniform(WIDTH, INNER, bound=INNER**-0.5 / math.sqrt(LAYERS))
        p["norm_f"] = torch.ones(WIDTH)
        models.append(p)
    return {k: torch.stack([p[k] for p in models]).float().to(device) for k in models[0]}


def rms(x, weight):
    x = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS)
    return x * weight.view(weight.shape[0], *[1] * (x.dim() - 2), -1)


def times(x, weight):
    """x [R, rows, L, D] by weight [R, O, D]."""
    r, rows, length, width = x.shape
    return torch.bmm(x.reshape(r, rows * length, width), weight.transpose(1, 2)).view(r, rows, length, -1)


class Resets:
    """Where sequences begin within a row of `length` bytes, for models with sequences of
    `spans[r]` bytes (a multiple of the chunk)."""

    def __init__(self, spans, length, device):
        spans = torch.tensor(spans, device=device)[:, None]
        position = torch.arange(length, device=device)[None]
        self.within = position % spans
        chunk = torch.arange(length // CHUNK, device=device)[None] * CHUNK // spans
        n = length // CHUNK
        before = torch.ones(n, n, dtype=torch.bool, device=device).tril(-1)
        # [R, to, from]: the state built in chunk `from` reaches chunk `to`.
        self.reach = before & (chunk[:, :, None] == chunk[:, None, :])
        self.shifts = [(self.within >= j).float()[:, None, :, None] for j in range(CONV)]


def convolve(x, weight, bias, resets):
    out = x * weight[:, None, None, :, CONV - 1] + bias[:, None, None]
    for j in range(1, CONV):
        shifted = F.pad(x, (0, 0, j, 0))[:, :, : x.shape[2]] * resets.shifts[j]
        out = out + shifted * weight[:, None, None, :, CONV - 1 - j]
    return F.silu(out)


def mixer(p, i, u, resets):
    r, rows, length, _ = u.shape
    widest = (p[f"{i}.conv"].shape[1] - INNER) // 2
    projected = times(u, p[f"{i}.in_proj"])
    z, xbc, dt = projected.split([INNER, INNER + 2 * widest, HEADS], -1)
    xbc = convolve(xbc, p[f"{i}.conv"], p[f"{i}.conv_bias"], resets)
    n = length // CHUNK
    x, b, c = xbc.split([INNER, widest, widest], -1)
    x = x.reshape(r, rows, n, CHUNK, HEADS, HEAD)
    b, c = (t.reshape(r, rows, n, CHUNK, widest) for t in (b, c))
    dt = F.softplus(dt + p[f"{i}.dt_bias"][:, None, None])
    dt = dt.reshape(r, rows, n, CHUNK, HEADS)
    a = -torch.exp(p[f"{i}.A_log"])[:, None, None, None]
    total = (dt * a).cumsum(3).permute(0, 1, 2, 4, 3)  # [R, rows, n, H, C]
    written = (x * dt[..., None]).permute(0, 1, 2, 4, 3, 5)  # [R, rows, n, H, C, P]
    lower = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=u.device).tril()
    between = total[..., :, None] - total[..., None, :]
    decay = torch.exp(between.masked_fill(~lower, -math.inf))
    attention = decay * (c @ b.transpose(-1, -2))[:, :, :, None]
    y = attention @ written
    last = total[..., -1]  # [R, rows, n, H]
    states = (written * torch.exp(last[..., None] - total)[..., None]).transpose(-1, -2) @ b[:, :, :, None]
    # From the end of one chunk to the begin of a later one.
    cumulated = last.cumsum(2).permute(0, 1, 3, 2)  # [R, rows, H, n]
    before = cumulated - last.permute(0, 1, 3, 2)
    gaps = before[..., :, None] - cumulated[..., None, :]
    carried = torch.exp(gaps.masked_fill(~resets.reach[:, None, None], -math.inf))
    flat = states.permute(0, 1, 3, 2, 4, 5).reshape(r, rows, HEADS, n, HEAD * widest)
    entering = (carried @ flat).view(r, rows, HEADS, n, HEAD, widest).permute(0, 1, 3, 2, 5, 4)
    y = y + (c[:, :, :, None] @ entering) * torch.exp(total)[..., None]
    y = y.permute(0, 1, 2, 4, 3, 5) + x * p[f"{i}.D"][:, None, None, None, :, None]
    y = rms(y.reshape(r, rows, length, INNER) * F.silu(z), p[f"{i}.gate_norm"])
    return times(y, p[f"{i}.out_proj"])


def logits(p, tokens, resets):
    """tokens [R, rows, L] to logits [R, rows, L, V]."""
    r = tokens.shape[0]
    index = tokens + VOCABULARY * torch.arange(r, device=tokens.device)[:, None, None]
    h = F.embedding(index, p["embeddings"].flatten(0, 1))
    for i in range(LAYERS):
        h = h + mixer(p, i, rms(h, p[f"{i}.norm"]), resets)
    return times(rms(h, p["norm_f"]), p["embeddings"])


def cross_entropy(logits, targets):
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


TEXT, DIGIT = -1, 256
# Of the sequences; the others are passkeys in text.
TEXT_SHARE = 0.25


# The longest distance of a passkey in the first steps, and how many steps until it doubles: with long
# ones from the start, and so few answers a step, the models find no way in.
FIRST_SPAN, STAGE = 64, 400


def layout(length, generator, longest):
    """Rows of bytes to read, passkeys at most `longest` bytes from their question: TEXT, a byte, or DIGIT + the number of a digit; and a mark on the
    digits that answer."""
    row, answers, digit = [], [], 0
    while len(row) < ROW:
        end = len(row) + length
        if generator.random() < TEXT_SHARE:
            row += [TEXT] * length
        else:
            while len(row) < end:
                room = end - len(row)
                if room < 64:
                    row += [TEXT] * room
                    break
                most = min(room, longest)
                span = int(round(math.exp(generator.uniform(math.log(64), math.log(most + 0.5)))))
                span = min(max(span, 64), most)
                segment = [TEXT] * span
                digits = list(range(DIGIT + digit, DIGIT + digit + DIGITS))
                digit += DIGITS
                at = int(generator.integers(0, span - SHORTEST + 1))
                said, asked = [*STATEMENT, *digits], [*QUESTION, *digits]
                segment[at : at + len(said)] = said
                segment[span - len(asked) :] = asked
                answers += range(len(row) + span - DIGITS, len(row) + span)
                row += segment
    marks = numpy.zeros(ROW, dtype=bool)
    marks[answers] = True
    return numpy.array(row, dtype=numpy.int64), marks


class Batches:
    """Training rows for every group (T, seed); a model reads those of its group."""

    def __init__(self, text, groups, rows, pool, device):
        self.text, self.rows, self.device, self.pool = text, rows, device, pool
        self.stages = int(math.log2(ROW // FIRST_SPAN)) + 1
        rows_of = []
        for length, seed in groups:
            generator = numpy.random.default_rng([length, seed])
            spans = [FIRST_SPAN << stage for stage in range(self.stages) for _ in range(pool)]
            rows_of.append([layout(length, generator, span) for span in spans])
        self.layouts = torch.tensor(numpy.array([[r[0] for r in g] for g in rows_of]), device=device)
        self.marks = torch.tensor(numpy.array([[r[1] for r in g] for g in rows_of]), device=device)
        self.group = torch.arange(len(groups), device=device)[:, None]
        self.generator = torch.Generator(device).manual_seed(1)
        self.position = torch.arange(ROW, device=device)
        self.digits = int(self.layouts.max()) - DIGIT + 1

    def random(self, high, *shape):
        return torch.randint(high, shape, generator=self.generator, device=self.device)

    def __call__(self, step):
        groups = self.group.shape[0]
        stage = min(step // STAGE, self.stages - 1)
        chosen = stage * self.pool + self.random(self.pool, groups, self.rows)
        layout, marks = self.layouts[self.group, chosen], self.marks[self.group, chosen]
        start = self.random(len(self.text) - ROW, groups, self.rows)
        text = self.text[start[..., None] + self.position].long()
        digits = 48 + self.random(10, groups, self.rows, max(1, self.digits))
        said = torch.gather(digits, 2, (layout - DIGIT).clamp_min(0))
        tokens = torch.where(layout == TEXT, text, torch.where(layout >= DIGIT, said, layout))
        return tokens, marks


def heldout_losses(p, lengths, text, device):
    """Loss of each byte of three windows of 8,192: read whole [R, 3, 8191], and read from an empty
    state every T bytes, with a mark where at least T/2 were read."""
    size = 8192
    windows = torch.stack([text[o : o + size] for o in (0, 65_536, 131_072)]).long().to(device)
    r = len(lengths)
    tokens = windows[None].expand(r, -1, -1)
    whole = Resets([size] * r, size, device)
    cut = Resets(lengths, size, device)
    losses = []
    for resets in (whole, cut):
        parts = [cross_entropy(logits(p, tokens[:, w : w + 1], resets)[:, :, :-1], tokens[:, w : w + 1, 1:]) for w in range(3)]
        losses.append(torch.cat(parts, 1))
    # The loss at index t is that of byte t+1, predicted after within[t] + 1 bytes.
    half = torch.tensor(lengths, device=device)[:, None] // 2
    scored = cut.within[:, :-1] + 1 >= half
    scored &= cut.within[:, :-1] + 1 < 2 * half
    return losses[0], losses[1], scored[:, None].expand_as(losses[0])


def collapse(p, lengths, text, device, first=4096):
    """Mean excess of the loss from byte `first` on over reading the same bytes from an empty state
    T/2 to T bytes before, with its standard error over stretches of 512 bytes."""
    with torch.no_grad():
        whole, cut, scored = heldout_losses(p, lengths, text, device)
    difference = (whole - cut)[:, :, first - 1 :].double()
    scored = scored[:, :, first - 1 :].double()
    n = difference.shape[-1] // 512 * 512
    stretches = ((difference * scored)[:, :, :n].reshape(len(lengths), -1, 512).sum(-1)) / scored[:, :, :n].reshape(len(lengths), -1, 512).sum(-1).clamp_min(1)
    return stretches.mean(1).tolist(), (stretches.std(1) / math.sqrt(stretches.shape[1])).tolist()


BUCKETS = [0, 64, 128, 256, 512, 1024, 2048, 4096, 8192]


def bucket_losses(p, lengths, text, device):
    with torch.no_grad():
        whole, _, _ = heldout_losses(p, lengths, text, device)
    columns = []
    for a, b in zip(BUCKETS, BUCKETS[1:]):
        columns.append(whole[:, :, max(a - 1, 0) : b - 1].double().mean((1, 2)))
    return torch.stack(columns, 1).tolist()


def recall(p, count, length, samples, text, seed, device):
    """Share of the digits found at each depth [R][5]."""
    generator = numpy.random.default_rng([length, seed])
    padded = -(-length // CHUNK) * CHUNK
    rows = []
    for depth in DEPTHS:
        for _ in range(samples):
            start = int(generator.integers(0, len(text) - length))
            row = text[start : start + length].numpy().copy()
            key = generator.integers(48, 58, DIGITS).astype(numpy.uint8)
            said = numpy.concatenate([numpy.frombuffer(STATEMENT, numpy.uint8), key])
            asked = numpy.concatenate([numpy.frombuffer(QUESTION, numpy.uint8), key])
            at = round(depth * (length - SHORTEST))
            row[at : at + len(said)] = said
            row[length - len(asked) :] = asked
            rows.append(numpy.pad(row, (0, padded - length)))
    tokens = torch.tensor(numpy.array(rows), device=device).long()
    resets = Resets([padded] * count, padded, device)
    found = []
    step = max(1, 16_384 // padded)
    with torch.no_grad():
        for i in range(0, len(rows), step):
            part = tokens[None, i : i + step].expand(count, -1, -1)
            guess = logits(p, part, resets)[:, :, length - DIGITS - 1 : length - 1].argmax(-1)
            found.append((guess == part[:, :, length - DIGITS : length]).double().mean(-1))
    return torch.cat(found, 1).view(count, len(DEPTHS), samples).mean(-1).tolist()


def checkpoint(p, r, state, length):
    """Config and tensors of model r in the layout of transformers."""
    widest = (p["0.conv"].shape[1] - INNER) // 2
    channels = torch.cat([torch.arange(INNER + state), INNER + widest + torch.arange(state)])
    rows = torch.cat([torch.arange(INNER), INNER + channels, 2 * INNER + 2 * widest + torch.arange(HEADS)])
    p = {k: v[r].detach().cpu() for k, v in p.items()}
    t = {"backbone.embeddings.weight": p["embeddings"], "backbone.norm_f.weight": p["norm_f"]}
    for i in range(LAYERS):
        layer, m = f"backbone.layers.{i}.", f"backbone.layers.{i}.mixer."
        t[layer + "norm.weight"] = p[f"{i}.norm"]
        t[m + "in_proj.weight"] = p[f"{i}.in_proj"][rows]
        t[m + "conv1d.weight"] = p[f"{i}.conv"][channels][:, None]
        t[m + "conv1d.bias"] = p[f"{i}.conv_bias"][channels]
        t[m + "A_log"], t[m + "D"], t[m + "dt_bias"] = p[f"{i}.A_log"], p[f"{i}.D"], p[f"{i}.dt_bias"]
        t[m + "norm.weight"], t[m + "out_proj.weight"] = p[f"{i}.gate_norm"], p[f"{i}.out_proj"]
    config = {
        "architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "vocab_size": VOCABULARY,
        "hidden_size": WIDTH, "num_hidden_layers": LAYERS, "state_size": state, "head_dim": HEAD,
        "num_heads": HEADS, "expand": INNER // WIDTH, "n_groups": 1, "conv_kernel": CONV,
        "use_conv_bias": True, "use_bias": False, "tie_word_embeddings": True,
        "layer_norm_epsilon": EPS, "rms_norm": True, "hidden_act": "silu",
        "time_step_limit": [0.0, None], "chunk_size": CHUNK, "train_context_length": length,
        "tokenizer": "bytes",
    }
    return config, t


def rounded(p):
    """The parameters as they are stored."""
    return {k: torch.stack([ensemble.stored(m).float() for m in v]) for k, v in p.items()}


def state_elements(state):
    """Elements of the recurrent state of a model, the tail of the convolution too."""
    return LAYERS * (INNER * state + (CONV - 1) * (INNER + 2 * state))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--heldout", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=120, help="for the training alone")
    parser.add_argument("--steps", type=int, default=20_000, help="at most")
    parser.add_argument("--rows", type=int, default=4, help="of 1,024 bytes a step and model")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--states", type=int, nargs="+", default=STATES)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--peak", type=float, default=3e-3, help="learning rate")
    parser.add_argument("--samples", type=int, default=20, help="passkeys a depth and length")
    parser.add_argument("--pool", type=int, default=512, help="layouts of passkeys a group")
    parser.add_argument("--lengthwise", type=int, default=8192, help="longest passkey text")
    a = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    begun = time.time()

    def log(line):
        print(f"[{time.time() - begun:6.1f}] {line}", flush=True)

    text = torch.tensor(numpy.frombuffer(a.text.read_bytes(), numpy.uint8).copy()).to(device)
    heldout = torch.tensor(numpy.frombuffer(a.heldout.read_bytes(), numpy.uint8).copy())
    cells = [(n, t, s) for s in range(a.seeds) for n in a.states for t in a.lengths]
    lengths = [t for _, t, _ in cells]
    groups = sorted({(t, s) for _, t, s in cells})
    group_of = torch.tensor([groups.index((t, s)) for _, t, s in cells], device=device)
    p = parameters([n for n, _, _ in cells], [s for _, _, s in cells], device)
    batches = Batches(text, groups, a.rows, a.pool, device)
    resets = Resets(lengths, ROW, device)
    # What follows the last byte of a sequence belongs to another one.
    inside = (resets.within[:, 1:] > 0).float()[:, None]
    log(f"{len(cells)} models on {device}")

    def batch(step):
        tokens, marks = batches(step)
        return tokens[group_of], marks[group_of]

    def loss(tokens, marks):
        each = cross_entropy(logits(p, tokens, resets)[:, :, :-1], tokens[:, :, 1:])
        answers = marks[:, :, 1:].float()
        text = (each * inside).sum((1, 2)) / inside.expand_as(each).sum((1, 2))
        return text + (each * answers).sum((1, 2)) / answers.sum((1, 2)).clamp_min(1)

    history = []
    shares = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4]

    def visit(step, steps):
        if steps > 45 and step in [int(s * steps) for s in shares] and step > 40:
            excess, error = collapse(p, lengths, heldout, device)
            history.append({"step": step, "excess": excess, "error": error})
            found = recall(p, len(cells), 64, 4, heldout, 7, device)
            short = [sum(f) / len(f) for f in found]
            log(f"step {step}: excess {['%.2f' % e for e in excess]}, recall at 64 {['%.2f' % f for f in short]}")

    decayed = {k for k in p if k.split(".")[-1] in DECAYED}
    steps = ensemble.train(p, decayed, batch, loss, a.peak, a.steps, a.seconds, visit, log)
    torch.set_float32_matmul_precision("highest")
    p = rounded(p)
    for r, (n, t, s) in enumerate(cells):
        if s == 0:
            ensemble.save(a.out / f"mamba2-n{n}-t{t}", *checkpoint(p, r, n, t))
    log("checkpoints written")
    excess, error = collapse(p, lengths, heldout, device)
    history.append({"step": steps, "excess": excess, "error": error})
    losses = bucket_losses(p, lengths, heldout, device)
    models = []
    for r, (n, t, s) in enumerate(cells):
        models.append({
            "state": n, "length": t, "seed": s, "elements": state_elements(n),
            "excess": [[h["step"], h["excess"][r], h["error"][r]] for h in history],
            "loss": losses[r], "recall": {},
        })
    result = {"steps": steps, "bytes_a_step": a.rows * ROW, "buckets": BUCKETS, "samples": a.samples * len(DEPTHS), "models": models}

    def write():
        (a.out / "family.json").write_text(json.dumps(result))
        with tarfile.open(a.out / "stuffed.tar", "w") as tar:
            for path in [*sorted(a.out.glob("mamba2-n*")), a.out / "family.json"]:
                tar.add(path, path.name)

    write()
    length = 64
    while length <= a.lengthwise:
        samples = a.samples if length <= 2048 else max(1, a.samples // 2)
        for m, found in zip(models, recall(p, len(cells), length, samples, heldout, 3, device)):
            m["recall"][length] = found
        write()
        log(f"recall at {length}: {['%.2f' % (sum(m['recall'][length]) / 5) for m in models]}")
        length *= 2
    log("done")


if __name__ == "__main__":
    main()
