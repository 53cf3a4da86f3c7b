"""`emsync train-emotions`: films and their emotions in, a classifier for `--affect emotions:FOLDER` out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from emsync.affect_clip import DEFAULT_MODEL
from emsync.cli import options
from emsync.cli.progress import FilmsBar
from emsync.cli.say import say
from emsync.extras import VISION, need

#: The value of --image for none.
NONE = "none"


@click.command("train-emotions")
@click.argument("videos", type=options.FILE, metavar="FILMS_DIR")
@options.output("CLASSIFIER_DIR", "The folder to write the classifier into; made if necessary.", required=True)
@click.option(
    "--image", metavar="ID", default=DEFAULT_MODEL, show_default=True, help=f"The CLIP model for frames, or {NONE}."
)  # fmt: skip
@click.option("--face", metavar="ID", help="A classifier of faces' expressions; needs --detector.")
@click.option("--detector", metavar="ID", help="A detector of objects that finds faces.")
@click.option("--sound", metavar="ID", help="A classifier of sounds.")
@click.option("--hearing", metavar="ID", help="A speech recogniser (CTC) for films without NAME.srt.")
@click.option("--words", metavar="ID", help="A classifier of sentiment, for speech and text on screen.")
@options.seed_of("classifier")
@options.overwrite
@options.quiet
def command(
    videos: Path, output: Path, image: str, face: str | None, detector: str | None, sound: str | None,
    hearing: str | None, words: str | None, seed: int, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train a classifier of films' emotions, for emsync compose --affect emotions:CLASSIFIER_DIR.

    FILMS_DIR holds films with a row each in labels.csv (file,emotion), or in folders called anger, disgust, fear, joy,
    sadness and surprise. An emotion may be shares: "joy=0.7,surprise=0.3". Subtitles beside a film (NAME.srt) are what
    is said, NAME.text.srt what is written on screen. Each ID is a folder, or a name on the Hugging Face hub; a model
    that is not given is left out.

    With five films or more, the classifier is measured on held-out films. Needs the extra "vision".
    """
    need(VISION)
    from emsync.modalities import Models
    from emsync.training.mood.emotion_classifier import train

    models = Models(None if image == NONE else image, face, detector, sound, hearing, words)
    with FilmsBar(quiet or not sys.stderr.isatty()) as bar:
        report = train(videos, output, models, seed=seed, overwrite=overwrite, progress=bar)
    say(report.summary())
    say(f"Wrote {output}; use it with: emsync compose VIDEO --affect emotions:{output}")
