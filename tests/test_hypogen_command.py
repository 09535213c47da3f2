"""The command `hypogen`: its parts, how fast it answers, and that it works from a wheel."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.command import PARTS, app
from orchestrator.config.packaged import experiment_file, names
from orchestrator.exceptions import ConfigError
from tests.contributing.tree import Tree
from tests.helpers.experiments import ROOT, environment


def run(command: Sequence[str | Path], cwd: Path, status: int = 0, **variables: str) -> str:
    """Standard output and error of a command, which must end with ``status``; the packages are the installed ones."""
    kept = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "MUJOCO_GL")}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, cwd=cwd, env={**kept, **variables}, timeout=240
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the project from its wheel, and this environment's other packages."""
    folder = tmp_path_factory.mktemp("installed")
    tree = Tree.copy(folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, tree.root], folder)
    shutil.rmtree(tree.root)
    venv.create(folder / "venv", with_pip=False)
    (wheel,) = folder.glob("*.whl")
    run([*pip, "--python", folder / "venv" / "bin" / "python", "install", "-q", "--no-deps", wheel], folder)
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin"


def test_an_installed_project_plans_its_own_experiments(installed: Path, tmp_path: Path) -> None:
    output = run([installed / "hypogen", "sweep", "quickstart", "--dry-run"], tmp_path)
    assert output.startswith("quickstart: 4 runs") and "experts" in output
    assert not list(tmp_path.iterdir())
    where = run([installed / "python", "-c", "import orchestrator, results; print(orchestrator.__file__)"], tmp_path)
    assert str(installed.parent) in where


def test_an_installed_project_has_its_zoo_and_finds_runs_from_python(installed: Path, tmp_path: Path) -> None:
    run([installed / "hypogen", "export", "zoo:cheetah-speed", "--spec", "speed=5", "-o", "policy.onnx"], tmp_path)
    assert (tmp_path / "policy.onnx").stat().st_size > 10_000
    code = "import hypogen; hypogen.load('abc', storage='nowhere')"
    assert "storage nowhere does not exist" in run([installed / "python", "-c", code], tmp_path, status=1)


def test_the_version_is_the_projects(installed: Path, tmp_path: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run([installed / "hypogen", "--version"], tmp_path) == f"hypogen {version}\n"


def seconds(*words: str) -> float:
    """Processor time of a fresh Python, at best of three."""
    found = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *words], cwd=ROOT, env=environment(), capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(found)


def test_help_answers_at_once_and_names_every_part() -> None:
    assert seconds("-m", "orchestrator.command", "--help") - seconds("-c", "pass") < 0.5
    output = CliRunner().invoke(app, ["--help"]).output
    for name, part in PARTS.items():
        assert f"  {name} " in output and part.help.split()[0] in output


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_help_of_one_style(part: str) -> None:
    done = CliRunner().invoke(app, [part, "--help"])
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"Usage: hypogen {part} ") or f"{part} [OPTIONS]" in done.output
    assert "╭" not in done.output


def test_a_misspelt_part_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(app, ["swep"])
    assert done.exit_code == 2
    assert "did you mean 'sweep'" in done.output


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("hypogen ex", {"export"}), ("hypogen results ta", {"table", "tables"}), ("hypogen sweep quick", {"quickstart"})],
)
def test_the_shell_completes(typed: str, expected: set[str]) -> None:
    variables = {
        **environment(),
        "_HYPOGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split()) - 1),
    }
    code = "from orchestrator.command import app; app(prog_name='hypogen')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=variables)
    assert set(done.stdout.split()) == expected, done.stderr


def test_a_name_is_the_projects_experiment_unless_it_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert {"quickstart", "table1"} <= set(names())
    assert experiment_file(Path("quickstart")) == ROOT / "experiments" / "quickstart.yaml"
    assert experiment_file(Path("quickstart.yaml")) == Path("quickstart.yaml")
    with pytest.raises(ConfigError, match="did you mean 'quickstart'"):
        experiment_file(Path("quickstrt"))
    Path("quickstart").write_text("name: mine")
    assert experiment_file(Path("quickstart")) == Path("quickstart")


BLOCKED = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mani_skill2", "sapien"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Block())
"""


def without_maniskill(code: str, status: int = 0) -> str:
    """Output of Python where ManiSkill2 and SAPIEN are not installed."""
    return run([sys.executable, "-c", BLOCKED + code], ROOT, status, PYTHONPATH=str(ROOT))


def test_all_but_maniskills_worlds_is_imported_without_maniskill() -> None:
    code = """
import importlib, pkgutil
import hypogen, orchestrator, results
worlds = ("single", "panda", "processes")
for package in (hypogen, orchestrator, results):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        own = module.name.startswith("hypogen.envs.maniskill.") and module.name.rpartition(".")[2] in worlds
        if not own and not module.name.endswith(("__main__", "hypogen.native.gpu")):
            importlib.import_module(module.name)
import numpy as np
from hypogen import zoo
from hypogen.rollouts import rollout
experts = zoo.load("cheetah-speed").select([0])
print(rollout("cheetah-speed", experts.specs, experts.actor, [[0]]).returns[0, 0] > 500)
"""
    assert without_maniskill(code).splitlines()[-1] == "True"


REMEDY = "need mani_skill2 and sapien, not installed here: pip install 'hypogen[maniskill]' (Python 3.11)"


def test_a_maniskill_benchmark_names_its_extra() -> None:
    world = "import gymnasium, hypogen.envs; gymnasium.make('hypogen/liftcube-stiffness-v0')"
    assert REMEDY in without_maniskill(world, status=1)
    vector = "from hypogen.envs import make_vector; make_vector('liftcube-stiffness', [[500.0]])"
    assert REMEDY in without_maniskill(vector, status=1)


def test_a_sweep_of_maniskill_is_refused_before_it_starts(tmp_path: Path) -> None:
    words = ["sweep", "table2", "--profile", "smoke", "--storage", str(tmp_path / "runs")]
    code = f"import sys; sys.argv[1:] = {words}\nfrom orchestrator.command import app; app()"
    (line,) = without_maniskill(code, status=2).splitlines()
    assert line == f"liftcube-cube-size: benchmarks of ManiSkill {REMEDY}"
    assert not os.listdir(tmp_path)
