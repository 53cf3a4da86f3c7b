"""A training run's folder: `state/` (everything needed to continue exactly), `log.jsonl` (a line a report), `loss.png`.

The model itself is beside them as a model folder (`checkpoint`), and in parts if requested.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from emsync.errors import InputError, OutputError
from emsync.files import atomic_path, read_json, read_limited
from emsync.folders import atomic_folder
from emsync.training.presets import Preset

if TYPE_CHECKING:
    import torch

    from emsync.model import EventTransformer


#: What to do about a state that cannot be written.
RESUME = "free some space, then --resume"
#: run.json has 2 kB; a report has 500 bytes, and there is one every few seconds.
_MAX_JSON_BYTES: Final = 1 << 20
_MAX_LOG_BYTES: Final = 1 << 30


@dataclass
class Progress:
    """How far a run is; `fit` reports it."""

    step: int = 0
    elapsed_s: float = 0.0
    share: float = 0.0
    tokens: int = 0
    loss: float = math.nan
    tokens_per_s: float = 0.0
    valid: dict[str, float] = field(default_factory=dict)
    waited: float = 0.0
    """Share of the time since the last report spent waiting for batches."""
    mfu: float | None = None
    """Model FLOPs utilisation since the last report (`utilisation`), where the device's peak is known."""
    sample: dict[str, float] = field(default_factory=dict)
    """What a short sample was like (`samples`)."""


def check_run(out: str | os.PathLike[str], *, resume: bool) -> None:
    """Refuse to begin a run where there is one, or to resume one where there is none. Raises `InputError`."""
    out = Path(out)
    if resume:
        if not (out / "state").is_dir():
            raise InputError(f"{out} holds no run to resume; leave out --resume to begin one")
    elif (out / "state").exists():
        raise InputError(f"{out} holds a run already; give --resume to go on with it, or another folder")
    elif (out / "model").exists():
        raise InputError(f"{out} holds a model already; move {out / 'model'} away, or choose another folder")


def read_run(out: str | os.PathLike[str]) -> tuple[Progress, Preset]:
    """How far the run in folder `out` was when it was last saved, and its preset. Raises `InputError`."""
    about = read_about(Path(out) / "state")
    return Progress(**about["progress"]), Preset.from_dict(about["preset"], f"{out}")


def save_state(
    folder: Path,
    model: EventTransformer,
    opts: list[torch.optim.Optimizer],
    progress: Progress,
    preset: Preset,
    bf16: dict[str, bool],
) -> None:
    """Save everything needed to continue, in a folder that is replaced whole. bf16: whether it was used, by device."""
    import torch

    with atomic_folder(folder, remedy=RESUME) as partial:
        try:
            torch.save(
                {"model": model.state_dict(), "optimizers": [o.state_dict() for o in opts]}, partial / "state.pt"
            )
        except RuntimeError as error:  # torch's way of saying that the disk is full
            raise OutputError(f"{folder} cannot be written ({error}); {RESUME}") from error
        about = {"progress": asdict(progress), "preset": preset.to_dict(), "bf16": bf16}
        (partial / "run.json").write_text(json.dumps(about))


def load_state(
    folder: Path, model: EventTransformer, opts: list[torch.optim.Optimizer], progress: Progress, preset: Preset
) -> None:
    """Load what `save_state` kept into `model`, `opts` and `progress`. Raises `InputError` if it does not fit."""
    about = read_about(folder)
    if about["preset"]["model"] != preset.model.to_dict():
        raise InputError(f"{folder} belongs to a model of another shape; resume it with the preset it was started with")
    if about["preset"]["train"]["optimizer"] != preset.train.optimizer:
        raise InputError(
            f"{folder} belongs to a run with optimizer {about['preset']['train']['optimizer']}, not "
            f"{preset.train.optimizer}; resume it with the preset it was started with"
        )
    import torch

    try:
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
    except Exception as error:  # torch has many ways of saying "cut off"
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} cannot be resumed ({reason}); begin again in another folder") from error
    for name, value in about["progress"].items():
        setattr(progress, name, value)


def read_about(folder: Path) -> dict[str, Any]:
    """run.json of a state folder: progress, preset, bf16."""
    try:
        about = read_json(folder / "run.json", _MAX_JSON_BYTES, "run's state", "give the state of a run")
        parts = {name: dict(about[name]) for name in ("progress", "preset")}
        return {**parts, "bf16": dict(about.get("bf16", {}))}
    except Exception as error:
        raise InputError(f"{folder} cannot be resumed ({error}); begin again in another folder") from error


def read_log(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The reports of a run, in the order of their steps: what a resumed run did again replaces what it did before.

    A line that was cut off by a kill is skipped. Raises `InputError` if there is no log.
    """
    path = Path(run) / "log.jsonl"
    data = read_limited(path, _MAX_LOG_BYTES, "run's log", remedy="give the folder of a training run")
    reports: list[dict[str, Any]] = []
    for line in data.splitlines():
        try:
            report = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if not isinstance(report, dict) or not isinstance(report.get("step"), int):
            continue
        while reports and reports[-1]["step"] >= report["step"]:
            reports.pop()
        reports.append(report)
    return reports


def plot_log(run: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draw a run's losses, from its log.jsonl, as a PNG. Raises `InputError`, `OutputError`."""
    from matplotlib.figure import Figure

    lines = read_log(run)
    if not lines:
        raise InputError(f"{Path(run) / 'log.jsonl'} holds no report yet; train for longer")
    tokens = np.array([line["tokens"] for line in lines]) / 1e6
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="million events", ylabel="bits per event")
    axes.plot(tokens, [line["loss"] for line in lines], color="0.7", label="training")
    # A line repeats the last validation until there is a new one: only where it changes was it measured.
    fresh = [
        now for before, now in zip([{"valid": {}}, *lines], lines, strict=False) if now["valid"] != before["valid"]
    ]
    points = [(line["tokens"] / 1e6, line["valid"]["bits_per_event"]) for line in fresh if line["valid"]]
    if points:
        axes.plot(*zip(*dict(points).items(), strict=True), "o-", label="validation")
    if len(lines) > 4:
        axes.set_ylim(top=float(np.nanpercentile([line["loss"] for line in lines], 95)))
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
