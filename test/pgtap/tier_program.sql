-- tier: the program where it is easily wrong: checks of what is stored, grants
-- and renewals, previews, measures, merges, versions, what was known when.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();
SELECT ok(loyalty.setup() IS NOT NULL, 'setup()');
SELECT loyalty.create_currency('status');
SELECT loyalty.define_measure('pts', 'points', 'status');
SELECT loyalty.define_measure('spend');
SELECT loyalty.define_measure('visits');

-- ---------------------------------------------------------------------------
-- NULL is refused, or means nothing
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "pts", "window": "lifetime"}],
	"levels": [{"level": "silver", "any": {"pts": 100}}, {"level": "gold", "any": {"pts": 1000}}]}');
SELECT throws_ok(sql, state, NULL, sql) FROM (VALUES
	($$SELECT loyalty.preview_tier(1, 'club', NULL)$$, 'LY003'),
	($$SELECT loyalty.preview_ladder('club', NULL)$$, 'LY003'),
	($$SELECT loyalty.preview_ladder(NULL, '{}')$$, 'LY402'),
	($$SELECT loyalty.preview_ladder('nowhere', '{"measures": [], "levels": [{"level": "a"}]}')$$, 'LY402'),
	($$SELECT loyalty.preview_ladder('club', '{}')$$, 'LY401'),
	($$SELECT loyalty.preview_ladder('club', '{"measures": [{"measure": "unheard"}], "levels": [{"level": "a"}]}')$$, 'LY404'),
	($$SELECT loyalty.define_ladder('x', NULL)$$, 'LY003'),
	($$SELECT loyalty.insert_tier_event(NULL, NULL, NULL, NULL, NULL, NULL)$$, 'LY003'),
	($$SELECT loyalty.define_measure('x', 'function')$$, 'LY003'),
	($$SELECT loyalty.define_measure('x', 'function', function_name => 'no name')$$, 'LY003'),
	($$SELECT loyalty.record_qualification(1, 'spend', 1, '2024-01-01', '2024-01-02')$$, 'LY003'),
	($$SELECT loyalty.grant_tier(1, 'club', 'gold', 'paid', period => '1 year', fee => 'Infinity')$$, 'LY003')) t(sql, state);
SELECT is(loyalty.stored_tier_is(NULL, NULL, NULL, NULL), false, 'stored_tier_is() of nothing');
SELECT is(loyalty.define_ladder('empty', '{"measures": [], "levels": [{"level": "a"}]}'), 1, 'a ladder without measures');
CREATE FUNCTION pg_temp.stored() RETURNS bigint LANGUAGE sql AS
$$SELECT coalesce(r.result, 0) FROM loyalty.job_run r WHERE r.job = 'evaluate_tiers' AND r.status = 'finished' ORDER BY r.run_id DESC LIMIT 1$$;
CALL loyalty.evaluate_tiers();
SELECT is(pg_temp.stored(), 0::bigint, 'is evaluated with the others');

-- ---------------------------------------------------------------------------
-- What is changed by hand is found, and evaluating repairs it
-- ---------------------------------------------------------------------------

SELECT loyalty.earn(1, 150, 'status', '2024-01-01');
CREATE FUNCTION found_after(tampering text, member_id bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	found text;
	repaired boolean;
BEGIN
	EXECUTE tampering;
	SELECT string_agg(DISTINCT c.invariant, ',' ORDER BY c.invariant) INTO found FROM loyalty.check_tier() c;
	PERFORM loyalty.evaluate_tiers_of(loyalty.tiers_to_evaluate('club', now(), NULL, 9223372036854775807), now(), 'club') WHERE member_id IS NULL;
	PERFORM loyalty.evaluate_member_tiers(member_id, 'club') WHERE member_id IS NOT NULL;
	repaired := NOT EXISTS (SELECT FROM loyalty.check_tier());
	RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = coalesce(found, 'nothing') || CASE WHEN repaired THEN ', repaired' ELSE '' END;
EXCEPTION
	WHEN SQLSTATE 'ZZ001' THEN RETURN SQLERRM;
END
$$;
SELECT is(found_after(tampering, 1), expected, tampering) FROM (VALUES
	($$SELECT$$, 'nothing, repaired'),
	($$UPDATE loyalty.tier_state SET level = 'gold'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET level = NULL$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET earned_level = 'gold'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET since = '2023-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET valid_until = '2030-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET grace_until = '2030-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET next_at = '2030-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET event_at = '2023-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET evaluated_at = '2023-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET versions = 2$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET machine = NULL$$, 'state, repaired'),
	($$UPDATE loyalty.tier_state SET merged_into = 2$$, 'state, repaired'),
	($$DELETE FROM loyalty.tier_state$$, 'state, repaired'),
	($$INSERT INTO loyalty.tier_state (member_id, ladder) VALUES (1, 'nowhere')$$, 'state'),
	($$DELETE FROM loyalty.tier_history$$, 'state, repaired'),
	($$UPDATE loyalty.tier_history SET level = 'gold'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_history SET event = 'renewed'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_history SET reason = 'granted'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_history SET valid_until = '2030-01-01'$$, 'state, repaired'),
	($$UPDATE loyalty.tier_history SET ends_at = '2030-01-01'$$, 'history,state, repaired'),
	($$ALTER TABLE loyalty.tier_history DROP CONSTRAINT tier_history_no_overlap;
		INSERT INTO loyalty.tier_history (member_id, ladder, starts_at, ends_at, level, event, reason)
		SELECT member_id, ladder, '2024-06-01', '2024-07-01', 'gold', 'upgraded', 'qualified' FROM loyalty.tier_history$$, 'history,state, repaired')) t(tampering, expected);

-- Evaluating all looks at the states.
SELECT is(found_after('UPDATE loyalty.tier_state SET ' || assignment, NULL), 'state, repaired', assignment || ', all evaluated') FROM unnest(ARRAY[
	$$level = 'gold'$$, $$earned_level = NULL$$, $$since = '2023-01-01'$$, $$valid_until = '2030-01-01'$$, $$grace_until = '2030-01-01'$$,
	$$next_at = '2030-01-01'$$, $$evaluated_at = '2023-01-01'$$, $$versions = 2$$, $$machine = NULL$$]) assignment;

-- What changes no tier today may do so later, and is found as well: grants and
-- points to come, what was earned below a grant, the date of joining.
SELECT loyalty.earn(100, 50, 'status', '2024-01-01');
SELECT loyalty.grant_tier(100, 'club', 'gold', starts_at => '2100-01-01', ends_at => '2101-01-01');
SELECT loyalty.earn(100, 60, 'status', '2024-02-01', available_at => '2100-06-01');
SELECT is(found_after(tampering, member_id), 'state, repaired', tampering || coalesce(' of ' || member_id, ', all evaluated')) FROM (VALUES
	($$UPDATE loyalty.tier_grant SET starts_at = '2099-01-01' WHERE member_id = 100$$),
	($$UPDATE loyalty.tier_grant SET ends_at = '2102-01-01' WHERE member_id = 100$$),
	($$UPDATE loyalty.tier_grant SET level = 'silver' WHERE member_id = 100$$),
	($$DELETE FROM loyalty.tier_grant WHERE member_id = 100$$),
	($$INSERT INTO loyalty.tier_joined VALUES (100, '2023-01-01')$$)) t(tampering), unnest(ARRAY[100, NULL]) member_id;

-- A stored machine that was cut off or changed anywhere is found, and nothing
-- worse comes of it.
CREATE FUNCTION unnoticed(member_id bigint) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	whole CONSTANT bytea := (SELECT machine FROM loyalty.tier_state s WHERE s.member_id = $1 AND s.ladder = 'club');
	damaged bytea;
	how text;
BEGIN
	FOR damaged, how IN SELECT substring(whole FOR n), 'cut to ' || n FROM generate_series(0, octet_length(whole) - 1) n
		UNION ALL SELECT set_byte(whole, i, (get_byte(whole, i) + d) % 256), format('byte %s + %s', i, d) FROM generate_series(0, octet_length(whole) - 1) i, unnest(ARRAY[1, 2, 128, 255]) d
		UNION ALL SELECT substring(whole FOR n) || '\xffffff7f' || substring(whole FROM n + 2), 'a huge number at ' || n FROM generate_series(0, octet_length(whole) - 1) n
	LOOP
		BEGIN
			UPDATE loyalty.tier_state s SET machine = damaged WHERE s.member_id = $1 AND s.ladder = 'club';
			IF loyalty.tier_problem($1, 'club') IS NULL THEN
				RETURN NEXT how;
			END IF;
		EXCEPTION
			WHEN datetime_field_overflow OR numeric_value_out_of_range THEN NULL;
		END;
	END LOOP;
	UPDATE loyalty.tier_state s SET machine = whole WHERE s.member_id = $1 AND s.ladder = 'club';
END
$$;
SELECT cmp_ok(octet_length(machine), '>', 60, 'with grants and points to come') FROM loyalty.tier_state WHERE member_id = 100;
SELECT is_empty('SELECT * FROM unnoticed(100)', 'damage is noticed');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'and mended');

-- ---------------------------------------------------------------------------
-- Grants
-- ---------------------------------------------------------------------------

-- One that ends before it begins never was, whatever else the member has; to
-- come it is in the state, and gone it is not.
CREATE FUNCTION tiers_of(member_id bigint, ladder text, VARIADIC as_of timestamptz[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(coalesce(loyalty.tier_of($1, $2, t), '-'), ' ' ORDER BY t) FROM unnest($3) t
$$;
SELECT loyalty.earn(102, 120, 'status', '2024-01-01');
SELECT loyalty.grant_tier(103, 'club', 'silver', starts_at => '2024-01-01');
SELECT is(row(e.refunded, e.ended_at)::text, row(120.00, '2100-01-01'::timestamptz)::text, 'a level bought for later, given back in full') FROM (VALUES (101), (102), (103)) m(member_id),
	LATERAL loyalty.grant_tier(m.member_id, 'club', 'gold', 'paid', '2100-01-01', period => '1 year', fee => 120) g,
	LATERAL loyalty.end_grant(m.member_id, g.grant_id, 'full') e;
SELECT is(string_agg(tiers_of(m, 'club', '2024-06-01', '2100-06-01'), ', ' ORDER BY m), '- -, silver silver, silver silver', 'is not there later')
FROM unnest(ARRAY[101, 102, 103]) m;
SELECT loyalty.grant_tier(104, 'club', 'gold', starts_at => '2100-01-01');
SELECT is(tiers_of(104, 'club', '2024-06-01', '2099-12-31', '2100-01-01'), '- - gold', 'one that is to come is there when it begins');
-- What is earned below a grant changes nothing that anybody sees, but the state.
SELECT loyalty.earn(105, 1, 'status', '2024-01-01');
SELECT loyalty.grant_tier(105, 'club', 'gold', starts_at => '2024-02-01');
SELECT loyalty.earn(105, 500, 'status', '2024-03-01');
SELECT is((SELECT earned_level FROM loyalty.tier_state WHERE member_id = 105), 'silver', 'earned below a grant');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');


-- Periods are counted from the first, by the ladder's wall clock.
SELECT grant_id AS first_grant FROM loyalty.grant_tier(2, 'club', 'gold', 'paid', '2100-01-31 12:00', period => '1 month', fee => 10)
\gset
SELECT new_grant_id AS second_grant, valid_until AS second_end FROM loyalty.renew_grant(2, :first_grant, idempotency_key => 'r')
\gset
SELECT is(:'second_end'::timestamptz, '2100-03-31 12:00+00', 'months from the 31st do not drift');
SELECT is((SELECT valid_until FROM loyalty.renew_grant(2, :second_grant)), '2100-04-30 12:00+00', 'nor later');
SELECT throws_ok(format('SELECT loyalty.renew_grant(2, %s)', :first_grant), 'LY406', NULL, 'one time is not paid twice');
SELECT is((SELECT row(new_grant_id, valid_until, replayed)::text FROM loyalty.renew_grant(2, :first_grant, idempotency_key => 'r')),
	row(:second_grant, :'second_end'::timestamptz, true)::text, 'a repeated key gives the first result');
SELECT loyalty.end_grant(2, :first_grant, 'full', '2100-02-01');
SELECT is((SELECT replayed FROM loyalty.renew_grant(2, :first_grant, idempotency_key => 'r')), true, 'also when the grant was ended since');
SELECT throws_ok(format('SELECT loyalty.renew_grant(2, %s, fee => 20, idempotency_key => %L)', :first_grant, 'r'), 'LY004', NULL, 'but not with another fee');
SELECT throws_ok(format('SELECT loyalty.renew_grant(2, %s, idempotency_key => %L)', :second_grant, 'r'), 'LY004', NULL, 'nor for another grant');
SELECT is((SELECT replayed FROM loyalty.grant_tier(3, 'club', 'gold', 'paid', '2024-01-01', period => '1 year', idempotency_key => 'g')), false, 'first');
SELECT throws_ok($$SELECT loyalty.grant_tier(3, 'club', 'gold', 'paid', '2024-01-01', period => '2 years', idempotency_key => 'g')$$, 'LY004', NULL, 'another period');
SELECT throws_ok($$SELECT loyalty.grant_tier(3, 'club', 'gold', 'paid', '2024-01-01', '2024-05-01', '1 year', idempotency_key => 'g')$$, 'LY004', NULL, 'another end');
SELECT is((SELECT row(refunded, ended_at)::text FROM loyalty.grant_tier(4, 'club', 'gold', 'paid', '2024-01-01', period => '1 year', fee => 50) g,
	LATERAL loyalty.end_grant(4, g.grant_id, 'full', '2025-06-01')), row(50.00, '2025-01-01'::timestamptz)::text, 'paid back after its end: it ended then');

-- The same key with any other argument is refused; the same arguments, however spelled, give the first result.
SELECT throws_ok(format('SELECT loyalty.grant_tier(3, %s, idempotency_key => ''g'')', given), 'LY004', 'idempotency key "g" was used with other arguments', given)
FROM (VALUES ('''other'', ''gold'', ''paid'', ''2024-01-01'', period => ''1 year'''), ('''club'', ''silver'', ''paid'', ''2024-01-01'', period => ''1 year'''),
	('''club'', ''gold'', ''manual'', ''2024-01-01'', period => ''1 year'''), ('''club'', ''gold'', ''paid'', ''2024-01-02'', period => ''1 year'''),
	('''club'', ''gold'', ''paid'', period => ''1 year'''), ('''club'', ''gold'', ''paid'', ''2024-01-01'', period => ''365 days'''),
	('''club'', ''gold'', ''paid'', ''2024-01-01'', period => ''1 year'', fee => 1'), ('''club'', ''gold'', ''paid'', ''2024-01-01'', period => ''1 year'', reason => ''why'''),
	('''club'', ''gold'', ''paid'', ''2024-01-01'', period => ''1 year'', fee_currency => ''EUR'''),
	('''club'', ''gold'', ''paid'', ''2024-01-01'', period => ''1 year'', fee_decimals => 2')) v (given);
SET timezone = 'Asia/Tokyo';
SET intervalstyle = 'iso_8601';
SELECT is((SELECT replayed FROM loyalty.grant_tier(3, 'club', 'gold', 'paid', '2024-01-01 00:00+00', period => '12 months', fee => 0.00, idempotency_key => 'g')), true,
	'with other settings and spellings');
RESET timezone;
RESET intervalstyle;

-- One that has lapsed is renewed from now on, or from an instant that is not
-- before its end; time that is over is not sold.
SELECT grant_id AS lapsed FROM loyalty.grant_tier(110, 'club', 'gold', 'paid', '2023-01-31', period => '1 month', fee => 10)
\gset
SELECT throws_ok(format('SELECT loyalty.renew_grant(110, %s, starts_at => %L)', :lapsed, starts_at), state, NULL, 'renewed from ' || starts_at)
FROM (VALUES ('2023-02-27', 'LY003'), ('2023-02-28', 'LY003'), ('2024-01-01', 'LY003'), ('infinity', 'LY003')) v(starts_at, state);
SELECT new_grant_id AS renewal, valid_until AS renewed_until, valid_until = now() + interval '1 year' AS a_year
FROM loyalty.renew_grant(110, :lapsed, period => '1 year', idempotency_key => 'r')
\gset
SELECT ok(:'a_year', 'a lapsed one begins anew now');
SELECT is(tiers_of(110, 'club', '2023-02-01', '2023-03-01', now(), :'renewed_until'), 'gold - gold -', 'and nothing of the time between is sold');
SELECT is((SELECT row(r.new_grant_id, r.valid_until, r.replayed)::text FROM loyalty.renew_grant(110, :lapsed, period => '1 year', idempotency_key => 'r') r),
	row(:renewal, :'renewed_until'::timestamptz, true)::text, 'once');
SELECT is((SELECT valid_until FROM loyalty.renew_grant(110, :renewal)), :'renewed_until'::timestamptz + interval '1 year', 'one that has not lapsed goes on at its end');
SELECT grant_id AS lapsed FROM loyalty.grant_tier(111, 'club', 'gold', 'paid', now() - interval '40 days', now() - interval '10 days', fee => 10)
\gset
SELECT is((SELECT valid_until FROM loyalty.renew_grant(111, :lapsed, starts_at => now() - interval '10 days')), now() + interval '20 days', 'or from its end on, when asked');
SELECT grant_id AS lapsed FROM loyalty.grant_tier(112, 'club', 'gold', 'paid', '2023-01-31', period => '1 year')
\gset
SELECT is((SELECT valid_until FROM loyalty.renew_grant(112, :lapsed, starts_at => '2100-02-01')), '2101-02-01'::timestamptz, 'or from a day to come');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');

-- Under either number of merged members, and each with its own again after.
SELECT member_id AS ada FROM loyalty.resolve_member('{"email": "ada@example.org"}')
\gset
SELECT member_id AS ava FROM loyalty.resolve_member('{"email": "ava@example.org"}')
\gset
SELECT member_id AS amy FROM loyalty.resolve_member('{"email": "amy@example.org"}')
\gset
SELECT grant_id AS of_ada FROM loyalty.grant_tier(:ada, 'club', 'silver', 'paid', '2024-01-01', '2100-01-01', fee => 100)
\gset
SELECT grant_id AS of_ava FROM loyalty.grant_tier(:ava, 'club', 'gold', 'paid', '2024-01-01', '2100-01-01', fee => 100)
\gset
SELECT throws_ok(format('SELECT loyalty.renew_grant(%s, %s)', :ada, :of_ava), 'LY405', NULL, 'of somebody else');
SELECT merge_id AS first_merge FROM loyalty.merge_members(:ada, :ava)
\gset
SELECT merge_id AS second_merge FROM loyalty.merge_members(:amy, :ada)
\gset
SELECT new_grant_id AS renewal FROM loyalty.renew_grant(:amy, :of_ava, idempotency_key => 'again')
\gset
SELECT is((SELECT new_grant_id FROM loyalty.renew_grant(:ada, :of_ava, idempotency_key => 'again')), :renewal::bigint, 'one key, whichever number');
SELECT grant_id AS by_ava FROM loyalty.grant_tier(:ava, 'club', 'silver', starts_at => '2024-01-01', ends_at => '2024-02-01', idempotency_key => 'theirs')
\gset
SELECT is((SELECT row(grant_id, replayed)::text FROM loyalty.grant_tier(:amy, 'club', 'silver', starts_at => '2024-01-01', ends_at => '2024-02-01', idempotency_key => 'theirs')),
	row(:by_ava, true)::text, 'also of a grant');
SELECT is((SELECT refunded FROM loyalty.end_grant(:ava, :of_ada, 'full')), 100::numeric, 'what the survivor bought, under the absorbed one''s number');
SELECT is((SELECT refunded FROM loyalty.end_grant(:amy, :of_ava, 'full')), 100::numeric, 'and the other way round');
SELECT throws_ok(format('SELECT loyalty.end_grant(%s, %s)', :ada, :of_ava), 'LY406', NULL, 'once');
SELECT loyalty.unmerge_members(:second_merge);
SELECT throws_ok(format('SELECT loyalty.end_grant(%s, %s)', :amy, :renewal), 'LY405', NULL, 'no longer the same');
SELECT is(tiers_of(:ava, 'club', '2100-01-01') || tiers_of(:amy, 'club', '2100-01-01'), 'gold-', 'the renewal is with whom the level was granted to');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');

-- Refunds have the decimals of their money; refund_due() says what end_grant() does.
CREATE TABLE refund_case (fee numeric, fee_currency text, fee_decimals integer, starts_at timestamptz, ends_at timestamptz, at timestamptz, mode text, due text);
INSERT INTO refund_case VALUES
	(1000, 'JPY', NULL, '2026-08-01', '2027-08-01', '2026-11-26', 'pro_rata', '679'),
	(1000, NULL, 0, '2026-08-01', '2027-08-01', '2026-11-26', 'pro_rata', '679'),
	(1000, 'EUR', NULL, '2026-08-01', '2027-08-01', '2026-11-26', 'pro_rata', '679.45'),
	(1000, NULL, NULL, '2026-08-01', '2027-08-01', '2026-11-26', 'pro_rata', '679.45'),
	(1000, 'CLF', NULL, '2026-08-01', '2027-08-01', '2026-11-26', 'pro_rata', '679.4521'),
	(10.555, 'KWD', NULL, '2026-10-01', '2026-11-01', '2026-10-16', 'pro_rata', '5.448'),
	(10.555, NULL, NULL, '2026-10-01', '2026-11-01', '2026-10-16', 'pro_rata', '5.448'),
	(10.555, NULL, 5, '2026-10-01', '2026-11-01', '2026-10-16', 'pro_rata', '5.44774'),
	(10.5, 'KWD', NULL, '2026-10-01', '2026-11-01', '2026-09-01', 'pro_rata', '10.500'),
	(1000, 'KRW', NULL, '2026-08-01', '2027-08-01', '2026-08-01', 'full', '1000'),
	(1000, 'KRW', NULL, '2026-08-01', '2027-08-01', '2026-09-01', 'none', '0');
SELECT is(row(loyalty.refund_due(fee, starts_at, ends_at, at, mode, fee_currency, fee_decimals)::text, e.refunded::text)::text, row(due, due)::text,
	format('%s of %s, %s decimals of %s', mode, fee, fee_decimals, fee_currency))
FROM refund_case, LATERAL loyalty.grant_tier(113, 'club', 'gold', 'paid', starts_at, ends_at, fee => fee, fee_currency => fee_currency, fee_decimals => fee_decimals) g,
	LATERAL loyalty.end_grant(113, g.grant_id, mode, at) e;
SELECT throws_ok(format('SELECT loyalty.grant_tier(114, ''club'', ''gold'', ''paid'', period => ''1 year'', %s)', arguments), 'LY003', NULL, arguments) FROM unnest(ARRAY[
	$$fee => 9.5, fee_currency => 'JPY'$$, $$fee => 9.555, fee_currency => 'EUR'$$, $$fee => 9.555, fee_decimals => 2$$, $$fee => 9, fee_currency => 'yen'$$,
	$$fee => 9, fee_currency => 'JPY', fee_decimals => 0$$, $$fee => 9, fee_decimals => -1$$, $$fee => 9, fee_decimals => 11$$]) arguments;
SELECT grant_id AS in_yen FROM loyalty.grant_tier(114, 'club', 'gold', 'paid', '2100-01-01', period => '1 year', fee => 1000, fee_currency => 'JPY', idempotency_key => 'yen')
\gset
SELECT throws_ok($$SELECT loyalty.grant_tier(114, 'club', 'gold', 'paid', '2100-01-01', period => '1 year', fee => 1000, fee_currency => 'KRW', idempotency_key => 'yen')$$, 'LY004', NULL, 'another money');
SELECT is((SELECT e.refunded::text FROM loyalty.renew_grant(114, :in_yen) r, LATERAL loyalty.end_grant(114, r.new_grant_id, 'pro_rata', '2101-05-01') e), '671', 'a renewal is in the same');

-- A grant goes over to a new version as an earned level does.
SELECT loyalty.grant_tier(5, 'club', 'gold', 'paid', '2024-01-01', period => '10 years', fee => 1);
SELECT loyalty.earn(6, 1000, 'status', '2024-01-01');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "pts", "window": "lifetime"}],
	"levels": [{"level": "silver", "any": {"pts": 100}}, {"level": "platinum", "any": {"pts": 5000}}]}', '2025-01-01', 'The Club');
SELECT is((SELECT string_agg(loyalty.tier_of(m, 'club', as_of::timestamptz), ' ' ORDER BY m, as_of)
	FROM unnest(ARRAY[5, 6]) m, unnest(ARRAY['2024-12-31 23:59:59.999999', '2025-01-01']) as_of), 'gold silver gold silver', 'a granted level that is gone becomes the next lower one');
SELECT is((SELECT name FROM loyalty.ladder WHERE ladder = 'club'), 'The Club', 'a new version may have another name');
CALL loyalty.evaluate_tiers();
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');

-- ---------------------------------------------------------------------------
-- Points count from when they are available on
-- ---------------------------------------------------------------------------

SELECT loyalty.define_measure('promised', 'points', 'status', pending => true);
SELECT loyalty.define_ladder('paid', '{"measures": [{"measure": "pts", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"pts": 1000}}]}');
SELECT loyalty.define_ladder('ordered', '{"measures": [{"measure": "promised", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"promised": 1000}}]}');
SELECT loyalty.define_ladder('kept', '{"returns": "keep", "measures": [{"measure": "pts", "window": "year"}], "validity": "interval", "validity_interval": "1 year",
	"levels": [{"level": "gold", "any": {"pts": 1000}}]}');
-- Of each: an order of 1,200 points on 1 March 2024, when they become available,
-- and what happens then; in February 2024, April, July and 2101 the tier of
-- what is paid and of what is ordered.
CREATE TABLE pending_case (member_id bigint, name text, available_at timestamptz, acts text, paid text, ordered text);
INSERT INTO pending_case VALUES
	(201, 'at once', NULL, '', '- gold gold gold', '- gold gold gold'),
	(202, 'at a date that is over', '2024-05-01', '', '- - gold gold', '- gold gold gold'),
	(203, 'at a date to come', '2100-05-01', '', '- - - gold', '- gold gold gold'),
	(204, 'with an event that never came', 'infinity', '', '- - - -', '- gold gold gold'),
	(205, 'with an event', 'infinity', 'activate 2024-05-01', '- - gold gold', '- gold gold gold'),
	(206, 'with an event, before the date', '2100-05-01', 'activate 2024-05-01', '- - gold gold', '- gold gold gold'),
	(207, 'returned when available', '2024-05-01', 'reverse 2024-06-01', '- - - -', '- gold - -'),
	(208, 'returned while pending', '2024-05-01', 'reverse 2024-03-20', '- - - -', '- - - -'),
	(209, 'returned in part while pending', '2024-05-01', 'reverse 2024-03-20 300', '- - - -', '- - - -'),
	(210, 'returned in a small part while pending', '2100-05-01', 'reverse 2024-03-20 100', '- - - gold', '- gold gold gold'),
	(211, 'returned in part, then paid', 'infinity', 'reverse 2024-03-20 100; activate 2024-05-01', '- - gold gold', '- gold gold gold'),
	(212, 'paid, then returned in part', 'infinity', 'activate 2024-05-01; reverse 2024-05-10 300', '- - - -', '- gold - -'),
	(214, 'returned, which was a mistake', NULL, 'reverse 2024-05-01; undo 2024-06-01', '- gold gold gold', '- gold gold gold'),
	(215, 'returned while pending, which was a mistake', '2024-06-15', 'reverse 2024-05-01; undo 2024-06-01', '- - gold gold', '- gold gold gold'),
	(213, 'returned while pending, known after it was paid', 'infinity', 'activate 2024-05-01; reverse 2024-04-20 300', '- - - -', '- gold - -');
CREATE FUNCTION act(c pending_case) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	order_id bigint;
	return_id bigint;
	p text[];
BEGIN
	SELECT entry_id INTO order_id FROM loyalty.earn(c.member_id, 1200, 'status', '2024-03-01', nullif(c.available_at, 'infinity'), pending => coalesce(c.available_at = 'infinity', false));
	FOR p IN SELECT string_to_array(trim(a), ' ') FROM regexp_split_to_table(c.acts, ';') a WHERE a <> '' LOOP
		IF p[1] = 'activate' THEN
			PERFORM loyalty.activate(c.member_id, order_id, p[2]::timestamptz);
		ELSIF p[1] = 'undo' THEN
			PERFORM loyalty.reverse(c.member_id, return_id, effective_at => p[2]::timestamptz);
		ELSE
			SELECT entry_id INTO return_id FROM loyalty.reverse(c.member_id, order_id, p[3]::bigint, p[2]::timestamptz);
		END IF;
	END LOOP;
END
$$;
SELECT act(c) FROM pending_case c;
CREATE FUNCTION pending_tiers(member_id bigint, ladder text) RETURNS text LANGUAGE sql AS $$
	SELECT tiers_of($1, $2, '2024-02-01', '2024-04-01', '2024-07-01', '2101-01-01')
$$;
SELECT is(row(pending_tiers(member_id, 'paid'), pending_tiers(member_id, 'ordered'))::text, row(paid, ordered)::text, 'available ' || name) FROM pending_case;
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');
CALL loyalty.evaluate_tiers();
SELECT is(row(pending_tiers(member_id, 'paid'), pending_tiers(member_id, 'ordered'))::text, row(paid, ordered)::text, name || ', booked') FROM pending_case;
CALL loyalty.evaluate_tiers();
SELECT is(pg_temp.stored(), 0::bigint, 'evaluating all again changes nothing');
TRUNCATE loyalty.tier_state, loyalty.tier_history;
SELECT is(row(pending_tiers(member_id, 'paid'), pending_tiers(member_id, 'ordered'))::text, row(paid, ordered)::text, name || ', nothing stored') FROM pending_case;
CALL loyalty.evaluate_tiers();
SELECT is(row(pending_tiers(member_id, 'paid'), pending_tiers(member_id, 'ordered'))::text, row(paid, ordered)::text, name || ', evaluated anew') FROM pending_case;
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');
SELECT is(loyalty.tier_of(205, 'paid', '2024-07-01', (SELECT max(recorded_at) - interval '1 microsecond' FROM loyalty.ledger WHERE member_id = 205)), NULL, 'the event was not known before');
-- Where returns are kept, they lower the window that their order came into.
SELECT is(tiers_of(202, 'kept', '2025-04-30', '2025-05-01') || ', ' || tiers_of(212, 'kept', '2024-07-01', '2025-05-01'), 'gold -, gold -', 'a year from when they were available');
-- A merge takes what waits along, and it belongs to whom it came to.
INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet ON CONFLICT DO NOTHING;
SELECT member_id AS payer FROM loyalty.resolve_member('{"email": "payer@example.org"}')
\gset
SELECT member_id AS buyer FROM loyalty.resolve_member('{"email": "buyer@example.org"}')
\gset
SELECT entry_id AS first_id FROM loyalty.earn(:buyer, 700, 'status', now() - interval '9 days', pending => true)
\gset
SELECT entry_id AS second_id FROM loyalty.earn(:payer, 700, 'status', now() - interval '8 days', pending => true)
\gset
SELECT merge_id FROM loyalty.merge_members(:payer, :buyer)
\gset
SELECT loyalty.activate(:payer, :first_id);
SELECT is(loyalty.tier_of(:payer, 'paid'), NULL, 'half of what two waited for');
SELECT loyalty.activate(:buyer, :second_id);
SELECT is(loyalty.tier_of(:payer, 'paid'), 'gold', 'all of it');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT loyalty.unmerge_members(:merge_id);
SELECT is((SELECT array_agg(have ORDER BY ladder) FROM loyalty.tier_progress(:buyer, NULL) WHERE ladder IN ('paid', 'ordered')), '{700,700}', 'each has its own again');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
-- Many at once, in any order
CREATE TABLE promised AS SELECT 231::bigint AS member_id, 10 AS points, 'status'::text AS currency, '2024-01-01'::timestamptz + i * interval '1 hour' AS effective_at,
	CASE k WHEN 0 THEN 'earn' ELSE 'activate' END AS kind, k = 0 AS pending, CASE k WHEN 0 THEN 'o' || i END AS idempotency_key, CASE k WHEN 1 THEN 'o' || i END AS target_key
FROM generate_series(1, 120) i, generate_series(0, 1) k WHERE k = 0 OR i % 6 > 0;
UPDATE promised SET points = NULL, effective_at = effective_at + interval '1 year' WHERE kind = 'activate';
SELECT loyalty.backfill('promised');
SELECT is(tiers_of(231, 'paid', '2025-01-04', '2025-01-06') || ', ' || tiers_of(231, 'ordered', '2024-01-05', '2024-01-07'), '- gold, - gold', 'a thousand points that were paid, and that were ordered');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');
-- What a job books is what the clock says.
SELECT loyalty.earn(230, 1200, 'status', now(), clock_timestamp() + interval '0.2 seconds');
SELECT is(loyalty.tier_of(230, 'paid') || '', NULL, 'not yet');
SELECT pg_sleep(0.25);
SELECT is(loyalty.tier_of(230, 'paid'), 'gold', 'now');
SELECT is((SELECT level FROM loyalty.tier_state WHERE member_id = 230 AND ladder = 'paid'), NULL, 'and not booked');
CALL loyalty.book_tiers();
SELECT is((SELECT level FROM loyalty.tier_state WHERE member_id = 230 AND ladder = 'paid'), 'gold', 'until it is');
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'all is well');

-- ---------------------------------------------------------------------------
-- Renewal by a level's own criteria
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('renewal', '{"measures": [{"measure": "spend", "window": "rolling", "interval": "1 year"}],
	"validity": "interval", "validity_interval": "1 year",
	"levels": [{"level": "silver", "all": {"spend": 1000}}, {"level": "gold", "all": {"spend": 2000}, "renew": {"all": {"spend": 900}}}]}');
SELECT loyalty.record_qualification(m, 'spend', a, t::timestamptz) FROM (VALUES
	(10, 1000, '2024-01-01'), (10, 950, '2024-06-01'), (11, 2000, '2024-01-01'), (11, 950, '2024-06-01')) v(m, a, t);
SELECT is((SELECT string_agg(format('%s %s %s', coalesce(level, '-'), starts_at::date, event), ', ' ORDER BY starts_at) FROM loyalty.member_tiers(10, 'renewal', '2025-06-01')),
	'silver 2024-01-01 enrolled, - 2025-01-01 expired', 'those of a higher level, easier as they are, do not keep a lower one');
SELECT is((SELECT missing FROM loyalty.tier_progress(10, 'renewal', '2024-12-01') WHERE goal = 'keep'), 50::numeric, 'as tier_progress() said');
SELECT is(loyalty.tier_of(11, 'renewal', '2025-05-31'), 'gold', 'they keep their own');
SELECT loyalty.record_qualification(14, 'spend', 1000, '2024-01-01');
SELECT loyalty.grant_tier(14, 'renewal', 'gold', starts_at => '2024-06-01', ends_at => '2100-01-01');
SELECT is(row(level, earned_level, since)::text, row('gold', NULL, '2024-06-01'::timestamptz)::text, 'what expires below a grant does not begin it anew')
FROM loyalty.tier_state WHERE member_id = 14 AND ladder = 'renewal';
-- A term and a grant that end, or begin, at one instant are one step.
SELECT loyalty.record_qualification(m, 'spend', 1000, '2024-01-01') FROM unnest(ARRAY[12, 13]) m;
SELECT loyalty.grant_tier(12, 'renewal', 'gold', starts_at => '2024-06-01', ends_at => '2025-01-01');
SELECT loyalty.grant_tier(13, 'renewal', 'gold', starts_at => '2025-01-01', ends_at => '2025-06-01');
SELECT is((SELECT string_agg(format('%s %s %s/%s', coalesce(level, '-'), starts_at::date, event, reason), ', ' ORDER BY starts_at) FROM loyalty.member_tiers(m, 'renewal')), expected, 'at one instant')
FROM (VALUES (12, 'silver 2024-01-01 enrolled/qualified, gold 2024-06-01 upgraded/granted, - 2025-01-01 expired/not_requalified'),
	(13, 'silver 2024-01-01 enrolled/qualified, gold 2025-01-01 upgraded/granted, - 2025-06-01 expired/grant_ended')) v(m, expected);

-- A grant is no fact: it neither renews in a grace nor takes the place of one.
SELECT loyalty.define_ladder('graced', '{"measures": [{"measure": "spend", "window": "rolling", "interval": "1 year"}], "validity": "interval", "validity_interval": "1 year", "grace": "30 days",
	"levels": [{"level": "a", "any": {"spend": 1000}}, {"level": "b", "any": {"spend": 2000}}]}');
SELECT loyalty.record_qualification(15, 'spend', 1000, '2024-03-01');
SELECT loyalty.grant_tier(15, 'graced', 'b', starts_at => '2025-03-10', ends_at => '2025-03-20');
SELECT is(tiers_of(15, 'graced', '2025-03-05', '2025-03-10', '2025-03-20', '2025-03-31'), 'a b a -', 'granted within a grace');
-- A tier is held until the last of what gives it then ends: the term, or a grant of its level.
SELECT loyalty.record_qualification(m, 'spend', spend, '2024-03-01') FROM (VALUES (30, 2000), (31, 1000)) v(m, spend);
SELECT loyalty.grant_tier(m, 'graced', level, starts_at => starts_at::timestamptz, ends_at => ends_at::timestamptz) FROM (VALUES
	(30, 'b', '2024-06-01', '2024-09-01'), (30, 'b', '2024-10-01', '2026-01-01'),
	(31, 'b', '2024-06-01', '2024-09-01'), (31, 'b', '2024-07-01', '2024-10-01'), (31, 'a', '2024-06-01', '2026-01-01')) v(m, level, starts_at, ends_at);
SELECT is((SELECT format('%s %s', level_now, valid_until_now::date) FROM loyalty.preview_tier(m, 'graced', '{"measures": [], "levels": [{"level": "a"}]}', as_of::timestamptz)), expected, format('%s at %s', m, as_of))
FROM (VALUES (30, '2024-05-01', 'b 2025-03-01'), (30, '2024-07-01', 'b 2025-03-01'), (30, '2024-10-01', 'b 2026-01-01'), (31, '2024-05-31', 'a 2025-03-01'),
	(31, '2024-06-01', 'b 2024-09-01'), (31, '2024-07-01', 'b 2024-10-01'), (31, '2024-09-01', 'b 2024-10-01'), (31, '2024-10-01', 'a 2026-01-01'), (32, '2024-10-01', ' ')) v(m, as_of, expected);

-- ---------------------------------------------------------------------------
-- Midnight that comes twice: Havana, 1 November 2020, at 05:00 UTC
-- ---------------------------------------------------------------------------

SELECT is((SELECT string_agg(coalesce(loyalty.qualified_level(format('[{"measure": "m", "at": "%s", "amount": 1}]', fact)::loyalty.tier_facts,
		'{"time_zone": "America/Havana", "measures": [{"measure": "m", "window": "month"}], "levels": [{"level": "a", "all": {"m": 1}}]}', as_of::timestamptz), '-'), ' ' ORDER BY fact, as_of)
	FROM (VALUES ('2020-10-10 12:00+00'), ('2020-11-01 04:30+00'), ('2020-11-01 05:00+00')) f(fact),
		(VALUES ('2020-11-01 04:30+00'), ('2020-11-01 04:59:59.999999+00'), ('2020-11-01 05:00+00'), ('2020-11-30 12:00+00')) t(as_of)),
	'a a - - a a - - - - a a', 'each instant is in one month');

-- ---------------------------------------------------------------------------
-- What was known when: dates of joining too
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('years', '{"measures": [{"measure": "visits", "window": "anniversary"}], "levels": [{"level": "a", "any": {"visits": 100}}]}');
SELECT loyalty.record_qualification(20, 'visits', 60, t::timestamptz) FROM (VALUES ('2024-01-10'), ('2024-03-10')) v(t);
SELECT clock_timestamp() AS before_joined
\gset
SELECT loyalty.set_joined(20, '2023-02-01');
SELECT is(loyalty.tier_of(20, 'years', '2024-06-01'), NULL, 'the years count from joining');
SELECT is(loyalty.tier_of(20, 'years', '2024-06-01', :'before_joined'), 'a', 'and did from the first fact, before that was known');

-- ---------------------------------------------------------------------------
-- Returns of own facts lie on the instant of their order
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('monthly', '{"measures": [{"measure": "spend", "window": "month"}], "levels": [{"level": "a", "any": {"spend": 100}}]}');
SELECT loyalty.record_qualification(25, 'spend', amount, at::timestamptz, reference => reference) FROM (VALUES
	(100, '2024-01-31 23:30', 'o-1'), (50, '2024-02-10', 'o-2'), (60, '2024-02-20', 'o-2')) v(amount, at, reference);
SELECT throws_ok(statement, 'LY003', NULL, statement) FROM unnest(ARRAY[
	$$SELECT loyalty.record_qualification(25, 'spend', -10, '2024-03-01', return_of => 'o-3')$$,
	$$SELECT loyalty.record_qualification(25, 'visits', -10, '2024-03-01', return_of => 'o-1')$$,
	$$SELECT loyalty.record_qualification(25, 'spend', -10, '2024-01-01', return_of => 'o-1')$$,
	$$SELECT loyalty.record_qualification(24, 'spend', -10, '2024-03-01', return_of => 'o-1')$$,
	$$SELECT loyalty.record_qualification(25, 'spend', 'NaN', '2024-03-01', return_of => 'o-1')$$]) statement;
SELECT throws_ok(statement, 'LY003', m, statement) FROM (VALUES
	($$SELECT loyalty.record_qualification(25, 'spend', 10, '2024-03-01', return_of => 'o-1')$$, 'the amount of a return must be negative'),
	($$SELECT loyalty.record_qualification(25, 'spend', 0, '2024-03-01', '2024-01-31 23:30', return_of => 'o-1')$$, 'the amount of a return must be negative'),
	($$SELECT loyalty.record_qualification(25, 'spend', -10, '2024-03-01', '2024-01-31 23:30', return_of => 'o-1')$$, 'return_of and counts_at are given, and one of them tells')) v (statement, m);
SELECT is(loyalty.record_qualification(25, 'spend', -1, '2024-03-01', reference => 'o-1', return_of => 'o-1', idempotency_key => 'r-1'), true, 'a return by the reference of its order');
SELECT is(loyalty.record_qualification(25, 'spend', -1, '2024-03-01', reference => 'o-1', return_of => 'o-1', idempotency_key => 'r-1'), false, 'once');
SELECT is(counts_at, '2024-01-31 23:30+00', 'counts at its instant') FROM loyalty.tier_event WHERE member_id = 25 AND amount = -1;
SELECT is(tiers_of(25, 'monthly', '2024-02-01', '2024-02-20', '2024-03-01'), 'a a a', 'February''s own is enough');
SELECT loyalty.record_qualification(25, 'spend', -11, '2024-03-02', return_of => 'o-2');
SELECT is(counts_at, '2024-02-20'::timestamptz, 'of several, that of the last') FROM loyalty.tier_event WHERE member_id = 25 AND amount = -11;
SELECT is(loyalty.tier_of(25, 'monthly', '2024-03-02'), NULL, 'and then neither month''s is');
SELECT loyalty.merge_tier(90, 26, 25, '2024-04-01');
SELECT is(loyalty.record_qualification(26, 'spend', -2, '2024-05-01', return_of => 'o-1'), true, 'it is found under either number');

-- ---------------------------------------------------------------------------
-- Previews show whom the change concerns, stored or not
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('narrow', '{"measures": [{"measure": "pts", "window": "lifetime"}], "levels": [{"level": "a", "any": {"pts": 5000}}]}');
SELECT loyalty.record_qualification(30, 'visits', 5, '2024-01-01');
SELECT loyalty.record_qualification(31, 'visits', 4, '2024-01-01');
CREATE TABLE preview AS SELECT member_id, level_then, move FROM loyalty.preview_ladder('narrow',
	'{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "a", "any": {"visits": 5}}]}', '2024-02-01') WHERE move <> 'none';
SELECT set_eq('SELECT member_id, level_then, move FROM preview', $$VALUES (20::bigint, 'a'::text, 'enters'::text), (30, 'a', 'enters')$$, 'who has only facts that the new one counts');
SELECT loyalty.define_ladder('narrow', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "a", "any": {"visits": 5}}]}', '2024-02-01');
SELECT set_eq($$SELECT m::bigint FROM unnest(ARRAY[1, 5, 6, 10, 11, 20, 30, 31]) m WHERE loyalty.tier_of(m, 'narrow', '2024-02-01') = 'a'$$,
	'SELECT member_id FROM preview', 'and so it is then');

-- ---------------------------------------------------------------------------
-- A move is what members see of it: they know the ladder of now.
CREATE FUNCTION moves(codes_now text, codes_then text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(m.level_now || '>' || m.level_then || ' ' || m.move, ', ' ORDER BY m.level_now, m.level_then)
	FROM (SELECT jsonb_build_object('measures', '[]'::jsonb, 'levels', jsonb_agg(jsonb_build_object('level', split_part(l, '=', 1),
			'name', coalesce(nullif(split_part(l, '=', 2), ''), split_part(l, '=', 1))) ORDER BY n)) AS d, $1 AS codes FROM unnest(string_to_array($1, ' ')) WITH ORDINALITY u(l, n)) a,
		(SELECT jsonb_build_object('measures', '[]'::jsonb, 'levels', jsonb_agg(jsonb_build_object('level', split_part(l, '=', 1),
			'name', coalesce(nullif(split_part(l, '=', 2), ''), split_part(l, '=', 1))) ORDER BY n)) AS d FROM unnest(string_to_array($2, ' ')) WITH ORDINALITY u(l, n)) b,
		LATERAL loyalty.ladder_moves(a.d, b.d) m
$$;
SELECT is(moves(codes_now, codes_then), expected, format('from %s to %s', codes_now, codes_then)) FROM (VALUES
	('silver gold', 'silver gold', 'gold>gold stays, gold>silver down, silver>gold up, silver>silver stays'),
	-- the level below is gone, and the one that is left has its rank
	('silver gold', 'gold', 'gold>gold stays, silver>gold up'),
	('silver gold', 'silver', 'gold>silver down, silver>silver stays'),
	-- another order: members know the one of now
	('silver gold', 'gold silver', 'gold>gold stays, gold>silver down, silver>gold up, silver>silver stays'),
	-- a new level, above or below what is known
	('gold', 'silver gold', 'gold>gold stays, gold>silver down'),
	('gold', 'gold platinum', 'gold>gold stays, gold>platinum up'),
	-- a code is gone, the name is not
	('s=Silver g=Gold', 'silver=Silver top=Gold', 'g>silver down, g>top stays, s>silver stays, s>top up'),
	-- of two that are each in one ladder only, past a level of both, or by rank
	('a gold c', 'x gold y', 'a>gold up, a>x stays, a>y up, c>gold down, c>x down, c>y stays, gold>gold stays, gold>x down, gold>y up'),
	('a b', 'x', 'a>x stays, b>x down'), ('a', 'x y', 'a>x stays, a>y up')) v(codes_now, codes_then, expected);
SELECT loyalty.define_ladder('moved', '{"measures": [{"measure": "visits", "window": "lifetime"}],
	"levels": [{"level": "silver", "any": {"visits": 4}}, {"level": "gold", "any": {"visits": 100}}]}');
SELECT results_eq($$SELECT member_id, level_now, level_then, move FROM loyalty.preview_ladder('moved',
		'{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"visits": 5}}]}', '2024-06-01', whole_history => true) WHERE member_id IN (20, 30, 31)$$,
	$$VALUES (20::bigint, 'gold'::text, 'gold'::text, 'stays'::text), (30, 'silver', 'gold', 'up'), (31, 'silver', NULL, 'leaves')$$, 'silver to gold is up');

-- ---------------------------------------------------------------------------
-- Definitions may be repeated
-- ---------------------------------------------------------------------------

SELECT is(loyalty.define_measure('spend') || loyalty.define_measure('pts', 'points', 'status') || loyalty.define_measure('promised', 'points', 'status', pending => true),
	'spendptspromised', 'measures');
SELECT throws_ok(statement, 'LY003', 'measure "pts" exists already, with other arguments', statement) FROM unnest(ARRAY[
	$$SELECT loyalty.define_measure('pts')$$, $$SELECT loyalty.define_measure('pts', 'points', 'points')$$,
	$$SELECT loyalty.define_measure('pts', 'points', 'status', pending => true)$$]) statement;
CREATE FUNCTION define_again(levels text, effective_from timestamptz DEFAULT NULL) RETURNS integer LANGUAGE sql AS $$
	SELECT loyalty.define_ladder('again', jsonb_build_object('measures', '[{"measure": "spend"}]'::jsonb,
		'levels', (SELECT jsonb_agg(jsonb_build_object('level', l)) FROM unnest(string_to_array(levels, ' ')) l)), effective_from)
$$;
SELECT is(define_again(levels, effective_from::timestamptz), expected, format('%s from %s', levels, effective_from)) FROM (VALUES
	(1, 'a', NULL, 1), (2, 'a', NULL, 1), (3, 'a b', '2024-01-01', 2), (4, 'a', NULL, 1), (5, 'a b', '2024-01-01', 2), (6, 'a b', NULL, 2),
	(7, 'a b', '2025-01-01', 2), (8, 'a', '2025-01-01', 3), (9, 'a', '2025-01-01', 3), (10, 'a', NULL, 3), (11, 'a b c', NULL, 4)) v(n, levels, effective_from, expected);
SELECT throws_ok($$SELECT define_again('a b c', '2024-06-01')$$, 'LY003', NULL, 'a version is not moved');
SELECT loyalty.configure_program(time_zone => 'Asia/Tokyo');
SELECT is(define_again('a b c'), 4, 'the program''s time zone is another now, and the ladder''s is what it was');
SELECT loyalty.configure_program(time_zone => 'UTC');

-- ---------------------------------------------------------------------------
-- Measures
-- ---------------------------------------------------------------------------

-- A trigger that names no measure that takes facts would record in vain.
CREATE TABLE sale (member_id bigint, at timestamptz, amount numeric);
CREATE TRIGGER misspelt AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'spned=amount');
SELECT throws_ok($$INSERT INTO sale VALUES (1, '2024-01-01', 1)$$, 'LY404', NULL, 'a measure that is not there');
DROP TRIGGER misspelt ON sale;
CREATE TRIGGER points AFTER INSERT ON sale FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'pts=amount');
SELECT throws_ok($$INSERT INTO sale VALUES (1, '2024-01-01', 1)$$, 'LY404', NULL, 'or is of points');

-- Functions return any number.
CREATE TABLE score (member_id bigint, value float8);
CREATE FUNCTION score(member_id bigint, as_of timestamptz) RETURNS float8 LANGUAGE sql STABLE AS 'SELECT s.value FROM public.score s WHERE s.member_id = $1';
CREATE FUNCTION word(member_id bigint, as_of timestamptz) RETURNS text LANGUAGE sql STABLE AS $$SELECT 'x'::text$$;
SELECT throws_ok($$SELECT loyalty.define_measure('word', 'function', function_name => 'public.word')$$, 'LY003', NULL, 'a function that returns no number');
SELECT loyalty.define_measure('score', 'function', function_name => 'public.score');
SELECT loyalty.define_ladder('scored', '{"measures": [{"measure": "score", "window": "latest"}], "validity": "interval", "validity_interval": "1 day", "levels": [{"level": "good", "any": {"score": 3}}]}');
SELECT loyalty.define_ladder('scored_too', '{"measures": [{"measure": "score", "window": "latest"}], "levels": [{"level": "best", "any": {"score": 5}}]}');
INSERT INTO score VALUES (40, 5.00004), (41, 3);
SELECT is(loyalty.evaluate_member_tiers(m, 'scored'), 2::bigint, 'two states of ' || m || ' are stored: one sample serves both ladders') FROM unnest(ARRAY[40, 41]) m;
SELECT is(loyalty.evaluate_member_tiers(40, 'scored'), 0::bigint, 'nothing has changed');
CALL loyalty.evaluate_tiers(ladder => 'scored');
INSERT INTO loyalty.tier_state (member_id, ladder) SELECT m, 'scored' FROM unnest(ARRAY[42, 43, 44]) m;
INSERT INTO score VALUES (42, 1), (43, 3);
CALL loyalty.evaluate_tiers(ladder => 'scored');
SELECT is(pg_temp.stored(), 5::bigint, 'of all: two members with a value on two ladders, and one without on one');
SELECT is(loyalty.tier_of(40, 'scored') || loyalty.tier_of(40, 'scored_too') || loyalty.tier_of(41, 'scored'), 'goodbestgood', 'one sample serves both ladders');
SELECT is((SELECT count(*) FROM loyalty.tier_event WHERE measure = 'score' AND member_id IN (40, 41)), 2::bigint, 'and is recorded once');
-- Merged members have the score of the one who stands for them.
CREATE FUNCTION latest_score() RETURNS numeric LANGUAGE sql AS $$
	SELECT have FROM loyalty.tier_progress(40, 'scored') WHERE goal = 'keep'
$$;
SELECT loyalty.evaluate_member_tiers(41, 'scored');
UPDATE score SET value = 4 WHERE member_id = 41;
SELECT loyalty.evaluate_member_tiers(41, 'scored');
SELECT loyalty.merge_tier(1, 40, 41);
SELECT is(latest_score(), 4::numeric, 'the last sample is of the absorbed');
SELECT loyalty.evaluate_member_tiers(41, 'scored');
SELECT is(latest_score(), 5::numeric, 'the next is of the survivor');
UPDATE score SET value = 0 WHERE member_id = 41;
CALL loyalty.evaluate_tiers(ladder => 'scored');
SELECT is(latest_score(), 5::numeric, 'who is absorbed is not asked');
DROP FUNCTION score(bigint, timestamptz);
SELECT throws_ok($$SELECT loyalty.evaluate_member_tiers(41, 'scored')$$, 'LY003', NULL, 'a function that is gone');

-- ---------------------------------------------------------------------------
-- Merges that cannot be
-- ---------------------------------------------------------------------------

SELECT throws_ok($$SELECT loyalty.merge_tier(2, 41, 50)$$, 'LY003', NULL, 'into somebody who is absorbed');
SELECT throws_ok($$SELECT loyalty.merge_tier(2, 41, 40)$$, 'LY003', NULL, 'in a circle');
SELECT throws_ok($$SELECT loyalty.merge_tier(2, 50, 40, '2024-01-01')$$, 'LY003', NULL, 'before those who are absorbed came');

-- ---------------------------------------------------------------------------
-- Many facts in one transaction: each counts once, however it comes
-- ---------------------------------------------------------------------------

SELECT loyalty.earn(70, 100, 'status');
CREATE TABLE past AS SELECT 70::bigint AS member_id, 'status' AS currency, 1::bigint AS points, '2021-01-01'::timestamptz + i * interval '2 hours' AS effective_at
	FROM generate_series(1, 20000) i;
SET statement_timeout = '60s';
SELECT is((SELECT entries FROM loyalty.backfill('past')), 20000::bigint, 'a long past of a member who has a tier is not replayed for each row of it');
RESET statement_timeout;
SELECT is((SELECT string_agg(c.detail, '; ') FROM loyalty.check_tier() c WHERE c.member_id = 70), NULL, 'and is counted');

CREATE TABLE purchase (member_id bigint, at timestamptz, amount numeric);
CREATE TRIGGER evaluate_tier AFTER INSERT ON purchase FOR EACH ROW EXECUTE FUNCTION loyalty.evaluate_tier('member_id', 'at', 'spend=amount', 'visits=1');
INSERT INTO purchase VALUES (71, '2024-06-01', 10);
DO $$
BEGIN
	INSERT INTO purchase SELECT 71, '2024-01-01'::timestamptz + i * interval '1 day', 10 FROM generate_series(1, 3) i;
	BEGIN
		INSERT INTO purchase SELECT 71, '2024-02-01'::timestamptz + i * interval '1 day', 1000 FROM generate_series(1, 3) i;
		RAISE EXCEPTION USING ERRCODE = 'ZZ002';
	EXCEPTION
		WHEN SQLSTATE 'ZZ002' THEN NULL;
	END;
	INSERT INTO purchase SELECT 71, '2024-07-01'::timestamptz + i * interval '1 day', 10 FROM generate_series(-60, 3) i;
	PERFORM count(*) FROM loyalty.post_many(array_fill(71::bigint, ARRAY[4]), array_fill('earn'::text, ARRAY[4]), ARRAY[10, 20, 30, 40]::bigint[],
		array_fill('status'::text, ARRAY[4]), ARRAY['2024-08-01', '2024-03-01', '2024-08-02', '2024-03-02']::timestamptz[]);
	PERFORM loyalty.earn(71, 5, 'status', '2024-08-03');
END
$$;
SELECT is((SELECT string_agg(c.detail, '; ') FROM loyalty.check_tier() c WHERE c.member_id = 71), NULL, 'in order and late, rolled back and repeated');
SELECT is((SELECT count(*) FROM loyalty.tier_event WHERE member_id = 71), 136::bigint, 'each fact is there once');

-- ---------------------------------------------------------------------------
-- Versions
-- ---------------------------------------------------------------------------

-- Before the first there is none; what was then, counts in it.
CREATE FUNCTION define_from(ladder text, effective_from timestamptz, levels text, more jsonb DEFAULT '{}') RETURNS integer LANGUAGE sql AS $$
	SELECT loyalty.define_ladder($1, jsonb_build_object('measures', '[{"measure": "visits", "window": "lifetime"}]'::jsonb,
		'levels', (SELECT jsonb_agg(jsonb_build_object('level', split_part(l, '=', 1), 'any', jsonb_build_object('visits', split_part(l, '=', 2)::integer)) ORDER BY n)
			FROM unnest(string_to_array($3, ' ')) WITH ORDINALITY u(l, n))) || $4, $2)
$$;
SELECT define_from('late', '2024-06-01', 'a=5 b=10');
SELECT loyalty.record_qualification(300, 'visits', 5, '2024-01-01');
SELECT loyalty.grant_tier(301, 'late', 'b', starts_at => '2024-01-01', ends_at => '2024-07-01');
SELECT is(string_agg(tiers_of(m, 'late', '2024-05-31 23:59:59.999999', '2024-06-01', '2024-07-01'), ', ' ORDER BY m), '- a a, - b -', 'before the first version nobody has a tier')
FROM unnest(ARRAY[300, 301]) m;
CREATE FUNCTION steps_of(member_id bigint, ladder text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s %s %s/%s', coalesce(level, '-'), to_char(starts_at, 'MM-DD'), event, reason), ', ' ORDER BY starts_at) FROM loyalty.member_tiers($1, $2)
$$;
SELECT is(steps_of(300, 'late'), 'a 06-01 enrolled/ladder_changed', 'with it whoever qualifies has one');

-- What becomes of a tier, an earned one, a granted one and one that waits, when
-- levels go, come and change places on 1 June: member 310 has earned b, 311 has
-- earned a and was granted c, 312 has a and b waits for July.
CREATE TABLE version_case (ladder text, levels text, earned text, granted text, waiting text);
INSERT INTO version_case VALUES
	('v_same', 'a=5 b=10 c=20', '', '', ', b 07-01 upgraded/next_period'),
	('v_middle', 'a=5 c=20', ', a 06-01 downgraded/ladder_changed', '', ''),
	('v_lowest', 'b=10 c=20', '', '', ', b 06-01 enrolled/ladder_changed'),
	('v_highest', 'a=5 b=10', '', ', b 06-01 downgraded/ladder_changed', ', b 07-01 upgraded/next_period'),
	('v_others', 'x=100 y=200', ', - 06-01 expired/ladder_changed', ', - 06-01 expired/ladder_changed', ', - 06-01 expired/ladder_changed'),
	('v_swapped', 'a=5 c=20 b=50', '', '', ', b 07-01 upgraded/next_period'),
	('v_merged', 'b=5 c=20', '', '', ', b 06-01 enrolled/ladder_changed');
SELECT define_from(ladder, NULL, 'a=5 b=10 c=20', '{"upgrade": "next_period", "period": "quarter"}'),
	define_from(ladder, '2024-06-01', levels, '{"upgrade": "next_period", "period": "year"}') FROM version_case;
SELECT loyalty.record_qualification(310, 'visits', 10, '2024-04-10'), loyalty.record_qualification(311, 'visits', 5, '2024-04-10'), loyalty.record_qualification(312, 'visits', 5, '2024-04-10');
SELECT loyalty.record_qualification(312, 'visits', 6, '2024-04-20');
SELECT loyalty.grant_tier(311, ladder, 'c', starts_at => '2024-04-15') FROM version_case;
SELECT is(steps_of(310, ladder), 'b 04-10 enrolled/qualified' || earned, ladder || ', earned') FROM version_case;
SELECT is(steps_of(311, ladder), 'a 04-10 enrolled/qualified, c 04-15 upgraded/granted' || granted, ladder || ', granted') FROM version_case;
SELECT is(steps_of(312, ladder), 'a 04-10 enrolled/qualified' || waiting, ladder || ', waiting') FROM version_case;
SELECT loyalty.evaluate_tiers_of(ARRAY(SELECT DISTINCT e.member_id FROM loyalty.tier_event e), now(), ladder) FROM version_case;
SELECT results_eq('SELECT invariant, detail FROM loyalty.check_tier()', $$VALUES
	('measure', 'measure "score": function public.score(bigint,timestamptz) does not exist')$$, 'all is well, but for the function that is gone');

-- A granted level that is gone goes down with each version, comes back with its
-- code, and is none before there is one of that code.
SELECT define_from('thrice', effective_from::timestamptz, levels) FROM (VALUES (1, NULL, 'a=5 b=10 c=20'), (2, '2024-06-01', 'a=5 b=10'), (3, '2024-07-01', 'a=5'), (4, '2024-08-01', 'a=5 c=20 d=30')) v(n, effective_from, levels) ORDER BY n;
SELECT loyalty.grant_tier(313, 'thrice', 'c', starts_at => '2024-05-01'), loyalty.grant_tier(314, 'thrice', 'd', starts_at => '2024-05-01');
SELECT is(tiers_of(m, 'thrice', '2024-05-01', '2024-06-01', '2024-07-01', '2024-08-01'), expected, 'granted: ' || expected) FROM (VALUES (313, 'c b a c'), (314, '- - - d')) v(m, expected);

-- Who joined with a grant before the first version has its years from then.
SELECT loyalty.define_ladder('late_years', '{"measures": [{"measure": "visits", "window": "anniversary"}], "levels": [{"level": "a", "any": {"visits": 100}}]}', '2024-01-01');
SELECT loyalty.grant_tier(320, 'late_years', 'a', starts_at => '2023-03-01', ends_at => '2023-04-01'), loyalty.grant_tier(321, 'late_years', 'a', starts_at => '2024-05-01', ends_at => '2024-06-01');
SELECT loyalty.record_qualification(m, 'visits', 60, t::timestamptz) FROM (VALUES ('2024-02-01'), ('2024-03-15')) v(t), unnest(ARRAY[320, 321]) m;
SELECT loyalty.grant_tier(319, 'late_years', 'a', starts_at => '2023-03-01', ends_at => '2023-04-01'), loyalty.record_qualification(319, 'visits', 1, '2023-05-01');
SELECT loyalty.record_qualification(319, 'visits', 60, t::timestamptz) FROM (VALUES ('2024-02-01'), ('2024-03-15')) v(t);
SELECT is(tiers_of(m, 'late_years', '2024-04-01'), '-', 'a new year began in March') FROM unnest(ARRAY[319, 320]) m;
SELECT is(loyalty.tier_of(321, 'late_years', '2024-04-01'), 'a', 'of whom joined in February none did');
-- A grant joins as a fact does, also when it is over before the first fact.
SELECT loyalty.grant_tier(326, 'years', 'a', starts_at => '2023-03-01', ends_at => '2023-04-01');
SELECT loyalty.record_qualification(m, 'visits', 60, t::timestamptz) FROM (VALUES ('2024-02-01'), ('2024-03-10')) v(t), unnest(ARRAY[326, 327]) m;
SELECT is(coalesce(loyalty.tier_of(m, 'years', '2024-04-01'), '-'), expected, 'years from ' || since) FROM (VALUES (326, '-', 'the grant'), (327, 'a', 'the first fact')) v(m, expected, since);
SELECT is_empty($$SELECT * FROM loyalty.check_tier() WHERE member_id IN (326, 327)$$, 'as stored');
-- A version that carries over does so from the first end of a period on.
SELECT loyalty.define_ladder('carried', d || more, effective_from::timestamptz) FROM (VALUES (1, '{}'::jsonb, NULL), (2, '{"carry_over": true}', '2024-06-01')) v(n, more, effective_from),
	jsonb(json '{"measures": [{"measure": "visits", "window": "year"}], "period": "year", "validity": "period", "levels": [{"level": "a", "any": {"visits": 100}}]}') d ORDER BY n;
SELECT loyalty.set_joined(328, '2023-02-01');
SELECT loyalty.record_qualification(m, 'visits', 160, '2024-03-01'), loyalty.record_qualification(m, 'visits', 60, '2025-06-01') FROM unnest(ARRAY[322, 328]) m;
SELECT is(tiers_of(m, 'carried', '2025-12-31', '2026-01-01', '2027-01-01'), 'a a -', 'what was too much in 2024 counts in 2025') FROM unnest(ARRAY[322, 328]) m;
-- What was too much of one measure is nothing of another, of a level that asks for it or of a later version.
SELECT loyalty.define_ladder('carried_from', d || more, effective_from::timestamptz) FROM (VALUES
		(1, '{"measures": [{"measure": "visits", "window": "year"}, {"measure": "spend", "window": "year"}], "levels": [{"level": "a", "any": {"visits": 100}}, {"level": "b", "any": {"spend": 50}}]}'::jsonb, NULL),
		(2, '{"measures": [{"measure": "spend", "window": "year"}], "levels": [{"level": "a", "any": {"spend": 50}}]}', '2025-06-01')) v(n, more, effective_from),
	jsonb(json '{"carry_over": true, "period": "year", "validity": "period"}') d ORDER BY n;
SELECT loyalty.record_qualification(m, measure, amount, at::timestamptz) FROM (VALUES
	(400, 'visits', 100, '2023-03-01'), (400, 'spend', 40, '2023-03-01'), (400, 'spend', 20, '2024-03-01'), (401, 'visits', 170, '2024-03-01'), (401, 'spend', 40, '2025-07-01'), (402, 'visits', 100, '2024-03-01'), (402, 'spend', 50, '2025-07-01')) v(m, measure, amount, at);
SELECT is(tiers_of(m, 'carried_from', '2024-06-01', '2025-01-01', '2026-01-01'), expected, what) FROM (VALUES
	(400, 'a - -', 'a level that does not ask for it has too much of nothing'), (401, 'a a -', '70 visits of 2024 are none of the 40 spent in 2025'), (402, 'a a a', 'and 50 spent are enough')) v(m, expected, what);
-- What was brought into a year is the member's, and a new version of the ladder does not take it away: unless it counts otherwise.
SELECT loyalty.define_ladder('carried_' || to_n, jsonb '{"carry_over": true, "measures": [{"measure": "visits", "window": "year"}], "period": "year", "validity": "period", "levels": [{"level": "a", "any": {"visits": 100}}]}'
	|| CASE n WHEN 2 THEN more ELSE '{}' END, CASE n WHEN 2 THEN timestamptz '2025-06-01' END)
FROM generate_series(1, 2) n, (VALUES (1, '{"levels": [{"level": "a", "any": {"visits": 100}}, {"level": "b", "any": {"visits": 300}}]}'::jsonb),
	(2, '{"measures": [{"measure": "spend", "window": "year"}, {"measure": "visits", "window": "year"}]}'), (3, '{"carry_over": false}'),
	(4, '{"measures": [{"measure": "visits", "window": "anniversary"}]}'), (5, '{"time_zone": "Asia/Tokyo"}')) v (to_n, more) ORDER BY to_n, n;
SELECT loyalty.record_qualification(403, 'visits', 160, '2024-03-01'), loyalty.record_qualification(403, 'visits', 40, '2025-03-01'),
	loyalty.record_qualification(404, 'visits', 160, '2024-03-01'), loyalty.record_qualification(404, 'visits', 39, '2025-03-01');
SELECT is(tiers_of(403, 'carried_' || n, '2025-12-30', '2026-01-02', '2027-01-02'), expected, what) FROM (VALUES (1, 'a a -', '60 of 2024 and 40 are enough, with a new level'), (2, 'a a -', 'with a measure before it'),
	(3, 'a a -', 'and where nothing is carried over any more'), (4, 'a - -', 'another window begins with nothing'), (5, 'a - -', 'as do years of another time zone')) v (n, expected, what);
SELECT is(tiers_of(404, 'carried_' || n, '2025-12-30', '2026-01-02'), 'a -', '60 and 39 are not') FROM generate_series(1, 3) n;
SELECT is_empty($$SELECT * FROM loyalty.check_tier() WHERE member_id IN (403, 404)$$, 'as stored');
-- Nor does another measure of a later version begin with what one of before came to.
SELECT loyalty.define_measure('rating'), loyalty.define_measure('grade');
SELECT loyalty.define_ladder('rated', jsonb_build_object('measures', jsonb_build_array(jsonb_build_object('measure', m, 'window', 'latest')),
	'validity', 'interval', 'validity_interval', '1 month', 'levels', jsonb_build_array(jsonb_build_object('level', 'a', 'any', jsonb_build_object(m, 5)))), effective_from::timestamptz)
FROM (VALUES (1, 'rating', NULL), (2, 'grade', '2024-06-01')) v(n, m, effective_from) ORDER BY n;
SELECT loyalty.record_qualification(329, 'rating', 9, '2024-03-10');
SELECT is(tiers_of(329, 'rated', '2024-04-10', '2024-06-09', '2024-06-10'), 'a a -', 'rated until it was grades that count');

-- A merge before the first version is one like any other.
SELECT loyalty.record_qualification(m, 'visits', 3, '2024-01-01') FROM unnest(ARRAY[323, 324]) m;
SELECT loyalty.merge_tier(91, 323, 324, '2024-05-01');
SELECT is(tiers_of(323, 'late', '2024-05-31', '2024-06-01') || ', ' || tiers_of(324, 'late', '2024-05-31', '2024-06-01'), '- a, - a', 'together they qualify with it');

SELECT loyalty.merge_tier(1356, 356, 357, '2024-06-01');
SELECT is(tiers_of(356, 'empty', '2024-07-01'), '-', 'and nobody with nobody is nobody, also where a level asks for nothing');

-- A state that is taken further has what its windows can still reach, and no
-- more: a month before 30 March 01:00 is earlier than one before 29 March 23:00.
SELECT loyalty.define_ladder('leaping', '{"measures": [{"measure": "visits", "window": "rolling", "interval": "1 month"}], "levels": [{"level": "a", "any": {"visits": 102}}]}');
SELECT loyalty.record_qualification(358, 'visits', 60, '2022-01-01');
SELECT loyalty.record_qualification(358, 'visits', 60, '2024-01-01');
SELECT loyalty.record_qualification(358, 'visits', 41, '2024-01-10');
SELECT loyalty.record_qualification(359, 'visits', 100, '2024-02-29 12:00');
SELECT loyalty.record_qualification(359, 'visits', 1, '2024-03-29 23:00');
SELECT loyalty.record_qualification(359, 'visits', 1, '2024-03-30 01:00');
SELECT is(tiers_of(358, 'leaping', '2024-01-10') || tiers_of(359, 'leaping', '2024-03-30', '2024-03-30 01:00'), '-- a', 'from state to state');

-- A window that would begin before there were dates is refused.
SELECT loyalty.define_ladder('ages', '{"measures": [{"measure": "visits", "window": "rolling", "interval": "365000 days"}], "levels": [{"level": "a"}]}');
SELECT throws_ok($$SELECT loyalty.record_qualification(325, 'visits', 1, '4700-01-01 BC')$$, '22008', NULL, 'a thousand years before 4700 BC');

-- Versions together have so many measures.
SELECT loyalty.define_measure('m' || i) FROM generate_series(1, 33) i;
CREATE FUNCTION define_measures(VARIADIC measures integer[]) RETURNS integer LANGUAGE sql AS $$
	SELECT loyalty.define_ladder('wide', jsonb_build_object('measures', (SELECT jsonb_agg(jsonb_build_object('measure', 'm' || m)) FROM unnest($1) m), 'levels', '[{"level": "a"}]'::jsonb),
		'2024-01-01'::timestamptz + $1[1] * interval '1 day')
$$;
SELECT define_measures(VARIADIC m) FROM (SELECT array_agg(i ORDER BY i) AS m FROM generate_series(1, 32) i GROUP BY (i - 1) / 8 ORDER BY 1 OFFSET 0) x;
SELECT is(loyalty.tier_of(300, 'wide'), NULL, 'versions may have 32 measures');
SELECT define_measures(33);
SELECT throws_ok($$SELECT loyalty.tier_of(300, 'wide')$$, '54000', NULL, 'and no more');
DELETE FROM loyalty.ladder WHERE ladder = 'wide';

-- ---------------------------------------------------------------------------
-- A merge takes the better state, where facts alone tell no more
-- ---------------------------------------------------------------------------

SELECT loyalty.define_ladder('short', '{"measures": [{"measure": "visits", "window": "rolling", "interval": "1 month"}], "validity": "interval", "validity_interval": "1 year",
	"levels": [{"level": "a", "any": {"visits": 5}}, {"level": "b", "any": {"visits": 10}}]}');
CREATE TABLE merge_case (survivor_id bigint, survivor_at timestamptz, survivor_visits integer, absorbed_at timestamptz, absorbed_visits integer, expected text);
INSERT INTO merge_case VALUES
	(330, '2024-01-01', 5, '2024-02-01', 10, 'a b until 2025-02-01'), (332, '2024-02-01', 10, '2024-01-01', 5, 'b b until 2025-02-01'),
	(334, '2024-01-01', 10, '2024-02-01', 5, 'b b until 2025-01-01'), (336, '2024-02-01', 5, '2024-01-01', 10, 'a b until 2025-01-01'),
	(338, '2024-01-01', 5, '2024-02-01', 5, 'a a until 2025-02-01'), (340, '2024-02-01', 5, '2024-01-01', 5, 'a a until 2025-02-01'),
	(342, '2024-01-01', 0, '2024-02-01', 5, '- a until 2025-02-01'), (344, '2024-01-01', 5, '2024-02-01', 0, 'a a until 2025-01-01');
SELECT loyalty.record_qualification(survivor_id, 'visits', survivor_visits, survivor_at), loyalty.record_qualification(survivor_id + 1, 'visits', absorbed_visits, absorbed_at),
	loyalty.merge_tier(1000 + survivor_id, survivor_id, survivor_id + 1, '2024-06-01') FROM merge_case;
SELECT is(format('%s until %s', tiers_of(survivor_id, 'short', '2024-05-31', '2024-06-01'), t.ends_at::date), expected, 'merged: ' || expected)
FROM merge_case, LATERAL (SELECT max(starts_at) AS ends_at FROM loyalty.member_tiers(survivor_id, 'short')) t;
-- Returns of both take back at their own dates, whoever's came first.
SELECT loyalty.define_ladder('short_returns', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "a", "any": {"visits": 100}}, {"level": "b", "any": {"visits": 200}}]}');
SELECT loyalty.record_qualification(m, 'visits', visits, at::timestamptz, reference => 'r', return_of => CASE WHEN visits < 0 THEN 'r' END) FROM (VALUES
	(1, 360, 150, '2024-01-20'), (2, 361, 100, '2024-01-10'), (3, 360, -150, '2024-05-01'), (4, 361, -100, '2024-04-01')) v(n, m, visits, at) ORDER BY n;
SELECT loyalty.merge_tier(1360, 360, 361, '2024-02-01');
SELECT is(steps_of(360, 'short_returns'), 'a 01-20 enrolled/qualified, b 02-01 upgraded/merged, a 04-01 downgraded/returned, - 05-01 expired/returned', 'two returns, of either member');
-- Of two values of one instant the greater is the latest, whoever of them had it.
SELECT loyalty.define_ladder('short_values', '{"measures": [{"measure": "rating", "window": "latest"}], "validity": "interval", "validity_interval": "1 month",
	"levels": [{"level": "a", "any": {"rating": 3}}, {"level": "b", "any": {"rating": 5}}]}');
SELECT loyalty.record_qualification(m, 'rating', rating, '2024-01-10') FROM (VALUES (362, 5), (363, 3), (364, 3), (365, 5), (366, 3), (366, 5), (368, 5), (368, 3)) v(m, rating);
SELECT loyalty.merge_tier(1000 + m, m, m + 1, '2024-01-20') FROM unnest(ARRAY[362, 364]) m;
SELECT is(loyalty.tier_of(m, 'short_values', '2024-04-01'), 'b', 'five and three at once, of ' || m) FROM unnest(ARRAY[362, 364, 366, 368]) m;
-- Whoever joined with a grant brings the years that are counted from it.
SELECT loyalty.define_ladder('short_joined', '{"measures": [{"measure": "visits", "window": "anniversary"}], "levels": [{"level": "a", "any": {"visits": 100}}]}');
SELECT loyalty.grant_tier(m, 'short_joined', 'a', starts_at => '2023-02-15', ends_at => '2023-03-15') FROM unnest(ARRAY[381, 382]) m;
SELECT loyalty.record_qualification(m, 'visits', 1, '2024-01-01') FROM unnest(ARRAY[380, 383, 384, 385]) m;
SELECT loyalty.merge_tier(1000 + m, m, m + 1, '2024-01-20') FROM unnest(ARRAY[380, 382, 384]) m;
SELECT loyalty.record_qualification(m, 'visits', 60, at::timestamptz) FROM unnest(ARRAY[380, 382, 384]) m, unnest(ARRAY['2024-02-01', '2024-03-01']) at;
SELECT is(tiers_of(m, 'short_joined', '2024-03-02'), expected, 'merged, years from ' || since) FROM (VALUES (380, '-', 'the grant of the absorbed'), (382, '-', 'the grant of the survivor'), (384, 'a', 'the first fact')) v(m, expected, since);
-- With the state go what it brought into its period, and the start of its term.
SELECT loyalty.define_ladder(ladder, jsonb_build_object('measures', jsonb_build_array(jsonb_build_object('measure', 'visits', 'window', window_of)),
	'levels', '[{"level": "a", "any": {"visits": 100}}, {"level": "b", "any": {"visits": 200}}]'::jsonb) || more)
FROM (VALUES ('short_years', 'year', '{"carry_over": true, "period": "year", "validity": "period"}'::jsonb), ('short_terms', 'term', '{"validity": "interval", "validity_interval": "1 year"}')) v(ladder, window_of, more);
SELECT loyalty.record_qualification(m, 'visits', visits, at::timestamptz) FROM (VALUES
	(350, 10, '2023-06-01'), (351, 160, '2023-03-01'), (350, 90, '2024-06-01'), (350, 50, '2025-06-01'),
	(352, 50, '2023-06-01'), (353, 100, '2024-01-01'), (353, 60, '2024-02-01'), (352, 40, '2024-06-01')) v(m, visits, at);
SELECT loyalty.merge_tier(1000 + m, m, m + 1, '2024-03-01') FROM unnest(ARRAY[350, 352]) m;
SELECT is(tiers_of(350, 'short_years', '2024-02-01', '2024-03-01', '2025-06-01', '2026-06-01', '2027-06-01'), '- a a a -', '60 from 2023 and 90, of which 50 go into 2025, and 50');
SELECT is(tiers_of(352, 'short_terms', '2024-02-01', '2024-03-01', '2025-06-01', '2026-06-01'), '- a a -', '60 and 40 since the term began');
SELECT is_empty($$SELECT * FROM loyalty.check_tier() WHERE detail LIKE 'short%' OR detail LIKE 'late%'$$, 'all is well');

-- ---------------------------------------------------------------------------
-- Columns of tier_state: users' own, and rows that are none
-- ---------------------------------------------------------------------------

ALTER TABLE loyalty.tier_state ADD note text NOT NULL DEFAULT 'new';
SELECT loyalty.record_qualification(370, 'visits', 1, '2024-01-01');
DELETE FROM loyalty.tier_history WHERE member_id = 370;
DELETE FROM loyalty.tier_state WHERE member_id = 370;
SELECT loyalty.define_ladder('noted', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "a", "any": {"visits": 1}}]}');
CALL loyalty.evaluate_tiers(ladder => 'noted');
SELECT cmp_ok(pg_temp.stored(), '>', 0::bigint, 'many are stored at once');
SELECT results_eq($$SELECT level, earned_level, since, event_at, versions, note FROM loyalty.tier_state WHERE member_id = 370 AND ladder = 'noted'$$,
	$$VALUES ('a', 'a', '2024-01-01'::timestamptz, '2024-01-01'::timestamptz, 1, 'new')$$, 'a column of the user''s own has its default');
UPDATE loyalty.tier_state SET note = 'kept' WHERE member_id = 370;
SELECT loyalty.record_qualification(370, 'visits', 1, '2024-01-02');
SELECT results_eq($$SELECT level, since, note FROM loyalty.tier_state WHERE member_id = 370 AND ladder = 'noted'$$,
	$$VALUES ('a', '2024-01-01'::timestamptz, 'kept')$$, 'and keeps what is put there');
ALTER TABLE loyalty.tier_state DROP note;
SELECT is(loyalty.stored_tier_is('[]', s, 'noted', '2024-01-02'), false, 'it is not the state of a member without facts')
FROM loyalty.tier_state s WHERE s.member_id = 370 AND s.ladder = 'noted';
SELECT is(loyalty.stored_tier_is('[{"measure": "visits", "at": "2024-01-01Z", "amount": 1}, {"measure": "visits", "at": "2024-01-02Z", "amount": 1}]', s, 'noted', '2024-01-02'),
		true, 'but of one with these')
FROM loyalty.tier_state s WHERE s.member_id = 370 AND s.ladder = 'noted';
SELECT throws_ok(sql, state, NULL, sql) FROM (VALUES
	($$SELECT loyalty.stored_tier_is('[]', ROW(1, 'noted'), 'noted', now())$$, 'LY003'),
	($$SELECT loyalty.stored_tier_is('[]', h, 'noted', now()) FROM loyalty.tier_history h LIMIT 1$$, 'LY003'),
	($$SELECT loyalty.first_tier(NULL::loyalty.tier_history, 1, 'noted', '[]', now(), 1)$$, 'LY003'),
	($$SELECT loyalty.first_tier(1, 1, 'noted', '[]', now(), 1)$$, '42809')) t(sql, state);

-- ---------------------------------------------------------------------------
-- Points beyond what tiers can count
-- ---------------------------------------------------------------------------

SELECT loyalty.create_currency('huge');
SELECT loyalty.define_measure('huge', 'points', 'huge');
SELECT is((SELECT available FROM loyalty.earn(60, 9000000000000000000, 'huge', '2024-01-01')), 9000000000000000000, 'matter only to ladders that count them');
SELECT loyalty.define_ladder('huge', '{"measures": [{"measure": "huge", "window": "lifetime"}], "levels": [{"level": "a", "any": {"huge": 1}}]}');
SELECT throws_ok($$SELECT loyalty.tier_of(60, 'huge')$$, '22003', NULL, 'and there are an error, not a wrong tier');

-- Nothing of a tier is at an infinite instant
SELECT throws_ok(format('SELECT loyalty.merge_tier(990001, 990002, 990003, %L)', t), 'LY003', 'merged_at must be a finite instant', 'a merge at ' || t) FROM unnest('{infinity,-infinity}'::text[]) t;
SELECT throws_ok(format('INSERT INTO loyalty.%s', row), '23514', NULL, row) FROM unnest(ARRAY[
	$$tier_event (member_id, measure, at, counts_at, amount) VALUES (990002, 'spend', 'infinity', now(), 1)$$,
	$$tier_event (member_id, measure, at, counts_at, amount) VALUES (990002, 'spend', now(), '-infinity', 1)$$,
	$$tier_grant (member_id, ladder, level, kind, starts_at) VALUES (990002, 'club', 'gold', 'manual', '-infinity')$$,
	$$tier_grant (member_id, ladder, level, kind, starts_at, ends_at) VALUES (990002, 'club', 'gold', 'manual', now(), 'infinity')$$,
	$$tier_merge (absorbed_id, merge_id, survivor_id, merged_at) VALUES (990003, 990001, 990002, 'infinity')$$]) row;

SELECT * FROM finish();
