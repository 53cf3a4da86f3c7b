"""N-gram models: counted by hand, counted by a plain loop, and adding up to one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from emsync import vocabulary as v
from emsync.errors import CorpusError, InputError
from emsync.training.dataset import Dataset
from emsync.training.evaluation.ngrams import SMOOTHINGS, NGrams, discounts, fit

A, B, C, D = v.START, v.END, v.CHORD, v.MORE


def corpus(*songs: Sequence[int]) -> Dataset:
    ids = np.array([event for song in songs for event in song], dtype=np.uint16)
    offsets = np.cumsum([0, *(len(song) for song in songs)]).astype(np.int64)
    nothing = np.zeros((0, 2), np.int8), np.zeros(len(offsets), np.int64)
    return Dataset(ids, np.zeros(len(ids), dtype=np.uint8), offsets, *nothing, {})


def random_corpus(seed: int, *, kinds: int = 12, songs: int = 5, length: int = 120) -> Dataset:
    rng = np.random.default_rng(seed)
    return corpus(*[(rng.integers(0, kinds, length) ** 2 // 7 + 1).tolist() for _ in range(songs)])


def p(model: NGrams, *words: int) -> float:
    return float(model.probabilities(np.array([words[:-1]]), np.array(words[-1:]))[0])


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_add_up_to_one_behind_seen_and_unseen_events(smoothing: str, order: int) -> None:
    data = random_corpus(0)
    model = fit(data, order, smoothing)
    song, _ = data.song(0)
    seen, half_seen, unseen = song[4:6], np.array([v.SIZE - 1, song[5]]), np.array([v.SIZE - 1, v.SIZE - 2])
    for history in (seen, half_seen, unseen):
        every = np.tile(history[2 - (order - 1) :], (v.SIZE, 1))
        found = model.probabilities(every, np.arange(v.SIZE))
        assert found.min() > 0
        assert found.sum() == pytest.approx(1, abs=1e-12)


def test_add_one_by_hand() -> None:
    # Predicted, the first event of each song being given: B B C | B
    data = corpus([A, B, B, C], [A, B])
    unigram, bigram = (fit(data, order, "add-one") for order in (1, 2))
    assert p(unigram, B) == pytest.approx((3 + 1) / (4 + v.SIZE))
    assert p(unigram, A) == pytest.approx(1 / (4 + v.SIZE))
    assert p(bigram, A, B) == pytest.approx((2 + 1) / (2 + v.SIZE))
    assert p(bigram, B, C) == pytest.approx((1 + 1) / (2 + v.SIZE))
    assert p(bigram, C, A) == pytest.approx(1 / v.SIZE)


def test_witten_bell_by_hand() -> None:
    data = corpus([A, B, B, C], [A, B])
    model = fit(data, 2, "witten-bell")
    unigram_b = 3 / (4 + 2) + 2 / (4 + 2) / v.SIZE  # four events of two kinds
    assert p(model, A, B) == pytest.approx(2 / (2 + 1) + 1 / (2 + 1) * unigram_b)
    assert p(model, B, B) == pytest.approx(1 / (2 + 2) + 2 / (2 + 2) * unigram_b)
    assert p(model, C, B) == pytest.approx(unigram_b)


def test_kneser_ney_by_hand() -> None:
    # Bigrams: AB twice, BB, BC once. Too few for estimated discounts, so 0.5, 1 and 1.5.
    data = corpus([A, B, B, C], [A, B])
    model = fit(data, 2)
    # B was seen behind two different events, C behind one: three in all.
    unigram_b = (2 - 1) / 3 + (1 + 0.5) / 3 / v.SIZE
    unigram_c = (1 - 0.5) / 3 + (1 + 0.5) / 3 / v.SIZE
    assert p(model, A, B) == pytest.approx((2 - 1) / 2 + 1 / 2 * unigram_b)
    assert p(model, B, C) == pytest.approx((1 - 0.5) / 2 + (0.5 + 0.5) / 2 * unigram_c)
    assert p(model, B, A) == pytest.approx((0.5 + 0.5) / 2 * 1.5 / 3 / v.SIZE)
    assert p(model, C, B) == pytest.approx(unigram_b)


def test_discounts_by_hand() -> None:
    # n1 = 4, n2 = 2, n3 = 1, n4 = 1, so Y = 4 / 8.
    counts = np.array([1, 1, 1, 1, 2, 2, 3, 4, 9])
    assert discounts(counts) == pytest.approx([1 - 2 / 2 * 2 / 4, 2 - 3 / 2 * 1 / 2, 3 - 4 / 2 * 1 / 1])


@pytest.mark.parametrize("counts", [[1, 1, 1, 2], [1, 2, 3, 3, 3, 3, 4], [5, 6, 7]])
def test_discounts_that_cannot_be_estimated(counts: list[int]) -> None:
    assert discounts(np.array(counts)).tolist() == [0.5, 1.0, 1.5]


def naive_kneser_ney(data: Dataset, order: int) -> Counter[tuple[int, ...]]:
    """Counts of every order by a plain loop: raw at the highest, of different events before it below."""
    counts: Counter[tuple[int, ...]] = Counter()
    for i in range(len(data)):
        song = [v.PAD] * max(order - 2, 0) + data.song(i)[0].tolist()
        first = len(song) - len(data.song(i)[0]) + 1
        for at in range(first, len(song)):
            counts[tuple(song[at - order + 1 : at + 1])] += 1
    for lower in range(order - 1, 0, -1):
        for longer in [gram for gram in counts if len(gram) == lower + 1]:
            counts[longer[1:]] += 1
    return counts


def naive_probability(counts: Counter[tuple[int, ...]], gram: tuple[int, ...]) -> float:
    if not gram:
        return 1 / v.SIZE
    same_order = np.array([n for other, n in counts.items() if len(other) == len(gram)])
    discount = dict(zip((1, 2, 3), discounts(same_order), strict=True))
    siblings = [n for other, n in counts.items() if len(other) == len(gram) and other[:-1] == gram[:-1]]
    lower = naive_probability(counts, gram[1:])
    if not siblings:
        return lower
    seen = max(counts[gram] - discount[min(counts[gram], 3)], 0) if counts[gram] else 0.0
    rest = sum(discount[min(n, 3)] for n in siblings)
    return (seen + rest * lower) / sum(siblings)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_kneser_ney_is_its_definition(order: int) -> None:
    data = random_corpus(1, songs=3, length=60)
    model, counts = fit(data, order), naive_kneser_ney(data, order)
    rng = np.random.default_rng(2)
    some = [tuple(int(x) for x in rng.choice(data.ids, order)) for _ in range(60)] + [
        (5,) * order,
        (v.SIZE - 1,) * order,
    ]
    for gram in some:
        assert p(model, *gram) == pytest.approx(naive_probability(counts, gram), rel=1e-9)


def test_bits_are_of_every_event_but_the_first_of_each_song() -> None:
    data = random_corpus(3)
    model = fit(data, 3)
    ids, bits = model.bits(data, [1, 3])
    songs = [data.song(i)[0] for i in (1, 3)]
    assert ids.tolist() == [*songs[0][1:], *songs[1][1:]]
    assert bits[0] == pytest.approx(-np.log2(p(model, v.PAD, songs[0][0], songs[0][1])))
    assert bits[-1] == pytest.approx(-np.log2(p(model, *songs[1][-3:])))


def test_a_model_does_best_on_what_it_counted() -> None:
    data = corpus([A, B, C, B, C, B, C, D] * 30)
    costs = [fit(data, order).bits(data)[1].mean() for order in (1, 2, 3)]
    assert costs[0] > costs[1] > costs[2]
    assert costs[2] < 0.7


def test_only_the_songs_asked_for_are_counted() -> None:
    data = corpus([A, B, B], [A, C, C])
    model = fit(data, 1, "add-one", songs=[1])
    assert p(model, C) == pytest.approx(3 / (2 + v.SIZE))
    assert p(model, B) == pytest.approx(1 / (2 + v.SIZE))


def test_refusals() -> None:
    data = corpus([A, B])
    with pytest.raises(InputError, match="order 4 are not to be had; give 1 to 3"):
        fit(data, 4)
    with pytest.raises(InputError, match="'good' is no smoothing of n-grams; choose one of add-one"):
        fit(data, 2, "good")
    with pytest.raises(CorpusError, match="no events to count"):
        fit(corpus([A]), 2)
    model = fit(data, 2)
    with pytest.raises(InputError, match="outside the vocabulary of 0 to"):
        model.probabilities(np.array([[0]]), np.array([v.SIZE]))
    with pytest.raises(InputError, match=r"histories \(1, 2\) do not fit ids \(1,\); give 1 events"):
        model.probabilities(np.array([[0, 0]]), np.array([1]))
