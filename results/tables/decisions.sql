-- Decisions: where `until_decided:` ended, and whether the methods were found to differ
-- One row per comparison. boundary: what the size of the difference had to exceed; empty where none would do.
-- splits: those that it took, of `most`. alpha: chance to decide where there is no difference, over all stages.
SELECT experiment, benchmark, method_a, method_b, decided, difference, boundary, splits, most_splits AS most, alpha
FROM decisions
WHERE $experiment IS NULL OR experiment = $experiment
ORDER BY experiment, benchmark, place(method_a), place(method_b)
