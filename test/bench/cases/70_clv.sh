# The fit of as many members as the CDNOW master file has, in well under a
# second: what test/bench/clv.sql measures.
psql -X -v members=23570 -v rounds="$ROUNDS" -f "$BENCH/clv.sql"
for kind in 'BG/NBD' 'MBG/NBD' 'Pareto/NBD'; do
	paired --what "fit of $kind and Gamma-Gamma, 23,570 members" --target '<= 0.5' --unit s \
		--value "$(psql -XAtq -c "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FROM clv_bench_run WHERE workers = 0 AND what LIKE 'sample and fit of $kind,%'")"
done
