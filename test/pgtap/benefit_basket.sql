-- A basket before it is paid: preview_basket() says what lines, coupons, points and
-- campaigns come to, and what is recorded then comes to the same.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.preview_basket(1)$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.configure_program(time_zone => 'Europe/Berlin') \g /dev/null

-- Arguments of preview_basket() are written as in a call.  What is due for each line and in all:
CREATE FUNCTION due(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT string_agg(p.due::text, '' '') FROM loyalty.preview_basket(%s) p WHERE p.what IN (''line'', ''rest'', ''total'')', arguments) INTO said;
	RETURN said;
END$$;
-- What each code takes off, or with what it is refused:
CREATE FUNCTION codes(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT string_agg(coalesce(p.refusal, p.discount::text), '' '') FROM loyalty.preview_basket(%s) p WHERE p.what = ''coupon''', arguments) INTO said;
	RETURN said;
END$$;
-- What campaigns add: points, or the item where one is given.
CREATE FUNCTION earns(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT string_agg(concat_ws('' '', p.campaign, p.currency, CASE WHEN p.points > 0 THEN p.item END, p.points, p.limited_by), '', '' ORDER BY p.campaign, p.effect) FROM loyalty.preview_basket(%s) p WHERE p.what = ''award'' AND p.why IS NULL', arguments) INTO said;
	RETURN said;
END$$;
CREATE FUNCTION points(arguments text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE format('SELECT concat_ws('' '', p.points, p.benefit, p.discount, p.limited_by, p.refusal) FROM loyalty.preview_basket(%s) p WHERE p.what = ''points''', arguments) INTO said;
	RETURN said;
END$$;
CREATE FUNCTION coupon(member_id bigint, benefit text, at timestamptz DEFAULT '2026-01-01') RETURNS text LANGUAGE sql AS
'SELECT i.code FROM loyalty.issue_coupon($1, $2, $3) i';

-- ---------------------------------------------------------------------------
-- What coupons take off
-- ---------------------------------------------------------------------------
SELECT loyalty.define_measure('visits'), loyalty.define_ladder('club', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"visits": 10}}]}') \g /dev/null
SELECT loyalty.define_benefit(d.benefit, '{"kind": "coupon"}' || d.definition) FROM (VALUES
	('first_20', '{"discount": {"amount": 20}, "class": "lines", "lines": {"sku": ["A"]}, "exclusive": null}'::jsonb),
	('ten', '{"discount": {"percent": 10}, "exclusive": null}'),
	('fifteen', '{"discount": {"percent": 15}, "exclusive": null}'),
	('less_20', '{"discount": {"amount": 20}, "minimum": 100, "exclusive": null}'),
	('less_20_after', '{"discount": {"amount": 20}, "minimum": 100, "minimum_after": true, "exclusive": null}'),
	('line_15', '{"discount": {"amount": 15}, "class": "lines", "lines": {"sku": ["A"]}, "exclusive": null}'),
	('capped', '{"discount": {"percent": 20, "at_most": 30}}'),
	('second_half', '{"discount": {"percent": 50, "every": 2, "pick": "cheapest"}, "class": "lines"}'),
	('shipping', '{"discount": {"amount": 3}, "class": "shipping", "exclusive": null}'),
	('five', '{"discount": {"amount": 5}}'), ('six', '{"discount": {"amount": 6}}'),
	('tea_5_off', '{"discount": {"amount": 5}, "lines": {"category": ["tea"]}, "minimum": 20, "valid": "30 days"}'),
	('june', '{"discount": {"amount": 5}, "between": ["2026-06-01", "2026-07-01"], "codes": "generic"}'),
	('tomorrow', '{"discount": {"amount": 5}, "valid_after": "1 day", "codes": "generic"}'),
	('one_each', '{"discount": {"amount": 5}, "codes": "generic", "member": 1, "exclusive": null}'),
	('one_from_50', '{"discount": {"amount": 5}, "codes": "generic", "member": 1, "minimum": 50}'),
	('last_one', '{"discount": {"amount": 5}, "codes": "generic", "total": 1, "exclusive": null}'),
	('gold_only', '{"discount": {"amount": 5}, "available": {"tier": {"club": ["gold"]}}}'),
	('yen', '{"discount": {"amount": 500}, "money": "JPY"}')) d (benefit, definition) \g /dev/null
SELECT loyalty.add_codes(d.benefit, d.codes) FROM (VALUES ('june', '{JUNE}'::text[]), ('tomorrow', '{TOMORROW}'), ('one_each', '{EACH1,EACH2}'), ('last_one', '{LAST}'), ('one_from_50', '{FIFTY1,FIFTY2}')) d (benefit, codes) \g /dev/null

-- as of 2026-05-02: codes by benefits of member 1, what they take off, what is due for lines, beyond them and in all
SELECT is(codes(c.call) || ' | ' || due(c.call), v.expected, v.says)
FROM (VALUES
	('[{"sku": "A", "amount": 100}, {"amount": 50}, {"amount": 200}]', NULL, '{first_20,ten}'::text[], '20.00 33.00 | 72.00 45.00 180.00 297.00', '20.00 off the first, 10 % off the order'),
	('[{"amount": 350}]', NULL, '{ten,fifteen}', '35.00 52.50 | 262.50 262.50', 'two of the order count from the same price'),
	('[{"amount": 350}]', NULL, '{fifteen,ten}', '52.50 35.00 | 262.50 262.50', 'in either order'),
	('[{"sku": "A", "amount": 110}]', NULL, '{less_20,line_15}', '20.00 15.00 | 75.00 75.00', 'the minimum is met before coupons'),
	('[{"sku": "A", "amount": 110}]', NULL, '{less_20_after,line_15}', 'LY610 15.00 | 95.00 95.00', 'or after them, and is not'),
	('[{"amount": 120}, {"amount": 80}]', NULL, '{capped}', '30.00 | 102.00 68.00 170.00', 'a cap, spread'),
	('[{"amount": 30}, {"amount": 20}, {"amount": 10}]', NULL, '{second_half}', '5.00 | 30.00 20.00 5.00 55.00', 'the second at half price'),
	('[{"amount": 30}]', 34.90, '{shipping}', '3.00 | 30.00 1.90 31.90', 'shipping is what the amount has beyond the lines'),
	('[{"amount": 30}]', NULL, '{shipping}', 'LY609 | 30.00 30.00', 'without any it takes nothing off'),
	('[{"amount": 30}]', 25.00, '{ten}', '3.00 | 27.00 -5.00 22.00', 'an amount below the lines stays below them'),
	('[{"amount": 40}]', NULL, '{five,six}', 'LY611 6.00 | 34.00 34.00', 'of two that shut each other out the best'),
	(NULL, 40.00, '{six}', '6.00 | 34.00', 'an amount without lines'),
	('[{"category": "tea", "amount": 25}, {"category": "wine", "amount": 375}]', NULL, '{tea_5_off}', '5.00 | 20.00 375.00 395.00', 'tea'),
	('[{"category": "tea", "amount": 19.99}, {"category": "wine", "amount": 375}]', NULL, '{tea_5_off}', 'LY610 | 19.99 375.00 394.99', 'too little of it'),
	('[{"category": "wine", "amount": 375}]', NULL, '{tea_5_off}', 'LY609 | 375.00 375.00', 'none of it')) v (lines, amount, benefits, expected, says),
	LATERAL (SELECT array_agg(coupon(1, b, '2026-05-01') ORDER BY o) AS codes FROM unnest(v.benefits) WITH ORDINALITY u (b, o)) k,
	LATERAL (SELECT format('1, at => ''2026-05-02 10:00+02'', amount => %L, lines => %L, codes => %L', v.amount, v.lines, k.codes) AS call OFFSET 0) c;

-- where the best of a group comes to nothing beside the others, the next one has its turn
SELECT loyalty.define_benefit('first_free', '{"kind": "coupon", "discount": {"percent": 100}, "class": "lines", "lines": {"sku": ["A"]}, "exclusive": null, "priority": 1}') \g /dev/null
SELECT loyalty.define_benefit('a_10', '{"kind": "coupon", "discount": {"amount": 10}, "class": "lines", "lines": {"sku": ["A"]}}') \g /dev/null
SELECT is(codes(format($$1, at => '2026-05-02', lines => '[{"sku": "A", "amount": 20}, {"amount": 50}]', codes => %L$$, ARRAY[coupon(1, 'first_free'), coupon(1, 'a_10'), coupon(1, 'five')])),
	'20.00 LY611 5.00', 'chosen again, and shuts the best out');

-- what came to nothing beside one that comes to nothing in turn has its turn, too: rest takes all before order_100 and rest_5
-- can; a_30 then has the turn of order_100, and leaves rest too little, and something for rest_5
SELECT loyalty.define_benefit(d.benefit, '{"kind": "coupon", "lines": {"sku": ["A"]}}' || d.definition) FROM (VALUES
	('a_30', '{"discount": {"amount": 30}, "class": "lines"}'::jsonb),
	('order_100', '{"discount": {"percent": 100}, "priority": 200}'),
	('rest', '{"discount": {"amount": 60}, "minimum": 40, "minimum_after": true, "exclusive": null, "priority": 1}'),
	('rest_5', '{"discount": {"amount": 5}, "exclusive": null, "priority": 200}')) d (benefit, definition) \g /dev/null
SELECT array_agg(coupon(1, b)) AS four FROM unnest('{rest_5,rest,order_100,a_30}'::text[]) b \gset
SELECT is(codes(format($$1, at => '2026-05-02', lines => '[{"sku": "A", "amount": 60}]', codes => %L$$, :'four')),
	'5.00 LY610 LY611 30.00', 'so it applies');
SELECT throws_ok(format($$SELECT loyalty.record_activity(1, 'order', '2026-05-02', lines => '[{"sku": "A", "amount": 60}]', codes => %L)$$, (:'four'::text[])[1:2] || (:'four'::text[])[4]),
	'LY610', NULL, 'as it is recorded: too little is left for the one');
SELECT throws_ok(format($$SELECT loyalty.record_activity(1, 'order', '2026-05-02', lines => '[{"sku": "A", "amount": 60}]', codes => %L)$$, (:'four'::text[])[1:1] || (:'four'::text[])[3:4]),
	'LY611', NULL, 'and the other is shut out');
SELECT results_eq(format($$SELECT discount FROM loyalty.record_activity(1, 'order', '2026-05-02', lines => '[{"sku": "A", "amount": 60}]', codes => %L)$$, (:'four'::text[])[1:1] || (:'four'::text[])[4:4]),
	'VALUES (35.00)', 'and two are redeemed');

-- ---------------------------------------------------------------------------
-- Why a code does not apply: as record_activity() refuses it
-- ---------------------------------------------------------------------------
CREATE TABLE shown (says text, code text, expected text, basket text, money text);
INSERT INTO shown VALUES ('unknown', 'nix', 'LY603'), ('not valid yet', 'june', 'LY604'), ('valid from tomorrow on', 'tomorrow', 'LY604');
INSERT INTO shown SELECT 'mistyped', overlay(c PLACING CASE right(c, 1) WHEN 'A' THEN 'B' ELSE 'A' END FROM length(c)), 'LY603' FROM coupon(1, 'five') c;
INSERT INTO shown SELECT 'somebody else''s', coupon(2, 'five'), 'LY603';
INSERT INTO shown SELECT 'expired', coupon(1, 'tea_5_off', '2026-01-01'), 'LY605';
INSERT INTO shown SELECT 'of gold', coupon(1, 'gold_only'), 'LY609';
INSERT INTO shown SELECT 'of other money', coupon(1, 'yen'), 'LY609', NULL, 'EUR';
SELECT coupon(1, 'five') AS held \gset
SELECT loyalty.reserve_coupons(1, 'b 1', ARRAY[:'held'], '2026-05-03', '2026-05-01') \g /dev/null
INSERT INTO shown VALUES ('reserved', :'held', 'LY606', NULL), ('by this basket', :'held', '5.00', 'b 1');
SELECT coupon(1, 'five') AS used \gset
SELECT loyalty.record_activity(1, 'order', '2026-05-01', 40, codes => ARRAY[:'used']) \g /dev/null
INSERT INTO shown VALUES ('used', :'used', 'LY607');
SELECT coupon(1, 'five') AS revoked \gset
SELECT loyalty.revoke_coupon(1, c.coupon_id) FROM loyalty.coupon c WHERE c.code = :'revoked' \g /dev/null
INSERT INTO shown VALUES ('revoked', :'revoked', 'LY608');
SELECT loyalty.record_activity(1, 'order', '2026-05-01', 40, codes => '{EACH1}'), loyalty.record_activity(2, 'order', '2026-05-01', 40, codes => '{LAST}') \g /dev/null
INSERT INTO shown VALUES ('one each', 'EACH2', 'LY616'), ('all given out', 'LAST', 'LY617');
SELECT code AS bearer FROM loyalty.generate_codes('six', 1) code \gset
INSERT INTO shown VALUES ('a printed code', lower(replace(:'bearer', '-', ' ')), '6.00');

CREATE FUNCTION recorded(code text, basket text, money text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	SELECT r.discount::text INTO said FROM loyalty.record_activity(1, 'order', '2026-05-02', 40, codes => ARRAY[code], basket => basket, money => money) r;
	RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = said;
EXCEPTION
	WHEN SQLSTATE 'ZZ999' THEN RETURN SQLERRM;
	WHEN OTHERS THEN RETURN SQLSTATE || ' ' || SQLERRM;
END$$;
SELECT is(p.refusal || ' ' || p.why, CASE WHEN p.refusal IS NULL THEN NULL ELSE recorded(s.code, s.basket, s.money) END, s.says || ': in the same words')
FROM shown s, LATERAL loyalty.preview_basket(1, 'order', '2026-05-02', 40, codes => ARRAY[s.code], basket => s.basket, money => s.money) p WHERE p.what = 'coupon';
SELECT is(coalesce(p.refusal, p.discount::text), s.expected, s.says) FROM shown s,
	LATERAL loyalty.preview_basket(1, 'order', '2026-05-02', 40, codes => ARRAY[s.code], basket => s.basket, money => s.money) p WHERE p.what = 'coupon';
SELECT is(left(recorded(s.code, s.basket, s.money), 5), left(s.expected, 5), s.says || ', recorded') FROM shown s;
SELECT is(codes($$3, 'order', '2026-05-02', 40, codes => '{EACH1,EACH2,each-1,LAST}'$$), '5.00 LY616 LY003 LY617', 'codes of one benefit share its limit; one is given twice');
SELECT is(codes($$3, 'order', '2026-05-02', 40, codes => '{FIFTY1,FIFTY2}'$$), 'LY610 LY610', 'unless none of them applies');
SELECT is(codes($$3, 'order', '2026-05-02', 50, codes => '{FIFTY1,FIFTY2}'$$), '5.00 LY616', 'as here');
SELECT is(codes($$3, 'order', '2026-06-02', 40, codes => '{JUNE}'$$), '5.00', 'in June');
SELECT is(codes($$3, 'order', '2026-07-01', 40, codes => '{JUNE}'$$), 'LY605', 'and no longer');
SELECT throws_ok($$SELECT loyalty.record_activity(3, 'order', '2026-07-01', 40, codes => '{JUNE}')$$, 'LY605', NULL, 'nor is it redeemed then, issued on the spot');
SELECT throws_ok($$SELECT loyalty.record_activity(3, 'order', '2026-05-31 21:59:59Z', 40, codes => '{JUNE}')$$, 'LY604', NULL, 'or before');
SELECT throws_ok($$SELECT loyalty.reserve_coupons(3, 'b', '{JUNE}', '2026-06-02', '2026-05-30')$$, 'LY604', NULL, 'or reserved');
SELECT lives_ok($$SELECT loyalty.record_activity(3, 'order', '2026-05-31 22:00:00Z', 40, codes => '{JUNE}')$$, 'half-open, by the clock of the program');

-- ---------------------------------------------------------------------------
-- Points
-- ---------------------------------------------------------------------------
SELECT loyalty.define_benefit('mall', '{"kind": "payment", "points": 100, "worth": 1, "step": 100, "least": 500, "money": "EUR"}') \g /dev/null
SELECT loyalty.earn(10, 1250, effective_at => '2026-01-01'), loyalty.earn(11, 499, effective_at => '2026-01-01'), loyalty.earn(12, 9000, effective_at => '2026-01-01'),
	loyalty.earn(13, 600, effective_at => '2026-01-01', expires_at => '2026-05-02') \g /dev/null
SELECT is(points(format($$%s, at => '2026-05-02', amount => 40, use_points => %s%s$$, v.member_id, v.points, v.more)), v.expected, v.says)
FROM (VALUES
	(10, 1250, '', '1200 mall 12.00 payment', 'whole steps'),
	(10, 1200, '', '1200 mall 12.00', 'as many as it has'),
	(10, 1300, '', '1200 mall 12.00 balance LY101', 'more than that'),
	(11, 499, '', '0 mall 0.00 payment', 'fewer than the least are none'),
	(12, 9000, '', '4000 mall 40.00 payment', 'no more than the order'),
	(12, 9000, $$, codes => '{LAST2}'$$, '4000 mall 40.00 payment', 'a code that nobody knows takes nothing off'),
	(13, 600, '', '0 mall 0.00 balance LY101', 'those that have expired are not there'),
	(12, 1000, $$, money => 'USD'$$, '1000', 'by no payment: what they are worth is the caller''s affair'),
	(12, 1000, $$, payment => 'mall'$$, '1000 mall 10.00', 'a payment by its name')) v (member_id, points, more, expected, says);
SELECT is(points($$12, at => '2026-05-02', amount => 40, use_points => 0$$), NULL, 'none');
SELECT throws_ok($$SELECT loyalty.preview_basket(12, use_points => -1)$$, 'LY003', NULL, 'fewer than none');
SELECT throws_ok($$SELECT loyalty.preview_basket(12, use_points => 1, use_currency => 'nuts')$$, 'LY102', NULL, 'no such currency');
SELECT throws_ok($$SELECT loyalty.preview_basket(12, use_points => 1, payment => 'nuts')$$, 'LY601', NULL, 'no such payment');
SELECT is(due(format($$10, at => '2026-05-02', lines => '[{"amount": 40}]', codes => %L, use_points => 1200$$, ARRAY[coupon(10, 'five')])), '35.00 23.00', 'what is left is money');
SELECT throws_ok($$SELECT loyalty.redeem(10, 1300, effective_at => '2026-05-02')$$, 'LY101',
	(SELECT p.why FROM loyalty.preview_basket(10, at => '2026-05-02', use_points => 1300) p WHERE p.what = 'points'), 'redeem() refuses in the same words');
-- a later redemption has taken them, which a balance as of then does not know
SELECT loyalty.redeem(13, 600, effective_at => '2026-04-01') \g /dev/null
SELECT is((loyalty.balance(13, as_of => '2026-03-01')).available, 600::bigint, 'as of March they were there');
SELECT is(points($$13, at => '2026-03-01', amount => 40, use_points => 600$$), '0 mall 0.00 balance LY101', 'and are spent by now');
SELECT throws_ok($$SELECT loyalty.redeem(13, 600, effective_at => '2026-03-01')$$, 'LY101', NULL, 'so says redeem()');

-- ---------------------------------------------------------------------------
-- What it earns
-- ---------------------------------------------------------------------------
SELECT loyalty.create_currency('status') \g /dev/null
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}, {"points": {"give": 1, "per": 1}, "currency": "status"}]}', '2026-01-01'),
	loyalty.define_campaign('weekend', '{"lane": "bonus", "when": {"weekday": [6, 7]}, "then": [{"multiply": 2, "lane": "base"}]}', '2026-01-01'),
	loyalty.define_campaign('welcome', '{"when": {"all": [{"amount": {">=": 50}}, {"count": {"kind": "order", "within": "lifetime", "=": 0}}]}, "then": [{"coupon": "one_each"}]}', '2026-01-01'),
	loyalty.define_campaign('capped', '{"when": {"channel": ["app"]}, "then": [{"points": 100}], "limits": {"member": {"points": 150, "within": "day"}}}', '2026-01-01') \g /dev/null
SELECT is(earns(v.arguments), v.expected, v.says) FROM (VALUES
	($$20, at => '2026-05-02 10:00+02', time_zone => 'Europe/Berlin', lines => '[{"category": "tea", "amount": 40.50}, {"category": "book", "amount": 80.00}]'$$,
		'base points 120, base status 120, weekend points 121, welcome one_each 1', 'the walk: base, weekend, welcome'),
	($$20, at => '2026-05-04', amount => 400, codes => '{EACH1}'$$, 'base points 395, base status 395, welcome 0 coupon_member',
		'coupons come off first, and the one that the code would issue is the only one'),
	($$20, at => '2026-05-04', amount => 49.99$$, 'base points 49, base status 49', 'too little for a welcome'),
	($$20, at => '2026-05-04', amount => 400, channel => 'app'$$, 'base points 400, base status 400, capped points 100, welcome one_each 1', 'in the app'),
	($$20, at => '2026-05-04', amount => 400, use_points => 100$$, 'base points 400, base status 400, welcome one_each 1', 'points that pay take nothing off what counts'),
	($$20, at => '2026-05-04', lines => '[{"amount": 400}]', amount => 388$$, 'base points 388, base status 388, welcome one_each 1', 'unless the amount says so'),
	($$20, at => '2026-05-04', amount => 10, definitions => '{"base": {"then": [{"points": 7}]}}'$$, 'base points 7', 'by a draft'),
	($$20, 'check_in'$$, NULL, 'of a kind that none is for'),
	($$NULL, at => '2026-05-04', amount => 60, codes => '{EACH1}'$$, 'base points 55, base status 55, welcome 0 coupon_member', 'a guest: as somebody of whom nothing is known'),
	($$20, at => now() + (13 - extract(isodow FROM now() AT TIME ZONE 'Europe/Berlin'))::integer * interval '1 day', amount => 10$$, 'base points 10, base status 10, weekend points 10', 'a Saturday to come')) v (arguments, expected, says);
SELECT is(codes($$NULL, at => '2026-05-04', amount => 60, codes => '{EACH1,LAST}'$$), '5.00 LY617', 'a guest may use a generic code');
SELECT is(points($$NULL, at => '2026-05-04', amount => 60, use_points => 5$$), '0 mall 0.00 balance LY101', 'and has no points');
SELECT is((SELECT string_agg(p.why, ', ' ORDER BY p.campaign) FROM loyalty.preview_basket(20, at => '2026-05-04', amount => 10) p WHERE p.what = 'award' AND p.points = 0),
	'does not match: when.channel, does not match: when.weekday, does not match: when.all[0].amount', 'why others give nothing');

-- ---------------------------------------------------------------------------
-- Recorded, it comes to the same
-- ---------------------------------------------------------------------------
SELECT loyalty.earn(30, 1000, effective_at => '2026-01-01') \g /dev/null
SELECT coupon(30, 'tea_5_off', '2026-05-01') AS tea \gset
CREATE TABLE foreseen AS
SELECT * FROM loyalty.preview_basket(30, 'order', '2026-05-02 10:00+02', 129.90, '[{"sku": "T1", "category": "tea", "quantity": 3, "price": 13.50}, {"sku": "B7", "amount": 80}]',
	'app', money => 'EUR', codes => ARRAY[:'tea', 'EACH1'], use_points => 700);
SELECT loyalty.redeem(30, (SELECT f.points FROM foreseen f WHERE f.what = 'points'), effective_at => '2026-05-02 10:00+02') \g /dev/null
SELECT activity_id AS a, discount AS d FROM loyalty.record_activity(30, 'order', '2026-05-02 10:00+02', 129.90, '[{"sku": "T1", "category": "tea", "quantity": 3, "price": 13.50}, {"sku": "B7", "amount": 80}]',
	'app', money => 'EUR', codes => ARRAY[:'tea', 'EACH1']) \gset
SELECT is((SELECT sum(f.discount) FROM foreseen f WHERE f.what = 'coupon'), :d::numeric, 'the discount');
SELECT is((SELECT jsonb_agg(f.details ORDER BY f.line) FROM foreseen f WHERE f.what = 'line'), (SELECT a.lines FROM loyalty.activity a WHERE a.activity_id = :a), 'the lines as stored');
SELECT is((SELECT f.price - (SELECT sum(c.discount) FROM foreseen c WHERE c.what = 'coupon') FROM foreseen f WHERE f.what = 'total'), (SELECT a.amount FROM loyalty.activity a WHERE a.activity_id = :a), 'the amount');
SELECT results_eq($$SELECT f.benefit, f.details FROM foreseen f WHERE f.what = 'coupon' ORDER BY 1$$,
	$$SELECT c.benefit, a.spread FROM loyalty.coupon_act a JOIN loyalty.coupon c USING (member_id, coupon_id) WHERE a.kind = 'redeemed' AND a.member_id = 30 ORDER BY 1$$, 'the spread');
SELECT results_eq($$SELECT f.campaign, f.effect, f.currency, f.item, f.points, f.limited_by FROM foreseen f WHERE f.what = 'award' AND f.why IS NULL ORDER BY 1, 2$$,
	$$SELECT a.campaign, a.effect, a.currency, a.item, a.points, a.limited_by FROM loyalty.awards(30) a ORDER BY 1, 2$$, 'the awards');
SELECT is((SELECT f.due FROM foreseen f WHERE f.what = 'total'), 129.90 - 10 - 7.00, 'and what is paid in money');

-- Of a window each activity counts those before it, and one that comes late is before others: only the first order of a month earns.
SELECT loyalty.define_campaign('first_of_month', '{"window": "month", "when": {"count": {"kind": "order", "within": "month", "=": 0}}, "then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_activity(31, 'order', '2026-05-10', 100), loyalty.record_activity(31, 'order', '2026-04-20', 10) \g /dev/null
-- What one is foretold, and gets:
CREATE FUNCTION foretold(at timestamptz, amount numeric) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	foreseen bigint := (SELECT p.points FROM loyalty.preview_basket(31, 'order', $1, $2) p WHERE p.campaign = 'first_of_month');
	activity bigint := (SELECT r.activity_id FROM loyalty.record_activity(31, 'order', $1, $2) r);
BEGIN
	RETURN format('%s, %s', foreseen, (SELECT coalesce(sum(a.points), 0) FROM loyalty.award a WHERE a.activity_id = activity AND a.campaign = 'first_of_month'));
END$$;
SELECT is(foretold(v.at, v.amount), v.points, v.says) FROM (VALUES
	(timestamptz '2026-05-12', 50, '0, 0', 'the second'), ('2026-05-05', 30, '-70, -70', 'a late one is the first'),
	('2026-05-05', 20, '0, 0', 'at the same instant the one that is there is'), ('2026-06-01', 7, '7, 7', 'of another month')) v (at, amount, points, says);

-- ---------------------------------------------------------------------------
-- It only looks
-- ---------------------------------------------------------------------------
BEGIN READ ONLY;
SELECT is(codes($$40, at => '2026-05-02', amount => 100, codes => '{EACH1,LAST,june,nix}', use_points => 100$$), '5.00 LY617 LY604 LY603', 'in a transaction that reads');
COMMIT;
BEGIN;
SELECT codes($$40, at => '2026-05-02', amount => 100, codes => '{EACH1}', use_points => 100$$) AS said \gset
SELECT pg_current_xact_id_if_assigned() IS NULL AS nothing \gset
SELECT is(:'said'::text, '5.00', 'in one that may write');
SELECT ok(:'nothing', 'it has not');
SELECT loyalty.earn(40, 500, effective_at => '2026-05-01') \g /dev/null
SELECT is(points($$40, at => '2026-05-02', amount => 100, use_points => 500$$), '500 mall 5.00', 'it sees what the transaction has done');
ROLLBACK;
SELECT is_empty($$SELECT FROM loyalty.coupon WHERE member_id = 40$$, 'nobody has a coupon by looking');

-- members who are one
SELECT coupon(50, 'five') AS of_50 \gset
SELECT loyalty.earn(50, 500, effective_at => '2026-01-01') \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(50, 51) ON CONFLICT DO NOTHING;
SELECT loyalty.merge_members(51, 50) \g /dev/null
SELECT is(codes(format($$%s, at => '2026-05-02', amount => 100, codes => %L$$, m, ARRAY[:'of_50'])) || ' ' || points(format($$%s, at => '2026-05-02', amount => 100, use_points => 500$$, m)),
	'5.00 500 mall 5.00', format('through number %s', m)) FROM unnest('{50,51}'::integer[]) m;
INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet ON CONFLICT DO NOTHING;
SELECT loyalty.configure_program(known_members_only => true) \g /dev/null
SELECT throws_ok($$SELECT loyalty.preview_basket(999)$$, 'LY202', NULL, 'a member whom nobody knows');
SELECT lives_ok($$SELECT loyalty.preview_basket(NULL)$$, 'nobody is no such member');
SELECT throws_ok($$SELECT loyalty.preview_basket(50, 'nuts')$$, 'LY501', NULL, 'no such kind');
SELECT throws_ok($$SELECT loyalty.preview_basket(50, money => 'euro')$$, 'LY505', NULL, 'no money');
SELECT throws_ok($$SELECT loyalty.preview_basket(50, at => 'infinity')$$, 'LY505', NULL, 'no instant');
SELECT throws_ok($$SELECT loyalty.preview_basket(50, lines => '{}')$$, 'LY505', NULL, 'no lines');
SELECT throws_ok($$SELECT loyalty.preview_basket(50, definitions => '{"x": {}}')$$, 'LY521', NULL, 'no definition');

-- ---------------------------------------------------------------------------
-- Member prices
-- ---------------------------------------------------------------------------
SELECT loyalty.define_benefit('tea_price', '{"kind": "price", "lines": {"sku": ["T1"]}, "price": 8, "available": {"attribute": {"club": ["yes"]}}}'),
	loyalty.define_benefit('presale', '{"kind": "access", "lines": {"sku": ["T9"]}, "available": {"attribute": {"club": ["yes"]}}}') \g /dev/null
INSERT INTO loyalty.member (member_id, attributes) VALUES (60, '{"club": "yes"}'), (61, '{}');
SELECT is(loyalty.price_lines(m.member_id, v.lines), CASE m.member_id WHEN 60 THEN v.ours ELSE v.others END, format('%s, of %s', v.says, m.member_id)) FROM (VALUES (60), (61)) m (member_id), (VALUES
	('[{"sku": "T1", "price": 10.00, "quantity": 3}]'::jsonb, '[{"sku": "T1", "price": 8.00, "quantity": 3, "list_price": 10.00, "member_price": "tea_price"}]'::jsonb, '[{"sku": "T1", "price": 10.00, "quantity": 3}]'::jsonb, 'the price of members'),
	('[{"sku": "T1", "price": 7}]', '[{"sku": "T1", "price": 7}]', '[{"sku": "T1", "price": 7}]', 'what is cheaper stays'),
	('[{"sku": "T1", "amount": 10}]', '[{"sku": "T1", "amount": 10}]', '[{"sku": "T1", "amount": 10}]', 'an amount is none'),
	('[{"sku": "T1", "price": 10, "discount": 1}]', '[{"sku": "T1", "price": 10, "discount": 1}]', '[{"sku": "T1", "price": 10, "discount": 1}]', 'one with a discount keeps its'),
	('[{"price": 10}, {"sku": "T9", "price": 25}]', '[{"price": 10}, {"sku": "T9", "price": 25}]', '[{"price": 10}, {"sku": "T9", "price": 25, "members_only": "presale"}]', 'goods for members only'),
	('[]', '[]', '[]', 'none')) v (lines, ours, others, says);
SELECT is(loyalty.price_lines(60, NULL), NULL, 'no lines');
SELECT results_eq($$SELECT p.price, p.due, p.benefit, p.why FROM loyalty.preview_basket(61, lines => loyalty.price_lines(61, '[{"sku": "T1", "price": 10}, {"sku": "T9", "price": 25}]')) p WHERE p.what = 'line'$$,
	$$VALUES (10.00, 10.00, NULL, NULL), (25.00, 25.00, NULL, 'only for those to whom presale is open')$$, 'in the basket');
SELECT results_eq($$SELECT p.price, p.benefit FROM loyalty.preview_basket(60, lines => loyalty.price_lines(60, '[{"sku": "T1", "price": 10, "quantity": 3}]')) p WHERE p.what = 'line'$$,
	$$VALUES (24.00, 'tea_price')$$, 'of a member');

SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT finish();
