"""Pictures of music: a piano roll with bars and cuts drawn in."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync.files import atomic_path
from emsync.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = ("#777777", "#1f77b4", "#2ca02c", "#9467bd", "#d62728")


def draw_roll(axes: Axes, score: Score, cuts_s: npt.ArrayLike = (), *, title: str = "") -> None:
    """Draw a score into axes of seconds by pitch: notes (velocity as strength), bars (thin), cuts (dashed).

    Drums stand below, on rows of their own.
    """
    from matplotlib.collections import LineCollection

    for index, instrument in enumerate(score.instruments):
        notes = score.of(index)
        if not len(notes):
            continue
        rows = notes.pitch * (0.3 if instrument.is_drum else 1.0) - (8 if instrument.is_drum else 0)
        ends = notes.start_s + 0.06 if instrument.is_drum else np.maximum(notes.end_s, notes.start_s + 0.03)
        segments = np.stack([np.stack([notes.start_s, rows], -1), np.stack([ends, rows], -1)], axis=1)
        lines = LineCollection(
            [*segments], colors=COLOURS[index % len(COLOURS)], linewidths=2.0,
            alpha=list(0.35 + 0.65 * notes.velocity / 127),
            label=instrument.name,
        )  # fmt: skip
        axes.add_collection(lines)
    for bar in score.bars.start_s:
        axes.axvline(bar, color="0.85", linewidth=0.6, zorder=0)
    for i, cut in enumerate(np.asarray(cuts_s, dtype=np.float64).tolist()):
        axes.axvline(cut, color="black", linestyle="--", linewidth=1.1, label="cut" if i == 0 else None)
    axes.set(
        xlim=(0, max(score.duration_s, 0.1)), ylim=(0, 108), xlabel="seconds", ylabel="pitch (drums below)", title=title
    )


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
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, dpi=90, format="png")
