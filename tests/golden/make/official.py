"""What every maker of golden files here shares: the source of an official repository at a commit,
run in f64, and the file that records what it gave.

A file holds cases. Tensors of case n are named `case<n>.<name>`:

    u               f32 [T, D]      input of the layer
    weights.<name>  f32             parameters, by their name in the official state_dict
    out             f64 [T, D]      output of the layer, from a zero state
    state           f64             its recurrent state after the last token, [H, K, V] where it is
                                    a matrix a head (second_state: one more, see the maker)
    scan.<name>     f32             inputs of the recurrence alone (rounded from those of the layer),
                                    with a scan.initial_state that is not zero
    scan.o          f64             output of the recurrence for exactly those inputs
    scan.state      f64             its last state

The metadata `case<n>` is a JSON object with the settings of the case; `official` says which parts
are the authors' code and `composed` which the script puts together.
"""

import contextlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile
import tempfile

import torch
from torch.utils._python_dispatch import TorchDispatchMode

OUT = pathlib.Path(__file__).resolve().parents[1]
LIMIT = 150_000


class Repository:
    """A git repository of official code at one commit."""

    def __init__(self, name: str, commit: str):
        self.name, self.commit = name, commit

    def text(self, directory: str, path: str) -> str:
        """One file of it, out of a clone in `directory`."""
        return subprocess.run(
            ["git", "-C", directory, "show", f"{self.commit}:{path}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def unpack(self, directory: str, *paths: str) -> str:
        """Writes `paths` of it into a temporary folder, which is returned."""
        archive = subprocess.run(
            ["git", "-C", directory, "archive", self.commit, *paths],
            check=True,
            capture_output=True,
        ).stdout
        folder = tempfile.mkdtemp(prefix="golden-")
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            tar.extractall(folder, filter="data")
        return folder


class DoubleTorch:
    """The torch module, for a file whose f32 conversions are to be conversions to f64."""

    float32 = float = torch.float64
    complex64 = cfloat = torch.complex128

    def __getattr__(self, name):
        return getattr(torch, name)


@contextlib.contextmanager
def in_double(*modules):
    """Conversions to f32 in `modules`, and by Tensor.float anywhere, give f64."""
    kept = torch.Tensor.float
    before = [(module, module.torch) for module in modules]
    torch.Tensor.float = lambda tensor, **_: tensor.to(torch.float64)
    for module in modules:
        module.torch = DoubleTorch()
    try:
        yield
    finally:
        torch.Tensor.float = kept
        for module, own in before:
            module.torch = own


class OnlyDouble(TorchDispatchMode):
    """Inside it no operation may give an f32 tensor: nothing was rounded on the way."""

    def __init__(self, also: tuple = ()):
        super().__init__()
        self.exact = EXACT | set(also)

    def __torch_dispatch__(self, function, _, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        results = out if isinstance(out, (tuple, list)) else [out]
        for result in results:
            if isinstance(result, torch.Tensor) and result.dtype in (torch.float32, torch.complex64):
                # Constants and views of them lose nothing; arithmetic and conversion from f64 do.
                name = function.__name__.split(".")[0]
                assert name in self.exact, f"{function} gave {result.dtype}"
                narrowed = name == "_to_copy" and args[0].dtype in (torch.float64, torch.complex128)
                assert not narrowed, "an f64 tensor was rounded to f32"
        return out


EXACT = {
    "_to_copy", "alias", "arange", "detach", "empty", "empty_like", "expand", "eye", "full",
    "lift_fresh", "ones", "select", "slice", "t", "transpose", "unsqueeze", "view", "zeros",
    "zeros_like",
}


def randomise(module: torch.nn.Module, keep: tuple = ()) -> None:
    """Gives every parameter values that no default hides: matrices of variance 1/fan-in, vectors
    around what they were initialised to, shares of the token before in [0, 1). Names that end in
    one of `keep` stay."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith(keep) and keep:
                continue
            if parameter.dim() >= 2 and parameter.shape[0] > 1:
                fan_in = parameter[0].numel()
                parameter.copy_(torch.randn_like(parameter) * fan_in**-0.5)
            elif parameter.dim() >= 2 or name.endswith("mu"):
                parameter.uniform_()  # how much of the token before is mixed in
            else:
                parameter.add_(0.3 * torch.randn_like(parameter))


def weights(module: torch.nn.Module) -> dict:
    """The state_dict under the names that a file has."""
    return {f"weights.{k}": v.to(torch.float32) for k, v in module.state_dict().items()}


def write(file: pathlib.Path, tensors: dict, metadata: dict) -> None:
    """A safetensors file whose bytes depend on nothing but what it holds (the library's writer
    puts metadata in the order of a hash)."""
    # The library's order of tensors: widest type first, then by name.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    types = {torch.float64: "F64", torch.float32: "F32", torch.int64: "I64",
             torch.int32: "I32", torch.bfloat16: "BF16"}
    header, data = {"__metadata__": metadata}, b""
    for name in order:
        tensor = tensors[name].contiguous()
        piece = tensor.view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": types[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(piece)],
        }
        data += piece
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + data)


class Golden:
    """A golden file in the making."""

    def __init__(self, name: str, repository: Repository, path: str, command: str, **notes: str):
        self.name, self.tensors = name, {}
        self.metadata = {
            "repository": f"https://github.com/{repository.name}",
            "commit": repository.commit,
            "path": path,
            "command": command,
            "torch": torch.__version__,
        } | notes

    def case(self, settings: dict, tensors: dict) -> None:
        n = sum(key.startswith("case") for key in self.metadata)
        self.metadata[f"case{n}"] = json.dumps(settings)
        for name, value in tensors.items():
            assert torch.isfinite(value).all(), f"{self.name} case{n}.{name} is not finite"
            self.tensors[f"case{n}.{name}"] = value.detach().contiguous().clone()

    def save(self) -> None:
        file = OUT / f"{self.name}.safetensors"
        write(file, self.tensors, self.metadata)
        size = file.stat().st_size
        assert size <= LIMIT, f"{file} has {size} bytes"
        print(f"{file.name}: {size} bytes", file=sys.stderr)
