"""The files a corpus is built of: found, and each brought to one song."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from emsync import midi
from emsync.errors import InputError
from emsync.files import read_limited
from emsync.training.corpus.pianorolls import MAX_PIANOROLL_BYTES, read_pianoroll
from emsync.training.corpus.songs import UNREADABLE_MIDI, UNREADABLE_PIANOROLL, Converted, Refused, convert_score

MIDI_SUFFIXES: Final = (".mid", ".midi", ".kar", ".rmi")
PIANOROLL_SUFFIX: Final = ".npz"
SUFFIXES: Final = (*MIDI_SUFFIXES, PIANOROLL_SUFFIX)
#: Fewer notes are a jingle, a test or a leftover.
MIN_NOTES: Final = 32


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
            _remember(found, SourceFile(in_utf8(top.name), str(top)))
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
                            found, SourceFile(in_utf8((name / place / each).as_posix()), os.path.join(folder, each))
                        )
        else:
            raise InputError(f"{top} does not exist; give a folder or a {', '.join(SUFFIXES)} file")
    return sorted(found.values())


def _remember(found: dict[str, SourceFile], file: SourceFile) -> None:
    real = os.path.realpath(file.path)
    found[real] = min(found.get(real, file), file)


def in_utf8(text: str) -> str:
    """`text` without what UTF-8 cannot hold: file names may be any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def read_song(path: str | os.PathLike[str], *, source: str = "", min_notes: int = MIN_NOTES) -> Converted:
    """Any file a corpus is built of, to a song; `song_id` is the md5 of its bytes.

    Raises `Refused`, with the reason.
    """
    file = Path(path)
    is_pianoroll = file.suffix.lower() == PIANOROLL_SUFFIX
    try:
        what, limit = ("pianoroll", MAX_PIANOROLL_BYTES) if is_pianoroll else ("MIDI file", midi.MAX_BYTES)
        data = read_limited(file, limit, what)
        song_id = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if is_pianoroll:
            return read_pianoroll(file, song_id=song_id, source=source, min_notes=min_notes)
        score = midi.from_bytes(data, name=file.name)
    except InputError as error:
        if isinstance(error, Refused):
            raise
        reason = UNREADABLE_PIANOROLL if is_pianoroll else UNREADABLE_MIDI
        # The file's name is enough: reports should be the same wherever the files are.
        raise Refused(reason, " ".join(str(error).replace(str(file), file.name).split())) from error
    converted = convert_score(score, song_id=song_id, source=source, min_notes=min_notes)
    return replace(converted, warnings=score.warnings)
