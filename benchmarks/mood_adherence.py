"""Measure whether the music follows the requested mood (corners, ramps and steps), and what that costs.

    python benchmarks/mood_adherence.py valid.npz [--seeds 3] [--duration 40] [-o docs/pictures/mood-adherence.png]

Prints the tables of docs/mood-adherence.md as Markdown and draws the requested and measured curves. The cost in bits
per note needs torch (`--no-bits` leaves it out). The model must not have been trained on the songs of the archive.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from guided_bits import STRENGTHS, guided_bits

from emsync.decoder import open_decoder
from emsync.recipe import Recipe
from emsync.training.corpus.archive import pack, read_archive
from emsync.training.evaluation.mood_adherence import (
    TEMPO_QPM,
    Judged,
    MoodAdherence,
    adherence,
    judge_piece,
    judges_scale,
    perform,
    tasks,
)
from emsync.training.evaluation.report_page import table
from emsync.training.mood.regressor import AXES

#: Crops for the cost in bits are drawn from so many songs.
CROPPED_SONGS = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=40.0)
    parser.add_argument("--strengths", type=float, nargs="+", default=list(STRENGTHS))
    parser.add_argument("--crops", type=int, default=120, help="crops of real songs for the cost in bits")
    parser.add_argument("--no-bits", action="store_true")
    parser.add_argument("-o", "--output", type=Path, help="draw the curves here")
    parser.add_argument("--picture-strength", type=float, default=Recipe.mood_strength)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    songs = read_archive(options.archive)
    first = [songs[i] for i in range(min(CROPPED_SONGS, len(songs)))]
    scale = judges_scale(songs)
    asked = tasks(options.duration)
    found: dict[float, list[Judged]] = {}
    rows = []
    for strength in options.strengths:
        heard: list[Judged] = []
        for seed in range(options.seeds):
            decoder = open_decoder(options.model, backend=options.backend)
            recipe = Recipe(seed=seed, mood_strength=strength, tempo_qpm=TEMPO_QPM, finish="off")
            scores = perform(decoder, asked, options.duration, recipe)
            heard += [judge_piece(score, task, scale) for score, task in zip(scores, asked, strict=True)]
        found[strength] = heard
        for axis, name in enumerate(AXES):
            o = adherence(heard, axis)
            rows.append(
                [f"{strength:g}", name, o.pearson, o.within, o.separation, o.corner_auc, o.crosstalk,
                 o.shuffled_pearson, o.shuffled_within]
            )  # fmt: skip
            print(f"strength {strength:g} {name}: {o}", flush=True)
    head = ["strength", "axis", "Pearson", "within ramps and steps", "high − low corners", "AUC of corners",
            "with the other axis", "Pearson, shuffled", "within, shuffled"]  # fmt: skip
    pieces = options.seeds * len(asked)
    print(f"\n{pieces} pieces of {options.duration:g} s for each strength, at {TEMPO_QPM:g} quarter notes a minute:\n")
    print("\n".join(table(head, rows)))

    bits: dict[str, float] = {}
    if not options.no_bits:
        from emsync import checkpoint
        from emsync.training.crops import CropConfig, Crops
        from emsync.training.dataset import Dataset

        folder = checkpoint.embedded_folder() if options.model is None else options.model
        model = checkpoint.load(folder)
        data = Dataset.of(dict(pack(first).arrays))
        crops = Crops(data, CropConfig(context=model.config.context, near_chord=0.0), seed=1, augment=False)
        bits = guided_bits(model, [crops.batch(i, 4) for i in range(options.crops // 4)], options.strengths)
        print(f"\nBits per note of {options.crops} crops of real songs, conditioned on cuts, end and this mood:\n")
        print("\n".join(table(["mood", "bits per note"], [[name, value] for name, value in bits.items()])))
    if options.json:
        options.json.write_text(json.dumps({"rows": [dict(zip(head, row, strict=True)) for row in rows], "bits": bits}))
    if options.output:
        nearest = min(found, key=lambda s: abs(s - options.picture_strength))
        options.output.parent.mkdir(parents=True, exist_ok=True)
        MoodAdherence.of(found[nearest], nearest).plot(options.output)


if __name__ == "__main__":
    main()
