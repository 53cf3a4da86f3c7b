"""Ports and drum kits as FluidSynth can play them: what is written into a port's file, and what is heard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsync.audio import render
from emsync.midi_mend import playable
from emsync.midi_ports import Order, for_port, is_reset
from tests.midi_files import dump, smf

PORT_2 = "00 ff 21 01 01  "
QUIET = "00 90 3c 01  00 80 3c 00"
SNARE = "00 99 26 64  83 60 89 26 00"
CHANNEL_11 = "00 9a 26 64  83 60 8a 26 00"
GM, GM2 = "00 f0 05 7e 7f 09 01 f7  ", "00 f0 05 7e 7f 09 03 f7  "
XG = "00 f0 08 43 10 4c 00 00 7e 00 f7  "
GS = "00 f0 0a 41 10 42 12 40 00 7f 00 41 f7  "
GS_PART = "00 f0 0a 41 10 42 12 40 1a 15 01 10 f7  "
XG_PART = "00 f0 08 43 10 4c 08 0a 07 02 f7  "


def test_orders_are_read_back() -> None:
    for order in (Order((9,), False), Order((0, 15), True), Order((1, 2), None, tuple(range(-6, 6)))):
        text = order.event()[3:]
        assert Order.read(text) == Order.read(text + b"\0") == order
    assert Order.read(b"") is None
    assert Order.read(b"drums 3") is None


@pytest.mark.parametrize("reset", [GM, GM2, XG, GS])
def test_a_reset_is_of_one_port(reset: str) -> None:
    event = dump(reset)[1:]
    assert is_reset(event)
    note = b"\x90\x3c\x40"
    assert for_port([(0, event), (0, note)], []) == [(0, note)], "there is nothing to put back yet"
    later = for_port([(0, note), (5, b"\xb0\x07\x10"), (5, event), (9, event)], [])
    assert later[0] == (0, note)
    assert later[-1] == (5, b"\xb0\x07\x10"), "a reset is before what its tick sets"
    assert (5, b"\xb3\x07\x64") in later
    assert {tick for tick, _ in later} == {0, 5}, "after a reset there is nothing to put back"


def test_other_sysex() -> None:
    tuning = b"\xf0\x0b\x7f\x00\x08\x02\x00\x01\x3c\x3d\x00\x00\xf7"
    assert not is_reset(tuning)
    volume = b"\xf0\x07\x7f\x7f\x04\x01\x00\x40\xf7"
    long = b"\xf0\x83\x17\x7e\x00\x08\x01" + bytes(403) + b"\xf7"
    assert for_port([(0, tuning), (0, volume), (1, long), (2, b"\xf7\x01\xf7"), (3, b"\xf0\x00")], []) == [
        (0, tuning), (1, long),
    ]  # fmt: skip
    scale = b"\xf0\x14\x7e\x7f\x08\x08\x00\x00\x01" + bytes([114 - 64] * 12) + b"\xf7"
    assert for_port([(0, scale)], []) == [(0, Order((0,), None, (-1400,) * 12).event())]
    fine = b"\xf0\x20\x7f\x7f\x08\x09\x03\x00\x02" + bytes([0x60, 0] * 12) + b"\xf7"
    assert for_port([(0, fine)], []) == [(0, Order((1, 14, 15), None, (5000,) * 12).event())]
    assert for_port([(0, scale[:-3])], []) == [], "cut off"


def test_a_file_with_the_usual_drums_is_one_file() -> None:
    assert playable(smf(GM + SNARE)).ports == (playable(smf(GM + SNARE)).data,)
    (only,) = playable(smf(GS_PART + CHANNEL_11)).ports
    assert Order((10,), True).event() in only


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory):
    """(frames,) the first quarter of a second of a file of these tracks."""
    pytest.importorskip("fluidsynth")
    folder: Path = tmp_path_factory.mktemp("ports")

    def sound(*tracks: str) -> np.ndarray:
        import soundfile

        (folder / "a.mid").write_bytes(smf(*tracks))
        made = render(folder / "a.mid", folder / "a.wav", duration_s=0.25, overwrite=True)
        samples = soundfile.read(made.path)[0][:, 0]
        return samples / np.sqrt((samples**2).sum())

    return sound


def test_drums_are_heard_as_drums_on_any_channel_and_port(played) -> None:
    drum, piano = played(SNARE), played(CHANNEL_11)
    assert abs((drum * piano).sum()) < 0.1
    for tracks in (
        ("00 ba 00 7f  00 ca 00" + CHANNEL_11,),
        (XG + "00 ba 00 78  00 ca 00" + CHANNEL_11,),
        (GS + GS_PART + CHANNEL_11,),
        (XG + XG_PART + CHANNEL_11,),
        (QUIET, PORT_2 + GS_PART + CHANNEL_11),
        (GM + QUIET, PORT_2 + SNARE),
    ):
        assert (played(*tracks) * drum).sum() > 0.98, tracks
    for tracks in ((GM2 + "00 b9 00 79  00 c9 00" + SNARE,), (QUIET, PORT_2 + GM + CHANNEL_11)):
        assert (played(*tracks) * piano).sum() > 0.98, tracks


def test_a_scale_is_tuned_on_its_port(played) -> None:
    note = "00 90 45 64  83 60 80 45 00"
    tune = "00 f0 14 7f 7f 08 08 00 00 01" + " 72" * 12 + " f7  "

    def peak_hz(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 1 << 17))
        return float(power.argmax() * 44100 / (1 << 17))

    plain, up, beside = (
        peak_hz(played(*tracks)) for tracks in ((note,), (QUIET, PORT_2 + tune + note), (note, PORT_2 + tune + QUIET))
    )
    assert 1200 * np.log2(up / plain) == pytest.approx(50, abs=4)
    assert beside == pytest.approx(plain, rel=1e-3)
