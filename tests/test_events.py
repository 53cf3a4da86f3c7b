"""Score <-> events: the round trip as properties, the order of events against a plain loop, and the edges."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tokenizer import events
from emsync.tokenizer.events import Events, decode, encode
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
    """A tempo map, and bars that stand on its grid, after a pickup or none; some tempi are far from music."""
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


# -- the same by a plain loop


def encode_by_loop(score: Score) -> tuple[list[str], list[int]]:
    """The names and velocities of `encode` but for CHORD and BAR, from a reduced Score, an event at a time."""
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


# -- there and back


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


@given(scores())
def test_every_note_comes_back(score: Score) -> None:
    check_round_trip(score)


@given(st.data(), st.floats(0.0, 36.0))
@settings(max_examples=30)
def test_nothing_drifts_hours_in(data: st.DataObject, hours: float) -> None:
    # The first note of the piece stands at its beginning, so that the clock has the whole way to go wrong.
    late = data.draw(scores(from_s=hours * 3600))
    early = [(1, 60, 80, 0.1, 0.2)]
    rows = zip(late.instrument, late.pitch, late.velocity, late.start_s, late.end_s, strict=True)
    check_round_trip(make(early + list(rows), instruments=BAND, tempo=late.tempo, bars=late.bars))


@given(scores())
def test_only_what_reduce_documents_is_lost(score: Score) -> None:
    reduction = reduce(score)
    coded = encode(score)
    count = int((v.KIND[coded.ids] == v.K_ON).sum())
    assert count == len(score) - reduction.dropped_effects - reduction.dropped_out_of_range - reduction.duplicates


@given(scores())
def test_encodes_like_the_loop(score: Score) -> None:
    coded = encode(score)
    kept = ~np.isin(v.KIND[coded.ids], [v.K_BAR, v.K_CHORD, v.K_TIMESHIFT])
    names, velocities = encode_by_loop(reduce(score).score)
    loop = np.array([not name.startswith("TIMESHIFT") for name in names])
    assert named(coded.ids[kept]) == [name for name, is_in in zip(names, loop, strict=True) if is_in]
    assert coded.velocities[kept].tolist() == [x for x, is_in in zip(velocities, loop, strict=True) if is_in]
    at = events.times_steps(np.array([v.ID_OF[name] for name in names]))
    assert events.times_steps(coded.ids)[kept][:-1].tolist() == at[loop][:-1].tolist()
    assert not coded.velocities[~kept].any()


@given(scores())
def test_timeshifts_are_full_ones_and_then_the_rest(score: Score) -> None:
    ids = encode(score).ids
    shift = v.SHIFT_STEPS[ids]
    followed = (shift[:-1] > 0) & (shift[1:] > 0)
    assert (shift[:-1][followed] == v.MAX_SHIFT_STEPS).all()
    assert ids[-1] == v.END
    assert shift[-2] == 0 or len(ids) <= 3, "END waits for nothing"


@given(scores())
def test_order_at_one_moment(score: Score) -> None:
    ids = encode(score).ids
    assert ids[0] in (v.FEWER, v.MORE)
    assert ids[1] == v.START
    on_at: set[tuple[int, int]] = set()
    before = (-1, -1, -1, -1)
    for step, id_ in zip(events.times_steps(ids)[2:].tolist(), ids[2:].tolist(), strict=True):
        kind, family, pitch = int(v.KIND[id_]), int(v.FAMILY[id_]), int(v.VALUE[id_])
        if kind == v.K_TIMESHIFT:
            continue
        place = v.ON_ORDER.index(family) if family >= 0 else 0
        if kind == v.K_ON:
            on_at.add((step, id_))
        is_late = kind == v.K_OFF and (step, int(v.PARTNER[id_])) in on_at
        rank = 4 if is_late else {v.K_OFF: 0, v.K_BAR: 1, v.K_CHORD: 2, v.K_ON: 3, v.K_END: 5}[kind]
        here = (step, rank, place, pitch if family >= 0 else 0)
        assert here > before
        before = here


@given(scores())
def test_every_on_has_its_off(score: Score) -> None:
    sounding = set()
    for id_ in encode(score).ids.tolist():
        if v.KIND[id_] == v.K_ON and v.FAMILY[id_] != v.DRUMS:
            assert id_ not in sounding, "a sounding note begins again"
            sounding.add(id_)
        elif v.KIND[id_] == v.K_OFF:
            assert int(v.PARTNER[id_]) in sounding, "a silent note ends"
            sounding.remove(int(v.PARTNER[id_]))
    assert not sounding


@given(scores())
def test_encoding_again_changes_no_note(score: Score) -> None:
    first = encode(score)
    again = encode(decode(first.ids, first.velocities))
    assert only_notes(again.ids) == only_notes(first.ids)
    on = v.KIND[first.ids] == v.K_ON
    assert again.velocities[v.KIND[again.ids] == v.K_ON].tolist() == first.velocities[on].tolist()


@given(
    st.sampled_from([62.5, 75.0, 93.75, 125.0, 150.0]),  # eighths of whole steps: no bar lies between two
    st.sampled_from([(4, 4), (3, 4), (7, 8), (6, 4), (8, 4)]),
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from([48, 60, 64, 67, 72]),
            st.integers(1, 127),
            st.integers(0, 40),
            st.integers(1, 12),
        ),
        min_size=1,
        max_size=30,
    ),
)
def test_encoding_again_changes_nothing_in_steady_music(
    qpm: float, meter: tuple[int, int], rows: list[tuple[int, int, int, int, int]]
) -> None:
    """Rhythms of eighths in one tempo: bars and chords come back as well, to the last id."""
    eighth_s = 30 / qpm
    bar_s = 2 * eighth_s * 4 * meter[0] / meter[1]
    notes = [(who, p, x, at * eighth_s, (at + long) * eighth_s) for who, p, x, at, long in rows]
    starts = np.arange(0.0, max(note[4] for note in notes), bar_s)
    count = len(starts)
    song = make(notes, tempo=TempoMap.constant(qpm), bars=Bars(starts, [meter[0]] * count, [meter[1]] * count))
    first = encode(song)
    again = encode(decode(first.ids, first.velocities))
    assert named(again.ids) == named(first.ids)
    assert again.velocities.tolist() == first.velocities.tolist()


# -- bars


@given(scores())
def test_bars_stand_where_they_stood(score: Score) -> None:
    ids = encode(score).ids
    kept = reduce(score).score
    step = events.times_steps(ids)
    at = v.KIND[ids] == v.K_BAR
    last_onset_s = kept.start_s.max(initial=0.0)
    last_s = max(last_onset_s, kept.end_s[kept.instrument != v.DRUMS].max(initial=0.0))
    bars = kept.bars
    # What is longer than eight quarters is split in equal parts.
    expected_s, expected_half = [], []
    for start_s, quarters in zip(bars.start_s, bars.quarters, strict=True):
        parts = -int(-quarters // 8)
        begin_q = kept.tempo.quarters_at(start_s)
        for part in range(parts):
            expected_s.append(float(kept.tempo.seconds_at(begin_q + part * quarters / parts)))
            expected_half.append(round(2 * quarters / parts))
    due = [(s, half) for s, half in zip(expected_s, expected_half, strict=True) if s < last_s - v.STEP_S]
    limit = [s for s in expected_s if s <= max(last_s, last_onset_s) + v.STEP_S]
    assert len(due) <= at.sum() <= max(len(limit), 1)
    for k, (start_s, half) in enumerate(due):
        assert abs(step[at][k] * v.STEP_S - start_s) <= HALF_STEP_S + 1e-6
        assert v.VALUE[ids[at]][k] == half


@given(scores())
def test_bars_come_back_where_their_events_stand(score: Score) -> None:
    ids = encode(score).ids
    bar_s = events.times_steps(ids)[v.KIND[ids] == v.K_BAR] * v.STEP_S
    back = decode(ids).bars.start_s
    # Further bars may be written between them, so that the tempo stays musical; none is taken away but slivers.
    near = np.abs(back[:, None] - bar_s[None, :]).min(axis=0, initial=np.inf) <= v.STEP_S / 2 + 1e-6
    before_s = 0.0 if bar_s[:1].any() else -np.inf  # a pickup is a bar
    wide = (np.diff(bar_s, append=np.inf) > 0.2) & (np.diff(bar_s, prepend=before_s) > 0.2)
    assert near[wide].all()


def test_steady_bars_come_back_one_for_one() -> None:
    meters = [(4, 4), (4, 4), (3, 4), (7, 8), (7, 8), (4, 4), (4, 4)]
    lengths = [4 * above / below for above, below in meters]
    tempo = TempoMap.constant(96.0)
    starts = tempo.seconds_at(np.append(0.0, np.cumsum(lengths[:-1])))
    song = make([(1, 60, 80, 0.0, 16.0)], tempo=tempo, bars=Bars(starts, *zip(*meters, strict=True)))
    coded = encode(song)
    bars = [name for name in named(coded.ids) if name.startswith("BAR")]
    assert bars == ["BAR_4", "BAR_4", "BAR_3", "BAR_3.5", "BAR_3.5", "BAR_4", "BAR_4"]
    back = decode(coded.ids)
    assert list(zip(back.bars.numerator, back.bars.denominator, strict=True)) == meters
    assert np.abs(back.bars.start_s - starts).max() <= v.STEP_S
    assert np.abs(back.tempo.qpm - 96.0).max() < 0.5


def test_a_pickup_stands_before_the_first_bar() -> None:
    song = make([(1, 60, 80, 0.0, 0.5), (1, 62, 80, 0.5, 2.5)], bars=Bars([0.5, 2.5], [4, 4], [4, 4]))
    assert moments(encode(song).ids) == [
        (0, "FEWER_INSTRUMENTS"),
        (0, "START"),
        (0, "ON_PIANO_60"),
        (62, "OFF_PIANO_60"),
        (62, "BAR_4"),
        (62, "ON_PIANO_62"),
        (312, "OFF_PIANO_62"),
        (312, "END"),
    ]
    back = decode(encode(song).ids)
    assert back.bars.quarters.tolist() == [1.0, 4.0]


def test_a_bar_of_nine_quarters_is_split_and_so_is_one_of_eighteen() -> None:
    song = make([(1, 60, 80, 0.0, 13.5)], bars=Bars([0.0, 4.5], [9, 18], [4, 4]))
    assert [row for row in moments(encode(song).ids) if row[1].startswith("BAR")] == [
        (0, "BAR_4.5"),
        (281, "BAR_4.5"),
        (562, "BAR_6"),
        (938, "BAR_6"),
        (1312, "BAR_6"),
    ]


def test_a_bar_cut_short_has_its_true_length() -> None:
    song = make([(1, 60, 80, 0.0, 4.0)], bars=Bars([0.0, 1.0, 3.0], [12, 4, 4], [4, 4, 4]))
    assert [row for row in moments(encode(song).ids) if row[1].startswith("BAR")] == [
        (0, "BAR_2"),
        (125, "BAR_4"),
        (375, "BAR_4"),
    ]


def test_the_last_bar_stays_and_the_one_behind_the_end_goes() -> None:
    bars = Bars([0.0, 2.0, 4.0, 6.0], [4] * 4, [4] * 4)
    held = make([(1, 60, 80, 0.0, 4.1)], bars=bars)
    full = make([(1, 60, 80, 0.0, 4.0)], bars=bars)
    hit = make([(1, 60, 80, 0.0, 4.0), (0, 36, 80, 4.0, 4.1)], bars=bars)
    assert [sum(name.startswith("BAR") for name in named(encode(song).ids)) for song in (held, full, hit)] == [3, 2, 3]


def test_bars_within_one_step_are_one() -> None:
    song = make([(1, 60, 80, 0.0, 1.0)], bars=Bars([0.0, 0.001, 0.002], [4, 4, 4], [4, 4, 4]))
    assert [name for name in named(encode(song).ids) if name.startswith("BAR")] == ["BAR_0.5"]


def test_absurd_tempi() -> None:
    tempo = TempoMap([0.0, 0.5, 1.0], [100_000.0, 1e-3, 300.0])
    bars = Bars(tempo.seconds_at([0.0, 4.0, 833.0]), [4, 4, 4], [4, 4, 4])
    song = make([(1, pitch, 80, 0.2, 1.5) for pitch in (60, 64, 67)], tempo=tempo, bars=bars)
    check_round_trip(song)
    assert "CHORD" in named(encode(song).ids)


def test_tempo_changes_inside_notes_move_nothing() -> None:
    tempo = TempoMap([0.0, 1.1, 2.3], [60.0, 180.0, 90.0])
    check_round_trip(make([(1, 60, 80, 1.0, 2.4), (5 - 1, 62, 80, 1.1, 9.0)], tempo=tempo))


# -- chords


def chord(*, length_s: float, families: tuple[int, ...] = (1,), count: int = 3) -> Score:
    notes = [(who, pitch, 80, 1.0, 1.0 + length_s) for who in families for pitch in (60, 64, 67)[:count]]
    return make([*notes, (0, 36, 80, 1.0, 1.1), (3, 36, 80, 1.0, 4.0)])


def test_a_long_chord_is_announced_between_bar_and_notes() -> None:
    song = chord(length_s=1.0)
    assert [name for step, name in moments(encode(song).ids) if step == 125] == [
        "CHORD",
        "ON_DRUMS_36",
        "ON_BASS_36",
        "ON_PIANO_60",
        "ON_PIANO_64",
        "ON_PIANO_67",
    ]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"length_s": 1.0}, 1),
        ({"length_s": 1.0, "families": (2,)}, 1),
        ({"length_s": 1.0, "families": (1, 2)}, 1),  # one boundary
        ({"length_s": 1.0, "families": (4,)}, 0),
        ({"length_s": 0.95}, 0),
        ({"length_s": 1.0, "count": 2}, 0),
    ],
)
def test_chords_by_the_papers_rule(options: dict[str, object], count: int) -> None:
    assert named(encode(chord(**options)).ids).count("CHORD") == count  # type: ignore[arg-type]


@given(scores())
def test_chord_labels_stand_where_chords_are(score: Score) -> None:
    kept = reduce(score).score
    ids = encode(score).ids
    labels = [step for step, name in moments(ids) if name == "CHORD"]
    step = np.rint(kept.start_s / v.STEP_S).astype(int)
    # A step's grace, since a chord read back from the grid may be a step shorter.
    begin_q = kept.tempo.quarters_at(kept.start_s)

    def chords(grace_s: float) -> set[int]:
        long = kept.tempo.quarters_at(kept.end_s + grace_s) - begin_q >= 2
        groups: dict[tuple[int, int], set[int]] = {}
        for k in np.flatnonzero(long & np.isin(kept.instrument, v.CHORD_FAMILIES)):
            groups.setdefault((int(kept.instrument[k]), int(step[k])), set()).add(int(kept.pitch[k]))
        return {at for (_, at), pitches in groups.items() if len(pitches) >= 3}

    assert len(labels) == len(set(labels))
    assert chords(0.0) <= set(labels) <= chords(2 * v.STEP_S)


# -- edges


def test_an_empty_score() -> None:
    assert named(encode(make([])).ids) == ["FEWER_INSTRUMENTS", "START", "BAR_4", "END"]
    assert len(decode(encode(make([])).ids)) == 0
    nothing = make([], bars=Bars([], [], []))
    assert named(encode(nothing).ids) == ["FEWER_INSTRUMENTS", "START", "END"]


def test_one_note_at_the_beginning() -> None:
    coded = encode(make([(1, 60, 80, 0.0, 2.5)]))
    assert named(coded.ids) == [
        "FEWER_INSTRUMENTS",
        "START",
        "BAR_4",
        "ON_PIANO_60",
        "TIMESHIFT_1000",
        "TIMESHIFT_1000",
        "TIMESHIFT_496",
        "OFF_PIANO_60",
        "END",
    ]
    assert coded.velocities.tolist() == [0, 0, 0, 11, 0, 0, 0, 0, 0]
    back = decode(coded.ids, coded.velocities)
    assert (back.start_s.tolist(), back.end_s.tolist()) == ([0.0], [pytest.approx(2.496)])
    assert back.velocity.tolist() == [84]
    assert back.instruments == FAMILY_INSTRUMENTS


def test_a_note_within_one_step_has_its_off_behind_its_on() -> None:
    coded = encode(make([(1, 60, 80, 1.0, 1.001), (4, 50, 80, 0.5, 1.0)]))
    assert [name for step, name in moments(coded.ids) if step == 125] == [
        "OFF_STRINGS_50",
        "ON_PIANO_60",
        "OFF_PIANO_60",
        "END",
    ]
    back = decode(coded.ids)
    assert back.end_s[back.pitch == 60] > back.start_s[back.pitch == 60]


def test_a_repeated_note_is_ended_before_it_begins_again() -> None:
    coded = encode(make([(1, 60, 80, 0.0, 1.0), (1, 60, 80, 1.0, 2.0)]))
    assert [name for step, name in moments(coded.ids) if step == 125] == ["OFF_PIANO_60", "ON_PIANO_60"]


def test_drums_are_hits() -> None:
    coded = encode(make([(0, 36, 100, 0.0, 3.0), (0, 36, 100, 1.0, 1.5)]))
    assert moments(coded.ids)[-3:] == [(0, "ON_DRUMS_36"), (125, "ON_DRUMS_36"), (125, "END")]
    back = decode(coded.ids)
    assert (back.end_s - back.start_s).tolist() == pytest.approx([events.DRUM_LENGTH_S] * 2)


@pytest.mark.parametrize(("families", "first"), [(1, "FEWER"), (2, "FEWER"), (3, "MORE"), (5, "MORE")])
def test_the_count_of_instruments_comes_first(families: int, first: str) -> None:
    song = make([(family, 60, 80, 0.0, 1.0) for family in range(families)])
    assert named(encode(song).ids)[0] == f"{first}_INSTRUMENTS"


@pytest.mark.parametrize("end_s", [134_217.8, 1e7, 1e300])
def test_a_piece_that_is_too_long(end_s: float) -> None:
    song = make([(1, 60, 80, 0.0, end_s)])
    with pytest.raises(InputError, match=r"a note ends at .* s, past 134218 s; were the times given in milliseconds"):
        encode(song)


def test_a_piece_that_is_just_not_too_long() -> None:
    check_round_trip(make([(1, 60, 80, 134_000.0, 134_216.0), (0, 60, 80, 134_217.0, 134_217.5)]))


# -- decoding anything

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
