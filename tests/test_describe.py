"""Music described in words, and what the composer makes of it."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.describe import DENSITIES, LEFT_OUT_BIAS, LOUDNESSES, MOODS, OTHERS_BIAS, TEMPI, Description, understood
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
    biases = family_biases(Recipe(describe="strings, no drums"))
    assert biases is not None
    notes = v.KIND == v.K_ON
    assert (biases[~notes] == 0).all()
    assert (biases[notes & (v.FAMILY == v.STRINGS)] == 0).all()
    assert (biases[notes & (v.FAMILY == v.DRUMS)] == LEFT_OUT_BIAS).all()
    assert (biases[notes & (v.FAMILY == v.PIANO)] == OTHERS_BIAS).all()
    assert family_biases(Recipe(describe="slow")) is None


def test_music_follows_the_words() -> None:
    """A decoder that likes all families alike: named ones play most of the notes, and those left out none."""

    def counts(text: str) -> np.ndarray:
        score = compose(Feeling(), 12.0, [], Recipe(describe=text, seed=3)).score
        return np.bincount(score.instrument, minlength=5)

    plain, told = counts(""), counts("strings, no drums")
    assert plain[v.DRUMS] > 0.05 * plain.sum()
    assert told[v.DRUMS] == 0
    assert told[v.STRINGS] / told.sum() > plain[v.STRINGS] / plain.sum() + 0.2
    assert told.sum() > 0.4 * plain.sum()  # one family has fewer notes that it may strike


def test_notes_as_a_whole_stay_as_likely() -> None:
    logits = np.random.default_rng(0).normal(size=v.SIZE).astype(np.float32)
    biases = family_biases(Recipe(describe="strings"))
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
