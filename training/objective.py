"""What training minimises, by which optimizers, at which rate; and how it is validated.

Conventions: B crops of T positions a batch; losses in nats, reports in bits.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from emsync.conditions import CONTROL_LANES
from emsync.errors import InputError
from emsync.model import EventTransformer
from emsync.tokenizer.events import DEFAULT_VELOCITY
from emsync.training.batches import inputs, tensors
from emsync.training.crops import Batch
from emsync.training.muon import Float32Muon
from emsync.training.presets import TrainConfig
from emsync.vocabulary import CHORD, velocity_level

if TYPE_CHECKING:
    from torch import Tensor


def rate_at(share: float, step: int, config: TrainConfig) -> float:
    """The learning rate's factor: a warm-up by steps, then flat, then linear to 0 over the last `decay`.

    With `late_rate` it is late_rate / rate from `late_from` on, times the same.
    """
    warm = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    fall = min(1.0, max(0.0, 1.0 - share) / config.decay) if config.decay else 1.0
    late = config.late_rate / config.rate if config.late_rate and share >= config.late_from else 1.0
    return warm * fall * late


def _is_own(name: str, part: str) -> bool:
    """Whether a parameter belongs to a part of the network that `TrainConfig.train_only` names."""
    kind, *rest = name.split(".")
    if part not in ("lanes", "controls"):
        return kind == part
    if part == "controls" and kind == "lanes":
        # What stands for a control that is not given stays as it is. So a model without controls plays as before.
        return int(rest[0]) >= min(CONTROL_LANES) and rest[1:] != ["absent"]
    return kind in ("lanes", "fusion", "guides")


def optimizers(model: EventTransformer, config: TrainConfig, *, bf16: bool) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for all else, or Adam for everything.

    bf16: whether products of bfloat16 are fast here, so that Muon may use them.
    """
    fused: dict[str, Any] = {"fused": True} if next(model.parameters()).is_cuda else {}
    if config.train_only != "all":
        chosen_ones = [p for name, p in model.named_parameters() if _is_own(name, config.train_only)]
        if not chosen_ones:
            needed = {"style": "style_positions", "adapter": "adapter_layers"}
            missing = needed.get(config.train_only, "lanes of controls")
            raise InputError(f"train: the model has no {config.train_only} to train; give it {missing}")
        model.requires_grad_(False)
        for parameter in chosen_ones:
            parameter.requires_grad_(True)
        return [torch.optim.AdamW(chosen_ones, lr=config.rate, betas=(0.9, 0.95), weight_decay=0.0, **fused)]
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
        (torch.optim.Muon if bf16 else Float32Muon)(
            matrices, lr=config.matrix_rate, momentum=0.95, weight_decay=config.weight_decay
        ),
        torch.optim.AdamW(rest, lr=config.rate, betas=(0.9, 0.95), weight_decay=0.0, **fused),
    ]


@torch.no_grad()
def silence_velocities(model: EventTransformer) -> None:
    """Make a new model neither read nor learn velocities: all notes get the level of `DEFAULT_VELOCITY`.

    The paper's music has one velocity, and louder notes in chords (Section III-B2), which `finish` accents.
    """
    level = int(velocity_level(np.array(DEFAULT_VELOCITY)))
    for parameter in (model.velocity.weight, model.velocity_head.weight, model.velocity_head.bias):
        parameter.zero_()
        parameter.requires_grad_(False)
    model.velocity_head.bias[level] = 30.0


def losses(model: Any, batch: dict[str, Tensor], velocity_weight: float) -> tuple[Tensor, Tensor]:
    """(what is minimised, mean bits an event unweighted) of one batch."""
    logits, velocity_logits = model(*inputs(batch))
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
    """Whether bfloat16 products are faster here, tried for half a second (2 to 3 times as fast, or 20 times slower)."""
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
def validate(
    model: Any, batches: list[Batch], device: Any, context: Any, *, controlled: Sequence[Batch] = ()
) -> dict[str, float]:
    """Bits per event, per note (of events, and of velocities apart), over fixed crops; CHORD counts as one event.

    controlled: the first of the batches once more, with the controls of their songs. What these save is reported.
    """
    nats = velocity_nats = 0.0
    events = notes = 0
    chord_nats, chords = 0.0, 0
    model.eval()
    for batch in batches:
        t = tensors(batch, device)
        with context():
            logits, velocity_logits = model(*inputs(t))
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
    found = {
        "bits_per_event": nats / max(events, 1) / math.log(2),
        "bits_per_note": nats / max(notes, 1) / math.log(2),
        "velocity_bits_per_note": velocity_nats / max(notes, 1) / math.log(2),
        "chord_bits": chord_nats / max(chords, 1) / math.log(2),
    }
    if controlled:
        without, known = (
            validate(model, list(each), device, context)["bits_per_note"]
            for each in (batches[: len(controlled)], controlled)
        )
        found["controls_save_bits_per_note"] = without - known
    return found
