"""Draw how moods are distributed over a corpus, and four songs' curves.

    python benchmarks/mood_corpus.py ARCHIVE.npz ... -o docs/pictures/mood-corpus.png

Archives that `emsync prepare` labelled are used as they are; songs of others are labelled first (a minute for 6,000
songs on one core). The four songs are those of 90 s to 300 s whose means are nearest the corners, among songs whose
curves move (`MOVES`); they are named by their number, counted over all archives in order.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from emsync.errors import CorpusError, EmsyncError
from emsync.files import atomic_path, check_writable
from emsync.training.corpus.archive import read_archive
from emsync.training.mood.curves import FULL, Moods, with_mood

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LENGTH_S = (90, 300)
#: How far a curve must move on each axis: from its 10th to its 90th percentile. Songs with a single mood show little.
MOVES = 0.5
CORNERS = {
    "high valence, high arousal": (1, 1), "low valence, high arousal": (-1, 1),
    "high valence, low arousal": (1, -1), "low valence, low arousal": (-1, -1),
}  # fmt: skip
#: Of songs' means, and of seconds: labels have 255 values, so that each of 51 bins holds five.
SONG_BINS, SECOND_BINS = 32, 51
EDGE = (FULL + 0.5) / FULL
COLOURS = ("#c8553d", "#2f6690")  # valence, arousal


class Labelled(NamedTuple):
    """A song's number and its levels (seconds, 2) in [-1, 1]."""

    number: int
    levels: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.levels.mean(axis=0))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", type=Path, nargs="+", help="archives of songs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture, PNG")
    options = parser.parse_args()
    try:
        check_writable(options.output)
        songs: list[np.ndarray] = []
        for path in options.archives:
            archive = with_mood(read_archive(path))
            songs += [archive.mood(i) for i in range(len(archive))]
        moods = Moods.of(songs)
        if not moods.seconds:
            raise CorpusError(f"{options.archives[0]} holds no music; give larger archives")
        labelled = [Labelled(i, np.clip(row / FULL, -1, 1)) for i, row in enumerate(songs) if len(row)]
        draw(labelled, options.output)
    except EmsyncError as error:
        print(f"mood_corpus: error: {error}", file=sys.stderr)
        return 2
    print(f"{len(songs)} songs")
    print("\n".join(moods.summary()))
    means = np.array([song.mean for song in labelled])
    within = np.sqrt(np.mean([song.levels.var(axis=0) for song in labelled], axis=0))
    print(f"songs' means deviate by {means.std(axis=0).round(2)}, seconds within songs by {within.round(2)}")
    return 0


def chosen(songs: list[Labelled]) -> dict[str, Labelled]:
    """The song nearest each corner."""
    fit = [s for s in songs if LENGTH_S[0] <= len(s.levels) <= LENGTH_S[1]] or songs
    moving = [s for s in fit if np.ptp(np.percentile(s.levels, [10, 90], axis=0), axis=0).min() >= MOVES] or fit
    means = np.array([song.mean for song in moving])
    return {name: moving[int(np.linalg.norm(means - corner, axis=1).argmin())] for name, corner in CORNERS.items()}


def draw(songs: list[Labelled], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    four = chosen(songs)
    figure = plt.figure(figsize=(11, 8.4), layout="constrained")
    grid = figure.add_gridspec(3, 2, height_ratios=(2.3, 1, 1))
    means = np.array([song.mean for song in songs])
    seconds = np.concatenate([song.levels for song in songs])
    left = figure.add_subplot(grid[0, 0])
    plane(left, means, SONG_BINS, f"Means of {len(songs):,} songs")
    for song, letter in zip(four.values(), "ABCD", strict=True):
        left.annotate(
            letter, song.mean, color="black", weight="bold", ha="center", va="center",
            bbox={"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": "black"},
        )  # fmt: skip
    plane(figure.add_subplot(grid[0, 1]), seconds, SECOND_BINS, f"{len(seconds) / 3600:,.0f} hours, second by second")
    for place, (letter, (corner, song)) in enumerate(zip("ABCD", four.items(), strict=True)):
        axes = figure.add_subplot(grid[1 + place // 2, place % 2])
        times_s = np.arange(len(song.levels)) + 0.5
        for k, name in enumerate(("valence", "arousal")):
            axes.plot(times_s, song.levels[:, k], color=COLOURS[k], linewidth=1.6, label=name)
        axes.axhline(0, color="#999999", linewidth=0.6)
        axes.set(xlim=(0, len(song.levels)), ylim=(-1.05, 1.05), yticks=(-1, 0, 1))
        axes.set_title(f"{letter}: song {song.number:,}, {corner}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if place >= 2:
            axes.set_xlabel("seconds")
        if place == 0:
            axes.legend(loc="best", frameon=False, ncols=2, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    plt.close(figure)


def plane(axes: Axes, points: np.ndarray, bins: int, title: str) -> None:
    """A histogram over valence and arousal; the shade is the ratio to a uniform distribution."""
    edges = np.linspace(-EDGE, EDGE, bins + 1)
    counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=(edges, edges))
    density = counts.T / len(points) * bins**2
    shade = axes.pcolormesh(edges, edges, density, cmap="viridis", vmin=0, vmax=2)
    axes.figure.colorbar(shade, ax=axes, label="density (even: 1)", shrink=0.9, extend="max")
    axes.axhline(0, color="white", linewidth=0.6)
    axes.axvline(0, color="white", linewidth=0.6)
    axes.set(aspect="equal", xlabel="valence", ylabel="arousal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    axes.set_title(title, fontsize=11)


if __name__ == "__main__":
    sys.exit(main())
