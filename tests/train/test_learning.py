"""Training learns: the loss, its weights, the optimiser and the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.training import crops, objective, train
from emsync.training.dataset import Dataset
from emsync.training.train import TrainConfig, rate_at
from tests.models import random_model, toy_preset
from tests.train.runs import run


@pytest.mark.slow
@pytest.mark.trains
@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_loss_falls_on_songs_that_repeat(
    data: Dataset, tmp_path: Path, clock: Callable[[float], None], optimizer: str
) -> None:
    clock(6.0)  # so that every step is reported
    preset = toy_preset(optimizer=optimizer, rate=5e-3, batch=4, validations=1)
    losses: list[float] = []
    ended = run(data, tmp_path / "run", preset=preset, steps=28, valid=data, report=lambda p: losses.append(p.loss))
    assert losses[0] == pytest.approx(math.log2(v.SIZE), abs=1.0)  # at first every event is as likely
    assert losses[-1] < 0.6 * losses[0]
    assert ended.valid["bits_per_event"] < 0.6 * losses[0]
    assert ended.valid["velocity_bits_per_note"] < math.log2(v.VELOCITY_LEVELS) + 0.1
    assert set(ended.valid) == {
        "bits_per_event", "bits_per_note", "velocity_bits_per_note", "chord_bits", "controls_save_bits_per_note",
    }  # fmt: skip
    assert (ended.step, ended.share, ended.tokens) == (28, 1.0, 28 * 4 * preset.crops.context)
    about = checkpoint.read_config(tmp_path / "run" / "model")["training"]
    assert about["steps"] == 28
    assert about["valid"] == ended.valid
    assert about["preset"] == preset.to_dict()


def test_validation_counts_what_it_says(data: Dataset) -> None:
    """Over the uniform model every event costs log2 of the vocabulary, every velocity log2 of its levels."""
    config = toy_preset().model
    model = random_model(config)
    with torch.no_grad():
        for head in (model.head, model.velocity_head):
            for parameter in head.parameters():
                parameter.zero_()
        assert model.copy_lane is not None
        model.copy_lane.silence()
    drawn = crops.Crops(data, toy_preset().crops, seed=0, augment=False)
    batches = [drawn.batch(step, 4, chord_weight=0.5) for step in range(3)]  # CHORD is CHORD, whatever it weighs
    figures = train.validate(model, batches, torch.device("cpu"), lambda: torch.no_grad())
    events = sum(int((batch.weights > 0).sum()) for batch in batches)
    notes = sum(int((batch.velocities > 0).sum()) for batch in batches)
    assert figures["bits_per_event"] == pytest.approx(math.log2(v.SIZE))
    assert figures["chord_bits"] == pytest.approx(math.log2(v.SIZE))
    assert figures["velocity_bits_per_note"] == pytest.approx(math.log2(v.VELOCITY_LEVELS))
    assert figures["bits_per_note"] == pytest.approx(math.log2(v.SIZE) * events / notes)


def test_the_loss_weighs_events_and_their_velocities() -> None:
    """One crop of four positions, against the sum written out."""
    logits, velocity_logits = torch.randn(1, 4, v.SIZE), torch.randn(1, 4, v.VELOCITY_LEVELS)
    batch = {
        "ids": torch.zeros(1, 4, dtype=torch.long),
        "previous_velocity": torch.zeros(1, 4, dtype=torch.long),
        "lanes": torch.zeros(1, 4, 4),
        "mood": torch.zeros(1, 2),
        "targets": torch.tensor([[0, 5, v.CHORD, 9]]),
        "weights": torch.tensor([[0.0, 1.0, 10.0, 1.0]]),
        "velocities": torch.tensor([[0, 0, 16, 1]]),
    }
    loss, bits = train.losses(lambda *_: (logits, velocity_logits), batch, velocity_weight=0.5)
    nats = [-float(logits[0, t].log_softmax(-1)[batch["targets"][0, t]]) for t in range(4)]
    own = [-float(velocity_logits[0, t].log_softmax(-1)[level]) for t, level in ((2, 15), (3, 0))]
    assert float(loss) == pytest.approx((nats[1] + 10 * nats[2] + nats[3]) / 12 + 0.5 * (own[0] + own[1]) / 2, rel=1e-5)
    assert float(bits) == pytest.approx(sum(nats[1:]) / 3 / math.log(2), rel=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_muon_moves_the_blocks_matrices_and_adam_all_else(bf16: bool) -> None:
    model = random_model(replace(toy_preset().model, attention="relative", local_block=0))
    muon, adam = train.optimizers(model, TrainConfig(), bf16=bf16)
    names = {id(p): name for name, p in model.named_parameters()}
    groups = [{names[id(p)] for group in opt.param_groups for p in group["params"]} for opt in (muon, adam)]
    assert groups[0] | groups[1] == set(names.values())
    assert not groups[0] & groups[1]
    assert groups[0] == {
        f"blocks.{i}.{part}.weight"
        for i in range(2)
        for part in (
            "attention.query",
            "attention.key",
            "attention.value",
            "attention.out",
            "feed.expand",
            "feed.contract",
        )
    }
    (only,) = train.optimizers(model, TrainConfig(optimizer="adam"), bf16=False)
    assert len(only.param_groups[0]["params"]) == len(names)


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = TrainConfig(warmup_steps=10, decay=0.5)
    assert [rate_at(0.1, step, config) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert [rate_at(share, 100, config) for share in (0, 0.5, 0.75, 1, 1.1)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert rate_at(0.999, 100, TrainConfig(decay=0, warmup_steps=0)) == 1.0


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_in_steps_ends_decayed(data: Dataset, tmp_path: Path, factors: list[float]) -> None:
    ended = run(data, tmp_path / "run", steps=20)
    assert (ended.step, len(factors)) == (20, 20)
    assert factors[:2] == pytest.approx([0.5, 1.0])  # two steps of warming up
    assert factors[-1] == pytest.approx(1 / 20 / 0.6)
    assert factors[2:] == sorted(factors[2:], reverse=True)


@pytest.mark.slow
@pytest.mark.trains
def test_a_run_in_minutes_ends_decayed(
    data: Dataset, tmp_path: Path, factors: list[float], clock: Callable[[float], None]
) -> None:
    clock(1.0)
    ended = run(data, tmp_path / "run", minutes=1.0)
    assert ended.share == 1.0
    assert ended.elapsed_s >= 60
    assert 10 < ended.step < 60
    assert max(factors) == 1.0
    assert factors[-1] < 0.1
    saved, _ = train.read_run(tmp_path / "run")
    assert saved.step == ended.step


def test_the_trial_of_bfloat16_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    looks = iter(np.arange(0, 100, 0.09))
    monkeypatch.setattr(objective, "time", SimpleNamespace(perf_counter=lambda: float(next(looks))))
    assert train.bf16_pays(torch.device("cpu")) is False  # by a clock for which both take as long
