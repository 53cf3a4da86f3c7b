"""What tests of events share: scores to encode, and the codec again as plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tokenizer import events
from emsync.tokenizer.events import decode, encode
from emsync.tokenizer.families import FAMILY_INSTRUMENTS, reduce

HALF_STEP_S = v.STEP_S / 2 + 1e-9
BAND = (
    Instrument("kit", 0, True),
    Instrument("piano", 0),
    Instrument("organ", 19),
    Instrument("guitar", 25),
    Instrument("bass", 33),
    Instrument("strings", 48),
    Instrument("rain", 96),
)
METERS = [(4, 4), (3, 4), (7, 8), (6, 8), (2, 4), (5, 4), (1, 4), (1, 8), (12, 4), (9, 2)]
Note = tuple[int, int, int, float, float]  # instrument, pitch, velocity, start_s, end_s


def make(
    notes: list[Note],
    *,
    instruments: tuple[Instrument, ...] = FAMILY_INSTRUMENTS,
    tempo: TempoMap | None = None,
    bars: Bars | None = None,
) -> Score:
    columns = [list(column) for column in zip(*notes, strict=True)] if notes else [[]] * 5
    tempo = TempoMap.constant(120.0) if tempo is None else tempo
    return Score(instruments, *columns, tempo, Bars([0.0], [4], [4]) if bars is None else bars)


def named(ids: np.ndarray | list[int]) -> list[str]:
    return [v.NAMES[i] for i in ids]


def ids_of(*names: str) -> list[int]:
    return [v.ID_OF[name] for name in names]


@st.composite
def tempo_and_bars(draw: st.DrawFn) -> tuple[TempoMap, Bars]:
    """A tempo map, and bars on its grid, after a pickup or none; some tempi are far from music."""
    changes = draw(st.lists(st.floats(0.05, 8.0), max_size=4))
    qpm = draw(st.lists(st.floats(20.0, 400.0), min_size=len(changes) + 1, max_size=len(changes) + 1))
    tempo = TempoMap(np.append(0.0, np.cumsum(changes)), qpm)
    meters = draw(st.lists(st.sampled_from(METERS), min_size=1, max_size=12))
    lengths = np.array([4 * above / below for above, below in meters])
    pickup = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    place = pickup + np.append(0.0, np.cumsum(lengths[:-1]))
    above, below = zip(*meters, strict=True)
    return tempo, Bars(tempo.seconds_at(place), above, below)


@st.composite
def scores(draw: st.DrawFn, *, from_s: float = 0.0) -> Score:
    """Songs with all a file may hold: equal notes that overlap, notes shorter than a step, effects, odd pitches."""
    begin = st.one_of(st.floats(0.0, 12.0), st.integers(0, 96).map(lambda eighth: eighth / 8))
    length = st.one_of(st.floats(1e-4, 6.0), st.sampled_from([0.001, 0.0041, 0.25, 1.0, 2.0]))
    note = st.tuples(st.integers(0, len(BAND) - 1), st.integers(0, 127), st.integers(1, 127), begin, length)
    # Few pitches, so that equal notes meet.
    crowded = st.tuples(st.integers(0, 5), st.sampled_from([40, 60, 64, 67]), st.integers(1, 127), begin, length)
    rows = draw(st.lists(st.one_of(note, crowded), max_size=40))
    tempo, bars = draw(tempo_and_bars())
    notes = [(who, pitch, velocity, from_s + at, from_s + at + long) for who, pitch, velocity, at, long in rows]
    return make(notes, instruments=BAND, tempo=tempo, bars=bars)


def encode_by_loop(score: Score) -> tuple[list[str], list[int]]:
    """The names and velocities of `encode` except for CHORD and BAR, from a reduced Score, an event at a time."""
    moments: list[tuple[int, int, int, int, str, int]] = []  # step, rank, family, pitch, name, velocity
    for family, pitch, velocity, start_s, end_s in zip(
        score.instrument, score.pitch, score.velocity, score.start_s, score.end_s, strict=True
    ):
        on, off = round(start_s / 0.008), round(end_s / 0.008)
        place = v.ON_ORDER.index(family)
        name = v.FAMILIES[family].upper()
        moments.append((on, 1, place, pitch, f"ON_{name}_{pitch}", int(velocity) // 8 + 1))
        if family != v.DRUMS:
            moments.append((off, 2 if off == on else 0, place, pitch, f"OFF_{name}_{pitch}", 0))
    families = len(set(score.instrument.tolist()))
    rows = [("MORE_INSTRUMENTS" if families >= 3 else "FEWER_INSTRUMENTS", 0), ("START", 0)]
    clock = 0
    for step, _, _, _, name, velocity in sorted(moments):
        while step - clock > 125:
            rows.append(("TIMESHIFT_1000", 0))
            clock += 125
        if step > clock:
            rows.append((f"TIMESHIFT_{(step - clock) * 8}", 0))
        clock = step
        rows.append((name, velocity))
    rows.append(("END", 0))
    return [name for name, _ in rows], [velocity for _, velocity in rows]


def decode_by_loop(ids: list[int]) -> list[tuple[int, int, int, int]]:
    """(family, pitch, first step, last step) of every note of `decode`, event by event; drums end at their onset."""
    clock = 0
    going: dict[tuple[int, int], int] = {}
    notes = []
    for event in [v.EVENTS[i] for i in ids] + [v.EVENTS[v.END]]:
        note = (event.family, event.value)
        if event.kind == v.K_TIMESHIFT:
            clock += event.value
        elif event.kind in (v.K_ON, v.K_OFF):
            if note in going:
                notes.append((*note, going.pop(note), clock))
            if event.kind == v.K_ON:
                going[note] = clock
        elif event.kind == v.K_END:
            notes += [(*note, start, clock) for note, start in going.items()]
            going = {}
    return sorted((f, p, start, start if f == v.DRUMS else end) for f, p, start, end in notes)


def moments(ids: np.ndarray) -> list[tuple[int, str]]:
    """(step, name) of every event but TIMESHIFT."""
    rows = zip(events.times_steps(ids).tolist(), named(ids), strict=True)
    return [(step, name) for step, name in rows if not name.startswith("TIMESHIFT")]


def only_notes(ids: np.ndarray) -> list[tuple[int, str]]:
    return [(step, name) for step, name in moments(ids) if name.startswith(("ON", "OFF"))]


def check_round_trip(score: Score) -> None:
    """Every note of the reduced score is back, at its time, in its level; no other is."""
    kept = reduce(score).score
    coded = encode(score)
    back = decode(coded.ids, coded.velocities)
    assert len(back) == len(kept)

    def order(notes: Score) -> np.ndarray:
        return np.lexsort((notes.start_s, notes.pitch, notes.instrument))

    i, j = order(kept), order(back)
    assert back.instrument[j].tolist() == kept.instrument[i].tolist()
    assert back.pitch[j].tolist() == kept.pitch[i].tolist()
    assert np.abs(back.start_s[j] - kept.start_s[i]).max(initial=0) <= HALF_STEP_S
    pitched = kept.instrument[i] != v.DRUMS
    late = np.abs(back.end_s[j] - kept.end_s[i])[pitched]
    assert late.max(initial=0) <= HALF_STEP_S + events.SHORTEST_NOTE_S
    assert v.velocity_level(back.velocity[j]).tolist() == v.velocity_level(kept.velocity[i]).tolist()
