"""How far the tempo bends towards cuts: the nearest beat of a drawn tempo (before) against a planned tempo (after).

    python benchmarks/tempo_plan.py [--lists 200] [--films CUTS.csv ...] [--compose 24] [-o PICTURE.png]

prints the tables of docs/decisions/0018-tempo-for-the-film.md as Markdown. The plans alone take seconds. `--compose N`
composes for the first N lists of each kind with both, and with the cuts of other films as control. `-o` draws one film.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emsync import cutlist, hits
from emsync.recipe import Recipe
from emsync.tempo_plan import TempoPlan, beat_of, plan_for
from emsync.training.evaluation.landing import WINDOWS, CutList, compose_all, film_list, matched
from emsync.vocabulary import STEP_S

SEED = 18
#: Composing is slow: it is measured on films up to this long.
COMPOSED_S = 75.0
LENGTH_S = (30.0, 180.0)
#: Random cuts: this far apart. Films: shots of a lognormal length with this median (s) and spread, as in feature films.
RANDOM_GAP_S, SHOT_S, SHOT_SPREAD = (4.0, 12.0), 3.5, 0.8


def lists_of(kind: str, n: int, length_s: tuple[float, float] = LENGTH_S) -> list[CutList]:
    """Cut lists, n of them, "random" or "film-like", of films so long; cuts that a composer would be given."""
    found = []
    for i in range(n):
        rng = np.random.default_rng([SEED, len(kind), i])
        duration_s = float(rng.uniform(*length_s))
        if kind == "random":
            gaps_s = rng.uniform(*RANDOM_GAP_S, size=60)
        else:
            gaps_s = SHOT_S * np.exp(SHOT_SPREAD * rng.standard_normal(400))
        cuts_s = np.cumsum(gaps_s)
        cuts_s = np.rint(cuts_s[cuts_s < duration_s] * 25) / 25  # whole frames
        found.append(CutList(f"{kind}-{i:03d}", cutlist.spaced(cuts_s, duration_s=duration_s), duration_s))
    return [each for each in found if len(each.cuts_s)]


@dataclass(frozen=True)
class Tempo:
    """What was measured of one film: how far each second bends, the largest jump between bars, cuts met, downbeats."""

    bends: np.ndarray
    jump: float
    met: np.ndarray
    downbeats: np.ndarray
    qpm: float


def nearest_beat(film: CutList, seed: int) -> Tempo:
    """Before: a tempo drawn with the seed, and the beat nearest to each cut carried onto it."""
    drawn = Recipe(seed=seed).tempo()
    assert drawn is not None
    beat_s = beat_of(drawn) * STEP_S
    beats = np.maximum(np.rint(film.cuts_s / beat_s), 1)
    beats, first = np.unique(beats, return_index=True)
    edges = np.concatenate([[0.0], film.cuts_s[first], [film.duration_s]])
    old = np.concatenate([[0.0], beats * beat_s, [film.duration_s]])
    lines_s = np.interp(np.arange(0, film.duration_s, 4 * beat_s), old, edges)
    tempi = 4 * beat_s / np.diff(lines_s)
    jump = np.abs(tempi[1:] / tempi[:-1] - 1).max(initial=0.0)
    # A stretch changes its tempo all at once, in the middle of a bar too.
    stretches = np.diff(old) / np.diff(edges)
    jump = max(float(jump), float(np.abs(stretches[1:] / stretches[:-1] - 1).max(initial=0.0)))
    met = np.isin(np.arange(len(film.cuts_s)), first)
    return Tempo(np.abs(tempi - 1), jump, met, beats % 4 == 0, 60 / beat_s)


def planned(plan: TempoPlan) -> Tempo:
    """After: what a plan is like."""
    lines = np.cumsum(plan.bar_beats)
    downbeats = np.isin(plan.hit_beats[plan.met], lines)
    return Tempo(np.abs(plan.bend), plan.largest_jump, plan.met, downbeats, plan.mean_qpm)


def row(name: str, all_of: Sequence[Tempo]) -> str:
    """One line of the table."""
    bends = np.concatenate([each.bends for each in all_of])
    jumps = np.array([each.jump for each in all_of])
    met = np.concatenate([each.met for each in all_of])
    down = np.concatenate([each.downbeats for each in all_of])
    cells = [
        f"{100 * np.median(bends):.2f} %", f"{100 * np.quantile(bends, 0.95):.1f} %", f"{100 * bends.max():.1f} %",
        f"{100 * np.median(jumps):.1f} %", f"{100 * jumps.max():.1f} %", f"{met.mean():.4f}", f"{down.mean():.2f}",
    ]  # fmt: skip
    return f"| {name} | " + " | ".join(cells) + " |"


def plans_of(films: Sequence[CutList], recipe: Recipe) -> list[Tempo]:
    """The plans of a recipe for these films, each with a seed of its own."""
    found = []
    for seed, film in enumerate(films):
        plan = plan_for(replace(recipe, seed=seed), film.cuts_s, film.duration_s)
        assert plan is not None
        found.append(planned(plan))
    return found


def report_plans(name: str, films: Sequence[CutList]) -> None:
    """The table of the plans alone."""
    cuts = sum(len(film.cuts_s) for film in films)
    print(f"\n{name}: {len(films)} films, {cuts} cuts, {sum(f.duration_s for f in films) / 60:.0f} minutes\n")
    print("| | bend, median | bend, 95 % | bend, largest | jump, median film | jump, largest | cuts met | downbeats |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    print(row("before: drawn, nearest beat", [nearest_beat(film, seed) for seed, film in enumerate(films)]))
    print(row("planned", plans_of(films, Recipe())))
    print(row("planned, --metre-changes", plans_of(films, Recipe(metre_changes=True))))
    print(row("planned, --tempo 120", plans_of(films, Recipe(tempo_qpm=120.0))))
    print(row("planned, --max-bend 1", plans_of(films, Recipe(max_bend=1.0))))


def report_composed(films: Sequence[CutList]) -> None:
    """How sounding chords meet the cuts within a frame, before and after, and the cuts of other films (control)."""
    from emsync.decoder import open_decoder

    decoder = open_decoder(None)
    print(f"\nComposed for {len(films)} films\n\n| | recall | precision | recall, others' cuts | bend, median | jump |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, recipe in (
        ("before: drawn, nearest beat", Recipe(tempo_plan="off")),
        ("planned", Recipe()),
        ("planned, --metre-changes", Recipe(metre_changes=True)),
    ):
        pairs = chords = cuts = control = others = 0
        bends, jump = [], 0.0
        made = compose_all(decoder, films, recipe, seed=SEED, together=8)
        for i, one in enumerate(made):
            score = one.score
            if one.piece.tempo_plan is None:
                score = hits.land(score, one.piece.targets_s, one.piece.boundaries_s)
            found = hits.sounding_chords(score)
            pairs += matched(one.film.cuts_s, found, WINDOWS["frame"])
            cuts, chords = cuts + len(one.film.cuts_s), chords + len(found)
            other_s = films[(i + 1) % len(films)].cuts_s
            other_s = other_s[other_s < one.film.duration_s]
            control, others = control + matched(other_s, found, WINDOWS["frame"]), others + len(other_s)
            starts = score.bars.start_s
            qpm = 60 * score.bars.quarters[:-1] / np.diff(starts)
            mean = one.piece.tempo_plan.mean_qpm if one.piece.tempo_plan else one.score.tempo.qpm[0]
            bends.append(np.abs(qpm / mean - 1))
            jump = max(jump, float(np.abs(qpm[1:] / qpm[:-1] - 1).max(initial=0.0)))
        print(
            f"| {name} | {pairs / cuts:.3f} | {pairs / chords:.3f} | {control / others:.3f} | "
            f"{100 * np.median(np.concatenate(bends)):.2f} % | {100 * jump:.1f} % |",
            flush=True,
        )


def draw(film: CutList, seed: int, path: Path) -> None:
    """Tempo and cuts of one film, before and after."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    before, after = figure.subplots(2, 1, sharex=True, sharey=True)
    drawn = Recipe(seed=seed).tempo()
    assert drawn is not None
    beat_s = beat_of(drawn) * STEP_S
    beats = np.maximum(np.rint(film.cuts_s / beat_s), 1)
    edges = np.concatenate([[0.0], film.cuts_s, [film.duration_s]])
    qpm = 60 / beat_s * np.diff(np.concatenate([[0.0], beats * beat_s, [film.duration_s]])) / np.diff(edges)
    before.stairs(qpm, edges, baseline=None, color="C3", linewidth=2, label="tempo")
    before.axhline(60 / beat_s, color="0.5", linestyle=":", label="drawn tempo")
    before.set(title="Before: the nearest beat is carried onto each cut", ylabel="quarter notes a minute")
    plan = plan_for(Recipe(seed=seed), film.cuts_s, film.duration_s)
    assert plan is not None
    after.stairs(60 / np.diff(plan.beats_s), plan.beats_s, baseline=None, color="C0", linewidth=2, label="tempo")
    after.axhline(plan.mean_qpm, color="0.5", linestyle=":", label="mean tempo")
    for start_s in plan.bars.start_s:
        after.axvline(start_s, ymax=0.05, color="0.4", linewidth=0.8)
    after.set(
        title="Planned: tempo, beats and bar lines (ticks) chosen for the film", ylabel="quarter notes a minute",
        xlabel="seconds", xlim=(0, film.duration_s),
    )  # fmt: skip
    for axes in (before, after):
        for i, cut_s in enumerate(film.cuts_s):
            axes.axvline(cut_s, color="black", linestyle="--", linewidth=0.9, label="cuts" if not i else None)
        axes.legend(loc="upper right", ncols=3)
    figure.savefig(path, dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", type=int, default=200)
    parser.add_argument("--films", type=Path, nargs="*", default=[], help="films, cut lists or scenes (JSON)")
    parser.add_argument("--compose", type=int, default=0, help="compose for so many lists of each kind")
    parser.add_argument("-o", "--output", type=Path, help="draw the first random list here")
    options = parser.parse_args()
    kinds = {"Random lists": lists_of("random", options.lists), "Film-like lists": lists_of("film-like", options.lists)}
    if options.films:
        kinds["Films"] = [film_list(path) for path in options.films]
    for name, films in kinds.items():
        report_plans(name, films)
    if options.output:
        draw(kinds["Random lists"][0], 0, options.output)
    for name, films in kinds.items():
        if options.compose:
            print(f"\n{name}")
            report_composed([film for film in films if film.duration_s <= COMPOSED_S][: options.compose])


if __name__ == "__main__":
    main()
