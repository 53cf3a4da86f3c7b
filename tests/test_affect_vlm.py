"""Film to mood by a vision-language model: that each picture's own tokens are read, windows, prompts, and heads."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsync import affect_vlm
from emsync.affect_vlm import INSTRUCTION, Probe, Settings, open_vlm, probed
from emsync.errors import InputError, ModelError
from emsync.video import analyze
from emsync.vision import Head, Sight, pictures, quietly
from tests.vision_models import BLACK, BLUE, GREEN, RED, WHITE, film, tiny_clip, tiny_idefics, tiny_llava

SHORT = Settings(window_s=4, hop_s=2, shortest_px=32)
COLOURS = [RED, GREEN, BLUE, BLACK, WHITE, RED, BLUE]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"llava": tiny_llava(folder / "llava"), "idefics": tiny_idefics(folder / "idefics")}


@pytest.fixture(scope="module")
def probes(models: dict[str, Path]) -> dict[str, Probe]:
    return {name: Probe.load(str(path), SHORT) for name, path in models.items()}


def plain(*colours: tuple[int, int, int]) -> list[np.ndarray]:
    """Pictures of one colour, all of one size."""
    return [np.full((32, 48, 3), colour, dtype=np.uint8) for colour in colours]


def head_for(probe: Probe, seed: int = 0, scale: float = 1.0) -> Head:
    rng = np.random.default_rng(seed)
    shapes = {"0.weight": (5, probe.size), "0.bias": (5,), "3.weight": (2, 5), "3.bias": (2,)}
    weights = {name: (scale * rng.normal(size=shape)).astype(np.float32) for name, shape in shapes.items()}
    settings = {name: getattr(probe.settings, name) for name in Settings.__dataclass_fields__}
    return Head("vlm", probe.model, weights, settings)


@pytest.mark.parametrize("name", ["llava", "idefics"])
@pytest.mark.parametrize("changed", [0, 1, 3])
def test_each_picture_is_read_at_its_own_tokens(probes: dict[str, Probe], name: str, changed: int) -> None:
    """The model looks back only: another picture changes itself and what follows, and nothing before it."""
    colours = [RED, GREEN, BLUE, WHITE]
    before = probes[name].of_window(0, plain(*colours))
    colours[changed] = BLACK
    after = probes[name].of_window(0, plain(*colours))
    assert before.shape == (4, 24)
    differs = np.abs(after - before).max(axis=1)
    assert differs[:changed].max(initial=0.0) < 1e-6
    assert differs[changed:].min() > 1e-5


@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_states_are_the_mean_over_a_pictures_tokens(probes: dict[str, Probe], layer: int) -> None:
    """Once more by hand: LLaVA's prompt has four tokens a picture, each after "Time : d s"."""
    import torch

    probe = replace(probes["llava"], settings=replace(SHORT, layer=layer))
    shown = plain(RED, BLUE)
    with quietly(), torch.inference_mode():
        inputs = probe.processor(text=[probe.prompt(7, 2)], images=shown, return_tensors="pt")
        states = probe.network(**inputs, output_hidden_states=True).hidden_states[layer][0]
    ids = inputs["input_ids"][0].tolist()
    first = ids.index(4)
    second = ids.index(4, first + 4)
    assert ids[first : first + 4] == ids[second : second + 4] == [4] * 4
    words = probe.processor.tokenizer.convert_ids_to_tokens(ids)
    assert words[first - 4 : first] == ["Time", ":", "7", "s"]
    assert words[second - 4 : second] == ["Time", ":", "8", "s"]
    expected = [states[at : at + 4].mean(dim=0).numpy() for at in (first, second)]
    assert probe.of_window(7, shown) == pytest.approx(np.array(expected), abs=1e-5)


def test_the_chat_format_is_the_models_own(probes: dict[str, Probe], tmp_path: Path) -> None:
    text = probes["llava"].prompt(3, 2)
    assert text == f"<bos> {INSTRUCTION}  Time: 3s <image> Time: 4s <image><eos>"
    bare = Probe.load(str(tiny_llava(tmp_path / "bare", chat=False)), SHORT)
    assert bare.prompt(3, 2) == f"{INSTRUCTION}\nTime: 3s <image>\nTime: 4s <image>"
    assert bare.of_window(3, plain(RED, BLUE)).shape == (2, 24)


def test_a_film_is_read_in_windows_that_overlap(probes: dict[str, Probe], tmp_path: Path) -> None:
    path = film(tmp_path / "film.mkv", COLOURS)
    probe = probes["llava"]
    reported: list[float] = []
    sight = probe.sight(path, reported.append, 7.0)
    assert sight.times_s.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5]
    assert sight.moment.tolist() == [0, 1, 2, 3, 2, 3, 4, 5, 3, 4, 5, 6]
    assert sight.weight.tolist() == [1, 2, 2, 1] * 3
    assert reported == pytest.approx([3.5 / 7, 5.5 / 7, 6.5 / 7, 1.0])
    shown = [picture for _, picture in pictures(path, shortest_px=32)]
    assert sight.features[4:8] == pytest.approx(probe.of_window(2, shown[2:6]), abs=1e-6)
    # The same second in another window has another past.
    assert np.abs(sight.features[2] - sight.features[4]).max() > 1e-4


def test_a_film_shorter_than_a_window(probes: dict[str, Probe], tmp_path: Path) -> None:
    sight = probes["idefics"].sight(film(tmp_path / "film.mkv", [GREEN], last_s=0.5, rate=8))
    assert (sight.times_s.tolist(), sight.features.shape) == ([0.5], (1, 24))


def test_the_reader_is_equation_three(probes: dict[str, Probe], tmp_path: Path) -> None:
    from math import erf

    probe = probes["llava"]
    path = film(tmp_path / "film.mkv", COLOURS)
    head = head_for(probe, scale=0.4)
    folder = tmp_path / "head"
    folder.mkdir()
    head.write(folder)
    reader = open_vlm(str(folder))
    assert reader.name == f"vlm:{folder}"
    assert reader.probe.settings == SHORT
    curve = reader.read(path, analyze(path))
    sight, w = probe.sight(path), head.weights
    inner = sight.features @ w["0.weight"].T + w["0.bias"]
    inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / np.sqrt(2)))
    rows = np.clip(inner @ w["3.weight"].T + w["3.bias"], -1, 1)
    for axis, level in enumerate((curve.valence, curve.arousal)):
        for moment in range(7):
            at = sight.moment == moment
            assert level[moment] == pytest.approx(np.average(rows[at, axis], weights=sight.weight[at]), abs=1e-5)
    assert np.ptp(curve.valence) > 1e-3


def test_levels_stay_on_the_plane(probes: dict[str, Probe]) -> None:
    features = np.random.default_rng(1).normal(size=(6, 24)).astype(np.float32)
    sight = Sight.of(np.arange(6) + 0.5, [(0, features)])
    levels = probed(head_for(probes["llava"], scale=50.0), sight)
    assert set(np.abs(levels).ravel()) == {1.0}


# --- what cannot be used --------------------------------------------------------------------------------------------


def test_too_many_pictures_for_the_model(tmp_path: Path) -> None:
    probe = Probe.load(str(tiny_llava(tmp_path / "llava", longest=64)), SHORT)
    with pytest.raises(ModelError, match=r"4 pictures are \d+ tokens, .* takes 64; train with a shorter --window"):
        probe.of_window(0, plain(RED, RED, RED, RED))


def test_a_layer_that_is_not_there(models: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="has no layer 3; give 0 to 2, or -1 for the last"):
        Probe.load(str(models["llava"]), replace(SHORT, layer=3))


@pytest.mark.parametrize(("window_s", "hop_s"), [(4, 5), (4, 0)])
def test_windows_that_leave_gaps(window_s: int, hop_s: int) -> None:
    with pytest.raises(InputError, match=f"windows of 4 s every {hop_s} s leave gaps or none"):
        Settings(window_s=window_s, hop_s=hop_s)


def test_pictures_that_show_nothing() -> None:
    with pytest.raises(InputError, match="pictures of 2 pixels show nothing"):
        Settings(shortest_px=2)


def test_tokens_that_do_not_come_out_even(probes: dict[str, Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    probe = probes["llava"]
    with pytest.raises(ModelError, match=r"7 tokens of .* stand for 2 pictures, not as many for each"):
        probe._places(np.array([1, 4, 4, 4, 2, 4, 4, 4, 4]), 2)
    with pytest.raises(ModelError, match=r"0 tokens of .* stand for 2 pictures"):
        probe._places(np.array([1, 2]), 2)
    with pytest.raises(ModelError, match="reads pictures without their times between them"):
        probe._places(np.array([1, 4, 4, 4, 4]), 2)


def test_memory_that_runs_out(probes: dict[str, Probe], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(probes["llava"].network, "forward", full)
    with pytest.raises(ModelError, match=r"memory ran out at \d+ tokens; train with a shorter --window"):
        probes["llava"].of_window(0, plain(RED))


@pytest.mark.parametrize("argument", [None, "some/model"])
def test_without_a_head_there_is_no_reader(argument: str | None) -> None:
    with pytest.raises(ModelError, match=r"is not the folder of a trained head.*emsync train-affect VIDEOS"):
        open_vlm(argument)


@pytest.mark.slow
def test_a_model_without_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"clip' cannot be loaded \(Unrecognized configuration class"):
        Probe.load(str(tiny_clip(tmp_path / "clip")))


def test_heads_that_do_not_fit(probes: dict[str, Probe], tmp_path: Path) -> None:
    good = head_for(probes["llava"])
    replace(good, settings={"window_s": 30}).write(tmp_path)
    with pytest.raises(ModelError, match="lacks a setting"):
        open_vlm(str(tmp_path))
    replace(good, weights={**good.weights, "0.weight": np.zeros((5, 7), np.float32)}).write(tmp_path)
    with pytest.raises(ModelError, match=r"0\.weight has the shape \(5, 7\) .* needs \(None, 24\); train it again"):
        open_vlm(str(tmp_path))


def test_close_ups_are_not_asked_for(probes: dict[str, Probe]) -> None:
    """With them a picture of this size would be five pieces, with words of the model's own between."""
    assert probes["idefics"].processor.image_processor.do_image_splitting is False
    ids = probes["idefics"].processor(text=["<image>"], images=plain(RED), return_tensors="pt")["input_ids"][0]
    assert int((ids == 4).sum()) == 4
    assert affect_vlm.Settings().window_s == 2 * affect_vlm.Settings().hop_s
