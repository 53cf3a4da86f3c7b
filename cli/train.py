"""`emsync train`: archives in, a model folder out, within a number of minutes or of steps."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync.cli import options
from emsync.cli.say import say
from emsync.cli.train_source import Source
from emsync.cli.train_style import train_style
from emsync.recipe import MAX_SEED

if TYPE_CHECKING:
    from emsync.training import train
    from emsync.training.train import Progress, RunOptions


@click.command()
@click.argument("preset", metavar="PRESET")
@click.argument("data", nargs=-1, type=options.FILE, metavar="[DATA]...")
@click.option(
    "-o",
    "--output",
    "--out",
    "output",
    type=options.FILE,
    metavar="OUT",
    required=True,
    help="The folder of the run; made if necessary.",
)
@click.option(
    "--minutes",
    type=options.FiniteFloat(min=0, min_open=True),
    metavar="N",
    help="Train for this long, all parts of a resumed run counted together.",
)
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Train for this many steps instead.")
@click.option("--resume", is_flag=True, help="Continue the run in OUT: the same command again, with this option.")
@click.option(
    "--initial",
    "--from",
    "initial",
    type=options.FILE,
    metavar="DIR",
    help="Start from the weights and the shape of this model.  [default with --adapter: the embedded one]",
)
@click.option(
    "--adapter",
    type=click.Choice(["lora"]),
    help="Train a small adapter beside the frozen model instead: a style, for emsync compose --style. "
    "All arguments are then MIDI files, or folders of them.",
)
@click.option("--rank", type=click.IntRange(1, 256), metavar="N", help="The rank of --adapter lora.  [default: 8]")
@click.option(
    "--go-on",
    is_flag=True,
    help="With --initial: count the training of that model, so that the learning rate continues where it was.",
)
@click.option("--parts", is_flag=True, help="Also save the weights in files under 16 MiB, for emsync export --join.")
@click.option(
    "--valid",
    type=options.FILE,
    metavar="FILE",
    help="Songs to validate on: an archive, or a tokenized folder.  [default: valid.npz beside DATA, if there is one]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 65_536),
    metavar="N",
    help="Crops per step, on each device.  [default: the preset's]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    metavar="N",
    help="Random seed; the same seed trains the same model.  [default: the preset's]",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes a GPU if there is one.",
)
@click.option(
    "--peak-tflops",
    type=options.FiniteFloat(min=0, min_open=True),
    metavar="N",
    help="The device's dense bf16 peak, to compute the share that is used.  [default: known for A100, H100, H200]",
)
@click.option(
    "--samples/--no-samples",
    default=None,
    help="Compose twenty seconds at each tenth of the run, and log statistics of them.  [default: on a GPU only]",
)
@click.option(
    "--compile/--no-compile",
    "compile_model",
    default=True,
    show_default=True,
    help="Compile the model first: takes a minute, then steps are faster.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Processes that tokenize and, on a GPU, draw crops.  [default: one per core]",
)
@click.option(
    "--snap-tempo/--no-snap-tempo",
    default=True,
    show_default=True,
    help="Move tempi slightly, so that a sixteenth is a whole number of steps.",
)
@options.quiet
def command(
    preset: str, data: tuple[Path, ...], output: Path, valid: Path | None, batch: int | None, seed: int | None,
    workers: int | None, snap_tempo: bool, quiet: bool, adapter: str | None, rank: int | None, **choices: Any,
) -> None:  # fmt: skip
    """Train a model from a preset, or a style from a few MIDI files.

    PRESET is paper, base, small, tiny, mood-adapter, or a TOML file of your own. DATA are archives made by emsync
    prepare, or folders of them; or one folder that is tokenized already. They are tokenized once, into OUT/data.

    OUT/model is the model, for emsync compose --model; OUT/state is what --resume continues from; OUT/log.jsonl and
    OUT/loss.png show the course of the run. Ctrl-C stops and saves the run. Several GPUs: accelerate launch -m emsync
    train, and so on. docs/training.md describes a run on a rented GPU.

    With --adapter lora, PRESET and DATA are MIDI files, or folders of them: emsync train --adapter lora FOLDER -o
    STYLE. Five pieces are enough, and minutes on a CPU. STYLE is for emsync compose --style.
    """
    if adapter is not None:
        given = {"valid": valid, "workers": workers, **choices}
        train_style((Path(preset), *data), output, rank, batch, seed, quiet, given)
        return
    if rank is not None:
        raise click.UsageError("--rank goes with --adapter lora")
    from emsync.training import train
    from emsync.training.dataset import Dataset

    train.check_device(choices["device"])
    if (choices["minutes"] is None) == (choices["steps"] is None):
        raise click.UsageError("give either --minutes or --steps, to say when training ends")
    on_gpu = choices["device"] != "cpu" and train.has_gpu()
    run = train.RunOptions(processes=workers if on_gpu else None, **choices)
    chosen, stood = _plan(preset, output, batch, seed, run)

    from accelerate import PartialState

    processes = PartialState(cpu=run.device == "cpu")
    quiet = quiet or not processes.is_main_process
    source = Source(output, data, valid, run.resume, snap_tempo, workers, quiet)
    if processes.is_main_process:
        source.validation()  # the smaller part first: errors appear early
        source.songs()
    processes.wait_for_everyone()  # the others use what the first one made
    source = replace(source, made=True)
    songs, held_out = Dataset.open(source.songs()), source.validation()
    validation = Dataset.open(held_out) if held_out else None
    if validation is None and not quiet:
        say("no validation: there is no valid.npz beside the archives; --valid FILE gives one", err=True)
    try:
        with _Bar(run.share(stood.step, stood.elapsed_s), quiet) as bar:
            ended = train.fit(chosen, songs, validation, output, run, report=bar.show)
    except KeyboardInterrupt:
        if (output / "state").is_dir() and processes.is_main_process:
            say(f"stopped; {output} keeps what was learned, and --resume goes on with it", err=True)
        raise
    if processes.is_main_process:
        _report(ended, output, parts=run.parts)


def _plan(
    preset: str, output: Path, batch: int | None, seed: int | None, run: RunOptions
) -> tuple[train.Preset, Progress]:
    """The preset with the options' changes, and the progress of the run; raises what can be wrong early."""
    from emsync import checkpoint
    from emsync.training import train

    chosen = train.Preset.read(preset)
    train.check_run(output, resume=run.resume)
    if run.initial is not None:
        checkpoint.read_config(run.initial)
    stood = train.how_far(run.initial, go_on=run.go_on, resume=run.resume)
    if run.resume:
        stood, before = train.read_run(output)
        batch = before.train.batch if batch is None else batch
        seed = before.train.seed if seed is None else seed
    changes: dict[str, Any] = {name: value for name, value in (("batch", batch), ("seed", seed)) if value is not None}
    return replace(chosen, train=replace(chosen.train, **changes)), stood


def _report(ended: Progress, output: Path, *, parts: bool) -> None:
    """Say how the run ended, and plot it."""
    drawn = _draw_log(output)
    took = f"{ended.step:,} steps, {ended.tokens / 1e6:.2f} million events, {ended.elapsed_s / 60:.1f} minutes"
    say(f"trained for {took}; at last {ended.loss:.3f} bits per event")
    if ended.valid:
        say(
            "validation: {bits_per_note:.3f} bits per note, {bits_per_event:.3f} an event, "
            "{velocity_bits_per_note:.3f} for a note's velocity".format(**ended.valid)
        )
    if ended.mfu is not None:
        say(f"at last {ended.tokens_per_s:,.0f} events/s, {ended.mfu:.1%} of the device's peak")
    if ended.sample:
        say("sample: " + ", ".join(f"{name} {value:g}" for name, value in ended.sample.items()))
    say(f"wrote {output / 'model'}" + (f", {output / 'parts'}" if parts else "") + drawn)


def _draw_log(run: Path) -> str:
    """Plot the run if matplotlib is installed; returns the words that say so."""
    from emsync.training.train import plot_log

    try:
        plot_log(run, run / "loss.png")
    except ImportError:
        return f"; matplotlib is not installed: {run / 'log.jsonl'} was not drawn"
    return f" and {run / 'loss.png'}"


class _Bar:
    """A progress bar over the share of the run that is done."""

    def __init__(self, done: float, quiet: bool) -> None:
        from tqdm import tqdm

        layout = "{l_bar}{bar}| {elapsed}<{remaining}{postfix}"
        self.bar = tqdm(
            desc="training", total=1.0, initial=min(done, 1.0), bar_format=layout, disable=quiet, file=sys.stderr
        )

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, progress: Progress) -> None:
        """Move the bar to `progress`."""
        words = [f"loss {progress.loss:.3f} bits", f"{progress.tokens_per_s:,.0f} events/s"]
        if progress.mfu is not None:
            words.append(f"{progress.mfu:.0%} of peak")
        if progress.waited > 0.1:
            words.append(f"{progress.waited:.0%} waiting for crops")
        if progress.valid:
            words.append(f"valid {progress.valid['bits_per_note']:.3f} bits/note")
        self.bar.set_postfix_str(", ".join(words), refresh=False)
        self.bar.update(progress.share - self.bar.n)
