"""Parts of songs composed anew, and instruments added to melodies, by a decoder that needs no model."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emsync
from emsync import finish, midi, soundtrack, takes
from emsync import vocabulary as v
from emsync.cut_choice import CutChoice
from emsync.errors import InputError, MidiError, ModelError, OutputError
from emsync.expression import loudness
from emsync.finish import ACCENT
from emsync.hits import measure
from emsync.midi_edit import Song
from emsync.mood import MoodCurve
from emsync.mood_source import Mood
from emsync.record import Record
from emsync.revision import Change, Span
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from emsync.soundtrack import Session
from emsync.takes import Take, Times
from emsync.tokenizer import families
from tests.fakes import Fake, Feeling
from tests.midi_files import NOTE, smf

MODEL = {"folder": None, "weights_sha256": "0" * 64, "copying_sha256": None, "vocabulary": v.HASH}


def session(decoder: Fake | None = None) -> Session:
    return Session(Fake() if decoder is None else decoder, MODEL)


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve seconds with two cuts, composed for joy, and its record."""
    path = tmp_path_factory.mktemp("songs") / "song.mid"
    choices = {"emotion": "joy", "seed": 3, "tempo_qpm": 100.0}
    track = emsync.compose(duration_s=12.0, cuts=[5.0, 9.2], session=session(Feeling()), **choices)
    track.save(path)
    return path


@pytest.fixture(scope="module")
def take(composed: Path) -> Take:
    """The same with bars 3 and 4 composed anew."""
    return revised(composed, tries=2)


def revised(song: Path, first: int = 3, last: int = 4, **options: Any) -> Take:
    given = {"session": session(Feeling()), "tries": 1, **options}
    return takes.revise(song, takes.Bars(first, last), **given)


def rows(song: Song, mask: np.ndarray | None = None) -> Counter[tuple[int, ...]]:
    mask = np.ones(len(song), dtype=bool) if mask is None else mask
    columns = (song.track, song.line, song.pitch, song.velocity, song.on, song.off)
    return Counter(zip(*(column[mask].tolist() for column in columns), strict=True))


def span_of(old: Song, take: Take) -> Span:
    """The part that a take composed anew, in ticks."""
    return Span(*(round(float(old.ticks_at(old.quarters_at_s(at)))) for at in (take.from_s, take.to_s)))


def part_of(old: Song, take: Take) -> np.ndarray:
    """Which notes of the song begin in that part."""
    span = span_of(old, take)
    return np.asarray((old.on >= span.begin) & (old.on < span.end))


def saved(tmp_path: Path, data: bytes, name: str = "song.mid") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def plain_song(numerator: int = 4, denominator: int = 4, *, bars: int = 4, **more: Any) -> Score:
    """A piano and strings that play a note a quarter each, at 120 quarter notes a minute."""
    length = 4 * numerator / denominator
    onsets = np.arange(0, bars * length, 1.0)
    on = np.concatenate([onsets, onsets])
    who = np.repeat([0, 1], len(onsets))
    return Score(
        (Instrument("Keys", 4), Instrument("Violins", 40)), who, 60 + 7 * who + (on.astype(int) % 5),
        np.full(len(on), 80), on / 2, (on + 0.9) / 2, TempoMap.constant(120.0),
        Bars(np.arange(bars) * length / 2, [numerator] * bars, [denominator] * bars), **more,
    )  # fmt: skip


# ---- what stays, and what is new -------------------------------------------------------------------------------------


def test_only_the_notes_that_begin_in_the_part_change(composed: Path, take: Take) -> None:
    old = Song.read(composed)
    new = Song.from_bytes(take.data)
    assert take.n_removed > 0
    assert take.n_added > 0
    span, inside = span_of(old, take), part_of(old, take)
    assert take.n_removed == inside.sum()
    fresh = rows(new) - rows(old, ~inside)
    assert sum(fresh.values()) == take.n_added
    assert not rows(old, ~inside) - rows(new), "a note that stays has changed"
    assert all(span.begin <= on < span.end and off > on for _, _, _, _, on, off in fresh)
    assert new.score.warnings == ()
    for name in ("tempo", "bars", "markers", "duration_s"):
        assert getattr(new.score, name) == getattr(old.score, name)


def test_nothing_is_stuck_and_no_channel_plays_a_pitch_twice(take: Take) -> None:
    new = Song.from_bytes(take.data)
    for line in set(new.line.tolist()):
        for pitch in set(new.pitch[new.line == line].tolist()):
            here = (new.line == line) & (new.pitch == pitch)
            order = np.argsort(new.on[here])
            assert (new.on[here][order][1:] >= new.off[here][order][:-1]).all()


def test_cuts_in_the_part_get_their_chords(take: Take) -> None:
    assert [hit.cut_s for hit in take.hits] == [5.0, 9.2]
    assert take.n_within_frame == 2


def test_a_cut_beside_the_grid_is_met_exactly(tmp_path: Path) -> None:
    song = saved(tmp_path, midi.to_bytes(plain_song(bars=6)))
    take = revised(song, 2, 5, cuts=[4.93], session=session())
    chords = measure(families.reduce(take.score).score, [4.93])
    assert chords[0].error_s is not None
    assert abs(chords[0].error_s) < 1e-3


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(composed: Path) -> None:
    take = revised(composed, 3, 3)
    assert revised(composed, 3, 3).data == take.data
    assert revised(composed, 3, 3, choices={"seed": 9}).data != take.data
    assert take.recipe.seed == 3


def test_the_best_of_several_is_taken(composed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emsync import composer

    results = {}
    for best in (0, 1):
        chosen = np.eye(2)[best]
        monkeypatch.setattr(composer, "foreseen", lambda *_, chosen=chosen: chosen)
        results[best] = revised(composed, 3, 3, tries=2).data
    assert results[0] != results[1]


def test_only_the_chosen_tracks_change(composed: Path) -> None:
    old = Song.read(composed)
    new = Song.from_bytes(revised(composed, tracks=["Strings", "piano"]).data)
    for number, part in enumerate(old.file.tracks):
        same = part.events == new.file.tracks[number].events
        assert same == (part.name not in ("Strings", "Piano"))


def test_notes_that_hang_over_the_ends_are_kept_whole_or_go(tmp_path: Path) -> None:
    over = plain_song(bars=4)
    held = replace(
        over, start_s=np.array([1.0, 5.0]), end_s=np.array([7.5, 7.9]), pitch=np.array([48, 50]),
        instrument=np.array([0, 0]), velocity=np.array([70, 71]),
    )  # fmt: skip
    take = revised(saved(tmp_path, midi.to_bytes(held)), 2, 3, tries=1, session=session())  # from 2 s to 6 s
    new = Song.from_bytes(take.data)
    kept = rows(new)
    assert kept[1, 0, 48, 70, 960, 7200] == 1, "a note that hangs over both ends stays whole"
    assert all(row[2:4] != (50, 71) for row in kept), "a note that begins in the part goes"


def test_what_a_daw_adds_stays(composed: Path, tmp_path: Path) -> None:
    import mido

    edited = mido.MidiFile(composed)
    edited.tracks[2].insert(1, mido.Message("control_change", control=64, value=127, time=10))
    edited.tracks[2].insert(1, mido.Message("sysex", data=(0x7D, 1, 2), time=0))
    edited.tracks[2].insert(1, mido.MetaMessage("lyrics", text="la", time=0))
    edited.save(tmp_path / "edited.mid")
    (tmp_path / "edited.mid.json").write_bytes(Path(f"{composed}.json").read_bytes())
    revised(tmp_path / "edited.mid", 3, 3).save(tmp_path / "out.mid")
    after = mido.MidiFile(tmp_path / "out.mid").tracks[2]
    kinds = [message.type for message in after]
    for kind in ("control_change", "sysex", "lyrics"):
        assert kind in kinds


def test_new_notes_go_to_the_track_whose_pitches_are_nearest(tmp_path: Path) -> None:
    two = plain_song()
    score = replace(two, instruments=(Instrument("Cellos", 42), Instrument("Violins", 40)),
                    pitch=np.where(two.instrument == 0, 40, 90))  # fmt: skip
    new = Song.from_bytes(revised(saved(tmp_path, midi.to_bytes(score)), 2, 3, session=session()).data)
    low, high = (new.pitch[new.track == track] for track in (1, 2))
    assert len(low)
    assert len(high)
    assert low.max() <= 65 <= high.min()


# ---- what it is composed for -----------------------------------------------------------------------------------------


def test_cuts_and_form_come_from_markers_without_a_record(tmp_path: Path) -> None:
    names = ["A", "Cut 1 00:00:03:00", "B"]
    marked = plain_song(bars=6, markers=[Marker(at, name) for at, name in zip((0.0, 3.0, 6.0), names, strict=True)])
    take = revised(saved(tmp_path, midi.to_bytes(marked)), 2, 3, session=session())
    assert take.found["cuts_s"] == [3.0]
    assert take.found["form"] == [{"label": "A", "start_s": 0.0}, {"label": "B", "start_s": 6.0}]
    assert [hit.within_frame for hit in take.hits] == [True]


@pytest.mark.parametrize(
    ("signatures", "asked"),
    [
        ([], ("auto", "off")),
        ([KeySignature(0.0, 0)], ("C", "major")),
        ([KeySignature(0.0, 0), KeySignature(2.0, 9, True)], ("A", "minor")),
        ([KeySignature(0.0, 6)], ("auto", "off")),  # F# major, which the notes are not in
    ],
)
def test_new_notes_lean_towards_the_key_of_the_song(
    signatures: list[KeySignature], asked: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emsync import revision

    plain = plain_song(bars=3, keys=signatures)
    score = replace(plain, pitch=np.array([60, 62, 64, 65, 67, 69, 71, 72])[np.arange(len(plain)) % 8])
    seen: list[Any] = []
    real = revision.revise
    monkeypatch.setattr(revision, "revise", lambda *a: seen.append(a[2].recipe) or real(*a))
    song = saved(tmp_path, midi.to_bytes(score))
    take = revised(song, 2, 2, session=session())
    assert (seen[0].key, seen[0].mode) == asked
    assert (take.recipe.key, take.recipe.mode) == ("auto", "auto")
    revised(song, 2, 2, session=session(), choices={"key": "E"})
    assert (seen[1].key, seen[1].mode, seen[1].progression) == ("E", "auto", "on")


def test_the_record_says_what_for_and_that_it_was_revised(composed: Path, take: Take, tmp_path: Path) -> None:
    song, beside = take.save(tmp_path / "second.mid")
    known = Record.read(beside)
    before = Record.read(f"{composed}.json")
    assert (known.cuts_s, known.mood, known.duration_s) == (before.cuts_s, before.mood, before.duration_s)
    again = revised(song, 1, 1, choices={"seed": 5})
    what = [(each["what"], each["seed"]) for each in again.found["revised"]]
    assert what == [("revised", 3), ("revised", 5)]
    with pytest.raises(InputError, match="of a song that was revised, which cannot be composed again"):
        soundtrack.again(known, session=session())


def test_given_cuts_mood_and_choices_count(composed: Path) -> None:
    take = revised(composed, 3, 3, cuts=[6.0], choices={"temperature": 0.9, "seed": 1})
    assert take.found["cuts_s"] == [6.0]
    assert (take.recipe.temperature, take.recipe.seed) == (0.9, 1)
    fewer = emsync.revise(composed, from_s=3.0, to_s=4.0, tries=1, emotion="sadness", session=session(Feeling()))
    assert fewer.found["mood"]["source"] == "sadness"
    with pytest.raises(ModelError, match="trained without mood"):
        emsync.revise(composed, bars=(1, 1), emotion="joy", session=session())


def test_changed_cuts_keep_what_must_have_a_chord(composed: Path, tmp_path: Path) -> None:
    record = json.loads(Path(f"{composed}.json").read_text())
    record |= {"weights": ["may", "must"]}
    (tmp_path / "song.mid.json").write_text(json.dumps(record))
    song = saved(tmp_path, composed.read_bytes())
    take = revised(song, 4, 4, cuts=CutChoice(add=("7",), drop=("5",)))
    assert take.found["cuts_s"] == [7.0, 9.2]
    assert take.found["weights"] == ["must", "must"]
    assert take.found["boundaries_s"] == [7.0, 9.2]
    take.save(tmp_path / "second.mid")
    assert Record.read(tmp_path / "second.mid.json").weights == ("must", "must")


def test_the_model_reads_velocities_without_the_finish_and_new_ones_get_it(
    composed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song, briefs, nothing = Song.read(composed), [], np.zeros(0, dtype=bool)
    monkeypatch.setattr(
        takes.revision, "revise", lambda *given: briefs.append(given[2]) or Change(song.data, nothing, ())
    )
    monkeypatch.setattr(takes._Brief, "take", lambda *given: None)
    arousal = float(Record.read(f"{composed}.json").mood.arousal[0])  # type: ignore[union-attr]
    revised(composed)
    by = loudness(Record.read(f"{composed}.json").recipe.expression)
    accented = np.abs(song.clock.seconds(song.on)[:, None] - [5.0, 9.2]).min(axis=1) < 2e-3
    lower = np.where(accented, ACCENT, 0.0) + by * arousal
    assert accented.any()
    assert briefs[0].context_velocity.tolist() == np.clip(np.rint(song.velocity - lower), 1, 127).tolist()
    assert briefs[0].arousal(np.array([3.0])) == pytest.approx(arousal)
    (tmp_path / "alone.mid").write_bytes(composed.read_bytes())  # without its record, nothing is known
    revised(tmp_path / "alone.mid")
    assert (briefs[1].context_velocity, briefs[1].arousal) == (None, None)
    loud = np.array([v.velocity_value(np.array(level)) for level in range(16)])
    assert (finish.loudened(np.zeros(16), loud, lambda t: np.full(len(t), 0.5)) - loud == [8] * 15 + [3]).all()


def test_a_part_is_as_loud_as_is_asked_and_the_rest_stays(composed: Path) -> None:
    soft, loud = (revised(composed, 3, 4, choices={"intensity": level}) for level in ("-20", "10"))
    old = Song.read(composed)
    velocities = []
    for take in (soft, loud):
        new = Song.from_bytes(take.data)
        fresh = rows(new) - rows(old)
        velocities.append(np.mean([row[3] for row in fresh.elements()]))
        inside = part_of(old, take)
        assert take.n_removed == inside.sum()
        assert not rows(old, ~inside) - rows(new), "a note that stays has changed"
    assert velocities[0] < velocities[1] - 30


# ---- what cannot be --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        (takes.Bars(4, 3), "bars 4-3 cannot be revised: the bars end before they begin"),
        (takes.Bars(3, 99), r"bars 3-99 cannot be revised: the song has bars 1 to \d+; give two of those"),
        (takes.Bars(0, 2), "bars 0-2 cannot be revised"),
        (Times(99.0), "99 s is not within the song, which has 12.00 s"),
        (Times(5.0, 5.0), "from 5 s to 5 s there is nothing"),
        (Times(5.0, 50.0), "50 s is past the end of the song at 12.00 s"),
        (Times(float("nan")), "nan s is not within the song"),
        (Times(5.0, 5.00001), "there is not even a tick"),
    ],
)
def test_parts_that_are_not_there(composed: Path, part: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        takes.revise(composed, part, session=session())


def test_tracks_and_choices_that_do_not_fit(composed: Path, take: Take, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no track 'tuba' that can be revised; the tracks are Drums, Piano"):
        revised(composed, tracks=["tuba"])
    with pytest.raises(InputError, match="--tempo does not apply to a song that has its tempo"):
        revised(composed, choices={"tempo_qpm": 100.0})
    with pytest.raises(InputError, match="--candidates does not apply to a part; --tries of emsync revise chooses"):
        revised(composed, choices={"candidates": 2})
    with pytest.raises(InputError, match="give the part to revise"):
        emsync.revise(composed)
    with pytest.raises(TypeError, match="no choice 'sead'"):
        emsync.revise(composed, bars=(1, 2), sead=3)  # type: ignore[call-arg]
    with pytest.raises(OutputError, match="exists already"):
        take.save(composed)
    with pytest.raises(MidiError, match="has no notes"):
        revised(saved(tmp_path, smf("00 c0 05")))
    effects = saved(tmp_path, smf("00 c0 7a" + NOTE))
    with pytest.raises(InputError, match="nothing but sound effects"):
        revised(effects, 1, 1)


# ---- files from elsewhere --------------------------------------------------------------------------------------------


def test_a_file_without_a_tempo_is_in_120(tmp_path: Path) -> None:
    notes = "".join(f"00 90 {60 + i:02x} 40 83 60 80 {60 + i:02x} 00" for i in range(12))
    take = revised(saved(tmp_path, smf(notes)), 2, 2, session=session())
    assert (take.from_s, take.to_s) == (2.0, 4.0)
    assert take.n_removed == 4


def test_bars_of_nine_eighths(tmp_path: Path) -> None:
    take = revised(saved(tmp_path, midi.to_bytes(plain_song(9, 8, bars=5))), 2, 4, session=session())
    assert (take.from_s, take.to_s) == (2.25, 9.0)
    assert set(take.score.bars.numerator.tolist()) == {9}


@pytest.mark.parametrize("meter", [(7, 16), (13, 4), (17, 4), (1, 8)])
def test_odd_and_very_long_bars(tmp_path: Path, meter: tuple[int, int]) -> None:
    take = revised(saved(tmp_path, midi.to_bytes(plain_song(*meter, bars=4))), 2, 2, session=session())
    assert take.score.bars.numerator[1] == meter[0]
    whole = revised(saved(tmp_path, midi.to_bytes(plain_song(*meter, bars=2))), 1, 2, session=session())
    assert whole.score.bars.numerator[:2].tolist() == [meter[0]] * 2
    assert whole.n_added > 0


def test_drums_alone_and_smpte_time(tmp_path: Path) -> None:
    beat = "".join("00 99 24 50 60 89 24 00" for _ in range(40))
    alone = revised(saved(tmp_path, smf(beat)), 1, 1, cuts=[1.5], session=session())
    assert {alone.score.instruments[i].is_drum for i in alone.score.instrument} == {True}
    frames = revised(saved(tmp_path, smf(beat, division=-(25 << 8) + 40), "smpte.mid"), 1, 1, session=session())
    assert frames.n_removed > 0


@pytest.mark.parametrize("qpm", [20.0, 600.0])
def test_very_slow_and_very_fast_files(tmp_path: Path, qpm: float) -> None:
    score = plain_song(bars=6)
    stretch, bars = 120 / qpm, score.bars
    slow = replace(
        score, tempo=TempoMap.constant(qpm), start_s=score.start_s * stretch, end_s=score.end_s * stretch,
        bars=Bars(bars.start_s * stretch, bars.numerator, bars.denominator), duration_s=12 * stretch,
    )  # fmt: skip
    take = revised(saved(tmp_path, midi.to_bytes(slow)), 2, 4, session=session())
    assert take.n_added > 0


def test_the_drums_of_a_calm_song_without_other_tracks_are_recomposed(tmp_path: Path) -> None:
    score = replace(plain_song(), instruments=(Instrument("Kit", 0, True), Instrument("Kit", 0, True)))
    calm = Mood(MoodCurve.constant(arousal=-0.8), "given", "as given")
    assert revised(saved(tmp_path, midi.to_bytes(score)), 2, 4, mood=calm).n_added > 0


# ---- arranging -------------------------------------------------------------------------------------------------------


def test_the_missing_families_are_added_and_the_melody_stays(tmp_path: Path) -> None:
    song = saved(tmp_path, midi.to_bytes(plain_song()))
    take = emsync.arrange(song, session=session(), seed=3)
    old, new = Song.read(song), Song.from_bytes(take.data)
    assert take.tracks == ("Drums", "Guitar", "Bass")
    assert [track.name for track in new.file.tracks[len(old.file.tracks) :]] == ["Drums", "Guitar", "Bass"]
    assert new.data[14:].startswith(old.data[14:]), "the tracks that were there are the same bytes"
    assert take.n_removed == 0
    assert take.n_added == len(new) - len(old) > 0
    assert new.score.bars == old.score.bars
    lines = [part.line for part in new.parts if part.n_notes]
    assert len(set(lines)) == len(lines)
    assert {int(line) for line in new.line[new.drum]} == {9}


def test_only_the_wanted_families_are_added(tmp_path: Path) -> None:
    song = saved(tmp_path, midi.to_bytes(plain_song()))
    assert emsync.arrange(song, add=["bass"], session=session()).tracks == ("Bass",)
    with pytest.raises(InputError, match="there is no family 'tuba' to add; the families are drums, piano"):
        emsync.arrange(song, add=["tuba"], session=session())
    with pytest.raises(InputError, match="has piano already; emsync revise --tracks piano"):
        emsync.arrange(song, add=["piano"], session=session())


def test_a_full_song_has_nothing_to_add(composed: Path) -> None:
    full = Song.read(composed)
    if len(set(full.track.tolist())) == 5:
        with pytest.raises(InputError, match="has all families"):
            emsync.arrange(composed, session=session())


def test_a_melody_on_all_channels_leaves_none(tmp_path: Path) -> None:
    notes = "".join(f"00 {0x90 | channel:02x} 3c 40 60 {0x80 | channel:02x} 3c 00" for channel in range(16))
    song = saved(tmp_path, smf(notes))
    with pytest.raises(InputError, match="uses all channels"):
        emsync.arrange(song, add=["bass"], session=session())


def test_a_record_lists_what_was_added(tmp_path: Path) -> None:
    song = saved(tmp_path, midi.to_bytes(plain_song()))
    _, beside = emsync.arrange(song, add=["bass"], session=session()).save(tmp_path / "out.mid")
    assert json.loads(beside.read_text())["revised"][0]["tracks"] == ["Bass"]
