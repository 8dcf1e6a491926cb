-- Who did what by hand, and what one person may not do alone.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE ROLE acts_owner;
CREATE ROLE acts_alice;
CREATE ROLE acts_bob;
CREATE ROLE acts_desk;		-- a group, and nobody's login
CREATE ROLE acts_reader;
CREATE ROLE acts_till;
CREATE ROLE acts_boss;
CREATE ROLE acts_pool;		-- of an application that names who acts
CREATE ROLE acts_web;		-- of another
CREATE ROLE acts_member;
GRANT acts_desk TO acts_alice;
GRANT acts_pool TO acts_member;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO acts_owner', current_database()); END $$;
SET ROLE acts_owner;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.grant_access(r, l) FROM (VALUES ('acts_alice', 'clerk'), ('acts_bob', 'clerk'), ('acts_desk', 'clerk'), ('acts_reader', 'reader'),
	('acts_till', 'app'), ('acts_boss', 'admin'), ('acts_pool', 'operator'), ('acts_web', 'operator')) x (r, l) \g /dev/null
SELECT loyalty.trust_actors(r) FROM unnest('{acts_pool,acts_web}'::text[]) r \g /dev/null
SELECT loyalty.create_currency('stars'), loyalty.create_currency('miles') \g /dev/null
SELECT loyalty.define_measure('orders'), loyalty.define_ladder('club', '{"measures": [{"measure": "orders", "window": "lifetime"}],
	"levels": [{"level": "blue", "all": {"orders": 0}}, {"level": "gold", "all": {"orders": 5}}]}') \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 40);
RESET ROLE;
SELECT no_plan();

-- Runs SQL as somebody: a role that logs in, /actor that it names, >role that it
-- sets.  The value that it returns, or the SQLSTATE.
CREATE FUNCTION pg_temp.as(who text, sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	part CONSTANT text[] := regexp_match(who, '^(\w+)(?:/([^>]*))?(?:>(\w+))?$');
	result text;
BEGIN
	EXECUTE format('SET SESSION AUTHORIZATION acts_%s', part[1]);
	PERFORM set_config('loyalty.actor', coalesce(part[2], ''), true);
	IF part[3] IS NOT NULL THEN
		EXECUTE format('SET LOCAL ROLE acts_%s', part[3]);
	END IF;
	EXECUTE sql INTO result;
	RESET SESSION AUTHORIZATION;
	PERFORM set_config('loyalty.actor', '', true);
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION pg_temp.last_act() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', a.act, a.member_id, a.points, a.person, a.session_role, a.role, coalesce(a.actor, '-')) FROM loyalty.operator_act a ORDER BY a.act_id DESC LIMIT 1
$$;
CREATE FUNCTION pg_temp.acts() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM loyalty.operator_act';

-- Who it is
SELECT is(act, 'grant_access', 'what the owner defined is kept: ' || subject) FROM loyalty.operator_act WHERE subject = 'acts_till: app';
SELECT results_eq($$SELECT act, count(*), bool_and(person = session_user AND role = 'acts_owner') FROM loyalty.operator_act GROUP BY act ORDER BY act COLLATE "C"$$, $$VALUES
	('create_currency', 2::bigint, true), ('define_ladder', 1, true), ('define_measure', 1, true), ('grant_access', 8, true), ('trust_actors', 2, true)$$,
	'by whom: the one who logged in, not the owner of the tables');
SELECT results_eq('SELECT role COLLATE "default", level FROM loyalty.access WHERE names_actors ORDER BY role COLLATE "C"', $$VALUES ('acts_pool', 'operator'), ('acts_web', 'operator')$$, 'who names actors');
CREATE FUNCTION pg_temp.kept(who text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.as(who, 'SELECT entry_id FROM loyalty.adjust(1, 10, $q$gift$q$)');
	RETURN pg_temp.last_act();
END
$$;
SELECT is(pg_temp.kept(who), 'adjust 1 10 ' || kept, who) FROM (VALUES
	('alice', 'acts_alice acts_alice acts_alice -'),
	('alice>desk', 'acts_alice acts_alice acts_desk -'),
	('alice/acts_bob', 'acts_alice acts_alice acts_alice acts_bob'),
	('pool/carol', 'carol acts_pool acts_pool carol'),
	('web/Zoë Müller', 'Zoë Müller acts_web acts_web Zoë Müller')) x (who, kept);
SELECT is(pg_temp.as(who, sql), state, format('%s: %s', who, sql)) FROM (VALUES
	('pool', 'SELECT loyalty.adjust(1, 10, ''x'')', 'LY024'),
	('pool>alice', 'SELECT 1', '42501'),
	('member/carol', 'SELECT loyalty.acting_person()', 'acts_member'),
	('member/carol>pool', 'SELECT loyalty.acting_person()', 'acts_member'),
	('pool/carol', 'SELECT loyalty.acting_person()', 'carol'),
	('pool', 'SELECT loyalty.acting_person()', 'LY024'),
	('alice/carol', 'SELECT loyalty.acting_person()', 'acts_alice'),
	('alice/carol', 'SELECT loyalty.named_actor()', 'carol'),
	('reader', 'SELECT loyalty.acting_person()', 'acts_reader'),
	('pool', 'SELECT loyalty.create_currency(''more'')', '42501'),
	('pool', 'SELECT entry_id IS NOT NULL FROM loyalty.earn(1, 10)', 'true'),
	('pool', 'SELECT entry_id IS NOT NULL FROM loyalty.redeem(1, 10)', 'true'),
	('pool', 'SELECT loyalty.reverse(1, 1)', 'LY024')) x (who, sql, state);
SELECT throws_ok(format('SET loyalty.actor = %L', name), '22023', 'invalid value for parameter "loyalty.actor": "' || name || '"', 'an actor that is none: ' || left(name, 10))
FROM (VALUES (repeat('é', 101)), (' alice'), ('alice '), (E'al\nice')) x (name);
SELECT lives_ok(format('SET loyalty.actor = %L', repeat('é', 100)), 'of 200 bytes');

-- An actor is named for a transaction, and not by what one before it left.
SET SESSION AUTHORIZATION acts_pool;
SET loyalty.actor = 'left over';
SELECT throws_ok($$SELECT loyalty.adjust(1, 1, 'x')$$, 'LY024', 'role "acts_pool" must name who acts', 'a setting of the session');
BEGIN;
SELECT throws_ok($$SELECT loyalty.adjust(1, 1, 'x')$$, 'LY024', NULL, 'in any transaction');
SAVEPOINT s;
SET LOCAL loyalty.actor = 'dan';
SELECT is(loyalty.acting_person(), 'dan', 'a setting of the transaction');
ROLLBACK TO s;
SELECT throws_ok('SELECT loyalty.acting_person()', 'LY024', NULL, 'until it is taken back');
SET LOCAL loyalty.actor = 'eve';
SAVEPOINT t;
SET LOCAL loyalty.actor = 'dan';
ROLLBACK TO t;
SELECT is(loyalty.acting_person(), 'eve', 'by which the one before counts');
COMMIT;
SELECT throws_ok('SELECT loyalty.acting_person()', 'LY024', NULL, 'and not beyond its end');
SELECT is((SELECT loyalty.acting_person() FROM set_config('loyalty.actor', 'fay', true) OFFSET 0), 'fay', 'named in the same statement');
RESET loyalty.actor;
RESET SESSION AUTHORIZATION;

-- Each act, by a clerk: a row that says on what
CREATE TEMP TABLE did (n integer, act text, sql text, object text);
INSERT INTO did VALUES
	(1, 'adjust', $$SELECT entry_id FROM loyalty.adjust(2, 50, 'x')$$, '2 entry'),
	(2, 'reverse', $$SELECT entry_id FROM loyalty.reverse(2, (SELECT max(entry_id) FROM loyalty.ledger WHERE member_id = 2), 20)$$, '2 entry'),
	(3, 'reverse', $$SELECT entry_id FROM loyalty.reverse(2, (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 2))$$, '2 entry'),
	(4, 'merge_members', 'SELECT merge_id FROM loyalty.merge_members(2, 3)', '3 merge'),
	(5, 'adjust', $$SELECT entry_id FROM loyalty.adjust(3, 5, 'for the absorbed one')$$, '2 entry'),
	(6, 'unmerge_members', 'SELECT 1 FROM loyalty.unmerge_members(1)', '3 merge'),
	(7, 'grant_tier', $$SELECT grant_id FROM loyalty.grant_tier(4, 'club', 'gold', 'paid', period => '1 year', fee => 10)$$, '4 grant'),
	(8, 'grant_tier', 'SELECT new_grant_id FROM loyalty.renew_grant(4, 1)', '4 grant'),
	(9, 'end_grant', $$SELECT 2 FROM loyalty.end_grant(4, 2, 'full')$$, '4 grant'),
	(10, 'link_identifier', $$SELECT identifier_id FROM loyalty.link_identifier(5, 'email', 'five@acts.example')$$, '5 identifier'),
	(11, 'unlink_identifier', $$SELECT identifier_id FROM loyalty.unlink_identifier(5, 'email', 'five@acts.example')$$, '5 identifier'),
	(12, 'forget_member', $$SELECT NULL::bigint FROM loyalty.forget_member(6)$$, '6 none'),
	(13, 'rebuild_wallets', 'SELECT NULL::bigint FROM loyalty.rebuild_wallets_of(''{1,2}'')', ' none'),
	(14, 'set_joined', $$SELECT NULL::bigint FROM loyalty.set_joined(4, '2020-05-01')$$, '4 none');
SET ROLE acts_owner;
ALTER TABLE loyalty.wallet DISABLE TRIGGER USER;
UPDATE loyalty.wallet SET balance = loyalty.empty_balance() WHERE member_id = 1;
ALTER TABLE loyalty.wallet ENABLE TRIGGER USER;
RESET ROLE;
CREATE FUNCTION pg_temp.do_it(d did) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before CONSTANT bigint := pg_temp.acts();
	object CONSTANT text := coalesce(pg_temp.as('alice', d.sql), 'none');
BEGIN
	RETURN is((SELECT string_agg(concat_ws(' ', a.act, a.member_id, coalesce(a.object_id::text, 'none'), a.person), ', ') FROM loyalty.operator_act a
			WHERE a.act_id > (SELECT max(b.act_id) FROM (SELECT c.act_id FROM loyalty.operator_act c ORDER BY c.act_id LIMIT before) b)),
		concat_ws(' ', d.act, nullif(split_part(d.object, ' ', 1), ''), CASE WHEN split_part(d.object, ' ', 2) = 'none' THEN 'none' ELSE object END, 'acts_alice'),
		d.n || ': ' || d.act);
END
$$;
SELECT pg_temp.do_it(d) FROM did d ORDER BY n;
SELECT results_eq('SELECT act, points, currency FROM loyalty.operator_act WHERE act = $$reverse$$ ORDER BY act_id', $$VALUES ('reverse', 20::bigint, 'points'), ('reverse', 30, 'points')$$,
	'points of a reversal: all there was, where that was asked for');

-- and none for what is no act by hand, for what is repeated, or rolled back
CREATE TABLE sale (id bigint PRIMARY KEY, member_id bigint, points bigint);
ALTER TABLE sale OWNER TO acts_owner;
SET ROLE acts_owner;
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON sale FOR EACH ROW EXECUTE FUNCTION loyalty.award_points('source=sale', 'member=member_id', 'points=points');
RESET ROLE;
GRANT ALL ON sale TO acts_till;
REVOKE TRIGGER ON sale FROM acts_till;
CREATE TEMP TABLE before AS SELECT pg_temp.acts() AS acts;
SELECT isnt(pg_temp.as(who, sql), state, sql) FROM (VALUES
	('till', 'SELECT loyalty.earn(7, 100, idempotency_key => ''e'')', '42501'),
	('till', 'SELECT loyalty.redeem(7, 10)', '42501'),
	('till', 'SELECT loyalty.hold(7, 10, ''infinity'')', 'LY106'),
	('till', 'SELECT loyalty.transfer(7, 8, 10)', '42501'),
	('till', 'SELECT loyalty.post_many(''{7,8}'', ''{earn,redeem}'', ''{1,1}'')', '42501'),
	('till', 'INSERT INTO sale VALUES (1, 7, 100) RETURNING 1', '42501'),
	('till', 'UPDATE sale SET points = 50 RETURNING 1', '42501'),
	('till', 'SELECT loyalty.resolve_member(''[{"namespace": "email", "value": "nine@acts.example", "verified": true}]'')', '42501'),
	('alice', 'SELECT loyalty.evaluate_member_tiers(1)', '42501'), ('alice', 'SELECT loyalty.rebuild_wallets_of(''{1,2}'')', '42501')) x (who, sql, state);
SELECT is(pg_temp.as('alice', $$SELECT replayed FROM loyalty.adjust(7, 1, 'x', idempotency_key => 'k')$$), 'false', 'an act with a key');
SELECT is(pg_temp.acts(), acts + 1, 'these leave nothing, but for the last') FROM before;
SELECT is(pg_temp.as('alice', $$SELECT replayed FROM loyalty.adjust(7, 1, 'x', idempotency_key => 'k')$$), 'true', 'and its repetition');
SELECT is(pg_temp.as('alice', $$SELECT loyalty.adjust(7, -5000, 'x')$$), 'LY101', 'what is refused');
BEGIN;
SELECT is(pg_temp.as('alice', $$SELECT entry_id IS NOT NULL FROM loyalty.adjust(7, 1, 'x')$$), 'true', 'what is rolled back');
ROLLBACK;
SELECT is(pg_temp.acts(), acts + 1, 'leave none') FROM before;

-- By post_many() and backfill() as well
SELECT is(pg_temp.as(who, $$SELECT string_agg(entry_id::text, ' ') IS NOT NULL FROM loyalty.post_many('{9,9}', '{earn,adjust}', '{1,2}', reasons => '{NULL,x}')$$), state, 'adjust by post_many(): ' || who)
FROM (VALUES ('till', '42501'), ('alice', '42501'), ('pool', 'LY024'), ('pool/carol', 'true')) x (who, state);
SELECT is(pg_temp.last_act(), 'adjust 9 2 carol acts_pool acts_pool carol', 'is kept');
CREATE TABLE history AS SELECT 9::bigint AS member_id, 3::bigint AS points, 'adjust'::text AS kind, timestamptz '2024-01-01' + n * interval '1 day' AS effective_at, 'old'::text AS reason
	FROM generate_series(1, 2) n;
GRANT SELECT ON history TO acts_boss;
SELECT is(pg_temp.as('boss', $$SELECT entries FROM loyalty.backfill('history')$$), '2', 'adjust by backfill()');
SELECT results_eq($$SELECT act, member_id, points, subject FROM loyalty.operator_act ORDER BY act_id DESC LIMIT 3$$, $$VALUES
	('backfill', NULL::bigint, NULL::bigint, 'history'), ('adjust', 9, 3, NULL), ('adjust', 9, 3, NULL)$$, 'is kept');
SET ROLE acts_owner;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all acts have who did them');
RESET ROLE;

-- who_did()
SELECT results_eq(sql, expected, sql) FROM (VALUES
	('SELECT act, person, reason FROM loyalty.who_did(entry_id => (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 2))', $$VALUES ('adjust', 'acts_alice', 'x')$$),
	('SELECT act, person, reason FROM loyalty.who_did(merge_id => 1)', $$VALUES ('merge_members', 'acts_alice', NULL), ('unmerge_members', 'acts_alice', NULL)$$),
	('SELECT act, object_id, reason FROM loyalty.who_did(grant_id => 2)', $$VALUES ('grant_tier', 2::bigint, 'renewal'), ('end_grant', 2, NULL)$$),
	('SELECT act, member_id FROM loyalty.who_did(2)', $$VALUES ('adjust', 2::bigint), ('reverse', 2), ('reverse', 2), ('merge_members', 3), ('adjust', 2), ('unmerge_members', 3)$$),
	('SELECT act FROM loyalty.who_did(3)', $$VALUES ('merge_members'), ('unmerge_members')$$),
	('SELECT act FROM loyalty.who_did(2, merge_id => 1)', $$VALUES ('merge_members'), ('unmerge_members')$$),
	('SELECT act FROM loyalty.who_did(7, entry_id => 1)', 'SELECT NULL::text WHERE false'),
	('SELECT act FROM loyalty.who_did()', 'SELECT NULL::text WHERE false')) x (sql, expected);

-- Policies
SELECT is(pg_temp.as(who, sql), state, format('%s: %s', who, sql)) FROM (VALUES
	('alice', $$SELECT loyalty.define_approval('adjust', 100)$$, '42501'),
	('pool/carol', $$SELECT loyalty.define_approval('adjust', 100)$$, '42501'),
	('boss', $$SELECT loyalty.define_approval('earn', 100)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval(NULL)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', -1)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', 'NaN')$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', NULL)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', 1, NULL)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', 1, within => '0')$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', 1, 'gems')$$, 'LY102'),
	('boss', $$SELECT loyalty.define_approval('merge_members', 1)$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('merge_members', currency => 'points')$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('merge_members', within => '1 day')$$, 'LY003'),
	('boss', $$SELECT loyalty.define_approval('adjust', 100, 'points')$$, 'adjust'),
	('boss', $$SELECT loyalty.define_approval('adjust')$$, 'adjust'),
	('boss', $$SELECT loyalty.define_approval('adjust', 'infinity', 'miles')$$, 'adjust'),
	('boss', $$SELECT loyalty.define_approval('reverse', 100, 'points')$$, 'reverse'),
	('boss', $$SELECT loyalty.define_approval('merge_members')$$, 'merge_members'),
	('boss', $$SELECT loyalty.define_approval('unmerge_members')$$, 'unmerge_members'),
	('boss', $$SELECT loyalty.define_approval('forget_member')$$, 'forget_member'),
	('boss', $$SELECT loyalty.define_approval('grant_tier')$$, 'grant_tier'),
	('boss', $$SELECT loyalty.define_approval('end_grant')$$, 'end_grant'),
	('boss', $$SELECT loyalty.define_approval('link_identifier')$$, 'link_identifier'),
	('boss', $$SELECT loyalty.define_approval('unlink_identifier')$$, 'unlink_identifier')) x (who, sql, state);
SELECT is(pg_temp.last_act(), 'define_approval acts_boss acts_boss acts_boss -', 'who defined it is kept');
SELECT is(pg_temp.as('till', 'SELECT available FROM loyalty.earn(10, 1000)'), '1000', 'points');
SELECT is(pg_temp.as('till', $$SELECT available FROM loyalty.redeem(10, 200)$$), '800', 'some are spent');
CREATE FUNCTION pg_temp.redemption() RETURNS bigint LANGUAGE sql AS $$SELECT entry_id FROM loyalty.ledger WHERE member_id = 10 AND kind = 'redeem'$$;
CREATE FUNCTION pg_temp.alone(who text, sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN coalesce(nullif(pg_temp.as(who, replace(sql, '$redemption', pg_temp.redemption()::text)), 'done'), 'done');
END
$$;
SELECT is(pg_temp.alone(who, sql), state, format('%s: %s', who, sql)) FROM (VALUES
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, 100, 'x')$$, 'done'),
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, 101, 'x')$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, -100, 'x')$$, 'done'),
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, -101, 'x')$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, 1, 'x', 'stars')$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.adjust(10, 1000000000, 'x', 'miles')$$, 'done'),
	('alice>desk', $$SELECT 'done' FROM loyalty.adjust(10, 101, 'x')$$, 'LY020'),
	('owner', $$SELECT 'done' FROM loyalty.adjust(10, 101, 'x')$$, 'LY020'),
	('boss', $$SELECT 'done' FROM loyalty.adjust(10, 101, 'x')$$, 'LY020'),
	('pool/carol', $$SELECT 'done' FROM loyalty.post_many('{10}', '{adjust}', '{101}', reasons => '{x}')$$, 'LY020'),
	('boss', $$SELECT 'done' FROM loyalty.backfill('history')$$, 'done'),
	('alice', $$SELECT 'done' FROM loyalty.reverse(10, $redemption, 101)$$, 'LY020'),
	('till', $$SELECT 'done' FROM loyalty.reverse(10, $redemption, 101)$$, 'LY020'),
	('till', $$SELECT 'done' FROM loyalty.post_many('{10}', '{reverse}', '{101}', target_entry_ids => '{$redemption}')$$, 'LY020'),
	('till', $$SELECT 'done' FROM loyalty.reverse(10, $redemption)$$, 'LY020'),
	('till', $$SELECT 'done' FROM loyalty.reverse(10, $redemption, 100)$$, 'done'),
	('till', $$SELECT 'done' FROM loyalty.reverse(10, $redemption)$$, 'done'),
	('alice', $$SELECT 'done' FROM loyalty.merge_members(11, 12)$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.forget_member(11)$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.grant_tier(11, 'club', 'gold')$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.renew_grant(4, 1)$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.end_grant(4, 1)$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.link_identifier(11, 'email', 'eleven@acts.example')$$, 'LY020'),
	('alice', $$SELECT 'done' FROM loyalty.unlink_identifier(11, 'email', 'eleven@acts.example')$$, 'LY212'),
	('till', 'WITH x AS (UPDATE sale SET points = 5000 RETURNING 1) SELECT ''done'' FROM x', 'done'),
	('till', 'WITH x AS (UPDATE sale SET points = 0 RETURNING 1) SELECT ''done'' FROM x', 'done')) x (who, sql, state);
UPDATE history SET points = 101;
SELECT is(pg_temp.as('boss', $$SELECT 'done' FROM loyalty.backfill('history')$$), 'LY020', 'nor by a history');
SELECT is((SELECT count(*) FROM loyalty.member WHERE status <> 'active'), 1::bigint, 'nothing was done of what was refused');
SET ROLE acts_owner;
SELECT throws_ok($$SELECT loyalty.adjust(10, 101, 'x')$$, 'LY020', 'adjust of 101 points of currency "points" needs the approval of another person', 'it says what');

-- What may be asked for
RESET ROLE;
SELECT is(pg_temp.as('alice', format('SELECT 0 FROM loyalty.request_act(%L, %s, %L)', act, coalesce(quote_literal(arguments), 'NULL'), reason)), 'LY003', format('%s: %s', act, arguments)) FROM (VALUES
	('earn', '{"member_id": 1, "points": 5}', 'why'),
	('define_approval', '{"act": "adjust"}', 'why'),
	(NULL, '{}', 'why'),
	('adjust', NULL, 'why'),
	('adjust', '[1, 2]', 'why'),
	('adjust', '{}', 'why'),
	('adjust', '{"member_id": 1, "points": 5}', 'why'),
	('adjust', '{"member_id": null, "points": 5, "reason": "x"}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x", "entry_id": 7}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x", "point": 7}', 'why'),
	('adjust', '{"member_id": "one", "points": 5, "reason": "x"}', 'why'),
	('adjust', '{"member_id": 1.5, "points": 5, "reason": "x"}', 'why'),
	('adjust', '{"member_id": 99999999999999999999, "points": 5, "reason": "x"}', 'why'),
	('adjust', '{"member_id": [1], "points": 5, "reason": "x"}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": {"x": 1}}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x", "effective_at": "yesterdayish"}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x", "pending": "perhaps"}', 'why'),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', NULL),
	('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', ' ')) x (act, arguments, reason);
SELECT is(pg_temp.as('alice', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', 'why', '2020-01-01')$$), 'LY003', 'one that has lapsed');
SELECT is(pg_temp.as('alice', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', 'why', 'infinity')$$), 'LY003', 'one that never lapses');
SELECT is(pg_temp.as('alice', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', 'why', idempotency_key => '')$$), 'LY003', 'a key that is empty');
SELECT is(pg_temp.as(who, $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 1, "points": 5, "reason": "x"}', 'why')$$), state, who || ' asks')
FROM (VALUES ('reader', '42501'), ('till', '42501'), ('pool', 'LY024')) x (who, state);
SELECT is_empty('SELECT * FROM loyalty.act_request', 'nothing is kept of these');
SET TimeZone = 'Asia/Tokyo';
SELECT is(pg_temp.as('alice', $$SELECT request_id FROM loyalty.request_act('adjust', '{"member_id": "20", "points": "1e3", "reason": "it''s \"so\" '';--", "effective_at": "2024-01-01 00:00",
	"expires_at": null, "details": {"a": null, "b": [1]}}', 'broken on arrival', idempotency_key => 'first')$$), '1', 'asked for');
SET TimeZone = 'America/New_York';
SET IntervalStyle = 'sql_standard';
SET DateStyle = 'German';
SELECT results_eq('SELECT request_id, act, member_id, reason, person, arguments FROM loyalty.open_request', $$VALUES (1::bigint, 'adjust', 20::bigint, 'broken on arrival', 'acts_alice',
	'{"member_id": 20, "points": 1000, "reason": "it''s \"so\" '';--", "effective_at": "2023-12-31T15:00:00Z", "details": {"a": null, "b": [1]}}'::jsonb)$$, 'as it is kept');
SELECT is(pg_temp.as('alice', $$SELECT concat(request_id, replayed) FROM loyalty.request_act('adjust', '{"member_id": 20, "points": 1000, "reason": "it''s \"so\" '';--",
	"effective_at": "2024-01-01T00:00+09", "details": {"a": null, "b": [1]}}', 'broken on arrival', idempotency_key => 'first')$$), '1t', 'a retry');
SELECT is(pg_temp.as('alice', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 20, "points": 1, "reason": "x"}', 'y', idempotency_key => 'first')$$), 'LY004', 'not with other arguments');
SELECT is(pg_temp.as('bob', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 20, "points": 1000, "reason": "it''s \"so\" '';--",
	"effective_at": "2024-01-01T00:00+09", "details": {"a": null, "b": [1]}}', 'broken on arrival', idempotency_key => 'first')$$), 'LY004', 'nor by another person');

-- Who may approve it
SELECT is(pg_temp.as(who, 'SELECT replayed FROM loyalty.approve_act(1)'), state, who || ' approves') FROM (VALUES
	('alice', 'LY023'), ('alice>desk', 'LY023'), ('alice/acts_bob', 'LY023'), ('alice/acts_bob>desk', 'LY023'),
	('pool/acts_alice', 'LY023'), ('web/ACTS_Alice', 'LY023'), ('pool', 'LY024'), ('reader', '42501'), ('till', '42501')) x (who, state);
SELECT is(pg_temp.as('bob', 'SELECT replayed FROM loyalty.withdraw_act(1)'), 'LY023', 'nor may another withdraw it');
SELECT is(pg_temp.as('alice', $$SELECT replayed FROM loyalty.refuse_act(1, 'no')$$), 'LY023', 'nor the same refuse it');
SELECT is(pg_temp.as('bob', $$SELECT replayed FROM loyalty.refuse_act(1, ' ')$$), 'LY003', 'nor is it refused without a reason');
SELECT is(pg_temp.as('bob', 'SELECT replayed FROM loyalty.approve_act(2)'), 'LY021', 'no such request');
SELECT is(pg_temp.as('bob', 'SELECT replayed FROM loyalty.approve_act(NULL)'), 'LY021', 'nor this');
SELECT is((SELECT count(*) FROM loyalty.ledger WHERE member_id = 20), 0::bigint, 'nothing was done up to now');
SELECT is(pg_temp.as('bob/somebody', $$SELECT concat(result ->> 'available', replayed) FROM loyalty.approve_act(1)$$), '1000f', 'another approves');
SELECT is(pg_temp.as('bob', $$SELECT concat(result ->> 'available', replayed) FROM loyalty.approve_act(1)$$), '1000t', 'and may repeat that');
SELECT is(pg_temp.as('boss', 'SELECT replayed FROM loyalty.approve_act(1)'), 'LY022', 'nobody else may');
SELECT is(pg_temp.as('alice', 'SELECT replayed FROM loyalty.withdraw_act(1)'), 'LY022', 'nor withdraw it now');
SELECT results_eq('SELECT points, effective_at, expires_at, reason, details FROM loyalty.ledger WHERE member_id = 20', $$VALUES (1000::bigint, timestamptz '2024-01-01 00:00+09', NULL::timestamptz,
	'it''s "so" '';--', '{"a": null, "b": [1]}'::jsonb)$$, 'as it was asked for, once');
SELECT results_eq('SELECT person, session_role, role, actor, approved_by FROM loyalty.who_did(20)', $$VALUES ('acts_alice', 'acts_alice', 'acts_alice', NULL::text, 'acts_bob')$$, 'both are kept');
SELECT results_eq('SELECT decision, decided_person, decided_session_role, decided_actor FROM loyalty.act_request', $$VALUES ('approved', 'acts_bob', 'acts_bob', 'somebody')$$, 'with the request');
RESET TimeZone; RESET IntervalStyle; RESET DateStyle;

-- Each act by request: one asks, another approves, and it is done as usual.
CREATE TEMP TABLE ask (n integer, act text, arguments text, object text);
INSERT INTO ask VALUES
	(1, 'adjust', '{"member_id": 21, "points": -7, "reason": "x"}', 'LY101'),
	(2, 'adjust', '{"member_id": 21, "points": 700, "reason": "x", "idempotency_key": "k"}', 'adjust 21'),
	(3, 'reverse', '{"member_id": 21, "target_entry_id": $entry}', 'reverse 21'),
	(4, 'merge_members', '{"survivor_id": 22, "absorbed_id": 23}', 'merge_members 23'),
	(5, 'merge_members', '{"survivor_id": 22, "absorbed_id": 23}', 'LY209'),
	(6, 'unmerge_members', '{"merge_id": $merge}', 'unmerge_members 23'),
	(7, 'grant_tier', '{"member_id": 24, "ladder": "club", "level": "gold", "kind": "paid", "period": "1 year 2 mons -3 days", "fee": 9.99}', 'grant_tier 24'),
	(8, 'renew_grant', '{"member_id": 24, "grant_id": $grant}', 'grant_tier 24'),
	(9, 'end_grant', '{"member_id": 24, "grant_id": $grant, "refund": "full"}', 'end_grant 24'),
	(10, 'link_identifier', '{"member_id": 25, "namespace": "email", "value": "25@acts.example", "verified": true}', 'link_identifier 25'),
	(11, 'unlink_identifier', '{"member_id": 25, "namespace": "email", "value": "25@acts.example", "reason": "wrong"}', 'unlink_identifier 25'),
	(12, 'forget_member', '{"member_id": 25}', 'forget_member 25');
CREATE FUNCTION pg_temp.ask(a ask) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	arguments text := replace(replace(replace(a.arguments, '$entry', coalesce((SELECT max(entry_id)::text FROM loyalty.ledger WHERE member_id = 21), '0')),
		'$grant', coalesce((SELECT max(grant_id)::text FROM loyalty.tier_grant WHERE member_id = 24), '0')),
		'$merge', (SELECT max(merge_id)::text FROM loyalty.member_merge));
	request text := pg_temp.as('pool/carol', format('SELECT request_id FROM loyalty.request_act(%L, %L, ''why'')', a.act, arguments));
	answer text := CASE WHEN request !~ '^[0-9]+$' THEN request ELSE pg_temp.as('web/dan', format('SELECT replayed FROM loyalty.approve_act(%s)', request)) END;
BEGIN
	IF answer = request THEN
		RETURN is(answer, a.object, a.n || ': what cannot be asked for');
	END IF;
	IF answer <> 'false' THEN
		RETURN is(answer || (SELECT count(*) FROM loyalty.open_request o WHERE o.request_id = request::bigint)::text, a.object || '1', a.n || ': what fails stays open');
	END IF;
	RETURN is((SELECT string_agg(concat_ws(' ', w.act, w.member_id, w.person, w.session_role, w.actor, r.decided_person), ', ')
			FROM loyalty.operator_act w JOIN loyalty.act_request r ON r.request_id = w.request_id WHERE w.request_id = request::bigint),
		a.object || ' carol acts_pool carol dan', a.n || ': ' || a.act);
END
$$;
SELECT pg_temp.ask(a) FROM ask a ORDER BY n;
SELECT is((SELECT ends_at - starts_at FROM loyalty.tier_grant WHERE member_id = 24 ORDER BY grant_id LIMIT 1) > interval '13 months', true, 'a period as it was given');
SELECT results_eq($$SELECT r.arguments, r.reason, r.result, r.decision FROM loyalty.act_request r WHERE r.member_id = 25 ORDER BY r.request_id$$,
	$$VALUES (NULL::jsonb, NULL::text, NULL::jsonb, 'approved'), (NULL, NULL, NULL, 'approved'), (NULL, NULL, NULL, 'approved')$$, 'nothing is left of who was forgotten');

-- The world changes meanwhile
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('adjust', '{"member_id": 26, "points": -500, "reason": "x"}', 'why', idempotency_key => 'w')$$), '1', 'to take what is not there yet');
CREATE FUNCTION pg_temp.request(key text) RETURNS bigint LANGUAGE sql AS $$SELECT (result ->> 'request_id')::bigint FROM loyalty.request WHERE call = 'request_act' AND idempotency_key = $1$$;
SELECT is(pg_temp.as('bob', format('SELECT replayed FROM loyalty.approve_act(%s)', pg_temp.request('w'))), 'LY101', 'is refused by the ledger');
SELECT is(pg_temp.as('till', 'SELECT available FROM loyalty.earn(26, 500)'), '500', 'until it is there');
SELECT is(pg_temp.as('bob', format($$SELECT result ->> 'available' FROM loyalty.approve_act(%s)$$, pg_temp.request('w'))), '0', 'then it is done');
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('adjust', '{"member_id": 27, "points": 500, "reason": "x"}', 'why', clock_timestamp() + interval '300 ms', 'l')$$), '1', 'one that lapses soon');
SELECT is((SELECT count(*) FROM loyalty.open_request WHERE request_id = pg_temp.request('l')), 1::bigint, 'is open') FROM pg_sleep(0);
SELECT pg_sleep(0.4) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.open_request WHERE request_id = pg_temp.request('l')), 0::bigint, 'until then, and no job has run');
SELECT is(pg_temp.as('bob', format('SELECT replayed FROM loyalty.approve_act(%s)', pg_temp.request('l'))), 'LY022', 'it cannot be approved');
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('adjust', '{"member_id": 27, "points": 500, "reason": "x"}', 'why', idempotency_key => 'r')$$), '1', 'another');
SELECT is(pg_temp.as('bob', format($$SELECT replayed FROM loyalty.refuse_act(%s, 'no bill')$$, pg_temp.request('r'))), 'false', 'is refused');
SELECT is(pg_temp.as('bob', format($$SELECT replayed FROM loyalty.refuse_act(%s, 'no bill')$$, pg_temp.request('r'))), 'true', 'which may be repeated');
SELECT is(pg_temp.as('bob', format('SELECT replayed FROM loyalty.approve_act(%s)', pg_temp.request('r'))), 'LY022', 'and is the end');
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('adjust', '{"member_id": 27, "points": 500, "reason": "x"}', 'why', idempotency_key => 't')$$), '1', 'another');
SELECT is(pg_temp.as('alice/x>desk', format('SELECT replayed FROM loyalty.withdraw_act(%s)', pg_temp.request('t'))), 'false', 'is withdrawn');
SELECT is(pg_temp.as('bob', format('SELECT replayed FROM loyalty.approve_act(%s)', pg_temp.request('t'))), 'LY022', 'and that is the end, too');
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('merge_members', '{"survivor_id": 28, "absorbed_id": 29, "reason": "twins"}', 'said so', idempotency_key => 'f')$$), '1', 'of two members');
SELECT is(pg_temp.as('boss', $$SELECT loyalty.drop_approval('forget_member')$$), 'true', 'a policy is dropped');
SELECT is(pg_temp.last_act(), 'drop_approval acts_boss acts_boss acts_boss -', 'which is kept');
SELECT is(pg_temp.as('boss', $$SELECT loyalty.drop_approval('forget_member')$$), 'false', 'once');
SELECT is(pg_temp.as('alice', $$SELECT cardinality(members) FROM loyalty.forget_member(29)$$), '1', 'one is forgotten');
SELECT is(pg_temp.as('bob', format('SELECT replayed FROM loyalty.approve_act(%s)', pg_temp.request('f'))), 'LY022', 'so it cannot be done');
SELECT is(pg_temp.as('till', $$SELECT loyalty.set_joined(4, '2020-05-01')$$), '42501', 'since when a member counts is no affair of the till');
-- of whoever is forgotten, or was never known, nothing is asked for
SELECT is(pg_temp.as('alice', format('SELECT 0 FROM loyalty.request_act(%L, %L, ''why'', idempotency_key => %L)', act, arguments, key)), state, format('%s %s', act, arguments))
FROM unnest('{NULL,ask}'::text[]) key, (VALUES ('adjust', '{"member_id": 29, "points": 5, "reason": "x"}', 'LY203'), ('merge_members', '{"survivor_id": 29, "absorbed_id": 28}', 'LY203'),
	('merge_members', '{"survivor_id": 28, "absorbed_id": 29}', 'LY203'), ('forget_member', '{"member_id": 29}', 'LY203'),
	('grant_tier', '{"member_id": 29, "ladder": "club", "level": "gold"}', 'LY203'),
	('merge_members', '{"survivor_id": 28, "absorbed_id": 929}', 'LY202'), ('forget_member', '{"member_id": 929}', 'LY202'),
	('link_identifier', '{"member_id": 929, "namespace": "email", "value": "a@b.example"}', 'LY202'),
	('unlink_identifier', '{"member_id": 929, "namespace": "email", "value": "a@b.example"}', 'LY202'), ('unmerge_members', '{"merge_id": 929}', 'LY211'),
	-- points may be of members who are not in the table
	('adjust', '{"member_id": 929, "points": 5, "reason": "x"}', '0')) x (act, arguments, state);
BEGIN;
SET LOCAL ROLE acts_owner;
SELECT known_members_only FROM loyalty.configure_program(known_members_only => true) \g /dev/null
RESET ROLE;
SELECT is(pg_temp.as('alice', $$SELECT 0 FROM loyalty.request_act('adjust', '{"member_id": 930, "points": 5, "reason": "x"}', 'why')$$), 'LY202', 'unless the program says otherwise');
ROLLBACK;
SELECT is(pg_temp.as('alice', $$SELECT 1 FROM loyalty.request_act('reverse', '{"member_id": 26, "target_entry_id": 1}', 'why', idempotency_key => 'till')$$), '1', 'to reverse');
SELECT is(pg_temp.as('till', format($$SELECT replayed FROM loyalty.refuse_act(%s, 'not ours')$$, pg_temp.request('till'))), 'false', 'is the affair of whoever may reverse');

-- Small ones add up, where the policy says so
SELECT is(pg_temp.as('boss', $$SELECT loyalty.define_approval('adjust', 100, 'points', '1 day')$$), 'adjust', 'within a day');
SET ROLE acts_owner;
ALTER TABLE loyalty.operator_act DISABLE TRIGGER USER;
UPDATE loyalty.operator_act SET recorded_at = recorded_at - interval '1 day';
ALTER TABLE loyalty.operator_act ENABLE TRIGGER USER;
RESET ROLE;
SELECT is(pg_temp.as(who, format($$SELECT 'done' FROM loyalty.adjust(%s, %s, 'x')$$, member, points)), state, format('%s: %s to member %s', who, points, member)) FROM (VALUES
	('alice', 30, 60, 'done'), ('alice', 30, 41, 'LY020'), ('alice', 31, 41, 'LY020'), ('alice>desk', 30, -41, 'LY020'), ('bob', 30, 41, 'done'),
	('alice', 31, 40, 'done'), ('alice', 32, 1, 'LY020'), ('pool/carol', 30, 100, 'done'), ('web/carol', 30, 1, 'LY020'), ('pool/Carol', 30, 1, 'LY020'), ('pool/dan', 30, 1, 'done'),
	('pool/Gus', 30, 60, 'done'), ('pool/gus', 30, 41, 'LY020'), ('pool/GUS', 30, 40, 'done'), ('pool/gus', 30, 1, 'LY020')) x (who, member, points, state);
SELECT is(pg_temp.as('pool/erin', $$SELECT 'done' FROM loyalty.post_many('{30,31}', '{adjust,adjust}', '{60,60}', reasons => '{x,x}')$$), 'LY020', 'in one call, too');
SELECT is(pg_temp.as('boss', $$SELECT loyalty.define_approval('adjust', 100, 'points')$$), 'adjust', 'each by itself again');
SELECT is(pg_temp.as('alice', $$SELECT 'done' FROM loyalty.adjust(30, 100, 'x')$$), 'done', 'so they do not add up');

-- Whoever was granted all on our tables by carelessness can neither forge nor change what is kept.
GRANT INSERT, UPDATE, DELETE, TRUNCATE ON loyalty.operator_act, loyalty.act_request, loyalty.approval_policy, loyalty.actor_role TO acts_alice;
SELECT is(pg_temp.as(who, sql), CASE WHEN who = 'alice' AND sql ~ '^(UPDATE|DELETE FROM|TRUNCATE) loyalty.operator_act' THEN 'LY005' ELSE '42501' END, format('%s: %s', who, sql))
FROM unnest('{alice,bob}'::text[]) who, unnest(ARRAY[
	'INSERT INTO loyalty.operator_act (act, session_role, role, person) VALUES (''adjust'', ''acts_bob'', ''acts_bob'', ''acts_bob'') RETURNING 1',
	'UPDATE loyalty.operator_act SET person = ''acts_bob'' RETURNING 1', 'DELETE FROM loyalty.operator_act RETURNING 1', 'TRUNCATE loyalty.operator_act',
	'UPDATE loyalty.act_request SET person = ''acts_bob'' RETURNING 1', 'UPDATE loyalty.act_request SET arguments = ''{"member_id": 1, "points": 1000000, "reason": "x"}'' RETURNING 1',
	'DELETE FROM loyalty.approval_policy RETURNING 1', 'INSERT INTO loyalty.actor_role VALUES (''acts_alice'') RETURNING 1',
	'SELECT loyalty.trust_actors(''acts_alice'')', 'SELECT loyalty.keep_act(''adjust'', 1, 1)', 'SELECT loyalty.decide_request(1, ''approved'', NULL)',
	'SELECT loyalty.perform_act(1, ''adjust'', ''{"member_id": 1, "points": 1000000, "reason": "x"}'')', 'SELECT loyalty_as_owner.adjust(1, 1000000, ''x'')']) sql;
SELECT is(pg_temp.as('alice', $$SELECT loyalty.run_act('adjust', '{"member_id": 1, "points": 1000000, "reason": "x"}')$$), 'LY020', 'nor does calling a part of it help');
SELECT is(pg_temp.as('alice', $$SELECT loyalty.run_act('setup', '{}')$$), 'LY003', 'which calls acts, and nothing else');
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON loyalty.operator_act, loyalty.act_request, loyalty.approval_policy, loyalty.actor_role FROM acts_alice;
SELECT is(pg_temp.as('owner', sql), 'LY005', 'owner: ' || sql) FROM unnest(ARRAY['UPDATE loyalty.operator_act SET person = ''acts_bob'' RETURNING 1', 'DELETE FROM loyalty.operator_act RETURNING 1', 'TRUNCATE loyalty.operator_act']) sql;

-- The proof names acts without who did them.
SET ROLE acts_owner;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'up to now all is well');
SELECT ok(bool_and(intact), 'the application that was trusted is still') FROM (SELECT loyalty.setup() IS NOT NULL AND (SELECT count(*) FROM loyalty.actor_role) = 2 AS intact) x;
BEGIN;
ALTER TABLE loyalty.operator_act DISABLE TRIGGER USER;
DELETE FROM loyalty.operator_act WHERE act IN ('adjust', 'merge_members', 'unmerge_members', 'grant_tier', 'end_grant', 'forget_member') AND coalesce(object_id, member_id) IN (1, 2, 6)
	OR act = 'adjust' AND member_id = 30;
UPDATE loyalty.act_request SET decided_person = 'ACTS_alice' WHERE request_id = 1;
SELECT results_eq($$SELECT invariant, count(*) FROM loyalty.check_access() GROUP BY invariant ORDER BY 1$$, $$SELECT 'act', (SELECT count(*) FROM loyalty.ledger WHERE kind = 'adjust' AND
	(member_id = 30 OR entry_id IN (1, 2, 6))) + 2 + 2 + 2 + 1 + 1 UNION ALL VALUES ('approval', 1::bigint) ORDER BY 1$$, 'each that is missing, and one approval by the same person');
SELECT isnt_empty($$SELECT FROM loyalty.check_all() WHERE invariant = 'trigger' AND detail LIKE '%operator_act%'$$, 'and triggers that are off');
ROLLBACK;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'with them, all is well');
RESET ROLE;
DROP OWNED BY acts_alice, acts_bob, acts_desk, acts_reader, acts_till, acts_boss, acts_pool, acts_web, acts_member;
DROP TABLE sale, history;
DROP OWNED BY acts_owner CASCADE;
SELECT * FROM finish();
