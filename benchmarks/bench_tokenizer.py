"""Songs a second from an archive to events, compared with the same work through pypianoroll and pretty_midi.

    python benchmarks/bench_tokenizer.py ARCHIVE.npz [--songs 512] [--loop-songs 16] [--rounds 5]

Both make event ids with bars and chords on one core (processor time, so that other programs matter little). Ours have
velocities too, and follow tempo changes, which pypianoroll does not. The other way is the usual one: a pypianoroll
Multitrack for each song, its pretty_midi object, and a loop over the sorted notes. The machine may be busy: trust the
ratio within one run. The goal is 400 songs a second from the archive, and 30 times the loop.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from emsync import vocabulary as v
from emsync.tokenizer.families import FAMILY_PROGRAMS
from emsync.training.corpus.archive import Song, read_archive
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER, tokenize
from emsync.training.corpus.song_to_score import bar_table

STEP_MS = round(1000 * v.STEP_S)


def multitrack(song: Song) -> Any:
    """A song as a pypianoroll.Multitrack of its five families."""
    import pypianoroll

    length = song.end_step
    tempo = np.full(length, 120.0)
    for step, qpm in zip(song.tempo_step, song.tempo_qpm, strict=True):
        tempo[step:] = min(max(qpm, 20.0), 400.0)
    tracks = []
    for family, name in enumerate(v.FAMILIES):
        roll = np.zeros((length, 128), dtype=np.uint8)
        for index in np.flatnonzero(song.family == family):
            start = song.start_step[index]
            roll[start : start + song.duration_step[index], song.pitch[index]] = song.velocity[index]
        track = pypianoroll.StandardTrack(name, FAMILY_PROGRAMS[family], family == v.DRUMS, roll)
        tracks.append(track)
    return pypianoroll.Multitrack("song", resolution=STEPS_PER_QUARTER, tempo=tempo, tracks=tracks)


def events_by_loop(song: Song) -> list[int]:
    """Event ids through pypianoroll and pretty_midi, a note at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        music = multitrack(song).to_pretty_midi()
    quarter_s = music.tick_to_time(music.resolution)
    rows: list[tuple[int, int, int, int, str]] = []  # step, rank, place of the family, pitch, name
    present = set()
    chords: dict[tuple[int, int], set[int]] = {}
    for instrument in music.instruments:
        family = v.FAMILIES.index(instrument.name)
        name, place = instrument.name.upper(), v.ON_ORDER.index(family)
        for note in instrument.notes:
            present.add(family)
            on, off = round(note.start / v.STEP_S), round(note.end / v.STEP_S)
            rows.append((on, 3, place, note.pitch, f"ON_{name}_{note.pitch}"))
            if family != v.DRUMS:
                rows.append((off, 4 if on == off else 0, place, note.pitch, f"OFF_{name}_{note.pitch}"))
            if family in v.CHORD_FAMILIES and note.end - note.start >= 2 * quarter_s - 1e-6:
                chords.setdefault((on, family), set()).add(note.pitch)
    rows += [(step, 2, 0, 0, "CHORD") for step in {on for (on, _), pitches in chords.items() if len(pitches) >= 3}]
    for step, above, below in zip(*bar_table(song), strict=True):
        half = min(max(round(8 * above / below), 1), v.MAX_BAR_HALF_QUARTERS)
        at = round(step * quarter_s / STEPS_PER_QUARTER / v.STEP_S)
        rows.append((at, 1, 0, 0, f"BAR_{half / 2:g}"))
    names = ["MORE_INSTRUMENTS" if len(present) >= 3 else "FEWER_INSTRUMENTS", "START"]
    clock = 0
    for step, _, _, _, name in sorted(rows):
        while step > clock:
            shift = min(step - clock, v.MAX_SHIFT_STEPS)
            names.append(f"TIMESHIFT_{shift * STEP_MS}")
            clock += shift
        names.append(name)
    names.append("END")
    return [v.ID_OF[name] for name in names]


def processor_s(work: Callable[[], object]) -> float:
    """Processor time of one call in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--songs", type=int, default=512, help="songs from the archive in each round (512)")
    parser.add_argument(
        "--loop-songs", type=int, default=16, help="how many of them go through the loop in each round (16)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    archive = read_archive(arguments.archive)
    arrays = {name: np.asarray(array) for name, array in archive.arrays.items()}
    count = min(arguments.songs, len(archive))
    some = [archive[i] for i in range(0, count, max(count // arguments.loop_songs, 1))][: arguments.loop_songs]

    whole = tokenize(arrays, 0, count)  # and the first turn, which fills caches
    notes = int((v.KIND[whole.ids] == v.K_ON).sum())
    print(
        f"{count} songs, {notes} notes, {len(whole.ids)} events; loop: {len(some)} songs, {sum(map(len, some))} notes"
    )
    fast, slow = [], []
    for _ in range(arguments.rounds):
        fast.append(notes / processor_s(lambda: tokenize(arrays, 0, count)))
        slow.append(sum(map(len, some)) / processor_s(lambda: [events_by_loop(song) for song in some]))
    # Songs differ in length: per note, then per song of the archive's own mean length.
    a, b = statistics.median(fast), statistics.median(slow)
    print(f"{'':<24}{'notes/s':>12}{'songs/s':>10}")
    print(f"{'archive_events.tokenize':<24}{a:>12.0f}{a * count / notes:>10.0f}")
    print(f"{'pypianoroll+pretty_midi':<24}{b:>12.0f}{b * count / notes:>10.1f}")
    print(f"{'ratio':<24}{a / b:>12.0f}{a / b:>10.0f}")


if __name__ == "__main__":
    main()
