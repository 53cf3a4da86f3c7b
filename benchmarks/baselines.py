"""The n-gram rows of docs/validation.md.

    python benchmarks/baselines.py train-00.npz valid.npz [--songs 200] [--raw-tempo] [--only NAME ...]

Counts n-grams over every song of the first archive, and gives bits per note on the first songs of the second. One
thread, 1 GB of memory and half a minute for 52 million events.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from emsync.errors import EmsyncError
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import Dataset
from emsync.training.evaluation.evaluate import BASELINES, baselines, choose, table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="the archive to count")
    parser.add_argument("archive", type=Path, help="the archive to measure on")
    parser.add_argument("--songs", type=int, default=200, help="how many songs, from the first (200)")
    parser.add_argument("--raw-tempo", action="store_true", help="leave tempi unchanged, instead of snapping them")
    names = [name for name, _, _ in BASELINES]
    parser.add_argument("--only", action="append", choices=names, help="only this baseline (may be given repeatedly)")
    options = parser.parse_args()
    try:
        data = Dataset.of(dict(read_archive(options.archive).arrays), snap_tempo=not options.raw_tempo)
        songs = choose(data, options.songs)
        train = Dataset.of(dict(read_archive(options.train).arrays), snap_tempo=not options.raw_tempo)
        rows: list[list[str | float]] = []
        for name in options.only or names:
            begun = time.perf_counter()
            report = baselines(train, data, songs=songs, names=[name])[name]
            print(f"{name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr)
            rows.append([name, report.bits_per_note, report.bits_per_event])
    except EmsyncError as error:
        print(f"baselines: error: {error}", file=sys.stderr)
        return 2
    print(f"counted: {len(train):,} songs, {len(train.ids) - len(train):,} events")
    print(f"measured: {report.songs:,} songs, {report.notes:,} notes, {report.events:,} events\n")
    print("\n".join(table(["", "bits per note", "bits per event"], rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
