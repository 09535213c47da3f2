-- Table 17: success rate (%) on training and on test specs, methods of HyPoGen's size; MuJoCo by its return
-- Of runs with at least half of HyPoGen's parameters. Training specs are there where the experiment rolls them out.
SELECT * EXCLUDE (cells), cells.*
FROM (
    FROM compared_capacity($experiment, 'table17', 'success', 'train', 'training specs', 'augmented')
    UNION ALL
    FROM compared_capacity($experiment, 'table17', 'success', 'test', 'test specs', 'augmented')
    UNION ALL
    FROM compared_capacity($experiment, 'table17', 'return', 'train', 'training specs', 'augmented')
    UNION ALL
    FROM compared_capacity($experiment, 'table17', 'return', 'test', 'test specs', 'augmented')
)
ORDER BY benchmark, place(method), role DESC, COLUMNS(*)
