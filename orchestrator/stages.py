"""How one artifact of each kind is made. The same code runs in a Tune trial, in a rollout actor, or in a notebook.

``make(store, kind, key, payload, inputs, …)`` looks whether it is there, loads what it needs, calls the science in
``hypogen``, and leaves a whole artifact behind; killed at any moment, the next call continues from the checkpoint.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from hypogen import experts, generators, probes, training, zoo
from hypogen.benchmarks import Benchmark, get_benchmark
from hypogen.demonstrations import Demonstrations, Selectable, collect, collect_successes
from hypogen.experts import Experts, PPOSettings, TD3Settings
from hypogen.experts.scripted import ScriptedPolicy
from hypogen.generators import FewShotGenerator, Generator, HyPoGen, get_generator, parameter_count, storage
from hypogen.policy import Policy, PolicyShape
from hypogen.provenance import surroundings
from hypogen.rollouts import rollout
from hypogen.training import TrainingSettings
from orchestrator.store import Store, Workspace
from results.result_store import ResultStore

Report = Callable[[dict[str, float]], None]
POLICY, CURVE = "policy.safetensors", "curve.json"


def make(
    store: Store,
    kind: str,
    key: str,
    payload: Mapping[str, Any],
    inputs: Sequence[str],
    work: float = 0.0,
    *,
    threads: int = 1,
    device: str = "cpu",
    report: Report | None = None,
) -> bool:
    """Make one artifact unless the store has it; True if this call made it.

    Args:
        payload: the node's payload (``orchestrator.plan``), which alone decides the content.
        work: the node's size, noted so that later plans can estimate their time from it.
        threads: PyTorch's and the physics' threads.
        device: ``"cpu"`` or ``"cuda"``.
        report: called now and then with the progress of a training.

    Raises:
        hypogen.errors.Diverged: a training produced NaN or infinity.
    """
    torch.set_num_threads(threads)
    started = now()

    def build(folder: Path, workspace: Workspace) -> dict[str, Any]:
        def progress(values: Mapping[str, Any]) -> None:
            workspace.sync()
            if report is not None:
                report({name: float(value) for name, value in values.items() if isinstance(value, int | float)})

        summary = STAGES[kind](store, payload, folder, Task(workspace.folder, threads, device, progress))
        return {
            "kind": kind,
            "key": key,
            "payload": dict(payload),
            "parents": list(inputs),
            "started": started,
            "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
            "work": work,
            "threads": threads,
            "summary": summary,
            **surroundings(),
        }

    made = store.make(kind, key, build)
    if made:
        write_provenance(store, store.manifest(kind, key))
    return made


class Task:
    """What a stage gets beside its payload: a folder for checkpoints, threads, a device, a place to report to."""

    def __init__(
        self, checkpoint: Path, threads: int, device: str, progress: Callable[[Mapping[str, Any]], None]
    ) -> None:
        self.checkpoint, self.threads, self.device = checkpoint, threads, device
        self.progress = throttled(progress)


def throttled(report: Callable[[Mapping[str, Any]], None], every_s: float = 1.0) -> Callable[[Mapping[str, Any]], None]:
    """``report``, at most once in ``every_s`` seconds: a small training makes hundreds of epochs a second."""
    last = -every_s

    def call(values: Mapping[str, Any]) -> None:
        nonlocal last
        moment = time.monotonic()
        if moment - last >= every_s:
            last = moment
            report(values)

    return call


def make_experts(store: Store, payload: Mapping[str, Any], folder: Path, task: Task) -> dict[str, Any]:
    """Train a population of experts, one a spec; or one of them; or take them together, the zoo's, or a script."""
    if "script" in payload:
        (folder / CURVE).write_text("[]")
        return {"parameters": 0, "steps": 0}
    population = _get_experts(store, payload, task)
    population.save(folder)
    curve = _mean_curve(population)
    (folder / CURVE).write_text(json.dumps(curve))
    return {
        "parameters": policy_parameters(population.actor),
        "steps": max(row["step"] for row in curve),
        "mean_return": float(np.mean(population.returns)),
    }


def _mean_curve(population: Experts) -> list[dict[str, Any]]:
    """Rows of the table ``curves``: the means over the specs that were evaluated after the same number of updates."""
    values: dict[tuple[int, str], list[float]] = {}
    for row in population.curve:
        for metric in row.keys() & {"return", "success"}:
            values.setdefault((row["update"], metric), []).append(row[metric])
    return [
        {"epoch": 0, "step": update, "metric": metric, "value": float(np.mean(values[update, metric]))}
        for update, metric in sorted(values)
    ]


def _get_experts(store: Store, payload: Mapping[str, Any], task: Task) -> Experts:
    if "zoo" in payload:
        return zoo.load(payload["benchmark"])
    if "parts" in payload:
        return Experts.concatenate([Experts.load(store.folder("experts", key)) for key in payload["parts"]])
    if "spec" in payload:
        from hypogen.experts import ppo  # RLlib takes seconds to import

        start = Experts.load(store.folder("experts", payload["start"])) if payload["start"] else None
        return ppo.train(
            payload["benchmark"],
            payload["spec"],
            PPOSettings(**payload["settings"]),
            payload["seed"],
            start,
            checkpoint=task.checkpoint,
            on_progress=task.progress,
            threads=task.threads,
            device=task.device,
        )
    return experts.train(
        payload["benchmark"],
        np.asarray(payload["specs"], dtype=np.float64),
        TD3Settings(**payload["settings"]),
        payload["seed"],
        checkpoint=task.checkpoint,
        on_progress=task.progress,
        threads=task.threads,
        device=task.device,
    )


def make_demonstrations(store: Store, payload: Mapping[str, Any], folder: Path, task: Task) -> dict[str, Any]:
    """Roll the experts of some specs out and record every step; in ManiSkill of successful episodes only."""
    benchmark, specs, seeds = payload["benchmark"], payload["specs"], payload["seeds"]
    how = {"threads": task.threads, "noise": payload.get("noise", 0.0)}
    if "discount" in payload:
        policy = _expert_policy(store, payload["experts"], specs)
        demonstrations = collect_successes(benchmark, specs, policy, seeds, payload["discount"], **how)
    else:
        population = Experts.load(store.folder("experts", payload["experts"]))
        chosen = population.select(_rows(population.specs, specs))
        demonstrations = collect(benchmark, specs, chosen.actor, chosen.critic, seeds, **how)
    demonstrations.save(folder / "demonstrations.safetensors")
    return {"mean_return": float(demonstrations.rewards.sum(-1).mean())}


def _expert_policy(store: Store, key: str, specs: Any) -> Selectable:
    """The experts' policies for some specs."""
    described = store.manifest("experts", key)["payload"]
    if "script" in described:
        return ScriptedPolicy(described["benchmark"], specs)
    population = Experts.load(store.folder("experts", key))
    return population.actor.select(_rows(population.specs, specs))


def make_generator(store: Store, payload: Mapping[str, Any], folder: Path, task: Task) -> dict[str, Any]:
    """Train a generator, and generate its policy for every spec that it can have one for.

    The policies of the payload's snapshots, epochs on the way, are kept beside the final one: training goes on at once,
    and the rollout actors measure them when the artifact is there.
    """
    settings = TrainingSettings(**payload["training"])
    generator = build_generator(payload)
    snapshots = task.checkpoint / "snapshots"

    def keep(epoch: int) -> None:
        if epoch in payload.get("snapshots", ()):
            snapshots.mkdir(exist_ok=True)
            policies(store, generator, payload).save(snapshots / snapshot_file(epoch))

    curve = training.fit(
        generator,
        load_demonstrations(store, payload, payload["train"]),
        settings,
        payload["seed"],
        checkpoint=task.checkpoint / "checkpoint",
        on_epoch=task.progress,
        device=task.device,
        before_checkpoint=keep,
    )
    generator.to("cpu")
    storage.save(generator, folder)
    policies(store, generator, payload).save(folder / POLICY)
    for epoch in payload.get("snapshots", ()):
        shutil.copy(snapshots / snapshot_file(epoch), folder)
    rows = [
        {"epoch": row["epoch"], "step": row["step"], "metric": metric, "value": value}
        for row in curve
        for metric, value in row.items()
        if metric not in ("epoch", "step")
    ]
    (folder / CURVE).write_text(json.dumps(rows))
    return {"parameters": parameter_count(generator), "steps": curve[-1]["step"] if curve else 0}


def snapshot_file(epoch: int) -> str:
    """Name of the file with the policies of an epoch before the last."""
    return f"policy-{epoch}.safetensors"


def build_generator(payload: Mapping[str, Any]) -> Generator:
    """An untrained generator as its payload describes it, initialised from the payload's seed."""
    return generators.build(*generator_arguments(payload), seed=payload["seed"])


def generator_arguments(payload: Mapping[str, Any]) -> tuple[str, Benchmark, PolicyShape, Any]:
    """Method, benchmark, policy shape and settings, as ``generators.build`` and ``generators.sketch`` take them."""
    settings = get_generator(payload["method"]).settings(**payload["settings"])
    return payload["method"], get_benchmark(payload["benchmark"]), PolicyShape(**payload["policy"]), settings


def policies(store: Store, generator: Generator, payload: Mapping[str, Any]) -> Policy:
    """The trained generator's policies for the specs that ``known_specs`` lists; a few-shot method adapts first."""
    if isinstance(generator, FewShotGenerator):
        generator.adapt(load_demonstrations(store, payload, payload["adapt"]))
    with torch.no_grad():
        return generator.policy(known_specs(payload))


def known_specs(payload: Mapping[str, Any]) -> np.ndarray:
    """The specs ``[S, C]`` that a generator has policies for: the whole grid, or those that it adapted to."""
    return np.array(payload["adapt"] if "adapt" in payload else get_benchmark(payload["benchmark"]).grid)


def load_demonstrations(store: Store, payload: Mapping[str, Any], specs: Sequence[Any]) -> Demonstrations:
    """The demonstrations of ``specs``, in this order, of those among the payload's inputs."""
    parts = [
        Demonstrations.load(store.folder("demonstrations", key) / "demonstrations.safetensors")
        for key in payload["demonstrations"]
    ]
    together = Demonstrations.concatenate(parts)
    return together.select(_rows(together.specs.numpy(), specs))


def make_probe(store: Store, payload: Mapping[str, Any], folder: Path, task: Task) -> dict[str, Any]:
    """Look at a trained generator; what is measured is a curve without epochs."""
    generator = storage.load(store.folder("generator", payload["generator"]))
    assert isinstance(generator, HyPoGen), "the plan probes no other"
    measured = _PROBES[payload["probe"]](store, payload, folder, generator)
    (folder / CURVE).write_text(json.dumps([{"metric": name, "value": value} for name, value in measured.items()]))
    return {}


def _probe_random_start(store: Store, payload: Mapping[str, Any], folder: Path, generator: HyPoGen) -> dict[str, float]:
    """Table 3, on the test specs; and the policies from random starts for the whole grid, to be rolled out."""
    starts = probes.random_starts(generator, probes.STARTS, payload["seed"])
    probes.policy_from_starts(generator, get_benchmark(payload["benchmark"]).grid.copy(), starts).save(folder / POLICY)
    statistics = probes.start_statistics(generator, np.asarray(payload["specs"]["test"]), starts)
    measured = {}
    for name, (magnitude, deviation) in statistics.items():
        measured[f"magnitude@{name}"], measured[f"magnitude_std@{name}"] = magnitude, deviation
    return measured


def _probe_update_losses(
    store: Store, payload: Mapping[str, Any], folder: Path, generator: HyPoGen
) -> dict[str, float]:
    """Table 4: ``loss@k`` on the demonstrations of the test specs, ``train_loss@k`` on those of the training specs."""
    measured = {}
    for role, prefix in (("test", "loss"), ("train", "train_loss")):
        shown = load_demonstrations(store, payload, payload["specs"][role])
        losses = probes.update_losses(generator, shown).mean(dim=1)
        measured.update({f"{prefix}@{k}": float(value) for k, value in enumerate(losses)})
    return measured


_PROBES = {"random_start": _probe_random_start, "update_losses": _probe_update_losses}


def make_rollouts(store: Store, payload: Mapping[str, Any], folder: Path, task: Task) -> dict[str, Any]:
    """Roll the policies of some specs out."""
    if payload["policy_kind"] == "experts":
        policy: Selectable = _expert_policy(store, payload["policy"], payload["specs"])
    else:
        policy = _generated_policy(store, payload)
    episodes = rollout(payload["benchmark"], payload["specs"], policy, payload["seeds"], threads=task.threads)
    save_file(
        {
            "returns": torch.from_numpy(episodes.returns),
            "lengths": torch.from_numpy(episodes.lengths),
            "failed": torch.from_numpy(episodes.failed),
            "success": torch.from_numpy(episodes.success),
        },
        folder / "episodes.safetensors",
    )
    return {"mean_return": float(episodes.returns.mean())}


def _generated_policy(store: Store, payload: Mapping[str, Any]) -> Policy:
    """The policies of a generator, or of what was made from one, for the payload's specs."""
    kind, key = payload["policy_kind"], payload["policy"]
    known = known_specs(store.manifest(kind, key)["payload"])
    file = snapshot_file(payload["snapshot"]) if "snapshot" in payload else POLICY
    return Policy.load(store.folder(kind, key) / file).select(_rows(known, payload["specs"]))


def load_episodes(store: Store, key: str) -> dict[str, np.ndarray]:
    """The arrays ``[S, E]`` that a rollouts artifact holds."""
    return {
        name: tensor.numpy()
        for name, tensor in load_file(store.folder("rollouts", key) / "episodes.safetensors").items()
    }


STAGES: dict[str, Callable[[Store, Mapping[str, Any], Path, Task], dict[str, Any]]] = {
    "experts": make_experts,
    "demonstrations": make_demonstrations,
    "generator": make_generator,
    "probe": make_probe,
    "rollouts": make_rollouts,
}


def policy_parameters(policy: Policy) -> int:
    """Numbers in one spec's policy."""
    return sum(tensor[0].numel() for tensor in (*policy.weights, *policy.biases))


def _rows(known: np.ndarray, wanted: Any) -> list[int]:
    """Positions of the specs ``wanted [S, C]`` among ``known [N, C]``."""
    index = {tuple(spec): row for row, spec in enumerate(np.asarray(known, dtype=np.float64).tolist())}
    return [index[tuple(map(float, spec))] for spec in wanted]


def write_provenance(store: Store, manifest: Mapping[str, Any], error: str | None = None) -> None:
    """One row in the table ``provenance``: who made it, where, in how long; or why it failed."""
    row = {
        "artifact": manifest["key"],
        "kind": manifest["kind"],
        "parents": list(manifest["parents"]),
        "started": datetime.fromisoformat(manifest["started"]),
        "seconds": float(manifest["seconds"]),
        "device": manifest["device"],
        "host": manifest["host"],
        "cpu": manifest["cpu"],
        "git_commit": manifest["git_commit"],
        "git_dirty": manifest["git_dirty"],
        "packages": json.dumps(manifest["packages"], sort_keys=True),
        "status": "failed" if error else "done",
        "error": error,
    }
    ResultStore(store.results).write("provenance", manifest["key"], [row])


def write_failure(store: Store, kind: str, key: str, parents: Sequence[str], reason: str) -> None:
    """Note why an artifact could not be made; the row of a later success replaces this one."""
    facts = {
        "kind": kind,
        "key": key,
        "parents": parents,
        "started": now(),
        "seconds": 0.0,
        "device": "",
        **surroundings(),
    }
    write_provenance(store, facts, error=reason)


def now() -> str:
    """The time, UTC, as the manifest writes it."""
    return datetime.now(UTC).isoformat()
