-- What the tables in tables/ are written with. Every connection of ResultStore.connect() has these.

-- The settings (MAP) without the one called `name`, whatever group it belongs to: 'seed' drops 'split.seed' as well.
CREATE MACRO without(settings, name) AS map_from_entries(
    list_filter(map_entries(settings), lambda entry: entry.key <> name AND NOT ends_with(entry.key, '.' || name)));

CREATE MACRO without_seeds(settings) AS without(without(without(settings, 'seed'), 'seeds'), 'split_seed');

CREATE MACRO of_split(settings) AS map_from_entries(
    list_filter(map_entries(settings), lambda entry: starts_with(entry.key, 'split.')));

-- Order of the methods in a table: the experts, then the paper's table 1 from its last row to its first.
CREATE MACRO place(method) AS coalesce(
    list_position(['expert', 'hypogen', 'hyperzero', 'pearl', 'meta_policy', 'uvfa', 'cond_policy'], method), 99);

-- One row a run, split and test spec, over the runs of experiment `name` (NULL: all runs).
--   score             what `summarise` takes: split, mean and deviation of the return over the spec's episodes,
--                     number of episodes, in_distribution
--   success, failed   fractions of the spec's episodes;  length: their mean, in control steps
--   the other columns name what was rolled out. Rows may be averaged only where all of these agree, seeds of splits
--                     aside; `settings` is a MAP without seeds, in which 'split.train_fraction' is always found.
-- An expert has no split of its own: its rows are its episodes on the test specs of every split whose generators learned
-- from it, once a split, labelled as there. An expert that no generator here learned from keeps its own test specs.
CREATE MACRO scores(name) AS TABLE (
    WITH chosen AS (
        SELECT run, benchmark, method, expert_recipe, expert, split_kind, split_seed AS split, train_specs, test_specs,
            epochs, batch_size, learning_rate, selection,
            map_concat(
                without(without_seeds(settings::JSON::MAP(VARCHAR, VARCHAR)), 'train_fraction'),
                MAP {'split.train_fraction': train_fraction::VARCHAR}
            ) AS settings
        FROM runs
        WHERE name IS NULL OR run IN (SELECT run FROM experiments WHERE experiment = name)
    ),
    tested AS (
        SELECT chosen.*, spec_index, in_distribution
        FROM chosen JOIN (SELECT DISTINCT run, spec_index, in_distribution FROM episodes WHERE role = 'test') USING (run)
    ),
    splits AS (
        SELECT DISTINCT benchmark, expert, split_kind, split, train_specs, test_specs, of_split(settings) AS split_settings,
            spec_index, in_distribution
        FROM tested
        WHERE method <> 'expert'
    ),
    asked AS (
        FROM tested
        WHERE method <> 'expert' OR (benchmark, expert) NOT IN (SELECT (benchmark, expert) FROM splits)
        UNION ALL BY NAME
        SELECT chosen.* REPLACE (
                splits.split_kind AS split_kind, splits.split AS split, splits.train_specs AS train_specs,
                splits.test_specs AS test_specs, map_concat(settings, split_settings) AS settings),
            spec_index, in_distribution
        FROM chosen JOIN splits USING (benchmark, expert)
        WHERE method = 'expert'
    ),
    rolled_out AS (
        SELECT run, spec_index, avg("return" ORDER BY episode) AS mean, stddev_samp("return" ORDER BY episode) AS deviation,
            count(*) AS episodes, avg(success::INT) AS success, avg(failed::INT) AS failed, avg(length) AS length
        FROM episodes
        GROUP BY run, spec_index
    )
    SELECT asked.* EXCLUDE (in_distribution), success, failed, length,
        {split: split, mean: mean, deviation: deviation, episodes: episodes, in_distribution: in_distribution} AS score
    FROM asked JOIN rolled_out USING (run, spec_index)
);

-- One row a set of scores that may be averaged, with its `summary`.
CREATE MACRO summaries(name) AS TABLE (
    SELECT * EXCLUDE (run, split, spec_index, success, failed, length, score),
        summarise(list(score ORDER BY split, spec_index, run)) AS summary
    FROM scores(name)
    GROUP BY ALL
);

-- The summaries of the generators that have the setting `setting`: its `value`, and `settings` without it.
-- Of an experiment: all of them. Of the whole store (name NULL): those where the setting was swept, that is, where it takes
-- two values or more while everything else stays the same; the number of training specs may follow the train fraction.
CREATE MACRO swept(name, setting) AS TABLE (
    SELECT settings[setting] AS value, * REPLACE (without(settings, setting) AS settings)
    FROM summaries(name)
    WHERE method <> 'expert' AND settings[setting] IS NOT NULL
    WINDOW alike AS (
        PARTITION BY benchmark, method, expert_recipe, expert, split_kind, test_specs, epochs, batch_size, learning_rate,
            selection, without(settings, setting),
            CASE WHEN setting <> 'split.train_fraction' THEN train_specs END)
    QUALIFY name IS NOT NULL OR min(value) OVER alike <> max(value) OVER alike
);
