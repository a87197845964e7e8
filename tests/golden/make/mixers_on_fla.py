"""Writes mom and lawcat.safetensors, whose code builds on flash-linear-attention.

    python tests/golden/make/mixers_on_fla.py --fla DIR --mom DIR --lolcats DIR

DIR are clones of fla-org/flash-linear-attention (commit in fla_on_cpu.py), OpenSparseLLMs/MoM and
HazyResearch/lolcats. Runs in f64 with the kernels replaced as fla_on_cpu.py says. --check compares
mom with the Triton kernels themselves, see mixers_fla.py.
"""

import argparse
import importlib
import sys
import warnings

import fla_on_cpu
import torch
import torch.nn.functional as F
from fla_on_cpu import FLA, PLAIN
from official import OUT, Golden, OnlyDouble, Repository, in_double, randomise, weights
from safetensors.torch import load_file

MOM = Repository("OpenSparseLLMs/MoM", "033057c2f80941cb0b70ef62a99dd7ddfc94bf52")
LOLCATS = Repository("HazyResearch/lolcats", "375df84f58417a57b78c875fa3f8fa76e84ab12e")
COMMAND = "python tests/golden/make/mixers_on_fla.py --fla DIR --mom DIR --lolcats DIR"
T, D = 37, 24


def mom(directory: str, check: bool) -> None:
    torch.manual_seed(11)
    sys.path.insert(0, MOM.unpack(directory, "mom/layers/mom.py"))
    module = importlib.import_module("mom.layers.mom")
    # The published forward hands `capacity` to a function that has no such parameter any more.
    transform = module.transform
    module.transform = lambda x, routing, memories, selected, _, mask: transform(
        x, routing, memories, selected, mask)
    # It sorts tokens by memory with a sort that may swap equal ones, and on the CPU does; the
    # recurrence needs them in the order of time.
    torch.Tensor.argsort = lambda x, *a, **k: torch.argsort(x, *a, stable=True, **k)
    golden = Golden(
        "mom", MOM, "mom/layers/mom.py", COMMAND,
        official="the layer (MomAttention) and the recurrence of flash-linear-attention at "
                 f"{FLA.commit} (naive_recurrent_gated_delta_rule)",
        composed="transform is called without the capacity that the published forward hands to it and "
                 "that it does not take, and with a stable sort of the tokens; " + PLAIN + ". state "
                 "[M, H, K, V]: memories in their order, then the shared one; selected and routing "
                 "[T, k]: the memories of each token, the most likely one first, and their weights",
    )
    base = dict(hidden_size=D, head_dim=8, num_heads=2, expand_v=1.5, layer_idx=0)
    recorded = load_file(OUT / "mom.safetensors") if check else None
    for n, settings in enumerate([
        base | dict(num_memories=4, topk=2, shared_mem=True),
        base | dict(num_memories=3, topk=1, shared_mem=False, single_kv_proj=True),
    ]):
        layer = module.MomAttention(**settings).eval()
        randomise(layer)
        with torch.no_grad():
            layer.gate.weight.mul_(2)
        u = torch.randn(T, D)
        tensors = {"u": u, **weights(layer)}
        if check:
            with torch.no_grad():
                out = layer(u[None])[0][0]
            want = recorded[f"case{n}.out"]
            ratio = ((out - want).square().sum() / want.square().sum()).sqrt()
            print(f"mom case{n}: kernels and file differ by an RMS ratio of {ratio:.1e}")
            assert ratio < 1e-5
            continue
        layer, x = layer.double(), u.double()[None]
        with fla_on_cpu.double(), in_double(module), torch.no_grad(), OnlyDouble():
            (out, _, _, logits), ran = fla_on_cpu.scans(lambda: layer(x))
        assert out.dtype == torch.float64
        scores = logits.softmax(-1)
        k = settings["topk"]
        best, order = scores.sort(-1, descending=True)
        assert (best[:, :k] - best[:, 1 : k + 1]).min() > 1e-4, "a routing decision is too close"
        counts = torch.bincount(order[:, :k].flatten(), minlength=settings["num_memories"])
        assert (counts > 3).all(), f"a memory is hardly used: {counts}"
        # Each memory gets its tokens in the order of time: the official sort of them by memory does
        # not promise it, and the recurrence needs it.
        assert [x[1]["q"].shape[1] for x in ran][: len(counts)] == counts.tolist()
        tensors |= {
            "out": out[0],
            "state": torch.cat([state for *_, state in ran]),
            "selected": order[:, :k].to(torch.float32),
            "routing": best[:, :k] / best[:, :k].sum(-1, keepdim=True),
        }
        check_order(layer, u.double(), order[:, :k], ran)
        golden.case(settings, tensors)
    if not check:
        golden.save()


def check_order(layer, u, order, ran) -> None:
    """The values that went into the first memory are those of its tokens in the order of time."""
    tokens = u[(order == 0).any(-1)]
    project = layer.shared_v if layer.single_kv_proj else layer.v_proj[0]
    with torch.no_grad():
        x = project(tokens)
        padded = F.pad(x.T[None], (3, 0))
        want = F.silu(F.conv1d(padded, layer.v_conv1d.weight, groups=x.shape[1]))[0].T
    got = ran[0][1]["v"][0].flatten(1)
    assert torch.allclose(got, want, atol=1e-12), "tokens of a memory are out of order"


def lawcat(directory: str) -> None:
    torch.manual_seed(12)
    sys.path.insert(0, LOLCATS.unpack(directory, "src/model/feature_map.py") + "/src/model")
    feature = importlib.import_module("feature_map")
    from fla.modules import ShortConvolution

    golden = Golden(
        "lawcat", LOLCATS, "src/model/feature_map.py", COMMAND,
        official="the feature map (FeatureMap, FeatureMapMLP), which LAWCAT takes from here, and short "
                 f"convolution and recurrence from flash-linear-attention at {FLA.commit} "
                 "(ShortConvolution, naive_recurrent_gla)",
        composed="the layer: the authors' repository (zeyuliu1037/LAWCAT) was not to be had. Parameters, "
                 "their names and the order of operations are those of a public copy of its module "
                 "(GLASlidingWindowAttention): projections, keys, values and gates repeated to all heads, "
                 "convolution of q and k, feature maps, logsigmoid gate / 16, value with a one appended, "
                 "recurrence, division by its last column + 1e-10, o_proj. Feature maps are "
                 "[H, head, feature], without a skip connection",
    )
    for settings in [
        dict(heads=4, kv_heads=2, head=6, feature=3, rank=3, conv_size=4, qk_activation=None),
        dict(heads=2, kv_heads=2, head=8, feature=4, rank=4, conv_size=3, qk_activation="silu"),
    ]:
        heads, kv, head, width = (settings[n] for n in ("heads", "kv_heads", "head", "feature"))
        groups = heads // kv
        linear = torch.nn.Linear
        layer = torch.nn.ModuleDict({
            "q_proj": linear(D, heads * head, bias=False),
            "k_proj": linear(D, kv * head, bias=False),
            "v_proj": linear(D, kv * head, bias=False),
            "o_proj": linear(heads * head, D, bias=False),
            # The gate has the width of a feature vector, two softmax halves of `feature` each.
            "gk_proj": torch.nn.Sequential(linear(D, settings["rank"], bias=False),
                                           linear(settings["rank"], kv * 2 * width)),
            "q_conv1d": ShortConvolution(heads * head, settings["conv_size"], activation=settings["qk_activation"]),
            "k_conv1d": ShortConvolution(heads * head, settings["conv_size"], activation=settings["qk_activation"]),
        })
        for name in ("feature_map_q", "feature_map_k"):
            mlp = feature.FeatureMapMLP(heads, head, width, torch.float32, "cpu")
            layer[name] = feature.FeatureMap("softmax_dim", mlp=mlp)
        randomise(layer)
        u = torch.randn(T, D)
        tensors = {"u": u, **weights(layer)}
        with fla_on_cpu.double(), torch.no_grad():
            layer = layer.double()
            x = u.double()[None]

            def split(x, n, times=1):
                return x.unflatten(-1, (n, -1)).repeat_interleave(times, 2)

            q = layer["q_proj"](x)
            k, v, gate = (split(layer[n](x), kv, groups) for n in ("k_proj", "v_proj", "gk_proj"))
            q, k = layer["q_conv1d"](q)[0], layer["k_conv1d"](k.flatten(2))[0]
            q, k = (layer[f"feature_map_{n}"](split(y, heads).transpose(1, 2)).transpose(1, 2)
                    for n, y in (("q", q), ("k", k)))
            gate = F.logsigmoid(gate) / 16
            augmented = torch.cat([v, torch.ones_like(v[..., :1])], -1)
            o, state = fla_on_cpu.gla(q, k, augmented, gate)
            o = o[..., :-1] / (o[..., -1:] + 1e-10)
            tensors |= {"out": layer["o_proj"](o.flatten(2))[0], "state": state[0]}

            scan = {"q": q[0], "k": k[0], "v": v[0], "log_decay": gate[0]}
            scan = {n: y.to(torch.float32) for n, y in scan.items()}
            first = torch.rand(heads, 2 * width, head + 1)
            q, k, v, gate = (scan[n].double()[None] for n in ("q", "k", "v", "log_decay"))
            augmented = torch.cat([v, torch.ones_like(v[..., :1])], -1)
            o, state = fla_on_cpu.gla(q, k, augmented, gate, first.double()[None])
            o = o[..., :-1] / (o[..., -1:] + 1e-10)
            scan |= {"initial_state": first, "o": o[0], "state": state[0]}
        golden.case(settings, tensors | {f"scan.{n}": y for n, y in scan.items()})
    golden.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("fla", "mom", "lolcats"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--check", action="store_true", help="compare mom with the Triton kernels")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    fla_on_cpu.load(arguments.fla)
    mom(arguments.mom, arguments.check)
    if not arguments.check:
        lawcat(arguments.lolcats)


if __name__ == "__main__":
    main()
