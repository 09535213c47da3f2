"""The paper's layout: methods by benchmarks, the best in bold."""

from __future__ import annotations

from results.catalogue import grid, render
from results.formats import latex
from results.latex_layout import paper_layout
from tests.helpers.result_rows import episode_rows, expert_row, fill, run_row


def place(benchmark: str) -> dict[str, str]:
    environment, _, context = benchmark.partition("-")
    return {"benchmark": benchmark, "environment": environment, "context": context}


MEANS = {
    ("cheetah-length", "hypogen"): 700.0,
    ("cheetah-length", "uvfa"): 750.5,
    ("cheetah-speed", "hypogen"): 810.0,
    ("cheetah-speed", "uvfa"): 400.0,
    ("walker-speed", "hypogen"): 99.0,
}


def test_methods_by_benchmarks_with_the_best_in_bold(store):
    for (benchmark, method), mean in MEANS.items():
        run = f"{benchmark}-{method}"
        fill(store, [run_row(run, method, **place(benchmark))], episode_rows(run, 0, [mean, mean]))
    fill(store, [expert_row("e", **place("walker-speed"))], episode_rows("e", 0, [990.0, 990.0]))
    lines = render("table1", store, format="latex").splitlines()
    assert lines[0] == "% Table 1: return on test specs, MuJoCo"
    start = lines.index(r"\begin{tabular}{lrrr}")
    assert lines[start:] == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{Cheetah} & \multicolumn{1}{c}{Walker} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}",
        r"Method & length & speed & speed \\",
        r"\midrule",
        r"Expert & - & - & 990.00 \\",
        r"\midrule",
        r"HyPoGen & 700.00 & \textbf{810.00} & \textbf{99.00} \\",
        r"UVFA & \textbf{750.50} & 400.00 & - \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    deviations = render("table13", store, format="latex")
    assert "textbf" not in deviations and r"\multicolumn{2}{c}{Cheetah}" in deviations


def test_of_steps_the_fewest_are_best_and_of_successes_the_most(store):
    for method, length in (("hypogen", 30), ("uvfa", 20)):
        rows = episode_rows(method, 0, [1.0, 1.0], length=length)
        rows[0] |= {"success": method == "hypogen", "failed": method != "hypogen"}
        fill(store, [run_row(method, method, **place("liftcube-damping"))], rows)
    lines = render("table2", store, format="latex").splitlines()
    assert r"Method & damping, success & damping, steps \\" in lines
    assert r"HyPoGen & \textbf{100.00} & \textbf{30.00} \\" in lines and r"UVFA & 50.00 & 110.00 \\" in lines


def test_another_table_is_a_plain_tabular(store):
    runs = [run_row("a"), run_row("b", settings={"hypogen.blocks": 2})]
    fill(store, runs, [row for run in "ab" for row in episode_rows(run, 0, [1.0, 1.0])])
    doubled = render("main", store, format="latex")
    assert doubled.startswith("% Several rows of one method on one benchmark: methods by benchmarks need")
    assert doubled.endswith(latex(grid("main", store)))
    empty = grid("table2", store)
    assert paper_layout(empty, {}) == latex(empty)
