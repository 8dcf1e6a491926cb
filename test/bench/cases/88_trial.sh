# Trials: aggregates over outcomes against avg and var_samp by arm, assignment
# against SHA-256 in SQL, and the whole report against the join by hand.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v orders="$ORDERS" -v buyers="$BUYERS" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SET work_mem = '512MB';
	DROP TABLE IF EXISTS bench_outcome;
	CREATE TABLE bench_outcome AS SELECT i AS member_id, loyalty.arm_of('bench', i) AS arm, i % 10 < 3 AS converted,
		CASE WHEN i % 10 < 3 THEN round((5 + i * 7919 % 9500 / 100.0)::numeric, 2) ELSE 0 END AS amount, round((i * 104729 % 9500 / 100.0)::numeric, 2) AS before FROM generate_series(1::bigint, 1000000) i;
	SELECT loyalty.define_activity_kind('bench_trial');
	SELECT loyalty.define_trial('bench', '{"kinds": ["bench_trial"], "primary": "amount"}', '2025-03-01 00:00Z', '2025-03-21 00:00Z');
	INSERT INTO loyalty.member (member_id, joined_at) SELECT 900000000 + i, '2024-01-01 00:00Z'::timestamptz + i % 500 * interval '1 day' FROM generate_series(1, :buyers) i ON CONFLICT DO NOTHING;
	INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone, amount)
	SELECT 900000000 + 1 + i * 7919::bigint % :buyers, 'bench_trial', t.at, t.at::date, 'UTC', round((5 + i * 31 % 9500 / 100.0)::numeric, 2)
	FROM generate_series(1, :orders) i, LATERAL (SELECT '2025-02-20 00:00Z'::timestamptz + i * 104729::bigint % 3456000 * interval '1 second' AS at) t;
	VACUUM ANALYZE bench_outcome, loyalty.activity, loyalty.member;
SQL
query() { printf "SET work_mem = '512MB'; SET jit = off; SET max_parallel_workers_per_gather = 0; SET timezone = 'UTC'; SET client_min_messages = error;\n\\\\timing on\n%s;\n" "$2" >"$dir/$1.sql"; }
query amount "SELECT * FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_amount(arm, amount) FROM bench_outcome))"
query amount_hand "SELECT arm, count(*), avg(amount), var_samp(amount) FROM bench_outcome GROUP BY arm"
query share "SELECT * FROM loyalty.uplift_report((SELECT loyalty.uplift_agg(arm, converted) FROM bench_outcome))"
query share_hand "SELECT arm, count(*), avg(converted::int), var_samp(converted::int) FROM bench_outcome GROUP BY arm"
query cuped "SELECT * FROM loyalty.uplift_report((SELECT loyalty.uplift_agg_cuped(arm, amount, before) FROM bench_outcome))"
query cuped_hand "SELECT arm, count(*), avg(amount), var_samp(amount), avg(before), var_samp(before), sum(amount * before) FROM bench_outcome GROUP BY arm"
query arm "SELECT sum(loyalty.arm_of('trial-7', member_id)) FROM bench_outcome"
query arm_hand "SELECT sum((get_byte(sha256(('trial-7:' || member_id)::bytea), 0) >= 26)::int) FROM bench_outcome"
query report "SELECT arm, mean, low, high FROM loyalty.trial_report('bench')"
query report_hand "SELECT arm, count(*), avg(y), var_samp(y) FROM (SELECT s.member_id, s.arm, coalesce(sum(a.amount), 0) AS y
	FROM (SELECT member_id, loyalty.arm_of('bench', member_id) AS arm, greatest(joined_at, '2025-03-01 00:00Z') AS since FROM loyalty.member WHERE joined_at < '2025-03-21 00:00Z') s
	LEFT JOIN loyalty.activity a ON a.member_id = s.member_id AND a.kind = 'bench_trial' AND NOT a.cancelled AND a.at >= s.since AND a.at < '2025-03-21 00:00Z' GROUP BY 1, 2) x GROUP BY arm"
paired --what 'uplift_agg_amount() over a million members' --rival 'avg, var_samp by arm' --target '<= 1.1' "$dir/amount.sql" "$dir/amount_hand.sql"
paired --what 'uplift_agg() of them' --rival 'avg, var_samp by arm' --target '<= 1.1' "$dir/share.sql" "$dir/share_hand.sql"
paired --what 'uplift_agg_cuped() of them' --rival 'the sums by arm' --target '<= 1.1' "$dir/cuped.sql" "$dir/cuped_hand.sql"
paired --what 'a million arms' --rival 'by sha256() in SQL' --target '<= 0.25' "$dir/arm.sql" "$dir/arm_hand.sql"
paired --what 'trial_report() over all orders' --rival 'the join by hand' --target '<= 1.3' --rounds 3 "$dir/report.sql" "$dir/report_hand.sql"
psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE bench_outcome' -c "DELETE FROM loyalty.activity WHERE kind = 'bench_trial'" -c 'DELETE FROM loyalty.member WHERE member_id > 900000000'
