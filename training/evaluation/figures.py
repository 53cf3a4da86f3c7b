"""Measurements as one picture, for `emsync evaluate --plot`: a panel for each, PNG or SVG.

    save([Panel("AV-Align, frame", ("a.mp4", "b.mp4"), {"own": (0.1, 0.2), "shifted": (0.05, 0.1)})], "figures.png")

Colours are those of Okabe and Ito, as in `plot_piece`; series differ in their marks or hatches, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from emsync.errors import printable
from emsync.files import atomic_path
from emsync.plot import any_glyph
from emsync.plot_piece import check_ending

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from emsync.training.evaluation.av_align import Alignment
    from emsync.training.evaluation.scored_films import Scores

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
MARKS: Final = ("o", "D", "^", "s", "v", "P")
HATCHES: Final = ("", "//", "..", "\\\\", "xx", "--")
#: Rows beyond this many are left out of a panel; the tables have all.
MOST_ROWS: Final = 40
#: Names longer than this are cut off.
LONGEST_NAME: Final = 28


@dataclass(frozen=True)
class Panel:
    """Values by row and series.

    - title: what is measured, with its unit.
    - rows: names, from the top down.
    - series: by name, a value for each row; NaN where there is none.
    - stacked: bars that add up, instead of marks side by side.
    - lines: other figures to compare with, by name.
    """

    title: str
    rows: tuple[str, ...]
    series: Mapping[str, Sequence[float]]
    stacked: bool = False
    lines: Mapping[str, float] = field(default_factory=dict)


def save(panels: Sequence[Panel], path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Draw the panels one below the other. Raises `OutputError` for a place or an ending that cannot be written."""
    kind = check_ending(path)
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    shown = [min(len(panel.rows), MOST_ROWS) for panel in panels]
    heights = [0.28 * n + 0.9 for n in shown]
    with rc_context({"svg.hashsalt": "emsync", "axes.unicode_minus": False}):
        figure = Figure(figsize=(9.0, sum(heights)), dpi=120, layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
        for at, panel in zip(axes, panels, strict=True):
            _draw(at, panel)
        options: dict[str, Any] = {"metadata": {"Date": None}} if kind == "svg" else {"pil_kwargs": {"optimize": True}}
        with atomic_path(path, overwrite=overwrite) as temporary, any_glyph():
            figure.savefig(temporary, format=kind, **options)


def _draw(axes: Axes, panel: Panel) -> None:
    rows = panel.rows[:MOST_ROWS]
    places = range(len(rows))
    left = [0.0] * len(rows)
    for i, (name, given) in enumerate(panel.series.items()):
        values = [0.0 if panel.stacked and math.isnan(value) else value for value in given[: len(rows)]]
        colour = COLOURS[i % len(COLOURS)]
        if panel.stacked:
            axes.barh(
                places, values, left=left, height=0.6, color=colour, edgecolor="white", label=name,
                hatch=HATCHES[i % len(HATCHES)],
            )  # fmt: skip
            left = [a + b for a, b in zip(left, values, strict=True)]
        else:
            mark = MARKS[i % len(MARKS)]
            axes.plot(values, places, linestyle="", marker=mark, color=colour, markersize=7, alpha=0.85, label=name)
    for i, (name, value) in enumerate(panel.lines.items()):
        axes.axvline(value, color="#555555", linewidth=1, linestyle=("--", ":", "-.")[i % 3], label=name)
    axes.set_yticks(places, [_short(name) for name in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color="#DDDDDD")
    axes.set_axisbelow(True)
    rest = f" (the first {MOST_ROWS} of {len(panel.rows)})" if len(panel.rows) > MOST_ROWS else ""
    axes.set_title(panel.title + rest, loc="left", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False)


def _short(name: str) -> str:
    text = printable(name).replace("$", r"\$")
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def of_alignment(found: Alignment) -> list[Panel]:
    """AV-Align of films as they are."""
    from emsync.training.evaluation.av_align import KINDS, WINDOWS

    by_kind = dict(zip(KINDS, (found.own, found.shifted, found.others), strict=True))
    return [
        Panel(
            f"AV-Align of films' sound, within a {window} (matches / union of peaks)", found.names,
            {name: [scores[window] for scores in by_film] for name, by_film in by_kind.items()},
        )
        for window in WINDOWS
    ]  # fmt: skip


def of_scores(found: Scores) -> list[Panel]:
    """AV-Align of music composed for films, KL if it was measured, and run time."""
    from emsync.training.evaluation.av_align import PAPER, WINDOWS
    from emsync.training.evaluation.scored_films import KINDS, PAPER_MINUTES, STAGES

    names = tuple(film.music.name for film in found.films)
    panels = []
    for i, window in enumerate(WINDOWS):
        lines: dict[str, float] = {}
        for data, method, *scores in PAPER:
            if str(method) == "EMSYNC":
                lines[f"the paper, {data}"] = float(scores[i])
        series = {kind: [by[kind][window] for by in found.align] for kind in KINDS}
        title = f"AV-Align of the music, within a {window} (matches / union of peaks)"
        panels.append(Panel(title, names, series, lines=lines))
    if not all(math.isnan(apart["music"]) for apart in found.divergences):
        series = {kind: [apart[kind] for apart in found.divergences] for kind in ("music", "others")}
        panels.append(Panel("KL of tags of the film's own sound from those of the music (nats)", names, series))
    minutes = [film.music.duration_s / 60 for film in found.films]
    spent = {
        stage: [film.spent[stage].wall_s / m for film, m in zip(found.films, minutes, strict=True)] for stage in STAGES
    }
    paper = {"the paper": 60 * PAPER_MINUTES["EMSYNC"]}
    title = "Run time by the wall clock (seconds per minute of film)"
    return [*panels, Panel(title, names, spent, stacked=True, lines=paper)]


def of_bits(values: Mapping[str, Any]) -> list[Panel]:
    """Bits per note of a model on an archive, from what evaluation.json holds."""
    labels = {
        "bits_per_note": "with conditions",
        "without_mood_bits_per_note": "without mood",
        "unconditioned_bits_per_note": "without conditions",
        "without_copying_bits_per_note": "without copying",
    }
    rows = {label: float(values[key]) for key, label in labels.items() if values.get(key) is not None}
    rows |= {name: float(each["bits_per_note"]) for name, each in values.get("baselines", {}).items()}
    return [Panel("Bits per note, lower is better", tuple(rows), {"bits per note": list(rows.values())})]
