"""Figures of a passage, on notes written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.critic import FIGURES, LIKELIHOOD, Opinion
from emsync.passage import NAMES, figures_of

BAR = v.BAR_BASE + 8  # of four quarters
SIXTEENTH = 15  # steps, at 125 quarters a minute: 1.92 s a bar


def bar(*notes: tuple[int, int, float, float]) -> list[int]:
    """A bar of notes (family, pitch, place, length in sixteenths), to its end; notes end within it."""
    moments: dict[float, list[int]] = {}
    for family, pitch, place, length in notes:
        moments.setdefault(place, []).append(int(v.ON_BASE[family]) + pitch)
        if family != v.DRUMS:
            moments.setdefault(place + length, []).insert(0, int(v.OFF_BASE[family]) + pitch)
    out, at = [BAR], 0.0
    for place in sorted({*moments, 16.0}):
        steps = round(SIXTEENTH * (place - at))
        out += [v.SHIFT_BASE + 60] * (steps // 60) + [v.SHIFT_BASE + steps % 60] * (steps % 60 > 0)
        out += moments.get(place, [])
        at = place
    return out


def named(ids: list[int], begin: int = 0, level: int = 8) -> dict[str, float]:
    velocities = np.where(v.KIND[ids] == v.K_ON, level, 0)
    return dict(zip(NAMES, figures_of(ids, velocities, begin).tolist(), strict=True))


TUNE = bar((v.PIANO, 60, 0, 4), (v.PIANO, 64, 4, 4), (v.PIANO, 67, 8, 8))
GROOVE = bar(
    (v.DRUMS, 36, 0, 0), (v.DRUMS, 38, 4, 0), (v.DRUMS, 42, 6, 0), (v.BASS, 36, 0, 16), (v.STRINGS, 72, 2, 2.5)
)


def test_a_tune() -> None:
    found = named([*TUNE, *TUNE, BAR])
    assert found["density piano"] == pytest.approx(np.log1p(6 / 3.84))
    assert found["bars with piano"] == 1.0
    assert found["bars with drums"] == 0.0
    assert found["length piano"] == pytest.approx((2 + 2 + 3) / 3)
    assert np.isnan(found["length bass"])
    assert found["polyphony"] == 1.0
    assert found["silence"] == 0.0
    assert found["pitch entropy"] == pytest.approx(np.log2(3))
    assert found["in scale"] == 1.0
    assert found["steps"] == pytest.approx((4 + 3 + 7 + 4 + 3) / 5)
    assert found["leaps"] == 0.0
    assert found["turns"] == pytest.approx(2 / 4)
    assert found["on beats"] == 1.0
    assert found["onsets off grid"] == found["ends off grid"] == 0.0
    assert found["like 1 before"] == 1.0
    assert found["new bars"] == 0.5
    assert found["velocity"] == 8.0
    assert found["velocity spread"] == 0.0


def test_a_groove() -> None:
    found = named([*GROOVE, BAR])
    assert found["kick on beats"] == 1.0
    assert found["snare on beats"] == 1.0
    assert found["hats"] == pytest.approx(1 / 3)
    assert found["drum kinds"] == 3.0
    assert found["bass on downbeat"] == 1.0
    assert found["bass below"] == 1.0
    assert found["ends off grid"] == 0.5
    assert found["doubled"] == pytest.approx(1.2, abs=0.15)


def test_bars_before_the_passage_count_only_as_what_it_is_compared_with() -> None:
    begin = len(GROOVE) + len(TUNE)
    found = named([*GROOVE, *TUNE, *TUNE, BAR], begin)
    alone = named([*TUNE, BAR])
    assert found["like 1 before"] == 1.0
    assert found["like 2 before"] == 0.0
    assert found["new bars"] == 0.0
    assert np.isnan(alone["like 1 before"])
    same = [name for name in NAMES if "before" not in name and name != "new bars"]
    assert [found[name] for name in same] == pytest.approx([alone[name] for name in same], nan_ok=True)


def test_nothing_to_count() -> None:
    for ids in ([BAR], [BAR, v.SHIFT_BASE + 60, BAR], [v.START, v.END]):
        found = named(ids)
        assert found["bars with piano"] == 0.0
        assert np.isnan(found["polyphony"])
    opinion = Opinion.of([BAR], [0], 0, [1.5], None)
    assert opinion.figures[FIGURES.index("nats an event")] == 1.5
    assert np.isnan(opinion.figures[FIGURES.index("nats a note")])
    assert len(FIGURES) == len(NAMES) + len(LIKELIHOOD)


@given(st.lists(st.integers(6, v.SIZE - 1), min_size=1, max_size=60), st.integers(0, 20))
def test_any_events_have_figures(ids: list[int], begin: int) -> None:
    """Even such as no grammar allows: none is infinite."""
    found = figures_of(ids, np.ones(len(ids)), min(begin, len(ids) - 1))
    assert not np.isinf(found).any()
