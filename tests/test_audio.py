"""Rendering: the right length to the sample, the right level, the same bytes, and one sentence for what cannot be."""

from __future__ import annotations

import ctypes.util
import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import audio, midi, soundfonts
from emsync.audio import render
from emsync.cli.main import main
from emsync.errors import InputError, MissingExtraError, OutputError
from emsync.midi_mend import Part
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.sound_level import LoudnessMeter
from tests.midi_files import END, band, chunk, dump, header, smf

pytest.importorskip("soundfile")
pytestmark = pytest.mark.skipif(
    ctypes.util.find_library("fluidsynth") is None, reason="the FluidSynth library is not installed"
)
RATE = 44100


def score_of(onsets_s: list[float], length_s: float = 0.5, velocity: int = 100, pitch: int = 60) -> Score:
    n = len(onsets_s)
    start = np.array(onsets_s)
    return Score(
        (Instrument("Piano", 0, False),), np.zeros(n, dtype=int), np.full(n, pitch), np.full(n, velocity), start,
        start + length_s, TempoMap.constant(120), Bars([0.0], [4], [4]),
    )  # fmt: skip


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "song.mid"
    midi.write(score_of([0.0, 1.0, 2.0]), path)
    return path


def read(path: Path) -> tuple[np.ndarray, int]:
    import soundfile

    return soundfile.read(path, always_2d=True)


def test_a_note_sounds_at_its_time_and_nothing_before_it(tmp_path: Path) -> None:
    midi.write(score_of([0.75]), tmp_path / "song.mid")
    made = render(tmp_path / "song.mid", tmp_path / "song.wav")
    sound, rate = read(made.path)
    loud = np.flatnonzero(np.abs(sound).max(axis=1) > 0.02)
    assert rate == RATE
    assert loud[0] / rate == pytest.approx(0.75, abs=0.01)
    assert sound.shape[1] == 2
    assert 1.25 < made.duration_s < 0.75 + 0.5 + audio.LONGEST_TAIL_S
    assert not made.faded
    assert np.abs(sound[-200:]).max() < 2e-3, "it has rung out"


def test_the_peak_is_at_3_db(song: Path, tmp_path: Path) -> None:
    made = render(song, tmp_path / "a.wav")
    sound, _ = read(made.path)
    assert 20 * np.log10(np.abs(sound).max()) == pytest.approx(-3, abs=0.01)
    assert made.peak_db == pytest.approx(-3, abs=1e-6)


def test_a_length_is_kept_to_the_sample_and_music_that_goes_on_fades(tmp_path: Path) -> None:
    midi.write(score_of([i / 4 for i in range(60)], length_s=0.25), tmp_path / "song.mid")
    for rate in (44100, 48000):
        made = render(tmp_path / "song.mid", tmp_path / "a.wav", duration_s=7.3, rate_hz=rate, overwrite=True)  # type: ignore[arg-type]
        sound, found = read(made.path)
        assert (found, len(sound)) == (rate, round(7.3 * rate))
        assert made.faded
        loudness = [float(np.sqrt((sound[round(a * rate) : round((a + 0.5) * rate)] ** 2).mean())) for a in (3, 6, 6.8)]
        assert loudness[0] > loudness[1] > loudness[2]
        assert np.abs(sound[-1]).max() < 1e-3


def test_silence_fills_up_a_longer_film(song: Path, tmp_path: Path) -> None:
    made = render(song, tmp_path / "a.wav", duration_s=12.0)
    sound, rate = read(made.path)
    assert len(sound) == 12 * rate
    assert not made.faded
    assert np.abs(sound[-rate:]).max() < 1e-3


def test_loudness_is_reached_below_the_peak(tmp_path: Path) -> None:
    import pyloudnorm

    midi.write(score_of([i / 4 for i in range(20)], length_s=0.25), tmp_path / "song.mid")
    for target in (-30.0, -24.0):
        sound, rate = read(render(tmp_path / "song.mid", tmp_path / "a.wav", loudness_lufs=target, overwrite=True).path)
        assert pyloudnorm.Meter(rate).integrated_loudness(sound) == pytest.approx(target, abs=0.2)
    loud, _ = read(render(tmp_path / "song.mid", tmp_path / "a.wav", loudness_lufs=0.0, overwrite=True).path)
    assert np.abs(loud).max() == pytest.approx(10 ** (-3 / 20), abs=1e-3)


def test_the_same_bytes_again(song: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        render(song, tmp_path / name)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3"])
def test_other_formats(song: Path, tmp_path: Path, suffix: str) -> None:
    sound, rate = read(render(song, tmp_path / f"a{suffix}", duration_s=4.0).path)
    assert rate == RATE
    assert len(sound) == pytest.approx(4 * RATE, abs=3000 if suffix == ".mp3" else 0)
    assert np.abs(sound).max() > 0.5


def test_controllers_of_the_file_are_played(song: Path, tmp_path: Path) -> None:
    """The file itself is played: a volume of nothing on its channel is silence."""
    import mido

    file = mido.MidiFile(song)
    notes = next(track for track in file.tracks if any(m.type == "note_on" for m in track))
    channel = next(m.channel for m in notes if m.type == "note_on")
    notes.insert(0, mido.Message("control_change", channel=channel, control=7, value=0))
    file.save(tmp_path / "mute.mid")
    with pytest.raises(InputError, match="the rendered sound is silent; does the SoundFont have the instruments"):
        render(tmp_path / "mute.mid", tmp_path / "a.wav")
    assert not (tmp_path / "a.wav").exists()


def bent_and_quiet() -> tuple[bytes, bytes]:
    """A note bent up an octave and a quiet second one: as a file without faults, and without its End of Track."""
    body = dump("""
        00 b0 65 00  00 b0 64 00  00 b0 06 0c   # bends reach 12 semitones
        00 e0 7f 7f                             # all the way up
        00 90 3c 64  83 60 80 3c 40             # half a second of C4
        00 b0 07 20                             # a low volume
        00 90 3c 64  83 60 80 3c 40             # and again
    """)
    return header(1) + chunk(b"MTrk", body + END), header(1) + chunk(b"MTrk", body)


def test_a_harmless_fault_costs_nothing_of_the_performance(tmp_path: Path) -> None:
    """Controllers and bends sound also in a file that has no End of Track."""
    whole, faulty = bent_and_quiet()
    (tmp_path / "whole.mid").write_bytes(whole)
    (tmp_path / "faulty.mid").write_bytes(faulty)
    good, bad = (render(tmp_path / f"{name}.mid", tmp_path / f"{name}.wav") for name in ("whole", "faulty"))
    assert (good.warnings, bad.warnings) == ((), ("track 1 has no End of Track",))
    assert good.path.read_bytes() == bad.path.read_bytes()
    sound, rate = read(bad.path)
    spectrum = np.abs(np.fft.rfft(sound[round(0.1 * rate) : round(0.4 * rate)].sum(axis=1)))
    lowest = np.flatnonzero(spectrum > 0.2 * spectrum.max())[0]
    assert lowest / 0.3 == pytest.approx(523, abs=10), "C4 bent up to C5"
    first, second = (np.abs(sound[round(t * rate) : round((t + 0.4) * rate)]).max() for t in (0.05, 0.55))
    assert second < first / 4


@pytest.mark.parametrize("channel", [0, 9])
def test_a_channel_without_a_program_sounds(tmp_path: Path, channel: int) -> None:
    on, off = f"00 9{channel:x} 26 64", f"83 60 8{channel:x} 26 40"
    (tmp_path / "a.mid").write_bytes(smf(on + off))
    assert render(tmp_path / "a.mid", tmp_path / "a.wav").peak_db == pytest.approx(-3, abs=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_hz": 22050}, "a rate of 22050 Hz is not offered; choose 44100 or 48000"),
        ({"duration_s": 0.0}, "a length of 0 s is not above 0"),
        ({"duration_s": float("nan")}, "a length of nan s is not above 0"),
        ({"loudness_lufs": 3.0}, "a loudness of 3 LUFS is not from -70 to 0"),
        ({"soundfont": "none-such"}, "SoundFont none-such was not found"),
    ],
)
def test_options_out_of_range(song: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        render(song, tmp_path / "a.wav", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["song.mid"]


def test_songs_that_cannot_be_rendered(tmp_path: Path) -> None:
    midi.write(score_of([]), tmp_path / "none.mid")
    with pytest.raises(InputError, match=r"none\.mid has no notes; was the right file given"):
        render(tmp_path / "none.mid", tmp_path / "a.wav")
    midi.write(score_of([10 * 3600.0]), tmp_path / "long.mid")
    with pytest.raises(InputError, match=r"long\.mid lasts 36000 s, more than 14400 s; cut it into parts"):
        render(tmp_path / "long.mid", tmp_path / "a.wav")


def test_a_text_called_a_soundfont(song: Path, tmp_path: Path) -> None:
    (tmp_path / "text.sf2").write_text("no samples here")
    with pytest.raises(InputError, match=r"text\.sf2 is not a SoundFont"):
        render(song, tmp_path / "a.wav", soundfont=tmp_path / "text.sf2")
    (tmp_path / "cut.sf2").write_bytes(soundfonts.find().read_bytes()[:4000])
    with pytest.raises(InputError, match=r"FluidSynth cannot read the SoundFont .*cut\.sf2; give --soundfont another"):
        render(song, tmp_path / "a.wav", soundfont=tmp_path / "cut.sf2")


def test_places_that_cannot_be_written(song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"a\.txt has none of the endings \.wav, \.flac, \.ogg, \.mp3"):
        render(song, tmp_path / "a.txt")
    shutil.copy(song, tmp_path / "again.wav")
    with pytest.raises(OutputError, match=r"again\.wav is what is read"):
        render(tmp_path / "again.wav", tmp_path / "again.wav", overwrite=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soundfile.SoundFile.write", full)
    with pytest.raises(OutputError, match=r"a\.wav could not be written \(No space left on device\); free some space"):
        render(song, tmp_path / "a.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.wav", "song.mid"]


def hide(monkeypatch: pytest.MonkeyPatch, name: str, error: Exception) -> None:
    """Make one module fail to import."""
    real = importlib.import_module

    def missing(wanted: str, *rest: Any) -> Any:
        if wanted == name:
            raise error
        return real(wanted, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "fluidsynth",
            ImportError("Couldn't find the FluidSynth library."),
            "apt-get install libfluidsynth3; macOS: brew install fluid-synth; Windows: choco install fluidsynth",
        ),
        ("fluidsynth", ModuleNotFoundError(name="fluidsynth"), "^pyfluidsynth is not installed; run: pip install"),
        ("soundfile", ModuleNotFoundError(name="soundfile"), "^soundfile is not installed; run: pip install"),
        ("soundfile", OSError("sndfile library not found"), "^the sndfile library was not found; install it"),
        ("pyloudnorm", ModuleNotFoundError(name="pyloudnorm"), "^pyloudnorm is not installed; run: pip install"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_done(
    song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str,
    error: Exception, message: str,
) -> None:  # fmt: skip
    hide(monkeypatch, name, error)
    with pytest.raises(MissingExtraError, match=message):
        render(song, tmp_path / "a.wav", loudness_lufs=-16)

    def composed(*_: object, **__: object) -> None:
        raise AssertionError("it composes")

    monkeypatch.setattr("emsync.soundtrack.for_cuts", composed)
    arguments = ["compose", "--duration", "3", "-q", "-o", str(tmp_path / "new.mid"), "--lufs", "-16"]
    assert main([*arguments, "--wav", str(tmp_path / "a.wav")]) == 2
    assert message.lstrip("^") in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song.mid"]


def test_the_commands(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(song)]) == 0
    assert f"Rendered {tmp_path / 'song.wav'}: " in capsys.readouterr().out
    assert main(["render", str(song)]) == 2
    assert "song.wav exists already; give --overwrite" in capsys.readouterr().err
    assert main(["render", str(song), "-o", str(tmp_path / "a.flac"), "--duration", "3", "--rate", "48000"]) == 0
    assert "3.00 s" in capsys.readouterr().out
    assert main(["soundfonts"]) == 0
    out = capsys.readouterr().out
    assert str(soundfonts.find()) in out
    assert "For a better one, install one (Debian" in out


def test_what_was_wrong_with_the_file_is_said(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song.write_bytes(song.read_bytes() + b"\x1b[31mjunk")
    assert main(["render", str(song), "-o", str(tmp_path / "a.wav")]) == 0
    assert capsys.readouterr().err == "Warning: 9 bytes behind the last track are ignored.\n"


def test_composing_with_sound(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song, wav = tmp_path / "song.mid", tmp_path / "song.wav"
    arguments = ["compose", "--model", str(model), "--duration", "3", "-q", "-o", str(song), "--wav", str(wav)]
    assert main([*arguments, "--soundfont", "none-such"]) == 2
    assert not song.exists()
    assert main(arguments) == 0
    assert f"Rendered {wav}: 3.00 s" in capsys.readouterr().out
    sound, rate = read(wav)
    assert len(sound) == 3 * rate
    assert json.loads((tmp_path / "song.mid.json").read_text())["duration_s"] == 3.0


def wet_band(path: Path) -> Path:
    """Five instruments, all of them deep in reverb and chorus, the piano moving from left to right."""
    import mido

    midi.write(band(), path)
    file = mido.MidiFile(path)
    for track in file.tracks[1:]:
        channel = next(m.channel for m in track if m.type == "note_on")
        for number, value in ((91, 127), (93, 127), (10, 0 if channel == 0 else 64)):
            track.insert(0, mido.Message("control_change", channel=channel, control=number, value=value))
        if channel == 0:
            track.insert(12, mido.Message("control_change", channel=channel, control=10, value=127))
    file.save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("out", "options"),
    [("a.wav", {}), ("a.flac", {"duration_s": 5.0, "rate_hz": 48000}), ("a.wav", {"loudness_lufs": -20.0})],
)
def test_stems_sum_to_the_mix(tmp_path: Path, out: str, options: dict[str, Any]) -> None:
    song = wet_band(tmp_path / "song.mid")
    made = render(song, tmp_path / out, stems=True, **options)
    suffix = Path(out).suffix
    names = ["Drums", "Piano", "Guitar", "Bass", "Strings"]
    assert [path.name for path in made.stems] == [f"a-{name}{suffix}" for name in names]
    mix, _ = read(made.path)
    stems = [read(path)[0] for path in made.stems]
    assert {len(stem) for stem in stems} == {len(mix)}
    assert all(np.abs(stem).max() > 0.01 for stem in stems)
    error = np.sqrt(((sum(stems) - mix) ** 2).mean() / (mix**2).mean())
    assert 20 * np.log10(error) < -60
    assert np.abs(sum(stems) - mix).max() < 0.7 * 10 ** (-60 / 20)
    alone = render(song, tmp_path / f"b{suffix}", **options)
    assert made.path.read_bytes() == alone.path.read_bytes()


def test_tracks_on_one_channel_are_one_stem(tmp_path: Path) -> None:
    """An open and a closed hi-hat silence each other, and they do so in the stem as well."""
    opened = "00 ff 03 04 4f 70 65 6e  00 99 2e 7f  87 40 89 2e 00"
    closed = "00 ff 03 09 43 6c 6f 73 65 64 2f 2e 2e  30 99 2a 7f  10 89 2a 00"
    bass = "00 c1 21  00 91 24 40  83 60 81 24 00"
    (tmp_path / "a.mid").write_bytes(smf(opened, closed, bass))
    made = render(tmp_path / "a.mid", tmp_path / "a.wav", stems=True)
    assert [path.name for path in made.stems] == ["a-Open + Closed.wav", "a-Channel 2.wav"]
    mix, stems = read(made.path)[0], [read(path)[0] for path in made.stems]
    assert np.abs(sum(stems) - mix).max() < 1e-3


#: On two ports: a piano and, on the same channel of the other port, an organ; and a drum on channel 10 of that port.
PIANO = "00 ff 03 01 70  00 ff 21 01 00  00 c0 00  00 90 3c 64  83 60 80 3c 00"
ORGAN = "00 ff 03 01 6f  00 ff 21 01 01  00 c0 10  60 90 43 64  83 60 80 43 00"
KICK = "00 ff 03 01 6b  00 ff 21 01 01  30 99 26 64  83 60 89 26 00"
DRUM_SYSEX = "00 ff 21 01 01  00 f0 0a 41 10 42 12 40 13 15 01 17 f7  00 c2 00  00 92 26 64  83 60 82 26 00"


def test_ports_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.mid").write_bytes(smf(PIANO, ORGAN, KICK))
    made = render(tmp_path / "a.mid", tmp_path / "a.wav", stems=True)
    assert [path.name for path in made.stems] == ["a-p.wav", "a-o.wav", "a-k.wav"]
    stems = [read(path)[0] for path in made.stems]
    mix = read(made.path)[0]
    assert np.abs(sum(stems) - mix).max() < 1e-3
    for stem, track in zip(stems, (PIANO, ORGAN, KICK), strict=True):
        (tmp_path / "alone.mid").write_bytes(smf(track))
        alone, _ = read(render(tmp_path / "alone.mid", tmp_path / "alone.wav", overwrite=True).path)
        n = min(len(alone), len(stem))
        scale = (stem[:n] * alone[:n]).sum() / (alone[:n] ** 2).sum()
        assert np.abs(stem[:n] - scale * alone[:n]).max() < 2e-3 * np.abs(stem).max()
    assert made.path.read_bytes() == render(tmp_path / "a.mid", tmp_path / "b.wav").path.read_bytes()


def test_a_drum_kit_by_sysex_on_the_second_port(tmp_path: Path) -> None:
    """A GS rhythm part on a melodic channel is a kit there as well, and is none on the first port."""
    (tmp_path / "a.mid").write_bytes(smf(PIANO, DRUM_SYSEX))
    made = render(tmp_path / "a.mid", tmp_path / "a.wav", stems=True)
    (tmp_path / "kick.mid").write_bytes(smf(PIANO, KICK))
    kick = render(tmp_path / "kick.mid", tmp_path / "kick.wav", stems=True)
    assert [path.name for path in made.stems] == ["a-p.wav", "a-Drums.wav"]
    snare = [read(each.stems[1])[0] for each in (made, kick)]
    first, second = (np.abs(sound).max(axis=1) > 0.1 * np.abs(sound).max() for sound in snare)
    assert first.sum() == pytest.approx(second.sum(), rel=0.3), "a drum dies away at once"
    assert first.sum() < 0.3 * RATE


def test_what_a_soundfont_lacks_is_one_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """FluidSynth itself would print a line for each."""
    lacking = "00 b0 00 55  00 c0 05  00 90 3c 64  83 60 80 3c 00"
    silent = "00 b1 00 56  00 c1 07"
    (tmp_path / "a.mid").write_bytes(smf(lacking, silent))
    assert main(["render", str(tmp_path / "a.mid"), "-o", str(tmp_path / "a.wav")]) == 0
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert said.err.startswith("Warning: ")
    assert " has no program 6 of bank " in said.err
    assert "; others are heard in their place." in said.err
    assert "program 8" not in said.err


def test_equal_names_get_their_channels() -> None:
    parts = tuple(Part(channel, names, 0, channel == 9) for channel, names in enumerate([("A/B",), ("a b",), ()]))
    paths = audio.stem_paths(Path("x/mix.wav"), (*parts, Part(9, ("..",), 0, True), Part(10, ("n" * 90,), 0, False)))
    assert [path.name for path in paths.values()] == [
        "mix-A B.wav", "mix-a b (channel 2).wav", "mix-Channel 3.wav", "mix-Drums.wav", f"mix-{'n' * 60}.wav",
    ]  # fmt: skip
    assert {path.parent for path in paths.values()} == {Path("x")}


@pytest.mark.slow
def test_a_stem_that_would_clip_lowers_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "PEAK_DB", 12.0)
    made = render(wet_band(tmp_path / "song.mid"), tmp_path / "a.wav", stems=True)
    peaks = [np.abs(read(path)[0]).max() for path in made.stems]
    assert max(peaks) == pytest.approx(0.999, abs=1e-3)
    assert made.peak_db < 12


def test_stems_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    song = wet_band(tmp_path / "song.mid")
    assert main(["render", str(song), "--stems", "-o", str(tmp_path / "a.mp3")]) == 2
    assert "stems as .mp3 would not sum to the mix; write .wav or .flac" in capsys.readouterr().err
    (tmp_path / "song-Bass.wav").write_text("mine")
    assert main(["render", str(song), "--stems"]) == 2
    assert "song-Bass.wav exists already; give --overwrite" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["song-Bass.wav", "song.mid"]
    assert main(["render", str(song), "--stems", "--overwrite"]) == 0
    out = capsys.readouterr().out
    assert "Stems: song-Drums.wav, song-Piano.wav, song-Guitar.wav, song-Bass.wav, song-Strings.wav." in out
    assert main(["compose", "--duration", "3", "--stems", "-o", str(tmp_path / "new.mid")]) == 2
    assert "--stems are written beside the mix; give --wav, too" in capsys.readouterr().err
    # Before anything is composed, whichever instruments it will have.
    (tmp_path / "new-Strings.wav").write_text("mine")
    composing = ["compose", "--duration", "3", "--stems", "-o", str(tmp_path / "new.mid"), "--wav"]
    assert main([*composing, str(tmp_path / "new.wav")]) == 2
    assert "new-Strings.wav exists already; give --overwrite" in capsys.readouterr().err
    assert main([*composing, str(tmp_path / "new.mp3")]) == 2
    assert "stems as .mp3 would not sum to the mix; write .wav or .flac" in capsys.readouterr().err
    assert not (tmp_path / "new.mid").exists()


@pytest.mark.parametrize("rate_hz", [44100, 48000])
@pytest.mark.parametrize("length_s", [0.4, 0.449, 0.451, 7.0, 12.34])
def test_loudness_is_that_of_the_whole_sound(rate_hz: int, length_s: float) -> None:
    """Block by block it is what pyloudnorm says of all at once, gating and all."""
    import pyloudnorm

    random = np.random.default_rng(0)
    n = round(length_s * rate_hz)
    level = np.where(np.arange(n) % (3 * rate_hz) < 2 * rate_hz, 0.2, 0.0005)  # passages below the gate
    sound = random.normal(size=(n, 2)) * level[:, None] * [1.0, 0.6]
    meter = LoudnessMeter(rate_hz)
    edges = np.sort(random.integers(0, n, 20))
    for block in np.split(sound.astype(np.float32), edges):
        meter.add(block)
    assert meter.integrated_lufs() == pytest.approx(pyloudnorm.Meter(rate_hz).integrated_loudness(sound), abs=1e-5)


def test_sound_without_a_loudness() -> None:
    meter = LoudnessMeter(48000)
    assert np.isnan(meter.integrated_lufs())
    meter.add(np.zeros((48000, 2)))
    assert meter.integrated_lufs() == -np.inf
