"""From score to recording: a music model plays a MIDI file, any length, to the sample, window by window.

    made = produce("song.mid", "song.wav", backend=open_backend(), text="slow, warm strings", seed=0)
    made.onsets.n_on_cut, made.n_windows

The score stays the source of truth. The model is given its melody (MusicGen-melody) or a rendering of it with tempo and
key (ACE-Step), and goes on from window to window. What was made is measured: onsets at the film's cuts. As a model may
blur them, the chords at the cuts can be rendered by FluidSynth and mixed in (`hits_db`).

One window is in memory at a time. The next run with the same arguments continues one that was killed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from emsync import midi, soundfonts
from emsync.anchor import Anchor, plain
from emsync.backends import ACE_STEP, DEFAULT_MODEL, MUSICGEN, Backend, Brief, check_text, window_seed
from emsync.chroma import LEAD, chroma
from emsync.errors import InputError, ModelError, OutputError
from emsync.files import atomic_paths, check_writable, read_limited
from emsync.harmony import find_key
from emsync.joins import Frames, Window, joined, plan_windows
from emsync.mood import MoodCurve
from emsync.piece import Piece
from emsync.produce_kept import KeptFolder
from emsync.produce_sound import OnsetReport, RawSound, fading, hits_of, onset_report, rendered, write_wav
from emsync.recipe import LONGEST_S
from emsync.score import Score

#: As of `audio.render`: the level, and the longest fade.
PEAK_DB: Final = -3.0
FADE_S: Final = (0.05, 3.0)
HITS_DB: Final = (-60.0, 12.0)
_FORMAT: Final = 1
#: Sound below this is none.
_INAUDIBLE: Final = 1e-6

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Production:
    """What was made.

    Attributes:
        path: The WAV file.
        duration_s, rate_hz: Its length and samples a second.
        backend: What made it.
        text: Its prompt.
        anchor: Where that text is from; None if it was given.
        melody: Which notes were the melody.
        n_windows: In how many windows it was made.
        n_found: How many of them an interrupted run had left.
        onsets: How its onsets meet the cuts; None without cuts.
        hits_db: The level of the rendered hits in it; None without.

    """

    path: Path
    duration_s: float
    rate_hz: int
    backend: str
    text: str
    anchor: Anchor | None
    melody: str
    n_windows: int
    n_found: int
    onsets: OnsetReport | None
    hits_db: float | None

    def record(self, plan: dict[str, Any]) -> dict[str, Any]:
        """What OUT.wav.json says, as JSON values."""
        on = self.onsets
        return plan | {
            "anchor": plain(self.anchor), "duration_s": self.duration_s, "rate_hz": self.rate_hz,
            "hits_db": self.hits_db,
            "onsets": None if on is None else {"n": len(on.hits), "on_cut": on.n_on_cut, "by_chance": on.by_chance},
        }  # fmt: skip


def record_path(output: Path) -> Path:
    """Where the record of a recording is: OUT.wav.json."""
    return output.with_name(output.name + ".json")


def produce(
    song: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    backend: Backend,
    text: str | None = None,
    anchor: Anchor | None = None,
    melody: str = LEAD,
    seed: int = 0,
    hits_db: float | None = None,
    soundfont: str | os.PathLike[str] | None = None,
    mood: MoodCurve | None = None,
    record: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Production:
    """Let a music model play a MIDI file, and write what it played, with its prompt beside it (OUT.wav.json).

    Args:
        song: Any Standard MIDI File with pitched notes.
        output: The .wav file, as long as the piece (the record's length, if there is a record).
        backend: The model (`backends.open_backend`).
        text: What it should sound like. By default the text of `anchor`.
        anchor: What the whole piece sounds like. By default it follows from the score and its mood.
        melody: Which notes are the melody, one of `chroma.MELODIES`.
        seed: The same seed and model give the same bytes on the same machine.
        hits_db: Mix in the chords at the cuts, rendered by FluidSynth: their peak, in dB against the recording's.
        soundfont: For the hits, and for a backend that listens to a rendering.
        mood: For a backend with a mood adapter. By default the record's.
        record: SONG.mid.json; by default the one beside the song, if any. It says where the cuts are.
        overwrite: Replace a file that exists.
        progress: Called with "producing" and the share that is done.

    Raises:
        InputError: No pitched notes; an option out of range; no SoundFont or no mood where one is needed.
        ModelError: The model's sound cannot be used.
        OutputError: The output cannot be written, as on a full disk.

    """
    target = check_output(output, inputs=(song, record), overwrite=overwrite)
    _check(hits_db, text, anchor)
    piece = read_song(song, record, melody)
    duration_s = _length(piece)
    if hits_db is not None or soundfont is not None:
        soundfonts.find(soundfont)  # raises now if there is none
    felt = _felt(mood if mood is not None else piece.mood, backend, song)
    if anchor is None and text is None:
        anchor = Anchor.of_score(piece.score, felt)
    text = text if text is not None else anchor.text if anchor is not None else ""
    n_frames = round(duration_s * backend.rate_hz)
    windows = plan_windows(math.ceil(n_frames / backend.hop), backend.longest, backend.overlap)
    plan = _plan(song, backend, text, melody, seed, felt, windows)
    folder = KeptFolder.opened(target, plan)
    n_found = folder.count(len(windows))
    try:
        rendering = _Rendering(piece.score, folder.path / "score.raw", soundfont, n_frames)
        sound_of = _maker(backend, _brief(piece, melody, text, felt, rendering), windows, folder, seed, progress)
        raw = RawSound(folder.path / "sound.raw")
        _fill(raw, joined(windows, sound_of, hop=backend.hop, n_frames=n_frames))
        if raw.peak < _INAUDIBLE:
            raise ModelError("the model gave silence; give another --seed or --text")
        hits = None if hits_db is None else _rendered_hits(piece, soundfont, backend.rate_hz, n_frames, folder.path)
        blocks = fading(_mixed(raw, hits, hits_db), n_frames, _n_fade(piece.score, duration_s, backend.rate_hz))
        with atomic_paths((target, record_path(target)), overwrite=overwrite) as (new, new_record):
            write_wav(new, blocks, backend.rate_hz)
            asked_s = [cut.time_s for cut in piece.asked]
            onsets = onset_report(new, asked_s, duration_s) if asked_s else None
            counts = (len(windows), n_found)
            made = Production(
                target, n_frames / backend.rate_hz, backend.rate_hz, backend.name, text, anchor, melody, *counts,
                onsets, hits_db,
            )  # fmt: skip
            new_record.write_text(json.dumps(made.record(plan), indent=1) + "\n", encoding="utf-8")
    except BaseException:
        folder.remove_sound()
        if not folder.count(len(windows)):
            folder.remove()
        raise
    folder.remove()
    return made


def read_song(song: str | os.PathLike[str], record: str | os.PathLike[str] | None, melody: str) -> Piece:
    """A piece that can be recorded. The arguments are those of `produce`, which raises the same errors."""
    piece = Piece.read(song, record)
    chroma(piece.score, melody, rate_hz=1.0, duration_s=_length(piece))  # raises now if there is no melody
    return piece


def _felt(mood: MoodCurve | None, backend: Backend, song: str | os.PathLike[str]) -> MoodCurve | None:
    """The mood. Raises `InputError` if there is none and the backend has an adapter that follows it."""
    if mood is None and getattr(backend, "adapter", None) is not None:
        raise unmoved(str(song))
    return mood


def unmoved(song: str) -> InputError:
    """The error for an adapter and a piece without a mood, which the adapter would not change."""
    return InputError(
        f"--adapter follows a mood, and {song} has none; compose it with one, such as --emotion joy, and give the "
        "--record of that, or leave --adapter out"
    )


def _check(hits_db: float | None, text: str | None, anchor: Anchor | None) -> None:
    """Raise `InputError` for an option out of range."""
    if hits_db is not None and not HITS_DB[0] <= hits_db <= HITS_DB[1]:
        raise InputError(f"hits at {hits_db:g} dB are not from {HITS_DB[0]:g} to {HITS_DB[1]:g} dB; give another level")
    if text is not None and anchor is not None:
        raise InputError("a text and an anchor each say what it sounds like; give one of them")
    check_text(text or "")


def _length(piece: Piece) -> float:
    """How long the recording is, in seconds. Raises `InputError` if that is too long."""
    if not 0 < piece.duration_s <= LONGEST_S:
        raise InputError(
            f"{piece.title} lasts {piece.duration_s:.0f} s; a recording is above 0 s and at most {LONGEST_S} s long"
        )
    return piece.duration_s


def _rendered_hits(
    piece: Piece, soundfont: str | os.PathLike[str] | None, rate_hz: int, n_frames: int, folder: Path
) -> RawSound:
    """The chords at the cuts, as FluidSynth plays them."""
    chords_s = [cut.hit.chord_s for cut in piece.asked if cut.hit is not None and cut.hit.chord_s is not None]
    hits = RawSound(folder / "hits.raw")
    _fill(hits, rendered(hits_of(piece.score, chords_s), soundfonts.find(soundfont), rate_hz, n_frames))
    return hits


def open_backend(model: str | Path = DEFAULT_MODEL, *, adapter: str | Path | None = None) -> Backend:
    """The backend for a folder or a checkpoint on the hub: MusicGen-melody, or ACE-Step behind "ace-step:".

    Nothing is downloaded. Raises `ModelError` for a checkpoint that is not there or is of another kind, and
    `MissingExtraError`.
    """
    kind, _, rest = str(model).partition(":")
    if kind == ACE_STEP:
        if adapter is not None:
            raise InputError("a mood adapter is trained for one MusicGen checkpoint; leave --adapter out with ace-step")
        from emsync.ace_step import AceStep

        return AceStep.open(rest)
    from emsync.musicgen import MusicGen

    return MusicGen.open(rest if kind == MUSICGEN else str(model), adapter=adapter)


def check_output(
    output: str | os.PathLike[str], *, inputs: tuple[str | os.PathLike[str] | None, ...] = (), overwrite: bool
) -> Path:
    """Where a recording goes. Raises `InputError` if it does not end in .wav, `OutputError` if it cannot be written."""
    target = check_writable(output, overwrite=overwrite, inputs=inputs)
    check_writable(record_path(target), overwrite=overwrite, inputs=inputs)
    if target.suffix.lower() != ".wav":
        raise InputError(f"{target} does not end in .wav, the one format that recordings are written in; call it .wav")
    return target


def _plan(
    song: str | os.PathLike[str], backend: Backend, text: str, melody: str, seed: int, mood: MoodCurve | None,
    windows: tuple[Window, ...],
) -> dict[str, Any]:  # fmt: skip
    """All that a recording depends on, as JSON values: what was kept for another plan cannot be used."""
    digest = hashlib.sha256(read_limited(song, midi.MAX_BYTES, "MIDI file")).hexdigest()
    return {
        "format": _FORMAT, "song_sha256": digest, "backend": backend.name,
        "settings": backend.settings, "text": text, "melody": melody, "seed": seed,
        "mood": None if mood is None else repr(mood.as_json()), "windows": [[w.first, w.stop] for w in windows],
    }  # fmt: skip


def _brief(piece: Piece, melody: str, text: str, mood: MoodCurve | None, rendering: _Rendering) -> Brief:
    bars = piece.score.bars
    beats = int(np.bincount(bars.numerator).argmax()) if len(bars) else 4
    return Brief(
        piece.score, melody, text, piece.duration_s, piece.mean_qpm, find_key(piece.score), beats, mood, rendering
    )


class _Rendering:
    """A stretch of the score as sound; the score is rendered once, when it is first asked for."""

    def __init__(self, score: Score, place: Path, soundfont: str | os.PathLike[str] | None, n_frames: int) -> None:
        self._score, self._place, self._soundfont, self._n_frames = score, place, soundfont, n_frames
        self._raw: RawSound | None = None

    def __call__(self, start_s: float, n_samples: int, rate_hz: int) -> Frames:
        if self._raw is None:
            self._raw = RawSound(self._place)
            _fill(self._raw, rendered(self._score, soundfonts.find(self._soundfont), rate_hz, self._n_frames))
        return self._raw.part(round(start_s * rate_hz), n_samples)


def _fill(raw: RawSound, blocks: Iterator[Frames]) -> None:
    """Write samples to disk. Raises `OutputError` if the disk is full."""
    try:
        raw.fill(blocks)
    except OSError as error:
        if isinstance(error, OutputError) or error.errno is None:
            raise
        raise OutputError(
            f"{raw.path.parent} cannot be written ({error.strerror}); free some space or write elsewhere"
        ) from error


def _maker(
    backend: Backend,
    brief: Brief,
    windows: tuple[Window, ...],
    folder: KeptFolder,
    seed: int,
    progress: Progress | None,
) -> Callable[[Window], Frames]:
    """Gives the sound of a window: of what was kept of it, or else of what is generated now and kept."""

    def sound_of(window: Window) -> Frames:
        def tell(share: float) -> None:
            if progress is not None:
                progress("producing", (window.first + share * len(window)) / windows[-1].stop)

        kept = folder.load(window.index)
        if kept is None:
            before = folder.load(window.index - 1) if window.index else None
            kept = backend.generate(brief, window, before, window_seed(seed, window.index), tell)
            folder.save(window.index, kept)
        tell(1.0)
        return backend.decode(kept)

    return sound_of


def _mixed(raw: RawSound, hits: RawSound | None, hits_db: float | None) -> Iterator[Frames]:
    """The recording with its hits, its peak at `PEAK_DB`."""
    share = 0.0
    if hits is not None and hits_db is not None and hits.peak > _INAUDIBLE:
        share = raw.peak / hits.peak * 10 ** (hits_db / 20)

    def sums() -> Iterator[Frames]:
        if hits is None or not share:
            yield from raw.blocks()
        else:
            yield from (a + np.float32(share) * b for a, b in zip(raw.blocks(), hits.blocks(), strict=True))

    peak = max(float(np.abs(block).max(initial=0.0)) for block in sums())
    gain = np.float32(10 ** (PEAK_DB / 20) / peak)
    yield from (block * gain for block in sums())


def _n_fade(score: Score, duration_s: float, rate_hz: int) -> int:
    """How many of the last samples fade out: from the last note's end on, as far as `FADE_S` allows."""
    rest_s = duration_s - float(score.end_s.max(initial=0.0))
    return round(min(max(rest_s, FADE_S[0]), FADE_S[1], duration_s) * rate_hz)
