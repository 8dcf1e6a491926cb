# The retention matrix of orders against the usual self-join, serial and with
# two workers: what test/bench/cohort.sql measures; and beside DuckDB.
. "$BENCH/duckdb.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -X -v orders="$ORDERS" -v members="$BUYERS" -v rounds="$ROUNDS" -v steps="$dir/steps.sql" -f "$BENCH/cohort.sql"
figure() { psql -XAtqc "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY $3) FROM cohort_bench_run WHERE workers = $1 AND what = '$2'"; }
for workers in 0 2; do
	paired --what "retention matrix, $workers workers: the self-join's time in ours" --target '>= 3' --unit times \
		--value "$(awk -v a="$(figure $workers self-join seconds)" -v b="$(figure $workers 'one step' seconds)" 'BEGIN { print a / b }')"
	# a value of each member first, to be kept: nearly all of it is GROUP BY
	paired --what "retention matrix in two steps, $workers workers: the same" --unit times \
		--value "$(awk -v a="$(figure $workers self-join seconds)" -v b="$(figure $workers 'two steps' seconds)" 'BEGIN { print a / b }')"
done
memory=$(figure 0 'one step' private_kb/1024.0)
if [ -n "$memory" ]; then
	paired --what 'peak memory of the retention matrix' --rival 'self-join' --unit MB --value "$memory" \
		--against "$(figure 0 self-join private_kb/1024.0)"
fi

if have_duckdb && duckdb_load "$dir/orders.duckdb" "SELECT member_id, at AT TIME ZONE 'UTC', amount FROM cohort_bench_order"; then
	# the way that is usual there is the self-join, too
	cat >"$dir/duckdb.sql" <<-'SQL'
		WITH first AS (SELECT member_id, date_trunc('month', min(ordered_at)) AS cohort FROM orders GROUP BY 1),
			active AS (SELECT DISTINCT member_id, date_trunc('month', ordered_at) AS period FROM orders),
			cell AS (SELECT cohort, period, count(*) AS active FROM first JOIN active USING (member_id) GROUP BY 1, 2)
		SELECT md5(string_agg(concat_ws(',', cohort::date, period::date, active), ';' ORDER BY cohort, period)) FROM cell;
	SQL
	answer=$(psql -XAtqc 'SELECT answer FROM cohort_bench_run LIMIT 1')
	for workers in 0 2; do
		duckdb_agrees "$dir/orders.duckdb" "$dir/duckdb.sql" "$answer" || break
		cat >"$dir/ours.sql" <<-SQL
			SET timezone = 'UTC'; SET work_mem = '256MB'; SET jit = off; SET max_parallel_workers_per_gather = $workers;
			\timing on
			SELECT md5(string_agg(concat_ws(',', cohort, period_start, active), ';' ORDER BY cohort, period_start))
			FROM (SELECT loyalty.retention_events_agg(member_id, at, 'month', 'UTC') AS r FROM cohort_bench_order) y,
				loyalty.retention_matrix(r, fill => false);
		SQL
		duckdb_row "retention matrix, $workers workers" "$dir/orders.duckdb" $((workers + 1)) "$dir/ours.sql" "$dir/duckdb.sql"
	done
fi
psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE cohort_bench_order'
