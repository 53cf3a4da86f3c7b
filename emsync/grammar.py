"""Which events may come next: a grammar that makes invalid music impossible, and landing on boundaries certain.

Conventions: the clock counts steps of 8 ms (`vocabulary.STEP_S`). A *moment* is all events between two TIMESHIFTs;
within it events stand in the tokenizer's order (OFF, BAR, CHORD, ON; drums, bass, guitar, piano, strings; then pitch),
so each may only be followed by a later one.

The rules
1. A piece begins with BAR. PAD, START and the instrument counts never come again.
2. OFF only for a sounding note that began before this moment; ON only for a note that does not sound.
3. Where a boundary is due, no TIMESHIFT steps over it, and CHORD stands on it; shortly before it no other CHORD may
   use it up (Algorithm 1 would count that as met).
4. Behind CHORD come at least three notes of piano or of guitar in the same moment, and they are held for two beats
   (as far as the piece lasts). So that pitches are left for them, no family plays more than `MAX_SOUNDING` notes.
   There is no long chord without CHORD, as in all songs that models learn from: of notes of piano or of guitar that
   began together otherwise, no three are held for longer than `UNTOLD_QUARTERS`; which of them end, the model chooses.
5. A note ends after at most `MAX_NOTE_BEATS` beats; nothing passes the end, where every note is closed and END stands.
6. A BAR comes no sooner after another than its length allows at the fastest tempo, and keeps near the running tempo.
   Once three bars have told the tempo, none is missed: a BAR comes where the running tempo puts it, or a little before;
   where the tempo was given, exactly there. A hit may begin a bar anywhere.
7. With a given tempo, notes, bars and chords may be kept to begin on the sixteenths of their bar, and with
   triplets on thirds of its eighths, or where a hit asks for one. With `Recipe.loose_ends` notes may end on
   any 24th part of a beat from the third on: time may go there if a note may be closed there, and what comes is OFF,
   once or more, and nothing else.

With `Recipe.finish`, four more; their limits are what 95 of 100 real songs keep to (docs/decisions/0006-finishing.md)
8. A beginning: something sounds within the first beat.
9. An ending: on the last downbeat that leaves two beats, or on a hit behind it, everything is closed and a last CHORD
   stands, in the key of the last bars and with the bass if it played; it is held to the end, and nothing follows it.
10. No drones: a pitch that was held, or struck again within half a beat, for `MAX_STAY_BEATS` rests for a bar.
11. No endless fills: a kick, snare or tom that struck for a bar on every sixteenth keeps to eighths for as long.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.chords import MIN_PITCHES, MIN_QUARTERS
from emsync.conditions import SENSITIVITY_S
from emsync.errors import InputError
from emsync.recipe import Recipe

BoolArray = npt.NDArray[np.bool_]

MAX_NOTE_BEATS: Final = 4
#: So many notes of a family may sound at once: half of all real songs have less than four in all. A chord on a
#: boundary may exceed it, and gives way once it was held: boundaries are 1 s apart and chords held for 3.2 s at most,
#: so that three pitches are always left for another.
MAX_SOUNDING: Final = {v.PIANO: 5, v.GUITAR: 4, v.BASS: 1, v.STRINGS: 4}
#: A chord's notes are held for a little more than two beats: how long a beat was, the next bar may tell otherwise.
HELD_QUARTERS: Final = 1.05 * MIN_QUARTERS
#: A sixteenth less than what makes a long chord.
UNTOLD_QUARTERS: Final = MIN_QUARTERS - 0.25
#: Until two bars have told the tempo, a beat is half a second.
DEFAULT_BEAT_STEPS: Final = 62.5
#: Beats may last from 0.2 to 1.5 s (300 to 40 quarter notes a minute).
BEAT_RANGE_STEPS: Final = (25.0, 187.5)
#: A bar may differ this much from what the running tempo makes of it.
BAR_TOLERANCE: Final = 0.12
#: No note begins this shortly before the end; and END may come this early.
LAST_ONSET_S: Final = 0.2
EARLY_END_S: Final = 1.0
#: Notes begin on sixteenths and loose ends are on ticks, so many of them a beat. The songs that models learn from are
#: written in such ticks (`training.corpus.archive`); what lies between would be the model's own imprecision.
SIXTEENTHS, TRIPLETS, TICKS = 4, 6, 24
#: A note is not closed before so many ticks: 4 to 8 in 100 real notes are shorter, and a model that once plays one of
#: a single tick, 20 ms, plays on like that (docs/decisions/0010-closing-off-the-grid.md).
MIN_NOTE_TICKS: Final = 3
#: So long may one pitch of a family go on, though struck anew, and then it rests, in beats; at most so many rest.
MAX_STAY_BEATS: Final = {v.PIANO: 32.0, v.GUITAR: 32.0, v.BASS: 20.0, v.STRINGS: 32.0}
STAY_GAP_BEATS, REST_BEATS, MAX_RESTING = 0.55, 4.0, 12
#: So long may a kick, a snare or a tom strike on every sixteenth.
MAX_ROLL_BEATS, ROLL_GAP_BEATS = 4.0, 0.3
ROLL_DRUMS: Final = frozenset((35, 36, 37, 38, 39, 40, 41, 43, 45, 47, 48, 50))
#: A last chord is asked for in pieces that last four beats before it. Its key is told by the ONs of so many beats, and
#: is their seven most frequent pitch classes; the bass belongs to it if it played in the later half of them.
CLOSE_AFTER_BEATS, KEY_BEATS, KEY_CLASSES = 4.0, 16.0, 7

# The order of events within a moment. TIMESHIFT ends it and may always come (as far as order is concerned).
_ANY: Final = np.iinfo(np.int32).max


def _order() -> npt.NDArray[np.int32]:
    place = {family: i for i, family in enumerate(v.ON_ORDER)}
    order = np.full(v.SIZE, -1, dtype=np.int32)
    for event in v.EVENTS:
        if event.kind in (v.K_OFF, v.K_ON):
            order[event.id] = (30_000 if event.kind == v.K_ON else 0) + place[event.family] * 128 + event.value
    order[v.ids_of_kind(v.K_BAR)] = 10_000
    order[v.CHORD] = 20_000
    order[v.END] = 40_000
    order[v.ids_of_kind(v.K_TIMESHIFT)] = _ANY
    return order


ORDER: Final = _order()
#: LATER[id]: the events that may stand behind this one in its moment; LATER[-1]: those that may begin one.
LATER: Final = np.concatenate([ORDER[None, :] > ORDER[:, None], ORDER[None, :] > -1])  # (vocabulary + 1, vocabulary)
_BAR, _SHIFT = v.ids_of_kind(v.K_BAR), v.ids_of_kind(v.K_TIMESHIFT)
_ON, _OFF = v.ids_of_kind(v.K_ON), v.ids_of_kind(v.K_OFF)
_NONE: Final = np.zeros(0, dtype=np.intp)
_ONS: Final = [
    slice(int(base) + low, int(base) + high + 1) for base, (low, high) in zip(v.ON_BASE, v.PITCH_RANGE, strict=True)
]
_FIRST_ON: Final = (v.KIND == v.K_ON) & np.isin(v.FAMILY, (v.DRUMS, v.BASS))
# The table as plain lists: reading one number from an array takes ten times as long.
_KIND, _VALUE, _FAMILY, _PARTNER = v.KIND.tolist(), v.VALUE.tolist(), v.FAMILY.tolist(), v.PARTNER.tolist()
_PLACE: Final = ORDER.tolist()


class Grammar:
    """The state of one piece in the making. `allowed()` says what may come next; `accept(id)` takes what came.

    boundaries: steps at which CHORD must stand, increasing; `targets` may be moved while they are still ahead.
    """

    margin = round(LAST_ONSET_S / v.STEP_S)

    def __init__(
        self,
        recipe: Recipe,
        end_step: int,
        boundaries: npt.NDArray[np.floating] | npt.NDArray[np.integer] | None = None,
        *,
        beat_steps: float | None = None,
    ) -> None:
        if end_step < 1:
            raise InputError(f"a piece of {end_step * v.STEP_S:g} s is too short; give at least {v.STEP_S} s")
        low, high = BEAT_RANGE_STEPS
        if beat_steps is not None and not low <= beat_steps <= high:
            beats, slow, fast = (60 / (x * v.STEP_S) for x in (beat_steps, high, low))
            raise InputError(f"a tempo of {beats:g} is not between {slow:g} and {fast:g} quarter notes a minute")
        self.recipe, self.end_step, self.given_beat_steps = recipe, end_step, beat_steps
        self.lands, self.finishes = recipe.lands, recipe.finishes
        #: Whether notes keep to a grid, for which the tempo must be given.
        self.on_grid = recipe.on_grid and beat_steps is not None
        self.has_triplets = recipe.grid == "triplets"
        steps = np.array([] if boundaries is None else boundaries, dtype=np.int64)
        self.targets: list[int] = [int(s) for s in steps if s < end_step - self.margin]
        self.step = 0
        self.finished = False
        #: Whether the last chord stands (rule 9): nothing begins behind it.
        self.closed = False
        self.bars: list[tuple[int, int]] = []  # (step, length in half quarters)
        self.chords: list[int] = []  # steps of CHORD events
        #: How long a quarter note lasts just now, in steps: from the last whole bar.
        self.beat_steps = DEFAULT_BEAT_STEPS if beat_steps is None else beat_steps
        #: With so many bars the tempo is known: the lengths of two tell it, unless it was given.
        self._telling = 3 if beat_steps is None else 1
        self._since: dict[int, int] = {}  # the sounding notes, by ON id: when each began, in that order
        self._hold: dict[int, int] = {}  # those that may not be closed yet, by ON id: until when
        self._last = -1  # the last event of this moment, -1 at its beginning
        # Which steps behind a bar line stand on its sixteenths and ticks, from 0 to as far as time can go in a bar; and
        # where notes may begin.
        self._sixteenths, self._ticks = (_parts(self.beat_steps, parts) for parts in (SIXTEENTHS, TICKS))
        self._onsets = self._sixteenths | _parts(self.beat_steps, TRIPLETS) if self.has_triplets else self._sixteenths
        self._shortest = math.floor(MIN_NOTE_TICKS * self.beat_steps / TICKS)
        self._closes_only = False  # whether this moment is off the grid, for OFFs alone
        self._in_chord = self._landing = False  # behind a CHORD; behind one on a boundary
        self._chord_ons: set[int] = set()  # the sounding notes of chords, by ON id
        self._count = dict.fromkeys(range(v.DRUMS + 1, len(v.FAMILIES)), 0)  # how many notes sound, by family
        self._chord_notes = dict.fromkeys(v.CHORD_FAMILIES, 0)
        # ONs of this moment, by family; and those of three and more that no CHORD told: (until when, which still sound)
        self._together: dict[int, set[int]] = {}
        self._untold: list[tuple[int, set[int]]] = []
        self._closing: int | None = None  # where the last chord belongs, for all that is known yet
        self._heard: list[tuple[int, int]] = []  # (step, ON id) of all pitched notes
        self._begun = not self.finishes  # whether anything has sounded
        self._stay: dict[
            int, tuple[int, int]
        ] = {}  # by ON id: when a pitch or a roll began, and when it was last there
        self._thin: dict[int, int] = {}  # drums that keep to eighths, by ON id: until when
        self._resting: dict[int, int] = {}  # ONs that may not come yet, by id: until when
        self._tones = np.ones(v.SIZE, dtype=bool)  # (vocabulary,) what the last chord may be made of
        # (vocabulary,) what the sounding notes allow: ON of the silent ones, OFF of those that may be closed.
        self._notes = np.ones(v.SIZE, dtype=bool)
        self._notes[_OFF] = False
        self._notes[v.BAR_BASE + 1] = False  # half a quarter note is no bar to compose in

    @property
    def sounding(self) -> list[int]:
        """Ids of the ONs that have not been closed, in the order in which they began."""
        return list(self._since)

    @property
    def knows_tempo(self) -> bool:
        """Whether the tempo was given, or the bars have told it."""
        return len(self.bars) >= self._telling

    def due(self) -> int | None:
        """The next place that still needs its chord: a boundary, or the close."""
        targets = self.targets if self.lands else []
        close = self._closing
        if close is None or close < self.step or self.closed or (targets and targets[-1] > close):
            return targets[0] if targets else None
        return min(targets[0], close) if targets else close

    def next_bar(self) -> int | None:
        """The step where the next bar must begin at the latest; None while there is no tempo, and near the end."""
        if not self.knows_tempo:
            return None
        at, half = self.bars[-1]
        step = at + round(half / 2 * self.beat_steps)
        return step if self.end_step - step > self.margin else None

    def allowed(self) -> BoolArray:
        """(vocabulary,) True for every event that may come next; never all False before END."""
        if self.finished:
            return _only(v.PAD)
        if not self.bars:
            return _only(slice(v.BAR_BASE + 2, _BAR.stop))  # bars of a quarter note or more
        step, end, due = self.step, self.end_step, self.due()
        allowed: BoolArray = LATER[self._last] & self._notes
        if self._since:
            first = min((x for x in (self._expired(), self._untold_until()) if x is not None), default=None)
            if first is not None:  # close these first, in order
                allowed[: _OFF.start] = False
                allowed[_OFF] &= ORDER[_OFF] <= first
                return allowed
        if step >= end:
            return _only(v.END)
        if self._closes_only:
            allowed[_BAR] = False
            allowed[v.CHORD] = False
            allowed[_ON] = False
            if self._last < 0:  # without an OFF there is no reason for the moment
                allowed[_SHIFT] = False
                allowed[v.END] = False
                return allowed
        next_bar = self.next_bar()
        if step == next_bar:
            allowed[: _BAR.start] = False
            allowed[_BAR.stop : _OFF.start] = False
            return allowed
        if not self._bar_fits():
            allowed[_BAR] = False
        for family, count in self._count.items():
            if count >= MAX_SOUNDING[family]:
                allowed[_ONS[family]] = False
        if end - step <= self.margin:
            allowed[_ON] = False
            allowed[_BAR] = False
            allowed[v.CHORD] = False
        if self.closed:
            if not self._in_chord:
                allowed[_ON] = False
                allowed[v.CHORD] = False
            allowed &= self._tones
        if self._since or due is not None or (end - step) * v.STEP_S > EARLY_END_S:
            allowed[v.END] = False

        until = end if next_bar is None else next_bar
        for on, begun in self._since.items():
            if not self.closed:
                until = max(min(until, int(begun + MAX_NOTE_BEATS * self.beat_steps)), step + 1)
                break
            until = min(until, self._hold.get(on, step + 1))  # what is not of the last chord makes way for it
        if self._untold:
            until = min(until, *(by for by, _ in self._untold))
        if not self._begun and end - step > self.margin:
            allowed[v.END] = False
            until = max(min(until, int(self.beat_steps)), step + 1)
            if step >= int(self.beat_steps):
                allowed[_SHIFT] = False
        if due is not None:
            if step >= due and not self._in_chord:
                allowed[_SHIFT] = False
                allowed[_ON] = False
                allowed[v.END] = False
                if not allowed[v.CHORD]:  # something stands behind it already: cannot happen, CHORD was asked for first
                    raise AssertionError("a boundary was passed without its chord")
                return allowed
            until = min(until, max(due, step + 1))
            if step < due and (due - step) * v.STEP_S < SENSITIVITY_S:
                allowed[v.CHORD] = False
        if until - step < v.MAX_SHIFT_STEPS:
            allowed[v.SHIFT_BASE + until - step + 1 : _SHIFT.stop] = False
        if self.on_grid:
            self._keep_to_grid(allowed, until)
        if self._in_chord:
            if max(self._chord_notes.values()) < MIN_PITCHES:
                self._ask_for_chord(allowed)
        elif end - step < 2 * self.margin or self._crowded():
            allowed[v.CHORD] = False
        return allowed

    def off_grid(self) -> npt.NDArray[np.intp]:
        """Ids of the TIMESHIFTs, allowed or not, that leave the sixteenths, for an OFF or a triplet (rule 7)."""
        if not (self.on_grid and (self.recipe.loose_ends or self.has_triplets) and self.bars):
            return _NONE
        first = self.step + 1 - self.bars[-1][0]
        off = ~self._sixteenths[first : first + v.MAX_SHIFT_STEPS]
        due = self.due()
        if due is not None and 0 < due - self.step <= len(off):
            off[due - self.step - 1] = False
        return _SHIFT.start + off.nonzero()[0]

    def _keep_to_grid(self, allowed: BoolArray, until: int) -> None:
        """Of the TIMESHIFTs, those to where notes may begin in this bar, and with loose ends those to a tick of it
        where a note may be closed; where none is left, the one to what comes next.
        """
        first = self.step + 1 - self.bars[-1][0]
        kept = self._onsets[first : first + v.MAX_SHIFT_STEPS].copy()
        if self.recipe.loose_ends and self._since:
            # Where all notes are held, so many TIMESHIFTs are too short to reach one that may be closed.
            held = min(self._hold.values()) - self.step - 1 if len(self._hold) == len(self._since) else 0
            kept[held:] |= self._ticks[first : first + v.MAX_SHIFT_STEPS][held:]
        kept &= allowed[_SHIFT]
        if not kept.any() and allowed[v.SHIFT_BASE + min(until - self.step, v.MAX_SHIFT_STEPS)]:
            kept[min(until - self.step, v.MAX_SHIFT_STEPS) - 1] = True
        if kept.any():
            allowed[_SHIFT] = kept

    def _crowded(self) -> bool:
        """Whether neither family has room for a chord that no boundary asks for."""
        return all(self._count[family] + MIN_PITCHES > MAX_SOUNDING[family] for family in v.CHORD_FAMILIES)

    def _expired(self) -> int | None:
        """`ORDER` of the first OFF that has to come now: at the end all, elsewhere of notes that sounded too long."""
        step, since = self.step, self._since
        if step >= self.end_step:
            return min(_PLACE[_PARTNER[on]] for on in since)
        clear = self.closed or (self._closes() and step == self.due())
        begun_by = step - (0 if clear else MAX_NOTE_BEATS * self.beat_steps)
        crowded = [family for family, count in self._count.items() if count > MAX_SOUNDING[family]]
        if not crowded and next(iter(since.values())) > begun_by:
            return None
        # Only while its OFF still has its place in this moment.
        last = _PLACE[self._last] if self._last >= 0 else -1
        due = [
            place for on, begun in since.items()
            if (begun <= begun_by or (on in self._chord_ons and _FAMILY[on] in crowded))
            and begun < step and on not in self._hold and (place := _PLACE[_PARTNER[on]]) > last
        ]  # fmt: skip
        return min(due, default=None)

    def _untold_until(self) -> int | None:
        """`ORDER` of the last OFF that may come before all but two of those are ended that no CHORD told; None: now or
        ever so.
        """
        last = _PLACE[self._last] if self._last >= 0 else -1
        limits = []
        for until, together in self._untold:
            if until <= self.step:
                later = sorted(place for on in together if (place := _PLACE[_PARTNER[on]]) > last)
                limits.append(later[len(later) - (len(together) - MIN_PITCHES + 1)])
        return min(limits, default=None)

    def _bar_fits(self) -> bool:
        """Whether a bar may begin here."""
        at, half = self.bars[-1]
        passed = self.step - at
        if self.given_beat_steps is not None:  # bars come where the tempo puts them (`next_bar`), and on hits
            fits = False
        elif passed / (half / 2) <= BEAT_RANGE_STEPS[1] and not self.knows_tempo:
            fits = passed / (half / 2) >= BEAT_RANGE_STEPS[0]
        elif self._near_tempo(passed, half):
            fits = True
        else:  # if the bar was missed, another may begin on any later beat
            beats = passed / self.beat_steps
            fits = beats > half / 2 and abs(beats - round(beats)) <= BAR_TOLERANCE
        # Once there is a tempo, a hit may begin a bar wherever it falls.
        hit = self.lands and self.step in self.targets[:1]
        return fits or (self.knows_tempo and hit and passed >= self.beat_steps / 2)

    def _near_tempo(self, steps: int, half: int) -> bool:
        """Whether a bar of this length keeps near the running tempo, and within the range of all tempi."""
        beat = steps / (half / 2)
        return BEAT_RANGE_STEPS[0] <= beat <= BEAT_RANGE_STEPS[1] and abs(beat / self.beat_steps - 1) <= BAR_TOLERANCE

    def _ask_for_chord(self, allowed: BoolArray) -> None:
        """While the chord lacks notes: only what stands before or in its families, and leave room for the rest."""
        keep = _FIRST_ON & allowed
        if self.closed and not self._count[v.BASS] and keep[_ONS[v.BASS]].any() and self._bass_plays():
            allowed[:] = keep
            return
        for family in v.CHORD_FAMILIES:
            lacking = MIN_PITCHES - self._chord_notes[family]
            if not self._landing and self._count[family] + lacking > MAX_SOUNDING[family]:
                continue
            ids = _ONS[family]
            free = LATER[self._last, ids] & self._notes[ids]
            # A pitch may come if enough free pitches stand above it for those that must follow.
            for chosen in (free & self._tones[ids], free):
                above = chosen[::-1].cumsum()[::-1] - chosen
                keep[ids] = chosen & (above >= lacking - 1)
                if keep[ids].any():
                    break
        allowed[:] = keep

    def accept(self, event: int) -> None:
        """Take one event, which `allowed()` must have allowed."""
        kind = _KIND[event]
        if kind == v.K_TIMESHIFT:
            self._move(_VALUE[event])
            return
        self._last = event
        if kind == v.K_ON:
            family = _FAMILY[event]
            if self.finishes:
                self._note(event, family)
            if family != v.DRUMS:
                self._since[event] = self.step
                self._notes[event] = False
                if self.on_grid:
                    self._hold[event] = self.step + self._shortest
                self._count[family] += 1
            if family in self._chord_notes and not self._in_chord:
                self._tell_apart(event, family)
            elif family in self._chord_notes:
                self._chord_notes[family] += 1
                self._hold[event] = self.step + math.ceil(HELD_QUARTERS * self.beat_steps)
                self._chord_ons.add(event)
            if self.closed and family != v.DRUMS:
                self._hold[event] = self.end_step
        elif kind == v.K_OFF:
            on = _PARTNER[event]
            del self._since[on]
            self._hold.pop(on, None)
            self._chord_ons.discard(on)
            self._forget(on)
            self._count[_FAMILY[on]] -= 1
            self._notes[on], self._notes[event] = True, False
            if self.finishes:
                self._leave(on, _FAMILY[on])
        elif kind == v.K_BAR:
            self._bar(_VALUE[event])
        elif kind == v.K_CHORD:
            self._in_chord, self._landing = True, self.step == self.due()
            self._chord_notes = dict.fromkeys(v.CHORD_FAMILIES, 0)
            self.chords.append(self.step)
            reach = SENSITIVITY_S / v.STEP_S
            self.targets = [t for t in self.targets if abs(t - self.step) >= reach]
            if self._closes():
                self.closed, self._tones = True, self._key()
        elif kind == v.K_END:
            self.finished = True

    def _move(self, steps: int) -> None:
        """A new moment: what began before it may be closed, unless it is held."""
        before, self.step = self.step, self.step + steps
        self._last, self._in_chord = -1, False
        self._together.clear()
        at_end = self.step >= self.end_step
        for on in [on for on, until in self._resting.items() if until <= self.step]:
            del self._resting[on]
            self._notes[on] = on not in self._since
        for on in [on for on, until in self._hold.items() if until <= self.step or at_end]:
            del self._hold[on]
            self._notes[_PARTNER[on]] = True
        for on in reversed(self._since):  # the latest come first
            if self._since[on] < before:
                break
            if on not in self._hold:
                self._notes[_PARTNER[on]] = True
        self._closes_only = (
            self.on_grid
            and self.recipe.loose_ends
            and len(self._hold) < len(self._since)
            and self.step not in (self.due(), self.next_bar())
            and not at_end
            and not self._onsets[self.step - self.bars[-1][0]]
        )

    def _tell_apart(self, on: int, family: int) -> None:
        """A note of piano or guitar without CHORD: is it the third that begins here?"""
        together = self._together.setdefault(family, set())
        together.add(on)
        if len(together) == MIN_PITCHES:
            until = self.step + math.floor(UNTOLD_QUARTERS * self.beat_steps)
            while self.on_grid and not self._onsets[until - self.bars[-1][0]]:  # one begun on a triplet ends on one
                until -= 1
            self._untold.append((until, together))

    def _forget(self, on: int) -> None:
        """A note ends; two that are left of a chord are none."""
        for until, together in self._untold:
            if on in together:
                together.discard(on)
                if len(together) < MIN_PITCHES:
                    self._untold.remove((until, together))
                return

    def _bar(self, half: int) -> None:
        """A bar begins here, and the one before it tells the tempo, unless it was missed or cut short by a hit."""
        if self.bars:
            at, length = self.bars[-1]
            passed = self.step - at
            beat = passed / (length / 2)
            loose = not self.knows_tempo and BEAT_RANGE_STEPS[0] <= beat <= BEAT_RANGE_STEPS[1]
            if loose or (self.given_beat_steps is None and self._near_tempo(passed, length)):
                self.beat_steps = beat
        self.bars.append((self.step, half))
        # The last downbeat that leaves room for a chord, if the bars go on like this; in long bars, every fourth beat.
        beats = half / 2 if half <= 12 else 4.0
        bars = math.floor(((self.end_step - self.step) / self.beat_steps - HELD_QUARTERS) / beats + 1e-6)
        close = self.step + round(bars * beats * self.beat_steps)
        if self.finishes and bars >= 0 and close >= CLOSE_AFTER_BEATS * self.beat_steps:
            self._closing = close

    def _note(self, on: int, family: int) -> None:
        """An ON: the piece has begun; what does it prolong?"""
        self._begun = True
        step, beat = self.step, self.beat_steps
        roll = family == v.DRUMS
        if roll and _VALUE[on] not in ROLL_DRUMS:
            return
        begun, last = self._stay.get(on, (step, step))
        if step - last > (ROLL_GAP_BEATS if roll else STAY_GAP_BEATS) * beat:
            begun = step
        self._stay[on] = begun, step
        if not roll:
            self._heard.append((step, on))
            if self.closed:  # no semitones in the last chord
                near = np.isin((v.VALUE - _VALUE[on]) % 12, (1, 11)) & (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
                self._tones &= ~near
            return
        if step - begun >= MAX_ROLL_BEATS * beat:
            self._thin[on] = step + round(MAX_ROLL_BEATS * beat)
        if step < self._thin.get(on, 0):
            self._rest(on, beat / 2)

    def _leave(self, on: int, family: int) -> None:
        """An OFF: was the pitch there for too long?"""
        begun, _ = self._stay[on]
        self._stay[on] = begun, self.step
        crowd = sum(_FAMILY[other] == family for other in self._resting) >= MAX_RESTING
        if self.step - begun >= MAX_STAY_BEATS[family] * self.beat_steps and not crowd:
            self._rest(on, REST_BEATS * self.beat_steps)

    def _rest(self, on: int, steps: float) -> None:
        self._resting[on] = self.step + int(steps)
        self._notes[on] = False

    def _closes(self) -> bool:
        """Whether a chord that is due here is the last one."""
        if self._closing is None or self.closed or self.step < self._closing:
            return False
        return not self.lands or not self.targets or self.targets[-1] == self.step

    def _key(self) -> BoolArray:
        """(vocabulary,) all but the ONs of pitch classes that were not much heard of late; all if too few were."""
        since = self.step - KEY_BEATS * self.beat_steps
        count = np.bincount([_VALUE[on] % 12 for step, on in self._heard if step >= since], minlength=12)
        best = np.argsort(-count, kind="stable")[:KEY_CLASSES]
        best = best[count[best] > 0]
        foreign = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS) & ~np.isin(v.VALUE % 12, best)
        return ~foreign if len(best) >= MIN_PITCHES else np.ones(v.SIZE, dtype=bool)

    def _bass_plays(self) -> bool:
        """Whether the bass began a note in the last eight beats."""
        since = self.step - KEY_BEATS / 2 * self.beat_steps
        return any(step >= since and _FAMILY[on] == v.BASS for step, on in reversed(self._heard))

    def check(self) -> None:
        """Raise `AssertionError` if the piece could not end here (for tests)."""
        assert not self._since, "notes are still sounding"


def _parts(beat_steps: float, parts: int) -> BoolArray:
    """(steps,) Which whole steps are on one of so many parts of a beat, to half a step; for as long as any bar lasts,
    what the last may be longer (`next_bar`), and a TIMESHIFT or an untold chord behind it.
    """
    part = beat_steps / parts
    behind = max(v.MAX_SHIFT_STEPS, math.ceil(UNTOLD_QUARTERS * beat_steps))
    longest = math.ceil(v.MAX_BAR_HALF_QUARTERS / 2 * beat_steps) + Grammar.margin + 1 + behind
    place = np.arange(longest + 1) / part
    return np.asarray(np.abs(place - np.rint(place)) * part <= 0.5 + 1e-9)


def _only(ids: int | slice) -> BoolArray:
    """(vocabulary,) True for these ids alone."""
    allowed = np.zeros(v.SIZE, dtype=bool)
    allowed[ids] = True
    return allowed
