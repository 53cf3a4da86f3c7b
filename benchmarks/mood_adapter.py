"""A mood adapter trained on synthetic codes with a tiny random MusicGen: does it learn to follow the curve?

    python -m benchmarks.mood_adapter

Thirty clips of 50 codes. Two codebooks follow valence and arousal (code 8 to 23 of 32, with noise), the other two are
noise. Twenty-four clips are trained on; of the other six the loss is measured without the adapter, with it, with it
under a neutral curve and under the opposite one. Then the model composes under three moods. The model is random, so the
figures say that the mechanism works, and nothing of how music sounds.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsync.backends import Brief
from emsync.joins import Window
from emsync.mood import MoodCurve
from emsync.mood_adapter import MoodAdapter
from emsync.musicgen import MusicGen, Sampling
from emsync.training.adapter import TrainingClip, loss_of, states_of, train
from tests.music_models import tiny_musicgen
from tests.songs import with_a_chord

CLIPS, HELD_OUT, STEPS, EPOCHS = 30, 6, 50, 25


def make(number: int, step_hz: float) -> TrainingClip:
    rng = np.random.default_rng(number)
    mood = MoodCurve([0.0, 1.0, 2.0], *rng.uniform(-1, 1, (2, 3)))
    levels = np.stack(mood.at((np.arange(STEPS) + 0.5) / step_hz))  # (2, steps)
    led = np.clip(np.rint(15.5 + 7.5 * levels + rng.normal(0, 1, levels.shape)), 0, 31)
    codes = np.concatenate([led, rng.integers(0, 32, (2, STEPS))]).astype(np.int16)
    return TrainingClip(codes, mood, 0.0, "", f"{number}")


def with_mood(clip: TrainingClip, sign: float) -> TrainingClip:
    mood = clip.mood
    return replace(clip, mood=MoodCurve(mood.times_s, sign * mood.valence, sign * mood.arousal))


def main() -> None:
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        backend = MusicGen.open(str(tiny_musicgen(Path(place) / "model")))
        clips = [make(number, backend.step_hz) for number in range(CLIPS)]
        known, held = clips[HELD_OUT:], clips[:HELD_OUT]
        adapter, losses = train(backend, known, epochs=EPOCHS, learning_rate=5e-3)
        states = states_of(backend, "")

        def mean(one: MoodAdapter | None, sign: float = 1.0) -> float:
            some = [with_mood(clip, sign) for clip in held]
            return float(np.mean([float(loss_of(backend, one, clip, states).detach()) for clip in some]))

        print(f"training loss, nats a code: {losses[0]:.3f} -> {losses[-1]:.3f} in {EPOCHS} epochs")
        print(f"held out: without {mean(None):.3f}, with {mean(adapter):.3f}, under a neutral curve "
              f"{mean(adapter, 0.0):.3f}, under the opposite one {mean(adapter, -1.0):.3f}")  # fmt: skip
        print("gains:", ", ".join(f"{gain:.3f}" for gain in adapter.gains.tolist()))
        steered = replace(backend, adapter=adapter, sampling=Sampling(guidance=1.0))
        for level in (-0.9, 0.0, 0.9):
            brief = Brief(with_a_chord(), "lead", "", 5.0, 120.0, None, 4, MoodCurve.constant(level, level))
            made = [steered.generate(brief, Window(0, 0, STEPS), None, seed, lambda share: None) for seed in range(3)]
            means = np.mean(made, axis=(0, 2))
            print(f"mood {level:+.1f}: mean code of the books " + ", ".join(f"{each:.1f}" for each in means))
    print(f"{time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
