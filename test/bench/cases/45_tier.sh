# Tiers: evaluating all members, when nothing is stored of them yet, and against
# the GROUP BY that computes the measure, when the tier of each is computed anew
# and found to be the stored one; what tiers add to earn(), against a currency
# with the same history that no ladder counts; tier_of() against a primary-key
# SELECT.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
climbers=${TIER_MEMBERS:-$((ENTRIES / 5))}
psql -Xq -v ON_ERROR_STOP=1 -v climbers="$climbers" -o /dev/null <<-'SQL'
	SELECT loyalty.create_currency(c) FROM (VALUES ('bench_status'), ('bench_plain')) v (c);
	SELECT loyalty.define_measure('bench_points', 'points', 'bench_status');
	CREATE TABLE tier_source AS
	SELECT m::bigint AS member_id, 'bench_status' AS currency, 'earn' AS kind,
		(50 + (m::bigint * 7919 + i * 104729) % 900)::bigint AS points,
		date_trunc('day', now()) - ((m * 31 + i * 17) % 1000 + 1) * interval '1 day' + i * interval '1 hour' AS effective_at
	FROM generate_series(1, :climbers) m, generate_series(1, 5) i
	ORDER BY member_id, effective_at;
	SELECT count(*) FROM loyalty.backfill('tier_source');
	SELECT loyalty.define_ladder('bench_club', '{"measures": [{"measure": "bench_points", "window": "rolling", "interval": "12 months"}],
		"validity": "interval", "validity_interval": "12 months", "at_end": "soft_landing",
		"levels": [{"level": "member"}, {"level": "silver", "all": {"bench_points": 800}}, {"level": "gold", "all": {"bench_points": 1500}},
			{"level": "platinum", "all": {"bench_points": 2500}}]}');
	VACUUM ANALYZE loyalty.ledger, loyalty.wallet;
SQL
cat >"$dir/evaluate.sql" <<-'SQL'
	\timing on
	CALL loyalty.evaluate_tiers('bench_club');
SQL
first=$(psql -Xq -v ON_ERROR_STOP=1 -f "$dir/evaluate.sql" | awk '/^Time:/ { print $2 / 1000 }')
paired --what "evaluate_tiers(), $climbers members, the first time, storing all" --value "$first" --unit s
psql -Xq -v ON_ERROR_STOP=1 -c 'VACUUM ANALYZE loyalty.tier_state, loyalty.tier_history'

cat >"$dir/group.sql" <<-'SQL'
	\timing on
	SELECT count(*), sum(points) FROM (
		SELECT member_id, sum(requested) FILTER (WHERE effective_at > now() - interval '12 months') AS points
		FROM loyalty.ledger WHERE currency = 'bench_status' AND kind IN ('earn', 'adjust') GROUP BY member_id) t;
SQL
again()
{
	paired --what "evaluate_tiers(), $climbers members, again$1" --rival 'GROUP BY of the measure' --target '<= 2' --rounds "$ROUNDS" \
		"$dir/evaluate.sql" "$dir/group.sql"
}
again ''

psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	UPDATE tier_source SET currency = 'bench_plain';
	SELECT count(*) FROM loyalty.backfill('tier_source');
	DROP TABLE tier_source;
	VACUUM ANALYZE loyalty.ledger, loyalty.wallet;
SQL
for currency in bench_status bench_plain; do
	cat >"$dir/$currency.sql" <<-SQL
		\\set member random(1, :climbers)
		\\set points random(1, 50)
		SELECT * FROM loyalty.earn(:member, :points, '$currency', reference => 'order', idempotency_key => gen_random_uuid()::text);
	SQL
done
for sync in off on; do
	psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $sync" -c 'SELECT pg_reload_conf()' -o /dev/null
	# 10 percent more for each is 0.91 of as many in the same time
	paired --entries 1 --rival-entries 1 --what "earn() with tiers kept current, 8 clients, synchronous_commit $sync" \
		--rival 'earn() without' --target '>= 0.91' \
		--rounds "$ROUNDS" --set climbers="$climbers" --pgbench '-c 8 -j 2 -T 10 -M prepared' \
		"$dir/bench_status.sql" "$dir/bench_plain.sql"
done
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c 'CALL loyalty.evaluate_tiers()' -c 'VACUUM ANALYZE loyalty.ledger, loyalty.tier_state, loyalty.tier_history'
# the ledger's end is in the order of postings now
again ', after these postings'

cat >"$dir/tier_of.sql" <<-'SQL'
	\set member random(1, :climbers)
	SELECT loyalty.tier_of(:member, 'bench_club');
SQL
cat >"$dir/select.sql" <<-'SQL'
	\set member random(1, :climbers)
	SELECT level FROM loyalty.tier_state WHERE member_id = :member AND ladder = 'bench_club';
SQL
paired --what 'tier_of()' --rival 'a primary-key SELECT' --target '>= 0.70' --rounds "$ROUNDS" --set climbers="$climbers" \
	--pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/tier_of.sql" "$dir/select.sql"
