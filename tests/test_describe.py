"""Music described in words, and what the composer makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.describe import (
    DENSITIES,
    LEFT_OUT_BIAS,
    LOUDNESSES,
    MOODS,
    OTHERS_BIAS,
    TEMPI,
    Description,
    chord_families,
    understood,
)
from emsync.errors import InputError
from emsync.mood_source import MoodSource
from emsync.recipe import Recipe
from emsync.repetition import family_biases, towards_families
from emsync.soundtrack import compose
from tests.fakes import Feeling


def test_words_of_each_kind() -> None:
    assert understood("slow, strings, uneasy") == Description(
        ("strings",), tempo_qpm=TEMPI["slow"], mood=MOODS["uneasy"]
    )
    assert understood("A very FAST piano, without drums") == Description(("piano",), ("drums",), TEMPI["fast"])
    assert understood("adagio cellos") == Description(("strings",), tempo_qpm=TEMPI["slow"])
    assert understood("solo guitar, sparse and soft") == Description(
        ("guitar",), density=DENSITIES["sparse"], loudness_db=LOUDNESSES["soft"], few=True
    )
    assert understood("calm but sad").mood == pytest.approx((-0.15, -0.55))
    assert understood("") == Description()


def test_unknown_words_are_reported() -> None:
    said = understood("slow xylophone strings, no kazoo")
    assert said.ignored == ("xylophone", "no kazoo")
    assert said.summary() == "Described: strings; tempo 54 to 76. Ignored, as no table has them: xylophone, no kazoo."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("xylophone of doom", "nothing in 'xylophone of doom' means anything to the composer"),
        ("x" * 10_000, "the description has 10000 characters, over 1000"),
        (7, "describe is 7; give words"),
    ],
)
def test_what_means_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(describe=text)


def test_a_described_tempo_is_drawn_with_the_seed() -> None:
    tempi = [Recipe(seed=seed, describe="slow").tempo(0.9) for seed in range(8)]
    assert all(tempo is not None and TEMPI["slow"][0] <= tempo <= TEMPI["slow"][1] for tempo in tempi)
    assert len(set(tempi)) == 8
    assert Recipe(describe="slow", tempo_qpm=120.0).tempo() == 120.0


def test_described_levels_are_controls_unless_they_are_given() -> None:
    curves = Recipe(describe="busy, loud").curves(10.0).by_name
    assert set(curves) == {"density", "intensity"}
    assert Recipe(describe="busy", density="9").curves(10.0).by_name["density"] != curves["density"]
    assert Recipe(describe="strings").curves(10.0).by_name == {}


def test_a_described_mood_is_a_source() -> None:
    source = MoodSource.described(Recipe(describe="uneasy"))
    assert source is not None
    assert source.mood is not None
    assert source.mood.curve.mean == pytest.approx(MOODS["uneasy"])
    assert MoodSource.described(Recipe(describe="strings")) is None
    assert MoodSource.default(Recipe(describe="uneasy"), False) == MoodSource()


def test_families_are_biased() -> None:
    biases = family_biases(Recipe(describe="mainly strings, no drums"))
    only = family_biases(Recipe(describe="strings"))
    assert biases is not None
    assert only is not None
    notes = v.KIND == v.K_ON
    assert (biases[~notes] == 0).all()
    assert (biases[notes & (v.FAMILY == v.STRINGS)] == 0).all()
    assert (biases[notes & (v.FAMILY == v.DRUMS)] == LEFT_OUT_BIAS).all()
    assert (biases[notes & (v.FAMILY == v.PIANO)] == OTHERS_BIAS).all()
    assert (only[notes & (v.FAMILY == v.STRINGS)] == 0).all()
    assert (only[notes & (v.FAMILY != v.STRINGS)] == LEFT_OUT_BIAS).all()
    assert Recipe(describe="mainly strings").described.summary() == "Described: mainly strings."
    assert family_biases(Recipe(describe="slow")) is None


@pytest.mark.parametrize(
    ("text", "playing"),
    [
        ("strings", {v.STRINGS}),
        ("piano and bass", {v.PIANO, v.BASS}),
        ("mainly strings, no drums", {v.PIANO, v.GUITAR, v.BASS, v.STRINGS}),
        ("no piano, no guitar", {v.DRUMS, v.BASS, v.STRINGS}),
    ],
)
def test_music_follows_the_words(text: str, playing: set[int]) -> None:
    """A decoder that likes all families alike: those that are named play, also the chords on cuts and the last one."""
    plain, told = (compose(Feeling(), 12.0, [4.0, 8.0], Recipe(describe=each, seed=3)) for each in ("", text))
    count = np.bincount(told.score.instrument, minlength=5)
    assert set(np.flatnonzero(count)) <= playing
    assert "mainly" in text or set(np.flatnonzero(count)) == playing
    assert len(told.score) > 0.4 * len(plain.score)  # one family has fewer notes that it may strike
    assert told.n_within_frame == plain.n_within_frame == 2
    if "mainly" in text:
        assert count[v.STRINGS] / count.sum() > 0.4


def test_families_that_play_no_chords_leave_those_on_cuts_to_the_piano() -> None:
    assert chord_families(understood("drums").family_biases) == v.CHORD_FAMILIES
    assert chord_families(understood("strings, drums").family_biases) == (v.STRINGS,)
    assert chord_families(understood("guitar").family_biases) == (v.GUITAR,)
    assert chord_families(understood("mainly strings").family_biases) == v.CHORD_FAMILIES


def test_notes_as_a_whole_stay_as_likely() -> None:
    logits = np.random.default_rng(0).normal(size=v.SIZE).astype(np.float32)
    biases = family_biases(Recipe(describe="mainly strings"))
    assert biases is not None
    allowed = np.ones(v.SIZE, dtype=bool)
    told = towards_families(logits, biases, allowed)
    notes = v.KIND == v.K_ON
    assert np.logaddexp.reduce(told[notes]) == pytest.approx(np.logaddexp.reduce(logits[notes]), abs=1e-4)
    np.testing.assert_array_equal(told[~notes], logits[~notes])
    without = family_biases(Recipe(describe="no drums"))
    assert without is not None
    only_drums = ~notes | (v.FAMILY == v.DRUMS)
    assert towards_families(logits, without, only_drums)[notes & only_drums].max() < logits.min() - 15
