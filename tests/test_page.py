"""The page of a piece, in a real browser: what it shows, plays and offers, and that it asks for nothing else."""

from __future__ import annotations

import json
import os
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.errors import InputError, OutputError
from emsync.mood import MoodCurve
from emsync.page import fill, relative_url, save_page
from emsync.piece import Piece
from emsync.score import Bars, Instrument, Marker, Score, TempoMap
from tests.browser import opened, started, until

EVIL = "</script><img src=x onerror=alert(1)>\"'&<!--\u2028\udcff{{data}}"
SHOWN = "</script><img src=x onerror=alert(1)>\"'&<!--\\u2028\\udcff{{data}}"


def song(names: tuple[str, str, str] = ("Drums", "Piano", "Bass"), form: str = "Verse") -> Score:
    """Two chords of piano, at 2 s and 6.02 s, over a bass, with a drum every half second; 9 s at 120."""
    notes = [(1, pitch, 90, start, start + 1.5) for start in (2.0, 6.02) for pitch in (60, 64, 67)]
    notes += [(2, 45, 80, 6.0, 8.0)] + [(0, 36 + 2 * (i % 2), 100, i / 2, i / 2 + 0.1) for i in range(17)]
    who, pitch, velocity, start, end = np.array(notes).T
    players = (Instrument(names[0], 0, True), Instrument(names[1], 0), Instrument(names[2], 33))
    markers = [
        Marker(t, text)
        for t, text in ((0.0, form), (2.0, "Cut 1"), (4.0, "Chorus"), (6.2, "Cut 2"), (7.0, "Cut 3"), (8.5, "Cut 4"))
    ]
    return Score(
        players, who.astype(int), pitch.astype(int), velocity.astype(int), start, end, TempoMap.constant(120),
        Bars(np.arange(5) * 2.0, [4] * 5, [4] * 5), markers, duration_s=9.0,
    )  # fmt: skip


def piece(**options: Any) -> Piece:
    mood = MoodCurve(np.array([1.0, 5.0, 8.0]), np.array([-0.5, np.nan, 0.8]), np.array([0.1, 0.2, 0.5]))
    return Piece.of(song(), **{"title": "song.mid", "t_diff_s": 1.0, "mood": mood, **options})


def tone(path: Path, seconds: float = 9.0) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        wobble = np.sin(np.arange(int(8000 * seconds)) / 5) * 3000
        file.writeframes(wobble.astype("<i2").tobytes())
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


# ---- in the browser --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_film_sound_and_notes_run_together(browser: Any, tmp_path: Path, film: Path) -> None:
    made = save_page(piece(), tmp_path / "song.html", sound=tone(tmp_path / "tone.wav"), film=film)
    assert (made.film, made.sound) == ("embedded", "embedded")
    assert made.n_bytes == (tmp_path / "song.html").stat().st_size
    with opened(browser, made.path) as page:
        until(page, "film.readyState >= 2 && sound.readyState >= 2")
        assert page.locator("#time").text_content() == "0:00.00 / 0:09.00"
        page.click("#play")
        until(page, "master.currentTime > 0.5")
        assert page.evaluate("master === sound && film.muted && !film.paused")
        assert page.locator("#play").text_content() == "Stop"
        assert abs(page.evaluate("film.currentTime - sound.currentTime")) < 0.5
        page.click("#play")
        until(page, "film.paused && sound.paused")
        page.get_by_role("button", name="Go to cut 2 at 0:06.20").click()
        until(page, "!film.seeking && document.getElementById('time').textContent.startsWith('0:06.20')")
        assert page.evaluate("[sound.currentTime, film.currentTime]") == pytest.approx([6.2, 6.2])
        assert page.locator("#cuts tr[aria-current] th").text_content() == "2"
        # The playhead is where the cut is on the time axis.
        reds = page.evaluate(
            """() => new Promise((done) => requestAnimationFrame(() => {
              const row = canvas.getContext("2d").getImageData(0, 2, canvas.width, 1).data;
              const found = [];
              for (let x = 0; x < canvas.width; x++)
                if (row[4 * x] === 0xb3 && row[4 * x + 1] === 0 && row[4 * x + 2] === 0x4b) found.push(x);
              done([found, xOf(6.2)]);
            }))"""
        )
        assert reds[0]
        assert np.mean(reds[0]) == pytest.approx(reds[1], abs=1.0)


@pytest.mark.slow
def test_the_sound_of_the_page_keeps_its_time(browser: Any, tmp_path: Path) -> None:
    """MP3 encoders put silence in front; the browser has to take it away again."""
    soundfile = pytest.importorskip("soundfile")
    sound = np.zeros((44_100 * 2, 2), dtype=np.float32)
    sound[33_075:33_575] = np.sin(np.arange(500) / 5)[:, None] * 0.7
    soundfile.write(tmp_path / "click.mp3", sound, 44_100, subtype="MPEG_LAYER_III")
    with opened(browser, save_page(piece(), tmp_path / "song.html", sound=tmp_path / "click.mp3").path) as page:
        onset_and_length_s = page.evaluate(
            """async () => {
              const bytes = Uint8Array.from(atob(data.sound.base64), (c) => c.charCodeAt(0));
              const decoded = await new OfflineAudioContext(2, 1, 44100).decodeAudioData(bytes.buffer);
              const samples = decoded.getChannelData(0);
              return [samples.findIndex((x) => Math.abs(x) > 0.2) / 44100, decoded.duration];
            }"""
        )
    assert onset_and_length_s == pytest.approx([0.75, 2.0], abs=0.005)


@pytest.mark.slow
def test_the_lists_say_what_was_measured(browser: Any, tmp_path: Path) -> None:
    with opened(browser, save_page(piece(), tmp_path / "song.html").path) as page:
        rows = [row.locator("th,td").all_text_contents() for row in page.locator("#cuts tbody tr").all()]
        assert rows == [
            ["1", "00:00:02:00", "0:02.00", "✓ cut met within a frame", "0.0", "C"],
            ["2", "00:00:06:05", "0:06.20", "◆ met within a second", "−180.0", "Am7"],
            ["3", "00:00:07:00", "0:07.00", "| no chord asked for", "", ""],
            ["4", "00:00:08:13", "0:08.50", "✕ missed", "", ""],
        ]
        assert page.locator("#sections button").all_text_contents() == ["Verse 0:00.00", "Chorus 0:04.00"]
        assert page.locator("#chords button").all_text_contents() == ["C", "Am7"]
        assert page.locator("#legend li").all_text_contents() == ["Piano (6)", "Bass (1)", "Drums (17)"]
        assert page.locator("#facts").text_content() == "0:09.00 · 24 notes · 5 bars · 120 qpm"
        assert "1 of 3 cuts met within a frame; missed: 0:08.50." in page.locator("#roll").get_attribute("aria-label")


@pytest.mark.slow
def test_what_is_downloaded_is_the_file(browser: Any, tmp_path: Path) -> None:
    midi.write(song(), tmp_path / "song.mid")
    (tmp_path / "song.mid.json").write_text('{"a": 1}')
    made = save_page(
        piece(), tmp_path / "song.html", song=tmp_path / "song.mid", record=tmp_path / "song.mid.json",
        sound=tone(tmp_path / "tone.wav"),
    )  # fmt: skip
    with opened(browser, made.path) as page:
        for label, name, original in (
            ("MIDI file", "song.mid", "song.mid"), ("Record", "song.mid.json", "song.mid.json"),
            ("Sound", "song.wav", "tone.wav"),
        ):  # fmt: skip
            with page.expect_download() as waiting:
                page.get_by_role("link", name=label).click()
            assert waiting.value.suggested_filename == name
            assert Path(waiting.value.path()).read_bytes() == (tmp_path / original).read_bytes()


@pytest.mark.slow
def test_names_from_files_stay_text(browser: Any, tmp_path: Path) -> None:
    score = song(names=(EVIL, EVIL, EVIL), form=EVIL)
    strange = Piece.of(score, title=EVIL, mood=MoodCurve.constant(0.1, 0.2), mood_source=EVIL)
    with opened(browser, save_page(strange, tmp_path / "song.html").path) as page:
        assert page.title() == SHOWN
        assert page.locator("h1").text_content() == SHOWN
        assert page.locator("#legend li").first.text_content() == f"{SHOWN} (6)"
        assert page.locator("#sections button").first.text_content() == f"{SHOWN} 0:00.00"
        assert page.locator("img").count() == 0
        assert page.locator("#downloads a").first.get_attribute("download").endswith(".mid")


@pytest.mark.slow
def test_without_sound_and_film_the_notes_still_run(browser: Any, tmp_path: Path) -> None:
    with opened(browser, save_page(piece(), tmp_path / "song.html").path) as page:
        assert page.locator("#note").text_content() == "This page has no sound; open the MIDI file to hear the piece."
        assert page.locator("#film").is_hidden()
        page.keyboard.press("Space")
        until(page, "master.currentTime > 0.2")
        page.locator("#seek").fill("8.9")
        until(page, "master.paused && byId('play').textContent === 'Play'")  # it has come to its end
        page.click("#play")
        until(page, "!master.paused && master.currentTime < 8")  # and starts over


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_film_of_any_name_is_linked(browser: Any, tmp_path: Path, film: Path) -> None:
    folder = tmp_path / "films & co"
    folder.mkdir()
    odd = Path(os.fsdecode(os.fsencode(folder) + b"/a#b %3f\"<e>\xff'.mp4"))
    odd.write_bytes(film.read_bytes())
    made = save_page(piece(), tmp_path / "song.html", film=odd, max_film_bytes=0)
    assert made.film == "linked"
    assert made.n_bytes < 100_000
    with opened(browser, made.path) as page:
        until(page, "film.readyState >= 2")
        assert page.evaluate("master === film")
        page.click("#play")
        until(page, "film.currentTime > 0.2")
    odd.unlink()
    with opened(browser, made.path) as page:
        page.wait_for_selector("#film", state="hidden")
        assert "is not where this page expects it" in page.locator("#note").text_content()
        page.click("#play")
        until(page, "master.currentTime > 0.2")


@pytest.mark.slow
def test_zoom_and_seeking_by_mouse(browser: Any, tmp_path: Path) -> None:
    with opened(browser, save_page(piece(), tmp_path / "song.html").path) as page:
        before = page.evaluate("xOf(4) - xOf(2)")
        page.get_by_role("button", name="Zoom in").click()
        assert page.evaluate("xOf(4) - xOf(2)") == pytest.approx(2 * before)
        at = page.evaluate("xOf(3)")
        page.locator("#roll").click(position={"x": at, "y": 60})
        assert page.evaluate("master.currentTime") == pytest.approx(3.0, abs=0.05)
        page.get_by_role("button", name="Whole piece").click()
        assert page.evaluate("[view.from, view.length]") == [0, 9]


CONTRAST = """() => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(name).trim();
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  return [["--ink", "--page"], ["--ink", "--card"], ["--soft", "--card"], ["--soft", "--page"],
    ["--on-accent", "--accent"]]
    .map(([a, b]) => ratio(a, b));
}"""


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1240])
def test_it_can_be_read_in_light_and_dark_and_on_a_phone(
    browser: Any, tmp_path: Path, scheme: Any, width: int, film: Path
) -> None:
    path = save_page(piece(), tmp_path / "song.html", film=film).path
    with opened(browser, path, color_scheme=scheme, viewport={"width": width, "height": 800}) as page:
        assert min(page.evaluate(CONTRAST)) >= 4.5
        lightness = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(lightness) < 64) == (scheme == "dark")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the window"
        nameless = page.evaluate(
            "[...document.querySelectorAll('button, a, input, canvas, video')].filter((each) => "
            "!(each.getAttribute('aria-label') || each.textContent.trim() || each.closest('label')))"
            ".map((each) => each.outerHTML)"
        )
        assert nameless == []
        assert page.evaluate("document.documentElement.lang") == "en"


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_same_piece_gives_the_same_bytes_of_ascii_data(tmp_path: Path) -> None:
    for name in "ab":
        save_page(Piece.of(song(form=EVIL), title=EVIL), tmp_path / f"{name}.html")
    text = (tmp_path / "a.html").read_text("utf-8")
    assert text == (tmp_path / "b.html").read_text("utf-8")
    block = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert block is not None
    assert block[1].isascii()
    assert "<" not in block[1]
    assert json.loads(block[1])["title"] == SHOWN
    assert not re.search(r"https?://|//[a-z]+\.", text), "the page names an address on a network"


def test_data_is_not_filled_in_again() -> None:
    page = fill("piece.html", ["piece.js"], title="{{data}}", data={"x": "{{title}}</script>"})
    assert page.count('{"x":"{{title}}\\u003c/script>"}') == 1
    assert "<title>{{data}}</title>" in page


def test_a_silent_piece_has_a_page(browser: Any, tmp_path: Path) -> None:
    with opened(browser, save_page(Piece.of(Score.empty(duration_s=3.0)), tmp_path / "empty.html").path) as page:
        assert page.title() == "Untitled piece"
        assert page.locator("#cuts-card").is_hidden()


def test_relative_addresses(tmp_path: Path) -> None:
    page = tmp_path / "pages" / "a.html"
    assert relative_url(tmp_path / "pages" / "javascript:x.mp4", page) == "./javascript%3Ax.mp4"
    assert relative_url(tmp_path / "b?c.mp4", page) == "./../b%3Fc.mp4"


def test_what_cannot_be_written_or_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mp4 cannot be read"):
        save_page(piece(), tmp_path / "a.html", film=tmp_path / "nothing.mp4")
    assert not (tmp_path / "a.html").exists()
    (tmp_path / "a.html").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        save_page(piece(), tmp_path / "a.html")
    with pytest.raises(OutputError, match="is what is read"):
        save_page(piece(), tmp_path / "a.html", film=tmp_path / "a.html", overwrite=True)


# ---- the commands ----------------------------------------------------------------------------------------------------


def data_of(page: Path) -> dict[str, Any]:
    block = re.search(r'id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert block is not None
    found: dict[str, Any] = json.loads(block[1])
    return found


def test_the_command_takes_any_midi_file(tmp_path: Path, film: Path, capsys: pytest.CaptureFixture[str]) -> None:
    midi.write(song(), tmp_path / "song.mid")
    sound = tone(tmp_path / "tone.wav")
    assert main(["page", str(tmp_path / "song.mid"), "--sound", str(sound), "--film", str(film)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Wrote {tmp_path / 'song.html'} (")
    assert said.endswith("MB, the film embedded, the sound embedded).\n")
    assert data_of(tmp_path / "song.html")["sound"]["type"] == "audio/wav"
    assert main(["page", str(tmp_path / "song.mid"), "--sound", str(sound)]) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err


def test_without_a_soundfont_the_page_has_no_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EMSYNC_SOUNDFONT", str(tmp_path / "none.sf2"))
    midi.write(song(), tmp_path / "song.mid")
    assert main(["page", str(tmp_path / "song.mid")]) == 0
    said = capsys.readouterr()
    assert said.err.startswith("Warning: the page has no sound: ")
    assert data_of(tmp_path / "song.html")["sound"] is None
    assert main(["page", str(tmp_path / "song.mid"), "--soundfont", "none", "-o", str(tmp_path / "other.html")]) == 2
    assert not (tmp_path / "other.html").exists()


@pytest.mark.slow
def test_compose_writes_picture_and_page(
    tmp_path: Path, model: Path, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMSYNC_SOUNDFONT", "none.sf2")
    arguments = ["compose", str(film), "--model", str(model), "-o", "song.mid", "-q"]
    assert main([*arguments, "--plot", "song.svg", "--html", "song.html"]) == 0
    assert capsys.readouterr().out.splitlines()[-2].startswith("Drew song.svg. ")
    shown = data_of(Path("song.html"))
    assert shown["title"] == "song.mid"
    assert [each["label"] for each in shown["downloads"]] == ["MIDI file", "Record"]
    assert shown["film"]["name"] == film.name
    assert len(shown["cuts"]) == 1
    assert Path("song.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--plot", "a.jpg"], "a.jpg ends in neither .png nor .svg"),
        (["--html", "no/a.html"], "no is not a folder"),
        (["--html", "song.mid"], "--html and -o both name song.mid; give each a name of its own"),
        (["--plot", "a.svg", "--html", "a.svg"], "--html and --plot both name a.svg"),
        (["--html", "song.mid.json"], "--html and the record both name song.mid.json"),
    ],
)
def test_bad_names_are_refused_before_composing(
    options: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["compose", "--duration", "4", "-o", "song.mid", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
