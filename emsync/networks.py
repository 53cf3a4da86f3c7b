"""What computes the network's steps: ONNX Runtime or torch, behind the same interface.

Conventions: B batch, T time, C cached time, H heads, D head width."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, Self

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.checkpoint import CONFIG, GRAPH, WEIGHTS, load, weights_header
from emsync.conditions import AROUND_POINTS, CONTROL_LANES
from emsync.errors import ModelError

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float32]
#: Score of a slot that may not be seen: far below any other, and finite so that nothing becomes NaN.
HIDDEN: Final = np.float32(-1e30)
#: A step reads every weight once, so memory bounds it and not arithmetic: one thread reaches two thirds of what two do
#: on an idle machine, and more than two on a busy one, where they wait for one another. And it adds in the same order
#: however many cores a machine has.
THREADS: Final = 1


@dataclass(frozen=True)
class Geometry:
    """What a cache must know of a model, read from config.json without torch."""

    n_layers: int
    n_heads: int
    head_width: int
    context: int
    local_block: int
    global_every: int
    relative: bool
    knows_mood: bool
    guided_every: int = 0
    hears_controls: bool = False
    reads_curve: bool = False

    @classmethod
    def of(cls, config: dict[str, Any]) -> Geometry:
        """The geometry in the "model" part of config.json. Raises `ModelError` if values are missing or invalid."""
        try:
            numbers = [
                config[name] for name in ("n_layers", "n_heads", "width", "context", "local_block", "global_every")
            ]
            relative, knows_mood = config["attention"] == "relative", bool(config["knows_mood"])
            numbers += [config.get(name, 0) for name in ("guided_every", "adapter_layers")]  # before, there were none
        except KeyError as error:
            raise ModelError(f"{CONFIG} lacks {error.args[0]!r}; copy the whole model folder again") from error
        if not all(isinstance(x, int) and x >= 0 for x in numbers) or min(numbers[:4]) < 1 or numbers[5] < 1:
            raise ModelError(
                f"{CONFIG} gives {numbers[0]!r} layers, {numbers[1]!r} heads, width {numbers[2]!r}, "
                f"context {numbers[3]!r}; these must be whole numbers above 0: copy the whole model folder again"
            )
        n_layers, n_heads, width, context, local_block, global_every, guided, adapted = numbers
        lanes = config.get("lanes")
        hears = isinstance(lanes, list) and len(lanes) > min(CONTROL_LANES)
        return cls(
            n_layers, n_heads, width // n_heads, context, local_block, global_every, relative, knows_mood, guided,
            hears, adapted > 0,
        )  # fmt: skip

    def is_local(self, layer: int) -> bool:
        """Whether a layer is local, as in `ModelConfig.is_local`."""
        if layer >= self.n_layers:
            layer = (layer - self.n_layers) * self.guided_every
        return bool(self.local_block) and (layer + 1) % self.global_every != 0

    def layers(self, *, local: bool) -> list[int]:
        """The layers of one kind, then the guides of that kind."""
        guides = len(range(0, self.n_layers, self.guided_every)) if self.guided_every else 0
        return [layer for layer in range(self.n_layers + guides) if self.is_local(layer) == local]


@dataclass
class Span:
    """The cache of one kind of layers: which position is in which slot, and the buffer of keys and values.

    positions: (C,) int64, -1 where a slot is empty. buffer: (layers, 2, B, H, C, D), keys and values, of the network's
    own array type. block: 0 for global layers.
    """

    layers: list[int]
    ring: int
    block: int
    positions: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    buffer: Any = None

    @property
    def capacity(self) -> int:
        return len(self.positions)

    def mask(self, start: int, count: int) -> FloatArray:
        """Which slots, and which of one another, positions start … start + count - 1 of one block attend to.

        (count, C + count) float32, to be added to scores: 0 or `HIDDEN`.
        """
        first = (start // self.block - 1) * self.block if self.block else 0
        mask = np.zeros((count, self.capacity + count), dtype=np.float32)
        mask[:, : self.capacity][:, self.positions < max(first, 0)] = HIDDEN
        if count > 1:
            mask[:, self.capacity :][np.triu_indices(count, 1)] = HIDDEN
        return mask


class Network(Protocol):
    """One way to run the model: it keeps its own kind of arrays and knows nothing about rings."""

    backend: str
    states: FloatArray | None
    """(B, width) The last position's hidden states of the latest run."""

    def zeros(self, *shape: int) -> Any:
        """A buffer of float32 zeros."""

    def rows(self, buffer: Any, rows: IntArray) -> Any:
        """A copy of these rows of a buffer (layers, 2, B, H, C, D), in the order of its axes."""

    def forget(self) -> None:
        """Drop references to buffers, because they were replaced."""

    def twin(self) -> Self:
        """The same network for the buffers of another cache, at the same time."""

    def run(
        self,
        ids: IntArray,
        previous_velocity: IntArray,
        lanes: FloatArray,
        mood: FloatArray,
        start: int,
        spans: list[Span],
        around: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray, list[Any]]:
        """Positions start … start + T - 1 behind the spans.

        Takes ids and previous_velocity (B, T), lanes (B, T, N), mood (B, 2), around (B, T, 2, P) or None.

        Returns the last position's logits (B, V) and velocity logits (B, 16), and for each span the new keys and values
        (layers, 2, B, H, T, D).
        """


class OnnxNetwork:
    """The graph that `emsync.export` writes, on the CPU. Buffers are NumPy, read in place."""

    backend = "onnx"

    def __init__(
        self, folder: Path, config: dict[str, Any], *, threads: int | None = None, graph: Path | None = None,
        changed: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:  # fmt: skip
        """Load the graph. changed: tensors that replace those of model.safetensors (`style.Style.merged`)."""
        # ONNX Runtime writes usage files under the user's cache when it is imported, unless this is set.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        graph = graph or folder / GRAPH
        if not graph.is_file():
            raise ModelError(f"{folder} has no {GRAPH}; write it with: emsync export {folder}")
        header = weights_header(folder / WEIGHTS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed beside it
        # Weights of 8 bits become float32 once, at loading; otherwise ONNX Runtime would do that again at every step.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        values = {f"weights.{name}": value for name, value in (changed or {}).items()}  # `onnx_graph` names them so
        try:
            if values:
                kept = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in values.values()]
                options.add_external_initializers(list(values), kept)
            session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            about = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime's own exceptions share no root but this one
            raise ModelError(
                f"{graph} cannot be read ({_first_line(error)}); write it again with: emsync export {folder}"
            ) from error
        try:
            made_for = dict(json.loads(about.get("model", "{}")))
        except (ValueError, TypeError, RecursionError) as error:
            raise ModelError(
                f"{graph} does not say which model it is of; write it again with: emsync export {folder}"
            ) from error
        if about.get("weights") != header.digest or any(made_for.get(name) != value for name, value in config.items()):
            raise ModelError(
                f"{graph} was made for other weights than {folder / WEIGHTS}; "
                f"write it again with: emsync export {folder}"
            )
        self._session, self._graph = session, graph
        self._relative = config["attention"] == "relative"
        self._outputs = [output.name for output in session.get_outputs()]
        self._context, self._n_lanes = int(config["context"]), len(config["lanes"])
        self._reads_curve = bool(config.get("adapter_layers", 0))
        self._pasts: dict[str, FloatArray] = {}
        self.gives_states = "states" in self._outputs
        self.states: FloatArray | None = None

    def zeros(self, *shape: int) -> FloatArray:
        """A buffer of float32 zeros."""
        return np.zeros(shape, dtype=np.float32)

    def rows(self, buffer: FloatArray, rows: IntArray) -> FloatArray:
        """See `Network.rows`."""
        return np.take(buffer, rows, axis=2)  # in C order, unlike buffer[:, :, rows]: what ONNX Runtime reads in place

    def forget(self) -> None:
        """Slice the buffers again at the next run, because they were replaced."""
        self._pasts = {}

    def twin(self) -> Self:
        """See `Network.twin`; a session may be run by several threads."""
        new = copy.copy(self)
        new._pasts, new.states = {}, None
        return new

    def run(
        self,
        ids: IntArray,
        previous_velocity: IntArray,
        lanes: FloatArray,
        mood: FloatArray,
        start: int,
        spans: list[Span],
        around: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray, list[Any]]:
        """See `Network.run`."""
        batch, count = ids.shape
        if not self._pasts:
            for span in spans:
                for layer, pair in zip(span.layers, span.buffer, strict=True):
                    self._pasts[f"past_k_{layer}"], self._pasts[f"past_v_{layer}"] = pair
        lanes = np.ascontiguousarray(lanes[..., : self._n_lanes])
        # The graph calls the previous velocities "heard", as models exported by older versions do.
        feeds = {"ids": ids, "heard": previous_velocity, "lanes": lanes, "mood": mood, **self._pasts}
        feeds["positions"] = np.arange(start, start + count)
        if self._reads_curve:
            unknown = np.full((batch, count, 2, AROUND_POINTS), np.nan, dtype=np.float32)
            feeds["around"] = unknown if around is None else around
        for span in spans:
            feeds["local_mask" if span.block else "global_mask"] = span.mask(start, count)
        if self._relative:
            every = np.concatenate([spans[0].positions, feeds["positions"]])
            feeds["distance"] = np.clip(feeds["positions"][:, None] - every, 0, self._context - 1)
        try:
            logits, velocity_logits, *new = self._session.run(self._outputs, feeds)
            if self.gives_states:
                self.states = new.pop(self._outputs.index("states") - 2)
            if logits.shape != (batch, v.SIZE) or velocity_logits.shape != (batch, v.VELOCITY_LEVELS):
                raise ValueError(f"it gives logits of {list(logits.shape)} and {list(velocity_logits.shape)}")
            shapes = [(len(span.layers), 2, batch, -1, count, span.buffer.shape[-1]) for span in spans]
            return logits, velocity_logits, [kept.reshape(shape) for kept, shape in zip(new, shapes, strict=True)]
        except Exception as error:  # onnxruntime's own exceptions share no root but this one
            raise ModelError(
                f"{self._graph} cannot be run ({_first_line(error)}); write it again with: emsync export"
            ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()


class TorchNetwork:
    """`emsync.model.EventTransformer`, on the GPU where there is one."""

    backend = "torch"

    def __init__(
        self, folder: Path, *, threads: int | None = None, changed: Mapping[str, npt.NDArray[Any]] | None = None
    ) -> None:
        """Load the weights. changed: as for `OnnxNetwork`."""
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load(folder, changed).to(self._device)
        self.states: FloatArray | None = None

    def zeros(self, *shape: int) -> Any:
        """A buffer of float32 zeros, on the model's device."""
        import torch

        return torch.zeros(shape, device=self._device)

    def rows(self, buffer: Any, rows: IntArray) -> Any:
        """See `Network.rows`."""
        import torch

        return buffer.index_select(2, torch.tensor(rows, dtype=torch.int64, device=self._device))

    def forget(self) -> None:
        """Do nothing: no references to buffers are kept."""

    def twin(self) -> Self:
        """See `Network.twin`; the weights are the same."""
        new = copy.copy(self)
        new.states = None
        return new

    def run(
        self,
        ids: IntArray,
        previous_velocity: IntArray,
        lanes: FloatArray,
        mood: FloatArray,
        start: int,
        spans: list[Span],
        around: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray, list[Any]]:
        """See `Network.run`."""
        import torch

        with torch.inference_mode():
            place = self._device
            cache: list[Any] = [None] * sum(len(span.layers) for span in spans)
            for span in spans:
                held = torch.tensor(span.positions, device=place)
                for layer, pair in zip(span.layers, span.buffer, strict=True):
                    cache[layer] = (pair[0], pair[1], held)
            logits, velocity_logits, states, new = self._model.step(
                torch.tensor(ids, device=place),
                torch.tensor(previous_velocity, device=place),
                torch.tensor(lanes, device=place),
                torch.tensor(mood, device=place),
                torch.arange(start, start + ids.shape[1], device=place),
                cache,
                None if around is None else torch.tensor(around, device=place),
            )
            kept = [torch.stack([torch.stack(new[layer][:2]) for layer in span.layers]) for span in spans]
            last, last_levels, self.states = (
                y[:, -1].float().contiguous().cpu().numpy() for y in (logits, velocity_logits, states)
            )
            return last, last_levels, kept
