"""``hypogen submit experiments/table1.yaml``: a sweep on a cluster that this machine is no part of.

The command is that of ``orchestrator.sweep``, and so is its exit status. The cluster is reached by its Jobs API, which
keeps the log; the code and the commit are sent along. The same command again joins the sweep that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shlex
import shutil
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator import sweep
from orchestrator.config import packaged
from orchestrator.exceptions import UserError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
STOP_WAIT_S = 180
"""Time that a stopped sweep has until it is killed: trainings get a minute to leave checkpoints."""
LOOK_S = 1.0
READY_S = 180.0
CUT_SHORT = 10
"""How often the log of a job that has ended is asked for, where it does not come to its end."""
STOPPED = 143

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # Click's, which Typer does not name

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def main(
    context: typer.Context,
    experiment: Annotated[Path, typer.Argument(help="The experiment file, such as experiments/table1.yaml.")],
    address: Annotated[
        str | None,
        typer.Option(
            help=f"http://host:port of the cluster's dashboard. Default: ${ADDRESS_VARIABLE}, else {DEFAULT_ADDRESS}."
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for the end.")] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop this sweep: its trainings leave checkpoints, and the command continues."),
    ] = False,
) -> None:
    """Run the sweep of EXPERIMENT on a cluster. All options of orchestrator.sweep but --address can be given."""
    try:
        job = Job.of(packaged.experiment_file(experiment), context.args)
        client = connect(address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS)
        sys.exit(_run(client, job, detach, stop))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


@dataclass(frozen=True)
class Job:
    """One command, as a cluster gets it.

    Attributes:
        words: Words of the command after the experiment.
        name: Beginning of the job's id, the same for the same command.
    """

    experiment: Path
    words: tuple[str, ...]
    name: str

    @classmethod
    def of(cls, experiment: Path, words: list[str]) -> Job:
        """Check the command as the sweep would. UserError for what makes no sense."""
        from orchestrator.config import loading

        try:
            parsed = typer.main.get_command(sweep.app).make_context("sweep", [str(experiment), *words]).params
        except _UsageError as error:
            raise UserError(f"{' '.join(words)}: {error}") from None
        if parsed["address"] is not None:
            raise UserError("--address: give it once")
        place = parsed["storage"]
        if place is not None and "://" not in place and not place.startswith("/"):
            raise UserError(f"--storage {place}: give a folder that all nodes mount by its whole path, or s3://…")
        loading.expand(loading.load(experiment, parsed["profile"], parsed["assignments"] or []))
        loading.check_profiles(experiment)
        told = (experiment.name, experiment.read_bytes(), words)
        digest = hashlib.sha256(repr(told).encode()).hexdigest()[:8]
        return cls(experiment, tuple(words), f"{experiment.stem}-{digest}")

    @property
    def command(self) -> str:
        """What the head runs, in the folder that ``staged`` makes."""
        from hypogen.provenance import COMMIT_VARIABLE, surroundings

        commit = surroundings()["git_commit"]
        words = ["python", "-m", "orchestrator.supervised", f"experiments/{self.experiment.name}", *self.words]
        return f"{COMMIT_VARIABLE}={shlex.quote(commit or '')} exec {shlex.join(words)}"

    @contextlib.contextmanager
    def staged(self) -> Iterator[Path]:
        """A folder with what the head needs: this project's packages and the experiment's file."""
        from orchestrator.execution.cluster import package_folders

        with tempfile.TemporaryDirectory(prefix="hypogen-submit-") as name:
            folder = Path(name)
            for package in package_folders():
                shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "experiments").mkdir()
            shutil.copy(self.experiment, folder / "experiments")
            yield folder


def connect(address: str) -> JobSubmissionClient:
    """The cluster's Jobs API. UserError where nobody answers at the address, or asks for another token."""
    from orchestrator.execution.cluster import Address, answers, authenticate

    place = urllib.parse.urlsplit(address)
    if place.scheme not in ("http", "https") or not place.port:
        raise UserError(f"--address {address}: give the dashboard's, such as {DEFAULT_ADDRESS}")
    if not answers(place.netloc):
        raise UserError(
            f"--address {address}: nothing answers there. Is the cluster up (`ray up cluster/….yaml`), and "
            "`ray dashboard cluster/….yaml` open in another terminal?"
        )
    authenticate(Address(address, "--address"))
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(f"--address {address}: {str(error).splitlines()[0]}") from None


def _run(client: JobSubmissionClient, job: Job, detach: bool, stop: bool) -> int:
    """Submit the job, unless it runs already; follow or stop it. Returns the exit status."""
    known = [found for found in client.list_jobs() if (found.submission_id or "").rpartition("-")[0] == job.name]
    running = [found.submission_id for found in known if not found.status.is_terminal()]
    if stop:
        return _stop(client, job, running)
    if running:
        name = str(running[0])
        print(f"{name} runs already: joined", flush=True)
    else:
        numbers = [int(str(found.submission_id).rpartition("-")[2]) for found in known]
        name = _send(client, job, f"{job.name}-{max(numbers, default=0) + 1}")
        print(f"{name} submitted", flush=True)
    if detach:
        return 0
    try:
        asyncio.run(_follow(client, name))
    except KeyboardInterrupt:
        print(f"{name} goes on: the same command joins it again, and with --stop stops it", file=sys.stderr)
        return 130
    return _status(client.get_job_info(name))


def _send(client: JobSubmissionClient, job: Job, name: str) -> str:
    """Send the code and start the job; a head that has just started takes jobs only after a while."""
    deadline = time.monotonic() + READY_S
    with job.staged() as folder:
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}
        while True:
            try:
                return client.submit_job(
                    entrypoint=job.command,
                    submission_id=name,
                    runtime_env={"working_dir": str(folder), "env_vars": variables},
                )
            except RuntimeError as error:
                if time.monotonic() > deadline or "No available agent" not in str(error):
                    raise UserError(f"the cluster refuses the job: {str(error).splitlines()[0]}") from None
            time.sleep(LOOK_S)


def _lost() -> tuple[type[Exception], ...]:
    """What Ray's client raises where the connection is gone for a while; requests' errors are OSErrors."""
    import aiohttp

    return OSError, RuntimeError, aiohttp.ClientError


async def _follow(client: JobSubmissionClient, name: str) -> None:
    """Print the job's log as it grows, until its end; a lost connection is taken up where it was."""
    printed, cut_short = 0, 0
    while cut_short < CUT_SHORT:
        seen, whole = 0, False
        with contextlib.suppress(*_lost()):
            async for text in client.tail_job_logs(name):
                print(text[max(0, printed - seen) :], end="", flush=True)
                seen += len(text)
                printed = max(printed, seen)
            whole = True
        with contextlib.suppress(*_lost()):
            if client.get_job_status(name).is_terminal():
                if whole:
                    return
                cut_short += 1
        await asyncio.sleep(LOOK_S)


def _stop(client: JobSubmissionClient, job: Job, running: list[str | None]) -> int:
    """Stop the running job and wait for its end."""
    if not running:
        print(f"{job.name}: does not run", file=sys.stderr)
        return 1
    name = str(running[0])
    client.stop_job(name)
    print(f"{name} stops: its trainings leave checkpoints", flush=True)
    ended = False
    while not ended:
        time.sleep(LOOK_S)
        with contextlib.suppress(*_lost()):
            ended = client.get_job_status(name).is_terminal()
    print(f"{name} stopped: the same command continues from what is done", flush=True)
    return 0


def _status(ended: JobDetails) -> int:
    """Exit status of the sweep whose job has ended."""
    from ray.job_submission import JobStatus

    if ended.status == JobStatus.SUCCEEDED:
        return 0
    if ended.status == JobStatus.STOPPED:
        return STOPPED
    if ended.driver_exit_code is None:  # it never ran
        print(ended.message, file=sys.stderr)
    return ended.driver_exit_code or 1


if __name__ == "__main__":
    app()
