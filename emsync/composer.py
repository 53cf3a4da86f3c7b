"""Composing: the paper's Algorithm 1, in batches, with a key-value cache, under the grammar.

A cursor in time follows the TIMESHIFTs. After every event the lanes are computed (`Conditions.at`), the model gives a
distribution, the grammar forbids what cannot follow, and one event is sampled. A CHORD within a second of a boundary
meets it. The music may be longer than the model's window: when the window is full, composing goes on from its later
half, as the crops of training begin in the middle of a song.

Classifier-free guidance makes the model follow a mood more strongly than it learned to (Ho and Salimans 2022, on logits
as in Sanchez et al. 2023): the model reads each piece with a mood twice, with its mood and without.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.conditions import LANE_NAMES, Conditions
from emsync.decoder import Decoder
from emsync.hits import follow, land
from emsync.recipe import Recipe
from emsync.score import KeySignature, Score
from emsync.sections import Plan
from emsync.tempo_plan import TempoPlan, beat_of
from emsync.tokenizer.events import decode
from emsync.writer import Piece, Writer

if TYPE_CHECKING:
    from emsync.rewriter import Rewriter

FloatArray = npt.NDArray[np.floating]

_MOOD_SLOTS: Final = (v.VALENCE_SLOT, v.AROUSAL_SLOT)
_MOOD_LANES: Final = [LANE_NAMES.index("valence"), LANE_NAMES.index("arousal")]
#: When no more than this share of the pieces in the batch are unfinished, the finished ones are taken out.
KEPT_ROWS: Final = 0.75


def compose(
    decoder: Decoder,
    conditions: Sequence[Conditions],
    recipe: Recipe | None = None,
    *,
    plans: Sequence[Plan] | None = None,
    tempo_plans: Sequence[TempoPlan | None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Piece]:
    """Compose one piece for each of `conditions`, all at once.

    The same recipe, conditions and model give the same events, on ONNX Runtime and on torch. A piece depends on its
    place in the batch, but not on the other pieces, with two exceptions: whether there are others decides how a full
    window goes on, and once some pieces have ended, products of fewer rows may be rounded differently.

    Args:
        decoder: What runs the model.
        conditions: One for each piece. Each must say where the piece ends (`end_s`).
        recipe: The composing choices. The tempo is moved to the nearest one that the grid can hold (`beat_of`).
        plans: The form of each piece; by default none has one.
        tempo_plans: The tempo of each piece (`tempo_plan.plan_for`), for the boundaries of its conditions. Its events
            are then in nominal time.
        progress: Called with the share that is done, from 0 to 1.

    """
    recipe = recipe or Recipe()
    plans = [Plan()] * len(conditions) if plans is None else plans
    tempo_plans = [None] * len(conditions) if tempo_plans is None else tempo_plans
    writers = [
        Writer(c, recipe, np.random.default_rng([recipe.seed, row]), decoder.mixture, plan, tempo_plan)
        for row, (c, plan, tempo_plan) in enumerate(zip(conditions, plans, tempo_plans, strict=True))
    ]
    if not writers:
        return []
    write_all(decoder, writers, recipe.mood_strength, progress)
    return [w.piece() for w in writers]


def write_all(
    decoder: Decoder, writers: Sequence[Writer], strength: float, progress: Callable[[float], None] | None = None
) -> None:
    """Let the model write pieces to their ends, all at once. They may have begun, all with as many events.

    strength: as `Recipe.mood_strength`. The other arguments are those of `compose`.
    """
    batch = _Batch.of(list(writers), strength)
    logits, velocity_logits = batch.window(decoder, _kept(writers, decoder.context // 2, alone=len(writers) == 1))
    rows = list(range(len(writers)))  # of the decoder's latest answer, those of the pieces that go on
    n_steps = 0
    while batch.writers:
        states = decoder.states
        for row, writer in enumerate(batch.writers):
            writer.write(logits[row], None if states is None else states[rows[row]])
        if decoder.length >= decoder.context:
            keep = _kept(batch.writers, decoder.context // 2, alone=len(writers) == 1)
            logits, velocity_logits = batch.window(decoder, keep)
        else:
            logits, velocity_logits = batch.step(decoder)
        for row, writer in enumerate(batch.writers):
            writer.write_velocity(velocity_logits[row])
        left = [row for row, writer in enumerate(batch.writers) if not writer.done]
        if len(left) <= KEPT_ROWS * len(batch.writers):
            batch, logits = batch.only(left, decoder), logits[left]
            rows = left
        else:
            rows = list(range(len(batch.writers)))
        n_steps += 1
        if progress and n_steps % 16 == 0:
            progress(min((w.share for w in batch.writers), default=1.0))
    if progress:
        progress(1.0)


def foreseen(
    decoder: Decoder, writers: Sequence[Rewriter], strength: float, following: Sequence[tuple[int, int]]
) -> npt.NDArray[np.float64]:
    """How well each of several beginnings foretells what follows: (n,) mean log-probability of an event, in nats.

    following: (event, velocity level or 0) of what follows; at least one. The writers take it.
    """
    batch, total = _Batch.of(list(writers), strength), np.zeros(len(writers))
    logits, _ = batch.window(decoder, _kept(writers, decoder.context // 2, alone=False))
    for event, level in following:
        x = logits.astype(np.float64)
        x -= x.max(axis=1, keepdims=True)
        total += x[:, event] - np.log(np.exp(x).sum(axis=1))
        for writer in writers:
            writer.keep(event, level)
        logits, _ = batch.step(decoder)
    return total / len(following)


def score_of(piece: Piece, duration_s: float, *, bend: bool = False) -> Score:
    """The notes of a piece for a film of `duration_s`, in the film's time if its tempo was planned for it.

    If it was not, `bend` says whether the tempo bends towards the boundaries that were met.
    """
    score = decode(piece.events.ids, piece.events.velocities)
    signatures = [KeySignature(time_s, key.tonic, key.is_minor) for time_s, key in piece.keys]
    score = replace(score, keys=tuple(signatures))
    # Drum hits and bars have no end of their own, and may pass the film's.
    if piece.tempo_plan is None:
        score = score.until(duration_s)
        return land(score, piece.targets_s, piece.boundaries_s) if bend else score
    return follow(score.until(float(piece.tempo_plan.to_nominal(duration_s))), piece.tempo_plan, duration_s)


@dataclass(frozen=True)
class _Batch:
    """The rows that a decoder reads: n pieces, and after them some of these once more without their mood.

    The second rows are for classifier-free guidance. Both rows of a piece get the same events and boundaries, and their
    logits are combined into one.

    Attributes:
        writers: The n pieces.
        again: The places among them of the pieces that have a second row.
        strength: `Recipe.mood_strength`.

    """

    writers: list[Writer]
    again: list[int]
    strength: float

    @classmethod
    def of(cls, writers: list[Writer], strength: float) -> _Batch:
        """Strengths 0 and 1 need no second rows: the first rows are without the mood, or with it."""
        again = [] if strength in (0, 1) else [row for row, w in enumerate(writers) if _has_mood(w.conditions)]
        return cls(writers, again, strength)

    def only(self, left: list[int], decoder: Decoder) -> _Batch:
        """Go on with these pieces alone."""
        if left:
            n = len(self.writers)
            decoder.select(np.array(left + [n + i for i, row in enumerate(self.again) if row in left]))
        return self.of([self.writers[row] for row in left], self.strength)

    def window(self, decoder: Decoder, keep: int) -> tuple[FloatArray, FloatArray]:
        """Start a window with the latest `keep` events after the prefix: logits and velocity logits (n, ...).

        Each event sees the velocity of the one before. The latest event has none yet: its velocity is sampled from the
        logits at its own position.
        """
        pieces = self.writers
        ids = np.stack([[*_MOOD_SLOTS, w.count, *w.ids[len(w.ids) - keep :]] for w in pieces]).astype(np.int64)
        own = np.stack([[0, 0, 0, *w.velocities[len(w.velocities) - keep :]] for w in pieces]).astype(np.int64)
        previous_velocity = np.pad(own[:, :-1], ((0, 0), (1, 0)))
        tail = [np.stack(w.lanes[len(w.lanes) - keep :]) for w in pieces]
        lanes = np.stack([np.concatenate([np.repeat(t[:1], 3, axis=0), t]) for t in tail]).astype(np.float32)
        moods = self._moods(np.stack([w.conditions.mood for w in pieces]))
        return self._guided(decoder.prefill(self._rows(ids), self._rows(previous_velocity), self._lanes(lanes), moods))

    def step(self, decoder: Decoder) -> tuple[FloatArray, FloatArray]:
        """Append the latest event of each piece: logits and velocity logits (n, ...)."""
        ids = np.array([w.ids[-1] for w in self.writers], dtype=np.int64)
        previous_velocity = np.array([w.velocities[-2] for w in self.writers], dtype=np.int64)
        lanes = np.stack([w.lanes[-1] for w in self.writers]).astype(np.float32)
        return self._guided(decoder.step(self._rows(ids), self._rows(previous_velocity), self._lanes(lanes)))

    def _rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n, ...) -> (n + len(again), ...)"""
        return np.concatenate([values, values[self.again]]) if self.again else values

    def _lanes(self, lanes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, ..., N_LANES) -> (n + len(again), ..., N_LANES), NaN for the mood of rows without it."""
        lanes = self._rows(lanes)
        lanes[0 if self.strength == 0 else len(self.writers) :, ..., _MOOD_LANES] = np.nan
        return lanes

    def _moods(self, moods: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, 2) -> (n + len(again), 2), NaN for rows without a mood."""
        moods = self._rows(moods)
        moods[0 if self.strength == 0 else len(self.writers) :] = np.nan
        return moods

    def _guided(self, answer: tuple[FloatArray, FloatArray]) -> tuple[FloatArray, FloatArray]:
        """Logits and velocity logits (n + len(again), ...) -> (n, ...)."""
        if not self.again:
            return answer
        logits, velocity_logits = (self._guide(part) for part in answer)
        return logits, velocity_logits

    def _guide(self, logits: FloatArray) -> FloatArray:
        """U + strength (c - u), where u are the logits without the mood and c those with it."""
        n = len(self.writers)
        guided, without = logits[:n].copy(), logits[n:]
        guided[self.again] = without + self.strength * (guided[self.again] - without)
        return guided


def _has_mood(conditions: Conditions) -> bool:
    """Whether any valence or arousal is given, at any time or for the piece."""
    c = conditions
    curves = (x[1] if isinstance(x, tuple) else x for x in (c.valence, c.arousal, c.piece_valence, c.piece_arousal))
    return any(x is not None and not np.isnan(x).all() for x in curves)


def _kept(writers: Sequence[Writer], about: int, *, alone: bool) -> int:
    """How many of the latest events the next window begins with: `about`, or from a bar on for a piece alone."""
    if alone:
        ids = np.array(writers[0].ids[-about:])
        bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
        if len(bars) and bars[0] < about // 2:
            return int(len(ids) - bars[0])
    return min(about, *(len(w.ids) for w in writers))


__all__ = ["KEPT_ROWS", "Piece", "Writer", "beat_of", "compose", "foreseen", "score_of", "write_all"]
