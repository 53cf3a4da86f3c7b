"""The key of a piece that is being composed: major or minor by its valence, and pitches that lean towards it.

Of all that notes can say, mode says most about valence (Gabrielsson and Lindström, in Juslin and Sloboda, Handbook of
Music and Emotion, 2010). The model hardly follows valence by itself (docs/decisions/0025-mode-and-key.md), so its
pitches are guided by what a classifier would say (Dhariwal and Nichol 2021, on single notes): by Bayes' rule,
P(key | pitch class) is proportional to P(pitch class | key), which is counted in real songs. The logarithm of the
latter, times a weight that grows with the magnitude of valence, is added to the logit of every pitch. Within each
family the sum of all pitches' probabilities stays as it was, so how often a family plays is still the model's choice.
What has sounded is compared with the profiles of keys (`emsync.sounded`), and pitches lean towards a key that is not
heard yet: the user's own, or as much of a mode and of its relative as music of that valence has.

Conventions: valence is in [-1, 1], NaN where it is not given. Degrees are as in `emsync.keys`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import keys
from emsync import vocabulary as v
from emsync.controls import PROFILES, in_scale
from emsync.key_likelihood import FAMILIES, MINOR_SHARE, PITCHES, TONICS, in_key, likelihood
from emsync.keys import Key
from emsync.progression import Chord, Progression
from emsync.recipe import Recipe
from emsync.sounded import Sounded, towards

FloatArray = npt.NDArray[np.floating]

#: The mode changes only for a valence this far on the other side of 0, and not before this many bars have passed.
CLEAR: Final = 0.15
HELD_BARS: Final = 4
#: What valence a mode of the user's own choice counts as.
CHOSEN: Final = 0.8
#: A piece's first bars, in which its key is settled.
OPENING_BARS: Final = 3
#: From this weight on, the music counts as being in the key.
FELT: Final = 0.35
#: A note of the bar's chord that does not sound while others do has so much more weight: chords become triads.
COMPLETES: Final = 1.0
#: A note of the bar's chord that has not sounded for `UNCLEAR_S` seconds gains `Recipe.clear_chords` with every further
#: second, and at most `CLEAREST`: a bass alone, or a repeated note, does not say which chord it is.
UNCLEAR_S: Final = 0.75
CLEAREST: Final = 5.0
#: Below a weight of 1 it is that share of this, but never less than this: chords are heard even in mild moods.
LEAST_CLEAR: Final = 0.5
#: The bass's root gains half of that after `NO_BASS_S` seconds without a bass, and at most `LOWEST`.
NO_BASS_S: Final = 1.0
LOWEST: Final = 4.0
#: How much of what was heard is left after another note: the latest forty notes count most.
REMEMBERED: Final = 0.975
#: How much better music of a valence of 0 fits its best major key than its best minor one, as a difference of
#: correlations over 25 s, and how much more so with each unit of valence: in 200 excerpts of real songs.
EVEN_MODE: Final = 0.05
MODE_PER_VALENCE: Final = 0.19
#: What pitches gain for a difference that is 1 too small, times how much their class tells two keys apart, and at most.
#: What sounded is forgotten with a time constant of `MODE_S`.
MODE_GAIN: Final = 20.0
MODE_MOST: Final = 2.0
MODE_S: Final = 8.0
#: Where neither a mood nor the user says which key a piece is in, it is the one that fits what sounded best, once notes
#: of so many seconds did, forgotten with a time constant of `SETTLED_S`, and it fits with this correlation.
SETTLED_NOTES_S: Final = 8.0
SETTLED_S: Final = 16.0
CLEARLY: Final = 0.6
#: A piece ends in the relative of its key if what sounded fits that one better by so much.
RELATIVE_ENDS: Final = 0.1
#: The pitch (MIDI) whose probability a higher or lower register leaves alone: middle C.
MIDDLE: Final = 60
#: Below and above these, pitches gain no more: with feedback, happy music would be shrill.
LOWEST_REGISTER: Final = 41
HIGHEST_REGISTER: Final = 76

_ONS: Final = slice(int(v.ON_BASE[FAMILIES[0]]) + int(PITCHES[0]), int(v.ON_BASE[FAMILIES[-1]]) + int(PITCHES[-1]) + 1)
_SHAPE: Final = (len(FAMILIES), len(PITCHES))  # of the ONs in `_ONS`
_IS_BASS: Final = np.array([[f == v.BASS] for f in FAMILIES])


class Tonality:
    """The key of one piece, bar by bar.

    Args:
        recipe: Its mode, key and strengths.
        rng: Draws the tonic, unless the recipe or `own` gives it.
        own: The key of a theme, which the piece then takes.

    Attributes:
        key: What the music leans towards in this bar; None while it does not, or not enough to be heard.
        keys: (step, key) wherever the key changed.

    """

    def __init__(self, recipe: Recipe, rng: np.random.Generator, own: Key | None = None) -> None:
        self._recipe, self._own = recipe, own
        self._is_given = recipe.mode in ("major", "minor") or recipe.key != keys.AUTO
        self._tonic = 0
        if recipe.mode != "off":
            if recipe.key != keys.AUTO:
                self._tonic = keys.tonic_of(recipe.key)
            else:
                shares = np.array(TONICS) / sum(TONICS)
                like = None if recipe.like is None else recipe.like.tonic
                given = own.tonic if own is not None else like
                self._tonic = int(rng.choice(12, p=shares)) if given is None else given
        self._progression = Progression(rng, moving=recipe.moving_chords, relatives=recipe.relative_chords)
        self._drawn_minor = bool(rng.random() < MINOR_SHARE)  # for a tonic that is given without a mode
        self._is_minor: bool | None = None
        self._held_bars = self._n_bars = 0
        self._bias: FloatArray | None = None
        self._tones: frozenset[int] = frozenset()  # of the bar's chord
        self._completes = 0.0
        self._heard: FloatArray = np.zeros(12)
        self._sounded: FloatArray = np.zeros(12)  # the step at which each pitch class sounded last, without the bass
        self._root, self._bass_sounded = 0, 0  # the pitch class of the chord's root, and when the bass sounded last
        self._clears = 0.0
        self._listens = recipe.mode != "off"
        self._lasted, self._settled = Sounded(MODE_S), Sounded(SETTLED_S)
        self._pair: tuple[int, int] | None = None  # the keys, major and minor, that valence weighs in this bar
        self._major_by = 0.0  # by how much the former is to fit better
        self._home: int | None = None  # the user's own key, which is to be heard in this bar
        self._bar_key: Key | None = None  # what this bar leans towards, however little
        self.key: Key | None = None
        self.keys: list[tuple[int, Key]] = []

    def begin_bar(
        self, step: int, valence: float, *, section: str = "", begins: bool = False, semitones: int = 0,
        states_theme: bool = False, ruled: bool = False, beyond: float = 0.0, leads_home: bool = False,
    ) -> None:  # fmt: skip
        """A bar begins.

        Args:
            step: When.
            valence: Of the mood there.
            section: The name of its section.
            begins: Whether the section begins with this bar.
            semitones: By how much this section is transposed.
            states_theme: Whether a theme is played as the user wrote it: the mode is then that of the theme.
            ruled: Whether something else says which pitches there are: then nothing leans.
            beyond: How far the valence that feedback requests is beyond this one (`MoodFeedback.beyond`): beyond -1 or
                1, pitches lean up to twice as strongly; where it has the other sign, more chords are of the other kind.
            leads_home: Whether the piece's last chord comes with the next bar (`Recipe.final_tonic`).

        """
        recipe = self._recipe
        valence = valence if recipe.mood_strength else math.nan
        wanted = 0.0 if math.isnan(valence) else valence + beyond
        weight = self._choose(valence, wanted, states_theme=states_theme)
        if not self._n_bars:  # a part that is recomposed begins later than at 0
            self._bass_sounded = step
        self._n_bars += 1
        firmly = weight * recipe.opening_key if self._n_bars <= OPENING_BARS else weight
        high = wanted if recipe.register_feedback else valence
        register = 0.0 if math.isnan(valence) else recipe.register_bias * recipe.mood_strength * high
        heights = np.clip(PITCHES, LOWEST_REGISTER, HIGHEST_REGISTER) if recipe.register_feedback else PITCHES
        self._listens, self._pair, self._home = not ruled and recipe.mode != "off", None, None
        if not self._listens or not (weight or register):
            self._bias, self.key, self._tones, self._bar_key = None, None, frozenset(), None
            return
        key = self._bar_key = Key((self._tonic + semitones) % 12, bool(self._is_minor))
        if self._is_given:
            self._home = key.number if recipe.key_feedback and not states_theme else None
        elif recipe.mode_feedback and not (math.isnan(valence) or states_theme):
            major, minor = (key.relative, key) if key.is_minor else (key, key.relative)
            self._pair = major.number, minor.number
            self._major_by = EVEN_MODE + MODE_PER_VALENCE * wanted
        chord: Chord | None = self._progression.begin_bar(
            section, is_minor=key.is_minor, valence=wanted, begins=begins,
            leads_home=leads_home and recipe.final_tonic > 0 and not states_theme,
        )  # fmt: skip
        if recipe.progression == "off":
            chord = None
        tones = frozenset() if chord is None else frozenset((key.tonic + tone) % 12 for tone in chord.tones)
        self._sounded[list(tones - self._tones)] = step
        self._root = self._root if chord is None else (key.tonic + chord.degree) % 12
        self._tones, self._completes = tones, COMPLETES * firmly
        self._clears = recipe.clear_chords * min(max(weight, LEAST_CLEAR), 1.0)
        self._bias = firmly * likelihood(key, chord) + np.where(_IS_BASS, 0.0, register * (heights - MIDDLE) / 12)
        self.key = key if weight >= FELT else None
        if self.key is not None and (not self.keys or self.keys[-1][1] != key):
            self.keys.append((step, key))

    def _choose(self, valence: float, wanted: float, *, states_theme: bool) -> float:
        """Choose the mode of a bar by its valence; return the weight of its likelihood, by the valence wanted."""
        recipe = self._recipe
        if recipe.mode in ("major", "minor"):
            self._is_minor = recipe.mode == "minor"
            return recipe.mode_strength * CHOSEN
        if states_theme and self._own is not None:
            self._is_minor, self._held_bars = self._own.is_minor, 0
            return recipe.mode_strength * CHOSEN
        if math.isnan(valence):
            if recipe.key == keys.AUTO:
                return 0.0
            self._is_minor = self._drawn_minor if self._is_minor is None else self._is_minor
            return recipe.mode_strength * CHOSEN
        self._held_bars += 1
        minor = valence < 0
        if self._is_minor is None or (minor != self._is_minor and abs(valence) > CLEAR and self._held_bars > HELD_BARS):
            self._is_minor, self._held_bars = minor, 1
        much = max(math.sqrt(abs(wanted)), abs(wanted))
        weight = recipe.mode_strength * recipe.mood_strength / 2 * much
        return weight if recipe.key == keys.AUTO else max(weight, recipe.mode_strength * CHOSEN)

    def accept(self, event: int) -> None:
        """Take the next event; bars begin with `begin_bar`."""
        self._lasted.accept(event)
        self._settled.accept(event)
        if v.KIND[event] == v.K_ON and v.FAMILY[event] != v.DRUMS:
            self._heard *= REMEMBERED
            self._heard[v.VALUE[event] % 12] += 1.0

    def lean(
        self, logits: npt.NDArray[np.float32], allowed: npt.NDArray[np.bool_], sounding: Sequence[int] = (),
        spared: Iterable[int] = (), chord: Sequence[int] | None = None, step: int = 0, *, ends: bool = False,
    ) -> npt.NDArray[np.float32]:  # fmt: skip
        """Logits (SIZE,) that lean towards the key and the chord, if there are any.

        Args:
            logits: (SIZE,) before.
            allowed: (SIZE,) what the grammar allows.
            sounding: The ids of the ONs that sound.
            spared: The families that do not lean, since they play something given.
            chord: The ids of the ONs of the CHORD that is being struck, so far; None while there is none.
            step: The clock.
            ends: Whether the chord is the piece's last one, which is that of the tonic.

        """
        if not allowed[_ONS].any():
            return logits
        last = self._last_key() if ends and self._recipe.final_tonic else None
        third = None if chord is None or self.key is not None or last is not None else self._third(chord)
        key_bias = self._settled_bias() if self._bias is None and last is None else self._bias
        if key_bias is None and third is None and last is None:
            return logits
        if last is None:
            bias = self._bar_bias(key_bias, sounding, spared, chord, third)
        else:
            bias = self._last_bias(last, chord or ())
        x = np.where(allowed[_ONS], logits[_ONS], -np.inf).reshape(_SHAPE).astype(np.float64)
        plays = np.isfinite(x).any(axis=1, keepdims=True)
        top = np.where(plays, x.max(axis=1, keepdims=True), 0.0)
        leaned = np.where(plays, x + bias, 0.0)
        peak = leaned.max(axis=1, keepdims=True)
        # Each family's sum of probabilities stays what it was.
        before = np.exp(x - top).sum(axis=1, keepdims=True)
        after = np.exp(leaned - peak).sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore"):
            leaned += np.where(plays, top + np.log(before) - peak - np.log(after), 0.0)
        mixed = logits.copy()
        if last is None:
            leaned += self._unclear(sounding, step)
        mixed[_ONS] = np.where(np.isfinite(x), leaned, logits[_ONS].reshape(_SHAPE)).reshape(-1)
        return mixed

    def _bar_bias(
        self, key_bias: FloatArray | None, sounding: Sequence[int], spared: Iterable[int],
        chord: Sequence[int] | None, third: int | None,
    ) -> FloatArray:  # fmt: skip
        """What notes gain by the bar's key and chord, `_SHAPE`; third: the one that a chord without a key gets."""
        bias = np.zeros(_SHAPE) if key_bias is None else key_bias + self._heard_bias()[PITCHES % 12]
        if third is not None:
            bias = bias + np.where(_IS_BASS, 0.0, self._recipe.heard_thirds * (PITCHES % 12 == third))
        if self._tones:
            sound = _classes(sounding)
            missing = self._tones - sound
            if missing and sound:
                bias = bias + self._completes * np.isin(PITCHES % 12, list(missing))
        if chord is not None and self.key is not None and (lacking := self._lacking(chord)):
            bias = bias + np.where(_IS_BASS, 0.0, self._recipe.full_chords * np.isin(PITCHES % 12, list(lacking)))
        for family in spared:
            bias = np.where(np.array(FAMILIES)[:, None] == family, 0.0, bias)
        return np.asarray(bias)

    def _settled_bias(self) -> FloatArray | None:
        """What notes gain, `_SHAPE`, where nothing says which key the music is in, by the key that is heard clearly."""
        if not (self._listens and self._recipe.settled_key):
            return None
        fits = None if self._settled.seconds.sum() < SETTLED_NOTES_S else self._settled.fits()
        if fits is None or fits.max() < CLEARLY:
            return None
        return self._recipe.settled_key * in_key(int(fits.argmax()))

    def _heard_bias(self) -> FloatArray:
        """(12,) What each pitch class gains so that the key is heard, and major as much as valence asks for."""
        fits = None if self._home is None and self._pair is None else self._lasted.fits()
        if fits is None:
            return np.zeros(12)
        if self._home is not None:
            return towards(fits, self._home, gain=MODE_GAIN, most=MODE_MOST)
        assert self._pair is not None
        major, minor = self._pair
        lacking = self._recipe.mode_feedback * (self._major_by - (fits[major] - fits[minor]))
        return np.clip(MODE_GAIN * lacking * (PROFILES[major] - PROFILES[minor]), -MODE_MOST, MODE_MOST)

    def _last_key(self) -> Key | None:
        """The key that the piece ends in: the user's own; that of the bar, or its relative; or the one heard last."""
        fits, key = self._lasted.fits(), self._bar_key
        if self._recipe.mode == "off" or (key is None and fits is None):
            return None
        if key is None:
            assert fits is not None
            return Key.of_number(int(fits.argmax()))
        if self._is_given or fits is None or fits[key.relative.number] - fits[key.number] < RELATIVE_ENDS:
            return key
        return key.relative

    def _last_bias(self, key: Key, chord: Sequence[int]) -> FloatArray:
        """What notes of the last chord gain, `_SHAPE`: the tonic in the bass, its triad elsewhere."""
        triad = {(key.tonic + tone) % 12 for tone in Chord(0, key.is_minor).tones}
        lacking = triad - _classes(chord)
        gains = np.isin(PITCHES % 12, list(triad)) * self._recipe.final_tonic
        gains = gains + np.isin(PITCHES % 12, list(lacking)) * self._recipe.full_chords
        return np.where(_IS_BASS, self._recipe.final_tonic * (PITCHES % 12 == key.tonic), gains)

    def _unclear(self, sounding: Sequence[int], step: int) -> FloatArray | float:
        """What notes gain because the bar's chord has not had them for a while, `_SHAPE`."""
        if not self._tones or not self._clears:
            return 0.0
        self._sounded[list(_classes([on for on in sounding if v.FAMILY[on] != v.BASS]))] = step
        if any(v.FAMILY[on] == v.BASS for on in sounding):
            self._bass_sounded = step
        since_s = np.where(np.isin(np.arange(12), list(self._tones)), step - self._sounded, 0.0) * v.STEP_S
        gains = np.clip(self._clears * (since_s - UNCLEAR_S), 0.0, CLEAREST)
        no_bass_s = (step - self._bass_sounded) * v.STEP_S - NO_BASS_S
        low = min(max(self._clears / 2 * no_bass_s, 0.0), LOWEST)
        return np.where(_IS_BASS, low * (PITCHES % 12 == self._root), gains[PITCHES % 12])

    def _lacking(self, chord: Sequence[int]) -> set[int]:
        """The pitch classes that make a triad of a chord: what it lacks of the bar's, or a third within the key."""
        assert self.key is not None
        struck = _classes(chord)
        if self._tones:
            return set(self._tones - struck)
        scale = in_scale(self.key.number)
        return {tone for tone in _thirds(struck) if scale[tone]}

    def _third(self, chord: Sequence[int]) -> int | None:
        """Of the thirds that a chord may get, the one that was heard most; None where none was, or none is lacking."""
        if not (self._listens and self._recipe.heard_thirds):
            return None
        thirds = sorted(_thirds(_classes(chord)), key=lambda tone: (-self._heard[tone], tone))
        return thirds[0] if thirds and self._heard[thirds[0]] > 0 else None


def _classes(ons: Sequence[int]) -> set[int]:
    """The pitch classes of ONs, drums left out."""
    return {int(v.VALUE[on]) % 12 for on in ons if v.FAMILY[on] != v.DRUMS}


def _thirds(struck: set[int]) -> set[int]:
    """The pitch classes that a chord lacks for a third, preferably between a root and its fifth; none if it has one."""
    thirds = {(tone + step) % 12 for tone in struck for step in (-4, -3, 3, 4)}
    if thirds & struck:
        return set()
    return {(tone + step) % 12 for tone in struck for step in (3, 4) if (tone + 7) % 12 in struck} or thirds
