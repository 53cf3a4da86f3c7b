"""A run that is resumed, or that begins from another model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emsync import checkpoint, weight_parts
from emsync.conditions import LANE_NAMES
from emsync.errors import InputError, ModelError
from emsync.lane_layers import CopyLane, LevelLane, PlaceLane
from emsync.training import crops, train
from emsync.training.dataset import Dataset
from tests.models import model_folder, toy_preset
from tests.train.runs import contents, interrupted_at, run, same_weights, weights


@pytest.mark.slow
@pytest.mark.trains
def test_a_resumed_run_is_the_run_that_never_stopped(data: Dataset, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(data, whole, steps=12)
    # Three parts: the first two interrupted, after some steps each.
    for until, resume in ((3, False), (8, True)):
        with pytest.raises(KeyboardInterrupt), interrupted_at(until):
            run(data, parts, steps=12, resume=resume)
        assert train.read_run(parts)[0].step == until
    ended = run(data, parts, steps=12, resume=True)
    assert ended.step == 12
    assert same_weights(weights(whole), weights(parts))
    states = [torch.load(folder / "state" / "state.pt", weights_only=True) for folder in (whole, parts)]
    for one, other in zip(*(state["optimizers"] for state in states), strict=True):
        for a, b in zip(one["state"].values(), other["state"].values(), strict=True):
            assert all(torch.equal(torch.as_tensor(a[name]), torch.as_tensor(b[name])) for name in a)


@pytest.mark.slow
@pytest.mark.trains
def test_a_resumed_run_in_minutes_counts_all_its_time(
    data: Dataset, tmp_path: Path, clock: Callable[[float], None]
) -> None:
    clock(3.0)
    with pytest.raises(KeyboardInterrupt), interrupted_at(6):
        run(data, tmp_path / "run", minutes=2.0)
    first, _ = train.read_run(tmp_path / "run")
    ended = run(data, tmp_path / "run", minutes=2.0, resume=True)
    assert first.step == 6
    assert 0 < first.elapsed_s < 120 <= ended.elapsed_s < 135
    again = run(data, tmp_path / "run", minutes=2.0, resume=True)  # it is over: nothing is done, nothing is changed
    assert again.step == ended.step


@pytest.mark.slow
@pytest.mark.trains
def test_a_resumed_run_keeps_its_precision(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, tmp_path / "run", steps=2)
    monkeypatch.setattr(train, "bf16_pays", lambda device: True)
    run(data, tmp_path / "run", steps=4, resume=True)
    assert checkpoint.read_config(tmp_path / "run" / "model")["training"]["bf16"] is False


@pytest.mark.trains
def test_a_run_is_neither_overwritten_nor_resumed_by_mistake(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(InputError, match="holds no run to resume; leave out --resume"):
        run(data, out, steps=2, resume=True)
    assert not out.exists()
    run(data, out, steps=2)
    before = contents(out)
    with pytest.raises(InputError, match="holds a run already; give --resume to go on with it"):
        run(data, out, steps=2)
    wider = replace(toy_preset(), model=replace(toy_preset().model, ff_width=48))
    with pytest.raises(InputError, match="belongs to a model of another shape; resume it with the preset"):
        run(data, out, preset=wider, steps=4, resume=True)
    with pytest.raises(InputError, match="a run with optimizer muon, not adam"):
        run(data, out, preset=toy_preset(optimizer="adam"), steps=4, resume=True)
    assert contents(out) == before
    model_folder(tmp_path / "other" / "model")
    with pytest.raises(InputError, match=r"holds a model already; move .*model away"):
        run(data, tmp_path / "other", steps=2)


@pytest.mark.trains
@pytest.mark.parametrize("name", ["state.pt", "run.json"])
def test_a_state_that_is_cut_off_is_refused(data: Dataset, tmp_path: Path, name: str) -> None:
    run(data, tmp_path / "run", steps=2)
    broken = tmp_path / "run" / "state" / name
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be resumed .*; begin again in another folder"):
        run(data, tmp_path / "run", steps=4, resume=True)


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_goes_on_from_weights_alone(
    data: Dataset, tmp_path: Path, factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops and rate continue where the lost run was; only the optimizers start over, with a warm-up."""
    run(data, tmp_path / "lost", steps=20, parts=True)
    begun = factors.copy()
    factors.clear()
    with pytest.raises(KeyboardInterrupt), interrupted_at(8):
        run(data, tmp_path / "half", steps=20, parts=True)
    model = weight_parts.join_parts(tmp_path / "half" / "parts", tmp_path / "joined")
    drawn: list[int] = []
    real = crops.Crops.batch

    def batch(self: crops.Crops, step: int, size: int, **options: Any) -> crops.Batch:
        drawn.append(step)
        return real(self, step, size, **options)

    monkeypatch.setattr(crops.Crops, "batch", batch)
    factors.clear()
    ended = run(data, tmp_path / "rest", steps=20, initial=model, go_on=True)
    assert (ended.step, drawn[0], len(factors)) == (20, 8, 12)
    assert factors[0] == pytest.approx(begun[8] / 2)
    assert factors[2:] == pytest.approx(begun[10:])
    about = checkpoint.read_config(tmp_path / "rest" / "model")["training"]
    assert (about["steps"], about["tokens"]) == (20, ended.tokens)
    assert ended.tokens == 20 * 4 * toy_preset().crops.context
    for options in ({}, {"initial": model, "resume": True}):
        with pytest.raises(InputError, match=r"--go-on goes with --initial, .* and without --resume"):
            run(data, tmp_path / "half", steps=20, go_on=True, **options)
    with pytest.raises(ModelError, match="does not say how long it was trained; leave out --go-on"):
        run(data, tmp_path / "new", steps=20, initial=model_folder(tmp_path / "unknown"), go_on=True)


@pytest.mark.slow
@pytest.mark.trains
def test_training_begins_from_an_initial_model(data: Dataset, tmp_path: Path) -> None:
    shape = replace(toy_preset().model, width=24, context=32, local_block=8)
    initial = model_folder(tmp_path / "initial", shape)
    preset = toy_preset(rate=1e-12, matrix_rate=1e-12, weight_decay=0.0)
    run(data, tmp_path / "run", preset=preset, steps=2, initial=initial)
    trained = checkpoint.load(tmp_path / "run" / "model")
    assert trained.config == shape
    for a, b in zip(trained.parameters(), checkpoint.load(initial).parameters(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ModelError, match="is not a model folder"):
        run(data, tmp_path / "other", steps=2, initial=tmp_path / "nothing")


@pytest.mark.slow
@pytest.mark.trains
def test_a_model_from_before_meter_learns_it(data: Dataset, tmp_path: Path) -> None:
    shape = replace(toy_preset().model, lanes=LANE_NAMES[:4])
    initial = model_folder(tmp_path / "initial", shape)
    run(data, tmp_path / "run", steps=3, initial=initial)
    trained = checkpoint.load(tmp_path / "run" / "model")
    assert trained.config == toy_preset().model
    new = list(trained.lanes)[4:]
    read = {CopyLane: lambda lane: lane.gate, LevelLane: lambda lane: lane.net[2], PlaceLane: lambda lane: lane.table}
    learned = [read[type(lane)](lane) for lane in new]
    assert all(table.weight.abs().sum() > 0 for table in learned)
