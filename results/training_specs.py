"""Specs that a run trained on, also where only its test specs were rolled out."""

from __future__ import annotations

import pandas as pd

from results.result_store import ResultStore

_SQL = """
WITH specs AS (SELECT DISTINCT run, spec_index, spec, role FROM episodes),
grids AS (
    SELECT DISTINCT experiment, benchmark, spec_index, spec
    FROM specs JOIN runs USING (run) JOIN experiments USING (run)
),
others AS (
    SELECT run, spec_index, spec, train_specs
    FROM runs JOIN experiments USING (run) JOIN grids USING (experiment, benchmark)
    WHERE method <> 'expert' AND (run, spec_index) NOT IN (SELECT (run, spec_index) FROM specs WHERE role = 'test')
    QUALIFY count(*) OVER (PARTITION BY run, experiment) = train_specs
),
shown AS (SELECT run, spec_index, spec FROM specs JOIN runs USING (run) WHERE role = 'train' AND method <> 'expert')
SELECT run, spec_index, spec FROM shown
UNION
SELECT run, spec_index, spec FROM others
ORDER BY run, spec_index
"""


def training_specs(store: ResultStore) -> pd.DataFrame:
    """Columns run, spec_index and spec (its coordinates), a row per training spec of each run but the experts'.

    Those that were rolled out say so. Of the others, an experiment's specs that are not the run's test specs train,
    where their number is that of its training specs; else nothing is known, and the run has no rows.
    """
    return store.frame(_SQL)
