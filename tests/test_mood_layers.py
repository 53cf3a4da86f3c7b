"""The composer's mood adapter: silent at first, trained alone, and what it is given in training and in composing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from emsync import checkpoint
from emsync import vocabulary as v
from emsync.conditions import AROUND_POINTS, AROUND_STEP_S, MOOD_LANES, Conditions
from emsync.errors import InputError, ModelError
from emsync.model import EventTransformer
from emsync.model_config import ModelConfig
from emsync.mood_layers import CHANNELS, DILATIONS, FEATURES, at_middle, convolutions
from emsync.tokenizer.events import times_steps
from emsync.training.crop_lanes import mask_around
from emsync.training.crops import PREFIX, CropConfig, Crops, collate
from emsync.training.dataset import Dataset
from emsync.training.evaluation.predictions import song_windows
from emsync.training.objective import optimizers
from emsync.training.train import RunOptions, TrainConfig, fit
from tests.composing import EXACT, asked, compose
from tests.crops import PLAIN, toy_data
from tests.fakes import Feeling
from tests.models import LOCAL, RELATIVE, random_inputs, random_model, toy_preset

MIDDLE = AROUND_POINTS // 2


@pytest.fixture(scope="module")
def data() -> Dataset:
    return toy_data(4)


def curve_around(length: int, *, batch: int = 2, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, length, 2, AROUND_POINTS, generator=generator) * 2 - 1


# ---- the part of the network -----------------------------------------------------------------------------------


def test_strides_give_what_dilations_give() -> None:
    """In the middle of what they read, which is all of it: every point counts, and no padding does."""
    stack = convolutions(FEATURES, 5, CHANNELS, DILATIONS)
    x = torch.randn(3, FEATURES, AROUND_POINTS, generator=torch.Generator().manual_seed(2), requires_grad=True)
    found = at_middle(stack, x)
    torch.testing.assert_close(found, stack(x)[..., MIDDLE])
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert (gradient != 0).any(1).all()


@pytest.mark.parametrize("shape", [RELATIVE, LOCAL, replace(RELATIVE, guided_every=2)])
def test_a_new_adapter_changes_no_logit(shape: ModelConfig) -> None:
    before, inputs = random_model(shape), random_inputs(20)
    grown = before.with_parts(replace(shape, n_layers=9, adapter_layers=9))
    assert grown.config == replace(shape, adapter_layers=shape.n_layers)
    assert grown.with_parts(RELATIVE) is grown  # what is there stays
    for right, found in zip(before(*inputs), grown(*inputs, curve_around(20)), strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=0)


def test_it_adds_in_parts_of_the_hidden_states_size_to_the_first_layers() -> None:
    model, inputs, around = random_model(replace(LOCAL, adapter_layers=1)), random_inputs(12), curve_around(12)
    seen: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
    model(*inputs)
    model(*inputs, around)
    plain, adapted = seen[: LOCAL.n_layers], seen[LOCAL.n_layers :]
    assert model.adapter is not None
    size = plain[0].pow(2).mean(-1, keepdim=True).sqrt()
    added = 16 * model.adapter.gains[0] * size * model.adapter(around)
    torch.testing.assert_close(adapted[0] - plain[0], added)
    first = model.blocks[0](adapted[0], torch.arange(12))
    torch.testing.assert_close(adapted[1], first)  # nothing is added behind the adapter's layers


def test_where_nothing_is_known_nothing_is_added() -> None:
    model, inputs, around = random_model(replace(RELATIVE, adapter_layers=2)), random_inputs(16), curve_around(16)
    around[0] = float("nan")
    around[1, :, 1, 3:] = float("nan")  # known in part
    plain, found = model(*inputs)[0], model(*inputs, around)[0]
    torch.testing.assert_close(found[0], plain[0], rtol=0, atol=0)
    assert torch.isfinite(found).all()
    assert (found[1] - plain[1]).abs().max() > 0.01
    zero = torch.where(torch.isnan(around), torch.zeros_like(around), around)
    assert (model(*inputs, zero)[0] - found)[1].abs().max() > 0.01  # not given is not neutral


@pytest.mark.slow
def test_an_adapter_beside_a_frozen_network_learns_one_clip() -> None:
    """The same events go on differently under a rising and under a falling curve; nothing else tells the two apart."""
    model = random_model(RELATIVE).with_parts(replace(RELATIVE, adapter_layers=2)).train()
    (optimizer,) = optimizers(model, TrainConfig(train_only="adapter", rate=0.02), bf16=False)
    ids, velocities, lanes, mood = (x[:1].repeat(2, *[1] * (x.ndim - 1)) for x in random_inputs(24))
    lanes[..., MOOD_LANES], mood[:] = float("nan"), float("nan")
    times_s = np.arange(24) * 0.25
    rising, falling = (
        torch.from_numpy(Conditions(valence=(np.array([0.0, 6.0]), np.array([-s, s]))).around(times_s)) for s in (1, -1)
    )
    around = torch.stack([rising, falling])
    targets = torch.where(around[:, :, 0, MIDDLE] > 0, 7, 11)

    def loss(given: Tensor) -> Tensor:
        logits = model(ids, velocities, lanes, mood, given)[0]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

    first = float(loss(around).detach())
    for _ in range(60):
        optimizer.zero_grad()
        loss(around).backward()
        optimizer.step()
    unknown = torch.full_like(around, float("nan"))
    right, wrong, hidden = (float(loss(x).detach()) for x in (around, around.flip(0), unknown))
    assert hidden == pytest.approx(first, abs=1e-5)
    assert right < first - 2
    assert wrong > right + 2


@pytest.mark.slow
def test_training_may_change_the_adapter_alone(data: Dataset, tmp_path: Path) -> None:
    plain = toy_preset(train_only="adapter")
    preset = replace(plain, model=replace(plain.model, adapter_layers=1))
    before = random_model(plain.model)
    checkpoint.save(before, tmp_path / "before")
    options = RunOptions(steps=3, device="cpu", compile_model=False, initial=tmp_path / "before")
    fit(preset, data, data, tmp_path / "run", options)
    after = checkpoint.load(tmp_path / "run" / "model")
    assert after.config == preset.model
    first, second = before.state_dict(), after.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert set(second) - set(first) == {name for name in second if name.startswith("adapter.")}
    assert second["adapter.gains"].abs().min() > 0
    fresh = EventTransformer(preset.model)
    torch.testing.assert_close(fresh.adapter.gains.detach(), torch.zeros(1))  # type: ignore[union-attr]
    with pytest.raises(InputError, match="the model has no adapter to train; give it adapter_layers"):
        fit(plain, data, None, tmp_path / "other", replace(options, steps=1))
    with pytest.raises(ModelError, match="adapter_layers is 3; give a whole number from 0 to 2"):
        replace(RELATIVE, adapter_layers=3)


# ---- the curve around events -----------------------------------------------------------------------------------


def test_a_curve_is_sampled_around_each_event() -> None:
    curve = (np.array([0.0, 4.0, 8.0, 9.0]), np.array([-1.0, 1.0, 0.0, np.nan]))
    around = Conditions(valence=curve, arousal=0.25).around(np.array([2.0, 8.0]))
    assert (AROUND_POINTS, AROUND_STEP_S) == (27, 0.5)  # up to 6.5 s before and after
    assert around.shape == (2, 2, 27)
    assert around.dtype == np.float32
    np.testing.assert_allclose(around[0, 0, [0, 9, 13, 15, 17, 21, 26]], [-1, -1, 0, 0.5, 1, 0.5, np.nan])
    np.testing.assert_allclose(around[1, 0, [0, 5, 12, 13, 14]], [-0.25, 1, 0.125, 0, np.nan])
    np.testing.assert_allclose(around[:, 1], 0.25)
    assert np.isnan(Conditions().around(np.arange(3.0))).all()


def shown(data: Dataset, n: int = 12, **shares: Any) -> list[Any]:
    crops = Crops(data, replace(PLAIN, drop_around=0.0, **shares), seed=0, around=True)
    return [crops.crop(np.random.default_rng(i)) for i in range(n)]


def test_crops_have_the_curve_that_their_lanes_are_read_off(data: Dataset) -> None:
    for row in shown(data):
        assert row.around.shape == (len(row.ids), 2, AROUND_POINTS)
        np.testing.assert_array_equal(row.around[..., MIDDLE], row.lanes[:, MOOD_LANES])
    first, second = shown(data, 1, mask_inside=0.0), shown(data, 1, drop_mood_lanes=1.0)
    np.testing.assert_array_equal(first[0].around, second[0].around)  # also where the lanes are left out
    assert np.isnan(second[0].lanes[:, MOOD_LANES]).all()
    assert all(np.isnan(row.around).all() for row in shown(data, 3, drop_mood=1.0))
    assert all(np.isnan(row.around[:, 0]).all() for row in shown(data, 3, drop_axis=1.0))
    batch = collate(shown(data, 2), 80)
    assert batch.around is not None
    np.testing.assert_array_equal(batch.around[1, :64], shown(data, 2)[1].around[:64])
    assert np.isnan(batch.around[:, 65:]).all()  # behind the crops' ends


def test_crops_are_the_same_with_the_curve_and_without(data: Dataset) -> None:
    """Runs of models without an adapter see what they saw."""
    config = CropConfig(context=64, mask_inside=0.5)
    for i in range(6):
        one, other = (Crops(data, config, seed=1, around=on).crop(np.random.default_rng(i)) for on in (False, True))
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.lanes, other.lanes)
        assert one.around is None
        assert other.around is not None


def test_the_curve_is_left_out_as_often_as_asked(data: Dataset) -> None:
    crops = Crops(data, replace(PLAIN, drop_around=0.3), seed=0, around=True)
    absent = [np.isnan(crops.crop(np.random.default_rng(i)).around).all() for i in range(200)]  # type: ignore[arg-type]
    assert 0.2 < np.mean(absent) < 0.4


@pytest.mark.slow
def test_a_segment_of_time_is_masked_for_all_events() -> None:
    times_s, rng = np.arange(40) * 0.5, np.random.default_rng(0)
    kinds = {"inside": 0, "outside": 0, "whole": 0}
    for _ in range(300):
        around = np.zeros((40, 2, AROUND_POINTS), dtype=np.float32)
        mask_around(around, times_s, rng, 0.2, 0.3)
        masked = np.isnan(around[:, 0])
        for i in range(39):  # the next event sees the same half a second later
            np.testing.assert_array_equal(masked[i, 1:], masked[i + 1, :-1])
        if not masked.any():
            kinds["whole"] += 1
        else:
            kinds["outside" if masked[0, 0] else "inside"] += 1
    assert kinds["whole"] == pytest.approx(150, abs=35)
    assert kinds["outside"] / kinds["inside"] == pytest.approx(1.5, abs=0.6)


def test_measuring_gives_the_curve_as_composing_does(data: Dataset) -> None:
    window = next(song_windows(data, [0], 40, True, True, True))
    ids = data.song(0)[0][1:41]
    times_s = times_steps(ids) * v.STEP_S
    assert window.row.around is not None
    np.testing.assert_array_equal(window.row.around[..., MIDDLE], window.row.lanes[:, MOOD_LANES])
    assert window.row.around.shape == (PREFIX + 40, 2, AROUND_POINTS)
    _, later = list(song_windows(data, [0], 40, True, True, True))[:2]
    np.testing.assert_array_equal(later.row.around[..., MIDDLE], later.row.lanes[:, MOOD_LANES])  # type: ignore[index]
    assert times_s[-1] > 1


# ---- composing ---------------------------------------------------------------------------------------------------


class Reading(Feeling):
    """A fake with a mood adapter, which takes what it is given."""

    reads_curve = True


RISE = asked(12.0, valence=(np.array([0.0, 4.0, 6.0]), np.array([-1.0, 1.0, np.nan])), piece_arousal=0.5)


@pytest.mark.parametrize("context", [10**6, 64])
def test_composing_gives_the_curve_around_each_event_and_guidance_hides_it(context: int) -> None:
    decoder = Reading(context)
    (piece, _) = compose(decoder, [RISE, asked(12.0)], hits=EXACT, mood_strength=2.0)
    ids = piece.events.ids[1:]  # START comes first
    right = RISE.around(times_steps(ids) * v.STEP_S)
    begun = decoder.around[0]
    assert begun.shape[:2] == (3, 4)
    np.testing.assert_array_equal(begun[0], np.repeat(right[:1], 4, axis=0))
    taken = 1
    for around in decoder.around[1:]:
        if len(around) < 3:
            break  # one of the pieces has ended
        if around.shape[1] > 1:  # a new window: the latest events once more
            n = around.shape[1] - 3
            np.testing.assert_array_equal(around[0, 3:], right[taken + 1 - n : taken + 1])
        else:
            np.testing.assert_array_equal(around[0, 0], right[taken])
        assert np.isnan(around[1:]).all()  # a piece without a mood, and the first without its mood
        taken += 1
    assert taken > 60


def test_at_strength_0_no_curve_is_shown() -> None:
    decoder = Reading()
    compose(decoder, [RISE], hits=EXACT, mood_strength=0.0)
    assert all(np.isnan(around).all() for around in decoder.around)
