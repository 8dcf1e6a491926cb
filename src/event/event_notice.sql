/*
 * event: notices of what time brings, computed from stored instants.
 *
 * A room that knows what comes says so in a function due_<about>(until, lead,
 * scope, behind, up_to), which returns what is due by an instant, and still to
 * come then, of the members behind one as far as another; define_notice() finds
 * it by its name.  Nothing is stored but what was handed out.
 */

CREATE FUNCTION notice_source(about text) RETURNS regprocedure
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.room_function('due_' || $1, 'timestamp with time zone, interval, text, bigint, bigint')
$$;
COMMENT ON FUNCTION notice_source(text) IS 'The function that knows what is due about something; NULL where there is none.';

-- Not pinned, so that the planner can inline them: every name is qualified.
CREATE FUNCTION due_at(at timestamptz, lead interval) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
	SELECT pg_catalog.timezone(loyalty.program_time_zone(), pg_catalog.timezone(loyalty.program_time_zone(), $1) OPERATOR(pg_catalog.-) $2)
$$;
COMMENT ON FUNCTION due_at(timestamptz, interval) IS 'The instant that is so long before another, by the calendar of the program''s time zone.';

CREATE FUNCTION due_points_expiring(until timestamptz, lead interval, scope text, behind bigint, up_to bigint)
RETURNS TABLE (member_id bigint, subject text, due_at timestamptz, at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT w.member_id, pg_catalog.format('%s %s', w.currency, pg_catalog.date_part('epoch', x.expires_at)), x.due_at, x.expires_at,
		pg_catalog.jsonb_build_object('version', 1, 'currency', w.currency, 'points', x.points)
	FROM (SELECT v.member_id, v.currency, v.balance, greatest($1, loyalty.last_effective_at(v.balance)) AS as_of
			FROM loyalty.wallet v
			WHERE ($4 IS NULL OR v.member_id OPERATOR(pg_catalog.>) $4) AND ($5 IS NULL OR v.member_id OPERATOR(pg_catalog.<=) $5)
				AND ($3 IS NULL OR v.currency OPERATOR(pg_catalog.=) $3) AND v.moved IS NOT TRUE) w,
		LATERAL (SELECT l.expires_at, loyalty.due_at(l.expires_at, $2) AS due_at, pg_catalog.sum(l.points)::pg_catalog.int8 AS points
			-- at the end of time: what is to repay debt will not expire
			FROM loyalty.balance_lots(w.balance, '9999-12-31 23:59:59.999999Z') l
			WHERE l.expires_at OPERATOR(pg_catalog.>) w.as_of AND (l.hold_id IS NULL OR l.available_at OPERATOR(pg_catalog.<=) w.as_of)
			GROUP BY l.expires_at) x
	-- a day more than the lead, whatever the calendar: most wallets end here
	WHERE loyalty.expiring_points(w.balance, greatest($1, w.as_of) OPERATOR(pg_catalog.+) $2 OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval, w.as_of) OPERATOR(pg_catalog.>) 0
		AND x.due_at OPERATOR(pg_catalog.<=) $1
$$;
COMMENT ON FUNCTION due_points_expiring(timestamptz, interval, text, bigint, bigint) IS
'Notices of points that expire: one for each wallet and instant, with the available and pending points that will have expired then. Part of due_notices().';

CREATE FUNCTION due_hold_lapsing(until timestamptz, lead interval, scope text, behind bigint, up_to bigint)
RETURNS TABLE (member_id bigint, subject text, due_at timestamptz, at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT w.member_id, pg_catalog.format('%s %s', x.hold_id, pg_catalog.date_part('epoch', x.at)), x.due_at, x.at,
		pg_catalog.jsonb_build_object('version', 1, 'currency', w.currency, 'hold_id', x.hold_id, 'points', x.points)
	FROM (SELECT v.member_id, v.currency, v.balance, greatest($1, loyalty.last_effective_at(v.balance)) AS as_of
			FROM loyalty.wallet v
			WHERE ($4 IS NULL OR v.member_id OPERATOR(pg_catalog.>) $4) AND ($5 IS NULL OR v.member_id OPERATOR(pg_catalog.<=) $5)
				AND ($3 IS NULL OR v.currency OPERATOR(pg_catalog.=) $3) AND v.moved IS NOT TRUE) w,
		LATERAL (SELECT l.hold_id, l.available_at AS at, loyalty.due_at(l.available_at, $2) AS due_at, pg_catalog.sum(l.points)::pg_catalog.int8 AS points
			FROM loyalty.balance_lots(w.balance, w.as_of) l
			WHERE l.hold_id IS NOT NULL AND l.available_at OPERATOR(pg_catalog.>) w.as_of
			GROUP BY l.hold_id, l.available_at) x
	WHERE loyalty.held(w.balance, w.as_of) OPERATOR(pg_catalog.>) 0 AND x.due_at OPERATOR(pg_catalog.<=) $1
$$;
COMMENT ON FUNCTION due_hold_lapsing(timestamptz, interval, text, bigint, bigint) IS
'Notices of holds that lapse, with what they set aside. Part of due_notices().';

CREATE FUNCTION due_tier_falling(until timestamptz, lead interval, scope text, behind bigint, up_to bigint)
RETURNS TABLE (member_id bigint, subject text, due_at timestamptz, at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT s.member_id, pg_catalog.format('%s %s', s.ladder, pg_catalog.date_part('epoch', x.at)), loyalty.due_at(x.at, $2), x.at,
		pg_catalog.jsonb_build_object('version', 1, 'ladder', s.ladder, 'level', x.level, 'measures_needed', x.needed, 'measures', x.measures)
	FROM loyalty.tier_state s,
		LATERAL (SELECT p.due_at AS at, p.level, p.measures_needed AS needed,
				pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('measure', p.measure, 'have', p.have, 'needed', p.needed, 'missing', p.missing) ORDER BY p.measure) AS measures
			FROM loyalty.tier_progress(s.member_id, s.ladder, $1) p
			WHERE p.goal OPERATOR(pg_catalog.=) 'keep'
			GROUP BY p.due_at, p.level, p.measures_needed
			HAVING pg_catalog.count(*) FILTER (WHERE p.missing OPERATOR(pg_catalog.=) 0) OPERATOR(pg_catalog.<) p.measures_needed) x
	WHERE ($4 IS NULL OR s.member_id OPERATOR(pg_catalog.>) $4) AND ($5 IS NULL OR s.member_id OPERATOR(pg_catalog.<=) $5)
		AND ($3 IS NULL OR s.ladder OPERATOR(pg_catalog.=) $3) AND s.merged_into IS NULL
		-- until next_at the stored state says all; a day more, whatever the calendar
		AND s.next_at OPERATOR(pg_catalog.<=) ($1 OPERATOR(pg_catalog.+) $2 OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval)
		AND x.at OPERATOR(pg_catalog.>) $1 AND loyalty.due_at(x.at, $2) OPERATOR(pg_catalog.<=) $1
$$;
COMMENT ON FUNCTION due_tier_falling(timestamptz, interval, text, bigint, bigint) IS
'Notices of tiers that fall unless more comes: what tier_progress() says is missing to keep the earned level, by its due_at. Part of due_notices().';

CREATE FUNCTION due_birthday(until timestamptz, lead interval, scope text, behind bigint, up_to bigint)
RETURNS TABLE (member_id bigint, subject text, due_at timestamptz, at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT m.member_id, pg_catalog.format('%s %s', m.attribute, d.day), loyalty.due_at(d.at, $2), d.at, pg_catalog.jsonb_build_object('version', 1, 'day', d.day)
	FROM (SELECT b.member_id, b.attribute, pg_catalog.substr(b.value, 6, 2)::pg_catalog.int4 AS month, pg_catalog.substr(b.value, 9, 2)::pg_catalog.int4 AS day
			FROM (SELECT x.member_id, coalesce($3, 'birthday') AS attribute, x.attributes OPERATOR(pg_catalog.->>) coalesce($3, 'birthday') AS value
				FROM loyalty.member x
				WHERE ($4 IS NULL OR x.member_id OPERATOR(pg_catalog.>) $4) AND ($5 IS NULL OR x.member_id OPERATOR(pg_catalog.<=) $5)) b
			WHERE b.value OPERATOR(pg_catalog.~) '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$') m,
		-- this year's or the next; the 29th of February is the 28th in other years
		pg_catalog.generate_series(0, 1) later (years),
		LATERAL (SELECT pg_catalog.date_part('year', pg_catalog.timezone(loyalty.program_time_zone(), $1))::pg_catalog.int4
			OPERATOR(pg_catalog.+) later.years AS year) y,
		LATERAL (SELECT pg_catalog.make_date(y.year, m.month, 1) AS first) f,
		LATERAL (SELECT least(f.first OPERATOR(pg_catalog.+) (m.day OPERATOR(pg_catalog.-) 1),
			(f.first OPERATOR(pg_catalog.+) '1 month'::pg_catalog.interval)::pg_catalog.date OPERATOR(pg_catalog.-) 1) AS day) c,
		LATERAL (SELECT c.day, pg_catalog.timezone(loyalty.program_time_zone(), c.day::pg_catalog.timestamp) AS at,
			pg_catalog.timezone(loyalty.program_time_zone(), (c.day OPERATOR(pg_catalog.+) 1)::pg_catalog.timestamp) AS ends) d
	WHERE $1 OPERATOR(pg_catalog.<) d.ends AND loyalty.due_at(d.at, $2) OPERATOR(pg_catalog.<=) $1
$$;
COMMENT ON FUNCTION due_birthday(timestamptz, interval, text, bigint, bigint) IS
'Notices of birthdays, true until the day is over. Part of due_notices().';

CREATE FUNCTION require_notices(notices text[]) RETURNS text[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	unknown CONSTANT text := (SELECT coalesce(n, 'NULL') FROM unnest(notices) n WHERE NOT EXISTS (SELECT FROM loyalty.notice_definition d WHERE d.notice = n) LIMIT 1);
BEGIN
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION 'there is no notice "%"', unknown
			USING ERRCODE = 'LY654', DETAIL = 'The table loyalty.notice_definition has no row with this name.', HINT = 'Notices are made by loyalty.define_notice().';
	END IF;
	RETURN notices;
END
$$;
COMMENT ON FUNCTION require_notices(text[]) IS 'Answers with the notices; LY654 when one is not defined. Part of due_notices().';

CREATE FUNCTION require_until(until timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	until := coalesce(until, now());
	IF NOT isfinite(until) THEN
		RAISE EXCEPTION 'until must be a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', until), HINT = 'Leave it out for now.';
	END IF;
	RETURN until;
END
$$;
COMMENT ON FUNCTION require_until(timestamptz) IS 'The instant as of which notices are due, now where it is NULL; LY003 an infinite one. Part of due_notices().';

CREATE FUNCTION member_before(member_id bigint) RETURNS bigint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT nullif($1, '-9223372036854775808') - 1
$$;
COMMENT ON FUNCTION member_before(bigint) IS 'The number before a member''s, behind which it is the first; NULL, from the beginning, where there is none. Part of due_notices() and consume_notices().';

CREATE FUNCTION consent_question() RETURNS regprocedure
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.room_function('may_contact', 'bigint, text, text, timestamp with time zone, timestamp with time zone, jsonb')
$$;
COMMENT ON FUNCTION consent_question() IS 'The function that knows whether a member may be written to, by a channel and for a purpose; NULL where there is none: then everybody may.';

CREATE FUNCTION notice_query(about text, channel text, purpose text) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT d.member_id, d.subject, d.due_at, d.at, d.payload FROM %s($1, $2, $3, $4, $5) d
		WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = d.member_id AND m.status = ''forgotten'')', loyalty.notice_source($1)::regproc)
		|| CASE WHEN $2 IS NOT NULL AND loyalty.consent_question() IS NOT NULL
			THEN format(' AND %s(d.member_id, %L, %L, $1)', loyalty.consent_question()::regproc, $2, $3) ELSE '' END
$$;
COMMENT ON FUNCTION notice_query(text, text, text) IS
'The query for what is due about something: $1 until, $2 lead, $3 scope, $4 and $5 the members. Forgotten members are told nothing, nor those who did not consent to be written to by the channel for the purpose. Part of due_notices() and consume_notices().';

CREATE FUNCTION due_notices(until timestamptz DEFAULT now(), notices text[] DEFAULT NULL, INOUT member_id bigint DEFAULT NULL,
	OUT notice text, OUT subject text, OUT due_at timestamptz, OUT at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	as_of CONSTANT timestamptz := loyalty.require_until(until);
	canonical CONSTANT bigint := loyalty.canonical_member(member_id);
	d loyalty.notice_definition;
BEGIN
	PERFORM loyalty.require_notices(notices);
	FOR d IN SELECT x.* FROM loyalty.notice_definition x WHERE notices IS NULL OR x.notice = ANY (notices) ORDER BY x.notice LOOP
		RETURN QUERY EXECUTE format('SELECT q.member_id, %L::text, q.subject, q.due_at, q.at, q.payload FROM (%s) q ORDER BY q.due_at, q.member_id, q.subject', d.notice, loyalty.notice_query(d.about, d.channel, d.purpose))
			USING as_of, d.lead, d.scope, loyalty.member_before(canonical), canonical;
	END LOOP;
END
$$;
COMMENT ON FUNCTION due_notices(timestamptz, text[], bigint) IS
'What is to be told as of an instant (NULL: now): of each notice (NULL: of all) those that are due by then and tell of something still to come, with the figures of then; of a member, or of all. Whether somebody was told already does not matter. at: when that comes about which it tells. Reads only, and works on a standby. Errors: LY654 notice, LY003 until.';

CREATE FUNCTION give_notices(consumer text, notice text, until timestamptz, behind bigint, up_to bigint, slots integer, slot integer, batch integer,
	OUT member_id bigint, OUT subject text, OUT due_at timestamptz, OUT at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	d loyalty.notice_definition;
BEGIN
	SELECT x.* INTO d FROM loyalty.notice_definition x WHERE x.notice = $2;
	-- merged members were told under their own numbers
	RETURN QUERY EXECUTE format($q$
		WITH due AS MATERIALIZED (
			SELECT q.* FROM (%s) q
			WHERE ($8 = 1 OR loyalty.slot_of(q.member_id, $8) = $9) AND NOT EXISTS (SELECT FROM loyalty.notice n
				WHERE n.member_id = ANY (loyalty.member_tree(q.member_id)) AND n.consumer = $6 AND n.notice = $7 AND n.subject = q.subject)
			ORDER BY q.member_id, q.subject LIMIT $10
		), given AS (
			INSERT INTO loyalty.notice (member_id, consumer, notice, subject, due_at, at)
			SELECT u.member_id, $6, $7, u.subject, u.due_at, u.at FROM due u
			ON CONFLICT DO NOTHING RETURNING member_id, subject
		)
		SELECT u.* FROM due u JOIN given g ON g.member_id = u.member_id AND g.subject = u.subject ORDER BY u.member_id, u.subject$q$,
		loyalty.notice_query(d.about, d.channel, d.purpose)) USING until, d.lead, d.scope, behind, up_to, consumer, notice, slots, slot, batch;
END
$$;
COMMENT ON FUNCTION give_notices(text, text, timestamptz, bigint, bigint, integer, integer, integer) IS
'Hands out notices of one kind to a consumer, of the members behind one as far as another, in their order: those that it has not. Part of consume_notices().';

CREATE FUNCTION consume_notices(consumer text, until timestamptz DEFAULT now(), batch integer DEFAULT 100, slot integer DEFAULT 0,
	OUT member_id bigint, OUT notice text, OUT subject text, OUT due_at timestamptz, OUT at timestamptz, OUT payload jsonb) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	as_of CONSTANT timestamptz := loyalty.require_until(until);
	own record;
	place record;
	part record;
	wanted integer := batch;
BEGIN
	PERFORM loyalty.require_batch(batch);
	IF as_of > clock_timestamp() THEN
		RAISE EXCEPTION 'until must not be in the future'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', as_of), HINT = 'due_notices() tells what will be due.';
	END IF;
	SELECT * INTO own FROM loyalty.find_slot(consumer, slot, 'skip');
	IF own.generation IS NULL THEN
		RETURN;
	END IF;
	SELECT p.notice AS last, p.notice_behind AS behind INTO place FROM loyalty.event_position p
	WHERE p.consumer = consume_notices.consumer AND p.generation = own.generation AND p.slot = consume_notices.slot;
	-- once around: from where the last call was at its end, to there
	FOR part IN
		SELECT d.notice, x.behind, x.up_to
		FROM loyalty.notice_definition d, LATERAL (
			SELECT CASE d.notice WHEN place.last THEN place.behind END AS behind, NULL::bigint AS up_to, d.notice < coalesce(place.last, '') AS later
			UNION ALL SELECT NULL, place.behind, true WHERE d.notice = place.last AND place.behind IS NOT NULL) x
		WHERE d.notice = ANY (own.kinds) ORDER BY x.later, d.notice
	LOOP
		FOR member_id, subject, due_at, at, payload IN
			SELECT g.* FROM loyalty.give_notices(consumer, part.notice, as_of, part.behind, part.up_to, own.slots, slot, wanted) g
		LOOP
			notice := part.notice;
			wanted := wanted - 1;
			RETURN NEXT;
		END LOOP;
		EXIT WHEN wanted = 0;
	END LOOP;
	-- the last member may have more
	UPDATE loyalty.event_position p SET notice = CASE wanted WHEN 0 THEN part.notice END, notice_behind = CASE wanted WHEN 0 THEN loyalty.member_before(member_id) END
	WHERE p.consumer = consume_notices.consumer AND p.generation = own.generation AND p.slot = consume_notices.slot AND (wanted = 0 OR p.notice IS NOT NULL);
END
$$;
COMMENT ON FUNCTION consume_notices(text, timestamptz, integer, integer) IS
'Hands out to a worker (slot) of a consumer the notices to which it subscribed that are due by an instant (NULL: now), tell of something still to come then, and were not handed out to it before; at most a batch, with the figures of then. One for each subject: more or fewer points at the same instant are not told again. That they were handed out is committed with the caller''s transaction: one that sends them elsewhere commits when they are sent, and a receiver drops repeats by member_id, notice and subject. Returns nothing where another transaction has the slot. Errors: LY651 consumer, LY003 slot, batch, until.';
