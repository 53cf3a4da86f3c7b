"""What tests of training share: short runs of a tiny model, and what is left of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from emsync import checkpoint
from emsync.training import crops, train
from emsync.training.dataset import Dataset
from emsync.training.train import Progress, RunOptions, fit
from tests.models import toy_preset

REPOSITORY = Path(__file__).resolve().parents[2]


def run(data: Dataset, out: Path, **options: Any) -> Progress:
    preset = options.pop("preset", toy_preset())
    valid = options.pop("valid", None)
    report = options.pop("report", None)
    return fit(preset, data, valid, out, RunOptions(compile_model=False, **options), report=report)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "model").state_dict()


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class interrupted_at:
    """Ctrl-C while the batch of step `step` is being waited for."""

    def __init__(self, step: int) -> None:
        self.step, self.real = step, train.tensors

    def __enter__(self) -> None:
        first: list[int] = []

        def tensors(batch: crops.Batch, device: Any) -> dict[str, torch.Tensor]:
            first.append(1)
            if self.begun + len(first) > self.step:
                raise KeyboardInterrupt
            return self.real(batch, device)

        real_prefetch = self.prefetch = train.prefetch

        def watched(make: Any, begun: int, ahead: int = 4) -> Any:
            self.begun = begun
            return real_prefetch(make, begun, ahead)

        train.tensors, train.prefetch = tensors, watched  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        train.tensors, train.prefetch = self.real, self.prefetch
