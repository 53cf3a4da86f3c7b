"""Landing: pairs against a maximum matching, chords put by hand, cut lists that are what they say, and refusals."""

from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from emsync import midi
from emsync import vocabulary as v
from emsync.composer import Piece
from emsync.errors import InputError, VideoError
from emsync.score import Bars, Score, TempoMap
from emsync.tokenizer.events import Events
from emsync.tokenizer.families import FAMILY_INSTRUMENTS
from emsync.training.evaluation import landing
from emsync.training.evaluation.landing import (
    HITS,
    Aim,
    Composed,
    CutList,
    Tally,
    compose_all,
    film_list,
    matched,
    measure,
    random_lists,
)
from tests.fakes import Fake, plain_recipe

times = st.lists(st.integers(0, 60), max_size=7, unique=True).map(lambda x: [i / 10 for i in sorted(x)])


def most_pairs(a: list[float], b: list[float], window_s: float) -> int:
    """The size of a maximum matching, by augmenting paths."""
    partner: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j, other in enumerate(b):
            if abs(a[i] - other) <= window_s + 1e-9 and j not in seen:
                seen.add(j)
                if j not in partner or place(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(a)))


@given(times, times, st.sampled_from([0.0, 0.1, 0.35, 1.0, 2.0]))
def test_as_many_pairs_as_can_be(a: list[float], b: list[float], window_s: float) -> None:
    assert matched(a, b, window_s) == most_pairs(a, b, window_s) == matched(b, a, window_s)


def test_a_window_includes_its_edge() -> None:
    assert matched([5.0], [5 + 1 / 30], 1 / 30) == 1
    assert matched([5.0], [5.034], 1 / 30) == 0
    # One chord cannot meet two cuts.
    assert matched([5.0, 5.5], [5.2], 1.0) == 1


def test_shares() -> None:
    tally = Tally(cuts=4, chords=6, pairs=3)
    assert (tally.recall, tally.precision, tally.iou) == (0.75, 0.5, 3 / 7)
    assert tally + Tally(1, 1, 1) == Tally(5, 7, 4)
    nothing = Tally()
    assert all(math.isnan(x) for x in (nothing.recall, nothing.precision, nothing.iou))
    assert nothing.to_dict()["iou"] is None


def test_random_lists_are_what_they_say() -> None:
    lists = random_lists(40, seed=3)
    assert len({one.name for one in lists}) == 40
    for one in lists:
        assert 30 <= one.duration_s <= 60
        assert one.cuts_s[0] >= 4
        assert one.cuts_s[-1] <= one.duration_s - 0.5
    gaps = np.concatenate([np.diff(one.cuts_s, prepend=0) for one in lists])
    assert gaps.min() >= 4 - 1e-6
    assert gaps.max() <= 20
    assert 9 < gaps.mean() < 13  # long gaps are cut off by the films' ends
    again = random_lists(3, seed=3)
    assert [one.cuts_s.tolist() for one in again] == [one.cuts_s.tolist() for one in lists[:3]]
    assert random_lists(1, seed=4)[0].cuts_s.tolist() != lists[0].cuts_s.tolist()
    with pytest.raises(InputError, match="0 cut lists measure nothing; give at least 1"):
        random_lists(0, seed=0)


def test_cuts_of_a_list_of_cuts(tmp_path: Path) -> None:
    (tmp_path / "cuts.csv").write_text("time_s\n0\n5\n6\n12.5\n")
    film = film_list(tmp_path / "cuts.csv")
    assert (film.name, film.cuts_s.tolist(), film.duration_s) == ("cuts", [5, 12.5], 16.5)


def test_cuts_of_a_scene(tmp_path: Path) -> None:
    from fractions import Fraction

    from emsync.video import Scene

    scene = Scene("a.mp4", 20.0, Fraction(25), 500, 64, 36, cuts_s=np.array([3.0, 9.0, 10.0, 19.9]))
    (tmp_path / "a.json").write_text(scene.to_json())
    film = film_list(tmp_path / "a.json")
    assert (film.cuts_s.tolist(), film.duration_s) == ([3, 9], 20)


def test_films_that_cannot_be_landed_on(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("time_s\n")
    with pytest.raises(InputError, match=r"none.csv has no cut to land on, clear of both ends; leave it out"):
        film_list(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"gone.json cannot be read .*; give what emsync analyze -o wrote"):
        film_list(tmp_path / "gone.json")
    with pytest.raises(VideoError, match=r"gone.mp4"):
        film_list(tmp_path / "gone.mp4")
    with pytest.raises(InputError, match=r"past the video's end"):
        CutList("film", np.array([70.0]), 60.0)


def made(cuts_s: list[float], chords_s: list[float], *, family: int = v.PIANO, name: str = "a") -> Composed:
    """A piece of 24 s with CHORD events, and three notes behind each but the last."""
    start = np.repeat(np.array(chords_s[:-1]), 3)
    tempo = TempoMap.constant(120)
    score = Score(
        FAMILY_INSTRUMENTS, np.full(len(start), family), np.tile([60, 64, 67], len(chords_s) - 1),
        np.full(len(start), 80), start, start + 1.5, tempo, Bars([0.0], [4], [4]), duration_s=24.0,
    )  # fmt: skip
    ids = np.array([v.MORE, v.START, v.END], dtype=np.int32)
    cuts = np.array(cuts_s)
    piece = Piece(Events(ids, np.zeros(3, dtype=np.uint8)), cuts, cuts.copy(), np.array(chords_s))
    return Composed(CutList(name, cuts, 24.0), piece, score)


def test_events_and_what_sounds_are_distinguished() -> None:
    pieces = [
        made([5.0, 10.0], [5.0, 10.5, 15.0], name="a"),
        made([7.0, 20.0], [7.02, 20.0], name="b"),
    ]
    found = measure({"random": {"free": pieces}})
    assert found.films == {"random": (2, 4, 48.0)}
    get = {(aim.what, aim.window): pair for aim, pair in found.tallies.items()}
    assert get["chord_events", "frame"][0] == Tally(4, 5, 3)
    assert get["chord_events", "second"][0] == Tally(4, 5, 4)
    assert get["sounding_chords", "frame"][0] == Tally(4, 3, 2)
    assert get["sounding_chords", "second"][0] == Tally(4, 3, 3)
    # The control: each piece's chords against the other's cuts. None is near.
    assert get["chord_events", "second"][1] == Tally(4, 5, 0)


def test_the_control_is_bound_to_the_shorter_film() -> None:
    short = made([5.0], [5.0, 15.0], name="short")
    long = replace(made([5.2], [5.2, 15.0], name="long"), film=CutList("long", np.array([5.2, 30.0]), 40.0))
    found = measure({"random": {"free": [short, long]}})
    aim = Aim("random", "free", "chord_events", "second")
    assert found.tallies[aim][0].cuts == 3
    assert found.tallies[aim][1] == Tally(2, 4, 2)  # the cut at 30 s is past the short film's end


def test_one_film_has_no_control() -> None:
    found = measure({"films": {"exact": [made([5.0], [5.0, 15.0])]}})
    value = found.to_dict()["films"]["exact"]["chord_events"]["frame"]
    assert value["recall"] == 1
    assert value["control"]["recall"] is None
    assert "| exact: CHORD events, 33.3 ms | 1.000 (–) |" in found.to_markdown()


def test_bending_brings_chords_onto_the_cuts() -> None:
    piece = made([6.0, 12.0], [5.8, 12.1, 20.0])
    piece = replace(piece, piece=replace(piece.piece, targets_s=np.array([5.8, 12.1])))
    found = measure({"random": {"bend": [piece]}})
    frame = {aim.what: tally for aim, (tally, _) in found.tallies.items() if aim.window == "frame"}
    assert frame["sounding_chords"].pairs == 0
    assert frame["sounding_chords_bent"] == Tally(2, 2, 2)


@pytest.mark.parametrize(
    ("lands", "groups"),
    [
        (("free",), ["free"]),
        (("bend", "exact"), ["bend", "bend, bent", "exact"]),
        (("exact", "free"), ["free", "exact"]),
    ],
)
def test_the_picture_shows_what_was_measured(
    lands: tuple[str, ...], groups: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[str]] = []

    def look(figure: Figure, *_: Any, **__: Any) -> None:
        drawn.extend([text.get_text() for text in axes.get_xticklabels()] for axes in figure.axes)

    monkeypatch.setattr(Figure, "savefig", look)
    found = measure({"random": {land: [made([5.0], [5.0, 15.0])] for land in lands}})
    with contextlib.suppress(OSError):  # nothing was written that could be put in its place
        found.plot(tmp_path / "landing.png")
    assert drawn == [groups] * 3


def test_nothing_to_measure() -> None:
    with pytest.raises(InputError, match="there is no cut to measure landing on"):
        measure({})


FILMS = [
    CutList("a", np.array([3.0, 7.2]), 10.0),
    CutList("b", np.array([4.4]), 8.0),
    CutList("c", np.array([2.5, 8.1]), 12.0),
]


@pytest.mark.slow
def test_composing_lands_by_grammar_and_keeps_the_films_order(tmp_path: Path) -> None:
    recipe = plain_recipe(grid="sixteenths", tempo_plan="off")
    by_land = {}
    done: list[tuple[float, float]] = []
    for land in HITS:
        pieces = compose_all(
            Fake(), FILMS, replace(recipe, hits=land), seed=1, together=2, progress=lambda *at: done.append(at)
        )
        assert [made.film.name for made in pieces] == ["a", "b", "c"]
        assert done == sorted(done)
        assert done[-1] == (30.0, 30.0)
        done.clear()
        for made in pieces:
            assert made.score.duration_s == made.film.duration_s
            assert [marker.time_s for marker in made.score.markers] == made.film.cuts_s.tolist()
        by_land[land] = pieces
    found = measure({"random": by_land})

    def frame(land: str, what: str) -> Tally:
        return found.tallies[Aim("random", land, what, "frame")][0]

    assert frame("exact", "chord_events").recall == 1
    assert frame("exact", "sounding_chords").recall == 1
    assert frame("free", "chord_events").recall < 1
    assert frame("bend", "sounding_chords").recall < frame("bend", "sounding_chords_bent").recall == 1
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert '"sounding_chords_bent"' in text
    assert "bend: sounding chords, bent, 33.3 ms | 1.000" in found.to_markdown()
    found.plot(tmp_path / "landing.png")
    assert (tmp_path / "landing.png").read_bytes()[:4] == b"\x89PNG"
    midi.write(by_land["bend"][0].score, tmp_path / "a.mid")
    assert len(midi.read(tmp_path / "a.mid")) == len(by_land["bend"][0].score)


def test_the_recipe_says_where_notes_begin() -> None:
    def off(grid: Any) -> bool:
        """Whether a note begins off the sixteenths."""
        recipe = plain_recipe(tempo_qpm=120.0, grid=grid)
        made = compose_all(Fake(), FILMS[:1], recipe, seed=1)[0].score
        place = 4 * made.tempo.quarters_at(made.start_s)
        return bool((np.abs(place - np.rint(place)) > 0.2).any())

    assert not off("sixteenths")
    assert off("triplets")


@pytest.mark.slow
def test_composing_is_the_same_for_the_same_seed() -> None:
    def ids(seed: int) -> list[list[int]]:
        pieces = compose_all(Fake(), FILMS[:2], plain_recipe(), seed=seed)
        return [made.piece.events.ids.tolist() for made in pieces]

    assert ids(5) == ids(5) != ids(6)


def test_each_piece_has_a_tempo_of_its_own() -> None:
    """Figures in quarter notes would otherwise depend on the few tempi of the batches."""
    films = [CutList("a", np.array([4.0]), 12.0)] * 4
    pieces = compose_all(Fake(), films, plain_recipe(grid="sixteenths"), seed=2)
    tempi = [made.piece.tempo_plan.nominal_qpm for made in pieces if made.piece.tempo_plan]
    assert len(tempi) == 4
    assert len(set(tempi)) >= 3  # two draws may be nearest to one tempo of the grid
    assert min(tempi) < 100 < max(tempi)


def test_pieces_are_finished_where_the_recipe_says_so() -> None:
    def last_chords(finish: Any) -> list[float]:
        recipe = plain_recipe(grid="sixteenths", tempo_qpm=120.0, finish=finish)
        pieces = compose_all(Fake(), [CutList("a", np.array([4.0]), 16.0)] * 3, recipe, seed=2)
        return [float(made.piece.chords_s.max()) for made in pieces]

    assert min(last_chords("on")) > 10 > min(last_chords("off"))


def test_so_many_together_at_most() -> None:
    rows: list[int] = []

    class Counting(Fake):
        def prefill(self, ids: np.ndarray, *rest: np.ndarray) -> object:
            rows.append(len(ids))
            return super().prefill(ids, *rest)

    compose_all(Counting(), FILMS, plain_recipe(hits="free"), seed=0, together=2)
    assert rows == [2, 1]
    with pytest.raises(InputError, match="0 pieces at a time compose nothing"):
        compose_all(Fake(), FILMS, plain_recipe(), seed=0, together=0)


def test_the_shares_windows_are_the_papers() -> None:
    assert landing.WINDOWS == {"frame": pytest.approx(0.0333, abs=1e-4), "second": 1.0}


def test_pieces_have_the_form_that_users_get() -> None:
    film = CutList("a", np.array([8.0]), 16.0)
    made = [
        compose_all(Fake(), [film], plain_recipe(form=form, tempo_qpm=120.0, theme_strength=1.0), seed=2)[0].piece
        for form in ("none", "A,A")
    ]
    assert made[0].events.ids.tolist() != made[1].events.ids.tolist()
