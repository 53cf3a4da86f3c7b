"""A piece hears itself, and asks for more of a mood that its music lacks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from emsync import soundtrack
from emsync import vocabulary as v
from emsync.candidates import _asked_mood
from emsync.composer import compose
from emsync.conditions import AROUSAL_LANE, MOOD_LANES, N_LANES, VALENCE_LANE
from emsync.expression import loudness
from emsync.mood import MoodCurve
from emsync.mood_feedback import FIRST_S, LEAST_VALENCE, LOUDEST, MOST, MoodFeedback, heard_arousal
from emsync.recipe import Recipe
from emsync.rewriter import Gap, Kept, Rewriter
from emsync.tokenizer.events import encode
from emsync.tonality import Tonality
from emsync.writer import Writer
from tests.composing import asked
from tests.fakes import Feeling, plain_recipe
from tests.songs import score

Moods = Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]


def requested(valence: float, arousal: float) -> Moods:
    return lambda times_s: np.tile([valence, arousal], (len(times_s), 1))


def lanes(valence: float, arousal: float) -> npt.NDArray[np.float32]:
    row = np.full(N_LANES, 0.25, dtype=np.float32)
    row[MOOD_LANES] = valence, arousal
    return row


def heard(feedback: MoodFeedback, moods: Moods, *, every_s: float, count: int, calm: bool) -> MoodFeedback:
    """Feedback that has heard the bars of a piece in the manner of a lullaby, or of an excited one."""
    gap_s, long_s, loudness = (2.0, 2.0, 30) if calm else (0.125, 0.1, 120)
    n = int(every_s * count / gap_s)
    tune = score([(1, 60 + 2 * (i % 4), gap_s * i, gap_s * i + long_s) for i in range(n)])
    events = encode(tune)
    steps = np.cumsum(v.SHIFT_STEPS[events.ids]).tolist()
    levels = np.where(events.velocities > 0, loudness // 8, 0).tolist()
    for bar in range(1, count + 1):
        stop = int(np.searchsorted(steps, every_s * bar / v.STEP_S))
        feedback.hear(events.ids[:stop].tolist(), levels[:stop], steps[:stop], moods)
    return feedback


@pytest.mark.parametrize(("calm", "arousal"), [(True, 0.8), (False, -0.8)])
def test_more_is_requested_of_what_is_missing(calm: bool, arousal: float) -> None:
    moods, given = requested(math.nan, arousal), lanes(math.nan, 0.2 * arousal)
    few, many = (heard(MoodFeedback(1.0, 0.0), moods, every_s=2.0, count=n, calm=calm) for n in (12, 30))
    some, more = (each.corrected(given)[AROUSAL_LANE] - given[AROUSAL_LANE] for each in (few, many))
    assert 0 < some * np.sign(arousal) <= more * np.sign(arousal) <= MOST + 1e-6
    assert abs(many.corrected(lanes(math.nan, arousal))[AROUSAL_LANE]) == 1.0, "no mood is beyond 1"
    assert math.isnan(many.corrected(given)[VALENCE_LANE]), "what nobody asked for stays unknown"
    others = np.setdiff1d(np.arange(N_LANES), MOOD_LANES)
    np.testing.assert_array_equal(many.corrected(given)[others], given[others])


def test_music_near_to_its_mood_asks_for_less_than_music_far_from_it() -> None:
    """The same lullaby, requested excited and requested calm."""
    up, down = (
        heard(MoodFeedback(1.0, 0.0), requested(math.nan, arousal), every_s=2.0, count=20, calm=True)
        for arousal in (1.0, -1.0)
    )
    given = lanes(math.nan, 0.0)
    assert up.corrected(given)[AROUSAL_LANE] > 0.5
    assert abs(down.corrected(given)[AROUSAL_LANE]) < abs(up.corrected(given)[AROUSAL_LANE]) / 2


def test_a_valence_keeps_its_sign() -> None:
    for asked_for in (0.9, -0.9):
        feedback = heard(MoodFeedback(2.0, 0.0), requested(asked_for, 0.0), every_s=2.0, count=30, calm=True)
        assert feedback.corrected(lanes(0.3, 0.0))[VALENCE_LANE] >= np.float32(LEAST_VALENCE)
        assert feedback.corrected(lanes(-0.3, 0.0))[VALENCE_LANE] <= -np.float32(LEAST_VALENCE)


def test_what_is_beyond_the_bounds_of_a_valence_is_known() -> None:
    """The lanes end at 1; keys may lean more."""
    feedback = heard(MoodFeedback(0.02, 0.0), requested(0.9, 0.0), every_s=2.0, count=30, calm=True)
    raised = feedback.corrected(lanes(0.1, 0.0))[VALENCE_LANE] - np.float32(0.1)
    assert 0 < raised < 0.9
    assert feedback.beyond == 0.0
    assert feedback.corrected(lanes(1.0, 0.0))[VALENCE_LANE] == 1.0
    assert feedback.beyond == pytest.approx(raised, abs=1e-6)
    feedback.corrected(lanes(math.nan, 0.0))
    assert feedback.beyond == 0.0, "nothing is requested"
    bounded = heard(MoodFeedback(2.0, 0.0, reaches=False), requested(0.9, 0.0), every_s=2.0, count=30, calm=True)
    bounded.corrected(lanes(1.0, 0.0))
    assert bounded.beyond == 0.0


@pytest.mark.parametrize("crosses", [True, False])
def test_what_would_have_the_other_sign_is_known(crosses: bool) -> None:
    """A mode stays; its chords may be brighter."""
    feedback = MoodFeedback(1.0, 0.0, crosses=crosses)
    for added, given, within in ((0.7, -0.3, -LEAST_VALENCE), (-0.7, 0.3, LEAST_VALENCE)):
        feedback._added = np.array([added, 0.0])
        assert feedback.corrected(lanes(given, 0.0))[VALENCE_LANE] == pytest.approx(within)
        assert feedback.beyond == pytest.approx(given + added - within if crosses else 0.0, abs=1e-6)
    feedback._added = np.array([0.2, 0.0])
    feedback.corrected(lanes(-0.3, 0.0))
    assert feedback.beyond == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("reaches", [True, False])
def test_keys_lean_by_what_is_beyond(reaches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    monkeypatch.setattr(Tonality, "begin_bar", lambda self, step, valence, *, beyond=0.0, **_: said.append(beyond))
    recipe = plain_recipe(mood_strength=1.0, feedback_reach=reaches)
    writer = Writer(asked(8.0, valence=1.0), recipe, np.random.default_rng(0))
    writer._feedback._added = np.array([0.5, 0.0])
    writer.take(v.ID_OF["BAR_4"])
    assert said == [0.5 if reaches else 0.0]


@pytest.mark.parametrize("relatives", [True, False])
def test_chords_follow_what_would_have_the_other_sign(relatives: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    monkeypatch.setattr(Tonality, "begin_bar", lambda self, step, valence, *, beyond=0.0, **_: said.append(beyond))
    recipe = plain_recipe(mood_strength=1.0, feedback_reach=True, relative_chords=relatives)
    writer = Writer(asked(8.0, valence=-0.3), recipe, np.random.default_rng(0))
    writer._feedback._added = np.array([0.7, 0.0])
    writer.take(v.ID_OF["BAR_4"])
    assert said == [pytest.approx(0.4 + LEAST_VALENCE if relatives else 0.0, abs=1e-6)]


@pytest.mark.parametrize(
    ("choices", "expected"), [({}, 1.0), ({"mood_feedback": 0.5}, 0.5), ({"feedback_reach": False}, 0)]
)
def test_a_soundtrack_is_finished_with_feedback(
    choices: dict[str, Any], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[float] = []
    true = soundtrack.finish

    def finish(*arguments: Any, feedback: float, **more: Any) -> Any:
        said.append(feedback)
        return true(*arguments, feedback=feedback, **more)

    monkeypatch.setattr(soundtrack, "finish", finish)
    mood = MoodCurve([0.0, 8.0], [0.3, 0.3], [0.6, 0.6])
    soundtrack.compose(Feeling(), 8.0, [4.0], Recipe(**choices), mood=mood)
    assert said == [expected]


def test_loudness_makes_up_for_arousal_that_is_missed() -> None:
    """A melody of one speed: louder than asked for where more is requested than is heard, softer where less is."""
    tune = score([(3, 60 + 2 * (i % 4), 0.25 * i, 0.25 * i + 0.2) for i in range(64)])
    at = np.arange(0.5, 16.0)
    heard_at = [heard_arousal(tune, lambda t, level=level: np.full(len(t), level), 1.0)(at) for level in (-1.0, 1.0)]
    assert (heard_at[0] < -1.0).all()
    assert (heard_at[1] > 1.0).all()
    assert np.abs(np.array(heard_at)).max() <= 1.0 + LOUDEST
    less = heard_arousal(tune, lambda t: np.full(len(t), 1.0), 0.1)(at)
    assert (less < heard_at[1]).all()
    rings = score([(3, 60 + 2 * (i % 4), 0.25 * i, 0.25 * i + 0.2) for i in range(64)] + [(3, 60, 16.0, 20.0)])
    ending = heard_arousal(rings, lambda t: np.full(len(t), 0.5), 0.1)
    assert ending(np.array([19.5])) == ending(np.array([15.6])), "an ending is not heard as calm"
    for nothing in (heard_arousal(tune, np.zeros_like, 0.0), heard_arousal(score([]), np.zeros_like, 1.0)):
        assert not nothing(at).any(), "as requested"


def test_nothing_changes_without_strength_mood_or_time() -> None:
    given = lanes(0.1, 0.1)
    for feedback in (
        heard(MoodFeedback(0.0, 0.0), requested(0.9, 0.9), every_s=2.0, count=10, calm=True),
        heard(MoodFeedback(1.0, 0.0), requested(math.nan, math.nan), every_s=2.0, count=10, calm=True),
        heard(MoodFeedback(1.0, 0.0), requested(0.9, 0.9), every_s=FIRST_S / 2, count=1, calm=True),
    ):
        assert feedback.corrected(given) is given


def test_the_loudness_that_comes_when_a_piece_is_finished_is_heard() -> None:
    quiet, loud = (
        heard(MoodFeedback(0.2, louder), requested(math.nan, 0.8), every_s=2.0, count=10, calm=True)
        for louder in (0.0, 100.0)
    )
    given = lanes(math.nan, 0.0)
    assert loud.corrected(given)[AROUSAL_LANE] < quiet.corrected(given)[AROUSAL_LANE]


def test_a_composed_piece_is_conditioned_on_what_it_lacks() -> None:
    excited = asked(16.0, arousal=0.6, piece_arousal=0.6)
    rare = np.where(v.KIND == v.K_ON, -3.0, 0.0)
    levels = []
    for strength in (0.0, 1.0):
        fake = Feeling(bias=rare, gain=0.0)
        compose(fake, [excited], plain_recipe(mood_strength=1.0, mood_feedback=strength, tempo_qpm=100.0))
        levels.append([row[0, AROUSAL_LANE] for _, _, row in fake.inputs])
    without, with_feedback = levels
    assert set(np.round(without, 4)) == {np.float32(0.6).round(4)}
    assert with_feedback[0] == pytest.approx(0.6)
    assert max(with_feedback) > 0.8


def test_a_part_of_a_song_hears_nothing() -> None:
    """What stays around it has its velocities already, and would be heard as if it were to be made louder."""
    bar = 4 * 76
    kept = []
    for number in range(6):
        kept.append(Kept(number * bar, v.ID_OF["BAR_4"]))
        for beat in range(4):
            note = int(v.ON_BASE[v.PIANO]) + 60 + beat
            step = number * bar + 76 * beat
            kept += [Kept(step, note, 3), Kept(step + 70, int(v.PARTNER[note]))]
    gap = Gap(76, 5 * bar, 6 * bar, tuple(sorted(kept, key=lambda each: each.step)), frozenset({v.STRINGS}), (), True)
    recipe = plain_recipe(mood_strength=1.0, mood_feedback=1.0)
    part = Rewriter(asked(6 * bar * v.STEP_S, arousal=0.8), recipe, np.random.default_rng(0), gap=gap)
    assert part.steps[-1] > 4 * bar
    assert {round(float(row[AROUSAL_LANE]), 4) for row in part.lanes} == {0.8}


def test_candidates_are_chosen_by_the_mood_that_was_requested() -> None:
    recipe = plain_recipe(mood_strength=1.0, mood_feedback=1.0, tempo_qpm=100.0)
    writer = Writer(asked(8.0, arousal=0.3), recipe, np.random.default_rng(0))
    moods = requested(math.nan, 1.0)
    writer._feedback = heard(MoodFeedback(1.0, 0.0), moods, every_s=2.0, count=20, calm=True)
    writer.take(v.ID_OF["BAR_4"])
    assert writer.lanes[-1][AROUSAL_LANE] == 1.0
    wanted = _asked_mood(writer, 0)
    assert wanted is not None
    assert wanted[1] == pytest.approx(0.3)


def test_feedback_hears_the_loudness_that_finishing_adds() -> None:
    expressive, plain, unfinished = (
        MoodFeedback.of(Recipe(**choices))._loudness
        for choices in ({"expression": 1.0}, {"expression": 0.0}, {"finish": "off"})
    )
    assert expressive == pytest.approx(loudness(1.0))
    assert plain == pytest.approx(loudness(0.0))
    assert unfinished == 0.0
