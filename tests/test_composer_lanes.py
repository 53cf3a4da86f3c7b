"""What the decoder is given while a piece is composed: mood and its guidance, boundaries, copies, velocities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from emsync import meter
from emsync import vocabulary as v
from emsync.composer import Piece, beat_of
from emsync.conditions import COPY_LANES, METER_LANES, Conditions
from emsync.copying import N_STRENGTHS, lanes_of_song
from emsync.mixture import Mixture
from tests.composing import BEND, EXACT, FILM, FREE, JOY, asked, clock_s, compose, written
from tests.fakes import MOST, SIZE, Fake, Feeling

CALM = asked(5.0, arousal=-0.75)


def felt(decoder: Fake, *films: Conditions, strength: float, seed: int = 2) -> list[tuple[list[int], list[int]]]:
    pieces = compose(decoder, films, seed=seed, hits=EXACT, mood_strength=strength)
    return [written(piece) for piece in pieces]


@pytest.mark.parametrize("context", [MOST, 64])
@pytest.mark.parametrize("strength", [0.5, 2.0, 3.5])
def test_guidance_multiplies_the_effect_of_the_mood(strength: float, context: int) -> None:
    """A fake that adds to its logits in proportion to mood answers, guided by s, as one that feels s times as much."""
    guided = felt(Feeling(context), JOY, CALM, strength=strength)
    assert guided == felt(Feeling(context, gain=strength), JOY, CALM, strength=1.0)
    plain = felt(Feeling(context), JOY, CALM, strength=1.0)
    assert all(one != other for one, other in zip(guided, plain, strict=True))


def test_velocities_are_guided_too() -> None:
    """A fake whose notes are the same in any mood, and whose velocities are not."""

    class Touch(Feeling):
        def _answer(self, *inputs: np.ndarray) -> Any:
            return Fake._answer(self, *inputs)[0], super()._answer(*inputs)[1]

    guided = felt(Touch(), CALM, strength=4.0)
    assert guided == felt(Touch(gain=4.0), CALM, strength=1.0)
    assert guided != felt(Touch(), CALM, strength=1.0)


def test_at_strength_0_mood_is_unheard() -> None:
    decoder = Feeling()
    assert felt(decoder, JOY, CALM, strength=0.0) == felt(Feeling(), asked(6.0, 3.0), asked(5.0), strength=1.0)
    ((*_, mood),) = decoder.prefills
    assert mood.shape == (2, 2)
    assert np.isnan(mood).all()
    assert all(np.isnan(lanes[:, 1:3]).all() for _, _, lanes in decoder.inputs)


@pytest.mark.parametrize("context", [MOST, 64])
def test_each_piece_with_a_mood_is_read_again_without(context: int) -> None:
    decoder = Feeling(context)
    felt(decoder, JOY, asked(8.0), CALM, strength=2.0)
    assert len(decoder.prefills) == 1 if context == MOST else len(decoder.prefills) > 4
    rows = np.array(["JOY", "none", "CALM", "JOY again", "CALM again"])
    windows = dict(zip(decoder.prefilled_at, decoder.prefills, strict=True))
    for at, one in enumerate(decoder.inputs):
        for when, left in decoder.selected:
            rows = rows[left] if when == at else rows
        for ids, previous_velocity, lanes in [one, *([windows[at][:3]] if at in windows else [])]:
            assert len(ids) == len(rows)
            for row, name in enumerate(rows):
                inputs = ~np.isnan(lanes[row, ..., 1:3])
                assert inputs.any() == (name in ("JOY", "CALM"))
                assert inputs.all() or name != "JOY"
                if name.endswith(" again"):
                    (first,) = np.flatnonzero(rows == name.removesuffix(" again"))
                    for part in (ids, previous_velocity, lanes[..., [0, 3]]):
                        assert np.array_equal(part[row], part[first], equal_nan=True)
        if at in windows:
            for name, mood in zip(rows, windows[at][3], strict=True):
                assert mood.tolist() == [0.25, 0.5] if name == "JOY" else np.isnan(mood).all()
    assert len(rows) < 5


def test_a_piece_without_mood_is_the_same_beside_guided_ones() -> None:
    (_, beside) = felt(Feeling(), JOY, asked(4.0), strength=3.0)
    (_, alone) = felt(Feeling(), asked(6.0, 3.0), asked(4.0), strength=1.0)
    assert beside == alone
    decoder = Feeling()
    nothing = asked(4.0, valence=math.nan, arousal=(np.array([0.0, 1.0]), np.full(2, math.nan)), piece_valence=math.nan)
    assert felt(decoder, nothing, strength=3.0) == felt(Feeling(), asked(4.0), strength=1.0)
    assert all(len(ids) == 1 for ids, _, _ in decoder.inputs)


def algorithm_1(ids: list[int], boundaries_s: list[float]) -> list[float]:
    """The paper's Algorithm 1, line by line, on a finished sequence: the boundary offset after each event."""
    xi, delta_max = 1.0, 8.0
    b = list(boundaries_s)
    steps = 0
    deltas = []
    for event in ids:
        name = v.NAMES[event]
        if name.startswith("TIMESHIFT"):
            steps += int(name.removeprefix("TIMESHIFT_")) // 8
        c = steps * v.STEP_S
        if name == "CHORD":
            b = [math.inf if abs(c - x) < xi else x for x in b]
        ahead = [x - c if x - c >= 0 else math.inf for x in b]
        deltas.append(min([*ahead, delta_max]))
    return deltas


@pytest.mark.slow
@pytest.mark.parametrize(("land", "grid"), [(EXACT, False), (FREE, False), (FREE, True)])
def test_lanes_follow_algorithm_1(land: Any, grid: bool) -> None:
    asked_for = boundaries = [2.5, 2.9, 6.001, 10.25, 14.0]
    settings: dict[str, Any] = {}
    if grid:  # given on the sixteenths of the tempo
        settings = {"tempo_qpm": 96.0, "grid": "sixteenths"}
        sixteenth_s = beat_of(96.0) // 4 * v.STEP_S
        boundaries = (np.rint(np.array(asked_for) / sixteenth_s) * sixteenth_s).tolist()
        assert 0.01 < np.abs(np.array(boundaries) - asked_for).max() <= sixteenth_s / 2 + 1e-9
    liking_chords = np.where(np.arange(SIZE) == v.CHORD, 8.0, 0.0)
    n_chords = 0
    for seed in range(3):
        decoder = Fake(bias=liking_chords)
        (piece,) = compose(decoder, [asked(16.0, *asked_for)], seed=seed, hits=land, **settings)
        ids = piece.events.ids[1:].tolist()  # without the instrument count, from START on
        inputs = decoder.inputs
        assert [int(i[0]) for i, _, _ in inputs] == ids
        offsets = [float(lanes[0, 0]) for _, _, lanes in inputs]
        first = int(grid)  # there is no grid before the first bar
        assert offsets[first:] == pytest.approx(algorithm_1(ids, boundaries)[first:], abs=1e-6)
        n_chords += ids.count(v.CHORD)
        # The same function that training calls, on the whole sequence at once; the end is given when it is near.
        times_s = clock_s(piece)[1:]
        whole = asked(16.0, *boundaries, end_known_s=8.0).at(times_s, piece.events.ids[1:] == v.CHORD)
        steps = np.rint(times_s / v.STEP_S).astype(np.int64)
        sixteenth = beat_of(96.0) / 4 if grid else None
        whole[:, METER_LANES] = meter.of_events(piece.events.ids[1:], steps, sixteenth)
        whole[:, COPY_LANES] = lanes_of_song(piece.events.ids[1:])
        assert np.isfinite(whole[-1, METER_LANES]).all()
        read_lanes = np.stack([lanes[0] for _, _, lanes in inputs])
        assert np.allclose(read_lanes[first:], whole[first:], atol=1e-6, equal_nan=True)
    assert n_chords >= 3


MOSTLY_COPIED = Mixture((0.0, *[0.97] * (N_STRENGTHS - 1)))
#: Music of few events, so that matches come of themselves: drums, on some times.
FEW = np.full(v.SIZE, -40.0)
FEW[[v.ID_OF[f"ON_DRUMS_{pitch}"] for pitch in range(36, 44)]] = 0.0
FEW[[v.SHIFT_BASE + steps for steps in (8, 16, 24, 32)]] = 0.0
FEW[v.ID_OF["BAR_4"]] = 0.0


def copied_share(piece: Piece) -> float:
    """The share of events that followed the longest match before, too."""
    ids = piece.events.ids[1:]
    lanes = lanes_of_song(ids)
    return float((lanes[:-1, 0] == ids[1:]).mean())


@pytest.mark.slow
def test_a_mixture_makes_a_piece_copy_itself_as_far_as_it_may() -> None:
    shares = []
    for choices in ({"copying": 0.0}, {"copying": 0.3}, {"longest_copy_bars": 1}, {"longest_copy_bars": 1000}):
        (piece,) = compose(Fake(bias=FEW, mixture=MOSTLY_COPIED), [asked(40.0)], seed=2, **{"copying": 1.0, **choices})
        shares.append(copied_share(piece))
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert shares[3] > 0.5


@pytest.mark.slow
def test_without_a_mixture_or_a_share_of_it_nothing_changes() -> None:
    (plain,) = compose(Fake(bias=FEW), [FILM], seed=3)
    mixed, unmixed = Fake(bias=FEW, mixture=MOSTLY_COPIED), Fake(bias=FEW)
    for decoder, choices in ((mixed, {"copying": 0.0}), (unmixed, {"copying": 1.0})):
        (piece,) = compose(decoder, [FILM], seed=3, longest_copy_bars=1000, **choices)
        assert written(piece) == written(plain)


def test_cuts_are_met_while_copying() -> None:
    (piece,) = compose(Fake(bias=FEW, mixture=MOSTLY_COPIED), [asked(24.0, 6.0, 12.0, 18.0)], seed=4, hits=EXACT)
    assert piece.boundaries_s == pytest.approx([6.0, 12.0, 18.0])


def test_a_barred_copy_is_not_in_the_lanes() -> None:
    decoder = Fake(bias=FEW, mixture=MOSTLY_COPIED)
    (piece,) = compose(decoder, [asked(60.0)], seed=2, copying=1.0, longest_copy_bars=1)
    copy_lanes = np.stack([lanes[0, COPY_LANES] for _, _, lanes in decoder.inputs])
    barred = np.isnan(copy_lanes).any(axis=1)
    assert 0 < barred.sum() < len(barred) / 2
    right = lanes_of_song(piece.events.ids[1:])
    np.testing.assert_array_equal(copy_lanes[~barred], right[~barred])
    assert (v.KIND[piece.events.ids[1:]][np.flatnonzero(np.diff(barred.astype(int))) + 1] == v.K_BAR).all()


def test_each_event_is_given_the_velocity_of_the_one_before() -> None:
    decoder = Fake()
    (piece,) = compose(decoder, [FILM], seed=2)
    previous_velocity = [int(velocity[0]) for _, velocity, _ in decoder.inputs]
    velocities = piece.events.velocities[1:].tolist()
    assert previous_velocity == [0, *velocities[:-1]]
    is_on = v.KIND[piece.events.ids] == v.K_ON
    assert (piece.events.velocities[~is_on] == 0).all()
    assert set(piece.events.velocities[is_on].tolist()) <= set(range(1, 17))
    assert len(set(piece.events.velocities[is_on].tolist())) > 8


def test_bent_boundaries_are_given_where_the_chords_will_be() -> None:
    decoder = Fake()
    (piece,) = compose(decoder, [asked(24.0, 6.003, 11.51, 17.777)], seed=5, hits=BEND)
    offsets = np.array([float(lanes[0, 0]) for _, _, lanes in decoder.inputs])
    times_s, ids = clock_s(piece)[1:], piece.events.ids[1:]
    for target in piece.targets_s.tolist():
        (at,) = np.flatnonzero((ids == v.CHORD) & np.isclose(times_s, target))
        assert offsets[at - 1] == pytest.approx(0.0, abs=1e-6)
        assert offsets[at] > 1.0
    to_end_s = np.where(24.0 - times_s > 8.0, 32.0, 24.0 - times_s)
    np.testing.assert_allclose([float(lanes[0, 3]) for _, _, lanes in decoder.inputs], to_end_s, atol=1e-5)
