"""Makes a piece obey controls while it is composed, by biases on the model's logits; the grammar still decides.

    steering = Steering(curves, lead=v.STRINGS)         # times of the piece's own clock
    logits = steering.steer(logits, grammar)            # before each event
    steering.accept(event, grammar)                     # after it

- density: notes become more or less likely, by how many there were in the last seconds and how many were requested.
- intensity: time does not pass until as many notes sound as the loudness needs, and the last of these do not end;
  where rhythm or density is given, too, notes are kept from ending, so that there is no silence. `obey_intensity` then
  scales the velocities, which is exact as far as velocities reach.
- melody: one family leads. Time does not pass a note of the melody until the lead plays its pitch class; other families
  stay below, and the lead plays nothing else from middle C on.
- rhythm: notes begin on the sixteenths of the pattern, and time does not pass one without a note.
- key: notes outside the scale are unlikely, and notes lean away from another key that is heard (`key_feedback`).
- change: notes lean away from what has just sounded, or towards it (`contrast`).

Nothing here was learned: a model that has lanes for controls can follow them with more taste (docs/controls.md).
Conventions: steps of 8 ms (`vocabulary.STEP_S`); every bias is multiplied by the control's strength.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.contrast import Contrast
from emsync.control_curves import REST, SLOTS, Control, ControlCurves
from emsync.controls import FRAME_S, LEAD_FROM, PROFILES, frame_times, in_scale, intensity
from emsync.grammar import Grammar
from emsync.key_feedback import KeyFeedback
from emsync.repetition import lean_to_notes
from emsync.score import Score
from emsync.sounded import CLASS, PITCHED_ONS

FloatArray = npt.NDArray[np.floating]

#: Notes are counted over so many seconds; the bias is at most `DENSE`, reached when half a second's notes are lacking.
COUNTED_S: Final = 2.0
DENSE: Final = 6.0
#: With it, TIMESHIFTs of a beat or longer lose so much where notes are lacking, and gain it where there are too many.
FAR: Final = 4.0
#: What a missing decibel adds to notes, and at most.
PER_DB: Final = 0.15
LOUD: Final = 1.5
#: A note is taken to add so much, which is a velocity of 101; and no more notes than these are asked for.
NOTE_DB: Final = -4.0
MOST_SOUNDING: Final = 12.0
#: A note that began where the loudness differed by more is likelier to end.
MOVED_DB: Final = 2.5
#: What must not happen, and what must.
BARRED: Final = -14.0
WANTED: Final = 6.0
#: What a pitch outside the key loses; and what the tonic gains over the scale's rarest degree, the others by how well
#: they fit (`controls.MAJOR`, `controls.MINOR`), so that a key differs from others with nearly the same notes. With
#: `key_feedback` it is less: four pitch classes would make up most of the music.
FOREIGN: Final = -6.0
TONAL: Final = 1.6
TONAL_IF_HEARD: Final = 0.5
#: The lead plays in the octave from here on; other families stay below it.
LEAD_OCTAVE: Final = 72
#: Rounds of scaling velocities, since notes overlap and velocities end at 127.
ROUNDS: Final = 8

_ONS: Final = v.KIND == v.K_ON
_SHIFTS: Final = v.ids_of_kind(v.K_TIMESHIFT)
_SHIFT_STEPS: Final = v.VALUE[_SHIFTS]
_PITCHED_OFFS: Final = (v.KIND == v.K_OFF) & (v.FAMILY != v.DRUMS)


def scale_bias(key: int, strength: float = 1.0, tonal: float = TONAL) -> npt.NDArray[np.float32]:
    """(SIZE,) What is added to the logits of pitched notes in a key, 0 to 23: `FOREIGN` and `tonal` say how much."""
    fits = PROFILES[key] - PROFILES[key][in_scale(key)].mean()
    by_class = np.where(in_scale(key), tonal * fits / np.ptp(PROFILES[key][in_scale(key)]), FOREIGN)
    return np.where(PITCHED_ONS, strength * by_class[CLASS], 0.0).astype(np.float32)


class Steering:
    """The controls of one piece that is being composed.

    Args:
        curves: The controls, in the time of the piece's events.
        lead: The family that plays the melody.
        holds: Whether intensity keeps enough notes sounding (`Recipe.intensity_by`).
        hears_key: Whether the key that is heard so far counts (`Recipe.key_feedback`).

    """

    def __init__(
        self, curves: ControlCurves, lead: int = v.STRINGS, *, holds: bool = True, hears_key: bool = True
    ) -> None:
        self.curves, self._lead = curves, lead
        self._holds = holds and "intensity" in curves
        self._struck: deque[int] = deque()  # the steps of the notes of the last `COUNTED_S` seconds
        self._scales: dict[int, npt.NDArray[np.float32]] = {}
        self._melody = _Melody(curves["melody"], lead) if "melody" in curves else None
        self._rhythm = _Rhythm(curves["rhythm"]) if "rhythm" in curves else None
        self._contrast = Contrast(curves["change"]) if "change" in curves else None
        self._key = KeyFeedback(curves["key"]) if hears_key and "key" in curves else None

    def _now(self, name: str, time_s: float) -> float:
        return float(self.curves[name].at(time_s)) if name in self.curves else math.nan

    def gives_density(self, time_s: float) -> bool:
        """Whether a density is asked for at a time, so that no other limit is needed."""
        return not math.isnan(self._now("density", time_s))

    def gives_pitches(self, time_s: float) -> bool:
        """Whether a key or a melody is asked for at a time, so that the mood chooses none."""
        return not (math.isnan(self._now("key", time_s)) and math.isnan(self._now("melody", time_s)))

    def accept(self, event: int, grammar: Grammar) -> None:
        """Take the event that came; the grammar has taken it already."""
        if v.KIND[event] == v.K_ON:
            self._struck.append(grammar.step)
        if self._melody is not None:
            self._melody.accept(event, grammar)
        if self._rhythm is not None:
            self._rhythm.accept(event, grammar)
        if self._contrast is not None:
            self._contrast.accept(event, grammar)
        if self._key is not None:
            self._key.accept(event)

    def steer(self, logits: FloatArray, grammar: Grammar) -> FloatArray:
        """Logits (SIZE,) with what the controls add to them now; a copy."""
        out = np.array(logits, dtype=np.float32)
        time_s = grammar.step * v.STEP_S
        if grammar.closed or not grammar.bars:
            return out
        notes = self._notes_bias(time_s, grammar)
        if notes:
            lean_to_notes(out, notes, FAR / DENSE * notes, grammar.beat_steps)
        if self._holds:
            self._keep_sounding(out, time_s, grammar)
        key = self._now("key", time_s)
        if not math.isnan(key):
            strength, tonal = self.curves["key"].strength, TONAL if self._key is None else TONAL_IF_HEARD
            out += self._scales.setdefault(int(key), scale_bias(int(key), strength, tonal))
        if self._key is not None:
            self._key.steer(out, grammar)
        if self._contrast is not None:
            self._contrast.steer(out, grammar)
        if self._rhythm is not None:
            self._rhythm.steer(out, grammar)
        if self._melody is not None:
            self._melody.steer(out, grammar)
        return out

    def _notes_bias(self, time_s: float, grammar: Grammar) -> float:
        """What is added to the logits of notes, by density, or by intensity where no density is given."""
        asked = self._now("density", time_s)
        if not math.isnan(asked):
            since = grammar.step - COUNTED_S / v.STEP_S
            while self._struck and self._struck[0] <= since:
                self._struck.popleft()
            span_s = min(time_s, COUNTED_S) + 0.25  # the notes of this moment belong to the time that follows
            lacking = asked * span_s - len(self._struck)
            share = max(-1.0, min(1.0, lacking / (0.5 * asked + 0.5)))
            return DENSE * share * self.curves["density"].strength
        loud = self._now("intensity", time_s)
        if math.isnan(loud):
            return 0.0
        now = 10 * math.log10(max(len(grammar.sounding), 1) / 4.0)  # four notes of the usual velocity
        return max(-LOUD, min(LOUD, PER_DB * (loud - now))) * self.curves["intensity"].strength

    def _keep_sounding(self, out: FloatArray, time_s: float, grammar: Grammar) -> None:
        """Let as many pitched notes sound as the loudness of the beat to come needs; changes `out`.

        A note has one velocity. So notes that began where another loudness was asked for are likelier to end, and where
        too few sound, time does not pass.
        """
        beat_s = grammar.beat_steps * v.STEP_S
        asked = self.curves["intensity"].at(time_s + np.array([0.0, 0.5, 1.0]) * beat_s)
        if np.isnan(asked).all():
            return
        strength, busy = self.curves["intensity"].strength, self._counts_onsets(time_s)
        sounding = [on for on in grammar.sounding if v.FAMILY[on] != v.DRUMS]
        lacking = min(10 ** ((np.nanmax(asked) - NOTE_DB) / 10), MOST_SOUNDING) - len(sounding)
        if lacking > -1:  # without one of them there are too few, and between sixteenths one would have to end
            out[_PITCHED_OFFS] -= WANTED * strength * min(lacking + 1, 1.0)
            out[grammar.off_grid()] += BARRED * strength
        if lacking > 0:
            out[v.END] += BARRED * strength
            if busy and len(sounding) == 1:  # its end would be silence
                out[v.PARTNER[sounding[0]]] += BARRED * strength
            if not busy or not sounding:
                out[PITCHED_ONS] += WANTED * strength * min(lacking, 1.0)
            if not busy:
                out[_SHIFTS] += BARRED * strength * min(lacking, 1.0)
        since = grammar.state.since
        for on in sounding:
            begun = self._now("intensity", since.get(on, grammar.step) * v.STEP_S)
            moved_db = begun - asked[0] if busy else abs(begun - asked[0])  # fewer onsets: none is struck again louder
            if moved_db > MOVED_DB:
                out[v.PARTNER[on]] += 2 * WANTED * strength

    def _counts_onsets(self, time_s: float) -> bool:
        """Whether other controls say when notes begin at a time, or how many."""
        return not (math.isnan(self._now("density", time_s)) and math.isnan(self._now("rhythm", time_s)))


def on_grid(step: float, bar: int, sixteenth: float) -> int:
    """The step of the sixteenth of a bar that is nearest to a step."""
    return int(np.rint(bar + round((step - bar) / sixteenth) * sixteenth))


class _Rhythm:
    """Notes begin on the sixteenths of a pattern."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._last_slot = -1  # the sixteenth, counted from the bar, on which a note began last

    def _wants(self, slot: int, bar: int, sixteenth: float) -> bool | None:
        """Whether a note begins on a sixteenth, counted from the bar; None where nothing is asked."""
        beat_s = (bar + slot // SLOTS * SLOTS * sixteenth) * v.STEP_S
        pattern = float(self._control.at(beat_s))
        return None if math.isnan(pattern) else bool(int(pattern) >> (SLOTS - 1 - slot % SLOTS) & 1)

    def accept(self, event: int, grammar: Grammar) -> None:
        if v.KIND[event] == v.K_BAR:
            self._last_slot = -1
        elif v.KIND[event] == v.K_ON:
            bar = grammar.bars[-1][0]
            self._last_slot = round((grammar.step - bar) * SLOTS / grammar.beat_steps)

    def steer(self, out: FloatArray, grammar: Grammar) -> None:
        sixteenth, bar = grammar.beat_steps / SLOTS, grammar.bars[-1][0]
        place = (grammar.step - bar) / sixteenth
        slot = round(place)
        here = abs(place - slot) * sixteenth <= 1.0  # a triplet or the end of a note is between
        wanted = self._wants(slot, bar, sixteenth)
        strength = self._control.strength
        if wanted is not None and not (here and wanted):
            out[_ONS] += BARRED * strength
        if wanted and here and self._last_slot != slot:
            out[_SHIFTS] += BARRED * strength
            out[_ONS] += WANTED * strength
            return
        for later in range(math.floor(place + 1e-6) + 1, math.floor(place) + 4 * SLOTS):
            if self._wants(later, bar, sixteenth):
                reach = int(np.rint(bar + later * sixteenth)) - grammar.step
                if reach > 0:
                    out[_SHIFTS][_SHIFT_STEPS > reach] += BARRED * strength  # a view: changes `out`
                return


class _Melody:
    """One family plays the melody."""

    def __init__(self, control: Control, lead: int) -> None:
        self._strength = control.strength
        self._points = list(zip((control.times_s / v.STEP_S).tolist(), control.values.tolist(), strict=True))
        self._at = -1  # the number of the point whose time has come last
        self._struck = True  # whether its note has been played
        self._holds = -1  # the ON of the lead that sounds
        self._own = (v.KIND == v.K_ON) & (v.FAMILY == lead) & (v.VALUE >= LEAD_FROM)
        others = PITCHED_ONS & (v.FAMILY != lead)
        self._higher, self._rivals = others & (v.VALUE >= LEAD_OCTAVE), others & (v.VALUE >= LEAD_FROM)
        # The octave from `LEAD_OCTAVE` on is the lead's; the others are there if it has no room.
        away = np.maximum(np.maximum(LEAD_OCTAVE - v.VALUE, v.VALUE - LEAD_OCTAVE - 11), 0)
        self._wish = (WANTED - 2.0 * away).astype(np.float32)

    def _step(self, number: int, grammar: Grammar) -> int:
        """Where a point is on the grid of the music, in steps."""
        step = self._points[number][0]
        return on_grid(step, grammar.bars[-1][0], grammar.beat_steps / SLOTS) if grammar.on_grid else round(step)

    def accept(self, event: int, grammar: Grammar) -> None:
        if self._own[event]:
            self._holds, self._struck = event, True
        elif self._holds >= 0 and event == v.PARTNER[self._holds]:
            self._holds, self._struck = -1, False  # where it had to end early, it is struck again

    def steer(self, out: FloatArray, grammar: Grammar) -> None:
        strength, following = self._strength, self._at + 1
        while following < len(self._points) and self._step(following, grammar) <= grammar.step:
            self._at, self._struck, following = following, False, following + 1
        if following < len(self._points):  # time does not pass the next note
            reach = self._step(following, grammar) - grammar.step
            out[_SHIFTS][_SHIFT_STEPS > reach] += BARRED * strength  # a view: changes `out`
        asked = self._points[max(self._at, 0)][1]
        if math.isnan(asked):
            return
        rivals = self._rivals if asked == REST else self._higher
        out[rivals] += BARRED * strength
        for on in grammar.sounding:
            if rivals[on]:
                out[v.PARTNER[on]] += WANTED * strength
        if asked == REST or self._struck:
            out[self._own] += BARRED * strength
            if self._holds >= 0:
                out[v.PARTNER[self._holds]] += (2 * WANTED if asked == REST else BARRED) * strength
                if asked != REST and len(grammar.sounding) == 1:  # between sixteenths nothing but its end could come
                    out[grammar.off_grid()] += BARRED * strength
            return
        if self._holds >= 0:
            out[v.PARTNER[self._holds]] += 2 * WANTED * strength
        right = self._own & (asked == CLASS)
        out[self._own & ~right] += BARRED * strength
        out[right] += self._wish[right] * strength
        out[_SHIFTS] += BARRED * strength


# ---- velocities -----------------------------------------------------------------------------------------------------


def obey_intensity(score: Score, control: Control | None) -> Score:
    """The score with velocities scaled, so that its intensity follows a control in the score's time.

    Notes that begin together are scaled alike, so that accents stay, up to 127. Where the control is not given, or its
    strength is 0, velocities stay. `emsync.controls.intensity` says what intensity is.
    """
    if control is None or not len(score) or not control.strength:
        return score
    drums = np.array([i.is_drum for i in score.instruments], dtype=bool)[score.instrument]
    return replace(score, velocity=scaled(score.start_s, score.end_s, score.velocity, drums, score.duration_s, control))


def scaled(
    start_s: npt.NDArray[np.float64], end_s: npt.NDArray[np.float64], velocity: npt.NDArray[np.integer],
    drums: npt.NDArray[np.bool_], duration_s: float, control: Control, mine: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:  # fmt: skip
    """Velocities (N,) of notes that obey a control of intensity (see `obey_intensity`).

    mine: (N,) which notes may change, to half of their velocity at least, so that none is lost under the others; None:
    all, as far as need be.
    """

    def measured(velocity: npt.NDArray[np.number]) -> FloatArray:
        return intensity(start_s, end_s, velocity, drums, duration_s)

    loud = velocity.astype(np.float64)
    least = np.ones(len(loud)) if mine is None else np.where(mine, loud / 2, loud)
    most = np.full(len(loud), 127.0) if mine is None else np.where(mine, 127.0, loud)
    begun = measured(loud)
    asked = control.at(frame_times(duration_s))
    given = ~np.isnan(asked)
    asked = np.where(given, begun + control.strength * (asked - begun), begun)
    # A note's share of the frames in which it sounds; short notes have at least the one of their beginning.
    first = np.minimum((start_s / FRAME_S).astype(np.int64), len(asked) - 1)
    stop = np.clip(np.ceil(end_s / FRAME_S - 1e-9).astype(np.int64), first + 1, len(asked))
    for _ in range(ROUNDS):
        total = np.concatenate([[0.0], np.cumsum(np.where(given, asked - measured(loud), 0.0))])
        mean_db = (total[stop] - total[first]) / (stop - first)
        loud = np.clip(loud * 10 ** (mean_db / 40), least, most)
    return np.clip(np.rint(loud), 1, 127).astype(np.int64)
