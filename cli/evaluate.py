"""`emsync evaluate`: bits per note of an archive's songs, and measurements of what a model composes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emsync.affect import reads_by_model
from emsync.cli import options
from emsync.cli.evaluate_films import align_films, check_options, check_picture, draw, score_films
from emsync.cli.say import say
from emsync.errors import InputError
from emsync.extras import LEARN, RENDER, TRAIN, VISION, need_of
from emsync.mood_source import not_followed
from emsync.recipe import MAX_SEED, Hits, Recipe
from emsync.session import knows_mood
from emsync.training.evaluation.evaluate import DEFAULT_BATCH, evaluate
from emsync.training.evaluation.figures import of_bits
from emsync.training.evaluation.landing import DEFAULT_TOGETHER, HITS, film_list
from emsync.training.evaluation.report_page import JSON_NAME, check_output, headline, read_evaluation, write
from emsync.training.evaluation.stability import DEFAULT_MINUTES
from emsync.training.evaluation.yardstick import DEFAULT_PIECES, Kept, Wanted, measure_parts

if TYPE_CHECKING:
    from tqdm import tqdm


@click.command()
@click.option("--archive", type=options.FILE, metavar="FILE.npz", help="The songs to measure the model on.")
@options.output(
    "DIR",
    "The folder to write evaluation.json and evaluation.md (with pictures) into; made if necessary.",
    required=True,
)
@options.model
@click.option("--songs", type=click.IntRange(min=1), metavar="N", help="Read the first N songs only.  [default: all]")
@click.option(
    "--sample",
    type=click.IntRange(0, MAX_SEED),
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
@click.option(
    "--landing",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compose for N random cut lists, and measure how chords land.",
)
@click.option(
    "--land",
    "lands",
    type=click.Choice([*HITS, "beat"]),
    multiple=True,
    help="With --landing and --film: compose only with chords landing this way; may be repeated.  [default: all three]",
)
@click.option(
    "--film",
    "films",
    type=options.FILE,
    metavar="FILE",
    multiple=True,
    help="Also land on the cuts of this video, .csv of cuts or .json of emsync analyze; may be repeated.",
)
@click.option(
    "--stability",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compose N long pieces and measure them minute by minute.",
)
@click.option(
    "--minutes",
    type=click.IntRange(2, 60),
    metavar="N",
    default=DEFAULT_MINUTES,
    show_default=True,
    help="How long the pieces of --stability are.",
)
@click.option("--similarity", is_flag=True, help="Compare composed pieces with the archive's songs.")
@click.option(
    "--memorization",
    type=options.FILE,
    metavar="TRAIN.npz",
    multiple=True,
    help="Look for copies from this training archive in composed pieces; may be repeated.",
)
@click.option(
    "--mood-adherence",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compose N pieces for each of twelve moods, and measure how well they are followed.",
)
@click.option(
    "--controls",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compose N pieces for each set of controls (docs/controls.md), and measure how well they are obeyed.",
)
@click.option(
    "--pieces",
    type=click.IntRange(min=1),
    metavar="N",
    default=DEFAULT_PIECES,
    show_default=True,
    help="How many pieces to compose for --similarity and --memorization.",
)
@click.option(
    "--together",
    type=click.IntRange(1, 4096),
    metavar="N",
    default=DEFAULT_TOGETHER,
    show_default=True,
    help="How many pieces to compose at a time, at most.",
)
@click.option(
    "--av-align",
    type=options.FILE,
    multiple=True,
    metavar="FOLDER",
    help="Measure whether the sound and the movement of these films peak together, compared with their own sound "
    "shifted and with one another's sound; may be repeated, and needs no archive.",
)
@click.option(
    "--score",
    type=options.FILE,
    multiple=True,
    metavar="FOLDER",
    help="Compose for these films and measure the music as the paper does: AV-Align, chords on cuts, KL, run time by "
    "stage; may be repeated, and needs no archive.",
)
@click.option(
    "--affect",
    metavar="SPEC",
    help="With --score: what reads the films' mood, as for emsync compose.  [default: builtin:pictures, which does not "
    "hear the film's own sound, as in the paper]",
)
@click.option(
    "--tagger",
    type=options.FILE,
    metavar="FILE.onnx|FOLDER",
    help="With --score: measure KL by this audio tagger: an ONNX file that takes a waveform, or a folder for "
    "transformers.",
)
@click.option(
    "--tagger-rate",
    type=click.IntRange(1000, 192_000),
    metavar="HZ",
    help="The sample rate that the ONNX file takes.  [default: its metadata's sample_rate, or 16000]",
)
@options.seed
@click.option("--keep", type=options.FILE, metavar="DIR", help="Keep the composed pieces in this folder, as MIDI.")
@click.option(
    "--plot", type=options.FILE, metavar="PICTURE", help="Also draw what was measured into this file: .png or .svg."
)
@click.option(
    "--compare",
    type=options.FILE,
    metavar="OTHER.json",
    multiple=True,
    help="Add a column with another model's evaluation.json; may be repeated.",
)
@options.overwrite
@options.quiet
def command(
    archive: Path | None, output: Path, model: Path | None, songs: int | None, sample: int | None, batch: int,
    ngrams: Path | None, landing: int | None, lands: tuple[str, ...], films: tuple[Path, ...],
    stability: int | None, minutes: int, similarity: bool, memorization: tuple[Path, ...],
    mood_adherence: int | None, controls: int | None, pieces: int, together: int, seed: int, keep: Path | None,
    av_align: tuple[Path, ...],
    score: tuple[Path, ...], affect: str | None, tagger: Path | None, tagger_rate: int | None, plot: Path | None,
    compare: tuple[Path, ...], overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Measure a model on an archive of songs, and by what it composes.

    The first figure is bits per note: the negative log2 probability that the model gives the songs, divided by their
    notes. Lower is better. The model is conditioned on each song's chords, end and mood (if it knows mood), as in
    composing; a second pass leaves all conditions out. Use songs that the model was not trained on, such as
    valid.npz of emsync prepare.

    The other figures each have an option. They are measured on pieces composed with the defaults of emsync compose.
    """
    check_options(score, affect, tagger, tagger_rate)
    check_picture(plot, overwrite=overwrite)
    by_model = reads_by_model(affect) or (tagger is not None and tagger.is_dir())
    need_of({TRAIN: archive is not None, LEARN: similarity, RENDER: bool(score), VISION: by_model})
    panels = align_films(av_align, output, seed=seed, overwrite=overwrite, quiet=quiet) if av_align else []
    if score:
        panels += score_films(
            score, output, model=model, seed=seed, affect=affect, tagger=tagger, tagger_rate=tagger_rate, keep=keep,
            overwrite=overwrite, quiet=quiet,
        )  # fmt: skip
    if archive is None:
        if not av_align and not score:
            raise InputError(
                "give --archive FILE.npz, songs to measure the model on, or --av-align or --score FOLDER of films"
            )
        if plot is not None:
            draw(panels, plot, overwrite=overwrite)
        return
    compared = [read_evaluation(path) for path in compare]
    wanted = Wanted(
        landing or 0, tuple(film_list(path) for path in films), _hits(lands), stability or 0,
        minutes, similarity, memorization, pieces, mood_adherence or 0, seed, controls or 0,
    )  # fmt: skip
    others = [path / JSON_NAME if path.is_dir() else path for path in compare]
    inputs = (archive, ngrams, *films, *memorization, *others)
    check_output(output, overwrite=overwrite, parts=wanted.parts, inputs=inputs)
    if mood_adherence and not knows_mood(model):
        raise not_followed("--mood-adherence")
    kept = None if keep is None else Kept(keep, overwrite=overwrite)
    bars = _Bars(quiet)
    try:
        result = evaluate(
            archive, model, n_songs=songs, seed=sample, batch=batch, ngrams_archive=ngrams, progress=bars.show
        )
        if wanted.parts:
            from emsync.decoder import open_decoder

            decoder, recipe = open_decoder(model), Recipe()
            parts = measure_parts(decoder, archive, wanted, recipe, together=together, keep=kept, progress=bars.show)
            composing = recipe.to_dict() | {
                "seed": seed, "together": together, "pieces": pieces, "backend": decoder.backend
            }  # fmt: skip
            del composing["hits"]  # several ways are measured
            result = replace(result, parts=parts, settings={**result.settings, "composing": composing})
    finally:
        bars.close()
    written = write(result, output, overwrite=overwrite, compared=compared)
    conditioned = result.conditioned
    say(f"{conditioned.songs:,} songs, {conditioned.notes:,} notes, {conditioned.events:,} events")
    say(f"{conditioned.bits_per_note:.3f} bits per note, {conditioned.bits_per_event:.3f} an event")
    say(f"{conditioned.velocity_bits_per_note:.3f} bits per note besides, for its velocity")
    if result.without_mood is not None:
        say(f"{result.without_mood.bits_per_note:.3f} bits per note without mood")
    say(f"{result.unconditioned.bits_per_note:.3f} bits per note without conditions")
    for name, report in result.baselines.items():
        say(f"{report.bits_per_note:.3f} bits per note: {name}")
    for name, text in headline({part: each.to_dict() for part, each in result.parts.items()}).items():
        say(f"{text}: {name}")
    say(f"wrote {written[0]} and {', '.join(path.name for path in written[1:])}")
    if plot is not None:
        draw([*of_bits(result.to_dict()), *panels], plot, overwrite=overwrite)


def _hits(names: tuple[str, ...]) -> tuple[Hits, ...]:
    """The ways of landing that were given, or all of them. "beat" is the old name of "bend"."""
    found = [hits for hits in HITS if hits in names or (hits == "bend" and "beat" in names)]
    return tuple(found) or HITS


class _Bars:
    """A progress bar for everything that is done, on standard error, or nothing."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bars: dict[str, tqdm] = {}

    def show(self, what: str, done: int, total: int) -> None:
        if what not in self._bars:
            from tqdm import tqdm

            units = {"n-grams": " models", "searching archives": " archives"}
            unit = " s" if what.startswith("composing") else units.get(what, " events")
            self._bars[what] = tqdm(total=total, desc=what, unit=unit, unit_scale=True, disable=self._quiet)
        bar = self._bars[what]
        bar.update(done - bar.n)
        if done >= total:
            bar.close()

    def close(self) -> None:
        for bar in self._bars.values():
            bar.close()
