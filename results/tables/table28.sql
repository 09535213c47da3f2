-- Table 28: success rate (%) and steps to success on test specs in distribution, ManiSkill
-- The steps are those of successful episodes; the paper prints 0 where there is none.
SELECT * EXCLUDE (cells), cells.*
FROM (
    FROM compared($experiment, 'table28', 'success', part := 'in')
    UNION ALL
    FROM compared($experiment, 'table28', 'steps', part := 'in', succeeded := true)
)
ORDER BY benchmark, place(method), metric DESC, COLUMNS(*)
