-- Leaderboard: every method on every benchmark, with its rank and what its training took
-- Success (%) on benchmarks that are judged by it, return on the others, on test specs. share: of the experts' own.
-- rank: among all rows of the benchmark that were measured on the same splits and specs, the experts aside; its 95 %
-- bootstrap interval draws splits and specs for all methods at once, and training seeds for each.
-- seconds: of one training, mean over splits and seeds, without experts and demonstrations, on `device`.
WITH measured AS (
    SELECT *, 'return' AS metric FROM paired_scores($experiment) WHERE headline(benchmark) = 'return'
    UNION ALL
    SELECT *, 'success' AS metric FROM paired_scores($experiment, measure := 'success')
    WHERE headline(benchmark) = 'success'
),
rows AS (
    SELECT *, rollout_conditions(settings) AS conditions,
        [method, epochs::VARCHAR, batch_size::VARCHAR, learning_rate::VARCHAR, selection, settings::VARCHAR]::VARCHAR AS rival
    FROM measured
),
costs AS (
    SELECT run, seconds, device
    FROM runs JOIN provenance USING (artifact)
    WHERE provenance.kind = 'generator'
),
summed AS (
    SELECT benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions, rival, method,
        few_shot, epochs, batch_size, learning_rate, selection,
        summarise(list(score ORDER BY split, spec_index, run)) AS summary,
        headroom(CASE WHEN count(pair) = count(*) THEN list(pair ORDER BY split, spec_index, run) END) AS room
    FROM rows
    GROUP BY ALL
),
spent AS (
    SELECT rival, benchmark, expert, conditions, seed, avg(seconds ORDER BY run) AS seconds,
        string_agg(DISTINCT device, ', ' ORDER BY device) AS device
    FROM (SELECT DISTINCT rival, benchmark, expert, conditions, seed, run FROM rows) LEFT JOIN costs USING (run)
    GROUP BY ALL
),
ranked AS (
    SELECT benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions,
        ranks(list({rival: rival, split: split, run: run, spec: spec_index::VARCHAR, mean: score.mean}
            ORDER BY rival, split, spec_index, run)) AS places
    FROM rows
    WHERE method <> 'expert'
    GROUP BY ALL
),
placed AS (
    SELECT * EXCLUDE (places, place), place.* FROM (SELECT *, unnest(places) AS place FROM ranked)
),
experts AS (
    SELECT benchmark, metric, expert, split_kind, train_specs, test_specs, seed, conditions, summary.mean AS own
    FROM summed WHERE method = 'expert'
)
SELECT summed.benchmark, metric, rank, rank_low_95, rank_high_95, method, few_shot, epochs, batch_size, learning_rate,
    selection, summary.mean, summary.low_95, summary.high_95, summary.mean / nullif(own, 0) AS share, room.headroom,
    room.headroom_low_95, room.headroom_high_95, room.headroom_unclear, seconds, device, summary.splits, summary.seeds,
    summary.specs, expert_recipe, summed.expert, split_kind, train_specs, test_specs, summed.seed, summed.conditions AS settings
FROM summed
LEFT JOIN placed USING (benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions, rival)
LEFT JOIN spent USING (benchmark, expert, conditions, seed, rival)
LEFT JOIN experts USING (benchmark, metric, expert, split_kind, train_specs, test_specs, seed, conditions)
ORDER BY summed.benchmark, rank NULLS FIRST, place(method), COLUMNS(*)
