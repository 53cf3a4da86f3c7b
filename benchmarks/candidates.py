"""Whether choosing among takes helps a judge that the critic has never met.

    python benchmarks/candidates.py ARCHIVE.npz [--model DIR] [--candidates 1 2 4] [--pieces 24] [--seconds 32]
        [--songs 240] [--judged 24] [--seed 0]

The judge is the classifier of the yardstick (`similarity`): statistics and textures of windows of 30 s, other figures
than those of a critic. It is fitted once, on pieces composed with one candidate for other films and on half of the
songs, and then asked about pieces composed with each number of candidates, all for the same films, and about the
other half of the songs. So the rows differ by the candidates alone. ARCHIVE must not be the one that the critic was
fitted on.

Of each number: the judge's area under the curve and mean log odds (0.5 and lower are better), the mean overlap of
distributions with those of real songs, the share of cuts with a CHORD within a frame as composed, notes a second, and
the processor's seconds for a minute of music.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emsync.composer import compose, score_of
from emsync.conditions import Conditions
from emsync.decoder import Decoder, open_decoder
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.sections import plan_piece
from emsync.tempo_plan import plan_for
from emsync.tokenizer.families import reduce
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import landing, similarity
from emsync.training.evaluation.music_statistics import (
    TEXTURES,
    WINDOW_S,
    draw_window,
    statistics,
    textures,
    window,
)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Made:
    """A piece: its score, the share of cuts with a CHORD within a frame, and what composing it cost."""

    score: Score
    met: float
    cpu_s: float


def composed(decoder: Decoder, seed: int, number: int, seconds: float, candidates: int) -> Made:
    """A piece for a random cut list with a form, as a user gets it."""
    film = landing.random_list(np.random.default_rng([seed, number]), f"{number:03d}", seconds)
    recipe = Recipe(seed=number, candidates=candidates)
    plan = plan_piece(recipe, seconds, film.cuts_s, {})
    tempo = plan_for(recipe, film.cuts_s, seconds)
    begun = time.process_time()
    (piece,) = compose(decoder, [Conditions(film.cuts_s, seconds)], recipe, plans=[plan], tempo_plans=[tempo])
    cpu_s = time.process_time() - begun
    chords = piece.chords_s if tempo is None else tempo.to_film(piece.chords_s)
    met = landing.matched(np.asarray(chords), film.cuts_s, landing.WINDOWS["frame"]) / max(len(film.cuts_s), 1)
    return Made(score_of(piece, seconds, bend=True), met, cpu_s)


def features(one: Score) -> Floats:
    """What the judge reads of a window."""
    shares = textures(one)
    return np.concatenate([np.array(list(statistics(one).values())).round(9), *(shares[name] for name in TEXTURES)])


def of_pieces(pieces: Sequence[Score]) -> Floats:
    """(N, F) of the first 30 s of each piece."""
    return np.stack([features(window(reduce(score).score)) for score in pieces])


def of_songs(songs: Sequence[Score], seed: int) -> Floats:
    """(N, F) of one window of each song."""
    found = [draw_window(reduce(s).score, np.random.default_rng([seed, i])) for i, s in enumerate(songs)]
    return np.stack([features(one) for one in found if one is not None])


class Judge:
    """The yardstick's classifier, fitted once: how composed windows seem, in log odds."""

    def __init__(self, pieces: Floats, songs: Floats) -> None:
        both = np.concatenate([pieces, songs])
        self._scaling = similarity._Scaling.by(both)
        self._w = similarity.fit(self._scaling(both), np.arange(len(both)) < len(pieces))

    def __call__(self, x: Floats) -> Floats:
        return np.asarray(self._scaling(x) @ self._w[:-1] + self._w[-1])

    def area(self, pieces: Floats, songs: Floats) -> tuple[float, float]:
        """The area under the curve, and its standard deviation over resampled pieces and songs."""
        scores = np.concatenate([self(pieces), self(songs)])
        is_composed = np.arange(len(scores)) < len(pieces)
        spread = similarity._auc_spread(scores, is_composed, np.random.default_rng(0))
        return similarity.auc(scores, is_composed), spread


def row(name: str, pieces: Sequence[Made], judge: Judge, songs: Floats, real: Sequence[Score]) -> str:
    """A row of the table."""
    x = of_pieces([piece.score for piece in pieces])
    area, spread = judge.area(x, songs)
    odds = judge(x)
    found = similarity.measure([piece.score for piece in pieces], real, window_s=WINDOW_S)
    minutes = sum(piece.score.duration_s for piece in pieces) / 60
    density = np.median([len(piece.score) / piece.score.duration_s for piece in pieces])
    cells = (
        f"{area:.3f} ± {spread:.3f}", f"{odds.mean():.2f} ± {odds.std() / len(odds) ** 0.5:.2f}",
        f"{found.overlap:.3f}",
        f"{np.mean([piece.met for piece in pieces]):.2f}", f"{density:.1f}",
        f"{sum(piece.cpu_s for piece in pieces) / minutes:.1f}",
    )  # fmt: skip
    return f"| {name} | {len(pieces)} | " + " | ".join(cells) + " |"


HEAD = (
    "| candidates | pieces | judge's area | log odds | overlap | cuts met | notes/s | CPU s a minute |\n"
    + "|---" * 8
    + "|"
)


def real_songs(archive: Path, count: int, seed: int) -> list[Score]:
    """Songs of three families or more that are long enough."""
    songs = read_archive(archive)
    more = np.flatnonzero(songs.arrays["pool"] == "more")
    chosen = np.random.default_rng(seed).permutation(more)[:count]
    return [score for i in chosen if (score := song_score(songs, int(i))).duration_s > WINDOW_S]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--pieces", type=int, default=24)
    parser.add_argument("--judged", type=int, default=24, help="pieces that the judge is fitted on (24)")
    parser.add_argument("--seconds", type=float, default=32.0)
    parser.add_argument("--songs", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    real = real_songs(args.archive, args.songs, args.seed)
    every = of_songs(real, args.seed)
    half = len(every) // 2
    decoder = open_decoder(args.model)
    known = [composed(decoder, args.seed + 1, 1000 + i, args.seconds, 1).score for i in range(args.judged)]
    judge = Judge(of_pieces(known), every[:half])
    print(HEAD)
    for count in args.candidates:
        pieces = [composed(decoder, args.seed, i, args.seconds, count) for i in range(args.pieces)]
        print(row(str(count), pieces, judge, every[half:], real), flush=True)


if __name__ == "__main__":
    main()
