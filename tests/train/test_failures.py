"""Runs that are interrupted, killed, out of room or out of numbers keep what they learned."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from emsync import checkpoint, weight_parts
from emsync.errors import CorpusError, InputError, OutputError
from emsync.model import EventTransformer
from emsync.training import train
from emsync.training.dataset import Dataset
from emsync.training.muon import Float32Muon
from emsync.training.train import Progress, prefetch
from tests.models import toy_preset
from tests.train.runs import REPOSITORY, contents, run, same_weights, weights


@pytest.mark.slow
@pytest.mark.trains
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
from emsync.training.muon import Float32Muon
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


@pytest.mark.slow
@pytest.mark.trains
def test_an_interrupt_inside_a_step_waits_for_its_end(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between the two optimizers: both have stepped in what is saved."""
    step = Float32Muon.step
    calls = []

    def interrupted(self: Float32Muon, *rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(train, "bf16_pays", lambda device: False)
        patch.setattr(Float32Muon, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(data, tmp_path / "run", steps=9)
    assert train.read_run(tmp_path / "run")[0].step == 3
    run(data, tmp_path / "whole", steps=9)  # the same run, never interrupted
    run(data, tmp_path / "run", steps=9, resume=True)
    assert same_weights(weights(tmp_path / "run"), weights(tmp_path / "whole"))


@pytest.mark.slow
@pytest.mark.trains
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


@pytest.mark.slow
@pytest.mark.trains
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


@pytest.mark.slow
@pytest.mark.trains
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


@pytest.mark.trains
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


@pytest.mark.trains
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


@pytest.mark.slow
@pytest.mark.trains
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
