-- Table 19: fraction of the specs that train
-- Of an experiment: all its runs. Of all runs: those where split.train_fraction takes two values or more and nothing else changes.
SELECT benchmark, value::DOUBLE AS train_fraction, * EXCLUDE (benchmark, value, cells), cells.*
FROM compared_sweep($experiment, 'table19', 'split.train_fraction')
ORDER BY benchmark, train_fraction, place(method), COLUMNS(*)
