-- The walk: a member from its first order over a tier to the return of both
-- orders (22). Numbers are worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'Europe/Berlin';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.configure_program(time_zone => 'Europe/Berlin') \g /dev/null
SELECT loyalty.create_currency('points', 'Points'), loyalty.create_currency('status', 'Status') \g /dev/null
SELECT loyalty.define_measure('status', 'points', 'status') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status"}], "levels": [{"level": "silver", "all": {"status": 500}}]}', '2026-01-01') \g /dev/null
SELECT loyalty.define_benefit('tea_5_off', '{"kind": "coupon", "discount": {"amount": 5}, "lines": {"category": ["tea"]}, "minimum": 20, "valid": "30 days"}') \g /dev/null
SELECT loyalty.define_campaign(campaign, definition::jsonb, '2026-01-01') FROM (VALUES
	('base', '{"then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "status"}]}'),
	('weekend', '{"lane": "bonus", "when": {"weekday": [6, 7]}, "then": [{"multiply": 2, "lane": "base"}]}'),
	('welcome', '{"when": {"all": [{"amount": {">=": 50}}, {"count": {"kind": "order", "within": "lifetime", "=": 0}}]}, "then": [{"coupon": "tea_5_off"}]}'),
	('silver_gift', '{"on": ["tier_changed"], "when": {"reached": {"club": ["silver"]}}, "on_return": "keep", "then": [{"points": 100}]}')) c (campaign, definition) \g /dev/null
SELECT loyalty.subscribe('reader', '{activity_recorded,activity_returned,points_changed,tier_changed,coupon_issued,coupon_redeemed,coupon_restored,coupon_revoked}') \g /dev/null

SELECT member_id AS m FROM loyalty.resolve_member('{"email": "walk@example.com"}') \gset
CREATE FUNCTION points(currency text DEFAULT 'points') RETURNS bigint LANGUAGE sql AS $$
	SELECT loyalty.available(w.balance) FROM loyalty.wallet w WHERE w.currency = $1
$$;

-- Saturday, 2 May, 10:00: order A
SELECT activity_id AS a, points AS got, discount AS off FROM loyalty.record_activity(:m, 'order', '2026-05-02 10:00', time_zone => 'Europe/Berlin',
	lines => '[{"category": "tea", "amount": 40.50}, {"category": "book", "amount": 80.00}]', external_id => 'A') \gset
SELECT results_eq(format('SELECT campaign, currency, item, points FROM loyalty.awards(%s) ORDER BY campaign, effect', :m),
	$$VALUES ('base', 'points', NULL, 120::bigint), ('base', 'status', NULL, 120), ('weekend', 'points', NULL, 121), ('welcome', NULL, 'tea_5_off', 1)$$, 'A: base, weekend, status, a coupon');
SELECT results_eq(format('SELECT benefit, state, valid_until FROM loyalty.coupons(%s, ''2026-05-02 12:00'')', :m),
	$$VALUES ('tea_5_off', 'issued', '2026-06-01 10:00'::timestamptz)$$, 'until 1 June, 10:00');
SELECT is(points(), 241::bigint, 'points 241');

-- Monday, 4 May: order B with the coupon
SELECT code FROM loyalty.coupons(:m, '2026-05-04 10:00') \gset
SELECT activity_id AS b, points AS got, discount AS off FROM loyalty.record_activity(:m, 'order', '2026-05-04 10:00', time_zone => 'Europe/Berlin',
	lines => '[{"category": "tea", "amount": 25.00}, {"category": "wine", "amount": 375.00}]', codes => ARRAY[:'code'], external_id => 'B') \gset
SELECT is(:off, 5.00, 'the coupon takes 5.00 off');
SELECT is((SELECT amount FROM loyalty.activity WHERE activity_id = :b), 395.00, 'net 395.00');
SELECT is(points('status'), 515::bigint, 'status 515');
SELECT is(loyalty.tier_of(:m, 'club', '2026-05-04 10:00'), 'silver', 'silver in the same commit');
SELECT is(:got, 495, '395 and the gift of 100');
SELECT is(points(), 736::bigint, 'points 736');

-- 10 May: the wine is returned, the tea still meets 20.00
SELECT is((SELECT points FROM loyalty.record_return(:m, :b, '[{"line": 2}]', at => '2026-05-10 12:00')), -375::bigint, 'reversed 375');
SELECT is((SELECT amount FROM loyalty.activity WHERE activity_id = :b), 20.00, '20.00 remain');
SELECT is((SELECT state FROM loyalty.coupons(:m, '2026-05-10 12:00')), 'redeemed', 'the coupon stays');
SELECT is(points('status'), 140::bigint, 'status 140');
SELECT is(loyalty.tier_of(:m, 'club', '2026-05-10 12:00'), NULL, 'silver is gone');
SELECT is(points(), 361::bigint, 'the gift is kept: points 361');

-- 12 May: all of A is returned
SELECT is((SELECT points FROM loyalty.record_return(:m, :a, at => '2026-05-12 12:00')), -241::bigint, 'reversed 241');
SELECT is((SELECT kept_because FROM loyalty.awards(:m) WHERE campaign = 'welcome'), 'redeemed', 'its coupon is used: kept');
SELECT is(points(), 120::bigint, 'points 120: 20 and 100');
SELECT is(points('status'), 20::bigint, 'status 20');

-- What is told of it
SELECT results_eq(format('SELECT DISTINCT campaign FROM loyalty.explain_award(%s, %s) ORDER BY 1', :m, :a), $$VALUES ('base'), ('weekend'), ('welcome')$$, 'of A three campaigns were looked at');
SELECT results_eq(format('SELECT DISTINCT campaign FROM loyalty.explain_award(%s, %s) ORDER BY 1', :m, :b), $$VALUES ('base'), ('silver_gift'), ('weekend'), ('welcome')$$, 'of B four');
SELECT is((SELECT split_part(inputs ->> 'cause', ':', 3) FROM loyalty.explain_award(:m, :b) WHERE campaign = 'silver_gift'), 'silver', 'the gift with its cause');
SELECT is((SELECT value_now FROM loyalty.backtest_summary('{}') WHERE measure = 'points'), 120::numeric, 'the back-test of the same versions');
SELECT is((SELECT value_then FROM loyalty.backtest_summary('{"silver_gift": null}') WHERE measure = 'points'), 20::numeric, 'without silver_gift');
SELECT results_eq($$SELECT kind || coalesce(' ' || (payload ->> 'currency'), '') FROM loyalty.poll_events('reader') ORDER BY event_id$$,
	ARRAY['points_changed points', 'points_changed status', 'coupon_issued', 'activity_recorded',
		'coupon_redeemed', 'points_changed points', 'points_changed status', 'tier_changed', 'points_changed points', 'activity_recorded',
		'points_changed points', 'points_changed status', 'tier_changed', 'activity_returned',
		'points_changed points', 'points_changed status', 'activity_returned'], 'events by their numbers; the activity says what it earned, so it comes last');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all is well');
SELECT * FROM finish();
