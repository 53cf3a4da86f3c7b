"""What a field of the recipe knows about itself: help, option, range, default."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any

from emsync.errors import InputError


@dataclass(frozen=True)
class Choice:
    """What a field of the recipe knows about itself besides its type and default.

    Attributes:
        help: One sentence for `--help` and docs/cli.md.
        flag: The option's name, such as "--tempo"; None if the command line has no option for it.
        metavar: What `--help` shows as the value.
        choices: The allowed words, for a choice among words; (False, True) for a switch.
        low, high: The allowed range of a number.
        low_open: Whether `low` itself is not allowed.
        whole: Whether only whole numbers are allowed.
        optional: Whether None is allowed.
        text: For a choice that is a text: raises `InputError` if it is not allowed.
        default_text: What `--help` says about the default, if the value itself does not say it.
        since: What records written before the field existed were composed with; the default if not given.

    """

    help: str
    flag: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] | tuple[bool, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    whole: bool = False
    optional: bool = False
    text: Callable[[str], None] | None = None
    default_text: str | None = None
    since: Any = None

    @property
    def range_text(self) -> str:
        """The allowed range in words, such as "above 0 and at most 10"."""
        kind = "a whole number" if self.whole else "a number"
        if math.isinf(self.low) and math.isinf(self.high):
            return kind
        if math.isinf(self.low):
            return f"{kind} of at most {_plain(self.high)}"
        if math.isinf(self.high):
            return f"{kind} {'above' if self.low_open else 'of at least'} {_plain(self.low)}"
        if self.low_open:
            return f"{kind} above {_plain(self.low)} and at most {_plain(self.high)}"
        return f"{kind} from {_plain(self.low)} to {_plain(self.high)}"

    def check(self, name: str, value: Any) -> None:
        """Raise `InputError` if `value` is not allowed for the field `name`."""
        if value is None and self.optional:
            return
        if self.text is not None:
            self.text(value)
            return
        if self.choices:
            if value not in self.choices:
                raise InputError(f"{name} is {value!r}; choose one of {', '.join(map(str, self.choices))}")
            return
        number = isinstance(value, int) if self.whole else isinstance(value, int | float)
        if not number or isinstance(value, bool):
            raise InputError(f"{name} is {value!r}; give {self.range_text}")
        above = value > self.low if self.low_open else value >= self.low
        if not (above and value <= self.high):  # False for NaN, too
            raise InputError(f"{name} is {value}; give {self.range_text}")


def choice(default: Any, help: str, flag: str | None = None, metavar: str | None = None, **rest: Any) -> Any:
    """A field of the recipe; `rest` goes to `Choice`."""
    return field(default=default, metadata={"choice": Choice(help, flag, metavar, **rest)})


def choice_of(item: Field[Any]) -> Choice:
    """The `Choice` of a field of `Recipe`."""
    choice = item.metadata["choice"]
    assert isinstance(choice, Choice)
    return choice


def check_style(value: Any) -> None:
    """Raise `InputError` for what cannot be the name of a style's folder. "" is none."""
    if not isinstance(value, str) or (value and not value.strip()) or "\0" in value:
        raise InputError(f"style is {value!r}; give the folder of a style, made by emsync train --adapter lora")


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"
