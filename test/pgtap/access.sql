-- Who may call what: levels are grants on tables; functions that write check
-- their caller and work as the owner of the tables, who is no superuser here.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE ROLE access_owner;
CREATE ROLE access_nobody;
CREATE ROLE access_reader;
CREATE ROLE access_consumer;
CREATE ROLE access_app;
CREATE ROLE access_clerk;
CREATE ROLE access_operator;
CREATE ROLE access_admin;
CREATE ROLE access_shop;
CREATE ROLE access_web;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO access_owner, access_shop', current_database()); END $$;
SET ROLE access_owner;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.grant_access('access_reader', 'reader'), loyalty.grant_access('access_consumer', 'consumer'), loyalty.grant_access('access_app', 'app'),
	loyalty.grant_access('access_clerk', 'clerk'), loyalty.grant_access('access_operator', 'operator'),
	loyalty.grant_access('access_admin', 'admin') \g /dev/null
RESET ROLE;
GRANT USAGE ON SCHEMA loyalty TO access_nobody;
SELECT no_plan();

SELECT is_empty($$SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind <> 'c'
	AND c.relowner <> 'access_owner'::regrole$$, 'all tables belong to one role');
SELECT results_eq('SELECT role COLLATE "default", level, owner FROM loyalty.access ORDER BY role COLLATE "C"', $$VALUES
	('access_admin', 'admin', false), ('access_app', 'app', false), ('access_clerk', 'clerk', false), ('access_consumer', 'consumer', false),
	('access_operator', 'operator', false),
	('access_owner', 'admin', true), ('access_reader', 'reader', false)$$, 'access tells who has what');

-- Every function that writes, called with next to nothing by every role: 42501
-- where the level is missing, whatever else where it is there.
CREATE FUNCTION pg_temp.state_of(sql text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE sql;
	RETURN 'fine';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE TEMP TABLE writer AS
SELECT p.oid::regprocedure AS function, p.prosrc AS may,
	format('SELECT loyalty.%I(%s)', p.proname, (SELECT string_agg(format('%L::%s', CASE WHEN NOT p.proisstrict THEN NULL
		WHEN a.type = 'text'::regtype THEN 'x' ELSE '1' END, format_type(a.type, NULL)), ', ' ORDER BY a.n)
		FROM unnest(p.proargtypes) WITH ORDINALITY a (type, n))) AS call
FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prosrc LIKE 'loyalty\_may\_%';
GRANT SELECT ON writer TO PUBLIC;
SELECT cmp_ok((SELECT count(*) FROM writer), '>=', 35::bigint, 'functions that write');
CREATE FUNCTION pg_temp.as_each(role text, may text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	w record;
	state text;
BEGIN
	FOR w IN SELECT * FROM writer ORDER BY function::text LOOP
		EXECUTE format('SET ROLE %I', role);
		state := pg_temp.state_of(w.call);
		RESET ROLE;
		RETURN NEXT is(state = '42501', w.may <> ALL (may), format('%s as %s: %s', w.function, role, state));
	END LOOP;
END
$$;
GRANT USAGE ON SCHEMA public TO PUBLIC;
SELECT set_eq('SELECT DISTINCT may FROM writer', '{loyalty_may_consume,loyalty_may_post,loyalty_may_correct,loyalty_may_operate,loyalty_may_define}'::text[], 'the rights');
SELECT pg_temp.as_each('access_nobody', '{}');
SELECT pg_temp.as_each('access_reader', '{}');
SELECT pg_temp.as_each('access_consumer', '{loyalty_may_consume}');
SELECT pg_temp.as_each('access_app', '{loyalty_may_consume,loyalty_may_post,loyalty_may_correct}');
SELECT pg_temp.as_each('access_clerk', '{loyalty_may_correct,loyalty_may_operate}');
SELECT pg_temp.as_each('access_operator', '{loyalty_may_consume,loyalty_may_post,loyalty_may_correct,loyalty_may_operate}');
SELECT pg_temp.as_each('access_admin', '{loyalty_may_consume,loyalty_may_post,loyalty_may_correct,loyalty_may_operate,loyalty_may_define}');

-- Parts of them do nothing for whoever may not do it himself, and no level is a
-- right to write into a table.
SET ROLE access_admin;
SELECT throws_ok(sql, '42501', NULL, sql) FROM unnest(ARRAY[
	$$SELECT loyalty_as_owner.earn(1, 5)$$, $$SELECT loyalty_as_owner.adjust(1, 5, 'x')$$, $$SELECT loyalty_as_owner.approve_act(1)$$,
	$$SELECT loyalty.keep_act('adjust', 1, 1)$$, $$SELECT loyalty.perform_act(1, 'adjust', '{"member_id": 1, "points": 1, "reason": "x"}')$$,
	$$SELECT loyalty.trust_actors('access_admin')$$, $$SELECT loyalty.setup()$$, $$SELECT loyalty.grant_access('access_admin', 'admin')$$,
	$$SELECT loyalty.lock_wallets('{1}', '{}')$$, $$SELECT loyalty.mark_wallets(1, true)$$]) sql;
SELECT throws_ok(format(sql, c.oid::regclass), '42501', NULL, format(sql, c.oid::regclass))
FROM pg_class c, unnest('{INSERT INTO %s DEFAULT VALUES,DELETE FROM %s,TRUNCATE %s}'::text[]) sql
WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') ORDER BY 1;
RESET ROLE;

-- What each is for
SET ROLE access_app;
SELECT is((SELECT available FROM loyalty.earn(1, 100)), 100::bigint, 'app: earn');
SELECT is((SELECT available FROM loyalty.redeem(1, 30, idempotency_key => 'k')), 70::bigint, 'redeem');
SELECT is((SELECT replayed FROM loyalty.redeem(1, 30, idempotency_key => 'k')), true, 'and a retry');
SELECT is((SELECT count(*) FROM loyalty.post_many('{1,2}', '{earn,earn}', '{1,2}')), 2::bigint, 'post_many');
SELECT is((SELECT outcome FROM loyalty.resolve_member('{"email": "a@access.example"}')), 'created', 'resolve_member');
SELECT is((SELECT outcome FROM loyalty.resolve_member('{"email": "a@access.example"}')), 'matched', 'and again');
SET ROLE access_reader;
SELECT is((SELECT available FROM loyalty.balance(1)), 71::bigint, 'reader: balance');
SELECT is((SELECT count(*) FROM loyalty.statement(1)), 3::bigint, 'statement');
SELECT lives_ok('SELECT * FROM loyalty.check_all()', 'check_all');
SELECT ok((SELECT intact FROM loyalty.verify_ledger('loyalty-digest-1:0:0:0:1:-:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:')), 'verify_ledger');
SET ROLE access_operator;
SELECT is((SELECT available FROM loyalty.adjust(1, 9, 'a gift')), 80::bigint, 'operator: adjust');
CALL loyalty.book_expiries();
SELECT is((SELECT status FROM loyalty.job_run), 'finished', 'and jobs');
SET ROLE access_admin;
SELECT is(loyalty.create_currency('stars'), 'stars', 'admin: create_currency');
SELECT lives_ok($$SELECT loyalty.define_measure('stars', 'points', 'stars')$$, 'define_measure');
SELECT lives_ok($$SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "stars", "window": "lifetime"}], "levels": [{"level": "a", "all": {"stars": 1}}]}')$$,
	'define_ladder, which puts a trigger');
SET ROLE access_app;
SELECT is((SELECT available FROM loyalty.earn(1, 5, 'stars')), 5::bigint, 'app: points that a ladder counts');
SELECT is(loyalty.tier_of(1, 'club'), 'a', 'and the tier');
RESET ROLE;

-- A trigger posts for the owner of its table, who must have the right; its
-- terms are evaluated as whoever writes, never as the owner of our tables.
CREATE SCHEMA shop AUTHORIZATION access_shop;
SET ROLE access_shop;
CREATE TABLE shop.orders (order_id bigint PRIMARY KEY, member_id bigint, amount numeric);
GRANT USAGE ON SCHEMA shop TO access_web;
GRANT INSERT ON shop.orders TO access_web;
CREATE FUNCTION shop.worth(amount numeric) RETURNS numeric LANGUAGE plpgsql AS $$
BEGIN
	IF current_user <> 'access_web' THEN
		RAISE 'evaluated as %', current_user;
	END IF;
	RETURN amount;
END
$$;
RESET ROLE;
SET ROLE access_owner;
SELECT loyalty.grant_access('access_shop', 'app') \g /dev/null
SET ROLE access_shop;
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON shop.orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=orders', 'member=member_id', 'points=worth(amount)');
SET ROLE access_web;
SELECT lives_ok('INSERT INTO shop.orders VALUES (1, 50, 7)', 'who may insert an order earns points by it');
SELECT throws_ok('SELECT loyalty.earn(50, 7)', '42501', NULL, 'and not otherwise');
RESET ROLE;
SELECT is((SELECT available FROM loyalty.balance(50)), 7::bigint, 'they are there');
-- who else may make triggers there, may not post by them, nor have them evaluated by the proof
GRANT ALL ON shop.orders TO access_reader;
GRANT USAGE, CREATE ON SCHEMA shop TO access_reader;
SET ROLE access_reader;
CREATE TRIGGER gift AFTER INSERT ON shop.orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=gift', 'member=member_id', 'points=1000000');
SELECT throws_ok('INSERT INTO shop.orders VALUES (9, 50, 7)', '42501', 'role "access_reader" may not post points or resolve members', 'a trigger of whoever has TRIGGER there');
SET ROLE access_shop;
SELECT results_eq('SELECT detail FROM loyalty.check_awards()', $$SELECT format('trigger %s on shop.orders is not proven, since others than its owner may have made it: '
	'REVOKE TRIGGER ON shop.orders FROM access_reader', t) FROM unnest('{gift,award}'::text[]) t ORDER BY t DESC$$, 'nor is it evaluated');
RESET ROLE;
DROP TRIGGER gift ON shop.orders;
REVOKE ALL ON shop.orders FROM access_reader;
-- nor do rows that look like those of the ledger make tiers
SET ROLE access_shop;
CREATE TABLE shop.ledger (LIKE loyalty.ledger);
CREATE TRIGGER evaluate_tier AFTER INSERT ON shop.ledger FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier();
SELECT throws_ok('INSERT INTO shop.ledger SELECT * FROM loyalty.ledger WHERE member_id = 1 AND kind = $$earn$$', 'LY003',
	'trigger "evaluate_tier" gives evaluate_tier 0 arguments instead of at least 3', 'a table that looks like the ledger');
RESET ROLE;
SET ROLE access_owner;
SELECT is(loyalty.revoke_access('access_shop'), 'access_shop: none', 'revoke_access()');
SET ROLE access_web;
SELECT throws_ok('INSERT INTO shop.orders VALUES (2, 50, 7)', '42501', NULL, 'not where the owner of the table has no right any more');
RESET ROLE;

-- Levels are set, and taken away.
SET ROLE access_owner;
SELECT is(loyalty.grant_access('access_admin', 'reader'), 'access_admin: reader', 'a lower level takes the rest away');
SELECT is((SELECT level FROM loyalty.access WHERE role = 'access_admin'), 'reader', 'as access tells');
SELECT throws_ok($$SELECT loyalty.grant_access('access_admin', 'god')$$, 'LY003', NULL, 'no such level');
SELECT throws_ok($$SELECT loyalty.grant_access('access_nowhere', 'app')$$, '42704', NULL, 'no such role');
SELECT throws_ok($$SELECT loyalty.grant_access('public', 'app')$$, '42704', NULL, 'PUBLIC has no level');
RESET ROLE;
SET ROLE access_admin;
SELECT throws_ok($$SELECT loyalty.create_currency('more')$$, '42501', NULL, 'gone');
RESET ROLE;

-- where the schema is somebody else's, its use is his to grant
BEGIN;
DO $$ BEGIN EXECUTE format('ALTER SCHEMA loyalty OWNER TO %I', session_user); END $$;
GRANT USAGE ON SCHEMA loyalty TO access_owner;
CREATE ROLE access_late;
SET ROLE access_owner;
SELECT throws_ok($$SELECT loyalty.grant_access('access_late', 'app')$$, '42501', 'role "access_owner" may not let others use schema loyalty', 'no level that is of no use');
RESET ROLE;
GRANT USAGE ON SCHEMA loyalty TO access_owner WITH GRANT OPTION;
SET ROLE access_owner;
SELECT is(loyalty.grant_access('access_late', 'app'), 'access_late: app', 'but by whoever may grant it');
ROLLBACK;

-- Who may read everything may not write by that.
CREATE ROLE access_analyst;
CREATE ROLE access_dump;
GRANT pg_read_all_data TO access_dump;
GRANT USAGE ON SCHEMA loyalty TO access_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA loyalty TO access_analyst;
SET ROLE access_owner;
SELECT is((SELECT level FROM loyalty.access WHERE role = 'access_analyst'), 'reader', 'SELECT on all tables is a reader');
SELECT pg_temp.as_each('access_analyst', '{}');
SELECT pg_temp.as_each('access_dump', '{}');
SET ROLE access_dump;
SELECT is((SELECT available FROM loyalty.balance(1)), 80::bigint, 'who reads');
RESET ROLE;

-- Whoever got all on all tables, by carelessness, does not become their owner:
-- neither by a trigger's function, nor by what else it evaluates, nor by one
-- that is made while a call is under way, since nothing is written meanwhile.
CREATE SCHEMA nobody AUTHORIZATION access_nobody;
GRANT USAGE ON SCHEMA nobody TO access_owner;
CREATE FUNCTION pg_temp.earn_as_app() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text;
	hint text;
BEGIN
	SET LOCAL ROLE access_app;
	PERFORM loyalty.earn(3, 1);
	RESET ROLE;
	RETURN 'fine';
EXCEPTION WHEN insufficient_privilege THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN message || ': ' || hint;
END
$$;
SELECT is(pg_temp.earn_as_app(), 'fine', 'before that');
GRANT ALL ON ALL TABLES IN SCHEMA loyalty TO access_nobody;
SELECT is(pg_temp.earn_as_app(), 'access_nobody may make triggers on loyalty.act_request: REVOKE TRIGGER ON ALL TABLES IN SCHEMA loyalty FROM access_nobody; '
	'Levels are given by loyalty.grant_access(), not by GRANT ALL.', 'nobody else may make triggers on our tables');
SET ROLE access_nobody;
CREATE FUNCTION nobody.f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'as %', current_user; END$$;
CREATE FUNCTION nobody.is_so() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'as %', current_user; END$$;
CREATE FUNCTION nobody.measure(bigint, timestamptz) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN RAISE 'as %', current_user; END$$;
SELECT throws_ok($$UPDATE loyalty.tier_measure SET source = 'function', currency = NULL, function_name = 'nobody.measure' WHERE measure = 'stars'$$, '42501',
	'role "access_nobody" may not write into table "tier_measure"', 'nor name functions in them');
RESET ROLE;
UPDATE loyalty.tier_measure SET source = 'function', currency = NULL, function_name = 'nobody.measure' WHERE measure = 'stars';
CREATE FUNCTION pg_temp.try_trigger(definition text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	GRANT TRIGGER ON loyalty.ledger TO access_nobody;
	SET LOCAL ROLE access_nobody;
	EXECUTE format(definition, 'CREATE TRIGGER f BEFORE INSERT ON loyalty.ledger FOR EACH ROW', 'CREATE TRIGGER f AFTER INSERT ON loyalty.ledger FOR EACH ROW');
	RESET ROLE;
	REVOKE TRIGGER ON ALL TABLES IN SCHEMA loyalty FROM access_nobody;
	answer := pg_temp.earn_as_app();
	DROP TRIGGER f ON loyalty.ledger;
	RETURN split_part(answer, ':', 1);
END
$$;
SELECT is(pg_temp.try_trigger(definition), 'trigger "f" of table "ledger" may not run for loyalty', definition) FROM unnest(ARRAY[
	'%s EXECUTE FUNCTION nobody.f()',
	'%s WHEN (nobody.is_so()) EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	$$%2$s EXECUTE FUNCTION loyalty.award_points('source=x', 'member=member_id', 'points=1', 'when=nobody.is_so()')$$]) definition;
SELECT is(pg_temp.earn_as_app(), 'fine', 'without them, all is well');
SET ROLE access_operator;
SELECT throws_ok('SELECT loyalty.evaluate_member_tiers(1, $$club$$)', '42501', NULL, 'nor a measure''s function');
RESET ROLE;
UPDATE loyalty.tier_measure SET source = 'points', currency = 'stars', function_name = NULL WHERE measure = 'stars';
REVOKE ALL ON ALL TABLES IN SCHEMA loyalty FROM access_nobody;

-- The owner's rights may come by another role, and go with it, also in a session that has posted.
CREATE ROLE access_group;
GRANT access_group TO access_owner;
SET ROLE access_owner;
REVOKE ALL ON loyalty.ledger FROM access_owner;
GRANT ALL ON loyalty.ledger TO access_group;
REVOKE TRIGGER ON loyalty.ledger FROM access_group;
SET ROLE access_app;
SELECT lives_ok('SELECT loyalty.earn(103, 1)', 'rights of a group');
RESET ROLE;
REVOKE access_group FROM access_owner;
SET ROLE access_app;
SELECT throws_ok('SELECT loyalty.earn(103, 1)', '42501', 'permission denied for table ledger', 'that are gone');
SET ROLE access_owner;
REVOKE ALL ON loyalty.ledger FROM access_group;
GRANT ALL ON loyalty.ledger TO access_owner;
RESET ROLE;
DROP ROLE access_group;

-- Several brands in one program: forced row-level security by a setting holds
-- for the owner of the tables, and so for whatever is posted.
SET ROLE access_owner;
ALTER TABLE loyalty.wallet ADD COLUMN brand text NOT NULL DEFAULT coalesce(current_setting('shop.brand', true), '');
ALTER TABLE loyalty.ledger ADD COLUMN brand text NOT NULL DEFAULT coalesce(current_setting('shop.brand', true), '');
ALTER TABLE loyalty.wallet ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.ledger ENABLE ROW LEVEL SECURITY;
ALTER TABLE loyalty.wallet FORCE ROW LEVEL SECURITY;
ALTER TABLE loyalty.ledger FORCE ROW LEVEL SECURITY;
CREATE POLICY brand ON loyalty.wallet USING (brand = coalesce(current_setting('shop.brand', true), ''));
CREATE POLICY brand ON loyalty.ledger USING (brand = coalesce(current_setting('shop.brand', true), ''));
SET ROLE access_app;
SET shop.brand = 'one';
SELECT is((SELECT available FROM loyalty.earn(101, 10)), 10::bigint, 'a brand posts');
SET shop.brand = 'two';
SELECT is((SELECT available FROM loyalty.earn(102, 20)), 20::bigint, 'another, too');
SELECT is((SELECT available FROM loyalty.balance(101)), 0::bigint, 'and sees nothing of the first');
SELECT throws_ok('SELECT loyalty.redeem(101, 1)', 'LY101', NULL, 'nor spends of it');
SELECT is((SELECT count(*) FROM loyalty.ledger), 1::bigint, 'only what is its own');
SELECT throws_ok('SELECT * FROM loyalty.check_all()', '42501', NULL, 'no proof where rows are hidden');
RESET ROLE;
SET ROLE access_owner;
SELECT throws_ok('SELECT loyalty.ledger_digest()', '42501', NULL, 'no digest either');
RESET ROLE;

-- Settings must not be hidden from the owner, who reads them for everybody.
SET ROLE access_owner;
ALTER TABLE loyalty.currency ENABLE ROW LEVEL SECURITY;
SELECT is_empty('SELECT detail FROM loyalty.check_core()', 'policies of others do not bind the owner');
ALTER TABLE loyalty.currency FORCE ROW LEVEL SECURITY;
SELECT results_eq('SELECT detail FROM loyalty.check_core()',
	$$VALUES ('table loyalty.currency hides rows from its owner, by row-level security that is forced; loyalty.setup() puts it right')$$, 'unless they are forced, on settings');
SELECT loyalty.setup() \g /dev/null
SELECT is_empty('SELECT detail FROM loyalty.check_core()', 'setup() puts it right');
RESET ROLE;

RESET shop.brand;
DROP OWNED BY access_nobody, access_reader, access_app, access_clerk, access_operator, access_admin, access_shop, access_web,
	access_analyst, access_dump;
DROP OWNED BY access_owner CASCADE;
SELECT * FROM finish();
