"""Scores of other libraries: mido, pretty_midi, symusic and music21.

    from emsync import interop, midi

    score = midi.read("song.mid")
    stream = interop.to_music21(score)      # pip install "emsync[theory]"
    file = interop.to_mido(score)           # pip install "emsync[interop]", as for pretty_midi and symusic
    again = interop.from_mido(file)

What survives, there and back:

| | times | velocity, program, drums | tempo, bars | keys | markers |
|---|---|---|---|---|---|
| mido | within 1 ms | yes | yes | yes | yes |
| pretty_midi | within 1 ms, exactly on the way back | yes | yes | yes | as text events |
| symusic | within 1 ms | yes | yes | yes | yes |
| music21 | within 1 ms | yes | yes | yes | as rehearsal marks |

The way there goes through the MIDI file that `midi.to_bytes` makes, so what that merges or rounds is merged or rounded.
"""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync.errors import MidiError, MissingExtraError
from emsync.score import DENOMINATORS, MAX_QPM, Bars, Instrument, KeySignature, Marker, Score, TempoMap

if TYPE_CHECKING:
    import mido
    import music21
    import pretty_midi
    from symusic.core import ScoreQuarter, ScoreSecond, ScoreTick

#: The shortest note that a conversion makes of one without length, in seconds.
_SHORTEST_S = 1e-3


def _library(name: str, extra: str) -> Any:
    """Import an optional library. Raises `MissingExtraError`, naming the extra that brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(f'{name} is not installed; run: pip install "emsync[{extra}]"') from error


# ---------------------------------------------------------------------------------------------------------------------
# mido


def to_mido(score: Score) -> mido.MidiFile:
    """A Score as a `mido.MidiFile` of type 1. Inverse of `from_mido`.

    Raises `MissingExtraError` without mido, `MidiError` for what a MIDI file cannot hold.
    """
    library = _library("mido", "interop")
    return library.MidiFile(file=io.BytesIO(midi.to_bytes(score)), charset="utf-8")


def from_mido(file: mido.MidiFile) -> Score:
    """A `mido.MidiFile` as a Score, by the rules of `midi.from_bytes`. Inverse of `to_mido`.

    Raises `MidiError` for messages that mido itself cannot write, and for a file without notes.
    """
    data = io.BytesIO()
    try:
        file.save(file=data)
    except (ValueError, TypeError) as error:
        raise MidiError(f"mido cannot write this file ({error}); are all times whole numbers of ticks?") from error
    return midi.from_bytes(data.getvalue(), name="the mido file")


# ---------------------------------------------------------------------------------------------------------------------
# pretty_midi


def to_pretty_midi(score: Score) -> pretty_midi.PrettyMIDI:
    """A Score as a `pretty_midi.PrettyMIDI`; markers become text events. Inverse of `from_pretty_midi`.

    Raises `MissingExtraError` without pretty_midi, `MidiError` for what a MIDI file cannot hold.
    """
    library = _library("pretty_midi", "interop")
    file = library.PrettyMIDI(io.BytesIO(midi.to_bytes(score)), charset="utf-8")
    file.text_events = [library.Text(marker.text, marker.time_s) for marker in score.markers]
    return file


def from_pretty_midi(file: pretty_midi.PrettyMIDI) -> Score:
    """A `pretty_midi.PrettyMIDI` as a Score; text events become markers. Inverse of `to_pretty_midi`.

    Note times are taken as they are, in seconds. A note without length lasts a millisecond; notes of velocity 0 are
    dropped. Instruments without notes stay. Raises `MidiError` for a tempo or a note that cannot be played.
    """
    instruments = [Instrument(each.name, each.program, each.is_drum) for each in file.instruments]
    rows = [
        (index, note.pitch, min(note.velocity, 127), note.start, max(note.end, note.start + _SHORTEST_S))
        for index, each in enumerate(file.instruments)
        for note in each.notes
        if note.velocity > 0
    ]
    who, pitch, velocity, start_s, end_s = np.array(rows, dtype=np.float64).reshape(-1, 5).T
    times_s, qpm = file.get_tempo_changes()
    if not (np.isfinite(qpm) & (qpm > 0) & (qpm <= MAX_QPM)).all():
        raise MidiError(f"the pretty_midi file has a tempo outside 0 to {MAX_QPM:g} quarter notes a minute; mend it")
    keep = np.append(np.diff(times_s) > 0, True)  # of tempi at one time the last counts
    times_s, qpm = times_s[keep], qpm[keep]
    if times_s[0] > 0:
        times_s, qpm = np.append(0.0, times_s), np.append(120.0, qpm)
    tempo = TempoMap(times_s, qpm)
    end = max(float(end_s.max(initial=0.0)), *(float(each.time) for each in (*file.text_events, *file.lyrics)), 0.0)
    return Score(
        tuple(instruments),
        who,
        pitch,
        velocity,
        start_s,
        end_s,
        tempo,
        _bars(
            [(each.time, each.numerator, each.denominator) for each in file.time_signature_changes],
            tempo,
            float(end_s.max(initial=0.0)),
        ),
        [Marker(each.time, each.text) for each in file.text_events],
        [_key(each.time, each.key_number) for each in file.key_signature_changes],
        end,
    )


def _bars(changes: list[tuple[float, int, int]], tempo: TempoMap, end_s: float) -> Bars:
    """Bars from meter changes (seconds, numerator, denominator); 4/4 until the first."""
    at: dict[float, tuple[int, int]] = {0.0: (4, 4)}
    for time_s, above, below in sorted(changes):
        if 1 <= above <= 255 and below in DENOMINATORS and (time_s < end_s or time_s == 0):
            at[float(time_s)] = (above, below)
    places = tempo.quarters_at(np.array(list(at)))
    # Seconds that came from ticks are on a fine grid of quarter notes, up to rounding.
    places = np.where(np.abs(places - np.round(places, 6)) < 1e-7, np.round(places, 6), places)
    return Bars.from_meters(places, list(at.values()), float(tempo.quarters_at(end_s)), tempo.seconds_at)


def _key(time_s: float, number: int) -> KeySignature:
    """A key signature from pretty_midi's numbers: 0 to 11 major, 12 to 23 minor."""
    return KeySignature(time_s, number % 12, number >= 12)


# ---------------------------------------------------------------------------------------------------------------------
# symusic


def to_symusic(score: Score) -> ScoreTick:
    """A Score as a `symusic.Score` in ticks. Inverse of `from_symusic`.

    Raises `MissingExtraError` without symusic, `MidiError` for what a MIDI file cannot hold.
    """
    library = _library("symusic", "interop")
    return library.Score.from_midi(midi.to_bytes(score))


def from_symusic(score: ScoreTick | ScoreQuarter | ScoreSecond) -> Score:
    """A `symusic.Score`, of any unit of time, as a Score. Inverse of `to_symusic`.

    Notes without length last a tick; notes of velocity 0 are dropped. Raises `MidiError` for a tempo of zero.
    """
    symusic = _library("symusic", "interop")
    ticks: Any = score.to("tick")
    columns: list[list[npt.NDArray[np.int64]]] = []
    instruments: list[Instrument] = []
    for track in ticks.tracks:
        notes = track.notes.numpy()
        played = notes["velocity"] > 0
        time, duration, pitch, velocity = (
            np.asarray(notes[name])[played].astype(np.int64) for name in ("time", "duration", "pitch", "velocity")
        )
        start = np.maximum(time, 0)  # symusic can shift notes to before the beginning
        end = np.maximum(time + duration, start + 1)
        columns.append([np.full(len(time), len(instruments)), pitch, velocity, start, end])
        instruments.append(Instrument(track.name, track.program, track.is_drum))
    who, pitch, velocity, start, end = (
        np.concatenate([np.empty(0, dtype=np.int64), *parts])
        for parts in (zip(*columns, strict=True) if columns else [()] * 5)
    )
    if not len(who):
        return Score.empty(tuple(instruments))
    # Tempo, bars, markers and keys the way `midi` reads them from a file with one long note.
    frame_score = ticks.copy()
    frame_score.tracks = type(ticks.tracks)()
    frame_score.tracks.append(symusic.Track(name="", program=0, is_drum=False))
    frame_score.tracks[0].notes.append(symusic.Note(0, int(end.max()), 60, 64))
    frame = midi.from_bytes(frame_score.dumps_midi(), name="the symusic score")
    frame = frame.until(float(frame.end_s.max()))  # symusic's End of Track is a tick late

    def seconds(tick: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        return frame.tempo.seconds_at(tick / ticks.ticks_per_quarter)

    return Score(
        tuple(instruments),
        who,
        pitch,
        np.minimum(velocity, 127),
        seconds(start),
        seconds(end),
        frame.tempo,
        frame.bars,
        frame.markers,
        frame.keys,
    )


# ---------------------------------------------------------------------------------------------------------------------
# music21


def to_music21(score: Score, *, quantize: bool = False) -> music21.stream.Score:
    """A Score as a `music21.stream.Score`: one part an instrument, with measures. Inverse of `from_music21`.

    - quantize: move notes to music21's grid of sixteenths and triplets, for readable notation. Else notes keep their
      time.

    Markers become rehearsal marks of the first part. Raises `MissingExtraError` without music21, `MidiError` for what a
    MIDI file cannot hold.
    """
    library = _library("music21", "theory")
    file = library.midi.MidiFile()
    file.readstr(midi.to_bytes(score))
    stream = library.midi.translate.midiFileToStream(file, quantizePost=quantize)
    for marker in score.markers if stream.parts else ():
        mark = library.expressions.RehearsalMark(marker.text)
        _insert(stream.parts[0], float(score.tempo.quarters_at(marker.time_s)), mark)
    return stream


def _insert(part: Any, offset: float, element: Any) -> None:
    """Put an element into its measure."""
    measure = part.getElementAtOrBefore(offset, classList=["Measure"])
    if measure is None:
        part.insert(offset, element)
    else:
        measure.insert(offset - measure.offset, element)


def from_music21(stream: music21.stream.Stream) -> Score:
    """A music21 stream as a Score; rehearsal marks become markers. Inverse of `to_music21`.

    Repeats are played out and ties joined, as music21 writes them to MIDI. Raises `MidiError` for a stream without
    notes, or one that music21 cannot write.
    """
    library = _library("music21", "theory")
    try:
        with warnings.catch_warnings():  # it warns of channels that it then chooses itself
            warnings.simplefilter("ignore", library.midi.translate.TranslateWarning)
            data = library.midi.translate.streamToMidiFile(stream, addEndDelay=False).writestr()
    except library.exceptions21.Music21Exception as error:
        raise MidiError(f"music21 cannot write this stream as MIDI ({error})") from error
    score = midi.from_bytes(data, name="the music21 stream")
    marks = [
        Marker(float(score.tempo.seconds_at(float(mark.getOffsetInHierarchy(stream)))), str(mark.content))
        for mark in stream.recurse().getElementsByClass(library.expressions.RehearsalMark)
    ]
    return replace(score, markers=tuple(marks)) if marks else score
