"""The ManiSkill environments: ManiSkill2's LiftCube and PickCube with the paper's contexts.

    ============  ======================================================================
    environment   declaration of an environment: the contexts of the arm and the cube
    panda         the arm with a context's gains and length
    single        ManiSkill2's worlds at a spec, and one of them for gymnasium
    processes     many worlds, stepped in worker processes
    ============  ======================================================================

To add one, add its entry to ``ENVIRONMENTS`` and its world to ``WORLDS`` in ``single``. Importing this package imports
no simulator: only ``panda``, ``single`` and ``processes`` do.
"""

from __future__ import annotations

from hypogen.contexts import Benchmark
from hypogen.envs.maniskill.environment import ManiSkillEnvironment
from hypogen.errors import did_you_mean

__all__ = ["ENVIRONMENTS", "get_environment"]

ENVIRONMENTS: dict[str, ManiSkillEnvironment] = {
    environment.name: environment
    for environment in (
        ManiSkillEnvironment(
            name="liftcube",
            observation_dim=42,
            success="the cube is lifted 0.2 m and the arm at rest within 200 steps",
        ),
        ManiSkillEnvironment(
            name="pickcube",
            observation_dim=51,
            success="the cube is within 0.025 m of its goal and the arm at rest within 200 steps",
        ),
    )
}
"""Every ManiSkill environment, by name."""


def get_environment(benchmark: Benchmark) -> ManiSkillEnvironment:
    """The environment of ``benchmark``.

    Raises ValueError when it does not run in ManiSkill, or does not consume a variable of the benchmark.
    """
    if benchmark.environment not in ENVIRONMENTS:
        hint = did_you_mean(benchmark.environment, ENVIRONMENTS)
        raise ValueError(f"{benchmark.name} does not run in ManiSkill but in {benchmark.simulator}: {hint}")
    environment = ENVIRONMENTS[benchmark.environment]
    environment.check(benchmark)
    return environment
