"""Methods and benchmarks describe themselves: the paper's, the store's, and those that only have runs."""

from __future__ import annotations

import json

import pytest

from hypogen.benchmarks import BENCHMARKS
from hypogen.generators import GENERATORS
from results.catalogue import compare, grid, render
from results.paper_tables import paper
from tests.helpers.result_rows import BENCHMARK_ROW, METHOD_ROW, episode_rows, expert_row, fill, run_row

PAPERS = ["expert", "hypogen", "hyperzero", "pearl", "meta_policy", "uvfa", "cond_policy"]
TRAY = {name: BENCHMARK_ROW[name] for name in ("benchmark", "environment", "context")}


def described(store, table, name):
    (row,) = store.table(f"SELECT * FROM {table}s WHERE {table} = $name", name=name).to_pylist()
    return row


def rows_of(printed):
    """The rows as dicts, by column."""
    return [dict(zip(printed.columns, row, strict=True)) for row in printed.rows]


def test_the_papers_methods_are_there_in_order_whatever_the_store_holds(store):
    assert store.frame("SELECT method FROM methods ORDER BY place(method)").method.tolist() == PAPERS
    assert {row["method"] for row in paper().to_pylist()} - {None} == set(PAPERS)
    few_shot = store.frame("SELECT method, few_shot FROM methods WHERE method <> 'expert' ORDER BY ALL")
    known = {name: entry.few_shot for name, entry in GENERATORS.items() if name in PAPERS}
    assert dict(few_shot.values.tolist()) == known


def test_the_papers_benchmarks_are_ours_with_their_variables_and_scores(store):
    rows = store.table("FROM benchmarks").to_pylist()
    of_table2 = {row["benchmark"] for row in paper().to_pylist() if row["table"] == "table2"}
    assert len(rows) == 17
    for row in rows:
        benchmark = BENCHMARKS[row["benchmark"]]
        variables = [{"name": v.name, "unit": v.unit, "default": v.default} for v in benchmark.variables]
        assert json.loads(row["variables"]) == {"variables": variables}
        assert (row["environment"], row["context"]) == (benchmark.environment, benchmark.context)
        assert (row["score"] == "success") == (row["benchmark"] in of_table2)


def test_rows_of_the_store_replace_the_papers_and_add_to_them(store):
    store.write("methods", "fresh", [METHOD_ROW])
    store.write("methods", "uvfa", [{**METHOD_ROW, "method": "uvfa", "title": "Other", "position": -1}])
    assert described(store, "method", "fresh") == METHOD_ROW
    uvfa = described(store, "method", "uvfa")
    assert (uvfa["title"], uvfa["color"]) == ("Other", "#E69F00"), "a colour that is not named stays the paper's"
    order = store.frame("SELECT method FROM methods ORDER BY place(method)").method.tolist()
    assert order == ["uvfa", *(name for name in PAPERS if name != "uvfa"), "fresh"]


def test_a_name_that_only_has_runs_is_described_by_them(store):
    runs = [run_row("a", "new_idea", few_shot=True, **TRAY), run_row("b", "a_idea", **TRAY), run_row("c")]
    fill(store, runs, [])
    assert described(store, "method", "new_idea") == {
        "method": "new_idea",
        "title": "New Idea",
        "color": None,
        "few_shot": True,
        "position": 8,
    }
    order = store.frame("SELECT method FROM methods ORDER BY place(method)").method.tolist()
    assert order == [*PAPERS, "a_idea", "new_idea"]
    assert described(store, "benchmark", "tray-tilt") == {**TRAY, "score": "return", "variables": '{"variables":[]}'}


def test_two_files_with_one_name_are_one_method(store):
    for key in ("fresh", "published"):
        store.write("methods", key, [{**METHOD_ROW, "title": key}])
    assert described(store, "method", "fresh")["title"] == "fresh"


def three_methods(store, **changes):
    """The experts, HyPoGen and a method that the paper does not know, on two specs."""
    runs = [run_row("h", **changes), run_row("f", "fresh", **changes), expert_row(**changes)]
    level = {"h": 800.0, "f": 500.0, "expert-run": 900.0}
    episodes = [row for run in level for spec in (0, 1) for row in episode_rows(run, spec, [level[run], level[run]])]
    fill(store, runs, episodes)


@pytest.mark.parametrize("position", [None, -1, 1, 7])
def test_a_method_that_the_paper_does_not_know_stands_in_the_tables(store, position):
    """At its own position; with that of another method, in order of their names; without one, last."""
    three_methods(store)
    if position is not None:
        store.write("methods", "fresh", [{**METHOD_ROW, "position": position}])
    at = {None: 2, -1: 0, 1: 1, 7: 2}[position]
    expected = ["expert", "hypogen"]
    expected.insert(at, "fresh")
    assert [row["method"] for row in rows_of(grid("main", store))] == expected
    beside = [row["method"] for row in rows_of(grid("table1", store)) if row["benchmark"] == "cheetah-speed"]
    assert [method for method in beside if method in expected] == expected
    assert [row["difference"] for row in rows_of(compare("hypogen", "fresh", store))] == [300.0]


@pytest.mark.parametrize(("score", "difference"), [("success", -50.0), ("return", 300.0), (None, 300.0)])
def test_a_benchmark_that_the_paper_does_not_know_is_compared_by_its_score(store, score, difference):
    three_methods(store, **TRAY)
    rows = [{**row, "success": row["episode"] == 0} for row in episode_rows("h", 0, [800.0, 800.0])]
    rows += [{**row, "success": row["episode"] == 0} for row in episode_rows("h", 1, [800.0, 800.0])]
    store.write("episodes", "h", rows, replace=True)
    if score:
        store.write("benchmarks", "tray-tilt", [{**BENCHMARK_ROW, "score": score}])
    compared = compare("hypogen", "fresh", store)
    assert [row["difference"] for row in rows_of(compared)] == [difference]
    assert "any other benchmark by its own score" in " ".join(compared.notes)
    assert "tray-tilt" in render("table17", store)


def test_a_paper_method_that_adapts_by_its_own_word_is_marked_where_only_the_paper_has_it(store):
    store.write("methods", "uvfa", [{**METHOD_ROW, "method": "uvfa", "few_shot": True}])
    few_shot = {row["method"] for row in rows_of(grid("table1", store)) if row["few_shot"]}
    assert few_shot == {"uvfa", "meta_policy", "pearl"}
