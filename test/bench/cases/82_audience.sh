# Sets of members against the SQL by hand and PostgreSQL's bit strings: four-way
# algebra over a million dense members, and over ids in ranges of several
# machines and at random through 64 bits; bytes; building; probing 200,000 rows;
# whether one member is in an audience, against a probe of a primary key; the
# refresh of an audience of a million, against the SELECT of its members.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
n=${SET_MEMBERS:-1000000}
psql -Xq -v ON_ERROR_STOP=1 -v n="$n" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	SET search_path = public, loyalty;
	CREATE FUNCTION share(i bigint, l bigint) RETURNS double precision LANGUAGE sql IMMUTABLE AS
	$$ SELECT (hashint8extended(i, l) & 1048575)::double precision / 1048576 $$;
	-- dense; of 64 machines with ranges of their own; anywhere
	CREATE TABLE spread AS SELECT i AS place, i AS dense, (i % 64 << 48) + i / 64 AS ranges, hashint8extended(i, 99) & 9223372036854775807 AS anywhere
	FROM generate_series(1::bigint, :n) i;
	CREATE TABLE dense AS SELECT l::int AS label_id, s.dense AS member_id FROM generate_series(1::bigint, 4) l, spread s WHERE share(s.place, l) < (ARRAY[.5, .3, .2, .4])[l] ORDER BY 1, 2;
	CREATE TABLE ranges AS SELECT l::int AS label_id, s.ranges AS member_id FROM generate_series(1::bigint, 4) l, spread s WHERE share(s.place, l) < (ARRAY[.5, .3, .2, .4])[l] ORDER BY 1, 2;
	CREATE TABLE anywhere AS SELECT l::int AS label_id, s.anywhere AS member_id FROM generate_series(1::bigint, 4) l, spread s WHERE share(s.place, l) < (ARRAY[.5, .3, .2, .4])[l] ORDER BY 1, 2;
	ALTER TABLE dense ADD PRIMARY KEY (label_id, member_id);
	ALTER TABLE ranges ADD PRIMARY KEY (label_id, member_id);
	ALTER TABLE anywhere ADD PRIMARY KEY (label_id, member_id);
	CREATE TABLE dense_set AS SELECT label_id, member_set_agg(member_id) AS set FROM dense GROUP BY 1;
	CREATE TABLE ranges_set AS SELECT label_id, member_set_agg(member_id) AS set FROM ranges GROUP BY 1;
	CREATE TABLE anywhere_set AS SELECT label_id, member_set_agg(member_id) AS set FROM anywhere GROUP BY 1;
	CREATE TABLE bits AS SELECT l AS label_id, string_agg(CASE WHEN x.member_id IS NULL THEN '0' ELSE '1' END, '' ORDER BY i)::bit varying AS bits
	FROM generate_series(1, 4) l CROSS JOIN generate_series(1::bigint, :n) i LEFT JOIN dense x ON x.label_id = l AND x.member_id = i GROUP BY 1;
	CREATE TABLE visit AS SELECT i AS visit_id, 1 + (share(i, 9) * (:n - 1))::bigint AS member_id FROM generate_series(1::bigint, 200000) i;
	VACUUM ANALYZE;
SQL
# (A and B or C) and not D, counted; what takes less than a millisecond is run once before it is measured, since a session's
# first statement takes longer than that
for kind in dense ranges anywhere; do
	query="SELECT count_members(((a.set & b.set) | c.set) - d.set) FROM ${kind}_set a, ${kind}_set b, ${kind}_set c, ${kind}_set d WHERE a.label_id = 1 AND b.label_id = 2 AND c.label_id = 3 AND d.label_id = 4;"
	cat >"$dir/set_$kind.sql" <<-SQL
		\o /dev/null
		SET search_path = public, loyalty;
		$query
		\timing on
		$query
	SQL
	cat >"$dir/join_$kind.sql" <<-SQL
		\o /dev/null
		\timing on
		SELECT count(*) FROM (SELECT a.member_id FROM $kind a JOIN $kind b USING (member_id) WHERE a.label_id = 1 AND b.label_id = 2) ab
			FULL JOIN (SELECT member_id FROM $kind WHERE label_id = 3) c USING (member_id)
			LEFT JOIN (SELECT member_id FROM $kind WHERE label_id = 4) d USING (member_id) WHERE d.member_id IS NULL;
	SQL
	a=$(psql -XqAt -c 'SET search_path = public, loyalty' -c "$query")
	b=$(sed '/^\\/d' "$dir/join_$kind.sql" | psql -XqAt)
	[ "$a" = "$b" ] || { echo "82_audience: $kind: $a by sets, $b by joins" >&2; exit 1; }
done
query="SELECT bit_count((a.bits & b.bits | c.bits) & ~d.bits) FROM bits a, bits b, bits c, bits d WHERE a.label_id = 1 AND b.label_id = 2 AND c.label_id = 3 AND d.label_id = 4;"
cat >"$dir/bits.sql" <<-SQL
	\o /dev/null
	$query
	\timing on
	$query
SQL
paired --what 'four sets of a million dense members: algebra, counted' --rival 'bit strings' --target '<= 1.00' --rounds 21 "$dir/set_dense.sql" "$dir/bits.sql"
paired --what 'the same' --rival 'joins' --target '<= 0.01' --rounds "$ROUNDS" "$dir/set_dense.sql" "$dir/join_dense.sql"
paired --what 'ids in ranges of 64 machines' --rival 'joins' --target '<= 0.01' --rounds "$ROUNDS" "$dir/set_ranges.sql" "$dir/join_ranges.sql"
paired --what 'ids anywhere in 63 bits' --rival 'joins' --rounds "$ROUNDS" "$dir/set_anywhere.sql" "$dir/join_anywhere.sql"
for kind in dense ranges anywhere; do
	read -r ours rows < <(psql -XqAt -F ' ' -c "SELECT sum(octet_length(set::bytea)) / 1e6, pg_total_relation_size('$kind') / 1e6 FROM ${kind}_set")
	paired --what "bytes of four sets: $kind" --rival 'rows with their key' $([ $kind = anywhere ] || echo --target '<=0.10') --value "$ours" --against "$rows" --unit MB
done
cat >"$dir/build.sql" <<-'SQL'
	\o /dev/null
	SET max_parallel_workers_per_gather = 0;
	SELECT loyalty.count_members(loyalty.member_set_agg(member_id)) FROM dense WHERE label_id = 1;
	\timing on
	SELECT loyalty.count_members(loyalty.member_set_agg(member_id)) FROM dense WHERE label_id = 1;
SQL
sed 's/loyalty.count_members(loyalty.member_set_agg(member_id))/count(DISTINCT member_id)/' "$dir/build.sql" >"$dir/distinct.sql"
paired --what 'building a set of half a million' --rival 'count(DISTINCT)' --target '<= 0.15' --rounds "$ROUNDS" "$dir/build.sql" "$dir/distinct.sql"
cat >"$dir/probe.sql" <<-'SQL'
	\o /dev/null
	SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT count(*) FROM visit v, dense_set s WHERE s.label_id = 1 AND loyalty.contains(s.set, v.member_id);
SQL
cat >"$dir/probe_join.sql" <<-'SQL'
	\o /dev/null
	SET max_parallel_workers_per_gather = 0;
	\timing on
	SELECT count(*) FROM visit JOIN dense x USING (member_id) WHERE label_id = 1;
SQL
paired --what 'which of 200,000 rows are of members of a set' --rival 'join' --target '<= 0.50' --rounds "$ROUNDS" "$dir/probe.sql" "$dir/probe_join.sql"

# live, one member at a time
psql -Xq -v ON_ERROR_STOP=1 -v n="$n" -o /dev/null <<-'SQL'
	SET client_min_messages = warning;
	INSERT INTO loyalty.member (member_id, joined_at) SELECT i, '2025-01-01' FROM generate_series(1, :n) i ON CONFLICT DO NOTHING;
	SELECT loyalty.define_label('bench_a'), loyalty.define_label('bench_b'), loyalty.define_label('bench_c'), loyalty.define_label('bench_d');
	INSERT INTO loyalty.member_label (member_id, label, says, source, confidence, valid_from)
	SELECT member_id, 'bench_' || chr(96 + label_id), 'yes', 'import', 1, '2025-01-01' FROM dense ORDER BY member_id, label_id;
	SELECT loyalty.define_audience('bench_one', 'bench_a'), loyalty.define_audience('bench_four', '(bench_a & bench_b | bench_c) - bench_d');
	CREATE TABLE hand_label (label text COLLATE "C", member_id bigint, PRIMARY KEY (label, member_id));
	INSERT INTO hand_label SELECT label, member_id FROM loyalty.member_label ORDER BY 1, 2;
	VACUUM ANALYZE loyalty.member_label, hand_label, loyalty.member;
SQL
cat >"$dir/one.sql" <<-SQL
	\set m random(1, $n)
	SELECT loyalty.in_audience(:m, 'bench_one');
SQL
cat >"$dir/one_by_hand.sql" <<-SQL
	\set m random(1, $n)
	SELECT EXISTS (SELECT FROM hand_label WHERE label = 'bench_a' AND member_id = :m);
SQL
cat >"$dir/four.sql" <<-SQL
	\set m random(1, $n)
	SELECT loyalty.in_audience(:m, 'bench_four');
SQL
cat >"$dir/four_by_hand.sql" <<-SQL
	\set m random(1, $n)
	SELECT (EXISTS (SELECT FROM hand_label WHERE label = 'bench_a' AND member_id = :m) AND EXISTS (SELECT FROM hand_label WHERE label = 'bench_b' AND member_id = :m)
		OR EXISTS (SELECT FROM hand_label WHERE label = 'bench_c' AND member_id = :m)) AND NOT EXISTS (SELECT FROM hand_label WHERE label = 'bench_d' AND member_id = :m);
SQL
paired --what 'in_audience(), one term, with two times and sources' --rival 'primary key' --target '>= 0.80' --rounds "$ROUNDS" --pgbench '-c 1 -T 5 -M prepared' "$dir/one.sql" "$dir/one_by_hand.sql"
paired --what 'in_audience(), four terms' --rival 'four primary keys' --target '>= 0.80' --rounds "$ROUNDS" --pgbench '-c 1 -T 5 -M prepared' "$dir/four.sql" "$dir/four_by_hand.sql"

# the refresh, of who holds a label that nearly all have
cat >"$dir/refresh.sql" <<-'SQL'
	\o /dev/null
	\timing on
	CALL loyalty.refresh_audience('bench_four');
SQL
cat >"$dir/refresh_by_hand.sql" <<-'SQL'
	\o /dev/null
	SET work_mem = '256MB';
	\timing on
	-- what speaks of each label, as of now: of each source the last, of the sources the first
	WITH speaks AS (
		SELECT DISTINCT ON (label, member_id) label, member_id, says FROM (
			SELECT DISTINCT ON (label, member_id, source) * FROM loyalty.member_label
			WHERE label IN ('bench_a', 'bench_b', 'bench_c', 'bench_d') AND valid_from <= now() AND (valid_until > now()) IS NOT FALSE
			ORDER BY label, member_id, source, recorded_at DESC, assertion_no DESC) s
		ORDER BY label, member_id, array_position('{self,operator,rule,model,import}', source), confidence DESC, valid_from DESC)
	SELECT member_id FROM speaks WHERE says = 'yes' GROUP BY member_id
	HAVING (bool_or(label = 'bench_a') AND bool_or(label = 'bench_b') OR bool_or(label = 'bench_c')) AND NOT bool_or(label = 'bench_d');
SQL
paired --what 'refresh of an audience among a million, four labels' --rival 'the SELECT of its members' --target '<= 1.50' --rounds 3 "$dir/refresh.sql" "$dir/refresh_by_hand.sql"
