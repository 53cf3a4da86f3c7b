"""The form of a piece that is being composed: which section it is in, what may be copied there, and what returns.

Each name of the form has a past of its own, so that a section copies from the sections of its name alone: A from
nothing but itself, A' from A, B from nothing that A played. A return follows its statement bar by bar (`guide.Guide`).
A theme of the user's is stated by the first section, and returns with it. Where nothing returns, sections are made of
phrases of four bars, each with an answer over the same accompaniment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.form import Section, mean_arousal, plan_form
from emsync.guide import THINNED, Guide, Source
from emsync.keys import Key
from emsync.mixture import Copier, Mixture
from emsync.progression import LOOP_BARS
from emsync.recipe import Recipe
from emsync.score import Marker, Score
from emsync.theme import Theme, lead_family
from emsync.tonality import Tonality

FloatArray = npt.NDArray[np.floating]

#: Each prime multiplies the strength of a return by this.
PER_PRIME: Final = 0.9
#: A phrase and its answer are as long as a loop of chords, which is played twice (`progression`).
PHRASE_BARS: Final = LOOP_BARS
_DRUMS: Final = frozenset({v.DRUMS})
#: The weight of a theme's own notes where it is stated: the listener must hear what the user wrote.
STATED: Final = 0.98


@dataclass(frozen=True)
class Plan:
    """What is planned of one piece.

    Attributes:
        sections: Its sections, from 0 s on; none at all for a piece without a form.
        theme: A melody for the first section and its returns.
        arousal: The mean arousal of each section, NaN where it is not given; empty if it never is.

    """

    sections: tuple[Section, ...] = ()
    theme: Theme | None = None
    arousal: tuple[float, ...] = ()

    def moved(self, to: Callable[[npt.ArrayLike], FloatArray]) -> Plan:
        """The plan at other times: `to` maps times in seconds, any shape, and never turns their order."""
        sections = [replace(s, start_s=float(to(s.start_s)), end_s=float(to(s.end_s))) for s in self.sections]
        return replace(self, sections=tuple(sections))


def plan_piece(
    recipe: Recipe, duration_s: float, cuts_s: npt.ArrayLike, curves: Mapping[str, tuple[FloatArray, FloatArray]],
    theme: Theme | None = None,
) -> Plan:  # fmt: skip
    """The plan of a piece.

    Args:
        recipe: Its `form` says which sections there are.
        duration_s: The length of the piece.
        cuts_s: (C,) the cuts, increasing.
        curves: Valence and arousal by their names, (times_s, levels); either may be missing.
        theme: A melody for the first section and its returns.

    Raises:
        InputError: The form has more sections than the piece can hold.

    """

    def mood(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        levels = [
            np.interp(times_s, *curves[name]) if name in curves else np.full(len(times_s), np.nan)
            for name in ("valence", "arousal")
        ]
        return np.stack(levels, axis=-1)

    given = mood if curves else None
    sections = plan_form(recipe.form, duration_s, cuts_s=cuts_s, mood=given)
    return Plan(sections, theme, tuple(mean_arousal(given, s) for s in sections) if "arousal" in curves else ())


def section_markers(score: Score, sections: Sequence[Section]) -> list[Marker]:
    """A marker with the label of each section, on the bar line nearest to its start: where the music changes."""
    lines = score.bars.start_s
    at_s = [float(lines[np.argmin(np.abs(lines - s.start_s))]) if len(lines) else s.start_s for s in sections]
    return [Marker(time_s, str(section.label)) for time_s, section in zip(at_s, sections, strict=True)]


class Sections:
    """Follows a piece, event by event, through its plan.

    Attributes:
        copier: What is copied in the section that the piece is in.
        now: The number of that section; -1 before the first BAR.
        tonality: What key it is in.

    """

    def __init__(
        self, plan: Plan, recipe: Recipe, mixture: Mixture | None, beat_steps: float | None, rng: np.random.Generator
    ) -> None:
        if plan.theme is not None and beat_steps is None:
            raise InputError("a theme needs a tempo; give --tempo, or a --grid other than free")
        self._plan, self._recipe, self._mixture, self._beat_steps = plan, recipe, mixture, beat_steps
        self._starts = [section.start_s / v.STEP_S for section in plan.sections]
        self._begun: dict[int, int] = {}  # by section: the place of its first BAR among the events
        self._keys: dict[int, Key | None] = {}  # by section: what it began in
        self.tonality = Tonality(recipe, rng.spawn(1)[0], None if plan.theme is None else plan.theme.key)
        self._copiers: dict[str, Copier] = {}
        self._guides: list[Guide] = []
        self._theme: Guide | None = None  # the user's theme where it is played
        self._phrase_bars = 0  # how many bars of this phrase have begun
        self._phrase_key: Key | None = None  # what it began in
        self._drums: Guide | None = None  # the drums that go on
        self._bars: list[int] = []  # the places of the latest BARs among the events, `PHRASE_BARS` at most
        self.now = -1
        self.copier = self._copier(plan.sections[0].label.name if plan.sections else "")

    @property
    def plan(self) -> Plan:
        """What is planned of the piece."""
        return self._plan

    @property
    def shared(self) -> tuple[object, ...]:
        """What forks of a writer share, because it never changes."""
        return self._plan, self._recipe, self._mixture, *(guide.source for guide in self._guides)

    @property
    def returning(self) -> tuple[Source, float] | None:
        """What is still to come of the passage that returns here, and its weight, 0 to 1; None where none does."""
        section = self._plan.sections[self.now] if self._plan.sections and self.now >= 0 else None
        if section is None or section.returns_to is None:
            return None
        playing = (guide for guide in self._guides if guide.source.is_whole and not guide.is_over)
        return next(((guide.ahead, guide.weight) for guide in playing), None)

    def _copier(self, name: str) -> Copier:
        if name not in self._copiers:
            self._copiers[name] = Copier(self._mixture, self._recipe.copying, self._recipe.longest_copy_bars)
        return self._copiers[name]

    def accept(
        self, event: int, ids: Sequence[int], step: int, bar_steps: float, valence: float = math.nan, *,
        ruled: bool = False, beyond: float = 0.0, leads_home: bool = False,
    ) -> None:  # fmt: skip
        """Take the next event.

        Args:
            event: The event.
            ids: The events before it, from START on.
            step: The clock.
            bar_steps: The length of a bar. A section begins on the bar line nearest to its start.
            valence: Of the mood at `step`, in [-1, 1]; NaN if it is not given.
            ruled: Whether something else than the mood says which pitches there are.
            beyond: As of `Tonality.begin_bar`.
            leads_home: As of `Tonality.begin_bar`.

        """
        if v.KIND[event] == v.K_BAR:
            now = int(np.searchsorted(self._starts, step + bar_steps / 2, side="right")) - 1 if self._starts else 0
            new = now > self.now
            self.now = max(now, self.now)
            self.tonality.begin_bar(
                step, valence, section=self._plan.sections[now].label.name if self._plan.sections else "", begins=new,
                semitones=self._semitones(), states_theme=self._states_theme(), ruled=ruled, beyond=beyond,
                leads_home=leads_home,
            )  # fmt: skip
            if new:
                self._begin(now, ids)
                self._phrase_bars = 0
            self._begin_phrase_bar(ids)
            self._bars = [*self._bars[1 - PHRASE_BARS :], len(ids)]
        self.tonality.accept(event)
        self.copier.append(event)
        for guide in self._guides:
            guide.accept(event)

    def mix(
        self, logits: FloatArray, allowed: npt.NDArray[np.bool_], sounding: Sequence[int],
        chord: Sequence[int] | None = None, step: int = 0, *, ends: bool = False,
    ) -> FloatArray:  # fmt: skip
        """Logits (SIZE,) that lean towards the key, and what returns here; arguments: those of `Tonality.lean`."""
        given = [f for guide in self._guides if not (guide.is_over or guide.source.is_whole) for f in guide.source.only]
        logits = self.tonality.lean(logits, allowed, sounding, given, chord, step, ends=ends)
        if ends and self._recipe.final_tonic:  # nothing that returns says what the last chord is
            return logits
        for guide in self._guides:
            logits = guide.mix(logits, allowed, sounding)
        return logits

    def _begin_phrase_bar(self, ids: Sequence[int]) -> None:
        """A bar begins, and with it a phrase, or its answer, in which the accompaniment of the phrase returns.

        In a new phrase the drums go on, unless a much calmer section begins with it.
        """
        strength = self._recipe.phrase_strength
        if not strength:
            return
        if any(not guide.is_last_bar for guide in self._guides if guide is not self._drums):
            self._phrase_bars = 0  # a phrase begins after what returns here
            return
        latest = ids[self._bars[0] :] if len(self._bars) == PHRASE_BARS else ()
        if self._phrase_bars == PHRASE_BARS:
            source, self._phrase_bars = accompaniment(latest), 0
            if source is not None:
                self._guides = [Guide(self._in_mode(source, self._phrase_key), strength)]
                return
        if not self._phrase_bars:
            self._phrase_key = self.tonality.key
            drums = played_by(latest, _DRUMS)
            if drums is not None and self._excitement(self.now, max(self.now - 1, 0)) > -THINNED[-1][0]:
                self._drums = Guide(drums, strength)
                self._guides = [self._drums]
        self._phrase_bars += 1

    def _states_theme(self) -> bool:
        """Whether the user's theme is being played as it was written."""
        if self._plan.theme is None or self.now > 0:
            return False
        return not self._begun or (self._theme is not None and not self._theme.is_over)

    def _semitones(self) -> int:
        """By how many semitones the current section is transposed."""
        section = self._plan.sections[self.now] if self._plan.sections else None
        returns = section is not None and section.returns_to in self._begun and self._recipe.theme_strength
        return section.label.semitones if section is not None and returns else 0

    def _in_mode(self, source: Source, key: Key | None) -> Source:
        """A passage that was written in `key`, in the mode of this bar, if both are known."""
        now = self.tonality.key
        return source if key is None or now is None else source.in_mode(key, minor=now.is_minor)

    def _begin(self, now: int, ids: Sequence[int]) -> None:
        """A section begins with the BAR that comes next."""
        plan, recipe = self._plan, self._recipe
        self._begun[now], self._keys[now], self._guides = len(ids), self.tonality.key, []
        section = plan.sections[now] if plan.sections else None
        if section is None:
            self._state_theme(None)
            return
        self.copier = self._copier(section.label.name)
        source = section.returns_to
        if source in self._begun and recipe.theme_strength:
            stated = self._begun[source]
            until = min((i for i in self._begun.values() if i > stated), default=len(ids))
            self._guides = [
                Guide.of_return(
                    self._in_mode(Source.of_events(ids[stated:until]), self._keys[source]),
                    recipe.theme_strength * PER_PRIME**section.label.primes,
                    semitones=section.label.semitones, excitement=self._excitement(now, source),
                )
            ]  # fmt: skip
        if section.label.name == plan.sections[0].label.name:
            self._state_theme(section)

    def _state_theme(self, section: Section | None) -> None:
        """The user's theme is stated, or returns."""
        theme, recipe = self._plan.theme, self._recipe
        if theme is None or self._beat_steps is None:
            return
        source, weight = theme.source(self._beat_steps), STATED
        if section is not None and section.returns_to is not None:
            source = self._in_mode(source, theme.key).transposed(section.label.semitones)
            # More closely than other passages: listeners should know it again.
            weight = min(STATED, math.sqrt(recipe.theme_strength) * PER_PRIME**section.label.primes)
        self._theme = Guide(source, weight, makes_room=True)
        self._guides.append(self._theme)

    def _excitement(self, now: int, source: int) -> float:
        """How far the arousal of a section is above that of the one it returns to; 0 if unknown."""
        arousal = self._plan.arousal
        if not arousal:
            return 0.0
        found = arousal[now] - arousal[source]
        return 0.0 if math.isnan(found) else found


def accompaniment(ids: Sequence[int]) -> Source | None:
    """What accompanies the lead in a passage that begins with a BAR: all families but the one that plays highest.

    None if nothing accompanies it.
    """
    on = np.asarray(ids, dtype=np.int64)
    on = on[v.KIND[on] == v.K_ON]
    families, pitched = frozenset(v.FAMILY[on].tolist()), on[v.FAMILY[on] != v.DRUMS]
    if len(pitched):
        families -= {lead_family(v.VALUE[pitched], v.FAMILY[pitched])}
    return played_by(ids, families)


def played_by(ids: Sequence[int], families: frozenset[int]) -> Source | None:
    """What some families play in a passage that begins with a BAR. None if none of them plays."""
    playing = families & frozenset(v.FAMILY[np.asarray(ids, dtype=np.int64)].tolist())
    if not playing:
        return None
    return replace(Source.of_events(ids).without(frozenset(range(len(v.FAMILIES))) - playing), only=playing)
