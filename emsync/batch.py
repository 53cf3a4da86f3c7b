"""Scoring many films: one model a process, one failing film not stopping the rest, and a report of all.

    results = score_all(find_films(["films/", "trailer.mov"]), "scores", Recipe(seed=7), jobs=2)

A film is done when SONG.mid and its record are both in the output folder and the record has the same recipe. So a run
that was killed continues where it stopped, with `skip_existing`. A process that is killed while it scores a film does
not end the run: the film is tried once more in a fresh process (`workers`), then reported as failed.
"""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from emsync.errors import EmsyncError, InputError, OutputError
from emsync.files import is_cut_short, write_bytes
from emsync.mood_source import MoodSource
from emsync.recipe import Recipe
from emsync.record import Record
from emsync.soundtrack import Backend, Session, Soundtrack, for_video
from emsync.video import DEFAULT_DETECTOR, Detector
from emsync.workers import Crew, Lost, Processes, finished

#: Files of a folder that are taken for films, by their endings.
FILMS: Final = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv"}
)
REPORTS: Final = ("report.csv", "report.json")


@dataclass(frozen=True)
class Scored:
    """The result for one film.

    Attributes:
        film, song: The paths.
        status: "scored", "skipped" (it was done before) or "failed".
        error: Why it failed, in one sentence.
        duration_s: The film's length in seconds.
        cuts: How many cuts were to be met.
        met: How many of them have a chord within a frame. Length and cuts of a skipped film are those of its record.
        spent_s: How long it took, in this run.

    """

    film: str
    song: str
    status: Literal["scored", "skipped", "failed"]
    error: str = ""
    duration_s: float = 0.0
    cuts: int = 0
    met: int = 0
    spent_s: float = 0.0


class Also(Protocol):
    """What is written for each film besides its song and record; it is sent to the processes that score."""

    def files(self, film: Path) -> Sequence[Path]:
        """What there is when a film is done."""

    def check(self, film: Path, song: Path, *, overwrite: bool) -> None:
        """Raise an `EmsyncError` for what could not be written in the end."""

    def write(self, track: Soundtrack, song: Path, film: Path, *, overwrite: bool) -> None:
        """Write the files of one film."""


def find_films(inputs: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Films named directly, and those of folders by their endings, sorted; in the order of the inputs.

    Raises `InputError` for a folder without films, and for a film that is given twice.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in FILMS and each.is_file())
            if not inside:
                raise InputError(f"{path} has no films ({', '.join(sorted(FILMS))}); give another folder")
            found += inside
        else:
            found.append(path)
    seen: dict[str, Path] = {}
    for path in found:
        real = os.path.realpath(path)
        if real in seen:
            raise InputError(f"{path} is given twice; give each film once")
        seen[real] = path
    return found


def shard(films: Sequence[Path], text: str) -> list[Path]:
    """The films of shard K of N, as a scheduler names it: "3/16". Raises `InputError` for anything else."""
    number, _, total = text.partition("/")
    if not (number.isdecimal() and total.isdecimal() and 1 <= int(number) <= int(total) <= 100_000):
        raise InputError(f"the shard {text!r} is not K/N with K from 1 to N; write for example 3/16")
    return [film for i, film in enumerate(films) if i % int(total) == int(number) - 1]


def songs_of(films: Sequence[Path], out: Path) -> list[Path]:
    """Where each film's song goes. Raises `InputError` if two would be one file."""
    songs: dict[Path, Path] = {}
    for film in films:
        song = out / (film.stem + ".mid")
        if song in songs:
            raise InputError(f"{songs[song]} and {film} would both be scored to {song}; rename one")
        songs[song] = film
    return list(songs)


def score_all(
    films: Sequence[Path],
    out: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    mood: MoodSource | None = None,
    model: str | os.PathLike[str] | None = None,
    backend: Backend = "auto",
    jobs: int | None = None,
    ray: str | None = None,
    skip_existing: bool = False,
    overwrite: bool = False,
    detector: Detector = DEFAULT_DETECTOR,
    threshold: float | None = None,
    also: Also | None = None,
    progress: Callable[[Scored, int, int], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> list[Scored]:
    """Score every film into the folder `out`, made if need be, and write report.csv and report.json there.

    Args:
        films: The films, each once.
        out: The folder of the songs.
        recipe: The composing choices, for all films alike.
        mood: The mood of all films; by default each film's own is read.
        model: The folder of the model; None takes the embedded one. Each process loads it once.
        backend: What runs the model.
        jobs: How many processes; None and 1 are this one. With `ray`, how many films at a time; None is one for
            each processor of the cluster.
        ray: The address of a Ray cluster to score the films on; "local" starts one on this machine (`cluster`).
        skip_existing: Leave out films that are done with this recipe.
        overwrite: Replace songs that exist.
        detector: How cuts are found; see `video.analyze`.
        threshold: Its sensitivity.
        also: What else is written for each film, in the process that scores it.
        progress: Called after each film with its result, how many are done, and how many there are.
        warn: Called with a sentence for each process that ended before its film was done.

    Returns the result of each film, in their order. A film that fails does not stop the others.

    Raises:
        InputError: Two films would be one song.
        ModelError: The model cannot be used.
        OutputError: The folder cannot be written.
        MissingExtraError: Ray is wanted, and is not installed.

    """
    recipe, out = recipe or Recipe(), Path(out)
    songs = songs_of(films, out)
    _make_folder(out)
    results: dict[int, Scored] = {}

    def done(place: int, result: Scored) -> None:
        results[place] = result
        if progress:
            progress(result, len(results), len(films))

    waiting: list[Task] = []
    for place, (film, song) in enumerate(zip(films, songs, strict=True)):
        files = [] if also is None else also.files(film)
        record = record_of(song, film, recipe) if skip_existing else None
        if record is not None and all(path.is_file() for path in files):
            done(place, _skipped(film, song, record))
        else:
            replaces = overwrite or skip_existing
            paths = (film, song) if ray is None else (film.absolute(), song.absolute())
            waiting.append(
                Task(place, *paths, replaces, again=replaces or not any(path.exists() for path in (song, *files)))
            )
    one = partial(_score, recipe=recipe, mood=mood, detector=detector, threshold=threshold, also=also)
    begin = partial(_begin, None if model is None else Path(model).absolute(), backend)

    def lost(task: Task, result: Lost) -> None:
        if warn:
            warn(f"the process that scored {films[task.place]} has ended ({result.how}); the film is tried once more")

    for task, scored in _work_through(waiting, one, begin, jobs, ray, lost):
        done(task.place, replace(scored, film=str(films[task.place]), song=str(songs[task.place])))
    write_reports(ordered := [results[place] for place in range(len(films))], out)
    return ordered


def _work_through(
    tasks: list[Task], one: Callable[[Task, bool], Scored], begin: Callable[[], None], jobs: int | None,
    ray: str | None, lost: Callable[[Task, Lost], None],
) -> Iterator[tuple[Task, Scored]]:  # fmt: skip
    """Every task once with its result: scored here, in processes, or on a cluster."""
    if not tasks:
        return
    if ray is not None:
        from emsync.cluster import Cluster

        with Cluster[Task, Scored](ray, one, begin, jobs) as cluster:
            yield from _all(tasks, cluster, jobs or cluster.n_cpus, lost)
    elif jobs is not None and jobs > 1 and len(tasks) > 1:
        with Processes(one, begin) as crew:
            yield from _all(tasks, crew, min(jobs, len(tasks)), lost)
    else:
        begin()
        for task in tasks:
            yield task, one(task, False)


def _all(
    tasks: list[Task], crew: Crew[Task, Scored, Any], n_workers: int, lost: Callable[[Task, Lost], None]
) -> Iterator[tuple[Task, Scored]]:
    for task, result in finished(tasks, crew, n_workers, lost):
        yield task, _lost(task, result.how) if isinstance(result, Lost) else result


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); choose another folder") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise OutputError(f"{out} cannot be written to; choose another folder")


def record_of(song: Path, film: Path, recipe: Recipe) -> Record | None:
    """The record of a film that is done: it and its song both exist, belong together, and are of this recipe."""
    beside = song.with_name(song.name + ".json")
    if not (song.is_file() and beside.is_file()) or is_cut_short(song):
        return None
    try:
        record = Record.read(beside)
    except InputError:
        return None
    return record if record.video == film.name and record.recipe == recipe else None


def _skipped(film: Path, song: Path, record: Record) -> Scored:
    """The result for a film that was done before, from its record."""
    length_s = round(record.duration_s, 3)
    return Scored(str(film), str(song), "skipped", "", length_s, record.n_boundaries, record.n_met)


def write_reports(results: Sequence[Scored], out: Path) -> None:
    """report.csv and report.json: a row a film."""
    rows = [asdict(result) for result in results]
    table = io.StringIO()
    writer = csv.DictWriter(table, list(Scored.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(out / REPORTS[0], table.getvalue().encode("utf-8", "surrogateescape"))
    write_bytes(out / REPORTS[1], (json.dumps(rows, indent=1) + "\n").encode())


#: The model of this process.
_session: list[Session] = []


def _begin(model: str | os.PathLike[str] | None, backend: Backend) -> None:
    """Load the model."""
    _session[:] = [Session.open(model, backend)]


@dataclass(frozen=True)
class Task:
    """One film of a run: its place there, and whether its song may be replaced at first, and `again`."""

    place: int
    film: Path
    song: Path
    overwrite: bool
    again: bool


def _score(
    task: Task, again: bool, *, recipe: Recipe, mood: MoodSource | None, detector: Detector, threshold: float | None,
    also: Also | None,
) -> Scored:  # fmt: skip
    """Score one film; a failure is reported in the result.

    A film that is scored `again` replaces what a process wrote before it was killed.
    """
    begun, film, song = time.monotonic(), str(task.film), str(task.song)
    overwrite = task.again if again else task.overwrite
    try:
        if also is not None:
            also.check(task.film, task.song, overwrite=overwrite)
        track = for_video(
            task.film, recipe, detector=detector, threshold=threshold, mood=mood, session=_session[0],
            output=task.song, overwrite=overwrite,
        )  # fmt: skip
        if also is not None:
            also.write(track, task.song, task.film, overwrite=overwrite)
    except (EmsyncError, OSError, MemoryError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        return Scored(film, song, "failed", text, spent_s=round(time.monotonic() - begun, 2))
    return Scored(
        film, song, "scored", "", round(track.score.duration_s, 3), len(track.boundaries_s), track.n_within_frame,
        round(time.monotonic() - begun, 2),
    )  # fmt: skip


def _lost(task: Task, how: str) -> Scored:
    """The result for a film whose process was killed each time."""
    error = (
        f"{task.film}: the process that scored it ended before it was done, twice ({how}); "
        "if memory was short, give fewer --jobs, or cut the film into parts"
    )
    return Scored(str(task.film), str(task.song), "failed", error)
