"""Fit the arrangements that pieces draw (`emsync.arrangement`): what share of the notes each family has, and how many.

    python benchmarks/arrangements.py train-00.npz -o emsync/arrangements.json

One window of 30 s of each song, as the yardstick draws them, of songs with three or more families. Windows are
clustered by the square roots of their shares and the logarithm of their notes a second (k-means); each cluster's mean
is an arrangement, with its share of all songs. Also printed: tempi, and how they follow notes a second.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from emsync import vocabulary as v
from emsync.drawn_tempo import SHARES
from emsync.files import write_bytes
from emsync.tokenizer.families import reduce
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.archive_schema import MORE_FAMILIES
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation.music_statistics import WINDOW_S, draw_window

Floats = npt.NDArray[np.float64]
#: How much the logarithm of notes a second counts beside the square roots of shares.
RATE = 0.4


def windows(archive: Path, songs: int, seed: int) -> Floats:
    """(N, families + 1): notes a second of each family, and the mean tempo, of one window of each song."""
    corpus, rng = read_archive(archive), np.random.default_rng(seed)
    rows, middle_s = [], np.arange(0.5, WINDOW_S)
    for song in rng.permutation(len(corpus))[:songs].tolist():
        score = reduce(song_score(corpus, song)).score
        window = draw_window(score, rng, WINDOW_S) if len(np.unique(score.instrument)) >= MORE_FAMILIES else None
        if window is not None:
            counts = np.bincount(window.instrument, minlength=len(v.FAMILIES))
            rows.append(np.append(counts / WINDOW_S, window.tempo.qpm_at(middle_s).mean()))
    return np.array(rows)


def tempo_line(notes_per_s: Floats, qpm: Floats) -> str:
    """How tempo follows notes a second (`arrangement.OCTAVE` and so on), and its quantiles (`drawn_tempo.SONG_QPM`)."""
    doubling, octave = np.polyfit(np.log2(notes_per_s), np.log2(qpm), 1)
    apart = (np.log2(qpm) - octave - doubling * np.log2(notes_per_s)).std()
    quantiles = np.quantile(qpm, SHARES).round()
    return f"log2 tempo: {octave:.3f} + {doubling:.3f} log2 notes a second, +- {apart:.2f}; quantiles {quantiles}"


def fit(rows: Floats, clusters: int, seed: int) -> list[dict[str, object]]:
    """The arrangements, the most frequent first."""
    rate = rows.sum(axis=1)
    x = np.column_stack([np.sqrt(rows / rate[:, None]), RATE * np.log(rate)])
    label = KMeans(clusters, n_init=10, random_state=seed).fit_predict(x)
    found = []
    for k in np.argsort(-np.bincount(label), kind="stable"):
        mine = label == k
        found.append({
            "shares": np.round((rows[mine] / rate[mine, None]).mean(axis=0), 3).tolist(),
            "notes_per_s": round(float(np.exp(np.log(rate[mine]).mean())), 1),
            "share_of_songs": round(float(mine.mean()), 4),
        })  # fmt: skip
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=6000)
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows = windows(args.archive, args.songs, args.seed)
    print(tempo_line(rows[:, :-1].sum(axis=1), rows[:, -1]))
    found = fit(rows[:, :-1], args.clusters, args.seed)
    text = ",\n".join(json.dumps(each) for each in found)
    write_bytes(args.output, f'{{"arrangements": [\n{text}\n]}}\n'.encode(), overwrite=True)
    print(f"{len(found)} arrangements of {len(rows)} windows")


if __name__ == "__main__":
    main()
