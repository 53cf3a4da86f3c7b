"""Muon for GPUs: many matrices at once.

`torch.optim.Muon` takes matrix by matrix: about thirty small kernels for each of a model's sixty, whose launching alone
is a large part of a GPU's step. Here matrices of equal shape (or each other's transpose) go through the Newton-Schulz
iteration together. On a CPU that is slower, by a fifth, and `torch.optim.Muon` is used. The state is its own, so that
either goes on with what the other saved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Quintic coefficients of Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon), as in torch.optim.Muon.
A, B, C = 3.4445, -4.7750, 2.0315
STEPS = 5


def orthogonalised(matrices: Tensor) -> Tensor:
    """(n, rows, columns), rows <= columns: each matrix's U S' V^T, S' about 1, by Newton-Schulz in bfloat16."""
    x = matrices.bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        update = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        x = torch.baddbmm(x, update, x, beta=A)
    return x


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` with its default settings, but for the time it takes."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step, as `torch.optim.Optimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[Tensor]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault((min(p.shape), max(p.shape)), []).append(p)
            for params in shapes.values():
                self._step_of_one_shape(params, group)
        return loss

    def _step_of_one_shape(self, params: list[Tensor], group: dict[str, Any]) -> None:
        momentum = group["momentum"]
        grads = [p.grad for p in params if p.grad is not None]
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in params]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        ahead = torch._foreach_lerp(grads, buffers, momentum)  # Nesterov's look ahead
        wide = [p.shape[0] <= p.shape[1] for p in params]
        stacked = torch.stack([x if is_wide else x.mT for x, is_wide in zip(ahead, wide, strict=True)])
        turned = orthogonalised(stacked).to(params[0].dtype).unbind()
        updates = [x if is_wide else x.mT for x, is_wide in zip(turned, wide, strict=True)]
        torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        # torch.optim.Muon's adjustment of the rate to a matrix's shape.
        scales = [-group["lr"] * math.sqrt(max(1.0, p.shape[0] / p.shape[1])) for p in params]
        torch._foreach_add_(params, torch._foreach_mul(updates, scales))
