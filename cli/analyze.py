"""`emsync analyze`: what a video is to the composer, in a few lines, and as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from emsync.cli import options
from emsync.files import check_writable, write_bytes
from emsync.video import DEFAULT_DETECTOR, DEFAULT_T_DIFF_S, DETECTORS, Detector, Scene, analyze


@click.command("analyze")
@click.argument("video", type=options.FILE)
@options.output("SCENE.json", "Write everything that was found to this file.")
@options.overwrite
@click.option(
    "--detector",
    type=click.Choice(list(DETECTORS)),
    default=DEFAULT_DETECTOR,
    show_default=True,
    help="How cuts are found: local-ratio (our own), ffmpeg's scene filter, or PySceneDetect's content and adaptive.",
)
@click.option(
    "--threshold",
    type=options.FiniteFloat(min=0, min_open=True),
    metavar="T",
    help="The detector's sensitivity, lower finds more. Default: "
    + ", ".join(f"{default:g} for {name}" for name, (default, _) in DETECTORS.items())
    + ".",
)
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
    overwrite: bool,
    detector: Detector,
    threshold: float | None,
    t_diff_s: float,
    quiet: bool,
) -> None:
    """Find a video's length, frame rate and cuts.

    Prints a summary; with -o, writes durations, cuts, motion, brightness, colour and loudness as JSON. Times are in
    seconds from the first picture.
    """
    if output is not None:
        check_writable(output, overwrite=overwrite)  # before the work, not after it
    scene = _analyze_showing_progress(video, detector, threshold, t_diff_s, quiet)
    if output is not None:
        write_bytes(output, scene.to_json().encode(), overwrite=overwrite)
    click.echo(summary(scene))
    if output is not None:
        click.echo(f"Written: {output}")


def _analyze_showing_progress(
    video: Path, detector: Detector, threshold: float | None, t_diff_s: float, quiet: bool
) -> Scene:
    if quiet or not sys.stderr.isatty():
        return analyze(video, detector=detector, threshold=threshold, t_diff_s=t_diff_s)
    from tqdm import tqdm

    with tqdm(desc="Watching", unit="s", leave=False, bar_format="{desc}: {n:.0f}/{total_fmt} s |{bar}|") as bar:

        def show(time_s: float, expected_s: float | None) -> None:
            bar.total = max(time_s, expected_s or 0.0)
            bar.update(time_s - bar.n)

        return analyze(video, detector=detector, threshold=threshold, t_diff_s=t_diff_s, progress=show)


def summary(scene: Scene) -> str:
    """A scene in a few lines: length, size, rate, sound, and the cuts, numbered where the composer is given them."""
    rate = scene.frame_rate
    shown_rate = f"{float(rate):.3f}".rstrip("0").rstrip(".")
    sound = "with sound" if scene.has_audio else "no sound"
    kept = set(scene.boundaries_s.tolist())
    lines = [
        f"{scene.path}: {scene.duration_s:.3f} s, {scene.width}x{scene.height}, {shown_rate} frames/s, "
        f"{scene.n_frames} frames, {sound}"
    ]
    if not scene.is_complete:
        lines.append("Warning: the file breaks off or is damaged; this is what could be decoded.")
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
