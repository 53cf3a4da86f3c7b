"""An output layer that learns from the piece: against the formula, mixed, kept with a model, and in evaluating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.adaptation import FIRST, RATE, Adaptation
from emsync.copying import N_STRENGTHS
from emsync.errors import ModelError
from emsync.mixture import COPYING, Copier, Mixture

RNG = np.random.default_rng(0)
STATES = RNG.normal(2.0, size=(80, 8)).astype(np.float32)
LOGITS = RNG.normal(size=(80, v.SIZE)).astype(np.float32)
IDS = RNG.integers(0, 6, 80)
ADAPTING = Mixture((0.0,) * N_STRENGTHS, adapts=True)


def formula() -> np.ndarray:
    """The distributions (N, SIZE) of `IDS`, plainly, in double precision."""
    matrix, squares = np.zeros((v.SIZE, 8)), np.full(v.SIZE, FIRST)
    out = []
    for logits, state, event in zip(LOGITS.astype(float), STATES.astype(float), IDS, strict=True):
        unit = state / np.linalg.norm(state)
        p = np.exp(logits + matrix @ unit)
        p /= p.sum()
        error = np.eye(v.SIZE)[event] - p
        squares += error**2
        matrix += RATE * (error / np.sqrt(squares))[:, None] * unit
        out.append(p)
    return np.array(out)


def test_it_learns_as_the_formula_says() -> None:
    expected = formula()[np.arange(80), IDS]
    scored = Adaptation().score(LOGITS, STATES, IDS)
    np.testing.assert_allclose(scored, expected, rtol=0.03)  # errors below 0.001 are left out
    # What comes again and again is learned.
    assert scored[-20:].mean() > 5 * scored[:20].mean()


def test_composing_and_evaluating_agree_however_the_song_is_cut() -> None:
    whole, parts, one = Adaptation().score(LOGITS, STATES, IDS), Adaptation(), Copier(ADAPTING)
    cut = [parts.score(LOGITS[a:b], STATES[a:b], IDS[a:b]) for a, b in ((0, 1), (1, 50), (50, 50), (50, 80))]
    np.testing.assert_array_equal(whole, np.concatenate(cut))
    for t, event in enumerate(IDS.tolist()):
        mixed = np.exp(one.mix(LOGITS[t], STATES[t]).astype(float))
        assert mixed[event] / mixed.sum() == pytest.approx(whole[t], rel=1e-4)
        one.append(event)


def test_without_a_share_or_a_state_nothing_changes() -> None:
    for copier, state in ((Copier(ADAPTING, share=0.0), STATES[0]), (Copier(ADAPTING), None)):
        copier.append(3)
        np.testing.assert_array_equal(copier.mix(LOGITS[0], state), LOGITS[0])
        copier.append(4)
        np.testing.assert_array_equal(copier.mix(LOGITS[0], state), LOGITS[0])


def test_half_a_share_corrects_half_as_much() -> None:
    def corrected(share: float) -> np.ndarray:
        copier = Copier(ADAPTING, share)
        copier.mix(LOGITS[0], STATES[0])
        copier.append(5)
        return copier.mix(LOGITS[1], STATES[1]) - LOGITS[1]

    assert np.abs(corrected(1.0)).max() > 0.01
    np.testing.assert_allclose(corrected(0.5), corrected(1.0) / 2, atol=1e-6)


def test_a_model_folder_keeps_whether_it_adapts(tmp_path: Path) -> None:
    ADAPTING.write(tmp_path)
    assert Mixture.read(tmp_path) == ADAPTING
    path = tmp_path / COPYING
    path.write_text(path.read_text().replace('"rate": 1.0', '"rate": 2.0'))
    with pytest.raises(ModelError, match=r"was fitted for other repeats.*fit it again with: emsync fit-copying"):
        Mixture.read(tmp_path)
