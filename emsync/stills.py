"""Frames as small pictures, the right way up."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from emsync.errors import InputError, VideoError

Picture = npt.NDArray[np.uint8]

#: Formats that ffmpeg's scaler ends the whole process for, instead of refusing them.
_UNSAFE_FORMATS: Final = ("yaf32le", "yaf32be", "yaf16le", "yaf16be")


@dataclass(frozen=True)
class Orientation:
    """How a stored frame is turned to be shown: its axes swapped first, then flipped."""

    is_transposed: bool = False
    flips_x: bool = False
    flips_y: bool = False

    @classmethod
    def of(cls, frame: Any) -> Orientation:
        """The orientation that a frame's display matrix asks for, to the nearest quarter turn (as ffmpeg shows it)."""
        matrix = frame.side_data.get("DISPLAYMATRIX") if frame.rotation or len(frame.side_data) else None
        if matrix is None or len(bytes(matrix)) < 36:
            return cls()
        # A point (x, y) of the stored frame is shown at (a x + c y, b x + d y).
        a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height as shown, of a stored width and height."""
        return (height, width) if self.is_transposed else (width, height)

    def applied(self, picture: Picture) -> Picture:
        """A picture (height, width, channels) as shown."""
        turned = picture.swapaxes(0, 1) if self.is_transposed else picture
        return np.ascontiguousarray(turned[:: -1 if self.flips_y else 1, :: -1 if self.flips_x else 1])


def small(reformatter: VideoReformatter, frame: Any, width: int, height: int, form: str) -> Picture:
    """A stored frame at another size, as "gray" (height, width) or "rgb24" (height, width, 3).

    Raises `VideoError` for frames of a kind that cannot be converted.
    """
    try:
        if frame.format.name in _UNSAFE_FORMATS:
            raise ValueError("not supported")
        scaled = reformatter.reformat(frame, width=width, height=height, format=form, interpolation="AREA")
        return np.asarray(scaled.to_ndarray(), dtype=np.uint8)
    except (OSError, ValueError) as error:  # ffmpeg's errors are of these kinds
        raise VideoError(
            f"frames are of a kind that cannot be converted ({frame.format.name}, {frame.width}x{frame.height}); "
            "export the video again as H.264 in .mp4"
        ) from error


class Stills:
    """Small pictures of a film, gathered while it is analyzed, evenly spaced however long it turns out to be.

        stills = Stills()
        scene = analyze("film.mp4", stills=stills)
        stills.at([1.0, 2.0])

    When there are `most` of them, every other one is dropped and the distance doubled, so between half of `most` and
    `most` remain. Pictures fit into `width` x `height` pixels, with their proportions kept, and are the right way up.
    """

    def __init__(self, *, width: int = 240, height: int = 135, most: int = 48) -> None:
        self._box, self._most = (width, height), most
        self._step_s, self._next_s = 0.04, 0.0
        self._kept: list[tuple[float, Picture]] = []
        self._reformatter = VideoReformatter()

    def show(self, frame: Any, time_s: float) -> None:
        """Keep the frame if one is due at that time."""
        if time_s < self._next_s:
            return
        orientation = Orientation.of(frame)
        shown = orientation.size(frame.width, frame.height)
        scale = min(self._box[0] / shown[0], self._box[1] / shown[1])
        width, height = orientation.size(*(max(1, round(side * scale)) for side in shown))
        self._kept.append((time_s, orientation.applied(small(self._reformatter, frame, width, height, "rgb24"))))
        if len(self._kept) == self._most:
            self._kept, self._step_s = self._kept[::2], 2 * self._step_s
        self._next_s = (math.floor(time_s / self._step_s + 1e-6) + 1) * self._step_s

    def at(self, times_s: npt.ArrayLike) -> list[Picture]:
        """The picture kept that is nearest to each time: (height, width, 3), red, green and blue.

        Raises `InputError` when no film was analyzed.
        """
        if not self._kept:
            raise InputError("there are no stills; hand them to emsync.video.analyze first")
        kept_s = np.array([time_s for time_s, _ in self._kept])
        return [self._kept[int(np.abs(kept_s - time_s).argmin())][1] for time_s in np.atleast_1d(times_s)]
