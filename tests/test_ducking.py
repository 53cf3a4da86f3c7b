"""Music under a film's own sound: both where they belong, music down under speech, and nothing clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from emsync import mix, voice
from emsync.cli.main import main
from emsync.ducking import Ducking
from emsync.errors import InputError
from emsync.mux import mux
from emsync.sidechain import BLOCK, CEILING_DB, HOLD_S, STEP, Limiter, open_ducker

soundfile = pytest.importorskip("soundfile")
RATE = 48_000
LENGTH_S = 3.0


def film(
    path: Path, sound: np.ndarray | None, *, rate: int = RATE, start_s: float = 0.0, sound_start_s: float | None = None,
    gap: slice | None = None, codec: str = "aac", picture: str = "libx264",
) -> Path:  # fmt: skip
    """Three seconds of grey pictures with mono sound (n,); packets of sound within `gap` (seconds) are left out."""
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(picture, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        audio: Any = None if sound is None else out.add_stream(codec, rate=rate, layout="mono")
        for i in range(round(LENGTH_S * 25)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
            frame.pts, frame.time_base = round((start_s + i / 25) * 1000), Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if sound is None:
            return path
        begin_s = start_s if sound_start_s is None else sound_start_s
        packets = []
        for first in range(0, len(sound), 1024):
            piece = av.AudioFrame.from_ndarray(
                sound[None, first : first + 1024].astype(np.float32), format="fltp", layout="mono"
            )
            piece.sample_rate, piece.time_base = rate, Fraction(1, rate)
            piece.pts = first + round(begin_s * rate)
            packets += audio.encode(piece)
        for packet in [*packets, *audio.encode(None)]:
            at_s = float(packet.pts * packet.time_base) - begin_s
            if gap is None or not gap.start <= at_s < gap.stop:
                out.mux(packet)
    return path


def clicks(at_s: float, rate: int = RATE, length_s: float = LENGTH_S, level: float = 0.8) -> np.ndarray:
    sound = np.zeros(round(length_s * rate))
    sound[round(at_s * rate) :][: rate // 500] = level
    return sound


def tone(length_s: float, level: float, pitch_hz: float = 440.0, rate: int = RATE) -> np.ndarray:
    return level * np.sin(2 * np.pi * pitch_hz * np.arange(round(length_s * rate)) / rate)


def write_music(path: Path, sound: np.ndarray, rate: int = 44100) -> Path:
    soundfile.write(path, np.stack([sound, sound], axis=1), rate)
    return path


def samples_of(path: Path) -> np.ndarray:
    """The sound of a film from its first frame on, (n,), at 48 kHz."""
    with av.open(str(path)) as made:
        first_s = min(float(frame.pts * frame.time_base) for frame in made.decode(video=0))
    with av.open(str(path)) as made:
        return np.concatenate([*mix.film_sound(made, first_s)]).mean(axis=1)


def onsets_s(sound: np.ndarray, threshold: float = 0.2) -> list[float]:
    """Where sound begins after at least 100 ms below the threshold."""
    loud = np.flatnonzero(np.abs(sound) > threshold)
    return [float(i) / RATE for i in loud[np.append(True, np.diff(loud) > RATE // 10)]]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "out"),
    [
        ("a.mp4", {}, "b.mp4"),
        ("a.mkv", {}, "b.webm.mkv"),
        ("a.mp4", {"rate": 44100}, "b.mov"),
        ("late.mkv", {"start_s": 3.7}, "b.mp4"),
        ("late.ts", {"start_s": 12.0}, "b.mp4"),
        ("early.mkv", {"start_s": 2.0, "sound_start_s": 1.5}, "b.mp4"),
        ("later.mkv", {"start_s": 0.0, "sound_start_s": 0.3}, "b.mkv"),
        ("gap.mkv", {"gap": slice(1.0, 1.6)}, "b.mp4"),
        ("a.webm", {"codec": "libopus", "picture": "libvpx"}, "b.webm"),
    ],
)
def test_both_sounds_are_where_they_belong(tmp_path: Path, name: str, options: Any, out: str) -> None:
    """A click at 2 s of the film in its own sound, and one at 0.5 s in the music, each to 10 ms."""
    shift_s = options.get("sound_start_s", options.get("start_s", 0.0)) - options.get("start_s", 0.0)
    video = film(tmp_path / name, clicks(2.0 - shift_s, options.get("rate", RATE), LENGTH_S - shift_s), **options)
    music = write_music(tmp_path / "music.wav", clicks(0.5, 44100))
    made = mux(video, music, tmp_path / out, under=Ducking(amount_db=0))
    assert onsets_s(samples_of(made)) == pytest.approx([0.5, 2.0], abs=0.010)
    with av.open(str(made)) as container:
        assert len(container.streams.audio) == 1
        assert container.duration / 1e6 == pytest.approx(LENGTH_S, abs=0.05)


def test_speech_ducks_the_music_and_keeps_its_level(tmp_path: Path) -> None:
    """A second of speech at 200 Hz in the middle; the music is at 3 kHz, so that each can be measured."""
    speech = np.concatenate([np.zeros(RATE), tone(1.0, 0.3, 200.0), np.zeros(RATE)])
    video = film(tmp_path / "a.mp4", speech)
    music = write_music(tmp_path / "music.wav", tone(LENGTH_S, 0.2, 3000.0, 44100))
    ducking = Ducking(amount_db=15, attack_s=0.05, release_s=0.1, voice="level")
    sound = samples_of(mux(video, music, tmp_path / "b.mp4", under=ducking))

    def level_db(from_s: float, to_s: float, pitch_hz: float) -> float:
        piece = sound[round(from_s * RATE) : round(to_s * RATE)]
        at = np.exp(-2j * np.pi * pitch_hz * np.arange(len(piece)) / RATE) * np.hanning(len(piece))
        return float(20 * np.log10(2 * abs((piece * at).mean()) / 0.5))

    assert level_db(0.4, 0.9, 3000) == pytest.approx(20 * np.log10(0.2), abs=0.5)
    assert level_db(1.4, 1.9, 3000) == pytest.approx(20 * np.log10(0.2) - 15, abs=0.7)
    assert level_db(2.7, 2.95, 3000) == pytest.approx(20 * np.log10(0.2), abs=0.5)
    assert level_db(1.4, 1.9, 200) == pytest.approx(20 * np.log10(0.3), abs=0.5)


def test_the_envelope_is_the_documented_one() -> None:
    """After one time constant the music is 63 % of the way down, and it stays down for the time that speech is held."""
    ducking = Ducking(threshold_db=-30, amount_db=20, attack_s=0.1, release_s=0.4, voice="level")
    ducker = open_ducker(ducking)
    n = BLOCK * 20
    film_sound = np.zeros((n, 2), dtype=np.float32)
    film_sound[: n // 2] = 0.1  # -20 dB
    gains = np.concatenate([ducker.gains(film_sound[i : i + BLOCK]) for i in range(0, n, BLOCK)])[:, 0]
    reduction_db = -20 * np.log10(gains)
    steps = np.arange(n) / RATE
    np.testing.assert_allclose(
        reduction_db[: n // 2 : STEP], 20 * (1 - np.exp(-steps[: n // 2 : STEP] / 0.1)), atol=0.01
    )
    falls_s = n / 2 / RATE + HOLD_S - STEP / RATE
    after = np.flatnonzero(steps > falls_s + 0.05)
    np.testing.assert_allclose(reduction_db[after], 20 * np.exp(-(steps[after] - falls_s) / 0.4), atol=0.6)
    assert np.abs(np.diff(reduction_db)).max() < 0.02, "it moves without steps"
    quiet = open_ducker(ducking)
    assert (quiet.gains(np.full((BLOCK, 2), 0.02, dtype=np.float32)) == 1).all(), "-34 dB is below the threshold"


def test_blocks_do_not_show() -> None:
    """Sound in pieces of any size, short gaps and the end included, is mixed as if it came at once."""
    random = np.random.default_rng(0)
    own = random.normal(0, 0.3, (70_001, 2)).astype(np.float32)
    music = random.normal(0, 0.3, (50_000, 2)).astype(np.float32)

    def joined(cuts: list[int]) -> np.ndarray:
        frames = mix.mixed(
            np.split(own, cuts), np.split(music, cuts[:2]), 80_000, open_ducker(Ducking(voice="level")), 0.0
        )
        return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)

    whole = joined([])
    assert whole.shape == (2, 80_000)
    assert np.array_equal(whole, joined([1, 4_000, 4_000, 33_333]))
    assert np.abs(whole).max() <= 10 ** (CEILING_DB / 20) + 1e-6


def test_the_limiter_leaves_alone_what_does_not_clip() -> None:
    random = np.random.default_rng(1)
    sound = random.uniform(-0.5, 0.5, (48_000, 2)).astype(np.float32)
    sound[20_000] = [2.0, -1.0]
    limiter = Limiter()
    blocks = [limiter.add(block) for block in np.split(sound, 50)]
    out = np.concatenate([*blocks, limiter.flush()])
    assert out.shape == sound.shape
    ceiling = 10 ** (CEILING_DB / 20)
    assert np.abs(out).max() <= ceiling + 1e-6
    assert np.array_equal(out[:19_600], sound[:19_600])
    np.testing.assert_allclose(out[-100:], sound[-100:], rtol=0.02)
    gain = out / sound
    assert np.abs(np.diff(gain[:, 0])).max() < 0.01, "it turns down without a click"
    assert out[20_000] == pytest.approx([ceiling, -ceiling / 2], rel=0.05)


def test_loud_film_and_loud_music_do_not_clip(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", tone(LENGTH_S, 0.95), codec="pcm_s16le")
    music = write_music(tmp_path / "music.wav", tone(LENGTH_S, 0.95, rate=44100))
    sound = samples_of(mux(video, music, tmp_path / "b.mkv", under=Ducking(amount_db=0)))
    assert 0.8 < np.abs(sound[RATE:-RATE]).max() < 1.0


def test_the_music_alone_may_be_louder_or_softer(tmp_path: Path) -> None:
    video = film(tmp_path / "a.mkv", None)
    music = write_music(tmp_path / "music.wav", tone(LENGTH_S, 0.4, rate=44100))
    sound = samples_of(mux(video, music, tmp_path / "b.mkv", music_db=-12))
    assert np.abs(sound[RATE:-RATE]).max() == pytest.approx(0.4 * 10 ** (-12 / 20), rel=0.05)


# --- Voice models ----------------------------------------------------------------------------------------------------


def tiny_voice_model(path: Path, *, names: tuple[str, str, str] = ("input", "state", "sr")) -> Path:
    """A network with silero-vad's inputs and outputs: speech is where the chunk with its context has power above 0.01.

    Its state counts the calls, and its context must be the end of the chunk before, or it says speech nowhere.
    """
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    given, state, rate = names
    make = helper.make_node
    nodes = [
        make("Mul", [given, given], ["squares"]),
        make("ReduceMean", ["squares"], ["power"], axes=[1], keepdims=1),
        make("Sub", ["power", "least"], ["above"]),
        make("Mul", ["above", "steep"], ["sharp"]),
        make("Sigmoid", ["sharp"], ["output"]),
        make("Add", [state, "one"], ["stateN"]),
        make("Identity", [rate], ["unused"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("least", 0.01), ("steep", 1e5), ("one", 1.0))
    ]
    graph = helper.make_graph(
        nodes, "voice",
        [
            helper.make_tensor_value_info(given, TensorProto.FLOAT, [1, 576]),
            helper.make_tensor_value_info(state, TensorProto.FLOAT, [2, 1, 128]),
            helper.make_tensor_value_info(rate, TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 1]),
            helper.make_tensor_value_info("stateN", TensorProto.FLOAT, [2, 1, 128]),
        ],
        constants,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def test_a_voice_model_gets_the_film_in_chunks_of_32_ms(tmp_path: Path) -> None:
    detector = voice.VoiceDetector(tiny_voice_model(tmp_path / "voice.onnx"))
    sound = np.concatenate(
        [np.zeros(10 * voice.HOP), tone(20 * voice.HOP / RATE, 0.5, 300.0), np.zeros(10 * voice.HOP)]
    )
    stereo = np.stack([sound, sound], axis=1).astype(np.float32)
    found = np.concatenate([detector.probabilities(block) for block in np.split(stereo, 8)])
    assert found.shape == (40,)
    assert (found[:10] < 0.5).all()
    assert (found[11:30] > 0.5).all()
    assert (found[31:] < 0.5).all()
    assert detector._state.flat[0] == 40
    silent = voice.VoiceDetector(tmp_path / "voice.onnx")
    hiss = np.stack([tone(1.6, 0.5, 15_000.0)] * 2, axis=1).astype(np.float32)
    assert (silent.probabilities(hiss[: 40 * voice.HOP]) < 0.5).all(), "what is above 8 kHz does not fold down"


@pytest.mark.slow
def test_a_voice_model_is_used_where_one_is_given_or_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    video = film(tmp_path / "a.mp4", np.concatenate([np.zeros(RATE), tone(1.0, 0.4, 300.0), np.zeros(RATE)]))
    music = write_music(tmp_path / "music.wav", tone(LENGTH_S, 0.1, rate=44100))
    model = tiny_voice_model(tmp_path / "voice.onnx")
    arguments = ["mux", str(video), str(music), "--keep-sound", "--overwrite", "-o", str(tmp_path / "b.mp4")]
    assert main([*arguments, "--vad", str(model)]) == 0
    assert "The music lies under its own sound, ducked for 3" in capsys.readouterr().out
    monkeypatch.setattr("emsync.sidechain.find_model", lambda: model)
    assert main(arguments) == 0
    assert "by a voice model." in capsys.readouterr().out
    assert main([*arguments, "--vad", "level", "--duck-threshold", "-20"]) == 0
    assert "by a level above -20 dB." in capsys.readouterr().out


def test_an_installed_model_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert voice.find_model() is None or voice.find_model().is_file()
    (tmp_path / "silero_vad" / "data").mkdir(parents=True)
    (tmp_path / "silero_vad" / "__init__.py").write_text("raise RuntimeError('it would import torch')")
    monkeypatch.syspath_prepend(tmp_path)
    assert voice.find_model() is None
    (tmp_path / "silero_vad" / "data" / "silero_vad.onnx").write_bytes(b"x")
    assert voice.find_model() == tmp_path / "silero_vad" / "data" / "silero_vad.onnx"


def test_voice_models_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.onnx is not a file; give silero_vad\.onnx of silero-vad 5 or newer"):
        voice.VoiceDetector(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no network")
    with pytest.raises(InputError, match=r"text\.onnx is not a network that ONNX Runtime can read"):
        voice.VoiceDetector(tmp_path / "text.onnx")
    other = tiny_voice_model(tmp_path / "other.onnx", names=("input", "h", "sr"))
    with pytest.raises(InputError, match=r"other\.onnx is another network, with the inputs h, input, sr"):
        open_ducker(Ducking(voice=other))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"threshold_db": 3.0}, r"threshold_db of 3 dB is not from -90 to 0; give another"),
        ({"amount_db": -1.0}, r"^amount_db of -1 dB is not from 0 to 60"),
        ({"attack_s": 0.0}, r"attack_s of 0 s is not from 0\.001 to 10"),
        ({"release_s": float("nan")}, r"release_s of nan s is not"),
    ],
)
def test_choices_out_of_range(choice: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Ducking(**choice)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = film(tmp_path / "silent.mp4", None)
    music = write_music(tmp_path / "music.wav", tone(LENGTH_S, 0.4, rate=44100))
    arguments = ["mux", str(silent), str(music), "-o", str(tmp_path / "b.mp4")]
    assert main([*arguments, "--duck-amount", "6"]) == 2
    assert "--duck-* and --vad are for the film's own sound; give --keep-sound, too" in capsys.readouterr().err
    assert main([*arguments, "--keep-sound", "--vad", str(tmp_path / "none.onnx")]) == 2
    assert not (tmp_path / "b.mp4").exists()
    capsys.readouterr()
    assert main([*arguments, "--keep-sound"]) == 0
    assert capsys.readouterr().out == f"Wrote {tmp_path / 'b.mp4'}. The film has no sound of its own.\n"
    assert np.abs(samples_of(tmp_path / "b.mp4")).max() == pytest.approx(0.4, rel=0.05)
    with pytest.raises(InputError, match="music_db of 30 dB is not from -60 to 20"):
        mux(silent, music, tmp_path / "c.mp4", music_db=30)
    assert main(["compose", str(silent), "--keep-sound", "-o", str(tmp_path / "x.mid")]) == 2
    assert "--keep-sound and --music-gain are for the film with its music; give --mp4, too" in capsys.readouterr().err
