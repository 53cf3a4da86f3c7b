"""Mutation fuzzing of whatever reads foreign input.

A `Target` is a reader and a few small valid inputs, its seeds. `fuzz` mutates the seeds and gives each mutant to the
reader, which must return a value or raise `EmsyncError`. Anything else is a failure.

A file `tests/fuzz/test_fuzz_NAME.py` lists its targets as `TARGETS` and tests each with a few hundred inputs:

    TARGETS = [Target("midi", seeds, midi.from_bytes)]

    @pytest.mark.parametrize("target", TARGETS, ids=str)
    def test_fuzz(target: Target) -> None:
        fuzz(target, inputs=300)

`python -m tests.fuzz.harness --seconds 600` (`make fuzz`) runs all targets for that long. It also fails an input that
takes more than ten seconds or 2 GiB of memory. Inputs that failed are kept in `fuzz-failures/`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

from emsync.errors import EmsyncError

#: What one input may take, in `make fuzz`.
LIMIT_S: Final = 10
LIMIT_BYTES: Final = 2 * 2**30
FAILURES: Final = Path("fuzz-failures")
MAX_MUTATIONS: Final = 6
MAX_BYTES: Final = 1 << 20

_NUMBERS: Final = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x100,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x10000,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
)
_WORDS: Final = (
    *(
        b"-1",
        b"0",
        b"-0",
        b"1e999",
        b"1e-999",
        b"nan",
        b"inf",
        b"-inf",
        b"1_0",
        b"0x10",
        b"00",
        b".",
        b",",
        b"\xd9\xa3",
    ),
    *(b"1" * 80, b"9" * 5000, b"[" * 2000, b'{"a":' * 500, b"\x1b[31m", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n"),
)


@dataclass(frozen=True)
class Target:
    """A reader under test.

    - name: short, for reports.
    - seeds: makes a few small valid inputs.
    - run: reads one input; returns anything, or raises `EmsyncError`.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    run: Callable[[bytes], object]

    def __str__(self) -> str:
        return self.name


@dataclass
class Counts:
    """What became of the inputs of one target."""

    read: int = 0
    refused: int = 0
    failed: int = 0


class Failure(AssertionError):
    """A reader neither returned nor raised `EmsyncError`."""


class TooLong(Exception):
    """An input took more than `LIMIT_S`."""


def mutate(seeds: list[bytes], rng: random.Random) -> bytes:
    """A seed with one to `MAX_MUTATIONS` random changes, of at most `MAX_BYTES`."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.randint(1, rng.randint(1, MAX_MUTATIONS))):
        rng.choice(_MUTATIONS)(data, seeds, rng)
    return bytes(data[:MAX_BYTES])


def _span(data: bytes | bytearray, rng: random.Random) -> slice:
    start = rng.randint(0, len(data))
    return slice(start, min(len(data), start + min(rng.randint(1, 64), rng.randint(1, 64))))


def _flip_bit(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _truncate(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    del data[rng.randint(0, len(data)) :]


def _delete(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    del data[_span(data, rng)]


def _repeat(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    span = _span(data, rng)
    data[span] = bytes(data[span]) * rng.choice((2, 3, 50))


def _insert(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    at = rng.randint(0, len(data))
    data[at:at] = rng.randbytes(rng.randint(1, 8))


def _splice(data: bytearray, seeds: list[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    data[_span(data, rng)] = other[_span(other, rng)]


def _join(data: bytearray, seeds: list[bytes], rng: random.Random) -> None:
    other = rng.choice(seeds)
    data[rng.randint(0, len(data)) :] = other[rng.randint(0, len(other)) :]


def _set_number(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    """Write an integer over 2, 4 or 8 bytes, as length and count fields are."""
    size = rng.choice((2, 4, 8))
    value = rng.choice((*_NUMBERS, len(data), rng.randrange(2 ** (8 * size)))) % 2 ** (8 * size)
    at = rng.randint(0, max(len(data) - size, 0))
    data[at : at + size] = value.to_bytes(size, rng.choice(("big", "little")))


def _set_word(data: bytearray, _: list[bytes], rng: random.Random) -> None:
    """Put a troublesome word in the place of a number in a text, or anywhere."""
    places = [match.span() for match in re.finditer(rb"[0-9.]+", data[:10_000])]
    data[slice(*rng.choice(places)) if places else _span(data, rng)] = rng.choice(_WORDS)


_MUTATIONS: Final = (
    *(_flip_bit, _set_byte, _truncate, _delete, _repeat, _insert, _splice, _join),
    *(_set_number, _set_word),
)


def fuzz(target: Target, *, inputs: int, seed: int = 0) -> Counts:
    """Give `inputs` mutants of the target's seeds to its reader; the same seed makes the same mutants.

    The seeds themselves must be read. Raises `Failure`, with the input in hexadecimal, at the first failure.
    """
    seeds = target.seeds()
    for data in seeds:
        target.run(data)
    rng = random.Random(f"{target.name} {seed}")
    counts = Counts(read=len(seeds))
    for _ in range(inputs):
        data = mutate(seeds, rng)
        try:
            _try(target, data, counts)
        except Exception as error:
            raise Failure(f"{target}: {type(error).__name__}: {error}, for the bytes {data.hex()[:4000]}") from error
    return counts


def _try(target: Target, data: bytes, counts: Counts) -> None:
    try:
        target.run(data)
        counts.read += 1
    except EmsyncError:
        counts.refused += 1


# ---------------------------------------------------------------------------------------------------------------------
# make fuzz


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Raise `TooLong` after `LIMIT_S`."""

    def stop(_: int, __: FrameType | None) -> None:
        raise TooLong(f"more than {LIMIT_S} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)


def _limit_memory() -> None:
    import resource

    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT_BYTES, resource.RLIM_INFINITY))


def _fuzz_for(target: Target, seconds: float, seed: int) -> Counts:
    """Fuzz until the time is up; print and keep the first input of each kind of failure."""
    seeds, rng, counts = target.seeds(), random.Random(f"{target.name} {seed}"), Counts()
    kinds: set[str] = set()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        data = mutate(seeds, rng)
        try:
            with _bounded():
                _try(target, data, counts)
        except (Exception, MemoryError) as error:
            counts.failed += 1
            frames = traceback.extract_tb(error.__traceback__)
            place = next((f for f in reversed(frames) if "site-packages" not in f.filename), frames[-1])
            kind = f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
            if kind in kinds:
                continue
            kinds.add(kind)
            FAILURES.mkdir(exist_ok=True)
            file = FAILURES / f"{target.name}-{hashlib.sha256(data).hexdigest()[:12]}"
            file.write_bytes(data)
            print(f"{target}: {kind}: {str(error)[:200]} ({file})", flush=True)
    return counts


def targets() -> list[Target]:
    """The targets of all files in this folder."""
    found: list[Target] = []
    for path in sorted(Path(__file__).parent.glob("test_fuzz_*.py")):
        found += importlib.import_module(f"tests.fuzz.{path.stem}").TARGETS
    return found


def main() -> int:
    """Fuzz every target, or those named, for a share of the time; exit with 1 if any input failed."""
    parser = argparse.ArgumentParser(description="Fuzz the readers of foreign input.")
    parser.add_argument("names", nargs="*", metavar="TARGET", help="targets to fuzz (default: all)")
    parser.add_argument("--seconds", type=float, default=600.0, help="time for all of them (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    options = parser.parse_args()
    chosen = [target for target in targets() if not options.names or target.name in options.names]
    _limit_memory()
    failed = 0
    for target in chosen:
        counts = _fuzz_for(target, options.seconds / len(chosen), options.seed)
        failed += counts.failed
        total = counts.read + counts.refused + counts.failed
        print(f"{target}: {total} inputs, {counts.read} read, {counts.refused} refused, {counts.failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
