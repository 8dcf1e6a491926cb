-- tier: states kept by triggers, states evaluated in one go, and replays of
-- the raw facts agree, whatever happened in whatever order.
\set members `echo ${LOYALTY_SOAK:+4000}`
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();
SELECT ok(loyalty.setup() IS NOT NULL, 'set up');
SELECT setseed(0.42);
SELECT coalesce(nullif(:'members', '')::integer, 1200) AS members
\gset

-- Three ladders that between them use every policy, and one that is easily
-- computed otherwise.
SELECT loyalty.create_currency('status');
SELECT loyalty.define_measure('status_points', 'points', 'status');
SELECT loyalty.define_measure('promised', 'points', 'status', pending => true);
SELECT loyalty.define_measure('spend');
SELECT loyalty.define_measure('visits');
SELECT loyalty.define_measure('score');
CREATE TABLE definition (ladder text, definition jsonb);
INSERT INTO definition VALUES
	('rolling', '{"time_zone": "Europe/Berlin", "measures": [{"measure": "status_points", "window": "rolling", "interval": "6 months"}, {"measure": "visits", "window": "lifetime"}],
		"validity": "interval", "validity_interval": "6 months", "at_end": "soft_landing", "grace": "20 days", "returns": "take_back", "minimum": "bronze",
		"levels": [{"level": "bronze"}, {"level": "silver", "any": {"status_points": 300, "visits": 4}, "renew": {"all": {"status_points": 200}}},
			{"level": "gold", "all": {"status_points": 700}}, {"level": "platinum", "need": 2, "of": {"status_points": 1000, "visits": 3}, "at_end": "never_down"}]}'),
	('yearly', '{"time_zone": "America/Los_Angeles", "measures": [{"measure": "spend", "window": "year"}, {"measure": "score", "window": "latest"}],
		"period": "year", "validity": "period", "at_end": "reassess", "returns": "keep", "carry_over": true, "upgrade": "next_period",
		"levels": [{"level": "one", "any": {"spend": 50}}, {"level": "two", "any": {"spend": 300, "score": 450}}, {"level": "three", "any": {"spend": 800}, "grace": "2 months"}]}'),
	('termwise', '{"time_zone": "Asia/Shanghai", "measures": [{"measure": "spend", "window": "term"}, {"measure": "visits", "window": "anniversary"}, {"measure": "promised", "window": "quarter"}],
		"period": "quarter", "validity": "interval", "validity_interval": "100 days", "at_end": "reassess", "returns": "take_back", "carry_over": true,
		"levels": [{"level": "x", "any": {"spend": 100, "visits": 3}}, {"level": "y", "any": {"spend": 250, "promised": 400}}, {"level": "z", "all": {"spend": 200, "visits": 2}, "validity": "forever"}]}'),
	('highest', '{"measures": [{"measure": "status_points", "window": "rolling", "interval": "90 days"}],
		"levels": [{"level": "1", "all": {"status_points": 150}}, {"level": "2", "all": {"status_points": 300}}, {"level": "3", "all": {"status_points": 450}}]}');
SELECT loyalty.define_ladder(ladder, definition) FROM definition;

-- A shop's own table, with the trigger
CREATE TABLE orders (order_id bigserial PRIMARY KEY, member_id bigint, at timestamptz, amount numeric, order_at timestamptz);
CREATE TRIGGER evaluate_tier AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH ROW
	EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'spend=amount', 'visits=1', 'counts_at=order_at');

-- What happens, in the order in which the database learns of it: mostly by
-- time, one in five late.
CREATE TABLE happening AS
SELECT row_number() OVER (ORDER BY x.at + CASE WHEN random() < 0.2 THEN random() * 200 ELSE 0 END * interval '1 day') AS n, x.*
FROM (SELECT 1 + floor(random() * :members)::bigint AS member_id, random() AS what, random() AS size,
		date_trunc('hour', '2022-01-01'::timestamptz + random() * 1500 * interval '1 day') AS at
	FROM generate_series(1, :members * 12)) x;

-- Members who are merged as of the instant of the happening
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, :members);
CREATE FUNCTION merge_then(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb LANGUAGE sql AS $$
	SELECT to_jsonb(loyalty.merge_tier($1, $2, $3, current_setting('test.merged_at')::timestamptz)::text)
$$;
UPDATE loyalty.merge_handler SET merge_function = 'public.merge_then' WHERE room = 'tier';

CREATE PROCEDURE live() LANGUAGE plpgsql AS $$
DECLARE
	h happening;
	other bigint;
	merge_row record;
BEGIN
	FOR h IN SELECT * FROM happening ORDER BY n LOOP
		IF h.what < 0.35 THEN
			-- one in seven waits for an event, one in seven for a date, which may be to come
			PERFORM loyalty.earn(h.member_id, 1 + (h.size * 400)::bigint, 'status', h.at,
				CASE WHEN h.n % 7 = 1 THEN h.at + h.what * 3000 * interval '1 day' END, pending => h.n % 7 = 0);
		ELSIF h.what < 0.43 THEN
			-- an order of whoever is one with this member
			PERFORM loyalty.reverse(h.member_id, e.entry_id, greatest(1, (e.requested * h.size)::bigint), greatest(h.at, e.effective_at))
			FROM loyalty.ledger e
			WHERE e.member_id IN (SELECT h.member_id UNION SELECT m.absorbed_id FROM loyalty.tier_merge m WHERE m.survivor_id = h.member_id AND m.unmerged_at IS NULL)
				AND e.kind = 'earn' AND loyalty.canonical_member(coalesce(e.home_id, e.member_id)) = loyalty.canonical_member(h.member_id)
				AND NOT EXISTS (SELECT FROM loyalty.ledger r WHERE r.target_entry_id = e.entry_id)
			ORDER BY e.entry_id DESC LIMIT 1;
		ELSIF h.what < 0.70 THEN
			INSERT INTO orders (member_id, at, amount) VALUES (h.member_id, h.at, round((h.size * 300)::numeric, 2));
		ELSIF h.what < 0.76 THEN
			INSERT INTO orders (member_id, at, amount, order_at)
			SELECT o.member_id, greatest(h.at, o.at), -round(o.amount * h.size::numeric, 2), o.at FROM orders o
			WHERE o.member_id = h.member_id AND o.amount > 0 ORDER BY o.order_id DESC LIMIT 1;
		ELSIF h.what < 0.78 THEN
			DELETE FROM orders o WHERE o.order_id = (SELECT max(x.order_id) FROM orders x WHERE x.member_id = h.member_id);
		ELSIF h.what < 0.80 THEN
			UPDATE orders o SET amount = o.amount + 10 WHERE o.order_id = (SELECT min(x.order_id) FROM orders x WHERE x.member_id = h.member_id);
		ELSIF h.what < 0.86 THEN
			PERFORM loyalty.record_qualification(h.member_id, 'score', 111 + floor(h.size * 445)::integer, h.at);
		ELSIF h.what < 0.89 THEN
			-- one in four begins years from now
			PERFORM loyalty.grant_tier(h.member_id, CASE WHEN h.n % 2 = 0 THEN 'rolling' ELSE 'highest' END,
				CASE WHEN h.n % 2 = 1 THEN '2' WHEN h.size < 0.5 THEN 'silver' ELSE 'gold' END, 'paid',
				h.at + CASE WHEN h.n % 8 < 2 THEN interval '6 years' ELSE '0' END, period => '90 days', fee => 30);
		ELSIF h.what < 0.90 AND h.n % 4 = 0 THEN
			-- one that has lapsed, mostly, asked under the number that stands for its holder
			PERFORM loyalty.renew_grant(loyalty.canonical_member(g.member_id), g.grant_id)
			FROM loyalty.tier_grant g WHERE g.member_id = h.member_id AND g.ended_at IS NULL
				AND NOT EXISTS (SELECT FROM loyalty.tier_grant r WHERE r.member_id = g.member_id AND r.renews_grant_id = g.grant_id) LIMIT 1;
		ELSIF h.what < 0.90 THEN
			-- one in three before it begins
			PERFORM loyalty.end_grant(g.member_id, g.grant_id, 'pro_rata', g.starts_at + (h.size - CASE WHEN h.n % 3 = 0 THEN 1 ELSE 0 END) * (g.ends_at - g.starts_at))
			FROM loyalty.tier_grant g WHERE g.member_id = h.member_id AND g.ended_at IS NULL LIMIT 1;
		ELSIF h.what < 0.91 AND h.member_id % 10 < 4 THEN
			-- into a neighbour; both must be roots
			other := h.member_id - h.member_id % 10 + 4 + h.member_id % 3;
			IF NOT EXISTS (SELECT FROM loyalty.tier_merge m WHERE m.absorbed_id IN (h.member_id, other) AND m.unmerged_at IS NULL) THEN
				PERFORM set_config('test.merged_at', h.at::text, true);
				PERFORM loyalty.merge_members(other, h.member_id);
			END IF;
		ELSIF h.what < 0.915 THEN
			FOR merge_row IN SELECT m.merge_id FROM loyalty.tier_merge m WHERE m.survivor_id = h.member_id AND m.unmerged_at IS NULL LOOP
				PERFORM loyalty.unmerge_members(merge_row.merge_id);
			END LOOP;
		ELSIF h.what < 0.93 THEN
			PERFORM loyalty.evaluate_member_tiers(h.member_id, as_of => h.at);
		ELSIF h.what < 0.94 THEN
			PERFORM loyalty.set_joined(h.member_id, h.at - interval '1 year');
		ELSIF h.what < 0.97 THEN
			-- several rows in one statement, one of them late
			INSERT INTO orders (member_id, at, amount)
			SELECT h.member_id, h.at - i * interval '10 days', 40 FROM generate_series(0, 2) i;
		ELSE
			-- what waits, of whoever is one with this member
			PERFORM loyalty.activate(h.member_id, e.entry_id, greatest(h.at, e.effective_at))
			FROM loyalty.ledger e
			WHERE e.member_id IN (SELECT h.member_id UNION SELECT m.absorbed_id FROM loyalty.tier_merge m WHERE m.survivor_id = h.member_id AND m.unmerged_at IS NULL)
				AND e.kind = 'earn' AND (e.available_at > greatest(h.at, e.effective_at)) IS NOT FALSE AND loyalty.canonical_member(coalesce(e.home_id, e.member_id)) = loyalty.canonical_member(h.member_id)
				AND EXISTS (SELECT FROM loyalty.lots(h.member_id, 'status', greatest(now(), h.at)) l WHERE l.lot_id = e.entry_id AND l.state = 'pending')
				AND NOT EXISTS (SELECT FROM loyalty.ledger a WHERE a.target_entry_id = e.entry_id AND a.kind = 'activate')
			ORDER BY e.entry_id LIMIT 1;
		END IF;
		IF h.n % 1000 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL live();
ANALYZE loyalty.tier_state, loyalty.ledger, loyalty.tier_event;

SELECT cmp_ok(count(*), '>', 1000::bigint, 'many steps were taken') FROM loyalty.tier_history;
SELECT set_eq('SELECT DISTINCT event FROM loyalty.tier_history',
	ARRAY['enrolled', 'upgraded', 'renewed', 'grace_started', 'downgraded', 'locked', 'expired'], 'all kinds of steps');
SELECT cmp_ok(count(*), '>', 0::bigint, 'orders of merged members came back to those who stood for them') FROM loyalty.ledger e
	JOIN loyalty.ledger t ON t.entry_id = e.target_entry_id WHERE t.member_id <> e.member_id AND e.kind = 'reverse';
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'kept by triggers: what a replay of all facts gives');

-- The same from nothing, in one go
SELECT max(evaluated_at) AS latest FROM loyalty.tier_state
\gset
CREATE TABLE kept_tier AS
SELECT s.member_id, s.ladder, t.as_of, loyalty.tier_of(s.member_id, s.ladder, t.as_of) AS level
FROM loyalty.tier_state s, generate_series('2022-03-01'::timestamptz, '2028-01-01', '89 days 7 hours') t(as_of);
CREATE FUNCTION pg_temp.stored() RETURNS bigint LANGUAGE sql AS
$$SELECT coalesce(r.result, 0) FROM loyalty.job_run r WHERE r.job = 'evaluate_tiers' AND r.status = 'finished' ORDER BY r.run_id DESC LIMIT 1$$;
CALL loyalty.evaluate_tiers(as_of => :'latest');
SELECT is(pg_temp.stored() >= 0, true, 'evaluated as of the latest fact');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'brought up to one instant');
-- (a state of somebody who has no facts at all may be there, or not)
CREATE VIEW state AS SELECT member_id, ladder, level, earned_level, since, valid_until, grace_until, merged_into FROM loyalty.tier_state
	WHERE level IS NOT NULL OR merged_into IS NOT NULL;
CREATE TABLE batch AS SELECT * FROM state;
TRUNCATE loyalty.tier_state, loyalty.tier_history;
CALL loyalty.evaluate_tiers(as_of => :'latest');
SELECT cmp_ok(pg_temp.stored(), '>', 0::bigint, 'evaluated from nothing');
SELECT is_empty('(SELECT * FROM batch EXCEPT SELECT * FROM state) UNION ALL (SELECT * FROM state EXCEPT SELECT * FROM batch)',
	'states evaluated in one go are those that were kept');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'and what a replay gives');
CALL loyalty.evaluate_tiers(as_of => :'latest');
SELECT is(pg_temp.stored(), 0::bigint, 'evaluating again changes nothing');
SELECT is_empty($$SELECT k.* FROM kept_tier k WHERE k.level IS DISTINCT FROM loyalty.tier_of(k.member_id, k.ladder, k.as_of)$$,
	'tier_of() at any instant, past or to come, is the same from either state');
SELECT is_empty($$SELECT k.* FROM kept_tier k WHERE k.member_id % 7 = 0
	AND k.level IS DISTINCT FROM loyalty.tier_of(k.member_id, k.ladder, k.as_of, clock_timestamp())$$,
	'and without any state');

-- What was posted, by whom it was earned: of a return, when its order was and
-- when the points of that became available.
CREATE TABLE posted AS
SELECT coalesce(o.home_id, o.member_id) AS member_id, e.effective_at AS posted_at, o.effective_at AS order_at,
	coalesce(least(o.available_at, a.activated_at), 'infinity') AS available_at, CASE WHEN e.entry_id = o.entry_id THEN e.requested ELSE -e.requested END AS amount
FROM loyalty.ledger o
JOIN loyalty.ledger e ON e.entry_id = o.entry_id OR (e.target_entry_id = o.entry_id AND e.kind = 'reverse')
LEFT JOIN LATERAL (SELECT min(x.effective_at) AS activated_at FROM loyalty.ledger x WHERE x.target_entry_id = o.entry_id AND x.kind = 'activate') a ON true
WHERE o.kind = 'earn';
CREATE INDEX ON posted (member_id);
ANALYZE posted;
SELECT is((SELECT count(*) FROM (SELECT FROM posted WHERE available_at > order_at
		GROUP BY CASE WHEN available_at = 'infinity' THEN 'wait' WHEN available_at > now() THEN 'will be' ELSE 'became' END, amount > 0
		HAVING count(*) > 10) k), 6::bigint,
	'points became available at a date or an event, will, or wait for it, and are taken back meanwhile');

-- Without terms and graces a tier is the highest that was ever reached, in the
-- view of then, or what is granted: with one look at each instant of a fact.
CREATE FUNCTION highest_of(member_id bigint, as_of timestamptz) RETURNS text LANGUAGE sql AS $$
	WITH known AS (
		SELECT p.available_at AS counts_at, p.amount FROM posted p
		WHERE p.member_id = $1 AND p.available_at <= $2 AND p.posted_at <= $2
	), reached AS (
		SELECT least(3, (sum(k.amount) FILTER (WHERE k.counts_at <= t.at AND k.counts_at > t.at - interval '90 days')) / 150) AS level
		FROM (SELECT DISTINCT counts_at AS at FROM known) t, known k GROUP BY t.at
		UNION ALL
		SELECT g.level::integer FROM loyalty.tier_grant g
		WHERE g.member_id = $1 AND g.ladder = 'highest' AND g.starts_at <= $2 AND $2 < coalesce(g.ended_at, g.ends_at)
	)
	SELECT nullif(max(trunc(level)), 0)::text FROM reached WHERE level >= 0
$$;
SELECT is_empty($$SELECT * FROM (
		SELECT s.member_id, t.as_of, loyalty.tier_of(s.member_id, 'highest', t.as_of) AS stored, highest_of(s.member_id, t.as_of) AS reached
		FROM loyalty.tier_state s, generate_series('2022-02-01'::timestamptz, '2030-01-01', '59 days 5 hours') t(as_of)
		WHERE s.ladder = 'highest' AND s.member_id % 7 = 0 AND s.member_id NOT IN (SELECT absorbed_id FROM loyalty.tier_merge UNION SELECT survivor_id FROM loyalty.tier_merge)) x
	WHERE stored IS DISTINCT FROM reached$$, 'the highest level ever reached, computed otherwise');

-- The primitives over the raw rows, for those without grants, merges and dates
CREATE TABLE raw AS
SELECT d.ladder, f.member_id, loyalty.tier_facts_agg(f.measure, f.at, f.amount, f.counts_at) AS facts
FROM (SELECT 'promised' AS measure, member_id, posted_at AS at, amount, order_at AS counts_at FROM posted
	UNION ALL SELECT 'status_points', member_id, greatest(posted_at, available_at), amount, available_at FROM posted WHERE available_at < 'infinity'
	UNION ALL SELECT measure, member_id, at, amount, counts_at FROM loyalty.tier_event) f
JOIN definition d ON d.definition->'measures' @> jsonb_build_array(jsonb_build_object('measure', f.measure))
WHERE f.member_id NOT IN (SELECT member_id FROM loyalty.tier_grant UNION SELECT absorbed_id FROM loyalty.tier_merge
	UNION SELECT survivor_id FROM loyalty.tier_merge UNION SELECT member_id FROM loyalty.tier_joined)
GROUP BY 1, 2;
SELECT cmp_ok(count(*), '>', 300::bigint, 'enough of them') FROM raw;
CREATE TABLE history_as_of AS
SELECT r.ladder, r.member_id, t.* FROM raw r JOIN definition d USING (ladder), LATERAL loyalty.tier_timeline(r.facts, d.definition, :'latest') t;
SELECT is_empty($$SELECT r.ladder, r.member_id, r.starts_at, r.ends_at, r.level, r.event, r.reason, r.valid_until FROM history_as_of r
	EXCEPT SELECT h.ladder, h.member_id, h.starts_at, h.ends_at, h.level, h.event, h.reason, h.valid_until FROM loyalty.tier_history h$$,
	'tier_timeline() over the raw rows is in the history');
SELECT is_empty($$SELECT h.ladder, h.member_id, h.starts_at, h.ends_at, h.level, h.event, h.reason, h.valid_until FROM loyalty.tier_history h
	JOIN raw USING (ladder, member_id)
	EXCEPT SELECT r.ladder, r.member_id, r.starts_at, r.ends_at, r.level, r.event, r.reason, r.valid_until FROM history_as_of r$$,
	'and the history in it');

-- The timeline says what tier_of() says, at and around each of its instants
SELECT is_empty($$SELECT * FROM history_as_of h,
		LATERAL (VALUES (h.starts_at, true), (h.starts_at + interval '1 microsecond', true), (coalesce(h.ends_at, h.starts_at) - interval '1 microsecond', h.ends_at IS NOT NULL)) v(as_of, asked)
	WHERE v.asked AND h.member_id % 5 = 0 AND loyalty.tier_of(h.member_id, h.ladder, v.as_of) IS DISTINCT FROM h.level
		AND NOT EXISTS (SELECT FROM loyalty.tier_event e WHERE e.member_id = h.member_id AND e.counts_at < e.at)
		AND NOT EXISTS (SELECT FROM loyalty.ledger e WHERE e.member_id = h.member_id AND e.kind = 'reverse')$$,
	'tier_of() exactly at, just after and just before each step');

-- In any order, plan and number of workers, the same bits
SELECT is(a.f::text, b.f::text, 'facts in another order are the same')
FROM (SELECT loyalty.tier_facts_agg(measure, at, amount, counts_at ORDER BY random()) AS f FROM loyalty.tier_event) a,
	 (SELECT loyalty.tier_facts_agg(measure, at, amount, counts_at ORDER BY at DESC) AS f FROM loyalty.tier_event) b;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
CREATE TABLE p AS SELECT member_id, loyalty.tier_facts_agg(measure, at, amount, counts_at) AS f FROM loyalty.tier_event GROUP BY 1;
RESET ALL;
SET search_path = public, pg_catalog;
SET max_parallel_workers_per_gather = 0;
SELECT is_empty($$SELECT member_id FROM p JOIN (SELECT member_id, loyalty.tier_facts_agg(measure, at, amount, counts_at) AS f FROM loyalty.tier_event GROUP BY 1) s
	USING (member_id) WHERE p.f::text <> s.f::text$$, 'parallel or not');
SELECT is_empty($$SELECT member_id FROM p WHERE f::text::loyalty.tier_facts::text <> f::text$$, 'text form goes in as it came out');

-- What is not right is found by table access as by a statement, of whatever
-- members, and with a part of the entries in the archive
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY recorded_at) AS half FROM loyalty.ledger
\gset
CALL loyalty.archive_entries(:'half');
SELECT cmp_ok(count(*), '>', 100::bigint, 'a part of the entries is archived') FROM loyalty.ledger_archive;
CREATE FUNCTION found(ladder text, as_of timestamptz, behind bigint, up_to bigint, by_access boolean) RETURNS bigint[] LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('loyalty.table_access', CASE WHEN by_access THEN 'on' ELSE 'off' END, true);
	RETURN loyalty.tiers_to_evaluate(ladder, as_of, behind, up_to);
END $$;
CREATE VIEW points_ladder AS SELECT unnest(ARRAY['highest', 'promised']) AS ladder;
SELECT loyalty.define_ladder('promised', '{"measures": [{"measure": "promised", "window": "lifetime"}, {"measure": "status_points", "window": "rolling", "interval": "1 year"}],
	"levels": [{"level": "1", "all": {"promised": 1}}, {"level": "2", "all": {"promised": 500}}, {"level": "3", "all": {"status_points": 500}}]}');
SELECT loyalty.evaluate_tiers_of(ARRAY(SELECT generate_series(1, :members)), :'latest', 'promised');
BEGIN;
SELECT is(found(ladder, :'latest', NULL, 9223372036854775807, true), ARRAY(SELECT loyalty.members_evaluated_alone(ladder, NULL, 9223372036854775807) ORDER BY 1),
	ladder || ': nobody whose state is right') FROM points_ladder;
UPDATE loyalty.tier_state SET since = since - interval '1 hour' WHERE member_id % 3 = 0;
DELETE FROM loyalty.tier_state WHERE member_id % 10 = 1;
SELECT is_empty($$SELECT e.member_id FROM loyalty.all_entries() e WHERE e.member_id % 10 = 1 AND e.kind = 'earn' AND e.available_at = e.effective_at
	EXCEPT SELECT unnest(found('$$ || ladder || $$', now(), NULL, 9223372036854775807, true))$$, ladder || ': who has points and no state is found') FROM points_ladder;
SELECT ok(cardinality(differing) > 20 AND cardinality(undecided) > 20, ladder || ': some by their entries, some with those behind them')
FROM points_ladder, loyalty.compare_plain_tiers(ladder, :'latest', NULL, 9223372036854775807);
SELECT is(found(ladder, as_of, behind, up_to, true), found(ladder, as_of, behind, up_to, false), format('%s: the same as of %s, behind %s', ladder, as_of, behind))
FROM points_ladder, (VALUES (:'latest'::timestamptz, NULL::bigint, 9223372036854775807), (now(), 100, 500), (now(), 9223372036854775807, 9223372036854775807),
	('2023-03-01', 300, 700)) asked(as_of, behind, up_to);
SET LOCAL loyalty.table_access = off;
SELECT is(undecided, NULL, ladder || ': by statements, all are undecided')
FROM points_ladder, loyalty.compare_plain_tiers(ladder, :'latest', NULL, 9223372036854775807);
ROLLBACK;
SELECT is(undecided, NULL, 'a ladder of other measures is left to the statement')
FROM loyalty.compare_plain_tiers('rolling', :'latest', NULL, 9223372036854775807);

SELECT * FROM finish();
