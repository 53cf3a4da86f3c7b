"""Repetition and form: pieces composed with and without a form, beside real songs.

    python benchmarks/form.py ARCHIVE.npz [--model DIR] [--pieces 16] [--seconds 40] [--songs 200]
        [--setting "form=none"] [--setting "form=auto theme_strength=0.8"] ...

Every setting composes for the same random cut lists with the same seeds. Of each, medians and quartiles of: how much a
bar resembles the one four and eight bars earlier (the share of onsets on sixteenths in common, of those that either
has); bars that came before note for note; the compression ratio of the events (zlib); the longest run of bars that are
note for note those of one earlier run; and, for pieces with a form, the share of a statement's melody that its returns
have, beside the same share at all other bar lines.
"""

from __future__ import annotations

import argparse
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sampling import recipe_of

from emsync import vocabulary as v
from emsync.composer import compose
from emsync.conditions import Conditions
from emsync.cutlist import spaced
from emsync.decoder import open_decoder
from emsync.errors import InputError
from emsync.form import plan_form
from emsync.sections import Plan
from emsync.theme import Theme, find_returns
from emsync.tokenizer.events import decode
from emsync.training.corpus.archive import read_archive
from emsync.training.corpus.archive_events import tokenize
from emsync.training.evaluation import landing

Bar = frozenset[tuple[int, int]]


def bars_of(ids: npt.NDArray[np.integer]) -> list[Bar]:
    """The onsets of each bar: (sixteenth of the bar, ON id)."""
    step = np.cumsum(v.SHIFT_STEPS[ids])
    starts = np.flatnonzero(v.KIND[ids] == v.K_BAR)
    bars = []
    for first, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
        length = max(int(step[stop - 1] - step[first]), 1)
        on = first + np.flatnonzero(v.KIND[ids[first:stop]] == v.K_ON)
        bars.append(frozenset((round(16 * (step[i] - step[first]) / length), int(ids[i])) for i in on))
    return bars


def repetition(ids: npt.NDArray[np.integer]) -> dict[str, float]:
    """How much a piece repeats itself."""
    bars = bars_of(ids)
    out: dict[str, float] = {}
    for lag in (4, 8):
        pairs = [(a, b) for a, b in zip(bars[lag:], bars, strict=False) if a or b]
        out[f"lag {lag}"] = float(np.mean([len(a & b) / len(a | b) for a, b in pairs])) if pairs else np.nan
    exact = [any(bar == earlier for earlier in bars[:i]) for i, bar in enumerate(bars) if bar]
    out["repeats"] = float(np.mean(exact)) if exact else np.nan
    out["compression"] = 2 * len(ids) / len(zlib.compress(ids.astype(np.uint16).tobytes(), 9))
    longest = 0
    for lag in range(1, len(bars)):
        run = 0
        for a, b in zip(bars[lag:], bars, strict=False):
            run = run + 1 if a and a == b else 0
            longest = max(longest, run)
    out["longest run"] = longest
    return out


def recognised(ids: npt.NDArray[np.integer], velocities: npt.NDArray[np.integer], plan: Plan) -> tuple[float, float]:
    """The best share of a statement's melody near its returns, and at bars of other sections; NaN without returns."""
    score = decode(ids, velocities)
    near, far = [], []
    bars_s = score.bars.start_s
    for section in plan.sections:
        if section.returns_to is None:
            continue
        stated = plan.sections[section.returns_to]
        try:
            theme = Theme.of_score(score, start_s=stated.start_s, end_s=min(stated.end_s, stated.start_s + 9))
        except InputError:
            continue
        for time_s, share in melody_shares(score, theme, bars_s):
            if abs(time_s - section.start_s) < 2.0:
                near.append(share)
            elif not any(
                s.label.name == section.label.name and s.start_s - 2 <= time_s < s.end_s for s in plan.sections
            ):
                far.append(share)
    return (float(np.max(near)) if near else np.nan, float(np.mean(far)) if far else np.nan)


def melody_shares(score: Any, theme: Theme, bars_s: npt.NDArray[np.float64]) -> list[tuple[float, float]]:
    """(time, share of the melody played untransposed) of each bar line."""
    out = []
    for time_s in bars_s.tolist():
        one = find_returns(
            replace(score, bars=type(score.bars)(np.array([time_s]), np.array([4]), np.array([4]))), theme, least=0.0,
            semitones=(0,),
        )  # fmt: skip
        out.append((time_s, one[0].share if one else 0.0))
    return out


def row(name: str, found: list[dict[str, float]]) -> str:
    """A row of the table: medians and quartiles."""
    cells = []
    for key in found[0]:
        values = np.array([f[key] for f in found])
        values = values[~np.isnan(values)]
        q = np.quantile(values, (0.25, 0.5, 0.75)) if len(values) else (np.nan,) * 3
        cells.append(f"{q[1]:.2f} [{q[0]:.2f} {q[2]:.2f}]")
    return f"| {name} | {len(found)} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pieces", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--songs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--setting", action="append")
    args = parser.parse_args()
    arrays = read_archive(args.archive).arrays
    songs = tokenize(arrays, 0, args.songs)
    real = []
    for i in range(args.songs):
        ids = np.asarray(songs.ids[songs.offsets[i] : songs.offsets[i + 1]], dtype=np.int64)
        step = np.cumsum(v.SHIFT_STEPS[ids]) * v.STEP_S
        at_bar = np.flatnonzero((v.KIND[ids] == v.K_BAR) & (step > step[-1] / 3))
        if len(at_bar) and step[-1] > 2 * args.seconds:
            first = int(at_bar[0])
            stop = int(np.searchsorted(step, step[first] + args.seconds))
            real.append(repetition(ids[first:stop]) | {"returns": np.nan, "elsewhere": np.nan})
    print("| setting | pieces | " + " | ".join(real[0]) + " |\n|" + "---|" * (len(real[0]) + 2))
    print(row("real songs", real))
    decoder = open_decoder(args.model)
    for setting in args.setting or ["form=none", "form=auto"]:
        recipe, found = recipe_of(setting), []
        conditions, plans = [], []
        for i in range(args.pieces):
            film = landing.random_list(np.random.default_rng([args.seed, i]), f"{i:03d}", args.seconds)
            boundaries = spaced(np.asarray(film.cuts_s), recipe.t_diff_s, duration_s=film.duration_s)
            conditions.append(Conditions(boundaries, film.duration_s))
            plans.append(Plan(plan_form(recipe.form, film.duration_s, cuts_s=film.cuts_s)))
        for c, plan in zip(conditions, plans, strict=True):
            (piece,) = compose(decoder, [c], replace(recipe, seed=len(found)), plans=[plan])
            ids = piece.events.ids.astype(np.int64)
            near, far = recognised(ids, piece.events.velocities, plan)
            found.append(repetition(ids) | {"returns": near, "elsewhere": far})
        print(row(setting, found), flush=True)


if __name__ == "__main__":
    main()
