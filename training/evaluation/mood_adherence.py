"""Measure whether the music follows the requested mood: requested moods against moods read from what is composed.

Conventions
- Requests are constant moods at the plane's four corners, and ramps and steps of one axis while the other stays neutral
  (`tasks`). A task sets both axes, in the lanes and in the prefix.
- `mood.curves.judge` reads the composed music. It was fitted on pieces of VGMIDI that were not used to label the
  corpus. Requested and measured curves are compared second by second, where a second's window is within the piece.
- Levels are on the judge's own scale of real music, by `Scale.fit` on songs that were not trained on: 0 is their
  median, 1 their maximum.
- The control pairs every piece with the request of every other piece.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync.composer import compose, written
from emsync.conditions import Conditions
from emsync.errors import InputError, ModelError
from emsync.files import atomic_path
from emsync.mood import MoodCurve
from emsync.music_mood.regressor import AXES, Regressor
from emsync.music_mood.scale import Scale
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import Archive
from emsync.training.evaluation.report_page import plain, table
from emsync.training.mood.agreement import auc, pearson
from emsync.training.mood.curves import judge, readings

if TYPE_CHECKING:
    from emsync.decoder import Decoder

FloatArray = npt.NDArray[np.float64]
Kind = Literal["corner", "ramp", "step"]

#: Distance of the requested moods from neutral.
FAR: Final = 0.8
#: Length of a piece, and its tempo: the same for all, since the judge notices tempo.
DURATION_S: Final = 40.0
TEMPO_QPM: Final = 110.0
#: So many songs of an archive give the judge's scale.
SCALED_SONGS: Final = 400
#: Left out at the beginning and the end of a piece, which differ from the rest.
MARGIN_S: Final = 3.0


@dataclass(frozen=True, eq=False)
class Task:
    """A requested mood: the kind of curve, its name, the curve."""

    kind: Kind
    name: str
    curve: MoodCurve


def tasks(duration_s: float) -> tuple[Task, ...]:
    """The twelve curves over `duration_s`: four corners, four ramps, four steps."""
    times_s = np.array([0.0, 0.5 - 1e-3, 0.5, 1.0]) * duration_s
    flat = np.zeros(4)
    found = [
        Task(
            "corner",
            f"{_word(v, 'valence')}, {_word(a, 'arousal')}",
            MoodCurve(times_s, flat + v * FAR, flat + a * FAR),
        )
        for v in (-1, 1)
        for a in (-1, 1)
    ]
    shapes: tuple[tuple[Kind, FloatArray], ...] = (
        ("ramp", np.interp(times_s, [0, duration_s], [-FAR, FAR])),
        ("step", np.array([-FAR, -FAR, FAR, FAR])),
    )
    for kind, shape in shapes:
        for axis in range(2):
            for sign in (1, -1):
                levels = [flat, flat]
                levels[axis] = sign * shape
                name = f"{kind} of {AXES[axis]} {'up' if sign > 0 else 'down'}"
                found.append(Task(kind, name, MoodCurve(times_s, *levels)))
    return tuple(found)


def _word(sign: int, axis: str) -> str:
    return f"{'high' if sign > 0 else 'low'} {axis}"


def perform(
    decoder: Decoder,
    asked: Sequence[Task],
    duration_s: float,
    recipe: Recipe,
    *,
    boundaries_s: npt.ArrayLike = (),
    progress: Callable[[float], None] | None = None,
) -> list[Score]:
    """Compose for every task at once. Give the recipe a tempo, so that all pieces share it and only mood differs."""
    conditions = []
    for task in asked:
        piece_valence, piece_arousal = task.curve.mean
        conditions.append(
            Conditions(
                boundaries_s=np.asarray(boundaries_s, dtype=np.float64),
                end_s=duration_s,
                piece_valence=piece_valence,
                piece_arousal=piece_arousal,
                valence=(task.curve.times_s, task.curve.valence),
                arousal=(task.curve.times_s, task.curve.arousal),
            )
        )
    pieces = compose(decoder, conditions, recipe, progress=progress)
    return [written(piece) for piece in pieces]


@dataclass(frozen=True, eq=False)
class Judged:
    """One piece: its task, and the requested (`asked`) and measured (`read`) levels, each (seconds, 2)."""

    task: Task
    asked: FloatArray
    read: FloatArray


def judge_piece(score: Score, task: Task, scale: Scale, regressor: Regressor | None = None) -> Judged:
    """Measure a piece without `MARGIN_S` at either end, with the judge unless another regressor is given."""
    levels = scale.apply(readings(score, judge() if regressor is None else regressor))
    times_s = np.arange(len(levels)) + 0.5
    inside = (times_s >= MARGIN_S) & (times_s <= times_s[-1] - MARGIN_S)
    return Judged(task, np.stack(task.curve.at(times_s[inside]), axis=1), levels[inside])


@dataclass(frozen=True)
class Adherence:
    """How well the music follows one axis, and the same for shuffled requests.

    Attributes:
        pearson: correlation over all seconds of all pieces.
        within: mean correlation within a piece, over the ramps and steps of this axis.
        separation: mean level measured at the high corners minus that at the low ones; 2 FAR was requested.
        corner_auc: probability that a second of a high corner is measured higher than one of a low corner.
        crosstalk: correlation with the request on the other axis.
        shuffled_pearson: `pearson` against the requests of other pieces.
        shuffled_within: `within` against the requests of other pieces.

    """

    pearson: float
    within: float
    separation: float
    corner_auc: float
    crosstalk: float
    shuffled_pearson: float
    shuffled_within: float

    def to_dict(self) -> dict[str, float | None]:
        return {name: None if math.isnan(x) else x for name, x in asdict(self).items()}


def adherence(judged: Sequence[Judged], axis: int) -> Adherence:
    """One axis (0 valence, 1 arousal) over all pieces."""
    moving = [h for h in judged if h.task.kind != "corner" and np.ptp(h.asked[:, axis]) > 0]
    corners = [h for h in judged if h.task.kind == "corner"]
    high = [h.read[:, axis] for h in corners if h.asked[0, axis] > 0]
    low = [h.read[:, axis] for h in corners if h.asked[0, axis] < 0]
    shuffled = [(_resized(other.asked, len(h.read)), h) for h in judged for other in judged if other.task is not h.task]
    return Adherence(
        _pearson([(h.asked[:, axis], h.read[:, axis]) for h in judged]),
        _mean([pearson(h.asked[:, axis], h.read[:, axis]) for h in moving]),
        float(np.mean([x.mean() for x in high]) - np.mean([x.mean() for x in low])) if high and low else math.nan,
        auc(np.concatenate(high), np.concatenate(low)) if high and low else math.nan,
        _pearson([(h.asked[:, 1 - axis], h.read[:, axis]) for h in judged]),
        _pearson([(asked[:, axis], h.read[:, axis]) for asked, h in shuffled]),
        _mean([pearson(a[:, axis], h.read[:, axis]) for a, h in shuffled if h in moving and np.ptp(a[:, axis]) > 0]),
    )


def _pearson(pairs: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    if not pairs:
        return math.nan
    return pearson(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))


def _mean(values: Sequence[float]) -> float:
    known = [x for x in values if not math.isnan(x)]
    return float(np.mean(known)) if known else math.nan


def _resized(rows: FloatArray, n: int) -> FloatArray:
    return rows[np.minimum(np.arange(n), len(rows) - 1)]


@dataclass(frozen=True, eq=False)
class MoodAdherence:
    """How well pieces follow the moods they were composed for: the pieces, and both axes by name."""

    judged: tuple[Judged, ...]
    strength: float
    axes: Mapping[str, Adherence]

    @classmethod
    def of(cls, judged: Sequence[Judged], strength: float) -> MoodAdherence:
        """The adherence of pieces that were composed with a mood strength."""
        return cls(tuple(judged), strength, {name: adherence(judged, axis) for axis, name in enumerate(AXES)})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; each axis under its name."""
        axes = {name: found.to_dict() for name, found in self.axes.items()}
        return {"pieces": len(self.judged), "strength": plain(self.strength), "distance": FAR, **axes}

    def to_markdown(self) -> str:
        """A section: the requests, and a row for each axis."""
        head = ["", "Pearson", "within ramps and steps", "high − low corners", "AUC of corners", "with the other axis",
                "Pearson, shuffled", "within, shuffled"]  # fmt: skip
        rows: list[list[str | float]] = [
            [name, x.pearson, x.within, x.separation, x.corner_auc, x.crosstalk, x.shuffled_pearson, x.shuffled_within]
            for name, x in self.axes.items()
        ]
        return "\n".join(
            [
                "## Mood adherence",
                "",
                f"{len(self.judged)} pieces for corners, ramps and steps of ±{FAR:g}, at mood strength "
                f"{self.strength:g}. Requested and measured moods are compared second by second; the judge is a "
                "regressor that took no part in training. Shuffled: against the requests of other pieces.",
                "",
                *table(head, rows),
                "",
            ]
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the corners on the plane, and the ramps and steps: requested and measured moods (PNG)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(15, 7), layout="constrained")
        grid = figure.add_gridspec(2, 6)
        plane = figure.add_subplot(grid[:, :2], xlabel="valence", ylabel="arousal", xlim=(-1, 1), ylim=(-1, 1))
        plane.set_title(f"corners, strength {self.strength:g}: requested (cross), measured (dots: means of pieces)")
        by_name: dict[str, list[Judged]] = {}
        for one in self.judged:
            by_name.setdefault(one.task.name, []).append(one)
        moving = [mine for mine in by_name.values() if mine[0].task.kind != "corner"]
        for number, mine in enumerate(mine for mine in by_name.values() if mine[0].task.kind == "corner"):
            points = np.array([one.read.mean(axis=0) for one in mine])
            plane.plot(*mine[0].asked[0], "x", color=f"C{number}", ms=14, mew=3)
            plane.plot(points[:, 0], points[:, 1], "o", color=f"C{number}", label=mine[0].task.name)
        plane.axhline(0, color="0.8", lw=0.8)
        plane.axvline(0, color="0.8", lw=0.8)
        plane.legend(loc="lower center", fontsize=8)
        for number, mine in enumerate(moving):
            axes = figure.add_subplot(grid[number % 2, 2 + number // 2], ylim=(-1.05, 1.05))
            axis = int(np.ptp(mine[0].asked, axis=0).argmax())
            for one in mine:
                axes.plot(np.arange(len(one.read)), one.read[:, axis], color=f"C{axis}", alpha=0.3, lw=1)
            n = min(len(one.read) for one in mine)
            axes.plot(np.mean([h.read[:n, axis] for h in mine], axis=0), color=f"C{axis}", lw=2, label="measured, mean")
            axes.plot(mine[0].asked[:n, axis], "k--", lw=1, label="requested")
            axes.set_title(mine[0].task.name, fontsize=9)
            if number == 0:
                axes.legend(fontsize=7)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=80, format="png")


def judges_scale(songs: Archive, regressor: Regressor | None = None) -> Scale:
    """The scale of what the judge, or another regressor, reads in real songs.

    Raises `InputError` for an archive with too little music.
    """
    count = min(SCALED_SONGS, len(songs))
    try:
        return Scale.fit([readings(songs[i], judge() if regressor is None else regressor) for i in range(count)])
    except ModelError as error:
        raise InputError(
            f"the archive's {count} songs are too little music to scale moods by; give one with more songs"
        ) from error


def measure(
    decoder: Decoder,
    songs: Archive,
    rounds: int,
    recipe: Recipe,
    *,
    seed: int = 0,
    together: int,
    duration_s: float = DURATION_S,
    progress: Callable[[float, float], None] | None = None,
) -> MoodAdherence:
    """Compose for every task `rounds` times and measure how well the mood is followed.

    Only the model is measured: every piece has the tempo `TEMPO_QPM`, and no finishing.

    Args:
        decoder: a model that knows mood.
        songs: real songs that the model was not trained on; they give the judge's scale.
        rounds: how many pieces for each of the twelve tasks.
        recipe: all other choices. Its own seed is not used.
        seed: the same seed gives the same pieces.
        together: how many pieces are composed at a time, at most.
        duration_s: length of a piece.
        progress: called with the seconds of music that are done, and those of all pieces.

    """
    scale = judges_scale(songs)
    every = [task for _ in range(rounds) for task in tasks(duration_s)]
    judged: list[Judged] = []
    for batch, first in enumerate(range(0, len(every), together)):
        asked = every[first : first + together]
        own_seed = int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])
        plain_recipe = replace(recipe, seed=own_seed, tempo_qpm=TEMPO_QPM, finish="off")

        def report(share: float, before: int = first, count: int = len(asked)) -> None:
            if progress:
                progress((before + share * count) * duration_s, len(every) * duration_s)

        scores = perform(decoder, asked, duration_s, plain_recipe, progress=report)
        judged += [judge_piece(score, task, scale) for score, task in zip(scores, asked, strict=True)]
    return MoodAdherence.of(judged, recipe.mood_strength)
