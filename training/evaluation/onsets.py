"""Onsets of recorded sound, as librosa's `onset_detect` finds them, without librosa (208 MB with numba).

The definition is that of librosa 0.11 at its defaults: 128 mel bands (Slaney's scale and normalisation) of the power
spectrum, in Hann windows of 2048 samples every 512, at 22,050 Hz; in dB, at most 80 below the loudest; the rises from
one frame to the next, averaged over the bands; and the local maxima that stand out from their surroundings. The test
compares them with librosa's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

RATE_HZ: Final = 22_050
_WINDOW, _HOP, _BANDS = 2048, 512, 128
_TOP_DB: Final = 80.0
#: Peak picking, in frames: how far the maximum and the mean reach back and ahead, how far a peak is above the mean,
#: and how many frames it silences.
_MAX_BACK, _MAX_AHEAD, _MEAN_BACK, _MEAN_AHEAD, _DELTA, _WAIT = 1, 1, 4, 5, 0.07, 1
_BLOCK: Final = 2048  # frames transformed at a time


def onsets(sound: npt.NDArray[np.float32]) -> Floats:
    """Times of onsets, in seconds, increasing.

    sound: (N,) mono samples at `RATE_HZ`, 1 being full scale.
    """
    if not len(sound) or not np.any(sound):
        return np.empty(0)
    strength = onset_strength(sound)
    strength = strength - strength.min()
    strength /= strength.max() + np.finfo(np.float64).tiny
    return _peaks(strength) * _HOP / RATE_HZ if strength.any() else np.empty(0)


def onset_strength(sound: npt.NDArray[np.float32]) -> Floats:
    """(1 + N // 512,) How much louder each frame is than the one before, in dB averaged over mel bands."""
    levels = _mel_db(sound)
    rises = np.maximum(0.0, np.diff(levels, axis=0)).mean(axis=1)
    # Shifted so that an onset stands at the middle of its window.
    return np.concatenate([np.zeros(1 + _WINDOW // (2 * _HOP)), rises])[: len(levels)]


def _mel_db(sound: npt.NDArray[np.float32]) -> Floats:
    """(frames, 128) Mel spectrum in dB, at most 80 below its maximum."""
    padded = np.pad(np.asarray(sound, dtype=np.float64), _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]  # (frames, window), a view
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    bands = mel_bands().T
    power = np.concatenate(
        [
            np.square(np.abs(np.fft.rfft(frames[first : first + _BLOCK] * hann))) @ bands
            for first in range(0, len(frames), _BLOCK)
        ]
    )
    levels: Floats = 10 * np.log10(np.maximum(1e-10, power))
    return np.maximum(levels, levels.max() - _TOP_DB)


def mel_bands() -> Floats:
    """(128, 1025) Triangular bands on Slaney's mel scale from 0 Hz to half the rate, each of the same area."""
    edges_hz = _hz(np.linspace(0.0, _mel(RATE_HZ / 2), _BANDS + 2))
    bins_hz = np.arange(1 + _WINDOW // 2) * RATE_HZ / _WINDOW
    ramps = edges_hz[:, None] - bins_hz
    widths = np.diff(edges_hz)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    bands: Floats = np.maximum(0.0, np.minimum(rising, falling))
    return bands * (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]


#: Slaney's scale: linear up to 1 kHz, which is 15 mel, then 27 mel for a factor of 6.4.
_LINEAR_HZ, _KNEE_HZ, _KNEE_MEL, _LOG_STEP = 200 / 3, 1000.0, 15.0, np.log(6.4) / 27


def _mel(frequency_hz: float) -> float:
    if frequency_hz < _KNEE_HZ:
        return frequency_hz / _LINEAR_HZ
    return float(_KNEE_MEL + np.log(frequency_hz / _KNEE_HZ) / _LOG_STEP)


def _hz(mels: Floats) -> Floats:
    above = _KNEE_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _KNEE_MEL) - _KNEE_MEL))
    return np.where(mels < _KNEE_MEL, _LINEAR_HZ * mels, above)


def _peaks(x: Floats) -> npt.NDArray[np.int64]:
    """Indices of peaks, from the first on, each silencing the next frames."""
    found = []
    at = 0
    while at < len(x):
        back = 0 if at == 0 else _MAX_BACK
        is_peak = x[at] == x[max(0, at - back) : at + _MAX_AHEAD].max()
        if is_peak and x[at] >= x[max(0, at - _MEAN_BACK) : at + _MEAN_AHEAD].mean() + _DELTA:
            found.append(at)
            at += _WAIT
        at += 1
    return np.array(found, dtype=np.int64)
