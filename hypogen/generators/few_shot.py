"""Base class of Meta Policy and PEARL: a spec has a policy only after adaptation to its demonstrations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hypogen.adam import adam
from hypogen.benchmarks import Benchmark
from hypogen.generators.base import Batch, Generator, Specs, device_of, raw_specs
from hypogen.generators.value import action_loss
from hypogen.policy import Policy, PolicyShape, concatenate

if TYPE_CHECKING:  # a runtime import would load the simulators, which adapting does not need
    from hypogen.demonstrations import Demonstrations


FINETUNING_RATE, FINETUNING_BATCH = 1e-3, 512
"""Learning rate and batch of the fine-tuning on a new spec's demonstrations, from HyperZero's code."""


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

    def finetuned(self, context: Batch, parts: list[nn.Module], policy: Callable[[], Policy]) -> Policy:
        """The policy after `finetune_epochs` of Adam on the action loss of a spec's transitions; the weights stay.

        As in HyperZero's code (`approximators/policy.py`), which does this where a spec is met for the first time, in
        place of the steps of training. `parts` are what is fine-tuned, `policy` makes the policy of the context's specs
        with the weights that they have. The order of the samples is always the same.
        """
        weights = [weight for part in parts for weight in part.parameters()]
        before = [weight.detach().clone() for weight in weights]
        optimizer, order = adam(weights, FINETUNING_RATE, factored=False), torch.Generator().manual_seed(0)
        try:
            with torch.enable_grad():
                for _ in range(self.settings.finetune_epochs):
                    for rows in torch.randperm(context.rewards.shape[1], generator=order).split(FINETUNING_BATCH):
                        with optimizer.recording():
                            loss = action_loss(policy(), context.samples(rows.to(context.rewards.device)))
                        optimizer.step(loss)
            found = policy().detach()
            return Policy(tuple(part.clone() for part in found.weights), tuple(part.clone() for part in found.biases))
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, before, strict=True):
                    weight.copy_(value)

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
