"""Composing: Algorithm 1's lanes, the window, drawing; on a decoder that records what it is told, and on real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import composer, meter
from emsync import vocabulary as v
from emsync.composer import Piece, beat_of
from emsync.conditions import COPY_LANES, METER_LANES, Conditions
from emsync.copying import N_STRENGTHS, lanes_of_song
from emsync.decoder import AROUSAL_SLOT, VALENCE_SLOT, open_decoder
from emsync.errors import InputError
from emsync.mixture import Mixture
from emsync.recipe import Recipe
from emsync.repetition import FREE_REPEATS, FRESH_BARS, STILL_SHARE, RepeatedNotes
from emsync.sampling import draw
from emsync.tokenizer import events
from emsync.tokenizer.events import times_steps
from tests.fakes import MOST, SIZE, Fake, Feeling, plain_recipe


def asked(end_s: float = 12.0, *boundaries_s: float, **more: Any) -> Conditions:
    return Conditions(boundaries_s=np.array(boundaries_s), end_s=end_s, **more)


def compose(decoder: Any, conditions: list[Conditions], *, progress: Any = None, **choices: Any) -> list[Piece]:
    """Compose with a plain recipe, but for these choices."""
    return composer.compose(decoder, conditions, plain_recipe(**choices), progress=progress)


def written(piece: Piece) -> tuple[list[int], list[int]]:
    return piece.events.ids.tolist(), piece.events.velocities.tolist()


def clock_s(piece: Piece) -> np.ndarray:
    return np.cumsum(v.SHIFT_STEPS[piece.events.ids]) * v.STEP_S


FILM = asked(12.0, 4.003, 8.51)
BEND, EXACT, FREE = "bend", "exact", "free"


# ---- seeds and batches ---------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_piece_and_another_seed_another() -> None:
    (first,), (again,), (other,) = (compose(Fake(), [FILM], seed=seed) for seed in (3, 3, 4))
    assert written(first) == written(again)
    assert written(first) != written(other)
    assert first.events.ids[:2].tolist() == [v.MORE, v.START]
    assert first.events.ids[-1] == v.END
    assert len(first.events) > 100


def test_a_piece_does_not_depend_on_the_others() -> None:
    """Nor on how long they go on: its neighbour in one batch ends at 3 s, in the other at 20 s."""
    for context in (MOST, 128):
        batches = [compose(Fake(context), [FILM, asked(end)], seed=1, hits=EXACT) for end in (3.0, 20.0)]
        assert written(batches[0][0]) == written(batches[1][0])
        assert written(batches[0][1]) != written(batches[1][1])
    (alone,) = compose(Fake(), [FILM], seed=1, hits=EXACT)
    assert written(alone) == written(compose(Fake(), [FILM, asked(3.0)], seed=1, hits=EXACT)[0])


def test_rows_of_a_batch_differ() -> None:
    first, second = compose(Fake(), [FILM, FILM], seed=1)
    assert written(first) != written(second)


def test_no_conditions_give_no_pieces() -> None:
    assert compose(Fake(), [], seed=0) == []


def test_instruments_are_asked_for_first() -> None:
    for how, event in (("more", v.MORE), ("fewer", v.FEWER)):
        decoder = Fake()
        (piece,) = compose(decoder, [asked(2.0)], seed=0, instruments=how)  # type: ignore[arg-type]
        assert piece.events.ids[0] == event
        ids, heard, lanes, mood = decoder.prefills[0]
        assert ids.tolist() == [[VALENCE_SLOT, AROUSAL_SLOT, event, v.START]]
        assert not heard.any()
        assert (lanes[:, :, 0] == 8.0).all()
        assert np.isnan(mood).all()


def test_mood_is_passed_on() -> None:
    decoder = Fake()
    mood = asked(2.0, piece_valence=0.5, piece_arousal=-0.25, valence=-0.5)
    compose(decoder, [mood, asked(2.0)], seed=0)
    assert decoder.prefills[0][3][0].tolist() == [0.5, -0.25]
    assert np.isnan(decoder.prefills[0][3][1]).all()
    assert all(lanes[0, 1] == -0.5 for _, _, lanes in decoder.told)


def test_progress_goes_from_nothing_to_all() -> None:
    shares: list[float] = []
    compose(Fake(), [FILM, asked(3.0)], seed=0, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0 <= shares[0] < 0.5
    assert len(shares) > 5


# ---- mood ----------------------------------------------------------------------------------------------------------

JOY = asked(
    6.0, 3.0, valence=(np.array([0.0, 6.0]), np.array([-0.5, 1.0])), arousal=0.5, piece_valence=0.25, piece_arousal=0.5
)
CALM = asked(5.0, arousal=-0.75)


def felt(decoder: Fake, *films: Conditions, strength: float, seed: int = 2) -> list[tuple[list[int], list[int]]]:
    pieces = compose(decoder, films, seed=seed, hits=EXACT, mood_strength=strength)
    return [written(piece) for piece in pieces]


@pytest.mark.parametrize("context", [MOST, 64])
@pytest.mark.parametrize("strength", [0.5, 2.0, 3.5])
def test_guidance_is_the_mood_told_so_many_times(strength: float, context: int) -> None:
    """A fake that adds to its logits in proportion to mood answers, guided by s, as one that feels s times as much."""
    guided = felt(Feeling(context), JOY, CALM, strength=strength)
    assert guided == felt(Feeling(context, gain=strength), JOY, CALM, strength=1.0)
    plain = felt(Feeling(context), JOY, CALM, strength=1.0)
    assert all(one != other for one, other in zip(guided, plain, strict=True))


def test_velocities_are_guided_too() -> None:
    """A fake whose notes are the same in any mood, and whose velocities are not."""

    class Touch(Feeling):
        def _answer(self, *told: np.ndarray) -> Any:
            return Fake._answer(self, *told)[0], super()._answer(*told)[1]

    guided = felt(Touch(), CALM, strength=4.0)
    assert guided == felt(Touch(gain=4.0), CALM, strength=1.0)
    assert guided != felt(Touch(), CALM, strength=1.0)


def test_at_strength_0_mood_is_unheard() -> None:
    decoder = Feeling()
    assert felt(decoder, JOY, CALM, strength=0.0) == felt(Feeling(), asked(6.0, 3.0), asked(5.0), strength=1.0)
    ((*_, mood),) = decoder.prefills
    assert mood.shape == (2, 2)
    assert np.isnan(mood).all()
    assert all(np.isnan(lanes[:, 1:3]).all() for _, _, lanes in decoder.told)


@pytest.mark.parametrize("context", [MOST, 64])
def test_each_piece_with_a_mood_is_read_again_without(context: int) -> None:
    decoder = Feeling(context)
    felt(decoder, JOY, asked(8.0), CALM, strength=2.0)
    assert len(decoder.prefills) == 1 if context == MOST else len(decoder.prefills) > 4
    rows = np.array(["JOY", "none", "CALM", "JOY again", "CALM again"])
    windows = dict(zip(decoder.prefilled_at, decoder.prefills, strict=True))
    for at, one in enumerate(decoder.told):
        for when, left in decoder.selected:
            rows = rows[left] if when == at else rows
        for ids, heard, lanes in [one, *([windows[at][:3]] if at in windows else [])]:
            assert len(ids) == len(rows)
            for row, name in enumerate(rows):
                told = ~np.isnan(lanes[row, ..., 1:3])
                assert told.any() == (name in ("JOY", "CALM"))
                assert told.all() or name != "JOY"
                if name.endswith(" again"):
                    (first,) = np.flatnonzero(rows == name.removesuffix(" again"))
                    for part in (ids, heard, lanes[..., [0, 3]]):
                        assert np.array_equal(part[row], part[first], equal_nan=True)
        if at in windows:
            for name, mood in zip(rows, windows[at][3], strict=True):
                assert mood.tolist() == [0.25, 0.5] if name == "JOY" else np.isnan(mood).all()
    assert len(rows) < 5


def test_chords_off_the_boundaries_are_rarer_where_the_grammar_lands_them() -> None:
    def strays(land: Any, **settings: float) -> int:
        choices: dict[str, Any] = {"chord_bias": 4.0, **settings}
        pieces = compose(Fake(), [asked(20.0, 8.0)] * 4, seed=3, hits=land, **choices)
        return sum(len(piece.chords_s) - len(piece.boundaries_s) for piece in pieces)

    assert strays("exact", stray_bias=-6.0) < strays("exact", stray_bias=0.0)
    assert strays("free", stray_bias=-6.0) == strays("free", stray_bias=0.0)


def test_no_pitch_is_struck_for_ever() -> None:
    """A model that likes one note of the strings and sixteenths, and a bias that makes it stop."""
    note = int(v.ON_BASE[v.STRINGS]) + 60
    steps = beat_of(120.0)
    bias = np.where(np.arange(SIZE) == note, 18.0, np.where((v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS), -9.0, 0.0))
    bias[v.SHIFT_BASE + steps // 4] = 12.0
    bias[v.ids_of_kind(v.K_OFF)] = 18.0

    def longest(**biases: float) -> int:
        choices: dict[str, Any] = {"stale_bias": 0.0, **biases}
        (piece,) = compose(Fake(bias=bias), [asked(60.0)], seed=3, **choices, tempo_qpm=120.0, grid="sixteenths")
        at = times_steps(piece.events.ids)[piece.events.ids == note]
        run = most = 0
        for gap in np.diff(at).tolist():
            run = run + 1 if gap <= 0.55 * steps else 0
            most = max(most, run)
        return most

    free = FREE_REPEATS[v.STRINGS]
    assert longest(repeat_bias=0.0) > 4 * free
    assert free <= longest(repeat_bias=-30.0) <= free + 1
    assert longest(repeat_bias=-30.0) < longest(repeat_bias=-1.0) < longest(repeat_bias=0.0)


def test_a_pitch_that_rested_is_as_free_as_any() -> None:
    beat, free = beat_of(120.0), FREE_REPEATS[v.PIANO]
    note, drum = int(v.ON_BASE[v.PIANO]) + 60, int(v.ON_BASE[v.DRUMS]) + 42
    repeated, step = RepeatedNotes(), 0
    for i in range(free + 3):  # eighths
        step = i * beat // 2
        repeated.strike(note, step, beat)
        repeated.strike(drum, step, beat)  # drums may
        assert repeated.excess(step, beat) == ([(note, i - free)] if i > free else [])
    step += math.floor(0.55 * beat)
    assert repeated.excess(step, beat) == [(note, 2)]
    step += 1
    assert repeated.excess(step, beat) == []
    repeated.strike(note, step, beat)
    assert repeated.excess(step, beat) == []


def test_a_harmony_that_stands_still_grows_stale() -> None:
    """A model that likes four pitches of the strings, and a bias that has the others come after a while."""
    liked = [int(v.ON_BASE[v.STRINGS]) + pitch for pitch in (60, 64, 67, 72)]
    pitched = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
    bias = np.where(np.isin(np.arange(SIZE), liked), 9.0, np.where(pitched, -30.0, 0.0))

    def longest(seed: int, stale_bias: float) -> int:
        """So many bars in a row brought next to nothing that the bar before had not."""
        choices: dict[str, Any] = {"stale_bias": stale_bias, "repeat_bias": 0.0}
        (piece,) = compose(Fake(bias=bias), [asked(60.0)], seed=seed, **choices, tempo_qpm=120.0, grid="sixteenths")
        ids = piece.events.ids
        bar = np.cumsum(v.KIND[ids] == v.K_BAR)
        run = most = 0
        before: set[int] = set()
        for number in range(1, int(bar[-1]) + 1):
            struck = set(ids[(bar == number) & pitched[ids]].tolist())
            if struck:
                run = run + 1 if len(struck & before) >= STILL_SHARE * len(struck) else 0
                most, before = max(most, run), struck
        return most

    seeds = range(1, 5)
    assert max(longest(seed, 0.0) for seed in seeds) > 2 * (FRESH_BARS + 1)
    assert max(longest(seed, -40.0) for seed in seeds) == FRESH_BARS + 1
    same = [compose(Fake(), [FILM], seed=4, stale_bias=x)[0].events.ids.tolist() for x in (0, -1e-9)]
    assert same[0] == same[1]


def test_a_piece_without_mood_is_the_same_beside_guided_ones() -> None:
    (_, beside) = felt(Feeling(), JOY, asked(4.0), strength=3.0)
    (_, alone) = felt(Feeling(), asked(6.0, 3.0), asked(4.0), strength=1.0)
    assert beside == alone
    decoder = Feeling()
    nothing = asked(4.0, valence=math.nan, arousal=(np.array([0.0, 1.0]), np.full(2, math.nan)), piece_valence=math.nan)
    assert felt(decoder, nothing, strength=3.0) == felt(Feeling(), asked(4.0), strength=1.0)
    assert all(len(ids) == 1 for ids, _, _ in decoder.told)


# ---- what the decoder is told --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(("land", "grid"), [(EXACT, False), (FREE, False), (FREE, True)])
def test_lanes_follow_algorithm_1(land: Any, grid: bool) -> None:
    asked_for = boundaries = [2.5, 2.9, 6.001, 10.25, 14.0]
    settings: dict[str, Any] = {}
    if grid:  # told on the sixteenths of the tempo
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
        told = decoder.told
        assert [int(i[0]) for i, _, _ in told] == ids
        offsets = [float(lanes[0, 0]) for _, _, lanes in told]
        first = int(grid)  # there is no grid before the first bar
        assert offsets[first:] == pytest.approx(algorithm_1(ids, boundaries)[first:], abs=1e-6)
        n_chords += ids.count(v.CHORD)
        # The same function that training calls, on the whole sequence at once; the end is told when it is near.
        times_s = clock_s(piece)[1:]
        whole = asked(16.0, *boundaries, end_known_s=8.0).at(times_s, piece.events.ids[1:] == v.CHORD)
        steps = np.rint(times_s / v.STEP_S).astype(np.int64)
        sixteenth = beat_of(96.0) / 4 if grid else None
        whole[:, METER_LANES] = meter.of_events(piece.events.ids[1:], steps, sixteenth)
        whole[:, COPY_LANES] = lanes_of_song(piece.events.ids[1:])
        assert np.isfinite(whole[-1, METER_LANES]).all()
        heard = np.stack([lanes[0] for _, _, lanes in told])
        assert np.allclose(heard[first:], whole[first:], atol=1e-6, equal_nan=True)
    assert n_chords >= 3


# ---- copying -------------------------------------------------------------------------------------------------------

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


def test_a_mixture_makes_a_piece_copy_itself_as_far_as_it_may() -> None:
    shares = []
    for choices in ({"copying": 0.0}, {"copying": 0.3}, {"longest_copy_bars": 1}, {"longest_copy_bars": 1000}):
        (piece,) = compose(Fake(bias=FEW, mixture=MOSTLY_COPIED), [asked(40.0)], seed=2, **choices)
        shares.append(copied_share(piece))
    assert shares[0] < shares[1] < shares[2] < shares[3]
    assert shares[3] > 0.5


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
    (piece,) = compose(decoder, [asked(60.0)], seed=2, longest_copy_bars=1)
    heard = np.stack([lanes[0, COPY_LANES] for _, _, lanes in decoder.told])
    barred = np.isnan(heard).any(axis=1)
    assert 0 < barred.sum() < len(barred) / 2
    right = lanes_of_song(piece.events.ids[1:])
    np.testing.assert_array_equal(heard[~barred], right[~barred])
    assert (v.KIND[piece.events.ids[1:]][np.flatnonzero(np.diff(barred.astype(int))) + 1] == v.K_BAR).all()


def test_a_boundary_that_was_passed_is_not_asked_for_again() -> None:
    decoder = Fake(bias=HATING_CHORDS)
    (piece,) = compose(decoder, [asked(16.0, 3.3, 14.0)], seed=1, hits=FREE, tempo_qpm=120.0, grid="sixteenths")
    assert not len(piece.boundaries_s)
    times_s = clock_s(piece)[1:]
    offsets = np.array([float(lanes[0, 0]) for _, _, lanes in decoder.told])
    between = (times_s > 3.5) & (times_s < 6.0)
    assert between.any()
    assert (offsets[between] == 8.0).all()


def test_finished_pieces_are_read_no_further_and_others_go_on_as_they_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = [asked(4.0), asked(12.0, 6.0), asked(5.0), asked(9.0, 4.5)]
    decoder = Fake()
    narrowed = compose(decoder, films, seed=7)
    assert [len(rows) for _, rows in decoder.selected] == [3, 2, 1]
    assert sum(len(ids) for ids, _, _ in decoder.told) < 1.2 * sum(len(piece.events.ids) for piece in narrowed)
    monkeypatch.setattr(composer, "KEPT_ROWS", 0.0)
    decoder = Fake()
    whole = compose(decoder, films, seed=7)
    assert not decoder.selected
    for one, other in zip(narrowed, whole, strict=True):
        assert one.events.ids.tolist() == other.events.ids.tolist()
        assert one.events.velocities.tolist() == other.events.velocities.tolist()


def test_each_event_hears_the_velocity_of_the_one_before() -> None:
    decoder = Fake()
    (piece,) = compose(decoder, [FILM], seed=2)
    heard = [int(h[0]) for _, h, _ in decoder.told]
    velocities = piece.events.velocities[1:].tolist()
    assert heard == [0, *velocities[:-1]]
    is_on = v.KIND[piece.events.ids] == v.K_ON
    assert (piece.events.velocities[~is_on] == 0).all()
    assert set(piece.events.velocities[is_on].tolist()) <= set(range(1, 17))
    assert len(set(piece.events.velocities[is_on].tolist())) > 8


def test_bent_boundaries_are_told_where_the_chords_will_stand() -> None:
    decoder = Fake()
    (piece,) = compose(decoder, [asked(24.0, 6.003, 11.51, 17.777)], seed=5, hits=BEND)
    offsets = np.array([float(lanes[0, 0]) for _, _, lanes in decoder.told])
    times_s, ids = clock_s(piece)[1:], piece.events.ids[1:]
    for target in piece.targets_s.tolist():
        (at,) = np.flatnonzero((ids == v.CHORD) & np.isclose(times_s, target))
        assert offsets[at - 1] == pytest.approx(0.0, abs=1e-6)
        assert offsets[at] > 1.0
    to_end_s = np.where(24.0 - times_s > 8.0, 32.0, 24.0 - times_s)
    np.testing.assert_allclose([float(lanes[0, 3]) for _, _, lanes in decoder.told], to_end_s, atol=1e-5)


# ---- landing -------------------------------------------------------------------------------------------------------

HATING_CHORDS = np.where(np.arange(SIZE) == v.CHORD, -50.0, 0.0)


def test_exact_chords_stand_on_the_grid_beside_each_boundary() -> None:
    boundaries = [4.003, 8.51, 13.0]
    (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(20.0, *boundaries)], seed=0, hits=EXACT)
    assert piece.boundaries_s.tolist() == boundaries
    assert np.abs(piece.targets_s - boundaries).max() <= v.STEP_S / 2 + 1e-9
    assert piece.chords_s.tolist() == piece.targets_s.tolist()


def test_free_chords_stand_nowhere_if_the_model_likes_none() -> None:
    (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(20.0, 4.0, 8.5)], seed=0, hits=FREE)
    assert piece.boundaries_s.tolist() == piece.targets_s.tolist() == piece.chords_s.tolist() == []


def test_free_chords_near_a_boundary_meet_it() -> None:
    likes = np.where(np.arange(SIZE) == v.CHORD, 9.0, 0.0)
    (piece,) = compose(Fake(bias=likes), [asked(20.0, 4.0, 8.5)], seed=0, hits=FREE)
    assert piece.boundaries_s.tolist() == [4.0, 8.5]
    assert (np.abs(piece.targets_s - piece.boundaries_s) < 1.0).all()
    assert set(piece.targets_s.tolist()) <= set(piece.chords_s.tolist())


def test_bent_chords_stand_on_beats() -> None:
    boundaries = [4.003, 8.51, 13.0]
    on_beat = total = 0
    for seed in range(6):
        (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(20.0, *boundaries)], seed=seed, hits=BEND)
        assert piece.boundaries_s.tolist() == boundaries
        assert piece.chords_s.tolist() == piece.targets_s.tolist()
        assert np.abs(piece.targets_s - boundaries).max() < 1.0
        times_s, kinds = clock_s(piece), v.KIND[piece.events.ids]
        bars = [(t, i) for t, i, kind in zip(times_s, piece.events.ids, kinds, strict=True) if kind == v.K_BAR]
        for target in piece.targets_s.tolist():
            before = [(t, i) for t, i in bars if t <= target]
            if len(before) < 4:
                continue  # no tempo to speak of yet
            # The grammar keeps bars near their tempo, so that one of the last whole bars tells the beat.
            beats = [(b - a) / (v.VALUE[i] / 2) for (a, i), (b, _) in pairwise(before)]
            total += 1
            on_beat += any(
                abs((target - before[-1][0]) / beat - round((target - before[-1][0]) / beat)) * beat <= v.STEP_S
                for beat in beats[-3:]
            )
    assert total >= 6
    assert on_beat == total


def test_a_boundary_too_near_the_end_is_not_asked_for() -> None:
    (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(10.0, 5.0, 9.9)], seed=0, hits=EXACT)
    assert piece.boundaries_s.tolist() == [5.0]


def test_a_runaway_is_brought_to_its_end() -> None:
    """A decoder that would rather not let time pass: the piece ends all the same, with few notes more than allowed."""
    endless = np.where(v.KIND == v.K_TIMESHIFT, -30.0, 0.0) - 5.0 * v.SHIFT_STEPS
    (piece,) = compose(Fake(bias=endless), [asked(3.0)], seed=0, top_p=1.0)
    assert piece.events.ids[-1] == v.END
    ons = int((v.KIND[piece.events.ids] == v.K_ON).sum())
    assert 200 < ons <= 200 + 150 * 3


# ---- music longer than the window ----------------------------------------------------------------------------------


def test_a_full_window_goes_on_from_the_latest_events() -> None:
    decoder = Fake(context=128)
    (piece,) = compose(decoder, [asked(30.0, 5.0, 12.0, 21.0)], seed=1)
    ids, velocities = piece.events.ids[1:].tolist(), piece.events.velocities[1:].tolist()
    lanes = [told[2][0] for told in decoder.told]
    assert len(ids) > 300
    assert len(decoder.prefills) > 4
    reached = 1
    for i, (window, heard, told_lanes, _) in enumerate(decoder.prefills):
        kept = window.shape[1] - 3
        assert window[0, :3].tolist() == [VALENCE_SLOT, AROUSAL_SLOT, v.MORE]
        if i:
            # 128 positions were taken, three of them by the beginning: the next event begins a window anew.
            reached += 128 - decoder.prefills[i - 1][0].shape[1] + 1
            assert 32 < kept <= 64
            if kept < 64:
                assert v.KIND[window[0, 3]] == v.K_BAR, "shortened to begin with a bar"
        assert window[0, 3:].tolist() == ids[reached - kept : reached]
        assert heard[0, :4].tolist() == [0, 0, 0, 0]
        assert heard[0, 4:].tolist() == velocities[reached - kept : reached - 1]
        assert np.array_equal(told_lanes[0, 3:], np.stack(lanes[reached - kept : reached]), equal_nan=True)
        assert np.array_equal(told_lanes[0, :3], np.repeat(told_lanes[0, 3:4], 3, axis=0), equal_nan=True)


def test_windows_leave_no_seam_where_the_model_looks_no_further_back() -> None:
    """The fake looks at the latest event only, so every window must give the same piece as one without an end."""
    (whole,) = compose(Fake(), [asked(30.0, 5.0, 12.0, 21.0)], seed=1)
    for context in (64, 128, 301):
        (piece,) = compose(Fake(context), [asked(30.0, 5.0, 12.0, 21.0)], seed=1)
        assert written(piece) == written(whole)


# ---- drawing -------------------------------------------------------------------------------------------------------


def frequencies(logits: np.ndarray, allowed: np.ndarray, recipe: Recipe, n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.bincount([draw(logits, allowed, rng, recipe, recipe.chord_bias) for _ in range(n)], minlength=SIZE) / n


def some_events() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits, what is allowed, and the probabilities of those by their definition."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=SIZE).astype(np.float32)
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[[v.CHORD, v.BAR_BASE + 8, v.SHIFT_BASE + 1, v.SHIFT_BASE + 125]] = True
    allowed[v.ON_BASE[v.PIANO] + 60 : v.ON_BASE[v.PIANO] + 66] = True
    logits[~allowed] += 20  # what is forbidden does not matter, however likely
    p = np.where(allowed, np.exp(logits.astype(np.float64)), 0)
    return logits, allowed, p / p.sum()


def close(found: np.ndarray, expected: np.ndarray, n: int = 4000) -> bool:
    """Within five standard deviations, everywhere."""
    return bool((np.abs(found - expected) <= 5 * np.sqrt(expected * (1 - expected) / n)).all())


def test_draws_follow_the_distribution() -> None:
    logits, allowed, p = some_events()
    assert close(frequencies(logits, allowed, plain_recipe(top_p=1.0, chord_bias=0.0)), p)
    hot = np.where(allowed, p**0.5, 0)
    assert close(
        frequencies(logits, allowed, plain_recipe(temperature=2.0, top_p=1.0, chord_bias=0.0)), hot / hot.sum()
    )


def test_chord_is_drawn_a_tenth_as_often_as_its_logit_says() -> None:
    logits, allowed, p = some_events()
    p = np.where(np.arange(SIZE) == v.CHORD, p / 10, p)
    assert close(frequencies(logits, allowed, plain_recipe(top_p=1.0)), p / p.sum())


def test_top_p_keeps_the_smallest_set_of_each_kind() -> None:
    allowed = v.KIND == v.K_ON
    logits = np.full(SIZE, -20.0, dtype=np.float32)
    best = [int(v.ON_BASE[v.PIANO]) + pitch for pitch in (60, 64, 67, 72)]
    shares = [0.5, 0.3, 0.15, 0.05]
    logits[best] = np.log(shares)
    for top_p, kept in ((0.4, 1), (0.79, 2), (0.81, 3), (0.949, 3), (0.96, 4)):
        found = frequencies(logits, allowed, plain_recipe(top_p=top_p), 1000)
        assert np.flatnonzero(found).tolist() == best[:kept]
        expected = np.zeros(SIZE)
        expected[best[:kept]] = np.array(shares[:kept]) / sum(shares[:kept])
        assert close(found, expected, 1000)


def test_top_p_keeps_rare_kinds() -> None:
    """A BAR that is never likely at any one moment must come all the same, now and then."""
    logits, allowed, p = some_events()
    logits[v.BAR_BASE + 8] -= 1.0
    p[v.BAR_BASE + 8] *= np.exp(-1.0)
    p /= p.sum()
    assert p[v.BAR_BASE + 8] < 0.05
    found = frequencies(logits, allowed, plain_recipe(top_p=0.3, chord_bias=0.0))
    for kind in np.unique(v.KIND[allowed]):
        assert close(found[v.KIND == kind].sum(), p[v.KIND == kind].sum())


def test_a_kind_may_have_its_own_temperature() -> None:
    """It decides within the kind, and leaves alone how often the kind comes."""
    logits, allowed, p = some_events()
    cold = plain_recipe(top_p=1.0, chord_bias=0.0, by_kind={"ON": (0.001, 1.0)})
    found = frequencies(logits, allowed, cold)
    is_on = allowed & (v.KIND == v.K_ON)
    likeliest = np.flatnonzero(is_on)[np.argmax(p[is_on])]
    expected = np.where(is_on, 0, p)
    expected[likeliest] = p[is_on].sum()
    assert close(found, expected)
    narrow = frequencies(logits, allowed, plain_recipe(top_p=1.0, chord_bias=0.0, by_kind={"ON": (1.0, 0.01)}))
    assert close(narrow, expected)


def test_kinds_temperatures_reach_the_piece() -> None:
    """TIMESHIFT at its coldest: always the likeliest of the allowed ones."""
    always_short = 5.0 * (np.arange(SIZE) == v.SHIFT_BASE + 25)
    (piece,) = compose(Fake(bias=always_short), [asked(6.0)], seed=0, by_kind={"TIMESHIFT": (0.01, 1.0)})
    shifts = v.SHIFT_STEPS[piece.events.ids]
    assert (shifts[shifts > 0] == 25).mean() > 0.9


def test_the_only_event_is_taken_without_chance() -> None:
    allowed = np.zeros(SIZE, dtype=bool)
    allowed[v.END] = True
    rng = np.random.default_rng(0)
    assert draw(np.zeros(SIZE, dtype=np.float32), allowed, rng, plain_recipe(), plain_recipe().chord_bias) == v.END
    assert rng.random() == np.random.default_rng(0).random()


def test_extreme_logits_are_drawn_from() -> None:
    logits = np.full(SIZE, -1e30, dtype=np.float32)
    allowed = v.KIND == v.K_ON
    drawn = draw(logits, allowed, np.random.default_rng(0), plain_recipe(), plain_recipe().chord_bias)
    assert allowed[drawn]
    logits[v.ON_BASE[v.BASS] + 40] = 1e30
    assert (
        draw(logits, allowed, np.random.default_rng(0), plain_recipe(), plain_recipe().chord_bias)
        == v.ON_BASE[v.BASS] + 40
    )


def test_a_piece_needs_an_end() -> None:
    with pytest.raises(InputError, match="a piece needs an end; give the video's duration, or --duration"):
        compose(Fake(), [Conditions()], seed=0)


# ---- real models ---------------------------------------------------------------------------------------------------


Opened = Callable[[str], Any]


@pytest.fixture(scope="module")
def opened(model: Path) -> Opened:
    return lambda backend: open_decoder(model, backend=backend, threads=1)


def test_onnx_and_torch_give_the_same_notes(opened: Opened) -> None:
    """Over several windows of 48 positions, and in a batch."""
    films = [asked(9.0, 2.5), asked(4.0)]
    onnx, torch = (compose(opened(backend), films, seed=3) for backend in ("onnx", "torch"))
    assert sum(len(piece.events) for piece in onnx) > 120
    for one, other in zip(onnx, torch, strict=True):
        assert written(one) == written(other)


def test_onnx_and_torch_are_guided_alike(opened: Opened) -> None:
    films, guided = [JOY, asked(3.0)], {"mood_strength": 2.5}
    onnx, torch = (compose(opened(name), films, seed=3, **guided) for name in ("onnx", "torch"))
    assert [written(piece) for piece in onnx] == [written(piece) for piece in torch]
    unguided = compose(opened("onnx"), films, seed=3)
    assert written(unguided[0]) != written(onnx[0])
    assert written(unguided[1]) == written(onnx[1])


def test_a_real_decoder_gives_the_same_piece_again(opened: Opened) -> None:
    decoder = opened("onnx")
    first, again, other = (compose(decoder, [asked(4.0, 2.0)], seed=seed)[0] for seed in (0, 0, 1))
    assert written(first) == written(again)
    assert written(first) != written(other)


def test_the_tempo_asked_for_is_the_nearest_on_the_grid() -> None:
    assert beat_of(117.1875) == 64
    assert beat_of(120) == 64
    assert beat_of(60) == 124
    for wrong in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="is not above 0"):
            beat_of(wrong)
    (piece,) = compose(Fake(), [asked(12.0)], seed=2, tempo_qpm=120)
    bars = events.times_steps(piece.events.ids)[v.KIND[piece.events.ids] == v.K_BAR]
    half = v.VALUE[piece.events.ids][v.KIND[piece.events.ids] == v.K_BAR]
    assert len(bars) > 2
    assert np.diff(bars).tolist() == (half[:-1] * 32).tolist()


def test_loose_ends_may_be_made_rare() -> None:
    def share(bias: float) -> float:
        choices: dict[str, Any] = {"loose_bias": bias}
        (piece,) = compose(Fake(), [asked(20.0)], seed=4, **choices, tempo_qpm=120, grid="sixteenths")
        steps, kinds = events.times_steps(piece.events.ids), v.KIND[piece.events.ids]
        return float((steps[kinds == v.K_OFF] % 16 != 0).mean())

    assert share(0.0) > share(-3.0) + 0.2
    assert share(-50.0) < 0.05


@pytest.mark.parametrize("land", [BEND, EXACT, FREE])
def test_on_the_grid_notes_begin_on_sixteenths_and_end_anywhere(land: Any) -> None:
    off_grid = n_ends = 0
    for seed in range(3):
        (piece,) = compose(Fake(), [FILM], seed=seed, tempo_qpm=120, grid="sixteenths", finish="on", hits=land)
        steps, kinds = events.times_steps(piece.events.ids), v.KIND[piece.events.ids]
        bars = steps[kinds == v.K_BAR]
        behind = steps - bars[np.maximum(np.searchsorted(bars, steps, side="right") - 1, 0)]
        on_hit = np.isin(steps, np.rint(piece.targets_s / v.STEP_S))
        assert (behind[(kinds == v.K_ON) & ~on_hit] % 16 == 0).all()
        ends = behind[(kinds == v.K_OFF) & (steps < steps[-1])]
        off_grid, n_ends = off_grid + (ends % 16 != 0).sum(), n_ends + len(ends)
        assert len(piece.boundaries_s) == 2 or land == FREE
    assert off_grid > n_ends / 5


@pytest.mark.parametrize(("arousal", "most"), [(None, 44.0), (-0.9, 15.5), (0.0, 33.0)])
def test_no_more_notes_than_real_songs_have(arousal: float | None, most: float) -> None:
    """A model that wants nothing but notes is held to what songs of that arousal have; without a limit it is not."""
    greedy = np.where(v.KIND == v.K_ON, 9.0, np.where(v.KIND == v.K_OFF, 4.0, 0.0))
    for limit, bound in ((1.0, most), (0.5, most / 2), (0.0, None)):
        (piece,) = compose(Fake(bias=greedy), [asked(12.0, arousal=arousal)], density_limit=limit)
        on_s = clock_s(piece)[v.KIND[piece.events.ids] == v.K_ON]
        densest = max(((on_s > t - 4) & (on_s <= t)).sum() / 4 for t in np.unique(on_s))
        if bound is None:
            assert densest > 1.1 * most
        else:
            # A chord that must come may pass the limit by its notes.
            assert 0.9 * bound < densest <= bound + 2
