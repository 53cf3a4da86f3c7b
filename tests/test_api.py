"""`emsync.compose`, and the examples of the documentation, executed."""

from __future__ import annotations

import ctypes.util
import doctest
import importlib
import re
import types
import typing
from pathlib import Path

import numpy as np
import pytest

import emsync
from emsync import api, demo_film, midi
from emsync.cut_choice import CutChoice
from emsync.errors import InputError, ModelError
from emsync.mood import MoodCurve
from emsync.mood_source import MoodSource
from emsync.recipe import Recipe
from emsync.soundtrack import Session, Soundtrack
from tests.fakes import Fake, Feeling

ROOT = Path(__file__).parent.parent


def session(decoder: Fake | None = None) -> Session:
    return Session(Fake() if decoder is None else decoder, {})


def made(**arguments: typing.Any) -> Soundtrack:
    return emsync.compose(**{"duration_s": 8.0, "session": session(), **arguments})


# ---- one call --------------------------------------------------------------------------------------------------------


def test_the_keyword_arguments_are_the_recipes_fields() -> None:
    hints = typing.get_type_hints(Recipe)
    assert typing.get_type_hints(api.Choices) == hints
    assert api.Choices.__optional_keys__ == hints.keys()


def test_choices_and_cuts_are_taken() -> None:
    track = made(cuts=[4.0], tempo_qpm=100.0, seed=3, hits="exact")
    assert track.recipe == Recipe(seed=3, tempo_qpm=100.0, hits="exact")
    assert track.cuts_s.tolist() == [4.0]
    assert midi.to_bytes(track.score) != midi.to_bytes(made(cuts=[4.0], tempo_qpm=100.0, seed=4, hits="exact").score)


def test_cuts_say_which_must_and_which_may_have_a_chord(tmp_path: Path) -> None:
    track = made(cuts=[2.0, (3.0, "must"), [6.5, "may"], (7.2, "")], duration_s=9.0)
    assert track.weights == ("", "must", "may", "")
    assert track.boundaries_s.tolist() == [3.0, 7.2], "2.0 is too near to one that must, 6.5 to 7.2"
    plain = made(cuts=[2.0, 3.0, 6.5], duration_s=9.0)
    assert (plain.boundaries_s.tolist(), set(plain.weights)) == ([2.0, 6.5], {""})


@pytest.mark.slow
def test_cuts_are_added_and_dropped(tmp_path: Path) -> None:
    listed = tmp_path / "cuts.csv"
    listed.write_text("time_s,weight\n2.0,\n6.0,may\n")
    for cuts in (listed, str(listed), CutChoice(listed), [2.0, (6.0, "may")]):
        track = made(cuts=cuts, add_cuts=[4.5, "0:07.5"], drop_cuts=[2.2], duration_s=9.0)
        assert track.cuts_s.tolist() == [4.5, 6.0, 7.5]
        assert track.weights == ("must", "may", "must")
        assert track.boundaries_s.tolist() == [4.5, 7.5]
    assert made(add_cuts=(4.0,)).boundaries_s.tolist() == [4.0]
    with pytest.raises(InputError, match=r"no cut is within 0.25 s of '3.0'; the nearest is at 2 s"):
        made(cuts=[2.0], drop_cuts=[3.0])
    with pytest.raises(InputError, match=r'cut 2 has the weight \'maybe\'; give "must", "may", or the time alone'):
        made(cuts=[2.0, (4.0, "maybe")])
    with pytest.raises(InputError, match="cut 2: cut at 1 s comes after one at 2 s; sort the list"):
        made(cuts=[(2.0, "must"), 1.0])
    with pytest.raises(InputError, match="past the video's end"):
        made(cuts=[(20.0, "must")], add_cuts=[1.0])


@pytest.mark.parametrize("kind", ["curve", "source", "file"])
def test_a_mood_is_a_curve_a_source_or_a_file(kind: str, tmp_path: Path) -> None:
    curve = MoodCurve([0.0, 8.0], [-0.5, 0.5], [0.25, 0.75])
    file = tmp_path / "mood.csv"
    file.write_text("time_s,valence,arousal\n0,-0.5,0.25\n8,0.5,0.75\n")
    mood = {"curve": curve, "source": MoodSource.given(curve), "file": file}[kind]
    track = made(mood=mood, session=session(Feeling()))
    assert track.mood is not None
    assert track.mood.curve.arousal.tolist() == [0.25, 0.75]
    assert track.mood.source == ("mood.csv" if kind == "file" else "given")


def test_an_emotion_is_a_mood() -> None:
    track = made(emotion="joy", session=session(Feeling()))
    assert track.mood is not None
    assert track.mood.curve == MoodCurve.of_emotion("joy")
    with pytest.raises(InputError, match="mood and emotion each say what the mood is"):
        made(emotion="joy", mood=MoodCurve.constant(0.1))
    with pytest.raises(InputError, match="'glee'"):
        made(emotion="glee")


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(InputError, match="give either a video or duration_s"):
        emsync.compose()
    with pytest.raises(InputError, match="give either a video or duration_s"):
        emsync.compose("film.mp4", duration_s=3)
    with pytest.raises(TypeError, match="no choice 'sead'; the choices are seed, instruments"):
        made(sead=3)
    with pytest.raises(InputError, match="temperature is 11; give a number above 0 and at most 10"):
        made(temperature=11)
    with pytest.raises(ModelError, match="trained without mood"):
        made(mood=MoodCurve.constant(valence=1.0))


def test_tokens_are_the_notes() -> None:
    track = made(cuts=[4.0])
    events = track.tokens()
    again = emsync.tokenizer.events.decode(events.ids, events.velocities)
    assert len(again) == len(track.score) > 0
    assert np.abs(again.start_s - track.score.start_s).max() <= 0.004 + 1e-9
    assert events.ids.shape == events.velocities.shape


@pytest.mark.slow
def test_a_plot_and_a_piece(tmp_path: Path) -> None:
    track = made(cuts=[2.0, 5.0])
    piece = track.piece("my song")
    assert piece.title == "my song"
    assert [cut.time_s for cut in piece.cuts] == [2.0, 5.0]
    assert track.plot(tmp_path / "song.svg") == tmp_path / "song.svg"
    assert (tmp_path / "song.svg").read_text().startswith("<?xml")
    with pytest.raises(emsync.EmsyncError, match="exists already"):
        track.plot(tmp_path / "song.svg")


# ---- the examples ----------------------------------------------------------------------------------------------------


def with_examples() -> list[str]:
    """Modules whose docstrings have examples."""
    found = []
    for folder, package in (("emsync", "emsync"), ("tokenizer", "emsync.tokenizer"), ("training", "emsync.training")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if not any((ROOT / folder / part).is_symlink() for part in parts) and ">>> " in path.read_text("utf-8"):
                found.append(".".join((package, *parts)).removesuffix(".__init__"))
    return found


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    demo_film.make(path, duration_s=5.0)
    return path


@pytest.fixture
def beside_a_film(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "film.mp4").write_bytes(film.read_bytes())
    monkeypatch.chdir(tmp_path)


needs_everything = pytest.mark.skipif(
    ctypes.util.find_library("fluidsynth") is None, reason="the FluidSynth library is not installed"
)


@pytest.mark.slow
@needs_everything
@pytest.mark.usefixtures("beside_a_film")
@pytest.mark.parametrize("name", with_examples())
def test_the_examples_in_docstrings(name: str) -> None:
    for extra in ("soundfile", "pretty_midi", "mido", "symusic", "music21"):
        pytest.importorskip(extra)
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0
    assert failed == 0


@pytest.mark.slow
@needs_everything
@pytest.mark.usefixtures("beside_a_film")
@pytest.mark.parametrize(
    ("page", "made"),
    [
        ("README.md", {"film.mid", "film.mid.json", "film.wav", "scored.mp4"}),
        ("docs/tutorial.md", {"sad.mid", "sad.mid.json", "sad.png"}),
    ],
)
def test_the_examples_in_pages(page: str, made: set[str]) -> None:
    pytest.importorskip("soundfile")
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    module = types.ModuleType("example")
    for block in blocks:
        exec(compile(block, page, "exec"), module.__dict__)
    assert made <= {path.name for path in Path().iterdir()}
