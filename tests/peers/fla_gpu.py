"""flash-linear-attention's Triton kernels on an NVIDIA GPU: the peers of our GPU rows.

    fla_gpu.py [--json FILE]

Needs flash-linear-attention 0.6.0 and fla-core 0.6.0 with the torch and Triton of that machine.
Forward only, f32 and bf16, batch 1, at the shapes S, M and L; medians of Triton's do_bench. Before
a kernel is timed its result is compared with the library's own naive recurrence on the first 256
tokens. The last row is a device copy, for the share of the memory's bandwidth that is reached.
"""

import argparse
import json
import sys

import torch

if not torch.cuda.is_available():
    sys.exit("fla_gpu.py needs an NVIDIA GPU, and torch sees none on this machine")

import fla
import triton
import triton.testing
from fla.ops.gla import chunk_gla
from fla.ops.gla.naive import naive_recurrent_gla
from fla.ops.retention import chunk_retention
from fla.ops.simple_gla import chunk_simple_gla
from fla.ops.simple_gla.naive import naive_recurrent_simple_gla

# Tokens, heads, width of keys and values.
SHAPES = {"S": (1024, 4, 64), "M": (4096, 16, 64), "L": (16384, 16, 128)}
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

    def exact(*tensors: torch.Tensor) -> list:
        return [x[first].float() for x in tensors]

    return {
        "gla": (
            lambda: chunk_gla(q, k, v, per_key.to(dtype))[0],
            lambda: chunk_gla(q[first], k[first], v[first], per_key[first].to(dtype))[0],
            lambda: naive_recurrent_gla(*exact(q, k, v, per_key.to(dtype)))[0],
        ),
        "retnet": (
            lambda: chunk_retention(q, k, v)[0],
            lambda: chunk_retention(q[first], k[first], v[first])[0],
            lambda: naive_recurrent_simple_gla(*exact(q, k, v, fixed))[0],
        ),
        "ssd": (
            lambda: chunk_simple_gla(q, k, v, scalar)[0],
            lambda: chunk_simple_gla(q[first], k[first], v[first], scalar[first])[0],
            lambda: naive_recurrent_simple_gla(*exact(q, k, v, scalar))[0],
        ),
    }


def rms_ratio(got: torch.Tensor, right: torch.Tensor) -> float:
    difference = (got.float() - right.float()).square().mean().sqrt()
    return (difference / right.float().square().mean().sqrt()).item()


def measure():
    """Rows one by one: the first call of each kernel tunes it for minutes."""
    for dtype in (torch.float32, torch.bfloat16):
        for shape, (t, heads, width) in SHAPES.items():
            calls = contestants(t, heads, width, dtype)
            for mixer, (whole, start, recurrence) in calls.items():
                ratio = rms_ratio(start(), recurrence())
                if not ratio <= TOLERANCE[dtype]:
                    sys.exit(f"{mixer} at {shape} in {dtype}: RMS ratio {ratio:.1e} to the recurrence")
                yield {
                    "mixer": mixer,
                    "shape": shape,
                    "tokens": t,
                    "heads": heads,
                    "width": width,
                    "dtype": str(dtype).removeprefix("torch."),
                    "median_ms": triton.testing.do_bench(whole, return_mode="median"),
                    "rms_ratio_to_recurrence": ratio,
                }


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
