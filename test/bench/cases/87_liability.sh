# What points outstanding are worth: from wallets, as of an instant of the past,
# and the triangle, each against the sum of points by member over a narrow table
# with the same entries; and the forecast by itself.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v entries="$ENTRIES" -v members="$MEMBERS" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SET work_mem = '512MB';
	SELECT loyalty.create_currency('bench_l');
	DROP TABLE IF EXISTS bench_l;
	-- of ten entries three are redemptions, after the first three of a member; lots live two years
	CREATE TABLE bench_l AS
	SELECT m AS member_id, CASE WHEN k > 3 AND k % 10 > 6 THEN 'redeem' ELSE 'earn' END AS kind, CASE WHEN k > 3 AND k % 10 > 6 THEN 10 + (k * 7 + m) % 90 ELSE 100 + (k * 13 + m * 7) % 100 END::bigint AS points,
		'2024-01-01 00:00Z'::timestamptz + (k * 630.0 / (:entries / :members) + m % 17) * interval '1 day' AS effective_at,
		CASE WHEN NOT (k > 3 AND k % 10 > 6) THEN '2024-01-01 00:00Z'::timestamptz + (k * 630.0 / (:entries / :members) + m % 17 + 730) * interval '1 day' END AS expires_at, 'bench_l'::text AS currency
	FROM generate_series(1, :members) m, generate_series(1, :entries / :members) k;
	SELECT * FROM loyalty.backfill('bench_l');
	CREATE TABLE bench_l_entry AS SELECT member_id, effective_at AS at, CASE kind WHEN 'redeem' THEN -points ELSE points END AS points FROM bench_l ORDER BY effective_at;
	DROP TABLE bench_l;
	VACUUM ANALYZE bench_l_entry, loyalty.ledger, loyalty.wallet;
	SELECT loyalty.estimate_redemption('bench_l', '2025-10-01 00:00Z');
	SELECT loyalty.set_point_value('bench_l', 0.01);
SQL
cat >"$dir/sum.sql" <<-'SQL'
	SET work_mem = '256MB'; SET jit = off; SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT count(*), sum(s) FROM (SELECT member_id, sum(points) AS s FROM bench_l_entry GROUP BY 1) x;
SQL
ours() { printf "SET work_mem = '256MB'; SET jit = off; SET max_parallel_workers_per_gather = 0; SET timezone = 'UTC';\n\\\\timing on\n%s;\n" "$2" >"$dir/$1.sql"; }
ours now "SELECT * FROM loyalty.liability('bench_l')"
ours past "SELECT * FROM loyalty.liability('bench_l', '2025-01-01 00:00Z')"
ours triangle "SELECT cardinality(loyalty.redemption_triangle('bench_l'))"
ours forecast "SELECT * FROM loyalty.redemption_forecast('bench_l', 12)"
paired --what 'liability() of now, from wallets' --rival 'sum by member' --target '<= 0.2' "$dir/now.sql" "$dir/sum.sql"
paired --what 'liability() of the past, from entries' --rival 'sum by member' --target '<= 1.5' --rounds 3 "$dir/past.sql" "$dir/sum.sql"
paired --what 'redemption_triangle()' --rival 'sum by member' --target '<= 2' --rounds 3 "$dir/triangle.sql" "$dir/sum.sql"
paired --what 'redemption_forecast()' --alone "$dir/forecast.sql" --target '<= 1'
psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE bench_l_entry'
