"""Palettes: which programs a piece is given."""

from __future__ import annotations

import math

import pytest

from emsync import midi, palettes
from emsync.hits import sounding_chords
from emsync.mood import MoodCurve
from emsync.palettes import PALETTES, name_of, of_mood, programs_of
from emsync.piece import Piece
from emsync.recipe import Recipe
from emsync.score import Instrument
from emsync.soundtrack import compose
from emsync.tokenizer import families
from tests.fakes import Fake, Feeling

DRUMS, PIANO, GUITAR, BASS, STRINGS = range(5)


@pytest.mark.parametrize(
    ("valence", "arousal", "palette"),
    [
        (0.8, 0.5, "pop"),
        (-0.5, 0.6, "orchestral"),
        (-0.6, -0.3, "chamber"),
        (0.4, -0.4, "acoustic"),
        (0.1, -0.1, "standard"),
        (0.16, 0.0, "pop"),
        (-0.2, 0.0, "orchestral"),
        (math.nan, -0.4, "acoustic"),
        (-0.5, math.nan, "orchestral"),
        (math.nan, math.nan, "standard"),
    ],
)
def test_auto_goes_by_the_quarter_of_the_plane(valence: float, arousal: float, palette: str) -> None:
    assert of_mood(valence, arousal) == palette
    assert programs_of("auto", valence, arousal) == PALETTES[palette]


def test_a_name_programs_and_both() -> None:
    assert programs_of("Jazz", 0.8, 0.5) == PALETTES["jazz"]
    assert programs_of("strings=52, piano=4") == (0, 4, 25, 33, 52)
    assert programs_of("jazz,strings=52") == (*PALETTES["jazz"][:STRINGS], 52)
    assert programs_of("auto,drums=0", -0.6, -0.3) == (0, *PALETTES["chamber"][PIANO:])


def test_every_palette_has_its_name_and_speaks_at_once() -> None:
    assert [name_of(programs) for programs in PALETTES.values()] == list(PALETTES)
    assert name_of((1, 2, 3, 4, 5)) is None
    # Chords on cuts are played by these two: pads and bowed strings would come late.
    slow = {*range(40, 45), *range(48, 80), *range(88, 90), *range(91, 104)}
    assert not slow & {programs[family] for programs in PALETTES.values() for family in (PIANO, GUITAR)}


def test_a_piece_has_the_programs_of_its_mood_and_the_notes_that_it_had() -> None:
    sad = MoodCurve.of_emotion("sadness")

    def made(**choices: object) -> tuple[tuple[int, ...], list[list[int]]]:
        score = compose(Feeling(), 8.0, [4.0], Recipe(**choices), mood=sad).score  # type: ignore[arg-type]
        return tuple(each.program for each in score.instruments), [score.pitch.tolist(), score.velocity.tolist()]

    assert made()[0] == PALETTES["chamber"]
    assert made(palette="standard") == (PALETTES["standard"], made()[1])
    assert made(mood_strength=0.0)[0] == PALETTES["standard"], "the mood is not to be followed"
    assert made(mood_strength=0.0, palette="piano=5")[0] == (0, 5, 25, 33, 48)


def test_families_are_known_again_from_the_file_whatever_their_programs() -> None:
    track = compose(Fake(), 16.0, [4.0, 9.0], Recipe(palette="orchestral,bass=60,drums=3"))
    again = midi.from_bytes(midi.to_bytes(track.score))
    assert [each.program for each in again.instruments] == [3, 0, 46, 60, 48]
    reduced = families.reduce(again).score
    assert reduced.instruments == families.FAMILY_INSTRUMENTS
    assert (reduced.instrument == again.instrument).all()
    assert sounding_chords(reduced).tolist() == pytest.approx(sounding_chords(track.score).tolist(), abs=1e-3)
    assert [chord.time_s for chord in Piece.of(again).chords] == pytest.approx(sounding_chords(reduced).tolist())
    assert families.reduce(track.score).score == families.reduce(compose(Fake(), 16.0, [4.0, 9.0]).score).score


def test_other_names_and_kits_go_by_program() -> None:
    harp = Instrument("Guitar", 46)
    assert families.families_of([harp, Instrument("Bass", 43)]) == [GUITAR, BASS]
    assert families.families_of([harp, Instrument("Bass 2", 43)]) == [STRINGS, STRINGS]
    assert families.families_of([harp, harp]) == [STRINGS, STRINGS]
    assert families.families_of([Instrument("Drums", 0), harp]) == [PIANO, STRINGS]
    assert families.families_of([Instrument("Piano", 0, True)]) == [DRUMS]
    assert palettes.AUTO == Recipe().palette
