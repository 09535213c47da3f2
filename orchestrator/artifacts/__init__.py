"""Artifacts: everything that a sweep makes, one class per kind. A new kind is a file here and a line in ARTIFACTS."""

from orchestrator.artifacts.artifact import Artifact
from orchestrator.artifacts.demonstrations_artifact import DemonstrationsArtifact
from orchestrator.artifacts.experts_artifact import (
    ControllerExperts,
    JoinedExperts,
    PopulationExperts,
    SpecExpert,
    ZooExperts,
)
from orchestrator.artifacts.generator_artifact import GeneratorArtifact
from orchestrator.artifacts.probe_artifacts import ProbeArtifact, RandomStartProbe, UpdateLossesProbe
from orchestrator.artifacts.reference_artifact import ReferenceArtifact
from orchestrator.artifacts.rollouts_artifact import RolloutsArtifact

ARTIFACTS: tuple[type[Artifact], ...] = (
    PopulationExperts,
    SpecExpert,
    JoinedExperts,
    ZooExperts,
    ControllerExperts,
    ReferenceArtifact,
    DemonstrationsArtifact,
    GeneratorArtifact,
    RandomStartProbe,
    UpdateLossesProbe,
    RolloutsArtifact,
)
"""Every class of artifact, in the order in which a sweep makes and shows them."""

KINDS: tuple[str, ...] = tuple(dict.fromkeys(artifact.kind for artifact in ARTIFACTS))
"""Kinds in that order: the store's folders and the display's rows."""

PROBES: dict[str, type[ProbeArtifact]] = {
    artifact.name: artifact for artifact in ARTIFACTS if issubclass(artifact, ProbeArtifact)
}
"""Probes by the name that an experiment file gives them."""
