-- The views `methods` and `benchmarks`, and how tables ask them. Every connection of ResultStore.connect() has these.
-- Both cover every name in `runs`: rows of the store replace the paper's own (a method that names no colour keeps the
-- paper's), and a name that has runs but no row is described by its runs.

CREATE TEMP VIEW methods AS
    WITH known AS (
        SELECT DISTINCT ON (method) * EXCLUDE (source)
        FROM (
            SELECT 0 AS source, stored.* REPLACE (coalesce(stored.color, paper.color) AS color)
            FROM stored_methods AS stored LEFT JOIN paper_methods AS paper USING (method)
            UNION ALL BY NAME
            SELECT 1 AS source, * FROM paper_methods
        )
        ORDER BY source, COLUMNS(*)
    ),
    undescribed AS (
        SELECT method, bool_or(few_shot) AS few_shot FROM runs WHERE method NOT IN (SELECT method FROM known) GROUP BY method
    )
    FROM known
    UNION ALL BY NAME
    SELECT method, few_shot,
        array_to_string(list_transform(string_split(method, '_'), lambda word: upper(word[1]) || word[2:]), ' ') AS title,
        (SELECT max(position) FROM known) + row_number() OVER (ORDER BY method) AS position
    FROM undescribed;

CREATE TEMP VIEW benchmarks AS
    WITH known AS (
        SELECT DISTINCT ON (benchmark) * EXCLUDE (source)
        FROM (
            SELECT 0 AS source, * FROM stored_benchmarks
            UNION ALL BY NAME
            SELECT 1 AS source, * FROM paper_benchmarks
        )
        ORDER BY source, COLUMNS(*)
    )
    FROM known
    UNION ALL BY NAME
    SELECT benchmark, min(environment) AS environment, min(context) AS context, 'return' AS score,
        '{"variables":[]}' AS variables
    FROM runs
    WHERE benchmark NOT IN (SELECT benchmark FROM known)
    GROUP BY benchmark;

-- Order of the methods in a table, from 1.
CREATE MACRO place(of_method) AS (
    SELECT map(list(method), list(place))
    FROM (SELECT method, row_number() OVER (ORDER BY position, method) AS place FROM methods)
)[of_method];

-- Whether a method adapts on demonstrations of the test specs, for rows of which we have no run.
CREATE MACRO adapts(of_method) AS list_contains((SELECT list(method) FROM methods WHERE few_shot), of_method);

-- How a benchmark is judged where one number must do: 'return' or 'success'.
CREATE MACRO headline(of_benchmark) AS (SELECT map(list(benchmark), list(score)) FROM benchmarks)[of_benchmark];
