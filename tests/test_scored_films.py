"""The paper's evaluation of sound: films are scored, and their music, tags and run time measured."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from emsync import midi
from emsync.cli.main import main
from emsync.errors import InputError
from emsync.training.evaluation.figures import Panel, save
from emsync.training.evaluation.scored_films import STAGES
from emsync.training.evaluation.tagger import DEFAULT_RATE_HZ, divergence, open_tagger

RATE_HZ = 8000


def tagger_file(path: Path, *, rate_hz: int | None = RATE_HZ, scale: float = 1.0, length: int | str = "n") -> Path:
    """A network with two tags: the mean size of samples, and of the steps between them, both times `scale`."""
    from onnx import TensorProto, helper, numpy_helper, save_model

    graph = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["sound", "one"], ["channels"]),
            helper.make_node("Conv", ["channels", "steps"], ["rough"]),
            helper.make_node("Abs", ["channels"], ["a"]),
            helper.make_node("Abs", ["rough"], ["b"]),
            helper.make_node("ReduceMean", ["a"], ["c"], axes=[2], keepdims=0),
            helper.make_node("ReduceMean", ["b"], ["d"], axes=[2], keepdims=0),
            helper.make_node("Concat", ["c", "d"], ["e"], axis=1),
            helper.make_node("Mul", ["e", "scale"], ["tags"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("sound", TensorProto.FLOAT, [1, length])],
        [helper.make_tensor_value_info("tags", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([[[-1.0, 1.0]]], dtype=np.float32), "steps"),
            numpy_helper.from_array(np.array(scale, dtype=np.float32), "scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    if rate_hz is not None:
        helper.set_model_props(model, {"sample_rate": str(rate_hz)})
    save_model(model, str(path))
    return path


# ---- the tagger ------------------------------------------------------------------------------------------------------


def test_a_tagger_gives_shares(tmp_path: Path) -> None:
    tagger = open_tagger(tagger_file(tmp_path / "a.onnx"))
    assert (tagger.rate_hz, tagger.piece) == (RATE_HZ, 10 * RATE_HZ)
    square = np.tile(np.array([0.5, 0.5, -0.5, -0.5], dtype=np.float32), 5 * RATE_HZ // 2)  # one piece
    size, step = 0.5, 0.5
    assert tagger.shares(square) == pytest.approx([size / (size + step)] * 2, abs=1e-4)
    noise = np.tile(np.array([0.25, -0.25], dtype=np.float32), 5 * RATE_HZ)
    assert tagger.shares(noise) == pytest.approx([1 / 3, 2 / 3], abs=1e-4)
    # A second piece of half the length counts half: it is filled up with silence, which halves its means.
    both = tagger.shares(np.concatenate([square, noise[: 5 * RATE_HZ]]))
    whole, half = np.array([0.5, 0.5]), np.array([0.125, 0.25])
    assert both == pytest.approx((whole + half / 2) / (whole + half / 2).sum(), abs=1e-4)


def test_the_rate_and_the_length_of_a_tagger(tmp_path: Path) -> None:
    assert open_tagger(tagger_file(tmp_path / "a.onnx", rate_hz=None)).rate_hz == DEFAULT_RATE_HZ
    assert open_tagger(tmp_path / "a.onnx", 32_000).rate_hz == 32_000
    assert open_tagger(tagger_file(tmp_path / "b.onnx", length=500)).piece == 500


def test_logits_become_probabilities(tmp_path: Path) -> None:
    tagger = open_tagger(tagger_file(tmp_path / "a.onnx", scale=-8.0))
    noise = np.tile(np.array([0.25, -0.25], dtype=np.float32), 5 * RATE_HZ)
    given = 1 / (1 + np.exp([8 * 0.25, 8 * 0.5]))
    assert tagger.shares(noise) == pytest.approx(given / given.sum(), abs=1e-3)


def test_divergence_is_kullbacks() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    assert divergence(p, p) == 0
    assert divergence(p, q) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3))
    assert divergence(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == pytest.approx(math.log(1e7), rel=1e-3)


def test_a_folder_for_transformers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_mel_bins=16,
        max_length=32, patch_size=8, frequency_stride=8, time_stride=8, num_labels=3,
    )  # fmt: skip
    transformers.ASTForAudioClassification(config).save_pretrained(tmp_path)
    transformers.ASTFeatureExtractor(num_mel_bins=16, max_length=32).save_pretrained(tmp_path)
    tagger = open_tagger(tmp_path)
    shares = tagger.shares(np.random.default_rng(0).normal(0, 0.1, 2 * tagger.rate_hz).astype(np.float32))
    assert shares.shape == (3,)
    assert shares.sum() == pytest.approx(1)
    assert (shares > 0).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path: None, "is neither a file nor a folder; give --tagger an ONNX file"),
        (lambda path: path.write_bytes(b"no network"), "is not a network that ONNX Runtime can read"),
        (lambda path: path.mkdir(), "holds no audio classifier that transformers can load"),
    ],
)
def test_what_is_no_tagger(tmp_path: Path, make: object, sentence: str) -> None:
    if "transformers" in sentence:
        pytest.importorskip("transformers")
    make(tmp_path / "a.onnx")  # type: ignore[operator]
    with pytest.raises(InputError, match=sentence):
        open_tagger(tmp_path / "a.onnx")


# ---- films -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_films_are_scored_and_measured(
    tmp_path: Path, film: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fluidsynth")
    folder, out = tmp_path / "films", tmp_path / "report"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(film, folder / name)
    (folder / "broken.mp4").write_bytes(b"no film")
    arguments = [
        "evaluate", "--score", str(folder), "--model", str(model), "--tagger", str(tagger_file(tmp_path / "t.onnx")),
        "--keep", str(tmp_path / "kept"), "--plot", str(tmp_path / "p.svg"), "-o", str(out), "-q",
    ]  # fmt: skip
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "Warning: broken.mp4 was left out: " in said.err
    assert "| Ads: EMSYNC | 0.011 | 0.150 | 0.317 | 0.909 | – |" in said.out
    assert "| EmoMV-C: EMSYNC | 0.017 | 0.233 | 0.297 | 0.899 | 4.175 |" in said.out
    assert "The paper's, on its machine: CMT 3.55, Video2Music 1.61, EMSYNC 1.42." in said.out
    data = json.loads((out / "scored.json").read_text())
    assert data["settings"]["mood"] == "builtin:pictures"
    assert data["settings"]["tagger"] == "t.onnx"
    a, b = data["films"]
    assert a["av_align"]["music"] == a["av_align"]["others"] == b["av_align"]["music"], "the same film and seed"
    assert a["kl"]["music"] == pytest.approx(a["kl"]["others"])
    assert a["kl"]["music"] > 0
    assert a["within_frame"] <= a["within_second"] <= a["cuts"] == 1
    assert set(data["seconds_per_minute"]) == set(a["spent_s"]) == set(STAGES)
    assert all(each["cpu"] > 0 for stage, each in data["seconds_per_minute"].items() if stage != "mood")
    assert len(midi.read(tmp_path / "kept" / "a.mid")) > 0
    assert b"<svg" in (tmp_path / "p.svg").read_bytes()[:1000]
    assert (tmp_path / "kept" / "a.mid.json").is_file()
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tagger", "a.onnx"], "--tagger is for films that are scored; give --score FOLDER, too"),
        (["--affect", "builtin"], "--affect is for films that are scored; give --score FOLDER, too"),
        (["--score", "films", "--tagger-rate", "16000"], "--tagger-rate is the tagger's; give --tagger FILE.onnx, too"),
        (["--score", "films", "--tagger", "a.onnx"], "the tagger a.onnx is neither a file nor a folder"),
        (["--score", "films", "--plot", "a.pdf"], "a.pdf ends in neither .png nor .svg"),
        (["--score", "films"], "no film could be scored ("),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, model: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("films").mkdir()
    Path("films/a.mp4").write_bytes(b"no film")
    assert main(["evaluate", *arguments, "--model", str(model), "-o", "report", "-q"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["films"]


@pytest.mark.slow
def test_a_picture_shows_each_series_in_a_colour_and_a_mark(tmp_path: Path) -> None:
    names = tuple(f"film{i}.mp4" for i in range(45))
    values = {"own": [0.1] * 45, "shifted": [0.2] * 44 + [math.nan]}
    save([Panel("AV-Align", names, values, lines={"the paper": 0.3})], tmp_path / "a.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert {"#0072b2", "#e69f00"} <= {colour for colour in drawn.replace(";", " ").split() if colour.startswith("#")}
    for i, shown in ((0, True), (39, True), (40, False)):
        assert (f"<!-- film{i}.mp4 -->" in drawn) is shown
    assert "<!-- AV-Align (the first 40 of 45) -->" in drawn
    again = (tmp_path / "a.svg").read_bytes()
    save([Panel("AV-Align", names, values, lines={"the paper": 0.3})], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == again
