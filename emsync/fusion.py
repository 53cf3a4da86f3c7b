"""Networks that fuse what several models see of a film, second by second; any of it may be missing.

    classifier = EmotionClassifier(Shape({"image": 512, "sound": 768}, outputs=6))
    logits = classifier({"image": image}, {"image": known})        # sound is missing

- `EmotionClassifier` (EMSYNC, Section III-A1): cross-attention over the features of any subset of modalities, then a
  linear layer.
- `FilmEncoder` (HPM, Appendix C.4): lightweight attention feature fusion (LAFF), a convex combination of the features
  with learned weights, as a vector for every moment; and a linear layer that says what the music does.

Features are (B, T, D) float32 by modality, `known` (B, T) bool by modality: whether a moment has one. What is not known
is never read, whatever the arrays hold there. The scales of features are part of the networks (`fit_scales`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import torch
from torch import Tensor, nn

from emsync.errors import InputError, ModelError

#: Features that vary less than this share of the one that varies most are not scaled up.
_LEAST_DEVIATION: Final = 1e-6
_MOST_LAYERS: Final = 64
#: A moment's place in a window is encoded by sines of so many frequencies.
_TIME_PAIRS: Final = 8

Given = Mapping[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """The shape of a network.

    Attributes:
        sizes: How many numbers the features of each modality have, by its name.
        outputs: How many numbers it gives.
        width: Of its vectors.
        heads, layers: Of cross-attention.
        dropout: While it is trained.

    """

    sizes: Mapping[str, int]
    outputs: int
    width: int = 64
    heads: int = 4
    layers: int = 2
    dropout: float = 0.1

    def __post_init__(self) -> None:
        numbers = (*self.sizes.values(), self.outputs, self.width, self.heads, self.layers)
        if not self.sizes or not all(type(each) is int and 0 < each <= 65536 for each in numbers):
            raise InputError(f"a fusion of the shape {asdict(self)} cannot be made; sizes are whole numbers from 1 on")
        if self.layers > _MOST_LAYERS:
            raise InputError(f"a fusion of {self.layers} layers cannot be made; give at most {_MOST_LAYERS}")
        if self.width % self.heads or not 0 <= self.dropout < 1:
            raise InputError(f"a width of {self.width} cannot be divided among {self.heads} heads; choose another")

    def to_dict(self) -> dict[str, Any]:
        """The shape as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A shape from JSON values. Raises `ModelError` for anything else."""
        try:
            return cls(**{**values, "sizes": dict(values["sizes"])})
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise ModelError(f"its shape cannot be read ({error}); train it again") from error


class Inlets(nn.Module):
    """Features of every modality, scaled and projected to one width."""

    def __init__(self, sizes: Mapping[str, int], width: int) -> None:
        super().__init__()
        self.names = tuple(sizes)
        self.width = width
        self.project = nn.ModuleDict({name: nn.Linear(size, width) for name, size in sizes.items()})
        for name, size in sizes.items():
            self.register_buffer(f"mean_{name}", torch.zeros(size))
            self.register_buffer(f"deviation_{name}", torch.ones(size))

    @torch.no_grad()
    def fit_scales(self, rows: Given) -> None:
        """Take the scale of each modality from its known features (N, D)."""
        for name, values in rows.items():
            deviation = values.std(dim=0, correction=0)
            flat = deviation <= _LEAST_DEVIATION * deviation.max().clamp_min(1e-12)
            self.get_buffer(f"mean_{name}").copy_(values.mean(dim=0))
            self.get_buffer(f"deviation_{name}").copy_(torch.where(flat, torch.ones(()), deviation))

    def forward(self, features: Given, known: Given) -> tuple[Tensor, Tensor]:
        """(B, T, K, width) and (B, T, K): every modality's vectors, zero where not known, and whether they are."""
        unknown = [name for name in features if name not in self.names]
        if unknown or not features:
            raise InputError(f"there is no modality {unknown[:1]}; it was made for {', '.join(self.names)}")
        batch, moments = next(iter(features.values())).shape[:2]
        vectors, masks = [], []
        for name in self.names:
            if name not in features:
                like = self.get_buffer(f"mean_{name}")
                vectors.append(like.new_zeros(batch, moments, self.width))
                masks.append(like.new_zeros(batch, moments, dtype=torch.bool))
                continue
            mask = known[name]
            scaled = (features[name] - self.get_buffer(f"mean_{name}")) / self.get_buffer(f"deviation_{name}")
            # Replaced before it is projected: what is not known may be anything, even NaN.
            vectors.append(self.project[name](torch.where(mask[..., None], scaled, 0.0)))
            masks.append(mask)
        return torch.stack(vectors, dim=2), torch.stack(masks, dim=2)


def _times(moments: int, width: int, device: torch.device) -> Tensor:
    """(moments, width) Where each moment stands in its window: sines, the rest zeros."""
    pairs = min(_TIME_PAIRS, width // 2)
    angle = torch.linspace(0, math.pi, moments, device=device)[:, None] * 2.0 ** torch.arange(pairs, device=device)
    sines = torch.cat([angle.sin(), angle.cos()], dim=1)
    return nn.functional.pad(sines, (0, width - sines.shape[1]))


class CrossAttention(nn.Module):
    """A query looks at the known vectors, and is changed by them; then a feed-forward layer."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norm_query, self.norm = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attention = nn.MultiheadAttention(shape.width, shape.heads, dropout=shape.dropout, batch_first=True)
        self.feed = nn.Sequential(
            nn.Linear(shape.width, 2 * shape.width), nn.GELU(), nn.Dropout(shape.dropout),
            nn.Linear(2 * shape.width, shape.width), nn.Dropout(shape.dropout),
        )  # fmt: skip

    def forward(self, query: Tensor, vectors: Tensor, hidden: Tensor) -> Tensor:
        """Query (B, 1, width), vectors (B, N, width), hidden (B, N): those that must not be seen."""
        seen, _ = self.attention(self.norm_query(query), vectors, vectors, key_padding_mask=hidden, need_weights=False)
        query = query + seen
        out: Tensor = query + self.feed(self.norm(query))
        return out


class EmotionClassifier(nn.Module):
    """Logits of the six emotions of a window of a film."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.inlets = Inlets(shape.sizes, shape.width)
        self.kind = nn.Parameter(0.02 * torch.randn(len(shape.sizes), shape.width))
        self.query = nn.Parameter(0.02 * torch.randn(1, 1, shape.width))
        self.nothing = nn.Parameter(torch.zeros(1, 1, shape.width))  # always seen, so that there is something
        self.norm = nn.LayerNorm(shape.width)
        self.layers = nn.ModuleList(CrossAttention(shape) for _ in range(shape.layers))
        self.outlet = nn.Sequential(nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.outputs))

    def forward(self, features: Given, known: Given) -> Tensor:
        """(B, outputs) Of windows of T moments."""
        vectors, mask = self.inlets(features, known)
        batch, moments = vectors.shape[:2]
        placed = self.norm(vectors + self.kind + _times(moments, self.shape.width, vectors.device)[:, None])
        seen = torch.cat([self.nothing.expand(batch, -1, -1), placed.flatten(1, 2)], dim=1)
        hidden = nn.functional.pad(~mask.flatten(1), (1, 0), value=False)
        query = self.query.expand(batch, -1, -1)
        for layer in self.layers:
            query = layer(query, seen, hidden)
        out: Tensor = self.outlet(query[:, 0])
        return out


class FilmEncoder(nn.Module):
    """A vector for every moment of a film, fused of its features (LAFF), and what the music does there."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.inlets = Inlets(shape.sizes, shape.width)
        self.weigh = nn.Linear(shape.width, 1)
        self.drop = nn.Dropout(shape.dropout)
        self.outlet = nn.Linear(shape.width, shape.outputs)

    def fused(self, features: Given, known: Given) -> tuple[Tensor, Tensor]:
        """(B, T, width) The vector of every moment, zero where nothing is known; and (B, T, K) the weights.

        Weights of known features are positive and sum to one; the others' are zero.
        """
        vectors, mask = self.inlets(features, known)
        values = torch.tanh(vectors)
        scores = self.weigh(values)[..., 0].masked_fill(~mask, -1e9)
        weights = torch.softmax(scores, dim=-1) * mask
        return (weights[..., None] * values).sum(dim=2), weights

    def forward(self, features: Given, known: Given) -> Tensor:
        """(B, T, outputs) What the music does, in the training set's standard deviations."""
        out: Tensor = self.outlet(self.drop(self.fused(features, known)[0]))
        return out
