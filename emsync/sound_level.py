"""The integrated loudness of sound of any length, in LUFS (ITU-R BS.1770-4), from one block after another.

    meter = LoudnessMeter(44100)
    for block in blocks:                    # (n, 2) float
        meter.add(block)
    meter.integrated_lufs()

The K-weighting filters are pyloudnorm's, and so is the gating: the result is that of `pyloudnorm.Meter` on the whole
sound. Of the sound only the energy of each 100 ms is kept, 0.3 MB an hour.
"""

from __future__ import annotations

import math
from array import array
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Gating blocks are 400 ms long and overlap by three quarters (BS.1770-4, annex 1).
_HOPS_A_BLOCK: Final = 4
_HOPS_A_SECOND: Final = 10
_ABSOLUTE_LUFS: Final = -70.0
_RELATIVE_LU: Final = -10.0
_OFFSET: Final = -0.691


class LoudnessMeter:
    """Measures stereo sound; `rate_hz` must be a multiple of 10."""

    def __init__(self, rate_hz: int) -> None:
        import pyloudnorm

        self._hop = rate_hz // _HOPS_A_SECOND
        filters = pyloudnorm.Meter(rate_hz)._filters.values()
        self._filters: list[list[Any]] = [[f.passband_gain * f.b, f.a, np.zeros((2, 2))] for f in filters]
        self._energies = array("d")  # of each hop, both channels together
        self._energy, self._filled = 0.0, 0  # of the hop that is not full yet

    def add(self, block: npt.NDArray[Any]) -> None:
        """Take the next block, (n, 2); 1 is full scale."""
        from scipy.signal import lfilter

        if not len(block):
            return
        weighted = np.asarray(block, dtype=np.float64)
        for each in self._filters:
            b, a, state = each
            weighted, each[2] = lfilter(b, a, weighted, axis=0, zi=state)
        energy = np.square(weighted).sum(axis=1)
        first = min(self._hop - self._filled, len(energy))
        edges = [0, *range(first, len(energy), self._hop)] if first < len(energy) else [0]
        for begin, end in zip(edges, [*edges[1:], len(energy)], strict=True):
            self._energy += float(energy[begin:end].sum())
            self._filled += end - begin
            if self._filled == self._hop:
                self._energies.append(self._energy)
                self._energy, self._filled = 0.0, 0

    def integrated_lufs(self) -> float:
        """The loudness of all blocks so far; minus infinity for silence, NaN for less than 400 ms."""
        hops = np.array([*self._energies, self._energy])
        n_hops = len(self._energies) + self._filled / self._hop
        if n_hops < _HOPS_A_BLOCK:
            return math.nan
        # The last gating block is taken if half of its last hop is there, as pyloudnorm does.
        n_blocks = round(n_hops - _HOPS_A_BLOCK) + 1
        power = np.convolve(hops, np.ones(_HOPS_A_BLOCK), "valid")[:n_blocks] / (_HOPS_A_BLOCK * self._hop)
        loud = power[_lufs(power) >= _ABSOLUTE_LUFS]
        if not len(loud):
            return -math.inf
        gate = float(_lufs(loud.mean())) + _RELATIVE_LU
        return float(_lufs(power[(_lufs(power) > gate) & (_lufs(power) > _ABSOLUTE_LUFS)].mean()))


def _lufs(power: npt.ArrayLike) -> Floats:
    """Mean squares summed over the channels, any shape, as LUFS."""
    with np.errstate(divide="ignore"):
        return np.asarray(_OFFSET + 10 * np.log10(power))
