"""What the set-up promises: every package that the benchmarks need can be imported, and rooms stay apart."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import hypogen
import results


def loaded(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after ``code``."""
    script = f"{code}\nimport json, sys; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("package", "strangers"),
    [
        (hypogen, {"ray", "orchestrator", "results"}),
        (results, {"torch", "ray", "hypogen", "orchestrator"}),
    ],
    ids=["hypogen", "results"],
)
def test_a_room_imports_only_what_it_may(package: object, strangers: set[str]) -> None:
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    assert len(names) > 5
    # RLlib's is the one module of hypogen that may import Ray; Triton comes with torch where there may be a GPU.
    exempt = ("__main__", "hypogen.experts.ppo", "hypogen.native.gpu")
    code = "\n".join(f"import {name}" for name in names if not name.endswith(exempt))
    assert not loaded(code) & strangers


def test_maniskill_can_be_imported_with_the_numpy_that_it_is_right_with() -> None:
    assert {"mani_skill2", "sapien"} <= loaded(
        "import sapien.core, mani_skill2.envs, numpy; assert numpy.__version__ < '2'"
    )
