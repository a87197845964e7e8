"""flash-linear-attention's Triton kernels on an NVIDIA GPU: the peers of our GPU rows.

    fla_gpu.py [--json FILE]

Needs flash-linear-attention 0.6.0 and fla-core 0.6.0 with the torch and Triton of that machine.
Forward only, f32 and bf16, batch 1, at the shapes S, M and L, and one token (decode) of the
recurrent kernels; medians of Triton's do_bench, which empties the cache before every call, and the
wall time of calls back to back, as our own rows have it. Before a kernel is timed its
result is compared with the library's own naive recurrence on the first 256 tokens; one that is
wrong or refuses a type has a row that says so, without a time. `copy_bytes_per_second` is a device
copy, for the share of the memory's bandwidth that is reached.
"""

import argparse
import itertools
import json
import sys
import time

import torch

if not torch.cuda.is_available():
    sys.exit("fla_gpu.py needs an NVIDIA GPU, and torch sees none on this machine")

import fla
import triton
import triton.testing
from fla.ops.delta_rule import chunk_delta_rule, fused_recurrent_delta_rule
from fla.ops.gated_delta_rule import chunk_gated_delta_rule, fused_recurrent_gated_delta_rule
from fla.ops.gated_delta_rule.naive import naive_recurrent_gated_delta_rule
from fla.ops.generalized_delta_rule.dplr.naive import dplr_recurrence
from fla.ops.gla import chunk_gla, fused_recurrent_gla
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.retention import chunk_retention, fused_recurrent_retention
from fla.ops.rwkv7 import chunk_rwkv7, fused_recurrent_rwkv7
from fla.ops.simple_gla import chunk_simple_gla, fused_recurrent_simple_gla
from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

# Tokens, heads, width of keys and values.
SHAPES = {"S": (1024, 4, 64), "M": (4096, 16, 64), "L": (16384, 16, 128)}
DECODE = (1, 16, 128)
CHECKED_TOKENS = 256
# RMS ratio to the f32 recurrence: f32 kernels multiply in TF32 at best, bf16 ones keep 8 bits.
TOLERANCE = {torch.float32: 5e-3, torch.bfloat16: 2e-2}


def retention_log_decay(t: int, heads: int) -> torch.Tensor:
    """gamma_h = 1 - 2^(-5 - h), the same at every token."""
    h = torch.arange(heads, device="cuda", dtype=torch.float64)
    return torch.log1p(-torch.exp2(-5 - h)).float().expand(1, t, heads).contiguous()


def contestants(t: int, heads: int, width: int, dtype: torch.dtype) -> dict:
    """Name: the call on all tokens, and pairs of what it and the recurrence give on the first."""
    torch.manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.float32)

    q, k, v = (random(1, t, heads, width).to(dtype) for _ in range(3))
    per_key = torch.nn.functional.logsigmoid(random(1, t, heads, width)) / 16
    scalar = torch.nn.functional.logsigmoid(random(1, t, heads)) / 16
    fixed = retention_log_decay(t, heads)
    first = slice(None), slice(0, CHECKED_TOKENS)
    gla, retention, simple_gla = (
        (fused_recurrent_gla, fused_recurrent_retention, fused_recurrent_simple_gla)
        if t == 1
        else (chunk_gla, chunk_retention, chunk_simple_gla)
    )

    def exact(*tensors: torch.Tensor) -> list:
        return [x[first].float() for x in tensors]

    return {
        "gla": (
            lambda: gla(q, k, v, per_key.to(dtype))[0],
            lambda: gla(q[first], k[first], v[first], per_key[first].to(dtype))[0],
            lambda: naive_recurrent_gla(*exact(q, k, v, per_key.to(dtype)))[0],
        ),
        "retnet": (
            lambda: retention(q, k, v)[0],
            lambda: retention(q[first], k[first], v[first])[0],
            lambda: naive_recurrent_simple_gla(*exact(q, k, v, fixed))[0],
        ),
        "ssd": (
            lambda: simple_gla(q, k, v, scalar)[0],
            lambda: simple_gla(q[first], k[first], v[first], scalar[first])[0],
            lambda: naive_recurrent_simple_gla(*exact(q, k, v, scalar))[0],
        ),
    }


def delta_contestants(t: int, heads: int, width: int, dtype: torch.dtype) -> dict:
    """The delta rules, likewise; one token goes through the recurrent kernels."""
    torch.manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="cuda", dtype=torch.float32)

    def unit(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(x, dim=-1)

    q, k, v, kk = (random(1, t, heads, width) for _ in range(4))
    q, k, v, a = (x.to(dtype) for x in (q, unit(k), v, -unit(kk)))
    beta = random(1, t, heads).sigmoid().to(dtype)
    b = (-a * random(1, t, heads, width).sigmoid()).to(dtype)
    # A gate of a head in f32, as the layers of the library have it.
    scalar = torch.nn.functional.logsigmoid(random(1, t, heads)) / 16
    # RWKV-7's, -e^(-1/2) sigmoid(x).
    per_key = (-(torch.e**-0.5) * random(1, t, heads, width).sigmoid()).to(dtype)
    first = slice(None), slice(0, CHECKED_TOKENS)
    delta, gated, rwkv7 = (
        (fused_recurrent_delta_rule, fused_recurrent_gated_delta_rule, fused_recurrent_rwkv7)
        if t == 1
        else (chunk_delta_rule, chunk_gated_delta_rule, chunk_rwkv7)
    )

    def exact(*tensors: torch.Tensor) -> list:
        return [x[first].float() for x in tensors]

    def rwkv7_recurrence() -> torch.Tensor:
        # Heads before tokens, and a fixed scale of its own.
        r, *rest = (x.transpose(1, 2) for x in exact(q, k, v, a, b, per_key))
        return dplr_recurrence(r * width**0.5, *rest)[0].transpose(1, 2)

    return {
        "delta": (
            lambda: delta(q, k, v, beta=beta)[0],
            lambda: delta(q[first], k[first], v[first], beta=beta[first])[0],
            lambda: naive_recurrent_gated_delta_rule(*exact(q, k, v, beta, scalar * 0))[0],
        ),
        "gated_delta": (
            lambda: gated(q, k, v, g=scalar, beta=beta)[0],
            lambda: gated(q[first], k[first], v[first], g=scalar[first], beta=beta[first])[0],
            lambda: naive_recurrent_gated_delta_rule(*exact(q, k, v, beta, scalar))[0],
        ),
        "rwkv7": (
            lambda: rwkv7(q, per_key, k, v, a, b, scale=1.0)[0],
            lambda: rwkv7(*(x[first] for x in (q, per_key, k, v, a, b)), scale=1.0)[0],
            rwkv7_recurrence,
        ),
    }


def rms_ratio(got: torch.Tensor, right: torch.Tensor) -> float:
    difference = (got.float() - right.float()).square().mean().sqrt()
    return (difference / right.float().square().mean().sqrt()).item()


def back_to_back_ms(call) -> float:
    """Best of ten rounds of calls that are waited for together."""
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(50):
            call()
        torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / 50 * 1000)
    return best


def measure():
    """Rows one by one: the first call of each kernel tunes it for minutes."""
    shapes = SHAPES | {"decode": DECODE}
    for dtype, rules, shape in itertools.product(
        (torch.float32, torch.bfloat16), (contestants, delta_contestants), shapes
    ):
        t, heads, width = shapes[shape]
        calls = rules(t, heads, width, dtype)
        for mixer, (whole, start, recurrence) in calls.items():
            row = {
                "mixer": mixer,
                "shape": shape,
                "tokens": t,
                "heads": heads,
                "width": width,
                "dtype": str(dtype).removeprefix("torch."),
            }
            try:
                ratio = rms_ratio(start(), recurrence())
            except Exception as error:  # whatever stops one kernel, the others are still measured
                yield row | {"not_timed": f"{type(error).__name__}: {error}"}
                continue
            if not ratio <= TOLERANCE[dtype]:
                yield row | {"not_timed": f"RMS ratio {ratio:.1e} to the recurrence"}
                continue
            median = triton.testing.do_bench(whole, return_mode="median")
            wall = back_to_back_ms(whole)
            yield row | {"median_ms": median, "wall_ms": wall, "rms_ratio_to_recurrence": ratio}


def copy_bytes_per_second() -> float:
    """Read and written bytes of a copy of 1 GiB."""
    source = torch.empty(1 << 28, device="cuda", dtype=torch.float32)
    target = torch.empty_like(source)
    milliseconds = triton.testing.do_bench(lambda: target.copy_(source), return_mode="median")
    return 2 * source.numel() * 4 / (milliseconds / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the report there too")
    arguments = parser.parse_args()
    report = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "fla": fla.__version__,
        "copy_bytes_per_second": copy_bytes_per_second(),
        "rows": [],
    }
    with torch.no_grad():
        for row in measure():
            report["rows"].append(row)
            print(json.dumps(row), flush=True)
            if arguments.json:
                # After every row, so that a run that is cut short leaves what it has.
                with open(arguments.json, "w") as file:
                    json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
