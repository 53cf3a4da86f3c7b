"""A piece as pictures and pages show it: its notes, cuts, chords, sections and mood on one time axis.

    piece = Piece.read("song.mid")         # any MIDI file; song.mid.json beside it adds cuts and mood
    piece.cuts[0].state                    # "frame", "second", "missed" or "marked"

Everything is measured on the notes as they are, so an edited MIDI file is shown as edited. Times are in seconds.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from emsync import midi
from emsync.cutlist import DEFAULT_T_DIFF_S, spaced
from emsync.hits import Hit, chord_families, measure, sounding_chords
from emsync.mood import MoodCurve
from emsync.record import Record
from emsync.score import Score
from emsync.tokenizer import families
from emsync.vocabulary import BASS, DRUMS

#: How a cut was met: by a chord within a frame, within a second, by none; or it was only marked.
State = Literal["frame", "second", "missed", "marked"]

#: Frames a second where no record gives them.
DEFAULT_FRAME_RATE: Final = Fraction(25)
#: Notes this close to a chord's onset belong to it, in seconds; players and rounding spread chords a little.
_CHORD_SPREAD_S: Final = 0.03
CUT_NAME: Final = re.compile(r"cut\b", re.IGNORECASE)

#: Pitch classes of `chord_name` by suffix, in semitones above the root; the first match wins.
_QUALITIES: Final = (
    ("", {0, 4, 7}), ("m", {0, 3, 7}), ("7", {0, 4, 7, 10}), ("maj7", {0, 4, 7, 11}), ("m7", {0, 3, 7, 10}),
    ("sus4", {0, 5, 7}), ("sus2", {0, 2, 7}), ("dim", {0, 3, 6}), ("aug", {0, 4, 8}), ("6", {0, 4, 7, 9}),
    ("m6", {0, 3, 7, 9}), ("add9", {0, 2, 4, 7}), ("m(add9)", {0, 2, 3, 7}), ("m7b5", {0, 3, 6, 10}),
    ("dim7", {0, 3, 6, 9}), ("mMaj7", {0, 3, 7, 11}), ("7sus4", {0, 5, 7, 10}), ("9", {0, 2, 4, 7, 10}),
    ("maj9", {0, 2, 4, 7, 11}), ("m9", {0, 2, 3, 7, 10}), ("5", {0, 7}),
)  # fmt: skip
_NOTES: Final = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


@dataclass(frozen=True)
class Cut:
    """A cut and how the music meets it.

    - time_s: when.
    - hit: the nearest chord; None if no chord was required, because another cut or an end is too near.
    """

    time_s: float
    hit: Hit | None

    @property
    def state(self) -> State:
        """How the cut was met."""
        if self.hit is None:
            return "marked"
        if self.hit.chord_s is None:
            return "missed"
        return "frame" if self.hit.within_frame else "second"


@dataclass(frozen=True)
class Chord:
    """A long chord: its onset, and its name; "" for notes without a common name."""

    time_s: float
    name: str


@dataclass(frozen=True)
class Section:
    """A part of the form, such as "Verse"."""

    start_s: float
    end_s: float
    name: str


@dataclass(frozen=True, eq=False)
class Piece:
    """A score with what is known about it.

    - title: what to call it.
    - score: the notes, bars and tempo.
    - duration_s: the length of the time axis: that of the score or, if longer, of the film.
    - cuts, chords, sections: in order of time.
    - mood: what it was composed in; None if that is not known. mood_source says where the mood came from.
    - frame_rate: frames a second, for timecodes.
    - video: the film's file name; None without a film.
    """

    title: str
    score: Score
    duration_s: float
    cuts: tuple[Cut, ...] = ()
    chords: tuple[Chord, ...] = ()
    sections: tuple[Section, ...] = ()
    mood: MoodCurve | None = None
    mood_source: str = ""
    frame_rate: Fraction = DEFAULT_FRAME_RATE
    video: str | None = None

    @classmethod
    def of(
        cls,
        score: Score,
        *,
        title: str = "",
        cuts_s: npt.ArrayLike | None = None,
        t_diff_s: float = DEFAULT_T_DIFF_S,
        duration_s: float | None = None,
        mood: MoodCurve | None = None,
        mood_source: str = "",
        frame_rate: Fraction = DEFAULT_FRAME_RATE,
        video: str | None = None,
    ) -> Piece:
        """Measure a score.

        Args:
            score: The notes, bars, tempo and markers.
            title: What to call the piece.
            cuts_s: (C,) the film's cuts. By default the markers whose text begins with "Cut"; the other markers begin
                sections.
            t_diff_s: Cuts closer than this to the one before need no chord.
            duration_s: The film's length, if it is longer than the score.
            mood: Valence and arousal over time.
            mood_source: Where the mood came from, such as "builtin".
            frame_rate: Frames a second.
            video: The film's file name.

        """
        length_s = max(score.duration_s, duration_s or 0.0)
        if cuts_s is None:
            cuts_s = [marker.time_s for marker in score.markers if CUT_NAME.match(marker.text)]
        cuts = np.unique(np.asarray(cuts_s, dtype=np.float64))
        reduced = families.reduce(score).score
        asked = spaced(cuts, t_diff_s, duration_s=length_s)
        hits = {hit.cut_s: hit for hit in measure(reduced, asked)}
        return cls(
            title, score, length_s,
            tuple(Cut(cut_s, hits.get(cut_s)) for cut_s in cuts.tolist()),
            _chords(reduced),
            _sections(score, length_s),
            mood, mood_source, frame_rate, video,
        )  # fmt: skip

    @classmethod
    def read(cls, song: str | os.PathLike[str], record: str | os.PathLike[str] | None = None) -> Piece:
        """Read a MIDI file and its record.

        Args:
            song: The MIDI file.
            record: The record that `emsync compose` wrote. By default SONG.mid.json, if there is one.

        Raises:
            MidiError: The MIDI file cannot be read.
            InputError: The record cannot be read.

        """
        path = Path(song)
        score = midi.read(path)
        beside = path.with_name(path.name + ".json")
        if record is None and not beside.is_file():
            return cls.of(score, title=path.name)
        known = Record.read(beside if record is None else record)
        return cls.of(
            score, title=path.name, cuts_s=known.cuts_s, t_diff_s=known.recipe.t_diff_s, duration_s=known.duration_s,
            mood=known.mood, mood_source=known.mood_source or "", frame_rate=known.frame_rate, video=known.video,
        )  # fmt: skip

    @property
    def asked(self) -> tuple[Cut, ...]:
        """The cuts that require a chord."""
        return tuple(cut for cut in self.cuts if cut.hit is not None)

    @property
    def n_within_frame(self) -> int:
        """How many cuts are met by a chord within a frame."""
        return sum(cut.state == "frame" for cut in self.cuts)

    @property
    def mean_qpm(self) -> float:
        """The average tempo in quarter notes a minute."""
        if self.score.duration_s <= 0:
            return float(self.score.tempo.qpm[0])
        return 60 * float(self.score.tempo.quarters_at(self.score.duration_s)) / self.score.duration_s

    def playing(self) -> list[int]:
        """Indices of the instruments that have notes, in the order of the score."""
        return np.unique(self.score.instrument).tolist()


def chord_name(pitches: npt.ArrayLike, bass: int | None = None) -> str:
    """A chord's name, such as "Am7" or "C/E"; "" for notes without a common name.

    pitches: MIDI pitches. bass: the lowest pitch that sounds with them, if it is not one of `pitches`.
    """
    given = np.asarray(pitches, dtype=np.int64)
    classes = {int(p) % 12 for p in given}
    low = int(given.min()) if bass is None else min(int(bass), int(given.min()))
    lowest = low % 12
    # The bass belongs to the chord if that gives a name (C under Em7 is Cmaj9), and is the likeliest root.
    for members in (classes | {lowest}, classes):
        for root in [lowest, *sorted(members - {lowest})]:
            for suffix, quality in _QUALITIES:
                if {(p - root) % 12 for p in members} == quality:
                    return _NOTES[root] + suffix + ("" if root == lowest else f"/{_NOTES[lowest]}")
    return ""


def _chords(reduced: Score) -> tuple[Chord, ...]:
    """The long chords of a score of the five families, with names: of what strikes them, else of all together."""
    out = []
    player, start_s, end_s = reduced.instrument, reduced.start_s, reduced.end_s
    for time_s in sounding_chords(reduced).tolist():
        struck = np.isin(player, chord_families(reduced)) & (np.abs(start_s - time_s) <= _CHORD_SPREAD_S)
        under = (player == BASS) & (start_s <= time_s + _CHORD_SPREAD_S) & (end_s > time_s + _CHORD_SPREAD_S)
        bass = int(reduced.pitch[under].min()) if under.any() else None
        together = (player != DRUMS) & (np.abs(start_s - time_s) <= _CHORD_SPREAD_S)
        name = chord_name(reduced.pitch[struck], bass) or chord_name(reduced.pitch[together], bass)
        out.append(Chord(time_s, name))
    return tuple(out)


def _sections(score: Score, duration_s: float) -> tuple[Section, ...]:
    """Markers other than cuts, each up to the next one."""
    named = [m for m in score.markers if not CUT_NAME.match(m.text) and m.text.strip() and m.time_s < duration_s]
    starts_s = [m.time_s for m in named] + [duration_s]
    return tuple(
        Section(m.time_s, end_s, m.text.strip())
        for m, end_s in zip(named, starts_s[1:], strict=True)
        if end_s > m.time_s
    )


def clock(time_s: float) -> str:
    """A time as people write it, such as "1:04.25"."""
    hundredths = math.floor(time_s * 100 + 0.5)
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes}:{rest // 100:02d}.{rest % 100:02d}"
