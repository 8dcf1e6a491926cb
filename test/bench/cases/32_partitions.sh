# A ledger in 8 partitions by hash of the member, against one in one piece, each
# in a database of its own with a fifth of the members and entries.
members=$((MEMBERS / 5))
dir=$(mktemp -d)
trap 'rm -rf "$dir"; psql -Xq -d postgres -c "DROP DATABASE IF EXISTS in_one" -c "DROP DATABASE IF EXISTS in_parts"' EXIT
for database in in_one in_parts; do
	psql -Xq -d postgres -c "CREATE DATABASE $database"
	psql -Xq -d "$database" -v ON_ERROR_STOP=1 -o /dev/null -c 'SET client_min_messages = warning' -c 'CREATE EXTENSION loyalty CASCADE' -c 'SELECT loyalty.setup()'
done
psql -Xq -d in_parts -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY NONE;
	ALTER TABLE loyalty.ledger RENAME TO whole;
	CREATE TABLE loyalty.ledger (LIKE loyalty.whole INCLUDING ALL) PARTITION BY HASH (member_id);
	SELECT format('CREATE TABLE loyalty.ledger_%s PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 8, REMAINDER %1$s)', n) FROM generate_series(0, 7) n \gexec
	ALTER TABLE loyalty.whole DISABLE TRIGGER USER;
	DROP TABLE loyalty.whole;
	SELECT loyalty.setup();
SQL
for database in in_one in_parts; do
	psql -Xq -d "$database" -v ON_ERROR_STOP=1 -v members="$members" -v entries="$((ENTRIES / 5))" -o /dev/null <<-'SQL'
		CREATE VIEW history AS SELECT 1 + i % :members AS member_id, 1 + i % 500 AS points, now() - interval '1 day' + i * interval '10 ms' AS effective_at FROM generate_series(0, :entries - 1) i;
		SELECT * FROM loyalty.backfill('history');
		VACUUM ANALYZE loyalty.wallet;
		VACUUM ANALYZE loyalty.ledger;
		CHECKPOINT;
	SQL
done
cat >"$dir/earn.sql" <<-'SQL'
	\set member random(1, :members)
	\set points random(1, 500)
	SELECT * FROM loyalty.earn(:member, :points, reference => 'order', idempotency_key => gen_random_uuid()::text);
SQL
cat >"$dir/statement.sql" <<-'SQL'
	\set member random(1, :members)
	SELECT * FROM loyalty.statement(:member);
SQL
set_sync() { psql -Xq -c "ALTER SYSTEM SET synchronous_commit = $1" -c 'SELECT pg_reload_conf()' -o /dev/null; }
measure() { PGDATABASE=in_parts paired --rival-database in_one --rival 'ledger in one piece' --rounds "$ROUNDS" --set members="$members" --target '>= 0.90' --pgbench '-c 8 -j 2 -T 10 -M prepared' "$@"; }
set_sync off
measure --what 'earn(), ledger in 8 partitions' --entries 1 --rival-entries 1 "$dir/earn.sql" "$dir/earn.sql"
measure --what 'statement(), ledger in 8 partitions' "$dir/statement.sql" "$dir/statement.sql"
set_sync on
