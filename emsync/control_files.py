"""Controls in files: JSON, a table, a MIDI file's controllers; and what a film's own curves suggest.

    curves = read_controls("controls.json")     # or .csv, .mid, or the JSON of emsync analyze
    write_controls(curves, "again.json")

JSON holds, by the name of each control, `times_s` and `values`, and perhaps `strength` (0 to 1) and `easing` (of
`control_curves.EASINGS`, for all points or a list), under "controls" or at the top. A table has a column `time_s` and
one for each control; an empty cell is a gap. In a MIDI file controller 11 (expression) draws intensity and controller 1
(the modulation wheel) density; 0 and 127 are the ends of `CONTROLLERS`.
"""

from __future__ import annotations

import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import controls
from emsync.control_curves import KINDS, Control, ControlCurves, of_text, to_text
from emsync.errors import InputError, MissingExtraError, printable
from emsync.files import read_limited, write_bytes
from emsync.table import TIME_NAMES, Table, read_json, read_table, read_text, seconds, shown

if TYPE_CHECKING:
    from emsync.video import Scene

FloatArray = npt.NDArray[np.float64]

#: By MIDI controller: which control it draws, and what its lowest and highest value stand for.
CONTROLLERS: Final = {11: ("intensity", -30.0, 12.0), 1: ("density", 0.0, 40.0)}
#: A file with controllers has at most so many bytes.
MAX_MIDI_BYTES: Final = 16 << 20
#: What a film suggests: intensity and density at its calmest and at its most lively.
PROPOSED: Final = {"intensity": (-12.0, 6.0), "density": (6.0, 28.0)}
#: Over so many seconds what happens in a film is averaged.
AROUND_S: Final = 8.0


def read_controls(path: str | os.PathLike[str]) -> ControlCurves:
    """Controls from a file. Raises `InputError` naming the file for anything that cannot be read as such."""
    ending = Path(path).suffix.lower()
    try:
        if ending in (".mid", ".midi"):
            return _from_midi(path)
        text = read_text(path, "file of controls")
        curves = _from_json(read_json(text)) if ending == ".json" else _from_table(read_table(text))
        if not len(curves):
            raise InputError(f"it has no controls; give one of {', '.join(KINDS)}")
    except InputError as error:
        raise InputError(f"{printable(os.fspath(path))}: {error}") from error
    return curves


def to_json(curves: ControlCurves) -> str:
    """The text that `read_controls` reads; melodies, rhythms and keys by their names."""
    plain = curves.as_json()
    for name, control in plain.items():
        if KINDS[name].held:
            control["values"] = [None if x is None else to_text(name, x) for x in control["values"]]
    return json.dumps({"controls": plain}, indent=1) + "\n"


def write_controls(curves: ControlCurves, path: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Write JSON, or a table if the name ends in .csv. Raises `OutputError` where that cannot be."""
    text = _to_table(curves) if Path(path).suffix.lower() == ".csv" else to_json(curves)
    write_bytes(path, text.encode(), overwrite=overwrite)


def _from_json(content: Any) -> ControlCurves:
    if isinstance(content, dict) and isinstance(content.get("controls"), dict):
        content = content["controls"]
    elif isinstance(content, dict) and isinstance(content.get("settings"), dict):
        content = content["settings"].get("controls") or {}  # a record
    return ControlCurves.from_json(content)


def _from_table(table: Table) -> ControlCurves:
    if table.header is None:
        raise InputError("the first line holds values; give a header such as time_s,intensity above them")
    table.check_widths()
    place = table.column(TIME_NAMES)
    if place is None:
        raise InputError(f"columns are {printable(', '.join(table.header))[:200]}; give time_s and a control or more")
    columns = {name: i for i, name in enumerate(table.header) if i != place}
    values: dict[str, Any] = {name: {"times_s": [], "values": []} for name in columns}
    for row in table.rows:
        cells = (*row.cells, *[""] * (len(table.header) - len(row.cells)))
        time_s = seconds(cells[place])
        if time_s is None:
            raise InputError(f"line {row.line}: {shown(cells[place])} is not a time; give seconds such as 12.04")
        for name, i in columns.items():
            values[name]["times_s"].append(time_s)
            values[name]["values"].append(cells[i])
    return ControlCurves.from_json(values)


def _to_table(curves: ControlCurves) -> str:
    times_s = np.unique(np.round(np.concatenate([curves[name].times_s for name in curves]), 3))
    rows = [",".join(["time_s", *curves])]
    for time_s in times_s.tolist():
        cells = [to_text(name, round(float(curves[name].at(time_s)), 3)) for name in curves]
        rows.append(",".join([f"{time_s:.3f}", *cells]))
    return "\n".join(rows) + "\n"


def _from_midi(path: str | os.PathLike[str]) -> ControlCurves:
    """What `CONTROLLERS` draw, on any track and channel. mido reads them, as the score's reader leaves them out."""
    data = read_limited(path, MAX_MIDI_BYTES, "MIDI file")
    try:
        import mido
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "mido is not installed, which reads controllers; run: pip install 'emsync[interop]'"
        ) from error
    found: dict[str, dict[float, float]] = {}
    now_s = 0.0
    try:
        for message in mido.MidiFile(file=io.BytesIO(data)):
            now_s += message.time
            if message.type == "control_change" and message.control in CONTROLLERS:
                name, low, high = CONTROLLERS[message.control]
                found.setdefault(name, {})[round(now_s, 6)] = low + (high - low) * message.value / 127
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise InputError(
            f"it is not a MIDI file that can be read ({printable(str(error))[:80]}); export it again"
        ) from error
    if not found:
        numbers = " or ".join(f"{number} ({name})" for number, (name, _, _) in CONTROLLERS.items())
        raise InputError(
            f"it has no controller {numbers}; draw one, or turn its music into controls with: emsync controls"
        )
    return ControlCurves({name: _stairs(points) for name, points in found.items()})


def _stairs(points: dict[float, float]) -> Control:
    """A controller holds its value until the next message: two points for each change, a millisecond apart at most."""
    times, values = np.array(list(points)), np.array(list(points.values()))
    before = times[1:] - np.minimum(1e-3, np.diff(times) / 2)
    order = np.argsort(np.concatenate([times, before]), kind="stable")
    return Control(np.concatenate([times, before])[order], np.concatenate([values, values[:-1]])[order])


# ---- what a film suggests -------------------------------------------------------------------------------------------


def proposed(scene: Scene) -> ControlCurves:
    """Intensity and density by a film's motion, cuts and loudness, and its change; none where nothing changes.

    Each of the three is averaged over `AROUND_S` seconds and ranked within the film; intensity and density follow the
    mean of the ranks from the first to the second value of `PROPOSED`. Ranks are used because films differ in
    how much they move and in how loud they are, and a score follows its own film.
    """
    times_s = np.arange(0.0, scene.duration_s, 1.0)
    rate = np.array([((scene.cuts_s >= t - AROUND_S / 2) & (scene.cuts_s < t + AROUND_S / 2)).sum() for t in times_s])
    parts = [rate.astype(np.float64)]
    if len(scene.times_s):
        parts.append(np.interp(times_s, scene.times_s, scene.motion))
    if len(scene.loudness_db) and not np.isnan(scene.loudness_db).all():
        at = np.arange(len(scene.loudness_db)) + 0.5
        known = ~np.isnan(scene.loudness_db)
        parts.append(np.interp(times_s, at[known], scene.loudness_db[known]))
    width = max(int(AROUND_S), 1)
    ranked = [rank for part in parts if (rank := _ranks(_averaged(part, width))) is not None]
    if not ranked:
        return ControlCurves({})
    level = _averaged(np.mean(ranked, axis=0), max(width // 2, 1))
    found = {name: Control(times_s, low + (high - low) * level) for name, (low, high) in PROPOSED.items()}
    changes = film_change(scene)
    return ControlCurves(found if changes is None else found | {"change": changes})


def film_change(scene: Scene) -> Control | None:
    """How much a film's picture changes: the curve that V2M-Zero's music is conditioned on in place of its own.

    As `controls.change` compares the second before each moment with the second after it, here by motion, brightness,
    saturation, contrast and warmth, each in its own standard deviations. None for a film in which nothing changes.
    """
    measured = (scene.motion, scene.luma, scene.saturation, scene.contrast, scene.warmth)  # older scenes lack the last
    curves = [curve for curve in measured if len(curve) > 2 and np.ptp(curve) > 1e-9]
    if not curves:
        return None
    values = np.stack([(curve - curve.mean()) / curve.std() for curve in curves], axis=1)
    rate = 1 / float(np.median(np.diff(scene.times_s)))
    width = max(round(controls.CHANGE_S * rate), 1)
    total, at = controls.summed(values), np.arange(len(values) + 1)
    first, last = np.maximum(at - width, 0), np.minimum(at + width, len(values))
    before = (total[at] - total[first]) / np.maximum(at - first, 1)[:, None]
    after = (total[last] - total[at]) / np.maximum(last - at, 1)[:, None]
    moved = np.linalg.norm(after - before, axis=1)[1:-1]  # between two samples; at the ends there is nothing to compare
    largest = float(np.quantile(moved, controls.LARGE))
    return Control(scene.times_s[1:], np.clip(moved / max(largest, 1e-9), 0.0, 1.0))


def _averaged(values: FloatArray, width: int) -> FloatArray:
    """The mean of the values around each place, as far as there are any."""
    ones = np.ones(min(width, len(values)))
    return np.asarray(np.convolve(values, ones, mode="same") / np.convolve(np.ones(len(values)), ones, mode="same"))


def _ranks(values: FloatArray) -> FloatArray | None:
    """The share of values below each, ties a half, from 0 to 1; None where all are equal."""
    if len(values) < 2 or math.isclose(float(values.min()), float(values.max())):
        return None
    ordered = np.sort(values)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((below + upto - 1) / (2 * (len(values) - 1)))


__all__ = ["CONTROLLERS", "PROPOSED", "of_text", "proposed", "read_controls", "to_json", "write_controls"]
