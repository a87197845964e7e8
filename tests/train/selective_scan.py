"""The scan of S6 for training: `h_t = exp(s_t A) h_{t-1} + u_t B_t`, `y_t = h_t . C_t`, with its
gradients. On an NVIDIA GPU a Triton kernel runs it; where that does not build or is wrong, and on
the CPU, the same in chunks of plain PyTorch.

s [G, T, E] are the steps that decay, above 0; u [G, T, E] what is written (dt x); A [G, E, N] below
0; B and C [G, T, N]. G counts sequences: images times orders.
"""

import torch
import torch.nn.functional as F

CHUNK = 14
BLOCK = 32


def recurrence(a, b):
    """h_t = a_t h_{t-1} + b_t along dimension 1, in chunks: within them one after the other, all
    chunks at once; then from chunk to chunk."""
    g, t = a.shape[:2]
    chunks = -(-t // CHUNK)
    pad = (0, 0) * (a.dim() - 2) + (0, chunks * CHUNK - t)
    h = F.pad(b, pad).reshape(g, chunks, CHUNK, *b.shape[2:])
    product = F.pad(a, pad).reshape(h.shape).clone()
    for i in range(1, CHUNK):
        h[:, :, i].addcmul_(product[:, :, i], h[:, :, i - 1])
        product[:, :, i].mul_(product[:, :, i - 1])
    carried = [torch.zeros_like(h[:, 0, 0])]
    for c in range(chunks - 1):
        carried.append(torch.addcmul(h[:, c, -1], product[:, c, -1], carried[-1]))
    h = h.addcmul(product, torch.stack(carried, 1).unsqueeze(2))
    return h.reshape(g, chunks * CHUNK, *b.shape[2:])[:, :t]


def one_by_one(s, u, a, b, c):
    """The formula, token after token."""
    h, y = torch.zeros_like(a), torch.empty_like(s)
    for t in range(s.shape[1]):
        h = torch.exp(s[:, t, :, None] * a) * h + u[:, t, :, None] * b[:, t, None]
        y[:, t] = (h * c[:, t, None]).sum(-1)
    return y


class Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx, s, u, a, b, c):
        decay = torch.exp(s.unsqueeze(-1) * a.unsqueeze(1))
        h = recurrence(decay, u.unsqueeze(-1) * b.unsqueeze(2))
        ctx.save_for_backward(s, u, a, b, c, decay, h)
        return (h * c.unsqueeze(2)).sum(-1)

    @staticmethod
    def backward(ctx, dy):
        s, u, a, b, c, decay, h = ctx.saved_tensors
        dc = (dy.unsqueeze(-1) * h).sum(2)
        after = F.pad(decay[:, 1:], (0, 0, 0, 0, 0, 1))
        back = recurrence(after.flip(1), (dy.unsqueeze(-1) * c.unsqueeze(2)).flip(1)).flip(1)
        du = (back * b.unsqueeze(2)).sum(-1)
        db = (back * u.unsqueeze(-1)).sum(2)
        before = F.pad(h[:, :-1], (0, 0, 0, 0, 1, 0))
        power = back * before * decay
        ds = (power * a.unsqueeze(1)).sum(-1)
        da = (power * s.unsqueeze(-1)).sum(1)
        return ds, du, da, db, dc


try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

if triton is not None:

    @triton.jit
    def forward_kernel(
        s, u, a, b, c, y, h_all, T, E: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr
    ):
        g = tl.program_id(0).to(tl.int64)
        e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        n = tl.arange(0, N)
        rates = tl.load(a + g * E * N + e[:, None] * N + n[None, :])
        h = tl.zeros([BLOCK, N], tl.float32)
        for t in range(T):
            row = (g * T + t) * E + e
            state = (g * T + t) * N + n
            h *= tl.exp(tl.load(s + row)[:, None] * rates)
            h += tl.load(u + row)[:, None] * tl.load(b + state)[None, :]
            tl.store(h_all + row[:, None] * N + n[None, :], h)
            tl.store(y + row, tl.sum(h * tl.load(c + state)[None, :], 1))

    @triton.jit
    def backward_kernel(
        s, u, a, b, c, h_all, dy, ds, du, da, db, dc,
        T, E: tl.constexpr, N: tl.constexpr, BLOCK: tl.constexpr
    ):  # fmt: skip
        g = tl.program_id(0).to(tl.int64)
        block = tl.program_id(1)
        e = block * BLOCK + tl.arange(0, BLOCK)
        n = tl.arange(0, N)
        rates = tl.load(a + g * E * N + e[:, None] * N + n[None, :])
        back = tl.zeros([BLOCK, N], tl.float32)
        d_rates = tl.zeros([BLOCK, N], tl.float32)
        h = tl.load(h_all + ((g * T + T - 1) * E + e)[:, None] * N + n[None, :])
        for i in range(T):
            t = T - 1 - i
            row = (g * T + t) * E + e
            state = (g * T + t) * N + n
            part = ((g * (E // BLOCK) + block) * T + t) * N + n
            step = tl.load(s + row)
            out = tl.load(dy + row)
            back += out[:, None] * tl.load(c + state)[None, :]
            tl.store(dc + part, tl.sum(out[:, None] * h, 0))
            tl.store(du + row, tl.sum(back * tl.load(b + state)[None, :], 1))
            tl.store(db + part, tl.sum(back * tl.load(u + row)[:, None], 0))
            # The state before; nothing before the first token.
            h = tl.load(h_all + (row - E)[:, None] * N + n[None, :], mask=t > 0, other=0.0)
            back *= tl.exp(step[:, None] * rates)
            power = back * h
            tl.store(ds + row, tl.sum(power * rates, 1))
            d_rates += power * step[:, None]
        tl.store(da + g * E * N + e[:, None] * N + n[None, :], d_rates)

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, s, u, a, b, c):
            s, u, a, b, c = (x.contiguous() for x in (s, u, a, b, c))
            g, t, e = s.shape
            n = a.shape[-1]
            y = torch.empty_like(s)
            h = torch.empty(g, t, e, n, device=s.device)
            forward_kernel[(g, e // BLOCK)](s, u, a, b, c, y, h, t, e, n, BLOCK, num_warps=1)
            ctx.save_for_backward(s, u, a, b, c, h)
            return y

        @staticmethod
        def backward(ctx, dy):
            s, u, a, b, c, h = ctx.saved_tensors
            g, t, e = s.shape
            n = a.shape[-1]
            ds, du, da = torch.empty_like(s), torch.empty_like(u), torch.empty_like(a)
            db, dc = torch.empty(2, g, e // BLOCK, t, n, device=s.device)
            backward_kernel[(g, e // BLOCK)](
                s, u, a, b, c, h, dy.contiguous(), ds, du, da, db, dc, t, e, n, BLOCK, num_warps=1
            )
            return ds, du, da, db.sum(1), dc.sum(1)


def differences(first, second, device):
    """The largest difference between two ways to run the scan and its gradients, over the largest
    value: one number for the outputs and each gradient."""
    torch.manual_seed(0)
    g, t, e, n = 3, 45, 64, 8

    def made(*shape):
        return torch.randn(*shape, device=device)

    inputs = [F.softplus(made(g, t, e) - 3), made(g, t, e), -made(g, e, n).exp()]
    inputs += [made(g, t, n), made(g, t, n)]
    weights = made(g, t, e)
    results = []
    for scan in (first, second):
        leaves = [x.clone().requires_grad_() for x in inputs]
        y = scan(*leaves)
        results.append([y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)])
    return [((x - y).abs().max() / y.abs().max()).item() for x, y in zip(*results)]


def for_device(device):
    """The fastest scan that is right on this device, and its name."""
    if device != "cuda" or triton is None:
        return Plain.apply, "plain PyTorch"
    try:
        worst = max(differences(Fused.apply, Plain.apply, device))
    except Exception as error:  # Whatever Triton cannot do here, PyTorch can.
        return Plain.apply, f"plain PyTorch, for Triton failed: {str(error).splitlines()[:1]}"
    if not worst < 1e-4:
        return Plain.apply, f"plain PyTorch, for Triton's result is {worst:.1e} off"
    return Fused.apply, f"Triton, {worst:.1e} from plain PyTorch"
