"""Writing MIDI files."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import mido
import numpy as np
import pytest
from hypothesis import given

from emsync import midi
from emsync.errors import InputError, MidiError, OutputError
from emsync.score import Bars, Instrument, KeySignature, Marker, Score, TempoMap
from tests.midi_files import PIANO, absolute, band, dump, rows, seconds_by_mido
from tests.strategies import scores


def test_the_bytes_that_are_written() -> None:
    score = Score(
        (Instrument("Drums", 0, True), Instrument("Bass", 33)),
        [0, 1, 1],
        [36, 40, 40],
        [100, 90, 80],
        [0.0, 0.0, 0.5],
        [0.125, 0.5, 1.0],
        TempoMap.constant(120.0),
        Bars([0.0], [3], [4]),
        [Marker(0.5, "Cut 1")],
        [KeySignature(0.0, 7, True)],
    )
    assert midi.to_bytes(score) == dump(
        """
        4d 54 68 64  00 00 00 06  00 01  00 03  01 e0     # MThd: type 1, 3 tracks, 480 ticks a quarter
        4d 54 72 6b  00 00 00 31                          # MTrk: the conductor
        00    ff 03 09 43 6f 6e 64 75 63 74 6f 72         # its name
        00    ff 58 04 03 02 18 08                        # 3/4
        00    ff 59 02 fe 01                              # G minor: two flats
        00    ff 51 03 07 a1 20                           # 500,000 us a quarter: 120
        83 60 ff 06 05 43 75 74 20 31                     # marker at 480
        83 60 ff 2f 00                                    # End of Track at 960
        4d 54 72 6b  00 00 00 19                          # MTrk: drums
        00    ff 03 05 44 72 75 6d 73
        00    c9 00                                       # channel 10
        00    99 24 64
        78    89 24 40                                    # 120 ticks later
        86 48 ff 2f 00
        4d 54 72 6b  00 00 00 21                          # MTrk: bass
        00    ff 03 04 42 61 73 73
        00    c0 21                                       # channel 1, program 33
        00    90 28 5a
        83 60 80 28 40                                    # off before on
        00    90 28 50
        83 60 80 28 40
        00    ff 2f 00
        """
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    score = band()
    midi.write(score, tmp_path / "song.mid")
    got = midi.read(tmp_path / "song.mid")
    assert got.instruments == score.instruments
    assert got.instrument.tolist() == score.instrument.tolist()
    assert got.pitch.tolist() == score.pitch.tolist()
    assert got.velocity.tolist() == score.velocity.tolist()
    np.testing.assert_allclose(got.start_s, score.start_s, atol=1e-9)
    np.testing.assert_allclose(got.end_s, score.end_s, atol=1e-9)
    assert got.tempo == score.tempo
    assert got.bars.numerator.tolist() == score.bars.numerator.tolist()
    np.testing.assert_allclose(got.bars.start_s, score.bars.start_s, atol=1e-9)
    assert [(marker.text, round(marker.time_s, 9)) for marker in got.markers] == [
        (marker.text, round(marker.time_s, 9)) for marker in score.markers
    ]
    assert got.keys == score.keys
    assert got.duration_s == pytest.approx(score.duration_s, abs=1e-9)
    # What was read is written as the same bytes again.
    assert midi.to_bytes(got) == midi.to_bytes(score)
    assert [path.name for path in tmp_path.iterdir()] == ["song.mid"]


@given(scores())
def test_round_trip(score: Score) -> None:
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.instruments == score.instruments
    # Starts less than a tick apart may come back in another order: compare key by key, in time.
    columns = []
    for each in (score, got):
        order = np.lexsort((each.start_s, each.pitch, each.instrument))
        columns.append([getattr(each, name)[order] for name in ("instrument", "pitch", "velocity", "start_s", "end_s")])
    for wanted, found in zip(*columns, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
    assert got.bars.numerator.tolist() == score.bars.numerator.tolist()
    assert got.bars.denominator.tolist() == score.bars.denominator.tolist()
    np.testing.assert_allclose(got.bars.start_s, score.bars.start_s, rtol=0, atol=1e-3)
    middles_s = (score.bars.start_s + np.append(score.bars.start_s[1:], score.duration_s)) / 2
    np.testing.assert_allclose(got.tempo.qpm_at(middles_s), score.tempo.qpm_at(middles_s), rtol=3e-4)
    assert [marker.text for marker in got.markers] == [marker.text for marker in score.markers] or len(
        {marker.time_s for marker in got.markers}
    ) < len(got.markers)
    for key, wanted_key in zip(got.keys, score.keys, strict=True):
        assert (key.tonic, key.is_minor) == (wanted_key.tonic, wanted_key.is_minor)
        assert key.time_s == pytest.approx(wanted_key.time_s, abs=1e-3)
    assert score.duration_s - 2e-3 <= got.duration_s <= score.duration_s + 1e-3


TEN_MINUTES_S = 600.0


@pytest.mark.parametrize("qpm", [133.7, 97.31, 61.03, 59.97, 23.7, 399.99, 240.01, 120.0, 3.6])
def test_nothing_drifts_in_ten_minutes(qpm: float) -> None:
    rng = np.random.default_rng(7)
    start_s = np.sort(rng.uniform(0, TEN_MINUTES_S - 1, 300))
    tempo = TempoMap.constant(qpm)
    bars_s = np.arange(0, TEN_MINUTES_S, 240 / qpm)
    bars = Bars(bars_s, np.full(len(bars_s), 4), np.full(len(bars_s), 4))
    pitch = np.arange(300) % 100
    notes = (np.zeros(300), pitch, np.full(300, 80), start_s, start_s + 0.3)
    score = Score((PIANO,), *notes, tempo, bars, duration_s=TEN_MINUTES_S)
    data = midi.to_bytes(score)
    onsets = np.array(seconds_by_mido(mido.MidiFile(file=io.BytesIO(data))))
    assert onsets[:, 1].tolist() == pitch.tolist()
    assert np.abs(onsets[:, 0] - start_s).max() <= 1e-3
    got = midi.from_bytes(data)
    np.testing.assert_allclose(got.bars.start_s, bars_s[: len(got.bars)], rtol=0, atol=0.5e-3)
    assert len(got.bars) == len(bars_s)
    np.testing.assert_allclose(got.tempo.qpm, qpm, rtol=3e-4)


@pytest.mark.parametrize("qpm", [133.7, 97.31, 61.03, 183.3, 399.99, 31.0])
@pytest.mark.parametrize("bars", [1, 40, 333])
def test_a_piece_that_ends_with_a_bar_ends_on_its_tick_and_not_late(qpm: float, bars: int) -> None:
    start_s = np.arange(bars) * 240 / qpm
    end_s = bars * 240 / qpm
    grid = (TempoMap.constant(qpm), Bars(start_s, np.full(bars, 4), np.full(bars, 4)))
    score = Score((PIANO,), [0], [60], [80], [0.0], [end_s], *grid)
    data = midi.to_bytes(score)
    file = mido.MidiFile(file=io.BytesIO(data))
    assert {track[-1][0] for track in absolute(file)} == {bars * 4 * file.ticks_per_beat}
    got = midi.from_bytes(data)
    assert end_s - 1e-3 <= got.duration_s <= end_s + 1e-9
    np.testing.assert_allclose(got.bars.start_s, start_s, rtol=0, atol=0.5e-3)


def test_nothing_drifts_where_the_tempo_changes_at_every_bar() -> None:
    rng = np.random.default_rng(8)
    qpm = np.round(rng.uniform(63, 380, 400), 3)
    numerator = rng.integers(2, 9, 400)
    start_s = np.concatenate([[0.0], np.cumsum(numerator[:-1] / 2 * 60 / qpm[:-1])])
    tempo, bars = TempoMap(start_s, qpm), Bars(start_s, numerator, np.full(400, 8))
    assert start_s[-1] > 200
    # A note on every bar line, and one anywhere.
    anywhere_s = np.sort(rng.uniform(0, start_s[-1], 400))
    notes_s = np.concatenate([start_s, anywhere_s])
    who = np.repeat([0, 1], 400)
    score = Score((PIANO, PIANO), who, np.full(800, 60), np.full(800, 80), notes_s, notes_s + 0.01, tempo, bars)
    file = mido.MidiFile(file=io.BytesIO(midi.to_bytes(score)))
    onsets = np.array(seconds_by_mido(file))
    assert np.abs(onsets[:, 0] - np.sort(notes_s)).max() <= 1e-3
    # Bars are on multiples of their meter, tempo changes and the notes of the bar lines on the bars.
    bar_ticks = np.concatenate([[0], np.cumsum(numerator * 240)])
    tracks = absolute(file)
    assert {tick for tick, message in tracks[0] if message.type in ("time_signature", "set_tempo")} <= set(bar_ticks)
    assert [tick for tick, message in tracks[1] if message.type == "note_on"] == bar_ticks[:-1].tolist()
    assert file.ticks_per_beat == 480


@pytest.mark.parametrize(("qpm", "ticks"), [(63.0, 480), (60.0, 960), (31.0, 1920), (400.0, 480)])
def test_resolution_doubles_for_slow_tempi(qpm: float, ticks: int) -> None:
    end_s = 240 / qpm
    data = midi.to_bytes(Score((PIANO,), [0], [60], [80], [0], [end_s], TempoMap.constant(qpm), Bars([0], [4], [4])))
    assert struct.unpack(">H", data[12:14]) == (ticks,)


def test_another_resolution() -> None:
    score = band()
    data = midi.to_bytes(score, ticks_per_quarter=960)
    assert struct.unpack(">H", data[12:14]) == (960,)
    assert midi.to_bytes(midi.from_bytes(data)) == midi.to_bytes(score)
    with pytest.raises(MidiError, match="100 ticks a quarter note cannot be used; give a multiple of 16"):
        midi.to_bytes(score, ticks_per_quarter=100)


def one_part(start_s: list[float], end_s: list[float], **more: object) -> Score:
    """Notes on C4, loudest first, at 120."""
    count = len(start_s)
    velocity = 100 - np.arange(count)
    grid = (TempoMap.constant(120.0), Bars([0.0], [4], [4]))
    return Score((PIANO,), np.zeros(count), np.full(count, 60), velocity, start_s, end_s, *grid, **more)  # type: ignore[arg-type]


def test_equal_notes_that_collide() -> None:
    # Two that begin together, one that begins while they sound, one of no length worth a tick, one right behind it.
    got = midi.from_bytes(midi.to_bytes(one_part([0.0, 0.0, 0.25, 1.0, 1.5], [0.5, 0.75, 0.5, 1.00001, 2.0])))
    tick_s = 1 / 960
    assert rows(got) == [
        (0, 60, 100, 0.0, 0.25),
        (0, 60, 98, 0.25, 0.5),
        (0, 60, 97, 1.0, 1.0 + tick_s),
        (0, 60, 96, 1.5, 2.0),
    ]


def test_nothing_is_past_the_end() -> None:
    end_s = 1.9999
    score = one_part([0.0], [end_s], markers=[Marker(end_s, "End")], duration_s=end_s)
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.duration_s <= end_s
    assert got.end_s.max() <= end_s
    assert got.markers[0].time_s <= end_s
    # Where rounding down would take more than a millisecond from the last note, ticks are made finer instead.
    end_s = 1.04163  # 999.965 ticks
    data = midi.to_bytes(one_part([0.0], [end_s]))
    assert struct.unpack(">H", data[12:14]) == (960,)
    assert end_s - 1e-3 <= midi.from_bytes(data).end_s[0] <= end_s


def test_bars_that_do_not_last_as_their_meter_says() -> None:
    # A pickup of an eighth, a bar cut to 3/4, one that lasts 5/8, one ended off every grid, then regular ones.
    start_s = [0.25, 2.25, 3.75, 5.0, 6.2345, 8.2345, 10.2345]
    bars = Bars(start_s, [4] * 7, [4] * 7)
    score = Score((PIANO,), [0], [60], [80], [0.0], [12.0], TempoMap.constant(120.0), bars)
    got = midi.from_bytes(midi.to_bytes(score))
    np.testing.assert_allclose(got.bars.start_s, [0.0, *start_s], atol=1e-3)
    labels = list(zip(got.bars.numerator.tolist(), got.bars.denominator.tolist(), strict=True))
    assert labels == [(1, 8), (4, 4), (3, 4), (5, 8), (4, 4), (4, 4), (4, 4), (4, 4)]


def test_music_long_before_the_first_bar_and_bars_far_apart() -> None:
    bars = Bars([5.0, 7.0, 11.0], [4, 4, 4], [4, 4, 4])
    score = Score((PIANO,), [0], [60], [80], [0.0], [13.0], TempoMap.constant(120.0), bars)
    got = midi.from_bytes(midi.to_bytes(score))
    assert got.bars.start_s.tolist() == [0.0, 1.0, 3.0, 5.0, 7.0, 11.0]
    assert got.bars.numerator.tolist() == [2, 4, 4, 4, 8, 4]


def test_no_bars_at_all_are_four_four() -> None:
    score = Score((PIANO,), [0], [60], [80], [0.0], [4.0], TempoMap.constant(120.0), Bars([], [], []))
    assert midi.from_bytes(midi.to_bytes(score)).bars == Bars([0.0, 2.0], [4, 4], [4, 4])


def instruments(programs: list[int], drums: int = 0) -> Score:
    """A score of one note an instrument."""
    players = [Instrument(f"Part {i}", program) for i, program in enumerate(programs)]
    players += [Instrument(f"Kit {i}", 0, True) for i in range(drums)]
    count = len(players)
    grid = (TempoMap.constant(120.0), Bars([0.0], [4], [4]))
    return Score(tuple(players), range(count), [60] * count, [80] * count, [0.0] * count, [1.0] * count, *grid)


def test_channels() -> None:
    def channels(score: Score) -> list[int]:
        tracks = absolute(mido.MidiFile(file=io.BytesIO(midi.to_bytes(score))))[1:]
        return [next(message.channel for _, message in track if message.type == "note_on") for track in tracks]

    assert channels(instruments([5] * 15, drums=2)) == [*range(9), *range(10, 16), 9, 9]
    shared = instruments([*range(15), 3, 4])
    assert channels(shared) == [*range(9), *range(10, 16), 3, 4]
    assert midi.from_bytes(midi.to_bytes(shared)) == shared
    with pytest.raises(MidiError, match="16 melodic instruments of 16 programs do not fit the 15 channels"):
        midi.to_bytes(instruments(list(range(16))))


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("is_minor", [False, True])
def test_keys(tonic: int, is_minor: bool) -> None:
    score = one_part([0.0], [1.0], keys=[KeySignature(0.0, tonic, is_minor)])
    assert midi.from_bytes(midi.to_bytes(score)).keys == score.keys


def test_what_a_file_cannot_hold() -> None:
    slow = Score((PIANO,), [0], [60], [80], [0], [9], TempoMap.constant(3.5), Bars([0], [4], [4]))
    with pytest.raises(MidiError, match=r"a tempo of 3\.5 quarter notes a minute is slower than .* \(3\.58\)"):
        midi.to_bytes(slow)
    with pytest.raises(MidiError, match="a score of 25 hours is over 24"):
        midi.to_bytes(one_part([0.0], [1.0], duration_s=25 * 3600.0))
    fast = Score((PIANO,), [0], [60], [80], [0], [86000.0], TempoMap.constant(90000.0), Bars([0], [4], [4]))
    with pytest.raises(MidiError, match="ticks is over 268435455"):
        midi.to_bytes(fast)
    with pytest.raises(MidiError, match="1024 instruments are over 1023"):
        midi.to_bytes(instruments([0] * 1024))


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    score = band()
    with pytest.raises(OutputError, match="is not a folder"):
        midi.write(score, tmp_path / "none" / "song.mid")
    path = tmp_path / "song.mid"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        midi.write(score, path, overwrite=False)
    assert path.read_bytes() == b"precious"
    # A score that cannot be written leaves the old file alone, and no other behind.
    with pytest.raises(InputError, match="cannot be used"):
        midi.write(score, path, ticks_per_quarter=7)
    assert [each.name for each in tmp_path.iterdir()] == ["song.mid"]
    assert path.read_bytes() == b"precious"
    midi.write(score, path)
    assert midi.read(path).instruments == score.instruments
