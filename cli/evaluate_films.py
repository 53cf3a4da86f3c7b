"""`emsync evaluate --av-align`: whether films' sound and movement peak together."""

from __future__ import annotations

import json
from pathlib import Path

from emsync.cli.say import say
from emsync.errors import OutputError, printable
from emsync.files import check_writable, write_bytes

NAMES = ("av-align.json", "av-align.md")


def evaluate_films(inputs: tuple[Path, ...], output: Path, *, overwrite: bool, quiet: bool) -> None:
    """Measure films, or those of folders; print the table and write it into the folder `output`, made if need be."""
    from tqdm import tqdm

    from emsync.batch import find_films
    from emsync.training.evaluation.av_align import measure

    films = find_films(inputs)
    made = not output.exists()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output} cannot be made ({error.strerror}); choose another folder") from error
    try:
        for name in NAMES:
            check_writable(output / name, overwrite=overwrite)
        with tqdm(total=len(films), desc="Watching", unit="film", disable=True if quiet else None) as bar:
            seen = 0

            def show(_: str) -> None:
                nonlocal seen
                bar.update(seen - bar.n)
                seen += 1

            result = measure(films, show)
        text = result.to_markdown()
        data = json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"
        for name, each in zip(NAMES, (data, text), strict=True):
            write_bytes(output / name, each.encode(), overwrite=overwrite)
    finally:
        if made and not any(output.iterdir()):
            output.rmdir()
    for name, reason in result.failed.items():
        say(f"Warning: {printable(name)} was left out: {printable(reason)}.", err=True)
    say(text)
    say(printable(f"wrote {output / NAMES[0]} and {NAMES[1]}"))
