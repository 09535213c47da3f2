"""Many summaries at once: each is that of `summarise`, to the last bit, whatever else is summed up beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from results.database import _SCORE
from results.result_store import ResultStore
from results.statistics import summarise
from results.summaries import AT_ONCE, SUMMARY, _alike, summarise_all

SCORES = pa.list_(
    pa.struct(
        [
            ("split", pa.int64()),
            ("run", pa.string()),
            ("spec", pa.string()),
            ("mean", pa.float64()),
            ("deviation", pa.float64()),
            ("episodes", pa.int64()),
            ("in_distribution", pa.bool_()),
        ]
    )
)


def drawn(random: np.random.Generator, splits: int, runs: int, specs: int, *, deviate: bool = True) -> list[dict]:
    """A complete list of scores in order."""
    return [
        {
            "split": split,
            "run": f"{split}-{run}",
            "spec": str(spec),
            "mean": float(random.normal(500, 100)),
            "deviation": float(random.random()) if deviate else None,
            "episodes": 10,
            "in_distribution": (spec + split) % 3 > 0,
        }
        for split in range(splits)
        for spec in range(specs)
        for run in range(runs)
    ]


@pytest.fixture
def lists() -> list[list[dict]]:
    random = np.random.default_rng(0)
    complete = [
        drawn(random, *(int(random.integers(1, most)) for most in (5, 5, 40)), deviate=random.random() < 0.8)
        for _ in range(200)
    ]
    alike = [drawn(random, 3, 2, 32) for _ in range(AT_ONCE + 5)]
    unmeasured = drawn(random, 3, 2, 5)
    unmeasured[7] = {**unmeasured[7], "mean": None}
    single = drawn(random, 2, 2, 5)
    single[3] = {**single[3], "deviation": None}
    without_split = [{**score, "split": None} for score in drawn(random, 1, 1, 6)]
    uneven = [*drawn(random, 1, 3, 4), *({**score, "split": 1} for score in drawn(random, 1, 1, 7))]
    swapped = drawn(random, 2, 2, 5)
    swapped[0], swapped[1] = swapped[1], swapped[0]
    twice = [*drawn(random, 1, 1, 3), *drawn(random, 1, 1, 3)]
    doubled = [score for score in drawn(random, 1, 1, 4) for _ in range(2)]
    apart = drawn(random, 3, 1, 4)
    apart[8:] = [{**score, "split": 0, "spec": f"other {score['spec']}"} for score in apart[8:]]
    irregular = [unmeasured, single, without_split, drawn(random, 2, 2, 5)[:-1], swapped, drawn(random, 2, 2, 5)[::-1]]
    return [*complete, *alike, *irregular, twice, doubled, apart, uneven, []]


def test_many_at_once_are_each_by_itself_to_the_last_bit(lists: list[list[dict]]) -> None:
    chunks = pa.chunked_array([pa.array(lists[:70], SCORES), pa.array(lists[70:], SCORES)])
    assert sum(len(places) for places, _ in _alike(chunks.combine_chunks())) == len(lists) - 8, "the complete ones"
    assert summarise_all(chunks).to_pylist() == [summarise(scores) for scores in lists]


def test_what_stands_beside_a_row_does_not_change_it(lists: list[list[dict]]) -> None:
    whole = summarise_all(pa.chunked_array([pa.array(lists, SCORES)]))
    assert whole.type == SUMMARY
    for place in (0, 201, len(lists) - 1):
        alone = pa.chunked_array([pa.array(lists, SCORES).slice(place, 1)])
        assert summarise_all(alone).to_pylist() == [whole[place].as_py()]


def test_a_query_has_them_with_no_summary_for_no_list(tmp_path: Path) -> None:
    query = f"SELECT summarise(scores) AS found FROM (VALUES (NULL::{_SCORE}[]), ([])) AS given(scores)"
    none, empty = (row["found"] for row in ResultStore(tmp_path).table(query).to_pylist())
    assert none is None and empty == summarise([])


def test_where_no_number_comes_out_a_query_has_null(tmp_path: Path) -> None:
    score = "{split: 0, run: 'a', spec: %s, mean: 'inf'::DOUBLE, deviation: 1.0, episodes: 2, in_distribution: NULL}"
    query = f"SELECT unnest(summarise([{score % 0}, {score % 1}]::{_SCORE}[]))"
    (row,) = ResultStore(tmp_path).table(query).to_pylist()
    assert row["mean"] == row["out_mean"] == np.inf and row["in_mean"] is None
    assert row["std_specs"] is None and row["low_95"] is None, "inf - inf"


@pytest.mark.parametrize("kernels", ["Haswell", "SkylakeX", "Cooperlake"])
def test_they_are_the_same_by_whatever_products_numpy_has(kernels: str) -> None:
    """OpenBLAS multiplies by other code on other processors, and by layout."""
    if kernels != "Haswell" and "avx512" not in Path("/proc/cpuinfo").read_text():
        kernels = "Haswell"
    this = f"{__file__}::{test_many_at_once_are_each_by_itself_to_the_last_bit.__name__}"
    variables = {**os.environ, "OPENBLAS_CORETYPE": kernels}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", this], env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
