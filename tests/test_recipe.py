"""The recipe: every composing choice once, with its range, its default and its option."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from emsync.cli import options
from emsync.errors import InputError
from emsync.recipe import CHOICES, Recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 9223372036854775807"),
        ({"seed": 2**63}, "seed is 9223372036854775808; give a whole number from 0 to"),
        ({"seed": 1.5}, "seed is 1.5; give a whole number"),
        ({"seed": True}, "seed is True; give a whole number"),
        ({"seed": "x"}, "seed is 'x'; give a whole number"),
        ({"instruments": "some"}, "instruments is 'some'; choose one of more, fewer"),
        ({"hits": "beat"}, "hits is 'beat'; choose one of bend, exact, free"),
        ({"grid": "quavers"}, "grid is 'quavers'; choose one of triplets, sixteenths, free"),
        ({"finish": True}, "finish is True; choose one of on, off"),
        ({"temperature": "hot"}, "temperature is 'hot'; give a number above 0 and at most 10"),
        ({"temperature": 0.0}, "temperature is 0.0; give a number above 0 and at most 10"),
        ({"temperature": -1.0}, "temperature is -1.0; give a number above 0"),
        ({"temperature": 11.0}, "temperature is 11.0; give a number above 0 and at most 10"),
        ({"temperature": math.nan}, "temperature is nan; give a number above 0"),
        ({"top_p": None}, "top_p is None; give a number above 0 and at most 1"),
        ({"top_p": 0.0}, "top_p is 0.0; give a number above 0 and at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01; give a number above 0 and at most 1"),
        ({"top_p": math.nan}, "top_p is nan; give a number above 0"),
        ({"by_kind": {"ON": (0.0, 0.9)}}, "temperature of ON is 0.0; give a number above 0"),
        ({"by_kind": {"ON": (1.0, 2.0)}}, "top_p of ON is 2.0; give a number above 0 and at most 1"),
        ({"by_kind": {"NOTE": (1.0, 0.9)}}, "no kind of event 'NOTE'; kinds are PAD, START, .*, ON, OFF"),
        ({"velocity_temperature": 0.0}, "velocity_temperature is 0.0; give a number above 0"),
        ({"stale_bias": 0.1}, "stale_bias is 0.1; give a number from -100 to 0"),
        ({"repeat_bias": 1.0}, "repeat_bias is 1.0; give a number from -100 to 0"),
        ({"repeat_bias": math.nan}, "repeat_bias is nan; give a number from -100 to 0"),
        ({"mood_strength": -0.1}, "mood_strength is -0.1; give a number from 0 to 10"),
        ({"mood_strength": 10.5}, "mood_strength is 10.5; give a number from 0 to 10"),
        ({"mood_strength": math.nan}, "mood_strength is nan; give a number from 0 to 10"),
        ({"mood_strength": None}, "mood_strength is None; give a number from 0 to 10"),
        ({"tempo_qpm": 44.0}, "tempo_qpm is 44.0; give a number from 45 to 240"),
        ({"tempo_qpm": "fast"}, "tempo_qpm is 'fast'; give a number from 45 to 240"),
        ({"t_diff_s": [4]}, r"t_diff_s is \[4\]; give a number from 0 to 3600"),
        ({"form": "A'B"}, "form \"A'B\" varies A in A' before it was played; put A first"),
        ({"form": 3}, "form is 3; give auto, none, or sections such as AABA"),
        ({"phrase_strength": -0.1}, "phrase_strength is -0.1; give a number from 0 to 1"),
        ({"theme_strength": 1.1}, "theme_strength is 1.1; give a number from 0 to 1"),
        (
            {"palette": "polka"},
            "palette 'polka': there is no palette 'polka'; give auto, standard, .* or programs",
        ),
        (
            {"palette": "brass=5"},
            "palette 'brass=5': there is no family 'brass'; families are drums, piano, guitar",
        ),
        ({"palette": "piano=128"}, "'128' is not a program; give a whole number from 0 to 127"),
        ({"palette": "piano=-1"}, "'-1' is not a program"),
        ({"palette": "piano=1,piano=2"}, "gives piano twice; give it once"),
        ({"palette": "piano=1,jazz"}, "there is no palette 'jazz'; give auto"),
        ({"palette": ""}, "there is no palette ''; give auto"),
        ({"palette": 4}, "palette is 4; give auto, standard"),
        ({"candidates": 0}, "candidates is 0; give a whole number from 1 to 16"),
        ({"candidates": 1000}, "candidates is 1000; give a whole number from 1 to 16"),
        ({"t_diff_s": -1}, "t_diff_s is -1; give a number from 0 to 3600"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**values)


def test_every_field_says_what_it_is_and_its_default_is_allowed() -> None:
    default = Recipe()
    assert list(CHOICES) == [item.name for item in fields(Recipe)]
    for name, choice in CHOICES.items():
        assert choice.help.endswith("."), name
        if name != "by_kind":
            choice.check(name, getattr(default, name))
    flags = [choice.flag for choice in CHOICES.values() if choice.flag]
    assert len(set(flags)) == len(flags)


@given(
    seed=st.integers(0, 2**63 - 1),
    temperature=st.floats(0.01, 10),
    tempo=st.none() | st.floats(45, 240),
    hits=st.sampled_from(["bend", "exact", "free"]),
    kinds=st.dictionaries(st.sampled_from(["ON", "OFF", "TIMESHIFT"]), st.tuples(st.floats(0.1, 9), st.floats(0.1, 1))),
)
def test_plain_values_give_the_same_recipe_again(
    seed: int, temperature: float, tempo: float | None, hits: Any, kinds: dict[str, tuple[float, float]]
) -> None:
    recipe = Recipe(seed=seed, temperature=temperature, tempo_qpm=tempo, hits=hits, by_kind=kinds)
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_old_records_get_what_they_were_composed_with() -> None:
    assert Recipe.from_dict({"seed": 3}) == Recipe(
        seed=3,
        finish="off",
        by_kind={},
        copying=0.0,
        stray_bias=-1.7,
        loose_bias=-0.9,
        form="none",
        phrase_strength=0.0,
        density_limit=0.0,
        density_floor=0.0,
        balance=0.0,
        alone_bias=0.0,
        monotony_bias=0.0,
        texture=0.0,
        profiles=0.0,
        expression=0.0,
        moving_chords=False,
        style_manner="off",
        mood_feedback=0.0,
        feedback_reach=False,
        opening_key=1.0,
        relative_chords=False,
        mode_feedback=0.0,
        settled_key=0.0,
        clear_chords=0.0,
        pace=0.0,
        keeps_shares=False,
        tempo_plan="off",
        palette="standard",
        mode="off",
        progression="off",
        register_bias=0.0,
        register_feedback=False,
        arousal_qpm=25.0,
        valence_qpm=0.0,
        song_tempi=False,
        left_out=4.0,
        intensity_by="velocity",
        count_in=True,
        compass=False,
        full_chords=0.0,
        heard_thirds=0.0,
        final_tonic=0.0,
        late_accents=False,
        intensity_lane=True,
        key_lane=True,
        key_feedback=False,
    )


def test_old_records_let_other_families_join_those_described() -> None:
    assert Recipe.from_dict({"seed": 3, "describe": "strings"}).described.mainly
    assert Recipe.from_dict(Recipe(describe="strings").to_dict()).describe == "strings"


@click.command()
@options.recipe
@click.pass_context
def made(context: click.Context, **values: Any) -> None:
    context.obj.append(Recipe(**options.choices_of(values)))
    assert not values, "choices_of takes all of its options"


def parsed(*arguments: str) -> Recipe:
    found: list[Recipe] = []
    CliRunner().invoke(made, arguments, obj=found, catch_exceptions=False, standalone_mode=False)
    (recipe,) = found
    return recipe


def test_options_make_a_recipe() -> None:
    assert parsed() == Recipe()
    every = (
        "--seed 7 --instruments fewer --temperature 1.1 --top-p 0.9 --hits exact --t-diff 1.5 --tempo 96 --grid free"
    )
    assert parsed(*every.split(), "--finish", "off", "--mood-strength", "1.5", "--sampling", "off=1,0.9") == Recipe(
        seed=7, instruments="fewer", temperature=1.1, top_p=0.9, hits="exact", t_diff_s=1.5, tempo_qpm=96.0,
        grid="free", finish="off", mood_strength=1.5, by_kind={"OFF": (1.0, 0.9)},
    )  # fmt: skip


def test_help_shows_every_flag_with_its_help_and_default() -> None:
    text = " ".join(CliRunner().invoke(made, ["--help"], terminal_width=10_000).output.split())
    for name, choice in CHOICES.items():
        if choice.flag:
            assert choice.flag in text
            assert choice.help in text, name
    assert "[default: 0.87" in text
    assert "[default: drawn with the seed]" in text


@pytest.mark.parametrize(
    "name", [n for n, c in CHOICES.items() if c.flag and not c.choices and c.text is None and n != "by_kind"]
)
def test_an_option_has_the_range_of_its_field(name: str) -> None:
    choice = CHOICES[name]
    assert choice.flag is not None
    for edge, step in ((choice.low, -1), (choice.high, 1)):
        beyond = edge if choice.low_open and step < 0 else edge + step
        with pytest.raises(InputError, match=f"{name} is "):
            Recipe(**{name: beyond})
        with pytest.raises(click.UsageError, match="is not in the range"):
            parsed(choice.flag, str(beyond))
        if beyond != edge:
            assert getattr(parsed(choice.flag, str(edge)), name) == edge


SWITCHES = [name for name, choice in CHOICES.items() if choice.flag and choice.choices == (False, True)]


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_off_until_it_is_given(name: str) -> None:
    flag = CHOICES[name].flag
    assert flag is not None
    assert getattr(parsed(), name) is False
    assert getattr(parsed(flag), name) is True
    with pytest.raises(InputError, match=f"{name} is 'neither'; choose one of False, True"):
        Recipe(**{name: "neither"})


@pytest.mark.parametrize(
    "name", [n for n, choice in CHOICES.items() if choice.flag and choice.choices and n not in SWITCHES]
)
def test_an_option_has_the_words_of_its_field(name: str) -> None:
    choice = CHOICES[name]
    assert choice.flag is not None
    for word in choice.choices:
        assert getattr(parsed(choice.flag, word), name) == word
    with pytest.raises(InputError, match=f"{name} is 'neither'; choose one of"):
        Recipe(**{name: "neither"})
    with pytest.raises(click.UsageError, match="'neither' is not one of"):
        parsed(choice.flag, "neither")
