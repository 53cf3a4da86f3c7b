"""Near-duplicates: versions of a song are found, other songs are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsync.errors import InputError
from emsync.training.corpus import near_duplicates
from emsync.training.corpus.archive import Song
from emsync.training.corpus.chunks import content_hash
from emsync.training.corpus.song_files import read_song
from tests.corpus.files import (
    moved,
    tune,
    write_midi,
)


def fingerprint(song: Song) -> tuple[np.ndarray, int]:
    hashed = near_duplicates.shingles(song)
    return near_duplicates.signature(hashed), len(hashed)


def label(*paths: Path) -> list[int]:
    prints = [fingerprint(read_song(path).song) for path in paths]
    return near_duplicates.groups(np.array([a for a, _ in prints]), np.array([n for _, n in prints])).tolist()


def test_versions_of_a_song_are_found_and_other_songs_are_not(tmp_path: Path) -> None:
    melody_, bass = tune(1), tune(2)
    versions = [
        write_midi(tmp_path / "a.mid", [(0, 0, melody_), (1, 33, bass)]),
        write_midi(tmp_path / "b.mid", [(0, 0, tune(7)), (1, 33, tune(8))]),
        write_midi(tmp_path / "c.mid", [(0, 0, moved(melody_, 3)), (1, 33, moved(bass, 3))]),  # another key
        write_midi(tmp_path / "d.mid", [(0, 0, moved(melody_, 0, 8)), (1, 33, moved(bass, 0, 8))], tempo=700_000),
        write_midi(tmp_path / "e.mid", [(1, 33, bass), (0, 30, melody_)]),  # other instruments
        write_midi(tmp_path / "f.mid", [(0, 0, melody_)]),  # without bass
        write_midi(tmp_path / "g.mid", [(0, 0, melody_[:100]), (1, 33, bass[:100])]),  # cut off
    ]
    assert label(*versions) == [0, 1, 0, 0, 0, 0, 0]


def test_signature_estimates_jaccard_similarity() -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 2**63, 3000).astype(np.uint64)
    for shared in (0, 500, 1000, 2000):
        a, b = values[:2000], values[2000 - shared : 3000]
        exact = shared / 3000
        # Four standard deviations of a mean of SIGNATURE_SIZE coin tosses.
        margin = 4 * np.sqrt(exact * (1 - exact) / near_duplicates.SIGNATURE_SIZE) + 0.01
        assert (
            abs(near_duplicates.similarity(near_duplicates.signature(a), near_duplicates.signature(b)) - exact)
            <= margin
        )


def test_little_is_not_compared_and_chains_are_one_group() -> None:
    base = np.arange(near_duplicates.SIGNATURE_SIZE, dtype=np.uint32)
    half = near_duplicates.SIGNATURE_SIZE // 2
    second, third = base.copy(), base.copy()
    second[half:] += 1000
    third[:] = second
    third[:half] += 1000  # nothing in common with the first, half with the second
    rows = np.array([base, third, second, base])
    assert near_duplicates.groups(rows, np.array([50, 50, 50, 3])).tolist() == [0, 0, 0, 3]
    assert near_duplicates.groups(rows, np.array([50, 50, 50, 50]), threshold=0.9).tolist() == [0, 1, 2, 0]
    assert near_duplicates.groups(rows[:0], np.zeros(0, dtype=int)).tolist() == []


def test_hundreds_of_copies_are_one_group() -> None:
    rows = np.tile(np.arange(near_duplicates.SIGNATURE_SIZE, dtype=np.uint32), (300, 1))
    assert set(near_duplicates.groups(rows, np.full(300, 99)).tolist()) == {0}


@pytest.mark.parametrize("threshold", [0.0, 1.5, float("nan")])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(InputError, match=r"a similarity threshold of .* joins all or none"):
        near_duplicates.groups(
            np.zeros((0, near_duplicates.SIGNATURE_SIZE), np.uint32), np.zeros(0, dtype=int), threshold=threshold
        )


def test_content_is_the_notes_alone(tmp_path: Path) -> None:
    notes = tune(1)
    same = [
        write_midi(tmp_path / "a.mid", [(0, 0, notes)]),
        write_midi(tmp_path / "b.mid", [(5, 4, notes)], tempo=300_000, velocity=20),
        write_midi(tmp_path / "c.mid", [(0, 0, moved(notes, 0, 6))]),
    ]
    other = write_midi(tmp_path / "d.mid", [(0, 0, moved(notes, 1))])
    assert len({content_hash(read_song(path).song) for path in same}) == 1
    assert content_hash(read_song(other).song) != content_hash(read_song(same[0]).song)
