"""One piece that is being composed: its events, what the model is conditioned on, and the chords on its boundaries."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import expression
from emsync import vocabulary as v
from emsync.arrangement import Arrangement, of_piece
from emsync.conditions import (
    AROUSAL_LANE,
    COPY_LANES,
    METER_LANES,
    MOOD_LANES,
    SENSITIVITY_S,
    VALENCE_LANE,
    Conditions,
)  # fmt: skip
from emsync.errors import InputError
from emsync.grammar import MARGIN, SIXTEENTHS, Grammar
from emsync.keys import Key
from emsync.meter import Meter
from emsync.mixture import Mixture
from emsync.mood_feedback import MoodFeedback
from emsync.recipe import Recipe
from emsync.reference import Originality, Prime
from emsync.repetition import (
    FULL,
    Alone,
    Density,
    Monotony,
    RepeatedNotes,
    StaleHarmony,
    add_biases,
    family_biases,
    fuller,
    of_families,
    paced,
    towards_families,
)
from emsync.sampling import draw, draw_velocity
from emsync.sections import Plan, Sections
from emsync.steering import Steering
from emsync.tempo_plan import TempoPlan, beat_of
from emsync.texture import Texture
from emsync.tokenizer.events import Events

FloatArray = npt.NDArray[np.floating]

#: The model is conditioned on the end only from this many seconds before it. Real songs are longer than most films: a
#: model that knows from the first bar that the end is near plays half a minute of endings, long notes and few voices
#: (docs/decisions/0007-mood.md).
END_KNOWN_S: Final = 8.0
#: A piece with more events per second than this, on average, is a runaway, and gets no more notes.
MAX_EVENTS_PER_S: Final = 150.0
#: No chord is moved closer to the end than this, where it would hardly be audible.
LAST_TARGET_S: Final = 0.5
_DRUM_ONS: Final = (v.KIND == v.K_ON) & (v.FAMILY == v.DRUMS)


@dataclass(frozen=True, eq=False)
class Piece:
    """One composed piece.

    events: what the model wrote.
    boundaries_s: (B,) the boundaries that a CHORD meets, increasing.
    targets_s: (B,) where each of these CHORDs is: on the boundary, or on the beat nearest to it.
    chords_s: (C,) all CHORDs.
    tempo_plan: the tempo that was planned for the film. Events, targets and chords are then in its nominal time,
        boundaries in that of the film.
    keys: where (s) the music was led into which key.
    """

    events: Events
    boundaries_s: FloatArray
    targets_s: FloatArray
    chords_s: FloatArray
    tempo_plan: TempoPlan | None = None
    keys: tuple[tuple[float, Key], ...] = ()


class Targets:
    """Where the chords that meet the boundaries should come: on the boundaries, or nearby on the grid of the music.

    boundaries_s: (B,) in seconds. Targets are in steps.
    """

    def __init__(self, boundaries_s: FloatArray, recipe: Recipe, end_step: int) -> None:
        self._recipe, self._end_step = recipe, end_step
        self._pending = [(b, int(np.rint(b / v.STEP_S))) for b in boundaries_s]  # (boundary, its target now)
        self.met: dict[float, int] = {}  # the step of the CHORD that met each boundary

    def aim(self, grammar: Grammar) -> list[int] | None:
        """At a bar, move the targets that lie ahead to the nearest beats (hits "bend") or sixteenths (hits "free").

        In training, boundaries are onsets of chords, and so on the grid. The model does not know what to do with one
        beside the grid (docs/decisions/0013-boundaries-on-the-grid.md).

        Returns all targets in steps, increasing; None if they stay where they are.
        """
        hits = self._recipe.hits
        if hits == "exact" or not (grammar.knows_tempo or len(grammar.bars) >= 2):
            return None
        if hits == "free" and not grammar.on_grid:
            return None
        part = grammar.beat_steps / (1 if hits == "bend" else SIXTEENTHS)
        self._pending = [(b, self._moved(b, target, grammar.step, part)) for b, target in self._pending]
        return sorted({target for _, target in self._pending})

    def _moved(self, boundary_s: float, target: int, bar: int, part: float) -> int:
        """The target on the nearest of the grid's parts, counted from the bar: at most half a part away."""
        if target < bar:  # already passed, which only hits "free" allows
            return target
        step = boundary_s / v.STEP_S
        moved = int(np.rint(bar + round((step - bar) / part) * part))
        # Never behind the cursor, nor so late that a chord could hardly be heard.
        if moved < bar or moved > self._end_step - round(LAST_TARGET_S / v.STEP_S):
            return max(int(np.rint(step)), bar)
        return moved

    def meet(self, step: int) -> None:
        """A CHORD meets the boundaries whose targets are within reach of it."""
        reach = SENSITIVITY_S / v.STEP_S
        self.met |= {b: step for b, target in self._pending if abs(target - step) < reach}
        self._pending = [(b, target) for b, target in self._pending if abs(target - step) >= reach]


class Writer:
    """One piece that is being composed: takes the model's logits, event by event.

    Attributes:
        conditions: The conditions of the piece, in the time of its events (`Piece.tempo_plan`).
        count: The event that asks for many or few instruments.
        ids, velocities: The events so far, from START on, and their velocity levels (0 for events without).
        lanes: (N_LANES,) for each event, what the model is conditioned on after it.
        steps: The clock after each event, in steps.
        prime: The excerpt that primes the model, if the piece is composed like another.
        done: Whether the piece has ended.
        arrangement: What share of the notes each family should have; None where nothing holds them to one.

    """

    def __init__(
        self,
        conditions: Conditions,
        recipe: Recipe,
        rng: np.random.Generator,
        mixture: Mixture | None = None,
        plan: Plan | None = None,
        tempo_plan: TempoPlan | None = None,
    ) -> None:
        conditions = replace(conditions, end_known_s=END_KNOWN_S)
        if conditions.end_s is None:
            raise InputError("a piece needs an end; give the video's duration, or --duration")
        plan, curves = plan or Plan(), recipe.curves(conditions.end_s)
        shown = recipe.curves(conditions.end_s, min(recipe.lane_strength, 1.0))
        if recipe.control_strength:  # some are followed better by steering alone (docs/controls.md)
            shown = shown.only(*[name for name in shown if getattr(recipe, f"{name}_lane", True)])
        if tempo_plan is not None:
            curves, shown = curves.moved(tempo_plan.to_nominal), shown.moved(tempo_plan.to_nominal)
            conditions = replace(conditions.moved(tempo_plan.to_nominal), boundaries_s=tempo_plan.hits_nominal_s)
            plan = plan.moved(tempo_plan.to_nominal)
        conditions = replace(conditions, controls=shown)
        assert conditions.end_s is not None
        felt = conditions.piece_arousal, conditions.piece_valence
        tempo_qpm = recipe.tempo(*felt) if tempo_plan is None else tempo_plan.nominal_qpm
        beat_steps = None if tempo_qpm is None else beat_of(tempo_qpm)
        end_step = math.floor(conditions.end_s / v.STEP_S + 1e-9)
        boundaries_s = np.array([] if conditions.boundaries_s is None else conditions.boundaries_s, dtype=np.float64)
        self.conditions, self.recipe, self.rng = conditions, recipe, rng
        self.count = v.MORE if recipe.instruments == "more" and not recipe.described.few else v.FEWER
        self._families = family_biases(recipe)
        self._tempo_plan = tempo_plan
        bars = () if tempo_plan is None else tempo_plan.bar_beats
        self.grammar = self._new_grammar(end_step, np.rint(boundaries_s / v.STEP_S), beat_steps, bars)
        if plan.theme is not None:
            self.grammar.open_up(plan.theme.family)
        self.ids, self.velocities = [v.START], [0]
        self.lanes, self.steps = [conditions.at(np.zeros(1))[0]], [0]
        like = recipe.like
        self.prime = None if like is None else Prime.of(like, beat_steps, self.lanes[0])
        self._originality = None if like is None else Originality(like)
        self.done = False
        self._chord_bias = recipe.chord_bias + (recipe.stray_bias if recipe.lands else 0.0)
        self._targets = Targets(boundaries_s, recipe, end_step)
        self._meter = Meter(None if beat_steps is None else beat_steps / SIXTEENTHS)
        drums_alone = set(recipe.described.families) == {v.FAMILIES[v.DRUMS]}
        self._drums_wait = not (recipe.count_in or drums_alone or self.prime is not None)
        self._alone = Alone(recipe.alone_bias)
        self._monotony, self._texture = Monotony(recipe.monotony_bias), Texture(recipe.texture, recipe.profiles)
        self._harmony, self._repeated = StaleHarmony(recipe), RepeatedNotes()
        self._density = Density(recipe.density_limit, recipe.density_floor)
        lead = v.STRINGS if self.count == v.MORE else v.PIANO
        holds, hears = recipe.intensity_by == "notes", recipe.key_feedback
        self._steering = Steering(curves, lead, holds=holds, hears_key=hears) if len(curves) else None
        self._sections = Sections(plan, recipe, mixture, beat_steps, rng)
        self.arrangement: Arrangement | None = None
        moody = bool(recipe.mood_strength) and not np.isnan(conditions.mood).all()
        mood_decides = moody and (like is None or not recipe.keeps_shares)
        if recipe.balance and self.count == v.MORE and not (mood_decides or recipe.described.family_biases):
            leading = None if plan.theme is None else plan.theme.family
            self.arrangement = of_piece(recipe, conditions.piece_arousal, like, leading, rng, tempo_qpm)
        self._feedback = MoodFeedback.of(recipe)
        self._sections.copier.append(v.START)
        self.lanes[0][COPY_LANES] = self._sections.copier.lanes
        self._conditioned = conditions  # what the model is conditioned on now
        self._max_events = 200 + int(MAX_EVENTS_PER_S * conditions.end_s)

    def _new_grammar(
        self, end_step: int, boundaries: FloatArray, beat_steps: int | None, bars: tuple[int, ...]
    ) -> Grammar:
        """The rules of the piece; the arguments are those of `Grammar`."""
        return Grammar(self.recipe, end_step, boundaries, beat_steps=beat_steps, bars=bars)

    @property
    def sections(self) -> Sections:
        """Where the piece is in its form."""
        return self._sections

    @property
    def share(self) -> float:
        """The share of the piece that is written."""
        return 1.0 if self.done else self.grammar.step / self.grammar.end_step

    def fork(self, rng: np.random.Generator) -> Writer:
        """A copy that goes on from here with its own randomness.

        What never changes is shared, and so are the events so far (`copying.Past`): a fork of a long piece costs hardly
        more than one of a short piece. Of the forks of one writer, one may be forked again.
        """
        memo: dict[int, object] = {id(row): row.copy() for row in (self.ids, self.velocities, self.lanes, self.steps)}
        shared = [self.prime, self.conditions, self._conditioned, self.recipe, self._tempo_plan, *self._sections.shared]
        if self._steering is not None:
            shared.append(self._steering.curves)
        new = copy.deepcopy(self, memo | {id(each): each for each in shared} | {id(self.rng): rng})
        assert new.rng is rng
        return new

    def write(self, logits: npt.NDArray[np.float32], state: FloatArray | None = None) -> None:
        """Sample the next event; PAD once the piece has ended.

        Args:
            logits: (vocabulary,) the model's.
            state: (width,) the hidden state behind them, if the decoder has it.

        """
        if self.done:
            self._append(v.PAD, self.lanes[-1])
            return
        allowed = self.grammar.allowed()
        logits = self._sections.copier.mix(self._arranged(logits, allowed), state)
        self.take(self._draw(logits, allowed))

    def take(self, event: int) -> None:
        """Take the next event, which the grammar must allow."""
        self.grammar.accept(event)
        self._follow(event)

    def _follow(self, event: int) -> None:
        """Update everything else after an event that the grammar has accepted."""
        if self._steering is not None:
            self._steering.accept(event, self.grammar)
        kind, before = int(v.KIND[event]), self._conditioned
        if kind == v.K_BAR:
            self._begin_bar(int(v.VALUE[event]))
        elif kind == v.K_ON:
            self._drums_wait = self._drums_wait and v.FAMILY[event] == v.DRUMS
            self._harmony.strike(event)
            self._density.strike(self.grammar.step)
            self._texture.strike(event, self.grammar.step)
            self._repeated.strike(event, self.grammar.step, self.grammar.beat_steps)
            if self._originality is not None:
                self._originality.strike(event, self.grammar.step, self.grammar.beat_steps)
            if self.arrangement is not None:
                self.arrangement.strike(int(v.FAMILY[event]), self.grammar.step)
        # All lanes but the copy lanes change only with the clock, a CHORD or BAR, or the boundaries.
        changed = kind in (v.K_TIMESHIFT, v.K_CHORD, v.K_BAR) or self._conditioned is not before
        lanes = self._lanes_now(is_chord=kind == v.K_CHORD) if changed else self.lanes[-1].copy()
        if kind == v.K_CHORD:
            self._targets.meet(self.grammar.step)
            self._conditioned = self._conditioned.after_chord(self.grammar.step * v.STEP_S)
        ruled = self._steering is not None and self._steering.gives_pitches(self.grammar.step * v.STEP_S)
        valence = float(lanes[VALENCE_LANE])
        bar_steps, beyond, home = 4 * self.grammar.beat_steps, self._feedback.beyond, self.grammar.leads_home
        self._sections.accept(
            event, self.ids, self.grammar.step, bar_steps, valence, ruled=ruled, beyond=beyond, leads_home=home
        )
        lanes[COPY_LANES] = self._sections.copier.lanes
        self.done = kind == v.K_END
        self._append(event, lanes)

    def write_velocity(self, logits: npt.NDArray[np.float32]) -> None:
        """Sample the velocity of the latest event from logits (VELOCITY_LEVELS,), if it is an ON."""
        if v.KIND[self.ids[-1]] == v.K_ON:
            self.velocities[-1] = draw_velocity(logits, self.rng, self.recipe)

    def piece(self) -> Piece:
        """The finished piece."""
        ids = np.array([self.count, *self.ids], dtype=np.int32)
        velocities = np.array([0, *self.velocities], dtype=np.uint8)
        stop = int(np.flatnonzero(ids == v.END)[0]) + 1
        met = self._targets.met
        boundaries = np.array(sorted(met), dtype=np.float64)
        return Piece(
            Events(ids[:stop], velocities[:stop]),
            boundaries if self._tempo_plan is None else self._tempo_plan.to_film(boundaries),
            np.array([met[b] for b in boundaries], dtype=np.float64) * v.STEP_S,
            np.array(self.grammar.chords, dtype=np.float64) * v.STEP_S,
            self._tempo_plan,
            tuple((step * v.STEP_S, key) for step, key in self._sections.tonality.keys),
        )  # fmt: skip

    def _arranged(self, logits: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Logits (vocabulary,) that lean towards families that have played too little. Repeats are mixed in later."""
        if self.arrangement is None:
            return logits
        biases = of_families(self.arrangement.biases(self.grammar.step))
        return towards_families(logits, biases, allowed)

    def _draw(self, logits: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]) -> int:
        """Sample an event that the grammar allows, with the biases of the recipe."""
        grammar, recipe = self.grammar, self.recipe
        arousal = self.lanes[-1][AROUSAL_LANE] if recipe.mood_strength else math.nan
        least, most = (math.inf, 0.0) if self.arrangement is None else (self.arrangement.least, self.arrangement.most)
        fill = self._density.fill(grammar.step, float(arousal), most if recipe.song_tempi else 0.0)
        lack = 0.0 if grammar.closed else self._density.lack(grammar.step, float(arousal), least)
        if self.arrangement is not None and self._steering is None and not grammar.closed:
            logits = paced(logits, self.arrangement.pace(grammar.step), grammar.beat_steps)
        if self._steering is not None and self._steering.gives_density(grammar.step * v.STEP_S):
            fill = lack = 0.0  # what is asked for is the limit
        if len(self.ids) > self._max_events or fill >= FULL:
            without_notes = self._without_notes(allowed)
            allowed = without_notes if without_notes.any() else allowed
        if self._drums_wait and arousal < 0:
            pitched = allowed & ~_DRUM_ONS
            allowed = pitched if pitched.any() else allowed
        repeated = self._repeated.excess(grammar.step, grammar.beat_steps) if recipe.repeat_bias else []
        alone = self._alone.bias(grammar.step, sounds=bool(grammar.sounding))
        other = self._monotony.bias(grammar.step, grammar.sounding)
        crowded = Density.bias(fill)
        logits = add_biases(logits, grammar.off_grid(), self._harmony, repeated, recipe, alone, crowded, other)
        logits = fuller(logits, lack, grammar.beat_steps)
        since, sixteenths = grammar.state.since, grammar.sixteenths
        logits = self._texture.lean(logits, allowed, since, grammar.step, grammar.beat_steps, sixteenths)
        logits = expression.lean(logits, recipe.expression, since, float(arousal))
        chord, step, ends = grammar.chord_notes, grammar.step, grammar.ends
        logits = self._sections.mix(self._lean(logits), allowed, grammar.sounding, chord, step, ends=ends)
        if self._families is not None:
            logits = towards_families(logits, self._families, allowed)
        if self._steering is not None:
            logits = self._steering.steer(logits, grammar)
        if self._originality is not None:
            logits = self._originality.forbid(logits, grammar.step, grammar.beat_steps)
        return draw(logits, allowed, self.rng, recipe, self._chord_bias)

    def _without_notes(self, allowed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """What is left of the allowed events (vocabulary,) when no note may begin."""
        return allowed & (v.KIND != v.K_ON)

    def _lean(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (vocabulary,) that make room for events that must come; none must come here."""
        return logits

    def _begin_bar(self, half_quarters: int) -> None:
        """A BAR came: the music's grid may have moved, and the targets with it."""
        grammar = self.grammar
        self._meter.begin(grammar.step, half_quarters)
        self._harmony.begin_bar()
        self._feedback.hear(self.ids, self.velocities, self.steps, self.requested_mood)
        steps = self._targets.aim(grammar)
        if steps is None:
            return
        grammar.targets = [step for step in steps if step < grammar.end_step - MARGIN]
        if self.conditions.boundaries_s is not None:
            boundaries_s = np.array(steps, dtype=np.float64) * v.STEP_S
            self._conditioned = replace(self.conditions, boundaries_s=boundaries_s)

    def _lanes_now(self, *, is_chord: bool) -> npt.NDArray[np.float32]:
        """(N_LANES,) What the model is conditioned on after the latest event, except for the copy lanes."""
        now_s = self.grammar.step * v.STEP_S
        lanes = self._conditioned.at(np.array([now_s]), np.array([is_chord]))[0]
        lanes[METER_LANES] = self._meter.at(self.grammar.step)
        return self._feedback.corrected(lanes)

    def requested_mood(self, times_s: FloatArray) -> FloatArray:
        """(T, 2) Valence and arousal that the conditions give at times (T,), NaN where they do not."""
        return self.conditions.at(times_s)[:, MOOD_LANES]

    def _append(self, event: int, lanes: npt.NDArray[np.float32]) -> None:
        self.ids.append(event)
        self.velocities.append(0)
        self.lanes.append(lanes)
        self.steps.append(self.grammar.step)
