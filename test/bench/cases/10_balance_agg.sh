# Folding rows of anybody's table: balance_agg against sum(), against the
# closed form in window functions, and against an ordered PL/pgSQL loop.
#
# Each member has ENTRIES / MEMBERS rows, about two weeks apart, a quarter of
# them burns; lots live one year in table points_row (the closed form is right
# for one lifetime only), and 90 days to 2 years in table points_row_mixed.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" -v per_member=$((ENTRIES / MEMBERS)) <<-'SQL'
	SELECT setseed(0.5);
	CREATE TABLE points_row AS
	SELECT m::bigint AS member_id,
		CASE WHEN i = 0 THEN 1000 WHEN random() < 0.25 THEN -(1 + floor(random() * 50)) ELSE 1 + floor(random() * 500) END::bigint AS points,
		timestamptz '2023-12-01 00:00+00' + i * interval '14 days' + floor(random() * 1000000) * interval '1 second' AS at,
		NULL::timestamptz AS expires_at
	FROM generate_series(0, :per_member - 1) i, generate_series(1, :members) m;
	UPDATE points_row SET expires_at = at + interval '365 days' WHERE points > 0;
	CREATE TABLE points_row_mixed AS
	SELECT member_id, points, at,
		CASE WHEN points > 0 THEN at + (90 + member_id * 7919 % 640) * interval '1 day' + points % 7 * interval '30 days' END AS expires_at
	FROM points_row;
	CREATE TABLE points_row_sorted AS SELECT * FROM points_row;
	DROP TABLE points_row;
	ALTER TABLE points_row_sorted RENAME TO points_row;
	CREATE FUNCTION fifo_loop(source regclass, until timestamptz)
	RETURNS TABLE (member_id bigint, balance bigint) LANGUAGE plpgsql AS $$
	-- the best correct loop: one ordered pass, open lots by expiry in two arrays
	DECLARE
		r record; member bigint; expiry timestamptz[]; rest bigint[]; head int; last int;
		burn bigint; part bigint; total bigint; i int;
	BEGIN
		FOR r IN EXECUTE format('SELECT s.member_id, s.at, s.points, s.expires_at FROM %s s WHERE s.at <= $1 ORDER BY s.member_id, s.at', source) USING until LOOP
			IF member IS DISTINCT FROM r.member_id THEN
				IF member IS NOT NULL THEN
					WHILE head <= last AND expiry[head] <= until LOOP head := head + 1; END LOOP;
					total := 0; FOR i IN head..last LOOP total := total + rest[i]; END LOOP;
					member_id := member; balance := total; RETURN NEXT;
				END IF;
				member := r.member_id; expiry := '{}'; rest := '{}'; head := 1; last := 0;
			END IF;
			WHILE head <= last AND expiry[head] <= r.at LOOP head := head + 1; END LOOP;
			IF r.points > 0 THEN
				i := last;
				WHILE i >= head AND expiry[i] > r.expires_at LOOP expiry[i + 1] := expiry[i]; rest[i + 1] := rest[i]; i := i - 1; END LOOP;
				expiry[i + 1] := r.expires_at; rest[i + 1] := r.points; last := last + 1;
			ELSE
				burn := -r.points;
				WHILE burn > 0 AND head <= last LOOP
					part := least(burn, rest[head]); rest[head] := rest[head] - part; burn := burn - part;
					IF rest[head] = 0 THEN head := head + 1; END IF;
				END LOOP;
			END IF;
		END LOOP;
		IF member IS NOT NULL THEN
			WHILE head <= last AND expiry[head] <= until LOOP head := head + 1; END LOOP;
			total := 0; FOR i IN head..last LOOP total := total + rest[i]; END LOOP;
			member_id := member; balance := total; RETURN NEXT;
		END IF;
	END $$;
	VACUUM ANALYZE points_row;
	VACUUM ANALYZE points_row_mixed;
SQL

# query TABLE: ours; the balances of all members, summed up
ours()
{
	echo "SELECT count(*), sum(loyalty.available(b, '2026-01-01')) FROM (SELECT loyalty.balance_agg(points, at, expires_at) AS b FROM $1 WHERE at <= '2026-01-01' GROUP BY member_id) t;"
}
timed() { echo "SET work_mem = '512MB'; SET max_parallel_workers_per_gather = $1; SET jit = off;"; echo '\timing on'; cat; }

sum="SELECT count(*), sum(s) FROM (SELECT sum(points) AS s FROM points_row WHERE at <= '2026-01-01' GROUP BY member_id) t;"
closed_form="SELECT count(*), sum(balance) FROM (
	WITH event AS (
		SELECT member_id, expires_at AS t, 0 AS o, 0::bigint AS burn, sum(points) OVER (PARTITION BY member_id ORDER BY expires_at, at ROWS UNBOUNDED PRECEDING) AS earned
		FROM points_row WHERE points > 0
		UNION ALL SELECT member_id, at, 1, -points, NULL FROM points_row WHERE points < 0),
	running AS (SELECT member_id, earned, burn, sum(burn) OVER (PARTITION BY member_id ORDER BY t, o ROWS UNBOUNDED PRECEDING) AS burned FROM event WHERE t <= '2026-01-01'),
	lost AS (SELECT member_id, greatest(0, max(earned - burned)) AS expired, sum(burn) AS burned FROM running GROUP BY member_id),
	total AS (SELECT member_id, sum(points) AS earned FROM points_row WHERE points > 0 GROUP BY member_id)
	SELECT t.member_id, t.earned - coalesce(l.burned, 0) - coalesce(l.expired, 0) AS balance FROM total t LEFT JOIN lost l USING (member_id)) t;"
loop="SELECT count(*), sum(balance) FROM fifo_loop('points_row_mixed', '2026-01-01');"

# a rival that gives another answer is none
[ "$(psql -XAtc "$(ours points_row)")" = "$(psql -XAtc "$closed_form")" ] || { echo "the closed form differs"; exit 1; }
[ "$(psql -XAtc "$(ours points_row_mixed)")" = "$(psql -XAtc "$loop")" ] || { echo "the loop differs"; exit 1; }

for workers in 0 2; do
	ours points_row | timed $workers >"$dir/ours$workers.sql"
	timed $workers <<<"$sum" >"$dir/sum$workers.sql"
	paired --what "balance_agg, $workers workers" --rival 'sum(points) by member' --target '<= 1.4' --rounds "$ROUNDS" "$dir/ours$workers.sql" "$dir/sum$workers.sql"
done
timed 0 <<<"$closed_form" >"$dir/closed.sql"
paired --what 'balance_agg, one lot lifetime' --rival 'window functions, closed form' --target '<= 0.333' --rounds "$ROUNDS" "$dir/ours0.sql" "$dir/closed.sql"
ours points_row_mixed | timed 0 >"$dir/ours_mixed.sql"
timed 0 <<<"$loop" >"$dir/loop.sql"
paired --what 'balance_agg, any lot lifetimes' --rival 'ordered PL/pgSQL loop' --target '<= 0.222' --rounds 3 "$dir/ours_mixed.sql" "$dir/loop.sql"
# a loop cannot run in parallel
ours points_row_mixed | timed 2 >"$dir/ours_mixed2.sql"
paired --what 'balance_agg, any lot lifetimes, 2 workers' --rival 'ordered PL/pgSQL loop, serial' --target '<= 0.222' --rounds 3 "$dir/ours_mixed2.sql" "$dir/loop.sql"

psql -Xq -v ON_ERROR_STOP=1 <<-'SQL'
	CREATE TABLE packed AS
	SELECT member_id, loyalty.ledger_agg(CASE WHEN points > 0 THEN 'earn' ELSE 'redeem' END, abs(points), at, NULL, expires_at) AS history
	FROM points_row WHERE at <= '2026-01-01' GROUP BY member_id;
	VACUUM ANALYZE packed;
SQL
timed 0 <<<"SELECT count(*), sum(loyalty.available(loyalty.fold(history), '2026-01-01')) FROM packed;" >"$dir/packed.sql"
paired --what 'fold of packed ledgers' --rival 'sum(points) by member' --target '<= 0.125' --rounds "$ROUNDS" "$dir/packed.sql" "$dir/sum0.sql"
paired --what 'packed ledger, bytes an entry' --target '<= 12' --unit bytes \
	--value "$(psql -XAtc 'SELECT sum(pg_column_size(history))::float8 / sum(loyalty.ledger_length(history)) FROM packed')"
