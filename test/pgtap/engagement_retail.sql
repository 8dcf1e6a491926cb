-- Room engagement on real orders (Online Retail), with figures that were computed
-- elsewhere: weekly streaks, a board with a tie, a club, a journey.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET timezone = 'UTC';
SET jit = off;
SELECT no_plan();
SELECT coalesce(nullif(:'data', ''), '') <> '' AS has_data \gset
\if :has_data
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.configure_program(time_zone => 'UTC') \g /dev/null
CREATE TEMP TABLE line (invoice text, stock text, description text, quantity integer, invoice_date timestamp, price numeric, customer text, country text);
\set copy_lines 'COPY line FROM PROGRAM ' '''gzip -dc ' :data '/online_retail/online_retail.csv.gz''' ' (FORMAT csv, HEADER)'
:copy_lines;
CREATE TEMP TABLE o AS SELECT customer::numeric::bigint AS m, invoice, min(invoice_date) AT TIME ZONE 'UTC' AS at, sum(quantity * price) AS amount, bool_or(stock = '85123A') AS heart
FROM line WHERE customer <> '' AND quantity > 0 AND price > 0 GROUP BY 1, 2;
INSERT INTO loyalty.member (member_id, joined_at) SELECT m, min(at) FROM o GROUP BY m;
-- as they would have been recorded, when they happened
INSERT INTO loyalty.activity (member_id, kind, at, local_day, time_zone, amount, external_id, same_key, recorded_at, revised_at)
SELECT m, 'order', at, at::date, 'UTC', amount, invoice, invoice, at, at FROM o;
ANALYZE loyalty.activity; ANALYZE loyalty.member;

-- weeks from Monday
CREATE TEMP TABLE longest AS SELECT m, (loyalty.streak_at(loyalty.activity_agg(at, 'week', 'UTC'), '2011-12-10')).longest AS n FROM o GROUP BY m;
SELECT is((SELECT array_agg(m || ' ' || n ORDER BY n DESC, m) FROM longest WHERE n >= 18), '{"14606 49","17841 49","14911 27","15039 21","15311 18"}', 'the longest streaks by weeks');
SELECT is((SELECT count(*) FROM longest WHERE n >= 4), 72::bigint, 'four weeks or more');
SELECT loyalty.define_streak('weekly', '{"kind": "order", "period": "week"}') \g /dev/null
SELECT is((SELECT array_agg((loyalty.streak_of(m, 'weekly', '2011-12-10')).longest ORDER BY m) FROM unnest('{14606,14911,15039,15311,17841}'::bigint[]) m), '{49,27,21,18,49}', 'of members as of anybody''s rows');

-- November 2011 by whole pounds of each order
SELECT loyalty.define_board(ties, format('{"kind": "order", "measure": "amount", "whole": true, "period": "month", "time_zone": "UTC", "ties": "%s"}', ties)::jsonb) FROM unnest('{share,dense,first}'::text[]) ties \g /dev/null
INSERT INTO loyalty.board_score (member_id, board, period_start, score, activities, reached_at)
SELECT m, b, '2011-11-01', sum(floor(amount)), count(*), max(at) FROM o, unnest('{share,dense,first}'::text[]) b WHERE at >= '2011-11-01' AND at < '2011-12-01' GROUP BY 1, 2;
INSERT INTO loyalty.board_change (board, period_start, score) SELECT board, period_start, score FROM loyalty.board_score;
SELECT is((SELECT array_agg(format('%s %s: %s, %s', b, m, r.rank, r.members) ORDER BY b, m) FROM unnest('{share,dense,first}'::text[]) b, unnest('{13408,13881}'::bigint[]) m, loyalty.rank_on(b, m, period_start => '2011-11-01') r
	WHERE r.score = 4175 AND round(r.percentile::numeric, 6) = .982562),
	'{"dense 13408: 29, 1664","dense 13881: 29, 1664","first 13408: 29, 1664","first 13881: 30, 1664","share 13408: 29, 1664","share 13881: 29, 1664"}', 'a tie');
SELECT is(floor(sum(amount)), 27869::numeric, 'of the sum of the month it would be more') FROM o WHERE m = 17450 AND at >= '2011-11-01' AND at < '2011-12-01';
SELECT is_empty($$SELECT c.* FROM loyalty.check_engagement(17449, 17450) c$$, 'the score is that of the orders');

-- a club of those who ever bought 85123A, joined at the first such order
SELECT loyalty.define_club('hearts', '{}') \g /dev/null
INSERT INTO loyalty.club_membership (member_id, club, act, club_role, at, recorded_at) SELECT m, 'hearts', 'join', 'member', min(at), min(at) FROM o WHERE heart GROUP BY m;
SELECT is((SELECT f::text FROM loyalty.club_figures('hearts', '2011-11-01', '2011-12-01', time_zone => 'UTC') f), '(2011-11-01,850,71,0,397,765,429210.94)', 'its November');
SELECT is((SELECT count(*) FROM loyalty.club_members('hearts', timestamptz '2011-11-01' - interval '1 microsecond')), 779::bigint, 'its members before');
SELECT is(count(DISTINCT m), 326::bigint, 'of whom so many were active') FROM o
WHERE at >= '2011-11-01' AND at < '2011-12-01' AND m IN (SELECT loyalty.club_members('hearts', timestamptz '2011-11-01' - interval '1 microsecond'));

-- thirty days after the first order with none since; sixty days later still none
SELECT loyalty.define_journey('back', '{"start": {"kind": "order"}, "while": {"kind": "order", "at_most": 0}, "steps": [{"step": "nudge", "after": "30 days"}, {"step": "call", "after": "60 days", "list": true}]}') \g /dev/null
SELECT is((SELECT array_agg(f::text) FROM loyalty.journey_funnel('back', as_of => '2011-12-10') f), '{"(nudge,4086,3175,0,911,252)","(call,2619,1765,0,854,556)"}', 'the steps of 4,338 runs');
SELECT is((SELECT count(*) FROM loyalty.member m, loyalty.journeys(m.member_id, '2011-12-10') j WHERE j.state = 'running' AND j.step = 'call'
		AND EXISTS (SELECT FROM o WHERE o.m = m.member_id AND o.at > j.started_at AND o.at <= '2011-12-10')), 117::bigint, 'of those who wait for the call so many have ordered since');
\else
SELECT skip('Online Retail: no data beside the checkout', 10);
\endif
SELECT * FROM finish();
