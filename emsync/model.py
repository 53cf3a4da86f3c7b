"""The event transformer: the paper's equation (Section III-B2).

    X = [FFN_v(valence), FFN_a(arousal), Embedding(events)]  +  [lanes' encodings, W_pe]

The first concatenation is along the sequence: two mood positions come before the events. They are written into `ids`
as VALENCE_SLOT and AROUSAL_SLOT, so that every position is treated alike, in training and in cached decoding. The
second is along the features, each of half width: lanes (boundary offset, mood at the cursor, time to end) and learned
positions. With rotary attention positions live in the attention, and the lanes have the full width.

Conventions: B batch, T time, C cached time, H heads, D head width, N lanes. NaN in a lane or in the mood means "not
given" and is replaced by a learned vector. Velocities are 0 where an event has none, else level + 1: an event is
conditioned on the velocities of the notes before it, and an ON event's own velocity is drawn from its hidden state.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync import vocabulary as v
from emsync.attention import Attention
from emsync.conditions import COPY_LANES, LANE_NAMES, LANES, MAX_OFFSET_S, Lane
from emsync.copying import N_STRENGTHS
from emsync.model_config import ModelConfig

VALENCE_SLOT, AROUSAL_SLOT = v.VALENCE_SLOT, v.AROUSAL_SLOT
MOOD_POSITIONS = 2


# How offset lanes are looked up: every TIMESHIFT has its own entry up to one second, then coarser.
_FINE_S, _COARSE_S = v.MAX_SHIFT_STEPS * v.STEP_S, 0.125


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
        encoded = torch.stack(
            [
                net(lanes, self.head.weight) if isinstance(net, CopyLane) else net(lanes[..., i])
                for i, net in enumerate(self.lanes)
            ]
        ).sum(0)  # (B, T, lane_width)
        if self.config.attention == "relative":
            places = self.positions[positions].to(encoded.dtype).expand(*encoded.shape[:2], -1)
            if self.config.unknown_offsets == "positions":
                encoded = torch.where(torch.isnan(lanes[..., :1]), places, encoded)
            encoded = torch.cat([encoded, places], dim=-1)
        return x + encoded

    def with_all_lanes(self) -> EventTransformer:
        """A model that gives the same logits and has every lane of this version: new lanes add zero.

        A model of the paper's equation stays as it is.
        """
        if self.config.lanes == LANE_NAMES or self.config.unknown_offsets == "positions":
            return self
        grown = EventTransformer(replace(self.config, lanes=LANE_NAMES)).to(next(self.parameters()).device)
        grown.load_state_dict(self.state_dict(), strict=False)
        for lane in list(grown.lanes)[len(self.config.lanes) :]:
            if isinstance(lane, CopyLane):
                lane.silence()
                continue
            for name, parameter in lane.named_parameters():
                if not name.startswith("net.0."):  # a net of zeros alone would never learn: its last layer is enough
                    nn.init.zeros_(parameter)
        return grown.train(self.training)

    def read_out(self, states: Tensor, lanes: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (B, T, width), normalised, and lanes (B, T, N) -> logits and velocity logits."""
        logits = self.head(states)
        copy = self.copy_lane
        if copy is not None:
            logits = logits + copy.bonus(states, lanes).to(logits.dtype)
        return logits, self.velocity_head(states)

    def forward(self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the next event (B, T, vocabulary) and of an ON's own velocity (B, T, 16), at every position.

        `velocities[:, t]` is what position t may know: the velocity of the event *before* it (`shifted_velocities`).
        """
        logits, velocity_logits, _ = self.with_states(ids, velocities, lanes, mood)
        return logits, velocity_logits

    def with_states(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the hidden states (B, T, width) that the logits are read from."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.embed(ids, velocities, lanes, mood, positions)
        for block in self.blocks:
            x = block(x, positions)
        states = self.norm(x)
        return *self.read_out(states, lanes), states

    def step(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, positions: Tensor, cache: Cache
    ) -> tuple[Tensor, Tensor, Tensor, Cache]:
        """T more positions behind a cache: what `with_states` gives for them, and their keys and values.

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
        states = self.norm(x)
        return *self.read_out(states, lanes), states, new


#: A layer's keys and values (B, H, C, D), and the position in each slot (C,).
Cache = list[tuple[Tensor, Tensor, Tensor]]


def shifted_velocities(velocities: Tensor) -> Tensor:
    """Each position gets the velocity of the event before it: (B, T) -> (B, T)."""
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
