"""Batches drawn ahead of their use: by a thread, or by processes if one thread is too slow for a GPU.

A batch is a function of its step alone (`crops.Crops`), so it does not matter who draws it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from emsync.training.crops import Batch

#: A crop of 2048 events takes one core 5 ms, 4 of them for its song's repeats; a GPU takes about one.
MOST_PROCESSES = 12


def tensors(batch: Batch | dict[str, Tensor], device: Any) -> dict[str, Tensor]:
    """A batch's arrays as tensors on `device`, by their names."""
    named = batch if isinstance(batch, dict) else _named(batch)
    return {name: tensor.to(device, non_blocking=True) for name, tensor in named.items()}


def inputs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
    """What the network reads of a batch, in the order of `EventTransformer.forward`."""
    return batch["ids"], batch["previous_velocity"], batch["lanes"], batch["mood"], batch.get("around")


def _named(batch: Batch) -> dict[str, Tensor]:
    arrays = ((f.name, getattr(batch, f.name)) for f in fields(Batch))
    return {name: torch.from_numpy(array) for name, array in arrays if array is not None}


def prefetch(make: Callable[[int], Batch], first: int, ahead: int = 4) -> Generator[Batch]:
    """Batches first, first + 1, ... made by a thread, `ahead` of their use."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
    stopped = threading.Event()

    def work() -> None:
        step = first
        while not stopped.is_set():
            try:
                item: Batch | BaseException = make(step)
            except BaseException as error:
                item = error
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            step += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(timeout=5)


@dataclass(frozen=True, eq=False)
class _Steps:
    """What torch's loader asks for batches by their number."""

    make: Callable[[int], Batch]

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return _named(self.make(step))


def from_processes(make: Callable[[int], Batch], first: int, processes: int) -> Generator[dict[str, Tensor]]:
    """Batches first, first + 1, ... made by forked `processes`, in order; in page-locked memory where there is a GPU.

    Forked, because a dataset's memory-mapped arrays are then shared and not copied.
    """
    from torch.utils.data import DataLoader

    loader: DataLoader[dict[str, Tensor]] = DataLoader(
        _Steps(make),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(first, 1 << 40),
        num_workers=processes,
        prefetch_factor=4,
        multiprocessing_context="fork",
        pin_memory=torch.cuda.is_available(),
    )
    yield from loader
