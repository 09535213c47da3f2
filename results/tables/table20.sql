-- Table 20: number K of hypernet blocks, the updates of the generated policy
-- Of an experiment: all its runs. Of all runs: those where hypogen.blocks takes two values or more and nothing else changes.
SELECT benchmark, value::BIGINT AS blocks, * EXCLUDE (benchmark, value, cells), cells.*
FROM compared_sweep($experiment, 'table20', 'hypogen.blocks')
ORDER BY benchmark, blocks, place(method), COLUMNS(*)
