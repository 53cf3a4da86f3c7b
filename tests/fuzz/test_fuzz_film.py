"""Fuzzing of the analysis of films: tiny films in several containers."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from emsync.film import Stills
from emsync.video import Scene, analyze
from tests.films import plain, write
from tests.fuzz.harness import Target, fuzz

PICTURES = [plain(200, 30, 30)] * 4 + [plain(20, 20, 90)] * 4


@cache
def seeds() -> tuple[bytes, ...]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("mkv", "mp4", "ts", "avi", "nut", "mpg"):
            sound = np.full((1, 6400), 0.25, np.float32) if suffix in ("mkv", "ts") else None
            path = write(Path(folder, f"film.{suffix}"), PICTURES, fps=25 if suffix == "mpg" else 10, sound=sound)
            found.append(path.read_bytes())
    return tuple(found)


def watch(data: bytes) -> Scene:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "film")
        path.write_bytes(data)
        stills = Stills()
        scene = analyze(path, stills=stills)
    stills.at([scene.duration_s / 2])
    assert scene.duration_s <= 90_000
    assert Fraction(1) <= scene.frame_rate <= 120
    return Scene.from_json(scene.to_json())


TARGETS = [Target("film", lambda: list(seeds()), watch)]


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz(target: Target) -> None:
    counts = fuzz(target, inputs=60)
    assert counts.read > 20
