"""Songs to train on, one thread, and a clock that is a counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from emsync.training import train
from emsync.training.dataset import Dataset
from emsync.training.train import TrainConfig, rate_at
from tests.models import toy_archive


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.of(dict(toy_archive(4).arrays))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """float32 on every machine, and as few threads as a tiny model can use."""
    monkeypatch.setattr(train, "bf16_pays", lambda device: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes training's clock a counter: every look at it takes that many seconds."""

    def use(tick_s: float) -> None:
        now_s = 1000.0

        def monotonic() -> float:
            nonlocal now_s
            now_s += tick_s
            return now_s

        monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=monotonic))

    return use


@pytest.fixture
def factors(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate's factor at every step of the runs to come."""
    seen: list[float] = []

    def watched(share: float, step: int, config: TrainConfig) -> float:
        seen.append(rate_at(share, step, config))
        return seen[-1]

    monkeypatch.setattr(train, "rate_at", watched)
    return seen
