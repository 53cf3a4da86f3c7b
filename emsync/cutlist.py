"""Cut lists: their files, and which cuts the composer is given.

    listed = read("edit.edl", duration_s=60.0, counting=Counting(Fraction(25)))
    listed.cuts_s, listed.weights
    spaced(listed.cuts_s, 4.0)                # those far enough apart

All times are in seconds from the film's first frame. `emsync.cutfiles` reads the formats. `emsync.table` says how a
table is written: its times are in the column called `time_s`, `time`, `start` or the like, and a header without rows is
a film without cuts.
"""

from __future__ import annotations

import math
import os
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.cutfiles import edl, fcp7, fcpx, lists, otio
from emsync.cutfiles.cut import Cut, Found, Request, Weight
from emsync.errors import InputError, printable
from emsync.recipe import Recipe
from emsync.table import read_text
from emsync.timecode import Counting
from emsync.timecode import parse_frame_rate as parse_frame_rate
from emsync.timecode import timecode as timecode

Floats = npt.NDArray[np.float64]

#: The paper's t_diff (Section IV-A): cuts closer than this to the one before are not given to the composer.
DEFAULT_T_DIFF_S: Final = Recipe.t_diff_s

#: Boundaries keep this distance from both ends, where music begins and closes anyway and a chord has no room.
END_MARGIN_S: Final = 0.5

#: A cut may lie this far past the end, for lists that round to a hundredth.
_END_GRACE_S: Final = 0.005

#: A cut list is a few kilobytes, a long film's XML some megabytes. Anything above is refused before it is read.
_MAX_BYTES: Final = 32 << 20

#: A cut this close to the first picture is where the pictures begin.
_SAME_S: Final = 1e-3


# --- which cuts -------------------------------------------------------------------------------------------------------


def spaced(
    cuts_s: npt.ArrayLike,
    t_diff_s: float = DEFAULT_T_DIFF_S,
    *,
    duration_s: float | None = None,
    weights: Sequence[Weight] = (),
) -> Floats:
    """The paper's difference filter (Section III-B3): drop cuts less than `t_diff_s` after the previous *kept* one.

    - cuts_s: sorted, in seconds.
    - duration_s: the film's length, None if unknown.
    - weights: one a cut, or none. Cuts that must have a chord are kept first, whatever `t_diff_s` is, if they are
      `END_MARGIN_S` apart; those that may have one are kept last, where there is still room.

    Cuts less than `END_MARGIN_S` from the start, or from the end if it is known, are dropped first: a cut at 0 is where
    the film begins. Raises `InputError` when `t_diff_s` is negative.
    """
    if not (math.isfinite(t_diff_s) and t_diff_s >= 0):
        raise InputError(f"t_diff is {t_diff_s} s; give 0 (keep every cut) or more")
    until_s = math.inf if duration_s is None else duration_s - END_MARGIN_S
    times = np.asarray(cuts_s, dtype=np.float64).tolist()
    kept: list[float] = []
    for tier, apart_s in (("must", min(t_diff_s, END_MARGIN_S)), ("", t_diff_s), ("may", t_diff_s)):
        for cut_s, weight in zip(times, weights or [""] * len(times), strict=True):
            if weight != tier or not END_MARGIN_S <= cut_s <= until_s:
                continue
            at = bisect(kept, cut_s)
            # A microsecond of tolerance: cuts 4 s apart stay so in floating point.
            if all(abs(cut_s - other_s) >= apart_s - 1e-6 for other_s in kept[max(at - 1, 0) : at + 1]):
                kept.insert(at, cut_s)
    return np.array(kept, dtype=np.float64)


#: How much a cut of each weight wants to be met, and on a downbeat, if the tempo cannot do all (`emsync.tempo_plan`).
STRENGTHS: Final[Mapping[Weight, float]] = {"must": 1.0, "": 0.6, "may": 0.2}


def strengths(kept_s: npt.ArrayLike, cuts_s: npt.ArrayLike, weights: Sequence[Weight]) -> Floats | None:
    """(K,) The `STRENGTHS` of those of the cuts (C,) that `spaced` kept; None where no cut has a weight."""
    if not any(weights):
        return None
    at = np.searchsorted(np.asarray(cuts_s, dtype=np.float64), np.asarray(kept_s, dtype=np.float64))
    return np.array([STRENGTHS[weights[i]] for i in at], dtype=np.float64)


def check(cuts_s: npt.ArrayLike, duration_s: float | None = None) -> Floats:
    """`cuts_s` as float64, (n,), if they are finite, strictly increasing, and in [0, duration_s].

    Raises `InputError` with the value, the limit and the likely cause.
    """
    try:
        array = np.asarray(cuts_s, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"the cuts are not numbers ({error}); give seconds") from error
    if array.ndim != 1:
        raise InputError(f"the cuts have {array.ndim} dimensions; give one list of seconds")
    _check_duration(duration_s)
    cuts = [Cut(cut_s, f"cut {index}") for index, cut_s in enumerate(array.tolist(), start=1)]
    _checked(cuts, duration_s)
    return array


def _check_duration(duration_s: float | None) -> None:
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise InputError(f"a length of {duration_s} s leaves no room for cuts; give more than 0 s")


_IN_FRAMES: Final = "were the cuts given in frames?"


def _checked(cuts: list[Cut], duration_s: float | None, hint: str = _IN_FRAMES) -> Floats:
    before_s: float | None = None
    for cut in cuts:
        problem = _problem(cut.time_s, before_s, duration_s, hint)
        if problem:
            raise InputError(f"{cut.place}: {problem}")
        before_s = cut.time_s
    return np.array([cut.time_s for cut in cuts], dtype=np.float64)


def _problem(cut_s: float, before_s: float | None, duration_s: float | None, hint: str) -> str | None:
    """What is wrong with one cut, or None."""
    if not math.isfinite(cut_s):
        return f"{cut_s} is no time; give seconds"
    if cut_s < 0:
        return f"cut at {cut_s:g} s is before the start (0 s); count from the video's first frame"
    if before_s is not None and cut_s < before_s:
        return f"cut at {cut_s:g} s comes after one at {before_s:g} s; sort the list"
    if before_s is not None and cut_s == before_s:
        return f"cut at {cut_s:g} s is given twice; remove one"
    if duration_s is not None and cut_s > duration_s + _END_GRACE_S:
        return f"cut at {cut_s:g} s is past the video's end ({duration_s:.1f} s); {hint}"
    return None


# --- files ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A format of cut lists.

    - suits: whether a text is of this format, from its beginning.
    - read: the cuts of a text in its order, or `InputError` without the file's name.
    """

    name: str
    suits: Callable[[str], bool]
    read: Callable[[str, Request], Found]


#: The formats of cut lists; the first that suits a text reads it. A new one is an entry here, and a test.
FORMATS: Final[tuple[Format, ...]] = (
    Format("OpenTimelineIO", otio.suits, otio.read),
    Format("scene JSON of emsync analyze", lists.is_scene, lists.read_scene),
    Format("Final Cut Pro 7 XML", fcp7.suits, fcp7.read),
    Format("FCPXML", fcpx.suits, fcpx.read),
    Format("REAPER project", lists.is_project, lists.read_project),
    Format("Media Composer markers", lists.is_avid, lists.read_avid),
    Format("CMX3600 EDL", edl.suits, edl.read),
    Format("table", lambda text: True, lists.read_table_cuts),
)


@dataclass(frozen=True, eq=False)
class CutList:
    """The cuts of a file.

    - cuts_s: seconds from the programme's start, float64, (n,), strictly increasing.
    - weights, names: one for each cut, empty texts by default; see `emsync.cutfiles.cut.Weight`.
    - format: the format's name.
    - counting: how the file counts frames, if it does.
    - start: the label that is the programme's start, if the file has labels.
    - duration_s: the programme's length, if the file says it.
    - of_file: whether times count from the beginning of the film's file, and not from its first picture.
    """

    cuts_s: Floats
    weights: tuple[Weight, ...] = ()
    names: tuple[str, ...] = ()
    format: str = "table"
    counting: Counting | None = None
    start: str | None = None
    duration_s: float | None = None
    of_file: bool = False

    def __post_init__(self) -> None:
        n = len(self.cuts_s)
        object.__setattr__(self, "weights", self.weights or ("",) * n)
        object.__setattr__(self, "names", self.names or ("",) * n)

    @property
    def summary(self) -> str:
        """What was read, in a few words: "CMX3600 EDL, 12 cuts, 25 frames a second, from 01:00:00:00"."""
        n = len(self.cuts_s)
        parts = [self.format, f"{n} cut{'' if n == 1 else 's'}"]
        parts += [] if self.counting is None else [str(self.counting)]
        parts += [] if self.start is None else [f"counted from {self.start}"]
        return ", ".join(parts)


def read(
    path: str | os.PathLike[str],
    *,
    duration_s: float | None = None,
    counting: Counting | None = None,
    start: str | None = None,
    pictures_from_s: float = 0.0,
) -> CutList:
    """The cuts of a file in one of `FORMATS`.

    Args:
        path: The file, or a folder `.fcpxmld`.
        duration_s: The film's length, from its first picture; cuts must lie in it. None if unknown.
        counting: How frames are counted, for lists that do not say it (EDL, tables of timecodes).
        start: The timecode of the programme's first frame, for EDL and tables of timecodes. By default the whole hour
            at or before the first timecode.
        pictures_from_s: How long after the beginning of the film's file its pictures begin. It is subtracted from
            times that count from there, as those of editing programs do; a cut where the pictures begin is dropped.

    Raises `InputError` naming the file, the line and the remedy.

    """
    _check_duration(duration_s)
    name = printable(os.fspath(path))
    if not os.path.exists(path):
        raise InputError(f"{name} does not exist; check the name")
    if os.path.isdir(path):
        inner = os.path.join(path, "Info.fcpxml")
        if not os.path.isfile(inner):
            raise InputError(f"{name} is a folder; give the name of a CSV file")
        path = inner
    text = read_text(path, "cut list", max_bytes=_MAX_BYTES)
    reader = next(each for each in FORMATS if each.suits(text))
    try:
        found = reader.read(text, Request(counting, start))
        cuts = found.cuts
        if found.of_file and pictures_from_s:
            late = [replace(cut, time_s=cut.time_s - pictures_from_s) for cut in cuts]
            cuts = [cut for cut in late if cut.time_s > _SAME_S]
        hint = "is the programme's start another? give --start" if found.start else "were the cuts given in frames?"
        cuts_s = _checked(cuts, duration_s, hint)
    except InputError as error:
        text = str(error)
        joint = ", " if text.startswith(("line ", "cut ")) else " " if text.startswith(("holds ", "has ")) else ": "
        raise InputError(f"{name}{joint}{text}") from error
    return CutList(
        cuts_s, tuple(cut.weight for cut in cuts), tuple(cut.name for cut in cuts), reader.name, found.counting,
        found.start, found.duration_s, found.of_file,
    )  # fmt: skip


def read_csv(path: str | os.PathLike[str], *, duration_s: float | None = None) -> Floats:
    """The cuts of a file in one of `FORMATS`: seconds, float64, (n,), strictly increasing, in [0, duration_s].

    Raises `InputError` naming the file, the line and the remedy.
    """
    return read(path, duration_s=duration_s).cuts_s
