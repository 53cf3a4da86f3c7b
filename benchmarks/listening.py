"""Figures of what a musician would notice first, for composed pieces and real songs.

    python benchmarks/listening.py [--archive ARCHIVE.npz] [--model DIR] [--pieces 8] [--finish on|off] [-o OUT]

Composes pieces of 30 to 60 s with cuts 4 to 12 s apart and prints a row of figures for each (`FIGURES`), and the range
of 90 % of an archive's songs. With -o it writes each piece's MIDI and piano roll, and its sound if fluidsynth and a
SoundFont are installed.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import midi, plot, soundfonts, soundtrack
from emsync import vocabulary as v
from emsync.decoder import open_decoder
from emsync.errors import InputError
from emsync.grammar import ROLL_DRUMS
from emsync.hits import sounding_chords
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score

#: The measurements, in the order of `figures`.
FIGURES: Final = {
    "first": "first onset (beats)",
    "cut": "notes struck in the last beat that do not ring to the last",
    "late": "notes that sound for less than 0.3 s before the very end",
    "last": "pitches that close the piece together",
    "length": "how long they sound (beats)",
    "after": "silence behind them (s)",
    "longest": "longest note (beats)",
    "stay": "longest stay of one pitch of a family but the bass (beats), held or struck again within half a beat",
    "bass": "the same of the bass",
    "roll": "longest run of sixteenths of one kick, snare or tom (beats)",
    "drums": "most drum notes in a beat",
    "alone": "longest stretch of one family alone (beats)",
    "silence": "longest silence (beats)",
    "loud": "mean velocity",
    "spread": "standard deviation of velocity",
    "accent": "velocity of chords on cuts, over the mean",
}


def stretches(marked: npt.NDArray[np.bool_]) -> int:
    """The longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def longest(start: npt.NDArray[np.float64], stop: npt.NDArray[np.float64], gap: float) -> float:
    """The longest run of notes of one pitch, in order, with no more than `gap` between one's end and the next."""
    breaks = np.flatnonzero(start[1:] - stop[:-1] > gap) + 1
    first, last = np.concatenate([[0], breaks]), np.concatenate([breaks, [len(start)]]) - 1
    return float((stop[last] - start[first]).max(initial=0))


def figures(score: Score, boundaries_s: npt.ArrayLike = (), *, ends: bool = True) -> list[float]:
    """The figures of a score of five families; ends: whether it has the music's beginning and end."""
    q = score.tempo.quarters_at
    start, stop, end = q(score.start_s), q(score.end_s), float(q(score.duration_s))
    pitched = score.instrument != v.DRUMS
    drums = ~pitched
    length = (stop - start)[pitched]
    stay, bass, roll = 0.0, 0.0, 0.0
    key = score.instrument.astype(np.int64) * 128 + score.pitch
    for k in np.unique(key):
        mine = key == k
        if k >= 128:
            run = longest(start[mine], stop[mine], 0.55)
            stay, bass = (stay, max(bass, run)) if k // 128 == v.BASS else (max(stay, run), bass)
        elif int(k) in ROLL_DRUMS:
            roll = max(roll, longest(start[mine], start[mine], 0.3))
    sixteenth = np.arange(0, end, 0.25)
    beats = np.bincount(start[drums].astype(int), minlength=1)
    # Which families sound at each sixteenth: drums for a beat after a hit.
    sounding = np.zeros((5, len(sixteenth)), dtype=bool)
    for f, a, b in zip(score.instrument, start, np.where(drums, start + 1.0, stop), strict=True):
        sounding[f, int(a * 4 + 1e-6) : max(int(np.ceil(b * 4 - 1e-6)), int(a * 4 + 1e-6) + 1)] = True
    inside = slice(None) if ends else slice(int(start.min() * 4), None)
    count = sounding.sum(axis=0)[inside]
    final = score.end_s[pitched].max(initial=0.0)
    closing = pitched & (score.end_s >= final - 0.06)
    last_beat = pitched & (stop >= q(final) - 1.0) & (start >= q(final) - 1.0) & ~closing
    late = closing & (score.end_s - score.start_s < 0.3)
    chords = sounding_chords(score)
    near = chords[(np.abs(chords[:, None] - np.asarray(boundaries_s)[None, :]) < 0.04).any(axis=1)]
    on_cut = (np.abs(score.start_s[:, None] - near[None, :]) < 0.002).any(axis=1) & pitched
    velocity = score.velocity.astype(float)
    return [
        start.min(initial=end), float(last_beat.sum()), float(late.sum()), float(closing.sum()),
        float(np.median((stop - start)[closing])) if closing.any() else 0.0,
        score.duration_s - final, float(length.max(initial=0)), stay, bass, roll, float(beats.max()),
        max(stretches(sounding[f][inside] & (count == 1)) for f in range(5)) / 4, stretches(count == 0) / 4,
        velocity.mean(), velocity.std(), velocity[on_cut].mean() - velocity.mean() if on_cut.any() else np.nan,
    ]  # fmt: skip


def real(archive: Path, count: int, seed: int = 0) -> Iterator[tuple[Score, Score, Score]]:
    """Songs of three families and more: the first 45 s, 45 s of the middle, and the last 45 s of each."""
    songs = read_archive(archive)
    for i in np.random.default_rng(seed).permutation(len(songs)):
        score = song_score(songs, int(i))
        if len(np.unique(score.instrument)) < 3 or score.duration_s < 150:
            continue
        middle, late = score.duration_s / 2, max(float(score.end_s.max()) - 45, 0)
        yield excerpt(score, 0, 45), excerpt(score, middle, middle + 45), excerpt(score, late, late + 45)
        count -= 1
        if not count:
            return


def excerpt(score: Score, from_s: float, to_s: float) -> Score:
    """What sounds between two times, from 0 s on."""
    part = score.select((score.start_s >= from_s) & (score.start_s < to_s)).shifted(-from_s)
    return Score(
        part.instruments, part.instrument, part.pitch, part.velocity, part.start_s,
        np.minimum(part.end_s, to_s - from_s), part.tempo, part.bars, (), (), duration_s=to_s - from_s,
    )  # fmt: skip


def sound(path: Path) -> None:
    """Render a MIDI file to a sound file beside it, if possible."""
    program = shutil.which("fluidsynth")
    try:
        font = soundfonts.find()
    except InputError:
        return
    if program:
        command = [program, "-ni", "-g", "0.6", "-F", path.with_suffix(".wav"), font, path]
        subprocess.run(command, check=True, capture_output=True)


def row(name: str, values: npt.ArrayLike) -> str:
    return f"| {name} | " + " | ".join("" if np.isnan(x) else f"{x:.2f}" for x in np.asarray(values)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path)
    parser.add_argument("--songs", type=int, default=30)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pieces", type=int, default=8)
    parser.add_argument("--finish", choices=("on", "off"), default="on")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    print("| | " + " | ".join(FIGURES) + " |\n" + "|---" * (len(FIGURES) + 1) + "|")
    if args.archive:
        table = np.array([
            np.concatenate([figures(first)[:1], figures(last)[1:6], figures(middle, ends=False)[6:]])
            for first, middle, last in real(args.archive, args.songs)
        ])  # fmt: skip
        for share in (5, 50, 95):
            print(row(f"real, {share} %", np.percentile(table, share, axis=0)))
    decoder = open_decoder(args.model, threads=1)
    rows = []
    for seed in range(args.pieces):
        rng = np.random.default_rng(seed)
        duration_s = float(rng.uniform(30, 60))
        cuts_s = np.cumsum(rng.uniform(4, 12, 15))
        settings = Recipe(seed=seed, finish=args.finish)
        track = soundtrack.compose(decoder, duration_s, cuts_s[cuts_s < duration_s - 1], settings)
        score = track.score
        rows.append(figures(score, track.boundaries_s))
        print(
            row(f"seed {seed}, {duration_s:.0f} s, {track.n_within_frame} of {len(track.boundaries_s)} cuts", rows[-1]),
            flush=True,
        )
        if args.output:
            args.output.mkdir(parents=True, exist_ok=True)
            path = args.output / f"{seed}.mid"
            midi.write(score, path)
            sound(path)
            plot.save_roll(score, path.with_suffix(".png"), track.boundaries_s, title=f"seed {seed}")
    print(row("mean", np.nanmean(rows, axis=0)))
    print("\n" + "\n".join(f"- {name}: {meaning}" for name, meaning in FIGURES.items()))


if __name__ == "__main__":
    main()
