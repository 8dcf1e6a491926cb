-- Room event: what happened, in order and once; notices of what time brings.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET TIME ZONE 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok(call, 'LY001', NULL, call || ' before setup()')
FROM unnest('{"poll_events(''x'')","consume_events(''x'')","acknowledge(''x'')","subscribe(''x'', ''{points_changed}'')","due_notices()","event_lag()"}'::text[]) c, LATERAL (SELECT 'SELECT loyalty.' || c AS call) x;
SELECT loyalty.setup() \g /dev/null

-- ids of events in order, and what they are, without what differs from run to run
CREATE FUNCTION pg_temp.told(consumer text, slot integer DEFAULT 0, batch integer DEFAULT 100) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(format('%s %s', e.kind, e.member_id), ', ' ORDER BY e.event_id) FROM loyalty.consume_events($1, $3, $2) e $$;

-- Nobody subscribed: nothing is written (13).
SELECT member_id AS ann FROM loyalty.resolve_member('{"email": "ann@event.example"}') \gset
SELECT count(loyalty.earn(:ann, 1)) FROM generate_series(1, 100) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.event), 0::bigint, 'nobody subscribed: no row');

-- Refusals
SELECT throws_ok(sql, state, message, sql) FROM (VALUES
	($$SELECT loyalty.subscribe('Crm', '{points_changed}')$$, 'LY003', 'invalid name of a consumer: "Crm"'),
	($$SELECT loyalty.subscribe(NULL, '{points_changed}')$$, 'LY003', 'invalid name of a consumer: "NULL"'),
	($$SELECT loyalty.subscribe('crm', '{points_changed,nonsense}')$$, 'LY003', 'unknown kind of event "nonsense"'),
	($$SELECT loyalty.subscribe('crm', '{NULL}')$$, 'LY003', 'unknown kind of event "NULL"'),
	($$SELECT loyalty.subscribe('crm', '{}')$$, 'LY003', 'unknown kind of event "NULL"'),
	($$SELECT loyalty.subscribe('crm', '{points_changed}', -1)$$, 'LY003', 'slots must be between 0 and 1024'),
	($$SELECT loyalty.subscribe('crm', '{points_changed}', from_position => 1000)$$, 'LY653', 'position 1000 is not settled'),
	($$SELECT loyalty.subscribe('crm', '{points_changed}', from_position => -1)$$, 'LY653', 'position -1 is not settled'),
	($$SELECT loyalty.subscribe('crm', '{points_changed}', wake => NULL)$$, 'LY003', 'wake must not be NULL'),
	($$SELECT loyalty.unsubscribe('crm')$$, 'LY651', 'there is no consumer "crm"'),
	($$SELECT loyalty.poll_events('crm')$$, 'LY651', 'there is no consumer "crm"'),
	($$SELECT loyalty.consume_events('crm')$$, 'LY651', 'there is no consumer "crm"'),
	($$SELECT loyalty.consume_notices('crm')$$, 'LY651', 'there is no consumer "crm"'),
	($$SELECT loyalty.acknowledge(NULL)$$, 'LY651', 'there is no consumer "NULL"'),
	($$SELECT loyalty.define_notice('points_changed', 'birthday', '1 day')$$, 'LY003', 'invalid name of a notice: "points_changed"'),
	($$SELECT loyalty.define_notice('soon', 'nonsense', '1 day')$$, 'LY003', 'nothing is known that is due about "nonsense"'),
	($$SELECT loyalty.define_notice('soon', 'birthday', '-1 day')$$, 'LY003', 'lead must be between 0 and 10 years'),
	($$SELECT loyalty.define_notice('soon', 'birthday', '11 years')$$, 'LY003', 'lead must be between 0 and 10 years'),
	($$SELECT loyalty.drop_notice('soon')$$, 'LY654', 'there is no notice "soon"'),
	($$SELECT loyalty.due_notices(notices => '{soon}')$$, 'LY654', 'there is no notice "soon"'),
	($$SELECT loyalty.due_notices('infinity')$$, 'LY003', 'until must be a finite instant'),
	($$CALL loyalty.prune_events(NULL)$$, 'LY003', 'keep must not be negative')) v (sql, state, message)
WHERE sql !~ '^CALL';
CALL loyalty.prune_events();

-- A subscription begins now; the ledger, earlier if one likes.
SELECT is(loyalty.subscribe('crm', '{points_changed,member_created,members_merged,merge_undone,member_forgotten}'), 100::bigint, 'from now on');
SELECT is(pg_temp.told('crm'), NULL, 'nothing yet');
SELECT is(loyalty.subscribe('books', '{points_changed}', from_position => 0), 0::bigint, 'from the beginning');
SELECT is((SELECT count(*) FROM loyalty.poll_events('books', 1000)), 100::bigint, 'the whole ledger');
SELECT results_eq($$SELECT event_id FROM loyalty.poll_events('books', 3)$$, ARRAY[1, 2, 3]::bigint[], 'in order');
SELECT results_eq(format($$SELECT event_id, member_id, kind, payload FROM loyalty.poll_events('books', 1) WHERE at <= recorded_at$$),
	format($$SELECT 1::bigint, %s::bigint, 'points_changed', '{"version": 1, "currency": "points", "kind": "earn", "points": 1, "requested": 1, "available": 1,
		"target_entry_id": null, "counterparty_id": null}'::jsonb$$, :ann), 'an entry as an event');
SELECT throws_ok(sql, state, message, sql) FROM (VALUES
	($$SELECT loyalty.poll_events('crm', 0)$$, 'LY003', 'batch must be between 1 and 1000000'),
	($$SELECT loyalty.poll_events('crm', NULL)$$, 'LY003', 'batch must be between 1 and 1000000'),
	($$SELECT loyalty.poll_events('crm', slot => 1)$$, 'LY003', 'consumer "crm" has no slot 1'),
	($$SELECT loyalty.consume_events('crm', slot => NULL)$$, 'LY003', 'consumer "crm" has no slot NULL'),
	($$SELECT loyalty.poll_events('crm', patience => NULL)$$, 'LY003', 'patience must not be NULL'),
	($$SELECT loyalty.acknowledge('crm', 1000)$$, 'LY653', 'event 1000 was not handed out'),
	($$SELECT loyalty.consume_notices('crm', now() + interval '1 hour')$$, 'LY003', 'until must not be in the future')) v (sql, state, message);

-- Points and other events of a member in true order; polls move nothing, acknowledging moves forward only (5).
SELECT member_id AS bob FROM loyalty.resolve_member('{"email": "bob@event.example"}') \gset
SELECT loyalty.earn(:bob, 5) \g /dev/null
SELECT results_eq($$SELECT kind FROM loyalty.poll_events('crm')$$, ARRAY['member_created', 'points_changed'], 'created, then earned');
SELECT results_eq($$SELECT kind FROM loyalty.poll_events('crm')$$, ARRAY['member_created', 'points_changed'], 'and again');
SELECT is(loyalty.acknowledge('crm', (SELECT max(event_id) FROM loyalty.poll_events('crm'))), (SELECT max(entry_id) FROM loyalty.ledger), 'done');
SELECT is(loyalty.acknowledge('crm', 101), (SELECT max(entry_id) FROM loyalty.ledger), 'never back');
SELECT is_empty($$SELECT * FROM loyalty.poll_events('crm')$$, 'nothing more');

-- A hole: an id that was rolled back is waited for by nobody (3).
SELECT loyalty.earn(:bob, 4) \g /dev/null
BEGIN; SELECT loyalty.earn(:bob, 5) \g /dev/null
ROLLBACK;
SELECT loyalty.earn(:bob, 6) \g /dev/null
SELECT results_eq($$SELECT (payload ->> 'points')::int FROM loyalty.consume_events('crm', patience => '0')$$, ARRAY[4, 6], 'a hole');

-- Effects and position are one (4).
CREATE TABLE sums (id bigint PRIMARY KEY, points bigint);
SELECT loyalty.earn(:bob, i) FROM generate_series(1, 3) i \g /dev/null
BEGIN;
INSERT INTO sums SELECT event_id, (payload ->> 'points')::bigint FROM loyalty.consume_events('crm');
SELECT is((SELECT count(*) FROM sums), 3::bigint, 'consumed');
ROLLBACK;
SELECT is((SELECT count(*) FROM sums), 0::bigint, 'undone');
INSERT INTO sums SELECT event_id, (payload ->> 'points')::bigint FROM loyalty.consume_events('crm');
SELECT is((SELECT sum(points) FROM sums), 6::numeric, 'again, once');
SELECT is_empty($$SELECT * FROM loyalty.consume_events('crm')$$, 'and no more');

-- Merging: events carry who stands for the member, under whose number they stay.
SELECT merge_id AS m FROM loyalty.merge_members(:ann, :bob) \gset
SELECT is(pg_temp.told('crm'), format('points_changed %1$s, points_changed %1$s, members_merged %1$s', :ann), 'a merge, with its points');
SELECT results_eq($$SELECT DISTINCT member_id FROM loyalty.poll_events('books', 1000)$$, ARRAY[:ann]::bigint[], 'the past, too, is of who stands for it');
SELECT loyalty.unmerge_members(:m) \g /dev/null
SELECT is(pg_temp.told('crm'), format('points_changed %1$s, points_changed %2$s, merge_undone %1$s', :ann, :bob), 'undone');
SELECT is((SELECT count(DISTINCT member_id) FROM loyalty.poll_events('books', 1000)), 2::bigint, 'and the past is as it was');

-- Forgetting empties payloads.
SELECT loyalty.forget_member(:bob) \g /dev/null
SELECT is((SELECT kind || payload FROM loyalty.consume_events('crm')), 'member_forgotten{"version": 1}', 'forgotten');
SELECT set_eq(format('SELECT kind, payload FROM loyalty.event WHERE member_id = %s', :bob),
	$$VALUES ('member_created', '{}'::jsonb), ('member_forgotten', '{"version": 1}')$$, 'nothing is said of it any more');
SELECT loyalty.forget_member(:bob) \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.consume_events('crm')$$, 'forgotten once');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Tiers: each change as a posting, a grant or a job makes it, with what caused it.
SELECT loyalty.create_currency('status') \g /dev/null
SELECT loyalty.define_measure('status', 'points', 'status') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "status", "window": "year"}], "period": "year", "validity": "period", "at_end": "reassess",
	"levels": [{"level": "blue"}, {"level": "silver", "all": {"status": 100}}, {"level": "gold", "all": {"status": 200}}]}') \g /dev/null
SELECT loyalty.subscribe('tiers', '{tier_changed}') \g /dev/null
CREATE FUNCTION pg_temp.changes() RETURNS SETOF text LANGUAGE sql AS
$$ SELECT concat_ws(' ', e.member_id, e.payload ->> 'ladder', coalesce(e.payload ->> 'from', '-'), coalesce(e.payload ->> 'to', '-'), e.payload ->> 'event', e.payload ->> 'reason',
	CASE WHEN e.payload ? 'entry_id' THEN (e.payload ->> 'entry_id')::bigint < e.event_id END, e.at AT TIME ZONE 'UTC')
	FROM loyalty.consume_events('tiers') e $$;
SELECT loyalty.earn(60, 50, 'status', '2026-01-10') \g /dev/null
SELECT results_eq('SELECT pg_temp.changes()', ARRAY['60 club - blue enrolled qualified t 2026-01-10 00:00:00'], 'a member begins');
SELECT loyalty.earn(60, 60, 'status', '2026-02-01') \g /dev/null
SELECT results_eq('SELECT pg_temp.changes()', ARRAY['60 club blue silver upgraded qualified t 2026-02-01 00:00:00'], 'and climbs');
SELECT loyalty.earn(60, 10, 'status', '2026-02-02') \g /dev/null
SELECT is_empty('SELECT pg_temp.changes()', 'points that change no tier');
SELECT entry_id AS late FROM loyalty.earn(60, 90, 'status', '2026-01-20') \gset
SELECT is((SELECT count(*) FROM pg_temp.changes() c WHERE c LIKE '60 club silver gold %'), 1::bigint, 'a late fact');
SELECT loyalty.reverse(60, :late) \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.changes() c WHERE c LIKE '60 club gold silver %'), 1::bigint, 'taken back');
SELECT loyalty.grant_tier(61, 'club', 'gold', 'manual') \g /dev/null
SELECT is((SELECT count(*) FROM pg_temp.changes() c WHERE c LIKE '61 club - gold enrolled granted %'), 1::bigint, 'a grant');
SELECT is((SELECT (e.payload ->> 'grant_id')::bigint FROM loyalty.event e WHERE e.member_id = 61 AND e.kind = 'tier_changed'),
	(SELECT g.grant_id FROM loyalty.tier_grant g WHERE g.member_id = 61), 'which it names');
SELECT loyalty.earn(62, 150, 'status', '2024-06-01') \g /dev/null
SELECT is((SELECT string_agg(c, '; ') FROM pg_temp.changes() c), '62 club - silver enrolled qualified t 2024-06-01 00:00:00', 'of last year');
CALL loyalty.evaluate_tiers();
SELECT is((SELECT count(*) FROM pg_temp.changes() c WHERE c LIKE '62 club silver blue %'), 1::bigint, 'it fell by the clock: told when it is booked');
SELECT loyalty.define_ladder('other', '{"measures": [{"measure": "status", "window": "lifetime"}], "levels": [{"level": "a"}, {"level": "b", "all": {"status": 100}}]}') \g /dev/null
CALL loyalty.evaluate_tiers('other');
SELECT is((SELECT count(*) FROM pg_temp.changes() c WHERE c ~ '^6[02] other - b '), 2::bigint, 'a ladder that is new');

-- Slots share members out, each in order; a member is always in the same one (6).
SELECT loyalty.subscribe('workers', '{points_changed}', 4) \g /dev/null
SELECT count(loyalty.earn(m, 1)) FROM generate_series(1001, 1100) m, generate_series(1, 10) i \g /dev/null
CREATE TABLE done (slot integer, event_id bigint PRIMARY KEY, member_id bigint, n integer GENERATED ALWAYS AS IDENTITY);
DO $$
DECLARE
	worker integer;
	more boolean := true;
BEGIN
	WHILE more LOOP
		more := false;
		FOR worker IN 0 .. 3 LOOP
			INSERT INTO done (slot, event_id, member_id) SELECT worker, e.event_id, e.member_id FROM loyalty.consume_events('workers', 7, worker) e;
			more := more OR FOUND;
		END LOOP;
	END LOOP;
END
$$;
SELECT is((SELECT count(*) FROM done), 1000::bigint, 'each event once');
SELECT is((SELECT count(DISTINCT slot) FROM done), 4::bigint, 'all had some');
SELECT is_empty('SELECT member_id FROM done GROUP BY member_id HAVING count(DISTINCT slot) > 1', 'a member is in one slot');
SELECT is_empty('SELECT FROM (SELECT event_id, lag(event_id) OVER (PARTITION BY slot ORDER BY n) AS before FROM done) d WHERE before > event_id', 'ids only rise');

-- Another number of slots: the old ones come to where the new ones begin (6).
TRUNCATE done;
SELECT loyalty.subscribe('pair', '{points_changed}', 2) AS begins \gset
SELECT loyalty.earn(m, 1) FROM generate_series(1001, 1050) m \g /dev/null
INSERT INTO done (slot, event_id, member_id) SELECT 0, e.event_id, e.member_id FROM loyalty.consume_events('pair', 3, 0) e;
INSERT INTO done (slot, event_id, member_id) SELECT 1, e.event_id, e.member_id FROM loyalty.consume_events('pair', 9, 1) e;
SELECT is(loyalty.subscribe('pair', '{points_changed}', 3), :begins + 50::bigint, 'three begin at what is settled');
SELECT is(loyalty.subscribe('pair', '{points_changed}', 3), :begins + 50::bigint, 'said twice');
SELECT loyalty.earn(m, 1) FROM generate_series(1001, 1030) m \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.consume_events('pair', 100, 2)$$, 'the third waits');
INSERT INTO done (slot, event_id, member_id) SELECT 0, e.event_id, e.member_id FROM loyalty.consume_events('pair', 100, 0) e;
SELECT is_empty($$SELECT * FROM loyalty.consume_events('pair', 100, 2)$$, 'for both');
SELECT is_empty($$SELECT * FROM loyalty.consume_events('pair', 100, 0)$$, 'as does the first');
INSERT INTO done (slot, event_id, member_id) SELECT 1, e.event_id, e.member_id FROM loyalty.consume_events('pair', 100, 1) e;
SELECT is((SELECT count(*) FROM done), 50::bigint, 'two were at the end');
INSERT INTO done (slot, event_id, member_id) SELECT 10 + s, e.event_id, e.member_id FROM generate_series(0, 2) s, loyalty.consume_events('pair', 100, s) e;
SELECT is((SELECT count(*) FROM done), 80::bigint, 'then three; each event once');
SELECT is((SELECT count(DISTINCT slot) FROM done), 5::bigint, 'all had some');
-- fewer, by poll and acknowledge
SELECT loyalty.earn(m, 1) FROM generate_series(1001, 1030) m \g /dev/null
SELECT loyalty.subscribe('pair', '{points_changed}', 1) \g /dev/null
SELECT loyalty.earn(m, 1) FROM generate_series(1001, 1020) m \g /dev/null
CREATE FUNCTION pg_temp.work(worker integer) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	last bigint;
BEGIN
	LOOP
		WITH got AS (INSERT INTO done (slot, event_id, member_id) SELECT 20 + worker, e.event_id, e.member_id FROM loyalty.poll_events('pair', 4, worker) e RETURNING event_id)
		SELECT max(event_id) INTO last FROM got;
		PERFORM loyalty.acknowledge('pair', last, worker);
		EXIT WHEN last IS NULL;
	END LOOP;
	RETURN 'at the end';
EXCEPTION WHEN SQLSTATE 'LY003' THEN
	RETURN SQLERRM;
END
$$;
SELECT is(pg_temp.work(0), 'at the end', 'the first');
SELECT is(pg_temp.work(0), 'at the end', 'waits');
SELECT is(pg_temp.work(2), 'at the end', 'for the third');
SELECT is((SELECT count(*) FROM done), 80 + (SELECT count(*) FROM generate_series(1001, 1030) m WHERE loyalty.slot_of(m, 3) <> 1), 'which are at the end');
SELECT is(pg_temp.work(1), 'at the end', 'as the second');
SELECT is(pg_temp.work(1), 'consumer "pair" has no slot 1', 'which is no more');
SELECT is(pg_temp.work(2), 'consumer "pair" has no slot 2', 'nor is the third');
SELECT is(pg_temp.work(0), 'at the end', 'one is left');
SELECT is((SELECT count(*) FROM done), 130::bigint, 'each event once');
SELECT results_eq($$SELECT slots, slot FROM loyalty.event_position WHERE consumer = 'pair'$$, 'VALUES (1, 0)', 'and is alone');
SELECT is_empty('SELECT * FROM loyalty.check_event()', 'all is well');

-- What is not for a consumer: acknowledging nothing moves over it.
SELECT loyalty.subscribe('rare', '{member_created}') AS begins \gset
SELECT loyalty.earn(1, 1) FROM generate_series(1, 10) \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.poll_events('rare')$$, 'nothing for it');
SELECT is(loyalty.acknowledge('rare'), :begins + 10::bigint, 'moved over');
SELECT loyalty.earn(1, 1) \g /dev/null
SELECT loyalty.resolve_member('{"email": "carl@event.example"}') \g /dev/null
SELECT is(loyalty.acknowledge('rare'), :begins + 11::bigint, 'but not over what is');
SELECT is((SELECT count(*) FROM loyalty.poll_events('rare')), 1::bigint, 'which is there');
SELECT is((SELECT behind FROM loyalty.event_lag() WHERE consumer = 'rare'), 1::bigint, 'and behind');

-- Kinds come and go.
SELECT loyalty.subscribe('rare', '{members_merged}') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.poll_events('rare')$$, 'no longer wanted');
SELECT loyalty.subscribe('rare', '{member_created}', from_position => 0) \g /dev/null
SELECT cmp_ok((SELECT count(*) FROM loyalty.poll_events('rare')), '>=', 2::bigint, 'what there is, from the beginning');
SELECT loyalty.subscribe('table_reader', '{member_created}', 0) \g /dev/null
SELECT throws_ok($$SELECT loyalty.poll_events('table_reader')$$, 'LY003', 'consumer "table_reader" has no slot 0', 'it reads the table itself');

-- Pruning: what all have done, and is old enough.
SELECT is((SELECT count(*) FROM loyalty.event WHERE kind = 'member_created'), 2::bigint, 'two');
CALL loyalty.prune_events('0');
SELECT is((SELECT count(*) FROM loyalty.event WHERE kind = 'member_created'), 2::bigint, 'not before everybody has them');
SELECT count(*) FROM loyalty.consume_events('rare') \g /dev/null
SELECT count(*) FROM loyalty.consume_events('crm', 10000) \g /dev/null
SELECT count(*) FROM loyalty.consume_events('tiers', 10000) \g /dev/null
CALL loyalty.prune_events('1 day');
SELECT is((SELECT count(*) FROM loyalty.event WHERE kind = 'member_created'), 2::bigint, 'nor while they are young');
CALL loyalty.prune_events('0', 3);
SELECT is((SELECT count(*) FROM loyalty.event), 0::bigint, 'then all, whoever polls the ledger only');
SELECT is_empty('SELECT * FROM loyalty.check_event()', 'what was pruned is not missing');
SELECT loyalty.unsubscribe(c) FROM unnest('{rare,crm,pair,workers,table_reader,books,tiers}'::text[]) c \g /dev/null
SELECT is_empty($$SELECT 1 FROM loyalty.event_position UNION ALL SELECT 1 FROM loyalty.event_subscription$$, 'nobody left');
SELECT loyalty.resolve_member('{"email": "dora@event.example"}') \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.event), 0::bigint, 'and nothing is written');

-- A table with a trigger is written by statements, with the same result; wake-ups.
CREATE TABLE seen (kind text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.seen VALUES (NEW.kind); RETURN NULL; END';
CREATE TRIGGER see AFTER INSERT ON loyalty.event FOR EACH ROW EXECUTE FUNCTION see();
SELECT loyalty.subscribe('waking', '{member_created,points_changed}', wake => true) \g /dev/null
SELECT loyalty.resolve_member('{"email": "emil@event.example"}') \g /dev/null
SELECT results_eq('SELECT * FROM seen', ARRAY['member_created'], 'a trigger of a user sees it');
SELECT is((SELECT count(*) FROM loyalty.poll_events('waking')), 1::bigint, 'and it is there');
DROP TRIGGER see ON loyalty.event;
SELECT loyalty.unsubscribe('waking') \g /dev/null

-- Not in a snapshot of its own
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT loyalty.subscribe('late', '{points_changed}')$$, '0A000', 'what is settled can only be told in READ COMMITTED', 'subscribe');
ROLLBACK;
SELECT loyalty.subscribe('late', '{points_changed}') \g /dev/null
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT throws_ok($$SELECT loyalty.poll_events('late')$$, '0A000', 'what is settled can only be told in READ COMMITTED', 'poll_events');
ROLLBACK;

-- ---------------------------------------------------------------------------
-- Notices
-- ---------------------------------------------------------------------------
CREATE FUNCTION pg_temp.given(consumer text, until timestamptz, batch integer DEFAULT 100) RETURNS text LANGUAGE sql AS
$$ SELECT coalesce(string_agg(concat_ws(' ', n.member_id, n.notice, n.at::date, n.payload ->> 'points'), ', '), 'none') FROM loyalty.consume_notices($1, $2, $3) n $$;

-- Points that expire (7): 100 to 31 March, 50 to 30 April, 30 days before.
SELECT loyalty.create_currency('stars') \g /dev/null
SELECT loyalty.define_notice('stars_expire', 'points_expiring', '30 days', 'stars') \g /dev/null
SELECT loyalty.subscribe('mailer', '{stars_expire}'), loyalty.subscribe('app', '{stars_expire}') \g /dev/null
SELECT loyalty.earn(7, 100, 'stars', '2026-01-01', expires_at => '2026-03-31'), loyalty.earn(7, 50, 'stars', '2026-01-01', expires_at => '2026-04-30') \g /dev/null
SELECT loyalty.earn(8, 100, 'stars', '2026-01-01', expires_at => '2026-03-31'), loyalty.redeem(8, 60, 'stars', '2026-02-27') \g /dev/null
SELECT is(pg_temp.given('mailer', '2026-02-28 23:59'), 'none', 'a minute before');
SELECT is(pg_temp.given('mailer', '2026-03-01 00:00'), '7 stars_expire 2026-03-31 100, 8 stars_expire 2026-03-31 40', 'due, with what was left');
SELECT is(pg_temp.given('mailer', '2026-03-01 00:00'), 'none', 'once');
SELECT results_eq($$SELECT member_id, notice, subject, due_at, at, payload FROM loyalty.due_notices('2026-03-01', member_id => 8)$$,
	$$VALUES (8::bigint, 'stars_expire', 'stars ' || extract(epoch FROM timestamptz '2026-03-31')::bigint, timestamptz '2026-03-01', timestamptz '2026-03-31',
		'{"version": 1, "currency": "stars", "points": 40}'::jsonb)$$, 'looking at what is due takes nothing');
SELECT loyalty.earn(7, 30, 'stars', '2026-03-05', expires_at => '2026-03-31') \g /dev/null
SELECT is(pg_temp.given('mailer', '2026-03-06'), 'none', 'more at the same instant is not told again');
SELECT is(pg_temp.given('app', '2026-03-06'), '7 stars_expire 2026-03-31 130, 8 stars_expire 2026-03-31 40', 'another consumer has each once, too, with the figures of then');
SELECT loyalty.redeem(7, 60, 'stars', '2026-03-20') \g /dev/null
SELECT is(pg_temp.given('mailer', '2026-03-20'), 'none', 'less is not told either');
SELECT is(pg_temp.given('mailer', '2026-03-31 00:00'), '7 stars_expire 2026-04-30 50', 'the next');
-- Slept (10): what is no longer true is never told, what is, once, due in the past.
SELECT is(pg_temp.given('app', '2026-05-05'), 'none', 'the app slept: it is over');
SELECT loyalty.earn(9, 10, 'stars', '2026-01-01', expires_at => '2026-04-15'), loyalty.earn(10, 20, 'stars', '2026-01-01', expires_at => '2026-04-15') \g /dev/null
SELECT loyalty.redeem(9, 10, 'stars', '2026-03-20'), loyalty.redeem(10, 5, 'stars', '2026-03-21') \g /dev/null
SELECT is(pg_temp.given('app', '2026-03-26'), '10 stars_expire 2026-04-15 15', 'ten days late: what is still true, with the figures of today');
-- what is asked as of an instant before the last entry counts from that entry on
SELECT is(pg_temp.given('mailer', '2026-03-26'), '10 stars_expire 2026-04-15 15', 'the same');

-- Sliding expiry that moved (8)
SELECT loyalty.create_currency('slide', expiry_policy => 'sliding', expiry_interval => '3 months') \g /dev/null
SELECT loyalty.define_notice('slide_expires', 'points_expiring', '30 days', 'slide') \g /dev/null
SELECT loyalty.subscribe('slider', '{slide_expires}') \g /dev/null
SELECT loyalty.earn(11, 100, 'slide', '2025-12-31'), loyalty.earn(11, 1, 'slide', '2026-02-15') \g /dev/null
SELECT is(pg_temp.given('slider', '2026-03-01'), 'none', 'the expiry moved');
SELECT is(pg_temp.given('slider', '2026-04-15'), '11 slide_expires 2026-05-15 101', 'to here');

-- A tier that falls (9): README's member 60
SELECT loyalty.create_currency('status_points') \g /dev/null
SELECT loyalty.define_measure('status_points', 'points', 'status_points') \g /dev/null
SELECT loyalty.define_ladder('gold_club', '{"measures": [{"measure": "status_points", "window": "rolling", "interval": "12 months"}], "validity": "interval", "validity_interval": "12 months",
	"at_end": "reassess", "levels": [{"level": "blue"}, {"level": "silver", "all": {"status_points": 500}}, {"level": "gold", "all": {"status_points": 1500}}]}') \g /dev/null
SELECT loyalty.define_notice('falls_30', 'tier_falling', '30 days', 'gold_club'), loyalty.define_notice('falls_20', 'tier_falling', '20 days', 'gold_club') \g /dev/null
SELECT loyalty.subscribe('lounge', '{falls_30,falls_20}') \g /dev/null
SELECT loyalty.earn(70, 1500, 'status_points', '2025-03-01') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.consume_notices('lounge', '2026-01-29 23:59')$$, 'not yet');
SELECT results_eq($$SELECT member_id, notice, due_at, at, payload FROM loyalty.consume_notices('lounge', '2026-01-30')$$,
	$$VALUES (70::bigint, 'falls_30', timestamptz '2026-01-30', timestamptz '2026-03-01', '{"version": 1, "ladder": "gold_club", "level": "gold", "measures_needed": 1,
		"measures": [{"measure": "status_points", "have": 0, "needed": 1500, "missing": 1500}]}'::jsonb)$$, '1,500 are missing');
SELECT loyalty.earn(70, 1500, 'status_points', '2026-02-01') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.consume_notices('lounge', '2026-02-10')$$, 'earned meanwhile: nothing 20 days before');

-- A hold that lapses
SELECT loyalty.earn(12, 100, 'stars', '2026-01-01') \g /dev/null
SELECT entry_id AS h FROM loyalty.hold(12, 40, '2026-02-01 12:00', 'stars', effective_at => '2026-01-15') \gset
SELECT loyalty.define_notice('hold_ends', 'hold_lapsing', '1 hour') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-02-01 10:59', '{hold_ends}')$$, 'more than an hour');
SELECT results_eq($$SELECT member_id, at, payload FROM loyalty.due_notices('2026-02-01 11:00', '{hold_ends}')$$,
	format($$VALUES (12::bigint, timestamptz '2026-02-01 12:00', '{"version": 1, "currency": "stars", "hold_id": %s, "points": 40}'::jsonb)$$, :h), 'an hour');
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-02-01 12:00', '{hold_ends}')$$, 'lapsed');

-- A coupon that ends
SELECT loyalty.define_benefit('tea', '{"kind": "coupon", "discount": {"amount": 5}, "between": [null, "2026-04-01"], "times": 2}') \g /dev/null
SELECT coupon_id AS k, code AS ck FROM loyalty.issue_coupon(13, 'tea', '2026-01-10') \gset
SELECT loyalty.define_notice('tea_ends', 'coupon_ending', '7 days', 'tea') \g /dev/null
SELECT loyalty.subscribe('tea_house', '{tea_ends}') \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-03-24 23:59', '{tea_ends}')$$, 'more than seven days');
SELECT results_eq($$SELECT member_id, due_at, at, payload FROM loyalty.due_notices('2026-03-25', '{tea_ends}')$$,
	format($$VALUES (13::bigint, timestamptz '2026-03-25', timestamptz '2026-04-01', '{"version": 1, "coupon_id": %s, "benefit": "tea", "uses_left": 2}'::jsonb)$$, :k), 'seven days');
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-04-01', '{tea_ends}')$$, 'over');
SELECT loyalty.record_activity(13, 'order', '2026-03-01', 20.00, codes => ARRAY[:'ck']) \g /dev/null
SELECT is((SELECT payload ->> 'uses_left' FROM loyalty.due_notices('2026-03-25', '{tea_ends}')), '1', 'with the figures of then');
SELECT is((SELECT count(*) FROM loyalty.consume_notices('tea_house', '2026-03-25')), 1::bigint, 'told');
SELECT is((SELECT count(*) FROM loyalty.consume_notices('tea_house', '2026-03-26')), 0::bigint, 'once');
SELECT coupon_id AS k2, code AS ck2 FROM loyalty.issue_coupon(14, 'tea', '2026-01-10') \gset
SELECT loyalty.record_activity(14, 'order', at, 20.00, codes => ARRAY[:'ck2']) FROM (VALUES ('2026-03-01'::timestamptz), ('2026-03-02')) v (at) \g /dev/null
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-03-25', '{tea_ends}', 14)$$, 'used up: nothing is lost');
SELECT member_id AS s FROM loyalty.resolve_member('{"email": "tea@event.example"}') \gset
SELECT member_id AS o FROM loyalty.resolve_member('{"email": "tee@event.example"}') \gset
SELECT loyalty.issue_coupon(:o, 'tea', '2026-01-10'), loyalty.merge_members(:s, :o) \g /dev/null
SELECT is((SELECT member_id FROM loyalty.due_notices('2026-03-25', '{tea_ends}', :o)), :s::bigint, 'of a merged member: who stands for it');
SELECT is((SELECT string_agg(member_id::text, ',' ORDER BY member_id) FROM loyalty.due_notices('2026-03-25', '{tea_ends}')), '13,' || :s, 'once among all');

-- Birthdays, in the program's time zone; who is born on a leap day has the 28th in other years.
SELECT member_id AS leap FROM loyalty.resolve_member('{"email": "leap@event.example"}', attributes => '{"birthday": "1992-02-29"}') \gset
SELECT loyalty.resolve_member('{"email": "odd@event.example"}', attributes => '{"birthday": "soon"}') \g /dev/null
SELECT loyalty.define_notice('birthday_3', 'birthday', '3 days') \g /dev/null
SELECT results_eq($$SELECT u, b.at::date, b.due_at FROM unnest('{2026-02-24 23:59,2026-02-25,2026-02-28 23:59,2026-03-01,2028-02-26,2028-02-29 12:00}'::timestamptz[]) WITH ORDINALITY x (u, n),
	loyalty.due_notices(u, '{birthday_3}') b ORDER BY n$$,
	$$VALUES (timestamptz '2026-02-25', date '2026-02-28', timestamptz '2026-02-25'), ('2026-02-28 23:59', '2026-02-28', '2026-02-25'),
		('2028-02-26', '2028-02-29', '2028-02-26'), ('2028-02-29 12:00', '2028-02-29', '2028-02-26')$$, 'birthdays');
SELECT loyalty.configure_program('Asia/Shanghai') \g /dev/null
SELECT is((SELECT due_at FROM loyalty.due_notices('2026-02-24 16:00', '{birthday_3}')), timestamptz '2026-02-25 00:00+08', 'where the program is');
SELECT is_empty($$SELECT * FROM loyalty.due_notices('2026-02-24 15:59', '{birthday_3}')$$, 'not a minute before');
SELECT loyalty.configure_program('UTC') \g /dev/null

-- Batches go once around, and nobody is told twice or left out; who was told under another number is not told again.
SELECT loyalty.subscribe('slow', '{stars_expire,birthday_3}') \g /dev/null
SELECT loyalty.earn(m, m, 'stars', '2026-01-01', expires_at => '2026-06-30') FROM generate_series(101, 120) m, generate_series(1, 2) \g /dev/null
SELECT loyalty.earn(m, m, 'stars', '2026-01-01', expires_at => '2026-06-29') FROM generate_series(101, 120) m \g /dev/null
CREATE TABLE got AS SELECT * FROM loyalty.consume_notices('slow', '2026-06-10', 7);
DO $$ BEGIN LOOP INSERT INTO got SELECT * FROM loyalty.consume_notices('slow', '2026-06-10', 7); EXIT WHEN NOT FOUND; END LOOP; END $$;
SELECT is((SELECT count(*) FROM got), 40::bigint, 'all');
SELECT is((SELECT count(DISTINCT (member_id, subject)) FROM got), 40::bigint, 'once');
SELECT is_empty('SELECT FROM got JOIN loyalty.due_notices(''2026-06-10'') d USING (member_id, notice, subject) WHERE d.due_at > ''2026-06-10''', 'due');
SELECT member_id AS one FROM loyalty.resolve_member('{"email": "one@event.example"}') \gset
SELECT member_id AS two FROM loyalty.resolve_member('{"email": "two@event.example"}') \gset
SELECT loyalty.earn(:two, 5, 'stars', '2026-01-01', expires_at => '2026-06-28') \g /dev/null
SELECT is(pg_temp.given('slow', '2026-06-10'), format('%s stars_expire 2026-06-28 5', :two), 'told');
SELECT merge_id AS m FROM loyalty.merge_members(:one, :two) \gset
SELECT is_empty(format('SELECT * FROM loyalty.consume_notices(''slow'', now()) WHERE member_id = %s', :one), 'merged: not again');
SELECT loyalty.forget_member(:one) \g /dev/null
SELECT is_empty(format('SELECT * FROM loyalty.notice WHERE member_id IN (%s, %s)', :one, :two), 'forgotten');
SELECT is_empty(format('SELECT * FROM loyalty.due_notices(''2026-06-10'', member_id => %s)', :one), 'and told nothing');

-- What is old goes; what was dropped is gone.
SELECT cmp_ok((SELECT count(*) FROM loyalty.notice), '>', 40::bigint, 'notices');
CALL loyalty.prune_events('0', 7);
SELECT is_empty('SELECT FROM loyalty.notice WHERE at < now()', 'pruned');
SELECT loyalty.drop_notice('birthday_3') \g /dev/null
SELECT results_eq($$SELECT kind FROM loyalty.event_subscription WHERE consumer = 'slow'$$, ARRAY['stars_expire'], 'nobody has it');

-- What check_event() finds
SELECT is_empty('SELECT * FROM loyalty.check_event()', 'all is well');
BEGIN;
INSERT INTO loyalty.event VALUES (1, 1, 'member_created', now(), now(), '{"version": 1}'), (1, 1000000, 'member_created', now(), now(), '[]'), (3, 1000000, 'member_created', now(), now(), '{"version": 1}');
UPDATE loyalty.event_position SET done_to = 1000000 WHERE consumer = 'late';
DELETE FROM loyalty.event_position WHERE consumer = 'slow';
INSERT INTO loyalty.notice VALUES (1, 'slow', 'stars_expire', 'x', now() + interval '1 day', now());
INSERT INTO loyalty.notice_definition VALUES ('odd', 'nonsense', '1 day');
INSERT INTO loyalty.event_subscription VALUES ('late', 'member_created', '2000-01-01');
DELETE FROM loyalty.job_run;
SELECT set_eq('SELECT DISTINCT invariant, regexp_replace(detail, ''\d+'', ''#'', ''g'') FROM loyalty.check_event()', $$VALUES
	('position', 'consumer late, slot #: no event has this id yet'), ('position', 'consumer slow has # slots of #'), ('event id', 'its id was never drawn'),
	('event id', '# events have this id'), ('event id', 'an entry has the same id'), ('payload', 'the payload of this member_created has no version'),
	('lost event', 'there is no member_created of act #'), ('notice', 'stars_expire of x was told when it was not due'),
	('notice', 'notice odd is about nonsense, of which nothing is known')$$, 'check_event()');
ROLLBACK;

-- Rights: a consumer may consume, and nothing else.
CREATE ROLE event_consumer_role; CREATE ROLE event_reader_role;
SELECT loyalty.grant_access('event_consumer_role', 'consumer'), loyalty.grant_access('event_reader_role', 'reader') \g /dev/null
GRANT USAGE ON SCHEMA public TO PUBLIC;
SET ROLE event_consumer_role;
SELECT lives_ok(sql, sql) FROM unnest(ARRAY[$$SELECT * FROM loyalty.poll_events('late')$$, $$SELECT * FROM loyalty.consume_events('late')$$, $$SELECT loyalty.acknowledge('late')$$,
	$$SELECT * FROM loyalty.consume_notices('slow')$$, 'SELECT * FROM loyalty.due_notices()', 'SELECT * FROM loyalty.event_lag()', 'SELECT * FROM loyalty.check_event()']) sql;
SELECT throws_ok(sql, '42501', NULL, sql) FROM unnest(ARRAY[$$SELECT loyalty.subscribe('late', '{points_changed}')$$, 'SELECT loyalty.earn(1, 1)',
	$$SELECT loyalty.happen('member_created', 1, now(), '{}')$$, $$SELECT loyalty.is_heard('member_created')$$, 'DELETE FROM loyalty.event', 'SELECT * FROM loyalty.prune_batch(now(), 1, 1)']) sql;
SET ROLE event_reader_role;
SELECT throws_ok(sql, '42501', NULL, 'a reader: ' || sql) FROM unnest(ARRAY[$$SELECT loyalty.poll_events('late')$$, $$SELECT loyalty.consume_notices('slow')$$]) sql;
SELECT lives_ok('SELECT * FROM loyalty.due_notices()', 'a reader may look');
RESET ROLE;
SELECT is_empty($$SELECT * FROM loyalty.due_notices(member_id => '-9223372036854775808')$$, 'a member before whom there is none');
SELECT results_eq('SELECT loyalty.member_before(m) FROM (VALUES (5::bigint), (''-9223372036854775808'')) v (m)', 'VALUES (4::bigint), (NULL)', 'whom NULL stands for');
DROP OWNED BY event_consumer_role, event_reader_role;
DROP ROLE event_consumer_role; DROP ROLE event_reader_role;
SELECT * FROM finish();
