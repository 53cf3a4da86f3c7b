"""Folders of adapters: what was trained beside a frozen model, in two files.

    adapter.json            format, kind, what it is for, and how it was trained
    adapter.safetensors     its weights

Reading needs NumPy alone, so that an adapter works where torch is not installed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.checkpoint import weights_header
from emsync.errors import ModelError
from emsync.files import read_json, read_limited, write_bytes

ABOUT, WEIGHTS = "adapter.json", "adapter.safetensors"
_FORMAT: Final = 1
_MAX_ABOUT_BYTES: Final = 1 << 20
_MAX_WEIGHTS_BYTES: Final = 256 << 20
_TYPES: Final[Mapping[str, npt.DTypeLike]] = {"F32": np.float32, "F16": np.float16}

#: The kinds of adapters: of a music model by mood, and of the composer by style.
MUSICGEN_MOOD, STYLE = "musicgen-mood", "style-lora"
#: What makes and what takes an adapter of each kind.
_KINDS: Final[Mapping[str, tuple[str, str]]] = {
    MUSICGEN_MOOD: ("emsync train-adapter", "emsync produce --adapter"),
    STYLE: ("emsync train --adapter lora", "emsync compose --style"),
}

FloatArray = npt.NDArray[np.float32]


def write_adapter(folder: Path, kind: str, about: Mapping[str, Any], weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write both files into `folder`, which exists. Raises `OutputError`."""
    from safetensors.numpy import save

    (folder / ABOUT).unlink(missing_ok=True)
    write_bytes(folder / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in weights.items()}))
    plain = {"format": _FORMAT, "kind": kind, **about}
    write_bytes(folder / ABOUT, (json.dumps(plain, indent=1) + "\n").encode())


def read_adapter(folder: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, FloatArray], str]:
    """What adapter.json says, the weights as float32, and a digest of them.

    Raises `ModelError` for a folder that is missing or incomplete, and for an adapter of another kind.
    """
    place, (maker, _) = Path(folder), _KINDS[kind]
    remedy = f"give a folder of {maker}"
    if not place.is_dir():
        raise ModelError(f"{place} is not a folder; {remedy}")
    about = read_json(place / ABOUT, _MAX_ABOUT_BYTES, "adapter", remedy, ModelError)
    found = str(about.get("kind")) if isinstance(about, dict) else ""
    if not isinstance(about, dict) or about.get("format") != _FORMAT or found not in _KINDS:
        raise ModelError(f"{place} is not an adapter of this version of emsync; {remedy}")
    if found != kind:
        raise ModelError(f"{place} is an adapter of {_KINDS[found][0]}, for {_KINDS[found][1]}; here {remedy}")
    data = read_limited(place / WEIGHTS, _MAX_WEIGHTS_BYTES, "adapter", ModelError)
    weights: dict[str, FloatArray] = {}
    for name, (dtype, shape, offset, length) in weights_header(place / WEIGHTS).tensors.items():
        size = np.dtype(_TYPES.get(dtype, np.void)).itemsize * int(np.prod(shape, dtype=np.int64))
        if dtype not in _TYPES or length != size or min(shape, default=1) < 0:
            raise ModelError(f"{place / WEIGHTS} has {name} as {dtype} {list(shape)}; copy the whole folder again")
        value = np.frombuffer(data, _TYPES[dtype], count=length // np.dtype(_TYPES[dtype]).itemsize, offset=offset)
        weights[name] = value.reshape(shape).astype(np.float32)
        if not np.isfinite(weights[name]).all():
            raise ModelError(f"{place / WEIGHTS} has weights in {name} that are not finite; train it again")
    return about, weights, digest_of(data)


def digest_of(data: bytes) -> str:
    """A digest that identifies a set of weights."""
    return hashlib.sha256(data).hexdigest()[:16]
