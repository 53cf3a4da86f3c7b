"""The fuzzing harness finds what it should find."""

from __future__ import annotations

import random

import pytest

from emsync.errors import InputError
from tests.fuzz.harness import Failure, Target, fuzz, mutate, targets


def _seeds() -> list[bytes]:
    return [b"time_s,valence\n0,0.5\n1.5,0.25\n", b"\x00\x01\x02\x03" * 8]


def test_a_seed_makes_the_same_mutants_again() -> None:
    first, again, other = (
        [mutate(_seeds(), rng) for _ in range(50)] for rng in (random.Random(1), random.Random(1), random.Random(2))
    )
    assert first == again
    assert first != other
    assert len(set(first)) > 40


def test_refusals_are_counted() -> None:
    def run(data: bytes) -> int:
        if data not in _seeds():
            raise InputError("not a seed")
        return len(data)

    counts = fuzz(Target("strict", _seeds, run), inputs=50)
    assert counts.read >= 2
    assert counts.refused > 40


def test_a_crash_is_a_failure_and_shows_its_input() -> None:
    def run(data: bytes) -> None:
        if data not in _seeds():
            raise KeyError("value")

    with pytest.raises(Failure, match=r"^brittle: KeyError: 'value', for the bytes [0-9a-f]*$"):
        fuzz(Target("brittle", _seeds, run), inputs=50)


def test_a_seed_that_is_refused_is_an_error() -> None:
    def run(_: bytes) -> None:
        raise InputError("nothing is good enough")

    with pytest.raises(InputError, match="nothing is good enough"):
        fuzz(Target("picky", _seeds, run), inputs=1)


def test_targets_have_names_of_their_own() -> None:
    names = [target.name for target in targets()]
    assert "midi" in names
    assert len(set(names)) == len(names)
