"""What the yardstick's classifier goes by, group by group, and where in the bar composed pieces and songs begin notes.

    python benchmarks/yardstick_groups.py valid.npz [--pieces 100] [--seed 0] [--set profiles=0] [--model DIR]

Composes pieces as `emsync evaluate --similarity` does and compares them with songs. The first table says how far the
classifier's area falls when one group of figures is given the distribution of songs: each composed piece keeps its rank
within a figure, and gets the value that songs have there. What falls far gives composed pieces away. The second table
has the mean share of notes on each sixteenth of a bar, for drums and for pitched notes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.decoder import open_decoder
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import landing
from emsync.training.evaluation.music_statistics import STATISTICS, TEXTURES, WINDOW_S, statistics, textures
from emsync.training.evaluation.similarity import MORE_FAMILIES, auc, held_out, music_windows

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

SONGS: Final = 500
PLACES: Final = 16
#: With fewer notes than this a window has no profile.
FEWEST: Final = 20


def figures(windows: Sequence[Score]) -> tuple[Floats, list[str]]:
    """All figures of some windows (N, F), and the group of each: a statistic by itself, or a texture."""
    values = np.array([list(statistics(one).values()) for one in windows]).round(9)
    found = [textures(one) for one in windows]
    blocks = [np.array([one[name] for one in found]) for name in TEXTURES]
    groups = [*STATISTICS, *(name for name, labels in TEXTURES.items() for _ in labels)]
    return np.concatenate([values, *blocks], axis=1), groups


def mapped(x: Floats, is_composed: Bools, columns: Sequence[int], rng: np.random.Generator) -> Floats:
    """Figures (N, F) of which some columns of the composed pieces have the distribution of songs."""
    out = x.copy()
    for k in columns:
        rows = np.flatnonzero(is_composed & ~np.isnan(x[:, k]))
        if len(rows):
            order = np.lexsort((rng.random(len(rows)), x[rows, k]))  # ties in any order
            share = np.empty(len(rows))
            share[order] = (np.arange(len(rows)) + 0.5) / len(rows)
            out[rows, k] = np.nanquantile(x[~is_composed, k], share)
    return out


def places(windows: Sequence[Score], drums: bool) -> Floats:
    """(PLACES,) The mean share of the notes on each sixteenth of a bar, drums or pitched notes."""
    found = []
    for one in windows:
        is_drum = np.array([part.is_drum for part in one.instruments])[one.instrument] == drums
        bar = np.clip(np.searchsorted(one.bars.start_s, one.start_s[is_drum] + 1e-6) - 1, 0, None)
        begun = one.tempo.quarters_at(one.start_s[is_drum]) - one.tempo.quarters_at(one.bars.start_s[bar])
        at = np.rint(4 * begun).astype(int) % PLACES
        if len(at) >= FEWEST:
            found.append(np.bincount(at, minlength=PLACES) / len(at))
    return np.asarray(np.mean(found, axis=0))


def recipe_of(settings: Sequence[str]) -> Recipe:
    values: dict[str, float] = {}
    for setting in settings:
        name, _, value = setting.partition("=")
        values[name] = float(value)
    return replace(Recipe(hits="bend"), **values)  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path, help="songs that the model was not trained on")
    parser.add_argument("--model", type=Path, help="a model folder (the one that ships with emsync)")
    parser.add_argument("--pieces", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a number of the recipe")
    options = parser.parse_args()

    films = landing.random_lists(options.pieces, options.seed)
    pieces = landing.compose_all(open_decoder(options.model), films, recipe_of(options.set), seed=options.seed)
    songs = read_archive(options.archive)
    pool = np.flatnonzero(songs.arrays["pool"] == "more")
    chosen = np.sort(np.random.default_rng(options.seed).permutation(pool)[:SONGS])
    composed = list(music_windows([piece.score for piece in pieces], options.seed, 0, WINDOW_S, 0))
    real = list(music_windows([song_score(songs, int(i)) for i in chosen], options.seed, 1, WINDOW_S, MORE_FAMILIES))

    x, groups = figures([*composed, *real])
    is_composed = np.arange(len(x)) < len(composed)
    before = auc(held_out(x, is_composed, np.random.default_rng(0)), is_composed)
    rows = []
    for group in dict.fromkeys(groups):
        columns = [k for k, name in enumerate(groups) if name == group]
        given = mapped(x, is_composed, columns, np.random.default_rng(1))
        rows.append((auc(held_out(given, is_composed, np.random.default_rng(0)), is_composed), group, len(columns)))
    print(f"{len(composed)} composed pieces, {len(real)} songs: area {before:.3f}\n")
    print("| given the distribution of songs | figures | area |\n|---|---:|---:|")
    for area, group, n in sorted(rows):
        print(f"| {STATISTICS.get(group, group)} | {n} | {area:.3f} |")
    print("\n| sixteenth | " + " | ".join(map(str, range(PLACES))) + " |\n|---" + "|---:" * PLACES + "|")
    for name, drums in (("drums", True), ("pitched", False)):
        for whose, windows in (("composed", composed), ("songs", real)):
            print(f"| {name}, {whose} | " + " | ".join(f"{share:.3f}" for share in places(windows, drums)) + " |")


if __name__ == "__main__":
    main()
