"""Rules of settings: which values they take, and that every settings class reports the setting at fault first."""

import dataclasses
import math
from dataclasses import dataclass

import pytest

from hypogen.experts import PPOSettings, TD3Settings
from hypogen.generators import GENERATORS
from hypogen.policy import PolicyShape
from hypogen.training import TrainingSettings
from hypogen.validation import (
    DISCOUNT,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_FRACTION,
    at_least,
    one_of,
    require,
    whole,
)


@dataclass(frozen=True)
class Example:
    """Two settings."""

    width: object
    depth: object = 1


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (whole(1), [1, 10**9], [0, -1, 1.0, True, "1", None, math.nan]),
        (whole(1).or_null(), [1, None], [0, "null"]),
        (at_least(0), [0, 0.5, math.inf], [-0.1, math.nan, "0", None]),
        (POSITIVE, [1e-300, 3], [0, -1, math.inf, math.nan, "1", None]),
        (NOT_NEGATIVE, [0, 0.5], [-0.1, math.inf, math.nan, None]),
        (FRACTION, [0, 1, 0.5], [-0.1, 1.1, math.nan, None]),
        (POSITIVE_FRACTION, [1, 0.5], [0, 1.1, math.nan, None]),
        (DISCOUNT, [0, 0.99], [1, -0.1, math.nan, None]),
        (one_of("last", "best"), ["last", "best"], ["las", "", None, ["last"]]),
    ],
)
def test_rules(rule, good, bad):
    assert [value for value in good if not rule.holds(value)] == []
    assert [value for value in bad if rule.holds(value)] == []


def test_the_error_begins_with_the_first_setting_at_fault_and_ends_with_its_value():
    require(Example(1), whole(1), "width", "depth")
    with pytest.raises(ValueError, match=r"^depth must be an integer of at least 1 or null, not 0\.5$"):
        require(Example(1, 0.5), whole(1).or_null(), "width", "depth")


@pytest.mark.parametrize(
    "settings",
    [
        *(TrainingSettings, TD3Settings, PPOSettings, PolicyShape),
        *(entry.settings for entry in GENERATORS.values() if dataclasses.fields(entry.settings)),
    ],
)
def test_every_settings_class_begins_its_errors_with_the_setting(settings):
    numbers = [name for name, value in vars(settings()).items() if type(value) in (int, float)]
    assert numbers
    for name in {*numbers} - {"initial_log_std"}:  # any logarithm will do
        with pytest.raises(ValueError, match=rf"^{name} must .*, not -7$"):
            settings(**{name: -7})
