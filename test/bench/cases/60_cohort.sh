# The retention matrix of orders against the usual self-join, serial and with
# two workers: what test/bench/cohort.sql measures.
psql -X -v orders="${ORDERS:-10000000}" -v members="${ORDER_MEMBERS:-500000}" -v rounds="$ROUNDS" -f "$BENCH/cohort.sql"
for workers in 0 2; do
	figure() { psql -XAtq -c "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM cohort_bench_run WHERE workers = $workers AND what = '$1'"; }
	paired --what "retention matrix, $workers workers: the self-join's time in ours" --target '>= 3' --unit times \
		--value "$(awk -v a="$(figure self-join)" -v b="$(figure 'one step')" 'BEGIN { print a / b }')"
done
