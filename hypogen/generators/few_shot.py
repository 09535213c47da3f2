"""Base class of Meta Policy and PEARL: a spec has a policy only after adaptation to its demonstrations."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs, device_of, raw_specs
from hypogen.policy import Policy, PolicyShape, concatenate

if TYPE_CHECKING:  # a runtime import would load the simulators, which adapting does not need
    from hypogen.demonstrations import Demonstrations


class FewShotGenerator(Generator):
    """Method that adapts to each spec, training specs included, with demonstrations of it.

    The settings hold `adaptation_episodes`: number of demonstrated episodes per spec to adapt on, None for all.
    Adapted policies are not stored with the weights: a loaded generator adapts again.
    """

    least_samples: ClassVar[int] = 2

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: Any) -> None:
        super().__init__(benchmark, shape, settings)
        self._adapted: dict[tuple[float, ...], Policy] = {}

    @abstractmethod
    def infer(self, context: Batch) -> Policy:
        """Policies of the batch's specs, inferred from each spec's transitions alone."""

    def adapt(self, demonstrations: Demonstrations) -> None:
        """Infer a policy for each of these specs with the current weights, which stay unchanged.

        Specs are adapted one at a time, so the policy of one does not depend on the others. Raises ValueError when
        there are fewer episodes than `adaptation_episodes`.
        """
        wanted, there = self.settings.adaptation_episodes, demonstrations.rewards.shape[1]
        if wanted is not None and wanted > there:
            raise ValueError(f"adaptation_episodes is {wanted}, but there are {there} demonstrations per spec")
        shots = demonstrations if wanted is None else demonstrations.pick(range(wanted))
        for row, spec in enumerate(shots.specs.tolist()):
            context = Batch.of(shots.select([row]), device_of(self))
            self._adapted[tuple(spec)] = self.infer(context).detach()

    def policy(self, specs: Specs) -> Policy:
        """Policies that `adapt` inferred for these raw specs [S, C]. Raises ValueError for specs not adapted to."""
        asked = [tuple(spec) for spec in raw_specs(self.benchmark, specs).tolist()]
        unknown = [spec for spec in asked if spec not in self._adapted]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} never adapted to {unknown}: call adapt() with demonstrations of these specs"
            )
        return concatenate([self._adapted[spec] for spec in asked]).to(device_of(self))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """(transitions to adapt on, transitions to judge the adapted policy): disjoint halves for each spec."""
    middle = batch.rewards.shape[1] // 2
    return batch.samples(slice(middle)), batch.samples(slice(middle, None))
