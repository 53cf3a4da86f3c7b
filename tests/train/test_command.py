"""The command `emsync train`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from emsync import checkpoint
from emsync.cli.main import main
from emsync.training import dataset, train
from emsync.training.dataset import Dataset
from tests.models import archive_file, toy_preset
from tests.train.runs import REPOSITORY, contents, interrupted_at


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    archive_file(folder / "train-00.npz", 3)
    archive_file(folder / "valid.npz", 1)
    preset = toy_preset()
    sections = {"model": preset.model.to_dict(), "crops": asdict(preset.crops), "train": asdict(preset.train)}
    del sections["model"]["lanes"]
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (tmp_path / "toy.toml").write_text("\n".join(lines))
    return folder


def emsync(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


@pytest.mark.trains
def test_the_command_trains_and_resumes(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, toy = tmp_path / "run", tmp_path / "toy.toml"
    common = ("-o", out, "--no-compile", "--workers", 1)
    assert emsync(toy, corpus, *common, "--steps", 3, "--batch", 2, "--seed", 9) == 0
    printed = capsys.readouterr()
    assert "trained for 3 steps" in printed.out
    assert "bits per note" in printed.out
    assert f"wrote {out / 'model'}" in printed.out
    assert "tokenizing train-00.npz" in printed.err
    assert "training: 100%" in printed.err
    assert "valid" in printed.err
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert checkpoint.load(out / "model").config == toy_preset().model
    assert Dataset.open(out / "data").about["sources"] == ["train-00.npz"]
    assert Dataset.open(out / "valid").about["sources"] == ["valid.npz"]

    def build(*_: object, **__: object) -> None:
        raise AssertionError("what is tokenized is not tokenized again")

    monkeypatch.setattr(dataset, "build", build)
    assert emsync(toy, *common, "--steps", 5, "--resume", "--quiet") == 0
    printed = capsys.readouterr()
    assert "trained for 5 steps" in printed.out
    assert "validation: " in printed.out
    assert printed.err == ""
    _, preset = train.read_run(out)
    assert (preset.train.batch, preset.train.seed) == (2, 9)  # the run's own, where nothing else was said
    # A tokenized folder is used where it is.
    other = tmp_path / "other"
    assert emsync(toy, out / "data", "--valid", out / "valid", "-o", other, "--no-compile", "--steps", 1, "-q") == 0
    assert sorted(os.listdir(other)) == ["log.jsonl", "loss.png", "model", "state"]


@pytest.mark.slow
@pytest.mark.trains
def test_the_command_stops_at_ctrl_c(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    clock(0.1)
    with interrupted_at(3):
        assert emsync(tmp_path / "toy.toml", corpus, "-o", tmp_path / "run", "--steps", 50, "--no-compile", "-q") == 130
    assert "keeps what was learned, and --resume goes on with it" in capsys.readouterr().err
    assert train.read_run(tmp_path / "run")[0].step == 3


@pytest.mark.trains
def test_without_songs_to_validate_on_the_command_says_so(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "valid.npz").unlink()
    common = ("--steps", 1, "--no-compile", "--workers", 1, "--no-snap-tempo")
    assert emsync(tmp_path / "toy.toml", corpus / "train-00.npz", "-o", tmp_path / "run", *common) == 0
    printed = capsys.readouterr()
    assert "there is no valid.npz beside the archives" in printed.err
    assert "validation:" not in printed.out
    assert Dataset.open(tmp_path / "run" / "data").about["snap_tempo"] is False


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{toy} {corpus} -o {out}", "give either --minutes or --steps"),
        ("{toy} {corpus} -o {out} --steps 1 --minutes 1", "give either --minutes or --steps"),
        ("{toy} {corpus} -o {out} --steps 0", "--steps"),
        ("{toy} {corpus} -o {out} --minutes nan", "not a finite number"),
        ("{toy} {corpus} -o {out} --steps 1 --seed x", "--seed"),
        ("{toy} {corpus} -o {out} --steps 1 --batch 0", "--batch"),
        ("{toy} {corpus} --steps 1", "-o"),
        ("huge {corpus} -o {out} --steps 1", "huge is neither a preset"),
        ("{toy} -o {out} --steps 1", "there is nothing to train on; give archives"),
        ("{toy} {corpus}/gone.npz -o {out} --steps 1", "gone.npz does not exist"),
        ("{toy} {toy} -o {out} --steps 1", "cannot be read as an archive"),
        ("{toy} {corpus}/cut.npz -o {out} --steps 1 --workers 1", "cannot be read as an archive"),
        ("{toy} {corpus} -o {out} --steps 1 --valid {corpus}/gone.npz", "gone.npz is not a file"),
        ("{toy} {corpus} -o {out} --steps 1 --valid {corpus}", "give --valid one archive"),
        ("{toy} {corpus} -o {out} --steps 1 --initial {corpus}", "has no config.json"),
        ("{toy} {corpus} -o {out} --steps 1 --resume", "holds no run to resume"),
        ("{toy} {corpus} -o {out} --steps 1 --go-on", "--go-on goes with --initial"),
        ("{toy} {corpus} -o {out} --steps 1 --peak-tflops 0", "--peak-tflops"),
        ("{toy} {corpus}/empty -o {out} --steps 1", "empty has no .npz archive; make some with emsync prepare"),
        ("{toy} {corpus}/schema.npz -o {out} --steps 1 --workers 1", "schema.npz lacks family, pitch"),
        ("{toy} {corpus}/foreign -o {out} --steps 1", "was tokenized with vocabulary 0000"),
        ("{corpus}/key.toml {corpus} -o {out} --steps 1", "unknown key 'layers' in [model]"),
        ("{toy} {corpus} -o {toy} --steps 1 --workers 1", "choose another folder"),
    ],
)
def test_the_command_refuses(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    (corpus / "cut.npz").write_bytes((corpus / "valid.npz").read_bytes()[:500])
    (corpus / "empty").mkdir()
    (corpus / "key.toml").write_text("[model]\nlayers = 3\n")
    np.savez(corpus / "schema.npz", notes=np.zeros(3))
    (corpus / "foreign").mkdir()
    (corpus / "foreign" / "dataset.json").write_text('{"vocabulary": "0000"}')
    for name, dtype in (("ids.bin", np.uint16), ("velocities.bin", np.uint8)):
        (corpus / "foreign" / name).write_bytes(np.zeros(4, dtype).tobytes())
    for name in ("offsets.npy", "mood.npy", "mood_offsets.npy"):
        np.save(corpus / "foreign" / name, np.array([0, 4]))
    names = {"toy": tmp_path / "toy.toml", "corpus": corpus, "out": tmp_path / "run"}
    before = contents(tmp_path)
    assert emsync(*(word.format(**names) for word in arguments.split())) == 2
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("emsync:")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert contents(tmp_path) == before or set(contents(tmp_path)) - set(before) <= {
        # What was tokenized on the way is a whole dataset, and is found again.
        f"run/valid/{name}"
        for name in ("ids.bin", "velocities.bin", "offsets.npy", "mood.npy", "mood_offsets.npy", "dataset.json")
    }  # fmt: skip


@pytest.mark.trains
def test_the_command_refuses_another_run_s_folder(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, toy = tmp_path / "run", tmp_path / "toy.toml"
    common = ("-o", out, "--no-compile", "--workers", 1, "-q")
    assert emsync(toy, corpus, *common, "--steps", 1) == 0
    before = contents(out)
    assert emsync(toy, corpus, *common, "--steps", 2) == 2
    assert "holds a run already; give --resume" in capsys.readouterr().err
    assert emsync(toy, corpus / "valid.npz", *common, "--steps", 2, "--resume") == 2
    assert "was made from other archives" in capsys.readouterr().err
    assert emsync(toy, corpus, *common, "--steps", 2, "--resume", "--no-snap-tempo") == 2
    assert "or with other settings" in capsys.readouterr().err
    assert emsync(toy, out / "data", corpus, *common, "--steps", 2, "--resume") == 2
    assert "is tokenized already and cannot be combined" in capsys.readouterr().err
    assert contents(out) == before


def test_without_torch_the_command_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from emsync.cli.main import main\n"
        "sys.exit(main(['train', 'tiny', 'x.npz', '-o', 'run', '--steps', '1']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == 'emsync: error: training needs torch; install it with: pip install "emsync[train]"\n'
    assert os.listdir(tmp_path) == []
