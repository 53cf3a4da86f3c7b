"""Archives to events: the same events as the Score path gives, and what archives alone can hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.tokenizer import events
from emsync.training.corpus import archive_events
from emsync.training.corpus.archive import Song, pack
from emsync.training.corpus.archive_events import tokenize
from emsync.training.corpus.song_to_score import to_score

Note = tuple[int, int, int, int, int]  # family, pitch, start, duration (24ths of a quarter note), velocity
Change = tuple[int, float]  # step, quarter notes a minute
Meter = tuple[int, int, int]  # step, numerator, denominator


def make(notes: Sequence[Note], tempi: Sequence[Change] = (), meters: Sequence[Meter] = ()) -> Song:
    """A Song; notes in any order."""
    ordered = sorted(notes, key=lambda note: (note[0], note[2], note[1]))
    family, pitch, start, duration, velocity = zip(*ordered, strict=True) if ordered else ((),) * 5
    return Song(
        np.array(family, dtype=int),
        np.array(pitch, dtype=int),
        np.array(start, dtype=int),
        np.array(duration, dtype=int),
        np.array(velocity, dtype=int),
        np.array([step for step, _ in tempi], dtype=int),
        np.array([qpm for _, qpm in tempi], dtype=float),
        np.array([step for step, _, _ in meters], dtype=int),
        np.array([above for _, above, _ in meters], dtype=int),
        np.array([below for _, _, below in meters], dtype=int),
    )


def tokenized(*songs: Song, snap_tempo: bool = False) -> list[list[str]]:
    """The names of each song's events."""
    result = tokenize(pack(songs).arrays, snap_tempo=snap_tempo)
    return [[v.NAMES[i] for i in result.ids[a:b]] for a, b in zip(result.offsets, result.offsets[1:], strict=False)]


def moments(ids: np.ndarray) -> list[tuple[int, str]]:
    """(step, name) of every event but TIMESHIFT."""
    step = events.times_steps(ids)
    return [(int(at), v.NAMES[i]) for at, i in zip(step, ids, strict=True) if v.KIND[i] != v.K_TIMESHIFT]


@st.composite
def songs(draw: st.DrawFn) -> Song:
    """Songs as the archives hold them: no two equal notes overlap."""
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4), st.integers(30, 80), st.integers(0, 480), st.integers(2, 384), st.integers(0, 15)
            ),
            min_size=1,
            max_size=40,
        )
    )
    notes: list[Note] = []
    for family, pitch, start, duration, level in sorted(rows):
        same = [note for note in notes if note[:2] == (family, pitch)]
        duration = 3 if family == v.DRUMS else duration
        if all(start >= begin + long for _, _, begin, long, _ in same):
            notes.append((family, pitch, start, duration, 8 * level + 4))
    tempi = draw(st.lists(st.tuples(st.integers(0, 400), st.floats(31.7, 311.3)), max_size=3))
    tempi = sorted({step: (step, round(qpm, 2)) for step, qpm in tempi}.values())
    meters = draw(
        st.lists(st.tuples(st.integers(0, 400), st.sampled_from([3, 4, 5, 7]), st.sampled_from([4, 8])), max_size=2)
    )
    return make(notes, tempi, sorted({meter[0]: meter for meter in meters}.values()))


@given(songs())
def test_the_score_path_gives_the_same_events(song: Song) -> None:
    """But for: silence before the first bar that plays; bars in which a note but rings; a step where rounding ties."""
    score = to_score(song)
    tied = np.abs(np.concatenate([score.start_s, score.end_s, score.bars.start_s]) / v.STEP_S % 1 - 0.5)
    assume((tied > 1e-5).all())
    bars = np.diff(score.tempo.quarters_at(score.bars.start_s))  # named by half quarters
    assume((np.abs(2 * bars % 1 - 0.5) > 1e-5).all())
    result = tokenize(pack([song]).arrays, snap_tempo=False)
    mine = moments(result.ids)
    coded = events.encode(score)
    theirs = moments(coded.ids)

    first_bar = score.bars.start_s[score.bars.start_s <= score.start_s[0] + 1e-9][-1]
    zero = round(first_bar / v.STEP_S)
    last_onset = max(step for step, name in mine if name.startswith("ON"))
    head, shifted = theirs[:2], [(step - zero, name) for step, name in theirs[2:]]
    assert mine[:2] == head
    bars = [row for row in shifted if row[1].startswith("BAR") and row[0] <= last_onset]
    own_bars = [row for row in mine if row[1].startswith("BAR")]
    # The last bar ends where the next meter begins, even behind the music: its length may differ.
    assert [step for step, _ in own_bars] == [step for step, _ in bars if step >= 0]
    assert own_bars[:-1] == [row for row in bars if row[0] >= 0][:-1]
    assert [row for row in mine[2:] if not row[1].startswith("BAR")] == [
        row for row in shifted if not row[1].startswith("BAR")
    ]
    assert result.velocities[result.velocities > 0].tolist() == coded.velocities[coded.velocities > 0].tolist()


@given(st.lists(songs(), min_size=2, max_size=5), st.booleans())
@settings(max_examples=30)
def test_parts_of_an_archive_are_its_songs(many: list[Song], snap: bool) -> None:
    arrays = pack(many).arrays
    whole = tokenize(arrays, snap_tempo=snap)
    part = tokenize(arrays, 1, len(many), snap_tempo=snap)
    assert len(whole.offsets) == len(many) + 1
    assert len(part.offsets) == len(many)
    for k in range(1, len(many)):
        one = sorted((name, step) for step, name in moments(whole.ids[whole.offsets[k] : whole.offsets[k + 1]]))
        same = sorted((name, step) for step, name in moments(part.ids[part.offsets[k - 1] : part.offsets[k]]))
        assert [name for name, _ in one] == [name for name, _ in same]
        # A time in the middle between two steps may be rounded either way, depending on what is before it in the
        # archive.
        assert all(abs(a - b) <= 1 for (_, a), (_, b) in zip(one, same, strict=True))


@given(st.lists(songs(), min_size=1, max_size=6), st.integers(1, 60), st.integers(1, 3))
@settings(max_examples=40)
def test_it_does_not_matter_how_many_songs_are_turned_at_once(many: list[Song], notes: int, count: int) -> None:
    arrays = pack(many).arrays
    whole = tokenize(arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(archive_events, "_NOTES_AT_ONCE", notes)
        patch.setattr(archive_events, "_SONGS_AT_ONCE", count)
        parts = tokenize(arrays)
    assert parts.ids.tolist() == whole.ids.tolist()
    assert parts.velocities.tolist() == whole.velocities.tolist()
    assert parts.offsets.tolist() == whole.offsets.tolist()


def test_a_song_in_full() -> None:
    song = make(
        [(1, 60, 0, 24, 84), (1, 64, 0, 24, 84), (0, 36, 12, 3, 124), (3, 40, 96, 12, 4)],
        tempi=[(0, 125.0)],
        meters=[(0, 3, 4)],
    )
    assert tokenized(song) == [
        [
            "MORE_INSTRUMENTS",
            "START",
            "BAR_3",
            "ON_PIANO_60",
            "ON_PIANO_64",
            "TIMESHIFT_240",
            "ON_DRUMS_36",
            "TIMESHIFT_240",
            "OFF_PIANO_60",
            "OFF_PIANO_64",
            "TIMESHIFT_960",
            "BAR_3",
            "TIMESHIFT_480",
            "ON_BASS_40",
            "TIMESHIFT_240",
            "OFF_BASS_40",
            "END",
        ]
    ]
    result = tokenize(pack([song]).arrays)
    assert result.velocities[result.velocities > 0].tolist() == [11, 11, 16, 1]
    assert (result.ids.dtype, result.velocities.dtype, result.offsets.dtype) == (np.uint16, np.uint8, np.int64)


def test_long_chords_are_labelled() -> None:
    triad = [(1, pitch, 24, 48, 84) for pitch in (60, 64, 67)]
    short = [(1, pitch, 120, 47, 84) for pitch in (60, 64, 67)]
    names = tokenized(make(triad + short))[0]
    assert names.count("CHORD") == 1
    at = names.index("CHORD")
    assert names[at : at + 4] == ["CHORD", "ON_PIANO_60", "ON_PIANO_64", "ON_PIANO_67"]


@pytest.mark.parametrize(("start", "bar_4"), [(0, 1), (95, 1), (96, 1), (191, 1), (960, 1)])
def test_silent_bars_in_front_are_left_out(start: int, bar_4: int) -> None:
    names = tokenized(make([(1, 60, start, 24, 84)]))[0]
    assert names[:3] == ["FEWER_INSTRUMENTS", "START", "BAR_4"]
    assert names.count("BAR_4") == bar_4
    shift = sum(int(name.split("_")[1]) for name in names[: names.index("ON_PIANO_60")] if name.startswith("TIMESHIFT"))
    assert shift == pytest.approx(1000 * (start % 96) * 60 / (24 * 120), abs=4)


@pytest.mark.parametrize("qpm", [33.3, 61.7, 90.0, 119.0, 121.3, 187.0, 398.0])
def test_with_snapping_every_sixteenth_is_a_whole_number_of_steps(qpm: float) -> None:
    notes = [(1, 60, 6 * k, 6, 84) for k in range(0, 64, 2)]
    result = tokenize(pack([make(notes, tempi=[(0, qpm)])]).arrays, snap_tempo=True)
    k = round(1875 / qpm)
    onsets = [step for step, name in moments(result.ids) if name.startswith("ON")]
    assert onsets == [2 * k * i for i in range(32)], "no sixteenth differs from another"
    assert abs(1875 / k - qpm) / qpm < 0.12


def test_tempi_that_are_no_music_are_clipped_or_120() -> None:
    one = [(1, 60, 0, 24, 84)]
    for qpm, length_ms in [(1.0, 3000), (1e9, 152), (float("nan"), 496)]:
        names = tokenized(make(one, tempi=[(0, qpm)]))[0]
        assert sum(int(name.split("_")[1]) for name in names if name.startswith("TIMESHIFT")) == length_ms, qpm


def test_tempo_that_begins_late_is_120_until_then() -> None:
    names = tokenized(make([(1, 60, 0, 48, 84)], tempi=[(24, 60.0)]))[0]
    assert sum(int(name.split("_")[1]) for name in names if name.startswith("TIMESHIFT")) == pytest.approx(1500, abs=4)


@pytest.mark.parametrize(
    ("meter", "bars"),
    [
        ((7, 8), ["BAR_3.5", "BAR_3.5"]),
        ((9, 2), ["BAR_6", "BAR_6"]),  # eighteen quarter notes, in three parts, of which two are reached
        ((1, 16), ["BAR_1"] * 7),
        ((0, 0), ["BAR_4"] * 2),
    ],
)
def test_meters(meter: tuple[int, int], bars: list[str]) -> None:
    arrays = dict(pack([make([(1, 60, 0, 24, 84), (1, 60, 150, 24, 84)], meters=[(0, 4, 4)])]).arrays)
    arrays["meter_num"], arrays["meter_den"] = np.array([meter[0]]), np.array([meter[1]])
    names = [v.NAMES[i] for i in tokenize(arrays).ids]
    assert [name for name in names if name.startswith("BAR")] == bars


def test_a_meter_in_mid_bar_ends_the_bar() -> None:
    names = tokenized(make([(1, 60, k * 24, 24, 84) for k in range(8)], meters=[(0, 4, 4), (36, 3, 4)]))[0]
    assert [name for name in names if name.startswith("BAR")] == ["BAR_1.5", "BAR_3", "BAR_3"]


def test_notes_that_fall_together_at_an_absurd_tempo() -> None:
    # At 400, a 24th of a quarter note is less than a step: equal notes meet, and the later one goes.
    notes = [(1, 60, start, 1, 84) for start in range(6)] + [(0, 36, start, 3, 84) for start in range(6)]
    rows = moments(tokenize(pack([make(notes, tempi=[(0, 400.0)])]).arrays, snap_tempo=False).ids)
    for name in ("ON_PIANO_60", "ON_DRUMS_36"):
        at = [step for step, other in rows if other == name]
        assert at == sorted(set(at))
    sounding = False
    for _, name in rows:
        if name.endswith("PIANO_60"):
            assert name.startswith("OFF") == sounding
            sounding = not sounding
    assert not sounding


def test_songs_without_notes_have_a_start_and_an_end() -> None:
    empty = make([])
    assert (
        tokenized(empty, make([(1, 60, 0, 24, 84)]), empty)[::2] == [["FEWER_INSTRUMENTS", "START", "BAR_4", "END"]] * 2
    )
    assert tokenized(empty) == [["FEWER_INSTRUMENTS", "START", "BAR_4", "END"]]


@pytest.mark.parametrize(("first", "last"), [(0, 0), (1, 1), (1, None), (5, 9)])
def test_no_songs_are_no_events(first: int, last: int | None) -> None:
    result = tokenize(pack([make([(1, 60, 0, 24, 84)])]).arrays, first, last)
    assert (len(result.ids), len(result.velocities), result.offsets.tolist()) == (0, 0, [0])


def test_an_open_file_serves_as_an_archive(tmp_path: Path) -> None:
    arrays = pack([make([(1, 60, 0, 24, 84)])]).arrays
    np.savez(tmp_path / "a.npz", **{name: array for name, array in arrays.items() if array.dtype.kind != "O"})
    with np.load(tmp_path / "a.npz") as file:
        assert tokenize(file).ids.tolist() == tokenize(arrays).ids.tolist()


def test_a_pitch_outside_its_family_is_refused() -> None:
    arrays = dict(pack([make([(1, 60, 0, 24, 84)])]).arrays)
    arrays["pitch"] = np.array([7], dtype=np.uint8)
    with pytest.raises(InputError, match="a pitch is outside its family's range"):
        tokenize(arrays)
