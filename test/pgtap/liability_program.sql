-- Room liability: points and money on the tables of the program.  Expected
-- figures are worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT * FROM loyalty.liability()$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
CREATE FUNCTION figures(currency text DEFAULT 'points', as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s points, %s pending, %s held, %s owed; %s + %s; %s, %s', l.points, l.pending, l.held, l.owed, l.expected_points, l.breakage_points, l.value, l.cost) FROM loyalty.liability(currency, as_of, known_at) l
$$;

-- ---- the one question ----

SELECT is(figures(), '0 points, 0 pending, 0 held, 0 owed; 0.00 + 0.00; , ', 'nobody has anything: one row');
SELECT loyalty.earn(1, 100, effective_at => '2026-01-10', expires_at => '2100-01-01') \g /dev/null
SELECT loyalty.earn(1, 40, effective_at => '2026-01-10', expires_at => '2026-02-01') \g /dev/null
SELECT loyalty.earn(2, 50, effective_at => '2026-01-10', pending => true) \g /dev/null
SELECT loyalty.earn(3, 30, effective_at => '2026-01-10') \g /dev/null
SELECT loyalty.hold(3, 20, '2100-01-01', effective_at => '2026-01-11') \g /dev/null
SELECT entry_id AS e FROM loyalty.earn(4, 10, effective_at => '2026-01-10') \gset
SELECT loyalty.redeem(4, 10, effective_at => '2026-01-11') \g /dev/null
SELECT loyalty.reverse(4, :e, effective_at => '2026-01-12') \g /dev/null
SELECT is(figures(), '180 points, 50 pending, 20 held, 10 owed; 180.00 + 0.00; , ', 'available, pending, held; without what has expired; what is owed apart');
SELECT is(figures(as_of => '2026-01-20'), '220 points, 50 pending, 20 held, 10 owed; 220.00 + 0.00; , ', 'before it expired');
SELECT is(figures(as_of => '2026-01-10'), '230 points, 50 pending, 0 held, 0 owed; 230.00 + 0.00; , ', 'before anything was used');
SELECT is(figures(known_at => '2026-01-01'), '0 points, 0 pending, 0 held, 0 owed; 0.00 + 0.00; , ', 'before anybody knew');
SELECT loyalty.set_point_value('points', 0.01, cost => 0.006) \g /dev/null
SELECT is(figures(), '180 points, 50 pending, 20 held, 10 owed; 180.00 + 0.00; 1.80, 1.08', 'in money');
-- a posting of meanwhile, and one by a clock that is ahead
BEGIN;
SELECT now() \g /dev/null
SELECT pg_sleep(0.01) \g /dev/null
SELECT loyalty.earn(5, 5) \g /dev/null
SELECT is((SELECT points FROM loyalty.liability()), 185::bigint, 'posted after the transaction began');
SELECT loyalty.earn(6, 6, effective_at => now() + interval '1 minute') \g /dev/null
SELECT is((SELECT points FROM loyalty.liability()), 191::bigint, 'ahead of the clock');
ROLLBACK;
-- merged members once
INSERT INTO loyalty.member (member_id) SELECT i FROM generate_series(1, 60) i;
SELECT merge_id AS m FROM loyalty.merge_members(1, 3) \gset
SELECT is((SELECT (points, held) FROM loyalty.liability()), (180::bigint, 20::bigint), 'merged: once');
SELECT is((SELECT sum(points) FROM loyalty.liability_members()), 180::numeric, 'by member, too');
SELECT is(figures(as_of => '2026-01-20'), '220 points, 50 pending, 20 held, 10 owed; 220.00 + 0.00; 2.20, 1.32', 'and before the merge, each had its own');
SELECT loyalty.unmerge_members(:m) \g /dev/null
SELECT is((SELECT (points, held) FROM loyalty.liability()), (180::bigint, 20::bigint), 'undone: the same');
SELECT results_eq($$SELECT cell, points, owed FROM loyalty.liability(by => 'issued')$$, $$VALUES ('2026-01', 180::bigint, 0::bigint), (NULL, 0, 10)$$, 'by month of issue');
SELECT results_eq($$SELECT cell, points FROM loyalty.liability(by => 'expires') WHERE cell IS NOT NULL$$, $$VALUES ('2099-12', 100::bigint), ('never', 80)$$, 'by month of expiry');
SELECT throws_ok($$SELECT loyalty.liability(by => 'colour')$$, 'LY003', NULL, 'by something else');
SELECT throws_ok($$SELECT loyalty.liability('gold')$$, 'LY102', 'unknown currency "gold"', 'no such currency');
SELECT throws_ok($$SELECT loyalty.liability(as_of => 'infinity')$$, 'LY003', NULL, 'for ever');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');

-- ---- a set rate speaks of cohorts ----

SELECT loyalty.create_currency('ten') \g /dev/null
SELECT loyalty.earn(i, 100, 'ten', effective_at => '2026-01-05') FROM generate_series(11, 20) i \g /dev/null
SELECT loyalty.redeem(i, 100, 'ten', effective_at => '2026-01-06') FROM generate_series(11, 15) i \g /dev/null
SELECT throws_ok(format('SELECT loyalty.set_redemption_estimate(%L, %s)', 'ten', rate), 'LY822', NULL, 'rate ' || rate) FROM (VALUES ('1.1'), ('-0.1'), ('NULL'), ($$'NaN'$$)) v (rate);
SELECT loyalty.set_redemption_estimate('ten', 0.8) \g /dev/null
SELECT is(figures('ten'), '500 points, 0 pending, 0 held, 0 owed; 300.00 + 200.00; , ', 'five of ten redeemed: 300 are missing of 800');
SELECT is((SELECT expected_points FROM loyalty.liability_members('ten') WHERE member_id = 16), 60.00, '60 of each');
SELECT loyalty.redeem(i, 100, 'ten', effective_at => '2026-01-06') FROM generate_series(16, 17) i \g /dev/null
SELECT is(figures('ten'), '300 points, 0 pending, 0 held, 0 owed; 100.00 + 200.00; , ', 'seven: 100');
SELECT is((SELECT expected_points FROM loyalty.liability_members('ten') WHERE member_id = 18), 33.33, 'a third of each');
SELECT loyalty.redeem(i, 100, 'ten', effective_at => '2026-01-06') FROM generate_series(18, 19) i \g /dev/null
SELECT is(figures('ten'), '100 points, 0 pending, 0 held, 0 owed; 0.00 + 100.00; , ', 'nine: nothing');

-- ---- hazards: the page's small triangle, in a currency of its own ----

SELECT loyalty.create_currency('h') \g /dev/null
SELECT loyalty.earn(31, 100000, 'h', '2026-01-10'), loyalty.earn(32, 120000, 'h', '2026-02-10'), loyalty.earn(33, 150000, 'h', '2026-03-10') \g /dev/null
SELECT loyalty.redeem(m, p, 'h', effective_at => at::timestamptz) FROM (VALUES (31, 30000, '2026-01-20'), (32, 36000, '2026-02-20'), (31, 20000, '2026-02-21'), (33, 48000, '2026-03-20'), (32, 25200, '2026-03-21'), (31, 5000, '2026-03-22')) v (m, p, at) \g /dev/null
SELECT is((SELECT array_agg((c.cohort, c.age, c.issued, c.cumulative)::text ORDER BY c.cohort, c.age) FROM loyalty.triangle_cells(loyalty.redemption_triangle('h'), '2026-04-01') c),
	ARRAY['(2026-01-01,0,100000,30000)', '(2026-01-01,1,100000,50000)', '(2026-01-01,2,100000,55000)', '(2026-02-01,0,120000,36000)', '(2026-02-01,1,120000,61200)', '(2026-03-01,0,150000,48000)'], 'the triangle from the entries');
SELECT throws_ok($$SELECT loyalty.estimate_redemption('ten', '2026-01-20')$$, 'LY823', NULL, 'no month of history');
SELECT loyalty.estimate_redemption('h', '2026-04-01') \g /dev/null
SELECT is((SELECT array_agg(round(h, 6)) FROM loyalty.redemption_estimate e, unnest(e.hazards) h WHERE e.currency = 'h'), '{0.308108,0.293506,0.100000}', 'hazards');
-- of 45,000 aged 3: nothing; 58,800 aged 2: a tenth; 102,000 aged 1: 1 - .706494 * .9
SELECT is((SELECT (points, expected_points) FROM loyalty.liability('h', '2026-04-01')), (205800::bigint, 5880.00 + 37143.90), 'to come');
SELECT results_eq($$SELECT cell, expected_points FROM loyalty.liability('h', '2026-04-01', by => 'issued')$$, $$VALUES ('2026-01', 0.00), ('2026-02', 5880.00), ('2026-03', 37143.90)$$, 'by month of issue');
SELECT results_eq($$SELECT month, redeemed, expired FROM loyalty.redemption_forecast('h', 3, '2026-04-01')$$,
	$$VALUES ('2026-04-01'::date, 5880.00 + round(102000 * 45.2 / 154, 2), 0.00), ('2026-05-01', round(102000 * (1 - 45.2 / 154) * .1, 2), 0.00), ('2026-06-01', 0.00, 0.00)$$, 'by month');
SELECT is((SELECT round(sum(redeemed), 1) FROM loyalty.redemption_forecast('h', 12, '2026-04-01')), (SELECT round(expected_points, 1) FROM loyalty.liability('h', '2026-04-01')), 'which is the same');
SELECT throws_ok($$SELECT loyalty.redemption_forecast('h', 0)$$, 'LY003', 'months must be from 1 to 1200', 'no month');
-- expiry cuts it: two points in a thousand that live for this month only
SELECT loyalty.earn(34, 1000, 'h', '2026-03-11', expires_at => '2026-05-01') \g /dev/null
SELECT is((SELECT expected_points FROM loyalty.liability_members('h', '2026-04-01') WHERE member_id = 34), round(1000 * 45.2 / 154, 2), 'of one month of life that hazard alone');
SELECT is((SELECT expired FROM loyalty.redemption_forecast('h', 1, '2026-04-01')), round(1000 * (1 - 45.2 / 154), 2), 'and the rest expires');

-- ---- returns, refunds, debt, transfers in the triangle ----

SELECT loyalty.create_currency('r') \g /dev/null
CREATE FUNCTION cells(as_of date) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s:%s/%s', c.age, c.issued, c.cumulative), ' ' ORDER BY c.cohort, c.age) FROM loyalty.triangle_cells(loyalty.redemption_triangle('r', as_of), as_of) c $$;
SELECT entry_id AS a FROM loyalty.earn(41, 800, 'r', '2026-03-05') \gset
SELECT entry_id AS b FROM loyalty.earn(42, 200, 'r', '2026-03-05') \gset
SELECT entry_id AS c FROM loyalty.redeem(41, 100, 'r', effective_at => '2026-03-20') \gset
SELECT is(cells('2026-04-01'), '0:1000/100', 'March: 1,000 and 100');
SELECT loyalty.reverse(42, :b, effective_at => '2026-04-02'), loyalty.reverse(41, :c, 50, effective_at => '2026-04-03') \g /dev/null
SELECT is(cells('2026-05-01'), '0:800/100 1:800/50', 'April: an order returned, half a redemption refunded');
SELECT is(cells('2026-04-01'), '0:1000/100', 'as of March as before');
SELECT loyalty.transfer(41, 43, 300, 'r', effective_at => '2026-04-10') \g /dev/null
SELECT loyalty.redeem(43, 300, 'r', effective_at => '2026-04-11') \g /dev/null
SELECT is(cells('2026-05-01'), '0:800/100 1:800/350', 'a transfer is neither issue nor redemption, and what was transferred keeps its month');
SELECT loyalty.reverse(41, :a, effective_at => '2026-04-20') \g /dev/null
SELECT is(cells('2026-05-01'), '0:0/100 1:0/0', 'taken back after it was spent: owed instead');
SELECT is((SELECT (points, owed) FROM loyalty.liability('r')), (0::bigint, 350::bigint), 'which is what is left');
SELECT loyalty.earn(41, 400, 'r', '2026-05-02') \g /dev/null
SELECT is(cells('2026-06-01'), '0:0/100 1:0/0 2:0/0 0:400/350', 'earned into debt: redeemed at once');
SELECT is((SELECT (points, owed) FROM loyalty.liability('r')), (50::bigint, 0::bigint), 'and the rest is there');
SELECT loyalty.adjust(41, -20, 'mistake', 'r', effective_at => '2026-05-03') \g /dev/null
SELECT is(cells('2026-06-01'), '0:0/100 1:0/0 2:0/0 0:380/350', 'corrected: never issued');
SELECT loyalty.merge_members(44, 41) \g /dev/null
SELECT is(cells('2026-06-01'), '0:0/100 1:0/0 2:0/0 0:380/350', 'merged: the same');
SELECT is((SELECT points FROM loyalty.liability('r')), 30::bigint, 'and as many');

-- ---- money: an order of 100.00 with 10 points of 1.00, 95 % expected ----

SELECT throws_ok($$SELECT * FROM loyalty.deferral_schedule('ten')$$, 'LY821', NULL, 'nobody has said what a point is worth');
SELECT loyalty.create_currency('m') \g /dev/null
SELECT loyalty.set_point_value('m', 1.00), loyalty.set_redemption_estimate('m', 0.95) \g /dev/null
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 0.1, "per": 1}, "currency": "m"}]}', '2026-01-01') \g /dev/null
SELECT activity_id AS o FROM loyalty.record_activity(51, 'order', '2026-03-10', amount => 100.00) \gset
SELECT is((SELECT (month, issued, outstanding, expected_points, deferred, recognised, balance) FROM loyalty.deferral_schedule('m')), ('2026-03-01'::date, 10::bigint, 10::bigint, 9.50, 8.68, 0.00, 8.68), 'deferred');
SELECT loyalty.redeem(51, 10, 'm', effective_at => '2026-03-20') \g /dev/null
SELECT is((SELECT (redeemed, outstanding, deferred, recognised) FROM loyalty.deferral_schedule('m')), (10::bigint, 0::bigint, 8.68, 8.68), 'all of it earned, once nothing is outstanding');
SELECT loyalty.record_return(51, :o, at => '2026-04-05') \g /dev/null
SELECT is((SELECT (owed, points) FROM loyalty.liability('m')), (10::bigint, 0::bigint), 'returned after it was spent: owed');
SELECT results_eq($$SELECT month, recognised, cumulative, closed FROM loyalty.recognised_revenue('m', '2026-03-15', '2026-04-01')$$,
	$$VALUES ('2026-03-01'::date, 8.68, 8.68, false), ('2026-04-01', -8.68, 0.00, false)$$, 'it comes back in the month of the return');
SELECT loyalty.record_activity(51, 'order', '2026-05-10', amount => 100.00) \g /dev/null
SELECT is((SELECT (owed, points) FROM loyalty.liability('m')), (0::bigint, 0::bigint), 'the next order repays');
SELECT is((SELECT recognised FROM loyalty.recognised_revenue('m', '2026-05-01', '2026-05-01')), 8.68, 'and is earned at once');
SELECT loyalty.earn(52, 100, 'm', '2026-05-11') \g /dev/null
SELECT is((SELECT deferred FROM loyalty.deferral_schedule('m') WHERE month = '2026-05-01'), 8.68, 'points that no sale brought have no price');
SELECT results_eq($$SELECT cell, points FROM loyalty.liability('m', by => 'campaign')$$, $$VALUES ('none', 100::bigint)$$, 'by campaign');
SELECT loyalty.record_activity(53, 'order', '2026-05-12', amount => 70.00) \g /dev/null
SELECT results_eq($$SELECT cell, points FROM loyalty.liability('m', by => 'campaign')$$, $$VALUES ('base', 7::bigint), ('none', 100)$$, 'what it gave');

-- ---- closed months ----

SELECT throws_ok($$SELECT loyalty.close_month('m', '2099-01-01')$$, 'LY824', NULL, 'not over');
SELECT is((SELECT (replayed, (figures ->> 'recognised')::numeric) FROM loyalty.close_month('m', '2026-03-31')), (false, 8.68), 'March is closed');
SELECT is((SELECT (replayed, (figures ->> 'recognised')::numeric) FROM loyalty.close_month('m', '2026-03-01')), (true, 8.68), 'once');
SELECT throws_ok($$SELECT loyalty.close_month('m', '2026-05-01')$$, 'LY824', NULL, 'not the next one');
SELECT throws_ok($$SELECT loyalty.close_month('m', '2026-02-01')$$, 'LY824', NULL, 'not one before');
SELECT throws_ok($$DELETE FROM loyalty.liability_close$$, 'LY005', NULL, 'nothing opens it again');
-- an order of March that comes late, and is spent in March
SELECT loyalty.record_activity(54, 'order', '2026-03-25', amount => 200.00) \g /dev/null
SELECT loyalty.redeem(54, 20, 'm', effective_at => '2026-03-26') \g /dev/null
SELECT is((SELECT sum(recognised) FROM loyalty.deferral_schedule('m', '2026-04-01')), 8.68 + 17.35, 'as known now it is in March');
SELECT results_eq($$SELECT month, recognised, closed FROM loyalty.recognised_revenue('m', '2026-03-01', '2026-04-01')$$,
	$$VALUES ('2026-03-01'::date, 8.68, true), ('2026-04-01', 17.35 - 8.68, false)$$, 'March stays; it is in April, once');
SELECT is((SELECT (figures ->> 'recognised')::numeric FROM loyalty.close_month('m', '2026-04-01')), 17.35, 'April is closed');
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'all is well');
ALTER TABLE loyalty.liability_close DISABLE TRIGGER append_only;
UPDATE loyalty.liability_close SET figures = figures || '{"recognised": 9}' WHERE month = '2026-03-01';
ALTER TABLE loyalty.liability_close ENABLE TRIGGER append_only;
SELECT is((SELECT array_agg(invariant || ' ' || detail ORDER BY 1) FROM (SELECT invariant, detail FROM loyalty.check_liability()) x WHERE invariant = 'digest'), ARRAY['digest the figures of 2026-03-01 are not those of its digest'], 'whoever changes figures is found');
SELECT isnt((SELECT count(*) FROM loyalty.check_liability() WHERE invariant = 'closed'), 0::bigint, 'twice');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT loyalty.close_month('m', '2026-05-01')$$, '25000', NULL, 'it has to see what it waits for');
ROLLBACK;

-- ---- what came to light later: an order that is moved to another day, member, or cancelled; a member who is forgotten or merged ----

SELECT loyalty.create_currency('z') \g /dev/null
SELECT loyalty.set_point_value('z', 1.00), loyalty.set_redemption_estimate('z', 0.95) \g /dev/null
SELECT loyalty.define_campaign('zeta', '{"on": ["share"], "then": [{"points": {"give": 0.1, "per": 1}, "currency": "z"}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(m, 'share', '2026-03-10', amount => 100.00) FROM generate_series(21, 26) m \g /dev/null
CREATE FUNCTION shared(member bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT activity_id FROM loyalty.activities(member, 'share') $$;
SELECT loyalty.redeem(22, 3, 'z', effective_at => '2026-03-11') \g /dev/null
-- 6 times 8.68; of 60 points 3 are redeemed, and 57 of what was issued in all are expected
SELECT is((SELECT figures -> 'cohorts' FROM loyalty.close_month('z', '2026-03-01')), '{"2026-03-01": [52.08, 2.74]}', 'March is closed');
SELECT loyalty.revise_activity(21, shared(21), at => '2026-04-10') \g /dev/null
SELECT results_eq($$SELECT month, deferred, recognised FROM loyalty.deferral_schedule('z', '2026-05-01')$$, $$VALUES ('2026-03-01'::date, 52.08, 2.74)$$,
	'moved to April: its points are in lots of March, and so is its price');
SELECT loyalty.forget_member(22) \g /dev/null
SELECT loyalty.merge_members(27, 23) \g /dev/null
SELECT loyalty.revise_activity(24, shared(24), to_member_id => 28) \g /dev/null
SELECT loyalty.revise_activity(25, shared(25), cancelled => true) \g /dev/null
SELECT loyalty.record_return(26, shared(26), amount => 50, at => '2026-03-20') \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_liability() WHERE currency = $$z$$', 'March stays as it was');
-- 5 orders are left, one of half: 4 * 8.68 + 50 * 4.75 / 54.75
SELECT is((SELECT (issued, redeemed, deferred) FROM loyalty.deferral_schedule('z')), (45::bigint, 3::bigint, 4 * 8.68 + 4.34), 'and by now it is what is left');

-- ---- several currencies of one order, and amounts of three decimals ----

SELECT loyalty.create_currency('x'), loyalty.create_currency('y') \g /dev/null
SELECT loyalty.set_point_value('x', 1), loyalty.set_point_value('y', 2), loyalty.set_redemption_estimate('y', 0.5) \g /dev/null
SELECT loyalty.define_campaign('both', '{"on": ["like"], "then": [{"points": {"give": 0.1, "per": 1}, "currency": "x"}, {"points": {"give": 0.1, "per": 1}, "currency": "y"}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(29, 'like', '2026-03-10', amount => 100.000) \g /dev/null
-- 100 of goods, 10 of x and 10 of y sum to 120
SELECT is((SELECT deferred FROM loyalty.deferral_schedule('x')), 8.333, 'a price has parts for goods and two kinds of points: x');
SELECT is((SELECT deferred FROM loyalty.deferral_schedule('y')), 8.333, 'and y');
SELECT loyalty.redeem(29, 10, 'x', effective_at => '2026-03-11') \g /dev/null
SELECT is((SELECT (recognised, balance) FROM loyalty.deferral_schedule('x')), (8.333, 0.000), 'all of it earned, to the last decimal');
SELECT loyalty.set_point_value('y', 0, '2026-03-01') \g /dev/null
SELECT is((SELECT deferred FROM loyalty.deferral_schedule('x')), 9.091, 'what is worth nothing has no part');

-- ---- posted ahead of the clock: what is outstanding counts as issued ----

SELECT loyalty.create_currency('ahead') \g /dev/null
SELECT loyalty.set_redemption_estimate('ahead', 0.5) \g /dev/null
SELECT loyalty.earn(30, 100, 'ahead', effective_at => now() + interval '1 minute') \g /dev/null
SELECT is((SELECT (points, expected_points) FROM loyalty.liability('ahead')), (100::bigint, 50.00), 'half of it will be redeemed');

-- ---- what a campaign costs ----

SELECT loyalty.create_currency('cc') \g /dev/null
SELECT loyalty.set_point_value('cc', 1) \g /dev/null
SELECT loyalty.define_campaign('cost', '{"on": ["review"], "then": [{"points": {"give": 1, "per": 1}, "currency": "cc"}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(35, 'review', '2026-03-10', amount => 100) \g /dev/null
CREATE FUNCTION cost(as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s: %s there, %s redeemed, %s gone', c.issued, c.outstanding, c.redeemed, c.expired) FROM loyalty.campaign_cost('cost', 'cc', as_of, known_at) c
$$;
SELECT is(cost(), '100: 100 there, 0 redeemed, 0 gone', 'given');
SELECT entry_id AS e FROM loyalty.redeem(35, 40, 'cc', effective_at => '2026-03-12') \gset
SELECT is(cost(), '100: 60 there, 40 redeemed, 0 gone', 'redeemed');
SELECT entry_id AS f FROM loyalty.reverse(35, :e, effective_at => '2026-03-14') \gset
SELECT is(cost(), '100: 100 there, 0 redeemed, 0 gone', 'refunded');
SELECT loyalty.reverse(35, :f, effective_at => '2026-03-16') \g /dev/null
SELECT is(cost(), '100: 60 there, 40 redeemed, 0 gone', 'the refund undone: redeemed');
SELECT entry_id AS e FROM loyalty.ledger WHERE member_id = 35 AND currency = 'cc' AND kind = 'earn' \gset
SELECT clock_timestamp() AS known \gset
SELECT entry_id AS f FROM loyalty.reverse(35, :e, 60, effective_at => '2026-03-18') \gset
SELECT loyalty.reverse(35, :f, effective_at => '2026-03-20') \g /dev/null
SELECT is(cost(), '100: 60 there, 40 redeemed, 0 gone', 'taken back, and that undone: nothing was redeemed by it');
SELECT is(cost(known_at => :'known'), '100: 60 there, 40 redeemed, 0 gone', 'as it was known before');
SELECT is(cost(at::timestamptz), want, 'as of ' || at)
FROM (VALUES ('2026-03-09', '0: 0 there, 0 redeemed, 0 gone'), ('2026-03-10', '100: 100 there, 0 redeemed, 0 gone'), ('2026-03-13', '100: 60 there, 40 redeemed, 0 gone'),
	('2026-03-15', '100: 100 there, 0 redeemed, 0 gone'), ('2026-03-17', '100: 60 there, 40 redeemed, 0 gone')) v (at, want);

-- a back-test costs what its points would: those that will be redeemed
SELECT results_eq($$SELECT * FROM loyalty.backtest_cost('{"cost": {"on": ["review"], "then": [{"points": {"give": 3, "per": 1}, "currency": "cc"}]}}', kinds => '{review}', currency => 'cc')$$,
	$$VALUES (100::bigint, 300::bigint, 100.00, 300.00)$$, 'all of them, where nothing is estimated');
SELECT loyalty.set_redemption_estimate('cc', 0.25) \g /dev/null
SELECT is((SELECT (cost_now, cost_then) FROM loyalty.backtest_cost('{"cost": null}', kinds => '{review}', currency => 'cc')), (25.00, 0.00), 'a quarter of them; without the campaign none');
SELECT is(loyalty.expected_point_cost('ahead'), NULL::numeric, 'nobody has said what a point costs');
SELECT loyalty.set_point_value('ahead', 0.02, cost => 0.01) \g /dev/null
SELECT is(loyalty.expected_point_cost('ahead'), 0.005, 'half of them at a hundredth');
SELECT is((SELECT (points_now, cost_now) FROM loyalty.backtest_cost('{}', currency => 'ahead')), (0::bigint, 0.00), 'nothing costs nothing');
SELECT throws_ok($$SELECT loyalty.expected_point_cost('gems')$$, 'LY102', NULL, 'no such currency');

-- by campaign, what is owed is of none
SELECT is((SELECT sum(owed) FROM loyalty.liability(by => 'campaign')), 10::numeric, 'by campaign: owed, too');

-- ---- revenue of long times ----

SELECT throws_ok($$SELECT loyalty.recognised_revenue('m', '1900-01-01', '2000-01-01')$$, 'LY003', 'at most 1200 months can be asked for at once', 'more than a century');
SELECT is((SELECT (count(*), sum(recognised)) FROM loyalty.recognised_revenue('m', '1930-01-01', '2026-05-01')), (1157::bigint, (SELECT sum(recognised) FROM loyalty.recognised_revenue('m', '2026-01-01', '2026-05-01'))),
	'months before anything was sold have nothing');

-- ---- settings, and rights ----

SELECT is(loyalty.set_point_value('points', 0.01, cost => 0.006), 1::bigint, 'the same again');
SELECT loyalty.set_point_value('points', 0.02, '2026-06-01') \g /dev/null
SELECT is((SELECT value FROM loyalty.point_value_at('points', '2026-05-31')), 0.01, 'until then');
SELECT is((SELECT value FROM loyalty.point_value_at('points', '2026-06-01')), 0.02, 'from then on');
SELECT throws_ok($$SELECT loyalty.set_point_value('points', -1)$$, 'LY003', NULL, 'less than nothing');
SELECT throws_ok(format($$SELECT loyalty.set_point_value('points', 1, cost => %L)$$, cost), 'LY003', NULL, left('cost ' || cost, 40)) FROM unnest('{1e15,1e131071,NaN,-0.01}'::numeric[]) cost;
SELECT throws_ok($$SELECT loyalty.set_point_value('gold', 1)$$, 'LY102', NULL, 'no such currency');
CREATE ROLE liability_reader;
CREATE ROLE liability_app;
SELECT loyalty.grant_access('liability_reader', 'reader'), loyalty.grant_access('liability_app', 'app') \g /dev/null
SET ROLE liability_reader;
SELECT lives_ok($$SELECT loyalty.liability(), loyalty.deferral_schedule('m')$$, 'a reader reads');
SELECT throws_ok($$SELECT loyalty.close_month('m', '2026-05-01')$$, '42501', NULL, 'and closes nothing');
SET ROLE liability_app;
SELECT throws_ok($$SELECT loyalty.set_point_value('points', 1)$$, '42501', NULL, 'an application does not say what points are worth');
RESET ROLE;
DROP OWNED BY liability_reader, liability_app;
DROP ROLE liability_reader, liability_app;
SELECT * FROM finish();
