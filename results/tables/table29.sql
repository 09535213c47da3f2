-- Table 29: success rate (%) and steps to success on test specs out of distribution, ManiSkill
-- The steps are those of successful episodes; the paper prints 0 where there is none.
SELECT * EXCLUDE (cells), cells.*
FROM (
    FROM compared($experiment, 'table29', 'success', part := 'out')
    UNION ALL
    FROM compared($experiment, 'table29', 'steps', part := 'out', succeeded := true)
)
ORDER BY benchmark, place(method), metric DESC, COLUMNS(*)
