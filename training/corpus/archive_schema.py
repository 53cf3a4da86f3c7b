"""What an archive is made of: its arrays, their types, and what they may hold (docs/corpus.md has the table)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import CorpusError
from emsync.vocabulary import FAMILIES, PITCH_RANGE

DRUM_STEPS: Final = 3
MAX_DURATION_STEPS: Final = 384
MAX_GAP_STEPS: Final = int(np.iinfo(np.uint16).max)
#: A song with at least this many families is in the pool "more", else in "fewer".
MORE_FAMILIES: Final = 3
POOLS: Final = ("fewer", "more")
#: The arrays of an archive and their types; "U" stands for text of any length.
SCHEMA: Final[Mapping[str, str]] = {
    "family": "u1",
    "pitch": "u1",
    "start_delta": "u2",
    "duration": "u2",
    "velocity": "u1",
    "note_offset": "i8",
    "song_id": "U",
    "source": "U",
    "pool": "U",
    "tempo_offset": "i8",
    "tempo_step": "i4",
    "tempo_qpm": "f4",
    "meter_offset": "i8",
    "meter_step": "i4",
    "meter_num": "u1",
    "meter_den": "u1",
}
#: Arrays an archive may have besides, all or none: one mood value a second (`mood.curves`).
MOOD_SCHEMA: Final[Mapping[str, str]] = {"mood_offset": "i8", "mood_valence": "i1", "mood_arousal": "i1"}
_NOTE_ARRAYS = ("family", "pitch", "start_delta", "duration", "velocity")
#: Arrays that are divided among the songs by one array of offsets, by the beginning of its name.
RAGGED: Final[Mapping[str, tuple[str, ...]]] = {
    "tempo": ("tempo_step", "tempo_qpm"),
    "meter": ("meter_step", "meter_num", "meter_den"),
    "note": _NOTE_ARRAYS,
}
RAGGED_MOOD: Final[Mapping[str, tuple[str, ...]]] = {"mood": ("mood_valence", "mood_arousal")}
_LOW, _HIGH = np.array(PITCH_RANGE).T


def as_row(value: npt.ArrayLike, kind: str, name: str, path: str = "a song") -> np.ndarray:
    """`value` as a read-only row of type `kind`; refuses what does not fit."""
    array = np.asarray(value)
    target = np.dtype(kind)
    if array.ndim != 1:
        raise CorpusError(
            f"{path}: {name} has {array.ndim} dimensions where a row is needed; was it written by another program?"
        )
    if kind == "U":
        if array.dtype.kind not in "US" and len(array):
            raise CorpusError(f"{path}: {name} holds {array.dtype}, not text; was it written by another program?")
        result = array.astype(np.str_)
    else:
        if len(array) and (array.dtype.kind not in "uif" or (target.kind != "f" and array.dtype.kind == "f")):
            raise CorpusError(f"{path}: {name} holds {array.dtype}, not {target}; was it written by another program?")
        if target.kind != "f" and array.dtype != target and len(array):
            limits = np.iinfo(target)
            low, high = int(array.min()), int(array.max())
            if low < limits.min or high > limits.max:
                raise CorpusError(f"{path}: {name} reaches from {low} to {high}, outside {limits.min} to {limits.max}")
        result = np.array(array, dtype=target)
    result.flags.writeable = False
    return result


def check_arrays(arrays: Mapping[str, np.ndarray], path: str) -> None:
    """Raise `CorpusError` unless the arrays, already of their types, say what the schema says."""
    n_songs = len(arrays["note_offset"]) - 1
    for name in ("song_id", "source", "pool"):
        if len(arrays[name]) != n_songs:
            raise CorpusError(
                f"{path}: {n_songs} songs but {len(arrays[name])} entries of {name}; was the archive cut off?"
            )
    ragged = {**RAGGED, **(RAGGED_MOOD if "mood_offset" in arrays else {})}
    for kind, names in ragged.items():
        offset = arrays[f"{kind}_offset"]
        lengths = {len(arrays[name]) for name in names}
        if (
            len(offset) != n_songs + 1
            or n_songs < 0
            or offset[0] != 0
            or (np.diff(offset) < 0).any()
            or lengths != {int(offset[-1])}
        ):
            raise CorpusError(
                f"{path}: {kind}_offset does not divide {kind}s of lengths {sorted(lengths)} among {n_songs} songs"
            )
    family, pitch = arrays["family"], arrays["pitch"]
    if len(family):
        if family.max() >= len(FAMILIES):
            raise CorpusError(
                f"{path}: family {family.max()} is over {len(FAMILIES) - 1}; was it written by another program?"
            )
        off = (pitch < _LOW.astype(np.uint8)[family]) | (pitch > _HIGH.astype(np.uint8)[family])
        if off.any():
            at = int(np.argmax(off))
            name, (low, high) = FAMILIES[family[at]], PITCH_RANGE[family[at]]
            raise CorpusError(
                f"{path}: pitch {pitch[at]} of {name} is outside {low} to {high}; build songs with songs.build_song"
            )
        for name, array, low, high in (
            ("duration", arrays["duration"], 1, MAX_DURATION_STEPS),
            ("velocity", arrays["velocity"], 1, 127),
        ):
            if array.min() < low or array.max() > high:
                worst = array.min() if array.min() < low else array.max()
                raise CorpusError(
                    f"{path}: {name} {worst} is outside {low} to {high}; build songs with songs.build_song"
                )
        song = np.repeat(np.arange(n_songs), np.diff(arrays["note_offset"]))
        group = song * len(FAMILIES) + family
        same = group[1:] == group[:-1]
        unsorted = same & (arrays["start_delta"][1:] == 0) & (pitch[1:] <= pitch[:-1])
        if (np.diff(group) < 0).any() or unsorted.any():
            raise CorpusError(
                f"{path}: notes are not in the order (family, start, pitch); was it written by another program?"
            )
    for kind in ("tempo", "meter"):
        step = arrays[f"{kind}_step"]
        if len(step) and step.min() < 0:
            raise CorpusError(f"{path}: a {kind} stands at step {step.min()}, before its song begins")
