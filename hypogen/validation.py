"""Rules for the settings dataclasses: one line per rule, and an error that begins with the setting at fault.

    def __post_init__(self) -> None:
        require(self, whole(1), "epochs", "batch_size")
        require(self, POSITIVE.or_null(), "max_gradient_norm")

The experiment files rely on that beginning: they report an error at the line of the first setting it names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Rule:
    """Condition on the value of one setting.

    text: end of the sentence "<setting> must ...".
    holds: whether a value, of any type, obeys the rule.
    """

    text: str
    holds: Callable[[Any], bool]

    def or_null(self) -> Rule:
        """The same rule for a setting that may also be None, which is `null` in an experiment file."""
        return Rule(f"{self.text} or null", lambda value: value is None or self.holds(value))


def require(settings: object, rule: Rule, *names: str) -> None:
    """Apply one rule to some of the settings; ValueError names the first that breaks it, and its value."""
    for name in names:
        value = getattr(settings, name)
        if not rule.holds(value):
            raise ValueError(f"{name} must {rule.text}, not {value!r}")


LATER = "later"
"""In the metadata of a dataclass's field that `later` made."""


def later(default: Any) -> Any:
    """A field for a setting that did not exist when artifacts were made already.

    At its default, which is what the code did before, it goes without saying: neither keys nor rows change.
    """
    return field(default=default, metadata={LATER: True})


def described(settings: Any) -> str:
    """A settings dataclass as `repr` has it, without those settings that go without saying."""
    told = [field.name for field in fields(settings) if field.repr and not goes_without_saying(settings, field)]
    return f"{type(settings).__name__}({', '.join(f'{name}={getattr(settings, name)!r}' for name in told)})"


def goes_without_saying(settings: Any, field: Field[Any]) -> bool:
    """Whether a setting came `later` and is at its default."""
    return LATER in field.metadata and bool(getattr(settings, field.name) == field.default)


def whole(minimum: int) -> Rule:
    """Integers from `minimum` up."""
    text = f"be an integer of at least {minimum}"
    return Rule(text, lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= minimum)


def number(text: str, holds: Callable[[Any], bool]) -> Rule:
    """A rule about numbers, which no value of another type obeys."""
    return Rule(text, lambda value: isinstance(value, Real) and holds(value))


def at_least(minimum: float) -> Rule:
    """Numbers from `minimum` up, infinity included."""
    return number(f"be at least {minimum:g}", lambda value: value >= minimum)


def one_of(*known: str) -> Rule:
    """One of some words, all of which the error lists."""
    return Rule(f"be one of {', '.join(known)}", lambda value: value in known)


POSITIVE = number("be positive and finite", lambda value: 0 < value < math.inf)
NOT_NEGATIVE = number("be finite and not negative", lambda value: 0 <= value < math.inf)
FRACTION = number("be in [0, 1]", lambda value: 0 <= value <= 1)
POSITIVE_FRACTION = number("be in (0, 1]", lambda value: 0 < value <= 1)
DISCOUNT = number("lie in [0, 1)", lambda value: 0 <= value < 1)
"""Discounts of the future: with 1, a value would have no bound."""
