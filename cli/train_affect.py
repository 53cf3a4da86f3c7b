"""`emsync train-affect`: a folder of films and their moods in, a head for `--affect` out."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from emsync.affect_clip import DEFAULT_MODEL
from emsync.affect_vlm import Settings
from emsync.cli import options
from emsync.cli.progress import FilmsBar
from emsync.cli.say import say
from emsync.extras import LEARN, VISION, need
from emsync.recipe import MAX_SEED
from emsync.vision import Kind


@click.command("train-affect")
@click.argument("videos", type=options.FILE, metavar="VIDEOS_DIR")
@options.output("HEAD_DIR", "The folder to write the head into; made if necessary.", required=True)
@click.option(
    "--model",
    metavar="ID",
    help=f"The vision model: a folder, or a name on the Hugging Face hub.  [default for clip: {DEFAULT_MODEL}]",
)
@click.option(
    "--kind",
    type=click.Choice(("clip", "vlm")),
    default="clip",
    show_default=True,
    help="clip: a linear head on CLIP. vlm: a perceptron on a vision-language model's hidden states.",
)
@click.option(
    "--window",
    "window_s",
    type=click.IntRange(2, 600),
    metavar="SECONDS",
    help=f"For vlm: how much of a film the model sees at once; half of it overlaps.  [default: {Settings.window_s}]",
)
@click.option(
    "--layer",
    type=int,
    metavar="N",
    help=f"For vlm: the layer whose hidden states are read, -1 being the last.  [default: {Settings.layer}]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    metavar="N",
    default=options.DEFAULT_SEED,
    show_default=True,
    help="Random seed of the folds of films and of the perceptron's first weights.",
)
@options.overwrite
@options.quiet
def command(
    videos: Path,
    output: Path,
    model: str | None,
    kind: Kind,
    window_s: int | None,
    layer: int | None,
    seed: int,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Train a head that reads films' moods, for emsync compose --affect.

    VIDEOS_DIR holds films, each with its mood beside it: NAME.mp4 and NAME.csv (time_s,valence,arousal) or NAME.json,
    or a row in labels.csv (file,valence,arousal) for one mood throughout. All values are from -1 to 1.

    With five films or more, the head is measured on held-out films. The model's features of each film are kept in
    HEAD_DIR/features: to continue an interrupted run, run the command again. Needs the extra "vision", and for
    --kind clip "train".
    """
    if kind != "vlm" and (window_s is not None or layer is not None):
        raise click.UsageError("--window and --layer are for --kind vlm; leave them out")
    if model is None and kind == "vlm":
        raise click.UsageError("--kind vlm has no default model; give one with --model")
    need(VISION, *((LEARN,) if kind == "clip" else ()))
    from emsync.training.mood.heads import train

    window_s = Settings.window_s if window_s is None else window_s
    settings = Settings(window_s, max(1, window_s // 2), Settings.layer if layer is None else layer)
    with FilmsBar(quiet or not sys.stderr.isatty()) as bar:
        report = train(
            videos,
            output,
            kind=kind,
            model=model or DEFAULT_MODEL,
            settings=settings,
            seed=seed,
            overwrite=overwrite,
            progress=bar,
        )
    say(report.summary())
    say(f"Wrote {output}; use it with: emsync compose VIDEO --affect {kind}:{output}")
