"""Decoders: cached steps equal the whole pass, with ONNX Runtime and with torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import emsync
from emsync import checkpoint, decoder, export
from emsync.composer import compose
from emsync.conditions import N_LANES, Conditions
from emsync.copying import N_STRENGTHS
from emsync.decoder import open_decoder
from emsync.errors import MissingExtraError, ModelError
from emsync.mixture import Mixture
from emsync.networks import OnnxNetwork
from tests.decoder.variants import BACKENDS, BLOCK, CONTEXT, VARIANTS, Song, close, song, tiny
from tests.fakes import plain_recipe


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_cached_decoding_equals_the_whole_pass(name: str, backend: Any, folders: Callable[[str], Path]) -> None:
    """At every position to the last, whether the beginning ends in the first block, on its edge or blocks later."""
    opened, given = open_decoder(folders(name), backend=backend), song()
    assert opened.backend == backend
    logits, levels = given.right(checkpoint.load(folders(name)))
    assert np.abs(logits).max() > 1  # there is something to compare
    # From the first beginning to the end; from the others into the block after the next.
    for begun, end in (
        (5, CONTEXT),
        (1, BLOCK),
        (BLOCK, 2 * BLOCK + 1),
        (2 * BLOCK + 3, CONTEXT),
        (CONTEXT - 1, CONTEXT),
    ):
        found = [given.prefill(opened, begun)]
        found += [given.step(opened, t) for t in range(begun, end)]
        assert opened.length == end
        close(np.stack([x for x, _ in found], axis=1), logits[:, begun - 1 : end])
        close(np.stack([x for _, x in found], axis=1), levels[:, begun - 1 : end])


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [VARIANTS["small"] | {"local_block": 24}, VARIANTS["paper"]])
def test_caches_grow_and_come_round(
    shape: dict[str, Any], backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that are no multiple of the chunk, and caches that grow many times before the rings come round."""
    monkeypatch.setattr(decoder, "GROWTH", 4)
    monkeypatch.setattr(decoder, "CHUNK", 10)
    model, given = tiny(**shape, context=96), song(rows=3, count=96)
    checkpoint.save(model, tmp_path / "model")
    export.export(tmp_path / "model")
    opened = open_decoder(tmp_path / "model", backend=backend)
    logits, _ = given.right(model)
    found = [given.prefill(opened, 35)[0]] + [given.step(opened, t)[0] for t in range(35, 96)]
    close(np.stack(found, axis=1), logits[:, 34:])


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", ["paper", "small", "rotary-global"])
def test_weights_of_fewer_bits_run_alike(name: str, bits: checkpoint.Bits, tmp_path: Path) -> None:
    checkpoint.save(tiny(**VARIANTS[name]), tmp_path / "model", bits=bits)
    export.export(tmp_path / "model")
    given = song()
    right, _ = given.right(checkpoint.load(tmp_path / "model"))
    one, other = (open_decoder(tmp_path / "model", backend=backend) for backend in BACKENDS)
    for a, b in zip(given.prefill(one, 20), given.prefill(other, 20), strict=True):
        close(a, b)
    for t in range(20, CONTEXT):
        found = given.step(one, t)[0]
        close(found, given.step(other, t)[0])
        close(found, right[:, t])
    assert np.abs(right - given.right(tiny(**VARIANTS[name]))[0]).max() > 1e-4  # fewer bits are not the same model


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
def test_both_backends_compose_the_same_of_fewer_bits(bits: checkpoint.Bits, tmp_path: Path) -> None:
    checkpoint.save(tiny(**VARIANTS["small"]), tmp_path / "model", bits=bits)
    export.export(tmp_path / "model")
    film, recipe = Conditions(boundaries_s=np.array([1.5]), end_s=4.0), plain_recipe(seed=3)
    (one,), (other,) = (
        compose(open_decoder(tmp_path / "model", backend=backend), [film], recipe) for backend in BACKENDS
    )
    assert len(one.events) > CONTEXT
    assert np.array_equal(one.events.ids, other.events.ids)
    assert np.array_equal(one.events.velocities, other.events.velocities)


def test_8_bits_are_made_float32_once_and_are_outside_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    import onnxruntime

    checkpoint.save(tiny(**VARIANTS["small"]), tmp_path / "model", bits=8)
    graph = onnx.load(str(export.export(tmp_path / "model")), load_external_data=False).graph
    kinds = [tensor.data_type for tensor in graph.initializer]
    turned = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert len(turned) == kinds.count(onnx.TensorProto.INT8) > 20
    assert max(np.prod(t.dims) for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL) <= CONTEXT

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    monkeypatch.setattr(onnxruntime, "SessionOptions", lambda: options)
    open_decoder(tmp_path / "model", backend="onnx")
    loaded = onnx.load(str(tmp_path / "loaded.onnx")).graph
    assert loaded.node
    assert not any(node.op_type == "DequantizeLinear" for node in loaded.node)


def test_8_bits_whose_scales_are_gone_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tiny(**VARIANTS["small"]), tmp_path / "model", bits=8)
    export.export(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    del state["head.weight.scale"]
    safetensors.torch.save_file(state, weights)
    for read in (open_decoder, lambda folder: open_decoder(folder, backend="torch"), export.export):
        with pytest.raises(
            ModelError, match=r"has head\.weight in 8 bits, but head\.weight\.scale is missing, not F32"
        ):
            read(tmp_path / "model")


def test_weights_of_another_training_need_no_other_graph(copied: Path) -> None:
    model = checkpoint.load(copied)
    with torch.no_grad():
        model.head.weight.mul_(-1)
    graph = (copied / "model.onnx").read_bytes()
    checkpoint.save(model, copied)
    (copied / "model.onnx").write_bytes(graph)
    given = song()
    close(given.prefill(open_decoder(copied, backend="onnx"), 20)[0], given.right(model)[0][:, 19])


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_are_kept_reordered_and_doubled(backend: Any, folders: Callable[[str], Path]) -> None:
    opened, given = open_decoder(folders("small"), backend=backend), song(rows=3)
    logits, _ = given.right(checkpoint.load(folders("small")))
    given.prefill(opened, 15)
    for t, rows in ((15, [2, 0, 0, 1]), (23, [3, 1])):
        opened.select(np.array(rows))
        given, logits = given.rows(rows), logits[rows]
        for at in range(t, t + 8):
            close(given.step(opened, at)[0], logits[:, at])
    with pytest.raises(ModelError, match=r"rows \[2\] cannot be chosen from 2"):
        opened.select(np.array([2]))
    with pytest.raises(ModelError, match=r"rows \[\] cannot be chosen"):
        opened.select(np.array([], dtype=np.int64))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prefill_starts_over(backend: Any, folders: Callable[[str], Path]) -> None:
    """With another number of rows and another mood; what was held before leaves no trace."""
    opened, first, second = open_decoder(folders("small"), backend=backend), song(rows=1), song(rows=3, seed=8)
    first.prefill(opened, CONTEXT)
    logits, _ = second.right(checkpoint.load(folders("small")))
    close(second.prefill(opened, 9)[0], logits[:, 8])
    assert opened.length == 9
    close(second.step(opened, 9)[0], logits[:, 9])


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_of_other_types_and_strides_are_taken(backend: Any, folders: Callable[[str], Path]) -> None:
    opened, given = open_decoder(folders("small"), backend=backend), song(count=24)
    logits, _ = given.right(checkpoint.load(folders("small")))
    ids, lanes = np.asfortranarray(given.ids.astype(np.int16)), given.lanes.astype(np.float64)
    for array in (ids, lanes):
        array.flags.writeable = False
    close(
        opened.prefill(ids[:, :20], given.previous_velocity[:, :20].astype(np.uint8), lanes[:, :20], given.mood)[0],
        logits[:, 19],
    )
    close(opened.step(ids[:, 20], given.previous_velocity[:, 20].astype(np.uint8), lanes[:, 20])[0], logits[:, 20])


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_step_goes_past_the_context(backend: Any, folders: Callable[[str], Path]) -> None:
    opened, given = open_decoder(folders("small"), backend=backend), song()
    assert opened.context == CONTEXT
    assert opened.knows_mood
    with pytest.raises(ModelError, match="prefill at least one position first"):
        given.step(opened, 0)
    given.prefill(opened, CONTEXT - 1)
    given.step(opened, CONTEXT - 1)
    with pytest.raises(ModelError, match="all 32 positions are taken; prefill anew"):
        given.step(opened, 0)
    assert opened.length == CONTEXT


@pytest.mark.parametrize("count", [0, CONTEXT + 1])
def test_a_beginning_must_fit(count: int, folders: Callable[[str], Path]) -> None:
    given = song(count=CONTEXT + 1)
    with pytest.raises(ModelError, match=f"{count} positions; the model holds 1 to 32"):
        given.prefill(open_decoder(folders("small")), count)


def test_shapes_must_fit(folders: Callable[[str], Path]) -> None:
    opened, given = open_decoder(folders("small")), song()
    with pytest.raises(ModelError, match=r"previous_velocity \(2, 31\).* do not fit; give \(B, T\)"):
        opened.prefill(given.ids, given.previous_velocity[:, :-1], given.lanes, given.mood)
    with pytest.raises(ModelError, match=r"mood \(1, 2\) do not fit"):
        opened.prefill(given.ids, given.previous_velocity, given.lanes, given.mood[:1])
    given.prefill(opened, 5)
    with pytest.raises(ModelError, match=rf"2 rows are held: give \(2,\), \(2,\) and \(2, {N_LANES}\)"):
        given.rows([0]).step(opened, 5)


def test_the_backend_is_chosen_by_what_is_there(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_decoder(copied).backend == "onnx"
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "_has", lambda module: module != "onnxruntime")
        assert open_decoder(copied).backend == "torch"
        with pytest.raises(MissingExtraError, match="onnxruntime is not installed; run: pip install onnxruntime"):
            open_decoder(copied, backend="onnx")
    (copied / "model.onnx").unlink()
    assert open_decoder(copied).backend == "torch"
    with pytest.raises(ModelError, match=r"has no model\.onnx; write it with: emsync export"):
        open_decoder(copied, backend="onnx")
    monkeypatch.setattr(decoder, "_has", lambda module: module != "torch")
    with pytest.raises(ModelError, match=r"has no model\.onnx and torch is not installed"):
        open_decoder(copied)
    with pytest.raises(MissingExtraError, match=r"pip install 'emsync\[train\]'"):
        open_decoder(copied, backend="torch")


def test_the_graph_runs_where_torch_is_not(folders: Callable[[str], Path]) -> None:
    """In a Python of its own, in which torch and onnx cannot be imported; what comes out is the same."""
    program = (
        "import sys; sys.modules.update(torch=None, onnx=None)\n"
        "import numpy as np; from emsync.decoder import open_decoder\n"
        "opened = open_decoder(sys.argv[1])\n"
        f"lanes = np.zeros((1, 3, {N_LANES}))\n"
        "logits, _ = opened.prefill(np.array([[1, 2, 3]]), np.zeros((1, 3), int), lanes, np.zeros((1, 2)))\n"
        "print(opened.backend, *logits[0, :5])"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(folders("small"))],
        cwd=Path(emsync.__file__).parents[1], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    backend, *found = ran.stdout.split()
    assert backend == "onnx"
    lanes, mood = np.zeros((1, 3, N_LANES), np.float32), np.zeros((1, 2), np.float32)
    given = Song(np.array([[1, 2, 3]]), np.zeros((1, 3), int), lanes, mood)
    right = given.right(checkpoint.load(folders("small")))[0][0, 2, :5]
    np.testing.assert_allclose(np.array(found, dtype=np.float32), right, rtol=0, atol=1e-4)


def test_unknown_choices_are_refused(copied: Path) -> None:
    with pytest.raises(ModelError, match="backend 'tpu' is not known; choose auto, onnx or torch"):
        open_decoder(copied, backend="tpu")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="0 threads; give 1 or more"):
        open_decoder(copied, threads=0)


def test_a_graph_cut_off_anywhere_is_refused(copied: Path) -> None:
    whole = (copied / "model.onnx").read_bytes()
    for share in (0, 0.01, 0.3, 0.7, 0.95, 0.999):
        (copied / "model.onnx").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(ModelError, match=r"model\.onnx (cannot be read|was made for other).*emsync export"):
            open_decoder(copied, backend="onnx")


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_cut_off_anywhere_are_refused(copied: Path, backend: Any) -> None:
    whole = (copied / "model.safetensors").read_bytes()
    for size in (0, 4, 300, len(whole) // 2, len(whole) - 1):
        (copied / "model.safetensors").write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"model\.safetensors cannot be read .*it may be cut off: copy it again"):
            open_decoder(copied, backend=backend)
    (copied / "model.safetensors").write_bytes(whole + b"\0")
    with pytest.raises(ModelError, match=r"cannot be read \(it has .* bytes, its header says"):
        open_decoder(copied, backend=backend)


def test_a_graph_of_other_weights_is_refused(copied: Path, folders: Callable[[str], Path]) -> None:
    (copied / "model.onnx").write_bytes((folders("local-plain") / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"model\.onnx was made for other weights than .*emsync export"):
        open_decoder(copied)
    export.export(copied)
    config = json.loads((copied / "config.json").read_text())
    config["model"]["n_heads"] = 1
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"model\.onnx was made for other weights"):
        open_decoder(copied)


@pytest.mark.parametrize("change", [{"context": "long"}, {"n_heads": 0}, {"width": -4}])
def test_a_nonsensical_configuration_is_refused(copied: Path, change: dict[str, Any]) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["model"] |= change
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json gives .*must be whole numbers above 0"):
        open_decoder(copied)
    del config["model"]["context"]
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"config\.json lacks 'context'"):
        open_decoder(copied)


@pytest.mark.parametrize("result", [RuntimeError("node Reshape_1 failed\nat line 7"), [np.zeros((1, 3))] * 2, [], None])
def test_a_graph_that_fails_when_it_is_run_is_refused(
    copied: Path, monkeypatch: pytest.MonkeyPatch, result: object
) -> None:
    opened = open_decoder(copied, backend="onnx")
    network = opened._network
    assert isinstance(network, OnnxNetwork)

    class Failing:
        def run(self, *_: object) -> object:
            if isinstance(result, Exception):
                raise result
            return result

    monkeypatch.setattr(network, "_session", Failing())
    zeros = np.zeros((1, 2), dtype=np.int64)
    with pytest.raises(ModelError, match=r"model\.onnx cannot be run \(.+\); write it again with: emsync export$"):
        opened.prefill(zeros, zeros, np.zeros((1, 2, N_LANES)), np.zeros((1, 2)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["paper", "small", "before-copying"])
def test_hidden_states_are_the_models(folders: Callable[[str], Path], name: str, backend: Any) -> None:
    given, decoder = song(), open_decoder(folders(name), backend=backend)
    assert decoder.states is None
    with torch.inference_mode():
        tensors = (torch.tensor(x) for x in (given.ids, given.previous_velocity, given.lanes, given.mood))
        right = checkpoint.load(folders(name)).with_states(*tensors)[2].numpy()
    given.prefill(decoder, 20)
    close(decoder.states, right[:, 19])
    given.step(decoder, 20)
    close(decoder.states, right[:, 20])


def test_a_graph_without_states_cannot_recall(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Mixture((0.0,) * N_STRENGTHS, recall=(0.25,) * N_STRENGTHS).write(copied)
    real = OnnxNetwork.__init__

    def before(self: OnnxNetwork, *args: Any, **named: Any) -> None:
        real(self, *args, **named)
        self.gives_states = False

    monkeypatch.setattr(OnnxNetwork, "__init__", before)
    with pytest.raises(ModelError, match=r"does not give the hidden states .* emsync export"):
        open_decoder(copied, backend="onnx")


@pytest.mark.slow
def test_both_backends_recall_alike(copied: Path) -> None:
    Mixture((0.0, *[0.3] * (N_STRENGTHS - 1)), recall=(0.4,) * N_STRENGTHS).write(copied)
    asked = [Conditions(boundaries_s=np.array([2.0]), end_s=3.5), Conditions(end_s=2.5)]
    pieces = [compose(open_decoder(copied, backend=backend), asked, plain_recipe(seed=3)) for backend in BACKENDS]
    for one, other in zip(*pieces, strict=True):
        assert one.events.ids.tolist() == other.events.ids.tolist()
    without = compose(open_decoder(copied), asked, plain_recipe(seed=3, copying=0.0))
    assert without[0].events.ids.tolist() != pieces[0][0].events.ids.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_models_mixture_is_opened_with_it(copied: Path, backend: Any) -> None:
    assert open_decoder(copied, backend=backend).mixture is None
    mixture = Mixture((0.0, *[0.25] * (N_STRENGTHS - 1)))
    mixture.write(copied)
    assert open_decoder(copied, backend=backend).mixture == mixture
    (copied / "copying.json").write_text("[]")
    with pytest.raises(ModelError, match=r"copying\.json cannot be read"):
        open_decoder(copied, backend=backend)
