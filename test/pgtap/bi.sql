-- Room bi: views of points, members, tiers, campaigns and coupons, worked out by hand.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok('CALL loyalty.refresh_summaries()', 'LY001', NULL, 'refresh_summaries() before setup()');
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.configure_program(time_zone => 'Asia/Shanghai') \g /dev/null

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

-- What is there: every view that is told of and no other, each column with a comment, of core types.
SELECT pg_temp.same($$SELECT c.relname::text COLLATE "C" FROM pg_class c WHERE c.relnamespace = 'loyalty_bi'::regnamespace ORDER BY 1$$,
	$$SELECT v COLLATE "C" FROM loyalty.bi_views() v ORDER BY 1$$, 'the views that bi_views() names');
SELECT is_empty($$SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'loyalty_bi'::regnamespace AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)$$,
	'views and columns have comments');
SELECT is_empty($$SELECT c.relname, a.attname, a.atttypid::regtype FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'loyalty_bi'::regnamespace
	AND a.atttypid::regtype::text <> ALL ('{bigint,integer,numeric,text,boolean,timestamp with time zone,date,uuid,interval}')$$, 'columns have core types');
SELECT is_empty($$SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
	WHERE c.relnamespace = 'loyalty_bi'::regnamespace AND a.atttypid = 'text'::regtype AND a.attcollation = 0$$, 'texts can be compared and sorted');
SELECT is_empty($$SELECT r.* FROM loyalty_bi.relation r WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('loyalty_bi.' || r.view_name) AND a.attname = r.column_name)
	OR NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = to_regclass('loyalty_bi.' || r.refers_to) AND a.attname = r.refers_column)$$, 'relations name columns that there are');

-- Nobody, nothing: no rows but those of what is defined, and no error.
SELECT is_empty('SELECT * FROM loyalty_bi.' || v, v || ' of nobody')
FROM loyalty.bi_views() v WHERE v NOT IN ('relation', 'liability', 'liability_forecast');
SELECT is((SELECT count(*) FROM loyalty_bi.liability WHERE points <> 0 OR owed <> 0) + (SELECT count(*) FROM loyalty_bi.liability_forecast WHERE redeemed <> 0 OR expired <> 0), 0::bigint, 'a currency that nobody has points of is worth nothing');

-- Points.  Three members; 3 is merged into 2.  A day in Shanghai begins at 16:00 UTC.
SELECT loyalty.create_currency('miles', expiry_policy => 'rolling', expiry_interval => '30 days') \g /dev/null
SELECT member_id AS ann FROM loyalty.resolve_member('{"email": "ann@bi.example"}', channel => 'app') \gset
SELECT member_id AS bob FROM loyalty.resolve_member('{"email": "bob@bi.example"}', channel => 'store') \gset
SELECT member_id AS cat FROM loyalty.resolve_member('{"email": "cat@bi.example"}') \gset
SELECT entry_id AS earned FROM loyalty.earn(:ann, 100, 'miles', '2026-01-01 15:59') \gset
SELECT loyalty.earn(:ann, 50, 'miles', '2026-01-01 16:00') \g /dev/null
SELECT entry_id AS spent FROM loyalty.redeem(:ann, 30, 'miles', '2026-01-02') \gset
SELECT entry_id AS refund FROM loyalty.reverse(:ann, :spent, 10, '2026-01-03') \gset
SELECT entry_id AS returned FROM loyalty.reverse(:ann, :earned, 20, '2026-01-03') \gset
SELECT loyalty.reverse(:ann, :returned, effective_at => '2026-01-04') \g /dev/null
SELECT entry_id AS held FROM loyalty.hold(:ann, 40, '2026-01-10', 'miles', '2026-01-05') \gset
SELECT loyalty.capture(:ann, :held, 25, '2026-01-06') \g /dev/null
SELECT loyalty.adjust(:ann, -5, 'a mistake', 'miles', '2026-01-06') \g /dev/null
SELECT loyalty.earn(:cat, 7, 'miles') \g /dev/null
SELECT loyalty.earn(:bob, 3, 'miles') \g /dev/null
SELECT loyalty.merge_members(:bob, :cat, 'the same') \g /dev/null

-- 100 + 50 - 30 + 10 - 20 + 20 - 25 - 5
CREATE FUNCTION pg_temp.days() RETURNS SETOF text LANGUAGE sql AS
$$ SELECT format('%s %s %s %s', d.local_day, d.movement, d.entries, d.points) FROM loyalty_bi.points_by_day d WHERE d.currency = 'miles' AND d.local_day < '2026-02-01' ORDER BY d.local_day, d.movement $$;
CREATE TABLE days_by_hand (day text);
INSERT INTO days_by_hand VALUES ('2026-01-01 earned 1 100'), ('2026-01-02 earned 1 50'), ('2026-01-02 redeemed 1 -30'), ('2026-01-03 refunded 1 10'),
	('2026-01-03 returned 1 -20'), ('2026-01-04 undone 1 20'), ('2026-01-06 adjusted 1 -5'), ('2026-01-06 redeemed 1 -25');
SELECT pg_temp.same('SELECT pg_temp.days()', 'SELECT day FROM days_by_hand ORDER BY day', 'points by day, nothing added up yet');
CALL loyalty.refresh_summaries(2);
SELECT pg_temp.same('SELECT pg_temp.days()', 'SELECT day FROM days_by_hand ORDER BY day', 'points by day, all added up in steps of two');
SELECT is((SELECT sum(entries) FROM loyalty.points_day), (SELECT count(*) FROM loyalty_bi.movement)::numeric, 'all movements are in the sum');
SELECT is((SELECT (status, done = total, message) FROM loyalty.job_run WHERE job = 'refresh_summaries')::text, '(finished,t,"' || (SELECT message FROM loyalty.job_run WHERE job = 'refresh_summaries') || '")', 'the job has finished');
-- late, and on a day that is in the sum
SELECT loyalty.earn(:ann, 1, 'miles', '2026-01-04 10:00') \g /dev/null
INSERT INTO days_by_hand VALUES ('2026-01-04 earned 1 1');
SELECT pg_temp.same('SELECT pg_temp.days()', 'SELECT day FROM days_by_hand ORDER BY day', 'a late entry counts at once');
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'the sum is the ledger''s');
CALL loyalty.refresh_summaries();
SELECT pg_temp.same('SELECT pg_temp.days()', 'SELECT day FROM days_by_hand ORDER BY day', 'and after the next refresh');
CALL loyalty.refresh_summaries();
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'refreshed with nothing to add');
UPDATE loyalty.points_day SET points = points + 1 WHERE local_day = '2026-01-04' AND movement = 'earned';
SELECT pg_temp.same('SELECT invariant, currency, detail FROM loyalty.check_bi()',
	$$VALUES ('summary', 'miles', 'points_day has 1 entries and 2 points for 2026-01-04, earned; the ledger has 1 and 1')$$, 'a sum that is wrong is named');
UPDATE loyalty.points_day SET points = points - 1 WHERE local_day = '2026-01-04' AND movement = 'earned';
-- by another clock the days are others, and the sum counts nothing until it is made anew
SELECT loyalty.configure_program(time_zone => 'UTC') \g /dev/null
SELECT is((SELECT points FROM loyalty_bi.points_by_day WHERE local_day = '2026-01-01' AND movement = 'earned'), 150::numeric, 'the clock of the program');
CALL loyalty.refresh_summaries();
SELECT is((SELECT points FROM loyalty_bi.points_by_day WHERE local_day = '2026-01-01' AND movement = 'earned'), 150::numeric, 'and after a refresh');
SELECT is((SELECT time_zone FROM loyalty.points_day_to), 'UTC', 'whose days they are now');
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'the sum is the ledger''s, by the new clock');

-- archived entries are in it
CALL loyalty.archive_entries(now());
SELECT is((SELECT sum(points) FROM loyalty_bi.points_by_day WHERE local_day < '2026-02-01'), 101::numeric, 'points by day with an archive');
SELECT is((SELECT sum(points) FROM loyalty_bi.movement WHERE member_id = :ann), 101::numeric, 'movements with an archive');
SELECT is((SELECT string_agg(DISTINCT movement, ' ' ORDER BY movement) FROM loyalty_bi.movement WHERE member_id = :ann), 'adjusted earned redeemed refunded returned undone', 'what ann''s movements are');
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'the sum is the ledger''s, archive and all');

-- Wallets: members once, figures of now
SELECT pg_temp.same('SELECT member_id, available, expired, earned, transferred_in FROM loyalty_bi.wallet WHERE currency = ''miles'' ORDER BY member_id',
	format('VALUES (%s::bigint, 0::bigint, 101::bigint, 151::bigint, 0::bigint), (%s, 10, 0, 3, 7)', :ann, :bob), 'the wallets');
SELECT is((SELECT count(*) FROM loyalty_bi.member), 2::bigint, 'members, once');
SELECT is((SELECT merged_members FROM loyalty_bi.member WHERE member_id = :bob), 1::bigint, 'who stands for another');
SELECT pg_temp.same('SELECT DISTINCT member_id FROM loyalty_bi.movement WHERE posted_to = ' || :cat, 'SELECT ' || :bob || '::bigint', 'movements of a merged member are of who stands for it');

-- Expiry: no job has booked any.  30 days behind the instant; what was given back keeps its lot's end.
SELECT pg_temp.same('SELECT local_day, expired, points, members FROM loyalty_bi.expiry WHERE currency = ''miles'' AND local_day < ''2026-02-28'' ORDER BY local_day',
	$$VALUES ('2026-01-31'::date, true, 100::numeric, 1::bigint), ('2026-02-03', true, 1, 1)$$, 'what has expired, and on which days');
SELECT is((SELECT sum(points) FROM loyalty_bi.expiry WHERE NOT expired), 10::numeric, 'what will expire');
CALL loyalty.book_expiries();
SELECT is((SELECT sum(points) FROM loyalty_bi.expiry WHERE expired), 101::numeric, 'booking changes nothing');
SELECT is((SELECT sum(points) FROM loyalty_bi.points_by_day WHERE local_day < '2026-02-01'), 101::numeric, 'and is no movement');
-- in a transaction that began before somebody else posted, and with points of tomorrow
BEGIN;
SELECT loyalty.earn(:bob, 5, 'miles', available_at => now() + interval '1 day') \g /dev/null
SELECT is((SELECT (available, pending)::text FROM loyalty_bi.wallet WHERE member_id = :bob AND currency = 'miles'), '(10,5)', 'within a transaction');
COMMIT;

-- Activities
SELECT activity_id AS first_order FROM loyalty.record_activity(:ann, 'order', '2026-03-01 12:00', 20, money => 'EUR', channel => 'app') \gset
SELECT loyalty.record_activity(:ann, 'order', '2026-03-01 13:00', 30, money => 'EUR', channel => 'app') \g /dev/null
SELECT loyalty.record_activity(:bob, 'order', '2026-03-03 12:00', 5, money => 'EUR', channel => 'store') \g /dev/null
SELECT loyalty.record_activity(:cat, 'check_in', '2026-03-03 13:00') \g /dev/null
SELECT activity_id AS gone FROM loyalty.record_activity(:bob, 'order', '2026-03-05 12:00', 9, money => 'EUR') \gset
SELECT loyalty.record_return(:bob, :gone, at => '2026-03-06') \g /dev/null
SELECT pg_temp.same('SELECT member_id, count(*), sum(amount) FROM loyalty_bi.purchase GROUP BY 1 ORDER BY 1', format('VALUES (%s::bigint, 2::bigint, 50::numeric), (%s, 1, 5)', :ann, :bob), 'purchases that stand');
SELECT pg_temp.same('SELECT member_id, kind, activities FROM loyalty_bi.member_activity ORDER BY 1, 2',
	format('VALUES (%s::bigint, ''order'', 2::bigint), (%s, ''check_in'', 1), (%s, ''order'', 1)', :ann, :bob, :bob), 'what members did');
SELECT pg_temp.same('SELECT local_day, daily, weekly, monthly, stickiness FROM loyalty_bi.active_members WHERE local_day < ''2026-03-04'' ORDER BY 1',
	$$VALUES ('2026-03-01'::date, 1::bigint, 1::bigint, 1::bigint, 1.0000), ('2026-03-02', 0, 1, 1, 0.0000), ('2026-03-03', 1, 2, 2, 0.5000)$$, 'active members');
SELECT pg_temp.same('SELECT local_day, kind, channel, activities, members, amount FROM loyalty_bi.activity_by_day WHERE kind = ''order'' ORDER BY 1',
	$$VALUES ('2026-03-01'::date, 'order', 'app', 2::bigint, 1::bigint, 50::numeric), ('2026-03-03', 'order', 'store', 1, 1, 5)$$, 'orders by day');
SELECT pg_temp.same('SELECT rank, member_id, orders, amount FROM loyalty_bi.top_member ORDER BY rank', format('VALUES (1::bigint, %s::bigint, 2::bigint, 50::numeric), (2, %s, 1, 5)', :ann, :bob), 'who bought most');
SELECT is((SELECT count(*) FROM loyalty.rfm_table('loyalty_bi.purchase')), 2::bigint, 'segments of purchases');

-- Levels: of a state that is current, of one that the clock has passed, of one that knows no new version, of nobody's
SELECT loyalty.define_measure('spend', 'event') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "spend", "window": "rolling", "interval": "20 days"}], "validity": "interval", "validity_interval": "30 days",
	"levels": [{"level": "silver", "name": "Silver", "any": {"spend": 10}}, {"level": "gold", "name": "Gold", "any": {"spend": 100}}]}', '2026-01-01') \g /dev/null
SELECT loyalty.record_qualification(:ann, 'spend', 10, now() - interval '40 days') \g /dev/null
SELECT loyalty.record_qualification(:bob, 'spend', 10, now() - interval '20 days') \g /dev/null
SELECT loyalty.record_qualification(:bob, 'spend', 90, now() - interval '10 days') \g /dev/null
SELECT pg_temp.same('SELECT member_id, level, name, rank, valid_until > now() FROM loyalty_bi.member_level ORDER BY member_id',
	format('VALUES (%s::bigint, NULL, NULL, NULL::int, NULL::bool), (%s, ''gold'', ''Gold'', 2, true)', :ann, :bob), 'levels now: what the clock ended is none, booked or not');
SELECT pg_temp.same('SELECT level, members FROM loyalty_bi.level_now ORDER BY level', $$VALUES ('gold', 1::bigint), (NULL, 1)$$, 'how many have which');
CREATE FUNCTION pg_temp.moves() RETURNS SETOF text LANGUAGE sql AS
$$ SELECT format('%s %s-%s', event, coalesce(from_level, ''), coalesce(to_level, '')) FROM loyalty_bi.level_move ORDER BY member_id, at $$;
SELECT pg_temp.same('SELECT pg_temp.moves()', $$VALUES ('enrolled -silver'), ('expired silver-'), ('enrolled -silver'), ('upgraded silver-gold')$$, 'moves');
CALL loyalty.book_tiers();
SELECT pg_temp.same('SELECT pg_temp.moves()', $$VALUES ('enrolled -silver'), ('expired silver-'), ('enrolled -silver'), ('upgraded silver-gold')$$, 'moves, booked');
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "spend", "window": "rolling", "interval": "1 year"}],
	"levels": [{"level": "silver", "name": "Silver", "any": {"spend": 10}}, {"level": "gold", "name": "Gold", "any": {"spend": 1000}}]}', now() - interval '1 day') \g /dev/null
SELECT pg_temp.same('SELECT m.member_id, m.level FROM loyalty_bi.member_level m ORDER BY 1',
	'SELECT m.member_id, loyalty.tier_of(m.member_id, ''club'') FROM loyalty_bi.member m ORDER BY 1', 'a version that no state knows yet');

-- Campaigns: 2 miles for each euro; one of two orders is returned
SELECT loyalty.define_campaign('twice', '{"then": [{"points": {"give": 2, "per": 1}, "currency": "miles"}]}', '2026-06-01') \g /dev/null
SELECT loyalty.record_activity(:ann, 'order', '2026-06-02 12:00', 10, money => 'EUR') \g /dev/null
SELECT activity_id AS back FROM loyalty.record_activity(:ann, 'order', '2026-06-02 13:00', 20, money => 'EUR') \gset
SELECT loyalty.record_activity(:bob, 'order', '2026-06-03 12:00', 1, money => 'EUR') \g /dev/null
SELECT loyalty.record_return(:ann, :back, at => '2026-06-05') \g /dev/null
SELECT pg_temp.same('SELECT campaign, kind, currency, local_day, awards, members, given, taken_back, limited FROM loyalty_bi.campaign_result ORDER BY local_day',
	$$VALUES ('twice', 'points', 'miles', '2026-06-02'::date, 2::bigint, 1::bigint, 60::numeric, 40::numeric, 0::bigint), ('twice', 'points', 'miles', '2026-06-03', 1, 1, 2, 0, 0)$$, 'what a campaign gave');

-- Coupons: used; reserved; expired; revoked; handed over and used; used and given back with the order
SELECT loyalty.define_benefit('tenth', '{"kind": "coupon", "discount": {"percent": 10}, "codes": "unique"}') \g /dev/null
SELECT loyalty.define_benefit('idle', '{"kind": "coupon", "discount": {"percent": 10}}') \g /dev/null
CREATE FUNCTION pg_temp.issue(member_id bigint, valid_until timestamptz DEFAULT NULL) RETURNS bigint LANGUAGE sql AS
$$ SELECT coupon_id FROM loyalty.issue_coupon($1, 'tenth', now() - interval '10 days', $2) $$;
CREATE FUNCTION pg_temp.code(member_id bigint, coupon_id bigint) RETURNS text LANGUAGE sql AS
$$ SELECT c.code FROM loyalty.coupon c WHERE c.member_id = $1 AND c.coupon_id = $2 $$;
SELECT pg_temp.issue(:ann) AS used, pg_temp.issue(:ann) AS reserved, pg_temp.issue(:ann, now() - interval '1 day') AS expired,
	pg_temp.issue(:ann) AS revoked, pg_temp.issue(:ann) AS given, pg_temp.issue(:ann) AS restored \gset
SELECT loyalty.record_activity(:ann, 'order', now() - interval '2 days', 50, codes => ARRAY[pg_temp.code(:ann, :used)]) \g /dev/null
SELECT loyalty.reserve_coupons(:ann, 'basket', ARRAY[pg_temp.code(:ann, :reserved)], now() + interval '1 hour') \g /dev/null
SELECT loyalty.revoke_coupon(:ann, :revoked) \g /dev/null
SELECT new_coupon_id AS taken FROM loyalty.transfer_coupon(:ann, :bob, :given) \gset
SELECT loyalty.record_activity(:bob, 'order', now(), 30, codes => ARRAY[pg_temp.code(:bob, :taken)]) \g /dev/null
SELECT activity_id AS undone FROM loyalty.record_activity(:ann, 'order', now() - interval '1 day', 70, codes => ARRAY[pg_temp.code(:ann, :restored)]) \gset
SELECT loyalty.record_return(:ann, :undone) \g /dev/null
SELECT pg_temp.same('SELECT benefit, issued, used, redemptions, discount, reserved, expired, revoked FROM loyalty_bi.coupon_funnel ORDER BY benefit',
	$$VALUES ('idle', 0::bigint, 0::bigint, 0::bigint, 0::numeric, 0::bigint, 0::bigint, 0::bigint), ('tenth', 6, 2, 2, 8, 1, 1, 1)$$, 'what became of coupons');

-- How it runs
SELECT is((SELECT status || ' ' || percent FROM loyalty_bi.job WHERE job = 'book_tiers'), 'finished 100.0', 'a job that has finished');
SELECT is((SELECT behind < interval '1 hour' FROM loyalty_bi.job WHERE job = 'refresh_summaries'), true, 'and how far it is behind');
SELECT loyalty.subscribe('crm', '{activity_recorded}') \g /dev/null
SELECT loyalty.record_activity(:ann, 'check_in', now()) \g /dev/null
SELECT loyalty.record_activity(:bob, 'check_in', now()) \g /dev/null
SELECT pg_temp.same('SELECT consumer, slot, waiting FROM loyalty_bi.consumer', $$VALUES ('crm', 0, 2::bigint)$$, 'what waits for a consumer');
SELECT count(*) FROM loyalty.consume_events('crm') \g /dev/null
SELECT pg_temp.same('SELECT consumer, slot, waiting FROM loyalty_bi.consumer', $$VALUES ('crm', 0, 0::bigint)$$, 'and no more');

-- Rights: a reader reads all views, and nobody else does
CREATE ROLE bi_reader; CREATE ROLE bi_nobody;
SELECT loyalty.grant_access('bi_reader', 'reader') \g /dev/null
SET ROLE bi_reader;
SELECT lives_ok(format('SELECT count(*) FROM loyalty_bi.%I', v), 'a reader reads ' || v) FROM loyalty.bi_views() v;
SELECT throws_ok('SELECT * FROM loyalty.add_to_summaries(1)', '42501', NULL, 'and refreshes nothing');
SET ROLE bi_nobody;
SELECT throws_ok('SELECT * FROM loyalty_bi.wallet', '42501', NULL, 'who was given nothing reads nothing');
RESET ROLE;
SELECT loyalty.revoke_access('bi_reader') \g /dev/null
SET ROLE bi_reader;
SELECT throws_ok('SELECT * FROM loyalty_bi.wallet', '42501', NULL, 'nor does who was a reader');
RESET ROLE;
DROP OWNED BY bi_reader, bi_nobody;
DROP ROLE bi_reader; DROP ROLE bi_nobody;

-- What is gone comes back
DROP VIEW loyalty_bi.relation;
SELECT pg_temp.same('SELECT invariant, detail FROM loyalty.check_bi()', $$VALUES ('view', 'the view loyalty_bi.relation is gone; setup() makes it again')$$, 'a view that is gone is named');
SELECT loyalty.setup() \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'and is made again');
-- where a column is gone there are no views until it is back, and nothing else is kept from being set up
BEGIN;
ALTER TABLE loyalty.goal DROP COLUMN problem CASCADE;
SET LOCAL client_min_messages = error;
SELECT lives_ok('SELECT loyalty.setup()', 'a table has lost a column');
SELECT pg_temp.same('SELECT invariant, detail FROM loyalty.check_bi()', $$VALUES ('view', 'the view loyalty_bi.goal is gone; setup() makes it again')$$, 'the view is named');
ALTER TABLE loyalty.goal ADD COLUMN problem text;
SELECT loyalty.setup() \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_bi()', 'it is back');
ROLLBACK;
-- an owner who may make no schema sets up all but the views
CREATE ROLE bi_owner;
DROP SCHEMA loyalty_bi CASCADE;
GRANT USAGE ON SCHEMA loyalty TO bi_owner;
GRANT EXECUTE ON FUNCTION loyalty.make_bi_schema() TO bi_owner;
SET ROLE bi_owner;
SELECT lives_ok('SELECT loyalty.make_bi_schema()', 'without the right to make a schema there is none, and no error');
SELECT is(to_regnamespace('loyalty_bi'), NULL, 'there is none');
RESET ROLE;
CREATE SCHEMA loyalty_bi;
SET ROLE bi_owner;
SELECT throws_ok('SELECT loyalty.make_bi_schema()', 'LY002', 'schema loyalty_bi belongs to somebody else', 'somebody else''s schema');
RESET ROLE;
DROP OWNED BY bi_owner;
DROP ROLE bi_owner;
SELECT loyalty.setup() \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
