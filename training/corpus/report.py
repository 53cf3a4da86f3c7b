"""What `emsync prepare` says it did: for people, and as `report.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from emsync.errors import printable
from emsync.training.corpus.songs import Losses
from emsync.training.mood.curves import Moods

#: The most files that a report names for one reason.
MOST_EXAMPLES: Final = 5


@dataclass(frozen=True)
class Examples:
    """How many files were refused for one reason, or read with a warning; and a few of them as (source, text)."""

    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Report:
    """What became of a corpus; counts of files unless said otherwise. `archives` are names in the output folder."""

    files: int
    read: int
    kept: int
    train: int
    valid: int
    duplicates: int
    near_duplicates: int
    refused: dict[str, Examples]
    warned: Examples
    notes: int
    losses: Losses
    moods: Moods
    archives: tuple[str, ...]
    options: dict[str, Any]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.files} files: {self.read} read, {self.files - self.read} refused",
            f"{self.kept} songs kept ({self.train} to train on, {self.valid} to validate with), {self.notes} notes",
            f"{self.duplicates} duplicates and {self.near_duplicates} near-duplicates left out",
        ]
        lines += self.moods.summary()
        kinds = {f"refused, {reason}": each for reason, each in self.refused.items()}
        if self.warned.count:
            kinds["read with a warning"] = self.warned
        for what, each in kinds.items():
            source, text = each.examples[0]
            lines.append(printable(f"{what}: {each.count} (such as {source}: {text})"))
        return "\n".join(lines)


@dataclass(frozen=True)
class Labelled:
    """What became of archives that were given mood curves. `archives` are names in the output folder."""

    songs: int
    moods: Moods
    archives: tuple[str, ...]
    refused: Examples

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def summary(self) -> str:
        """A few lines for people."""
        lines = [f"{self.songs} songs of {len(self.archives)} archives have mood curves", *self.moods.summary()]
        if self.refused.count:
            _, text = self.refused.examples[0]
            lines.append(printable(f"refused: {self.refused.count} (such as {text})"))
        return "\n".join(lines)
