"""`emsync export`: a trained model to one that runs without torch."""

from __future__ import annotations

from pathlib import Path

import click

from emsync.checkpoint import GRAPH, WEIGHTS
from emsync.cli import options


@click.command("export")
@click.argument("model", type=options.FILE, metavar="MODEL_DIR")
@options.output("OUT_DIR", "Write a new model folder here, and leave MODEL_DIR as it is.")
@click.option(
    "--half/--full",
    default=None,
    help="With -o: weights of 16 bits, which take half the room, or of 32.  [default: half]",
)
@options.overwrite
def command(model: Path, output: Path | None, half: bool | None, overwrite: bool) -> None:
    """Turn a trained model into one that runs without torch.

    Writes model.onnx, the graph that ONNX Runtime composes with, beside the weights in MODEL_DIR; one that stands there
    is replaced. With -o, writes a whole model folder to ship: weights, configuration, vocabulary and graph. The graph
    is compared with torch before it is kept.
    """
    from emsync.export import export, ship

    if output is None:
        if half is not None:
            raise click.UsageError(
                "--half and --full go with -o OUT_DIR, which keeps the weights of MODEL_DIR as they are."
            )
        graph = export(model)
    else:
        graph = ship(model, output, half=half is not False, overwrite=overwrite) / GRAPH
    size_bytes = sum((graph.parent / name).stat().st_size for name in (GRAPH, WEIGHTS))
    click.echo(f"Written: {graph} ({size_bytes / 1e6:.1f} MB with its weights; it agrees with torch)")
