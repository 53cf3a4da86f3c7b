"""`emsync analyze`: length, cuts and mood of a video, printed, as JSON, and as a picture."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from emsync.affect import DEFAULT_READER, NO_READER, open_reader
from emsync.cli import options
from emsync.cli.say import say
from emsync.control_files import proposed
from emsync.cutfiles.programme import WRITERS, Programme, writer_for
from emsync.errors import OutputError, printable
from emsync.files import check_writable, write_bytes
from emsync.mood import MoodCurve, nearest_emotion
from emsync.timecode import Counting
from emsync.video import DEFAULT_T_DIFF_S, Detector, Scene, analyze

if TYPE_CHECKING:
    from emsync.film import Stills


@click.command("analyze")
@click.argument("video", type=options.FILE)
@options.output("FILE", "Write everything that was found as .json; or the cuts as .csv, .edl, .otio, .fcpxml or .txt.")
@click.option(
    "--format",
    "name",
    type=click.Choice(list(WRITERS)),
    help="The format of -o, where the ending does not say it: reaper writes REAPER's markers as .csv.",
)
@options.counting
@click.option(
    "--plot",
    type=options.FILE,
    metavar="FILE.png",
    help="Draw stills, cuts, motion, loudness and mood on one time axis.",
)
@options.overwrite
@click.option(
    "--affect",
    "spec",
    metavar="SPEC",
    default=DEFAULT_READER,
    show_default=True,
    help="How the film's mood is found: builtin, clip[:MODEL], vlm:HEAD_FOLDER, emotions:FOLDER, "
    "film:FOLDER, a curve's .csv or .json, or none.",
)
@options.detection
@click.option(
    "--t-diff",
    "t_diff_s",
    type=options.FiniteFloat(min=0),
    metavar="SECONDS",
    default=DEFAULT_T_DIFF_S,
    show_default=True,
    help="Leave out cuts closer than this to the one before; 0 keeps all.",
)
@options.quiet
def command(
    video: Path,
    output: Path | None,
    name: str | None,
    counting: Counting | None,
    start: str | None,
    plot: Path | None,
    overwrite: bool,
    spec: str,
    detector: Detector,
    threshold: float | None,
    t_diff_s: float,
    quiet: bool,
) -> None:
    """Find a video's length, frame rate, cuts and mood.

    Prints a summary. With -o, writes length, cuts, motion, brightness, colour, loudness, mood and proposed controls
    (intensity and density) as JSON, which emsync compose reads by --mood, --cuts and --controls; or the cuts alone, as
    a list for an editing program or a DAW, counted from the beginning of the file. With --plot, draws them. Times are
    in seconds from the first frame.
    """
    for path in (output, plot):
        if path is not None:
            check_writable(path, overwrite=overwrite, inputs=(video,))  # before the work, not after it
    if output is not None and plot is not None and output.resolve() == plot.resolve():
        raise OutputError(f"{output} cannot be both the JSON and the picture; give --plot another name")
    writer = None if output is None else writer_for(output, name)
    reader = None if spec == NO_READER else open_reader(spec)
    stills = None
    if plot is not None:
        from emsync.film import Stills

        stills = Stills()
    scene = _analyze_showing_progress(video, detector, threshold, t_diff_s, quiet, stills)
    curve, controls = None, proposed(scene)
    if reader is not None:
        suggest = getattr(reader, "suggest", None)
        with _bar("Reading the mood", quiet) as show:
            if suggest is None:
                curve = reader.read(video, scene, progress=show)
            else:
                curve, controls = suggest(video, scene, progress=show)
    reader_name = "" if reader is None else reader.name
    if output is not None and writer is WRITERS["json"]:
        mood = None if curve is None else {**curve.as_json(), "reader": reader_name}
        write_bytes(output, scene.to_json(mood=mood, controls=controls.as_json()).encode(), overwrite=overwrite)
    elif output is not None and writer is not None:
        late_s = scene.pictures_from_s if writer.of_file else 0.0
        programme = Programme(
            video.name, (scene.cuts_s + late_s).tolist(), scene.duration_s + late_s,
            counting or Counting(scene.frame_rate), start, media=video,
        )  # fmt: skip
        write_bytes(output, writer.write(programme).encode(), overwrite=overwrite)
    if plot is not None and stills is not None:
        from emsync.plot import save_film

        save_film(scene, curve, stills, plot, reader=reader_name, overwrite=overwrite)
    say(summary(scene))
    if curve is not None:
        say(mood_line(curve, reader_name))
    for path in (output, plot):
        if path is not None:
            say(f"Written: {printable(str(path))}")


@contextlib.contextmanager
def _bar(what: str, quiet: bool) -> Iterator[Callable[[float], None] | None]:
    """A function to call with the share that is done, 0 to 1; None where no progress is shown."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    with tqdm(desc=what, total=1.0, leave=False, bar_format="{desc}: {percentage:.0f} % |{bar}|") as bar:
        yield lambda share: bar.update(share - bar.n)


def _analyze_showing_progress(
    video: Path, detector: Detector, threshold: float | None, t_diff_s: float, quiet: bool, stills: Stills | None
) -> Scene:
    if quiet or not sys.stderr.isatty():
        return analyze(video, detector=detector, threshold=threshold, t_diff_s=t_diff_s, stills=stills)
    from tqdm import tqdm

    with tqdm(desc="Analyzing", unit="s", leave=False, bar_format="{desc}: {n:.0f}/{total_fmt} s |{bar}|") as bar:

        def show(time_s: float, expected_s: float | None) -> None:
            bar.total = max(time_s, expected_s or 0.0)
            bar.update(time_s - bar.n)

        return analyze(video, detector=detector, threshold=threshold, t_diff_s=t_diff_s, progress=show, stills=stills)


def mood_line(curve: MoodCurve, reader: str) -> str:
    """A mood in one line: its mean, and the nearest emotion if both levels are given."""
    valence, arousal = curve.mean
    levels = [f"{name} {level:+.2f}" for name, level in (("valence", valence), ("arousal", arousal)) if level == level]
    nearest = f", nearest {nearest_emotion(valence, arousal)}" if len(levels) == 2 else ""
    return f"Mood ({printable(reader)}): {', '.join(levels) or 'not given'} on average{nearest}."


def summary(scene: Scene) -> str:
    """A scene in a few lines: length, size, rate, sound, warnings, and cuts, numbered if the composer gets them."""
    rate = scene.frame_rate
    shown_rate = f"{float(rate):.3f}".rstrip("0").rstrip(".")
    sound = "with sound" if scene.has_audio else "no sound"
    kept = set(scene.boundaries_s.tolist())
    lines = [
        f"{printable(scene.path)}: {scene.duration_s:.3f} s, {scene.width}x{scene.height}, {shown_rate} frames/s, "
        f"{scene.n_frames} frames, {sound}"
    ]
    if not scene.is_complete:
        lines.append("Warning: the file breaks off or is damaged; this is what could be decoded.")
    lines += [f"Warning: {printable(text)}." for text in scene.warnings]
    if scene.pictures_from_s:
        late = f"{scene.pictures_from_s:.3f} s"
        lines.append(f"The pictures begin {late} into the file; editing programs count from the file's beginning.")
    n = len(scene.cuts_s)
    cuts = "1 cut" if n == 1 else f"{n} cuts"
    lines.append(f"{cuts} found, {len(kept)} at least {scene.t_diff_s:g} s apart:" if n else "No cuts.")
    number = 0
    for cut_s in scene.cuts_s.tolist():
        number += cut_s in kept
        label = f"Cut {number}" if cut_s in kept else "(near)"
        lines.append(f"  {label:<8} {cut_s:9.3f} s  {scene.timecode(cut_s)}")
    if scene.fades_s.size:
        fades = ", ".join(scene.timecode(fade_s) for fade_s in scene.fades_s.tolist())
        lines.append(f"Pictures fade in at {fades} (not counted as cuts).")
    return "\n".join(lines)
