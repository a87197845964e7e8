"""flash-linear-attention without a GPU: its layers and models run as they are, and each Triton
kernel that they call is replaced by the reference function that the same repository keeps for it
(where it has none, by the formula in plain torch, see `PLAIN`).

    load(directory)             imports the package from a clone, with the replacements
    scans(call)                 runs call() and returns its result with every recurrence that ran

Under TRITON_INTERPRET=1 the kernels stay and Triton's interpreter runs them, in f32: this is how a
maker's `--check` sees that the replacements mean the same.
"""

import contextlib
import importlib
import os
import pkgutil
import sys

import torch
import torch.nn.functional as F
from official import Repository, in_double

FLA = Repository("fla-org/flash-linear-attention", "bc3b101dcb713ddc5bd8924b66754eb68b5ccf89")
PLAIN = (
    "plain torch for short convolution, silu, swish-gated RMS norm, l2 norm (eps 1e-6 under the "
    "root) and swiglu; every other kernel is replaced by the reference function of the repository"
)

_ran: list = []


def modules() -> list:
    return [m for name, m in list(sys.modules.items()) if name.startswith("fla.") and hasattr(m, "torch")]


def double():
    return in_double(*modules())


def _function(path: str):
    module, name = path.rsplit(".", 1)
    return getattr(importlib.import_module(module), name)


def _replace(path: str, new) -> None:
    """Puts `new` wherever a module of the package holds the function of that path."""
    old = _function(path)
    for name, module in list(sys.modules.items()):
        if name.startswith("fla."):
            for key, value in list(vars(module).items()):
                if value is old:
                    setattr(module, key, new)
                elif isinstance(value, dict) and key.isupper():
                    value.update({k: new for k, v in value.items() if v is old})


def swap(x):
    """[B, T, H, ...] and [B, H, T, ...]."""
    return x.transpose(1, 2)


# Each takes tensors [B, T, H, *] and a state [B, H, K, V] (or what it says) and gives (o, state).


def delta_rule(q, k, v, beta, initial_state=None):
    reference = _function("fla.ops.delta_rule.naive.delta_rule_recurrence")
    o, state = reference(*map(swap, (q, k, v, beta)), initial_state)
    return swap(o), state


def gated_delta_rule(q, k, v, beta, log_decay, initial_state=None):
    reference = _function("fla.ops.gated_delta_rule.naive.naive_recurrent_gated_delta_rule")
    return reference(q, k, v, beta, log_decay, None, initial_state, True)


def dplr(r, log_decay, k, v, a, b, initial_state=None):
    """Its reference scales by K^-1/2 and RWKV-7 does not."""
    reference = _function("fla.ops.generalized_delta_rule.dplr.naive.dplr_recurrence")
    q = r * r.shape[-1] ** 0.5
    o, state = reference(*map(swap, (q, k, v, a, b, log_decay)), initial_state)
    return swap(o), state


def rwkv6(r, log_decay, k, v, bonus, initial_state=None):
    reference = _function("fla.ops.rwkv6.recurrent_naive.naive_recurrent_rwkv6")
    o, state = reference(*map(swap, (r, k, v, log_decay)), bonus, 1.0, initial_state, True)
    return swap(o), state


def gla(q, k, v, log_decay, initial_state=None):
    reference = _function("fla.ops.gla.naive.naive_recurrent_gla")
    return reference(q, k, v, log_decay, initial_state, True)


def retention(q, k, v, initial_state=None):
    """The decay of each head stands in the parallel form; the recurrent one takes it as a gate."""
    reference = _function("fla.ops.simple_gla.naive.naive_recurrent_simple_gla")
    heads = torch.arange(q.shape[2], dtype=torch.float64)
    gate = torch.log1p(-torch.exp2(-5 - heads)).to(q.dtype).expand(q.shape[:3])
    return reference(q, k, v, gate, initial_state=initial_state)


def linear_attention(q, k, v, initial_state=None):
    reference = _function("fla.ops.linear_attn.naive.naive_recurrent_linear_attn")
    return reference(q, k, v, None, initial_state, True)


def normalised_linear_attention(q, k, v, initial_state=None, initial_normaliser=None):
    """The normaliser is the sum of keys, [B, 1, H, K]."""
    reference = _function("fla.ops.linear_attn.naive.naive_recurrent_linear_attn")
    if initial_state is not None:
        initial_state = (initial_state, initial_normaliser)
    o, (state, normaliser) = reference(q, k, v, None, initial_state, True, True)
    return o, (state, normaliser)


def gsa(q, k, v, s, log_decay, initial_key_state=None, initial_value_state=None):
    """Slots s; two states, [B, H, K, M] and [B, H, M, V]. Its layer scales by 1."""
    reference = _function("fla.ops.gsa.naive.naive_recurrent_gsa")
    initial = None if initial_key_state is None else (initial_key_state, initial_value_state)
    return reference(q, k, v, s, log_decay, 1.0, initial, True)


def _run(scan, **inputs):
    o, state = scan(**inputs)
    _ran.append((scan, {k: v for k, v in inputs.items() if v is not None}, o, state))
    return o, state


def scans(call) -> tuple:
    """The result of `call()` and, for each recurrence in it, (function, inputs, o, state)."""
    _ran.clear()
    result = call()
    return result, list(_ran)


def _l2(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def _pieces(cu_seqlens) -> list:
    """The sequences that are packed into one batch row, as slices of it."""
    ends = cu_seqlens.tolist()
    return [slice(a, b) for a, b in zip(ends, ends[1:])]


def _conv(x, weight, bias=None, activation=None, output_final_state=False, cu_seqlens=None, **_):
    if cu_seqlens is not None:
        parts = [_conv(x[:, piece], weight, bias, activation)[0] for piece in _pieces(cu_seqlens)]
        return torch.cat(parts, 1), None
    padded = F.pad(x.transpose(1, 2), (weight.shape[-1] - 1, 0))
    y = F.conv1d(padded, weight[:, None], bias, groups=x.shape[-1]).transpose(1, 2)
    assert activation in (None, "silu", "swish") and not output_final_state
    return (F.silu(y) if activation else y), None


def _rms_gated(x, g, weight, bias, activation="swish", residual=None, eps=1e-6, prenorm=False, **_):
    assert activation in ("swish", "silu") and residual is None and not prenorm
    reference = _function("fla.modules.layernorm.rms_norm_ref")
    return reference(x, weight, bias, eps=eps) * F.silu(g)


def _replacements() -> dict:
    rms = _function("fla.modules.layernorm.rms_norm_ref")
    layer = _function("fla.modules.layernorm.layer_norm_ref")
    group = _function("fla.modules.layernorm.group_norm_ref")
    rotary = _function("fla.modules.rotary.rotary_embedding_ref")
    gate = _function("fla.ops.gated_delta_rule.gate.naive_gdn_gate")
    shift = _function("fla.modules.token_shift.token_shift_ref")
    channel = _function("fla.ops.rwkv7.channel_mixing.channel_mixing_rwkv7_torch")

    def norm(reference):
        def new(x, weight, bias, residual=None, eps=1e-5, prenorm=False, residual_in_fp32=False):
            return reference(x, weight, bias, residual=residual, eps=eps, prenorm=prenorm)
        return new

    def group_norm(x, weight, bias, residual=None, eps=1e-5, prenorm=False, residual_in_fp32=False,
                   is_rms_norm=False, num_groups=1):
        return group(x, weight, bias, num_groups, residual, eps, is_rms_norm, prenorm)

    def rms_linear(x, norm_weight, norm_bias, linear_weight, linear_bias, residual=None, eps=1e-5, **_):
        return F.linear(rms(x, norm_weight, norm_bias, eps=eps), linear_weight, linear_bias)

    def rms_gate_linear(x, g, norm_weight, norm_bias, linear_weight, linear_bias, eps=1e-6, **_):
        return F.linear(_rms_gated(x, g, norm_weight, norm_bias, eps=eps), linear_weight, linear_bias)

    def token_shift(x, cu_seqlens=None, cache=None, output_cache=False, **_):
        delta = shift(x)
        return (delta, x[:, -1]) if output_cache else delta

    def rotate(x, cos, sin, interleaved=False, inplace=False, seqlen_offsets=0, **_):
        assert seqlen_offsets == 0
        return rotary(x, cos[: x.shape[1]], sin[: x.shape[1]], interleaved)

    def delta(q, k, v, beta, initial_state=None, use_qk_l2norm_in_kernel=False, **_):
        if use_qk_l2norm_in_kernel:
            q, k = _l2(q), _l2(k)
        return _run(delta_rule, q=q, k=k, v=v, beta=beta)

    def gated_delta(q, k, v, g, beta, A_log=None, dt_bias=None, allow_neg_eigval=False,
                    use_gate_in_kernel=False, use_beta_sigmoid_in_kernel=False, cu_seqlens=None, **_):
        if cu_seqlens is not None:
            parts = [gated_delta(*(x[:, piece] for x in (q, k, v, g, beta)), A_log, dt_bias,
                                 allow_neg_eigval, use_gate_in_kernel, use_beta_sigmoid_in_kernel)
                     for piece in _pieces(cu_seqlens)]
            return torch.cat([o for o, _ in parts], 1), torch.cat([state for _, state in parts])
        if use_gate_in_kernel:
            g = gate(g, A_log, dt_bias, g.dtype)
        if use_beta_sigmoid_in_kernel:
            beta = beta.sigmoid() * (2 if allow_neg_eigval else 1)
        groups = v.shape[2] // q.shape[2]
        q, k = (_l2(x).repeat_interleave(groups, 2) for x in (q, k))
        return _run(gated_delta_rule, q=q, k=k, v=v, beta=beta, log_decay=g)

    def mul_rwkv7(r, w, k, v, kk, a, **_):
        return _run(dplr, r=r, log_decay=w, k=k, v=v, a=-kk, b=kk * a)

    def chunk_rwkv7(r, w, k, v, a, b, **_):
        return _run(dplr, r=r, log_decay=w, k=k, v=v, a=a, b=b)

    def gla_kernel(q, k, v, g=None, gk=None, **_):
        return _run(gla, q=q, k=k, v=v, log_decay=g if gk is None else gk)

    def linear(q, k, v, normalize=False, **_):
        return _run(normalised_linear_attention if normalize else linear_attention, q=q, k=k, v=v)

    def gsa_kernel(q, k, v, s, g, scale=1.0, **_):
        assert scale == 1.0
        return _run(gsa, q=q, k=k, v=v, s=s, log_decay=g)

    return {
        "fla.modules.conv.causal_conv1d.causal_conv1d": _conv,
        "fla.modules.layernorm.rms_norm": norm(rms),
        "fla.modules.layernorm.layer_norm": norm(layer),
        "fla.modules.layernorm.group_norm": group_norm,
        "fla.modules.layernorm.rms_norm_linear": rms_linear,
        "fla.modules.fused_norm_gate.rms_norm_gated": _rms_gated,
        "fla.modules.fused_norm_gate.rms_norm_swish_gate_linear": rms_gate_linear,
        "fla.modules.activations.swish": F.silu,
        "fla.modules.activations.swiglu": lambda x, y: F.silu(x) * y,
        "fla.modules.activations.swiglu_linear":
            lambda x, y, weight, bias: F.linear(F.silu(x) * y, weight, bias),
        "fla.modules.activations.sqrelu": lambda x: F.relu(x).square(),
        "fla.modules.l2norm.l2norm": _l2,
        "fla.modules.rotary.rotary_embedding": rotate,
        "fla.modules.token_shift.token_shift": token_shift,
        "fla.ops.rwkv7.fused_addcmul.fused_addcmul_rwkv7":
            _function("fla.ops.rwkv7.fused_addcmul.torch_addcmul_rwkv7"),
        "fla.ops.rwkv7.fused_k_update.fused_k_rwkv7": _function("fla.ops.rwkv7.fused_k_update.k_update_ref"),
        "fla.ops.rwkv7.gate_output_correction.gate_output_correction":
            _function("fla.ops.rwkv7.gate_output_correction.gate_output_correction_ref"),
        "fla.ops.rwkv7.channel_mixing.channel_mixing_rwkv7": lambda *a, **_: channel(*a[:5]),
        "fla.ops.delta_rule.fused_recurrent_delta_rule": delta,
        "fla.ops.delta_rule.chunk_delta_rule": delta,
        "fla.ops.gated_delta_rule.fused_recurrent_gated_delta_rule": gated_delta,
        "fla.ops.gated_delta_rule.chunk_gated_delta_rule": gated_delta,
        "fla.ops.rwkv7.fused_mul_recurrent_rwkv7": mul_rwkv7,
        "fla.ops.rwkv7.chunk_rwkv7": chunk_rwkv7,
        "fla.ops.rwkv6.fused_recurrent_rwkv6":
            lambda r, k, v, w, u, scale, **_: _run(rwkv6, r=r, log_decay=w, k=k, v=v, bonus=u),
        "fla.ops.gla.fused_recurrent_gla": gla_kernel,
        "fla.ops.gla.chunk_gla": gla_kernel,
        "fla.ops.linear_attn.fused_recurrent_linear_attn": linear,
        "fla.ops.retention.fused_recurrent_retention": lambda q, k, v, **_: _run(retention, q=q, k=k, v=v),
        "fla.ops.gsa.fused_recurrent_gsa": gsa_kernel,
    }


def load(directory: str) -> None:
    """Imports the package; kernels are replaced unless Triton's interpreter is to run them."""
    sys.path.insert(0, FLA.unpack(directory, "fla"))
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted:
        import triton.runtime.autotuner as autotuner

        first = autotuner.Autotuner.__init__

        def init(self, *a, **k):
            first(self, *a, **k)
            self.configs = self.configs[:1]  # nothing to measure without a device

        autotuner.Autotuner.__init__ = init
    package = importlib.import_module("fla.ops")
    for module in pkgutil.walk_packages(package.__path__, "fla.ops."):
        if module.name.endswith("naive"):
            importlib.import_module(module.name)
    importlib.import_module("fla.models")
    if not interpreted:
        for path, new in _replacements().items():
            _replace(path, new)
