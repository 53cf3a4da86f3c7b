"""Tempo between two hits: curves that pass a given number of beats in a given time, and bend only so fast.

Conventions
- A curve is the *stretch* e at each beat: the beat is e longer than in the plan's own tempo (0.02: two percent slower).
  Between two beats it is linear, so m beats from beat 0 to beat m take `beat_s * (m + trapezoids(e))` seconds.
- A curve from stretch a to stretch b over m beats has m + 1 values. Its *sum* is that of its trapezoids.
- Limits hold for any two neighbouring bars of four beats or fewer, because no beat differs from the next by more than a
  quarter of what two bars may.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from emsync.columns import FloatArray, IntArray

#: A number of beats, or several that broadcast with the rest.
Count: TypeAlias = float | FloatArray | IntArray

#: The longest bar that the limits are meant for, in beats.
BAR_BEATS: Final = 4
#: The tempo may depart from its mean by so many times what neighbouring bars may differ.
IN_ALL: Final = 2.0
#: What a beat that is bent by 1.5 % costs, and one whose stretch changes by 0.75 %.
_BENT: Final = 0.25 / 0.015**2
_CHANGED: Final = 0.5 / 0.0075**2
#: Rounding errors of sums of trapezoids.
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class Limits:
    """How far a curve may bend: |e| <= `most`, and from one beat to the next by `step` at most."""

    most: float
    step: float

    @classmethod
    def of(cls, max_bend: float) -> Limits:
        """Limits for tempi of neighbouring bars that differ by `max_bend` percent at most, and twice that in all."""
        share = max_bend / 100
        in_all = IN_ALL * share
        # A tempo of 1 + in_all means beats of 1 / (1 + in_all). Ratios of tempi are greatest where beats are shortest.
        return cls(in_all / (1 + in_all), share / BAR_BEATS / (1 + in_all))

    @property
    def settled_beats(self) -> int:
        """The number of beats after which a curve can be at `most`, wherever it began, and back."""
        return 4 if not self.step else int(np.ceil(4 * self.most / self.step)) + 1


def trapezoids(e: FloatArray) -> float:
    """The sum of a curve: its area over the beats."""
    return float(e.sum() - (e[0] + e[-1]) / 2)


def extremes(a: FloatArray, b: FloatArray, beats: int, limits: Limits) -> tuple[FloatArray, FloatArray]:
    """The curves from a to b with the smallest and the largest sum.

    a, b: arrays of any shapes that broadcast to a shape S. Returns two arrays (beats + 1, *S). Where b cannot be
    reached from a, a curve of the first array lies above its fellow of the second.
    """
    at = np.arange(beats + 1, dtype=np.float64).reshape(-1, *([1] * np.broadcast(a, b).ndim))
    rise, fall = limits.step * at, limits.step * (beats - at)
    low = np.maximum(np.maximum(a - rise, b - fall), -limits.most)
    high = np.minimum(np.minimum(a + rise, b + fall), limits.most)
    return low, high


def reachable(a: FloatArray, b: FloatArray, beats: int, limits: Limits) -> tuple[FloatArray, FloatArray]:
    """The smallest and the largest sum of curves from a to b; the first is the larger one where there is none."""
    # Beyond this many beats, both curves only go on at the limit.
    short = min(beats, limits.settled_beats)
    low, high = extremes(a, b, short, limits)
    more = (beats - short) * limits.most
    sums = [e.sum(axis=0) - (e[0] + e[-1]) / 2 for e in (low, high)]
    apart = np.abs(a - b) > limits.step * beats + _ROUNDING
    return np.where(apart, np.inf, sums[0] - more), np.where(apart, -np.inf, sums[1] + more)


def cost(a: FloatArray, b: FloatArray, beats: Count, total: float | FloatArray) -> FloatArray:
    """What the parabola from a to b with this sum costs: how much its beats are bent, and how much that changes."""
    hump = 6 * (total / beats - (a + b) / 2)  # e = the line from a to b + hump * u (1 - u)
    bent = (a * a + a * b + b * b) / 3 + hump * (a + b) / 6 + hump * hump / 30
    changed = (b - a) ** 2 + hump * hump / 3
    return np.asarray(_BENT * beats * bent + _CHANGED * changed / beats)


def curve(a: float, b: float, beats: int, total: float, limits: Limits) -> FloatArray:
    """A curve (beats + 1,) from a to b with this sum within the limits: a parabola if one is, else the nearest to it.

    The sum must be `reachable`.
    """
    u = np.arange(beats + 1) / beats
    line = a + (b - a) * u
    if beats == 1:
        return line
    parabola = line + (total - trapezoids(line)) * 6 * beats / (beats * beats - 1) * u * (1 - u)
    low, high = extremes(np.array(a), np.array(b), beats, limits)
    least, most = trapezoids(low), trapezoids(high)
    share = min(max((total - least) / (most - least), 0.0), 1.0) if most > least else 0.5
    within = low + share * (high - low)  # has the same ends and sum; so has anything between it and the parabola
    # How far to go from the parabola towards it until every value and every step is allowed.
    wild = np.concatenate([np.abs(parabola), np.abs(np.diff(parabola))])
    room = np.concatenate([np.full(beats + 1, limits.most), np.full(beats, limits.step)])
    if (wild <= room).all():
        return parabola
    far = 0.0
    for one, other in ((parabola, within), (-parabola, -within)):
        value = np.concatenate([one, np.diff(one)])
        tame = np.concatenate([other, np.diff(other)])
        over = value > room
        span = np.maximum(value - tame, 1e-300)
        far = max(far, float(((value - room) / span)[over].max(initial=0.0)))
    far = min(far, 1.0)
    return parabola + far * (within - parabola)
