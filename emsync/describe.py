"""Music described in words: what `--describe "slow, strings, uneasy"` means to the composer.

`WORDS` is the whole table, and docs/narrascore.md shows it; nothing is downloaded and nothing is guessed. Several words
add up: families and counts are joined, moods are averaged, a later tempo, density or loudness takes an earlier one's
place. Where families are named, only they play; "mainly" lets others join in. "no" or "without" before a family leaves
it out. Words that are in no table are ignored, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from emsync.errors import InputError
from emsync.vocabulary import CHORD_FAMILIES, FAMILIES, STRINGS

#: A description has at most so many characters.
LONGEST: Final = 1000

#: Tempi in quarter notes a minute, by the usual terms; slow is adagio, fast is vivace.
TEMPI: Final[Mapping[str, tuple[float, float]]] = {
    "slow": (54.0, 76.0), "relaxed": (70.0, 92.0), "moderate": (88.0, 112.0), "lively": (110.0, 136.0),
    "fast": (132.0, 168.0),
}  # fmt: skip
#: Valence and arousal of moods, on Russell's circle (1980); the first of each line is what a score's mood is called.
MOODS: Final[Mapping[str, tuple[float, float]]] = {
    "joyful": (0.8, 0.5), "uneasy": (-0.4, 0.4), "calm": (0.4, -0.7), "sad": (-0.7, -0.4), "triumphant": (0.7, 0.8),
    "tense": (-0.5, 0.7), "angry": (-0.7, 0.8), "warm": (0.6, -0.2), "dark": (-0.6, 0.1), "lonely": (-0.6, -0.6),
    "neutral": (0.0, 0.0), "dreamy": (0.3, -0.5),
}  # fmt: skip
#: Onsets a second, and dB against the mean of real songs, as --density and --intensity take them.
DENSITIES: Final[Mapping[str, float]] = {"sparse": 7.0, "busy": 26.0}
LOUDNESSES: Final[Mapping[str, float]] = {"soft": -6.0, "loud": 5.0}

_SAME: Final[Mapping[str, str]] = {
    "adagio": "slow", "largo": "slow", "andante": "relaxed", "moderato": "moderate", "allegro": "lively",
    "upbeat": "lively", "brisk": "lively", "presto": "fast", "quick": "fast", "rapid": "fast", "driving": "fast",
    "happy": "joyful", "cheerful": "joyful", "bright": "joyful", "playful": "joyful",
    "anxious": "uneasy", "nervous": "uneasy", "eerie": "uneasy", "mysterious": "uneasy", "ominous": "dark",
    "peaceful": "calm", "serene": "calm", "quiet": "soft", "gentle": "warm", "tender": "warm", "hopeful": "warm",
    "nostalgic": "warm", "melancholic": "sad", "mournful": "sad", "sorrowful": "sad", "desolate": "lonely",
    "epic": "triumphant", "heroic": "triumphant", "uplifting": "triumphant", "exciting": "triumphant",
    "suspenseful": "tense", "dramatic": "tense", "urgent": "tense", "scary": "tense", "aggressive": "angry",
    "furious": "angry", "gloomy": "dark", "ethereal": "dreamy", "minimal": "sparse", "thin": "sparse",
    "dense": "busy", "full": "busy", "piano-like": "piano", "keys": "piano", "keyboard": "piano", "organ": "piano",
    "guitars": "guitar", "harp": "guitar", "violin": "strings", "violins": "strings", "cello": "strings",
    "cellos": "strings", "viola": "strings", "orchestra": "strings", "orchestral": "strings", "brass": "strings",
    "flute": "strings", "woodwinds": "strings", "synth": "strings", "pad": "strings", "percussion": "drums",
    "beat": "drums", "alone": "solo", "duet": "solo",
}  # fmt: skip
#: Said without a meaning of its own.
_FILLERS: Final = frozenset(
    {
        "a", "an", "and", "the", "of", "in", "on", "with", "for", "to", "very", "rather", "quite", "some", "music",
        "score", "piece", "soundtrack", "sound", "sounds", "mood", "feeling", "like", "tempo", "film", "cinematic",
        "as", "is", "but",
    }
)  # fmt: skip
_NOT: Final = frozenset({"no", "without"})
_MAINLY: Final = frozenset({"mainly", "mostly", "chiefly", "led", "featuring"})
SOLO: Final = "solo"

#: What is added to the logits of the notes of families that do not play, and of those beside the main ones.
LEFT_OUT_BIAS: Final = -30.0
OTHERS_BIAS: Final = -3.0


@dataclass(frozen=True)
class Description:
    """What a description says; None, or empty, for what it does not mention.

    Attributes:
        families, without: Names of families that play, and that do not.
        tempo_qpm: The slowest and the fastest tempo.
        mood: Valence and arousal.
        density, loudness_db: As `--density` and `--intensity` take them.
        mainly: Whether other families than those named may join in.
        few: Whether few families play.
        ignored: Words that are in no table.

    """

    families: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    tempo_qpm: tuple[float, float] | None = None
    mood: tuple[float, float] | None = None
    density: float | None = None
    loudness_db: float | None = None
    mainly: bool = False
    few: bool = False
    ignored: tuple[str, ...] = field(default=())

    @property
    def family_biases(self) -> dict[str, float]:
        """What is added to the logits of the notes of each family; none for families that play as they would."""
        beside = OTHERS_BIAS if self.mainly else LEFT_OUT_BIAS
        others = {name: beside for name in FAMILIES if self.families and name not in self.families}
        return others | dict.fromkeys(self.without, LEFT_OUT_BIAS)

    def level(self, name: str, given: str) -> str:
        """The value of `--intensity` or `--density`: as given, or else what the description says."""
        said = self.loudness_db if name == "intensity" else self.density
        return given if given != "none" or said is None else f"{said:g}"

    def summary(self) -> str:
        """One line: what was understood, and what was ignored."""
        parts = (
            ([("mainly " if self.mainly else "") + ", ".join(self.families)] if self.families else [])
            + [f"no {name}" for name in self.without]
            + (["few instruments"] if self.few else [])
        )
        if self.tempo_qpm is not None:
            parts.append(f"tempo {self.tempo_qpm[0]:g} to {self.tempo_qpm[1]:g}")
        if self.mood is not None:
            parts.append(f"valence {self.mood[0]:.2f}, arousal {self.mood[1]:.2f}".replace("-", "−"))
        if self.density is not None:
            parts.append(f"{self.density:g} notes a second")
        if self.loudness_db is not None:
            parts.append(f"{self.loudness_db:+g} dB".replace("-", "−"))
        ignored = f" Ignored, as no table has them: {', '.join(self.ignored)}." if self.ignored else ""
        return f"Described: {'; '.join(parts)}.{ignored}"


def chord_families(biases: Mapping[str, float]) -> tuple[int, ...]:
    """The families that may play the chords on cuts: piano and guitar, or the strings where neither may play.

    Where none of the three may play, it is piano and guitar nevertheless. biases: as for `likeness.family_biases`.
    """
    plays = [family for family, name in enumerate(FAMILIES) if biases.get(name, 0.0) != LEFT_OUT_BIAS]
    usual = tuple(family for family in CHORD_FAMILIES if family in plays)
    return usual or ((STRINGS,) if STRINGS in plays else CHORD_FAMILIES)


@lru_cache(maxsize=64)
def understood(text: str) -> Description:
    """What a description says. An empty one says nothing.

    Raises `InputError` for one that is not text, too long, or without a word that means something.
    """
    if not isinstance(text, str):
        raise InputError(f"describe is {text!r}; give words such as slow, strings, uneasy")
    if len(text) > LONGEST:
        raise InputError(f"the description has {len(text)} characters, over {LONGEST}; give a few words")
    found: dict[str, Any] = {"families": [], "without": [], "moods": [], "ignored": []}
    negated = False
    for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", text.lower()):
        if word in _NOT:
            negated = True
        elif word in _MAINLY:
            found["mainly"] = True
        elif word not in _FILLERS:
            _take(word, negated, found)
            negated = False
    found["families"] = [name for name in found["families"] if name not in found["without"]]
    moods = found.pop("moods")
    if moods:
        found["mood"] = tuple(sum(levels) / len(moods) for levels in zip(*moods, strict=True))
    for name in ("families", "without", "ignored"):
        found[name] = tuple(dict.fromkeys(found[name]))
    made = Description(**found)
    if text.strip() and made == Description(ignored=made.ignored):
        raise InputError(
            f"nothing in {text.strip()!r} means anything to the composer; name families, a tempo or a mood, such as "
            "slow, strings, uneasy"
        )
    return made


def steering(text: str) -> str:
    """The text if it means anything to the composer, else an empty one. For texts that other models read, too."""
    try:
        understood(text)
    except InputError:
        return ""
    return text


def check(text: Any) -> None:
    """Raise `InputError` for a description that cannot be used."""
    understood(text)


def _take(word: str, negated: bool, found: dict[str, Any]) -> None:
    """Add what a word means to what was found."""
    known = _SAME.get(word, word)
    if known in FAMILIES:
        found["without" if negated else "families"].append(known)
    elif negated:
        found["ignored"].append(f"no {word}")
    elif known in TEMPI:
        found["tempo_qpm"] = TEMPI[known]
    elif known in MOODS:
        found["moods"].append(MOODS[known])
    elif known in DENSITIES:
        found["density"] = DENSITIES[known]
    elif known in LOUDNESSES:
        found["loudness_db"] = LOUDNESSES[known]
    elif known == SOLO:
        found["few"] = True
    else:
        found["ignored"].append(word)
