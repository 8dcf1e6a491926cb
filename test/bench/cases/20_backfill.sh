# A whole history in one statement, against COPY of the same rows into a bare
# table with the same columns, and the same indexes built after.  (Needs the rows
# of 10_balance_agg.)
dir=$(mktemp -d /tmp/loyalty-bench-XXXXXX)
chmod 755 "$dir"
trap 'rm -rf "$dir"' EXIT
cat >"$dir/fresh.sql" <<-'SQL'
	SET client_min_messages = warning;
	DROP TABLE IF EXISTS bare;
	DROP SCHEMA loyalty CASCADE;
	CREATE EXTENSION loyalty CASCADE;
	SELECT loyalty.setup() \g /dev/null
	CREATE TABLE bare (LIKE loyalty.ledger);
	CREATE OR REPLACE VIEW history AS SELECT member_id, points, at AS effective_at, expires_at FROM points_row WHERE at <= now();
	CHECKPOINT;
SQL
cat >"$dir/backfill.sql" <<-'SQL'
	SET work_mem = '512MB';
	\timing on
	SELECT * FROM loyalty.backfill('history');
SQL
psql -Xq -v ON_ERROR_STOP=1 -c 'DROP TABLE packed' -f "$dir/fresh.sql" -f "$dir/backfill.sql" >/dev/null
psql -Xqc 'COPY loyalty.ledger TO STDOUT' >"$dir/rows"
cat >"$dir/copy.sql" <<-SQL
	\timing on
	COPY bare FROM '$dir/rows';
	ALTER TABLE bare ADD PRIMARY KEY (member_id, entry_id);
	CREATE UNIQUE INDEX ON bare (member_id, currency, idempotency_key) WHERE idempotency_key IS NOT NULL;
	CREATE INDEX ON bare (member_id, target_entry_id) WHERE target_entry_id IS NOT NULL;
	CREATE INDEX ON bare USING brin (entry_id) WITH (pages_per_range = 32);
SQL
paired --what 'backfill' --rival 'COPY into a bare table, then its indexes' --target '<= 1.1' --rounds 3 --warmup 0 --before "$dir/fresh.sql" "$dir/backfill.sql" "$dir/copy.sql"
