"""Model folders: what is saved comes back, a mismatch is refused, and a failing save changes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from emsync import checkpoint, folders, weight_parts
from emsync import vocabulary as v
from emsync.errors import ModelError, OutputError
from emsync.model import EventTransformer
from emsync.model_config import ModelConfig
from tests.models import CONFIGS, LOCAL, ROTARY, model_folder, random_inputs, random_model

#: Wide enough for matrices of 8 bits.
WIDE, WIDE_TIED = (replace(config, width=64, ff_width=128) for config in (LOCAL, ROTARY))


def logits(model: EventTransformer) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([x.flatten() for x in model(*random_inputs(20))])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_comes_back_exactly(tmp_path: Path, name: str) -> None:
    model = random_model(CONFIGS[name])
    checkpoint.save(model, tmp_path / "model", training={"steps": 3})
    back = checkpoint.load(tmp_path / "model")
    assert back.config == model.config
    assert not back.training
    for (key, put), (other, got) in zip(model.state_dict().items(), back.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(put, got), key
    assert torch.equal(logits(model), logits(back))
    about = checkpoint.read_config(tmp_path / "model")
    assert about["training"] == {"steps": 3}
    assert about["parameters"] == model.n_parameters
    assert sorted(os.listdir(tmp_path)) == ["model"]
    assert sorted(os.listdir(tmp_path / "model")) == ["config.json", "model.safetensors", "vocabulary.json"]


def test_half_precision_comes_back_close_and_takes_half_the_room(tmp_path: Path) -> None:
    model = random_model(ROTARY)
    whole, half = tmp_path / "whole", tmp_path / "half"
    checkpoint.save(model, whole)
    checkpoint.save(model, half, bits=16)
    back = checkpoint.load(half)
    for put, got in zip(model.parameters(), back.parameters(), strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, put, rtol=1e-3, atol=1e-4)
    sizes = [(folder / checkpoint.WEIGHTS).stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]


@pytest.mark.parametrize("config", [WIDE, WIDE_TIED, replace(CONFIGS["relative"], width=64)])
def test_in_8_bits_matrices_come_back_as_whole_numbers_times_a_scale_a_row(tmp_path: Path, config: ModelConfig) -> None:
    model = random_model(config)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoint.save(model, tmp_path / "whole")
    checkpoint.save(model, tmp_path / "model", bits=8)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    stored = safetensors.torch.load_file(tmp_path / "model" / checkpoint.WEIGHTS)
    back = checkpoint.load(tmp_path / "model").state_dict()
    matrices = {name for name, tensor in stored.items() if tensor.dtype == torch.int8}
    assert {"events.weight", "blocks.0.attention.query.weight", "blocks.1.feed.contract.weight"} <= matrices
    for name in back.keys() & stored.keys():
        if name in matrices:
            whole, scale = stored[name].float(), stored[f"{name}.scale"]
            assert torch.equal(back[name], whole * scale[:, None])
            assert int(whole.abs().amax(1).min()) == int(whole.abs().max()) == 127
            assert bool(((before[name] - back[name]).abs() <= 0.50001 * scale[:, None]).all())
        else:
            assert torch.equal(back[name], before[name].half().float())
    assert ("head.weight" in stored) != config.tied
    assert checkpoint.read_config(tmp_path / "model")["bits"] == 8
    sizes = [(tmp_path / name / checkpoint.WEIGHTS).stat().st_size for name in ("whole", "model")]
    assert sizes[1] < 0.35 * sizes[0]


def test_saving_8_bits_again_gives_the_same_bytes(tmp_path: Path) -> None:
    for before, after in (("0", "1"), ("1", "2")):
        model = random_model(WIDE) if before == "0" else checkpoint.load(tmp_path / before)
        checkpoint.save(model, tmp_path / after, bits=8)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


@pytest.mark.parametrize("bits", [2, 4, 6, 8])
def test_quantising_keeps_near_and_the_second_time_changes_nothing(bits: int) -> None:
    """Rows of every size that float32 knows, and one of zeros."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(80, 40, generator=generator) * torch.logspace(-36, 36, 80)[:, None]
    matrix[3] = 0
    whole, scale = checkpoint.quantise(matrix, bits=bits)
    assert (whole.dtype, scale.dtype, scale.shape) == (torch.int8, torch.float32, (80,))
    assert int(whole.abs().max()) == 2 ** (bits - 1) - 1
    near = whole.float() * scale[:, None]
    assert bool(((near - matrix).abs() <= 0.50001 * scale[:, None]).all())
    again, same = checkpoint.quantise(near, bits=bits)
    assert torch.equal(whole, again)
    assert torch.equal(scale, same)


@pytest.mark.parametrize("wrong", [1e5, float("inf"), float("nan")])
@pytest.mark.parametrize("bits", [8, 16])
def test_weights_that_fewer_bits_cannot_hold_are_refused(tmp_path: Path, bits: checkpoint.Bits, wrong: float) -> None:
    model = random_model(WIDE)
    with torch.no_grad():
        model.head.weight[3, 5] = wrong
    with pytest.raises(ModelError, match=r"head\.weight has a weight of (1e\+05|inf|nan), and float16 ends at 65504; "):
        checkpoint.save(model, tmp_path / "model", bits=bits)
    assert not list(tmp_path.iterdir())


def test_other_numbers_of_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights of 4 bits cannot be written; choose 8, 16 or 32"):
        checkpoint.save(random_model(), tmp_path / "model", bits=4)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda scale: {}, "missing"),
        (lambda scale: {"events.weight.scale": scale[1:]}, r"F32 \[911\]"),
        (lambda scale: {"events.weight.scale": scale.half()}, r"F16 \[912\]"),
    ],
)
def test_8_bits_without_their_scale_are_refused(
    tmp_path: Path, change: Callable[[torch.Tensor], dict[str, torch.Tensor]], found: str
) -> None:
    path = model_folder(tmp_path / "model", WIDE, bits=8) / checkpoint.WEIGHTS
    state = safetensors.torch.load_file(path)
    safetensors.torch.save_file(state | change(state.pop("events.weight.scale")), path)
    sentence = rf"has events\.weight in 8 bits, but events\.weight\.scale is {found}, not F32 \[912\]; copy the whole"
    with pytest.raises(ModelError, match=sentence) as caught:
        checkpoint.load(path.parent)
    assert "\n" not in str(caught.value)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    for config, bits in ((ROTARY, 32), (WIDE_TIED, 8)):
        back = checkpoint.load(model_folder(tmp_path / str(bits), config, bits=bits))  # type: ignore[arg-type]
        assert back.head.weight is back.events.weight


def test_the_hash_distinguishes_weights(tmp_path: Path) -> None:
    folders = [model_folder(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, same, other = (checkpoint.weights_hash(folder) for folder in folders)
    assert first == same != other
    assert len(first) == 64


def edit_json(name: str, change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(change(values)))

    return edit


def cut(name: str, share: float) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return edit


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def other_weights(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / checkpoint.WEIGHTS)
    del state["norm.weight"]
    safetensors.torch.save_file(state, folder / checkpoint.WEIGHTS)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (without("config.json"), r"has no config\.json; copy the whole model folder"),
        (without("vocabulary.json"), r"has no vocabulary\.json"),
        (without("model.safetensors"), r"has no model\.safetensors"),
        (cut("config.json", 0.5), r"config\.json is not JSON \(.*\); copy the whole"),
        (cut("vocabulary.json", 0.5), r"vocabulary\.json is not JSON"),
        (cut("model.safetensors", 0.5), "it may be cut off: copy it again"),
        (cut("model.safetensors", 0), "it may be cut off"),
        (edit_json("config.json", lambda _: []), "is not of format 1"),
        (edit_json("config.json", lambda c: c | {"format": 99}), "is not of format 1"),
        (edit_json("config.json", lambda c: c | {"vocabulary": "0" * 16}), "another vocabulary .*hash 0{16}"),
        (edit_json("vocabulary.json", lambda c: {"events": c["events"][:-1]}), f"another vocabulary .{v.SIZE - 1} ev"),
        (edit_json("vocabulary.json", lambda c: {"events": 7}), "cannot be read"),
        (edit_json("vocabulary.json", lambda c: {}), "cannot be read"),
        (edit_json("config.json", lambda c: c | {"model": c["model"] | {"ff_width": 8}}), "does not fit its config"),
        (edit_json("config.json", lambda c: c | {"model": c["model"] | {"sparkle": 8}}), "unknown setting 'sparkle'"),
        (edit_json("config.json", lambda c: c | {"model": c["model"] | {"lanes": ["x"]}}), "not those of this version"),
        (other_weights, "does not fit its config"),
    ],
)
def test_refuses_a_folder_that(tmp_path: Path, break_it: Callable[[Path], None], message: str) -> None:
    folder = model_folder(tmp_path / "model", LOCAL)
    break_it(folder)
    with pytest.raises(ModelError, match=message) as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value)


def test_refuses_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("nothing", "file"):
        with pytest.raises(ModelError, match="is not a model folder; give the folder that emsync train wrote"):
            checkpoint.load(tmp_path / name)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", seed=0)
    (folder / checkpoint.GRAPH).write_bytes(b"a graph of the old weights")
    model_folder(tmp_path / "model", seed=1)
    assert contents(folder) == contents(model_folder(tmp_path / "other", seed=1))
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]


def fail(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def fail_as_safetensors_does(*_: object, **__: object) -> None:
    raise safetensors.SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("what", "failure"),
    [
        ("safetensors.torch.save_file", fail_as_safetensors_does),
        ("emsync.folders.replace_folder", fail),
        ("emsync.checkpoint.Path.write_text", fail),
    ],
)
def test_a_failing_save_leaves_the_old_folder_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, failure: Callable[..., None]
) -> None:
    folder = model_folder(tmp_path / "model", seed=0)
    before = contents(tmp_path)
    monkeypatch.setattr(what, failure)
    with pytest.raises(OutputError, match=r"No space left on device.*; free some space"):
        checkpoint.save(random_model(ROTARY, 1), folder)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_where_names_can_be_swapped_and_where_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / folder.name).write_text(folder.name)
    folders.replace_folder(new, old)
    assert contents(tmp_path) == {"old/new": b"new"}
    assert os.listdir(tmp_path) == ["old"]


def test_without_swapping_a_failure_half_way_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    folder = model_folder(tmp_path / "model")
    before = contents(tmp_path)
    with pytest.raises(FileNotFoundError):
        folders.replace_folder(tmp_path / "nothing", folder)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == ["model"]


def test_nothing_but_a_model_folder_is_replaced(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "summer.jpg").write_bytes(b"sun")
    (tmp_path / "file").write_bytes(b"text")
    for target in (photos, tmp_path / "file"):
        with pytest.raises(OutputError, match="exists and is not a model folder; move it away"):
            checkpoint.save(random_model(), target)
    assert contents(tmp_path) == {"file": b"text", "photos/summer.jpg": b"sun"}
    (tmp_path / "empty").mkdir()
    assert checkpoint.load(model_folder(tmp_path / "empty")).config == ROTARY


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be written .*; free some space or choose another folder"):
        checkpoint.save(random_model(), tmp_path / "file" / "model")


# In parts


def parts_folder(folder: Path, seed: int = 0) -> Path:
    weight_parts.save_parts(random_model(LOCAL, seed), folder, training={"steps": 3}, part_bytes=5000)
    return folder


def test_parts_join_to_the_model_in_half_precision(tmp_path: Path) -> None:
    parts = parts_folder(tmp_path / "parts")
    names = sorted(os.listdir(parts))
    assert names[:3] == ["index.json", "part-00.bin", "part-01.bin"]
    assert max((parts / name).stat().st_size for name in names[1:]) == 5000
    assert weight_parts.join_parts(parts, tmp_path / "joined") == tmp_path / "joined"
    checkpoint.save(random_model(LOCAL), tmp_path / "half", training={"steps": 3}, bits=16)
    assert contents(tmp_path / "joined") == contents(tmp_path / "half")
    assert weight_parts.PART_BYTES < 16 * 2**20
    parts_folder(parts, seed=1)  # a later save replaces them all
    with pytest.raises(OutputError, match="joined exists already; give --overwrite to replace it"):
        weight_parts.join_parts(parts, tmp_path / "joined")
    weight_parts.join_parts(parts, tmp_path / "joined", overwrite=True)
    assert not torch.equal(*(logits(checkpoint.load(tmp_path / name)) for name in ("joined", "half")))
    assert sorted(os.listdir(tmp_path)) == ["half", "joined", "parts"]


def of_another_save(folder: Path) -> None:
    other = parts_folder(folder.parent / "other", seed=1)
    (other / "part-01.bin").replace(folder / "part-01.bin")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (without("part-01.bin"), r"lacks part-01\.bin, one of \d+ parts; bring it over, then join them again"),
        (cut("part-01.bin", 0.5), r"part-01\.bin is damaged, or of another save \(2500 bytes of 5000\); bring it over"),
        (of_another_save, r"part-01\.bin is damaged, or of another save \(5000 bytes of 5000\)"),
        (without("index.json"), r"index\.json cannot be read .*; give the folder that emsync train --parts wrote"),
        (cut("index.json", 0.5), r"index\.json is not JSON \(.*\); give the folder that"),
        (
            edit_json("index.json", lambda x: x | {"parts": [x["parts"][0] | {"name": "n" * 5000}]}),
            r"lacks n{5000}, one of 1 parts; bring it over",
        ),
        (
            edit_json("index.json", lambda x: x | {"parts": [x["parts"][0] | {"bytes": 1e999}]}),
            "cannot convert float inf",
        ),
        (edit_json("index.json", lambda x: []), r"index\.json cannot be read"),
        (edit_json("index.json", lambda x: x | {"format": 99}), r"index\.json is not of format 1"),
        (edit_json("index.json", lambda x: x | {"config": {"vocabulary": "0"}}), "speaks another vocabulary .hash 0."),
    ],
)
def test_refuses_parts_that(tmp_path: Path, break_it: Callable[[Path], None], message: str) -> None:
    parts = parts_folder(tmp_path / "parts")
    break_it(parts)
    with pytest.raises(ModelError, match=message) as caught:
        weight_parts.join_parts(parts, tmp_path / "joined")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "joined").exists()


@pytest.mark.parametrize("what", ["safetensors.torch.save_file", "emsync.checkpoint.Path.write_bytes"])
def test_a_full_disk_leaves_the_old_parts_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    parts = parts_folder(tmp_path / "parts")
    before = contents(tmp_path)
    monkeypatch.setattr(what, fail)
    with pytest.raises(OutputError, match=r"No space left on device.*; free some space"):
        parts_folder(parts, seed=1)
    assert contents(tmp_path) == before
    assert os.listdir(tmp_path) == ["parts"]


def test_parts_replace_nothing_but_parts_and_join_into_nothing_but_a_model(tmp_path: Path) -> None:
    parts, other = parts_folder(tmp_path / "parts"), tmp_path / "photos"
    other.mkdir()
    (other / "summer.jpg").write_bytes(b"sun")
    with pytest.raises(OutputError, match="exists and is not a folder of parts; move it away"):
        parts_folder(other)
    with pytest.raises(OutputError, match="exists and is not a model folder; move it away"):
        weight_parts.join_parts(parts, other, overwrite=True)
    (tmp_path / "file").write_text("x")
    for write in (parts_folder, lambda folder: weight_parts.join_parts(parts, folder)):
        with pytest.raises(OutputError, match=r"cannot be written .*; free some space or choose another folder"):
            write(tmp_path / "file" / "x")
    assert contents(other) == {"summer.jpg": b"sun"}


def test_the_embedded_folder_is_in_the_package() -> None:
    assert checkpoint.embedded_folder().parent.parent == Path(checkpoint.__file__).parent


def test_settings_travel_as_json() -> None:
    for config in CONFIGS.values():
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# ---- files that do harm ----------------------------------------------------------------------------------------------


def sparse(folder: Path, name: str, size: int = 3 << 30) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(size)


def header_of(folder: Path, raw: bytes, size: int | None = None) -> None:
    (folder / checkpoint.WEIGHTS).write_bytes((len(raw) if size is None else size).to_bytes(8, "little") + raw)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: sparse(folder, "config.json"), r"config\.json has 3221225472 bytes, over 16777216"),
        (lambda folder: sparse(folder, "vocabulary.json"), r"vocabulary\.json has 3221225472 bytes, over"),
        (lambda folder: (folder / "config.json").write_text("[" * 200_000), "is not JSON .it is nested too deeply."),
        (lambda folder: (folder / "config.json").write_text("1" * 10_000), r"config\.json is not JSON"),
        (lambda folder: header_of(folder, b"{" * 50_000), "cannot be read"),
        (lambda folder: header_of(folder, b'{"a": ' * 200_000), "cannot be read"),
        (lambda folder: header_of(folder, b"{}", 4 << 30), "its header is incomplete"),
    ],
)
def test_files_that_would_fill_the_memory_are_refused(
    tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    folder = model_folder(tmp_path / "model", LOCAL)
    break_it(folder)
    with pytest.raises(ModelError, match=message) as caught:
        checkpoint.load(folder)
    assert "\n" not in str(caught.value)


def test_a_huge_header_within_a_sparse_file_is_not_read(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", LOCAL)
    with (folder / checkpoint.WEIGHTS).open("wb") as file:
        file.write((3 << 30).to_bytes(8, "little"))
        file.truncate(4 << 30)
    with pytest.raises(ModelError, match="its header has 3221225472 bytes, over 16777216"):
        checkpoint.weights_header(folder / checkpoint.WEIGHTS)


def test_weights_that_are_a_device_are_refused() -> None:
    with pytest.raises(ModelError, match=r"/dev/zero cannot be read \(it is not a regular file\)"):
        checkpoint.weights_header(Path("/dev/zero"))
