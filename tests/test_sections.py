"""How a piece follows its plan: how strongly a return, and each prime of it, leans on its statement."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.form import plan_form
from emsync.recipe import Recipe
from emsync.sections import Plan, Sections, accompaniment, played_by
from emsync.theme import Theme

BAR = v.ID_OF["BAR_4"]
KICK = int(v.ON_BASE[v.DRUMS] + 36)
BAR_STEPS = 250  # 2 s
#: One bar of a kick on each half.
ONE_BAR = [BAR, KICK, v.SHIFT_BASE + 125, KICK, v.SHIFT_BASE + 125]


def leaning(form: str, strength: float = 0.8) -> list[float]:
    """For each section of 8 s, how much more probable than by the model alone its first kick is."""
    plan = Plan(plan_form(form, 8.0 * len(form.split(","))))
    sections = Sections(
        plan, Recipe(theme_strength=strength, phrase_strength=0.0), None, None, np.random.default_rng(0)
    )
    events: list[int] = [v.START]
    step, found = 0, []
    logits, everything = np.zeros(v.SIZE, dtype=np.float32), np.ones(v.SIZE, dtype=bool)
    for bar in range(4 * len(plan.sections)):
        for event in ONE_BAR:
            sections.accept(event, events, step, BAR_STEPS)
            events.append(event)
            step += int(v.VALUE[event]) if v.KIND[event] == v.K_TIMESHIFT else 0
            if event == BAR and bar % 4 == 0:
                mixed = np.exp(sections.mix(logits, everything, ()).astype(np.float64))
                share = mixed[KICK] / mixed.sum()
                found.append((share - 1 / v.SIZE) / (1 - 1 / v.SIZE))
    assert sections.now == len(plan.sections) - 1
    return found


def test_a_return_leans_on_its_statement_and_each_prime_leans_less() -> None:
    assert leaning("A,B,A,A',A''") == pytest.approx([0.0, 0.0, 0.8, 0.8 * 0.9, 0.8 * 0.81], abs=1e-3)


def test_the_strength_of_the_theme_scales_it() -> None:
    assert leaning("A,A'", strength=0.5) == pytest.approx([0.0, 0.45], abs=1e-3)
    assert leaning("A,A'", strength=0.0) == [0.0, 0.0]


TRIAD = [int(v.ON_BASE[v.PIANO] + pitch) for pitch in (48, 52, 55)]
LEAD = int(v.ON_BASE[v.STRINGS] + 76)
HALF = int(v.SHIFT_BASE + 125)


def a_bar(*ons: int) -> list[int]:
    """A bar with notes on its first half, which end with it."""
    offs = [int(v.PARTNER[on]) for on in ons if v.FAMILY[on] != v.DRUMS]
    return [BAR, *ons, HALF, *offs, HALF]


#: Four bars, each with another chord tone; the lead is the strings.
PHRASE = [a_bar(KICK, on, LEAD) for on in (*TRIAD, TRIAD[0])]


#: The drums' own order leaves what comes before them (ends of notes, a chord) as likely as it was.
LIKELY = 0.25


def leaning_of(
    bars: list[list[int]], plan: Plan | None = None, *, begins: bool = True, ends: bool = False, **choices: float
) -> np.ndarray:
    """Play bars, and begin another if `begins`; return how likely each event is then, or in the last chord."""
    recipe = Recipe(mode="off", **choices)  # type: ignore[arg-type]
    sections = Sections(plan or Plan(), recipe, None, None, np.random.default_rng(0))
    events: list[int] = [v.START]
    step = 0
    for event in [*(event for bar in bars for event in bar), *[BAR] * begins]:
        sections.accept(event, events, step, BAR_STEPS)
        events.append(event)
        step += int(v.VALUE[event]) if v.KIND[event] == v.K_TIMESHIFT else 0
    everything = np.ones(v.SIZE, dtype=bool)
    odds = np.exp(sections.mix(np.zeros(v.SIZE, dtype=np.float32), everything, (), ends=ends).astype(np.float64))
    return np.asarray(odds / odds.sum())


def test_an_answer_has_the_accompaniment_of_its_phrase() -> None:
    for played in range(4):  # in the phrase itself nothing is known
        assert leaning_of(PHRASE[:played]) == pytest.approx(1 / v.SIZE)
    assert leaning_of(PHRASE, phrase_strength=0.0) == pytest.approx(1 / v.SIZE)
    for number, tone in enumerate((*TRIAD, TRIAD[0])):
        found = leaning_of([*PHRASE, *PHRASE[:number]])
        assert found[KICK] > LIKELY
        assert found[LEAD] < 1 / v.SIZE  # it may come, but after the kick
        after = leaning_of([*PHRASE, *PHRASE[:number], [BAR, KICK]], begins=False)
        assert after[tone] > LIKELY
        assert max(after[other] for other in (*TRIAD, LEAD) if other != tone) < 1 / v.SIZE


def test_an_accompaniment_does_not_return_in_the_last_chord() -> None:
    assert leaning_of(PHRASE, ends=True) == pytest.approx(1 / v.SIZE)
    assert leaning_of(PHRASE, ends=True, final_tonic=0.0)[KICK] > LIKELY


def test_the_lead_of_an_answer_is_free() -> None:
    source = accompaniment([event for bar in PHRASE for event in bar])
    assert source is not None
    assert source.only == {v.DRUMS, v.PIANO}
    assert {event for bar in source.bars for _, event in bar if v.KIND[event] == v.K_ON} == {KICK, *TRIAD}
    assert accompaniment([event for _ in range(4) for event in a_bar(LEAD)]) is None


def test_after_an_answer_the_drums_alone_go_on() -> None:
    found = leaning_of([*PHRASE, *PHRASE])
    assert found[KICK] > LIKELY
    drums = played_by([event for bar in PHRASE for event in bar], frozenset({v.DRUMS}))
    assert drums is not None
    assert drums.bars == (((0, KICK),),) * 4
    assert played_by(a_bar(LEAD), frozenset({v.DRUMS})) is None


def test_a_much_calmer_section_begins_without_the_drums() -> None:
    sections = plan_form("A,B", 16.0)
    for calmer, goes_on in ((0.1, True), (0.6, False)):
        plan = Plan(sections, arousal=(0.5, 0.5 - calmer))
        found = leaning_of(PHRASE, plan)
        assert (found[KICK] > LIKELY) == goes_on


def test_a_theme_returns_more_closely_than_what_was_composed() -> None:
    theme = Theme(np.array([0.0]), np.array([4.0]), np.array([72]), v.STRINGS, 4.0, "one note")
    note = int(v.ON_BASE[v.STRINGS] + 72)
    found = []
    for strength in (0.25, 1.0):
        recipe = Recipe(mode="off", theme_strength=strength, phrase_strength=0.0)
        sections = Sections(Plan(plan_form("A,A", 16.0), theme), recipe, None, BAR_STEPS / 4, np.random.default_rng(0))
        events: list[int] = [v.START]
        for step in range(0, 5 * BAR_STEPS, BAR_STEPS):  # five empty bars: the fifth begins the return
            sections.accept(BAR, events, step, BAR_STEPS)
            events += [BAR, HALF, HALF] if step < 4 * BAR_STEPS else [BAR]
            if step < 4 * BAR_STEPS:
                for event in (HALF, HALF):
                    sections.accept(event, events, step, BAR_STEPS)
        allowed = np.zeros(v.SIZE, dtype=bool)
        allowed[[note, HALF]] = True
        odds = np.exp(sections.mix(np.zeros(v.SIZE, dtype=np.float32), allowed, ()).astype(np.float64))[[note, HALF]]
        found.append(float(odds[0] / odds.sum()))
    assert found[1] > found[0] > 0.6 + 0.3 * 0.25  # 0.5 of the theme and half of the rest, not 0.25 of it
