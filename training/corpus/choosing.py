"""Which songs of those that were read a corpus keeps, and which side each is on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emsync.training.corpus import near_duplicates
from emsync.training.corpus.chunks import Entry


@dataclass(frozen=True, eq=False)
class Chosen:
    """A kept song, and the contents of all songs of its group."""

    song: Entry
    contents: tuple[str, ...]


@dataclass(frozen=True)
class Counts:
    """How many songs were left out: duplicates and near-duplicates."""

    duplicates: int
    near_duplicates: int


def choose(songs: Sequence[Entry], threshold: float) -> tuple[list[Chosen], Counts]:
    """One song of every group of near-duplicates, in the order of their ids."""
    distinct: dict[str, Entry] = {}
    for song in songs:
        other = distinct.get(song.content)
        if other is None or (song.song_id, song.source) < (other.song_id, other.source):
            distinct[song.content] = song
    entries = sorted(distinct.values(), key=lambda each: (each.song_id, each.source))
    labels = near_duplicates.groups(
        np.array([each.signature for each in entries], dtype=np.uint32),
        np.array([each.n_shingles for each in entries], dtype=np.int64),
        threshold=threshold,
    )
    members: dict[int, list[Entry]] = {}
    for label, entry in zip(labels.tolist(), entries, strict=True):
        members.setdefault(label, []).append(entry)
    chosen = [
        Chosen(
            # The first of equals is the one with the least id: `max` keeps it.
            max(group, key=lambda each: (each.n_families, each.end_step, each.n_notes)),
            tuple(each.content for each in group),
        )
        for group in members.values()
    ]
    chosen.sort(key=lambda each: each.song.song_id)
    return chosen, Counts(len(songs) - len(entries), len(entries) - len(chosen))


def _unit(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, and on the seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:8], "big") / 2**64


def split(chosen: Sequence[Chosen], valid_share: float, seed: int) -> tuple[list[Entry], list[Entry]]:
    """Training and validation songs, each in random order.

    A group's place is the least hash of its songs' contents: a song added elsewhere does not move it, and a new
    near-duplicate can move it to validation (with the probability `valid_share`) but never out of it. Where there are
    two songs or more, neither side is left empty, which in a corpus of a few songs may move one.
    """
    place = {each.song.content: min(_unit(seed, content) for content in each.contents) for each in chosen}
    ordered = sorted((each.song for each in chosen), key=lambda each: (place[each.content], each.content))
    wanted = sum(place[each.content] < valid_share for each in ordered)
    least = 1 if valid_share > 0 and len(ordered) > 1 else 0
    n_valid = min(max(wanted, least), len(ordered) - 1)

    def shuffled(songs: list[Entry]) -> list[Entry]:
        return sorted(songs, key=lambda each: (_unit(seed, "order " + each.content), each.content))

    return shuffled(ordered[n_valid:]), shuffled(ordered[:n_valid])
