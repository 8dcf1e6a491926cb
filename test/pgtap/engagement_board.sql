-- Room engagement: boards.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 60);
SELECT throws_ok($$SELECT loyalty.rank_on('may', 1)$$, 'LY751', 'there is no board "may"', 'no such board');
SELECT loyalty.define_board(name, format('{"kind": "game", "measure": "amount", "period": "month", "time_zone": "UTC", "ties": "%s", "places": 3}', name)::jsonb)
FROM unnest('{share,dense,first}'::text[]) name \g /dev/null

-- 100, 90, 90, 80
SELECT loyalty.record_activity(c.member_id, 'game', c.at::timestamptz, amount => c.amount)
FROM (VALUES (1, '2026-05-01 10:00Z', 40), (1, '2026-05-02 10:00Z', 60), (2, '2026-05-04 10:00Z', 90), (3, '2026-05-03 10:00Z', 90), (4, '2026-05-31 23:59:59Z', 80),
	(5, '2026-06-01 00:00Z', 1000)) c (member_id, at, amount) \g /dev/null
CREATE FUNCTION places(board text, as_of timestamptz DEFAULT NULL, period date DEFAULT '2026-05-01', among bigint[] DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('%s:%s', m, (loyalty.rank_on(board, m, as_of, period, among)).rank), ' ' ORDER BY m) FROM generate_series(1::bigint, 5) m $$;
SELECT is(places(c.board), c.expected, c.board)
FROM (VALUES ('share', '1:1 2:2 3:2 4:4 5:'), ('dense', '1:1 2:2 3:2 4:3 5:'), ('first', '1:1 2:3 3:2 4:4 5:')) c (board, expected);
SELECT is((SELECT array_agg(round(r.percentile::numeric, 6) ORDER BY m) FROM generate_series(1::bigint, 4) m, loyalty.rank_on('share', m, NULL, '2026-05-01') r),
	'{1.000000,0.333333,0.333333,0.000000}', 'percentiles');
SELECT is((SELECT r::text FROM loyalty.rank_on('share', 5, NULL, '2026-05-01') r), '(,,,)', 'without a score, no rank');
SELECT is((SELECT r::text FROM loyalty.rank_on('share', 5, NULL, '2026-06-01') r), '(1,1000,1,0)', 'one alone');
SELECT is((SELECT (r.rank, r.score, r.members)::text FROM loyalty.rank_on('share', 4, '2026-05-31 23:59:59Z') r), '(4,80,4)', 'the period of the instant that is asked about');
SELECT is(places('share', '2026-05-03 12:00Z'), '1:1 2: 3:2 4: 5:', 'as of an instant');
SELECT is(places('share', NULL, '2026-05-01', '{2,4,5}'), '1: 2:1 3: 4:2 5:', 'among friends');
SELECT is((SELECT array_agg(format('%s. %s', rank, member_id)) FROM loyalty.board_top('share', 3, period_start => '2026-05-01')), '{"1. 1","2. 3","2. 2"}', 'the first three');
SELECT is((SELECT array_agg(format('%s. %s', rank, member_id)) FROM loyalty.board_top('first', 2, '2026-05-03 12:00Z')), '{"1. 1","2. 3"}', 'as of then');
SELECT is((SELECT array_agg(format('%s. %s', rank, neighbour_id)) FROM loyalty.board_around('share', 2, 1, '2026-05-01')), '{"2. 3","2. 2","4. 4"}', 'and around');

-- returns, revisions, cancellations and moves
SELECT activity_id AS a FROM loyalty.activities(1, 'game') WHERE amount = 60 \gset
SELECT loyalty.record_return(1, :a, amount => 15, at => '2026-05-20Z') \g /dev/null
SELECT is(places('share'), '1:3 2:1 3:1 4:4 5:', 'a return');
SELECT is((SELECT (score, reached_at AT TIME ZONE 'UTC')::text FROM loyalty.board_score WHERE member_id = 1 AND board = 'share'), '(85,"2026-05-20 00:00:00")', 'when it reached its score');
SELECT loyalty.revise_activity(1, :a, at => '2026-06-02Z') \g /dev/null
SELECT is(places('share') || '; ' || places('share', NULL, '2026-06-01'), '1:4 2:1 3:1 4:3 5:; 1:2 2: 3: 4: 5:1', 'it was in June');
SELECT loyalty.revise_activity(1, :a, to_member_id => 2) \g /dev/null
SELECT is(places('share', NULL, '2026-06-01'), '1: 2:2 3: 4: 5:1', 'and another''s');
SELECT loyalty.revise_activity(2, :a, cancelled => true) \g /dev/null
SELECT is(places('share', NULL, '2026-06-01'), '1: 2: 3: 4: 5:1', 'and none');

-- whole amounts, days, a condition, a lifetime
SELECT loyalty.define_board('whole', '{"kind": "order", "measure": "amount", "whole": true, "period": "lifetime"}') \g /dev/null
SELECT loyalty.define_board('days', '{"kind": "check_in", "measure": "days", "period": "week", "time_zone": "UTC"}') \g /dev/null
SELECT loyalty.define_board('app', '{"kind": ["order", "check_in"], "when": {"channel": ["app"]}, "period": "year", "time_zone": "UTC"}') \g /dev/null
SELECT loyalty.record_activity(10, 'order', '2026-01-01', amount => 1.99), loyalty.record_activity(10, 'order', '2026-03-01', amount => 1.99, channel => 'app') \g /dev/null
SELECT loyalty.record_activity(10, 'check_in', '2026-05-04 01:00Z'), loyalty.record_activity(10, 'check_in', '2026-05-04 02:00Z', channel => 'app'),
	loyalty.record_activity(10, 'check_in', '2026-05-10 02:00Z') \g /dev/null
SELECT is((SELECT array_agg(format('%s %s %s', board, period_start, score) ORDER BY board) FROM loyalty.board_score WHERE member_id = 10),
	'{"app 2026-01-01 2","days 2026-05-04 2","whole 2000-01-01 2"}', 'other measures');

-- merged members have one score; unmerged each has its own
SELECT merge_id FROM loyalty.merge_members(3, 4) \gset
SELECT is(places('share') || '; ' || (SELECT count(*) FROM loyalty.board_score WHERE member_id = 4), '1:3 2:2 3:1 4:1 5:; 0', 'merged');
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT is(places('share'), '1:4 2:1 3:1 4:3 5:', 'and not');

-- a version counts for periods that begin later
SELECT loyalty.define_board('share', '{"kind": "game", "period": "month", "time_zone": "UTC", "ties": "share", "places": 3}', '2026-06-15') \g /dev/null
SELECT loyalty.record_activity(6, 'game', '2026-06-20Z', amount => 7), loyalty.record_activity(6, 'game', '2026-07-20Z', amount => 7) \g /dev/null
SELECT is((SELECT array_agg(score ORDER BY period_start) FROM loyalty.board_score WHERE member_id = 6 AND board = 'share'), '{7,1}', 'June by amount, July by number');

-- a version is of the periods that begin with it, whatever periods there are before and after, and also where it is as an earlier one was
SELECT loyalty.define_board('changing', '{"kind": "app_use", "measure": "amount", "period": "month", "time_zone": "UTC"}') \g /dev/null
SELECT loyalty.define_board('changing', '{"kind": "app_use", "measure": "amount", "period": "week", "time_zone": "UTC"}', '2026-06-15Z') \g /dev/null
SELECT loyalty.define_board('changing', '{"kind": "app_use", "measure": "amount", "period": "month", "time_zone": "UTC"}', '2026-08-01Z') \g /dev/null
SELECT loyalty.record_activity(6, 'app_use', c.at::timestamptz, amount => c.amount)
FROM (VALUES ('2026-06-12Z', 7), ('2026-06-16Z', 5), ('2026-08-05Z', 3)) c (at, amount) \g /dev/null
CREATE FUNCTION changing() RETURNS text[] LANGUAGE sql AS $$SELECT array_agg(period_start || ' ' || score ORDER BY period_start) FROM loyalty.board_score WHERE member_id = 6 AND board = 'changing'$$;
-- 16 June lies in June, which began by months, and in the week of the 15th; 5 August in August, and in no week: the month began after it
SELECT is(changing(), '{"2026-06-01 12","2026-06-15 5","2026-08-01 3"}', 'each period by the version with which it begins');
SELECT loyalty.refresh_engagement(6) \g /dev/null
SELECT is(changing(), '{"2026-06-01 12","2026-06-15 5","2026-08-01 3"}', 'also made anew');
-- what lies before the first version is not scored, and stops nothing
SELECT loyalty.define_board('begun', '{"kind": "app_use", "period": "month", "time_zone": "UTC"}', '2026-08-01Z'),
	loyalty.define_board('ahead', '{"kind": "app_use", "period": "month", "time_zone": "UTC"}', now() + interval '1 month') \g /dev/null
SELECT lives_ok('SELECT loyalty.refresh_engagement(6)', 'a board that begins after what was done');
SELECT is((SELECT array_agg(board || ' ' || period_start || ' ' || score) FROM loyalty.board_score WHERE board IN ('begun', 'ahead')), '{"begun 2026-08-01 1"}', 'scores from then on');
SELECT throws_ok($$SELECT loyalty.define_board('whole', '{"kind": "order", "period": "lifetime"}')$$, 'LY752', NULL, 'no version begins within a lifetime');
SELECT throws_ok($$SELECT loyalty.define_board('clubless', '{"kind": "order", "period": "month", "club": "none"}')$$, 'LY751', 'there is no club "none"', 'a club that there is not');
SELECT throws_ok($$SELECT loyalty.define_board('kindless', '{"kind": ["order", "none"], "period": "month"}')$$, 'LY501', 'kind "none" of activities does not exist', 'nor a kind');
-- of days the first activity of each counts, and no later one
SELECT loyalty.define_board('first_days', '{"kind": "survey", "measure": "days", "period": "month", "time_zone": "UTC", "ties": "first"}') \g /dev/null
SELECT loyalty.record_activity(c.member_id, 'survey', c.at::timestamptz) FROM (VALUES (7, '2026-05-01 10:00Z'), (8, '2026-05-01 11:00Z'), (7, '2026-05-01 12:00Z')) c (member_id, at) \g /dev/null
SELECT is((loyalty.rank_on('first_days', 7, period_start => '2026-05-01')).rank || ' ' || (loyalty.rank_on('first_days', 8, period_start => '2026-05-01')).rank, '1 2', 'who came again that day was still first');

-- closing: who has which place is fixed, and each is rewarded once
SELECT loyalty.define_campaign('first_place', '{"on": ["board_place"], "when": {"path": "$.place == 1"}, "then": [{"points": 300}]}', effective_from => '2026-01-01Z') \g /dev/null
SELECT loyalty.define_campaign('second_place', '{"on": ["board_place"], "when": {"path": "$.place == 2"}, "then": [{"points": 200}]}', effective_from => '2026-01-01Z') \g /dev/null
SELECT loyalty.define_campaign('third_place', '{"on": ["board_place"], "when": {"path": "$.place == 3"}, "then": [{"points": 100}]}', effective_from => '2026-01-01Z') \g /dev/null
SELECT loyalty.record_activity(20 + c.n, 'game', '2026-04-01Z'::timestamptz + c.n * interval '1 day', amount => c.amount)
FROM (VALUES (1, 100), (2, 90), (3, 90), (4, 80)) c (n, amount) \g /dev/null
SELECT is(loyalty.begin_closing(b, '2026-04-01'), 3::bigint, 'three places') FROM unnest('{share}'::text[]) b;
SELECT is((SELECT array_agg(format('%s. %s', place, member_id) ORDER BY member_id) FROM loyalty.board_place WHERE board = 'share'), '{"1. 21","2. 22","2. 23"}', 'shared: two second ones, no third');
SELECT is(loyalty.begin_closing('dense', '2026-04-01'), 3::bigint, 'dense');
SELECT is((SELECT array_agg(format('%s. %s', place, member_id) ORDER BY member_id) FROM loyalty.board_place WHERE board = 'dense'), '{"1. 21","2. 22","2. 23","3. 24"}', 'dense: and a third');
SELECT is(loyalty.begin_closing('first', '2026-04-01'), 3::bigint, 'first');
SELECT is((SELECT array_agg(format('%s. %s', place, member_id) ORDER BY member_id) FROM loyalty.board_place WHERE board = 'first'), '{"1. 21","2. 22","3. 23"}', 'first: one each');
CALL loyalty.close_board('share', '2026-04-01', 1);
SELECT is((SELECT array_agg((loyalty.balance(m)).available ORDER BY m) FROM generate_series(21::bigint, 24) m), '{300,200,200,0}', 'rewarded');
CALL loyalty.close_board('share', '2026-04-01');
SELECT is((SELECT array_agg((loyalty.balance(m)).available ORDER BY m) FROM generate_series(21::bigint, 24) m), '{300,200,200,0}', 'once');
SELECT loyalty.record_activity(24, 'game', '2026-04-30Z', amount => 1000) \g /dev/null
CALL loyalty.close_board('share', '2026-04-01');
SELECT is((SELECT array_agg((loyalty.balance(m)).available ORDER BY m) FROM generate_series(21::bigint, 24) m) || (loyalty.rank_on('share', 24, NULL, '2026-04-01')).rank, '{300,200,200,0,1}', 'late facts move the rank and no reward');
SELECT throws_ok(format('SELECT loyalty.begin_closing(%s)', c.arguments), c.state, NULL, c.arguments)
FROM (VALUES ($$'share', '2126-05-01'$$, 'LY003'), ($$'share', '2026-04-02'$$, 'LY003'), ($$'whole', '2000-01-01'$$, 'LY003'), ($$'none', '2026-04-01'$$, 'LY751')) c (arguments, state);

-- many members, folded at any time: buckets say what rank() says
SELECT loyalty.define_board('many', '{"kind": "like", "measure": "amount", "period": "lifetime"}') \g /dev/null
SELECT count(*) FROM loyalty.record_many(ARRAY(SELECT 1000 + i FROM generate_series(1::bigint, 6000) i), ARRAY(SELECT 'like' FROM generate_series(1, 6000)),
	amounts => ARRAY(SELECT (i * 7919 % 3001)::numeric / 2 FROM generate_series(1, 6000) i)) \g /dev/null
CREATE FUNCTION wrong() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('%s: %s of %s', x.member_id, r, x.rank) FROM (SELECT s.member_id, rank() OVER w AS rank, count(*) OVER () AS members, percent_rank() OVER (ORDER BY s.score) AS percentile
		FROM loyalty.board_score s WHERE s.board = 'many' WINDOW w AS (ORDER BY s.score DESC)) x, LATERAL loyalty.rank_on('many', x.member_id) r
	WHERE x.member_id % 37 = 3 AND (r.rank, r.members, r.percentile) IS DISTINCT FROM (x.rank, x.members, x.percentile) $$;
SELECT is_empty('SELECT wrong()', 'every rank');
SELECT loyalty.fold_board('many', '2000-01-01') \g /dev/null
SELECT cmp_ok((SELECT max(n) FROM loyalty.board_bucket WHERE board = 'many'), '<', 2000::bigint, 'large buckets are split');
SELECT is((SELECT count(*) FROM loyalty.board_change WHERE board = 'many'), 0::bigint, 'all is folded');
SELECT is_empty('SELECT wrong()', 'every rank, folded');
SELECT count(*) FROM loyalty.record_many(ARRAY(SELECT 1000 + i FROM generate_series(1::bigint, 6000, 5) i), ARRAY(SELECT 'like' FROM generate_series(1, 6000, 5)),
	amounts => ARRAY(SELECT (i * 104729 % 997)::numeric FROM generate_series(1, 6000, 5) i)) \g /dev/null
SELECT is_empty('SELECT wrong()', 'every rank, with changes since');
-- one score of many
SELECT loyalty.define_board('even', '{"kind": "share", "period": "lifetime"}') \g /dev/null
SELECT count(*) FROM loyalty.record_many(ARRAY(SELECT 1000 + i FROM generate_series(1::bigint, 3000) i), ARRAY(SELECT 'share' FROM generate_series(1, 3000))) \g /dev/null
SELECT loyalty.fold_board('even', '2000-01-01'), loyalty.fold_board('even', '2000-01-01') \g /dev/null
SELECT loyalty.record_activity(1001, 'share') \g /dev/null
SELECT is((SELECT r::text FROM loyalty.rank_on('even', 1001) r) || (SELECT r::text FROM loyalty.rank_on('even', 1002) r), '(1,2,3000,1)(2,1,3000,0)', 'ties of thousands');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Real data, where it is there: November 2011 by whole pounds of each order.
SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
CREATE TEMP TABLE line (invoice text, stock text, description text, quantity integer, invoice_date timestamp, price numeric, customer text, country text);
\set copy_lines 'COPY line FROM PROGRAM ' '''gzip -dc ' :data '/online_retail/online_retail.csv.gz''' ' (FORMAT csv, HEADER)'
:copy_lines;
SELECT loyalty.define_board('november', '{"kind": "order", "measure": "amount", "whole": true, "period": "month", "time_zone": "UTC"}'),
	loyalty.define_board('november_first', '{"kind": "order", "measure": "amount", "whole": true, "period": "month", "time_zone": "UTC", "ties": "first"}') \g /dev/null
CREATE TEMP TABLE o AS SELECT customer::numeric::bigint AS m, invoice, min(invoice_date) AT TIME ZONE 'UTC' AS at, sum(quantity * price) AS amount
FROM line WHERE customer <> '' AND quantity > 0 AND price > 0 AND invoice_date >= '2011-11-01' AND invoice_date < '2011-12-01' GROUP BY 1, 2;
SELECT count(*) FROM (SELECT array_agg(m ORDER BY at, invoice) AS m, array_agg(at ORDER BY at, invoice) AS at, array_agg(amount ORDER BY at, invoice) AS amount FROM o) x,
	loyalty.record_many(x.m, array_fill('order'::text, ARRAY[cardinality(x.m)]), x.at, x.amount) \g /dev/null
SELECT is((SELECT array_agg(format('%s %s', member_id, trim_scale(score)) ORDER BY rank) FROM loyalty.board_top('november', 4, period_start => '2011-11-01')),
	'{"17450 27865","14096 27826","14646 25370","14911 22704"}', 'Online Retail: the first four');
SELECT is((SELECT array_agg((r.rank, trim_scale(r.score), r.members, round(r.percentile::numeric, 6))::text ORDER BY m) FROM unnest('{13408,13881}'::bigint[]) m, loyalty.rank_on('november', m, period_start => '2011-11-01') r),
	'{"(29,4175,1664,0.982562)","(29,4175,1664,0.982562)"}', 'Online Retail: a tie');
SELECT is((loyalty.rank_on('november_first', 13408, period_start => '2011-11-01')).rank, 29::bigint, 'Online Retail: who came first');
\else
SELECT skip('Online Retail: no data beside the checkout', 3);
\endif
SELECT * FROM finish();
