"""AV-Align: whether a film's sound and its movement peak together (TempoTokens; the paper's Section IV-C, Table II).

    films = [peaks_of(path) for path in paths]
    table = align(films)                # each film with its own sound, and two controls

Peaks of movement are strict local maxima of the mean magnitude of Farnebäck's optical flow between neighbouring frames,
in pixels, of at least 0.1. Peaks of sound are its onsets (`onsets`). A peak of sound matches the first peak of
movement within the window that no other took; the score is matches / (peaks of both - matches). The windows are the
film's frame and, as in the paper, a second. Scores depend on how many peaks there are, and so does chance. Two
controls say what chance gives: *shifted*, the film's own sound, moved in a circle by a random time, keeps the number
and the spacing of the peaks; *others*, the sound of other films, has another number of them.

Times are seconds from the first frame.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
#: What sound a film is measured with: its own, its own shifted in a circle, that of other films.
KINDS: Final = ("own", "shifted", "others")
#: How many random shifts are averaged, and the smallest of them.
N_SHIFTS: Final = 20
LEAST_SHIFT_S: Final = 2.0
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
    - shifted: of each film with its own sound, moved in a circle, on average.
    - others: of each film with other films' sound, on average.
    - failed: films that could not be measured, and why.
    """

    names: tuple[str, ...]
    n_movement: tuple[int, ...]
    n_sound: tuple[int, ...]
    own: tuple[Mapping[str, float], ...]
    shifted: tuple[Mapping[str, float], ...]
    others: tuple[Mapping[str, float], ...]
    failed: Mapping[str, str]

    def summary(self) -> dict[str, dict[str, tuple[float, float]]]:
        """{kind of `KINDS`: {window: (mean over films, 95 % margin)}}."""
        return {
            kind: {window: _mean([scores[window] for scores in by_film]) for window in WINDOWS}
            for kind, by_film in zip(KINDS, (self.own, self.shifted, self.others), strict=True)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""
        summary = {
            kind: {window: {"mean": plain(mean), "margin": plain(half)} for window, (mean, half) in by_window.items()}
            for kind, by_window in self.summary().items()
        }
        films = [
            {"film": name, "movement": moving, "onsets": sounding}
            | {kind: _plain(scores) for kind, scores in zip(KINDS, by_kind, strict=True)}
            for name, moving, sounding, *by_kind in self._rows()
        ]
        return {"films": films, "summary": summary, "failed": dict(self.failed)}

    def to_markdown(self) -> str:
        """A table of the films, the summary, and the paper's figures."""
        columns = [f"{kind}, {window}" for window in ("frame", "1 s") for kind in KINDS]
        head = ("film", "peaks of movement", "onsets", *columns)
        rows: list[Sequence[str | float]] = [
            (cell(name), str(moving), str(sounding), *(scores[w] for w in WINDOWS for scores in by_kind))
            for name, moving, sounding, *by_kind in self._rows()
        ]
        found = self.summary()
        for label, part in (("**mean**", 0), ("95 % margin", 1)):
            rows.append((label, "", "", *(found[kind][w][part] for w in WINDOWS for kind in KINDS)))
        lines = [
            "# AV-Align", "",
            "Films with their own sound and, as controls, with their own sound moved in a circle by random times "
            "(shifted), and with that of other films (matches / union of peaks).", "",
            *table(head, rows), "",
            "The paper's figures, on its own films:", "",
            *paper_table(), "",
        ]  # fmt: skip
        lines += [f"- {cell(name)} was left out: {printable(reason)}." for name, reason in self.failed.items()]
        return "\n".join(lines).rstrip() + "\n"

    def _rows(self) -> Iterator[tuple[Any, ...]]:
        """A film each: name, peaks of movement, onsets, and its scores of each kind."""
        return zip(self.names, self.n_movement, self.n_sound, self.own, self.shifted, self.others, strict=True)


def paper_table() -> list[str]:
    """The paper's figures, as lines of Markdown."""
    return table(("", "frame", "1 s"), [(f"{data}: {method}", *scores) for data, method, *scores in PAPER])


def measure(
    paths: Iterable[str | os.PathLike[str]], progress: Callable[[str], None] | None = None, *, seed: int = 0
) -> Alignment:
    """The scores of films; those that cannot be measured are left out, with the reason.

    seed: of the shifts.
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
    return align(measured, failed, np.random.default_rng(seed))


def align(
    films: Sequence[Peaks], failed: Mapping[str, str] | None = None, rng: np.random.Generator | None = None
) -> Alignment:
    """The scores of films with their own sound, with it shifted, and with that of others; NaN for the last if alone."""
    rng = np.random.default_rng(0) if rng is None else rng
    own, shifted, others = [], [], []
    shifts = range(1, min(len(films) - 1, MOST_OTHERS) + 1)
    for i, film in enumerate(films):
        own.append({w: score(film, w) for w in WINDOWS})
        moved = [replace(film, sound_s=each) for each in shifts_of(film, rng)]
        shifted.append({w: _mean([score(each, w) for each in moved])[0] for w in WINDOWS})
        strange = [films[(i + shift) % len(films)] for shift in shifts]
        others.append({w: _mean([with_sound_of(film, other, w) for other in strange])[0] for w in WINDOWS})
    return Alignment(
        tuple(film.name for film in films), tuple(len(film.movement_s) for film in films),
        tuple(len(film.sound_s) for film in films), tuple(own), tuple(shifted), tuple(others),
        dict(failed or {}),
    )  # fmt: skip


def score(film: Peaks, window: str) -> float:
    """The score of a film with its sound."""
    return iou(film.movement_s, film.sound_s, film.window_s(window))


def shifts_of(film: Peaks, rng: np.random.Generator) -> list[Floats]:
    """The onsets of a film's sound, moved in a circle by `N_SHIFTS` random times; none by less than `LEAST_SHIFT_S`.

    Films shorter than four times that are moved by a quarter of their length at least.
    """
    least_s = min(LEAST_SHIFT_S, film.duration_s / 4)
    shifts_s = rng.uniform(least_s, film.duration_s - least_s, N_SHIFTS)
    return [np.sort((film.sound_s + shift_s) % film.duration_s) for shift_s in shifts_s]


def with_sound_of(film: Peaks, other: Peaks, window: str) -> float:
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
    film, first_s = watched(path)
    if first_s is None:
        raise InputError(
            f"{printable(os.fspath(path))} has no sound; AV-Align compares a film's pictures with its sound"
        )
    return replace(film, sound_s=onsets(sound_of(path, first_s, film.duration_s)))


def watched(path: str | os.PathLike[str]) -> tuple[Peaks, float | None]:
    """A film's peaks of movement, without sound, and where its first frame is on the clock of its sound; None without.

    Raises `VideoError` for a film that cannot be decoded.
    """
    with Film(path) as film:
        has_audio = film.has_audio
        times_s, flow = _movement(film)
        duration_s = film.duration_s
        frame_s = float(1 / film.frame_rate)
        begins = film.stream.container.start_time or 0
        first_s = begins / 1e6 + film.pictures_from_s
    found = Peaks(Path(path).name, duration_s, frame_s, times_s[maxima(flow)], np.empty(0))
    return found, first_s if has_audio else None


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


def sound_of(
    path: str | os.PathLike[str], first_s: float, duration_s: float, rate_hz: int = RATE_HZ
) -> npt.NDArray[np.float32]:
    """(N,) `duration_s` seconds of the sound of a film or sound file, mono at `rate_hz`, from its time `first_s`."""
    import av

    out = np.zeros(max(round(duration_s * rate_hz), 1), dtype=np.float32)
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate_hz)
    at: int | None = None
    with av.open(f"file:{Path(path)}", container_options={"protocol_whitelist": "file"}) as container:
        try:
            for frame in container.decode(audio=0):
                if at is None:
                    at = round((float(frame.time or 0.0) - first_s) * rate_hz)
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


def cell(name: str) -> str:
    """A file's name in a table of Markdown."""
    return printable(name).replace("|", "\\|")
