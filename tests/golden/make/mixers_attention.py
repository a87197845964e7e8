"""Writes gau, seq_boat and window_attention.safetensors.

    python tests/golden/make/mixers_attention.py --mega DIR --seqboat DIR --fla DIR

DIR are clones of facebookresearch/mega, renll/SeqBoat and fla-org/flash-linear-attention that hold
the commits below. The modules run as they are, in f64; of fairseq only what they import is loaded.
"""

import argparse
import importlib
import math
import sys
import types

import torch
from official import Golden, OnlyDouble, Repository, in_double, randomise, weights

MEGA = Repository("facebookresearch/mega", "aeaa4b44592cd1d60a9a34554e359eda2a62b03b")
SEQBOAT = Repository("renll/SeqBoat", "5a34aed3c573858630ec64b0f2c4a22948962947")
FLA = Repository("fla-org/flash-linear-attention", "bc3b101dcb713ddc5bd8924b66754eb68b5ccf89")
COMMAND = "python tests/golden/make/mixers_attention.py --mega DIR --seqboat DIR --fla DIR"
T = 37


def run_file(repository: Repository, directory: str, path: str) -> types.ModuleType:
    module = types.ModuleType(path)
    exec(compile(repository.text(directory, path), path, "exec"), module.__dict__)
    return module


def stand_in(name: str, **members) -> None:
    module = types.ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


def gau(directory: str) -> None:
    torch.manual_seed(13)
    bias = run_file(MEGA, directory, "fairseq/modules/relative_positional_bias.py")
    stand_in("fairseq")
    stand_in("fairseq.modules")
    stand_in("fairseq.incremental_decoding_utils", with_incremental_state=lambda c: c)
    stand_in("fairseq.modules.fairseq_dropout", FairseqDropout=lambda p, module_name: torch.nn.Identity())
    stand_in("fairseq.modules.relative_positional_bias",
             SimpleRelativePositionalBias=bias.SimpleRelativePositionalBias)
    module = run_file(MEGA, directory, "fairseq/modules/gated_attention_unit.py")
    golden = Golden(
        "gau", MEGA, "fairseq/modules/gated_attention_unit.py, fairseq/modules/relative_positional_bias.py",
        COMMAND,
        official="the layer (GatedAttentionUnit), with its mask for causal use",
        composed="nothing. Scores are divided by the length of the whole input, also under the mask, so "
                 "the output of a token depends on how long the input is",
    )
    for settings, causal in [
        (dict(embed_dim=20, zdim=8, hdim=16, max_positions=40), True),
        (dict(embed_dim=16, zdim=6, hdim=24, max_positions=64), False),
    ]:
        layer = module.GatedAttentionUnit(**settings).eval()
        randomise(layer)
        with torch.no_grad():
            layer.gamma.normal_()
        u = torch.randn(T, settings["embed_dim"])
        tensors = {"u": u, **weights(layer)}
        mask = torch.ones(T, T, dtype=torch.bool).triu(1) if causal else None
        with torch.no_grad():
            layer, given = layer.double(), u.double()[:, None]
            with OnlyDouble():
                out, _ = layer(given, attn_mask=mask)
        golden.case(settings | dict(causal=causal), tensors | {"out": out[:, 0]})
    golden.save()


def seq_boat(directory: str) -> None:
    sys.path.insert(0, SEQBOAT.unpack(directory, "standalone_seqboat.py"))
    module = importlib.import_module("standalone_seqboat")
    golden = Golden(
        "seq_boat", SEQBOAT, "standalone_seqboat.py", COMMAND,
        official="the layer (SeqBoatLayer); ema.out and state are those of its MultiHeadEMA "
                 "(state [D, N], by its step)",
        composed="active and probability, the routing decision and its weight, read out of the router "
                 "(q_router) during the run; no decision is nearer than 1e-3 to the other",
    )
    base = dict(embed_dim=16, zdim=6, hdim=20, ndim=4, bidirectional=False, window_size=5, max_positions=64,
                norm_type="layernorm", prenorm=True)
    for n, settings in enumerate([
        base | dict(rel_pos_bias="simple", attention_activation="softmax"),
        base | dict(rel_pos_bias="simple", attention_activation="relu2", local_pos=True, prenorm=False),
        base | dict(rel_pos_bias="rotary", attention_activation="softmax", window_size=4),
        base | dict(rel_pos_bias="simple", attention_activation="relu2", bidirectional=True),
    ]):
        torch.manual_seed(140 + n)
        layer = module.SeqBoatLayer(**settings).eval()
        randomise(layer, keep=("ssm.beta",))
        with torch.no_grad():
            layer.gamma.normal_()
            layer.hx_proj.weight[:2].mul_(4)
        u = torch.randn(T, settings["embed_dim"])
        balance(layer, u)
        tensors = {"u": u, **weights(layer)}
        routed = []
        layer.q_router.register_forward_hook(lambda _, __, output: routed.append(output))
        ema = []
        layer.ssm.register_forward_hook(lambda _, inputs, output: ema.append((inputs[0], output)))
        with in_double(module), torch.no_grad():
            layer = layer.double()
            if settings["rel_pos_bias"] == "rotary":
                layer.freqs_cis = module.precompute_freqs_cis(layer.zdim, layer.max_positions)
            given = u.double()[:, None]
            with OnlyDouble(also=("div",)):  # the share of active tokens, of which only < 1 matters
                out = layer(given)[:, 0]
            x, smooth = ema[0]
            pi = routed[0][0]
            tensors |= {
                "out": out,
                "ema.out": smooth[:, 0],
                "active": (pi[:, 1] > pi[:, 0]).to(torch.float32),
                "probability": pi[:, 1],
            }
            if not settings["bidirectional"]:
                tensors["state"] = layer.ssm.step(x.permute(1, 2, 0), T)[1][0]
        assert (pi[:, 1] - pi[:, 0]).abs().min() > 1e-3, "a routing decision is too close"
        share = tensors["active"].mean().item()
        assert 0.2 < share < 0.9, f"{share} of the tokens are active"
        golden.case(settings, tensors)
    golden.save()


def balance(layer, u) -> None:
    """Sets the bias of the router so that 20 of the tokens are active, none by a small margin."""
    seen = []
    hook = layer.q_router.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with torch.no_grad():
        layer(u[:, None])
        hook.remove()
        difference = (seen[0][0, :, 1] - seen[0][0, :, 0]).sort().values
        layer.hx_proj.bias[1] -= (difference[T - 21] + difference[T - 20]) / 2
    for name in ("_kernel", "_coeffs"):
        setattr(layer.ssm, name, None)  # what the run in f32 left behind


def window_attention(directory: str) -> None:
    torch.manual_seed(15)
    reference = run_file(FLA, directory, "fla/ops/attn/naive.py")
    golden = Golden(
        "window_attention", FLA, "fla/ops/attn/naive.py", COMMAND,
        official="cases with dilation 1: naive_parallel_attn, whose window counts the token itself",
        composed="cases with a dilation: softmax over the same scores of the tokens t - n * dilation, "
                 "0 <= n < window, in closed form; with dilation 1 that form gives what the official one "
                 "gives, which the script checks",
    )
    for heads, kv_heads, k, window, dilation in [(4, 2, 8, 6, 1), (2, 2, 9, 5, 3), (3, 1, 6, 4, 10)]:
        inputs = {"q": torch.randn(T, heads, k), "k": torch.randn(T, kv_heads, k), "v": torch.randn(T, kv_heads, k)}
        q, key, value = (x.double()[None] for x in inputs.values())
        o = closed_form(q[0], key[0], value[0], window, dilation)
        with in_double(reference):
            want = reference.naive_parallel_attn(q, key, value, window_size=window)[0][0]
        assert torch.allclose(closed_form(q[0], key[0], value[0], window, 1), want, atol=1e-12)
        tensors = {f"scan.{name}": x for name, x in inputs.items()} | {"scan.o": want if dilation == 1 else o}
        golden.case(dict(window=window, dilation=dilation, scale=k**-0.5), tensors)
    golden.save()


def closed_form(q, k, v, window: int, dilation: int):
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = torch.einsum("thk,jhk->htj", q, k) / math.sqrt(q.shape[-1])
    back = torch.arange(T)[:, None] - torch.arange(T)
    seen = (back >= 0) & (back % dilation == 0) & (back < window * dilation)
    weights = scores.masked_fill(~seen, -math.inf).softmax(-1)
    return torch.einsum("htj,jhv->thv", weights, v)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("mega", "seqboat", "fla"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    gau(arguments.mega)
    seq_boat(arguments.seqboat)
    window_attention(arguments.fla)


if __name__ == "__main__":
    main()
