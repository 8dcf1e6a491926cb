# record_activity() of a kind that no campaign is on: the INSERT and nothing
# else.  8 clients, prepared statements, an external id and an idempotency key
# with every call; the rival inserts the very row, into a table with the same
# indexes.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	DROP TABLE IF EXISTS bare_activity;
	CREATE TABLE bare_activity (LIKE loyalty.activity INCLUDING ALL);
	CREATE SEQUENCE IF NOT EXISTS bare_activity_id;
	ALTER TABLE bare_activity ALTER activity_id SET DEFAULT nextval('bare_activity_id');
	SELECT loyalty.record_activity(m % 1000, 'order', external_id => gen_random_uuid()::text, idempotency_key => gen_random_uuid()::text) FROM generate_series(1, 20000) m;
	INSERT INTO bare_activity SELECT * FROM loyalty.activity;
	SELECT setval('bare_activity_id', (SELECT max(activity_id) FROM bare_activity));
	VACUUM ANALYZE bare_activity;
	VACUUM ANALYZE loyalty.activity;
	CHECKPOINT;
SQL
lines='[{"sku": "T1","category": "tea","brand": "zeta","grade": "a","earns": true,"quantity": 2,"amount": 80.00},{"sku": "B7","category": "book","brand": "zeta","grade": "a","earns": true,"quantity": 1,"amount": 40.00}]'
cat >"$dir/record.sql" <<-SQL
	\set member random(1, :members)
	SELECT * FROM loyalty.record_activity(:member, 'order', amount => 120.00, channel => 'app', external_id => gen_random_uuid()::text, idempotency_key => gen_random_uuid()::text);
SQL
cat >"$dir/bare.sql" <<-SQL
	\set member random(1, :members)
	INSERT INTO bare_activity (member_id, kind, at, local_day, time_zone, amount, channel, external_id, same_key, idempotency_key, fingerprint) SELECT :member, 'order', now(), current_date, 'UTC', 120.00, 'app', e, e, gen_random_uuid()::text, '\x00112233445566778899aabbccddeeff' FROM (SELECT gen_random_uuid()::text AS e OFFSET 0) x RETURNING activity_id;
SQL
sed "s/channel => 'app'/channel => 'app', lines => '$lines'/" "$dir/record.sql" >"$dir/record_lines.sql"
sed "s/channel, external_id/channel, lines, external_id/; s/'app', e/'app', '$lines', e/" "$dir/bare.sql" >"$dir/bare_lines.sql"
pgbench='-c 8 -j 2 -T 10 -M prepared'
set_sync() { psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' -o /dev/null; }
measure() { paired --rounds "$ROUNDS" --set members="$MEMBERS" --pgbench "$pgbench" "$@"; }

set_sync off
measure --what 'record_activity(), no campaign, synchronous_commit off' --rival 'bare INSERT' --target '>= 0.90' "$dir/record.sql" "$dir/bare.sql"
measure --what 'record_activity() with two lines, synchronous_commit off' --rival 'bare INSERT' --target '>= 0.90' "$dir/record_lines.sql" "$dir/bare_lines.sql"
set_sync on
measure --what 'record_activity(), no campaign, synchronous_commit on' --rival 'bare INSERT' --target '>= 0.90' "$dir/record.sql" "$dir/bare.sql"

# a hundred at once: no lines, an external id each
cat >"$dir/many.sql" <<-SQL
	\set member random(1, :members)
	SELECT count(*) FROM loyalty.record_many(ARRAY(SELECT :member + i FROM generate_series(1, 100) i), ARRAY(SELECT 'order' FROM generate_series(1, 100) i), amounts => ARRAY(SELECT 120.00 FROM generate_series(1, 100) i), external_ids => ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 100) i));
SQL
cat >"$dir/bare_many.sql" <<-SQL
	\set member random(1, :members)
	INSERT INTO bare_activity (member_id, kind, at, local_day, time_zone, amount, external_id, same_key) SELECT m, k, now(), current_date, 'UTC', a, e, e FROM unnest(ARRAY(SELECT :member + i FROM generate_series(1, 100) i), ARRAY(SELECT 'order' FROM generate_series(1, 100) i), ARRAY(SELECT 120.00 FROM generate_series(1, 100) i), ARRAY(SELECT gen_random_uuid()::text FROM generate_series(1, 100) i)) x (m, k, a, e);
SQL
set_sync off
measure --what 'record_many() of 100' --rival 'INSERT of 100 rows' "$dir/many.sql" "$dir/bare_many.sql"
set_sync on
