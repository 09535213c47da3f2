"""``python -m orchestrator.supervised EXPERIMENT …``: a sweep as a cluster's job, begun again where its process dies.

``python -m orchestrator.submit`` runs it on the head. It takes the options of ``orchestrator.sweep`` and ends with its
exit status. A stop of the job (SIGTERM) reaches the sweep as well, which leaves checkpoints; this process waits for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from orchestrator.sweep import STORAGE_VARIABLE

DEATHS = 10
"""How often the sweep's process may die."""
LONGEST_WAIT_S = 60


def main(words: list[str]) -> int:
    """Run the sweep until it ends by itself, and return its exit status."""
    if STORAGE_VARIABLE not in os.environ and not any(word.partition("=")[0] == "--storage" for word in words):
        print(
            f"no storage: the cluster does not set {STORAGE_VARIABLE}, so give --storage: a folder that all nodes "
            "mount, or s3://…",
            file=sys.stderr,
        )
        return 2
    asked = list[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    for deaths in range(1, DEATHS + 1):
        status = subprocess.call([sys.executable, "-m", "orchestrator.sweep", *words])
        if status >= 0 or asked:
            return status if status >= 0 else 128 - status
        name, wait = signal.Signals(-status).name, min(2**deaths, LONGEST_WAIT_S)
        print(
            f"the sweep's process died ({name}): it begins again in {wait} s and continues from what is done",
            flush=True,
        )
        time.sleep(wait)
        if asked:
            return 128 + asked[0]
    print(
        f"the sweep's process has died {DEATHS} times: see why (memory of the head?), then submit it again", flush=True
    )
    return 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
