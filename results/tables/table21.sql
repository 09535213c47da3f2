-- Table 21: number of layers inside a hypernet block
-- Of an experiment: all its runs. Of all runs: those where hypogen.block_depth takes two values or more and nothing else changes.
SELECT benchmark, value::BIGINT AS block_depth, * EXCLUDE (benchmark, value, cells), cells.*
FROM compared_sweep($experiment, 'table21', 'hypogen.block_depth')
ORDER BY benchmark, block_depth, place(method), COLUMNS(*)
