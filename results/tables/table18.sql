-- Table 18: number of linear layers of the generated policy
-- Of an experiment: all its runs. Of all runs: those where policy.layers takes two values or more and nothing else changes.
SELECT benchmark, value::BIGINT AS layers, * EXCLUDE (benchmark, value, cells), cells.*
FROM compared_sweep($experiment, 'table18', 'policy.layers')
ORDER BY benchmark, layers, place(method), COLUMNS(*)
