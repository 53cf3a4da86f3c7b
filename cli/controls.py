"""`emsync controls`: the controls of a piece or a recording, for another piece to obey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from emsync.cli import options
from emsync.cli.say import say

if TYPE_CHECKING:
    from emsync.control_curves import ControlCurves

_MIDI = (".mid", ".midi", ".smf", ".kar", ".rmi")


@click.command()
@click.argument("reference", type=options.FILE, metavar="REFERENCE")
@options.output("CONTROLS.json", "Where to write them, as .json or .csv. [default: REFERENCE.controls.json]")
@click.option(
    "--only",
    metavar="NAMES",
    help="Keep these controls only, such as intensity,density.  [default: all]",
)
@click.option(
    "--duration",
    type=options.FiniteFloat(min=1, max=3 * 3600),
    metavar="SECONDS",
    help="Stretch them to this length.  [default: as long as REFERENCE]",
)
@click.option(
    "--average",
    is_flag=True,
    help="One value each for intensity, density, rhythm and key instead of curves, which fits films of any length.",
)
@options.overwrite
def command(
    reference: Path, output: Path | None, only: str | None, duration: float | None, average: bool, overwrite: bool
) -> None:
    """Read the intensity, density, melody, rhythm and key of REFERENCE over time.

    REFERENCE is a MIDI file, whose notes are measured exactly, or a sound file (.wav, .mp3, a film), from which
    intensity, density, the strongest pitch class and the key are estimated. emsync compose --controls obeys the result;
    edit it to leave parts out (null), or to change a control's strength.
    """
    import numpy as np

    from emsync import controls, midi
    from emsync.control_curves import averaged, known
    from emsync.control_files import write_controls
    from emsync.errors import InputError
    from emsync.files import check_writable

    place = reference.with_name(reference.stem + ".controls.json") if output is None else output
    check_writable(place, overwrite=overwrite, inputs=(reference,))
    if average and duration is not None:
        raise InputError("--average fits films of any length; leave out --duration, or --average")
    names = [name.strip() for name in only.split(",")] if only is not None else []
    for name in names:
        known(name)
    if reference.suffix.lower() in _MIDI:
        score = midi.read(reference)
        try:
            found, length_s = controls.of_score(score), score.duration_s
        except InputError as error:
            raise InputError(f"{reference}: {error}") from error
    else:
        from emsync.audio_controls import of_sound

        found = of_sound(reference)
        length_s = float(found["intensity"].times_s[-1])
    if duration is not None:
        share = duration / length_s
        found = found.moved(lambda times_s: share * np.asarray(times_s, dtype=np.float64))
    if average:
        found = averaged(found)
    kept = found.only(*names) if names else found
    if not len(kept):
        raise InputError(f"{reference} has no {' or '.join(names)}; it has {', '.join(found)}")
    write_controls(kept, place, overwrite=overwrite)
    for name in kept:
        say(_line(name, kept))
    say(f"Wrote {place}.")


def _line(name: str, curves: ControlCurves) -> str:
    """A control in one line."""
    import numpy as np

    from emsync.control_curves import KINDS, to_text

    values = curves[name].values
    given = values[~np.isnan(values)]
    if not len(given):
        return f"{name}: not given."
    if KINDS[name].held:
        kinds, counts = np.unique(given, return_counts=True)
        most = ", ".join(to_text(name, kinds[i]) for i in np.argsort(-counts, kind="stable")[:4])
        return f"{name}: {len(given)} values, most often {most}."
    return f"{name}: {given.min():.1f} to {given.max():.1f} {KINDS[name].unit}, {given.mean():.1f} on average."
