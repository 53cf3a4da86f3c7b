"""The network's parts that read lanes: a time to go, a level, a place, and the follower of a match.

Conventions: B batch, T time, N lanes. NaN in a lane means "not given" and is replaced by a learned vector.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, Lane
from emsync.copying import N_STRENGTHS
from emsync.model_config import ModelConfig

# How offset lanes are looked up: every TIMESHIFT has its own entry up to one second, then coarser.
FINE_S, COARSE_S = v.MAX_SHIFT_STEPS * v.STEP_S, 0.125


class OffsetLane(nn.Module):
    """A time still to go (s, NaN = not given) to a vector: (B, T) -> (B, T, width)."""

    def __init__(self, width: int, cap_s: float, encoding: str) -> None:
        super().__init__()
        self.cap_s, self.encoding = cap_s, encoding
        self.absent = nn.Parameter(torch.zeros(width))
        if encoding == "lookup":
            self.n_fine = v.MAX_SHIFT_STEPS + 1
            self.n_entries = self.n_fine + math.ceil((cap_s - FINE_S) / COARSE_S) + 1
            self.table = nn.Embedding(self.n_entries, width)
        else:
            n_features = 1 if encoding == "scalar" else 1 + 2 * 9
            self.net = nn.Sequential(nn.Linear(n_features, 64), nn.GELU(), nn.Linear(64, width))

    def forward(self, offset_s: Tensor) -> Tensor:
        given = ~torch.isnan(offset_s)
        offset = torch.where(given, offset_s, torch.zeros_like(offset_s)).clamp(0.0, self.cap_s)
        if self.encoding == "lookup":
            fine = (offset / v.STEP_S).round()
            coarse = self.n_fine + ((offset - FINE_S) / COARSE_S).floor()
            index = torch.where(offset <= FINE_S + v.STEP_S / 2, fine.clamp(max=self.n_fine - 1.0), coarse)
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
        """Make it add nothing at first. It can still be trained."""
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


def layer_of(lane: Lane, config: ModelConfig) -> nn.Module:
    """The network's part that reads a lane."""
    if lane.kind == "event":
        return CopyLane(config)
    if lane.kind == "offset":
        return OffsetLane(config.lane_width, lane.high, config.lane_encoding)
    if lane.kind == "place":
        return PlaceLane(config.lane_width, round(lane.high) + 1)
    return LevelLane(config.lane_width)
