SELECT trial, arm, measure, members, mean, difference, low, high, incremental, cost, cost_per_incremental FROM loyalty_bi.trial_result WHERE arm > 0 AND NOT broken ORDER BY trial, arm
