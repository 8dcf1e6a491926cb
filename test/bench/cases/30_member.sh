# Room member: resolving somebody known, against a look-up by hand; a merge of
# two members with ten wallets; canonical_member() in a join.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
PEOPLE=${PEOPLE:-$((ENTRIES / 5))}
psql -Xq -v ON_ERROR_STOP=1 -v people="$PEOPLE" -v entries="$ENTRIES" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT loyalty.configure_namespace('shop', priority => 30);
	INSERT INTO loyalty.member (member_id, joined_via) SELECT i, 'bench' FROM generate_series(1, :people) i;
	SELECT setval(pg_get_serial_sequence('loyalty.member', 'member_id'), :people);
	INSERT INTO loyalty.identifier (member_id, home_member_id, namespace, value, verified, channel)
	SELECT i, i, n.namespace, CASE n.namespace WHEN 'phone' THEN '+49170' || (1000000 + i) WHEN 'email' THEN 'u' || i || '@bench.example' ELSE 's' || i END, true, 'bench'
	FROM generate_series(1, :people) i, (VALUES ('email'), ('phone'), ('shop')) n (namespace);
	-- what a good engineer would write by hand
	CREATE TABLE hand_member (member_id bigint PRIMARY KEY, status text NOT NULL DEFAULT 'active');
	CREATE TABLE hand_identifier (namespace text, value text, member_id bigint NOT NULL, PRIMARY KEY (namespace, value));
	INSERT INTO hand_member SELECT member_id FROM loyalty.member;
	INSERT INTO hand_identifier SELECT namespace, value, member_id FROM loyalty.identifier;
	-- a ledger to join with, and some who are absorbed
	CREATE TABLE bench_ledger AS SELECT i AS entry_id, 1 + (i * 7919::bigint) % :people AS member_id, i % 100 AS points FROM generate_series(1, :entries) i;
	VACUUM ANALYZE loyalty.member, loyalty.identifier, hand_member, hand_identifier, bench_ledger;
SQL

cat >"$dir/resolve.sql" <<-'SQL'
	\set i random(1, :people)
	SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', 'U' || :i || '@bench.example'));
SQL
cat >"$dir/hand.sql" <<-'SQL'
	\set i random(1, :people)
	SELECT m.member_id FROM hand_identifier i JOIN hand_member m ON m.member_id = i.member_id
	WHERE i.namespace = 'email' AND i.value = lower('U' || :i || '@bench.example');
SQL
paired --what 'member: resolve of a known person, one identifier' --rival 'primary-key join' --target '>= 0.70' --rounds "$ROUNDS" \
	--set people="$PEOPLE" --pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/resolve.sql" "$dir/hand.sql"
cat >"$dir/resolve3.sql" <<-'SQL'
	\set i random(1, :people)
	SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', 'u' || :i || '@bench.example', 'phone', '+49170' || (1000000 + :i), 'shop', 's' || :i));
SQL
cat >"$dir/hand3.sql" <<-'SQL'
	\set i random(1, :people)
	SELECT DISTINCT m.member_id FROM (VALUES ('email', 'u' || :i || '@bench.example'), ('phone', '+49170' || (1000000 + :i)), ('shop', 's' || :i)) v (namespace, value)
	JOIN hand_identifier i ON i.namespace = v.namespace AND i.value = v.value JOIN hand_member m ON m.member_id = i.member_id;
SQL
paired --what 'member: resolve of a known person, three identifiers' --rival 'primary-key join' --target '>= 0.70' --rounds "$ROUNDS" \
	--set people="$PEOPLE" --pgbench '-c 8 -j 2 -T 3 -M prepared' "$dir/resolve3.sql" "$dir/hand3.sql"

# one merge of two members with ten wallets each, and its undoing: milliseconds
psql -Xq -v ON_ERROR_STOP=1 -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SELECT loyalty.create_currency('bench_' || i) FROM generate_series(1, 9) i;
	SELECT loyalty.earn(m, 100, c.code) FROM generate_series(1, 200) m, loyalty.currency c, generate_series(1, 3);
	CREATE TABLE merge_time (ms float8, undo_ms float8);
	VACUUM ANALYZE loyalty.wallet, loyalty.ledger;
	CREATE PROCEDURE time_merges() LANGUAGE plpgsql AS $$
	DECLARE
		t0 timestamptz; t1 timestamptz; t2 timestamptz; m bigint;
	BEGIN
		FOR i IN 1 .. 100 LOOP
			t0 := clock_timestamp();
			SELECT merge_id INTO m FROM loyalty.merge_members(i, i + 100);
			COMMIT;
			t1 := clock_timestamp();
			PERFORM loyalty.unmerge_members(m);
			COMMIT;
			t2 := clock_timestamp();
			INSERT INTO merge_time VALUES (1000 * extract(epoch FROM t1 - t0), 1000 * extract(epoch FROM t2 - t1));
		END LOOP;
	END $$;
	CALL time_merges();
SQL
paired --what 'member: merge of two members with 10 wallets, 30 lots, with commit' --target '<= 9.99' --unit ms \
	--value "$(psql -XqAtc 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM merge_time')"
paired --what 'member: undoing it' --target '<= 9.99' --unit ms \
	--value "$(psql -XqAtc 'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY undo_ms) FROM merge_time')"

# one in fifty is absorbed
psql -Xq -v ON_ERROR_STOP=1 -v people="$PEOPLE" -o /dev/null <<-'SQL'
	INSERT INTO loyalty.member_alias (member_id, canonical_id, merge_id)
	SELECT i, i - 1, -i FROM generate_series(1000, :people, 50) i;
	ANALYZE loyalty.member_alias;
SQL
cat >"$dir/with.sql" <<-'SQL'
	SET work_mem = '64MB';
	\timing on
	SELECT count(*), sum(l.points) FROM bench_ledger l JOIN loyalty.member m ON m.member_id = loyalty.canonical_member(l.member_id);
SQL
cat >"$dir/without.sql" <<-'SQL'
	SET work_mem = '64MB';
	\timing on
	SELECT count(*), sum(l.points) FROM bench_ledger l JOIN loyalty.member m ON m.member_id = l.member_id;
SQL
paired --what "member: canonical_member() in a join over $ENTRIES rows" --rival 'the join without it' --target '<= 1.30' --rounds "$ROUNDS" \
	"$dir/with.sql" "$dir/without.sql"
psql -Xq -v ON_ERROR_STOP=1 -c 'DELETE FROM loyalty.member_alias' -c 'DROP TABLE bench_ledger, hand_member, hand_identifier, merge_time' -c 'DROP PROCEDURE time_merges'
