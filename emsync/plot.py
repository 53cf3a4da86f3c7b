"""Pictures of music and of films: a piano roll with bars and cuts drawn in, and a film's mood along its time."""

from __future__ import annotations

import contextlib
import itertools
import os
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import printable
from emsync.files import atomic_path
from emsync.mood import MoodCurve, nearest_emotion
from emsync.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from emsync.film import Stills
    from emsync.video import Scene

Picture = npt.NDArray[np.uint8]

#: Colours that people with any kind of colour vision can distinguish (Okabe and Ito,
#: https://jfly.uni-koeln.de/color/). Drums are grey, the first; other instruments take the rest in turn.
COLOURS: Final = ("#666666", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def instrument_colours(score: Score) -> list[str]:
    """A colour of `COLOURS` for each instrument: grey for drums, the others in turn."""
    turn = itertools.cycle(COLOURS[1:])
    return [COLOURS[0] if each.is_drum else next(turn) for each in score.instruments]


def draw_roll(axes: Axes, score: Score, cuts_s: npt.ArrayLike = (), *, title: str = "") -> None:
    """Draw a score into axes of seconds by pitch: notes (velocity as strength), bars (thin), cuts (dashed).

    Drums are below, on their own rows.
    """
    from matplotlib.collections import LineCollection

    colours = instrument_colours(score)
    for index, instrument in enumerate(score.instruments):
        notes = score.of(index)
        if not len(notes):
            continue
        rows = notes.pitch * (0.3 if instrument.is_drum else 1.0) - (8 if instrument.is_drum else 0)
        ends = notes.start_s + 0.06 if instrument.is_drum else np.maximum(notes.end_s, notes.start_s + 0.03)
        segments = np.stack([np.stack([notes.start_s, rows], -1), np.stack([ends, rows], -1)], axis=1)
        lines = LineCollection(
            [*segments], colors=colours[index], linewidths=2.0,
            alpha=list(0.35 + 0.65 * notes.velocity / 127),
            label=_legend(instrument.name),
        )  # fmt: skip
        axes.add_collection(lines)
    for bar in score.bars.start_s:
        axes.axvline(bar, color="0.85", linewidth=0.6, zorder=0)
    for i, cut in enumerate(np.asarray(cuts_s, dtype=np.float64).tolist()):
        axes.axvline(cut, color="black", linestyle="--", linewidth=1.1, label="cut" if i == 0 else None)
    axes.set(xlim=(0, max(score.duration_s, 0.1)), ylim=(0, 108), xlabel="seconds", ylabel="pitch (drums below)")
    axes.set_title(printable(title), parse_math=False)


def _legend(name: str) -> str:
    """A name for a legend, where a dollar sign would begin mathematics and an underscore hide the entry."""
    return printable(name).replace("$", r"\$").lstrip("_")


@contextlib.contextmanager
def any_glyph() -> Iterator[None]:
    """Without warnings for characters that the font lacks; they are drawn as boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def save_roll(
    score: Score, path: str | os.PathLike[str], cuts_s: npt.ArrayLike = (), *, title: str = "", overwrite: bool = True
) -> None:
    """Write a piano-roll picture (PNG) of one score."""
    save_rolls([(title, score, cuts_s)], path, overwrite=overwrite)


def save_rolls(
    rolls: Sequence[tuple[str, Score, Any]], path: str | os.PathLike[str], *, overwrite: bool = True
) -> None:
    """Write several piano rolls, (title, score, cuts), one above the other, as one PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4.2 * len(rolls)), layout="constrained")
    for i, (title, score, cuts) in enumerate(rolls):
        axes = figure.add_subplot(len(rolls), 1, i + 1)
        draw_roll(axes, score, cuts, title=title)
        if i == 0:
            axes.legend(loc="upper right", ncols=6, fontsize=8)
    with atomic_path(path, overwrite=overwrite) as temporary, any_glyph():
        figure.savefig(temporary, dpi=90, format="png")


#: A film is shown by this many pictures side by side, each in a box of so many points (height, width).
N_STILLS: Final = 10
_STILL_BOX: Final = (135, 240)
#: An emotion is named where it stays the nearest for this long, and for this share of the film.
STABLE_S, STABLE_SHARE = 3.0, 0.07
_EMOTION_COLOURS: Final = {
    "anger": "#D55E00", "disgust": "#009E73", "fear": "#666666", "joy": "#F0E442", "sadness": "#56B4E9",
    "surprise": "#CC79A7",
}  # fmt: skip
_VALENCE, _AROUSAL = "#0072B2", "#D55E00"


def film_strip(pictures: Sequence[Picture]) -> Picture:
    """Pictures (height, width, 3) side by side in boxes of one size, each in the middle of its own, on white."""
    height, width = _STILL_BOX
    strip = np.full((height, width * len(pictures), 3), 255, np.uint8)
    for i, picture in enumerate(pictures):
        shown = picture[:height, :width]
        top, left = (height - shown.shape[0]) // 2, i * width + (width - shown.shape[1]) // 2
        strip[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return strip


def stable_emotions(curve: MoodCurve, duration_s: float) -> list[tuple[float, float, str]]:
    """Where one emotion stays the nearest: (start_s, end_s, name), at least `STABLE_S` and `STABLE_SHARE` of the film.

    A film shorter than `STABLE_S` needs half its length. Where valence or arousal is not given, nothing is named.
    """
    names = [
        None if np.isnan(valence + arousal) else nearest_emotion(valence, arousal)
        for valence, arousal in zip(curve.valence.tolist(), curve.arousal.tolist(), strict=True)
    ]
    middles_s = (curve.times_s[1:] + curve.times_s[:-1]) / 2
    edges_s = [0.0, *middles_s.tolist(), max(duration_s, float(curve.times_s[-1]))]
    least_s = max(min(STABLE_S, duration_s / 2), STABLE_SHARE * duration_s)
    spans = []
    for name, group in itertools.groupby(range(len(names)), key=lambda i: names[i]):
        points = list(group)
        start_s, end_s = edges_s[points[0]], edges_s[points[-1] + 1]
        if name is not None and end_s - start_s >= least_s:
            spans.append((start_s, end_s, name))
    return spans


def save_film(
    scene: Scene,
    curve: MoodCurve | None,
    stills: Stills,
    path: str | os.PathLike[str],
    *,
    reader: str = "",
    overwrite: bool = True,
) -> None:
    """Write a film as one picture (PNG, 1600 points wide): stills, cuts, motion, loudness and mood, on one time axis.

    `reader` says where the mood comes from; without a curve its panel is left out.
    """
    from matplotlib.figure import Figure

    wide, left, right, gap = 16.0, 0.9, 0.15, 0.14  # inches
    inner = wide - left - right
    # The first panel is as high as a box of its width, so that the pictures keep their proportions.
    heights = [inner / N_STILLS * _STILL_BOX[0] / _STILL_BOX[1], 0.42, 1.05, 1.05] + ([] if curve is None else [3.0])
    high = sum(heights) + gap * (len(heights) - 1) + 0.95
    figure = Figure(figsize=(wide, high), dpi=100)
    panels: list[Axes] = []
    top = high - 0.4
    for height in heights:
        place = (left / wide, (top - height) / high, inner / wide, height / high)
        panels.append(figure.add_axes(place, sharex=panels[0] if panels else None))
        top -= height + gap
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    width_s = scene.duration_s
    panels[0].set_title(_film_title(scene), loc="left", fontsize=11, parse_math=False)
    _draw_stills(panels[0], stills, width_s)
    _draw_cuts(panels[1], scene)
    edges_s = np.append(scene.times_s, width_s)
    panels[2].stairs(scene.motion, edges_s, fill=True, color="#7f9f7f")
    panels[2].set(ylabel="motion\n(1/s)", ylim=(0, max(0.1, 1.05 * float(scene.motion.max(initial=0.0)))))
    _draw_loudness(panels[3], scene)
    if curve is not None:
        draw_mood(panels[4], curve, width_s, reader)
    for axes in panels[2:]:
        for cut_s in scene.boundaries_s:
            axes.axvline(cut_s, color="0.55", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)
    panels[-1].set(xlim=(0, width_s), xlabel="seconds")
    figure.align_ylabels(panels[2:])
    with atomic_path(path, overwrite=overwrite) as temporary, any_glyph():
        figure.savefig(temporary, format="png", pil_kwargs={"optimize": True})


def _film_title(scene: Scene) -> str:
    name = printable(os.path.basename(scene.path))
    name = name if len(name) <= 100 else name[:97] + "..."
    return f"{name}   {scene.duration_s:.1f} s   {scene.width}x{scene.height}"


def _draw_stills(axes: Axes, stills: Stills, duration_s: float) -> None:
    middles_s = (np.arange(N_STILLS) + 0.5) * duration_s / N_STILLS
    strip = film_strip(stills.at(middles_s))
    axes.imshow(strip, extent=(0, duration_s, 0, 1), aspect="auto", interpolation="lanczos")  # drawn at 149 x 84
    for i in range(1, N_STILLS):
        axes.axvline(i * duration_s / N_STILLS, color="white", linewidth=2)
    axes.set(yticks=[])
    axes.tick_params(bottom=False)
    axes.set_frame_on(False)


def _draw_cuts(axes: Axes, scene: Scene) -> None:
    kept = set(scene.boundaries_s.tolist())
    for cut_s in scene.cuts_s.tolist():
        strong = cut_s in kept
        axes.axvline(cut_s, color="black" if strong else "0.5", linewidth=2.6 if strong else 0.9)
    axes.set(yticks=[])
    axes.set_ylabel("cuts", rotation=0, ha="right", va="center")
    axes.tick_params(bottom=False)


def _draw_loudness(axes: Axes, scene: Scene) -> None:
    heard_db = np.nan_to_num(scene.loudness_db, nan=-120.0)
    axes.set(ylabel="loudness\n(dB)", ylim=(-60, 0), yticks=[-60, -30, 0])
    if (heard_db > -60).any():
        edges_s = np.append(np.arange(heard_db.size), scene.duration_s)
        axes.stairs(np.maximum(heard_db, -60), edges_s, baseline=-60, fill=True, color="#b09a78")
    else:
        axes.text(0.5, 0.5, "no sound", transform=axes.transAxes, ha="center", va="center", color="0.5")


def draw_mood(axes: Axes, curve: MoodCurve, duration_s: float, reader: str, *, wide: int = 40) -> None:
    """Draw valence, arousal and stable emotions; the ends are held, as the composer holds them.

    - reader: where the mood comes from; "" leaves that out.
    - wide: the most characters in a line of the label.
    """
    times_s = np.concatenate([[0.0], curve.times_s, [max(duration_s, float(curve.times_s[-1]))]])
    for name, colour, level in (("valence", _VALENCE, curve.valence), ("arousal", _AROUSAL, curve.arousal)):
        levels = np.concatenate([level[:1], level, level[-1:]])
        axes.plot(times_s, levels, color=colour, linewidth=2.2, label=name)
        axes.fill_between(times_s, levels, color=colour, alpha=0.08, linewidth=0)
    for start_s, end_s, emotion in stable_emotions(curve, duration_s):
        axes.broken_barh([(start_s, end_s - start_s)], (-1.36, 0.3), color=_EMOTION_COLOURS[emotion], alpha=0.35)
        axes.text((start_s + end_s) / 2, -1.21, emotion, ha="center", va="center", fontsize=10)
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    source = textwrap.fill(f"({printable(reader)[-40:]})", wide) if reader else ""
    axes.set_ylabel(f"mood\n{source}".rstrip(), parse_math=False)
    axes.set(ylim=(-1.36, 1.36), yticks=[-1, -0.5, 0, 0.5, 1])
    axes.legend(loc="upper right", ncols=2, fontsize=9, borderaxespad=0.3, frameon=False)
