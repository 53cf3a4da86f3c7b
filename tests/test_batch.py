"""Many films: each is scored once, broken ones do not stop the rest, and a run that was killed goes on."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from emsync import batch, demo_film, midi
from emsync.batch import Scored, find_films, score_all, shard, songs_of
from emsync.cli.main import main
from emsync.cli.outputs_many import Folders
from emsync.errors import InputError, ModelError, OutputError
from emsync.recipe import Recipe
from tests import mortal
from tests.films import two_shots, write


@pytest.fixture(scope="module")
def one_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    demo_film.make(path, duration_s=3.0, size=(64, 36), fps=8)
    return path


@pytest.fixture
def films(tmp_path: Path, one_film: Path) -> Path:
    """A folder of four films, of which b is a text and d is cut off, and of a file that is not a film."""
    folder = tmp_path / "films"
    folder.mkdir()
    for name in ("a.mp4", "c.mp4", "d.mp4"):
        shutil.copy(one_film, folder / name)
    (folder / "b.mp4").write_text("no film at all")
    (folder / "d.mp4").write_bytes(one_film.read_bytes()[:300])
    (folder / "notes.txt").write_text("mine")
    return folder


def test_films_of_folders_and_by_name(films: Path, one_film: Path) -> None:
    assert [path.name for path in find_films([films, one_film])] == ["a.mp4", "b.mp4", "c.mp4", "d.mp4", "film.mp4"]
    with pytest.raises(InputError, match=r"a\.mp4 is given twice; give each film once"):
        find_films([films, films / "a.mp4"])
    (films / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty has no films \(\.avi, .*\); give another folder"):
        find_films([films / "empty"])


def test_shards_are_every_film_once() -> None:
    films = [Path(f"{i}.mp4") for i in range(23)]
    parts = [shard(films, f"{k}/5") for k in range(1, 6)]
    assert sorted(film for part in parts for film in part) == sorted(films)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    for text in ("0/5", "6/5", "5", "a/b", "1/0", "-1/5", "1/5/2"):
        with pytest.raises(InputError, match="is not K/N with K from 1 to N; write for example 3/16"):
            shard(films, text)


def test_two_films_of_one_song_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a/x\.mp4 and b/x\.mov would both be scored to .*x\.mid; rename one"):
        songs_of([Path("a/x.mp4"), Path("b/x.mov")], tmp_path)


@pytest.mark.parametrize("jobs", [1, 2])
def test_broken_films_do_not_stop_the_others(films: Path, tmp_path: Path, model: Path, jobs: int) -> None:
    out = tmp_path / "out"
    seen: list[tuple[str, int, int]] = []

    def show(result: Scored, done: int, total: int) -> None:
        seen.append((Path(result.film).name, done, total))

    results = score_all(find_films([films]), out, Recipe(seed=3), model=model, jobs=jobs, progress=show)
    assert [(Path(r.film).name, r.status) for r in results] == [
        ("a.mp4", "scored"), ("b.mp4", "failed"), ("c.mp4", "scored"), ("d.mp4", "failed"),
    ]  # fmt: skip
    assert [done for _, done, _ in seen] == [1, 2, 3, 4]
    assert sorted(name for name, _, _ in seen) == ["a.mp4", "b.mp4", "c.mp4", "d.mp4"]
    assert "b.mp4" in results[1].error
    assert sorted(path.name for path in out.iterdir()) == [
        "a.mid", "a.mid.json", "c.mid", "c.mid.json", "report.csv", "report.json",
    ]  # fmt: skip
    assert (out / "a.mid").read_bytes() == (out / "c.mid").read_bytes(), "the same film and seed, in any process"
    assert len(midi.read(out / "a.mid")) > 0
    with (out / "report.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["scored", "failed", "scored", "failed"]
    assert json.loads((out / "report.json").read_text())[1]["error"] == results[1].error


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, recipe = tmp_path / "out", Recipe(seed=3, t_diff_s=0.5)
    good = [tmp_path / "a.mp4", tmp_path / "c.mp4"]
    shutil.copy(write(good[0], two_shots(), fps=12), good[1])
    (before,) = score_all(good[:1], out, recipe, model=model)
    first = (out / "a.mid").read_bytes()
    (out / "c.mid").write_bytes(b"half a song")  # a kill between the two files of a pair
    scored: list[str] = []
    real = batch.for_video

    def counted(film: Path, *rest: object, **options: object) -> object:
        scored.append(film.name)
        return real(film, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(batch, "for_video", counted)
    results = score_all(good, out, recipe, model=model, skip_existing=True)
    assert [result.status for result in results] == ["skipped", "scored"]
    assert scored == ["c.mp4"]
    # The report of the whole is what an unkilled run would have written, but for the time.
    assert results[0] == replace(before, status="skipped", spent_s=0.0)
    assert before.cuts > 0
    rows = list(csv.DictReader((out / "report.csv").read_text().splitlines()))
    assert [(row["duration_s"], row["cuts"], row["met"]) for row in rows] == [
        (str(r.duration_s), str(r.cuts), str(r.met)) for r in results
    ]
    assert (out / "a.mid").read_bytes() == first == (out / "c.mid").read_bytes()
    # Another recipe is another song.
    assert [r.status for r in score_all(good, out, Recipe(seed=4), model=model, skip_existing=True)] == ["scored"] * 2
    # Without leave to replace them, songs stay as they are.
    kept = score_all(good, out, recipe, model=model)
    assert [(r.status, "exists already" in r.error) for r in kept] == [("failed", True)] * 2


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_worker_that_is_killed_does_not_end_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_score", mortal.score)
    monkeypatch.setattr(batch, "_begin", mortal.begin)
    names = ["a", "once", "late", "always", "b"]
    seen: list[str] = []
    said: list[str] = []
    results = score_all(
        [Path(f"{name}.mp4") for name in names], tmp_path, Recipe(), jobs=2, warn=said.append,
        progress=lambda result, done, total: seen.append(f"{Path(result.film).stem} {done}/{total}"),
    )  # fmt: skip
    assert [Path(result.film).stem for result in results] == names
    assert {Path(r.film).stem: r.status for r in results} == dict.fromkeys(names, "scored") | {"always": "failed"}
    assert results[3].error == (
        "always.mp4: the process that scored it ended before it was done, twice (SIGKILL); "
        "if memory was short, give fewer --jobs, or cut the film into parts"
    )
    assert sorted(said) == [
        f"the process that scored {name}.mp4 has ended (SIGKILL); the film is tried once more"
        for name in ("always", "late", "once")
    ]
    assert sorted(text.split()[0] for text in seen) == sorted(names)
    assert [text.split()[1] for text in seen] == [f"{i}/5" for i in range(1, 6)]
    begun = mortal.begun(tmp_path)
    once = [name for name, _, again in begun if not again]
    assert sorted(once) == sorted(names)
    assert sorted(name for name, _, again in begun if again) == ["always", "late", "once"]
    for name in ("once", "late", "always"):  # the second time in a process that had no other film before
        (process,) = [process for each, process, again in begun if each == name and again]
        assert next(each for each, other, _ in begun if other == process) == name
    with (tmp_path / "report.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == [result.status for result in results]


@pytest.mark.slow
def test_a_worker_of_a_cluster_that_is_killed_does_not_end_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(batch, "_score", mortal.score)
    monkeypatch.setattr(batch, "_begin", mortal.begin)
    # Ray's workers begin elsewhere, and import this folder's stand-ins.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    monkeypatch.chdir(tmp_path)
    out = Path("out")
    out.mkdir()
    names = ["a", "once", "b"]
    said: list[str] = []
    results = score_all([Path(f"{name}.mp4") for name in names], out, Recipe(), jobs=2, ray="local", warn=said.append)
    assert said == [
        "the process that scored once.mp4 has ended (its process or machine was lost); the film is tried once more"
    ]
    assert capsys.readouterr() == ("", ""), "Ray's own paragraph about it is left out"
    assert [(result.film, result.song, result.status) for result in results] == [
        (f"{name}.mp4", f"out/{name}.mid", "scored") for name in names
    ]
    begun = mortal.begun(out)
    assert sorted(name for name, _, again in begun if not again) == sorted(names)
    assert sorted(name for name, _, again in begun if again) == ["once"]
    (fresh,) = [process for name, process, again in begun if again]
    assert [name for name, process, _ in begun if process == fresh] == ["once"], "a process that had no other film"
    assert sorted(path.name for path in out.glob("*.mid")) == sorted(f"{name}.mid" for name in names)


def test_a_song_that_was_there_stays_when_a_worker_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mid").write_text("mine")
    tasks: list[batch.Task] = []

    def kept(task: batch.Task, again: bool, **_: object) -> Scored:
        tasks.append(task)
        return Scored(str(task.film), str(task.song), "scored")

    monkeypatch.setattr(batch, "_score", kept)
    monkeypatch.setattr(batch, "_begin", mortal.begin)
    score_all([Path("a.mp4"), Path("b.mp4")], tmp_path, Recipe())
    assert [(task.overwrite, task.again) for task in tasks] == [(False, False), (False, True)]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_begin", mortal.begin_badly)
    with pytest.raises(ModelError, match="there is no model; give another"):
        score_all([Path("a.mp4"), Path("b.mp4")], tmp_path, Recipe(), jobs=2)


@pytest.mark.slow
def test_each_film_gets_sound_film_picture_and_page(
    films: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fluidsynth")
    (films / "b.mp4").unlink()
    out = tmp_path / "out"
    arguments = [
        "compose", "--model", str(model), "-q", str(films), "-o", str(out),
        "--mp4", str(tmp_path / "films with music"), "--plot", str(out), "--musicxml", str(out), "--skip-existing",
    ]  # fmt: skip
    assert main(arguments) == 1, "d is cut off"
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in said[:3]] == ["scored", "scored", "failed"], "nothing else is printed"
    for name in ("a", "c"):
        for ending in (".mid", ".mid.json", ".png", ".musicxml"):
            assert (out / f"{name}{ending}").stat().st_size > 200
        assert (tmp_path / "films with music" / f"{name}.mp4").stat().st_size > 1000
    assert not list(out.glob("d*"))
    # What is missing is made again, and nothing else is.
    (out / "c.png").unlink()
    before = (out / "a.png").stat().st_mtime_ns
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 scored, 1 skipped, 1 failed")
    assert (out / "c.png").is_file()
    assert (out / "a.png").stat().st_mtime_ns == before
    # The films themselves are never replaced.
    here = [*arguments[:5], "-o", str(tmp_path / "other"), "--mp4", str(films), "--overwrite"]
    assert main(here) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 scored, 0 skipped, 3 failed")
    assert not list((tmp_path / "other").glob("*.mid"))


def test_files_are_named_by_the_film() -> None:
    folders = Folders(*(Path(name) for name in ("sound", "films", "pictures", "pages", "scores")), stems=True)
    names = [str(path) for path in folders.files(Path("here/a.mov"))]
    assert names == ["sound/a.wav", "films/a.mov", "pictures/a.png", "pages/a.html", "scores/a.musicxml"]
    assert str(folders.files(Path("here/a.avi"))[1]) == "films/a.mkv", "AVI does not hold the music"
    assert folders.outputs(Path("a.mov"), overwrite=False).stems
    assert folders.absolute().wav == Path("sound").absolute()
    assert Folders().files(Path("a.mov")) == []


def test_a_place_that_is_no_folder(films: Path, tmp_path: Path, model: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file cannot be made"):
        score_all([films / "a.mp4"], tmp_path / "file", model=model)


@pytest.mark.slow
def test_the_command(films: Path, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["compose", "--model", str(model), "-q", str(films), "-o", str(out)]
    assert main(arguments) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("a.mp4  scored   ")
    assert said[1].startswith("b.mp4  failed   ")
    assert said[-1] == f"2 scored, 0 skipped, 2 failed; see {out / 'report.csv'}"
    assert main([*arguments, "--skip-existing"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 scored, 2 skipped, 2 failed")
    for name in ("b.mp4", "d.mp4"):
        (films / name).unlink()
    assert main([*arguments, "--skip-existing", "--shard", "2/2"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 scored, 1 skipped, 0 failed")
    (tmp_path / "mood.csv").write_text("time,valence,arousal\n0,0.5,0.5\n2,0,0\n")
    assert main([*arguments, "--shard", "16/16"]) == 0, "a shard without films"
    assert capsys.readouterr().out.startswith("0 scored, 0 skipped, 0 failed")
    for wrong, sentence in (
        (["--cuts", "a.csv"], "--cuts is for one film, and several are given"),
        (["--wav", "a.wav"], "--wav a.wav names a file, and several films are given; give a folder"),
        (["--stems"], "--stems are written beside the mix; give --wav, too"),
        (["--theme", "a.mid"], "--theme is for one film"),
        (
            ["--affect", str(tmp_path / "mood.csv")],
            "of --affect only builtin, builtin:pictures and none are for several films",
        ),
        (["--ray", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1 (Connection refused); check the address"),
        (["--shard", "3/2"], "the shard '3/2' is not K/N"),
    ):
        assert main([*arguments, *wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["compose", "--model", str(model), str(films)]) == 2
    assert "give -o FOLDER, for the songs of several films" in capsys.readouterr().err
