-- Table 23: success rate (%) on test specs and its deviation, ManiSkill
-- The paper does not say over what it takes the deviation; its size is that of std_specs.
SELECT * EXCLUDE (cells), cells.*
FROM compared($experiment, 'table23', 'success')
ORDER BY benchmark, place(method), COLUMNS(*)
