"""`emsync compose`: a video, or a length and a list of cuts, in; an editable MIDI file and its record out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync import hits, palettes
from emsync.cli import options
from emsync.cli.checked import need_all, recipe_for
from emsync.cli.moods import mood_options, mood_source
from emsync.cli.outputs import Outputs
from emsync.cli.producing import Producing, produced
from emsync.cli.progress import StageBar
from emsync.cli.say import say
from emsync.cut_choice import CutChoice
from emsync.errors import InputError, printable
from emsync.keys import Key
from emsync.mood_source import MoodSource
from emsync.recipe import CHOICES, Recipe

if TYPE_CHECKING:
    from emsync.likeness import Likeness
    from emsync.score import KeySignature
    from emsync.soundtrack import Soundtrack

#: What `--from` makes superfluous, by the names that the command passes.
_IN_A_RECORD = (
    *("video", "duration", "cuts", "counting", "start", "add", "drop", "threshold"),
    *("valence", "arousal", "emotion", "mu_max", "draw_emotion", "mood", "affect", "theme", *CHOICES),
)
_FLAGS = {
    "mu_max": "--mu-max",
    "draw_emotion": "--draw-emotion",
    "counting": "--fps",
    "add": "--add-cut",
    "drop": "--drop-cut",
}
#: So many cuts are named that are missed.
_SHOWN = 8
_HOW = {
    "bend": "on the beat, the tempo bending towards them",
    "exact": "exactly, whatever the beat",
    "free": "as the model chose",
}


@click.command()
@click.argument("videos", nargs=-1, type=options.FILE, metavar="[VIDEO]...")
@options.output(
    "SONG.mid", "The MIDI file to write; for several films, the folder. [default: beside the video, or emsync.mid]"
)
@options.duration("Compose without a video, for this long.")
@click.option(
    "--cuts",
    type=options.FILE,
    metavar="FILE",
    help="Cuts instead of the video's: CSV, EDL, OTIO, FCPXML, FCP7 XML, or markers of Premiere, Media Composer, "
    "REAPER, Audacity.",
)
@options.counting
@options.changes
@options.detection
@click.option(
    "--theme",
    type=options.FILE,
    metavar="MELODY.mid",
    help="A melody of up to 16 bars that the first section states and its returns play again.",
)
@options.recipe
@mood_options
@options.model
@click.option(
    "--backend",
    type=click.Choice(["auto", "onnx", "torch"]),
    default="auto",
    show_default=True,
    help="What runs the model.",
)
@click.option(
    "--from",
    "record_path",
    type=options.FILE,
    metavar="SONG.mid.json",
    help="Compose again what this record describes; gives the same bytes.",
)
@click.option(
    "--wav", type=options.FILE, metavar="SOUND", help="Also render to this sound file, as emsync render does."
)
@click.option("--mp4", type=options.FILE, metavar="FILM", help="Also write the film with the music: .mp4, .mkv, .mov.")
@click.option(
    "--produce", "wants_recording", is_flag=True,
    help="Let a music model play the piece, as emsync produce does: SONG.wav, and the sound of --mp4.",
)  # fmt: skip
@click.option(
    "--producer", metavar="PATH|HUB", help="The music model of --produce.  [default: facebook/musicgen-melody]"
)
@produced
@options.stems
@options.pictures
@options.musicxml
@options.sound
@options.ducking
@options.many
@options.overwrite
@options.quiet
@click.pass_context
def command(
    context: click.Context, /, videos: tuple[Path, ...], jobs: int | None, ray: str | None, skip_existing: bool,
    shard: str | None, output: Path | None, model: Path | None, backend: str, record_path: Path | None,
    overwrite: bool, quiet: bool,
    wav: Path | None, mp4: Path | None, wants_recording: bool, producer: str | None, stems: bool,
    plot: Path | None, html: Path | None, musicxml: Path | None,
    soundfont: Path | None, loudness_lufs: float | None, **choices: Any,
) -> None:  # fmt: skip
    """Compose music for VIDEO and write it as MIDI: five named tracks, bars, a marker at every cut, chords on the cuts.

    Several VIDEOs, or folders of them, are scored into the folder -o. A film that fails does not stop the others.
    report.csv and report.json there list the results, and the exit code is 1 if any failed. --wav, --mp4, --plot,
    --html and --musicxml then name folders: each film gets a file of its own name there.

    Without a VIDEO, give --duration, and --cuts if there are any. The mood is read from the video, unless one of
    --valence, --arousal, --emotion and --mood gives it. The record SONG.mid.json is written beside SONG.mid; --from
    composes the same file from it again.
    """
    lying = options.ducking_of(choices)
    _steer_by_anchor(choices, alone=not wants_recording, again=record_path is not None)
    lying["producing"] = Producing.taken(choices, producer, wanted=wants_recording)
    renders = wav is not None or mp4 is not None or (html is not None and soundfont is not None)
    need_all(
        choices, lying["producing"], torch=backend == "torch", renders=renders,
        loudness=renders and loudness_lufs is not None, cluster=ray is not None,
    )  # fmt: skip
    if len(videos) > 1 or any(path.is_dir() for path in videos):
        from emsync.cli.compose_many import compose_many
        from emsync.cli.outputs_many import Folders

        one_film = {"theme": choices.pop("theme"), "duration": choices.pop("duration"), "cuts": choices.pop("cuts")}
        one_film |= {name: choices.pop(name) for name in ("counting", "start", "add", "drop")}
        one_film |= {"record_path": record_path, "producing": lying.pop("producing")}
        also_each = Folders(wav, mp4, plot, html, musicxml, stems, soundfont, loudness_lufs, **lying)
        code = compose_many(
            videos, output, model, backend, overwrite, quiet, jobs, ray, skip_existing, shard, one_film, also_each,
            choices,
        )  # fmt: skip
        context.exit(code)
    film = choices["video"] = videos[0] if videos else None
    also = Outputs(wav, stems, mp4, plot, html, soundfont, loudness_lufs, overwrite, musicxml=musicxml, **lying)
    song = output or (Path("emsync.mid") if film is None else film.with_suffix(".mid"))
    also.check(film, song, (record_path, *(choices[name] for name in ("cuts", "mood", "theme", "controls", "like"))))
    with StageBar(quiet) as progress:
        if record_path is not None:
            track, note, song = _again(record_path, output, model, backend, overwrite, progress, choices)
        else:
            track, note, song = _anew(output, model, backend, overwrite, progress, choices, moved=also.needs_mood)
    track.save(song, overwrite=overwrite)
    report(track, song, note)
    with StageBar(quiet) as progress:
        also.write(track, song, film, progress)


def _steer_by_anchor(choices: dict[str, Any], *, alone: bool, again: bool) -> None:
    """Let an anchor steer the composer too, unless words of --describe do, or a record says it all.

    - alone: whether there is no recording that the anchor is for; then it is refused where it would steer nothing.
    - again: whether a piece is composed again from its record.
    """
    if choices["anchor"] is None:
        return
    from emsync.anchor import Anchor
    from emsync.describe import steering

    anchor = Anchor.read(choices["anchor"])
    if choices["describe"] is None and not again:
        choices["describe"] = steering(anchor.text) or None
    elif alone:
        given = "--from" if again else "--describe"
        raise InputError(f"{given} says already how to compose; leave out --anchor, or give --produce, too")
    if alone and choices["describe"] is None:
        raise InputError(
            f"nothing in the anchor {choices['anchor']} means anything to the composer; name families, a tempo or a "
            "mood, or give --produce, too"
        )


Composed = tuple["Soundtrack", str | None, Path]


def _again(
    path: Path, output: Path | None, model: Path | None, backend: str, overwrite: bool, progress: StageBar,
    choices: dict[str, Any],
) -> Composed:  # fmt: skip
    """Compose what a record describes: the piece, a note on its mood, and where to save it."""
    from emsync import soundtrack
    from emsync.record import Record

    for name in _IN_A_RECORD:
        if choices.get(name) not in (None, ()):
            flag = CHOICES[name].flag if name in CHOICES else _FLAGS.get(name, f"--{name}")
            wrong = "the video" if name == "video" else flag
            raise InputError(f"--from already says what to compose; leave out {wrong}, or --from")
    record = Record.read(path)
    if model is None and record.model_folder is not None:
        model = Path(record.model_folder)
    record.check_model(model)
    default = path.with_suffix("") if path.suffix == ".json" else path.with_suffix(".mid")
    song, _ = soundtrack.places(default if output is None else output, overwrite=overwrite)
    session = soundtrack.Session.open(model, record.backend if backend == "auto" else backend)  # type: ignore[arg-type]
    return soundtrack.again(record, session=session, progress=progress), None, song


def _anew(
    output: Path | None, model: Path | None, backend: str, overwrite: bool, progress: StageBar, choices: dict[str, Any],
    *, moved: bool,
) -> Composed:  # fmt: skip
    """Compose for a video, or for a length and cuts: the piece, a note on its mood, and where to save it.

    moved: whether it must have a mood, for a music model that follows it.

    Everything is checked before the video is watched, which may take a while.
    """
    from emsync import soundtrack
    from emsync.theme import Theme

    references = (choices["controls"], choices["like"])
    recipe = recipe_for(choices, model)
    video, duration, cuts, theme_file = (choices.pop(name) for name in ("video", "duration", "cuts", "theme"))
    changes = {name: choices.pop(name) for name in ("counting", "start", "add", "drop")}
    detection = {name: choices.pop(name) for name in ("detector", "threshold")}
    if (video is None) == (duration is None):
        raise InputError("give either a video or --duration; one of them says how long the music is")
    default = Path("emsync.mid") if video is None else video.with_suffix(".mid")
    read = (video, cuts, choices["mood"], theme_file, *references)
    song, _ = soundtrack.places(default if output is None else output, overwrite=overwrite, inputs=read)
    theme = None if theme_file is None else Theme.read(theme_file)
    knows_mood = soundtrack.knows_mood(model)
    described = MoodSource.described(recipe)
    source = mood_source(**choices, has_video=video is not None, knows_mood=knows_mood, described=described)
    if moved and source.mood is None and source.reader is None:
        raise InputError(
            "--adapter follows a mood, and there is none; give one, such as --emotion joy, or leave --adapter out"
        )
    session = soundtrack.Session.open(model, backend)  # type: ignore[arg-type]
    if video is None:
        track = soundtrack.for_cuts(
            duration, CutChoice(cuts, **changes), recipe, mood=source.mood, theme=theme, session=session,
            progress=progress,
        )  # fmt: skip
    else:
        track = soundtrack.for_video(
            video,
            recipe,
            cuts=CutChoice(cuts, **changes),
            **detection,
            mood=source,
            theme=theme,
            session=session,
            progress=progress,
        )
    return track, source.note, song


def report(track: Soundtrack, song: Path, note: str | None = None) -> None:
    """Print what was written, how the cuts were met, and the mood if there is one."""
    score, scene = track.score, track.scene
    for text in () if scene is None else scene.warnings:
        say(f"Warning: {printable(text)}.", err=True)
    if scene is not None and not scene.is_complete:
        say(
            f"{printable(scene.path)} breaks off or is damaged; composing for the {scene.duration_s:.1f} s "
            "that can be read.",
            err=True,
        )
    playing = [i.name for k, i in enumerate(score.instruments) if (score.instrument == k).any()]
    say(f"Wrote {song} ({len(score)} notes, {len(score.bars)} bars, {', '.join(playing)}) and {song.name}.json.")
    for line in _on_cuts(track):
        say(line)
    closest = hits.closest_s(score)
    n_crowded = hits.crowded(score, track.boundaries_s)
    if n_crowded and track.n_within_frame < len(track.boundaries_s):
        say(
            f"Warning: {n_crowded} cuts come less than {closest:.1f} s after the one before, which is how long a chord "
            f"is held; not every one can have a chord of its own. "
            f"Give --t-diff {math.ceil(closest * 10) / 10:g} or more.",
            err=True,
        )
    if track.sections:
        say("Form: " + ", ".join(f"{s.label} at {s.start_s:.1f} s" for s in track.sections) + ".")
    if track.theme is not None:
        say(_on_theme(track))
    say(_on_sounds(track))
    if track.recipe.like is not None:
        say(_on_likeness(track.recipe.like))
    if track.recipe.style:
        say(_on_style(track.recipe))
    if track.recipe.describe:
        say(printable(track.recipe.described.summary()))
    if track.mood is not None:
        note = track.mood.summary(score.duration_s, track.recipe.mood_strength)
    if note is not None:
        say(note)
    if score.keys:
        say(_on_key(score.keys))
    say(f"Watching took {track.watched_s:.1f} s, composing {track.composed_s:.1f} s.")


def _on_sounds(track: Soundtrack) -> str:
    """The palette, or the programs where they are of no palette."""
    instruments = track.score.instruments
    name = palettes.name_of(tuple(each.program for each in instruments))
    if name is None:
        return "Palette: " + ", ".join(f"{each.name} {each.program}" for each in instruments) + " (programs from 0)."
    return f"Palette: {name}{' (auto)' if track.recipe.palette == palettes.AUTO else ''}."


def _on_likeness(like: Likeness) -> str:
    """What the piece is to be like."""
    figures = f"tempo {like.tempo_qpm:.0f}, {like.density:.1f} notes a second"
    return f"Like {printable(like.name)}: {figures}, {', '.join(like.families)}."


def _on_style(recipe: Recipe) -> str:
    """Which style it is, how much of it, and what that was learned from."""
    from emsync.style import Style

    n = len(Style.read(recipe.style).training.get("pieces", ()))
    return f"Style: {printable(recipe.style)}, at {recipe.style_strength:g} ({n} piece{'s' if n != 1 else ''})."


def _on_key(signatures: tuple[KeySignature, ...]) -> str:
    """The keys that the music was led into, and when."""
    named = [f"{Key(at.tonic, at.is_minor)} from {at.time_s:.1f} s" for at in signatures]
    return "Key: " + ", ".join([named[0].removesuffix(" from 0.0 s"), *named[1:]]) + "."


def _on_theme(track: Soundtrack) -> str:
    """Where the theme is heard."""
    from emsync.theme import find_returns

    assert track.theme is not None
    found = find_returns(track.score, track.theme)
    heard = ", ".join(
        f"{r.time_s:.1f} s"
        + (f" ({r.semitones:+d})" if r.semitones else "")
        + (" in the other mode" if r.in_other_mode else "")
        for r in found
    )
    return f"Theme {printable(track.theme.name)} ({len(track.theme)} notes): " + (heard or "not recognisable") + "."


def _on_cuts(track: Soundtrack) -> list[str]:
    """How many cuts there are, and how many have a chord."""
    total, kept = len(track.cuts_s), len(track.boundaries_s)
    length = f"{track.score.duration_s:.1f} s"
    if not total:
        return [f"{length} without a cut."]
    recipe: Recipe = track.recipe
    near = (
        f", {total - kept} closer than {recipe.t_diff_s:g} s to another or too near an end (marked only)"
        if kept < total
        else ""
    )
    lines = [
        f"{total} cut{'s' if total != 1 else ''} in {length}{near}.",
        f"Chords on cuts: {track.n_within_frame} of {kept} within a frame, {track.n_within_second} within a second; "
        f"{_HOW[recipe.hits]}.",
    ]
    if track.tempo_plan is not None:
        plan, missed_s = track.tempo_plan, track.missed_s.tolist()
        lines.append(
            f"Tempo {plan.mean_qpm:.1f}, bent by {100 * plan.median_bend:.1f} % (median of all bars), "
            f"by {100 * plan.largest_bend:.1f} % at most."
        )
        if missed_s:
            lines.append(
                f"Missed, since the tempo would bend too far (--max-bend {recipe.max_bend:g}): {_times(missed_s)}."
            )
    return lines


def _times(times_s: Sequence[float]) -> str:
    """The first few of some times."""
    shown = ", ".join(f"{time_s:.2f} s" for time_s in times_s[:_SHOWN])
    return shown if len(times_s) <= _SHOWN else f"{shown} and {len(times_s) - _SHOWN} more"
