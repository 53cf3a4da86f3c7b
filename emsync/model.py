"""The event transformer: the paper's equation (Section III-B2), in one file.

    X = [FFN_v(valence), FFN_a(arousal), Embedding(events)]  +  [lanes' encodings, W_pe]

The first concatenation is along the sequence: two mood positions come before the events. They are written into `ids`
as VALENCE_SLOT and AROUSAL_SLOT, so that every position is treated alike, in training and in cached decoding. The
second is along the features, each of half width: lanes (boundary offset, mood at the cursor, time to end) and learned
positions. With rotary attention positions live in the attention, and the lanes have the full width.

Conventions: B batch, T time, C cached time, H heads, D head width, N lanes. NaN in a lane or in the mood means "not
given" and is replaced by a learned vector. Velocities are 0 where an event has none, else level + 1: an event is told
the velocities of the notes before it, and an ON event's own velocity is drawn from its hidden state.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, LANE_NAMES, LANES, MAX_OFFSET_S, Lane
from emsync.copying import N_STRENGTHS
from emsync.errors import ModelError

VALENCE_SLOT, AROUSAL_SLOT = v.VALENCE_SLOT, v.AROUSAL_SLOT
MOOD_POSITIONS = 2
#: Models from before `metre` have these many lanes, and take no notice of the others.
FEWEST_LANES = 4

#: Relative attention takes this many queries at a time: what lies ahead of them is not computed, 40 % at 1216.
RELATIVE_CHUNK = 256

# How offset lanes are looked up: every TIMESHIFT has its own entry up to one second, then coarser.
_FINE_S, _COARSE_S = v.MAX_SHIFT_STEPS * v.STEP_S, 0.125


@dataclass(frozen=True)
class ModelConfig:
    """The model's shape. Checked when made; travels with the weights.

    attention: "relative" (Music Transformer's relative global attention) or "rotary".
    local_block: with rotary, layers other than every `global_every`-th attend only within their own and the previous
    block of this many positions; 0 makes every layer global.
    lane_encoding: "scalar" (the paper's FFN of nearness), "fourier" (multi-scale features of it) or "lookup" (an
    embedding of the offset itself, exact up to the longest TIMESHIFT).
    lanes: those of `conditions.LANES` that the model listens to: all, or the first ones.
    """

    n_layers: int = 11
    n_heads: int = 8
    width: int = 512
    ff_width: int = 2048
    context: int = 1216
    attention: Literal["relative", "rotary"] = "relative"
    local_block: int = 0
    global_every: int = 4
    activation: Literal["gelu", "relu2"] = "gelu"
    norm: Literal["layer", "rms"] = "layer"
    qk_norm: bool = False
    tied: bool = False
    lane_encoding: Literal["scalar", "fourier", "lookup"] = "scalar"
    lanes: tuple[str, ...] = LANE_NAMES
    knows_mood: bool = True
    vocabulary_size: int = v.SIZE

    def __post_init__(self) -> None:
        if not isinstance(self.lanes, (list, tuple)):
            raise ModelError(f"model: lanes are {self.lanes!r}; give a list of names, or leave them out")
        object.__setattr__(self, "lanes", tuple(self.lanes))
        for name in ("n_layers", "n_heads", "width", "ff_width", "context", "global_every"):
            if not (type(getattr(self, name)) is int and getattr(self, name) > 0):
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; it must be a whole number above 0")
        if self.width % (2 * self.n_heads):
            raise ModelError(f"model: width {self.width} must be a multiple of twice n_heads ({self.n_heads})")
        if len(self.lanes) < FEWEST_LANES or self.lanes != LANE_NAMES[: len(self.lanes)]:
            raise ModelError(f"model: lanes {self.lanes} are not those of this version; train it again")
        if self.vocabulary_size != v.SIZE:
            raise ModelError(
                f"model: vocabulary_size is {self.vocabulary_size!r}, this emsync has {v.SIZE}; leave it out"
            )
        if type(self.local_block) is not int or self.local_block < 0:
            raise ModelError(f"model: local_block is {self.local_block!r}; give a whole number, 0 for none")
        for name in ("qk_norm", "tied", "knows_mood"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; it must be true or false")
        if self.attention == "relative" and self.local_block:
            raise ModelError("model: local_block goes with rotary attention; set it to 0")
        if self.local_block and self.context % self.local_block:
            raise ModelError(f"model: context {self.context} must be a multiple of local_block {self.local_block}")
        allowed = {
            "attention": ("relative", "rotary"), "activation": ("gelu", "relu2"), "norm": ("layer", "rms"),
            "lane_encoding": ("scalar", "fourier", "lookup"),
        }  # fmt: skip
        for name, choices in allowed.items():
            if getattr(self, name) not in choices:
                raise ModelError(f"model: {name} is {getattr(self, name)!r}; choose one of {', '.join(choices)}")

    @property
    def head_width(self) -> int:
        return self.width // self.n_heads

    @property
    def lane_width(self) -> int:
        """Width of the lanes' encodings: half beside learned positions, whole with rotary ones."""
        return self.width // 2 if self.attention == "relative" else self.width

    def is_local(self, layer: int) -> bool:
        return bool(self.local_block) and (layer + 1) % self.global_every != 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"lanes": list(self.lanes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            raise ModelError(f"model: unknown setting {sorted(unknown)[0]!r}; was it made by a newer emsync?")
        return cls(**values)


def _norm(config: ModelConfig, width: int) -> nn.Module:
    return nn.LayerNorm(width) if config.norm == "layer" else nn.RMSNorm(width, eps=1e-6)


class OffsetLane(nn.Module):
    """A time still to go (s, NaN = not given) to a vector: (B, T) -> (B, T, width)."""

    def __init__(self, width: int, cap_s: float, encoding: str) -> None:
        super().__init__()
        self.cap_s, self.encoding = cap_s, encoding
        self.absent = nn.Parameter(torch.zeros(width))
        if encoding == "lookup":
            self.n_fine = v.MAX_SHIFT_STEPS + 1
            self.n_entries = self.n_fine + math.ceil((cap_s - _FINE_S) / _COARSE_S) + 1
            self.table = nn.Embedding(self.n_entries, width)
        else:
            n_features = 1 if encoding == "scalar" else 1 + 2 * 9
            self.net = nn.Sequential(nn.Linear(n_features, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, offset_s: Tensor) -> Tensor:
        given = ~torch.isnan(offset_s)
        offset = torch.where(given, offset_s, torch.zeros_like(offset_s)).clamp(0.0, self.cap_s)
        if self.encoding == "lookup":
            fine = (offset / v.STEP_S).round()
            coarse = self.n_fine + ((offset - _FINE_S) / _COARSE_S).floor()
            index = torch.where(offset <= _FINE_S + v.STEP_S / 2, fine.clamp(max=self.n_fine - 1.0), coarse)
            out = self.table(index.long().clamp(0, self.n_entries - 1))
        else:
            nearness = ((self.cap_s - offset) / self.cap_s).unsqueeze(-1)  # (B, T, 1)
            if self.encoding == "fourier":
                scale = 2 * math.pi * 2.0 ** torch.arange(9, device=offset.device, dtype=offset.dtype) / 16
                phase = offset.unsqueeze(-1) * scale  # periods from 16 s to 1/16 s
                nearness = torch.cat([nearness, phase.sin(), phase.cos()], dim=-1)
            out = self.net(nearness)
        return torch.where(given.unsqueeze(-1), out, self.absent.to(out.dtype))


class LevelLane(nn.Module):
    """A level in [-1, 1] (NaN = not given) to a vector: (...) -> (..., width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(width))
        self.net = nn.Sequential(nn.Linear(1, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, level: Tensor) -> Tensor:
        given = ~torch.isnan(level)
        out = self.net(torch.where(given, level, torch.zeros_like(level)).unsqueeze(-1))
        return torch.where(given.unsqueeze(-1), out, self.absent.to(out.dtype))


class PlaceLane(nn.Module):
    """A whole number from 0 to n - 1 (NaN = not given) to a vector: (B, T) -> (B, T, width)."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.zeros(width))
        self.table = nn.Embedding(n, width)

    def forward(self, place: Tensor) -> Tensor:
        given = ~torch.isnan(place)
        index = torch.where(given, place, torch.zeros_like(place)).round().long()
        out = self.table(index.clamp(0, self.table.num_embeddings - 1))
        return torch.where(given.unsqueeze(-1), out, self.absent.to(out.dtype))


class CopyLane(nn.Module):
    """The follower of the longest match (`emsync.copying`), at the input and at the output.

    At the input, the follower's row of the output matrix is added to the event, through a projection, times a gate that
    depends on the strength of the match. At the output, the follower's logit gets a bonus that depends on the strength
    and on the hidden state: a pointer (Merity et al. 2017). A follower or strength of NaN adds nothing.
    """

    #: Gates and bonuses are stored in these units, so that they learn as fast as matrices of many columns do.
    UNIT = 16.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.project = nn.Linear(config.width, config.lane_width, bias=False)
        self.gate = nn.Embedding(N_STRENGTHS, 1)
        self.bias = nn.Embedding(N_STRENGTHS, 1)
        self.query = nn.Embedding(N_STRENGTHS, config.width)

    def silence(self) -> None:
        """Make it add nothing yet, but able to learn."""
        nn.init.eye_(self.project.weight)
        for table in (self.gate, self.bias, self.query):
            nn.init.zeros_(table.weight)

    @staticmethod
    def read(lanes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lanes (B, T, N) -> follower (B, T) int64, strength (B, T) int64, and whether there is a match (B, T)."""
        follower, strength = lanes[..., COPY_LANES].unbind(-1)
        matched = ~torch.isnan(follower) & (strength > 0.5)
        follower = torch.where(matched, follower, torch.zeros_like(follower)).round().long().clamp(0, v.SIZE - 1)
        strength = torch.where(matched, strength, torch.zeros_like(strength)).round().long().clamp(0, N_STRENGTHS - 1)
        return follower, strength, matched

    def forward(self, lanes: Tensor, head: Tensor) -> Tensor:
        """Lanes (B, T, N) and the output matrix (vocabulary, width) -> (B, T, lane_width)."""
        follower, strength, matched = self.read(lanes)
        out = self.project(F.embedding(follower, head)) * (self.UNIT * self.gate(strength))
        return torch.where(matched.unsqueeze(-1), out, torch.zeros_like(out))

    def bonus(self, x: Tensor, lanes: Tensor) -> Tensor:
        """Normalised hidden states (B, T, width) and lanes (B, T, N) -> what is added to logits (B, T, vocabulary)."""
        follower, strength, matched = self.read(lanes)
        added = self.UNIT * self.bias(strength).squeeze(-1) + (self.query(strength) * x).sum(-1)  # (B, T)
        added = torch.where(matched, added, torch.zeros_like(added)).unsqueeze(-1)
        here = follower.unsqueeze(-1) == torch.arange(v.SIZE, device=x.device)
        return torch.where(here, added, torch.zeros_like(added))


def _lane(lane: Lane, config: ModelConfig) -> nn.Module:
    if lane.kind == "event":
        return CopyLane(config)
    if lane.kind == "offset":
        return OffsetLane(config.lane_width, lane.high, config.lane_encoding)
    if lane.kind == "place":
        return PlaceLane(config.lane_width, round(lane.high) + 1)
    return LevelLane(config.lane_width)


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
        # Three matrices, not one: Muon orthogonalises each for itself.
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
        return torch.cat(halves, dim=3).reshape(b, h * n, 2 * block, d)  # a head's pairs are as good as heads

    out = F.scaled_dot_product_attention(pairs(q), pairs(k), pairs(value), is_causal=True)
    out = out.reshape(b, h, n, 2 * block, d)
    first, rest = out[:, :, 0, :block], out[:, :, :, block:].reshape(b, h, n * block, d)
    return torch.cat([first, rest], dim=2)[:, :, :t]


class FeedForward(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.squared = config.activation == "relu2"
        self.expand = nn.Linear(config.width, config.ff_width, bias=False)
        self.contract = nn.Linear(config.ff_width, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.expand(x)
        return self.contract(x.relu().square() if self.squared else F.gelu(x))


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm, self.feed_norm = _norm(config, config.width), _norm(config, config.width)
        self.attention, self.feed = Attention(config, layer), FeedForward(config)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), positions)
        return x + self.feed(self.feed_norm(x))


class EventTransformer(nn.Module):
    """The whole model. `forward` for training, `step` for decoding with a cache; the two agree."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.events = nn.Embedding(config.vocabulary_size, config.width)
        self.velocity = nn.Embedding(v.VELOCITY_LEVELS + 1, config.width)
        self.mood = nn.ModuleList(LevelLane(config.width) for _ in range(MOOD_POSITIONS))
        self.lanes = nn.ModuleList(_lane(lane, config) for lane in LANES[: len(config.lanes)])
        if config.attention == "relative":
            self.positions = nn.Parameter(torch.randn(config.context, config.width - config.lane_width) * 0.02)
        blocks = [Block(config, layer) for layer in range(config.n_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = _norm(config, config.width)
        self.head = nn.Linear(config.width, config.vocabulary_size, bias=False)
        self.velocity_head = nn.Linear(config.width, v.VELOCITY_LEVELS, bias=True)
        self.apply(self._initialise)
        for block in blocks:
            nn.init.zeros_(block.attention.out.weight)
            nn.init.zeros_(block.feed.contract.weight)
        for lane in self.lanes:
            if isinstance(lane, CopyLane):
                lane.silence()
        if config.tied:
            self.head.weight = self.events.weight

    @property
    def copy_lane(self) -> CopyLane | None:
        """The copy lane, None in a model from before it."""
        return next((lane for lane in self.lanes if isinstance(lane, CopyLane)), None)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.4 / math.sqrt(module.in_features))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def embed(self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, positions: Tensor) -> Tensor:
        """The paper's X: ids, velocities (B, T); lanes (B, T, N); mood (B, 2); positions (T,) -> (B, T, width)."""
        x = self.events(ids.clamp(max=self.config.vocabulary_size - 1)) + self.velocity(velocities)
        for slot, net in zip((VALENCE_SLOT, AROUSAL_SLOT), self.mood, strict=True):
            felt = net(mood[:, slot - VALENCE_SLOT]).unsqueeze(1)  # (B, 1, width)
            x = torch.where((ids == slot).unsqueeze(-1), felt.to(x.dtype), x)
        told = torch.stack(
            [
                net(lanes, self.head.weight) if isinstance(net, CopyLane) else net(lanes[..., i])
                for i, net in enumerate(self.lanes)
            ]
        ).sum(0)  # (B, T, lane_width)
        if self.config.attention == "relative":
            told = torch.cat([told, self.positions[positions].to(told.dtype).expand(*told.shape[:2], -1)], dim=-1)
        return x + told

    def with_all_lanes(self) -> EventTransformer:
        """A model that gives the same logits and has every lane of this version: what was not there is told as zero."""
        if self.config.lanes == LANE_NAMES:
            return self
        grown = EventTransformer(replace(self.config, lanes=LANE_NAMES)).to(next(self.parameters()).device)
        grown.load_state_dict(self.state_dict(), strict=False)
        for lane in list(grown.lanes)[len(self.config.lanes) :]:
            if isinstance(lane, CopyLane):
                lane.silence()
                continue
            for parameter in lane.parameters():
                nn.init.zeros_(parameter)
        return grown.train(self.training)

    def read_out(self, x: Tensor, lanes: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(x)
        logits = self.head(x)
        copy = self.copy_lane
        if copy is not None:
            logits = logits + copy.bonus(x, lanes).to(logits.dtype)
        return logits, self.velocity_head(x)

    def forward(self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next event (B, T, vocabulary) and of an ON's own velocity (B, T, 16), at every position.

        `velocities[:, t]` is what position t may know: the velocity of the event *before* it (`shifted_velocities`).
        """
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed(ids, velocities, lanes, mood, positions)
        for block in self.blocks:
            x = block(x, positions)
        return self.read_out(x, lanes)

    def step(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, positions: Tensor, cache: Cache
    ) -> tuple[Tensor, Tensor, Cache]:
        """T more positions behind a cache: the same logits as `forward` gives for them, and their keys and values.

        cache: for each layer its keys and values (B, H, C, D) and the position in each slot (C,), -1 for an empty one.
        The cache returned holds the new keys and values only, (B, H, T, D) a layer: where they go is the caller's.
        """
        x = self.embed(ids, velocities, lanes, mood, positions)
        new: Cache = []
        blocks = cast("list[Block]", self.blocks)
        for block, (past_k, past_v, past_positions) in zip(blocks, cache, strict=True):
            y, k, value = block.attention.cached(block.attention_norm(x), past_k, past_v, past_positions, positions)
            x = x + y
            x = x + block.feed(block.feed_norm(x))
            new.append((k, value, positions))
        logits, velocity_logits = self.read_out(x, lanes)
        return logits, velocity_logits, new


#: A layer's keys and values (B, H, C, D), and the position in each slot (C,).
Cache = list[tuple[Tensor, Tensor, Tensor]]


def shifted_velocities(velocities: Tensor) -> Tensor:
    """Each position is told the velocity of the event before it: (B, T) -> (B, T)."""
    return F.pad(velocities[:, :-1], (1, 0))


__all__ = [
    "AROUSAL_SLOT",
    "MAX_OFFSET_S",
    "MOOD_POSITIONS",
    "VALENCE_SLOT",
    "Cache",
    "EventTransformer",
    "ModelConfig",
    "shifted_velocities",
]
