"""Choose sampling settings by figures: composed pieces beside real songs, for several temperatures and top-p.

    python benchmarks/sampling.py ARCHIVE.npz [--model DIR] [--pieces 4] [--seconds 30]

For each setting the medians over the pieces of: notes a second, notes sounding at once, length of a pitched note (s),
share of notes in the best-fitting major or minor scale, entropy of the pitch classes (bits), share of onsets on the
sixteenths of their bar, families heard; and the same of real songs, first. Nearest to real is best.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from emsync import soundtrack
from emsync.decoder import open_decoder
from emsync.score import Score
from emsync.tokenizer.events import decode
from emsync.training.archive import read_archive
from emsync.training.dataset import Dataset

MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
NAMES = ("notes/s", "at once", "length", "in scale", "entropy", "on grid", "families")


def figures(score: Score, seconds: float) -> list[float]:
    """The figures of the first `seconds` of a score, in the order of NAMES."""
    score = score.select(score.start_s < seconds)
    pitched = score.instrument > 0
    if pitched.sum() < 2:
        return [len(score) / seconds, 0, 0, 0, 0, 0, 0]
    lengths = np.minimum(score.end_s, seconds)[pitched] - score.start_s[pitched]
    classes = np.bincount(score.pitch[pitched] % 12, minlength=12)
    share = classes[classes > 0] / classes.sum()
    in_scale = max((classes * np.roll(MAJOR, k)).sum() for k in range(12)) / classes.sum()
    sixteenths = score.tempo.quarters_at(score.start_s) * 4
    on_grid = float((np.abs(sixteenths - np.rint(sixteenths)) < 0.12).mean())
    return [
        len(score) / seconds, float(lengths.sum() / seconds), float(np.median(lengths)), float(in_scale),
        float(-(share * np.log2(share)).sum()), on_grid, float(len(np.unique(score.instrument))),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pieces", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    args = parser.parse_args()
    data = Dataset.of(read_archive(args.archive).arrays)
    real = []
    for i in range(min(len(data), 200)):
        ids, velocities = data.song(i)
        song = decode(ids, velocities)
        if song.duration_s > args.seconds and len(np.unique(song.instrument)) >= 3:
            real.append(figures(song, args.seconds))
    print("| | " + " | ".join(NAMES) + " | chords on cuts |\n" + "|---" * (len(NAMES) + 2) + "|")
    for share in (25, 50, 75):
        print(f"| real, {share} % | " + " | ".join(f"{x:.2f}" for x in np.percentile(real, share, axis=0)) + " | |")
    decoder = open_decoder(args.model)
    for tempo in (None,):
        for temperature, top_p in ((0.8, 0.95), (0.9, 0.95), (1.0, 0.97)):
            rows, met, asked = [], 0, 0
            for seed in range(args.pieces):
                cuts = np.cumsum(np.random.default_rng(seed).uniform(4, 9, 12))
                settings = soundtrack.Settings(seed=seed, temperature=temperature, top_p=top_p, tempo_qpm=tempo)
                track = soundtrack.compose(decoder, args.seconds, cuts[cuts < args.seconds], settings)
                rows.append(figures(track.score, args.seconds))
                met, asked = met + track.n_within_frame, asked + len(track.boundaries_s)
            medians = " | ".join(f"{x:.2f}" for x in np.median(rows, axis=0))
            print(f"| T {temperature:g}, p {top_p:g}, tempo {tempo} | {medians} | {met} of {asked} |", flush=True)


if __name__ == "__main__":
    main()
