"""How well a model foretells real songs: bits per note.

Total bits over whole songs, divided by their notes, so that vocabularies can be compared. Conventions
- A song is `FEWER|MORE START ... END`. The instrument count is given; every other event is predicted, once, and CHORD
  counts as one event, like any other.
- Songs longer than the model's context are read in windows that overlap by half: of the first window every event is
  scored, of later ones those that no earlier window scored, so each has at least half a window before it.
- The model is told what it is told in composing: the song's own chords as boundaries, the time to end, the tempo of its
  first bar and where in the bar it is (`metre`), and, if it knows mood, the song's mood curve and its mean
  (`Dataset.song_mood`).
- `bits_per_note` is of events alone; the velocities' bits stand beside it.
- N-gram baselines (`ngrams`) are measured on the same events of the same songs.
- Other parts of the yardstick measure what a model composes (`yardstick`); an `Evaluation` holds them, too.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import __version__, checkpoint
from emsync import vocabulary as v
from emsync.conditions import COPY_LANES, METRE_LANES, Conditions
from emsync.copying import lanes_of_song
from emsync.errors import CorpusError, InputError, ModelError
from emsync.tokenizer.events import times_steps
from emsync.training.corpus.archive import read_archive
from emsync.training.dataset import PREFIX, Dataset, Row, collate, song_metre
from emsync.training.evaluation import ngrams
from emsync.training.evaluation.report_page import PARTS, Part
from emsync.training.evaluation.report_page import table as table

if TYPE_CHECKING:
    from emsync.model import Composer

Floats = npt.NDArray[np.float64]
#: Called with what is being measured, the events done and the events to do.
Progress = Callable[[str, int, int], None]

DEFAULT_BATCH: Final = 4
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
    """

    count: npt.NDArray[np.int64]
    bits: Floats
    velocity_bits: float
    songs: int

    def __post_init__(self) -> None:
        if self.count.shape != (v.SIZE,) or self.bits.shape != (v.SIZE,):
            raise InputError(
                f"a report needs {v.SIZE} counts and bits, one an event, not {self.count.shape} and {self.bits.shape}"
            )
        if not np.isfinite(self.bits).all():
            raise ModelError("the model's predictions are not numbers; its weights are damaged, or its training failed")

    @classmethod
    def of(cls, ids: npt.NDArray[np.integer], bits: Floats, songs: int, velocity_bits: float = math.nan) -> Report:
        """The report of events ids (N,) that cost bits (N,)."""
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


def _told(data: Dataset, song: int, boundaries_s: Floats, end_s: float, mood: bool) -> Conditions:
    """All that is told of a song; its mood is what `dataset.Crops` tells of it."""
    times_s, levels = data.song_mood(song, end_s)
    if not (mood and len(levels)):
        return Conditions(boundaries_s=boundaries_s, end_s=end_s)
    (valence, arousal), (piece_valence, piece_arousal) = levels.T, levels.mean(axis=0).tolist()
    return Conditions(
        boundaries_s, end_s, (times_s, valence), (times_s, arousal),
        piece_valence=piece_valence, piece_arousal=piece_arousal,
    )  # fmt: skip


def _rows(data: Dataset, songs: Sequence[int], size: int, told: bool, mood: bool) -> Iterator[tuple[Row, int, int]]:
    """The windows of songs as the model reads them: (row, place in the row of the first scored event, the last + 1)."""
    slots = np.array([v.VALENCE_SLOT, v.AROUSAL_SLOT])
    for song in songs:
        ids, velocities = data.song(song)
        count, ids, velocities = ids[:1], ids[1:], velocities[1:]
        if not len(ids):
            continue
        steps, chord = times_steps(ids), ids == v.CHORD
        conditions = Conditions()
        if told:
            end_s = max(float(steps[-1]), 1.0) * v.STEP_S
            conditions = _told(data, song, np.unique(steps[chord]) * v.STEP_S, end_s, mood)
        lanes = conditions.at(steps * v.STEP_S, chord)
        if told:
            lanes[:, METRE_LANES] = song_metre(ids, steps)
            lanes[:, COPY_LANES] = lanes_of_song(ids)
        for begin, first, end in windows(len(ids), size):
            row = Row(
                np.concatenate([slots, count, ids[begin:end]]),
                np.concatenate([np.zeros(PREFIX, dtype=np.uint8), velocities[begin:end]]),
                np.concatenate([np.repeat(lanes[begin : begin + 1], PREFIX, axis=0), lanes[begin:end]]),
                conditions.mood,
            )
            yield row, PREFIX + first - begin, PREFIX + end - begin


def bits(
    model: Composer | str | os.PathLike[str],
    data: Dataset,
    *,
    songs: Sequence[int] | npt.NDArray[np.int64] | None = None,
    conditions: bool = True,
    mood: bool = False,
    batch: int = DEFAULT_BATCH,
    bf16: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """What songs (None: all) cost under a model, or the model of a folder.

    conditions: whether the model is told boundaries and time to end; mood: with these, whether mood, too. batch:
    windows at a time. bf16: whether products are taken in bfloat16; None tries which is faster here. progress: called
    with (events scored, events in all).
    Raises `ModelError` for a folder or a model that cannot be used, `InputError` for a batch or songs that cannot be.
    """
    from contextlib import nullcontext

    # Its module says which extra brings torch, where there is none.
    from emsync.training.train import bf16_pays, tensors

    import torch  # isort: skip
    import torch.nn.functional as F  # isort: skip

    if batch < 1:
        raise InputError(f"a batch of {batch} windows holds nothing; give at least 1")
    if isinstance(model, (str, os.PathLike)):
        model = checkpoint.load(model)
    chosen = [int(i) for i in (range(len(data)) if songs is None else songs)]
    if not chosen:
        raise InputError("no songs were given to measure; give at least 1")
    if not (min(chosen) >= 0 and max(chosen) < len(data)):
        raise InputError(f"songs {min(chosen)} to {max(chosen)} were asked for; the corpus holds 0 to {len(data) - 1}")
    size = model.config.context - PREFIX
    if size < 2:
        raise ModelError(
            f"the model's context of {model.config.context} is too short to measure; it must be at least {PREFIX + 2}"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    half = bf16_pays(device) if bf16 is None else bf16
    n_all = sum(int(data.offsets[i + 1] - data.offsets[i]) - 1 for i in chosen)
    count, cost = np.zeros(v.SIZE, dtype=np.int64), np.zeros(v.SIZE)
    velocity_nats = 0.0
    was_training, was_on = model.training, next(model.parameters()).device
    model.eval().to(device)

    def score(group: list[tuple[Row, int, int]]) -> None:
        nonlocal velocity_nats, count, cost
        longest = max(len(row.ids) for row, _, _ in group)
        read = collate([row for row, _, _ in group], longest)
        own = np.zeros(read.ids.shape, dtype=bool)  # where an event stands that is scored here
        for i, (_, first, last) in enumerate(group):
            own[i, first:last] = True
        before = np.roll(own, -1, axis=1)  # where it is foretold; nothing stands at place 0, so nothing rolls around
        sounding = own & (read.velocities > 0)
        t = tensors(read, device)
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            logits, velocity_logits = model(t["ids"], t["heard"], t["lanes"], t["mood"])
        at = torch.from_numpy(before).to(device)
        nats = F.cross_entropy(logits[at].float(), t["targets"][at], reduction="none").double().cpu().numpy()
        foretold = read.targets[before]
        count += np.bincount(foretold, minlength=v.SIZE)
        cost += np.bincount(foretold, weights=nats, minlength=v.SIZE) / math.log(2)
        at = torch.from_numpy(sounding).to(device)
        if sounding.any():
            velocity_nats += float(
                F.cross_entropy(velocity_logits[at].float(), t["velocities"][at] - 1, reduction="sum")
            )

    try:
        with torch.inference_mode():
            group: list[tuple[Row, int, int]] = []
            for item in _rows(data, chosen, size, conditions, mood):
                group.append(item)
                if len(group) == batch:
                    score(group)
                    group = []
                    if progress:
                        progress(int(count.sum()), n_all)
            if group:
                score(group)
        if progress:
            progress(int(count.sum()), n_all)
    finally:
        model.train(was_training).to(was_on)
    return Report(count, cost, velocity_nats / math.log(2), len(chosen))


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
    """A model measured on an archive: told its conditions and told nothing, beside baselines; and the other parts.

    without_mood: told its conditions but mood, from a model that knows mood. parts: some of `report_page.PARTS`.
    """

    told: Report
    untold: Report
    model: Mapping[str, Any]
    archive: str
    settings: Mapping[str, Any]
    baselines: Mapping[str, Report] = field(default_factory=dict)
    without_mood: Report | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What evaluation.json holds."""
        told = self.told
        values = {
            "bits_per_note": told.bits_per_note,
            "velocity_bits_per_note": told.velocity_bits_per_note,
            "bits_per_event": told.bits_per_event,
            "unconditioned_bits_per_note": self.untold.bits_per_note,
            "notes": told.notes,
            "events": told.events,
            "songs": told.songs,
            "by_kind": {name: share.to_dict() for name, share in told.by_kind().items()},
            "by_family": {name: share.to_dict() for name, share in told.by_family().items()},
        }
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
        told, snap = self.told, "snapped to the grid" if self.settings["snap_tempo"] else "as they are"
        rows: list[list[str | float]] = [
            [name, report.bits_per_note, report.bits_per_event, report.velocity_bits_per_note]
            for name, report in (
                ("the model", told),
                ("the model, told no mood", self.without_mood),
                ("the model, told nothing", self.untold),
                *self.baselines.items(),
            )
            if report is not None
        ]
        lines = [
            f"Model `{self.model['folder']}`, weights {self.model['weights_hash'][:12]}, on {told.songs:,} songs of "
            f"`{self.archive}`: {told.notes:,} notes, {told.events:,} events; tempi {snap}.",
            "",
            "## Bits per note",
            "",
            *table(["", "bits per note", "bits per event", "velocity bits per note"], rows),
        ]
        if self.baselines:
            lines += ["", f"The n-grams were counted on `{self.settings['ngrams']}`."]
        shares = {"kind": told.by_kind(), "family": told.by_family()}
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
    model = checkpoint.load(folder)
    snap = _snaps_tempo(config)
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
            progress=_named(progress, name),
        )  # fmt: skip

    knows_mood = model.config.knows_mood
    told = read("told", conditions=True, mood=knows_mood)
    without_mood = read("told no mood", conditions=True, mood=False) if knows_mood else None
    untold = read("told nothing", conditions=False, mood=False)
    about = {
        "folder": folder.resolve().name,
        "weights_hash": checkpoint.weights_hash(folder),
        "parameters": model.n_parameters,
    }
    settings = {
        "emsync": __version__, "context": model.config.context, "n_songs": n_songs, "sample": seed, "batch": batch,
        "bf16": bf16, "snap_tempo": snap, "ngrams": Path(ngrams_archive).name if ngrams_archive is not None else None,
    }  # fmt: skip
    return Evaluation(told, untold, about, archive.name, settings, named, without_mood)


def _same_file(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve()


def _snaps_tempo(config: Mapping[str, Any]) -> bool:
    """Whether the corpus that a model was trained on had its tempi snapped: yes, unless the folder says otherwise."""
    training = config.get("training")
    corpus = training.get("corpus") if isinstance(training, dict) else None
    return bool(corpus.get("snap_tempo", True)) if isinstance(corpus, dict) else True


def _named(progress: Progress | None, name: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(name, done, total)
