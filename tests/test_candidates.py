"""Choosing among takes: what goes on from the best, and that nothing else changes."""

from __future__ import annotations

import copy
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsync import candidates, composer
from emsync import vocabulary as v
from emsync.copying import N_STRENGTHS, Past
from emsync.critic import FIGURES, Critic, Scaling
from emsync.decoder import Decoder, Held, open_decoder
from emsync.errors import InputError, ModelError
from emsync.form import plan_form
from emsync.guide import Source
from emsync.mixture import Mixture
from emsync.recall import Recall
from emsync.sections import Plan
from emsync.tempo_plan import plan_for
from emsync.writer import Piece
from tests.composing import asked, written
from tests.fakes import Fake, Feeling, plain_recipe

F = len(FIGURES)


def indifferent(width: int = 0) -> Critic:
    """A critic to whom all takes are alike."""
    one = np.ones(F)
    return Critic(
        Scaling(0 * one, 0 * one, one), np.zeros(2 * F), np.zeros((2, width)), 0.0, np.zeros((2, 2 * F + 1)), ""
    )


def liking(**figures: float) -> Critic:
    """A critic who likes more of some figures."""
    weights = np.zeros(2 * F)
    for name, weight in figures.items():
        weights[FIGURES.index(name.replace("_", " "))] = weight
    return replace(indifferent(), figures=weights)


CUTS = np.array([6.0, 10.8])
#: Random music is dense; with this it is not.
SPARSE = np.where(v.KIND == v.K_ON, -2.0, 0.0)


@pytest.fixture(autouse=True)
def short_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random music is dense: takes of half the length are long enough."""
    monkeypatch.setattr(candidates, "TAKE_S", 4.0)


def compose(decoder: Any, candidates: int, *, end_s: float = 16.0, seed: int = 1, **more: Any) -> Piece:
    recipe = plain_recipe(candidates=candidates, seed=seed, tempo_qpm=100.0, grid="triplets", **more)
    cuts_s = CUTS[end_s - CUTS > 1]
    plan = Plan(plan_form(recipe.form, end_s, cuts_s=cuts_s))
    mood = {"piece_arousal": 0.4, "arousal": 0.4} if decoder.knows_mood else {}
    tempo = plan_for(recipe, cuts_s, end_s)
    (piece,) = composer.compose(decoder, [asked(end_s, *cuts_s, **mood)], recipe, plans=[plan], tempo_plans=[tempo])
    return piece


@pytest.mark.parametrize(
    ("choices", "context"),
    [({}, 10**6), ({"form": "ABA"}, 10**6), ({"form": "none", "mood_strength": 2.0}, 10**6), ({}, 150)],
)
def test_the_first_candidates_are_the_piece_without_others(
    choices: dict[str, Any], context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forks share what they must and nothing else: a piece of first candidates is the one composed alone."""
    monkeypatch.setattr(candidates, "merit", lambda take, critic: 0.0)
    mixture = Mixture((0.0, *[0.6] * (N_STRENGTHS - 1)))
    alone = compose(Feeling(bias=SPARSE, context=context, mixture=mixture), 1, **choices)
    decoder = Feeling(bias=SPARSE, context=context, mixture=mixture, critic=indifferent())
    many = compose(decoder, 3, **choices)
    assert written(many) == written(alone), "also where a window is full"
    assert many.events.ids[-1] == v.END
    assert len(many.boundaries_s) == len(alone.boundaries_s)


def test_how_many_threads_there_are_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def piece(cores: int) -> Piece:
        monkeypatch.setattr(candidates, "cores", lambda: cores)
        return compose(Feeling(bias=SPARSE, critic=liking(density_piano=1.0)), 3, mood_strength=2.0)

    assert written(piece(1)) == written(piece(2)) == written(piece(8))


def test_what_goes_wrong_in_one_candidate_is_raised_and_the_others_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the model fails or the user interrupts: no thread goes on."""
    failing = Fake(bias=SPARSE, critic=indifferent())
    monkeypatch.setattr(failing, "step", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        compose(failing, 3, end_s=60.0)
    monkeypatch.setattr(candidates, "TAKE_S", 600.0)
    monkeypatch.setattr(candidates, "PROGRESS_S", 0.01)

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    recipe, decoder = plain_recipe(candidates=3, tempo_qpm=100.0), Fake(bias=SPARSE, critic=indifferent())
    with pytest.raises(KeyboardInterrupt):
        composer.compose(decoder, [asked(600.0)], recipe, progress=interrupt)
    assert len(decoder.inputs) < 2000, "ten minutes have many more events"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("candidate")]


class Remembering(Fake):
    """A fake that knows all events that it was given, and keeps them with what is held."""

    def prefill(self, ids: np.ndarray, *more: Any) -> Any:
        answer = super().prefill(ids, *more)
        self.history = ids[0, 3:].tolist()  # behind the slots of the mood and the number of families
        return answer

    def step(self, ids: np.ndarray, *more: Any) -> Any:
        self.history.append(int(ids[0]))
        return super().step(ids, *more)

    def hold(self, rows: np.ndarray) -> Held:
        return replace(super().hold(rows), spans=(list(self.history),))  # type: ignore[arg-type]

    def resume(self, held: Held, rows: np.ndarray) -> None:
        super().resume(held, rows)
        self.history = list(held.spans[0])  # type: ignore[call-overload]


def test_every_decoder_goes_on_from_the_best_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever candidate was best: each decoder has read exactly the events of the piece that it goes on with."""
    true, seen = candidates._next, []

    def checked(rows: Any, decoder: Any) -> Any:
        (writer,) = rows.writers
        assert decoder.history == writer.ids[:-1]
        seen.append(id(decoder))
        return true(rows, decoder)

    monkeypatch.setattr(candidates, "_next", checked)
    monkeypatch.setattr(candidates, "merit", lambda take, critic: float(hash(tuple(take.writer.ids[-9:])) % 97))
    compose(Remembering(bias=SPARSE, critic=indifferent()), 3)
    assert len(set(seen)) == 3


def test_the_best_take_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each take goes on from the one that its critic likes best."""
    kept: list[tuple[list[float], list[list[int]]]] = []
    true = candidates.merit

    def merit(take: candidates.Candidate, critic: Critic) -> float:
        worth = true(take, critic)
        if take.begin not in begun:
            begun.append(take.begin)
            kept.append(([], []))
        kept[-1][0].append(worth)
        kept[-1][1].append(list(take.writer.ids))
        return worth

    begun: list[int] = []
    monkeypatch.setattr(candidates, "merit", merit)
    many = compose(Fake(bias=SPARSE, critic=liking(density_piano=1.0)), 3)
    assert len(kept) == 4, "16 s are four takes"
    ids = many.events.ids[1:].tolist()
    for worth, endings in kept:
        assert len(worth) == 3
        assert len(set(worth)) > 1
        best = endings[int(np.argmax(worth))]
        assert ids[: len(best)] == best


@pytest.mark.slow
def test_a_critic_gets_what_it_likes_and_a_seed_gives_the_same_again() -> None:
    def pianos(critic: Critic, seed: int = 1) -> int:
        ids = compose(Fake(bias=SPARSE, critic=critic), 4, seed=seed, end_s=12.0).events.ids
        return int(((v.KIND[ids] == v.K_ON) & (v.FAMILY[ids] == v.PIANO)).sum())

    assert pianos(liking(density_piano=1.0)) > 1.1 * pianos(liking(density_piano=-1.0))
    first, again = (compose(Fake(bias=SPARSE, critic=liking(velocity=1.0)), 3, end_s=12.0) for _ in range(2))
    assert written(first) == written(again)


def test_a_return_that_is_missing_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of candidates that seem equally real the one is kept that plays most of what returns."""
    shares: list[float] = []
    ends: list[list[int]] = []

    def returned(ids: list[int], begin: int, source: Source) -> float:
        assert source.bars
        shares.append(float(np.random.default_rng(len(shares)).random()))
        ends.append(list(ids))
        return shares[-1]

    monkeypatch.setattr(candidates, "returned", returned)
    monkeypatch.setattr(candidates, "TAKE_S", 8.0)
    ids = (
        compose(Fake(bias=SPARSE, critic=indifferent()), 3, form="A,A", theme_strength=1.0, end_s=12.0)
        .events.ids[1:]
        .tolist()
    )
    assert len(shares) == 3, "the second of two takes returns to the first"
    best = ends[int(np.argmax(shares))]
    assert ids[: len(best)] == best


def test_the_share_of_a_return() -> None:
    bar, quarter, piano = v.BAR_BASE + 8, v.SHIFT_BASE + 60, int(v.ON_BASE[v.PIANO])
    stated = [bar, piano + 60, quarter, piano + 62, quarter, bar, piano + 64, quarter]
    source = Source.of_events(stated)
    again = [bar, piano + 60, quarter, piano + 63, quarter, bar, quarter, piano + 64, quarter]
    assert candidates.returned([v.START, *again], 1, source) == pytest.approx(1 / 3)
    assert candidates.returned([v.START, *stated], 1, source) == 1.0
    for played in (again[:5], again[:6]):
        assert candidates.returned([v.START, *played], 1, source) == 0.5, "bars that are still to come do not count"


def test_without_a_critic_several_takes_are_refused() -> None:
    with pytest.raises(InputError, match=r"candidates is 2, and the model has no critic\.json to choose by; give 1"):
        compose(Fake(bias=SPARSE), 2)
    assert written(compose(Fake(bias=SPARSE), 1)) == written(compose(Fake(bias=SPARSE, critic=indifferent()), 1))


def test_takes_begin_at_sections_and_in_between() -> None:
    recipe = plain_recipe(tempo_qpm=100.0, grid="triplets")
    plan = Plan(plan_form("AB", 50.0, cuts_s=[20.0]))
    writer = composer.Writer(asked(50.0), recipe, np.random.default_rng(0), plan=plan)
    assert np.array(candidates.take_starts(writer)) * v.STEP_S == pytest.approx(
        [4.0, 8.0, 12.0, 16.0, 20.0, 23.75, 27.5, 31.25, 35.0, 38.75, 42.5, 46.25]
    )


# ---- copies of what a piece remembers -------------------------------------------------------------------------------


@pytest.mark.slow
@given(
    st.lists(st.lists(st.lists(st.integers(1, 4), max_size=12), min_size=1, max_size=3), max_size=5),
    st.randoms(use_true_random=False),
)
def test_a_copied_past_is_the_past_of_its_own_events(stretches: list[list[list[int]]], random: Any) -> None:
    """Forked again and again, the one that goes on knows what a past of all its events knows."""
    past, events = Past(), [5, 1, 2]
    for event in events:
        past.append(event)
    for ways in stretches:
        copies = [copy.deepcopy(past) for _ in ways]
        for one, more in zip(copies, ways, strict=True):
            for event in more:
                one.append(event)
        chosen = random.randrange(len(copies))
        past, events = copies[chosen], events + ways[chosen]
        plain = Past()
        for event in events:
            plain.append(event)
        for one in (past, copy.deepcopy(past)):
            assert (one.length, one.followers, one.strength) == (plain.length, plain.followers, plain.strength)
            assert one.lanes == plain.lanes


def test_a_copied_past_shares_what_was_before_it() -> None:
    past = Past()
    for event in [1, 2, 3] * 1000:
        past.append(event)
    copies = [copy.deepcopy(past) for _ in range(3)]
    assert {id(one._shared) for one in copies} == {id(past)}
    assert all(not one._ids for one in copies)


def test_copied_recalls_do_not_write_into_one_another() -> None:
    states = np.eye(4)
    recall = Recall()
    recall.append(states[0], 7)
    one, other = copy.deepcopy(recall), copy.deepcopy(recall)
    one.append(states[1], 8)
    other.append(states[1], 9)
    recall.append(states[1], 10)
    for each, event in ((one, 8), (other, 9), (recall, 10)):
        assert int(each.distribution(states[1]).argmax()) == event
        assert len(each) == 2


# ---- the files ------------------------------------------------------------------------------------------------------


def test_a_critic_is_written_and_read(tmp_path: Path, model: Path) -> None:
    import shutil

    from emsync.checkpoint import weights_hash

    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    assert Critic.read(folder) is None
    rng = np.random.default_rng(0)
    critic = Critic(
        Scaling(rng.normal(size=F), rng.normal(size=F), 1 + rng.random(F)), rng.normal(size=2 * F),
        rng.normal(size=(2, 16)), 0.5, rng.normal(size=(2, 2 * F + 1)), weights_hash(folder), {"songs": 3},
    )  # fmt: skip
    path = critic.write(folder)
    assert path.stat().st_size < 100_000
    read = Critic.read(folder)
    assert read is not None
    assert read.about == {"songs": 3}
    opinion = candidates.Opinion(rng.normal(size=F), rng.normal(size=16))
    assert read.realness(opinion) == pytest.approx(critic.realness(opinion), rel=1e-4)
    assert read.felt(opinion) == pytest.approx(critic.felt(opinion), rel=1e-4)
    for text, message in (
        ("{", "is not JSON"),
        ("{}", r"cannot be read \(it lacks 'format'\)"),
        (path.read_text().replace(critic.weights, "0" * 64), "fitted for other weights than those beside it"),
        (path.read_text().replace('"rests"', '"breaths"'), "fitted for other figures"),
        (path.read_text().replace('"constant": 0.5', '"constant": NaN'), "not finite"),
        (path.read_text().replace('"figures": [', '"figures": [1.0, '), "does not fit"),
    ):
        path.write_text(text)
        with pytest.raises(ModelError, match=message) as caught:
            open_decoder(folder)
        assert "emsync fit-critic" in str(caught.value)
        critic.write(folder)


@pytest.mark.slow
def test_takes_of_a_real_model(model: Path) -> None:
    """Whatever runs it, a cache that is held and resumed goes on as if nothing had happened."""
    opened: list[Decoder] = []
    for backend in ("onnx", "torch"):
        decoder = open_decoder(model, backend=backend)  # type: ignore[arg-type]
        decoder.critic = liking(density_bass=1.0, density_drums=-1.0)
        opened.append(decoder)
    onnx, torch = (compose(each, 2, end_s=8.0) for each in opened)
    assert written(onnx) == written(torch)
    again = compose(opened[0], 2, end_s=8.0)
    assert written(again) == written(onnx)
