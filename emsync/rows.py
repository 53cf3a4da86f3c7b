"""The rows that a decoder reads: the pieces being composed, and some of them once more without their mood.

The second rows are for classifier-free guidance, which makes the model follow a mood more strongly than it learned to
(Ho and Salimans 2022, on logits as in Sanchez et al. 2023). Both rows of a piece get the same events and boundaries,
and their logits are combined into one. A model with lanes for controls is guided by them
in the same way, with rows that lack them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.conditions import CONTROL_LANES, MOOD_LANES, Conditions
from emsync.decoder import Decoder
from emsync.reference import Prime
from emsync.writer import Writer

FloatArray = npt.NDArray[np.floating]

#: The share of the model's context that an excerpt may take.
PRIMED: Final = 0.1875
_MOOD_SLOTS: Final = (v.VALENCE_SLOT, v.AROUSAL_SLOT)


@dataclass(frozen=True)
class Answer:
    """What the model says about the next event of each of n pieces.

    Attributes:
        logits: (n, vocabulary), guided by the mood.
        velocity_logits: (n, VELOCITY_LEVELS), of the latest event, guided as well.
        plain: (n, vocabulary) without guidance: of a piece's second row, if it has one.

    """

    logits: FloatArray
    velocity_logits: FloatArray
    plain: FloatArray

    def only(self, left: list[int]) -> Answer:
        """What it says about these pieces alone."""
        return Answer(self.logits[left], self.velocity_logits[left], self.plain[left])


@dataclass(frozen=True)
class Rows:
    """The rows of n pieces.

    Attributes:
        writers: The n pieces.
        again: The places among them of the pieces that have a second row.
        strength: `Recipe.mood_strength`.
        free: The places of the pieces that have a row without controls; these rows come last.
        hears: Whether the model has lanes for controls.

    """

    writers: list[Writer]
    again: list[int]
    strength: float
    free: list[int]
    hears: bool

    @classmethod
    def of(cls, writers: list[Writer], strength: float, *, hears: bool) -> Rows:
        """Strengths 0 and 1 need no second rows: the first rows are without the mood, or with it; so with controls."""
        again = [] if strength in (0, 1) else [row for row, w in enumerate(writers) if _has_mood(w.conditions)]
        led = [row for row, w in enumerate(writers) if w.recipe.lane_strength not in (0, 1) and w.conditions.controls]
        return cls(writers, again, strength, led if hears else [], hears)

    def places(self, left: Sequence[int]) -> npt.NDArray[np.int64]:
        """The decoder's rows of these pieces: their first rows, then their second rows, then those without controls."""
        more = [len(self.writers) + i for i, row in enumerate([*self.again, *self.free]) if row in left]
        return np.array([*left, *more], dtype=np.int64)

    def plain_places(self) -> npt.NDArray[np.int64]:
        """The decoder's row without guidance of each piece (n,): the second one, if there is one."""
        places = np.arange(len(self.writers))
        places[self.again] = len(self.writers) + np.arange(len(self.again))
        return places

    def only(self, left: list[int], decoder: Decoder) -> Rows:
        """Go on with these pieces alone."""
        if left:
            decoder.select(self.places(left))
        return self.of([self.writers[row] for row in left], self.strength, hears=self.hears)

    def window(self, decoder: Decoder, keep: int) -> Answer:
        """Start a window with the prefix, each piece's prime, and the latest `keep` events.

        Each event sees the velocity of the one before. The latest event has none yet: its velocity is sampled from the
        logits at its own position.
        """
        pieces = self.writers
        primes = [_prime(w, decoder.context) for w in pieces]
        n = min(len(prime.ids) for prime in primes)  # rows are of one length
        primes = [prime.latest(n, whole_bars=len(pieces) == 1) for prime in primes]
        every = [(w, prime, len(w.ids) - keep) for w, prime in zip(pieces, primes, strict=True)]
        ids = np.stack([[*_MOOD_SLOTS, w.count, *_behind(p.ids, w.ids, at)] for w, p, at in every]).astype(np.int64)
        own = np.stack([[0, 0, 0, *_behind(p.velocities, w.velocities, at)] for w, p, at in every]).astype(np.int64)
        previous_velocity = np.pad(own[:, :-1], ((0, 0), (1, 0)))
        tail = [np.stack(_behind(p.lanes, w.lanes, at)) for w, p, at in every]
        lanes = np.stack([np.concatenate([np.repeat(t[:1], 3, axis=0), t]) for t in tail]).astype(np.float32)
        moods = self._moods(np.stack([w.conditions.mood for w in pieces]))
        # An excerpt is played in the mood of the piece's beginning.
        steps = (np.array(_behind([0] * len(p.ids), w.steps, at)) for w, p, at in every)
        around = self._around(decoder, (np.concatenate([np.repeat(s[:1], 3), s]) for s in steps))
        return self._guided(
            decoder.prefill(self._rows(ids), self._rows(previous_velocity), self._lanes(lanes), moods, around)
        )

    def step(self, decoder: Decoder) -> Answer:
        """Append the latest event of each piece."""
        ids = np.array([w.ids[-1] for w in self.writers], dtype=np.int64)
        previous_velocity = np.array([w.velocities[-2] for w in self.writers], dtype=np.int64)
        lanes = np.stack([w.lanes[-1] for w in self.writers]).astype(np.float32)
        around = self._around(decoder, (np.array(w.steps[-1:]) for w in self.writers))
        if around is not None:
            around = around[:, 0]
        return self._guided(decoder.step(self._rows(ids), self._rows(previous_velocity), self._lanes(lanes), around))

    def _rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(n, ...) -> (n + len(again) + len(free), ...)"""
        more = [*self.again, *self.free]
        return np.concatenate([values, values[more]]) if more else values

    @property
    def _moodless(self) -> slice:
        """The rows that are not conditioned on the mood."""
        n = len(self.writers)
        return slice(None) if self.strength == 0 else slice(n, n + len(self.again))

    def _lanes(self, lanes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, ..., N_LANES) -> (n + len(again) + len(free), ..., N_LANES), NaN for what a row does not see."""
        lanes = self._rows(lanes)
        lanes[self._moodless, ..., MOOD_LANES] = np.nan
        lanes[len(self.writers) + len(self.again) :, ..., CONTROL_LANES] = np.nan
        return lanes

    def _around(self, decoder: Decoder, steps: Iterable[npt.NDArray[np.int64]]) -> npt.NDArray[np.float32] | None:
        """Each piece's steps (T,) -> (n + len(again) + len(free), T, 2, P), NaN for rows without a mood.

        None for a model that does not read it, and then `steps` is not worked out.
        """
        if not decoder.reads_curve:
            return None
        pieces = zip(self.writers, steps, strict=True)
        around = self._rows(np.stack([w.conditions.around(at * v.STEP_S) for w, at in pieces]))
        around[self._moodless] = np.nan
        return around

    def _moods(self, moods: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, 2) -> (n + len(again) + len(free), 2), NaN for rows without a mood."""
        moods = self._rows(moods)
        moods[self._moodless] = np.nan
        return moods

    def _guided(self, answer: tuple[FloatArray, FloatArray]) -> Answer:
        """Logits and velocity logits (n + len(again) + len(free), ...) -> (n, ...)."""
        logits, velocity_logits = answer
        if not self.again and not self.free:
            return Answer(logits, velocity_logits, logits)
        plain = logits[self.plain_places()]
        return Answer(self._guide(logits), self._guide(velocity_logits), plain)

    def _guide(self, logits: FloatArray) -> FloatArray:
        """U + strength (c - u), where u are the logits without the mood and c those with it; and likewise controls."""
        n, m = len(self.writers), len(self.writers) + len(self.again)
        guided, without = logits[:n].copy(), logits[n:m]
        guided[self.again] = without + self.strength * (guided[self.again] - without)
        for place, row in enumerate(self.free):
            extra = self.writers[row].recipe.lane_strength - 1
            guided[row] += extra * (logits[row] - logits[m + place])
        return guided


def kept(writers: Sequence[Writer], about: int, *, alone: bool) -> int:
    """How many of the latest events the next window begins with: `about`, or from a bar on for a piece alone."""
    if alone:
        ids = np.array(writers[0].ids[-about:])
        bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
        if len(bars) and bars[0] < about // 2:
            return int(len(ids) - bars[0])
    return min(about, *(len(w.ids) for w in writers))


def _prime(writer: Writer, context: int) -> Prime:
    """The excerpt that primes a piece, as far as there is room for it."""
    if writer.prime is None:
        return Prime.none(writer.lanes[0])
    return writer.prime.latest(int(PRIMED * context))


def _behind(prime: Sequence[Any] | npt.NDArray[Any], piece: list[Any], first: int) -> list[Any]:
    """The rows of a piece from `first` on, behind those of a prime; START, the first of a piece, stays the first."""
    begin = max(first, 1)
    return [*piece[first:begin], *prime, *piece[begin:]]


def _has_mood(conditions: Conditions) -> bool:
    """Whether any valence or arousal is given, at any time or for the piece."""
    c = conditions
    curves = (x[1] if isinstance(x, tuple) else x for x in (c.valence, c.arousal, c.piece_valence, c.piece_arousal))
    return any(x is not None and not np.isnan(x).all() for x in curves)
