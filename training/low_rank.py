"""Low-rank adaptation (Hu et al. 2021) of a frozen network: each weight W becomes W + B A, and only A and B learn.

B begins at zero, so at first the network's outputs do not change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from emsync.errors import InputError
from emsync.style import TARGETS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from emsync.model import EventTransformer

    Factors = dict[str, npt.NDArray[np.float32]]


class LowRank(nn.Module):
    """What is added to a weight (n_out, n_in): `up` (n_out, rank) times `down` (rank, n_in)."""

    def __init__(self, n_out: int, n_in: int, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, n_in, generator=generator) / math.sqrt(n_in))
        self.up = nn.Parameter(torch.zeros(n_out, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def attach(model: EventTransformer, rank: int, seed: int = 0) -> dict[str, LowRank]:
    """Freeze a network, and add products of `rank` to the matrices of its layers, by their names.

    Raises `InputError` for a rank that is not from 1 to the network's width.
    """
    if not 1 <= rank <= model.config.width:
        raise InputError(f"a rank of {rank} is not from 1 to the model's width of {model.config.width}")
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, LowRank] = {}
    for number, block in enumerate(model.blocks):
        for target in TARGETS:
            linear = block.get_submodule(target)
            assert isinstance(linear, nn.Linear)
            added = LowRank(linear.out_features, linear.in_features, rank, generator)
            parametrize.register_parametrization(linear, "weight", added)
            found[f"blocks.{number}.{target}.weight"] = added
    return found


def parameters(added: dict[str, LowRank]) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [parameter for each in added.values() for parameter in each.parameters()]


def factors(added: dict[str, LowRank]) -> tuple[Factors, Factors]:
    """A and B of every matrix, as `style.Style` takes them."""
    down = {name: each.down.detach().numpy().copy() for name, each in added.items()}
    return down, {name: each.up.detach().numpy().copy() for name, each in added.items()}
