"""What a film's pictures, cuts and sound are measured by: colour, light, motion, pace, loudness.

`terms(scene)` gives each quantity in its own unit, `TERMS` what it is in average films and how it weighs in a mood.
docs/affect.md gives every formula and the sources of its constants.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync.errors import InputError
from emsync.video import CURVE_RATE_HZ, Scene

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Term:
    """A measured quantity: its mean and standard deviation over average films, and its weight on each axis."""

    name: str
    mean: float
    deviation: float
    valence: float = 0.0
    arousal: float = 0.0


#: The weight of colour in arousal, where motion, pace and sound have a weight of one each.
_COLOUR: Final = 0.5
#: Valdez & Mehrabian (1994), regressions of standardised variables: pleasure = 0.69 B + 0.22 S, arousal = -0.31 B +
#: 0.60 S. Means and deviations: docs/affect.md, "What an average film is".
TERMS: Final = (
    Term("brightness", 0.38, 0.25, valence=0.69, arousal=-0.31 * _COLOUR),
    Term("saturation", 0.12, 0.12, valence=0.22, arousal=0.60 * _COLOUR),
    Term("lighting_key", 0.05, 0.045, valence=0.40),
    Term("colour_energy", 0.12, 0.12, valence=0.20, arousal=0.40 * _COLOUR),
    Term("motion", -2.4, 1.0, arousal=1.0),
    Term("pace", 0.58, 0.25, arousal=1.0),
    Term("sound", -26.0, 10.0, arousal=1.0),
)
#: Pace is exp(-length of the shot / this): r = 300 frames at 25 a second of Hanjalic & Xu.
PACE_S: Final = 12.0
#: The first and the last shot count as at least this long, since the ends of a film are not cuts. It is about the
#: average shot length of today's films (Cutting, Brunick, DeLong, Iricinschi & Candan 2011).
END_SHOT_S: Final = 5.0
#: Added to motion before taking its logarithm: the noise of still frames, in changes a second.
STILL: Final = 0.02
#: A second below this level counts as silent.
SILENT_DB: Final = -60.0
#: Hue weights a colour from 1 - this (blue, cyan) to 1 + this (red, yellow), after Wang & Cheong (2006).
HUE: Final = 0.25


def terms(scene: Scene, *, hears: bool = True) -> dict[str, Floats]:
    """The terms of `TERMS` that the film has, each in its own unit, at `scene.times_s` (T,).

    - brightness: mean grey level, which is nearest to Munsell's value; 0 to 1
    - saturation: largest less smallest of red, green, blue. Valdez & Mehrabian's is Munsell's chroma, which like this
      one, and unlike the S of HSV, tends to 0 in the dark; 0 to 1
    - lighting_key: mean x deviation of grey levels (Rasheed, Sheikh & Shah 2005); high is lit evenly and brightly
    - colour_energy: saturation x brightness x energy of the hue (Wang & Cheong 2006). S x V of HSV is the chroma above,
      and red less blue is its share that is warm, so that no hue has to be computed
    - motion: log of the change of grey levels a second, cuts left out (Hanjalic & Xu 2005 take motion vectors)
    - pace: exp(-length of the shot / `PACE_S`) (Hanjalic & Xu 2005); a fade-in begins a shot, too
    - sound: dB of full scale, `SILENT_DB` where there is none (Hanjalic & Xu 2005 take the energy)

    Older scenes lack lighting_key and colour_energy; films without sound lack sound, and so do all if not `hears`.
    Raises `InputError` for a scene without curves.
    """
    if not scene.times_s.size:
        raise InputError(f"the scene of {scene.path} has no curves to read a mood from; analyze the video again")
    found = {"brightness": scene.luma, "saturation": scene.saturation}
    if scene.contrast.size:
        found["lighting_key"] = scene.luma * scene.contrast
    if scene.warmth.size:
        found["colour_energy"] = scene.saturation + HUE * scene.warmth
    found["motion"] = np.log(scene.motion + STILL)
    at_s = np.minimum(scene.times_s + 0.5 / CURVE_RATE_HZ, scene.duration_s)
    found["pace"] = np.exp(-_shot_lengths_s(scene, at_s) / PACE_S)
    if not hears:
        return found
    level_db = np.maximum(np.nan_to_num(scene.loudness_db, nan=SILENT_DB), SILENT_DB)
    if (level_db > SILENT_DB).any():
        found["sound"] = level_db[np.minimum(scene.times_s.astype(np.intp), level_db.size - 1)]
    return found


def _shot_lengths_s(scene: Scene, at_s: Floats) -> Floats:
    """The length of the shot at each time (T,)."""
    begins_s = np.union1d(scene.cuts_s, scene.fades_s)
    begins_s = begins_s[(begins_s > 0) & (begins_s < scene.duration_s)]
    lengths_s = np.diff(np.concatenate([[0.0], begins_s, [scene.duration_s]]))
    lengths_s[[0, -1]] = np.maximum(lengths_s[[0, -1]], END_SHOT_S)
    return np.asarray(lengths_s[np.searchsorted(begins_s, at_s, side="right")])
