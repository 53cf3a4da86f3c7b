"""The composer's mood adapter beside the lanes that it has: what each says of real songs, and how each is obeyed.

    python benchmarks/adapter_or_lanes.py bits MODEL VALID [--crops 64] [--context 256]
    python benchmarks/adapter_or_lanes.py obedience MODEL valid.npz [--setting "mode=off"] [--corners 3] [--moving 1]

MODEL was trained with `train_only = "adapter"`. `bits` measures crops of real songs (VALID is an archive, or a folder
that was tokenized before) with their own mood and with another song's, by the lanes and the two positions before the
music, by the adapter, and by both; means are of crops, with the standard error of what each saves. `obedience` composes
as benchmarks/mood_adherence.py does, with the same seeds for each way. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from mood_adherence import composed, rows_of
from sampling import recipe_of

from emsync.conditions import MOOD_LANES
from emsync.decoder import CachedDecoder, open_decoder
from emsync.recipe import Recipe
from emsync.training.corpus.archive import read_archive
from emsync.training.evaluation.mood_adherence import judge_piece, judges_scale, tasks
from emsync.training.evaluation.report_page import table

#: Whether the lanes and the positions before the music show the mood, and whether the adapter does.
WAYS: Final = {
    "neither": (False, False), "lanes": (True, False), "adapter": (False, True), "both": (True, True)
}  # fmt: skip

Floats = npt.NDArray[np.float64]


def bits(folder: Path, valid: Path, crops: int, context: int) -> None:
    """Print bits an event, by way and by mood."""
    import torch

    from emsync import checkpoint
    from emsync.training.crops import CropConfig, Crops
    from emsync.training.dataset import Dataset
    from emsync.training.train import tensors

    model = checkpoint.load(folder)
    data = Dataset.open(valid) if valid.is_dir() else Dataset.of(dict(read_archive(valid).arrays))
    drawn = Crops(data, CropConfig(context=context, near_chord=0.0), seed=1, augment=False, around=True)
    found: dict[tuple[str, str], list[Floats]] = {}
    for i in range(crops // 8):
        t = tensors(drawn.batch(i, 8), torch.device("cpu"))
        other = {name: t[name].clone() for name in ("lanes", "mood", "around")}
        other["lanes"][..., MOOD_LANES] = t["lanes"][..., MOOD_LANES].roll(1, 0)
        other |= {name: t[name].roll(1, 0) for name in ("mood", "around")}
        for way, (by_lanes, by_adapter) in WAYS.items():
            for whose, mood in (("own", t), ("another's", other)):
                if way == "neither" and whose != "own":
                    continue
                lanes, piece = mood["lanes"].clone(), mood["mood"]
                if not by_lanes:
                    lanes[..., MOOD_LANES], piece = torch.nan, torch.full_like(piece, torch.nan)
                with torch.inference_mode():
                    logits, _ = model(
                        t["ids"], t["previous_velocity"], lanes, piece, mood["around"] if by_adapter else None
                    )
                found.setdefault((way, whose), []).append(_per_crop(logits, t))
    plain = np.concatenate(found["neither", "own"])
    rows: list[list[str | float]] = []
    for (way, whose), parts in found.items():
        each = np.concatenate(parts)
        saved = plain - each
        error = saved.std(ddof=1) / np.sqrt(len(saved))
        rows.append([way, whose, f"{each.mean():.4f}", f"{saved.mean():+.4f} ± {error:.4f}"])
    print(f"\n{len(plain)} crops of {context} events\n")
    print("\n".join(table(["the model is shown", "the mood", "bits an event", "saved"], rows)))


def _per_crop(logits: Any, t: dict[str, Any]) -> Floats:
    """Bits an event of each crop (B,)."""
    import torch.nn.functional as F

    counted = (t["weights"] > 0).double()
    nats = F.cross_entropy(logits.transpose(1, 2).double(), t["targets"], reduction="none") * counted
    return np.asarray((nats.sum(1) / counted.sum(1)).numpy() / np.log(2))


class Hiding(CachedDecoder):
    """A decoder whose model is shown the mood in some ways only."""

    def __init__(self, real: CachedDecoder, *, lanes: bool, adapter: bool) -> None:
        self.__dict__.update(real.__dict__)
        self._by_lanes, self._by_adapter = lanes, adapter

    def prefill(self, ids: Any, previous_velocity: Any, lanes: Any, mood: Any, around: Any = None) -> Any:
        """See `CachedDecoder.prefill`."""
        if not self._by_lanes:
            lanes, mood = _without_mood(lanes), np.full_like(mood, np.nan)
        return super().prefill(ids, previous_velocity, lanes, mood, around if self._by_adapter else None)

    def step(self, ids: Any, previous_velocity: Any, lanes: Any, around: Any = None) -> Any:
        """See `CachedDecoder.step`."""
        lanes = lanes if self._by_lanes else _without_mood(lanes)
        return super().step(ids, previous_velocity, lanes, around if self._by_adapter else None)


def _without_mood(lanes: Any) -> Any:
    lanes = lanes.copy()
    lanes[..., MOOD_LANES] = np.nan
    return lanes


def obedience(
    folder: Path, archive: Path, recipe: Recipe, corners: int, moving: int, duration_s: float, ways: Sequence[str]
) -> None:
    """Print how well each way is obeyed, as the tables of docs/mood-adherence.md do."""
    asked = [task for task in tasks(duration_s) for _ in range(corners if task.kind == "corner" else moving)]
    scale = judges_scale(read_archive(archive))
    rows: list[list[str | float]] = []
    for way in ways:
        lanes, adapter = WAYS[way]
        decoder = Hiding(open_decoder(folder), lanes=lanes, adapter=adapter)
        pieces = composed(decoder, recipe, asked, duration_s, len(asked))
        rows += rows_of(way, [judge_piece(score, task, scale) for task, score in pieces])
        head = ["shown by", "axis", "Pearson", "within", "corners", "AUC of corners", "other axis",
                "Pearson, shuffled", "within, shuffled"]  # fmt: skip
        print("\n".join(["", f"{len(asked)} pieces of {duration_s:g} s", "", *table(head, rows)]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["bits", "obedience"])
    parser.add_argument("model", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("--crops", type=int, default=64, help="a multiple of 8")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--setting", default="mode=off", help="changes of the recipe, as in benchmarks/sampling.py")
    parser.add_argument("--corners", type=int, default=3, help="pieces for each corner")
    parser.add_argument("--moving", type=int, default=1, help="pieces for each ramp and step")
    parser.add_argument("--duration", type=float, default=24.0)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    a = parser.parse_args()
    if a.what == "bits":
        bits(a.model, a.valid, a.crops, a.context)
    else:
        obedience(a.model, a.valid, recipe_of(a.setting), a.corners, a.moving, a.duration, a.ways)


if __name__ == "__main__":
    main()
