"""`statistics.summarise` for many rows of a table at once: what rows with scores of one shape share is done once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast, get_type_hints

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from results.statistics import ENDS, REPETITIONS, Summary, Values, resampling, summarise

AT_ONCE = 64
"""Rows whose draws are held in memory at once: 8 MB for three splits."""
_TYPES = {int: pa.int64(), int | None: pa.int64()}
SUMMARY = pa.struct([(name, _TYPES.get(of, pa.float64())) for name, of in get_type_hints(Summary).items()])


def summarise_all(lists: pa.ChunkedArray) -> pa.Array:
    """A `Summary` of each list of scores, the same to the last bit as one by one.

    Scores that stand in order of split, spec and run, complete, share the work with those of other lists that do.
    """
    rows = lists.combine_chunks()
    found: dict[int, Summary] = {}
    for places, scores in _alike(rows):
        found |= zip(places, _summaries(scores), strict=True)
    for place in set(range(len(rows))).difference(found):
        found[place] = summarise(rows[place].as_py())
    return pa.array([found[place] for place in range(len(rows))], SUMMARY, from_pandas=True)  # null for NaN


@dataclass(frozen=True)
class _Scores:
    """Scores of R rows, of the same splits with the same numbers of specs and runs.

    Attributes:
        shapes: per split, how many specs and runs it has.
        means, deviations: [R, N], in order of split, spec and run; no deviations where each spec has one episode.
        inside: whether each of the N is in distribution.
        episodes: of each row.
    """

    shapes: tuple[tuple[int, int], ...]
    means: Values
    deviations: Values | None
    inside: NDArray[np.bool_]
    episodes: NDArray[np.int64]

    @property
    def parts(self) -> list[slice]:
        """Where each split's scores stand."""
        ends = np.cumsum([0, *(specs * runs for specs, runs in self.shapes)]).tolist()
        return [slice(first, last) for first, last in pairwise(ends)]


def _alike(rows: pa.ListArray) -> Iterator[tuple[list[int], _Scores]]:
    """Rows that can be summed up together: their places, and their scores."""
    scores, ends = rows.flatten(), np.cumsum([0, *rows.value_lengths().to_numpy().tolist()])
    columns = {field.name: scores.field(number) for number, field in enumerate(scores.type)}
    split, run, spec = (_codes(columns[name]) for name in ("split", "run", "spec"))
    means = columns["mean"].to_numpy(zero_copy_only=False)
    deviations = columns["deviation"].to_numpy(zero_copy_only=False)
    inside = columns["in_distribution"].fill_null(False).to_numpy(zero_copy_only=False)
    episodes = columns["episodes"].to_numpy(zero_copy_only=False)
    known = ~np.isnan(deviations)
    shaped: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for place, (first, last) in enumerate(pairwise(ends.tolist())):
        part = slice(first, last)
        shapes = _shapes(split[part], spec[part], run[part])
        if shapes is not None and not np.isnan(means[part]).any() and len(set(known[part].tolist())) == 1:
            shaped[shapes, bool(known[first]), inside[part].tobytes()].append(place)
    for (shapes, deviate, _), places in shaped.items():
        for start in range(0, len(places), AT_ONCE):
            some = places[start : start + AT_ONCE]
            index = ends[some][:, None] + np.arange(ends[some[0] + 1] - ends[some[0]])
            yield (
                some,
                _Scores(
                    shapes,
                    means[index],
                    deviations[index] if deviate else None,
                    inside[index[0]],
                    episodes[index].sum(axis=1),
                ),
            )


def _codes(names: pa.Array) -> NDArray[np.int64]:
    """Number of each name; None is one, too."""
    return names.dictionary_encode("encode").indices.to_numpy()


def _shapes(split: NDArray[Any], spec: NDArray[Any], run: NDArray[Any]) -> tuple[tuple[int, int], ...] | None:
    """Numbers of specs and of runs of each split, where the scores are complete and in order; else None."""
    starts = np.flatnonzero(np.diff(split, prepend=-1))
    if len(starts) != len(np.unique(split)):
        return None
    shapes = []
    for first, last in pairwise([*starts.tolist(), len(split)]):
        changes = np.flatnonzero(np.diff(spec[first:last]))
        runs = int(changes[0]) + 1 if len(changes) else last - first
        if (last - first) % runs:
            return None
        specs, by_spec = spec[first:last].reshape(-1, runs), run[first:last].reshape(-1, runs)
        complete = (specs == specs[:, :1]).all() and (by_spec == by_spec[:1]).all()
        if not complete or len(set(specs[:, 0].tolist())) < len(specs) or len(set(by_spec[0].tolist())) < runs:
            return None
        shapes.append((len(specs), runs))
    return tuple(shapes) or None


def _summaries(scores: _Scores) -> Iterator[Summary]:
    """The summary of each row; see `summarise`."""
    parts, shapes, means = scores.parts, scores.shapes, scores.means
    cells = [
        np.ascontiguousarray(means[:, part].reshape(-1, *shape).transpose(0, 2, 1))
        for part, shape in zip(parts, shapes, strict=True)
    ]
    seeds = [of_split.mean(axis=2) for of_split in cells]
    splits = np.stack([means[:, part].mean(axis=1) for part in parts], axis=1)
    ends = np.quantile(_drawn(cells), ENDS, axis=1) if means.shape[1] > 1 else None
    columns: dict[str, Values | None] = {
        "mean": splits.mean(axis=1),
        "std_episodes": _mean_of(scores.deviations, parts, np.ones_like(scores.inside)),
        "std_specs": _average([_average([_deviation(run) for run in c.swapaxes(0, 1)]) for c in cells]),
        "std_seeds": _average([_deviation(of_split) for of_split in seeds]),
        "std_splits": _deviation(splits),
        "low_95": None if ends is None else ends[0],
        "high_95": None if ends is None else ends[1],
        "in_mean": _mean_of(means, parts, scores.inside),
        "out_mean": _mean_of(means, parts, ~scores.inside),
    }
    most = max(runs for _, runs in shapes)
    counts = {"splits": len(shapes), "seeds": most if most > 1 else None, "specs": sum(specs for specs, _ in shapes)}
    for row, episodes in enumerate(scores.episodes.tolist()):
        numbers = {name: None if column is None else float(column[row]) for name, column in columns.items()}
        yield cast(Summary, {**numbers, **counts, "episodes": episodes})


def _drawn(cells: Sequence[Values]) -> Values:
    """Bootstrap means [R, D] of cells [R, A, S] per split."""
    rows = len(cells[0])
    means = np.empty((rows, REPETITIONS * len(cells)))
    draws = resampling(tuple((runs, 1, specs) for _, runs, specs in (of_split.shape for of_split in cells)))
    for of_split, (places, by_run, _, by_spec) in zip(cells, draws, strict=True):
        over_specs = by_spec @ of_split.swapaxes(1, 2)  # a product for each row, of the same layout as one by one
        means[:, places] = sum(weight * by for weight, by in zip(by_run.T, np.moveaxis(over_specs, 2, 0), strict=True))
    return means.reshape(rows, REPETITIONS, -1).mean(axis=2)


def _mean_of(values: Values | None, parts: Sequence[slice], counted: NDArray[np.bool_]) -> Values | None:
    """Mean over the splits of the means of values [R, N] of those that count; None where none does."""
    if values is None:
        return None
    kept = [np.ascontiguousarray(values[:, part][:, counted[part]]) for part in parts]
    return _average([of_split.mean(axis=1) for of_split in kept if of_split.shape[1]])


def _deviation(values: Values) -> Values | None:
    """Sample deviation of each row of values [R, N]; None for one value."""
    return values.std(axis=1, ddof=1) if values.shape[1] > 1 else None


def _average(columns: Sequence[Values | None]) -> Values | None:
    """Mean of those of the columns [R] that are there, if any."""
    known = [column for column in columns if column is not None]
    return np.stack(known, axis=1).mean(axis=1) if known else None
