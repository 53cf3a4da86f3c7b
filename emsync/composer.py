"""Composing: the paper's Algorithm 1, in batches, with a key-value cache, under the grammar.

A cursor in time follows the TIMESHIFTs; at every event the lanes are computed anew (`Conditions.at`), the model gives a
distribution, the grammar forbids what cannot be, and one event is drawn. A CHORD within a second of a boundary consumes
it. The music may be longer than the model's window: when the window is full, composing goes on from its later half, as
training's crops begin in mid-song.

A mood can be asked for more strongly than the model alone would follow it, by classifier-free guidance (Ho and Salimans
2022, in the logits as Sanchez et al. 2023): the model reads each such piece twice, with its mood and without.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, LANE_NAMES, METRE_LANES, SENSITIVITY_S, Conditions
from emsync.copying import Past
from emsync.decoder import Decoder
from emsync.errors import InputError
from emsync.grammar import SIXTEENTHS, Grammar
from emsync.metre import Metre
from emsync.recipe import Recipe
from emsync.tokenizer.events import Events

FloatArray = npt.NDArray[np.floating]

#: The end is told from here on. Real songs are longer than most films: told from the first bar that the end is near,
#: the model plays half a minute of endings, long notes and few voices (docs/decisions/0007-mood.md).
END_HEARD_S: Final = 8.0

_MOOD_SLOTS: Final = (v.VALENCE_SLOT, v.AROUSAL_SLOT)
_KINDS: Final = tuple(v.ids_of_kind(kind) for kind in range(len(v.KINDS)))
#: A piece this dense is a runaway: events a second, on average.
MAX_EVENTS_PER_S: Final = 150.0
#: A harmony stands still while at least this share of a bar's pitches, family by family, came in the bar before; how
#: many bars in a row it may before `Recipe.stale_bias` counts, and how many more count.
STILL_SHARE: Final = 0.9
FRESH_BARS: Final = 2
STALEST_BARS: Final = 8
#: A pitch that is struck again within so many beats, more often in a row than three of four real songs ever do in 40 s,
#: is one that the model cannot leave alone: from there on `Recipe.repeat_bias` counts.
REPEAT_BEATS: Final = 0.55
FREE_REPEATS: Final = {v.PIANO: 6, v.GUITAR: 9, v.BASS: 5, v.STRINGS: 5}
_PITCHED_ONS: Final = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
#: When no more than this share of the pieces read are unfinished, only those are read on.
KEPT_ROWS: Final = 0.75
_MOOD_LANES: Final = [LANE_NAMES.index("valence"), LANE_NAMES.index("arousal")]


@dataclass(frozen=True, eq=False)
class Piece:
    """One composed piece: its events, and at which of the asked boundaries (s) a CHORD stands, and where (s)."""

    events: Events
    boundaries_s: FloatArray
    targets_s: FloatArray
    """Where each boundary's chord was asked to stand: the boundary itself, or the nearest beat."""
    chords_s: FloatArray


def compose(
    decoder: Decoder,
    conditions: Sequence[Conditions],
    recipe: Recipe | None = None,
    *,
    progress: Callable[[float], None] | None = None,
) -> list[Piece]:
    """Compose one piece for each of `conditions`, all at once.

    The same recipe, conditions and model give the same events, on ONNX Runtime and on torch. A piece's events depend
    on its place in the batch, but not on the other pieces. There are two exceptions: whether there are others decides
    how a full window goes on, and once some pieces have ended, products of fewer rows may be rounded differently.

    Args:
        decoder: What runs the model.
        conditions: One a piece; each must say where the piece ends (`end_s`).
        recipe: The composing choices. The tempo is moved to the nearest one that the grid can hold (`beat_of`). With
            hits "free" on a grid, the model is conditioned on the sixteenth nearest to each cut.
        progress: Called with the share done, from 0 to 1.

    """
    recipe = recipe or Recipe()
    writers = [_Writer(c, np.random.default_rng([recipe.seed, row]), recipe) for row, c in enumerate(conditions)]
    if not writers:
        return []
    context = decoder.context
    reading = _Reading.of(writers, recipe.mood_strength)
    logits, velocity_logits = reading.window(decoder, 1)  # START
    n_steps = 0
    while reading.writers:
        for row, writer in enumerate(reading.writers):
            writer.write(logits[row])
        if decoder.length >= context:
            # Each ON's velocity is heard by the next event, and drawn from its own position: give the window all but
            # the newest events first, whose velocities are not drawn yet.
            keep = _kept(reading.writers, context // 2, alone=len(writers) == 1)
            logits, velocity_logits = reading.window(decoder, keep)
        else:
            logits, velocity_logits = reading.step(decoder)
        for row, writer in enumerate(reading.writers):
            writer.hear(velocity_logits[row])
        left = [row for row, writer in enumerate(reading.writers) if not writer.done]
        if len(left) <= KEPT_ROWS * len(reading.writers):
            reading, logits = reading.only(left, decoder), logits[left]
        n_steps += 1
        if progress and n_steps % 16 == 0:
            progress(min((w.share for w in reading.writers), default=1.0))
    if progress:
        progress(1.0)
    return [w.piece() for w in writers]


@dataclass(frozen=True)
class _Reading:
    """What a decoder reads: n pieces in the making, and with classifier-free guidance some of them a second time,
    without their mood, in rows behind the n.

    Both rows of a piece are told the same events and boundaries; what they answer is mixed into one.
    """

    writers: list[_Writer]
    again: list[int]
    strength: float

    @classmethod
    def of(cls, writers: list[_Writer], strength: float) -> _Reading:
        # Strengths 0 and 1 need but one reading: one without the mood, one with it.
        again = [] if strength in (0, 1) else [row for row, w in enumerate(writers) if _has_mood(w.conditions)]
        return cls(writers, again, strength)

    def only(self, left: list[int], decoder: Decoder) -> _Reading:
        """Go on with these pieces alone."""
        if left:
            n = len(self.writers)
            decoder.select(np.array(left + [n + i for i, row in enumerate(self.again) if row in left]))
        return self.of([self.writers[row] for row in left], self.strength)

    def window(self, decoder: Decoder, keep: int) -> tuple[FloatArray, FloatArray]:
        """Begin anew with the latest `keep` events behind the prefix: logits and velocity logits (n, ...)."""
        pieces = self.writers
        ids = np.stack([[*_MOOD_SLOTS, w.count, *w.ids[len(w.ids) - keep :]] for w in pieces]).astype(np.int64)
        own = np.stack([[0, 0, 0, *w.velocities[len(w.velocities) - keep :]] for w in pieces]).astype(np.int64)
        heard = np.pad(own[:, :-1], ((0, 0), (1, 0)))
        tail = [np.stack(w.lanes[len(w.lanes) - keep :]) for w in pieces]
        lanes = np.stack([np.concatenate([np.repeat(t[:1], 3, axis=0), t]) for t in tail]).astype(np.float32)
        moods = self._moods(np.stack([w.conditions.mood for w in pieces]))
        return self._mixed(decoder.prefill(self._rows(ids), self._rows(heard), self._lanes(lanes), moods))

    def step(self, decoder: Decoder) -> tuple[FloatArray, FloatArray]:
        """Append each piece's newest event: likewise."""
        ids = np.array([w.ids[-1] for w in self.writers], dtype=np.int64)
        heard = np.array([w.velocities[-2] for w in self.writers], dtype=np.int64)
        lanes = np.stack([w.lanes[-1] for w in self.writers]).astype(np.float32)
        return self._mixed(decoder.step(self._rows(ids), self._rows(heard), self._lanes(lanes)))

    def _rows(self, told: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n, ...) -> (n + len(again), ...)"""
        return np.concatenate([told, told[self.again]]) if self.again else told

    def _lanes(self, told: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, ..., N) -> (n + len(again), ..., N), mood not given in the rows that are to be without."""
        told = self._rows(told)
        told[0 if self.strength == 0 else len(self.writers) :, ..., _MOOD_LANES] = np.nan
        return told

    def _moods(self, told: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, 2) -> (n + len(again), 2), likewise."""
        told = self._rows(told)
        told[0 if self.strength == 0 else len(self.writers) :] = np.nan
        return told

    def _mixed(self, answer: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Logits and velocity logits (n + len(again), ...) -> (n, ...): u + strength (c - u)."""
        if not self.again:
            return answer
        logits, velocity_logits = (self._mix(part) for part in answer)
        return logits, velocity_logits

    def _mix(self, answer: FloatArray) -> FloatArray:
        n = len(self.writers)
        with_mood, without = answer[:n].copy(), answer[n:]
        with_mood[self.again] = without + self.strength * (with_mood[self.again] - without)
        return with_mood


def _has_mood(conditions: Conditions) -> bool:
    """Whether any valence or arousal is given, at any time or for the piece."""
    c = conditions
    curves = (x[1] if isinstance(x, tuple) else x for x in (c.valence, c.arousal, c.piece_valence, c.piece_arousal))
    return any(x is not None and not np.isnan(x).all() for x in curves)


def _kept(writers: Sequence[_Writer], about: int, *, alone: bool) -> int:
    """How many of the latest events to go on from: about so many, from a bar on if there was but one piece."""
    if alone:
        ids = np.array(writers[0].ids[-about:])
        bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
        if len(bars) and bars[0] < about // 2:
            return int(len(ids) - bars[0])
    return min(about, *(len(w.ids) for w in writers))


def beat_of(tempo_qpm: float) -> int:
    """The length of a quarter note in steps, for the tempo nearest to `tempo_qpm` whose sixteenth is whole steps.

    Songs are moved to the same tempi in training (docs/decisions/0001-tempo-snapping.md).
    """
    if not (math.isfinite(tempo_qpm) and tempo_qpm > 0):
        raise InputError(f"a tempo of {tempo_qpm} is not above 0; give quarter notes a minute, such as 120")
    return 4 * max(1, round(60 / (tempo_qpm * 4 * v.STEP_S)))


class _Writer:
    """One piece in the making."""

    def __init__(self, conditions: Conditions, rng: np.random.Generator, recipe: Recipe) -> None:
        conditions = replace(conditions, end_heard_s=END_HEARD_S)
        if conditions.end_s is None:
            raise InputError("a piece needs an end; give the video's duration, or --duration")
        tempo_qpm = recipe.tempo(conditions.piece_arousal)
        self.conditions, self.rng, self.recipe = conditions, rng, recipe
        self.count = v.MORE if recipe.instruments == "more" else v.FEWER
        self._chord_bias = recipe.chord_bias + (recipe.stray_bias if recipe.lands else 0.0)
        self.boundaries_s = np.array(
            [] if conditions.boundaries_s is None else conditions.boundaries_s, dtype=np.float64
        )
        # Every target in the middle of the piece; those too near its end cannot hold a chord.
        self.end_step = math.floor(conditions.end_s / v.STEP_S + 1e-9)
        beat_steps = None if tempo_qpm is None else beat_of(tempo_qpm)
        self.grammar = Grammar(recipe, self.end_step, np.rint(self.boundaries_s / v.STEP_S), beat_steps=beat_steps)
        self.pending = [(b, int(np.rint(b / v.STEP_S))) for b in self.boundaries_s]  # (boundary, its target step now)
        self.settled: dict[float, int] = {}
        self.ids, self.velocities = [v.START], [0]
        self._metre = Metre(None if beat_steps is None else beat_steps / SIXTEENTHS)
        self.lanes = [conditions.at(np.zeros(1))[0]]
        self._past = Past()
        self._past.append(v.START)
        self.lanes[0][COPY_LANES] = self._past.lanes
        self.done = False
        self._struck = np.zeros(v.SIZE, dtype=bool)  # the ONs of this bar
        self._struck_before = np.zeros(v.SIZE, dtype=bool)  # those of the last bar that had any, without the drums
        self._still_bars = 0  # how many bars in a row brought next to nothing new
        self._stale = np.zeros(v.SIZE, dtype=np.float32)
        self._repeats: dict[int, tuple[float, int]] = {}  # by ON id: when it was struck last, and how often in a row
        self._told = conditions
        self._max_events = 200 + int(MAX_EVENTS_PER_S * conditions.end_s)

    @property
    def share(self) -> float:
        return 1.0 if self.done else self.grammar.step / self.end_step

    def write(self, logits: npt.NDArray[np.float32]) -> None:
        """Draw the next event and take its consequences; PAD once the piece has ended."""
        if self.done:
            self._append(v.PAD, self.lanes[-1])
            return
        allowed = self.grammar.allowed()
        if len(self.ids) > self._max_events:
            hurry = allowed & (v.KIND != v.K_ON)  # a runaway: no more notes
            allowed = hurry if hurry.any() else allowed
        off_grid = self.grammar.off_grid()
        repeated = self._repeated()
        if len(off_grid) or repeated or self.recipe.stale_bias:
            logits = logits + self._stale
            logits[off_grid] += self.recipe.loose_bias
            for on, times in repeated:
                logits[on] += self.recipe.repeat_bias * times
        event = draw(logits, allowed, self.rng, self.recipe, self._chord_bias)
        self.grammar.accept(event)
        kind = int(v.KIND[event])
        now_s = self.grammar.step * v.STEP_S
        told = self._told
        if kind == v.K_BAR:
            self._metre.begin(self.grammar.step, int(v.VALUE[event]))
            self._aim()
            self._age()
        elif kind == v.K_ON:
            self._struck[event] = True
            self._repeat(event)
        # All but the copy lanes change only with the clock, a CHORD, a BAR, or what is asked.
        lanes = self.lanes[-1].copy()
        if kind in (v.K_TIMESHIFT, v.K_CHORD, v.K_BAR) or self._told is not told:
            lanes = self._told.at(np.array([now_s]), np.array([kind == v.K_CHORD]))[0]
            lanes[METRE_LANES] = self._metre.at(self.grammar.step)
        if kind == v.K_CHORD:
            self._met(now_s)
            self._told = self._told.after_chord(now_s)
        self._past.append(event)
        lanes[COPY_LANES] = self._past.lanes
        self.done = kind == v.K_END
        self._append(event, lanes)

    def hear(self, velocity_logits: npt.NDArray[np.float32]) -> None:
        """Draw the velocity of the event just written, if it is an ON."""
        if v.KIND[self.ids[-1]] == v.K_ON:
            scaled = velocity_logits.astype(np.float64) / self.recipe.velocity_temperature
            self.velocities[-1] = _pick(_softmax(scaled), self.rng) + 1

    def _append(self, event: int, lanes: npt.NDArray[np.float32]) -> None:
        self.ids.append(event)
        self.velocities.append(0)
        self.lanes.append(lanes)

    def _met(self, now_s: float) -> None:
        """A CHORD consumes the boundaries within reach of it, where they were aimed at."""
        step = self.grammar.step
        reach = SENSITIVITY_S / v.STEP_S
        for boundary, target in self.pending:
            if abs(target - step) < reach:
                self.settled[boundary] = step
        self.pending = [(b, t) for b, t in self.pending if abs(t - step) >= reach]

    def _age(self) -> None:
        """At a bar: harmony stands still while a bar brings next to nothing that the one before had not."""
        struck, before = self._struck & _PITCHED_ONS, self._struck_before
        if struck.any():
            old = np.count_nonzero(struck & before) / np.count_nonzero(struck)
            self._still_bars = self._still_bars + 1 if old >= STILL_SHARE else 0
            self._struck_before = struck
            beyond = min(max(self._still_bars - FRESH_BARS, 0), STALEST_BARS)
            self._stale = (self.recipe.stale_bias * beyond**2 * struck).astype(np.float32)
        self._struck = np.zeros(v.SIZE, dtype=bool)

    def _repeat(self, on: int) -> None:
        """An ON: how often in a row was this pitch struck? Drums may be struck as often as they like."""
        if int(v.FAMILY[on]) not in FREE_REPEATS:
            return
        step = self.grammar.step
        last, times = self._repeats.get(on, (-math.inf, 0))
        self._repeats[on] = step, times + 1 if step - last <= REPEAT_BEATS * self.grammar.beat_steps else 0

    def _repeated(self) -> list[tuple[int, int]]:
        """The ONs that are struck again and again just now, and how much too often."""
        if not self.recipe.repeat_bias:
            return []
        since = self.grammar.step - REPEAT_BEATS * self.grammar.beat_steps
        self._repeats = {on: told for on, told in self._repeats.items() if told[0] >= since}
        beyond = [(on, times - FREE_REPEATS[int(v.FAMILY[on])]) for on, (_, times) in self._repeats.items()]
        return [(on, times) for on, times in beyond if times > 0]

    def _aim(self) -> None:
        """At a bar: move the boundaries ahead to the grid that is being played, to its nearest beats or sixteenths.

        In the songs that a model learns from, boundaries are onsets of chords and so on the grid: of one beside it, it
        can make nothing (docs/decisions/0013-told-on-the-grid.md).
        """
        hits = self.recipe.hits
        if hits == "exact" or not (self.grammar.knows_tempo or len(self.grammar.bars) >= 2):
            return
        if hits == "free" and not self.grammar.on_grid:
            return
        at, part = self.grammar.step, self.grammar.beat_steps / (1 if hits == "bend" else SIXTEENTHS)
        moved = []
        for boundary, before in self.pending:
            if before < at:  # passed, which only the model's own freedom allows
                moved.append((boundary, before))
                continue
            step = boundary / v.STEP_S
            parts = round((step - at) / part)
            target = int(np.rint(at + parts * part))
            # At most half a beat away; never behind the cursor, nor so late that a chord could not be heard.
            if target < at or target > self.end_step - round(0.5 / v.STEP_S):
                target = max(int(np.rint(step)), at)
            moved.append((boundary, target))
        self.pending = moved
        steps = sorted({t for _, t in moved})
        self.grammar.targets = [t for t in steps if t < self.end_step - Grammar.margin]
        heard = None if self.conditions.boundaries_s is None else np.array(steps, dtype=np.float64) * v.STEP_S
        self._told = replace(self.conditions, boundaries_s=heard)

    def piece(self) -> Piece:
        ids = np.array([self.count, *self.ids], dtype=np.int32)
        velocities = np.array([0, *self.velocities], dtype=np.uint8)
        stop = int(np.flatnonzero(ids == v.END)[0]) + 1
        boundaries = np.array(sorted(self.settled), dtype=np.float64)
        return Piece(
            Events(ids[:stop], velocities[:stop]), boundaries,
            np.array([self.settled[b] for b in boundaries], dtype=np.float64) * v.STEP_S,
            np.array(self.grammar.chords, dtype=np.float64) * v.STEP_S,
        )  # fmt: skip


def draw(
    logits: npt.NDArray[np.float32],
    allowed: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    recipe: Recipe,
    chord_bias: float = 0.0,
) -> int:
    """Draw one allowed event: first its kind, then which one of the kind.

    Drawing by kind lets every kind have its own temperature and top-p without changing how often the kinds come.
    """
    live = allowed.nonzero()[0]
    if len(live) == 1:
        return int(live[0])
    x = logits[live].astype(np.float64)
    if allowed[v.CHORD]:
        x[live.searchsorted(v.CHORD)] += chord_bias
    kinds = v.KIND[live]  # increasing, as the ids are
    p = _softmax(x / recipe.temperature)
    mass: FloatArray = np.bincount(kinds, weights=p, minlength=len(v.KINDS)).astype(np.float64, copy=False)
    # No top-p here: it would drop what is rare at every moment and yet must come, such as BAR.
    kind = _pick(mass, rng)
    first, stop = kinds.searchsorted((kind, kind + 1))
    temperature, top_p = recipe.by_kind.get(v.KINDS[kind], (recipe.temperature, recipe.top_p))
    within = p[first:stop] if temperature == recipe.temperature else _softmax(x[first:stop] / temperature)
    return int(live[first + _pick(_nucleus(within, top_p), rng)])


def _softmax(x: FloatArray) -> FloatArray:
    e = np.exp(x - x.max())
    e /= e.sum()
    return e


def _nucleus(p: FloatArray, top_p: float) -> FloatArray:
    """The smallest set of the likeliest entries that holds top_p of the mass, the others 0; p need not sum to 1."""
    if top_p >= 1 or len(p) == 1:
        return p
    order = (-p).argsort(kind="stable")
    total = p[order].cumsum()
    dropped = order[int(total.searchsorted(top_p * total[-1])) + 1 :]
    kept = p.copy()
    kept[dropped] = 0
    return kept


def _pick(p: FloatArray, rng: np.random.Generator) -> int:
    """Draw an index by inverting the distribution function, so that nearly equal p give equal draws.

    p need not sum to 1.
    """
    total = p.cumsum()
    i = int(total.searchsorted(rng.random() * total[-1], side="right"))
    return i if i < len(p) else int(p.nonzero()[0][-1])  # rounding may reach past the last entry
