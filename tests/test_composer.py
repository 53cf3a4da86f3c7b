"""Composing: seeds and batches, landing, windows, real models."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emsync import composer
from emsync import vocabulary as v
from emsync.composer import beat_of
from emsync.conditions import Conditions
from emsync.decoder import AROUSAL_SLOT, VALENCE_SLOT, open_decoder
from emsync.errors import InputError
from emsync.repetition import ALONE_S, FULL, VARIED_S, Density, Monotony
from emsync.tokenizer import events
from tests.composing import BEND, EXACT, FILM, FREE, JOY, asked, clock_s, compose, written
from tests.fakes import MOST, SIZE, Fake


def test_a_seed_gives_the_same_piece_and_another_seed_another() -> None:
    (first,), (again,), (other,) = (compose(Fake(), [FILM], seed=seed) for seed in (3, 3, 4))
    assert written(first) == written(again)
    assert written(first) != written(other)
    assert first.events.ids[:2].tolist() == [v.MORE, v.START]
    assert first.events.ids[-1] == v.END
    assert len(first.events) > 100


@pytest.mark.slow
def test_a_piece_does_not_depend_on_the_others() -> None:
    """Nor on how long they go on: its neighbour in one batch ends at 3 s, in the other at 10 s."""
    film = asked(8.0, 4.003)
    (alone,) = compose(Fake(), [film], seed=1, hits=EXACT)
    assert len(alone.events) > 140
    for context in (MOST, 128):
        batches = [compose(Fake(context), [film, asked(end)], seed=1, hits=EXACT) for end in (3.0, 10.0)]
        assert written(batches[0][0]) == written(batches[1][0])
        assert written(batches[0][1]) != written(batches[1][1])
        assert context != MOST or written(batches[0][0]) == written(alone)


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
        ids, previous_velocity, lanes, mood = decoder.prefills[0]
        assert ids.tolist() == [[VALENCE_SLOT, AROUSAL_SLOT, event, v.START]]
        assert not previous_velocity.any()
        assert (lanes[:, :, 0] == 8.0).all()
        assert np.isnan(mood).all()


def test_mood_is_passed_on() -> None:
    decoder = Fake()
    mood = asked(2.0, piece_valence=0.5, piece_arousal=-0.25, valence=-0.5)
    compose(decoder, [mood, asked(2.0)], seed=0)
    assert decoder.prefills[0][3][0].tolist() == [0.5, -0.25]
    assert np.isnan(decoder.prefills[0][3][1]).all()
    assert all(lanes[0, 1] == -0.5 for _, _, lanes in decoder.inputs)


def test_progress_goes_from_nothing_to_all() -> None:
    shares: list[float] = []
    compose(Fake(), [FILM, asked(3.0)], seed=0, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert 0 <= shares[0] < 0.5
    assert len(shares) > 5


def test_a_boundary_that_was_passed_is_not_asked_for_again() -> None:
    decoder = Fake(bias=HATING_CHORDS)
    (piece,) = compose(decoder, [asked(16.0, 3.3, 14.0)], seed=1, hits=FREE, tempo_qpm=120.0, grid="sixteenths")
    assert not len(piece.boundaries_s)
    times_s = clock_s(piece)[1:]
    offsets = np.array([float(lanes[0, 0]) for _, _, lanes in decoder.inputs])
    between = (times_s > 3.5) & (times_s < 6.0)
    assert between.any()
    assert (offsets[between] == 8.0).all()


@pytest.mark.slow
def test_finished_pieces_are_read_no_further_and_others_go_on_as_they_would(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = [asked(4.0), asked(12.0, 6.0), asked(5.0), asked(9.0, 4.5)]
    decoder = Fake()
    narrowed = compose(decoder, films, seed=7)
    assert [len(rows) for _, rows in decoder.selected] == [3, 2, 1]
    assert sum(len(ids) for ids, _, _ in decoder.inputs) < 1.2 * sum(len(piece.events.ids) for piece in narrowed)
    monkeypatch.setattr(composer, "KEPT_ROWS", 0.0)
    decoder = Fake()
    whole = compose(decoder, films, seed=7)
    assert not decoder.selected
    for one, other in zip(narrowed, whole, strict=True):
        assert one.events.ids.tolist() == other.events.ids.tolist()
        assert one.events.velocities.tolist() == other.events.velocities.tolist()


HATING_CHORDS = np.where(np.arange(SIZE) == v.CHORD, -50.0, 0.0)


def test_exact_chords_are_on_the_grid_beside_each_boundary() -> None:
    boundaries = [4.003, 8.51, 13.0]
    (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(20.0, *boundaries)], seed=0, hits=EXACT)
    assert piece.boundaries_s.tolist() == boundaries
    assert np.abs(piece.targets_s - boundaries).max() <= v.STEP_S / 2 + 1e-9
    assert piece.chords_s.tolist() == piece.targets_s.tolist()


def test_free_chords_are_nowhere_if_the_model_writes_none() -> None:
    (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(20.0, 4.0, 8.5)], seed=0, hits=FREE)
    assert piece.boundaries_s.tolist() == piece.targets_s.tolist() == piece.chords_s.tolist() == []


def test_free_chords_near_a_boundary_meet_it() -> None:
    likes = np.where(np.arange(SIZE) == v.CHORD, 9.0, 0.0)
    (piece,) = compose(Fake(bias=likes), [asked(20.0, 4.0, 8.5)], seed=0, hits=FREE)
    assert piece.boundaries_s.tolist() == [4.0, 8.5]
    assert (np.abs(piece.targets_s - piece.boundaries_s) < 1.0).all()
    assert set(piece.targets_s.tolist()) <= set(piece.chords_s.tolist())


@pytest.mark.slow
def test_bent_chords_are_on_beats() -> None:
    boundaries = [4.003, 8.51, 13.0]
    on_beat = total = 0
    for seed in range(4):
        (piece,) = compose(Fake(bias=HATING_CHORDS), [asked(16.0, *boundaries)], seed=seed, hits=BEND)
        assert piece.boundaries_s.tolist() == boundaries
        assert piece.chords_s.tolist() == piece.targets_s.tolist()
        assert np.abs(piece.targets_s - boundaries).max() < 1.0
        times_s, kinds = clock_s(piece), v.KIND[piece.events.ids]
        bars = [(t, i) for t, i, kind in zip(times_s, piece.events.ids, kinds, strict=True) if kind == v.K_BAR]
        for target in piece.targets_s.tolist():
            before = [(t, i) for t, i in bars if t <= target]
            if len(before) < 4:
                continue  # no tempo to speak of yet
            # The grammar keeps bars near their tempo, so that one of the last whole bars gives the beat.
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


@pytest.mark.slow
def test_a_full_window_goes_on_from_the_latest_events() -> None:
    decoder = Fake(context=128)
    (piece,) = compose(decoder, [asked(30.0, 5.0, 12.0, 21.0)], seed=1)
    ids, velocities = piece.events.ids[1:].tolist(), piece.events.velocities[1:].tolist()
    lanes = [inputs[2][0] for inputs in decoder.inputs]
    assert len(ids) > 300
    assert len(decoder.prefills) > 4
    reached = 1
    for i, (window, previous_velocity, window_lanes, _) in enumerate(decoder.prefills):
        kept = window.shape[1] - 3
        assert window[0, :3].tolist() == [VALENCE_SLOT, AROUSAL_SLOT, v.MORE]
        if i:
            # 128 positions were taken, three of them by the beginning: the next event begins a new window.
            reached += 128 - decoder.prefills[i - 1][0].shape[1] + 1
            assert 32 < kept <= 64
            if kept < 64:
                assert v.KIND[window[0, 3]] == v.K_BAR, "shortened to begin with a bar"
        assert window[0, 3:].tolist() == ids[reached - kept : reached]
        assert previous_velocity[0, :4].tolist() == [0, 0, 0, 0]
        assert previous_velocity[0, 4:].tolist() == velocities[reached - kept : reached - 1]
        assert np.array_equal(window_lanes[0, 3:], np.stack(lanes[reached - kept : reached]), equal_nan=True)
        assert np.array_equal(window_lanes[0, :3], np.repeat(window_lanes[0, 3:4], 3, axis=0), equal_nan=True)


@pytest.mark.slow
def test_windows_leave_no_seam_where_the_model_looks_no_further_back() -> None:
    """The fake looks at the latest event only, so every window must give the same piece as one without an end."""
    (whole,) = compose(Fake(), [asked(16.0, 5.0, 12.0)], seed=1)
    assert len(whole.events) > 301
    for context in (64, 128, 301):
        (piece,) = compose(Fake(context), [asked(16.0, 5.0, 12.0)], seed=1)
        assert written(piece) == written(whole)


def test_a_piece_needs_an_end() -> None:
    with pytest.raises(InputError, match="a piece needs an end; give the video's duration, or --duration"):
        compose(Fake(), [Conditions()], seed=0)


Opened = Callable[[str], Any]


@pytest.fixture(scope="module")
def opened(model: Path) -> Opened:
    return lambda backend: open_decoder(model, backend=backend, threads=1)


def test_onnx_and_torch_give_the_same_notes(opened: Opened) -> None:
    """Over several windows of 48 positions, and in a batch."""
    films = [asked(7.0, 2.5), asked(3.0)]
    onnx, torch = (compose(opened(backend), films, seed=3) for backend in ("onnx", "torch"))
    assert sum(len(piece.events) for piece in onnx) > 120
    for one, other in zip(onnx, torch, strict=True):
        assert written(one) == written(other)


@pytest.mark.slow
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
    """A model that wants nothing but notes is held to what songs of that arousal have."""
    for limit in (1.0, 0.5):
        # A chord that must come may pass the limit by its notes.
        assert 0.8 * limit * most < densest(arousal, limit) <= FULL * limit * most + 2


def test_without_a_limit_there_are_more() -> None:
    assert densest(None, 0.0) > FULL * 44.0


def densest(arousal: float | None, limit: float) -> float:
    """Notes a second in the densest four seconds of what a model plays that wants nothing but notes."""
    greedy = np.where(v.KIND == v.K_ON, 9.0, np.where(v.KIND == v.K_OFF, 4.0, 0.0))
    (piece,) = compose(Fake(bias=greedy), [asked(9.0 if limit else 12.0, arousal=arousal)], density_limit=limit)
    on_s = clock_s(piece)[v.KIND[piece.events.ids] == v.K_ON]
    return float(max(((on_s > t - 4) & (on_s <= t)).sum() / 4 for t in np.unique(on_s)))


def test_drums_do_not_play_alone_for_long() -> None:
    """A model that wants drums alone is brought to play something else, and sooner with a larger bias."""
    pitched = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
    drummer = np.where(pitched, -9.0, np.where(v.KIND == v.K_TIMESHIFT, 1.0, 0.0))
    longest = []
    for bias in (0.0, 2.0, 20.0):
        (piece,) = compose(Fake(bias=drummer), [asked(24.0)], hits=FREE, alone_bias=bias)
        ids = piece.events.ids
        sounding = np.cumsum(pitched[ids].astype(int) - (v.KIND[ids] == v.K_OFF))
        silent_s = np.where(sounding > 0, 0.0, v.SHIFT_STEPS[np.append(ids[1:], v.PAD)] * v.STEP_S)
        runs = np.split(silent_s, np.flatnonzero(sounding > 0))
        longest.append(max(float(run.sum()) for run in runs))
    assert longest[0] > longest[1] > longest[2]
    assert longest[2] < ALONE_S + 2


def test_a_piece_is_as_dense_as_its_arousal_asks_for() -> None:
    """A model that would rather wait plays as many notes as nine of ten real songs of its arousal."""
    lazy = np.where(v.KIND == v.K_TIMESHIFT, 2.0, np.where(v.KIND == v.K_ON, -1.0, 0.0))
    found = []
    for floor, arousal in ((0.0, 0.7), (1.0, -0.9), (1.0, 0.7)):
        film = asked(16.0, arousal=arousal, piece_arousal=arousal)
        (piece,) = compose(Fake(bias=lazy), [film], hits=FREE, density_floor=floor)
        found.append(np.count_nonzero(v.KIND[piece.events.ids] == v.K_ON) / 16)
    asleep, calm, excited = found
    assert excited > 1.5 * max(asleep, calm)
    density = Density(1.0, 1.0)
    assert density.lack(round(0.9 / v.STEP_S), 0.7) == 0  # a piece may take a moment to begin
    step = round(8 / v.STEP_S)
    assert density.lack(step, 0.7) == 1
    for _ in range(round(18.8 * 2)):
        density.strike(step - 1)
    assert density.lack(step, 0.7) == pytest.approx(0.5, abs=0.01)
    assert density.lack(step, -0.9) == 0 == density.lack(step, math.nan)
    assert density.lack(2 * step, math.nan) == 1
    assert Density(1.0).lack(step, 0.7) == 0


def test_drums_do_not_count_a_calm_piece_in() -> None:
    """A drummer who wants to begin alone waits for the first pitched note of a calm piece, and is free after it."""
    pitched = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
    drums = (v.KIND == v.K_ON) & (v.FAMILY == v.DRUMS)
    drummer = np.where(pitched, -3.0, np.where(drums, 3.0, 0.0))
    for count_in, arousal, waits in ((False, -0.5, True), (True, -0.5, False), (False, 0.5, False)):
        film = asked(12.0, arousal=arousal, piece_arousal=arousal)
        (piece,) = compose(Fake(bias=drummer), [film], hits=FREE, count_in=count_in)
        first, beat = (int(np.flatnonzero(which[piece.events.ids])[0]) for which in (pitched, drums))
        assert (first < beat) == waits
    film = asked(12.0, arousal=-0.5, piece_arousal=-0.5)
    (piece,) = compose(Fake(), [film], hits=FREE, count_in=False, describe="drums")
    assert drums[piece.events.ids[: np.flatnonzero(v.KIND[piece.events.ids] == v.K_ON)[0] + 1]].any()


def test_no_piece_stays_on_a_note_or_two() -> None:
    """A model that wants one pitch class alone is brought to play others, and sooner with a larger bias."""
    pitched = (v.KIND == v.K_ON) & (v.FAMILY != v.DRUMS)
    stubborn = np.where(pitched & (v.VALUE % 12 != 0), -9.0, np.where(v.KIND == v.K_TIMESHIFT, 2.0, 0.0))
    others = []
    for bias in (0.0, 2.0, 20.0):
        (piece,) = compose(Fake(bias=stubborn), [asked(40.0)], hits=FREE, monotony_bias=bias)
        ids = piece.events.ids
        on_s = clock_s(piece)[pitched[ids] & (v.VALUE[ids] % 12 != 0)]
        others.append(float(np.diff([0.0, *on_s[on_s < 36], 36.0]).max()))
    assert others[0] > others[1] > others[2], "the longest wait for another pitch class"
    assert others[2] < 3 * VARIED_S


def test_monotony_is_what_was_heard_lately() -> None:
    c, e, g, b, kick = (v.ID_OF[f"ON_{name}"] for name in ("PIANO_60", "PIANO_64", "BASS_43", "STRINGS_71", "DRUMS_36"))
    monotony, step = Monotony(2.0), 0

    def after(seconds: float, *sounding: int) -> np.ndarray | None:
        nonlocal step
        for _ in range(round(seconds / 0.08)):
            step += 10
            found = monotony.bias(step, [*sounding, kick])
        return found

    assert after(1.5, c) is None, "a piece may begin with a note"
    assert after(8.0, c, e, g) is None, "a triad is varied"
    assert after(8.0, c, e, g, b) is None
    grown = after(8.0, c)
    assert grown is not None
    assert 2 * 3 < grown[e] < 2 * 8, "two for each second, after a while"
    assert grown[e] == grown[g] == grown[b]
    assert grown[c] == grown[kick] == grown[v.ID_OF["OFF_PIANO_60"]] == 0
    less = after(4.0, c, e, g, b)
    assert less is not None, "it does not end at once"
    assert less.max() < grown[e]
    assert after(10.0, c, e, g, b) is None, "it falls again"
    for _ in range(6):  # bars of one note for nine tenths: three classes are heard, and one outweighs them
        after(0.24, c, e, g)
        uneven = after(2.0, c)
    assert uneven is not None
    assert uneven[e] > 0, "hardly heard"
    step += 1000  # a part that is recomposed: what came before was not seen
    assert after(0.8, c) is None
    assert Monotony(0.0).bias(1000, [c]) is None


def test_notes_become_less_likely_before_it_is_full() -> None:
    density = Density(1.0)
    for step in range(0, 400, 4):
        density.strike(step)
    fill = density.fill(400, 0.0)
    assert fill == pytest.approx(100 / 33.0 / 4)  # 100 notes in four seconds, of 33 a second
    assert density.fill(400, math.nan) == pytest.approx(100 / 44.0 / 4)
    assert density.fill(700, 0.0) == pytest.approx(49 / 33.0 / 4)
    assert Density.bias(fill) == pytest.approx(-10 * (fill - 0.7))
    assert Density.bias(0.7) == 0
    assert Density(0.0).fill(400, 0.0) == 0
