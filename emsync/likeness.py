"""What one reference piece says about how to compose: `--like SONG.mid`. `reference` reads it, and primes pieces.

Conventions: onsets and lengths are in quarter notes from the excerpt's first bar line, families indexes of
`vocabulary.FAMILIES`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.control_curves import KINDS, Control
from emsync.describe import LEFT_OUT_BIAS, Description
from emsync.errors import InputError
from emsync.vocabulary import FAMILIES

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

#: A family with a smaller share of a reference's notes does not play in it.
LEAST_SHARE: Final = 0.01
#: An excerpt has at most so many notes.
MOST_NOTES: Final = 2000
#: The tempo is drawn this near to the reference's, as a share of it.
TEMPO_SPREAD: Final = 0.03
#: A density that follows a reference is followed this strictly: the film's mood has a say.
DENSITY_STRENGTH: Final = 0.5
_WHOLE: Final = ("family", "pitch", "velocity")
_TIMES: Final = ("onset_quarters", "length_quarters", "bar_quarters")


@dataclass(frozen=True, eq=False)
class Likeness:
    """A reference: figures of the whole piece, and an excerpt that is typical of it.

    Attributes:
        name: The file's.
        tempo_qpm: Its mean tempo.
        density: Notes that begin a second.
        tonic: Of its key, from 0 (C) to 11 (B); None if it has none.
        programs: (5,) the program of each family, -1 for those that do not play.
        shares: (5,) of its notes that each family plays.
        family, pitch, velocity, onset_quarters, length_quarters: (N,) the notes of the excerpt, by onset.
        bar_quarters: (B,) where its bars begin, from 0 on, and its end.

    """

    name: str
    tempo_qpm: float
    density: float
    tonic: int | None
    programs: tuple[int, ...]
    shares: tuple[float, ...]
    family: IntArray
    pitch: IntArray
    velocity: IntArray
    onset_quarters: FloatArray
    length_quarters: FloatArray
    bar_quarters: FloatArray

    def __post_init__(self) -> None:
        n = len(FAMILIES)
        rows = [
            np.asarray(x) for x in (self.family, self.pitch, self.velocity, self.onset_quarters, self.length_quarters)
        ]
        bars = np.asarray(self.bar_quarters)
        fits = all(row.ndim == 1 and row.shape == rows[0].shape for row in rows) and 0 < len(rows[0]) <= MOST_NOTES
        fits = fits and len(self.programs) == len(self.shares) == n and bars.ndim == 1 and 2 <= len(bars) <= MOST_NOTES
        if not fits or not all(np.isfinite(row).all() for row in (*rows, bars)):
            raise InputError("the reference's notes do not fit together; read it again from its MIDI file")
        sound = (
            rows[0].min() >= 0 and rows[0].max() < n and rows[1].min() >= 0 and rows[1].max() <= 127
            and rows[2].min() >= 1 and rows[2].max() <= 127 and rows[3].min() >= 0 and rows[3].max() < bars[-1]
            and (np.diff(rows[3]) >= 0).all() and (rows[4] > 0).all() and bars[0] == 0 and (np.diff(bars) > 0).all()
            and bars[-1] < 1e5 and all(-1 <= p <= 127 for p in self.programs) and all(0 <= s <= 1 for s in self.shares)
            and (self.tonic is None or 0 <= self.tonic <= 11)
        )  # fmt: skip
        if not sound or not 1 <= self.tempo_qpm <= 1000 or not (0 <= self.density < math.inf):
            raise InputError("a figure of the reference is out of range; read it again from its MIDI file")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Likeness) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    @property
    def families(self) -> tuple[str, ...]:
        """The names of the families that play."""
        return tuple(name for name, share in zip(FAMILIES, self.shares, strict=True) if share >= LEAST_SHARE)

    @property
    def tempo_range(self) -> tuple[float, float]:
        """The range of tempi for a piece like it, in quarter notes per minute, within 45 to 240."""
        slow, fast = (self.tempo_qpm * (1 + each * TEMPO_SPREAD) for each in (-1, 1))
        return min(max(slow, 45.0), 235.0), max(min(fast, 240.0), 50.0)

    @property
    def control(self) -> Control:
        """Its density, as a control."""
        low, high = KINDS["density"].low, KINDS["density"].high
        return Control(np.zeros(1), np.array([min(max(self.density, low), high)]), DENSITY_STRENGTH)

    @property
    def sounds(self) -> str:
        """Its programs, as `--palette` takes them."""
        return ",".join(f"{name}={p}" for name, p in zip(FAMILIES, self.programs, strict=True) if p >= 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; `from_dict` is the inverse."""
        rounded = {name: np.round(getattr(self, name), 4).tolist() for name in _TIMES}
        whole = {name: np.asarray(getattr(self, name)).tolist() for name in _WHOLE}
        figures = {name: getattr(self, name) for name in ("name", "tempo_qpm", "density", "tonic")}
        return {**figures, "programs": list(self.programs), "shares": list(self.shares), **whole, **rounded}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Likeness:
        """A reference from a record. Raises InputError, KeyError, TypeError or ValueError for anything else."""
        rows: dict[str, Any] = {name: np.array(values[name], dtype=np.int64) for name in _WHOLE}
        rows |= {name: np.array(values[name], dtype=np.float64) for name in _TIMES}
        tonic = None if values["tonic"] is None else int(values["tonic"])
        return cls(
            str(values["name"]), float(values["tempo_qpm"]), float(values["density"]), tonic,
            tuple(int(p) for p in values["programs"]), tuple(float(s) for s in values["shares"]), **rows,
        )  # fmt: skip


def family_biases(described: Description, like: Likeness | None) -> dict[str, float]:
    """What is added to the logits of the notes of families: by a reference, unless words name some, and by words."""
    absent = [] if like is None or described.families else [name for name in FAMILIES if name not in like.families]
    return dict.fromkeys(absent, LEFT_OUT_BIAS) | described.family_biases


def check_likeness(value: Any) -> None:
    """Raise `InputError` unless `value` is None or a `Likeness`."""
    if value is not None and not isinstance(value, Likeness):
        raise InputError(f"like is {str(value)[:40]!r}; give a Likeness, such as reference.read('song.mid')")
