"""How closely chords land on cuts, before any tempo bends; and composing many pieces to measure.

Conventions
- A chord event is a CHORD; a *sounding* chord is three or more notes of piano or guitar that begin together and are
  held for two beats or to the end (`hits.sounding_chords`). Both are matched with the cuts one to one: the largest
  number of pairs of a cut and a chord at most a window apart. Recall = pairs / cuts, precision = pairs / chords, IoU =
  pairs / (cuts + chords - pairs) (the AV-Align score of TempoTokens, Yariv et al. 2024, is this IoU). Counts
  are summed over pieces.
- The control is the same chords against other pieces' cuts, both within the shorter of the two. It is chance level.
- Cuts are those that a composer is given: four seconds apart or more (paper, Section III-B3), clear of both ends.
- Pieces are composed as users get them (the caller gives the `Recipe`), and measured as composed. What sounds after
  the tempo was bent onto the cuts is a separate row, "sounding chords, bent"; if the tempo was planned for the film
  (`tempo_plan`), both are the same.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import cutlist, hits
from emsync.composer import Piece, compose, score_of
from emsync.conditions import Conditions
from emsync.decoder import Decoder
from emsync.errors import InputError
from emsync.files import atomic_path, read_limited
from emsync.hits import FRAME_S, WIDE_S
from emsync.recipe import Hits, Recipe
from emsync.score import Marker, Score
from emsync.sections import plan_piece
from emsync.tempo_plan import plan_for
from emsync.training.evaluation.report_page import PAPER_CHORD_ON_CUT, WINDOW_NAMES, plain, table
from emsync.video import DEFAULT_T_DIFF_S, Scene, analyze, spaced

#: The scene of a film of a day has 30 MB.
MAX_SCENE_BYTES: Final = 64 << 20

Floats = npt.NDArray[np.float64]
#: Called with the seconds of music composed and those to compose.
Progress = Callable[[float, float], None]

#: How chords may be made to land (`composer.compose`), from the model's own anticipation to the grammar's full force.
HITS: Final[tuple[Hits, ...]] = ("free", "bend", "exact")
#: Windows by the name they have in JSON.
WINDOWS: Final = {"frame": FRAME_S, "second": WIDE_S}
#: What is matched with the cuts, by its name in JSON; the last only where the tempo may bend.
WHAT: Final = {
    "chord_events": "CHORD events",
    "sounding_chords": "sounding chords",
    "sounding_chords_bent": "sounding chords, bent",
}
#: Random cut lists: distances between cuts, and lengths of films, both drawn evenly.
GAP_S: Final = (DEFAULT_T_DIFF_S, 20.0)
LENGTH_S: Final = (30.0, 60.0)
#: So many other pieces' cuts make the control of one.
MAX_CONTROLS: Final = 10
#: Pieces composed at once: a row of a 40 M model's cache takes some 100 MB.
DEFAULT_TOGETHER: Final = 16
_ROUNDING_S: Final = 1e-9


@dataclass(frozen=True, eq=False)
class CutList:
    """A film as far as landing goes: its name, its length, and its cuts (B,), in seconds, increasing."""

    name: str
    cuts_s: Floats
    duration_s: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "cuts_s", cutlist.check(self.cuts_s, self.duration_s))

    @property
    def conditions(self) -> Conditions:
        return Conditions(boundaries_s=self.cuts_s, end_s=self.duration_s)


def random_list(rng: np.random.Generator, name: str, duration_s: float) -> CutList:
    """Cuts `GAP_S` apart in a film of `duration_s`, clear of both ends."""
    cuts_s = np.cumsum(rng.uniform(*GAP_S, size=math.ceil(duration_s / GAP_S[0])))
    return CutList(name, spaced(cuts_s[cuts_s < duration_s], duration_s=duration_s), duration_s)


def random_lists(n: int, seed: int) -> list[CutList]:
    """Make `n` films of `LENGTH_S` with cuts `GAP_S` apart; the first of them are the same for any n."""
    if n < 1:
        raise InputError(f"{n} cut lists measure nothing; give at least 1")
    lists = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        lists.append(random_list(rng, f"{i:03d}", float(rng.uniform(*LENGTH_S))))
    return lists


def film_list(path: str | os.PathLike[str]) -> CutList:
    """The cuts of a video, of what `emsync analyze -o` wrote of one (.json), or of a list of cuts (.csv).

    A list's film ends four seconds after its last cut. Raises `InputError` (`VideoError` for a video) for what cannot
    be read, or has no cut that a composer would be given.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        found_s = cutlist.read_csv(path)
        duration_s = float(found_s[-1]) + DEFAULT_T_DIFF_S if len(found_s) else DEFAULT_T_DIFF_S
    elif path.suffix.lower() == ".json":
        remedy = "give what emsync analyze -o wrote"
        try:
            text = read_limited(path, MAX_SCENE_BYTES, "scene", remedy=remedy).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is not a text ({error}); {remedy}") from error
        scene = Scene.from_json(text)
        found_s, duration_s = scene.cuts_s, scene.duration_s
    else:
        scene = analyze(path)
        found_s, duration_s = scene.cuts_s, scene.duration_s
    cuts_s = spaced(found_s, duration_s=duration_s)
    if not len(cuts_s):
        raise InputError(f"{path} has no cut to land on, clear of both ends; leave it out")
    return CutList(path.stem, cuts_s, duration_s)


# ---------------------------------------------------------------------------------------------------------------------
# Composing


@dataclass(frozen=True, eq=False)
class Composed:
    """A piece, the film it was composed for, and its score: as composed, cut at the film's end, cuts as markers."""

    film: CutList
    piece: Piece
    score: Score


def compose_all(
    decoder: Decoder,
    films: Sequence[CutList],
    recipe: Recipe,
    *,
    seed: int,
    together: int = DEFAULT_TOGETHER,
    progress: Progress | None = None,
) -> list[Composed]:
    """One piece for each film, with the form that users get, in their order; films of like length together.

    The same seed, films and recipe give the same pieces; the recipe's own seed is not used. together: how many pieces
    are composed at once, at most. progress: see `Progress`. Raises `InputError` for less than one at a time.
    """
    if together < 1:
        raise InputError(f"{together} pieces at a time compose nothing; give at least 1")
    order = sorted(range(len(films)), key=lambda i: films[i].duration_s)
    total_s, done_s = sum(film.duration_s for film in films), 0.0
    made: dict[int, Composed] = {}
    for batch, first in enumerate(range(0, len(order), together)):
        rows = order[first : first + together]
        batch_s = sum(films[i].duration_s for i in rows)
        own_seed = int(np.random.SeedSequence([seed, batch]).generate_state(1)[0])

        def report(share: float, before_s: float = done_s, batch_s: float = batch_s) -> None:
            if progress:
                progress(before_s + share * batch_s, total_s)

        own = replace(recipe, seed=own_seed)
        seeds = np.random.SeedSequence([seed, batch, 1]).generate_state(len(rows)).tolist()  # a tempo for each
        tempo_plans = [
            plan_for(replace(own, seed=one), films[i].cuts_s, films[i].duration_s)
            for one, i in zip(seeds, rows, strict=True)
        ]
        plans = [plan_piece(own, films[i].duration_s, films[i].cuts_s, {}) for i in rows]
        conditions = [films[i].conditions for i in rows]
        pieces = compose(decoder, conditions, own, plans=plans, tempo_plans=tempo_plans, progress=report)
        for i, piece in zip(rows, pieces, strict=True):
            made[i] = Composed(films[i], piece, _score(piece, films[i]))
        done_s += batch_s
    return [made[i] for i in range(len(films))]


def _score(piece: Piece, film: CutList) -> Score:
    markers = tuple(Marker(cut_s, f"Cut {i}") for i, cut_s in enumerate(film.cuts_s.tolist(), start=1))
    return replace(score_of(piece, film.duration_s), markers=markers)


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def matched(a_s: npt.ArrayLike, b_s: npt.ArrayLike, window_s: float) -> int:
    """How many pairs can be made of one time of each row, at most `window_s` (inclusive) apart; both rows increasing.

    Taking the earliest that fits is optimal: any other pair of a time could be exchanged for it.
    """
    a, b = np.asarray(a_s, dtype=np.float64).tolist(), np.asarray(b_s, dtype=np.float64).tolist()
    i = j = pairs = 0
    while i < len(a) and j < len(b):
        if abs(a[i] - b[j]) <= window_s + _ROUNDING_S:
            pairs, i, j = pairs + 1, i + 1, j + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return pairs


@dataclass(frozen=True)
class Tally:
    """Cuts, chords, and the pairs that were made of them. Shares in [0, 1], NaN where there is nothing to divide by."""

    cuts: int = 0
    chords: int = 0
    pairs: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.cuts + other.cuts, self.chords + other.chords, self.pairs + other.pairs)

    @classmethod
    def of(cls, cuts_s: Floats, chords_s: Floats, window_s: float) -> Tally:
        return cls(len(cuts_s), len(chords_s), matched(cuts_s, chords_s, window_s))

    @property
    def recall(self) -> float:
        return self.pairs / self.cuts if self.cuts else math.nan

    @property
    def precision(self) -> float:
        return self.pairs / self.chords if self.chords else math.nan

    @property
    def iou(self) -> float:
        union = self.cuts + self.chords - self.pairs
        return self.pairs / union if union else math.nan

    def to_dict(self) -> dict[str, Any]:
        return {
            "cuts": self.cuts, "chords": self.chords, "pairs": self.pairs,
            "recall": plain(self.recall), "precision": plain(self.precision), "iou": plain(self.iou),
        }  # fmt: skip


@dataclass(frozen=True)
class Aim:
    """One row: which films ("random", "films"), how chords were made to land, what was matched, in which window."""

    films: str
    land: str
    what: str
    window: str


@dataclass(frozen=True)
class Landing:
    """How chords landed: for each aim, what was counted and the control; and the films' number, cuts and seconds."""

    tallies: Mapping[Aim, tuple[Tally, Tally]]
    films: Mapping[str, tuple[int, int, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: films -> land -> what -> window -> recall, precision, iou, counts, and `control` likewise."""
        values: dict[str, Any] = {}
        for name, (pieces, cuts, seconds) in self.films.items():
            values[name] = {"pieces": pieces, "cuts": cuts, "seconds": round(seconds, 3)}
        for aim, (tally, control) in self.tallies.items():
            place = values[aim.films].setdefault(aim.land, {}).setdefault(aim.what, {})
            place[aim.window] = {**tally.to_dict(), "control": control.to_dict()}
        return values

    def to_markdown(self) -> str:
        """A section: one table for each kind of films."""
        lines = [
            "## Landing",
            "",
            "Chords against cuts, one to one, as composed; the last line of *bend* after the tempo bent them together. "
            "In brackets the same against other pieces' cuts: what chance gives. *free*: the model's own anticipation; "
            "*bend*: the grammar asks for a chord on the nearest beat; *exact*: on the cut.",
        ]
        names = {"random": "random cut lists", "films": "films given"}
        for films, (pieces, cuts, seconds) in self.films.items():
            rows: list[list[str | float]] = []
            for aim, (tally, control) in self.tallies.items():
                if aim.films == films:
                    pairs = ((getattr(x, name) for x in (tally, control)) for name in ("recall", "precision", "iou"))
                    rows.append(
                        [
                            f"{aim.land}: {WHAT[aim.what]}, {WINDOW_NAMES[aim.window]}",
                            *(_beside(*pair) for pair in pairs),
                        ]
                    )
            lines += [
                "",
                f"### {names.get(films, films).capitalize()}",
                "",
                f"{pieces} pieces, {seconds / 60:.1f} minutes, {cuts} cuts.",
                "",
                *table(["", "recall", "precision", "IoU"], rows),
            ]
        return "\n".join(lines) + "\n"

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Bars of recall, precision and IoU for each way of landing; dots: chance; dashed: the paper (PNG)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 3.4 * len(self.films) + 0.4), layout="constrained")
        bars = [(what, window) for what in ("chord_events", "sounding_chords") for window in WINDOWS]
        for row, films in enumerate(self.films):
            # "bend" once as composed and once bent, where only what sounds is known.
            every = [("free", ""), ("bend", ""), ("bend", "_bent"), ("exact", "")]
            measured = {aim.land for aim in self.tallies if aim.films == films}
            groups = [(land, bent) for land, bent in every if land in measured]
            for column, (name, title) in enumerate(
                {"recall": "recall", "precision": "precision", "iou": "IoU"}.items()
            ):
                axes = figure.add_subplot(len(self.films), 3, 3 * row + column + 1)
                for i, (what, window) in enumerate(bars):
                    heights = np.array(
                        [
                            [getattr(tally, name) for tally in self.tallies.get(aim, (Tally(), Tally()))]
                            for aim in (Aim(films, land, what + bent, window) for land, bent in groups)
                        ]
                    )
                    at = np.arange(len(groups)) + (i - (len(bars) - 1) / 2) * 0.2
                    label = f"{WHAT[what]}, {WINDOW_NAMES[window]}"
                    axes.bar(at, np.nan_to_num(heights[:, 0]), 0.18, label=label, color=f"C{i}")
                    axes.plot(at, heights[:, 1], "o", color="black", markersize=4, label="other pieces' cuts")
                for scores in PAPER_CHORD_ON_CUT.values() if name == "recall" else ():
                    axes.axhline(float(np.mean(scores)), color="0.4", linestyle="--", linewidth=0.9, label="the paper")
                labels = [land + (", bent" if bent else "") for land, bent in groups]
                axes.set(ylim=(0, 1.02), xticks=range(len(groups)), xticklabels=labels, title=f"{title}, {films}")
                if not row and not column:
                    found = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))  # one of each label
                    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=6, fontsize=8)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")


def _beside(value: float, control: float) -> str:
    first, second = ("–" if math.isnan(x) else f"{x:.3f}" for x in (value, control))
    return f"{first} ({second})"


def measure(composed: Mapping[str, Mapping[str, Sequence[Composed]]]) -> Landing:
    """Count how chords landed. composed: the films' kind ("random", "films") -> way of landing -> pieces.

    Raises `InputError` where there is nothing to measure.
    """
    tallies: dict[Aim, tuple[Tally, Tally]] = {}
    films: dict[str, tuple[int, int, float]] = {}
    for kind, by_land in composed.items():
        for land, pieces in by_land.items():
            lists = [made.film for made in pieces]
            films[kind] = len(lists), sum(len(x.cuts_s) for x in lists), sum(x.duration_s for x in lists)
            found: dict[str, list[Floats]] = {
                "chord_events": [_chords_s(made.piece) for made in pieces],
                "sounding_chords": [hits.sounding_chords(made.score) for made in pieces],
            }
            if land == "bend":
                bent = [_bent(made) for made in pieces]
                found["sounding_chords_bent"] = [hits.sounding_chords(score) for score in bent]
            for what, chords in found.items():
                for window, window_s in WINDOWS.items():
                    tallies[Aim(kind, land, what, window)] = _tally(lists, chords, window_s)
    if not any(cuts for _, cuts, _ in films.values()):
        raise InputError("there is no cut to measure landing on; give cut lists, or films that cut")
    return Landing(tallies, films)


def _chords_s(piece: Piece) -> Floats:
    """The CHORDs of a piece in the film's time, increasing."""
    chords_s: Floats = np.unique(piece.chords_s)
    return chords_s if piece.tempo_plan is None else piece.tempo_plan.to_film(chords_s)


def _bent(made: Composed) -> Score:
    """The score with its tempo bent onto the cuts, which it is already if it was planned for them."""
    return made.score if made.piece.tempo_plan else hits.land(made.score, made.piece.targets_s, made.piece.boundaries_s)


def _tally(lists: Sequence[CutList], chords: Sequence[Floats], window_s: float) -> tuple[Tally, Tally]:
    """Chords (one row a piece) against their own cuts, and against those of the pieces that follow."""
    own, control = Tally(), Tally()
    for i, (mine, chords_s) in enumerate(zip(lists, chords, strict=True)):
        own += Tally.of(mine.cuts_s, chords_s, window_s)
        for k in range(1, min(len(lists) - 1, MAX_CONTROLS) + 1):
            other = lists[(i + k) % len(lists)]
            until_s = min(mine.duration_s, other.duration_s)
            control += Tally.of(other.cuts_s[other.cuts_s < until_s], chords_s[chords_s < until_s], window_s)
    return own, control
