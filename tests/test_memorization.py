"""Memorization: planted copies are found whole, and what a search by hand finds; plain music and drums do not count."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from emsync.errors import CorpusError, InputError
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus.archive import Archive, Song, pack, write_archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import copies
from emsync.training.evaluation.copies import Lines, Search, hashes, is_plain, lines_of_archive, lines_of_scores
from emsync.training.evaluation.memorization import measure
from emsync.vocabulary import BASS, DRUMS, PIANO, STRINGS

Row = tuple[int, int, int]  # family, pitch, sixteenth


def melody(seed: int, n: int = 120, *, family: int = PIANO, span: int = 30) -> list[Row]:
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.integers(1, 5, n))
    return [(family, int(pitch), int(place)) for pitch, place in zip(rng.integers(45, 45 + span, n), at, strict=True)]


def as_song(rows: list[Row], name: str = "") -> Song:
    family, pitch, at = np.array(sorted(rows, key=lambda row: (row[0], row[2], row[1]))).T
    empty = np.zeros(0, np.int64)
    return Song(
        family, pitch, at * 6, np.full(len(at), 3), np.full(len(at), 92), empty, empty, empty, empty, empty,
        song_id=name,
    )  # fmt: skip


def as_score(rows: list[Row], *, qpm: float = 96.0) -> Score:
    family, pitch, at = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    sixteenth_s = 15 / qpm
    n_bars = max(int(at.max(initial=0)) // 16 + 1, 1)
    return Score(
        FAMILY_INSTRUMENTS, family, pitch, np.full(len(at), 80), at * sixteenth_s, (at + 0.9) * sixteenth_s,
        TempoMap.constant(qpm), Bars(np.arange(n_bars) * 16 * sixteenth_s, [4] * n_bars, [4] * n_bars),
    )  # fmt: skip


def corpus(*songs: list[Row]) -> Archive:
    return pack([as_song(rows, f"{i:032x}") for i, rows in enumerate(songs)])


def stolen(rows: list[Row], first: int, n: int, *, up: int = 0, at: int = 0) -> list[Row]:
    """Notes `first` to first + n of a melody, transposed, from sixteenth `at` on."""
    return [(family, pitch + up, place - rows[first][2] + at) for family, pitch, place in rows[first : first + n]]


def by_hand(query: Lines, found: Lines) -> np.ndarray:
    """How many notes from each note of the query on occur in the other, 0 below 16."""
    longest = np.zeros(len(query), dtype=int)
    for i in range(len(query)):
        for j in range(len(found)):
            n = 1
            while (
                max(i, j - len(found) + len(query)) + n < len(query)
                and query.line[i + n] == query.line[i]
                and found.line[j + n] == found.line[j]
                and query.step[i + n - 1] == found.step[j + n - 1]
            ):
                n += 1
            longest[i] = max(longest[i], n if n >= 16 else 0)
    return longest


# ---------------------------------------------------------------------------------------------------------------------
# Lines and hashes


def test_a_song_and_its_score_are_the_same_lines() -> None:
    archive = corpus(melody(0) + melody(1, family=BASS, span=12), melody(2, family=STRINGS))
    found = lines_of_archive(archive)
    again = lines_of_scores([song_score(archive, 0), song_score(archive, 1)])
    assert len(found) == 360
    assert np.array_equal(found.line, again.line)
    assert np.array_equal(found.pitch, again.pitch)
    inner = found.within(2)
    assert np.array_equal(found.step[inner], again.step[inner])
    assert sorted(set(found.family.tolist())) == [PIANO, BASS, STRINGS]


def test_transposed_and_at_another_tempo_steps_are_the_same() -> None:
    rows = melody(3, 40)
    here = lines_of_scores([as_score(rows, qpm=90)])
    there = lines_of_scores([as_score([(STRINGS, pitch + 7, at + 32) for _, pitch, at in rows], qpm=131)])
    assert np.array_equal(here.step[:-1], there.step[:-1])
    assert np.array_equal(hashes(here), hashes(there))


def test_hashes_are_of_fifteen_steps() -> None:
    rng = np.random.default_rng(4)
    steps = rng.integers(0, 3, 400).astype(np.uint16)
    found = hashes(Lines(np.zeros(400, np.int32), np.zeros(400, np.uint8), steps))
    assert len(found) == 400 - 15
    windows = [tuple(steps[i : i + 15]) for i in range(len(found))]
    assert len(set(found.tolist())) == len(set(windows))
    for change in range(15):  # every step counts, and its place
        other = steps[:16].copy()
        other[change] += 1
        assert hashes(Lines(np.zeros(16, np.int32), np.zeros(16, np.uint8), other))[0] != found[0]


def test_plain_windows() -> None:
    def plain(rows: list[Row]) -> bool:
        return bool(is_plain(lines_of_scores([as_score(rows)]))[0])

    assert plain([(PIANO, 60, 2 * i) for i in range(16)])
    assert plain([(PIANO, p, 4 * i) for i in range(6) for p in (60, 64, 67)])  # a chord again and again
    assert plain([(PIANO, 40 + i, i) for i in range(16)])  # a run
    assert plain([(PIANO, (60, 64, 67, 72)[i % 4], i) for i in range(16)])
    assert plain([(DRUMS, pitch, at) for _, pitch, at in melody(5, 16)])
    assert plain(melody(5, 15))  # no window at all
    assert not plain(melody(5, 16))


# ---------------------------------------------------------------------------------------------------------------------
# Searching


@pytest.mark.parametrize("seed", range(3))
def test_the_search_finds_what_a_search_by_hand_finds(seed: int) -> None:
    """Melodies of two pitches and one rhythm quote each other at all lengths."""
    rng = np.random.default_rng(seed)
    songs = [[(PIANO, 60 + 5 * int(rng.random() < 0.15), i) for i in range(150)] for _ in range(4)]
    archive = corpus(*songs[:2])
    search = Search([as_score(rows) for rows in songs[2:]])
    search.search(archive)
    expected = by_hand(search.lines, lines_of_archive(archive))
    assert 0 < (expected > 0).sum() < len(expected)
    assert np.array_equal(search.longest, expected)


@pytest.mark.slow
def test_a_planted_copy_is_found_whole(tmp_path: Path) -> None:
    theirs = [melody(seed) for seed in range(10, 16)]
    own = melody(20, 30)
    thief = own + stolen(theirs[3], 50, 41, up=-4, at=own[-1][2] + 3) + melody(21, 60, family=BASS, span=20)
    honest = melody(22, 90)
    result = measure([as_score(thief), as_score(honest)], [corpus(*theirs)], [as_score(melody(23))])
    assert [copy.notes for copy in result.composed.longest] == [41, 0]
    assert result.composed.longest[0].family == "piano"
    assert result.composed.longest[0].song_id == f"{3:032x}"
    assert result.composed.found.tolist() == [41 - 15, 0]
    assert result.composed.windows.tolist() == [71 - 15 + 60 - 15, 90 - 15]
    assert result.composed.share == pytest.approx(26 / (56 + 45 + 75))
    assert result.valid.share == 0

    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert (values["longest_copy"], values["valid_longest_copy"]) == (41, 0)
    assert values["copies"] == [{"piece": 0, "notes": 41, "family": "piano", "song_id": f"{3:032x}"}]
    assert (values["corpus_songs"], values["corpus_notes"]) == (6, 720)
    assert result.to_markdown().startswith("## Memorization\n")
    assert "| longest copy, notes | 41.000 | 0.000 |" in result.to_markdown()
    result.plot(tmp_path / "memorization.png")
    assert (tmp_path / "memorization.png").read_bytes().startswith(b"\x89PNG")


def test_archives_are_searched_one_after_the_other_from_disk_too(tmp_path: Path) -> None:
    a, b = melody(30), melody(31)
    quotes = stolen(a, 0, 20) + stolen(b, 10, 50, at=400)
    path = tmp_path / "b.npz"
    write_archive(path, corpus(melody(32), b))
    reported: list[tuple[int, int]] = []
    result = measure(
        [as_score(quotes)],
        [corpus(a), path],
        [as_score(a)],
        progress=lambda done, total: reported.append((done, total)),
    )
    assert result.composed.longest[0].notes == 50
    assert result.composed.longest[0].song_id == f"{1:032x}"  # of the second archive
    assert result.composed.found.tolist() == [5 + 35]
    assert result.corpus_songs == 3
    assert reported == [(0, 2), (1, 2), (2, 2)]


def test_plain_copies_and_drums_count_only_beside() -> None:
    repeated: list[Row] = [(PIANO, 60, 2 * i) for i in range(60)]
    beat = melody(40, 80, family=DRUMS)
    result = measure([as_score(repeated + beat)], [corpus(repeated + beat)], [as_score(melody(41))])
    assert math.isnan(result.composed.share)
    assert result.composed.share_of_all == 1
    assert result.composed.longest[0].notes == 0
    assert result.composed.longest_of_all.tolist() == [60]
    assert result.to_dict()["share_of_windows"] is None
    # A run into a melody that is a copy is part of the copy.
    tune = repeated[:20] + stolen(melody(42), 0, 30, at=60)
    result = measure([as_score(tune)], [corpus(tune)], [as_score(melody(41))])
    assert result.composed.longest[0].notes == 50


def test_equal_hashes_are_not_equal_notes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "hashes", lambda found: np.zeros(max(len(found) - 15, 0), dtype=np.uint64))
    search = Search([as_score(melody(50))])
    search.search(corpus(melody(51), melody(52)))
    assert not search.longest.any()


def test_pieces_and_archives_without_music() -> None:
    result = measure([as_score([])], [corpus(melody(60)), pack([])], [as_score(melody(60))])
    assert math.isnan(result.composed.share)
    assert result.composed.longest[0].notes == 0
    nothing = measure([as_score(melody(60))], [pack([])], [as_score([])])
    assert nothing.composed.share == 0


def test_bad_input(tmp_path: Path) -> None:
    some, archive = [as_score(melody(70))], corpus(melody(70))
    with pytest.raises(InputError, match="there are no composed pieces to search for copies; give at least 1"):
        measure([], [archive], some)
    with pytest.raises(InputError, match="there are no archives to search for copies"):
        measure(some, [], some)
    with pytest.raises(InputError, match="there are no validation songs to search for copies"):
        measure(some, [archive], [])
    with pytest.raises(CorpusError, match=r"gone.npz is not a file; give an archive"):
        measure(some, [tmp_path / "gone.npz"], some)
    with pytest.raises(CorpusError, match=r"a song of .* quarter notes cannot be searched; leave it out"):
        copies.lines(np.array([1 << 20]), np.array([1 << 40]), np.array([60]))
