"""The model: its size, attention against its definition, decoding with a cache, causality, conditions, settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from emsync import attention
from emsync import vocabulary as v
from emsync.attention import Attention, block_attention, flash_block_attention, relative_attention, rotate, skew
from emsync.conditions import COPY_LANES, LANE_NAMES, LANES
from emsync.errors import ModelError
from emsync.lane_layers import CopyLane, OffsetLane
from emsync.model import AROUSAL_SLOT, VALENCE_SLOT, Cache, EventTransformer, shifted_velocities
from emsync.model_config import ModelConfig
from emsync.training.objective import silence_velocities
from emsync.training.train import PRESETS, Preset
from tests.models import CONFIGS, LOCAL, PAPER, RELATIVE, ROTARY, random_inputs, random_model

LENGTH = 37  # no multiple of any block


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def test_the_paper_preset_has_the_papers_37_million_parameters() -> None:
    preset = Preset.read("paper")
    with torch.device("meta"):
        model = EventTransformer(preset.model)
    assert model.n_parameters == pytest.approx(37e6, abs=1e6)
    assert (preset.model.n_layers, preset.model.n_heads, preset.model.width) == (11, 8, 512)
    assert (preset.model.ff_width, preset.model.context, preset.model.attention) == (2048, 1218, "relative")


def test_every_preset_can_be_built() -> None:
    for name in PRESETS:
        preset = Preset.read(name)
        with torch.device("meta"):
            assert EventTransformer(preset.model).n_parameters > 0
        assert Preset.from_dict(preset.to_dict()) == preset


def test_a_new_model_predicts_from_its_embeddings_alone() -> None:
    torch.manual_seed(0)
    model = EventTransformer(RELATIVE)
    for block in model.blocks:
        x = torch.randn(1, 5, RELATIVE.width)
        assert torch.equal(block(x, torch.arange(5)), x)


# Attention, against what it is defined to be


def naive_relative(attention: Attention, x: Tensor) -> Tensor:
    """Music Transformer's equation with loops: softmax over j <= i of (q_i k_j + q_i E[i - j]) / sqrt(D)."""
    q, k, value = attention.project(x, torch.arange(x.shape[1]))
    batch, heads, length, width = q.shape
    out = torch.zeros_like(q)
    for b in range(batch):
        for h in range(heads):
            for i in range(length):
                query = q[b, h, i]
                scores = [
                    (query @ k[b, h, j] + query @ attention.distance[i - j]) / math.sqrt(width) for j in range(i + 1)
                ]
                weights = torch.stack(scores).softmax(0)
                out[b, h, i] = sum((weights[j] * value[b, h, j] for j in range(i + 1)), torch.zeros(width))
    return attention.merge(out)


@pytest.mark.parametrize("length", [1, 2, 11])
def test_relative_attention_is_its_definition(length: int) -> None:
    attention = random_model(RELATIVE).blocks[1].attention
    assert isinstance(attention, Attention)
    x = torch.randn(2, length, RELATIVE.width, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(attention(x, torch.arange(length)), naive_relative(attention, x), rtol=1e-4, atol=1e-5)


def test_skew_brings_each_distance_to_its_key() -> None:
    length = 6
    by_distance = torch.arange(length).flip(0).expand(1, 1, length, length).float()  # column c is distance T - 1 - c
    keys = skew(by_distance)[0, 0]
    for i in range(length):
        for j in range(i + 1):
            assert keys[i, j] == i - j


@pytest.mark.parametrize("length", [1, 3, 8, 9, 16, 17, 37, 64])
def test_block_attention_is_full_attention_with_a_mask(length: int) -> None:
    block, generator = 8, torch.Generator().manual_seed(length)
    q, k, value = (torch.randn(2, 3, length, 4, generator=generator) for _ in range(3))
    i, j = torch.arange(length).unsqueeze(1), torch.arange(length).unsqueeze(0)
    seen = (j <= i) & (j // block >= i // block - 1)
    expected = torch.nn.functional.scaled_dot_product_attention(q, k, value, attn_mask=seen)
    torch.testing.assert_close(block_attention(q, k, value, block), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [9, 16, 17, 37, 64])
def test_the_gpu_s_block_attention_is_block_attention_and_its_gradients_are(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    inputs = [torch.randn(2, 3, length, 4, generator=generator).requires_grad_() for _ in range(3)]
    outputs, gradients = [], []
    with torch.enable_grad():
        for attend in (block_attention, flash_block_attention):
            out = attend(*inputs, 8)
            outputs.append(out)
            gradients.append(torch.autograd.grad(out.square().sum(), inputs))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_gpu_computes_is_what_a_cpu_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    expected = net(*inputs)
    taken: list[int] = []

    def watched(q: Tensor, k: Tensor, value: Tensor, block: int) -> Tensor:
        taken.append(block)
        return flash_block_attention(q, k, value, block)

    monkeypatch.setattr(attention, "on_gpu", lambda x: True)
    monkeypatch.setattr(attention, "flash_block_attention", watched)
    for one, other in zip(net(*inputs), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert taken == ([8, 8] if name == "local" else [])


@pytest.mark.parametrize(("length", "chunk"), [(37, 1), (37, 5), (37, 36), (37, 37), (32, 8), (1, 8)])
def test_relative_attention_in_chunks_is_relative_attention_at_once(length: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(length)
    q, k, value = (torch.randn(2, 3, length, 4, generator=generator).requires_grad_() for _ in range(3))
    distance = torch.randn(48, 4, generator=generator).requires_grad_()
    outputs, gradients = [], []
    with torch.enable_grad():
        for at_once in (length, chunk):
            out = relative_attention(q, k, value, distance, at_once)
            outputs.append(out)
            gradients.append(torch.autograd.grad(out.square().sum(), (q, k, value, distance)))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-5, atol=1e-6)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, 1, 1, 8, generator=generator) for _ in range(2))

    def product(i: int, j: int) -> float:
        return float((rotate(q, torch.tensor([i])) * rotate(k, torch.tensor([j]))).sum())

    assert product(7, 3) == pytest.approx(product(104, 100), abs=1e-4)
    assert product(7, 3) != pytest.approx(product(7, 2), abs=1e-3)
    assert float(rotate(q, torch.tensor([900])).norm()) == pytest.approx(float(q.norm()), rel=1e-5)


# Decoding with a cache


def empty_cache(model: EventTransformer, batch: int, slots: int) -> Cache:
    shape = (batch, model.config.n_heads, slots, model.config.head_width)
    return [(torch.zeros(shape), torch.zeros(shape), torch.full((slots,), -1)) for _ in model.blocks]


def stepped(model: EventTransformer, inputs: tuple[Tensor, ...], splits: list[int], *, shuffle: bool = False) -> Tensor:
    """Logits of both heads and hidden states by `step`: runs of the lengths `splits`, a cache of fixed room."""
    ids, velocities, lanes, mood = inputs
    cache = empty_cache(model, len(ids), ids.shape[1] + 3)  # some slots stay empty
    places = torch.arange(ids.shape[1] + 3)
    if shuffle:  # the place of a position in the cache means nothing
        places = torch.randperm(len(places), generator=torch.Generator().manual_seed(5))
    out, at = [], 0
    for length in splits:
        run = torch.arange(at, at + length)
        *answer, new = model.step(ids[:, run], velocities[:, run], lanes[:, run], mood, run, cache)
        out.append(torch.cat(answer, dim=-1))
        for (keys, values, positions), (new_keys, new_values, new_positions) in zip(cache, new, strict=True):
            assert new_keys.shape == (len(ids), model.config.n_heads, length, model.config.head_width)
            keys[:, :, places[run]], values[:, :, places[run]] = new_keys, new_values
            positions[places[run]] = new_positions
        at += length
    return torch.cat(out, dim=1)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("prefill", [0, 1, 8, 20, LENGTH])
def test_decoding_with_a_cache_is_the_forward_pass(name: str, prefill: int) -> None:
    model, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    expected = torch.cat(model.with_states(*inputs), dim=-1)
    splits = ([prefill] if prefill else []) + [1] * (LENGTH - prefill)
    torch.testing.assert_close(stepped(model, inputs, splits), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_decoding_may_go_in_any_runs_and_keep_the_cache_in_any_order(name: str) -> None:
    model, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    expected = torch.cat(model.with_states(*inputs), dim=-1)
    got = stepped(model, inputs, [5, 1, 9, 2, 1, LENGTH - 18], shuffle=True)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)


# What may reach what


@pytest.mark.parametrize("name", CONFIGS)
def test_a_later_event_changes_nothing_before_it(name: str) -> None:
    model, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    ids, velocities, lanes, mood = (x.clone() for x in inputs)
    at = 21
    ids[:, at:] = (ids[:, at:] + 7) % v.SIZE
    velocities[:, at:] = (velocities[:, at:] + 3) % (v.VELOCITY_LEVELS + 1)
    lanes[:, at:] = float("nan")
    for before, after in zip(model(*inputs), model(ids, velocities, lanes, mood), strict=True):
        torch.testing.assert_close(after[:, :at], before[:, :at], rtol=0, atol=1e-6)
        assert (after[:, at:] - before[:, at:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("name", CONFIGS)
def test_the_first_event_reaches_the_last_when_a_layer_is_global(name: str) -> None:
    model, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    ids = inputs[0].clone()
    ids[:, 3] = (ids[:, 3] + 7) % v.SIZE
    assert (model(ids, *inputs[1:])[0][:, -1] - model(*inputs)[0][:, -1]).abs().max() > 1e-5


def test_local_layers_alone_forget_what_is_far() -> None:
    model, inputs = random_model(replace(LOCAL, n_layers=1)), random_inputs(LENGTH)
    ids = inputs[0].clone()
    ids[:, 3] = (ids[:, 3] + 7) % v.SIZE
    change = (model(ids, *inputs[1:])[0] - model(*inputs)[0]).abs().amax((0, 2))
    assert (change[3:16] > 1e-5).all()  # its own block of 8, and the next
    assert (change[16:] == 0).all()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("lane", LANE_NAMES)
def test_every_lane_can_be_left_out(name: str, lane: str) -> None:
    model, inputs = random_model(CONFIGS[name]), random_inputs(LENGTH)
    index = LANE_NAMES.index(lane)

    def outputs_with(value: float) -> Tensor:
        lanes = inputs[2].clone()
        lanes[:, :, index] = value
        logits, velocity_logits = model(inputs[0], inputs[1], lanes, inputs[3])
        return torch.cat([logits, velocity_logits], dim=-1)

    absent, zero = outputs_with(float("nan")), outputs_with(0.0)
    assert absent.isfinite().all()
    assert (absent - zero).abs().amax(-1).min() > 1e-4
    assert (outputs_with(LANES[index].high) - zero).abs().amax(-1).min() > 1e-5


def test_all_lanes_and_the_mood_can_be_left_out_and_still_train() -> None:
    ids, velocities, lanes, mood = random_inputs(LENGTH)
    for config in CONFIGS.values():
        model = random_model(config)
        with torch.enable_grad():
            nothing = (torch.full_like(condition, float("nan")) for condition in (lanes, mood))
            logits, _ = model(ids, velocities, *nothing)
            logits.square().mean().backward()
        assert logits.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        for lane in model.lanes:
            if lane is model.copy_lane:  # adds nothing then
                continue
            assert lane.absent.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_a_copy_lane_at_zero_learns_from_the_first_step(name: str) -> None:
    grown = random_model(replace(CONFIGS[name], lanes=LANE_NAMES[: COPY_LANES.start])).with_all_lanes()
    ids, velocities, lanes, mood = random_inputs(LENGTH)
    with torch.enable_grad():
        logits, _ = grown(ids, velocities, lanes, mood)
        logits.log_softmax(-1)[..., 7].sum().backward()
    assert grown.copy_lane is not None
    for table in (grown.copy_lane.gate, grown.copy_lane.bias, grown.copy_lane.query):
        assert table.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", CONFIGS)
def test_the_bias_of_a_strength_is_added_to_the_followers_logit(name: str) -> None:
    grown = random_model(replace(CONFIGS[name], lanes=LANE_NAMES[: COPY_LANES.start])).with_all_lanes()
    ids, velocities, lanes, mood = random_inputs(LENGTH)
    nan = float("nan")
    lanes[..., COPY_LANES] = torch.tensor([[9.0, 5.0], [700.0, 5.0], [9.0, 6.0], [0.0, 0.0], [nan, nan], [9.0, nan]])[
        torch.arange(LENGTH) % 6
    ]
    before = grown(ids, velocities, lanes, mood)[0]
    with torch.no_grad():
        grown.copy_lane.bias.weight[5] = 0.25
    added = grown(ids, velocities, lanes, mood)[0] - before
    right = torch.zeros_like(added)
    right[:, 0::6, 9] = right[:, 1::6, 700] = 0.25 * CopyLane.UNIT
    torch.testing.assert_close(added, right, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_from_before_meter_is_given_its_lanes(name: str) -> None:
    """Its predictions stay the same, whatever the meter lanes are, until it is trained with them."""
    before, inputs = random_model(replace(CONFIGS[name], lanes=LANE_NAMES[:4])), random_inputs(LENGTH)
    grown = before.with_all_lanes()
    assert (grown.config.lanes, before.config.lanes) == (LANE_NAMES, LANE_NAMES[:4])
    assert (grown.training, grown.with_all_lanes()) == (False, grown)
    for right, found in zip(before(*inputs), grown(*inputs), strict=True):
        torch.testing.assert_close(found, right)
    with torch.no_grad():
        grown.lanes[LANE_NAMES.index("bar")].table.weight.add_(1.0)
    assert not torch.allclose(grown(*inputs)[0], before(*inputs)[0])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_mood_prefix_has_an_effect(name: str) -> None:
    model, (ids, velocities, lanes, _) = random_model(CONFIGS[name]), random_inputs(LENGTH)

    def outputs_with(valence: float, arousal: float, ids: Tensor = ids) -> Tensor:
        return torch.cat(model(ids, velocities, lanes, torch.tensor([[valence, arousal]] * 2)), dim=-1)

    sad, glad, valence_only = outputs_with(-0.6, -0.3), outputs_with(0.8, -0.3), outputs_with(0.8, math.nan)
    assert (sad - glad).abs().amax(-1).min() > 1e-5
    assert valence_only.isfinite().all()
    # Arousal comes after valence, which therefore does not depend on it.
    torch.testing.assert_close(valence_only[:, 0], glad[:, 0])
    assert (valence_only[:, 1:] - glad[:, 1:]).abs().amax(-1).min() > 1e-5
    # Without its positions, the mood has no effect.
    elsewhere = ids.clone()
    elsewhere[:, :2] = v.START
    assert torch.equal(outputs_with(-0.6, -0.3, elsewhere), outputs_with(0.8, -0.3, elsewhere))


def test_the_mood_positions_have_ids_behind_the_vocabulary() -> None:
    assert (VALENCE_SLOT, AROUSAL_SLOT) == (v.SIZE, v.SIZE + 1)


def test_each_position_is_given_the_velocity_of_the_event_before() -> None:
    velocities = torch.tensor([[3, 1, 4], [5, 9, 2]])
    assert shifted_velocities(velocities).tolist() == [[0, 3, 1], [0, 5, 9]]


def test_velocities_have_an_effect() -> None:
    model, (ids, velocities, lanes, mood) = random_model(), random_inputs(LENGTH)
    louder = (velocities + 1) % (v.VELOCITY_LEVELS + 1)
    assert (model(ids, louder, lanes, mood)[1] - model(ids, velocities, lanes, mood)[1]).abs().max() > 1e-4


def test_looked_up_offsets_distinguish_every_step_of_the_last_second() -> None:
    lane = OffsetLane(4, 8.0, "lookup")
    torch.nn.init.normal_(lane.table.weight, generator=torch.Generator().manual_seed(0))
    steps = np.arange(v.MAX_SHIFT_STEPS + 1)
    offsets = torch.tensor((steps * v.STEP_S).astype(np.float32)).unsqueeze(0)
    fine = lane(offsets)[0]
    assert torch.equal(fine, lane.table.weight[: len(steps)])
    # Rounding on the way to float32 changes nothing, and beyond a second entries last an eighth of one.
    assert torch.equal(lane(offsets * (1 + 1e-6))[0], fine)
    coarse = lane(torch.tensor([[1.01, 1.12, 1.13, 8.0, 9.0]]))[0]
    assert torch.equal(coarse[0], coarse[1])
    assert not torch.equal(coarse[1], coarse[2])
    assert torch.equal(coarse[3], coarse[4])
    assert not torch.equal(coarse[0], fine[-1])


# Settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_layers": 0}, "n_layers is 0; it must be a whole number above 0"),
        ({"context": -8}, "context is -8"),
        ({"width": 16.0}, r"width is 16\.0"),
        ({"n_heads": True}, "n_heads is True"),
        ({"n_heads": "2"}, "n_heads is '2'"),
        ({"width": 20, "n_heads": 3}, r"width 20 must be a multiple of twice n_heads \(3\)"),
        ({"lanes": (*LANE_NAMES[:4], "bar")}, "not those of this version; train it again"),
        ({"lanes": ()}, "not those of this version; train it again"),
        ({"lanes": 5}, "lanes are 5; give a list of names"),
        ({"local_block": 8}, "local_block goes with rotary attention; set it to 0"),
        ({"attention": "rotary", "local_block": 7}, "context 48 must be a multiple of local_block 7"),
        ({"attention": "rotary", "local_block": -8}, "local_block is -8; give a whole number"),
        ({"attention": "flash"}, "attention is 'flash'; choose one of relative, rotary"),
        ({"activation": "tanh"}, "activation is 'tanh'; choose one of gelu, relu2"),
        ({"norm": "batch"}, "norm is 'batch'; choose one of layer, rms"),
        ({"lane_encoding": "none"}, "lane_encoding is 'none'; choose one of scalar, fourier, lookup"),
        ({"vocabulary_size": 10}, f"vocabulary_size is 10, this emsync has {v.SIZE}; leave it out"),
        ({"tied": "yes"}, "tied is 'yes'; it must be true or false"),
    ],
)
def test_refuses(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        ModelConfig.from_dict(RELATIVE.to_dict() | wrong)


def test_refuses_an_unknown_setting() -> None:
    with pytest.raises(ModelError, match="unknown setting 'colour'; was it made by a newer emsync"):
        ModelConfig.from_dict({"colour": 1})


def test_local_layers_are_all_but_every_so_many() -> None:
    config = replace(LOCAL, n_layers=6)
    assert [config.is_local(layer) for layer in range(6)] == [True, True, False, True, True, False]
    assert not any(ROTARY.is_local(layer) for layer in range(6))


def test_the_papers_equation_repeats_positions_where_no_offset_is_given() -> None:
    model = random_model(PAPER)
    ids, velocities, lanes, mood = random_inputs(12)
    lanes[:, 5:] = torch.nan
    positions = torch.arange(12)
    half = PAPER.width // 2
    events = model.events(ids.clamp(max=v.SIZE - 1)) + model.velocity(velocities)
    added = (model.embed(ids, velocities, lanes, mood, positions)[0] - events)[:, 2:]  # behind the mood
    places = model.positions[positions][2:]
    torch.testing.assert_close(added[..., half:], places.expand(2, -1, -1))
    torch.testing.assert_close(added[:, 3:, :half], places[3:].expand(2, -1, -1))
    assert not torch.allclose(added[:, :3, :half], places[:3].expand(2, -1, -1))
    assert model.with_all_lanes() is model


def test_a_model_without_velocities_plays_one_level() -> None:
    model = random_model(PAPER)
    silence_velocities(model)
    ids, velocities, lanes, mood = random_inputs(6)
    logits, levels = model(ids, velocities, lanes, mood)
    assert set(v.velocity_value(levels.argmax(-1).numpy()).flatten().tolist()) == {84}  # the level of 80
    assert torch.equal(logits, model(ids, torch.zeros_like(velocities), lanes, mood)[0])
    assert not any(p.requires_grad for name, p in model.named_parameters() if name.startswith("velocity"))
