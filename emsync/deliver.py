"""A MIDI file made ready for the program that opens it: timecode, levels, key, chord symbols, one file a track.

    deliver("song.mid", "for-live.mid", tempo_span=True)

Notes, tempo, meters and markers stay as they are.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from emsync import midi
from emsync.errors import OutputError
from emsync.files import atomic_paths, check_writable
from emsync.harmony import chord_symbols, find_keys
from emsync.midi_details import Details
from emsync.score import Score


def delivered(score: Score, details: Details, *, harmony: bool = False) -> bytes:
    """The MIDI file of a score. harmony: add its keys, unless it has some, and chord symbols as text events."""
    if harmony:
        score = score if score.keys else replace(score, keys=find_keys(score))
        details = replace(details, texts=(*details.texts, *chord_symbols(score)))
    return midi.to_bytes(score, details=details)


def deliver(
    song: str | os.PathLike[str],
    output: str | os.PathLike[str],
    details: Details | None = None,
    *,
    harmony: bool = False,
    split_tracks: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Write a song again, with details. Returns the paths written: all of them, or none.

    - song: any MIDI file. What `midi.read` does not keep (controllers, lyrics) is left out.
    - split_tracks: write a file for each instrument as well, all with the same tempo map, meters and markers:
      `OUTPUT-1-drums.mid` and so on.

    Raises `InputError` for a song or details that cannot be used, `OutputError` for a place that cannot be written.
    """
    score = midi.read(song)
    details = details or Details()
    output = Path(output)
    parts = [score.of(i) for i in range(len(score.instruments))] if split_tracks else []
    paths = [output, *(part_path(output, i, part.instruments[i].name) for i, part in enumerate(parts))]
    for path in paths:
        check_writable(path, overwrite=overwrite, inputs=(song,))
    if len(set(paths)) < len(paths):
        raise OutputError(f"{output} is the name of a track's file, too; give another name")
    data = [delivered(score, details, harmony=harmony)]
    for i, part in enumerate(parts):
        alone = replace(part, instruments=(part.instruments[i],), instrument=part.instrument * 0)
        data.append(delivered(alone, details))
    with atomic_paths(paths, overwrite=overwrite) as places:
        for place, content in zip(places, data, strict=True):
            place.write_bytes(content)
    return paths


def part_path(output: Path, index: int, name: str) -> Path:
    """The file of one track beside `output`: its number from 1 and its name in plain letters."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "track"
    return output.with_name(f"{output.stem}-{index + 1}-{plain}.mid")
