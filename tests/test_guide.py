"""Passages that return: what a guide suggests, and that it yields to the grammar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.guide import LONGEST_BARS, ORDER, Guide, Source
from emsync.keys import Key

ON, OFF, ID = v.ON_BASE, v.OFF_BASE, v.ID_OF
BAR = ID["BAR_4"]
KICK, C4, E4, BASS = (int(ON[f] + p) for f, p in ((v.DRUMS, 36), (v.PIANO, 60), (v.PIANO, 64), (v.BASS, 40)))
C4_OFF, E4_OFF = int(OFF[v.PIANO] + 60), int(OFF[v.PIANO] + 64)


def shift(steps: int) -> int:
    return v.SHIFT_BASE + steps


#: Two bars of 100 steps.
PASSAGE = [BAR, KICK, C4, shift(50), C4_OFF, E4, shift(50), E4_OFF, BAR, v.CHORD, BASS, shift(100), BAR]
EVERYTHING = np.ones(v.SIZE, dtype=bool)
FLAT = np.zeros(v.SIZE, dtype=np.float32)


def wanted(guide: Guide, allowed: np.ndarray = EVERYTHING, sounding: tuple[int, ...] = ()) -> int | None:
    """The event that a guide leans to, None if it says nothing."""
    logits = guide.mix(FLAT, allowed, sounding)
    return None if logits is FLAT else int(logits.argmax())


def at(events: list[int], weight: float = 0.9, source: Source | None = None) -> Guide:
    guide = Guide(source or Source.of_events(PASSAGE), weight)
    for event in events:
        guide.accept(event)
    return guide


def test_a_source_is_a_passage_by_bars() -> None:
    source = Source.of_events(PASSAGE)
    assert source.bars[:2] == (((0, KICK), (0, C4), (50, C4_OFF), (50, E4), (100, E4_OFF)), ((0, BASS),))
    assert source.lengths == (100, 100, 0)
    assert len(Source.of_events(PASSAGE * 9).bars) == LONGEST_BARS


def test_a_passage_in_the_other_mode() -> None:
    source, c_major = Source.of_events(PASSAGE), Key(0, is_minor=False)
    assert source.in_mode(c_major, minor=False) is source
    e_flat, e_flat_off = (int(base[v.PIANO] + 63) for base in (ON, OFF))
    darker = source.in_mode(c_major, minor=True)
    assert darker.bars[0] == ((0, KICK), (0, C4), (50, C4_OFF), (50, e_flat), (100, e_flat_off))
    assert darker.in_mode(Key(0, is_minor=True), minor=False).bars[0] == source.bars[0]


def test_a_return_is_followed_note_for_note() -> None:
    """Sampling what is wanted plays the passage again, without its CHORD."""
    guide = at([])
    played: list[int] = []
    sounding: list[int] = []
    only_this_bar = EVERYTHING.copy()
    only_this_bar[v.ids_of_kind(v.K_BAR)] = False
    only_this_bar[BAR] = True
    event: int | None = BAR
    while event is not None and len(played) <= len(PASSAGE):
        played.append(event)
        guide.accept(event)
        if v.KIND[event] == v.K_ON and v.FAMILY[event] != v.DRUMS:
            sounding.append(event)
        elif v.KIND[event] == v.K_OFF and int(v.PARTNER[event]) in sounding:
            sounding.remove(int(v.PARTNER[event]))
        event = wanted(guide, only_this_bar, tuple(sounding))
    assert played == [e for e in PASSAGE if e != v.CHORD]


def test_before_the_first_bar_and_after_the_last_it_says_nothing() -> None:
    assert wanted(at([])) is None
    over = at([BAR, BAR, BAR, BAR])
    assert over.is_over
    assert wanted(over) is None
    assert wanted(at([BAR], weight=0.0)) is None


def test_it_goes_by_the_place_in_the_bar() -> None:
    assert wanted(at([BAR])) == KICK
    assert wanted(at([BAR, KICK])) == C4
    assert wanted(at([BAR, KICK, C4]), sounding=(C4,)) == shift(50)
    # The model played something else meanwhile: the passage goes on where it would be.
    assert wanted(at([BAR, KICK, E4, shift(30)])) == shift(20)
    assert wanted(at([BAR, shift(50)]), sounding=(C4,)) == C4_OFF
    assert wanted(at([BAR, shift(50)])) == E4  # nothing sounds that could end
    assert wanted(at([BAR, KICK, C4, shift(50), E4, BAR])) == BASS


def test_it_yields_to_the_grammar() -> None:
    allowed = EVERYTHING.copy()
    allowed[KICK] = False
    assert wanted(at([BAR]), allowed) == C4
    # A cut in 20 steps: no TIMESHIFT passes it.
    allowed = EVERYTHING.copy()
    allowed[shift(21) : shift(v.MAX_SHIFT_STEPS) + 1] = False
    assert wanted(at([BAR, KICK, C4]), allowed, (C4,)) == shift(20)
    # Nothing that it wants may come.
    allowed[v.ids_of_kind(v.K_TIMESHIFT)] = False
    assert wanted(at([BAR, KICK, C4]), allowed, (C4,)) is None


@given(weight=st.floats(0.0, 1.0), logits=st.lists(st.floats(-9, 9), min_size=20, max_size=20))
def test_the_mixture_is_a_distribution_over_what_is_allowed(weight: float, logits: list[float]) -> None:
    allowed = np.zeros(v.SIZE, dtype=bool)
    allowed[C4 : C4 + 20] = True
    given_logits = np.zeros(v.SIZE, dtype=np.float64)
    given_logits[allowed] = logits
    model = np.exp(given_logits[allowed]) / np.exp(given_logits[allowed]).sum()
    mixed = at([BAR, KICK], weight).mix(given_logits, allowed, ())
    p = np.exp(mixed[allowed])
    if not weight:
        assert mixed is given_logits
        return
    expected = (1 - weight) * model + weight * (np.arange(20) == 0)
    np.testing.assert_allclose(p, expected, atol=1e-9)
    assert np.exp(mixed[~allowed]).max() <= 1e-29


def test_time_goes_to_the_next_event_that_can_be_reached() -> None:
    guide = at([BAR, KICK], 1.0)  # C4 was not played, so its end at 50 cannot come; E4 at 50 can
    only = np.isin(np.arange(v.SIZE), [shift(n) for n in (40, 50, 60)])
    assert wanted(guide, only) == shift(50)
    ends = at([BAR, KICK], 1.0, Source((((0, KICK), (30, C4_OFF), (70, E4)),), (100,)))
    assert wanted(ends, only) == shift(60), "towards 70, past an end without its note"
    assert wanted(ends, only, (C4,)) == shift(60), "30 cannot be reached"
    far = np.isin(np.arange(v.SIZE), [shift(80), shift(101)])
    assert wanted(ends, far) == shift(80), "not beyond the bar"
    assert wanted(ends, np.isin(np.arange(v.SIZE), [shift(101)])) is None


def test_a_note_is_ended_to_be_struck_again() -> None:
    guide = at([BAR, KICK])
    may = np.ones(v.SIZE, dtype=bool)
    may[C4] = False  # it sounds
    assert wanted(guide, may, (C4,)) == C4_OFF
    may[C4_OFF] = False
    assert wanted(guide, may, (C4,)) == shift(50)


def test_transposed_and_thinned() -> None:
    source = Source.of_events(PASSAGE)
    up = source.transposed(5)
    assert up.bars[0][:2] == ((0, KICK), (0, C4 + 5))
    assert up.bars[0][2] == (50, C4_OFF + 5)
    assert source.transposed(0) is source
    high = Source((((0, int(ON[v.PIANO] + 108)),),), (100,))
    assert high.transposed(3).bars[0][0][1] == int(ON[v.PIANO] + 99)  # an octave lower, within the range
    for excitement, families in (
        (0.0, {v.DRUMS, v.PIANO, v.BASS}),
        (-0.3, {v.PIANO, v.BASS}),
        (0.3, {v.DRUMS, v.PIANO, v.BASS}),
    ):
        guide = Guide.of_return(source, 0.8, excitement=excitement)
        assert {int(v.FAMILY[e]) for bar in guide.source.bars for _, e in bar} == families
        assert guide.weight == pytest.approx(0.64 if excitement > 0.25 else 0.8)


def test_a_passage_of_one_family_leaves_the_others_alone() -> None:
    melody = Source((((0, C4), (50, C4_OFF), (50, E4), (100, E4_OFF)),), (100,), frozenset({v.PIANO}))
    guide = at([BAR], 1.0, melody)
    p = np.exp(guide.mix(FLAT, EVERYTHING, ()))
    own = (v.FAMILY == v.PIANO) & (v.KIND == v.K_ON)
    late = ((ORDER >= ORDER[C4]) | own).sum() / v.SIZE
    assert p[C4] == pytest.approx(late, rel=1e-4)  # the mass of all that would come too late, or beside it
    assert p[C4 - 12] < 1e-20  # a lower note of its family takes no room from it
    assert p[KICK] > 0  # drums come before the piano, and may
    assert p[E4] < 1e-20
    assert p[shift(1)] < 1e-20
    guide.accept(C4)
    p = np.exp(guide.mix(FLAT, EVERYTHING, (C4,)))
    assert p[shift(50)] > 0
    assert p[shift(51)] < 1e-20  # no time passes beyond its next event
    assert p[C4_OFF] < 1e-20  # it is held
    assert p[int(ON[v.STRINGS] + 60)] > 0
    # Where time may not go to its next event, it goes no further than to the one behind it.
    far = np.isin(np.arange(v.SIZE), [shift(60), shift(100), shift(101)])
    p = np.exp(guide.mix(FLAT, far, (C4, E4)))
    assert p[[shift(60), shift(100), shift(101)]] == pytest.approx([0.5, 0.5, 0.0], abs=1e-6)


@pytest.mark.parametrize("weight", [-0.1, 1.1, np.nan])
def test_weights_out_of_range(weight: float) -> None:
    with pytest.raises(InputError, match="is outside"):
        Guide(Source.of_events(PASSAGE), weight)
