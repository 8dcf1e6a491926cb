-- Room engagement: draws.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT m FROM (SELECT generate_series(1, 1210) UNION SELECT generate_series(100001, 103000)) x (m) WHERE m NOT IN (301, 302);
\set seed '''00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'''
SELECT loyalty.define_benefit('tea', '{"kind": "coupon", "discount": {"amount": 5}}') \g /dev/null
CREATE FUNCTION wheel(stock integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('prizes', jsonb_build_array('{"prize": "none", "weight": 5000}'::jsonb, '{"prize": "10 points", "weight": 3000, "points": 10}'::jsonb,
		'{"prize": "50 points", "weight": 1500, "points": 50}'::jsonb, jsonb_build_object('prize', 'coupon', 'weight', 499, 'stock', stock, 'benefit', 'tea'),
		'{"prize": "grand", "weight": 1, "stock": 1, "points": 100000}'::jsonb)) $$;
SELECT is(loyalty.define_draw('spring', wheel(500), :seed), '4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef', 'the commitment');
SELECT is(loyalty.define_draw('spring', wheel(500)), '4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef', 'asked for again');
SELECT throws_ok($$SELECT loyalty.define_draw('spring', wheel(501))$$, 'LY752', 'draw "spring" is committed to', 'prizes never change');
SELECT throws_ok($$SELECT loyalty.define_draw('spring', wheel(500), '00')$$, 'LY752', NULL, 'nor does the seed');
SELECT throws_ok($$SELECT loyalty.define_draw('x', '{"prizes": [{"prize": "a", "weight": 1, "benefit": "none"}]}')$$, 'LY601', NULL, 'a benefit that there is not');
SELECT loyalty.define_benefit('lounge', '{"kind": "access"}') \g /dev/null
SELECT throws_ok($$SELECT loyalty.define_draw('x', '{"prizes": [{"prize": "a", "weight": 1, "benefit": "lounge"}]}')$$, 'LY601', NULL, 'or that is no coupon');
SELECT throws_ok($$SELECT loyalty.define_draw('x', '{"prizes": [{"prize": "a", "weight": 1, "points": 5, "currency": "none"}]}')$$, 'LY102', NULL, 'a currency that there is not');
SELECT isnt(loyalty.define_draw('random', wheel(1)), loyalty.define_draw('random2', wheel(1)), 'seeds are random where none is given');
SELECT throws_ok($$SELECT loyalty.draw(42, 'spring')$$, 'LY755', 'member 42 has no spins of draw "spring" left', 'no spins');
SELECT throws_ok($$SELECT loyalty.draw(42, 'none')$$, 'LY751', NULL, 'no such draw');
SELECT is((SELECT (spins_left, replayed)::text FROM loyalty.grant_spin(42, 'spring', 4, idempotency_key => 'g')), '(4,f)', 'four');
SELECT is((SELECT (spins_left, replayed)::text FROM loyalty.grant_spin(42, 'spring', 4, idempotency_key => 'g')), '(4,t)', 'once');
SELECT is((SELECT (nonce, ticket, drawn, prize, replayed)::text FROM loyalty.draw(42, 'spring', idempotency_key => 'd' || n)), e, e)
FROM (VALUES (1, '(1,3052,none,none,f)'), (1, '(1,3052,none,none,t)'), (2, '(2,4254,none,none,f)'), (3, '(3,6967,"10 points","10 points",f)')) c (n, e);
SELECT is((loyalty.balance(42)).available, 10::bigint, 'paid at once');
SELECT is(loyalty.spins_left(42, 'spring'), 1::bigint, 'one is left');
SELECT throws_ok($$SELECT loyalty.audit_draw('spring')$$, 'LY757', 'the seed of draw "spring" is not revealed', 'not before it is over');
-- ten thousand members spin once each: the stock is given out, and not more
SELECT count(*) FROM (SELECT loyalty.grant_spin(m, 'spring') FROM generate_series(100001::bigint, 103000) m) x \g /dev/null
SELECT count(*) FROM (SELECT loyalty.draw(m, 'spring') FROM generate_series(100001::bigint, 103000) m) x \g /dev/null
SELECT loyalty.define_draw('short', wheel(20), :seed) \g /dev/null
SELECT count(*) FROM (SELECT loyalty.grant_spin(m, 'short') FROM generate_series(1::bigint, 1000) m) x \g /dev/null
SELECT count(*) FROM (SELECT loyalty.draw(m, 'short') FROM generate_series(1::bigint, 1000) m) x \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.draw_spin WHERE draw = 'short' AND prize = 'coupon'), 20::bigint, 'twenty coupons');
SELECT is((SELECT count(*) FROM loyalty.coupon WHERE member_id BETWEEN 1 AND 1000), 20::bigint, 'which are there');
SELECT is((SELECT min(prize) || max(prize) FROM loyalty.draw_spin WHERE draw = 'short' AND drawn = 'coupon' AND prize <> 'coupon'), '50 points50 points', 'then the prize before it');
SELECT is((SELECT sum((loyalty.balance(m)).available) FROM generate_series(1::bigint, 1000) m), (SELECT 10 + sum(CASE prize WHEN '10 points' THEN 10 WHEN '50 points' THEN 50 WHEN 'grand' THEN 100000 ELSE 0 END) FROM loyalty.draw_spin WHERE draw = 'short')::numeric,
	'points are those of the prizes');
SELECT is(loyalty.reveal_draw('spring'), :seed, 'the seed is revealed');
SELECT is(loyalty.reveal_draw('spring'), :seed, 'asked for again');
SELECT is(loyalty.reveal_draw('short'), :seed, 'and the other');
SELECT throws_ok($$SELECT loyalty.draw(42, 'spring')$$, 'LY756', 'draw "spring" is closed', 'and nobody draws any more');
SELECT is_empty($$SELECT * FROM loyalty.audit_draw('spring') UNION ALL SELECT * FROM loyalty.audit_draw('short')$$, 'all is as the seed says');
-- the member's own seed
SELECT loyalty.define_draw('lucky', wheel(1) || '{"client_seed": true}', :seed) \g /dev/null
SELECT loyalty.grant_spin(42, 'lucky', 9) \g /dev/null
SELECT throws_ok($$SELECT loyalty.draw(42, 'lucky')$$, 'LY003', NULL, 'it must be given');
SELECT is((SELECT ticket FROM loyalty.draw(42, 'lucky', 'mine')), loyalty.draw_ticket(:seed, 'lucky', 42, 1, 10000, 'mine'), 'and counts');
-- by table access and by statements it is the same
SELECT loyalty.define_draw('both', wheel(2), :seed) \g /dev/null
SELECT loyalty.grant_spin(43, 'both'), loyalty.grant_spin(43, 'both', 5) \g /dev/null
SELECT is((SELECT array_agg(nonce || ' ' || ticket || ' ' || (drawn = loyalty.prize_of_ticket(wheel(2), ticket)) || ' ' || ((entry_id IS NULL) = (prize NOT LIKE '%points')) ORDER BY nonce)
		FROM (SELECT n, set_config('loyalty.table_access', CASE WHEN n % 2 = 0 THEN 'off' ELSE 'on' END, false) FROM generate_series(1, 6) n) s, LATERAL loyalty.draw(43 + 0 * n, 'both')),
	(SELECT array_agg(n || ' ' || loyalty.draw_ticket(:seed, 'both', 43, n, 10000) || ' true true' ORDER BY n) FROM generate_series(1, 6) n), 'six spins');
SELECT throws_ok($$SELECT loyalty.draw(43, 'both')$$, 'LY755', 'member 43 has no spins of draw "both" left', 'and no more');
SET loyalty.table_access = off;
SELECT throws_ok($$SELECT loyalty.draw(43, 'both')$$, 'LY755', 'member 43 has no spins of draw "both" left', 'nor by statements');
RESET loyalty.table_access;
SELECT is((SELECT count(*)::text || ' ' || count(entry_id) || ' ' || bool_and(recorded_at BETWEEN now() - interval '1 hour' AND clock_timestamp()) FROM loyalty.draw_spin WHERE draw = 'both'),
	(SELECT '6 ' || count(*) || ' true' FROM loyalty.ledger WHERE member_id = 43 AND details ->> 'draw' = 'both'), 'each with its entry');
SELECT is(loyalty.spins_left(43, 'both'), 0::bigint, 'none is left');
-- what a transaction defined and took back is not known any more
BEGIN;
SELECT loyalty.define_draw('gone', wheel(1)), loyalty.grant_spin(43, 'gone') \g /dev/null
SELECT is((SELECT nonce FROM loyalty.draw(43, 'gone')), 1::bigint, 'drawn in the transaction that defines it');
ROLLBACK;
SELECT throws_ok($$SELECT loyalty.draw(43, 'gone')$$, 'LY751', 'there is no draw "gone"', 'and there is none');
-- from until
SELECT loyalty.define_draw('later', '{"prizes": [{"prize": "a", "weight": 1}], "from": "2126-01-01", "until": "2126-02-01"}') \g /dev/null
SELECT loyalty.grant_spin(42, 'later', 9) \g /dev/null
SELECT throws_ok($$SELECT loyalty.draw(42, 'later')$$, 'LY756', NULL, 'not open yet');
-- a deck of 40 with two prizes
SELECT loyalty.define_draw('scratch', '{"tickets": 40, "prizes": [{"prize": "car", "count": 1, "points": 1000}, {"prize": "bicycle", "count": 2, "points": 100}]}', :seed) \g /dev/null
SELECT loyalty.grant_spin(m, 'scratch', 10) FROM generate_series(1201, 1205) m \g /dev/null
SELECT count(*) FROM (SELECT loyalty.draw(1201 + i / 10, 'scratch') FROM generate_series(0, 38) i) x \g /dev/null
SELECT is((SELECT count(DISTINCT ticket) FROM loyalty.draw_spin WHERE draw = 'scratch'), 39::bigint, 'different places');
SELECT loyalty.draw(1204, 'scratch') \g /dev/null
SELECT throws_ok($$SELECT loyalty.draw(1205, 'scratch')$$, 'LY756', NULL, 'all are sold');
SELECT is((SELECT array_agg(n || ' ' || prize ORDER BY prize) FROM (SELECT prize, count(*) AS n FROM loyalty.draw_spin WHERE draw = 'scratch' AND prize IS NOT NULL GROUP BY 1) x), '{"2 bicycle","1 car"}', 'exactly the prizes');
SELECT is((SELECT sum((loyalty.balance(m)).available) FROM generate_series(1201::bigint, 1205) m), 1200::numeric, 'paid');
SELECT loyalty.reveal_draw('scratch') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.audit_draw('scratch')$$, 'as the seed says');
-- merged members: spins add up, numbers go on, and what was drawn stays verifiable
INSERT INTO loyalty.member (member_id) SELECT generate_series(301, 302);
SELECT loyalty.grant_spin(301, 'random', 2), loyalty.grant_spin(302, 'random', 2) \g /dev/null
SELECT loyalty.draw(301, 'random'), loyalty.draw(302, 'random') \g /dev/null
SELECT merge_id FROM loyalty.merge_members(301, 302) \gset
SELECT is(loyalty.spins_left(302, 'random'), 2::bigint, 'spins add up');
SELECT is((SELECT nonce FROM loyalty.draw(302, 'random')), 2::bigint, 'the survivor''s second');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is((SELECT nonce FROM loyalty.draw(302, 'random')), 2::bigint, 'the other''s second');
SELECT loyalty.reveal_draw('random') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.audit_draw('random')$$, 'as the seed says');
-- who may read what
CREATE ROLE draw_app; CREATE ROLE draw_admin;
SELECT loyalty.grant_access('draw_app', 'app'), loyalty.grant_access('draw_admin', 'admin') \g /dev/null
SELECT is(has_table_privilege('draw_app', 'loyalty.draw_seed', 'SELECT') || ' ' || has_table_privilege('draw_app', 'loyalty.draw_place', 'SELECT') || ' ' || has_table_privilege('draw_app', 'loyalty.draw_commitment', 'SELECT')
	|| ' ' || has_table_privilege('draw_admin', 'loyalty.draw_seed', 'SELECT'), 'false false true true', 'seeds are secrets');
SELECT loyalty.grant_spin(42, 'random2') \g /dev/null
SET ROLE draw_app;
SELECT is((SELECT nonce FROM loyalty.draw(42, 'random2')), 1::bigint, 'an application draws');
SELECT throws_ok('SELECT seed FROM loyalty.draw_seed', '42501', NULL, 'and knows no seed');
SELECT throws_ok($$SELECT loyalty.grant_spin(42, 'random2')$$, '42501', NULL, 'nor grants spins');
SELECT is_empty($$SELECT * FROM loyalty.audit_draw('spring')$$, 'and may look whether all was right');
RESET ROLE;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
DROP OWNED BY draw_app, draw_admin; DROP ROLE draw_app, draw_admin;
SELECT * FROM finish();
