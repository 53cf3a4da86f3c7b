"""How long `emsync --help` takes, compared with a bare Python, alternating in one run.

    python benchmarks/bench_startup.py [--rounds 15]

The machine may be busy: trust the ratio of medians rather than the milliseconds. The goal is under 0.5 s.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]

PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    "import click": ["-c", "import click"],
    "import emsync": ["-c", "import emsync"],
    "emsync --version": ["-m", "emsync", "--version"],
    "emsync --help": ["-m", "emsync", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one run of this Python."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each program (15)")
    rounds = parser.parse_args().rounds

    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(rounds + 1):
        for name, arguments in PROGRAMS.items():
            once = seconds(arguments)
            if turn:  # the first turn fills the file cache and writes bytecode
                taken[name].append(once)

    bare = statistics.median(taken["python -c pass"])
    print(f"{'program':<20} {'median ms':>10} {'best ms':>10} {'x bare':>8}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<20} {median * 1e3:>10.0f} {min(times) * 1e3:>10.0f} {median / bare:>8.1f}")


if __name__ == "__main__":
    main()
