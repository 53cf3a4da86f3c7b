"""Controls over time: how loud, how dense, which melody, which rhythm, which key, how much changes, moment by moment.

    curves = ControlCurves({"intensity": preset("build", "intensity", 30.0)})
    curves["intensity"].at([0.0, 15.0])

| control | unit | range | between two points | a user writes |
|---|---|---|---|---|
| intensity | dB against the mean of real songs | -40 to 20 | a line | `-6` |
| density | notes that begin, a second | 0 to 100 | a line | `8` |
| melody | the lead's pitch class | 0 (C) to 11 (B), 12 for a rest | held | `C`, `F#`, `rest` |
| rhythm | the sixteenths of a beat on which notes begin | 0 to 15, the first sixteenth counting 8 | held | `x.xx` |
| key | a major (0 to 11) or a minor (12 to 23) key | 0 to 23 | held | `Eb`, `A minor` |
| change | how much the music changes, a share of the piece's largest changes | 0 to 1 | a line | `0.8` |

`emsync.controls` computes them from notes, `emsync.steering` makes a piece obey them. NaN means "not given": the
composer is free there. The first and the last value are held. Times are seconds from the first frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError, printable

FloatArray = npt.NDArray[np.float64]

PITCH_NAMES: Final = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_STEPS: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
REST: Final = 12
#: Sixteenths of a beat.
SLOTS: Final = 4
#: A curve may end this much after its film, for times rounded to whole seconds.
OVERHANG_S: Final = 1.0
#: A curve has at most so many points.
MOST_POINTS: Final = 200_000
#: Points a second of a curve between eased key frames.
_EASED_HZ: Final = 10.0


@dataclass(frozen=True)
class Kind:
    """What a control is measured in: unit, range, whether it is held from one point to the next, what it means."""

    unit: str
    low: float
    high: float
    held: bool
    help: str


KINDS: Final[Mapping[str, Kind]] = {
    "intensity": Kind("dB", -40.0, 20.0, False, "loudness of the notes that sound, 0 for the mean of real songs"),
    "density": Kind("notes/s", 0.0, 100.0, False, "notes that begin in a second"),
    "melody": Kind("pitch class", 0, REST, True, "the lead's pitch class, such as F#, or rest"),
    "rhythm": Kind("pattern", 0, 2**SLOTS - 1, True, "the sixteenths of a beat on which notes begin, such as x.xx"),
    "key": Kind("key", 0, 23, True, "the key, such as Eb or A minor"),
    "change": Kind("of the largest", 0.0, 1.0, False, "how much changes, 1 for the largest changes of a piece"),
}

#: How far a curve has come, 0 to 1, at a share of the time between two key frames.
EASINGS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = {
    "linear": lambda x: x,
    "step": lambda x: (x >= 1.0).astype(np.float64),
    "in": lambda x: x * x,
    "out": lambda x: 1 - (1 - x) ** 2,
    "in-out": lambda x: x * x * (3 - 2 * x),
}

#: (share of the film, intensity in dB, density in notes/s, easing from there to the next point).
PRESETS: Final[Mapping[str, tuple[tuple[float, float, float, str], ...]]] = {
    "build": ((0.0, -12.0, 4.0, "in"), (1.0, 6.0, 28.0, "linear")),
    "fade": ((0.0, 0.0, 18.0, "out"), (1.0, -24.0, 2.0, "linear")),
    "arc": ((0.0, -10.0, 5.0, "in-out"), (0.6, 6.0, 28.0, "in-out"), (1.0, -12.0, 4.0, "linear")),
    "stinger": (
        (0.0, -12.0, 5.0, "linear"), (0.8, -12.0, 5.0, "step"), (0.81, 8.0, 35.0, "out"), (1.0, -10.0, 5.0, "linear"),
    ),
}  # fmt: skip


def known(name: str) -> Kind:
    """The kind of a control. Raises `InputError` naming those that there are."""
    if name not in KINDS:
        mood = "; the mood is given by --mood" if name in ("valence", "arousal", "emotion") else ""
        raise InputError(f"there is no control {printable(name)!r}; controls are {', '.join(KINDS)}{mood}")
    return KINDS[name]


@dataclass(frozen=True, eq=False)
class Control:
    """One control over time.

    - times_s: (T,) increasing, from 0 s on.
    - values: (T,) in the unit of its kind, NaN where it is not given.
    - strength: how strictly it is followed, from 0 (not at all) to 1.
    - held: whether a value holds until the next point; otherwise there is a line between two points.
    """

    times_s: FloatArray
    values: FloatArray
    strength: float = 1.0
    held: bool = False

    def __post_init__(self) -> None:
        for name in ("times_s", "values"):
            row = np.array(getattr(self, name), dtype=np.float64)
            row.setflags(write=False)
            object.__setattr__(self, name, row)
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape or not len(self.times_s):
            raise InputError(
                f"a control has times {self.times_s.shape} and values {self.values.shape}; give two rows of one length"
            )
        if len(self.times_s) > MOST_POINTS:
            raise InputError(f"a control has {len(self.times_s)} points, more than {MOST_POINTS}; leave some out")
        if not np.isfinite(self.times_s).all() or self.times_s[0] < 0 or (np.diff(self.times_s) <= 0).any():
            raise InputError("a control's times must be increasing seconds from 0 on; sort them")
        if np.isinf(self.values).any():
            raise InputError("a control has an infinite value; leave it out")
        if not (math.isfinite(self.strength) and 0 <= self.strength <= 1):
            raise InputError(f"a control's strength is {self.strength:g}; give a number from 0 to 1")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Control):
            return NotImplemented
        same = np.array_equal(self.times_s, other.times_s) and np.array_equal(self.values, other.values, equal_nan=True)
        return same and (self.strength, self.held) == (other.strength, other.held)

    __hash__ = None  # type: ignore[assignment]

    def at(self, times_s: npt.ArrayLike) -> FloatArray:
        """The values at times of any shape, NaN where not given. Between a NaN and its neighbours nothing is given."""
        times = np.asarray(times_s, dtype=np.float64)
        if self.held:
            return self.values[np.maximum(np.searchsorted(self.times_s, times, side="right") - 1, 0)]
        right = np.clip(np.searchsorted(self.times_s, times, side="left"), 0, len(self.times_s) - 1)
        exact = (self.times_s[right] == times) | (times <= self.times_s[0]) | (times >= self.times_s[-1])
        return np.asarray(np.where(exact, self.values[right], np.interp(times, self.times_s, self.values)))

    def moved(self, to: Callable[[npt.ArrayLike], FloatArray]) -> Control:
        """The control at other times: `to` maps times in seconds, any shape, and never turns their order."""
        return replace(self, times_s=to(self.times_s))


@dataclass(frozen=True, eq=False)
class ControlCurves:
    """Some controls over time, by their names. Raises `InputError` for an unknown name or a value out of range."""

    by_name: Mapping[str, Control]

    def __post_init__(self) -> None:
        held = {name: replace(control, held=known(name).held) for name, control in self.by_name.items()}
        object.__setattr__(self, "by_name", held)
        for name, control in held.items():
            kind = KINDS[name]
            bad = np.flatnonzero((control.values < kind.low) | (control.values > kind.high))
            if len(bad):
                raise InputError(
                    f"{name} {control.values[bad[0]]:g} at {control.times_s[bad[0]]:g} s is outside "
                    f"{kind.low:g} to {kind.high:g} {kind.unit}; scale it to that range"
                )
            given = control.values[~np.isnan(control.values)]
            if kind.held and (given % 1 != 0).any():
                raise InputError(f"{name} has the value {given[given % 1 != 0][0]:g}; give whole numbers, or names")

    def __eq__(self, other: object) -> bool:
        return self.by_name == other.by_name if isinstance(other, ControlCurves) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_name)

    def __len__(self) -> int:
        return len(self.by_name)

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    def __getitem__(self, name: str) -> Control:
        return self.by_name[name]

    def moved(self, to: Callable[[npt.ArrayLike], FloatArray]) -> ControlCurves:
        """All controls at other times, as `Control.moved`."""
        return ControlCurves({name: control.moved(to) for name, control in self.by_name.items()})

    def only(self, *names: str) -> ControlCurves:
        """The controls of these names, as far as they are there."""
        return ControlCurves({name: control for name, control in self.by_name.items() if name in names})

    def scaled(self, strength: float) -> ControlCurves:
        """Every strength times `strength`, within [0, 1]."""
        return ControlCurves({n: replace(c, strength=c.strength * strength) for n, c in self.by_name.items()})

    def check_fits(self, duration_s: float) -> ControlCurves:
        """Return the curves. Raises `InputError` if one ends more than `OVERHANG_S` after `duration_s`."""
        for name, control in self.by_name.items():
            last_s = float(control.times_s[-1])
            if last_s > duration_s + OVERHANG_S:
                raise InputError(
                    f"the control {name} reaches {last_s:g} s, past the film's end ({duration_s:g} s); cut it, "
                    "or give its times in seconds"
                )
        return self

    def as_json(self) -> dict[str, dict[str, Any]]:
        """Plain values by name; `from_json` is the inverse."""
        return {
            name: {
                "times_s": [round(float(t), 6) for t in c.times_s],
                "values": [None if math.isnan(x) else round(float(x), 6) for x in c.values],
                "strength": c.strength,
            }
            for name, c in self.by_name.items()
        }

    @classmethod
    def from_json(cls, values: Any) -> ControlCurves:
        """Controls from plain values: of each name times_s and values, and perhaps strength and easing.

        A value is a number, a name (`of_text`) or None. Raises `InputError` for anything else.
        """
        if not isinstance(values, Mapping):
            raise InputError('controls are not given by name; write {"intensity": {"times_s": [...], "values": [...]}}')
        return cls({str(name): _control(str(name), given) for name, given in values.items()})


def _control(name: str, given: Any) -> Control:
    kind = known(name)
    if not isinstance(given, Mapping) or not all(isinstance(given.get(k), list) for k in ("times_s", "values")):
        raise InputError(f"the control {name} needs two lists, times_s and values")
    times = [_number(name, "times_s", t) for t in given["times_s"]]
    levels = [of_text(name, x) for x in given["values"]]
    strength, easing = given.get("strength", 1.0), given.get("easing", "linear")
    if not isinstance(strength, int | float) or isinstance(strength, bool):
        raise InputError(f"the strength of {name} is {printable(repr(strength))[:40]}; give a number from 0 to 1")
    made = Control(np.array(times), np.array(levels), float(strength), kind.held)
    return made if kind.held else eased(made, easing)


def _number(name: str, what: str, x: Any) -> float:
    if not isinstance(x, int | float) or isinstance(x, bool) or not abs(x) < 1e9:
        raise InputError(f"{what} of {name} holds {printable(repr(x))[:40]}, which is not a number; write it like 2.5")
    return float(x)


def of_text(name: str, value: Any) -> float:
    """A control's value from a number, a text such as `F#`, `x.x.` or `A minor`, or nothing (NaN)."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    if not isinstance(value, str):
        return _number(name, "values", value)
    text = value.strip()
    try:
        return float(text) if abs(float(text)) < 1e9 else _refuse(name, text)
    except ValueError:
        pass
    if name == "melody":
        return float(REST) if text.lower() in ("rest", "-") else float(_pitch_class(name, text))
    if name == "rhythm" and re.fullmatch(rf"[xX.]{{{SLOTS}}}", text):
        return float(int(text.lower().replace("x", "1").replace(".", "0"), 2))
    match = re.fullmatch(r"([A-Ga-g][#b]?)\s*(major|maj|minor|min|m)?", text) if name == "key" else None
    if match:
        minor = match[2] in ("minor", "min", "m")
        return float(_pitch_class(name, match[1]) + 12 * minor)
    return _refuse(name, text)


def _refuse(name: str, text: str) -> float:
    raise InputError(f"{name} {printable(repr(text))[:40]} cannot be read; it is {KINDS[name].help}")


def _pitch_class(name: str, text: str) -> int:
    match = re.fullmatch(r"([A-Ga-g])([#b]?)", text)
    if match is None:
        _refuse(name, text)
    assert match is not None
    return (_STEPS[match[1].upper()] + {"": 0, "#": 1, "b": -1}[match[2]]) % 12


def to_text(name: str, value: float) -> str:
    """A value as a user writes it; `of_text` is the inverse. An empty text for NaN."""
    if math.isnan(value):
        return ""
    if name == "melody":
        return "rest" if value == REST else PITCH_NAMES[int(value)]
    if name == "rhythm":
        return format(int(value), f"0{SLOTS}b").replace("1", "x").replace("0", ".")
    if name == "key":
        return PITCH_NAMES[int(value) % 12] + (" minor" if value >= 12 else " major")
    return f"{value:g}"


def eased(control: Control, easing: str | list[str]) -> Control:
    """Key frames with easing as a curve of straight lines.

    easing: one of `EASINGS` for all, or a list with one for the way from each point to the next.
    """
    names = [easing] * len(control.times_s) if isinstance(easing, str) else easing
    if not isinstance(names, list) or len(names) < len(control.times_s) - 1 or any(n not in EASINGS for n in names):
        raise InputError(
            f"easing is {printable(repr(easing))[:60]}; give one of {', '.join(EASINGS)}, or a list with one a point"
        )
    if all(name == "linear" for name in names):
        return control
    times: list[float] = []
    values: list[float] = []
    for i in range(len(control.times_s) - 1):
        first, last = control.times_s[i : i + 2].tolist()
        a, b = control.values[i : i + 2].tolist()
        if names[i] == "linear" or math.isnan(a) or math.isnan(b):
            share = np.array([0.0])
        elif names[i] == "step":  # the jump takes a millisecond, since a curve has one value at a time
            share = np.array([0.0, max(1 - 1e-3 / (last - first), 0.5)])
        else:
            n = min(max(int((last - first) * _EASED_HZ), 2), 2000)
            share = np.arange(n) / n
        times += (first + share * (last - first)).tolist()
        values += [a] if len(share) == 1 else (a + EASINGS[names[i]](share) * (b - a)).tolist()
    times.append(float(control.times_s[-1]))
    values.append(float(control.values[-1]))
    return replace(control, times_s=np.array(times), values=np.array(values))


def averaged(curves: ControlCurves) -> ControlCurves:
    """One value of each control for a film of any length: the manner of a piece rather than its course.

    Intensity and density have their means over time, rhythm and key the value that holds longest (no empty rhythm).
    A melody has no average and is left out.
    """
    found: dict[str, Control] = {}
    for name, control in curves.by_name.items():
        if name == "melody":
            continue
        length_s = float(control.times_s[-1]) or 1.0
        values = control.at(np.linspace(0.0, length_s, 1001))
        values = values[~np.isnan(values) & ((values > 0) | (name != "rhythm"))]
        if len(values):
            kinds, counts = np.unique(values, return_counts=True)
            value = kinds[counts.argmax()] if control.held else values.mean()
            found[name] = replace(control, times_s=np.zeros(1), values=np.array([value]))
    return ControlCurves(found)


def preset(name: str, control: str, duration_s: float) -> Control:
    """One of `PRESETS` over `duration_s` seconds, for "intensity" or "density"."""
    if name not in PRESETS:
        raise InputError(f"there is no preset {printable(name)!r}; presets are {', '.join(PRESETS)}")
    column = {"intensity": 1, "density": 2}[control]
    points = PRESETS[name]
    made = Control(
        np.array([p[0] for p in points]) * duration_s, np.array([float(p[column]) for p in points])  # type: ignore[arg-type]
    )  # fmt: skip
    return eased(made, [p[3] for p in points])


def of_choice(value: str, control: str, duration_s: float) -> Control | None:
    """What `--intensity` or `--density` says, over `duration_s` seconds: a preset's name, a number, or "none"."""
    check_choice(value, control)
    if value == "none":
        return None
    return preset(value, control, duration_s) if value in PRESETS else Control(np.zeros(1), np.array([float(value)]))


def check_choice(value: Any, control: str) -> None:
    """Raise `InputError` unless `value` is "none", the name of a preset, or a number in range."""
    if isinstance(value, str) and (value == "none" or value in PRESETS):
        return
    kind = KINDS[control]
    number = math.nan
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?", value.strip()):
        number = float(value)
    if not kind.low <= number <= kind.high:
        raise InputError(
            f"{control} is {printable(repr(value))[:40]}; give none, {', '.join(PRESETS)}, "
            f"or a number from {kind.low:g} to {kind.high:g} ({kind.unit})"
        )


def check_curves(value: Any) -> None:
    """Raise `InputError` unless `value` is None or `ControlCurves`."""
    if value is not None and not isinstance(value, ControlCurves):
        raise InputError(f"controls is {printable(repr(value))[:40]}; give ControlCurves, such as read_controls(path)")
