# All that partition_tables(8) partitions, against tables in one piece, each in a
# database of its own with a fifth of the members and entries.
members=$((MEMBERS / 5))
dir=$(mktemp -d)
trap 'rm -rf "$dir"; psql -Xq -d postgres -c "DROP DATABASE IF EXISTS in_one" -c "DROP DATABASE IF EXISTS in_parts"' EXIT
for database in in_one in_parts; do
	psql -Xq -d postgres -c "CREATE DATABASE $database"
	psql -Xq -d "$database" -v ON_ERROR_STOP=1 -o /dev/null -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION loyalty CASCADE' -c 'SELECT loyalty.setup()'
done
psql -Xq -d in_parts -v ON_ERROR_STOP=1 -o /dev/null -c 'SELECT * FROM loyalty.partition_tables(8)'
for database in in_one in_parts; do
	psql -Xq -d "$database" -v ON_ERROR_STOP=1 -v members="$members" -v entries="$((ENTRIES / 5))" -o /dev/null <<-'SQL'
		CREATE VIEW history AS SELECT 1 + i % :members AS member_id, 1 + i % 500 AS points, now() - interval '1 day' + i * interval '10 ms' AS effective_at FROM generate_series(0, :entries - 1) i;
		SELECT * FROM loyalty.backfill('history');
		SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}]}');
		VACUUM ANALYZE;
		CHECKPOINT;
	SQL
done
cat >"$dir/earn.sql" <<-'SQL'
	\set member random(1, :members)
	\set points random(1, 500)
	SELECT * FROM loyalty.earn(:member, :points, reference => 'order', idempotency_key => gen_random_uuid()::text);
SQL
cat >"$dir/record.sql" <<-'SQL'
	\set member random(1, :members)
	\set amount random(1, 500)
	SELECT * FROM loyalty.record_activity(:member, 'order', amount => :amount, external_id => gen_random_uuid()::text);
SQL
for call in balance statement; do
	printf '\\set member random(1, :members)\nSELECT * FROM loyalty.%s(:member);\n' "$call" >"$dir/$call.sql"
done
set_sync() { psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' -o /dev/null; }
measure() { PGDATABASE=in_parts paired --rival-database in_one --rival 'tables in one piece' --rounds "$ROUNDS" --set members="$members" --pgbench '-c 8 -j 2 -T 10 -M prepared' "$@"; }
set_sync off
measure --what 'balance(), in 8 partitions' --target '>= 0.70' "$dir/balance.sql" "$dir/balance.sql"
measure --what 'statement(), in 8 partitions' --target '>= 0.90' "$dir/statement.sql" "$dir/statement.sql"
measure --what 'earn(), in 8 partitions' --entries 1 --rival-entries 1 --target '>= 0.90' "$dir/earn.sql" "$dir/earn.sql"
measure --what 'record_activity() with a campaign, in 8 partitions' --target '>= 0.80' "$dir/record.sql" "$dir/record.sql"
set_sync on
