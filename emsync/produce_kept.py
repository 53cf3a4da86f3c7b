"""What a run of `emsync.produce` keeps beside its output until it is done, so that a killed run can go on.

    kept = Kept.opened(Path("song.wav"), plan)      # .song.wav.parts/
    kept.load(3); kept.save(3, codes)
    kept.remove()

The folder holds plan.json, which says what is being made, and one array a window. A folder of another plan is emptied;
one with files of somebody else is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync.errors import EmsyncError, OutputError
from emsync.files import read_json, read_limited, write_bytes

PLAN: Final = "plan.json"
_MAX_BYTES: Final = 1 << 30
_MAX_PLAN_BYTES: Final = 1 << 24
_OURS: Final = re.compile(r"\d{5}\.npy|plan\.json|\w+\.raw|\..*\.part.*")


@dataclass(frozen=True)
class KeptFolder:
    """The folder of a run."""

    path: Path

    @classmethod
    def opened(cls, output: Path, plan: dict[str, Any]) -> KeptFolder:
        """The folder for an output; what is there of the same plan stays. Raises `OutputError`."""
        path = output.with_name(f".{output.name}.parts")
        made = cls(path)
        plan = json.loads(json.dumps(plan))
        try:
            if path.is_dir() and not path.is_symlink():
                if not all(_OURS.fullmatch(each.name) for each in path.iterdir()):
                    raise OutputError(f"{path} holds files of somebody else; move it away, or write to another name")
                if made._plan() == plan:
                    return made
                shutil.rmtree(path)
            path.mkdir()
            write_bytes(path / PLAN, (json.dumps(plan, indent=1) + "\n").encode())
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(
                f"{path} cannot be written ({error.strerror or error}); free some space or write elsewhere"
            ) from error
        return made

    def _plan(self) -> Any:
        try:
            return read_json(self.path / PLAN, _MAX_PLAN_BYTES, "plan", "leave it")
        except EmsyncError:
            return None

    def load(self, index: int) -> np.ndarray | None:
        """The array of a window; None if it is not there or was not written to its end."""
        place = self._place(index)
        if not place.is_file():
            return None
        try:
            size = min(place.stat().st_size, _MAX_BYTES)  # a reader takes as much memory as it may read
            found: np.ndarray = np.load(io.BytesIO(read_limited(place, size, "window")), allow_pickle=False)
            return found
        except (EmsyncError, OSError, ValueError, EOFError):
            return None

    def save(self, index: int, array: np.ndarray) -> None:
        """Keep the array of a window. Raises `OutputError`."""
        data = io.BytesIO()
        np.save(data, array, allow_pickle=False)
        write_bytes(self._place(index), data.getvalue())

    def _place(self, index: int) -> Path:
        return self.path / f"{index:05d}.npy"

    def count(self, n: int) -> int:
        """How many of the first windows, of `n`, are there."""
        return next((i for i in range(n) if not self._place(i).is_file()), n)

    def remove_sound(self) -> None:
        """Delete what is made anew from the arrays, which takes most of the space: on a full disk, it filled it."""
        for path in self.path.glob("*.raw"):
            with contextlib.suppress(OSError):
                path.unlink()

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.path, ignore_errors=True)
