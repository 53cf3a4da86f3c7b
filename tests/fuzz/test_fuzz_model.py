"""Fuzzing of the readers of a model folder: configuration, mixture, weights, graph, and the index of parts."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.checkpoint import CONFIG, GRAPH, WEIGHTS, embedded_folder, read_config, weights_header
from emsync.conditions import N_LANES
from emsync.decoder import open_decoder
from emsync.mixture import COPYING, Mixture, file_hash
from emsync.networks import Geometry
from emsync.weight_parts import INDEX, join_parts
from tests.fuzz.harness import Target, fuzz


def embedded(name: str) -> Callable[[], list[bytes]]:
    return lambda: [(embedded_folder() / name).read_bytes()]


def in_model(
    name: str, read: Callable[[Path], object], of: Callable[[], Path] = embedded_folder
) -> Callable[[bytes], object]:
    """Read a model folder in which the file `name` holds the input; the others are those of a whole one."""

    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            for file in of().iterdir():
                if file.name != name:
                    shutil.copy(file, folder)
            (folder / name).write_bytes(data)
            return read(folder)

    return run


def weights() -> list[bytes]:
    def file(tensors: dict[str, tuple[str, list[int], int]]) -> bytes:
        header, at = {"__metadata__": {"format": "pt"}}, 0
        for name, (kind, shape, size) in tensors.items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}  # type: ignore[dict-item]
            at += size
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + bytes(at)

    return [file({"a": ("F32", [2, 3], 24)}), file({"b": ("I8", [4, 2], 8), "b.scale": ("F32", [4], 16)})]


def indices() -> list[bytes]:
    part = {"name": "part-00.bin", "bytes": 4, "sha256": hashlib.sha256(b"test").hexdigest()}
    return [json.dumps({"format": 1, "config": {"vocabulary": v.HASH}, "parts": [part]}).encode()]


def read_weights(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, WEIGHTS)
        path.write_bytes(data)
        return weights_header(path)


def join(data: bytes) -> object:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "part-00.bin").write_bytes(b"test")
        Path(folder, INDEX).write_bytes(data)
        return join_parts(folder, Path(folder, "joined"))


@cache
def tiny() -> Path:
    from tests.fakes import exported_model

    return exported_model(Path(tempfile.mkdtemp(prefix="emsync-fuzz-")) / "tiny")


def decode(folder: Path) -> object:
    """Open the graph and take two steps with it."""
    decoder = open_decoder(folder, backend="onnx")
    zeros = np.zeros((1, 2), dtype=np.int64)
    decoder.prefill(zeros, zeros, np.zeros((1, 2, N_LANES), dtype=np.float32), np.zeros((1, 2), dtype=np.float32))
    return decoder.step(zeros[:, 0], zeros[:, 0], np.zeros((1, N_LANES), dtype=np.float32))


TARGETS = [
    Target("config", embedded(CONFIG), in_model(CONFIG, lambda folder: Geometry.of(read_config(folder)["model"]))),
    Target("copying", embedded(COPYING), in_model(COPYING, lambda folder: (Mixture.read(folder), file_hash(folder)))),
    Target("weights", weights, read_weights),
    Target("parts", indices, join),
    Target("graph", lambda: [(tiny() / GRAPH).read_bytes()], in_model(GRAPH, decode, tiny)),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=40 if target.name == "graph" else 150)
    assert counts.refused > 20
