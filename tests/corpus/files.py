"""What tests of corpora share: files of random melodies, in MIDI and as pianorolls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mido
import numpy as np
from click.testing import CliRunner, Result

from emsync.cli.main import cli
from emsync.tokenizer.families import GROUPS
from emsync.training.corpus.archive import Archive, read_archive
from emsync.training.corpus.prepare import prepare

Tune = list[tuple[int, int, int]]  # pitch, start, length in eighths


def tune(seed: int, length: int = 150) -> Tune:
    """A random melody: what two of them share is chance."""
    random = np.random.default_rng(seed)
    start = np.cumsum(random.integers(1, 4, length))
    pitch = 60 + random.integers(-12, 13, length)
    return [(int(p), int(s), 1) for p, s in zip(pitch, start, strict=True)]


def write_midi(
    path: Path, parts: list[tuple[int, int, Tune]], *, tempo: int = 500_000, velocity: int = 80, eighth: int = 240
) -> Path:
    """A type 1 file of (channel, program, tune) parts."""
    midi = mido.MidiFile(ticks_per_beat=480)
    head = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=tempo)])
    head.append(mido.MetaMessage("time_signature", numerator=3, denominator=4))
    midi.tracks.append(head)
    for channel, program, notes in parts:
        events = [(s * eighth, 1, p) for p, s, _ in notes] + [((s + n) * eighth, 0, p) for p, s, n in notes]
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
        now = 0
        for tick, on, pitch in sorted(events):
            kind = "note_on" if on else "note_off"
            track.append(mido.Message(kind, channel=channel, note=pitch, velocity=velocity * on, time=tick - now))
            now = tick
        midi.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    midi.save(path)
    return path


LPD_5 = [("Drums", 0), ("Piano", 0), ("Guitar", 24), ("Bass", 32), ("Strings", 48)]
LPD_17 = [("Drums", 0), *((name, 8 * number) for number, (name, _) in enumerate(GROUPS))]


def write_pianoroll(
    path: Path,
    names: list[tuple[str, int]],
    fill: Callable[[str, np.ndarray], None],
    *,
    steps: int = 960,
    binary: bool = False,
    **extra: Any,
) -> Path:
    import pypianoroll  # takes a second

    tracks = []
    for name, program in names:
        roll = np.zeros((steps, 128), dtype=np.uint8)
        fill(name, roll)
        kind = pypianoroll.BinaryTrack if binary else pypianoroll.StandardTrack
        tracks.append(
            kind(name=name, program=program, is_drum=name == "Drums", pianoroll=roll.astype(bool) if binary else roll)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    pypianoroll.save(path, pypianoroll.Multitrack(name="x", resolution=24, tracks=tracks, **extra))
    return path


def melody(seed: int) -> Callable[[str, np.ndarray], None]:
    """A tune for the piano and a few notes for the bass."""

    def fill(name: str, roll: np.ndarray) -> None:
        if name in ("Piano", "Bass"):
            for pitch, start, _ in tune(1000 * seed + len(name), 60):
                if 12 * start + 12 <= len(roll):
                    roll[12 * start : 12 * start + 12, pitch] = 90

    return fill


def names_in(archive: Archive) -> list[str]:
    return sorted(song.source for song in archive)


def prepared(folder: Path, out: Path, **options: Any) -> tuple[Any, dict[str, Archive]]:
    report = prepare([folder], out, workers=options.pop("workers", 1), **options)
    return report, {name: read_archive(out / name) for name in report.archives}


def digests(out: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.iterdir())}


def moved(notes: Tune, semitones: int = 0, later: int = 0) -> Tune:
    return [(p + semitones, s + later, n) for p, s, n in notes]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["prepare", *map(str, arguments)], standalone_mode=False)
