"""Training a style: a low-rank adapter of a composer from a few pieces, on a CPU, in minutes.

    pieces = read_pieces(["bach/"])
    style, losses = train(None, pieces, StyleOptions(steps=120))      # None: the model that ships with emsync

The pieces are tokenized in memory, and crops are drawn and transposed as in training. Adam in float32 trains the
factors alone; the rate falls linearly to zero.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch.nn import Parameter

from emsync import checkpoint, midi, reference
from emsync.errors import InputError
from emsync.manner import MOST_EXAMPLES, Example
from emsync.model import EventTransformer
from emsync.style import Style
from emsync.training import low_rank
from emsync.training.batches import tensors
from emsync.training.corpus.archive import Archive, Song, pack
from emsync.training.corpus.song_files import MIDI_SUFFIXES, find, read_song
from emsync.training.corpus.songs import Refused
from emsync.training.crops import CropConfig, Crops
from emsync.training.dataset import Dataset
from emsync.training.objective import losses, validate
from emsync.training.train import VALID_SEED

#: A style is learned from at most so many files; more are a corpus, for training a model further.
MOST_PIECES: Final = 500
#: Bits an event are reported of this many crops, the same before and after.
REPORTED: Final = 8


@dataclass(frozen=True)
class StyleOptions:
    """How a style is trained. Checked when made.

    Attributes:
        rank: Of the products that are added to the weights.
        steps: Of the optimizer.
        batch: Crops a step.
        context: Events a crop; at most the model's.
        rate: Adam's learning rate at the beginning.
        seed: Of the factors and the crops.

    """

    rank: int = 8
    steps: int = 120
    batch: int = 2
    context: int = 512
    rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rank", 1), ("steps", 1), ("batch", 1), ("context", 16), ("seed", 0)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise InputError(f"style: {name} is {getattr(self, name)!r}; give a whole number of at least {least}")
        if not 0 < self.rate <= 1:
            raise InputError(f"style: rate is {self.rate}; give a number above 0 and at most 1")


@dataclass(frozen=True, eq=False)
class Pieces:
    """What a style is learned from.

    Attributes:
        archive: The songs.
        names: The names of their files.
        refused: Files that were refused, with why.
        paths: Where the files of the songs are.

    """

    archive: Archive
    names: tuple[str, ...]
    refused: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()

    def examples(self) -> tuple[Example, ...]:
        """References with their moods, of `manner.MOST_EXAMPLES` of the pieces at most: the first of the archive.

        A piece that is too short for a reference has none.
        """
        from emsync.training.mood.curves import curve, labels

        found: list[Example] = []
        for path in self.paths:
            if len(found) == MOST_EXAMPLES:
                break
            try:
                like = reference.read(path)
            except InputError:
                continue
            valence, arousal = curve(labels(midi.read(path))).mean
            found.append(Example(like, *(0.0 if math.isnan(level) else level for level in (valence, arousal))))
        return tuple(found)


def read_pieces(inputs: Iterable[str | os.PathLike[str]]) -> Pieces:
    """The MIDI files of folders and files, as songs; the same bytes count once.

    Raises `InputError` if none can be used, or there are more than `MOST_PIECES`.
    """
    given = list(inputs)
    files = [file for file in find(given) if Path(file.path).suffix.lower() in MIDI_SUFFIXES]
    shown = ", ".join(str(each) for each in given)
    if not files:
        raise InputError(f"{shown} has no MIDI files; give a folder with the pieces of a style")
    if len(files) > MOST_PIECES:
        raise InputError(f"{shown} has {len(files)} MIDI files, over {MOST_PIECES}; train a model further with them")
    songs: dict[str, tuple[Song, str, Path]] = {}
    refused: list[str] = []
    for file in files:
        try:
            song = read_song(file.path, source=file.source).song
        except Refused as error:
            refused.append(f"{file.source}: {error}")
            continue
        songs.setdefault(song.song_id, (song, file.source, Path(file.path)))
    if not songs:
        raise InputError(f"none of the {len(files)} MIDI files of {shown} can be used ({refused[0]}); give others")
    kept = list(songs.values())
    archive, names = pack([song for song, _, _ in kept]), tuple(name for _, name, _ in kept)
    return Pieces(archive, names, tuple(refused), tuple(path for _, _, path in kept))


def train(
    model: str | os.PathLike[str] | None, pieces: Pieces, options: StyleOptions,
    *, tell: Callable[[int, float], None] | None = None,
) -> tuple[Style, list[float]]:  # fmt: skip
    """Train a style; the base model's own weights do not change.

    Args:
        model: The base model's folder; None for the one that ships with emsync.
        pieces: What to learn from.
        options: How.
        tell: Called after each step with its number, from 1 on, and its bits an event.

    Returns the style, and the bits an event of each step; those of the first are the base model's. The style's
    `training` has the bits an event of the same crops before and after.

    """
    folder = checkpoint.embedded_folder() if model is None else Path(model)
    network = checkpoint.load(folder)
    added = low_rank.attach(network, options.rank, options.seed)
    dataset = Dataset.of(dict(pieces.archive.arrays))
    before = _bits(network, dataset, options)
    bits = fit(network, low_rank.parameters(added), dataset, options, tell=tell)
    down, up = low_rank.factors(added)
    known = {
        "pieces": list(pieces.names), "events": len(dataset.ids), "rank": options.rank, "steps": options.steps,
        "batch": options.batch, "context": min(options.context, network.config.context),
        "rate": options.rate, "seed": options.seed,
        "bits_first": round(before, 4), "bits_last": round(_bits(network, dataset, options), 4),
    }  # fmt: skip
    return Style(checkpoint.weights_hash(folder), down, up, known, pieces.examples()), bits


def _bits(network: EventTransformer, dataset: Dataset, options: StyleOptions) -> float:
    """Bits an event of `REPORTED` crops of the songs, always the same ones."""
    crops = Crops(dataset, _crops_of(network, options), seed=VALID_SEED, augment=False)
    return validate(network, [crops.batch(0, REPORTED)], torch.device("cpu"), nullcontext)["bits_per_event"]


def _crops_of(network: EventTransformer, options: StyleOptions) -> CropConfig:
    return CropConfig(context=min(options.context, network.config.context), drop_chord=0.1, sparse_boundaries=0.4)


def fit(
    network: EventTransformer, learned: list[Parameter], dataset: Dataset, options: StyleOptions,
    *, tell: Callable[[int, float], None] | None = None,
) -> list[float]:  # fmt: skip
    """Train some parameters of a network on the songs of a dataset; returns the bits an event of each step.

    Args:
        network: The composer. Nothing of it changes but `learned`.
        learned: Those of its parameters that are trained.
        dataset: The songs.
        options: How; the rank is not used.
        tell: As of `train`.

    """
    optimizer = torch.optim.Adam(learned, lr=options.rate)
    crops = Crops(dataset, _crops_of(network, options), seed=options.seed)
    bits = []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * (1 - step / options.steps)
        batch = tensors(crops.batch(step, options.batch), torch.device("cpu"))
        loss, found = losses(network, batch, velocity_weight=0.2)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        bits.append(float(found))
        if tell is not None:
            tell(step + 1, bits[-1])
    return bits
