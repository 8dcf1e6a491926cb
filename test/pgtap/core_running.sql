-- Triggers of users on our tables that make calls of their own, and functions of
-- ours that work only within our statements.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();
SELECT ok(loyalty.setup() IS NOT NULL, 'setup()');

CREATE TABLE seen (n integer GENERATED ALWAYS AS IDENTITY, what text);

-- runs a statement, and notes how it ended
CREATE FUNCTION try(statement text) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	EXECUTE statement;
	INSERT INTO seen (what) VALUES ('done');
EXCEPTION WHEN OTHERS THEN
	INSERT INTO seen (what) VALUES (SQLSTATE);
END
$$;
-- a trigger that tries its arguments, unless it was fired by another one
CREATE FUNCTION try_all() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		FOR i IN 0 .. tg_nargs - 1 LOOP
			PERFORM try(tg_argv[i]);
		END LOOP;
	END IF;
	RETURN NEW;
END
$$;

CREATE TEMP TABLE trigger_case (name text, fired text, statements text[], expected text[], ours bigint, others bigint);
INSERT INTO trigger_case VALUES
	('another call before our guard', 'BEFORE UPDATE ON loyalty.wallet FOR EACH STATEMENT',
		'{"SELECT loyalty.earn(2, 5)"}', '{done}', 100, 5),
	('another call between our row and its end', 'BEFORE UPDATE ON loyalty.wallet FOR EACH ROW',
		'{"SELECT loyalty.earn(2, 5)"}', '{done}', 100, 5),
	('another call after the entry', 'AFTER INSERT ON loyalty.ledger FOR EACH ROW',
		'{"SELECT loyalty.earn(2, 5)", "SELECT loyalty.redeem(2, 2)"}', '{done,done}', 100, 3),
	('a call that is refused, and caught', 'AFTER INSERT ON loyalty.ledger FOR EACH ROW',
		'{"SELECT loyalty.redeem(2, 5)", "SELECT loyalty.earn(2, 7)", "SELECT loyalty.redeem(1, 1000)"}', '{LY101,done,LY101}', 100, 7),
	('a call on the same wallet', 'AFTER INSERT ON loyalty.ledger FOR EACH ROW',
		'{"SELECT loyalty.redeem(1, 40)"}', '{done}', 60, 0),
	('a statement of its own before our guard', 'BEFORE UPDATE ON loyalty.wallet FOR EACH STATEMENT',
		'{"UPDATE loyalty.wallet SET currency = ''x''", "DELETE FROM loyalty.wallet WHERE member_id = 2", "INSERT INTO loyalty.ledger SELECT * FROM loyalty.ledger"}',
		'{LY005,LY005,LY005}', 100, 0),
	('a statement of its own after our guard', 'BEFORE INSERT ON loyalty.ledger FOR EACH ROW',
		'{"UPDATE loyalty.wallet SET currency = ''x''", "DELETE FROM loyalty.wallet", "INSERT INTO loyalty.ledger SELECT * FROM loyalty.ledger"}',
		'{LY005,LY005,LY005}', 100, 0),
	('parts of ours, on the wallet', 'BEFORE UPDATE ON loyalty.wallet FOR EACH ROW',
		'{"SELECT loyalty.wallet_apply(balance, false, false) FROM loyalty.wallet LIMIT 1", "SELECT loyalty.wallet_unapply()", "SELECT loyalty.posted_lots()"}',
		'{42501,42501,42501}', 100, 0),
	('parts of ours, on the ledger', 'AFTER INSERT ON loyalty.ledger FOR EACH ROW',
		'{"SELECT loyalty.wallet_apply(balance, false, false) FROM loyalty.wallet LIMIT 1", "SELECT loyalty.wallet_unapply()", "SELECT loyalty.posted_lots()"}',
		'{42501,42501,42501}', 100, 0);

-- Each of them on a call with wallets that are there: what it tried and how that
-- ended, and what members 1 and 2 have then.
CREATE FUNCTION outcome(c trigger_case, OUT tried text[], OUT ours bigint, OUT others bigint, OUT violations bigint) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER a_first %s EXECUTE FUNCTION try_all(%s)', c.fired,
		(SELECT string_agg(quote_literal(s), ', ' ORDER BY n) FROM unnest(c.statements) WITH ORDINALITY u (s, n)));
	PERFORM loyalty.earn(1, 100);
	tried := ARRAY(SELECT s.what FROM seen s ORDER BY s.n);
	SELECT b.available INTO ours FROM loyalty.balance(1) b;
	SELECT b.available INTO others FROM loyalty.balance(2) b;
	SELECT count(*) INTO violations FROM loyalty.check_all() x WHERE x.room = 'ledger';
	RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = format('%s|%s|%s|%s', tried, ours, others, violations);
EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
	tried := split_part(SQLERRM, '|', 1);
	ours := split_part(SQLERRM, '|', 2);
	others := split_part(SQLERRM, '|', 3);
	violations := split_part(SQLERRM, '|', 4);
END
$$;
SELECT FROM loyalty.earn(1, 1) a, loyalty.redeem(1, 1) b, loyalty.earn(2, 1) c, loyalty.redeem(2, 1) d;
SELECT is(o, (expected, ours, others, 0::bigint)::record, name) FROM (SELECT c.*, (SELECT x FROM outcome(c) x)::record AS o FROM trigger_case c OFFSET 0) c;

-- Likewise while a tier goes a step further.
SELECT loyalty.define_measure('visits');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "visits", "window": "lifetime"}],
	"levels": [{"level": "a", "any": {"visits": 2}}, {"level": "b", "any": {"visits": 9}}]}');
SELECT loyalty.record_qualification(m, 'visits', 1, '2024-01-01') FROM unnest(ARRAY[1, 2]) m;
CREATE TRIGGER a_first BEFORE UPDATE ON loyalty.tier_state FOR EACH ROW EXECUTE FUNCTION try_all(
	'SELECT loyalty.step_tier(s) FROM loyalty.tier_state s', 'SELECT loyalty.record_qualification(2, ''visits'', 8, ''2024-01-02'')',
	'SELECT loyalty.record_qualification(2, ''visits'', ''NaN'')', 'SELECT loyalty.earn(2, 5)', 'SELECT loyalty.step_tier(s) FROM loyalty.tier_state s');
TRUNCATE seen RESTART IDENTITY;
SELECT loyalty.record_qualification(1, 'visits', 1, '2024-01-02');
SELECT is(ARRAY(SELECT DISTINCT ON (n % 5) what FROM seen ORDER BY n % 5, n), '{42501,42501,done,LY003,done}', 'what a trigger on tier_state tried');
SELECT is(ARRAY(SELECT loyalty.tier_of(m, 'club') FROM unnest(ARRAY[1, 2]) m ORDER BY m), '{a,b}', 'both have their tiers');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all is well');

SELECT * FROM finish();
