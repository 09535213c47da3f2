-- Table 16: success rate (%) on training specs, methods of their original size; MuJoCo by its return
-- Of runs whose experiment rolls out training specs (evaluation.roles). HyPoGen has one size, in table 17 as well.
SELECT * EXCLUDE (cells), cells.*
FROM (
    FROM compared_capacity($experiment, 'table16', 'success', 'train', 'training specs', 'original')
    UNION ALL
    FROM compared_capacity($experiment, 'table16', 'return', 'train', 'training specs', 'original')
)
ORDER BY benchmark, place(method), COLUMNS(*)
