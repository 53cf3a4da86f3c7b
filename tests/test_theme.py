"""Melodies: read from MIDI files, found in scores, and a form with a theme in composing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsync import midi, soundtrack
from emsync import vocabulary as v
from emsync.composer import compose
from emsync.conditions import Conditions
from emsync.errors import InputError
from emsync.form import plan_form
from emsync.guide import LONGEST_BARS
from emsync.recipe import Recipe
from emsync.score import Bars, Instrument, Score, TempoMap
from emsync.sections import Plan
from emsync.theme import MOST_THEME_BARS, Theme, find_returns
from emsync.tokenizer.events import decode
from tests.fakes import Fake

TUNE = ((0, 72), (1, 74), (1.5, 76), (2, 79), (3, 77), (4, 76), (6, 74))


def tune(starts_quarters: tuple[float, ...] = (0,), *, up: int = 0, qpm: float = 120.0, bars: int = 8) -> Score:
    """A flute that plays the tune at these places, over a low piano and drums."""
    flute, piano, drums = Instrument("Flute", 73), Instrument("Piano", 0), Instrument("Kit", 0, True)
    notes = [(0, 72 + p - 72 + up, q + start, 0.9) for start in starts_quarters for q, p in TUNE]
    notes += [(1, 48, float(q), 1.0) for q in range(4 * bars)]
    notes += [(2, 36, float(q), 0.2) for q in range(4 * bars)]
    which, pitch, on, length = (np.array(column) for column in zip(*notes, strict=True))
    s = 60 / qpm
    return Score(
        (flute, piano, drums), which.astype(np.int64), pitch.astype(np.int64), np.full(len(notes), 80), on * s,
        (on + length) * s, TempoMap(np.zeros(1), np.array([qpm])),
        Bars(np.arange(bars) * 4 * s, np.full(bars, 4), np.full(bars, 4)),
    )  # fmt: skip


def test_the_melody_of_a_file(tmp_path: Path) -> None:
    midi.write(tune((4,), qpm=96.0), tmp_path / "tune.mid")
    theme = Theme.read(tmp_path / "tune.mid")
    assert theme.pitch.tolist() == [p for _, p in TUNE]
    np.testing.assert_allclose(theme.onset_quarters, [q for q, _ in TUNE], atol=0.02)
    assert (theme.family, theme.bar_quarters, theme.n_bars, theme.name) == (v.STRINGS, 4.0, 2, "tune.mid")
    again = Theme.from_dict(theme.to_dict())
    assert again.to_dict() == theme.to_dict()


@pytest.mark.parametrize(
    "change",
    [
        {"pitch": [1, 2]}, {"pitch": [200] * 7}, {"onset_quarters": [float("nan")] * 7}, {"family": "flutes"},
        {"bar_quarters": 0}, {"length_quarters": [0.0] * 7}, {"onset_quarters": [6, 5, 4, 3, 2, 1, 0]},
        {"onset_quarters": [0, 1, 2, 3, 4, 5, 900]},
    ],
)  # fmt: skip
def test_a_theme_garbled_in_a_record(change: dict[str, object]) -> None:
    good = Theme.of_score(reduced(tune())).to_dict()
    with pytest.raises((ValueError, KeyError, TypeError)):
        Theme.from_dict(good | change)


def reduced(score: Score) -> Score:
    from emsync.tokenizer import families

    return families.reduce(score).score


def test_files_that_are_no_theme(tmp_path: Path) -> None:
    drums = tune().select(tune().instrument == 2)
    midi.write(drums, tmp_path / "drums.mid")
    with pytest.raises(InputError, match=r"drums\.mid has no pitched notes; a theme needs a melody"):
        Theme.read(tmp_path / "drums.mid")
    midi.write(tune(tuple(range(0, 800, 4)), bars=200), tmp_path / "long.mid")
    with pytest.raises(InputError, match=f"has 20[01] bars, more than {MOST_THEME_BARS}; give its first bars only"):
        Theme.read(tmp_path / "long.mid")


def test_returns_are_found_where_they_are() -> None:
    theme = Theme.of_score(reduced(tune()))
    score = reduced(tune((4, 20), up=5))
    assert [(r.time_s, r.semitones, r.share) for r in find_returns(score, theme)] == [(2.0, 5, 1.0), (10.0, 5, 1.0)]
    assert find_returns(score, theme, semitones=(0,)) == []
    # The accompaniment alone is not the melody, nor is a score without bars.
    rest = score.select(score.instrument != v.STRINGS)
    assert find_returns(rest, theme) == []


def test_a_return_in_the_other_mode_is_found() -> None:
    theme = Theme.of_score(reduced(tune()))
    assert theme.key is not None
    score = reduced(tune())
    darker = replace(score, pitch=theme.key.in_mode(score.pitch, minor=not theme.key.is_minor))
    assert [(r.time_s, r.semitones, r.in_other_mode) for r in find_returns(darker, theme)] == [(0.0, 0, True)]


def made(form: str, *, theme: Theme | None = None, strength: float = 1.0, seed: int = 0) -> Score:
    """A piece of 32 s of random music with a form, in bars of four quarters."""
    recipe = Recipe(
        seed=seed, form=form, theme_strength=strength, tempo_qpm=120.0, finish="off", hits="free", mode="off", balance=0
    )  # fmt: skip
    plan = Plan(plan_form(form, 32.0), theme)
    bias = np.where(v.KIND == v.K_BAR, -20.0, 0.0)
    bias[v.ID_OF["BAR_4"]] = 20.0
    (piece,) = compose(Fake(bias=bias), [Conditions(end_s=32.0)], recipe, plans=[plan])
    return decode(piece.events.ids, piece.events.velocities)


def shared(score: Score, first_s: float, second_s: float, length_s: float = 8.0, up: int = 0) -> float:
    """The share of the notes of one stretch that another has, too."""

    def notes(start_s: float) -> set[tuple[int, int, int]]:
        inside = (score.start_s >= start_s - 1e-3) & (score.start_s < start_s + length_s)
        drums = score.instrument[inside] == v.DRUMS
        steps = np.rint((score.start_s[inside] - start_s) / 0.01)
        moved = score.pitch[inside] + (up if start_s == first_s else 0) * ~drums
        return set(zip(score.instrument[inside].tolist(), moved.tolist(), steps.tolist(), strict=True))

    a, b = notes(first_s), notes(second_s)
    return len(a & b) / max(len(a), 1)


def starts(score: Score, form: str) -> list[float]:
    bars = score.bars.start_s
    return [float(bars[np.argmin(np.abs(bars - s.start_s))]) for s in plan_form(form, 32.0)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_section_returns(seed: int) -> None:
    """Random music never repeats itself by chance; a return does, and only as strongly as asked."""
    for form, up in (("ABA", 0), ("ABA+3", 3)):
        score = made(form, seed=seed)
        first, other, again = starts(score, form)
        assert shared(score, first, again, up=up) > 0.5
        assert shared(score, first, other) < 0.3
    weak = made("ABA", seed=seed, strength=0.0)
    assert shared(weak, first, starts(weak, "ABA")[2]) < 0.3


def test_a_theme_is_stated_note_for_note() -> None:
    """Whatever the other families play, and wherever notes may end: random music misses none of its notes, or one."""
    theme = Theme.of_score(reduced(tune()))
    found = [find_returns(made("none", theme=theme, seed=seed), theme, least=0.5)[0].share for seed in range(4)]
    assert min(found) > 0.8
    assert sum(share == 1 for share in found) >= 3


@pytest.mark.slow
def test_a_theme_returns_where_its_family_plays_too_many_notes() -> None:
    """One of the others ends for the theme's next note; with random music one return in six lost its beginning."""
    theme = Theme.of_score(reduced(tune()))
    for seed in range(16, 28):
        score = made("ABA", theme=theme, seed=seed)
        again = starts(score, "ABA")[2]
        found = [r.share for r in find_returns(score, theme, least=0.8) if abs(r.time_s - again) < 0.1]
        assert found, seed


def test_a_theme_is_stated_and_returns() -> None:
    theme = Theme.of_score(reduced(tune()))
    score = made("ABA", theme=theme)
    first, other, again = starts(score, "ABA")
    found = [(r.time_s, r.semitones) for r in find_returns(score, theme, least=0.8)]
    assert (first, 0) in found
    assert (again, 0) in found
    assert not any(other <= time_s < again - 4 for time_s, _ in found)
    # Without a form it is stated once.
    once = made("none", theme=theme)
    assert [r.time_s for r in find_returns(once, theme, least=0.8)] == [0.0]


def test_a_form_reaches_the_file_and_its_record(tmp_path: Path) -> None:
    decoder = Fake()
    track = soundtrack.compose(
        decoder, 32.0, [9.0, 17.0, 25.0], Recipe(form="A,B,A'", tempo_qpm=120.0),
        theme=Theme.of_score(reduced(tune())),
    )  # fmt: skip
    labels = [m.text for m in track.score.markers if not m.text.startswith("Cut")]
    assert labels == ["A", "B", "A'"]
    assert [str(s.label) for s in track.sections] == labels
    times = [m.time_s for m in track.score.markers]
    assert times == sorted(times)
    at = [m.time_s for m in track.score.markers if m.text in labels]
    assert all(min(abs(track.score.bars.start_s - t)) < 1e-6 for t in at)


def test_a_theme_needs_a_tempo() -> None:
    recipe = Recipe(grid="free", finish="off")
    with pytest.raises(InputError, match="a theme needs a tempo; give --tempo, or a --grid other than free"):
        compose(Fake(), [Conditions(end_s=8.0)], recipe, plans=[Plan((), Theme.of_score(reduced(tune())))])


@pytest.mark.slow
def test_pieces_of_many_forms_run_no_loop() -> None:
    """Even note for note, no return is longer than its passage, and most bars of a piece are new."""
    bias = np.where(v.KIND == v.K_BAR, -20.0, 0.0)
    bias[v.ID_OF["BAR_4"]] = 20.0
    recipe = Recipe(
        form="auto",
        theme_strength=1.0,
        tempo_qpm=120.0,
        finish="off",
        hits="free",
        density_limit=0.0,
        density_floor=0.0,
        pace=0.0,
    )
    cuts_s = [np.arange(begin_s, 24.0, every_s) for begin_s in range(3, 10) for every_s in range(3, 8)]
    plans = [Plan(plan_form("auto", 26.0, cuts_s=each)) for each in cuts_s]
    pieces = compose(Fake(bias=bias), [Conditions(end_s=26.0)] * len(plans), recipe, plans=plans)
    assert all(len(plan.sections) > 1 for plan in plans)
    copied = []
    for piece in pieces:
        ids = piece.events.ids
        bars = [tuple(bar.tolist()) for bar in np.split(ids, np.flatnonzero(v.KIND[ids] == v.K_BAR))[1:]]
        runs = [0]
        for i, bar in enumerate(bars):
            runs.append(runs[-1] + 1 if bar in bars[:i] else 0)
        assert max(runs) <= LONGEST_BARS
        copied.append(sum(run > 0 for run in runs) / len(bars))
    assert max(copied) < 0.7
    assert float(np.mean(copied)) > 0.05  # there are returns
