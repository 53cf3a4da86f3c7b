"""Detection of hard cuts: our own PySceneDetect detector, and ffmpeg's scene filter, which the paper uses.

    from scenedetect import SceneManager, open_video
    manager = SceneManager()
    manager.add_detector(LocalRatioDetector())
    manager.detect_scenes(open_video("film.mp4", backend="pyav"))

A cut is the time of the first frame of a new shot. Grey levels run from 0 to 255. `emsync.video` feeds these detectors
from its own decoding pass. docs/decisions/0003-scene-cuts.md compares them.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt
from scenedetect.common import FrameTimecode, Timecode
from scenedetect.detector import SceneDetector

if TYPE_CHECKING:
    import av

#: The size of the grey frames that `LocalRatioDetector` compares: small enough that noise and grain average out.
GREY_WIDTH, GREY_HEIGHT = 96, 54

_BINS = 32

Grey = npt.NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame that the detector keeps, and how it differs from the one before it."""

    timecode: FrameTimecode
    time_s: float
    grey: Grey  # (height, width)
    histogram: npt.NDArray[np.float64]  # (bins,), sums to 1
    change: float  # mean absolute difference to the frame before, in grey levels
    distance: float  # total variation between the two histograms, 0 to 1

    def is_flat(self) -> bool:
        """Whether the frame shows nothing: black, white, or one grey."""
        return bool(self.grey.std() < 3.0)


class LocalRatioDetector(SceneDetector):  # type: ignore[misc]  # the library has no types
    """Cuts are the changes that stand out from the changes around them.

    Frames are reduced to 96x54 grey levels. A frame begins a new shot if its mean absolute difference to the frame
    before it is

    - more than `min_change` grey levels,
    - more than `ratio` times the mean of the differences within `_WINDOW_S` on both sides, so that motion is not a cut,
    - more than `_STEP` times each difference within `_RAMP_S`, so that fades and camera moves, which rise and fall
      gradually, are not cuts,
    - more than `_STEP` times all but one of the differences within `_WINDOW_S`, so that a cartoon that moves every
      fourth frame has no cuts,

    and if at least `min_distance` of the histogram's mass changes, so that an object crossing the frame is not a cut.
    Two more rules come from real clips. If the same picture comes back within 0.2 s, a flash interrupted it. Beside a
    black or white frame the ratio must be `_FLAT_FACTOR` times as large, since the flat side of a fade does not move
    and halves the mean.

    Windows are in seconds, so 12 and 120 frames a second are judged alike. Frames more than `_REACH_S` apart are not
    compared, so every slide of a slide show is a cut.
    """

    _WINDOW_S = 0.25
    _RAMP_S = 0.13
    _FLASH_S = 0.21
    _REACH_S = 0.75
    _STEP = 1.5
    _FLASH_RESIDUE = 0.3
    _FLAT_FACTOR = 2.5

    def __init__(self, ratio: float = 3.0, *, min_change: float = 8.0, min_distance: float = 0.15) -> None:
        """`ratio` is the sensitivity: lower finds more. `min_change` is in grey levels, `min_distance` from 0 to 1."""
        super().__init__()
        self._ratio = ratio
        self._min_change = min_change
        self._min_distance = min_distance
        self._frames: list[_Frame] = []
        self._decided = 0  # frames before this index were judged

    @property
    def event_buffer_length(self) -> int:
        """How many frames late a cut may be reported, at 60 frames a second."""
        return 48

    def process_frame(self, timecode: FrameTimecode, frame_img: npt.NDArray[np.uint8]) -> list[FrameTimecode]:
        """Take the next frame: (height, width) grey or (height, width, 3) BGR, uint8, of any size.

        Returns the cuts that are certain by now. Each is returned once, up to `_REACH_S` late.
        """
        grey = _small_grey(frame_img)
        histogram = np.bincount((grey >> 3).ravel(), minlength=_BINS) / grey.size
        before = self._frames[-1] if self._frames else None
        if before is None:
            change = distance = 0.0
        else:
            change = float(np.abs(grey - before.grey).mean())
            distance = float(np.abs(histogram - before.histogram).sum() / 2)
        self._frames.append(_Frame(timecode, timecode.seconds, grey, histogram, change, distance))
        return self._judge(self._frames[-1].time_s - self._REACH_S)

    def post_process(self, timecode: FrameTimecode) -> list[FrameTimecode]:
        """Decide on the frames that were waiting for later ones."""
        return self._judge(float("inf"))

    def _judge(self, until_s: float) -> list[FrameTimecode]:
        cuts = []
        while self._decided < len(self._frames) and self._frames[self._decided].time_s <= until_s:
            if self._is_cut(self._decided):
                cuts.append(self._frames[self._decided].timecode)
            self._decided += 1
        # Keep the frames that later ones are compared with.
        if self._decided < len(self._frames):
            oldest_s = self._frames[self._decided].time_s - self._REACH_S
            forget = bisect.bisect_left(self._frames, oldest_s, hi=self._decided, key=lambda frame: frame.time_s) - 1
            if forget > 0:
                del self._frames[:forget]
                self._decided -= forget
        return cuts

    def _neighbours(self, index: int, within_s: float, at_least: int) -> npt.NDArray[np.float64]:
        """Changes around `index`: all within `within_s`, and `at_least` many on each side within `_REACH_S`."""
        frames, changes = self._frames, []
        for step in (-1, 1):
            at, count = index + step, 0
            while 0 <= at < len(frames):
                apart_s = abs(frames[at].time_s - frames[index].time_s)
                if apart_s > within_s and (count >= at_least or apart_s > self._REACH_S):
                    break
                changes.append(frames[at].change)
                at, count = at + step, count + 1
        return np.array(changes)

    def _is_cut(self, index: int) -> bool:
        frame = self._frames[index]
        if frame.change <= self._min_change or frame.distance <= self._min_distance:
            return False
        around = self._neighbours(index, self._WINDOW_S, 2)
        near = self._neighbours(index, self._RAMP_S, 1)
        ratio = self._ratio
        if around.size:
            if frame.is_flat() or self._frames[index - 1].is_flat():
                ratio *= self._FLAT_FACTOR
            if frame.change <= ratio * around.mean() or frame.change <= self._STEP * near.max(initial=0.0):
                return False
            # Near the ends of the film, one side is missing.
            seen_s = self._frames[0].time_s + self._WINDOW_S, self._frames[-1].time_s - self._WINDOW_S
            allowed = 1 if seen_s[0] <= frame.time_s <= seen_s[1] else 0
            if np.count_nonzero(self._STEP * around >= frame.change) > allowed:
                return False
        return not self._is_flash(index)

    def _is_flash(self, index: int) -> bool:
        """Whether the frame before `index` soon comes back, or the one at `index` was there shortly before."""
        frames, limit = self._frames, self._FLASH_RESIDUE * self._frames[index].change
        for of, step in ((index - 1, 1), (index, -1)):
            at = of + 2 * step
            while 0 <= at < len(frames) and abs(frames[at].time_s - frames[of].time_s) <= self._FLASH_S + 1e-9:
                if np.abs(frames[at].grey - frames[of].grey).mean() < limit:
                    return True
                at += step
        return False


def _small_grey(picture: npt.NDArray[np.uint8]) -> Grey:
    """A frame of any size as (54, 96) grey levels."""
    if picture.ndim == 2 and picture.shape == (GREY_HEIGHT, GREY_WIDTH):
        return picture.astype(np.int16)
    import cv2  # the library brings it

    grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (GREY_WIDTH, GREY_HEIGHT), interpolation=cv2.INTER_AREA)).astype(np.int16)


class CutFinder(Protocol):
    """Finds cuts; it is given every frame of a film in order."""

    def show(self, frame: av.VideoFrame, grey: npt.NDArray[np.uint8], ticks: int) -> None:
        """Take the next frame, the same as (54, 96) grey levels, and its time in ticks of the film's time base."""

    def finish(self) -> npt.NDArray[np.float64]:
        """After the last frame: the cuts in seconds, strictly increasing, none of them at 0."""


class LibraryFinder:
    """A PySceneDetect detector on small grey frames (`width` None), or on BGR frames at most `width` wide."""

    def __init__(self, detector: Any, time_base: Fraction, frame_rate: Fraction, width: int | None) -> None:
        """`frame_rate` is for detectors that count frames; times come from the ticks alone."""
        self._detector, self._time_base, self._frame_rate, self._width = detector, time_base, frame_rate, width
        self._cuts_s: set[float] = set()
        self._last: FrameTimecode | None = None
        if width is not None:
            from av.video.reformatter import VideoReformatter

            self._reformatter = VideoReformatter()

    def show(self, frame: av.VideoFrame, grey: npt.NDArray[np.uint8], ticks: int) -> None:
        timecode = FrameTimecode(Timecode(ticks, self._time_base), self._frame_rate)
        image = grey if self._width is None else self._bgr(frame)
        self._last = timecode
        self._cuts_s.update(cut.seconds for cut in self._detector.process_frame(timecode, image))

    def _bgr(self, frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
        assert self._width is not None
        width = min(self._width, frame.width)
        height = max(1, round(frame.height * width / frame.width))
        small = self._reformatter.reformat(frame, width=width, height=height, format="bgr24", interpolation="AREA")
        return small.to_ndarray().astype(np.uint8, copy=False)

    def finish(self) -> npt.NDArray[np.float64]:
        if self._last is not None:
            self._cuts_s.update(cut.seconds for cut in self._detector.post_process(self._last))
        return np.array(sorted(cut_s for cut_s in self._cuts_s if cut_s > 0), dtype=np.float64)


class FfmpegFinder:
    """ffmpeg's `select='gt(scene,THRESHOLD)'` on frames of full size; the paper uses ffmpeg (Section III-B3)."""

    def __init__(self, threshold: float, time_base: Fraction) -> None:
        """`threshold` is ffmpeg's scene score, 0 to 1."""
        self._threshold, self._time_base = threshold, time_base
        self._graph: Any = None
        self._form: tuple[int, int, str] | None = None
        self._cuts_s: list[float] = []
        self._reformatter: Any = None

    def show(self, frame: av.VideoFrame, grey: npt.NDArray[np.uint8], ticks: int) -> None:
        import av.error
        from av.video.reformatter import VideoReformatter

        if self._graph is None:
            self._form = (frame.width, frame.height, frame.format.name)
            self._graph, self._reformatter = self._build(frame), VideoReformatter()
        elif (frame.width, frame.height, frame.format.name) != self._form:
            # The filter is set up for one size. Frames of another size are scaled to it.
            assert self._form is not None
            frame = self._reformatter.reformat(
                frame, width=self._form[0], height=self._form[1], format=self._form[2], interpolation="AREA"
            )
        # The filter needs our time stamps; the caller gets the frame back with its own.
        pts, frame_time_base = frame.pts, frame.time_base
        frame.pts, frame.time_base = ticks, self._time_base
        self._graph.vpush(frame)
        frame.pts, frame.time_base = pts, frame_time_base
        while True:
            try:
                chosen = self._graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            self._cuts_s.append(float(chosen.pts * self._time_base))

    def _build(self, frame: av.VideoFrame) -> Any:
        from av.filter import Graph

        graph = Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=self._time_base
        )
        select = graph.add("select", f"gt(scene,{self._threshold:.6f})")
        sink = graph.add("buffersink")
        source.link_to(select)
        select.link_to(sink)
        graph.configure()
        return graph

    def finish(self) -> npt.NDArray[np.float64]:
        return np.array([cut_s for cut_s in self._cuts_s if cut_s > 0], dtype=np.float64)


def make_finder(name: str, threshold: float, time_base: Fraction, frame_rate: Fraction) -> CutFinder:
    """The cut finder called `name`, for a film with that time base and nominal frame rate."""
    if name == "local-ratio":
        return LibraryFinder(LocalRatioDetector(threshold), time_base, frame_rate, None)
    if name == "ffmpeg":
        return FfmpegFinder(threshold, time_base)
    # The library's own manager reduces frames to this width.
    if name == "content":
        from scenedetect.detectors import ContentDetector

        return LibraryFinder(ContentDetector(threshold), time_base, frame_rate, 256)
    from scenedetect.detectors import AdaptiveDetector

    return LibraryFinder(AdaptiveDetector(threshold), time_base, frame_rate, 256)
