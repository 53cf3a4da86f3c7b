"""Model folders: weights, shape and vocabulary, saved together and refused if they do not match.

A model folder holds
    config.json        format, model shape (`ModelConfig`), vocabulary hash, what is known of the training
    vocabulary.json    the event names in the order of their ids
    model.safetensors  the weights, of 32, 16 or 8 bits
    model.onnx         optional: the decoding step as a graph whose weights lie in model.safetensors (`decoder`)

In 8 bits (docs/decisions/0009-eight-bit-weights.md) a matrix W is whole numbers Q within [-127, 127] and one scale a
row, so that W = Q * scale[:, None]: `NAME` is int8 (rows, columns), `NAME.scale` float32 (rows,). All other
tensors, and matrices with short rows (`in_8_bits`), are float16. A matrix of 8 bits is known by its type; `bits` in
config.json is for readers.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy.typing as npt

from emsync import vocabulary as v
from emsync.errors import ModelError, OutputError
from emsync.files import read_json
from emsync.folders import FREE_SPACE, atomic_folder, check_replaceable

if TYPE_CHECKING:
    from torch import Tensor

    from emsync.model import EventTransformer

#: How many bits a weight may be saved in.
Bits = Literal[8, 16, 32]
#: Of a model that is shipped, unless something else is requested.
DEFAULT_BITS: Final = 16

FORMAT = 1
CONFIG, VOCABULARY, WEIGHTS, GRAPH = "config.json", "vocabulary.json", "model.safetensors", "model.onnx"
#: config.json, vocabulary.json and the header of the weights have some 100 kB.
MAX_JSON_BYTES: Final = 16 << 20
#: Ends the name of what an int8 matrix is multiplied by.
SCALE: Final = ".scale"
#: Matrices of shorter rows stay in float16: their scales would eat up what is saved, and there is little to save.
MIN_COLUMNS: Final = 32
_LARGEST_HALF: Final = 65504.0  # of float16


def embedded_folder() -> Path:
    """The model that ships with emsync."""
    return Path(__file__).parent / "models" / "small"


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The config.json of a model folder, after checking that its files and vocabulary fit. Needs no torch.

    Raises `ModelError` naming what is missing or different.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"{folder} is not a model folder; give the folder that emsync train wrote")
    for name in (CONFIG, VOCABULARY, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}; copy the whole model folder, or train again")
    remedy = "copy the whole model folder again"
    config = read_json(folder / CONFIG, MAX_JSON_BYTES, "model's config.json", remedy, ModelError)
    vocabulary = read_json(folder / VOCABULARY, MAX_JSON_BYTES, "model's vocabulary.json", remedy, ModelError)
    try:
        names = tuple(vocabulary["events"])
    except (KeyError, TypeError) as error:
        raise ModelError(f"{folder / VOCABULARY} cannot be read ({error!r}); {remedy}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT or not isinstance(config.get("model"), dict):
        raise ModelError(f"{folder / CONFIG} is not of format {FORMAT}; train again with this version of emsync")
    if names != v.NAMES or config.get("vocabulary") != v.HASH:
        raise ModelError(
            f"{folder} speaks another vocabulary ({len(names)} events, hash {config.get('vocabulary')}) than this "
            f"emsync ({v.SIZE} events, hash {v.HASH}); train again, or use the emsync that trained it"
        )
    return config


def weights_hash(folder: str | os.PathLike[str]) -> str:
    """SHA-256 of the weights file, in hexadecimal: which model it was, for a run's record."""
    return file_hash(Path(folder) / WEIGHTS)


def file_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal, without holding it in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class WeightsHeader:
    """The front of a safetensors file. digest: SHA-256 of the header, which another layout of the file would change.

    tensors: name -> (dtype, shape, offset_bytes from the file's start, length_bytes).
    """

    tensors: dict[str, tuple[str, tuple[int, ...], int, int]]
    digest: str


def weights_header(path: Path) -> WeightsHeader:
    """Read where the tensors of a safetensors file are. Needs no torch.

    The format: 8 bytes with the header's length (little endian), the header as JSON, then the tensors.
    Raises `ModelError` if the file is cut off or has another format, or if a matrix of 8 bits lacks its scales.
    """
    try:
        if not path.is_file():
            raise ValueError("it is not a regular file")
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size - 8:
                raise ValueError("its header is incomplete")
            if length > MAX_JSON_BYTES:
                raise ValueError(f"its header has {length} bytes, over {MAX_JSON_BYTES}")
            raw = file.read(length)
        entries = json.loads(raw)
        tensors = {}
        for name, entry in entries.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            tensors[name] = (
                str(entry["dtype"]),
                tuple(int(n) for n in entry["shape"]),
                8 + length + int(begin),
                int(end) - int(begin),
            )
        expected = max((offset + n for _, _, offset, n in tensors.values()), default=8 + length)
        if size != expected:
            raise ValueError(f"it has {size} bytes, its header says {expected}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise ModelError(f"{path} cannot be read ({error}); it may be cut off: copy it again") from error
    for name, (dtype, shape, _, _) in tensors.items():
        of_scale = tensors.get(name + SCALE)
        if dtype == "I8" and (of_scale is None or of_scale[:2] != ("F32", shape[:1])):
            found = "missing" if of_scale is None else f"{of_scale[0]} {list(of_scale[1])}"
            raise ModelError(
                f"{path} has {name} in 8 bits, but {name}{SCALE} is {found}, not F32 {list(shape[:1])}; "
                "copy the whole model folder again"
            )
    return WeightsHeader(tensors, hashlib.sha256(raw).hexdigest())


def in_8_bits(shape: Sequence[int]) -> bool:
    """Whether a weight of this shape is stored in 8 bits: a matrix with at least `MIN_COLUMNS` columns."""
    return len(shape) == 2 and shape[1] >= MIN_COLUMNS


def quantise(matrix: Tensor, *, bits: int = 8) -> tuple[Tensor, Tensor]:
    """A matrix (rows, columns) as int8 whole numbers and one float32 scale per row; their product is close to it.

    Symmetric, by each row's largest value: whole numbers within 2 ** (bits - 1) - 1 of 0, bits 2 to 8. Scales are
    rounded to bfloat16's 8 binary digits, so that products with them are exact in float32: the product gives the same
    numbers and scales again. No largest value may be infinite or NaN.
    """
    import torch

    top = 2 ** (bits - 1) - 1
    scale = (matrix.float().abs().amax(1) / top).bfloat16().float()
    scale = scale.clamp(min=torch.finfo(torch.float32).tiny)  # of a row of zeros, too
    return (matrix.float() / scale[:, None]).round().clamp(-top, top).to(torch.int8), scale


def _stored(state: Mapping[str, Tensor], bits: Bits) -> dict[str, Tensor]:
    """Weights as they are saved with `bits` bits. Raises `ModelError` for one that float16 or 8 bits cannot hold."""
    import torch

    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().to("cpu", torch.float32)
        if bits < 32 and not (largest := float(tensor.abs().max())) <= _LARGEST_HALF:
            raise ModelError(
                f"{name} has a weight of {largest:.3g}, and float16 ends at {_LARGEST_HALF:.0f}; "
                "keep it in 32 bits (--bits 32)"
            )
        if bits == 8 and in_8_bits(tensor.shape):
            out[name], out[name + SCALE] = quantise(tensor)
        else:
            out[name] = tensor.to(torch.float32 if bits == 32 else torch.float16).contiguous()
    return out


def save(
    model: EventTransformer,
    folder: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    bits: Bits = 32,
) -> None:
    """Write a model folder all at once: it is whole or, on any failure, as it was.

    bits: of a weight: 32, 16 (float16), or 8 (see above). training: what to keep of how it was trained, as JSON values.
    Replaces a model folder and nothing else: raises `OutputError` there, and where nothing can be written; `ModelError`
    for a weight that the bits cannot hold.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if bits not in get_args(Bits):
        raise ModelError(f"weights of {bits} bits cannot be written; choose 8, 16 or 32")
    folder = Path(folder)
    check_replaceable(folder, CONFIG, "a model folder")
    state = model.state_dict()
    if model.config.tied:
        del state["head.weight"]
    state = _stored(state, bits)
    with atomic_folder(folder) as partial:
        try:
            # One entry: safetensors writes several in any order, and equal weights must give equal bytes.
            save_file(state, partial / WEIGHTS, metadata={"vocabulary": v.HASH})
        except SafetensorError as error:  # its own error for a full disk
            raise OutputError(f"{folder} cannot be written ({error}); {FREE_SPACE}") from error
        about = {
            "format": FORMAT,
            "model": model.config.to_dict(),
            "vocabulary": v.HASH,
            "parameters": model.n_parameters,
            "bits": bits,
            "training": dict(training or {}),
        }
        (partial / CONFIG).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        (partial / VOCABULARY).write_text(json.dumps({"events": v.NAMES}, indent=0) + "\n", encoding="utf-8")


def load(folder: str | os.PathLike[str], changed: Mapping[str, npt.NDArray[Any]] | None = None) -> EventTransformer:
    """The model of a folder, in float32, ready to compose. Raises `ModelError` on any mismatch.

    changed: tensors that replace those in the file, in the same form.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from emsync.model import EventTransformer
    from emsync.model_config import ModelConfig

    folder = Path(folder)
    model = EventTransformer(ModelConfig.from_dict(read_config(folder)["model"]))
    weights_header(folder / WEIGHTS)  # says what is wrong with a damaged file better than a failed load does
    try:
        stored = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{folder / WEIGHTS} cannot be read ({error}); it may be cut off: copy it again") from error
    stored |= {name: torch.from_numpy(value) for name, value in (changed or {}).items()}
    for name in [name for name, tensor in stored.items() if tensor.dtype == torch.int8]:
        stored[name] = stored[name].float() * stored.pop(name + SCALE)[:, None]
    state = {name: tensor.float() for name, tensor in stored.items()}
    if model.config.tied and "events.weight" in state:
        state["head.weight"] = state["events.weight"]
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ModelError(
            f"{folder / WEIGHTS} does not fit its config.json ({reason}); copy the whole model folder again"
        ) from error
    return model.eval()
