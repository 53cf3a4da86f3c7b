"""Measure whether the music follows the requested mood: requested moods against moods read from what is composed.

Conventions
- Requests are constant moods at the plane's four corners, and ramps and steps of one axis while the other stays neutral
  (`tasks`). A task sets both axes, in the lanes and in the prefix.
- `mood.curves.judge` reads the composed music. It was fitted on pieces of VGMIDI that were not used to label the
  corpus. Requested and measured curves are compared second by second, where a second's window is within the piece.
- Levels are on the judge's own scale of real music, by `Scale.fit` on songs that were not trained on: 0 is their
  median, 1 their maximum.
- The control pairs every piece with the request of every other piece.
- `guided_bits` gives the cost: bits of real songs under the guided distribution, given their own mood.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from emsync.composer import compose
from emsync.conditions import LANE_NAMES, Conditions
from emsync.mood import MoodCurve
from emsync.recipe import Recipe
from emsync.score import Score
from emsync.tokenizer.events import decode
from emsync.training.mood.agreement import auc, pearson
from emsync.training.mood.curves import Scale, judge, readings
from emsync.training.mood.regressor import AXES

if TYPE_CHECKING:
    from emsync.decoder import Decoder
    from emsync.model import EventTransformer
    from emsync.training.crops import Batch

FloatArray = npt.NDArray[np.float64]
Kind = Literal["corner", "ramp", "step"]

#: Distance of the requested moods from neutral.
FAR: Final = 0.8
STRENGTHS: Final = (1.0, 1.5, 2.0, 3.0)
#: Left out at the beginning and the end of a piece, which differ from the rest.
MARGIN_S: Final = 3.0
#: The lanes of mood.
_MOOD_LANES: Final = [LANE_NAMES.index(axis) for axis in AXES]


@dataclass(frozen=True, eq=False)
class Task:
    """A requested mood: the kind of curve, its name, the curve."""

    kind: Kind
    name: str
    curve: MoodCurve


def tasks(duration_s: float) -> tuple[Task, ...]:
    """The twelve curves over `duration_s`: four corners, four ramps, four steps."""
    times_s = np.array([0.0, 0.5 - 1e-3, 0.5, 1.0]) * duration_s
    flat = np.zeros(4)
    found = [
        Task(
            "corner",
            f"{_word(v, 'valence')}, {_word(a, 'arousal')}",
            MoodCurve(times_s, flat + v * FAR, flat + a * FAR),
        )
        for v in (-1, 1)
        for a in (-1, 1)
    ]
    shapes: tuple[tuple[Kind, FloatArray], ...] = (
        ("ramp", np.interp(times_s, [0, duration_s], [-FAR, FAR])),
        ("step", np.array([-FAR, -FAR, FAR, FAR])),
    )
    for kind, shape in shapes:
        for axis in range(2):
            for sign in (1, -1):
                levels = [flat, flat]
                levels[axis] = sign * shape
                name = f"{kind} of {AXES[axis]} {'up' if sign > 0 else 'down'}"
                found.append(Task(kind, name, MoodCurve(times_s, *levels)))
    return tuple(found)


def _word(sign: int, axis: str) -> str:
    return f"{'high' if sign > 0 else 'low'} {axis}"


def perform(
    decoder: Decoder,
    asked: Sequence[Task],
    duration_s: float,
    recipe: Recipe,
    *,
    boundaries_s: npt.ArrayLike = (),
    progress: Callable[[float], None] | None = None,
) -> list[Score]:
    """Compose for every task at once. Give the recipe a tempo, so that all pieces share it and only mood differs."""
    conditions = []
    for task in asked:
        piece_valence, piece_arousal = task.curve.mean
        conditions.append(
            Conditions(
                boundaries_s=np.asarray(boundaries_s, dtype=np.float64),
                end_s=duration_s,
                piece_valence=piece_valence,
                piece_arousal=piece_arousal,
                valence=(task.curve.times_s, task.curve.valence),
                arousal=(task.curve.times_s, task.curve.arousal),
            )
        )
    pieces = compose(decoder, conditions, recipe, progress=progress)
    return [decode(piece.events.ids, piece.events.velocities) for piece in pieces]


@dataclass(frozen=True, eq=False)
class Judged:
    """One piece: its task, and the requested (`asked`) and measured (`read`) levels, each (seconds, 2)."""

    task: Task
    asked: FloatArray
    read: FloatArray


def judge_piece(score: Score, task: Task, scale: Scale) -> Judged:
    """Measure a piece with the judge, without `MARGIN_S` at either end."""
    levels = scale.apply(readings(score, judge()))
    times_s = np.arange(len(levels)) + 0.5
    inside = (times_s >= MARGIN_S) & (times_s <= times_s[-1] - MARGIN_S)
    return Judged(task, np.stack(task.curve.at(times_s[inside]), axis=1), levels[inside])


@dataclass(frozen=True)
class Adherence:
    """How well the music follows one axis, and the same for shuffled requests.

    Attributes:
        pearson: correlation over all seconds of all pieces.
        within: mean correlation within a piece, over the ramps and steps of this axis.
        separation: mean level measured at the high corners minus that at the low ones; 2 FAR was requested.
        corner_auc: probability that a second of a high corner is measured higher than one of a low corner.
        crosstalk: correlation with the request on the other axis.
        shuffled_pearson: `pearson` against the requests of other pieces.
        shuffled_within: `within` against the requests of other pieces.

    """

    pearson: float
    within: float
    separation: float
    corner_auc: float
    crosstalk: float
    shuffled_pearson: float
    shuffled_within: float

    def to_dict(self) -> dict[str, float | None]:
        return {name: None if math.isnan(x) else x for name, x in asdict(self).items()}


def adherence(judged: Sequence[Judged], axis: int) -> Adherence:
    """One axis (0 valence, 1 arousal) over all pieces."""
    moving = [h for h in judged if h.task.kind != "corner" and np.ptp(h.asked[:, axis]) > 0]
    corners = [h for h in judged if h.task.kind == "corner"]
    high = [h.read[:, axis] for h in corners if h.asked[0, axis] > 0]
    low = [h.read[:, axis] for h in corners if h.asked[0, axis] < 0]
    shuffled = [(_resized(other.asked, len(h.read)), h) for h in judged for other in judged if other.task is not h.task]
    return Adherence(
        _pearson([(h.asked[:, axis], h.read[:, axis]) for h in judged]),
        _mean([pearson(h.asked[:, axis], h.read[:, axis]) for h in moving]),
        float(np.mean([x.mean() for x in high]) - np.mean([x.mean() for x in low])) if high and low else math.nan,
        auc(np.concatenate(high), np.concatenate(low)) if high and low else math.nan,
        _pearson([(h.asked[:, 1 - axis], h.read[:, axis]) for h in judged]),
        _pearson([(asked[:, axis], h.read[:, axis]) for asked, h in shuffled]),
        _mean([pearson(a[:, axis], h.read[:, axis]) for a, h in shuffled if h in moving and np.ptp(a[:, axis]) > 0]),
    )


def _pearson(pairs: Sequence[tuple[FloatArray, FloatArray]]) -> float:
    if not pairs:
        return math.nan
    return pearson(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))


def _mean(values: Sequence[float]) -> float:
    known = [x for x in values if not math.isnan(x)]
    return float(np.mean(known)) if known else math.nan


def _resized(rows: FloatArray, n: int) -> FloatArray:
    return rows[np.minimum(np.arange(n), len(rows) - 1)]


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
