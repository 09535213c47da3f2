"""Experiment files as nested dictionaries that remember where every value was written.

A value's *path* is the tuple of its keys, ``("training", "epochs")``; its *origin* is what an error message
points at: ``ablation_k.yaml:12`` or ``--set training.epochs=10``.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.exceptions import ConfigError

KeyPath = tuple[str, ...]

EXPERT_CHOICES = frozenset({"source", "algorithm", "recipe"})
"""Keys of ``experts:`` that choose experts; beside them stand the recipe's own settings."""


class _Loader(yaml.SafeLoader):
    """YAML as people write it: ``1e-4`` is a number (PyYAML reads it as text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?([0-9][0-9_]*)(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


@dataclass
class YamlSource:
    """A configuration and the origin of each of its values."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: Iterable[object]) -> str:
        """Place where the value at ``path``, or else one within it, or else the nearest around it, was written."""
        keys = tuple(str(key) for key in path)
        if keys and keys not in self.origins:
            within = (where for key, where in self.origins.items() if key[: len(keys)] == keys)
            if (first := next(within, None)) is not None:
                return first
        for end in range(len(keys), -1, -1):
            if keys[:end] in self.origins:
                return self.origins[keys[:end]]
        return self.name

    def set(self, path: KeyPath, value: object, origin: str) -> None:
        """Put ``value`` at ``path``.

        A mapping is merged into what is there, anything else replaces it. Two sections read as people mean them: a
        list of methods selects among those that are there, with their settings, and adds the others, and what the grid
        varies of those that are left out goes with them; experts that are chosen anew (by source, algorithm or recipe)
        replace the ones before, settings and all.
        """
        if path == ("methods",) and isinstance(value, list):
            for name in set(self.names(path)) - set(map(str, value)):
                self._leave_out(name)
            if isinstance(there := self._at(path), Mapping):
                kept = {str(name): there.get(str(name), {}) for name in value}
                self._forget(path)
                self.origins[path] = origin
                self._put(path, kept)
                return
        if path == ("experts",) and isinstance(value, Mapping) and not EXPERT_CHOICES.isdisjoint(value):
            self._forget(path)
            self._put(path, {})
        if isinstance(value, Mapping) and value:
            self.origins.setdefault(path, origin)
            if isinstance(self._at(path), list):  # `methods: [a, b]` and `methods: {a: {...}}` say the same thing
                self._put(path, {str(item): {} for item in self._at(path)})
            for key, item in value.items():
                self.set((*path, str(key)), item, origin)
            return
        self._forget(path)
        self.origins[path] = origin
        self._put(path, value)

    def _leave_out(self, method: str) -> None:
        """Drop what the grid of the file or its profile varies of a method."""
        grid = self._at(("grid",))
        varied = [str(key) for key in grid] if isinstance(grid, Mapping) else []
        for key in varied:
            of_method = key.removeprefix("methods.").partition(".")[0] == method
            if of_method and not self.origin(("grid", key)).startswith("--set"):
                del grid[key]
                self._forget(("grid", key))

    def names(self, path: KeyPath) -> list[str]:
        """Keys of the mapping, or items of the list, at ``path``; none where there is neither."""
        there = self._at(path)
        return [str(name) for name in there] if isinstance(there, list | Mapping) else []

    def _forget(self, path: KeyPath) -> None:
        """Drop the origins of a value and of everything below it."""
        self.origins = {key: where for key, where in self.origins.items() if key[: len(path)] != path}

    def copy(self) -> YamlSource:
        return YamlSource(self.name, copy.deepcopy(self.data), dict(self.origins))

    def _at(self, path: KeyPath) -> Any:
        here: Any = self.data
        for key in path:
            here = here.get(key) if isinstance(here, Mapping) else None
        return here

    def _put(self, path: KeyPath, value: object) -> None:
        here = self.data
        for key in path[:-1]:
            if isinstance(here.get(key), list):
                here[key] = {str(item): {} for item in here[key]}
            if not isinstance(here.get(key), dict):
                here[key] = {}
            here = here[key]
        here[path[-1]] = copy.deepcopy(value)


def read(path: Path) -> YamlSource:
    """Read a YAML file. ConfigError with file and line if it cannot be read, is no mapping, or repeats a key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read: {reason}. Give the path of an experiment file.") from None
    try:
        node = yaml.compose(text, Loader=_Loader)
        data = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: this is not YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is not YAML: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}:1: an experiment file is a mapping (`name: …`, `benchmarks: …`), not {data!r:.60}.")
    source = YamlSource(str(path), data)
    _record_lines(node, (), source)
    return source


def parse_assignment(text: str) -> tuple[str, Any]:
    """``"training.epochs=10"`` as a dotted name and a value, the value read as YAML."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {text}: write it as key=value, for example --set training.epochs=10.")
    try:
        return key.strip(), yaml.load(value, Loader=_Loader)
    except yaml.YAMLError as error:
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError(f"--set {text}: the value is not YAML: {reason}.") from None


def _record_lines(node: yaml.Node | None, path: KeyPath, source: YamlSource) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            where = f"{source.name}:{key_node.start_mark.line + 1}"
            if key in seen:
                raise ConfigError(f"{where}: '{key}' is written twice here; keep one of them.")
            seen.add(key)
            source.origins[(*path, key)] = where
            _record_lines(value_node, (*path, key), source)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            source.origins[(*path, str(index))] = f"{source.name}:{item.start_mark.line + 1}"
            _record_lines(item, (*path, str(index)), source)
