"""The ranking study: a blind page, balanced places, answers from a real browser, and the table of mean ranks."""

from __future__ import annotations

import csv
import json
import math
import wave
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync.cli.main import main
from emsync.errors import InputError, OutputError
from emsync.survey import QUESTIONS, Survey, make_survey, williams
from emsync.survey_results import COLUMNS, as_csv, as_text, margin, mean_ranks, read_answers
from tests.browser import opened, started, until

#: All at once, although the page lets one play at a time.
PLAY_ALL = """document.querySelectorAll("video").forEach((each) => {
  each.closest("figure").addEventListener("play", (event) => event.stopPropagation(), true);
  each.play().catch(() => {});
})"""
METHODS = ("CMT", "EMSYNC", "Video2Music")


def study(folder: Path, methods: tuple[str, ...] = METHODS, n_films: int = 2) -> Path:
    """A folder of methods; every clip is half a second of a tone of its own."""
    for i, method in enumerate(methods):
        (folder / method).mkdir(parents=True)
        for film in range(n_films):
            with wave.open(str(folder / method / f"film {film}.wav"), "wb") as file:
                file.setparams((1, 2, 8000, 0, "NONE", ""))
                file.writeframes((np.sin(np.arange(4000) / (3 + i + film)) * 3000).astype("<i2").tobytes())
    return folder


def codes(survey: Survey) -> dict[str, str]:
    """The code of each method."""
    key = json.loads(survey.key.read_text())
    return {name: code for code, name in key["methods"].items()}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as running:
        yield running


# ---- the design ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 7])
def test_a_williams_design_balances_places_and_neighbours(n: int) -> None:
    rows = williams(n)
    assert len(rows) == (n if n % 2 == 0 else 2 * n)
    assert all(sorted(row) == list(range(n)) for row in rows)
    places = Counter((item, place) for row in rows for place, item in enumerate(row))
    assert set(places.values()) == {len(rows) // n}
    assert len(places) == n * n
    after = Counter(pair for row in rows for pair in pairwise(row))
    assert set(after.values()) == {len(rows) // n}
    assert len(after) == n * (n - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("n_methods", "n_films", "each"), [(2, 1, 1), (3, 2, 2), (3, 5, 2), (4, 3, 3)])
def test_raters_see_films_and_places_equally_often(
    browser: Any, tmp_path: Path, n_methods: int, n_films: int, each: int
) -> None:
    methods = tuple(f"method {i}" for i in range(n_methods))
    made = make_survey(study(tmp_path / "s", methods, n_films), tmp_path / "s.html", films_each=each)
    n_raters = made.n_orders * n_films
    with opened(browser, made.page) as page:
        plans = page.evaluate(
            f"Array.from({{length: {n_raters}}}, (_, i) => plan(i + 1).map((s) => [s.film.code, s.methods]))"
        )
    assert all(len(own) == each == len({film for film, _ in own}) for own in plans)
    shown = Counter((film, method, place) for own in plans for film, row in own for place, method in enumerate(row))
    assert len(shown) == n_films * n_methods**2
    assert len(set(shown.values())) == 1, "each method stands equally often at each place, film by film"
    first = Counter(own[0][0] for own in plans)
    assert max(first.values()) - min(first.values()) <= n_raters * 0.25


# ---- in the browser --------------------------------------------------------------------------------------------------


def rate(browser: Any, survey: Survey, number: int, rank_of: dict[str, int], folder: Path) -> Path:
    """A rater in the browser, who ranks the methods of each code as `rank_of` says, and saves the answers."""
    with opened(browser, survey.page) as page:
        page.evaluate(f"document.getElementById('number').value = {number}")
        assert page.locator("#start").is_disabled()
        page.get_by_label("I take part of my own free will").check()
        page.click("#start")
        for _ in range(page.evaluate("screens.length")):
            page.evaluate(PLAY_ALL)
            until(page, "[...document.querySelectorAll('video')].every((each) => heard(each) > 0)")
            page.evaluate(
                """(ranks) => screens[current].methods.forEach((method, i) => {
                  for (const set of document.querySelectorAll("fieldset"))
                    set.querySelector(`input[name="${set.dataset.metric}-${i}"][value="${ranks[method]}"]`).click();
                })""",
                rank_of,
            )
            page.click("#next")
        with page.expect_download() as waiting:
            page.click("#save")
        saved = folder / waiting.value.suggested_filename
        waiting.value.save_as(saved)
        assert page.locator("#text").input_value() == saved.read_text()
    return saved


@pytest.mark.slow
def test_raters_of_known_preference(browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five raters prefer EMSYNC to CMT to Video2Music; the sixth has it the other way round."""
    made = make_survey(study(tmp_path / "study"), tmp_path / "study.html", title="Ads")
    code = codes(made)
    liking = {code["EMSYNC"]: 1, code["CMT"]: 2, code["Video2Music"]: 3}
    contrary = {method: 4 - rank for method, rank in liking.items()}
    files = [rate(browser, made, n, contrary if n == 6 else liking, tmp_path) for n in range(1, 7)]
    answers = read_answers(files, [made.key])
    assert len(answers) == 6 * 2 * 5 * 3
    places = Counter((each.film, each.method, each.position) for each in answers)
    assert set(places.values()) == {6 * 5 // 3}, "places are balanced over six raters"
    table = {(cell.metric, cell.method): cell for cell in mean_ranks(answers)}
    assert len(table) == 15
    for metric, *_ in QUESTIONS:
        best, middle, worst = (table[metric, method] for method in ("EMSYNC", "CMT", "Video2Music"))
        assert (best.counts, middle.counts, worst.counts) == ((10, 0, 2), (0, 12, 0), (2, 0, 10))
        assert (best.mean, middle.mean, worst.mean) == pytest.approx((16 / 12, 2.0, 32 / 12))
        # Standard deviation of ten 1 and two 3 is sqrt(20/33); t of 11 degrees is 2.20099.
        assert best.margin == pytest.approx(2.20099 * math.sqrt(20 / 33) / math.sqrt(12), rel=1e-4)
        assert middle.margin == 0
        assert best.n_raters == 6
    table_csv = tmp_path / "table.csv"
    assert main(["survey", "--results", *map(str, files), "--key", str(made.key), "-o", str(table_csv)]) == 0
    said = capsys.readouterr().out
    assert "Ads: 6 raters, 12 rankings a metric" in said
    assert "OM      2.000 ± 0.000  1.333 ± 0.495  2.667 ± 0.495  0/12/0, 10/0/2, 2/0/10" in said
    assert len(table_csv.read_text().splitlines()) == 16


@pytest.mark.slow
def test_the_page_is_blind_and_asks_the_papers_questions(browser: Any, tmp_path: Path) -> None:
    made = make_survey(study(tmp_path / "study"), tmp_path / "study.html")
    text = made.page.read_text()
    assert not any(method in text for method in METHODS)
    assert "film 0" not in text
    with opened(browser, made.page) as page:
        page.get_by_label("I take part of my own free will").check()
        page.click("#start")
        assert page.locator("legend").all_text_contents() == [question[2] for question in QUESTIONS]
        assert page.locator("figcaption").all_text_contents() == ["Method A", "Method B", "Method C"]
        heads = page.locator("fieldset").first.locator("thead th").all_text_contents()
        assert heads == ["Most diverse", "Moderately diverse", "Least diverse"]


@pytest.mark.slow
def test_a_rank_is_given_once_and_nothing_is_left_out(browser: Any, tmp_path: Path) -> None:
    made = make_survey(study(tmp_path / "study"), tmp_path / "study.html", films_each=1)
    with opened(browser, made.page) as page:
        page.get_by_label("I take part of my own free will").check()
        page.click("#start")
        page.click("#next")
        assert page.locator("#lacking").text_content() == "Please play Method A first."
        page.evaluate(PLAY_ALL)
        until(page, "[...document.querySelectorAll('video')].every((each) => heard(each) > 0)")
        page.click("#next")
        assert page.locator("#lacking").text_content() == "5 questions are not answered yet."
        mq = page.locator("fieldset[data-metric=MQ]")
        chosen = "[...document.querySelectorAll('fieldset[data-metric=MQ] input:checked')].map((e) => e.name + e.value)"
        mq.get_by_label("Method A: Highest quality").check()
        mq.get_by_label("Method B: Lowest quality").check()
        assert page.evaluate(chosen) == ["MQ-01", "MQ-13"]
        mq.get_by_label("Method B: Highest quality").click()
        assert page.evaluate(chosen) == ["MQ-03", "MQ-11"], "the two swap"
        mq.get_by_label("Method C: Lowest quality").click()
        assert page.evaluate(chosen) == ["MQ-11", "MQ-23"], "Method A has to be ranked anew"
        mq.get_by_label("Method A: Moderate quality").focus()
        page.keyboard.press("Space")
        assert page.evaluate(chosen) == ["MQ-02", "MQ-11", "MQ-23"]


@pytest.mark.slow
def test_large_films_are_beside_the_page_under_codes(browser: Any, tmp_path: Path) -> None:
    made = make_survey(study(tmp_path / "study"), tmp_path / "a & b.html", max_embedded_bytes=1000)
    assert made.media == tmp_path / "a & b_media"
    assert sorted(path.name for path in made.media.iterdir()) == [f"f{i}-m{k}.wav" for i in (1, 2) for k in (1, 2, 3)]
    of_method = {(tmp_path / "study" / name / "film 0.wav").read_bytes(): code for name, code in codes(made).items()}
    for k in (1, 2, 3):
        assert of_method[(made.media / f"f1-m{k}.wav").read_bytes()] == f"m{k}"
    with opened(browser, made.page) as page:
        page.get_by_label("I take part of my own free will").check()
        page.click("#start")
        until(page, "[...document.querySelectorAll('video')].every((each) => each.readyState >= 2)")
    with pytest.raises(OutputError, match="exists already"):
        make_survey(tmp_path / "study", tmp_path / "a & b.html", max_embedded_bytes=1000)


def test_the_seed_draws_the_codes(tmp_path: Path) -> None:
    folder = study(tmp_path / "study")
    drawn = {tuple(sorted(codes(make_survey(folder, tmp_path / f"{s}.html", seed=s)).items())) for s in range(8)}
    assert len(drawn) > 2
    first = (tmp_path / "0.html").read_bytes()
    make_survey(folder, tmp_path / "0.html", seed=0, overwrite=True)
    assert (tmp_path / "0.html").read_bytes() == first


# ---- results ---------------------------------------------------------------------------------------------------------


def answers_file(path: Path, made: Survey, ranks: tuple[Any, ...] = (1, 2, 3), **changed: str) -> Path:
    """Answers to one question about one film."""
    identity = json.loads(made.key.read_text())["survey"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for i, rank in enumerate(ranks):
            row = {
                "survey": identity, "session": path.stem, "rater": 1, "order": 1, "film": "f1", "metric": "MR",
                "method": f"m{i + 1}", "position": i + 1, "rank": rank, "heard_s": 1.0,
            }  # fmt: skip
            writer.writerow(row | changed)
    return path


@pytest.fixture
def made(tmp_path: Path) -> Survey:
    return make_survey(study(tmp_path / "study"), tmp_path / "study.html")


def test_margins_are_students(made: Survey, tmp_path: Path) -> None:
    stats = pytest.importorskip("scipy.stats")
    for n in (2, 3, 5, 6, 7, 12, 40, 208):
        values = [float(x) for x in np.random.default_rng(n).integers(1, 4, n)]
        values[:2] = [1.0, 3.0]
        low, high = stats.t.interval(0.95, n - 1, np.mean(values), stats.sem(values))
        assert margin(values) == pytest.approx((high - low) / 2, rel=2e-4)
    assert math.isnan(margin([1.0]))
    table = mean_ranks(read_answers([answers_file(tmp_path / "1.csv", made)], [made.key]))
    assert [cell.mean for cell in table] == [
        json.loads(made.key.read_text())["methods"] and cell.mean for cell in table
    ]
    assert "± nan" in as_text(table)
    assert as_csv(table).count("\n") == 4


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"ranks": (1, 1, 3)}, r"the ranks of MR for film 0 are \[1, 1, 3\], not each of 1 to"),
        ({"ranks": (1,)}, "not each of 1 to"),
        ({"ranks": (1, 2, "x")}, "line 4: the rank 'x' is not a whole number from 1 to 3"),
        ({"survey": "other"}, "line 2: the survey 'other' has no key; add its --key"),
        ({"method": "m9"}, "line 2: there is no method 'm9'; the key has m1, m2, m3"),
        ({"film": "f7"}, "there is no film 'f7'; the key has f1, f2"),
        ({"metric": "XX"}, "there is no metric 'XX'; metrics are MR, MQ, EM, TM, OM"),
    ],
)
def test_bad_answers_are_one_sentence(made: Survey, tmp_path: Path, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read_answers([answers_file(tmp_path / "1.csv", made, **changed)], [made.key])


def test_files_that_are_no_answers(made: Survey, tmp_path: Path) -> None:
    one = answers_file(tmp_path / "1.csv", made)
    (tmp_path / "copy.csv").write_bytes(one.read_bytes())
    with pytest.raises(InputError, match=r"copy\.csv has answers that .*1\.csv has, too; give each file once"):
        read_answers([one, tmp_path / "copy.csv"], [made.key])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="has no column 'survey'"):
        read_answers([tmp_path / "other.csv"], [made.key])
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_answers([tmp_path / "bytes.csv"], [made.key])
    (tmp_path / "short.csv").write_text(one.read_text().replace(",1.0", "", 1).replace(",3\n", "\n"))
    with pytest.raises(InputError, match="line 2 has too few cells"):
        read_answers([tmp_path / "short.csv"], [made.key])
    (tmp_path / "key.json").write_text("{}")
    with pytest.raises(InputError, match="is no key of a survey"):
        read_answers([one], [tmp_path / "key.json"])


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_makes_a_survey(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study(Path("study"))
    assert main(["survey", "study", "--title", "</script> & co"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Wrote study.html: 3 methods, 2 films.\nThe order is balanced after every 6 raters.\n")
    assert "Keep study.key.json from the raters" in said
    assert "&lt;/script&gt; &amp; co</title>" in Path("study.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "nothing is not a folder"),
        (["study/CMT"], "study/CMT has 0 folders; give one for each method, 2 to 6"),
        (["uneven"], "uneven/b lacks the film film 1, which another method has"),
        (["empty"], "the folders in empty have no films"),
        (["--results", "a.csv"], "give --key PAGE.key.json"),
        (["study", "study"], "to evaluate answers, give --results"),
        (["study", "-o", "no/page.html"], "no is not a folder"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    study(Path("study"))
    study(Path("uneven"), ("a", "b"))
    Path("uneven/b/film 1.wav").unlink()
    for name in "ab":
        Path("empty", name).mkdir(parents=True)
    assert main(["survey", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert sorted(path.name for path in Path().iterdir()) == ["empty", "study", "uneven"]
