"""Limits of taste: static harmony, repeated notes, too few pitches, more notes than anyone plays.

docs/decisions/0011-sampling.md says how often real songs repeat, and what the biases change.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import likeness
from emsync import vocabulary as v
from emsync.recipe import Recipe

#: Notes of the families that `Recipe.describe` names are raised by at most this much, in place of the others.
MOST_RAISED: Final = 6.0
#: The harmony is static while at least this share of a bar's pitches, family by family, was in the bar before.
STILL_SHARE: Final = 0.9
#: How many bars in a row it may be static before `Recipe.stale_bias` counts, and how many more bars count.
FRESH_BARS: Final = 2
STALEST_BARS: Final = 8
#: A note is repeated if it is struck again within this many beats.
REPEAT_BEATS: Final = 0.55
#: How often in a row it may be repeated, by family, before `Recipe.repeat_bias` counts. Three of four real songs never
#: repeat a note more often within 40 s. Drums may repeat as they like.
FREE_REPEATS: Final = {v.PIANO: 6, v.GUITAR: 9, v.BASS: 5, v.STRINGS: 5}
#: Notes a second that 95 of 100 stretches of so many seconds have at most: by arousal, and whatever the arousal.
DENSITY_S: Final = 4.0
MOST_NOTES_PER_S: Final = (
    (-0.9, -0.7, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.7, 0.9),
    (15.5, 20.2, 24.0, 27.8, 31.2, 34.8, 39.0, 45.0, 50.2, 66.0),
)
MOST_WITHOUT_AROUSAL: Final = 44.0
#: Notes a second that 90 of 100 stretches have at least, by the same arousals, and whatever the arousal.
LEAST_NOTES_PER_S: Final = (1.5, 4.5, 6.0, 7.8, 8.5, 9.8, 12.2, 15.0, 18.8, 21.5)
LEAST_WITHOUT_AROUSAL: Final = 5.8
#: What notes gain, and TIMESHIFTs of a beat or longer lose, where all of the least notes are lacking.
SPARSE: Final = 4.0
#: So many seconds a piece may take to begin.
BEGUN_S: Final = 1.0
#: From this share of the most on, notes become less likely, by so much in their logits for each whole share; and from
#: `FULL` on, none begins.
ROOMY: Final = 0.7
CROWDED: Final = 10.0
FULL: Final = 1.2
#: For so many seconds no pitched note need sound. In real songs none sounds for longer about once in five minutes.
ALONE_S: Final = 1.0
#: Music is monotonous with fewer pitch classes than these within so many seconds: 1.7 % of real songs is.
VARIED: Final = 3
VARIED_S: Final = 4.0
#: So is what one or two of them make up: 2 % of real songs has a lower perplexity. And how much of it is hardly any.
EVEN: Final = 2.8
HARDLY: Final = 0.1
#: For so many steps each pitch class counts as heard before a piece begins.
UNHEARD: Final = 12.0
_ONS: Final = v.KIND == v.K_ON
_SHIFTS: Final = v.ids_of_kind(v.K_TIMESHIFT)
_PITCHED_ONS: Final = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)


class StaleHarmony:
    """A bias on the pitches of the last bar that grows while the harmony is static.

    bias: (vocabulary,) to add to the logits. It is `Recipe.stale_bias` times the square of how many bars too long the
    harmony has been static.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._strength = recipe.stale_bias
        self._struck = np.zeros(v.SIZE, dtype=bool)  # the ONs of this bar
        self._struck_before = np.zeros(v.SIZE, dtype=bool)  # the pitched ONs of the last bar that had any
        self._still_bars = 0
        self.bias = np.zeros(v.SIZE, dtype=np.float32)

    def strike(self, on: int) -> None:
        """A note begins."""
        self._struck[on] = True

    def begin_bar(self) -> None:
        """A bar begins: compare the one that ends here with the one before it."""
        struck = self._struck & _PITCHED_ONS
        if struck.any():
            old = np.count_nonzero(struck & self._struck_before) / np.count_nonzero(struck)
            self._still_bars = self._still_bars + 1 if old >= STILL_SHARE else 0
            self._struck_before = struck
            beyond = min(max(self._still_bars - FRESH_BARS, 0), STALEST_BARS)
            self.bias = (self._strength * beyond**2 * struck).astype(np.float32)
        self._struck = np.zeros(v.SIZE, dtype=bool)


class RepeatedNotes:
    """Notes that are struck again and again, and how much too often. Times are in steps of 8 ms."""

    def __init__(self) -> None:
        self._runs: dict[int, tuple[float, int]] = {}  # by ON id: when it was struck last, and how often in a row

    def strike(self, on: int, step: int, beat_steps: float) -> None:
        """A note begins at `step`, in a tempo with `beat_steps` for a quarter note."""
        if int(v.FAMILY[on]) not in FREE_REPEATS:
            return
        last, times = self._runs.get(on, (-math.inf, 0))
        self._runs[on] = step, times + 1 if step - last <= REPEAT_BEATS * beat_steps else 0

    def excess(self, step: int, beat_steps: float) -> list[tuple[int, int]]:
        """(ON id, repetitions beyond `FREE_REPEATS`) for every note whose repetition would be one too many."""
        since = step - REPEAT_BEATS * beat_steps
        self._runs = {on: run for on, run in self._runs.items() if run[0] >= since}
        beyond = [(on, times - FREE_REPEATS[int(v.FAMILY[on])]) for on, (_, times) in self._runs.items()]
        return [(on, times) for on, times in beyond if times > 0]


class Alone:
    """A bias on pitched notes that grows while none sounds: drums that play alone for seconds leave a hole."""

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._last = 0  # the latest step at which a pitched note sounded

    def bias(self, step: int, *, sounds: bool) -> float:
        """What to add to the logits of pitched notes at `step`; `sounds` says whether one sounds now.

        It is 0 for `ALONE_S` seconds, and then grows by the strength with every second.
        """
        if sounds:
            self._last = step
        return self._strength * max((step - self._last) * v.STEP_S - ALONE_S, 0.0)


class Monotony:
    """A bias on other pitch classes while only one or two make up the music: a calm piece may stay on a single note."""

    def __init__(self, strength: float) -> None:
        self._strength = strength
        self._last = np.zeros(12)  # when each pitch class sounded last, in steps
        self._heard = np.full(12, UNHEARD)  # for how many steps, the last ones weighing most
        self._now, self._monotonous_s = 0, 0.0

    def bias(self, step: int, sounding: Sequence[int]) -> npt.NDArray[np.float32] | None:
        """(vocabulary,) what to add to the logits at `step`, up to which the ONs `sounding` sounded; None for nothing.

        It grows by the strength with every monotonous second, and falls as fast after that. A moment is monotonous if
        fewer than `VARIED` pitch classes have sounded within the last `VARIED_S`, or if one or two of them outweigh
        the others: the perplexity of how long each has sounded, t seconds ago weighing exp(-t / `VARIED_S`), is below
        `EVEN`. The bias is for notes of the pitch classes that have not sounded, or hardly.
        """
        if not self._strength:
            return None
        past, self._now = step - self._now, step
        if past > v.MAX_SHIFT_STEPS:  # a part that is recomposed begins: what came before is not known
            self._last[:], self._heard[:] = step, UNHEARD
        classes = [int(v.VALUE[on]) % 12 for on in sounding if v.FAMILY[on] != v.DRUMS]
        self._last[classes] = step
        heard = self._last >= step - VARIED_S / v.STEP_S
        if 0 < past <= v.MAX_SHIFT_STEPS:
            self._heard *= math.exp(-past * v.STEP_S / VARIED_S)
            self._heard[classes] += past
        shares = self._heard / self._heard.sum()
        if past:
            varied = np.count_nonzero(heard) >= VARIED and math.exp(-float(shares @ np.log(shares + 1e-12))) >= EVEN
            self._monotonous_s = max(self._monotonous_s + (-past if varied else past) * v.STEP_S, 0.0)
        if not self._monotonous_s:
            return None
        other = (~heard | (shares < HARDLY))[v.VALUE % 12]
        return (self._strength * self._monotonous_s * (_PITCHED_ONS & other)).astype(np.float32)


class Density:
    """How many notes begin, and whether that is as many as real songs have.

    `MOST_NOTES_PER_S` says how many notes a second 95 of 100 stretches of `DENSITY_S` seconds have at most, by their
    arousal, in 3,000 of the training songs.
    """

    def __init__(self, limit: float, floor: float = 0.0) -> None:
        self._limit, self._floor = limit, floor
        self._struck: deque[int] = deque()  # the steps of the notes of the last `DENSITY_S` seconds

    def strike(self, step: int) -> None:
        """A note begins at `step`."""
        self._struck.append(step)

    def fill(self, step: int, arousal: float, lowest: float = 0.0) -> float:
        """The notes of the seconds before `step`, as a share of the most.

        arousal: in [-1, 1], NaN if not given. lowest: the most is at least so many notes a second.
        """
        if not self._limit:
            return 0.0
        self._forget(step)
        most = MOST_WITHOUT_AROUSAL if math.isnan(arousal) else float(np.interp(arousal, *MOST_NOTES_PER_S))
        return len(self._struck) / (self._limit * max(most, lowest) * DENSITY_S)

    def lack(self, step: int, arousal: float, highest: float = math.inf) -> float:
        """What share of the least notes of the seconds before `step` is lacking, 0 to 1.

        arousal: as of `fill`. highest: the least is at most so many notes a second.
        """
        span_s = min(step * v.STEP_S, DENSITY_S)
        if not self._floor or span_s < BEGUN_S:
            return 0.0
        self._forget(step)
        least = float(np.interp(arousal, MOST_NOTES_PER_S[0], LEAST_NOTES_PER_S))
        least = min(self._floor * (LEAST_WITHOUT_AROUSAL if math.isnan(arousal) else least), highest)
        return max(1 - len(self._struck) / (least * span_s), 0.0)

    def _forget(self, step: int) -> None:
        since = step - DENSITY_S / v.STEP_S
        while self._struck and self._struck[0] <= since:
            self._struck.popleft()

    @staticmethod
    def bias(fill: float) -> float:
        """What to add to the logits of notes: less and less the fuller it is, so that no hole follows a burst."""
        return -CROWDED * max(fill - ROOMY, 0.0)


def add_biases(
    logits: npt.NDArray[np.float32], off_grid: npt.NDArray[np.intp], harmony: StaleHarmony,
    repeated: list[tuple[int, int]], recipe: Recipe, alone: float = 0.0,
    crowded: float = 0.0, other: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Logits (vocabulary,) with the biases of the recipe added; a copy, unless there is nothing to add.

    off_grid: ids of the TIMESHIFTs that leave the sixteenths, for `Recipe.loose_bias`.
    repeated: as `RepeatedNotes.excess` returns it.
    alone: as `Alone.bias` returns it.
    crowded: as `Density.bias` returns it.
    other: as `Monotony.bias` returns it.
    """
    if not (len(off_grid) or repeated or recipe.stale_bias or alone or crowded or other is not None):
        return logits
    logits = logits + harmony.bias
    if other is not None:
        logits += other
    if crowded:
        logits[_ONS] += crowded
    if alone:
        logits[_PITCHED_ONS] += alone
    logits[off_grid] += recipe.loose_bias
    for on, times in repeated:
        logits[on] += recipe.repeat_bias * times
    return logits


def fuller(logits: npt.NDArray[np.float32], lack: float, beat_steps: float) -> npt.NDArray[np.float32]:
    """Logits (vocabulary,) with which more notes begin, by what `Density.lack` returns; a copy, unless it is 0.

    beat_steps: as of `lean_to_notes`.
    """
    return paced(logits, SPARSE * lack, beat_steps)


def paced(logits: npt.NDArray[np.float32], pace: float, beat_steps: float) -> npt.NDArray[np.float32]:
    """Logits (vocabulary,) with `pace` more for notes, and less for TIMESHIFTs; a copy, unless it is 0.

    pace: as `Arrangement.pace` returns it. beat_steps: as of `lean_to_notes`.
    """
    if not pace:
        return logits
    logits = logits.copy()
    lean_to_notes(logits, pace, pace, beat_steps)
    return logits


def lean_to_notes(logits: npt.NDArray[np.float32], notes: float, waiting: float, beat_steps: float) -> None:
    """Add `notes` to the logits (vocabulary,) of all notes, and take `waiting` from TIMESHIFTs of a beat or longer.

    beat_steps: a quarter note in steps. Shorter TIMESHIFTs lose in proportion. Changes `logits`.
    """
    logits[_ONS] += notes
    logits[_SHIFTS] -= waiting * np.minimum(v.VALUE[_SHIFTS] / beat_steps, 1.0)


def family_biases(recipe: Recipe) -> npt.NDArray[np.float32] | None:
    """(vocabulary,) what is added to the logits of notes, by what a recipe says of families, if anything."""
    biases = likeness.family_biases(recipe.described, recipe.like)
    if not biases:
        return None
    return of_families(np.array([biases.get(name, 0.0) for name in v.FAMILIES], dtype=np.float32))


def of_families(biases: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(vocabulary,) for each note, what is given for its family (families,); 0 for other events."""
    return np.where(_ONS, biases[np.maximum(v.FAMILY, 0)], np.float32(0.0))


def towards_families(
    logits: npt.NDArray[np.float32], biases: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Logits with the biases of `family_biases`, notes as a whole as likely as before: other families, as many notes.

    All three are (vocabulary,). Notes are raised by `MOST_RAISED` at most, so that a family that was left out stays out
    where no other may play.
    """
    notes = allowed & (v.KIND == v.K_ON)
    biased = logits + biases
    if notes.any():
        before, after = (float(np.logaddexp.reduce(x[notes].astype(np.float64))) for x in (logits, biased))
        biased = np.where(v.KIND == v.K_ON, biased + np.float32(min(before - after, MOST_RAISED)), biased)
    return biased.astype(np.float32)
