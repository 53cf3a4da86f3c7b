"""`emsync evaluate`: what an archive's songs cost a model, in bits per note."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.training.evaluate import DEFAULT_BATCH, check_output, evaluate, write


@click.command()
@click.option(
    "--archive", type=options.FILE, metavar="FILE.npz", required=True, help="The songs to measure the model on."
)
@options.output("DIR", "The folder to write evaluation.json and evaluation.md into; made if need be.", required=True)
@options.model
@click.option("--songs", type=click.IntRange(min=1), metavar="N", help="Read the first N songs only.  [default: all]")
@click.option(
    "--sample",
    type=click.IntRange(0, options.MAX_SEED),
    metavar="SEED",
    help="With --songs: draw the songs by this seed, instead of taking the first.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 4096),
    metavar="N",
    default=DEFAULT_BATCH,
    show_default=True,
    help="How many windows to read at a time.",
)
@click.option(
    "--ngrams", type=options.FILE, metavar="TRAIN.npz", help="Measure n-gram models counted on this archive, too."
)
@options.overwrite
@options.quiet
def command(
    archive: Path,
    output: Path,
    model: Path | None,
    songs: int | None,
    sample: int | None,
    batch: int,
    ngrams: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Measure a model on an archive of songs.

    The figure is bits per note: what it costs to tell the songs to someone who has the model, divided by their notes.
    Lower is better. The model is told each song's chords and end, as in composing; a second pass tells it nothing. Use
    songs that the model was not trained on, such as valid.npz of emsync prepare.
    """
    from tqdm import tqdm

    check_output(output, overwrite=overwrite)
    bars: dict[str, tqdm] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in bars:
            unit = " models" if what == "n-grams" else " events"
            bars[what] = tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=quiet)
        bars[what].update(done - bars[what].n)
        if done >= total:
            bars[what].close()

    try:
        result = evaluate(archive, model, n_songs=songs, seed=sample, batch=batch, ngrams_archive=ngrams, progress=show)
    finally:
        for bar in bars.values():
            bar.close()
    written = write(result, output, overwrite=overwrite)
    told = result.told
    click.echo(f"{told.songs:,} songs, {told.notes:,} notes, {told.events:,} events")
    click.echo(f"{told.bits_per_note:.3f} bits per note, {told.bits_per_event:.3f} an event")
    click.echo(f"{told.velocity_bits_per_note:.3f} bits per note besides, for its velocity")
    click.echo(f"{result.untold.bits_per_note:.3f} bits per note when told nothing")
    for name, report in result.baselines.items():
        click.echo(f"{report.bits_per_note:.3f} bits per note: {name}")
    click.echo(f"wrote {written[0]} and {written[1].name}")
