-- Table 15: millions of trainable parameters, as the paper has the methods and augmented to HyPoGen's size
-- 'augmented' has at least half of HyPoGen's parameters on the benchmark; HyPoGen is both. The paper names no benchmark.
WITH ours AS (
    SELECT benchmark, method, any_value(few_shot) AS few_shot, capacity, parameters, count(DISTINCT run) AS runs,
        map_from_entries(list_filter(map_entries(settings),
            lambda entry: starts_with(entry.key, method || '.') OR starts_with(entry.key, 'policy.'))) AS settings
    FROM chosen_runs($experiment) JOIN capacities($experiment) USING (benchmark, method, parameters)
    WHERE method <> 'expert'
    GROUP BY ALL
),
theirs AS (SELECT method, setting AS capacity, paper FROM printed('table15', 'parameters_millions'))
SELECT benchmark, capacity, method, coalesce(few_shot, adapts(method)) AS few_shot, settings,
    parameters / 1e6 AS ours, paper, parameters / 1e6 - paper AS difference, runs
FROM ours FULL JOIN theirs USING (method, capacity)
ORDER BY benchmark, capacity DESC, place(method), COLUMNS(*)
