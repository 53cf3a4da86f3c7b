"""Which cuts a piece is composed for: a list's or those found in a film, with cuts added and dropped."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np
import numpy.typing as npt

from emsync.cutfiles.cut import Weight
from emsync.cutlist import CutList, check, read
from emsync.errors import InputError
from emsync.table import seconds, shown, why_not_seconds
from emsync.timecode import Counting, is_label

if TYPE_CHECKING:
    from emsync.video import Scene

#: A cut to leave out may be given so roughly, in seconds.
DROP_S: Final = 0.25


@dataclass(frozen=True)
class CutChoice:
    """Which cuts a piece is composed for: those of a file, or those found in the film; with changes.

    - path: a file in one of `FORMATS`; None for the cuts found, or those `given`.
    - given: cuts to begin with instead of a file or those found.
    - counting, start: see `read`. Without a counting, the film's own rate counts.
    - add: times of cuts to add, which must have a chord. drop: times of cuts to leave out, to `DROP_S`. As texts:
      seconds, `[HH:]MM:SS.mmm`, or timecodes.
    """

    path: str | os.PathLike[str] | None = None
    counting: Counting | None = None
    start: str | None = None
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    given: CutList | None = None

    def cuts(
        self,
        found_s: npt.ArrayLike = (),
        *,
        duration_s: float | None = None,
        frame_rate: Fraction | None = None,
        pictures_from_s: float = 0.0,
    ) -> CutList:
        """The cuts. found_s: those found in the film; the other arguments are those of `read`."""
        counting = self.counting
        if counting is None and frame_rate is not None:
            counting = Counting(frame_rate)
        if self.given is not None:
            check(self.given.cuts_s, duration_s)
            listed = self.given
        elif self.path is None:
            times_s = check(found_s, duration_s)
            listed = CutList(times_s, format="cuts found")
        else:
            listed = read(
                self.path, duration_s=duration_s, counting=counting, start=self.start, pictures_from_s=pictures_from_s
            )
        return self._changed(listed, counting, duration_s)

    def _changed(self, listed: CutList, counting: Counting | None, duration_s: float | None) -> CutList:
        if not self.add and not self.drop:
            return listed
        cuts: dict[float, tuple[Weight, str]] = {
            cut_s: (weight, name)
            for cut_s, weight, name in zip(listed.cuts_s.tolist(), listed.weights, listed.names, strict=True)
        }
        for text in self.drop:
            time_s = self._time(text, counting, "--drop-cut")
            nearest_s = min(cuts, key=lambda cut_s: abs(cut_s - time_s), default=math.inf)
            if abs(nearest_s - time_s) > DROP_S:
                where = f"the nearest is at {nearest_s:g} s" if cuts else "there are none"
                raise InputError(f"--drop-cut: no cut is within {DROP_S:g} s of {shown(text)}; {where}")
            del cuts[nearest_s]
        for text in self.add:
            time_s = self._time(text, counting, "--add-cut")
            cuts[time_s] = ("must", cuts.get(time_s, ("", ""))[1])
        order = sorted(cuts)
        return replace(
            listed,
            cuts_s=check(order, duration_s),
            weights=tuple(cuts[cut_s][0] for cut_s in order),
            names=tuple(cuts[cut_s][1] for cut_s in order),
        )

    def _time(self, text: str, counting: Counting | None, flag: str) -> float:
        time_s = seconds(text.strip())
        if time_s is None and is_label(text) and counting is not None:
            start_s = Fraction(0) if self.start is None else counting.seconds(self.start)
            time_s = float(counting.seconds(text) - start_s)
        if time_s is None or not math.isfinite(time_s):
            raise InputError(f"{flag}: {why_not_seconds(text.strip())}")
        return time_s


#: A cut that says whether it must have a chord or may: (4.2, "must").
Marked = tuple[float, Weight]
#: Cuts as callers give them: a file, what to change about those found, times in seconds, some of them marked, or a list
#: that was read.
Cuts = str | os.PathLike[str] | CutChoice | CutList | npt.ArrayLike | Sequence[float | Marked]


def _is_marked(cut: object) -> bool:
    return isinstance(cut, tuple | list) and len(cut) == 2 and isinstance(cut[1], str)


def marked(cuts: npt.ArrayLike | Sequence[float | Marked], duration_s: float | None = None) -> CutList:
    """Times in seconds as a list, each alone or with a weight: `[4.2, (9.0, "must"), (12.5, "may")]`.

    Raises `InputError` for a weight that is neither "must", "may" nor "", and as `check` does.
    """
    if isinstance(cuts, np.ndarray) or not isinstance(cuts, Sequence) or not any(map(_is_marked, cuts)):
        return CutList(check(cuts, duration_s))
    times_s: list[Any] = []
    weights: list[Weight] = []
    for number, cut in enumerate(cuts, start=1):
        time_s, weight = cut if _is_marked(cut) else (cut, "")  # type: ignore[misc]
        if weight not in ("", "must", "may"):
            raise InputError(f'cut {number} has the weight {shown(weight)}; give "must", "may", or the time alone')
        times_s.append(time_s)
        weights.append(cast(Weight, weight))
    return CutList(check(times_s, duration_s), tuple(weights))


def listed(cuts: Cuts, duration_s: float, scene: Scene | None = None) -> CutList:
    """The cuts: those of a file, or as they are. A choice may change those that were found in the scene."""
    if isinstance(cuts, CutList):
        return cuts
    if isinstance(cuts, str | os.PathLike):
        cuts = CutChoice(cuts)
    if not isinstance(cuts, CutChoice):
        return marked(cuts, duration_s)
    if scene is None:
        return cuts.cuts(duration_s=duration_s)
    return cuts.cuts(
        scene.cuts_s, duration_s=duration_s, frame_rate=scene.frame_rate, pictures_from_s=scene.pictures_from_s
    )


def changed(cuts: Cuts | None, add: Iterable[float | str], drop: Iterable[float | str]) -> Cuts | None:
    """The same cuts with some added and some left out, as in `CutChoice`; None means those found in the film.

    add, drop: seconds, or texts as `CutChoice` takes them.
    """
    more, less = tuple(map(str, add)), tuple(map(str, drop))
    if not more and not less:
        return cuts
    if isinstance(cuts, CutChoice):
        return replace(cuts, add=cuts.add + more, drop=cuts.drop + less)
    if cuts is None or isinstance(cuts, str | os.PathLike):
        return CutChoice(cuts, add=more, drop=less)
    return CutChoice(given=cuts if isinstance(cuts, CutList) else marked(cuts), add=more, drop=less)
