"""Decoding with a cache, in two verbs: `prefill` a beginning, then `step` position by position.

The composer speaks to a `Decoder` (`emsync.decoding`) and never to a network, so the same notes come from ONNX Runtime,
which needs no torch, and from torch. A `CachedDecoder` is a network behind a cache of keys and values:

- Layers are of two kinds. Global ones attend to every position; local ones to their own block of `local_block`
  positions and the one before, so two blocks are all they keep.
- A kind's keys and values are in one buffer (layers, 2, B, H, C, D), position p in slot p modulo the ring's size. The
  buffer grows with what it holds, in steps of `GROWTH` slots, so that a short piece pays for a short one.
- A long beginning is worked through in chunks that end with a block, so that all positions of a chunk see the same
  slots.

Conventions: B batch, T time, C cache slots, H heads, D head width, N lanes, V vocabulary. Positions count from 0 at
every prefill. Everything that goes in or out is NumPy; logits are float32.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from emsync import vocabulary as v
from emsync.checkpoint import GRAPH, embedded_folder, read_config
from emsync.conditions import AROUND_POINTS, N_LANES
from emsync.critic import Critic
from emsync.decoding import Decoder, Held
from emsync.errors import MissingExtraError, ModelError
from emsync.mixture import COPYING, Mixture
from emsync.networks import FloatArray, Geometry, IntArray, Network, OnnxNetwork, Span, TorchNetwork
from emsync.style import Style

Backend = Literal["auto", "onnx", "torch"]

#: Ids of the two mood positions; `emsync.model` names the same, but needs torch.
VALENCE_SLOT: Final = v.VALENCE_SLOT
AROUSAL_SLOT: Final = v.AROUSAL_SLOT
#: Caches grow by this many slots.
GROWTH: Final = 64
#: The most positions worked through at once: bounds the memory that attention scores take.
CHUNK: Final = 256


class CachedDecoder:
    """A network behind a cache; the `Decoder` that `open_decoder` gives."""

    def __init__(
        self, network: Network, geometry: Geometry, mixture: Mixture | None = None, critic: Critic | None = None
    ) -> None:
        self._network, self._geometry, self.mixture, self.critic = network, geometry, mixture, critic
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
    def n_rows(self) -> int:
        """Rows held now."""
        return len(self._mood)

    @property
    def knows_mood(self) -> bool:
        """Whether the model was trained with the piece's mood in the two prefix positions."""
        return self._geometry.knows_mood

    @property
    def hears_controls(self) -> bool:
        """Whether the model has lanes for controls."""
        return self._geometry.hears_controls

    @property
    def reads_curve(self) -> bool:
        """Whether the model has a mood adapter, which reads the mood curve around each event."""
        return self._geometry.reads_curve

    @property
    def backend(self) -> str:
        """What runs the model: "onnx" or "torch"."""
        return self._network.backend

    @property
    def states(self) -> FloatArray | None:
        """The hidden states (B, width) that the latest logits were read from.

        None before the first ones, and from a graph that was written before graphs gave them.
        """
        return self._network.states

    def prefill(
        self, ids: IntArray, previous_velocity: IntArray, lanes: FloatArray, mood: FloatArray,
        around: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray]:  # fmt: skip
        """Start over: clear the cache and take T positions, numbered from 0.

        ids: (B, T), events or the mood slots. previous_velocity: (B, T), the velocity level + 1 of the event before
        each, 0 where that has none. lanes: (B, T, N), NaN where not given. mood: (B, 2), kept for every later step.
        around: (B, T, 2, P), the mood around each event, NaN where not given; only a model that `reads_curve` reads it.
        Returns the last position's logits (B, V) and velocity logits (B, 16), float32.
        Raises `ModelError` when the shapes do not fit or T is not within 1 … context.
        """
        ids, previous_velocity = (
            np.ascontiguousarray(ids, dtype=np.int64),
            np.ascontiguousarray(previous_velocity, dtype=np.int64),
        )
        lanes, mood = np.ascontiguousarray(lanes, dtype=np.float32), np.ascontiguousarray(mood, dtype=np.float32)
        if (
            ids.ndim != 2
            or not len(ids)
            or previous_velocity.shape != ids.shape
            or lanes.shape != (*ids.shape, N_LANES)
            or mood.shape != (len(ids), 2)
        ):
            raise ModelError(
                f"decoder: ids {ids.shape}, previous_velocity {previous_velocity.shape}, lanes {lanes.shape}, "
                f"mood {mood.shape} do not fit; "
                f"give (B, T), (B, T), (B, T, {N_LANES}) and (B, 2)"
            )
        if not 1 <= ids.shape[1] <= self.context:
            raise ModelError(
                f"decoder: {ids.shape[1]} positions; the model holds 1 to {self.context}: give it the last of them"
            )
        geometry, around = self._geometry, self._read(around, ids.shape)
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
                np.ascontiguousarray(previous_velocity[:, start:end]),
                np.ascontiguousarray(lanes[:, start:end]),
                None if around is None else np.ascontiguousarray(around[:, start:end]),
            )
            if end == total:
                return out
            start = end

    def step(
        self, ids: IntArray, previous_velocity: IntArray, lanes: FloatArray, around: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Append one position: ids, previous_velocity (B,), lanes (B, N), around (B, 2, P) or None.

        Returns its logits (B, V) and velocity logits (B, 16).

        Raises `ModelError` when the context is full, or nothing was prefilled.
        """
        if not 0 < self._length < self.context:
            raise ModelError(
                f"decoder: all {self.context} positions are taken; prefill anew with the last of them"
                if self._length
                else "decoder: nothing to step from; prefill at least one position first"
            )
        n = len(self._mood)
        ids, previous_velocity = (
            np.ascontiguousarray(ids, dtype=np.int64),
            np.ascontiguousarray(previous_velocity, dtype=np.int64),
        )
        lanes = np.ascontiguousarray(lanes, dtype=np.float32)
        if ids.shape != (n,) or previous_velocity.shape != (n,) or lanes.shape != (n, N_LANES):
            raise ModelError(
                f"decoder: ids {ids.shape}, previous_velocity {previous_velocity.shape}, lanes {lanes.shape} "
                "do not fit; "
                f"{n} rows are held: give ({n},), ({n},) and ({n}, {N_LANES})"
            )
        around = self._read(None if around is None else np.asarray(around)[:, None], (n, 1))
        return self._take(ids.reshape(n, 1), previous_velocity.reshape(n, 1), lanes.reshape(n, 1, N_LANES), around)

    def select(self, rows: IntArray) -> None:
        """Keep these rows of the batch, in this order; a row may come twice, or not at all. rows: (B',) int."""
        rows = _chosen(rows, len(self._mood))
        self._mood = self._mood[rows]
        for span in self._spans:
            span.buffer = self._network.rows(span.buffer, rows)
        self._network.forget()

    def hold(self, rows: IntArray) -> Held:
        """A copy of what is in the cache of these rows (B',) int, in this order; the decoder goes on as it is."""
        rows = _chosen(rows, len(self._mood))
        spans = [
            replace(span, positions=span.positions.copy(), buffer=self._network.rows(span.buffer, rows))
            for span in self._spans
        ]
        return Held(self._length, self._mood[rows], tuple(spans))

    def resume(self, held: Held, rows: IntArray) -> None:
        """Go on where rows were held, with these of them (B,) int; a row may come twice, or not at all."""
        rows = _chosen(rows, len(held.mood))
        self._mood, self._length = held.mood[rows], held.length
        self._spans = [
            replace(span, positions=span.positions.copy(), buffer=self._network.rows(span.buffer, rows))
            for span in held.spans
        ]
        self._network.forget()

    def twin(self) -> CachedDecoder:
        """A decoder that shares the weights and has a cache of its own, empty at first. Both may work at a time."""
        return CachedDecoder(self._network.twin(), self._geometry, self.mixture, self.critic)

    def _read(self, around: FloatArray | None, shape: tuple[int, ...]) -> FloatArray | None:
        """The mood around the events (B, T) as the network reads it; None if it is not given, or not read.

        Raises `ModelError` when its shape does not fit.
        """
        if around is None or not self.reads_curve:
            return None
        around = np.ascontiguousarray(around, dtype=np.float32)
        if around.shape != (*shape, 2, AROUND_POINTS):
            raise ModelError(
                f"decoder: the mood around events {around.shape} does not fit; give {(*shape, 2, AROUND_POINTS)}"
            )
        return around

    def _take(
        self, ids: IntArray, previous_velocity: IntArray, lanes: FloatArray, around: FloatArray | None
    ) -> tuple[FloatArray, FloatArray]:
        """Run T positions, all of one block, and keep their keys and values."""
        start, count = self._length, ids.shape[1]
        logits, velocity_logits, new = self._network.run(
            ids, previous_velocity, lanes, self._mood, start, self._spans, around
        )
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


def _chosen(rows: IntArray, n: int) -> IntArray:
    rows = np.asarray(rows)
    if (
        rows.ndim != 1
        or not len(rows)
        or not np.issubdtype(rows.dtype, np.integer)
        or rows.min() < 0
        or rows.max() >= n
    ):
        raise ModelError(f"decoder: rows {rows.tolist()} cannot be chosen from {n}; give whole numbers from 0")
    return rows


# ---- opening --------------------------------------------------------------------------------------------------------


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def open_decoder(
    folder: str | os.PathLike[str] | None = None, *, backend: Backend = "auto", threads: int | None = None,
    style: Style | None = None, style_strength: float = 1.0, judged: bool = True,
) -> CachedDecoder:  # fmt: skip
    """Open a model folder for composing; None is the model that ships with emsync.

    backend: "onnx", "torch", or "auto": ONNX Runtime where the folder has a graph and it is installed, else torch.
    threads: how many, None for `THREADS` with ONNX Runtime and torch's own choice with torch.
    style, style_strength: what is added to the weights, and how much of it. judged: whether the critic is read, too.
    Raises `ModelError` for a folder that is incomplete, damaged or of another vocabulary, or not what the style is for;
    `MissingExtraError` when what the backend needs is not installed.
    """
    if threads is not None and threads < 1:
        raise ModelError(f"decoder: {threads} threads; give 1 or more")
    folder = Path(embedded_folder() if folder is None else folder)
    config = read_config(folder)["model"]
    geometry, mixture, critic = Geometry.of(config), Mixture.read(folder), Critic.read(folder) if judged else None
    changed = None if style is None else style.merged(folder, style_strength)
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
        network = OnnxNetwork(folder, config, threads=threads, changed=changed)
        if mixture is not None and mixture.recall and not network.gives_states:
            raise ModelError(
                f"{folder / GRAPH} does not give the hidden states that {COPYING} needs; "
                f"write it again with: emsync export {folder}"
            )
        return CachedDecoder(network, geometry, mixture, critic)
    if backend != "torch":
        raise ModelError(f"decoder: backend {backend!r} is not known; choose auto, onnx or torch")
    if not _has("torch"):
        raise MissingExtraError("torch is not installed; run: pip install 'emsync[train]'")
    return CachedDecoder(TorchNetwork(folder, threads=threads, changed=changed), geometry, mixture, critic)


__all__ = [
    "AROUSAL_SLOT", "VALENCE_SLOT", "Backend", "CachedDecoder", "Decoder", "Geometry", "Held", "Network", "OnnxNetwork",
    "TorchNetwork", "open_decoder",
]  # fmt: skip
