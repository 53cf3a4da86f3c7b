"""The one table: models and corpora are made with it, so it may not move."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emsync import vocabulary as v

REPOSITORY = Path(__file__).resolve().parents[1]


def test_it_is_the_vocabulary_that_models_were_trained_on() -> None:
    # Another hash makes every model and every tokenized corpus useless; that must never happen by accident.
    assert (v.SIZE, v.HASH) == (912, "f5655a4aa2f8b406")


def test_ids_are_places_in_the_table() -> None:
    assert [event.id for event in v.EVENTS] == list(range(v.SIZE))
    assert v.NAMES == tuple(event.name for event in v.EVENTS)
    assert len(v.ID_OF) == v.SIZE, "a name stands twice"
    assert all(v.ID_OF[name] == i for i, name in enumerate(v.NAMES))


def test_arrays_say_what_the_table_says() -> None:
    assert v.KIND.tolist() == [event.kind for event in v.EVENTS]
    assert v.FAMILY.tolist() == [event.family for event in v.EVENTS]
    assert v.VALUE.tolist() == [event.value for event in v.EVENTS]


@pytest.mark.parametrize("name", ["KIND", "FAMILY", "VALUE", "SHIFT_STEPS", "ON_BASE", "OFF_BASE", "PARTNER"])
def test_arrays_cannot_be_changed(name: str) -> None:
    with pytest.raises(ValueError, match="read-only"):
        getattr(v, name)[0] = 1


@pytest.mark.parametrize("kind", range(len(v.KINDS)))
def test_a_kind_is_a_range_of_ids(kind: int) -> None:
    ids = v.ids_of_kind(kind)
    assert (v.KIND[ids] == kind).all()
    assert ids.stop - ids.start == (v.KIND == kind).sum() > 0


def test_names_give_the_meaning() -> None:
    assert v.NAMES[v.BAR_BASE + 7] == "BAR_3.5"
    assert v.NAMES[v.BAR_BASE + 16] == "BAR_8"
    assert v.NAMES[v.SHIFT_BASE + 1] == "TIMESHIFT_8"
    assert v.NAMES[v.SHIFT_BASE + v.MAX_SHIFT_STEPS] == "TIMESHIFT_1000"
    assert v.NAMES[v.ON_BASE[v.DRUMS] + 36] == "ON_DRUMS_36"
    assert v.NAMES[v.OFF_BASE[v.STRINGS] + 108] == "OFF_STRINGS_108"
    assert [v.NAMES[i] for i in (v.PAD, v.START, v.END, v.CHORD, v.FEWER, v.MORE)] == [
        "PAD",
        "START",
        "END",
        "CHORD",
        "FEWER_INSTRUMENTS",
        "MORE_INSTRUMENTS",
    ]


def test_only_timeshifts_move_the_clock() -> None:
    moving = np.flatnonzero(v.SHIFT_STEPS)
    assert (v.KIND[moving] == v.K_TIMESHIFT).all()
    assert v.SHIFT_STEPS[moving].tolist() == list(range(1, v.MAX_SHIFT_STEPS + 1))


def test_on_and_off_are_partners() -> None:
    for event in v.EVENTS:
        partner = int(v.PARTNER[event.id])
        if event.kind not in (v.K_ON, v.K_OFF) or event.family == v.DRUMS:
            assert partner == -1, event
        else:
            other = v.EVENTS[partner]
            assert v.PARTNER[partner] == event.id
            assert (other.family, other.value) == (event.family, event.value)
            assert {other.kind, event.kind} == {v.K_ON, v.K_OFF}


def test_drums_have_no_off_and_every_pitch_of_the_others_has() -> None:
    for family, (low, high) in enumerate(v.PITCH_RANGE):
        for kind in (v.K_ON, v.K_OFF):
            pitches = v.VALUE[(v.KIND == kind) & (v.FAMILY == family)].tolist()
            assert pitches == ([] if kind == v.K_OFF and family == v.DRUMS else list(range(low, high + 1)))


def test_velocities_stay_in_their_level() -> None:
    velocity = np.arange(1, 128)
    level = v.velocity_level(velocity)
    assert set(level.tolist()) == set(range(v.VELOCITY_LEVELS))
    back = v.velocity_value(level)
    assert np.abs(back.astype(int) - velocity).max() <= 4
    assert v.velocity_level(back).tolist() == level.tolist()
    assert v.velocity_value(np.arange(16)).tolist() == list(range(4, 128, 8))


def test_the_documentation_has_this_table() -> None:
    text = (REPOSITORY / "docs" / "events.md").read_text(encoding="utf-8")
    assert v.markdown() in text, "docs/events.md: paste what `python -m emsync.vocabulary` prints"
    assert v.HASH in text


def test_importing_the_package_costs_nothing() -> None:
    program = "import sys, emsync.tokenizer; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert not {"numpy", "miditok", "torch", "symusic"} & set(done.stdout.split())


def test_the_package_gives_its_public_names() -> None:
    import emsync.tokenizer as package

    for name in package.__all__:
        if not name.startswith("EventT") and name != "EventSequence":  # these need miditok: test_midi_tokenizer.py
            assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
