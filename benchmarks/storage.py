"""Requests that a sweep of 23 artifacts sends to an S3 server: from nothing, and the same command again.

    python benchmarks/storage.py [--each]

They are counted at the server, moto's on the loopback; the sweep is the tests' tiny experiment with more runs.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
import yaml

from tests.helpers.experiments import ROOT, TINY, environment
from tests.helpers.s3 import BUCKET, Request, S3Server

CHANGES = {"split": {"train_fraction": 0.5, "seeds": [0, 1, 2]}}
METHODS = {"hyperzero": {}}


def main(each: Annotated[bool, typer.Option("--each", help="Print every request.")] = False) -> None:
    """Print how often each operation was asked of what, the most frequent first."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    data = {**yaml.safe_load(TINY), **CHANGES}
    data["methods"] |= METHODS
    with S3Server().running() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tiny.yaml")
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        for title in ("from nothing", "the same command again"):
            started = time.monotonic()
            sweep(path, server)
            seconds, requests = time.monotonic() - started, list(server.requests)
            server.requests.clear()
            made = sum(request.operation == "put" and request.key.endswith("artifact.json") for request in requests)
            sent = sum(request.sent for request in requests)
            print(f"{title}: {len(requests)} requests, {sent / 1e6:.1f} MB sent, {made} artifacts, {seconds:.0f} s")
            show(requests, each)


def sweep(path: Path, server: S3Server) -> None:
    """Run the command, with a cache of its own."""
    command = [sys.executable, "-m", "orchestrator.sweep", str(path), "--storage", f"s3://{BUCKET}/here"]
    variables = {**environment(), **server.environment, "TMPDIR": str(path.parent), "RAY_TMPDIR": "/tmp"}
    done = subprocess.run([*command, "--address", "local"], cwd=ROOT, env=variables, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)


def show(requests: list[Request], each: bool) -> None:
    """Print the counts, or every request."""
    if each:
        for request in requests:
            print(f"  {request.operation:12} {request.sent:10,d}  {request.key}")
        return
    for (operation, about), count in Counter((of.operation, subject(of.key)) for of in requests).most_common():
        print(f"  {count:5d}  {operation:12} {about}")


def subject(key: str) -> str:
    """A key without the names that differ from one artifact, or piece of a checkpoint, to the next."""
    return re.sub(r"[0-9a-f]{20,}", "*", key).removeprefix("here/")


if __name__ == "__main__":
    typer.run(main)
