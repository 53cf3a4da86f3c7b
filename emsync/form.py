"""The form of a piece: its sections, and which earlier section each of them returns to.

    plan = plan_form("A,B,A'", 60.0, cuts_s=[11.0, 24.5, 41.0])
    [(s.label, s.start_s, s.returns_to) for s in plan]      # [("A", 0.0, None), ("B", 24.5, None), ("A'", 41.0, 0)]

A *label* is a name, up to three primes and a transposition: `A`, `B'`, `A+5`, `verse`, `A'-2`. The first section with a
name states it. Later ones return to that statement: as it was, transposed by a number of semitones, or, with a prime,
more freely. Without a form of the user's own, sections follow the film's structure: they begin on cuts beside long
shots, and where the mood changes. Times are in seconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError

FloatArray = npt.NDArray[np.float64]
#: Times in seconds (N,) -> valence and arousal (N, 2), NaN where they are not given.
MoodAt = Callable[[FloatArray], FloatArray]

#: The words that stand for a form: none at all, or one taken from the film.
NONE, AUTO = "none", "auto"
#: The shortest section of a given form, and of one taken from the film.
SHORTEST_S: Final = 4.0
SHORTEST_AUTO_S: Final = 8.0
#: The length that sections taken from the film have if the film does not say otherwise. Eight bars at 120.
USUAL_S: Final = 16.0
#: No form has more sections.
MOST_SECTIONS: Final = 200
#: What one more section costs, in the units of `_merit`: sections are only begun where the film has a reason for them.
SECTION_COST: Final = 0.75
#: A section whose length differs from the usual one costs so much times the square of the log of their ratio. In a form
#: taken from the film, long ones cost more, so that something returns in a film without cuts, too.
SHORT: Final = 0.7
LONG: Final = 2.0
#: A return in a mood this far from that of its statement is a new section instead.
CONTRAST: Final = 0.6
#: A section is much calmer, or more excited, than another if their arousal differs by this.
AROUSAL_STEP: Final = 0.25
WORDS: Final = ("intro", "verse", "chorus", "bridge", "solo", "outro", "coda")
_LABEL: Final = re.compile(rf"([A-Z]|{'|'.join(WORDS)})('{{0,3}})([+-]\d{{1,2}})?")
_FURTHEST_SEMITONES: Final = 12
#: Within this many seconds a cut is beside a long shot; the mood is compared over as many before and after a moment.
_AROUND_S: Final = 8.0


@dataclass(frozen=True)
class Label:
    """One entry of a form: a name, how many primes (0 to 3), and a transposition in semitones (-12 to 12)."""

    name: str
    primes: int = 0
    semitones: int = 0

    def __str__(self) -> str:
        return self.name + "'" * self.primes + (f"{self.semitones:+d}" if self.semitones else "")


@dataclass(frozen=True)
class Section:
    """A section of a piece.

    Attributes:
        label: What it is called.
        start_s, end_s: When; the music changes on the bar line nearest to the start.
        returns_to: The number of the section whose music comes back here, None if this one is new.

    """

    label: Label
    start_s: float
    end_s: float
    returns_to: int | None = None


def parse(text: str) -> tuple[Label, ...]:
    """The labels of a form such as "AABA" or "intro,A,B,A'+2".

    Raises `InputError` for an unknown label, a prime or transposition before its statement, or too many sections.
    """
    shown = text if len(text) <= 40 else text[:40] + "..."
    parts = [part.strip() for part in text.split(",")] if "," in text else _run_together(text.strip())
    labels: list[Label] = []
    if len(parts) > MOST_SECTIONS:
        raise InputError(f"a form of {len(parts)} sections is too long; give at most {MOST_SECTIONS}")
    for part in parts:
        found = _LABEL.fullmatch(part)
        if not found:
            raise InputError(
                f"form {shown!r} has the unknown section {part[:20]!r}; a section is a letter from A to Z or one of "
                f"{', '.join(WORDS)}, then up to three ' and a transposition such as +5"
            )
        label = Label(found[1], len(found[2]), int(found[3] or 0))
        if abs(label.semitones) > _FURTHEST_SEMITONES:
            raise InputError(
                f"form {shown!r} moves {part} by {label.semitones} semitones; give -{_FURTHEST_SEMITONES} to "
                f"{_FURTHEST_SEMITONES}"
            )
        if (label.primes or label.semitones) and all(label.name != earlier.name for earlier in labels):
            raise InputError(
                f"form {shown!r} varies {label.name} in {part} before it was played; put {label.name} first"
            )
        labels.append(label)
    return tuple(labels)


def _run_together(text: str) -> list[str]:
    """Split "AA'BA" into "A", "A'", "B" and "A"; a single word stays whole."""
    if text in WORDS:
        return [text]
    return re.findall(r"[A-Z]'*(?:[+-]\d+)?|.+?(?=[A-Z]|$)", text, re.DOTALL) or [text]


def check(text: str) -> None:
    """Raise `InputError` if `text` is neither "auto", "none" nor a form."""
    if not isinstance(text, str):
        raise InputError(f"form is {text!r}; give auto, none, or sections such as AABA")
    if text not in (AUTO, NONE):
        parse(text)


def plan_form(
    form: str,
    duration_s: float,
    *,
    cuts_s: npt.ArrayLike = (),
    mood: MoodAt | None = None,
) -> tuple[Section, ...]:
    """The sections of a piece. None at all for "none", or if a film is too short to have a form.

    Args:
        form: "auto", "none", or labels as `parse` reads them.
        duration_s: The length of the piece.
        cuts_s: (C,) the cuts, increasing. Sections begin on cuts where they can.
        mood: The mood over time.

    Raises:
        InputError: The form cannot be read, or has more sections than the piece can hold.

    """
    check(form)
    if form == NONE:
        return ()
    cuts = np.asarray(cuts_s, dtype=np.float64)
    if form == AUTO:
        starts = _starts(duration_s, cuts, mood, None)
        if len(starts) < 2:
            return ()
        labels = _usual_labels([*starts, duration_s], mood)
    else:
        labels = parse(form)
        if duration_s < SHORTEST_S * len(labels):
            needed_s = SHORTEST_S * len(labels)
            raise InputError(
                f"a form of {len(labels)} sections needs {needed_s:g} s, {SHORTEST_S:g} s each, and the piece has "
                f"{duration_s:g} s; give fewer sections"
            )
        starts = _starts(duration_s, cuts, mood, len(labels))
    return sections_of(labels, starts, duration_s)


def sections_of(labels: Sequence[Label], starts_s: Sequence[float], duration_s: float) -> tuple[Section, ...]:
    """The sections of a piece by their labels and where each starts, in order."""
    ends = [*starts_s[1:], duration_s]
    first: dict[str, int] = {}
    sections = []
    for i, (label, start_s, end_s) in enumerate(zip(labels, starts_s, ends, strict=True)):
        sections.append(Section(label, start_s, end_s, first.get(label.name)))
        first.setdefault(label.name, i)
    return tuple(sections)


def _usual_labels(edges_s: Sequence[float], mood: MoodAt | None) -> tuple[Label, ...]:
    """Labels for sections between edges: A A' B A', or a rondo; a section in quite another mood is a new one."""
    n = len(edges_s) - 1
    names = {2: "AA", 4: "AABA"}.get(n) or "".join("A" if i % 2 == 0 else "BC"[i // 2 % 2] for i in range(n))
    felt = [None if mood is None else _mean_mood(mood, a, b) for a, b in pairwise(edges_s)]
    stated: dict[str, int] = {}
    times: dict[str, int] = {}
    fresh = iter("DEFGHIJKLMNOPQRSTUVWXYZ")
    found = []
    for i, name in enumerate(names):
        if name in stated and _distance(felt[i], felt[stated[name]]) > CONTRAST:
            alike = [k for k in stated if _distance(felt[i], felt[stated[k]]) < CONTRAST / 2]
            name = alike[0] if alike else next(fresh, name)
        stated.setdefault(name, i)
        times[name] = times.get(name, -1) + 1
        found.append((name, min(times[name], 3)))
    letters = dict(zip(stated, "ABCDEFGHIJKLMNOPQRSTUVWXYZ", strict=False))  # in order of appearance
    return tuple(Label(letters[name], primes) for name, primes in found)


def _mean_mood(mood: MoodAt, start_s: float, end_s: float) -> FloatArray:
    return _means(mood, np.array([start_s]), np.array([end_s]))[0]


def _means(mood: MoodAt, start_s: FloatArray, end_s: FloatArray) -> FloatArray:
    """The mean mood (N, 2) of the times between each start and end (N,), NaN where it is not given."""
    at = start_s[:, None] + (end_s - start_s)[:, None] * (np.arange(8) + 0.5) / 8
    levels = np.asarray(mood(at.ravel()), dtype=np.float64).reshape(*at.shape, 2)
    known = ~np.isnan(levels)
    sums = np.where(known, levels, 0.0).sum(axis=1)
    return np.asarray(np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan))


def _distance(a: FloatArray | None, b: FloatArray | None) -> float:
    """How far two moods are apart; an axis that is not given counts as equal."""
    if a is None or b is None:
        return 0.0
    return float(np.sqrt(np.nansum((a - b) ** 2)))


def mean_arousal(mood: MoodAt | None, section: Section) -> float:
    """The mean arousal of a section, NaN if it is not given."""
    return math.nan if mood is None else float(_mean_mood(mood, section.start_s, section.end_s)[1])


# ---- where sections begin --------------------------------------------------------------------------------------------


def _starts(duration_s: float, cuts_s: FloatArray, mood: MoodAt | None, n: int | None) -> list[float]:
    """Where n sections begin, or as many as the film suggests; the first at 0.

    Of all ways to choose among the cuts, and among moments without one where there are too few, the one is taken whose
    moments suit a new section best (`_merit`) at lengths near to the usual one: a shortest path, from 0 to the end.
    """
    if n == 1:
        return [0.0]
    shortest = SHORTEST_AUTO_S if n is None else SHORTEST_S
    usual = USUAL_S if n is None else duration_s / n
    if n is None and duration_s < 2 * shortest:
        return [0.0]
    at, merit = _candidates(duration_s, cuts_s, mood, shortest, usual)
    counted = n is not None
    layers = n if n is not None else 1
    # best[k][j]: the best that k sections can earn that end at candidate j. Without a count there is one layer.
    best = np.full((layers + 1, len(at)), -math.inf)
    came = np.full((layers + 1, len(at)), -1, dtype=np.int64)
    best[0, 0] = 0.0
    longest = max(4 * usual, 4 * shortest)
    for j in range(1, len(at)):
        first = int(np.searchsorted(at, at[j] - longest - 1e-9))
        last = int(np.searchsorted(at, at[j] - shortest + 1e-9, side="right"))
        if last <= first:
            continue
        lengths = at[j] - at[first:last]
        cost = np.where((lengths > usual) & (n is None), LONG, SHORT) * np.log(lengths / usual) ** 2
        before = best[:-1, first:last] if counted else best[:, first:last].max(axis=0)[None]
        total = before - cost  # (layers, candidates before)
        i = total.argmax(axis=1)
        best[1:, j] = total[np.arange(layers), i] + merit[j] - SECTION_COST
        came[1:, j] = np.where(np.isfinite(best[1:, j]), first + i, -1)
    starts, k, j = [], layers, len(at) - 1
    while j > 0 and came[k, j] >= 0:
        j = int(came[k, j])
        starts.append(float(at[j]))
        if counted:
            k -= 1
    if not starts or starts[-1] != 0.0:  # no way through: equal lengths
        count = n or max(1, int(duration_s // usual))
        return [i * duration_s / count for i in range(count)]
    return starts[::-1]


def _candidates(
    duration_s: float, cuts_s: FloatArray, mood: MoodAt | None, shortest: float, usual: float
) -> tuple[FloatArray, FloatArray]:
    """Moments where a section may begin, from 0 to the end, and what each is worth."""
    step = max(1.0, usual / 16)
    inside = cuts_s[(cuts_s >= shortest) & (cuts_s <= duration_s - shortest)]
    even = np.arange(step, duration_s, step)
    if len(inside):  # beside a cut, the cut is better
        place = np.searchsorted(inside, even)
        gap = np.minimum(
            np.abs(even - inside[np.minimum(place, len(inside) - 1)]), np.abs(even - inside[np.maximum(place - 1, 0)])
        )
        even = even[gap > step]
    at = np.concatenate([inside, even])
    merit = np.concatenate([_merit(inside, cuts_s, duration_s), np.zeros(len(even))])
    order = np.argsort(at, kind="stable")
    at, merit = at[order], merit[order]
    if mood is not None:
        before = _means(mood, np.maximum(at - _AROUND_S, 0.0), at)
        after = _means(mood, at, np.minimum(at + _AROUND_S, duration_s))
        merit = merit + np.sqrt(np.nansum((before - after) ** 2, axis=1))
    return np.concatenate([[0.0], at, [duration_s]]), np.concatenate([[0.0], merit, [0.0]])


def _merit(moments_s: FloatArray, cuts_s: FloatArray, duration_s: float) -> FloatArray:
    """What cuts are worth as beginnings: 0.5 for a cut, and up to 0.5 more for a long shot before or after it."""
    edges = np.unique(np.concatenate([[0.0], cuts_s, [duration_s]]))
    place = np.searchsorted(edges, moments_s)
    before = moments_s - edges[place - 1]
    after = edges[np.minimum(place + 1, len(edges) - 1)] - moments_s
    return np.asarray(0.5 + 0.5 * np.minimum(np.maximum(before, after) / _AROUND_S, 1.0))
