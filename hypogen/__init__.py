"""Policy generators for robot specifications: benchmarks, environments, experts, generators and rollouts.

The package is a library: every module can be used from a notebook, without Ray. Axes of arrays always come in the
order ``[S specs, E episodes, T steps, D features]``.

    import hypogen

    policy = hypogen.load("3f0a", storage="runs").policy(speed=3.7)      # or hypogen.load("zoo:cheetah-speed")
    action = policy.act(observation)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hypogen.deployment.lookup import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":  # when first used: it imports PyTorch
        from hypogen.deployment.lookup import load

        return load
    raise AttributeError(f"module 'hypogen' has no attribute {name!r}")
