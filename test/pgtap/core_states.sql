-- States of aggregates, type aggregate_state: what goes over the wire in parts is
-- what one pass over all rows gives, and nothing that comes from outside is
-- taken for one that it is not.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();

-- What a query answers, or the SQLSTATE and the message it ends with.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text;
BEGIN
	EXECUTE query INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' ', SQLSTATE, SQLERRM);
END $$;

-- ---- Which aggregates a distributed engine can push down.
CREATE VIEW ours AS SELECT p.oid, p.proname AS name, a.*, obj_description(p.oid, 'pg_proc') AS comment
FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid WHERE p.pronamespace = 'loyalty'::regnamespace;
SELECT set_eq($$SELECT name FROM ours WHERE aggtranstype = 'internal'::regtype$$,
	ARRAY['window_funnel_agg', 'funnel_agg', 'sequence_match_agg', 'sequence_count_agg', 'tier_facts_agg', 'tier_points_agg']::name[],
	'the state of an aggregate has a public type, unless it is all the rows of a member');
SELECT is_empty($$SELECT name FROM ours WHERE aggtranstype = 'internal'::regtype AND comment !~ 'no part of it is computed on'$$, 'and then its comment says so');
SELECT is_empty($$SELECT name FROM ours WHERE aggtranstype <> 'internal'::regtype AND (aggcombinefn = 0 OR aggserialfn <> 0 OR aggkind <> 'n')$$,
	'all others are combined as they are');

-- ---- In parts, as an engine does it: the transition of each part, its state as text, combined.
CREATE SCHEMA part;
CREATE SCHEMA whole;
DO $$
DECLARE a record;
BEGIN
	FOR a IN SELECT * FROM ours WHERE aggtranstype = 'loyalty.aggregate_state'::regtype LOOP
		EXECUTE format('CREATE AGGREGATE part.%I(%s) (SFUNC = %s, STYPE = loyalty.aggregate_state)', a.name, pg_get_function_identity_arguments(a.oid), a.aggtransfn);
		EXECUTE format('CREATE AGGREGATE whole.%I(loyalty.aggregate_state) (SFUNC = %s, STYPE = loyalty.aggregate_state, FINALFUNC = %s)', a.name, a.aggcombinefn, a.aggfinalfn);
	END LOOP;
END $$;
CREATE TABLE event AS SELECT g % 4 AS k, g % 13 AS member_id, timestamptz '2024-01-01' + g * 37 % 100 * interval '7 hours' AS at,
	(g % 11 - 2 + g % 3 / 4.0)::numeric AS amount, (g % 23 * 7 - 40)::bigint AS points, timestamptz '2025-01-01' + g * 7919 % 600 * interval '1 day' AS expires_at,
	nullif('c' || g * 7 % 6, 'c0') AS channel, nullif(g % 5, 4)::numeric AS discount, 'order ' || g / 3 AS key FROM generate_series(1, 400) g;
INSERT INTO event (k) SELECT generate_series(2, 5);
CREATE FUNCTION one(at timestamptz) RETURNS activity_summary LANGUAGE sql AS $$ SELECT activity_agg(at, 'week', 'UTC') $$;
CREATE FUNCTION bought(at timestamptz, amount numeric) RETURNS rfm LANGUAGE sql AS $$ SELECT rfm_agg(at + i * interval '9 days', abs(amount) + i) FROM generate_series(0, abs(amount)::int % 4) i $$;
CREATE FUNCTION had(points bigint, at timestamptz, expires_at timestamptz) RETURNS points_balance LANGUAGE sql PARALLEL SAFE AS $$ SELECT balance_agg(points, coalesce(at, '2024-01-01'), expires_at) $$;
CREATE FUNCTION set_of(member_id bigint) RETURNS member_set LANGUAGE sql PARALLEL SAFE AS $$ SELECT member_set_agg(m) FROM unnest(ARRAY[member_id, member_id * 3, 7]) m $$;
CREATE TABLE asked (name, args) AS VALUES
	('balance_agg', 'points, coalesce(at, ''2024-01-01''), expires_at'),
	('ledger_agg', 'CASE WHEN points > 0 THEN ''earn'' ELSE ''redeem'' END, nullif(abs(points), 0) + 1, coalesce(at, ''2024-01-01''), at + k * interval ''1 day'', expires_at) FILTER (WHERE points <> 0'),
	('components_agg', 'member_id, k'), ('components_text_agg', 'channel, key'),
	('rfm_agg_by', 'at, amount, ''day'', ''Europe/Rome'''), ('rfm_agg_by', 'at, amount, ''month'', ''UTC'''), ('rfm_agg_by_key', 'at, amount, key'),
	('rfm_breaks', 'bought(at, amount), ''2026-01-01'', ''quantile'''), ('rfm_breaks', 'bought(at, amount), ''2026-01-01'', ''ntile'''),
	('rfm_breaks', 'bought(at, amount), ''2026-01-01'', ''mean'''), ('rfm_breaks_keyed', 'bought(at, amount), ''2026-01-01'', ''ntile'', key'),
	('clv_agg', 'bought(at, amount), ''2026-01-01'''), ('clv_holdout_agg', 'bought(at, amount), ''2025-06-01'', bought(at + interval ''600 days'', amount), ''2026-12-01'''),
	('clv_rollup', '(SELECT clv_agg(bought(at, amount), ''2026-01-01''))'),
	('retention_agg', 'one(at)'), ('retention_signup_agg', 'at, one(at + amount * interval ''1 day''), ''week'', ''UTC'''),
	('retention_events_agg', 'member_id, at, ''week'', ''UTC'''), ('retention_events_agg', 'member_id, at + amount * interval ''300 days'', ''week'', ''UTC'''),
	('cohort_rollup', '(SELECT retention_agg(one(at)))'), ('repurchase_agg', 'one(at)'), ('repurchase_rollup', '(SELECT repurchase_agg(one(at)))'),
	('concentration_agg', 'amount'), ('concentration_rollup', '(SELECT concentration_agg(amount))'),
	('preferred_hour_agg', 'at, ''UTC'''), ('preferred_weekday_agg', 'at, NULL'), ('preferred_value_agg', 'channel'), ('discount_agg', 'amount, discount'),
	('member_set_agg', 'member_id'), ('member_set_rollup', 'set_of(member_id)'), ('outstanding_agg', 'had(points, at, expires_at), ''2026-01-01'', ''month'', ''UTC'''),
	('entry_triangle_agg', '''earn'', points, at, expires_at, NULL, NULL, NULL, ''month'', ''UTC'''),
	('redemption_triangle_agg', 'at, CASE WHEN points > 0 THEN points END, CASE WHEN points <= 0 THEN at + interval ''40 days'' END, CASE WHEN points <= 0 THEN - points END, CASE WHEN points > 0 THEN expires_at END, ''month'', ''UTC''');
-- an argument that is an aggregate itself is one of the row alone
UPDATE asked SET args = regexp_replace(args, '^\(SELECT (.*)\)$', '(SELECT \1 FROM (SELECT event.at, event.amount OFFSET 0) event)') WHERE args ~ '^\(SELECT';
SELECT set_eq('SELECT name FROM asked', $$SELECT name::text FROM ours WHERE aggtranstype = 'loyalty.aggregate_state'::regtype$$, 'all aggregates with such a state are asked');
SELECT isnt(outcome(format('SELECT loyalty.%s(%s)::text FROM event', name, args)), NULL, format('%s(%s) has an answer', name, args)) FROM asked;
SELECT is(outcome(format('SELECT whole.%s(s::text::loyalty.aggregate_state)::text FROM (SELECT part.%1$s(%s) AS s FROM event WHERE %s GROUP BY k) x', name, args, filter)),
	outcome(format('SELECT loyalty.%s(%s)::text FROM event WHERE %s', name, args, filter)), format('%s(%s) in parts, where %s', name, args, filter))
FROM asked, unnest('{true,false,k = 5,k > 2,amount > 3,member_id = 3}'::text[]) filter;
SELECT is(outcome(format('SELECT whole.%s(s)::text FROM (SELECT part.%1$s(%s) AS s FROM event GROUP BY k ORDER BY k DESC) x', name, args)),
	outcome(format('SELECT loyalty.%s(%s)::text FROM event', name, args)), format('%s(%s) in parts that stay in memory', name, args)) FROM asked;
-- a window's frame begins anew, and a part is read while it still grows
CREATE FUNCTION windowed(name text, args text, frame text) RETURNS text LANGUAGE sql AS $$
	SELECT outcome(format('SELECT md5(string_agg(a, '';'' ORDER BY n)) FROM (SELECT row_number() OVER () AS n, (loyalty.%s(%s) OVER (ORDER BY i ROWS BETWEEN %s))::text AS a
		FROM (SELECT row_number() OVER () AS i, * FROM event WHERE points <> 0 LIMIT 60) event) x', name, split_part(args, ') FILTER', 1), frame)) $$;
CREATE FUNCTION each_alone(name text, args text, before int) RETURNS text LANGUAGE sql AS $$
	SELECT outcome(format('SELECT md5(string_agg(a, '';'' ORDER BY n)) FROM (SELECT n, (SELECT loyalty.%s(%s) FROM (SELECT row_number() OVER () AS i, * FROM event WHERE points <> 0 LIMIT 60) event
		WHERE i BETWEEN n - %s AND n)::text AS a FROM generate_series(1, 60) n) x', name, split_part(args, ') FILTER', 1), before)) $$;
SELECT is(windowed(name, args, 'UNBOUNDED PRECEDING AND CURRENT ROW'), each_alone(name, args, 1000), format('%s(%s) over a window that grows', name, args)) FROM asked WHERE args !~ 'SELECT';
SELECT is(windowed(name, args, '3 PRECEDING AND CURRENT ROW'), each_alone(name, args, 3), format('%s(%s) over a window that moves', name, args)) FROM asked WHERE args !~ 'SELECT';

-- ---- Plans: parallel, and sorted groups, and grouping sets.
CREATE TABLE many AS SELECT e.*, i FROM event e, generate_series(1, 100) i WHERE e.member_id IS NOT NULL;
ALTER TABLE many SET (parallel_workers = 3);
ANALYZE many;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
CREATE FUNCTION grouped(query text, settings text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	PERFORM set_config(split_part(s, '=', 1), split_part(s, '=', 2), true) FROM unnest(string_to_array(settings, ',')) s;
	IF settings ~ 'workers_per_gather=3' AND NOT EXISTS (SELECT FROM explained(query) l WHERE l ~ 'Partial') THEN
		RETURN 'no parallel plan';
	END IF;
	EXECUTE format('SELECT md5(string_agg(x::text, '';'' ORDER BY x::text)) FROM (%s) x', query) INTO answer;
	RETURN answer;
END $$;
CREATE VIEW query AS SELECT format('SELECT member_id, loyalty.%s(%s) AS a FROM many GROUP BY member_id', name, args) AS by_member,
	format('SELECT member_id, k, loyalty.%s(%s) AS a FROM many GROUP BY GROUPING SETS ((member_id), (k), ())', name, args) AS by_sets,
	format('SELECT member_id, NULL::int AS k, loyalty.%1$s(%2$s) AS a FROM many GROUP BY member_id UNION ALL SELECT NULL, k, loyalty.%1$s(%2$s) FROM many GROUP BY k UNION ALL SELECT NULL, NULL, loyalty.%1$s(%2$s) FROM many', name, args) AS separately FROM asked WHERE args !~ 'SELECT|bought|one\(';
SELECT is(grouped(by_member, 'max_parallel_workers_per_gather=3,enable_hashagg=' || hash), grouped(by_member, 'max_parallel_workers_per_gather=0'), format('in parallel, hashed %s: %s', hash, by_member))
FROM query, unnest('{on,off}'::text[]) hash;
SELECT is(grouped(by_member, 'max_parallel_workers_per_gather=0,enable_hashagg=off'), grouped(by_member, 'max_parallel_workers_per_gather=0'), 'sorted: ' || by_member) FROM query;
SELECT is(grouped(by_sets, 'max_parallel_workers_per_gather=0,enable_hashagg=' || hash), grouped(separately, 'max_parallel_workers_per_gather=0'), format('grouping sets, hashed %s: %s', hash, by_sets))
FROM query, unnest('{on,off}'::text[]) hash;
RESET parallel_setup_cost;
RESET parallel_tuple_cost;
RESET min_parallel_table_scan_size;

-- ---- What comes from outside.
CREATE TABLE state AS SELECT name, args, NULL::text AS text FROM asked;
DO $$ DECLARE a record; BEGIN FOR a IN TABLE asked LOOP
	EXECUTE format('UPDATE state SET text = (SELECT part.%s(%s)::text FROM (SELECT * FROM event WHERE points <> 0 LIMIT 9) event) WHERE (name, args) = (%L, %L)', a.name, a.args, a.name, a.args);
END LOOP; END $$;
SELECT is(outcome(format('SELECT %L::aggregate_state', text)), text, 'in and out: ' || name) FROM state;
SELECT is(encode(aggregate_state_send(text::aggregate_state), 'hex'), substr(text, 3), 'its bytes: ' || name) FROM state;
-- neither of its beginnings is one, and none is longer
SELECT is_empty(format($q$SELECT n, o FROM (SELECT n, outcome(format('SELECT whole.%s(%%L::aggregate_state)::text', substr(%L, 1, 2 + 2 * n))) AS o FROM generate_series(0, %s) n) x
	WHERE o !~ '^(22P03|08P01|22P02|LY|22021)'$q$, name, text, length(text) / 2 - 2), 'a part of the bytes is refused: ' || name) FROM state WHERE length(text) < 4000;
-- a run of entries may end with the mark of another
SELECT matches(outcome(format('SELECT %L::aggregate_state', text || CASE WHEN name ~ '^(balance|ledger)_agg' THEN '20' ELSE '00' END)), '^(22P03|22P02|LY)', 'so is a byte more: ' || name) FROM state;
-- whatever is changed in it, it is taken or refused, and neither is a fault of ours
SELECT is_empty(format($q$SELECT n, o FROM (SELECT n, outcome(format('SELECT whole.%s(s) FROM unnest(ARRAY[%%L, %%L]::aggregate_state[]) s',
		overlay(%2$L placing lpad(to_hex(get_byte(substr(%2$L, 3)::text::bytea, 0) # (n * 37 %% 255 + 1)), 2, '0') from 3 + 2 * n for 2), %2$L)) AS o FROM generate_series(2, %3$s) n) x
	WHERE o ~ '^(XX|57|58|53)'$q$, name, text, length(text) / 2 - 2), 'a byte that is another does no harm: ' || name) FROM state WHERE length(text) < 4000;
SELECT is(outcome(format('SELECT whole.%s(%L)', b.name, a.text)) ~ '^42804 a state of ', a.kind <> b.kind, format('a state of %s for %s', a.name, b.name))
FROM (SELECT DISTINCT ON (name) name, text, substr(text, 3, 2) AS kind FROM state) a, (SELECT DISTINCT name, substr(text, 3, 2) AS kind FROM state) b;
SELECT matches(outcome(format('SELECT %L::aggregate_state', v)), '^(22P03|22P02) ', format('"%s" is none', v)) FROM unnest('{"","\\x","\\x01","\\x0001","\\xff01","\\x0102"}'::text[]) v;
-- rows of one kind of node for the aggregate of the other, counts of one kind for the other
SELECT is(outcome(format('SELECT whole.%s(%L)', name, other.text)), '22P03 invalid aggregate_state of ' || why, name || ' of the other')
FROM (VALUES ('components_agg', 'components_text_agg', 'components_agg or components_text_agg: its nodes are of the other type')) v(name, of, why), LATERAL (SELECT text FROM state WHERE state.name = of LIMIT 1) other;
CREATE AGGREGATE begun(bigint, timestamptz, timestamptz) (SFUNC = balance_agg_transfn, STYPE = aggregate_state, FINALFUNC = balance_agg_finalfn, INITCOND = '\x010100');
SELECT is(outcome('SELECT begun(points, at, expires_at) FROM event'), '0A000 balance_agg or ledger_agg does not begin with a state', 'none is begun from outside');
SELECT is(outcome(format('SELECT %s(NULL)', f)), '0A000 ' || f || ' was called outside an aggregate', f || ' is no function for itself')
FROM (SELECT DISTINCT aggfinalfn::text AS f FROM ours WHERE aggtranstype = 'loyalty.aggregate_state'::regtype) x;

-- ---- Memory: of many small groups, what it was with states of type internal (PostgreSQL 15), and a tenth more
-- (a fourth on a server with assertions, which marks the end of every piece of memory).
CREATE TABLE small AS SELECT g % 300000 AS member_id, (g % 7 * 100 - 150)::bigint AS points, timestamptz '2024-01-01' + g / 300000 * interval '17 days 3.123456 s' + g % 1000 * interval '1.7 s' AS at
FROM generate_series(0, 899999) g;
ANALYZE small;
SET max_parallel_workers_per_gather = 0;
SET work_mem = '1GB';
CREATE FUNCTION bytes_a_group(call text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE format('EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) SELECT %s FROM small GROUP BY member_id', call) INTO plan;
	RETURN (plan -> 0 -> 'Plan' ->> 'Peak Memory Usage')::bigint * 1024 / 300000;
END $$;
SELECT cmp_ok(bytes_a_group(call), '<=', bytes * CASE current_setting('debug_assertions') WHEN 'on' THEN 125 ELSE 110 END / 100, call) FROM (VALUES ('balance_agg(points, at, NULL)', 265), ('ledger_agg(''earn'', abs(points), at, NULL, NULL)', 265),
	('rfm_agg_by(at, points, ''day'', ''UTC'')', 545), ('rfm_agg_by_key(at, points, points::text)', 824), ('preferred_hour_agg(at, ''UTC'')', 405),
	('preferred_value_agg(points::text)', 461), ('discount_agg(points, 1)', 293)) v(call, bytes);
RESET work_mem;

-- ---- Many lots of one group, in any order: linear, and the lots that a list in order would have.
CREATE TABLE lot_row AS SELECT CASE WHEN g % 5 = 0 THEN -(g * 31 % 900) ELSE g * 17 % 300 + 1 END::bigint AS points,
	timestamptz '2024-01-01' + g / 3 * interval '1 hour' AS at, timestamptz '2024-01-01' + g / 3 * interval '1 hour' + (g::bigint * 104729 % 3001 - 20) * interval '1 hour' AS expires_at
FROM generate_series(1, 3000) g;
CREATE FUNCTION by_list(until timestamptz, OUT points numeric, OUT lots bigint, OUT debt numeric) LANGUAGE plpgsql AS $$
DECLARE
	r record;
	l record;
	need bigint;
BEGIN
	CREATE TEMP TABLE open_lot (id serial PRIMARY KEY, points bigint, expires_at timestamptz) ON COMMIT DROP;
	debt := 0;
	-- at one instant what comes in first, then by expiry, then by amount
	FOR r IN SELECT * FROM lot_row t WHERE t.at <= until AND t.points <> 0
		ORDER BY t.at, t.points < 0, CASE WHEN t.points > 0 THEN t.expires_at END, abs(t.points) LOOP
		DELETE FROM open_lot o WHERE o.expires_at <= r.at;
		need := abs(r.points);
		IF r.points > 0 THEN
			IF r.expires_at > r.at THEN
				need := greatest(need - debt, 0);
				debt := greatest(debt - r.points, 0);
			END IF;
			INSERT INTO open_lot (points, expires_at) SELECT need, r.expires_at WHERE need > 0;
			CONTINUE;
		END IF;
		FOR l IN SELECT * FROM open_lot o ORDER BY o.expires_at, o.id LOOP
			EXIT WHEN need = 0;
			UPDATE open_lot o SET points = o.points - least(need, l.points) WHERE o.id = l.id;
			need := need - least(need, l.points);
		END LOOP;
		DELETE FROM open_lot o WHERE o.points = 0;
		debt := debt + need;
	END LOOP;
	SELECT coalesce(sum(o.points), 0), count(*) INTO points, lots FROM open_lot o WHERE o.expires_at > until;
	DROP TABLE open_lot;
END $$;
SELECT is((SELECT row(available(b, until), (SELECT count(*) FROM balance_lots(b, until) WHERE state = 'available'), debt(b, until))::text
	FROM (SELECT balance_agg(points, at, expires_at) FILTER (WHERE at <= until) AS b FROM lot_row) x), (SELECT x::text FROM by_list(until) x), 'the lots at ' || until)
FROM unnest('{2024-01-02,2024-01-10 05:00,2024-01-25,2024-02-11,2024-03-01}'::timestamptz[]) until;
SELECT is(fold(ledger_agg(CASE WHEN points > 0 THEN 'earn' ELSE 'redeem' END, abs(points), at, NULL, expires_at))::text, balance_agg(points, at, expires_at)::text, 'a ledger folds to the same')
FROM lot_row WHERE points <> 0;
SET statement_timeout = '60 s';
SELECT is(lots, 400000::bigint, 'four hundred thousand lots in a minute') FROM (SELECT count(*) AS lots FROM
	(SELECT balance_agg(1 + i % 3, timestamptz '2000-01-01' + (i::bigint * 7919 % 3000017) * interval '1 s', timestamptz '2030-01-01' + (i::bigint * 104729 % 3000017) * interval '1 s') AS b FROM generate_series(1, 400000) i) x,
	balance_lots(b, '2001-01-01')) y;
RESET statement_timeout;
SELECT * FROM finish();
