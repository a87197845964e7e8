"""Writes rwkv4, spike_gpt, min_gru, min_lstm and gam.safetensors.

    python tests/golden/make/mixers_other.py --rwkv DIR --spikegpt DIR --mingru DIR --gam DIR

DIR are clones of the repositories below that hold their commits. The modules run as they are, in
f64. The CUDA kernel of RWKV-4 and SpikeGPT (their forward template, one text) is compiled for the
CPU with g++ and `double`.
"""

import argparse
import ctypes
import importlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import types

os.environ["PYTORCH_JIT"] = "0"  # plain modules: no compiled f32 graphs
os.environ.setdefault("RWKV_FLOAT_MODE", "fp32")

import torch  # noqa: E402
import torch.utils.cpp_extension  # noqa: E402
from official import Golden, OnlyDouble, Repository, randomise, weights  # noqa: E402

RWKV = Repository("BlinkDL/RWKV-LM", "524481d5099b38d9bc8ef1e89209161b86c8011b")
SPIKEGPT = Repository("ridgerchu/SpikeGPT", "029f86f0536f2b2451524038fc9890cc76c2429e")
MINGRU = Repository("lucidrains/minGRU-pytorch", "38b26e119a2e85e70ea53825dc09b91b021afa06")
GAM = Repository("rishiraj/gam", "2ebb82e47228d702d6f9f7b6cba5aebebe22db0f")
COMMAND = "python tests/golden/make/mixers_other.py --rwkv DIR --spikegpt DIR --mingru DIR --gam DIR"
T = 37

# What a CUDA kernel needs to run as C++, one thread after another.
BEFORE = """
#include <algorithm>
#include <cmath>
using std::exp; using std::max;
#define __global__ static
#define Tmax 1024
struct Index { int x; };
static Index blockIdx, blockDim = {1}, threadIdx;
"""
AFTER = """
extern "C" void forward(int b, int t, int c, const double *w, const double *u, const double *k,
                        const double *v, double *y) {
    for (blockIdx.x = 0; blockIdx.x < b * c; blockIdx.x++) kernel_forward(b, t, c, w, u, k, v, y);
}
"""


def compiled(text: str):
    """The kernel as a function (w, u, k, v) -> y of f64 tensors [D] and [B, T, D]."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="golden-"))
    (folder / "wkv.cpp").write_text(BEFORE + text[: text.index("void cuda_forward")] + AFTER)
    library = folder / "wkv.so"
    command = ["g++", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o", library, folder / "wkv.cpp"]
    subprocess.run(command, check=True)
    forward = ctypes.CDLL(library).forward

    def run(w, u, k, v):
        y = torch.empty_like(v, memory_format=torch.contiguous_format)
        inputs = [x.contiguous() for x in (w, u, k, v)]
        assert all(x.dtype == torch.float64 for x in inputs)
        pointers = [ctypes.c_void_p(x.data_ptr()) for x in [*inputs, y]]
        forward(*map(ctypes.c_int, v.shape), *pointers)
        return y

    return run


def load_model(repository: Repository, directory: str, folder: str, kernel_path: str):
    """src/model.py with the compiled kernel; the kernel; the recurrent src/model_run.py."""
    kernel = compiled(repository.text(directory, kernel_path))
    root = repository.unpack(directory, folder)
    torch.utils.cpp_extension.load = lambda **_: None
    sys.path.insert(0, f"{root}/{folder}".removesuffix("/src"))
    for name in [n for n in sys.modules if n == "src" or n.startswith("src.")]:
        del sys.modules[name]
    model = importlib.import_module("src.model")
    model.RUN_CUDA = lambda b, t, c, w, u, k, v: kernel(-torch.exp(w), u, k, v)
    return model, kernel


def channel(width: int) -> types.SimpleNamespace:
    return types.SimpleNamespace(ctx_len=64, n_embd=width, n_layer=3, model_type="RWKV")


def recurrent(repository: Repository, directory: str, path: str):
    """RWKV_RNN.SA, the authors' step of the same layer, which keeps the state."""
    text = repository.text(directory, path)
    [body] = re.findall(r"^    def SA\(.*?(?=^    def )", text, re.M | re.S)
    scope = {"torch": torch}
    exec("class RWKV_RNN:\n" + body, scope)
    return scope["RWKV_RNN"].SA


def rwkv4(directory: str) -> None:
    torch.manual_seed(6)
    model, kernel = load_model(RWKV, directory, "RWKV-v4", "RWKV-v4/cuda/wkv_cuda.cu")
    step = recurrent(RWKV, directory, "RWKV-v4/src/model_run.py")
    golden = Golden(
        "rwkv4", RWKV, "RWKV-v4/src/model.py, RWKV-v4/src/model_run.py, RWKV-v4/cuda/wkv_cuda.cu", COMMAND,
        official="the layer (RWKV_TimeMix), the kernel (compiled for the CPU in f64), and the state, "
                 "from RWKV_RNN.SA: rows aa, bb (sums times exp(-pp)) and pp (the running maximum)",
        composed="nothing; the script checks that RWKV_RNN.SA gives the outputs of the kernel. scan.w "
                 "is -exp(time_decay), scan.u is time_first. Case 1 is the recurrence alone with keys "
                 "up to a few hundred, which overflow without the running maximum",
    )
    for layer_id in range(2):
        width = 20
        layer = model.RWKV_TimeMix(channel(width), layer_id).eval()
        randomise(layer, keep=("time_decay",))
        u = torch.randn(T, width)
        tensors = {"u": u, **weights(layer)}
        with torch.no_grad():
            layer = layer.double()
            x = u.double()[None]
            out = layer(x)[0]
            _, k, v = layer.jit_func(x)
            if layer_id == 1:
                k = k * 80
            scan = {"w": -torch.exp(layer.time_decay), "u": layer.time_first, "k": k[0], "v": v[0]}
            scan = {name: value.to(torch.float32) for name, value in scan.items()}
            w, bonus, k, v = (scan[name].double() for name in ("w", "u", "k", "v"))
            o = kernel(w, bonus, k[None], v[None])[0]
            torch.set_default_dtype(torch.float64)
            state = stepped(step, layer, x[0], out) if layer_id == 0 else None
            scan_state = stepped_scan(step, w, bonus, k, v, o)
            torch.set_default_dtype(torch.float32)
        tensors = {"u": u, "out": out, **tensors, "state": state} if layer_id == 0 else {}
        tensors |= {f"scan.{name}": value for name, value in scan.items()}
        golden.case({"n_embd": width, "layer_id": layer_id}, tensors | {"scan.o": o, "scan.state": scan_state})
    golden.save()


def stepped(step, layer, x, out):
    names = {n: types.SimpleNamespace(weight=getattr(layer, n).weight)
             for n in ("key", "value", "receptance", "output")}
    given = types.SimpleNamespace(
        time_decay=-torch.exp(layer.time_decay), time_first=layer.time_first,
        **{n: getattr(layer, n).view(-1) for n in ("time_mix_k", "time_mix_v", "time_mix_r")}, **names,
    )
    return last_state(step, given, x, out)


def stepped_scan(step, w, u, k, v, o):
    """The same step with projections that hand k and v through: r is sigma of a large number."""
    n = k.shape[1]
    eye, zero = torch.eye(n), torch.zeros(n, n)
    pick = types.SimpleNamespace
    mix = {name: torch.ones(2 * n) for name in ("time_mix_k", "time_mix_v", "time_mix_r")}
    given = pick(
        time_decay=w, time_first=u, **mix,
        key=pick(weight=torch.cat([eye, zero], 1)), value=pick(weight=torch.cat([zero, eye], 1)),
        receptance=pick(weight=torch.zeros(n, 2 * n)), output=pick(weight=2 * eye),
    )
    return last_state(step, given, torch.cat([k, v], 1), o)


def last_state(step, given, x, out):
    n = given.time_decay.shape[0]
    holder = types.SimpleNamespace(xx={"a": torch.zeros(x.shape[1])}, aa={"a": torch.zeros(n)},
                                   bb={"a": torch.zeros(n)}, pp={"a": torch.zeros(n) - 1e30})
    got = torch.stack([step(holder, row, given, "a") for row in x])
    assert torch.allclose(got, out, rtol=1e-12, atol=1e-12), (got - out).abs().max()
    return torch.stack([holder.aa["a"], holder.bb["a"], holder.pp["a"]])


def spike_gpt(directory: str) -> None:
    torch.manual_seed(7)
    model, _ = load_model(SPIKEGPT, directory, "src", "cuda/wkv_cuda.cu")
    model.neuron.check_backend = lambda backend: None
    golden = Golden(
        "spike_gpt", SPIKEGPT, "src/model.py, src/spikingjelly/clock_driven/neuron.py, cuda/wkv_cuda.cu", COMMAND,
        official="the whole block (Block): RWKV_TimeMix, RWKV_ChannelMix and two MultiStepLIFNode with "
                 "their torch back end; the WKV kernel (compiled for the CPU in f64)",
        composed="nothing. att and ffn are what goes into the neurons, spikes1 and spikes2 what comes "
                 "out, state the two membranes after the last token; no membrane comes nearer to the "
                 "threshold than 1e-4, so that f32 gives the same spikes",
    )
    for layer_id in range(2):
        width = 12
        block = model.Block(channel(width), layer_id).eval()
        randomise(block, keep=("time_decay",))
        with torch.no_grad():
            block.att.output.weight.mul_(4)
            block.ffn.value.weight.mul_(4)
        for lif in (block.lif1, block.lif2):
            lif.backend = "torch"
        u = torch.randn(T, width)
        tensors = {"u": u, **weights(block)}
        kept = {}

        def keep(name):
            def hook(_, inputs, output):
                kept[name] = (inputs[0], output)
            return hook

        for name in ("lif1", "lif2"):
            getattr(block, name).register_forward_hook(keep(name))
        with torch.no_grad():
            block, given = block.double(), u.double()[None]
            with OnlyDouble():
                out = block(given)[0]
        for n, name in enumerate(("lif1", "lif2"), 1):
            lif = getattr(block, name)
            current, spikes = (x[:, 0] for x in kept[name])
            before = (torch.cat([torch.zeros_like(lif.v_seq[:1]), lif.v_seq[:-1]])[:, 0] + current) / 2
            nearest = (before - 1).abs().min()
            assert nearest > 1e-4, f"a membrane comes as near to the threshold as {nearest}"
            assert torch.equal(before >= 1, spikes == 1) and 0.02 < spikes.mean() < 0.9
            tensors |= {("att", "ffn")[n - 1]: current, f"spikes{n}": spikes.to(torch.float32)}
        tensors |= {"out": out, "state": torch.stack([block.lif1.v[0], block.lif2.v[0]])}
        golden.case({"n_embd": width, "layer_id": layer_id, "tau": 2.0, "threshold": 1.0}, tensors)
    golden.save()


def minimal(directory: str) -> None:
    torch.manual_seed(8)
    sys.path.insert(0, MINGRU.unpack(directory, "minGRU_pytorch"))
    gru = importlib.import_module("minGRU_pytorch.minGRU").minGRU
    lstm = importlib.import_module("minGRU_pytorch.minLSTM").minLSTM
    for name, layer_class in (("min_gru", gru), ("min_lstm", lstm)):
        golden = Golden(
            name, MINGRU, f"minGRU_pytorch/{layer_class.__name__}.py", COMMAND,
            official="the layer of this well-known implementation; the authors' own (BorealisAI/minRNNs, "
                     "models/minRNNs.py) has the same rule with biases, a learned first state and, for "
                     "minLSTM, normalised gates as an option",
            composed="nothing: out from the parallel form in log space; the script checks that the "
                     "one-token form gives the same. A case with an initial_state uses the one-token form",
        )
        for factor, given in [(1.0, False), (1.5, False), (1.5, True)]:
            layer = layer_class(20, expansion_factor=factor).eval()
            randomise(layer)
            u = torch.randn(T, 20)
            first = torch.rand(1, 1, int(20 * factor)) * 2 if given else None
            tensors = {"u": u, **weights(layer)}
            with torch.no_grad():
                layer = layer.double()
                x = u.double()[None]
                state = None if first is None else first.double()
                steps = []
                for t in range(T):
                    y, state = layer(x[:, t : t + 1], state, return_next_prev_hidden=True)
                    steps.append(y)
                out = torch.cat(steps, 1)
                if first is None:
                    parallel = layer(x)
                    assert torch.allclose(parallel, out, rtol=0, atol=1e-10)
                    out = parallel
                else:
                    tensors["initial_state"] = first[0, 0]
            tensors |= {"out": out[0], "state": state[0, 0]}
            golden.case({"dim": 20, "expansion_factor": factor}, tensors)
        golden.save()


def gam(directory: str) -> None:
    torch.manual_seed(9)
    sys.path.insert(0, GAM.unpack(directory, "gam_model.py"))
    module = importlib.import_module("gam_model")
    golden = Golden(
        "gam", GAM, "gam_model.py", COMMAND,
        official="the whole block (GAMBlock): out; mix is what it adds before its feed-forward part",
        composed="nothing",
    )
    for width, slots, kernel in [(20, 12, 3), (16, 7, 5)]:
        config = module.ModelConfig(N_EMBED=width, NUM_MEMORY_SLOTS=slots, CONV_KERNEL_SIZE=kernel)
        block = module.GAMBlock(config).eval()
        randomise(block)
        u = torch.randn(T, width)
        tensors = {"u": u, **weights(block)}
        between = []
        block.ln2.register_forward_hook(lambda _, inputs, __: between.append(inputs[0]))
        with torch.no_grad():
            block = block.double()
            x = u.double()[None]
            out = block(x)
        tensors |= {"out": out[0], "mix": (between[0] - x)[0]}
        settings = dict(N_EMBED=width, NUM_MEMORY_SLOTS=slots, CONV_KERNEL_SIZE=kernel)
        golden.case(settings, tensors)
    golden.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("rwkv", "spikegpt", "mingru", "gam"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    rwkv4(arguments.rwkv)
    spike_gpt(arguments.spikegpt)
    minimal(arguments.mingru)
    gam(arguments.gam)


if __name__ == "__main__":
    main()
