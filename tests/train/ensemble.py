"""Many small models trained in lockstep.

Every parameter has a leading axis R, one entry a model, so that one sequence of kernels trains all
of them: small models leave a GPU idle one at a time. Gradients of different models never meet: the
loss is a sum over models and the clip acts on each for itself.
"""

import json
import math
import time
from pathlib import Path

import torch
from safetensors.torch import save_file


class AdamW:
    """AdamW whose step counter and learning rate are tensors, so that a CUDA graph can hold it."""

    def __init__(self, parameters, decayed, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8, clip=1.0):
        self.parameters = list(parameters.values())
        self.decay = [weight_decay if name in decayed else 0.0 for name in parameters]
        self.betas, self.eps, self.clip = betas, eps, clip
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        device = self.parameters[0].device
        self.count = torch.zeros((), device=device)
        self.rate = torch.zeros((), device=device)

    @torch.no_grad()
    def step(self, gradients):
        squares = sum(g.flatten(1).square().sum(1) for g in gradients)
        factor = (self.clip / squares.sqrt().clamp_min(1e-6)).clamp_max(1.0)
        # A model whose gradient is not finite stands still in this step.
        factor = torch.where(squares.isfinite(), factor, 0.0)
        gradients = [
            (g.nan_to_num(0.0, 0.0, 0.0) * factor.view(-1, *[1] * (g.dim() - 1))) for g in gradients
        ]
        first, second = self.betas
        self.count += 1
        torch._foreach_lerp_(self.first, gradients, 1 - first)
        torch._foreach_mul_(self.second, second)
        torch._foreach_addcmul_(self.second, gradients, gradients, 1 - second)
        unbias_first = 1 - first**self.count
        unbias_second = (1 - second**self.count).sqrt()
        for p, m, v, decay in zip(self.parameters, self.first, self.second, self.decay):
            update = m / unbias_first / (v.sqrt() / unbias_second + self.eps)
            p -= self.rate * (update + decay * p)


def rate_at(step, steps, peak):
    """Warm-up over a twentieth of the steps, then a cosine down to a twentieth of the peak."""
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    share = (step - warm) / max(1, steps - warm)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * share)))


def captured(step, log):
    """The step as one CUDA graph: hundreds of small kernels cost more to launch than to run."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            step()
    except RuntimeError as error:
        log(f"without a CUDA graph: {error}")
        torch.cuda.synchronize()
        return step
    return graph.replay


def train(parameters, decayed, batch, loss, peak, most_steps, seconds, visit=None, log=print):
    """Trains until `most_steps`, or fewer if so many do not fit into `seconds`.

    batch(step) gives the tensors of a step, loss(*tensors) a loss for every model `[R]`;
    visit(step, steps) is called before each step and at the end. Returns the steps made.
    """
    optimiser = AdamW(parameters, decayed)
    values = list(parameters.values())
    for p in values:
        p.requires_grad_(True)
    inputs = [t.clone() for t in batch(0)]
    last = torch.zeros(values[0].shape[0], device=values[0].device)

    def step():
        losses = loss(*inputs)
        gradients = torch.autograd.grad(losses.sum(), values)
        optimiser.step(gradients)
        last.copy_(losses.detach())

    run = step
    on_gpu = values[0].is_cuda
    if on_gpu:
        kept = [p.detach().clone() for p in values]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        run = captured(step, log)
        with torch.no_grad():
            for p, k in zip(values, kept):
                p.copy_(k)
            for m in [*optimiser.first, *optimiser.second, optimiser.count]:
                m.zero_()
    started, steps, measured = time.time(), most_steps, 0
    n = 0
    while n < steps:
        for to, t in zip(inputs, batch(n)):
            to.copy_(t)
        optimiser.rate.fill_(rate_at(n, steps, peak))
        if visit is not None:
            visit(n, steps)
        run()
        n += 1
        if n in (5, 40):
            if on_gpu:
                torch.cuda.synchronize()
            spent = time.time() - started
            # The first steps pay for what is set up once: only those behind them are measured.
            if n == 5:
                measured = spent
            else:
                each = (spent - measured) / 35
                steps = max(n, min(most_steps, int((seconds - spent) / each)))
                log(f"{each * 1e3:.2f} ms a step: {steps} steps")
        if n % max(1, steps // 10) == 0:
            log(f"step {n} of {steps}, {time.time() - started:.0f} s, loss {last.mean():.3f}")
            if time.time() - started > 1.15 * seconds:
                log("the time is over")
                break
    for p in values:
        p.requires_grad_(False)
    if visit is not None:
        visit(n, n)
    return n


def stored(tensor):
    """Matrices are stored in f16; what has one dimension in f32."""
    return tensor.half() if tensor.dim() > 1 else tensor.float()


def save(folder, config, tensors):
    """Writes config.json and model.safetensors."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    tensors = {name: stored(t.detach().cpu()).contiguous() for name, t in tensors.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
