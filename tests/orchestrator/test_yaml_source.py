from pathlib import Path

import pytest

from hypogen.errors import did_you_mean
from orchestrator.config.setting import Setting
from orchestrator.config.yaml_source import parse_assignment, read
from orchestrator.exceptions import ConfigError


def write(path: Path, text: str) -> Path:
    file = path / "experiment.yaml"
    file.write_text(text)
    return file


def test_values_remember_their_lines(tmp_path: Path) -> None:
    source = read(write(tmp_path, "name: a\ntraining:\n  epochs: 3\n  learning_rate: 1e-4\nlist: [1, 2]\n"))
    assert source.data["training"] == {"epochs": 3, "learning_rate": 1e-4}
    assert source.origin(("training", "learning_rate")).endswith("experiment.yaml:4")
    assert source.origin(("training", "absent")).endswith("experiment.yaml:2")
    assert source.origin(("list", 1)).endswith("experiment.yaml:5")
    assert source.origin(("absent",)).endswith("experiment.yaml")


def test_an_assignment_has_its_own_origin_and_leaves_its_neighbours(tmp_path: Path) -> None:
    source = read(write(tmp_path, "methods: [hypogen, expert]\n"))
    name, value = parse_assignment("hypogen.blocks=[1, 2]")
    Setting.parse(name).put(source, value, "--set x")
    assert source.data == {"methods": {"hypogen": {"blocks": [1, 2]}, "expert": {}}}
    assert source.origin(("methods", "hypogen", "blocks", "0")) == "--set x"
    assert source.origin(("methods", "expert")).endswith(":1")


def test_a_copy_is_independent(tmp_path: Path) -> None:
    source = read(write(tmp_path, "a: {b: [1]}\n"))
    source.copy().set(("a", "b"), 2, "elsewhere")
    assert source.data == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "experiment.yaml:3: 'a' is written twice"),
        ("a: [1, 2\nb: 3\n", "experiment.yaml:2: this is not YAML"),
        ("- a\n- b\n", "experiment.yaml:1: an experiment file is a mapping"),
        ("", "experiment.yaml:1: an experiment file is a mapping"),
    ],
)
def test_broken_files_are_named_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(write(tmp_path, text))
    assert message in str(caught.value)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        read(tmp_path / "absent.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize("text", ["epochs", "=3", "a=[1"])
def test_bad_assignments(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_assignment(text)


def test_did_you_mean() -> None:
    assert did_you_mean("hypergen", ["hypogen", "hyperzero"]).startswith("did you mean 'hypogen'?")
    assert did_you_mean("xyz", ["hypogen"]) == "Known: hypogen."
