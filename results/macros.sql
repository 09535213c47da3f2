-- Macros for the tables in tables/. Every connection of ResultStore.connect() has these.

-- The settings (MAP) without the one called `name`, whatever group it belongs to: 'seed' drops 'split.seed' as well.
CREATE MACRO without(settings, name) AS map_from_entries(
    list_filter(map_entries(settings), lambda entry: entry.key <> name AND NOT ends_with(entry.key, '.' || name)));

CREATE MACRO without_seeds(settings) AS without(without(without(settings, 'seed'), 'seeds'), 'split_seed');

CREATE MACRO without_training(settings) AS map_from_entries(
    list_filter(map_entries(settings), lambda entry: NOT starts_with(entry.key, 'training.')));

-- The values of a cell (JSON) that tell rows apart: all but seeds, over which is averaged.
CREATE MACRO told(cell) AS to_json(without_seeds(cell::JSON::MAP(VARCHAR, VARCHAR)))::VARCHAR;

CREATE MACRO of_split(settings) AS map_from_entries(list_filter(map_entries(settings),
    lambda entry: starts_with(entry.key, 'split.') OR starts_with(entry.key, 'specs.')));

-- Settings that must agree, beside the experts, where rows of two methods are set against each other: those of the split and
-- the number of episodes per spec. They stand in order of their names, since MAPs in another order are other MAPs.
CREATE MACRO rollout_conditions(settings) AS map_from_entries(list_sort(
    map_entries(map_concat(of_split(settings), MAP {'evaluation.episodes': settings['evaluation.episodes']}))));

-- The experiment's runs (name NULL: all), each with all that must agree where rows are averaged, the seeds of splits aside.
-- `settings` is a MAP without seeds, in which 'split.train_fraction' is always found.
CREATE MACRO chosen_runs(name) AS TABLE (
    SELECT run, benchmark, method, few_shot, parameters, expert_recipe, expert, split_kind, split_seed AS split,
        train_specs, test_specs, epochs, batch_size, learning_rate, selection, seed,
        map_concat(
            without(without_seeds(settings::JSON::MAP(VARCHAR, VARCHAR)), 'train_fraction'),
            MAP {'split.train_fraction': train_fraction::VARCHAR}
        ) AS settings
    FROM runs
    WHERE name IS NULL OR run IN (SELECT run FROM experiments WHERE experiment = name)
);

-- One row per run, split and spec, over the runs of experiment `name` (NULL: all runs).
--   measure           what an episode counts as: 'return'; 'success' (%); 'steps' until success, 200 where it fails;
--                     'headline', the one by which its benchmark is judged. With '_std', the deviation over a spec's
--                     episodes takes the place of their mean
--   part              of which specs: 'test', those of them 'in' or 'out' of distribution, or 'train'
--   succeeded         whether only successful episodes count
--   among             of which benchmarks (a list; NULL: all)
--   score             what `summarise` takes: split, mean and deviation of the measure over the spec's episodes (NULL where
--                     no episode counts), number of episodes, in_distribution
--   conditions        settings that must agree where methods are set against each other: `rollout_conditions`
--   outcomes          the measure, episode by episode
--   success, failed   fractions of all of the spec's episodes;  length: their mean, in control steps
--   the other columns name what was rolled out. Rows may be averaged only where all of these agree.
-- An expert has no split of its own: its rows are its episodes on these specs of every split whose generators learned
-- from it, once per split, labelled as there. Experiments may share experts: of expert runs that were rolled out alike, one
-- counts, and only if it was rolled out on all of the split's specs, as often as the generators were. An expert that no
-- generator here learned from keeps its own test specs.
CREATE MACRO scores(name, measure := 'headline', part := 'test', succeeded := false, among := NULL) AS TABLE (
    WITH chosen AS (
        SELECT *, rollout_conditions(settings) AS conditions FROM chosen_runs(name)
        WHERE among IS NULL OR list_contains(among, benchmark)
    ),
    judged AS (
        SELECT *, CASE
                WHEN measure <> 'headline' THEN replace(measure, '_std', '')
                WHEN run IN (SELECT run FROM chosen WHERE headline(benchmark) = 'success') THEN 'success'
                ELSE 'return'
            END AS counted
        FROM episodes
        WHERE run IN (SELECT run FROM chosen)
    ),
    measured AS (
        SELECT *, CASE WHEN success OR NOT succeeded THEN
            CASE counted
                WHEN 'return' THEN "return"
                WHEN 'success' THEN 100.0 * success::INT
                WHEN 'steps' THEN CASE WHEN success THEN length ELSE 200 END
            END::DOUBLE END AS outcome
        FROM judged
    ),
    rolled_out AS MATERIALIZED (
        SELECT run, spec_index, role, in_distribution,
            list(outcome ORDER BY episode) FILTER (outcome IS NOT NULL) AS outcomes,
            avg(success::INT) AS success, avg(failed::INT) AS failed, avg(length) AS length
        FROM measured
        GROUP BY run, spec_index, role, in_distribution
    ),
    asked_for AS (
        SELECT chosen.*, spec_index, in_distribution
        FROM chosen JOIN rolled_out USING (run)
        WHERE CASE part WHEN 'in' THEN role = 'test' AND in_distribution
            WHEN 'out' THEN role = 'test' AND NOT in_distribution ELSE role = part END
    ),
    splits AS (
        SELECT benchmark, expert, seed, split_kind, split, train_specs, test_specs, of_split(settings) AS split_settings,
            settings['evaluation.episodes'] AS rollouts, list(DISTINCT {spec: spec_index, inside: in_distribution}) AS specs
        FROM asked_for
        WHERE method <> 'expert'
        GROUP BY ALL
    ),
    experts AS (
        SELECT chosen.*, list(spec_index) AS covered
        FROM chosen JOIN rolled_out USING (run)
        WHERE method = 'expert'
        GROUP BY ALL
    ),
    on_splits AS (
        SELECT experts.* EXCLUDE (covered) REPLACE (
                splits.split_kind AS split_kind, splits.split AS split, splits.train_specs AS train_specs,
                splits.test_specs AS test_specs, map_concat(settings, split_settings) AS settings,
                rollout_conditions(map_concat(settings, split_settings)) AS conditions),
            specs
        FROM experts JOIN splits ON experts.benchmark = splits.benchmark AND experts.expert = splits.expert
            AND experts.seed = splits.seed AND settings['evaluation.episodes'] IS NOT DISTINCT FROM rollouts
        WHERE list_has_all(covered, list_transform(specs, lambda entry: entry.spec))
        QUALIFY row_number() OVER (
            PARTITION BY experts.benchmark, experts.expert, experts.seed, experts.selection, settings,
                splits.split_kind, splits.split, splits.train_specs, splits.test_specs, split_settings
            ORDER BY run) = 1
    ),
    asked AS (
        FROM asked_for
        WHERE method <> 'expert' OR part = 'test' AND (benchmark, expert, seed) NOT IN (
            SELECT (benchmark, expert, seed) FROM chosen WHERE method <> 'expert')
        UNION ALL BY NAME
        SELECT * EXCLUDE (specs, entry), entry.spec AS spec_index, entry.inside AS in_distribution
        FROM (SELECT *, unnest(specs) AS entry FROM on_splits)
    )
    SELECT asked.* EXCLUDE (in_distribution), outcomes, success, failed, length,
        {
            split: split, run: run, spec: spec_index::VARCHAR,
            mean: CASE WHEN ends_with(measure, '_std') THEN list_stddev_samp(outcomes) ELSE list_avg(outcomes) END,
            deviation: list_stddev_samp(outcomes), episodes: coalesce(len(outcomes), 0),
            in_distribution: asked.in_distribution
        } AS score
    FROM asked JOIN rolled_out USING (run, spec_index)
);

-- `scores`, each with its `pair`: what `headroom` takes, the score between that of the nearest training spec's expert and that
-- of the spec's own. NULL where one of the two was not rolled out alike: same experts, split, spec and number of episodes.
-- Where `nearest` ran in several forms, the first by its settings counts. Steps are negated, since fewer are better.
CREATE MACRO paired_scores(name, measure := 'headline', part := 'test', succeeded := false, among := NULL) AS TABLE (
    WITH measured AS MATERIALIZED (
        SELECT *, CASE WHEN starts_with(measure, 'steps') THEN -score.mean ELSE score.mean END AS worth
        FROM scores(name, measure := measure, part := part, succeeded := succeeded, among := among)
    ),
    rivals AS (
        SELECT benchmark, expert_recipe, expert, split_kind, split, train_specs, test_specs, seed, conditions,
            spec_index, method, worth
        FROM measured
        WHERE method IN ('nearest', 'expert') AND NOT ends_with(measure, '_std')
        QUALIFY row_number() OVER (
            PARTITION BY benchmark, expert_recipe, expert, split_kind, split, train_specs, test_specs, seed, conditions,
                spec_index, method
            ORDER BY settings::VARCHAR, run) = 1
    ),
    bounds AS (
        SELECT * EXCLUDE (method, worth), any_value({worth: worth}) FILTER (method = 'nearest') AS nearest,
            any_value({worth: worth}) FILTER (method = 'expert') AS own
        FROM rivals
        GROUP BY ALL
        HAVING count(*) = 2
    )
    SELECT measured.* EXCLUDE (worth), CASE WHEN nearest IS NOT NULL THEN
            {split: measured.split, run: measured.run, spec: measured.spec_index::VARCHAR, method: worth,
                nearest: nearest.worth, expert: own.worth} END AS pair
    FROM measured LEFT JOIN bounds ON measured.benchmark = bounds.benchmark
        AND measured.expert_recipe = bounds.expert_recipe AND measured.expert = bounds.expert
        AND measured.split_kind = bounds.split_kind AND measured.split IS NOT DISTINCT FROM bounds.split
        AND measured.train_specs = bounds.train_specs AND measured.test_specs = bounds.test_specs
        AND measured.seed = bounds.seed AND measured.conditions = bounds.conditions
        AND measured.spec_index = bounds.spec_index
);

-- One row per set of scores that may be averaged, with its `summary`, its headroom (`room`, NULL unless all scores have a
-- pair), and how many of all its episodes failed (%).
CREATE MACRO summaries(name, measure := 'headline', part := 'test', succeeded := false, among := NULL) AS TABLE (
    SELECT * EXCLUDE (run, split, spec_index, conditions, outcomes, success, failed, length, score, pair),
        summarise(list(score ORDER BY split, spec_index, run)) AS summary,
        headroom(CASE WHEN count(pair) = count(*) THEN list(pair ORDER BY split, spec_index, run) END) AS room,
        100 * avg(failed ORDER BY split, spec_index, run) AS failed
    FROM paired_scores(name, measure := measure, part := part, succeeded := succeeded, among := among)
    GROUP BY ALL
);

-- The summaries of the generators that have the setting `setting`: its `value`, and `settings` without it.
-- An experiment has all of them. The whole store (name NULL) has those where the setting was swept, that is, where it takes
-- two values or more while everything else stays the same; the number of training specs may follow the train fraction,
-- and the number of parameters any setting.
CREATE MACRO swept(name, setting) AS TABLE (
    SELECT settings[setting] AS value, * REPLACE (without(settings, setting) AS settings)
    FROM summaries(name)
    WHERE method <> 'expert' AND settings[setting] IS NOT NULL
    WINDOW alike AS (
        PARTITION BY benchmark, method, expert_recipe, expert, split_kind, test_specs, epochs, batch_size, learning_rate,
            selection, seed, without(settings, setting),
            CASE WHEN setting <> 'split.train_fraction' THEN train_specs END)
    QUALIFY name IS NOT NULL OR min(value) OVER alike <> max(value) OVER alike
);

-- One row per number `measure` of the paper's table `of_table`, with its deviation where the table has one.
CREATE MACRO printed(of_table, measure) AS TABLE (
    SELECT environment, context, benchmark, method, setting,
        any_value(value) FILTER (metric = measure) AS paper,
        any_value(value) FILTER (metric = measure || '_std') AS paper_std
    FROM paper
    WHERE "table" = of_table
    GROUP BY ALL
    HAVING paper IS NOT NULL
);

-- The columns that end every table of the paper: a summary of ours (NULL: none) beside the paper's number (NULL: none), and
-- its headroom (a `room`, NULL: none).
CREATE MACRO beside(summary, paper, paper_std, failed, room) AS {
    ours: summary.mean, paper: paper, difference: summary.mean - paper,
    low_95: summary.low_95, high_95: summary.high_95,
    headroom: room.headroom, headroom_low_95: room.headroom_low_95, headroom_high_95: room.headroom_high_95,
    headroom_unclear: room.headroom_unclear,
    std_episodes: summary.std_episodes, std_specs: summary.std_specs, std_seeds: summary.std_seeds,
    std_splits: summary.std_splits, paper_std: paper_std, failed: failed, splits: summary.splits, seeds: summary.seeds,
    specs: summary.specs, episodes: summary.episodes
};

-- A table of the paper with a row per benchmark and method: every row of ours on its benchmarks, and what only the paper has.
CREATE MACRO compared(name, of_table, measure, part := 'test', succeeded := false) AS TABLE (
    WITH theirs AS (SELECT benchmark, method, paper, paper_std FROM printed(of_table, measure)),
    ours AS (
        FROM summaries(name, measure := measure, part := part, succeeded := succeeded,
            among := (SELECT coalesce(list(DISTINCT benchmark), []) FROM printed(of_table, measure)))
    )
    SELECT benchmark, method, coalesce(few_shot, adapts(method)) AS few_shot, measure AS metric,
        ours.* EXCLUDE (benchmark, method, few_shot, parameters, summary, room, failed),
        beside(summary, paper, paper_std, failed, room) AS cells
    FROM ours FULL JOIN theirs USING (benchmark, method)
);

-- The same for a table with a row per value of `setting`, over any benchmark on which it was swept.
CREATE MACRO compared_sweep(name, of_table, setting) AS TABLE (
    WITH theirs AS (
        SELECT benchmark, method, split_part(theirs.setting, '=', 2)::DOUBLE AS value, paper, paper_std
        FROM printed(of_table, 'return') AS theirs
    ),
    ours AS (SELECT * REPLACE (value::DOUBLE AS value) FROM swept(name, setting))
    SELECT benchmark, headline(benchmark) AS metric, value, method, coalesce(few_shot, adapts(method)) AS few_shot,
        ours.* EXCLUDE (benchmark, value, method, few_shot, parameters, summary, room, failed),
        beside(summary, paper, paper_std, failed, room) AS cells
    FROM ours FULL JOIN theirs USING (benchmark, method, value)
);

-- Probes of runs in training and of trained ones: one row per metric and epoch of runs that may be averaged, and
-- whether it is the metric's `last`. A run is one number here: the `summary` is over splits, its interval draws splits again.
CREATE MACRO probed(name) AS TABLE (
    WITH points AS (
        SELECT run, metric, epoch, value, epoch = max(epoch) OVER (PARTITION BY run, metric) AS last
        FROM curves
        QUALIFY row_number() OVER (PARTITION BY run, metric, epoch ORDER BY step DESC) = 1
    ),
    averaged AS (
        SELECT chosen.* EXCLUDE (run, split), metric, epoch, last,
            summarise(list({split: NULL, run: NULL, spec: run, mean: value, deviation: NULL, episodes: 0,
                in_distribution: true} ORDER BY split, run)) AS over_runs
        FROM chosen_runs(name) AS chosen JOIN points USING (run)
        GROUP BY ALL
    )
    SELECT * EXCLUDE (over_runs), {
            mean: over_runs.mean, low_95: over_runs.low_95, high_95: over_runs.high_95,
            std_episodes: NULL, std_specs: NULL, std_seeds: NULL, std_splits: over_runs.std_specs,
            splits: over_runs.specs, seeds: NULL, specs: NULL, episodes: NULL
        } AS summary
    FROM averaged
);

-- Capacity of the runs, by benchmark, method and size, in the words of tables 15 to 17. 'augmented' has at least half of
-- HyPoGen's parameters on the benchmark (the paper's 70 million where there is no HyPoGen); HyPoGen and experts are both.
CREATE MACRO capacities(name) AS TABLE (
    WITH chosen AS (FROM chosen_runs(name)),
    full_size AS (SELECT benchmark, max(parameters) AS hypogen FROM chosen WHERE method = 'hypogen' GROUP BY benchmark)
    SELECT DISTINCT benchmark, method, parameters, unnest(CASE
            WHEN method IN ('hypogen', 'expert') THEN ['original', 'augmented']
            WHEN parameters >= coalesce(hypogen, 70e6) / 2 THEN ['augmented']
            ELSE ['original']
        END) AS capacity
    FROM chosen LEFT JOIN full_size USING (benchmark)
);

-- `compared` for the runs of one capacity; `specs` is what the table calls the part. ManiSkill is in the paper's tables by
-- its success; MuJoCo, by its return, is not.
CREATE MACRO compared_capacity(name, of_table, measure, part, specs, wanted) AS TABLE (
    WITH theirs AS (
        SELECT benchmark, method, paper, paper_std FROM printed(of_table, measure) AS theirs WHERE theirs.setting = specs
    ),
    ours AS (
        SELECT * EXCLUDE (capacity)
        FROM summaries(name, measure := measure, part := part,
            among := (SELECT coalesce(list(DISTINCT benchmark), []) FROM runs WHERE headline(benchmark) = measure)
        ) JOIN capacities(name) USING (benchmark, method, parameters)
        WHERE capacity = wanted
    )
    SELECT benchmark, method, coalesce(few_shot, adapts(method)) AS few_shot, measure AS metric, part AS role,
        ours.* EXCLUDE (benchmark, method, few_shot, parameters, summary, room, failed),
        beside(summary, paper, paper_std, failed, room) AS cells
    FROM ours FULL JOIN theirs USING (benchmark, method)
);

-- Whether two MAPs agree on every key that both have.
CREATE MACRO agree(settings, others) AS len(list_filter(map_entries(settings),
    lambda entry: map_contains(others, entry.key) AND others[entry.key] IS DISTINCT FROM entry.value)) = 0;

-- One row per method, benchmark and set of conditions, by the number by which the benchmark is judged (`metric`): its
-- `summary` and headroom (`room`), its share of the experts' own mean, its rank among all rows that were measured on the
-- same splits and specs, and what one of its trainings took.
CREATE MACRO standings(name) AS TABLE (
    WITH rows AS (
        SELECT *, headline(benchmark) AS metric,
            [method, epochs::VARCHAR, batch_size::VARCHAR, learning_rate::VARCHAR, selection, settings::VARCHAR]::VARCHAR AS rival
        FROM paired_scores(name)
    ),
    costs AS (
        SELECT run, seconds, device
        FROM runs JOIN provenance USING (artifact)
        WHERE provenance.kind = 'generator'
    ),
    summed AS (
        SELECT benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions, rival, method,
            few_shot, epochs, batch_size, learning_rate, selection, any_value(parameters) AS parameters,
            any_value(settings) AS own_settings, list_sort(list(DISTINCT run)) AS runs,
            summarise(list(score ORDER BY split, spec_index, run)) AS summary,
            headroom(CASE WHEN count(pair) = count(*) THEN list(pair ORDER BY split, spec_index, run) END) AS room
        FROM rows
        GROUP BY benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions, rival, method,
            few_shot, epochs, batch_size, learning_rate, selection
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
    SELECT summed.* EXCLUDE (rival), rank, rank_low_95, rank_high_95, summary.mean / nullif(own, 0) AS share, seconds, device
    FROM summed
    LEFT JOIN placed
        USING (benchmark, metric, expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions, rival)
    LEFT JOIN spent USING (benchmark, expert, conditions, seed, rival)
    LEFT JOIN experts USING (benchmark, metric, expert, split_kind, train_specs, test_specs, seed, conditions)
);
