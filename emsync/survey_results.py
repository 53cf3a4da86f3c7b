"""The answers of a ranking study, and its mean ranks with 95 % confidence margins (paper, Table III).

answers = read_answers(["rater-3.csv", "rater-4.csv"], ["study.key.json"])
print(as_text(mean_ranks(answers)))
"""

from __future__ import annotations

import csv
import io
import math
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from emsync.errors import InputError, printable
from emsync.files import read_json, read_limited
from emsync.survey import KEY_FORMAT, QUESTIONS

METRICS: Final = tuple(metric for metric, *_ in QUESTIONS)
COLUMNS: Final = ("survey", "session", "rater", "order", "film", "metric", "method", "position", "rank", "heard_s")
_MAX_BYTES: Final = 16 << 20
#: 97.5 % quantiles of Student's t for few degrees of freedom; `_t` computes the others.
_T_OF_FEW: Final = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}


@dataclass(frozen=True)
class Answer:
    """One rater's rank of one method for one film and metric: 1 is best. survey is the study's title."""

    survey: str
    session: str
    film: str
    metric: str
    method: str
    position: int
    rank: int


@dataclass(frozen=True)
class MeanRank:
    """A cell of the table.

    - mean, margin: the mean rank and its 95 % confidence margin (Student's t over answers, as if independent);
      the margin is NaN for a single answer.
    - counts: how often each rank from 1 was given.
    - n_raters: how many raters answered.
    """

    survey: str
    metric: str
    method: str
    mean: float
    margin: float
    counts: tuple[int, ...]
    n_raters: int


def read_answers(paths: Iterable[str | os.PathLike[str]], keys: Iterable[str | os.PathLike[str]]) -> list[Answer]:
    """The answers in the CSV files that raters saved, with the names that the keys give.

    Raises `InputError` for a file that is not such a CSV or belongs to none of the keys, an answer that is there twice,
    and ranks that are not each given once.
    """
    by_survey = {}
    for path in keys:
        key = _key(path)
        by_survey[key["survey"]] = key
    answers: list[Answer] = []
    read_from: dict[tuple[str, str, str, str], str] = {}
    for path in paths:
        own = _answers_of(path, by_survey)
        for each in own:
            place = (each.survey, each.session, each.film, each.metric)
            other = read_from.setdefault(place, os.fspath(path))
            if other != os.fspath(path):
                raise InputError(f"{path} has answers that {other} has, too; give each file once")
        _check_ranks(own, path)
        answers += own
    if not answers:
        raise InputError("there are no answers; give the CSV files that the survey page saved")
    return answers


def mean_ranks(answers: Sequence[Answer]) -> list[MeanRank]:
    """The table, by study, metric (in the paper's order) and method."""
    table = []
    for survey in sorted({each.survey for each in answers}):
        here = [each for each in answers if each.survey == survey]
        methods = sorted({each.method for each in here})
        for metric in METRICS:
            for method in methods:
                ranks = [each.rank for each in here if each.metric == metric and each.method == method]
                raters = {each.session for each in here if each.metric == metric and each.method == method}
                if ranks:
                    count = Counter(ranks)
                    counts = tuple(count[rank] for rank in range(1, len(methods) + 1))
                    table.append(
                        MeanRank(survey, metric, method, statistics.fmean(ranks), margin(ranks), counts, len(raters))
                    )
    return table


def margin(values: Sequence[float]) -> float:
    """Half the width of the 95 % confidence interval of a mean, by Student's t; NaN for fewer than two values."""
    if len(values) < 2:
        return math.nan
    return _t(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))


def _t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by Hill's expansion about the normal quantile, within 0.0002."""
    if degrees in _T_OF_FEW:
        return _T_OF_FEW[degrees]
    z, v = statistics.NormalDist().inv_cdf(0.975), degrees
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / v**power for power, term in enumerate(terms, start=1))


def as_text(table: Sequence[MeanRank]) -> str:
    """The table as the paper prints it, a study after the other: mean ± margin, and how often each rank was given."""
    lines = []
    for survey in dict.fromkeys(cell.survey for cell in table):
        here = [cell for cell in table if cell.survey == survey]
        methods = list(dict.fromkeys(cell.method for cell in here))
        widths = [max(len(printable(method)), 13) for method in methods]
        n_answers = max(sum(cell.counts) for cell in here)
        n_raters = max(cell.n_raters for cell in here)
        heads = "  ".join(printable(method).ljust(width) for method, width in zip(methods, widths, strict=True))
        lines += [
            f"{printable(survey)}: {n_raters} raters, {n_answers} rankings a metric; mean ranks ± 95 % margins",
            f"Metric  {heads}  Ranks given ({', '.join(printable(method) for method in methods)})".rstrip(),
        ]
        for metric in METRICS:
            cells = {cell.method: cell for cell in here if cell.metric == metric}
            if not cells:
                continue
            row = [
                (f"{cells[m].mean:.3f} ± {cells[m].margin:.3f}" if m in cells else "").ljust(width)
                for m, width in zip(methods, widths, strict=True)
            ]
            counts = ", ".join("/".join(map(str, cells[m].counts)) for m in methods if m in cells)
            lines.append(f"{metric:<6}  {'  '.join(row)}  {counts}")
        lines.append("")
    names = ", ".join(f"{metric} {name.lower()}" for metric, name, *_ in QUESTIONS)
    return "\n".join([*lines, f"({names})"])


def as_csv(table: Sequence[MeanRank]) -> str:
    """The table as CSV: a line a cell."""
    most = max(len(cell.counts) for cell in table)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["survey", "metric", "method", "mean", "margin", "raters", *(f"rank_{i + 1}" for i in range(most))])
    for cell in table:
        numbers = (f"{cell.mean:.6f}", f"{cell.margin:.6f}", cell.n_raters)
        writer.writerow([printable(cell.survey), cell.metric, printable(cell.method), *numbers, *cell.counts])
    return out.getvalue()


def _key(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    remedy = "give the .key.json that emsync survey wrote beside the page"
    key = read_json(path, _MAX_BYTES, "key", remedy)
    good = isinstance(key, dict) and key.get("format") == KEY_FORMAT
    good = good and all(isinstance(key.get(name), str) for name in ("survey", "title"))
    good = good and all(
        isinstance(key.get(name), dict) and all(isinstance(value, str) for value in key[name].values())
        for name in ("methods", "films")
    )
    if not good:
        raise InputError(f"{path} is no key of a survey; {remedy}")
    checked: Mapping[str, Any] = key
    return checked


def _answers_of(path: str | os.PathLike[str], keys: Mapping[str, Mapping[str, Any]]) -> list[Answer]:
    """The answers of one file."""
    name = printable(os.fspath(path))
    remedy = "give the CSV that the survey page saved"
    try:
        text = read_limited(path, _MAX_BYTES, "CSV of answers").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name} is not text in UTF-8; {remedy}") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if lacking:
            raise InputError(f"{name} has no column {lacking[0]!r}; {remedy}")
        answers = []
        for number, row in enumerate(reader, start=2):
            if any(row[column] is None for column in COLUMNS):
                raise InputError(f"{name}, line {number} has too few cells; {remedy}")
            key = keys.get(row["survey"])
            if key is None:
                raise InputError(
                    f"{name}, line {number}: the survey {printable(row['survey'])!r} has no key; add its --key"
                )
            answers.append(_answer(row, key, f"{name}, line {number}"))
    except csv.Error as error:
        raise InputError(f"{name} is no CSV ({error}); {remedy}") from error
    return answers


def _answer(row: Mapping[str, str], key: Mapping[str, Any], where: str) -> Answer:
    film, method, metric = key["films"].get(row["film"]), key["methods"].get(row["method"]), row["metric"]
    for value, column, known in ((film, "film", key["films"]), (method, "method", key["methods"])):
        if value is None:
            raise InputError(f"{where}: there is no {column} {row[column]!r}; the key has {', '.join(known)}")
    if metric not in METRICS:
        raise InputError(f"{where}: there is no metric {metric!r}; metrics are {', '.join(METRICS)}")
    numbers = {}
    for column in ("rank", "position"):
        text = row[column] or ""
        if not (text.isascii() and text.isdecimal() and len(text) < 4 and 1 <= int(text) <= len(key["methods"])):
            raise InputError(f"{where}: the {column} {text!r} is not a whole number from 1 to {len(key['methods'])}")
        numbers[column] = int(text)
    return Answer(key["title"], row["session"], film, metric, method, **numbers)


def _check_ranks(answers: Sequence[Answer], path: str | os.PathLike[str]) -> None:
    """Raise `InputError` unless each film and metric has every rank once."""
    given: dict[tuple[str, str, str, str], list[Answer]] = {}
    for each in answers:
        given.setdefault((each.survey, each.session, each.film, each.metric), []).append(each)
    for (_, _, film, metric), group in given.items():
        ranks = sorted(each.rank for each in group)
        methods = {each.method for each in group}
        if ranks != list(range(1, len(group) + 1)) or len(methods) != len(group) or len(group) < 2:
            raise InputError(
                f"{Path(path)}: the ranks of {metric} for {printable(film)} are {ranks}, not each of 1 to the number "
                "of methods once; was the file edited?"
            )
