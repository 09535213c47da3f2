"""EnvPool's control steps a second on one of dm_control's tasks: the peer of `environments.py`, which runs this file.

    python benchmarks/envpool_rate.py CheetahRun-v1 WORLDS STEPS THREADS

It imports nothing of this project, since EnvPool wants a newer numpy: it is run by the Python of a virtual environment
in which `pip install envpool` was done.
"""

import sys
import time

import envpool
import numpy as np


def main(task: str, worlds: int, steps: int, threads: int) -> None:
    """Print the rate of the quickest of three runs."""
    env = envpool.make(task, env_type="gymnasium", num_envs=worlds, batch_size=worlds, num_threads=threads)
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, worlds, env.action_space.shape[-1]))
    seconds = []
    for _ in range(3):
        env.reset()
        start = time.perf_counter()
        for action in actions:
            env.step(action)
        seconds.append(time.perf_counter() - start)
    print(steps * worlds / min(seconds))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
