"""`emsync train-adapter`: recordings with mood curves in, a mood adapter for `emsync produce --adapter` out."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.cli import options
from emsync.cli.progress import StageBar
from emsync.cli.say import say
from emsync.extras import MUSICGEN, need


@click.command("train-adapter")
@click.argument("folder", type=options.FILE, metavar="FOLDER")
@options.output("ADAPTER_DIR", "The folder to write the adapter into.", required=True)
@click.option(
    "--model", metavar="PATH|HUB", help="The MusicGen-melody to steer.  [default: facebook/musicgen-melody]"
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Passes over all clips.")
@click.option(
    "--learning-rate", type=options.FiniteFloat(min=0, min_open=True, max=1), default=2e-3, show_default=True,
    metavar="RATE", help="Of AdamW.",
)  # fmt: skip
@click.option(
    "--layers", "share", type=options.FiniteFloat(min=0, min_open=True, max=1), default=0.75, show_default=True,
    metavar="SHARE", help="The share of the decoder's layers, from the first on, that follow the mood.",
)  # fmt: skip
@options.seed_of("adapter")
@options.overwrite
@options.quiet
def command(
    folder: Path, output: Path, model: str | None, epochs: int, learning_rate: float, share: float, seed: int,
    overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Train a mood adapter: valence and arousal steer the music model from second to second.

    FOLDER holds recordings (.wav, .flac, .mp3), each with its mood beside it: NAME.csv (time_s,valence,arousal, from -1
    to 1) or NAME.json; and its description in NAME.txt, if it has one. The music model itself is not changed. Needs:
    pip install 'emsync[musicgen]'.
    """
    from emsync.adapter_files import ABOUT
    from emsync.backends import DEFAULT_MODEL
    from emsync.errors import OutputError
    from emsync.folders import atomic_folder, check_replaceable
    from emsync.musicgen import MusicGen
    from emsync.training import adapter

    need(MUSICGEN)
    check_replaceable(output, ABOUT, "an adapter")
    if output.exists() and not overwrite:
        raise OutputError(f"{output} exists already; give --overwrite to replace it, or another name")
    adapter.check_folder(folder)
    backend = MusicGen.open(model or DEFAULT_MODEL)
    clips = adapter.read_folder(folder, backend)
    with StageBar(quiet) as bar:
        made, losses = adapter.train(
            backend, clips, epochs=epochs, learning_rate=learning_rate, share=share, seed=seed,
            tell=lambda epoch, _: bar("training", epoch / epochs),
        )  # fmt: skip
    with atomic_folder(output) as partial:
        made.write(partial)
    gains = made.training["gains"]
    n_songs = len({clip.source for clip in clips})
    say(
        f"Trained on {len(clips)} clips of {n_songs} recording{'s' if n_songs != 1 else ''}, {epochs} epochs: loss "
        f"{losses[0]:.4f} to {losses[-1]:.4f} nats a code; gains from {min(gains):.3f} to {max(gains):.3f} over "
        f"{len(gains)} layers."
    )
    say(f"Wrote {output}; use it with: emsync produce SONG.mid --adapter {output}")
