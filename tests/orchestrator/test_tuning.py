"""The searches by which docs/protocol.md has the laptop track's settings chosen."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import yaml

from hypogen.generators import GENERATORS
from orchestrator.artifacts.integrity import damage, opened
from orchestrator.artifacts.study_artifact import Outcome, best_of
from orchestrator.config.loading import expand, load
from orchestrator.config.search_space import combinations
from orchestrator.execution.search import check_point, study_of
from tests.helpers.experiments import ROOT

TUNING = ROOT / "experiments" / "tuning.yaml"
OUTCOMES = ROOT / "results" / "published" / "tuning"
METHODS = sorted(set(GENERATORS) - {"blind"})  # which has nothing to set
REPORTED = {0, 1, 2, 3, 4}
"""Split seeds of tables."""


def test_every_method_has_a_search_of_the_same_size() -> None:
    profiles = yaml.safe_load(TUNING.read_text())["profiles"]
    assert sorted(profiles) == METHODS
    for method in profiles:
        experiment = check_point(load(TUNING, method))
        search = experiment.search
        assert search is not None and (search.method, search.trials, len(search.space)) == (method, 9, 2)
        every = combinations(search)
        assert every is not None and len(every) == search.trials, "each is tried once"
        assert not REPORTED & set(experiment.split.seeds)


def outcome(method: str) -> dict[str, Any]:
    """The manifest of a method's published study."""
    return opened((OUTCOMES / method / "artifact.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_the_published_outcome_is_that_of_this_search(method: str) -> None:
    """Its key names the file's content and the specs that it saw; nothing in it was changed; the best trial won."""
    study = study_of(check_point(load(TUNING, method)))
    found = outcome(method)
    assert found["key"] == study.key and found["payload"] == json.loads(json.dumps(study.content))
    assert damage(OUTCOMES / method) is None
    trials = [Outcome(**trial) for trial in json.loads((OUTCOMES / method / "trials.json").read_text())]
    tried = {json.dumps(trial.settings, sort_keys=True) for trial in trials}
    assert len(trials) == len(tried) == 9
    assert found["summary"] == {"best": best_of(trials).settings, "value": best_of(trials).value, "trials": 9}


@pytest.mark.parametrize("method", METHODS)
def test_the_laptop_track_takes_what_the_search_chose_and_changes_nothing_else(method: str) -> None:
    searched = check_point(load(TUNING, method))
    for case in expand(load(ROOT / "experiments" / "table1.yaml", "laptop")):
        assert set(case.experiment.split.seeds) <= REPORTED
        chosen = case.experiment
        training, settings = dataclasses.asdict(chosen.training_of(method)), chosen.methods[method].settings
        base, base_settings = dataclasses.asdict(searched.training_of(method)), searched.methods[method].settings
        best = outcome(method)["summary"]["best"]
        trained = {name.split(".")[2]: value for name, value in best.items() if ".training." in name}
        inner = {name.split(".")[1]: value for name, value in best.items() if ".training." not in name}
        assert settings == dataclasses.replace(base_settings, **inner)
        assert {**training, "seed": 0} == {**base, **trained}
        assert chosen.demonstrations == searched.demonstrations and chosen.experts == searched.experts
