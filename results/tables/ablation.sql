-- Score on test specs: every cell of an experiment's grid, whatever it varies
-- Success (%) on benchmarks that are judged by it, return on the others.
-- Of an experiment, or of all experiments. The seed of a split is no part of a cell: splits are averaged.
WITH cells AS (
    SELECT experiment, run, without_seeds(any_value(cell)::JSON::MAP(VARCHAR, VARCHAR)) AS cell, min(position) AS position
    FROM experiments
    WHERE $experiment IS NULL OR experiment = $experiment
    GROUP BY experiment, run
),
grouped AS (
    SELECT experiment, cell, min(position) AS position,
        summarise(list(score ORDER BY split, spec_index, run)) AS summary,
        headroom(CASE WHEN count(pair) = count(*) THEN list(pair ORDER BY split, spec_index, run) END) AS room,
        * EXCLUDE (
            experiment, cell, position, run, split, spec_index, conditions, outcomes, success, failed, length, score, pair,
            parameters)
    FROM cells JOIN paired_scores($experiment) USING (run)
    GROUP BY ALL
)
SELECT experiment, benchmark, headline(benchmark) AS metric, method, few_shot, cell,
    * EXCLUDE (experiment, benchmark, method, few_shot, cell, position, summary, room),
    summary.mean, room.*, summary.* EXCLUDE (mean)
FROM grouped
ORDER BY experiment, benchmark, position, place(method), COLUMNS(*)
