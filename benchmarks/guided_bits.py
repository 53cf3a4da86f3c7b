"""What guidance by mood costs: bits of real songs under the guided distribution, given their own mood."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from emsync.conditions import LANE_NAMES
from emsync.music_mood.regressor import AXES

if TYPE_CHECKING:
    from emsync.model import EventTransformer
    from emsync.training.crops import Batch

STRENGTHS: Final = (1.0, 1.5, 2.0, 3.0)
#: The lanes of mood.
_MOOD_LANES: Final = [LANE_NAMES.index(axis) for axis in AXES]


def guided_bits(
    model: EventTransformer, batches: Sequence[Batch], strengths: Sequence[float] = STRENGTHS
) -> dict[str, float]:
    """Bits per note of real crops: without mood, with their own at each strength, and with another crop's.

    The guided distribution is the softmax of u + s (c - u), with u the logits without mood and c those with it, as in
    composing.

    Args:
        model: the model to measure.
        batches: crops drawn without augmentation, so that mood is never dropped.
        strengths: the guidance strengths s.

    """
    import torch
    import torch.nn.functional as F

    from emsync.training.train import tensors

    names = ["without", "shuffled", *(f"{s:g}" for s in strengths)]
    nats, notes = dict.fromkeys(names, 0.0), 0
    device = next(model.parameters()).device
    model.eval()
    with torch.no_grad():
        for batch in batches:
            t = tensors(batch, device)

            def logits(lanes: Any, mood: Any, t: dict[str, Any] = t) -> Any:
                return model(t["ids"], t["previous_velocity"], lanes, mood)[0].float()

            silent = t["lanes"].clone()
            silent[..., _MOOD_LANES] = math.nan
            other = t["lanes"].clone()
            other[..., _MOOD_LANES] = t["lanes"][..., _MOOD_LANES].roll(1, 0)
            plain = logits(silent, torch.full_like(t["mood"], math.nan))
            given = logits(t["lanes"], t["mood"])
            mixed = {"without": plain, "shuffled": logits(other, t["mood"].roll(1, 0))}
            mixed |= {f"{s:g}": plain + s * (given - plain) for s in strengths}
            counted = (t["weights"] > 0).flatten()
            for name, values in mixed.items():
                each = F.cross_entropy(values.flatten(0, 1), t["targets"].flatten(), reduction="none")
                nats[name] += float(each[counted].sum())
            notes += int((t["velocities"] > 0).sum())
    return {name: value / max(notes, 1) / math.log(2) for name, value in nats.items()}
