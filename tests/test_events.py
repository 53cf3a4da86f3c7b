"""Scores to events: notes, bars, tempi and chords, and back again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer import events
from emsync.tokenizer.events import decode, encode
from emsync.tokenizer.families import FAMILY_INSTRUMENTS, reduce
from tests.event_loops import (
    BAND,
    HALF_STEP_S,
    check_round_trip,
    encode_by_loop,
    make,
    moments,
    named,
    only_notes,
    scores,
)


@given(scores())
def test_every_note_comes_back(score: Score) -> None:
    check_round_trip(score)


@given(st.data(), st.floats(0.0, 36.0))
@settings(max_examples=30)
def test_nothing_drifts_hours_in(data: st.DataObject, hours: float) -> None:
    # The first note of the piece is at its beginning, so that the clock has the whole way to go wrong.
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
    st.sampled_from([62.5, 75.0, 93.75, 125.0, 150.0]),  # eighths of whole steps: no bar is between two
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


@given(scores())
def test_bars_are_where_they_were(score: Score) -> None:
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
def test_bars_come_back_where_their_events_are(score: Score) -> None:
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


def test_a_pickup_is_before_the_first_bar() -> None:
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
def test_chord_labels_are_where_chords_are(score: Score) -> None:
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
