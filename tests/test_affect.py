"""What films feel like: the built-in reader's terms and levels, and how readers are found."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import affect_terms
from emsync.affect import BuiltinReader, builtin_mood, open_reader
from emsync.affect_terms import TERMS, terms
from emsync.errors import InputError, MissingExtraError, ModelError
from emsync.mood import MoodCurve
from emsync.mood_source import MoodSource
from emsync.video import Scene, analyze
from tests.films import plain, write

AVERAGE = {term.name: term.mean for term in TERMS}


def scene(duration_s: float = 40.0, **changes: Any) -> Scene:
    """A film of average light and colour, with curves that stay, unless `changes` say otherwise (numbers or arrays)."""
    n = max(1, math.ceil(duration_s * 4))
    levels = {
        "motion": math.exp(AVERAGE["motion"]) - affect_terms.STILL,
        "luma": AVERAGE["brightness"],
        "saturation": AVERAGE["saturation"],
        "contrast": AVERAGE["lighting_key"] / AVERAGE["brightness"],
        "warmth": 0.0,
    }
    curves = {name: np.broadcast_to(changes.pop(name, level), n) for name, level in levels.items()}
    shot_s = -affect_terms.PACE_S * math.log(AVERAGE["pace"])
    values: dict[str, Any] = {
        "path": "film.mp4",
        "duration_s": duration_s,
        "frame_rate": Fraction(25),
        "n_frames": max(1, round(duration_s * 25)),
        "width": 64,
        "height": 36,
        "times_s": np.arange(n) / 4,
        "cuts_s": np.arange(1, int(duration_s / shot_s)) * shot_s,
        "has_audio": True,
        "loudness_db": np.full(math.ceil(duration_s), AVERAGE["sound"]),
    }
    return Scene(**(values | curves | changes))


def mean(film: Scene) -> tuple[float, float]:
    return builtin_mood(film).mean


def test_a_reader_that_does_not_hear() -> None:
    film = scene(loudness_db=np.full(40, -8.0))
    reader = open_reader("builtin:pictures")
    deaf = reader.read(Path("film.mp4"), film)
    muted = builtin_mood(replace(film, has_audio=False, loudness_db=np.full(40, np.nan)))
    assert deaf.mean == muted.mean
    assert deaf.mean[1] < mean(film)[1], "loud sound excites whoever hears it"
    assert reader.name == "builtin:pictures"
    assert open_reader().name == "builtin"
    assert MoodSource(reader=reader).read(Path("a.mp4"), film, lambda _: None).how == (
        "read from the pictures (builtin:pictures)"
    )


# --- the terms --------------------------------------------------------------------------------------------------------


def test_the_terms_of_a_film() -> None:
    film = scene(
        8.0, motion=0.48, luma=0.5, saturation=0.4, contrast=0.2, warmth=-0.4, cuts_s=[7.0], loudness_db=[-30.0] * 8
    )
    found = {name: values.tolist() for name, values in terms(film).items()}
    assert list(found) == [term.name for term in TERMS]
    assert found["brightness"] == [0.5] * 32
    assert found["saturation"] == [0.4] * 32
    assert found["lighting_key"] == pytest.approx([0.1] * 32)
    assert found["colour_energy"] == pytest.approx([0.3] * 32)
    assert found["motion"] == pytest.approx([math.log(0.5)] * 32)
    # The last shot of a second may go on after the film's end.
    assert found["pace"] == pytest.approx([math.exp(-7 / 12)] * 28 + [math.exp(-5 / 12)] * 4)
    assert found["sound"] == [-30.0] * 32


def test_a_fade_in_begins_a_shot_and_a_cut_at_0_does_not() -> None:
    film = scene(30.0, cuts_s=[0.0, 10.0], fades_s=[12.0])
    lengths_s = np.array([10, 10, 2, 2, 18, 18])
    assert terms(film)["pace"][::4][[0, 9, 10, 11, 12, 29]] == pytest.approx(np.exp(-lengths_s / 12))


def test_silent_seconds_are_quiet_where_a_film_has_sound() -> None:
    film = scene(4.0, loudness_db=[-20.0, math.nan, -120.0, -20.0])
    assert terms(film)["sound"][::4].tolist() == [-20.0, -60.0, -60.0, -20.0]


@pytest.mark.parametrize("level", [math.nan, -120.0])
def test_a_film_without_sound_has_no_term_of_it(level: float) -> None:
    assert "sound" not in terms(scene(4.0, loudness_db=[level] * 4))


def test_older_scenes_have_no_key_and_no_energy() -> None:
    film = scene(20.0, contrast=0.1)
    older = replace(film, contrast=np.zeros(0), warmth=np.zeros(0))
    assert set(terms(film)) - set(terms(older)) == {"lighting_key", "colour_energy"}
    assert np.abs(builtin_mood(older).valence).max() < 0.05


def test_a_scene_without_curves() -> None:
    film = Scene("film.mp4", 2.0, Fraction(25), 50, 64, 36)
    with pytest.raises(InputError, match=r"film\.mp4 has no curves to read a mood from; analyze the video again"):
        builtin_mood(film)


# --- the levels -------------------------------------------------------------------------------------------------------


def test_an_average_film_is_neutral() -> None:
    curve = builtin_mood(scene())
    assert np.abs(curve.valence).max() < 0.01
    assert np.abs(curve.arousal).max() < 0.1  # the last shot is a little longer than the others
    muted = builtin_mood(scene(loudness_db=[math.nan] * 40))
    assert np.abs(muted.arousal).max() < 0.1


@pytest.mark.parametrize(
    ("changes", "axis", "direction"),
    [
        ({"luma": 0.7}, 0, 1),
        ({"luma": 0.1}, 0, -1),
        ({"saturation": 0.4}, 0, 1),
        ({"contrast": 0.3}, 0, 1),
        ({"warmth": 0.2}, 0, 1),
        ({"luma": 0.7}, 1, -1),
        ({"saturation": 0.4}, 1, 1),
        ({"motion": 0.6}, 1, 1),
        ({"motion": 0.0}, 1, -1),
        ({"cuts_s": np.arange(1, 40)}, 1, 1),
        ({"cuts_s": []}, 1, -1),
        ({"loudness_db": [-12.0] * 40}, 1, 1),
        ({"loudness_db": [-50.0] * 40}, 1, -1),
    ],
)
def test_where_each_term_pulls(changes: dict[str, Any], axis: int, direction: int) -> None:
    assert direction * (mean(scene(**changes))[axis] - mean(scene())[axis]) > 0.05


def test_levels_are_shares_of_films_below() -> None:
    # One deviation of loudness in arousal, and what the others weigh.
    weights = np.array([term.arousal for term in TERMS])
    variance = 0.7 * (weights**2).sum() + 0.3 * weights.sum() ** 2
    base, louder = (mean(scene(loudness_db=[level] * 40))[1] for level in (AVERAGE["sound"], AVERAGE["sound"] + 10))
    z = [math.sqrt(2) * _inverse_erf(level) for level in (base, louder)]
    assert z[1] - z[0] == pytest.approx(1 / math.sqrt(variance), abs=0.02)


def _inverse_erf(value: float) -> float:
    grid = np.linspace(-3, 3, 60_001)
    return float(np.interp(value, [math.erf(x) for x in grid.tolist()], grid))


@pytest.mark.parametrize("duration_s", [0.04, 0.4, 1.0, 1.2, 12.0, 12.6, 3700.3])
def test_a_point_a_second_however_long_the_film(duration_s: float) -> None:
    curve = builtin_mood(scene(duration_s, loudness_db=np.full(math.ceil(duration_s), -20.0)))
    assert len(curve) == math.ceil(duration_s)
    assert curve.times_s[:-1] == pytest.approx(np.arange(len(curve) - 1) + 0.5)
    assert curve.times_s[-1] <= duration_s
    assert np.abs(np.concatenate([curve.valence, curve.arousal])).max() < 1


def test_a_step_becomes_a_smooth_turn_that_reaches_both_levels() -> None:
    step = np.repeat([0.1, 0.7], 80)
    curve = builtin_mood(scene(luma=step))
    low, high = (mean(scene(luma=level))[0] for level in (0.1, 0.7))
    assert curve.valence[0] == pytest.approx(low, abs=0.02)
    assert curve.valence[-1] == pytest.approx(high, abs=0.02)
    assert (np.diff(curve.valence) > -1e-6).all()
    assert np.diff(curve.valence).max() < 0.4
    assert curve.valence[13] == pytest.approx(low, abs=0.02)  # beyond half a window, the step is not felt


def test_the_same_film_muted_feels_as_pleasant() -> None:
    rng = np.random.default_rng(4)
    film = scene(luma=rng.uniform(0, 1, 160), motion=rng.uniform(0, 1, 160))
    muted = replace(film, has_audio=False, loudness_db=np.full(40, math.nan))
    assert builtin_mood(muted).valence.tolist() == builtin_mood(film).valence.tolist()
    assert mean(muted)[1] != mean(film)[1]


@pytest.mark.parametrize("sound", [None, 0.0, 0.3])
def test_black_is_not_joy(tmp_path: Path, sound: float | None) -> None:
    tone = None if sound is None else (sound * np.sin(np.arange(8000 * 8) * 0.3)).astype(np.float32)[None, :]
    valence, arousal = mean(analyze(write(tmp_path / "film.mkv", [plain(0, 0, 0)] * 200, sound=tone)))
    assert -0.9 < valence < 0
    assert arousal < (-0.6 if sound != 0.3 else 0)


@pytest.mark.parametrize("colour", [(255, 255, 255), (255, 0, 0), (0, 0, 255), (128, 128, 128), (255, 255, 0)])
def test_a_film_of_one_colour_is_calm_and_moderate(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    curve = builtin_mood(analyze(write(tmp_path / "film.mkv", [plain(*colour)] * 100)))
    assert len(curve) == 4
    assert np.abs(curve.valence).max() < 0.6
    assert -1 < curve.arousal.min()
    assert curve.arousal.max() < 0


# --- which reader -----------------------------------------------------------------------------------------------------


def test_the_default_reader_is_built_in(tmp_path: Path) -> None:
    film = scene(3.0)
    reader = open_reader()
    assert reader == BuiltinReader()
    assert reader.name == "builtin"
    assert reader.read(tmp_path / "is not opened", film) == builtin_mood(film)


@pytest.mark.parametrize("name", ["mood.csv", "a:b.JSON"])
def test_a_file_is_a_reader(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "time_s,valence\n0,-0.5\n2,0.5\n"
    if name.endswith("JSON"):
        text = '{"mood": {"times_s": [0, 2], "valence": [-0.5, 0.5]}, "times_s": [0]}'
    Path(name).write_text(text)
    reader = open_reader(name)
    assert reader.name == name
    curve = reader.read(Path("film.mp4"), scene(3.4))
    assert curve.times_s == pytest.approx([0.5, 1.5, 2.5, 3.2])
    assert curve.valence.tolist() == [-0.25, 0.25, 0.5, 0.5]
    assert np.isnan(curve.arousal).all()


def test_a_curve_longer_than_the_film(tmp_path: Path) -> None:
    path = tmp_path / "mood.csv"
    path.write_text("time_s,valence,arousal\n0,0.1,0.2\n9,0.1,0.2\n")
    with pytest.raises(InputError, match=r"reaches 9 s, past the video's end \(4 s\); cut it, or give its times"):
        open_reader(str(path)).read(Path("film.mp4"), scene(4.0))


def test_a_curve_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read .*; check the name"):
        open_reader(str(tmp_path / "none.csv"))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mind", "there is no affect reader 'mind'; give builtin, clip, clip:MODEL, vlm:HEAD_FOLDER, emotions:FOLDER,"),
        ("", "there is no affect reader ''"),
        ("Mind:x", "there is no affect reader 'Mind'"),
        ("builtin:x", "the affect reader 'builtin' takes only pictures or emotions after the colon, not 'x'"),
        ("clip:", "the affect reader 'clip:' ends in a colon; give something after it, or leave it out"),
    ],
)
def test_a_reader_that_is_not_there(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_reader(spec)


@pytest.mark.parametrize(
    ("spec", "missing", "reason"),
    [("clip", {"transformers"}, "transformers"), ("vlm:head", {"torch", "transformers"}, "torch and transformers")],
)
def test_a_reader_whose_extra_is_missing(
    spec: str, missing: set[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    with pytest.raises(MissingExtraError, match=rf'{reason}; run: pip install "emsync\[vision\]"'):
        open_reader(spec)


@dataclass(frozen=True)
class Weather:
    """Somebody else's reader."""

    name: str

    def read(self, video: Path, scene: Scene, *, progress: object = None) -> MoodCurve:
        return MoodCurve.constant(0.25, -0.25)


def weather(argument: str | None) -> Weather:
    if argument == "hail":
        raise ModelError("hail cannot be read; wait")
    if argument == "fog":
        raise OSError("no\nsight")
    return Weather(f"weather of {argument}")


def nothing(argument: str | None) -> object:
    return object()


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that other packages offer."""
    points = [
        metadata.EntryPoint(name, value, "emsync.affect")
        for name, value in (
            ("weather", f"{__name__}:weather"),
            ("nothing", f"{__name__}:nothing"),
            ("gone", "emsync.there_is_no_such_module:reader"),
        )
    ]

    def entry_points(*, group: str) -> list[metadata.EntryPoint]:
        assert group == "emsync.affect"
        return points

    monkeypatch.setattr(metadata, "entry_points", entry_points)


@pytest.mark.usefixtures("offered")
def test_another_packages_reader() -> None:
    reader = open_reader("weather:rain.or:shine")
    assert reader.name == "weather of rain.or:shine"
    assert reader.read(Path("film.mp4"), scene(2.0)).mean == (0.25, -0.25)
    assert open_reader("weather").name == "weather of None"


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("weather:hail", ModelError, "^hail cannot be read; wait$"),
        (
            "weather:fog",
            InputError,
            r"'weather' \(.*:weather\) cannot be opened \(no sight\); update or remove its package",
        ),
        ("nothing", InputError, r"'nothing' \(.*:nothing\) has no name or no read"),
        ("gone", InputError, r"'gone' \(emsync\.there_is_no_such_module:reader\) cannot be opened \(No module named"),
        ("mind", InputError, "film:FOLDER, gone, nothing, weather, or a curve's"),
    ],
)
def test_another_packages_reader_that_fails(spec: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        open_reader(spec)


def test_the_reader_in_the_documentation() -> None:
    page = (Path(__file__).parents[1] / "docs" / "affect.md").read_text(encoding="utf-8")
    space: dict[str, Any] = {}
    exec(page.partition("```python\n")[2].partition("```")[0], space)
    reader = space["open_weather"](None)
    curve = reader.read(Path("film.mp4"), scene(3.0, luma=0.75))
    assert (reader.name, curve.times_s.tolist()) == ("weather", [0.5, 1.5, 2.5])
    assert curve.valence == pytest.approx([0.5] * 3)


def test_the_documentation_gives_the_constants_that_are_used() -> None:
    page = (Path(__file__).parents[1] / "docs" / "affect.md").read_text(encoding="utf-8")
    for term in TERMS:
        assert any(
            line.startswith(f"| {term.name} |") and line.endswith(f"| {term.mean:g} ± {term.deviation:g} |")
            for line in page.splitlines()
        ), term.name
