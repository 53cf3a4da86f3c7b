"""A corpus: folders of MIDI and Lakh Pianoroll Dataset files to training and validation archives.

The way
1. `song_files.find` lists the files; `chunks` reads them in worker processes and keeps each finished chunk in
   `OUT/.work`, so that an interrupted run goes on where it stopped.
2. `choosing`: exact duplicates (the same notes, whatever the file) become one song, near-duplicates
   (`near_duplicates`) one group; of a group the best song is kept: most families, then longest.
3. Groups are split by a hash: near-duplicates stay together, and a group does not move when other songs are added.
4. Archives are written beside each other and renamed at the end, the report last.

Songs get their mood curves (`mood.curves`) where they are read. Archives as inputs are given theirs and are otherwise
left as they are (`label_archives`).

The result depends on the files, their places under the inputs and the options, not on the number of workers, on the
order of the inputs, or on interruptions.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from emsync.errors import CorpusError, InputError
from emsync.training.corpus import near_duplicates
from emsync.training.corpus.choosing import choose, split
from emsync.training.corpus.chunks import ChunkResult, Entry, read_chunks
from emsync.training.corpus.gather import Plan, write_plan
from emsync.training.corpus.label_archives import archives_among, kept_moods, label_archives
from emsync.training.corpus.report import MOST_EXAMPLES, Examples, Labelled, Report
from emsync.training.corpus.song_files import MIN_NOTES, SUFFIXES, SourceFile, find
from emsync.training.corpus.songs import Losses
from emsync.training.corpus.work_folder import VALID, give_up, open_output, publish, work_through

VALID_SHARE: Final = 0.05
SONGS_PER_ARCHIVE: Final = 6000
MAX_WORKERS: Final = 1024


@dataclass(frozen=True)
class _Options:
    """What is done to song files, checked; `prepare` says what each option means."""

    valid_share: float = VALID_SHARE
    songs_per_archive: int = SONGS_PER_ARCHIVE
    min_notes: int = MIN_NOTES
    threshold: float = near_duplicates.THRESHOLD
    seed: int = 0

    def __post_init__(self) -> None:
        _check_range("validation share", self.valid_share, 0, 0.5)
        _check_range("number of songs an archive", self.songs_per_archive, 1, 10**9)
        _check_range("least number of notes", self.min_notes, 1, 10**9)
        if not 0 < self.threshold <= 1:
            raise InputError(
                f"a similarity threshold of {self.threshold} is not over 0 and up to 1; "
                f"{near_duplicates.THRESHOLD} is the default"
            )

    def refuse_for(self, archive: str) -> None:
        """Raise `InputError` for an option given beside an archive, to which it means nothing."""
        for field in fields(self):
            value, flag = getattr(self, field.name), "--" + field.name.replace("_", "-")
            if value != field.default and field.name != "threshold":
                raise InputError(f"{flag} {value} is for song files, and {archive} is an archive; leave it out")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"a {name} of {value} is outside {low} to {high}; give one in between")


def prepare(
    inputs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    *,
    workers: int | None = None,
    valid_share: float = VALID_SHARE,
    songs_per_archive: int = SONGS_PER_ARCHIVE,
    min_notes: int = MIN_NOTES,
    threshold: float = near_duplicates.THRESHOLD,
    seed: int = 0,
    overwrite: bool = False,
    resume: bool = True,
    progress: bool = False,
) -> Report | Labelled:
    """Write `train-00.npz` ..., `valid.npz` and `report.json` into `output_dir`, made if need be.

    Inputs that are archives already are given mood curves and written under their own names; nothing else is done to
    them, so the options about songs must be left alone.

    workers: processes, by default one a core; with 1 everything happens in this process. valid_share: of groups of
    near-duplicates, 0..0.5. threshold: similarity from which songs are near-duplicates
    (`near_duplicates.groups`); 1 or less. resume: take over what an interrupted run left in `output_dir/.work`; False
    begins anew.

    Files that cannot be read are counted in the report. Raises `InputError` for options and inputs that cannot be used,
    `CorpusError` when no song is left, `OutputError` when the folder cannot be written or holds a corpus already.
    """
    workers = workers if workers is not None else os.cpu_count() or 1
    _check_range("number of workers", workers, 1, MAX_WORKERS)
    options = _Options(valid_share, songs_per_archive, min_notes, threshold, seed)
    output = Path(output_dir)
    files = find(inputs, leave_out=output)
    if not files:
        places = ", ".join(str(each) for each in inputs) or "nothing"
        raise CorpusError(f"no {', '.join(SUFFIXES)} files in {places}; give folders that hold some")
    archives = archives_among([file.path for file in files])
    if archives:
        options.refuse_for(archives[0])
        return label_archives(archives, output, workers=workers, overwrite=overwrite, resume=resume, progress=progress)

    _check_apart(files, output)
    work = open_output(output, (VALID, "train-00.npz"), overwrite=overwrite, resume=resume)
    results = read_chunks(files, min_notes, work, workers=workers, progress=progress)
    songs = [each for result in results for each in result.songs]
    if not songs:
        give_up(output)
        raise CorpusError(_why_none(results))
    chosen, counts = choose(songs, threshold)
    train, valid = split(chosen, valid_share, seed)
    plans = _plans(train, valid, work, songs_per_archive)
    work_through(write_plan, plans, workers, progress, "writing", "archive", lambda plan: 1)
    warned = sorted(itertools.chain.from_iterable(each.warned for each in results))
    report = Report(
        files=len(files),
        read=len(songs),
        kept=len(chosen),
        train=len(train),
        valid=len(valid),
        duplicates=counts.duplicates,
        near_duplicates=counts.near_duplicates,
        refused=_refused_by_reason(results),
        warned=Examples(len(warned), tuple(warned[:MOST_EXAMPLES])),
        notes=sum(each.song.n_notes for each in chosen),
        losses=sum((each.losses for each in results), Losses()),
        moods=kept_moods([plan.path for plan in plans]),
        archives=tuple(sorted(Path(plan.path).name for plan in plans)),
        options=asdict(options),
    )
    publish(output, report.archives, report.to_json())
    return report


def _check_apart(files: Sequence[SourceFile], output: Path) -> None:
    """Refuse inputs that a new corpus in `output` would replace."""
    folder = output.resolve()
    for file in files:
        if file.path.lower().endswith(".npz") and Path(file.path).resolve().parent == folder:
            raise InputError(f"{file.path} lies in the folder to write into already; give -o another folder")


def _refused(results: Sequence[ChunkResult]) -> list[tuple[str, str, str]]:
    """Source, reason and text of every file that gave no song, in order."""
    return sorted(itertools.chain.from_iterable(each.refused for each in results))


def _why_none(results: Sequence[ChunkResult]) -> str:
    """Why not one of the files gave a song: the only file's own message, or how often each reason."""
    refused = _refused(results)
    source, _, text = refused[0]
    if len(refused) == 1:
        return text
    reasons = ", ".join(f"{count} {reason}" for reason, count in Counter(each[1] for each in refused).most_common())
    return f"none of the {len(refused)} files gave a song ({reasons}; such as {source}: {text})"


def _refused_by_reason(results: Sequence[ChunkResult]) -> dict[str, Examples]:
    grouped: dict[str, list[tuple[str, str]]] = {}
    for source, reason, text in _refused(results):
        grouped.setdefault(reason, []).append((source, text))
    return {reason: Examples(len(each), tuple(each[:MOST_EXAMPLES])) for reason, each in sorted(grouped.items())}


def _plans(train: Sequence[Entry], valid: Sequence[Entry], work: Path, songs_per_archive: int) -> list[Plan]:
    """The validation archive, if it has songs, and training archives of nearly equal size."""
    parts = {VALID: valid} if valid else {}
    n_archives = -(-len(train) // songs_per_archive)
    for number in range(n_archives):
        begin, end = (each * len(train) // n_archives for each in (number, number + 1))
        parts[f"train-{number:02d}.npz"] = train[begin:end]
    return [Plan(str(work / name), tuple((each.chunk, each.row) for each in part)) for name, part in parts.items()]
