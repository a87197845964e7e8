"""Images of a digit on a background, made with integers alone, so that any program that follows
the same steps has the same pixels (crates/linearium/src/image/scenes.rs does).

A scene is 112x112 grey. Every choice is a draw `draw(seed, k)` of 32 bits. The background is
"empty" (one level, and noise of at most 3) or "redundant" (levels on a lattice of 28 pixels,
between them bilinear: neighbours say the same). Pieces of other digits lie about; the digit lies
over them, stretched to 48 to 72 pixels a side and sheared.
"""

import torch

SIDE = 112
CELL = 28
PIECE = 21
MASK = 0xFFFFFFFF
EMPTY, REDUNDANT = 0, 1
PIECES = 2


def mix(x):
    """32 bits in, 32 bits out; tensors of int64 (products wrap, their low half is right)."""
    x = x ^ (x >> 16)
    x = (x * 0x7FEB352D) & MASK
    x = x ^ (x >> 15)
    x = (x * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def draw(seed, k):
    return mix((mix(seed) + k * 0x9E3779B9) & MASK)


def below(seed, k, n):
    """A draw in 0..n."""
    return (draw(seed, k) * n) >> 32


def floor_div(a, b):
    return torch.div(a, b, rounding_mode="floor")


def cover(digits, u, v):
    """How far a digit covers pixels, 0 to 256: bilinear between its 8x8 values, 0 outside.
    u and v, [B, 112, 112], are columns and rows of the digit in steps of 1/256."""
    column, row = u >> 8, v >> 8
    fu, fv = u & 255, v & 255
    flat = digits.reshape(len(digits), 64)
    sum_ = torch.zeros_like(u)
    for dy, wy in ((0, 256 - fv), (1, fv)):
        for dx, wx in ((0, 256 - fu), (1, fu)):
            r, c = row + dy, column + dx
            inside = (r >= 0) & (r < 8) & (c >= 0) & (c < 8)
            at = (r.clamp(0, 7) * 8 + c.clamp(0, 7)).reshape(len(digits), -1)
            value = flat.gather(1, at.long()).reshape(u.shape).to(u.dtype)
            sum_ += torch.where(inside, wx * wy * value, 0)
    return sum_ >> 12


def scenes(digits, others, kinds, seeds, pieces=PIECES):
    """digits u8 [B, 8, 8]; others u8 [M, 8, 8], whose pieces lie about; kinds and seeds int64 [B].
    Gives u8 [B, 112, 112]."""
    device = seeds.device
    b = len(seeds)
    y = torch.arange(SIDE, device=device, dtype=torch.int32).reshape(1, SIDE, 1)
    x = y.reshape(1, 1, SIDE)

    def choose(k, n):
        return below(seeds, k, n).to(torch.int32).reshape(b, 1, 1)

    width, height = 48 + choose(0, 25), 48 + choose(1, 25)
    left = below(seeds, 2, SIDE + 1 - width.flatten().long()).to(torch.int32).reshape(b, 1, 1)
    top = below(seeds, 3, SIDE + 1 - height.flatten().long()).to(torch.int32).reshape(b, 1, 1)
    shear = choose(4, 769) - 384
    ink = 200 + choose(5, 56)
    # The background.
    level = 16 + choose(6, 17)
    pixel = (y * SIDE + x).long()
    noise = below(seeds.reshape(b, 1, 1), 4096 + pixel, 4).to(torch.int32)
    lattice = SIDE // CELL + 1
    points = below(seeds.reshape(b, 1), 64 + torch.arange(lattice**2, device=device), 141)
    points = points.to(torch.int32).reshape(b, lattice, lattice)
    smooth = torch.zeros(b, SIDE, SIDE, device=device, dtype=torch.int32)
    at_y, at_x = (y // CELL).flatten().long(), (x // CELL).flatten().long()
    fy, fx = y % CELL, x % CELL
    for dy, wy in ((0, CELL - fy), (1, fy)):
        for dx, wx in ((0, CELL - fx), (1, fx)):
            smooth += wy * wx * points[:, at_y + dy][:, :, at_x + dx]
    ground = torch.where(
        kinds.reshape(b, 1, 1) == EMPTY, level + noise, smooth // (CELL * CELL)
    )
    # What covers it.
    v = floor_div((2 * (y - top) + 1) * 1024, height) - 128
    slant = floor_div(shear * (2 * (y - top) + 1 - height), 2 * height)
    u = floor_div((2 * (x - left) + 1) * 1024, width) - 128 + slant
    covered = cover(digits, u, v.expand_as(u))
    for piece in range(pieces):
        k = 16 + 8 * piece
        other = others[below(seeds, k, len(others))]
        px, py = choose(k + 1, SIDE + 1 - PIECE), choose(k + 2, SIDE + 1 - PIECE)
        inside = (x >= px) & (x < px + PIECE) & (y >= py) & (y < py + PIECE)
        u = floor_div((2 * (x - px) + 1) * 384, PIECE) - 128 + 256 * choose(k + 3, 6)
        v = floor_div((2 * (y - py) + 1) * 384, PIECE) - 128 + 256 * choose(k + 4, 6)
        u, v = torch.broadcast_tensors(u, v)
        covered = torch.maximum(covered, torch.where(inside, cover(other, u, v), 0))
    return (ground + (((ink - ground) * covered) >> 8)).to(torch.uint8)


def test_set(images, labels):
    """The fixed test set: digit n of these on background n mod 2, seed n."""
    n = torch.arange(len(images), device=images.device)
    return scenes(images, images, n % 2, n), labels
