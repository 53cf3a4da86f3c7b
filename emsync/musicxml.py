"""A score for players as MusicXML 4.0, which MuseScore, Sibelius, Dorico and Finale open.

    save(score, "song.musicxml", title="Song")

`emsync.notation` makes it readable. Above the first staff stand chord symbols, tempo marks where the tempo changes by
`_TEMPO_STEP` or more, and markers (cuts, sections): on bar lines as rehearsal marks, elsewhere in boxes. Notes far
outside a staff are under lines of 8va (`emsync.octaves`). The keys are the score's own; without any they are found
(`harmony.find_keys`).
"""

from __future__ import annotations

import os
import re
from itertools import groupby
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

import numpy as np

from emsync.files import write_bytes
from emsync.harmony import chord_symbols, find_keys, signature
from emsync.midi_text import clean as cleaned
from emsync.notation import UNITS, Bar, Event, Staff, is_bass, measures, notated, to_units
from emsync.octaves import octave_shifts
from emsync.score import Instrument, Score

_TYPES: Final = {48: "whole", 36: "half", 24: "half", 18: "quarter", 12: "quarter", 9: "eighth", 8: "quarter",
                 6: "eighth", 4: "eighth", 3: "16th"}  # fmt: skip
_DOTTED: Final = frozenset({36, 18, 9})
_TRIPLETS: Final = frozenset({8, 4})
#: A tempo mark is written where the tempo has changed by this share since the last.
_TEMPO_STEP: Final = 0.04
#: The height of a staff on paper: that of orchestral scores. At 7 mm, that of piano music, six staves fill half a page.
STAFF_MM: Final = 5.0
#: A cue this close to a bar line, in units, is on it.
_NEAR: Final = UNITS // 4

_KINDS: Final = {
    "": "major", "m": "minor", "7": "dominant", "maj7": "major-seventh", "m7": "minor-seventh",
    "sus4": "suspended-fourth", "sus2": "suspended-second", "dim": "diminished", "aug": "augmented",
    "6": "major-sixth", "m6": "minor-sixth",
    "m7b5": "half-diminished", "dim7": "diminished-seventh", "mMaj7": "major-minor", "9": "dominant-ninth",
    "maj9": "major-ninth", "m9": "minor-ninth", "5": "power",
}  # fmt: skip
#: Where drums stand on the staff, and whether with a cross for a head: General MIDI keys.
_DRUMS: Final = {
    35: ("F4", False), 36: ("F4", False), 37: ("C5", True), 38: ("C5", False), 39: ("C5", True), 40: ("C5", False),
    41: ("G4", False), 43: ("A4", False), 45: ("B4", False), 47: ("D5", False), 48: ("E5", False), 50: ("E5", False),
    42: ("G5", True), 44: ("D4", True), 46: ("G5", True), 49: ("A5", True), 51: ("F5", True), 53: ("F5", True),
    57: ("A5", True), 59: ("F5", True), 54: ("B5", True), 56: ("E5", True),
}  # fmt: skip


_TREBLE, _BASS = "<sign>G</sign><line>2</line>", "<sign>F</sign><line>4</line>"
_TREBLE_8, _BASS_8 = (clef + "<clef-octave-change>-1</clef-octave-change>" for clef in (_TREBLE, _BASS))
#: The pitches of the lowest and the highest line of each clef.
_LINES: Final = {_TREBLE: (64, 77), _BASS: (43, 57), _TREBLE_8: (52, 65), _BASS_8: (31, 45)}
#: What a bar begins with: sharps, and both numbers of the meter.
Attributes = tuple[int, int, int]
#: What stands above the first staff, with its place in units, by the number of the bar.
Above = dict[int, list[tuple[int, str]]]


def save(score: Score, path: str | os.PathLike[str], *, title: str = "", overwrite: bool = False) -> Path:
    """Write a score as MusicXML, all at once or not at all; see `to_musicxml`."""
    write_bytes(path, to_musicxml(score, title=title).encode(), overwrite=overwrite)
    return Path(path)


def to_musicxml(score: Score, *, title: str = "") -> str:
    """A score as MusicXML text: a part an instrument that plays, the highest first, drums last.

    Raises `InputError` for a score with too many bars.
    """
    staves, bars = notated(score)
    indices = sorted({staff.instrument for staff in staves}, key=lambda i: _rank(score, i))
    fifths = _fifths(score, bars)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE score-partwise PUBLIC "-//Recordare//DTD MusicXML 4.0 Partwise//EN" '
        '"http://www.musicxml.org/dtds/partwise.dtd">',
        '<score-partwise version="4.0">', f"<work><work-title>{_text(title)}</work-title></work>",
        f"<defaults><scaling><millimeters>{STAFF_MM:g}</millimeters><tenths>40</tenths></scaling></defaults>",
        "<part-list>",
    ]  # fmt: skip
    for i in indices:
        lines += _part_head(i, score.instruments[i])
    if not indices:
        lines.append('<score-part id="P0"><part-name>Silence</part-name></score-part>')
    lines.append("</part-list>")
    above = _above(score, bars)
    for place, i in enumerate(indices):
        own = [staff for staff in staves if staff.instrument == i]
        lines += _part(f"P{i}", score.instruments[i], own, bars, fifths, above if place == 0 else {})
    if not indices:
        lines += _part("P0", Instrument("Silence", 0), [Staff(0, 0)], bars, fifths, above)
    lines.append("</score-partwise>")
    return "\n".join(lines) + "\n"


def _fifths(score: Score, bars: list[Bar]) -> list[int]:
    """The signature of each bar, as sharps; a key that begins within a bar counts from the nearest bar line on."""
    starts = np.array([bar.start for bar in bars])
    found = np.zeros(len(bars), dtype=int)
    for key in score.keys or find_keys(score):
        begins = int(np.argmin(np.abs(starts - to_units(score, key.time_s, bars))))
        found[begins:] = signature(key)
    return [int(each) for each in found]


def _rank(score: Score, index: int) -> tuple[bool, bool, float]:
    """Sorts instruments as in a score: the highest first, then basses, then drums."""
    instrument = score.instruments[index]
    pitch = float(score.pitch[score.instrument == index].mean())
    return instrument.is_drum, is_bass(instrument), -pitch


def _text(text: str) -> str:
    return escape(cleaned(text))


def _part_head(index: int, instrument: Instrument) -> list[str]:
    name, number = _text(instrument.name) or f"Track {index + 1}", index % 16 + 1
    return [
        f'<score-part id="P{index}"><part-name>{name}</part-name>',
        f'<score-instrument id="P{index}-I1"><instrument-name>{name}</instrument-name></score-instrument>',
        f'<midi-instrument id="P{index}-I1"><midi-channel>{10 if instrument.is_drum else number}</midi-channel>'
        f"<midi-program>{instrument.program + 1}</midi-program></midi-instrument></score-part>",
    ]


# --- above the first staff --------------------------------------------------------------------------------------------


def _above(score: Score, bars: list[Bar]) -> Above:
    """Chord symbols, tempo marks and rehearsal marks, each with its place in units, by the number of the bar."""
    placed: list[tuple[int, int, str]] = []
    before = 0.0
    for time_s, qpm in zip(score.tempo.times_s.tolist(), score.tempo.qpm.tolist(), strict=True):
        if abs(qpm - before) > _TEMPO_STEP * before and time_s < max(score.duration_s, 1e-9):
            placed.append((round(to_units(score, time_s, bars)), 0, _tempo(qpm)))
            before = qpm
    for marker in score.markers:
        at = round(to_units(score, marker.time_s, bars))
        number = max((i for i, bar in enumerate(bars) if bar.start <= at + _NEAR), default=0)
        is_on_bar = abs(at - bars[number].start) <= _NEAR
        placed.append((bars[number].start if is_on_bar else at, 1, _cue(marker.text, is_on_bar=is_on_bar)))
    for chord in chord_symbols(score):
        at = round(to_units(score, chord.time_s, bars) / UNITS) * UNITS
        placed.append((at, 2, _harmony(chord.text)))
    out: dict[int, list[tuple[int, str]]] = {}
    for at, _, text in sorted(placed):
        number = max((i for i, bar in enumerate(bars) if bar.start <= at), default=0)
        out.setdefault(number, []).append((at, text))
    return out


def _tempo(qpm: float) -> str:
    return (
        '<direction placement="above"><direction-type><metronome><beat-unit>quarter</beat-unit>'
        f"<per-minute>{qpm:.0f}</per-minute></metronome></direction-type><offset/>"
        f'<sound tempo="{qpm:.2f}"/></direction>'
    )


def _cue(text: str, *, is_on_bar: bool) -> str:
    """A marker's text; of a cut, its number without the timecode.

    On a bar line it is a rehearsal mark. Engravers put these at bar lines only, so elsewhere it is words in a box.
    """
    match = re.fullmatch(r"(Cut [0-9]+) [0-9:;]{11,12}", text)
    mark = _text(match[1] if match else text) or "Marker"
    shown = f"<rehearsal>{mark}</rehearsal>" if is_on_bar else f'<words enclosure="rectangle">{mark}</words>'
    return f'<direction placement="above"><direction-type>{shown}</direction-type><offset/></direction>'


def _harmony(name: str) -> str:
    chord, _, bass = name.partition("/")
    match = re.fullmatch(r"([A-G])(b?)(.*)", chord)
    assert match is not None, name
    kind = _KINDS.get(match[3], "other")
    alter = "<root-alter>-1</root-alter>" if match[2] else ""
    under = ""
    if bass:
        flat = "<bass-alter>-1</bass-alter>" if bass.endswith("b") else ""
        under = f"<bass><bass-step>{bass[0]}</bass-step>{flat}</bass>"
    return (
        f'<harmony><root><root-step>{match[1]}</root-step>{alter}</root><kind text="{match[3]}">{kind}</kind>{under}'
        "<offset/></harmony>"
    )


# --- parts ------------------------------------------------------------------------------------------------------------


def _part(
    name: str, instrument: Instrument, staves: list[Staff], bars: list[Bar], fifths: list[int], above: Above
) -> list[str]:
    voices = [
        (staff.hand, 4 * staff.hand + number, measures(voice, bars), number == 1)
        for staff in staves
        for number, voice in enumerate(staff.voices or [[]], start=1)
    ]
    two = max(staff.hand for staff in staves) > 0
    moved = {staff.hand: _moved(instrument, staff, bars, staff.hand + 1 if two else 0) for staff in staves}
    lines = [f'<part id="{name}">']
    shown: Attributes | None = None
    for number, (bar, sharps) in enumerate(zip(bars, fifths, strict=True)):
        lines.append(f'<measure number="{number + 1}">')
        now = (0 if instrument.is_drum else sharps, bar.numerator, bar.denominator)
        if now != shown:
            lines.append(_attributes(instrument, staves, now, shown))
        shown = now
        marks = above.get(number, [])
        written = False
        height = {voice: _height(each[number]) for _, voice, each, _ in voices}
        for hand, voice, each, is_main in voices:
            if not is_main and not any(event.pitches for event in each[number]):
                continue
            if written:
                lines.append(f"<backup><duration>{bar.length}</duration></backup>")
            written = True
            mine = height[voice]
            others = [
                h for h in (height[v] for side, v, _, _ in voices if side == hand and v != voice) if h is not None
            ]
            stem = (
                "" if not others or mine is None else "up" if (mine, is_main) > (max(others), not is_main) else "down"
            )
            here = [*marks, *(moved[hand].get(number, []) if is_main else [])]
            lines += _voice(each[number], bar, instrument, sharps, voice, hand + 1 if two else 0, stem, is_main, here)
            marks = []
        lines.append("</measure>")
    lines[-1] = '<barline location="right"><bar-style>light-heavy</bar-style></barline></measure>'
    lines.append("</part>")
    return lines


def _moved(instrument: Instrument, staff: Staff, bars: list[Bar], number: int) -> Above:
    """Where lines of 8va and 15ma begin and end above a staff, or below it, by the number of the bar."""
    out: Above = {}
    if instrument.is_drum:
        return out
    lines = _LINES[_clef(instrument, staff, 2 if number else 1)]
    on = f"<staff>{number}</staff>" if number else ""
    for shift in octave_shifts(staff, lines):
        size = 8 if abs(shift.octaves) == 1 else 15
        side, kind = ("above", "down") if shift.octaves > 0 else ("below", "up")  # as written, not as it sounds
        for at, what in ((shift.start, kind), (shift.end, "stop")):
            bar = max(i for i, bar in enumerate(bars) if bar.start <= at)
            text = f'<octave-shift type="{what}" size="{size}"/>'
            text = f'<direction placement="{side}"><direction-type>{text}</direction-type><offset/>{on}</direction>'
            out.setdefault(bar, []).append((at, text))
    return out


def _height(events: list[Event]) -> float | None:
    """The mean of a voice's highest pitches in a bar; None for rests alone."""
    tops = [max(event.pitches) for event in events if event.pitches]
    return sum(tops) / len(tops) if tops else None


def _attributes(instrument: Instrument, staves: list[Staff], now: Attributes, before: Attributes | None) -> str:
    """What changes at the beginning of a bar; all of it in the first, which has none `before` it."""
    sharps, above, below = now
    key = f"<key><fifths>{sharps}</fifths></key>"
    time = f"<time><beats>{above}</beats><beat-type>{below}</beat-type></time>"
    if before is not None:
        key, time = key if sharps != before[0] else "", time if (above, below) != before[1:] else ""
        return f"<attributes>{key}{time}</attributes>"
    count = f"<staves>{len(staves)}</staves>" if len(staves) > 1 else ""
    clefs = "".join(
        f'<clef number="{staff.hand + 1}">{_clef(instrument, staff, len(staves))}</clef>' for staff in staves
    )
    return f"<attributes><divisions>{UNITS}</divisions>{key}{time}{count}{clefs}</attributes>"


def _clef(instrument: Instrument, staff: Staff, count: int) -> str:
    if instrument.is_drum:
        return "<sign>percussion</sign>"
    if 24 <= instrument.program <= 31:
        return _TREBLE_8
    if is_bass(instrument):
        return _BASS_8
    pitches = [pitch for voice in staff.voices for event in voice for pitch in event.pitches]
    is_low = staff.hand == 1 or (count == 1 and pitches and sum(pitches) / len(pitches) < 58)
    return _BASS if is_low else _TREBLE


def _voice(
    events: list[Event], bar: Bar, instrument: Instrument, fifths: int, voice: int, staff: int, stem: str,
    is_main: bool, marks: list[tuple[int, str]],
) -> list[str]:  # fmt: skip
    """The notes of one voice in one bar, each mark before the note in which it falls."""
    beams = _beams(events, bar)
    tuplets = _tuplets(events, bar)
    lines: list[str] = []
    whole = len(events) == 1 and not events[0].pitches and events[0].end - events[0].start == bar.length
    for i, event in enumerate(events):
        length = event.end - event.start
        for at, text in marks:
            if event.start <= at < event.end or (i == len(events) - 1 and at >= event.end):
                shift = min(at, event.end - 1) - event.start
                lines.append(text.replace("<offset/>", f"<offset>{shift}</offset>" if shift > 0 else ""))
        if not event.pitches and not is_main:
            lines.append(f"<forward><duration>{length}</duration></forward>")
            continue
        heads = event.pitches or (None,)
        for j, pitch in enumerate(heads):
            parts = ["<note>"]
            parts += ["<chord/>"] if j else []
            parts.append(_pitch(pitch, instrument, fifths, whole))
            parts.append(f"<duration>{length}</duration>")
            parts += [f'<tie type="{kind}"/>' for kind in _ties(event)]
            parts.append(f"<voice>{voice}</voice>")
            if not whole and length in _TYPES:
                parts.append(f"<type>{_TYPES[length]}</type>" + ("<dot/>" if length in _DOTTED else ""))
            if length in _TRIPLETS:
                parts.append(
                    "<time-modification><actual-notes>3</actual-notes><normal-notes>2</normal-notes>"
                    "</time-modification>"
                )
            stem_here = "up" if instrument.is_drum else stem
            parts += [f"<stem>{stem_here}</stem>"] if stem_here and pitch is not None else []
            if instrument.is_drum and pitch is not None and _DRUMS.get(pitch, ("", False))[1]:
                parts.append("<notehead>x</notehead>")
            parts += [f"<staff>{staff}</staff>"] if staff else []
            parts += beams.get(i, []) if j == 0 else []
            curves = [f'<tied type="{kind}"/>' for kind in _ties(event)] + (tuplets.get(i, []) if j == 0 else [])
            parts += [f"<notations>{''.join(curves)}</notations>"] if curves else []
            lines.append("".join([*parts, "</note>"]))
    return lines


def _ties(event: Event) -> list[str]:
    before, after = event.ties
    return [*(["stop"] if before else []), *(["start"] if after else [])]


def _pitch(pitch: int | None, instrument: Instrument, fifths: int, whole: bool) -> str:
    if pitch is None:
        return '<rest measure="yes"/>' if whole else "<rest/>"
    if instrument.is_drum:
        place = _DRUMS.get(pitch, ("B4", True))[0]
        return (
            f"<unpitched><display-step>{place[0]}</display-step><display-octave>{place[1]}</display-octave></unpitched>"
        )
    step, alter = spelled(pitch, fifths)
    shift = f"<alter>{alter}</alter>" if alter else ""
    return f"<pitch><step>{step}</step>{shift}<octave>{(pitch - alter) // 12 - 1}</octave></pitch>"


def spelled(pitch: int, fifths: int) -> tuple[str, int]:
    """The letter of a MIDI pitch and its alteration, in a key with a given number of sharps.

    On the line of fifths (F 0, C 1, G 2 ...) a key with f sharps takes the twelve notes from f - 2 on: in C major from
    E flat to G sharp. Keys of many accidentals stay between F flat and B sharp.
    """
    first = min(max(fifths - 2, -7), 2)
    place = first + (7 * pitch + 1 - first) % 12
    return "FCGDAEB"[place % 7], place // 7


def _beams(events: list[Event], bar: Bar) -> dict[int, list[str]]:
    """Beams of eighths and sixteenths within each beat, by the number of the event."""
    out: dict[int, list[str]] = {}
    for _, group in groupby(range(len(events)), key=lambda i: (events[i].start - bar.start) // bar.beat):
        for is_run, run in groupby(group, key=lambda i: bool(events[i].pitches) and _length(events[i]) in (3, 4, 6, 9)):
            members = list(run)
            if not is_run or len(members) < 2:
                continue
            short = [_length(events[i]) == 3 for i in members]
            for place, i in enumerate(members):
                last = len(members) - 1
                out[i] = [
                    f'<beam number="1">{"begin" if place == 0 else "end" if place == last else "continue"}</beam>'
                ]
                if short[place]:
                    left, right = place > 0 and short[place - 1], place < last and short[place + 1]
                    kind = "continue" if left and right else "end" if left else "begin" if right else ""
                    kind = kind or ("backward hook" if place else "forward hook")
                    out[i].append(f'<beam number="2">{kind}</beam>')
    return out


def _tuplets(events: list[Event], bar: Bar) -> dict[int, list[str]]:
    """Brackets over the triplets of each beat, by the number of the event."""
    out: dict[int, list[str]] = {}
    for _, group in groupby(range(len(events)), key=lambda i: (events[i].start - bar.start) // UNITS):
        members = [i for i in group if _length(events[i]) in _TRIPLETS]
        if len(members) > 1:
            out[members[0]] = ['<tuplet type="start" bracket="yes"/>']
            out[members[-1]] = ['<tuplet type="stop"/>']
    return out


def _length(event: Event) -> int:
    return event.end - event.start
