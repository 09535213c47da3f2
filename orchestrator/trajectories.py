"""``hypogen trajectories experiments/quickstart.yaml``: film what a sweep made, for the report.

Rolls out one episode per spec with the stored policies of an experiment's runs and keeps the joint positions of its
first seconds in the table ``trajectories``: of the planar robots (cheetah, walker, finger), of one split. It is the
first episode that the run was measured by, so all methods start alike. Nothing is trained.

Exit status: 0 when something was filmed, 2 when what was given makes no sense.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.sweep import STORAGE_DEFAULT, place_of

if TYPE_CHECKING:
    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.config.experiment import Experiment
    from orchestrator.planning.plan import Plan
    from orchestrator.planning.runs import Run

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    experiment: Annotated[Path, typer.Argument(help="The experiment file, as the sweep was given it.")],
    profile: Annotated[str | None, typer.Option(help="The profile that the sweep was given.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting that the sweep was given.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help=f"The place that the sweep was given. {STORAGE_DEFAULT}"),
    ] = None,
    split: Annotated[int | None, typer.Option(min=0, help="Seed of the split to film. Default: the first.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=60.0, help="Simulated seconds to keep of each episode.")] = 4.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that step the physics.")] = 1,
) -> None:
    """Film the policies of EXPERIMENT's runs at every spec, for `hypogen report`."""
    from orchestrator.exceptions import Damaged, UserError
    from results.problems import ResultsError

    place = place_of(storage, os.environ)
    try:
        film(experiment, profile, assignments or [], place, split, seconds, threads)
    except (UserError, ResultsError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    except Damaged as error:
        print(f"{error}: give the sweep's command again, which makes it anew", file=sys.stderr)
        raise typer.Exit(2) from None


def film(
    path: Path,
    profile: str | None,
    assignments: list[str],
    storage: str,
    split: int | None,
    seconds: float,
    threads: int,
) -> None:
    """The command without its command line. UserError for what makes no sense."""
    from orchestrator.artifacts.artifact_store import Store
    from orchestrator.config import loading, packaged
    from orchestrator.exceptions import UserError
    from orchestrator.planning.plan import build
    from orchestrator.planning.study import stored

    source, store = loading.load(packaged.experiment_file(path), profile, assignments), Store(storage)
    found = stored(source, store)
    plan = build(loading.expand(found)) if found is not None else None
    runs = _to_film(plan, store, split) if plan is not None else []
    if plan is None or not runs:
        raise UserError(
            f"{storage} has no policy of {path} that can be filmed (a robot of MuJoCo, trained to the end). Make some: "
            f"hypogen sweep {path}{f' --profile {profile}' if profile else ''} --storage {storage}"
        )
    for run in runs:
        specs = _film(plan.experiment, run, store, seconds, threads)
        print(f"filmed {run.label}: {specs} specs")
    print(f"Next: hypogen report --storage {storage} -o report.html")


def _to_film(plan: Plan, store: Store, split: int | None) -> list[Run]:
    """Runs whose policies are there and move in a plane: of one split, and those without a split."""
    from hypogen.motion import can_be_filmed
    from orchestrator.exceptions import UserError

    seeds = plan.experiment.split.seeds
    if split is not None and split not in seeds:
        raise UserError(f"--split {split}: {plan.experiment.name} has the splits {', '.join(map(str, seeds))}")
    wanted = (None, seeds[0] if split is None else split)
    runs = [run for run in plan.runs.values() if run.split_seed in wanted and can_be_filmed(run.benchmark)]
    return [run for run in runs if store.exists(run.acting.kind, run.acting.key)]


def _film(experiment: Experiment, run: Run, store: Store, seconds: float, threads: int) -> int:
    """Film one run and write its rows; how many specs."""
    from hypogen.motion import record, skeleton
    from orchestrator.artifacts.artifact import episode_seeds, specs_at
    from orchestrator.artifacts.generator_artifact import GeneratorArtifact
    from results import ResultStore

    benchmark, acting = run.benchmark, run.acting
    rows = experiment.specs.indices(benchmark)
    if isinstance(acting, GeneratorArtifact):  # a few-shot method has policies for what it adapted to
        known = set(acting.known_specs)
        rows = tuple(row for row in rows if specs_at(benchmark, [row])[0] in known)
    specs, trained = specs_at(benchmark, rows), set(getattr(acting, "train", ()))
    seeds = [seeds[0] for seeds in episode_seeds("evaluation", experiment.seed, benchmark, rows, 1)]
    filmed = record(benchmark.name, specs, acting.policy(store, specs), seeds, seconds, threads)
    found = [
        {
            "run": run.key,
            "spec_index": int(rows[number]),
            "spec": list(spec),
            "role": "train" if spec in trained else "test",
            "seed": seeds[number],
            "return": float(filmed.returns[number]),
            "frame_s": filmed.frame_s,
            "joints": filmed.positions.shape[2],
            "positions": filmed.positions[number].ravel().tolist(),
            "rewards": filmed.rewards[number].tolist(),
            "skeleton": json.dumps(skeleton(benchmark.name, spec)),
        }
        for number, spec in enumerate(specs)
    ]
    ResultStore(store.results).write("trajectories", run.key, found, replace=True)
    return len(specs)


if __name__ == "__main__":
    app()
