"""Compose for every clip of a folder and print a table: cuts, chords, how near they are to cuts, seconds taken.

    python benchmarks/compose_clips.py FOLDER [--model DIR] [--hits bend|exact|free] [-o OUT]

Each file is read back with four libraries, which must agree on notes and markers; all notes must be within the film.
Needs the extras `interop` and `theory`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import symusic

from emsync import midi, soundtrack, video
from emsync.decoder import open_decoder
from emsync.hits import sounding_chords
from emsync.recipe import Recipe


def checked(path: Path, track: soundtrack.Soundtrack) -> str:
    """What four libraries read from a file, or an AssertionError naming the first that differs."""
    import music21

    n = len(track.score)
    used = [i.name for k, i in enumerate(track.score.instruments) if (track.score.instrument == k).any()]
    by_mido = mido.MidiFile(path)
    notes = sum(m.type == "note_on" and m.velocity > 0 for t in by_mido.tracks for m in t)
    markers = sum(m.type == "marker" for t in by_mido.tracks for m in t)
    by_pretty = pretty_midi.PrettyMIDI(str(path))
    by_symusic = symusic.Score(path)
    counts = {
        "mido": notes,
        "pretty_midi": sum(len(i.notes) for i in by_pretty.instruments),
        "symusic": sum(len(t.notes) for t in by_symusic.tracks),
    }
    assert all(c == n for c in counts.values()), (n, counts)
    assert markers == len(track.cuts_s) == len(by_symusic.markers), (markers, len(track.cuts_s))
    assert by_pretty.get_end_time() <= track.score.duration_s + 2e-3, by_pretty.get_end_time()
    parsed = music21.converter.parse(path)
    assert len(parsed.parts) >= len(used), (len(parsed.parts), used)
    assert {p for e in parsed.flatten().notes for p in (x.midi for x in e.pitches)} - set(
        track.score.pitch.tolist()
    ) == set()
    return f"{n} notes, {len(used)} instruments"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--hits", default="bend")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    out = args.output or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    print("| clip | length | cuts | kept | chords | within 1 s | within a frame | watching | composing | read back |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for clip in sorted(p for p in args.folder.iterdir() if p.suffix in (".mp4", ".webm", ".mkv", ".mov")):
        begun = time.monotonic()
        scene = video.analyze(clip)
        watched = time.monotonic() - begun
        begun = time.monotonic()
        track = soundtrack.compose(
            open_decoder(args.model),
            scene.duration_s,
            scene.cuts_s,
            Recipe(seed=args.seed, hits=args.hits),
            frame_rate=scene.frame_rate,
        )
        composed = time.monotonic() - begun
        song = out / f"{clip.stem}.mid"
        midi.write(track.score, song)
        says = checked(song, track)
        assert np.all(track.score.end_s <= scene.duration_s + 1e-9)
        print(
            f"| {clip.stem} | {scene.duration_s:.1f} s | {len(track.cuts_s)} | {len(track.boundaries_s)} "
            f"| {len(sounding_chords(track.score))} "
            f"| {track.n_within_second} | {track.n_within_frame} | {watched:.1f} s | {composed:.1f} s | {says} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
