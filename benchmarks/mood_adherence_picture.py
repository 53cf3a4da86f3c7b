"""Draw how the model follows mood at each strength, from the table in docs/mood-adherence.md.

python benchmarks/mood_adherence_picture.py [docs/mood-adherence.md] [-o docs/pictures/mood-adherence.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import numpy as np

from emsync.files import atomic_path
from emsync.training.evaluation.mood_adherence import FAR

DOCS: Final = Path(__file__).resolve().parent.parent / "docs"
HEAD: Final = "| strength | axis | "
#: Colours that colour-blind readers can tell apart.
COLOURS: Final = {"valence": "#0072B2", "arousal": "#D55E00"}
#: What is drawn: the column, its title, what full adherence would give, and the column of the control.
PANELS: Final = (
    ("corners", "measured between high and low corners", 2 * FAR, None),
    ("Pearson", "correlation over all seconds", 1.0, "Pearson, shuffled"),
    ("within", "correlation within ramps and steps", 1.0, "within, shuffled"),
)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def read_table(text: str) -> list[dict[str, str]]:
    """The rows of the table of strengths, by the names of its columns."""
    lines = text[text.index(HEAD) :].split("\n\n", 1)[0].splitlines()
    return [dict(zip(cells(lines[0]), cells(line), strict=True)) for line in lines[2:]]


def draw(rows: list[dict[str, str]], path: Path) -> None:
    """A panel for each of `PANELS`: bars of both axes at each strength, and the shuffled controls as ticks (PNG)."""
    from matplotlib.figure import Figure

    strengths = list(dict.fromkeys(row["strength"] for row in rows))
    at = np.arange(len(strengths))
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    for place, (column, title, full, control) in enumerate(PANELS):
        axes = figure.add_subplot(1, len(PANELS), place + 1)
        for shift, (axis, colour) in zip((-0.2, 0.2), COLOURS.items(), strict=True):
            mine = [row for row in rows if row["axis"] == axis]
            axes.bar(at + shift, [float(row[column]) for row in mine], 0.38, color=colour, label=axis)
            if control:
                shuffled = [float(row[control]) for row in mine]
                axes.plot(at + shift, shuffled, "k_", markersize=12, label="shuffled" if shift > 0 else None)
        axes.axhline(full, color="0.3", linestyle="--", linewidth=1)
        axes.annotate(
            "requested" if control is None else "perfect", (-0.45, full), va="bottom", fontsize=8, color="0.3"
        )
        axes.axhline(0, color="0.3", linewidth=0.8)
        axes.set_xticks(at, strengths)
        axes.set(xlabel="strength", title=title, ylim=(-0.45, 1.13 * full))
        axes.title.set_fontsize(10)
        if control:
            axes.legend(loc="upper right", bbox_to_anchor=(1, 0.9), frameon=False, fontsize=8)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=90, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path, nargs="?", default=DOCS / "mood-adherence.md")
    parser.add_argument("-o", "--output", type=Path, default=DOCS / "pictures" / "mood-adherence.png")
    options = parser.parse_args()
    draw(read_table(options.page.read_text(encoding="utf-8")), options.output)


if __name__ == "__main__":
    main()
