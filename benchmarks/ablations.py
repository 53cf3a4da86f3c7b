"""What each choice in the composer is worth: small models, equal compute, one choice changed at a time.

    python benchmarks/ablations.py train TRAIN.npz VALID.npz -o FOLDER [--positions 0.7] [--only TOPIC ...]
    python benchmarks/ablations.py draw FOLDER -o docs/pictures/ablations.png
    python benchmarks/ablations.py table FOLDER

`train` tokenizes both archives into FOLDER, trains one arm after the other and keeps each arm's figures in
FOLDER/results.json; what stands there already is not trained again. Every arm may spend the floating-point operations
(`utilisation.flops_per_event`) that the base arm spends on `--positions` million positions, so that an arm that costs
more a position sees fewer of them. Measured of each:

- bits per note of whole validation songs, told their conditions (`evaluate.bits`), by kind of event, and velocities;
- CHORD decisions: at every event of fixed crops, the bits it costs to say whether a CHORD comes next, per CHORD, told
  the boundaries and not told them. How well boundaries are heard is the difference. With boundaries thinned as in film,
  the average precision of P(CHORD) among all events at finding the chords that meet them.

The base arm is trained with several seeds: what lies within their spread is no difference.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from emsync import checkpoint
from emsync.conditions import LANE_NAMES
from emsync.files import atomic_path
from emsync.tokenizer import vocabulary as v
from emsync.training import archive_events, evaluate
from emsync.training.archive import read_archive
from emsync.training.dataset import Batch, Crops, Dataset, build
from emsync.training.presets import Preset

BASE: dict[str, dict[str, Any]] = {
    "model": {
        "n_layers": 6, "n_heads": 2, "width": 128, "ff_width": 512, "context": 1024, "attention": "rotary",
        "local_block": 256, "global_every": 3, "activation": "relu2", "norm": "rms", "qk_norm": True,
        "lane_encoding": "lookup",
    },
    "crops": {},
    "train": {"batch": 2, "optimizer": "muon", "warmup_steps": 40, "saves": 1, "validations": 1},
}  # fmt: skip
#: Whose songs somebody chose or wrote with care; weighed up in one arm.
CURATED = ("music-x-lab/POP909-Dataset", "lucasnfe/vgmidi", "AyHa1810/touhou-midi-collection", "reubenson/midi-archive")
CURATED_TIMES = 8
SONG_EVENTS = (3_000, 7_000)  # songs to measure on: neither snippets nor suites
N_SONGS, N_CROPS = 16, 64
BOUNDARY = LANE_NAMES.index("boundary")


@dataclass(frozen=True)
class Arm:
    """One choice: what it changes in the base preset, and in the songs ("all", "more", "curated", "tight")."""

    topic: str
    name: str
    model: dict[str, Any] = field(default_factory=dict)
    crops: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    songs: str = "all"
    strings: bool = False

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.name}"

    @property
    def preset(self) -> Preset:
        changed = {name: {**BASE[name], **getattr(self, name)} for name in BASE}
        if changed["train"]["optimizer"] == "adam":
            changed["train"].setdefault("rate", 1e-3)
        return Preset.from_dict(changed, self.key)


ARMS = (
    Arm("base", "seed 1"),
    Arm("base", "seed 2", train={"seed": 2}),
    Arm("attention", "relative, all layers", model={"attention": "relative", "local_block": 0}),
    Arm("attention", "rotary, all layers", model={"local_block": 0}),
    Arm("lanes", "scalar (the paper)", model={"lane_encoding": "scalar"}),
    Arm("lanes", "fourier", model={"lane_encoding": "fourier"}),
    Arm("chords", "weight 1", train={"chord_weight": 1.0}),
    Arm("chords", "weight 30", train={"chord_weight": 30.0}),
    Arm("chords", "none left out", crops={"drop_chord": 0.0}),
    Arm("chords", "half left out", crops={"drop_chord": 0.5}),
    Arm("context", "1216", model={"context": 1216, "local_block": 304}),
    Arm("context", "2048", model={"context": 2048}, train={"batch": 1}),
    Arm("context", "4096", model={"context": 4096}, train={"batch": 1}),
    Arm("rate", "matrices, half", train={"matrix_rate": 0.01}),
    Arm("rate", "matrices, double", train={"matrix_rate": 0.04}),
    Arm("rate", "the rest, third", train={"rate": 5e-4}),
    Arm("rate", "the rest, threefold", train={"rate": 4.5e-3}),
    Arm("optimizer", "Adam, 1e-3", train={"optimizer": "adam", "rate": 1e-3}),
    Arm("shape", "3 layers of 184", model={"n_layers": 3, "width": 184, "ff_width": 736}),
    Arm("shape", "12 layers of 92", model={"n_layers": 12, "width": 92, "ff_width": 368}),
    Arm("end", "never told", crops={"drop_end": 1.0}),
    Arm("end", "always told early", crops={"drop_end": 0.0, "late_end": 0.0}),
    Arm("velocity", "no head (weight 0)", train={"velocity_weight": 0.0}),
    Arm("velocity", "weight 1", train={"velocity_weight": 1.0}),
    Arm("songs", "no `fewer` pool", songs="more"),
    Arm("songs", f"curated {CURATED_TIMES} times", songs="curated"),
    Arm("songs", "the half nearest the grid", songs="tight"),
    Arm("families", "strings make chords too", strings=True),
)


# ---------------------------------------------------------------------------------------------------------------------
# Songs


@contextmanager
def _chords_of(families: tuple[int, ...]) -> Iterator[None]:
    """Tokenize with chords of these families."""
    kept = archive_events.chord_onsets
    archive_events.chord_onsets = partial(kept, families=families)
    try:
        yield
    finally:
        archive_events.chord_onsets = kept


def tokenized(archive: Path, folder: Path, *, strings: bool) -> Dataset:
    """The archive as a dataset in `folder`, made where it is not there yet."""
    if not (folder / "dataset.json").is_file():
        with _chords_of((*v.CHORD_FAMILIES, v.STRINGS) if strings else v.CHORD_FAMILIES):
            build([archive], folder)
    return Dataset.open(folder)


def picked(data: Dataset, songs: np.ndarray) -> Dataset:
    """These songs of a dataset, in this order; a song may come several times."""

    def spans(offsets: np.ndarray) -> tuple[list[slice], np.ndarray]:
        ends = np.concatenate([[0], np.cumsum(np.diff(offsets)[songs])]).astype(np.int64)
        return [slice(int(offsets[i]), int(offsets[i + 1])) for i in songs], ends

    where, offsets = spans(data.offsets)
    felt, mood_offsets = spans(data.mood_offsets)
    ids, velocities = (np.concatenate([x[s] for s in where]) for x in (data.ids, data.velocities))
    return Dataset(ids, velocities, offsets, np.concatenate([data.mood[s] for s in felt]), mood_offsets, data.about)


def tightness(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(S,) the share of each song's notes that begin on a sixteenth (six steps)."""
    offset = arrays["note_offset"].astype(np.int64)
    song = np.repeat(np.arange(len(offset) - 1), np.diff(offset))
    start = archive_events._starts(song * len(v.FAMILIES) + arrays["family"], arrays["start_delta"].astype(np.int64))
    on_grid = np.bincount(song, weights=start % 6 == 0, minlength=len(offset) - 1)
    return on_grid / np.maximum(np.diff(offset), 1)


def chosen_songs(kind: str, archive: Path) -> np.ndarray | None:
    """Which songs an arm learns from, by number; None: all."""
    if kind == "all":
        return None
    arrays = read_archive(archive).arrays
    n = len(arrays["note_offset"]) - 1
    if kind == "more":
        return np.flatnonzero(arrays["pool"] == "more")
    if kind == "curated":
        mine = np.flatnonzero(np.isin(arrays["source"], CURATED))
        return np.concatenate([np.arange(n), *[mine] * (CURATED_TIMES - 1)])
    tight = tightness(dict(arrays))
    return np.flatnonzero(tight >= np.median(tight))


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def still_crops(data: Dataset, context: int) -> list[Batch]:
    """Fixed crops, told everything; boundaries thinned as a film's are."""
    config = replace(Arm("", "").preset.crops, context=context, drop_chord=0.0, drop_boundaries=0.0,
                     sparse_boundaries=1.0, drop_end=0.0, late_end=0.0, transpose=0, drop_mood=0.0,
                     drop_piece_mood=0.0, drop_mood_lanes=0.0, drop_axis=0.0, near_chord=1.0)  # fmt: skip
    crops = Crops(data, config, seed=20_261_121)
    return [crops.batch(i, 4) for i in range(N_CROPS // 4)]


def decisions(model: Any, batches: list[Batch]) -> dict[str, float]:
    """What it costs to say whether a CHORD comes next: bits per CHORD told and untold; average precision told."""
    import torch

    from emsync.training.train import bf16_pays, tensors

    place = torch.device("cpu")
    half = bf16_pays(place)
    found: dict[str, float] = {}
    for told in (True, False):
        score, true = [], []
        for batch in batches:
            t = tensors(batch, place)
            if not told:
                t["lanes"][..., BOUNDARY] = float("nan")
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits, _ = model(t["ids"], t["heard"], t["lanes"], t["mood"])
            counted = t["weights"] > 0
            score.append(logits.float()[counted].log_softmax(-1)[:, v.CHORD].exp().double().numpy())
            true.append((t["targets"][counted] == v.CHORD).numpy())
        p, y = np.concatenate(score).clip(1e-12, 1 - 1e-12), np.concatenate(true)
        bits = -(np.log2(p[y]).sum() + np.log2(1 - p[~y]).sum()) / max(int(y.sum()), 1)
        order = np.argsort(-p, kind="stable")
        hits = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
        name = "told" if told else "untold"
        found[f"decision_bits_{name}"] = float(bits)
        found[f"precision_{name}"] = float(hits[y[order]].mean())
    return found


def measured(folder: Path, data: Dataset) -> dict[str, Any]:
    """All figures of the model in `folder`."""
    model = checkpoint.load(folder)
    length = np.diff(data.offsets)
    fit = np.flatnonzero((length >= SONG_EVENTS[0]) & (length <= SONG_EVENTS[1]))
    songs = np.random.default_rng(1).choice(fit, min(N_SONGS, len(fit)), replace=False)
    report = evaluate.bits(model, data, songs=np.sort(songs), mood=True)
    kinds = {name: share.bits / max(report.notes, 1) for name, share in report.by_kind().items()}
    count = {name: share.events for name, share in report.by_kind().items()}
    per_event = {f"{name}_bits": share.bits / share.events for name, share in report.by_kind().items()}
    return {
        "bits_per_note": report.bits_per_note, "velocity_bits_per_note": report.velocity_bits_per_note,
        "by_kind": kinds, "per_event": per_event, "count": count, **decisions(model, still_crops(data, 1024)),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Training


def trained(arm: Arm, songs: Dataset, run: Path, positions: float) -> dict[str, Any]:
    """Train one arm into `run` within its compute; how long it took."""
    import torch

    from emsync.model import Composer
    from emsync.training import train, utilisation

    base, preset = ARMS[0].preset, arm.preset
    cost = {p: utilisation.flops_per_event(Composer(p.model), p.crops.context) for p in (base, preset)}
    each = preset.train.batch * preset.crops.context
    steps = max(round(positions * cost[base] / cost[preset] / each), 1)
    shutil.rmtree(run, ignore_errors=True)
    torch.manual_seed(0)
    begun, spent = time.monotonic(), time.process_time()
    ended = train.fit(preset, songs, None, run, steps=steps, device="cpu", save_every_s=math.inf)
    return {
        "positions": ended.tokens, "steps": steps, "flops_per_position": cost[preset],
        "parameters": Composer(preset.model).n_parameters,
        "minutes": (time.monotonic() - begun) / 60, "cpu_minutes": (time.process_time() - spent) / 60,
    }  # fmt: skip


def read_results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def train_all(args: argparse.Namespace) -> None:
    for arm in ARMS:
        if (args.only and arm.topic not in args.only) or arm.key in read_results(args.output):
            continue
        suffix = "-strings" if arm.strings else ""
        songs = tokenized(args.archive, args.output / f"songs{suffix}", strings=arm.strings)
        held_out = tokenized(args.valid, args.output / f"valid{suffix}", strings=arm.strings)
        mine = chosen_songs(arm.songs, args.archive)
        run = args.output / "runs" / arm.key.replace("/", "-").replace(" ", "_").replace("`", "")
        about = trained(arm, songs if mine is None else picked(songs, mine), run, args.positions * 1e6)
        figures = {**about, **measured(run / "model", held_out)}
        results = read_results(args.output) | {arm.key: figures}  # read again: another process may have added its own
        with atomic_path(args.output / "results.json") as partial:
            partial.write_text(json.dumps(results, indent=1) + "\n")
        shutil.rmtree(run / "state", ignore_errors=True)
        print(_row(arm.key, figures), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Showing

_COLUMNS = ("positions, M", "bits/note", "velocity", "END", "CHORD told", "untold", "precision", "CPU minutes")


def _row(key: str, x: dict[str, Any]) -> str:
    values = (
        x["positions"] / 1e6, x["bits_per_note"], x["velocity_bits_per_note"], x["per_event"].get("END_bits", math.nan),
        x["decision_bits_told"], x["decision_bits_untold"], x["precision_told"], x["cpu_minutes"],
    )  # fmt: skip
    return f"| {key} | " + " | ".join(f"{value:.2f}" for value in values) + " |"


def show_table(args: argparse.Namespace) -> None:
    results = read_results(args.folder)
    print("| | " + " | ".join(_COLUMNS) + " |\n" + "|---" * (len(_COLUMNS) + 1) + "|")
    for arm in ARMS:
        if arm.key in results:
            print(_row(arm.key, results[arm.key]))


#: What is drawn: a figure, its name, and whether more is better.
_DRAWN = (
    ("bits_per_note", "bits per note"),
    ("decision_bits_told", "bits per CHORD decision, boundaries told"),
)


def draw(args: argparse.Namespace) -> None:
    """Bars of each arm's difference from the base, topic by topic; grey: the spread of the base's seeds."""
    from matplotlib.figure import Figure

    results = read_results(args.folder)
    bases = [results[arm.key] for arm in ARMS if arm.topic == "base" and arm.key in results]
    arms = [arm for arm in ARMS if arm.topic != "base" and arm.key in results][::-1]
    figure = Figure(figsize=(13, 0.34 * len(arms) + 1.6), layout="constrained")
    for column, (name, title) in enumerate(_DRAWN):
        axes = figure.add_subplot(1, len(_DRAWN), column + 1)
        values = np.array([x[name] for x in bases])
        middle, spread = values.mean(), max(np.ptp(values), 1e-9)
        shift = np.array([results[arm.key][name] - middle for arm in arms])
        axes.axvspan(-spread, spread, color="0.88", label="the base's seeds, apart")
        axes.barh(np.arange(len(arms)), shift, color=["C2" if x < 0 else "C3" for x in shift], height=0.7)
        for y, x in enumerate(shift):
            axes.text(x, y, f" {x:+.2f} ", va="center", ha="left" if x >= 0 else "right", fontsize=8)
        axes.margins(x=0.15)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{title}; base {middle:.2f}", fontsize=10)
        axes.set_yticks(np.arange(len(arms)), [f"{arm.topic}: {arm.name}" for arm in arms] if column == 0 else [])
        for y in range(1, len(arms)):
            if arms[y].topic != arms[y - 1].topic:
                axes.axhline(y - 0.5, color="0.7", linewidth=0.6)
    with atomic_path(args.output) as partial:
        figure.savefig(partial, dpi=100, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("archive", type=Path)
    training.add_argument("valid", type=Path)
    training.add_argument("-o", "--output", type=Path, required=True)
    training.add_argument("--positions", type=float, default=0.7, help="millions, of the base arm")
    training.add_argument("--only", nargs="*", choices=sorted({arm.topic for arm in ARMS}))
    training.set_defaults(run=train_all)
    drawing = commands.add_parser("draw")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("-o", "--output", type=Path, required=True)
    drawing.set_defaults(run=draw)
    table = commands.add_parser("table")
    table.add_argument("folder", type=Path)
    table.set_defaults(run=show_table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
