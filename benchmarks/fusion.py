"""Ways of joining the controls' lanes to a frozen composer, on equal compute: the table of decision 42.

    python benchmarks/fusion.py RUN/data RUN/valid [--model DIR] [--minutes 4] [--crops 48] -o FOLDER

The first two are the folders of songs that a training run makes (`emsync train -o RUN`). The model loses its own lanes
of controls. Each way then begins from the same weights and trains the lanes, weights and guides alone (`train_only =
"controls"`) for so many minutes. Bits per note of validation crops with controls hidden, with the songs' own, and with
those of another crop; right over wrong measures how well they are followed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from style_bits import bits

from emsync import checkpoint
from emsync.conditions import CONTROL_LANES, LANE_NAMES
from emsync.model import EventTransformer
from emsync.training.crops import Batch, Crops
from emsync.training.dataset import Dataset
from emsync.training.evaluation.report_page import table
from emsync.training.presets import Preset
from emsync.training.run_options import RunOptions
from emsync.training.train import VALID_SEED, fit

WAYS: Final = {
    "added": {},
    "weighed (dynamic)": {"fusion": "dynamic"},
    "guides": {"guided_every": 4},
}


def without_controls(model: EventTransformer) -> EventTransformer:
    """The model without its lanes of controls, as before they were added."""
    kept = [i for i, name in enumerate(model.config.lanes) if LANE_NAMES.index(name) not in CONTROL_LANES]
    config = replace(model.config, lanes=tuple(model.config.lanes[i] for i in kept))
    smaller = EventTransformer(config)
    state = {}
    for name, x in model.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "lanes":
            index, _, rest = rest.partition(".")
            if int(index) not in kept:
                continue
            name = f"lanes.{kept.index(int(index))}.{rest}"
        state[name] = x
    smaller.load_state_dict(state)
    return smaller


def of_another(batches: Sequence[Batch]) -> list[Batch]:
    """The batches with every crop's controls exchanged for those of the next crop."""
    found = []
    for batch in batches:
        lanes = batch.lanes.copy()
        lanes[..., CONTROL_LANES] = np.roll(lanes[..., CONTROL_LANES], 1, axis=0)
        found.append(replace(batch, lanes=lanes))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--model", type=Path, default=checkpoint.embedded_folder())
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--crops", type=int, default=48)
    parser.add_argument("-o", "--output", type=Path, required=True)
    a = parser.parse_args()
    a.output.mkdir(parents=True)
    base = a.output / "base"
    stripped = without_controls(checkpoint.load(a.model))
    checkpoint.save(stripped, base)
    data, valid = Dataset.open(a.train), Dataset.open(a.valid)
    small = Preset.read("small")
    size = 4
    crops = replace(small.crops, drop_lane=0.25)
    plain, right = (
        [
            Crops(valid, crops, seed=VALID_SEED, augment=False, controls=shown).batch(i, size)
            for i in range(math.ceil(a.crops / size))
        ]
        for shown in (False, True)
    )
    shown = (plain, right, of_another(right))
    rows: list[list[str | float]] = []
    before = bits(stripped, plain)
    for name, parts in WAYS.items():
        config = replace(small.train, batch=size, train_only="controls", rate=1.5e-3, warmup_steps=10, decay=0.6)
        preset = replace(small, model=replace(small.model, **parts), crops=crops, train=config)
        out = a.output / name.split()[0]
        end = fit(preset, data, None, out, RunOptions(minutes=a.minutes, initial=base))
        model = checkpoint.load(out / "model")
        hidden, own, wrong = (bits(model, each) for each in shown)
        new = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in stripped.parameters())
        rows.append([name, f"{new:,}", f"{end.tokens / 1e6:.2f}", hidden, own, wrong, wrong - own])
        print(rows[-1], flush=True)
    print(f"Before: {before:.3f} bits a note.\n")
    head = ["way", "parameters", "M positions", "hidden", "right", "wrong", "right over wrong"]
    print("\n".join(table(head, rows)))


if __name__ == "__main__":
    main()
