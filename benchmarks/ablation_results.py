"""The results of `ablations.py`: read, as a table, and drawn."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from ablation_arms import ARMS, BASES, FIRST

from emsync.files import atomic_path

_COLUMNS = ("positions, M", "bits/note", "velocity", "END", "CHORD with", "without", "precision", "CPU minutes")
#: The figures that are drawn, and their titles.
_DRAWN = (
    ("bits_per_note", "bits per note"),
    ("decision_bits_given", "bits per CHORD decision, boundaries given"),
)


def read_results(path: Path) -> dict[str, Any]:
    """The results in a run's folder; or those of the table that `row` wrote into a Markdown page."""
    if path.suffix == ".md":
        return _read_table(path.read_text())
    path = path / "results.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _read_table(text: str) -> dict[str, Any]:
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    keys = {arm.key for arm in ARMS}
    found = {row[0]: dict(zip(_COLUMNS, map(float, row[1:]), strict=True)) for row in cells if row[0] in keys}
    return {
        key: {"bits_per_note": values["bits/note"], "decision_bits_given": values["CHORD with"]}
        for key, values in found.items()
    }


def row(key: str, x: dict[str, Any]) -> str:
    values = (
        x["positions"] / 1e6, x["bits_per_note"], x["velocity_bits_per_note"], x["per_event"].get("END_bits", math.nan),
        x["decision_bits_given"], x["decision_bits_without"], x["precision_given"], x["cpu_minutes"],
    )  # fmt: skip
    return f"| {key} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def show_table(args: argparse.Namespace) -> None:
    results = read_results(args.folder)
    print("| | " + " | ".join(_COLUMNS) + " |\n" + "|---" * (len(_COLUMNS) + 1) + "|")
    for arm in ARMS:
        if arm.key in results:
            print(row(arm.key, results[arm.key]))


def differences(results: dict[str, Any], name: str) -> dict[str, tuple[float, float]]:
    """For each arm that is compared with a base: its difference from the base, and that of the base's two seeds.

    The bases of new lanes and of new attention have one seed; for them, the difference of the trained base is used.
    """
    of = {topic: [results[a.key][name] for a in ARMS if a.topic == topic and a.key in results] for topic in BASES}
    found = {}
    for arm in ARMS:
        if arm.key in results and of[arm.base] and arm.key not in FIRST:
            apart = of["scratch" if arm.scratch else "base"]
            found[arm.key] = results[arm.key][name] - of[arm.base][0], float(np.ptp(apart)) if apart else 0.0
    return found


def draw(args: argparse.Namespace) -> None:
    """A picture for each topic: bars of each arm's difference from its base (blue: fewer bits).

    Grey is the difference between two seeds.
    """
    from matplotlib.figure import Figure

    results = read_results(args.folder)
    shown = {name: differences(results, name) for name, _ in _DRAWN}
    arms = [arm for arm in ARMS if arm.key in shown[_DRAWN[0][0]]][::-1]
    args.output.mkdir(parents=True, exist_ok=True)
    for topic in dict.fromkeys(arm.topic for arm in arms if arm.topic not in ("base", "scratch")):
        mine = [arm for arm in arms if arm.topic == topic]
        figure = Figure(figsize=(12, 0.3 * len(mine) + 0.9), layout="constrained")
        for column, (name, title) in enumerate(_DRAWN):
            axes = figure.add_subplot(1, len(_DRAWN), column + 1)
            shift = np.array([shown[name][arm.key][0] for arm in mine])
            apart = max(shown[name][arm.key][1] for arm in mine)
            axes.axvspan(-apart, apart, color="0.88")
            axes.barh(np.arange(len(mine)), shift, color=["#0072B2" if x < 0 else "#D55E00" for x in shift], height=0.7)
            for y, x in enumerate(shift):
                axes.text(x, y, f" {x:+.2f} ", va="center", ha="left" if x >= 0 else "right", fontsize=8)
            axes.margins(x=0.25)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_title(f"{title}: difference from the base", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.set_yticks(np.arange(len(mine)), [arm.name for arm in mine] if not column else [])
        with atomic_path(args.output / f"ablations-{topic}.png") as partial:
            figure.savefig(partial, dpi=80, format="png")
