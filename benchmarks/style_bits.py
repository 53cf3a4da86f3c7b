"""What a style saves on other pieces of the same collection: low-rank adapters and prefixes, on equal steps.

    python benchmarks/style_bits.py FOLDER [FOLDER ...] [--pieces 5] [--others 20] [--steps 120]

Of each folder of MIDI files, some pieces train a style (`emsync train --adapter lora`) and a prefix
(`style_positions`), and others judge them: bits per note of fixed crops, of the model alone and with each. Other
folders' styles are the control: a style that only made the model better at MIDI files would help there as well.
"""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from emsync import checkpoint
from emsync.model import EventTransformer
from emsync.training import low_rank, styles
from emsync.training.crops import Batch, CropConfig, Crops
from emsync.training.dataset import Dataset
from emsync.training.evaluation.report_page import table
from emsync.training.objective import validate

BATCH = 4


def crops_of(files: list[Path], count: int) -> list[Batch]:
    """Fixed crops of pieces, as validation sees them."""
    data = Dataset.of(dict(styles.read_pieces(files).archive.arrays))
    crops = Crops(data, CropConfig(context=1024), seed=5, augment=False)
    return [crops.batch(i, BATCH) for i in range(count // BATCH)]


def bits(model: EventTransformer, batches: list[Batch]) -> float:
    """Bits a note, of events without velocities."""
    with torch.inference_mode():
        return validate(model, batches, torch.device("cpu"), nullcontext)["bits_per_note"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--pieces", type=int, default=5)
    parser.add_argument("--others", type=int, default=20)
    parser.add_argument("--crops", type=int, default=32)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--rate", type=float, default=styles.StyleOptions().rate)
    parser.add_argument("--prefix-rate", type=float, default=2e-2)
    parser.add_argument("--ways", nargs="+", default=["adapter", "prefix"])
    a = parser.parse_args()
    judged: dict[str, list[Batch]] = {}
    learned: dict[str, list[Path]] = {}
    for folder in a.folders:
        files = sorted(folder.rglob("*.mid"))
        drawn = [files[i] for i in np.random.default_rng(1).permutation(len(files))]
        learned[folder.name], judged[folder.name] = drawn[: a.pieces], crops_of(drawn[a.pieces :][: a.others], a.crops)
    alone = {name: bits(checkpoint.load(checkpoint.embedded_folder()), batches) for name, batches in judged.items()}
    rows: list[list[str | float]] = []
    for name, files in learned.items():
        data = Dataset.of(dict(styles.read_pieces(files).archive.arrays))
        for way in a.ways:
            model = checkpoint.load(checkpoint.embedded_folder())
            options = styles.StyleOptions(steps=a.steps, rate=a.rate)
            if way == "adapter":
                parameters = low_rank.parameters(low_rank.attach(model, options.rank, options.seed))
            else:
                model = model.with_parts(replace(model.config, style_positions=3)).requires_grad_(False)
                parameters = [model.style.weight.requires_grad_()]
                options = replace(options, rate=a.prefix_rate)
            spent = styles.fit(model, parameters, data, options)
            saved = {other: alone[other] - bits(model, batches) for other, batches in judged.items()}
            elsewhere = float(np.mean([x for other, x in saved.items() if other != name] or [np.nan]))
            size = sum(each.numel() for each in parameters)
            own = float(np.mean(spent[:10])), float(np.mean(spent[-10:]))
            rows.append([name, way, f"{size:,}", f"{own[0]:.2f} to {own[1]:.2f}", alone[name], saved[name], elsewhere])
            print(rows[-1], flush=True)
    head = ["style", "way", "parameters", "bits an event, own pieces", "others alone", "saved", "saved elsewhere"]
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()
