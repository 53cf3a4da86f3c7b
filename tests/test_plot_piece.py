"""A piece as a picture: what is measured, what is drawn where, and which bytes are written."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from emsync import midi
from emsync.cli.main import main
from emsync.errors import OutputError
from emsync.mood import MoodCurve
from emsync.piece import Piece, chord_name, clock
from emsync.plot import COLOURS, instrument_colours
from emsync.plot_piece import MOST_PANELS, _figure, save_piece, summary
from emsync.score import Bars, Instrument, Marker, Score, TempoMap

PLAYERS = (Instrument("Drums", 0, True), Instrument("Piano", 0), Instrument("Bass", 33))
MARKERS = (
    Marker(0.0, "Verse"), Marker(2.0, "Cut 1 00:00:02:00"), Marker(4.0, "Chorus"), Marker(6.2, "cut 2"),
    Marker(7.0, "Cut 3"), Marker(11.0, "Cut 4"),
)  # fmt: skip


def song(markers: tuple[Marker, ...] = MARKERS, players: tuple[Instrument, ...] = PLAYERS) -> Score:
    """Two chords of piano, at 2 s and 6 s, over a bass, with a drum every half second; 12 s at 120."""
    notes = [(1, pitch, 90, start, start + 1.5) for start in (2.0, 6.0) for pitch in (60, 64, 67)]
    notes += [(2, 45, 80, 6.0, 8.0)] + [(0, 36 + 2 * (i % 2), 100, i / 2, i / 2 + 0.1) for i in range(24)]
    who, pitch, velocity, start, end = np.array(notes).T
    bars = Bars(np.arange(6) * 2.0, [4] * 6, [4] * 6)
    return Score(
        players, who.astype(int), pitch.astype(int), velocity.astype(int), start, end, TempoMap.constant(120), bars,
        markers=markers, duration_s=12.0,
    )  # fmt: skip


def mood() -> MoodCurve:
    return MoodCurve(np.array([1.0, 6.0, 11.0]), np.array([-0.5, 0.0, 0.8]), np.array([0.1, np.nan, 0.5]))


def panels(piece: Piece) -> dict[str, Any]:
    return {axes.get_ylabel().partition("\n")[0]: axes for axes in _figure(piece).axes}


# --- what is measured -------------------------------------------------------------------------------------------------


def test_markers_are_cuts_and_sections() -> None:
    piece = Piece.of(song(), t_diff_s=1.0)
    assert [(cut.time_s, cut.state) for cut in piece.cuts] == [
        (2.0, "frame"), (6.2, "second"), (7.0, "marked"), (11.0, "missed"),
    ]  # fmt: skip
    assert [(s.start_s, s.end_s, s.name) for s in piece.sections] == [(0.0, 4.0, "Verse"), (4.0, 12.0, "Chorus")]
    assert piece.n_within_frame == 1
    assert len(piece.asked) == 3
    assert piece.mean_qpm == pytest.approx(120)
    assert piece.playing() == [0, 1, 2]
    assert summary(piece) == "1 of 3 cuts met within a frame; missed: 0:11.00."


def test_given_cuts_replace_the_markers() -> None:
    piece = Piece.of(song(), cuts_s=[6.0], duration_s=14.0)
    assert [(cut.time_s, cut.state) for cut in piece.cuts] == [(6.0, "frame")]
    assert piece.duration_s == 14.0


def test_chords_have_names_and_the_bass_counts() -> None:
    assert [(chord.time_s, chord.name) for chord in Piece.of(song()).chords] == [(2.0, "C"), (6.0, "Am7")]


def test_a_chord_that_others_complete_is_named_with_them() -> None:
    """Piano strikes Eb and G, and the strings Bb with them."""
    notes = [(0, pitch, 90, 1.0, 3.0) for pitch in (51, 55, 63)] + [(1, 70, 80, 1.0, 2.0)]
    who, pitch, velocity, start, end = np.array(notes).T
    players = (Instrument("Piano", 0), Instrument("Strings", 48))
    for n, name in ((4, "Eb"), (3, "")):
        score = Score(
            players, who[:n].astype(int), pitch[:n].astype(int), velocity[:n].astype(int), start[:n], end[:n],
            TempoMap.constant(120), Bars([0.0, 2.0], [4, 4], [4, 4]), duration_s=4.0,
        )  # fmt: skip
        assert [chord.name for chord in Piece.of(score).chords] == [name]


@pytest.mark.parametrize(
    ("pitches", "bass", "name"),
    [
        ([60, 64, 67], None, "C"), ([64, 67, 72], None, "C/E"), ([57, 60, 64], 57, "Am"),
        ([55, 59, 62, 65], None, "G7"),
        ([64, 67, 71, 74], 36, "Cmaj9"), ([60, 63, 66, 69], None, "Cdim7"), ([62, 67, 69], None, "Dsus4"),
        ([60, 67, 72], None, "C5"), ([60, 61, 62], None, ""), ([60, 64, 67], 38, "Cadd9/D"),
    ],
)  # fmt: skip
def test_chord_names(pitches: list[int], bass: int | None, name: str) -> None:
    assert chord_name(pitches, bass) == name


@pytest.mark.parametrize(
    ("time_s", "text"), [(0.0, "0:00.00"), (59.996, "1:00.00"), (64.25, "1:04.25"), (3600.0, "60:00.00")]
)
def test_times_are_written_as_minutes(time_s: float, text: str) -> None:
    assert clock(time_s) == text


# --- what is drawn ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_panel_shares_the_time_axis() -> None:
    drawn = panels(Piece.of(song(), mood=mood(), mood_source="builtin"))
    assert [*drawn] == ["form", "cuts", "chords", "Piano", "Bass", "Drums", "tempo", "mood"]
    assert {axes.get_xlim() for axes in drawn.values()} == {(0.0, 12.0)}
    assert [text.get_text() for text in drawn["form"].texts] == ["Verse", "Chorus"]
    assert [text.get_text() for text in drawn["chords"].texts] == ["C", "Am7"]
    for axes in drawn.values():
        dashed = [line.get_xdata()[0] for line in axes.lines if line.is_dashed()]
        assert dashed == [2.0, 6.2, 7.0, 11.0]
    piano = next(c for c in drawn["Piano"].collections if len(c.get_segments()) == 6)
    assert piano.get_segments()[0].tolist() == [[2.0, 60.0], [3.5, 60.0]]
    assert [*panels(Piece.of(song(markers=())))] == ["cuts", "chords", "Piano", "Bass", "Drums", "tempo"]


def test_cuts_differ_in_colour_and_in_shape() -> None:
    marks = [line for line in panels(Piece.of(song(), t_diff_s=1.0))["cuts"].lines if line.get_linestyle() == "None"]
    assert [line.get_xdata()[0] for line in marks] == [2.0, 6.2, 11.0, 7.0]
    assert len({line.get_marker() for line in marks}) == len({line.get_color() for line in marks}) == 4


@pytest.mark.parametrize("source", ["builtin", "from happy.csv", "from a_very_long_file_name_without_a_space.csv", ""])
def test_the_source_of_the_mood_is_within_the_picture(source: str) -> None:
    axes = panels(Piece.of(song(), mood=mood(), mood_source=source))["mood"]
    label = axes.yaxis.label
    assert "".join(label.get_text().split()) == "mood" + (f"({source[-40:]})".replace(" ", "") if source else "")
    assert label.get_window_extent().x0 >= 0


def test_drums_are_grey_and_the_others_differ() -> None:
    assert instrument_colours(song()) == [COLOURS[0], COLOURS[1], COLOURS[2]]


def test_very_many_instruments_share_the_last_panel() -> None:
    many = tuple(Instrument(f"Player {i}", 0) for i in range(40))
    score = Score(
        many, np.arange(40), np.full(40, 60), np.full(40, 90), np.zeros(40), np.ones(40), TempoMap.constant(120),
        Bars([0.0], [4], [4]),
    )  # fmt: skip
    drawn = panels(Piece.of(score))
    assert len(drawn) == 3 + MOST_PANELS
    assert sum(len(c.get_segments()) for c in drawn["17 others"].collections) == 17


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".png", ".svg", ".PNG"])
def test_the_same_piece_gives_the_same_bytes(tmp_path: Path, ending: str) -> None:
    piece = Piece.of(song(), title="a $b$ <c> \x1b[31m \udcff.mid", mood=mood())
    first, second = tmp_path / f"1{ending}", tmp_path / f"2{ending}"
    save_piece(piece, first)
    save_piece(piece, second)
    assert first.read_bytes() == second.read_bytes()
    if ending == ".svg":
        assert ET.parse(first).getroot().tag.endswith("svg")
    else:
        assert imread(first, format="png").shape[1] == 1600


@pytest.mark.parametrize("score", [Score.empty(), Score.empty(PLAYERS, duration_s=3.0)], ids=["nothing", "silence"])
def test_silence_is_drawn(tmp_path: Path, score: Score) -> None:
    save_piece(Piece.of(score), tmp_path / "silence.png")
    assert imread(tmp_path / "silence.png").shape[1] == 1600


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_draws_any_midi_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi.write(song(), tmp_path / "so$ng_1$.mid")
    assert main(["plot", str(tmp_path / "so$ng_1$.mid")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Drew {tmp_path / 'so$ng_1$.png'}. 1 of 3 cuts met within a frame; missed")
    assert (tmp_path / "so$ng_1$.png").read_bytes().startswith(b"\x89PNG")
    assert main(["plot", str(tmp_path / "so$ng_1$.mid"), "-o", str(tmp_path / "other.svg")]) == 0
    assert main(["plot", str(tmp_path / "so$ng_1$.mid")]) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x01.mid"
    midi.write(song(), os.fsdecode(name))
    assert main(["plot", os.fsdecode(name)]) == 0
    assert os.path.getsize(os.fsencode(tmp_path) + b"/\xff\x01.png") > 1000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["song.mid", "-o", "song.jpg"], "song.jpg ends in neither .png nor .svg"),
        (["nothing.mid"], "nothing.mid"),
        (["song.mid", "--record", "song.mid"], "song.mid"),
        (["song.mid", "--record", "list.json"], "list.json is not a record of format 1"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    midi.write(song(), "song.mid")
    Path("list.json").write_text("[]")
    assert main(["plot", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert sorted(os.listdir()) == ["list.json", "song.mid"]


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"neither \.png nor \.svg; name the picture"):
        save_piece(Piece.of(song()), tmp_path / "song.pdf")


def test_the_legend_of_the_cuts_stays_below_the_titles() -> None:
    figure = _figure(Piece.of(song(), t_diff_s=1.0))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    legend = axes.get_legend()
    assert legend.get_visible()
    for title in (axes.title, axes._left_title, axes._right_title):
        box = title.get_window_extent()
        assert not title.get_text() or (legend.get_window_extent().y1 <= box.y0 and box.y1 <= figure.bbox.y1)
