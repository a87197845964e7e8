"""Writes ssd, s6, gla, retnet and attention.safetensors: inputs, outputs and states of the
official reference functions, in f32 and in f64, on small random shapes.

    python tests/golden/make/scans.py --fla DIR --mamba DIR

DIR are git repositories of fla-org/flash-linear-attention and state-spaces/mamba that hold the
commits below. The functions are read out of them and run; none of their text is kept here. Needs
torch, einops and safetensors (tests/peers/requirements.txt).

The reference functions convert their inputs to f32 themselves. For the f64 results that conversion
is made one to f64 while they run.
"""

import argparse
import contextlib
import pathlib
import subprocess
import sys
import types

import safetensors.torch
import torch
import torch.nn.functional as F

FLA = ("fla-org/flash-linear-attention", "bc3b101dcb713ddc5bd8924b66754eb68b5ccf89")
MAMBA = ("state-spaces/mamba", "e9594ce1c732d97440f0332fdc43170a2294dbfa")
COMMAND = "python tests/golden/make/scans.py --fla DIR --mamba DIR"
OUT = pathlib.Path(__file__).resolve().parents[1]

# Imported by the files above the reference functions, and used by none of them.
KERNELS = {
    "mamba_ssm.ops.triton.ssd_combined": ["mamba_chunk_scan_combined"],
    "mamba_ssm.ops.triton.layer_norm": ["_layer_norm_fwd"],
    "mamba_ssm.utils.torch": ["custom_fwd", "custom_bwd"],
}


def load(directory: str, commit: str, path: str) -> types.ModuleType:
    """Runs a file of a repository as a module."""
    for name, members in KERNELS.items():
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:n]), types.ModuleType(parts[n - 1]))
        for member in members:
            setattr(sys.modules[name], member, lambda function=None, **_: function)
    text = subprocess.run(
        ["git", "-C", directory, "show", f"{commit}:{path}"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    module = types.ModuleType(path)
    exec(compile(text, path, "exec"), module.__dict__)
    return module


@contextlib.contextmanager
def precision(dtype: torch.dtype):
    """The functions' own conversion gives this type."""
    kept = torch.Tensor.float
    torch.Tensor.float = lambda tensor: tensor.to(dtype)
    try:
        yield
    finally:
        torch.Tensor.float = kept


def in_both(inputs: dict, function, tensors: dict, case: str) -> None:
    """Runs `function` on the inputs in f32 and in f64 and keeps what it returns by name."""
    for name, value in inputs.items():
        tensors[f"{case}.{name}"] = value.contiguous()
    for name, dtype in (("f32", torch.float32), ("f64", torch.float64)):
        with precision(dtype):
            results = function(**{key: value.to(dtype) for key, value in inputs.items()})
        for key, value in results.items():
            tensors[f"{case}.{name}.{key}"] = value.to(dtype).contiguous().clone()


def save(name: str, tensors: dict, source: tuple, paths: str) -> None:
    repository, commit = source
    metadata = {
        "repository": f"https://github.com/{repository}",
        "commit": commit,
        "path": paths,
        "command": COMMAND,
        "torch": torch.__version__,
    }
    file = OUT / f"{name}.safetensors"
    safetensors.torch.save_file(tensors, file, metadata)
    assert file.stat().st_size < 300_000, f"{file} is too large"


def ssd(directory: str) -> None:
    path = "mamba_ssm/modules/ssd_minimal.py"
    reference = load(directory, MAMBA[1], path).ssd_minimal_discrete
    tensors = {}
    # Tokens, length of its blocks, heads, groups, state width N, head width P.
    for case, (t, block, h, groups, n, p) in enumerate(
        [(35, 7, 4, 2, 16, 12), (64, 16, 2, 1, 33, 8), (1, 1, 3, 3, 5, 7)]
    ):
        inputs = {
            "x": torch.randn(t, h, p),
            "dt": F.softplus(torch.randn(t, h) - 1),
            "a": -torch.exp(torch.rand(h) * 2 - 1),
            "b": torch.randn(t, groups, n),
            "c": torch.randn(t, groups, n),
            "initial_state": torch.randn(h, p, n),
        }

        def run(x, dt, a, b, c, initial_state):
            b, c = (m.repeat_interleave(h // groups, dim=1)[None] for m in (b, c))
            y, state = reference(
                (x * dt[..., None])[None], (a * dt)[None], b, c, block, initial_state[None, None]
            )
            return {"y": y[0], "state": state[0]}

        in_both(inputs, run, tensors, f"case{case}")
    save("ssd", tensors, MAMBA, path)


def s6(directory: str) -> None:
    path = "mamba_ssm/ops/selective_scan_interface.py"
    reference = load(directory, MAMBA[1], path).selective_scan_ref
    tensors = {}
    # Tokens before (whose last state is the initial one), tokens, channels, states.
    for case, (before, t, d, n) in enumerate([(9, 37, 12, 16), (5, 64, 7, 5), (3, 1, 3, 16)]):
        total = before + t
        inputs = {
            "x": torch.randn(total, d),
            "delta": torch.randn(total, d) - 1,
            "delta_bias": torch.randn(d),
            "a": -torch.exp(torch.rand(d, n) * 2 - 1),
            "b": torch.randn(total, n),
            "c": torch.randn(total, n),
            "skip": torch.randn(d),
        }

        def run(x, delta, delta_bias, a, b, c, skip):
            def scan(length):
                y, state = reference(
                    x[:length].T[None],
                    delta[:length].T[None],
                    a,
                    b[:length].T[None],
                    c[:length].T[None],
                    D=skip,
                    delta_bias=delta_bias,
                    delta_softplus=True,
                    return_last_state=True,
                )
                return y[0].T, state[0]

            y, state = scan(total)
            return {"y": y[before:], "state": state, "initial_state": scan(before)[1]}

        in_both(inputs, run, tensors, f"case{case}")
    save("s6", tensors, MAMBA, path)


def qkv(t: int, h: int, k: int, v: int) -> dict:
    return {
        "q": torch.randn(t, h, k),
        "k": torch.randn(t, h, k),
        "v": torch.randn(t, h, v),
        "initial_state": torch.randn(h, k, v),
    }


def gla(directory: str) -> None:
    path = "fla/ops/gla/naive.py"
    reference = load(directory, FLA[1], path).naive_recurrent_gla
    tensors = {}
    for case, (t, h, k, v) in enumerate([(37, 2, 16, 12), (64, 1, 9, 33), (1, 3, 4, 5)]):
        inputs = qkv(t, h, k, v) | {"log_decay": F.logsigmoid(torch.randn(t, h, k)) / 4}

        def run(q, k, v, log_decay, initial_state):
            o, state = reference(
                q[None], k[None], v[None], log_decay[None], initial_state[None], True
            )
            return {"o": o[0], "state": state[0]}

        in_both(inputs, run, tensors, f"case{case}")
    save("gla", tensors, FLA, path)


def retnet(directory: str) -> None:
    """The decay of each head stands in the parallel form, which has no state; the states come from
    the recurrent form with that decay."""
    parallel_path, recurrent_path = "fla/ops/retention/naive.py", "fla/ops/simple_gla/naive.py"
    parallel = load(directory, FLA[1], parallel_path).naive_retention
    recurrent = load(directory, FLA[1], recurrent_path).naive_recurrent_simple_gla
    tensors = {}
    for case, (t, h, k, v) in enumerate([(37, 4, 16, 16), (65, 2, 9, 21), (1, 3, 4, 4)]):
        inputs = qkv(t, h, k, v)

        def run(q, k, v, initial_state):
            heads = torch.arange(h, dtype=torch.float64)
            g = torch.log1p(-torch.exp2(-5 - heads)).to(q.dtype).expand(t, h)
            o, state = recurrent(
                q[None], k[None], v[None], g[None], initial_state=initial_state[None]
            )
            first = parallel(*(x.transpose(0, 1)[None] for x in (q, k, v)))
            return {"o": o[0], "state": state[0], "o_from_zero": first[0].transpose(0, 1)}

        in_both(inputs, run, tensors, f"case{case}")
    save("retnet", tensors, FLA, f"{parallel_path}, {recurrent_path}")


def softmax_attention(directory: str) -> None:
    path = "fla/ops/attn/naive.py"
    reference = load(directory, FLA[1], path).naive_parallel_attn
    tensors = {}
    # Tokens, query heads, key-value heads, width, window (0 for none).
    for case, (t, heads, kv_heads, k, window) in enumerate(
        [(37, 4, 2, 16, 0), (65, 2, 2, 9, 10), (1, 3, 1, 4, 0)]
    ):
        inputs = {
            "q": torch.randn(t, heads, k),
            "k": torch.randn(t, kv_heads, k),
            "v": torch.randn(t, kv_heads, k),
        }

        def run(q, k, v):
            o, _ = reference(q[None], k[None], v[None], window_size=window or None)
            return {"o": o[0]}

        tensors[f"case{case}.window"] = torch.tensor([float(window)])
        in_both(inputs, run, tensors, f"case{case}")
    save("attention", tensors, FLA, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fla", required=True, help="repository of flash-linear-attention")
    parser.add_argument("--mamba", required=True, help="repository of mamba")
    arguments = parser.parse_args()
    torch.manual_seed(2)
    ssd(arguments.mamba)
    s6(arguments.mamba)
    gla(arguments.fla)
    retnet(arguments.fla)
    softmax_attention(arguments.fla)


if __name__ == "__main__":
    main()
