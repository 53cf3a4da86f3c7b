"""How fast a model composes: tokens/s of ONNX Runtime and torch, by batch and context, alternating in one run.

    python benchmarks/bench_decoder.py [--model DIR | --preset small] [--rounds 4]

Without --model, random weights of a preset's shape are used: speed does not depend on their values. The machine may be
busy, so the rounds are interleaved; trust the ratios. "best" is the fastest single step, "median" is typical of a busy
machine. Both include Python's share of a step.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np

from emsync import vocabulary as v
from emsync.conditions import N_LANES
from emsync.decoder import CachedDecoder, open_decoder

REPOSITORY = Path(__file__).resolve().parents[1]
BATCHES, CONTEXTS, STEPS = (1, 4), (270, 1000), 12
# name -> backend, threads. One thread of torch: its threads are the process's, and starve where others compete.
PROGRAMS = {"onnx, 1 thread": ("onnx", 1), "onnx, 2 threads": ("onnx", 2), "torch, 1 thread": ("torch", 1)}


def random_model(preset: str, folder: Path) -> Path:
    """A folder with a model of the preset's shape and random weights, in half precision, and its graph."""
    import torch

    from emsync import checkpoint
    from emsync.export import export
    from emsync.model import EventTransformer
    from emsync.model_config import ModelConfig

    shape = tomllib.loads((REPOSITORY / "training" / f"{preset}.toml").read_text(encoding="utf-8"))["model"]
    torch.manual_seed(0)
    model = EventTransformer(ModelConfig(**shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    checkpoint.save(model, folder / preset, bits=16)
    export(folder / preset)
    return folder / preset


def begin(decoder: CachedDecoder, batch: int, context: int) -> tuple[float, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Prefill with random events to `context`, leaving room for all steps; seconds taken, and inputs of a step."""
    random = np.random.default_rng(0)
    ids, previous_velocity = random.integers(0, v.SIZE, (batch, context)), np.zeros((batch, context), dtype=np.int64)
    lanes = random.uniform(0, 1, (batch, context, N_LANES)).astype(np.float32)
    start = time.perf_counter()
    decoder.prefill(ids, previous_velocity, lanes, np.full((batch, 2), np.nan, dtype=np.float32))
    return time.perf_counter() - start, (ids[:, 0], previous_velocity[:, 0], lanes[:, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder with its graph")
    parser.add_argument("--preset", default="small", help="the shape of a random model (small)")
    parser.add_argument("--rounds", type=int, default=4, help=f"turns of {STEPS} steps each (4)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = arguments.model or random_model(arguments.preset, Path(folder))
        decoders = {}
        for name, (backend, threads) in PROGRAMS.items():
            start = time.perf_counter()
            decoders[name] = open_decoder(model, backend=backend, threads=threads)  # type: ignore[arg-type]
            print(f"opened {name} in {time.perf_counter() - start:.2f} s")
        print(
            f"{'':<20} {'batch':>5} {'context':>7} {'prefill s':>9} {'tokens/s best':>14} {'median':>7} {'x torch':>8}"
        )
        for batch in BATCHES:
            for length in CONTEXTS:
                compare(decoders, batch, length, arguments.rounds)


def compare(decoders: dict[str, CachedDecoder], batch: int, length: int, rounds: int) -> None:
    """Print one row for each decoder; torch's best step is the unit of the ratios."""
    context = min(length, min(d.context for d in decoders.values()) - STEPS)
    taken: dict[str, list[float]] = {name: [] for name in decoders}
    prefills: dict[str, list[float]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decoder in decoders.items():
            seconds, what = begin(decoder, batch, context)
            prefills[name].append(seconds)
            for _ in range(STEPS):
                start = time.perf_counter()
                decoder.step(*what)
                taken[name].append(time.perf_counter() - start)
    unit = min(taken["torch, 1 thread"])
    for name, times in taken.items():
        best, median = min(times), statistics.median(times)
        print(
            f"{name:<20} {batch:>5} {context:>7} {min(prefills[name]):>9.2f} "
            f"{batch / best:>14.0f} {batch / median:>7.0f} {unit / best:>8.1f}"
        )


if __name__ == "__main__":
    main()
