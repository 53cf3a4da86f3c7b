"""Piano rolls and films along their time: what is drawn where, and that the picture is written whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import same_color, to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from emsync.errors import OutputError
from emsync.film import Stills
from emsync.mood import MoodCurve, emotion_point
from emsync.plot import COLOURS, draw_roll, film_strip, save_film, save_roll, save_rolls, stable_emotions
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.video import analyze
from tests.films import plain, write

PLAYERS = (Instrument("Drums", 0, True), Instrument("Piano", 0), Instrument("Bass", 33))


def score(*notes: tuple[int, int, int, float, float], duration_s: float = 4.0) -> Score:
    """(instrument, pitch, velocity, start_s, end_s)."""
    who, pitch, velocity, start, end = np.array(notes, dtype=float).reshape(-1, 5).T
    bars = Bars([0.0, 2.0], [4, 4], [4, 4])
    return Score(
        PLAYERS, who.astype(int), pitch.astype(int), velocity.astype(int), start, end, TempoMap.constant(120), bars,
        duration_s=duration_s,
    )  # fmt: skip


SONG = score((0, 36, 100, 1.0, 1.1), (1, 60, 127, 0.5, 1.5), (1, 64, 1, 0.5, 0.5001))


@pytest.fixture
def axes() -> Axes:
    return Figure().add_subplot()


def test_notes_are_lines_of_seconds_by_pitch(axes: Axes) -> None:
    draw_roll(axes, SONG)
    drums, piano = (c for c in axes.collections if isinstance(c, LineCollection))
    assert (drums.get_label(), piano.get_label()) == ("Drums", "Piano")
    for lines, colour in ((drums, COLOURS[0]), (piano, COLOURS[1])):
        assert same_color(lines.get_color()[0][:3], to_rgb(colour))
    (long, short) = piano.get_segments()
    assert long.tolist() == [[0.5, 60.0], [1.5, 60.0]]
    assert short[0].tolist() == [0.5, 64.0]
    assert short[1][0] == pytest.approx(0.53), "short notes can be seen"
    ((start, end),) = (segment.tolist() for segment in drums.get_segments())
    assert start == pytest.approx([1.0, 36 * 0.3 - 8])
    assert end[0] > 1.0
    loud, soft = piano.get_alpha()
    assert loud == pytest.approx(1.0)
    assert 0.3 < soft < 0.4


def test_bars_and_cuts_are_drawn_in(axes: Axes) -> None:
    draw_roll(axes, SONG, [1.25, 3.0], title="A title")
    dashed = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "--"]
    solid = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == "-"]
    assert dashed == [1.25, 3.0]
    assert solid == [0.0, 2.0]
    assert [line.get_label() for line in axes.lines].count("cut") == 1
    assert axes.get_title() == "A title"
    assert axes.get_xlim() == (0, 4.0)


def test_every_family_has_a_colour() -> None:
    assert len(set(COLOURS)) == len(COLOURS) == 7


@pytest.mark.parametrize("song", [SONG, score()], ids=["notes", "silence"])
def test_a_picture_is_written(tmp_path: Path, song: Score) -> None:
    path = tmp_path / "roll.png"
    save_roll(song, path, [1.0])
    height, width, _ = imread(path).shape
    assert (width, height) == (1170, 378)
    assert [p.name for p in tmp_path.iterdir()] == ["roll.png"]


def test_rolls_are_one_above_the_other(tmp_path: Path) -> None:
    path = tmp_path / "rolls.png"
    save_rolls([("one", SONG, [1.0]), ("two", SONG, ())], path)
    assert imread(path).shape[:2] == (756, 1170)


def test_an_existing_picture_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "roll.png"
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"roll.png exists already; give --overwrite"):
        save_roll(SONG, path, overwrite=False)
    assert path.read_text() == "mine"
    save_roll(SONG, path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="nowhere is not a folder; make it first"):
        save_roll(SONG, tmp_path / "nowhere" / "roll.png")


# --- films ------------------------------------------------------------------------------------------------------------


def moods(*names: str) -> MoodCurve:
    """An emotion a second; "" is not given."""
    points = [emotion_point(name) if name else (np.nan, np.nan) for name in names]
    return MoodCurve(np.arange(len(names)) + 0.5, *np.array(points).T)


@pytest.mark.parametrize(
    ("names", "duration_s", "expected"),
    [
        (["joy"] * 6 + ["sadness"] * 4, 10.0, [(0.0, 6.0, "joy"), (6.0, 10.0, "sadness")]),
        (["joy"] * 6 + ["anger"] * 2 + ["joy"] * 3, 10.6, [(0.0, 6.0, "joy"), (8.0, 10.6, "joy")][:1]),
        (["joy"] * 5 + [""] * 2 + ["fear"] * 4, 11.0, [(0.0, 5.0, "joy"), (7.0, 11.0, "fear")]),
        (["joy"] * 4 + ["sadness"] * 96, 100.0, [(4.0, 100.0, "sadness")]),  # 4 s are too short a share of 100
        (["surprise"], 0.8, [(0.0, 0.8, "surprise")]),
        (["", ""], 2.0, []),
    ],
    ids=["two", "flicker", "gap", "long", "short", "nothing"],
)
def test_emotions_are_named_where_they_are_stable(
    names: list[str], duration_s: float, expected: list[tuple[float, float, str]]
) -> None:
    assert stable_emotions(moods(*names), duration_s) == expected


def test_pictures_of_a_strip_are_in_the_middle_of_their_boxes() -> None:
    black = np.zeros((135, 240, 3), np.uint8)
    upright = np.zeros((135, 76, 3), np.uint8)
    strip = film_strip([black, upright, black[:101]])
    assert strip.shape == (135, 720, 3)
    dark = strip[67, :, 0] == 0
    assert dark[:240].all()
    assert np.flatnonzero(dark[240:480])[[0, -1]].tolist() == [82, 157]
    assert np.flatnonzero(strip[:, 600, 0] == 0)[[0, -1]].tolist() == [17, 117]


@pytest.mark.parametrize("with_mood", [True, False])
@pytest.mark.parametrize("n_frames", [60, 5])
def test_a_film_is_one_picture(tmp_path: Path, with_mood: bool, n_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    savefig = Figure.savefig

    def keep(figure: Figure, *arguments: object, **options: object) -> None:
        figures.append(figure)
        savefig(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", keep)
    stills = Stills()
    pictures = [plain(250, 200, 20)] * (n_frames // 2) + [plain(10, 20, 40)] * (n_frames - n_frames // 2)
    scene = analyze(write(tmp_path / "film.mkv", pictures), t_diff_s=0, stills=stills)
    curve = MoodCurve(np.array([0.1]), np.array([0.6]), np.array([np.nan])) if with_mood else None
    save_film(scene, curve, stills, tmp_path / "film.png", reader="builtin")
    height, width, _ = imread(tmp_path / "film.png").shape
    assert width == 1600
    assert (height > 600) == with_mood
    panels = figures[0].axes
    assert [axes.get_ylabel().partition("\n")[0] for axes in panels] == ["", "cuts", "motion", "loudness", "mood"][
        : len(panels)
    ]
    assert all(axes.get_xlim() == (0, scene.duration_s) for axes in panels)
    if n_frames == 60:
        assert [line.get_xdata()[0] for line in panels[1].lines] == [1.2]
        assert [line.get_xdata()[0] for line in panels[2].lines] == [1.2]  # the cut that is kept, through every panel
    assert [text.get_text() for text in panels[3].texts] == ["no sound"]
    if with_mood:
        valence, arousal = panels[4].lines[:2]
        assert (valence.get_label(), set(valence.get_ydata())) == ("valence", {0.6})
        assert np.isnan(arousal.get_ydata()).all()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["film.mkv", "film.png"]
