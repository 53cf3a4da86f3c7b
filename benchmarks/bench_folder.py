"""Scoring a folder of films: processor time per film with one process and with several, by the model that ships.

    python benchmarks/bench_folder.py [FILMS [SECONDS [JOBS]]]

Prints processor seconds, which do not depend on what else the machine does: of all processes together, per film, and
how much of it several processes spend on starting and loading the model.
"""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

from emsync import batch, demo_film
from emsync.recipe import Recipe


def spent_s() -> float:
    """Processor time of this process and of those that have ended, in seconds."""
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)


def main(n_films: int = 6, length_s: float = 10.0, jobs: int = 2) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films = [folder / f"{i:03}.mp4" for i in range(n_films)]
        for film in films:
            demo_film.make(film, duration_s=length_s, size=(128, 72), fps=12)
        last = 0.0
        for n_jobs in (1, jobs):
            begun_s = spent_s()
            results = batch.score_all(films, folder / f"out{n_jobs}", Recipe(seed=1), jobs=n_jobs)
            passed_s = spent_s() - begun_s
            assert all(result.status == "scored" for result in results), results
            extra = f", {passed_s - last:.1f} s more than one" if n_jobs > 1 else ""
            print(f"{n_jobs} process(es): {passed_s:.1f} s for {n_films} films, {passed_s / n_films:.1f} s each{extra}")
            last = passed_s


if __name__ == "__main__":
    numbers = sys.argv[1:]
    main(*(int(text) for text in numbers[:1]), *(float(text) for text in numbers[1:2]), *map(int, numbers[2:3]))
