"""How music makes room for a film's own speech: the choices. `emsync.sidechain` has the formulas."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

from emsync.errors import InputError

#: The least and the most of each choice, and its unit.
RANGES: Final = {
    "threshold_db": (-90.0, 0.0, "dB"),
    "amount_db": (0.0, 60.0, "dB"),
    "attack_s": (0.001, 10.0, "s"),
    "release_s": (0.001, 10.0, "s"),
}
#: What the music's level can be changed by, in dB.
MUSIC_DB: Final = (-60.0, 20.0)


@dataclass(frozen=True)
class Ducking:
    """How music makes room for speech.

    Attributes:
        threshold_db: Without a voice model: film sound above this level counts as speech, in dB of full scale,
            from -90 to 0.
        amount_db: How far the music is lowered, from 0 to 60 dB.
        attack_s: Time constant of lowering the music, from 0.001 to 10 s.
        release_s: Time constant of raising it again, from 0.001 to 10 s.
        voice: The file of a voice model; "auto" takes one that is installed, else the level; "level" takes the level.

    """

    threshold_db: float = -35.0
    amount_db: float = 12.0
    attack_s: float = 0.1
    release_s: float = 0.6
    voice: str | os.PathLike[str] = "auto"

    def __post_init__(self) -> None:
        for name, (low, high, unit) in RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} of {value:g} {unit} is not from {low:g} to {high:g}; give another")
