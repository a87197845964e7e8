"""Trains the small image classifiers that come with the lab, and writes what they must answer.

    vision.py train OUT [--seconds S] [--seed N]    (an NVIDIA GPU; a CPU only for a few steps)
    vision.py expect OUT                            (any CPU, after train)

Needs PyTorch and NumPy, and `expect` safetensors. Data: digits.npz (see digits.py) in the scenes of scenes.py;
the last 397 digits, of other writers, are the test set.

`train` makes four models, each in a folder of OUT: `digits-vim` (two directions, class token in the
middle, 197 tokens), `digits-plain` (four snakes, 196 tokens) and `digits-vim-gather` and
`digits-vim-decay`, which are `digits-vim` tuned further while it prunes 197 -> 157 -> 125 -> 101 in one or the other mode. The time S is shared
among them: 46, 30, 12 and 12 %. Each folder gets config.json and model.safetensors (f16).

`expect` runs the stored weights in f32 on the CPU and writes expected.safetensors into each folder:
`images` u8 [8, 112, 112], `logits` [8, 10] of them, `test_classes` and `correct` of the whole test
set, and for `digits-vim` and its tuned ones the same under `<pruning>.` for the modes, with
`<pruning>.kept.<i>` the places that the i-th pruning of each of the eight kept. The accuracies are
printed and written to OUT/accuracy.json.
"""

import argparse
import json
import math
import struct
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import scenes
import selective_scan
from backbone import Backbone, Pruning

VIM = {
    "model_type": "vim",
    "architectures": ["VisionMamba"],
    "img_size": 112,
    "patch_size": 8,
    "in_chans": 1,
    "num_classes": 10,
    "embed_dim": 64,
    "depth": 6,
    "d_state": 8,
    "d_conv": 4,
    "expand": 2,
    "dt_rank": 4,
    "rms_norm_eps": 1e-5,
    "class_token": "middle",
    "scan_orders": ["raster", "raster-reversed"],
}
PLAIN = VIM | {
    "class_token": "none",
    "scan_orders": ["snake", "column-snake", "snake-reversed", "column-snake-reversed"],
    "depth": 4,
}
PRUNINGS = {
    "gather": Pruning(mode="gather"),
    "decay-default": Pruning(mode="decay-default"),
    "released": Pruning(mode="gather", released=True),
}
TEST = 397


def digits(device):
    data = np.load(Path(__file__).parent / "digits.npz")
    images = torch.tensor(data["images"], device=device)
    labels = torch.tensor(data["labels"], device=device).long()
    return (images[:-TEST], labels[:-TEST]), (images[-TEST:], labels[-TEST:])


def pool(images, labels, count, seed):
    """Scenes of random digits on either background, with 0 to 3 pieces."""
    generator = torch.Generator().manual_seed(seed)
    made, of = [], []
    for batch in range(-(-count // 512)):
        which = torch.randint(len(images), (512,), generator=generator).to(images.device)
        kinds = torch.randint(2, (512,), generator=generator).to(images.device)
        # Seeds of training have their highest bit set, those of the test set have not.
        seeds = torch.randint(1 << 31, 1 << 32, (512,), generator=generator).to(images.device)
        made.append(scenes.scenes(images[which], images, kinds, seeds, pieces=batch % 4))
        of.append(labels[which])
    return torch.cat(made), torch.cat(of)


def train(model, data, seconds, rate, pruning=None, batch=256, steps=None):
    """AdamW for so many seconds, or so many steps, the rate falling as a cosine."""
    images, labels = data
    matrices = ("in_proj", "x_proj", "out_proj", "patch", "head")
    named = list(model.named_parameters())
    decayed = [p for name, p in named if name.split(".")[-1] in matrices]
    plain = [p for name, p in named if name.split(".")[-1] not in matrices]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=images.is_cuda)
    start, step, seen = time.time(), 0, []
    while True:
        done = (time.time() - start) / seconds if steps is None else step / steps
        if done >= 1:
            break
        warm = min(1, (step + 1) / 200)
        for group in optimizer.param_groups:
            group["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
        which = torch.randint(len(images), (batch,), device=images.device)
        logits = model(images[which], pruning)
        loss = F.cross_entropy(logits, labels[which], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        # Read seldom, so that the GPU need not wait; it also keeps the clock honest.
        if step % 100 == 0 or steps is not None:
            right = (logits.argmax(-1) == labels[which]).float().mean().item()
            seen.append(right)
            if step % 500 == 0 or steps is not None:
                print(f"  step {step} {time.time() - start:.1f} s loss {loss.item():.3f} "
                      f"right {sum(seen[-5:]) / len(seen[-5:]):.3f}", flush=True)  # fmt: skip
    return step


@torch.no_grad()
def answers(model, images, pruning=None):
    return torch.cat([model(part, pruning) for part in images.split(64)])


def save(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config, indent=2) + "\n")
    named = model.tensors().items()
    weights = {name: w.detach().half().cpu().contiguous() for name, w in named}
    if not all(torch.isfinite(w).all() for w in weights.values()):
        sys.exit(f"{folder}: a weight is not finite")
    header, at = {}, 0
    for name, w in weights.items():
        end = at + 2 * w.numel()
        header[name] = {"dtype": "F16", "shape": list(w.shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    values = b"".join(w.numpy().tobytes() for w in weights.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + values)


def train_all(args):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    scan, name = selective_scan.for_device(device)
    print(f"{device}, scan: {name}", flush=True)
    learned, (test_images, test_labels) = digits(device)
    start = time.time()
    data = pool(*learned, args.pool, args.seed)
    test_images, test_labels = scenes.test_set(test_images, test_labels)
    print(f"{len(data[0])} scenes in {time.time() - start:.1f} s", flush=True)
    vim = Backbone(VIM).to(device)
    jobs = [
        ("digits-vim", vim, 0.46, 2e-3, None),
        ("digits-plain", Backbone(PLAIN).to(device), 0.30, 2e-3, None),
        ("digits-vim-gather", Backbone(VIM).to(device), 0.12, 7e-4, PRUNINGS["gather"]),
        ("digits-vim-decay", Backbone(VIM).to(device), 0.12, 7e-4, PRUNINGS["decay-default"]),
    ]
    for name, model, share, rate, pruning in jobs:
        model.scan = scan
        if pruning is not None:
            model.load_state_dict(vim.state_dict())
        print(name, flush=True)
        steps = train(model, data, share * args.seconds, rate, pruning, args.batch, args.steps)
        save(model, args.out / name)
        modes = {"dense": None} | (PRUNINGS if name.startswith("digits-vim") else {})
        for mode, pruning in modes.items():
            right = answers(model, test_images, pruning).argmax(-1) == test_labels
            print(f"  {name} {mode}: {right.sum().item()} of {len(right)}", flush=True)
        print(f"  {steps} steps, {time.time() - start:.1f} s so far", flush=True)


@torch.no_grad()
def expect(args):
    from safetensors.torch import load_file, save_file

    torch.set_num_threads(1)
    _, (digit_images, labels) = digits("cpu")
    images, labels = scenes.test_set(digit_images, labels)
    accuracy = {}
    for folder in sorted(p.parent for p in args.out.glob("*/model.safetensors")):
        config = json.loads((folder / "config.json").read_text())
        model = Backbone(config)
        model.scan = selective_scan.one_by_one
        weights = load_file(folder / "model.safetensors")
        model.load({name: w.float() for name, w in weights.items()})
        written = {"images": images[:8].contiguous(), "labels": labels.to(torch.uint8)}
        modes = {"": None}
        if model.has_class:
            modes |= {f"{name}.": pruning for name, pruning in PRUNINGS.items()}
        for prefix, pruning in modes.items():
            kept = []
            written[f"{prefix}logits"] = model(images[:8], pruning, kept)
            for i, places in enumerate(kept):
                written[f"{prefix}kept.{i}"] = places.to(torch.int32).contiguous()
            classes = answers(model, images, pruning).argmax(-1)
            right = classes == labels
            written[f"{prefix}test_classes"] = classes.to(torch.uint8)
            counts = [right, right[0::2], right[1::2]]
            mode = prefix.removesuffix(".") or "dense"
            accuracy[f"{folder.name} {mode}"] = {
                kind: f"{part.sum().item()} of {len(part)}"
                for kind, part in zip(("all", "empty", "redundant"), counts)
            }
            print(folder.name, mode, accuracy[f"{folder.name} {mode}"], flush=True)
        save_file(written, folder / "expected.safetensors")
    (args.out / "accuracy.json").write_text(json.dumps(accuracy, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["train", "expect"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=98_304, help="scenes to learn from")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, help="so many steps of each model, to try it")
    args = parser.parse_args()
    (train_all if args.command == "train" else expect)(args)


if __name__ == "__main__":
    main()
