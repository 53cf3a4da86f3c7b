"""What each choice in the composer is worth: equal compute, one choice changed at a time.

    python benchmarks/ablations.py train TRAIN.npz VALID.npz -o FOLDER [--model DIR] [--only TOPIC ...]
    python benchmarks/ablations.py draw FOLDER -o docs/pictures
    python benchmarks/ablations.py table FOLDER

`train` tokenizes both archives into FOLDER, trains one arm after the other and keeps each arm's figures in
FOLDER/results.json; what stands there already is not trained again.

Two CPU cores cannot train a composer for each question. What does not touch the weights' shape is therefore asked of
the trained model (`--model`; the embedded one): each arm goes on from it for `--positions` million positions, with
the same crops in the same order, so that small differences show. Encodings of the lanes, and attention, are asked of
it, too: each arm begins with new ones in the trained model. What else changes the shape is trained from nothing,
small and for a short time (`SCRATCH`). Every arm may spend the floating-point operations
(`utilisation.flops_per_event`) that its base does, so that an arm that costs more a position sees fewer of them.
Measured of each:

- bits per note of whole validation songs, given their conditions (`evaluate.bits`), by kind of event, and velocities;
- CHORD decisions: at every event of fixed crops, the bits it costs to say whether a CHORD comes next, per CHORD, with
  the boundaries given and without. The difference says how well the model uses boundaries. With boundaries thinned as
  in film, the average precision of P(CHORD) among all events at finding the chords.

Each base is trained with two seeds, which means other crops: what lies within their distance is no difference.
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
from typing import TYPE_CHECKING, Any

import numpy as np

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.conditions import LANE_NAMES
from emsync.files import atomic_path
from emsync.training.corpus import archive_events
from emsync.training.corpus.archive import read_archive
from emsync.training.crops import Batch, CropConfig, Crops
from emsync.training.dataset import Dataset, build
from emsync.training.evaluation import evaluate
from emsync.training.presets import Preset

if TYPE_CHECKING:
    from emsync.model import EventTransformer
    from emsync.model_config import ModelConfig

#: Going on with the trained model: its shape, but for the context; half the rates, falling at once.
TRAINED: dict[str, dict[str, Any]] = {
    "model": {"context": 1024}, "crops": {},
    "train": {"batch": 4, "optimizer": "muon", "matrix_rate": 0.01, "rate": 7.5e-4, "warmup_steps": 5, "decay": 1.0,
              "saves": 1, "validations": 1},
}  # fmt: skip
SCRATCH: dict[str, dict[str, Any]] = {
    "model": {
        "n_layers": 6, "n_heads": 2, "width": 128, "ff_width": 512, "context": 1024, "attention": "rotary",
        "local_block": 256, "global_every": 3, "activation": "relu2", "norm": "rms", "qk_norm": True,
        "lane_encoding": "lookup",
    },
    "crops": {},
    "train": {"batch": 2, "optimizer": "muon", "rate": 6e-3, "warmup_steps": 20, "saves": 1, "validations": 1},
}  # fmt: skip
RELATIVE = {"attention": "relative", "local_block": 0}
#: Millions of positions of the bases, times `--positions`.
TRAINED_M, SCRATCH_M = 0.2, 0.5
#: Whose songs somebody chose or wrote with care; weighed up in one arm.
CURATED = ("music-x-lab/POP909-Dataset", "lucasnfe/vgmidi", "AyHa1810/touhou-midi-collection", "reubenson/midi-archive")
CURATED_TIMES = 8
SONG_EVENTS = (3_000, 7_000)  # songs to measure on: neither snippets nor suites
N_SONGS, N_CROPS = 12, 40
BOUNDARY = LANE_NAMES.index("boundary")


@dataclass(frozen=True)
class Arm:
    """One choice: what it changes in its base, in the songs ("all", "more", "curated", "tight") and in what a chord is.

    scratch: trained from nothing. fresh: begins with new encodings of the offset lanes ("lanes"), or of all lanes, and
    new attention ("attention"), or with meter lanes that nothing is known of ("metre"), and trains `longer` times.
    """

    topic: str
    name: str
    model: dict[str, Any] = field(default_factory=dict)
    crops: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    songs: str = "all"
    strings: bool = False
    scratch: bool = False
    fresh: str = ""
    longer: float = 1.0

    @property
    def key(self) -> str:
        return f"{self.topic}/{self.name}"

    @property
    def base(self) -> str:
        """The topic of the arms that this one is held against."""
        return "scratch" if self.scratch else self.fresh or "base"

    def preset(self, shape: ModelConfig | None) -> Preset:
        """What `fit` is given; shape: of the trained model."""
        going_on = {**TRAINED, "model": {**(shape.to_dict() if shape else {}), **TRAINED["model"], "lanes": LANE_NAMES}}
        base = SCRATCH if self.scratch or shape is None else going_on
        return Preset.from_dict({name: {**base[name], **getattr(self, name)} for name in base}, self.key)


ARMS = (
    Arm("base", "trained, seed 1"),
    Arm("base", "trained, seed 2", train={"seed": 2}),
    Arm("rate", "matrices, half", train={"matrix_rate": 0.005}),
    Arm("rate", "matrices, double", train={"matrix_rate": 0.02}),
    Arm("rate", "the rest, half", train={"rate": 3.75e-4}),
    Arm("rate", "the rest, fourfold", train={"rate": 3e-3}),
    Arm("lanes", "lookup", fresh="lanes", longer=1.5),
    Arm("lanes", "scalar (the paper)", model={"lane_encoding": "scalar"}, fresh="lanes", longer=1.5),
    Arm("lanes", "fourier", model={"lane_encoding": "fourier"}, fresh="lanes", longer=1.5),
    Arm("chords", "weight 1", train={"chord_weight": 1.0}),
    Arm("chords", "weight 30", train={"chord_weight": 30.0}),
    Arm("chords", "none left out", crops={"drop_chord": 0.0}),
    Arm("context", "2048", model={"context": 2048}, train={"batch": 2}),
    Arm("end", "never told", crops={"drop_end": 1.0}),
    Arm("velocity", "no head (weight 0)", train={"velocity_weight": 0.0}),
    Arm("songs", "no `fewer` pool", songs="more"),
    Arm("songs", "the half nearest the grid", songs="tight"),
    Arm("families", "strings make chords too", strings=True),
    Arm("scratch", "seed 1", scratch=True),
    Arm("attention", "rotary, three of four layers local", fresh="attention", longer=1.5),
    Arm("attention", "rotary, all layers global", model={"local_block": 0}, fresh="attention", longer=1.5),
    Arm("optimizer", "Adam, 3e-4", train={"optimizer": "adam", "rate": 3e-4}),
    Arm("optimizer", "Adam, 1e-3", train={"optimizer": "adam", "rate": 1e-3}),
    Arm("optimizer", "Muon and AdamW, a quarter of the rates", train={"matrix_rate": 2.5e-3, "rate": 1.9e-4}),
    Arm("songs", f"curated {CURATED_TIMES} times", songs="curated"),
    Arm("context", "4096", model={"context": 4096}, train={"batch": 1}),
    Arm("attention", "relative, all layers global", model=RELATIVE, fresh="attention", longer=1.5),
    Arm("shape", "3 layers of 184", model={"n_layers": 3, "width": 184, "ff_width": 736}, scratch=True),
    Arm("shape", "12 layers of 92", model={"n_layers": 12, "width": 92, "ff_width": 368}, scratch=True),
    Arm("scratch", "seed 2", train={"seed": 2}, scratch=True),
    Arm("chords", "half left out", crops={"drop_chord": 0.5}),
    Arm("end", "always told early", crops={"drop_end": 0.0, "late_end": 0.0}),
    Arm("velocity", "weight 1", train={"velocity_weight": 1.0}),
    Arm("metre", "never told", crops={"drop_metre": 1.0}, fresh="metre", longer=2.0),
    Arm("metre", "told", fresh="metre", longer=2.0),
)


# ---------------------------------------------------------------------------------------------------------------------
# Songs


@contextmanager
def _chords_of(families: tuple[int, ...]) -> Iterator[None]:
    """Tokenize with chords of these families."""
    names = vars(archive_events)
    kept = names["chord_onsets"]
    names["chord_onsets"] = partial(kept, families=families)
    try:
        yield
    finally:
        names["chord_onsets"] = kept


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
    config = replace(CropConfig(), context=context, drop_chord=0.0, drop_boundaries=0.0,
                     sparse_boundaries=1.0, drop_end=0.0, late_end=0.0, transpose=0, drop_mood=0.0,
                     drop_piece_mood=0.0, drop_mood_lanes=0.0, drop_axis=0.0, drop_metre=0.0, drop_tempo=0.0,
                     near_chord=1.0)  # fmt: skip
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
                logits, _ = model(t["ids"], t["previous_velocity"], t["lanes"], t["mood"])
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


def judges(data: Dataset) -> np.ndarray:
    """The songs that bits are measured on, chosen where strings make no chords: the same for every arm."""
    length = np.diff(data.offsets)
    fit = np.flatnonzero((length >= SONG_EVENTS[0]) & (length <= SONG_EVENTS[1]))
    return np.sort(np.random.default_rng(1).choice(fit, min(N_SONGS, len(fit)), replace=False))


def measured(folder: Path, data: Dataset, songs: np.ndarray) -> dict[str, Any]:
    """All figures of the model in `folder`."""
    model = checkpoint.load(folder)
    report = evaluate.bits(model, data, songs=songs, mood=True)
    kinds = {name: share.bits / max(report.notes, 1) for name, share in report.by_kind().items()}
    count = {name: share.events for name, share in report.by_kind().items()}
    per_event = {f"{name}_bits": share.bits / share.events for name, share in report.by_kind().items()}
    return {
        "bits_per_note": report.bits_per_note, "velocity_bits_per_note": report.velocity_bits_per_note,
        "by_kind": kinds, "per_event": per_event, "count": count, **decisions(model, still_crops(data, 1024)),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Training


def begun(arm: Arm, trained: EventTransformer, folder: Path) -> Path:
    """A model folder for the arm to begin with: the trained model in the arm's shape; what does not fit is new."""
    from emsync.model import EventTransformer, OffsetLane

    model = EventTransformer(arm.preset(trained.config).model)
    new: tuple[str, ...] = {"attention": ("lanes.", ".attention.", "positions")}.get(arm.fresh, ())
    if arm.fresh == "lanes":
        new = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, OffsetLane))
    own = model.state_dict()
    kept = {
        name: x for name, x in trained.state_dict().items() if name in own and not any(part in name for part in new)
    }
    state = own | kept
    model.load_state_dict(state)
    checkpoint.save(model, folder)
    return folder


def learned(arm: Arm, songs: Dataset, run: Path, positions: float, model: Path) -> dict[str, Any]:
    """Train one arm into `run` within its compute; how long it took."""
    import torch

    from emsync.model import EventTransformer
    from emsync.training import train, utilisation

    trained = checkpoint.load(model).with_all_lanes()
    shape = None if arm.scratch else trained.config
    preset, base = arm.preset(shape), Arm("", "", scratch=arm.scratch).preset(shape)
    cost = [utilisation.flops_per_event(EventTransformer(p.model), p.crops.context) for p in (base, preset)]
    budget = positions * (SCRATCH_M if arm.scratch else TRAINED_M * arm.longer) * 1e6 * cost[0]
    steps = max(round(budget / cost[1] / (preset.train.batch * preset.crops.context)), 1)
    shutil.rmtree(run, ignore_errors=True)
    torch.manual_seed(0)
    initial = None if arm.scratch else begun(arm, trained, run.with_name(run.name + "-initial"))
    options = train.RunOptions(steps=steps, initial=initial, device="cpu", save_every_s=math.inf)
    since, spent = time.monotonic(), time.process_time()
    ended = train.fit(preset, songs, None, run, options)
    if initial is not None:
        shutil.rmtree(initial)
    return {
        "positions": ended.tokens, "steps": steps, "flops_per_position": cost[1],
        "parameters": EventTransformer(preset.model).n_parameters,
        "minutes": (time.monotonic() - since) / 60, "cpu_minutes": (time.process_time() - spent) / 60,
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
        about = learned(arm, songs if mine is None else picked(songs, mine), run, args.positions, args.model)
        songs_heard = judges(tokenized(args.valid, args.output / "valid", strings=False))
        figures = {**about, **measured(run / "model", held_out, songs_heard)}
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


#: What is drawn: a figure, and its title.
_DRAWN = (
    ("bits_per_note", "bits per note"),
    ("decision_bits_told", "bits per CHORD decision, told"),
)


def differences(results: dict[str, Any], name: str) -> dict[str, tuple[float, float]]:
    """Of each arm that is held against a base: how much more than its base it has, and how far the base's seeds are.

    The bases of new lanes and of new attention have one seed; how far two seeds are is taken from the trained base.
    """
    of = {topic: [results[a.key][name] for a in ARMS if a.topic == topic and a.key in results] for topic in BASES}
    found = {}
    for arm in ARMS:
        if arm.key in results and of[arm.base] and arm.key not in FIRST:
            apart = of["scratch" if arm.scratch else "base"]
            found[arm.key] = results[arm.key][name] - of[arm.base][0], float(np.ptp(apart)) if apart else 0.0
    return found


BASES = ("base", "scratch", "lanes", "attention", "metre")
#: The arms that others are held against.
FIRST = {next(arm.key for arm in ARMS if arm.topic == topic) for topic in BASES}


def draw(args: argparse.Namespace) -> None:
    """A picture for each topic: bars of each arm's difference from its base; grey: how far two seeds are apart."""
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
            axes.barh(np.arange(len(mine)), shift, color=["C2" if x < 0 else "C3" for x in shift], height=0.7)
            for y, x in enumerate(shift):
                axes.text(x, y, f" {x:+.3f} ", va="center", ha="left" if x >= 0 else "right", fontsize=8)
            axes.margins(x=0.25)
            axes.axvline(0, color="black", linewidth=0.8)
            axes.set_title(f"{title}: more than the base", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.set_yticks(np.arange(len(mine)), [arm.name for arm in mine] if not column else [])
        with atomic_path(args.output / f"ablations-{topic}.png") as partial:
            figure.savefig(partial, dpi=80, format="png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("archive", type=Path)
    training.add_argument("valid", type=Path)
    training.add_argument("-o", "--output", type=Path, required=True)
    training.add_argument("--model", type=Path, default=checkpoint.embedded_folder())
    training.add_argument("--positions", type=float, default=1.0, help="how much longer than the figures here")
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
