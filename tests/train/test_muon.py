"""Muon in float32 does what torch's does in bfloat16."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from emsync.training.muon import Float32Muon, orthogonalized
from emsync.training.objective import optimizers
from emsync.training.presets import TrainConfig
from tests.models import random_model

SHAPES = [(8, 8), (24, 8), (8, 24), (8, 8)]


def moved(kind: type[torch.optim.Optimizer], steps: int, **options: Any) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    parameters = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]
    optimizer = kind(parameters, lr=0.05, **options)  # type: ignore[call-arg]
    for _ in range(steps):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.parametrize(
    "options",
    [{}, {"nesterov": False, "weight_decay": 0.5}, {"adjust_lr_fn": "match_rms_adamw", "momentum": 0.5}],
)
def test_it_moves_weights_as_torch_does(options: dict[str, Any]) -> None:
    """Equal but for the rounding of bfloat16, which is a few hundredths of a step of 0.05."""
    ours, theirs = moved(Float32Muon, 3, **options), moved(torch.optim.Muon, 3, **options)
    for a, b, before in zip(ours, theirs, moved(Float32Muon, 0), strict=True):
        assert (a - before).abs().max() > 0.02
        assert (a - b).norm() < 0.02 * (b - before).norm()


def test_all_singular_values_come_near_one() -> None:
    matrices = torch.randn(3, 6, 10, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalized(matrices, (3.4445, -4.775, 2.0315), 5, 1e-7))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_it_goes_on_with_the_state_of_torchs() -> None:
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
    theirs = torch.optim.Muon([parameter], lr=0.1)
    theirs.step()
    ours = Float32Muon([parameter], lr=0.1)
    ours.load_state_dict(theirs.state_dict())
    ours.step()
    momentum = ours.state[parameter]["momentum_buffer"]
    assert torch.allclose(momentum, parameter.grad * (1 - 0.95**2), atol=1e-6)


def test_it_is_used_where_bfloat16_is_slow() -> None:
    model = random_model()
    assert isinstance(optimizers(model, TrainConfig(), bf16=False)[0], Float32Muon)
    assert type(optimizers(model, TrainConfig(), bf16=True)[0]) is torch.optim.Muon
