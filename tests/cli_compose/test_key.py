"""`emsync compose` and keys: chosen by valence, given, left to the model."""

from __future__ import annotations

from pathlib import Path

import pytest

from emsync import midi
from tests.cli_compose.runs import Run, refused


@pytest.mark.parametrize(
    ("options", "line", "keys"),
    [
        ("--valence -0.8 --key D", "Key: D minor.", [(2, True)]),
        ("--valence 0.8 --key Bb", "Key: Bb major.", [(10, False)]),
        ("--mode minor --key f#", "Key: F# minor.", [(6, True)]),
        ("--valence -0.8 --mode off", None, []),
        ("--arousal 0.8", None, []),
    ],
)
def test_the_key_is_told_and_written(run: Run, options: str, line: str | None, keys: list[tuple[int, bool]]) -> None:
    said = run("--duration", "5", "-o", "song.mid", *options.split())
    assert said.code == 0, said.err
    told = [text for text in said.out.splitlines() if text.startswith("Key")]
    assert told == ([] if line is None else [line])
    assert [(k.tonic, k.is_minor) for k in midi.read("song.mid").keys] == keys
    again = run("--from", "song.mid.json", "-o", "again.mid")
    assert again.code == 0, again.err
    assert Path("again.mid").read_bytes() == Path("song.mid").read_bytes()


def test_a_tonic_alone_is_kept(run: Run) -> None:
    assert run("--duration", "2", "-o", "song.mid", "--key", "D").code == 0
    assert [key.tonic for key in midi.read("song.mid").keys] == [2]


@pytest.mark.parametrize("key", ["H", "Am", ""])
def test_another_key_is_refused(run: Run, key: str) -> None:
    refused(run("--duration", "3", "-o", "song.mid", "--key", key), "is not a tonic; give a letter from A to G")
