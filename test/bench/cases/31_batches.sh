# post_many(): batches of many members, against an INSERT of as many rows into
# the bare table with the same indexes; and of one, against the best single
# statement for each entry.  (Needs the tables of 30_posting.)
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null -c 'VACUUM ANALYZE bare' -c 'VACUUM ANALYZE loyalty.wallet' -c 'VACUUM ANALYZE loyalty.ledger' -c CHECKPOINT
arrays="ARRAY(SELECT 1 + trunc(random() * :members)::bigint FROM generate_series(1, 1000)), array_fill('earn'::text, '{1000}'), ARRAY(SELECT 1 + trunc(random() * 500) FROM generate_series(1, 1000))::numeric[]"
keys='ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 1000))'
echo "SELECT * FROM loyalty.post_many($arrays, refs => array_fill('order'::text, '{1000}'), idempotency_keys => $keys);" >"$dir/many.sql"
cat >"$dir/rows.sql" <<-SQL
	INSERT INTO bare (member_id, currency, kind, points, requested, available, effective_at, recorded_at, available_at, reference, idempotency_key, fingerprint, hash)
	SELECT m, 'points', k, p, p, p, now(), now(), now(), 'order', key, '\\x00112233445566778899aabbccddeeff', '\\x00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'
	FROM unnest($arrays, $keys) u (m, k, p, key) RETURNING entry_id, available;
SQL
cat >"$dir/hundred.sql" <<-'SQL'
	SELECT * FROM loyalty.post_many(array_fill(1::bigint, '{100}'), array_fill('earn'::text, '{100}'), ARRAY(SELECT 1 + trunc(random() * 500) FROM generate_series(1, 100))::numeric[], idempotency_keys => ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 100)));
SQL
cat >"$dir/statement.sql" <<-'SQL'
	\set points random(1, 500)
	WITH u AS (UPDATE bal SET balance = balance + :points, version = version + 1 WHERE member_id = 1 AND balance + :points >= 0 RETURNING member_id) INSERT INTO led_bal (member_id, amount, ref) SELECT member_id, :points, gen_random_uuid()::text FROM u;
SQL
set_sync() { psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' -o /dev/null; }
measure() { paired --rounds "$ROUNDS" --set members="$MEMBERS" "$@"; }
set_sync off
measure --what 'post_many(), 1,000 entries of many members, 1 client' --rival 'INSERT of 1,000 rows' --target '>= 0.45' --entries 1000 --rival-entries 1000 --pgbench '-c 1 -T 10 -M prepared' "$dir/many.sql" "$dir/rows.sql"
measure --what 'post_many(), 100 entries on one wallet, 8 clients' --rival 'one statement: balance row and entry' --target '>= 1.90' --entries 100 --rival-entries 1 --pgbench '-c 8 -j 2 -T 10 -M prepared' "$dir/hundred.sql" "$dir/statement.sql"
set_sync on
