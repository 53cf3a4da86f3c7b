"""Muon in float32, for processors on which products of bfloat16 are slow.

`torch.optim.Muon` orthogonalises its updates in bfloat16. A processor without instructions for it takes some fifty
times as long as in float32: 20 s a step for the embedded model, whose whole step takes 2 s otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def orthogonalized(matrices: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
    """The nearest matrices with orthogonal rows or columns, roughly, by the quintic Newton-Schulz iteration.

    The singular values of the result are between about 0.7 and 1.2 with the coefficients of torch. The formula is that
    of Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks".

    Args:
        matrices: (N, A, B), finite.
        coefficients: The polynomial's a, b and c: a X + b (X X^T) X + c (X X^T)^2 X.
        steps: How many iterations.
        eps: The least norm that a matrix is divided by.

    Returns:
        (N, A, B), of the same kind of number.

    """
    a, b, c = coefficients
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / x.flatten(1).norm(dim=1).clamp(min=eps)[:, None, None]
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Float32Muon(torch.optim.Muon):
    """`torch.optim.Muon`, but the update is orthogonalised in float32, for all matrices of one shape together.

    The state is that of `torch.optim.Muon`, so a run can go on with the other one.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move all parameters; the result is that of `closure`, if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            momenta: list[Tensor] = []
            self._init_group(group, parameters, gradients, momenta)
            by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for parameter, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
                momentum.lerp_(gradient, 1 - group["momentum"])
                update = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum
                by_shape.setdefault(parameter.shape, []).append((parameter, update))
            for shape, pairs in by_shape.items():
                updates = orthogonalized(
                    torch.stack([update.float() for _, update in pairs]),
                    group["ns_coefficients"], group["ns_steps"], group["eps"],
                )  # fmt: skip
                rate = _adjusted(group["lr"], group["adjust_lr_fn"], shape)
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-rate)
        return loss


def _adjusted(rate: float, how: str | None, shape: torch.Size) -> float:
    """The rate for a matrix of this shape, as `torch.optim.Muon` adjusts it."""
    rows, columns = shape
    if how is None or how == "original":
        return rate * max(1, rows / columns) ** 0.5
    return rate * (0.2 * max(rows, columns) ** 0.5 if how == "match_rms_adamw" else 1.0)
