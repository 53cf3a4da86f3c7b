"""The tempo planned for a film: limits hold for any cuts, hits stand on beats, and the search finds what is best."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsync.errors import InputError
from emsync.recipe import Recipe
from emsync.tempo_plan import TempoPlan, plan_for, plan_tempo
from emsync.tempo_ramps import Limits, cost, curve, reachable, trapezoids
from emsync.tempo_search import MISSED, OFF_DOWNBEAT, Search

CUTS_S = np.array([5.3, 11.9, 17.05, 26.4, 33.0])
#: Rounding of what is summed over many beats.
ROUNDING = 1e-9


@st.composite
def cut_lists(draw: st.DrawFn) -> tuple[np.ndarray, float]:
    """Cuts at any distances, frames to minutes, and a film that ends after the last of them."""
    gaps = draw(st.lists(st.floats(0.04, 20) | st.sampled_from([0.5, 1.0, 4.0, 120.0]), max_size=12))
    cuts_s = np.cumsum(gaps)
    return cuts_s, float(cuts_s[-1] if len(gaps) else 0.0) + draw(st.floats(0.3, 30))


def check(plan: TempoPlan, cuts_s: np.ndarray, duration_s: float, max_bend: float, metre_changes: bool) -> None:
    """What holds for any plan."""
    beat_s = np.diff(plan.beats_s)
    assert plan.beats_s[0] == 0
    assert plan.beats_s[-1] >= duration_s - ROUNDING
    assert sum(plan.bar_beats) == len(beat_s)
    assert set(plan.bar_beats) <= ({2, 3, 4} if metre_changes else {4})
    tempi = 60 / beat_s / plan.mean_qpm
    assert np.abs(tempi - 1).max() <= 2 * max_bend / 100 + ROUNDING
    assert np.abs(tempi[1:] / tempi[:-1] - 1).max(initial=0) <= max_bend / 100 / 4 * 1.01 + ROUNDING
    assert plan.largest_jump <= max_bend / 100 + ROUNDING
    assert len(plan.hit_beats) == len(cuts_s)
    hits = plan.hit_beats[plan.met]
    assert plan.beats_s[hits].tolist() == cuts_s[plan.met].tolist()
    assert (np.diff(hits) * plan.beat_steps * 0.008 >= 1 - ROUNDING).all()
    assert plan.to_film(plan.hits_nominal_s).tolist() == cuts_s[plan.met].tolist()


@settings(max_examples=50)
@given(cut_lists(), st.sampled_from([0.1, 1.0, 3.0, 25.0]), st.booleans(), st.none() | st.floats(45, 240))
def test_limits_hold_for_any_cuts(
    film: tuple[np.ndarray, float], max_bend: float, metre_changes: bool, tempo_qpm: float | None
) -> None:
    cuts_s, duration_s = film
    plan = plan_tempo(cuts_s, duration_s, tempo_qpm=tempo_qpm, max_bend=max_bend, metre_changes=metre_changes)
    check(plan, cuts_s, duration_s, max_bend, metre_changes)
    if tempo_qpm is not None:
        assert plan.mean_qpm == pytest.approx(tempo_qpm)
    else:
        assert 84 <= plan.mean_qpm <= 132


@given(st.floats(85, 131), st.lists(st.integers(6, 20), min_size=1, max_size=8))
def test_cuts_on_the_beats_of_a_tempo_need_no_bending(qpm: float, gaps: list[int]) -> None:
    cuts_s = np.cumsum(gaps) * 60 / qpm
    plan = plan_tempo(cuts_s, float(cuts_s[-1]) + 3, tempo_qpm=qpm)
    assert plan.hit_beats.tolist() == np.cumsum(gaps).tolist()
    assert np.abs(plan.bend).max() < 1e-6


def test_a_chosen_tempo_bends_less_than_a_given_one() -> None:
    free, fixed = plan_tempo(CUTS_S, 40.0, center_qpm=100.0), plan_tempo(CUTS_S, 40.0, tempo_qpm=100.0)
    assert free.met.all()
    assert free.mean_qpm != 100.0
    assert np.abs(free.bend).mean() < np.abs(fixed.bend).mean()


def test_the_tempo_stays_near_the_one_asked_for() -> None:
    slow, fast = (plan_tempo(CUTS_S, 40.0, center_qpm=qpm) for qpm in (88.0, 128.0))
    assert slow.mean_qpm < 108 < fast.mean_qpm


def test_cuts_out_of_reach_are_missed_and_the_others_met() -> None:
    # Half a beat beside the beats of 120, four seconds apart; and two cuts within a second.
    plan = plan_tempo([4.0, 8.25, 12.0, 20.0, 20.4], 30.0, tempo_qpm=120.0)
    assert plan.met.tolist() == [True, False, True, True, False]
    assert plan.hit_beats.tolist() == [8, -1, 24, 40, -1]
    # Less bending, fewer cuts.
    met = [plan_tempo(CUTS_S, 40.0, tempo_qpm=100.0, max_bend=bend).met.sum() for bend in (0.1, 1.0, 3.0)]
    assert met == sorted(met)
    assert met[0] < met[-1] == len(CUTS_S)


def test_a_strong_cut_is_kept_before_a_weak_one() -> None:
    for strength, kept in (([1.0, 0.2], [True, False]), ([0.2, 1.0], [False, True])):
        plan = plan_tempo([10.0, 10.4], 20.0, strength=strength)
        assert plan.met.tolist() == kept


def test_metre_changes_bring_downbeats() -> None:
    def on_downbeats(plan: TempoPlan) -> float:
        lines = np.cumsum(plan.bar_beats)
        return float(np.isin(plan.hit_beats[plan.met], lines).mean())

    plain, changing = plan_tempo(CUTS_S, 40.0), plan_tempo(CUTS_S, 40.0, metre_changes=True)
    assert set(plain.bar_beats) == {4}
    assert on_downbeats(plain) < on_downbeats(changing) == 1
    assert {2, 3} & set(changing.bar_beats)
    weak = plan_tempo(CUTS_S, 40.0, metre_changes=True, strength=np.zeros(len(CUTS_S)))
    assert set(weak.bar_beats) == {4}, "nothing asks for downbeats"


def test_the_tempo_goes_by_ramps_between_two_hits_that_pull_apart() -> None:
    plan = plan_tempo([8.2, 16.0], 24.0, tempo_qpm=120.0)
    assert plan.hit_beats.tolist() == [16, 32]
    changes = np.diff(60 / np.diff(plan.beats_s))
    assert (changes != 0).sum() > 12
    assert plan.bend[0] < 0 < plan.bend[6]


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.25, 1.0, 4.0])
def test_long_films_take_no_more_work_for_each_cut(gap_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    edges: list[int] = []
    plain = Search._edges

    def counted(search: Search, node: int) -> Any:
        found = plain(search, node)
        edges.append(len(found[0]))
        return found

    monkeypatch.setattr(Search, "_edges", counted)
    cuts_s = np.cumsum(np.random.default_rng(0).uniform(0.5 * gap_s, 1.5 * gap_s, size=450))
    plan = plan_tempo(cuts_s, float(cuts_s[-1]) + 5, tempo_qpm=100.0)
    assert len(edges) == len(cuts_s)
    assert max(edges) <= 14 * 5
    check(plan, cuts_s, float(cuts_s[-1]) + 5, 3.0, metre_changes=False)
    edges.clear()
    plan_tempo(cuts_s, float(cuts_s[-1]) + 5)
    assert len(edges) <= 2 * len(cuts_s), "few tempi are tried in full for many cuts"


# ---- the parts -----------------------------------------------------------------------------------------------------


@given(st.integers(2, 40), st.floats(-1, 1), st.floats(-1, 1), st.floats(0, 1), st.sampled_from([0.1, 3.0, 25.0]))
def test_curves_keep_their_ends_sums_and_limits(beats: int, a: float, b: float, share: float, max_bend: float) -> None:
    limits = Limits.of(max_bend)
    a, b = a * limits.most, b * limits.most
    low, high = reachable(np.float64(a), np.float64(b), beats, limits)
    if low > high:
        assert abs(a - b) > limits.step * beats
        return
    total = float(low + share * (high - low))
    e = curve(a, b, beats, total, limits)
    assert e[[0, -1]] == pytest.approx([a, b], abs=1e-12)
    assert trapezoids(e) == pytest.approx(total, abs=1e-9)
    assert np.abs(e).max() <= limits.most + ROUNDING
    assert np.abs(np.diff(e)).max() <= limits.step + ROUNDING


def test_the_search_finds_what_trying_everything_finds() -> None:
    limits = Limits.of(3.0)
    levels = np.linspace(-limits.most, limits.most, 13)
    for cuts_s in ([5.3, 10.9], [4.1, 9.0], [7.7, 12.3], [6.0, 7.3]):
        cuts, end = np.array(cuts_s) * 2, 40.0  # in beats of half a second
        best = math.inf
        kept_s: Any
        for kept_s in ([], [0], [1], [0, 1]):
            places = [0.0, *cuts[kept_s]]
            ranges = [
                range(round(there - here) - 2, round(there - here) + 3) for here, there in itertools.pairwise(places)
            ]
            for counts in itertools.product(*ranges):
                total = (len(cuts) - len(kept_s)) * MISSED
                best_at = np.zeros(len(levels))
                beat = 0
                for k, count in enumerate(counts):
                    if count < 2:
                        best_at = np.full(len(levels), np.inf)
                        break
                    sums = places[k + 1] - places[k] - count
                    a, b = levels[:, None], levels[None, :]
                    low, high = reachable(a, b, count, limits)
                    step = np.where((low <= sums) & (sums <= high), cost(a, b, count, sums), np.inf)
                    best_at = (best_at[:, None] + step).min(axis=0)
                    beat += count
                    total += OFF_DOWNBEAT if beat % 4 else 0.0
                rest = max(end - places[-1], 1e-3)
                best = min(best, float((best_at + cost(levels, levels, rest, levels * rest)).min()) + total)
        search = Search(np.array(cuts_s), np.ones(2), 0.5, limits, apart=2, end_s=20.0, metre_changes=False)
        assert search.run().cost == pytest.approx(best)


def test_finer_stretches_cost_no_more() -> None:
    search = Search(CUTS_S, np.ones(5), 0.55, Limits.of(3.0), apart=2, end_s=40.0, metre_changes=False)
    path = search.run()
    fine = search.refined(path)
    assert (fine.nodes, fine.beats) == (path.nodes, path.beats)

    def price(stretches: tuple[float, ...]) -> float:
        places = np.concatenate([[0.0], CUTS_S]) / 0.55
        return sum(
            float(cost(np.float64(stretches[k]), np.float64(stretches[k + 1]), m, places[j] - places[i] - m))
            for k, (m, i, j) in enumerate(zip(path.beats, path.nodes, path.nodes[1:], strict=False))
        )

    assert price(fine.stretches) < price(path.stretches)


@given(cut_lists())
def test_film_time_and_nominal_time_are_inverses(film: tuple[np.ndarray, float]) -> None:
    cuts_s, duration_s = film
    plan = plan_tempo(cuts_s, duration_s, tempo_qpm=100.0)
    times_s = np.linspace(-1, duration_s + 40, 60)
    np.testing.assert_allclose(plan.to_film(plan.to_nominal(times_s)), times_s, atol=1e-9)
    assert (np.diff(plan.to_nominal(times_s)) > 0).all()
    bars = plan.tempo.quarters_at(plan.bars.start_s)
    np.testing.assert_allclose(np.diff(bars), plan.bars.quarters[:-1], atol=1e-6)


def test_a_recipe_says_whether_there_is_a_plan() -> None:
    assert plan_for(Recipe(), CUTS_S, 40.0) is not None
    assert plan_for(Recipe(grid="free", tempo_qpm=90.0), CUTS_S, 40.0) is not None
    for recipe in (Recipe(grid="free"), Recipe(hits="exact"), Recipe(hits="free"), Recipe(tempo_plan="off")):
        assert plan_for(recipe, CUTS_S, 40.0) is None
    calm, excited = (plan_for(Recipe(seed=3), CUTS_S, 40.0, arousal) for arousal in (-1.0, 1.0))
    assert calm is not None
    assert excited is not None
    assert 59 <= calm.mean_qpm <= 107.5 < 109 <= excited.mean_qpm <= 157.5
    seeds = [plan_for(Recipe(seed=seed), CUTS_S, 40.0) for seed in range(12)]
    assert len({plan.mean_qpm for plan in seeds if plan is not None}) >= 4


@pytest.mark.parametrize(
    ("cuts_s", "choices", "message"),
    [
        ([5.0, 4.0], {}, "the cuts are not one row of increasing times in seconds; sort them, and leave out doubles"),
        ([4.0, 4.0], {}, "the cuts are not one row of increasing times"),
        ([math.nan], {}, "the cuts are not one row of increasing times"),
        ([[4.0]], {}, "the cuts are not one row of increasing times"),
        ([0.0, 4.0], {}, "cuts from 0 s to 4 s are not all within a film of 20 s"),
        ([4.0, 20.0], {}, "cuts from 4 s to 20 s are not all within a film of 20 s"),
        ([4.0], {"strength": [1.5]}, "1 strengths for 1 cuts; give each a number from 0 to 1"),
        ([4.0], {"strength": [1.0, 1.0]}, "2 strengths for 1 cuts; give each a number from 0 to 1"),
        ([4.0], {"tempo_qpm": math.inf}, "a tempo of inf is not above 0; give quarter notes per minute"),
    ],
)
def test_what_cannot_be_planned_is_refused(cuts_s: Any, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan_tempo(cuts_s, 20.0, **choices)
    with pytest.raises(InputError, match="a film of nan s cannot be scored"):
        plan_tempo([], math.nan)


@pytest.mark.parametrize("a_second", [8, 16])
def test_of_cuts_closer_than_hits_may_be_as_many_are_met_as_there_is_room_for(a_second: int) -> None:
    """More cuts between two hits than are left out in a row otherwise."""
    plan = plan_tempo(np.arange(0.5, 19.5, 1 / a_second), 20.0, tempo_qpm=120.0)
    assert 15 <= plan.met.sum() <= 20


@pytest.mark.parametrize("mood", [(None, None), (0.5, None), (None, -0.9), (-0.3, 0.8)])
def test_a_plan_stays_within_the_tempi_that_its_mood_allows(
    mood: tuple[float | None, float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr("emsync.tempo_plan.plan_tempo", lambda *_, range_qpm, **__: asked.append(range_qpm))
    plan_for(Recipe(seed=8), [5.0], 10.0, mood[0], valence=mood[1])
    assert asked == [Recipe(seed=8).tempo_range(*mood)]
