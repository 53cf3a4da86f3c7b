"""Presets: the model's shape, how crops are drawn and how it is trained, as TOML: [model], [crops], [train]."""

from __future__ import annotations

import math
import os
import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emsync.errors import InputError
from emsync.files import read_limited
from emsync.model_config import ModelConfig
from emsync.training.crops import CropConfig

#: A preset has a kilobyte.
MAX_BYTES = 1 << 20
PRESETS = ("paper", "base", "small", "tiny", "mood-adapter")
#: Keys of [crops] as runs and presets from before have them, and what they are called now.
_RENAMED = {"drop_metre": "drop_meter"}


def _renamed(values: dict[str, Any], where: str) -> dict[str, Any]:
    """The keys of [crops] by the names that they have now."""
    for old, new in _RENAMED.items():
        if old in values and new in values:
            raise InputError(f"{where}: [crops] has both {old} and {new}, which are the same; remove {old}")
    return {_RENAMED.get(key, key): value for key, value in values.items()}


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Checked when made."""

    batch: int = 4
    """Crops a step, on each process."""
    optimizer: str = "muon"
    """"muon" (Muon on the blocks' matrices, AdamW on the rest) or "adam" (the paper's)."""
    matrix_rate: float = 0.02
    """Learning rate of Muon."""
    rate: float = 1.5e-3
    """Learning rate of Adam(W)."""
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay: float = 0.6
    """The last share of the run, over which the rate falls linearly to zero."""
    late_rate: float = 0.0
    """What `rate` becomes from `late_from` on (all rates change alike), 0 to leave it: in the paper 5e-5 after 2e-4."""
    late_from: float = 0.5
    """The share of the run after which `late_rate` holds."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    chord_weight: float = 10.0
    """Weight of CHORD in the loss (paper, Section IV-A)."""
    velocity_weight: float = 0.2
    """Weight of the velocity head's loss. With 0 the model neither reads nor learns velocities, and plays all notes at
    one level."""
    train_only: str = "all"
    """What is trained, while the rest stays as it is; all but "all" with AdamW:

    - "all" of the network.
    - "lanes": all lanes, with their fusion and guides.
    - "controls": the lanes of controls, with their fusion and guides. Without controls the model plays as before,
      unless it has guides.
    - "style": the prefix for a style.
    - "adapter": the mood adapter.
    """
    seed: int = 1
    valid_crops: int = 48
    saves: int = 10
    """How many times a run is saved (at equal parts of it), besides every few minutes."""
    validations: int = 20

    def __post_init__(self) -> None:
        for name, least in (
            ("batch", 1), ("valid_crops", 1), ("saves", 1), ("validations", 1), ("warmup_steps", 0), ("seed", 0)
        ):  # fmt: skip
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise InputError(f"train: {name} is {getattr(self, name)!r}; give a whole number of at least {least}")
        for name in ("matrix_rate", "rate", "clip", "chord_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"train: {name} is {getattr(self, name)}; it must be above 0, and finite")
        for name in ("weight_decay", "velocity_weight", "late_rate"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"train: {name} is {getattr(self, name)}; it must be 0 or more, and finite")
        if not 0 < self.late_from <= 1:
            raise InputError(f"train: late_from is {self.late_from}; a share is above 0 and at most 1")
        if not 0 <= self.decay <= 1:
            raise InputError(f"train: decay is {self.decay}; a share is between 0 and 1")
        if self.train_only not in ("all", "lanes", "controls", "style", "adapter"):
            raise InputError(f"train: train_only is {self.train_only!r}; choose all, lanes, controls, style or adapter")
        if self.optimizer not in ("muon", "adam"):
            raise InputError(f"train: optimizer is {self.optimizer!r}; choose muon or adam")


@dataclass(frozen=True)
class Preset:
    """A whole TOML preset: [model], [crops] and [train]."""

    model: ModelConfig
    crops: CropConfig
    train: TrainConfig

    @classmethod
    def read(cls, name: str | os.PathLike[str]) -> Preset:
        """Read a preset by its name (`PRESETS`), or a TOML file of your own."""
        path = Path(__file__).parent / f"{name}.toml" if str(name) in PRESETS else Path(name)
        try:
            path.stat()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{name} is neither a preset ({', '.join(PRESETS)}) nor a TOML file that can be read ({reason})"
            ) from error
        data = read_limited(path, MAX_BYTES, "preset")
        try:
            table = tomllib.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise InputError(f"{path} is not TOML ({reason}); correct it, or start from a preset") from error
        return cls.from_dict(table, str(path))

    @classmethod
    def from_dict(cls, table: dict[str, Any], where: str = "preset") -> Preset:
        parts: dict[str, Any] = {"model": ModelConfig, "crops": CropConfig, "train": TrainConfig}
        made: dict[str, Any] = {}
        for section in table:
            if section not in parts:
                raise InputError(f"{where}: unknown section [{section}]; there are [model], [crops] and [train]")
        for section, kind in parts.items():
            values = dict(table.get(section, {}))
            if section == "crops":
                values = _renamed(values, where)
            known = {f.name for f in fields(kind)}
            for key in values:
                if key not in known:
                    raise InputError(
                        f"{where}: unknown key {key!r} in [{section}]; known are {', '.join(sorted(known))}"
                    )
            if section == "crops":
                values.setdefault("context", made["model"].context)
            try:
                made[section] = kind(**values)
            except (TypeError, OverflowError) as error:
                raise InputError(f"{where}: [{section}] has a value of the wrong kind ({error})") from error
        if made["crops"].context > made["model"].context:
            raise InputError(
                f"{where}: crops of {made['crops'].context} do not fit the model's context of {made['model'].context}"
            )
        return cls(**made)

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model.to_dict(), "crops": asdict(self.crops), "train": asdict(self.train)}
