"""How one training run goes, besides the preset: how long, on what, from where."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal

from emsync.errors import InputError

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class RunOptions:
    """How one run goes. Checked when made.

    Attributes:
        minutes, steps: When training ends; give exactly one, above 0.
        resume: Go on from the run's own state.
        compile_model: Compile the forward pass and the loss first (`torch.compile`).
        initial: A model folder to begin from, instead of random weights.
        go_on: With `initial`: count the training that model had, so that rate and crops go on where they were. Only the
            optimizers start over.
        device: "auto" takes a GPU if there is one.
        processes: How many processes draw crops. 0 is a thread; None is a thread on the CPU, and one process a core
            (at most `batches.MOST_PROCESSES`) on a GPU.
        parts: Save the weights in parts, too (`weight_parts`).
        samples: Compose a little at each tenth of the run, and report what it was like; None does so on a GPU only.
        peak_tflops: The device's peak, for the FLOPs utilisation; None takes it from a table (`utilisation`).
        save_every_s: The longest time between two saves, in seconds.

    """

    minutes: float | None = None
    steps: int | None = None
    resume: bool = False
    compile_model: bool = True
    initial: str | os.PathLike[str] | None = None
    go_on: bool = False
    device: Device = "auto"
    processes: int | None = None
    parts: bool = False
    samples: bool | None = None
    peak_tflops: float | None = None
    save_every_s: float = 240.0

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise InputError("give either minutes or steps, to say when training ends")
        limit = self.minutes if self.minutes is not None else self.steps
        if not (limit and limit > 0 and math.isfinite(limit)):
            unit = "minutes" if self.steps is None else "steps"
            raise InputError(f"training for {limit} {unit} is nothing; give more than 0")

    def share(self, step: int, elapsed_s: float) -> float:
        """The share of the run that is done, from 0 to 1, after so many steps and seconds."""
        done = step / self.steps if self.steps else elapsed_s / 60 / float(self.minutes or 1)
        return min(1.0, done)
