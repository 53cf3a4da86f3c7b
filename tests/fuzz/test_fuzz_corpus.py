"""Fuzzing of the readers of a corpus: archives, pianorolls, presets."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emsync.training.corpus.archive import read_archive, song_count
from emsync.training.corpus.archive_events import tokenize
from emsync.training.corpus.label_archives import archives_among
from emsync.training.corpus.song_files import read_song
from emsync.training.corpus.song_to_score import song_score
from emsync.training.presets import PRESETS, Preset
from tests.fuzz.harness import Target, fuzz
from tests.models import archive_file


def in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def run(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, name)
            path.write_bytes(data)
            return read(path)

    return run


def archives() -> list[bytes]:
    """As `emsync prepare` writes them, and without compression, where damage reaches the arrays."""
    with tempfile.TemporaryDirectory() as folder:
        path = archive_file(Path(folder, "songs.npz"), 2, bars=2)
        plain = io.BytesIO()
        np.savez(plain, allow_pickle=False, **read_archive(path).arrays)
        return [path.read_bytes(), plain.getvalue()]


def read_songs(path: Path) -> object:
    """All that training and labelling do with an archive."""
    archives_among([str(path)])
    archive = read_archive(path)
    assert song_count(path) == len(archive)
    n = len(archive)
    return list(archive), [song_score(archive, i) for i in range(n)], tokenize(archive.arrays, 0, n)


def pianorolls() -> list[bytes]:
    programs = (0, 0, 24, 32, 48)
    info = {str(i): {"program": program, "is_drum": i == 0, "name": "x"} for i, program in enumerate(programs)}
    arrays: dict[str, np.ndarray] = {"tempo": np.full(96, 120.0), "downbeat": np.arange(96) % 48 == 0}
    for i in range(len(programs)):
        pitch = 36 + 12 * (i > 0)
        arrays |= {
            f"pianoroll_{i}_csc_data": np.full(20, 80, dtype=np.uint8),
            f"pianoroll_{i}_csc_indices": np.arange(0, 80, 4, dtype=np.int32),
            f"pianoroll_{i}_csc_indptr": np.repeat([0, 20], [pitch + 1, 128 - pitch]).astype(np.int32),
            f"pianoroll_{i}_csc_shape": np.array([96, 128]),
        }
    found = []
    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        text = np.frombuffer(json.dumps({**info, "beat_resolution": 24}).encode(), dtype=np.uint8)
        save(out, allow_pickle=False, **arrays)
        with zipfile.ZipFile(out, "a") as zipped:
            zipped.writestr("info.json", text.tobytes())
        found.append(out.getvalue())
    return found


def presets() -> list[bytes]:
    import emsync.training

    folder = Path(emsync.training.__file__).parent
    return [(folder / f"{name}.toml").read_bytes() for name in PRESETS]


TARGETS = [
    Target("archive", archives, in_file("songs.npz", read_songs)),
    Target("pianoroll", pianorolls, in_file("roll.npz", lambda path: read_song(path, min_notes=1))),
    Target("preset", presets, in_file("mine.toml", Preset.read)),
]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=150)
    assert counts.read > 2
    assert counts.refused > 20
