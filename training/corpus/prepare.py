"""A corpus: folders of MIDI and Lakh Pianoroll Dataset files to training and validation archives.

The way
1. `find` lists the files; they are read in chunks, by worker processes, and each finished chunk is kept in `OUT/.work`,
   so that an interrupted run goes on where it stopped.
2. Exact duplicates (the same notes, whatever the file) become one song, near-duplicates (`near_duplicates`) one group;
   of a group the best song is kept: most families, then longest.
3. Groups are split by a hash: near-duplicates stay together, and a group does not move when other songs are added.
4. Archives are written beside each other and renamed at the end, the report last.

Songs get their mood curves (`mood.curves`) where they are read. Archives as inputs are given theirs and are otherwise
left as they are (`label_archives`).

The result depends on the files, their places under the inputs and the options, not on the number of workers, on the
order of the inputs, or on interruptions.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import CorpusError, InputError
from emsync.files import atomic_path
from emsync.training.corpus import near_duplicates
from emsync.training.corpus.archive import MOOD_SCHEMA, SCHEMA, Archive, Song, pack, write_archive
from emsync.training.corpus.label_archives import archives_among, kept_moods, label_archives
from emsync.training.corpus.report import MOST_EXAMPLES, Examples, Labelled, Report
from emsync.training.corpus.songs import MIN_NOTES, SUFFIXES, TOO_LONG, Losses, Refused, read_song
from emsync.training.corpus.work_folder import VALID, give_up, open_output, publish, survives, work_through
from emsync.training.mood.curves import Labels, fingerprint, labels, mood_arrays

VALID_SHARE: Final = 0.05
SONGS_PER_ARCHIVE: Final = 6000
CRASHED: Final = "crashed the reader"
#: Files a chunk holds: small enough that little is read twice after an interruption.
FILES_PER_CHUNK: Final = 32
#: Another number whenever the same file would give another song, so that old chunks are not taken for new.
_CHUNK_VERSION = 2


@dataclass(frozen=True, order=True)
class SourceFile:
    """A file to read: `source` is its place under the input folder's name, with `/`, the same on every machine."""

    source: str
    path: str


def find(
    inputs: Iterable[str | os.PathLike[str]], *, leave_out: str | os.PathLike[str] | None = None
) -> list[SourceFile]:
    """The MIDI and `.npz` files of files and folders, each once, in the order of their sources.

    Hidden files and folders are passed over, and so is the folder `leave_out`.
    Raises `InputError` for an input that is missing or of another kind.
    """
    found: dict[str, SourceFile] = {}  # by real path, so that a folder given twice counts once
    skipped = os.path.realpath(leave_out) if leave_out is not None else None
    for given in inputs:
        if not os.fspath(given):
            raise InputError("the name of an input is empty; give a folder, such as . for this one")
        top = Path(given)
        name = Path(top.name or top.resolve().name)
        if top.is_file():
            if top.suffix.lower() not in SUFFIXES:
                raise InputError(f"{top} is neither a folder nor a {', '.join(SUFFIXES)} file; give one of these")
            _remember(found, SourceFile(_printable(top.name), str(top)))
        elif top.is_dir():
            for folder, folders, files in os.walk(top):
                folders[:] = [
                    each
                    for each in folders
                    if not each.startswith(".") and os.path.realpath(os.path.join(folder, each)) != skipped
                ]
                place = Path(folder).relative_to(top)
                for each in files:
                    if not each.startswith(".") and Path(each).suffix.lower() in SUFFIXES:
                        _remember(
                            found, SourceFile(_printable((name / place / each).as_posix()), os.path.join(folder, each))
                        )
        else:
            raise InputError(f"{top} does not exist; give a folder or a {', '.join(SUFFIXES)} file")
    return sorted(found.values())


def _printable(text: str) -> str:
    """`text` without what UTF-8 cannot hold: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _remember(found: dict[str, SourceFile], file: SourceFile) -> None:
    real = os.path.realpath(file.path)
    found[real] = min(found.get(real, file), file)


def prepare(
    inputs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    *,
    workers: int | None = None,
    valid_share: float = VALID_SHARE,
    songs_per_archive: int = SONGS_PER_ARCHIVE,
    min_notes: int = MIN_NOTES,
    threshold: float = near_duplicates.THRESHOLD,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = True,
    progress: bool = False,
) -> Report | Labelled:
    """Write `train-00.npz` ..., `valid.npz` and `report.json` into `output_dir`, made if need be.

    Inputs that are archives already are given mood curves and written under their own names; nothing else is done to
    them, so the options about songs must be left alone.

    workers: processes, by default one a core; with 1 everything happens in this process. valid_share: of groups of
    near-duplicates, 0..0.5. threshold: similarity from which songs are near-duplicates
    (`near_duplicates.groups`); 1 or less. resume: take over what an interrupted run left in `output_dir/.work`; False
    begins anew.

    Files that cannot be read are counted in the report. Raises `InputError` for options and inputs that cannot be used,
    `CorpusError` when no song is left, `OutputError` when the folder cannot be written or holds a corpus already.
    """
    workers = workers if workers is not None else os.cpu_count() or 1
    for name, value, low, high in (
        ("number of workers", workers, 1, 1024),
        ("validation share", valid_share, 0, 0.5),
        ("number of songs an archive", songs_per_archive, 1, 10**9),
        ("least number of notes", min_notes, 1, 10**9),
    ):
        if not low <= value <= high:
            raise InputError(f"a {name} of {value} is outside {low} to {high}; give one in between")
    if not 0 < threshold <= 1:
        raise InputError(
            f"a similarity threshold of {threshold} is not over 0 and up to 1; "
            f"{near_duplicates.THRESHOLD} is the default"
        )
    output = Path(output_dir)
    files = find(inputs, leave_out=output)
    if not files:
        places = ", ".join(str(each) for each in inputs) or "nothing"
        raise CorpusError(f"no {', '.join(SUFFIXES)} files in {places}; give folders that hold some")

    archives = archives_among([file.path for file in files])
    if archives:
        for name, value, default in (
            ("--valid-share", valid_share, VALID_SHARE),
            ("--songs-per-archive", songs_per_archive, SONGS_PER_ARCHIVE),
            ("--min-notes", min_notes, MIN_NOTES),
            ("--seed", seed, 0),
        ):
            if value != default:
                raise InputError(f"{name} {value} is for song files, and {archives[0]} is an archive; leave it out")
        return label_archives(archives, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress)

    work = open_output(output, (VALID, "train-00.npz"), overwrite=overwrite, resume=resume)
    starts = range(0, len(files), FILES_PER_CHUNK)
    chunks = [_Chunk(tuple(files[begin : begin + FILES_PER_CHUNK]), min_notes, str(work)) for begin in starts]
    _read_all(chunks, workers, progress)
    results = [_load(chunk) for chunk in chunks]
    refused = sorted(itertools.chain.from_iterable(each.refused for each in results))
    warned = sorted(itertools.chain.from_iterable(each.warned for each in results))
    songs = [each for result in results for each in result.songs]
    if not songs:
        give_up(output)
        source, reason, text = refused[0]
        if len(files) == 1:
            raise CorpusError(text)
        reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(each[1] for each in refused).most_common())
        raise CorpusError(f"none of the {len(files)} files gave a song ({reasons}; such as {source}: {text})")

    chosen, counts = _choose(songs, threshold)
    train, valid = _split(chosen, valid_share, seed)
    parts = {VALID: valid} if valid else {}
    n_archives = -(-len(train) // songs_per_archive)
    for number in range(n_archives):
        begin, end = (each * len(train) // n_archives for each in (number, number + 1))
        parts[f"train-{number:02d}.npz"] = train[begin:end]
    plans = [_Plan(str(work / name), tuple((each.chunk, each.row) for each in part)) for name, part in parts.items()]
    work_through(_write, plans, workers, progress, "writing", "archive", lambda plan: 1)

    grouped: dict[str, list[tuple[str, str]]] = {}
    for source, reason, text in refused:
        grouped.setdefault(reason, []).append((source, text))
    report = Report(
        files=len(files),
        read=len(songs),
        kept=len(chosen),
        train=len(train),
        valid=len(valid),
        duplicates=counts.duplicates,
        near_duplicates=counts.near_duplicates,
        refused={reason: Examples(len(each), tuple(each[:MOST_EXAMPLES])) for reason, each in sorted(grouped.items())},
        warned=Examples(len(warned), tuple(warned[:MOST_EXAMPLES])),
        notes=sum(each.song.n_notes for each in chosen),
        losses=sum((each.losses for each in results), Losses()),
        moods=kept_moods([plan.path for plan in plans]),
        archives=tuple(sorted(parts)),
        options={
            "valid_share": valid_share,
            "songs_per_archive": songs_per_archive,
            "min_notes": min_notes,
            "threshold": threshold,
            "seed": seed,
        },
    )
    publish(output, report.archives, report.to_json())
    return report


# Reading, chunk by chunk.


@dataclass(frozen=True)
class _Chunk:
    """Files to read together, and where the result is kept. The name changes with anything that changes the result."""

    files: tuple[SourceFile, ...]
    min_notes: int
    work: str

    @functools.cached_property
    def cache(self) -> Path:
        digest = hashlib.sha256(f"{_CHUNK_VERSION} {fingerprint()} {self.min_notes}".encode())
        for file in self.files:
            try:
                stat = os.stat(file.path)
                digest.update(f"\0{file.source}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
            except OSError:  # gone or unreadable: reading will refuse it
                digest.update(f"\0{file.source}\0absent".encode())
        return Path(self.work) / f"chunk-{digest.hexdigest()[:24]}.npz"


@dataclass(frozen=True, eq=False)
class _Entry:
    """What choosing needs to know of a song; `chunk` and `row` say where its notes are kept."""

    song_id: str
    source: str
    content: str
    n_families: int
    end_step: int
    n_notes: int
    n_shingles: int
    signature: npt.NDArray[np.uint32]
    chunk: str
    row: int


@dataclass(frozen=True, eq=False)
class _ChunkResult:
    songs: list[_Entry]
    refused: list[tuple[str, str, str]]  # source, reason, text
    warned: list[tuple[str, str]]  # source, text
    losses: Losses


def content_hash(song: Song) -> str:
    """Equal for songs of the same notes, transposition kept; velocity, tempo and leading silence do not count."""
    first = int(song.start_step.min(initial=2**62))
    digest = hashlib.sha256()
    for array in (song.family, song.pitch, (song.start_step - first).astype("<i8"), song.duration_step.astype("<u2")):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read_chunk(chunk: _Chunk, crashing: frozenset[str] = frozenset()) -> None:
    """Read a chunk's files and keep what they gave; files named in `crashing` are refused unread."""
    songs: list[Song] = []
    curves: list[Labels] = []
    refused: list[tuple[str, str, str]] = []
    warned: list[tuple[str, str]] = []
    losses = Losses()
    for file in chunk.files:
        try:
            if file.source in crashing:
                raise Refused(
                    CRASHED, f"reading {Path(file.path).name} ended the process; open and save it with another program"
                )
            converted = read_song(file.path, source=file.source, min_notes=chunk.min_notes)
            curve = _mood(converted.song, Path(file.path).name)
        except Refused as error:
            refused.append((file.source, error.reason, _printable(str(error))))
        except Exception as error:
            # Whatever a broken file provokes in a reader must not end a run over 100,000 of them.
            refused.append(
                (file.source, f"unexpected {type(error).__name__}", _printable(" ".join(str(error).split())))
            )
        else:
            songs.append(converted.song)
            curves.append(curve)
            losses += converted.losses
            if converted.warnings:
                warned.append((file.source, _printable("; ".join(converted.warnings))))
    hashed = [near_duplicates.shingles(song) for song in songs]
    signatures = np.array([near_duplicates.signature(each) for each in hashed], dtype=np.uint32)
    with atomic_path(chunk.cache) as temporary:
        # Not compressed: it is read often and removed soon.
        np.savez(
            temporary,
            allow_pickle=False,
            signatures=signatures.reshape(len(songs), near_duplicates.SIGNATURE_SIZE),
            n_shingles=np.array([len(each) for each in hashed], dtype=np.int64),
            content=np.array([content_hash(song) for song in songs], dtype=np.str_),
            n_families=np.array([song.n_families for song in songs], dtype=np.int64),
            end_step=np.array([song.end_step for song in songs], dtype=np.int64),
            refused=np.array(json.dumps({"refused": refused, "warned": warned, "losses": asdict(losses)})),
            **pack(songs).arrays,
            **mood_arrays(curves),
        )


def _mood(song: Song, name: str) -> Labels:
    try:
        return labels(song)
    except InputError as error:
        raise Refused(TOO_LONG, f"{name}: {error}") from error


def _read_all(chunks: Sequence[_Chunk], workers: int, progress: bool) -> None:
    """Read every chunk that is not kept yet; a file that brings a worker down is found out and refused."""
    total = sum(len(chunk.files) for chunk in chunks)
    waiting = [chunk for chunk in chunks if not chunk.cache.is_file()]
    while waiting:
        done = total - sum(len(chunk.files) for chunk in waiting)
        try:
            work_through(
                _read_chunk, waiting, workers, progress, "reading", "file", lambda chunk: len(chunk.files), done
            )
            return
        except BrokenProcessPool:
            waiting = [chunk for chunk in waiting if not chunk.cache.is_file()]
        # Chunks are begun in order, so what brought the worker down is among the first that are left.
        for chunk in waiting[: 3 * workers]:
            _read_warily(chunk)
        waiting = waiting[3 * workers :]


def _read_warily(chunk: _Chunk) -> None:
    """Read a chunk in a process of its own; where that dies, find out which file it dies of and do without."""
    if survives(_read_chunk, chunk):
        return
    alone = {file: _Chunk((file,), chunk.min_notes, chunk.work) for file in chunk.files}
    crashing = frozenset(file.source for file, single in alone.items() if not survives(_read_chunk, single))
    _read_chunk(chunk, crashing)


def _load(chunk: _Chunk) -> _ChunkResult:
    with np.load(chunk.cache, allow_pickle=False) as kept:
        known = json.loads(str(kept["refused"]))
        lengths = np.diff(kept["note_offset"])
        columns = [kept[name] for name in ("song_id", "source", "content", "n_families", "end_step")]
        n_shingles, signatures = kept["n_shingles"], kept["signatures"]
    songs = [
        _Entry(
            str(i),
            str(s),
            str(c),
            int(f),
            int(e),
            int(lengths[row]),
            int(n_shingles[row]),
            signatures[row],
            str(chunk.cache),
            row,
        )
        for row, (i, s, c, f, e) in enumerate(zip(*columns, strict=True))
    ]
    return _ChunkResult(
        songs,
        [(s, r, t) for s, r, t in known["refused"]],
        [(s, t) for s, t in known.get("warned", [])],
        Losses(**known["losses"]),
    )


# Choosing and splitting.


@dataclass(frozen=True, eq=False)
class _Chosen:
    """A kept song, and the contents of all songs of its group."""

    song: _Entry
    contents: tuple[str, ...]


@dataclass(frozen=True)
class _Counts:
    duplicates: int
    near_duplicates: int


def _choose(songs: Sequence[_Entry], threshold: float) -> tuple[list[_Chosen], _Counts]:
    """One song of every group of near-duplicates, in the order of their ids."""
    distinct: dict[str, _Entry] = {}
    for song in songs:
        other = distinct.get(song.content)
        if other is None or (song.song_id, song.source) < (other.song_id, other.source):
            distinct[song.content] = song
    entries = sorted(distinct.values(), key=lambda each: (each.song_id, each.source))
    labels = near_duplicates.groups(
        np.array([each.signature for each in entries], dtype=np.uint32),
        np.array([each.n_shingles for each in entries], dtype=np.int64),
        threshold=threshold,
    )
    members: dict[int, list[_Entry]] = {}
    for label, entry in zip(labels.tolist(), entries, strict=True):
        members.setdefault(label, []).append(entry)
    chosen = [
        _Chosen(
            # The first of equals is the one with the least id: `max` keeps it.
            max(group, key=lambda each: (each.n_families, each.end_step, each.n_notes)),
            tuple(each.content for each in group),
        )
        for group in members.values()
    ]
    chosen.sort(key=lambda each: each.song.song_id)
    return chosen, _Counts(len(songs) - len(entries), len(entries) - len(chosen))


def _unit(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on `text` alone, and on the seed."""
    return int.from_bytes(hashlib.sha256(f"{seed} {text}".encode()).digest()[:8], "big") / 2**64


def _split(chosen: Sequence[_Chosen], valid_share: float, seed: int) -> tuple[list[_Entry], list[_Entry]]:
    """Training and validation songs, each in random order.

    A group's place is the least hash of its songs' contents: a song added elsewhere does not move it, and a new
    near-duplicate can move it to validation (with the probability `valid_share`) but never out of it. Where there are
    two songs or more, neither side is left empty, which in a corpus of a few songs may move one.
    """
    place = {each.song.content: min(_unit(seed, content) for content in each.contents) for each in chosen}
    ordered = sorted((each.song for each in chosen), key=lambda each: (place[each.content], each.content))
    wanted = sum(place[each.content] < valid_share for each in ordered)
    least = 1 if valid_share > 0 and len(ordered) > 1 else 0
    n_valid = min(max(wanted, least), len(ordered) - 1)

    def shuffled(songs: list[_Entry]) -> list[_Entry]:
        return sorted(songs, key=lambda each: (_unit(seed, "order " + each.content), each.content))

    return shuffled(ordered[n_valid:]), shuffled(ordered[:n_valid])


# Writing.


@dataclass(frozen=True)
class _Plan:
    """An archive to write, and where its songs are kept, in order: chunk's file and row."""

    path: str
    places: tuple[tuple[str, int], ...]


def _write(plan: _Plan) -> None:
    """Gather the songs of one archive from the chunks, opening each chunk once, and write it."""
    ranks: dict[str, list[int]] = {}
    for rank, (chunk, _) in enumerate(plan.places):
        ranks.setdefault(chunk, []).append(rank)
    gathered: dict[int, tuple[Song, Labels]] = {}
    for chunk, mine in ranks.items():
        with np.load(chunk, allow_pickle=False) as kept:
            archive = Archive({name: kept[name] for name in (*SCHEMA, *MOOD_SCHEMA)})
        for rank in mine:
            row = plan.places[rank][1]
            gathered[rank] = archive[row], archive.mood(row)
    songs, curves = zip(*(gathered[rank] for rank in range(len(gathered))), strict=True)
    write_archive(plan.path, Archive({**pack(songs).arrays, **mood_arrays(curves)}))
