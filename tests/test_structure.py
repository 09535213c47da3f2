"""Structure of the packages, read from their source: layers, circles, names, sizes and types."""

from __future__ import annotations

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("hypogen", "results", "orchestrator")
LAYERS = (
    "orchestrator.exceptions",
    "orchestrator.artifacts",
    "orchestrator.config",
    "orchestrator.planning",
    "orchestrator.execution",
    "orchestrator.console",
    "orchestrator.sending",
    "orchestrator.sweep",
    "orchestrator.store",
    "orchestrator.supervised",
    "orchestrator.submit",
    "orchestrator.watching",
    "orchestrator.stored_runs",
    "orchestrator.shown",
    "orchestrator.export",
    "orchestrator.film",
    "orchestrator.trajectories",
    "orchestrator.command",
)
"""Parts of the orchestrator, each of which imports only those before it (and ``hypogen`` and ``results``)."""

FILE_LINES = 400
FUNCTION_LINES = 50
LONGER = {"hypogen.experts.population.train", "hypogen.experts.ppo.train"}
"""Functions that may have up to ten lines more: trainings whose docstrings explain each of many arguments."""
ANY_SHARE = 0.03

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One source file."""

    name: str
    path: Path

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text())

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """Its package; in the orchestrator, its part of it."""
        return ".".join(self.name.split(".")[: 2 if self.package == "orchestrator" else 1])

    @property
    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    @property
    def classes(self) -> Iterator[ast.ClassDef]:
        return (node for node in self.tree.body if isinstance(node, ast.ClassDef))

    def imports(self, at_once: bool = False) -> set[str]:
        """Modules that it imports; ``at_once``: those that importing it imports, not those inside functions."""
        found = set()
        for node in _executed(self.tree.body) if at_once else ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{self.name} imports relatively"
                found.update(_target(node.module or "", alias.name) for alias in node.names)
        return found - {self.name}


def _executed(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: neither bodies of functions nor what only type checkers read."""
    for node in nodes:
        if isinstance(node, Function) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            continue
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            yield from _executed(getattr(node, part, []))


def _target(module: str, name: str) -> str:
    """``from module import name``: a module of ours of that name, or the module itself."""
    return f"{module}.{name}" if f"{module}.{name}" in MODULES else module


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {
    _name(path): Module(_name(path), path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
}


def test_there_are_modules_to_look_at() -> None:
    assert len(MODULES) > 100 and {module.package for module in MODULES.values()} == set(PACKAGES)
    assert {module.room for module in MODULES.values()} == {"hypogen", "results", "orchestrator", *LAYERS}
    assert sum(len(module.imports(at_once=True)) for module in MODULES.values()) > 500


def test_no_modules_import_each_other_in_a_circle() -> None:
    imports = {name: module.imports(at_once=True) & MODULES.keys() for name, module in MODULES.items()}
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


def test_hypogen_never_imports_what_uses_it_and_results_none_of_both() -> None:
    forbidden = {
        "hypogen": {"orchestrator", "results"},
        "results": {"torch", "ray", "hypogen", "orchestrator"},
        "orchestrator": set[str](),
    }
    found = [
        f"{name} imports {imported}"
        for name, module in MODULES.items()
        for imported in sorted(module.imports())
        if imported.partition(".")[0] in forbidden[module.package]
    ]
    assert not found


def test_ray_is_for_the_orchestrator_and_the_ppo_expert() -> None:
    users = {
        name
        for name, module in MODULES.items()
        if module.package == "hypogen" and any(imported.partition(".")[0] == "ray" for imported in module.imports())
    }
    assert users == {"hypogen.experts.ppo"}


def test_the_orchestrators_parts_import_only_those_below_them() -> None:
    height = {room: layer for layer, room in enumerate(LAYERS)}
    upwards = [
        f"{name} imports {imported}"
        for name, module in MODULES.items()
        for imported in sorted(module.imports() & MODULES.keys())
        if height.get(MODULES[imported].room, -1) > height.get(module.room, len(LAYERS))
    ]
    assert not upwards


def test_no_two_rooms_have_a_module_of_one_name() -> None:
    rooms: dict[str, dict[str, str]] = defaultdict(dict)
    for name, module in MODULES.items():
        if not name.endswith("__main__"):
            rooms[name.rpartition(".")[2]][module.room] = name
    assert not [sorted(found.values()) for found in rooms.values() if len(found) > 1]


def test_no_two_rooms_have_a_public_class_of_one_name() -> None:
    rooms: dict[str, dict[str, str]] = defaultdict(dict)
    for name, module in MODULES.items():
        for node in module.classes:
            if not node.name.startswith("_"):
                rooms[node.name][module.room] = f"{name}.{node.name}"
    assert len(rooms) > 100
    assert not [sorted(found.values()) for found in rooms.values() if len(found) > 1]


def test_no_file_is_too_long() -> None:
    lines = {name: len(module.path.read_text().splitlines()) for name, module in MODULES.items()}
    longest = sorted(lines.items(), key=lambda item: -item[1])[:3]
    assert longest[0][1] <= FILE_LINES, f"longest files: {longest}"


def test_no_function_is_too_long() -> None:
    lines = {
        f"{name}.{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for name, module in MODULES.items()
        for node in module.functions
    }
    longest = sorted(lines.items(), key=lambda item: -item[1])[:5]
    too_long = {name for name, count in lines.items() if count > FUNCTION_LINES}
    assert too_long == LONGER, f"longest functions: {longest}"
    assert all(lines[name] <= FUNCTION_LINES + 10 for name in LONGER), f"longest functions: {longest}"


def test_hardly_any_parameter_or_field_of_the_orchestrator_is_untyped() -> None:
    """``Any``, alone or within another type, against all parameters of functions and all fields of classes."""
    annotations = []
    for name, module in MODULES.items():
        if module.package == "orchestrator":
            annotations += [(f"{name} {where}", annotation) for where, annotation in _annotations(module)]
    untyped = [where for where, annotation in annotations if annotation is None or _mentions_any(annotation)]
    share = len(untyped) / len(annotations)
    assert len(annotations) > 400
    assert share < ANY_SHARE, f"{len(untyped)} of {len(annotations)} ({share:.1%}): {untyped}"


def _annotations(module: Module) -> Iterator[tuple[str, ast.expr | None]]:
    """Annotation of each parameter (but for self, cls, *args and **kwargs) and of each field, with its name."""
    for function in module.functions:
        arguments = function.args
        for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
            if argument.arg not in ("self", "cls"):
                yield f"{function.name}({argument.arg})", argument.annotation
    for node in module.classes:
        for field in node.body:
            if isinstance(field, ast.AnnAssign):
                yield f"{node.name}.{ast.unparse(field.target)}", field.annotation


def _mentions_any(annotation: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(annotation))
