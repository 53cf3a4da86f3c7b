"""An ONNX graph under construction, node by node, over the weights of a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.checkpoint import SCALE, WEIGHTS, WeightsHeader
from emsync.errors import ModelError

#: Longer names for the types of safetensors that weights may have.
_TYPES: Final = {"F16": "FLOAT16", "F32": "FLOAT", "I8": "INT8"}


class Graph:
    """A graph under construction: values are names, and each call of `op` appends a node."""

    def __init__(self, header: WeightsHeader) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._header = header
        self._known: dict[Any, str] = {}

    def op(self, kind: str, *inputs: str, domain: str = "", name: str = "", **attributes: Any) -> str:
        """One node with one output; returns the output's name."""
        return self.ops(kind, *inputs, domain=domain, names=[name], **attributes)[0]

    def ops(self, kind: str, *inputs: str, names: Sequence[str], domain: str = "", **attributes: Any) -> list[str]:
        """One node with an output for each of `names`; an empty name is made up."""
        from onnx import helper

        outputs = [name or f"{kind}_{len(self.nodes)}_{i}" for i, name in enumerate(names)]
        self.nodes.append(
            helper.make_node(kind, list(inputs), outputs, name=f"{kind}_{len(self.nodes)}", domain=domain, **attributes)
        )
        return outputs

    def constant(self, value: float | int | Sequence[int] | npt.NDArray[Any]) -> str:
        """A small constant, held in the graph itself: floats as float32, ints as int64."""
        from onnx import numpy_helper

        array = np.asarray(value)
        array = array.astype(np.int64 if np.issubdtype(array.dtype, np.integer) else np.float32)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"constant_{len(self._known)}"
            self.initializers.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def weight(self, name: str, shape: tuple[int, ...]) -> str:
        """A tensor of model.safetensors, as float32."""
        from onnx import TensorProto

        if name in self._known:
            return self._known[name]
        if name not in self._header.tensors:
            raise ModelError(f"{WEIGHTS} has no {name}; copy the whole model folder again")
        dtype, found, offset_bytes, length_bytes = self._header.tensors[name]
        if found != shape or dtype not in _TYPES:
            raise ModelError(
                f"{WEIGHTS} has {name} as {dtype} {list(found)}, not as F16, F32 or I8 {list(shape)}; "
                "copy the whole model folder again"
            )
        stored = f"weights.{name}"  # inputs have names too
        tensor = TensorProto(
            name=stored, dims=shape, data_type=getattr(TensorProto, _TYPES[dtype]), data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", WEIGHTS), ("offset", offset_bytes), ("length", length_bytes)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        if dtype == "I8":
            self._known[name] = self.op("DequantizeLinear", stored, self.weight(name + SCALE, shape[:1]), axis=0)
        else:
            self._known[name] = stored if dtype == "F32" else self.op("Cast", stored, to=TensorProto.FLOAT)
        return self._known[name]

    def matrix(self, name: str, n_out: int, n_in: int) -> str:
        """A linear layer's matrix, [out, in] as torch has it, turned to [in, out] at loading."""
        return self.op("Transpose", self.weight(name, (n_out, n_in)), perm=[1, 0])

    def linear(self, x: str, layer: str, n_out: int, n_in: int, *, bias: bool = False, name: str = "") -> str:
        """nn.Linear: x (..., n_in) -> (..., n_out)."""
        matrix = self.matrix(f"{layer}.weight", n_out, n_in)
        if not bias:
            return self.op("MatMul", x, matrix, name=name)
        return self.op("Add", self.op("MatMul", x, matrix), self.weight(f"{layer}.bias", (n_out,)), name=name)
