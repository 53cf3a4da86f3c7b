"""Odd files in a corpus: drums on other channels, warnings, pipes, bombs."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from emsync import midi
from emsync import vocabulary as v
from emsync.tokenizer import encode
from emsync.training.corpus import pianorolls
from emsync.training.corpus.prepare import prepare
from emsync.training.corpus.song_files import read_song
from emsync.training.corpus.songs import UNREADABLE_MIDI, UNREADABLE_PIANOROLL, Refused
from tests.midi_files import header, smf, track

#: Forty notes on channel 11.
NOTES = "".join(f"00 9a {36 + i % 4:02x} 64  60 8a {36 + i % 4:02x} 00" for i in range(40))
GS_RHYTHM = "00 f0 0a 41 10 42 12 40 1a 15 01 10 f7"


@pytest.mark.parametrize(
    "setup", ["00 ba 00 7f  00 ca 00", "00 ba 00 78  00 ca 00", GS_RHYTHM, "00 ff 21 01 01 00 ba 00 7f"]
)
def test_drums_stay_drums_in_archives_and_tokens(setup: str, tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(smf(setup + NOTES))
    assert set(read_song(path).song.family.tolist()) == {v.DRUMS}
    ids = encode(midi.read(path)).ids
    assert set(v.FAMILY[ids[v.KIND[ids] == v.K_ON]].tolist()) == {v.DRUMS}


def test_the_same_notes_without_a_setup_are_piano(tmp_path: Path) -> None:
    path = tmp_path / "song.mid"
    path.write_bytes(smf(NOTES))
    assert set(read_song(path).song.family.tolist()) == {v.PIANO}


def test_prepare_says_what_was_read_with_a_warning(tmp_path: Path) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    (folder / "good.mid").write_bytes(smf(NOTES))
    (folder / "more.mid").write_bytes(header(1) + track(NOTES.replace("9a", "90").replace("8a", "80")) + track(NOTES))
    plain = smf(GS_RHYTHM + NOTES)
    (folder / "wrapped.rmi").write_bytes(b"RIFF\0\0\0\0RMIDdata" + struct.pack("<I", len(plain)) + plain)
    report = prepare([folder], tmp_path / "out", workers=1, min_notes=1, progress=False)
    assert report.read == 3
    assert report.warned.count == 1
    line = (
        "read with a warning: 1 (such as songs/more.mid: "
        "the header promises 1 tracks, the file has 2; all of those were read)"
    )
    assert line in report.summary().splitlines()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mid")
    with pytest.raises(Refused, match=r"pipe\.mid is a pipe, not a MIDI file") as refused:
        read_song(tmp_path / "pipe.mid")
    assert refused.value.reason == UNREADABLE_MIDI


def test_a_pianoroll_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pianorolls, "MAX_UNPACKED_BYTES", 1_000_000)
    data = io.BytesIO()
    np.save(data, np.zeros(2_000_000, dtype=np.uint8))
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tempo.npy", data.getvalue())
    assert path.stat().st_size < 10_000
    with pytest.raises(
        Refused, match=r"bomb\.npz cannot be read as a pianoroll \(2000128 bytes when unpacked"
    ) as refused:
        read_song(path)
    assert refused.value.reason == UNREADABLE_PIANOROLL
