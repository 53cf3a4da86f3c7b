"""Folders of tiny models, exported once, and one thread for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from emsync import checkpoint, export
from tests.decoder.variants import VARIANTS, tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Products this small only lose by being shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model folder with its graph, for each variant once."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / name
            checkpoint.save(tiny(**VARIANTS[name]), made[name])
            assert export.export(made[name]) == made[name] / "model.onnx"
        return made[name]

    return folder


@pytest.fixture
def copied(folders: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model folder to spoil."""
    target = tmp_path / "model"
    target.mkdir()
    for file in folders("small").iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target
