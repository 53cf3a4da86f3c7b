"""Whether planning the tempo costs precision: the same cut lists composed with and without a plan, film by film.

    python benchmarks/plan_precision.py [--lists 100] [--log LOG.jsonl]     # composes what the log lacks, then prints
    python benchmarks/plan_precision.py --lists 0 --log LOG.jsonl           # prints what the log has so far
    python benchmarks/plan_precision.py --lists 0 --likeness 16             # the same pieces before and after landing

Each film is composed twice with one seed, `--tempo-plan off` and `on`. The films last 20 to 30 s, with cuts 4 to 12 s
apart ("random") or shots as in feature films ("film-like"), as in benchmarks/tempo_plan.py. They are composed eight at
a time, and a line is appended for each, so that a run can be stopped and resumed. Recall, precision: sounding chords
within a frame of the cuts, one to one, counts summed over films; *held for two beats*: without the chords that are
shorter and sound to the end; *control*: recall of the next film's cuts. The difference of precision is tested by
flipping the two of each film at random (a permutation test), and its interval is a bootstrap over films.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from tempo_plan import lists_of

from emsync import hits
from emsync.recipe import Recipe
from emsync.tokenizer.events import decode
from emsync.training.evaluation.landing import WINDOWS, Composed, CutList, compose_all, matched
from emsync.training.evaluation.music_statistics import WINDOW_S, statistics, window

SEED: Final = 18
TOGETHER: Final = 8
LENGTH_S: Final = (20.0, 30.0)
PLANS: Final = ("off", "on")
RESAMPLES: Final = 10_000


@dataclass(frozen=True)
class Counts:
    """What is counted of each film: cuts, sounding chords and pairs of them, each (films,)."""

    cuts: np.ndarray
    chords: np.ndarray
    pairs: np.ndarray

    @property
    def precision(self) -> float:
        return float(self.pairs.sum() / self.chords.sum())

    @property
    def recall(self) -> float:
        return float(self.pairs.sum() / self.cuts.sum())


def films_of(n: int) -> list[CutList]:
    """N films of each kind, alternately in groups that are composed together."""
    kinds = [lists_of(kind, n, LENGTH_S) for kind in ("random", "film-like")]
    found: list[CutList] = []
    for first in range(0, n, TOGETHER):
        for films in kinds:
            found += films[first : first + TOGETHER]
    return found


def line_of(made: Composed, plan: str) -> dict[str, Any]:
    """What the log says of one piece."""
    score = made.score
    if made.piece.tempo_plan is None:
        score = hits.land(score, made.piece.targets_s, made.piece.boundaries_s)
    rules = {"chords_s": hits.sounding_chords(score), "held_s": hits.sounding_chords(score, to_end=False)}
    film = made.film
    qpm = 60 * score.bars.quarters[:-1] / np.diff(score.bars.start_s)
    mean = 60 * float(score.tempo.quarters_at(score.duration_s)) / score.duration_s
    return {
        "film": film.name, "plan": plan, "seconds": film.duration_s, "cuts_s": film.cuts_s.tolist(),
        **{rule: chords_s.tolist() for rule, chords_s in rules.items()},
        "bends": [round(float(bend), 5) for bend in np.abs(qpm / mean - 1)],
        "jump": round(float(np.abs(qpm[1:] / qpm[:-1] - 1).max(initial=0.0)), 5),
    }  # fmt: skip


def compose_into(log: Path, films: list[CutList]) -> None:
    """Compose the films that the log lacks and append them, group by group."""
    from emsync.decoder import open_decoder

    decoder = None
    have = {(line["film"], line["plan"]) for line in read_log(log)}
    for first in range(0, len(films), TOGETHER):
        group = films[first : first + TOGETHER]
        for plan in PLANS:
            if all((film.name, plan) in have for film in group):
                continue
            decoder = decoder or open_decoder(None)
            recipe = replace(Recipe(), tempo_plan=plan)
            made = compose_all(decoder, group, recipe, seed=SEED + first, together=TOGETHER)
            with log.open("a") as file:
                file.writelines(json.dumps(line_of(one, plan)) + "\n" for one in made)


def read_log(log: Path) -> list[dict[str, Any]]:
    """The lines of a log, none if it is not there yet."""
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def counts(lines: dict[str, dict[str, Any]], names: list[str], rule: str = "chords_s") -> Counts:
    """The counts of these films, in their order; rule: which chords count (`line_of`)."""
    pairs = [matched(lines[name]["cuts_s"], lines[name][rule], WINDOWS["frame"]) for name in names]
    columns = ([len(lines[name][key]) for name in names] for key in ("cuts_s", rule))
    return Counts(*(np.array(column) for column in (*columns, pairs)))


def control(lines: dict[str, dict[str, Any]], names: list[str]) -> float:
    """Recall of the next film's cuts by the chords of each film, within the shorter of the two: what chance gives."""
    cuts = pairs = 0
    for name, other in zip(names, names[1:] + names[:1], strict=True):
        until_s = min(lines[name]["seconds"], lines[other]["seconds"])
        cuts_s = [cut_s for cut_s in lines[other]["cuts_s"] if cut_s < until_s]
        cuts, pairs = cuts + len(cuts_s), pairs + matched(cuts_s, lines[name]["chords_s"], WINDOWS["frame"])
    return pairs / cuts


def compare(off: Counts, on: Counts, rng: np.random.Generator) -> tuple[float, float, float]:
    """The chance of so large a difference of precision if the two were alike, and its 95 % interval (low, high)."""
    n = len(off.cuts)
    pairs, chords = np.stack([off.pairs, on.pairs]), np.stack([off.chords, on.chords])  # (2, films)
    flipped = rng.integers(0, 2, (RESAMPLES, n))
    column = np.arange(n)
    first = pairs[flipped, column].sum(1) / chords[flipped, column].sum(1)
    second = pairs[1 - flipped, column].sum(1) / chords[1 - flipped, column].sum(1)
    seen = abs(on.precision - off.precision)
    chance = float((1 + np.count_nonzero(np.abs(second - first) >= seen - 1e-12)) / (1 + RESAMPLES))
    drawn = rng.integers(0, n, (RESAMPLES, n))
    many = pairs[:, drawn].sum(2) / chords[:, drawn].sum(2)  # (2, resamples)
    low, high = np.quantile(many[1] - many[0], [0.025, 0.975])
    return chance, float(low), float(high)


def report(log: Path) -> None:
    """The tables, as Markdown."""
    by_plan: dict[str, dict[str, dict[str, Any]]] = {plan: {} for plan in PLANS}
    for line in read_log(log):
        by_plan[line["plan"]][line["film"]] = line
    both = sorted(set(by_plan["off"]) & set(by_plan["on"]))
    print("| films | plan | recall | held for two beats | control | precision | held for two beats |", end="")
    print(" difference (95 %) | p | bend, median bar | largest jump |")
    print("|---|---|" + "---:|" * 9)
    for title, prefix in (("random", "random-"), ("film-like", "film-like-"), ("all", "")):
        names = [name for name in both if name.startswith(prefix)]
        if not names:
            continue
        off, on = (counts(by_plan[plan], names) for plan in PLANS)
        chance, low, high = compare(off, on, np.random.default_rng(SEED))
        for plan, found in zip(PLANS, (off, on), strict=True):
            bends = np.concatenate([by_plan[plan][name]["bends"] for name in names])
            jump = max(by_plan[plan][name]["jump"] for name in names)
            held = counts(by_plan[plan], names, "held_s")
            last = f"{on.precision - off.precision:+.3f} ({low:+.3f} to {high:+.3f}) | {chance:.2f}"
            print(
                f"| {title}, {len(names)} | {plan} | {found.recall:.3f} ({found.pairs.sum()} of {found.cuts.sum()}) | "
                f"{held.recall:.3f} | {control(by_plan[plan], names):.3f} | "
                f"{found.precision:.3f} | {held.precision:.3f} | "
                f"{last if plan == 'on' else ' | '} | {100 * np.median(bends):.2f} % | {100 * jump:.1f} % |"
            )


def report_likeness(films: list[CutList]) -> None:
    """How much landing changes the statistics that likeness to real songs is judged by, as Markdown.

    Before: the pieces in the even tempo that they were composed in. After: in the film's. The first `WINDOW_S` of both.
    """
    from emsync.decoder import open_decoder

    made = compose_all(open_decoder(None), films, Recipe(), seed=SEED, together=TOGETHER)
    before, after = [], []
    for one in made:
        plan = one.piece.tempo_plan
        assert plan is not None
        even = decode(one.piece.events.ids, one.piece.events.velocities).until(
            float(plan.to_nominal(one.film.duration_s))
        )
        for score, into in ((even, before), (one.score, after)):
            into.append(statistics(window(score, 0.0, min(WINDOW_S, score.duration_s))))
    print(f"{len(made)} pieces\n\n| statistic | before | after | largest change of a piece, in deviations |")
    print("|---|---:|---:|---:|")
    for name in before[0]:
        one, two = (np.array([each[name] for each in side]) for side in (before, after))
        spread = float(np.nanstd(one)) or 1.0
        print(
            f"| {name} | {np.nanmean(one):.3f} | {np.nanmean(two):.3f} | {np.nanmax(np.abs(one - two)) / spread:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=100, help="how many lists of each kind")
    parser.add_argument("--log", type=Path, default=Path("plan_precision.jsonl"))
    parser.add_argument("--likeness", type=int, default=0, help="compare so many pieces before and after landing")
    options = parser.parse_args()
    if options.likeness:
        report_likeness(films_of(options.likeness)[: options.likeness])
        return
    if options.lists:
        compose_into(options.log, films_of(options.lists))
    report(options.log)


if __name__ == "__main__":
    main()
