"""Styles: low-rank adapters of the composer, trained, merged into stored weights and composed with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emsync import checkpoint, midi
from emsync.adapter_files import ABOUT, MUSICGEN_MOOD, WEIGHTS, write_adapter
from emsync.decoder import open_decoder
from emsync.errors import InputError, ModelError
from emsync.export import difference, export
from emsync.session import Session
from emsync.style import Style, _in_8_bits
from emsync.training import low_rank, styles
from emsync.training.batches import tensors
from emsync.training.corpus.song_to_score import to_score
from emsync.training.crops import CropConfig, Crops
from emsync.training.dataset import Dataset
from emsync.training.objective import losses
from emsync.training.styles import StyleOptions
from tests.models import LOCAL, ROTARY, model_folder, random_inputs, random_model, toy_song


def some_style(folder: Path, rank: int = 2, seed: int = 0) -> Style:
    """A style with random factors for a model's folder."""
    model = checkpoint.load(folder)
    rng = np.random.default_rng(seed)
    down, up = {}, {}
    for name, (n_out, n_in) in ((n, p.shape) for n, p in model.named_parameters() if _is_target(n)):
        down[name] = rng.normal(0, 0.3, (rank, n_in)).astype(np.float16).astype(np.float32)
        up[name] = rng.normal(0, 0.3, (n_out, rank)).astype(np.float16).astype(np.float32)
    return Style(checkpoint.weights_hash(folder), down, up, {"pieces": ["a.mid"]})


def _is_target(name: str) -> bool:
    return name.startswith("blocks.") and name.endswith(".weight") and ("attention." in name or "feed." in name)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in 8 bits, with its graph."""
    folder = model_folder(tmp_path_factory.mktemp("style") / "model", LOCAL, bits=8)
    export(folder)
    return folder


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five MIDI files."""
    folder = tmp_path_factory.mktemp("pieces")
    for seed in range(5):
        midi.write(to_score(toy_song(seed, bars=4)), folder / f"{seed}.mid")
    return folder


def kept(style: Style, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    style.write(folder)
    return folder


def test_whole_numbers_without_torch_are_those_of_quantise() -> None:
    rng = np.random.default_rng(0)
    matrix = (rng.normal(size=(40, 64)) * 10.0 ** rng.uniform(-6, 3, (40, 1))).astype(np.float32)
    matrix[3] = 0.0
    whole, scale = _in_8_bits(matrix)
    right, right_scale = checkpoint.quantise(torch.from_numpy(matrix))
    np.testing.assert_array_equal(whole, right.numpy())
    np.testing.assert_array_equal(scale, right_scale.numpy())


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_both_backends_compute_the_sum_of_model_and_product(tmp_path: Path, bits: checkpoint.Bits) -> None:
    folder = model_folder(tmp_path / "model", LOCAL, bits=bits)
    export(folder)
    style = some_style(folder)
    sums = checkpoint.load(folder)
    with torch.no_grad():
        for name, parameter in sums.named_parameters():
            if name in style.down:
                parameter += 0.5 * torch.from_numpy(style.up[name] @ style.down[name])
    merged = checkpoint.load(folder, style.merged(folder, 0.5))
    for name, parameter in merged.named_parameters():
        right = dict(sums.named_parameters())[name]
        rounding = {8: 1 / 120, 16: 1e-3, 32: 1e-6}[bits]
        assert (parameter - right).abs().max() <= rounding * right.abs().max(), name
    decoder = open_decoder(folder, backend="onnx", style=style, style_strength=0.5)
    assert difference(merged, decoder) < 1e-4
    assert difference(checkpoint.load(folder), decoder) > 1e-3


def test_strength_zero_is_the_model_itself(base: Path) -> None:
    style = some_style(base)
    assert style.merged(base, 0.0) == {}
    nothing = Style(style.base_sha256, style.down, {name: 0 * b for name, b in style.up.items()})
    plain, same = checkpoint.load(base), checkpoint.load(base, nothing.merged(base, 1.0))
    for (name, a), (_, b) in zip(plain.named_parameters(), same.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_style_comes_back_from_its_folder(base: Path, tmp_path: Path) -> None:
    style = some_style(base)
    back = Style.read(kept(style, tmp_path / "style"))
    assert (back.base_sha256, back.rank, back.training) == (style.base_sha256, 2, {"pieces": ["a.mid"]})
    for name, a in style.down.items():
        np.testing.assert_array_equal(back.down[name], a)
        np.testing.assert_array_equal(back.up[name], style.up[name])
    assert len(back.digest) == 16
    assert sorted(path.name for path in (tmp_path / "style").iterdir()) == [ABOUT, WEIGHTS]


def test_what_is_no_style_for_this_model_is_refused(base: Path, tmp_path: Path) -> None:
    folder = kept(some_style(base), tmp_path / "style")
    other = model_folder(tmp_path / "other", LOCAL, seed=1, bits=8)
    with pytest.raises(ModelError, match=r"was trained on a model whose weights hash to .* give that model with --mod"):
        Style.read(folder).merged(other)
    with pytest.raises(InputError, match=r"strength is 1.5; give a number from 0 to 1"):
        Style.read(folder).merged(base, 1.5)
    with pytest.raises(ModelError, match="nothing is not a folder; give a folder of emsync train --adapter lora"):
        Style.read(tmp_path / "nothing")
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps(about | {"format": 9}))
    with pytest.raises(ModelError, match="is not an adapter of this version"):
        Style.read(folder)
    (folder / ABOUT).write_text(json.dumps({"format": 1, "kind": "style-lora"}))
    with pytest.raises(ModelError, match="cannot be read"):
        Style.read(folder)
    (folder / ABOUT).write_text(json.dumps(about))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    with pytest.raises(ModelError, match="cut off"):
        Style.read(folder)
    write_adapter(folder, MUSICGEN_MOOD, {}, {"gains": np.zeros(2, np.float32)})
    with pytest.raises(ModelError, match="is an adapter of emsync train-adapter, for emsync produce --adapter; here"):
        Style.read(folder)


def test_a_fresh_adapter_says_what_the_model_said_and_is_all_that_learns() -> None:
    plain, adapted = random_model(ROTARY), random_model(ROTARY)
    inputs = random_inputs(24)
    added = low_rank.attach(adapted, 2)
    for ours, right in zip(adapted(*inputs), plain(*inputs), strict=True):
        torch.testing.assert_close(ours, right)
    sum(y.sum() for y in adapted(*inputs)).backward()
    learning = {id(p) for p in low_rank.parameters(added)}
    assert len(added) == 6 * ROTARY.n_layers
    for name, parameter in adapted.named_parameters():
        assert parameter.requires_grad == (id(parameter) in learning), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    with pytest.raises(InputError, match="a rank of 0 is not from 1 to the model's width of 16"):
        low_rank.attach(random_model(ROTARY), 0)


@pytest.mark.slow
def test_a_style_learns_its_pieces_and_the_model_stays(base: Path, pieces: Path) -> None:
    before = checkpoint.weights_hash(base)
    found = styles.read_pieces([pieces])
    assert len(found.names) == 5
    style, bits = styles.train(base, found, StyleOptions(rank=4, steps=25, batch=2, context=32, rate=0.02))
    assert checkpoint.weights_hash(base) == before
    assert style.training["pieces"] == list(found.names)
    assert len(bits) == 25
    crops = Crops(Dataset.of(dict(found.archive.arrays)), CropConfig(context=32), seed=9, augment=False)
    batch = tensors(crops.batch(0, 24), torch.device("cpu"))
    with torch.no_grad():
        plain, learned = (
            float(losses(checkpoint.load(base, changed), batch, 0.0)[1]) for changed in ({}, style.merged(base))
        )
    assert learned < plain - 0.25
    assert style.training["bits_last"] < style.training["bits_first"] - 0.2, "of the same crops"
    short = StyleOptions(steps=1, batch=1, context=32)
    first, again = (styles.train(base, found, short)[0] for _ in range(2))
    for name, b in first.up.items():
        np.testing.assert_array_equal(again.up[name], b)


def test_pieces_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no MIDI files; give a folder with the pieces of a style"):
        styles.read_pieces([tmp_path])
    (tmp_path / "a.mid").write_bytes(b"no music")
    with pytest.raises(InputError, match=r"none of the 1 MIDI files of .* can be used"):
        styles.read_pieces([tmp_path])
    midi.write(to_score(toy_song(0, bars=4)), tmp_path / "b.mid")
    midi.write(to_score(toy_song(0, bars=4)), tmp_path / "c.mid")
    found = styles.read_pieces([tmp_path])
    assert [name.rpartition("/")[2] for name in found.names] == ["b.mid"]
    assert len(found.refused) == 1
    with pytest.raises(InputError, match="style: steps is 0; give a whole number of at least 1"):
        StyleOptions(steps=0)


def test_a_session_takes_a_style_and_gives_it_back(base: Path, tmp_path: Path) -> None:
    folder = str(kept(some_style(base), tmp_path / "style"))
    plain = Session.open(base)
    styled = plain.styled(folder, 1.0)
    assert styled.model["style_digest"] == Style.read(folder).digest
    assert plain.styled(folder, 1.0) is styled
    assert styled.styled("", 1.0) is plain
    assert styled.styled(folder, 0.5) is not styled
