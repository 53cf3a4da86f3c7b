"""Training the network: crops in, a model folder out, on any machine.

Conventions: a run lives in one folder (`run_folder`): `log.jsonl` (a line a report), `loss.png`, `state/` (everything
needed to continue exactly), `model/` (the model folder of the last save) and, if requested, `parts/` (the same weights
in 16 bits, in files small enough to move). Time is counted over all parts of a resumed run. A run is limited by steps
or by time; either way the learning rate has decayed to zero when it ends.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from emsync import checkpoint, weight_parts
from emsync.conditions import CONTROL_LANES
from emsync.errors import CorpusError, InputError, MissingExtraError, ModelError, OutputError
from emsync.training.crops import Batch, Crops
from emsync.training.dataset import Dataset

try:
    import torch
except ImportError as error:  # the wheel check, which has no torch, comes here
    raise MissingExtraError('training needs torch; install it with: pip install "emsync[train]"') from error

from emsync.model import EventTransformer
from emsync.training import utilisation
from emsync.training.batches import MOST_PROCESSES, from_processes
from emsync.training.batches import prefetch as prefetch
from emsync.training.batches import tensors as tensors
from emsync.training.interrupts import deferred_interrupt
from emsync.training.objective import bf16_pays as bf16_pays
from emsync.training.objective import losses as losses
from emsync.training.objective import optimizers as optimizers
from emsync.training.objective import rate_at as rate_at
from emsync.training.objective import silence_velocities
from emsync.training.objective import validate as validate
from emsync.training.presets import PRESETS as PRESETS
from emsync.training.presets import Preset as Preset
from emsync.training.presets import TrainConfig as TrainConfig
from emsync.training.run_folder import Progress as Progress
from emsync.training.run_folder import check_run as check_run
from emsync.training.run_folder import load_state, read_about, save_state
from emsync.training.run_folder import plot_log as plot_log
from emsync.training.run_folder import read_log as read_log
from emsync.training.run_folder import read_run as read_run
from emsync.training.run_options import Device as Device
from emsync.training.run_options import RunOptions as RunOptions

if TYPE_CHECKING:
    from torch import Tensor

#: The seed of the crops that every run validates on.
VALID_SEED = 20_250_101
REPORT_EVERY_S = 5.0


def check_device(device: Device) -> None:
    """Raise `InputError` if a GPU is requested and there is none."""
    if device == "cuda" and not has_gpu():
        raise InputError("there is no CUDA GPU that torch can use here; leave out --device cuda to train on the CPU")


def has_gpu() -> bool:
    """Whether there is a GPU that training would use."""
    return torch.cuda.is_available()


def how_far(initial: str | os.PathLike[str] | None, *, go_on: bool, resume: bool) -> Progress:
    """Where a new run begins: at step 0 or, with go_on, where the run that made `initial` ended (its config.json).

    Raises `InputError` for options that contradict one another, `ModelError` if the model does not say how far it was.
    """
    if not go_on:
        return Progress()
    if initial is None or resume:
        raise InputError("--go-on goes with --initial, the model to go on from, and without --resume")
    known = checkpoint.read_config(initial).get("training", {})
    try:
        return Progress(step=int(known["steps"]), elapsed_s=60 * float(known["minutes"]), tokens=int(known["tokens"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{initial} does not say how long it was trained; leave out --go-on") from error


def fit(
    preset: Preset,
    data: Dataset,
    valid: Dataset | None,
    out: str | os.PathLike[str],
    options: RunOptions,
    *,
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train, and return where the run ended.

    Args:
        preset: The network's shape, how crops are drawn, and how it is trained.
        data: The songs to train on.
        valid: The songs to validate on, if any.
        out: The run's folder.
        options: How long, on what, and from where.
        report: Called every few seconds with the progress of the run.

    Raises:
        InputError: The options do not fit the machine, the folder or the run to resume.
        CorpusError: The loss or the weights are no longer finite.
        OutputError: Something cannot be written.

    """
    check_device(options.device)
    progress = how_far(options.initial, go_on=options.go_on, resume=options.resume)
    check_run(out, resume=options.resume)
    return Run(preset, data, valid, Path(out), options, progress, report).go()


class Run:
    """One training run: set up when made, then `go`: steps, reports and saves until its end."""

    def __init__(
        self,
        preset: Preset,
        data: Dataset,
        valid: Dataset | None,
        out: Path,
        options: RunOptions,
        progress: Progress,
        report: Callable[[Progress], None] | None,
    ) -> None:
        from accelerate import Accelerator

        self.options, self.progress, self.data, self.out, self.tell = options, progress, data, out, report
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{out} cannot be made ({error.strerror}); choose another folder") from error
        self.begun = time.monotonic()
        torch.manual_seed(preset.train.seed)
        self.accelerator = Accelerator(mixed_precision="no", cpu=options.device == "cpu")
        self.place = self.accelerator.device
        self.state_folder = out / "state"
        # A resumed run computes as it did, whatever a new trial of the machine's speed would say.
        bf16 = read_about(self.state_folder).get("bf16", {}).get(self.place.type) if options.resume else None
        self.bf16 = bf16_pays(self.place) if bf16 is None else bool(bf16)
        self.model, self.preset = self._model(preset)
        self.config = self.preset.train
        self.optimizers = optimizers(self.model, self.config, bf16=self.bf16)
        self.base_rates = [[group["lr"] for group in opt.param_groups] for opt in self.optimizers]
        if options.resume:
            load_state(self.state_folder, self.model, self.optimizers, progress, self.preset)
            for leftover in (*out.glob(".state.*"), *out.glob(".model.*"), *out.glob(".parts.*")):  # of a killed save
                shutil.rmtree(leftover, ignore_errors=True)
        self.prepared, *self.prepared_optimizers = self.accelerator.prepare(self.model, *self.optimizers)
        self.first_step, self.already_s = progress.step, progress.elapsed_s
        #: The step at which the optimizers begin, and the rate warms up.
        self.cold_step = 0 if options.resume else self.first_step
        self.compiled = options.compile_model
        self.step_losses: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]] = (
            torch.compile(self._compute) if options.compile_model else self._compute
        )
        self.valid_batches = self._valid_batches(valid)
        self.controlled_batches = self._valid_batches(valid, controls=True)
        self.peak_tflops = options.peak_tflops or utilisation.peak_tflops(self.place)
        self.flops = utilisation.flops_per_event(self.model, self.preset.crops.context)
        self.samples = options.samples if options.samples is not None else self.place.type == "cuda"
        self.recent: list[Tensor] = []
        self.waited_s = 0.0
        #: False within a step: weights and optimizers then belong to different steps, and are not saved.
        self.is_whole = True

    # ---- set up ------------------------------------------------------------------------------------------------------

    def _model(self, preset: Preset) -> tuple[EventTransformer, Preset]:
        """The network, and the preset that it is of."""
        initial = self.options.initial
        model = EventTransformer(preset.model) if initial is None else self._initial(initial, preset)
        if initial is None and not preset.train.velocity_weight:
            silence_velocities(model)
        if replace(model.config, knows_mood=preset.model.knows_mood) == preset.model:
            model.config = preset.model  # it has the parameters for mood in any case, and learns it now
        if model.config != preset.model:
            crops = replace(preset.crops, context=min(preset.crops.context, model.config.context))
            preset = replace(preset, model=model.config, crops=crops)
        return model.to(self.place), preset

    def _initial(self, folder: str | os.PathLike[str], preset: Preset) -> EventTransformer:
        """The model that training begins from, with all lanes and the preset's parts."""
        return checkpoint.load(folder).with_all_lanes().with_parts(preset.model).train()

    def _valid_batches(self, valid: Dataset | None, *, controls: bool = False) -> list[Batch]:
        """The fixed crops to validate on; of those with the songs' own controls, a quarter."""
        if valid is None or not self.accelerator.is_main_process:
            return []
        n = math.ceil(self.config.valid_crops / self.config.batch)
        if controls:
            listens = len(self.preset.model.lanes) > min(CONTROL_LANES)
            n = math.ceil(n / 4) if listens else 0
        around = self.preset.model.adapter_layers > 0
        still = Crops(valid, self.preset.crops, seed=VALID_SEED, augment=False, controls=controls, around=around)
        return [still.batch(i, self.config.batch, chord_weight=self.config.chord_weight) for i in range(n)]

    def _source(self) -> Generator[Batch | dict[str, Tensor]]:
        """Batches from the first step on."""
        crops = Crops(self.data, self.preset.crops, seed=self.config.seed, around=self.preset.model.adapter_layers > 0)

        def draw(step: int) -> Batch:
            return crops.batch(
                step, self.config.batch, rank=self.accelerator.process_index, chord_weight=self.config.chord_weight
            )

        processes = self.options.processes
        if processes is None:
            on_gpu = self.place.type == "cuda"
            processes = min((os.cpu_count() or 2) - 1, MOST_PROCESSES) if on_gpu else 0
        return from_processes(draw, self.first_step, processes) if processes else prefetch(draw, self.first_step)

    def _context(self) -> Any:
        return torch.autocast(self.place.type, torch.bfloat16) if self.bf16 else nullcontext()

    def _compute(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        with self._context():
            return losses(self.prepared, batch, self.config.velocity_weight)

    # ---- going -------------------------------------------------------------------------------------------------------

    def go(self) -> Progress:
        """Train until the end; on any failure save what was learned, if possible."""
        progress = self.progress
        self.last_save_s = self.last_report_s = time.monotonic()
        progress.share = self._share()  # of this run's length: a resumed run may have become longer
        self.last_tokens = progress.tokens
        self.saved_parts = int(progress.share * self.config.saves)
        self.validated_parts = int(progress.share * self.config.validations)
        main = self.accelerator.is_main_process
        self.log = (self.out / "log.jsonl").open("a", encoding="utf-8") if main else None
        source = self._source()
        try:
            while progress.share < 1:
                asked_s = time.monotonic()
                batch = next(source)
                self.waited_s += time.monotonic() - asked_s
                self._step(tensors(batch, self.place))
                progress.share = self._share()
                self._report_and_save()
        except BaseException as error:
            # What was learned is kept, also when interrupted; what cannot be written is not tried twice.
            learned = progress.step > self.first_step and self.is_whole
            if learned and not isinstance(error, OutputError) and self._weights_are_finite():
                self._save()
            if isinstance(error, torch.OutOfMemoryError):
                raise InputError(
                    f"{self.config.batch} crops of {self.preset.crops.context} events do not fit the GPU's memory; "
                    "give a smaller --batch"
                ) from error
            raise
        finally:
            source.close()
            if self.log:
                with suppress(OSError):  # each line was flushed: there is nothing left to lose
                    self.log.close()
        return progress

    def _share(self) -> float:
        """The share of the run that is done."""
        from accelerate.utils import broadcast

        progress = self.progress
        progress.elapsed_s = self.already_s + time.monotonic() - self.begun
        if self.accelerator.num_processes > 1:  # every process must stop at the same step: by the first one's clock
            clock = torch.tensor([progress.elapsed_s], dtype=torch.float32, device=self.place)
            progress.elapsed_s = float(broadcast(clock))
        return self.options.share(progress.step, progress.elapsed_s)

    def _step(self, batch: dict[str, Tensor]) -> None:
        """One step of the optimizers. An interrupt waits for its end, so that all saved files are of the same step."""
        factor = rate_at(self.progress.share, self.progress.step - self.cold_step, self.config)
        for opt, rates in zip(self.optimizers, self.base_rates, strict=True):
            for group, rate in zip(opt.param_groups, rates, strict=True):
                group["lr"] = rate * factor
        loss, bits = self._losses(batch)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.config.clip)
        with deferred_interrupt():
            self.is_whole = False
            for opt in self.prepared_optimizers:
                opt.step()
                opt.zero_grad(set_to_none=True)
            self.recent.append(bits.detach())
            self.progress.step += 1
            self.progress.tokens += self.config.batch * self.preset.crops.context * self.accelerator.num_processes
            self.is_whole = True

    def _losses(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The loss and the bits an event, by the compiled network if it compiles."""
        try:
            return self.step_losses(batch)
        except Exception as error:
            wrong = (ValueError, IndexError, torch.OutOfMemoryError)
            if not self.compiled or self.progress.step > self.first_step or isinstance(error, wrong):
                raise
            # No compiler on this machine: the same numbers, more slowly.
            self.step_losses, self.compiled = self._compute, False
            return self.step_losses(batch)

    def _report_and_save(self) -> None:
        """Report every few seconds; save at equal parts of the run, every few minutes, and at its end."""
        now_s, share = time.monotonic(), self.progress.share
        is_done = share >= 1
        if now_s - self.last_report_s > REPORT_EVERY_S or is_done:
            self._report(now_s, is_done)
        is_part = int(share * self.config.saves) > self.saved_parts or is_done
        if now_s - self.last_save_s > self.options.save_every_s or is_part:
            self.saved_parts, self.last_save_s = int(share * self.config.saves), now_s
            self._save()
            if is_part and self.samples and self.accelerator.is_main_process:
                from emsync.training.samples import sample_statistics

                self.progress.sample = sample_statistics(self.out / "model", seed=self.progress.step)

    def _report(self, now_s: float, is_done: bool) -> None:
        """Measure the last seconds, validate if it is time, and log both."""
        progress = self.progress
        progress.loss = float(torch.stack(self.recent).mean())
        self.recent.clear()
        if not math.isfinite(progress.loss):
            raise CorpusError(
                f"the loss is {progress.loss} at step {progress.step}; lower the learning rate, and resume "
                "from the last save"
            )
        spent_s = max(now_s - self.last_report_s, 1e-9)
        progress.tokens_per_s = (progress.tokens - self.last_tokens) / spent_s
        progress.waited = min(1.0, self.waited_s / spent_s)
        if self.peak_tflops:
            peak = self.peak_tflops * 1e12 * self.accelerator.num_processes
            progress.mfu = progress.tokens_per_s * self.flops / peak
        self.last_report_s, self.last_tokens, self.waited_s = now_s, progress.tokens, 0.0
        part = int(progress.share * self.config.validations)
        if self.valid_batches and (is_done or part > self.validated_parts):
            self.validated_parts = part
            progress.valid = validate(
                self.model, self.valid_batches, self.place, self._context, controlled=self.controlled_batches
            )
        if self.log:
            _write_line(self.log, progress)
        if self.tell:
            self.tell(progress)

    def _weights_are_finite(self) -> bool:
        return all(bool(torch.isfinite(p).all()) for p in self.model.parameters())

    def _save(self) -> None:
        """Write state, model and, if requested, parts. Raises `CorpusError` if the weights are no longer finite."""
        if not self.accelerator.is_main_process:
            return
        if not self._weights_are_finite():
            raise CorpusError(
                f"the weights are no longer numbers at step {self.progress.step}; lower the learning rate, and resume "
                "from the last save"
            )
        save_state(
            self.state_folder, self.model, self.optimizers, self.progress, self.preset, {self.place.type: self.bf16}
        )
        about = self._about()
        checkpoint.save(self.model, self.out / "model", training=about)
        if self.options.parts:
            weight_parts.save_parts(self.model, self.out / "parts", training=about)

    def _about(self) -> dict[str, Any]:
        """What the model folder keeps about how it was trained."""
        progress = self.progress
        return {
            "preset": self.preset.to_dict(),
            "steps": progress.step,
            "tokens": progress.tokens,
            "minutes": round(progress.elapsed_s / 60, 2),
            "valid": progress.valid,
            "sample": progress.sample,
            "corpus": self.data.about,
            "device": str(self.place),
            "bf16": self.bf16,
            "compiled": self.compiled,
            "mfu": progress.mfu,
        }


def _write_line(log: TextIO, progress: Progress) -> None:
    try:
        log.write(json.dumps(asdict(progress)) + "\n")
        log.flush()
    except OSError as error:
        raise OutputError(f"{log.name} cannot be written ({error.strerror}); free some space, then --resume") from error
