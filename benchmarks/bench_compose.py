"""Where composing spends its time: opening the model, its steps, grammar and sampling, and the rest.

    python benchmarks/bench_compose.py [--model DIR] [--backend auto|onnx|torch] [--seconds 30 60] [--seed 0]
        [--candidates 1 2 4]

Composes pieces of the given lengths with a cut about every six seconds, on the model that ships with emsync or another
one, and prints Markdown. The machine may be busy: trust the shares rather than the seconds.

With --candidates, the longest piece is composed with each of these numbers of candidates, with a mood, and the table
says how many times as long as the first number each takes.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emsync import checkpoint, midi, soundtrack, writer
from emsync.decoder import Decoder, open_decoder
from emsync.grammar import Grammar
from emsync.mood import MoodCurve
from emsync.recipe import Recipe


class Timed:
    """A decoder that measures the seconds and counts the calls of the one it wraps."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self.prefill_s = self.step_s = 0.0
        self.n_prefills = self.n_steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def prefill(self, *arguments: Any) -> Any:
        begun = time.perf_counter()
        out = self._decoder.prefill(*arguments)
        self.prefill_s += time.perf_counter() - begun
        self.n_prefills += 1
        return out

    def step(self, *arguments: Any) -> Any:
        begun = time.perf_counter()
        out = self._decoder.step(*arguments)
        self.step_s += time.perf_counter() - begun
        self.n_steps += 1
        return out


class Stopwatch:
    """Measures the seconds spent in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def around(self, owner: Any, name: str) -> None:
        """Replace `owner.name` with a wrapper that measures its time."""
        inner, label = getattr(owner, name), name
        self.seconds[label] = 0.0

        def timed(*arguments: Any, **named: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                self.seconds[label] += time.perf_counter() - begun

        setattr(owner, name, timed)


def cuts_of(seconds: float) -> npt.NDArray[np.float64]:
    """A cut about every six seconds, the same ones every time."""
    cuts = np.cumsum(np.random.default_rng(7).uniform(4.5, 7.5, int(seconds)))
    return cuts[cuts < seconds - 2]


def compare_candidates(decoder: Decoder, seconds: float, numbers: list[int], seed: int) -> None:
    """Print how long a piece takes with each number of candidates."""
    mood = MoodCurve(seconds * np.array([0.0, 0.5, 1.0]), np.array([0.3, -0.4, 0.6]), np.array([-0.2, 0.6, 0.4]))
    print("\n| candidates | events | s | times the first |\n|---:|---:|---:|---:|")
    first_s = math.nan
    for number in numbers:
        begun = time.perf_counter()
        recipe = Recipe(seed=seed, candidates=number)
        track = soundtrack.compose(decoder, seconds, cuts_of(seconds), recipe, mood=mood)
        took_s = time.perf_counter() - begun
        first_s = took_s if math.isnan(first_s) else first_s
        print(f"| {number} | {track.n_events} | {took_s:.1f} | {took_s / first_s:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder (the one that ships with emsync)")
    parser.add_argument("--backend", choices=("auto", "onnx", "torch"), default="auto")
    parser.add_argument("--seconds", type=float, nargs="+", default=[30.0, 60.0], help="lengths of the pieces (30 60)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--candidates", type=int, nargs="+", default=[], help="compare these numbers of candidates")
    options = parser.parse_args()

    begun = time.perf_counter()
    decoder = open_decoder(options.model, backend=options.backend)
    opened_s = time.perf_counter() - begun
    about = checkpoint.read_config(checkpoint.embedded_folder() if options.model is None else options.model)
    print(f"{about.get('parameters', 0) / 1e6:.1f} M parameters on {decoder.backend}; opened in {opened_s:.2f} s.\n")

    watch = Stopwatch()
    for owner, name in ((Grammar, "allowed"), (Grammar, "accept"), (writer, "draw")):
        watch.around(owner, name)
    names = ("model: steps", "model: prefills", "grammar", "drawing", "lanes and loop", "score, landing", "MIDI bytes")
    print("| piece | events | s | events/s | per event | " + " | ".join(names) + " |")
    print("|---" * (5 + len(names)) + "|")
    for seconds in options.seconds:
        timed = Timed(decoder)
        watch.seconds = dict.fromkeys(watch.seconds, 0.0)
        composed: list[float] = []
        begun = time.perf_counter()
        track = soundtrack.compose(
            timed, seconds, cuts_of(seconds), Recipe(seed=options.seed),
            progress=lambda share, at=composed: at.append(time.perf_counter()) if share == 1.0 else None,  # type: ignore[misc]
        )  # fmt: skip
        done = time.perf_counter()
        midi.to_bytes(track.score)
        total_s, events_s = time.perf_counter() - begun, composed[-1] - begun
        grammar_s = watch.seconds["allowed"] + watch.seconds["accept"]
        parts = [timed.step_s, timed.prefill_s, grammar_s, watch.seconds["draw"]]
        parts += [events_s - sum(parts), done - composed[-1], total_s - (done - begun)]
        shares = " | ".join(f"{part:.2f} s, {part / total_s:.0%}" for part in parts)
        n = track.n_events
        print(f"| {seconds:g} s | {n} | {total_s:.1f} | {n / total_s:.0f} | {1e3 * events_s / n:.2f} ms | {shares} |")
        met = f"{track.n_within_frame} of {len(track.hits)} cuts within a frame, {len(track.score)} notes"
        print(f"<!-- {met}, {timed.n_prefills} prefills -->")
    if options.candidates:
        compare_candidates(decoder, max(options.seconds), options.candidates, options.seed)


if __name__ == "__main__":
    main()
