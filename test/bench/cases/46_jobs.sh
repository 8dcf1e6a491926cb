# Nobody waits for a job: the 99th percentile of earn(), beside each job over all
# members against alone.  (A database of its own, without statistics, as after
# backfill().  Odd members post, so that wallets of even ones can be spoiled.)
dir=$(mktemp -d)
trap 'rm -rf "$dir"; psql -Xq -d postgres -c "DROP DATABASE IF EXISTS bench_jobs WITH (FORCE)"' EXIT
psql -Xq -d postgres -c 'DROP DATABASE IF EXISTS bench_jobs WITH (FORCE)' -c 'CREATE DATABASE bench_jobs'
export PGDATABASE=bench_jobs
run() { psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" -o /dev/null "$@"; }
ladder() { echo "SELECT loyalty.define_ladder('$1', '{\"measures\": [{\"measure\": \"earned\", \"window\": \"rolling\", \"interval\": \"12 months\"}],
	\"validity\": \"interval\", \"validity_interval\": \"1 month\", \"levels\": [{\"level\": \"base\"}, {\"level\": \"silver\", \"all\": {\"earned\": $2}}]}')"; }
run <<-'SQL'
	SET client_min_messages = warning;
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup();
	SELECT loyalty.define_measure('earned', 'points', 'points');
	CREATE TABLE history AS
	SELECT m::bigint AS member_id, 'points' AS currency, 'earn' AS kind, (50 + (m::bigint * 7919 + i * 104729) % 900)::bigint AS points,
		date_trunc('day', now()) - ((m * 31 + i * 67) % 1000 + 400) * interval '1 day' + i * interval '1 hour' AS effective_at,
		date_trunc('day', now()) - (m % 300 + 10) * interval '1 day' AS expires_at
	FROM generate_series(1, :members) m, generate_series(1, 10) i ORDER BY effective_at, member_id;
	SELECT count(*) FROM loyalty.backfill('history');
	DROP TABLE history;
	CHECKPOINT;
SQL
cat >"$dir/earn.sql" <<-'SQL'
	\set member 2 * random(1, :members / 2) - 1
	\set points random(1, 500)
	SELECT * FROM loyalty.earn(:member, :points, reference => 'order', idempotency_key => gen_random_uuid()::text);
SQL

# percentile SECONDS: the 99th of the latencies, in ms, of postings for so long
percentile()
{
	rm -f "$dir"/log.*
	(cd "$dir" && pgbench -n -c 8 -j 2 -T "$1" -M prepared -D members="$MEMBERS" -f earn.sql -l --log-prefix=log >pgbench.out 2>&1) ||
		{ cat "$dir/pgbench.out" >&2; return 1; }
	cat "$dir"/log.* | awk '{ print $3 }' | sort -n | awk '{ x[NR] = $1 } END { printf "%.2f\n", x[int(NR * 0.99) + 1] / 1000 }'
}

# beside WHAT SQL: postings alone, and while SQL runs
beside()
{
	local alone with job ended
	alone=$(percentile 10)
	psql -Xq -v ON_ERROR_STOP=1 -c "$2" >"$dir/job.out" 2>&1 &
	job=$!
	with=$(percentile 10)
	ended='and ended before that'
	if kill -0 $job 2>/dev/null; then ended='and went on'; fi
	wait $job || { cat "$dir/job.out" >&2; return 1; }
	echo "    $1 ran beside postings for 10 s, $ended" >&2
	paired --what "earn() beside $1: 99th percentile" --rival 'alone' --value "$with" --against "$alone" --unit ms --target '<= 5'
}

percentile 5 >/dev/null
run -c "$(ladder club 2000)"
beside 'evaluate_tiers() of all, the first time' 'CALL loyalty.evaluate_tiers()'
run -c "$(ladder club 3000)"
beside 'evaluate_tiers() of a new version' 'CALL loyalty.evaluate_tiers()'
run -c "UPDATE loyalty.tier_state SET next_at = now() - interval '1 day'"
beside 'book_tiers() of all' 'CALL loyalty.book_tiers()'
beside 'book_expiries() of all' 'CALL loyalty.book_expiries()'
run -c 'SET session_replication_role = replica' -c 'UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id % 2 = 0'
beside 'rebuild_wallets() of every second' 'CALL loyalty.rebuild_wallets()'
beside 'run_checks()' 'CALL loyalty.run_checks()'
beside 'check_all()' 'SELECT * FROM loyalty.check_all()'
beside 'ledger_digest()' 'SELECT loyalty.ledger_digest()'

# define_ladder() behind a session that is idle in its transaction
psql -Xq -c 'BEGIN' -c 'SELECT * FROM loyalty.earn(1, 1)' -c 'SELECT pg_sleep(22)' -c 'COMMIT' >/dev/null &
sleep 1
beside 'define_ladder() that waits for an idle session' "$(ladder other 10)"
wait
[ -z "$(psql -XAtc 'SELECT * FROM loyalty.check_all()')" ] || { echo 'check_all() found violations'; exit 1; }
