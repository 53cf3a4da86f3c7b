"""Progress bars on standard error, one at a time, for work that reports its stage and its share."""

from __future__ import annotations

from typing import Any

#: What the bar of a stage is called.
TITLES = {
    "watching": "Watching",
    "mood": "Reading the mood",
    "composing": "Composing",
    "producing": "Producing",
    "training": "Training",
}


class StageBar:
    """A bar from 0 to 100 % for each stage; nothing if quiet, or if standard error is not a terminal.

    Call it with a stage and the share of it that is done, from 0 to 1.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._stage: str | None = None
        self._bar: Any = None

    def __enter__(self) -> StageBar:
        return self

    def __call__(self, stage: str, share: float) -> None:
        if stage != self._stage:
            from tqdm import tqdm

            self.close()
            self._stage = stage
            self._bar = tqdm(
                total=100,
                desc=TITLES.get(stage, stage),
                leave=False,
                disable=True if self._quiet else None,
                bar_format="{desc} {percentage:3.0f} % |{bar}| {elapsed}",
            )
        self._bar.update(max(0.0, min(100.0 * share, 100.0) - self._bar.n))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = self._stage = None

    def __exit__(self, *_: object) -> None:
        self.close()


class FilmsBar:
    """A bar over several films, by the share of each that was watched; nothing if quiet.

    Call it with a film's number, how many there are, and the share of this one that is done.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None

    def __enter__(self) -> FilmsBar:
        return self

    def __call__(self, number: int, films: int, share: float) -> None:
        if self._quiet:
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                desc="Watching",
                total=films,
                leave=False,
                bar_format="{desc}: film {n:.1f}/{total_fmt} |{bar}| {remaining}",
            )
        self._bar.update(number + share - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
