"""How a piece follows its plan: how strongly a return, and each prime of it, leans on its statement."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.form import plan_form
from emsync.recipe import Recipe
from emsync.sections import Plan, Sections

BAR = v.ID_OF["BAR_4"]
KICK = int(v.ON_BASE[v.DRUMS] + 36)
BAR_STEPS = 250  # 2 s
#: One bar of a kick on each half.
ONE_BAR = [BAR, KICK, v.SHIFT_BASE + 125, KICK, v.SHIFT_BASE + 125]


def leaning(form: str, strength: float = 0.8) -> list[float]:
    """For each section of 8 s, how much more probable than by the model alone its first kick is."""
    plan = Plan(plan_form(form, 8.0 * len(form.split(","))))
    sections = Sections(plan, Recipe(theme_strength=strength), None, None, np.random.default_rng(0))
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
