"""Any events to a score: those that no encoder wrote, and many songs at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.tokenizer import events
from emsync.tokenizer.events import Events, decode
from tests.event_loops import (
    check_round_trip,
    decode_by_loop,
    ids_of,
    named,
)

ANY_IDS = st.lists(st.integers(0, v.SIZE - 1), max_size=80)
NOTE_IDS = st.lists(
    st.sampled_from(
        ids_of(
            "ON_PIANO_60",
            "OFF_PIANO_60",
            "ON_DRUMS_36",
            "ON_BASS_60",
            "OFF_BASS_60",
            "TIMESHIFT_8",
            "TIMESHIFT_1000",
            "CHORD",
            "BAR_0.5",
            "BAR_4",
            "BAR_8",
            "END",
            "START",
            "PAD",
        )
    ),
    max_size=60,
)


@given(st.one_of(ANY_IDS, NOTE_IDS))
@example([])
def test_any_ids_decode_like_the_loop(ids: list[int]) -> None:
    score = decode(ids)
    drums = score.instrument == v.DRUMS
    start = np.rint(score.start_s / v.STEP_S).astype(int)
    end = np.where(drums, start, np.rint(score.end_s / v.STEP_S).astype(int))
    rows = zip(score.instrument.tolist(), score.pitch.tolist(), start.tolist(), end.tolist(), strict=True)
    assert sorted(rows) == decode_by_loop(ids)
    assert len(score) == sum(v.KIND[i] == v.K_ON for i in ids), "no note is lost"
    assert len(score.bars) >= 1
    assert np.isfinite(score.tempo.qpm).all()


@given(st.one_of(ANY_IDS, NOTE_IDS))
def test_what_was_decoded_can_be_encoded(ids: list[int]) -> None:
    check_round_trip(decode(ids))


def test_a_note_without_its_off_lasts_to_the_end() -> None:
    ids = ids_of("START", "ON_PIANO_60", "TIMESHIFT_1000", "ON_PIANO_62", "TIMESHIFT_400")
    assert decode(ids).end_s.tolist() == pytest.approx([1.4, 1.4])


def test_a_note_that_begins_again_has_ended() -> None:
    ids = ids_of("ON_PIANO_60", "TIMESHIFT_1000", "ON_PIANO_60", "TIMESHIFT_400", "OFF_PIANO_60", "OFF_PIANO_60")
    score = decode(ids)
    assert score.start_s.tolist() == [0.0, 1.0]
    assert score.end_s.tolist() == pytest.approx([1.0, 1.4])


def test_end_closes_what_sounds_and_no_more() -> None:
    ids = ids_of("ON_PIANO_60", "TIMESHIFT_80", "END", "TIMESHIFT_1000", "ON_PIANO_62", "TIMESHIFT_80", "OFF_PIANO_62")
    score = decode(ids)
    assert score.start_s.tolist() == pytest.approx([0.0, 1.08])
    assert score.end_s.tolist() == pytest.approx([0.08, 1.16])


def test_velocities_of_the_paper_where_none_are_given() -> None:
    ids = ids_of("ON_PIANO_60", "TIMESHIFT_80", "CHORD", "ON_PIANO_62", "ON_BASS_40", "TIMESHIFT_80", "ON_PIANO_64")
    assert dict(zip(decode(ids).pitch.tolist(), decode(ids).velocity.tolist(), strict=True)) == {
        60: 80,
        62: 120,
        40: 120,
        64: 80,
    }
    given = decode(ids, [3, 0, 0, 0, 16, 0, 0])
    assert dict(zip(given.pitch.tolist(), given.velocity.tolist(), strict=True)) == {60: 20, 62: 120, 40: 124, 64: 80}


def test_music_without_bars_gets_some() -> None:
    score = decode(ids_of("ON_PIANO_60", *["TIMESHIFT_1000"] * 5, "OFF_PIANO_60"))
    assert score.bars.start_s.tolist() == [0.0, 2.0, 4.0]
    assert score.tempo.qpm.tolist() == [120.0]


@pytest.mark.parametrize(
    ("ids", "velocities", "message"),
    [
        ([0, 912], None, r"event ids\[1\] is 912, outside 0 to 911; was this made with another vocabulary"),
        ([5, -1], None, r"event ids\[1\] is -1, outside 0 to 911"),
        ([0.0, 1.0], None, r"whole numbers from 0 to 911, not float64"),
        (["END"], None, r"whole numbers from 0 to 911, not <U3"),
        ([[1, 2], [3, 4]], None, r"one row of numbers, not an array of shape \(2, 2\); give one song"),
        ([[1, 2], [3]], None, r"one row of numbers, not rows of several lengths"),
        (7, None, r"one row of numbers, not an array of shape \(\)"),
        ([1, 2], [0], r"there are 2 event ids and 1 velocities; give one velocity an event"),
        ([147], [17], r"velocities\[0\] is 17, outside 0 to 16"),
        ([147], [-1], r"velocities\[0\] is -1, outside 0 to 16"),
        ([v.SHIFT_BASE + 125] * 134_218, None, r"the events last 134218 s, past 134218 s; cut them in parts"),
    ],
)
def test_what_cannot_be_decoded(ids: object, velocities: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode(ids, velocities)  # type: ignore[arg-type]


def test_events_are_two_rows_of_one_length() -> None:
    with pytest.raises(InputError, match=r"ids of shape \(2,\) and velocities of shape \(3,\) do not fit"):
        Events(np.zeros(2, dtype=np.int32), np.zeros(3, dtype=np.uint8))


def test_many_songs_at_once_are_the_songs_one_by_one() -> None:
    song = np.array([0, 2, 2, 0])
    family, pitch = np.array([1, 0, 4, 1]), np.array([60, 36, 50, 64])
    notes = events.Notes(
        song, family, pitch, np.array([3, 4, 5, 6]), np.array([0, 5, 7, 200]), np.array([9, 6, 7, 400])
    )
    none = np.zeros(0, dtype=np.int64)
    bar_song, bar_step, half_quarters = np.array([0, 2]), np.array([0, 3]), np.array([8, 7])
    ids, velocities, offsets = events.assemble(notes, bar_song, bar_step, half_quarters, none, none, 3)
    assert [named(ids[a:b]) for a, b in pairwise(offsets)] == [
        [
            "FEWER_INSTRUMENTS",
            "START",
            "BAR_4",
            "ON_PIANO_60",
            "TIMESHIFT_72",
            "OFF_PIANO_60",
            "TIMESHIFT_1000",
            "TIMESHIFT_528",
            "ON_PIANO_64",
            "TIMESHIFT_1000",
            "TIMESHIFT_600",
            "OFF_PIANO_64",
            "END",
        ],
        ["FEWER_INSTRUMENTS", "START", "END"],
        [
            "FEWER_INSTRUMENTS",
            "START",
            "TIMESHIFT_24",
            "BAR_3.5",
            "TIMESHIFT_16",
            "ON_DRUMS_36",
            "TIMESHIFT_16",
            "ON_STRINGS_50",
            "OFF_STRINGS_50",
            "END",
        ],
    ]
    assert velocities[velocities > 0].tolist() == [4, 7, 5, 6]


@pytest.mark.parametrize(("family", "pitch"), [(0, 26), (1, 20), (4, 109)])
def test_a_pitch_outside_its_family_is_refused(family: int, pitch: int) -> None:
    one, none = np.array([0]), np.zeros(0, dtype=np.int64)
    notes = events.Notes(one, np.array([family]), np.array([pitch]), one, one, one + 1)
    with pytest.raises(InputError, match="a pitch is outside its family's range"):
        events.assemble(notes, none, none, none, none, none, 1)
