"""The mood adapter: nothing changes at gain zero, only it is trained, and it learns; on a tiny random MusicGen."""

from __future__ import annotations

import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from emsync import mood_layers  # noqa: E402
from emsync.adapter_files import ABOUT, WEIGHTS  # noqa: E402
from emsync.affect_vlm import Settings  # noqa: E402
from emsync.backends import Brief  # noqa: E402
from emsync.cli.main import main  # noqa: E402
from emsync.errors import InputError, ModelError  # noqa: E402
from emsync.joins import Window  # noqa: E402
from emsync.mood import MoodCurve  # noqa: E402
from emsync.mood_adapter import SHARE, AdapterShape, MoodAdapter  # noqa: E402
from emsync.musicgen import MusicGen, Sampling  # noqa: E402
from emsync.training.adapter import (  # noqa: E402
    CLIP_S,
    EPOCHS,
    HOP_S,
    LEARNING_RATE,
    MOST_SILENCE,
    TrainingClip,
    loss_of,
    read_folder,
    silence,
    states_of,
    train,
)  # fmt: skip
from emsync.training.mood.heads import Perceptron  # noqa: E402
from tests.music_models import RATE_HZ  # noqa: E402
from tests.songs import with_a_chord  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
#: A row of the table of constants: what it is, and its value here.
CONSTANT = re.compile(r"^\| ([^|]+) \|[^|]*\| ([^|]+) \|[^|]*\|$", re.MULTILINE)
RISING = MoodCurve([0.0, 4.0], [-1.0, 1.0], [1.0, -1.0])


@pytest.fixture(scope="module")
def backend(music_model: Path) -> MusicGen:
    return MusicGen.open(str(music_model))


def lively(backend: MusicGen, seed: int = 0) -> MoodAdapter:
    """An adapter whose gains are not zero."""
    made = MoodAdapter.fresh(AdapterShape.for_network(backend.network), seed=seed)
    made.gains.data += 0.7
    return made


def generated(
    backend: MusicGen, adapter: MoodAdapter | None, mood: MoodCurve | None, window: Window | None = None
) -> Any:
    brief = Brief(with_a_chord(), "lead", "slow strings", 5.0, 120.0, None, 4, mood)
    with torch.no_grad():
        return replace(backend, adapter=adapter).generate(
            brief, window or Window(0, 0, 25), None, 3, lambda share: None
        )


def test_three_quarters_of_the_layers_are_steered(backend: MusicGen) -> None:
    assert AdapterShape.for_network(backend.network) == AdapterShape(24, 3)
    with pytest.raises(InputError, match="0 of the layers cannot be steered"):
        AdapterShape.for_network(backend.network, share=0.0)


@pytest.mark.slow
def test_a_gain_of_zero_changes_no_sample(backend: MusicGen) -> None:
    plain = generated(backend, None, RISING)
    fresh = MoodAdapter.fresh(AdapterShape.for_network(backend.network))
    np.testing.assert_array_equal(backend.decode(generated(backend, fresh, RISING)), backend.decode(plain))
    assert (generated(backend, lively(backend), RISING) != plain).any()
    np.testing.assert_array_equal(generated(backend, lively(backend), None), plain)
    np.testing.assert_array_equal(generated(backend, None, RISING), plain)  # no hook is left behind


def test_the_mood_acts_where_it_stands(backend: MusicGen) -> None:
    """Two curves that part at 2 s have the same control as far from there as the convolutions reach, and no farther."""
    made = lively(backend)
    parting = MoodCurve([0.0, 2.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, -1.0])
    with torch.no_grad():
        a, b = (made.control(mood, 0.0, 200, 50.0) for mood in (parting, MoodCurve.constant(0.0, 0.0)))
    differ = (a - b).abs().amax(dim=1) > 0
    assert made.shape.reach == 40
    assert int(differ.nonzero()[0]) == 2 * 50 - 40
    assert bool(differ[2 * 50 - 40 :].all())


def test_the_control_does_not_depend_on_the_window(backend: MusicGen) -> None:
    made = lively(backend)
    with torch.no_grad():
        whole = made.control(RISING, 0.0, 100, 25.0)
        part = made.control(RISING, 40 / 25.0, 30, 25.0)
    assert whole.shape == (100, 24)
    torch.testing.assert_close(part, whole[40:70])


def test_steps_are_told_the_mood_of_their_own_time(backend: MusicGen) -> None:
    """Sampling step by step with a cache gets the same control as one pass over all steps."""
    made = lively(backend)
    codes = generated(backend, None, None)
    states = states_of(backend, "slow strings")
    rows = backend.laid_out(codes.astype(np.int64), codes.shape[1])
    with torch.no_grad(), made.steering(backend.network, made.control(RISING, 0.0, 25, 25.0)):
        whole = backend.network.decoder(input_ids=rows[:, :-1], encoder_hidden_states=states).logits
        whole = whole[:, states.shape[1] :]
        cache, steps = None, []
        for p in range(rows.shape[1] - 1):
            out = backend.network.decoder(
                input_ids=rows[:, p : p + 1], encoder_hidden_states=states if cache is None else None, cache=cache,
                use_cache=True,
            )  # fmt: skip
            cache = out.cache
            steps.append(out.logits[:, -1])
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, atol=1e-4, rtol=1e-4)


# --- training ---------------------------------------------------------------------------------------------------------


def clip(backend: MusicGen, n_steps: int = 24) -> TrainingClip:
    codes = np.random.default_rng(0).integers(0, 32, (backend.n_books, n_steps)).astype(np.int16)
    return TrainingClip(codes, RISING, 0.0, "slow strings", "a.wav")


def weights(network: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.slow
@pytest.mark.trains
def test_a_tiny_model_overfits_one_clip_and_only_the_adapter_moves(backend: MusicGen) -> None:
    before = weights(backend.network)
    one = clip(backend)
    fresh = MoodAdapter.fresh(AdapterShape.for_network(backend.network))
    made, losses = train(backend, [one], epochs=60, learning_rate=1e-2)
    plain = float(loss_of(backend, None, one, states_of(backend, one.text)).detach())
    assert losses[0] == pytest.approx(plain, abs=1e-5)
    assert losses[-1] < 0.85 * plain
    after = backend.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(value.grad is None for value in backend.network.parameters())
    assert (made.gains != 0).all()
    moved = [not torch.equal(a, b) for a, b in zip(made.parameters, fresh.parameters, strict=True)]
    assert all(moved)


def test_a_folder_and_back(backend: MusicGen, tmp_path: Path) -> None:
    made = lively(backend)
    made.write(tmp_path)
    again = MoodAdapter.read(tmp_path, backend.network)
    assert again.shape == made.shape
    np.testing.assert_array_equal(generated(backend, again, RISING), generated(backend, made, RISING))
    assert len(again.digest) == 16


def test_what_is_no_adapter_is_refused(backend: MusicGen, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="give a folder of emsync train-adapter"):
        MoodAdapter.read(tmp_path / "none", backend.network)
    lively(backend).write(tmp_path)
    (tmp_path / WEIGHTS).write_bytes((tmp_path / WEIGHTS).read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        MoodAdapter.read(tmp_path, backend.network)
    (tmp_path / ABOUT).write_text('{"format": 1, "kind": "head"}')
    with pytest.raises(ModelError, match="is not an adapter of this version"):
        MoodAdapter.read(tmp_path, backend.network)
    MoodAdapter.fresh(AdapterShape(8, 1)).write(tmp_path)
    with pytest.raises(ModelError, match="for a decoder of width 8, this model's is 24 wide with 4 layers"):
        MoodAdapter.read(tmp_path, backend.network)


def sound(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    sound(tmp_path / "a.wav", 0.3 * np.sin(np.arange(4 * RATE_HZ) * 0.3) * rng.random(4 * RATE_HZ))
    (tmp_path / "a.csv").write_text("time_s,valence,arousal\n0,-1,0\n4,1,0.5\n")
    (tmp_path / "a.txt").write_text("slow strings\n")
    return tmp_path


def test_clips_overlap_by_half_and_are_encoded(backend: MusicGen, folder: Path) -> None:
    clips = read_folder(folder, backend)
    size_s = backend.longest * backend.hop / RATE_HZ
    assert [each.first_s for each in clips] == pytest.approx([0.0, size_s / 2, size_s], abs=1e-3)
    assert clips[0].codes.shape == (4, backend.longest)
    assert {each.text for each in clips} == {"slow strings"}
    assert 0 <= int(clips[0].codes.min()) <= int(clips[0].codes.max()) < 32


def test_silent_clips_are_left_out(backend: MusicGen, folder: Path) -> None:
    assert silence(np.concatenate([np.zeros(600, np.float32), np.ones(400, np.float32)]), 1000) == pytest.approx(0.6)
    sound(folder / "a.wav", np.zeros(4 * RATE_HZ))
    with pytest.raises(InputError, match="no clip to train with"):
        read_folder(folder, backend)


@pytest.mark.trains
def test_the_command_trains_and_its_adapter_is_used(
    folder: Path, music_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "adapter"
    arguments = ["train-adapter", str(folder), "-o", str(out), "--model", str(music_model), "--epochs", "2", "-q"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Trained on 3 clips of 1 recording, 2 epochs: loss " in said
    assert sorted(path.name for path in out.iterdir()) == [ABOUT, WEIGHTS]
    assert main(arguments) == 2
    assert "exists already; give --overwrite" in capsys.readouterr().err
    opened = MusicGen.open(str(music_model), adapter=out)
    assert opened.adapter is not None
    assert opened.settings["adapter"] == opened.adapter.digest


HEADER = "time_s,valence,arousal\n"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "a.csv").unlink(), "a.wav has no mood curve; put a.csv beside it"),
        (lambda f: (f / "a.csv").write_text(f"{HEADER}0,0,0\n99,0,0\n"), "a.csv: the mood curve reaches 99 s, past"),
        (lambda f: (f / "a.wav").write_bytes(b"no sound"), "cannot be read as sound"),
        (lambda f: (f / "a.wav").unlink(), "has no recordings"),
        (lambda f: (f / "a.txt").write_text("x" * 2000), "a.txt: the text has 2000 characters"),
    ],
)
def test_folders_that_cannot_be_used(
    folder: Path, music_model: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, spoil: Any, sentence: str
) -> None:
    spoil(folder)
    assert main(["train-adapter", str(folder), "-o", str(tmp_path / "x"), "--model", str(music_model), "-q"]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_a_curve_past_the_end_is_refused() -> None:
    with pytest.raises(InputError, match="past the video's end"):
        Brief(with_a_chord(), "lead", "", 5.0, 120.0, None, 4, MoodCurve([0.0, 60.0], [0.0, 0.0], [0.0, 0.0]))


def test_the_documented_constants_are_those_of_the_code() -> None:
    rows = dict(CONSTANT.findall((ROOT / "docs" / "narrascore.md").read_text(encoding="utf-8")))
    shape, settings, sampling, probe = AdapterShape(8, 1), Settings(), Sampling(), Perceptron()
    taps = mood_layers.TAPS
    assert rows["window and step of the reading"] == f"{settings.window_s} s, {settings.hop_s} s"
    assert rows["layer that is read"] == f"\N{MINUS SIGN}{-settings.layer}, the last"
    assert rows["perceptron"] == f"{probe.hidden} wide, GELU, dropout {probe.dropout:g}"
    assert (rows["λ of eq. 4"], rows["epochs of the probe"]) == (f"{probe.l1:g}", f"{probe.epochs}")
    dilations = ", ".join(map(str, shape.dilations))
    assert (
        rows["convolutions"]
        == f"{len(shape.dilations)} of {taps} taps; dilations {dilations}; {shape.channels} channels"
    )
    dilations = ", ".join(map(str, mood_layers.DILATIONS))
    assert rows["the same in the composer"].startswith(
        f"{len(mood_layers.DILATIONS)} of {taps} taps; dilations {dilations}; {mood_layers.CHANNELS} channels"
    )
    assert rows["layers with the mood"].startswith(f"{100 * SHARE:g} %")
    assert (CLIP_S, HOP_S, MOST_SILENCE) == (30.0, 15.0, 0.4)
    assert rows["epochs of the adapter"] == f"{EPOCHS}"
    assert rows["learning rate, batch, optimiser"] == f"{LEARNING_RATE:g}, 1, AdamW"
    assert rows["guidance, top-k, temperature"].startswith(
        f"{sampling.guidance:g}, {sampling.top_k}, {sampling.temperature:g}"
    )
