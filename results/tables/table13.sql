-- Table 13: deviation of the return over a spec's episodes, MuJoCo
-- ours, std_specs, std_splits and the interval are those of the deviations.
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table13', 'return_std')
ORDER BY benchmark, place(method), COLUMNS(*)
