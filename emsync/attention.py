"""Self-attention of the network: rotary or relative, global or within blocks, for training and with a cache.

Conventions: B batch, T time, C cached time, H heads, D head width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync.model_config import ModelConfig

#: Relative attention takes this many queries at a time: positions ahead of them are not computed, 40 % at 1216.
RELATIVE_CHUNK = 256


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    """Rotary position embedding (RoFormer): x (B, H, T, D), positions (T,) -> (B, H, T, D)."""
    half = x.shape[-1] // 2
    frequency = 10000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = positions.to(torch.float32).unsqueeze(-1) * frequency  # (T, D/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def skew(scores: Tensor) -> Tensor:
    """Music Transformer's skewing: (B, H, C, T) scores per distance, the last column distance 0, to scores per key.

    Row r is the query at position T - C + r; its entry j for j <= T - C + r becomes the score of distance
    T - C + r - j. Entries ahead of a query mean nothing.
    """
    b, h, c, t = scores.shape
    return F.pad(scores, (1, 0)).reshape(b, h, c * (t + 1))[..., c:].reshape(b, h, c, t)


def relative_attention(q: Tensor, k: Tensor, value: Tensor, distance: Tensor, chunk: int = RELATIVE_CHUNK) -> Tensor:
    """Softmax over j <= i of (q_i k_j + q_i E[i - j]) / sqrt(D) (Music Transformer, equation 3).

    q, k, value (B, H, T, D), distance (at least T, D) -> (B, H, T, D). `chunk` queries at a time, each chunk against no
    key behind it. On a GPU through SDPA with a bias, which is the memory-efficient kernel; on a CPU SDPA with a bias
    takes twice as long as the plain products.
    """
    length, width = q.shape[-2:]
    scale = 1 / math.sqrt(width)
    out = []
    for first in range(0, length, chunk):
        stop = min(first + chunk, length)
        rows = q[:, :, first:stop]
        bias = skew(rows @ distance[:stop].flip(0).transpose(0, 1)) * scale  # (B, H, C, stop)
        ahead = torch.ones(stop - first, stop, dtype=torch.bool, device=q.device).triu(1 + first)
        bias = bias.masked_fill(ahead, float("-inf")).to(q.dtype)
        keys, values = k[:, :, :stop], value[:, :, :stop]
        if on_gpu(q):
            out.append(F.scaled_dot_product_attention(rows, keys, values, attn_mask=bias))
        else:
            out.append((rows @ keys.transpose(-1, -2) * scale + bias).softmax(-1) @ values)
    return torch.cat(out, dim=2)


def on_gpu(x: Tensor) -> bool:
    """Whether attention takes the kernels that GPUs want."""
    return x.is_cuda


class Attention(nn.Module):
    """Causal self-attention, with three ways through: whole sequence, blocks of it, and one with a cache."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config, self.local = config, config.is_local(layer)
        # Three matrices, not one: Muon orthogonalises each separately.
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key = nn.Linear(config.width, config.width, bias=False)
        self.value = nn.Linear(config.width, config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        if config.attention == "relative":
            # Row d is distance d; shared by the heads.
            self.distance = nn.Parameter(torch.randn(config.context, config.head_width) * 0.02)

    def project(self, x: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, T, width) -> queries, keys, values (B, H, T, D); with rotary, already rotated."""
        b, t, _ = x.shape
        q, k, value = (
            f(x).view(b, t, self.config.n_heads, self.config.head_width).transpose(1, 2)
            for f in (self.query, self.key, self.value)
        )
        if self.config.qk_norm:
            q, k = (y * torch.rsqrt(y.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(y.dtype) for y in (q, k))
        if self.config.attention == "rotary":
            q, k = rotate(q, positions), rotate(k, positions)
        return q, k, value

    def merge(self, y: Tensor) -> Tensor:
        """(B, H, T, D) -> (B, T, width)."""
        b, _, t, _ = y.shape
        return self.out(y.transpose(1, 2).reshape(b, t, self.config.width))

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        q, k, value = self.project(x, positions)
        if self.local and x.shape[1] > self.config.local_block:
            attend = flash_block_attention if on_gpu(x) else block_attention
            return self.merge(attend(q, k, value, self.config.local_block))
        if self.config.attention == "relative":
            return self.merge(relative_attention(q, k, value, self.distance))
        return self.merge(F.scaled_dot_product_attention(q, k, value, is_causal=True))

    def cached(
        self, x: Tensor, past_k: Tensor, past_v: Tensor, past_positions: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from T new positions to C cached ones and to one another.

        x (B, T, width); past_k, past_v (B, H, C, D); past_positions (C,), -1 where the slot is empty, in any order;
        positions (T,). Returns the output (B, T, width) and the new keys and values (B, H, T, D).
        """
        q, k, value = self.project(x, positions)
        scale = 1 / math.sqrt(self.config.head_width)
        every = torch.cat([past_positions, positions])  # (C + T,)
        distance = positions.unsqueeze(1) - every.unsqueeze(0)  # (T, C + T)
        seen = (distance >= 0) & (every >= 0).unsqueeze(0)
        if self.local:
            block = self.config.local_block
            seen = seen & ((torch.div(positions, block, rounding_mode="floor") - 1) * block).unsqueeze(1).le(
                every.unsqueeze(0)
            )
        scores = torch.cat([q @ past_k.transpose(-1, -2), q @ k.transpose(-1, -2)], dim=-1)  # (B, H, T, C + T)
        if self.config.attention == "relative":
            by_distance = q @ self.distance.transpose(0, 1)  # (B, H, T, context)
            index = distance.clamp(0, self.config.context - 1)
            scores = scores + torch.gather(by_distance, -1, index.expand(*scores.shape))
        weights = (scores * scale).masked_fill(~seen, -1e30).softmax(-1)
        c = past_k.shape[2]
        y = weights[..., :c] @ past_v + weights[..., c:] @ value
        return self.merge(y), k, value


def block_attention(q: Tensor, k: Tensor, value: Tensor, block: int) -> Tensor:
    """Causal attention within a position's own block and the previous one, as plain batched products.

    q, k, value (B, H, T, D) -> (B, H, T, D); T may be any length.
    """
    b, h, t, d = q.shape
    pad = -t % block
    if pad:
        q, k, value = (F.pad(y, (0, 0, 0, pad)) for y in (q, k, value))
    n = (t + pad) // block
    q, k, value = (y.reshape(b * h, n, block, d) for y in (q, k, value))
    previous_k, previous_v = (F.pad(y, (0, 0, 0, 0, 1, 0))[:, :-1] for y in (k, value))
    keys = torch.cat([previous_k, k], dim=2)  # (B*H, n, 2 block, D)
    values = torch.cat([previous_v, value], dim=2)
    scores = (q @ keys.transpose(-1, -2)) * (1 / math.sqrt(d))  # (B*H, n, block, 2 block)
    at = torch.arange(block, device=q.device)
    ahead = torch.cat([torch.zeros(block, block, dtype=torch.bool, device=q.device), at > at.unsqueeze(1)], dim=1)
    before = torch.cat(
        [
            torch.arange(n, device=q.device).view(n, 1).eq(0).expand(n, block),
            torch.zeros(n, block, dtype=torch.bool, device=q.device),
        ],
        dim=1,
    )
    hidden = ahead.unsqueeze(0) | before.unsqueeze(1)  # (n, block, 2 block)
    weights = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    return (weights @ values).reshape(b, h, n * block, d)[:, :, :t]


def flash_block_attention(q: Tensor, k: Tensor, value: Tensor, block: int) -> Tensor:
    """`block_attention` through SDPA's causal kernels: what a GPU wants. T must be more than one block.

    Flash kernels take no mask but the causal one. Within two neighbouring blocks that is the right one for the second,
    and for the first where nothing is before it: every pair is attended to as a whole, and its second half kept. A
    third more than need be of what is the smaller part of a step, against the scores written to memory.
    """
    b, h, t, d = q.shape
    pad = -t % block
    n = (t + pad) // block - 1  # pairs

    def pairs(y: Tensor) -> Tensor:
        y = F.pad(y, (0, 0, 0, pad))
        halves = [part.reshape(b, h, n, block, d) for part in (y[:, :, :-block], y[:, :, block:])]
        return torch.cat(halves, dim=3).reshape(b, h * n, 2 * block, d)  # pairs of a head are treated as heads

    out = F.scaled_dot_product_attention(pairs(q), pairs(k), pairs(value), is_causal=True)
    out = out.reshape(b, h, n, 2 * block, d)
    first, rest = out[:, :, 0, :block], out[:, :, :, block:].reshape(b, h, n * block, d)
    return torch.cat([first, rest], dim=2)[:, :, :t]
