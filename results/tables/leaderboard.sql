-- Leaderboard: every method on every benchmark, with its rank and what its training took
-- Success (%) on benchmarks that are judged by it, return on the others, on test specs. share: of the experts' own.
-- rank: among all rows of the benchmark that were measured on the same splits and specs, the experts aside; its 95 %
-- bootstrap interval draws splits and specs for all methods at once, and training seeds for each.
-- seconds: of one training, mean over splits and seeds, without experts and demonstrations, on `device`.
SELECT benchmark, metric, rank, rank_low_95, rank_high_95, method, few_shot, epochs, batch_size, learning_rate,
    selection, summary.mean, summary.low_95, summary.high_95, share, room.headroom, room.headroom_low_95,
    room.headroom_high_95, room.headroom_unclear, seconds, device, summary.splits, summary.seeds, summary.specs,
    expert_recipe, expert, split_kind, train_specs, test_specs, seed, conditions AS settings
FROM standings($experiment)
ORDER BY benchmark, rank NULLS FIRST, place(method), own_settings::VARCHAR, runs::VARCHAR
