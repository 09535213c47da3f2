-- Headroom: what the nearest training spec's expert leaves to be gained on test specs
-- One row per benchmark and split settings, where `nearest` was rolled out beside the experts: success (%) on benchmarks that
-- are judged by it, return on the others. share: nearest / expert. verdict: 'yes', there is headroom, where share is below 0.9
-- and the 95 % interval of expert - nearest is above 0; else 'no'.
-- best: of all trained methods that see no demonstrations of the test specs, in all their settings, the one with the greatest
-- headroom, on the splits on which it was rolled out. It is chosen on these test specs: the more rows, the luckier.
WITH paired AS (
    SELECT benchmark, headline(benchmark) AS metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions,
        method, few_shot, epochs, batch_size, learning_rate, selection, settings, split, spec_index, run, score, pair
    FROM paired_scores($experiment)
),
lookups AS (
    SELECT DISTINCT benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions,
        split, spec_index, score.in_distribution AS inside, pair
    FROM paired
    WHERE method = 'expert' AND pair IS NOT NULL
),
levels AS (
    SELECT * EXCLUDE (split, spec_index, inside, pair), count(DISTINCT split) AS splits, count(*) AS specs,
        summarise(list({split: split, run: NULL, spec: pair.spec, mean: pair.expert, deviation: NULL, episodes: 0,
            in_distribution: inside} ORDER BY split, spec_index)).mean AS experts,
        summarise(list({split: split, run: NULL, spec: pair.spec, mean: pair.nearest, deviation: NULL, episodes: 0,
            in_distribution: inside} ORDER BY split, spec_index)).mean AS nearest,
        headroom(list(pair ORDER BY split, spec_index)).headroom_unclear AS unclear
    FROM lookups
    GROUP BY ALL
),
trained AS (
    SELECT * EXCLUDE (few_shot, split, spec_index, run, score, pair),
        summarise(list(score ORDER BY split, spec_index, run)) AS summary,
        headroom(list(pair ORDER BY split, spec_index, run)) AS room
    FROM paired
    WHERE epochs IS NOT NULL AND NOT few_shot
    GROUP BY ALL
    HAVING count(pair) = count(*)
),
best AS (
    FROM trained
    QUALIFY row_number() OVER (
        PARTITION BY benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions
        ORDER BY room.headroom DESC NULLS LAST, summary.mean DESC, method, settings::VARCHAR, selection, epochs, batch_size,
            learning_rate) = 1
)
SELECT levels.benchmark, levels.metric, levels.expert_recipe, levels.expert, levels.split_kind, levels.train_specs,
    levels.test_specs, levels.seed, conditions AS settings,
    experts, nearest, nearest / CASE WHEN experts > 0 THEN experts END AS share,
    CASE WHEN nearest / experts < 0.9 AND NOT unclear THEN 'yes' ELSE 'no' END AS verdict,
    levels.splits, levels.specs, best.method AS best, summary.mean AS best_mean, room.headroom, room.headroom_low_95,
    room.headroom_high_95, unclear AS headroom_unclear, summary.splits AS best_splits
FROM levels LEFT JOIN best
    USING (benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions)
ORDER BY benchmark, COLUMNS(*)
