-- Table 2: success rate (%) and steps to success on test specs, ManiSkill
-- An episode that fails counts as 200 steps.
SELECT * EXCLUDE (cells), cells.*
FROM (
    FROM compared($experiment, 'table2', 'success')
    UNION ALL
    FROM compared($experiment, 'table2', 'steps')
)
ORDER BY benchmark, place(method), metric DESC, COLUMNS(*)
