"""Hypothesis strategies for scores."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap

#: What a MIDI file gives back as it was: no surrogates, no control characters, no space around it.
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12).filter(
    lambda text: text == text.strip("\0 \t\r\n")
)
QPM = st.floats(20.0, 400.0)
METERS = st.sampled_from([(4, 4), (3, 4), (2, 4), (6, 8), (7, 8), (5, 4), (1, 8), (2, 2), (9, 16), (13, 32)])


@st.composite
def instruments(draw: st.DrawFn, max_size: int = 5) -> tuple[Instrument, ...]:
    """One to `max_size` instruments, at most one of them a drum kit."""
    count = draw(st.integers(1, max_size))
    drums = draw(st.sampled_from([None, *range(count)]))
    return tuple(Instrument(draw(TEXT), draw(st.integers(0, 127)), i == drums) for i in range(count))


@st.composite
def grids(draw: st.DrawFn, max_bars: int = 12) -> tuple[TempoMap, Bars]:
    """Bars of changing meters, and a tempo map that changes at some of them: all exactly on one grid, from 0 s."""
    meters = draw(st.lists(METERS, min_size=1, max_size=max_bars))
    qpm = [draw(QPM)]
    changes = [0]
    for bar in draw(st.sets(st.integers(0, len(meters) - 1), max_size=4)) - {0} if len(meters) > 1 else ():
        changes.append(bar)
        qpm.append(draw(QPM))
    changes.sort()
    places = np.cumsum([0.0, *(4.0 * above / below for above, below in meters)])[:-1]
    lengths_s = np.diff(places[changes]) * 60.0 / np.array(qpm[:-1])
    tempo = TempoMap(np.cumsum([0.0, *lengths_s]), qpm)
    above, below = zip(*meters, strict=True)
    return tempo, Bars(tempo.seconds_at(places), above, below)


@st.composite
def scores(draw: st.DrawFn, max_notes: int = 24, max_bars: int = 12) -> Score:
    """A score on its grid, with markers and keys; equal notes of one instrument never overlap, notes last 4 ms or more.

    It ends inside its last bar or with it, and notes may begin at equal times.
    """
    players = draw(instruments())
    tempo, bars = draw(grids(max_bars))
    last_s = float(bars.start_s[-1])
    length_s = float(tempo.seconds_at(tempo.quarters_at(last_s) + bars.quarters[-1])) - last_s
    duration_s = last_s + length_s * draw(st.sampled_from([0.5, 1.0]))
    rows = []
    free: dict[tuple[int, int], float] = {}
    for _ in range(draw(st.integers(1, max_notes))):
        key = (draw(st.integers(0, len(players) - 1)), draw(st.integers(0, 127)))
        start_s = free.get(key, 0.0) + draw(st.integers(0, 4000)) / 1000
        end_s = start_s + draw(st.integers(4, 3000)) / 1000
        if end_s <= duration_s:
            free[key] = end_s
            rows.append((*key, draw(st.integers(1, 127)), start_s, end_s))
    rows = rows or [(0, 60, 64, 0.0, duration_s)]
    who, pitch, velocity, start_s, end_s = zip(*rows, strict=True)
    inside = st.floats(0.0, duration_s)
    tonics = draw(st.lists(st.tuples(st.integers(0, 11), st.booleans()), max_size=3, unique=True))
    keys = [KeySignature(duration_s * i / 4, *tonic) for i, tonic in enumerate(tonics)]
    markers = [Marker(draw(inside), draw(TEXT)) for _ in range(draw(st.integers(0, 3)))]
    return Score(players, who, pitch, velocity, start_s, end_s, tempo, bars, markers, keys, duration_s)
