"""Exporting a model: its graph, its bits, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from emsync import checkpoint, export, onnx_graph
from emsync.cli.export import command
from emsync.copying import N_STRENGTHS
from emsync.decoder import open_decoder
from emsync.errors import ModelError, OutputError
from emsync.mixture import Mixture
from tests.decoder.variants import CONTEXT, VARIANTS, close, song, tiny


def test_the_weights_are_not_in_the_graph(folders: Callable[[str], Path]) -> None:
    """The graph's size does not follow the model's width: it points into model.safetensors."""
    import onnx

    graph = onnx.load(str(folders("small") / "model.onnx"), load_external_data=False)
    outside = [t for t in graph.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert len(outside) == len(checkpoint.load(folders("small")).state_dict())
    assert {entry.value for t in outside for entry in t.external_data if entry.key == "location"} == {
        "model.safetensors"
    }
    assert max(np.prod(t.dims) for t in graph.graph.initializer if t not in outside) <= CONTEXT


def test_a_graph_that_strays_is_not_kept(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check that guards the export sees a small error, and leaves the folder as it was."""
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    right = onnx_graph._level_lane

    def louder(g: Any, level: str, name: str, width: int) -> str:
        return right(g, g.op("Mul", level, g.constant(1.05)), name, width)

    monkeypatch.setattr(onnx_graph, "_level_lane", louder)
    with pytest.raises(ModelError, match="the graph strays from torch by"):
        export.export(copied)
    assert {file.name: file.read_bytes() for file in copied.iterdir()} == before


def test_the_same_graph_is_written_again(copied: Path) -> None:
    before = (copied / "model.onnx").read_bytes()
    assert export.export(copied).read_bytes() == before


@pytest.mark.parametrize("name", ["paper", "small"])
def test_every_value_in_the_graph_has_a_name_of_its_own(name: str, folders: Callable[[str], Path]) -> None:
    """A weight named as an input (as "positions" is in both) would take its place."""
    import onnx

    graph = onnx.load(str(folders(name) / "model.onnx"), load_external_data=False).graph
    names = [value.name for value in (*graph.input, *graph.initializer)]
    names += [output for node in graph.node for output in node.output]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("words", "bits", "share"), [((), 16, 0.6), (("--bits", "8"), 8, 0.4), (("--bits", "32"), 32, 1.01)]
)
def test_shipping_takes_the_room_of_its_bits(
    copied: Path, tmp_path: Path, words: tuple[str, ...], bits: int, share: float
) -> None:
    full = (copied / "model.safetensors").stat().st_size
    result = CliRunner().invoke(command, [str(copied), "-o", str(tmp_path / "shipped"), *words], catch_exceptions=False)
    assert result.exit_code == 0
    assert "Written:" in result.output
    shipped = tmp_path / "shipped"
    assert sorted(file.name for file in shipped.iterdir()) == [
        "config.json", "model.onnx", "model.safetensors", "vocabulary.json",
    ]  # fmt: skip
    assert (shipped / "model.safetensors").stat().st_size < share * full
    assert checkpoint.read_config(shipped)["bits"] == bits
    given = song()
    logits, _ = given.right(checkpoint.load(shipped))
    close(given.prefill(open_decoder(shipped), 19)[0], logits[:, 18])


def test_shipping_in_full_keeps_every_bit(copied: Path, tmp_path: Path) -> None:
    export.ship(copied, tmp_path / "shipped", bits=32)
    one, other = (checkpoint.load(folder).state_dict() for folder in (copied, tmp_path / "shipped"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_exporting_in_place_replaces_the_graph_only(copied: Path) -> None:
    before = {file.name: file.read_bytes() for file in copied.iterdir()}
    (copied / "model.onnx").write_bytes(b"old")
    result = CliRunner().invoke(command, [str(copied)], catch_exceptions=False)
    assert result.exit_code == 0
    assert {file.name: file.read_bytes() for file in copied.iterdir()} == before


def test_bits_need_an_output_and_are_8_16_or_32(copied: Path) -> None:
    for words, sentence in (
        (("--bits", "8"), "--bits goes with -o OUT_DIR"),
        (("--bits", "4", "-o", "x"), "'4' is not one of '8', '16', '32'"),
        (("--join", "--bits", "8", "-o", "x"), "give -o OUT_DIR, without --bits"),
    ):
        result = CliRunner().invoke(command, [str(copied), *words])
        assert result.exit_code == 2
        assert sentence in result.output


def test_shipping_refuses_what_it_would_destroy(copied: Path, tmp_path: Path) -> None:
    target = tmp_path / "shipped"
    export.ship(copied, target)
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        export.ship(copied, target)
    (target / export.CARD).write_text("what it can do")
    export.ship(copied, target, overwrite=True)
    assert (target / export.CARD).read_text() == "what it can do"
    mixture = Mixture((0.0, *[0.25] * (N_STRENGTHS - 1)))
    mixture.write(copied)
    for _ in range(2):  # it comes along, and is no reason to refuse
        export.ship(copied, target, overwrite=True)
        assert Mixture.read(target) == mixture
    (target / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds more than a model \(notes\.txt\)"):
        export.ship(copied, target, overwrite=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file; give the name of a folder"):
        export.ship(copied, tmp_path / "file", overwrite=True)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "model", "shipped"]


def test_weights_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    model = tiny(**VARIANTS["small"])
    with torch.no_grad():
        model.head.weight[0, 0] = 1e5
    checkpoint.save(model, tmp_path / "model")
    with pytest.raises(
        ModelError, match=r"a weight of 1e\+05, and float16 ends at 65504; keep it in 32 bits \(--bits 32\)"
    ):
        export.ship(tmp_path / "model", tmp_path / "shipped")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"]


def test_what_is_no_model_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a model folder"):
        export.export(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        export.ship(tmp_path, tmp_path / "shipped")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("about", ["[" * 200_000, "{", "[1]", "7"])
def test_a_graph_that_garbles_its_model_is_refused(tmp_path: Path, about: str) -> None:
    import onnx

    folder = tmp_path / "model"
    checkpoint.save(tiny(**VARIANTS["small"]), folder)
    export.export(folder)
    graph = onnx.load(folder / checkpoint.GRAPH, load_external_data=False)
    for entry in graph.metadata_props:
        if entry.key == "model":
            entry.value = about
    onnx.save(graph, folder / checkpoint.GRAPH)
    with pytest.raises(ModelError, match="does not say which model it is of; write it again with: emsync export"):
        open_decoder(folder, backend="onnx")
