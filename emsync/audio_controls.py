"""The controls of recorded sound: loudness, onsets, and the pitch classes of its spectrum.

    curves = of_sound("reference.wav")      # any file that FFmpeg reads, a film too

- intensity: the power of every tenth of a second in dB, smoothed as `emsync.controls` does, around its own mean: 0 dB
  is the mean of this recording, since levels of recordings say nothing about how loud they were played.
- density: onsets in a second, as librosa finds them. A chord is one onset here and several notes in a score, so the
  figure is multiplied by `NOTES_AN_ONSET`.
- melody: the strongest pitch class of every frame (HPM, Section 3.2.2), from middle C to C7; runs shorter than
  `SHORTEST_S` are left out. With accompaniment this is the strongest note, not always the tune.
- key: as in `emsync.controls`, from the same spectrum.

Rhythm is not read: it needs beats.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.control_curves import KINDS, REST, Control, ControlCurves
from emsync.controls import FRAME_S, KEY_HALF_S, SILENT_DB, frame_times, key_of, smoothed
from emsync.errors import InputError, printable
from emsync.training.evaluation.onsets import RATE_HZ, onsets

FloatArray = npt.NDArray[np.float64]

#: The longest sound that is read.
LONGEST_S: Final = 3600
#: How many notes begin at an onset, in the middle of the corpus.
NOTES_AN_ONSET: Final = 2.7
#: The shortest note of a melody.
SHORTEST_S: Final = 0.2
#: Below this, in dB of full scale, a frame is silent.
SILENCE_DB: Final = -70.0
_WINDOW: Final = 8192
_LOWEST_HZ, _HIGHEST_HZ = 255.0, 2200.0
_ROWS: Final = 256


def of_sound(path: str | os.PathLike[str]) -> ControlCurves:
    """The controls of a sound file. Raises `InputError` for one that cannot be decoded, is silent, or is too long."""
    sound = decoded(path)
    frame = round(FRAME_S * RATE_HZ)
    n = len(frame_times(len(sound) / RATE_HZ))
    padded = np.pad(sound, (0, n * frame - min(len(sound), n * frame)))[: n * frame].astype(np.float64)
    power = (padded.reshape(n, frame) ** 2).mean(axis=1)
    db = 10 * np.log10(np.maximum(power, 1e-12))
    sounding = db > SILENCE_DB
    if not sounding.any():
        raise InputError(f"{printable(os.fspath(path))} is silent; give a sound with music in it")
    level = smoothed(np.maximum(db, SILENCE_DB)) - float(db[sounding].mean())
    times = frame_times(len(sound) / RATE_HZ)
    starts = onsets(sound)
    count = np.searchsorted(starts, times + 1.0) - np.searchsorted(starts, times - 1.0)
    span = np.minimum(times + 1.0, times[-1] + FRAME_S / 2) - np.maximum(times - 1.0, 0.0)
    chroma = _chroma(sound, times)
    strongest = np.where(sounding, chroma.argmax(axis=1), REST)
    around = np.ones(2 * round(KEY_HALF_S / FRAME_S) + 1)
    near = np.stack([np.convolve(row, around)[len(around) // 2 :][:n] for row in chroma.T], axis=1)
    return ControlCurves(
        {
            "intensity": Control(times, np.clip(level, SILENT_DB, KINDS["intensity"].high)),
            "density": Control(times, np.minimum(count / span * NOTES_AN_ONSET, KINDS["density"].high)),
            "melody": _runs(times, strongest.astype(np.float64), SHORTEST_S),
            "key": _runs(times, key_of(near).astype(np.float64), 0.0),
        }
    )


def decoded(path: str | os.PathLike[str]) -> npt.NDArray[np.float32]:
    """(N,) The sound of a file, mono at `RATE_HZ`."""
    import av

    name = printable(os.fspath(path))
    if not Path(path).is_file():
        raise InputError(f"{name}: there is no such file; check the name")
    parts: list[npt.NDArray[np.float32]] = []
    total = 0
    try:
        with av.open(f"file:{Path(path)}", container_options={"protocol_whitelist": "file"}) as container:
            if not container.streams.audio:
                raise InputError(f"{name} has no sound; give a recording, or a MIDI file")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
            for frame in [*container.decode(audio=0), None]:
                for each in resampler.resample(frame):
                    parts.append(each.to_ndarray().ravel().astype(np.float32))
                    total += len(parts[-1])
                if total > LONGEST_S * RATE_HZ:
                    raise InputError(f"{name} is longer than {LONGEST_S} s; give a part of it")
    except (av.FFmpegError, ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        if not parts:
            raise InputError(f"{name} cannot be decoded ({printable(str(error))[:80]}); give a sound file") from error
    if not total:
        raise InputError(f"{name} has no sound that can be decoded; give a sound file")
    return np.nan_to_num(np.concatenate(parts))


def _chroma(sound: npt.NDArray[np.float32], times_s: FloatArray) -> FloatArray:
    """(T, 12) The power of each pitch class around every moment."""
    padded = np.pad(sound.astype(np.float64), _WINDOW)
    first = np.rint(times_s * RATE_HZ).astype(np.int64) + _WINDOW // 2
    hann = np.hanning(_WINDOW)
    hz = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    used = np.flatnonzero((hz >= _LOWEST_HZ) & (hz <= _HIGHEST_HZ))
    pitch_class = np.rint(12 * np.log2(hz[used] / 440.0) + 69).astype(np.int64) % 12
    fold = np.eye(12)[pitch_class]
    rows = []
    for at in range(0, len(first), _ROWS):
        frames = padded[first[at : at + _ROWS, None] + np.arange(_WINDOW)] * hann
        rows.append(np.square(np.abs(np.fft.rfft(frames)[:, used])) @ fold)
    return np.concatenate(rows)


def _runs(times_s: FloatArray, values: FloatArray, shortest_s: float) -> Control:
    """A held control; runs of equal values shorter than `shortest_s` are joined to the run before."""
    kept = values.copy()
    edges = np.flatnonzero(np.append(True, np.diff(values) != 0))
    for begin, stop in zip(edges, [*edges[1:], len(values)], strict=True):
        if (stop - begin) * FRAME_S < shortest_s - 1e-9 and begin:
            kept[begin:stop] = kept[begin - 1]
    new = np.append(True, np.diff(kept) != 0)
    return Control(np.maximum(times_s[new] - FRAME_S / 2, 0.0), kept[new], held=True)
