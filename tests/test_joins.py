"""Windows and their joins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync.errors import InputError, ModelError
from emsync.joins import Window, faded, joined, plan_windows


@given(st.integers(1, 500), st.integers(2, 60), st.data())
def test_windows_cover_every_step_once(n_steps: int, longest: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, longest - 1))
    windows = plan_windows(n_steps, longest, overlap)
    new = [step for w in windows for step in range(w.first + w.known, w.stop)]
    assert new == list(range(n_steps))
    assert all(0 < len(w) <= longest for w in windows)
    assert all(w.known == overlap and w.first == before.stop - overlap for before, w in itertools.pairwise(windows))


def test_impossible_windows_are_refused() -> None:
    with pytest.raises(InputError, match="10 steps cannot be cut into windows of 4 that share 4"):
        plan_windows(10, 4, 4)


@given(st.integers(1, 200), st.integers(2, 30), st.data())
def test_a_sound_that_was_cut_into_windows_is_joined_as_it_was(n_steps: int, longest: int, data: st.DataObject) -> None:
    """The same sound in both windows: equal power alone would raise it by 3 dB in the middle of a join."""
    hop, rest = 3, data.draw(st.integers(0, 2))
    windows = plan_windows(n_steps, longest, data.draw(st.integers(0, longest - 1)))
    whole = np.sin(np.arange(n_steps * hop) * 0.7)[:, None].astype(np.float32) + 2
    n = max(1, n_steps * hop - rest)
    blocks = list(joined(windows, lambda w: whole[w.first * hop : w.stop * hop], hop=hop, n_frames=n))
    np.testing.assert_allclose(np.concatenate(blocks), whole[:n], rtol=1e-5)


def test_sounds_that_have_nothing_in_common_keep_their_power() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 200_000, 1)).astype(np.float32)
    out = faded(a, b)
    assert [float(np.square(part).mean()) for part in np.split(out, 10)] == pytest.approx([1.0] * 10, rel=0.03)
    assert float((out[:1000] * a[:1000]).mean()) > 0.95
    assert float((out[-1000:] * b[-1000:]).mean()) > 0.95
    assert np.isfinite(faded(a, -a)).all()


def test_what_is_not_sound_is_refused() -> None:
    window = Window(0, 0, 4)
    with pytest.raises(ModelError, match="gave 7 samples for 4 steps of 2"):
        list(joined([window], lambda w: np.zeros((7, 1), np.float32), hop=2, n_frames=8))
    with pytest.raises(ModelError, match="not finite"):
        list(joined([window], lambda w: np.full((8, 1), np.nan, np.float32), hop=2, n_frames=8))
