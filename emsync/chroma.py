"""The melody of a score as chroma: one pitch class in each frame, taken from the notes, exactly.

    chroma(score, "lead", rate_hz=7.8125)       # (frames, 12), a single 1 in each row

A music model that follows a melody is usually given chroma that was estimated from sound. Here the notes are known, so
nothing is rendered and nothing is estimated. A melody is "lead" (the top line of the family that plays highest), "mix"
(all pitched notes, each weighted by how long it sounds and how loud it is) or one family.

Conventions: frame k is centred at k / rate_hz seconds, as in the centred spectrograms that such models are trained
with, and covers half a frame on both sides. A frame in which nothing sounds keeps the pitch class before it.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.score import Score
from emsync.theme import lead_family
from emsync.tokenizer import families
from emsync.vocabulary import DRUMS, FAMILIES

OneHot = npt.NDArray[np.float32]

LEAD: Final = "lead"
MIX: Final = "mix"
#: What `--melody-from` may be.
MELODIES: Final = (LEAD, MIX, *(name for name in FAMILIES if name != FAMILIES[DRUMS]))
N_CHROMA: Final = 12


def chroma(score: Score, melody: str = LEAD, *, rate_hz: float, duration_s: float | None = None) -> OneHot:
    """The pitch class of the melody in each frame, one-hot: (frames, 12).

    Args:
        score: Any score; it is reduced to the five families.
        melody: One of `MELODIES`.
        rate_hz: Frames a second.
        duration_s: How long; by default as long as the score. There are `ceil(duration_s * rate_hz)` frames.

    Raises `InputError` if no note of the melody is there.

    """
    if melody not in MELODIES:
        raise InputError(f"there is no melody {melody!r}; give one of {', '.join(MELODIES)}")
    reduced = families.reduce(score).score
    pitched = reduced.select(reduced.instrument != DRUMS)
    if not len(pitched):
        raise InputError("the score has no pitched notes, so there is no melody to follow; give one with notes")
    if melody != MIX:
        family = lead_family(pitched.pitch, pitched.instrument) if melody == LEAD else FAMILIES.index(melody)
        pitched = pitched.select(pitched.instrument == family)
    if not len(pitched):
        playing = sorted({FAMILIES[i] for i in reduced.instrument.tolist()} - {FAMILIES[DRUMS]})
        raise InputError(f"no {melody} plays in this score; take the melody from {', '.join(playing)}, lead or mix")
    length_s = score.duration_s if duration_s is None else duration_s
    n_frames = max(1, math.ceil(round(length_s * rate_hz, 6)))
    levels = _levels(pitched, n_frames, rate_hz, top_line=melody == LEAD)
    return _one_hot(levels)


def _levels(score: Score, n_frames: int, rate_hz: float, *, top_line: bool) -> npt.NDArray[np.float64]:
    """How much each pitch class counts in each frame, (frames, 12); zeros where nothing sounds.

    For a top line that is the highest pitch that sounds for half of the frame or more, else the highest at all.
    """
    levels = np.zeros((n_frames, N_CHROMA))
    # A note from `start` to `end`, in frames; frame k is from k - 1/2 to k + 1/2.
    starts, ends = score.start_s * rate_hz + 0.5, score.end_s * rate_hz + 0.5
    notes = zip(starts.tolist(), ends.tolist(), score.pitch.tolist(), score.velocity.tolist(), strict=True)
    for start, end, pitch, velocity in notes:
        first, stop = int(start), min(math.ceil(end), n_frames)
        if first >= stop:
            continue
        at = np.arange(first, stop)
        share = np.minimum(end, at + 1) - np.maximum(start, at)
        column = levels[first:stop, pitch % N_CHROMA]
        if top_line:
            np.maximum(column, np.where(share >= 0.5, 128.0 + pitch, share * pitch), out=column)
        else:
            column += share * velocity
    return levels


def _one_hot(levels: npt.NDArray[np.float64]) -> OneHot:
    sounding = levels.any(axis=1)
    at = np.maximum.accumulate(np.where(sounding, np.arange(len(levels)), -1))
    first = int(sounding.argmax())
    chosen = levels.argmax(axis=1)[np.where(at < 0, first, at)]
    return np.eye(N_CHROMA, dtype=np.float32)[chosen]
