"""The page of an evaluation: one JSON, one Markdown page with pictures, the paper's figures and other models' beside.

A *part* of an evaluation (`PARTS`) gives its values, its section and its picture. The table at the top of the page is
made from the JSON values alone, so that models measured long ago can be compared with a new one.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Protocol

from emsync.errors import InputError, OutputError
from emsync.files import atomic_path, check_writable, read_json

JSON_NAME: Final = "evaluation.json"
MARKDOWN_NAME: Final = "evaluation.md"
#: The parts an evaluation may have, in the page's order; each is the name in JSON and of the picture.
PARTS: Final = ("landing", "stability", "similarity", "memorization", "mood_adherence", "control_adherence")
#: The paper's "chord-scene cut alignment" (Section IV-C) on EmoMV-C and on Ads, by the window's name in JSON. It does
#: not say whether of cuts or of chords.
PAPER_CHORD_ON_CUT: Final = {"frame": (0.297, 0.317), "second": (0.899, 0.909)}
#: What windows are called.
WINDOW_NAMES: Final = {"frame": "33.3 ms", "second": "1 s"}
#: What these parts were called in files written before.
_FORMER_NAMES: Final = {"similarity": "likeness", "memorization": "memory"}
#: An evaluation.json is smaller than this; a file that is not may be something else.
_MAX_BYTES: Final = 64 << 20


class Part(Protocol):
    """One part of an evaluation."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""

    def to_markdown(self) -> str:
        """A section of the page; its headings begin at level 2."""

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw it into a PNG, or write nothing."""


class Whole(Protocol):
    """An evaluation: its own values and sections, and its parts by name."""

    @property
    def parts(self) -> Mapping[str, Part]:
        """Some of `PARTS`."""

    def to_dict(self) -> dict[str, Any]:
        """The values, those of the parts among them."""

    def to_markdown(self) -> str:
        """The page between the table at its top and the parts."""


def plain(value: float) -> float | None:
    """A number as JSON has it: None for NaN and infinities."""
    return float(value) if math.isfinite(value) else None


def table(head: Sequence[str], rows: Sequence[Sequence[str | float]]) -> list[str]:
    """A Markdown table's lines; numbers with three decimals, NaN as a dash."""

    def cell(value: str | float) -> str:
        if isinstance(value, str):
            return value
        return "–" if math.isnan(value) else f"{value:.3f}"

    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return lines + ["| " + " | ".join(cell(value) for value in row) + " |" for row in rows]


# ---------------------------------------------------------------------------------------------------------------------
# The table at the top


def headline(values: Mapping[str, Any]) -> dict[str, str]:
    """The figures by which models are compared, label -> text, out of an evaluation's JSON values.

    Bits per note; landing as recall / precision / IoU; each statistic's last minute divided by its first; the
    main numbers of similarity and of memorization; and how well both axes of mood are followed.
    """
    rows: dict[str, str] = {}
    for key, label in (
        ("bits_per_note", "bits per note"),
        ("without_mood_bits_per_note", "bits per note, without mood"),
        ("unconditioned_bits_per_note", "bits per note, without conditions"),
        ("velocity_bits_per_note", "velocity bits per note"),
    ):
        if key in values:
            rows[label] = _number(values[key])
    for films, by_land in _tables(values.get("landing")):
        rows[f"landing, {films}: pieces / cuts"] = f"{_number(by_land.get('pieces'))} / {_number(by_land.get('cuts'))}"
        for land, by_what in _tables(by_land):
            land = "bend" if land == "beat" else land  # its name until the recipe had one
            for what, by_window in _tables(by_what):
                for window, score in _tables(by_window):
                    label = _landing_label(films, land, what, window)
                    rows[label] = " / ".join(_number(score.get(name)) for name in ("recall", "precision", "iou"))
    stability = values.get("stability")
    if isinstance(stability, dict):
        rows["stability: pieces"] = _number(stability.get("pieces"))
    for name, one in _tables(stability.get("statistics") if isinstance(stability, dict) else None):
        rows[f"stability, last minute by first: {name.replace('_', ' ')}"] = _number(one.get("last_to_first"))
    for part, former in _FORMER_NAMES.items():
        found = values.get(part, values.get(former))
        for name, value in found.items() if isinstance(found, dict) else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rows[f"{part}: {name.replace('_', ' ')}"] = _number(value)
    for axis, found in _tables(values.get("mood_adherence")):
        rows[f"mood adherence, {axis}: Pearson"] = _number(found.get("pearson"))
        rows[f"mood adherence, {axis}: Pearson, shuffled"] = _number(found.get("shuffled_pearson"))
    obeyed = values.get("control_adherence")
    for group, by_name in _tables(obeyed.get("sets") if isinstance(obeyed, dict) else None):
        for name, figures in _tables(by_name):
            shown = [f"{figure} {_number(value)}" for figure, value in figures.items()]
            rows[f"controls, {group}: {name}"] = ", ".join(shown)
    return rows


def _landing_label(films: str, land: str, what: str, window: str) -> str:
    return f"landing {land}, {films}: {what.replace('_', ' ')} within {WINDOW_NAMES.get(window, window)}"


def _tables(value: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, one in value.items() if isinstance(one, dict)] if isinstance(value, dict) else []


def _number(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) and math.isfinite(value) else "–"


def _of_the_paper(label: str) -> str:
    """The paper's figure for a row of the table, where it has one."""
    if label.startswith("landing"):
        for window, scores in PAPER_CHORD_ON_CUT.items():
            if label.endswith(f"within {WINDOW_NAMES[window]}"):
                return " / ".join(f"{score:.3f}" for score in scores) + " ‡"
    return ""


def _name(values: Mapping[str, Any]) -> str:
    model = values.get("model")
    about = model if isinstance(model, dict) else {}
    return f"{about.get('folder', 'a model')} ({str(about.get('weights_hash', '?'))[:8]})"


def read_evaluation(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values of an evaluation.json, any version of it. Raises `InputError` for anything else."""
    path = Path(path)
    if path.is_dir():
        path = path / JSON_NAME
    remedy = f"give the {JSON_NAME} that emsync evaluate wrote"
    values = read_json(path, _MAX_BYTES, "evaluation", remedy)
    if not isinstance(values, dict) or not isinstance(values.get("bits_per_note"), int | float):
        raise InputError(f"{path} holds no bits_per_note; {remedy}")
    return values


def page(evaluation: Whole, compared: Sequence[Mapping[str, Any]] = (), pictures: Sequence[str] = ()) -> str:
    """The page as Markdown. compared: other models' values, a column each. pictures: names of parts that have one."""
    values = evaluation.to_dict()
    columns = [headline(one) for one in (values, *compared)]
    labels = list(dict.fromkeys(label for column in columns for label in column))
    head = ["", _name(values), *map(_name, compared), "the paper"]
    lines = ["# Evaluation", ""]
    if compared or evaluation.parts:
        rows = [[label, *(column.get(label, "–") for column in columns), _of_the_paper(label)] for label in labels]
        lines += table(head, rows)
        if any(label.startswith("landing") for label in labels):
            lines += [
                "",
                "Landing: recall / precision / IoU. ‡ The paper's alignment of chords with scene cuts, on EmoMV-C and "
                "on Ads (Section IV-C); it does not say whether it is recall or precision, nor of events or of "
                "what sounds.",
            ]
        for other in compared:
            if any(other.get(key) != values.get(key) for key in ("archive", "songs", "notes")):
                lines += ["", f"{_name(other)} was measured on other songs: its bits are not of the same music."]
        lines.append("")
    lines.append(evaluation.to_markdown())
    for name in PARTS:
        if name in evaluation.parts:
            lines.append(evaluation.parts[name].to_markdown().rstrip("\n") + "\n")
            if name in pictures:
                lines.append(f"![{name}]({name}.png)\n")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------------
# Writing


def check_output(
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    parts: Sequence[str] = (),
    inputs: Sequence[str | os.PathLike[str] | None] = (),
) -> Path:
    """Refuse early a folder that `write` could not write into, or whose files are among `inputs`.

    `parts` will have pictures. Raises `OutputError`.
    """
    folder = Path(folder)
    if folder.is_dir():
        for name in (JSON_NAME, MARKDOWN_NAME, *(f"{part}.png" for part in parts)):
            check_writable(folder / name, overwrite=overwrite, inputs=inputs)
        return folder
    above = folder
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise OutputError(f"{above} is a file; give a folder to write {JSON_NAME} into")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"{above} cannot be written to; choose another folder")
    return folder


def write(
    evaluation: Whole,
    folder: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    compared: Sequence[Mapping[str, Any]] = (),
) -> list[Path]:
    """Write evaluation.json, evaluation.md and the parts' pictures into a folder, made if need be.

    All are finished before the first is put in its place. Returns the paths, JSON first.
    """
    folder = check_output(folder, overwrite=overwrite, parts=list(evaluation.parts))
    files = {JSON_NAME: (json.dumps(evaluation.to_dict(), indent=1, allow_nan=False) + "\n").encode()}
    pictures = {}
    with tempfile.TemporaryDirectory() as drawing:
        for name, part in evaluation.parts.items():
            drawn = Path(drawing) / f"{name}.png"
            part.plot(drawn)
            if drawn.is_file():
                pictures[name] = drawn.read_bytes()
    files[MARKDOWN_NAME] = page(evaluation, compared, list(pictures)).encode()
    files |= {f"{name}.png": data for name, data in pictures.items()}
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made ({error.strerror}); choose another folder") from error
    try:
        with ExitStack() as stack:
            for name, data in files.items():
                stack.enter_context(atomic_path(folder / name, overwrite=overwrite)).write_bytes(data)
    finally:
        if made and not any(folder.iterdir()):
            folder.rmdir()
    return [folder / name for name in files]
