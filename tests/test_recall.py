"""What is recalled from similar hidden states, against the formula, and mixed."""

from __future__ import annotations

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.copying import N_STRENGTHS, Past
from emsync.mixture import Copier, Mixture
from emsync.recall import SHARPNESS, Recall

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(1300, 8)).astype(np.float32)
IDS = RNG.integers(0, 12, 1300)
RECALLING = Mixture((0.0,) * N_STRENGTHS, recall=(0.5,) * N_STRENGTHS)


def formula(t: int) -> np.ndarray:
    """The distribution (SIZE,) at event t, plainly."""
    out = np.zeros(v.SIZE)
    for j in range(t):
        cosine = STATES[t] @ STATES[j] / np.linalg.norm(STATES[t]) / np.linalg.norm(STATES[j])
        out[IDS[j]] += np.exp(SHARPNESS * float(cosine))
    return out / out.sum() if t else out


def test_events_at_similar_states_are_recalled() -> None:
    recall = Recall()
    for t in range(60):
        assert len(recall) == t
        np.testing.assert_allclose(recall.distribution(STATES[t]), formula(t), atol=1e-5)
        recall.append(STATES[t], int(IDS[t]))


@pytest.mark.parametrize("parts", [[1300], [1, 512, 87, 700], [600, 0, 700]])
def test_a_song_is_scored_as_it_is_composed(parts: list[int]) -> None:
    recall, found, begin = Recall(), [], 0
    for n in parts:
        found.append(recall.score(STATES[begin : begin + n], IDS[begin : begin + n]))
        begin += n
    scored = np.concatenate(found)
    for t in (0, 1, 2, 511, 512, 513, 599, 600, 1299):
        assert scored[t] == pytest.approx(formula(t)[IDS[t]], abs=1e-5)


@pytest.mark.parametrize("longest", [1, 7, 600])
def test_only_the_latest_events_are_recalled(monkeypatch: pytest.MonkeyPatch, longest: int) -> None:
    """Of a long piece; composing and scoring agree, and the memory does not grow."""
    monkeypatch.setattr("emsync.recall.LONGEST", longest)
    monkeypatch.setattr("emsync.recall._ROWS", 64)
    one, scoring = Recall(), Recall()
    scored = scoring.score(STATES, IDS)
    unit = STATES / np.linalg.norm(STATES, axis=1, keepdims=True)
    for t in range(len(IDS)):
        wanted = np.zeros(v.SIZE)
        latest = slice(max(t - longest, 0), t)
        np.add.at(wanted, IDS[latest], np.exp(SHARPNESS * (unit[latest] @ unit[t])))
        wanted /= max(wanted.sum(), 1e-30)
        np.testing.assert_allclose(one.distribution(STATES[t]), wanted, atol=1e-5)
        assert scored[t] == pytest.approx(wanted[IDS[t]], abs=1e-5)
        one.append(STATES[t], int(IDS[t]))
        assert len(one) == min(t + 1, longest)
    for each in (one, scoring):
        assert len(each._states) <= max(1024, 2 * longest + 64)


def test_a_state_of_zeros_recalls_everything_alike() -> None:
    recall = Recall()
    recall.extend(np.zeros((4, 8)), np.array([3, 3, 3, 5]))
    assert recall.distribution(np.zeros(8))[[3, 5]] == pytest.approx([0.75, 0.25])


def test_recalled_events_are_mixed_in() -> None:
    logits, past = np.zeros(v.SIZE), Past()
    recalled = np.zeros(v.SIZE)
    recalled[40] = 1.0
    found = np.exp(RECALLING.mix(logits, past, 0.5, recalled))
    assert found[[40, 41]] == pytest.approx([0.75 / v.SIZE + 0.25, 0.75 / v.SIZE])
    assert RECALLING.mix(logits, past, 0.5) is logits
    model, copied = np.array([0.1, 0.2]), np.zeros(2)
    assert RECALLING.probability(np.array([0, 3]), model, copied, np.array([0.3, 0.0])) == pytest.approx([0.2, 0.1])


def test_a_copier_recalls_what_it_was_given() -> None:
    copier, logits = Copier(RECALLING), np.zeros(v.SIZE)
    for t in range(40):
        found = copier.mix(logits, STATES[t])
        if t:
            np.testing.assert_allclose(np.exp(found), 0.5 / v.SIZE + 0.5 * formula(t), atol=1e-5)
        else:
            assert found is logits
        copier.append(int(IDS[t]))
    assert copier.mix(logits) is logits  # a decoder without states


def test_all_three_parts_are_fitted() -> None:
    n = 30_000
    source = RNG.choice(3, n, p=[0.5, 0.2, 0.3])
    right = RNG.random((n, 3)) < 0.1
    right[np.arange(n), source] = True
    model, copied, recalled = (np.where(right[:, k], 0.9, 0.01) for k in range(3))
    fitted = Mixture.fit(np.full(n, 5), model, copied, recalled)
    assert fitted.weights[5] == pytest.approx(0.2, abs=0.05)
    assert fitted.recall[5] == pytest.approx(0.3, abs=0.05)
    assert fitted.recall[6] == pytest.approx(0.0, abs=1e-6)  # never seen
