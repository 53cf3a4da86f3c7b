"""A piece as one picture: form, cuts, chords, every instrument, tempo and mood on one time axis; PNG or SVG.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any kind of colour vision can
tell apart; cuts differ in shape as well. The same piece gives the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import OutputError, printable
from emsync.files import atomic_path
from emsync.piece import Cut, Piece, clock
from emsync.plot import any_glyph, draw_mood, instrument_colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: The endings that a picture's name may have.
ENDINGS: Final = (".png", ".svg")
#: Colour, marker and legend text of a cut, by `Cut.state`.
CUT_MARKS: Final = {
    "frame": ("#009E73", "v", "cut met within a frame"),
    "second": ("#E69F00", "D", "met within a second"),
    "missed": ("#D55E00", "X", "missed"),
    "marked": ("#999999", "|", "no chord asked for"),
}
#: Instruments beyond this many share one panel.
MOST_PANELS: Final = 24
#: More notes than this are drawn as pixels in SVG too, so that the file stays small.
_MOST_VECTORS: Final = 20_000
_WIDE, _LEFT, _RIGHT, _GAP = 16.0, 1.25, 0.2, 0.09  # inches
#: The most characters in a line left of a panel.
_LABEL: Final = 10
_STRIP, _TEMPO, _MOOD = 0.34, 0.8, 1.7  # inches
_SECTION_TINTS: Final = ("#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#E69F00", "#0072B2")


@dataclass(frozen=True)
class _Group:
    """Instruments that share a panel."""

    name: str
    indices: tuple[int, ...]
    is_drums: bool


def check_ending(path: str | os.PathLike[str]) -> str:
    """The format of a picture, "png" or "svg", by its name. Raises `OutputError` for any other ending."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise OutputError(f"{path} ends in neither .png nor .svg; name the picture SONG.png or SONG.svg")
    return ending[1:]


def save_piece(piece: Piece, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Draw a piece and write it as PNG or SVG, by the ending of `path`.

    Raises `OutputError` for another ending, for a place that cannot be written, or for an existing file unless
    `overwrite`.
    """
    kind = check_ending(path)
    from matplotlib import rc_context

    with rc_context({"svg.hashsalt": "emsync", "axes.unicode_minus": False}):
        figure = _figure(piece)
        options: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"pil_kwargs": {"optimize": True}}
        with atomic_path(path, overwrite=overwrite) as temporary, any_glyph():
            figure.savefig(temporary, format=kind, **options)


def _figure(piece: Piece) -> Any:
    from matplotlib.figure import Figure

    groups = _groups(piece)
    panels: list[tuple[str, float]] = []
    if piece.sections:
        panels.append(("form", _STRIP))
    panels += [("cuts", _STRIP), ("chords", _STRIP)]
    panels += [(f"group {i}", _high(piece, group)) for i, group in enumerate(groups)]
    panels.append(("tempo", _TEMPO))
    if piece.mood is not None:
        panels.append(("mood", _MOOD))
    high = sum(height for _, height in panels) + _GAP * (len(panels) - 1) + 1.15
    figure = Figure(figsize=(_WIDE, high), dpi=100)
    by_name: dict[str, Axes] = {}
    top = high - 0.65
    inner = _WIDE - _LEFT - _RIGHT
    for name, height in panels:
        place = (_LEFT / _WIDE, (top - height) / high, inner / _WIDE, height / high)
        by_name[name] = figure.add_axes(place, sharex=next(iter(by_name.values()), None))
        top -= height + _GAP
    for name, axes in by_name.items():
        _draw_grid(axes, piece, bars=name not in ("form", "mood"))
    if piece.sections:
        _draw_sections(by_name["form"], piece)
    _draw_cuts(by_name["cuts"], piece.cuts)
    if len({cut.state for cut in piece.cuts}) > 1:
        first = next(iter(by_name.values()))  # between the titles and the first panel, where nothing else is drawn
        first.legend(
            handles=by_name["cuts"].get_legend_handles_labels()[0], loc="lower right", bbox_to_anchor=(1, 1.0), ncols=4,
            fontsize=8, frameon=False, borderaxespad=0, handletextpad=0.2, columnspacing=1.0,
        )  # fmt: skip
    _draw_chords(by_name["chords"], piece)
    for i, group in enumerate(groups):
        _draw_group(by_name[f"group {i}"], piece, group)
    _draw_tempo(by_name["tempo"], piece)
    if piece.mood is not None:
        draw_mood(by_name["mood"], piece.mood, piece.duration_s, piece.mood_source, wide=_LABEL)
    _dress([*by_name.values()], piece, high)
    return figure


def _dress(panels: Sequence[Axes], piece: Piece, high: float) -> None:
    """Title above the first panel, seconds below the last one, nothing between."""
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False, bottom=False)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.yaxis.set_label_coords(-0.028, 0.5)
        axes.yaxis.label.set(rotation=0, ha="right", va="center")
    panels[-1].set(xlim=(0, max(piece.duration_s, 0.1)), xlabel="seconds")
    panels[0].set_title(_title(piece), loc="left", fontsize=12, fontweight="bold", parse_math=False, pad=22)
    facts = [f"{piece.duration_s:.1f} s", f"{len(piece.score)} notes", f"{len(piece.score.bars)} bars"]
    if piece.asked:
        facts.append(f"{piece.n_within_frame} of {len(piece.asked)} cuts met within a frame")
    panels[0].set_title("   ".join(facts), loc="right", fontsize=10, color="0.35", pad=22)


def _title(piece: Piece) -> str:
    name = printable(piece.title)
    return name if len(name) <= 80 else name[:77] + "..."


def _groups(piece: Piece) -> list[_Group]:
    """A group for each instrument with notes, drums last; those beyond `MOST_PANELS` share the last group."""
    score = piece.score
    order = sorted(piece.playing(), key=lambda i: (score.instruments[i].is_drum, i))
    single = order if len(order) <= MOST_PANELS else order[: MOST_PANELS - 1]
    groups = [_Group(score.instruments[i].name, (i,), score.instruments[i].is_drum) for i in single]
    rest = tuple(order[len(single) :])
    if rest:
        groups.append(_Group(f"{len(rest)} others", rest, False))
    return groups


def _high(piece: Piece, group: _Group) -> float:
    """Inches for a group: more for a wider range of pitches."""
    pitches = piece.score.pitch[np.isin(piece.score.instrument, group.indices)]
    if group.is_drums:
        return 0.35 + 0.09 * len(np.unique(pitches))
    return float(np.clip(0.45 + 0.022 * (pitches.max() - pitches.min()), 0.55, 1.7))


def _draw_grid(axes: Axes, piece: Piece, *, bars: bool) -> None:
    """Bar lines (thin) and cuts (dashed) through a panel. If there are very many bars, only some get a line."""
    if bars:
        starts_s = piece.score.bars.start_s
        for bar_s in starts_s[:: _every(len(starts_s), 160)]:
            axes.axvline(bar_s, color="0.88", linewidth=0.6, zorder=0)
    for cut in piece.cuts:
        axes.axvline(cut.time_s, color="0.35", linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)


def _every(count: int, most: int) -> int:
    """The step, 1, 2, 4, 8, ..., that leaves at most `most` of `count`."""
    step = 1
    while count > most * step:
        step *= 2
    return step


def _strip(axes: Axes, label: str) -> None:
    axes.set(yticks=[], ylim=(0, 1), ylabel=label)


def _draw_sections(axes: Axes, piece: Piece) -> None:
    names = [section.name for section in piece.sections]
    tints = {name: _SECTION_TINTS[i % len(_SECTION_TINTS)] for i, name in enumerate(dict.fromkeys(names))}
    for section in piece.sections:
        axes.axvspan(section.start_s, section.end_s, color=tints[section.name], alpha=0.35, linewidth=0)
        axes.axvline(section.start_s, color="white", linewidth=1.5)
        room = int((section.end_s - section.start_s) / max(piece.duration_s, 0.1) * 150)
        axes.text(
            (section.start_s + section.end_s) / 2, 0.5, _fitting(section.name, room), ha="center", va="center",
            fontsize=9, clip_on=True, parse_math=False,
        )  # fmt: skip
    _strip(axes, "form")


def _fitting(text: str, room: int) -> str:
    """At most `room` characters of a text; none if hardly any fit."""
    shown = printable(text)
    return shown if len(shown) <= room else shown[: room - 1] + "…" if room > 3 else ""


def _draw_cuts(axes: Axes, cuts: Sequence[Cut]) -> None:
    for state, (colour, mark, label) in CUT_MARKS.items():
        times_s = [cut.time_s for cut in cuts if cut.state == state]
        if times_s:
            axes.plot(
                times_s, [0.5] * len(times_s), mark, color=colour, markersize=9 if mark == "|" else 8,
                markeredgecolor=colour if mark == "|" else "white", linestyle="none", label=label, clip_on=False,
                zorder=3,
            )  # fmt: skip
    _strip(axes, "cuts")


def _draw_chords(axes: Axes, piece: Piece) -> None:
    last_s, room_s = -np.inf, piece.duration_s / 45
    for chord in piece.chords:
        axes.axvline(chord.time_s, ymin=0.0, ymax=0.2, color="black", linewidth=1.2)
        if chord.time_s - last_s >= room_s:
            axes.annotate(
                chord.name,
                (chord.time_s, 0.28),
                xytext=(2, 0),
                textcoords="offset points",
                fontsize=9,
                annotation_clip=True,
            )
            last_s = chord.time_s
    _strip(axes, "chords")


def _draw_group(axes: Axes, piece: Piece, group: _Group) -> None:
    """Notes as lines; velocity as strength. Drums have a row for each drum, with the onset alone."""
    from matplotlib.collections import LineCollection

    score = piece.score
    colours = instrument_colours(score)
    chosen = np.isin(score.instrument, group.indices)
    pitch, start_s, end_s = score.pitch[chosen], score.start_s[chosen], score.end_s[chosen]
    shortest_s = max(piece.duration_s, 1.0) / 700
    rows: npt.NDArray[Any] = np.unique(pitch, return_inverse=True)[1].ravel() if group.is_drums else pitch
    ends_s = start_s + shortest_s if group.is_drums else np.maximum(end_s, start_s + shortest_s)
    segments = np.stack([np.stack([start_s, rows], -1), np.stack([ends_s, rows], -1)], axis=1)
    axes.add_collection(
        LineCollection(
            [*segments],
            colors=[colours[i] for i in score.instrument[chosen]],
            linewidths=2.4,
            capstyle="butt",
            alpha=list(0.4 + 0.6 * score.velocity[chosen] / 127),
            rasterized=len(score) > _MOST_VECTORS,
            zorder=2,
        )
    )
    low, high = int(rows.min()), int(rows.max())
    axes.set_ylim(low - 1.5, high + 1.5)
    axes.set_ylabel(_fitting(group.name, 16), parse_math=False)
    octaves = [] if group.is_drums else [p for p in range(0, 128, 12) if low - 1 <= p <= high + 1]
    axes.set_yticks(octaves, [f"C{p // 12 - 1}" for p in octaves], fontsize=7, color="0.4")
    for octave in octaves:
        axes.axhline(octave, color="0.93", linewidth=0.7, zorder=0)


def _draw_tempo(axes: Axes, piece: Piece) -> None:
    """The tempo as steps, in quarter notes a minute, and the numbers of some bars."""
    tempo = piece.score.tempo
    inside = tempo.times_s < max(piece.duration_s, 0.1)
    qpm = tempo.qpm[inside]
    axes.stairs(
        qpm, [*tempo.times_s[inside], max(piece.duration_s, 0.1)], baseline=None, color="#0072B2", linewidth=1.8
    )
    low, high = float(qpm.min()), float(qpm.max())
    room = max((high - low) * 0.25, 0.05 * high)
    axes.set_ylim(low - room, high + room)
    axes.set_ylabel("tempo\n(qpm)")
    axes.tick_params(axis="y", labelsize=8)
    starts_s = piece.score.bars.start_s
    for number in range(0, len(starts_s), _every(len(starts_s), 24)):
        axes.annotate(
            f"{number + 1}", (starts_s[number], 0), xycoords=("data", "axes fraction"), xytext=(2, 2),
            textcoords="offset points", fontsize=7, color="0.5", annotation_clip=True,
        )  # fmt: skip


def summary(piece: Piece) -> str:
    """One line on how cuts are met, such as "4 of 5 cuts met within a frame; missed: 0:12.04."."""
    if not piece.asked:
        return f"{clock(piece.duration_s)} without a cut that needs a chord."
    missed = [clock(cut.time_s) for cut in piece.asked if cut.state == "missed"]
    text = f"{piece.n_within_frame} of {len(piece.asked)} cuts met within a frame"
    return text + (f"; missed: {', '.join(missed)}." if missed else ".")
