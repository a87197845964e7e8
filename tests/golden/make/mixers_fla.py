"""Writes the golden files of the mixers whose layer is in flash-linear-attention: delta_net,
gated_delta_net, rwkv7, rwkv6, hgrn2, linear_attention, light_net, gsa, gla_layer and retnet_layer
(gla and retnet hold their recurrences, see scans.py), and log_linear_attention, the recurrence only.

    python tests/golden/make/mixers_fla.py --fla DIR [--only ID]

DIR is a clone of fla-org/flash-linear-attention that holds the commit in fla_on_cpu.py. The layers
run as they are, in f64 on the CPU, with the kernels replaced as that file says. Needs torch, triton,
einops, transformers and safetensors (tests/peers/requirements.txt).

    TRITON_INTERPRET=1 python tests/golden/make/mixers_fla.py --fla DIR --check

runs the same layers with their own Triton kernels in Triton's interpreter, in f32, and compares the
outputs with the files (Triton 3.6.0 needs a numpy below 2.4 for it).
"""

import argparse
import importlib
import math
import warnings
import zlib

import fla_on_cpu
import torch
from fla_on_cpu import FLA, PLAIN
from official import OUT, Golden, OnlyDouble, randomise, weights
from safetensors.torch import load_file

COMMAND = "python tests/golden/make/mixers_fla.py --fla DIR"
T, D = 37, 24


class Maker:
    """Makes the cases of one golden file, or compares them with the file that there is."""

    def __init__(self, name: str, path: str, naive: str, check: bool, note: str = ""):
        torch.manual_seed(zlib.crc32(name.encode()))
        self.golden = Golden(
            name,
            FLA,
            path,
            COMMAND,
            official=f"the layer, its parameters and the recurrence ({naive})" if "layers" in path else naive,
            composed="; ".join(([PLAIN] if "layers" in path else []) + ([note] if note else [])),
        )
        self.check = load_file(OUT / f"{name}.safetensors") if check else None
        self.cases, self.scanned = 0, []
        # Its own, so that a comparison, which makes no initial states, draws the same layers.
        self.random = torch.Generator().manual_seed(2)

    def layer(self, layer_class, settings: dict, given: dict | None = None, tweak=None) -> None:
        """`given` holds further inputs of the layer, `tweak` sets parameters by hand."""
        given = given or {}
        layer = layer_class(**settings).eval()
        randomise(layer)
        if tweak:
            with torch.no_grad():
                tweak(layer)
        u = torch.randn(T, settings["hidden_size"])
        tensors = {"u": u, **given, **weights(layer)}
        if self.check:
            self.compare(layer, u, given)
            return
        layer = layer.double()
        with fla_on_cpu.double(), torch.no_grad():
            passed = {key: self.batched(x).double() for key, x in given.items()}
            x = u[None].double()
            with OnlyDouble():
                out, ran = fla_on_cpu.scans(lambda: layer(x, **passed)[0])
            [(scan, inputs, _, state)] = ran
            tensors |= {"out": out[0], **self.states(state)}
            if scan not in self.scanned:
                tensors |= self.scan(scan, inputs, state)
        assert out.dtype == torch.float64
        self.golden.case({"layer": layer_class.__name__} | settings, tensors)

    @staticmethod
    def batched(x):
        return x[None] if x.dim() == 2 else x

    @staticmethod
    def states(state) -> dict:
        if not isinstance(state, tuple):
            return {"state": state[0]}
        return {"state": state[0][0], "second_state": state[1][0]}

    def scan(self, scan, inputs: dict, state) -> dict:
        """The recurrence on the inputs rounded to f32, from a state that is not zero: once for
        each recurrence, in its first case."""
        self.scanned.append(scan)
        states = state if isinstance(state, tuple) else (state,)
        names = [n for n in scan.__code__.co_varnames[: scan.__code__.co_argcount] if "initial" in n]
        initial = {n: 0.5 * torch.randn(s.shape, generator=self.random) for n, s in zip(names, states)}
        if "initial_normaliser" in initial:
            initial["initial_normaliser"].abs_()
        inputs = {key: x.to(torch.float32) for key, x in inputs.items()} | initial
        o, state = scan(**{key: x.double() for key, x in inputs.items()})
        shared = {"bonus"}
        tensors = {key: x if key in shared else x[0] for key, x in inputs.items()}
        tensors |= {"o": o[0], **self.states(state)}
        return {f"scan.{key}": x for key, x in tensors.items()}

    def compare(self, layer, u, given) -> None:
        case = f"case{self.cases}."
        self.cases += 1
        assert torch.equal(self.check[case + "u"], u), "other input than in the file"
        with torch.no_grad():
            out = layer(u[None], **{key: self.batched(x) for key, x in given.items()})[0][0]
        want = self.check[case + "out"]
        ratio = ((out - want).square().sum() / want.square().sum()).sqrt()
        print(f"{self.golden.name} {case[:-1]}: kernels and file differ by an RMS ratio of {ratio:.1e}")
        assert ratio < 1e-5

    def save(self) -> None:
        if not self.check:
            self.golden.save()


def delta_net(check: bool) -> None:
    from fla.layers import DeltaNet

    make = Maker("delta_net", "fla/layers/delta_net.py, fla/ops/delta_rule/naive.py",
                 "delta_rule_recurrence", check)
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3, expand_v=1.0, layer_idx=0)
    make.layer(DeltaNet, base)
    make.layer(DeltaNet, base | dict(use_gate=True, allow_neg_eigval=True, conv_bias=True, conv_size=3))
    make.layer(DeltaNet, base | dict(use_short_conv=False, qk_activation="elu", qk_norm="sum"))
    make.save()


def gated_delta_net(check: bool) -> None:
    from fla.layers import GatedDeltaNet

    make = Maker("gated_delta_net", "fla/layers/gated_deltanet.py, fla/ops/gated_delta_rule/naive.py",
                 "naive_recurrent_gated_delta_rule, naive_gdn_gate", check)
    base = dict(hidden_size=D, num_heads=2, head_dim=8, expand_v=1.5, layer_idx=0)
    make.layer(GatedDeltaNet, base)
    make.layer(GatedDeltaNet, base | dict(num_heads=1, num_v_heads=3, allow_neg_eigval=True))
    make.layer(GatedDeltaNet, base | dict(use_gate=False, conv_bias=True))
    make.save()


def rwkv7(check: bool) -> None:
    from fla.layers import RWKV7Attention

    make = Maker("rwkv7", "fla/layers/rwkv7.py, fla/ops/generalized_delta_rule/dplr/naive.py",
                 "dplr_recurrence; k_update_ref, gate_output_correction_ref, torch_addcmul_rwkv7, "
                 "token_shift_ref", check, "r times sqrt(K) before the recurrence, which scales by K^-1/2")
    base = dict(hidden_size=D, head_dim=12, num_hidden_layers=2, decay_low_rank_dim=6,
                gate_low_rank_dim=8, a_low_rank_dim=5, v_low_rank_dim=4)
    make.layer(RWKV7Attention, base | dict(layer_idx=0))
    make.layer(RWKV7Attention, base | dict(layer_idx=1), {"v_first": torch.randn(T, D)})
    make.save()


def rwkv6(check: bool) -> None:
    from fla.layers import RWKV6Attention

    def tweak(layer):
        layer.w_proj.linear.lora[2].bias.sub_(2.5)  # decays from about 0.75 to 0.98

    make = Maker("rwkv6", "fla/layers/rwkv6.py, fla/ops/rwkv6/recurrent_naive.py",
                 "naive_recurrent_rwkv6; group_norm_ref, token_shift_ref", check)
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3, proj_low_rank_dim=4, gate_low_rank_dim=6)
    make.layer(RWKV6Attention, base | dict(layer_idx=0), tweak=tweak)
    make.save()


def hgrn2(check: bool) -> None:
    from fla.layers import HGRN2Attention

    make = Maker("hgrn2", "fla/layers/hgrn2.py, fla/ops/gla/naive.py", "naive_recurrent_gla", check)
    base = dict(hidden_size=D, expand_ratio=8)
    make.layer(HGRN2Attention, base | dict(layer_idx=0))
    make.layer(HGRN2Attention, base | dict(layer_idx=1), {"lower_bound": torch.rand(D) * 0.9})
    make.layer(HGRN2Attention, base | dict(layer_idx=0, use_short_conv=True, conv_bias=True))
    make.save()


def linear_attention(check: bool) -> None:
    from fla.layers import LinearAttention

    make = Maker("linear_attention", "fla/layers/linear_attn.py, fla/ops/linear_attn/naive.py",
                 "naive_recurrent_linear_attn", check)
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3)
    make.layer(LinearAttention, base | dict(feature_map="elu", do_feature_map_norm=True))
    make.layer(LinearAttention, base | dict(feature_map="relu", output_norm="identity"))
    make.layer(LinearAttention, base | dict(feature_map="identity", num_kv_heads=1))
    make.layer(LinearAttention, base | dict(feature_map="elementwise_product", norm_q=True))
    small = base | dict(hidden_size=D // 2)
    make.layer(LinearAttention, small | dict(feature_map="hedgehog", do_feature_map_norm=True))
    make.layer(LinearAttention, small | dict(feature_map="t2r", tie_feature_map_qk=True, norm_k=True))
    make.save()


def light_net(check: bool) -> None:
    from fla.layers import LightNetAttention

    make = Maker("light_net", "fla/layers/lightnet.py, fla/ops/gla/naive.py", "naive_recurrent_gla",
                 check, "the layer passes no eps to its gated norm, which then has 1e-6")
    base = dict(hidden_size=D, expand_ratio=8, gate_low_rank_dim=5, layer_idx=0)
    make.layer(LightNetAttention, base)
    make.layer(LightNetAttention, base | dict(use_short_conv=True, conv_bias=True))
    make.save()


def gsa(check: bool) -> None:
    from fla.layers import GatedSlotAttention

    make = Maker("gsa", "fla/layers/gsa.py, fla/ops/gsa/naive.py", "naive_recurrent_gsa", check)
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3, num_slots=6, layer_idx=0)
    make.layer(GatedSlotAttention, base)
    make.layer(GatedSlotAttention, base | dict(num_kv_heads=1, use_short_conv=True))
    make.save()


def gla_layer(check: bool) -> None:
    from fla.layers import GatedLinearAttention

    make = Maker("gla_layer", "fla/layers/gla.py, fla/ops/gla/naive.py", "naive_recurrent_gla", check)
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3, gate_low_rank_dim=5, layer_idx=0)
    make.layer(GatedLinearAttention, base)
    make.layer(GatedLinearAttention, base | dict(num_kv_heads=1, use_short_conv=True, conv_bias=True,
                                                 use_output_gate=False, feature_map="relu", clamp_min=-0.04))
    make.save()


def retnet_layer(check: bool) -> None:
    from fla.layers import MultiScaleRetention

    make = Maker("retnet_layer", "fla/layers/multiscale_retention.py, fla/ops/simple_gla/naive.py",
                 "naive_recurrent_simple_gla, rotary_embedding_ref", check,
                 "the decay of a head, 1 - 2^(-5 - h), handed to the recurrence as its gate")
    base = dict(hidden_size=D, num_heads=2, expand_k=2 / 3, expand_v=1.5, layer_idx=0)
    make.layer(MultiScaleRetention, base)
    make.layer(MultiScaleRetention, base | dict(num_kv_heads=1, use_short_conv=True, use_output_gate=False))
    make.save()


def log_linear_attention(check: bool) -> None:
    """Only the recurrence, in its parallel form: the layer (LogLinearMamba2) asks for a GPU."""
    if check:
        return
    path = "fla/ops/log_linear_attn/naive.py"
    make = Maker("log_linear_attention", path, "naive_log_linear_attn", check,
                 "nothing. Level 0 is the token itself; level l > 0, for a token at a position with bit l - 1 "
                 "set, the 2^(l-1) tokens before the block of that size that holds it")
    module = importlib.import_module("fla.ops.log_linear_attn.naive")
    for t, h, k, v in [(T, 2, 8, 12), (16, 3, 5, 4)]:
        levels = math.ceil(math.log2(t)) + 1
        inputs = {
            "q": torch.randn(t, h, k),
            "k": torch.randn(t, h, k),
            "v": torch.randn(t, h, v),
            "log_decay": -torch.rand(t, h) / 4,
            "level_scales": torch.nn.functional.softplus(torch.randn(t, h, levels)),
        }
        double = [x.double()[None] for x in inputs.values()]
        with OnlyDouble():
            o = module.naive_log_linear_attn(*double)[0]
        make.golden.case({"levels": levels}, {f"scan.{n}": x for n, x in (inputs | {"o": o}).items()})
    make.save()


MAKERS = [delta_net, gated_delta_net, rwkv7, rwkv6, hgrn2, linear_attention, light_net, gsa, gla_layer,
          retnet_layer, log_linear_attention]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fla", required=True, help="clone of flash-linear-attention")
    parser.add_argument("--only", help="one file")
    parser.add_argument("--check", action="store_true", help="compare with the Triton kernels")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    fla_on_cpu.load(arguments.fla)
    for make in MAKERS:
        if arguments.only in (None, make.__name__):
            make(arguments.check)


if __name__ == "__main__":
    main()
