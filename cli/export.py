"""`emsync export`: a trained model to one that runs without torch; and weights in parts to a model."""

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
@click.option(
    "--join", is_flag=True, help="MODEL_DIR holds parts, as emsync train --parts saves: only join them, to -o."
)
@options.overwrite
def command(model: Path, output: Path | None, half: bool | None, join: bool, overwrite: bool) -> None:
    """Turn a trained model into one that runs without torch.

    Writes model.onnx, the graph that ONNX Runtime composes with, beside the weights in MODEL_DIR; one that stands there
    is replaced. With -o, writes a whole model folder to ship: weights, configuration, vocabulary and graph. The graph
    is compared with torch before it is kept.

    With --join, OUT_DIR becomes the model whose parts lie in MODEL_DIR, each checked against its hash: to export, to go
    on training from, or to compose with on torch.
    """
    if join:
        _join(model, output, half, overwrite)
        return
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


def _join(parts: Path, output: Path | None, half: bool | None, overwrite: bool) -> None:
    from emsync.checkpoint import join_parts, read_config

    if output is None or half is not None:
        raise click.UsageError(
            "--join writes a model folder as its parts are: give -o OUT_DIR, without --half or --full"
        )
    millions = read_config(join_parts(parts, output, overwrite=overwrite)).get("parameters", 0) / 1e6
    click.echo(f"Written: {output} ({millions:.1f} million parameters; next: emsync export {output})")
