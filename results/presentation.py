"""Columns worth printing: those that tell rows apart. Whatever all rows share stands above the table, once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, get_type_hints

from results.formats import Grid
from results.statistics import Comparison, Summary

Row = dict[str, Any]

# Shown only where they tell rows apart; where all rows agree, the value stands above the table instead.
_CONDITIONS = (
    "expert_recipe",
    "expert",
    "split_kind",
    "train_specs",
    "test_specs",
    "epochs",
    "batch_size",
    "learning_rate",
    "selection",
    "seed",
)
_SETTINGS = ("settings", "settings_a", "settings_b")
_HEADROOM = ("headroom", "headroom_low_95", "headroom_high_95")
_ONLY_WHERE_THERE = ("std_seeds", "seeds", "few_shot", "paper_std", "failed", "headroom_unclear", *_SETTINGS)
_BESIDE = ("ours", "paper", "difference", "paper_std", "failed", "ours_relative", "paper_relative")
_LEVELS = ("experts", "nearest", "best_mean")
_SHARES = ("ratio", "improvement", "improvement_low_95", "improvement_high_95", *_HEADROOM, "share")
_NUMBERS = [name for kind in (Summary, Comparison) for name, of in get_type_hints(kind).items() if of is not int]
_LEGEND = {
    "difference": "difference: {0}.",
    "few_shot": "few_shot: adapts with demonstrations of the test specs, which the other methods never see.",
    "failed": "failed: episodes that failed, in %.",
    "headroom": "headroom: (method - nearest) / (expert - nearest), of means over the same specs: 0 is nearest, 1 the "
    "expert. Its 95 % bootstrap interval draws splits again, and specs within them.",
    "headroom_unclear": "headroom_unclear: the 95 % interval of expert - nearest is not above 0, so there is no "
    "headroom to measure (-).",
    "std_episodes": "std_episodes, std_specs, std_splits: sample deviation over a spec's episodes, "
    "over a split's specs, over splits.",
    "std_seeds": "std_seeds: sample deviation over a split's training seeds.",
    "low_95": "low_95, high_95: 95 % bootstrap interval of {1}.",
    "t_low_95": "t_low_95, t_high_95: 95 % t interval of {1}, from the splits' means alone: wide where splits are few, "
    "where the bootstrap's is too narrow.",
    "in_mean": "in_mean, out_mean: specs in and out of distribution.",
    "improvement": "improvement: probability that an episode of a beats one of b on its spec, a tie counting half.",
}


def presented(columns: Sequence[str], rows: Sequence[Row], title: str, scope: Sequence[str], places: int = 2) -> Grid:
    """The grid of `rows` under those of `columns` that tell something, numbers with so many decimal `places`.

    Above it stand the title, the scope (what the table takes), the conditions that all measured rows share, and what
    the columns mean. A row of the paper alone has no settings (None).
    """
    metrics = {str(row["metric"]) for row in rows if row.get("metric") is not None}
    metric = metrics.pop() if len(metrics) == 1 else ""
    rows = _with_differing_settings(rows)
    shown, shared = _telling(columns, rows)
    notes = [*scope, *([f"Conditions: {', '.join(shared)}."] if shared else []), *_legend(shown)]
    decimals = {**dict.fromkeys((*_NUMBERS, *_BESIDE, *_LEVELS), places), **dict.fromkeys(_SHARES, 3)}
    return Grid(shown, [[row[column] for column in shown] for row in rows], title, notes, decimals, metric=metric)


def _legend(shown: Sequence[str]) -> Iterable[str]:
    against, interval = ("ours - paper", "ours") if "ours" in shown else ("a - b", "the difference")
    interval = "the mean" if "mean" in shown else interval
    return [text.format(against, interval) for name, text in _LEGEND.items() if name in shown]


def _with_differing_settings(rows: Sequence[Row]) -> Sequence[Row]:
    """Leaves in each row's settings those that tell it from another generator's (or another expert's) row of its
    benchmark. A setting that only other methods have tells nothing; one that another row of its method lacks does, and
    so does one in which the two sides of a comparison differ."""
    groups = defaultdict(list)
    unlike = {id(row): _unlike(row.get("settings_a") or {}, row.get("settings_b") or {}) for row in rows}
    for row in rows:
        for column in _SETTINGS:
            if row.get(column) is not None:
                groups[column, row["benchmark"], row.get("method") == "expert"].append(row)
    for (column, *_), group in groups.items():
        telling = _differing([(row.get("method"), row[column]) for row in group])
        for row in group:
            row[column] = {name: value for name, value in row[column].items() if name in telling | unlike[id(row)]}
    return rows


def _unlike(settings: dict[str, Any], others: dict[str, Any]) -> set[str]:
    """Names that stand in both, with different values."""
    return {name for name in settings.keys() & others.keys() if settings[name] != others[name]}


def _differing(rows: Sequence[tuple[Any, dict[str, Any]]]) -> set[str]:
    """Names of settings, given (method, settings) of each row."""
    values, methods = defaultdict(set), defaultdict(list)
    for method, settings in rows:
        methods[method].append(set(settings))
        for name, value in settings.items():
            values[name].add(value)
    several = {name for name, found in values.items() if len(found) > 1}
    partial = [set[str]().union(*names) - names[0].intersection(*names) for names in methods.values()]
    sometimes = set[str]().union(*partial)
    return {name for name in several | sometimes if not _has_column(name)}


def _has_column(setting: str) -> bool:
    return setting.removeprefix("training.").replace("split.kind", "split_kind") in _CONDITIONS


def _telling(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[str]]:
    """The columns to show, and the conditions that all measured rows share, as text."""
    measured = [row for row in rows if any(row.get(column) is not None for column in _SETTINGS)]
    hidden, shared = set(), []
    for name in (column for column in columns if column in _CONDITIONS):
        if name == "expert":  # a key that says nothing about another benchmark's
            found = [_values(name, group) for group in _by_benchmark(measured)]
        else:
            found = [_values(name, measured)]
        if all(max(len(experts), len(generators)) <= 1 for experts, generators in found):
            hidden.add(name)
            common = {value for experts, generators in found for value in generators or experts}
            shared += [f"{name} {value}" for value in common if value is not None and name != "expert"]
    for side in ("a", "b"):
        settings = [row.get(f"settings_{side}") for row in rows]
        if len(settings) > 1 and settings[0] and all(found == settings[0] for found in settings):
            hidden.add(f"settings_{side}")
            shared += [f"{side}'s {name} {value}" for name, value in settings[0].items()]
    if not any(row.get("headroom_unclear") is not None for row in rows):
        hidden.update(_HEADROOM)
    hidden |= {name for name in _ONLY_WHERE_THERE if not any(_is_there(row.get(name)) for row in rows)}
    if len({row.get("metric") for row in rows}) <= 1:
        hidden.add("metric")
    return [column for column in columns if column not in hidden], shared


def _values(name: str, rows: Sequence[Row]) -> tuple[set[Any], set[Any]]:
    """Values of a condition: the experts', and the other methods'."""
    experts = {row[name] for row in rows if row.get("method") == "expert"}
    return experts, {row[name] for row in rows if row.get("method") != "expert"}


def _by_benchmark(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[row["benchmark"]].append(row)
    return groups.values()


def _is_there(value: object) -> bool:
    return value is not None and value is not False and value != {}
