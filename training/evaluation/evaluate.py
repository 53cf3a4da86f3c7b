"""How well a model predicts real songs: bits per note.

Total bits over whole songs, divided by their notes, so that vocabularies can be compared. Conventions
- Which events are predicted from what: see `predictions`. CHORD counts as one event, like any other.
- A model with a mixture (`mixture.Mixture`) is measured as it composes, mixed with each song's own repeats.
- `bits_per_note` is of events alone; the velocities' bits are given separately.
- N-gram baselines (`ngrams`) are measured on the same events of the same songs.
- Other parts of the yardstick measure what a model composes (`yardstick`); an `Evaluation` holds them, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import __version__, checkpoint
from emsync import vocabulary as v
from emsync.errors import CorpusError, InputError, ModelError
from emsync.mixture import Mixture
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import Dataset
from emsync.training.evaluation import ngrams
from emsync.training.evaluation.predictions import DEFAULT_BATCH as DEFAULT_BATCH
from emsync.training.evaluation.predictions import check_songs, predictions
from emsync.training.evaluation.predictions import windows as windows
from emsync.training.evaluation.report_page import PARTS, Part
from emsync.training.evaluation.report_page import table as table

if TYPE_CHECKING:
    from emsync.model import EventTransformer

Floats = npt.NDArray[np.float64]
#: Called with what is being measured, the events done and the events to do.
Progress = Callable[[str, int, int], None]

#: The n-gram baselines: name, order, smoothing.
BASELINES: Final = (
    ("unigram, add-one", 1, "add-one"),
    ("bigram, add-one", 2, "add-one"),
    ("bigram, Witten–Bell", 2, "witten-bell"),
    ("bigram, Kneser–Ney", 2, "kneser-ney"),
    ("trigram, Witten–Bell", 3, "witten-bell"),
    ("trigram, Kneser–Ney", 3, "kneser-ney"),
)


@dataclass(frozen=True)
class Share:
    """A part of the events: how many, their bits, and the notes that the bits are divided by."""

    events: int
    bits: float
    notes: int

    def to_dict(self) -> dict[str, float]:
        return {
            "events": self.events,
            "notes": self.notes,
            "bits_per_event": self.bits / max(self.events, 1),
            "bits_per_note": self.bits / max(self.notes, 1),
        }


@dataclass(frozen=True, eq=False)
class Report:
    """What a model's predictions cost. count, bits: (SIZE,) how often each event of the vocabulary came, and its bits.

    velocity_bits: of all notes' velocities; NaN from a model without velocities. songs: how many were read.
    alone_bits: of all events under the model without its mixture.
    """

    count: npt.NDArray[np.int64]
    bits: Floats
    velocity_bits: float
    songs: int
    alone_bits: float = math.nan

    def __post_init__(self) -> None:
        if self.count.shape != (v.SIZE,) or self.bits.shape != (v.SIZE,):
            raise InputError(
                f"a report needs {v.SIZE} counts and bits, one an event, not {self.count.shape} and {self.bits.shape}"
            )
        if not np.isfinite(self.bits).all():
            raise ModelError("the model's predictions are not numbers; its weights are damaged, or its training failed")

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer], bits: Floats, songs: int, velocity_bits: float = math.nan) -> Report:
        """The report on events `ids` (N,) that cost `bits` (N,)."""
        count = np.bincount(ids, minlength=v.SIZE).astype(np.int64)
        return cls(count, np.bincount(ids, weights=bits, minlength=v.SIZE).astype(np.float64), velocity_bits, songs)

    @property
    def events(self) -> int:
        return int(self.count.sum())

    @property
    def notes(self) -> int:
        return int(self.count[v.KIND == v.K_ON].sum())

    @property
    def bits_per_event(self) -> float:
        return float(self.bits.sum()) / max(self.events, 1)

    @property
    def bits_per_note(self) -> float:
        return float(self.bits.sum()) / max(self.notes, 1)

    @property
    def velocity_bits_per_note(self) -> float:
        return self.velocity_bits / max(self.notes, 1)

    def _share(self, mask: npt.NDArray[np.bool_], notes: int) -> Share:
        return Share(int(self.count[mask].sum()), float(self.bits[mask].sum()), notes)

    def by_kind(self) -> dict[str, Share]:
        """The kinds of event that occur; their bits per note add up to the whole."""
        shares = {name: self._share(v.KIND == kind, self.notes) for kind, name in enumerate(v.KINDS)}
        return {name: share for name, share in shares.items() if share.events}

    def by_family(self) -> dict[str, Share]:
        """ON and OFF of each family that occurs, over the notes of that family."""
        shares = {}
        for family, name in enumerate(v.FAMILIES):
            mine = v.FAMILY == family
            shares[name] = self._share(mine, int(self.count[mine & (v.KIND == v.K_ON)].sum()))
        return {name: share for name, share in shares.items() if share.events}


def choose(data: Dataset, n_songs: int | None = None, *, seed: int | None = None) -> npt.NDArray[np.int64]:
    """Which songs are read: all, the first n, or with a seed n drawn without repetition; in the archive's order.

    n beyond the number of songs gives all of them. Raises `InputError` for n below 1.
    """
    if n_songs is not None and n_songs < 1:
        raise InputError(f"{n_songs} songs cannot be measured; give at least 1")
    n = len(data) if n_songs is None else min(n_songs, len(data))
    if seed is None:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(len(data), n, replace=False))


def bits(
    model: EventTransformer | str | os.PathLike[str],
    data: Dataset,
    *,
    songs: Sequence[int] | npt.NDArray[np.int64] | None = None,
    conditions: bool = True,
    mood: bool = False,
    batch: int = DEFAULT_BATCH,
    bf16: bool | None = None,
    mixture: Mixture | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """What songs cost under a model, or under the model of a folder.

    Args:
        model: The model, or its folder.
        data: The tokenized corpus.
        songs: Numbers of songs; None: all.
        conditions: Whether the model is conditioned on boundaries, time to end, meter and copies.
        mood: With these, whether on mood, too.
        batch: Windows at a time.
        bf16: Whether products are taken in bfloat16; None tries which is faster here.
        mixture: With conditions, what the model's predictions are mixed with the songs' own repeats by.
        progress: Called with (events scored, events in all).

    Raises:
        ModelError: A folder or a model that cannot be used.
        InputError: The batch or the songs are out of range.

    """
    if isinstance(model, (str, os.PathLike)):
        model = checkpoint.load(model)
    chosen = check_songs(data, songs)
    n_all = sum(int(data.offsets[i + 1] - data.offsets[i]) - 1 for i in chosen)
    count, cost, alone = np.zeros(v.SIZE, dtype=np.int64), np.zeros(v.SIZE), 0.0
    velocity_nats = 0.0
    mixed = mixture if conditions else None
    recall, adapt = mixed is not None and bool(mixed.recall), mixed is not None and mixed.adapts
    for scored in predictions(
        model, data, chosen, conditions=conditions, mood=mood, batch=batch, bf16=bf16, recall=recall, adapt=adapt
    ):
        nats = scored.nats if mixed is None else scored.mixed_nats(mixed)
        count += np.bincount(scored.ids, minlength=v.SIZE)
        cost += np.bincount(scored.ids, weights=nats, minlength=v.SIZE) / math.log(2)
        alone += float(scored.nats.sum()) / math.log(2)
        velocity_nats += scored.velocity_nats
        if progress:
            progress(int(count.sum()), n_all)
    return Report(count, cost, velocity_nats / math.log(2), len(chosen), alone)


def baselines(
    train: Dataset,
    data: Dataset,
    *,
    songs: Sequence[int] | npt.NDArray[np.int64] | None = None,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Report]:
    """What songs (None: all) cost under each of `BASELINES` (or those named) fitted to `train`; by name."""
    chosen = [int(i) for i in (range(len(data)) if songs is None else songs)]
    wanted = [row for row in BASELINES if names is None or row[0] in names]
    reports = {}
    for done, (name, order, smoothing) in enumerate(wanted):
        if progress:
            progress(done, len(wanted))
        reports[name] = Report.of(*ngrams.fit(train, order, smoothing).bits(data, chosen), songs=len(chosen))
    if progress:
        progress(len(wanted), len(wanted))
    return reports


@dataclass(frozen=True)
class Evaluation:
    """A model measured on an archive, with and without its conditions, beside baselines; and the other parts.

    without_mood: with all conditions but mood, from a model that knows mood. parts: some of `report_page.PARTS`.
    """

    conditioned: Report
    unconditioned: Report
    model: Mapping[str, Any]
    archive: str
    settings: Mapping[str, Any]
    baselines: Mapping[str, Report] = field(default_factory=dict)
    without_mood: Report | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What evaluation.json holds."""
        conditioned = self.conditioned
        values = {
            "bits_per_note": conditioned.bits_per_note,
            "velocity_bits_per_note": conditioned.velocity_bits_per_note,
            "bits_per_event": conditioned.bits_per_event,
            "unconditioned_bits_per_note": self.unconditioned.bits_per_note,
            "notes": conditioned.notes,
            "events": conditioned.events,
            "songs": conditioned.songs,
            "by_kind": {name: share.to_dict() for name, share in conditioned.by_kind().items()},
            "by_family": {name: share.to_dict() for name, share in conditioned.by_family().items()},
        }
        if self.model.get("mixture"):
            values["without_copying_bits_per_note"] = conditioned.alone_bits / max(conditioned.notes, 1)
        if self.without_mood:
            values["without_mood_bits_per_note"] = self.without_mood.bits_per_note
        if self.baselines:
            values["baselines"] = {
                name: {"bits_per_note": report.bits_per_note, "bits_per_event": report.bits_per_event}
                for name, report in self.baselines.items()
            }
        values |= {name: self.parts[name].to_dict() for name in PARTS if name in self.parts}
        return values | {"model": dict(self.model), "archive": self.archive, "settings": dict(self.settings)}

    def to_markdown(self) -> str:
        """The bits, as tables; `report_page.page` sets them on the page."""
        conditioned, snap = self.conditioned, "snapped to the grid" if self.settings["snap_tempo"] else "as they are"
        rows: list[list[str | float]] = [
            [name, report.bits_per_note, report.bits_per_event, report.velocity_bits_per_note]
            for name, report in (
                ("the model", conditioned),
                ("the model, without mood", self.without_mood),
                ("the model, without conditions", self.unconditioned),
                *self.baselines.items(),
            )
            if report is not None
        ]
        if self.model.get("mixture"):
            alone = conditioned.alone_bits
            rows.insert(1, ["the model, not mixed with the song's repeats", alone / max(conditioned.notes, 1),
                            alone / max(conditioned.events, 1), conditioned.velocity_bits_per_note])  # fmt: skip
        lines = [
            f"Model `{self.model['folder']}`, weights {self.model['weights_hash'][:12]}, on "
            f"{conditioned.songs:,} songs of `{self.archive}`: {conditioned.notes:,} notes, "
            f"{conditioned.events:,} events; tempi {snap}.",
            "",
            "## Bits per note",
            "",
            *table(["", "bits per note", "bits per event", "velocity bits per note"], rows),
        ]
        if self.baselines:
            lines += ["", f"The n-grams were counted on `{self.settings['ngrams']}`."]
        shares = {"kind": conditioned.by_kind(), "family": conditioned.by_family()}
        for what, parts in shares.items():
            over = "of all notes" if what == "kind" else "of the family's notes (its ON and OFF events)"
            lines += ["", f"### By {what}", "", f"Bits per note are over the number {over}.", ""]
            values: list[list[str | float]] = [
                [name, f"{s.events:,}", s.bits / s.events, s.bits / max(s.notes, 1)] for name, s in parts.items()
            ]
            lines += table([what, "events", "bits per event", "bits per note"], values)
        return "\n".join(lines) + "\n"


def evaluate(
    archive: str | os.PathLike[str],
    model_folder: str | os.PathLike[str] | None = None,
    *,
    n_songs: int | None = None,
    seed: int | None = None,
    batch: int = DEFAULT_BATCH,
    bf16: bool | None = None,
    ngrams_archive: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure the model of a folder (None: the one that ships) on songs of an archive, beside n-grams of another one.

    n_songs, seed: see `choose`; batch, bf16: see `bits`. Songs are tokenized as the model's training songs were. Raises
    `CorpusError` for an archive, `ModelError` for a folder and `InputError` for a number that cannot be used.
    """
    archive = Path(archive)
    folder = Path(model_folder) if model_folder is not None else checkpoint.embedded_folder()
    config = checkpoint.read_config(folder)
    if n_songs is not None and n_songs < 1:
        raise InputError(f"{n_songs} songs cannot be measured; give at least 1")
    if ngrams_archive is not None and _same_file(archive, Path(ngrams_archive)):
        raise InputError(f"{ngrams_archive} is the archive that is measured; count the n-grams on a training archive")
    model, mixture = checkpoint.load(folder), Mixture.read(folder)
    snap = snaps_tempo(config)
    data = Dataset.of(dict(read_archive(archive).arrays), snap_tempo=snap)
    songs = choose(data, n_songs, seed=seed)
    if not any((v.KIND[data.song(int(i))[0]] == v.K_ON).any() for i in songs):
        raise CorpusError(f"the songs of {archive} hold no notes; give an archive of songs that sound")
    named: dict[str, Report] = {}
    if ngrams_archive is not None:
        train = Dataset.of(dict(read_archive(ngrams_archive).arrays), snap_tempo=snap)
        named = baselines(train, data, songs=songs, progress=_named(progress, "n-grams"))
        del train
    if bf16 is None:
        import torch

        from emsync.training.train import bf16_pays

        bf16 = bf16_pays(torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def read(name: str, *, conditions: bool, mood: bool) -> Report:
        return bits(
            model, data, songs=songs, conditions=conditions, mood=mood, batch=batch, bf16=bf16,
            mixture=mixture, progress=_named(progress, name),
        )  # fmt: skip

    knows_mood = model.config.knows_mood
    conditioned = read("conditioned", conditions=True, mood=knows_mood)
    without_mood = read("without mood", conditions=True, mood=False) if knows_mood else None
    unconditioned = read("without conditions", conditions=False, mood=False)
    about = {
        "folder": folder.resolve().name,
        "weights_hash": checkpoint.weights_hash(folder),
        "parameters": model.n_parameters,
        "mixture": mixture is not None,
    }
    settings = {
        "emsync": __version__, "context": model.config.context, "n_songs": n_songs, "sample": seed, "batch": batch,
        "bf16": bf16, "snap_tempo": snap, "ngrams": Path(ngrams_archive).name if ngrams_archive is not None else None,
    }  # fmt: skip
    return Evaluation(conditioned, unconditioned, about, archive.name, settings, named, without_mood)


def _same_file(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def snaps_tempo(config: Mapping[str, Any]) -> bool:
    """Whether the corpus that a model was trained on had its tempi snapped: yes, unless the folder says otherwise."""
    training = config.get("training")
    corpus = training.get("corpus") if isinstance(training, dict) else None
    return bool(corpus.get("snap_tempo", True)) if isinstance(corpus, dict) else True


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
