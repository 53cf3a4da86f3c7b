"""The tables of docs/mood.md: how well the mood regressors read music, and the fits that ship.

    python benchmarks/mood_tables.py VGMIDI_DIR [--archive ARCHIVE.npz ... [--labels labels.json]]
        [--write FOLDER [--scale ARCHIVE.npz ...]]

VGMIDI_DIR holds `annotations.json` and `midi/`. With archives, their first 500 songs are read by both halves'
regressors; with labels (`{song_id: {"lastfm_tags": [...]}}`) too, the tagged songs are compared. `--write` writes
`regressor.json` (fitted on every piece), `labeller.json` and `judge.json` (each on half of them), and
with `--scale` also `scale.json`, of the first 1,000 songs of each of these archives. One thread; half a minute for
VGMIDI, ten seconds for 1,000 songs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from vgmidi import (
    USED,
    Piece,
    cross_validate,
    density_baseline,
    fit,
    halves,
    mean_baseline,
    note_density,
    read_vgmidi,
    split_half,
)

from emsync.errors import EmsyncError, InputError
from emsync.music_mood.features import FEATURES, features
from emsync.music_mood.regressor import AXES, LABELLER, LAG_S, PENALTY, SHIPPED, Regressor
from emsync.music_mood.scale import SCALE, Scale, scale
from emsync.training.corpus.archive import read_archive
from emsync.training.evaluation.report_page import table
from emsync.training.mood.agreement import Agreement, agreement, auc, pearson
from emsync.training.mood.curves import JUDGE, notes_of_song, readings

#: Songs that are read twice, and songs of each archive that the scale is taken from.
COMPARED, SCALED = 500, 1000
COLUMNS = ["", "Pearson", "concordance", "R² of means", "Pearson within"]
#: Left out one at a time, to measure the worth of each.
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
    parser.add_argument("--archive", type=Path, nargs="+", default=[], help="archives of songs to read")
    parser.add_argument("--labels", type=Path, help="tags by song_id, JSON")
    parser.add_argument("--write", type=Path, help="the folder to write the three regressors into")
    parser.add_argument("--scale", type=Path, nargs="+", default=[], help="archives to take the scale from")
    options = parser.parse_args()
    try:
        if options.labels and not options.archive:
            raise InputError("--labels are of an archive's songs; give --archive too")
        if options.scale and not options.write:
            raise InputError("--scale is to be written; give --write too")
        pieces = read_vgmidi(options.vgmidi)
        regressor, (labeller, judge) = fit(pieces), (fit(half) for half in halves(pieces))
        if options.write:
            for made, shipped in ((regressor, SHIPPED), (labeller, LABELLER), (judge, JUDGE)):
                made.write(options.write / shipped.name)
        if options.scale:
            archives = [read_archive(path) for path in options.scale]
            songs = [archive[i] for archive in archives for i in range(min(SCALED, len(archive)))]
            Scale.fit([readings(song, labeller) for song in songs]).write(options.write / SCALE.name)
        vgmidi_tables(pieces, regressor)
        by_halves(pieces, labeller, judge)
        if options.archive:
            twice_read(options.archive, {"labeller": labeller, "judge": judge, "all pieces": regressor})
        if options.labels:
            carried(regressor, options.archive, options.labels)
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


def by_halves(pieces: tuple[Piece, ...], labeller: Regressor, judge: Regressor) -> None:
    """What each half's regressor reaches on the other half."""
    labelled, judged = halves(pieces)
    rows = [
        row(f"{name}, {axis}", agreement([p[:, k] for p in got], [piece.target[:, k] for piece in other]))
        for name, regressor, other in (
            (f"labeller ({len(labelled)} pieces), on the judge's", labeller, judged),
            (f"judge ({len(judged)} pieces), on the labeller's", judge, labelled),
        )
        for got in [[regressor.apply(piece.features)[piece.rows()] for piece in other]]
        for k, axis in enumerate(AXES)
    ]
    print("\n".join([*table(COLUMNS, rows), ""]))


def twice_read(archives: list[Path], regressors: dict[str, Regressor]) -> None:
    """How the regressors' readings of songs agree, second by second, and the labeller's readings on the scale."""
    songs: list[np.ndarray] = []
    for path in archives:
        archive = read_archive(path)
        songs += [features(notes_of_song(archive[i])) for i in range(min(COMPARED - len(songs), len(archive)))]
    every = np.concatenate(songs)
    read = {name: regressor.apply(every) for name, regressor in regressors.items()}
    rows: list[list[str | float]] = [
        [f"{one} and {other}", *(round(pearson(read[one][:, k], read[other][:, k]), 2) for k in range(2))]
        for one, other in (("labeller", "judge"), ("labeller", "all pieces"), ("judge", "all pieces"))
    ]
    print(f"{len(songs)} songs, {len(every):,} seconds\n")
    print("\n".join([*table(["by second, Pearson", *AXES], rows), ""]))
    lengths = [len(song) for song in songs]
    of_song = np.repeat(np.arange(len(songs)), lengths)
    rows = []
    for name, levels in (("as read", read["labeller"]), ("scaled", scale().apply(read["labeller"]))):
        for k, axis in enumerate(AXES):
            level = levels[:, k]
            means = np.bincount(of_song, level) / lengths
            figures = level.mean(), level.std(), *np.percentile(level, [5, 50, 95])
            spread = means.std(), (level - means[of_song]).std()
            rows.append([name, axis, *(round(float(x), 2) for x in (*figures, *spread))])
        print(f"{name}: valence and arousal correlate by {pearson(levels[:, 0], levels[:, 1]):.2f}")
    head = ["labels", "axis", "mean", "deviation", "5 %", "50 %", "95 %", "of songs' means", "within songs"]
    print("\n".join(["", *table(head, rows), ""]))


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
                notes = notes_of_song(archive[index])
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
