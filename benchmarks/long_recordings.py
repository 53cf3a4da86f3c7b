"""Long recordings of a tiny random MusicGen: one sound throughout, and how windows go on.

    python -m benchmarks.long_recordings

One sound: the codes of each window as a histogram over codebooks and codes; how alike the windows are (cosine), with a
mood that moves, and against the windows of a recording with another text. Going on: the share of codes that two windows
have in common where they overlap, going on from the codes before, and beginning anew.
The model is random, so only the comparisons mean something.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsync.backends import Brief, window_seed
from emsync.joins import Window, plan_windows
from emsync.mood import MoodCurve
from emsync.mood_adapter import AdapterShape, MoodAdapter
from emsync.musicgen import MusicGen
from tests.music_models import tiny_musicgen
from tests.songs import with_a_chord


def histogram(codes: np.ndarray) -> np.ndarray:
    return np.concatenate([np.bincount(row, minlength=32) for row in codes]).astype(float)


def alike(some: list[np.ndarray], others: list[np.ndarray]) -> float:
    pairs = itertools.combinations(some, 2) if some is others else itertools.product(some, others)
    return float(np.mean([a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs]))


def windows_of(backend: MusicGen, brief: Brief, seed: int, *, going_on: bool = True) -> list[np.ndarray]:
    n_steps = round(brief.duration_s * backend.step_hz)
    codes: list[np.ndarray] = []
    for window in plan_windows(n_steps, backend.longest, backend.overlap):
        before = codes[-1] if codes and going_on else None
        asked = window if before is not None else Window(window.index, window.first, window.stop)
        made = backend.generate(brief, asked, before, window_seed(seed, window.index), lambda share: None)
        codes.append(made)
    return codes


def main() -> None:
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        backend = MusicGen.open(str(tiny_musicgen(folder / "model")))
        song = with_a_chord(duration_s=16.0)
        moving = MoodCurve([0.0, 8.0, 16.0], [-0.8, 0.8, -0.8], [0.9, -0.9, 0.9])
        adapter = MoodAdapter.fresh(AdapterShape.for_network(backend.network))
        adapter.gains.data += 0.3
        brief = Brief(song, "lead", "slow strings", 16.0, 120.0, None, 4, moving)
        one = [histogram(codes) for codes in windows_of(backend, brief, 0)]
        moved = [histogram(codes) for codes in windows_of(replace(backend, adapter=adapter), brief, 0)]
        other = [histogram(codes) for codes in windows_of(backend, replace(brief, text="fast drums"), 0)]
        print(f"windows of one recording {alike(one, one):.3f}, with a mood that moves {alike(moved, moved):.3f}, "
              f"against those of another text {alike(one, other):.3f}")  # fmt: skip
        for going_on in (True, False):
            steps = []
            for seed in range(2):
                codes = windows_of(backend, brief, seed, going_on=going_on)
                for before, after in itertools.pairwise(codes):
                    joint = before[:, -backend.overlap :] == after[:, : backend.overlap]
                    steps.append(float(joint.mean()))
            print(f"codes that two windows share where they overlap, going on {going_on}: {np.mean(steps):.3f}")
    print(f"{time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
