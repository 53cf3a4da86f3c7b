"""The paper's evaluation of sound (Section IV-C, Table II): films are scored, and their music is measured.

    found = score_films(films, session, Recipe(seed=7), MoodSource.reading("builtin:pictures"))
    found.to_markdown()

Each film is watched, its mood read, music composed, rendered and muxed, as `emsync compose --mp4` does. Then:

- AV-Align of the music (`av_align`), beside three others on the same pictures: the same music moved in a circle
  ("shifted"), the music of other films ("others"), and the film's own sound ("own").
- How many of the cuts have a chord, within a frame and within a second.
- KL between the tags of the film's own sound and of the music (`tagger`), beside that of other films' music.
- Run time by stage, in seconds of the wall clock and of the processor, per minute of film.

By default the film's sound is withheld from the mood, as in the paper.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync.errors import InputError, printable
from emsync.mood_source import MoodSource
from emsync.mux import CONTAINERS, mux
from emsync.recipe import Recipe
from emsync.session import Session
from emsync.soundtrack import Soundtrack, for_cuts
from emsync.survey_results import margin
from emsync.training.evaluation.av_align import (
    PAPER,
    WINDOWS,
    Floats,
    Peaks,
    cell,
    score,
    shifts_of,
    sound_of,
    watched,
    with_sound_of,
)  # fmt: skip
from emsync.training.evaluation.onsets import onsets
from emsync.training.evaluation.report_page import PAPER_CHORD_ON_CUT, plain, table
from emsync.training.evaluation.tagger import REMEDY, Tagger, divergence
from emsync.video import analyze

#: What is done for a film, in this order; "landing" puts the composed events onto the film's time, and finishes them.
STAGES: Final = ("watching", "mood", "composing", "landing", "rendering", "muxing")
#: Whose sound is under a film.
KINDS: Final = ("music", "shifted", "others", "own")
#: The paper's Table II: the KL of EmoMV-C and the minutes it takes for a film of a minute, by method.
PAPER_KL: Final = {"CMT": 4.728, "Video2Music": 9.789, "EMSYNC": 4.175}
PAPER_MINUTES: Final = {"CMT": 3.55, "Video2Music": 1.61, "EMSYNC": 1.42}
#: Each film is also measured under the music of this many others, at most.
MOST_OTHERS: Final = 20


@dataclass(frozen=True)
class Spent:
    """Seconds by the wall clock, and of the processor."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


class Clock:
    """Measures stages by name."""

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    def begin(self) -> None:
        """Begin a stage."""
        self._wall_s, self._cpu_s = time.monotonic(), time.process_time()

    def end(self, stage: str) -> None:
        """End a stage, and begin the next one."""
        wall_s, cpu_s = time.monotonic(), time.process_time()
        passed = Spent(wall_s - self._wall_s, cpu_s - self._cpu_s)
        self.spent[stage] = self.spent.get(stage, Spent()) + passed
        self.begin()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What is done inside is the stage."""
        self.begin()
        yield
        self.end(name)


@dataclass(frozen=True, eq=False)
class FilmScore:
    """One film with its music.

    - music, own: the film's peaks of movement, with the onsets of the music and of its own sound; None without sound.
    - cuts, within_frame, within_second: the cuts a chord was asked for, and how many have one.
    - music_tags, own_tags: shares of tags (K,), if there is a tagger; None for a film without sound.
    - spent: seconds by stage of `STAGES`.
    """

    music: Peaks
    own: Peaks | None
    cuts: int
    within_frame: int
    within_second: int
    music_tags: Floats | None
    own_tags: Floats | None
    spent: Mapping[str, Spent]


@dataclass(frozen=True, eq=False)
class Scores:
    """What was measured.

    - films: one entry each; `align` and `divergences` have one dictionary for each of them.
    - align: AV-Align by kind of `KINDS` and window of `WINDOWS`; NaN where there is no such sound.
    - divergences: KL of "music" and of "others"; NaN without a tagger or without the film's own sound.
    - loading: how long the model took to load.
    - settings: the recipe, what read the mood, and the tagger.
    - failed: films that could not be scored, and why.
    """

    films: tuple[FilmScore, ...]
    align: tuple[Mapping[str, Mapping[str, float]], ...]
    divergences: tuple[Mapping[str, float], ...]
    loading: Spent
    settings: Mapping[str, Any]
    failed: Mapping[str, str]

    @property
    def minutes(self) -> float:
        """How long all films are together."""
        return sum(film.music.duration_s for film in self.films) / 60

    def per_minute(self) -> dict[str, Spent]:
        """Seconds per minute of film, by stage."""
        total = {stage: sum((film.spent[stage] for film in self.films), Spent()) for stage in STAGES}
        return {stage: Spent(s.wall_s / self.minutes, s.cpu_s / self.minutes) for stage, s in total.items()}

    def mean(self, kind: str, window: str) -> tuple[float, float]:
        """The mean of AV-Align over films, and its 95 % margin."""
        return _mean([by_kind[kind][window] for by_kind in self.align])

    def mean_divergence(self, kind: str) -> tuple[float, float]:
        """The mean KL over films, and its 95 % margin."""
        return _mean([by_kind[kind] for by_kind in self.divergences])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""
        films = [
            {
                "film": film.music.name, "duration_s": film.music.duration_s, "cuts": film.cuts,
                "within_frame": film.within_frame, "within_second": film.within_second,
                "av_align": {kind: {w: plain(by[kind][w]) for w in WINDOWS} for kind in KINDS},
                "kl": {kind: plain(value) for kind, value in apart.items()},
                "spent_s": {stage: {"wall": spent.wall_s, "cpu": spent.cpu_s} for stage, spent in film.spent.items()},
            }
            for film, by, apart in zip(self.films, self.align, self.divergences, strict=True)
        ]  # fmt: skip
        means = {kind: {w: [plain(x) for x in self.mean(kind, w)] for w in WINDOWS} for kind in KINDS}
        return {
            "films": films,
            "av_align_mean_and_margin": means,
            "kl_mean_and_margin": {
                kind: [plain(x) for x in self.mean_divergence(kind)] for kind in ("music", "others")
            },
            "seconds_per_minute": {
                stage: {"wall": spent.wall_s, "cpu": spent.cpu_s} for stage, spent in self.per_minute().items()
            },
            "loading_s": {"wall": self.loading.wall_s, "cpu": self.loading.cpu_s},
            "settings": dict(self.settings),
            "failed": dict(self.failed),
        }

    def to_markdown(self) -> str:
        """Tables: films, the paper's figures, run time."""
        lines = [
            "# Films scored", "",
            "AV-Align of the music, of the same music moved in a circle by random times (shifted), of other films' "
            "music (others), and of the film's own sound (own), on the same pictures; cuts with a chord; KL of the "
            "tags of the film's own sound from those of the music.", "",
            *self._by_film(), "",
            "The paper's figures, on its own films (it does not say whether its chords on cuts are recall):", "",
            *_of_paper(), "",
            *self._on_time(), "",
        ]  # fmt: skip
        if self.settings.get("tagger") is None:
            lines += [f"KL was not measured, since no tagger was given: {REMEDY}.", ""]
        lines += [f"- {cell(name)} was left out: {printable(reason)}." for name, reason in self.failed.items()]
        return "\n".join(lines).rstrip() + "\n"

    def _by_film(self) -> list[str]:
        columns = [f"{kind}, {window}" for window in ("frame", "1 s") for kind in KINDS]
        head = ("film", "cuts met, frame", "cuts met, 1 s", *columns, "KL", "KL, others")
        rows: list[Sequence[str | float]] = []
        for film, by, apart in zip(self.films, self.align, self.divergences, strict=True):
            met = [f"{n} of {film.cuts}" for n in (film.within_frame, film.within_second)]
            scores = [by[kind][window] for window in WINDOWS for kind in KINDS]
            rows.append((cell(film.music.name), *met, *scores, apart["music"], apart["others"]))
        cuts = sum(film.cuts for film in self.films)
        shares = [
            sum(getattr(film, name) for film in self.films) / cuts if cuts else math.nan
            for name in ("within_frame", "within_second")
        ]
        for label, part in (("**mean**", 0), ("95 % margin", 1)):
            met_by = [f"{share:.3f}" if cuts and not part else "" for share in shares]
            scores = [self.mean(kind, window)[part] for window in WINDOWS for kind in KINDS]
            apart_by = [self.mean_divergence(kind)[part] for kind in ("music", "others")]
            rows.append((label, *met_by, *scores, *apart_by))
        return table(head, rows)

    def _on_time(self) -> list[str]:
        by_stage = self.per_minute()
        total = sum(by_stage.values(), Spent())
        rows: list[Sequence[str | float]] = [(s, spent.wall_s, spent.cpu_s) for s, spent in by_stage.items()]
        rows += [("**all**", total.wall_s, total.cpu_s), ("loading the model, once", *_pair(self.loading))]
        whole = total + self.loading
        paper = ", ".join(f"{method} {minutes:g}" for method, minutes in PAPER_MINUTES.items())
        return [
            f"Run time in seconds per minute of film ({self.minutes:.1f} minutes of film):", "",
            *table(("stage", "wall clock", "processor"), rows), "",
            f"So a film of a minute takes {whole.wall_s / 60:.2f} minutes with loading ({whole.cpu_s / 60:.2f} of the "
            f"processor). The paper's, on its machine: {paper}.",
        ]  # fmt: skip


def score_films(
    films: Sequence[Path],
    recipe: Recipe,
    mood: MoodSource,
    folder: Path,
    *,
    model: str | os.PathLike[str] | None = None,
    tagger: Tagger | None = None,
    soundfont: str | os.PathLike[str] | None = None,
    keep: Callable[[str, Soundtrack], object] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Scores:
    """Score films and measure them; those that cannot be scored are left out, with the reason.

    Args:
        films: The films, each once.
        recipe: The composing choices; its seed is also that of the shifts.
        mood: Where each film's mood comes from.
        folder: Where sound and films may lie for a while.
        model: The folder of the model; None takes the embedded one.
        tagger: What tags sound, if KL is to be measured.
        soundfont: See `audio.render`.
        keep: Called with each film's name and its soundtrack.
        progress: Called with each film's name before it is scored.

    Raises:
        InputError: No film can be scored.
        MissingExtraError: What renders sound is missing.

    """
    from emsync import audio, soundfonts

    audio.check_available()
    bank = soundfonts.find(soundfont)
    clock = Clock()
    with clock.stage("loading"):
        session = Session.open(model)
    scored: list[FilmScore] = []
    failed: dict[str, str] = {}
    for path in films:
        if progress is not None:
            progress(str(path))
        try:
            track, film = _scored(path, recipe, mood, session, tagger, folder, bank)
        except InputError as error:
            failed[path.name] = " ".join(str(error).split())
            continue
        scored.append(film)
        if keep is not None:
            keep(path.stem, track)
    if not scored:
        raise InputError(f"no film could be scored ({next(iter(failed.values()), 'there are none')}); give others")
    settings = {
        "recipe": recipe.to_dict(), "mood": None if mood.reader is None else mood.reader.name,
        "tagger": None if tagger is None else tagger.name, "backend": session.decoder.backend, "soundfont": bank.name,
    }  # fmt: skip
    rng = np.random.default_rng(recipe.seed)
    align = tuple(_aligned(i, scored, rng) for i in range(len(scored)))
    apart = tuple(_apart(i, scored) for i in range(len(scored)))
    return Scores(tuple(scored), align, apart, clock.spent["loading"], settings, failed)


def _scored(
    path: Path, recipe: Recipe, mood: MoodSource, session: Session, tagger: Tagger | None, folder: Path, bank: Path
) -> tuple[Soundtrack, FilmScore]:
    """Score one film, and measure it."""
    clock = Clock()
    with clock.stage("watching"):
        scene = analyze(path)
    with clock.stage("mood"):
        felt = mood.read(path, scene, lambda share: None)

    def ended(stage: str, share: float) -> None:
        if share >= 1:
            clock.end(stage)

    clock.begin()
    track = for_cuts(
        scene.duration_s, scene.cuts_s, recipe, mood=felt, session=session, frame_rate=scene.frame_rate, progress=ended
    )
    clock.end("landing")
    track = replace(track, video=path.name, scene=scene)
    ending = path.suffix.lower() if path.suffix.lower() in CONTAINERS else ".mkv"
    sound = folder / "music.wav"
    with clock.stage("rendering"):
        track.render(sound, soundfont=bank, overwrite=True)
    with clock.stage("muxing"):
        mux(path, sound, folder / f"film{ending}", overwrite=True)
    film, first_s = watched(path)
    length_s = film.duration_s
    own = None if first_s is None else replace(film, sound_s=onsets(sound_of(path, first_s, length_s)))
    music_tags = own_tags = None
    if tagger is not None:
        music_tags = tagger.shares(sound_of(sound, 0.0, length_s, tagger.rate_hz))
        if first_s is not None:
            own_tags = tagger.shares(sound_of(path, first_s, length_s, tagger.rate_hz))
    return track, FilmScore(
        replace(film, sound_s=onsets(sound_of(sound, 0.0, length_s))), own, len(track.boundaries_s),
        track.n_within_frame, track.n_within_second, music_tags, own_tags, clock.spent,
    )  # fmt: skip


def _others(place: int, films: Sequence[FilmScore]) -> list[FilmScore]:
    """The other films whose music a film is measured under."""
    steps = range(1, min(len(films) - 1, MOST_OTHERS) + 1)
    return [films[(place + step) % len(films)] for step in steps]


def _aligned(place: int, films: Sequence[FilmScore], rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """AV-Align of one film, by kind and window."""
    film = films[place]
    shifted = [replace(film.music, sound_s=each) for each in shifts_of(film.music, rng)]
    return {
        "music": {w: score(film.music, w) for w in WINDOWS},
        "shifted": {w: _mean([score(each, w) for each in shifted])[0] for w in WINDOWS},
        "others": {
            w: _mean([with_sound_of(film.music, o.music, w) for o in _others(place, films)])[0] for w in WINDOWS
        },
        "own": {w: math.nan if film.own is None else score(film.own, w) for w in WINDOWS},
    }


def _apart(place: int, films: Sequence[FilmScore]) -> dict[str, float]:
    """KL of one film's own sound from its music, and from that of others."""
    own = films[place].own_tags
    if own is None:
        return {"music": math.nan, "others": math.nan}
    kl = [
        divergence(own, film.music_tags)
        for film in (films[place], *_others(place, films))
        if film.music_tags is not None
    ]
    return {"music": kl[0], "others": _mean(kl[1:])[0]}


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its 95 % margin, NaN left out."""
    numbers = [value for value in values if not math.isnan(value)]
    return (float(np.mean(numbers)), margin(numbers)) if numbers else (math.nan, math.nan)


def _pair(spent: Spent) -> tuple[float, float]:
    return spent.wall_s, spent.cpu_s


def _of_paper() -> list[str]:
    """The paper's table."""
    rows: list[Sequence[str | float]] = []
    for data, method, frame, second in PAPER:
        kl = PAPER_KL[method] if data == "EmoMV-C" else math.nan
        place = ("EmoMV-C", "Ads").index(data)
        chords = [by[place] if method == "EMSYNC" else math.nan for by in PAPER_CHORD_ON_CUT.values()]
        rows.append((f"{data}: {method}", frame, second, *chords, kl))
    return table(("", "frame", "1 s", "chords on cuts, frame", "chords on cuts, 1 s", "KL"), rows)
