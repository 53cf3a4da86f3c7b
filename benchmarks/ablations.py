"""The value of each choice in the composer: equal compute, one choice changed at a time.

    python benchmarks/ablations.py train TRAIN.npz VALID.npz -o FOLDER [--model DIR] [--only TOPIC ...]
    python benchmarks/ablations.py draw FOLDER -o docs/pictures
    python benchmarks/ablations.py table FOLDER

`train` tokenizes both archives into FOLDER, trains one arm after the other and keeps each arm's figures in
FOLDER/results.json; arms that are there already are not trained again.

Two CPU cores cannot train a model for each question. Choices that do not change the shape of the weights are
therefore tested on the trained model (`--model`; by default the embedded one): each arm continues from it for
`--positions` million positions, with the same crops in the same order, so that small differences show. Encodings of
the lanes, and attention, are tested in the same way: each arm starts with new ones in the trained model. Other changes
of the shape are trained from scratch, small and for a short time (`SCRATCH`). Every arm may spend as many
floating-point operations (`utilisation.flops_per_event`) as its base, so an arm that costs more per position sees fewer
positions. Measured for each:

- bits per note of whole validation songs, given their conditions (`evaluate.bits`), by kind of event, and velocities;
- CHORD decisions: at every event of fixed crops, the bits for deciding whether a CHORD comes next, per CHORD, with the
  boundaries given and without. The difference says how well the model uses boundaries. With boundaries as sparse as in
  films, the average precision of P(CHORD) among all events at finding the chords.

Each base is trained with two seeds, which means other crops; smaller differences than theirs mean nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ablation_arms import ARMS, CURATED, CURATED_TIMES, SCRATCH_M, TRAINED_M, Arm
from ablation_results import draw, read_results, row, show_table

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.conditions import LANE_NAMES
from emsync.files import atomic_path
from emsync.training.corpus import archive_events
from emsync.training.corpus.archive import read_archive
from emsync.training.crops import Batch, CropConfig, Crops
from emsync.training.dataset import Dataset, build
from emsync.training.evaluation import evaluate

if TYPE_CHECKING:
    from emsync.model import EventTransformer

SONG_EVENTS = (3_000, 7_000)  # songs to measure on: neither snippets nor suites
N_SONGS, N_CROPS = 12, 40
BOUNDARY = LANE_NAMES.index("boundary")


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
    """The archive as a dataset in `folder`, made if it is not there yet."""
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
    """The songs an arm is trained on, by number; None: all."""
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
    """Fixed crops with all conditions; boundaries as sparse as a film's."""
    config = replace(CropConfig(), context=context, drop_chord=0.0, drop_boundaries=0.0,
                     sparse_boundaries=1.0, drop_end=0.0, late_end=0.0, transpose=0, drop_mood=0.0,
                     drop_piece_mood=0.0, drop_mood_lanes=0.0, drop_axis=0.0, drop_meter=0.0, drop_tempo=0.0,
                     near_chord=1.0)  # fmt: skip
    crops = Crops(data, config, seed=20_261_121)
    return [crops.batch(i, 4) for i in range(N_CROPS // 4)]


def decisions(model: Any, batches: list[Batch]) -> dict[str, float]:
    """Cost of deciding whether a CHORD comes next: bits per CHORD with boundaries and without; average precision."""
    import torch

    from emsync.training.batches import inputs
    from emsync.training.train import bf16_pays, tensors

    place = torch.device("cpu")
    half = bf16_pays(place)
    found: dict[str, float] = {}
    for given in (True, False):
        score, true = [], []
        for batch in batches:
            t = tensors(batch, place)
            if not given:
                t["lanes"][..., BOUNDARY] = float("nan")
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                logits, _ = model(*inputs(t))
            counted = t["weights"] > 0
            score.append(logits.float()[counted].log_softmax(-1)[:, v.CHORD].exp().double().numpy())
            true.append((t["targets"][counted] == v.CHORD).numpy())
        p, y = np.concatenate(score).clip(1e-12, 1 - 1e-12), np.concatenate(true)
        bits = -(np.log2(p[y]).sum() + np.log2(1 - p[~y]).sum()) / max(int(y.sum()), 1)
        order = np.argsort(-p, kind="stable")
        hits = np.cumsum(y[order]) / np.arange(1, len(y) + 1)
        name = "given" if given else "without"
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
    """A model folder for the arm to start from: the trained model in the arm's shape; what does not fit is new."""
    from emsync.lane_layers import OffsetLane
    from emsync.model import EventTransformer

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
        same_songs = judges(tokenized(args.valid, args.output / "valid", strings=False))
        figures = {**about, **measured(run / "model", held_out, same_songs)}
        results = read_results(args.output) | {arm.key: figures}  # read again: another process may have added its own
        with atomic_path(args.output / "results.json") as partial:
            partial.write_text(json.dumps(results, indent=1) + "\n")
        shutil.rmtree(run / "state", ignore_errors=True)
        print(row(arm.key, figures), flush=True)


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
    drawing.add_argument("folder", type=Path, help="a run, or a Markdown page with its table")
    drawing.add_argument("-o", "--output", type=Path, required=True)
    drawing.set_defaults(run=draw)
    table = commands.add_parser("table")
    table.add_argument("folder", type=Path)
    table.set_defaults(run=show_table)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
