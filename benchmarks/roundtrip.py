"""What comes back from the tokenizer: notes lost and the worst error, file by file, song by song.

    python benchmarks/roundtrip.py FOLDER_OR_ARCHIVE... [--songs 500] [--all]

A folder is searched for MIDI files, an .npz is an archive of `emsync prepare`. Each song is encoded and decoded, and
its notes are compared with those of `families.reduce`, whose losses have their own columns. Onsets and ends must
come back within 4 ms (a drum hit has no end), no note may be lost, and no velocity leave its level.

Columns: notes in the file · effects and drums without a sound (dropped) · folded by octaves · duplicates merged in
one · cut where an equal note begins · notes that came back · lost · invented · velocities off their level · worst
onset and end error in ms · bars written and read (reading may divide bars so that the tempo stays musical).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from emsync import midi
from emsync import vocabulary as v
from emsync.errors import EmsyncError
from emsync.score import Score
from emsync.tokenizer import events
from emsync.tokenizer.families import reduce
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.song_to_score import song_score

SUFFIXES = {".mid", ".midi", ".kar", ".rmi"}


@dataclass(frozen=True)
class Row:
    """One song's round trip; the fields are the columns."""

    notes: int
    effects: int
    no_sound: int
    folded: int
    merged: int
    cut: int
    back: int
    lost: int
    invented: int
    velocity: int
    onset_ms: float
    end_ms: float
    bars_out: int
    bars_in: int


def round_trip(score: Score) -> Row:
    """Encode, decode, and compare with the reduced score."""
    reduction = reduce(score)
    kept = reduction.score
    encoded = events.encode(score)
    back = events.decode(encoded.ids, encoded.velocities)

    def keys(notes: Score) -> np.ndarray:
        step = np.rint(notes.start_s / v.STEP_S).astype(np.int64)
        return (step * len(v.FAMILIES) + notes.instrument) * 128 + notes.pitch

    before, after = keys(kept), keys(back)
    _, i, j = np.intersect1d(before, after, return_indices=True)
    onset = np.abs(kept.start_s[i] - back.start_s[j])
    pitched = kept.instrument[i] != v.DRUMS
    end = np.abs(kept.end_s[i] - back.end_s[j])[pitched]
    off_level = v.velocity_level(kept.velocity[i]) != v.velocity_level(back.velocity[j])
    return Row(
        len(score),
        reduction.dropped_effects,
        reduction.dropped_out_of_range,
        reduction.folded,
        reduction.duplicates,
        reduction.cut,
        len(back),
        len(before) - len(i),
        len(after) - len(j),
        int(off_level.sum()),
        1000 * float(onset.max(initial=0.0)),
        1000 * float(end.max(initial=0.0)),
        int((v.KIND[encoded.ids] == v.K_BAR).sum()),
        len(back.bars),
    )


def songs(paths: list[Path], limit: int) -> Iterator[tuple[str, Score | EmsyncError]]:
    """Every song by name; files that cannot be read as their error."""
    for path in paths:
        if path.is_dir():
            for file in sorted(each for each in path.rglob("*") if each.suffix.lower() in SUFFIXES):
                try:
                    yield str(file.relative_to(path)), midi.read(file)
                except EmsyncError as error:
                    yield str(file.relative_to(path)), error
        elif path.suffix == ".npz":
            archive = read_archive(path)
            for index in range(min(limit, len(archive))):
                yield f"{path.name}[{index}]", song_score(archive, index)
        else:
            yield path.name, midi.read(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="FOLDER_OR_ARCHIVE")
    parser.add_argument("--songs", type=int, default=500, help="songs of each archive (500)")
    parser.add_argument("--all", action="store_true", help="print songs whose notes all came back unchanged, too")
    arguments = parser.parse_args()

    names = list(Row.__dataclass_fields__)
    print(f"{'song':<40}" + "".join(f"{name:>9}" for name in names))

    def show(name: str, row: tuple[float, ...]) -> None:
        cells = "".join(f"{cell:>9.3f}" if isinstance(cell, float) else f"{cell:>9}" for cell in row)
        print(f"{name[-40:]:<40}{cells}")

    rows = []
    for name, song in songs(arguments.paths, arguments.songs):
        if isinstance(song, EmsyncError):
            print(f"{name[-40:]:<40} refused: {song}")
            continue
        row = round_trip(song)
        rows.append(astuple(row))
        changed = row.effects or row.no_sound or row.folded or row.merged or row.cut
        if arguments.all or changed or row.lost or row.invented or row.velocity:
            show(name, rows[-1])
    if not rows:
        raise SystemExit("no song was found; give a folder of MIDI files or an archive")
    table = np.array(rows)
    worst = [name.endswith("_ms") for name in names]
    total = [table[:, k].max() if is_worst else int(table[:, k].sum()) for k, is_worst in enumerate(worst)]
    show(f"TOTAL of {len(rows)} songs (ms: worst)", tuple(total))


if __name__ == "__main__":
    main()
