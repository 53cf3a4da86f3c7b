"""Draw composed pieces beside real songs of the same length, to compare by eye.

    python benchmarks/compare_rolls.py ARCHIVE.npz -o rolls.png [--model DIR] [--seconds 30] [--pieces 3]

Prints the same few statistics of each: notes a second, notes at once, pitch classes, families.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from emsync import plot, soundtrack
from emsync.decoder import open_decoder
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.tokenizer.events import decode
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import Dataset


def excerpt(score: Score, begin_s: float, seconds: float) -> Score:
    """The notes that begin within a stretch, moved to 0 s."""
    inside = (score.start_s >= begin_s) & (score.start_s < begin_s + seconds)
    part = score.select(inside)
    return Score(
        part.instruments, part.instrument, part.pitch, part.velocity, part.start_s - begin_s,
        np.minimum(part.end_s - begin_s, seconds), score.tempo,
        Score.empty().bars, duration_s=seconds,
    )  # fmt: skip


def describe(score: Score) -> str:
    pitched = score.instrument > 0
    length = score.duration_s
    classes = len(np.unique(score.pitch[pitched] % 12))
    at_once = float((score.end_s - score.start_s)[pitched].sum() / length)
    families = len(np.unique(score.instrument))
    rate = len(score) / length
    return f"{rate:5.1f} notes/s, {at_once:4.1f} sounding at once, {classes:2d} pitch classes, {families} families"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--pieces", type=int, default=3)
    args = parser.parse_args()
    decoder = open_decoder(args.model)
    rolls = []
    rng = np.random.default_rng(3)
    for seed in range(args.pieces):
        cuts = np.cumsum(rng.uniform(4, 9, 12))
        track = soundtrack.compose(decoder, args.seconds, cuts[cuts < args.seconds], Recipe(seed=seed))
        rolls.append((f"composed, seed {seed}: {describe(track.score)}", track.score, track.cuts_s))
    data = Dataset.of(read_archive(args.archive).arrays)
    picked = 0
    while picked < args.pieces:
        ids, velocities = data.song(int(rng.integers(len(data))))
        song = decode(ids, velocities)
        if song.duration_s < args.seconds + 20 or len(np.unique(song.instrument)) < 3:
            continue
        part = excerpt(song, 10.0, args.seconds)
        rolls.append((f"real: {describe(part)}", part, ()))
        picked += 1
    for title, _, _ in rolls:
        print(title)
    plot.save_rolls(rolls, args.output)


if __name__ == "__main__":
    main()
