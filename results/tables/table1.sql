-- Table 1: return on test specs, MuJoCo
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table1', 'return')
ORDER BY benchmark, place(method), COLUMNS(*)
