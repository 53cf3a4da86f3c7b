"""Stability: each statistic on notes put by hand, against plain loops, and drift that shows."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.composer import Piece
from emsync.errors import InputError
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tokenizer.events import Events
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.evaluation.landing import Composed, CutList, compose_all
from emsync.training.evaluation.stability import STATISTICS, Stability, long_lists, measure, minute_by_minute
from tests.fakes import Fake, plain_recipe

Note = tuple[int, int, int, float, float]  # family, pitch, velocity, start, end


def score(notes: list[Note], duration_s: float = 120.0) -> Score:
    family, pitch, velocity, start, end = np.array(notes or np.empty((0, 5))).T
    return Score(
        FAMILY_INSTRUMENTS, family.astype(int), pitch.astype(int), velocity.astype(int), start, end,
        TempoMap.constant(120), Bars([0.0], [4], [4]), duration_s=duration_s,
    )  # fmt: skip


def test_each_statistic_on_a_few_notes() -> None:
    found = minute_by_minute(
        score(
            [
                (v.PIANO, 60, 40, 0.0, 30.0),
                (v.PIANO, 67, 80, 30.0, 60.0),
                (v.BASS, 36, 60, 30.0, 90.0),
                (v.DRUMS, 38, 100, 100.0, 100.08),
            ]
        ),
        2,
    )
    assert set(found) == set(STATISTICS)
    assert found["notes_per_s"].tolist() == [3 / 60, 1 / 60]
    assert found["notes_per_s_piano"].tolist() == [2 / 60, 0]
    assert found["notes_per_s_drums"].tolist() == [0, 1 / 60]
    assert found["polyphony"].tolist() == pytest.approx([1.5, 0.5])
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    assert found["pitch_class_entropy"][0] == pytest.approx(entropy)
    assert math.isnan(found["pitch_class_entropy"][1])
    assert found["mean_pitch"][0] == pytest.approx((60 + 67 + 36) / 3)
    assert found["velocity"].tolist() == pytest.approx([60, 100])
    assert found["silence"].tolist() == pytest.approx([0, 29.5 / 60])  # a hit sounds for half a second
    assert found["stuck_notes"].tolist() == [3, 0]


def test_silence_alone() -> None:
    found = minute_by_minute(score([]), 2)
    assert found["silence"].tolist() == [1, 1]
    assert found["notes_per_s"].tolist() == [0, 0]
    assert np.isnan(found["velocity"]).all()


def test_a_repeated_drone_is_stuck_and_a_pulse_is_not() -> None:
    drone: list[Note] = [(v.STRINGS, 48, 60, 3.0 * i, 3.0 * i + 3) for i in range(4)]
    pulse: list[Note] = [(v.BASS, 36, 60, 0.5 * i, 0.5 * i + 0.5) for i in range(100)]
    pauses: list[Note] = [(v.PIANO, 60, 60, 3.0 * i, 3.0 * i + 2.5) for i in range(10)]
    assert minute_by_minute(score(drone + pulse + pauses), 2)["stuck_notes"].tolist() == [1, 0]


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(40, 60), st.integers(0, 1150), st.integers(1, 300)),
        max_size=12,
        unique_by=lambda note: note[:3],
    )
)
@settings(max_examples=60)
def test_sound_and_silence_as_a_plain_loop_finds_them(drawn: list[tuple[int, int, int, int]]) -> None:
    notes: list[Note] = [(f, p, 64, s / 10, (s + n) / 10) for f, p, s, n in drawn]
    found = minute_by_minute(score(notes, 150.0), 2)
    at = np.arange(1200) / 10 + 0.05  # tenths of a second: notes begin and end between them
    pitched = sum((np.array([s <= t < e for t in at]) for f, _, _, s, e in notes if f), np.zeros(1200))
    sounding = np.zeros(1200, dtype=bool)
    for family, _, _, start, end in notes:
        sounding |= (start <= at) & (at < (end if family else start + 0.5))
    assert found["polyphony"] == pytest.approx(pitched.reshape(2, 600).mean(axis=1))
    assert found["silence"] == pytest.approx(1 - sounding.reshape(2, 600).mean(axis=1))


def made(notes: list[Note], *, duration_s: float = 120.0, steps: int = 125 * 118) -> Composed:
    """A piece whose END is at this step."""
    shifts = [v.SHIFT_BASE + v.MAX_SHIFT_STEPS] * (steps // 125)
    ids = np.array([v.MORE, v.START, *shifts, v.END], dtype=np.int32)
    nothing = np.zeros(0)
    piece = Piece(Events(ids, np.zeros(len(ids), dtype=np.uint8)), nothing, nothing, nothing)
    return Composed(CutList("x", nothing, duration_s), piece, score(notes, duration_s))


@pytest.mark.slow
def test_means_and_drift_over_pieces(tmp_path: Path) -> None:
    first = [(v.PIANO, 60, 80, float(i), i + 0.5) for i in range(60)]
    pieces = [
        made([*first, *[(v.PIANO, 72, 80, 60.0 + 2 * i, 61.0 + 2 * i) for i in range(30)]]),
        made([*first, *[(v.PIANO, 72, 40, 60.0 + i, 61.0 + i) for i in range(30)]]),
    ]
    found = measure(pieces)
    assert found.by_minute("notes_per_s").tolist() == [1, 0.5]
    assert found.ratio("notes_per_s") == 0.5
    assert found.ratio("mean_pitch") == pytest.approx(1.2)
    assert math.isnan(found.ratio("stuck_notes"))
    assert found.early_s == pytest.approx([2, 2])
    assert found.quiet_s == pytest.approx([1, 30])
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["statistics"]["velocity"] == {"by_minute": [80, 60], "last_to_first": 0.75}
    assert values["statistics"]["notes_per_s_bass"]["last_to_first"] is None
    assert values["quiet_before_end_s"] == {"mean": 15.5, "max": 30}
    page = found.to_markdown()
    assert "| notes a second | 1.000 | 0.500 | 0.500 |" in page
    assert "END was 2.00 s before" in page
    found.plot(tmp_path / "stability.png")
    assert (tmp_path / "stability.png").read_bytes()[:4] == b"\x89PNG"


def test_a_mean_leaves_out_what_is_not_there() -> None:
    found = Stability({"velocity": np.array([[80, np.nan], [np.nan, np.nan]])}, np.zeros(2), np.zeros(2))
    assert found.by_minute("velocity")[0] == 80
    assert math.isnan(found.by_minute("velocity")[1])


def test_composed_pieces_end_where_they_should() -> None:
    (film,) = long_lists(1, seed=2, minutes=2)
    assert (film.duration_s, np.diff(film.cuts_s, prepend=0).min() >= 4 - 1e-6) == (120, True)
    assert film.cuts_s.tolist() == long_lists(3, seed=2, minutes=2)[0].cuts_s.tolist()
    found = measure(compose_all(Fake(), [film], plain_recipe(grid="sixteenths", tempo_qpm=100), seed=0))
    assert found.early_s.max() <= 1.01  # the grammar's own bound
    assert (found.values["notes_per_s"] > 0).all()
    assert (found.values["stuck_notes"] == 0).all()


def test_refusals() -> None:
    with pytest.raises(InputError, match="0 pieces measure nothing; give at least 1"):
        long_lists(0, seed=0)
    with pytest.raises(InputError, match="1 minutes cannot drift; give at least 2"):
        long_lists(1, seed=0, minutes=1)
    with pytest.raises(InputError, match="there are no pieces to measure"):
        measure([])
    with pytest.raises(InputError, match="pieces of 120 to 180 s cannot be compared"):
        measure([made([]), made([], duration_s=180.0)])
    with pytest.raises(InputError, match="pieces of 90 to 90 s cannot be compared"):
        measure([made([], duration_s=90.0)])
    one = score([(v.PIANO, 60, 80, 0.0, 1.0)])
    alone = Score(
        [Instrument("Piano", 0)], np.zeros(1, dtype=int), one.pitch, one.velocity, one.start_s, one.end_s, one.tempo,
        one.bars,
    )  # fmt: skip
    with pytest.raises(InputError, match="a score of 1 instruments is not one of five families"):
        minute_by_minute(alone, 2)
