/*
 * event: what happened, for whoever subscribed to it; tables.  See event.h.
 */

CREATE FUNCTION settled_event_id(patience interval) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_settled_event_id';
COMMENT ON FUNCTION settled_event_id(interval) IS
'An id such that every event and entry that will ever be recorded up to it is recorded, and visible to the next statement; waits for those who write at this moment, and is NULL where one of them has not ended after patience. Part of poll_events() and consume_events(). Errors: 25006 on a standby, 0A000 in another isolation level than READ COMMITTED.';

CREATE FUNCTION writers_have_ended(tables text[], patience interval) RETURNS boolean
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_writers_have_ended';
COMMENT ON FUNCTION writers_have_ended(text[], interval) IS
'Waits until those who write into tables of ours at this moment have ended, so that what was recorded before is there; false where one has not ended after patience. Part of jobs that read as known at an instant. Error: LY003.';

-- Not pinned, so that the planner can inline them: every name is qualified.
CREATE FUNCTION slot_of(member_id bigint, slots integer) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT ((pg_catalog.hashint8extended($1, 0) OPERATOR(pg_catalog.&) 9223372036854775807) OPERATOR(pg_catalog.%) $2)::pg_catalog.int4
$$;
COMMENT ON FUNCTION slot_of(bigint, integer) IS 'In which of so many slots, from 0, the events of a member are: by the number under which they were written.';

CREATE FUNCTION event_triggers(OUT table_name text, OUT trigger_name text, OUT fired text, OUT level text, OUT function_name text)
RETURNS SETOF record
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('event_subscription', 'forget_cached', 'AFTER INSERT OR DELETE OR UPDATE', 'ROW', 'forget_cached'),
		('event_subscription', 'forget_all_cached', 'AFTER TRUNCATE', 'STATEMENT', 'forget_cached')
$$;
COMMENT ON FUNCTION event_triggers() IS 'The triggers of the tables of room event; see program_triggers().';

CREATE FUNCTION setup_event(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.event (
			member_id bigint NOT NULL,
			event_id bigint NOT NULL,
			kind text NOT NULL,
			at timestamptz NOT NULL,
			recorded_at timestamptz NOT NULL,
			payload jsonb NOT NULL,
			PRIMARY KEY (member_id, event_id)
		);
		CREATE INDEX event_in_order ON loyalty.event (event_id);
		COMMENT ON TABLE loyalty.event IS 'The outbox: what happened of kinds that somebody subscribed to, written in its transaction. Read it with poll_events() or consume_events(); prune_events() deletes what is old.';
		COMMENT ON COLUMN loyalty.event.member_id IS 'The member, under the number that it happened to.';
		COMMENT ON COLUMN loyalty.event.event_id IS 'Id of the event, of the sequence of ledger entries: events and entries of a member come in the order of their ids.';
		COMMENT ON COLUMN loyalty.event.kind IS 'What happened.';
		COMMENT ON COLUMN loyalty.event.at IS 'When it happened in the business.';
		COMMENT ON COLUMN loyalty.event.recorded_at IS 'When the database learned of it.';
		COMMENT ON COLUMN loyalty.event.payload IS 'The rest, an object of core types without personal data; version says of what shape. Empty once the member is forgotten.';

		CREATE TABLE loyalty.event_consumer (
			consumer text PRIMARY KEY CHECK (consumer ~ '^[a-z][a-z0-9_]{0,62}$'),
			slots integer NOT NULL CHECK (slots BETWEEN 0 AND 1024),
			wake boolean NOT NULL,
			subscribed_at timestamptz NOT NULL DEFAULT clock_timestamp()
		);
		COMMENT ON TABLE loyalty.event_consumer IS 'Who reads events; made by subscribe().';
		COMMENT ON COLUMN loyalty.event_consumer.consumer IS 'Name of the consumer.';
		COMMENT ON COLUMN loyalty.event_consumer.slots IS 'How many workers share its events, each with those of its members; 0: it reads the table event itself, as Debezium does.';
		COMMENT ON COLUMN loyalty.event_consumer.wake IS 'Whether each commit of an event notifies channel loyalty_event.';
		COMMENT ON COLUMN loyalty.event_consumer.subscribed_at IS 'Since when there is this consumer.';

		CREATE TABLE loyalty.event_subscription (
			consumer text NOT NULL,
			kind text NOT NULL CHECK (length(kind) < 64),
			subscribed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (consumer, kind)
		);
		COMMENT ON TABLE loyalty.event_subscription IS 'What consumers subscribed to; made by subscribe().';
		COMMENT ON COLUMN loyalty.event_subscription.consumer IS 'Name of the consumer.';
		COMMENT ON COLUMN loyalty.event_subscription.kind IS 'A kind of event, or a notice.';
		COMMENT ON COLUMN loyalty.event_subscription.subscribed_at IS 'Since when: each event of the kind that was recorded later was written.';

		CREATE TABLE loyalty.event_position (
			consumer text NOT NULL,
			generation integer NOT NULL,
			slot integer NOT NULL,
			slots integer NOT NULL,
			done_to bigint NOT NULL,
			until_id bigint,
			notice text,
			notice_behind bigint,
			PRIMARY KEY (consumer, generation, slot)
		) WITH (fillfactor = 50);
		COMMENT ON TABLE loyalty.event_position IS 'How far each worker of a consumer is; moved by acknowledge() and consume_events().';
		COMMENT ON COLUMN loyalty.event_position.consumer IS 'Name of the consumer.';
		COMMENT ON COLUMN loyalty.event_position.generation IS 'Raised whenever the number of slots changes: the slots of one begin when all those of the one before have come to its end.';
		COMMENT ON COLUMN loyalty.event_position.slot IS 'Number of the slot, from 0.';
		COMMENT ON COLUMN loyalty.event_position.slots IS 'How many slots this generation has.';
		COMMENT ON COLUMN loyalty.event_position.done_to IS 'All events of the slot up to this id are done.';
		COMMENT ON COLUMN loyalty.event_position.until_id IS 'The end of the generation; NULL: it has none yet.';
		COMMENT ON COLUMN loyalty.event_position.notice IS 'The notice at which consume_notices() goes on.';
		COMMENT ON COLUMN loyalty.event_position.notice_behind IS 'The member behind which it goes on.';

		CREATE TABLE loyalty.notice_definition (
			notice text PRIMARY KEY CHECK (notice ~ '^[a-z][a-z0-9_]{0,62}$'),
			about text NOT NULL,
			lead interval NOT NULL CHECK (lead BETWEEN interval '0' AND interval '10 years'),
			scope text,
			channel text,
			purpose text,
			CHECK ((channel IS NULL) = (purpose IS NULL))
		);
		COMMENT ON TABLE loyalty.notice_definition IS 'What is to be told before it comes; made by define_notice().';
		COMMENT ON COLUMN loyalty.notice_definition.notice IS 'Name of the notice, to which consumers subscribe.';
		COMMENT ON COLUMN loyalty.notice_definition.about IS 'What comes: points_expiring, tier_falling, hold_lapsing, coupon_ending, birthday, or what another room knows.';
		COMMENT ON COLUMN loyalty.notice_definition.lead IS 'How long before, by the calendar of the program''s time zone.';
		COMMENT ON COLUMN loyalty.notice_definition.scope IS 'Of points and holds the currency, of tiers the ladder, of birthdays the attribute (birthday); NULL: all of them.';
		COMMENT ON COLUMN loyalty.notice_definition.channel IS 'By which channel it is to be told; NULL: whatever members consented to does not matter.';
		COMMENT ON COLUMN loyalty.notice_definition.purpose IS 'For which purpose, to which they must have consented.';

		CREATE TABLE loyalty.notice (
			member_id bigint NOT NULL,
			consumer text NOT NULL,
			notice text NOT NULL,
			subject text NOT NULL,
			due_at timestamptz NOT NULL,
			at timestamptz NOT NULL,
			given_at timestamptz NOT NULL DEFAULT clock_timestamp(),
			PRIMARY KEY (member_id, consumer, notice, subject)
		);
		CREATE INDEX notice_at ON loyalty.notice (at);
		COMMENT ON TABLE loyalty.notice IS 'Notices that were handed out, so that each consumer has each once; written by consume_notices().';
		COMMENT ON COLUMN loyalty.notice.member_id IS 'The member, under the number of then.';
		COMMENT ON COLUMN loyalty.notice.consumer IS 'Who has it.';
		COMMENT ON COLUMN loyalty.notice.notice IS 'Name of the notice.';
		COMMENT ON COLUMN loyalty.notice.subject IS 'What it is about, with the instant: the same subject is not told again.';
		COMMENT ON COLUMN loyalty.notice.due_at IS 'From when on it was to be told.';
		COMMENT ON COLUMN loyalty.notice.at IS 'When that comes about which it tells.';
		COMMENT ON COLUMN loyalty.notice.given_at IS 'When it was handed out.';
	END IF;
	PERFORM loyalty.put_merge_handler('event', '{event,notice}', NULL, NULL, NULL, 'loyalty.forget_events');
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_event(integer) IS 'Creates and migrates the tables of room event; called by setup().';

-- Merging moves nothing: rows stay under the number that they were written under, and are read as of whoever stands for it.
CREATE FUNCTION forget_events(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.event e SET payload = '{}' WHERE e.member_id = ANY ($1) AND e.payload <> '{}'$q$, $1);
	SELECT loyalty.erase_rows('DELETE FROM loyalty.notice n WHERE n.member_id = ANY ($1)', $1)
$$;
COMMENT ON FUNCTION forget_events(bigint[]) IS
'What forget_member() means here: payloads of events are emptied, and what was told of the member is deleted. That something happened stays, with its id. Part of forget_member().';
