-- Room member, property test: random sequences of everything that can be done
-- to members and their points.  After each, check_all() is empty; no merge and no
-- unmerge makes or loses a point; merges that are undone again, in any nesting
-- order, leave everything as it was.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET jit = off;
\set sequences 1000
-- LOYALTY_SEED=2 and so on: others than the usual ones; long tests have others each day
\set seed `echo "${LOYALTY_SEED:-$(test -n "$LOYALTY_SOAK" && date +%j || echo 1)}"`
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();

SELECT loyalty.create_currency('stamps', expiry_policy => 'sliding', expiry_interval => '1 year',
	consumption_order => 'oldest_first', clawback_policy => 'within_lot', time_zone => 'UTC') \g /dev/null
SELECT loyalty.configure_namespace('card', priority => 5, max_per_member => 3, merge_unverified => true) \g /dev/null
SELECT loyalty.configure_namespace('tablet', shared => true) \g /dev/null
INSERT INTO loyalty.attribute_rule (attribute, rule, channels)
VALUES ('city', 'frequent', '{}'), ('lang', 'priority', '{app,shop}'), ('since', 'first', '{}'), ('nick', 'non_null', '{}');
-- another room's things: each member's badges, with a home
CREATE TABLE loyalty.badge (member_id bigint NOT NULL, home_id bigint NOT NULL, name text NOT NULL);
CREATE FUNCTION loyalty.badge_merge(m bigint, s bigint, a bigint) RETURNS jsonb LANGUAGE sql AS
	$$ WITH moved AS (UPDATE loyalty.badge SET member_id = $2 WHERE member_id = $3 RETURNING 1) SELECT to_jsonb(count(*)) FROM moved $$;
CREATE FUNCTION loyalty.badge_unmerge(m bigint, r bigint, a bigint, tree bigint[]) RETURNS jsonb LANGUAGE sql AS
	$$ WITH moved AS (UPDATE loyalty.badge SET member_id = $3 WHERE member_id = $2 AND home_id = ANY ($4) RETURNING 1) SELECT to_jsonb(count(*)) FROM moved $$;
SELECT bag_eq('SELECT invariant, detail FROM loyalty.check_all()',
	$$VALUES ('handler', 'no room has registered how table badge is merged')$$, 'a table that no room registered is reported');
SELECT loyalty.register_merge_handler('badge', '{badge}', 'loyalty.badge_merge', 'loyalty.badge_unmerge') \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and then it is not');

-- All that a merge and its undoing must leave as it was, as one text.
CREATE FUNCTION pg_temp.state() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(line, E'\n' ORDER BY line COLLATE "C") FROM (
		-- a lot that was moved begins anew: what had extended it stays, and it is joined with nothing that is before it
		SELECT format('wallet %s %s %s %s %s', member_id, currency,
			(SELECT jsonb_agg(l - 'opened_until' - 'apart') FROM jsonb_array_elements(balance::jsonb -> 'lots') l),
			balance::jsonb -> 'debt', balance::jsonb -> 'owed') AS line
		FROM loyalty.wallet WHERE balance::jsonb -> 'lots' <> '[]' OR balance::jsonb ? 'debt'
		UNION ALL SELECT format('member %s %s %s', member_id, status, attributes) FROM loyalty.member
		UNION ALL SELECT format('alias %s %s %s', member_id, canonical_id, merge_id) FROM loyalty.member_alias
		UNION ALL SELECT format('identifier %s %s %s %s', identifier_id, member_id, home_member_id, verified) FROM loyalty.identifier
		UNION ALL SELECT format('badge %s %s %s', member_id, home_id, name) FROM loyalty.badge
		UNION ALL SELECT format('balance %s %s', w.member_id, b) FROM loyalty.wallet w,
			LATERAL (SELECT x.available, x.pending, x.held, x.debt, x.next_expiry_at FROM loyalty.balance(w.member_id, w.currency) x) b
			WHERE w.moved IS NOT TRUE AND (b.available, b.pending, b.held, b.debt) <> (0, 0, 0, 0)
	) x
$$;

-- Points of all wallets: what merges must conserve.
CREATE FUNCTION pg_temp.points() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s', currency, points), ' ' ORDER BY currency)
	FROM (SELECT w.currency, sum(h.points - h.debt) AS points FROM loyalty.wallet w, loyalty.balance_homes(w.balance) h GROUP BY w.currency) x
	WHERE points <> 0
$$;

CREATE FUNCTION pg_temp.pick(VARIADIC choices anyarray) RETURNS anyelement LANGUAGE sql VOLATILE AS
	$$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;
CREATE FUNCTION pg_temp.some_member() RETURNS bigint LANGUAGE sql VOLATILE AS
	$$ SELECT member_id FROM loyalty.member ORDER BY random() LIMIT 1 $$;
CREATE FUNCTION pg_temp.some_entry(VARIADIC kinds text[]) RETURNS TABLE (m bigint, e bigint) LANGUAGE sql VOLATILE AS
	$$ SELECT CASE WHEN random() < 0.7 THEN coalesce(home_id, member_id) ELSE pg_temp.some_member() END, entry_id
	   FROM loyalty.ledger WHERE kind = ANY (kinds) ORDER BY random() LIMIT 1 $$;
CREATE FUNCTION pg_temp.some_identifiers() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_agg(jsonb_build_object('namespace', namespace, 'value', CASE namespace WHEN 'email' THEN v || '@b.example' ELSE 'v' || v END, 'verified', random() < 0.6))
	FROM (SELECT pg_temp.pick('email'::text, 'card', 'card', 'tablet', 'email') AS namespace, floor(random() * 9)::int AS v
		FROM generate_series(1, 1 + floor(random() * 3)::int)) x
$$;

-- One random act; refusals of class LY are fine.
CREATE FUNCTION pg_temp.act() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	act text := pg_temp.pick('resolve'::text, 'resolve', 'link', 'unlink', 'merge', 'merge', 'merge', 'unmerge', 'unmerge', 'earn', 'earn', 'earn', 'earn',
		'redeem', 'redeem', 'hold', 'capture', 'release', 'reverse', 'reverse', 'activate', 'transfer', 'adjust', 'book', 'badge', 'forget', 'asof');
	currency text := pg_temp.pick('points'::text, 'points', 'stamps');
	points bigint := 1 + floor(random() * 60);
	wait int := 1 + floor(random() * 5);
	at timestamptz := CASE WHEN random() < 0.3 THEN statement_timestamp() - random() * interval '20 days' ELSE statement_timestamp() END;
	before text;
	m bigint;
	e bigint;
	key text := CASE WHEN random() < 0.2 THEN 'k' || floor(random() * 5) END;
BEGIN
	CASE act
		WHEN 'resolve' THEN
			before := pg_temp.points();
			PERFORM loyalty.resolve_member(pg_temp.some_identifiers(), pg_temp.pick('app'::text, 'shop', 'till'),
				CASE WHEN random() < 0.5 THEN jsonb_build_object(pg_temp.pick('city'::text, 'lang', 'since', 'nick', 'size'), pg_temp.pick('a'::text, 'b', 'c', NULL)) END,
				pg_temp.pick('merge'::text, 'merge', 'first', 'refuse'), at);
		WHEN 'link' THEN
			PERFORM loyalty.link_identifier(pg_temp.some_member(), x ->> 'namespace', x ->> 'value', random() < 0.5)
			FROM jsonb_array_elements(pg_temp.some_identifiers()) x LIMIT 1;
		WHEN 'unlink' THEN
			PERFORM loyalty.unlink_identifier(i.member_id, i.namespace, i.value)
			FROM (SELECT * FROM loyalty.identifier ORDER BY random() LIMIT 1) i WHERE random() < 0.5;
		WHEN 'merge' THEN
			before := pg_temp.points();
			PERFORM loyalty.merge_members(pg_temp.some_member(), pg_temp.some_member(), 'test');
		WHEN 'unmerge' THEN
			before := pg_temp.points();
			PERFORM loyalty.unmerge_members(x.merge_id, pg_temp.pick('home'::text, 'home', 'survivor', 'identifier'))
			FROM (SELECT merge_id FROM loyalty.member_merge ORDER BY unmerged_at IS NOT NULL, random() LIMIT 1) x;
		WHEN 'earn' THEN
			PERFORM loyalty.earn(pg_temp.some_member(), points, currency, at,
				available_at => CASE WHEN wait = 4 THEN now() + interval '5 days' END, pending => wait = 5,
				expires_at => pg_temp.pick(NULL::timestamptz, NULL, at + interval '3 days', now() + interval '30 days'), idempotency_key => key,
				details => (SELECT jsonb_build_object('identifier_id', identifier_id) FROM loyalty.identifier ORDER BY random() LIMIT 1));
		WHEN 'redeem' THEN PERFORM loyalty.redeem(pg_temp.some_member(), points, currency, at, idempotency_key => key);
		WHEN 'adjust' THEN PERFORM loyalty.adjust(pg_temp.some_member(), pg_temp.pick(1, -1) * points, 'test', currency, at);
		WHEN 'hold' THEN PERFORM loyalty.hold(pg_temp.some_member(), points, now() + interval '2 days', currency, at, idempotency_key => key);
		WHEN 'capture' THEN PERFORM loyalty.capture(x.m, x.e, pg_temp.pick(NULL::bigint, 3::bigint), at) FROM pg_temp.some_entry('hold') x;
		WHEN 'release' THEN PERFORM loyalty.release(x.m, x.e, at) FROM pg_temp.some_entry('hold') x;
		WHEN 'activate' THEN PERFORM loyalty.activate(x.m, x.e, at) FROM pg_temp.some_entry('earn') x;
		WHEN 'reverse' THEN PERFORM loyalty.reverse(x.m, x.e, pg_temp.pick(NULL::bigint, 4::bigint), idempotency_key => key)
			FROM pg_temp.some_entry('earn', 'redeem', 'capture', 'adjust') x;
		WHEN 'transfer' THEN PERFORM loyalty.transfer(pg_temp.some_member(), pg_temp.some_member(), points, currency, at, idempotency_key => key);
		WHEN 'book' THEN PERFORM loyalty.book_expiry(w.member_id, w.currency, now()) FROM loyalty.wallet w;
		WHEN 'badge' THEN
			m := pg_temp.some_member();
			INSERT INTO loyalty.badge VALUES (loyalty.canonical_member(m), m, 'b' || points);
		WHEN 'forget' THEN
			IF random() < 0.1 THEN
				PERFORM loyalty.forget_member(pg_temp.some_member());
			END IF;
		WHEN 'asof' THEN
			PERFORM b.available, l.* FROM loyalty.member x, LATERAL (SELECT now() - random() * interval '25 days' AS t) t,
				loyalty.balance(x.member_id, currency, t.t) b, loyalty.lots(x.member_id, currency, t.t) l;
	END CASE;
	IF before IS DISTINCT FROM pg_temp.points() AND act IN ('resolve', 'merge', 'unmerge') THEN
		RETURN format('%s made %s of %s', act, pg_temp.points(), before);
	END IF;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	IF SQLSTATE NOT LIKE 'LY%' OR SQLSTATE IN ('LY001', 'LY002', 'LY005') THEN
		RETURN format('%s: %s %s', act, SQLSTATE, SQLERRM);
	END IF;
	RETURN NULL;
END $$;

-- Merges in any shape, undone in any order: nothing has changed. Only where one
-- owed and another had points, the debt is repaid, and that stays so.
CREATE FUNCTION pg_temp.owed() RETURNS numeric LANGUAGE sql AS
	$$ SELECT sum(h.debt) FROM loyalty.wallet w, loyalty.balance_homes(w.balance) h $$;
-- what check_all() asks of the rooms that have rows here
CREATE FUNCTION pg_temp.violation() RETURNS text LANGUAGE sql AS $$
	SELECT c::text FROM (SELECT * FROM loyalty.check_ledger() UNION ALL SELECT * FROM loyalty.check_member() UNION ALL SELECT * FROM loyalty.check_tier()) c LIMIT 1
$$;

CREATE FUNCTION pg_temp.there_and_back() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before text := pg_temp.state();
	points text := pg_temp.points();
	owed numeric := pg_temp.owed();
	repaid boolean;
	merges bigint[] := '{}';
	m bigint;
BEGIN
	FOR i IN 1 .. 1 + floor(random() * 5)::int LOOP
		BEGIN
			SELECT merge_id INTO m FROM loyalty.merge_members(pg_temp.some_member(), pg_temp.some_member());
			merges := merges || m;
		EXCEPTION WHEN SQLSTATE 'LY209' OR SQLSTATE 'LY203' OR SQLSTATE 'LY207' THEN
			NULL;
		END;
	END LOOP;
	IF pg_temp.violation() IS NOT NULL THEN
		RETURN 'after merges: ' || pg_temp.violation();
	END IF;
	repaid := pg_temp.owed() < owed;
	FOR m IN SELECT x FROM unnest(merges) x ORDER BY random() LOOP
		PERFORM loyalty.unmerge_members(m, pg_temp.pick('home'::text, 'survivor', 'identifier'));
	END LOOP;
	IF points IS DISTINCT FROM pg_temp.points() THEN
		RETURN format('merges %s there and back: %s points became %s', merges, points, pg_temp.points());
	END IF;
	IF NOT repaid AND before IS DISTINCT FROM pg_temp.state() THEN
		RETURN format(E'merges %s there and back changed\n%s\nto\n%s', merges, before, pg_temp.state());
	END IF;
	RETURN NULL;
END $$;

CREATE TABLE finding (sequence int, what text);
CREATE TABLE tally (acts bigint, entries bigint, merges bigint, unmerges bigint, round_trips bigint);
INSERT INTO tally VALUES (0, 0, 0, 0, 0);
CREATE PROCEDURE pg_temp.run(sequences int, seed int) LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
	counts tally;
BEGIN
	FOR s IN 1 .. sequences LOOP
		PERFORM setseed((seed - 1) % 25 * 0.04 + s / 100000.0);
		wrong := NULL;
		BEGIN
			FOR i IN 1 .. 5 LOOP
				PERFORM loyalty.resolve_member(jsonb_build_object('email', format('m%s@b.example', i)), 'app');
			END LOOP;
			FOR i IN 1 .. 25 LOOP
				wrong := CASE WHEN random() < 0.06 THEN pg_temp.there_and_back() ELSE pg_temp.act() END;
				EXIT WHEN wrong IS NOT NULL;
			END LOOP;
			IF wrong IS NULL THEN
				wrong := pg_temp.there_and_back();
			END IF;
			IF wrong IS NULL THEN
				wrong := pg_temp.violation();
			END IF;
			IF wrong IS NULL AND s % 50 = 0 THEN
				wrong := (SELECT c::text FROM loyalty.check_all() c LIMIT 1);
			END IF;
			IF wrong IS NULL AND loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1)) <> 0 THEN
				wrong := 'rebuild_wallets_of() found a difference';
			END IF;
			SELECT 25, (SELECT count(*) FROM loyalty.ledger), count(*), count(unmerged_at), 1 INTO counts FROM loyalty.member_merge;
			-- the next sequence begins with nothing
			RAISE EXCEPTION USING ERRCODE = 'LYRLB', MESSAGE = 'roll back';
		EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
			NULL;
		END;
		UPDATE tally SET acts = acts + counts.acts, entries = entries + counts.entries, merges = merges + counts.merges,
			unmerges = unmerges + counts.unmerges, round_trips = round_trips + 1;
		IF wrong IS NOT NULL THEN
			INSERT INTO finding VALUES (s, wrong);
			EXIT WHEN (SELECT count(*) FROM finding) >= 5;
		END IF;
		IF s % 50 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL pg_temp.run(:sequences, :seed);
SELECT diag(format('seed %s, %s sequences: %s acts, %s ledger entries, %s merges, %s unmerges', :seed, round_trips, acts, entries, merges, unmerges)) FROM tally;
SELECT is_empty('TABLE finding', format('%s random sequences: points conserved, merges reversible, check_all() empty', (SELECT round_trips FROM tally)));
SELECT cmp_ok((SELECT unmerges FROM tally), '>', (SELECT round_trips FROM tally), 'merges were made and undone');
SELECT * FROM finish();
