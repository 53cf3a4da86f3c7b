"""The arms of `benchmarks/architecture.py`: what they add gives zero at first, and can be learned."""

from __future__ import annotations

import pytest
import torch

from benchmarks.architecture import ARMS, Arm, Grown
from tests.models import LOCAL, random_inputs, random_model


@pytest.mark.parametrize("arm", [arm for arm in ARMS if arm.values or arm.skips or arm.cap], ids=lambda arm: arm.name)
def test_what_an_arm_adds_gives_zero_until_it_learns(arm: Arm) -> None:
    before, inputs = random_model(LOCAL), random_inputs(40)
    grown = Grown(before, arm)
    logits, velocity_logits = before(*inputs)
    found, found_velocities = grown(*inputs)
    torch.testing.assert_close(found_velocities, velocity_logits)
    expected = arm.cap * torch.tanh(logits / arm.cap) if arm.cap else logits
    torch.testing.assert_close(found, expected)
    new = {name: x for name, x in grown.named_parameters() if name not in dict(before.named_parameters())}
    assert new
    with torch.enable_grad():
        grown(*inputs)[0].log_softmax(-1)[..., 7].mean().backward()
    assert all(x.grad is not None and x.grad.any() for x in new.values()), "what is zero would never learn"
