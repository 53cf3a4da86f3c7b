"""The tables of docs/mood.md: how well the mood regressor reads music, and the fit that ships.

    python benchmarks/mood_tables.py VGMIDI_DIR [--archive ARCHIVE.npz ... --labels labels.json] [--write FILE]

VGMIDI_DIR holds `annotations.json` and `midi/`. With archives and labels (`{song_id: {"lastfm_tags": [...]}}`) the
tags' songs are told apart as well. `--write` fits on every piece and writes the regressor. One thread; half a minute
for VGMIDI, and about twenty seconds for an archive of 6,000 songs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from emsync.errors import EmsyncError, InputError
from emsync.training.archive import read_archive
from emsync.training.evaluate import table
from emsync.training.mood_features import FEATURES, Notes, features
from emsync.training.mood_labels import (
    AXES,
    LAG_S,
    PENALTY,
    USED,
    Agreement,
    Piece,
    Regressor,
    agreement,
    auc,
    cross_validate,
    density_baseline,
    fit,
    mean_baseline,
    note_density,
    read_vgmidi,
    split_half,
)

COLUMNS = ["", "Pearson", "concordance", "R² of means", "Pearson within"]
#: Left out one at a time, to see what each is worth.
GROUPS = {
    "tempo and onsets": ("tempo", "chord_rate", "chord_size", "busiest_family"),
    "loudness": ("loudness", "loudness_sd", "loudness_change"),
    "register": ("pitch_mean", "pitch_sd", "pitch_low", "pitch_high", "register_change"),
    "length and texture": ("note_length", "articulation", "polyphony", "silence"),
    "key and triads": tuple(n for n in USED if n.startswith(("mode", "key", "triad", "chroma"))),
    "tension": tuple(n for n in USED if n.startswith(("interval", "consonance", "bass_dis", "harmonic"))),
    "off the beat": ("off_beat", "off_eighth", "onset_unevenness"),
    "melody": tuple(n for n in USED if n.startswith(("melody", "repeated"))),
}
#: Tags that should be higher, tags that should be lower, and the axis they are about. Songs with both do not count.
CONTRASTS = (
    (("happy",), ("sad",), 0),
    (("happy", "fun", "party"), ("sad", "melancholy"), 0),
    (("happy", "fun", "party"), ("sad", "melancholy"), 1),
    (("dance", "party"), ("chill", "chillout", "relax", "mellow", "ambient"), 1),
    (("dance",), ("acoustic",), 1),
)


class Tagged(NamedTuple):
    """A song with tags: its features (bins, F), and notes per second over instruments."""

    tags: set[str]
    rows: np.ndarray
    density: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vgmidi", type=Path, help="the folder of VGMIDI")
    parser.add_argument("--archive", type=Path, nargs="+", default=[], help="archives with tagged songs")
    parser.add_argument("--labels", type=Path, help="tags by song_id, JSON")
    parser.add_argument("--write", type=Path, help="fit on every piece and write the regressor here")
    options = parser.parse_args()
    try:
        if bool(options.archive) != bool(options.labels):
            raise InputError("--archive and --labels belong together; give both or neither")
        pieces = read_vgmidi(options.vgmidi)
        regressor = fit(pieces)
        vgmidi_tables(pieces, regressor)
        if options.labels:
            carried(regressor, options.archive, options.labels)
        if options.write:
            regressor.write(options.write)
    except EmsyncError as error:
        print(f"mood_tables: error: {error}", file=sys.stderr)
        return 2
    return 0


def row(name: str, found: Agreement) -> list[str | float]:
    return [name, *(round(x, 3) for x in vars(found).values())]


def vgmidi_tables(pieces: tuple[Piece, ...], regressor: Regressor) -> None:
    values = sum(len(piece.times_s) for piece in pieces)
    print(f"{len(pieces)} pieces, {values:,} values, lag {LAG_S:g} s, penalty {PENALTY:g}, {len(USED)} features\n")
    ceiling = split_half(pieces)
    series = [Path(piece.name).name.split("_")[0] for piece in pieces]
    found = {
        "the mean": mean_baseline(pieces),
        "regressor": cross_validate(pieces),
        f"regressor, no piece of the same of {len(set(series))} series seen": cross_validate(pieces, groups=series),
        "regressor, without the raters' lag": cross_validate(pieces, lag_s=0.0),
        "regressor, tenfold penalty": cross_validate(pieces, penalty=10 * PENALTY),
    }
    density = density_baseline(pieces)
    for axis, name in enumerate(AXES):
        truth = [piece.target[:, axis] for piece in pieces]
        rows = [row(way, agreement([p[:, axis] for p in got], truth)) for way, got in found.items()]
        if axis == 1:
            rows.insert(1, row("notes per second ÷ instruments", agreement(density, truth)))
        rows.append(row("one half of the raters, by the other", ceiling[axis]))
        print("\n".join([f"{name.capitalize()}:", "", *table(COLUMNS, rows), ""]))
    whole = found["regressor"]
    rows = []
    for group, names in GROUPS.items():
        got = cross_validate(pieces, names=[n for n in USED if n not in names])
        cost: list[str | float] = [group, str(len(names))]
        for axis in range(2):
            truth = [piece.target[:, axis] for piece in pieces]
            full, less = (agreement([p[:, axis] for p in of], truth) for of in (whole, got))
            cost += [round(less.pearson - full.pearson, 3), round(less.r2_of_means - full.r2_of_means, 3)]
        rows.append(cost)
    head = ["left out", "features", "valence: Pearson", "R² of means", "arousal: Pearson", "R² of means"]
    print("\n".join([*table(head, rows), ""]))
    heaviest = np.argsort(-np.abs(regressor.weights).max(axis=1))[:16]
    rows = [[regressor.names[i], *(f"{w:+.3f}" for w in regressor.weights[i])] for i in heaviest]
    print("\n".join([*table(["feature, a deviation more", *AXES], rows), ""]))


def carried(regressor: Regressor, archives: list[Path], labels: Path) -> None:
    """Areas under the curve on multi-instrument songs with tags, and how fast moods are read."""
    try:
        known = json.loads(labels.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{labels} cannot be read ({error}); give tags by song_id as JSON") from error
    tagged: list[Tagged] = []
    songs, took_s = 0, 0.0
    for path in archives:
        archive = read_archive(path)
        for index, song_id in enumerate(archive.arrays["song_id"]):
            tags = set(known.get(str(song_id), {}).get("lastfm_tags", ()))
            if tags:
                begun = time.perf_counter()
                notes = Notes.of_song(archive[index])
                rows = features(notes)
                regressor.apply(rows)
                took_s += time.perf_counter() - begun
                songs += 1
                tagged.append(Tagged(tags, rows, float(note_density(notes).mean())))
        del archive
    if not tagged:
        raise InputError(f"no song of the archives has tags in {labels}; are song_ids the same?")
    every = np.concatenate([song.rows for song in tagged])
    scaled = regressor.adapted(every)
    raw, adapted = (np.array([of.apply(s.rows).mean(axis=0) for s in tagged]) for of in (regressor, scaled))
    density = np.array([song.density for song in tagged])
    rows_out: list[list[str | float]] = []
    for high, low, axis in CONTRASTS:
        one = [i for i, s in enumerate(tagged) if s.tags & set(high) and not s.tags & set(low)]
        other = [i for i, s in enumerate(tagged) if s.tags & set(low) and not s.tags & set(high)]
        name = f"{', '.join(high)} against {', '.join(low)}"
        areas = [round(auc(x[one], x[other]), 3) for x in (raw[:, axis], adapted[:, axis], density)]
        rows_out.append([name, AXES[axis], str(len(one)), str(len(other)), *areas])
    head = ["tags", "axis", "songs", "songs", "as fitted", "adapted", "notes per second ÷ instruments"]
    print("\n".join([*table(head, rows_out), ""]))
    spread: list[list[str | float]] = []
    for name, means in (("as fitted", raw), ("adapted", adapted)):
        low5, high5 = np.percentile(means, [5, 95], axis=0)
        spread += [
            [name, axis, *(round(float(x[i]), 2) for x in (means.mean(axis=0), means.std(axis=0), low5, high5))]
            for i, axis in enumerate(AXES)
        ]
    print("\n".join([*table(["songs' means", "axis", "mean", "deviation", "5 %", "95 %"], spread), ""]))
    fitted = regressor.standardised(every)
    names = list(regressor.names)
    away = np.abs(fitted.mean(axis=0))
    far = ", ".join(f"{names[i]} {fitted[:, i].mean():+.1f}" for i in np.argsort(-away)[:6])
    print(f"furthest from VGMIDI's mean, in its deviations: {far}")
    print(f"{songs} songs read at {1000 * took_s / songs:.1f} ms each ({len(FEATURES)} features a second of music)")


if __name__ == "__main__":
    sys.exit(main())
