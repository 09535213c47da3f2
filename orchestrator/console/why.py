"""Why: for each artifact that is missing, what tells it from the nearest one in the store, one line per reason."""

from __future__ import annotations

import json
from collections import Counter

from rich.console import Console
from rich.markup import escape

from orchestrator.artifacts.artifact import Json
from orchestrator.execution.reasons import Difference, Group, groups_of
from orchestrator.execution.state import ExecutionState
from orchestrator.planning.plan import Plan

SHOWN_SETTINGS = 4
SHOWN_VALUES = 3


def print_reasons(console: Console, state: ExecutionState) -> None:
    """Print them; nothing is made."""
    plan = state.plan
    console.print(
        f"{plan.experiment.name}: {len(state.missing)} of {len(plan.artifacts)} artifacts are missing", highlight=False
    )
    for group in groups_of(state):
        console.print(f"  {escape(_line(plan, group))}", highlight=False)
    rows = sum(state.complete(run) for run in state.missing_runs.values())
    if rows:
        console.print(f"  {_counted('run', rows)}: all artifacts are there, their rows are not", highlight=False)


def _line(plan: Plan, group: Group) -> str:
    first = group.artifacts[0]
    who = plan.name(first.key) if len(group.artifacts) == 1 else _counted(first.kind, len(group.artifacts))
    told = [_told(name, values) for name, values in list(group.differences.items())[:SHOWN_SETTINGS]]
    if (more := len(group.differences) - len(told)) > 0:
        told.append(f"and {_counted('more setting', more)}")
    following = _list(group.following)
    return f"{who}: {group.text or '; '.join(told)}" + (f" ({following} follow)" if following else "")


def _told(setting: str, values: list[Difference]) -> str:
    ours = list(dict.fromkeys(_shown(difference.value) for difference in values))
    nearest = list(dict.fromkeys(_shown(difference.nearest) for difference in values))
    if ours == nearest:
        return f"{setting} is not that of the nearest in the store"
    return f"{setting} is {_some(ours)}, the nearest in the store has {_some(nearest)}"


def _some(values: list[str]) -> str:
    """A few of the values."""
    more = len(values) - SHOWN_VALUES
    return ", ".join(values[:SHOWN_VALUES]) + (f" and {_counted('other', more)}" if more > 0 else "")


def _shown(value: Json) -> str:
    """A value as people read it; of a list no more than its length."""
    if value is None:
        return "none"
    return (
        _counted("value", len(value))
        if isinstance(value, list)
        else value
        if isinstance(value, str)
        else json.dumps(value)
    )


def _list(counts: Counter[str]) -> str:
    return ", ".join(_counted(kind, count) for kind, count in counts.items())


def _counted(noun: str, count: int) -> str:
    """A number of things: ``12 generators``, ``1 rollouts``."""
    return f"{count} {noun}{'' if count == 1 or noun.endswith('s') else 's'}"
