"""`emsync train --adapter lora`: a few MIDI files in, a style for `emsync compose --style` out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from emsync.cli.progress import StageBar
from emsync.cli.say import say
from emsync.errors import InputError, printable

#: Options of `emsync train` that are not for adapters, by the names that the command passes.
_OF_A_RUN: Final = {
    "minutes": "--minutes", "resume": "--resume", "go_on": "--go-on", "parts": "--parts", "valid": "--valid",
    "workers": "--workers", "peak_tflops": "--peak-tflops", "samples": "--samples",
}  # fmt: skip
#: So many refused files are named.
_SHOWN: Final = 3


def train_style(
    inputs: Sequence[Path], output: Path, rank: int | None, batch: int | None, seed: int | None, quiet: bool,
    given: Mapping[str, Any],
) -> None:  # fmt: skip
    """Train a style, write it and say how it went. Raises `InputError` for options that are of no use here."""
    from emsync.adapter_files import ABOUT
    from emsync.files import check_not_read
    from emsync.folders import atomic_folder, check_replaceable

    for name, flag in _OF_A_RUN.items():
        if given[name]:
            raise InputError(
                f"{flag} is not for --adapter lora, which is trained for a number of --steps; leave it out"
            )
    if given["device"] == "cuda":
        raise InputError("a style is trained on the CPU, in minutes; leave out --device cuda")
    check_replaceable(output, ABOUT, "a style")
    check_not_read(output, inputs)
    from emsync.training import styles

    numbers = {"rank": rank, "batch": batch, "seed": seed, "steps": given["steps"]}
    chosen = styles.StyleOptions(**{name: value for name, value in numbers.items() if value is not None})
    pieces = styles.read_pieces(inputs)
    for refused in pieces.refused[:_SHOWN]:
        say(f"Left out: {printable(refused)}.", err=True)
    if len(pieces.refused) > _SHOWN:
        say(f"Left out: {len(pieces.refused) - _SHOWN} more.", err=True)
    with StageBar(quiet) as bar:
        style, _ = styles.train(
            given["initial"], pieces, chosen, tell=lambda step, _: bar("training", step / chosen.steps)
        )
    with atomic_folder(output) as partial:
        style.write(partial)
    known = style.training
    say(
        f"Learned from {len(pieces.names)} pieces, {known['events']:,} events, in {chosen.steps} steps: "
        f"{known['bits_first']:.3f} to {known['bits_last']:.3f} bits an event."
    )
    say(f"Wrote {output}; use it with: emsync compose FILM --style {output} --style-strength 0.7")
