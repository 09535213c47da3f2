"""The searches by which docs/protocol.md has the laptop track's settings chosen."""

from __future__ import annotations

import yaml

from hypogen.generators import GENERATORS
from orchestrator.config.loading import load
from orchestrator.config.search_space import combinations
from orchestrator.execution.search import check_point
from tests.helpers.experiments import ROOT

TUNING = ROOT / "experiments" / "tuning.yaml"
REPORTED = {0, 1, 2, 3, 4}
"""Split seeds of tables."""


def test_every_method_has_a_search_of_the_same_size() -> None:
    profiles = yaml.safe_load(TUNING.read_text())["profiles"]
    assert set(profiles) == set(GENERATORS) - {"blind"}  # which has nothing to set
    for method in profiles:
        experiment = check_point(load(TUNING, method))
        search = experiment.search
        assert search is not None and (search.method, search.trials, len(search.space)) == (method, 9, 2)
        every = combinations(search)
        assert every is not None and len(every) == search.trials, "each is tried once"
        assert not REPORTED & set(experiment.split.seeds)
