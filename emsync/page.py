"""A piece as one web page that needs no network: the film, the sound, and the notes that follow them.

    save_page(Piece.read("song.mid"), "song.html", song="song.mid", sound="song.mp3", film="film.mp4")

The page is one file. Style, script, notes, MIDI file and sound are inside it; a film is inside if it is small, else
linked by a path relative to the page. A content security policy forbids it every other request. The same piece and
files give the same bytes.
"""

from __future__ import annotations

import base64
import html
import json
import math
import mimetypes
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from emsync import midi
from emsync.errors import InputError, printable
from emsync.files import check_writable, read_limited, write_bytes
from emsync.piece import Piece, clock
from emsync.plot import instrument_colours
from emsync.plot_piece import CUT_MARKS, summary
from emsync.video import timecode

Place = Literal["embedded", "linked"]

#: Larger films are linked, not embedded. A page of twice this size opens slowly.
MAX_FILM_BYTES: Final = 24 << 20
#: Larger sound is linked: 48 MB are 50 minutes of MP3, or 5 of WAV.
MAX_SOUND_BYTES: Final = 48 << 20
_MAX_SONG_BYTES: Final = 64 << 20
#: Files that browsers know by another type than Python does.
_TYPES: Final = {".mp3": "audio/mpeg", ".flac": "audio/flac", ".wav": "audio/wav", ".ogg": "audio/ogg",
                 ".mkv": "video/x-matroska", ".m4v": "video/mp4", ".mov": "video/quicktime"}  # fmt: skip


@dataclass(frozen=True)
class Page:
    """A page that was written.

    - path: the file.
    - n_bytes: its size.
    - film, sound: whether they are inside the page or linked; None without one.
    """

    path: Path
    n_bytes: int
    film: Place | None
    sound: Place | None


def save_page(
    piece: Piece,
    path: str | os.PathLike[str],
    *,
    song: str | os.PathLike[str] | None = None,
    record: str | os.PathLike[str] | None = None,
    sound: str | os.PathLike[str] | None = None,
    film: str | os.PathLike[str] | None = None,
    max_film_bytes: int = MAX_FILM_BYTES,
    overwrite: bool = False,
) -> Page:
    """Write a piece as a web page.

    Args:
        piece: What is shown.
        path: The page; its name should end in .html.
        song: The MIDI file that the page offers for download, byte for byte; by default the piece's score is written.
        record: The record that the page offers as well.
        sound: The piece as sound: .mp3 and .wav play in every browser. Without it, the film gives the time, or a clock.
        film: The film. It is shown without its own sound, unless the viewer asks for that.
        max_film_bytes: A larger film is linked. 0 links every film.
        overwrite: Replace a file that exists.

    Raises:
        InputError: A file cannot be read.
        OutputError: The page cannot be written.

    """
    target = check_writable(path, overwrite=overwrite, inputs=(song, record, sound, film))
    data = midi.to_bytes(piece.score) if song is None else read_limited(song, _MAX_SONG_BYTES, "MIDI file")
    stem = _file_name(Path(piece.title or "song").stem or "song")
    downloads = [{"name": f"{stem}.mid", "type": "audio/midi", "base64": _base64(data), "label": "MIDI file"}]
    if record is not None:
        kept = read_limited(record, _MAX_SONG_BYTES, "record")
        downloads.append(
            {"name": f"{stem}.mid.json", "type": "application/json", "base64": _base64(kept), "label": "Record"}
        )
    sound_medium = None if sound is None else _medium(sound, target, MAX_SOUND_BYTES, "sound file", stem)
    film_medium = None if film is None else _medium(film, target, max_film_bytes, "video", stem)
    contents = _contents(piece) | {"downloads": downloads, "sound": sound_medium, "film": film_medium}
    page = fill("piece.html", ("roll.js", "piece.js"), title=piece.title or "Untitled piece", data=contents).encode(
        "utf-8"
    )
    write_bytes(target, page, overwrite=overwrite)
    return Page(target, len(page), _place(film_medium), _place(sound_medium))


def fill(template: str, scripts: Iterable[str], *, title: str, data: Mapping[str, Any]) -> str:
    """One of the package's pages (`emsync/web`), with its style and scripts, a title and data in it.

    The data reaches the script as JSON that nothing in it can end: `<` and everything outside ASCII is escaped.
    """
    folder = resources.files("emsync") / "web"
    parts = {
        "title": html.escape(printable(title)),
        "style": (folder / "shared.css").read_text("utf-8"),
        "script": "".join((folder / name).read_text("utf-8") for name in ("shared.js", *scripts)),
        "data": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
    }
    # In one pass, so that what is filled in is not filled itself.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], (folder / template).read_text("utf-8"))


def _contents(piece: Piece) -> dict[str, Any]:
    """What the page shows, as plain values. Times in seconds, to the millisecond."""
    score = piece.score
    colours = instrument_colours(score)
    order = sorted(piece.playing(), key=lambda i: (score.instruments[i].is_drum, i))
    instruments = []
    for i in order:
        notes = score.of(i)
        columns = (_ms(notes.start_s), _ms(notes.end_s), notes.pitch.tolist(), notes.velocity.tolist())
        instruments.append(
            {
                "name": printable(score.instruments[i].name) or f"Instrument {i + 1}",
                "drums": score.instruments[i].is_drum,
                "colour": colours[i],
                "notes": [list(note) for note in zip(*columns, strict=True)],
            }
        )
    inside = score.tempo.times_s < max(piece.duration_s, 0.1)
    facts = [
        f"{clock(piece.duration_s)}",
        f"{len(score)} notes",
        f"{len(score.bars)} bars",
        f"{piece.mean_qpm:.0f} qpm",
    ]
    return {
        "title": printable(piece.title) or "Untitled piece",
        "duration": round(max(piece.duration_s, 0.1), 3),
        "facts": facts,
        "summary": summary(piece),
        "states": {state: {"colour": colour, "label": label} for state, (colour, _, label) in CUT_MARKS.items()},
        "instruments": instruments,
        "bars": _ms(score.bars.start_s),
        "tempo": {"times": _ms(score.tempo.times_s[inside]), "qpm": _rounded(score.tempo.qpm[inside], 2)},
        "cuts": _cuts(piece),
        "chords": [{"time": round(chord.time_s, 3), "name": chord.name} for chord in piece.chords],
        "sections": [
            {"start": round(each.start_s, 3), "end": round(each.end_s, 3), "name": printable(each.name)}
            for each in piece.sections
        ],
        "mood": None if piece.mood is None else {
            "times": _ms(piece.mood.times_s), "valence": _rounded(piece.mood.valence, 3),
            "arousal": _rounded(piece.mood.arousal, 3), "source": printable(piece.mood_source),
        },
    }  # fmt: skip


def _cuts(piece: Piece) -> list[dict[str, Any]]:
    """Each cut with its timecode, how it was met, by which chord, and how late that is, in milliseconds."""
    names = {round(chord.time_s, 6): chord.name for chord in piece.chords}
    out = []
    for cut in piece.cuts:
        chord_s = None if cut.hit is None else cut.hit.chord_s
        error_s = None if cut.hit is None else cut.hit.error_s
        out.append(
            {
                "time": round(cut.time_s, 3),
                "timecode": timecode(cut.time_s, piece.frame_rate),
                "state": cut.state,
                "error_ms": None if error_s is None else round(error_s * 1000, 1),
                "chord": "" if chord_s is None else names.get(round(chord_s, 6), ""),
            }
        )
    return out


def _medium(path: str | os.PathLike[str], page: Path, max_bytes: int, what: str, stem: str) -> dict[str, Any]:
    """A film or a sound: inside the page, or as a link if it is larger than `max_bytes`."""
    file = Path(path)
    name = {"name": printable(file.name)}
    try:
        size = file.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{printable(os.fspath(file))} cannot be read ({reason}); check the name") from error
    if size > max_bytes:
        return linked(file, page) | name
    download = _file_name(file.name) if what == "video" else stem + file.suffix.lower()
    return embedded(file, max_bytes) | name | {"download": download}


def embedded(path: Path, max_bytes: int) -> dict[str, Any]:
    """A file of at most max_bytes as `addressOf` of the pages' script takes it: its type and its bytes as base64."""
    return {"type": _type_of(path), "base64": _base64(read_limited(path, max(max_bytes, 1)))}


def linked(path: Path, page: Path) -> dict[str, Any]:
    """A file as `addressOf` of the pages' script takes it: its type and its place relative to the page."""
    return {"type": _type_of(path), "href": relative_url(path, page)}


def _type_of(path: Path) -> str:
    suffix = path.suffix.lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(f"file{suffix}")[0] or "application/octet-stream"


def relative_url(path: Path, page: Path) -> str:
    """How a page refers to a file: by a relative path, or by an absolute one if they are on different drives.

    Names are escaped byte by byte, so that no name can mean anything but the file.
    """
    try:
        relative = os.path.relpath(path, page.parent)
    except ValueError:  # Windows: another drive
        return path.resolve().as_uri()
    return "./" + urllib.parse.quote(os.fsencode(relative.replace(os.sep, "/")), safe="/")


def _place(medium: Mapping[str, Any] | None) -> Place | None:
    if medium is None:
        return None
    return "linked" if "href" in medium else "embedded"


def _file_name(name: str) -> str:
    """A name for a download that every system takes: what is not printable, and what paths are made of, becomes `_`."""
    return "".join("_" if printable(each) != each or each in '/\\:*?"<>|' else each for each in name)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _ms(times_s: Iterable[float]) -> list[float]:
    return _rounded(times_s, 3)


def _rounded(values: Iterable[float], digits: int) -> list[Any]:
    """Rounded for JSON, which has no NaN: None."""
    numbers = np.asarray(values, dtype=np.float64).tolist()
    return [round(each, digits) if math.isfinite(each) else None for each in numbers]
