"""How fast a corpus is built from MIDI files, compared with pretty_midi only parsing the same files, alternating.

    python benchmarks/bench_prepare.py FOLDER [--files 100] [--rounds 3]

One process does both, so the number of cores does not matter. `read` is one file to a song in the archives' form,
`fingerprint` the shingles and the signature, `prepare` everything from the folder to written archives. The machine may
be busy: trust the ratios rather than the files a second. Files that pretty_midi cannot parse are left out of both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pretty_midi

from emsync.training.corpus import near_duplicates
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.song_files import MIDI_SUFFIXES, find, read_song
from emsync.training.corpus.songs import Refused


def parse(path: str) -> object:
    """The file as pretty_midi reads it, without its warnings about odd files."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pretty_midi.PrettyMIDI(path)


def read(path: str) -> object:
    """The file as a song, or None if it is refused."""
    try:
        return read_song(path).song
    except Refused:
        return None


def fingerprint(path: str) -> object:
    """The file as a song, and what finds its near-duplicates."""
    try:
        return near_duplicates.signature(near_duplicates.shingles(read_song(path).song))
    except Refused:
        return None


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def parses(path: str) -> bool:
    """Whether pretty_midi can read the file; it may raise any error."""
    try:
        parse(path)
    except Exception:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder of MIDI files")
    parser.add_argument("--files", type=int, default=100, help="how many of them (100)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each program (3)")
    options = parser.parse_args()

    found = [file.path for file in find([options.folder]) if Path(file.path).suffix.lower() in MIDI_SUFFIXES]
    step = max(1, len(found) // options.files)
    paths = [path for path in found[::step] if parses(path)]
    if not paths:
        raise SystemExit(f"no MIDI files that pretty_midi can parse in {options.folder}")

    def whole() -> object:
        with tempfile.TemporaryDirectory() as output:
            return prepare(paths, Path(output) / "corpus", workers=1)

    programs: dict[str, Callable[[], object]] = {
        "pretty_midi": lambda: [parse(path) for path in paths],
        "read": lambda: [read(path) for path in paths],
        "fingerprint": lambda: [fingerprint(path) for path in paths],
        "prepare": whole,
    }
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(options.rounds):
        for name, work in programs.items():
            taken[name].append(seconds(work))
    bare = statistics.median(taken["pretty_midi"])
    print(f"{len(paths)} files")
    print(f"{'program':<14} {'files/s':>10} {'x pretty_midi':>14}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<14} {len(paths) / median:>10.0f} {bare / median:>14.1f}")


if __name__ == "__main__":
    main()
