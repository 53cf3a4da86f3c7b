"""Styles: low-rank changes of a model's weights, learned from a few pieces (Hu et al. 2021; HPM, Section 3.2.3).

    style = Style.read("bach")
    stored = style.merged(model_folder, strength=0.5)     # the weights that change, as the model's file holds them

W = W0 + α B A: W0 are the base model's weights, A (rank, n_in) and B (n_out, rank) the style's, α the strength. The
product is added once, when the model is loaded, so composing costs as much as before, and needs only NumPy. A matrix
of 8 bits is quantised again (`checkpoint.quantise`), by the same rule, so ONNX Runtime and torch get the same weights.

A style also keeps its pieces as references (`manner`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import checkpoint
from emsync.adapter_files import STYLE, read_adapter, write_adapter
from emsync.errors import InputError, ModelError
from emsync.manner import Example

FloatArray = npt.NDArray[np.float32]

#: The matrices of each layer that a style changes.
TARGETS: Final = (
    "attention.query", "attention.key", "attention.value", "attention.out", "feed.expand", "feed.contract",
)  # fmt: skip
_DTYPES: Final[Mapping[str, npt.DTypeLike]] = {"F32": np.float32, "F16": np.float16, "I8": np.int8}
_INT8_TOP: Final = 127


@dataclass(frozen=True, eq=False)
class Style:
    """A style for one model.

    Attributes:
        base_sha256: The base model's `checkpoint.weights_hash`.
        down: A of each matrix by its name, (rank, n_in).
        up: B of each, (n_out, rank).
        training: How it was trained.
        examples: Its pieces, as references; none in a style of an older version.
        digest: Identifies the style.
        place: Where it was read from.

    """

    base_sha256: str
    down: Mapping[str, FloatArray] = field(repr=False)
    up: Mapping[str, FloatArray] = field(repr=False)
    training: Mapping[str, Any] = field(default_factory=dict)
    examples: tuple[Example, ...] = field(default=(), repr=False)
    digest: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        if not self.down or self.down.keys() != self.up.keys():
            raise InputError("a style has two factors for each of its matrices, and at least one matrix")
        for name, a in self.down.items():
            b = self.up[name]
            if a.ndim != 2 or b.ndim != 2 or a.shape[0] != b.shape[1] or not a.shape[0]:
                raise InputError(f"the factors of {name} are {list(b.shape)} and {list(a.shape)}; they do not fit")

    @property
    def rank(self) -> int:
        """The rank of its products."""
        return max(len(a) for a in self.down.values())

    def write(self, folder: Path) -> None:
        """Write the style into `folder`, which exists. Raises `OutputError`."""
        weights: dict[str, npt.NDArray[Any]] = {f"{name}.a": a.astype(np.float16) for name, a in self.down.items()}
        weights |= {f"{name}.b": b.astype(np.float16) for name, b in self.up.items()}
        for i, example in enumerate(self.examples):
            weights |= {f"examples.{i}.{name}": array for name, array in example.arrays().items()}
        about = {
            "base_sha256": self.base_sha256, "rank": self.rank, "training": dict(self.training),
            "examples": [example.figures() for example in self.examples],
        }  # fmt: skip
        write_adapter(folder, STYLE, about, weights)

    @classmethod
    def read(cls, folder: str | Path) -> Style:
        """Read the style in a folder. Raises `ModelError` if there is none or it is damaged."""
        about, weights, digest = read_adapter(folder, STYLE)
        try:
            down = {name[:-2]: value for name, value in weights.items() if name.endswith(".a")}
            up = {name[:-2]: value for name, value in weights.items() if name.endswith(".b")}
            examples = tuple(
                Example.read(figures, weights[f"examples.{i}.notes"], weights[f"examples.{i}.bars"])
                for i, figures in enumerate(about.get("examples", ()))
            )
            training = dict(about.get("training", {}))
            return cls(str(about["base_sha256"]), down, up, training, examples, digest, str(folder))
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise ModelError(f"the style in {folder} cannot be read ({error}); train it again") from error

    def check_base(self, model: Path) -> None:
        """Raise `ModelError` if a model is not the one that the style was trained on."""
        found = checkpoint.weights_hash(model)
        if found != self.base_sha256:
            raise ModelError(
                f"the style in {self.place} was trained on a model whose weights hash to {self.base_sha256[:12]}, "
                f"this one's to {found[:12]}; give that model with --model, or train the style on this one"
            )

    def merged(self, model: Path, strength: float = 1.0) -> dict[str, npt.NDArray[Any]]:
        """The tensors of model.safetensors that change, with their names and types there.

        Args:
            model: The base model's folder.
            strength: α, from 0 to 1. At 0 nothing changes.

        Raises:
            ModelError: The style is of another model.
            InputError: The strength is out of range.

        """
        if not 0 <= strength <= 1:
            raise InputError(f"a style's strength is {strength:g}; give a number from 0 to 1")
        self.check_base(model)
        if not strength:
            return {}
        path = model / checkpoint.WEIGHTS
        tensors = checkpoint.weights_header(path).tensors

        def stored(name: str) -> npt.NDArray[Any]:
            if name not in tensors or tensors[name][0] not in _DTYPES:
                raise ModelError(f"the style in {self.place} changes {name}, which the model does not have")
            dtype, shape, offset, _ = tensors[name]
            count = int(np.prod(shape, dtype=np.int64))
            return np.fromfile(path, dtype=_DTYPES[dtype], count=count, offset=offset).reshape(shape)

        out: dict[str, npt.NDArray[Any]] = {}
        for name, a in self.down.items():
            base = stored(name)
            product = np.float32(strength) * (self.up[name] @ a)
            if product.shape != base.shape:
                raise ModelError(
                    f"the style in {self.place} changes {name} as {list(product.shape)}, the model has "
                    f"{list(base.shape)}; train it again"
                )
            if base.dtype == np.int8:
                scale = stored(name + checkpoint.SCALE)
                out[name], out[name + checkpoint.SCALE] = _in_8_bits(base * scale[:, None] + product)
            else:
                out[name] = (base.astype(np.float32) + product).astype(base.dtype)
        return out


def _in_8_bits(matrix: FloatArray) -> tuple[npt.NDArray[np.int8], FloatArray]:
    """The same as `checkpoint.quantise`, without torch."""
    scale = _to_bfloat16(np.abs(matrix).max(axis=1) / np.float32(_INT8_TOP))
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    whole = np.clip(np.rint(matrix / scale[:, None]), -_INT8_TOP, _INT8_TOP)
    return whole.astype(np.int8), scale


def _to_bfloat16(values: FloatArray) -> FloatArray:
    """Float32 numbers rounded to 8 binary digits, to even where two are equally near."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return rounded.view(np.float32)


def digest_of_style(folder: str) -> str | None:
    """The digest of a style's weights, for a record; None without a style. Raises `ModelError`."""
    return Style.read(folder).digest if folder else None
