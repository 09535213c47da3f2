"""Splits: sizes, nesting and coverage for any arguments, and the paper's own splits."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hypogen.benchmarks import BENCHMARKS, get_benchmark
from hypogen.splits import Split, evenly_spaced_split, explicit_split, in_distribution, random_split

counts = st.integers(2, 120)
fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32 - 1)


def _nearest(fraction, count):
    """The whole numbers nearest to a fraction of a count (two, halfway between them)."""
    return {k for k in range(count + 1) if abs(k - fraction * count) <= 0.5 + 1e-6}


@given(counts, fractions, seeds)
def test_random_split_covers_every_spec_once(count, fraction, seed):
    assume(_nearest(fraction, count) <= set(range(1, count)))
    split = random_split(count, fraction, seed)
    assert sorted(split.train + split.test) == list(range(count))
    assert len(split.train) in _nearest(fraction, count)
    assert split == random_split(count, fraction, seed)


@given(counts, st.tuples(fractions, fractions), fractions, seeds)
def test_random_splits_are_nested_in_the_train_fraction(count, train_fractions, test_fraction, seed):
    small, large = sorted(train_fractions)
    assume(large + test_fraction <= 1)
    assume(min(_nearest(small, count)) > 0 and min(_nearest(test_fraction, count)) > 0)
    assume(max(_nearest(test_fraction, count)) < count)
    few, many = (random_split(count, fraction, seed, test_fraction) for fraction in (small, large))
    assert few.test == many.test and len(few.test) in _nearest(test_fraction, count)
    assert set(few.train) <= set(many.train)
    assert set(random_split(count, small, seed).train) <= set(random_split(count, large, seed).train)


@given(st.lists(st.integers(0, 99), min_size=4, max_size=40, unique=True), seeds)
def test_random_split_among_some_specs_uses_all_of_them_and_no_other(among, seed):
    split = random_split(100, 0.5, seed, among=among)
    assert sorted(split.train + split.test) == sorted(among)
    assert split == random_split(100, 0.5, seed, among=among[::-1])


@given(counts, fractions)
def test_evenly_spaced_split_spreads_over_the_whole_grid(count, fraction):
    assume(_nearest(fraction, count) <= set(range(2, count)))
    split = evenly_spaced_split(count, fraction)
    assert sorted(split.train + split.test) == list(range(count))
    assert len(split.train) in _nearest(fraction, count)
    assert split.train[0] == 0 and split.train[-1] == count - 1
    gaps = np.diff(split.train)
    assert gaps.max() - gaps.min() <= 1


def test_one_evenly_spaced_spec_is_the_middle_one():
    assert evenly_spaced_split(5, 0.2).train == (2,)


def test_an_evenly_spaced_split_never_changes():
    """Artifacts of earlier runs are keyed by these rows; 0, 3.75, 7.5, 11.25 and 15 are rounded, halves up."""
    assert evenly_spaced_split(16, 0.3).train == (0, 4, 8, 11, 15)


def test_seeds_give_different_splits():
    assert len({random_split(40, 0.2, seed) for seed in range(5)}) == 5


def test_a_random_split_never_changes():
    """Artifacts of earlier runs are keyed by these rows."""
    assert random_split(40, 0.2, seed=0).train == (2, 3, 4, 11, 23, 24, 27, 34)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_the_papers_split_of_every_benchmark(benchmark):
    count = len(benchmark.grid)
    if benchmark.split == "random":
        split = random_split(count, benchmark.train_fraction, seed=1)
    else:
        split = evenly_spaced_split(count, benchmark.train_fraction)
    assert len(split.train) == round(benchmark.train_fraction * count)
    assert len(split.test) == count - len(split.train)


@pytest.mark.parametrize("name", ["cheetah-speed", "cheetah-length"])
def test_the_data_fraction_study_keeps_its_test_specs(name):
    count = len(get_benchmark(name).grid)  # 41 specs: half of them twice is one too many
    splits = [random_split(count, fraction, 3, test_fraction=0.5) for fraction in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)]
    assert len({split.test for split in splits}) == 1
    assert [len(split.train) for split in splits] == [2, 4, 8, 12, 16, 20]


def test_figure_4_trains_at_speeds_1_and_10():
    benchmark = get_benchmark("cheetah-speed")
    split = explicit_split(benchmark, train_specs=[1, 10], test_specs=range(2, 10))
    assert benchmark.grid[list(split.train), 0].tolist() == [1, 10]
    assert benchmark.grid[list(split.test), 0].tolist() == list(range(2, 10))


def test_explicit_split_takes_specs_in_any_order():
    split = explicit_split(get_benchmark("cheetah-speed-length"), [(10, 0.7), (1, 0.3)], [(2, 0.35)])
    assert split == Split(train=(0, 89), test=(10,))


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([], [2], "no spec to train on"),
        ([1, 2], [2], r"both trains and tests: \(2.0,\)"),
        ([1, 1], [2], r"train spec given twice: \(1.0,\)"),
        ([1], [2, 2], r"test spec given twice: \(2.0,\)"),
        ([1], [2.2], "the nearest to speed 2.2 are 2 and 2.5"),
    ],
)
def test_impossible_explicit_splits(train, test, message):
    with pytest.raises(ValueError, match=message):
        explicit_split(get_benchmark("cheetah-speed"), train, test)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train_fraction": 1.5}, "train_fraction must lie between 0 and 1"),
        ({"train_fraction": 0}, "train_fraction must lie between 0 and 1"),
        ({"train_fraction": float("nan")}, "train_fraction must lie between 0 and 1"),
        ({"train_fraction": 0.01}, "no spec to train on"),
        ({"train_fraction": 0.99}, "no spec to test on"),
        ({"train_fraction": 0.5, "test_fraction": 0}, "test_fraction must lie between 0 and 1"),
        ({"train_fraction": 0.6, "test_fraction": 0.5}, "exceed 1 together"),
        ({"train_fraction": 0.5, "test_fraction": 0.01}, "no spec to test on"),
        ({"train_fraction": 0.5, "count": 1}, "at least 2 specs"),
        ({"train_fraction": 0.5, "among": [1, 1, 2]}, "a spec twice"),
        ({"train_fraction": 0.5, "among": [1, 20]}, "specs 0 to 19"),
        ({"train_fraction": 0.5, "among": [-1, 2]}, "specs 0 to 19"),
        ({"train_fraction": 0.5, "among": []}, "at least 2 of the specs"),
    ],
)
def test_impossible_random_splits(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_split(**{"count": 20, "seed": 0, **arguments})


@pytest.mark.parametrize(("fraction", "message"), [(1, "between 0 and 1"), (0.01, "train on"), (0.99, "test on")])
def test_impossible_evenly_spaced_splits(fraction, message):
    with pytest.raises(ValueError, match=message):
        evenly_spaced_split(21, fraction)


@pytest.mark.parametrize("rows", [((), (1,)), ((2, 1), ()), ((1, 1), ()), ((1,), (1,))])
def test_a_split_checks_itself(rows):
    with pytest.raises(ValueError, match="spec"):
        Split(*rows)


def test_in_distribution_is_within_one_deviation_of_the_training_mean():
    train = np.array([[1.0], [3.0]])  # mean 2, deviation 1: the bounds count as in
    assert in_distribution(train, np.array([[0.9], [1.0], [2.0], [3.0], [3.1]])).tolist() == [
        False,
        True,
        True,
        True,
        False,
    ]


def test_in_distribution_needs_every_coordinate():
    train = np.array([[1.0, 0.3], [3.0, 0.7]])
    assert in_distribution(train, np.array([[2, 0.5], [2, 0.71], [4, 0.5]])).tolist() == [True, False, False]


@pytest.mark.parametrize(("train", "specs"), [((0, 1), (2, 1)), ((2, 1), (2, 2)), ((2,), (2, 1))])
def test_in_distribution_wants_matching_shapes(train, specs):
    with pytest.raises(ValueError, match="specs must be"):
        in_distribution(np.ones(train), np.ones(specs))
