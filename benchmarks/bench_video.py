"""Measure the cut detectors and their speed on clips whose cuts are known.

    python benchmarks/bench_video.py FOLDER

FOLDER holds clips and a manifest.json: {"videos": [{"file": "a.mp4", "hard_cuts": [1.24, ...]}, ...]}, seconds from the
first frame. A cut is found if a detection is within 0.11 s of it; each detection counts once. Prints Markdown.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from emsync.film import Film
from emsync.video import DETECTORS, analyze

TOLERANCE_S = 0.11


@dataclass(frozen=True)
class Count:
    """Correct detections, all detections, and true cuts."""

    hits: int = 0
    found: int = 0
    true: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.hits + other.hits, self.found + other.found, self.true + other.true)

    def __str__(self) -> str:
        precision = f"{self.hits / self.found:.2f}" if self.found else "–"
        recall = f"{self.hits / self.true:.2f}" if self.true else "–"
        f1 = f"{2 * self.hits / (self.found + self.true):.2f}" if self.found + self.true else "–"
        return f"{precision} / {recall} / {f1} ({self.hits} of {self.true}, {self.found - self.hits} false)"


def count(found_s: list[float], true_s: list[float]) -> Count:
    """Match in order of time, each detection once."""
    left, hits = sorted(found_s), 0
    for true in sorted(true_s):
        near = [found for found in left if abs(found - true) <= TOLERANCE_S]
        if near:
            left.remove(min(near, key=lambda found: abs(found - true)))
            hits += 1
    return Count(hits, len(found_s), len(true_s))


def main(folder: Path) -> None:
    clips = json.loads((folder / "manifest.json").read_text())["videos"]
    names = list(DETECTORS)
    analyze(folder / clips[0]["file"])  # imports and caches are not what is measured
    totals, seconds, decoding_s, film_s = dict.fromkeys(names, Count()), dict.fromkeys(names, 0.0), 0.0, 0.0
    print("| clip | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for clip in clips:
        path = folder / clip["file"]
        begun = time.perf_counter()
        with Film(path) as film:
            for _ in film.frames():
                pass
            film_s += film.duration_s
        decoding_s += time.perf_counter() - begun
        cells = []
        for name in names:
            begun = time.perf_counter()
            scene = analyze(path, detector=name)  # type: ignore[arg-type]  # the names are the table's
            seconds[name] += time.perf_counter() - begun
            result = count(scene.cuts_s.tolist(), clip["hard_cuts"])
            totals[name] += result
            cells.append(str(result))
        print(f"| {clip['file']} | " + " | ".join(cells) + " |")
    print("| **all** | " + " | ".join(f"**{totals[name]}**" for name in names) + " |")
    print("| times real time | " + " | ".join(f"{film_s / seconds[name]:.0f}" for name in names) + " |")
    print(f"\nDecoding pictures and sound alone: {film_s / decoding_s:.0f} times real time.")


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "manifest.json").is_file():
        sys.exit("usage: python benchmarks/bench_video.py FOLDER (a folder of clips with a manifest.json)")
    main(Path(sys.argv[1]))
