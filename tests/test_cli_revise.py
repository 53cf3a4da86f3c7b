"""`emsync revise` and `emsync arrange`, as they are run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.midi_edit import Song
from emsync.score import Marker
from tests.cli_compose.runs import Said, refused
from tests.midi_files import band

Run = Callable[..., Said]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path) -> Run:
    """Run a command with the tiny model in a folder that holds song.mid."""
    from dataclasses import replace

    score = band()
    midi.write(replace(score, markers=(Marker(3.0, "Cut 1"),)), tmp_path / "song.mid")
    monkeypatch.chdir(tmp_path)

    def go(command: str, *arguments: str) -> Said:
        code = main([command, "song.mid", "--model", str(model), "--quiet", *arguments])
        said = capsys.readouterr()
        return Said(code, said.out, said.err, sorted(path.name for path in tmp_path.iterdir()))

    return go


def test_bars_are_composed_anew_in_several_takes(run: Run) -> None:
    said = run("revise", "--bars", "2-3", "--tracks", "strings,Piano", "--takes", "2", "--tries", "1", "-o", "new.mid")
    assert said.code == 0, said.err
    assert said.files == ["new-1.mid", "new-1.mid.json", "new-2.mid", "new-2.mid.json", "song.mid"]
    first, second = said.out.splitlines()
    assert first.startswith("Wrote new-1.mid and new-1.mid.json: ")
    assert "from 2.00 s to 5.80 s (Strings, Piano; seed 0). Chords on cuts there: 1 of 1 within a frame." in first
    assert "seed 1)" in second
    old, new = Song.read("song.mid"), Song.read("new-1.mid")
    for number, track in enumerate(old.file.tracks):
        if track.name not in ("Strings", "Piano"):
            assert track.events == new.file.tracks[number].events


def test_a_part_is_given_in_times_and_the_rest_by_default(run: Run) -> None:
    said = run("revise", "--from", "4s", "--to", "0:06.5", "--seed", "3", "--tries", "1")
    assert said.code == 0, said.err
    assert "from 4.00 s to 6.50 s (Drums, Piano, Guitar, Bass, Strings; seed 3)" in said.out
    assert said.files == ["song-revised.mid", "song-revised.mid.json", "song.mid"]
    midi.read("song-revised.mid")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give the part to revise: --bars, such as 9-12, or --from and --to"),
        (["--bars", "1-2", "--from", "3"], "give the part to revise"),
        (["--bars", "two"], "--bars 'two' is no range of bars; write for example 9-12"),
        (["--bars", "1-9"], "bars 1-9 cannot be revised: the song has bars 1 to 4"),
        (["--from", "soon"], "--from 'soon' is no time; write seconds, such as 12.5s"),
        (["--from", "3", "--to", "3"], "from 3 s to 3 s there is nothing"),
        (["--bars", "1", "--tracks", "tuba"], "there is no track 'tuba' that can be revised"),
        (["--bars", "1", "--tracks", " , "], "--tracks names nothing; give some"),
        (["--bars", "1", "-o", "song.mid"], "song.mid is what is read, and is not replaced"),
        (["--bars", "1", "-o", "song.mid", "--overwrite"], "song.mid is what is read, and is not replaced"),
        (["--bars", "1", "--mood", "none.csv"], "none.csv cannot be read"),
    ],
)
def test_what_cannot_be_is_one_sentence(run: Run, arguments: list[str], sentence: str) -> None:
    refused(run("revise", *arguments), sentence, left=["song.mid"])


def test_a_file_without_notes_is_refused(run: Run) -> None:
    import mido

    mido.MidiFile(tracks=[mido.MidiTrack()]).save("song.mid")
    refused(run("revise", "--bars", "1"), "song.mid has no notes", left=["song.mid"])
    refused(run("arrange"), "song.mid has no notes", left=["song.mid"])


def test_an_existing_take_is_not_replaced(run: Run) -> None:
    Path("new-2.mid").write_bytes(b"mine")
    said = run("revise", "--bars", "1", "--takes", "2", "-o", "new.mid")
    refused(said, "new-2.mid exists already; give --overwrite", left=["new-2.mid", "song.mid"])
    assert Path("new-2.mid").read_bytes() == b"mine"


def test_a_melody_is_arranged(run: Run) -> None:
    score = band().of(1)
    midi.write(score, "song.mid")
    said = run("arrange", "--add", "drums,guitar", "--emotion", "joy")
    assert said.code == 0, said.err
    assert said.files == ["song-arranged.mid", "song-arranged.mid.json", "song.mid"]
    assert "(Drums, Guitar; seed 0)" in said.out
    new = midi.read("song-arranged.mid")
    assert new.instruments[-2].is_drum
    assert len(new.of(1)) == len(score)


def test_what_cannot_be_arranged_is_one_sentence(run: Run) -> None:
    refused(run("arrange", "--add", "tuba"), "there is no family 'tuba' to add", left=["song.mid"])
    refused(run("arrange", "--add", "bass"), "song.mid has bass already", left=["song.mid"])
    refused(run("arrange"), "song.mid has all families", left=["song.mid"])
