"""Reading a corpus's files chunk by chunk, in worker processes, each finished chunk kept on disk.

So an interrupted run goes on where it stopped, and a file that brings its reader down costs itself alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.files import atomic_path
from emsync.training.corpus import near_duplicates
from emsync.training.corpus.archive import Song, pack
from emsync.training.corpus.song_files import SourceFile, in_utf8, read_song
from emsync.training.corpus.songs import TOO_LONG, Losses, Refused
from emsync.training.corpus.work_folder import survives, work_through
from emsync.training.mood.curves import Labels, fingerprint, labels, mood_arrays

CRASHED: Final = "crashed the reader"
#: Files a chunk holds: small enough that little is read twice after an interruption.
FILES_PER_CHUNK: Final = 32
#: Another number whenever the same file would give another song, so that old chunks are not taken for new.
_CHUNK_VERSION = 2


@dataclass(frozen=True)
class Chunk:
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
class Entry:
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
class ChunkResult:
    """The songs of one chunk of files, and the reasons of the files without one."""

    songs: list[Entry]
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


def _read_chunk(chunk: Chunk, crashing: frozenset[str] = frozenset()) -> None:
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
            refused.append((file.source, error.reason, in_utf8(str(error))))
        except Exception as error:
            # Whatever a broken file provokes in a reader must not end a run over 100,000 of them.
            refused.append((file.source, f"unexpected {type(error).__name__}", in_utf8(" ".join(str(error).split()))))
        else:
            songs.append(converted.song)
            curves.append(curve)
            losses += converted.losses
            if converted.warnings:
                warned.append((file.source, in_utf8("; ".join(converted.warnings))))
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


def _read_all(chunks: Sequence[Chunk], workers: int, progress: bool) -> None:
    """Read every chunk that is not kept yet; a file that brings a worker down is found out and refused."""
    waiting = [chunk for chunk in chunks if not chunk.cache.is_file()]
    done = sum(len(chunk.files) for chunk in chunks) - sum(len(chunk.files) for chunk in waiting)
    work_through(
        _read_chunk, waiting, workers, progress, "reading", "file", lambda chunk: len(chunk.files), done, _read_warily
    )


def _read_warily(chunk: Chunk) -> None:
    """Read a chunk in a separate process; if it crashes, find the file that crashes it and skip that file."""
    if survives(_read_chunk, chunk):
        return
    alone = {file: Chunk((file,), chunk.min_notes, chunk.work) for file in chunk.files}
    crashing = frozenset(file.source for file, single in alone.items() if not survives(_read_chunk, single))
    _read_chunk(chunk, crashing)


def _load(chunk: Chunk) -> ChunkResult:
    with np.load(chunk.cache, allow_pickle=False) as kept:
        known = json.loads(str(kept["refused"]))
        lengths = np.diff(kept["note_offset"])
        columns = [kept[name] for name in ("song_id", "source", "content", "n_families", "end_step")]
        n_shingles, signatures = kept["n_shingles"], kept["signatures"]
    songs = [
        Entry(
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
    return ChunkResult(
        songs,
        [(s, r, t) for s, r, t in known["refused"]],
        [(s, t) for s, t in known.get("warned", [])],
        Losses(**known["losses"]),
    )


def read_chunks(
    files: Sequence[SourceFile], min_notes: int, work: Path, *, workers: int, progress: bool
) -> list[ChunkResult]:
    """Read every file that is not kept in the folder `work` yet, and give what all of them gave, chunk by chunk."""
    starts = range(0, len(files), FILES_PER_CHUNK)
    chunks = [Chunk(tuple(files[begin : begin + FILES_PER_CHUNK]), min_notes, str(work)) for begin in starts]
    _read_all(chunks, workers, progress)
    return [_load(chunk) for chunk in chunks]
