import math
from itertools import pairwise

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.recipe import Recipe
from emsync.texture import AGAIN, CLASH, EIGHTH, LONG, LONG_BEATS, ODD, SHORT, Texture
from tests.composing import asked, compose
from tests.fakes import Fake

BEAT = 60.0
ALL = np.ones(v.SIZE, dtype=bool)
NONE = ~ALL  # no note may begin, so nothing is given back


def on(family: int, pitch: int) -> int:
    return v.ON_BASE[family] + pitch


def leaning(
    texture: Texture, since: dict[int, int] | None = None, step: float = 0, sixteenths: float = math.nan,
    allowed: np.ndarray = NONE,
) -> np.ndarray:  # fmt: skip
    return texture.lean(np.zeros(v.SIZE, dtype=np.float32), allowed, since or {}, round(step), BEAT, sixteenths)


def test_a_note_loses_where_its_family_has_just_struck_it() -> None:
    texture = Texture(2.0)
    c, e, kick = on(v.PIANO, 60), on(v.PIANO, 64), on(v.DRUMS, 36)
    for event in (kick, c, e):
        texture.strike(event, 10)
    within = leaning(texture, step=10)
    assert not within.any(), "the notes of one moment are a chord"
    after = leaning(texture, step=20)
    assert after[c] == after[e] == pytest.approx(-2 * AGAIN[v.PIANO])
    assert np.count_nonzero(after) == 2, "not other families, and not the drums"
    texture.strike(on(v.PIANO, 67), 20)
    still = leaning(texture, step=20)
    assert still[c] == still[e] == after[c], "the chord that is being struck may repeat no more of the one before"
    later = leaning(texture, step=30)
    assert later[c] == later[e] == 0
    assert later[on(v.PIANO, 67)] < 0


def test_pitches_lose_beside_those_that_sound() -> None:
    lost = leaning(Texture(1.0), {on(v.STRINGS, 60): 0}, step=BEAT)
    for semitones, expected in enumerate((0, *CLASH, 0, 0, 0, 0)):
        for pitch in (60 + semitones, 60 - semitones, 72 + semitones):
            assert lost[on(v.PIANO, pitch)] == pytest.approx(-expected), pitch
    assert lost[on(v.DRUMS, 61)] == 0
    between = leaning(Texture(1.0), {on(v.STRINGS, 60): 0, on(v.STRINGS, 63): 0}, step=BEAT)
    assert between[on(v.PIANO, 61)] == pytest.approx(-max(CLASH)), "the larger loss counts, once"


def test_notes_lose_on_odd_sixteenths_and_gain_on_eighths() -> None:
    for sixteenths, expected in ((1, -ODD), (3, -ODD), (0, EIGHTH), (2, EIGHTH), (math.nan, 0)):
        found = leaning(Texture(1.0), sixteenths=sixteenths)
        assert found[on(v.PIANO, 60)] == found[on(v.DRUMS, 36)] == pytest.approx(expected)
        assert found[v.SHIFT_BASE + 1] == 0


def test_short_notes_end_later_and_long_ones_sooner() -> None:
    note = on(v.GUITAR, 50)
    ends = []
    for beats in (0.2, 1.0, LONG_BEATS, LONG_BEATS + 1):
        ends.append(leaning(Texture(1.0), {note: 0}, step=int(beats * BEAT))[v.PARTNER[note]])
    assert ends == pytest.approx([-SHORT, 0, 0, LONG])


def test_pitched_notes_get_half_of_what_they_lose_back() -> None:
    texture = Texture(1.0)
    for pitch in range(*v.PITCH_RANGE[v.PIANO]):
        texture.strike(on(v.PIANO, pitch), 0)
    pianos = (v.KIND == v.K_ON) & (v.FAMILY == v.PIANO)
    found = leaning(texture, step=10, allowed=pianos)
    assert found[on(v.PIANO, 60)] == pytest.approx(-AGAIN[v.PIANO] / 2, abs=0.02)
    assert found[on(v.STRINGS, 60)] == pytest.approx(AGAIN[v.PIANO] / 2, abs=0.02)
    assert found[on(v.DRUMS, 36)] == 0


def test_no_strength_changes_nothing() -> None:
    texture = Texture(0.0)
    texture.strike(on(v.PIANO, 60), 0)
    logits = np.zeros(v.SIZE, dtype=np.float32)
    assert texture.lean(logits, ALL, {on(v.PIANO, 60): 0}, 9, BEAT, 1) is logits


def test_pieces_strike_fewer_notes_again() -> None:
    """Of a fake that has a few pitches only, so that it strikes them again by chance."""
    few = np.zeros(v.SIZE)
    notes = v.KIND == v.K_ON
    few[notes] = np.where((v.FAMILY == v.PIANO) & np.isin(v.VALUE, (60, 64, 67, 72)), 3.0, -50.0)[notes]
    shares = []
    for texture in (0.0, 4.0):
        choices = {"grid": "sixteenths", "tempo_qpm": 120.0, "texture": texture, "stale_bias": 0.0, "repeat_bias": 0.0}
        (piece,) = compose(Fake(bias=few), [asked(60.0)], **choices)
        onsets: dict[int, set[int]] = {}
        clock = 0
        for event in piece.events.ids.tolist():
            clock += int(v.VALUE[event]) if v.KIND[event] == v.K_TIMESHIFT else 0
            if v.KIND[event] == v.K_ON:
                onsets.setdefault(clock, set()).add(event)
        moments = list(onsets.values())
        again = sum(len(now & before) for before, now in pairwise(moments))
        shares.append(again / max(sum(len(now) for now in moments[1:]), 1))
        assert len(moments) > 20
    assert shares[1] < shares[0] - 0.1, shares


def test_recipes_say_how_strongly() -> None:
    assert Recipe().texture == 1.0
