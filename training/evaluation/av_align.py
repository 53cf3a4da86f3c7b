"""AV-Align: whether a film's sound and its movement peak together (TempoTokens; the paper's Section IV-C, Table II).

    films = [peaks_of(path) for path in paths]
    table = align(films)                # each film with its own sound, and with the sound of the others

Peaks of movement are strict local maxima of the mean magnitude of Farnebäck's optical flow between neighbouring frames,
in pixels, of at least 0.1. Peaks of sound are its onsets (`onsets`). A peak of sound matches the first peak of movement
within the window that no other took; the score is matches / (peaks of both - matches). The windows are the film's frame
and, as in the paper, a second. Scores depend on how many peaks there are, and so does chance: compare them with the
same films under one another's sound.

Times are seconds from the first frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, VideoError, printable
from emsync.film import Film
from emsync.stills import small
from emsync.survey_results import margin
from emsync.training.evaluation.onsets import RATE_HZ, onsets
from emsync.training.evaluation.report_page import plain, table

Floats = npt.NDArray[np.float64]

#: Movement below this, in pixels a frame, is no peak.
SLOWEST: Final = 0.1
SECOND_S: Final = 1.0
WINDOWS: Final = ("frame", "second")
#: Each film is also measured with the sound of this many others, at most.
MOST_OTHERS: Final = 20
#: Longer films take too much memory.
LONGEST_S: Final = 2 * 3600.0
#: The paper's Table II: dataset, method, score within a frame, within a second.
PAPER: Final = (
    ("EmoMV-C", "CMT", 0.014, 0.150), ("EmoMV-C", "Video2Music", 0.010, 0.245), ("EmoMV-C", "EMSYNC", 0.017, 0.233),
    ("Ads", "CMT", 0.008, 0.099), ("Ads", "Video2Music", 0.002, 0.107), ("Ads", "EMSYNC", 0.011, 0.150),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Peaks:
    """The peaks of one film.

    - name: the file's name.
    - duration_s, frame_s: its length, and that of a frame.
    - movement_s, sound_s: times of the peaks, increasing.
    """

    name: str
    duration_s: float
    frame_s: float
    movement_s: Floats
    sound_s: Floats

    def window_s(self, window: str) -> float:
        """How far apart peaks may be, for a name of `WINDOWS`."""
        return self.frame_s if window == "frame" else SECOND_S


@dataclass(frozen=True)
class Alignment:
    """Scores of films, each a dictionary by `WINDOWS`.

    - own: of each film with its own sound, in the order of `names`.
    - others: of each film with other films' sound, on average.
    - failed: films that could not be measured, and why.
    """

    names: tuple[str, ...]
    n_movement: tuple[int, ...]
    n_sound: tuple[int, ...]
    own: tuple[Mapping[str, float], ...]
    others: tuple[Mapping[str, float], ...]
    failed: Mapping[str, str]

    def summary(self) -> dict[str, dict[str, tuple[float, float]]]:
        """{"own" or "others": {window: (mean over films, 95 % margin)}}."""
        return {
            kind: {window: _mean([scores[window] for scores in by_film]) for window in WINDOWS}
            for kind, by_film in (("own", self.own), ("others", self.others))
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""
        summary = {
            kind: {window: {"mean": plain(mean), "margin": plain(half)} for window, (mean, half) in by_window.items()}
            for kind, by_window in self.summary().items()
        }
        films = [
            {"film": name, "movement": moving, "onsets": sounding, "own": _plain(own), "others": _plain(others)}
            for name, moving, sounding, own, others in zip(
                self.names, self.n_movement, self.n_sound, self.own, self.others, strict=True
            )
        ]
        return {"films": films, "summary": summary, "failed": dict(self.failed)}

    def to_markdown(self) -> str:
        """A table of the films, the summary, and the paper's figures."""
        head = ("film", "peaks of movement", "onsets", "own, frame", "others, frame", "own, 1 s", "others, 1 s")
        rows: list[Sequence[str | float]] = [
            (_cell(name), str(moving), str(sounding), *(s[w] for w in WINDOWS for s in (own, others)))
            for name, moving, sounding, own, others in zip(
                self.names, self.n_movement, self.n_sound, self.own, self.others, strict=True
            )
        ]
        found = self.summary()
        for label, part in (("**mean**", 0), ("95 % margin", 1)):
            rows.append((label, "", "", *(found[kind][w][part] for w in WINDOWS for kind in ("own", "others"))))
        paper = [(f"{data}: {method}", frame, second) for data, method, frame, second in PAPER]
        lines = [
            "# AV-Align", "",
            "Films with their own sound and, as a control, with that of other films (matches / union of peaks).", "",
            *table(head, rows), "",
            "The paper's figures, on its own films:", "",
            *table(("", "frame", "1 s"), paper), "",
        ]  # fmt: skip
        lines += [f"- {_cell(name)} was left out: {printable(reason)}." for name, reason in self.failed.items()]
        return "\n".join(lines).rstrip() + "\n"


def measure(paths: Iterable[str | os.PathLike[str]], progress: Callable[[str], None] | None = None) -> Alignment:
    """The scores of films; those that cannot be measured are left out, with the reason.

    progress: called with each film's name before it is measured.
    Raises `InputError` if none can be measured.
    """
    measured, failed = [], {}
    for path in paths:
        name = os.fspath(path)
        if progress is not None:
            progress(name)
        try:
            measured.append(peaks_of(path))
        except (VideoError, InputError) as error:
            failed[Path(path).name] = str(error)
    if not measured:
        reason = next(iter(failed.values()), "there are none")
        raise InputError(f"no film could be measured ({reason}); give films with pictures and sound")
    return align(measured, failed)


def align(films: Sequence[Peaks], failed: Mapping[str, str] | None = None) -> Alignment:
    """The scores of films with their own sound, and with that of others; NaN for the latter if there is one film."""
    own, others = [], []
    shifts = range(1, min(len(films) - 1, MOST_OTHERS) + 1)
    for i, film in enumerate(films):
        own.append({w: iou(film.movement_s, film.sound_s, film.window_s(w)) for w in WINDOWS})
        strange = [films[(i + shift) % len(films)] for shift in shifts]
        others.append({w: _mean([_with_sound_of(film, other, w) for other in strange])[0] for w in WINDOWS})
    return Alignment(
        tuple(film.name for film in films), tuple(len(film.movement_s) for film in films),
        tuple(len(film.sound_s) for film in films), tuple(own), tuple(others), dict(failed or {}),
    )  # fmt: skip


def _with_sound_of(film: Peaks, other: Peaks, window: str) -> float:
    """The score of a film under another one's sound, as far as both last."""
    end_s = min(film.duration_s, other.duration_s)
    moving, sounding = (times[times < end_s] for times in (film.movement_s, other.sound_s))
    return iou(moving, sounding, film.window_s(window))


def iou(movement_s: npt.ArrayLike, sound_s: npt.ArrayLike, window_s: float) -> float:
    """Matches / (peaks of both - matches), each peak in one match at most, closer than `window_s`; 0 without peaks.

    As the authors match: in order of time, each peak of sound takes the first peak of movement that is free.
    """
    moving, sounding = np.asarray(movement_s, dtype=np.float64), np.asarray(sound_s, dtype=np.float64)
    free = np.ones(len(moving), dtype=bool)
    matched = 0
    for time_s in sounding:
        near = np.flatnonzero(free & (np.abs(moving - time_s) < window_s))
        if len(near):
            free[near[0]] = False
            matched += 1
    union = len(moving) + len(sounding) - matched
    return matched / union if union else 0.0


def peaks_of(path: str | os.PathLike[str]) -> Peaks:
    """Watch and hear a film. Raises `VideoError` for one that cannot be decoded, `InputError` for one without sound."""
    with Film(path) as film:
        if not film.has_audio:
            raise InputError(f"{film.shown_path} has no sound; AV-Align compares a film's pictures with its sound")
        times_s, flow = _movement(film)
        duration_s = film.duration_s
        frame_s = float(1 / film.frame_rate)
        begins = film.stream.container.start_time or 0
        first_s = begins / 1e6 + film.pictures_from_s
    sound = _sound(path, first_s, duration_s)
    return Peaks(Path(path).name, duration_s, frame_s, times_s[maxima(flow)], onsets(sound))


def maxima(flow: Floats) -> npt.NDArray[np.int64]:
    """Indices of strict local maxima of at least `SLOWEST`; the ends are none."""
    if len(flow) < 3:
        return np.empty(0, dtype=np.int64)
    inner = flow[1:-1]
    return np.flatnonzero((inner > flow[:-2]) & (inner > flow[2:]) & (inner >= SLOWEST)) + 1


def _movement(film: Film) -> tuple[Floats, Floats]:
    """Times of the frames, and the mean flow from the frame before to each, in pixels; the first repeats the second."""
    import cv2  # PySceneDetect brings it
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    times, flow = [], []
    before = None
    for frame, ticks in film.frames():
        time_s = float(ticks * film.time_base)
        if time_s > LONGEST_S:
            raise InputError(f"{film.shown_path} is longer than {LONGEST_S:g} s; cut it into parts")
        picture = small(reformatter, frame, frame.width, frame.height, "rgb24")
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        times.append(time_s)
        if before is not None and before.shape == grey.shape:
            motion: Any = cv2.calcOpticalFlowFarneback(before, grey, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
            flow.append(float(cv2.mean(cv2.magnitude(motion[..., 0], motion[..., 1]))[0]))
        elif before is not None:
            flow.append(0.0)
        before = grey
    return np.array(times), np.array([flow[0], *flow] if flow else [0.0] * len(times))


def _sound(path: str | os.PathLike[str], first_s: float, duration_s: float) -> npt.NDArray[np.float32]:
    """(N,) The film's sound, mono at `RATE_HZ`, from its first frame (`first_s` on the file's clock) to its end."""
    import av

    out = np.zeros(max(round(duration_s * RATE_HZ), 1), dtype=np.float32)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
    at: int | None = None
    with av.open(f"file:{Path(path)}", container_options={"protocol_whitelist": "file"}) as container:
        try:
            for frame in container.decode(audio=0):
                if at is None:
                    at = round((float(frame.time or 0.0) - first_s) * RATE_HZ)
                for part in resampler.resample(frame):
                    at = _put(out, part.to_ndarray().ravel(), at)
            for part in resampler.resample(None):
                at = _put(out, part.to_ndarray().ravel(), at or 0)
        except (av.FFmpegError, ValueError):
            pass  # the sound breaks off: what was heard counts
    return np.nan_to_num(out)


def _put(out: npt.NDArray[np.float32], samples: npt.NDArray[Any], at: int) -> int:
    """Write samples at a place, as far as they are inside, and return where the next ones go."""
    first, stop = max(at, 0), min(at + len(samples), len(out))
    if first < stop:
        out[first:stop] = samples[first - at : stop - at]
    return at + len(samples)


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its 95 % margin."""
    numbers = [value for value in values if not np.isnan(value)]
    return (float(np.mean(numbers)), margin(numbers)) if numbers else (float("nan"), float("nan"))


def _plain(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {window: plain(score) for window, score in scores.items()}


def _cell(name: str) -> str:
    return printable(name).replace("|", "\\|")
