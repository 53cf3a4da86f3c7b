"""`emsync train --adapter lora` and `emsync compose --style`: from pieces to a song, and the same song again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.style import Style
from emsync.training.corpus.song_to_score import to_score
from tests.cli_compose.runs import Run, refused
from tests.models import LOCAL, model_folder, toy_song
from tests.test_style import kept, some_style


def test_a_folder_of_midi_files_becomes_a_style(
    run: Run, model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for seed in range(2):
        Path("pieces").mkdir(exist_ok=True)
        midi.write(to_score(toy_song(seed, bars=4)), f"pieces/{seed}.mid")
    Path("pieces/bad.mid").write_bytes(b"no music")
    wanted = ["train", "--adapter", "lora", "--initial", str(model), "--quiet"]
    assert main([*wanted, "--steps", "2", "--rank", "3", "pieces", "-o", "style"]) == 0
    said = capsys.readouterr()
    assert "Left out: pieces/bad.mid: " in said.err
    assert said.out.startswith("Learned from 2 pieces, ")
    assert "use it with: emsync compose FILM --style style" in said.out
    style = Style.read("style")
    assert (style.rank, style.training["steps"], style.training["seed"]) == (3, 2, 0)
    for arguments, sentence in (
        (["--minutes", "1", "pieces"], "--minutes is not for --adapter lora, which is trained for a number of --steps"),
        (["--device", "cuda", "pieces"], "a style is trained on the CPU"),
        (["missing"], "missing does not exist; give a folder"),
    ):
        assert main([*wanted, *arguments, "-o", "other"]) == 2
        assert sentence in capsys.readouterr().err
        assert not Path("other").exists()
    assert main([*wanted, "pieces", "-o", "pieces"]) == 2
    assert "exists and is not a style" in capsys.readouterr().err
    assert main(["train", "tiny", "--rank", "3", "--steps", "2", "-o", "other"]) == 2
    assert "--rank goes with --adapter lora" in capsys.readouterr().err


def test_a_song_in_a_style_is_composed_again_from_its_record(run: Run, model: Path, tmp_path: Path) -> None:
    kept(some_style(model), Path("style"))
    assert run("--duration", "4", "-o", "plain.mid").code == 0
    assert run("--duration", "4", "--style", "style", "--style-strength", "0", "-o", "none.mid").code == 0
    said = run("--duration", "4", "--style", "style", "--style-strength", "0.5", "-o", "song.mid")
    assert said.code == 0, said.err
    assert "Style: style, at 0.5 (1 piece)." in said.out
    plain, none, song = (Path(f"{name}.mid").read_bytes() for name in ("plain", "none", "song"))
    assert plain == none != song
    record = json.loads(Path("song.mid.json").read_text())
    assert (record["settings"]["style"], record["settings"]["style_strength"]) == ("style", 0.5)
    assert record["model"]["style_digest"] == Style.read("style").digest
    assert run("--from", "song.mid.json", "-o", "again.mid").code == 0
    assert Path("again.mid").read_bytes() == song
    files = run("--duration", "0.5").files
    kept(some_style(model, seed=5), Path("style"))
    said = run("--from", "song.mid.json", "-o", "third.mid")
    refused(said, "the record was made with another style than the one that is now in style", left=files)
    shutil.rmtree("style")
    files = [name for name in files if not name.startswith("style")]
    refused(run("--from", "song.mid.json", "-o", "third.mid"), "style is not a folder; give", left=files)


def test_styles_that_cannot_be_used_are_refused_before_composing(run: Run, tmp_path: Path) -> None:
    other = model_folder(tmp_path / "other", LOCAL, seed=4)
    kept(some_style(other), tmp_path / "style")
    refused(run("--duration", "4", "--style", str(tmp_path / "style")), "was trained on a model whose weights hash to")
    refused(run("--duration", "4", "--style", "none"), "none is not a folder; give a folder of emsync train --adapter")
    said = run("--duration", "4", "--style", str(tmp_path / "style"), "--style-strength", "1.5")
    assert said.code == 2
    assert "1.5" in said.err


def test_a_song_like_another_is_composed_again_from_its_record(run: Run, tmp_path: Path) -> None:
    midi.write(to_score(toy_song(2, bars=8)), "reference.mid")
    said = run("--duration", "4", "--like", "reference.mid", "-o", "song.mid")
    assert said.code == 0, said.err
    assert "Like reference.mid: tempo 120, " in said.out
    assert " notes a second, drums, piano, bass, strings.\n" in said.out
    song = Path("song.mid").read_bytes()
    files = run("--duration", "4", "--like", "reference.mid", "-o", "reference.mid", "--overwrite").files
    assert files == ["reference.mid", "song.mid", "song.mid.json"]
    Path("reference.mid").unlink()
    assert run("--from", "song.mid.json", "-o", "again.mid").code == 0
    assert Path("again.mid").read_bytes() == song
    files = ["again.mid", "again.mid.json", "song.mid", "song.mid.json"]
    refused(run("--duration", "4", "--like", "reference.mid"), "reference.mid", left=files)
    wanted = "--from already says what to compose; leave out --like, or --from"
    refused(run("--from", "song.mid.json", "--like", "song.mid"), wanted, left=files)
