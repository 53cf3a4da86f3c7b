"""The whole path of a GPU's run, rehearsed: archives, training by the clock, parts, joining, export, composing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from emsync import checkpoint, midi, weight_parts
from emsync.cli.main import main
from emsync.training import train
from tests.models import archive_file

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.trains
def test_from_archives_to_a_film_s_music(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = 0.0

    def monotonic() -> float:  # a clock that every look moves on by half a second
        nonlocal now_s
        now_s += 0.5
        return now_s

    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(train, "bf16_pays", lambda device: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    archive_file(corpus / "train-00.npz", 3)
    archive_file(corpus / "train-01.npz", 2)
    archive_file(corpus / "valid.npz", 1)
    run, model, song = tmp_path / "run", tmp_path / "model", tmp_path / "song.mid"

    def emsync(*words: object) -> str:
        assert main([*map(str, words)]) == 0
        return capsys.readouterr().out

    train_words = ("train", "tiny", "--no-compile", "--workers", 1, "-q", "--parts", "--peak-tflops", 1)
    printed = emsync(*train_words, corpus, "--minutes", 0.5, "--out", run)
    assert "bits per note" in printed
    assert "% of the device's peak" in printed
    assert f"wrote {run / 'model'}, {run / 'parts'} and {run / 'loss.png'}" in printed
    assert max(path.stat().st_size for path in (run / "parts").iterdir()) < 16 * 2**20
    printed = emsync("export", run / "parts", "--join", "-o", model)
    assert f"Written: {model} (0." in printed
    stood = checkpoint.read_config(model)["training"]["steps"]
    # The machine is gone; another one goes on from the weights alone.
    emsync(*train_words, run / "data", "--minutes", 0.75, "--out", tmp_path / "rest", "--initial", model, "--go-on")
    assert train.read_run(tmp_path / "rest")[0].step > stood
    emsync("export", tmp_path / "rest" / "parts", "--join", "-o", model, "--overwrite")
    assert "agrees with torch" in emsync("export", model)
    emsync("compose", "--duration", 3, "--model", model, "-o", song, "--backend", "onnx", "-q")
    assert midi.read(song).duration_s <= 3.0 + 1e-6
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["model", "--join"], "--join writes a model folder as its parts are: give -o OUT_DIR"),
        (["model", "--join", "-o", "x", "--bits", "32"], "give -o OUT_DIR, without --bits"),
        (["model", "--join", "-o", "x"], "give the folder that emsync train --parts wrote"),
    ],
)
def test_the_export_refuses_to_join(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_gpu_that_is_missing_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train, "has_gpu", lambda: False)
    assert main(["train", "tiny", "x.npz", "-o", str(tmp_path / "run"), "--steps", "1", "--device", "cuda"]) == 2
    assert "there is no CUDA GPU that torch can use here; leave out --device cuda" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


#: What a machine rented for its GPU may lack: all but torch, accelerate, safetensors, NumPy, click and tqdm.
BARE = """
import sys
sys.path.insert(0, {repository!r})
for name in (
    "av", "cv2", "matplotlib", "mido", "miditok", "music21", "onnx", "onnxruntime", "onnxscript", "PIL", "pretty_midi",
    "pypianoroll", "scenedetect", "scipy", "sklearn", "symusic", "transformers",
):
    sys.modules[name] = None  # as if it were not installed
import torch
torch.set_num_threads(1)
from emsync.cli.main import main
code = main({words!r})
from emsync.training.samples import sample_statistics
print("sample", sample_statistics("run/model", length_s=0.5))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.trains
def test_training_needs_no_more_than_a_gpu_machine_has(tmp_path: Path) -> None:
    archive_file(tmp_path / "train-00.npz", 2)
    words = ["train", "tiny", "train-00.npz", "--out", "run", "--steps", "1", "--no-compile", "--workers", "1", "-q"]
    ended = subprocess.run(
        [sys.executable, "-c", BARE.format(repository=str(REPOSITORY), words=[*words, "--parts"])],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "sample {'notes_per_s'" in ended.stdout
    assert "matplotlib is not installed" in ended.stdout
    assert weight_parts.join_parts(tmp_path / "run" / "parts", tmp_path / "model").is_dir()
