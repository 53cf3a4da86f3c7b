"""The values of a recipe as records have them: those of older versions brought up to date, and pairs checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emsync import describe as describes
from emsync import vocabulary as v
from emsync.choice import Choice
from emsync.control_curves import ControlCurves
from emsync.errors import InputError
from emsync.likeness import Likeness


def checked_kinds(
    by_kind: Mapping[str, tuple[float, float]], choices: Mapping[str, Choice]
) -> dict[str, tuple[float, float]]:
    """Temperature and top-p by kind of event. Raises `InputError` for an unknown kind, or a value out of range."""
    pairs = {}
    for kind, pair in by_kind.items():
        if kind not in v.KINDS:
            raise InputError(f"there is no kind of event {kind!r}; kinds are {', '.join(v.KINDS)}")
        temperature, top_p = pair
        choices["temperature"].check(f"temperature of {kind}", temperature)
        choices["top_p"].check(f"top_p of {kind}", top_p)
        pairs[kind] = (float(temperature), float(top_p))
    return pairs


def upgraded(values: Mapping[str, Any], choices: Mapping[str, Choice]) -> dict[str, Any]:
    """The fields of a recipe from a record's values. Fields that it lacks get what older versions composed with.

    Raises `InputError`, `KeyError`, `TypeError`, `ValueError` or `AttributeError` for what is no record of a recipe.
    """
    given = dict(values)
    given["seed"]  # the one field that every record has: KeyError without
    given["by_kind"] = {kind: tuple(pair) for kind, pair in given.get("by_kind", {}).items()}
    if given.get("describe") and "style" not in given:  # older: named families did not play alone yet
        given["describe"] = f"mainly {given['describe']}"[: describes.LONGEST]
    for name, read in (("controls", ControlCurves.from_json), ("like", Likeness.from_dict)):
        if given.get(name) is not None:
            given[name] = read(given[name])
    for name, choice in choices.items():
        if choice.since is not None:
            given.setdefault(name, choice.since)
    return given
