-- Two methods on the same test specs
-- Paired by split and spec under the same conditions: the same experts, split, training and checkpoint, and the same value of
-- every setting that both methods have. Settings that only one has may take any value; experts have no training.
-- With their own training, each method may have been trained by other settings than the other one: for so many epochs, at
-- such a rate; what they differ in stands in settings_a and settings_b, or, where all rows share it, under Conditions.
-- ManiSkill is compared by success (%), MuJoCo by return, any other benchmark by its own score.
WITH measured AS (
    SELECT *, headline(benchmark) AS metric
    FROM scores(NULL, among := CASE WHEN $benchmark IS NOT NULL THEN [$benchmark] END)
),
sides AS (
    SELECT * REPLACE (CASE WHEN $own_training AND epochs IS NOT NULL THEN map_concat(settings, MAP {
            'training.epochs': epochs::VARCHAR, 'training.batch_size': batch_size::VARCHAR,
            'training.learning_rate': learning_rate::VARCHAR}) ELSE settings END AS settings),
        CASE WHEN $own_training THEN without_training(settings) ELSE settings END AS common
    FROM measured
    WHERE method IN ($a, $b)
        AND ($experiments IS NULL OR run IN (SELECT run FROM experiments WHERE list_contains($experiments, experiment)))
),
pairs AS (
    SELECT a.* EXCLUDE (run, method, few_shot, parameters, settings, common, conditions, outcomes, success, failed, length, score)
            REPLACE (CASE WHEN coalesce(a.epochs = b.epochs, true) THEN a.epochs END AS epochs,
                CASE WHEN coalesce(a.batch_size = b.batch_size, true) THEN a.batch_size END AS batch_size,
                CASE WHEN coalesce(a.learning_rate = b.learning_rate, true) THEN a.learning_rate END AS learning_rate),
        a.settings AS settings_a, b.settings AS settings_b,
        {split: a.split, run_a: a.run, run_b: b.run, spec: a.spec_index::VARCHAR, a: a.outcomes, b: b.outcomes} AS pair
    FROM sides AS a JOIN sides AS b
        USING (benchmark, spec_index, expert_recipe, expert, split_kind, train_specs, test_specs, seed)
    WHERE a.method = $a AND b.method = $b
        AND a.split IS NOT DISTINCT FROM b.split
        AND ($inside IS NULL OR a.score.in_distribution = $inside)
        AND ($own_training OR coalesce(a.epochs = b.epochs, true))
        AND ($own_training OR coalesce(a.batch_size = b.batch_size, true))
        AND ($own_training OR coalesce(a.learning_rate = b.learning_rate, true))
        AND (a.selection = b.selection OR 'expert' IN ($a, $b))
        AND agree(a.common, b.common)
),
compared AS (
    SELECT * EXCLUDE (split, spec_index, pair), compare(list(pair ORDER BY split, spec_index, pair.run_a, pair.run_b)) AS comparison
    FROM pairs
    GROUP BY ALL
)
SELECT * EXCLUDE (comparison), comparison.* FROM compared
ORDER BY benchmark, COLUMNS(*)
