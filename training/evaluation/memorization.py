"""Whether a model recites: the longest exact copies from its training corpus, and the share of windows found there.

Conventions
- A copy is a stretch of one family's line that occurs in the corpus note for note (`copies`). It counts if a window
  within it is not plain. The main figures leave plain windows out; those of all windows are given as well.
- Real songs quote, too. Validation songs, cut to the length of the composed pieces and passed through the tokenizer,
  are measured in the same way, for comparison.
- Onsets are rounded to sixteenths, so not every quotation is found: of windows of training songs, passed through the
  tokenizer like the validation songs, 92 % were found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.files import atomic_path
from emsync.score import Score
from emsync.training.corpus.archive import Archive, read_archive
from emsync.training.evaluation.copies import LEAST_PITCHES, LEAST_STEPS, WINDOW_NOTES, Search
from emsync.training.evaluation.music_statistics import draw_window, window
from emsync.training.evaluation.report_page import plain, table
from emsync.vocabulary import DRUMS, FAMILIES

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
#: Called with the number of archives searched and the number to search.
Progress = Callable[[int, int], None]


# ---------------------------------------------------------------------------------------------------------------------
# The result


@dataclass(frozen=True)
class Copy:
    """The longest stretch of a piece that occurs in the corpus: its notes, their family, and a song that contains it.

    0 notes: no stretch of 16 notes or more was found.
    """

    notes: int = 0
    family: str = ""
    song_id: str = ""


@dataclass(frozen=True, eq=False)
class Recited:
    """What of P pieces occurs in the corpus.

    All (P,): windows that are not plain, and how many of them were found; all windows, and how many of them were found;
    the longest copy with a window that is not plain; the notes of the longest copy of all, except drums.
    """

    windows: Ints
    found: Ints
    all_windows: Ints
    all_found: Ints
    longest: tuple[Copy, ...]
    longest_of_all: Ints

    @property
    def share(self) -> float:
        """The share of windows found, plain ones left out; NaN without any."""
        return float(self.found.sum() / self.windows.sum()) if self.windows.sum() else np.nan

    @property
    def share_of_all(self) -> float:
        return float(self.all_found.sum() / self.all_windows.sum()) if self.all_windows.sum() else np.nan

    @property
    def notes(self) -> Ints:
        """(P,) of the longest copies."""
        return np.array([copy.notes for copy in self.longest], dtype=np.int64)

    def figures(self) -> dict[str, float]:
        """The figures by which sides are compared."""
        return {
            "share_of_windows": self.share,
            "share_of_all_windows": self.share_of_all,
            "longest_copy": int(self.notes.max()),
            "longest_copy_median": float(np.median(self.notes)),
            "longest_copy_90": float(np.quantile(self.notes, 0.9)),
            "longest_of_all": int(self.longest_of_all.max()),
            "longest_of_all_median": float(np.median(self.longest_of_all)),
        }


_FIGURES: Final = {
    "share_of_windows": "share of 16-note windows found",
    "share_of_all_windows": "the same, with plain ones and drums",
    "longest_copy": "longest copy, notes",
    "longest_copy_median": "longest copy of a piece, median",
    "longest_copy_90": "longest copy of a piece, 90th percentile",
    "longest_of_all": "longest copy, plain ones too",
    "longest_of_all_median": "the same, median of pieces",
}


@dataclass(frozen=True, eq=False)
class Memorization:
    """What composed pieces, and validation songs cut to their length, have in common with the corpus."""

    composed: Recited
    valid: Recited
    length_s: float
    corpus_songs: int
    corpus_notes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the figures, those of validation songs as `valid_...`, and each piece's longest copy."""
        return {
            "pieces": len(self.composed.windows),
            "songs": len(self.valid.windows),
            "length_s": self.length_s,
            "corpus_songs": self.corpus_songs,
            "corpus_notes": self.corpus_notes,
            **{name: plain(value) for name, value in self.composed.figures().items()},
            **{f"valid_{name}": plain(value) for name, value in self.valid.figures().items()},
            "copies": [
                {"piece": i, "notes": copy.notes, "family": copy.family, "song_id": copy.song_id}
                for i, copy in enumerate(self.composed.longest)
                if copy.notes
            ],
        }

    def to_markdown(self) -> str:
        """A section: composed pieces beside validation songs."""
        ours, theirs = self.composed.figures(), self.valid.figures()
        rows: list[list[str | float]] = [[title, ours[name], theirs[name]] for name, title in _FIGURES.items()]
        return "\n".join(
            [
                "## Memorization",
                "",
                f"{len(self.composed.windows)} composed pieces and {len(self.valid.windows)} validation songs cut to "
                f"{self.length_s:.0f} s, against {self.corpus_songs:,} songs ({self.corpus_notes:,} notes) of the "
                "corpus. A copy is a stretch of one family's line that occurs in the corpus note for note, in any key "
                f"and tempo. Windows are plain, and do not count, with fewer than {LEAST_PITCHES} different pitches or "
                f"{LEAST_STEPS} different steps, or of drums.",
                "",
                *table(["", "composed", "validation"], rows),
                "",
            ]
        )

    def plot(self, path: str | os.PathLike[str]) -> None:
        """How long the longest copies of pieces are, composed beside validation, and the shares found (PNG)."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(12, 4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[2, 1])
        sides = {"composed": self.composed, "validation": self.valid}
        edges = np.linspace(0, max(int(side.notes.max()) for side in sides.values()) + 1, 30)
        for name, side in sides.items():
            weights = np.full(len(side.notes), 1 / len(side.notes))
            left.hist(side.notes, bins=edges.tolist(), weights=weights, alpha=0.6, label=name)
        left.set(title="longest copy from the corpus", xlabel="notes (0: under 16)", ylabel="share of pieces")
        left.legend()
        for i, side in enumerate(sides.values()):
            shares = np.nan_to_num([side.share, side.share_of_all])
            right.bar_label(right.bar(np.arange(2) + 0.4 * i, shares, 0.38), fmt="%.3f")
        right.set_xticks(np.arange(2) + 0.2, ["not plain", "all"])
        right.set(title=f"share of windows of {WINDOW_NOTES} notes found")
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=90, format="png")


# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def measure(
    composed: Sequence[Score],
    corpus: Sequence[Archive | str | os.PathLike[str]],
    valid: Sequence[Score],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Memorization:
    """Search archives (or their paths) for stretches of composed pieces and of validation songs.

    valid: songs that were not trained on. Of each, one window is drawn with the seed, as long as the composed pieces'
    median; a shorter song is used as a whole. An archive of 24 million notes takes about 1.5 GB.
    Raises `InputError` if there is nothing to compare, `CorpusError` for an archive that cannot be read.
    """
    for name, given in (("composed pieces", composed), ("archives", corpus), ("validation songs", valid)):
        if not len(given):
            raise InputError(f"there are no {name} to search for copies; give at least 1")
    length_s = max(float(np.median([score.duration_s for score in composed])), 1.0)
    cut = []
    for i, score in enumerate(valid):
        drawn = draw_window(score, np.random.default_rng([seed, i]), length_s)
        cut.append(window(score, 0.0, max(score.duration_s, 1.0)) if drawn is None else drawn)
    search = Search([*composed, *cut])
    for done, archive in enumerate(corpus):
        if progress:
            progress(done, len(corpus))
        search.search(archive if isinstance(archive, Archive) else read_archive(archive))
    if progress:
        progress(len(corpus), len(corpus))
    return Memorization(
        _recited(search, 0, len(composed)), _recited(search, len(composed), len(composed) + len(cut)),
        length_s, len(search.song_ids), search.corpus_notes,
    )  # fmt: skip


def _recited(search: Search, first: int, last: int) -> Recited:
    """What the pieces first to last (exclusive) recite."""
    piece = search.lines.line // len(FAMILIES)
    pitched = search.lines.family != DRUMS
    found, telling = search.longest > 0, search.inside & ~search.plain
    # A copy counts if one of its windows is not plain: those that begin up to 16 notes before its end.
    before = np.concatenate([[0], np.cumsum(telling)])
    here = np.arange(len(piece))
    counts = found & (before[np.maximum(here + search.longest - WINDOW_NOTES + 1, here)] > before[here])

    def number(mask: Bools) -> Ints:
        return np.bincount(piece[mask], minlength=last)[first:last].astype(np.int64)

    longest, of_all = [], np.zeros(last - first, dtype=np.int64)
    for i in range(first, last):
        mine = np.flatnonzero((piece == i) & found & pitched)
        of_all[i - first] = search.longest[mine].max(initial=0)
        mine = mine[counts[mine]]
        if len(mine):
            at = mine[np.argmax(search.longest[mine])]
            family = FAMILIES[search.lines.family[at]]
            longest.append(Copy(int(search.longest[at]), family, search.song_ids[search.song[at]]))
        else:
            longest.append(Copy())
    return Recited(
        number(telling), number(telling & found), number(search.inside), number(search.inside & found), tuple(longest),
        of_all,
    )  # fmt: skip
