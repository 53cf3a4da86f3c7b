"""Recomposing a part of a song, or adding parts to it, and leaving everything else in its file unchanged.

    song = Song.read("song.mid")
    part = whole_bars(song, 9, 12)
    revision = revise(song, part, asked, session=Session.open())
    revision.save("song-2.mid")

What stays
- Notes of other tracks, and notes that begin before the part or behind it. Those that hang over its beginning are kept
  whole: they continue under what is new. Controllers, texts, tempo and bars stay, too (`midi_edit.Song.patched`).
- Notes that the model does not play: effects, and drums without a General MIDI sound.

What is new
- Notes of the part that begin in it go, also if they end behind it. What is new ends where the part ends, except that
  a chord is held for its two beats, or until its track plays the same note again.
- New notes go to the track that plays the same family of instruments; of several, to the one whose pitches are nearest.
- Cuts in the part get their chords, where piano or guitar is composed. The tempo map stays, so a chord for a cut within
  a step of a sixteenth is on the sixteenth, and on the cut itself otherwise.

Several continuations are composed at once. The one after which the model finds what follows the part likeliest is kept
(docs/decisions/0022-revising.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from emsync import composer
from emsync import vocabulary as v
from emsync.conditions import Conditions
from emsync.decoder import Decoder
from emsync.errors import InputError
from emsync.expression import loudness
from emsync.finish import ACCENT, AROUND_S, loudened
from emsync.grammar.tables import HELD_QUARTERS
from emsync.midi_edit import BoolArray, NewNote, NewTrack, Part, Song
from emsync.midi_format import DRUM_CHANNEL
from emsync.nominal import NominalTime, families_of_notes, family_of_part, kept_events
from emsync.recipe import Recipe
from emsync.rewriter import Gap, Rewriter, Written
from emsync.sections import Plan
from emsync.steering import scaled
from emsync.tokenizer.events import DRUM_LENGTH_S

#: The number of continuations that are composed, and of the events after the part by which they are judged.
TRIES: Final = 4
LOOK_AHEAD: Final = 64
#: A cut this near to a sixteenth, in steps, is on it.
_ON_SIXTEENTH: Final = 1.0
#: How far a kept note's end may be from its step, in steps, both roundings included.
_ROUNDING: Final = 2
#: What draws the continuations, besides the seed: revising must not repeat what composing drew.
_STREAM: Final = 22


@dataclass(frozen=True)
class Span:
    """A part of a song in ticks, from `begin` to before `end`."""

    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Asked:
    """What a part is composed for.

    Attributes:
        recipe: The composing choices. Those of tempo do not apply: the file has one.
        conditions: The cuts that want a chord, the end and the mood of the whole piece, in seconds.
        plan: Its form, in seconds.
        tries: How many continuations are composed.
        context_velocity: (N,) The velocities of the song's notes as the model reads them; None: those of the file.
        arousal: What loudness follows, as for `finish.finish`; None for the loudness before the part.

    """

    recipe: Recipe
    conditions: Conditions
    plan: Plan = field(default_factory=Plan)
    tries: int = TRIES
    context_velocity: npt.NDArray[np.int64] | None = None
    arousal: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]] | None = None


@dataclass(frozen=True, eq=False)
class Change:
    """The changes to a song.

    Attributes:
        data: The MIDI file.
        removed: (N,) which notes of the song are gone.
        added: The notes that are new.
        foreseen: How well each continuation predicts what follows, in nats an event; empty if nothing follows.

    """

    data: bytes
    removed: BoolArray
    added: tuple[NewNote, ...]
    foreseen: tuple[float, ...] = ()


def bar_ticks(song: Song) -> list[int]:
    """Where each bar begins, in ticks, and where the last one ends."""
    starts = np.rint(song.ticks_at(song.quarters_at_s(song.score.bars.start_s))).astype(np.int64)
    return [*starts.tolist(), max(song.end, int(starts[-1]) + 1)]


def whole_bars(song: Song, first: int, last: int) -> Span:
    """Bars `first` to `last`, both included, counted from 1. Raises `InputError` for bars that the song has not."""
    lines = bar_ticks(song)
    count = len(lines) - 1
    if not 1 <= first <= last <= count:
        what = "the bars end before they begin" if first > last else f"the song has bars 1 to {count}"
        raise InputError(f"bars {first}-{last} cannot be revised: {what}; give two of those, such as 1-{min(4, count)}")
    return Span(lines[first - 1], lines[last])


def between(song: Song, from_s: float, to_s: float | None = None) -> Span:
    """From one time to another, in seconds; by default to the end. Raises `InputError` for times not in the song."""
    end_s = song.score.duration_s
    until_s = end_s if to_s is None else to_s
    if not (math.isfinite(from_s) and 0 <= from_s < end_s):
        raise InputError(f"{from_s:g} s is not within the song, which has {end_s:.2f} s; give an earlier beginning")
    if not (math.isfinite(until_s) and until_s > from_s):
        raise InputError(f"from {from_s:g} s to {until_s:g} s there is nothing; give an end behind the beginning")
    if until_s > end_s + v.STEP_S:
        raise InputError(f"{until_s:g} s is past the end of the song at {end_s:.2f} s; give an earlier end")
    begin, end = (round(float(song.ticks_at(song.quarters_at_s(at)))) for at in (from_s, min(until_s, end_s)))
    if end <= begin:
        raise InputError(f"from {from_s:g} s to {until_s:g} s there is not even a tick; give a longer part")
    return Span(begin, end)


def chosen_parts(song: Song, tracks: Sequence[str] = ()) -> tuple[Part, ...]:
    """The parts to recompose: those of these names or families; by default all with notes that the model plays.

    Names are those of the file's tracks, in any case. Raises `InputError` for one that nothing is called.
    """
    playable = [part for part in song.parts if family_of_part(part) is not None]
    if not playable:
        raise InputError(f"{song.name} has nothing but sound effects, which the model does not play")
    if not tracks:
        return tuple(part for part in playable if part.n_notes)
    chosen: list[Part] = []
    for name in tracks:
        found = [part for part in playable if name.strip().lower() in _names(part)]
        if not found:
            known = ", ".join(dict.fromkeys(part.name or family_name(part) for part in playable))
            raise InputError(f"there is no track {name.strip()!r} that can be revised; the tracks are {known}")
        chosen += [part for part in found if part not in chosen]
    return tuple(chosen)


def _names(part: Part) -> set[str]:
    return {part.name.strip().lower(), family_name(part)} - {""}


def family_name(part: Part) -> str:
    """The name of the family of a part; "" for effects."""
    family = family_of_part(part)
    return "" if family is None else v.FAMILIES[family]


def revise(
    song: Song, span: Span, asked: Asked, decoder: Decoder, parts: Sequence[Part] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Change:  # fmt: skip
    """Recompose a part of a song.

    Args:
        song: The file.
        span: Which part.
        asked: What it is composed for.
        decoder: The model.
        parts: The tracks that are recomposed; by default all.
        progress: Called with the share that is done, from 0 to 1.

    """
    parts = chosen_parts(song) if parts is None else parts
    mine = np.zeros(len(song), dtype=bool)
    for part in parts:
        mine |= song.of_part(part)
    removed = mine & (families_of_notes(song) >= 0) & (song.on >= span.begin) & (song.on < span.end)
    families = frozenset(family for part in parts if (family := family_of_part(part)) is not None)
    written, time, foreseen = _composed(song, span, asked, decoder, ~removed, families, progress)
    homes = {family: _homes(song, parts, family, removed) for family in families}
    added = _obedient(song, _placed(song, written, time, span, removed, homes, asked), removed, asked)
    return Change(song.patched(removed, added), removed, tuple(added), foreseen)


def add_families(
    song: Song, asked: Asked, decoder: Decoder, programs: Mapping[int, int],
    progress: Callable[[float], None] | None = None,
) -> Change:  # fmt: skip
    """Compose tracks of more families around a song, which stays as it is.

    programs: the General MIDI program of each family that is added. The other arguments are those of `revise`.
    """
    from emsync.tokenizer.families import FAMILY_NAMES

    free = iter(song.free_channels())
    tracks: list[NewTrack] = []
    homes: dict[int, list[Home]] = {}
    for family, program in programs.items():
        channel = DRUM_CHANNEL if family == v.DRUMS else next(free, None)
        if channel is None:
            raise InputError(f"{song.name} uses all channels, so no track can be added; free one of its 16")
        homes[family] = [(len(song.file.tracks) + len(tracks), channel, 64.0)]
        tracks.append(NewTrack(FAMILY_NAMES[family], channel, program))
    span, removed = Span(0, song.end), np.zeros(len(song), dtype=bool)
    written, time, foreseen = _composed(song, span, asked, decoder, ~removed, frozenset(programs), progress)
    added = _obedient(song, _placed(song, written, time, span, removed, homes, asked), removed, asked)
    return Change(song.patched(removed, added, tracks), removed, tuple(added), foreseen)


# ---- composing -------------------------------------------------------------------------------------------------------


def _composed(
    song: Song, span: Span, asked: Asked, decoder: Decoder, stays: BoolArray, families: frozenset[int],
    progress: Callable[[float], None] | None,
) -> tuple[list[Written], NominalTime, tuple[float, ...]]:  # fmt: skip
    """The new notes, in nominal time."""
    begin_q, end_q = song.quarters([span.begin, span.end]).tolist()
    time = NominalTime.of(song, begin_q, end_q)
    playable = families_of_notes(song) >= 0
    closes = not (stays & playable & (song.on >= span.end)).any()
    conditions = asked.conditions.moved(time.nominal_s)
    boundaries = _cut_places(song, span, asked.conditions, time) if asked.recipe.lands else {}
    begin, end = time.step(begin_q), time.step(end_q)
    gap = Gap(
        time.beat_steps, begin, max(end, begin + 1),
        kept_events(song, stays & playable, time, asked.context_velocity), families,
        tuple(sorted(step for step in boundaries if begin <= step < end)), closes,
    )  # fmt: skip
    assert conditions.end_s is not None
    conditions = replace(conditions, end_s=max(conditions.end_s, gap.end_step * v.STEP_S))
    seed, strength = asked.recipe.seed, asked.recipe.mood_strength
    curves = asked.recipe.curves(asked.conditions.end_s or song.score.duration_s, 1.0).moved(time.nominal_s)
    recipe = replace(asked.recipe, controls=curves if len(curves) else None, intensity="none", density="none")
    first = Rewriter(
        conditions, recipe, np.random.default_rng([seed, _STREAM, 0]), decoder.mixture,
        asked.plan.moved(time.nominal_s), gap=gap,
    )  # fmt: skip
    following = gap.following(LOOK_AHEAD)
    tries = asked.tries if following else 1
    writers = [first]
    if tries > 1:  # copies share the events so far, so the first itself does not go on
        writers = [first.with_rng(np.random.default_rng([seed, _STREAM, i])) for i in range(tries)]
    composer.write_all(decoder, writers, strength, progress)
    notes = [writer.notes() for writer in writers]
    if tries == 1:
        return notes[0], time, ()
    foreseen = composer.foreseen(decoder, writers, strength, following)
    return notes[int(np.argmax(foreseen))], time, tuple(foreseen.tolist())


def _cut_places(song: Song, span: Span, conditions: Conditions, time: NominalTime) -> dict[int, int]:
    """The step of the chord for each cut of a part, and its tick.

    It is on the sixteenth of its bar that the cut is on, or on the cut itself. A cut belongs to the tick nearest to it.
    """
    cuts_s = np.zeros(0) if conditions.boundaries_s is None else conditions.boundaries_s
    places = {}
    for at in song.quarters_at_s(cuts_s).tolist():
        tick = round(float(song.ticks_at(at)))
        if not span.begin <= tick < span.end:
            continue
        bar_q = float(time.bars_q[max(int(np.searchsorted(time.bars_q, at + 1e-3, side="right")) - 1, 0)])
        on_grid = bar_q + round((at - bar_q) * 4) / 4
        near = abs(on_grid - at) * time.beat_steps <= _ON_SIXTEENTH
        places[time.step(on_grid if near else at)] = round(float(song.ticks_at(on_grid))) if near else tick
    return places


# ---- back into the file ----------------------------------------------------------------------------------------------

#: Where notes of a family go: track, line, and the middle of what it plays.
Home = tuple[int, int, float]


def _homes(song: Song, parts: Sequence[Part], family: int, removed: BoolArray) -> list[Home]:
    """The tracks that get notes of a family: of those chosen, those that played in the part, or else all."""
    own = [part for part in parts if family_of_part(part) == family]
    played = [part for part in own if (song.of_part(part) & removed).any()] or own
    homes = []
    for part in played:
        pitches = song.pitch[song.of_part(part)]
        homes.append((part.track, part.line, float(np.median(pitches)) if len(pitches) else 64.0))
    return homes


def _placed(
    song: Song, written: Iterable[Written], time: NominalTime, span: Span, removed: BoolArray,
    homes: dict[int, list[Home]], asked: Asked,
) -> list[NewNote]:  # fmt: skip
    """Composed notes as notes of the file."""
    cuts = _cut_places(song, span, asked.conditions, time)
    drum_steps = round(DRUM_LENGTH_S / v.STEP_S)
    end_step = time.step(float(song.quarters(span.end)))
    placed: list[NewNote] = []
    accented: list[int] = []
    for note in sorted(written, key=lambda each: (each.on, each.family, each.pitch)):
        track, line, _ = min(homes[note.family], key=lambda home: abs(home[2] - note.pitch))
        on = min(max(cuts.get(note.on, time.tick(note.on)), span.begin), span.end - 1)
        if note.family == v.DRUMS:
            off = time.tick(note.on + drum_steps)
        elif note.in_chord and note.off >= end_step:
            off = round(float(song.ticks_at(time.quarters(note.on) + HELD_QUARTERS)))
        else:
            off = min(time.tick(note.off), span.end)
        off = min(off, max(song.end, span.end))
        if note.on in cuts:
            accented.append(len(placed))
        velocity = int(v.velocity_value(np.array(note.level - 1)))
        placed.append(NewNote(track, line, note.pitch, velocity, on, max(off, on + 1)))
    if asked.arousal is not None and placed:
        by = loudness(asked.recipe.expression)
        loud = loudened(_begin_s(song, placed), np.array([note.velocity for note in placed]), asked.arousal, by)
        placed = [replace(note, velocity=velocity) for note, velocity in zip(placed, loud.tolist(), strict=True)]
    return _unequal(song, _accented(song, placed, accented, removed), removed, time.tick(_ROUNDING))


def _begin_s(song: Song, notes: Sequence[NewNote]) -> npt.NDArray[np.float64]:
    return np.asarray(song.clock.seconds(np.array([note.on for note in notes], dtype=np.float64)))


def _obedient(song: Song, added: list[NewNote], removed: BoolArray, asked: Asked) -> list[NewNote]:
    """New notes as loud as the recipe's intensity asks for, together with those that stay."""
    end_s = max(asked.conditions.end_s or 0.0, song.score.duration_s)
    control = asked.recipe.curves(end_s).by_name.get("intensity")
    if control is None or not control.strength or not added:
        return added
    drum_lines = {DRUM_CHANNEL, *song.line[song.drum].tolist()}
    new = [(note.on, note.off, note.velocity, note.line in drum_lines) for note in added]
    kept = (each[~removed] for each in (song.on, song.off, song.velocity, song.drum))
    on, off, velocity, drums = (np.concatenate(pair) for pair in zip(kept, zip(*new, strict=True), strict=True))
    mine = np.arange(len(on)) >= len(on) - len(added)
    start_s, stop_s = song.clock.seconds(on.astype(np.float64)), song.clock.seconds(off.astype(np.float64))
    loud = scaled(start_s, stop_s, velocity, drums.astype(bool), end_s, control, mine)[mine].tolist()
    return [replace(note, velocity=each) for note, each in zip(added, loud, strict=True)]


def _accented(song: Song, placed: list[NewNote], accented: list[int], removed: BoolArray) -> list[NewNote]:
    """Notes on cuts, louder by `finish.ACCENT` than what is around them, as `finish.finish` makes them."""
    if not accented:
        return placed
    on_cut = set(accented)
    others = [note for i, note in enumerate(placed) if i not in on_cut]
    ticks = np.array([note.on for note in others] + song.on[~removed].tolist(), dtype=np.float64)
    loud = np.array([note.velocity for note in others] + song.velocity[~removed].tolist(), dtype=np.float64)
    times_s = song.clock.seconds(ticks)
    out = list(placed)
    for i in accented:
        near = np.abs(times_s - song.clock.second(placed[i].on)) <= AROUND_S
        if near.any():
            wanted = round(float(loud[near].mean()) + ACCENT)
            out[i] = replace(placed[i], velocity=min(max(placed[i].velocity, wanted), 127))
    return out


def _unequal(song: Song, placed: list[NewNote], removed: BoolArray, slack: int) -> list[NewNote]:
    """New notes without those that begin while their channel holds the same pitch; the others end where it plays it
    again. One that begins at its very end, to within rounding, waits for it.
    """
    held: dict[tuple[int, int], list[tuple[int, int]]] = {}
    kept = (column[~removed].tolist() for column in (song.line, song.pitch, song.on, song.off))
    for line, pitch, on, off in zip(*kept, strict=True):
        held.setdefault((line, pitch), []).append((on, off))
    begun: dict[tuple[int, int], list[int]] = {key: [on for on, _ in spans] for key, spans in held.items()}
    for note in placed:
        begun.setdefault((note.line, note.pitch), []).append(note.on)
    out = []
    for note in placed:
        key = note.line, note.pitch
        ends = [off for on, off in held.get(key, ()) if on <= note.on < off]
        if ends and max(ends) - note.on > slack:
            continue
        note = replace(note, on=max([note.on, *ends]))
        if note.on >= note.off:
            continue
        again = min((on for on in begun[key] if on > note.on), default=note.off)
        out.append(replace(note, off=min(note.off, again)))
    return out
