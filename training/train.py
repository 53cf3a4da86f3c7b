"""Training the composer: crops in, a model folder out, on whatever machine it is.

Conventions: a run lives in one folder: `log.jsonl` (a line a report), `loss.png`, `state/` (everything needed to go
on exactly), `model/` (the model folder of the last save). Time is counted over all parts of a resumed run. A run is
bounded by steps or by the clock; either way the learning rate has decayed to zero when it ends.
"""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import tempfile
import threading
import time
import tomllib
from collections.abc import Callable, Generator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emsync import checkpoint
from emsync.errors import CorpusError, InputError, MissingExtraError, OutputError
from emsync.files import atomic_path
from emsync.tokenizer.vocabulary import CHORD
from emsync.training.dataset import Batch, CropConfig, Crops, Dataset

try:
    import torch
    import torch.nn.functional as F
except ImportError as error:  # the wheel check, which has no torch, comes here
    raise MissingExtraError('training needs torch; install it with: pip install "emsync[train]"') from error

from emsync.model import Composer, ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

PRESETS = ("paper", "base", "small", "tiny")


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Checked when made."""

    batch: int = 4
    """Crops a step, on each process."""
    optimizer: str = "muon"
    """"muon" (Muon on the blocks' matrices, AdamW on the rest) or "adam" (the paper's)."""
    matrix_rate: float = 0.02
    """Learning rate of Muon."""
    rate: float = 1.5e-3
    """Learning rate of Adam(W)."""
    weight_decay: float = 0.01
    warmup_steps: int = 100
    decay: float = 0.6
    """The last share of the run, over which the rate falls linearly to zero."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    chord_weight: float = 10.0
    """Weight of CHORD in the loss (paper, Section IV-A)."""
    velocity_weight: float = 0.2
    """Weight of the velocity head's loss."""
    seed: int = 1
    valid_crops: int = 48
    saves: int = 10
    """How many times a run is saved (at equal parts of it), besides every few minutes."""
    validations: int = 20

    def __post_init__(self) -> None:
        for name, least in (
            ("batch", 1), ("valid_crops", 1), ("saves", 1), ("validations", 1), ("warmup_steps", 0), ("seed", 0)
        ):  # fmt: skip
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise InputError(f"train: {name} is {getattr(self, name)!r}; give a whole number of at least {least}")
        for name in ("matrix_rate", "rate", "clip", "chord_weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"train: {name} is {getattr(self, name)}; it must be above 0, and finite")
        for name in ("weight_decay", "velocity_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"train: {name} is {getattr(self, name)}; it must be 0 or more, and finite")
        if not 0 <= self.decay <= 1:
            raise InputError(f"train: decay is {self.decay}; a share lies between 0 and 1")
        if self.optimizer not in ("muon", "adam"):
            raise InputError(f"train: optimizer is {self.optimizer!r}; choose muon or adam")


@dataclass(frozen=True)
class Preset:
    """All of a TOML preset: [model], [crops], [train]."""

    model: ModelConfig
    crops: CropConfig
    train: TrainConfig

    @classmethod
    def read(cls, name: str | os.PathLike[str]) -> Preset:
        """A preset by its name (paper, base, small, tiny) or a TOML file of one's own."""
        path = Path(__file__).parent / f"{name}.toml" if str(name) in PRESETS else Path(name)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{name} is neither a preset ({', '.join(PRESETS)}) nor a TOML file that can be read ({error.strerror})"
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not TOML ({error}); mend it, or start from a preset") from error
        return cls.from_dict(table, str(path))

    @classmethod
    def from_dict(cls, table: dict[str, Any], where: str = "preset") -> Preset:
        parts: dict[str, Any] = {"model": ModelConfig, "crops": CropConfig, "train": TrainConfig}
        made: dict[str, Any] = {}
        for section in table:
            if section not in parts:
                raise InputError(f"{where}: unknown section [{section}]; there are [model], [crops] and [train]")
        for section, kind in parts.items():
            values = dict(table.get(section, {}))
            known = {f.name for f in fields(kind)}
            for key in values:
                if key not in known:
                    raise InputError(
                        f"{where}: unknown key {key!r} in [{section}]; known are {', '.join(sorted(known))}"
                    )
            if section == "crops":
                values.setdefault("context", made["model"].context)
            try:
                made[section] = kind(**values)
            except TypeError as error:
                raise InputError(f"{where}: [{section}] has a value of the wrong kind ({error})") from error
        if made["crops"].context > made["model"].context:
            raise InputError(
                f"{where}: crops of {made['crops'].context} do not fit the model's context of {made['model'].context}"
            )
        return cls(**made)

    def to_dict(self) -> dict[str, Any]:
        return {"model": self.model.to_dict(), "crops": asdict(self.crops), "train": asdict(self.train)}


@dataclass
class Progress:
    """Where a run stands; what `fit` reports."""

    step: int = 0
    elapsed_s: float = 0.0
    share: float = 0.0
    tokens: int = 0
    loss: float = math.nan
    tokens_per_s: float = 0.0
    valid: dict[str, float] = field(default_factory=dict)


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
    return [
        torch.optim.Muon(matrices, lr=config.matrix_rate, momentum=0.95, weight_decay=config.weight_decay),
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


def tensors(batch: Batch, device: Any) -> dict[str, Tensor]:
    """A batch's arrays as tensors on `device`, by their names."""
    return {f.name: torch.from_numpy(getattr(batch, f.name)).to(device, non_blocking=True) for f in fields(Batch)}


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


def prefetch(make: Callable[[int], Batch], first: int, ahead: int = 4) -> Generator[Batch]:
    """Batches first, first + 1, ... made by a thread, `ahead` of their use."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
    stopped = threading.Event()

    def work() -> None:
        step = first
        while not stopped.is_set():
            try:
                item: Batch | BaseException = make(step)
            except BaseException as error:
                item = error
            while not stopped.is_set():
                try:
                    ready.put(item, timeout=0.2)
                    break
                except queue.Full:
                    continue
            if isinstance(item, BaseException):
                return
            step += 1

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join(timeout=5)


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


def check_run(out: str | os.PathLike[str], *, resume: bool) -> None:
    """Refuse to begin a run where one stands, or to resume one where none does. Raises `InputError`."""
    out = Path(out)
    if resume:
        if not (out / "state").is_dir():
            raise InputError(f"{out} holds no run to resume; leave out --resume to begin one")
    elif (out / "state").exists():
        raise InputError(f"{out} holds a run already; give --resume to go on with it, or another folder")
    elif (out / "model").exists():
        raise InputError(f"{out} holds a model already; move {out / 'model'} away, or choose another folder")


def read_run(out: str | os.PathLike[str]) -> tuple[Progress, Preset]:
    """Where the run in folder `out` stood when it was last saved, and its preset. Raises `InputError`."""
    about = _read_about(Path(out) / "state")
    return Progress(**about["progress"]), Preset.from_dict(about["preset"], f"{out}")


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
    report: Callable[[Progress], None] | None = None,
    save_every_s: float = 240.0,
) -> Progress:
    """Train until `steps` are done or `minutes` have passed (give one); returns where it ended.

    out: the run's folder. resume: go on from out/state; raises `InputError` where there is nothing to resume, or where
    there is and `resume` was not asked for. initial: a model folder to begin from instead of random weights.
    """
    from accelerate import Accelerator
    from accelerate.utils import broadcast

    if (minutes is None) == (steps is None):
        raise InputError("give either minutes or steps, to say when training ends")
    limit = minutes if minutes is not None else steps
    if not (limit and limit > 0 and math.isfinite(limit)):
        raise InputError(f"training for {limit} {'minutes' if steps is None else 'steps'} is nothing; give more than 0")
    out = Path(out)
    state_folder = out / "state"
    check_run(out, resume=resume)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out} cannot be made ({error.strerror}); choose another folder") from error
    begun = time.monotonic()
    config = preset.train
    torch.manual_seed(config.seed)
    accelerator = Accelerator(mixed_precision="no")
    device = accelerator.device
    # A resumed run computes as it did, whatever a new trial of the machine's speed would say.
    bf16 = _read_about(state_folder).get("bf16", {}).get(device.type) if resume else None
    bf16 = bf16_pays(device) if bf16 is None else bool(bf16)

    def context() -> Any:
        return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()

    model = Composer(preset.model) if initial is None else checkpoint.load(initial).train()
    if model.config != preset.model:
        crop_config = replace(preset.crops, context=min(preset.crops.context, model.config.context))
        preset = replace(preset, model=model.config, crops=crop_config)
    model.to(device)
    opts = optimizers(model, config)
    base_rates = [[group["lr"] for group in opt.param_groups] for opt in opts]
    progress = Progress()
    if resume:
        _load_state(state_folder, model, opts, progress, preset)
        for leftover in (*out.glob(".state.*"), *out.glob(".model.*")):  # of a save that was killed
            shutil.rmtree(leftover, ignore_errors=True)
    prepared, *prepared_opts = accelerator.prepare(model, *opts)
    first_step, already_s = progress.step, progress.elapsed_s
    crops = Crops(data, preset.crops, seed=config.seed)
    valid_batches: list[Batch] = []
    if valid is not None and accelerator.is_main_process:
        still = Crops(valid, preset.crops, seed=20_250_101, augment=False)
        valid_batches = [
            still.batch(i, config.batch, chord_weight=config.chord_weight)
            for i in range(math.ceil(config.valid_crops / config.batch))
        ]

    def compute(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        with context():
            return losses(prepared, batch, config.velocity_weight)

    step_losses: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]] = (
        torch.compile(compute) if compile_model else compute
    )
    source = prefetch(
        lambda step: crops.batch(step, config.batch, rank=accelerator.process_index, chord_weight=config.chord_weight),
        progress.step,
    )

    def share() -> float:
        progress.elapsed_s = already_s + time.monotonic() - begun
        if accelerator.num_processes > 1:  # every process must stop at the same step: by the first one's clock
            clock = torch.tensor([progress.elapsed_s], dtype=torch.float32, device=device)
            progress.elapsed_s = float(broadcast(clock))
        return min(1.0, progress.step / steps if steps else progress.elapsed_s / 60 / float(minutes or 1))

    last_save = last_report = time.monotonic()
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
            _save_state(state_folder, model, opts, progress, preset, {device.type: bf16})
            checkpoint.save(model, out / "model", training=_about(preset, progress, data, device, bf16))

    try:
        while progress.share < 1:
            factor = rate_at(progress.share, progress.step, config)
            for opt, rates in zip(opts, base_rates, strict=True):
                for group, rate in zip(opt.param_groups, rates, strict=True):
                    group["lr"] = rate * factor
            batch = tensors(next(source), device)
            try:
                loss, bits = step_losses(batch)
            except Exception as error:
                if not compile_model or progress.step > first_step or isinstance(error, (ValueError, IndexError)):
                    raise
                # No compiler on this machine: the same numbers, more slowly.
                step_losses = compute
                loss, bits = step_losses(batch)
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
                progress.tokens_per_s = (progress.tokens - last_tokens) / max(now - last_report, 1e-9)
                last_report, last_tokens = now, progress.tokens
                if valid_batches and (done or int(progress.share * config.validations) > validated_parts):
                    validated_parts = int(progress.share * config.validations)
                    progress.valid = validate(model, valid_batches, device, context)
                if log:
                    log.write(json.dumps(asdict(progress)) + "\n")
                    log.flush()
                if report:
                    report(progress)
            if now - last_save > save_every_s or int(progress.share * config.saves) > saved_parts or done:
                saved_parts, last_save = int(progress.share * config.saves), now
                save()
    except BaseException as error:
        # What was learned is kept, also when interrupted; what cannot be written is not tried twice.
        if progress.step > first_step and not isinstance(error, OutputError) and sound():
            save()
        raise
    finally:
        source.close()
        if log:
            log.close()
    return progress


def _about(preset: Preset, progress: Progress, data: Dataset, device: Any, bf16: bool) -> dict[str, Any]:
    return {
        "preset": preset.to_dict(),
        "steps": progress.step,
        "tokens": progress.tokens,
        "minutes": round(progress.elapsed_s / 60, 2),
        "valid": progress.valid,
        "corpus": data.about,
        "device": str(device),
        "bf16": bf16,
    }


def _save_state(
    folder: Path,
    model: Composer,
    opts: list[torch.optim.Optimizer],
    progress: Progress,
    preset: Preset,
    bf16: dict[str, bool],
) -> None:
    """Everything needed to go on, in a folder that is replaced whole; bf16: whether it was used, by kind of device."""
    try:
        partial = Path(tempfile.mkdtemp(prefix=".state.", dir=folder.parent))
    except OSError as error:
        raise OutputError(
            f"{folder.parent} cannot be written ({error.strerror}); free some space, then --resume"
        ) from error
    try:
        torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in opts]}, partial / "state.pt")
        about = {"progress": asdict(progress), "preset": preset.to_dict(), "bf16": bf16}
        (partial / "run.json").write_text(json.dumps(about))
        checkpoint.replace_folder(partial, folder)
    except (OSError, RuntimeError) as error:
        raise OutputError(f"{folder} cannot be written ({error}); free some space, then --resume") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _load_state(
    folder: Path, model: Composer, opts: list[torch.optim.Optimizer], progress: Progress, preset: Preset
) -> None:
    about = _read_about(folder)
    if about["preset"]["model"] != preset.model.to_dict():
        raise InputError(f"{folder} belongs to a model of another shape; resume it with the preset it was begun with")
    if about["preset"]["train"]["optimizer"] != preset.train.optimizer:
        raise InputError(
            f"{folder} belongs to a run with optimizer {about['preset']['train']['optimizer']}, not "
            f"{preset.train.optimizer}; resume it with the preset it was begun with"
        )
    try:
        state = torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        for opt, saved in zip(opts, state["optimizers"], strict=True):
            opt.load_state_dict(saved)
    except Exception as error:  # torch has many ways of saying "cut off"
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder} cannot be resumed ({reason}); begin again in another folder") from error
    for name, value in about["progress"].items():
        setattr(progress, name, value)


def _read_about(folder: Path) -> dict[str, Any]:
    """run.json of a state folder: progress, preset, bf16."""
    try:
        about = json.loads((folder / "run.json").read_text())
        parts = {name: dict(about[name]) for name in ("progress", "preset")}
        return {**parts, "bf16": dict(about.get("bf16", {}))}
    except Exception as error:
        raise InputError(f"{folder} cannot be resumed ({error}); begin again in another folder") from error


def read_log(run: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The reports of a run, in the order of their steps: what a resumed run did again replaces what it did before.

    A line that a kill cut off is passed over. Raises `InputError` where there is no log.
    """
    path = Path(run) / "log.jsonl"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give the folder of a training run") from error
    reports: list[dict[str, Any]] = []
    for line in text.splitlines():
        try:
            report = json.loads(line)
        except ValueError:
            continue
        while reports and reports[-1]["step"] >= report["step"]:
            reports.pop()
        reports.append(report)
    return reports


def plot_log(run: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Draw a run's losses, from its log.jsonl, as a PNG. Raises `InputError`, `OutputError`."""
    from matplotlib.figure import Figure

    lines = read_log(run)
    if not lines:
        raise InputError(f"{Path(run) / 'log.jsonl'} holds no report yet; train for longer")
    tokens = np.array([line["tokens"] for line in lines]) / 1e6
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="million events", ylabel="bits per event")
    axes.plot(tokens, [line["loss"] for line in lines], color="0.7", label="training")
    # A line repeats the last validation until there is a new one: only where it changes was it measured.
    fresh = [
        now for before, now in zip([{"valid": {}}, *lines], lines, strict=False) if now["valid"] != before["valid"]
    ]
    points = [(line["tokens"] / 1e6, line["valid"]["bits_per_event"]) for line in fresh if line["valid"]]
    if points:
        axes.plot(*zip(*dict(points).items(), strict=True), "o-", label="validation")
    if len(lines) > 4:
        axes.set_ylim(top=float(np.nanpercentile([line["loss"] for line in lines], 95)))
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
