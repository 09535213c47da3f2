"""Base of Meta Policy and PEARL: a spec has a policy only once its demonstrations have been seen."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs, device_of, raw_specs
from hypogen.policy import Policy, PolicyShape, concatenate

if TYPE_CHECKING:  # importing it for real would load the simulators, which adapting does not need
    from hypogen.demonstrations import Demonstrations


class FewShotGenerator(Generator):
    """A method that adapts to a spec with demonstrations of it, training specs included.

    Its settings hold `adaptation_episodes`: demonstrated episodes per spec to adapt on, None for all.
    Adapted policies are not stored with the weights: a loaded generator adapts again.
    """

    least_samples: ClassVar[int] = 2

    def __init__(self, benchmark: Benchmark, shape: PolicyShape, settings: Any) -> None:
        super().__init__(benchmark, shape, settings)
        self._adapted: dict[tuple[float, ...], Policy] = {}

    @abstractmethod
    def infer(self, context: Batch) -> Policy:
        """The policies of the batch's specs, from these transitions of theirs alone."""

    def adapt(self, demonstrations: Demonstrations) -> None:
        """Get a policy for each of these specs, as the generator is now trained; its weights stay as they are.

        One spec at a time, so its policy does not depend on the others. ValueError when there are fewer episodes than
        `adaptation_episodes`.
        """
        wanted, there = self.settings.adaptation_episodes, demonstrations.rewards.shape[1]
        if wanted is not None and wanted > there:
            raise ValueError(f"adaptation_episodes is {wanted}, but there are {there} demonstrations per spec")
        shots = demonstrations if wanted is None else demonstrations.pick(range(wanted))
        for row, spec in enumerate(shots.specs.tolist()):
            context = Batch.of(shots.select([row]), device_of(self))
            self._adapted[tuple(spec)] = self.infer(context).detach()

    def policy(self, specs: Specs) -> Policy:
        """The policies that `adapt` found for these raw specs [S, C]; ValueError for a spec that it never saw."""
        asked = [tuple(spec) for spec in raw_specs(self.benchmark, specs).tolist()]
        unknown = [spec for spec in asked if spec not in self._adapted]
        if unknown:
            raise ValueError(
                f"{type(self).__name__} never adapted to {unknown}: call adapt() with demonstrations of these specs"
            )
        return concatenate([self._adapted[spec] for spec in asked]).to(device_of(self))


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """(transitions to adapt on, transitions that judge the adapted policy): disjoint halves of each spec's."""
    middle = batch.rewards.shape[1] // 2
    return batch.samples(slice(middle)), batch.samples(slice(middle, None))
