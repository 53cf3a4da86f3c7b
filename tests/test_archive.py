"""Archives: written, read back, refused when wrong; songs to seconds and back."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.errors import CorpusError, OutputError
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.corpus import songs as songs_module
from emsync.training.corpus.archive import (
    Archive,
    Song,
    deltas,
    is_archive,
    pack,
    read_archive,
    song_count,
    starts,
    write_archive,
)
from emsync.training.corpus.archive_events import tokenize
from emsync.training.corpus.archive_schema import MOOD_SCHEMA, SCHEMA
from emsync.training.corpus.song_to_score import bar_table, song_score, tempo_map, to_score
from emsync.training.corpus.songs import Losses, Refused, Timeline, build_song, convert_score, score_to_song
from emsync.vocabulary import BASS, DRUMS, PIANO, STRINGS

Note = tuple[int, int, int, int, int]  # family, pitch, start, end, velocity
NO_TIMELINE = Timeline(*(np.zeros(0, dtype=np.int64) for _ in range(5)))


def timeline(tempo: list[tuple[int, float]], meter: list[tuple[int, int, int]]) -> Timeline:
    tempo_step, qpm = [np.array([each[i] for each in tempo]) for i in range(2)]
    meter_step, num, den = [np.array([each[i] for each in meter], dtype=np.int64) for i in range(3)]
    return Timeline(tempo_step.astype(np.int64), qpm.astype(np.float64), meter_step, num, den)


def build(notes: list[Note], when: Timeline = NO_TIMELINE, **named: Any) -> Song:
    columns = [np.array(column) for column in zip(*notes, strict=True)]
    return build_song(*columns, when, **named).song


SCALE = [(PIANO, 60 + i, 24 * i, 24 * i + 24, 80) for i in range(8)]
TWO_SONGS = [
    build(
        [*SCALE, (DRUMS, 36, 0, 3, 127), (BASS, 40, 48, 900, 1)],
        timeline([(0, 90.0), (96, 140.5)], [(0, 3, 4), (72, 6, 8)]),
        song_id="a" * 32,
        source="some/folder/ä.mid",
    ),
    build([(STRINGS, 70, 10, 20, 64)], song_id="b" * 32, source="x.npz"),
]


def same(a: Song, b: Song) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in Song.__dataclass_fields__]
    return all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in pairs)


def test_read_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "songs.npz"
    write_archive(path, TWO_SONGS)
    archive = read_archive(path)
    assert len(archive) == 2
    assert all(same(got, put) for got, put in zip(archive, TWO_SONGS, strict=True))
    assert same(archive[-1], TWO_SONGS[1])
    assert [song.pool for song in archive] == ["more", "fewer"]
    with np.load(path) as plain:  # any NumPy reads it, with the types of the schema
        for name, kind in SCHEMA.items():
            assert plain[name].dtype.kind == np.dtype(kind).kind
            assert kind == "U" or plain[name].dtype == np.dtype(kind)
    assert {each.compress_type for each in zipfile.ZipFile(path).infolist()} == {zipfile.ZIP_LZMA}


def test_equal_songs_give_equal_bytes_and_unknown_arrays_are_passed_over(tmp_path: Path) -> None:
    one, two = tmp_path / "one.npz", tmp_path / "two.npz"
    write_archive(one, TWO_SONGS)
    write_archive(two, read_archive(one))
    assert one.read_bytes() == two.read_bytes()
    with np.load(one) as loaded:
        np.savez(two, extra=np.arange(3), **{name: loaded[name] for name in loaded.files})
    assert len(read_archive(two)) == 2


def with_curves(*lengths: int) -> dict[str, np.ndarray]:
    """The arrays of the two songs, with made-up mood curves of so many seconds."""
    values = np.arange(sum(lengths)) % 255 - 127
    offset = np.cumsum([0, *lengths], dtype=np.int64)
    curves = {"mood_offset": offset, "mood_valence": values.astype(np.int8), "mood_arousal": -values.astype(np.int8)}
    return {**pack(TWO_SONGS).arrays, **curves}


def test_mood_curves_are_kept_where_there_are_some(tmp_path: Path) -> None:
    one, two, bare = (tmp_path / name for name in ("one.npz", "two.npz", "bare.npz"))
    write_archive(one, Archive(with_curves(3, 260)))
    archive = read_archive(one)
    assert archive.has_mood
    assert archive.mood(0).tolist() == [[-127, 127], [-126, 126], [-125, 125]]
    assert archive.mood(1).shape == (260, 2)
    assert archive.mood(1).dtype == np.int8
    assert all(same(got, put) for got, put in zip(archive, TWO_SONGS, strict=True))
    with np.load(one) as plain:
        assert {name: plain[name].dtype for name in MOOD_SCHEMA} == MOOD_SCHEMA
    write_archive(two, archive)
    assert one.read_bytes() == two.read_bytes()
    write_archive(bare, TWO_SONGS)
    assert not read_archive(bare).has_mood
    assert set(read_archive(bare).arrays) == set(SCHEMA)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mood_offset": np.array([0, 3])}, "mood_offset does not divide moods of lengths .* among 2 songs"),
        ({"mood_offset": np.array([0, 3, 6])}, "mood_offset does not divide"),
        ({"mood_offset": np.array([0, 8, 7])}, "mood_offset does not divide"),
        ({"mood_offset": np.array([1, 3, 7])}, "mood_offset does not divide"),
        ({"mood_valence": np.zeros(6, np.int8)}, r"does not divide moods of lengths \[6, 7\]"),
        ({"mood_arousal": np.full(7, 200)}, "mood_arousal reaches from 200 to 200, outside -128 to 127"),
        ({"mood_arousal": np.zeros(7)}, "mood_arousal holds float64, not int8"),
        ({"mood_valence": None}, "bad.npz lacks mood_valence; give an archive"),
        ({"mood_offset": None}, "bad.npz lacks mood_offset; give an archive"),
    ],
)
def test_mood_curves_that_do_not_fit_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {name: array for name, array in (with_curves(3, 4) | change).items() if array is not None}
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(CorpusError, match=message):
        read_archive(tmp_path / "bad.npz")


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="mood_offset does not divide"):
        write_archive(tmp_path / "bad.npz", Archive(with_curves(3, 4) | {"mood_offset": np.array([0, 3, 6])}))
    assert not list(tmp_path.iterdir())


def test_archives_are_distinguished_from_other_files(tmp_path: Path) -> None:
    write_archive(tmp_path / "a.npz", TWO_SONGS)
    np.savez(tmp_path / "other.npz", family=np.arange(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-50])
    found = {path.name: is_archive(path) for path in [*tmp_path.iterdir(), tmp_path / "gone.npz"]}
    assert found == {"a.npz": True, "other.npz": False, "text.npz": False, "cut.npz": False, "gone.npz": False}
    assert song_count(tmp_path / "a.npz") == 2
    with pytest.raises(CorpusError, match=r"other.npz lacks pitch"):
        song_count(tmp_path / "other.npz")


def test_an_archive_of_no_songs(tmp_path: Path) -> None:
    write_archive(tmp_path / "none.npz", [])
    assert list(read_archive(tmp_path / "none.npz")) == []


def test_index_out_of_range() -> None:
    with pytest.raises(IndexError, match="song 2 of an archive of 2"):
        pack(TWO_SONGS)[2]


def test_does_not_overwrite_unasked(tmp_path: Path) -> None:
    path = tmp_path / "songs.npz"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already; give --overwrite"):
        write_archive(path, TWO_SONGS, overwrite=False)
    assert path.read_text() == "mine"


def test_archives_feed_the_event_tokenizer() -> None:
    events = tokenize(pack(TWO_SONGS).arrays)
    assert len(events.offsets) == 3
    assert (np.diff(events.offsets) > 4).all()


@pytest.mark.parametrize("keep", [0, 10, 200, 0.5, 0.95])
def test_truncated_archive(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "songs.npz"
    write_archive(path, TWO_SONGS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CorpusError, match=r"songs.npz cannot be read as an archive \(.*\); was it cut off\?"):
        read_archive(path)


def test_damaged_archive(tmp_path: Path) -> None:
    path = tmp_path / "songs.npz"
    write_archive(path, TWO_SONGS)
    data = bytearray(path.read_bytes())
    data[60:90] = bytes(30)  # inside the first array's compressed bytes
    path.write_bytes(data)
    with pytest.raises(CorpusError, match=r"songs.npz cannot be read as an archive"):
        read_archive(path)


def test_missing_file_and_other_files(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere.npz is not a file; give an archive"):
        read_archive(tmp_path / "nowhere.npz")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(CorpusError, match=r"text.npz cannot be read as an archive"):
        read_archive(tmp_path / "text.npz")
    np.save(tmp_path / "single.npy", np.arange(3))
    with pytest.raises(CorpusError, match="cannot be read as an archive"):
        read_archive(tmp_path / "single.npy")
    np.savez(tmp_path / "other.npz", family=np.arange(3))
    with pytest.raises(
        CorpusError, match=r"other.npz lacks pitch, start_delta, .*; give an archive that `emsync prepare`"
    ):
        read_archive(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", **{name: np.array([{}], dtype=object) for name in SCHEMA})
    with pytest.raises(CorpusError, match=r"pickle.npz cannot be read as an archive"):
        read_archive(tmp_path / "pickle.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("family", lambda a: a + 5, "family .* is over 4"),
        ("family", lambda a: a[:, None], "family has 2 dimensions where a row is needed"),
        ("family", lambda a: a.astype(float), "family holds float64, not uint8"),
        ("pitch", lambda a: a * 0, "pitch 0 of drums is outside 27 to 87"),
        ("pitch", lambda a: a.astype(int) + 1000, "pitch reaches from .* to .*, outside 0 to 255"),
        ("velocity", lambda a: a * 0, "velocity 0 is outside 1 to 127"),
        ("velocity", lambda a: a * 0 + 200, "velocity 200 is outside 1 to 127"),
        ("duration", lambda a: a * 0, "duration 0 is outside 1 to 384"),
        ("duration", lambda a: a * 0 + 385, "duration 385 is outside 1 to 384"),
        ("pitch", lambda a: a[:-1], "note_offset does not divide notes of lengths .* among 2 songs"),
        ("note_offset", lambda a: a[::-1], "note_offset does not divide"),
        ("note_offset", lambda a: a + 1, "note_offset does not divide"),
        ("note_offset", lambda a: a[:0], "songs but 2 entries of song_id"),
        ("song_id", lambda a: a[:1], "2 songs but 1 entries of song_id; was the archive cut off"),
        ("pool", lambda a: np.arange(2), "pool holds int64, not text"),
        ("tempo_offset", lambda a: a * 2, "tempo_offset does not divide tempos"),
        ("meter_num", lambda a: a[:0], "meter_offset does not divide meters"),
        ("tempo_step", lambda a: a - 5, "a tempo stands at step -5, before its song begins"),
    ],
)
def test_refuses_arrays_that_say_something_else(tmp_path: Path, name: str, value: object, message: str) -> None:
    arrays = dict(pack([*TWO_SONGS]).arrays)
    arrays[name] = value(arrays[name])  # type: ignore[operator]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(CorpusError, match=message):
        read_archive(tmp_path / "bad.npz")


def test_refuses_notes_out_of_order(tmp_path: Path) -> None:
    chord = build([(PIANO, 60 + i, 0, 24, 80) for i in range(3)])
    for name in ("pitch", "family"):
        arrays = dict(pack([chord, *TWO_SONGS]).arrays)
        arrays["pitch"] = np.full_like(arrays["pitch"], 60) if name == "pitch" else arrays["pitch"]
        arrays["family"] = arrays["family"][::-1] if name == "family" else np.full_like(arrays["family"], PIANO)
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(CorpusError, match=r"notes are not in the order \(family, start, pitch\)"):
            read_archive(tmp_path / "bad.npz")


def test_song_refuses_disorder() -> None:
    good = {name: getattr(TWO_SONGS[0], name) for name in Song.__dataclass_fields__}
    with pytest.raises(CorpusError, match="must be in the order"):
        Song(**{**good, "start_step": good["start_step"][::-1]})
    with pytest.raises(CorpusError, match="a note begins at step -3, before the song"):
        Song(**{**good, "start_step": good["start_step"] - 3})
    with pytest.raises(CorpusError, match="as many families as pitches"):
        Song(**{**good, "pitch": good["pitch"][1:]})


def test_starts_and_deltas_are_inverses() -> None:
    family, start = np.array([0, 0, 1, 1, 1, 4]), np.array([3, 9, 0, 0, 7, 5])
    delta = deltas(family, start)
    assert delta.tolist() == [3, 6, 0, 0, 7, 5]
    assert starts(family, delta).tolist() == start.tolist()
    assert len(starts(family[:0], delta[:0])) == len(deltas(family[:0], start[:0])) == 0


# Making songs.


def test_build_song_sorts_merges_cuts_and_counts() -> None:
    notes: list[Note] = [
        (STRINGS, 60, 500, 1000, 70),  # over 384 steps
        (PIANO, 60, 0, 48, 127),
        (PIANO, 60, 24, 36, 90),  # while the first sounds
        (PIANO, 60, 24, 30, 100),  # together with the second
        (PIANO, 9, 0, 24, 0),  # too low
        (DRUMS, 36, 0, 100, 3),
        (DRUMS, 36, 2, 100, 3),
        (DRUMS, 20, 0, 3, 3),  # no such drum
        (-1, 60, 0, 3, 3),  # an effect
    ]
    made = build_song(*(np.array(column) for column in zip(*notes, strict=True)), NO_TIMELINE)
    song = made.song
    columns = [song.family, song.pitch, song.start_step, song.duration_step, song.velocity]
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == [
        (DRUMS, 36, 0, 2, 4),
        (DRUMS, 36, 2, 3, 4),
        (PIANO, 21, 0, 24, 4),
        (PIANO, 60, 0, 24, 124),
        (PIANO, 60, 24, 24, 100),
        (STRINGS, 60, 500, 384, 68),
    ]
    assert made.losses == Losses(effects=1, out_of_range=1, folded=1, duplicates=1, cut=1, shortened=1)
    assert made.losses + made.losses == Losses(2, 2, 2, 2, 2, 2)


def test_build_song_refuses() -> None:
    with pytest.raises(Refused, match="8 usable notes are fewer than 9") as short:
        build(SCALE, min_notes=9)
    assert short.value.reason == songs_module.TOO_SHORT
    with pytest.raises(Refused, match="one family is silent for 2731 quarters, over 2730; cut the silence") as silent:
        build([*SCALE, (BASS, 40, 65_550, 65_560, 80)])
    assert silent.value.reason == songs_module.TOO_LONG_A_SILENCE
    with pytest.raises(Refused, match="past 349525; cut it") as long:
        build([*SCALE, (BASS, 40, 10**7, 10**7 + 1, 80)])
    assert long.value.reason == songs_module.TOO_LONG


def test_the_longest_silence_fits() -> None:
    song = build([(BASS, 40, 65_535, 65_560, 80), (BASS, 40, 2 * 65_535, 2 * 65_535 + 1, 80)])
    assert same(pack([song])[0], song)


# Seconds.


def test_tempo_map_of_absurd_values() -> None:
    when = timeline([(48, 1e9), (48, 60.0), (96, 60.0), (144, -5.0), (168, float("nan"))], [])
    tempo = tempo_map(build([(PIANO, 60, 480, 490, 80)], when))
    # 120 for two quarters (1 s), 60 for four (4 s), 20 for one (3 s), then 120.
    assert tempo.times_s.tolist() == [0.0, 1.0, 5.0, 8.0]
    assert tempo.qpm.tolist() == [120.0, 60.0, 20.0, 120.0]


def test_a_song_in_seconds() -> None:
    score = to_score(build([(PIANO, 60, 24, 72, 80), (DRUMS, 36, 48, 99, 80)], timeline([(48, 60.0)], [])))
    assert score.instruments == FAMILY_INSTRUMENTS
    assert score.instrument.tolist() == [PIANO, DRUMS]
    assert score.start_s == pytest.approx([0.5, 1.0])
    assert score.end_s == pytest.approx([2.0, 1.125])
    assert score.bars.start_s == pytest.approx([0.0])


def test_bars_follow_meters_and_end_where_another_meter_begins() -> None:
    when = timeline([], [(72, 3, 4), (180, 7, 8), (264, 5, 0), (300, 0, 4), (350, 4, 5)])
    song = build([(PIANO, 60, 0, 450, 80)], when)
    start, num, den = bar_table(song)
    # A 4/4 bar cut to 3/4, a bar of 3/4, another cut to 3/8, then 7/8; impossible meters change nothing.
    assert list(zip(start.tolist(), num.tolist(), den.tolist(), strict=True)) == [
        (0, 3, 4),
        (72, 3, 4),
        (144, 3, 8),
        (180, 7, 8),
        (264, 7, 8),
        (348, 7, 8),
    ]


def test_bars_that_cannot_be_written_keep_their_meter() -> None:
    start, num, den = bar_table(build([(PIANO, 60, 0, 96, 80)], timeline([], [(10, 4, 4)])))
    assert list(zip(start.tolist(), num.tolist(), den.tolist(), strict=True)) == [(0, 4, 4), (10, 4, 4)]


def test_song_score_reads_from_an_archive() -> None:
    archive = pack(TWO_SONGS)
    assert song_score(archive, 1) == to_score(TWO_SONGS[1])


def test_convert_score_merges_and_follows_tempo_and_meter() -> None:
    score = Score(
        (Instrument("organ", 19, False), Instrument("rain", 96, False)),
        np.array([0, 0, 1]),
        np.array([60, 64, 60]),
        np.array([80, 81, 82]),
        np.array([0.0, 1.0, 0.0]),
        np.array([0.5, 3.0, 1.0]),
        TempoMap(np.array([0.0, 1.0]), np.array([120.0, 60.0])),
        Bars(np.array([0.0, 1.0, 3.0]), np.array([2, 2, 3]), np.array([4, 4, 4])),
    )
    made = convert_score(score, song_id="c" * 32, source="here")
    song = made.song
    assert song.start_step.tolist() == [0, 48]
    assert song.duration_step.tolist() == [24, 48]
    assert song.tempo_step.tolist() == [0, 48]
    assert song.tempo_qpm.tolist() == [120.0, 60.0]
    assert (song.meter_step.tolist(), song.meter_num.tolist(), song.meter_den.tolist()) == ([0], [2], [4])
    assert (song.song_id, song.source, made.losses) == ("c" * 32, "here", Losses(effects=1))


def test_a_bar_cut_short_keeps_its_place() -> None:
    # Bars of 4/4 at 0, 1 and 5 quarters: the first is cut, though its label does not say so.
    bars = Bars(np.array([0.0, 0.5, 2.5]), np.array([4, 4, 4]), np.array([4, 4, 4]))
    notes = (np.array([0]), np.array([60]), np.array([80]), np.array([0.0]), np.array([4.0]))
    song = score_to_song(Score((Instrument("piano", 0, False),), *notes, TempoMap.constant(120.0), bars))
    assert (song.meter_step.tolist(), song.meter_num.tolist()) == ([0, 24], [4, 4])
    assert to_score(song).bars.start_s.tolist() == [0.0, 0.5, 2.5]


NOTES = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(27, 87),
        st.integers(0, 5000),
        st.integers(1, 384),
        st.integers(0, 15).map(lambda level: 8 * level + 4),
    ),
    min_size=1,
    max_size=40,
)
TEMPI = st.lists(st.tuples(st.integers(0, 5000), st.floats(1, 1000, width=32)), max_size=5)


@given(NOTES, TEMPI)
def test_seconds_and_back(notes: list[Note], tempi: list[tuple[int, float]]) -> None:
    song = build([(f, p, start, start + length, v) for f, p, start, length, v in notes], timeline(sorted(tempi), []))
    back = score_to_song(to_score(song))
    for name in ("family", "pitch", "start_step", "duration_step", "velocity"):
        assert getattr(back, name).tolist() == getattr(song, name).tolist()
