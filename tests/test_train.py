"""Training: it learns, stops where it should, resumes exactly, keeps what it learned; presets; the command."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from emsync import checkpoint, weight_parts
from emsync import vocabulary as v
from emsync.cli.main import main
from emsync.conditions import LANE_NAMES
from emsync.errors import CorpusError, InputError, ModelError, OutputError
from emsync.model import CopyLane, EventTransformer
from emsync.training import crops, dataset, objective, train
from emsync.training.dataset import Dataset
from emsync.training.train import Preset, Progress, RunOptions, TrainConfig, fit, plot_log, prefetch, rate_at, read_log
from tests.models import archive_file, model_folder, random_model, toy_archive, toy_preset

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return Dataset.of(dict(toy_archive(4).arrays))


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """float32 on every machine, and as few threads as a tiny model can use."""
    monkeypatch.setattr(train, "bf16_pays", lambda device: False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Makes training's clock a counter: every look at it takes that many seconds."""

    def use(tick_s: float) -> None:
        now_s = 1000.0

        def monotonic() -> float:
            nonlocal now_s
            now_s += tick_s
            return now_s

        monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=monotonic))

    return use


@pytest.fixture
def factors(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The learning rate's factor at every step of the runs to come."""
    seen: list[float] = []

    def watched(share: float, step: int, config: TrainConfig) -> float:
        seen.append(rate_at(share, step, config))
        return seen[-1]

    monkeypatch.setattr(train, "rate_at", watched)
    return seen


def run(data: Dataset, out: Path, **options: Any) -> Progress:
    preset = options.pop("preset", toy_preset())
    valid = options.pop("valid", None)
    report = options.pop("report", None)
    return fit(preset, data, valid, out, RunOptions(compile_model=False, **options), report=report)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / "model").state_dict()


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Learning


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_loss_falls_on_songs_that_repeat(
    data: Dataset, tmp_path: Path, clock: Callable[[float], None], optimizer: str
) -> None:
    clock(6.0)  # so that every step is reported
    preset = toy_preset(optimizer=optimizer, rate=5e-3, batch=8, validations=1)
    losses: list[float] = []
    ended = run(data, tmp_path / "run", preset=preset, steps=40, valid=data, report=lambda p: losses.append(p.loss))
    assert losses[0] == pytest.approx(math.log2(v.SIZE), abs=1.0)  # at first every event is as likely
    assert losses[-1] < 0.6 * losses[0]
    assert ended.valid["bits_per_event"] < 0.6 * losses[0]
    assert ended.valid["velocity_bits_per_note"] < math.log2(v.VELOCITY_LEVELS) + 0.1
    assert set(ended.valid) == {"bits_per_event", "bits_per_note", "velocity_bits_per_note", "chord_bits"}
    assert (ended.step, ended.share, ended.tokens) == (40, 1.0, 40 * 8 * preset.crops.context)
    about = checkpoint.read_config(tmp_path / "run" / "model")["training"]
    assert about["steps"] == 40
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


def test_muon_moves_the_blocks_matrices_and_adam_all_else() -> None:
    model = random_model(replace(toy_preset().model, attention="relative", local_block=0))
    muon, adam = train.optimizers(model, TrainConfig())
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
    (only,) = train.optimizers(model, TrainConfig(optimizer="adam"))
    assert len(only.param_groups[0]["params"]) == len(names)


# The schedule


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = TrainConfig(warmup_steps=10, decay=0.5)
    assert [rate_at(0.1, step, config) for step in (0, 4, 9, 50)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert [rate_at(share, 100, config) for share in (0, 0.5, 0.75, 1, 1.1)] == pytest.approx([1, 1, 0.5, 0, 0])
    assert rate_at(0.999, 100, TrainConfig(decay=0, warmup_steps=0)) == 1.0


def test_a_run_in_steps_ends_decayed(data: Dataset, tmp_path: Path, factors: list[float]) -> None:
    ended = run(data, tmp_path / "run", steps=20)
    assert (ended.step, len(factors)) == (20, 20)
    assert factors[:2] == pytest.approx([0.5, 1.0])  # two steps of warming up
    assert factors[-1] == pytest.approx(1 / 20 / 0.6)
    assert factors[2:] == sorted(factors[2:], reverse=True)


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


# Resuming


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


class interrupted_at:
    """Ctrl-C while the batch of step `step` is being waited for."""

    def __init__(self, step: int) -> None:
        self.step, self.real = step, train.tensors

    def __enter__(self) -> None:
        first: list[int] = []

        def tensors(batch: crops.Batch, device: Any) -> dict[str, torch.Tensor]:
            first.append(1)
            if self.begun + len(first) > self.step:
                raise KeyboardInterrupt
            return self.real(batch, device)

        real_prefetch = self.prefetch = train.prefetch

        def watched(make: Any, begun: int, ahead: int = 4) -> Any:
            self.begun = begun
            return real_prefetch(make, begun, ahead)

        train.tensors, train.prefetch = tensors, watched  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        train.tensors, train.prefetch = self.real, self.prefetch


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


def test_a_resumed_run_keeps_its_precision(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(data, tmp_path / "run", steps=2)
    monkeypatch.setattr(train, "bf16_pays", lambda device: True)
    run(data, tmp_path / "run", steps=4, resume=True)
    assert checkpoint.read_config(tmp_path / "run" / "model")["training"]["bf16"] is False


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


@pytest.mark.parametrize("name", ["state.pt", "run.json"])
def test_a_state_that_is_cut_off_is_refused(data: Dataset, tmp_path: Path, name: str) -> None:
    run(data, tmp_path / "run", steps=2)
    broken = tmp_path / "run" / "state" / name
    broken.write_bytes(broken.read_bytes()[: broken.stat().st_size // 2])
    with pytest.raises(InputError, match=r"cannot be resumed .*; begin again in another folder"):
        run(data, tmp_path / "run", steps=4, resume=True)


def test_a_run_goes_on_from_weights_alone(
    data: Dataset, tmp_path: Path, factors: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops and rate go on where the lost run was; only the optimizers begin, and so warm up, anew."""
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
        run(data, tmp_path / "new", steps=20, initial=model_folder(tmp_path / "untold"), go_on=True)


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


def test_a_model_from_before_meter_learns_it(data: Dataset, tmp_path: Path) -> None:
    shape = replace(toy_preset().model, lanes=LANE_NAMES[:4])
    initial = model_folder(tmp_path / "initial", shape)
    run(data, tmp_path / "run", steps=3, initial=initial)
    trained = checkpoint.load(tmp_path / "run" / "model")
    assert trained.config == toy_preset().model
    new = list(trained.lanes)[4:]
    learned = [lane.gate if isinstance(lane, CopyLane) else lane.table for lane in new]
    assert all(table.weight.abs().sum() > 0 for table in learned)


# Interrupted, killed, out of room, out of numbers


def test_ctrl_c_keeps_what_was_learned(data: Dataset, tmp_path: Path, clock: Callable[[float], None]) -> None:
    clock(2.0)

    def report(progress: Progress) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(data, out, preset=toy_preset(saves=1), steps=1000, report=report)
    stood, _ = train.read_run(out)
    assert stood.step >= 1
    fresh = EventTransformer(toy_preset().model)
    assert not same_weights(weights(out), fresh.state_dict())
    assert sorted(os.listdir(out)) == ["log.jsonl", "model", "state"]
    ended = run(data, out, steps=stood.step + 2, resume=True)
    assert ended.step == stood.step + 2


KILLED = """
import os, sys, torch
sys.path.insert(0, {repository!r})
torch.set_num_threads(1)
from pathlib import Path
from tests.models import toy_archive, toy_preset
from emsync.training import train
from emsync.training.dataset import Dataset
train.bf16_pays = lambda device: False
data = Dataset.of(dict(toy_archive(2).arrays))
saved = train.save_state
def save(folder, model, opts, progress, *rest):
    saved(folder, model, opts, progress, *rest)
    print(progress.step, flush=True)
train.save_state = save
train.fit(toy_preset(saves=1_000_000), data, None, Path({out!r}),
          train.RunOptions(steps=1_000_000, compile_model=False, parts=True))
"""


def test_an_interrupt_inside_a_step_waits_for_its_end(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between the two optimizers: both have stepped in what is saved."""
    step = torch.optim.Muon.step
    calls = []

    def interrupted(self: torch.optim.Muon, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Muon, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "run", steps=9)
    assert train.read_run(tmp_path / "run")[0].step == 3
    run(data, tmp_path / "whole", steps=9)  # the same run, never interrupted
    run(data, tmp_path / "run", steps=9, resume=True)
    assert same_weights(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_a_killed_run_leaves_weights_and_state_that_load(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code = KILLED.format(repository=str(REPOSITORY), out=str(out))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 3:  # it saves after every step: it is doing so when it is killed, or nearly
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    stood, _ = train.read_run(out)
    assert stood.step >= 3
    assert all(bool(tensor.isfinite().all()) for tensor in weights(out).values())
    joined = checkpoint.load(weight_parts.join_parts(out / "parts", tmp_path / "joined"))
    assert all(bool(tensor.isfinite().all()) for tensor in joined.state_dict().values())
    shutil.rmtree(out / "parts")
    for name in (".state.half", ".model.half", ".parts.half"):  # a kill may leave these, half-written
        (out / name).mkdir()
        (out / name / "state.pt").write_bytes(b"PK")
    ended = run(data, out, preset=toy_preset(saves=1), steps=stood.step + 1, resume=True)
    assert ended.step == stood.step + 1
    assert sorted(os.listdir(out)) == ["log.jsonl", "model", "state"]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_state(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=4)
    before = {name: held for name, held in contents(out).items() if name != "log.jsonl"}
    attempts = []

    def full(*_: object, **__: object) -> None:
        attempts.append(1)
        raise OSError(28, "No space left on device")

    def full_as_torch_says_it(*_: object, **__: object) -> None:
        attempts.append(1)
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    for failure in (full, full_as_torch_says_it):
        attempts.clear()
        monkeypatch.setattr(torch, "save", failure)
        with pytest.raises(OutputError, match=r"state cannot be written .*; free some space, then --resume") as caught:
            run(data, out, steps=6, resume=True)
        assert "\n" not in str(caught.value)
        assert len(attempts) == 1
        assert {name: held for name, held in contents(out).items() if name != "log.jsonl"} == before
    monkeypatch.undo()
    assert run(data, out, steps=6, resume=True).step == 6


def test_a_full_disk_while_saving_parts_is_one_sentence_and_leaves_the_run(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=4, parts=True)
    before = contents(out / "parts")

    def full(self: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"parts cannot be written \(No space left on device\); free some space"):
        run(data, out, steps=6, resume=True, parts=True)
    monkeypatch.undo()
    assert contents(out / "parts") == before
    assert train.read_run(out)[0].step == 5  # what was saved before the parts
    assert sorted(os.listdir(out)) == ["log.jsonl", "model", "parts", "state"]


def test_a_full_disk_while_logging_is_one_sentence(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    class Full:
        name = "log.jsonl"

        def write(self, line: str) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None:
            raise OSError(28, "No space left on device")

    def opened(self: Path, *rest: Any, **options: Any) -> Any:
        return Full() if self.name == "log.jsonl" else real(self, *rest, **options)

    monkeypatch.setattr(Path, "open", opened)
    message = r"log\.jsonl cannot be written \(No space left on device\); free some space, then --resume"
    with pytest.raises(OutputError, match=message):
        run(data, tmp_path / "run", steps=1)


def test_a_gpu_too_small_for_the_batch_is_one_sentence_and_keeps_what_was_learned(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = train.losses, []

    def losses(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(1)
        if len(calls) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments)

    monkeypatch.setattr(train, "losses", losses)
    with pytest.raises(InputError, match="4 crops of 64 events do not fit the GPU's memory; give a smaller --batch"):
        run(data, tmp_path / "run", steps=9)
    assert train.read_run(tmp_path / "run")[0].step == 2


def test_a_gpu_that_is_missing_is_said_before_anything_is_made(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="there is no CUDA GPU that torch can use here; leave out --device cuda"):
        run(data, tmp_path / "run", steps=1, device="cuda")
    assert os.listdir(tmp_path) == []
    assert run(data, tmp_path / "run", steps=1, device="cpu").step == 1


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_state(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Callable[[float], None]
) -> None:
    out = tmp_path / "run"
    run(data, out, steps=2)
    before = contents(out / "state")

    def broken(*arguments: Any) -> tuple[torch.Tensor, torch.Tensor]:
        loss, bits = train_losses(*arguments)
        return loss * math.nan, bits

    train_losses = train.losses
    monkeypatch.setattr(train, "losses", broken)
    # The loss itself still looks well when the weights are lost: saving looks at the weights.
    with pytest.raises(CorpusError, match="weights are no longer numbers at step 3; lower the learning rate"):
        run(data, out, preset=toy_preset(saves=1000), steps=1000, resume=True)
    assert contents(out / "state") == before
    monkeypatch.setattr(train, "losses", lambda *arguments: tuple(x * math.nan for x in train_losses(*arguments)))
    clock(6.0)
    with pytest.raises(CorpusError, match=r"the loss is nan at step \d+; lower the learning rate"):
        run(data, out, preset=toy_preset(saves=1), steps=1000, resume=True)
    assert contents(out / "state") == before


def test_an_error_while_drawing_crops_is_raised_by_the_training() -> None:
    def make(step: int) -> Any:
        if step == 7:
            raise ValueError("no crop 7")
        return step

    source = prefetch(make, 5)
    assert [next(source), next(source)] == [5, 6]
    with pytest.raises(ValueError, match="no crop 7"):
        next(source)


def test_batches_come_in_order_from_where_they_begin() -> None:
    source = prefetch(lambda step: step, 3, ahead=2)  # type: ignore[arg-type,return-value]
    assert [next(source) for _ in range(10)] == list(range(3, 13))
    source.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give either minutes or steps"),
        ({"minutes": 1, "steps": 1}, "give either minutes or steps"),
        ({"minutes": 0}, "training for 0 minutes is nothing; give more than 0"),
        ({"minutes": -5}, "training for -5 minutes"),
        ({"minutes": math.nan}, "training for nan minutes"),
        ({"minutes": math.inf}, "training for inf minutes"),
        ({"steps": 0}, "training for 0 steps"),
    ],
)
def test_refuses_lengths(data: Dataset, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(data, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written_is_refused(data: Dataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"cannot be made .*; choose another folder"):
        run(data, tmp_path / "file", steps=1)


# Presets


def test_the_presets_say_what_the_paper_says() -> None:
    paper = Preset.read("paper")
    assert (paper.train.batch, paper.train.rate, paper.train.optimizer) == (64, 2e-4, "adam")
    for name in train.PRESETS:
        preset = Preset.read(name)
        assert (preset.train.chord_weight, preset.train.clip) == (10.0, 1.0)
        assert (preset.crops.transpose, preset.crops.at_bar) == (3, 0.5)
        # `small` is what ships: docs/decisions/0014-trained-further-still.md says why it leaves out fewer.
        assert preset.crops.drop_chord == (0.1 if name == "small" else 0.2)
        assert preset.crops.context == preset.model.context


def test_a_preset_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        "[model]\nn_layers = 3\ncontext = 128\n[crops]\ncontext = 64\n[train]\nbatch = 5\n", encoding="utf-8"
    )
    preset = Preset.read(path)
    assert (preset.model.n_layers, preset.crops.context, preset.train.batch) == (3, 64, 5)
    path.write_text("")
    assert Preset.read(path).model.width == 512


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]\n", r"unknown section \[modle\]; there are \[model\], \[crops\] and \[train\]"),
        ("[model]\nlayers = 3\n", r"unknown key 'layers' in \[model\]; known are .*n_layers"),
        ("[train]\nbatches = 3\n", r"unknown key 'batches' in \[train\]; known are batch,"),
        ("[model]\nn_layers = 'three'\n", "n_layers is 'three'"),
        ("[train]\nbatch = 0\n", "batch is 0; give a whole number of at least 1"),
        ("[train]\nbatch = 2.5\n", r"batch is 2\.5; give a whole number"),
        ("[train]\nbatch = '4'\n", "batch is '4'; give a whole number"),
        ("[train]\nrate = 0.0\n", r"rate is 0\.0; it must be above 0"),
        ("[train]\nrate = inf\n", "rate is inf; it must be above 0, and finite"),
        ("[train]\nmatrix_rate = nan\n", "matrix_rate is nan"),
        ("[train]\nclip = -1.0\n", r"clip is -1\.0"),
        ("[train]\nrate = 'fast'\n", r"\[train\] has a value of the wrong kind"),
        ("[train]\nvelocity_weight = -0.5\n", r"velocity_weight is -0\.5; it must be 0 or more"),
        ("[train]\ndecay = 1.5\n", r"decay is 1\.5; a share lies between 0 and 1"),
        ("[train]\nwarmup_steps = -1\n", "warmup_steps is -1"),
        ("[train]\noptimizer = 'sgd'\n", "optimizer is 'sgd'; choose muon or adam"),
        ("[crops]\nat_bar = 2.0\n", r"at_bar is 2\.0; a share lies between 0 and 1"),
        ("[model]\ncontext = 64\n[crops]\ncontext = 65\n", "crops of 65 do not fit the model's context of 64"),
        ("[model\n", "is not TOML .*; mend it, or start from a preset"),
    ],
)
def test_refuses_a_preset(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises((InputError, ModelError), match=message):
        Preset.read(path)


def test_refuses_an_unknown_preset(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"huge is neither a preset \(paper, base, small, tiny\) nor a TOML file"):
        Preset.read("huge")
    (tmp_path / "music.mid").write_bytes(b"MThd\xff\xfe")
    with pytest.raises(InputError, match=r"music\.mid is not TOML"):
        Preset.read(tmp_path / "music.mid")


# The log


def write_log(folder: Path, steps: list[int], tail: str = "") -> None:
    lines = [
        json.dumps(asdict(Progress(step=s, tokens=s * 100, loss=9 - s / 10, valid={"bits_per_event": 8.0})))
        for s in steps
    ]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n" + tail)


def test_the_log_plots(tmp_path: Path) -> None:
    write_log(tmp_path, list(range(1, 9)))
    plot_log(tmp_path, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(os.listdir(tmp_path)) == ["log.jsonl", "loss.png"]


def test_what_a_resumed_run_did_again_replaces_what_it_did_before(tmp_path: Path) -> None:
    write_log(tmp_path, [1, 3, 5, 7, 4, 6], tail='{"step": 8, "tok')
    assert [report["step"] for report in read_log(tmp_path)] == [1, 3, 4, 6]


def test_refuses_to_plot_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"log\.jsonl cannot be read .*; give the folder of a training run"):
        plot_log(tmp_path, tmp_path / "loss.png")
    write_log(tmp_path, [])
    with pytest.raises(InputError, match="holds no report yet"):
        plot_log(tmp_path, tmp_path / "loss.png")
    write_log(tmp_path, [1])
    with pytest.raises(OutputError, match="is not a folder"):
        plot_log(tmp_path, tmp_path / "nowhere" / "loss.png")
    assert os.listdir(tmp_path) == ["log.jsonl"]


def test_the_trial_of_bfloat16_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    looks = iter(np.arange(0, 100, 0.09))
    monkeypatch.setattr(objective, "time", SimpleNamespace(perf_counter=lambda: float(next(looks))))
    assert train.bf16_pays(torch.device("cpu")) is False  # by a clock for which both take as long


# The command


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    archive_file(folder / "train-00.npz", 3)
    archive_file(folder / "valid.npz", 1)
    preset = toy_preset()
    sections = {"model": preset.model.to_dict(), "crops": asdict(preset.crops), "train": asdict(preset.train)}
    del sections["model"]["lanes"]
    lines = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (tmp_path / "toy.toml").write_text("\n".join(lines))
    return folder


def emsync(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


def test_the_command_trains_and_resumes(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, toy = tmp_path / "run", tmp_path / "toy.toml"
    common = ("-o", out, "--no-compile", "--workers", 1)
    assert emsync(toy, corpus, *common, "--steps", 3, "--batch", 2, "--seed", 9) == 0
    told = capsys.readouterr()
    assert "trained for 3 steps" in told.out
    assert "bits per note" in told.out
    assert f"wrote {out / 'model'}" in told.out
    assert "tokenizing train-00.npz" in told.err
    assert "training: 100%" in told.err
    assert "valid" in told.err
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert checkpoint.load(out / "model").config == toy_preset().model
    assert Dataset.open(out / "data").about["sources"] == ["train-00.npz"]
    assert Dataset.open(out / "valid").about["sources"] == ["valid.npz"]

    def build(*_: object, **__: object) -> None:
        raise AssertionError("what is tokenized is not tokenized again")

    monkeypatch.setattr(dataset, "build", build)
    assert emsync(toy, *common, "--steps", 5, "--resume", "--quiet") == 0
    told = capsys.readouterr()
    assert "trained for 5 steps" in told.out
    assert "validation: " in told.out
    assert told.err == ""
    _, preset = train.read_run(out)
    assert (preset.train.batch, preset.train.seed) == (2, 9)  # the run's own, where nothing else was said
    # A tokenized folder is used where it lies.
    other = tmp_path / "other"
    assert emsync(toy, out / "data", "--valid", out / "valid", "-o", other, "--no-compile", "--steps", 1, "-q") == 0
    assert sorted(os.listdir(other)) == ["log.jsonl", "loss.png", "model", "state"]


def test_the_command_stops_at_ctrl_c(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], clock: Callable[[float], None]
) -> None:
    clock(0.1)
    with interrupted_at(3):
        assert emsync(tmp_path / "toy.toml", corpus, "-o", tmp_path / "run", "--steps", 50, "--no-compile", "-q") == 130
    assert "keeps what was learned, and --resume goes on with it" in capsys.readouterr().err
    assert train.read_run(tmp_path / "run")[0].step == 3


def test_without_songs_to_validate_on_the_command_says_so(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "valid.npz").unlink()
    common = ("--steps", 1, "--no-compile", "--workers", 1, "--no-snap-tempo")
    assert emsync(tmp_path / "toy.toml", corpus / "train-00.npz", "-o", tmp_path / "run", *common) == 0
    told = capsys.readouterr()
    assert "there is no valid.npz beside the archives" in told.err
    assert "validation:" not in told.out
    assert Dataset.open(tmp_path / "run" / "data").about["snap_tempo"] is False


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("{toy} {corpus} -o {out}", "give either --minutes or --steps"),
        ("{toy} {corpus} -o {out} --steps 1 --minutes 1", "give either --minutes or --steps"),
        ("{toy} {corpus} -o {out} --steps 0", "--steps"),
        ("{toy} {corpus} -o {out} --minutes nan", "not a finite number"),
        ("{toy} {corpus} -o {out} --steps 1 --seed x", "--seed"),
        ("{toy} {corpus} -o {out} --steps 1 --batch 0", "--batch"),
        ("{toy} {corpus} --steps 1", "-o"),
        ("huge {corpus} -o {out} --steps 1", "huge is neither a preset"),
        ("{toy} -o {out} --steps 1", "there is nothing to train on; give archives"),
        ("{toy} {corpus}/gone.npz -o {out} --steps 1", "gone.npz does not exist"),
        ("{toy} {toy} -o {out} --steps 1", "cannot be read as an archive"),
        ("{toy} {corpus}/cut.npz -o {out} --steps 1 --workers 1", "cannot be read as an archive"),
        ("{toy} {corpus} -o {out} --steps 1 --valid {corpus}/gone.npz", "gone.npz is not a file"),
        ("{toy} {corpus} -o {out} --steps 1 --valid {corpus}", "give --valid one archive"),
        ("{toy} {corpus} -o {out} --steps 1 --initial {corpus}", "has no config.json"),
        ("{toy} {corpus} -o {out} --steps 1 --resume", "holds no run to resume"),
        ("{toy} {corpus} -o {out} --steps 1 --go-on", "--go-on goes with --initial"),
        ("{toy} {corpus} -o {out} --steps 1 --peak-tflops 0", "--peak-tflops"),
        ("{toy} {corpus}/empty -o {out} --steps 1", "empty has no .npz archive; make some with emsync prepare"),
        ("{toy} {corpus}/schema.npz -o {out} --steps 1 --workers 1", "schema.npz lacks family, pitch"),
        ("{toy} {corpus}/foreign -o {out} --steps 1", "was tokenized with vocabulary 0000"),
        ("{corpus}/key.toml {corpus} -o {out} --steps 1", "unknown key 'layers' in [model]"),
        ("{toy} {corpus} -o {toy} --steps 1 --workers 1", "choose another folder"),
    ],
)
def test_the_command_refuses(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str], arguments: str, sentence: str
) -> None:
    (corpus / "cut.npz").write_bytes((corpus / "valid.npz").read_bytes()[:500])
    (corpus / "empty").mkdir()
    (corpus / "key.toml").write_text("[model]\nlayers = 3\n")
    np.savez(corpus / "schema.npz", notes=np.zeros(3))
    (corpus / "foreign").mkdir()
    (corpus / "foreign" / "dataset.json").write_text('{"vocabulary": "0000"}')
    for name, dtype in (("ids.bin", np.uint16), ("velocities.bin", np.uint8)):
        (corpus / "foreign" / name).write_bytes(np.zeros(4, dtype).tobytes())
    for name in ("offsets.npy", "mood.npy", "mood_offsets.npy"):
        np.save(corpus / "foreign" / name, np.array([0, 4]))
    names = {"toy": tmp_path / "toy.toml", "corpus": corpus, "out": tmp_path / "run"}
    before = contents(tmp_path)
    assert emsync(*(word.format(**names) for word in arguments.split())) == 2
    told = capsys.readouterr()
    errors = [line for line in told.err.splitlines() if line.startswith("emsync:")]
    assert len(errors) == 1
    assert sentence in errors[0]
    assert contents(tmp_path) == before or set(contents(tmp_path)) - set(before) <= {
        # What was tokenized on the way is a whole dataset, and is found again.
        f"run/valid/{name}"
        for name in ("ids.bin", "velocities.bin", "offsets.npy", "mood.npy", "mood_offsets.npy", "dataset.json")
    }  # fmt: skip


def test_the_command_refuses_another_run_s_folder(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, toy = tmp_path / "run", tmp_path / "toy.toml"
    common = ("-o", out, "--no-compile", "--workers", 1, "-q")
    assert emsync(toy, corpus, *common, "--steps", 1) == 0
    before = contents(out)
    assert emsync(toy, corpus, *common, "--steps", 2) == 2
    assert "holds a run already; give --resume" in capsys.readouterr().err
    assert emsync(toy, corpus / "valid.npz", *common, "--steps", 2, "--resume") == 2
    assert "was made from other archives" in capsys.readouterr().err
    assert emsync(toy, corpus, *common, "--steps", 2, "--resume", "--no-snap-tempo") == 2
    assert "or with other settings" in capsys.readouterr().err
    assert emsync(toy, out / "data", corpus, *common, "--steps", 2, "--resume") == 2
    assert "is tokenized already and stands alone" in capsys.readouterr().err
    assert contents(out) == before


def test_without_torch_the_command_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from emsync.cli.main import main\n"
        "sys.exit(main(['train', 'tiny', 'x.npz', '-o', 'run', '--steps', '1']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == 'emsync: error: training needs torch; install it with: pip install "emsync[train]"\n'
    assert os.listdir(tmp_path) == []
