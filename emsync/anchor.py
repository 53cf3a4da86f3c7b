"""The global anchor (NarraScore, Section 3.4): what a whole piece sounds like, in four lines.

    anchor = Anchor.of_score(score, mood)      # by rules
    anchor = Anchor.read("anchor.json")        # edited by hand, or written by a vision-language model
    anchor.text                                # the prompt of a music model, for the whole piece

The four lines are the paper's: genre and style, instruments and timbre, emotional atmosphere, rhythmic pacing. The
paper lets a vision-language model write them. Here they follow from the score: families by how long they sound, tempo,
key, the mood curve and where it moves, density, and sections that return. The words are those of `emsync.describe`,
so that an anchor also steers the composer.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync.describe import DENSITIES, MOODS, TEMPI
from emsync.errors import InputError
from emsync.files import read_json, write_bytes
from emsync.harmony import find_key
from emsync.mood import MoodCurve
from emsync.score import Score
from emsync.tokenizer import families
from emsync.vocabulary import BASS, DRUMS, FAMILIES, GUITAR, PIANO, STRINGS

_MAX_BYTES: Final = 1 << 20
#: A line has at most so many characters; four of them are a text that a music model takes (`backends.LONGEST_TEXT`).
LONGEST: Final = 240
#: A family is named if it sounds for at least this share of what all of them sound.
_HEARD: Final = 0.05
#: The mood has moved if a level differs by this much between the first and the last third.
_MOVED: Final = 0.25
_TONICS: Final = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
_REMEDY: Final = 'give a file such as {"genre": "...", "instruments": "...", "atmosphere": "...", "pacing": "..."}'


@dataclass(frozen=True)
class Anchor:
    """Four lines on a piece; an empty one says nothing."""

    genre: str = ""
    instruments: str = ""
    atmosphere: str = ""
    pacing: str = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            line = getattr(self, item.name)
            if not isinstance(line, str) or len(line) > LONGEST:
                what = f"{len(line)} characters" if isinstance(line, str) else repr(line)
                raise InputError(f"the anchor's {item.name} is {what}; give a line of at most {LONGEST} characters")
        if not any(line.strip() for line in asdict(self).values()):
            raise InputError("the anchor is empty; fill in at least one of genre, instruments, atmosphere and pacing")

    @property
    def text(self) -> str:
        """All lines as one description."""
        return ", ".join(line.strip(" .") for line in asdict(self).values() if line.strip(" ."))

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Anchor:
        """The anchor of a JSON file, or of the record of a recording. Raises `InputError`."""
        data = read_json(path, _MAX_BYTES, "anchor", _REMEDY)
        if isinstance(data, dict) and isinstance(data.get("anchor"), dict):
            data = data["anchor"]
        if not isinstance(data, dict):
            raise InputError(f"{path} is not an anchor; {_REMEDY}")
        known = [item.name for item in fields(cls)]
        unknown = sorted(str(name) for name in data if name not in known)
        if unknown:
            raise InputError(
                f"{path} has the field {unknown[0]!r}, which an anchor has not; it may have {', '.join(known)}"
            )
        try:
            return cls(**data)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write it as JSON. Raises `OutputError`."""
        write_bytes(path, (json.dumps(asdict(self), indent=1) + "\n").encode(), overwrite=overwrite)
        return Path(path)

    @classmethod
    def of_score(cls, score: Score, mood: MoodCurve | None = None) -> Anchor:
        """The anchor of a piece with notes, by rules."""
        reduced = families.reduce(score).score
        shares = _shares(reduced)
        playing = [FAMILIES[i] for i in np.argsort(-shares, kind="stable") if shares[i] >= _HEARD]
        key = find_key(score)
        in_key = "" if key is None else f", in {_TONICS[key.tonic]} {'minor' if key.is_minor else 'major'}"
        return cls(_genre(shares) + in_key, _listed(playing), _atmosphere(mood, score.duration_s), _pacing(reduced))


def _shares(score: Score) -> np.ndarray:
    """(5,) The share of each family in how long all notes sound; a drum counts as a quarter of a second."""
    lengths_s = np.where(score.instrument == DRUMS, 0.25, score.end_s - score.start_s)
    sums = np.bincount(score.instrument, weights=lengths_s, minlength=len(FAMILIES))
    return np.asarray(sums / max(float(sums.sum()), 1e-9))


def _genre(shares: np.ndarray) -> str:
    drums, guitar = shares[DRUMS] >= _HEARD, shares[GUITAR] >= 0.2
    if drums:
        return "pop rock" if guitar else "cinematic pop"
    if shares[STRINGS] >= 0.4:
        return "cinematic orchestral music"
    if shares[PIANO] + shares[BASS] >= 0.6:
        return "neoclassical piano music"
    return "acoustic folk" if guitar else "cinematic chamber music"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def _atmosphere(mood: MoodCurve | None, duration_s: float) -> str:
    """The mood's nearest word, and where the mood moves."""
    if mood is None:
        return ""
    thirds = np.linspace(0.0, duration_s, 31)
    valence, arousal = (np.nan_to_num(level) for level in mood.filled().at(thirds))
    mean = np.array([valence.mean(), arousal.mean()])
    word = min(MOODS, key=lambda name: float(np.hypot(*(mean - np.array(MOODS[name])))))
    moves = []
    for level, more, less in ((arousal, "growing more intense", "calming down"), (valence, "brightening", "darkening")):
        change = float(level[-11:].mean() - level[:11].mean())
        if abs(change) >= _MOVED:
            moves.append(more if change > 0 else less)
    return ", ".join([word, *moves])


def _pacing(score: Score) -> str:
    """Tempo, density and sections that return."""
    qpm = 60 * float(score.tempo.quarters_at(score.duration_s)) / max(score.duration_s, 1e-9)
    tempo = min(TEMPI, key=lambda name: abs(np.log(qpm / np.mean(TEMPI[name]))))
    per_s = len(score) / max(score.duration_s, 1e-9)
    middle = sum(DENSITIES.values()) / 2
    width = (DENSITIES["busy"] - DENSITIES["sparse"]) / 4
    density = "sparse" if per_s < middle - width else "busy" if per_s > middle + width else "flowing"
    names = [marker.text for marker in score.markers if not marker.text.lower().startswith("cut")]
    returning = ["with sections that return"] if len(set(names)) < len(names) else []
    return ", ".join([f"{tempo}, {qpm:.0f} bpm", density, *returning])


def given(anchor: str | os.PathLike[str] | Anchor | None) -> Anchor | None:
    """An anchor; read, if it is the name of a file."""
    return Anchor.read(anchor) if isinstance(anchor, str | os.PathLike) else anchor


def plain(anchor: Anchor | None) -> dict[str, Any] | None:
    """An anchor as plain values for JSON."""
    return None if anchor is None else asdict(anchor)
