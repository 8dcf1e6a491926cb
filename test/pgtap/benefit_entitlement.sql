-- Room benefit, entitlements: quotas by level, periods, what is carried over, reservations, further uses; members who are merged.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.use_entitlement(1, 'x')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

-- What a statement answers, in words: its value, or the SQLSTATE.
CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement INTO said;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
CREATE FUNCTION used(member_id bigint, benefit text, at timestamptz, quantity bigint DEFAULT 1, until timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT coalesce(u.remaining::text, 'any') FROM loyalty.use_entitlement($1, $2, $4, $3, $5) u$$;
-- allowed/used/remaining and why
CREATE FUNCTION has(member_id bigint, benefit text, as_of timestamptz, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS
$$SELECT format('%s/%s/%s %s', coalesce(e.allowed::text, 'any'), e.used, coalesce(e.remaining::text, 'any'), e.why)
FROM loyalty.entitlements($1, $3, $4) e WHERE e.benefit = $2$$;
CREATE FUNCTION last_use(member_id bigint) RETURNS bigint LANGUAGE sql AS 'SELECT max(a.use_id) FROM loyalty.entitlement_act a WHERE a.member_id = $1';

-- definitions: mistakes are named with their place
SELECT throws_ok(format('SELECT loyalty.define_benefit(''wrong'', %L)', d.definition), 'LY602', 'invalid definition of a benefit', d.definition) FROM (VALUES
	('{"kind": "entitlement"}'), ('{"kind": "entitlement", "quota": -1}'), ('{"kind": "entitlement", "quota": 1.5}'), ('{"kind": "entitlement", "quota": {}}'),
	('{"kind": "entitlement", "quota": {"club": {}}}'), ('{"kind": "entitlement", "quota": {"club": {"gold": 1}, "other": {"a": 1}}}'), ('{"kind": "entitlement", "quota": []}'),
	('{"kind": "entitlement", "quota": 1, "period": "fortnight"}'), ('{"kind": "entitlement", "quota": 1, "period": "month", "rolling": "3 days"}'),
	('{"kind": "entitlement", "quota": 1, "level": "best"}'), ('{"kind": "entitlement", "quota": 1, "anchor": "membership"}'),
	('{"kind": "entitlement", "quota": 1, "carry_over": 1}'), ('{"kind": "entitlement", "quota": 1, "rolling": "3 days", "carry_over": 1}'),
	('{"kind": "entitlement", "quota": 1, "discount": {"amount": 1}}'), ('{"kind": "entitlement", "quota": 1, "available": {"nonsense": 1}}'), ('{"kind": "lounge"}')) d (definition);
SELECT throws_ok($$SELECT loyalty.use_entitlement(1, 'nothing')$$, 'LY601', NULL, 'none of this name');
SELECT throws_ok(format($$SELECT loyalty.define_benefit('never', '{"kind": "entitlement", "quota": 1}', %L)$$, i), 'LY003', 'effective_from must be finite', i) FROM unnest('{-infinity,infinity}'::text[]) i;

-- A quota by level: gold 4 a year, platinum 8; three uses as gold; platinum from 1 June; silver from 1 September.
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "visits", "window": "lifetime"}],
	"levels": [{"level": "silver", "any": {"visits": 1000}}, {"level": "gold", "any": {"visits": 2000}}, {"level": "platinum", "any": {"visits": 3000}}]}') \g /dev/null
CREATE FUNCTION granted(member_id bigint, level text, from_at timestamptz, until timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
$$SELECT g.grant_id FROM loyalty.grant_tier($1, 'club', $2, 'manual', $3, $4) g$$;
SELECT granted(1, 'silver', '2026-01-01'), granted(1, 'gold', '2026-01-01', '2026-06-01'), granted(1, 'platinum', '2026-06-01', '2026-09-01') \g /dev/null
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('lounge', '{"kind": "entitlement", "quota": {"club": {"gold": 4, "platinum": 8}}, "period": "year"}'::jsonb),
	('lounge_best', '{"kind": "entitlement", "quota": {"club": {"gold": 4, "platinum": 8}}, "period": "year", "level": "best"}'),
	('lounge_start', '{"kind": "entitlement", "quota": {"club": {"gold": 4, "platinum": 8}}, "period": "year", "level": "joined"}')) b (name, definition) \g /dev/null
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT used(1, 'lounge', '2026-02-01')$$, '3'),
	(2, $$SELECT used(1, 'lounge', '2026-03-01', 2)$$, '1'),
	(3, $$SELECT has(1, 'lounge', '2026-05-31')$$, '4/3/1 open'),
	(4, $$SELECT has(1, 'lounge', '2026-06-01')$$, '8/3/5 open'),
	(5, $$SELECT has(1, 'lounge', '2026-07-01')$$, '8/3/5 open'),
	(6, $$SELECT has(1, 'lounge', '2026-09-01')$$, '0/3/0 not_entitled'),
	(7, $$SELECT used(1, 'lounge', '2026-09-02')$$, 'LY609'),
	(8, $$SELECT used(1, 'lounge', '2026-05-31', 2)$$, 'LY612'),
	(9, $$SELECT has(1, 'lounge_best', '2026-09-01')$$, '8/0/0 not_entitled'),
	(10, $$SELECT used(1, 'lounge_best', '2026-09-01')$$, 'LY609'),
	(11, $$SELECT has(1, 'lounge_best', '2026-05-31')$$, '4/0/4 open'),
	(12, $$SELECT has(1, 'lounge_start', '2026-07-01')$$, '4/0/4 open'),
	-- as of an instant, by what was known at one
	(13, $$SELECT has(1, 'lounge', '2026-02-15')$$, '4/1/3 open'),
	(14, $$SELECT has(1, 'lounge', '2026-05-31', '2026-01-01')$$, '4/0/4 open'),
	(15, $$SELECT has(1, 'lounge', '2027-01-01')$$, '0/0/0 not_entitled'),
	-- a use that is given back lies in its own period, and can be used again there
	(16, $$SELECT remaining FROM loyalty.restore_use(1, last_use(1), '2026-05-31')$$, '3'),
	(17, $$SELECT loyalty.restore_use(1, last_use(1), '2026-05-31')$$, 'LY622'),
	(18, $$SELECT loyalty.restore_use(1, 0)$$, 'LY620'),
	(19, $$SELECT loyalty.restore_use(2, last_use(1))$$, 'LY620'),
	(20, $$SELECT has(1, 'lounge', '2026-05-01')$$, '4/3/1 open'),
	(21, $$SELECT loyalty.restore_use(1, (SELECT min(use_id) FROM loyalty.entitlement_act WHERE member_id = 1), '2026-01-01')$$, 'LY003'),
	-- arguments
	(22, $$SELECT used(1, 'lounge', '2026-05-31', 0)$$, 'LY003'),
	(23, $$SELECT used(1, 'lounge', 'infinity')$$, 'LY003'),
	(24, $$SELECT used(1, 'lounge', '2026-05-31', 1, '2026-05-31')$$, 'LY003'),
	(25, $$SELECT used(NULL, 'lounge', '2026-05-31')$$, 'LY003'),
	(26, $$SELECT used(1, NULL, '2026-05-31')$$, 'LY003'),
	-- a retry answers what the first call did
	(27, $$SELECT (use_id = last_use(1))::text || replayed FROM loyalty.use_entitlement(1, 'lounge', 1, '2026-05-30', idempotency_key => 'k')$$, 'truefalse'),
	(28, $$SELECT remaining::text || replayed FROM loyalty.use_entitlement(1, 'lounge', 1, '2026-05-30', idempotency_key => 'k')$$, '2true'),
	(29, $$SELECT loyalty.use_entitlement(1, 'lounge', 2, '2026-05-30', idempotency_key => 'k')$$, 'LY004')) s (n, statement, expected) ORDER BY s.n;

-- periods: definition, joined, asked at, from, until
SELECT loyalty.set_joined(10, '2024-02-29 15:00+00'), loyalty.set_joined(11, '2025-01-31 23:30+00') \g /dev/null
SELECT loyalty.define_benefit(b.name, ('{"kind": "entitlement", "quota": 3, "time_zone": "Europe/Berlin"}'::jsonb || b.definition)) FROM (VALUES
	('p_day', '{"period": "day"}'::jsonb), ('p_week', '{"period": "week"}'), ('p_quarter', '{"period": "quarter"}'), ('p_year', '{"period": "year"}'), ('p_ever', '{}'),
	('p_joined', '{"period": "year", "anchor": "joined"}'), ('p_month', '{"period": "month", "anchor": "joined"}')) b (name, definition) \g /dev/null
SELECT is((SELECT format('%s %s', (e.period_start AT TIME ZONE 'Europe/Berlin')::date, (e.period_end AT TIME ZONE 'Europe/Berlin')::date) FROM loyalty.entitlements(p.member_id, p.at) e WHERE e.benefit = p.benefit),
	p.expected, format('%s of %s at %s', p.benefit, p.member_id, p.at)) FROM (VALUES
	(10, 'p_day', timestamptz '2026-03-28 23:30+00', '2026-03-29 2026-03-30'),
	(10, 'p_week', '2026-03-29 12:00+00', '2026-03-23 2026-03-30'),
	(10, 'p_quarter', '2026-03-31 22:00+00', '2026-04-01 2026-07-01'),
	(10, 'p_year', '2026-12-31 22:59+00', '2026-01-01 2027-01-01'),
	(10, 'p_ever', '2026-12-31 22:59+00', ' '),
	-- from the anchor, not chained
	(10, 'p_joined', '2024-02-29 15:00+00', '2024-02-29 2025-02-28'),
	(10, 'p_joined', '2025-02-28 00:00+00', '2025-02-28 2026-02-28'),
	(10, 'p_joined', '2027-12-01 00:00+00', '2027-02-28 2028-02-29'),
	(10, 'p_joined', '2028-02-28 12:00+00', '2027-02-28 2028-02-29'),
	(10, 'p_joined', '2028-02-29 12:00+00', '2028-02-29 2029-02-28'),
	-- 31 January, 23:30 in London, is 1 February in Berlin
	(11, 'p_month', '2025-03-31 12:00+00', '2025-03-01 2025-04-01'),
	(10, 'p_month', '2025-02-28 12:00+00', '2025-02-28 2025-03-29')) p (member_id, benefit, at, expected);
SELECT is(has(12, 'p_joined', now()), '0/0/0 not_joined', 'of whom nobody knows when it joined there is nothing to count from');
SELECT is(has(10, 'p_joined', '2024-02-01'), '0/0/0 not_joined', 'nor before that');

-- Carried over: 2 at most of 3 a month, used first, and no further.
SELECT loyalty.define_benefit('carried', '{"kind": "entitlement", "quota": 3, "period": "month", "carry_over": 2, "available": {"between": ["2026-01-01", null]}}') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('carried %s: %s', s.n, s.statement)) FROM (VALUES
	-- nothing was used before: two are carried to January, as to any month
	(1, $$SELECT has(20, 'carried', '2026-01-15')$$, '5/0/5 open'),
	(2, $$SELECT used(20, 'carried', '2026-01-15', 4)$$, '1'),
	-- January has one of its own left
	(3, $$SELECT has(20, 'carried', '2026-02-01')$$, '4/0/4 open'),
	(4, $$SELECT used(20, 'carried', '2026-02-10', 1)$$, '3'),
	-- the one that was carried was used first: February leaves its three, of which two go
	(5, $$SELECT has(20, 'carried', '2026-03-01')$$, '5/0/5 open'),
	(6, $$SELECT used(20, 'carried', '2026-03-01', 5)$$, '0'),
	(7, $$SELECT has(20, 'carried', '2026-04-01')$$, '3/0/3 open'),
	(8, $$SELECT used(20, 'carried', '2026-04-01', 4)$$, 'LY612')) s (n, statement, expected) ORDER BY s.n;

-- What is not available is not used, and says so
SELECT loyalty.define_benefit('summer', '{"kind": "entitlement", "quota": 2, "available": {"between": ["2026-06-01", "2026-09-01"]}}', '2026-01-01') \g /dev/null
SELECT is(has(20, 'summer', '2026-07-01'), '2/0/2 open', 'in summer');
SELECT ok(has(20, 'summer', t) LIKE '% not_available', 'not at ' || t) FROM unnest('{2026-05-31 23:59,2026-09-01}'::timestamptz[]) t;
SELECT is(answer($$SELECT used(20, 'summer', '2026-09-01')$$), 'LY609', 'nor used');

-- A use that is recorded late leaves what later periods have used of what was carried to them; a reservation that is confirmed late does, too.
SELECT is(answer(s.statement), s.expected, format('carried late %s: %s', s.n, s.statement)) FROM (VALUES
	-- three of February's own, and the two that January left
	(1, $$SELECT used(22, 'carried', '2026-02-10', 5)$$, '0'),
	(2, $$SELECT used(22, 'carried', '2026-01-10', 4)$$, 'LY612'),
	(3, $$SELECT used(22, 'carried', '2026-01-10', 2)$$, '1'),
	(4, $$SELECT used(22, 'carried', '2026-01-11', 1)$$, '0'),
	(5, $$SELECT has(22, 'carried', '2026-02-10')$$, '5/5/0 used_up'),
	-- March has had one of what February left, which had left it to May's use as far as it goes: not at all
	(6, $$SELECT used(23, 'carried', '2026-03-10', 4)$$, '1'),
	(7, $$SELECT used(23, 'carried', '2026-02-10', 5)$$, 'LY612'),
	(8, $$SELECT used(23, 'carried', '2026-02-10', 4)$$, '0'),
	(9, $$SELECT used(23, 'carried', '2026-01-10', 5)$$, 'LY612'),
	(10, $$SELECT used(23, 'carried', '2026-01-10', 3)$$, '0'),
	-- reserved, lapsed, and confirmed after its place was carried on and used
	(11, $$SELECT used(24, 'carried', '2026-01-31 12:00', 5, '2026-01-31 12:30')$$, '0'),
	(12, $$SELECT used(24, 'carried', '2026-02-01', 5)$$, '0'),
	(13, $$SELECT loyalty.confirm_use(24, (SELECT min(use_id) FROM loyalty.entitlement_act WHERE member_id = 24), '2026-01-31 12:20')$$, 'LY612')) s (n, statement, expected) ORDER BY s.n;

-- Rolling: two within 30 days.  A use counts for less than 30 days after it, whenever it was recorded.
SELECT loyalty.define_benefit('rolled', '{"kind": "entitlement", "quota": 2, "rolling": "30 days"}') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('rolled %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT used(21, 'rolled', '2026-01-01')$$, '1'),
	(2, $$SELECT used(21, 'rolled', '2026-01-20')$$, '0'),
	(3, $$SELECT used(21, 'rolled', '2026-01-30 23:59:59')$$, 'LY612'),
	(4, $$SELECT used(21, 'rolled', '2026-01-31')$$, '0'),
	(5, $$SELECT has(21, 'rolled', '2026-02-18')$$, '2/2/0 used_up'),
	(6, $$SELECT has(21, 'rolled', '2026-02-19')$$, '2/1/1 open'),
	-- late: beside it there would be three from 20 to 31 January
	(7, $$SELECT used(21, 'rolled', '2026-01-25')$$, 'LY612'),
	-- less than 30 days before the first one
	(8, $$SELECT used(21, 'rolled', '2025-12-03')$$, '0')) s (n, statement, expected) ORDER BY s.n;

-- Reservations lapse by themselves; confirmed in time they are uses, also where the level is gone by then.
SELECT loyalty.define_benefit('single', '{"kind": "entitlement", "quota": 1, "period": "year"}') \g /dev/null
SELECT granted(31, 'gold', '2026-01-01', '2026-03-01') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('reserved %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT used(30, 'single', '2026-03-10 12:00', 1, '2026-03-10 12:30')$$, '0'),
	(2, $$SELECT used(30, 'single', '2026-03-10 12:29:59')$$, 'LY612'),
	(3, $$SELECT has(30, 'single', '2026-03-10 12:29:59')$$, '1/1/0 used_up'),
	(4, $$SELECT has(30, 'single', '2026-03-10 12:30')$$, '1/0/1 open'),
	(5, $$SELECT loyalty.confirm_use(30, last_use(30), '2026-03-10 12:30')$$, 'LY621'),
	(6, $$SELECT loyalty.restore_use(30, last_use(30), '2026-03-10 12:30')$$, 'LY621'),
	(7, $$SELECT used(30, 'single', '2026-03-10 12:30')$$, '0'),
	-- within its time, and recorded after another came
	(8, $$SELECT loyalty.confirm_use(30, (SELECT min(use_id) FROM loyalty.entitlement_act WHERE member_id = 30), '2026-03-10 12:20')$$, 'LY612'),
	(9, $$SELECT used(31, 'lounge', '2026-02-28', 1, '2026-03-02')$$, '3'),
	(10, $$SELECT remaining FROM loyalty.confirm_use(31, last_use(31), '2026-03-01')$$, '0'),
	(11, $$SELECT loyalty.confirm_use(31, last_use(31), '2026-03-01')$$, 'LY622'),
	(12, $$SELECT has(31, 'lounge', '2026-03-01')$$, '0/1/0 not_entitled'),
	(13, $$SELECT used(32, 'single', '2026-03-10 12:00', 1, '2026-03-10 12:30')$$, '0'),
	(14, $$SELECT remaining FROM loyalty.restore_use(32, last_use(32), '2026-03-10 12:10')$$, '1')) s (n, statement, expected) ORDER BY s.n;

-- Whoever meets conditions: the most of those that hold; without limit.
SELECT loyalty.define_benefit('upgrade', '{"kind": "entitlement", "quota": [{"when": {"attribute": {"city": ["Bonn"]}}, "uses": 2}, {"when": {"tier": {"club": ["gold", "platinum"]}}, "uses": null}], "period": "year"}') \g /dev/null
CREATE TABLE bonner AS SELECT member_id FROM loyalty.resolve_member('{"email": "a@example.com"}');
UPDATE loyalty.member SET attributes = '{"city": "Bonn"}' WHERE member_id = (SELECT member_id FROM bonner);
SELECT is(has((SELECT member_id FROM bonner), 'upgrade', '2026-03-01'), '2/0/2 open', 'by an attribute');
SELECT granted((SELECT member_id FROM bonner), 'gold', '2026-04-01', '2026-05-01') \g /dev/null
SELECT is(has((SELECT member_id FROM bonner), 'upgrade', '2026-04-01'), 'any/0/any open', 'by a level, as often as one likes');
SELECT is(used((SELECT member_id FROM bonner), 'upgrade', '2026-04-01', 5), 'any', 'which it does');
SELECT is(has((SELECT member_id FROM bonner), 'upgrade', '2026-05-01'), '2/5/0 used_up', 'never negative');
SELECT is(has(33, 'upgrade', '2026-05-01'), '0/0/0 not_entitled', 'whoever meets none');

-- From when a membership began: renewed without a gap it is the same one.
SELECT loyalty.define_benefit('member_gift', '{"kind": "entitlement", "quota": {"club": {"platinum": 2}}, "period": "month", "anchor": "membership"}') \g /dev/null
SELECT granted(34, 'platinum', '2026-01-20', '2026-02-20'), granted(34, 'platinum', '2026-02-20', '2026-03-20'), granted(34, 'platinum', '2026-05-05', '2026-06-05') \g /dev/null
SELECT is((SELECT format('%s %s', e.period_start::date, e.remaining) FROM loyalty.entitlements(34, p.at) e WHERE e.benefit = 'member_gift'), p.expected, p.at::text) FROM (VALUES
	(timestamptz '2026-01-31', '2026-01-20 2'), ('2026-03-19', '2026-02-20 2'), ('2026-05-20', '2026-05-05 2'), ('2026-04-01', ' 0')) p (at, expected);
SELECT used(34, 'member_gift', '2026-05-06') \g /dev/null
SELECT loyalty.end_grant(34, (SELECT max(grant_id) FROM loyalty.tier_grant WHERE member_id = 34), 'full', '2026-05-10') \g /dev/null
SELECT is((SELECT e.why FROM loyalty.entitlements(34, '2026-05-10') e WHERE e.benefit = 'member_gift'), 'not_joined', 'a membership that is ended takes what is left with it');
-- a coupon of members ends with it as well, and an order of before keeps it
SELECT loyalty.define_benefit('members_tea', '{"kind": "coupon", "discount": {"amount": 5}, "codes": "generic", "available": {"tier": {"club": ["platinum"]}}}') \g /dev/null
SELECT loyalty.add_codes('members_tea', '{MEMBERTEA}') \g /dev/null
SELECT is(answer($$SELECT discount FROM loyalty.record_activity(34, 'order', '2026-05-09', 50, codes => '{MEMBERTEA}')$$), '5.00', 'a coupon of members');
SELECT is(answer($$SELECT discount FROM loyalty.record_activity(34, 'order', '2026-05-10', 50, codes => '{MEMBERTEA}')$$), 'LY609', 'ends with the membership');

-- Further uses are used where the quota has no more, whatever the level.
SELECT loyalty.grant_uses(35, 'lounge', 2, '2026-02-01', NULL) \g /dev/null
SELECT is(answer(s.statement), s.expected, format('further %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT has(35, 'lounge', '2026-02-01')$$, '0/0/2 not_entitled'),
	(2, $$SELECT used(35, 'lounge', '2026-02-01')$$, '1'),
	(3, $$SELECT used(35, 'lounge', '2027-02-01', 2)$$, 'LY612'),
	(4, $$SELECT loyalty.revoke_uses(35, (SELECT min(use_id) FROM loyalty.entitlement_act WHERE member_id = 35), '2026-03-01')$$, 'LY607'),
	(5, $$SELECT remaining FROM loyalty.restore_use(35, last_use(35), '2026-03-01')$$, '2'),
	(6, $$SELECT loyalty.revoke_uses(35, (SELECT min(use_id) FROM loyalty.entitlement_act WHERE member_id = 35), '2026-03-01') IS NULL$$, 'false'),
	(7, $$SELECT has(35, 'lounge', '2026-03-01')$$, '0/0/0 not_entitled')) s (n, statement, expected) ORDER BY s.n;

-- Merged: what both used adds up; unmerged, each has its own.
CREATE TABLE pair AS SELECT (SELECT member_id FROM loyalty.resolve_member('{"email": "b@example.com"}')) AS a, (SELECT member_id FROM loyalty.resolve_member('{"email": "c@example.com"}')) AS b;
SELECT used(a, 'p_ever', '2026-01-01', 2), used(b, 'p_ever', '2026-01-01', 1) FROM pair \g /dev/null
SELECT loyalty.merge_members(a, b) FROM pair \g /dev/null
SELECT is(has(a, 'p_ever', now()), '3/3/0 used_up', 'merged') FROM pair;
SELECT is(has(b, 'p_ever', now()), '3/3/0 used_up', 'under either number') FROM pair;
SELECT throws_ok(format('SELECT used(%s, ''p_ever'', now())', b), 'LY612', NULL, 'nothing is left') FROM pair;
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(has(a, 'p_ever', now()) || ', ' || has(b, 'p_ever', now()), '3/2/1 open, 3/1/2 open', 'unmerged') FROM pair;

-- Forgotten: the reference is gone.
SELECT loyalty.use_entitlement(a, 'p_year', reference => 'booking of Ann') FROM pair \g /dev/null
SELECT loyalty.forget_member(a) FROM pair \g /dev/null
SELECT is_empty('SELECT FROM loyalty.entitlement_act WHERE reference IS NOT NULL', 'nothing is left of it');
SELECT throws_ok('UPDATE loyalty.entitlement_act SET quantity = 0', 'LY005', NULL, 'acts are never changed');

-- Tables that are not plain are read and written by statements, to the same effect.
CREATE TABLE seen AS SELECT m, e.* FROM generate_series(1, 40) m, loyalty.entitlements(m, '2026-06-01') e;
SET loyalty.table_access = off;
SELECT is_empty($$(SELECT m, e.* FROM generate_series(1, 40) m, loyalty.entitlements(m, '2026-06-01') e EXCEPT TABLE seen)
	UNION ALL (TABLE seen EXCEPT SELECT m, e.* FROM generate_series(1, 40) m, loyalty.entitlements(m, '2026-06-01') e)$$, 'the same by statements');
RESET loyalty.table_access;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
