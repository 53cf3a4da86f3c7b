"""Originality against recognisability of styles, as HPM (Section 4.2.3): a table in docs/styles.md.

    python benchmarks/styles.py --composer A/train A/style A/rest --composer B/train B/style B/rest ...

Pieces are composed in each composer's style, in several ways. *Recognised*: of the centroids of the composers' real
pieces, which no style was learned from, the nearest is the own one. *Copied*: the longest stretch of a family's line
that occurs in the pieces that the style was learned from (`training.evaluation.copies`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emsync import midi, reference
from emsync import vocabulary as v
from emsync.likeness import Likeness
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


@dataclass(frozen=True)
class Composer:
    """A folder of the pieces that a style was learned from, the style, and a folder of other pieces of the composer."""

    pieces: Path
    style: Path
    rest: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--composer", type=Path, nargs=3, action="append", required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--length", type=float, default=16.0)
    given = parser.parse_args()
    composers = [Composer(*each) for each in given.composer]
    real = [np.stack(windows(each.rest, given.length)) for each in composers]
    learned = [np.stack(windows(each.pieces, given.length)) for each in composers]
    spread = np.concatenate(real).std(axis=0) + 1e-6

    def distances(piece: Figures, own: int, *, leave_out: bool = False) -> Figures:
        centroids = [each.mean(axis=0) for each in real]
        if leave_out:
            n = len(real[own])
            centroids[own] = (centroids[own] * n - piece) / (n - 1)
        return np.array([np.linalg.norm((piece - each) / spread) for each in centroids])

    def line(name: str, found: Sequence[tuple[int, Figures]], scores: Sequence[tuple[int, Score]] = ()) -> None:
        """found: whose piece it is, and its distances."""
        first = [int(np.argmin(d)) == own for own, d in found]
        nearer = [float(np.delete(d, own).min() / d[own]) for own, d in found]
        longest, share = [], []
        for own, composer in enumerate(composers):
            if made := [score for whose, score in scores if whose == own]:
                search = Search(made)
                search.search(read_pieces([composer.pieces]).archive)
                lines = search.longest[search.lines.family != v.DRUMS]
                longest.append(lines.max(initial=0))
                share.append((lines > 0).mean())
        copied = f"{max(longest)} | {np.mean(share):.3f}" if longest else " | "
        print(f"| {name} | {sum(first)} of {len(first)} | {np.mean(nearer):.2f} | {copied} |", flush=True)

    print("| | recognised | others' distance / own | longest copy, notes | windows copied |\n|---|---|---|---|---|")
    own_pieces = [(own, piece) for own, rows in enumerate(real) for piece in rows]
    line("real pieces of the composer", [(own, distances(piece, own, leave_out=True)) for own, piece in own_pieces])
    line("the learned pieces", [(own, distances(piece, own)) for own, rows in enumerate(learned) for piece in rows])
    session, cuts_s = Session.open(), [0.45 * given.length]
    for name, recipe_of in WAYS.items():
        scores = []
        for own, composer in enumerate(composers):
            likes = [reference.read(path) for path in sorted(composer.pieces.glob("*.mid"))]
            for seed in range(given.seeds):
                recipe = replace(recipe_of(str(composer.style), likes[seed % len(likes)]), seed=seed)
                scores.append((own, for_cuts(given.length, cuts_s, recipe, session=session).score))
        line(name, [(own, distances(figures(score), own)) for own, score in scores], scores)


#: How a piece is composed, by a style's folder and one of its pieces.
WAYS: dict[str, Callable[[str, Likeness], Recipe]] = {
    "without a style": lambda style, like: Recipe(),
    "the style's weights alone (`--style-manner off`)": lambda style, like: Recipe(style=style, style_manner="off"),
    "`--style`": lambda style, like: Recipe(style=style),
    "`--style` at a strength of 0.5": lambda style, like: Recipe(style=style, style_strength=0.5),
    "`--like` one of its pieces": lambda style, like: Recipe(like=like),
}


if __name__ == "__main__":
    main()
