"""A mood adapter trained on synthetic recordings with a tiny random MusicGen: does it learn to follow the curve?

    python -m benchmarks.mood_adapter

Twelve recordings of 6 s: tones that rise with valence, and beat faster and louder with arousal. Nine are trained on.
Of the other three, the loss is measured without the adapter, with it, and with it under the reversed curve. Then the
model composes under a calm and an excited mood. The model is random and its codec too, so the figures say that the
whole way works, and nothing of how music sounds.
"""

from __future__ import annotations

import tempfile
import time
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np

from emsync.backends import Brief
from emsync.joins import Window
from emsync.mood import MoodCurve
from emsync.mood_adapter import AdapterShape
from emsync.musicgen import MusicGen
from emsync.training.adapter import TrainingClip, loss_of, read_folder, told, train
from tests.music_models import RATE_HZ, tiny_musicgen
from tests.songs import with_a_chord

SONGS, HELD_OUT, LENGTH_S, EPOCHS = 12, 3, 6.0, 30


def make(folder: Path) -> None:
    rng = np.random.default_rng(0)
    at = np.arange(round(LENGTH_S * RATE_HZ)) / RATE_HZ
    for number in range(SONGS):
        ends = rng.uniform(-1, 1, (2, 2))
        valence, arousal = (np.interp(at, [0, LENGTH_S], row) for row in ends)
        phase = np.cumsum(2 * np.pi * 300 * 2**valence / RATE_HZ)
        beat = np.cumsum((3 + 2 * arousal) / RATE_HZ) % 1
        sound = (0.35 + 0.3 * arousal) * np.exp(-4 * beat) * np.sin(phase)
        with wave.open(str(folder / f"{number:02d}.wav"), "wb") as file:
            file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
            file.writeframes((sound * 32767).astype("<i2").tobytes())
        rows = [
            f"{t:g},{np.interp(t, [0, LENGTH_S], ends[0]):.4f},{np.interp(t, [0, LENGTH_S], ends[1]):.4f}"
            for t in range(7)
        ]
        (folder / f"{number:02d}.csv").write_text("time_s,valence,arousal\n" + "\n".join(rows) + "\n")


def reversed_mood(clip: TrainingClip) -> TrainingClip:
    mood = clip.mood
    return replace(clip, mood=MoodCurve(mood.times_s, -mood.valence, -mood.arousal))


def main() -> None:
    began = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        backend = MusicGen.open(str(tiny_musicgen(folder / "model")))
        (folder / "songs").mkdir()
        make(folder / "songs")
        clips = read_folder(folder / "songs", backend)
        held = [clip for clip in clips if int(clip.source[:2]) >= SONGS - HELD_OUT]
        known = [clip for clip in clips if clip not in held]
        adapter, losses = train(backend, known, epochs=EPOCHS, learning_rate=5e-3)
        states = told(backend, "")

        def mean(one: object, some: list[TrainingClip]) -> float:
            return float(np.mean([float(loss_of(backend, one, clip, states).detach()) for clip in some]))  # type: ignore[arg-type]

        print(f"{len(known)} clips trained on, {len(held)} held out; {AdapterShape.for_network(backend.network)}")
        print(f"training loss, nats a code: {losses[0]:.4f} -> {losses[-1]:.4f} in {EPOCHS} epochs")
        print(f"held out: without {mean(None, held):.4f}, with {mean(adapter, held):.4f}, "
              f"under the opposite curve {mean(adapter, [reversed_mood(clip) for clip in held]):.4f}")  # fmt: skip
        print("gains:", ", ".join(f"{gain:.3f}" for gain in adapter.gains.tolist()))
        steered = replace(backend, adapter=adapter)
        loud = []
        for arousal in (-0.9, 0.0, 0.9):
            brief = Brief(with_a_chord(), "lead", "", 5.0, 120.0, None, 4, MoodCurve.constant(0.0, arousal))
            sounds = [
                backend.decode(steered.generate(brief, Window(0, 0, 51), None, seed, lambda share: None))
                for seed in range(6)
            ]
            loud.append(20 * np.log10(np.sqrt(np.mean(np.square(sounds)))))
        print("level of what it composes at arousal -0.9, 0, 0.9, dB:", ", ".join(f"{level:.2f}" for level in loud))
    print(f"{time.process_time() - began:.0f} s of CPU")


if __name__ == "__main__":
    main()
