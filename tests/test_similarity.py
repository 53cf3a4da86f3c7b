"""Similarity: overlap and the classifier on numbers with known answers, and composed beside real music made here."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from emsync.errors import InputError
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.evaluation import similarity
from emsync.training.evaluation.overlap import bin_edges, binned, overlap
from emsync.training.evaluation.similarity import auc, fit, held_out, measure
from emsync.vocabulary import BASS, DRUMS, PIANO

LENGTH_S = 8.0


def song(seed: int, *, leap: int = 3, families: tuple[int, ...] = (DRUMS, PIANO, BASS), bars: int = 6) -> Score:
    """Bars of 2 s; each family walks by random steps of up to `leap` semitones, or hits."""
    rng = np.random.default_rng(seed)
    rows = []
    for family in families:
        at = np.flatnonzero(rng.random(16 * bars) < rng.uniform(0.2, 0.6))
        if family == DRUMS:
            pitch = rng.choice([36, 38, 42], len(at))
        else:
            pitch = 45 + np.abs(np.cumsum(rng.integers(-leap, leap + 1, len(at))) % 48 - 24)
        rows.append(np.stack([np.full(len(at), family), pitch, rng.integers(60, 110, len(at)), at]))
    family, pitch, velocity, at = np.concatenate(rows, axis=1)
    return Score(
        FAMILY_INSTRUMENTS, family, pitch, velocity, at * 0.125, (at + 1) * 0.125, TempoMap.constant(120),
        Bars(np.arange(bars) * 2.0, [4] * bars, [4] * bars), duration_s=bars * 2.0,
    )  # fmt: skip


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, few in (("REPEATS", 1), ("FLOORS", 2), ("FOLDS", 3), ("RESAMPLED", 40)):
        monkeypatch.setattr(similarity, name, few)


# ---------------------------------------------------------------------------------------------------------------------
# Overlap


def test_bins_are_tenths_of_the_real_values_and_a_common_value_has_its_own() -> None:
    spread = np.arange(100.0)
    assert np.bincount(binned(spread, bin_edges(spread))) == pytest.approx([10] * 10)
    lumpy = np.concatenate([np.zeros(60), np.linspace(1, 2, 40)])
    edges = bin_edges(lumpy)
    assert (binned(np.array([0.0, -0.1, 0.1]), edges) == np.array([1, 0, 2])).all()
    assert np.bincount(binned(lumpy, edges))[1] == 60
    ones = np.concatenate([np.linspace(0, 0.9, 50), np.ones(50)])
    own = binned(np.array([0.95, 1.0, 1.1]), bin_edges(ones))
    assert len(set(own.tolist())) == 3
    assert binned(np.array([math.nan, 5.0]), bin_edges(np.full(4, math.nan))).tolist() == [1, 0]


def test_overlap_of_equal_disjoint_and_half_common_rows() -> None:
    a = np.array([0, 0, 1, 1])
    assert overlap(a, np.array([0, 1]), 4) == 1
    assert overlap(a, np.array([2, 3]), 4) == 0
    assert overlap(a, np.array([1, 1, 1, 2]), 4) == pytest.approx(0.5)


# ---------------------------------------------------------------------------------------------------------------------
# The classifier


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    score, y = rng.integers(0, 6, 60).astype(float), rng.random(60) < 0.3
    pairs = [(a > b) + 0.5 * (a == b) for a in score[y] for b in score[~y]]
    assert auc(score, y) == pytest.approx(np.mean(pairs))
    assert auc(np.arange(4.0), np.array([False, False, True, True])) == 1


def test_the_fit_is_where_the_loss_is_flat() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(80, 5)), rng.random(80) < 0.25
    x[y, 2] += 2
    w = fit(x, y, ridge=3.0)
    assert np.argmax(np.abs(w[:-1])) == 2
    assert w[2] > 0

    def loss(v: np.ndarray) -> float:
        z = x @ v[:-1] + v[-1]
        each = np.where(y, 40 / y.sum(), 40 / (~y).sum()) * np.log1p(np.exp(np.where(y, -z, z)))
        return float(each.sum() + 1.5 * (v[:-1] ** 2).sum())

    for i in range(6):
        step = np.zeros(6)
        step[i] = 1e-4
        assert (loss(w + step) - loss(w - step)) / 2e-4 == pytest.approx(0, abs=1e-3)


def test_chance_and_knowledge_on_held_out_rows() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(150, 8)), np.arange(150) < 50
    x[rng.random(x.shape) < 0.05] = math.nan
    assert auc(held_out(x, y, np.random.default_rng(0)), y) == pytest.approx(0.5, abs=0.15)
    narrow = x.copy()
    narrow[y, 4:6] *= 0.1  # the same mean with too little variety
    assert auc(held_out(narrow, y, np.random.default_rng(0)), y) > 0.75


# ---------------------------------------------------------------------------------------------------------------------
# Music


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_music_of_one_kind_is_similar_and_of_another_is_separated(tmp_path: Path) -> None:
    real = [song(seed) for seed in range(100, 150)]
    alike = measure([song(seed) for seed in range(20)], real, window_s=LENGTH_S)
    other = measure([song(seed, leap=9) for seed in range(20)], real, window_s=LENGTH_S)
    assert (alike.pieces, alike.songs) == (20, 50)
    assert alike.auc == pytest.approx(0.5, abs=0.2)
    assert alike.floor == pytest.approx(0.5, abs=0.2)
    assert alike.overlap == pytest.approx(alike.ceiling, abs=0.06)
    assert other.auc > 0.9
    assert other.auc_without_timing > 0.9
    assert other.overlap < alike.overlap
    rows = {row.name: row for row in other.overlaps}
    steps = rows["step of the top voice"]
    assert steps.value < steps.ceiling_low
    assert rows["velocity"].value > rows["velocity"].ceiling_low - 0.1
    assert any(heavy.name.startswith("step of the top voice") for heavy in other.heaviest)

    values = json.loads(json.dumps(other.to_dict(), allow_nan=False))
    assert values["auc"] == other.auc
    assert values["overlaps"]["step of the top voice"]["composed"] is None
    page = other.to_markdown()
    assert page.startswith("## Similarity\n")
    assert "20 composed pieces and 50 real songs" in page
    other.plot(tmp_path / "similarity.png")
    assert (tmp_path / "similarity.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_same_seed_gives_the_same_figures_and_other_songs_are_left_out() -> None:
    composed, real = [song(seed) for seed in range(12)], [song(seed) for seed in range(50, 70)]
    short, thin = song(0, bars=3), song(1, families=(PIANO, BASS))
    first = measure(composed, [*real, short, thin], seed=3, window_s=LENGTH_S)
    again = measure(composed, [*real, short, thin], seed=3, window_s=LENGTH_S)
    assert first.songs == 20
    assert first.to_dict() == again.to_dict()
    assert measure(composed, [*real, thin], window_s=LENGTH_S, least_families=1).songs == 21


def test_too_few_pieces_or_songs_are_refused() -> None:
    some = [song(seed) for seed in range(10)]
    with pytest.raises(InputError, match=r"9 composed pieces of 8 s or more cannot be compared; give at least 10"):
        measure(some[:9], some, window_s=LENGTH_S)
    with pytest.raises(InputError, match=r"0 real songs of 30 s or more cannot be compared; give at least 10"):
        measure([song(seed, bars=16) for seed in range(10)], some)
