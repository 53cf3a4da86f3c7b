"""Gathering the songs of an archive from the chunks they are kept in.

The long arrays, one value a note, are gathered and written one at a time, so that a process holds one of them and not
the whole archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from emsync.training.corpus.archive import write_arrays
from emsync.training.corpus.archive_schema import MOOD_SCHEMA, RAGGED, RAGGED_MOOD, SCHEMA, as_row

#: The arrays that hold one value a song.
_TEXTS = ("song_id", "source", "pool")
_SHORT = {**{kind: names for kind, names in RAGGED.items() if kind != "note"}, **RAGGED_MOOD}


@dataclass(frozen=True)
class Plan:
    """An archive to write, and where its songs are kept, in order: chunk's file and row."""

    path: str
    places: tuple[tuple[str, int], ...]


def write_plan(plan: Plan) -> None:
    """Write one archive. A chunk is opened once for all short arrays, and once for each long one."""
    write_arrays(plan.path, _arrays(plan.places))


def _arrays(places: Sequence[tuple[str, int]]) -> Iterator[tuple[str, np.ndarray]]:
    """The archive's arrays, in the order in which they are written."""
    short, begins, note_offset = _short_arrays(places)
    for name, kind in {**SCHEMA, **MOOD_SCHEMA}.items():
        if name in RAGGED["note"]:
            yield name, _note_array(places, name, begins, note_offset)
        else:
            yield name, as_row(short.pop(name), kind, name)


def _by_chunk(places: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """The ranks of the songs that each chunk holds."""
    ranks: dict[str, list[int]] = {}
    for rank, (chunk, _) in enumerate(places):
        ranks.setdefault(chunk, []).append(rank)
    return ranks


def _short_arrays(
    places: Sequence[tuple[str, int]],
) -> tuple[dict[str, np.ndarray], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """All arrays but the notes'; where each song's notes begin in its chunk (S,), and in the archive (S + 1,)."""
    n = len(places)
    texts: dict[str, list[str]] = {name: [""] * n for name in _TEXTS}
    parts: dict[str, list[np.ndarray]] = {name: [np.empty(0)] * n for names in _SHORT.values() for name in names}
    begins, lengths = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for chunk, ranks in _by_chunk(places).items():
        with np.load(chunk, allow_pickle=False) as kept:
            held = {name: kept[name] for name in (*SCHEMA, *MOOD_SCHEMA) if name not in RAGGED["note"]}
        for rank in ranks:
            row = places[rank][1]
            begins[rank], end = held["note_offset"][row : row + 2]
            lengths[rank] = end - begins[rank]
            for name in _TEXTS:
                texts[name][rank] = str(held[name][row])
            for kind, names in _SHORT.items():
                begin, end = held[f"{kind}_offset"][row : row + 2]
                for name in names:
                    parts[name][rank] = held[name][begin:end].copy()  # a view would keep the whole chunk's
    note_offset = _offsets(lengths)
    out: dict[str, np.ndarray] = {"note_offset": note_offset}
    out |= {name: np.array(values, dtype=np.str_) for name, values in texts.items()}
    for kind, names in _SHORT.items():
        out[f"{kind}_offset"] = _offsets(np.array([len(part) for part in parts[names[0]]], dtype=np.int64))
        out |= {name: np.concatenate(parts.pop(name)) for name in names}
    return out, begins, note_offset


def _offsets(lengths: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def _note_array(
    places: Sequence[tuple[str, int]], name: str, begins: npt.NDArray[np.int64], offset: npt.NDArray[np.int64]
) -> np.ndarray:
    """One of the notes' arrays (N,), song by song."""
    out = np.empty(int(offset[-1]), dtype=SCHEMA[name])
    for chunk, ranks in _by_chunk(places).items():
        with np.load(chunk, allow_pickle=False) as kept:
            held = kept[name]
        for rank in ranks:
            n = int(offset[rank + 1] - offset[rank])
            out[offset[rank] : offset[rank + 1]] = held[begins[rank] : begins[rank] + n]
    return out
