-- Room member, the program: resolving, linking, merging, unmerging, explaining
-- and forgetting; points of merged members; refusals with their SQLSTATE.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SET search_path = loyalty, public;
SELECT no_plan();

SELECT throws_ok($$SELECT * FROM resolve_member('{"email": "a@b.example"}')$$, 'LY001', NULL, 'before setup(): LY001');
SELECT setup() \g /dev/null
SELECT configure_namespace('shop', priority => 30, max_per_member => 2) \g /dev/null
SELECT configure_namespace('openid', priority => 5, fold_case => false, merge_unverified => true) \g /dev/null
SELECT configure_namespace('tablet', shared => true) \g /dev/null
CREATE FUNCTION pg_temp.resolve(identifiers jsonb, channel text DEFAULT 'app', attributes jsonb DEFAULT NULL, on_conflict text DEFAULT 'merge') RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s %s', outcome, member_id) FROM loyalty.resolve_member(identifiers, channel, attributes, on_conflict) $$;
-- [["email", "a@b.example"], ...], all verified
CREATE FUNCTION pg_temp.verified(VARIADIC pairs text[]) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT jsonb_agg(jsonb_build_object('namespace', split_part(p, '=', 1), 'value', split_part(p, '=', 2), 'verified', true)) FROM unnest(pairs) p $$;
CREATE FUNCTION pg_temp.points(m bigint, c text DEFAULT 'points') RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s available, %s pending, %s held, %s owed', available, pending, held, debt) FROM loyalty.balance(m, c) $$;

CREATE FUNCTION pg_temp.city(m bigint, rule text, channels text[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO loyalty.attribute_rule VALUES ('city', rule, channels)
	ON CONFLICT (attribute) DO UPDATE SET rule = excluded.rule, channels = excluded.channels;
	PERFORM loyalty.refresh_attributes(m);
	RETURN (SELECT attributes ->> 'city' FROM loyalty.member WHERE member_id = m);
END $$;

-- resolving
SELECT is(pg_temp.resolve('{"email": "Ann@B.example", "phone": "+49 170 1234567"}', 'app', '{"name": "Ann"}'), 'created 1', 'a new person');
SELECT is(pg_temp.resolve('{"email": " ann@b.EXAMPLE "}'), 'matched 1', 'known by another spelling');
SELECT is(pg_temp.resolve('[{"namespace": "phone", "value": "00491701234567"}, {"namespace": "shop", "value": "77"}]'), 'matched 1', 'a new identifier comes along');
SELECT is(member_of('shop', '77'), 1::bigint, 'and finds the member');
SELECT is(pg_temp.resolve('{"shop": "78", "tablet": "T1", "email": "ann@b.example"}'), 'matched 1', 'a shared value comes along');
SELECT is(pg_temp.resolve('{"tablet": "T1", "email": "bob@b.example"}'), 'created 2', 'and makes nobody the same');
SELECT is((SELECT count(*) FROM identifier WHERE namespace = 'tablet'), 2::bigint, 'both have it');
SELECT is((SELECT format('%s %s %s', outcome, member_id, why) FROM resolve_member('{"tablet": "T1"}')),
	'conflict  {"reason": "no identifier that tells who it is", "ignored": [{"reason": "shared", "namespace": "tablet"}]}', 'a shared value finds nobody');
SELECT is((SELECT why -> 'ignored' FROM resolve_member('{"email": "ann@b.example", "phone": "0000000000", "shop": "UNKNOWN"}')),
	'[{"reason": "garbage", "namespace": "phone"}, {"reason": "blocked", "namespace": "shop"}]'::jsonb, 'garbage and blocked values are ignored');
SELECT is((SELECT why -> 'ignored' FROM resolve_member('{"email": "ann@b.example", "shop": "79"}')),
	'[{"reason": "too many of this namespace", "namespace": "shop"}]'::jsonb, 'at most two shop ids for one member');
SELECT is(pg_temp.resolve('{"openid": "oAbC"}'), 'created 3', 'openid is case-sensitive');
SELECT is(pg_temp.resolve('{"openid": "oabc"}'), 'created 4', 'so this is somebody else');
SELECT is((SELECT format('%s %s %s', outcome, member_id, why ->> 'reason') FROM resolve_member('{"email": "ann@b.example", "openid": "oAbC"}')),
	'conflict  member 1 is known by nothing that may merge', 'an unverified e-mail does not merge');
SELECT is(pg_temp.resolve('{"email": "ann@b.example", "openid": "oAbC"}', on_conflict => 'first'), 'matched 3', 'first: the highest priority');
SELECT is(pg_temp.resolve('{"email": "ann@b.example", "openid": "oAbC"}', on_conflict => 'refuse'), 'conflict ', 'refuse: nobody');
SELECT is((SELECT format('%s %s %s', outcome, member_id, merge_id) FROM resolve_member(pg_temp.verified('email=ann@b.example', 'openid=oAbC'))),
	'merged 3 1', 'verified, it does');
SELECT is(canonical_member(1), 3::bigint, 'the old id leads to the member');
SELECT is((SELECT format('%s %s %s', outcome, member_id, home_member_id) FROM resolve_member('{"shop": "77"}')), 'matched 3 1', 'its identifiers too, and tell their home');
SELECT is((SELECT format('%s %s, %s %s', a.outcome, a.replayed, b.outcome, b.replayed) FROM resolve_member('{"email": "key@b.example"}', idempotency_key => 'k') a,
	resolve_member('{"email": "key@b.example"}', idempotency_key => 'k') b), 'created f, created t', 'a repeated key');
SELECT throws_ok($$SELECT * FROM resolve_member('{"email": "other@b.example"}', idempotency_key => 'k')$$, 'LY004', NULL, 'with other arguments: LY004');
CREATE FUNCTION pg_temp.detail_of(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE call;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
SELECT is(pg_temp.detail_of($$SELECT resolve_member('{"email": "other@b.example"}', idempotency_key => 'k')$$),
	'Another call of resolve_member() used it before.', 'a key of resolve_member() is no member''s');
SELECT is((SELECT array_agg(x.member_id ORDER BY x.member_id) FROM unnest('{oAbC,oabc}'::text[]) v, LATERAL resolve_member(jsonb_build_object('openid', v)) x),
	'{3,4}', 'fast path: with case');

-- attributes by their rules, undone with the merge
SELECT is((SELECT attributes FROM member WHERE member_id = 3), '{"name": "Ann"}', 'attributes came along');
SELECT is((SELECT attributes FROM member WHERE member_id = 1), '{}', 'and are kept once');
SELECT is(pg_temp.resolve('{"openid": "oAbC"}', 'mini', '{"name": "Anna", "city": "Ulm"}'), 'matched 3', 'given in another channel');
INSERT INTO attribute_rule VALUES ('name', 'priority', '{app,mini}');
SELECT refresh_attributes(1) \g /dev/null
SELECT is((SELECT attributes FROM member WHERE member_id = 1), '{}', 'asked under an absorbed number, it is the member that has them');
SELECT is((SELECT attributes FROM member WHERE member_id = 3), '{"name": "Ann", "city": "Ulm"}', 'the app is trusted before the mini-program');
SELECT is((SELECT member_id FROM unmerge_members(1)), 1::bigint, 'the merge is undone');
SELECT is((SELECT array_agg(attributes ORDER BY member_id) FROM member WHERE member_id IN (1, 3)),
	'{"{\"name\": \"Ann\"}","{\"city\": \"Ulm\", \"name\": \"Anna\"}"}'::jsonb[], 'and each has its own attributes');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');

-- which of several values counts: each channel's repeated value counts as often as it was given
CREATE FUNCTION pg_temp.give(channel text, city text, day int) RETURNS void LANGUAGE sql AS
	$$ SELECT FROM loyalty.resolve_member('{"email": "city@b.example"}', channel, jsonb_build_object('city', city), effective_at => timestamptz '2024-01-01' + day * interval '1 day') $$;
SELECT pg_temp.give(c, v, d) FROM (VALUES ('app', 'Ulm', 1), ('app', 'Ulm', 2), ('app', 'Ulm', 3), ('shop', 'Bonn', 4), ('till', 'Kiel', 5), ('till', NULL, 6)) v (c, v, d) \g /dev/null
SELECT member_id AS city FROM member_of('email', 'city@b.example') member_id \gset
SELECT is(pg_temp.city(:city, rule, channels::text[]), expected, format('city by rule %s %s', rule, channels)) FROM (VALUES
	('recent', '{}', NULL), ('non_null', '{}', 'Kiel'), ('frequent', '{}', 'Ulm'), ('first', '{}', 'Ulm'), ('priority', '{shop,app}', 'Bonn'),
	('priority', '{mini,till}', 'Kiel')) v (rule, channels, expected);
SELECT pg_temp.give('app', 'Ulm', 7) \g /dev/null
SELECT is(pg_temp.city(:city, 'recent', '{}'), 'Ulm', 'given again, it was given last');
SELECT is((SELECT count(*) FROM member_fact WHERE home_member_id = :city), 4::bigint, 'what a channel repeats is one row');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');

-- a repeated call is the same in any time zone
SET timezone = 'Asia/Shanghai';
SELECT member_id FROM resolve_member('{"email": "zone@b.example"}', effective_at => '2024-05-05 05:05+00', idempotency_key => 'zone') \g /dev/null
SET timezone = 'UTC';
SELECT is((SELECT replayed FROM resolve_member('{"email": "zone@b.example"}', effective_at => '2024-05-05 05:05+00', idempotency_key => 'zone')), true, 'an instant is an instant');

-- why, and the weakest link: 4 -operator-> 3, then 5 -phone-> 3
SELECT member_id AS eve FROM resolve_member('{"email": "eve@b.example"}') \gset
SELECT is((SELECT outcome FROM resolve_member(pg_temp.verified('email=eve@b.example', 'openid=oabc'))), 'merged', 'by an identifier');
SELECT merge_id AS by_hand FROM merge_members(1, :eve, 'called us') \gset
SELECT is((SELECT array_agg(format('%s>%s %s %s', member_id, joined_to, cause, weakest) ORDER BY step) FROM why_merged(:eve, 1)),
	ARRAY[format('%s>4 identifier t', :eve), '4>1 operator f'], 'the chain; an identifier is doubted before an operator');
SELECT is_empty('SELECT * FROM why_merged(1, 2)', 'no chain to somebody else');
SELECT is((SELECT count(*) FROM member_history(1) WHERE act = 'merged'), 3::bigint, 'history tells all merges');
SELECT is((SELECT identifiers FROM (SELECT count(*) AS identifiers FROM identifier WHERE member_id = 1) x), 7::bigint, 'identifiers of all three');

-- preview changes nothing, and tells what happens
SELECT earn(2, 30, 'points') \g /dev/null
CREATE TEMP TABLE preview AS SELECT kind, item - 'entry_id' AS item FROM preview_merge(1, 2) WHERE kind IN ('points', 'identifiers');
SELECT is((SELECT count(*) FROM member_alias), 2::bigint, 'preview_merge changes nothing');
SELECT merge_id AS m, moved FROM merge_members(1, 2) \gset
SELECT bag_eq($$SELECT kind, item FROM preview$$,
	$$SELECT kind, CASE WHEN kind = 'points' THEN item - 'entry_id' ELSE item END FROM member_merge_item WHERE merge_id = (SELECT max(merge_id) FROM member_merge) AND kind IN ('points', 'identifiers')$$,
	'and merge_members does what it said');
SELECT is((SELECT member_id FROM unmerge_members(:m)), 2::bigint, 'taken back');

-- points: holds, pending, expired, debt; through either id
SELECT member_id AS p FROM resolve_member('{"email": "p@b.example"}') \gset
SELECT member_id AS q FROM resolve_member('{"email": "q@b.example"}') \gset
SELECT earn(:p, 100) \g /dev/null
SELECT entry_id AS earned FROM earn(:q, 50) \gset
SELECT entry_id AS held FROM hold(:q, 20, now() + interval '1 hour') \gset
SELECT entry_id AS waiting FROM earn(:q, 30, pending => true) \gset
SELECT earn(:q, 11, effective_at => now() - interval '2 days', expires_at => now() - interval '1 day') \g /dev/null
SELECT merge_id AS m FROM merge_members(:p, :q) \gset
SELECT is(pg_temp.points(:p), '130 available, 30 pending, 20 held, 0 owed', 'holds and pending points stay what they are');
SELECT is(pg_temp.points(:q), pg_temp.points(:p), 'either id tells the balance');
SELECT is((SELECT available FROM capture(:p, :held, 15)), 135::bigint, 'a hold of the absorbed, captured through the survivor');
SELECT is((SELECT available FROM activate(:q, :waiting)), 165::bigint, 'an activation through the absorbed');
SELECT is((SELECT format('%s %s', a.replayed, b.replayed) FROM earn(:q, 5, idempotency_key => 'x') a, earn(:q, 5, idempotency_key => 'x') b), 'f t', 'idempotency keys of the absorbed');
SELECT throws_ok(format('SELECT transfer(%s, %s, 5)', :p, :q), 'LY112', NULL, 'no transfer to oneself: LY112');
SELECT is((SELECT available FROM reverse(:q, :earned)), 120::bigint, 'a return of what the absorbed earned');
SELECT throws_ok(format('SELECT * FROM reverse(%s, %s)', :p, :earned), 'LY105', NULL, 'once: LY105');
SELECT is((SELECT home_id FROM ledger WHERE member_id = :p AND kind = 'reverse'), :q::bigint, 'the entry names the member addressed');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');
SELECT is((SELECT member_id FROM unmerge_members(:m)), :q::bigint, 'undone');
SELECT is(pg_temp.points(:p), '85 available, 0 pending, 0 held, 0 owed', 'the return took what was there first');
SELECT is(pg_temp.points(:q), '35 available, 0 pending, 0 held, 0 owed', 'what is left of what the other brought, and earned since');
SELECT is((SELECT replayed FROM earn(:q, 5, idempotency_key => 'x')), true, 'its idempotency keys went with it');
SELECT throws_ok(format('SELECT * FROM reverse(%s, %s)', :p, :earned), 'LY103', NULL, 'its entries too: LY103');
SELECT is(rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM ledger)), 0::bigint, 'wallets are the fold of the ledger');

-- debt comes along, and what is available repays it; what is repaid stays so
SELECT member_id AS r FROM resolve_member('{"email": "r@b.example"}') \gset
SELECT entry_id AS e FROM earn(:r, 40) \gset
SELECT redeem(:r, 40) \g /dev/null
SELECT reverse(:r, :e) \g /dev/null
SELECT merge_id AS m FROM merge_members(:q, :r) \gset
SELECT is(pg_temp.points(:q), '0 available, 0 pending, 0 held, 5 owed', 'what the survivor has repays it');
SELECT is((SELECT debt FROM balance_homes((SELECT balance FROM wallet WHERE member_id = :q AND currency = 'points')) WHERE home_id = :r), 5::bigint, 'and the rest is known as the other''s');
SELECT is((SELECT member_id FROM unmerge_members(:m)), :r::bigint, 'and goes back');
SELECT is(pg_temp.points(:q) || '; ' || pg_temp.points(:r), '0 available, 0 pending, 0 held, 0 owed; 0 available, 0 pending, 0 held, 5 owed', 'to whoever owed it');
SELECT merge_id AS m FROM merge_members(:q, :r) \gset
SELECT earn(:q, 10) \g /dev/null
SELECT is(pg_temp.points(:r), '5 available, 0 pending, 0 held, 0 owed', 'the next earn repays it');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');

-- whose is what was earned since
SELECT member_id AS u FROM resolve_member('{"email": "u@b.example"}') \gset
SELECT member_id AS v FROM resolve_member('{"email": "v@b.example"}') \gset
SELECT merge_id AS m FROM merge_members(:u, :v) \gset
SELECT earn(:v, 7), earn(:u, 9, details => jsonb_build_object('identifier_id', (SELECT identifier_id FROM identifier WHERE value = 'v@b.example'))), earn(:u, 1) \g /dev/null
BEGIN;
SELECT unmerge_members(:m) \g /dev/null
SELECT is((SELECT format('%s %s', a.available, b.available) FROM balance(:u) a, balance(:v) b), '10 7', 'home: of the member addressed');
ROLLBACK;
BEGIN;
SELECT unmerge_members(:m, 'survivor') \g /dev/null
SELECT is((SELECT format('%s %s', a.available, b.available) FROM balance(:u) a, balance(:v) b), '17 0', 'survivor: of who stood for both');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');
ROLLBACK;
BEGIN;
SELECT unmerge_members(:m, 'identifier') \g /dev/null
SELECT is((SELECT format('%s %s', a.available, b.available) FROM balance(:u) a, balance(:v) b), '1 16', 'identifier: of whose identifier the posting names');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');
ROLLBACK;

-- as of the past each had its own
SELECT is((SELECT available FROM balance(:q, as_of => (SELECT min(recorded_at) - interval '1 hour' FROM member_merge))), 0::bigint, 'as of a past instant: the member''s own balance');

-- a merge is of the instant at which it is made: from then on the survivor has both, before it each has its own
CREATE TEMP TABLE asof AS SELECT a.member_id AS a, b.member_id AS b FROM resolve_member('{"email": "asof-a@b.example"}') a, resolve_member('{"email": "asof-b@b.example"}') b;
SELECT earn(a, 10, effective_at => '2026-01-01'), earn(b, 5, effective_at => '2026-01-01') FROM asof \g /dev/null
SELECT merge_id AS dated FROM asof, merge_members(a, b) \gset
SELECT pg_sleep(0.01), earn(b, 2, effective_at => now()) FROM asof \g /dev/null
SELECT unmerge_members(:dated) \g /dev/null
SELECT is((SELECT array_agg(format('%s %s', x.available, y.available) ORDER BY t.n)
	FROM asof, member_merge m, LATERAL (VALUES (1, timestamptz '2026-01-02'), (2, m.recorded_at - interval '1 microsecond'), (3, m.recorded_at + interval '8 milliseconds'),
		(4, clock_timestamp())) t (n, at), balance(a, as_of => t.at) x, balance(b, as_of => t.at) y WHERE m.merge_id = :dated),
	'{10 5,10 5,15 0,10 7}', 'as of before, after, and after its undoing');

-- what an identifier may say, and what not
SELECT member_id AS numbers FROM resolve_member('[{"namespace": "phone", "value": "01 8901234", "country": "AT"}, {"namespace": "phone", "value": "030 8901234", "country": "de"}]') \gset
SELECT is((SELECT array_agg(value ORDER BY value) FROM identifier WHERE member_id = :numbers), '{+4318901234,+49308901234}', 'each number is of its own country');
SELECT is((SELECT outcome FROM resolve_member('[{"namespace": "phone", "value": "01 8901234", "country": "AT"}]')), 'matched', 'known by it');
SELECT throws_ok(format('SELECT resolve_member(%L)', i), 'LY003', m, 'LY003: ' || i) FROM (VALUES
	('[{"namespace": "email", "value": "a@b.example", "verifed": true}]', 'malformed identifier'),
	('[{"namespace": "email", "value": "a@b.example", "verified": "yes"}]', 'malformed identifier'),
	('[{"namespace": "email", "value": ["a@b.example"]}]', 'malformed identifier'),
	('[{"namespace": "phone", "value": "1", "country": 49}]', 'malformed identifier'),
	('["email"]', 'malformed identifier'),
	('[{"namespace": "phone", "value": "030 123456", "country": "ZZ"}]', 'unknown default_country "ZZ"')) v (i, m);
SELECT throws_ok(format('SELECT %s', c), 'LY202', 'there is no member NULL', 'LY202: ' || c) FROM unnest(ARRAY[
	$$link_identifier(NULL, 'email', 'a@b.example')$$, $$link_identifier(NULL, 'email', 'a@b.example', idempotency_key => 'k')$$,
	$$unlink_identifier(NULL, 'email', 'a@b.example')$$, $$unlink_identifier(NULL, 'email', 'a@b.example', idempotency_key => 'k')$$]) c;

-- linking
SELECT is((SELECT linked FROM link_identifier(:u, 'phone', '+4930123456')), true, 'linked');
SELECT is((SELECT linked FROM link_identifier(:u, 'phone', '+49 30 123456', verified => true)), false, 'it had it');
SELECT is((SELECT verified FROM identifier WHERE value = '+4930123456'), true, 'and is verified now');
SELECT is((SELECT format('%s %s', a.replayed, b.replayed) FROM link_identifier(:u, 'shop', 'k1', idempotency_key => 'l') a, link_identifier(:u, 'shop', 'k1', idempotency_key => 'l') b), 'f t', 'a repeated key');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'phone', '+4930123456')$$, :p), 'LY204', NULL, 'of another member: LY204');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'phone', 'x')$$, :p), 'LY201', NULL, 'garbage: LY201');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'shop', 'unknown')$$, :p), 'LY205', NULL, 'blocked: LY205');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'shop', v) FROM unnest('{a1,a2,a3}'::text[]) v$$, :p), 'LY206', NULL, 'too many: LY206');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'nope', 'x')$$, :p), 'LY210', NULL, 'unknown namespace: LY210');
SELECT throws_ok($$SELECT link_identifier(999999, 'shop', 'x')$$, 'LY202', NULL, 'no such member: LY202');
SELECT lives_ok(format($$SELECT unlink_identifier(%s, 'phone', '+4930123456')$$, :u), 'unlinked');
SELECT throws_ok(format($$SELECT unlink_identifier(%s, 'phone', '+4930123456')$$, :u), 'LY212', NULL, 'no such identifier: LY212');
SELECT is(block_identifier('email', 'Shop@B.example', 'the shop''s own'), 'shop@b.example', 'blocked as it is stored');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'email', 'SHOP@b.example')$$, :p), 'LY205', NULL, 'LY205');
SELECT is((SELECT outcome FROM resolve_member('{"email": "shop@b.example"}')), 'conflict', 'and finds nobody');

-- refusals
SELECT throws_ok(format('SELECT merge_members(%s, %s)', :u, :v), 'LY209', NULL, 'one already: LY209');
SELECT throws_ok(format('SELECT preview_merge(%s, %s)', :u, :v), 'LY209', NULL, 'LY209 in preview');
SELECT throws_ok('SELECT merge_members(1, 999999)', 'LY202', NULL, 'no such member: LY202');
SELECT throws_ok('SELECT merge_members(1, NULL)', 'LY003', NULL, 'NULL: LY003');
SELECT throws_ok('SELECT unmerge_members(999999)', 'LY211', NULL, 'no such merge: LY211');
SELECT throws_ok('SELECT unmerge_members(1)', 'LY208', NULL, 'undone already: LY208');
SELECT throws_ok(format($$SELECT unmerge_members(%s, 'nobody')$$, :m), 'LY003', NULL, 'unknown policy: LY003');
SELECT is((SELECT count(*) FROM link_identifier(2, 'shop', 'z1')) + (SELECT count(*) FROM link_identifier(2, 'shop', 'z2')), 2::bigint, 'two shop ids');
SELECT throws_ok('SELECT merge_members(1, 2)', 'LY207', NULL, 'four together: LY207');
SELECT is((SELECT item FROM preview_merge(1, 2) WHERE kind = 'refusal'), '{"have": 4, "allowed": 2, "namespace": "shop"}', 'and preview says so');
SELECT throws_ok($$SELECT resolve_member('{"nope": "x"}')$$, 'LY210', NULL, 'LY210');
SELECT throws_ok($$SELECT resolve_member('"x"')$$, 'LY003', NULL, 'LY003');
SELECT throws_ok($$SELECT resolve_member('{"email": "a@b.example"}', on_conflict => 'x')$$, 'LY003', NULL, 'LY003');
SELECT throws_ok($$SELECT configure_namespace('shop', fold_case => false)$$, 'LY003', NULL, 'how values are stored stays: LY003');
SELECT throws_ok($$SELECT register_merge_handler('x', '{}', 'loyalty.nope')$$, 'LY003', NULL, 'no such function: LY003');
SELECT throws_ok(format('SELECT register_merge_handler(%L, %L)', r, '{}'), 'LY003', format('room "%s" is loyalty''s own', r), 'not of a room of ours: ' || r)
FROM unnest(loyalty.rooms()) r;
SELECT results_eq($$SELECT merge_function, unmerge_function, forget_function FROM merge_handler WHERE room = 'tier'$$,
	$$VALUES ('loyalty.merge_member_tiers', 'loyalty.unmerge_member_tiers', 'loyalty.forget_member_tiers')$$, 'whose handlers are those of setup()');
SELECT throws_ok(format('SELECT register_merge_handler($$x$$, %L)', t), 'LY003', NULL, 'no table of members: ' || t) FROM unnest('{"{currency}","{nope}","{NULL}","{wallet,NULL}"}'::text[]) t;

-- Names of functions that tables hold run with the rights of whoever merges.
CREATE ROLE handler_writer;
GRANT USAGE ON SCHEMA loyalty TO handler_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA loyalty TO handler_writer;
CREATE SCHEMA handler_writer AUTHORIZATION handler_writer;
CREATE SCHEMA "1;drop/**/schema/**/handler_writer/**/cascade;--";
SELECT throws_ok($$SELECT register_merge_handler('x', '{}', forget_function => '1;drop/**/schema/**/handler_writer/**/cascade;--.f')$$,
	'LY003', NULL, 'what is no name is no function: LY003');
CREATE FUNCTION "1;drop/**/schema/**/handler_writer/**/cascade;--".f(bigint[]) RETURNS void LANGUAGE sql AS '';
SELECT member_id AS forgettable FROM resolve_member('{"email": "forget@handler.example"}') \gset
SELECT lives_ok($$SELECT register_merge_handler('x', '{}', forget_function => '"1;drop/**/schema/**/handler_writer/**/cascade;--".f')$$, 'an odd name');
SELECT lives_ok(format('SELECT forget_member(%s)', :forgettable), 'is a name and no more');
SELECT has_schema('handler_writer');
SET ROLE handler_writer;
CREATE FUNCTION handler_writer.m(bigint, bigint, bigint) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE 'never'; END$$;
CREATE FUNCTION handler_writer.f(bigint[]) RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE 'never'; END$$;
SELECT throws_ok($$UPDATE loyalty.merge_handler SET merge_function = 'handler_writer.m' WHERE room = 'x'$$, '42501', NULL, 'whatever was granted: 42501');
RESET ROLE;
UPDATE loyalty.merge_handler SET merge_function = 'handler_writer.m', unmerge_function = NULL, forget_function = 'handler_writer.f' WHERE room = 'x';
SELECT a.member_id AS one, b.member_id AS other FROM resolve_member('{"email": "one@handler.example"}') a, resolve_member('{"email": "other@handler.example"}') b \gset
SELECT throws_ok(format('SELECT merge_members(%s, %s)', :one, :other), '42501', NULL, 'a handler of somebody else does not run: 42501');
SELECT throws_ok(format('SELECT forget_member(%s)', :one), '42501', NULL, 'nor when somebody is forgotten');
SELECT throws_ok($$SELECT register_merge_handler('x', '{}', 'handler_writer.m')$$, '42501', NULL, 'nor is it registered');
ALTER FUNCTION handler_writer.m(bigint, bigint, bigint) OWNER TO CURRENT_USER;
SELECT throws_ok(format('SELECT merge_members(%s, %s)', :one, :other), 'P0001', 'never', 'one of the tables'' owner does');
DELETE FROM merge_handler WHERE room = 'x';
DROP SCHEMA handler_writer, "1;drop/**/schema/**/handler_writer/**/cascade;--" CASCADE;
DROP OWNED BY handler_writer;
DROP ROLE handler_writer;
SELECT is((SELECT format('%s %s', a.merge_id = b.merge_id, b.replayed) FROM merge_members(:p, 4, idempotency_key => 'mm') a, merge_members(:p, 4, idempotency_key => 'mm') b), 't t', 'a repeated merge');

-- a value that several share, of two who became one
SELECT member_id AS left_hand FROM resolve_member('{"email": "left@b.example", "tablet": "T9"}') \gset
SELECT member_id AS right_hand FROM resolve_member('{"email": "right@b.example", "tablet": "T9"}') \gset
SELECT array_agg(identifier_id ORDER BY home_member_id) AS tablets FROM identifier WHERE namespace = 'tablet' AND value = 't9' \gset
SELECT merge_members(:left_hand, :right_hand) \g /dev/null
SELECT is(identifier_id, (:'tablets'::bigint[])[2], 'unlinked from both: the number is that of the member who was asked')
FROM unlink_identifier(:right_hand, 'tablet', 'T9', 'sold');
SELECT is_empty($$SELECT FROM identifier WHERE namespace = 'tablet' AND value = 't9'$$, 'and neither has it any more');
SELECT results_eq(format('SELECT member_id, identifier_id FROM member_act WHERE act = %L AND namespace = %L AND reason = %L ORDER BY 1', 'unlinked', 'tablet', 'sold'),
	format('SELECT * FROM unnest(ARRAY[%s, %s]::bigint[], %L::bigint[])', :left_hand, :right_hand, :'tablets'), 'which both have in their history');

-- canonical_member: in a big join, and inside one transaction
CREATE TEMP TABLE many AS SELECT member_id, canonical_member(member_id) AS c FROM member, generate_series(1, 50);
SELECT is_empty('SELECT m.member_id FROM many m LEFT JOIN member_alias a USING (member_id) WHERE m.c <> coalesce(a.canonical_id, m.member_id)', 'canonical_member over many rows');
SELECT is((SELECT array_agg(canonical_member(m)) FROM unnest(ARRAY[NULL, 999999]::bigint[]) m), '{NULL,999999}', 'of NULL and of a stranger');
CREATE FUNCTION pg_temp.sees(m bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN loyalty.canonical_member(m); END $$;
BEGIN;
SELECT is((SELECT array_agg(DISTINCT pg_temp.sees(:r)) FROM generate_series(1, 40)), ARRAY[:q]::bigint[], 'kept expressions');
SELECT unmerge_members((SELECT merge_id FROM member_alias WHERE member_id = :r)) \g /dev/null
SELECT is((SELECT array_agg(DISTINCT pg_temp.sees(:r)) FROM generate_series(1, 40)), ARRAY[:r]::bigint[], 'see what the transaction did');
ROLLBACK;
SELECT is(pg_temp.sees(:r), :q::bigint, 'and that it was rolled back');

-- forgetting
CREATE TEMP TABLE sums AS SELECT currency, sum(points) AS points, count(*) AS entries FROM ledger GROUP BY currency;
SELECT is((SELECT members FROM forget_member(:v, 'asked for it')), ARRAY[:u, :v]::bigint[], 'the person, under every id');
SELECT is_empty('SELECT currency, points, entries FROM sums EXCEPT SELECT currency, sum(points), count(*) FROM ledger GROUP BY currency', 'ledger sums are unchanged');
SELECT is((SELECT count(*) FROM member_act WHERE act = 'forgotten' AND member_id IN (:u, :v)), 2::bigint, 'which is noted');
SELECT is((SELECT format('%s %s', cardinality(members), identifiers) FROM forget_member(:u)), '2 0', 'again');
SELECT is((SELECT count(*) FROM member_act WHERE act = 'forgotten' AND member_id IN (:u, :v)), 2::bigint, 'and is noted once');
SELECT is_empty(format('SELECT 1 FROM identifier WHERE home_member_id IN (%s, %s) UNION ALL SELECT 1 FROM member_fact WHERE home_member_id IN (%1$s, %2$s)', :u, :v), 'no identifier and no attribute is left');
SELECT is_empty(format($$SELECT x FROM loyalty.%I x WHERE x::text ~ '[uv]@b.example|asked for it'$$, t), 'nor a copy in ' || t)
FROM unnest('{member,identifier,member_fact,member_act,member_merge,member_merge_item,request}'::text[]) t;
SELECT throws_ok(format('SELECT unmerge_members(%s)', :m), 'LY203', NULL, 'its merges stay: LY203');
SELECT member_id AS x FROM resolve_member('{"email": "x@b.example"}') \gset
SELECT member_id AS y FROM resolve_member('{"email": "y@b.example"}') \gset
SELECT unmerge_members(merge_id, reason => 'the twin of x') FROM merge_members(:x, :y, 'x said so') \g /dev/null
SELECT forget_member(:y) \g /dev/null
SELECT is_empty($$SELECT reason FROM member_act WHERE reason IN ('x said so', 'the twin of x')
	UNION ALL SELECT reason FROM member_merge WHERE reason = 'x said so' OR unmerge_reason = 'the twin of x'$$, 'reasons of an undone merge go, on both sides');
SELECT throws_ok(format($$SELECT link_identifier(%s, 'email', 'new@b.example')$$, :u), 'LY203', NULL, 'nothing is linked any more: LY203');
SELECT is((SELECT outcome FROM resolve_member('{"email": "v@b.example"}')), 'created', 'the person is new when it comes again');
SELECT is((SELECT available FROM redeem(:v, 1)), 16::bigint, 'points are there, by number');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');

-- numbers of new members: none under which anything stands already, whoever gave it
CREATE FUNCTION pg_temp.new_member() RETURNS bigint LANGUAGE sql AS
	$$ SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', format('new%s@b.example', (SELECT count(*) FROM loyalty.identifier)))) $$;
SELECT pg_temp.new_member() AS n \gset
SELECT earn(:n + 1, 5) \g /dev/null
SELECT is(pg_temp.new_member(), :n + 2::bigint, 'not that of points');
SELECT setval(pg_get_serial_sequence('loyalty.member', 'member_id'), :n) \g /dev/null
SELECT is(pg_temp.new_member(), :n + 4::bigint, 'also where the sequence stands before it');
CREATE TABLE loyalty.gift (member_id bigint PRIMARY KEY);
SELECT register_merge_handler('gift', '{gift}') \g /dev/null
INSERT INTO loyalty.gift SELECT :n + i FROM generate_series(5, 103) i;
INSERT INTO member_fact (home_member_id, attribute, value, given_at, last_given_at) VALUES (:n + 104, 'x', '1', now(), now());
SELECT pg_temp.new_member() AS beyond \gset
SELECT cmp_ok(:beyond::bigint, '>', :n + 104::bigint, 'nor that of another room''s things, nor of attributes');
SELECT cmp_ok(:beyond::bigint, '<', :n + 104 + 100::bigint, 'and not far beyond');
DROP TABLE loyalty.gift;
SELECT cmp_ok(pg_temp.new_member(), '>', :beyond::bigint, 'a table that is gone is nothing');
SELECT earn(9000000000000000000, 1) \g /dev/null
SELECT cmp_ok(pg_temp.new_member(), '<', 1000000::bigint, 'numbers of another scheme lead nowhere');
SELECT is((SELECT array_agg(format('%s %s', member_id, detail) ORDER BY member_id) FROM check_all() WHERE invariant = 'stranger'),
	ARRAY[format('%s there is no such member, and it has a wallet', :n + 1), '9000000000000000000 there is no such member, and it has a wallet'], 'check_all() names wallets of nobody');
SELECT throws_ok('SELECT configure_program(known_members_only => true)', 'LY202', NULL, 'with such there is no program for known members only: LY202');
INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet ON CONFLICT DO NOTHING;
SELECT is((SELECT known_members_only FROM configure_program(known_members_only => true)), true, 'without, there is');
SELECT is((SELECT known_members_only FROM configure_program()), true, 'which stays');
SELECT throws_ok(format('SELECT %s', c), 'LY202', 'there is no member 777777', 'LY202: ' || c) FROM unnest(ARRAY['earn(777777, 1)', 'adjust(777777, 1, ''x'')', 'transfer(2, 777777, 1)',
	'post_many(''{777777}'', ''{earn}'', ''{1}'')']) c;
CREATE TEMP VIEW stranger AS SELECT 777777::bigint AS member_id, 1::bigint AS points, now() AS effective_at;
SELECT throws_ok($$SELECT backfill('pg_temp.stranger')$$, 'LY202', 'there is no member 777777', 'LY202: backfill()');
SELECT lives_ok('SELECT earn(2, 1, ''points'')', 'a member earns');
SELECT throws_ok('SELECT backfill(4294967295::regclass)', 'LY003', NULL, 'a table that is gone: LY003');
SELECT known_members_only FROM configure_program(known_members_only => false) \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'check_all()');

-- what check_all() finds
CREATE FUNCTION pg_temp.found(broken text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	result text[];
BEGIN
	EXECUTE broken;
	result := (SELECT array_agg(DISTINCT invariant ORDER BY invariant) FROM loyalty.check_all());
	IF EXISTS (WITH whole AS (SELECT * FROM loyalty.check_all()), parts AS (SELECT c.*
			FROM (VALUES (NULL::bigint, -1::bigint), (-1, 2), (2, 4), (4, NULL)) r (behind, up_to), loyalty.check_all(r.behind, r.up_to) c)
		(TABLE whole EXCEPT ALL TABLE parts) UNION ALL (TABLE parts EXCEPT ALL TABLE whole)) THEN
		result := result || 'ranges of members say something else'::text;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'LYRLB';
EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
	RETURN result;
END $$;
SELECT is(pg_temp.found(b), f, 'check_all() finds: ' || b) FROM (VALUES
	('UPDATE loyalty.member_alias SET canonical_id = 2 WHERE member_id = 4', '{alias}'::text[]),
	('DELETE FROM loyalty.member_alias WHERE member_id = 4', '{alias,status,wallet}'),
	('UPDATE loyalty.identifier SET member_id = 2 WHERE namespace = ''openid'' AND value = ''oAbC''', '{identifier}'),
	('UPDATE loyalty.member SET status = ''absorbed'' WHERE member_id = 2', '{identifier,status}'),
	('UPDATE loyalty.member SET attributes = ''{"x": 1}'' WHERE member_id = 3', '{attributes}'),
	('DELETE FROM loyalty.member WHERE member_id = 3', '{identifier,stranger}'),
	('UPDATE loyalty.member_merge SET survivor_id = 4 WHERE absorbed_id = 1 AND unmerged_at IS NULL', '{alias,attributes,identifier,merge}'),
	('CREATE TABLE loyalty.thing (member_id bigint)', '{handler}')) v (b, f);
-- History may go on under the number of a merged member: what was reversed meanwhile, under whichever number, counts.
SELECT a.member_id AS old, b.member_id AS new FROM resolve_member('{"email": "old@history.example"}') a, resolve_member('{"email": "new@history.example"}') b \gset
CREATE TEMP TABLE past (member_id bigint, points bigint, effective_at timestamptz, kind text, idempotency_key text, target_key text);
INSERT INTO past VALUES (:old, 100, '2024-01-01', 'earn', 'sale', NULL);
SELECT is((SELECT entries FROM backfill('past')), 1::bigint, 'history of who is merged later');
SELECT merge_id FROM merge_members(:new, :old) \g /dev/null
SELECT lives_ok(format('SELECT reverse(%s, (SELECT entry_id FROM ledger WHERE idempotency_key = %L), 60, effective_at => %L)', :new, 'sale', '2024-02-01'), 'sixty of it go back');
UPDATE past SET points = 60, effective_at = '2024-03-01', kind = 'reverse', idempotency_key = NULL, target_key = 'sale';
SELECT throws_ok($$SELECT backfill('past')$$, 'LY105', NULL, 'forty are left, not sixty more: LY105');
UPDATE past SET points = 40;
SELECT is((SELECT entries FROM backfill('past')), 1::bigint, 'forty');
SELECT is((SELECT ROW(available, debt) FROM balance(:new))::text, '(0,0)', 'and all is back');

SELECT throws_ok('UPDATE loyalty.wallet SET moved = true', 'LY005', NULL, 'only merges mark wallets: LY005');
SELECT throws_ok('SELECT loyalty.wallet_apply(loyalty.empty_balance(), true, false)', '42501', NULL, 'not by itself');
-- a shared value, by hand
SELECT configure_namespace('kiosk', shared => true) \g /dev/null
SELECT member_id AS m1 FROM resolve_member('{"email": "kiosk.1@b.example"}') \gset
SELECT member_id AS m2 FROM resolve_member('{"email": "kiosk.2@b.example"}') \gset
SELECT is((SELECT string_agg(l.linked::text, ', ' ORDER BY n) FROM unnest(ARRAY[:m1, :m2, :m1]) WITH ORDINALITY u (m, n), link_identifier(m, 'kiosk', 'K7') l),
	'true, true, false', 'link_identifier() gives a shared value to each, and once');
SELECT is((SELECT array_agg(member_id ORDER BY member_id) FROM identifier WHERE namespace = 'kiosk'), ARRAY[:m1, :m2]::bigint[], 'both have it');
SELECT is((SELECT replayed FROM unlink_identifier(:m1, 'kiosk', 'K7')), false, 'one may lose it');
SELECT is((SELECT array_agg(member_id) FROM identifier WHERE namespace = 'kiosk'), ARRAY[:m2]::bigint[], 'the other has it still');

-- What a trigger of the user's refuses is refused, and not taken for a sign that another session was faster.
CREATE TABLE public.mirror (id bigint UNIQUE);
INSERT INTO public.mirror VALUES (1);
CREATE FUNCTION public.object() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF current_setting('test.state') = 'mirror' THEN
		INSERT INTO public.mirror VALUES (1);
	ELSIF current_setting('test.state') = 'silence' THEN
		RETURN NULL;
	END IF;
	RAISE EXCEPTION 'objection' USING ERRCODE = current_setting('test.state');
END $$;
SELECT member_id AS t1 FROM resolve_member('{"email": "objects@b.example"}') \gset
SELECT earn(:t1, 5) \g /dev/null
CREATE TRIGGER object BEFORE INSERT ON loyalty.identifier FOR EACH ROW EXECUTE FUNCTION public.object();
CREATE TRIGGER object AFTER INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION public.object();
SET statement_timeout = '120s';
CREATE FUNCTION pg_temp.objects_to(state text, call text, raised text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('test.state', state, false);
	RETURN throws_ok(call, raised, NULL, format('%s: %s of a trigger', substring(call from '[a-z_]+\('), state));
END $$;
SELECT pg_temp.objects_to(x.state, c.call, x.raised)
FROM (VALUES ('LY207', 'LY207'), ('unique_violation', '23505'), ('mirror', '23505'), ('serialization_failure', '40001'),
	-- who raises the signal of the house for ever is told so, in the end
	('LX001', '54000')) x (state, raised),
	LATERAL (VALUES ($$SELECT resolve_member('{"email": "objected@b.example"}')$$),
		(format('SELECT link_identifier(%s, %L, %L)', :t1, 'email', 'objected@b.example')),
		(format('SELECT transfer(%s, 4002, 1)', :t1))) c (call);
SELECT set_config('test.state', 'silence', false) \g /dev/null
SELECT is((SELECT linked FROM link_identifier(:t1, 'email', 'objected@b.example')), true, 'a row that a trigger drops is not waited for');
DROP TRIGGER object ON loyalty.identifier;
DROP TRIGGER object ON loyalty.ledger;
CREATE UNIQUE INDEX one_of_each ON loyalty.identifier (namespace, channel) WHERE channel = 'once';
SELECT lives_ok($$SELECT resolve_member('{"email": "once1@b.example"}', 'once')$$, 'an index of the user''s');
SELECT throws_ok($$SELECT resolve_member('{"email": "once2@b.example"}', 'once')$$, '23505', 'duplicate key value violates unique constraint "one_of_each"',
	'refuses what it finds twice');
DROP INDEX loyalty.one_of_each;
RESET statement_timeout;
SELECT throws_ok('SELECT loyalty.restart_call(''why'')', 'LX001', 'why', 'the signal itself has no SQLSTATE of a refusal');

-- One key, under any number of a member and for one function.
SELECT member_id AS k1 FROM resolve_member('{"email": "key1@b.example"}') \gset
SELECT member_id AS k2 FROM resolve_member('{"email": "key2@b.example"}') \gset
SELECT is((SELECT replayed FROM link_identifier(:k2, 'shop', 'key 2', idempotency_key => 'same')), false, 'a call');
SELECT is((SELECT replayed FROM link_identifier(:k1, 'shop', 'key 1', idempotency_key => 'same')), false, 'its key is free for another member');
SELECT is((SELECT replayed FROM unlink_identifier(:k1, 'shop', 'key 1', idempotency_key => 'same')), false, 'and for another function');
SELECT link_identifier(:k2, 'shop', 'key 3', idempotency_key => 'of k2') \g /dev/null
SELECT merge_id AS km FROM merge_members(:k1, :k2) \gset
SELECT is((SELECT replayed FROM link_identifier(:k1, 'shop', 'key 3', idempotency_key => 'of k2')), true, 'of who is one with it');
SELECT throws_ok(format('SELECT link_identifier(%s, %L, %L, idempotency_key => %L)', :k1, 'shop', 'key 4', 'of k2'), 'LY004',
	'idempotency key "of k2" was used with other arguments', 'and not with other arguments');
SELECT is((SELECT replayed FROM link_identifier(:k2, 'shop', 'key 2', idempotency_key => 'same')), true, 'its own before the other''s');
SELECT unmerge_members(:km) \g /dev/null
SELECT is((SELECT replayed FROM link_identifier(:k1, 'shop', 'key 5', idempotency_key => 'of k2')), false, 'free once they are two again');
SELECT throws_ok(format('SELECT link_identifier(%s, %L, %L, idempotency_key => %L)', :k1, 'shop', 'key 6', repeat('k', 2001)), 'LY003',
	'idempotency_key is longer than 2000 bytes', 'a key that no index holds');
SELECT lives_ok(format('SELECT unlink_identifier(%s, %L, %L, idempotency_key => %L)', :k1, 'shop', 'key 5', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 62) i)),
	'a long one');
SELECT * FROM finish();
