"""NumPy `.npz` files from anywhere, read within bounds: what a file claims is checked before memory is taken for it."""

from __future__ import annotations

import contextlib
import io
import lzma
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np

#: What a damaged file can provoke in zip, in its decompressors and in NumPy. The errors for a zip of a later version
#: and for an encrypted one are a `RuntimeError`.
DAMAGE: Final = (
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    RuntimeError,
    ValueError,
)
_MAX_MESSAGE: Final = 120
_HEADER_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def member_names(path: str | os.PathLike[str]) -> frozenset[str] | None:
    """The names of a zip's members; None for a file that is not a zip, or one whose members cannot be listed."""
    try:
        with zipfile.ZipFile(path) as zipped:
            return frozenset(zipped.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None


@dataclass(frozen=True)
class BoundedNpz:
    """The members of an open `.npz` file, by name; `open_npz` makes one."""

    loaded: np.lib.npyio.NpzFile
    zipped: zipfile.ZipFile

    @property
    def names(self) -> frozenset[str]:
        """Arrays without `.npy`, other members as they are called."""
        return frozenset(self.loaded.files)

    def __contains__(self, name: str) -> bool:
        return name in self.loaded

    def __getitem__(self, name: str) -> Any:
        """An array, or the bytes of a member of another kind.

        Raises one of `DAMAGE`: `ValueError`, before memory is taken, for an array that claims more bytes than its
        member holds.
        """
        members = self.zipped.NameToInfo
        _check_claim(self.zipped, members[name] if name in members else members[f"{name}.npy"])
        return self.loaded[name]


def _check_claim(zipped: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse an array whose header claims more than its member holds; members of other kinds pass."""
    with zipped.open(member) as stream:
        magic = stream.read(np.lib.format.MAGIC_LEN)
        if not magic.startswith(np.lib.format.MAGIC_PREFIX):
            return
        version = np.lib.format.read_magic(io.BytesIO(magic))
        if version not in _HEADER_READERS:
            raise ValueError(f"{member.filename} has npy version {version[0]}.{version[1]}, not 1.0 or 2.0")
        shape, _, dtype = _HEADER_READERS[version](stream)
    if any(not 0 <= length <= member.file_size for length in shape):
        raise ValueError(f"{member.filename} claims the shape {shape} and has {member.file_size} bytes")
    # An item of no bytes counts as one: a long row of empty texts would grow as soon as it is converted.
    claimed = math.prod(shape) * max(dtype.itemsize, 1)
    if not dtype.hasobject and claimed > member.file_size:  # NumPy refuses objects itself
        raise ValueError(f"{member.filename} claims {claimed} bytes and has {member.file_size}")


@contextlib.contextmanager
def open_npz(stream: BinaryIO, max_bytes: int) -> Iterator[BoundedNpz]:
    """Open the `.npz` file in a seekable stream, which must unpack to `max_bytes` or less.

    A stream, not a name: given a name, `np.load` leaves a file open that turns out to be no zip.

    Raises one of `DAMAGE`: `ValueError` for a single array, and for a file that says it unpacks to more.
    """
    magic = stream.read(len(np.lib.format.MAGIC_PREFIX))
    stream.seek(0)
    if magic == np.lib.format.MAGIC_PREFIX:
        raise ValueError("a single array")
    with np.load(stream, allow_pickle=False) as loaded:
        zipped = loaded.zip
        assert zipped is not None  # it is closed at the end only
        unpacked = sum(each.file_size for each in zipped.infolist())
        if unpacked > max_bytes:
            raise ValueError(f"{unpacked} bytes when unpacked, over {max_bytes}")
        yield BoundedNpz(loaded, zipped)


def one_line(error: BaseException) -> str:
    """What an error says, or else its kind, on one line of at most 120 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_MESSAGE else text[: _MAX_MESSAGE - 3] + "..."
