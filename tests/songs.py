"""Short scores, made on the spot."""

from __future__ import annotations

from collections.abc import Sequence

from emsync.score import Instrument, Marker, Score
from emsync.tempo_map import Bars, TempoMap

#: instrument (0 drums, 1 piano, 2 bass, 3 strings), pitch, start, end
Note = tuple[int, int, float, float]
INSTRUMENTS = (Instrument("Drums", 0, True), Instrument("Piano", 0), Instrument("Bass", 33), Instrument("Strings", 48))


def score(notes: Sequence[Note], *, duration_s: float | None = None, cuts_s: Sequence[float] = ()) -> Score:
    """A score at 120 quarter notes a minute in bars of 4/4."""
    who, pitch, start_s, end_s = zip(*notes, strict=True) if notes else ((), (), (), ())
    last_s = duration_s or max(end_s, default=1.0)
    bars_s = [2.0 * i for i in range(max(1, int(last_s / 2)))]
    return Score(
        INSTRUMENTS, who, pitch, [80] * len(notes), start_s, end_s, TempoMap.constant(120.0),
        Bars(bars_s, [4] * len(bars_s), [4] * len(bars_s)),
        markers=tuple(Marker(cut_s, f"Cut {i + 1}") for i, cut_s in enumerate(cuts_s)), duration_s=duration_s,
    )  # fmt: skip


def with_a_chord(*, duration_s: float = 5.0, cut_s: float = 2.0) -> Score:
    """A melody of strings in A minor over a bass and drums, and a long chord of the piano at the cut."""
    melody = [(3, 69 + (0, 3, 7, 3)[i % 4], 0.5 * i, 0.5 * i + 0.5) for i in range(int(2 * duration_s))]
    bass = [(2, 45, 1.0 * i, 1.0 * i + 0.9) for i in range(int(duration_s))]
    drums = [(0, 36, 1.0 * i, 1.0 * i + 0.1) for i in range(int(duration_s))]
    chord = [(1, pitch, cut_s, cut_s + 1.5) for pitch in (57, 60, 64)]
    return score([*melody, *bass, *drums, *chord], duration_s=duration_s, cuts_s=[cut_s])
