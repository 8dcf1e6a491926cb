/*
 * engagement: journeys: steps over time, as data.
 *
 * A run is of a member and a start.  Each step is due at an instant that follows
 * from the start alone, and whether it is given is decided as of that instant,
 * and as known then: so it does not matter who takes it, and when.
 */

CREATE FUNCTION define_journey(journey text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('journey', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_journey(text, jsonb, timestamptz) IS
'Defines a journey, or a new version of it; a run goes by the version in force at its start. Returns the version. The definition: {"start": {"kind", "when"}: the activity with which it starts, "repeat": interval after which another one starts it again (default: once for ever), "while": {"kind", "when", "at_most": 0} or {"at_least": n}: how many activities there may or must be since the start, or the run is left, "steps": [{"step": "nudge", "after": "3 days" (since the step before is due, or the start, by the calendar of the zone of the start), "if": as "while": otherwise the step is skipped, "do": [{"coupon": benefit} | {"points": 10, "currency": "points"} | {"badge": badge, "level": 1} | {"freeze": streak} | {"spin": draw}], "list": true: the member is on call_list()}]}. A step that is given is an activity of kind journey, too. Errors: LY752, LY501 kind, LY751 badge, streak or draw, LY601 benefit, LY102 currency, LY003.';

CREATE FUNCTION journey_holds(member_id bigint, condition jsonb, start_id bigint, started_at timestamptz, as_of timestamptz, known_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $2 IS NULL OR (SELECT count(*) BETWEEN coalesce(($2 ->> 'at_least')::numeric, 0) AND coalesce(($2 ->> 'at_most')::numeric, 1e15)
		FROM loyalty.engagement_facts($1, $2, $5 - interval '1 microsecond', $6) f WHERE f.at >= $4 AND f.activity_id <> $3)
$$;
COMMENT ON FUNCTION journey_holds(bigint, jsonb, bigint, timestamptz, timestamptz, timestamptz) IS
'Whether what a member did since a start meets "while" or "if" of a journey, before an instant and as known at another. Part of journey_steps().';

CREATE FUNCTION journey_steps(member_id bigint, journey text, until timestamptz, known_at timestamptz,
	OUT started_at timestamptz, OUT start_id bigint, OUT home bigint, OUT n integer, OUT step text, OUT due_at timestamptz, OUT outcome text, OUT definition jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	s record;
	part jsonb;
	local timestamp;
	free_from timestamptz := '-infinity';
	taken text;
	knows timestamptz;
	ended timestamptz;
BEGIN
	FOR s IN
		SELECT f.activity_id, f.at, f.time_zone, f.recorded_at, v.definition, a.member_id AS home
		FROM (SELECT DISTINCT v.definition -> 'start' AS start FROM loyalty.engagement_version v WHERE v.what = 'journey' AND v.name = journey) d,
			LATERAL loyalty.engagement_facts(member_id, d.start, until, known_at) f,
			LATERAL (SELECT v.definition FROM loyalty.engagement_version v WHERE v.what = 'journey' AND v.name = journey
				AND (v.effective_from IS NULL OR v.effective_from <= f.at) ORDER BY v.version DESC LIMIT 1) v,
			LATERAL (SELECT x.member_id FROM loyalty.activity x WHERE x.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(journey_steps.member_id)))
				AND x.activity_id = f.activity_id AND x.moved_to IS NULL LIMIT 1) a
		WHERE v.definition -> 'start' = d.start
		ORDER BY f.at, f.recorded_at, f.activity_id
	LOOP
		CONTINUE WHEN s.at < free_from;
		started_at := s.at; start_id := s.activity_id; home := s.home; definition := s.definition; n := 0;
		local := s.at AT TIME ZONE s.time_zone;
		ended := NULL;
		FOR part IN SELECT x FROM jsonb_array_elements(s.definition -> 'steps') x LOOP
			n := n + 1;
			step := part ->> 'step';
			local := local + (part ->> 'after')::interval;
			due_at := local AT TIME ZONE s.time_zone;
			ended := due_at;
			IF due_at > until THEN
				outcome := 'due';
				RETURN NEXT;
				EXIT;
			END IF;
			-- what was taken stays
			SELECT j.outcome INTO taken FROM loyalty.journey_step j
			WHERE j.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(journey_steps.member_id))) AND j.journey = journey_steps.journey
				AND j.started_at = s.at AND j.step = journey_steps.step ORDER BY j.taken_at LIMIT 1;
			-- nothing was known of the run before its start was
			knows := greatest(due_at, s.recorded_at);
			outcome := coalesce(taken, CASE WHEN NOT loyalty.journey_holds(member_id, s.definition -> 'while', s.activity_id, s.at, due_at, knows) THEN 'left'
				WHEN NOT loyalty.journey_holds(member_id, part -> 'if', s.activity_id, s.at, due_at, knows) THEN 'skipped' ELSE 'given' END);
			RETURN NEXT;
			EXIT WHEN outcome = 'left';
		END LOOP;
		EXIT WHEN s.definition ->> 'repeat' IS NULL;
		free_from := greatest((s.at AT TIME ZONE s.time_zone + (s.definition ->> 'repeat')::interval) AT TIME ZONE s.time_zone, ended + interval '1 microsecond');
	END LOOP;
END
$$;
COMMENT ON FUNCTION journey_steps(bigint, text, timestamptz, timestamptz) IS
'The steps of a member''s runs of a journey that are due by an instant, each with its outcome: given, skipped or left (the run ends); and the next one that is not due yet (due). Starts are those known at known_at (NULL: now); what was taken stays. Part of journeys() and take_steps_of().';

CREATE FUNCTION journeys(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT journey text, OUT started_at timestamptz, OUT state text, OUT step text, OUT due_at timestamptz, OUT given text[]) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 3 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT j.name, s.started_at, (array_agg(CASE s.outcome WHEN 'left' THEN 'left' WHEN 'due' THEN 'running' ELSE 'done' END ORDER BY s.n DESC))[1],
		(array_agg(s.step ORDER BY s.n DESC))[1], (array_agg(s.due_at ORDER BY s.n DESC))[1],
		coalesce(array_agg(s.step ORDER BY s.n) FILTER (WHERE s.outcome = 'given'), '{}')
	FROM (SELECT DISTINCT v.name FROM loyalty.engagement_version v WHERE v.what = 'journey') j,
		LATERAL loyalty.journey_steps($1, j.name, coalesce($2, statement_timestamp()), $3) s
	GROUP BY j.name, s.started_at ORDER BY j.name, s.started_at
$$;
COMMENT ON FUNCTION journeys(bigint, timestamptz, timestamptz) IS
'The runs of a member''s journeys, under whichever number, at an instant (NULL: now): running (step is the next one, and when it is due), left (at that step, when it was due) or done; and the steps that are given, taken or not. Reads only.';

CREATE FUNCTION give_step_effect(member_id bigint, effect jsonb, at timestamptz, OUT entry_id bigint, OUT coupon_id bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF effect ->> 'points' IS NOT NULL THEN
		SELECT e.entry_id INTO entry_id FROM loyalty.earn($1, (effect ->> 'points')::numeric, coalesce(effect ->> 'currency', 'points'), $3) e;
	ELSIF effect ->> 'coupon' IS NOT NULL THEN
		SELECT c.coupon_id INTO coupon_id FROM loyalty.issue_coupon($1, effect ->> 'coupon', $3) c;
	ELSIF effect ->> 'badge' IS NOT NULL THEN
		PERFORM loyalty.put_badge_act($1, effect ->> 'badge', coalesce((effect ->> 'level')::numeric::integer, 1), 'given', $3, NULL, NULL);
	ELSIF effect ->> 'freeze' IS NOT NULL THEN
		PERFORM loyalty.grant_freeze($1, effect ->> 'freeze', at => $3);
	ELSIF effect ->> 'spin' IS NOT NULL THEN
		PERFORM loyalty.put_spin($1, effect ->> 'spin', 1, $3, NULL);
	END IF;
END
$$;
COMMENT ON FUNCTION give_step_effect(bigint, jsonb, timestamptz) IS 'Gives what a step of a journey does, as of the instant at which it is due. Part of take_steps_of().';

CREATE FUNCTION take_steps_of(member_ids bigint[], until timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	s record;
	effect record;
	entry bigint;
	coupon bigint;
	taken bigint := 0;
BEGIN
	FOR s IN
		SELECT m.member_id, j.name AS journey, x.*
		FROM (SELECT DISTINCT loyalty.canonical_member(u) AS member_id FROM unnest(member_ids) u) m,
			(SELECT DISTINCT v.name FROM loyalty.engagement_version v WHERE v.what = 'journey') j,
			LATERAL loyalty.journey_steps(m.member_id, j.name, least(until, clock_timestamp()), NULL) x
		WHERE x.outcome <> 'due' AND NOT EXISTS (SELECT FROM loyalty.journey_step t WHERE t.member_id = ANY (loyalty.member_tree(m.member_id))
			AND t.journey = j.name AND t.started_at = x.started_at AND t.step = x.step)
		ORDER BY m.member_id, x.due_at, j.name, x.started_at, x.n
	LOOP
		entry := NULL; coupon := NULL;
		-- the row is the guard: whoever comes second does nothing
		INSERT INTO loyalty.journey_step (member_id, journey, started_at, step, due_at, outcome, taken_at)
		VALUES (s.home, s.journey, s.started_at, s.step, s.due_at, s.outcome, clock_timestamp()) ON CONFLICT DO NOTHING;
		IF NOT FOUND THEN
			CONTINUE;
		END IF;
		taken := taken + 1;
		IF s.outcome = 'given' THEN
			FOR effect IN SELECT g.* FROM jsonb_array_elements(coalesce(s.definition -> 'steps' -> (s.n - 1) -> 'do', '[]')) e,
				LATERAL loyalty.give_step_effect(s.member_id, e, s.due_at) g
			LOOP
				entry := coalesce(entry, effect.entry_id); coupon := coalesce(coupon, effect.coupon_id);
			END LOOP;
			UPDATE loyalty.journey_step t SET entry_id = entry, coupon_id = coupon
			WHERE t.member_id = s.home AND t.journey = s.journey AND t.started_at = s.started_at AND t.step = s.step AND (entry IS NOT NULL OR coupon IS NOT NULL);
			PERFORM loyalty.record_activity(s.member_id, 'journey', s.due_at, document => jsonb_build_object('journey', s.journey, 'step', s.step));
		END IF;
	END LOOP;
	RETURN taken;
END
$$;
COMMENT ON FUNCTION take_steps_of(bigint[], timestamptz, text) IS
'Takes the steps of journeys of some members that are due by an instant, and not later than now: gives what they do, as of the instants at which they are due. Returns how many. Writing functions that concern a journey do this for their member; for all see take_steps(). Part of take_steps().';

CREATE FUNCTION next_take_steps(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	up_to := loyalty.next_members(behind, batch_size, '{activity}');
	SELECT count(*), array_agg(DISTINCT a.member_id) FILTER (WHERE a.kind IN (SELECT k.kind FROM loyalty.engaged_kinds() k WHERE k.what = 'journey')) INTO seen, members
	FROM loyalty.activity a WHERE (behind IS NULL OR a.member_id > behind) AND a.member_id <= up_to;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.activity') END;
END
$$;
COMMENT ON FUNCTION next_take_steps(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members with activities that concern journeys. Part of take_steps(), by run_job().';

CREATE PROCEDURE take_steps(until timestamptz DEFAULT NULL, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('take_steps', until, batch_size, 'activities', 'steps taken');
END
$$;
COMMENT ON PROCEDURE take_steps(timestamptz, integer) IS
'Takes the steps of journeys of all members that are due by an instant (default: now). Nothing depends on it but when they are taken. Commits after batch_size members; can be stopped at any time, the same call goes on. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';

CREATE FUNCTION journey_members(journey text) RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT DISTINCT loyalty.canonical_member(a.member_id)
	FROM (SELECT DISTINCT k.kind FROM loyalty.engagement_version v,
			jsonb_array_elements_text(CASE jsonb_typeof(v.definition #> '{start,kind}') WHEN 'array' THEN v.definition #> '{start,kind}' ELSE jsonb_build_array(v.definition #> '{start,kind}') END) k (kind)
			WHERE v.what = 'journey' AND v.name = $1) k JOIN loyalty.activity a ON a.kind = k.kind
$$;
COMMENT ON FUNCTION journey_members(text) IS 'Members who may have a run of a journey. Part of call_list() and journey_funnel().';

CREATE FUNCTION call_list(journey text, step text, as_of timestamptz DEFAULT NULL, OUT member_id bigint, OUT due_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.member_id, s.due_at
	FROM (SELECT loyalty.journey_members($1) AS member_id) m, LATERAL loyalty.journey_steps(m.member_id, $1, coalesce($3, statement_timestamp()), NULL) s
	WHERE s.step = $2 AND s.outcome = 'given' AND (s.definition -> 'steps' -> (s.n - 1) ->> 'list')::boolean
		-- who has done meanwhile what ends the run is not called
		AND loyalty.journey_holds(m.member_id, s.definition -> 'while', s.start_id, s.started_at, coalesce($3, statement_timestamp()) + interval '1 microsecond', NULL)
	ORDER BY s.due_at, m.member_id
$$;
COMMENT ON FUNCTION call_list(text, text, timestamptz) IS
'The members who reached a step of a journey with "list": true by an instant (NULL: now), and whose run still stands then; with the instant at which it was due.';

CREATE FUNCTION journey_funnel(journey text, from_at timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT NULL,
	OUT step text, OUT due bigint, OUT given bigint, OUT skipped bigint, OUT gone bigint, OUT waiting bigint) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.step, count(*) FILTER (WHERE s.outcome <> 'due'), count(*) FILTER (WHERE s.outcome = 'given'), count(*) FILTER (WHERE s.outcome = 'skipped'),
		count(*) FILTER (WHERE s.outcome = 'left'), count(*) FILTER (WHERE s.outcome = 'due')
	FROM (SELECT loyalty.journey_members($1) AS member_id) m, LATERAL loyalty.journey_steps(m.member_id, $1, coalesce($4, statement_timestamp()), NULL) s
	WHERE s.started_at >= coalesce($2, '-infinity') AND s.started_at < coalesce($3, 'infinity')
	GROUP BY s.step ORDER BY min(s.n), s.step
$$;
COMMENT ON FUNCTION journey_funnel(text, timestamptz, timestamptz, timestamptz) IS
'Of the runs of a journey that started from from_at on and before until (NULL: all), by steps, as of an instant (NULL: now): how many were due, given, skipped, and left there; and how many wait for it.';
