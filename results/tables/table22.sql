-- Table 22: hidden dimension of a hypernet block
-- Of an experiment: all its runs. Of all runs: those where hypogen.hidden_dim takes two values or more and nothing else changes.
SELECT benchmark, value::BIGINT AS hidden_dim, * EXCLUDE (benchmark, value, cells), cells.*
FROM compared_sweep($experiment, 'table22', 'hypogen.hidden_dim')
ORDER BY benchmark, hidden_dim, place(method), COLUMNS(*)
