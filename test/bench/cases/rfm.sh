# rfm: orders to summaries, to stored summaries, to segments, against the SQL
# written by hand.  ORDERS and BUYERS say how much (10 million, 500,000).
orders=${ORDERS:-$((ENTRIES * 2))}
buyers=${BUYERS:-$((MEMBERS * 5))}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

psql -Xq -v ON_ERROR_STOP=1 -v orders="$orders" -v buyers="$buyers" <<-'SQL'
	SET seed = 0.5;
	CREATE UNLOGGED TABLE bench_order AS
	SELECT (random() * (:buyers - 1))::bigint + 1 AS member_id,
		   timestamptz '2024-01-01' + random() * interval '700 days' AS at,
		   round((random() * 200)::numeric, 2) AS amount
	FROM generate_series(1, :orders);
	VACUUM ANALYZE bench_order;
SQL

# The segments by hand: one CASE over the 125 codes.
hand=$(psql -XqAt <<-'SQL'
	SELECT format('CASE %s END', string_agg(format('WHEN code IN (%s) THEN %L',
		(SELECT string_agg(quote_literal(c), ', ') FROM jsonb_array_elements_text(r -> 'codes') c), r ->> 'segment'), ' ' ORDER BY n))
	FROM jsonb_array_elements(loyalty.find_rfm_scheme('code125') -> 'rules') WITH ORDINALITY x (r, n)
SQL
)

for workers in 0 2; do
	name=$([ "$workers" = 0 ] && echo serial || echo "$workers workers")
	settings="SET search_path = loyalty, public; SET timezone = 'UTC'; SET work_mem = '256MB'; SET max_parallel_workers_per_gather = $workers;"

	# every column is counted, so that none is left uncomputed
	cat >"$dir/ours.sql" <<-SQL
		$settings
		\timing on
		SELECT count(s) FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM bench_order GROUP BY member_id) x;
	SQL
	cat >"$dir/rival.sql" <<-SQL
		$settings
		\timing on
		SELECT count(l), count(c), count(a) FROM (SELECT member_id, max(at) AS l, count(*) AS c, sum(amount) AS a FROM bench_order GROUP BY member_id) x;
	SQL
	paired --what "rfm_agg, $orders orders ($name)" --rival 'max, count, sum' --target '<= 1.0' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"

	cat >"$dir/ours.sql" <<-SQL
		$settings
		\timing on
		SELECT count(summary) FROM rfm_members('bench_order', as_of => '2026-01-01');
	SQL
	paired --what "rfm_members, $orders orders ($name)" --rival 'max, count, sum' --target '<= 1.0' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"

	# the summary is made and stored, then asked; by hand, each question reads the orders
	cat >"$dir/ours.sql" <<-SQL
		$settings
		\timing on
		CREATE TEMP TABLE summary AS SELECT member_id, rfm_agg(at, amount) AS s FROM bench_order GROUP BY member_id;
		SELECT count(*) FROM summary WHERE recency(s, '2026-01-01') <= 90;
		SELECT count(*), sum(frequency(s)) FROM summary WHERE frequency(s) >= 10;
		SELECT count(*), monetary_total(rollup(s)) FROM summary WHERE monetary_total(s) >= 1000;
	SQL
	cat >"$dir/rival.sql" <<-SQL
		$settings
		\timing on
		SELECT count(*) FROM (SELECT member_id FROM bench_order GROUP BY member_id HAVING max(at) > timestamptz '2026-01-01' - interval '91 days') x;
		SELECT count(*), sum(c) FROM (SELECT member_id, count(*) AS c FROM bench_order GROUP BY member_id HAVING count(*) >= 10) x;
		SELECT count(*), sum(a) FROM (SELECT member_id, sum(amount) AS a FROM bench_order GROUP BY member_id HAVING sum(amount) >= 1000) x;
	SQL
	paired --what "three questions of a stored rfm, made first ($name)" --rival 'three GROUP BY' --target '<= 0.7' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"

	cat >"$dir/ours.sql" <<-SQL
		$settings
		\timing on
		WITH s AS (SELECT summary AS s FROM rfm_members('bench_order', as_of => '2026-01-01')),
			 b AS (SELECT rfm_breaks(s, '2026-01-01', 'ntile') AS b FROM s)
		SELECT rfm_segment_of(s, b, '2026-01-01') AS segment, count(*), frequency(rollup(s)), monetary_total(rollup(s))
		FROM s, b GROUP BY 1;
	SQL
	cat >"$dir/rival.sql" <<-SQL
		$settings
		\timing on
		WITH s AS (SELECT member_id, max(at) AS l, count(*) AS c, sum(amount) AS a FROM bench_order GROUP BY member_id),
			 n AS (SELECT s.*, ntile(5) OVER (ORDER BY l) AS r, ntile(5) OVER (ORDER BY c) AS f, ntile(5) OVER (ORDER BY a) AS m FROM s),
			 k AS (SELECT n.*, r::text || f || m AS code FROM n)
		SELECT $hand AS segment, count(*), sum(c), sum(a) FROM k GROUP BY 1;
	SQL
	paired --what "orders to segments ($name)" --rival 'CTE with three ntile' --target '<= 0.6' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"
done

# Peak memory of the grouping, as EXPLAIN tells it.
memory()
{
	psql -XqAt -c "SET max_parallel_workers_per_gather = 0" -c "SET work_mem = '2GB'" \
		-c "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT member_id, $1 FROM bench_order GROUP BY member_id" |
		sed -n 's/.*Memory Usage: \([0-9]*\)kB.*/\1/p'
}
ours=$(memory 'loyalty.rfm_agg(at, amount)')
rival=$(memory 'max(at), count(*), sum(amount)')
paired --what "memory of rfm_agg ($((ours / 1024)) MB of $((rival / 1024)) MB)" --target '<= 1.0' \
	--value "$(awk -v a="$ours" -v b="$rival" 'BEGIN { print a / b }')" --unit 'of max, count, sum'

psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE bench_order'
