"""Songs revised and arranged: from a MIDI file, and what it was composed for, to another file and its record.

    take = revise("song.mid", part=Bars(9, 12), session=Session.open())
    take.save("song-2.mid")

What a song was composed for is read from its record, SONG.mid.json, where there is one; else from its markers: those
that begin with "Cut" are cuts, and labels of a form such as A and B' begin sections. `revision` does the composing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from emsync import cutlist, form, keys, midi, palettes, record, revision
from emsync import vocabulary as v
from emsync.columns import FloatArray
from emsync.conditions import Conditions
from emsync.control_curves import PITCH_NAMES
from emsync.controls import in_scale
from emsync.cut_choice import CutChoice, Cuts, listed
from emsync.cutfiles.cut import Weight
from emsync.cutlist import CutList
from emsync.errors import InputError
from emsync.expression import loudness
from emsync.files import atomic_paths
from emsync.finish import unfinished
from emsync.hits import Hit, closest_s, crowded, measure
from emsync.midi_edit import Song
from emsync.mood_source import Mood, conditions_of, curves_of, means_of
from emsync.nominal import families_of_notes
from emsync.piece import CUT_NAME, DEFAULT_FRAME_RATE
from emsync.recipe import CHOICES, OF_A_SONG, Recipe
from emsync.record import Record, places
from emsync.revision import TRIES, Asked, Change, Span
from emsync.score import Score
from emsync.sections import Plan, plan_piece
from emsync.session import Session, check_given
from emsync.theme import Theme
from emsync.tokenizer import families

Progress = Callable[[float], None]
Floats = npt.NDArray[np.floating]

#: A key signature is believed if this share of all pitched notes is in its scale; some programs write C major always.
IN_KEY: Final = 0.8


@dataclass(frozen=True)
class Bars:
    """Bars `first` to `last`, both included, counted from 1."""

    first: int
    last: int


@dataclass(frozen=True)
class Times:
    """From one time to another, in seconds; None for the end."""

    from_s: float
    to_s: float | None = None


@dataclass(frozen=True, eq=False)
class Take:
    """A song with a recomposed part, or with more tracks.

    Attributes:
        data: The MIDI file.
        score: The same as a Score.
        from_s, to_s: The part, in seconds.
        tracks: The names of the tracks that were composed.
        n_removed, n_added: How many notes went and came.
        hits: What became of the cuts of the part that want a chord.
        recipe: How it was composed.
        found: What the record says besides (`record.to_dict`).

    """

    data: bytes
    score: Score
    from_s: float
    to_s: float
    tracks: tuple[str, ...]
    n_removed: int
    n_added: int
    hits: tuple[Hit, ...]
    recipe: Recipe
    found: Mapping[str, Any]

    @property
    def n_within_frame(self) -> int:
        """How many of the cuts have a chord within a frame."""
        return sum(hit.within_frame for hit in self.hits)

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> tuple[Path, Path]:
        """Write SONG.mid and, beside it, SONG.mid.json: both, or neither.

        The record says what the song is composed for, so that it can be revised again, and that it was revised.
        Returns the two paths. Raises `OutputError` for a place that cannot be written, or that holds something already
        and `overwrite` is False.
        """
        song, beside = places(path, overwrite=overwrite)
        with atomic_paths((song, beside), overwrite=overwrite) as (new_song, new_record):
            new_song.write_bytes(self.data)
            new_record.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        return song, beside


def revise(
    song: str | os.PathLike[str], part: Bars | Times, *, tracks: Sequence[str] = (), cuts: Cuts | None = None,
    mood: Mood | None = None, from_record: str | os.PathLike[str] | None = None, session: Session | None = None,
    tries: int = TRIES, choices: Mapping[str, Any] | None = None, progress: Progress | None = None,
) -> Take:  # fmt: skip
    """Recompose a part of a song; see `revision` for what stays and what is new.

    Args:
        song: Any MIDI file of type 0 or 1.
        part: Which part.
        tracks: Names of tracks, or families of instruments; by default all that play.
        cuts: Cuts to use instead of those of the record or the markers.
        mood: A mood to use instead of the record's.
        from_record: The record; by default SONG.mid.json, if there is one.
        session: The model; by default the record's, or the embedded one.
        tries: How many continuations are composed; the one that leads best to what follows is kept.
        choices: Fields of `Recipe` that differ from the record's.
        progress: Called with the share that is done, from 0 to 1.

    Raises:
        MidiError: The song cannot be read.
        InputError: The part, a track, the cuts, the mood or a choice cannot be used.
        ModelError: The model cannot be used, or knows no mood and one was given.

    """
    if choices and "palette" in choices:
        raise InputError("--palette does not apply to tracks that are there already; change their programs in a DAW")
    file = Song.read(song)
    span = _span(file, part)
    parts = revision.chosen_parts(file, tracks)
    known = _record_of(song, from_record)
    session = _session(session, known)
    brief = _Brief.of(file, known, cuts, mood, choices or {}, session, tries, file.clock.second(span.begin))
    session = session.styled(brief.recipe.style, brief.recipe.style_strength)
    change = revision.revise(file, span, brief.asked, session.decoder, parts, progress)
    names = tuple(dict.fromkeys(each.name or revision.family_name(each) for each in parts))
    return brief.take(file, span, change, names, session, {"what": "revised"})


def arrange(
    melody: str | os.PathLike[str], *, add: Sequence[str] = (), cuts: Cuts | None = None, mood: Mood | None = None,
    from_record: str | os.PathLike[str] | None = None, session: Session | None = None,
    choices: Mapping[str, Any] | None = None, progress: Progress | None = None,
) -> Take:  # fmt: skip
    """Add tracks to a song, which stays as it is. The arguments are those of `revise`.

    add: the families to add, by name; by default those that the song lacks.
    """
    file = Song.read(melody)
    added = _missing(file, add)
    known = _record_of(melody, from_record)
    session = _session(session, known)
    brief = _Brief.of(file, known, cuts, mood, choices or {}, session, 1, 0.0)
    session = session.styled(brief.recipe.style, brief.recipe.style_strength)
    means = means_of(brief.asked.conditions) if brief.asked.recipe.mood_strength else ()
    programs = palettes.programs_of(brief.asked.recipe.palette, *means)
    wanted = {family: programs[family] for family in added}
    change = revision.add_families(file, brief.asked, session.decoder, wanted, progress)
    names = tuple(families.FAMILY_NAMES[family] for family in added)
    return brief.take(file, Span(0, file.end), change, names, session, {"what": "arranged"})


def _span(song: Song, part: Bars | Times) -> Span:
    if isinstance(part, Bars):
        return revision.whole_bars(song, part.first, part.last)
    return revision.between(song, part.from_s, part.to_s)


def _missing(song: Song, add: Sequence[str]) -> list[int]:
    """The families to add."""
    played = set(families_of_notes(song).tolist())
    known = ", ".join(v.FAMILIES)
    names = [name.strip().lower() for name in add]
    for name in names:
        if name not in v.FAMILIES:
            raise InputError(f"there is no family {name!r} to add; the families are {known}")
        if v.FAMILIES.index(name) in played:
            raise InputError(f"{song.name} has {name} already; emsync revise --tracks {name} composes them anew")
    found = [f for f, name in enumerate(v.FAMILIES) if (name in names if names else f not in played)]
    if not found:
        raise InputError(f"{song.name} has all families ({known}) already; emsync revise composes a part of it anew")
    return found


def _record_of(song: str | os.PathLike[str], given: str | os.PathLike[str] | None) -> Record | None:
    beside = Path(os.fspath(song) + ".json")
    if given is None and not beside.is_file():
        return None
    return Record.read(beside if given is None else given)


def _session(session: Session | None, known: Record | None) -> Session:
    """The given model; else that of the record, if it is still there; else the embedded one."""
    if session is not None:
        return session
    folder = known.model_folder if known is not None else None
    return Session.open(folder if folder is not None and Path(folder).is_dir() else None)


@dataclass(frozen=True, eq=False)
class _Brief:
    """What a song is composed for. `recipe` is the user's; that of `asked` is in the song's key."""

    asked: Asked
    recipe: Recipe
    cuts_s: npt.NDArray[np.float64]
    weights: tuple[Weight, ...]
    boundaries_s: npt.NDArray[np.float64]
    mood: Mood | None
    theme: Theme | None
    frame_rate: Fraction
    duration_s: float
    video: str | None
    before: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(
        cls, song: Song, known: Record | None, cuts: Cuts | None, mood: Mood | None, choices: Mapping[str, Any],
        session: Session, tries: int, at_s: float,
    ) -> _Brief:  # fmt: skip
        for name in OF_A_SONG:
            if name in choices:
                what = CHOICES[name].flag or name
                raise InputError(f"{what} does not apply to a song that has its tempo and its tracks; leave it out")
        if "candidates" in choices:  # the record of a composed song may have them, too
            raise InputError("--candidates does not apply to a part; --tries of emsync revise chooses among several")
        recipe = replace(Recipe(form=form.NONE) if known is None else known.recipe, **choices)
        check_given(choices, recipe, session.model.get("folder"))
        length_s = max(song.score.duration_s, 0.0 if known is None else known.duration_s)
        asked = _cuts(song, known, cuts, length_s)
        cuts_s, weights = asked.cuts_s, asked.weights
        boundaries = cutlist.spaced(cuts_s, recipe.t_diff_s, duration_s=length_s, weights=weights)
        if mood is None and known is not None and known.mood is not None and session.decoder.knows_mood:
            mood = Mood(known.mood, known.mood_source or "", f"from {known.path}")
        conditions = conditions_of(
            boundaries, length_s, None if mood is None else mood.curve, knows_mood=session.decoder.knows_mood
        )
        theme = None if known is None else known.theme
        if known is None and recipe.form == form.NONE:
            plan = Plan(_marked_sections(song.score))
        else:
            plan = plan_piece(recipe, length_s, cuts_s, curves_of(conditions), theme)
        return cls(
            Asked(
                _in_key(recipe, song.score, plan, at_s, choices), conditions, plan, tries,
                *_loudness(song, known, recipe, conditions),
            ),
            recipe,
            cuts_s, weights if any(weights) else (), boundaries, mood, theme,
            DEFAULT_FRAME_RATE if known is None else known.frame_rate, length_s,
            None if known is None else known.video, () if known is None else known.revised,
        )  # fmt: skip

    def take(
        self, song: Song, span: Span, change: Change, names: tuple[str, ...], session: Session, how: dict[str, Any]
    ) -> Take:
        """The result, and what its record says."""
        score = midi.from_bytes(change.data, name=song.name)
        reduced = families.reduce(score).score
        hits = measure(reduced, self.boundaries_s)
        from_s, to_s = song.clock.seconds([span.begin, span.end]).tolist()
        recipe = self.recipe
        how = how | {"from_s": from_s, "to_s": to_s, "tracks": list(names), "seed": recipe.seed}
        found = record.to_dict(
            recipe=recipe, model=session.model, backend=session.decoder.backend, video=self.video,
            duration_s=self.duration_s, frame_rate=self.frame_rate,
            mood=None if self.mood is None else self.mood.curve,
            mood_source=None if self.mood is None else self.mood.source,
            theme=None if self.theme is None else self.theme.to_dict(),
            found={
                "cuts_s": self.cuts_s.tolist(), "boundaries_s": self.boundaries_s.tolist(),
                "hits": [{"cut_s": h.cut_s, "chord_s": h.chord_s} for h in hits],
                "met": sum(h.within_frame for h in hits), "closest_s": round(closest_s(score), 3),
                "crowded": crowded(score, self.boundaries_s), "notes": len(score),
                "form": [{"label": str(s.label), "start_s": s.start_s} for s in self.asked.plan.sections],
                "revised": [*self.before, how], **({"weights": list(self.weights)} if self.weights else {}),
            },
        )  # fmt: skip
        inside = tuple(hit for hit in hits if from_s - v.STEP_S <= hit.cut_s < to_s - v.STEP_S)
        return Take(
            change.data, score, from_s, to_s, names, int(change.removed.sum()), len(change.added), inside, recipe, found
        )


def _in_key(recipe: Recipe, score: Score, plan: Plan, at_s: float, choices: Mapping[str, Any]) -> Recipe:
    """The recipe in the key that the song has at a time, unless the user chose one.

    Without a key signature, or with one that the notes do not have, pitches lean towards none: what stays shows the
    model the key. Chords of loops are left out, since what stays has its own.
    """
    if recipe.mode == "off" or "key" in choices or "mode" in choices:
        return recipe
    now = [each for each in score.keys if each.time_s <= at_s + v.STEP_S][-1:] or list(score.keys[:1])
    drums = np.array([each.is_drum for each in score.instruments])[score.instrument]
    classes = np.bincount(score.pitch[~drums] % 12, minlength=12)
    if not now or classes @ in_scale(now[0].tonic + 12 * now[0].is_minor) < IN_KEY * classes.sum():
        return replace(recipe, mode="off", key=keys.AUTO)
    moved = next((each.label.semitones for each in reversed(plan.sections) if each.start_s <= at_s + v.STEP_S), 0)
    tonic = PITCH_NAMES[(now[0].tonic - moved) % 12]
    return replace(recipe, key=tonic, mode="minor" if now[0].is_minor else "major", progression="off")


def _loudness(
    song: Song, known: Record | None, recipe: Recipe, conditions: Conditions
) -> tuple[npt.NDArray[np.int64] | None, Callable[[FloatArray], FloatArray] | None]:
    """What `Asked` says about loudness: the velocities before the song was finished, and the arousal that it was for.

    Without the record of a song that was finished, the model reads what the file has, and goes on from there.
    """
    if known is None or not known.recipe.finishes:
        return None, None
    was = known.mood if known.recipe.mood_strength else None
    now = curves_of(conditions).get("arousal") if recipe.mood_strength else None
    before = (
        None if was is None else curves_of(conditions_of([], known.duration_s, was, knows_mood=True)).get("arousal")
    )
    cuts_s = cutlist.spaced(
        known.cuts_s, known.recipe.t_diff_s, duration_s=known.duration_s, weights=known.weights
    )  # fmt: skip
    hits = measure(families.reduce(song.score).score, cuts_s, to_end=known.recipe.late_accents)
    chords_s = [hit.chord_s for hit in hits if hit.within_frame and hit.chord_s is not None]
    by = loudness(known.recipe.expression)
    context_velocity = unfinished(song.clock.seconds(song.on), song.velocity, chords_s, _arousal_of(before), by)
    return context_velocity, _arousal_of(now) if recipe.finishes else None


def _arousal_of(curve: tuple[Floats, Floats] | None) -> Callable[[FloatArray], FloatArray] | None:
    """A curve (times, values) as a function of times in seconds."""
    return None if curve is None else lambda times_s: np.interp(times_s, *curve)


def _cuts(song: Song, known: Record | None, cuts: Cuts | None, length_s: float) -> CutList:
    """The cuts: those given; else those of the record, or of the markers, perhaps with changes."""
    changes = isinstance(cuts, CutChoice) and cuts.path is None and cuts.given is None
    if cuts is not None and not changes:
        return listed(cuts, length_s)
    if known is None:
        marked = [marker.time_s for marker in song.score.markers if CUT_NAME.match(marker.text)]
        had = CutList(np.unique(np.array(marked, dtype=np.float64)))
    else:
        had = CutList(np.array(known.cuts_s, dtype=np.float64), known.weights)
    if not isinstance(cuts, CutChoice):
        return had
    return replace(cuts, given=had).cuts(duration_s=length_s, frame_rate=None if known is None else known.frame_rate)


def _marked_sections(score: Score) -> tuple[form.Section, ...]:
    """The sections that a song's markers name; none if the markers are not labels of a form."""
    named = [marker for marker in score.markers if marker.text.strip() and not CUT_NAME.match(marker.text)]
    if not named:
        return ()
    try:
        labels = form.parse(",".join(marker.text.strip() for marker in named))
    except InputError:
        return ()
    return form.sections_of(labels, [marker.time_s for marker in named], score.duration_s)
