"""Keys: names, and music in the other mode."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.control_curves import PITCH_NAMES
from emsync.errors import InputError
from emsync.keys import Key, check_tonic, tonic_of

MAJOR_SCALE, MINOR_SCALE = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def test_names_are_read_as_they_are_written() -> None:
    assert str(Key(10, is_minor=True)) == "Bb minor"
    assert [tonic_of(name) for name in PITCH_NAMES] == list(range(12))
    assert [tonic_of(name) for name in ("cb", "Db", "E#", "b", "bb", "G♯", " A♭ ")] == [11, 1, 5, 11, 10, 8, 8]


@pytest.mark.parametrize("text", ["", "H", "C##", "Am", "C minor", "7", "c-sharp"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(
        InputError, match=r"is not a tonic; give a letter from A to G, and # or b if need be, .* or auto"
    ):
        check_tonic(text)


@given(st.integers(0, 11))
def test_a_scale_becomes_that_of_the_other_mode(tonic: int) -> None:
    major, minor = Key(tonic, is_minor=False), Key(tonic, is_minor=True)
    pitches = np.arange(21, 109)
    darker = major.in_mode(pitches, minor=True)
    assert (np.abs(darker - pitches) <= 1).all()
    for degree, other in zip(MAJOR_SCALE, MINOR_SCALE, strict=True):
        here = (pitches - tonic) % 12 == degree
        assert ((darker[here] - tonic) % 12 == other).all()
        assert (minor.in_mode(darker[here], minor=False) == pitches[here]).all()
