"""Reading files of a bounded size, and writing files so that nothing is ever half-written."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from emsync.errors import EmsyncError, InputError, OutputError, printable

_IRREGULAR = (
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)
#: What is read at a time from a file that is longer than it says.
_PIECE_BYTES: Final = 2**16
# Without O_NONBLOCK a pipe that takes a file's place between two calls would be waited for.
_READ_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def read_limited(
    path: str | os.PathLike[str],
    max_bytes: int,
    what: str = "file",
    error: type[EmsyncError] = InputError,
    remedy: str = "check the name and its permissions",
) -> bytes:
    """The bytes of a regular file of at most `max_bytes`.

    - what: names the kind of file in the message, such as "MIDI file".
    - error: the exception to raise.
    - remedy: what the user can do about a file that cannot be read.

    Size and kind are checked before anything is read, so a device, a pipe or a huge sparse file costs nothing.
    Raises `error` where the file is missing, unreadable, not a regular file, or larger.
    """
    try:
        _check_regular(path, os.stat(path).st_mode, what, error)
        with open(os.open(path, _READ_FLAGS), "rb") as stream:
            status = os.fstat(stream.fileno())
            _check_regular(path, status.st_mode, what, error)
            if status.st_size > max_bytes:
                raise error(f"{path} has {status.st_size} bytes, over {max_bytes}; is it a {what}? Give a smaller one")
            data = _read_at_most(stream, max_bytes + 1, status.st_size)
    except EmsyncError:
        raise
    except OSError as failure:
        reason = failure.strerror or failure
        raise error(f"{path} cannot be read ({reason}); {remedy}") from failure
    except ValueError as failure:
        raise error(f"{os.fspath(path)!r} is not a name that a file can have ({failure}); check it") from failure
    if len(data) > max_bytes:
        raise error(f"{path} has over {max_bytes} bytes; is it a {what}? Give a smaller one")
    return data


def _read_at_most(stream: BinaryIO, most: int, likely: int) -> bytes:
    """At most `most` bytes of a stream that probably has `likely`: memory is taken for these alone."""
    pieces, left, n_bytes = [], most, likely + 1  # one more, so that the end is seen
    while piece := stream.read(min(n_bytes, left)):
        pieces.append(piece)
        left -= len(piece)
        n_bytes = _PIECE_BYTES  # the file has grown, or says nothing of its size, as in /proc
    return b"".join(pieces)


def _check_regular(path: str | os.PathLike[str], mode: int, what: str, error: type[EmsyncError]) -> None:
    for is_kind, kind in _IRREGULAR:
        if is_kind(mode):
            raise error(f"{path} is {kind}, not a {what}; give the name of a regular file")


def file_hash(path: str | os.PathLike[str], max_bytes: int, what: str, error: type[EmsyncError]) -> str | None:
    """SHA-256 of a file in hexadecimal, None where there is none; the rest as in `read_limited`."""
    return hashlib.sha256(read_limited(path, max_bytes, what, error)).hexdigest() if Path(path).is_file() else None


class TwiceError(ValueError):
    """A JSON object with two fields of one name."""


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of these fields. Raises `TwiceError` for two of one name: Python alone would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise TwiceError(f"has the field '{printable(twice[:40])}' twice; keep one of them")
    return found


def read_json(
    path: str | os.PathLike[str],
    max_bytes: int,
    what: str,
    remedy: str,
    error: type[EmsyncError] = InputError,
) -> Any:
    """The value in a JSON file of at most `max_bytes`.

    Raises `error` for a file that cannot be read, and for what is not JSON: nested too deeply, and numbers with more
    digits than Python reads, included. So is an object with two fields of one name. `remedy` says what the user can do
    about it.
    """
    data = read_limited(path, max_bytes, what, error, remedy)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=distinct)
    except TwiceError as failure:
        raise error(f"{path} {failure}") from failure
    except (ValueError, RecursionError) as failure:
        reason = "it is nested too deeply" if isinstance(failure, RecursionError) else failure
        raise error(f"{path} is not JSON ({reason}); {remedy}") from failure


def check_writable(
    path: str | os.PathLike[str], *, overwrite: bool = True, inputs: Iterable[str | os.PathLike[str] | None] = ()
) -> Path:
    """Refuse early what would fail late, or do harm.

    That is: a missing or read-only folder; a folder's name; a device, a pipe or a link; an existing file, unless
    `overwrite`; and a file that is one of `inputs`. Raises `OutputError` naming the path and the remedy.
    """
    target = Path(path)
    if target.is_symlink():
        raise OutputError(f"{target} is a link; give the name of the file itself, or another name")
    if target.exists() and not target.is_dir() and not target.is_file():
        raise OutputError(f"{target} is not a regular file, and is not replaced; give another name")
    check_not_read(target, inputs)
    if target.is_dir():
        raise OutputError(f"{target} is a folder; give the name of a file in it")
    folder = target.parent
    if not folder.is_dir():
        raise OutputError(f"{folder} is not a folder; make it first, or write elsewhere")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder} cannot be written to; choose another folder")
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists already; give --overwrite to replace it, or another name")
    return target


def check_new(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Raise `OutputError` for a file with a name of its own that exists, and must not be replaced."""
    if Path(path).exists() and not overwrite:
        raise OutputError(f"{path} exists already; give --overwrite to replace it")


def check_not_read(target: Path, inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """Raise `OutputError` for a file or folder to write that is one of `inputs`, by whatever name."""
    for other in inputs:
        if other is not None and target.exists() and Path(other).exists() and target.samefile(other):
            raise OutputError(f"{target} is what is read, and is not replaced; write to another name")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it to `path`, on any failure (Ctrl-C too) remove it.

    The temporary name keeps the suffix of `path`, since some writers choose their format by it.
    Raises `OutputError` when the place cannot be written.
    """
    with atomic_paths([path], overwrite=overwrite) as (temporary,):
        yield temporary


@contextlib.contextmanager
def atomic_paths(paths: Iterable[str | os.PathLike[str]], *, overwrite: bool = True) -> Iterator[list[Path]]:
    """As `atomic_path`, for files that belong together: all are put in place, or none is and what stood there stays.

    A process that is killed while it puts them in place, one by one, leaves some new and some not. That is written
    down beside the first path until it is over: `is_cut_short` says so, and the files may be replaced.
    """
    paths = list(paths)
    again = overwrite or is_cut_short(paths[0])
    targets = [check_writable(path, overwrite=again) for path in paths]
    with contextlib.ExitStack() as stack:
        try:
            temporaries = [stack.enter_context(_temporary(target)) for target in targets]
            yield temporaries
            umask = os.umask(0)
            os.umask(umask)
            for temporary in temporaries:
                temporary.chmod(0o666 & ~umask)
            if len(targets) == 1:
                os.replace(temporaries[0], targets[0])
            else:
                _replace_all(temporaries, targets)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise _not_stored(" and ".join(str(target) for target in targets), error) from error


@contextlib.contextmanager
def storing(path: Path) -> Iterator[None]:
    """Raise `OutputError` where a disk is full, or broken, while a temporary file is written."""
    try:
        yield
    except OSError as error:
        raise _not_stored(str(path), error) from error


def _not_stored(name: str, error: OSError) -> OutputError:
    return OutputError(
        f"{name} could not be written ({error.strerror or error}); free some space or choose another folder"
    )


def is_cut_short(path: str | os.PathLike[str]) -> bool:
    """Whether a process was killed while it put `path`, and what belongs to it, in place (`atomic_paths`)."""
    return _mark(Path(path)).is_file()


def _mark(target: Path) -> Path:
    """What stands beside a file while it and those that belong to it are put in place."""
    name = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # a name with more characters may be too long
    return target.with_name(f".{name}.unfinished")


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """An empty file beside `target`, with its suffix, removed at the end if it is still there."""
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part" + target.suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written to ({error.strerror}); choose another folder") from error
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _replace_all(temporaries: list[Path], targets: list[Path]) -> None:
    """Put files in their places; if one cannot be, all are as before."""
    mark = _mark(targets[0])
    before: list[tuple[Path, Path | None]] = []
    try:
        mark.write_text(f"{targets[0].name} and what belongs to it are not complete: write them again\n", "utf-8")
        for temporary, target in zip(temporaries, targets, strict=True):
            kept = _kept(target) if target.exists() else None
            before.append((target, kept))
            os.replace(temporary, target)
    except BaseException:
        for target, kept in reversed(before):
            if kept is None:
                target.unlink(missing_ok=True)
            else:
                os.replace(kept, target)
                kept.unlink(missing_ok=True)  # it stays where both names are of one file
        mark.unlink(missing_ok=True)
        raise
    for _, kept in before:
        if kept is not None:
            kept.unlink(missing_ok=True)
    mark.unlink()


def _kept(target: Path) -> Path:
    """Another name of a file, under which it outlives being replaced."""
    handle, name = tempfile.mkstemp(prefix=".", suffix=".old" + target.suffix, dir=target.parent)
    os.close(handle)
    kept = Path(name)
    kept.unlink()
    try:
        os.link(target, kept)
    except OSError:  # a file system without hard links
        shutil.copy2(target, kept)
    return kept


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `path` all at once or not at all."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
