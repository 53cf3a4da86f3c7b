"""How far music goes down under a film's own sound, and a limiter for the sum of both.

Sound is stereo at 48 kHz, (n, 2) float32, in blocks that follow one another; 1 is full scale.

Ducking, in steps of 10 ms:
1. Is there speech? With a voice model, where its probability is at least 0.5 (`emsync.voice`). Without one, where the
   level of the film's sound, 10 log10(mean of x^2 over the step and both channels) in dB of full scale, is above
   `threshold_db`.
2. Speech goes on for `HOLD_S` after the last step with speech, so that music does not rise between words.
3. The reduction r, in dB, moves towards `amount_db` with speech and towards 0 without:
   r += (target - r) * (1 - exp(-0.01 / T)), with T = `attack_s` when it grows and T = `release_s` when it falls.
   So after one T it is 63 % of the way, after three 95 %.
4. The music is multiplied by 10^(-r/20), r being interpolated linearly between steps.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.ducking import Ducking
from emsync.voice import HOP as VOICE_HOP
from emsync.voice import SPEECH, VoiceDetector, find_model

Frames = npt.NDArray[np.float32]

RATE_HZ: Final = 48_000
STEP: Final = RATE_HZ // 100
#: Blocks have this many samples: whole steps, and whole chunks of a voice model.
BLOCK: Final = 5 * VOICE_HOP
HOLD_S: Final = 0.2
#: The sum of film and music stays below this: an encoder may overshoot a little.
CEILING_DB: Final = -1.0
_LIMIT_STEP: Final = RATE_HZ // 1000
_LOOKAHEAD: Final = 5
_LIMIT_RELEASE_S: Final = 0.1


def open_ducker(ducking: Ducking) -> Ducker:
    """What follows a film's sound. Raises `InputError` for a voice model that cannot be used."""
    path = find_model() if ducking.voice == "auto" else None if ducking.voice == "level" else ducking.voice
    return Ducker(ducking, None if path is None else VoiceDetector(path))


class Ducker:
    """Follows a film's sound, and says by how much to multiply the music."""

    def __init__(self, ducking: Ducking, voice: VoiceDetector | None) -> None:
        self._ducking = ducking
        self._voice = voice
        self._reduction_db = 0.0
        self._held = 0  # steps for which speech goes on
        self.steps = self.speech_steps = 0
        self.has_sound = True

    @property
    def detector(self) -> str:
        """What finds speech, in words."""
        return "a voice model" if self._voice else f"a level above {self._ducking.threshold_db:g} dB"

    def _speech(self, film: Frames) -> npt.NDArray[np.bool_]:
        """Whether there is speech in each step of a block, (n / STEP,)."""
        if self._voice is not None:
            chunks = self._voice.probabilities(film) >= SPEECH
            middles = (np.arange(len(film) // STEP) * STEP + STEP // 2) // VOICE_HOP
            return np.asarray(chunks[middles])
        power = np.square(film.astype(np.float64)).reshape(-1, 2 * STEP).mean(axis=1)
        return np.asarray(power > 10 ** (self._ducking.threshold_db / 10))

    def gains(self, film: Frames) -> Frames:
        """What to multiply the music by at each sample of the next block, (n, 1); n is a multiple of `BLOCK`."""
        fall, rise = (-math.expm1(-STEP / RATE_HZ / t) for t in (self._ducking.attack_s, self._ducking.release_s))
        speech = self._speech(film)
        edges = np.empty(len(speech) + 1)
        edges[0] = self._reduction_db
        for i, now in enumerate(speech.tolist()):
            self._held = round(HOLD_S * RATE_HZ / STEP) if now else max(self._held - 1, 0)
            target = self._ducking.amount_db if now or self._held else 0.0
            edges[i + 1] = edges[i] + (target - edges[i]) * (fall if target > edges[i] else rise)
        self._reduction_db = float(edges[-1])
        self.steps += len(speech)
        self.speech_steps += int(speech.sum())
        between = np.interp(np.arange(len(film)) / STEP, np.arange(len(edges)), edges)
        return np.asarray(10 ** (-between / 20), dtype=np.float32)[:, None]


class Limiter:
    """Keeps sound below `CEILING_DB`, looking 5 ms ahead so that its gain moves without a click.

    In steps of 1 ms: the gain that a step needs is the ceiling over its peak, at most 1. Its minimum over the next 5
    steps, averaged over the last 5, is never more than what the step itself needs. It rises back with a time constant
    of 0.1 s. Within a step it is interpolated linearly, below the step's own gain.
    """

    def __init__(self) -> None:
        self._waiting = np.zeros((0, 2), dtype=np.float32)
        self._needs = np.ones(_LOOKAHEAD)  # of the steps before the waiting ones
        self._gain = self._edge = 1.0

    def add(self, block: Frames) -> Frames:
        """Take the next block, (n, 2), n a multiple of 48, and give what is ready: it comes 6 ms late."""
        sound = np.concatenate([self._waiting, block])
        ready = len(sound) // _LIMIT_STEP - _LOOKAHEAD - 1
        if ready <= 0:
            self._waiting = sound
            return sound[:0]
        self._waiting = sound[ready * _LIMIT_STEP :]
        return self._limited(sound, ready)

    def flush(self) -> Frames:
        """The rest."""
        rest = len(self._waiting)
        return self.add(np.zeros((_LIMIT_STEP * (_LOOKAHEAD + 1), 2), dtype=np.float32))[:rest]

    def _limited(self, sound: Frames, ready: int) -> Frames:
        """The first `ready` steps of sound, which goes on for `_LOOKAHEAD` + 1 more."""
        peaks = np.abs(sound).reshape(-1, 2 * _LIMIT_STEP).max(axis=1).astype(np.float64)
        needs = np.minimum(1.0, 10 ** (CEILING_DB / 20) / np.maximum(peaks, 1e-9))
        # (ready + 1 + 2 * _LOOKAHEAD,): the last ones before, the ready ones, and those ahead.
        known = np.concatenate([self._needs, needs])
        windows = np.lib.stride_tricks.sliding_window_view(known, _LOOKAHEAD + 1).min(axis=1)
        smooth = np.lib.stride_tricks.sliding_window_view(windows, _LOOKAHEAD + 1).mean(axis=1)
        self._needs = known[ready : ready + _LOOKAHEAD]
        rise = -math.expm1(-0.001 / _LIMIT_RELEASE_S)
        gains = np.empty(ready + 1)
        for i, most in enumerate(smooth[: ready + 1].tolist()):
            gains[i] = self._gain = min(most, self._gain + (1.0 - self._gain) * rise)
            if i == ready - 1:
                last = self._gain
        self._gain = last
        edges = np.concatenate([[min(self._edge, gains[0])], np.minimum(gains[:-1], gains[1:])])
        self._edge = float(edges[-1])
        at = np.arange(ready * _LIMIT_STEP) / _LIMIT_STEP
        gain = np.interp(at, np.arange(ready + 1), edges).astype(np.float32)
        return np.asarray(sound[: ready * _LIMIT_STEP] * gain[:, None])
