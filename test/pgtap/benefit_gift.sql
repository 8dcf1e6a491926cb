-- Room benefit, gifts: windows that facts of a member open, claimed once, points from the opening on.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.claim_gift(1, 'x')$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement INTO said;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
CREATE TABLE person (name text PRIMARY KEY, id bigint);
CREATE FUNCTION born(name text, birthday text, joined timestamptz DEFAULT '2026-01-15 12:00') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	made bigint := (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', name || '@example.com'),
		attributes => CASE WHEN birthday IS NULL THEN '{}' ELSE jsonb_build_object('birthday', birthday) END));
BEGIN
	UPDATE loyalty.member SET joined_at = joined WHERE member_id = made;
	INSERT INTO person VALUES (name, made);
	RETURN made;
END$$;
CREATE FUNCTION id(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT p.id FROM person p WHERE p.name = $1';
-- the windows of a gift that are open for somebody: key, first and last day, state
CREATE FUNCTION open(name text, gift text, at timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(format('%s %s..%s %s', g.period_key, (g.opens_at AT TIME ZONE 'Europe/Berlin')::date, (g.closes_at AT TIME ZONE 'Europe/Berlin')::date, g.state), ', ' ORDER BY g.opens_at)
FROM loyalty.available_gifts(id($1), $3) g WHERE g.gift = $2$$;
CREATE FUNCTION claimed(name text, gift text, at timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT concat_ws(' ', c.period_key, 'coupon' || left(c.coupon_id::text, 0), 'uses' || left(c.use_id::text, 0), 'points' || left(c.entry_id::text, 0)) FROM loyalty.claim_gift(id($1), $2, $3) c$$;

SELECT throws_ok(format('SELECT loyalty.define_benefit(''wrong'', %L)', d.definition), 'LY602', 'invalid definition of a benefit', d.definition) FROM (VALUES
	('{"kind": "gift", "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"birthday": {}}}'), ('{"kind": "gift", "window": {}, "gives": {"item": "x"}}'),
	('{"kind": "gift", "window": {"birthday": {}, "joined": {}}, "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"yearly": {}}, "gives": {"item": "x"}}'),
	('{"kind": "gift", "window": {"yearly": {"on": "02-30"}}, "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"yearly": {"on": "2-3"}}, "gives": {"item": "x"}}'),
	('{"kind": "gift", "window": {"monthly": {"on": 32}}, "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"birthday": {"on": 3}}, "gives": {"item": "x"}}'),
	('{"kind": "gift", "window": {"days": ["2026-06-01"]}, "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"days": ["2026-06-02", "2026-06-02"]}, "gives": {"item": "x"}}'),
	('{"kind": "gift", "window": {"birthday": {"before": 200}}, "gives": {"item": "x"}}'), ('{"kind": "gift", "window": {"birthday": {}}, "gives": {"coupon": "x"}}'),
	('{"kind": "gift", "window": {"birthday": {}}, "gives": {"points": 0}}')) d (definition);

SELECT loyalty.define_holidays('de', '{2026-10-03,2026-12-25}') \g /dev/null
SELECT loyalty.define_benefit(b.name, '{"time_zone": "Europe/Berlin"}'::jsonb || b.definition) FROM (VALUES
	('tea_5', '{"kind": "coupon", "discount": {"amount": 5}}'::jsonb), ('lounge', '{"kind": "entitlement", "quota": 1}')) b (name, definition) \g /dev/null
SELECT loyalty.define_benefit(b.name, '{"kind": "gift", "time_zone": "Europe/Berlin"}'::jsonb || b.definition) FROM (VALUES
	('birthday', '{"window": {"birthday": {"before": 3, "after": 3}}, "gives": {"coupon": "tea_5"}}'::jsonb),
	('birthday_mar1', '{"window": {"birthday": {"leap_day": "mar1"}}, "gives": {"item": "card"}}'),
	('points', '{"window": {"birthday": {"before": 3, "after": 3}}, "gives": {"points": 100}}'),
	('anniversary', '{"window": {"joined": {"after": 6}}, "gives": {"entitlement": "lounge", "uses": 2}}'),
	('welcome', '{"window": {"welcome": {"after": 29}}, "gives": {"item": "mug"}}'),
	('singles', '{"window": {"yearly": {"on": "11-11"}}, "gives": {"item": "mug"}}'),
	('member_day', '{"window": {"monthly": {"on": 31}}, "gives": {"item": "mug"}}'),
	('holiday', '{"window": {"holiday": {"on": "de", "before": 1}}, "gives": {"item": "mug"}}'),
	('summer', '{"window": {"days": ["2026-06-01", "2026-06-15"]}, "gives": {"item": "mug"}, "available": {"attribute": {"city": ["Bonn"]}}}')) b (name, definition) \g /dev/null
SELECT born('may', '1990-05-10'), born('new_year', '1990-01-01'), born('leap', '2000-02-29', '2024-02-29 09:00'), born('nobody', NULL), born('bonner', NULL) \g /dev/null
UPDATE loyalty.member SET attributes = '{"city": "Bonn"}' WHERE member_id = id('bonner');

SELECT is(open(w.name, w.gift, w.at), w.expected, format('%s, %s at %s', w.gift, w.name, w.at)) FROM (VALUES
	('may', 'birthday', timestamptz '2026-05-06 21:59:59+00', NULL), ('may', 'birthday', '2026-05-06 22:00+00', '2026 2026-05-07..2026-05-14 open'),
	('may', 'birthday', '2026-05-08', '2026 2026-05-07..2026-05-14 open'), ('may', 'birthday', '2026-05-13 22:00', NULL), ('nobody', 'birthday', '2026-05-08', NULL),
	-- over the turn of the year the key is that of the birthday
	('new_year', 'birthday', '2026-12-29', '2027 2026-12-29..2027-01-05 open'), ('new_year', 'birthday', '2027-01-04', '2027 2026-12-29..2027-01-05 open'),
	('leap', 'birthday_mar1', '2026-02-28 12:00', NULL), ('leap', 'birthday_mar1', '2026-03-01 12:00', '2026 2026-03-01..2026-03-02 open'),
	('leap', 'birthday', '2026-02-28 12:00', '2026 2026-02-25..2026-03-04 open'), ('leap', 'birthday_mar1', '2028-02-29 12:00', '2028 2028-02-29..2028-03-01 open'),
	('leap', 'anniversary', '2024-02-29 12:00', NULL), ('leap', 'anniversary', '2025-02-28 12:00', '2025 2025-02-28..2025-03-07 open'),
	('may', 'welcome', '2026-01-15 11:59:59', NULL), ('may', 'welcome', '2026-01-15 12:00', 'once 2026-01-15..2026-02-14 open'), ('may', 'welcome', '2026-02-14', NULL),
	('may', 'singles', '2026-11-11 12:00', '2026 2026-11-11..2026-11-12 open'), ('may', 'singles', '2026-11-12 12:00', NULL),
	('may', 'member_day', '2026-02-28 12:00', '2026-02 2026-02-28..2026-03-01 open'), ('may', 'member_day', '2026-03-30 12:00', NULL), ('may', 'member_day', '2026-03-31 12:00', '2026-03 2026-03-31..2026-04-01 open'),
	('may', 'holiday', '2026-10-02 12:00', '2026-10-03 2026-10-02..2026-10-04 open'), ('may', 'holiday', '2026-10-04 12:00', NULL),
	('may', 'summer', '2026-06-03', NULL), ('bonner', 'summer', '2026-06-03', '2026-06-01 2026-06-01..2026-06-15 open'), ('bonner', 'summer', '2026-06-15', NULL)) w (name, gift, at, expected);

-- A date is one in every session, and on every day: what depends on DateStyle or on the day is none.
SELECT born('slashes', '05/10/1990'), born('words', 'today') \g /dev/null
SELECT is((SELECT string_agg(coalesce(open(p, 'birthday', at), 'none'), ' ') FROM unnest('{slashes,words}'::text[]) p, unnest('{2026-05-10,2026-10-05}'::timestamptz[]) at
	WHERE set_config('datestyle', style, true) IS NOT NULL), 'none none none none', style) FROM unnest('{"ISO, MDY","ISO, DMY"}'::text[]) style;
SELECT throws_ok(format($$SELECT loyalty.define_benefit('wrong', '{"kind": "gift", "window": {"days": ["%s", "%s"]}, "gives": {"item": "x"}}')$$, d.a, d.b), 'LY602', NULL, d.a)
FROM (VALUES ('05/10/2026', '06/10/2026'), ('today', 'tomorrow'), ('10.5.2026', '11.5.2026'), ('20260510', '20260511')) d (a, b);
SELECT throws_ok(format($$SELECT loyalty.define_benefit('wrong', '{"kind": "access", "available": %s}')$$, d), 'LY602', NULL, d)
FROM unnest('{"{\"between\": [\"now\", null]}","{\"between\": [null, \"05/10/2026\"]}","{\"hours\": [\"now\", \"18:00\"]}"}'::text[]) d;

-- Claimed once for each occasion, within the window.
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT count(*) FROM loyalty.gift_claim$$, '0'),
	(2, $$SELECT claimed('may', 'birthday', '2026-05-08')$$, '2026 coupon'),
	(3, $$SELECT claimed('may', 'birthday', '2026-05-09')$$, 'LY615'),
	(4, $$SELECT open('may', 'birthday', '2026-05-09')$$, '2026 2026-05-07..2026-05-14 claimed'),
	(5, $$SELECT open('may', 'birthday', '2026-05-07')$$, '2026 2026-05-07..2026-05-14 open'),
	(6, $$SELECT claimed('may', 'birthday', '2026-06-01')$$, 'LY609'),
	(7, $$SELECT claimed('may', 'birthday', '2027-05-10')$$, '2027 coupon'),
	(8, $$SELECT string_agg(state, ' ') FROM loyalty.coupons(id('may'), '2028-01-01')$$, 'issued issued'),
	(9, $$SELECT claimed('new_year', 'birthday', '2026-12-30')$$, '2027 coupon'),
	(10, $$SELECT claimed('new_year', 'birthday', '2027-01-02')$$, 'LY615'),
	-- a birthday that is corrected opens no second window in the year
	(11, $$UPDATE loyalty.member SET attributes = '{"birthday": "1990-05-12"}' WHERE member_id = id('may') RETURNING 'corrected'$$, 'corrected'),
	(12, $$SELECT claimed('may', 'birthday', '2026-05-14')$$, 'LY615'),
	(13, $$UPDATE loyalty.member SET attributes = '{"birthday": "1990-05-10"}' WHERE member_id = id('may') RETURNING 'as it was'$$, 'as it was'),
	(14, $$SELECT claimed('leap', 'anniversary', '2025-03-01')$$, '2025 uses'),
	(15, $$SELECT remaining FROM loyalty.entitlements(id('leap')) WHERE benefit = 'lounge'$$, '3'),
	(16, $$SELECT claimed('may', 'welcome', '2026-01-20')$$, 'once'),
	(17, $$SELECT claimed('nobody', 'birthday', '2026-05-10')$$, 'LY609'),
	(18, $$SELECT claimed('bonner', 'summer', '2026-06-10')$$, '2026-06-01'),
	(19, $$SELECT claimed('may', 'nothing', '2026-06-10')$$, 'LY601'),
	(20, $$SELECT loyalty.claim_gift(NULL, 'birthday')$$, 'LY003'),
	(21, $$SELECT loyalty.claim_gift(id('may'), 'birthday', 'infinity')$$, 'LY003'),
	(22, $$SELECT period_key || replayed::text FROM loyalty.claim_gift(id('leap'), 'birthday', '2026-02-28', idempotency_key => 'k')$$, '2026false'),
	(23, $$SELECT period_key || replayed::text FROM loyalty.claim_gift(id('leap'), 'birthday', '2026-02-28', idempotency_key => 'k')$$, '2026true'),
	(24, $$SELECT loyalty.claim_gift(id('leap'), 'welcome', '2026-02-28', idempotency_key => 'k')$$, 'LY004')) s (n, statement, expected) ORDER BY s.n;

-- Points are there from the opening of the window on, whenever they were claimed, or booked by a run that came late.
SELECT is(claimed('may', 'points', '2026-05-12'), '2026 points', 'claimed on the last days');
SELECT results_eq($$SELECT e.effective_at, e.points FROM loyalty.ledger e WHERE e.member_id = id('may')$$, $$VALUES (timestamptz '2026-05-07 00:00+02', 100::bigint)$$, 'effective from the opening on');
CALL loyalty.book_gifts('2026-07-01');
SELECT results_eq($$SELECT p.name, e.effective_at FROM loyalty.ledger e JOIN person p ON p.id = e.member_id ORDER BY p.name, e.effective_at$$,
	$$VALUES ('leap', timestamptz '2026-02-25 00:00+01'), ('may', '2026-05-07 00:00+02')$$, 'each at its own instant, nothing twice, and nothing from before it joined');
CALL loyalty.book_gifts('2026-07-01');
SELECT is((SELECT count(*) FROM loyalty.ledger), 2::bigint, 'again: nothing');

-- Points are of the version under which their window opened, also for a run that comes after the next one; all else is of the
-- version in force when it is claimed.
SELECT loyalty.define_benefit(b.name, '{"kind": "gift", "time_zone": "Europe/Berlin", "window": {"yearly": {"on": "08-10", "before": 3, "after": 3}}}'::jsonb || b.definition, b.from_at) FROM (VALUES
	(1, 'august', '{"gives": {"points": 11}}'::jsonb, NULL::timestamptz), (2, 'august', '{"gives": {"points": 22}}', '2026-08-12 00:00+02'),
	(3, 'august_mug', '{"gives": {"item": "mug"}}', NULL), (4, 'august_mug', '{"gives": {"item": "pot"}}', '2026-08-12 00:00+02'),
	(5, 'since_august', '{"gives": {"points": 33}}', '2026-08-09 00:00+02'), (6, 'mug_then_points', '{"gives": {"item": "mug"}}', NULL),
	(7, 'mug_then_points', '{"gives": {"points": 44}}', '2026-08-12 00:00+02')) b (n, name, definition, from_at) ORDER BY b.n \g /dev/null
SELECT is((SELECT string_agg(format('%s %s %s', g.gift, to_char(g.opens_at AT TIME ZONE 'Europe/Berlin', 'DD'), coalesce(g.gives ->> 'points', g.gives ->> 'item')), ', ' ORDER BY g.gift)
	FROM loyalty.available_gifts(id('nobody'), v.at) g WHERE g.gift ~ 'august|mug'), v.expected, v.at::text) FROM (VALUES
	(timestamptz '2026-08-08 12:00', 'august 07 11, august_mug 07 mug, mug_then_points 07 mug'),
	('2026-08-10 12:00', 'august 07 11, august_mug 07 mug, mug_then_points 07 mug, since_august 09 33'),
	('2026-08-12 12:00', 'august 07 11, august_mug 07 pot, mug_then_points 12 44, since_august 09 33')) v (at, expected);
SELECT is(claimed('may', 'august', '2026-08-13'), '2026 points', 'claimed under the second version');
CALL loyalty.book_gifts('2026-09-01');
SELECT results_eq($$SELECT p.name, e.effective_at, e.points FROM loyalty.ledger e JOIN person p ON p.id = e.member_id WHERE e.effective_at > '2026-08-01' AND p.name IN ('may', 'nobody') ORDER BY 1, 2$$,
	$$VALUES ('may', timestamptz '2026-08-07 00:00+02', 11::bigint), ('may', '2026-08-09 00:00+02', 33), ('may', '2026-08-12 00:00+02', 44),
		('nobody', '2026-08-07 00:00+02', 11), ('nobody', '2026-08-09 00:00+02', 33), ('nobody', '2026-08-12 00:00+02', 44)$$, 'each from its opening on, of the version of that instant');

-- Merged: one of both; forgotten.
SELECT born('twin', '1990-05-10') \g /dev/null
SELECT loyalty.merge_members(id('may'), id('twin')) \g /dev/null
SELECT is(answer($$SELECT claimed('twin', 'birthday', '2026-05-10')$$), 'LY615', 'the person has it already');
SELECT loyalty.define_benefit('october', '{"kind": "gift", "time_zone": "Europe/Berlin", "window": {"yearly": {"on": "10-10", "before": 3, "after": 3}}, "gives": {"points": 5}}') \g /dev/null
SELECT is(claimed('twin', 'october', '2026-10-10'), '2026 points', 'under the other number, in the wallet of both');
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(answer($$SELECT claimed('twin', 'birthday', '2026-05-10')$$), '2026 coupon', 'and each its own');
SELECT throws_ok('UPDATE loyalty.gift_claim SET at = now()', 'LY005', NULL, 'claims are never changed');
SELECT throws_ok($$SELECT loyalty.gift_windows(1, '2026-01-01', '2030-01-01')$$, 'LY003', NULL, 'too long a span');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
