"""What the chosen model cannot follow is refused, or said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import emsync
from emsync import session
from emsync.cli.checked import recipe_for
from emsync.cli.main import main
from emsync.conditions import LANE_NAMES
from emsync.control_curves import KINDS, Control, ControlCurves
from emsync.errors import InputError
from tests.cli_compose.runs import Run, refused
from tests.models import ROTARY, model_folder

CHANGE = {"change": {"times_s": [0, 2], "values": [0, 1]}}
DENSITY = {"density": {"times_s": [0], "values": [8]}}
STEERED = "intensity, density, melody, rhythm, key"


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without lanes for controls, as those of before there were any."""
    lanes = LANE_NAMES[: LANE_NAMES.index("intensity")]
    return model_folder(tmp_path_factory.mktemp("deaf"), replace(ROTARY, lanes=lanes))


def controls(path: str, **curves: object) -> str:
    Path(path).write_text(json.dumps({"controls": curves}))
    return path


def test_change_alone_is_refused_by_a_model_without_its_lane(run: Run, deaf: Path) -> None:
    given = ("--duration", "2", "--controls", controls("only.json", **CHANGE))
    said = run(*given, "--model", deaf, with_model=False)
    refused(said, f"the controls hold change alone, for which this model has no lane; give controls that it follows: "
            f"{STEERED}\n", left=["only.json"])  # fmt: skip
    assert run(*given, "-o", "song.mid").code == 0  # the fixture's model has all lanes


@pytest.mark.slow
def test_change_beside_others_is_left_out_with_a_warning(run: Run, deaf: Path) -> None:
    both, one = controls("both.json", **CHANGE, **DENSITY), controls("one.json", **DENSITY)
    said = run("--duration", "2", "--controls", both, "-o", "a.mid", "--model", deaf, with_model=False)
    warning = f"Warning: the control change is ignored, because this model has no lane for it; it follows {STEERED}.\n"
    assert (said.code, said.err) == (0, warning)
    assert run("--duration", "2", "--controls", one, "-o", "b.mid", "--model", deaf, with_model=False).err == ""
    assert Path("a.mid").read_bytes() == Path("b.mid").read_bytes()
    assert run("--duration", "2", "--controls", both, "-o", "c.mid").err == ""


def test_a_revised_part_says_it_too(run: Run, deaf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--duration", "4", "-o", "song.mid", "--model", deaf, with_model=False).code == 0
    revised = ["revise", "song.mid", "--bars", "1", "--tries", "1", "--quiet", "-o", "new.mid", "--controls"]
    assert main([*revised, controls("both.json", **CHANGE, **DENSITY)]) == 0
    assert "the control change is ignored" in capsys.readouterr().err
    for name in ("new.mid", "new.mid.json"):
        Path(name).unlink()
    assert main([*revised, controls("only.json", **CHANGE)]) == 2
    assert "the controls hold change alone" in capsys.readouterr().err
    assert not Path("new.mid").exists()


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
    change = ControlCurves({"change": Control(np.array([0.0, 2.0]), np.array([0.0, 1.0]))})
    with_deaf = session.Session.open(deaf)
    for choices, sentence in (
        ({"control_strength": 0.5}, "--control-strength says how strictly controls are followed"),
        ({"style_strength": 0.5}, "--style-strength says how much of a style is added"),
        ({"lane_strength": 2.0}, "--lane-strength is for models that have lanes"),
        ({"controls": change}, "the controls hold change alone"),
    ):
        with pytest.raises(InputError, match=sentence):
            emsync.compose(duration_s=2, session=with_deaf, **choices)  # type: ignore[arg-type]


def test_what_is_followed(model: Path, deaf: Path) -> None:
    assert session.followed(model) == ", ".join(KINDS)
    assert session.followed(deaf) == STEERED
    assert session.not_followed(["change", "key"], deaf) == ("change",)
