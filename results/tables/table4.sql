-- Table 4: action loss on demonstrations of the test specs after each update of the generated policy
-- Of runs that were probed. The paper does not say how its loss is scaled: compare the shape, that is, the loss as a fraction
-- of that after the first update (ours_relative, paper_relative). It names no context for LiftCube: its numbers stand beside
-- every context's.
WITH ours AS (
    SELECT * EXCLUDE (metric, epoch, last), split_part(benchmark, '-', 1) AS environment,
        split_part(metric, '@', 2)::BIGINT AS updates,
        summary.mean / max(summary.mean) FILTER (metric = 'loss@1') OVER (
            PARTITION BY benchmark, method, expert_recipe, expert, split_kind, train_specs, test_specs, epochs, batch_size,
                learning_rate, selection, seed, settings) AS ours_relative
    FROM probed($experiment)
    WHERE last AND regexp_full_match(metric, 'loss@[0-9]+')
),
theirs AS (
    SELECT environment, benchmark, method, split_part(setting, '=', 2)::BIGINT AS updates, paper,
        paper / max(paper) FILTER (setting = 'updates=1') OVER (PARTITION BY environment, method) AS paper_relative
    FROM printed('table4', 'loss')
),
joined AS (
    SELECT coalesce(ours.benchmark, theirs.benchmark, theirs.environment) AS benchmark,
        coalesce(ours.method, theirs.method) AS method, coalesce(ours.updates, theirs.updates) AS updates,
        ours.* EXCLUDE (benchmark, environment, method, updates, parameters, summary, ours_relative),
        ours_relative, paper_relative, beside(summary, paper, NULL, NULL, headroom(NULL)) AS cells
    FROM ours FULL JOIN theirs ON ours.environment = theirs.environment AND ours.method = theirs.method
        AND ours.updates = theirs.updates AND coalesce(ours.benchmark = theirs.benchmark, true)
)
SELECT * EXCLUDE (cells), cells.* EXCLUDE (std_episodes, std_specs, paper_std, failed, specs, episodes) FROM joined
ORDER BY benchmark, place(method), updates, COLUMNS(*)
