# rfm: orders to summaries, to stored summaries, to segments, against the SQL
# written by hand, and beside DuckDB.  ORDERS and BUYERS say how much.
. "$BENCH/duckdb.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

psql -Xq -v ON_ERROR_STOP=1 -v orders="$ORDERS" -v buyers="$BUYERS" <<-'SQL'
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

duck=
if have_duckdb && duckdb_load "$dir/orders.duckdb" "SELECT member_id, at AT TIME ZONE 'UTC', amount FROM bench_order"; then
	echo 'SELECT count(*), count(DISTINCT member_id), sum(amount) FROM orders;' >"$dir/total.sql"
	! duckdb_agrees "$dir/orders.duckdb" "$dir/total.sql" \
		"$(psql -XAtqc 'SELECT count(*), count(DISTINCT member_id), sum(amount) FROM bench_order')" || duck=$dir/orders.duckdb
fi

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
	paired --what "rfm_agg, $ORDERS orders ($name)" --rival 'max, count, sum' --target '<= 1.0' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"
	if [ -n "$duck" ]; then
		sed -n 's/bench_order/orders/; s/max(at)/max(ordered_at)/; /^SELECT/p' "$dir/rival.sql" >"$dir/duckdb.sql"
		duckdb_row "rfm_agg, $ORDERS orders ($name)" "$duck" $((workers + 1)) "$dir/ours.sql" "$dir/duckdb.sql"
	fi

	cat >"$dir/ours.sql" <<-SQL
		$settings
		\timing on
		SELECT count(summary) FROM rfm_members('bench_order', as_of => '2026-01-01');
	SQL
	paired --what "rfm_members, $ORDERS orders ($name)" --rival 'max, count, sum' --target '<= 1.0' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"
	[ -z "$duck" ] || duckdb_row "rfm_members, $ORDERS orders ($name)" "$duck" $((workers + 1)) "$dir/ours.sql" "$dir/duckdb.sql"

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
			 k AS (SELECT n.*, concat(r, f, m) AS code FROM n)
		SELECT $hand AS segment, count(*), sum(c), sum(a) FROM k GROUP BY 1;
	SQL
	paired --what "orders to segments ($name)" --rival 'CTE with three ntile' --target '<= 0.6' --rounds "$ROUNDS" "$dir/ours.sql" "$dir/rival.sql"
	if [ -n "$duck" ]; then
		sed -n 's/bench_order/orders/; s/max(at)/max(ordered_at)/; /^WITH/,$p' "$dir/rival.sql" >"$dir/duckdb.sql"
		duckdb_row "orders to segments ($name)" "$duck" $((workers + 1)) "$dir/ours.sql" "$dir/duckdb.sql"
	fi
	cp "$dir/ours.sql" "$dir/chain$workers.sql"
	cp "$dir/rival.sql" "$dir/chain_rival$workers.sql"
done

# Peak of the backend's private memory, in MB, serial; with work_mem that lets
# either side group in memory.
memory()
{
	{
		echo "SET max_parallel_workers_per_gather = 0; SET work_mem = '2GB'; SET timezone = 'UTC'; SET search_path = loyalty, public;"
		cat
		echo "\\o"
		echo "SELECT ((regexp_match(s, 'VmHWM:\s+(\d+)'))[1]::bigint - (regexp_match(s, 'RssShmem:\s+(\d+)'))[1]::bigint) / 1024.0 FROM pg_read_file('/proc/' || pg_backend_pid() || '/status') s;"
	} | psql -XAtq -v ON_ERROR_STOP=1 -o /dev/null
}
paired --what 'peak memory of rfm_agg' --rival 'max, count, sum' --target '<= 1.0' --unit MB \
	--value "$(memory <<<'SELECT count(s) FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM bench_order GROUP BY member_id) x;')" \
	--against "$(memory <<<'SELECT count(l), count(c), count(a) FROM (SELECT member_id, max(at) AS l, count(*) AS c, sum(amount) AS a FROM bench_order GROUP BY member_id) x;')"
paired --what 'peak memory of orders to segments' --rival 'CTE with three ntile' --unit MB \
	--value "$(sed -n '/^WITH/,$p' "$dir/chain0.sql" | memory)" --against "$(sed -n '/^WITH/,$p' "$dir/chain_rival0.sql" | memory)"

psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE bench_order'
