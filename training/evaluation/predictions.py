"""What a model predicts of whole songs, event by event.

Conventions
- A song is `FEWER|MORE START ... END`. The instrument count is given; every other event is predicted once.
- Songs longer than the model's context are read in windows that overlap by half: of the first window every event is
  scored, of later ones those that no earlier window scored, so each has at least half a window before it.
- The model is conditioned as in composing: on the song's own chords as boundaries, the time to end, the tempo of its
  first bar and the position in the bar (`meter`), its own repeats (`copying`) and, if it knows mood, the song's mood
  curve and its mean (`Dataset.song_mood`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import vocabulary as v
from emsync.adaptation import Adaptation
from emsync.conditions import COPY_LANES, METER_LANES, Conditions
from emsync.copying import lanes_of_song, matches_of_song
from emsync.errors import InputError, ModelError
from emsync.mixture import Mixture
from emsync.recall import Recall
from emsync.tokenizer.events import times_steps
from emsync.training.crops import PREFIX, Row, collate, song_meter
from emsync.training.dataset import Dataset

if TYPE_CHECKING:
    from emsync.model import EventTransformer

Floats = npt.NDArray[np.float64]
DEFAULT_BATCH: Final = 4


@dataclass(frozen=True, eq=False)
class Scored:
    """Events of some windows, and what was predicted of them.

    ids: (N,). nats: (N,) under the model alone. strength: (N,) of the match before each event. copied: (N,) the event's
    probability among the match's followers. recalled: (N,) its probability among what is recalled, 0 unless
    requested. adapted: (N,) its probability under the model that learns from the song; that of the model alone unless
    requested. velocity_nats: of all the windows' scored velocities.
    """

    ids: npt.NDArray[np.int64]
    nats: Floats
    strength: npt.NDArray[np.int8]
    copied: Floats
    recalled: Floats
    adapted: Floats
    velocity_nats: float

    def mixed_nats(self, mixture: Mixture) -> Floats:
        """(N,) under the model mixed with the followers."""
        model = self.adapted if mixture.adapts else np.exp(-self.nats)
        p = mixture.probability(self.strength, model, self.copied, self.recalled)
        return -np.log(np.maximum(p, 1e-300))


@dataclass(frozen=True, eq=False)
class Window:
    """A window as the model reads it, and where its scored events are: first to last - 1."""

    song: int
    row: Row
    first: int
    last: int
    strength: npt.NDArray[np.int8]  # (last - first,)
    copied: Floats
    begins_s: float  # where in the song


def windows(n_events: int, size: int) -> list[tuple[int, int, int]]:
    """Windows of at most `size` events that together score each of n events once: (begin, first scored, end).

    A later window begins half a window before its first scored event; the last one ends with the song, and so may begin
    earlier than that.
    """
    found: list[tuple[int, int, int]] = []
    first = 0
    while first < n_events:
        end = min(first + (size - size // 2 if first else size), n_events)
        found.append((max(end - size, 0), first, end))
        first = end
    return found


def _conditions_of(data: Dataset, song: int, boundaries_s: Floats, end_s: float, mood: bool) -> Conditions:
    """All conditions of a song; its mood is what `crops.Crops` gives."""
    times_s, levels = data.song_mood(song, end_s)
    if not (mood and len(levels)):
        return Conditions(boundaries_s=boundaries_s, end_s=end_s)
    (valence, arousal), (piece_valence, piece_arousal) = levels.T, levels.mean(axis=0).tolist()
    return Conditions(
        boundaries_s, end_s, (times_s, valence), (times_s, arousal),
        piece_valence=piece_valence, piece_arousal=piece_arousal,
    )  # fmt: skip


def song_windows(
    data: Dataset, songs: Sequence[int], size: int, conditioned: bool, mood: bool, around: bool = False
) -> Iterator[Window]:
    """Each song as the model reads it, in windows of `size` events.

    mood: whether it is conditioned on the song's. around: whether the model reads the mood around each event.
    """
    slots = np.array([v.VALENCE_SLOT, v.AROUSAL_SLOT])
    for song in songs:
        ids, velocities = data.song(song)
        count, ids, velocities = ids[:1], ids[1:], velocities[1:]
        if not len(ids):
            continue
        steps, chord = times_steps(ids), ids == v.CHORD
        conditions = Conditions()
        if conditioned:
            end_s = max(float(steps[-1]), 1.0) * v.STEP_S
            conditions = _conditions_of(data, song, np.unique(steps[chord]) * v.STEP_S, end_s, mood)
        lanes = conditions.at(steps * v.STEP_S, chord)
        if conditioned:
            lanes[:, METER_LANES] = song_meter(ids, steps)
            lanes[:, COPY_LANES] = lanes_of_song(ids)
        felt = conditions.around(steps * v.STEP_S) if around else None
        matches = matches_of_song(ids)
        # Of the match that ends one event earlier; nothing is before the first event.
        strength = np.pad(matches.strength()[:-1], (1, 0))
        copied = np.pad(matches.probability(np.append(ids[1:], v.PAD))[:-1], (1, 0))
        for begin, first, end in windows(len(ids), size):
            row = Row(
                np.concatenate([slots, count, ids[begin:end]]),
                np.concatenate([np.zeros(PREFIX, dtype=np.uint8), velocities[begin:end]]),
                np.concatenate([np.repeat(lanes[begin : begin + 1], PREFIX, axis=0), lanes[begin:end]]),
                conditions.mood,
                None if felt is None else felt[np.maximum(np.arange(begin - PREFIX, end), begin)],
            )
            yield Window(
                song,
                row,
                PREFIX + first - begin,
                PREFIX + end - begin,
                strength[first:end],
                copied[first:end],
                float(steps[begin]) * v.STEP_S,
            )


def check_songs(data: Dataset, songs: Sequence[int] | npt.NDArray[np.int64] | None) -> list[int]:
    """Songs of a dataset by number; None: all. Raises `InputError` for none, or one that it does not hold."""
    chosen = [int(i) for i in (range(len(data)) if songs is None else songs)]
    if not chosen:
        raise InputError("no songs were given to measure; give at least 1")
    if not (min(chosen) >= 0 and max(chosen) < len(data)):
        raise InputError(f"songs {min(chosen)} to {max(chosen)} were asked for; the corpus holds 0 to {len(data) - 1}")
    return chosen


def predictions(
    model: EventTransformer,
    data: Dataset,
    songs: Sequence[int],
    *,
    conditions: bool = True,
    mood: bool = False,
    batch: int = DEFAULT_BATCH,
    bf16: bool | None = None,
    recall: bool = False,
    adapt: bool = False,
) -> Iterator[Scored]:
    """What a model predicts of songs, `batch` windows at a time.

    Args:
        model: It is put into evaluation mode, and back again.
        data: The tokenized corpus.
        songs: Numbers of songs.
        conditions: Whether the model is conditioned on boundaries, time to end, meter and copies.
        mood: With these, whether on mood, too.
        batch: Windows at a time, at least 1.
        bf16: Whether products are taken in bfloat16; None tries which is faster here.
        recall: Whether to compute `Scored.recalled`, which compares every event of a song with every one before it.
        adapt: Whether to compute `Scored.adapted`, which learns from one event after the other.

    Raises:
        InputError: The batch is below 1.
        ModelError: The model's context is too short.

    """
    # Its module says which extra brings torch, where there is none.
    from emsync.training.train import bf16_pays

    import torch  # isort: skip

    if batch < 1:
        raise InputError(f"a batch of {batch} windows holds nothing; give at least 1")
    size = model.config.context - PREFIX
    if size < 2:
        raise ModelError(
            f"the model's context of {model.config.context} is too short to measure; it must be at least {PREFIX + 2}"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = bf16_pays(device) if bf16 is None else bf16
    was_training, was_on = model.training, next(model.parameters()).device
    model.eval().to(device)
    past = _Past(recall=recall, adapt=adapt)
    try:
        group: list[Window] = []
        for window in song_windows(data, songs, size, conditions, mood, model.config.adapter_layers > 0):
            group.append(window)
            if len(group) == batch:
                yield _score(model, group, device, half, past)
                group = []
        if group:
            yield _score(model, group, device, half, past)
    finally:
        model.train(was_training).to(was_on)


def read_states(model: EventTransformer, row: Row) -> tuple[Floats, Floats]:
    """What each event behind the prefix cost, in nats (N,), and the hidden state that predicted it (N, width)."""
    import torch
    import torch.nn.functional as F

    from emsync.training.batches import inputs, tensors

    device = next(model.parameters()).device
    t = tensors(collate([row], len(row.ids)), device)
    with torch.inference_mode():
        logits, _, states = model.with_states(*inputs(t))
        nats = F.cross_entropy(logits[0, PREFIX - 1 : -1].float(), t["ids"][0, PREFIX:], reduction="none")
    return nats.double().cpu().numpy(), states[0, PREFIX - 1 : -1].double().cpu().numpy()


class _Past:
    """What a song's later windows recall and have learned of its earlier ones. Songs come one after the other."""

    def __init__(self, *, recall: bool, adapt: bool) -> None:
        self.recalls, self.adapts = recall, adapt
        self._song, self._recall, self._adaptation = -1, Recall(), Adaptation()

    def score(
        self, window: Window, logits: npt.NDArray[np.float32], states: npt.NDArray[np.float32]
    ) -> tuple[Floats, Floats]:
        """Probabilities of a window's scored events (N,): recalled, and under the model that learns (START: NaN).

        logits (N, SIZE) and states (N, width) are those that predict them.
        """
        ids = window.row.ids[window.first : window.last]
        begins = window.song != self._song
        if begins:
            self._song, self._recall, self._adaptation = window.song, Recall(), Adaptation()
        # Composing is given START, and no state that would predict it.
        skipped = int(begins)
        logits, states, ids = logits[skipped:], states[skipped:], ids[skipped:]
        recalled = self._recall.score(states, ids) if self.recalls else np.zeros(len(ids))
        adapted = self._adaptation.score(logits, states, ids) if self.adapts else np.zeros(len(ids))
        return np.pad(recalled, (skipped, 0)), np.pad(adapted, (skipped, 0), constant_values=np.nan)


def _score(model: EventTransformer, group: Sequence[Window], device: Any, half: bool, past: _Past) -> Scored:
    from contextlib import nullcontext

    import torch
    import torch.nn.functional as F

    from emsync.training.batches import inputs, tensors

    longest = max(len(window.row.ids) for window in group)
    read = collate([window.row for window in group], longest)
    own = np.zeros(read.ids.shape, dtype=bool)  # where the events are that are scored here
    for i, window in enumerate(group):
        own[i, window.first : window.last] = True
    before = np.roll(own, -1, axis=1)  # where they are predicted; place 0 is never scored, so nothing wraps around
    sounding = own & (read.velocities > 0)
    t = tensors(read, device)
    velocity_nats = 0.0
    with torch.inference_mode():
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            logits, velocity_logits, states = model.with_states(*inputs(t))
        at = torch.from_numpy(before).to(device)
        nats = F.cross_entropy(logits[at].float(), t["targets"][at], reduction="none").double().cpu().numpy()
        if sounding.any():
            at = torch.from_numpy(sounding).to(device)
            levels = t["velocities"][at] - 1
            velocity_nats = float(F.cross_entropy(velocity_logits[at].float(), levels, reduction="sum"))
    ids = read.targets[before]
    recalled, adapted = np.zeros(len(ids)), np.exp(-nats)
    if past.recalls or past.adapts:
        parts = []
        for i, window in enumerate(group):
            scored = slice(window.first - 1, window.last - 1)
            parts.append(past.score(window, *(x[i, scored].float().cpu().numpy() for x in (logits, states))))
        recalled = np.concatenate([part[0] for part in parts])
        if past.adapts:
            learned = np.concatenate([part[1] for part in parts])
            adapted = np.where(np.isnan(learned), adapted, learned)
    return Scored(
        ids, nats, np.concatenate([w.strength for w in group]), np.concatenate([w.copied for w in group]), recalled,
        adapted, velocity_nats,
    )  # fmt: skip
