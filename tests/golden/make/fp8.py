"""Writes fp8.safetensors: what ml_dtypes makes of float8_e4m3fn (case0) and float8_e5m2 (case1):

    values    f64 [256], the number of every byte; NaN and infinity as they are
    x         f32 [N], every finite number, every middle of two neighbours and the f32 beside it on either
              side, both signs, numbers spread over all exponents, and what overflows
    rounded   f64 [N], x cast to the format and back

    python tests/golden/make/fp8.py

Needs ml_dtypes 0.6.0, numpy 2.4.6 and safetensors 0.8.0 only.
"""

import pathlib

import ml_dtypes
import numpy
from safetensors.numpy import save_file

VERSION = "0.6.0"
assert ml_dtypes.__version__ == VERSION, f"ml_dtypes {VERSION} is wanted"
OUT = pathlib.Path(__file__).parent.parent / "fp8.safetensors"

tensors = {}
for case, dtype in enumerate([ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]):
    values = numpy.arange(256, dtype=numpy.uint8).view(dtype).astype(numpy.float64)
    finite = numpy.unique(numpy.abs(values[numpy.isfinite(values)])).astype(numpy.float32)
    step = finite[-1] - finite[-2]
    # The last middle is that of the largest number and the one that would follow it.
    middles = (finite + numpy.append(finite[1:], finite[-1] + step)) / 2
    near = [finite, middles, numpy.nextafter(middles, 0), numpy.nextafter(middles, numpy.inf)]
    random = numpy.random.default_rng(8)
    spread = (2 ** random.uniform(-30, 20, 4000)).astype(numpy.float32)
    large = numpy.array([1e6, 1e30, numpy.finfo(numpy.float32).max, numpy.inf, 1e-45, 1e-40])
    x = numpy.concatenate([*near, spread, large]).astype(numpy.float32)
    x = numpy.concatenate([x, -x])
    tensors[f"case{case}.values"] = values
    tensors[f"case{case}.x"] = x
    tensors[f"case{case}.rounded"] = x.astype(dtype).astype(numpy.float64)

save_file(tensors, OUT, {
    "repository": "https://github.com/jax-ml/ml_dtypes",
    "commit": f"v{VERSION}",
    "path": "ml_dtypes/include/float8.h",
    "command": "python tests/golden/make/fp8.py",
    "torch": "none, numpy " + numpy.__version__,
})
