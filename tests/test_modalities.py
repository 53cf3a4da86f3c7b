"""What several models see and hear of a film: tiny random models, a film with sound, and subtitles beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsync.affect import open_reader
from emsync.cli.main import main
from emsync.errors import InputError, ModelError
from emsync.midi import write as write_midi
from emsync.modalities import Models, Senses, is_silent, seconds_of_sound, subtitles, words_at
from emsync.record import Record
from emsync.video import analyze
from tests.films import plain, write
from tests.midi_files import band
from tests.vision_models import tiny_clip, tiny_detector, tiny_faces, tiny_sounds, tiny_words

SRT = "1\n00:00:00,000 --> 00:00:01,500\n<i>I am so</i>\nhappy\n\n2\n00:01:00,000 --> 00:01:02,000\nthis is dark\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All models, a film of three seconds whose first has a tone and whose others are silent, and its subtitles."""
    folder = tmp_path_factory.mktemp("modalities")
    tiny_clip(folder / "clip")
    tiny_faces(folder / "faces")
    tiny_detector(folder / "detector")
    tiny_detector(folder / "cats", "cat")
    tiny_sounds(folder / "sounds")
    tiny_sounds(folder / "hearing", ctc=True)
    tiny_words(folder / "words")
    tone = 0.3 * np.sin(np.arange(8000) / 8000 * 2 * np.pi * 440).astype(np.float32)
    sound = np.concatenate([tone, np.zeros(16000, np.float32)])[None]
    write(folder / "film.mkv", [plain(200, 30 * i, 40) for i in range(6)], fps=2, sound=sound)
    return folder


def models(place: Path, **given: str | None) -> Models:
    return Models(**{"image": None, **{k: None if m is None else str(place / m) for k, m in given.items()}})


EVERY = {
    "image": "clip",
    "face": "faces",
    "detector": "detector",
    "sound": "sounds",
    "hearing": "hearing",
    "words": "words",
}


@pytest.mark.slow
def test_each_modality_is_seen_where_it_is(place: Path) -> None:
    (place / "film.srt").write_text(SRT)
    (place / "film.text.srt").write_text("1\n00:00:30,000 --> 00:00:31,000\nsad\n")
    senses = Senses(models(place, **EVERY))
    assert senses.modalities == ("image", "face", "sound", "speech", "text")
    features = senses.look(place / "film.mkv")
    assert features.times_s.tolist() == [0.5, 1.5, 2.5]
    assert {name: mask.tolist() for name, mask in features.known.items()} == {
        "image": [True] * 3, "face": [True] * 3, "sound": [True, False, False], "speech": [True] * 3,
    }  # fmt: skip
    assert {name: row.shape[1] for name, row in features.rows.items()} == {
        "image": 16, "face": 8, "sound": 8, "speech": 8
    }  # fmt: skip
    assert (features.rows["sound"][1:] == 0).all()
    assert features.rows["sound"][0].any()
    # The film's own sound is heard where there are no subtitles.
    (place / "film.srt").unlink()
    (place / "film.text.srt").unlink()
    with_sound = Senses(models(place, hearing="hearing", words="words")).look(place / "film.mkv")
    assert set(with_sound.rows) <= {"speech"}


@pytest.mark.slow
def test_sound_comes_second_by_second(place: Path) -> None:
    seconds = list(seconds_of_sound(place / "film.mkv", 4000))
    assert [len(each) for each in seconds] == [4000] * len(seconds)
    assert len(seconds) in (3, 4)  # the codec may add a little
    assert [is_silent(each) for each in seconds[:3]] == [False, True, True]
    spectrum = np.abs(np.fft.rfft(seconds[0]))
    assert abs(int(spectrum.argmax()) - 440) <= 2
    assert is_silent(np.zeros(0, np.float32))


def test_subtitles(tmp_path: Path) -> None:
    file = tmp_path / "a.srt"
    file.write_text(SRT.replace("\n", "\r\n"), encoding="utf-8-sig")
    cues = subtitles(file)
    assert cues == [(0.0, 1.5, "I am so happy"), (60.0, 62.0, "this is dark")]
    assert words_at(cues, np.array([0.5, 6.4, 6.6, 58.0])) == ["I am so happy", "I am so happy", "", "this is dark"]
    for text, said in ((b"nothing here", "has no subtitles"), (b"\xff\xfe\x00x", "is not UTF-8 text")):
        file.write_bytes(text)
        with pytest.raises(InputError, match=said):
            subtitles(file)


def test_models_that_do_not_fit(place: Path) -> None:
    with pytest.raises(InputError, match="faces need a model that finds them and one that reads them"):
        models(place, face="faces")
    with pytest.raises(InputError, match="what is said needs a model that reads words"):
        models(place, hearing="hearing")
    with pytest.raises(InputError, match="no model is given, so nothing of the film can be seen"):
        models(place)
    with pytest.raises(ModelError, match="has no class of faces; give a detector that finds faces"):
        Senses(models(place, face="faces", detector="cats"))
    with pytest.raises(ModelError):
        Senses(models(place, sound="words"))
    whole = models(place, **EVERY)
    assert Models.from_dict(whole.to_dict()) == whole
    with pytest.raises(ModelError, match="its models cannot be read"):
        Models.from_dict({"smell": "nose"})


# ---- the two commands -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(place: Path) -> Path:
    """Two films of a colour each with emotions and scores; a classifier and an encoder trained on them."""
    (place / "films" / "joy").mkdir(parents=True)
    (place / "pairs").mkdir()
    film = (place / "film.mkv").read_bytes()
    (place / "films" / "joy" / "a.mkv").write_bytes(film)
    for name in ("b", "c"):
        write(place / "films" / f"{name}.mkv", [plain(20, 20, 200 if name == "b" else 90)] * 4, fps=2)
        (place / "pairs" / f"{name}.mkv").write_bytes((place / "films" / f"{name}.mkv").read_bytes())
        write_midi(band().until(3.0), place / "pairs" / f"{name}.mid")
    (place / "films" / "labels.csv").write_text('file,emotion\nb.mkv,fear\nc.mkv,"fear=0.5,sadness=0.5"\n')
    given = ["--image", str(place / "clip"), "--sound", str(place / "sounds")]
    assert main(["train-emotions", str(place / "films"), "-o", str(place / "emotions"), *given]) == 0
    given = ["--model", str(place / "clip"), "--emotions", str(place / "emotions")]
    assert main(["train-film-encoder", str(place / "pairs"), "-o", str(place / "encoder"), *given]) == 0
    return place


@pytest.mark.slow
def test_a_classifier_reads_films(trained: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    film, spec = str(trained / "film.mkv"), f"emotions:{trained / 'emotions'}"
    curve = open_reader(spec).read(trained / "film.mkv", analyze(film))
    assert curve.times_s.tolist() == [0.5, 1.5, 2.5]
    assert curve.mean[0] > open_reader(spec).read(trained / "films" / "b.mkv", analyze(film)).mean[0]  # joy, and fear
    assert main(["analyze", film, "--affect", spec, "-o", str(trained / "a.json")]) == 0
    song = str(trained / "song.mid")
    drawn = ["--draw-emotion", "3", "--mu-max", "0.5", "--overwrite"]
    assert main(["compose", film, "--affect", spec, "-o", song, "--model", str(model), "--seed", "1", *drawn]) == 0
    assert f"read by {spec}" in capfd.readouterr().out
    assert len(Record.read(f"{song}.json").mood or ()) == 1  # one mood was drawn for the whole film


@pytest.mark.slow
def test_a_film_encoder_gives_mood_intensity_and_density(
    trained: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film, spec, song = str(trained / "film.mkv"), f"film:{trained / 'encoder'}", str(trained / "film.mid")
    assert (
        main(["compose", film, "--affect", spec, "-o", song, "--model", str(model), "--seed", "1", "--density", "3"])
        == 0
    )
    assert "with intensity and density" in capfd.readouterr().out
    record = Record.read(f"{song}.json")
    assert record.recipe.controls is not None
    assert set(record.recipe.controls) == {"intensity"}  # the density is the user's
    first = Path(song).read_bytes()
    assert main(["compose", "--from", f"{song}.json", "-o", str(trained / "again.mid")]) == 0
    assert (trained / "again.mid").read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train-emotions", "nowhere", "-o", "x"], "nowhere is not a folder"),
        (["train-emotions", "clip", "-o", "x", "--image", "clip"], "clip holds no film; give films with labels.csv"),
        (["train-emotions", "pairs", "-o", "x", "--image", "clip"], "b.mkv has no emotion; write labels.csv"),
        (["train-emotions", "films", "-o", "clip", "--image", "clip"], "clip is what is read, and is not replaced"),
        (["train-emotions", "films", "-o", "x", "--image", "none"], "no model is given"),
        (["train-film-encoder", "films/joy", "-o", "x", "--model", "clip"], "a.mkv has no score; put one of"),
        (["train-film-encoder", "pairs", "-o", "emotions", "--model", "clip", "--emotions", "emotions", "--overwrite"],
         "emotions is what is read"),
        (["compose", "film.mkv", "--affect", "film:emotions", "-o", "x.mid"], "holds a head for emotions, not"),
        (["compose", "film.mkv", "--affect", "emotions:clip", "-o", "x.mid"], "clip is not the folder of a trained"),
        (["compose", "film.mkv", "--affect", "film:", "-o", "x.mid"], "ends in a colon"),
        (["compose", "film.mkv", "--affect", "film", "-o", "x.mid"], "film is not the folder of a trained film"),
    ],
)  # fmt: skip
def test_bad_input(
    trained: Path, arguments: list[str], sentence: str, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(trained)
    assert main(arguments) == 2
    said = capfd.readouterr()
    assert said.err.startswith("emsync: error: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1
    assert not Path("x").exists()
    assert not Path("x.mid").exists()


def test_labels_and_scores_are_checked(tmp_path: Path) -> None:
    from emsync.training.mood.emotion_classifier import read_folder
    from emsync.training.mood.film_encoder import read_pairs

    (tmp_path / "a.mkv").write_bytes(b"")
    for rows, said in (
        ("film,emotion\na.mkv,joy\n", "has the columns film, emotion; give file,emotion"),
        ("file,emotion\nb.mkv,joy\n", "row 2 of .*: 'b.mkv' is not a film in the same folder"),
        ("file,emotion\na.mkv,calm\n", "row 2 of .*: 'calm' is not one of the six emotions"),
        ("file,emotion\n", "a.mkv has no emotion; write a row for it"),
    ):
        (tmp_path / "labels.csv").write_text(rows)
        with pytest.raises(InputError, match=said):
            read_folder(tmp_path)
    (tmp_path / "a.mid").write_bytes(b"MThd")
    with pytest.raises(InputError, match=r"a\.mid: "):
        read_pairs(tmp_path)
    (tmp_path / "a.npz").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.mkv has 2 scores; put one of"):
        read_pairs(tmp_path)
