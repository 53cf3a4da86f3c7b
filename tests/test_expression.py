"""What articulation and loudness do for arousal, and that nothing happens without it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from emsync import expression, soundtrack
from emsync import vocabulary as v
from emsync.composer import compose
from emsync.expression import ARTICULATION, LOUDER, LOUDNESS, lean, loudness
from emsync.mood import MoodCurve
from tests.composing import asked
from tests.fakes import Feeling, plain_recipe

FLAT = np.zeros(v.SIZE, dtype=np.float32)


def on(family: int, pitch: int) -> int:
    return v.ON_BASE[family] + pitch


def test_excited_notes_are_short_and_calm_ones_long() -> None:
    c, e, other = on(v.PIANO, 60), on(v.STRINGS, 64), on(v.PIANO, 62)
    for arousal in (-1.0, 0.5):
        out = lean(FLAT, 2.0, [c, e], arousal)
        assert out[[v.PARTNER[c], v.PARTNER[e]]] == pytest.approx([2 * ARTICULATION * arousal] * 2)
        assert out[v.PARTNER[other]] == 0, "it does not sound"
        assert np.count_nonzero(out) == 2
    assert not FLAT.any(), "the model's own logits stay"


def test_without_arousal_or_strength_nothing_changes() -> None:
    assert lean(FLAT, 1.0, [on(v.PIANO, 60)], math.nan) is FLAT
    assert lean(FLAT, 0.0, [on(v.PIANO, 60)], 1.0) is FLAT
    assert lean(FLAT, 1.0, [], 1.0) is FLAT
    assert loudness(0.0) == LOUDNESS
    assert loudness(2.0) == LOUDNESS + 2 * LOUDER


@pytest.mark.slow
def test_composed_notes_are_shorter_where_it_is_excited(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model, which does not listen to moods: what differs is expression alone."""
    monkeypatch.setattr(expression, "ARTICULATION", 3.0)

    def mean_steps(arousal: float, strength: float, *, mood_strength: float = 1.0) -> float:
        mood = {"piece_arousal": arousal, "arousal": arousal, "piece_valence": 0.0, "valence": 0.0}
        recipe = plain_recipe(seed=3, tempo_qpm=100.0, expression=strength, mood_strength=mood_strength)
        bias = np.where(v.KIND == v.K_OFF, 1.0, 0.0)
        (piece,) = compose(Feeling(bias=bias, gain=0.0), [asked(16.0, 5.0, **mood)], recipe)
        clock, begun, lengths = 0, {}, []
        for event in piece.events.ids.tolist():
            if v.KIND[event] == v.K_TIMESHIFT:
                clock += int(v.VALUE[event])
            elif v.KIND[event] == v.K_ON:
                begun[event] = clock
            elif v.KIND[event] == v.K_OFF:
                lengths.append(clock - begun[int(v.PARTNER[event])])
        return float(np.mean(lengths))

    assert mean_steps(0.9, 1.0) < 0.8 * mean_steps(-0.9, 1.0)
    assert mean_steps(0.9, 1.0, mood_strength=0.0) == mean_steps(0.9, 0.0, mood_strength=0.0)


def test_finished_pieces_are_as_loud_as_expression_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expression, "ARTICULATION", 0.0)  # the same notes
    mood = MoodCurve(np.zeros(1), np.zeros(1), np.full(1, 0.5))
    plain, louder = (
        soundtrack.compose(
            Feeling(gain=0.0), 6.0, (), plain_recipe(finish="on", tempo_qpm=100.0, expression=strength), mood=mood
        ).score
        for strength in (0.0, 1.0)
    )
    assert (plain.start_s == louder.start_s).all()
    inside = (plain.velocity > 1) & (louder.velocity < 127)
    assert np.median((louder.velocity - plain.velocity)[inside]) == pytest.approx(LOUDER / 2, abs=1)
