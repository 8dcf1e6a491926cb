-- A shop of tea and what goes with it, in the fourteen months up to now: what
-- the page of make dashboard shows where there is no programme of one's own.
-- Every number is a hash of what it is for, so one day's page is always the same.
--
--	psql -v members=1200 -f dashboard/demo.sql		in an empty database
\if :{?members} \else \set members 1200 \endif
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, loyalty;
SELECT setup() \g /dev/null
SELECT configure_program(time_zone => 'Europe/London') \g /dev/null
SELECT (date_trunc('day', now() AT TIME ZONE 'Europe/London') AT TIME ZONE 'Europe/London')::text AS today \gset

-- uniform in (0, 1), one stream for each purpose
CREATE FUNCTION u(purpose text, n bigint) RETURNS double precision LANGUAGE sql IMMUTABLE
RETURN ((hashint8extended(n, hashtext(purpose)) & 9007199254740991) + 0.5) / 9007199254740992;

-- ---- the programme: points that live for a year, three levels, campaigns, rewards
SELECT create_currency('leaves', 'Leaves', expiry_policy => 'rolling', expiry_interval => '12 months', expiry_rounding => 'month', clawback_policy => 'allow_debt') \g /dev/null
SELECT set_point_value('leaves', 0.01, cost => 0.006) \g /dev/null
SELECT define_measure('leaves', 'points', 'leaves') \g /dev/null
SELECT define_ladder('club', '{"measures": [{"measure": "leaves", "window": "rolling", "interval": "6 months"}], "validity": "interval", "validity_interval": "3 months", "at_end": "soft_landing",
	"levels": [{"level": "silver", "name": "Silver", "any": {"leaves": 300}}, {"level": "gold", "name": "Gold", "any": {"leaves": 700}}, {"level": "platinum", "name": "Platinum", "any": {"leaves": 1500}}]}',
	:'today'::timestamptz - interval '2 years') \g /dev/null
SELECT define_purpose('news', '{"*": "always"}') \g /dev/null
SELECT define_product(c || n, category => c, brand => 'house')
FROM unnest('{green_tea,black_tea,teapots,cups,biscuits,honey}'::text[]) c, generate_series(1, 3) n \g /dev/null
SELECT define_trial('tea_weeks', '{"shares": [0.5, 0.5]}', :'today'::timestamptz - interval '120 days', :'today'::timestamptz - interval '60 days') \g /dev/null
SELECT define_campaign('base', '{"on": ["order"], "then": [{"points": {"give": 1, "per": 1}, "currency": "leaves"}]}', '2020-01-01'),
	define_campaign('check_in', '{"on": ["check_in"], "then": [{"points": 5, "currency": "leaves"}], "limits": {"total": {"points": 30000, "currency": "leaves"}}}', '2020-01-01'),
	define_campaign('review', '{"on": ["review"], "then": [{"points": 20, "currency": "leaves"}], "limits": {"total": {"points": 20000, "currency": "leaves"}}}', '2020-01-01'),
	define_campaign('tea_weeks', '{"on": ["order"], "treat": {"trial": "tea_weeks"}, "then": [{"points": {"give": 2, "per": 1}, "currency": "leaves"}], "limits": {"total": {"points": 40000, "currency": "leaves"}}}',
		:'today'::timestamptz - interval '120 days') \g /dev/null
SELECT end_campaign('tea_weeks', :'today'::timestamptz - interval '60 days') \g /dev/null
SELECT define_benefit('welcome_5', '{"kind": "coupon", "discount": {"amount": 5}, "minimum": 20, "codes": "generic"}', NULL, '5 off the next order'),
	define_benefit('tea_20', '{"kind": "coupon", "discount": {"percent": 20}, "valid": "30 days", "total": 1000}', NULL, '20 % off tea'),
	define_benefit('winback_10', '{"kind": "coupon", "discount": {"amount": 10}, "valid": "60 days"}', NULL, '10 off for coming back') \g /dev/null
SELECT define_benefit('mug', '{"kind": "reward", "points": 250, "currency": "leaves", "stock": 120, "goods": {"item": "mug"}}', NULL, 'Mug'),
	define_benefit('tasting', '{"kind": "reward", "points": 400, "currency": "leaves", "stock": 40, "goods": {"item": "tasting"}}', NULL, 'Tea tasting') \g /dev/null
SELECT define_board('tea_lovers', '{"kind": "order", "measure": "amount", "period": "month"}') \g /dev/null

-- ---- members, and when they buy: the more loyal, the oftener; most of it early
INSERT INTO loyalty.member (member_id, joined_at, joined_via)
SELECT m, :'today'::timestamptz - interval '1 day' * (3 + 417 * u('joined', m)), (ARRAY['app', 'app', 'store', 'web', 'referral'])[1 + floor(5 * u('via', m))::integer]
FROM generate_series(1, :members) m;
CREATE TABLE visit AS
SELECT m.member_id, m.member_id * 1000 + k AS key, m.joined_at + interval '10 minutes'
		+ CASE WHEN k = 1 THEN interval '0' ELSE (:'today'::timestamptz - m.joined_at) * power(u('when', m.member_id * 1000 + k), 1.6) END AS at,
	(ARRAY['app', 'app', 'store', 'web'])[1 + floor(4 * u('channel', m.member_id * 1000 + k))::integer] AS channel
FROM loyalty.member m, generate_series(1, least(40, ceil(1.5 * power(u('loyal', m.member_id), -0.6)))::integer) k;
-- what the trial brings: those who are treated buy once more, more often than the others
INSERT INTO visit
SELECT t.member_id, t.member_id * 1000 + 900, :'today'::timestamptz - interval '1 day' * (62 + 55 * u('trial day', t.member_id)), 'app'
FROM trial_members('tea_weeks') t JOIN loyalty.member m ON m.member_id = t.member_id
WHERE m.joined_at < :'today'::timestamptz - interval '121 days' AND u('persuaded', t.member_id) < CASE t.arm WHEN 1 THEN 0.40 ELSE 0.05 END;

CREATE TABLE line AS
SELECT v.key, n, (ARRAY['green_tea', 'black_tea', 'teapots', 'cups', 'biscuits', 'honey'])[CASE
		-- who buys tea likes honey and biscuits with it, who buys a teapot wants cups
		WHEN n = 2 AND f.first IN (1, 2) AND u('with', v.key) < 0.5 THEN 6 - (u('which', v.key) < 0.4)::integer
		WHEN n = 2 AND f.first = 3 AND u('with', v.key) < 0.7 THEN 4
		WHEN n = 1 THEN f.first ELSE 1 + floor(6 * u('other', v.key * 10 + n))::integer END] AS category,
	round((4 + 30 * power(u('price', v.key * 10 + n), 2))::numeric, 2) AS amount
FROM visit v, LATERAL (SELECT 1 + floor(6 * power(u('first', v.key), 1.5))::integer AS first) f, generate_series(1, 1 + floor(3 * u('lines', v.key))::integer) n;

-- ---- what they do, in the order in which it happens
CREATE TABLE deed AS
SELECT v.member_id, 'order'::text AS kind, v.at, v.channel, (SELECT sum(l.amount) FROM line l WHERE l.key = v.key) AS amount,
	(SELECT jsonb_agg(jsonb_build_object('sku', l.category || 1 + l.n % 3, 'category', l.category, 'amount', l.amount) ORDER BY l.n) FROM line l WHERE l.key = v.key) AS lines, NULL::jsonb AS document, v.key
FROM visit v
UNION ALL
SELECT v.member_id, 'check_in', date_trunc('day', v.at) + interval '1 day' * d + interval '9 hours', 'app', NULL, NULL, NULL, v.key * 10 + d
FROM visit v, generate_series(1, 4) d WHERE u('check in', v.key * 10 + d) < 0.25
UNION ALL
SELECT v.member_id, 'review', v.at + interval '6 days', 'web', NULL, NULL, NULL, v.key FROM visit v WHERE u('review', v.key) < 0.12
UNION ALL
SELECT v.member_id, 'survey', v.at + interval '3 days', 'e_mail', NULL, NULL, jsonb_build_object('survey', 'nps', 'score', 10 - floor(8 * power(u('score', v.key), 2.2))), v.key FROM visit v WHERE u('survey', v.key) < 0.2
UNION ALL
SELECT m.member_id, 'contact', :'today'::timestamptz - interval '1 day' * (7 * w + 1) + interval '8 hours', 'e_mail', NULL, NULL, '{"purpose": "news"}', m.member_id * 100 + w
FROM loyalty.member m, generate_series(0, 12) w WHERE m.joined_at < :'today'::timestamptz - interval '1 day' * (7 * w + 2) AND u('contact', m.member_id * 100 + w) < 0.45;
DELETE FROM deed WHERE at >= :'today'::timestamptz;
SELECT count(record_activity(d.member_id, d.kind, d.at, d.amount, d.lines, d.channel, d.document, d.kind || d.key, CASE WHEN d.amount IS NOT NULL THEN 'GBP' END))
FROM (SELECT * FROM deed ORDER BY at, member_id, kind, key) d \g /dev/null

-- some points are redeemed; one order in thirty comes back; coupons are issued, and used
SELECT count(r.entry_id) FROM (
	SELECT m.member_id, m.at, b.available FROM (SELECT x.member_id, :'today'::timestamptz - interval '1 day' * (5 + 300 * u('redeem day', x.member_id)) AS at FROM loyalty.member x) m
	CROSS JOIN LATERAL balance(m.member_id, 'leaves', m.at) b WHERE b.available >= 100 AND u('for a mug', m.member_id) >= 0.7 ORDER BY m.at, m.member_id) x,
	LATERAL redeem(x.member_id, x.available / 100 * 100, 'leaves', x.at) r \g /dev/null
SELECT count(o.order_id) FROM (
	SELECT m.member_id, m.at FROM (SELECT x.member_id, :'today'::timestamptz - interval '1 day' * (2 + 40 * u('mug day', x.member_id)) AS at FROM loyalty.member x) m
	CROSS JOIN LATERAL balance(m.member_id, 'leaves', m.at) b WHERE b.available >= 250 AND u('for a mug', m.member_id) < 0.7 ORDER BY u('mug', m.member_id) LIMIT 110) m,
	LATERAL order_reward(m.member_id, 'mug', at => m.at) o \g /dev/null
SELECT count(record_return(a.member_id, a.activity_id, at => a.at + interval '4 days'))
FROM (SELECT a.* FROM loyalty.activity a WHERE a.kind = 'order' AND a.at < :'today'::timestamptz - interval '5 days' AND u('back', a.activity_id) < 0.033 ORDER BY a.at, a.activity_id) a \g /dev/null
CREATE TABLE given AS
SELECT v.member_id, i.coupon_id, i.code, v.at, v.n FROM (
	SELECT m.member_id, 1 AS n, 'tea_20' AS benefit, :'today'::timestamptz - interval '1 day' * (5 + 60 * u('tea day', m.member_id)) AS at FROM loyalty.member m WHERE u('tea_20', m.member_id) < 0.4
	UNION ALL SELECT m.member_id, 2, 'winback_10', :'today'::timestamptz - interval '1 day' * (3 + 70 * u('back day', m.member_id)) FROM loyalty.member m WHERE u('winback', m.member_id) < 0.25) v,
	LATERAL issue_coupon(v.member_id, v.benefit, v.at) i WHERE v.at > (SELECT j.joined_at FROM loyalty.member j WHERE j.member_id = v.member_id) ORDER BY v.at, v.member_id;
SELECT count(record_activity(g.member_id, 'order', g.at + interval '1 day' * (1 + 2 * u('used day', g.coupon_id)), 30, channel => 'web', codes => ARRAY[g.code], money => 'GBP'))
FROM given g WHERE u('used', g.coupon_id) < CASE g.n WHEN 1 THEN 0.35 ELSE 0.15 END AND g.code IS NOT NULL \g /dev/null

-- ---- what channels cost, who was told of the trial, sets, levels, goals
SELECT expose(t.member_id, 'tea_weeks', 'e_mail', greatest(t.since, :'today'::timestamptz - interval '118 days') + interval '1 hour') FROM trial_members('tea_weeks') t
WHERE t.arm = 1 AND t.since < :'today'::timestamptz - interval '61 days' \g /dev/null
SELECT set_channel_cost('e_mail', :'today'::timestamptz - interval '120 days', :'today'::timestamptz - interval '60 days', 150),
	set_channel_cost('app', :'today'::timestamptz - interval '90 days', :'today'::timestamptz, 480), set_channel_cost('web', :'today'::timestamptz - interval '90 days', :'today'::timestamptz, 420),
	set_channel_cost('store', :'today'::timestamptz - interval '90 days', :'today'::timestamptz, 300), set_channel_cost('referral', :'today'::timestamptz - interval '90 days', :'today'::timestamptz, 90) \g /dev/null
SELECT define_audience('app_buyers', '{"count": {"kind": "order", "channel": ["app"], "within": "90 days", ">=": 1}}', name => 'Bought in the app, 90 days'),
	define_audience('sleeping', '{"count": {"kind": "order", ">=": 1}} - {"count": {"kind": "order", "within": "120 days", ">=": 1}}', name => 'Asleep for 120 days'),
	define_audience('big_spenders', '{"spent": {"kind": "order", "within": "180 days", ">=": 150}}', name => 'Spent 150 in 180 days'),
	define_audience('gold', '{"tier": {"club": ["gold", "platinum"]}}', name => 'Gold and platinum') \g /dev/null
CALL refresh_audience('app_buyers');
CALL refresh_audience('sleeping');
CALL refresh_audience('big_spenders');
CALL refresh_audience('gold');
SELECT estimate_redemption('leaves') \g /dev/null
SELECT define_goal('limits', '{"view": "global_limit", "column": "used_share", "of": "max", "each": "name"}', '{0.8,1}', name => 'Budgets and stock') \g /dev/null
CALL evaluate_goals();
CALL refresh_summaries();
ANALYZE;
SELECT format('%s members, %s activities, %s points outstanding', (SELECT count(*) FROM loyalty.member), (SELECT count(*) FROM loyalty.activity), (SELECT points FROM liability('leaves')));
