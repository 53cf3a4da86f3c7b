"""How the network joins controls: weights, guides and a style, from nothing to something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from emsync import checkpoint
from emsync.conditions import CONTROL_LANES, LANE_NAMES
from emsync.errors import InputError, ModelError
from emsync.model import EventTransformer, Fusion
from emsync.model_config import ModelConfig
from emsync.training.dataset import Dataset
from emsync.training.train import RunOptions, fit
from tests.models import LOCAL, RELATIVE, random_inputs, random_model, toy_archive, toy_preset

PARTS: dict[str, dict[str, Any]] = {
    "dynamic": {"fusion": "dynamic"},
    "guided": {"guided_every": 2},
    "both": {"fusion": "dynamic", "guided_every": 1},
    "style": {"style_positions": 3},
}
#: A model from before the lanes of controls.
BEFORE = LANE_NAMES[: min(CONTROL_LANES)]


@pytest.mark.parametrize("shape", [RELATIVE, LOCAL])
@pytest.mark.parametrize("parts", PARTS.values(), ids=list(PARTS))
def test_new_parts_change_nothing_until_they_learn(shape: ModelConfig, parts: dict[str, Any]) -> None:
    before, inputs = random_model(replace(shape, lanes=BEFORE)), random_inputs(40)
    grown = before.with_all_lanes().with_parts(replace(shape, **parts))
    assert grown.config == replace(shape, **parts)
    assert grown.with_parts(RELATIVE) is grown  # what is there stays
    for right, found in zip(before(*inputs), grown(*inputs), strict=True):
        torch.testing.assert_close(found, right)
    names = {name: value.clone() for name, value in grown.named_parameters()}
    optimizer = torch.optim.AdamW(grown.parameters(), lr=1e-2, weight_decay=0.0)
    with torch.enable_grad():
        for _ in range(5):  # what stands behind a zero moves one step after it
            optimizer.zero_grad()
            grown(*inputs)[0].log_softmax(-1)[..., 7].mean().neg().backward()
            optimizer.step()
    moved = {name.split(".")[0] for name, value in grown.named_parameters() if not torch.equal(value, names[name])}
    assert moved >= {name.split("_")[0].replace("guided", "guides") for name in parts}
    new = {n: x for n, x in grown.named_parameters() if n.startswith(("fusion", "guides", "style"))}
    assert not [n for n, x in new.items() if torch.equal(x, names[n]) and "norm" not in n]


def test_a_guide_is_equation_10() -> None:
    model = random_model(replace(RELATIVE, guided_every=2))
    ids, velocities, lanes, mood = random_inputs(12)
    positions = torch.arange(12)
    with torch.no_grad():
        x, asked = model.embed(ids, velocities, lanes, mood, positions)
        guide, (first, second) = model.guides[0], model.blocks
        right = first(x, positions) + guide.block(x + asked @ guide.hear.weight.T, positions) @ guide.tell.weight.T
        states = model.norm(second(right, positions))
        torch.testing.assert_close(model.with_states(ids, velocities, lanes, mood)[2], states)
        lanes[..., CONTROL_LANES] = float("nan")
        unasked, silent = model.embed(ids, velocities, lanes, mood, positions)
        torch.testing.assert_close(unasked, x)  # the network itself does not hear the controls
        assert not torch.equal(silent, asked)


def test_a_weight_follows_from_the_event_and_the_controls() -> None:
    fusion = Fusion(LOCAL)
    x, parts = torch.randn(2, 5, LOCAL.width), torch.randn(len(CONTROL_LANES), 2, 5, LOCAL.lane_width)
    fusion.silence()
    torch.testing.assert_close(fusion(x, parts), parts.sum(0))
    torch.nn.init.normal_(fusion.weigh.weight)
    assert not torch.allclose(fusion(x, parts), fusion(x + 1, parts))
    assert not torch.allclose(fusion(x, 2 * parts), 2 * fusion(x, parts))


@pytest.mark.slow
@pytest.mark.parametrize(("only", "parts"), [("lanes", PARTS["both"]), ("style", PARTS["style"])])
def test_training_may_change_the_new_parts_alone(only: str, parts: dict[str, Any], tmp_path: Path) -> None:
    plain = toy_preset(train_only=only)
    preset = replace(plain, model=replace(plain.model, **parts))
    before = random_model(replace(plain.model, lanes=BEFORE))
    checkpoint.save(before, tmp_path / "before")
    options = RunOptions(steps=3, device="cpu", compile_model=False, initial=tmp_path / "before")
    fit(preset, Dataset.of(dict(toy_archive(3).arrays)), None, tmp_path / "run", options)
    after = checkpoint.load(tmp_path / "run" / "model")
    assert after.config == preset.model
    first, second = before.with_all_lanes().state_dict(), after.state_dict()
    changed = {n for n in first if not torch.equal(first[n], second[n]) and "net.0" not in n}  # which begin anywhere
    assert all(name.startswith("lanes.") for name in changed)
    assert bool(changed) == (only == "lanes")
    assert EventTransformer(after.config).style is None or after.style.weight.abs().sum() > 0


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"fusion is 'mean'; choose one of sum, dynamic"):
        replace(RELATIVE, fusion="mean")  # type: ignore[arg-type]
    for wrong in ({"guided_every": 3}, {"style_positions": -1}):
        with pytest.raises(ModelError, match="give a whole number from 0 to"):
            replace(RELATIVE, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="the model hears its controls already"):
        random_model(RELATIVE).with_parts(replace(RELATIVE, guided_every=1))
    with pytest.raises(ModelError, match="go with lanes of controls"):
        replace(RELATIVE, lanes=BEFORE, guided_every=1)
    data = Dataset.of(dict(toy_archive(2).arrays))
    with pytest.raises(InputError, match="the model has no style to train; give it style_positions"):
        fit(toy_preset(train_only="style"), data, None, tmp_path / "run", RunOptions(steps=1, device="cpu"))
