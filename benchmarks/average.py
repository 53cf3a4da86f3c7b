"""Averages of two models' weights, validated on the crops of a training run.

    python benchmarks/average.py OLD NEW PRESET.toml VALID [--shares 0 0.5 0.7 0.85 1] [-o FOLDER]

NEW was trained from OLD (`emsync train PRESET.toml ... --initial OLD --valid VALID`); OLD gets what lanes it lacks, at
zero. VALID is the run's folder `valid`, and the crops are those that the run validated on. Each share is that of NEW in
the average. Prints Markdown, and writes the best average as a model folder of 32 bits.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from pathlib import Path

import torch

from emsync import checkpoint
from emsync.training.crops import Crops
from emsync.training.dataset import Dataset
from emsync.training.evaluation.report_page import table
from emsync.training.objective import validate
from emsync.training.presets import Preset
from emsync.training.train import VALID_SEED


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("preset")
    parser.add_argument("valid", type=Path)
    parser.add_argument("--shares", nargs="+", type=float, default=[0.0, 0.5, 0.7, 0.85, 1.0])
    parser.add_argument("-o", "--output", type=Path)
    a = parser.parse_args()
    model = checkpoint.load(a.new)
    new = {name: x.clone() for name, x in model.state_dict().items()}
    old = checkpoint.load(a.old).with_all_lanes().state_dict()
    preset, valid = Preset.read(a.preset), Dataset.open(a.valid)
    size = preset.train.batch
    n = math.ceil(preset.train.valid_crops / size)
    plain, controlled = (
        [still.batch(i, size, chord_weight=preset.train.chord_weight) for i in range(count)]
        for still, count in (
            (Crops(valid, preset.crops, seed=VALID_SEED, augment=False, controls=controls), count)
            for controls, count in ((False, n), (True, math.ceil(n / 4)))
        )
    )

    def averaged(share: float) -> None:
        model.load_state_dict({k: torch.lerp(x, new[k], share) for k, x in old.items()})

    found: dict[float, float] = {}
    rows: list[list[str | float]] = []
    for share in a.shares:
        averaged(share)
        with torch.inference_mode():
            report = validate(model, plain, torch.device("cpu"), contextlib.nullcontext, controlled=controlled)
        found[share] = report["bits_per_note"]
        rows.append([f"{share:g}", found[share], report["controls_save_bits_per_note"]])
    print("\n".join(table(["share of the new weights", "bits per note", "controls save"], rows)))
    if a.output is not None:
        best = min(found, key=lambda share: found[share])
        averaged(best)
        about = json.loads((a.new / checkpoint.CONFIG).read_text())["training"]
        about["averaged"] = {"with": "the model before", "share_of_new": best}
        checkpoint.save(model, a.output, training=about)


if __name__ == "__main__":
    main()
