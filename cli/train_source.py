"""Where the songs of `emsync train` come from: archives, tokenized into the run's folder, or a tokenized folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emsync.errors import InputError

#: What marks a folder as tokenized already.
DATASET = "dataset.json"
VALID = "valid.npz"


@dataclass(frozen=True)
class Source:
    """Where a run's songs come from; tokenizes them into the run's folder if that was not done yet."""

    output: Path
    data: tuple[Path, ...]
    valid: Path | None
    made: bool
    """Whether to use what is in the run's folder again."""
    snap_tempo: bool
    workers: int | None
    quiet: bool

    def songs(self) -> Path:
        """The folder of the tokenized songs to train on."""
        from emsync.training.dataset import find_archives

        tokenized = [path for path in self.data if (path / DATASET).is_file()]
        if tokenized and len(self.data) > 1:
            raise InputError(f"{tokenized[0]} is tokenized already and cannot be combined; give either it or archives")
        if tokenized:
            return tokenized[0]
        if self.data:
            return self._tokenized(find_archives(self.data), self.output / "data")
        if self.made and (self.output / "data" / DATASET).is_file():
            return self.output / "data"
        raise InputError("there is nothing to train on; give archives made by emsync prepare, or their folder")

    def validation(self) -> Path | None:
        """The folder of the tokenized songs to validate on, if there are any."""
        chosen = self.valid
        if chosen is None:
            if not self.data:
                folder = self.output / "valid"
                return folder if (folder / DATASET).is_file() else None
            beside = [(path if path.is_dir() else path.parent) / VALID for path in self.data]
            chosen = next((path for path in beside if path.is_file() and path not in self.data), None)
        if chosen is None or (chosen / DATASET).is_file():
            return chosen
        if chosen.is_dir():
            raise InputError(f"{chosen} is a folder of archives; give --valid one archive, or a tokenized folder")
        return self._tokenized([chosen], self.output / "valid")

    def _tokenized(self, archives: list[Path], folder: Path) -> Path:
        from tqdm import tqdm

        from emsync.training.dataset import Dataset, build

        names = [path.name for path in archives]
        if self.made and (folder / DATASET).is_file():
            about = Dataset.open(folder).about
            if about.get("sources") != names or about.get("snap_tempo") != self.snap_tempo:
                raise InputError(
                    f"{folder} was made from other archives, or with other settings; repeat the first command with "
                    "--resume, or train into another folder"
                )
            return folder
        ahead = iter(names)
        bar: tqdm | None = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = tqdm(desc=f"tokenizing {next(ahead)}", total=total, unit=" songs", disable=self.quiet)
            bar.update(done - bar.n)
            if done >= total:
                bar.close()
                bar = None

        try:
            build(archives, folder, snap_tempo=self.snap_tempo, workers=self.workers, progress=show)
        finally:
            if bar is not None:
                bar.close()
        return folder
