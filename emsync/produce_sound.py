"""Sound of any length on its way to a file: raw samples on disk, a WAV file, rendered hits, onsets at cuts.

Conventions: blocks are (n, 2) float32; nothing here holds a whole piece in memory.
"""

from __future__ import annotations

import math
import wave
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync.errors import InputError
from emsync.joins import Frames
from emsync.midi_mend import playable
from emsync.score import Score
from emsync.synthesizer import GRAIN, Synthesizer
from emsync.training.evaluation.onsets import RATE_HZ, onsets

#: An onset this near to a cut is on it: the tolerance of MIREX's onset task, 50 ms.
ON_CUT_S: Final = 0.05
#: Notes that begin this near to a chord's onset belong to it.
_TOGETHER_S: Final = 0.03
_BLOCK: Final = GRAIN * 512
#: Onsets are found in blocks of this length; each is begun earlier, so that none is lost where two meet.
_STRETCH_S, _LEAD_S = 30.0, 2.0
_FRAME_BYTES: Final = 8


class RawSound:
    """Samples in a file, (n, 2) float32, written once from beginning to end and then read as often as needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_frames = 0
        self.peak = 0.0

    def fill(self, blocks: Iterable[Frames]) -> RawSound:
        """Write blocks (n, 1) or (n, 2)."""
        with self.path.open("wb") as file:
            for block in blocks:
                both = np.ascontiguousarray(np.broadcast_to(block, (len(block), 2)), dtype=np.float32)
                file.write(both.tobytes())
                self.n_frames += len(both)
                self.peak = max(self.peak, float(np.abs(both).max(initial=0.0)))
        return self

    def part(self, first: int, n: int) -> Frames:
        """`n` frames from `first` on, (n, 2); silence past the end."""
        with self.path.open("rb") as file:
            file.seek(first * _FRAME_BYTES)
            found = np.frombuffer(file.read(n * _FRAME_BYTES), dtype=np.float32).reshape(-1, 2)
        return np.pad(found, ((0, n - len(found)), (0, 0)))

    def blocks(self) -> Iterator[Frames]:
        """All frames in order."""
        for first in range(0, self.n_frames, _BLOCK):
            yield self.part(first, min(_BLOCK, self.n_frames - first))


def rendered(score: Score, bank: Path, rate_hz: int, n_frames: int) -> Iterator[Frames]:
    """A score played by FluidSynth, `n_frames` in all, at any rate from 8 to 96 kHz."""
    if not 8000 <= rate_hz <= 96_000:
        raise InputError(
            f"FluidSynth renders 8 to 96 kHz, and this model's sound has {rate_hz} Hz; choose another model"
        )
    synth = Synthesizer(bank, rate_hz)
    try:
        synth.play(playable(midi.to_bytes(score), name="the score").ports)
        for first in range(0, n_frames, _BLOCK):
            yield synth.frames(min(_BLOCK, n_frames - first))
    finally:
        synth.delete()


def hits_of(score: Score, chords_s: npt.ArrayLike) -> Score:
    """Only the notes that begin with one of the chords at `chords_s` (C,), drums included."""
    times_s = np.asarray(chords_s, dtype=np.float64)
    if not len(times_s):
        return score.select(np.zeros(len(score), dtype=bool))
    return score.select((np.abs(score.start_s[:, None] - times_s[None, :]) <= _TOGETHER_S).any(axis=1))


def write_wav(path: Path, blocks: Iterable[Frames], rate_hz: int) -> None:
    """Write blocks (n, 2) as 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        for block in blocks:
            whole = np.clip(np.rint(block.astype(np.float64) * 32768), -32768, 32767).astype("<i2")
            file.writeframes(whole.tobytes())


@dataclass(frozen=True)
class OnsetHit:
    """A cut, and the onset of a recording nearest to it, in seconds; None if there is none at all."""

    cut_s: float
    onset_s: float | None

    @property
    def on_cut(self) -> bool:
        """Whether the onset is within `ON_CUT_S` of the cut."""
        return self.onset_s is not None and abs(self.onset_s - self.cut_s) <= ON_CUT_S


@dataclass(frozen=True)
class OnsetReport:
    """How the onsets of a recording meet the cuts, and how many cuts they would meet by chance.

    `by_chance` is the share of the recording that is within `ON_CUT_S` of an onset: what cuts at random places meet.
    """

    hits: tuple[OnsetHit, ...]
    n_onsets: int
    by_chance: float

    @property
    def n_on_cut(self) -> int:
        """How many cuts have an onset."""
        return sum(hit.on_cut for hit in self.hits)


def onset_report(sound: Path, cuts_s: npt.ArrayLike, duration_s: float) -> OnsetReport:
    """Find the onsets of a sound file and compare them with the cuts (C,)."""
    found = np.array(sorted(_onsets(sound)), dtype=np.float64)
    hits = []
    for cut_s in np.asarray(cuts_s, dtype=np.float64).tolist():
        nearest = float(found[np.abs(found - cut_s).argmin()]) if len(found) else None
        hits.append(OnsetHit(cut_s, nearest))
    covered = 0.0
    if len(found):
        gaps = np.minimum(np.diff(found), 2 * ON_CUT_S).sum()
        ends = min(float(found[0]), ON_CUT_S) + min(max(duration_s - float(found[-1]), 0.0), ON_CUT_S)
        covered = float(gaps + ends)
    return OnsetReport(tuple(hits), len(found), min(covered / duration_s, 1.0))


def _onsets(sound: Path) -> Iterator[float]:
    """Onsets of a sound file in seconds, stretch by stretch."""
    held, lead = np.zeros(0, np.float32), 0
    at_s = 0.0  # where `held` begins
    size, kept = round((_LEAD_S + _STRETCH_S) * RATE_HZ), round(_LEAD_S * RATE_HZ)
    for block in _mono(sound):
        held = np.concatenate([held, block])
        while len(held) >= size:
            yield from (
                at_s + t for t in onsets(held[:size]).tolist() if lead / RATE_HZ <= t < size / RATE_HZ - _LEAD_S / 2
            )
            moved = size - kept
            held, at_s, lead = held[moved:], at_s + moved / RATE_HZ, kept // 2
    yield from (at_s + t for t in onsets(held).tolist() if t >= lead / RATE_HZ)


def _mono(sound: Path) -> Iterator[npt.NDArray[np.float32]]:
    """Blocks (n,) of a sound file at `RATE_HZ`."""
    import av

    with av.open(str(sound)) as file:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frames: Iterator[Any] = (part for frame in file.decode(audio=0) for part in resampler.resample(frame))
        for part in frames:
            yield part.to_ndarray()[0]
        for part in resampler.resample(None):
            yield part.to_ndarray()[0]


def fading(blocks: Iterable[Frames], n_frames: int, n_fade: int) -> Iterator[Frames]:
    """Blocks (n, 2), the last `n_fade` of `n_frames` fading out along a quarter of a cosine."""
    first, fade_from = 0, n_frames - n_fade
    for block in blocks:
        at = np.clip((np.arange(first, first + len(block)) - fade_from) / max(n_fade, 1), 0.0, 1.0)
        yield block * np.cos(at * math.pi / 2)[:, None].astype(np.float32)
        first += len(block)
