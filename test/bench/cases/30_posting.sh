# earn() on a ledger with ENTRIES entries, 8 clients, prepared statements, an
# idempotency key with every call.  (Needs the ledger of 20_backfill.)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -v members="$MEMBERS" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT CASE WHEN (SELECT count(*) FROM (SELECT FROM loyalty.ledger LIMIT 1) l) = 0 THEN (SELECT entries FROM loyalty.backfill('history')) END;
	TRUNCATE bare;
	INSERT INTO bare SELECT * FROM loyalty.ledger;
	CREATE SEQUENCE bare_id;
	SELECT setval('bare_id', (SELECT max(entry_id) FROM bare));
	ALTER TABLE bare ALTER entry_id SET DEFAULT nextval('bare_id');
	CREATE TABLE bal (member_id bigint PRIMARY KEY, balance bigint NOT NULL, version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 70);
	INSERT INTO bal SELECT m, 1000 FROM generate_series(1, :members) m;
	CREATE TABLE figures AS SELECT m AS member_id, b.* FROM generate_series(1, :members) m, loyalty.balance(m) b;
	ALTER TABLE figures ADD PRIMARY KEY (member_id);
	CREATE TABLE led_bal (member_id bigint NOT NULL, amount bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), ref text NOT NULL UNIQUE);
	VACUUM ANALYZE bare;
	VACUUM ANALYZE bal;
	VACUUM ANALYZE figures;
	VACUUM ANALYZE loyalty.wallet;
	VACUUM ANALYZE loyalty.ledger;
	CHECKPOINT;
SQL
for one in '' 1; do
	member=$([ -n "$one" ] && echo '\set member 1' || echo '\set member random(1, :members)')
	cat >"$dir/earn$one.sql" <<-SQL
		$member
		\set points random(1, 500)
		SELECT * FROM loyalty.earn(:member, :points, reference => 'order', idempotency_key => gen_random_uuid()::text);
	SQL
	cat >"$dir/bare$one.sql" <<-SQL
		$member
		\set points random(1, 500)
		INSERT INTO bare (member_id, currency, kind, points, requested, available, effective_at, recorded_at, available_at, reference, idempotency_key, fingerprint, hash) VALUES (:member, 'points', 'earn', :points, :points, :points, now(), now(), now(), 'order', gen_random_uuid()::text, '\\\\x00112233445566778899aabbccddeeff', '\\\\x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff') RETURNING entry_id, available;
	SQL
	cat >"$dir/statement$one.sql" <<-SQL
		$member
		\set points random(1, 500)
		WITH u AS (UPDATE bal SET balance = balance + :points, version = version + 1 WHERE member_id = :member AND balance + :points >= 0 RETURNING member_id) INSERT INTO led_bal (member_id, amount, ref) SELECT member_id, :points, gen_random_uuid()::text FROM u;
	SQL
done
sed -i 's/\\\\/\\/g' "$dir"/bare*.sql
# one call in 500 posts what waits, up to twice as much, so that the queue stays short
cat >"$dir/queue1.sql" <<-'SQL'
	\set points random(1, 500)
	\set turn random(1, 500)
	\if :turn = 1
	SELECT * FROM loyalty.post_queued_earns();
	\endif
	SELECT loyalty.queue_earn(1, :points, reference => 'order', idempotency_key => gen_random_uuid()::text);
SQL
pgbench='-c 8 -j 2 -T 10 -M prepared'
set_sync() { psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' -o /dev/null; }
measure() { paired --rounds "$ROUNDS" --set members="$MEMBERS" --pgbench "$pgbench" "$@"; }

set_sync off
measure --entries 1 --rival-entries 1 --what 'earn(), 8 clients, synchronous_commit off' --rival 'bare INSERT' --target '>= 0.78' "$dir/earn.sql" "$dir/bare.sql"
measure --entries 1 --rival-entries 1 --what 'earn() on one wallet, synchronous_commit off' --rival 'one statement: balance row and entry' --target '>= 0.75' "$dir/earn1.sql" "$dir/statement1.sql"
measure --entries 1 --rival-entries 1 --what 'queue_earn() on one wallet, and its posting, synchronous_commit off' --rival 'one statement: balance row and entry' --target '>= 1.1' "$dir/queue1.sql" "$dir/statement1.sql"
set_sync on
measure --entries 1 --rival-entries 1 --what 'earn(), 8 clients, synchronous_commit on' --rival 'bare INSERT' --target '>= 0.92' "$dir/earn.sql" "$dir/bare.sql"
measure --entries 1 --rival-entries 1 --what 'earn() on one wallet, synchronous_commit on' --rival 'one statement: balance row and entry' --target '>= 0.75' "$dir/earn1.sql" "$dir/statement1.sql"
measure --entries 1 --rival-entries 1 --what 'queue_earn() on one wallet, and its posting, synchronous_commit on' --rival 'one statement: balance row and entry' --target '>= 3' "$dir/queue1.sql" "$dir/statement1.sql"

cat >"$dir/balance.sql" <<-'SQL'
	\set member random(1, :members)
	SELECT * FROM loyalty.balance(:member);
SQL
cat >"$dir/select.sql" <<-'SQL'
	\set member random(1, :members)
	SELECT * FROM bal WHERE member_id = :member;
SQL
measure --what 'balance(), 8 clients' --rival 'primary-key SELECT' "$dir/balance.sql" "$dir/select.sql"
cat >"$dir/select15.sql" <<-'SQL'
	\set member random(1, :members)
	SELECT available, pending, held, debt, next_expiry_at, next_expiry_points, earned, redeemed, expired, revoked, restored, adjusted_up, adjusted_down, transferred_in, transferred_out FROM figures WHERE member_id = :member;
SQL
measure --what 'balance(), 8 clients' --rival 'primary-key SELECT of 15 stored figures' --target '>= 0.85' "$dir/balance.sql" "$dir/select15.sql"
