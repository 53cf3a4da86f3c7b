"""Figures for choosing sampling settings: pieces composed with each, beside real songs.

    python benchmarks/sampling.py ARCHIVE.npz [--model DIR] [--pieces 16] [--seconds 40] [--songs 300]
        [--land bend|free|exact] [--setting "temperature=1 top_p=0.98 velocity=1 TIMESHIFT=0.8,0.9"] ...

A setting changes `temperature`, `top_p`, `velocity` (the velocities' temperature), `chord_bias`, `stray_bias`,
`loose_bias`, `stale_bias`, `repeat_bias`, `grid`, `finish` (by name), or the temperature and top-p within
one kind of event; everything else is as users get it. Without --setting it makes the table of
docs/decisions/0011-sampling.md. Every setting composes for the same random cut lists with the same seeds. For each: the
mean overlap of statistics and textures with real songs, and the area under the curve of the classifier that separates
composed from real, with and without features of timing (`similarity.measure`); medians of some statistics, real ones in
the second row; and recall / precision / IoU of CHORD events within a frame and a second of the cuts, before any
bending, chance in brackets. --land free shows the model's own anticipation.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from emsync import vocabulary as v
from emsync.decoder import Decoder, open_decoder
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import landing, similarity

DEFAULT = (
    "",
    "velocity=0.8",
    "temperature=1 top_p=0.98 ON=1,0.98",
    "ON=0.9,0.95",
    "ON=1,0.98",
    "ON=1,1",
    "stray_bias=0",
)
SHOWN = (
    "notes_per_s", "polyphony", "note_quarters", "scale_consistency", "pitch_class_entropy", "repeated_1",
    "repeated_8", "ends_on_sixteenths", "velocity_deviation", "chords_per_minute",
)  # fmt: skip


def recipe_of(setting: str) -> Recipe:
    """The default recipe with the setting's changes. Raises ValueError for what cannot be read."""
    recipe = Recipe()
    for word in setting.split():
        name, _, value = word.partition("=")
        changed: dict[str, Any]
        if name in v.KINDS:
            temperature, top_p = (float(x) for x in value.split(","))
            changed = {"by_kind": {**recipe.by_kind, name: (temperature, top_p)}}
        elif name == "velocity":
            changed = {"velocity_temperature": float(value)}
        else:
            was = getattr(recipe, name)
            changed = {
                name: value if isinstance(was, str) else type(was)(value) if isinstance(was, int) else float(value)
            }
        recipe = replace(recipe, **changed)
    return recipe


def judged(decoder: Decoder, setting: str, args: argparse.Namespace, real: list[Score]) -> similarity.Similarity:
    """Compose with one setting, print its row, and return the figures."""
    films = []
    for i in range(args.pieces):
        films.append(landing.random_list(np.random.default_rng([args.seed, i]), f"{i:03d}", args.seconds))
    begun = time.process_time()
    pieces = landing.compose_all(decoder, films, replace(recipe_of(setting), hits=args.land), seed=args.seed)
    spent = time.process_time() - begun
    found = similarity.measure([piece.score for piece in pieces], real, seed=args.seed)
    tallies = landing.measure({"random": {args.land: pieces}}).tallies
    met = []
    for window in landing.WINDOWS:
        own, chance = tallies[landing.Aim("random", args.land, "chord_events", window)]
        met.append(" / ".join(f"{x:.2f}" for x in (own.recall, own.precision, own.iou)) + f" ({chance.iou:.2f})")
    rows = {row.name: row for row in found.overlaps}
    medians = " | ".join(f"{rows[name].composed:.2f}" for name in SHOWN)
    print(
        f"| {setting or 'as users get it'} | {found.overlap:.3f} | {found.auc:.3f} | {found.auc_without_timing:.3f} | "
        f"{medians} | {' | '.join(met)} | {spent:.0f} |",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pieces", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--songs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--land", choices=landing.HITS, default="bend")
    parser.add_argument("--setting", action="append", default=[])
    args = parser.parse_args()
    songs = read_archive(args.archive)
    more = np.flatnonzero(songs.arrays["pool"] == "more")
    chosen = np.sort(np.random.default_rng(args.seed).permutation(more)[: args.songs])
    real = [song_score(songs, int(i)) for i in chosen]
    head = ("", "overlap", "AUC", "untimed", *(name.replace("_", " ") for name in SHOWN), "33.3 ms", "1 s", "CPU s")
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    decoder = open_decoder(args.model)
    for i, setting in enumerate(args.setting or DEFAULT):
        found = judged(decoder, setting, args, real)
        if i == 0:
            rows = {row.name: row for row in found.overlaps}
            medians = " | ".join(f"{rows[name].real:.2f}" for name in SHOWN)
            print(f"| real songs | {found.ceiling:.3f} | {found.floor:.3f} | | {medians} | | | |", flush=True)


if __name__ == "__main__":
    main()
