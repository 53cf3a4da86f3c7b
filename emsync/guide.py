"""Passages that return, and what a return suggests at each event.

    source = Source.of_events(ids)                  # a passage of a piece, bar by bar
    guide = Guide(source, weight=0.8)               # follows it from the next BAR on
    logits = guide.mix(logits, allowed, sounding)   # leans towards the passage's next event
    guide.accept(event)

A `Guide` follows its source by the place in the bar, not by the events so far: whatever else is played, and wherever a
cut wants a chord, it goes on with what the passage has at that place. It never adds an event that the grammar forbids.

Conventions: steps of 8 ms (`vocabulary.STEP_S`); places are in steps since the BAR.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import InputError
from emsync.grammar.tables import MAX_SOUNDING
from emsync.keys import Key

FloatArray = npt.NDArray[np.floating]
BoolArray = npt.NDArray[np.bool_]

#: A return is at most this many bars long, so that no loop runs on; then the piece goes on by itself.
LONGEST_BARS: Final = 8
#: The families that a much calmer return leaves out, and those that a calm one does (`Guide.of_return`).
THINNED: Final = ((0.5, (v.DRUMS, v.GUITAR)), (0.25, (v.DRUMS,)))
#: In a more excited return, this share of the weight is left to the model, which may add what it likes.
FULLER: Final = 0.8

_SHIFTS: Final = v.ids_of_kind(v.K_TIMESHIFT)
#: The tokenizer's order within a moment: OFF, BAR, CHORD, ON by family and pitch; time comes last. (SIZE,)
ORDER: Final = np.zeros(v.SIZE, dtype=np.int64)
for _place, _family in enumerate(v.ON_ORDER):
    _of_family = (v.FAMILY == _family) & (v.KIND == v.K_ON)
    ORDER[_of_family] = 1000 * (_place + 3) + v.VALUE[_of_family]
ORDER[v.KIND == v.K_BAR] = 1000
ORDER[v.KIND == v.K_CHORD] = 2000
ORDER[_SHIFTS] = 10**6
ORDER.flags.writeable = False


@dataclass(frozen=True)
class Source:
    """A passage, bar by bar.

    Attributes:
        bars: Of each bar its events, as (place, id), in order.
        lengths: The length of each bar in steps, 0 if it is not known.
        only: The families that it says everything about. Of other families it says nothing.
        names: The BAR event of each bar; empty if any will do.

    """

    bars: tuple[tuple[tuple[int, int], ...], ...]
    lengths: tuple[int, ...]
    only: frozenset[int] = frozenset(range(len(v.FAMILIES)))
    names: tuple[int, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it says everything about every family."""
        return len(self.only) == len(v.FAMILIES)

    @classmethod
    def of_events(cls, ids: Iterable[int], bars: int = LONGEST_BARS) -> Source:
        """The first bars of events that begin with a BAR. CHORDs are left out: they belong to the cuts."""
        found: list[list[tuple[int, int]]] = []
        lengths: list[int] = []
        names: list[int] = []
        place = 0
        for event in ids:
            kind = int(v.KIND[event])
            if kind == v.K_BAR:
                if lengths:
                    lengths[-1] = place
                if len(found) == bars:
                    break
                found.append([])
                lengths.append(0)
                names.append(int(event))
                place = 0
            elif kind == v.K_TIMESHIFT:
                place += int(v.VALUE[event])
            elif kind in (v.K_ON, v.K_OFF) and found:
                found[-1].append((place, int(event)))
        return cls(tuple(tuple(bar) for bar in found), tuple(lengths), names=tuple(names))

    def transposed(self, semitones: int) -> Source:
        """The same in another key. Notes that would leave their family's range move by an octave instead."""
        if not semitones:
            return self
        moved = tuple(tuple((place, _moved(event, semitones)) for place, event in bar) for bar in self.bars)
        return replace(self, bars=moved)

    def in_mode(self, key: Key, *, minor: bool) -> Source:
        """The same music of `key` in minor, or in major: its third, sixth and seventh move by a semitone."""
        if key.is_minor == minor:
            return self
        by = key.in_mode(np.arange(128), minor=minor) - np.arange(128)
        moved = tuple(
            tuple((place, _moved(event, int(by[v.VALUE[event]]))) for place, event in bar) for bar in self.bars
        )
        return replace(self, bars=moved)

    def without(self, dropped: Iterable[int]) -> Source:
        """The same without what these families play."""
        gone = frozenset(dropped)
        if not gone:
            return self
        bars = tuple(tuple((place, e) for place, e in bar if int(v.FAMILY[e]) not in gone) for bar in self.bars)
        return replace(self, bars=bars)


def _moved(event: int, semitones: int) -> int:
    family, pitch = int(v.FAMILY[event]), int(v.VALUE[event])
    if family == v.DRUMS:
        return event
    low, high = v.PITCH_RANGE[family]
    pitch += semitones
    pitch += 12 if pitch < low else -12 if pitch > high else 0
    return int((v.ON_BASE if v.KIND[event] == v.K_ON else v.OFF_BASE)[family] + pitch)


class Guide:
    """Leans a model's distribution towards a passage: p = (1 - weight) model + weight passage.

    Args:
        source: The passage. It begins with the next BAR, and ends after its last bar.
        weight: In [0, 1].
        makes_room: Whether another note of a family ends where the family plays too many for the passage's next one.

    """

    def __init__(self, source: Source, weight: float, *, makes_room: bool = False) -> None:
        if not 0 <= weight <= 1:
            raise InputError(f"a weight of {weight:g} is outside [0, 1]; give one in between")
        self.source, self.weight, self._makes_room = source, weight, makes_room
        self._own = np.isin(v.FAMILY, list(source.only)) & np.isin(v.KIND, (v.K_ON, v.K_OFF))
        self._bar = -1
        self._place = 0
        self._left: list[tuple[int, int]] = []  # of this bar, what is still to come

    @classmethod
    def of_return(cls, source: Source, strength: float, *, semitones: int = 0, excitement: float = 0.0) -> Guide:
        """How a passage returns.

        Args:
            source: The passage.
            strength: How closely, from 0 to 1.
            semitones: By how much it is transposed.
            excitement: By how much the arousal is above that of the passage. A calmer return leaves out drums, a much
                calmer one the guitar as well; in a more excited one the model may add more.

        """
        dropped = next((gone for step, gone in THINNED if excitement <= -step), ())
        weight = strength * (FULLER if excitement >= THINNED[-1][0] else 1.0)
        return cls(source.transposed(semitones).without(dropped), weight)

    @property
    def ahead(self) -> Source:
        """The passage from the bar on that is played now, or that comes next before the first one."""
        first = max(self._bar, 0)
        s = self.source
        return replace(s, bars=s.bars[first:], lengths=s.lengths[first:], names=s.names[first:])

    @property
    def is_last_bar(self) -> bool:
        """Whether the passage ends with the bar that is played now, or has ended."""
        return self._bar >= len(self.source.bars) - 1

    @property
    def is_over(self) -> bool:
        """Whether the passage has been played to its end."""
        return self._bar >= len(self.source.bars)

    def accept(self, event: int) -> None:
        """Take the next event of the piece."""
        kind = int(v.KIND[event])
        if kind == v.K_BAR:
            self._bar += 1
            self._place = 0
            self._left = [] if self.is_over else list(self.source.bars[self._bar])
        elif kind == v.K_TIMESHIFT:
            self._place += int(v.VALUE[event])
            self._left = [(place, e) for place, e in self._left if place >= self._place]
        elif (self._place, event) in self._left:
            self._left.remove((self._place, event))

    def mix(self, logits: FloatArray, allowed: BoolArray, sounding: Iterable[int]) -> FloatArray:
        """Logits (SIZE,) of the mixture, as far as the passage has something to say.

        Args:
            logits: (SIZE,) the model's.
            allowed: (SIZE,) what the grammar allows.
            sounding: The ids of the ONs that sound.

        """
        if self.is_over or self._bar < 0 or not self.weight:
            return logits
        p = np.exp(np.where(allowed, logits - logits[allowed].max(), -np.inf)).astype(np.float64)
        p /= p.sum()
        wanted = self._wanted(p, allowed, frozenset(sounding))
        if wanted is None:
            return logits
        mixed = (1 - self.weight) * p + self.weight * wanted
        return np.log(np.maximum(mixed, 1e-30)).astype(logits.dtype)

    def _wanted(self, p: FloatArray, allowed: BoolArray, sounding: frozenset[int]) -> FloatArray | None:
        """The passage's own distribution (SIZE,) of the next event; None where it has nothing to say."""
        due = self._due(allowed, sounding)
        if self.source.is_whole:
            event = self._next_shift(allowed, sounding) if due is None else due
            if event is None:
                return None
            return (np.arange(v.SIZE) == event).astype(np.float64)
        wanted = p.copy()
        own = self._own
        if due is not None:  # what the order puts before it may come first; all else gives way to it
            passing = (ORDER >= ORDER[due]) | (own & (v.KIND == v.K_ON))
            wanted[due] += wanted[passing].sum() - wanted[due]
            passing[due] = False
            wanted[passing] = 0.0
            return wanted
        # No time passes beyond the passage's next event that can be reached, and its families play nothing else.
        shifts = np.arange(_SHIFTS.start, _SHIFTS.stop)
        for ahead in self._ahead(sounding):
            beyond = v.VALUE[shifts] > ahead - self._place
            if allowed[shifts[~beyond]].any():
                wanted[shifts[beyond]] = 0.0
                break
        wanted[own] = 0.0
        total = wanted.sum()
        return wanted / total if total > 0 else None

    def _due(self, allowed: BoolArray, sounding: frozenset[int]) -> int | None:
        """What may come now of the passage at this moment, if anything; a note is ended to be struck again."""
        for place, event in self._left:
            if place > self._place:
                return None
            partner = int(v.PARTNER[event])
            if allowed[event] and (v.KIND[event] != v.K_OFF or partner in sounding):
                return event
            if event in sounding and allowed[partner]:
                return partner
            if self._makes_room and v.KIND[event] == v.K_ON:
                family = int(v.FAMILY[event])
                others = [on for on in sounding if v.FAMILY[on] == family]
                ends = [int(v.PARTNER[on]) for on in others if allowed[v.PARTNER[on]]]
                if ends and len(others) >= MAX_SOUNDING.get(family, math.inf):
                    return min(ends)
        return None

    def _ahead(self, sounding: frozenset[int]) -> list[int]:
        """The places of the passage's events still to come in this bar, in order; OFFs of sounding notes only."""
        return [
            place for place, event in self._left
            if place > self._place and (v.KIND[event] == v.K_ON or int(v.PARTNER[event]) in sounding)
        ]  # fmt: skip

    def _next_shift(self, allowed: BoolArray, sounding: frozenset[int]) -> int | None:
        """The TIMESHIFT towards the passage's next event that can be reached, or to its next bar, or that BAR."""
        length = int(self.source.lengths[self._bar])
        ahead = self._ahead(sounding)
        if length and not ahead and self._place >= length:
            following = self.source.names[self._bar + 1 : self._bar + 2]
            return following[0] if following and allowed[following[0]] else None
        for place in (*ahead, *([length] if length else [])):
            shifts = np.flatnonzero(allowed & (v.KIND == v.K_TIMESHIFT) & (v.VALUE <= place - self._place))
            if len(shifts):
                return int(shifts[-1])
        return None
