-- Table 26: return on test specs in distribution, MuJoCo
-- Of successful episodes: only so the paper's numbers agree with its table 24 (results/paper/README.md).
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table26', 'return', part := 'in', succeeded := true)
ORDER BY benchmark, place(method), COLUMNS(*)
