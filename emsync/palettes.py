"""Palettes: the General MIDI program of each family of instruments, by style and by mood.

    programs_of("jazz")                                   # (32, 0, 26, 32, 66)
    programs_of("jazz,strings=48")                        # the same, with a string ensemble
    programs_of("auto", valence=-0.6, arousal=-0.3)       # those of "chamber"

Programs count from 0, in the order of `vocabulary.FAMILIES`. That of the drums is a kit as in General MIDI 2;
synthesizers without it play the standard kit. Piano and guitar play the chords on cuts, so their programs speak at
once: they reach half of their peak within 30 ms (docs/decisions/0023).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from emsync.errors import InputError
from emsync.vocabulary import FAMILIES

Programs = tuple[int, ...]

#: The words that stand for a palette by the mood, and for the one that all pieces had before there were others.
AUTO, STANDARD = "auto", "standard"

#: Programs of drums, piano, guitar, bass and strings.
PALETTES: Final[Mapping[str, Programs]] = {
    STANDARD: (0, 0, 25, 33, 48),  # standard kit, grand piano, steel guitar, fingered bass, string ensemble
    "orchestral": (48, 0, 46, 43, 48),  # orchestra kit, grand piano, harp, contrabass, string ensemble
    "chamber": (40, 0, 24, 43, 41),  # brushes, grand piano, nylon guitar, contrabass, viola
    "piano": (40, 0, 0, 0, 0),  # brushes, and a grand piano for everything else
    "acoustic": (40, 0, 24, 32, 73),  # brushes, grand piano, nylon guitar, acoustic bass, flute
    "pop": (0, 1, 27, 33, 50),  # standard kit, bright piano, clean guitar, fingered bass, synth strings
    "rock": (16, 18, 29, 34, 48),  # power kit, rock organ, overdriven guitar, picked bass, string ensemble
    "jazz": (32, 0, 26, 32, 66),  # jazz kit, grand piano, jazz guitar, acoustic bass, tenor saxophone
    "electronic": (24, 5, 90, 38, 81),  # electronic kit, electric piano 2, polysynth, synth bass, sawtooth
    "ambient": (8, 11, 24, 35, 89),  # room kit, vibraphone, nylon guitar, fretless bass, warm pad
}

#: A mood this near to the middle of the plane of valence and arousal says nothing about sounds.
NEUTRAL: Final = 0.15

_REMEDY = f"give {AUTO}, {', '.join(PALETTES)}, or programs such as strings=48,piano=4"


def of_mood(valence: float, arousal: float) -> str:
    """The palette of a piece's mean mood, by its quarter of the plane; NaN, where a level is not given, counts as 0.

    Excited and pleasant: pop. Excited and unpleasant: orchestral. Calm and unpleasant: chamber. Calm and pleasant:
    acoustic. Within `NEUTRAL` of the middle: standard. Bright timbres with sharp attacks are heard as energetic, dark
    ones as calm (Eerola, Ferrer and Alluri, Music Perception 30, 2012).
    """
    valence, arousal = (0.0 if math.isnan(level) else level for level in (valence, arousal))
    if math.hypot(valence, arousal) < NEUTRAL:
        return STANDARD
    if arousal >= 0:
        return "pop" if valence >= 0 else "orchestral"
    return "acoustic" if valence >= 0 else "chamber"


def _parsed(text: object) -> tuple[str, dict[str, int]]:
    """The palette that a text names (`STANDARD` if none), and the programs that it gives, by family."""
    if not isinstance(text, str):
        raise InputError(f"palette is {text!r}; {_REMEDY}")
    name, given = STANDARD, {}
    for place, part in enumerate(text.split(",")):
        family, equals, program = (each.strip().lower() for each in part.partition("="))
        if not equals and place == 0 and family in (AUTO, *PALETTES):
            name = family
            continue
        if not equals:
            raise InputError(f"palette {text!r}: there is no palette {family!r}; {_REMEDY}")
        if family not in FAMILIES:
            raise InputError(f"palette {text!r}: there is no family {family!r}; families are {', '.join(FAMILIES)}")
        if family in given:
            raise InputError(f"palette {text!r} gives {family} twice; give it once")
        if not (program.isascii() and program.isdigit() and len(program) <= 3 and int(program) <= 127):
            raise InputError(
                f"palette {text!r}: {program!r} is not a program; give a whole number from 0 to 127 (General MIDI's "
                "number minus 1)"
            )
        given[family] = int(program)
    return name, given


def check(text: object) -> None:
    """Raise `InputError` if `text` is not a palette: a name, programs of families, or a name and programs."""
    _parsed(text)


def programs_of(text: str, valence: float = math.nan, arousal: float = math.nan) -> Programs:
    """(5,) The program of each family.

    Args:
        text: `AUTO` or a name of `PALETTES`; or families and their programs, such as "strings=48,piano=4", which
            replace those of the standard palette, or of the one named first.
        valence: The piece's mean valence, for `AUTO`, in [-1, 1]; NaN if it has none.
        arousal: The same for arousal.

    Raises `InputError` for anything else.

    """
    name, given = _parsed(text)
    palette = PALETTES[of_mood(valence, arousal) if name == AUTO else name]
    return tuple(given.get(family, program) for family, program in zip(FAMILIES, palette, strict=True))


def name_of(programs: Programs) -> str | None:
    """The palette that has these programs; None if none has."""
    return next((name for name, each in PALETTES.items() if each == tuple(programs)), None)
