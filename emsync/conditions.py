"""What the model is conditioned on at each event: the lanes.

A lane is one number for every event, NaN where it is not given. Training and composing compute lanes with the same
functions: `Conditions.at` those that are requested, `meter` the position in the bar, and `copying` what followed the
latest events earlier in the piece; the last two use the piece's own events. Lanes of controls are read off the controls
that are asked for, and in training off those of the song (`control_lanes`).

Conventions: times in seconds; valence and arousal in [-1, 1]. A boundary is the onset of a long chord in music, and a
scene cut in film. Boundary offsets follow the paper's Algorithm 1 (Section III-B2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from emsync import control_lanes as read
from emsync import copying, meter
from emsync import vocabulary as v
from emsync.control_curves import Control, ControlCurves
from emsync.control_lanes import SongEvents
from emsync.errors import InputError

FloatArray = npt.NDArray[np.floating]
#: A condition over time: None, one number for the whole piece, or a curve (times_s, values).
Curve = None | float | tuple[FloatArray, FloatArray]

#: The paper's xi: a CHORD this near to a boundary meets it. The paper's delta_max: the largest offset.
SENSITIVITY_S: Final = 1.0
MAX_OFFSET_S: Final = 8.0
#: The largest time to the end; further away, the end does not matter yet.
MAX_TO_END_S: Final = 32.0
#: The mood around an event is sampled at so many points of time, so far apart; the middle one is the event's own.
AROUND_POINTS: Final = 27
AROUND_STEP_S: Final = 0.5


def boundary_offsets(
    times_s: FloatArray,
    is_chord: npt.NDArray[np.bool_],
    boundaries_s: FloatArray,
    *,
    sensitivity_s: float = SENSITIVITY_S,
    max_offset_s: float = MAX_OFFSET_S,
) -> npt.NDArray[np.float64]:
    """Time from each event to the next boundary that is still to come: the paper's Algorithm 1, without its loop.

    times_s: (T,) the clock after each event, never decreasing.
    is_chord: (T,) whether the event is CHORD.
    boundaries_s: (B,) sorted.
    Returns (T,) in [0, max_offset_s].

    A CHORD meets every boundary less than `sensitivity_s` away. A boundary is over once it is met, or once the clock
    has passed it: from event e(b) on, the first event that is later than b, or that is a CHORD later than
    b - sensitivity. Both grow with b, so the next boundary of event i is the first one with e(b) > i.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    boundaries_s = np.asarray(boundaries_s, dtype=np.float64)
    n = len(times_s)
    if not len(boundaries_s):
        return np.full(n, max_offset_s)
    passed = np.searchsorted(times_s, boundaries_s, side="right")
    chord_index = np.append(np.flatnonzero(is_chord), n)
    chord_times = times_s[chord_index[:-1]]
    met = chord_index[_first_within(chord_times, boundaries_s, sensitivity_s)]
    over = np.minimum(passed, met)
    following = np.searchsorted(over, np.arange(n), side="right")
    ahead = np.append(boundaries_s, np.inf)[following]
    return np.minimum(ahead - times_s, max_offset_s)


def _first_within(chord_times_s: FloatArray, boundaries_s: FloatArray, sensitivity_s: float) -> npt.NDArray[np.int64]:
    """Index of the first chord c with |c - b| < sensitivity or c beyond, for each boundary b.

    The difference is compared, as Algorithm 1 does, not the sum: the two round differently at exactly the sensitivity.
    """
    index = np.searchsorted(chord_times_s, boundaries_s - sensitivity_s, side="left")
    padded = np.append(chord_times_s, np.inf)
    for _ in range(len(chord_times_s)):  # step over chords at exactly the sensitivity (rarely more than one round)
        early = (boundaries_s - padded[index]) >= sensitivity_s
        if not early.any():
            break
        index = index + early
    return index


def consume(
    boundaries_s: FloatArray, chord_s: float, *, sensitivity_s: float = SENSITIVITY_S
) -> npt.NDArray[np.float64]:
    """The boundaries (B,) left after a CHORD at `chord_s`."""
    boundaries_s = np.asarray(boundaries_s, dtype=np.float64)
    return boundaries_s[np.abs(chord_s - boundaries_s) >= sensitivity_s]


def _check_curve(name: str, curve: Curve) -> None:
    if curve is None:
        return
    if isinstance(curve, tuple):
        times_s, levels = (np.asarray(part, dtype=np.float64) for part in curve)
        if times_s.ndim != 1 or times_s.shape != levels.shape or not len(times_s):
            raise InputError(f"{name} has times {times_s.shape} and values {levels.shape}; give two rows of one length")
        if not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
            raise InputError(f"{name}'s times must be increasing seconds; sort the curve")
    values = np.atleast_1d(np.asarray(curve[1] if isinstance(curve, tuple) else curve, dtype=np.float64))
    given = values[~np.isnan(values)]
    if len(given) and (given.min() < -1 or given.max() > 1):
        worst = given[np.argmax(np.abs(given))]
        raise InputError(f"{name} {worst:g} is outside [-1, 1]; scale it to that range")


@dataclass(frozen=True, eq=False)
class Conditions:
    """The conditions of one piece. Anything that is not given is None.

    boundaries_s: (B,) increasing.
    end_s: where the piece ends.
    valence, arousal: a number, or a curve over time, which the model sees at the current time.
    piece_valence, piece_arousal: one number for the whole piece, in the two prefix positions.
    """

    boundaries_s: FloatArray | None = None
    end_s: float | None = None
    valence: Curve = None
    arousal: Curve = None
    piece_valence: float | None = None
    piece_arousal: float | None = None
    end_known_s: float = MAX_TO_END_S
    """The end counts as `MAX_TO_END_S` away until it is this near."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    """Other lanes by their names: a number, or a curve over time."""
    controls: ControlCurves = field(default_factory=lambda: ControlCurves({}))
    """What the lanes of controls are read off; a control of strength 0 is not shown."""

    def __post_init__(self) -> None:
        for name in self.curves:
            if name not in LANE_NAMES:
                raise InputError(f"there is no lane {name!r}; lanes are {', '.join(LANE_NAMES)}")
        if self.boundaries_s is not None:
            boundaries = np.asarray(self.boundaries_s, dtype=np.float64)
            if boundaries.ndim != 1 or not np.isfinite(boundaries).all() or (np.diff(boundaries) < 0).any():
                raise InputError("the boundaries are not one row of increasing times in seconds; sort them")
            object.__setattr__(self, "boundaries_s", boundaries)
        if self.end_s is not None and not (np.isfinite(self.end_s) and self.end_s > 0):
            raise InputError(
                f"the end is at {self.end_s} s, but must be a time after 0 s; give the length of the piece"
            )
        for name in ("valence", "arousal", "piece_valence", "piece_arousal"):
            _check_curve(name, getattr(self, name))

    def at(self, times_s: FloatArray, is_chord: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.float32]:
        """The lanes after each of a run of events: times_s (T,), is_chord (T,) -> (T, N_LANES), NaN where not given.

        Chords within the run meet boundaries from their event on. Boundaries met before the run must have been taken
        out (`after_chord`). `METER_LANES` and `COPY_LANES` are left NaN.
        """
        times_s = np.asarray(times_s, dtype=np.float64)
        if is_chord is None:
            is_chord = np.zeros(len(times_s), dtype=bool)
        lanes = np.full((len(times_s), N_LANES), np.nan, dtype=np.float32)
        for i, lane in enumerate(LANES):
            if lane.at is not None:
                value = lane.at(self, times_s, is_chord)
            elif lane.read is not None and lane.control in self.controls:
                control = self.controls[lane.control]
                value = lane.read(control, times_s) if control.strength else None
            elif lane.name in self.curves:
                value = _sample(self.curves[lane.name], times_s)
            else:
                continue
            if value is not None:
                lanes[:, i] = value
        return lanes

    def around(self, times_s: FloatArray) -> npt.NDArray[np.float32]:
        """Valence and arousal around each of a run of events: (T,) -> (T, 2, AROUND_POINTS), NaN where not given.

        Before its first and behind its last point a curve is held. The future is given, too: a mood curve is known
        before anything is composed.
        """
        at = around_times(times_s)
        return np.stack(
            [np.broadcast_to(_sample(curve, at), at.shape) for curve in (self.valence, self.arousal)], axis=1
        ).astype(np.float32)

    @property
    def mood(self) -> npt.NDArray[np.float32]:
        """(2,) Valence and arousal of the whole piece, NaN where not given."""
        return np.array(
            [np.nan if x is None else x for x in (self.piece_valence, self.piece_arousal)], dtype=np.float32
        )

    def moved(self, to: Callable[[npt.ArrayLike], FloatArray]) -> Conditions:
        """The conditions at other times: `to` maps times in seconds, any shape, and never turns their order."""

        def curve(given: Curve) -> Curve:
            return (to(given[0]), given[1]) if isinstance(given, tuple) else given

        return replace(
            self,
            boundaries_s=None if self.boundaries_s is None else to(self.boundaries_s),
            end_s=None if self.end_s is None else float(to(self.end_s)),
            valence=curve(self.valence), arousal=curve(self.arousal),
            curves={name: curve(each) for name, each in self.curves.items()},
            controls=self.controls.moved(lambda times: np.asarray(to(times), dtype=np.float64)),
        )  # fmt: skip

    def after_chord(self, chord_s: float) -> Conditions:
        """The conditions that remain after a CHORD at `chord_s`."""
        if self.boundaries_s is None:
            return self
        return replace(self, boundaries_s=consume(self.boundaries_s, chord_s))


def around_times(times_s: FloatArray) -> npt.NDArray[np.float64]:
    """The points of time around each event, in seconds: (T,) -> (T, AROUND_POINTS)."""
    offsets_s = (np.arange(AROUND_POINTS) - AROUND_POINTS // 2) * AROUND_STEP_S
    return np.asarray(np.asarray(times_s, dtype=np.float64)[:, None] + offsets_s)


def _sample(curve: Curve, times_s: FloatArray) -> FloatArray | float:
    if curve is None:
        return float("nan")
    if isinstance(curve, tuple):
        return np.interp(times_s, curve[0], curve[1])
    return float(curve)


# ---- the table of lanes --------------------------------------------------------------------------------------------

#: What a lane is after each of a run of events: conditions, times (T,), whether each event is CHORD (T,) -> (T,), or a
#: number for all of them, or None where it is not given.
At = Callable[["Conditions", FloatArray, npt.NDArray[np.bool_]], "FloatArray | float | None"]
#: What a lane is in a song that is trained on, after each of its events: (T,).
OfSong = Callable[[SongEvents], npt.NDArray[np.floating]]
#: What a lane is of a control, at times (T,): (T,).
Read = Callable[[Control, FloatArray], npt.NDArray[np.floating]]
#: A lane of a song, (T,), as that of the song moved by so many semitones.
Moved = Callable[[npt.NDArray[np.floating], int], npt.NDArray[np.floating]]


@dataclass(frozen=True)
class Lane:
    """One condition.

    Attributes:
        name: Its name.
        kind: How the network encodes it: "offset" (a time in seconds), "level" (a number in [-1, 1]), "place" (a whole
            number from 0), "event" (the id of an event).
        unit: What it is measured in.
        low, high: Its range.
        from_score: How it is computed from a score, in words.
        from_user: How a user gives it, in words.
        at: How it follows from `Conditions`. Without it, it is sampled from `Conditions.curves`, if it is there.
        of_song: How training computes it from a song's own events; None for lanes that `Conditions`, `meter` or
            `copying` compute.
        control: The control that it is read off, if it is of one. Lanes of one control are given or left out together.
        read: How it is read off that control.
        moved: How it changes when the song is transposed; None if it does not.

    """

    name: str
    kind: Literal["offset", "level", "place", "event"]
    unit: str
    low: float
    high: float
    from_score: str
    from_user: str
    at: At | None = None
    of_song: OfSong | None = None
    control: str = ""
    read: Read | None = None
    moved: Moved | None = None


def _of_control(
    name: str, kind: Literal["level", "place"], unit: str, high: float, read: Read, from_score: str, *,
    control: str = "", moved: Moved | None = None,
) -> Lane:  # fmt: skip
    """The lane that `read` reads off a control, by default that of its own name."""
    control = control or name

    def of_song(song: SongEvents) -> npt.NDArray[np.floating]:
        if control not in song.controls:
            return np.full(len(song.ids), np.nan)
        return read(song.controls[control], song.steps * v.STEP_S)

    low = -1.0 if kind == "level" else 0.0
    return Lane(
        name, kind, unit, low, high, from_score, f"--controls, a control {control}", of_song=of_song,
        control=control, read=read, moved=moved,
    )  # fmt: skip


def _boundary(c: Conditions, times_s: FloatArray, is_chord: npt.NDArray[np.bool_]) -> FloatArray | None:
    return None if c.boundaries_s is None else boundary_offsets(times_s, is_chord, c.boundaries_s)


def _to_end(c: Conditions, times_s: FloatArray, is_chord: npt.NDArray[np.bool_]) -> FloatArray | None:
    if c.end_s is None:
        return None
    to_end_s = np.clip(c.end_s - times_s, 0, MAX_TO_END_S)
    return np.where(to_end_s > c.end_known_s, MAX_TO_END_S, to_end_s)


#: The table of lanes. A new lane is one entry at its end (CONTRIBUTING.md).
LANES: Final = (
    Lane(
        "boundary", "offset", "s", 0.0, MAX_OFFSET_S, "time to the next CHORD not yet played", "scene cuts, --cuts",
        at=_boundary,
    ),
    Lane(
        "valence", "level", "", -1.0, 1.0, "mood labels of the corpus", "--valence",
        at=lambda c, times_s, _: _sample(c.valence, times_s),
    ),
    Lane(
        "arousal", "level", "", -1.0, 1.0, "mood labels of the corpus", "--arousal",
        at=lambda c, times_s, _: _sample(c.arousal, times_s),
    ),
    Lane(
        "time_to_end", "offset", "s", 0.0, MAX_TO_END_S, "time to END", "the video's duration, --duration", at=_to_end
    ),
    Lane("position", "place", "ticks", 0, meter.POSITIONS - 1, "time since BAR, in its tempo", "follows the music"),
    Lane("bar", "place", "bars", 0, meter.BARS - 1, "how many BARs came", "follows the music"),
    Lane(
        "sixteenth", "place", "steps", 0, meter.SIXTEENTHS - 1, "length of the bar before", "--tempo; follows the music"
    ),
    Lane("copy", "event", "id", 0, v.SIZE - 1, "follower of the longest match", "follows the music"),
    Lane("match", "place", "", 0, copying.N_STRENGTHS - 1, "strength of the longest match", "follows the music"),
    _of_control("intensity", "level", "20 dB", 1.0, read.loudness, "loudness of what sounds (controls.intensity)"),
    _of_control("density", "level", "log", 1.0, read.busyness, "notes that begin in a second (controls.density)"),
    _of_control(
        "melody", "place", "pitch class", 12, read.held, "the lead's pitch class (controls.melody)",
        moved=read.moved_class,
    ),
    _of_control(
        "melody_next", "place", "pitch class", 12, read.next_note, "that of its next note (controls.melody)",
        control="melody", moved=read.moved_class,
    ),
    _of_control("rhythm", "place", "pattern", 15, read.held, "the beat's onsets (controls.rhythm)"),
    _of_control(
        "rhythm_next", "place", "pattern", 15, read.ahead, "those of half a second later (controls.rhythm)",
        control="rhythm",
    ),
    _of_control(
        "key", "place", "key", 23, read.held, "tonic and mode, four seconds around (controls.key)", moved=read.moved_key
    ),
    _of_control("change", "level", "", 1.0, read.change, "how much changes, by the second (controls.change)"),
)  # fmt: skip
LANE_NAMES: Final = tuple(lane.name for lane in LANES)
N_LANES: Final = len(LANES)
VALENCE_LANE: Final = LANE_NAMES.index("valence")
AROUSAL_LANE: Final = LANE_NAMES.index("arousal")
#: Valence and arousal at each moment.
MOOD_LANES: Final = [LANE_NAMES.index("valence"), AROUSAL_LANE]
#: The lanes that `meter` computes from the events; `Conditions.at` leaves them NaN.
METER_LANES: Final = slice(LANE_NAMES.index("position"), LANE_NAMES.index("position") + meter.N_VALUES)
#: The lanes that `copying` computes from the events; `Conditions.at` leaves them NaN.
COPY_LANES: Final = slice(LANE_NAMES.index("copy"), LANE_NAMES.index("copy") + copying.N_VALUES)
#: Lanes that are read off controls.
CONTROL_LANES: Final = tuple(i for i, lane in enumerate(LANES) if lane.read is not None)
