/*
 * event: who wants to know.
 */

CREATE FUNCTION require_consumer(consumer text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.event_consumer c WHERE c.consumer = $1) THEN
		RAISE EXCEPTION 'there is no consumer "%"', coalesce(consumer, 'NULL')
			USING ERRCODE = 'LY651', DETAIL = 'The table loyalty.event_consumer has no row with this name.',
				HINT = 'Consumers are made by loyalty.subscribe().';
	END IF;
	RETURN consumer;
END
$$;
COMMENT ON FUNCTION require_consumer(text) IS 'Answers with the consumer; LY651 when there is none of this name. Part of poll_events() and acknowledge().';

CREATE FUNCTION has_rows(kind text) RETURNS boolean
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $1 = ANY (loyalty.declared_happenings()) AND $1 <> 'points_changed'
$$;
COMMENT ON FUNCTION has_rows(text) IS 'Whether what a consumer subscribed to is written into the table event: points_changed is read from the ledger, and notices are computed.';

CREATE FUNCTION subscribe(consumer text, kinds text[], slots integer DEFAULT 1, from_position bigint DEFAULT NULL, wake boolean DEFAULT false)
RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	unknown CONSTANT text := (SELECT coalesce(k, 'NULL') FROM unnest(kinds) k WHERE k IS NULL OR k <> ALL (loyalty.declared_happenings())
		AND NOT EXISTS (SELECT FROM loyalty.notice_definition d WHERE d.notice = k) LIMIT 1);
	settled bigint;
	last record;
	begins bigint;
	changed boolean;
BEGIN
	IF coalesce(consumer, '') !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a consumer: "%"', coalesce(consumer, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It has up to 63 small letters, digits and _, a letter first.', HINT = 'Choose another name.';
	ELSIF unknown IS NOT NULL OR coalesce(cardinality(kinds), 0) = 0 THEN
		RAISE EXCEPTION 'unknown kind of event "%"', coalesce(unknown, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A consumer subscribes to what can happen, and to notices that are defined.',
				HINT = format('It is one of %s, or a notice of define_notice().', array_to_string(loyalty.declared_happenings(), ', '));
	ELSIF slots IS NULL OR slots NOT BETWEEN 0 AND 1024 THEN
		RAISE EXCEPTION 'slots must be between 0 and 1024'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(slots::text, 'NULL')),
				HINT = 'It is the number of workers that share the events; 0 where the table itself is read.';
	ELSIF wake IS NULL THEN
		RAISE EXCEPTION 'wake must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'It says whether commits wake those who LISTEN.', HINT = 'Leave it out for false.';
	END IF;
	PERFORM loyalty.refuse_distributed('subscribe');
	-- waits for those who write into the ledger, and for the consumer's own workers; and last for whoever asked what is heard, whom that
	-- must not keep waiting
	settled := loyalty.settled_entry_id();
	IF from_position NOT BETWEEN 0 AND settled THEN
		RAISE EXCEPTION 'position % is not settled', from_position
			USING ERRCODE = 'LY653', DETAIL = format('Ids are settled up to %s.', settled), HINT = 'Leave it out to begin now; 0 is the beginning.';
	END IF;
	PERFORM FROM loyalty.event_position p WHERE p.consumer = subscribe.consumer ORDER BY p.generation, p.slot FOR UPDATE;
	PERFORM loyalty.lock_against_writers('loyalty.event_subscription');

	INSERT INTO loyalty.event_consumer AS c (consumer, slots, wake) VALUES (consumer, slots, wake)
	ON CONFLICT ON CONSTRAINT event_consumer_pkey DO UPDATE SET slots = excluded.slots, wake = excluded.wake
	WHERE (c.slots, c.wake) IS DISTINCT FROM (excluded.slots, excluded.wake);
	changed := FOUND;
	DELETE FROM loyalty.event_subscription s WHERE s.consumer = subscribe.consumer AND s.kind <> ALL (kinds);
	INSERT INTO loyalty.event_subscription (consumer, kind) SELECT DISTINCT consumer, k FROM unnest(kinds) k ON CONFLICT DO NOTHING;
	-- for sessions that know who is to be woken
	UPDATE loyalty.event_subscription s SET kind = s.kind WHERE changed AND s.consumer = subscribe.consumer;

	SELECT max(p.generation) AS generation, max(p.slots) AS slots, max(p.done_to) AS done_to, min(p.done_to) AS least INTO last
	FROM loyalty.event_position p
	WHERE p.consumer = subscribe.consumer AND p.generation = (SELECT max(x.generation) FROM loyalty.event_position x WHERE x.consumer = subscribe.consumer);
	IF last.slots = slots AND from_position IS NULL THEN
		RETURN last.least;
	ELSIF last.slots IS NULL OR slots = 0 OR from_position IS NOT NULL THEN
		DELETE FROM loyalty.event_position p WHERE p.consumer = subscribe.consumer;
		begins := coalesce(from_position, settled);
	ELSE
		-- the slots that there are come to where the new ones begin
		begins := greatest(settled, last.done_to);
		UPDATE loyalty.event_position p SET until_id = begins WHERE p.consumer = subscribe.consumer AND p.generation = last.generation;
	END IF;
	INSERT INTO loyalty.event_position (consumer, generation, slot, slots, done_to)
	SELECT consumer, coalesce(last.generation, 0) + 1, s, slots, begins FROM generate_series(0, slots - 1) s;
	RETURN begins;
END
$$;
COMMENT ON FUNCTION subscribe(text, text[], integer, bigint, boolean) IS
'Makes a consumer, or changes it: which kinds of events and notices it gets, and how many workers (slots) share them, each with the events of its members; 0 slots: it reads the table event itself. It gets what happens from now on (kind points_changed, which is read from the ledger, and what is still in the table event, from from_position on; 0 is the beginning); with from_position again, it begins there anew. Where the number of slots changes, the new ones begin when all old ones have come to where they do; workers of old ones that are no more go on until then, after which they are refused (LY003). wake: each commit of an event notifies channel loyalty_event. Returns the position. Waits for transactions that write, so that nothing is missed that is committed after it. Errors: LY003 name, kind, slots; LY653 from_position is not settled; LY007 on distributed tables, 0A000 not in READ COMMITTED.';

CREATE FUNCTION unsubscribe(consumer text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.require_consumer(consumer);
	DELETE FROM loyalty.event_position p WHERE p.consumer = unsubscribe.consumer;
	DELETE FROM loyalty.event_subscription s WHERE s.consumer = unsubscribe.consumer;
	DELETE FROM loyalty.event_consumer c WHERE c.consumer = unsubscribe.consumer;
	DELETE FROM loyalty.notice n WHERE n.consumer = unsubscribe.consumer;
END
$$;
COMMENT ON FUNCTION unsubscribe(text) IS 'Removes a consumer, with its positions and what it was told. Events that were written stay until they are pruned. Error: LY651.';

CREATE FUNCTION define_notice(notice text, about text, lead interval, scope text DEFAULT NULL, channel text DEFAULT NULL, purpose text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF coalesce(notice, '') !~ '^[a-z][a-z0-9_]{0,62}$' OR notice = ANY (loyalty.declared_happenings()) THEN
		RAISE EXCEPTION 'invalid name of a notice: "%"', coalesce(notice, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It has up to 63 small letters, digits and _, a letter first, and is no kind of event.',
				HINT = 'Choose another name, such as points_expiring_30_days.';
	ELSIF loyalty.notice_source(about) IS NULL THEN
		RAISE EXCEPTION 'nothing is known that is due about "%"', coalesce(about, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A notice is about something that time brings.',
				HINT = format('It is one of %s.', (SELECT string_agg(substr(p.proname, 5), ', ' ORDER BY p.proname) FROM pg_proc p
					WHERE p.pronamespace = 'loyalty'::regnamespace AND loyalty.notice_source(substr(p.proname, 5)) = p.oid));
	ELSIF lead IS NULL OR lead < interval '0' OR lead > interval '10 years' THEN
		RAISE EXCEPTION 'lead must be between 0 and 10 years'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(lead::text, 'NULL')), HINT = 'It is how long before, such as 30 days.';
	ELSIF (channel IS NULL) <> (purpose IS NULL) THEN
		RAISE EXCEPTION 'channel and purpose belong together'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s and %s.', coalesce(channel, 'NULL'), coalesce(purpose, 'NULL')), HINT = 'Give both, or none.';
	ELSIF channel IS NOT NULL AND loyalty.consent_question() IS NOT NULL THEN
		-- refuses what nobody can have consented to
		EXECUTE format('SELECT %s(0, $1, $2)', loyalty.consent_question()::regproc) USING channel, purpose;
	END IF;
	INSERT INTO loyalty.notice_definition AS d (notice, about, lead, scope, channel, purpose) VALUES (notice, about, lead, scope, channel, purpose)
	ON CONFLICT ON CONSTRAINT notice_definition_pkey DO UPDATE SET about = excluded.about, lead = excluded.lead, scope = excluded.scope,
		channel = excluded.channel, purpose = excluded.purpose
	WHERE (d.about, d.lead, d.scope, d.channel, d.purpose) IS DISTINCT FROM (excluded.about, excluded.lead, excluded.scope, excluded.channel, excluded.purpose);
	RETURN notice;
END
$$;
COMMENT ON FUNCTION define_notice(text, text, interval, text, text, text) IS
'Defines, or changes, what is to be told before it comes. about: points_expiring, hold_lapsing (scope: a currency), tier_falling (scope: a ladder), coupon_ending (scope: a benefit), birthday (scope: the attribute, otherwise birthday, a date as YYYY-MM-DD), or what another room knows; scope NULL: all. lead: how long before, by the calendar of the program''s time zone. Consumers subscribe to its name. What was told already is not told again. channel, purpose: told of those only who may be written to so, as may_contact() says. Errors: LY003, LY707 purpose.';

CREATE FUNCTION drop_notice(notice text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.require_notices(ARRAY[notice]);
	DELETE FROM loyalty.notice_definition d WHERE d.notice = drop_notice.notice;
	DELETE FROM loyalty.event_subscription s WHERE s.kind = drop_notice.notice;
END
$$;
COMMENT ON FUNCTION drop_notice(text) IS 'Removes a notice, and whoever subscribed to it from it. What was told stays. Error: LY654.';
