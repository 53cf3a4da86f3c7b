"""`emsync export`: a trained model to one that runs without torch; and weights in parts to a model."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from emsync.checkpoint import DEFAULT_BITS, GRAPH, WEIGHTS, Bits
from emsync.cli import options
from emsync.cli.say import say


@click.command("export")
@click.argument("model", type=options.FILE, metavar="MODEL_DIR")
@options.output("OUT_DIR", "Write a new model folder here, and leave MODEL_DIR as it is.")
@click.option(
    "--bits",
    type=click.Choice(get_args(Bits)),
    help=f"With -o: bits per weight; 8 take a quarter of the space of 32.  [default: {DEFAULT_BITS}]",
)
@click.option(
    "--join", is_flag=True, help="MODEL_DIR holds parts, as emsync train --parts saves: only join them, to -o."
)
@options.overwrite
def command(model: Path, output: Path | None, bits: Bits | None, join: bool, overwrite: bool) -> None:
    """Turn a trained model into one that runs without torch.

    Writes model.onnx, the graph that ONNX Runtime composes with, beside the weights in MODEL_DIR, and replaces an
    existing one. With -o, writes a whole model folder to ship: weights, configuration, vocabulary and graph. The graph
    is compared with torch before it is kept.

    With --join, joins the parts in MODEL_DIR to a model in OUT_DIR and checks each part against its hash. The model can
    be exported, trained further, or used to compose on torch.
    """
    if join:
        _join(model, output, bits, overwrite)
        return
    from emsync.export import export, ship

    if output is None:
        if bits is not None:
            raise click.UsageError("--bits goes with -o OUT_DIR, which keeps the weights of MODEL_DIR as they are.")
        graph = export(model)
    else:
        graph = ship(model, output, bits=bits or DEFAULT_BITS, overwrite=overwrite) / GRAPH
    size_bytes = sum((graph.parent / name).stat().st_size for name in (GRAPH, WEIGHTS))
    say(f"Written: {graph} ({size_bytes / 1e6:.1f} MB with its weights; it agrees with torch)")


def _join(parts: Path, output: Path | None, bits: Bits | None, overwrite: bool) -> None:
    from emsync.checkpoint import read_config
    from emsync.weight_parts import join_parts

    if output is None or bits is not None:
        raise click.UsageError("--join writes a model folder as its parts are: give -o OUT_DIR, without --bits")
    millions = read_config(join_parts(parts, output, overwrite=overwrite)).get("parameters", 0) / 1e6
    say(f"Written: {output} ({millions:.1f} million parameters; next: emsync export {output})")
