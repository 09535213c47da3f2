"""The gate: what a table takes and what it refuses, and in which words."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results.problems import ResultsError
from results.rows import to_table
from results.schema import BENCHMARKS, CURVES, EPISODES, EXPERIMENTS, METHODS, PROVENANCE, RUNS, TABLES
from tests.helpers.result_rows import BENCHMARK_ROW, METHOD_ROW, PROVENANCE_ROW, asked, episode_rows, run_row


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_column_is_documented_in_the_stored_schema(table):
    for field in table.arrow:
        assert len(field.metadata[b"meaning"]) > 8, field.name
    assert set(table.primary_key) <= set(table.names)
    assert len(set(table.names)) == len(table.names)


@pytest.mark.parametrize(
    ("table", "row"),
    [
        (RUNS, run_row("a")),
        (EPISODES, episode_rows("a", 0, [1.0])[0]),
        (CURVES, {"run": "a", "epoch": 1, "step": 10, "metric": "loss", "value": 0.5}),
        (EXPERIMENTS, asked("q", "a")),
        (PROVENANCE, PROVENANCE_ROW),
        (METHODS, METHOD_ROW),
        (BENCHMARKS, BENCHMARK_ROW),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "",
)
def test_a_row_comes_back_as_it_was_given(table, row):
    (back,) = to_table(table, [row]).to_pylist()
    texts = {column.name for column in table.columns if column.json}
    assert {**back, **{name: json.loads(back[name]) for name in texts}} == {
        **row,
        **{name: json.loads(row[name]) for name in texts},
    }


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("run", 1),
        ("run", None),
        ("run", b"a"),
        ("spec_index", 1.0),
        ("spec_index", True),
        ("spec_index", "1"),
        ("spec_index", 2**63),
        ("return", True),
        ("return", "1.0"),
        ("return", None),
        ("success", 1),
        ("spec", 1.0),
        ("spec", [1.0, None]),
        ("spec", "ab"),
        ("role", "validation"),
    ],
)
def test_a_wrong_value_is_refused_by_row_and_column(column, value):
    rows = episode_rows("a", 0, [1.0, 2.0])
    rows[1][column] = value
    with pytest.raises(ResultsError, match=f"table episodes, row 1, column {column}: expected .*, got "):
        to_table(EPISODES, rows)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ResultsError, match="column started"):
        to_table(PROVENANCE, [{**PROVENANCE_ROW, "started": datetime(2025, 1, 2)}])


def test_columns_younger_than_their_writers_may_be_left_out():
    row = {name: value for name, value in PROVENANCE_ROW.items() if name not in ("label", "runs")}
    (back,) = to_table(PROVENANCE, [row]).to_pylist()
    assert (back["label"], back["runs"]) == (None, None)


def test_code_outside_of_a_git_checkout_has_no_commit():
    (back,) = to_table(PROVENANCE, [{**PROVENANCE_ROW, "git_commit": None, "git_dirty": None}]).to_pylist()
    assert (back["git_commit"], back["git_dirty"]) == (None, None)


@pytest.mark.parametrize("color", ["red", "#12345", "#1234567", "D55E00", 0])
def test_a_colour_is_hexadecimal(color):
    with pytest.raises(ResultsError, match=r"table methods, row 0, column color: expected text"):
        to_table(METHODS, [{**METHOD_ROW, "color": color}])


@pytest.mark.parametrize("text", ["", "[]", "1", "{'a': 1}", '{"a": 1'])
def test_settings_must_be_a_json_object(text):
    with pytest.raises(ResultsError, match="column settings: expected a JSON object"):
        to_table(RUNS, [{**run_row("a"), "settings": text}])


def test_equal_settings_are_stored_as_equal_text():
    one, other = '{"b": 1, "a": [1, 2]}', '{ "a":[1,2],"b":1 }'
    rows = [{**run_row("a"), "settings": one}, {**run_row("b"), "settings": other}]
    stored = to_table(RUNS, rows).column("settings").to_pylist()
    assert stored[0] == stored[1]


def test_unknown_and_missing_columns_are_both_named():
    row = run_row("a")
    del row["seed"], row["steps"]
    row["sede"] = 1
    with pytest.raises(ResultsError, match=r"table runs, row 0: unknown sede; missing steps, seed\. Columns: run, "):
        to_table(RUNS, [row])


def test_a_table_lacking_a_column_is_refused_as_rows_are():
    with pytest.raises(ResultsError, match="missing value"):
        to_table(CURVES, pa.table({"run": ["a"], "epoch": [1], "step": [1], "metric": ["loss"]}))


def test_two_rows_with_one_primary_key_are_refused():
    with pytest.raises(ResultsError, match="rows 0 and 2 are both run a, spec_index 0, episode 0"):
        to_table(EPISODES, [*episode_rows("a", 0, [1.0, 2.0]), *episode_rows("a", 0, [3.0])])


def test_numbers_of_numpy_are_numbers():
    row = episode_rows("a", 0, [1.0])[0]
    like = {"spec_index": np.int32(0), "return": np.float32(1), "success": np.bool_(True), "spec": np.zeros(1)}
    assert to_table(EPISODES, [{**row, **like}]) == to_table(EPISODES, [row])


curve_rows = st.lists(
    st.fixed_dictionaries(
        {
            "run": st.text(st.characters(codec="utf-8"), max_size=5),
            "epoch": st.integers(-(2**63), 2**63 - 1),
            "step": st.integers(0, 3),
            "metric": st.sampled_from(["loss", "return"]),
            "value": st.floats(allow_nan=False),
        }
    ),
    max_size=8,
    unique_by=lambda row: (row["run"], row["metric"], row["epoch"], row["step"]),
)


@given(curve_rows, st.randoms())
def test_the_order_of_rows_does_not_change_the_table(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert to_table(CURVES, rows) == to_table(CURVES, shuffled)
    stored = to_table(CURVES, rows).to_pylist()
    assert len(stored) == len(rows) and all(row in stored for row in rows)
