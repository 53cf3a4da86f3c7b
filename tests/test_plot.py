"""Piano rolls: what is drawn where, and that the picture is written whole."""

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
from emsync.plot import COLOURS, draw_roll, save_roll, save_rolls
from emsync.score import Bars, Instrument, Score, TempoMap

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
    assert len(set(COLOURS)) == 5


@pytest.mark.parametrize("song", [SONG, score()], ids=["notes", "silence"])
def test_a_picture_is_written(tmp_path: Path, song: Score) -> None:
    path = tmp_path / "roll.png"
    save_roll(song, path, [1.0])
    height, width, _ = imread(path).shape
    assert (width, height) == (1170, 378)
    assert [p.name for p in tmp_path.iterdir()] == ["roll.png"]


def test_rolls_stand_one_above_the_other(tmp_path: Path) -> None:
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
