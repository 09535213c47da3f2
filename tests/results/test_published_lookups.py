"""The published page's section on lookups: every number in it follows from the rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hypogen.benchmarks import get_benchmark
from results.catalogue import compare, grid
from results.paper_tables import paper
from results.result_store import ResultStore
from results.statistics import headroom

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
STORE = ResultStore(str(FOLDER / "results"))
PAGE = (FOLDER / "README.md").read_text()
SECTION = " ".join(PAGE.partition("## Lookups")[2].partition("\n## ")[0].split())
TITLES = {**dict(STORE.frame("SELECT method, title FROM methods").values.tolist()), "expert": "expert"}


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    """A row per split and test spec of the references and of the track's methods, with the spec's speed."""
    return STORE.frame(
        "SELECT scores.benchmark, scores.method, split, scores.spec_index, score.mean, pair, speed "
        "FROM paired_scores(NULL) AS scores "
        "JOIN (SELECT DISTINCT run, spec_index, spec[1] AS speed FROM episodes) USING (run, spec_index) "
        "WHERE benchmark IN ('cheetah-speed', 'finger-speed') AND split_kind = 'random' AND run IN ("
        "SELECT run FROM experiments WHERE experiment IN ('references', 'cheetah-speed-laptop')) "
        "ORDER BY benchmark, method, split, spec_index, run"
    )


def test_the_references_stand_beside_the_experts_split_by_split(scores: pd.DataFrame) -> None:
    printed = grid("main", STORE, experiment="references")
    rows = [dict(zip(printed.columns, values, strict=True)) for values in printed.rows]
    for row in (row for row in rows if row["benchmark"] in ("cheetah-speed", "finger-speed")):
        mine = scores[(scores.benchmark == row["benchmark"]) & (scores.method == row["method"])]
        own = scores[(scores.benchmark == row["benchmark"]) & (scores.method == "expert")]["mean"].mean()
        splits = ", ".join(f"{mean:.0f}" for mean in mine.groupby("split")["mean"].mean())
        share = "" if row["method"] == "expert" else f"{row['mean'] / own:.3f} "
        interval = f"{row['low_95']:.0f}-{row['high_95']:.0f}"
        assert f"| {TITLES[row['method']]} | {row['mean']:.1f} | {interval} | {share}| {splits} |" in SECTION
        assert row["splits"] == 5
    assert len(rows) == 33


def test_the_headroom_of_every_benchmark() -> None:
    printed = {name: grid(name, STORE, experiment="references") for name in ("headroom", "main")}
    tables = {
        name: [dict(zip(found.columns, values, strict=True)) for values in found.rows]
        for name, found in printed.items()
    }
    mixed = {row["benchmark"]: row["mean"] for row in tables["main"] if row["method"] == "interpolate"}
    for row in tables["headroom"]:
        experts, nearest, interpolated = row["experts"], row["nearest"], mixed[row["benchmark"]]
        specs = f"{row['train_specs']} of {row['train_specs'] + row['test_specs']}"
        means = f"{experts:.1f} | {nearest:.1f} | {interpolated:.1f}"
        shares = f"{nearest / experts:.3f} | {interpolated / experts:.3f}"
        assert f"| {row['benchmark']} | {specs} | {means} | {shares} | {row['verdict']} |" in SECTION
    exact = {row["benchmark"] for row in tables["headroom"] if row["verdict"] == "yes"}
    assert exact == {"cheetah-exact-speed", "finger-exact-speed"} and len(mixed) == 11


def test_headroom_on_cheetah_speed(scores: pd.DataFrame) -> None:
    there = scores[scores.benchmark == "cheetah-speed"]
    means = there.groupby("method")["mean"].mean()
    for method in ("hypogen", "hyperzero", "interpolate"):
        found = headroom(there[there.method == method].pair.tolist())
        interval = f"{found['headroom_low_95']:.2f} to {found['headroom_high_95']:.2f}"
        share = f"{means[method]:.1f} | {means[method] / means['expert']:.3f}"
        assert f"| {TITLES[method]} | {share} | {found['headroom']:.2f} | {interval} |" in SECTION
    assert f"| expert | {means['expert']:.1f} | | 1 |" in SECTION
    assert f"| {means['nearest']:.1f} | {means['nearest'] / means['expert']:.3f} | 0 |" in SECTION
    assert all(means[method] < means["nearest"] for method in means.index if method not in ("expert", "nearest"))
    once = {"expert", "nearest", "interpolate"}  # the others were trained with three seeds
    counts = there.groupby("method").size().to_dict()
    assert len(counts) == 10 and all(count == 160 * (1 if name in once else 3) for name, count in counts.items())


@pytest.mark.parametrize("rival", ["nearest", "interpolate"])
def test_differences_are_those_of_compare(rival: str) -> None:
    for method in ("hypogen", "hyperzero"):
        printed = compare(method, rival, STORE, benchmark="cheetah-speed", experiments=["cheetah-speed-laptop"])
        ((*values,),) = printed.rows
        row = dict(zip(printed.columns, values, strict=True))
        difference = f"{-row['difference']:.1f}( points)? " + re.escape(
            f"({-row['high_95']:.1f} to {-row['low_95']:.1f})"
        )
        assert re.search(difference, SECTION), (method, row)
        assert rival != "nearest" or f"{row['improvement']:.2f}" in SECTION


def test_shares_of_the_papers_experts_are_the_papers() -> None:
    rows = [row for row in paper().to_pylist() if row["table"] == "table1" and row["metric"] == "return"]
    value = {(row["benchmark"], row["method"]): row["value"] for row in rows}
    for method in ("hypogen", "hyperzero"):
        shares = [value[name, method] / value[name, "expert"] for name in ("cheetah-speed", "finger-speed")]
        assert all(f"{share:.3f}" in SECTION for share in shares)


def test_the_lead_of_the_experts_and_where_it_is_lost(scores: pd.DataFrame) -> None:
    numbers = {}
    for name in ("cheetah-speed", "finger-speed"):
        mine = scores[(scores.benchmark == name) & (scores.method == "nearest")]
        lead, turned, beyond = [], [], []
        for _, rows in mine.groupby("split"):
            speeds = rows.speed.to_numpy()
            trained = np.setdiff1d(get_benchmark(name).grid[:, 0], speeds)
            nearest = trained[np.abs(speeds[:, None] - trained).argmin(axis=1)]
            lead.append([pair["expert"] - pair["nearest"] for pair in rows.pair])
            turned.append(np.sign(nearest) != np.sign(speeds))
            beyond.append((speeds < trained.min()) | (speeds > trained.max()))
        points, other_way, outside = np.array(lead), np.array(turned), np.array(beyond) & ~np.array(turned)
        share = {part: points[which].sum() / points.sum() for part, which in (("turned", other_way), ("out", outside))}
        numbers[name] = (points, other_way, share, outside)
    points, other_way, share, outside = numbers["cheetah-speed"]
    assert f"{points.mean():.1f} points on cheetah-speed" in SECTION
    assert f"{share['turned']:.0%}".replace("%", " %") + f" of the lead is lost on the {other_way.sum()} of " in SECTION
    assert f"and {share['out']:.0%}".replace("%", " %") + " on speeds beyond" in SECTION
    assert points[1][outside[1]].sum() > points[outside].sum() / 2
    points, other_way, share, _ = numbers["finger-speed"]
    assert f"by {points.mean():.1f} on finger-speed" in SECTION
    assert f"the {other_way.sum()} of {other_way.size} test specs" in SECTION
    assert f"account for {share['turned']:.0%}".replace("%", " %") in SECTION
    assert [int(split.sum()) for split in other_way[[2, 4]]] == [0, 5]


def test_shares_of_single_splits(scores: pd.DataFrame) -> None:
    finger = scores[scores.benchmark == "finger-speed"].groupby(["method", "split"])["mean"].mean()
    for split in (2, 4):
        assert f"{finger['nearest', split] / finger['expert', split]:.3f}" in SECTION


def test_the_verdicts_of_the_table_are_those_of_the_page() -> None:
    printed = grid("headroom", STORE)
    rows = [dict(zip(printed.columns, values, strict=True)) for values in printed.rows]
    assert {row["verdict"] for row in rows if row["benchmark"] in ("cheetah-speed", "finger-speed")} == {"no"}
    assert "Neither of the two has any headroom by the rule above" in SECTION
