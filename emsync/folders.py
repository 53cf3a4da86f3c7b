"""Writing folders so that none is ever half-written: under a temporary name, then put in the target's place."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from emsync.errors import OutputError

FREE_SPACE = "free some space or choose another folder"


def check_replaceable(folder: Path, mark: str, kind: str) -> None:
    """Refuse to replace a folder that is not ours: it may be missing, empty, or hold the file `mark`.

    Raises `OutputError`, which calls the expected folder `kind`.
    """
    if folder.exists() and not (folder.is_dir() and ((folder / mark).is_file() or not any(folder.iterdir()))):
        raise OutputError(f"{folder} exists and is not {kind}; move it away, or choose another folder")


@contextlib.contextmanager
def atomic_folder(target: str | os.PathLike[str], *, remedy: str = FREE_SPACE) -> Iterator[Path]:
    """Yield a new folder beside `target`; on success it takes the target's place, on any failure it is removed.

    The target is whole at every moment, even if the program is killed. The new folder and its files get the
    permissions that the umask gives. Check first that the target may be replaced (`check_replaceable`).

    Args:
        target: The folder to write. Its parents are made.
        remedy: What the user should do, for the error message.

    Raises:
        OutputError: Something cannot be written.

    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise _unwritten(target, error, remedy) from error
    try:
        yield partial
        _publish(partial)
        replace_folder(partial, target)
    except OutputError:
        raise
    except OSError as error:
        raise _unwritten(target, error, remedy) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _unwritten(target: Path, error: OSError, remedy: str) -> OutputError:
    return OutputError(f"{target} cannot be written ({error.strerror or error}); {remedy}")


def _publish(folder: Path) -> None:
    """Give a folder made by mkdtemp, and its files, the permissions that the umask gives."""
    umask = os.umask(0)
    os.umask(umask)
    for place in (folder, *folder.rglob("*")):
        place.chmod((0o777 if place.is_dir() else 0o666) & ~umask)


def replace_folder(new: Path, target: Path) -> None:
    """Replace folder `target` by `new`. The target is complete at every moment; on failure it stays as it was."""
    if not target.exists():
        new.rename(target)
    elif _exchange(new, target):
        shutil.rmtree(new, ignore_errors=True)
    else:  # no such call on this system: the old folder is kept aside until the new one is in place
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent)) / target.name
        try:
            target.rename(aside)
            new.rename(target)
        except BaseException:
            if not target.exists() and aside.exists():
                aside.rename(target)
            raise
        finally:
            if target.exists():
                shutil.rmtree(aside.parent, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders' names in one step, so that a kill finds both in place; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2  # Linux
    except (AttributeError, OSError, TypeError):
        return False
    at_cwd, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), swap) == 0)
