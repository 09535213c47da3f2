"""Policy generators for robot specifications: benchmarks, environments, experts, generators and rollouts.

The package is a library: every module can be used from a notebook, without Ray. Axes of arrays always come in the
order ``[S specs, E episodes, T steps, D features]``.
"""
