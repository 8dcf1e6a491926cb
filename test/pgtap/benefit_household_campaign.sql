-- Rooms benefit and rule: campaigns whose points are the household's.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null

-- What a statement answers, and what members have after it.
CREATE FUNCTION answer(statement text, names text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
	name text;
BEGIN
	EXECUTE statement INTO said;
	FOREACH name IN ARRAY string_to_array(names, ' ') LOOP
		said := concat_ws(' ', said, has(name));
	END LOOP;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
CREATE TABLE who (name text PRIMARY KEY, id bigint);
INSERT INTO who SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'), effective_at => '2026-01-01')) FROM unnest('{a,b,c,d}'::text[]) n;
CREATE FUNCTION id(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT w.id FROM who w WHERE w.name = $1';
INSERT INTO who SELECT 'h', household_id FROM loyalty.create_household('H', id('a'), '2026-03-01');
SELECT loyalty.join_household(id('h'), id('b'), at => '2026-03-01') \g /dev/null
CREATE FUNCTION has(name text, at timestamptz DEFAULT NULL, currency text DEFAULT 'points') RETURNS bigint LANGUAGE sql AS $$SELECT (loyalty.balance(id($1), $3, $2)).available$$;
CREATE FUNCTION ordered(name text, external text, amount numeric, at timestamptz, document jsonb DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
$$SELECT r.points FROM loyalty.record_activity(id($1), 'order', $4, $3, external_id => $2, document => $5, idempotency_key => $2) r$$;
CREATE FUNCTION nr(external text) RETURNS bigint LANGUAGE sql AS 'SELECT a.activity_id FROM loyalty.activity a WHERE a.external_id = $1';
CREATE FUNCTION held(name text, at timestamptz) RETURNS text LANGUAGE sql AS $$SELECT coalesce(loyalty.tier_of(id($1), 'family', $2), 'none')$$;

SELECT throws_ok($$SELECT loyalty.define_campaign('x', '{"to": "friends", "then": [{"points": 1}]}')$$, 'LY521', NULL, 'to the member, or the household');
SELECT loyalty.create_currency('stamps') \g /dev/null
SELECT loyalty.define_measure('points', 'points', 'points') \g /dev/null
SELECT loyalty.define_ladder('family', '{"household": "best", "measures": [{"measure": "points", "window": "lifetime"}], "levels": [{"level": "silver", "any": {"points": 1000}}]}') \g /dev/null
SELECT loyalty.define_campaign('base', '{"to": "household", "then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_campaign('stamp', '{"then": [{"points": 1, "currency": "stamps"}], "when": {"path": "$.stamp == true"}}', '2026-01-01') \g /dev/null

-- A tier of the family: silver from 1,000.
SELECT is(answer(s.statement, s.names), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT ordered('a', 'o1', 600, '2026-04-01', '{"stamp": true}')$$, '', '600'),
	(2, $$SELECT held('a', '2026-04-02')$$, '', 'none'),
	(3, $$SELECT ordered('b', 'o2', 500, '2026-04-02')$$, '', '500'),
	(4, $$SELECT concat_ws(' ', has('h'), has('a'), has('b'), has('a', NULL, 'stamps'))$$, '', '1100 0 0 1'),
	(5, $$SELECT concat_ws(' ', held('h', '2026-04-03'), held('a', '2026-04-03'), held('b', '2026-04-03'), held('c', '2026-04-03'))$$, '', 'silver silver silver none'),
	-- a retry posts nothing more
	(6, $$SELECT ordered('b', 'o2', 500, '2026-04-02')$$, 'h', '500 1100'),
	(7, $$SELECT e.details ->> 'person_id' = id('b')::text FROM loyalty.ledger e WHERE e.member_id = id('h') AND e.points = 500$$, '', 'true'),
	(8, $$SELECT ordered('b', 'o3', 300, '2026-05-01')$$, '', '300'),
	(9, $$SELECT points FROM loyalty.leave_household(id('h'), id('b'), at => '2026-06-01')$$, '', '0'),
	(10, $$SELECT held('b', '2026-05-31') || ' ' || held('b', '2026-06-01')$$, '', 'silver none'),
	(11, $$SELECT has('h')$$, '', '1400'),
	-- what he brought back is found after he has left; then 1,400 less 500
	(12, $$SELECT points FROM loyalty.record_return(id('b'), nr('o2'), at => '2026-06-10')$$, '', '-500'),
	(13, $$SELECT has('h') || ' ' || has('b')$$, '', '900 0'),
	(14, $$SELECT held('a', '2026-06-09') || ' ' || held('a', '2026-06-10')$$, '', 'silver none')) s (n, statement, names, expected) ORDER BY s.n;

-- Late: A is in H from 1 March to 1 July.  An order of June that is recorded now is H's, one of July A's own, one from before joining, too.
SELECT is(answer(s.statement, s.names), s.expected, format('late %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT points FROM loyalty.leave_household(id('h'), id('a'), at => '2026-07-01')$$, '', '0'),
	(2, $$SELECT ordered('a', 'l1', 10, '2026-06-20')$$, 'h a', '10 910 0'),
	(3, $$SELECT ordered('a', 'l2', 20, '2026-07-01')$$, 'h a', '20 910 20'),
	(4, $$SELECT ordered('a', 'l3', 30, '2026-02-20')$$, 'h a', '30 910 50'),
	(5, $$SELECT ordered('a', 'l4', 5, '2026-06-30 23:59:59.999999')$$, 'h a', '5 915 50'),
	-- raised and lowered where it is; cancelled and reopened, too
	(6, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), 25)).points$$, 'h a', '15 930 50'),
	(7, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), 4)).points$$, 'h a', '-21 909 50'),
	(8, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), cancelled => true)).points$$, 'h a', '-4 905 50'),
	(9, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), cancelled => false)).points$$, 'h a', '4 909 50'),
	-- at another instant it is of the household of that instant, or of none
	(10, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), at => '2026-07-02')).points$$, 'h a', '0 905 54'),
	(11, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), 6)).points$$, 'h a', '2 905 56'),
	(12, $$SELECT (loyalty.revise_activity(id('a'), nr('l1'), 7, at => '2026-06-20')).points$$, 'h a', '1 912 50'),
	-- another member's, who is in no household
	(13, $$SELECT (loyalty.revise_activity(id('a'), nr('l4'), to_member_id => id('c'))).points$$, 'h c', '5 907 5')) s (n, statement, names, expected) ORDER BY s.n;

-- Of a window the household in which the member was last; what waits is activated there; limits are of the person.
SELECT loyalty.define_activity_kind('visit'), loyalty.define_activity_kind('trip'), loyalty.define_activity_kind('post') \g /dev/null
SELECT loyalty.define_campaign(c.name, c.definition, '2026-01-01') FROM (VALUES
	('month', '{"on": ["visit"], "to": "household", "window": "month", "having": {"activities": {">=": 2}}, "then": [{"points": 50}]}'::jsonb),
	('waits', '{"on": ["trip"], "to": "household", "available_after": "confirmed", "then": [{"points": 7}]}'),
	('once', '{"on": ["post"], "to": "household", "then": [{"points": 3}], "limits": {"member": [{"times": 1, "within": "lifetime"}]}}')) c (name, definition) \g /dev/null
INSERT INTO who SELECT 'k', household_id FROM loyalty.create_household('K', id('d'), '2026-08-01');
SELECT loyalty.join_household(id('k'), id('c'), at => '2026-08-01') \g /dev/null
SELECT is(answer(s.statement, s.names), s.expected, format('terms %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT sum(r.points) FROM unnest('{2026-08-02,2026-08-03}'::timestamptz[]) t, LATERAL loyalty.record_activity(id('d'), 'visit', t) r$$, '', '50'),
	(2, $$SELECT has('k') || ' ' || has('d')$$, '', '50 0'),
	(3, $$SELECT (loyalty.record_activity(id('d'), 'trip', '2026-08-04', confirmed => false, external_id => 't')).points$$, 'k', '7 50'),
	(4, $$SELECT (loyalty.revise_activity(id('d'), nr('t'), confirmed => true)).points$$, 'k', '0 57'),
	(5, $$SELECT string_agg((loyalty.record_activity(id(n), 'post', '2026-08-05')).points::text, ' ') FROM unnest('{d,d,c}'::text[]) n$$, '', '3 0 3'),
	(6, $$SELECT has('k') || ' ' || has('d') || ' ' || has('c')$$, '', '63 0 5')) s (n, statement, names, expected) ORDER BY s.n;

-- Own is what campaigns gave for what a person did, and what it brought; merged persons are one.
SELECT is(answer(s.statement, s.names), s.expected, format('own %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT (loyalty.transfer(id('c'), id('k'), 5, effective_at => '2026-08-06')).available$$, '', '0'),
	(2, $$SELECT points FROM loyalty.leave_household(id('k'), id('c'), 'own', '2026-08-07')$$, '', '8'),
	(3, $$SELECT has('k') || ' ' || has('c')$$, '', '60 8'),
	(4, $$SELECT points FROM loyalty.leave_household(id('k'), id('d'), 'own', '2026-08-08')$$, '', '60'),
	(5, $$SELECT has('k') || ' ' || has('d')$$, '', '0 60')) s (n, statement, names, expected) ORDER BY s.n;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- By statements, to the same effect.
SET loyalty.table_access = off;
SELECT is(answer($$SELECT ordered('a', 's1', 11, '2026-06-21')$$, 'h'), '11 918', 'by statements');
SELECT is(answer($$SELECT (loyalty.record_return(id('a'), nr('s1'))).points$$, 'h'), '-11 907', 'and back');
RESET loyalty.table_access;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
