"""Fitting how much of a piece's own repeats is mixed into a model's predictions (`emsync.mixture.Mixture`).

The weights are fitted on songs that the model was not trained on, and not on those that a report is about: by default
`SONGS` songs after the first `SKIP`, which `emsync evaluate --songs 12` reads.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.copying import N_STRENGTHS
from emsync.errors import InputError
from emsync.mixture import Mixture
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import Dataset
from emsync.training.evaluation.evaluate import snaps_tempo
from emsync.training.evaluation.predictions import DEFAULT_BATCH, predictions

Floats = npt.NDArray[np.float64]

SKIP: Final = 12
SONGS: Final = 48


@dataclass(frozen=True)
class Fitted:
    """A fitted mixture, and what it is worth on the songs it was fitted on, in bits a note."""

    mixture: Mixture
    alone: float
    mixed: float


def fit_mixture(
    archive: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    skip: int = SKIP,
    songs: int = SONGS,
    adapt: bool = False,
    batch: int = DEFAULT_BATCH,
    bf16: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit a mixture for a model on songs of an archive.

    Args:
        archive: Songs that the model was not trained on.
        folder: The model's folder; None: the one that ships.
        skip: How many songs at the archive's beginning are left out.
        songs: How many of the songs after them are used, at most.
        adapt: Whether the model's output layer learns from each song (`emsync.adaptation`).
        batch: Windows at a time.
        bf16: Whether products are taken in bfloat16; None tries which is faster here.
        progress: Called with (events scored, events in all).

    Raises:
        CorpusError: The archive cannot be used.
        ModelError: The model cannot be used.
        InputError: No song is left, or a number is out of range.

    """
    if skip < 0 or songs < 1:
        raise InputError(f"{songs} songs after the first {skip} cannot be used; give at least 1 song, and 0 to skip")
    folder = checkpoint.embedded_folder() if folder is None else Path(folder)
    config, model = checkpoint.read_config(folder), checkpoint.load(folder)
    data = Dataset.of(dict(read_archive(archive).arrays), snap_tempo=snaps_tempo(config))
    chosen = list(range(skip, min(skip + songs, len(data))))
    if not chosen:
        raise InputError(f"{Path(archive).name} holds {len(data)} songs, and the first {skip} are left out; skip fewer")
    n_all = int(data.offsets[chosen[-1] + 1] - data.offsets[chosen[0]]) - len(chosen)
    ids: list[npt.NDArray[np.int64]] = []
    parts: list[tuple[npt.NDArray[np.int8], Floats, Floats, Floats, Floats]] = []
    done = 0
    mood = model.config.knows_mood
    for scored in predictions(model, data, chosen, mood=mood, batch=batch, bf16=bf16, recall=True, adapt=adapt):
        ids.append(scored.ids)
        parts.append((scored.strength, np.exp(-scored.nats), scored.copied, scored.recalled, scored.adapted))
        done += len(scored.ids)
        if progress:
            progress(done, n_all)
    strength, alone, copied, recalled, adapted = (np.concatenate(part) for part in zip(*parts, strict=True))
    notes = max(int((v.KIND[np.concatenate(ids)] == v.K_ON).sum()), 1)
    about = {
        "archive": Path(archive).name, "skip": skip, "songs": len(chosen), "events": len(strength),
        "seen": np.bincount(strength, minlength=N_STRENGTHS).tolist(),
    }  # fmt: skip
    mixture = Mixture.fit(strength, adapted, copied, recalled, about=about, adapts=adapt)
    mixed = mixture.probability(strength, adapted, copied, recalled)
    costs = [-float(np.log2(np.maximum(p, 1e-300)).sum()) / notes for p in (alone, mixed)]
    if not all(math.isfinite(cost) for cost in costs):
        raise InputError(f"{folder} gives predictions that are not numbers; its weights are damaged")
    return Fitted(mixture, *costs)
