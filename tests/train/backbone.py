"""Small image classifiers in the shape of ViM (hustvl/Vim, vim/models_mamba.py) and, with four snake
orders, of PlainMamba (ChenhongyiYang/PlainMamba): patches, blocks of S6 along several orders whose
outputs are averaged, a norm and a linear head.

Where ViM has a class token in the middle and reads it, the four snakes have none and read the mean
of all tokens. PlainMamba convolves in two dimensions, shares one S6 among its orders and adds a
vector for each direction to B; here every order has a causal convolution and an S6 of its own, as
ViM's two directions have. Tensor names are ViM's; orders after the first have the suffixes _b, _c,
_d.

Tokens can be pruned after some blocks, as ToP-ViM does (arXiv 2409.18962): `Pruning`.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import selective_scan

SUFFIXES = ["", "_b", "_c", "_d"]


def snake(side):
    rows = [[i * side + j for j in range(side)] for i in range(side)]
    return sum((row[::-1] if i % 2 else row for i, row in enumerate(rows)), [])


def columns(order, side):
    """The same order with rows and columns exchanged."""
    return [t % side * side + t // side for t in order]


def orders(names, side, class_token):
    """For each name the tokens in the order in which they are read."""
    raster = list(range(side * side + class_token))
    made = {"raster": raster}
    if not class_token:
        made["snake"] = snake(side)
        made["column-snake"] = columns(snake(side), side)
    made |= {f"{name}-reversed": order[::-1] for name, order in made.items()}
    return torch.tensor([made[name] for name in names])


@dataclass
class Pruning:
    """What is dropped after which blocks (counted from 1), and what dropping means.

    mode "gather": the blocks after read the kept tokens as if there had been no others. mode
    "decay-default": for each dropped token the state decays by the step softplus(dt bias), that of
    an input of zeros.

    released: score, places and class token as the released code has them: the score of token i is
    the plain sum of what the last order gave for its i-th token, after the gate, and the class token
    moves to the middle of the kept ones. Otherwise the score is the sum of max(0, y) over the
    channels of the averaged, gated output of the token itself, and the class token stays where it
    is among the others.
    """

    after: tuple = (1, 3, 4)
    ratio: float = 0.8
    mode: str = "gather"
    released: bool = False


def kept_count(tokens, ratio):
    """Tokens, of which one is the class token, that are kept of so many."""
    patches = math.ceil(ratio * (tokens - 1))
    return patches + 1 - patches % 2


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        d, n, r = config["embed_dim"], config["d_state"], config["dt_rank"]
        e, k = config["expand"] * d, len(config["scan_orders"])
        self.eps = config["rms_norm_eps"]
        self.e, self.n, self.r, self.k, self.taps = e, n, r, k, config["d_conv"]
        self.norm = nn.Parameter(torch.ones(d))
        self.in_proj = nn.Parameter(torch.randn(2 * e, d) * d**-0.5 * 0.6)
        self.conv = nn.Parameter((torch.rand(k, e, self.taps) * 2 - 1) * self.taps**-0.5)
        self.conv_bias = nn.Parameter((torch.rand(k, e) * 2 - 1) * self.taps**-0.5)
        self.x_proj = nn.Parameter(torch.randn(k, r + 2 * n, e) * e**-0.5 * 0.6)
        self.dt_proj = nn.Parameter((torch.rand(k, e, r) * 2 - 1) * r**-0.5)
        dt = torch.exp(torch.rand(k, e) * math.log(100) + math.log(1e-3))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.a_log = nn.Parameter(torch.log(torch.arange(1.0, n + 1)).expand(k, e, n).clone())
        self.skip = nn.Parameter(torch.ones(k, e))
        self.out_proj = nn.Parameter(torch.randn(d, e) * e**-0.5 * 0.25)

    def tensors(self):
        """ViM's names of the weights."""
        named = {"norm.weight": self.norm, "mixer.in_proj.weight": self.in_proj}
        for i, suffix in enumerate(SUFFIXES[: self.k]):
            named |= {
                f"mixer.conv1d{suffix}.weight": self.conv[i].unsqueeze(1),
                f"mixer.conv1d{suffix}.bias": self.conv_bias[i],
                f"mixer.x_proj{suffix}.weight": self.x_proj[i],
                f"mixer.dt_proj{suffix}.weight": self.dt_proj[i],
                f"mixer.dt_proj{suffix}.bias": self.dt_bias[i],
                f"mixer.A{suffix}_log": self.a_log[i],
                f"mixer.D{suffix}": self.skip[i],
            }
        return named | {"mixer.out_proj.weight": self.out_proj}

    def forward(self, x, order, gaps, scan):
        """x [B, T, D]; order [B, K, T]: which token of x each order reads when; gaps [B, K, T]:
        how many dropped tokens stood before it, or None. Gives the block's output and what each
        order read, gated, in its own order [K, B, T, E]."""
        b, t, _ = x.shape
        e, n, k = self.e, self.n, self.k
        u, z = (rms_norm(x, self.norm, self.eps) @ self.in_proj.T).split(e, -1)
        index = order.transpose(0, 1).unsqueeze(-1).expand(k, b, t, e)
        u = u.expand(k, b, t, e).gather(2, index)
        u = u.permute(1, 0, 3, 2).reshape(b, k * e, t)
        u = F.pad(u, (self.taps - 1, 0))
        u = F.conv1d(u, self.conv.reshape(k * e, 1, -1), self.conv_bias.flatten(), groups=k * e)
        u = F.silu(u).reshape(b, k, e, t).permute(1, 0, 3, 2).reshape(k, b * t, e)
        low, b_c = torch.bmm(u, self.x_proj.transpose(1, 2)).split([self.r, 2 * n], -1)
        dt = F.softplus(torch.bmm(low, self.dt_proj.transpose(1, 2)) + self.dt_bias.unsqueeze(1))
        steps = dt
        if gaps is not None:
            missed = gaps.transpose(0, 1).reshape(k, b * t, 1)
            steps = dt + missed * F.softplus(self.dt_bias).unsqueeze(1)
        rates = -self.a_log.exp().unsqueeze(1).expand(k, b, e, n)
        sequences = k * b
        y = scan(
            steps.reshape(sequences, t, e),
            (dt * u).reshape(sequences, t, e),
            rates.reshape(sequences, e, n),
            b_c[..., :n].reshape(sequences, t, n),
            b_c[..., n:].reshape(sequences, t, n),
        )
        y = y.reshape(k, b, t, e) + self.skip[:, None, None] * u.reshape(k, b, t, e)
        gate = F.silu(z)
        in_order = y * gate.expand(k, b, t, e).gather(2, index)
        back = torch.zeros_like(in_order).scatter(2, index, in_order)
        average = back.mean(0)
        return average @ self.out_proj.T, in_order, average


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


class Backbone(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        d, p = config["embed_dim"], config["patch_size"]
        self.side = config["img_size"] // p
        self.has_class = config["class_token"] == "middle"
        tokens = self.side**2 + self.has_class
        self.middle = self.side**2 // 2
        self.patch = nn.Parameter(torch.randn(d, p * p) / p)
        self.patch_bias = nn.Parameter(torch.zeros(d))
        self.cls = nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.places = nn.Parameter(torch.randn(1, tokens, d) * 0.02)
        self.layers = nn.ModuleList(Block(config) for _ in range(config["depth"]))
        self.norm = nn.Parameter(torch.ones(d))
        self.head = nn.Parameter(torch.zeros(config["num_classes"], d))
        self.head_bias = nn.Parameter(torch.zeros(config["num_classes"]))
        order = orders(config["scan_orders"], self.side, self.has_class)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("rank", order.argsort(-1), persistent=False)
        self.scan = selective_scan.Plain.apply

    def tensors(self):
        d, p = self.config["embed_dim"], self.config["patch_size"]
        named = {
            "patch_embed.proj.weight": self.patch.reshape(d, 1, p, p),
            "patch_embed.proj.bias": self.patch_bias,
            "pos_embed": self.places,
        }
        if self.has_class:
            named["cls_token"] = self.cls
        for i, layer in enumerate(self.layers):
            named |= {f"layers.{i}.{name}": w for name, w in layer.tensors().items()}
        return named | {
            "norm_f.weight": self.norm,
            "head.weight": self.head,
            "head.bias": self.head_bias,
        }

    def load(self, tensors):
        with torch.no_grad():
            for name, weight in self.tensors().items():
                weight.copy_(tensors[name])

    def forward(self, images, pruning=None, kept=None):
        """images u8 [B, side, side] to logits [B, classes]; `kept`, if it is a list, takes the
        places of the tokens that each pruning kept, [B, K], in the order of the tokens."""
        b, s, p = len(images), self.side, self.config["patch_size"]
        # Grey 0 to 255 becomes -1 to 1.
        x = images.float() / 127.5 - 1
        x = x.reshape(b, s, p, s, p).transpose(2, 3).reshape(b, s * s, p * p)
        x = x @ self.patch.T + self.patch_bias
        middle = self.middle
        if self.has_class:
            x = torch.cat((x[:, :middle], self.cls.expand(b, -1, -1), x[:, middle:]), 1)
        x = x + self.places
        places = torch.arange(x.shape[1], device=x.device).expand(b, -1)
        order = self.order.expand(b, -1, -1)
        gaps = None
        for i, layer in enumerate(self.layers):
            added, in_order, average = layer(x, order, gaps, self.scan)
            x = x + added
            if pruning is None or i + 1 not in pruning.after:
                continue
            keep = self.choose(pruning, in_order, average, middle)
            x = x.gather(1, keep.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
            places = places.gather(1, keep)
            if kept is not None:
                kept.append(places)
            if self.has_class:
                is_class = places == self.middle_place
                middle = is_class.float().argmax(1)
            ranks = self.rank[:, places].transpose(0, 1)  # [B, K, T]
            if pruning.released:
                # Tokens in the order of the list, whatever their places were.
                order = torch.arange(x.shape[1], device=x.device).expand(b, 1, -1)
                order = torch.cat((order, order.flip(-1)), 1)
            else:
                order = ranks.argsort(-1)
            if pruning.mode == "decay-default":
                ranks = ranks.gather(2, order)
                first = torch.zeros_like(ranks[..., :1])
                gaps = torch.cat((first, ranks.diff(dim=-1) - 1), -1).to(x.dtype)
        x = rms_norm(x, self.norm, self.config["rms_norm_eps"])
        if self.has_class:
            x = x[torch.arange(b, device=x.device), middle]
        else:
            x = x.mean(1)
        return x @ self.head.T + self.head_bias

    @property
    def middle_place(self):
        return self.side**2 // 2

    def choose(self, pruning, in_order, average, middle):
        """The kept tokens [B, K], in order, the class token among them."""
        b, t = average.shape[:2]
        if pruning.released:
            score = in_order[-1].sum(-1)
        else:
            score = average.clamp(min=0).sum(-1)
        if not self.has_class:
            count = math.ceil(pruning.ratio * t)
            return score.sort(dim=-1, descending=True, stable=True).indices[:, :count].sort(-1).values
        count = kept_count(t, pruning.ratio) - 1
        class_at = torch.as_tensor(middle, device=score.device).expand(b).unsqueeze(-1)
        score = score.scatter(1, class_at, -torch.inf)
        patches = score.sort(dim=-1, descending=True, stable=True).indices[:, :count]
        if pruning.released:
            patches = patches.sort(-1).values
            half = count // 2
            return torch.cat((patches[:, :half], class_at, patches[:, half:]), 1)
        return torch.cat((patches, class_at), 1).sort(-1).values
