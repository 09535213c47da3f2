-- Score on test specs: every method on every benchmark
-- Success (%) on benchmarks that are judged by it, return on the others.
-- Of an experiment, or of all runs; runs that differ in more than the seed of their split stand in rows of their own.
-- The expert is measured on the same test specs, split by split, as the generators that learned from it.
SELECT benchmark, headline(benchmark) AS metric, method, few_shot, * EXCLUDE (benchmark, method, few_shot, parameters, summary, room, failed),
    summary.mean, room.*, summary.* EXCLUDE (mean)
FROM summaries($experiment)
ORDER BY benchmark, place(method), COLUMNS(*)
