"""The files under cluster/: what Ray, Kubernetes' API server and a shell would say of them."""

from __future__ import annotations

import copy
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
import yaml

from tests.helpers.clusters import free_port
from tests.helpers.experiments import ROOT, TINY, environment

CLUSTER = ROOT / "cluster"
SCHEMA = ROOT / "tests" / "golden" / "rayjob.v1.json.gz"
"""Schema of KubeRay's RayJob, version v1, without descriptions: ray-operator/config/crd/bases in its repository."""
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def locked(package: str) -> str:
    found = re.search(rf"^{package}==(.+)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert found
    return found[1]


def strict(schema: Any) -> Any:
    """Refuse fields that are not there, as ``kubectl apply`` does (an API server alone would drop them)."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in made:
        made.setdefault("additionalProperties", False)
    return made


@pytest.fixture(scope="module")
def rayjob() -> jsonschema.Draft7Validator:
    schema = strict(json.loads(gzip.decompress(SCHEMA.read_bytes())))
    schema["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft7Validator(schema)


def test_kubernetes_would_take_the_job(rayjob: jsonschema.Draft7Validator) -> None:
    job = yaml.safe_load((CLUSTER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert [error.message for error in rayjob.iter_errors(job)] == []
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == locked("ray") and cluster["authOptions"] == {"mode": "token"}
    experiment = re.search(r"experiments/\w+\.yaml", job["spec"]["entrypoint"])
    assert experiment and (ROOT / experiment[0]).exists()
    groups = {group["groupName"]: group["template"]["spec"]["containers"][0] for group in cluster["workerGroupSpecs"]}
    assert groups["gpu"]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" not in groups["cpu"]["resources"]["limits"]
    assert groups["gpu"]["image"] == groups["cpu"]["image"] and groups["gpu"]["envFrom"]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (("spec",), "entrypoin", "python"),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "maxReplica", 3),
        (("spec", "rayClusterSpec", "workerGroupSpecs", 0), "maxReplicas", "three"),
        (("spec", "rayClusterSpec", "headGroupSpec", "template", "spec", "containers", 0), "imag", "a"),
        (("spec", "rayClusterSpec", "authOptions"), "mode", "tokens"),
    ],
)
def test_what_is_misspelt_would_be_refused(
    rayjob: jsonschema.Draft7Validator, path: tuple[str | int, ...], key: str, value: object
) -> None:
    job = copy.deepcopy(yaml.safe_load((CLUSTER / "kuberay.yaml").read_text()))
    here: Any = job
    for part in path:
        here = here[part]
    here[key] = value
    assert list(rayjob.iter_errors(job))


def test_ray_would_take_the_machines_that_one_owns() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((CLUSTER / "local.yaml").read_text())
    workers = len(config["provider"]["worker_ips"])
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    assert prepared["available_node_types"]["local.cluster.node"]["max_workers"] == workers
    assert any("RAY_AUTH_MODE=token" in command and ".bashrc" in command for command in config["setup_commands"])
    misspelt = copy.deepcopy(config)
    misspelt["provider"]["worker_ipss"] = misspelt["provider"].pop("worker_ips")
    with pytest.raises(Exception, match=r"worker_ips|external_head_ip|Additional properties"):
        validate_config(prepare_config(misspelt))


def shellcheck(script: Path | str, *words: str) -> str:
    command = [SHELLCHECK, *words, str(script) if isinstance(script, Path) else "-"]
    text = None if isinstance(script, Path) else script
    return subprocess.run(command, input=text, capture_output=True, text=True).stdout


def test_the_script_for_slurm_is_clean_and_names_what_is_missing(tmp_path: Path) -> None:
    script = CLUSTER / "slurm.sh"
    assert shellcheck(script) == ""
    assert "SC" in shellcheck("#!/bin/bash\necho $1\n")
    usage = subprocess.run(["bash", script], cwd=tmp_path, capture_output=True, text=True)
    assert usage.returncode == 2 and usage.stderr.startswith("usage: sbatch --nodes=N")
    bare = subprocess.run(["bash", script, "a.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert bare.returncode == 2 and "run 'make setup' in" in bare.stderr


def test_a_sweep_runs_in_an_allocation_of_slurm_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Slurm is stood in for by what its two commands do on an allocation of one node; Ray and the sweep are real."""
    for name, script in (
        ("scontrol", "echo 127.0.0.1"),
        ("srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"'),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "tiny.yaml").write_text(TINY)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # a short path: Ray's sockets lie in it
        slurm = {"SLURM_SUBMIT_DIR": str(ROOT), "SLURM_JOB_ID": str(port), "SLURM_JOB_NODELIST": "one"}
        ray = {"SLURM_CPUS_PER_TASK": "2", "HYPOGEN_RAY_PORT": str(port), "RAY_TMPDIR": folder}
        variables = {**environment(), **slurm, **ray, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        words = ["bash", CLUSTER / "slurm.sh", tmp_path / "tiny.yaml", "--storage", tmp_path / "runs"]
        log = tmp_path / "log"
        with log.open("w") as out:
            done = subprocess.run(words, env=variables, stdout=out, stderr=out, timeout=400)
        assert done.returncode == 0 and "cheetah-speed  hypogen" in log.read_text(), log.read_text()
        left = [process for process in psutil.process_iter(["cmdline"]) if folder in str(process.info["cmdline"])]
        _, alive = psutil.wait_procs(left, timeout=30)
        assert not alive and not (ROOT / f".ray-token-{port}").exists()


def test_the_image_is_built_from_what_there_is() -> None:
    text = (CLUSTER / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    assert {word for word, _, _ in lines} == {"FROM", "RUN", "WORKDIR", "COPY", "ARG", "ENV"}
    for word, _, rest in lines:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in rest.split()[:-1]), rest
        if word == "RUN":
            assert shellcheck(f"#!/bin/sh\n{rest}\n") == ""
        if word == "FROM":
            assert rest.startswith("python:3.11-")
