"""Fitting a critic of takes (`emsync.critic`): passages of real songs against passages that the model composes.

Both sides are treated alike. A composed piece becomes a song: the model reads it as it reads real ones, conditioned on
its own chords, bars, end and repeats, without a mood. So a critic judges the music, and not what was requested.
Passages are about as long as takes (`candidates.TAKE_S`) and begin on bar lines. A critic is judged by held-out songs
and pieces: all passages of one are on the same side of each fold.

The songs should be others than those that composed pieces are judged by later (`similarity.measure`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.candidates import TAKE_S
from emsync.composer import compose
from emsync.conditions import Conditions
from emsync.critic import CLIP, FIGURES, Critic, Opinion, Scaling
from emsync.decoder import open_decoder
from emsync.errors import InputError
from emsync.recipe import Recipe
from emsync.sections import plan_piece
from emsync.tempo_plan import plan_for
from emsync.training.corpus.archive import pack, read_archive
from emsync.training.crops import PREFIX
from emsync.training.dataset import Dataset
from emsync.training.evaluation import landing, similarity
from emsync.training.evaluation.evaluate import snaps_tempo
from emsync.training.evaluation.predictions import Window, read_states, song_windows
from emsync.training.mood import agreement
from emsync.writer import Piece

if TYPE_CHECKING:
    from emsync.model import EventTransformer

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
#: Called with what is done, how much of it, and how much there is.
Progress = Callable[[str, int, int], None]

#: How many songs and pieces are compared.
SONGS: Final = 200
PIECES: Final = 60
#: Pieces composed at once; and the furthest level of their moods.
TOGETHER: Final = 12
FURTHEST_MOOD: Final = 0.7
MOODS: Final = ("valence", "arousal")
#: Passages of one song or piece, at most, and of what length: shorter ones are left out.
PASSAGES: Final = 4
SHORTEST_S: Final = 0.6 * TAKE_S
#: The model reads this many events of a song at a time: about as many as a piece of half a minute has.
READ: Final = 1500
#: The penalty of the logistic regression, and by how much states count less than figures before it.
RIDGE: Final = 100.0
STATE_SCALE: Final = 0.1
#: The penalty of the mood's regression.
MOOD_RIDGE: Final = 30.0
FOLDS: Final = 5


@dataclass(frozen=True, eq=False)
class Passages:
    """Passages (N,) of songs.

    figures: (N, F). states: (N, width). mood: (N, 2) valence and arousal, NaN where not known. song: (N,) the song of
    each.
    """

    figures: Floats
    states: Floats
    mood: Floats
    song: npt.NDArray[np.int64]

    @classmethod
    def of(cls, opinions: Sequence[Opinion], mood: Sequence[Floats], song: Sequence[int]) -> Passages:
        if not opinions:
            raise InputError("no passage was found; give longer songs, or more of them")
        states = [np.zeros(0) if opinion.state is None else opinion.state for opinion in opinions]
        return cls(np.stack([o.figures for o in opinions]), np.stack(states), np.stack(mood), np.array(song))


@dataclass(frozen=True)
class FittedCritic:
    """A critic, and how well critics fitted like it distinguish passages they were not fitted on.

    auc: the area under the curve, 0.5 to 1. auc_of_figures, auc_of_states: of critics that read nothing else.
    """

    critic: Critic
    auc: float
    auc_of_figures: float
    auc_of_states: float


def fit_critic(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    songs: int = SONGS,
    pieces: int = PIECES,
    seed: int = 0,
    progress: Progress | None = None,
) -> FittedCritic:
    """Fit a critic for a model.

    Args:
        archive: Real songs.
        folder: The model's folder; None: the one that ships.
        songs: How many songs are drawn from the archive, of those with three families and more.
        pieces: How many pieces of `landing.LENGTH_S` the model composes, with the defaults of `emsync compose`.
        seed: Which songs are drawn, and what is composed.
        progress: See `Progress`.

    Raises:
        CorpusError: The archive cannot be used.
        ModelError: The model cannot be used.
        InputError: There are too few songs or pieces.

    """
    if min(songs, pieces) < 2 * FOLDS:
        raise InputError(f"a critic of {songs} songs and {pieces} pieces cannot be fitted; give {2 * FOLDS} of each")
    folder = checkpoint.embedded_folder() if folder is None else Path(folder)
    config, model = checkpoint.read_config(folder), checkpoint.load(folder).eval()
    held = read_archive(archive)
    more = np.flatnonzero(held.arrays["pool"] == "more")
    if len(more) < 2 * FOLDS:
        raise InputError(f"{Path(archive).name} has {len(more)} songs of three families; give {2 * FOLDS} or more")
    chosen = np.sort(np.random.default_rng([seed, 1]).permutation(more)[:songs])
    real = Dataset.of(dict(pack([held[int(i)] for i in chosen]).arrays), snap_tempo=snaps_tempo(config))
    made = compose_songs(folder, pieces, seed=seed, progress=progress)
    sides = []
    for name, data in (("songs", real), ("pieces", made)):

        def report(done: int, total: int, name: str = name) -> None:
            if progress:
                progress(f"reading {name}", done, total)

        sides.append(passages_of(model, data, seed=seed, progress=report))
    about = {
        "archive": Path(archive).name, "songs": len(chosen), "pieces": pieces, "seed": seed,
        "passages": [len(side.song) for side in sides],
    }  # fmt: skip
    return fit(sides[0], sides[1], weights=checkpoint.weights_hash(folder), about=about)


def compose_songs(
    folder: str | os.PathLike[str], pieces: int, *, seed: int, progress: Progress | None = None
) -> Dataset:
    """Pieces that the model composes as users get them, for random cut lists, as a dataset.

    They have forms, and every other one has a mood that changes evenly, if the model knows mood.
    """
    decoder, recipe = open_decoder(folder, judged=False), Recipe(candidates=1)
    films = landing.random_lists(pieces, seed + 1)
    made: list[Piece] = []
    for first in range(0, pieces, TOGETHER):
        own = replace(recipe, seed=first)
        conditions, plans, tempo_plans = [], [], []
        for number, film in enumerate(films[first : first + TOGETHER], start=first):
            end_s = film.duration_s
            ends = np.random.default_rng([seed, number]).uniform(-FURTHEST_MOOD, FURTHEST_MOOD, size=(2, 2))
            curves = {name: (np.array([0.0, end_s]), row) for name, row in zip(MOODS, ends, strict=True)}
            curves = curves if decoder.knows_mood and number % 2 else {}
            mean = ends.mean(axis=1).tolist() if curves else (None, None)
            conditions.append(Conditions(film.cuts_s, end_s, curves.get(MOODS[0]), curves.get(MOODS[1]), *mean))
            plans.append(plan_piece(own, end_s, film.cuts_s, curves))
            tempo_plans.append(plan_for(own, film.cuts_s, end_s, mean[1] if curves else math.nan))
        made += compose(decoder, conditions, own, plans=plans, tempo_plans=tempo_plans)
        if progress:
            progress("composing", len(made), pieces)
    ids = [piece.events.ids.astype(np.uint16) for piece in made]
    offsets = np.cumsum([0, *(len(each) for each in ids)])
    return Dataset(
        np.concatenate(ids), np.concatenate([piece.events.velocities for piece in made]), offsets,
        np.zeros((0, 2), dtype=np.int8), np.zeros(len(offsets), dtype=np.int64), {},
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Passages


def passages_of(
    model: EventTransformer, data: Dataset, *, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Passages:
    """Passages of each song of a dataset: of one window of it, drawn with the seed."""
    opinions: list[Opinion] = []
    moods: list[Floats] = []
    song: list[int] = []
    size = min(READ, model.config.context - PREFIX)
    for number in range(len(data)):
        windows = list(song_windows(data, [number], size, conditioned=True, mood=False))
        if windows:
            window = windows[int(np.random.default_rng([seed, number]).integers(len(windows)))]
            for opinion, mood in _of_window(model, data, window):
                opinions.append(opinion)
                moods.append(mood)
                song.append(number)
        if progress:
            progress(number + 1, len(data))
    return Passages.of(opinions, moods, song)


def _of_window(model: EventTransformer, data: Dataset, window: Window) -> Iterator[tuple[Opinion, Floats]]:
    ids, velocities = window.row.ids[PREFIX:].astype(np.int64), window.row.velocities[PREFIX:]
    nats, states = read_states(model, window.row)  # of the events behind the prefix
    step = np.cumsum(v.SHIFT_STEPS[ids])
    bars = np.flatnonzero(v.KIND[ids] == v.K_BAR)
    times_s, levels = data.song_mood(window.song, float(_end_s(data, window.song)))
    for first, stop in stretches(step[bars] * v.STEP_S)[:PASSAGES]:
        begin, end = int(bars[first]), int(bars[stop]) + 1  # with the BAR that comes after it
        part = slice(begin, end)
        opinion = Opinion.of(ids[:end], velocities[:end], begin, nats[part], states[part].mean(axis=0))
        mood = np.full(2, np.nan)
        if len(levels):
            middle_s = window.begins_s + float(step[begin] + step[end - 1]) * v.STEP_S / 2
            mood = np.array([np.interp(middle_s, times_s, column) for column in levels.T])
        yield opinion, mood


def _end_s(data: Dataset, song: int) -> float:
    """Where a song ends, in seconds."""
    return max(float(v.SHIFT_STEPS[data.song(song)[0]].sum()), 1.0) * v.STEP_S


def stretches(bars_s: npt.ArrayLike) -> list[tuple[int, int]]:
    """Stretches of whole bars, each about `TAKE_S` long, one after the other: first bar, and the bar that follows."""
    at = np.asarray(bars_s, dtype=np.float64)
    found: list[tuple[int, int]] = []
    first = 0
    while first < len(at) - 1:
        stop = first + 1 + int(np.argmin(np.abs(at[first + 1 :] - at[first] - TAKE_S)))
        if at[stop] - at[first] >= SHORTEST_S:
            found.append((first, stop))
        first = stop
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Fitting


#: The deviation of a figure that is alike in all passages: JSON has no infinite one.
_CONSTANT: Final = 1e9


@dataclass(frozen=True, eq=False)
class _Reader:
    """How figures and states become one row of features."""

    scaling: Scaling
    mean: Floats
    deviation: Floats
    states_only: bool = False
    figures_only: bool = False

    @classmethod
    def by(cls, p: Passages, **which: bool) -> _Reader:
        deviation = np.maximum(p.states.std(axis=0), 1e-6)
        return cls(Scaling.by(p.figures, _CONSTANT), p.states.mean(axis=0), deviation, **which)

    def __call__(self, p: Passages) -> Floats:
        figures = self.scaling(p.figures)
        states = STATE_SCALE * (p.states - self.mean) / self.deviation
        return np.concatenate([figures * (not self.states_only), states * (not self.figures_only)], axis=1)


def fit(real: Passages, composed: Passages, *, weights: str, about: dict[str, Any]) -> FittedCritic:
    """Fit a critic on passages of both sides. weights: the digest of the model's weights."""
    every, y = _joined(real, composed)
    areas = [held_out(every, y, **which) for which in ({}, {"figures_only": True}, {"states_only": True})]
    reader = _Reader.by(every)
    w = similarity.fit(reader(every), y, RIDGE)
    n = 2 * len(FIGURES)
    states = np.stack([reader.mean, STATE_SCALE * w[n:-1] / reader.deviation])
    about = about | {"auc_held_out": [round(area, 4) for area in areas], "clip": CLIP}
    critic = Critic(reader.scaling, w[:n], states, float(w[-1]), _mood(reader.scaling, real), weights, about)
    return FittedCritic(critic, *areas)


def _joined(real: Passages, composed: Passages) -> tuple[Passages, Bools]:
    """Both sides, and whether each passage is real."""
    song = np.concatenate([real.song, real.song.max() + 1 + composed.song])
    figures, states, mood = (
        np.concatenate([getattr(side, name) for side in (real, composed)]) for name in ("figures", "states", "mood")
    )
    both = Passages(figures, states, mood, song)
    return both, np.arange(len(song)) < len(real.song)


def held_out(every: Passages, y: Bools, **which: bool) -> float:
    """The area under the curve of critics for songs and pieces that they were not fitted on."""
    score = np.zeros(len(y))
    fold = np.random.default_rng(0).permutation(np.arange(every.song.max() + 1) % FOLDS)[every.song]
    for k in range(FOLDS):
        known = fold != k
        some = Passages(every.figures[known], every.states[known], every.mood[known], every.song[known])
        reader = _Reader.by(some, **which)
        w = similarity.fit(reader(some), y[known], RIDGE)
        score[~known] = (reader(every) @ w[:-1] + w[-1])[~known]
    return agreement.auc(score[y], score[~y])


def _mood(scaling: Scaling, real: Passages) -> Floats:
    """(2, 2 F + 1) Valence and arousal from standardised figures, by a ridge; 0 where no song has a mood."""
    out = np.zeros((2, 2 * len(FIGURES) + 1))
    x = scaling(real.figures)
    for axis in range(2):
        known = ~np.isnan(real.mood[:, axis])
        if known.sum() < 2 * FOLDS:
            continue
        a, b = x[known] - x[known].mean(axis=0), real.mood[known, axis]
        w = np.linalg.solve(a.T @ a + MOOD_RIDGE * np.eye(a.shape[1]), a.T @ (b - b.mean()))
        out[axis] = np.append(w, b.mean() - x[known].mean(axis=0) @ w)
    return out
