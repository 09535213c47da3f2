"""Pydantic's errors as lines that name the place in the file, the key and the remedy."""

from __future__ import annotations

import math

import pydantic
from pydantic import BaseModel

from hypogen.errors import did_you_mean
from orchestrator.config.experiment import Experiment
from orchestrator.config.yaml_source import KeyPath, YamlSource


def explain(error: pydantic.ValidationError, source: YamlSource) -> str:
    """One line per problem."""
    lines = []
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"])
        key = (problem.get("ctx") or {}).get("key")
        path = (*path, *str(key).split(".")) if key else path
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key '{path[-1]}': {did_you_mean(path[-1], _known_at(path[:-1]))}"
        elif problem["type"] == "missing":
            message = "is missing; write it"
        elif isinstance(problem.get("input"), int | float | str) and not key:
            message = f"{message} (got {_show(problem['input'])})"
        lines.append(f"{source.origin(path)}: {'.'.join(path)}: {message}")
    return "\n".join(lines)


def _show(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) and not math.isnan(value) else repr(value)


def _known_at(path: KeyPath) -> list[str]:
    """Keys that an experiment has at a path."""
    here: type[BaseModel] = Experiment
    for part in path:
        annotation = here.model_fields[part].annotation if part in here.model_fields else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        found = next((kind for kind in options if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
        if found is None:
            return []
        here = found
    extra = ["grid", "profiles"] if here is Experiment else []
    return [*here.model_fields, *extra]
