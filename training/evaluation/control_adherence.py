"""Measure whether music obeys its controls: what was asked for against what `emsync.controls` measures in it.

Conventions
- Sets: the created controls (`created_controls`), each alone; controls extracted from real songs, each alone and all
  together; and these all with one half of every curve masked. Of a set of many, some are drawn with the seed.
- Curves are compared in tenths of a second, where they were given. `pearson` and `concordance` are over all frames of a
  set (HPM's macro), `within` is the mean Pearson of its pieces (HPM's micro).
- An onset is a moment at which a note begins. One of the piece is aligned with one that was asked for within 70 ms, one
  to one. `cover` is the share of the piece's onsets that are (HPM's BCS), `hit` that of those asked for (BHS), and `f1`
  joins both.
- Emotions are read twice: by the judge of `mood_adherence`, which never took part in training, and by the labeller,
  whose readings of real songs the extracted ones are. The papers use one regressor for both. The songs themselves are
  read by the judge, too: no music can be expected to agree better than they do. There are `EMOTIONS` times as many
  pieces, since sets of a dozen differ by 0.05: with four of the others, the 36 of controllable-v2m.
- The control pairs every piece with what another piece of its set was asked for.
- Of controls, only composing is measured: no piece has the finishing rules, whose last chord follows no control, or a
  form. Emotions are followed by tempo, form and finishing, too: these pieces are as users get them. They go on for
  `ENDING_S` beyond the curve, in its last mood, and are judged without that: the last chord fades whatever the mood
  is, and moods are read in windows of nine seconds. No excerpt of a song ends like that, nor does the papers' audio.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import controls, soundtrack
from emsync.control_curves import KINDS, REST, SLOTS, ControlCurves, to_text
from emsync.errors import InputError
from emsync.files import atomic_path
from emsync.music_mood.scale import Scale
from emsync.music_mood.scale import scale as shipped_scale
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import Archive
from emsync.training.corpus.song_to_score import song_score
from emsync.training.evaluation import created_controls
from emsync.training.evaluation.created_controls import Asked, half_masked
from emsync.training.evaluation.landing import matched
from emsync.training.evaluation.mood_adherence import judges_scale
from emsync.training.evaluation.report_page import plain, table
from emsync.training.mood.agreement import concordance, pearson
from emsync.training.mood.curves import curve, judge, labels, readings

if TYPE_CHECKING:
    from emsync.decoder import Decoder

FloatArray = npt.NDArray[np.float64]

#: The length of a piece. The papers judge 10 s.
DURATION_S: Final = 20.0
#: So much longer are pieces of emotions, so that no ending is judged.
ENDING_S: Final = 6.0
#: An onset this near to one that was asked for is aligned with it (controllable-v2m, Appendix C).
ALIGNED_S: Final = 0.07
#: The papers' figures, in audio: controllable-v2m's Tables 2 (extracted controls) and 9 (created), HPM's 2 and 3.
PAPERS: Final[Mapping[str, Mapping[str, str]]] = {
    "intensity": {"pearson": "0.92 / 0.38; HPM 0.872", "concordance": "0.87 / 0.08", "within": "HPM 0.645"},
    "melody": {"accuracy": "0.648 / 0.412; HPM 0.577"},
    "rhythm": {"f1": "0.819 / 0.422", "cover": "HPM 0.667", "hit": "HPM 0.622"},
    "valence, by the labeller": {"pearson": "0.87 / 0.55", "concordance": "0.58 / 0.07"},
    "arousal, by the labeller": {"pearson": "0.89 / 0.77", "concordance": "0.67 / 0.12"},
}
AXES: Final = ("valence", "arousal")
BY_LABELLER: Final = "{}, by the labeller"
CREATED: Final[tuple[Callable[[float], Iterable[Asked]], ...]] = (
    created_controls.intensities, created_controls.densities, created_controls.melodies, created_controls.rhythms,
    created_controls.keys, created_controls.emotions,
)  # fmt: skip
#: How a piece is made to obey: by the model's lanes, by steering (`emsync.steering`), or by both; of each
#: (`Recipe.lane_strength`, `Recipe.control_strength`). Models without lanes are steered alone.
MEANS: Final[Mapping[str, tuple[float, float]]] = {"lane": (1.0, 0.0), "steering": (0.0, 1.0), "both": (1.0, 1.0)}
#: Pieces of emotions for each piece of the other sets.
EMOTIONS: Final = 9
#: The least notes a second of an excerpt that controls are extracted from.
_LEAST_NOTES_PER_S: Final = 3.0


@dataclass(frozen=True, eq=False)
class Judged:
    """One piece: what was asked for, its score, and how it was read.

    asked, found: for each control, its values in every frame (T,); for rhythm, the onsets in seconds.
    by: what made the piece obey, of `MEANS`.
    """

    task: Asked
    asked: Mapping[str, FloatArray]
    found: Mapping[str, FloatArray]
    by: str = "steering"


def extracted(songs: Archive, count: int, duration_s: float, seed: int) -> list[Asked]:
    """Controls of excerpts of real songs, each from a bar on, with all controls. They may be fewer than `count`.

    Each has the mood that the labeller reads in the excerpt, too.
    """
    rng = np.random.default_rng([seed, 17])
    found: list[Asked] = []
    for index in rng.permutation(len(songs)).tolist():
        song = song_score(songs, index)
        bars = song.bars.start_s[song.bars.start_s < song.duration_s - duration_s]
        if not len(bars):
            continue
        at_s = float(bars[rng.integers(len(bars))])
        part = song.select((song.start_s >= at_s) & (song.start_s < at_s + duration_s)).shifted(-at_s).until(duration_s)
        tempo = float(part.tempo.qpm[0])
        curves = (
            controls.of_score(part, duration_s) if len(part) >= _LEAST_NOTES_PER_S * duration_s else ControlCurves({})
        )
        if len(curves) == len(KINDS) and 60 <= tempo <= 200:
            name, mood = f"song {index} from {at_s:.1f} s", curve(labels(part))
            found.append(Asked("extracted", name, curves, tempo, mood, part))
        if len(found) == count:
            break
    return found


def tasks(songs: Archive, count: int, duration_s: float, seed: int, *, mood: bool) -> list[Asked]:
    """`count` pieces of every set, of emotions `EMOTIONS` times as many; fewer where a set is smaller.

    mood: whether moods are asked for.
    """
    out: list[Asked] = []
    for number, made in enumerate(CREATED):
        every = [] if made is created_controls.emotions and not mood else list(made(duration_s))
        most = count * (EMOTIONS if made is created_controls.emotions else 1)
        chosen = np.sort(np.random.default_rng([seed, number]).permutation(len(every))[:most])
        out += [every[i] for i in chosen]
    excerpts = extracted(songs, EMOTIONS * count if mood else count, duration_s, seed)
    if not excerpts:
        raise InputError(f"no song of the archive has {duration_s:g} s with all controls; give one with longer songs")
    real = [replace(each, mood=None) for each in excerpts[:count]]
    for name in KINDS:
        out += [replace(each, group=f"extracted {name}", curves=each.curves.only(name)) for each in real]
    out += [replace(each, group="extracted, all") for each in real]
    out += [half_masked(each, duration_s, first=i % 2 == 0) for i, each in enumerate(real)]
    if mood:
        out += [replace(each, group="extracted emotion", curves=ControlCurves({})) for each in excerpts]
    return out


def judge_piece(score: Score, task: Asked, duration_s: float, scale: Scale | None) -> Judged:
    """Measure one piece."""
    times = controls.frame_times(duration_s)
    measured = controls.of_score(score, duration_s) if len(score) else ControlCurves({})
    asked: dict[str, FloatArray] = {}
    found: dict[str, FloatArray] = {}
    for name in task.curves:
        if name == "rhythm":
            asked[name] = asked_onsets(task, duration_s)
            given = ~np.isnan(task.curves[name].at(score.start_s)) if len(score) else np.zeros(0, dtype=bool)
            found[name] = np.unique(np.round(score.start_s[given], 2))
            continue
        asked[name] = task.curves[name].at(times)
        silent = {"intensity": controls.SILENT_DB, "density": 0.0, "melody": float(REST)}.get(name, math.nan)
        found[name] = measured[name].at(times) if name in measured else np.full(len(times), silent)
    if task.mood is not None and scale is not None:
        for called, levels in (
            ("{}", scale.apply(readings(score, judge()))), (BY_LABELLER, shipped_scale().apply(readings(score)))
        ):  # fmt: skip
            seconds = np.arange(len(levels)) + 0.5
            for axis, mine, read in zip(AXES, task.mood.at(seconds), levels.T, strict=True):
                asked[called.format(axis)], found[called.format(axis)] = mine, np.asarray(read, dtype=np.float64)
    return Judged(task, asked, found)


def asked_onsets(task: Asked, duration_s: float) -> FloatArray:
    """(K,) When notes should begin, by the rhythm that is asked for: beats of its tempo, from 0 s on."""
    beat_s = 60 / task.tempo_qpm
    beats = np.arange(math.ceil(duration_s / beat_s)) * beat_s
    patterns = task.curves["rhythm"].at(beats + 1e-6)
    given = np.nan_to_num(patterns).astype(np.int64)
    struck = (given[:, None] >> np.arange(SLOTS)[::-1]) & 1
    times = (beats[:, None] + np.arange(SLOTS) * beat_s / SLOTS)[struck == 1]
    return np.asarray(times[times < duration_s])


def aligned(asked_s: FloatArray, found_s: FloatArray) -> int:
    """How many onsets can be paired within `ALIGNED_S`, one to one, both increasing."""
    return matched(asked_s, found_s, ALIGNED_S)


def scores(name: str, pairs: Sequence[tuple[FloatArray, FloatArray]]) -> dict[str, float]:
    """The figures of one control over pairs of what was asked for and found; NaN where nothing can be said."""
    if name == "rhythm":
        hits = sum(aligned(a, b) for a, b in pairs)
        asked, found = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
        cover, hit = hits / found if found else math.nan, hits / asked if asked else math.nan
        return {"f1": 2 * hits / (asked + found) if asked + found else math.nan, "cover": cover, "hit": hit}
    given = [(a[~np.isnan(a)], b[: len(a)][~np.isnan(a)]) for a, b in pairs]
    given = [(a, b) for a, b in given if len(a)]
    if not given:
        return {}
    a, b = (np.concatenate(rows) for rows in zip(*given, strict=True))
    if name == "melody":
        return {"accuracy": float((a == b)[a != REST].mean()) if (a != REST).any() else math.nan}
    if name == "key":
        return {"accuracy": float((a == b).mean())}
    within = [pearson(x, np.nan_to_num(y)) for x, y in given]
    known = [x for x in within if not math.isnan(x)]
    return {
        "pearson": pearson(a, np.nan_to_num(b)), "concordance": concordance(a, np.nan_to_num(b)),
        "within": float(np.mean(known)) if known else math.nan,
    }  # fmt: skip


@dataclass(frozen=True, eq=False)
class ControlAdherence:
    """How well pieces obey their controls.

    songs: the music that moods were extracted from, judged as if it had been composed for them.
    """

    judged: tuple[Judged, ...]
    duration_s: float
    songs: tuple[Judged, ...] = ()

    @property
    def means(self) -> list[str]:
        """Those of `MEANS` that were measured."""
        return [by for by in MEANS if any(each.by == by for each in self.judged)]

    def groups(self, by: str | None = None) -> dict[str, list[Judged]]:
        """The pieces of each set. by: those of one of `MEANS`, by default the last one that was measured."""
        by = self.means[-1] if by is None else by
        found: dict[str, list[Judged]] = {}
        for each in self.judged:
            if each.by == by:
                found.setdefault(each.task.group, []).append(each)
        return found

    def songs_figures(self) -> dict[str, dict[str, float]]:
        """By axis, how well the judge's readings of songs agree with the labeller's, which were asked for."""
        return {
            axis: scores(axis, [(song.asked[axis], song.found[axis]) for song in self.songs]) for axis in AXES
        } if self.songs else {}  # fmt: skip

    def figures(self, by: str | None = None) -> dict[str, dict[str, dict[str, float]]]:
        """The figures by set and control, and under "shuffled" the first of them for shuffled pieces."""
        out: dict[str, dict[str, dict[str, float]]] = {}
        for group, mine in self.groups(by).items():
            out[group] = {}
            for name in mine[0].asked:
                figures = scores(name, [(j.asked[name], j.found[name]) for j in mine])
                others = [(x.asked[name], y.found[name]) for x in mine for y in mine if x is not y]
                if name != "rhythm":
                    others = [(a[: min(len(a), len(b))], b) for a, b in others]
                first = next(iter(figures), "")
                shuffled = scores(name, others).get(first, math.nan) if others else math.nan
                out[group][name] = figures | {"shuffled": shuffled}
        return out

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: by set and control, of the last of the means under "sets", of each under "by"."""

        def sets(by: str) -> dict[str, Any]:
            return {
                group: {name: {k: plain(x) for k, x in each.items()} for name, each in by_name.items()}
                for group, by_name in self.figures(by).items()
            }

        every = {by: sets(by) for by in self.means}
        last = every[self.means[-1]]
        songs = {axis: {k: plain(x) for k, x in each.items()} for axis, each in self.songs_figures().items()}
        about = {"pieces": len(self.judged), "duration_s": self.duration_s}
        return about | {"sets": last, "by": every, "songs": songs}

    def to_markdown(self) -> str:
        """A section: a row for each set, control and figure, beside the papers'."""
        rows: list[list[str | float]] = []
        every = {by: self.figures(by) for by in self.means}
        for group, by_name in every[self.means[-1]].items():
            for name, figures in by_name.items():
                for figure in figures:
                    if figure != "shuffled":
                        first = figure == next(iter(figures))
                        paper = PAPERS.get(name, {}).get(figure, "")
                        values = [every[by].get(group, {}).get(name, {}).get(figure, math.nan) for by in self.means]
                        rows.append([group, name, figure, *values, figures["shuffled"] if first else math.nan, paper])
        about: list[str] = []
        for axis, each in self.songs_figures().items():
            agreement = ", ".join(f"{each[name]:.3f} ({name})" for name in ("pearson", "concordance", "within"))
            about += [
                f"The {len(self.songs)} songs themselves, as the judge reads them, agree with the {axis} that was "
                f"extracted from them by {agreement}: an upper limit.", "",
            ]  # fmt: skip
        return "\n".join(
            [
                "## Control adherence", "",
                f"{len(self.judged)} pieces of {self.duration_s:g} s. Shuffled: against what other pieces of the set "
                "were asked for (the last way). The papers' figures are of audio: controllable-v2m with extracted / "
                "created controls; HPM where it says so.", "",
                *table(["set", "control", "figure", *self.means, "shuffled", "papers"], rows), "", *about,
            ]
        )  # fmt: skip

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw a piece of each set with one control: asked for and found, over time (PNG)."""
        from matplotlib.figure import Figure

        alone = {group: mine for group, mine in self.groups().items() if len(mine[0].asked) == 1 or mine[0].task.mood}
        drawn = (*KINDS, *AXES)
        panels = [(mine[len(mine) // 2], name) for mine in alone.values() for name in mine[0].asked if name in drawn]
        columns = 2
        figure = Figure(figsize=(14, 2.2 * math.ceil(len(panels) / columns)), layout="constrained")
        for number, (piece, name) in enumerate(panels):
            axes = figure.add_subplot(math.ceil(len(panels) / columns), columns, number + 1)
            axes.set_title(f"{piece.task.group}: {piece.task.name}"[:70], fontsize=9)
            asked, found = piece.asked[name], piece.found[name]
            if name == "rhythm":
                axes.eventplot([asked, found], lineoffsets=[1, 0], linelengths=0.8, colors=["k", "C0"])
                axes.set_yticks([1, 0], ["asked", "obeyed"])
            else:
                times = (np.arange(len(asked)) + 0.5) * (1.0 if name in AXES else controls.FRAME_S)
                style = "steps-mid" if name in KINDS and KINDS[name].held else "default"
                axes.plot(times, asked, "k--", lw=1.2, drawstyle=style, label="asked")  # type: ignore[arg-type]
                axes.plot(times, found[: len(asked)], "C0", lw=1.2, drawstyle=style, label="obeyed")  # type: ignore[arg-type]
                if name in ("melody", "key"):
                    levels = sorted({*asked[~np.isnan(asked)].astype(int).tolist()})[:13]
                    axes.set_yticks(levels, [to_text(name, x) for x in levels], fontsize=7)
                if number == 0:
                    axes.legend(fontsize=8)
            axes.set_ylabel(name, fontsize=8)
            axes.set_xlim(0, self.duration_s)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=80, format="png")


def measure(
    decoder: Decoder,
    songs: Archive,
    count: int,
    recipe: Recipe,
    *,
    seed: int = 0,
    duration_s: float = DURATION_S,
    progress: Callable[[float, float], None] | None = None,
) -> ControlAdherence:
    """Compose `count` pieces for every set of controls and measure how well they are obeyed.

    A model with lanes for controls composes each three times: by its lanes alone, by steering alone, and by both.

    Args:
        decoder: A model; without mood, the emotions are left out.
        songs: Real songs: controls are extracted from them, and they give the scale of moods.
        count: Pieces of every set; a set that is smaller gives all it has.
        recipe: All other choices.
        seed: The same seed gives the same pieces.
        duration_s: The length of a piece.
        progress: Called with the seconds of music that are done, and those of all pieces.

    """
    scale = judges_scale(songs) if decoder.knows_mood else None
    every = tasks(songs, count, duration_s, seed, mood=decoder.knows_mood)
    ways = list(MEANS) if decoder.hears_controls else ["steering"]
    rounds = [
        (number, task, by) for number, task in enumerate(every) for by in ways if len(task.curves) or by == ways[-1]
    ]
    judged: list[Judged] = []
    for number, task, by in rounds:
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        asked = replace(
            recipe, seed=own_seed, tempo_qpm=task.tempo_qpm, finish="off", form="none", controls=task.curves,
            intensity="none", density="none", lane_strength=MEANS[by][0], control_strength=MEANS[by][1],
        )  # fmt: skip
        if task.mood is not None:
            asked = replace(asked, tempo_qpm=recipe.tempo_qpm, finish=recipe.finish, form=recipe.form)
        more_s = 0.0 if task.mood is None else ENDING_S
        score = soundtrack.compose(decoder, duration_s + more_s, (), asked, mood=task.mood).score
        if more_s:
            score = score.select(score.start_s < duration_s).until(duration_s)
        judged.append(replace(judge_piece(score, task, duration_s, scale), by=by))
        if progress:
            progress(len(judged) * duration_s, len(rounds) * duration_s)
    sources = [(task, task.source) for task in every if task.group == "extracted emotion" and task.source is not None]
    songs_judged = [judge_piece(source, task, duration_s, scale) for task, source in sources]
    return ControlAdherence(tuple(judged), duration_s, tuple(songs_judged))
