-- Table 27: return on test specs out of distribution, MuJoCo
-- Of successful episodes: only so the paper's numbers agree with its table 24 (results/paper/README.md).
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table27', 'return', part := 'out', succeeded := true)
ORDER BY benchmark, place(method), COLUMNS(*)
