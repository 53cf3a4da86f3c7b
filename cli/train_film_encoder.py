"""`emsync train-film-encoder`: films with their scores in, a film encoder for `--affect film:FOLDER` out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from emsync.affect_clip import DEFAULT_MODEL
from emsync.cli import options
from emsync.cli.progress import FilmsBar
from emsync.cli.say import say
from emsync.extras import VISION, need


@click.command("train-film-encoder")
@click.argument("pairs", type=options.FILE, metavar="PAIRS_DIR")
@options.output("ENCODER_DIR", "The folder to write the encoder into; made if necessary.", required=True)
@click.option(
    "--model", metavar="ID", default=DEFAULT_MODEL, show_default=True,
    help="The CLIP model: a folder, or a name on the Hugging Face hub.",
)  # fmt: skip
@click.option(
    "--emotions", type=options.FILE, metavar="CLASSIFIER_DIR",
    help="A classifier of emsync train-emotions for the emotion features, instead of CLIP's sentences.",
)  # fmt: skip
@options.seed_of("encoder")
@options.overwrite
@options.quiet
def command(
    pairs: Path, output: Path, model: str, emotions: Path | None, seed: int, overwrite: bool, quiet: bool
) -> None:
    """Train a film encoder, for emsync compose --affect film:ENCODER_DIR.

    From a film's pictures, the encoder predicts what the music does: valence, arousal, intensity and density over time.

    PAIRS_DIR holds films, each with its score beside it: NAME.mp4 and NAME.mid (or .npz, a pianoroll). Both begin at
    the film's first frame. With five films or more, the encoder is measured on held-out films. Needs the extra
    "vision".
    """
    need(VISION)
    from emsync.training.mood.film_encoder import train

    with FilmsBar(quiet or not sys.stderr.isatty()) as bar:
        report = train(pairs, output, clip=model, emotions=emotions, seed=seed, overwrite=overwrite, progress=bar)
    say(report.summary())
    say(f"Wrote {output}; use it with: emsync compose VIDEO --affect film:{output}")
