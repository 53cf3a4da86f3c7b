"""Decoding with a cache, in two verbs: `prefill` a beginning, then `step` position by position.

The composer speaks to a `Decoder` and never to a network, so the same notes come from ONNX Runtime, which needs no
torch, and from torch. A decoder is a network behind a cache of keys and values:

- Layers are of two kinds. Global ones attend to every position; local ones to their own block of `local_block`
  positions and the one before, so two blocks are all they keep.
- A kind's keys and values lie in one buffer (layers, 2, B, H, C, D), position p in slot p modulo the ring's size. The
  buffer grows with what it holds, in steps of `GROWTH` slots, so that a short piece pays for a short one.
- A long beginning is worked through in chunks that end with a block, so that all positions of a chunk see the same
  slots.

Conventions: B batch, T time, C cache slots, H heads, D head width, N lanes, V vocabulary. Positions count from 0 at
every prefill. Everything that goes in or out is NumPy; logits are float32.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.checkpoint import CONFIG, GRAPH, WEIGHTS, embedded_folder, load, read_config, weights_header
from emsync.conditions import N_LANES
from emsync.copying import Mixture
from emsync.errors import MissingExtraError, ModelError

IntArray = npt.NDArray[np.integer]
FloatArray = npt.NDArray[np.float32]
Backend = Literal["auto", "onnx", "torch"]

#: Ids of the two mood positions; `emsync.model` names the same, but needs torch.
VALENCE_SLOT: Final = v.VALENCE_SLOT
AROUSAL_SLOT: Final = v.AROUSAL_SLOT
#: Score of a slot that may not be seen: far below any other, and finite so that nothing becomes NaN.
HIDDEN: Final = np.float32(-1e30)
#: Caches grow by this many slots.
GROWTH: Final = 64
#: The most positions worked through at once: bounds the memory that attention scores take.
CHUNK: Final = 256
#: A step reads every weight once, so memory bounds it and not arithmetic: one thread reaches two thirds of what two do
#: on an idle machine, and more than two on a busy one, where they wait for one another. And it adds in the same order
#: however many cores a machine has.
THREADS: Final = 1


class Decoder(Protocol):
    """What the composer needs of a model: two verbs, and a choice of rows."""

    @property
    def context(self) -> int:
        """Positions the model can hold."""

    @property
    def length(self) -> int:
        """Positions held now."""

    @property
    def knows_mood(self) -> bool:
        """Whether it was trained with the piece's mood."""

    @property
    def backend(self) -> str:
        """What runs it: "onnx" or "torch"."""

    @property
    def mixture(self) -> Mixture | None:
        """What the model's predictions are mixed with the piece's own repeats by."""

    def prefill(
        self, ids: IntArray, heard: IntArray, lanes: FloatArray, mood: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Begin anew with T positions; see `CachedDecoder.prefill`."""

    def step(self, ids: IntArray, heard: IntArray, lanes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Append one position; see `CachedDecoder.step`."""

    def select(self, rows: IntArray) -> None:
        """Keep, reorder or duplicate rows; see `CachedDecoder.select`."""


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

    @classmethod
    def of(cls, config: dict[str, Any]) -> Geometry:
        """Of the "model" part of config.json. Raises `ModelError` when it says too little, or nonsense."""
        try:
            numbers = [
                config[name] for name in ("n_layers", "n_heads", "width", "context", "local_block", "global_every")
            ]
            relative, knows_mood = config["attention"] == "relative", bool(config["knows_mood"])
        except KeyError as error:
            raise ModelError(f"{CONFIG} lacks {error.args[0]!r}; copy the whole model folder again") from error
        if not all(isinstance(x, int) and x >= 0 for x in numbers) or min(numbers[:4]) < 1 or numbers[5] < 1:
            raise ModelError(
                f"{CONFIG} gives {numbers[0]!r} layers, {numbers[1]!r} heads, width {numbers[2]!r}, "
                f"context {numbers[3]!r}; these must be whole numbers above 0: copy the whole model folder again"
            )
        n_layers, n_heads, width, context, local_block, global_every = numbers
        return cls(n_layers, n_heads, width // n_heads, context, local_block, global_every, relative, knows_mood)

    def is_local(self, layer: int) -> bool:
        """As `ModelConfig.is_local`."""
        return bool(self.local_block) and (layer + 1) % self.global_every != 0

    def layers(self, *, local: bool) -> list[int]:
        """The layers of one kind."""
        return [layer for layer in range(self.n_layers) if self.is_local(layer) == local]


@dataclass
class Span:
    """The cache of one kind of layers: which position stands in which slot, and the buffer of keys and values.

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
        """What positions start … start + count - 1, of one block, see of the slots and of one another.

        (count, C + count) float32, to be added to scores: 0 or `HIDDEN`.
        """
        first = (start // self.block - 1) * self.block if self.block else 0
        mask = np.zeros((count, self.capacity + count), dtype=np.float32)
        mask[:, : self.capacity][:, self.positions < max(first, 0)] = HIDDEN
        if count > 1:
            mask[:, self.capacity :][np.triu_indices(count, 1)] = HIDDEN
        return mask


class Network(Protocol):
    """One way to run the model: it keeps arrays of its own kind and knows nothing of rings."""

    backend: str

    def zeros(self, *shape: int) -> Any:
        """A buffer of float32 zeros."""

    def rows(self, buffer: Any, rows: IntArray) -> Any:
        """A copy of these rows of a buffer (layers, 2, B, H, C, D), in the order of its axes."""

    def forget(self) -> None:
        """Buffers were replaced: drop what was kept of the old ones."""

    def run(
        self, ids: IntArray, heard: IntArray, lanes: FloatArray, mood: FloatArray, start: int, spans: list[Span]
    ) -> tuple[FloatArray, FloatArray, list[Any]]:
        """Positions start … start + T - 1 behind the spans: ids, heard (B, T), lanes (B, T, N), mood (B, 2).

        Returns the last position's logits (B, V) and velocity logits (B, 16), and for each span the new keys and values
        (layers, 2, B, H, T, D).
        """


class CachedDecoder:
    """A network behind a cache; the `Decoder` that `open_decoder` gives."""

    def __init__(self, network: Network, geometry: Geometry, mixture: Mixture | None = None) -> None:
        self._network, self._geometry, self.mixture = network, geometry, mixture
        self._spans: list[Span] = []
        self._mood = np.empty((0, 2), dtype=np.float32)
        self._length = 0

    @property
    def context(self) -> int:
        """Positions the model can hold."""
        return self._geometry.context

    @property
    def length(self) -> int:
        """Positions held now."""
        return self._length

    @property
    def knows_mood(self) -> bool:
        """Whether the model was trained with the piece's mood in the two prefix positions."""
        return self._geometry.knows_mood

    @property
    def backend(self) -> str:
        """What runs the model: "onnx" or "torch"."""
        return self._network.backend

    def prefill(
        self, ids: IntArray, heard: IntArray, lanes: FloatArray, mood: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Begin anew: forget what was held, take T positions, numbered from 0.

        ids: (B, T), events or the mood slots. heard: (B, T), the velocity level + 1 of the event before each, 0 where
        that has none. lanes: (B, T, N), NaN where not given. mood: (B, 2), kept for every step that follows.
        Returns the last position's logits (B, V) and velocity logits (B, 16), float32.
        Raises `ModelError` when the shapes do not fit or T is not within 1 … context.
        """
        ids, heard = np.ascontiguousarray(ids, dtype=np.int64), np.ascontiguousarray(heard, dtype=np.int64)
        lanes, mood = np.ascontiguousarray(lanes, dtype=np.float32), np.ascontiguousarray(mood, dtype=np.float32)
        if (
            ids.ndim != 2
            or not len(ids)
            or heard.shape != ids.shape
            or lanes.shape != (*ids.shape, N_LANES)
            or mood.shape != (len(ids), 2)
        ):
            raise ModelError(
                f"decoder: ids {ids.shape}, heard {heard.shape}, lanes {lanes.shape}, mood {mood.shape} do not fit; "
                f"give (B, T), (B, T), (B, T, {N_LANES}) and (B, 2)"
            )
        if not 1 <= ids.shape[1] <= self.context:
            raise ModelError(
                f"decoder: {ids.shape[1]} positions; the model holds 1 to {self.context}: give it the last of them"
            )
        geometry = self._geometry
        self._spans = [Span(geometry.layers(local=False), self.context, 0)]
        if geometry.local_block:
            self._spans.append(
                Span(geometry.layers(local=True), min(2 * geometry.local_block, self.context), geometry.local_block)
            )
        self._spans = [span for span in self._spans if span.layers]
        self._mood, self._length = mood, 0
        for span in self._spans:
            self._grow(span, 0)
        start, total, size = 0, ids.shape[1], min(CHUNK, geometry.local_block or CHUNK)
        while True:
            end = min(start + size, total)
            if geometry.local_block:
                end = min(end, (start // geometry.local_block + 1) * geometry.local_block)
            out = self._take(
                np.ascontiguousarray(ids[:, start:end]),
                np.ascontiguousarray(heard[:, start:end]),
                np.ascontiguousarray(lanes[:, start:end]),
            )
            if end == total:
                return out
            start = end

    def step(self, ids: IntArray, heard: IntArray, lanes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Append one position: ids, heard (B,), lanes (B, N). Returns its logits (B, V) and velocity logits (B, 16).

        Raises `ModelError` when the context is full, or nothing was prefilled.
        """
        if not 0 < self._length < self.context:
            raise ModelError(
                f"decoder: all {self.context} positions are taken; prefill anew with the last of them"
                if self._length
                else "decoder: nothing to step from; prefill at least one position first"
            )
        n = len(self._mood)
        ids, heard = np.ascontiguousarray(ids, dtype=np.int64), np.ascontiguousarray(heard, dtype=np.int64)
        lanes = np.ascontiguousarray(lanes, dtype=np.float32)
        if ids.shape != (n,) or heard.shape != (n,) or lanes.shape != (n, N_LANES):
            raise ModelError(
                f"decoder: ids {ids.shape}, heard {heard.shape}, lanes {lanes.shape} do not fit; "
                f"{n} rows are held: give ({n},), ({n},) and ({n}, {N_LANES})"
            )
        return self._take(ids.reshape(n, 1), heard.reshape(n, 1), lanes.reshape(n, 1, N_LANES))

    def select(self, rows: IntArray) -> None:
        """Keep these rows of the batch, in this order; a row may come twice, or not at all. rows: (B',) int."""
        rows = np.asarray(rows)
        if (
            rows.ndim != 1
            or not len(rows)
            or not np.issubdtype(rows.dtype, np.integer)
            or rows.min() < 0
            or rows.max() >= len(self._mood)
        ):
            raise ModelError(
                f"decoder: rows {rows.tolist()} cannot be chosen from {len(self._mood)}; give whole numbers from 0"
            )
        self._mood = self._mood[rows]
        for span in self._spans:
            span.buffer = self._network.rows(span.buffer, rows)
        self._network.forget()

    def _take(self, ids: IntArray, heard: IntArray, lanes: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Run T positions, all of one block, and keep their keys and values."""
        start, count = self._length, ids.shape[1]
        logits, velocity_logits, new = self._network.run(ids, heard, lanes, self._mood, start, self._spans)
        for span, kept in zip(self._spans, new, strict=True):
            slot = start % span.ring
            if slot + count > span.capacity:
                self._grow(span, slot + count)
            span.buffer[:, :, :, :, slot : slot + count] = kept
            span.positions[slot : slot + count] = np.arange(start, start + count)
        self._length = start + count
        return logits, velocity_logits

    def _grow(self, span: Span, needed: int) -> None:
        """Make room for `needed` slots. Until a ring comes round, position p is in slot p: slots keep their place."""
        capacity = min(span.ring, max(-(-needed // GROWTH), 1) * GROWTH)
        assert capacity >= needed, f"{needed} slots asked of a ring of {span.ring}"
        buffer = self._network.zeros(
            len(span.layers), 2, len(self._mood), self._geometry.n_heads, capacity, self._geometry.head_width
        )
        if span.capacity:
            buffer[:, :, :, :, : span.capacity] = span.buffer
        positions = np.full(capacity, -1, dtype=np.int64)
        positions[: span.capacity] = span.positions
        span.buffer, span.positions = buffer, positions
        self._network.forget()


# ---- ONNX Runtime ---------------------------------------------------------------------------------------------------


class OnnxNetwork:
    """The graph that `emsync.export` writes, on the CPU. Buffers are NumPy, read in place."""

    backend = "onnx"

    def __init__(
        self, folder: Path, config: dict[str, Any], *, threads: int | None = None, graph: Path | None = None
    ) -> None:
        import onnxruntime

        graph = graph or folder / GRAPH
        if not graph.is_file():
            raise ModelError(f"{folder} has no {GRAPH}; write it with: emsync export {folder}")
        header = weights_header(folder / WEIGHTS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what goes wrong is raised; nothing is printed beside it
        # Weights of 8 bits become float32 once, at loading; else ONNX Runtime would do that anew at every step.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
            about = session.get_modelmeta().custom_metadata_map
        except Exception as error:  # onnxruntime's own exceptions share no root but this one
            raise ModelError(
                f"{graph} cannot be read ({_first_line(error)}); write it again with: emsync export {folder}"
            ) from error
        made_for = json.loads(about.get("model", "{}"))
        if about.get("weights") != header.digest or any(made_for.get(name) != value for name, value in config.items()):
            raise ModelError(
                f"{graph} was made for other weights than {folder / WEIGHTS}; "
                f"write it again with: emsync export {folder}"
            )
        self._session = session
        self._relative = config["attention"] == "relative"
        self._outputs = [output.name for output in session.get_outputs()]
        self._context, self._n_lanes = int(config["context"]), len(config["lanes"])
        self._pasts: dict[str, FloatArray] = {}

    def zeros(self, *shape: int) -> FloatArray:
        """A buffer of float32 zeros."""
        return np.zeros(shape, dtype=np.float32)

    def rows(self, buffer: FloatArray, rows: IntArray) -> FloatArray:
        """See `Network.rows`."""
        return np.take(buffer, rows, axis=2)  # in C order, unlike buffer[:, :, rows]: what ONNX Runtime reads in place

    def forget(self) -> None:
        """Buffers were replaced: slice them anew at the next run."""
        self._pasts = {}

    def run(
        self, ids: IntArray, heard: IntArray, lanes: FloatArray, mood: FloatArray, start: int, spans: list[Span]
    ) -> tuple[FloatArray, FloatArray, list[Any]]:
        """See `Network.run`."""
        batch, count = ids.shape
        if not self._pasts:
            for span in spans:
                for layer, pair in zip(span.layers, span.buffer, strict=True):
                    self._pasts[f"past_k_{layer}"], self._pasts[f"past_v_{layer}"] = pair
        lanes = np.ascontiguousarray(lanes[..., : self._n_lanes])
        feeds = {"ids": ids, "heard": heard, "lanes": lanes, "mood": mood, **self._pasts}
        feeds["positions"] = np.arange(start, start + count)
        for span in spans:
            feeds["local_mask" if span.block else "global_mask"] = span.mask(start, count)
        if self._relative:
            every = np.concatenate([spans[0].positions, feeds["positions"]])
            feeds["distance"] = np.clip(feeds["positions"][:, None] - every, 0, self._context - 1)
        logits, velocity_logits, *new = self._session.run(self._outputs, feeds)
        shapes = [(len(span.layers), 2, batch, -1, count, span.buffer.shape[-1]) for span in spans]
        return logits, velocity_logits, [kept.reshape(shape) for kept, shape in zip(new, shapes, strict=True)]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()


# ---- torch ----------------------------------------------------------------------------------------------------------


class TorchNetwork:
    """`emsync.model.EventTransformer`, on the GPU where there is one."""

    backend = "torch"

    def __init__(self, folder: Path, *, threads: int | None = None) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load(folder).to(self._device)

    def zeros(self, *shape: int) -> Any:
        """A buffer of float32 zeros, on the model's device."""
        import torch

        return torch.zeros(shape, device=self._device)

    def rows(self, buffer: Any, rows: IntArray) -> Any:
        """See `Network.rows`."""
        import torch

        return buffer.index_select(2, torch.tensor(rows, dtype=torch.int64, device=self._device))

    def forget(self) -> None:
        """Nothing is kept of buffers."""

    def run(
        self, ids: IntArray, heard: IntArray, lanes: FloatArray, mood: FloatArray, start: int, spans: list[Span]
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
            logits, velocity_logits, new = self._model.step(
                torch.tensor(ids, device=place),
                torch.tensor(heard, device=place),
                torch.tensor(lanes, device=place),
                torch.tensor(mood, device=place),
                torch.arange(start, start + ids.shape[1], device=place),
                cache,
            )
            kept = [torch.stack([torch.stack(new[layer][:2]) for layer in span.layers]) for span in spans]
            last, last_levels = (y[:, -1].float().contiguous().cpu().numpy() for y in (logits, velocity_logits))
            return last, last_levels, kept


# ---- opening --------------------------------------------------------------------------------------------------------


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def open_decoder(
    folder: str | os.PathLike[str] | None = None, *, backend: Backend = "auto", threads: int | None = None
) -> CachedDecoder:
    """Open a model folder for composing; None is the model that ships with emsync.

    backend: "onnx", "torch", or "auto": ONNX Runtime where the folder has a graph and it is installed, else torch.
    threads: how many, None for `THREADS` with ONNX Runtime and torch's own choice with torch.
    Raises `ModelError` for a folder that is incomplete, damaged or of another vocabulary, `MissingExtraError` when what
    the backend needs is not installed.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"decoder: {threads} threads; give 1 or more")
    folder = Path(embedded_folder() if folder is None else folder)
    config = read_config(folder)["model"]
    geometry, mixture = Geometry.of(config), Mixture.read(folder)
    if backend == "auto":
        backend = "onnx" if (folder / GRAPH).is_file() and _has("onnxruntime") else "torch"
        if backend == "torch" and not _has("torch") and _has("onnxruntime"):
            raise ModelError(
                f"{folder} has no {GRAPH} and torch is not installed; run 'emsync export {folder}' where torch is, "
                "or here: pip install 'emsync[train]'"
            )
    if backend == "onnx":
        if not _has("onnxruntime"):
            raise MissingExtraError(
                "onnxruntime is not installed; run: pip install onnxruntime, or choose the torch backend"
            )
        return CachedDecoder(OnnxNetwork(folder, config, threads=threads), geometry, mixture)
    if backend != "torch":
        raise ModelError(f"decoder: backend {backend!r} is not known; choose auto, onnx or torch")
    if not _has("torch"):
        raise MissingExtraError("torch is not installed; run: pip install 'emsync[train]'")
    return CachedDecoder(TorchNetwork(folder, threads=threads), geometry, mixture)


__all__ = [
    "AROUSAL_SLOT", "VALENCE_SLOT", "Backend", "CachedDecoder", "Decoder", "Geometry", "Network", "OnnxNetwork",
    "TorchNetwork", "open_decoder",
]  # fmt: skip
