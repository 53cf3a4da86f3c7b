"""emsync train-affect: films and labels in, a head that --affect takes out; what is said when it cannot be done."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from emsync.affect import open_reader
from emsync.cli.main import main
from emsync.video import analyze
from tests.vision_models import BLACK, BLUE, GREEN, RED, WHITE, film, tiny_clip, tiny_llava


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five films with labels, and two models."""
    place = tmp_path_factory.mktemp("work")
    tiny_clip(place / "clip")
    tiny_llava(place / "llava")
    (place / "films").mkdir()
    rows = ["file,valence,arousal"]
    for i, colour in enumerate([RED, GREEN, BLUE, BLACK, WHITE]):
        film(place / "films" / f"{i}.mkv", [colour, colour])
        rows.append(f"{i}.mkv,{(i - 2) / 4},{(2 - i) / 3:.3f}")
    (place / "films" / "labels.csv").write_text("\n".join(rows) + "\n")
    return place


@pytest.fixture(autouse=True)
def inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"), [("clip", ["--model", "clip"]), ("vlm", ["--model", "llava", "--window", "2", "--layer", "1"])]
)
def test_a_head_that_affect_takes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str, options: list[str]
) -> None:
    head = tmp_path / "deep" / "head"
    assert main(["train-affect", "films", "-o", str(head), "--kind", kind, *options]) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert "5 films, 10 labelled seconds" in said.out
    assert ("zero-shot" in said.out) == (kind == "clip")
    assert said.out.splitlines()[-1] == f"Wrote {head}; use it with: emsync compose VIDEO --affect {kind}:{head}"
    reader = open_reader(f"{kind}:{head}")
    curve = reader.read(Path("films/1.mkv"), analyze("films/1.mkv"))
    assert curve.times_s.tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "-o", "head"], "nowhere is not a folder"),
        (["clip", "-o", "head"], "clip holds no film"),
        (["films", "-o", "films"], "films exists and is not a head's folder"),
        (["films", "-o", "head", "--model", "./none"], "./none is not a folder"),
        (["films", "-o", "head", "--model", "films"], "holds no model (it has no config.json)"),
        (["films", "-o", "head", "--model", "llava"], "does not compare pictures with sentences"),
        (["films", "-o", "head", "--kind", "vlm"], "--kind vlm has no default model; give one with --model"),
        (["films", "-o", "head", "--layer", "2"], "--window and --layer are for --kind vlm"),
        (["films", "-o", "head", "--kind", "vlm", "--model", "llava", "--layer", "9"], "has no layer 9"),
        (["films"], "Missing option '-o'"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    capfd: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(["train-affect", *arguments]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith("emsync: error: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not Path("head").exists()


def test_without_the_extra(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert main(["train-affect", "films", "-o", "head"]) == 2
    assert capfd.readouterr().err == (
        "emsync: error: transformers is not installed; run: pip install 'emsync[vision]'\n"
    )
