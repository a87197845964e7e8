"""Writes s4, s4d and s5.safetensors: structured state space layers.

    python tests/golden/make/mixers_ssm.py --s4 DIR --s5 DIR

DIR are clones of state-spaces/s4 and lindermanlab/S5 that hold the commits below. Needs torch,
einops and, for S5, jax and flax (requirements.txt beside this file). All results are f64.

Complex numbers are pairs, [..., 2]. As in the official code one of each conjugate pair is kept, so
sums over the state are twice the real part.
"""

import argparse
import importlib
import json
import sys
import types

import torch
from official import Golden, OnlyDouble, Repository, weights

S4 = Repository("state-spaces/s4", "e757cef57d89e448c413de7325ed5601aceaac13")
S5 = Repository("lindermanlab/S5", "3c18fdb6b06414da35e77b94b9cd855f6a95ef17")
COMMAND = "python tests/golden/make/mixers_ssm.py --s4 DIR --s5 DIR"


def absent(name: str, **members) -> None:
    """Stands in for a library that the official file imports and what is run does not use."""
    module = types.ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules.setdefault(name, module)


def load_s4(directory: str):
    folder = S4.unpack(directory, "models/s4", "src/models/nn/dropout.py")
    absent("pytorch_lightning")
    absent("pytorch_lightning.utilities", rank_zero_only=lambda function: function)
    absent("src")
    absent("src.models")
    absent("src.models.nn", DropoutNd=torch.nn.Dropout)
    sys.path.insert(0, folder + "/models/s4")
    return importlib.import_module("s4"), importlib.import_module("s4d")


def pair(x):
    """Complex [..., N] as [..., N, 2]."""
    return torch.view_as_real(x.resolve_conj())


def s4_block(module, settings: dict, t: int) -> dict:
    """A whole block: its convolution, its recurrence and the state after the last token."""
    block = module.S4Block(transposed=False, **settings).eval()
    tensors = weights(block)
    tensors.pop("weights.layer.kernel.l_kernel", None)  # 0 before the first call
    u = torch.randn(t, settings["d_model"])
    with torch.no_grad():
        block = block.double()
        kernel = block.layer.kernel
        x = u.double()[None]
        with OnlyDouble():
            out, _ = block(x)
        convolution, _ = kernel(L=t)
        tensors |= {"u": u, "out": out[0], "kernel": convolution[0]}
        # After its first call the DPLR kernel holds C (I - A^L) in the place of C.
        if settings["mode"] == "dplr":
            tensors |= {"c_after_first_call": kernel.C}
        block.setup_step()
        state = block.default_state(1)
        steps = []
        for i in range(t):
            y, state = block.step(x[:, i], state)
            steps.append(y[0])
        recurrent = torch.stack(steps)
        assert torch.allclose(recurrent, out[0], rtol=0, atol=1e-9), (recurrent - out[0]).abs().max()
        tensors["state"] = pair(state[0])
        if settings["mode"] == "dplr":
            tensors |= {"dense.a": pair(kernel.dA), "dense.b": pair(kernel.dB), "dense.c": pair(kernel.dC[0])}
    return tensors


def s4(module) -> None:
    torch.manual_seed(4)
    golden = Golden(
        "s4", S4, "models/s4/s4.py", COMMAND,
        official="the whole block (S4Block, FFTConv, SSMKernelDPLR): parameters, convolution kernel, "
                 "output by FFT, and the matrices of its recurrence",
        composed="nothing; the script checks that the recurrence gives the output of the convolution. "
                 "state holds both of each conjugate pair, [H, 2N, 2]; c_after_first_call is C (I - A^T), which "
                 "the official state_dict holds after the first call",
    )
    base = dict(mode="dplr", d_model=5, d_state=8, dt_min=0.01, dt_max=0.3)
    for settings, t in [
        (base | dict(init="legs"), 37),
        (base | dict(init="fout", n_ssm=1, d_state=12), 36),
        (base | dict(init="legt", rank=2), 37),
    ]:
        golden.case(settings, s4_block(module, settings, t))
    # The matrices that the initialisations start from; eigenvectors are free up to a phase, so
    # products that do not depend on it stand here.
    a, b = module.transition("legs", 8)
    lam, p, b_rotated, _ = module.nplr("legs", 8, dtype=torch.double, B_clip=None)
    golden.tensors |= {
        "legs.a": torch.tensor(a),
        "legs.b": torch.tensor(b[:, 0].copy()),
        "legs.lambda": pair(lam),
        "legs.p_abs": p[0].abs(),
        "legs.b_abs": b_rotated.abs(),
        "legs.b_times_conj_p": pair(b_rotated * p[0].conj()),
    }
    golden.save()


def s4d(module, minimal) -> None:
    torch.manual_seed(5)
    golden = Golden(
        "s4d", S4, "models/s4/s4.py, models/s4/s4d.py", COMMAND,
        official="cases with a mode: the whole block (S4Block, FFTConv, SSMKernelDiag); the last case: "
                 "the minimal layer (S4D, S4DKernel), whose A has the other sign of the imaginary part",
        composed="nothing for the blocks; the script checks that the recurrence gives the output of "
                 "the convolution",
    )
    base = dict(mode="diag", d_model=5, d_state=8, dt_min=0.01, dt_max=0.3)
    for init in ["diag-lin", "diag-inv", "diag-real", "diag-legs"]:
        golden.case(base | dict(init=init), s4_block(module, base | dict(init=init), 37))
    settings = base | dict(init="diag-lin", disc="bilinear", n_ssm=1)
    golden.case(settings, s4_block(module, settings, 36))

    settings = dict(d_model=5, d_state=8, dt_min=0.01, dt_max=0.3)
    layer = minimal.S4D(transposed=False, **settings).eval()
    tensors = weights(layer)
    u = torch.randn(37, 5)
    with torch.no_grad():
        layer = layer.double()
        out, _ = layer(u.double()[None])
        tensors |= {"u": u, "kernel": layer.kernel(L=37)}
    golden.case({"layer": "S4D"} | settings, tensors | {"out": out[0].contiguous()})
    golden.save()


def load_s5(directory: str):
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.numpy.DeviceArray = jax.Array  # its name in the jax of that time
    sys.path.insert(0, S5.unpack(directory, "s5"))
    return importlib.import_module("s5.ssm"), importlib.import_module("s5.ssm_init"), \
        importlib.import_module("s5.layers")


def s5(modules) -> None:
    import flax
    import jax
    import numpy

    ssm, init, layers = modules
    versions = {"jax": jax.__version__, "flax": flax.__version__}
    golden = Golden(
        "s5", S5, "s5/ssm.py, s5/ssm_init.py, s5/layers.py", COMMAND,
        official="the state space model (S5SSM, apply_ssm: out) and its layer (SequenceLayer: layer.out)",
        composed="state, the last element of the official associative scan, which the code does not "
                 "return (last_state_reversed: of the scan that runs backwards)",
        versions=json.dumps(versions),
    )

    def tensor(x):
        return torch.from_numpy(numpy.array(x))

    def flat(tree, prefix):
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", tensor(value)

    t, h, p = 37, 6, 8
    base = dict(C_init="lecun_normal", discretization="zoh", dt_min=0.01, dt_max=0.3, conj_sym=True,
                clip_eigs=False, bidirectional=False)
    for n, (settings, activation) in enumerate([
        (base, "half_glu2"),
        (base | dict(discretization="bilinear", clip_eigs=True, C_init="complex_normal"), "full_glu"),
        (base | dict(bidirectional=True), "half_glu1"),
    ]):
        lam, _, _, v, _ = init.make_DPLR_HiPPO(p)
        lam, v = lam[: p // 2], v[:, : p // 2]
        make = ssm.init_S5SSM(h, p // 2, lam.real, lam.imag, v, v.conj().T, **settings)
        layer = layers.SequenceLayer(ssm=make, dropout=0.0, d_model=h, activation=activation,
                                     training=False, prenorm=True)
        key = jax.random.PRNGKey(n)
        u = numpy.asarray(jax.random.normal(key, (t, h)), dtype=numpy.float32)
        params = layer.init(jax.random.PRNGKey(10 + n), u.astype(numpy.float64))["params"]
        for group in ("norm", "out1", "out2"):  # not the ones and zeros that they start as
            for name, value in params.get(group, {}).items():
                noise = jax.random.normal(jax.random.PRNGKey(len(name)), value.shape)
                params[group][name] = value + 0.3 * noise * (name != "kernel")
        params = jax.tree.map(lambda x: numpy.asarray(x, dtype=numpy.float32), params)
        double = jax.tree.map(lambda x: x.astype(numpy.float64), params)
        x = u.astype(numpy.float64)
        whole = layer.apply({"params": double}, x)
        model = make(step_rescale=1.0)
        inner = {"params": double["seq"]}
        bound = model.bind(inner)
        elements = (bound.Lambda_bar * numpy.ones((t, 1)), x @ bound.B_bar.T)
        _, states = jax.lax.associative_scan(ssm.binary_operator, elements)
        tensors = dict(flat(params, "weights.")) | {
            "u": tensor(u),
            "out": tensor(model.apply(inner, x)),
            "layer.out": tensor(whole),
            "state": pair(tensor(states[-1])),
            "discrete.lambda": pair(tensor(bound.Lambda_bar)),
            "discrete.b": pair(tensor(bound.B_bar)),
        }
        if settings["bidirectional"]:
            _, back = jax.lax.associative_scan(ssm.binary_operator, elements, reverse=True)
            tensors["last_state_reversed"] = pair(tensor(back[0]))
        golden.case(settings | dict(H=h, P=p // 2, activation=activation, prenorm=True), tensors)
    golden.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--s4", required=True, help="clone of state-spaces/s4")
    parser.add_argument("--s5", required=True, help="clone of lindermanlab/S5")
    arguments = parser.parse_args()
    module, minimal = load_s4(arguments.s4)
    s4(module)
    s4d(module, minimal)
    s5(load_s5(arguments.s5))


if __name__ == "__main__":
    main()
