"""How each palette sounds, in figures: the level of every family beside the grand piano's, and how soon notes speak.

    python benchmarks/palettes.py SONG.mid [--soundfont BANK.sf2]

prints the table of docs/decisions/0023-palettes-and-keys.md as Markdown. SONG.mid is a piece of emsync's; its five
tracks are rendered with the programs of each palette. Level: RMS over the hundredths of a second in which the family
sounds (within 40 dB of its loudest), in dB. Attack: how long a chord of piano and guitar takes to half of its peak.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from emsync import midi, soundfonts
from emsync.palettes import PALETTES
from emsync.score import Instrument, Score
from emsync.synthesizer import Synthesizer
from emsync.tokenizer.families import FAMILY_NAMES, instruments_of
from emsync.vocabulary import GUITAR, PIANO

RATE_HZ: Final = 44100
WINDOW: Final = RATE_HZ // 100
FLOOR_DB: Final = -40.0
#: Drums on channel 10 and the others from channel 1 on stay apart.
GROUPS: Final = 5
CHORD: Final = (48, 55, 60, 64)


def envelopes(score: Score, bank: Path, seconds: float) -> np.ndarray:
    """(5, windows) RMS of each output of channels, the channel modulo 5, in hundredths of a second."""
    synth = Synthesizer(bank, RATE_HZ, groups=GROUPS)
    try:
        synth.play([midi.to_bytes(score)])
        found = []
        while len(found) * WINDOW < seconds * RATE_HZ:
            block = synth.grouped(64 * WINDOW)  # (groups, frames, 2)
            found += list((block.astype(np.float64) ** 2).reshape(GROUPS, 64, WINDOW, 2).mean(axis=(2, 3)).T)
    finally:
        synth.delete()
    return np.sqrt(np.array(found).T)


def level_db(envelope: np.ndarray) -> float:
    """The level while it sounds."""
    loud = envelope[envelope > envelope.max() * 10 ** (FLOOR_DB / 20)]
    return float(20 * np.log10(np.sqrt((loud**2).mean()))) if len(loud) else -np.inf


def attack_ms(program: int, bank: Path, like: Score) -> float:
    """How long a chord takes to half of its peak, in milliseconds."""
    n = len(CHORD)
    chord = replace(
        like, instruments=(Instrument("Chord", program),), instrument=np.zeros(n, int), pitch=np.array(CHORD),
        velocity=np.full(n, 90), start_s=np.full(n, 0.1), end_s=np.full(n, 1.1), markers=(),
    )  # fmt: skip
    envelope = envelopes(chord, bank, 1.0)[0][10:]
    return 10.0 * float(np.flatnonzero(envelope > envelope.max() / 2)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--soundfont", type=Path)
    options = parser.parse_args()
    bank = soundfonts.find(options.soundfont)
    score = midi.read(options.song)
    outputs = [channel % GROUPS for channel in (9, 0, 1, 2, 3)]  # in the order of the families
    attacks: dict[int, float] = {}
    print(f"{bank.name}: level in dB, and attack of piano and guitar\n")
    print(f"| palette | {' | '.join(FAMILY_NAMES)} | attack |\n|---|{'---:|' * 6}")
    for name, programs in PALETTES.items():
        found = envelopes(replace(score, instruments=instruments_of(programs)), bank, score.duration_s)
        cells = [f"{level_db(found[output]):.0f}" for output in outputs]
        for program in (programs[PIANO], programs[GUITAR]):
            attacks.setdefault(program, attack_ms(program, bank, score))
        speaks = ", ".join(f"{attacks[programs[family]]:.0f} ms" for family in (PIANO, GUITAR))
        print(f"| {name} | {' | '.join(cells)} | {speaks} |", flush=True)


if __name__ == "__main__":
    main()
