-- Table 24: return of successful episodes on test specs, MuJoCo
-- The paper's speed and length columns of walker are exchanged (results/paper/README.md).
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table24', 'return', succeeded := true)
ORDER BY benchmark, place(method), COLUMNS(*)
