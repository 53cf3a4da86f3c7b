"""Training the composer: crops in, a model folder out, on whatever machine it is.

Conventions: a run lives in one folder (`run_folder`): `log.jsonl` (a line a report), `loss.png`, `state/` (everything
needed to go on exactly), `model/` (the model folder of the last save) and, where asked for, `parts/` (the same weights
in 16 bits, in files small enough to move). Time is counted over all parts of a resumed run. A run is bounded by steps
or by the clock; either way the learning rate has decayed to zero when it ends.
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
from typing import TYPE_CHECKING, Any, Literal, TextIO

from emsync import checkpoint
from emsync.errors import CorpusError, InputError, MissingExtraError, ModelError, OutputError
from emsync.training.dataset import Batch, Crops, Dataset
from emsync.vocabulary import CHORD

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:  # the wheel check, which has no torch, comes here
    raise MissingExtraError('training needs torch; install it with: pip install "emsync[train]"') from error

from emsync.model import Composer
from emsync.training import utilisation
from emsync.training.batches import MOST_PROCESSES, from_processes
from emsync.training.batches import prefetch as prefetch
from emsync.training.batches import tensors as tensors
from emsync.training.presets import PRESETS as PRESETS
from emsync.training.presets import Preset as Preset
from emsync.training.presets import TrainConfig as TrainConfig
from emsync.training.run_folder import Progress as Progress
from emsync.training.run_folder import check_run as check_run
from emsync.training.run_folder import load_state, read_about, save_state
from emsync.training.run_folder import plot_log as plot_log
from emsync.training.run_folder import read_log as read_log
from emsync.training.run_folder import read_run as read_run

if TYPE_CHECKING:
    from torch import Tensor

Device = Literal["auto", "cpu", "cuda"]


def rate_at(share: float, step: int, config: TrainConfig) -> float:
    """The learning rate's factor in [0, 1]: a warm-up by steps, then flat, then linear to 0 over the last `decay`."""
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    fall = min(1.0, max(0.0, 1.0 - share) / config.decay) if config.decay else 1.0
    return warm * fall


def optimizers(model: Composer, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for all else, or Adam for everything."""
    fused: dict[str, Any] = {"fused": True} if next(model.parameters()).is_cuda else {}
    if config.optimizer == "adam":
        return [torch.optim.Adam(model.parameters(), lr=config.rate, **fused)]
    matrices = [
        p
        for name, p in model.named_parameters()
        if p.ndim == 2 and name.startswith("blocks.") and "distance" not in name
    ]
    chosen = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    muon: type[torch.optim.Muon] = torch.optim.Muon
    if fused:  # on a GPU
        from emsync.training.muon import BatchedMuon as muon
    return [
        muon(matrices, lr=config.matrix_rate, momentum=0.95, weight_decay=config.weight_decay),
        torch.optim.AdamW(rest, lr=config.rate, betas=(0.9, 0.95), weight_decay=0.0, **fused),
    ]


def losses(model: Any, batch: dict[str, Tensor], velocity_weight: float) -> tuple[Tensor, Tensor]:
    """(what is minimised, mean bits an event unweighted) of one batch."""
    logits, velocity_logits = model(batch["ids"], batch["heard"], batch["lanes"], batch["mood"])
    nats = F.cross_entropy(logits.float().flatten(0, 1), batch["targets"].flatten(), reduction="none").view_as(
        batch["weights"]
    )
    weights = batch["weights"]
    loss = (nats * weights).sum() / weights.sum().clamp(min=1)
    with torch.no_grad():
        bits = (nats * (weights > 0)).sum() / (weights > 0).sum().clamp(min=1) / math.log(2)
    own = batch["velocities"].flatten()
    velocity_nats = F.cross_entropy(velocity_logits.float().flatten(0, 1), (own - 1).clamp(min=0), reduction="none")
    sounding = (own > 0).float()
    loss = loss + velocity_weight * (velocity_nats * sounding).sum() / sounding.sum().clamp(min=1)
    return loss, bits


def bf16_pays(device: torch.device) -> bool:
    """Whether bfloat16 products are faster here: half a second's trial (they are 2 to 3 times faster, or 20 slower)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    spent = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.randn(512, 512, dtype=dtype)
        a @ a
        begun, n = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.1:
            a @ a
            n += 1
        spent[dtype] = (time.perf_counter() - begun) / n
    return spent[torch.bfloat16] < 0.8 * spent[torch.float32]


@torch.no_grad()
def validate(model: Any, batches: list[Batch], device: Any, context: Any) -> dict[str, float]:
    """Bits per event, per note (of events, and of velocities apart), over fixed crops; CHORD counts as one event."""
    nats = velocity_nats = 0.0
    events = notes = 0
    chord_nats, chords = 0.0, 0
    model.eval()
    for batch in batches:
        t = tensors(batch, device)
        with context():
            logits, velocity_logits = model(t["ids"], t["heard"], t["lanes"], t["mood"])
        each = F.cross_entropy(logits.float().flatten(0, 1), t["targets"].flatten(), reduction="none").view_as(
            t["weights"]
        )
        counted = t["weights"] > 0
        nats += float(each[counted].sum())
        events += int(counted.sum())
        chord = counted & (t["targets"] == CHORD)
        chord_nats, chords = chord_nats + float(each[chord].sum()), chords + int(chord.sum())
        own = t["velocities"].flatten()
        each = F.cross_entropy(velocity_logits.float().flatten(0, 1), (own - 1).clamp(min=0), reduction="none")
        velocity_nats += float(each[own > 0].sum())
        notes += int((own > 0).sum())
    model.train()
    return {
        "bits_per_event": nats / max(events, 1) / math.log(2),
        "bits_per_note": nats / max(notes, 1) / math.log(2),
        "velocity_bits_per_note": velocity_nats / max(notes, 1) / math.log(2),
        "chord_bits": chord_nats / max(chords, 1) / math.log(2),
    }


def check_device(device: Device) -> None:
    """Raises `InputError` where a GPU is asked for and there is none."""
    if device == "cuda" and not has_gpu():
        raise InputError("there is no CUDA GPU that torch can use here; leave out --device cuda to train on the CPU")


def has_gpu() -> bool:
    """Whether there is a GPU that training would use."""
    return torch.cuda.is_available()


def how_far(initial: str | os.PathLike[str] | None, *, go_on: bool, resume: bool) -> Progress:
    """Where a new run begins: at nothing or, with go_on, where the run that made `initial` ended (its config.json).

    Raises `InputError` for options that do not go together, `ModelError` where the model does not tell.
    """
    if not go_on:
        return Progress()
    if initial is None or resume:
        raise InputError("--go-on goes with --initial, the model to go on from, and without --resume")
    told = checkpoint.read_config(initial).get("training", {})
    try:
        return Progress(step=int(told["steps"]), elapsed_s=60 * float(told["minutes"]), tokens=int(told["tokens"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{initial} does not say how long it was trained; leave out --go-on") from error


def fit(
    preset: Preset,
    data: Dataset,
    valid: Dataset | None,
    out: str | os.PathLike[str],
    *,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    compile_model: bool = True,
    initial: str | os.PathLike[str] | None = None,
    go_on: bool = False,
    device: Device = "auto",
    processes: int | None = None,
    parts: bool = False,
    samples: bool | None = None,
    peak_tflops: float | None = None,
    report: Callable[[Progress], None] | None = None,
    save_every_s: float = 240.0,
) -> Progress:
    """Train until `steps` are done or `minutes` have passed (give one); returns where it ended.

    out: the run's folder. resume: go on from out/state; raises `InputError` where there is nothing to resume, or where
    there is and `resume` was not asked for. initial: a model folder to begin from instead of random weights; go_on:
    count what it was trained already, so that rate and crops go on where they were (only the optimizers begin anew).
    device: "auto" is a GPU where there is one. processes: how many draw crops, 0 for a thread, None for a thread on the
    CPU and one a core (at most `MOST_PROCESSES`) on a GPU. parts: save the weights in parts, too (`checkpoint`).
    samples: compose a little at every save at a tenth and report what it was like; None: on a GPU only. peak_tflops:
    the device's peak, for the FLOPs utilisation; None: where it is known (`utilisation`).
    """
    from accelerate import Accelerator
    from accelerate.utils import broadcast

    if (minutes is None) == (steps is None):
        raise InputError("give either minutes or steps, to say when training ends")
    limit = minutes if minutes is not None else steps
    if not (limit and limit > 0 and math.isfinite(limit)):
        raise InputError(f"training for {limit} {'minutes' if steps is None else 'steps'} is nothing; give more than 0")
    check_device(device)
    out = Path(out)
    state_folder = out / "state"
    progress = how_far(initial, go_on=go_on, resume=resume)
    check_run(out, resume=resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); choose another folder") from error
    begun = time.monotonic()
    config = preset.train
    torch.manual_seed(config.seed)
    accelerator = Accelerator(mixed_precision="no", cpu=device == "cpu")
    place = accelerator.device
    # A resumed run computes as it did, whatever a new trial of the machine's speed would say.
    bf16 = read_about(state_folder).get("bf16", {}).get(place.type) if resume else None
    bf16 = bf16_pays(place) if bf16 is None else bool(bf16)

    def context() -> Any:
        return torch.autocast(place.type, torch.bfloat16) if bf16 else nullcontext()

    model = Composer(preset.model) if initial is None else checkpoint.load(initial).with_all_lanes().train()
    if replace(model.config, knows_mood=preset.model.knows_mood) == preset.model:
        model.config = preset.model  # it has the parameters for mood in any case, and learns it now
    if model.config != preset.model:
        crop_config = replace(preset.crops, context=min(preset.crops.context, model.config.context))
        preset = replace(preset, model=model.config, crops=crop_config)
    model.to(place)
    opts = optimizers(model, config)
    base_rates = [[group["lr"] for group in opt.param_groups] for opt in opts]
    if resume:
        load_state(state_folder, model, opts, progress, preset)
        for leftover in (*out.glob(".state.*"), *out.glob(".model.*"), *out.glob(".parts.*")):  # of a killed save
            shutil.rmtree(leftover, ignore_errors=True)
    prepared, *prepared_opts = accelerator.prepare(model, *opts)
    first_step, already_s = progress.step, progress.elapsed_s
    cold = 0 if resume else first_step  # where the optimizers begin, and the rate warms up
    crops = Crops(data, preset.crops, seed=config.seed)
    valid_batches: list[Batch] = []
    if valid is not None and accelerator.is_main_process:
        still = Crops(valid, preset.crops, seed=20_250_101, augment=False)
        valid_batches = [
            still.batch(i, config.batch, chord_weight=config.chord_weight)
            for i in range(math.ceil(config.valid_crops / config.batch))
        ]
    peak = peak_tflops or utilisation.peak_tflops(place)
    flops = utilisation.flops_per_event(model, preset.crops.context)
    sampled = samples if samples is not None else place.type == "cuda"

    def compute(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        with context():
            return losses(prepared, batch, config.velocity_weight)

    step_losses: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]] = (
        torch.compile(compute) if compile_model else compute
    )
    compiled = compile_model

    def draw(step: int) -> Batch:
        return crops.batch(step, config.batch, rank=accelerator.process_index, chord_weight=config.chord_weight)

    if processes is None:
        processes = min((os.cpu_count() or 2) - 1, MOST_PROCESSES) if place.type == "cuda" else 0
    source: Generator[Batch | dict[str, Tensor]] = (
        from_processes(draw, first_step, processes) if processes else prefetch(draw, first_step)
    )

    def share() -> float:
        progress.elapsed_s = already_s + time.monotonic() - begun
        if accelerator.num_processes > 1:  # every process must stop at the same step: by the first one's clock
            clock = torch.tensor([progress.elapsed_s], dtype=torch.float32, device=place)
            progress.elapsed_s = float(broadcast(clock))
        return min(1.0, progress.step / steps if steps else progress.elapsed_s / 60 / float(minutes or 1))

    last_save = last_report = time.monotonic()
    waited_s = 0.0
    progress.share = share()  # of this run's length: a resumed run may have become longer
    last_tokens, saved_parts, validated_parts = (
        progress.tokens,
        int(progress.share * config.saves),
        int(progress.share * config.validations),
    )
    log = (out / "log.jsonl").open("a", encoding="utf-8") if accelerator.is_main_process else None
    recent: list[Tensor] = []

    def sound() -> bool:
        return all(bool(torch.isfinite(p).all()) for p in model.parameters())

    def save() -> None:
        if accelerator.is_main_process:
            if not sound():
                raise CorpusError(
                    f"the weights are no longer numbers at step {progress.step}; lower the learning rate, and resume "
                    "from the last save"
                )
            save_state(state_folder, model, opts, progress, preset, {place.type: bf16})
            about = _about(preset, progress, data, place, bf16, compiled)
            checkpoint.save(model, out / "model", training=about)
            if parts:
                checkpoint.save_parts(model, out / "parts", training=about)

    try:
        while progress.share < 1:
            factor = rate_at(progress.share, progress.step - cold, config)
            for opt, rates in zip(opts, base_rates, strict=True):
                for group, rate in zip(opt.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            asked = time.monotonic()
            batch = next(source)
            waited_s += time.monotonic() - asked
            on_device = tensors(batch, place)
            try:
                loss, bits = step_losses(on_device)
            except Exception as error:
                wrong = (ValueError, IndexError, torch.OutOfMemoryError)
                if not compiled or progress.step > first_step or isinstance(error, wrong):
                    raise
                # No compiler on this machine: the same numbers, more slowly.
                step_losses, compiled = compute, False
                loss, bits = step_losses(on_device)
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(prepared.parameters(), config.clip)
            for opt in prepared_opts:
                opt.step()
                opt.zero_grad(set_to_none=True)
            recent.append(bits.detach())
            progress.step += 1
            progress.tokens += config.batch * preset.crops.context * accelerator.num_processes
            progress.share = share()
            now = time.monotonic()
            done = progress.share >= 1
            if now - last_report > 5 or done:
                progress.loss = float(torch.stack(recent).mean())
                recent.clear()
                if not math.isfinite(progress.loss):
                    raise CorpusError(
                        f"the loss is {progress.loss} at step {progress.step}; lower the learning rate, and resume "
                        "from the last save"
                    )
                spent_s = max(now - last_report, 1e-9)
                progress.tokens_per_s = (progress.tokens - last_tokens) / spent_s
                progress.waited = min(1.0, waited_s / spent_s)
                if peak:
                    progress.mfu = progress.tokens_per_s * flops / (peak * 1e12 * accelerator.num_processes)
                last_report, last_tokens, waited_s = now, progress.tokens, 0.0
                if valid_batches and (done or int(progress.share * config.validations) > validated_parts):
                    validated_parts = int(progress.share * config.validations)
                    progress.valid = validate(model, valid_batches, place, context)
                if log:
                    _write_line(log, progress)
                if report:
                    report(progress)
            tenth = int(progress.share * config.saves) > saved_parts or done
            if now - last_save > save_every_s or tenth:
                saved_parts, last_save = int(progress.share * config.saves), now
                save()
                if tenth and sampled and accelerator.is_main_process:
                    from emsync.training.samples import sample_statistics

                    progress.sample = sample_statistics(out / "model", seed=progress.step)
    except BaseException as error:
        # What was learned is kept, also when interrupted; what cannot be written is not tried twice.
        if progress.step > first_step and not isinstance(error, OutputError) and sound():
            save()
        if isinstance(error, torch.OutOfMemoryError):
            raise InputError(
                f"{config.batch} crops of {preset.crops.context} events do not fit the GPU's memory; give a smaller "
                "--batch"
            ) from error
        raise
    finally:
        source.close()
        if log:
            with suppress(OSError):  # each line was flushed: there is nothing left to lose
                log.close()
    return progress


def _write_line(log: TextIO, progress: Progress) -> None:
    try:
        log.write(json.dumps(asdict(progress)) + "\n")
        log.flush()
    except OSError as error:
        raise OutputError(f"{log.name} cannot be written ({error.strerror}); free some space, then --resume") from error


def _about(
    preset: Preset, progress: Progress, data: Dataset, device: Any, bf16: bool, compiled: bool
) -> dict[str, Any]:
    return {
        "preset": preset.to_dict(),
        "steps": progress.step,
        "tokens": progress.tokens,
        "minutes": round(progress.elapsed_s / 60, 2),
        "valid": progress.valid,
        "sample": progress.sample,
        "corpus": data.about,
        "device": str(device),
        "bf16": bf16,
        "compiled": compiled,
        "mfu": progress.mfu,
    }
