"""The tables of results: every column with its type, its unit and its meaning.

`runs`, `episodes`, `curves`, `trajectories`, `experiments` and `decisions` hold nothing that depends on the clock or
the machine, so the same plan gives the same six tables; `provenance` holds the rest. `methods` and `benchmarks`
describe the names in `runs`, so that no table or figure asks for a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

INTEGER, REAL, FLAG, TEXT = pa.int64(), pa.float64(), pa.bool_(), pa.string()
TIME = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column.

    `json` columns hold a JSON object as text; `choices` lists the only values allowed and `pattern` is a regular
    expression for all of the text (empty: any). An `optional` column is nullable, and a row may leave it out: it is
    younger than some writers.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    nullable: bool = False
    json: bool = False
    choices: tuple[str, ...] = ()
    pattern: str = ""
    optional: bool = False


@dataclass(frozen=True)
class TableSchema:
    """One table. Rows are stored in the order of `primary_key`.

    `deterministic`: the same plan gives the same rows; where it does not, the last writer of a file wins.
    """

    name: str
    meaning: str
    primary_key: tuple[str, ...]
    columns: tuple[Column, ...]
    deterministic: bool = True

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def arrow(self) -> pa.Schema:
        """The pyarrow schema; meaning and unit of a column stand in its field's metadata."""
        return pa.schema([_field(column) for column in self.columns], metadata={"meaning": self.meaning})


def _field(column: Column) -> pa.Field:
    metadata = {"meaning": column.meaning, "unit": column.unit}
    return pa.field(column.name, column.type, nullable=column.nullable, metadata=metadata)


RUNS = TableSchema(
    "runs",
    "one generator, or one expert, that was rolled out",
    ("run",),
    (
        Column("run", TEXT, "key of the run: a generator or experts, and the rollouts that measure it"),
        Column("benchmark", TEXT, "environment and context, such as cheetah-speed"),
        Column("environment", TEXT, "such as cheetah"),
        Column("context", TEXT, "which variables vary, such as speed-length"),
        Column("method", TEXT, "'expert', or the generator's name"),
        Column("expert_recipe", TEXT, "name of the settings that trained the experts"),
        Column("expert", TEXT, "key of the experts' artifact, the same for all splits that learn from it"),
        Column("split_kind", TEXT, "random, evenly_spaced or explicit"),
        Column("split_seed", INTEGER, "seed of the split; null for the expert", nullable=True),
        Column("train_fraction", REAL, "specs that train, of all; null where listed", "fraction", nullable=True),
        Column("train_specs", INTEGER, "specs that train", "specs"),
        Column("test_specs", INTEGER, "specs that test", "specs"),
        Column("settings", TEXT, "every setting of method, policy, training and split, dotted names", json=True),
        Column("overrides", TEXT, "settings that differ from their defaults", json=True),
        Column("epochs", INTEGER, "passes over the training data", "epochs", nullable=True),
        Column("steps", INTEGER, "optimiser steps", "steps", nullable=True),
        Column("batch_size", INTEGER, "samples in an optimiser step", "samples", nullable=True),
        Column("learning_rate", REAL, "learning rate of the optimiser", nullable=True),
        Column("selection", TEXT, "which checkpoint was rolled out: final, or best_test to compare with the paper"),
        Column("few_shot", FLAG, "whether the method adapts on demonstrations of the test specs"),
        Column("parameters", INTEGER, "trainable numbers of the method", "parameters"),
        Column("seed", INTEGER, "seed of the run's own random numbers"),
        Column("artifact", TEXT, "key into provenance: the generator, or the experts, that was rolled out"),
    ),
)

EPISODES = TableSchema(
    "episodes",
    "one rolled out episode",
    ("run", "spec_index", "episode"),
    (
        Column("run", TEXT, "key into runs"),
        Column("spec_index", INTEGER, "row of the benchmark's grid"),
        Column("spec", pa.list_(REAL), "the spec's coordinates", "the context's own: m/s, rad/s, m"),
        Column("role", TEXT, "whether the run trained on this spec", choices=("train", "test")),
        Column("in_distribution", FLAG, "every coordinate within one deviation of the training specs' mean"),
        Column("episode", INTEGER, "number of the episode within its spec"),
        Column("seed", INTEGER, "seed of the episode's start"),
        Column("return", REAL, "sum of the episode's rewards", "reward"),
        Column("length", INTEGER, "length of the episode", "control steps"),
        Column("success", FLAG, "the benchmark's own notion of success"),
        Column("failed", FLAG, "the benchmark's own notion of failure"),
    ),
)

CURVES = TableSchema(
    "curves",
    "one number measured while a run trained",
    ("run", "metric", "epoch", "step"),
    (
        Column("run", TEXT, "key into runs"),
        Column("epoch", INTEGER, "passes over the training data so far", "epochs"),
        Column("step", INTEGER, "optimiser steps so far", "steps"),
        Column("metric", TEXT, "what was measured, such as loss"),
        Column("value", REAL, "its value", "the metric's own"),
    ),
)

TRAJECTORIES = TableSchema(
    "trajectories",
    "the beginning of one episode of a run at one spec, to be drawn",
    ("run", "spec_index"),
    (
        Column("run", TEXT, "key into runs"),
        Column("spec_index", INTEGER, "row of the benchmark's grid"),
        Column("spec", pa.list_(REAL), "the spec's coordinates", "the context's own: m/s, rad/s, m"),
        Column("role", TEXT, "whether the run trained on this spec", choices=("train", "test")),
        Column("seed", INTEGER, "seed of the episode's start"),
        Column("return", REAL, "sum of the whole episode's rewards", "reward"),
        Column("frame_s", REAL, "simulated time between two frames", "s"),
        Column("joints", INTEGER, "positions in a frame", "positions"),
        Column("positions", pa.list_(REAL), "joint positions, frame by frame", "m, rad"),
        Column("rewards", pa.list_(REAL), "mean reward of a frame's control steps", "reward"),
        Column("skeleton", TEXT, "bodies, joints and shapes of the robot at this spec", json=True),
    ),
)

EXPERIMENTS = TableSchema(
    "experiments",
    "one run that an experiment asked for",
    ("experiment", "run"),
    (
        Column("experiment", TEXT, "name of the experiment"),
        Column("run", TEXT, "key into runs"),
        Column("position", INTEGER, "place of the run in the experiment's plan, from 0"),
        Column("cell", TEXT, "the grid's values for this run, dotted names", json=True),
        Column("table", TEXT, "name of the results table that the experiment asks for"),
    ),
)

DECISIONS = TableSchema(
    "decisions",
    "one comparison of two methods that decided how many splits an experiment took",
    ("experiment", "benchmark", "method_a", "method_b"),
    (
        Column("experiment", TEXT, "name of the experiment"),
        Column("benchmark", TEXT, "environment and context, such as cheetah-speed"),
        Column("method_a", TEXT, "as in runs"),
        Column("method_b", TEXT, "as in runs"),
        Column("decided", FLAG, "whether the methods were found to differ"),
        Column(
            "difference", REAL, "a - b, a mean over splits, their test specs and the training seeds", "the score's own"
        ),
        Column("boundary", REAL, "what its size had to exceed; null where no size would do", nullable=True),
        Column("splits", INTEGER, "splits that it took, or all that there were", "splits"),
        Column("most_splits", INTEGER, "splits that there could have been", "splits"),
        Column("alpha", REAL, "chance to decide where there is no difference, of this comparison, over all stages"),
    ),
)

PROVENANCE = TableSchema(
    "provenance",
    "how one artifact was made: the only table with clocks and machines in it",
    ("artifact",),
    (
        Column("artifact", TEXT, "key of the artifact"),
        Column("kind", TEXT, "such as expert, demonstrations, generator, rollouts"),
        Column("parents", pa.list_(TEXT), "keys of the artifacts that it was made from"),
        Column("started", TIME, "when the work began", "UTC"),
        Column("seconds", REAL, "wall clock time of the work", "s"),
        Column("device", TEXT, "such as cpu, or the GPU's name"),
        Column("host", TEXT, "name of the machine"),
        Column("cpu", TEXT, "model of the processor"),
        Column("git_commit", TEXT, "commit of the code; null outside of a git checkout", nullable=True),
        Column("git_dirty", FLAG, "whether files differed from that commit", nullable=True),
        Column("packages", TEXT, "version of each package", json=True),
        Column("status", TEXT, "how it ended", choices=("done", "failed")),
        Column("error", TEXT, "the traceback of a failure", nullable=True),
        Column("label", TEXT, "the artifact in words, with grid cell and split", nullable=True, optional=True),
        Column("runs", pa.list_(TEXT), "keys into experiments: runs that need it", nullable=True, optional=True),
    ),
    deterministic=False,
)

METHODS = TableSchema(
    "methods",
    "one method, as tables and figures show it",
    ("method",),
    (
        Column("method", TEXT, "'expert', or the generator's name"),
        Column("title", TEXT, "its name for people, such as HyPoGen"),
        Column("color", TEXT, "such as #D55E00; null: figures choose", nullable=True, pattern="#[0-9A-Fa-f]{6}"),
        Column("few_shot", FLAG, "whether the method adapts on demonstrations of the test specs"),
        Column("position", INTEGER, "place in tables and figures, ascending; equal ones by name"),
    ),
    deterministic=False,
)

BENCHMARKS = TableSchema(
    "benchmarks",
    "one benchmark, and how it is judged",
    ("benchmark",),
    (
        Column("benchmark", TEXT, "environment and context, such as cheetah-speed"),
        Column("environment", TEXT, "such as cheetah"),
        Column("context", TEXT, "which variables vary, such as speed-length"),
        Column("score", TEXT, "the one number by which it is judged", choices=("return", "success")),
        Column("variables", TEXT, "{variables: [{name, unit, default}, ...]}, in a spec's order", json=True),
    ),
    deterministic=False,
)

PAPER = TableSchema(
    "paper",
    "one number of the paper's tables",
    ("table", "environment", "context", "method", "setting", "metric"),
    (
        Column("table", TEXT, "table1 to table29"),
        Column("environment", TEXT, "such as cheetah", nullable=True),
        Column("context", TEXT, "such as speed-length", nullable=True),
        Column("benchmark", TEXT, "environment and context, where the paper names both", nullable=True),
        Column("method", TEXT, "as in runs", nullable=True),
        Column("setting", TEXT, "what else tells the number from the next, such as hypogen.blocks=8", nullable=True),
        Column("metric", TEXT, "such as return, or return_std for its deviation"),
        Column("value", REAL, "the number, where it is one", "the metric's own; success in %", nullable=True),
        Column("printed", TEXT, "the number as printed"),
    ),
)

DIMENSIONS = (METHODS, BENCHMARKS)
"""Tables that describe names; the paper's own come with the code, rows of a store replace them and add to them."""

_MEASURED = (RUNS, EPISODES, CURVES, TRAJECTORIES, EXPERIMENTS, DECISIONS, PROVENANCE)
TABLES: dict[str, TableSchema] = {table.name: table for table in (*_MEASURED, *DIMENSIONS)}
"""The tables of a store, by name; PAPER comes with the code."""


def described(tables: Sequence[TableSchema] = (*TABLES.values(), PAPER)) -> str:
    """One line per table, with its columns: enough to write a query."""
    return "\n".join(f"  {table.name}: {', '.join(table.names)}" for table in tables)
