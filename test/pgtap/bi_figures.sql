-- Room bi: views of liability, channels, trials, segments, surveys, contacts, audiences, boards, rewards, benefits, goods and limits, worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null

-- the rows of two queries, as they come
CREATE FUNCTION pg_temp.same(query text, expected text, name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	got text[];
	wanted text[];
BEGIN
	EXECUTE format('SELECT array_agg(r::text) FROM (%s) r', query) INTO got;
	EXECUTE format('SELECT array_agg(r::text) FROM (%s) r', expected) INTO wanted;
	RETURN is(got, wanted, name);
END $$;

-- ---- liability: 1 has 100 until the end of February 2050 and 30 that are gone, 2 has 50 for ever, 20 of which are held, 3 was merged into 2 and
-- had 7 pending, 4 owes 5.  A point is worth .01 and costs .006; half of what there is will be redeemed.
SELECT loyalty.resolve_member(format('{"email": "m%s@bi.example"}', i)::jsonb, channel => CASE WHEN i = 4 THEN 'store' ELSE 'app' END) FROM generate_series(1, 4) i \g /dev/null
SELECT loyalty.create_currency('miles', clawback_policy => 'allow_debt') \g /dev/null
SELECT loyalty.set_point_value('miles', 0.01, cost => 0.006), loyalty.set_redemption_estimate('miles', 0.5) \g /dev/null
SELECT loyalty.earn(1, 100, 'miles', expires_at => '2050-03-01'), loyalty.earn(1, 30, 'miles', '2020-01-01', expires_at => '2020-02-01'),
	loyalty.earn(2, 50, 'miles'), loyalty.hold(2, 20, now() + interval '1 day', 'miles'), loyalty.earn(3, 7, 'miles', available_at => now() + interval '1 day') \g /dev/null
SELECT entry_id AS earned FROM loyalty.earn(4, 5, 'miles') \gset
SELECT loyalty.redeem(4, 5, 'miles'), loyalty.reverse(4, :earned) \g /dev/null
SELECT loyalty.merge_members(2, 3, 'the same') \g /dev/null
SELECT pg_temp.same('SELECT currency, points, available, pending, held, owed FROM loyalty_bi.liability ORDER BY currency',
	$$VALUES ('miles'::text, 157::bigint, 130::bigint, 7::bigint, 20::bigint, 5::bigint), ('points', 0, 0, 0, 0, 0)$$, 'liability by currency');
SELECT is((SELECT sum(available) FROM loyalty_bi.wallet WHERE currency = 'miles'), 130::numeric, 'and what wallets say');
-- .5 of what was issued in the month (157) less what was redeemed: 78.5
SELECT pg_temp.same($$SELECT expected_points, breakage_points, value, cost FROM loyalty_bi.liability WHERE currency = 'miles'$$, 'VALUES (78.50, 78.50, 0.79, 0.47)', 'in money');
SELECT pg_temp.same('SELECT currency, expires_in, points, available, pending, held FROM loyalty_bi.liability_by_month ORDER BY expires_in',
	$$VALUES ('miles'::text, '2050-02-01'::date, 100::bigint, 100::bigint, 0::bigint, 0::bigint), ('miles', NULL, 57, 30, 7, 20)$$, 'by the last month of life');
SELECT pg_temp.same('SELECT sum(points), sum(expected_points), sum(value) FROM loyalty_bi.liability_by_month',
	$$SELECT points::numeric, expected_points, value FROM loyalty_bi.liability WHERE currency = 'miles'$$, 'months add up to the whole');
SELECT pg_temp.same($$SELECT count(*), min(month) FROM loyalty_bi.liability_forecast WHERE currency = 'miles'$$,
	$$VALUES (12::bigint, date_trunc('month', now() AT TIME ZONE 'UTC')::date)$$, 'the forecast of twelve months');
-- of a rate: 28.50 within a year, 50 until 2050, alike in each of the months
SELECT is((SELECT round(sum(redeemed)) FROM loyalty_bi.liability_forecast WHERE currency = 'miles'),
	(SELECT round(28.5 + 50.0 * 12 / count(*)) FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'), '2050-02-01', '1 month')), 'and what will be redeemed in them');

-- ---- channels: 1 point for each euro; 10 in the app and 20 in the store, of which 5 come back
SELECT loyalty.define_campaign('base', '{"then": [{"points": {"give": 1, "per": 1}}], "limits": {"total": {"points": 100}}}', '2025-01-01') \g /dev/null
SELECT loyalty.record_activity(1, 'order', '2026-03-01 12:00', 10, money => 'EUR', channel => 'app') \g /dev/null
SELECT activity_id AS sold FROM loyalty.record_activity(2, 'order', '2026-03-01 13:00', 20, money => 'EUR', channel => 'store') \gset
SELECT loyalty.record_return(2, :sold, amount => 5, at => '2026-03-02') \g /dev/null
SELECT pg_temp.same('SELECT currency, channel, local_day, awards, members, given, taken_back FROM loyalty_bi.points_by_channel ORDER BY channel',
	$$VALUES ('points'::text, 'app'::text, '2026-03-01'::date, 1::bigint, 1::bigint, 10::numeric, 0::numeric), ('points', 'store', '2026-03-01', 1, 1, 20, 5)$$, 'points by channel');

-- ---- a trial of half the members: 20 joined in June 2025 and who is treated buys
INSERT INTO loyalty.member (member_id, joined_at, joined_via) SELECT i, '2025-06-02', 'live_room' FROM generate_series(101, 120) i;
SELECT loyalty.define_trial('half', '{"shares": [0.5, 0.5]}', '2025-07-01', '2025-08-01') \g /dev/null
SELECT loyalty.define_trial('running', '{"shares": [0.5, 0.5]}', '2025-07-01', '2100-08-01') \g /dev/null
DELETE FROM loyalty.trial WHERE trial = 'none';
SELECT count(*) FILTER (WHERE loyalty.trial_arm(i, 'half') = 1) AS treated FROM generate_series(101, 120) i \gset
SELECT loyalty.record_activity(i, 'order', '2025-07-10', 9, money => 'EUR') FROM generate_series(101, 120) i WHERE loyalty.trial_arm(i, 'half') = 1 \g /dev/null
SELECT loyalty.expose(i, 'half', 'e_mail', '2025-07-05') FROM generate_series(101, 120) i WHERE loyalty.trial_arm(i, 'half') = 1 \g /dev/null
SELECT loyalty.set_channel_cost('live_room', '2025-06-01', '2025-07-01', 50), loyalty.set_channel_cost('e_mail', '2025-07-01', '2025-08-01', :treated) \g /dev/null
SELECT pg_temp.same('SELECT trial, arm, measure, members, mean, difference, exposed, cost, broken FROM loyalty_bi.trial_result ORDER BY arm',
	format($$VALUES ('half'::text, 0, 'conversion'::text, %s::bigint, 0.000000, NULL::numeric, 0::bigint, 0.00, false), ('half', 1, 'conversion', %s, 1.000000, 1.000000, %s, %s.00, false)$$,
		20 - :treated, :treated, :treated, :treated), 'the trial that is to be looked at, and no other');
SELECT pg_temp.same('SELECT channel, amount, exposures, cost_per_exposure, joined, cost_per_member FROM loyalty_bi.channel_cost ORDER BY channel',
	format($$VALUES ('e_mail'::text, %1$s::numeric, %1$s::bigint, 1.0000, 0::bigint, NULL::numeric), ('live_room', 50, 0, NULL, 20, 2.5000)$$, :treated), 'what channels cost, and brought');

-- ---- segments and cohorts: 1 and 2 bought in March 2026, the treated in July 2025
SELECT is((SELECT count(*) FROM loyalty_bi.member_segment), 2 + :treated::bigint, 'whoever bought is in a segment');
SELECT is((SELECT sum(members) FROM loyalty_bi.segment_size), 2 + :treated::numeric, 'and counted there');
SELECT is((SELECT sum(amount) FROM loyalty_bi.segment_size), 25 + 9 * :treated::numeric, 'with what they spent');
SELECT pg_temp.same('SELECT segment, count(*) FROM loyalty_bi.member_segment GROUP BY 1 ORDER BY 1', 'SELECT segment, members FROM loyalty_bi.segment_size ORDER BY segment', 'one and the same');
SELECT is((SELECT (frequency, monetary, first_at)::text FROM loyalty_bi.member_segment WHERE member_id = 2), '(1,15,"2026-03-01 13:00:00+00")', 'less what came back');
SELECT is((SELECT string_agg(DISTINCT stage, ' ') FROM loyalty_bi.member_segment WHERE member_id > 100), 'lost', 'stages of life: after a year');
SELECT loyalty.record_activity(101 + i, 'order', '2025-09-10', 9, money => 'EUR')
FROM (SELECT i - 101 AS i FROM generate_series(101, 120) i WHERE loyalty.trial_arm(i, 'half') = 1 ORDER BY i LIMIT 2) x \g /dev/null
SELECT pg_temp.same('SELECT cohort, cohort_size, months_later, month, active, round(rate, 4), finished FROM loyalty_bi.retention WHERE cohort < ''2026-01-01'' AND active > 0 ORDER BY months_later',
	format($$VALUES ('2025-07-01'::date, %1$s::bigint, 0, '2025-07-01'::date, %1$s::bigint, 1.0000, true), ('2025-07-01', %1$s, 2, '2025-09-01', 2, round(2.0 / %1$s, 4), true)$$, :treated), 'who comes back');
SELECT pg_temp.same('SELECT month, buyers, new_members, kept, won_back, churned FROM loyalty_bi.buyers_by_month WHERE buyers > 0 OR churned > 0 ORDER BY month',
	format($$VALUES ('2025-07-01'::date, %1$s::bigint, %1$s::bigint, 0::bigint, 0::bigint, 0::bigint), ('2025-08-01', 0, 0, 0, 0, %1$s), ('2025-09-01', 2, 0, 0, 2, 0), ('2025-10-01', 0, 0, 0, 0, 2),
		('2026-03-01', 2, 2, 0, 0, 0), ('2026-04-01', 0, 0, 0, 0, 2)$$, :treated), 'growth');

-- ---- surveys: 10, 9, 8 and 3: (2 - 1) / 4; one without a score, one that was cancelled, one by another scale
SELECT loyalty.record_activity(m, 'survey', d::timestamptz, document => a, channel => 'app')
FROM (VALUES (1, '2026-05-01', '{"survey": "nps", "score": 10}'::jsonb), (2, '2026-05-02', '{"survey": "nps", "score": 9, "why": "kind"}'), (4, '2026-05-31 23:00', '{"survey": "nps", "score": 8}'),
	(101, '2026-05-03', '{"survey": "nps", "score": 3}'), (102, '2026-05-03', '{"survey": "nps", "score": "x"}'), (103, '2026-06-01', '{"survey": "nps", "score": 0}'),
	(1, '2026-05-04', '{"survey": "csat", "score": 4.5}'), (2, '2026-05-05', '{"score": 7}')) v (m, d, a) \g /dev/null
SELECT activity_id AS wrong FROM loyalty.record_activity(104, 'survey', '2026-05-06', document => '{"survey": "nps", "score": 1}') \gset
SELECT loyalty.revise_activity(104, :wrong, cancelled => true) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty_bi.survey_answer), 8::bigint, 'answers that stand');
SELECT pg_temp.same('SELECT survey, month, answers, mean_score, promoters, passives, detractors, nps FROM loyalty_bi.survey_result ORDER BY survey, month',
	$$VALUES ('csat'::text, '2026-05-01'::date, 1::bigint, 4.5000, 0::bigint, 0::bigint, 0::bigint, NULL::numeric), ('nps', '2026-05-01', 4, 7.5000, 2, 1, 1, 25.0), ('nps', '2026-06-01', 1, 0.0000, 0, 0, 1, -100.0),
		('survey', '2026-05-01', 1, 7.0000, 0, 1, 0, 0.0)$$, 'net promoter score');

SELECT loyalty.define_purpose('news', '{"*": "always"}') \g /dev/null
-- ---- contacts: 1 twice, 2 once (under the number of 3), one long ago; nobody is active by being written to
SELECT max(monthly) AS active_before FROM loyalty_bi.active_members \gset
SELECT loyalty.record_activity(m, 'contact', now() - ago::interval, channel => 'sms', document => '{"purpose": "news"}') FROM (VALUES (1, '1 day'), (1, '2 days'), (3, '3 days'), (4, '40 days')) v (m, ago) \g /dev/null
SELECT pg_temp.same('SELECT * FROM loyalty_bi.contact_frequency ORDER BY contacts', 'VALUES (0::bigint, 21::bigint), (1, 1), (2, 1)', 'how often members were written to: 4 and the twenty, 2, 1');
SELECT pg_temp.same('SELECT channel, purpose, sum(contacts) FROM loyalty_bi.contact_by_day GROUP BY 1, 2', $$VALUES ('sms'::text, 'news'::text, 4::numeric)$$, 'and by which channel for what');
SELECT is((SELECT max(monthly) FROM loyalty_bi.active_members), :active_before::bigint, 'to be written to is no activity');
SELECT is_empty($$WITH active AS (SELECT DISTINCT a.local_day, loyalty.canonical_member(a.member_id) AS member_id FROM loyalty.activity a WHERE NOT a.cancelled AND a.kind NOT IN ('contact', 'board_place')),
	slowly AS (SELECT v.local_day, count(DISTINCT a.member_id) FILTER (WHERE a.local_day = v.local_day) AS daily, count(DISTINCT a.member_id) FILTER (WHERE a.local_day > v.local_day - 7) AS weekly,
		count(DISTINCT a.member_id) AS monthly FROM loyalty_bi.active_members v LEFT JOIN active a ON a.local_day BETWEEN v.local_day - 29 AND v.local_day GROUP BY 1)
	SELECT * FROM slowly s FULL JOIN loyalty_bi.active_members v USING (local_day) WHERE (s.daily, s.weekly, s.monthly) IS DISTINCT FROM (v.daily, v.weekly, v.monthly)$$, 'active members, counted the slow way');

-- ---- audiences
SELECT loyalty.define_list('press', '{1,2,3}'), loyalty.define_audience('buyers', '{"count": {"kind": "order", ">=": 1}}'), loyalty.define_audience('never', '{"count": {"kind": "order", ">=": 9}}', name => 'Never taken') \g /dev/null
CALL loyalty.refresh_audience('buyers', '2026-01-01');
SELECT pg_temp.same('SELECT audience, kind, as_of < now() - interval ''1 hour'', members FROM loyalty_bi.audience_size ORDER BY audience',
	format($$VALUES ('buyers'::text, 'expression'::text, true, %s::bigint), ('never', 'expression', NULL, NULL), ('press', 'list', false, 2)$$, :treated), 'sizes: as recorded, not yet, now');
CALL loyalty.refresh_audience('buyers', '2026-04-01');
SELECT pg_temp.same('SELECT local_day, entered, gone FROM loyalty_bi.audience_move ORDER BY local_day',
	format($$VALUES ('2026-01-01'::date, %s::bigint, 0::bigint), ('2026-04-01', 2, 0)$$, :treated), 'who came and went');

-- ---- boards
SELECT loyalty.define_board('players', '{"kind": "game", "measure": "amount", "period": "month", "time_zone": "UTC"}'), loyalty.define_board('empty', '{"kind": "like", "period": "month"}') \g /dev/null
SELECT loyalty.record_activity(m, 'game', at::timestamptz, points) FROM (VALUES (1, '2026-05-03', 5), (1, '2026-06-03', 7), (2, '2026-06-04', 7), (4, '2026-06-05', 9), (4, '2026-06-06', 1)) v (m, at, points) \g /dev/null
SELECT pg_temp.same('SELECT board, period_start, members, activities, score, best_score, closed FROM loyalty_bi.board_period ORDER BY period_start',
	$$VALUES ('players'::text, '2026-05-01'::date, 1::bigint, 1::bigint, 5::numeric, 5::numeric, false), ('players', '2026-06-01', 3, 4, 24, 10, false)$$, 'boards');
SELECT pg_temp.same('SELECT board, period_start, rank, member_id, score FROM loyalty_bi.board_leader ORDER BY rank, member_id',
	$$VALUES ('players'::text, '2026-06-01'::date, 1::bigint, 4::bigint, 10::numeric), ('players', '2026-06-01', 2, 1, 7), ('players', '2026-06-01', 2, 2, 7)$$, 'and who leads them');

-- ---- rewards and other benefits
SELECT loyalty.define_benefit('mug', '{"kind": "reward", "points": 10, "currency": "miles", "stock": 8, "goods": {"item": "mug"}}'),
	loyalty.define_benefit('tea', '{"kind": "reward", "points": 1, "currency": "miles", "price": 2, "money": "EUR", "hold": "1 hour", "stock": 4, "goods": {"item": "tea"}}'),
	loyalty.define_benefit('lounge', '{"kind": "entitlement", "quota": 4}'),
	loyalty.define_benefit('tenth', '{"kind": "coupon", "discount": {"percent": 10}, "codes": "pool", "total": 10}') \g /dev/null
SELECT loyalty.earn(1, 50, 'miles', '2026-01-01'), loyalty.earn(2, 50, 'miles', '2026-01-01') \g /dev/null
SELECT loyalty.order_reward(1, 'mug', 2, at => now() - interval '2 days') \g /dev/null
SELECT order_id AS back FROM loyalty.order_reward(2, 'mug', 3, at => now() - interval '2 days') \gset
SELECT loyalty.cancel_reward(2, :back, 1), loyalty.fulfil_reward(2, :back) \g /dev/null
SELECT loyalty.order_reward(1, 'tea', at => now() - interval '2 days', hold_until => now() - interval '1 day') \g /dev/null
SELECT pg_temp.same('SELECT reward, orders, members, ordered, cancelled, lapsed, fulfilled, points, round(money) FROM loyalty_bi.reward_by_day ORDER BY reward',
	$$VALUES ('mug'::text, 2::bigint, 2::bigint, 5::bigint, 1::bigint, 0::bigint, 2::bigint, 40::numeric, 0::numeric), ('tea', 1, 1, 1, 0, 1, 0, 0, 0)$$, 'rewards');
SELECT loyalty.use_entitlement(1, 'lounge', 2) \g /dev/null
SELECT use_id AS wrong FROM loyalty.use_entitlement(2, 'lounge') \gset
SELECT loyalty.restore_use(2, :wrong) \g /dev/null
SELECT loyalty.add_codes('tenth', '{AAAA1111,BBBB2222,CCCC3333}') \g /dev/null
SELECT loyalty.issue_coupon(1, 'tenth'), loyalty.issue_coupon(2, 'tenth') \g /dev/null
SELECT loyalty.record_activity(c.member_id, 'order', now(), 50, money => 'EUR', codes => ARRAY[c.code]) FROM loyalty.coupon c \g /dev/null
SELECT loyalty.record_return(2, (SELECT max(activity_id) FROM loyalty.activity WHERE member_id = 2)) \g /dev/null
SELECT pg_temp.same('SELECT benefit, kind, sum(uses), sum(members), sum(given_back) FROM loyalty_bi.benefit_use GROUP BY 1, 2 ORDER BY benefit',
	$$VALUES ('lounge'::text, 'entitlement'::text, 2::numeric, 1::numeric, 1::numeric), ('mug', 'reward', 4, 2, 1), ('tenth', 'coupon', 1, 1, 1)$$, 'what is used');

-- ---- limits: of the campaign 10 + 20 - 5, 9 for each that was treated, 18, 45 of the coupon's order, and what came back
SELECT loyalty.define_draw('wheel', '{"prizes": [{"prize": "nothing", "weight": 1}, {"prize": "car", "weight": 1, "stock": 5}]}'), loyalty.define_club('small', '{"capacity": 4}') \g /dev/null
SELECT loyalty.join_club(1, 'small') \g /dev/null
SELECT least(25 + 9 * :treated + 18 + 45, 100) AS given \gset
SELECT pg_temp.same('SELECT name, owner_kind, limits, total, remaining, taken, used_share FROM loyalty_bi.global_limit ORDER BY name',
	format($$VALUES ('benefit/mug/stock'::text, 'reward'::text, 'stock'::text, 8::bigint, 4::bigint, 4::bigint, 0.5000), ('benefit/tea/stock', 'reward', 'stock', 4, 4, 0, 0.0000),
		('benefit/tenth/total', 'coupon', 'total', 10, 8, 2, 0.2000), ('benefit/tenth/unused_codes', 'coupon', 'codes', 3, 1, 2, 0.6667),
		('campaign/base/points', 'campaign', 'points', 100, %s, %s, %s), ('club/small', 'club', 'capacity', 4, 3, 1, 0.2500), ('draw/wheel/car', 'draw', 'car', 5, 5, 0, 0.0000)$$,
		100 - :given, :given, round(:given / 100.0, 4)), 'budgets, totals and stock');

-- ---- goods that go together: five orders, tea and milk; tea and milk; tea and bread; milk; bread; of the last line nothing is left
INSERT INTO loyalty.member (member_id) SELECT generate_series(201, 205);
CREATE TABLE basket (member_id bigint, at timestamptz, lines jsonb);
INSERT INTO basket VALUES (201, '2026-05-01', '[{"sku": "t1", "category": "tea", "amount": 3}, {"sku": "m", "category": "milk", "amount": 1}, {"sku": "t2", "category": "tea", "amount": 1}]'),
	(202, '2026-05-01', '[{"sku": "t1", "category": "tea", "amount": 3}, {"sku": "m", "category": "milk", "amount": 1}]'),
	(203, '2026-05-01', '[{"sku": "t1", "category": "tea", "amount": 3}, {"sku": "b", "category": "bread", "amount": 1}]'),
	(204, '2026-05-01', '[{"sku": "m", "category": "milk", "amount": 3}, {"sku": "n", "amount": 1}]'), (205, '2026-05-01', '[{"sku": "b", "category": "bread", "amount": 3}]');
SELECT r.activity_id FROM basket b, LATERAL loyalty.record_activity(b.member_id, 'order', b.at, 9, money => 'EUR', lines => b.lines) r \g /dev/null
SELECT is((SELECT count(*) FROM loyalty_bi.purchase_line), 10::bigint, 'lines of orders');
CREATE VIEW pairs AS SELECT * FROM loyalty.product_affinity('loyalty_bi.purchase_line');
SELECT pg_temp.same('SELECT item, other, together, with_item, with_other, baskets, support, confidence, lift FROM pairs',
	$$VALUES ('milk'::text, 'tea'::text, 2::bigint, 3::bigint, 3::bigint, 5::bigint, 0.400000, 0.666667, 1.111111), ('tea', 'milk', 2, 3, 3, 5, 0.400000, 0.666667, 1.111111),
		('bread', 'tea', 1, 2, 3, 5, 0.200000, 0.500000, 0.833333), ('tea', 'bread', 1, 3, 2, 5, 0.200000, 0.333333, 0.833333)$$, 'support, confidence and lift');
SET enable_hashjoin = off; SET enable_hashagg = off; SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0;
CREATE TEMP TABLE by_another_plan AS SELECT * FROM pairs;
RESET enable_hashjoin; RESET enable_hashagg; RESET max_parallel_workers_per_gather; RESET parallel_setup_cost;
SELECT pg_temp.same('TABLE pairs', 'TABLE by_another_plan', 'the same by another plan');
SELECT is((SELECT count(*) FROM loyalty.product_affinity('loyalty_bi.purchase_line', min_together => 2)), 2::bigint, 'only what is together often enough');
SELECT is((SELECT (together, with_item)::text FROM loyalty.product_affinity('loyalty_bi.purchase_line', item_column => 'sku') WHERE item = 't1' AND other = 'm'), '(2,3)', 'by article');
SELECT pg_temp.same($$SELECT item, because, together, confidence, lift FROM loyalty.next_best('loyalty_bi.purchase_line', 204, min_together => 2)$$,
	$$VALUES ('tea'::text, 'milk'::text, 2::bigint, 0.666667, 1.111111)$$, 'what to offer: who has milk is likely to want tea');
SELECT is_empty($$SELECT * FROM loyalty.next_best('loyalty_bi.purchase_line', 205, min_together => 1)$$, 'nothing where it is bought together less often than by chance');
SELECT is_empty($$SELECT * FROM loyalty.next_best('loyalty_bi.purchase_line', 201, min_together => 1)$$, 'nor what the member has');
SELECT throws_ok(call, 'LY003', NULL, call) FROM (VALUES ($$SELECT * FROM loyalty.product_affinity('loyalty_bi.purchase_line', 'basket')$$), ($$SELECT * FROM loyalty.product_affinity(NULL)$$),
	($$SELECT * FROM loyalty.product_affinity('loyalty_bi.purchase_line', min_together => 0)$$), ($$SELECT * FROM loyalty.next_best('loyalty_bi.purchase_line', 1, at_most => -1)$$),
	($$SELECT * FROM loyalty.next_best('loyalty_bi.segment_size', 1, 'segment', 'segment')$$)) v (call);

-- ---- after merging, everything is of who stands for it
SELECT loyalty.merge_members(201, 204, 'the same') \g /dev/null
SELECT is((SELECT count(DISTINCT member_id) FROM loyalty_bi.purchase_line), 4::bigint, 'lines of merged members');

-- ---- the grain: no view has two rows of one key, and what others refer to is one row
SELECT is_empty(format('SELECT %1$s FROM loyalty_bi.%2$I GROUP BY %1$s HAVING count(*) > 1', key, v), format('%s: a row for each %s', v, key))
FROM (VALUES ('liability', 'currency'), ('liability_by_month', 'currency, expires_in'), ('liability_forecast', 'currency, month'), ('wallet', 'member_id, currency'), ('movement', 'entry_id'),
	('points_by_day', 'currency, local_day, movement'), ('points_by_channel', 'currency, channel, local_day'), ('expiry', 'currency, local_day, expired'), ('member', 'member_id'),
	('member_segment', 'member_id'), ('segment_size', 'segment'), ('retention', 'cohort, months_later'), ('buyers_by_month', 'month'), ('purchase', 'activity_id'), ('purchase_line', 'activity_id, line'),
	('member_activity', 'member_id, kind, money'), ('activity_by_day', 'local_day, kind, channel, money'), ('active_members', 'local_day'), ('campaign_result', 'campaign, kind, currency, local_day'),
	('trial_result', 'trial, arm'), ('channel_cost', 'channel, from_at, until'), ('coupon_funnel', 'benefit'), ('benefit_use', 'benefit, local_day'), ('reward_by_day', 'reward, local_day, currency'),
	('global_limit', 'name'), ('audience_size', 'audience'), ('audience_move', 'audience, local_day'), ('board_period', 'board, period_start'), ('board_leader', 'board, member_id'),
	('survey_answer', 'activity_id'), ('survey_result', 'survey, month'), ('contact_by_day', 'local_day, channel, purpose'), ('contact_frequency', 'contacts'), ('relation', 'view_name, column_name')) g (v, key);
SELECT is_empty(format('SELECT x.%1$I FROM loyalty_bi.%2$I x GROUP BY 1 HAVING count(*) > 1', refers_column, refers_to), format('%s of %s is unique', refers_column, refers_to))
FROM (SELECT DISTINCT refers_to, refers_column FROM loyalty_bi.relation) r;
SELECT is_empty(format('SELECT x.%1$I FROM loyalty_bi.%2$I x WHERE x.%1$I IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty_bi.%3$I y WHERE y.%4$I = x.%1$I)', column_name, view_name, refers_to, refers_column),
	format('%s of %s is found in %s', column_name, view_name, refers_to))
FROM loyalty_bi.relation;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
