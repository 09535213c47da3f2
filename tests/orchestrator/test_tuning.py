"""The searches by which docs/protocol.md has the laptop track's settings chosen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hypogen.benchmarks import get_benchmark
from hypogen.generators import GENERATORS
from orchestrator.artifacts.integrity import damage, opened
from orchestrator.artifacts.study_artifact import Outcome, best_of
from orchestrator.config.experiment import Experiment
from orchestrator.config.loading import expand, load
from orchestrator.config.search_space import combinations
from orchestrator.planning.study import check_point, study_of
from tests.helpers.experiments import ROOT

METHODS = sorted(set(GENERATORS) - {"blind"})  # which has nothing to set
REPORTED = {0, 1, 2, 3, 4}
"""Split seeds of tables."""


@dataclasses.dataclass(frozen=True)
class Track:
    """A file of searches, the table whose profile `laptop` takes their outcomes, and the size of each search."""

    searches: str
    table: str
    trials: int
    settings: int

    def search(self, method: str) -> Experiment:
        return check_point(load(ROOT / "experiments" / f"{self.searches}.yaml", method))

    def folder(self, method: str) -> Path:
        """The published outcome of a method's search."""
        return ROOT / "results" / "published" / self.searches / method

    def outcome(self, method: str) -> dict[str, Any]:
        return opened((self.folder(method) / "artifact.json").read_text())


TRACKS = (
    Track("tuning", "table1", trials=9, settings=2),
    Track("tuning_maniskill", "table2", trials=4, settings=1),
)
DIVERGED = {("tuning_maniskill", "hypogen"): [{"hypogen.training.learning_rate": 0.01}]}
"""Trials without a value, since their losses were no numbers any more."""
EVERY = [pytest.param(track, method, id=f"{track.searches}-{method}") for track in TRACKS for method in METHODS]


@pytest.mark.parametrize("track", TRACKS, ids=lambda track: track.searches)
def test_every_method_has_a_search_of_the_same_size(track: Track) -> None:
    profiles = yaml.safe_load((ROOT / "experiments" / f"{track.searches}.yaml").read_text())["profiles"]
    assert sorted(profiles) == METHODS
    for method in profiles:
        experiment = track.search(method)
        search, size = experiment.search, (track.trials, track.settings)
        assert search is not None and (search.method, search.trials, len(search.space)) == (method, *size)
        every = combinations(search)
        assert every is not None and len(every) == search.trials, "each is tried once"
        assert not REPORTED & set(experiment.split.seeds)
        assert {experiment.split.kind_for(get_benchmark(name)) for name in experiment.benchmarks} == {"random"}


@pytest.mark.parametrize(("track", "method"), EVERY)
def test_the_published_outcome_is_that_of_this_search(track: Track, method: str) -> None:
    """Its key names the file's content and the specs that it saw; nothing in it was changed; the best trial won."""
    study, found, folder = study_of(track.search(method)), track.outcome(method), track.folder(method)
    assert found["key"] == study.key and found["payload"] == json.loads(json.dumps(study.content))
    assert damage(folder) is None
    trials = [Outcome(**trial) for trial in json.loads((folder / "trials.json").read_text())]
    tried = {json.dumps(trial.settings, sort_keys=True) for trial in trials}
    every = combinations(track.search(method).search)
    missing = [settings for settings in every if json.dumps(settings, sort_keys=True) not in tried]
    assert len(trials) == len(tried) and missing == DIVERGED.get((track.searches, method), [])
    best = best_of(trials)
    assert found["summary"] == {"best": best.settings, "value": best.value, "trials": len(trials)}


@pytest.mark.parametrize(("track", "method"), EVERY)
def test_the_laptop_track_takes_what_the_search_chose_and_changes_nothing_else(track: Track, method: str) -> None:
    searched = track.search(method)
    best = track.outcome(method)["summary"]["best"]
    trained = {name.split(".")[2]: value for name, value in best.items() if ".training." in name}
    inner = {name.split(".")[1]: value for name, value in best.items() if ".training." not in name}
    base, base_settings = dataclasses.asdict(searched.training_of(method)), searched.methods[method].settings
    for case in expand(load(ROOT / "experiments" / f"{track.table}.yaml", "laptop")):
        chosen = case.experiment
        assert set(chosen.split.seeds) <= REPORTED
        assert chosen.methods[method].settings == dataclasses.replace(base_settings, **inner)
        assert {**dataclasses.asdict(chosen.training_of(method)), "seed": 0} == {**base, **trained}
        assert chosen.demonstrations == searched.demonstrations and chosen.experts == searched.experts
