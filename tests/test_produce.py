"""From a score to a recording: any length, exactly as long, taken up after a kill, its hits measured."""

from __future__ import annotations

import errno
import json
import tracemalloc
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import midi
from emsync.anchor import Anchor
from emsync.backends import Brief, Kept, Tell
from emsync.errors import InputError, ModelError, OutputError
from emsync.joins import Frames, Window
from emsync.mood import MoodCurve
from emsync.produce import Production, produce
from emsync.produce_sound import hits_of, onset_report
from emsync.score import Score
from tests.songs import score, with_a_chord

RATE_HZ, HOP = 8000, 400


@dataclass
class Beeper:
    """A backend that plays a tone whose loudness steps up and down with the piece's seconds, and counts windows."""

    gain: float = 0.5
    dies_at: int = -1
    made: list[int] = field(default_factory=list)
    briefs: list[Brief] = field(default_factory=list)
    rate_hz, hop, longest, overlap, name = RATE_HZ, HOP, 40, 10, "beeper"

    @property
    def settings(self) -> dict[str, Any]:
        return {"gain": self.gain}

    def generate(self, brief: Brief, window: Window, before: Kept | None, seed: int, tell: Tell) -> Kept:
        if window.index == self.dies_at:
            raise KeyboardInterrupt
        assert (before is None) == (window.index == 0)
        self.made.append(window.index)
        self.briefs.append(brief)
        return np.arange(window.first, window.stop, dtype=np.int16)

    def decode(self, kept: Kept) -> Frames:
        at = (np.asarray(kept, dtype=np.int64)[:, None] * HOP + np.arange(HOP)).ravel()
        loud = np.where(at % RATE_HZ < RATE_HZ // 4, self.gain, 0.0)
        return np.asarray(loud * np.sin(at * 0.7), dtype=np.float32)[:, None]


@pytest.fixture
def song(tmp_path: Path) -> Path:
    midi.write(with_a_chord(duration_s=5.3), tmp_path / "song.mid")
    return tmp_path / "song.mid"


def make(song: Path, backend: Any, **rest: Any) -> Production:
    return produce(song, song.with_name("out.wav"), backend=backend, **rest)


def samples(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE_HZ)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2) / 32768


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_recording_is_as_long_as_the_piece_to_the_sample(song: Path) -> None:
    shares: list[float] = []
    made = make(song, backend := Beeper(), text="slow", progress=lambda stage, share: shares.append(share))
    sound = samples(made.path)
    assert len(sound) == round(midi.read(song).duration_s * RATE_HZ)
    assert np.abs(sound).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)
    assert backend.made == list(range(made.n_windows))
    assert made.n_windows == 4
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert left(song.parent) == ["out.wav", "out.wav.json", "song.mid"]
    # Joins are not heard: the tone goes on as if there were one window. It fades out at the end.
    at = np.arange(len(sound))
    tone = np.where(at % RATE_HZ < RATE_HZ // 4, 1.0, 0.0) * np.sin(at * 0.7) * 10 ** (-3 / 20)
    np.testing.assert_allclose(sound[:-3000, 0], tone[:-3000], atol=2e-3)
    assert np.abs(sound[-1]).max() < 0.01


def test_the_brief_says_what_the_score_is(song: Path) -> None:
    make(song, backend := Beeper(), text="slow", melody="bass")
    brief = backend.briefs[0]
    assert (brief.melody, brief.text, brief.beats) == ("bass", "slow", 4)
    assert brief.qpm == pytest.approx(120.0)
    assert brief.key is not None
    assert (brief.key.tonic, brief.key.is_minor) == (9, True)


def test_what_was_told_is_recorded_and_can_be_edited(song: Path) -> None:
    made = make(song, backend := Beeper())
    anchor = Anchor.of_score(midi.read(song))
    assert backend.briefs[0].text == made.text == anchor.text
    assert Anchor.read(song.with_name("out.wav.json")) == anchor
    record = json.loads(song.with_name("out.wav.json").read_text())
    assert record["text"] == anchor.text
    assert (record["backend"], record["seed"], record["onsets"]["on_cut"]) == ("beeper", 0, 1)
    make(song, other := Beeper(), anchor=Anchor(genre="jazz"), overwrite=True)
    assert other.briefs[0].text == "jazz"
    with pytest.raises(InputError, match="a text and an anchor each say"):
        make(song, Beeper(), anchor=anchor, text="x", overwrite=True)


def test_a_killed_run_goes_on_and_gives_the_same_bytes(song: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(song, Beeper(dies_at=2))
    assert left(song.parent) == [".out.wav.parts", "song.mid"]
    made = make(song, backend := Beeper())
    assert backend.made == [2, 3]
    assert (made.n_found, made.n_windows) == (2, 4)
    assert left(song.parent) == ["out.wav", "out.wav.json", "song.mid"]
    again = produce(song, song.with_name("whole.wav"), backend=Beeper())
    assert again.path.read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize("change", [{"seed": 1}, {"text": "fast"}, {"melody": "bass"}])
def test_what_was_kept_of_another_run_is_not_used(song: Path, change: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(song, Beeper(dies_at=2))
    make(song, backend := Beeper(), **change)
    assert backend.made == [0, 1, 2, 3]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    peaks = []
    for seconds in (45.0, 120.0):
        midi.write(with_a_chord(duration_s=seconds), tmp_path / "long.mid")
        tracemalloc.start()
        make(tmp_path / "long.mid", Beeper(), text="x", overwrite=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 150e6


def test_a_folder_of_somebody_else_is_left_alone(song: Path) -> None:
    folder = song.with_name(".out.wav.parts")
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds files of somebody else"):
        make(song, Beeper())
    assert left(folder) == ["thesis.txt"]


def test_a_damaged_window_is_made_again(song: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(song, Beeper(dies_at=3))
    (song.with_name(".out.wav.parts") / "00001.npy").write_bytes(b"half")
    make(song, backend := Beeper())
    assert backend.made == [1, 3]


def test_a_full_disk_is_one_sentence(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("pathlib.Path.write_bytes", "emsync.produce_sound.RawSound.fill", "wave.Wave_write.writeframes"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(OutputError, match=r"No space left on device\); free some space"):
                make(song, Beeper())
        assert "out.wav" not in left(song.parent)
        kept = song.with_name(".out.wav.parts")
        assert not kept.exists() or not [name for name in left(kept) if name.endswith(".raw")]  # it filled the disk
    make(song, Beeper())


def test_what_cannot_be_used_is_refused(song: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not end in \.wav"):
        produce(song, tmp_path / "out.mp3", backend=Beeper())
    with pytest.raises(OutputError, match="is what is read"):
        produce(song, song, backend=Beeper(), overwrite=True)
    with pytest.raises(InputError, match="hits at 20 dB are not from -60 to 12 dB"):
        make(song, Beeper(), hits_db=20.0)
    with pytest.raises(InputError, match="the text has 10000 characters"):
        make(song, Beeper(), text="x" * 10_000)
    with pytest.raises(ModelError, match="the model gave silence"):
        make(song, Beeper(gain=0.0))
    midi.write(score([(0, 36, 0.0, 1.0)]), tmp_path / "drums.mid")
    with pytest.raises(InputError, match="no pitched notes"):
        make(tmp_path / "drums.mid", Beeper())


def test_an_adapter_wants_a_mood(song: Path) -> None:
    """Without one it would change nothing."""
    backend = Beeper()
    backend.adapter = object()  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"--adapter follows a mood, and .*song\.mid has none; compose it with one"):
        make(song, backend)
    make(song, backend, mood=MoodCurve.constant(0.5, 0.5))
    assert backend.made


# --- hits -------------------------------------------------------------------------------------------------------------


def test_onsets_are_measured_in_what_was_written(song: Path) -> None:
    """The tone begins on every second, and the cut is at 2 s."""
    made = make(song, Beeper())
    assert made.onsets is not None
    (hit,) = made.onsets.hits
    assert hit.cut_s == pytest.approx(2.0, abs=1e-3)
    assert hit.on_cut
    assert made.onsets.n_on_cut == 1
    assert 0 < made.onsets.by_chance < 0.3
    missed = onset_report(made.path, [2.5], 5.3)
    assert (missed.n_on_cut, missed.n_onsets) == (0, made.onsets.n_onsets)


def test_onsets_of_a_long_sound_are_found_in_stretches(tmp_path: Path) -> None:
    clicks_s = np.arange(0.9, 70, 1.3)
    sound = 1e-3 * np.random.default_rng(0).standard_normal(70 * RATE_HZ)
    for click_s in clicks_s:
        at = round(click_s * RATE_HZ)
        sound[at : at + 800] += np.exp(-np.arange(800) / 200) * np.sin(np.arange(800))
    with wave.open(str(tmp_path / "clicks.wav"), "wb") as file:
        file.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        file.writeframes((sound * 20_000).astype("<i2").tobytes())
    found = onset_report(tmp_path / "clicks.wav", clicks_s, 70.0)
    assert found.n_onsets <= len(clicks_s) + 2  # no click counts twice where two stretches meet
    assert found.n_on_cut == len(clicks_s)


def test_hits_are_the_notes_that_begin_with_the_chord() -> None:
    song: Score = with_a_chord()
    hits = hits_of(song, [2.0])
    assert sorted(hits.pitch.tolist()) == [36, 45, 57, 60, 64, 69]
    assert set(hits.start_s.tolist()) == {2.0}
    assert len(hits_of(song, [])) == 0


def test_hits_are_mixed_in(song: Path) -> None:
    plain = samples(make(song, Beeper()).path)
    mixed = samples(make(song, Beeper(), hits_db=0.0, overwrite=True).path)
    before, after = (
        slice(0, 2 * RATE_HZ - 200),
        slice(2 * RATE_HZ + 2500, 3 * RATE_HZ - 200),
    )  # the beeper is silent then
    assert np.abs(plain[after]).max() < 1e-3
    assert np.abs(mixed[after]).max() > 0.01
    ratio = np.abs(mixed[before]).max() / np.abs(plain[before]).max()
    np.testing.assert_allclose(mixed[before], plain[before] * ratio, atol=2e-3)
