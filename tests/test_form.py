"""The form of a piece: labels, and where sections begin."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.errors import InputError
from emsync.form import (
    MOST_SECTIONS,
    SHORTEST_AUTO_S,
    SHORTEST_S,
    Label,
    Section,
    mean_arousal,
    parse,
    plan_form,
)


def said(sections: tuple[Section, ...]) -> list[tuple[str, float, int | None]]:
    return [(str(s.label), s.start_s, s.returns_to) for s in sections]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("A", ["A"]),
        ("AABA", ["A", "A", "B", "A"]),
        ("AA'BA''", ["A", "A'", "B", "A''"]),
        ("ABA+5", ["A", "B", "A+5"]),
        ("intro, A, B, A'-2", ["intro", "A", "B", "A'-2"]),
        ("verse,chorus,verse", ["verse", "chorus", "verse"]),
        ("bridge", ["bridge"]),
    ],
)
def test_labels(text: str, labels: list[str]) -> None:
    assert [str(label) for label in parse(text)] == labels


@given(
    names=st.lists(
        st.tuples(st.sampled_from("ABC"), st.integers(0, 3), st.integers(-12, 12)), min_size=1, max_size=MOST_SECTIONS
    )
)
def test_labels_are_written_as_they_are_read(names: list[tuple[str, int, int]]) -> None:
    stated: set[str] = set()
    labels = []
    for name, primes, semitones in names:
        labels.append(Label(name, primes, semitones) if name in stated else Label(name))
        stated.add(name)
    text = ",".join(str(label) for label in labels)
    assert parse(text) == tuple(labels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "form '' has the unknown section ''; a section is a letter from A to Z or one of intro, verse"),
        ("AbA", "form 'AbA' has the unknown section 'b'"),
        ("A,,B", "form 'A,,B' has the unknown section ''"),
        ("A,refrain", "unknown section 'refrain'"),
        ("A''''", "unknown section"),
        ("\udce9", "unknown section"),
        ("AA+13", r"moves A\+13 by 13 semitones; give -12 to 12"),
        ("A'B", "varies A in A' before it was played; put A first"),
        ("B,A+2", r"varies A in A\+2 before it was played"),
        ("A" * 201, "a form of 201 sections is too long; give at most 200"),
    ],
)
def test_forms_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_sections_begin_on_cuts() -> None:
    plan = plan_form("A,B,A'", 60.0, cuts_s=[11.0, 21.0, 24.5, 41.0, 58.0])
    assert said(plan) == [("A", 0.0, None), ("B", 21.0, None), ("A'", 41.0, 0)]
    assert [s.end_s for s in plan] == [21.0, 41.0, 60.0]


def test_without_cuts_sections_are_about_equal() -> None:
    lengths = [s.end_s - s.start_s for s in plan_form("AABA", 64.0)]
    assert len(lengths) == 4
    assert max(lengths) < 1.3 * min(lengths)


def test_a_film_without_a_form() -> None:
    assert plan_form("none", 60.0, cuts_s=[20.0, 40.0]) == ()
    assert plan_form("auto", 2 * SHORTEST_AUTO_S - 0.1, cuts_s=[8.0]) == ()


def test_a_form_of_the_films_own() -> None:
    """Sections begin beside the long shot, and where the mood changes, not at any cut."""
    quick = [*np.arange(2.0, 18.1, 2.0), 34.0, *np.arange(36.0, 50.0, 2.0)]
    starts = [s.start_s for s in plan_form("auto", 50.0, cuts_s=quick)]
    assert starts == [0.0, 18.0, 34.0]

    def brightening(times_s: np.ndarray) -> np.ndarray:
        return np.stack([np.where(times_s < 21.0, -0.8, 0.8), np.full(len(times_s), np.nan)], axis=-1)

    plan = plan_form("auto", 42.0, cuts_s=np.arange(3.0, 42.0, 3.0), mood=brightening)
    assert 21.0 in [s.start_s for s in plan]


def test_another_mood_is_another_section() -> None:
    def calming(times_s: np.ndarray) -> np.ndarray:
        return np.stack([np.zeros(len(times_s)), np.where(times_s < 32.0, 0.9, -0.9)], axis=-1)

    plain = plan_form("auto", 64.0, cuts_s=[16.0, 32.0, 48.0])
    assert [str(s.label) for s in plain] == ["A", "A'", "B", "A''"]
    felt = plan_form("auto", 64.0, cuts_s=[16.0, 32.0, 48.0], mood=calming)
    assert [str(s.label) for s in felt] == ["A", "A'", "B", "B'"]
    # A second section in quite another mood is the next letter.
    turning = plan_form("auto", 32.0, cuts_s=[16.0], mood=lambda times_s: calming(times_s + 16.0))
    assert [(str(s.label), s.returns_to) for s in turning] == [("A", None), ("B", None)]
    assert mean_arousal(calming, felt[0]) == pytest.approx(0.9)
    assert np.isnan(mean_arousal(None, felt[0]))


def test_a_form_longer_than_the_film_can_hold() -> None:
    with pytest.raises(
        InputError, match="a form of 4 sections needs 16 s, 4 s each, and the piece has 15 s; give fewer"
    ):
        plan_form("AABA", 15.0)
    assert len(plan_form("AABA", 16.0)) == 4


@given(
    duration_s=st.floats(1.0, 400.0),
    shares=st.lists(st.floats(0.001, 0.999), max_size=60, unique=True),
    n=st.integers(1, 12),
    auto=st.booleans(),
)
def test_sections_cover_the_piece(duration_s: float, shares: list[float], n: int, auto: bool) -> None:
    cuts_s = np.unique(np.array(sorted(shares)) * duration_s)
    form = "auto" if auto else "ABCDEFGHIJKL"[:n]
    if not auto and duration_s < SHORTEST_S * n:
        return
    plan = plan_form(form, duration_s, cuts_s=cuts_s)
    if not plan:
        assert auto
        return
    assert auto or len(plan) == n
    assert plan[0].start_s == 0.0
    assert plan[-1].end_s == duration_s
    for before, after in pairwise(plan):
        assert before.end_s == after.start_s
    shortest = SHORTEST_AUTO_S if auto else min(SHORTEST_S, duration_s / n)
    assert all(s.end_s - s.start_s >= shortest - 1e-6 for s in plan)
    for i, section in enumerate(plan):
        first = next(k for k, other in enumerate(plan) if other.label.name == section.label.name)
        assert section.returns_to == (None if first == i else first)


@pytest.mark.parametrize(
    ("duration_s", "labels"),
    [(20.0, []), (30.0, ["A", "A'"]), (60.0, ["A", "B", "A'"]), (90.0, ["A", "B", "A'", "C", "A''"])],
)
def test_a_film_without_cuts_has_a_form_as_well(duration_s: float, labels: list[str]) -> None:
    sections = plan_form("auto", duration_s)
    assert [str(section.label) for section in sections] == labels
    assert all(14 < section.end_s - section.start_s < 24 for section in sections)
