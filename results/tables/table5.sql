-- Table 5: return on test specs after 250 epochs, and epochs until the return reaches 600
-- Of runs that were evaluated while they trained, at the epochs at which they were. epoch=last is the end of the training.
-- Epochs until a return: the first evaluated epoch at which the mean over the splits is there; empty where it never is.
WITH returns AS (FROM probed($experiment) WHERE metric = 'return' AND method <> 'expert'),
ours AS (
    SELECT * EXCLUDE (epoch, last), 'epoch=250' AS setting FROM returns WHERE epoch = 250
    UNION ALL
    SELECT * EXCLUDE (epoch, last), 'epoch=last' AS setting FROM returns WHERE last
    UNION ALL
    SELECT * EXCLUDE (epoch, last, summary) REPLACE ('epochs' AS metric), {
            mean: (min(epoch) FILTER (summary.mean >= 600))::DOUBLE, low_95: NULL, high_95: NULL,
            std_episodes: NULL, std_specs: NULL, std_seeds: NULL, std_splits: NULL,
            splits: max(summary.splits), seeds: NULL, specs: NULL, episodes: NULL
        } AS summary, 'return=600' AS setting
    FROM returns
    GROUP BY ALL
),
theirs AS (
    SELECT benchmark, method, setting, 'return' AS metric, paper FROM printed('table5', 'return')
    UNION ALL
    SELECT benchmark, method, setting, 'epochs' AS metric, paper FROM printed('table5', 'epochs')
),
joined AS (
    SELECT benchmark, metric, setting, method, coalesce(few_shot, adapts(method)) AS few_shot,
        ours.* EXCLUDE (benchmark, metric, setting, method, few_shot, parameters, summary),
        beside(summary, paper, NULL, NULL, headroom(NULL)) AS cells
    FROM ours FULL JOIN theirs USING (benchmark, method, metric, setting)
)
SELECT * EXCLUDE (cells), cells.* EXCLUDE (std_episodes, std_specs, paper_std, failed, specs, episodes) FROM joined
ORDER BY benchmark, metric DESC, setting, place(method), COLUMNS(*)
