-- Table 3: response of the generated parameters to a random start θ^0, uniform in [-0.1, 0.1]
-- Of runs that were probed: magnitude of each layer's parameters and its deviation, and the return on test specs of policies
-- that were generated from the learned start and from a random one. random_loss and random_train_loss: the action loss on
-- demonstrations of the test and training specs after so many updates of a random start (table 4 has it of the learned one).
WITH ours AS (
    SELECT * EXCLUDE (metric, epoch, last), split_part(metric, '@', 1) AS metric, split_part(metric, '@', 2) AS setting
    FROM probed($experiment)
    WHERE last AND (metric LIKE 'magnitude%@%' OR metric LIKE 'return@start=%' OR metric LIKE 'random_%loss@%')
),
theirs AS (
    SELECT benchmark, method, setting, 'magnitude' AS metric, paper FROM printed('table3', 'magnitude')
    UNION ALL
    SELECT benchmark, method, setting, 'magnitude_std' AS metric, paper FROM printed('table3', 'magnitude_std')
),
joined AS (
    SELECT benchmark, method, metric, setting, ours.* EXCLUDE (benchmark, method, metric, setting, parameters, summary),
        beside(summary, paper, NULL, NULL, headroom(NULL)) AS cells
    FROM ours FULL JOIN theirs USING (benchmark, method, metric, setting)
)
SELECT * EXCLUDE (cells), cells.* EXCLUDE (std_episodes, std_specs, paper_std, failed, specs, episodes) FROM joined
ORDER BY benchmark, place(method), metric, try_cast(setting AS BIGINT), setting DESC, COLUMNS(*)
