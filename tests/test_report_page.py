"""The page: the table at its top, other models beside, pictures, all or nothing on disk, and the whole command."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import midi
from emsync.cli import main as root
from emsync.errors import CorpusError, InputError, OutputError
from emsync.training.evaluation import landing, similarity, stability
from emsync.training.evaluation.landing import Aim, Composed, CutList, Landing, Tally
from emsync.training.evaluation.report_page import (
    PARTS,
    check_output,
    headline,
    page,
    plain,
    read_evaluation,
    table,
    write,
)
from emsync.training.evaluation.yardstick import Kept, Wanted, measure_parts
from tests.fakes import Fake, plain_recipe
from tests.models import archive_file, model_folder

LANDING = Landing(
    {Aim("random", "exact", "sounding_chords", "frame"): (Tally(4, 6, 3), Tally(4, 6, 1))}, {"random": (2, 4, 60.0)}
)


@dataclass(frozen=True)
class Toy:
    """A part without a picture, or with one."""

    values: Mapping[str, Any]
    picture: bytes = b""

    def to_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def to_markdown(self) -> str:
        return "## Toy\n\nIts section.\n"

    def plot(self, path: Any) -> None:
        if self.picture:
            Path(path).write_bytes(self.picture)


@dataclass(frozen=True)
class Whole:
    values: Mapping[str, Any]
    parts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**self.values, **{name: part.to_dict() for name, part in self.parts.items()}}

    def to_markdown(self) -> str:
        return "The bits.\n"


OURS = {
    "bits_per_note": 6.25,
    "unconditioned_bits_per_note": 6.5,
    "archive": "v.npz",
    "songs": 3,
    "model": {"folder": "small", "weights_hash": "0123456789"},
}


def test_numbers_and_tables() -> None:
    assert (plain(1.5), plain(math.nan), plain(math.inf)) == (1.5, None, None)
    assert table(["", "x"], [["a", 0.5], ["b", math.nan]])[2:] == ["| a | 0.500 |", "| b | – |"]


def test_the_table_at_the_top() -> None:
    values = {
        **OURS,
        "landing": LANDING.to_dict(),
        "stability": {"pieces": 2, "statistics": {"mean_pitch": {"by_minute": [60.0], "last_to_first": 1.25}}},
        "similarity": {"auc": 0.71, "pieces": 12, "per_statistic": {"x": 1.0}, "note": "text"},
        "memorization": {"longest_copy": 17, "share": None},
    }
    rows = headline(json.loads(json.dumps(values)))
    assert rows == {
        "bits per note": "6.250",
        "bits per note, without conditions": "6.500",
        "landing, random: pieces / cuts": "2 / 4",
        "landing exact, random: sounding chords within 33.3 ms": "0.750 / 0.500 / 0.429",
        "stability: pieces": "2",
        "stability, last minute by first: mean pitch": "1.250",
        "similarity: auc": "0.710",
        "similarity: pieces": "12",
        "memorization: longest copy": "17",
    }


def test_parts_of_older_files_are_beside_the_same_parts() -> None:
    older = {"likeness": {"auc": 0.71}, "memory": {"longest_copy": 17}}
    newer = {"similarity": {"auc": 0.71}, "memorization": {"longest_copy": 17}}
    assert headline(older) == headline(newer) == {"similarity: auc": "0.710", "memorization: longest copy": "17"}


def test_headlines_of_an_odd_file_are_what_can_be_read() -> None:
    assert headline({"bits_per_note": 3.0, "landing": 7, "stability": {"statistics": []}, "memorization": [1]}) == {
        "bits per note": "3.000",
        "stability: pieces": "–",
    }


def test_models_are_beside_one_another_and_the_paper() -> None:
    other = {**OURS, "bits_per_note": 7.5, "songs": 9, "model": {"folder": "old", "weights_hash": "abcdefghij"}}
    text = page(Whole(OURS, {"landing": LANDING}), [other], ["landing"])
    assert "|  | small (01234567) | old (abcdefgh) | the paper |" in text
    assert "| bits per note | 6.250 | 7.500 |  |" in text
    row = "| landing exact, random: sounding chords within 33.3 ms | 0.750 / 0.500 / 0.429 | – | 0.297 / 0.317 ‡ |"
    assert row in text
    assert "old (abcdefgh) was measured on other songs" in text
    assert "![landing](landing.png)" in text
    assert text.startswith("# Evaluation\n")
    assert text.count("\n# ") == 0
    same = page(Whole(OURS), [{**OURS, "bits_per_note": 7.5}])
    assert "other songs" not in same
    assert "‡" not in same


def test_a_plain_page_has_no_table_at_its_top() -> None:
    assert page(Whole(OURS)) == "# Evaluation\n\nThe bits.\n"


def test_a_part_without_a_picture_gets_none(tmp_path: Path) -> None:
    parts = {"memorization": Toy({"share": 0.0}), "similarity": Toy({"auc": 0.5}, b"PNG")}
    written = write(Whole(OURS, parts), tmp_path / "out")
    assert [path.name for path in written] == ["evaluation.json", "evaluation.md", "similarity.png"]
    text = written[1].read_text(encoding="utf-8")
    assert "![similarity](similarity.png)" in text
    assert "memorization.png" not in text
    assert json.loads(written[0].read_text())["memorization"] == {"share": 0.0}
    with pytest.raises(OutputError, match=r"evaluation.json exists already; give --overwrite"):
        write(Whole(OURS, parts), tmp_path / "out")


def test_an_existing_picture_is_refused_early(tmp_path: Path) -> None:
    (tmp_path / "landing.png").write_bytes(b"mine")
    check_output(tmp_path)
    with pytest.raises(OutputError, match=r"landing.png exists already; give --overwrite"):
        check_output(tmp_path, parts=["landing"])
    check_output(tmp_path, parts=["landing"], overwrite=True)


def test_nothing_is_written_when_a_part_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(Whole(OURS, {"memorization": Toy({"share": math.nan})}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "cannot be read .*; give the evaluation.json that emsync evaluate wrote"),
        (b"\xff\xfe{", "is not JSON"),
        (b"{", "is not JSON"),
        (b"[1]", "holds no bits_per_note; give the evaluation.json"),
        (b'{"bits_per_note": "low"}', "holds no bits_per_note"),
    ],
)
def test_other_evaluations_that_are_none(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / "other.json").write_bytes(content)
    with pytest.raises(InputError, match=sentence):
        read_evaluation(tmp_path / "other.json")


def test_a_folder_of_an_evaluation_is_read(tmp_path: Path) -> None:
    write(Whole(OURS), tmp_path)
    assert read_evaluation(tmp_path) == OURS


# ---- The yardstick ----------------------------------------------------------------------------------------------


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of a few seconds, minutes of four, and a piece or two for similarity."""
    monkeypatch.setattr(similarity, "MIN_PIECES", 1)
    monkeypatch.setattr(landing, "LENGTH_S", (6.0, 8.0))
    monkeypatch.setattr(landing, "GAP_S", (4.0, 5.0))
    monkeypatch.setattr(stability, "MINUTE_S", 4.0)


def fake_parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for similarity, memorization and adherence to moods that note what they are given."""
    given: dict[str, Any] = {}

    def compared(composed: Sequence[Any], real: Sequence[Any], *, seed: int) -> Toy:
        given["similarity"] = (composed, real, seed)
        return Toy({"auc": 0.625})

    def searched(
        composed: Sequence[Any], corpus: Sequence[Path], valid: Sequence[Any], *, seed: int, progress: Any
    ) -> Toy:
        progress(1, 1)
        given["memorization"] = (composed, corpus, valid)
        return Toy({"longest_copy": 12})

    def followed(decoder: Any, songs: Any, rounds: int, recipe: Any, *, seed: int, together: int, progress: Any) -> Toy:
        progress(40.0, 480.0)
        given["mood_adherence"] = (len(songs), rounds, seed, together)
        return Toy({"valence": {"pearson": 0.25}})

    def obeyed(decoder: Any, songs: Any, count: int, recipe: Any, *, seed: int, progress: Any) -> Toy:
        progress(20.0, 40.0)
        given["control_adherence"] = (len(songs), count, seed)
        return Toy({"sets": {"rhythm": {"rhythm": {"f1": 0.5, "hit": None}}}})

    monkeypatch.setattr("emsync.training.evaluation.mood_adherence.measure", followed)
    monkeypatch.setattr("emsync.training.evaluation.control_adherence.measure", obeyed)
    monkeypatch.setattr("emsync.training.evaluation.similarity.measure", compared)
    monkeypatch.setattr("emsync.training.evaluation.memorization.measure", searched)
    return given


def test_what_is_wanted() -> None:
    assert Wanted().parts == ()
    assert Wanted(landing=1, stability=2, similarity=True).parts == ("landing", "stability", "similarity")
    assert Wanted(mood_adherence=1).parts == ("mood_adherence",)
    assert Wanted(films=(CutList("a", np.array([4.0]), 8.0),)).parts == ("landing",)
    with pytest.raises(InputError, match="no way of landing was given; give free, bend or exact"):
        Wanted(landing=1, lands=())
    with pytest.raises(InputError, match="9 pieces cannot be compared with real songs; give at least 10"):
        Wanted(similarity=True, pieces=9)
    with pytest.raises(InputError, match="pieces is 0; give at least 1"):
        Wanted(pieces=0)
    twice = (CutList("a", np.array([4.0]), 8.0), CutList("a", np.array([5.0]), 9.0))
    with pytest.raises(InputError, match="two of the films are called a; rename one"):
        Wanted(films=twice)
    with pytest.raises(CorpusError, match=r"gone.npz is not a file; give an archive that the model was trained on"):
        Wanted(memorization=(Path("gone.npz"),))


@pytest.mark.usefixtures("short")
def test_parts_share_what_is_composed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = fake_parts(monkeypatch)
    archive, train = archive_file(tmp_path / "v.npz", 3, bars=2), archive_file(tmp_path / "t.npz", 2, bars=2)
    kept: dict[str, list[Any]] = {}
    seen: set[str] = set()
    parts = measure_parts(
        Fake(),
        archive,
        Wanted(landing=1, similarity=True, memorization=(train,), pieces=2, seed=7),
        plain_recipe(grid="sixteenths", tempo_qpm=120),
        keep=lambda name, pieces: kept.update({name: list(pieces)}),
        progress=lambda what, *_: seen.add(what),
    )
    assert list(parts) == ["landing", "similarity", "memorization"]
    assert {name: len(pieces) for name, pieces in kept.items()} == {
        "landing-bend": 2,
        "landing-free": 1,
        "landing-exact": 1,
    }
    assert seen == {f"composing, landing-{land}" for land in ("bend", "free", "exact")} | {"searching archives"}
    assert parts["landing"].to_dict()["random"]["pieces"] == 1
    composed, real, seed = given["similarity"]
    assert [score == made.score for score, made in zip(composed, kept["landing-bend"], strict=True)] == [True, True]
    assert (len(real), seed) == (3, 7)
    assert given["memorization"] == (composed, (train,), real)


@pytest.mark.usefixtures("short")
def test_memorization_is_asked_as_it_wants_to_be(tmp_path: Path) -> None:
    archive = archive_file(tmp_path / "v.npz", 2, bars=2)
    parts = measure_parts(Fake(), archive, Wanted(memorization=(archive,), pieces=2), plain_recipe(grid="sixteenths"))
    values = parts["memorization"].to_dict()
    assert (values["pieces"], values["songs"], values["corpus_songs"]) == (2, 2, 2)


def test_a_folder_to_keep_pieces_in(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="file is a file; give a folder to keep the pieces in"):
        Kept(tmp_path / "file")
    with pytest.raises(OutputError, match="holds files already; give --overwrite, or another folder"):
        Kept(tmp_path)
    Kept(tmp_path, overwrite=True)


def command(*arguments: object) -> int:
    return root.main(["evaluate", *map(str, arguments)])


@pytest.mark.usefixtures("short")
def test_only_the_ways_of_landing_that_are_asked_for_are_composed(tmp_path: Path) -> None:
    made: list[str] = []

    def keep(name: str, pieces: Sequence[Composed]) -> None:
        made.extend([name] * len(pieces))

    archive = archive_file(tmp_path / "v.npz", 2, bars=1)
    parts = measure_parts(
        Fake(), archive, Wanted(landing=2, lands=("free",)), plain_recipe(grid="sixteenths"), keep=keep
    )
    assert made == ["landing-free"] * 2
    assert {aim.land for aim in parts["landing"].tallies} == {"free"}  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.usefixtures("short")
def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    given = fake_parts(monkeypatch)
    monkeypatch.setattr("emsync.decoder.open_decoder", lambda *_: Fake())
    archive, folder = archive_file(tmp_path / "v.npz", 2, bars=1), model_folder(tmp_path / "model")
    (tmp_path / "cuts.csv").write_text("time_s\n4.5\n")
    (tmp_path / "old.json").write_text(json.dumps({**OURS, "bits_per_note": 30.0}))
    arguments = [
        "--archive", archive, "-o", tmp_path / "out", "--model", folder, "--landing", 1, "--film",
        tmp_path / "cuts.csv", "--stability", 1, "--minutes", 2, "--similarity", "--memorization", archive,
        "--mood-adherence", 2, "--controls", 4, "--pieces", 1, "--together", 2, "--seed", 3,
        "--keep", tmp_path / "kept",
        "--compare", tmp_path / "old.json", "-q",
    ]  # fmt: skip
    assert command(*arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "0.625: similarity: auc" in said.out
    assert "0.250: mood adherence, valence: Pearson\n" in said.out
    assert given["mood_adherence"] == (2, 2, 3, 2)
    assert given["control_adherence"] == (2, 4, 3)
    assert "f1 0.500, hit –: controls, rhythm: rhythm\n" in said.out
    values = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert values["bits_per_note"] > 0
    assert [name for name in PARTS if name in values] == list(PARTS)
    assert set(values["landing"]) == {"random", "films"}
    assert set(values["landing"]["films"]) == {"pieces", "cuts", "seconds", "free", "bend", "exact"}
    assert len(values["stability"]["statistics"]["notes_per_s"]["by_minute"]) == 2
    composing = values["settings"]["composing"]
    assert (composing["seed"], composing["together"], composing["grid"]) == (3, 2, "triplets")
    assert (composing["temperature"], composing["by_kind"]["ON"], composing["stray_bias"]) == (0.87, [1.0, 0.97], -3.0)
    assert composing["finish"] == "on"
    text = (tmp_path / "out" / "evaluation.md").read_text(encoding="utf-8")
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["landing.png", "stability.png"]
    assert all(f"]({name})" in text for name in pictures)
    assert "| small (01234567) |" in text
    assert "| 0.899 / 0.909 ‡ |" in text
    assert str(tmp_path) not in text + json.dumps(values)
    kept = sorted(path.name for path in (tmp_path / "kept").iterdir())
    assert kept == [
        "films-bend-cuts.mid", "films-exact-cuts.mid", "films-free-cuts.mid", "landing-bend-000.mid",
        "landing-exact-000.mid", "landing-free-000.mid", "stability-000.mid",
    ]  # fmt: skip
    assert len(midi.read(tmp_path / "kept" / kept[0])) > 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--landing", 0], "0 is not in the range x>=1"),
        (["--stability", 0], "0 is not in the range x>=1"),
        (["--minutes", 1], "1 is not in the range 2<=x<=60"),
        (["--film", "gone.mp4"], "gone.mp4"),
        (["--film", "gone.csv"], "gone.csv does not exist; check the name"),
        (["--memorization", "gone.npz"], "gone.npz is not a file; give an archive that the model was trained on"),
        (["--compare", "gone.json"], "gone.json cannot be read"),
        (["--landing", 1, "--keep", "full"], "full holds files already; give --overwrite, or another folder"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("full").mkdir()
    Path("full/mine.mid").write_bytes(b"mine")
    archive = archive_file(Path("v.npz"), 1, bars=1)
    assert command("--archive", archive, "-o", "out", "--model", "no-model-is-read", *arguments) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert sentence in said[0]
    assert not Path("out").exists()


def test_no_archive(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("-o", "out", "--landing", 2) == 2
    assert "give --archive FILE.npz, songs to measure the model on, or --av-align" in capsys.readouterr().err
