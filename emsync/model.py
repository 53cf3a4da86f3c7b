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
from emsync.conditions import CONTROL_LANES, LANE_NAMES, LANES, MAX_OFFSET_S
from emsync.errors import ModelError
from emsync.lane_layers import CopyLane, LevelLane, layer_of
from emsync.model_config import ModelConfig
from emsync.mood_layers import MoodAdapter

VALENCE_SLOT, AROUSAL_SLOT = v.VALENCE_SLOT, v.AROUSAL_SLOT
MOOD_POSITIONS = 2


def _norm(config: ModelConfig, width: int) -> nn.Module:
    return nn.LayerNorm(width) if config.norm == "layer" else nn.RMSNorm(width, eps=1e-6)


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

    def cached(
        self, x: Tensor, past: tuple[Tensor, Tensor, Tensor], positions: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Like `forward`, but behind a layer's cache (`Cache`). Also returns the new keys, values and positions."""
        y, k, value = self.attention.cached(self.attention_norm(x), *past, positions)
        x = x + y
        return x + self.feed(self.feed_norm(x)), (k, value, positions)


class Fusion(nn.Module):
    """A weight for each lane of a control, at every event: dynamic control fusion (controllable-v2m, 3.5).

    The paper's weights follow from all controls within a patch and over the whole piece. Here they follow from the
    event and from all controls at it, since a piece that is being composed has no whole yet. They begin at 1.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.read = nn.Linear(config.width + config.lane_width, 64)
        self.weigh = nn.Linear(64, len(config.lanes) - min(CONTROL_LANES))

    def silence(self) -> None:
        """Set all weights to 1. They can still be trained."""
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)

    def forward(self, x: Tensor, parts: Tensor) -> Tensor:
        """Embedded events (B, T, width) and lanes (N, B, T, lane_width) -> their weighted sum (B, T, lane_width)."""
        weights = 1 + self.weigh(F.gelu(self.read(torch.cat([x, parts.sum(0).to(x.dtype)], dim=-1))))
        return (parts * weights.movedim(-1, 0).unsqueeze(-1)).sum(0)


class Guide(nn.Module):
    """A copy of a layer that reads the controls and adds to the layer's output: controllable-v2m, eq. 10.

    F(x) + L2(F'(x + L1(C))), with F' the copy, and L1 and L2 linear and zero at the beginning.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.hear = nn.Linear(config.lane_width, config.width, bias=False)
        self.block = Block(config, layer)
        self.tell = nn.Linear(config.width, config.width, bias=False)

    def silence(self) -> None:
        """Make it add nothing at first. It can still be trained."""
        nn.init.zeros_(self.hear.weight)
        nn.init.zeros_(self.tell.weight)


def _is_silent(lane: nn.Module) -> bool:
    """Whether a lane adds zero."""
    return not any(p.any() for name, p in lane.named_parameters() if not name.startswith("net.0."))


class EventTransformer(nn.Module):
    """The whole model. `forward` for training, `step` for decoding with a cache; the two agree."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.events = nn.Embedding(config.vocabulary_size, config.width)
        self.velocity = nn.Embedding(v.VELOCITY_LEVELS + 1, config.width)
        self.mood = nn.ModuleList(LevelLane(config.width) for _ in range(MOOD_POSITIONS))
        self.lanes = nn.ModuleList(layer_of(lane, config) for lane in LANES[: len(config.lanes)])
        if config.attention == "relative":
            self.positions = nn.Parameter(torch.randn(config.context, config.width - config.lane_width) * 0.02)
        blocks = [Block(config, layer) for layer in range(config.n_layers)]
        self.blocks = nn.ModuleList(blocks)
        self.fusion = Fusion(config) if config.fusion == "dynamic" else None
        self.guides = nn.ModuleList(Guide(config, layer) for layer in config.guided_layers)
        self.style = nn.Embedding(config.style_positions, config.width) if config.style_positions else None
        self.adapter = MoodAdapter(config) if config.adapter_layers else None
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
        self._silence_parts()
        if config.tied:
            self.head.weight = self.events.weight

    def _silence_parts(self) -> None:
        """Make fusion, guides, adapter and style add nothing yet."""
        for part in (self.fusion, self.adapter, *self.guides):
            if isinstance(part, Fusion | Guide | MoodAdapter):
                part.silence()
        if self.style is not None:
            nn.init.zeros_(self.style.weight)

    @property
    def copy_lane(self) -> CopyLane | None:
        """The copy lane; None in an older model that has none."""
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

    def embed(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, positions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The paper's X (B, T, width), and what the guides hear (B, T, lane_width).

        ids, velocities (B, T); lanes (B, T, N); mood (B, 2); positions (T,).
        """
        x = self.events(ids.clamp(max=self.config.vocabulary_size - 1)) + self.velocity(velocities)
        for slot, net in zip((VALENCE_SLOT, AROUSAL_SLOT), self.mood, strict=True):
            felt = net(mood[:, slot - VALENCE_SLOT]).unsqueeze(1)  # (B, 1, width)
            x = torch.where((ids == slot).unsqueeze(-1), felt.to(x.dtype), x)
        if self.style is not None:
            places = positions.clamp(max=self.config.style_positions - 1)
            early = (positions < self.config.style_positions).unsqueeze(-1)
            x = x + torch.where(early, self.style(places), torch.zeros_like(x[0]))
        parts = torch.stack(
            [
                net(lanes, self.head.weight) if isinstance(net, CopyLane) else net(lanes[..., i])
                for i, net in enumerate(self.lanes)
            ]
        )
        encoded, asked = self._joined(x, parts)  # (B, T, lane_width)
        if self.config.attention == "relative":
            places = self.positions[positions].to(encoded.dtype).expand(*encoded.shape[:2], -1)
            if self.config.unknown_offsets == "positions":
                encoded = torch.where(torch.isnan(lanes[..., :1]), places, encoded)
            encoded = torch.cat([encoded, places], dim=-1)
        return x + encoded, asked

    def _joined(self, x: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """The lanes (N, B, T, lane_width) that are added to the events x, and those that the guides hear, joined."""
        if self.fusion is None and not len(self.guides):
            return parts.sum(0), torch.zeros_like(parts[0])
        others, controls = parts[: min(CONTROL_LANES)].sum(0), parts[min(CONTROL_LANES) :]
        asked = controls.sum(0) if self.fusion is None else self.fusion(x, controls)
        return (others, asked) if len(self.guides) else (others + asked, asked)

    def with_all_lanes(self) -> EventTransformer:
        """A model that gives the same logits and has every lane of this version: new lanes add zero.

        A model of the paper's equation stays as it is.
        """
        if self.config.unknown_offsets == "positions":
            return self
        return self._grown(replace(self.config, lanes=LANE_NAMES))

    def with_parts(self, like: ModelConfig) -> EventTransformer:
        """A model that gives the same logits and has the fusion, guides, style and mood adapter of another as well.

        Parts that it has already stay. Raises `ModelError` where its lanes are too few for them.
        """
        c = self.config
        return self._grown(
            replace(
                c, fusion=like.fusion if c.fusion == "sum" else c.fusion,
                guided_every=c.guided_every or min(like.guided_every, c.n_layers),
                style_positions=c.style_positions or like.style_positions,
                adapter_layers=c.adapter_layers or min(like.adapter_layers, c.n_layers),
            )
        )  # fmt: skip

    def _grown(self, config: ModelConfig) -> EventTransformer:
        """The model in a larger shape; what is new adds zero."""
        if config == self.config:
            return self
        grown = EventTransformer(config).to(next(self.parameters()).device)
        grown.load_state_dict(self.state_dict(), strict=False)
        if config.guided_every and not self.config.guided_every:
            for layer, guide in zip(config.guided_layers, grown.guides, strict=True):
                cast(Guide, guide).block.load_state_dict(self.blocks[layer].state_dict())
            for lane in list(grown.lanes)[min(CONTROL_LANES) :]:
                if not _is_silent(lane):
                    raise ModelError(
                        "the model hears its controls already, as lanes that are added; guides need one that does not: "
                        "leave out guided_every, or begin from a model without trained lanes"
                    )
                lane.apply(self._initialise)  # zero lanes would leave guides that begin at zero nothing to learn from
            return grown.train(self.training)
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

    def forward(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, around: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of the next event (B, T, vocabulary) and of an ON's own velocity (B, T, 16), at every position.

        `velocities[:, t]` is what position t may know: the velocity of the event *before* it (`shifted_velocities`).
        around: (B, T, 2, P), the mood around each event, for a model with an adapter; None where none is given.
        """
        logits, velocity_logits, _ = self.with_states(ids, velocities, lanes, mood, around)
        return logits, velocity_logits

    def with_states(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, around: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Like `forward`. Also returns the hidden states (B, T, width) that the logits are read from."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x, asked = self.embed(ids, velocities, lanes, mood, positions)
        guides, control = self._guides(), self._control(around)
        for layer, block in enumerate(self.blocks):
            before = self._adapted(x, layer, control)
            x = block(before, positions)
            if (guide := guides.get(layer)) is not None:
                x = x + guide.tell(guide.block(before + guide.hear(asked), positions))
        states = self.norm(x)
        return *self.read_out(states, lanes), states

    def _guides(self) -> dict[int, Guide]:
        """The guides by their layers."""
        return dict(zip(self.config.guided_layers, cast("list[Guide]", self.guides), strict=True))

    def _control(self, around: Tensor | None) -> Tensor | None:
        """What the adapter makes of the mood around each event (B, T, width); None without either."""
        return None if self.adapter is None or around is None else cast(Tensor, self.adapter(around))

    def _adapted(self, x: Tensor, layer: int, control: Tensor | None) -> Tensor:
        """The hidden states (B, T, width) that enter a layer."""
        if self.adapter is None or control is None or layer >= self.config.adapter_layers:
            return x
        return self.adapter.join(x, layer, control)

    def step(
        self, ids: Tensor, velocities: Tensor, lanes: Tensor, mood: Tensor, positions: Tensor, cache: Cache,
        around: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor, Cache]:  # fmt: skip
        """T more positions behind a cache: what `with_states` gives for them, and their keys and values.

        cache: for each layer, then each guide, its keys and values (B, H, C, D) and the position in each slot (C,), -1
        for an empty one.
        The cache returned holds the new keys and values only, (B, H, T, D) a layer: where they go is the caller's.
        """
        x, asked = self.embed(ids, velocities, lanes, mood, positions)
        new: Cache = []
        guided: Cache = []
        guides, control = self._guides(), self._control(around)
        behind = iter(cache[self.config.n_layers :])
        blocks = cast("list[Block]", self.blocks)
        for layer, (block, past) in enumerate(zip(blocks, cache[: self.config.n_layers], strict=True)):
            before = self._adapted(x, layer, control)
            x, kept = block.cached(before, past, positions)
            new.append(kept)
            if (guide := guides.get(layer)) is not None:
                y, kept = guide.block.cached(before + guide.hear(asked), next(behind), positions)
                guided.append(kept)
                x = x + guide.tell(y)
        states = self.norm(x)
        return *self.read_out(states, lanes), states, new + guided


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
