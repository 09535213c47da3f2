"""Demonstrations: recorded episodes of the experts of a few specs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypogen.demonstrations import Demonstrations, collect, collect_successes
from orchestrator.artifacts.artifact import Artifact, Content, Seeds, Specs, Summary, Task, rows_of, span
from orchestrator.artifacts.artifact_store import Store
from orchestrator.artifacts.experts_artifact import ExpertsArtifact

FILE = "demonstrations.safetensors"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class DemonstrationsArtifact(Artifact):
    """Demonstrations of some specs; of successful episodes only where the simulator wants it so.

    Attributes:
        noise: Deviation of the disturbance of the experts' actions.
        discount: Discount of the values, where they are sums of rewards.
    """

    kind = "demonstrations"

    experts: ExpertsArtifact
    specs: Specs
    seeds: Seeds
    noise: float
    discount: float

    def content(self) -> Content:
        content: Content = {
            "benchmark": self.benchmark.identity,
            "experts": self.experts.key,
            "specs": self.specs,
            "seeds": self.seeds,
        }
        if self.benchmark.simulator.only_successes:
            content["discount"] = self.discount
        if self.noise:
            content["noise"] = self.noise
        return content

    @property
    def inputs(self) -> tuple[Artifact, ...]:
        return (self.experts,)

    @property
    def label(self) -> str:
        return f"{self.benchmark.name} demonstrations {span(self.specs)}"

    @property
    def seconds(self) -> float:
        episodes = len(self.specs) * len(self.seeds[0])
        return episodes * self.benchmark.usual_steps * self.benchmark.simulator.step_s

    def make(self, store: Store, folder: Path, task: Task) -> Summary:
        """Roll the experts out and record every step."""
        name, threads = self.benchmark.name, task.threads
        if self.benchmark.simulator.only_successes:
            policy = self.experts.policy(store, self.specs)
            shown = collect_successes(
                name, self.specs, policy, self.seeds, self.discount, threads=threads, noise=self.noise
            )
        else:
            chosen = self.experts.load(store, self.specs)
            shown = collect(name, self.specs, chosen.actor, chosen.critic, self.seeds, threads, self.noise)
        shown.save(folder / FILE)
        return {"mean_return": float(shown.rewards.sum(-1).mean())}

    def load(self, store: Store) -> Demonstrations:
        """The stored demonstrations."""
        return Demonstrations.load(self.folder(store) / FILE)


def load_demonstrations(store: Store, parts: Sequence[DemonstrationsArtifact], specs: Specs) -> Demonstrations:
    """The demonstrations of ``specs``, in this order, of those in ``parts``."""
    wanted = set(specs)
    together = Demonstrations.concatenate([part.load(store) for part in parts if not wanted.isdisjoint(part.specs)])
    return together.select(rows_of(together.specs.numpy(), specs))


def keys(artifacts: Iterable[Artifact]) -> list[str]:
    """Their keys, in order."""
    return [artifact.key for artifact in artifacts]
