"""Dilated convolutions over a mood curve (NarraScore, Section 3.5), and the composer's mood adapter made of them.

`convolutions` is the form that both adapters share: `emsync.mood_adapter` runs it over the steps of an audio codec.
Events are not evenly spaced, so the composer's curve is sampled at equal distances around each event
(`Conditions.around`), and the convolutions are worked out at the event alone (`at_middle`).

Conventions: B batch, T time, P points of time around an event, the middle one at the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emsync.conditions import AROUND_POINTS
from emsync.model_config import ModelConfig

#: Each convolution takes so many points.
TAPS: Final = 3
#: Of the composer's adapter. Its dilations reach all points around an event, each of them by one way.
CHANNELS: Final = 64
DILATIONS: Final = (1, 3, 9)
#: Valence and arousal, and whether each is given.
FEATURES: Final = 4


def convolutions(n_in: int, n_out: int, channels: int, dilations: Sequence[int]) -> nn.Sequential:
    """(B, n_in, points) to (B, n_out, points): 1 x 1, a convolution of each dilation with LeakyReLU, then 1 x 1."""
    layers: list[nn.Module] = [nn.Conv1d(n_in, channels, 1)]
    for dilation in dilations:
        layers += [nn.Conv1d(channels, channels, TAPS, dilation=dilation, padding=dilation), nn.LeakyReLU()]
    layers.append(nn.Conv1d(channels, n_out, 1))
    return nn.Sequential(*layers)


def at_middle(stack: nn.Sequential, x: Tensor) -> Tensor:
    """What `convolutions` of dilations 1, 3, 9 ... give at the middle of 3, 9, 27 ... points.

    (B, n_in, P) -> (B, n_out).

    There each convolution is needed at every third point of what it reads, so dilations become strides: the same
    numbers for a tenth of the products.
    """
    for layer in stack:
        if isinstance(layer, nn.Conv1d):
            x = F.conv1d(x, layer.weight, layer.bias, stride=layer.kernel_size[0])
        else:
            x = layer(x)
    return x.squeeze(-1)


class MoodAdapter(nn.Module):
    """What the mood curve adds to the hidden states that enter the first layers (equations 5 and 6).

    The same for all of them, times a gain for each, which begins at zero, in parts of the hidden states' own size:
    those that enter the second layer of the embedded model are a hundred times as large as those that enter the first.
    Where nothing of the curve is given, nothing is added.
    """

    #: Gains are stored in these units, so that they learn as fast as the convolutions behind them (`CopyLane.UNIT`).
    UNIT = 16.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        assert TAPS ** len(DILATIONS) == AROUND_POINTS, "the convolutions reach the points around an event"
        self.convert = convolutions(FEATURES, config.width, CHANNELS, DILATIONS)
        self.gains = nn.Parameter(torch.zeros(config.adapter_layers))

    def silence(self) -> None:
        """Make it add nothing at first. It can still be trained."""
        nn.init.zeros_(self.gains)

    def forward(self, around: Tensor) -> Tensor:
        """Valence and arousal around events (B, T, 2, P), NaN where not given -> (B, T, width), before the gains."""
        given = ~torch.isnan(around)
        levels = torch.where(given, around, torch.zeros_like(around))
        features = torch.cat([levels, given.to(levels.dtype)], dim=2)  # (B, T, 4, P)
        out = at_middle(self.convert, features.flatten(0, 1)).unflatten(0, around.shape[:2])
        return torch.where(given.flatten(2).any(-1, keepdim=True), out, torch.zeros_like(out))

    def join(self, x: Tensor, layer: int, control: Tensor) -> Tensor:
        """Hidden states that enter a layer, and what `forward` gave, both (B, T, width) -> their sum."""
        size = (x.float().pow(2).mean(-1, keepdim=True) + 1e-12).sqrt()
        return x + (self.UNIT * self.gains[layer] * size * control).to(x.dtype)
