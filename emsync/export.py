"""A trained model as a graph for ONNX Runtime: `model.onnx`, beside the weights it reads.

The graph is `EventTransformer.step`, written node by node from the model's shape rather than traced, so that it is
small, the same every time, and what is constant is laid out for ONNX Runtime to fold when it loads. The weights are
not in it: each initializer is ONNX external data that points to the raw tensors in model.safetensors. At
loading they are cast to float32 (matrices of 8 bits multiplied by their scales, too), transposed and joined, once.

Inputs
    ids, previous_velocity (B, T) int64; lanes (B, T, N), mood (B, 2) float32; positions (T,) int64, consecutive
    global_mask, local_mask (T, C + T) float32, added to scores; distance (T, C + T) int64, with relative attention
    past_k_i, past_v_i (B, H, C, D) float32, for each layer i
Outputs
    logits (B, V), velocity_logits (B, 16) float32, of the last position
    new_global, new_local (2 · layers · B, H, T, D) float32: each layer's new keys, then its new values
"""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from emsync import vocabulary as v
from emsync.checkpoint import (
    CONFIG,
    DEFAULT_BITS,
    GRAPH,
    VOCABULARY,
    WEIGHTS,
    Bits,
    load,
    read_config,
    save,
    weights_header,
)
from emsync.conditions import AROUND_POINTS, LANES
from emsync.critic import CRITIC
from emsync.decoder import CachedDecoder
from emsync.errors import ModelError, OutputError
from emsync.files import atomic_path, check_not_read
from emsync.folders import atomic_folder
from emsync.mixture import COPYING
from emsync.networks import Geometry, OnnxNetwork
from emsync.onnx_graph import build

if TYPE_CHECKING:
    from emsync.model import EventTransformer

#: Largest difference from torch's logits that is taken for rounding, relative to the largest logit (at least 1).
TOLERANCE: Final = 1e-4
#: What people write of a model, in its folder: kept when the model is replaced.
CARD: Final = "MODEL_CARD.md"


def difference(model: EventTransformer, decoder: CachedDecoder, *, seed: int = 0) -> float:
    """How far a decoder strays from torch's whole pass on random input, as it prefills and steps.

    The largest difference between logits, in parts of the largest logit (at least 1); infinite where one is not finite.
    """
    import torch

    from emsync.model import AROUSAL_SLOT, VALENCE_SLOT

    config, random = model.config, np.random.default_rng(seed)
    # Long enough for a local layer to forget its first block, where the context lets it.
    block = config.local_block
    total = min(config.context, 2 * block + 8 if block else 48)
    begun = max(1, total - 8)
    ids = random.integers(0, config.vocabulary_size, (2, total))
    ids[:, :2] = np.array([VALENCE_SLOT, AROUSAL_SLOT])[: min(2, total)]
    previous_velocity = random.integers(0, v.VELOCITY_LEVELS + 1, (2, total))
    lanes = np.stack([random.uniform(lane.low, lane.high, (2, total)) for lane in LANES], axis=-1).astype(np.float32)
    lanes[random.random(lanes.shape) < 0.25] = np.nan
    mood = np.array([[0.5, -0.5], [np.nan, 1.0]], dtype=np.float32)
    around = random.uniform(-1, 1, (2, total, 2, AROUND_POINTS)).astype(np.float32)
    around[random.random(around.shape[:3]) < 0.25] = np.nan
    with torch.inference_mode():
        right = model(*(torch.from_numpy(x) for x in (ids, previous_velocity, lanes, mood, around)))
        right_logits, right_levels = (y.numpy() for y in right)
    scale = max(1.0, float(np.abs(right_logits).max()), float(np.abs(right_levels).max()))
    found = [decoder.prefill(ids[:, :begun], previous_velocity[:, :begun], lanes[:, :begun], mood, around[:, :begun])]
    for t in range(begun, total):
        found.append(decoder.step(ids[:, t], previous_velocity[:, t], lanes[:, t], around[:, t]))
    worst = 0.0
    for t, (logits, levels) in enumerate(found, begun - 1):
        worst = max(
            worst, float(np.abs(logits - right_logits[:, t]).max()), float(np.abs(levels - right_levels[:, t]).max())
        )
        if not (np.isfinite(logits).all() and np.isfinite(levels).all()):
            return math.inf
    return worst / scale


def export(folder: str | os.PathLike[str]) -> Path:
    """Write `model.onnx` for the weights in a model folder, and return its path.

    The graph is compared with torch on random input before it takes its name. Raises `ModelError` when the folder is
    incomplete or damaged, or the two differ by more than `TOLERANCE`, and `OutputError` when it cannot be written.
    """
    import onnx

    folder = Path(folder)
    config = read_config(folder)["model"]
    header = weights_header(folder / WEIGHTS)
    model = load(folder)
    with atomic_path(folder / GRAPH) as partial:
        onnx.save(build(model.config, header), str(partial))
        network = OnnxNetwork(folder, model.config.to_dict(), graph=partial)
        strayed = difference(model, CachedDecoder(network, Geometry.of(config)))
        if not strayed <= TOLERANCE:
            raise ModelError(
                f"{folder}: the graph strays from torch by {strayed:.2g} of the largest logit (limit {TOLERANCE:g}); "
                "export weights of 32 bits (-o DIR --bits 32), or train again"
            )
    return folder / GRAPH


def ship(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    bits: Bits = DEFAULT_BITS,
    overwrite: bool = False,
) -> Path:
    """Write a model folder that runs without torch: `folder`'s weights, with `bits` bits each, and their graph.

    The target appears all at once; an existing model card (`CARD`) is kept, and the model's mixture
    (`mixture.Mixture`) comes along. A critic (`critic.Critic`) does not: it belongs to its weights. Raises `ModelError`
    as `export` and `checkpoint.save` do; `OutputError` when the target cannot be written, exists without `overwrite`,
    or holds anything but a model.
    """
    folder, target = Path(folder), Path(target)
    config = read_config(folder)
    check_not_read(target, (folder,))
    _check_target(target, overwrite=overwrite)
    model = load(folder)
    with atomic_folder(target) as partial:
        made = partial / target.name
        save(model, made, training=config.get("training"), bits=bits)
        export(made)
        for source, name in ((folder, COPYING), (target, CARD)):
            if (source / name).is_file():
                shutil.copyfile(source / name, made / name)
        for file in list(made.iterdir()):
            file.rename(partial / file.name)
        made.rmdir()
    return target


def _check_target(target: Path, *, overwrite: bool) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file; give the name of a folder")
    model = {CONFIG, VOCABULARY, WEIGHTS, GRAPH, CARD, COPYING, CRITIC}
    others = sorted({entry.name for entry in target.iterdir()} - model)
    if others:
        raise OutputError(f"{target} holds more than a model ({others[0]}); give the name of a new folder")
    if not overwrite:
        raise OutputError(f"{target} exists already; give --overwrite to replace it, or another name")


__all__ = ["TOLERANCE", "build", "difference", "export", "ship"]
