"""What the chosen model cannot follow is refused, or said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import emsync
from emsync import session
from emsync.cli.checked import recipe_for
from emsync.conditions import LANE_NAMES
from emsync.errors import InputError
from tests.cli_compose.runs import Run, refused
from tests.models import ROTARY, model_folder

CHANGE = {"change": {"times_s": [0, 2], "values": [0, 1]}}
DENSITY = {"density": {"times_s": [0], "values": [8]}}


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without lanes for controls, as those of before there were any."""
    lanes = LANE_NAMES[: LANE_NAMES.index("intensity")]
    return model_folder(tmp_path_factory.mktemp("deaf"), replace(ROTARY, lanes=lanes))


def controls(path: str, **curves: object) -> str:
    Path(path).write_text(json.dumps({"controls": curves}))
    return path


def test_change_is_followed_without_its_lane(run: Run, deaf: Path) -> None:
    given = ("--duration", "4", "--controls", controls("only.json", **CHANGE), "--model", deaf)
    assert (said := run(*given, "-o", "a.mid", with_model=False)).code == 0
    assert said.err == ""
    assert run(*given, "--control-strength", "0", "-o", "b.mid", with_model=False).code == 0
    assert Path("a.mid").read_bytes() != Path("b.mid").read_bytes()


def test_the_strength_of_lanes_wants_lanes(run: Run, deaf: Path) -> None:
    given = ("--duration", "2", "--intensity", "build", "--lane-strength", "2")
    refused(
        run(*given, "--model", deaf, with_model=False), "--lane-strength is for models that have lanes for controls"
    )
    assert run(*given, "-o", "song.mid").code == 0


def test_the_strength_of_controls_wants_controls(run: Run) -> None:
    said = run("--duration", "2", "--control-strength", "0.5")
    refused(said, "--control-strength says how strictly controls are followed, and there are none; give --controls")
    Path("one.json").write_text(json.dumps({"controls": DENSITY}))
    for given in (["--density", "9"], ["--describe", "busy"], ["--controls", "one.json"]):
        assert run("--duration", "2", "--control-strength", "0.5", *given, "-o", "song.mid", "--overwrite").code == 0


def test_a_film_encoder_gives_controls() -> None:
    given = {"control_strength": 0.5, "affect": "film:ENCODER"}
    assert recipe_for(given, None).control_strength == 0.5
    with pytest.raises(InputError, match="--control-strength says"):
        recipe_for({"control_strength": 0.5, "affect": "builtin"}, None)


def test_what_the_api_is_given_is_checked_as_well(deaf: Path) -> None:
    with_deaf = session.Session.open(deaf)
    for choices, sentence in (
        ({"control_strength": 0.5}, "--control-strength says how strictly controls are followed"),
        ({"style_strength": 0.5}, "--style-strength says how much of a style is added"),
        ({"lane_strength": 2.0}, "--lane-strength is for models that have lanes"),
    ):
        with pytest.raises(InputError, match=sentence):
            emsync.compose(duration_s=2, session=with_deaf, **choices)  # type: ignore[arg-type]
