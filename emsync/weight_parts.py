"""A model in parts: its weights in files small enough to move, and back.

A folder of parts holds
    index.json         format, config.json, and of each part its name, size and SHA-256
    part-00.bin ...    model.safetensors (float16), piece by piece
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emsync import vocabulary as v
from emsync.checkpoint import CONFIG, FORMAT, MAX_JSON_BYTES, VOCABULARY, WEIGHTS, file_hash, save
from emsync.errors import ModelError, OutputError
from emsync.files import check_not_read, read_json
from emsync.folders import atomic_folder, check_replaceable

if TYPE_CHECKING:
    from emsync.model import EventTransformer

INDEX = "index.json"
#: Safely under 16 MiB, a common limit for moving files.
PART_BYTES = 15 << 20


def save_parts(
    model: EventTransformer,
    folder: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    part_bytes: int = PART_BYTES,
) -> None:
    """Write a model in parts of at most `part_bytes`, in 16 bits; like `save`, all at once or not at all.

    Replaces a folder of parts and nothing else: raises `OutputError` there, and where nothing can be written.
    """
    folder = Path(folder)
    check_replaceable(folder, INDEX, "a folder of parts")
    with atomic_folder(folder) as partial:
        save(model, partial / "whole", training=training, bits=16)
        parts: list[dict[str, Any]] = []
        with (partial / "whole" / WEIGHTS).open("rb") as weights:
            while piece := weights.read(part_bytes):
                name = f"part-{len(parts):02d}.bin"
                (partial / name).write_bytes(piece)
                parts.append({"name": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})
        config = json.loads((partial / "whole" / CONFIG).read_text(encoding="utf-8"))
        shutil.rmtree(partial / "whole")
        index = {"format": FORMAT, "config": config, "parts": parts}
        (partial / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def join_parts(parts: str | os.PathLike[str], folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Put a folder of parts together again: writes the model folder `folder`, and gives it. Needs no torch.

    Raises `ModelError` naming the part that is missing or damaged, and `OutputError` if there is a folder that
    `overwrite` does not allow to replace, or that is not a model folder.
    """
    parts, folder = Path(parts), Path(folder)
    remedy = "give the folder that emsync train --parts wrote"
    index = read_json(parts / INDEX, MAX_JSON_BYTES, "index of parts", remedy, ModelError)
    try:
        config = dict(index["config"])
        listed = [(str(part["name"]), int(part["bytes"]), str(part["sha256"])) for part in index["parts"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ModelError(f"{parts / INDEX} cannot be read ({error!r}); {remedy}") from error
    if index.get("format") != FORMAT:
        raise ModelError(f"{parts / INDEX} is not of format {FORMAT}; train again with this version of emsync")
    if config.get("vocabulary") != v.HASH:
        raise ModelError(
            f"{parts} speaks another vocabulary (hash {config.get('vocabulary')}) than this emsync (hash {v.HASH}); "
            "join it with the emsync that trained it"
        )
    check_not_read(folder, (parts,))
    check_replaceable(folder, CONFIG, "a model folder")
    if (folder / CONFIG).exists() and not overwrite:
        raise OutputError(f"{folder} exists already; give --overwrite to replace it, or another name")
    for name, size, digest in listed:
        path = parts / Path(name).name  # an index must not lead elsewhere
        try:
            found = path.stat().st_size if path.is_file() else None
        except (OSError, ValueError):  # no name that a file can have
            found = None
        if found is None:
            raise ModelError(f"{parts} lacks {name}, one of {len(listed)} parts; bring it over, then join them again")
        if found != size or file_hash(path) != digest:
            raise ModelError(f"{path} is damaged, or of another save ({found} bytes of {size}); bring it over again")
    with atomic_folder(folder) as partial:
        with (partial / WEIGHTS).open("wb") as weights:
            for name, _, _ in listed:
                with (parts / Path(name).name).open("rb") as piece:
                    shutil.copyfileobj(piece, weights, 1 << 20)
        (partial / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
        (partial / VOCABULARY).write_text(json.dumps({"events": v.NAMES}, indent=0) + "\n", encoding="utf-8")
    return folder
