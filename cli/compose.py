"""emsync compose: a video, or a length and a list of cuts, in; an editable MIDI file and its record out."""

from __future__ import annotations

import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from emsync.cli import options
from emsync.cli.moods import Felt, mood_options, wished
from emsync.errors import InputError
from emsync.soundtrack import DEFAULT_BY_KIND, Settings

if TYPE_CHECKING:
    from emsync.soundtrack import Soundtrack
    from emsync.video import Scene


@click.command()
@click.argument("video", type=options.FILE, required=False)
@options.output("SONG.mid", "Where to write the MIDI file. [default: beside the video, or emsync.mid]")
@options.duration("Compose without a video, for this long.")
@click.option(
    "--cuts", type=options.FILE, metavar="FILE.csv", help="Cut times, one a line, instead of those found in the video."
)
@options.seed
@click.option(
    "--instruments",
    type=click.Choice(["more", "fewer"]),
    default="more",
    show_default=True,
    help="Three or more families of instruments, or at most two.",
)
@click.option(
    "--temperature",
    type=options.FiniteFloat(min=0, min_open=True, max=10),
    metavar="T",
    help=f"Above 1 bolder, below 1 safer.  [default: {Settings.temperature:g}]",
)
@click.option(
    "--top-p",
    type=options.FiniteFloat(min=0, min_open=True, max=1),
    metavar="P",
    help=f"Choose among the likeliest events that make up this share.  [default: {Settings.top_p:g}]",
)
@click.option(
    "--sampling",
    "by_kind",
    metavar="KIND=T,P",
    multiple=True,
    help="Temperature and top-p of one kind of event, such as TIMESHIFT=0.9,0.9; may be repeated.  "
    f"[default: {', '.join(f'{kind}={t:g},{p:g}' for kind, (t, p) in DEFAULT_BY_KIND.items())}, "
    "unless --temperature or --top-p is given]",
)
@click.option(
    "--hits",
    type=click.Choice(["bend", "exact", "free"]),
    default="bend",
    show_default=True,
    help="How chords meet cuts: on the beat with the tempo bending, exactly whatever the beat, or as the model likes.",
)
@click.option(
    "--tempo",
    type=options.FiniteFloat(min=45, max=240),
    metavar="QPM",
    help="Quarter notes a minute, before it bends towards the cuts.  [default: drawn with the seed]",
)
@click.option(
    "--grid",
    type=click.Choice(["triplets", "sixteenths", "free"]),
    default="triplets",
    show_default=True,
    help="Keep to the sixteenths of each bar and their triplets, to sixteenths alone, or leave rhythm and, without "
    "--tempo, tempo to the model.",
)
@click.option(
    "--finish",
    type=click.Choice(["on", "off"]),
    default="on",
    show_default=True,
    help="A closing chord, accents on cuts, loudness that follows arousal, no drones; or the model's music as it is.",
)
@click.option(
    "--t-diff",
    type=options.FiniteFloat(min=0, max=3600),
    metavar="SECONDS",
    default=4.0,
    show_default=True,
    help="Cuts closer than this to the one before get a marker but no chord.",
)
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
    help="Compose again what this record tells of; the same bytes.",
)
@options.overwrite
@options.quiet
def command(
    video: Path | None, output: Path | None, duration: float | None, cuts: Path | None, seed: int, instruments: str,
    temperature: float | None, top_p: float | None, by_kind: tuple[str, ...], hits: str, t_diff: float,
    tempo: float | None, grid: str, finish: str,
    valence: float | None, arousal: float | None, emotion: str | None, mood: Path | None, affect: str | None,
    mood_strength: float,
    model: Path | None, backend: str, record_path: Path | None, overwrite: bool, quiet: bool,
) -> None:  # fmt: skip
    """Compose music for VIDEO and write it as MIDI: five named tracks, bars, a marker at every cut, chords on the cuts.

    Without a VIDEO, give --duration, and --cuts if there are any. The mood is read from the video, unless one of
    --valence, --arousal, --emotion and --mood gives it. Beside SONG.mid lies SONG.mid.json, from which --from writes
    the same file again.
    """
    from emsync import checkpoint, soundtrack
    from emsync.decoder import open_decoder
    from emsync.files import check_writable

    begun = time.monotonic()
    if record_path is not None:
        _alone(
            video=video, duration=duration, cuts=cuts, valence=valence, arousal=arousal, emotion=emotion, mood=mood,
            affect=affect,
        )  # fmt: skip
        record = soundtrack.Record.read(record_path)
        settings, duration_s, frame_rate, cuts_s = record.settings, record.duration_s, record.frame_rate, record.cuts_s
        name, default = record.video, _song_of(record_path)
        model = model if model is not None or record.model_folder is None else Path(record.model_folder)
        backend = record.backend if backend == "auto" else backend
        record.check_model(model)
    else:
        if (video is None) == (duration is None):
            raise InputError("give either a video or --duration; one of them says how long the music is")
        general = {"temperature": temperature, "top_p": top_p}
        given = {name: value for name, value in general.items() if value is not None}
        choices: dict[str, Any] = {
            **given,
            "instruments": instruments,
            "hits": hits,
            "grid": grid,
            "finish": finish,
        }  # click has checked them
        settings = Settings(
            seed,
            by_kind=({} if given else dict(DEFAULT_BY_KIND)) | _kinds(by_kind),
            t_diff_s=t_diff,
            tempo_qpm=tempo,
            mood_strength=mood_strength,
            **choices,
        )
        default = Path("emsync.mid") if video is None else video.with_suffix(".mid")
    song = default if output is None else output
    for place in (song, song.with_name(song.name + ".json")):
        check_writable(place, overwrite=overwrite)
    config = checkpoint.read_config(checkpoint.embedded_folder() if model is None else model)
    felt: Felt | None = None
    note: str | None = None
    if record_path is None:
        # What is wrong with the wish is said before the video is watched, which may take a while.
        wish = wished(
            valence, arousal, emotion, mood, affect, has_video=video is not None,
            knows_mood=bool(config["model"].get("knows_mood")),
        )  # fmt: skip
        duration_s, frame_rate, cuts_s, name, scene = _watch(video, duration, cuts, quiet)
        with _bar("Reading the mood", quiet or wish.reader is None) as advance:
            felt = wish.read(video, scene, advance)
        note = wish.note
    elif record.mood is not None:
        felt = Felt(record.mood, record.mood_source or "", f"from {record_path} ({record.mood_source})")
    watched = time.monotonic()
    decoder = open_decoder(model, backend=backend)  # type: ignore[arg-type]
    with _bar("Composing", quiet) as advance:
        curve = None if felt is None else felt.curve
        track = soundtrack.compose(
            decoder, duration_s, cuts_s, settings, mood=curve, frame_rate=frame_rate, progress=advance
        )
    made = soundtrack.make_record(
        track, settings, model=soundtrack.model_record(model), backend=decoder.backend, duration_s=duration_s,
        frame_rate=frame_rate, video=name, mood_source=None if felt is None else felt.source,
    )  # fmt: skip
    written = soundtrack.write(track, made, song, overwrite=overwrite)
    if felt is not None:
        note = felt.told(duration_s, settings.mood_strength)
    _tell(track, settings, written, note, watched - begun, time.monotonic() - watched)


def _watch(
    video: Path | None, duration: float | None, cuts: Path | None, quiet: bool
) -> tuple[float, Fraction, Any, str | None, Scene | None]:
    """Duration, frame rate, cuts, name and scene: of the video, with the cuts of the list if there is one."""
    from emsync import cutlist, soundtrack

    if video is None:
        assert duration is not None
        listed = () if cuts is None else cutlist.read_csv(cuts, duration_s=duration)
        return duration, soundtrack.DEFAULT_FRAME_RATE, listed, None, None
    from emsync.video import analyze

    with _bar("Watching", quiet) as advance:
        scene = analyze(video, progress=lambda done, total: advance(done / total if total else 0.0))
    if not scene.is_complete:
        click.echo(
            f"{video} breaks off or is damaged; composing for the {scene.duration_s:.1f} s that can be read.", err=True
        )
    found = scene.cuts_s if cuts is None else cutlist.read_csv(cuts, duration_s=scene.duration_s)
    return scene.duration_s, scene.frame_rate, found, video.name, scene


def _alone(**others: object) -> None:
    for name, value in others.items():
        if value is not None:
            raise InputError(
                f"--from tells everything; leave out {'the video' if name == 'video' else '--' + name}, or --from"
            )


def _song_of(record: Path) -> Path:
    return record.with_suffix("") if record.suffix == ".json" else record.with_suffix(".mid")


def _kinds(pairs: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    out = {}
    for text in pairs:
        kind, _, numbers = text.partition("=")
        try:
            temperature, top_p = (float(x) for x in numbers.split(","))
        except ValueError:
            raise InputError(
                f"--sampling {text!r} is not KIND=TEMPERATURE,TOP_P; write for example TIMESHIFT=0.9,0.9"
            ) from None
        out[kind.upper()] = (temperature, top_p)
    return out


class _bar:
    """A progress bar from 0 to 1 on standard error, or nothing."""

    def __init__(self, title: str, quiet: bool) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=100,
            desc=title,
            leave=False,
            disable=True if quiet else None,
            bar_format="{desc} {percentage:3.0f} % |{bar}| {elapsed}",
        )

    def __enter__(self) -> Any:
        return self.advance

    def advance(self, share: float) -> None:
        self._bar.update(max(0.0, min(100.0 * share, 100.0) - self._bar.n))

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _tell(
    track: Soundtrack, settings: Settings, written: tuple[Path, Path], mood: str | None, watched_s: float,
    composed_s: float,
) -> None:  # fmt: skip
    """What was written, how the cuts were met, and a line on the mood if there is one."""
    score = track.score
    playing = [i.name for k, i in enumerate(score.instruments) if (score.instrument == k).any()]
    click.echo(
        f"Wrote {written[0]} ({len(score)} notes, {len(score.bars)} bars, {', '.join(playing)}) and {written[1].name}."
    )
    total, kept = len(track.cuts_s), len(track.boundaries_s)
    if not total:
        click.echo(f"{score.duration_s:.1f} s without a cut.")
    else:
        near = (
            f", {total - kept} closer than {settings.t_diff_s:g} s to another or too near an end (marked only)"
            if kept < total
            else ""
        )
        click.echo(f"{total} cut{'s' if total != 1 else ''} in {score.duration_s:.1f} s{near}.")
        how = {
            "bend": "on the beat, the tempo bending towards them",
            "exact": "exactly, whatever the beat",
            "free": "as the model chose",
        }[settings.hits]
        click.echo(
            f"Chords on cuts: {track.n_within_frame} of {kept} within a frame, "
            f"{track.n_within_second} within a second; {how}."
        )
    if mood is not None:
        click.echo(mood)
    click.echo(f"Watching took {watched_s:.1f} s, composing {composed_s:.1f} s.")
