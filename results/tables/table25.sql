-- Table 25: steps to success of successful episodes on test specs, ManiSkill
-- The paper prints 0 where there is no successful episode, and sometimes where there are.
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table25', 'steps', succeeded := true)
ORDER BY benchmark, place(method), COLUMNS(*)
