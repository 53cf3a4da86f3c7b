"""Originality against recognisability of styles, as HPM (Section 4.2.3): a table in docs/styles.md.

    python benchmarks/styles.py OURS/train OURS/style OTHER/ [OTHER/ ...] --real OURS/rest

Pieces are composed with a style at several strengths, and like single pieces of it. *Recognised*: of the centroids
of real pieces, one for each folder, the style is the nearest. *Copied*: the longest stretch of a family's line
that occurs in the pieces the style was learned from (`training.evaluation.copies`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emsync import midi, reference
from emsync import vocabulary as v
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.session import Session
from emsync.soundtrack import for_cuts
from emsync.tokenizer import families
from emsync.training.evaluation.copies import Search
from emsync.training.evaluation.music_statistics import draw_window
from emsync.training.styles import read_pieces

Figures = npt.NDArray[np.float64]


def figures(score: Score) -> Figures:
    """What a piece is recognised by: families, density, lengths, places in the beat, intervals, pitches."""
    score = families.reduce(score).score
    pitched = score.instrument != v.DRUMS
    on_q, off_q = score.tempo.quarters_at(score.start_s), score.tempo.quarters_at(score.end_s)
    share = np.bincount(score.instrument, minlength=5) / max(len(score), 1)
    place = np.bincount(np.rint(4 * (on_q % 1)).astype(np.int64) % 4, minlength=4) / max(len(score), 1)
    length = np.log2(np.maximum(off_q - on_q, 0.05))[pitched]
    classes = np.bincount(score.pitch[pitched] % 12, minlength=12) / max(pitched.sum(), 1)
    entropy = -(classes * np.log2(np.maximum(classes, 1e-9))).sum()
    together = len(score) / max(len(np.unique(np.rint(score.start_s * 50))), 1)
    steps = [np.abs(np.diff(score.pitch[score.instrument == k])).mean() for k in range(1, 5) if share[k] > 0.02]
    seconds = max(float(score.end_s.max(initial=1.0) - score.start_s.min(initial=0.0)), 1.0)
    low_high = [length.mean(), length.std(), score.pitch[pitched].mean() / 12] if pitched.any() else [0.0, 0.0, 5.0]
    return np.array(
        [
            *share,
            *place,
            *low_high,
            entropy,
            np.log2(together),
            np.mean(steps) if steps else 0,
            np.log2(len(score) / seconds),
        ]
    )


def windows(folder: Path, length_s: float) -> list[Figures]:
    """The figures of a stretch of each piece of a folder."""
    found = []
    for i, path in enumerate(sorted(folder.rglob("*.mid"))):
        score = midi.read(path)
        drawn = draw_window(score, np.random.default_rng(i), length_s)
        found.append(figures(score if drawn is None else drawn))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pieces", type=Path)
    parser.add_argument("style", type=Path)
    parser.add_argument("others", type=Path, nargs="+")
    parser.add_argument("--real", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--length", type=float, default=16.0)
    given = parser.parse_args()
    real = [windows(folder, given.length) for folder in (given.real, *given.others)]
    spread = np.concatenate([np.stack(each) for each in real]).std(axis=0) + 1e-6
    centroids = [np.stack(each).mean(axis=0) for each in real]

    def distance(piece: Figures, leave_out: bool = False) -> Figures:
        places = list(centroids)
        if leave_out:
            n = len(real[0])
            places[0] = (places[0] * n - piece) / (n - 1)
        return np.array([np.linalg.norm((piece - each) / spread) for each in places])

    def line(name: str, scores: Sequence[Score], distances: Sequence[Figures]) -> None:
        first = [int(np.argmin(each)) == 0 for each in distances]
        nearer = [float(np.min(each[1:]) / each[0]) for each in distances]
        copied = ""
        if scores:
            search = Search(list(scores))
            search.search(read_pieces([given.pieces]).archive)
            tuned = search.lines.family != v.DRUMS
            copied = f"{search.longest[tuned].max(initial=0)} | {(search.longest[tuned] > 0).mean():.3f}"
        print(f"| {name} | {sum(first)} of {len(first)} | {np.mean(nearer):.2f} | {copied or '| '} |", flush=True)

    print("| | recognised | others' distance / own | longest copy, notes | windows copied |\n|---|---|---|---|---|")
    line("real pieces of the style", [], [distance(each, True) for each in real[0]])
    session, cuts_s = Session.open(), [0.45 * given.length]
    makes = {
        f"strength {s:g}": Recipe(style=str(given.style) if s else "", style_strength=s or 1.0) for s in (0, 0.5, 1)
    }
    for name, recipe in makes.items():
        scores = [for_cuts(given.length, cuts_s, _seeded(recipe, i), session=session).score for i in range(given.seeds)]
        line(name, scores, [distance(figures(each)) for each in scores])
    likes = [reference.read(path) for path in sorted(given.pieces.glob("*.mid"))[: given.seeds]]
    scores = [
        for_cuts(given.length, cuts_s, Recipe(like=like, seed=i), session=session).score for i, like in enumerate(likes)
    ]
    line("like one of its pieces", scores, [distance(figures(each)) for each in scores])


def _seeded(recipe: Recipe, seed: int) -> Recipe:
    return Recipe.from_dict(recipe.to_dict() | {"seed": seed})


if __name__ == "__main__":
    main()
