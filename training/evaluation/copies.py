"""Stretches of music that occur in a corpus note for note: lines of notes, and a search through large archives.

Conventions
- A *line* is all notes of one family of a piece, in sixteenths (onsets rounded, equal notes once), in the order
  (onset, pitch), so that chords are read from below. It is compared as its steps: from each note to the next, the
  interval in semitones and the distance in sixteenths (those over `MOST_SIXTEENTHS` are one). Transposition, tempo,
  velocities, note lengths and other families make no difference. Lines are compared, not the whole texture, because
  a copied bass or melody under a new drum part is still a copy, and in the whole texture one extra note would hide it.
- A window is 16 notes of a line, 15 steps. It is *plain* if anybody could have written it: of drums, or of fewer than
  `LEAST_PITCHES` different pitches or `LEAST_STEPS` different steps (a repeated note or chord, a two-chord figure, a
  run, a short arpeggio going round).

Windows are found by 64-bit hashes, archive by archive; every hit is compared step by step, so none is a collision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import CorpusError
from emsync.score import Score
from emsync.tokenizer.families import reduce
from emsync.training.corpus.archive import Archive
from emsync.training.corpus.archive_events import STEPS_PER_QUARTER
from emsync.vocabulary import DRUMS, FAMILIES

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]

WINDOW_NOTES: Final = 16
#: A window with fewer different pitches, or different steps, is plain.
LEAST_PITCHES: Final = 5
LEAST_STEPS: Final = 6
#: Longer distances between two notes count as this one.
MOST_SIXTEENTHS: Final = 63
_PITCHES: Final = 128
_FILTER_BITS: Final = 24
_ROUNDING: Final = 1e-6
_STEPS_PER_SIXTEENTH: Final = STEPS_PER_QUARTER // 4


# ---------------------------------------------------------------------------------------------------------------------
# Lines


@dataclass(frozen=True, eq=False)
class Lines:
    """Lines of many pieces, concatenated; all (N,): each note's line (piece times five, plus family), its pitch, and
    the step from it to the next note, as a number that is equal for equal steps (that of a line's last note is
    meaningless)."""

    line: npt.NDArray[np.int32]
    pitch: npt.NDArray[np.uint8]
    step: npt.NDArray[np.uint16]

    def __len__(self) -> int:
        return len(self.line)

    @property
    def family(self) -> npt.NDArray[np.int32]:
        return np.asarray(self.line % len(FAMILIES))

    def within(self, notes: int) -> Bools:
        """Whether a window of this many notes that begins here stays in its line: (N,)."""
        found = np.zeros(len(self), dtype=bool)
        if len(self) >= notes:
            found[: len(self) - notes + 1] = self.line[: len(self) - notes + 1] == self.line[notes - 1 :]
        return found


def lines(line: npt.NDArray[np.integer], sixteenth: npt.NDArray[np.integer], pitch: npt.NDArray[np.integer]) -> Lines:
    """Notes in any order to lines. All (N,): line 0.., sixteenth 0.., pitch 0..127."""
    if not len(line):
        return Lines(np.zeros(0, np.int32), np.zeros(0, np.uint8), np.zeros(0, np.uint16))
    bits = max(int(sixteenth.max()).bit_length(), 1)
    if int(line.max()).bit_length() + bits + 7 > 63:
        raise CorpusError(f"a song of {int(sixteenth.max()) // 4} quarter notes cannot be searched; leave it out")
    # Line, onset and pitch in one integer: sorting those is many times faster than np.lexsort.
    key = line.astype(np.int64)
    key <<= bits
    key |= sixteenth
    key <<= 7
    key |= pitch
    key.sort()
    key = key[np.append(True, key[1:] != key[:-1])]
    heights = (key & (_PITCHES - 1)).astype(np.int16)
    key >>= 7
    gap = np.minimum(np.diff(key, append=key[-1]), MOST_SIXTEENTHS)  # across lines it means nothing
    gap *= 2 * _PITCHES
    gap += np.diff(heights, append=heights[-1]) + _PITCHES
    return Lines((key >> bits).astype(np.int32), heights.astype(np.uint8), gap.astype(np.uint16))


def lines_of_archive(archive: Archive) -> Lines:
    """All songs of an archive as lines."""
    arrays = archive.arrays
    group = np.repeat(np.arange(len(archive), dtype=np.int32), np.diff(arrays["note_offset"]))
    group *= len(FAMILIES)
    group += arrays["family"]
    begins = np.append(True, group[1:] != group[:-1])[: len(group)]
    start = np.cumsum(arrays["start_delta"], dtype=np.int64)
    first = np.flatnonzero(begins)
    before = start[first] - arrays["start_delta"][first]
    start -= np.repeat(before, np.diff(first, append=len(start)))
    start += _STEPS_PER_SIXTEENTH // 2
    start //= _STEPS_PER_SIXTEENTH
    return lines(group, start, arrays["pitch"])


def lines_of_scores(scores: Sequence[Score]) -> Lines:
    """Scores as lines; each is brought to the five families."""
    parts = []
    for i, score in enumerate(scores):
        notes = reduce(score).score
        sixteenth = np.floor(4 * notes.tempo.quarters_at(notes.start_s) + 0.5 + _ROUNDING).astype(np.int64)
        parts.append((i * len(FAMILIES) + notes.instrument, sixteenth, notes.pitch))
    empty = (np.zeros(0, np.int64),) * 3
    line, sixteenth, pitch = (np.concatenate(column) for column in zip(empty, *parts, strict=True))
    return lines(line, sixteenth, pitch)


def is_plain(found: Lines) -> Bools:
    """Whether the window of `WINDOW_NOTES` that begins here is plain (see above): (N,); True where none begins."""
    result = np.ones(len(found), dtype=bool)
    inside = np.flatnonzero(found.within(WINDOW_NOTES) & (found.family != DRUMS))
    if len(inside):

        def different(values: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.integer]:
            ordered = np.sort(np.lib.stride_tricks.sliding_window_view(values, n)[inside], axis=1)
            return 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)

        pitches = different(found.pitch, WINDOW_NOTES)
        steps = different(found.step, WINDOW_NOTES - 1)
        result[inside] = (pitches < LEAST_PITCHES) | (steps < LEAST_STEPS)
    return result


# ---------------------------------------------------------------------------------------------------------------------
# Hashes


def _mixed(a: Hashes, b: Hashes) -> Hashes:
    """One hash of two; their order matters."""
    with np.errstate(over="ignore"):
        mixed = a * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed += b
        mixed *= np.uint64(0xC2B2AE3D27D4EB4F)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def hashes(found: Lines) -> Hashes:
    """A hash of the 15 steps of the window of 16 notes that begins at each note: (N - 15,), across lines too.

    Hashes of 2, 4 and 8 steps combine two hashes of half the length; that of 15 combines two of 8 that share one step
    (after Karp, Miller and Rosenberg, 1972).
    """
    if len(found) < WINDOW_NOTES:
        return np.zeros(0, dtype=np.uint64)
    known: Hashes = found.step[:-1].astype(np.uint64)  # the last note goes nowhere
    span = 1
    while span < WINDOW_NOTES // 2:
        known = _mixed(known[:-span], known[span:])
        span *= 2
    return _mixed(known[: 1 - span], known[span - 1 :])


# ---------------------------------------------------------------------------------------------------------------------
# Searching


class Search:
    """The windows of some pieces, and what was found of them in archives so far.

    longest (N,): how many notes from here on occur in the corpus, 0 if fewer than 16; song (N,): the number of the song
    that contains them, among all that were searched.
    """

    def __init__(self, scores: Sequence[Score]) -> None:
        self.lines = lines_of_scores(scores)
        self.inside = self.lines.within(WINDOW_NOTES)
        self.plain = is_plain(self.lines)
        self.longest = np.zeros(len(self.lines), dtype=np.int64)
        self.song = np.zeros(len(self.lines), dtype=np.int64)
        self.song_ids: list[str] = []
        self.corpus_notes = 0

    def search(self, archive: Archive) -> None:
        """Look for all windows in an archive, and follow those found as far as they go.

        Equal windows, of pieces and of the corpus, form one class. All classes are extended together, one note at a
        time: the step to that note splits them, and a class without a place in the corpus is dropped. So the work grows
        with the number of places, not of pairs of places.
        """
        corpus = lines_of_archive(archive)
        asked, own, places, classes = self._windows_found(corpus)
        notes = WINDOW_NOTES
        while len(places):
            # One place in the corpus for each class, and which classes have any.
            place = np.full(int(own.max()) + 1, -1, dtype=np.int64)
            place[classes] = places
            alive = place[own] >= 0
            asked, own = asked[alive], own[alive]
            better = self.longest[asked] < notes
            self.longest[asked[better]] = notes
            song = corpus.line[place[own[better]]] // len(FAMILIES)
            self.song[asked[better]] = song + len(self.song_ids)
            asked, own = _going_on(self.lines, asked, own, notes)
            places, classes = _going_on(corpus, places, classes, notes)
            after, own_after = np.unique(_after(self.lines, asked, own, notes), return_inverse=True)
            wanted = _after(corpus, places, classes, notes)
            at = np.minimum(np.searchsorted(after, wanted), max(len(after) - 1, 0))
            same = after[at] == wanted if len(after) else np.zeros(len(at), dtype=bool)
            own, places, classes = own_after, places[same], at[same]
            notes += 1
        self.song_ids += archive.arrays["song_id"].tolist()
        self.corpus_notes += len(archive.arrays["family"])

    def _windows_found(self, corpus: Lines) -> tuple[Ints, Ints, Ints, Ints]:
        """Windows of the pieces that may be found, and their classes; windows of the corpus that are in a class."""
        asked = np.flatnonzero(self.inside)
        known, first, own = np.unique(hashes(self.lines)[asked], return_index=True, return_inverse=True)
        theirs = hashes(corpus)
        if not len(known) or not len(theirs):
            return asked, own, asked[:0], own[:0]
        # A table of the first bits of the hashes excludes nearly all of the corpus.
        shift = np.uint64(64 - _FILTER_BITS)
        likely = np.zeros(1 << _FILTER_BITS, dtype=bool)
        likely[known >> shift] = True
        places = np.flatnonzero(likely[theirs >> shift] & corpus.within(WINDOW_NOTES)[: len(theirs)])
        classes = np.minimum(np.searchsorted(known, theirs[places]), len(known) - 1)
        same = known[classes] == theirs[places]
        places, classes = places[same], classes[same]
        # Equal hashes are not equal notes yet: each side is compared with the first window of its class.
        first = asked[first]
        for k in range(WINDOW_NOTES - 1):
            same = corpus.step[places + k] == self.lines.step[first[classes] + k]
            places, classes = places[same], classes[same]
            alike = self.lines.step[asked + k] == self.lines.step[first[own] + k]
            asked, own = asked[alike], own[alike]
        return asked, own, places, classes


def _going_on(found: Lines, places: Ints, classes: Ints, notes: int) -> tuple[Ints, Ints]:
    """The windows of this many notes whose line has one more note."""
    more = np.minimum(places + notes, len(found) - 1)
    more_in_line = (places + notes < len(found)) & (found.line[places] == found.line[more])
    return places[more_in_line], classes[more_in_line]


def _after(found: Lines, places: Ints, classes: Ints, notes: int) -> Ints:
    """A number for the class of each window with one more note: its class now, and the step to that note."""
    return np.asarray((classes << 16) | found.step[places + notes - 1], dtype=np.int64)
