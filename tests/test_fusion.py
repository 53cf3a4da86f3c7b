"""Networks that fuse what is known of a film: any subset, nothing masked is read, little films are learned by heart."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from emsync.affect_emotions import WINDOW, mood_of_shares, network_of, probabilities, weights_of
from emsync.affect_film import TARGETS, curves_of, predicted
from emsync.emotions import EMOTION_NAMES, MU_MAX, emotion_point
from emsync.errors import InputError, ModelError
from emsync.fusion import EmotionClassifier, FilmEncoder, Shape
from emsync.modalities import FilmFeatures
from emsync.training.mood import film_encoder
from emsync.training.mood.emotion_classifier import Example, How, fit, guesses, without_some
from emsync.training.mood.film_encoder import Pair
from emsync.vision import Head

SIZES = {"image": 6, "sound": 5, "speech": 4}


def given(seed: int = 0, batch: int = 2, moments: int = 7) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    torch.manual_seed(seed)
    rows = {name: torch.randn(batch, moments, size) for name, size in SIZES.items()}
    return rows, {name: torch.ones(batch, moments, dtype=torch.bool) for name in SIZES}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [EmotionClassifier, FilmEncoder])
def test_any_subset_is_read_and_what_is_masked_is_not(kind: type) -> None:
    torch.manual_seed(0)
    network = kind(Shape(SIZES, 6, width=16, heads=2, dropout=0.0)).eval()
    rows, known = given()
    for n in range(1, 4):
        for names in itertools.combinations(SIZES, n):
            missing = network({k: rows[k] for k in names}, {k: known[k] for k in names})
            masks = {k: known[k] & (k in names) for k in SIZES}
            nonsense = {k: rows[k] if k in names else torch.full_like(rows[k], math.nan) for k in SIZES}
            torch.testing.assert_close(missing, network(nonsense, masks))
            if n < 3:
                assert not torch.allclose(missing, network(rows, known))
    # A single masked moment: whatever it holds makes no difference, and that it is masked does.
    known["image"][:, 3] = False
    before = network(rows, known)
    rows["image"][:, 3] = 99.0
    torch.testing.assert_close(network(rows, known), before)
    known["image"][:, 3] = True
    assert not torch.allclose(network(rows, known), before)
    nothing = network(rows, {k: torch.zeros_like(known[k]) for k in SIZES})
    assert torch.isfinite(nothing).all()
    with pytest.raises(InputError, match=r"there is no modality \['smell'\]; it was made for image, sound, speech"):
        network({"smell": rows["image"]}, {"smell": known["image"]})


def test_the_film_vector_is_a_convex_combination() -> None:
    torch.manual_seed(0)
    network = FilmEncoder(Shape(SIZES, 4, width=16, heads=1)).eval()
    rows, known = given()
    known["sound"][:] = False
    vector, weights = network.fused(rows, known)
    assert vector.shape == (2, 7, 16)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 7))
    assert (weights[..., 1] == 0).all()
    assert (weights[..., [0, 2]] > 0).all()
    parts = torch.tanh(network.inlets(rows, known)[0])
    low, high = (parts[:, :, [0, 2]].amin(2), parts[:, :, [0, 2]].amax(2))
    assert ((vector >= low - 1e-6) & (vector <= high + 1e-6)).all()


def test_scales_are_those_of_what_is_known() -> None:
    network = FilmEncoder(Shape({"image": 2}, 1, width=4, heads=1))
    network.inlets.fit_scales({"image": torch.tensor([[1.0, 5.0], [3.0, 5.0]])})
    assert network.inlets.get_buffer("mean_image").tolist() == [2.0, 5.0]
    assert network.inlets.get_buffer("deviation_image").tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"sizes": {}},
        {"sizes": {"image": 0}},
        {"width": 10, "heads": 4},
        {"dropout": 1.0},
        {"outputs": 2.5},
        {"layers": 65},
    ],
)  # fmt: skip
def test_shapes_are_checked(wrong: dict[str, object]) -> None:
    values = {"sizes": {"image": 4}, "outputs": 6, **wrong}
    with pytest.raises(InputError, match="cannot be"):
        Shape(**values)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="its shape cannot be read"):
        Shape.from_dict(values)
    good = Shape({"image": 4}, 6)
    assert Shape.from_dict(good.to_dict()) == good


# ---- learning -------------------------------------------------------------------------------------------------------


def films(count: int, seed: int = 0, moments: int = 9) -> list[Example]:
    """Films of the six emotions in turn, each of which shows in every modality; every other lacks its sound."""
    rng = np.random.default_rng(seed)
    signs = {name: rng.normal(size=(6, size)) for name, size in SIZES.items()}
    found = []
    for k in range(count):
        names = [name for name in SIZES if name != "sound" or k % 2]
        rows = {n: (signs[n][k % 6] + 0.3 * rng.normal(size=(moments, SIZES[n]))).astype(np.float32) for n in names}
        features = FilmFeatures(np.arange(moments) + 0.5, rows, {n: np.ones(moments, bool) for n in names})
        found.append(Example(features, np.eye(6)[k % 6]))
    return found


@pytest.fixture(scope="module")
def learned() -> EmotionClassifier:
    return fit(films(12), How(epochs=25, width=16, heads=2, layers=1, drop=0.3), seed=1)


@pytest.mark.slow
def test_a_few_films_are_learned_by_heart_and_any_of_their_modalities_will_do(learned: EmotionClassifier) -> None:
    seen = films(12)
    right = [k % 6 for k in range(12)]
    assert guesses(learned, seen) == right
    for name in SIZES:
        alone = [(k, e.features.only(name)) for k, e in enumerate(seen) if name in e.features.rows]
        hits = sum(int(probabilities(learned, f).mean(axis=0).argmax()) == right[k] for k, f in alone)
        assert hits >= 0.8 * len(alone), name
    shares = probabilities(learned, seen[0].features)
    assert shares.shape == (9, 6)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)


@pytest.mark.slow
def test_without_anything_to_learn_nothing_is_learned() -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(24)
    shuffled = [Example(e.features, np.eye(6)[k % 6]) for e, k in zip(films(24, moments=4), order, strict=True)]
    how = How(epochs=8, width=16, heads=2, layers=1)
    network = fit(shuffled[:18], how, seed=1)
    hits = sum(g == int(e.shares.argmax()) for g, e in zip(guesses(network, shuffled[18:]), shuffled[18:], strict=True))
    assert hits <= 3


def test_features_of_another_model_are_refused(learned: EmotionClassifier) -> None:
    other = FilmFeatures(np.arange(2) + 0.5, {"image": np.zeros((2, 9), np.float32)}, {"image": np.ones(2, bool)})
    with pytest.raises(
        ModelError, match="features of image have 9 numbers where the classifier takes 6; train it again"
    ):
        probabilities(learned, other)
    with pytest.raises(ModelError, match="do not fit 3 moments"):
        FilmFeatures(np.arange(3) + 0.5, other.rows, other.known)


def test_a_head_comes_back_and_a_wrong_one_takes_no_memory(learned: EmotionClassifier) -> None:
    shape = learned.shape.to_dict()
    head = Head("emotions", "", weights_of(learned), {"shape": shape})
    found = network_of(head, EmotionClassifier)
    seen = films(1)[0].features
    np.testing.assert_array_equal(probabilities(found, seen), probabilities(learned, seen))
    huge = {**shape, "width": 65536, "heads": 1}
    with pytest.raises(ModelError, match="the weights do not fit the shape that is written beside them"):
        network_of(Head("emotions", "", head.weights, {"shape": huge}), EmotionClassifier)
    with pytest.raises(ModelError, match="its shape cannot be read"):
        network_of(Head("emotions", "", head.weights, {}), EmotionClassifier)


def test_a_window_keeps_something_of_what_it_has() -> None:
    rng = np.random.default_rng(0)
    known = {name: torch.ones(400, WINDOW, dtype=torch.bool) for name in SIZES}
    known["sound"][:200] = False
    left = torch.stack([m.any(dim=1) for m in without_some(known, 0.5, rng).values()], dim=1)
    assert left.any(dim=1).all()
    assert not left[:200, 1].any()
    assert 0.3 < left[200:].float().mean() < 0.7
    assert torch.equal(without_some(known, 0.0, rng)["image"], known["image"])


def test_a_mood_is_the_mixtures_mean_or_a_draw() -> None:
    joy = np.eye(6)[[EMOTION_NAMES.index("joy")] * 3]
    times = np.arange(3) + 0.5
    curve = mood_of_shares(times, joy)
    assert curve.mean == pytest.approx(emotion_point("joy", mu_max=MU_MAX))
    assert mood_of_shares(times, joy, 0.4).mean == pytest.approx([x / 2 for x in curve.mean])
    assert mood_of_shares(times, joy, draw=1) == mood_of_shares(times, joy, draw=1)
    assert mood_of_shares(times, joy, draw=1) != mood_of_shares(times, joy, draw=2)


def pairs(count: int, seed: int = 0, moments: int = 20) -> list[Pair]:
    """Films whose music is a straight line of what is seen; the last two moments of each have no music."""
    rng = np.random.default_rng(seed)
    sizes = {"semantic": 8, "aesthetic": 6, "emotion": 6}
    slopes = np.random.default_rng(9).normal(size=(8, len(TARGETS))) / 3
    found = []
    for _ in range(count):
        rows = {name: rng.normal(size=(moments, size)).astype(np.float32) for name, size in sizes.items()}
        targets = rows["semantic"].astype(np.float64) @ slopes * [0.3, 0.3, 5.0, 0.5] + [0.1, 0.2, -3.0, 2.0]
        targets[-2:] = np.nan
        features = FilmFeatures(np.arange(moments) + 0.5, rows, {n: np.ones(moments, bool) for n in rows})
        found.append(Pair(features, targets))
    return found


def test_a_film_encoder_finds_what_there_is_and_no_more() -> None:
    how = film_encoder.How(epochs=120, learning_rate=1e-2)
    seen = pairs(6)
    network, mean, deviation = film_encoder.fit(seen, how)
    assert mean[2] == pytest.approx(-3.0, abs=1.0)
    times, found = predicted(network, seen[0].features, mean, deviation)
    assert np.corrcoef(found[:18, 2], seen[0].targets[:18, 2])[0, 1] > 0.95
    other = pairs(7, seed=5)[6]
    assert (
        np.corrcoef(predicted(network, other.features, mean, deviation)[1][:18, 2], other.targets[:18, 2])[0, 1] > 0.6
    )
    rng = np.random.default_rng(1)
    nothing = [Pair(p.features, p.targets[rng.permutation(len(p.targets))]) for p in pairs(5)]
    found_r = film_encoder.cross_validated(nothing, film_encoder.How(epochs=20), 0)
    assert max(abs(r or 0) for r in found_r.values()) < 0.4
    mood, controls = curves_of(times, np.array([[2.0, -2.0, 50.0, 20.0]] * len(times)))
    assert (mood.valence.max(), mood.arousal.min()) == (1.0, -1.0)
    assert (controls["intensity"].values.max(), controls["density"].values.max()) == (20.0, 100.0)
