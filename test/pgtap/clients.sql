-- What clients meet, whatever the room: settings of the program, definitions
-- that are given twice, values that every driver can read.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SELECT no_plan();

-- ---------------------------------------------------------------------------
-- The time zone of the program
-- ---------------------------------------------------------------------------

SELECT is(loyalty.program_time_zone(), 'UTC', 'before setup() the time zone is UTC');
SELECT FROM loyalty.setup();
SET timezone = 'Asia/Tokyo';	-- no answer below depends on it
SELECT is(loyalty.program_time_zone(), 'UTC', 'and after it, until it is set');

SELECT FROM loyalty.create_currency('before', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day');
SELECT FROM loyalty.define_measure('before_points', 'points', 'before');
SELECT FROM loyalty.define_ladder('before', '{"measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT throws_ok($$SELECT loyalty.configure_program(time_zone => 'Mars/Olympus')$$, 'LY003', NULL, 'it must exist');
SELECT throws_ok($$UPDATE loyalty.program SET time_zone = 'Mars/Olympus'$$, 'LY003', NULL, 'also by UPDATE');
SELECT throws_ok($$INSERT INTO loyalty.program (only_one, time_zone) VALUES (false, 'UTC')$$, '23514', NULL, 'there is one row');
SELECT is((loyalty.configure_program(time_zone => 'America/New_York')).time_zone, 'America/New_York', 'configure_program() sets it');
SELECT is((loyalty.configure_program()).time_zone, 'America/New_York', 'and leaves what is not given');
SELECT is(loyalty.program_time_zone(), 'America/New_York', 'every session knows it');

SELECT FROM loyalty.create_currency('after', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day');
SELECT FROM loyalty.create_currency('own', expiry_policy => 'rolling', expiry_interval => '1 day', expiry_rounding => 'day', time_zone => 'Europe/Berlin');
UPDATE loyalty.currency SET expiry_policy = 'rolling', expiry_interval = '1 day', expiry_rounding = 'day' WHERE code = 'points';
-- 2024-01-15 23:30 in UTC is the 16th in Berlin and the 15th in New York: one
-- day later, rounded up to the end of that day
SELECT FROM unnest('{before,after,own,points}'::text[]) currency, loyalty.earn(1, 10, currency, '2024-01-15 23:30Z');
SELECT is((SELECT l.expires_at FROM loyalty.lots(1, currency, '2024-01-15 23:30Z') l),
	expires_at::timestamptz, 'currency ' || currency)
FROM (VALUES ('before', '2024-01-17 00:00Z'), ('after', '2024-01-17 05:00Z'), ('own', '2024-01-17 23:00Z'), ('points', '2024-01-17 05:00Z')) v (currency, expires_at);

SELECT FROM loyalty.define_ladder('after', '{"measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT FROM loyalty.define_ladder('own', '{"time_zone": "Europe/Berlin", "measures": [{"measure": "before_points", "window": "lifetime"}], "levels": [{"level": "base"}]}');
SELECT results_eq($$SELECT ladder COLLATE "default", definition ->> 'time_zone' FROM loyalty.ladder_version ORDER BY ladder COLLATE "C"$$,
	$$VALUES ('after', 'America/New_York'), ('before', 'UTC'), ('own', 'Europe/Berlin')$$, 'a ladder keeps the time zone that it was defined in');

-- 2024-01-15 03:00 in UTC is the evening of Sunday the 14th in New York
SELECT is(loyalty.first_active(loyalty.activity_agg('2024-01-15 03:00Z', 'day', NULL)), '2024-01-14', 'activity_agg() without a zone');
SELECT matches(loyalty.preferred_hour_agg('2024-01-15 03:00Z', NULL)::text, '^\(22,', 'preferred_hour_agg() without a zone');
SELECT matches(loyalty.preferred_weekday_agg('2024-01-15 03:00Z', NULL)::text, '^\(7,', 'preferred_weekday_agg() without a zone');
RESET timezone;

-- ---------------------------------------------------------------------------
-- Points come from amounts, and amounts are numeric
-- ---------------------------------------------------------------------------

SELECT is((SELECT available FROM loyalty.earn(2, points)), total::bigint, format('earn(2, %s)', points))
FROM (VALUES (1, 12, 12), (2, 3.000, 15), (3, floor(12.5), 27), (4, 1e2, 127), (5, 0.5e1, 132)) v (i, points, total) ORDER BY i;
SELECT is((SELECT available FROM loyalty.redeem(2, round(31.5))), 100::bigint, 'redeem() of a numeric');
SELECT is((SELECT array_agg(available) FROM loyalty.post_many('{2,2,2}', '{earn,redeem,adjust}', '{5.0,2.000,-3}', reasons => '{NULL,NULL,x}')),
	'{105,103,100}', 'post_many() of numeric');
SELECT is((SELECT available FROM loyalty.earn(3, 9223372036854775807)), 9223372036854775807, 'the largest number of points');
CREATE FUNCTION refusal(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	EXECUTE statement;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws('|', SQLSTATE, SQLERRM, detail, hint);
END
$$;
SELECT is(refusal(format('SELECT loyalty.earn(2, %L)', points)), outcome, 'earn() of ' || points)
FROM (VALUES ('12.50', 'LY003|points must be a whole number|It is 12.50.|Round it, for example with floor(), or count in a smaller unit.'),
	('NaN', 'LY003|points must be a whole number|It is NaN.|Round it, for example with floor(), or count in a smaller unit.'),
	('-1e19', 'LY003|points are out of the range of bigint|It is -10000000000000000000.|Give another number of points.')) v (points, outcome);

-- ---------------------------------------------------------------------------
-- Points that wait for an event are pending, and their instant is NULL
-- ---------------------------------------------------------------------------

SELECT FROM loyalty.create_currency('plain');
SELECT entry_id AS waiting FROM loyalty.earn(4, 10, 'plain', effective_at => '2024-01-01', pending => true) \gset
SELECT FROM loyalty.earn(4, 20, 'plain', effective_at => '2024-01-01', available_at => '2024-02-01');
SELECT results_eq($$SELECT points, state, available_at FROM loyalty.lots(4, 'plain', as_of => '2024-01-02') ORDER BY lot_id$$,
	$$VALUES (10::bigint, 'pending', NULL::timestamptz), (20, 'pending', '2024-02-01')$$, 'lots() tells which wait');
SELECT results_eq($$SELECT points, available_at FROM loyalty.ledger WHERE member_id = 4 ORDER BY entry_id$$,
	$$VALUES (10::bigint, NULL::timestamptz), (20, '2024-02-01')$$, 'so does the ledger');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'the chain and the fold agree with what is stored');
SELECT is((SELECT pending FROM loyalty.balance(4, 'plain', as_of => '2024-01-15', known_at => now() + interval '1 hour')), 30::bigint, 'a past instant is folded from it');
SELECT is((SELECT available FROM loyalty.activate(4, :waiting, effective_at => '2024-03-01')), 30::bigint, 'activate() ends the waiting');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'and all is well');

-- ---------------------------------------------------------------------------
-- Definitions may be given again, as migrations do; others are refused by name
-- ---------------------------------------------------------------------------

SELECT FROM loyalty.create_currency('stays', 'Staying points', 'rolling', '1 month', 'quarter', refund_grace => '5 days', time_zone => 'Europe/Paris');
SELECT is(refusal(statement), outcome, statement) FROM (VALUES
	($$SELECT loyalty.create_currency('stays', 'Staying points', 'rolling', '1 month', 'quarter', refund_grace => '5 days', time_zone => 'Europe/Paris')$$, 'none'),
	($$SELECT loyalty.create_currency('stays', NULL, 'rolling', '1 month', 'quarter', refund_grace => '120 hours', time_zone => NULL)$$,
		'LY111|currency "stays" exists already, with other policies|Its refund_grace is 5 days, not 120:00:00.|Choose another code, or change its policies by UPDATE of loyalty.currency.'),
	($$SELECT loyalty.create_currency('stays', 'Moving points', 'rolling', '30 days', 'quarter', refund_grace => '5 days')$$,
		'LY111|currency "stays" exists already, with other policies|Its expiry_interval is 1 mon, not 30 days; name is Staying points, not Moving points.|Choose another code, or change its policies by UPDATE of loyalty.currency.'),
	($$SELECT loyalty.create_currency('plain')$$, 'none'),
	($$SELECT loyalty.define_measure('before_points', 'points', 'before')$$, 'none'),
	($$SELECT loyalty.define_measure('before_points', 'points', 'stays')$$,
		'LY003|measure "before_points" exists already, with other arguments|Its currency is before, not stays.|Define another measure: facts of this one are counted.'),
	($$SELECT loyalty.configure_program(time_zone => 'America/New_York')$$, 'none'),
	($$SELECT loyalty.configure_namespace('shop', priority => 30)$$, 'none'), ($$SELECT loyalty.configure_namespace('shop', priority => 30)$$, 'none'),
	($$SELECT loyalty.define_rfm_scheme('mine', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$, 'none'),
	($$SELECT loyalty.define_rfm_scheme('mine', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$, 'none'),
	($$SELECT loyalty.define_rfm_scheme('mine', '{"bins": 2, "rules": [{"segment": "good", "r": 1}], "otherwise": {"segment": "bad"}}')$$,
		'LY305|segment scheme "mine" is defined already, otherwise|What differs: otherwise, rules.|Define yours under another name, or remove it first by drop_rfm_scheme().')) v (statement, outcome);

-- ---------------------------------------------------------------------------
-- The function of a measure that fails is named
-- ---------------------------------------------------------------------------

CREATE TABLE visit (member_id bigint, at timestamptz);
INSERT INTO visit VALUES (1, '2024-01-01');
CREATE FUNCTION visits(bigint, timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT count(*) FROM visit WHERE member_id = $1 AND at <= $2); END';
SELECT FROM loyalty.define_measure('visits', 'function', function_name => 'public.visits');
SELECT FROM loyalty.define_ladder('regulars', '{"measures": [{"measure": "visits", "window": "latest"}], "levels": [{"level": "regular", "all": {"visits": 1}}]}');
SELECT is(refusal($$SELECT loyalty.evaluate_member_tiers(1, 'regulars')$$),
	'42P01|function public.visits of measure "visits" failed: relation "visit" does not exist'
	'|It failed in PL/pgSQL function visits(bigint,timestamp with time zone) line 1 at RETURN.'
	'|It sees no schema but pg_catalog: let it name those of its tables, or give it a search_path of its own.', 'a measure with unqualified tables');
ALTER FUNCTION visits SET search_path = public;
SELECT lives_ok($$SELECT loyalty.evaluate_member_tiers(1, 'regulars')$$, 'with a search_path of its own');
SELECT is(loyalty.tier_of(1, 'regulars'), 'regular', 'it counts');

-- ---------------------------------------------------------------------------
-- Nothing that is read is infinite: what waits, has no end, or was always so is NULL
-- ---------------------------------------------------------------------------

SELECT FROM loyalty.earn(5, 10, 'plain', effective_at => '2024-01-01', pending => true);
SELECT FROM loyalty.earn(5, 10, 'own', effective_at => '2024-01-01', expires_at => 'infinity');
SELECT FROM loyalty.adjust(5, 10, 'goodwill', 'before', effective_at => '2024-01-01', pending => true);
SELECT FROM loyalty.transfer(5, 6, 4, 'own');
SELECT FROM loyalty.hold(5, 2, now() + interval '1 day', 'own');
SELECT FROM loyalty.grant_tier(5, 'regulars', 'regular', starts_at => '2024-01-01');
SELECT loyalty.define_benefit('ever', '{"kind": "entitlement", "quota": 3}'), loyalty.define_benefit('mug', '{"kind": "reward", "points": 1, "currency": "own"}'),
	loyalty.define_benefit('welcome', '{"kind": "gift", "window": {"welcome": {"after": 30}}, "gives": {"item": "card"}}') \g /dev/null
SELECT loyalty.use_entitlement(5, 'ever'), loyalty.order_reward(5, 'mug'), loyalty.define_benefit('card', '{"kind": "card", "currency": "plain"}') \g /dev/null
SELECT code AS card FROM loyalty.issue_card('card', 5) \gset
CALL loyalty.evaluate_tiers();
SELECT FROM loyalty.define_trial('t', '{}', '2024-01-01', '2124-01-01');
SELECT FROM loyalty.set_channel_cost('app', '2024-01-01', '2024-02-01', 1);
SELECT FROM loyalty.set_point_value('own', 1);
SELECT member_id AS m1 FROM loyalty.resolve_member('{"email": "a@b.example"}') \gset
SELECT member_id AS m2 FROM loyalty.resolve_member('{"email": "c@d.example"}') \gset
SELECT FROM loyalty.merge_members(:m1, :m2);
SELECT FROM loyalty.define_streak('daily', '{"kind": "check_in"}');
SELECT FROM loyalty.define_board('top', '{"kind": "check_in", "period": "lifetime"}');
SELECT FROM loyalty.define_club('readers', '{}');
SELECT FROM loyalty.define_journey('gamer', '{"start": {"kind": "game"}, "steps": [{"step": "one", "after": "1 day", "list": true}]}');
SELECT FROM loyalty.define_referral('friends', '{"within": "30 days"}');
SELECT FROM loyalty.define_challenge('may', '{"kind": "check_in", "target": 5}');
CREATE TABLE orders (member_id bigint, at timestamptz, amount numeric);
SELECT FROM loyalty.define_label('vegan'), loyalty.define_audience('everybody', 'members');
SELECT FROM loyalty.set_label(5, 'vegan'), loyalty.set_consent(5, '*', '*', true);
INSERT INTO orders VALUES (1, '2024-01-01', 5), (1, '2024-02-01', 5), (2, '2024-01-01', -1);

-- every function with an instant or a date among its results, with arguments; not those that are parts of others
CREATE VIEW reader AS
SELECT p.proname::text AS name
FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prokind = 'f' AND p.provolatile <> 'v'
	AND p.proname NOT IN ('rfm_reading', 'first_tier', 'add_period', 'points_available_at', 'reversed_points', 'require_membership')
	AND (p.prorettype IN ('timestamptz'::regtype, 'date'::regtype)
		OR p.proallargtypes && ARRAY['timestamptz'::regtype::oid, 'date'::regtype::oid]
			AND EXISTS (SELECT FROM unnest(p.proallargtypes, p.proargmodes) a (type, mode) WHERE a.mode IN ('o', 't') AND a.type IN ('timestamptz'::regtype, 'date'::regtype)));
CREATE TABLE call (name text, arguments text);
INSERT INTO call VALUES
	('labels', 'm'), ('label_history', 'm'), ('consents', 'm'), ('consent_of_person', $$ARRAY[m], '{*/*}', now(), NULL, NULL$$),
	('audience_state', $$'everybody'$$), ('activities_between', $$m, m, 'order', now(), 'infinity'$$),
	('all_entries', ''), ('counter_differences', 'NULL, NULL, NULL'), ('balance', 'm, c'), ('lots', 'm, c'), ('statement', 'm, c'), ('expiring', 'm, c'), ('explain_entry', 'm, e'),
	('balance_lots', 'b'), ('next_expiry_at', 'b'), ('last_effective_at', 'b'), ('next_unbooked_expiry', 'b'),
	('unnest_lots', 'l'), ('entries', 'p'),
	('member_tiers', 'm, d, now(), NULL'), ('tier_progress', 'm, d'), ('preview_tier', $$m, d, '{"measures": [], "levels": [{"level": "base"}]}'$$),
	('preview_ladder', $$d, '{"measures": [], "levels": [{"level": "base"}]}'$$), ('member_history', 'm'), ('who_did', 'm'), ('why_merged', 'm, ' || :m1),
	('first_purchase_at', 'r'), ('last_purchase_at', 'r'), ('previous_purchase_at', 'r'), ('second_purchase_at', 'r'),
	('first_active', 'a'), ('last_active', 'a'), ('active_dates', 'a'), ('streaks', 'a'),
	('tier_evaluate', $$'{"measures": [{"measure": "n", "window": "lifetime"}], "levels": [{"level": "base"}]}', now()$$), ('tier_evaluate', $$'{"measures": [{"measure": "n", "window": "lifetime"}], "levels": [{"level": "base"}]}', now(), qualified => 'base'$$), ('add_up_points', $$0, 10, 'UTC'$$), ('add_up_all_points', $$0, 10, 'UTC'$$), ('tier_timeline', $$f, '{"measures": [{"measure": "n", "window": "lifetime"}], "levels": [{"level": "base"}]}'$$),
	('retention_matrix', 'x'), ('activity_growth', 'x'), ('next_order', 'r, k'),
	('due_notices', 'now()'), ('due_at', $$now(), '1 day'$$), ('due_points_expiring', $$now(), '99 years', NULL, m - 1, m$$), ('due_hold_lapsing', $$now(), '99 years', NULL, m - 1, m$$),
	('due_tier_falling', $$now(), '99 years', NULL, m - 1, m$$), ('due_birthday', $$now(), '1 year', NULL, m - 1, m$$), ('due_coupon_ending', $$now(), '99 years', NULL, m - 1, m$$),
	('event_lag', ''), ('points_events', '0, 99, 1, 0, 9'), ('written_events', $$0, 99, '{}', 1, 0, 9$$), ('require_until', 'now()'), ('heard_since', $$'member_created'$$),
	('past_instant', 'now()'), ('coupons', 'm'), ('fold_coupons', 'ARRAY[m], now(), now()'), ('activities', 'm'), ('awards', 'm'), ('entitlements', 'm'), ('reward_orders', 'm'), ('available_gifts', 'm'), ('gift_windows', 'm, now(), now()'), ('card_balance', quote_literal(:'card')), ('memberships', 'NULL, NULL, now()'), ('household_members', 'm'), ('household_spells', 'm'), 
	('period_of', $$'lifetime', now()$$), ('card_rows', 'm'), ('backtest_summary', $$'{}'$$),
	('walk_streak', $$'{2024-01-01}', '2024-01-02'$$), ('streak_walk', $$m, 'daily', now(), NULL$$), ('streak_of', $$m, 'daily'$$),
	('badges', 'm'), ('badge_acts', 'm, NULL, NULL'), ('badge_crossings', $$m, '{"kind": "check_in", "levels": [1]}', NULL, NULL$$), ('challenge_rounds', $$m, 'may', NULL, NULL$$), ('challenge_entries', $$m, 'may', NULL, NULL$$), ('progress', $$m, 'may'$$),
	('club_spans', $$m, 'readers', NULL, NULL$$), ('clubs', 'm'), ('club_figures', $$'readers', '2024-01-01', '2024-02-01'$$), ('journeys', 'm'), ('journey_steps', $$m, 'gamer', now(), NULL$$),
	('call_list', $$'gamer', 'one'$$),
	('board_period', $$'top', now()$$), ('board_end', $$'{"period": "month", "time_zone": "UTC"}', '2024-01-01'$$), ('member_scores', $$m, 'top', NULL, NULL, NULL$$),
	('board_standing', $$'top', '2000-01-01', NULL, NULL, NULL$$), ('board_top', $$'top'$$), ('referrals', 'm'), ('referral_states', 'm, NULL'),
	('referral_order', $$m, 'friends', now(), NULL, NULL$$),
	('engagement_facts', $$m, '{"kind": "check_in"}', NULL, NULL$$),
	('triangle_cells', $$loyalty.redemption_triangle('own'), '2030-01-01'$$), ('ultimate_rate', $$loyalty.redemption_triangle('own'), '2030-01-01', 'latest'$$), ('outstanding_by', $$'own', NULL, NULL, 'issued'$$),
	('redemption_shares', $$'own', NULL, NULL, (SELECT loyalty.outstanding_agg(x, NULL, 'month', 'UTC') FROM (VALUES (b)) v (x))$$), ('redemption_forecast', $$'own'$$),
	('deferral_schedule', $$'own'$$), ('recognised_revenue', $$'own', '2024-01-01', '2024-02-01'$$),
	('current_channel_costs', ''), ('trial_members', $$'t'$$), ('as_long_before', $$now() - interval '1 day', now()$$);
CREATE FUNCTION infinite() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	k call;
	found bigint;
BEGIN
	FOR k IN SELECT * FROM call LOOP
		EXECUTE format($q$
			SELECT count(*) FROM (SELECT w.member_id AS m, w.currency AS c, w.balance AS b, t.ladder AS d, e.entry_id AS e, e.lots AS l,
				loyalty.ledger_agg('earn', 1, now(), 'infinity', NULL) OVER () AS p, r.r, r.a, r.x, (SELECT loyalty.tier_facts_agg('n', '2024-01-01', 1, NULL)) AS f,
				(SELECT loyalty.clv_fit(loyalty.clv_agg(s, '2024-06-01')) FROM (SELECT loyalty.rfm_agg(o.at, o.amount) AS s FROM orders o GROUP BY o.member_id) g) AS k
				FROM loyalty.wallet w JOIN loyalty.ledger e USING (member_id, currency) JOIN loyalty.ladder t ON t.ladder = 'regulars'
				CROSS JOIN (SELECT loyalty.rfm_agg(o.at, o.amount) AS r, loyalty.activity_agg(o.at, 'day', NULL) FILTER (WHERE o.amount > 0) AS a,
					(SELECT loyalty.retention_events_agg(n.member_id, n.at, 'month', NULL) FROM orders n) AS x FROM orders o GROUP BY o.member_id) r) s,
				LATERAL (SELECT f AS value FROM loyalty.%I(%s) f) v
			WHERE to_jsonb(v.value)::text ~ 'infinity'$q$, k.name, k.arguments) INTO found;
		IF found > 0 THEN
			RETURN NEXT format('%s: %s', k.name, found);
		END IF;
	END LOOP;
	FOR k IN SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)
	LOOP
		EXECUTE format('SELECT count(*) FROM loyalty.%I WHERE NOT isfinite(%I)', k.name, k.arguments) INTO found;
		IF found > 0 THEN
			RETURN NEXT format('%s.%s: %s', k.name, k.arguments, found);
		END IF;
	END LOOP;
END
$$;
SELECT is_empty('SELECT infinite()', 'no column of a table or a result holds an infinite instant');
SELECT is_empty('SELECT name FROM reader EXCEPT SELECT name FROM call', 'each function with instants in its results was asked');

SELECT * FROM finish();
