-- Two methods on the same test specs
-- Paired by split and spec under the same conditions: the same experts, split, training and checkpoint, and the same value of
-- every setting that both methods have. Settings that only one has may take any value; experts have no training.
-- ManiSkill is compared by success (%), MuJoCo by return, any other benchmark by its own score.
WITH measured AS (
    SELECT *, 'return' AS metric FROM scores($experiment, measure := 'return') WHERE headline(benchmark) = 'return'
    UNION ALL
    SELECT *, 'success' AS metric FROM scores($experiment, measure := 'success') WHERE headline(benchmark) = 'success'
),
sides AS (FROM measured WHERE method IN ($a, $b) AND coalesce(benchmark = $benchmark, true)),
pairs AS (
    SELECT a.* EXCLUDE (run, method, few_shot, parameters, settings, outcomes, success, failed, length, score),
        beyond(a.settings, b.settings) AS settings_a, beyond(b.settings, a.settings) AS settings_b,
        {split: a.split, run_a: a.run, run_b: b.run, spec: a.spec_index::VARCHAR, a: a.outcomes, b: b.outcomes} AS pair
    FROM sides AS a JOIN sides AS b
        USING (benchmark, spec_index, expert_recipe, expert, split_kind, train_specs, test_specs, seed)
    WHERE a.method = $a AND b.method = $b
        AND a.split IS NOT DISTINCT FROM b.split
        AND coalesce(a.epochs = b.epochs, true)
        AND coalesce(a.batch_size = b.batch_size, true)
        AND coalesce(a.learning_rate = b.learning_rate, true)
        AND (a.selection = b.selection OR 'expert' IN ($a, $b))
        AND agree(a.settings, b.settings)
),
compared AS (
    SELECT * EXCLUDE (split, spec_index, pair), compare(list(pair ORDER BY split, spec_index, pair.run_a, pair.run_b)) AS comparison
    FROM pairs
    GROUP BY ALL
)
SELECT * EXCLUDE (comparison), comparison.* FROM compared
ORDER BY benchmark, COLUMNS(*)
