"""The created controls of controllable-v2m (Appendix D.3) for notes: melodies, intensities, rhythms and emotions.

Its authors collected melodies of these composers and drew the curves; the sets here follow their description. All are
`Asked`: controls, a tempo, and a mood. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.control_curves import REST, Control, ControlCurves, of_text
from emsync.mood import MoodCurve
from emsync.score import Score

FloatArray = npt.NDArray[np.float64]

#: The tempo of what has none of its own, in quarter notes a minute.
TEMPO_QPM: Final = 110.0
#: Twenty well-known melodies: pitch classes, each for a quarter note or as many as stand behind the colon.
MELODIES: Final = {
    "Bach, Jesu, Joy": "G:.5 A:.5 B:.5 D:.5 C:.5 C:.5 E:.5 D:.5 D:.5 G:.5 F#:.5 G:.5 D:.5 B:.5 G:.5 A:.5 B:.5 C:.5",
    "Bach, Toccata in D minor": "A:.5 G:.5 A:2 G:.25 F:.25 E:.25 D:.25 C#:1 D:2 rest:1",
    "Bach, Badinerie": "B:.5 D:.25 B:.25 F#:.5 D:.25 F#:.25 D:.5 B:.25 D:.25 B:1 rest:.5",
    "Petzold, Minuet in G": "D G:.5 A:.5 B:.5 C:.5 D G G E C:.5 D:.5 E:.5 F#:.5 G G G",
    "Vivaldi, Spring": "E G#:1 G#:1 G#:1 F#:.5 E:.5 B:3 B:.5 A:.5 G#:1 G#:1 G#:1 F#:.5 E:.5 B:3 rest:.5",
    "Vivaldi, Autumn": "F:.5 A:1 A:1 A:.5 G:.25 A:.25 Bb:1 A:.5 G:.5 F:1 C:1 rest:.5",
    "Mozart, Eine kleine Nachtmusik": "G:1 rest:.5 D:.5 G:1 rest:.5 D:.5 G:.5 D:.5 G:.5 B:.5 D:1 rest:1",
    "Mozart, Symphony 40": "Eb:.5 D:.5 D:1 Eb:.5 D:.5 D:1 Eb:.5 D:.5 D:1 Bb:1 rest:1 Bb:.5 A:.5 G:1 G:.5 F:.5",
    "Mozart, Ah vous dirai-je": "C C G G A A G:2 F F E E D D C:2",
    "Mozart, Turkish March": "B:.25 A:.25 G#:.25 A:.25 C:1 D:.25 C:.25 B:.25 C:.25 E:1 F:.25 E:.25 D#:.25 E:.25",
    "Beethoven, Ode to Joy": "E E F G G F E D C C D E E:1.5 D:.5 D:2",
    "Beethoven, Fur Elise": "E:.5 D#:.5 E:.5 D#:.5 E:.5 B:.5 D:.5 C:.5 A:1.5 C:.5 E:.5 A:.5 B:1.5 E:.5 G#:.5 B:.5 C",
    "Beethoven, Symphony 5": "rest:.5 G:.5 G:.5 G:.5 Eb:2 rest:.5 F:.5 F:.5 F:.5 D:2",
    "Schubert, Ave Maria": "Bb:1.5 A:.5 Bb:1 D:1 C:1.5 Bb:.5 rest:1 C:.5 D:.5 C:.5 Bb:.5 A:1 G:.5 A:.5 Bb:2",
    "Schubert, The Trout": "D:.5 G:.5 G:.5 B:.5 B:.5 G:1 D:.5 D:.75 D:.25 A:.5 F#:.5 E:.5 D:1",
    "Mendelssohn, Wedding March": "C:1.5 B:.5 F#:1 A:1 G:1 F:1 D:.5 E:.5 C:1.5 B:.5 F#:1 A:1",
    "Bizet, Habanera": "D:.5 C#:.5 C:.33 C:.33 C:.34 B:.5 Bb:.5 A:.5 A:.5 Ab:.5 G:.5 F:.33 G:.33 F:.34 E:1",
    "Bizet, Toreador": "C:.75 C:.25 D:.75 C:.25 A:1 A:1 A:.75 G:.25 A:.75 Bb:.25 A:2",
    "Jasmine Flower (traditional)": "E E:.5 G:.5 A:.5 C:.5 C:.5 A:.5 G:1 G:.5 A:.5 G:2",
    "Kangding Love Song (traditional)": "E:.5 G:.5 A:.5 A:.25 G:.25 A:.5 E:.5 D:1 E:.5 G:.5 A:.5 A:.25 G:.25 A:.5 E",
}
#: Four rhythms, from calm to dense, and by how much they are stretched.
RHYTHMS: Final = ("x...", "x.x.", "x.xx", "xxxx")
STRETCHES: Final = (0.8, 0.9, 1.0, 1.1, 1.2)
SHAPES: Final = ("linear", "tanh", "cosine")
RANGES_DB: Final = (6.0, 9.0, 12.0, 15.0)
#: How far the emotions go, and where they lie.
EMOTION_SPANS: Final = ((0.1, 0.8), (-0.8, -0.1), (-0.8, 0.8))


@dataclass(frozen=True, eq=False)
class Asked:
    """What is asked of one piece: the set it belongs to, its name, controls, a tempo, and a mood.

    source: the music that the controls and the mood were extracted from.
    """

    group: str
    name: str
    curves: ControlCurves
    tempo_qpm: float = TEMPO_QPM
    mood: MoodCurve | None = None
    source: Score | None = None


def melodies(duration_s: float) -> Iterator[Asked]:
    """The melodies, each from its beginning again and again."""
    for name, text in MELODIES.items():
        notes = [(token.partition(":")[0], float(token.partition(":")[2] or 1)) for token in text.split()]
        times, values, now = [], [], 0.0
        while now < duration_s:
            for pitch, quarters in notes:
                times.append(now)
                values.append(float(REST) if pitch == "rest" else of_text("melody", pitch))
                now += quarters * 60 / TEMPO_QPM
        inside = np.array(times) < duration_s
        yield Asked(
            "melody", name, ControlCurves({"melody": Control(np.array(times)[inside], np.array(values)[inside])})
        )


def intensities(duration_s: float) -> Iterator[Asked]:
    """Three functions, upwards and downwards, over four ranges around the mean of real songs."""
    times = np.linspace(0, duration_s, 101)
    x = np.linspace(-1, 1, 101)
    rows = {"linear": x, "tanh": np.tanh(3 * x) / np.tanh(3), "cosine": -np.cos(np.pi * (x + 1))}
    for shape, sign, reach in product(SHAPES, (1, -1), RANGES_DB):
        name = f"{shape} {'up' if sign > 0 else 'down'} {reach:g} dB"
        yield Asked("intensity", name, ControlCurves({"intensity": Control(times, sign * reach * rows[shape])}))


def rhythms(duration_s: float) -> Iterator[Asked]:
    """Four patterns, each in five tempi."""
    del duration_s
    for pattern, stretch in product(RHYTHMS, STRETCHES):
        control = Control(np.zeros(1), np.array([of_text("rhythm", pattern)]))
        yield Asked("rhythm", f"{pattern} x {stretch:g}", ControlCurves({"rhythm": control}), TEMPO_QPM * stretch)


def emotions(duration_s: float) -> Iterator[Asked]:
    """Valence and arousal, each rising or falling, positive, negative or through zero."""
    lines = [span[::direction] for span in EMOTION_SPANS for direction in (1, -1)]
    times = np.array([0.0, duration_s])
    for v, a in product(lines, lines):
        name = f"valence {v[0]:g} to {v[1]:g}, arousal {a[0]:g} to {a[1]:g}"
        yield Asked("emotion", name, ControlCurves({}), mood=MoodCurve(times, np.array(v), np.array(a)))


def densities(duration_s: float) -> Iterator[Asked]:
    """Not in the paper: from few notes to many, from many to few, and an arc, each over three ranges."""
    times = np.linspace(0, duration_s, 101)
    x = np.linspace(0, 1, 101)
    for low, high in ((4.0, 16.0), (8.0, 24.0), (4.0, 30.0)):
        for name, row in (("up", x), ("down", 1 - x), ("arc", np.sin(np.pi * x))):
            curves = ControlCurves({"density": Control(times, low + (high - low) * row)})
            yield Asked("density", f"{name} {low:g} to {high:g}", curves)


def keys(duration_s: float) -> Iterator[Asked]:
    """Not in the paper: one key throughout, all 24."""
    del duration_s
    for key in (7 * np.arange(24)) % 24:
        yield Asked("key", f"key {key}", ControlCurves({"key": Control(np.zeros(1), np.array([float(key)]))}))


def half_masked(asked: Asked, duration_s: float, *, first: bool) -> Asked:
    """The same with one half of every curve not given, as segments are masked in training (eq. 11)."""
    half = duration_s / 2

    def masked(control: Control) -> Control:
        times = np.unique(np.concatenate([control.times_s, [half - 1e-3, half, half + 1e-3]]))
        gone = times < half if first else times > half
        return replace(control, times_s=times, values=np.where(gone, np.nan, control.at(times)))

    curves = ControlCurves({name: masked(asked.curves[name]) for name in asked.curves})
    return replace(asked, group="half masked", curves=curves)
