"""Keys: their names, and music in the other mode.

    str(Key(9, is_minor=True))              # "A minor"
    tonic_of("F#")                          # 6

A pitch class is a number from 0 (C) to 11 (B). A degree is a pitch class in semitones above the tonic.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.control_curves import PITCH_NAMES
from emsync.errors import InputError

#: The word for a tonic that is drawn.
AUTO: Final = "auto"
_NATURAL: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_TONIC: Final = re.compile("([A-Ga-g])([#b♯♭]?)")

#: Degree by degree, where a note goes when its music changes to minor, and to major: the third, the sixth and the
#: seventh move by a semitone.
TO_MINOR: Final = np.array([0, 1, 2, 3, 3, 5, 6, 7, 8, 8, 10, 10])
TO_MAJOR: Final = np.array([0, 1, 2, 4, 4, 5, 6, 7, 9, 9, 11, 11])


@dataclass(frozen=True)
class Key:
    """A tonic from 0 (C) to 11 (B), and a mode."""

    tonic: int
    is_minor: bool

    def __str__(self) -> str:
        return f"{PITCH_NAMES[self.tonic]} {'minor' if self.is_minor else 'major'}"

    @classmethod
    def of_number(cls, number: int) -> Key:
        """The key with a number from 0 to 23 (`number`)."""
        return cls(number % 12, number >= 12)

    @property
    def number(self) -> int:
        """From 0 to 23, as `emsync.controls` numbers keys: major from C on, then minor."""
        return self.tonic + 12 * self.is_minor

    @property
    def relative(self) -> Key:
        """The key of the other mode with the same pitches."""
        return Key((self.tonic + (3 if self.is_minor else 9)) % 12, not self.is_minor)

    def transposed(self, semitones: int) -> Key:
        """The same mode on another tonic."""
        return Key((self.tonic + semitones) % 12, self.is_minor)

    def in_mode(self, pitches: npt.NDArray[np.integer], *, minor: bool) -> npt.NDArray[np.integer]:
        """By how many semitones pitches (N,) move when this key's music changes its mode: 1, -1 or 0."""
        degrees = (pitches - self.tonic) % 12
        return pitches + (TO_MINOR if minor else TO_MAJOR)[degrees] - degrees


def tonic_of(text: str) -> int:
    """The pitch class of a name such as "C", "F#" or "Bb". Raises `InputError` for anything else."""
    found = _TONIC.fullmatch(text.strip())
    if found is None:
        raise InputError(f"{text!r} is not a tonic; give a letter from A to G, and # or b if need be, such as F# or Bb")
    letter, sign = found.groups()
    return (_NATURAL[letter.upper()] + {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}[sign]) % 12


def check_tonic(text: str) -> None:
    """Raise `InputError` if `text` is neither a tonic nor "auto"."""
    if not isinstance(text, str):
        raise InputError(f"key is {text!r}; give a tonic such as F#, or {AUTO}")
    if text != AUTO:
        try:
            tonic_of(text)
        except InputError as error:
            raise InputError(f"{error}, or {AUTO}") from None
