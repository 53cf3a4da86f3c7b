"""The global anchor: by rules, from a file, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emsync.anchor import LONGEST, Anchor
from emsync.describe import understood
from emsync.errors import InputError, OutputError
from emsync.mood import MoodCurve
from tests.songs import score, with_a_chord


def test_the_rules() -> None:
    anchor = Anchor.of_score(with_a_chord())
    assert anchor == Anchor(
        "cinematic pop, in A minor", "strings, piano, bass and drums", "", "lively, 120 bpm, sparse"
    )
    bare = Anchor.of_score(score([(3, 60 + p, 0.0, 8.0) for p in (0, 4, 7)], duration_s=8.0))
    assert (bare.genre, bare.instruments) == ("cinematic orchestral music, in C major", "strings")


def test_the_mood_gives_the_atmosphere_and_where_it_moves() -> None:
    song = with_a_chord()
    rising = MoodCurve([0.0, 5.0], [-0.4, -0.4], [0.0, 0.8])
    assert Anchor.of_score(song, rising).atmosphere == "uneasy, growing more intense"
    assert Anchor.of_score(song, MoodCurve.constant(0.4, -0.7)).atmosphere == "calm"
    falling = MoodCurve([0.0, 5.0], [0.8, -0.2], [-0.5, -0.5])
    assert Anchor.of_score(song, falling).atmosphere.endswith(", darkening")


def test_an_anchor_means_something_to_the_composer() -> None:
    anchor = Anchor.of_score(with_a_chord(), MoodCurve.constant(0.4, -0.7))
    said = understood(anchor.text)
    assert said.families == ("strings", "piano", "bass", "drums")
    assert said.mood == (0.4, -0.7)
    assert said.tempo_qpm == (110.0, 136.0)


def test_a_file_and_back(tmp_path: Path) -> None:
    anchor = Anchor(genre="jazz", pacing="slow")
    assert Anchor.read(anchor.write(tmp_path / "a.json")) == anchor
    assert anchor.text == "jazz, slow"
    with pytest.raises(OutputError, match="exists already"):
        anchor.write(tmp_path / "a.json")
    (tmp_path / "record.json").write_text(json.dumps({"format": 1, "anchor": {"genre": "jazz", "pacing": "slow"}}))
    assert Anchor.read(tmp_path / "record.json") == anchor


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"genre": "jazz", "tempo": "slow"}, "has the field 'tempo', which an anchor has not; it may have genre,"),
        ({"genre": 3}, "the anchor's genre is 3; give a line"),
        ({"genre": "x" * (LONGEST + 1)}, "the anchor's genre is 241 characters"),
        ({}, "the anchor is empty"),
        ({"genre": " "}, "the anchor is empty"),
        ([], "is not an anchor"),
    ],
)
def test_what_is_no_anchor_is_refused(tmp_path: Path, data: object, message: str) -> None:
    (tmp_path / "a.json").write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        Anchor.read(tmp_path / "a.json")
