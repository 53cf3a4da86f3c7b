"""How many events a second training processes: float32 or bfloat16, eager or compiled, local blocks or all-global.

    python benchmarks/bench_train.py [--preset small] [--batch 4] [--rounds 5] [--steps 2] [--compile] [--threads N]

Every variant takes the same random crops through a whole step (forward, backward, clipping, both optimizers),
alternating in one run. The machine may be busy: trust the ratios, each to the first variant. --compile adds the
compiled variants (a minute or more each to compile, not counted).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from emsync import vocabulary as v
from emsync.conditions import LANES
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT, EventTransformer
from emsync.model_config import ModelConfig
from emsync.training import train
from emsync.training.crops import Batch


def made_up(batch: int, context: int, seed: int = 0) -> Batch:
    """A batch of random events, with every condition given."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, v.SIZE, (batch, context + 1))
    velocities = np.where(v.KIND[ids] == v.K_ON, rng.integers(1, v.VELOCITY_LEVELS + 1, ids.shape), 0)
    targets = ids[:, 1:].copy()
    ids[:, 0], ids[:, 1] = VALENCE_SLOT, AROUSAL_SLOT
    low, high = (np.array([getattr(lane, end) for lane in LANES]) for end in ("low", "high"))
    return Batch(
        ids=ids[:, :-1],
        previous_velocity=np.pad(velocities[:, : context - 1], ((0, 0), (1, 0))),
        velocities=velocities[:, :-1],
        lanes=rng.uniform(low, high, (batch, context, len(LANES))).astype(np.float32),
        mood=rng.uniform(-1, 1, (batch, 2)).astype(np.float32),
        targets=targets,
        weights=np.ones((batch, context), dtype=np.float32),
    )


def stepper(
    config: ModelConfig, settings: train.TrainConfig, batch: Batch, device: torch.device, *, bf16: bool, compiled: bool
) -> Callable[[], None]:
    """A function that does one step of training, and waits until it is done."""
    torch.manual_seed(0)
    model = EventTransformer(config).to(device)
    opts = train.optimizers(model, settings, bf16=bf16)
    tensors = train.tensors(batch, device)

    def compute() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext():
            return train.losses(model, tensors, settings.velocity_weight)[0]

    loss_of: Callable[[], torch.Tensor] = torch.compile(compute) if compiled else compute

    def step() -> None:
        loss_of().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        for opt in opts:
            opt.step()
            opt.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--preset", default="small", help="paper, base, small, tiny, mood-adapter or a TOML file (small)"
    )
    parser.add_argument("--batch", type=int, help="crops per step (the preset's)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each variant (5)")
    parser.add_argument("--steps", type=int, default=2, help="steps per round (2)")
    parser.add_argument("--compile", action="store_true", help="compiled variants, too")
    parser.add_argument("--threads", type=int, help="CPU threads (torch's choice)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)

    preset = train.Preset.read(options.preset)
    size = options.batch or preset.train.batch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = made_up(size, preset.crops.context)
    shapes = {"": preset.model}
    if preset.model.local_block:
        shapes[", all global"] = replace(preset.model, local_block=0)
    ways = [(compiled, bf16) for compiled in ([False, True] if options.compile else [False]) for bf16 in (False, True)]
    steps = {
        f"{'bf16' if bf16 else 'fp32'}{' compiled' if compiled else ''}{name}": stepper(
            config, preset.train, batch, device, bf16=bf16, compiled=compiled
        )
        for compiled, bf16 in ways
        for name, config in shapes.items()
    }

    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            begun = time.perf_counter()
            for _ in range(options.steps if turn else 1):  # the first turn warms up, and compiles
                step()
            if turn:
                taken[name].append((time.perf_counter() - begun) / options.steps)

    events = size * preset.crops.context
    where = f"{torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()
    print(f"{options.preset}: {size} crops of {preset.crops.context} events a step, {where}")
    base = statistics.median(next(iter(taken.values())))
    print(f"{'variant':<28} {'events/s':>10} {'best':>10} {'x first':>8}")
    for name, times in taken.items():
        median = statistics.median(times)
        print(f"{name:<28} {events / median:>10,.0f} {events / min(times):>10,.0f} {base / median:>8.2f}")


if __name__ == "__main__":
    main()
