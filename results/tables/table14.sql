-- Table 14: deviation of the steps to success over a spec's episodes, ManiSkill
-- ours, std_specs, std_splits and the interval are those of the deviations. An episode that fails counts as 200 steps.
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table14', 'steps_std')
ORDER BY benchmark, place(method), COLUMNS(*)
