"""Writing files so that nothing is ever half-written: to a temporary name beside the target, then renamed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emsync.errors import OutputError


def check_writable(path: str | os.PathLike[str], *, overwrite: bool = True) -> Path:
    """Refuse early what would fail late: a missing or read-only folder, a folder's name, an existing file.

    Raises `OutputError` naming the path and the remedy.
    """
    target = Path(path)
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


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success rename it to `path`, on any failure (Ctrl-C too) remove it.

    The temporary name keeps the suffix of `path`, since some writers choose their format by it.
    Raises `OutputError` when the place cannot be written.
    """
    target = check_writable(path, overwrite=overwrite)
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part" + target.suffix, dir=target.parent)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written to ({error.strerror}); choose another folder") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"{target} could not be written ({error.strerror or error}); free some space or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
    """Write `data` to `path` all at once or not at all."""
    with atomic_path(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)
