"""Revised bars at their seams: how much the music changes where a revised part begins and ends.

    python benchmarks/revise.py WORK [--pieces 12] [--seconds 48] [--bars 4] [--picture FILE.png]

Pieces are composed into WORK for random cut lists, in several moods, and some bars in the middle of each are revised.
Each join is judged by two bars before it and two bars behind it: what the two have in common (from 0 to 1) in
- density: the smaller of the two numbers of onsets, as a share of the greater,
- pitch classes, velocities (16 levels) and polyphony (how many notes sound, weighted by time): the overlap of the two
  histograms,
- families: those that play in both, as a share of those that play in either.
Compared are the pieces as they were composed ("unrevised"), revised with one continuation and with the best of four
("revised"), other bars of the same piece put there ("moved"), and bars of another piece put there ("spliced").
Also counted: cuts in the revised part that are met within a frame, and kept notes that changed, which must be none.
Everything is read back from the MIDI files. Where results are in WORK already, they are not composed again.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import emsync
from emsync import vocabulary as v
from emsync.midi_edit import Song
from emsync.nominal import families_of_notes
from emsync.revision import Span, bar_ticks
from emsync.soundtrack import Session
from emsync.takes import Bars, Take, revise

EMOTIONS = ("joy", "sadness", "anger", "fear", None, "surprise")
MEASURES = ("density", "pitch classes", "velocity", "polyphony", "families")
KINDS = ("unrevised", "revised, 1", "revised, 4", "moved", "spliced")
AROUND_BARS = 2
COLUMNS = ("family", "pitch", "velocity", "on", "off")  # of `Notes`


@dataclass(frozen=True)
class Notes:
    """Notes as arrays (N,): family, pitch, velocity, onset and end in quarter notes."""

    family: npt.NDArray[np.int64]
    pitch: npt.NDArray[np.int64]
    velocity: npt.NDArray[np.int64]
    on: npt.NDArray[np.float64]
    off: npt.NDArray[np.float64]

    @classmethod
    def of(cls, song: Song) -> Notes:
        """The notes of a file that the model plays."""
        family = families_of_notes(song)
        keep = family >= 0
        on, off = song.quarters(song.on), song.quarters(song.off)
        return cls(family[keep], song.pitch[keep], song.velocity[keep], on[keep], off[keep])

    def where(self, mask: npt.NDArray[np.bool_], later: float = 0.0) -> Notes:
        """Some of them, moved by quarter notes."""
        return Notes(
            self.family[mask], self.pitch[mask], self.velocity[mask], self.on[mask] + later, self.off[mask] + later
        )

    def spliced(self, begin: float, end: float, other: Notes, other_begin: float) -> Notes:
        """With the notes that begin in a part replaced by as long a part of other notes."""
        kept = self.where((self.on < begin) | (self.on >= end))
        inside = (other.on >= other_begin) & (other.on < other_begin + end - begin)
        new = other.where(inside, begin - other_begin)
        new = Notes(new.family, new.pitch, new.velocity, new.on, np.minimum(new.off, end))
        return Notes(*(np.concatenate([getattr(kept, name), getattr(new, name)]) for name in COLUMNS))


def statistics(notes: Notes, begin: float, end: float) -> dict[str, Any]:
    """What is compared of the notes between two places."""
    here = (notes.on >= begin) & (notes.on < end)
    pitched = here & (notes.family != v.DRUMS)
    grid = np.arange(begin, end, 1 / 8)
    melodic = notes.where(notes.family != v.DRUMS)
    sounding = ((melodic.on[:, None] <= grid) & (melodic.off[:, None] > grid)).sum(axis=0)
    return {
        "density": float(here.sum()),
        "pitch classes": np.bincount(notes.pitch[pitched] % 12, minlength=12),
        "velocity": np.bincount(notes.velocity[here] // 8, minlength=16),
        "polyphony": np.bincount(np.minimum(sounding, 24), minlength=25),
        "families": frozenset(notes.family[here].tolist()),
    }


def in_common(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    """What two stretches have in common, by measure; NaN where neither has a note to compare."""
    out = {}
    most = max(a["density"], b["density"])
    out["density"] = min(a["density"], b["density"]) / most if most else np.nan
    for name in ("pitch classes", "velocity", "polyphony"):
        p, q = (each[name] / max(each[name].sum(), 1) for each in (a, b))
        out[name] = float(np.minimum(p, q).sum()) if a[name].sum() and b[name].sum() else np.nan
    either = a["families"] | b["families"]
    out["families"] = len(a["families"] & b["families"]) / len(either) if either else np.nan
    return out


def at_joins(notes: Notes, lines: list[float], first: int, last: int) -> list[dict[str, float]]:
    """What the music before and behind each join has in common: before bar `first`, and behind bar `last` (from 0)."""
    found = []
    for line in (first, last + 1):
        before = statistics(notes, lines[line - AROUND_BARS], lines[line])
        behind = statistics(notes, lines[line], lines[line + AROUND_BARS])
        found.append(in_common(before, behind))
    return found


def composed(work: Path, number: int, seconds: float, session: Session) -> Path:
    """A piece for a random cut list, in one of several moods."""
    path = work / f"piece-{number:02d}.mid"
    if path.exists():
        return path
    rng = np.random.default_rng(100 + number)
    cuts, time_s = [], 0.0
    while (time_s := time_s + rng.uniform(4.5, 9)) < seconds - 3:
        cuts.append(round(time_s, 2))
    emotion = EMOTIONS[number % len(EMOTIONS)]
    mood = {} if emotion is None else {"emotion": emotion}
    emsync.compose(duration_s=seconds, cuts=cuts, seed=50 + number, session=session, **mood).save(path)
    return path


def revised(
    work: Path, piece: Path, first: int, last: int, tries: int, session: Session
) -> tuple[Path, dict[str, Any]]:
    """A piece with bars `first` to `last` (from 0) revised, and what is counted of it."""
    path, counts = work / f"{piece.stem}-tries{tries}.mid", work / f"{piece.stem}-tries{tries}.counts.json"
    if not counts.exists():
        choices = {"seed": 7}
        take: Take = revise(piece, Bars(first + 1, last + 1), tries=tries, session=session, choices=choices)
        take.save(path, overwrite=True)
        old, new = Song.read(piece), Song.read(path)
        lines = bar_ticks(old)
        span = Span(lines[first], lines[last + 1])
        changed = table(old, span) - table(new, span)
        found = {"removed": take.n_removed, "added": take.n_added, "changed": sum(changed.values())}
        found |= {"cuts": len(take.hits), "met": take.n_within_frame, "warnings": list(new.score.warnings)}
        counts.write_text(json.dumps(found))
    return path, json.loads(counts.read_text())


def table(song: Song, span: Span) -> Counter[tuple[int, ...]]:
    """The notes of a file that do not begin in a part."""
    outside = (song.on < span.begin) | (song.on >= span.end)
    columns = (song.track, song.line, song.pitch, song.velocity, song.on, song.off)
    return Counter(zip(*(column[outside].tolist() for column in columns), strict=True))


def main() -> None:
    """Compose, revise and compare; print a table, and draw it if a picture is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--pieces", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=48.0)
    parser.add_argument("--bars", type=int, default=4)
    parser.add_argument("--model")
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    session = Session.open(options.model)
    pieces = [composed(options.work, number, options.seconds, session) for number in range(options.pieces)]
    songs = [Song.read(path) for path in pieces]
    joins: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    totals: Counter[str] = Counter()
    for number, (path, song) in enumerate(zip(pieces, songs, strict=True)):
        lines = song.quarters(bar_ticks(song)).tolist()
        first = len(lines) // 2 - options.bars // 2 - 1
        last = first + options.bars - 1
        notes, begin, end = Notes.of(song), lines[first], lines[last + 1]
        joins["unrevised"] += at_joins(notes, lines, first, last)
        for tries in (1, 4):
            new, counts = revised(options.work, path, first, last, tries, session)
            joins[f"revised, {tries}"] += at_joins(Notes.of(Song.read(new)), lines, first, last)
            totals.update({f"{name}, {tries}": value for name, value in counts.items() if name != "warnings"})
            totals[f"warnings, {tries}"] += len(counts["warnings"])
        elsewhere = lines[1] if number % 2 else lines[len(lines) - options.bars - 3]
        joins["moved"] += at_joins(notes.spliced(begin, end, notes, elsewhere), lines, first, last)
        other = Notes.of(songs[(number + 1) % len(songs)])
        joins["spliced"] += at_joins(notes.spliced(begin, end, other, begin), lines, first, last)
        print(f"{path.name}: bars {first + 1} to {last + 1}", flush=True)
    report(joins, totals, options.picture)


def report(joins: dict[str, list[dict[str, float]]], totals: Counter[str], picture: Path | None) -> None:
    """Print what the joins have in common: means with standard errors."""
    print(f"\n| joins | {' | '.join(MEASURES)} | mean |\n|---|{'---|' * (len(MEASURES) + 1)}")
    means: dict[str, npt.NDArray[np.float64]] = {}
    for kind, found in joins.items():
        values = np.array([[each[name] for name in MEASURES] for each in found])  # (joins, measures)
        means[kind] = np.column_stack([values, np.nanmean(values, axis=1)])
        error = np.nanstd(means[kind], axis=0) / np.sqrt((~np.isnan(means[kind])).sum(axis=0))
        cells = [f"{m:.2f} ± {e:.2f}" for m, e in zip(np.nanmean(means[kind], axis=0), error, strict=True)]
        print(f"| {kind} | {' | '.join(cells)} |")
    print("\n" + ", ".join(f"{name}: {total}" for name, total in sorted(totals.items())))
    if picture is not None:
        draw(means, picture)


def draw(means: dict[str, npt.NDArray[np.float64]], picture: Path) -> None:
    """What the joins have in common, as dots with a bar at the mean."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(MEASURES) + 1, figsize=(13, 3.6), sharey=True, layout="constrained")
    rng = np.random.default_rng(0)
    for column, (axis, name) in enumerate(zip(axes, (*MEASURES, "mean"), strict=True)):
        for place, (kind, values) in enumerate(means.items()):
            shown = values[:, column][~np.isnan(values[:, column])]
            colour = "#0072b2" if kind.startswith("revised") else "#777777"
            axis.plot(place + rng.uniform(-0.15, 0.15, len(shown)), shown, ".", color=colour, alpha=0.5, ms=5)
            axis.plot([place - 0.3, place + 0.3], [shown.mean()] * 2, color=colour, lw=2.5)
        axis.set_xticks(range(len(means)), list(means), rotation=60, ha="right")
        axis.set_title(name, fontsize=10)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("in common across the join")
    axes[0].set_ylim(0, 1.02)
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
