"""What was fitted once and is kept as JSON: the mood regressors and the mood scale."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from emsync.errors import ModelError
from emsync.files import read_json, write_bytes

#: The shipped ones have 6 kB.
MAX_BYTES: Final = 1 << 20
FORMAT: Final = 1
_REMEDY: Final = "fit it again"

T = TypeVar("T")


def read_fitted(path: str | os.PathLike[str], what: str, make: Callable[[Any], T]) -> T:
    """Read the JSON object at `path`, which has the key "format", and pass it to `make`.

    Args:
        path: The file, of at most 1 MiB.
        what: The kind of object, for messages, such as "mood scale".
        make: Called with the object. Its `KeyError`, `OverflowError`, `TypeError` and `ValueError` mean a wrong file.

    Raises:
        ModelError: The file is missing, too large, no JSON, of another format or no `what`.

    """
    content = read_json(path, MAX_BYTES, what, _REMEDY, ModelError)
    try:
        if content["format"] != FORMAT:
            raise ModelError(f"{path} has format {content['format']}, not {FORMAT}; {_REMEDY}")
        return make(content)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is no {what} ({error}); {_REMEDY}") from error


def write_fitted(path: str | os.PathLike[str], content: Mapping[str, Any]) -> None:
    """Write an object that `read_fitted` reads; "format" comes first."""
    write_bytes(path, (json.dumps({"format": FORMAT, **content}, indent=1) + "\n").encode())
