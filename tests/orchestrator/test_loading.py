import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hypogen.benchmarks import BENCHMARKS, Variable, get_benchmark
from orchestrator.config.loading import check_profiles, expand, load
from orchestrator.exceptions import ConfigError
from tests.helpers.experiments import ROOT, TINY

FILES = sorted((ROOT / "experiments").glob("*.yaml"))


def cases(path: Path, profile: str | None = None, *assignments: str) -> list:
    return expand(load(path, profile, assignments))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_experiment_and_every_profile_of_it_is_valid(file: Path) -> None:
    profiles = yaml.safe_load(file.read_text()).get("profiles", {})
    if file.stem not in ("quickstart", "tuning", "tuning_maniskill"):
        assert {"laptop", "smoke"} <= set(profiles)
    for profile in (None, *profiles):
        assert cases(file, profile)


def test_a_grid_is_the_product_of_its_values(tiny: Callable[..., Path]) -> None:
    path = tiny(grid={"hypogen.blocks": [1, 3], "split.train_fraction": [0.4, 0.6, 0.8]})
    found = cases(path)
    assert len(found) == 6
    assert found[1].values == {"hypogen.blocks": 1, "split.train_fraction": 0.6}
    assert found[3].experiment.methods["hypogen"].settings.blocks == 3
    assert found[3].experiment.methods["hypogen"].settings.hidden_dim == 8, "what the file says of the method stays"


def test_a_few_shot_method_may_adapt_on_less_than_the_papers_demonstrations() -> None:
    file = ROOT / "experiments" / "table1.yaml"
    assert cases(file, None, "pearl.adaptation_episodes=10")
    with pytest.raises(ConfigError, match=r"more than demonstrations.episodes \(10\)"):
        cases(file, None, "pearl.adaptation_episodes=11")


def test_a_profile_changes_what_it_names_and_the_name(tiny: Callable[..., Path]) -> None:
    path = tiny(profiles={"small": {"training": {"epochs": 1}, "hypogen.blocks": 5}})
    experiment = cases(path, "small")[0].experiment
    assert (experiment.training.epochs, experiment.training.batch_size) == (1, 500)
    assert experiment.methods["hypogen"].settings.blocks == 5
    assert experiment.name == "tiny-small"
    assert cases(path)[0].experiment.training.epochs == 2


def test_an_assignment_wins(tiny: Callable[..., Path]) -> None:
    path = tiny(profiles={"small": {"training.epochs": 1}})
    assert cases(path, "small", "training.epochs=7")[0].experiment.training.epochs == 7


def test_a_grid_can_be_changed_from_the_command_line(tiny: Callable[..., Path]) -> None:
    path = tiny(grid={"hypogen.blocks": [1, 3]}, profiles={"small": {"grid.hypogen.blocks": [4]}})
    assert [cell.values for cell in cases(path, None, "grid.hypogen.blocks=[5, 6]")] == [
        {"hypogen.blocks": 5},
        {"hypogen.blocks": 6},
    ]
    assert [cell.values for cell in cases(path, "small")] == [{"hypogen.blocks": 4}]


def test_recipes_are_the_base_of_expert_settings(tiny: Callable[..., Path]) -> None:
    experts = cases(tiny(experts={"recipe": "paper", "updates": 5000}))[0].experiment.experts
    assert (experts.recipe, experts.settings.updates, experts.settings.batch_size) == ("paper", 5000, 256)


WRONG = [
    ("metods: [hypogen]", "metods", "did you mean 'methods'?"),
    ("methods: [hypogn]", "methods", "did you mean 'hypogen'?"),
    ("methods: {hypogen: {blockz: 3}}", "methods.hypogen.blockz", "did you mean 'blocks'?"),
    ("methods: {hypogen: {blocks: 0}}", "methods.hypogen.blocks", "at least 1"),
    ("methods: {hypogen: {blocks: many}}", "methods.hypogen.blocks", "valid integer"),
    (
        "methods: {pearl: {adaptation_episodes: 2}}",
        "pearl.adaptation_episodes",
        "more than demonstrations.episodes (1)",
    ),
    ("benchmarks: [cheeta-speed]", "benchmarks", "did you mean 'cheetah-speed'?"),
    ("experts: {algorithm: sac}", "experts.algorithm", "Known: td3, ppo, scripted"),
    ("experts: {algorithm: scripted, updates: 5}", "experts.updates", "unknown key"),
    ("experts: {algorithm: ppo, recipe: laptop}", "experts.algorithm", "Write `experts: {algorithm: td3}`"),
    ("benchmarks: []", "benchmarks", "at least one"),
    ("benchmarks: [[cheetah-speed]]", "benchmarks", "unknown benchmark"),
    ("experts: {recipe: [fast]}", "experts.recipe", "unknown recipe"),
    ("experts: {algorithm: {ppo: 1}}", "experts.algorithm", "unknown algorithm"),
    ("split: {train_fraction: 1.5}", "split.train_fraction", "less than 1"),
    ("split: {train_fraction: 0.01, seeds: [0]}", "split", "cheetah-speed"),
    ("split: {seeds: []}", "split.seeds", "at least 1"),
    ("specs: {values: [[0.0]]}", "specs.values", "speed"),
    ("specs: {values: [[3.3]]}", "specs.values", "3.3"),
    ("training: {learning_rate: -0.1}", "training.learning_rate", "positive"),
    ("training: {learning_rate: .nan}", "training.learning_rate", "finite"),
    (
        "training: {learning_rate: 1.0e-4, learning_rate_final: 1.0e-3}",
        "training.learning_rate_final",
        "must lie in 0..0.0001",
    ),
    ("training: {epochs: 2.5}", "training.epochs", "integer"),
    (
        "training: {epochs: 2, warmup_steps: 9000}",
        "training.warmup_steps",
        "leaves nothing of a training of hypogen on cheetah-speed: at most ",
    ),
    ("training: 3", "training", "key: value"),
    ("methods: {hypogen: {training: 3}}", "methods.hypogen.training", "key: value"),
    ("methods: {hypogen: {training: {epoch: 3}}}", "methods.hypogen.training.epoch", "did you mean 'epochs'?"),
    ("methods: {hypogen: {training: {epochs: 0}}}", "methods.hypogen.training.epochs", "at least 1"),
    ("methods: {hypogen: {training: {seed: 1}}}", "methods.hypogen.training", "give training.seed"),
    ("methods: {nearest: {training: {epochs: 1}}}", "methods.nearest.training", "unknown key"),
    (
        "methods: {hypogen: {training: {learning_rate_final: 1.0}}}",
        "hypogen.training",
        "learning_rate_final must lie in 0..0.001",
    ),
    ("grid: {hypogen.training.epoch: [1]}", "hypogen.training.epoch", "did you mean 'epochs'?"),
    ("experts: {recipe: quick}", "experts.recipe", "Known: paper, fast"),
    ("experts: {update: 3}", "experts.update", "did you mean 'updates'?"),
    ("evaluation: {episodes: 0}", "evaluation.episodes", "greater than or equal to 1"),
    ("evaluation: {roles: [tests]}", "evaluation.roles", "'train' or 'test'"),
    ("evaluation: {selection: best_test}", "evaluation", "during_training_every"),
    ("evaluation: {during_training_every: 2}", "evaluation.during_training_every", "within the training of 2 epochs"),
    ("evaluation: {during_training_every: 1, roles: [train]}", "evaluation", "add `test` to roles"),
    ("probes: [random]", "probes", "did you mean 'random_start'? Known: random_start, update_losses"),
    ("resources: {gpus: maybe}", "resources.gpus", "'auto', 'always' or 'never'"),
    ("grid: {hypogen.blocs: [1]}", "hypogen.blocs", "did you mean 'blocks'?"),
    ("grid: {hyperzero.blocks: [1]}", "hyperzero.blocks", "methods has no 'hyperzero'"),
    ("grid: {training.epochs: 3}", "grid.training.epochs", "list of at least one value"),
    ("grid: {hypogen.blocks: [1, 0]}", "methods.hypogen.blocks", "at least 1"),
    ("grid: {table: [main]}", "table", "changes nothing"),
    ("grid: {hypogen.blocks: [1], methods.hypogen.blocks: [3]}", "grid.hypogen.blocks", "the same setting as"),
    ("seed: -1", "seed", "greater than or equal to 0"),
    ("policy: {layers: 0}", "policy.layers", "at least 1"),
    ("name: a b", "name", "pattern"),
    ("table: tabel20", "table", "Did you mean 'table20'?"),
]


@pytest.mark.parametrize(("line", "where", "remedy"), WRONG, ids=[line for line, _, _ in WRONG])
def test_what_makes_no_sense_is_named_with_line_and_remedy(tmp_path: Path, line: str, where: str, remedy: str) -> None:
    key = line.split(":")[0]
    data = {name: value for name, value in yaml.safe_load(TINY).items() if name != key}
    path = tmp_path / "wrong.yaml"
    head = yaml.safe_dump(data, sort_keys=False)
    path.write_text(head + line + "\n")
    with pytest.raises(ConfigError) as caught:
        cases(path)
    message = str(caught.value)
    assert f"wrong.yaml:{len(head.splitlines()) + 1}: " in message
    assert where in message and remedy in message
    assert len(message.splitlines()) == 1


def test_experts_that_do_not_fit_the_benchmark_are_blamed_where_they_are_chosen(tiny: Callable[..., Path]) -> None:
    path = tiny(benchmarks=["liftcube-damping"])
    line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if text.startswith("experts:"))
    with pytest.raises(
        ConfigError, match=rf"tiny\.yaml:{line}: experts\.algorithm: .*Write `experts: {{algorithm: ppo}}`"
    ):
        cases(path)


def test_the_zoo_is_taken_as_it_is_and_only_for_what_it_has(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypogen.zoo.benchmarks", lambda recipe: () if recipe else ("cheetah-speed",))
    (cell,) = cases(tiny(experts={"source": "zoo"}))
    assert cell.experiment.experts.source == "zoo"
    for experts, benchmark, problem in (
        ({"source": "zoo"}, "walker-speed", "experts.source: the zoo has no experts for walker-speed, only for"),
        ({"source": "zoo", "updates": 5}, "cheetah-speed", "experts.updates: the zoo's experts are trained already"),
        ({"source": "farm"}, "cheetah-speed", "experts.source: must be train or zoo"),
        (
            {"source": "zoo", "recipe": "pair"},
            "cheetah-speed",
            "has no experts by recipe pair for cheetah-speed, only for",
        ),
        (
            {"source": "zoo", "recipe": "par"},
            "cheetah-speed",
            "experts.recipe: none of the zoo's experts has the recipe",
        ),
    ):
        with pytest.raises(ConfigError, match=re.escape(problem)):
            cases(tiny(experts=experts, benchmarks=[benchmark]))


def test_problems_of_a_profile_or_an_assignment_are_blamed_on_it(tiny: Callable[..., Path]) -> None:
    path = tiny(profiles={"bad": {"training": {"epochs": 0}}})
    line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if "epochs: 0" in text)
    with pytest.raises(ConfigError, match=rf"tiny\.yaml:{line}: training\.epochs"):
        cases(path, "bad")
    with pytest.raises(ConfigError, match=r"^--set seed=x: seed: "):
        cases(path, None, "seed=x")
    with pytest.raises(ConfigError, match="unknown profile 'good': Known: bad"):
        cases(path, "good")


def test_a_changed_experiment_has_another_name(tiny: Callable[..., Path]) -> None:
    def name(*assignments: str) -> str:
        return cases(tiny(profiles={"small": {"training.epochs": 1}}), "small", *assignments)[0].experiment.name

    assert name() == "tiny-small" == name("resources.generator.threads=2", "training.checkpoint_every_s=5")
    changed = name("training.epochs=7")
    assert re.fullmatch(r"tiny-small-[0-9a-f]{6}", changed)
    assert name("training.epochs=7") == changed != name("training.epochs=8")
    assert name("split.seeds=[0]", "seed=3") == name("seed=3", "split.seeds=[0]")
    assert name("training.epochs=7", "name=mine") == "mine"
    assert name("name=tiny-small", "training.epochs=7") == "tiny-small", "named as it was is named"
    assert name("grid.hypogen.blocks=[1, 2]") != "tiny-small"


def test_experts_that_are_chosen_anew_replace_those_before(tiny: Callable[..., Path]) -> None:
    table1 = ROOT / "experiments" / "table1.yaml"
    experts = cases(table1, "laptop", "benchmarks=[walker-speed]", "experts={recipe: fast}")[0].experiment.experts
    assert (experts.source, experts.recipe, experts.settings.updates) == ("train", "fast", 100_000)
    profiles = {"small": {"experts": {"source": "zoo"}}, "more": {"experts": {"updates": 90}}}
    assert cases(tiny(profiles=profiles), "small")[0].experiment.experts.source == "zoo"
    settings = cases(tiny(profiles=profiles), "more")[0].experiment.experts.settings
    assert (settings.updates, settings.batch_size) == (90, 16), "without a choice, a mapping changes what it names"


def test_what_the_grid_varies_of_a_method_goes_with_it(tiny: Callable[..., Path]) -> None:
    grid = {"hypogen.blocks": [1, 2], "methods.hypogen.hidden_dim": [4, 8], "training.seed": [0, 1]}
    assert len(cases(tiny(grid=grid), None)) == 8
    found = cases(tiny(grid=grid), None, "methods=[cond_policy]")
    assert [case.values for case in found] == [{"training.seed": 0}, {"training.seed": 1}]
    asked = ["methods=[cond_policy]", "grid={hypogen.blocks: [1]}"]
    for assignments in (asked, asked[::-1]):
        with pytest.raises(ConfigError, match="methods has no 'hypogen'"):
            cases(tiny(grid=grid), None, *assignments)


def test_that_is_so_of_a_list_of_methods_too() -> None:
    found = cases(ROOT / "experiments" / "capacity.yaml", None, "methods=[expert, hypogen, uvfa]")
    assert [case.values for case in found] == [{"uvfa.embedding_dim": width} for width in (256, 2756)]


def test_a_list_of_methods_selects_and_keeps_their_settings(tiny: Callable[..., Path]) -> None:
    methods = cases(tiny(), None, "methods=[hypogen, uvfa]")[0].experiment.methods
    assert list(methods) == ["hypogen", "uvfa"] and methods["hypogen"].settings.blocks == 2


def test_a_setting_adds_no_method(tiny: Callable[..., Path]) -> None:
    for assignment in ("uvfa.discount=0.9", "methods.uvfa.discount=0.9"):
        with pytest.raises(ConfigError, match=r"^--set .*uvfa is not under `methods:`"):
            cases(tiny(), None, assignment)
    assert (
        cases(tiny(), None, "methods.uvfa={}", "uvfa.discount=0.9")[0].experiment.methods["uvfa"].settings.discount
        == 0.9
    )
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: uvfa\.discount: uvfa is not under `methods:`"):
        cases(tiny(profiles={"small": {"uvfa.discount": 0.9}}), "small")


def test_profiles_that_are_not_used_are_checked_too(tiny: Callable[..., Path]) -> None:
    path = tiny(profiles={"good": {"training.epochs": 1}, "bad": {"trainin.epochs": 1}})
    assert cases(path, "good")
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: trainin: unknown key 'trainin': did you mean 'training'"):
        check_profiles(path)
    check_profiles(tiny(profiles={1: {"training.epochs": 1}}))
    assert cases(tiny(profiles={1: {"training.epochs": 1}}), "1")[0].experiment.name == "tiny-1"
    for file in FILES:
        check_profiles(file)


def test_broken_yaml_on_the_command_line_is_one_line(tiny: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"^--set split=\{seeds: \[0: the value is not YAML: ") as caught:
        cases(tiny(), None, "split={seeds: [0")
    assert len(str(caught.value).splitlines()) == 1


def test_a_variable_that_nothing_consumes_is_refused(
    tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gravity = Variable("gravity", "m/s^2", 9.81, (5.0, 10.0, 15.0))
    benchmark = dataclasses.replace(get_benchmark("cheetah-speed"), name="cheetah-gravity", variables=(gravity,))
    monkeypatch.setitem(BENCHMARKS, "cheetah-gravity", benchmark)
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: benchmarks: cheetah-gravity: nothing .* 'gravity'"):
        cases(tiny(benchmarks=["cheetah-gravity"], specs={}))


def test_probes_need_a_method_with_updates_and_the_final_generator(tiny: Callable[..., Path]) -> None:
    assert cases(tiny(probes=["random_start"]))[0].experiment.probes == ["random_start"]
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: probes: no method .* Add one of: hypogen"):
        cases(tiny(methods=["expert", "cond_policy"], probes=["random_start"]))
    chosen = {"during_training_every": 1, "selection": "best_test"}
    with pytest.raises(ConfigError, match=r"tiny\.yaml:\d+: probes: they look at the final generator"):
        cases(tiny(evaluation=chosen, probes=["random_start"]))


def test_a_search_needs_a_method_and_a_space_that_exist(tiny: Callable[..., Path]) -> None:
    space = {"training.learning_rate": {"loguniform": [1e-4, 1e-2]}}
    assert cases(tiny(search={"method": "hypogen", "space": space}))[0].experiment.search.trials == 20
    for search, message in [
        ({"method": "hyperzero", "space": space}, "is not under `methods:`"),
        ({"method": "hypogen", "space": {"training.rate": {"uniform": [0, 1]}}}, "has no 'rate'"),
        ({"method": "hypogen", "space": {"training.epochs": {"uniform": [2, 1]}}}, "lower bound"),
        ({"method": "hypogen", "space": {"training.epochs": {}}}, "exactly one of"),
    ]:
        with pytest.raises(ConfigError, match=message):
            cases(tiny(search=search))
