"""The whole way: from a video, or a length and a list of cuts, to a score, a MIDI file and a record.

    session = Session.open()            # loads the model once
    for film in films:
        for_video(film, Recipe(seed=7), session=session, output=film.with_suffix(".mid"))

`for_video` watches the film, reads its mood, composes, and writes the MIDI file and its record; without `output`, use
`Soundtrack.save`. `compose` is the middle of it: a decoder, a length, cuts and a mood in, a `Soundtrack` out.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from emsync import cutlist, interop, palettes, record
from emsync.cut_choice import Cuts, listed
from emsync.cutfiles.cut import Weight
from emsync.cutlist import CutList
from emsync.errors import InputError
from emsync.expression import loudness
from emsync.files import atomic_paths
from emsync.finish import finish
from emsync.form import Section
from emsync.hits import Hit, closest_s, crowded, measure
from emsync.mood import MoodCurve
from emsync.mood_source import Mood, MoodSource, conditions_of, curves_of, means_of, with_suggested
from emsync.recipe import LONGEST_S, SHORTEST_S, Recipe
from emsync.record import places as places
from emsync.score import Marker, Score
from emsync.session import Backend as Backend
from emsync.session import Session as Session
from emsync.session import knows_mood as knows_mood
from emsync.steering import obey_intensity
from emsync.tempo_plan import TempoPlan, plan_for
from emsync.theme import given_theme
from emsync.tokenizer.families import instruments_of
from emsync.video import DEFAULT_DETECTOR, Detector, spaced, timecode

if TYPE_CHECKING:
    import mido
    import music21
    import pretty_midi
    from symusic.core import ScoreTick

    from emsync.audio import Rendering
    from emsync.decoder import Decoder
    from emsync.piece import Piece
    from emsync.record import Record
    from emsync.theme import Theme
    from emsync.tokenizer.events import Events
    from emsync.video import Scene

FloatArray = npt.NDArray[np.float64]
#: Called with what is being done ("watching", "mood", "composing") and the share of it that is done.
Progress = Callable[[str, float], None]
_SILENT: Final[Progress] = lambda stage, share: None  # noqa: E731

#: Timecodes of markers where no video gives a frame rate.
DEFAULT_FRAME_RATE: Final = Fraction(25)


@dataclass(frozen=True, eq=False)
class Soundtrack:
    """A composed piece.

    Attributes:
        score: The notes, bars and tempo; every cut is a marker.
        cuts_s: (C,) all cuts, in seconds.
        boundaries_s: (B,) the cuts that a chord was asked for: those at least `Recipe.t_diff_s` apart.
        weights: (C,) which cuts must have a chord and which may, if any says so.
        hits: What became of each boundary.
        sections: The form; empty for a piece without one. Every section is a marker on the bar line nearest to it.
        theme: The melody that was given, if there was one.
        n_events: How many events the piece consists of.
        recipe: How it was composed.
        mood: The mood it was conditioned on, and where that came from.
        frame_rate: Frames a second, for timecodes.
        video: The film's file name, if there was a film.
        scene: What is known about the film.
        session: The model it was composed with; needed to save.
        watched_s, composed_s: How long watching and composing took, in seconds.
        tempo_plan: The tempo that was planned for the film, if it was.

    """

    score: Score
    cuts_s: FloatArray
    boundaries_s: FloatArray
    hits: tuple[Hit, ...]
    n_events: int
    recipe: Recipe
    mood: Mood | None = None
    frame_rate: Fraction = DEFAULT_FRAME_RATE
    weights: tuple[Weight, ...] = ()
    sections: tuple[Section, ...] = ()
    theme: Theme | None = None
    video: str | None = None
    scene: Scene | None = None
    session: Session | None = None
    watched_s: float = 0.0
    composed_s: float = 0.0
    tempo_plan: TempoPlan | None = None

    @property
    def missed_s(self) -> FloatArray:
        """(M,) The boundaries that the planned tempo cannot meet, in seconds."""
        return self.boundaries_s[:0] if self.tempo_plan is None else self.boundaries_s[~self.tempo_plan.met]

    @property
    def n_within_frame(self) -> int:
        """How many boundaries have a chord within a frame."""
        return sum(hit.within_frame for hit in self.hits)

    @property
    def n_within_second(self) -> int:
        """How many boundaries have a chord within a second."""
        return sum(hit.chord_s is not None for hit in self.hits)

    def record(self) -> dict[str, Any]:
        """The record as plain values (`record.Record` reads it back)."""
        if self.session is None:
            raise InputError("this piece does not say which model composed it; compose it with a session to save it")
        found = {
            "cuts_s": self.cuts_s.tolist(), "boundaries_s": self.boundaries_s.tolist(),
            "hits": [{"cut_s": h.cut_s, "chord_s": h.chord_s} for h in self.hits],
            "missed_s": self.missed_s.tolist(), "met": self.n_within_frame,
            "closest_s": round(closest_s(self.score), 3), "crowded": crowded(self.score, self.boundaries_s),
            "form": [{"label": str(s.label), "start_s": s.start_s} for s in self.sections],
            "notes": len(self.score), "events": self.n_events, "programs": [i.program for i in self.score.instruments],
        }  # fmt: skip
        if any(self.weights):
            found["weights"] = list(self.weights)
        return record.to_dict(
            recipe=self.recipe, model=self.session.model, backend=self.session.decoder.backend, video=self.video,
            duration_s=self.score.duration_s, frame_rate=self.frame_rate,
            mood=None if self.mood is None else self.mood.curve,
            mood_source=None if self.mood is None else self.mood.source,
            theme=None if self.theme is None else self.theme.to_dict(), found=found,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write SONG.mid and, beside it, SONG.mid.json: both, or neither.

        Returns the two paths. Raises `OutputError` for a place that cannot be written, or that holds something
        already and `overwrite` is False.
        """
        from emsync import midi

        song, beside = places(path, overwrite=overwrite)
        made, data = self.record(), midi.to_bytes(self.score)
        with atomic_paths((song, beside), overwrite=overwrite) as (new_song, new_record):
            new_song.write_bytes(data)
            new_record.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        return song, beside

    def render(self, path: str | os.PathLike[str], **options: Any) -> Rendering:
        """Render the piece to a sound file, exactly as long as the film; `options` are those of `audio.render`."""
        from emsync import audio, midi

        with tempfile.TemporaryDirectory() as folder:
            song = Path(folder) / "song.mid"
            midi.write(self.score, song)
            return audio.render(song, path, **{"duration_s": self.score.duration_s, **options})

    def mux(
        self, video: str | os.PathLike[str], path: str | os.PathLike[str], *, overwrite: bool = False, **options: Any
    ) -> Path:
        """Write the film with the piece as its sound, or under it; `options` are those of `render` and `mux.mux`."""
        from emsync.mux import mux

        lying = {name: options.pop(name) for name in ("under", "music_db", "tell") if name in options}
        with tempfile.TemporaryDirectory() as folder:
            return mux(video, self.render(Path(folder) / "a.wav", **options).path, path, overwrite=overwrite, **lying)

    def piece(self, title: str = "") -> Piece:
        """The piece as pictures and pages show it. By default it is called by its film's name."""
        from emsync.piece import Piece

        felt = self.mood
        return Piece.of(
            self.score, title=title or self.video or "", cuts_s=self.cuts_s, t_diff_s=self.recipe.t_diff_s,
            mood=None if felt is None else felt.curve, mood_source="" if felt is None else felt.source,
            frame_rate=self.frame_rate, video=self.video,
        )  # fmt: skip

    def plot(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Draw the piece as PNG or SVG, by the ending of `path` (see `plot_piece.save_piece`), and return the path."""
        from emsync.plot_piece import save_piece

        save_piece(self.piece(), path, overwrite=overwrite)
        return Path(path)

    def tokens(self) -> Events:
        """The notes as the model's events: ids (T,) and velocities (T,), on the 8 ms grid (`events.encode`)."""
        from emsync.tokenizer.events import encode

        return encode(self.score)

    def to_mido(self) -> mido.MidiFile:
        """The piece for mido (see `interop.to_mido`)."""
        return interop.to_mido(self.score)

    def to_pretty_midi(self) -> pretty_midi.PrettyMIDI:
        """The piece for pretty_midi (see `interop.to_pretty_midi`)."""
        return interop.to_pretty_midi(self.score)

    def to_symusic(self) -> ScoreTick:
        """The piece for symusic (see `interop.to_symusic`)."""
        return interop.to_symusic(self.score)

    def to_music21(self, *, quantize: bool = False) -> music21.stream.Score:
        """The piece for music21; `quantize` moves notes to readable notation (see `interop.to_music21`)."""
        return interop.to_music21(self.score, quantize=quantize)


def for_video(
    video: str | os.PathLike[str],
    recipe: Recipe | None = None,
    *,
    cuts: Cuts | None = None,
    detector: Detector = DEFAULT_DETECTOR,
    threshold: float | None = None,
    mood: MoodSource | None = None,
    theme: str | os.PathLike[str] | Theme | None = None,
    session: Session | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Soundtrack:
    """Watch a video, read its mood, compose for it, and write the piece if `output` is given.

    Args:
        video: The file.
        recipe: The composing choices.
        cuts: A cut list (a file, or times in seconds) to use instead of the cuts found in the video, or what to change
            about those.
        detector: How cuts are found; see `video.analyze`.
        threshold: Its sensitivity.
        mood: Where the mood comes from. By default the built-in reader reads it from the video, unless the model was
            trained without mood.
        theme: A melody (a MIDI file, or a `Theme`) that the first section states and its returns play again.
        session: The model; by default the embedded one is loaded.
        output: The MIDI file; its record is written beside it. Both places are checked before the video is watched.
        overwrite: Replace files that exist already.
        progress: See `Progress`.

    Raises:
        VideoError: The video cannot be decoded.
        InputError: The cuts or the mood cannot be used.
        ModelError: The model cannot be used, or knows no mood and one was given.
        OutputError: The output cannot be written.

    """
    from emsync.video import analyze

    if output is not None:
        places(output, overwrite=overwrite, inputs=(video, cuts if isinstance(cuts, str | os.PathLike) else None))
    theme = given_theme(theme)
    session = Session.ready(session, recipe)
    if mood is None:
        mood = MoodSource.default(recipe, session.decoder.knows_mood)
    path, tell, begun = Path(video), progress or _SILENT, time.monotonic()
    scene = analyze(
        path, detector=detector, threshold=threshold,
        progress=lambda done, total: tell("watching", done / total if total else 0.0),
    )  # fmt: skip
    found = listed(scene.cuts_s if cuts is None else cuts, scene.duration_s, scene)
    felt = mood.read(path, scene, lambda share: tell("mood", share))
    watched_s = time.monotonic() - begun
    track = for_cuts(
        scene.duration_s, found, with_suggested(recipe, felt), mood=felt, theme=theme, session=session,
        frame_rate=scene.frame_rate, progress=progress,
    )  # fmt: skip
    track = replace(track, video=path.name, scene=scene, watched_s=watched_s)
    if output is not None:
        track.save(output, overwrite=overwrite)
    return track


def for_cuts(
    duration_s: float,
    cuts: Cuts = (),
    recipe: Recipe | None = None,
    *,
    mood: Mood | MoodCurve | None = None,
    theme: str | os.PathLike[str] | Theme | None = None,
    session: Session | None = None,
    frame_rate: Fraction | None = None,
    progress: Progress | None = None,
) -> Soundtrack:
    """Compose without a video: for `duration_s` seconds and a cut list. The arguments are those of `for_video`.

    frame_rate: Frames a second; by default the list's own, or else `DEFAULT_FRAME_RATE`.
    """
    theme = given_theme(theme)
    session = Session.ready(session, recipe)
    felt = Mood(mood, "given", "as given") if isinstance(mood, MoodCurve) else mood
    recipe = session.in_manner(recipe or Recipe(), None if felt is None else felt.curve)
    begun, tell, found = time.monotonic(), progress or _SILENT, listed(cuts, duration_s)
    if frame_rate is None:
        frame_rate = DEFAULT_FRAME_RATE if found.counting is None else found.counting.rate
    track = compose(
        session.decoder, duration_s, found.cuts_s, recipe,
        mood=None if felt is None else felt.curve, theme=theme, frame_rate=frame_rate, weights=found.weights,
        progress=lambda share: tell("composing", share),
    )  # fmt: skip
    return replace(track, mood=felt, session=session, composed_s=time.monotonic() - begun)


def again(from_record: Record, *, session: Session, progress: Progress | None = None) -> Soundtrack:
    """Compose what a record says: the same bytes, given the same model."""
    r = from_record
    if r.revised:
        raise InputError(f"{r.path} is of a song that was revised, which cannot be composed again; keep its .mid file")
    felt = None if r.mood is None else Mood(r.mood, r.mood_source or "", f"from {r.path} ({r.mood_source})")
    track = for_cuts(
        r.duration_s, CutList(np.array(r.cuts_s), r.weights), r.recipe, mood=felt, theme=r.theme, session=session,
        frame_rate=r.frame_rate, progress=progress,
    )  # fmt: skip
    return replace(track, video=r.video)


def compose(
    decoder: Decoder,
    duration_s: float,
    cuts_s: npt.ArrayLike,
    recipe: Recipe | None = None,
    *,
    mood: MoodCurve | None = None,
    theme: Theme | None = None,
    frame_rate: Fraction = DEFAULT_FRAME_RATE,
    weights: Sequence[Weight] = (),
    progress: Callable[[float], None] | None = None,
) -> Soundtrack:
    """Compose a piece of `duration_s` seconds for a film with the cuts `cuts_s`.

    Args:
        decoder: What runs the model.
        duration_s: The film's length, from `SHORTEST_S` to `LONGEST_S`.
        cuts_s: (C,) all cuts, increasing, in seconds. Those closer than `Recipe.t_diff_s` to the one before, or too
            near an end, become markers only.
        recipe: The composing choices.
        mood: The model is conditioned on its value at each moment and on its mean. Its ends are held.
        theme: A melody that the first section states and its returns play again.
        frame_rate: Frames a second, for the markers' timecodes.
        weights: (C,) which cuts must have a chord and which may; none to treat all alike. See `cutlist.spaced`.
        progress: Called with the share done, from 0 to 1.

    Raises:
        ModelError: A mood is given, and the model was trained without mood.
        InputError: Anything else that cannot be used.

    """
    from emsync import composer
    from emsync.sections import plan_piece, section_markers

    if not SHORTEST_S <= duration_s <= LONGEST_S:
        raise InputError(
            f"a film of {duration_s:g} s is not between {SHORTEST_S:g} s and {LONGEST_S:g} s; cut it or join some"
        )
    recipe, cuts = recipe or Recipe(), cutlist.check(cuts_s, duration_s)
    boundaries = spaced(cuts, recipe.t_diff_s, duration_s=duration_s, weights=weights)
    conditions = conditions_of(boundaries, duration_s, mood, knows_mood=decoder.knows_mood)
    curves = curves_of(conditions)
    plan = plan_piece(recipe, duration_s, cuts, curves, theme)
    tempo = plan_for(
        recipe, boundaries, duration_s, conditions.piece_arousal, cutlist.strengths(boundaries, cuts, weights),
        conditions.piece_valence,
    )  # fmt: skip
    (piece,) = composer.compose(decoder, [conditions], recipe, plans=[plan], tempo_plans=[tempo], progress=progress)
    score = composer.score_of(piece, duration_s, bend=recipe.hits == "bend")
    if recipe.finishes:
        loud = curves.get("arousal") if recipe.mood_strength else None
        felt_then = None if loud is None else lambda t: np.interp(t, *loud)
        by, feedback = loudness(recipe.expression), recipe.mood_feedback * recipe.feedback_reach
        score = finish(score, boundaries, arousal=felt_then, by=by, late=recipe.late_accents, feedback=feedback)
    score = obey_intensity(score, recipe.curves(duration_s).by_name.get("intensity"))
    markers = [Marker(cut, f"Cut {i} {timecode(cut, frame_rate)}") for i, cut in enumerate(cuts.tolist(), start=1)]
    marked = tuple(sorted([*markers, *section_markers(score, plan.sections)], key=lambda marker: marker.time_s))
    sounds = recipe.like.sounds if recipe.like is not None and recipe.palette == palettes.AUTO else recipe.palette
    programs = palettes.programs_of(sounds, *(means_of(conditions) if recipe.mood_strength else ()))
    score = replace(score, instruments=instruments_of(programs), markers=marked, duration_s=duration_s, warnings=())
    felt = None if mood is None else Mood(mood, "given", "as given")
    return Soundtrack(
        score, cuts, boundaries, tuple(measure(score, boundaries)), len(piece.events), recipe, felt, frame_rate,
        tuple(weights), plan.sections, theme, tempo_plan=tempo,
    )  # fmt: skip
