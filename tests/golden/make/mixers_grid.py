"""Writes light_net_grid.safetensors: what LightNet needs on a grid of tokens (a picture, a video).

    python tests/golden/make/mixers_grid.py --xmixers DIR --xopes DIR

DIR are clones of Doraemonzzz/xmixers and Doraemonzzz/xopes that hold the commits below. Runs in f64.
"""

import argparse
import importlib
import sys
import types

import torch
from official import Golden, OnlyDouble, Repository, in_double, weights

XMIXERS = Repository("Doraemonzzz/xmixers", "a3e8681d40d9a8ad732a5e40f1654bea4f688d16")
XOPES = Repository("Doraemonzzz/xopes", "1dfa3df896141398cd1afb92bca5c95ea8dacbac")
COMMAND = "python tests/golden/make/mixers_grid.py --xmixers DIR --xopes DIR"


def package(name: str, folder: str, **members) -> types.ModuleType:
    """A package whose files are in `folder` and whose own __init__, which needs a GPU, is not run."""
    module = types.ModuleType(name)
    module.__path__ = [folder]
    vars(module).update(members)
    sys.modules[name] = module
    return module


def load(xmixers: str, xopes: str) -> dict:
    root = XOPES.unpack(xopes, "xopes")
    ops = f"{root}/xopes/ops"
    package("xopes", f"{root}/xopes")
    package("xopes.ops", ops)
    package("xopes.ops.act", f"{ops}/act", act_torch=lambda x, act, dim=None: x)
    package("xopes.ops.act.act_torch", f"{ops}/act", act_torch=lambda x, act, dim=None: x)
    for name in ("lightning_attn", "lightning_attn/positional_encoding", "lightning_attn/constant_decay",
                 "normalize", "normalize/normalize", "lrpe", "lrpe/cosine", "lrpe/cosine/_md", "additive"):
        package("xopes.ops." + name.replace("/", "."), f"{ops}/{name}")
    constant = importlib.import_module("xopes.ops.lightning_attn.constant_decay.lacd_torch")
    sys.modules["xopes.ops.lightning_attn.constant_decay"].lacd_torch = constant.lacd_torch
    positional = importlib.import_module("xopes.ops.lightning_attn.positional_encoding.lape_torch")
    normalize = importlib.import_module("xopes.ops.normalize.normalize.normalize_torch")

    def attention(decay_type, **inputs):
        assert decay_type == "positional"
        return positional.lape_torch(**inputs)

    sys.modules["xopes.ops"].lightning_attn_func = attention

    class Norm(torch.nn.Module):
        def __init__(self, width, **_):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(width))

        def forward(self, x):
            width = x.shape[-1]
            out = normalize.normalize_torch(x, self.weight, c=width**0.5, eps=1e-5)
            return out[0] if isinstance(out, tuple) else out

    def norm_class(name):
        assert name == "rmsnorm"
        return Norm

    folder = XMIXERS.unpack(xmixers, "xmixers/modules/pes") + "/xmixers"
    package("xmixers", folder)
    package("xmixers.modules", f"{folder}/modules")
    package("xmixers.modules.normalizations", folder, get_norm_fn=norm_class)
    package("xmixers.utils", folder, _initialize_weights=lambda *_: None, print_module=lambda _: "")
    package("xmixers.modules.pes", f"{folder}/modules/pes")
    package("xmixers.modules.pes.md", f"{folder}/modules/pes/md")
    torch.cuda.current_device = lambda: "cpu"
    return {
        "md_tpe": importlib.import_module("xmixers.modules.pes.md.md_tpe"),
        "lrpe": importlib.import_module("xopes.ops.lrpe.cosine._md.lrpe_cosine_md_torch"),
        "additive": importlib.import_module("xopes.ops.additive.recurrence_torch"),
        "in_double": [constant, normalize, positional],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("xmixers", "xopes"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    modules = load(arguments.xmixers, arguments.xopes)
    torch.manual_seed(16)
    golden = Golden(
        "light_net_grid", XMIXERS,
        f"xmixers/modules/pes/md/md_tpe.py, xmixers/modules/pes/tpe.py; of {XOPES.name} {XOPES.commit} "
        "xopes/ops/lrpe/cosine/_md/lrpe_cosine_md_torch.py, xopes/ops/additive/recurrence_torch.py, "
        "xopes/ops/lightning_attn/positional_encoding/lape_torch.py, "
        "xopes/ops/normalize/normalize/normalize_torch.py", COMMAND,
        official="md_tpe: the module (MdTpe) over reference functions of xopes in the place of its "
                 "kernels; md_lrpe: lrpe_cosine_md_torch; additive: "
                 "additive_rule_recurrence_stable_torch with keys of one, logits g in their place",
        composed="theta of md_lrpe, base 10000; whole_grid: softmax of the logits over all tokens, for "
                 "each key feature, times the values, read by silu(q): LightNet without an order",
    )
    for shape, axes in [((5, 7), [-3, -2]), ((3, 4, 3), [-4, -3, -2])]:
        width, heads = 12, 3
        module = modules["md_tpe"].MdTpe(embed_dim=width, num_heads=heads, dims=axes)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.dim() > 1 else 1))
                if name.endswith("norm.weight"):
                    parameter.add_(1)
        u = torch.randn(*shape, width)
        tensors = {"u": u, **weights(module)}
        with in_double(*modules["in_double"]), torch.no_grad():
            module, given = module.double(), u.double()[None]
            with OnlyDouble():
                tensors["out"] = module(given)[0]
        golden.case(dict(part="md_tpe", embed_dim=width, num_heads=heads, dims=axes), tensors)

    for shape, before in [((5, 7), 2), ((3, 4, 3), 0)]:
        heads, width = 2, 6
        angles = -(-width // len(shape))
        theta = (10000.0 ** (-2 / width * torch.arange(angles))).repeat(heads, 1)
        theta = theta * torch.tensor([[1.0], [0.5]])
        tokens = before + torch.tensor(shape).prod().item()
        x = torch.randn(heads, tokens, width)
        with in_double(modules["lrpe"]), torch.no_grad():
            out = modules["lrpe"].lrpe_cosine_md_torch(x.double()[None], theta.double(), shape, before)
        settings = dict(part="md_lrpe", shape=shape, unrotated_first=before)
        golden.case(settings, {"x": x, "theta": theta, "out": out[0]})

    heads, width, value, tokens = 2, 6, 8, 37
    for scale in (1.0, 30.0):
        q, g = torch.randn(heads, tokens, width), torch.randn(heads, tokens, width) * scale
        v = torch.randn(heads, tokens, value)
        double = [x.double()[None] for x in (q, torch.ones_like(g), v, g)]
        with in_double(modules["additive"]), torch.no_grad():
            o, (state, sums, maximum) = modules["additive"].additive_rule_recurrence_stable_torch(
                *double, output_final_state=True)
        shares = g.double().softmax(1)
        whole = torch.einsum("htk,hks->hts", torch.nn.functional.silu(q.double()),
                             torch.einsum("htk,hts->hks", shares, v.double()))
        last = torch.einsum("htk,hts->hks", shares, v.double())
        direct = torch.einsum("hk,hks->hs", q[:, -1].double(), last)
        assert torch.allclose(o[0, :, -1], direct, atol=1e-10)
        golden.case(dict(part="additive"), {
            "scan.q": q, "scan.g": g, "scan.v": v, "scan.o": o[0], "scan.state": state[0],
            "scan.sums": sums[0, ..., 0], "scan.maximum": maximum[0, ..., 0], "whole_grid.o": whole,
        })
    golden.save()


if __name__ == "__main__":
    main()
