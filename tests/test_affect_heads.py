"""Heads for films' moods: labels, features that are kept, fits that find what is there and nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsync.affect_clip import Clip, open_clip
from emsync.affect_vlm import Probe, Settings, open_vlm
from emsync.errors import InputError, OutputError, VideoError
from emsync.mood import MoodCurve
from emsync.training.mood import heads, labelled_films
from emsync.training.mood.heads import Perceptron, Report, train
from emsync.training.mood.labelled_films import Example, Labelled, read_folder
from emsync.video import analyze
from emsync.vision import Sight, read_head
from tests.vision_models import BLACK, BLUE, GREEN, RED, WHITE, film, tiny_clip, tiny_llava

COLOURS = [RED, GREEN, BLUE, BLACK, WHITE]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Seven little films: what their second is, and how many."""
    folder = tmp_path_factory.mktemp("source")
    return {
        f"{i}.mkv": film(folder / f"{i}.mkv", [COLOURS[i % 5], COLOURS[(i + 1) % 5]]).read_bytes() for i in range(7)
    }


def labelled(folder: Path, source: dict[str, bytes], n: int) -> Path:
    """A folder of `n` films; the first has a curve, the others a row in labels.csv."""
    folder.mkdir(exist_ok=True)
    rows = ["file,valence,arousal"]
    for i, (name, data) in enumerate(list(source.items())[:n]):
        (folder / name).write_bytes(data)
        if i:
            rows.append(f"{name},{0.1 * i:.2f},{-0.1 * i:.2f}")
    (folder / "labels.csv").write_text("\n".join(rows))
    (folder / "0.csv").write_text("time_s,valence,arousal\n0,0.5,-0.5\n2,0.7,0.5\n")
    return folder


def examples(n: int, *, size: int = 8, noise: float = 0.0, seed: int = 0, moments: int = 30) -> list[Example]:
    """Films whose mood is a straight line of their features, and noise of that deviation."""
    rng = np.random.default_rng(seed)
    slope, level = 0.1 * rng.normal(size=(size, 2)), np.array([0.1, -0.2])
    found = []
    for _ in range(n):
        features = (rng.normal(size=size) + 0.3 * rng.normal(size=(moments, size))) * np.geomspace(0.5, 2, size) + 3
        target = (features - 3) @ slope + level + noise * rng.normal(size=(moments, 2))
        sight = Sight(np.arange(moments) + 0.5, features.astype(np.float32), np.arange(moments), np.ones(moments))
        found.append(Example(sight, np.ones(moments, bool), target))
    return found


# --- labels ---------------------------------------------------------------------------------------------------------


def test_labels_are_curves_and_constants(tmp_path: Path, source: dict[str, bytes]) -> None:
    films = read_folder(labelled(tmp_path / "films", source, 3))
    assert [item.path.name for item in films] == ["0.mkv", "1.mkv", "2.mkv"]
    assert [item.throughout for item in films] == [False, True, True]
    assert films[0].curve.valence.tolist() == [0.5, 0.7]
    assert (films[2].curve.valence[0], films[2].curve.arousal[0]) == (0.2, -0.2)


def test_a_curve_in_json(tmp_path: Path, source: dict[str, bytes]) -> None:
    folder = labelled(tmp_path / "films", source, 1)
    (folder / "0.csv").unlink()
    (folder / "0.json").write_text(json.dumps({"times_s": [0, 1], "valence": [0, 0.5], "arousal": [0, 1]}))
    assert read_folder(folder)[0].curve.arousal.tolist() == [0, 1]


def test_a_curve_speaks_for_what_it_covers() -> None:
    curve = Labelled(Path("a.mp4"), MoodCurve(np.array([10.0, 12.0]), np.zeros(2), np.zeros(2)))
    times_s = np.arange(8, 15) + 0.5
    assert times_s[curve.known(times_s)].tolist() == [9.5, 10.5, 11.5, 12.5]
    constant = Labelled(Path("a.mp4"), MoodCurve.constant(0.1, 0.2), throughout=True)
    assert constant.known(times_s).tolist() == [True] * 7


def test_a_folder_without_films(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match="holds no film"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="nothing is not a folder; give one that holds films and their labels"):
        read_folder(tmp_path / "nothing")


def test_a_film_without_a_label(tmp_path: Path, source: dict[str, bytes]) -> None:
    folder = labelled(tmp_path / "films", source, 2)
    (folder / "new.mkv").write_bytes(source["0.mkv"])
    with pytest.raises(
        InputError, match=r"new\.mkv has no label; write new\.csv .* beside it, or a row in labels\.csv"
    ):
        read_folder(folder)


def test_a_film_that_is_none(tmp_path: Path, source: dict[str, bytes]) -> None:
    folder = labelled(tmp_path / "films", source, 2)
    (folder / "0.mkv").write_bytes(b"no film at all" * 50)
    with pytest.raises(VideoError, match=r"0\.mkv .* cannot be opened as a video"):
        read_folder(folder)


def test_a_curve_longer_than_its_film(tmp_path: Path, source: dict[str, bytes]) -> None:
    folder = labelled(tmp_path / "films", source, 2)
    (folder / "0.csv").write_text("time_s,valence,arousal\n0,0,0\n60,0,0\n")
    with pytest.raises(InputError, match=r"0\.mkv: the mood curve reaches 60 s, past the video's end \(2 s\)"):
        read_folder(folder)
    film = Labelled(folder / "0.mkv", MoodCurve(np.array([0.0, 60.0]), np.zeros(2), np.zeros(2)))
    sight = examples(1, moments=2)[0].sight
    with pytest.raises(InputError, match=r"reaches 60 s, past the video's end \(2 s\)"):  # where no length is declared
        Example.of(film, sight)


def test_a_curve_of_one_axis(tmp_path: Path, source: dict[str, bytes]) -> None:
    folder = labelled(tmp_path / "films", source, 2)
    (folder / "0.csv").write_text("time_s,valence\n0,0\n1,0\n")
    with pytest.raises(InputError, match=r"0\.csv has no arousal; give both"):
        read_folder(folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("name,valence,arousal\n1.mkv,0,0", "has the columns name, valence, arousal; give file,valence,arousal"),
        ("file,valence,arousal\n9.mkv,0,0", r"row 2 of .*: '9\.mkv' is not a film in the same folder"),
        ("file,valence,arousal\n1.mkv,0,0\n1.mkv,0,0", r"row 3 of .*: '1\.mkv' is named twice"),
        (
            "file,valence,arousal\n1.mkv,high,0",
            "row 2 of .*: valence or arousal is not a number; give both from -1 to 1",
        ),
        ("file,valence,arousal\n1.mkv,0", "row 2 of .*: valence or arousal is not a number"),
        ("file,valence,arousal\n1.mkv,nan,0", "row 2 of .*: valence or arousal is not a number"),
        ("file,valence,arousal\n1.mkv,0,7", r"row 2 of .*: arousal 7 at 0 s is outside \[-1, 1\]"),
    ],
)
def test_tables_of_labels_that_cannot_be_used(
    tmp_path: Path, source: dict[str, bytes], rows: str, message: str
) -> None:
    folder = labelled(tmp_path / "films", source, 2)
    (folder / "labels.csv").write_text(rows)
    with pytest.raises(InputError, match=message):
        read_folder(folder)


# --- fits -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ridge_finds_a_straight_line() -> None:
    films = examples(6)
    weights = heads.fit_ridge(films, (1e-6,))[0]
    for example in films:
        found = example.sight.features @ weights["weight"].T + weights["bias"]
        assert found == pytest.approx(example.target, abs=1e-3)


def test_ridge_is_the_normal_equations() -> None:
    """Standardise, then (X'WX + p) b = X'Wy, solved directly; films of unequal length weigh the same."""
    films = [examples(1, seed=i, moments=10 + 5 * i, noise=0.1)[0] for i in range(3)]
    x = np.concatenate([e.sight.features for e in films]).astype(np.float64)
    y = np.concatenate([e.target for e in films])
    w = np.concatenate([np.full(len(e.target), 1 / len(e.target) / 3) for e in films])
    mean, level = w @ x, w @ y
    deviation = np.sqrt(w @ (x - mean) ** 2)
    z = (x - mean) / deviation
    slope = np.linalg.solve(z.T @ (w[:, None] * z) + 0.3 * np.eye(8), z.T @ (w[:, None] * (y - level)))
    weights = heads.fit_ridge(films, (7.0, 0.3))[1]
    assert weights["weight"] == pytest.approx((slope / deviation[:, None]).T, abs=1e-5)
    assert weights["bias"] == pytest.approx(level - (mean / deviation) @ slope, abs=1e-5)


def test_a_feature_that_never_varies_says_nothing() -> None:
    films = examples(3)
    for example in films:
        example.sight.features[:, 2] = 0.7
    weights = heads.fit_ridge(films, (0.1,))[0]
    assert np.isfinite(weights["weight"]).all()
    assert weights["weight"][:, 2] == pytest.approx([0, 0], abs=1e-9)


def test_seconds_without_a_label_are_left_out() -> None:
    films = examples(5)
    clean = heads.fit_ridge(films, (0.1,))[0]
    for i, example in enumerate(films):
        extra = Sight.of(
            np.arange(31) + 0.5, [(0, np.concatenate([example.sight.features, np.full((1, 8), 99, np.float32)]))]
        )
        object.__setattr__(extra, "weight", np.ones(31))
        films[i] = Example(extra, np.arange(31) < 30, np.concatenate([example.target, [[1, 1]]]))
    assert heads.fit_ridge(films, (0.1,))[0]["weight"] == pytest.approx(clean["weight"], abs=1e-6)


@pytest.mark.slow
def test_a_clip_head_learns_what_is_there_and_nothing_else() -> None:
    films = examples(12, noise=0.1)
    readings = heads.cross_validated(films, "clip", heads.fit_clip)
    assert min(axis.pearson for axis in heads.judged(readings, films)) > 0.8
    rng = np.random.default_rng(5)
    shuffled = [Example(e.sight, e.known, np.tile(rng.uniform(-0.5, 0.5, 2), (30, 1))) for e in films]
    readings = heads.cross_validated(shuffled, "clip", heads.fit_clip)
    assert max(abs(axis.concordance) for axis in heads.judged(readings, shuffled)) < 0.5


def test_no_film_is_read_by_a_head_that_saw_it() -> None:
    films = examples(11)
    seen_together: list[list[int]] = []

    def fit(seen: Sequence[Example]) -> dict[str, np.ndarray]:
        seen_together.append([next(i for i, film in enumerate(films) if film is e) for e in seen])
        return heads.fit_ridge(seen, (1.0,))[0]

    heads.cross_validated(films, "clip", fit, seed=3)
    assert len(seen_together) == heads.FOLDS
    left_out = [i for seen in seen_together for i in range(11) if i not in seen]
    assert sorted(left_out) == list(range(11))  # each once


def test_a_perceptron_learns_and_the_same_seed_gives_the_same() -> None:
    films = examples(4)
    how = Perceptron(hidden=16, epochs=60, dropout=0.0, batch=32, learning_rate=1e-2)
    weights = heads.fit_vlm(films, how, seed=1)
    missed = np.concatenate([heads._read("vlm", weights, e) - np.clip(e.target, -1, 1) for e in films])
    spread = np.concatenate([e.target for e in films]).std()
    assert np.abs(missed).mean() < 0.3 * spread
    first, again, other = (heads.fit_vlm(films, replace(how, epochs=4), seed=seed) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["0.weight"], other["0.weight"])


def test_fitting_leaves_chance_as_it_was() -> None:
    import torch

    torch.manual_seed(0)
    expected = torch.rand(3).tolist()
    torch.manual_seed(0)
    heads.fit_vlm(examples(2), Perceptron(hidden=4, epochs=1))
    assert torch.rand(3).tolist() == expected


# --- the whole way --------------------------------------------------------------------------------------------------


def test_a_clip_head_from_films_to_a_reader(tmp_path: Path, source: dict[str, bytes], clip: Path) -> None:
    films = labelled(tmp_path / "films", source, 5)
    reports: list[tuple[int, int, float]] = []
    report = train(
        films, tmp_path / "head", kind="clip", model=str(clip), progress=lambda *reported: reports.append(reported)
    )
    assert (report.films, report.seconds) == (5, 10)
    assert reports[-1] == (4, 5, 1.0)
    assert report.head is not None
    assert report.zero_shot is not None
    assert np.isfinite(report.head[0].pearson)
    assert "head, held-out films" in report.summary()
    assert "zero-shot" in report.summary()
    head = read_head(tmp_path / "head", "clip")
    assert head.training["films"] == 5
    assert head.training["head"]["valence"]["pearson"] == pytest.approx(report.head[0].pearson, abs=1e-4)
    path = films / "0.mkv"
    curve = open_clip(str(tmp_path / "head")).read(path, analyze(path))
    assert len(curve) == 2
    assert np.abs(curve.valence).max() <= 1


def test_few_films_are_not_cross_validated(tmp_path: Path, source: dict[str, bytes], clip: Path) -> None:
    report = train(labelled(tmp_path / "films", source, 2), tmp_path / "head", kind="clip", model=str(clip))
    assert report.head is None
    assert "Not cross-validated: that takes 5 films or more." in report.summary()
    assert "zero-shot" in report.summary()
    assert read_head(tmp_path / "head", "clip").training["head"] is None


def test_a_vlm_head_from_films_to_a_reader(tmp_path: Path, source: dict[str, bytes], llava: Path) -> None:
    films = labelled(tmp_path / "films", source, 5)
    report = train(
        films,
        tmp_path / "head",
        kind="vlm",
        model=str(llava),
        settings=Settings(window_s=2, hop_s=1, shortest_px=32, layer=1),
        perceptron=Perceptron(hidden=4, epochs=3),
    )
    assert report.zero_shot is None
    assert "zero-shot" not in report.summary()
    reader = open_vlm(str(tmp_path / "head"))
    assert (reader.probe.settings.window_s, reader.probe.settings.layer) == (2, 1)
    assert reader.head.training["perceptron"]["hidden"] == 4
    assert len(reader.read(films / "0.mkv", analyze(films / "0.mkv"))) == 2


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    tmp_path: Path, source: dict[str, bytes], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    films, place = labelled(tmp_path / "films", source, 5), tmp_path / "head"
    whole = Clip.sight
    seen: list[str] = []

    def watch(self: Clip, video: Path, *rest: object) -> Sight:
        if video.name == "3.mkv" and "3.mkv" not in seen:
            seen.append("3.mkv")
            raise KeyboardInterrupt
        seen.append(video.name)
        return whole(self, video)

    monkeypatch.setattr(Clip, "sight", watch)
    with pytest.raises(KeyboardInterrupt):
        train(films, place, kind="clip", model=str(clip))
    assert seen == ["0.mkv", "1.mkv", "2.mkv", "3.mkv"]
    assert not (place / "head.json").exists()
    (kept,) = (place / "features").glob("1-*.npz")
    kept.write_bytes(kept.read_bytes()[:100])  # a disk that was full
    seen[:] = ["3.mkv"]
    report = train(films, place, kind="clip", model=str(clip))
    assert seen == ["3.mkv", "1.mkv", "3.mkv", "4.mkv"]
    monkeypatch.setattr(Clip, "sight", whole)
    assert train(films, tmp_path / "other", kind="clip", model=str(clip)) == report
    assert (place / "head.safetensors").read_bytes() == (tmp_path / "other" / "head.safetensors").read_bytes()


def test_features_of_other_settings_are_not_taken(
    tmp_path: Path, source: dict[str, bytes], clip: Path, llava: Path
) -> None:
    path = labelled(tmp_path / "films", source, 1) / "0.mkv"
    keys = {
        labelled_films._key(path, Clip.load(str(clip))),
        labelled_films._key(path, Probe.load(str(llava))),
        labelled_films._key(path, Probe.load(str(llava), Settings(layer=1))),
    }
    path.write_bytes(source["1.mkv"])
    keys.add(labelled_films._key(path, Clip.load(str(clip))))
    assert len(keys) == 4


def test_folders_that_are_not_ours_are_left_alone(tmp_path: Path, source: dict[str, bytes], clip: Path) -> None:
    films, place = labelled(tmp_path / "films", source, 2), tmp_path / "head"
    place.mkdir()
    (place / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="head exists and is not a head's folder; move it away"):
        train(films, place, kind="clip", model=str(clip))
    (place / "thesis.txt").unlink()
    train(films, place, kind="clip", model=str(clip))
    with pytest.raises(OutputError, match="holds a head already; give --overwrite to replace it"):
        train(films, place, kind="clip", model=str(clip))
    assert train(films, place, kind="clip", model=str(clip), overwrite=True).films == 2


def test_a_curve_that_speaks_for_nothing() -> None:
    curve = MoodCurve(np.array([0.6, 0.9]), np.zeros(2), np.zeros(2))
    sight = examples(1, moments=2)[0].sight
    late = Sight(sight.times_s + 3, sight.features, sight.moment, sight.weight)
    with pytest.raises(InputError, match="its curve speaks for no second of it; give a longer curve"):
        Example.of(Labelled(Path("a.mp4"), curve), late)


def test_a_summary_says_what_cannot_be_measured() -> None:
    nan = heads.agreement([np.zeros(3)], [np.zeros(3)])
    assert "n/a" in Report("vlm", "some/model", 5, 3, (nan, nan), None).summary()
