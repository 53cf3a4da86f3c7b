"""Options of the recipe, checked against the model that is to follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emsync.cli import options
from emsync.cli.producing import Producing
from emsync.extras import CLUSTER, CONTROLLERS, LOUDNESS, RENDER, TRAIN, VISION, need_of
from emsync.recipe import Recipe


def need_all(
    choices: dict[str, Any], producing: Producing | None, *, torch: bool, renders: bool, loudness: bool, cluster: bool
) -> None:
    """Refuse a run of `emsync compose` for which packages are missing, naming them all.

    - choices: the options, with `affect` and `controls`.
    - torch, renders, loudness, cluster: whether torch runs the model, music is rendered, its loudness is set, and Ray
      is used.
    """
    from emsync.affect import reads_by_model

    controls = choices["controls"]
    uses = {
        VISION: reads_by_model(choices["affect"]),
        TRAIN: torch,
        RENDER: renders and producing is None,
        LOUDNESS: loudness and producing is None,
        CONTROLLERS: controls is not None and controls.suffix.lower() in (".mid", ".midi"),
        CLUSTER: cluster,
    }
    need_of(uses | dict.fromkeys(() if producing is None else producing.needs, True))


def recipe_for(values: dict[str, Any], model: Path | None) -> Recipe:
    """Take the options of `options.recipe` out of `values` and make a recipe of them, for a model (None: embedded).

    Raises `InputError` for values that a recipe cannot have, and for options that would change nothing.
    """
    from emsync.session import check_given

    given = options.choices_of(values)
    recipe = Recipe(**given)
    suggests = (values.get("affect") or "").startswith("film:")  # a film encoder gives controls as well
    check_given(given, recipe, model, suggests=suggests)
    return recipe
