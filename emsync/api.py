"""One call from a film, or a length and cuts, to a soundtrack.

    import emsync
    emsync.compose("film.mp4", seed=7).save("film.mid")

The keyword arguments are the fields of `Recipe`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from emsync import soundtrack
from emsync.control_curves import ControlCurves
from emsync.cut_choice import Cuts, changed
from emsync.errors import InputError
from emsync.likeness import Likeness
from emsync.mood import MoodCurve, read_curve
from emsync.mood_source import Mood, MoodSource
from emsync.recipe import CHOICES, Recipe
from emsync.session import check_given

if TYPE_CHECKING:
    from emsync.soundtrack import Progress, Session, Soundtrack
    from emsync.takes import Take


class Choices(TypedDict, total=False):
    """The fields of `Recipe`, as keyword arguments; `Recipe` says what each means, its range and its default."""

    seed: int
    instruments: Literal["more", "fewer"]
    temperature: float
    top_p: float
    by_kind: Mapping[str, tuple[float, float]]
    hits: Literal["bend", "exact", "free"]
    t_diff_s: float
    tempo_qpm: float | None
    grid: Literal["triplets", "sixteenths", "free"]
    mood_strength: float
    mode: Literal["auto", "major", "minor", "off"]
    key: str
    mode_strength: float
    progression: Literal["on", "off"]
    moving_chords: bool
    register_bias: float
    register_feedback: bool
    arousal_qpm: float
    valence_qpm: float
    song_tempi: bool
    finish: Literal["on", "off"]
    velocity_temperature: float
    chord_bias: float
    stray_bias: float
    loose_bias: float
    loose_ends: bool
    candidates: int
    copying: float
    longest_copy_bars: int
    stale_bias: float
    repeat_bias: float
    tempo_plan: Literal["on", "off"]
    max_bend: float
    metre_changes: bool
    form: str
    theme_strength: float
    phrase_strength: float
    palette: str
    density_limit: float
    density_floor: float
    mood_feedback: float
    feedback_reach: bool
    opening_key: float
    relative_chords: bool
    mode_feedback: float
    settled_key: float
    clear_chords: float
    balance: float
    pace: float
    left_out: float
    alone_bias: float
    monotony_bias: float
    texture: float
    profiles: float
    expression: float
    count_in: bool
    compass: bool
    full_chords: float
    heard_thirds: float
    final_tonic: float
    late_accents: bool
    controls: ControlCurves | None
    intensity: str
    intensity_by: Literal["notes", "velocity"]
    density: str
    style: str
    style_strength: float
    style_manner: Literal["on", "off"]
    like: Likeness | None
    keeps_shares: bool
    describe: str
    control_strength: float
    lane_strength: float
    intensity_lane: bool
    key_lane: bool
    key_feedback: bool


def compose(
    video: str | os.PathLike[str] | None = None,
    *,
    duration_s: float | None = None,
    cuts: Cuts | None = None,
    add_cuts: Iterable[float | str] = (),
    drop_cuts: Iterable[float | str] = (),
    mood: str | os.PathLike[str] | MoodCurve | MoodSource | None = None,
    emotion: str | None = None,
    session: Session | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Soundtrack:
    """Compose for a video, or for a length and a list of cuts.

    Args:
        video: The film. Its length, cuts and mood are found in it.
        duration_s: Instead of a video: the length, from 1 s to three hours.
        cuts: A cut list (a file, or times in seconds) to use instead of the cuts found in the video. A cut may be a
            pair that says whether it "must" have a chord, however close to others, or only "may" where there is room:
            `[4.2, (5.5, "must"), (9.0, "may")]`.
        add_cuts: Cuts to add, which must have a chord: seconds, or texts such as "1:02.5".
        drop_cuts: Cuts to leave out, to a quarter of a second.
        mood: A mood curve, or a CSV or JSON file of one. By default the film's own mood is read, if the model knows
            mood; `MoodSource()` composes without one.
        emotion: Instead of `mood`: "anger", "disgust", "fear", "joy", "sadness" or "surprise", throughout.
        session: The loaded model; by default the embedded one is loaded. Pass one to compose for many films.
        progress: Called with the stage ("watching", "mood", "composing") and the share of it that is done, 0 to 1.
        **choices: The fields of `Recipe`, such as seed=7, tempo_qpm=96 or hits="exact".

    Raises:
        VideoError: The video cannot be decoded.
        InputError: Neither or both of `video` and `duration_s` are given; cuts, mood or a choice cannot be used.
        ModelError: The model cannot be used, or knows no mood and one was given.
        TypeError: There is no choice of that name.

    Examples:
        >>> import emsync
        >>> track = emsync.compose("film.mp4", seed=7)
        >>> song, record = track.save("film.mid")  # the record is enough to compose the same bytes again
        >>> picture = track.plot("film.png")
        >>> # as sound, and under the film (needs the extra `audio`)
        >>> track.render("film.wav").duration_s
        5.0
        >>> film = track.mux("film.mp4", "scored.mp4")
        >>> # for other libraries (the extras `interop` and `theory`), and as the model's events
        >>> playing = {track.score.instruments[i].name for i in track.score.instrument}
        >>> {each.name for each in track.to_pretty_midi().instruments} == playing
        True
        >>> len(track.to_mido().tracks)
        6
        >>> track.to_symusic().note_num() == len(track.score)
        True
        >>> len(track.to_music21().parts) == len(playing)
        True
        >>> ids, velocities = track.tokens().ids, track.tokens().velocities
        >>> emsync.tokenizer.events.decode(ids, velocities).instruments[0].name
        'Drums'
        >>> # without a film
        >>> emsync.compose(duration_s=6, cuts=[2.5], tempo_qpm=100, emotion="joy").cuts_s
        array([2.5])
        >>> emsync.compose(duration_s=8, cuts=[2.5, (4.5, "must")], add_cuts=[6.5], drop_cuts=[2.5]).boundaries_s
        array([4.5, 6.5])

    """
    _check_names("compose", choices)
    if (video is None) == (duration_s is None):
        raise InputError("give either a video or duration_s; one of them says how long the music is")
    if mood is not None and emotion is not None:
        raise InputError("mood and emotion each say what the mood is; give one of them")
    source = _source(mood) if emotion is None else MoodSource.given(MoodCurve.of_emotion(emotion), emotion, emotion)
    recipe, cuts = _recipe(choices, session, source), changed(cuts, add_cuts, drop_cuts)
    if video is not None:
        return soundtrack.for_video(video, recipe, cuts=cuts, mood=source, session=session, progress=progress)
    assert duration_s is not None
    said = MoodSource.described(recipe) if source is None else source
    return soundtrack.for_cuts(
        duration_s, () if cuts is None else cuts, recipe,
        mood=None if said is None else said.mood, session=session, progress=progress,
    )  # fmt: skip


def _recipe(choices: Choices, session: Session | None, source: MoodSource | None) -> Recipe:
    """The recipe of these choices. Raises `InputError` for one that would change nothing."""
    recipe, suggests = Recipe(**choices), source is not None and hasattr(source.reader, "suggest")
    check_given(choices, recipe, None if session is None else session.model.get("folder"), suggests=suggests)
    return recipe


def _check_names(name: str, choices: Mapping[str, object]) -> None:
    unknown = [choice for choice in choices if choice not in CHOICES]
    if unknown:
        raise TypeError(f"{name}() has no choice {unknown[0]!r}; the choices are {', '.join(CHOICES)}")


def revise(
    song: str | os.PathLike[str],
    *,
    bars: tuple[int, int] | None = None,
    from_s: float | None = None,
    to_s: float | None = None,
    tracks: Sequence[str] = (),
    cuts: Cuts | None = None,
    mood: str | os.PathLike[str] | MoodCurve | None = None,
    emotion: str | None = None,
    tries: int = 4,
    session: Session | None = None,
    progress: Callable[[float], None] | None = None,
    **choices: Unpack[Choices],
) -> Take:
    """Recompose a part of a MIDI file, and leave everything else in it unchanged.

    Args:
        song: The MIDI file. Its record, SONG.mid.json, says what it is composed for, if there is one; else its markers.
        bars: The first and the last bar of the part, counted from 1.
        from_s: Instead of bars: where the part begins, in seconds. By default the beginning.
        to_s: And where it ends. By default the end.
        tracks: Names of tracks or families, such as ["strings"]; by default all that play.
        cuts: A cut list (a file, or times in seconds) to use instead.
        mood: A mood curve, or a file of one, to use instead.
        emotion: Instead of `mood`, as for `compose`.
        tries: How many continuations are composed; the one counts that leads best to what follows.
        session: The loaded model; by default the record's, or the embedded one.
        progress: Called with the share that is done, 0 to 1.
        **choices: Fields of `Recipe` that differ from the record's. Those of tempo and instruments do not apply.

    Raises:
        MidiError: The song cannot be read.
        InputError: The part, a track, the cuts, the mood or a choice cannot be used.
        ModelError: The model cannot be used, or knows no mood and one was given.

    For example, `emsync.revise("film.mid", bars=(9, 12), tracks=["piano"], seed=3).save("film-2.mid")`.

    """
    from emsync import takes

    _check_names("revise", choices)
    if (bars is None) == (from_s is None and to_s is None):
        raise InputError("give the part to revise: either bars, or from_s and to_s")
    part = takes.Bars(*bars) if bars is not None else takes.Times(from_s or 0.0, to_s)
    return takes.revise(
        song, part, tracks=tracks, cuts=cuts, mood=_given_mood(mood, emotion), tries=tries, session=session,
        choices=choices, progress=progress,
    )  # fmt: skip


def arrange(
    melody: str | os.PathLike[str],
    *,
    add: Sequence[str] = (),
    cuts: Cuts | None = None,
    mood: str | os.PathLike[str] | MoodCurve | None = None,
    emotion: str | None = None,
    session: Session | None = None,
    progress: Callable[[float], None] | None = None,
    **choices: Unpack[Choices],
) -> Take:
    """Add tracks to a MIDI file, such as drums and bass to a melody. The tracks it has stay as they are.

    add: the families to add, such as ["drums", "bass"]; by default those that the file lacks. The other arguments, and
    the errors, are those of `revise`.

    For example, `emsync.arrange("melody.mid", add=["bass", "drums"], emotion="joy").save("song.mid")`.

    """
    from emsync import takes

    _check_names("arrange", choices)
    return takes.arrange(
        melody, add=add, cuts=cuts, mood=_given_mood(mood, emotion), session=session,
        choices=choices, progress=progress,
    )  # fmt: skip


def _given_mood(mood: str | os.PathLike[str] | MoodCurve | None, emotion: str | None) -> Mood | None:
    if mood is not None and emotion is not None:
        raise InputError("mood and emotion each say what the mood is; give one of them")
    if emotion is not None:
        return Mood(MoodCurve.of_emotion(emotion), emotion, emotion)
    source = _source(mood)
    return None if source is None else source.mood


def _source(mood: str | os.PathLike[str] | MoodCurve | MoodSource | None) -> MoodSource | None:
    """The mood as `for_video` takes it; None leaves the choice to it."""
    if mood is None or isinstance(mood, MoodSource):
        return mood
    if isinstance(mood, MoodCurve):
        return MoodSource.given(mood)
    return MoodSource.given(read_curve(mood), os.path.basename(os.fspath(mood)), f"from {os.fspath(mood)}")
