"""The cost of weights with fewer bits: bits per note on whole songs, and the size of the weights.

    python benchmarks/quantise.py ARCHIVE.npz [--model DIR] [--songs 12]

Give the model as it was trained, in 32 bits. All products are taken in float32: bfloat16 would round weights by as much
as 8 bits do. "8", "16" and "32" are what `emsync export --bits` writes; the other rows are simulated in memory. MiB are
of the weights alone. The cost is given with twice its standard error, song by song against the first row. About a
minute per row for 12 songs of 8,000 events on one core, with the 7 M parameters of the small model.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from emsync import checkpoint
from emsync.model import EventTransformer
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import Dataset
from emsync.training.evaluation.evaluate import bits


def simulated(model: EventTransformer, n_bits: int, *, per_row: bool = True) -> tuple[EventTransformer, float]:
    """The model after its matrices were rounded to this many bits, and their size on disk in MiB."""
    state, stored_bits = model.state_dict(), 0
    for name, tensor in state.items():
        if name == "head.weight" and model.config.tied:
            continue
        if checkpoint.in_8_bits(tensor.shape):
            whole, scale = checkpoint.quantise(tensor if per_row else tensor.reshape(1, -1), bits=n_bits)
            tensor.copy_((whole.float() * scale[:, None]).reshape(tensor.shape))
            stored_bits += n_bits * whole.numel() + 32 * scale.numel()
        else:
            tensor.copy_(tensor.half().float())
            stored_bits += 16 * tensor.numel()
    return model, stored_bits / 8 / 2**20


def saved(model: EventTransformer, n_bits: checkpoint.Bits) -> tuple[EventTransformer, float]:
    """The model as loaded from a folder with this many bits, and the size of its weights in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(model, Path(folder) / "model", bits=n_bits)
        size_bytes = (Path(folder) / "model" / checkpoint.WEIGHTS).stat().st_size
        return checkpoint.load(Path(folder) / "model"), size_bytes / 2**20


ROWS: dict[str, Callable[[EventTransformer], tuple[EventTransformer, float]]] = {
    "32 bits": lambda model: saved(model, 32),
    "16 bits": lambda model: saved(model, 16),
    "8 bits, a scale a row": lambda model: saved(model, 8),
    "8 bits, a scale a matrix": lambda model: simulated(model, 8, per_row=False),
    "6 bits, a scale a row": lambda model: simulated(model, 6),
    "4 bits, a scale a row": lambda model: simulated(model, 4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path, help="a model folder (the one that ships with emsync)")
    parser.add_argument("--songs", type=int, default=12, help="how many songs, from the first (12)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trained = checkpoint.load(arguments.model or checkpoint.embedded_folder())
    data = Dataset.of(dict(read_archive(arguments.archive).arrays), snap_tempo=True)
    first: np.ndarray | None = None
    for name, change in ROWS.items():
        model, size_mib = change(copy.deepcopy(trained))
        reports = []
        for song in range(min(arguments.songs, len(data))):
            reports.append(bits(model, data, songs=[song], mood=model.config.knows_mood, bf16=False))
            print(f"{name}: {len(reports)} songs", end="\r", file=sys.stderr, flush=True)
        notes = np.array([report.notes for report in reports], dtype=float)
        spent = np.array([report.bits.sum() for report in reports])
        velocities = sum(report.velocity_bits for report in reports) / notes.sum()
        if first is None:
            first = spent
            print(f"{len(reports)} songs, {notes.sum():,.0f} notes\n")
            print("| weights | MiB | bits per note | cost | velocity bits per note |\n|---|---:|---:|---:|---:|")
        cost = (spent - first).sum() / first.sum()
        off = (spent - first) - cost * first  # of a ratio's estimate
        error = 2 * np.sqrt(len(off) * off.var(ddof=1)) / first.sum() if len(off) > 1 else np.nan
        per_note = spent.sum() / notes.sum()
        print(
            f"| {name} | {size_mib:.1f} | {per_note:.4f} | {cost:+.3%} ± {error:.3%} | {velocities:.4f} |", flush=True
        )


if __name__ == "__main__":
    main()
