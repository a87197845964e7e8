"""Writes a checkpoint of the size that people have, with random weights, into a folder:

    config.json, model.safetensors    the layout of transformers 5.23.0, all tensors f16

The shapes are those of state-spaces/mamba2-130m and state-spaces/mamba-130m (24 layers, width 768,
vocabulary 50,288, tied head; Mamba-2 in the layout of `Mamba2ForCausalLM`, 128,989,632 parameters), or
with --small those of two layers of width 64 with the same vocabulary. Weights are spread as at the start
of training: matrices within 2^-5 of zero, decays and step sizes as in mamba_ssm/modules/mamba2.py and
mamba_simple.py. Nothing of the size of the model is committed; it is for trying out how one loads and runs:

    python tests/golden/make/big_checkpoint.py mamba2 target/checkpoints/mamba2-130m
    python tests/golden/make/big_checkpoint.py mamba2 --small target/checkpoints/mamba2-small

Needs nothing but Python.
"""

import argparse
import json
import math
import pathlib
import random
import struct


def spread(shift: int) -> bytes:
    """The upper byte of a half for a random byte: the half is spread about evenly within 2^(shift - 5)."""
    out = bytearray()
    for byte in range(256):
        place = byte >> 2 & 31
        exponent = 4 + shift + place.bit_length()
        out.append(byte & 0x80 | exponent << 2 | byte & 3)
    return bytes(out)


def halves(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}e", *values)


class Layers:
    """The tensors of a model, in order: name, shape, and what makes the bytes."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.tensors: list[tuple[str, list[int], object]] = []

    def matrix(self, name: str, shape: list[int], shift: int = 0) -> None:
        def make() -> bytes:
            n = math.prod(shape)
            out = bytearray(2 * n)
            out[0::2] = self.random.randbytes(n)
            out[1::2] = self.random.randbytes(n).translate(spread(shift))
            return bytes(out)

        self.tensors.append((name, shape, make))

    def values(self, name: str, shape: list[int], value) -> None:
        """`value(i)` for the element with this number."""
        n = math.prod(shape)
        self.tensors.append((name, shape, lambda: halves([value(i) for i in range(n)])))

    def ones(self, name: str, n: int) -> None:
        self.values(name, [n], lambda _: 1.0)

    def step_sizes(self, name: str, n: int) -> None:
        """The bias whose softplus is evenly spread in its logarithm from 0.001 to 0.1."""

        def bias(_: int) -> float:
            step = math.exp(self.random.uniform(math.log(1e-3), math.log(1e-1)))
            return step + math.log(-math.expm1(-step))

        self.values(name, [n], bias)


def mamba2(layers: Layers, config: dict) -> None:
    d, h, n = config["hidden_size"], config["num_heads"], config["state_size"]
    e = config["expand"] * d
    channels = e + 2 * n
    for i in range(config["num_hidden_layers"]):
        at = f"backbone.layers.{i}."
        layers.ones(at + "norm.weight", d)
        layers.matrix(at + "mixer.in_proj.weight", [e + channels + h, d])
        layers.matrix(at + "mixer.conv1d.weight", [channels, 1, config["conv_kernel"]], 4)
        layers.matrix(at + "mixer.conv1d.bias", [channels])
        layers.step_sizes(at + "mixer.dt_bias", h)
        layers.values(at + "mixer.A_log", [h], lambda _: math.log(layers.random.uniform(1, 16)))
        layers.ones(at + "mixer.D", h)
        layers.ones(at + "mixer.norm.weight", e)
        layers.matrix(at + "mixer.out_proj.weight", [d, e])


def mamba(layers: Layers, config: dict) -> None:
    d, e, n = config["hidden_size"], config["intermediate_size"], config["state_size"]
    rank = config["time_step_rank"]
    for i in range(config["num_hidden_layers"]):
        at = f"backbone.layers.{i}."
        layers.ones(at + "norm.weight", d)
        layers.matrix(at + "mixer.in_proj.weight", [2 * e, d])
        layers.matrix(at + "mixer.conv1d.weight", [e, 1, config["conv_kernel"]], 4)
        layers.matrix(at + "mixer.conv1d.bias", [e])
        layers.matrix(at + "mixer.x_proj.weight", [rank + 2 * n, e])
        layers.matrix(at + "mixer.dt_proj.weight", [e, rank], 2)
        layers.step_sizes(at + "mixer.dt_proj.bias", e)
        layers.values(at + "mixer.A_log", [e, n], lambda i: math.log(1 + i % n))
        layers.ones(at + "mixer.D", e)
        layers.matrix(at + "mixer.out_proj.weight", [d, e])


def config(layout: str, small: bool) -> dict:
    d = 64 if small else 768
    common = {
        "vocab_size": 50288,
        "hidden_size": d,
        "num_hidden_layers": 2 if small else 24,
        "conv_kernel": 4,
        "use_conv_bias": True,
        "use_bias": False,
        "hidden_act": "silu",
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": True,
    }
    if layout == "mamba2":
        return {
            "architectures": ["Mamba2ForCausalLM"],
            "model_type": "mamba2",
            "state_size": 128,
            "head_dim": 64,
            "num_heads": 2 * d // 64,
            "expand": 2,
            "n_groups": 1,
            "time_step_limit": [0.0, None],
            **common,
        }
    return {
        "architectures": ["MambaForCausalLM"],
        "model_type": "mamba",
        "state_size": 16,
        "expand": 2,
        "intermediate_size": 2 * d,
        "time_step_rank": d // 16,
        **common,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a checkpoint with random weights.")
    parser.add_argument("layout", choices=["mamba2", "mamba"])
    parser.add_argument("--small", action="store_true", help="two layers of width 64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("folder", type=pathlib.Path)
    arguments = parser.parse_args()
    keys = config(arguments.layout, arguments.small)
    layers = Layers(arguments.seed)
    d = keys["hidden_size"]
    layers.matrix("backbone.embeddings.weight", [keys["vocab_size"], d])
    {"mamba2": mamba2, "mamba": mamba}[arguments.layout](layers, keys)
    layers.ones("backbone.norm_f.weight", d)
    header: dict = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape, _ in layers.tensors:
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "config.json").write_text(json.dumps(keys, indent=1) + "\n")
    with open(arguments.folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, make in layers.tensors:
            file.write(make())
    print(f"{arguments.folder}: {end // 2:,} parameters, {end:,} bytes")


if __name__ == "__main__":
    main()
