/*
 * engagement: streaks of members.
 */

CREATE FUNCTION define_streak(streak text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('streak', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_streak(text, jsonb, timestamptz) IS
'Defines a streak, or a new version of it, by which it is read as of effective_from and later (default: always, of the first; now, of a later one). Returns the version. The definition: {"kind": kinds of activities, "when": a condition on the activity (as of define_campaign()), "money": of which alone, "period": "day" (default), "week" (from Monday) or "month", "at_least": activities of a period (1), "amount": what they come to, "weekdays": [1, ..., 6] (1 is Monday) and "holidays": a list (see define_holidays()): only those days count, and not those, "max_gap": interval: days that were lost on a flight east, between two activities no further apart, break nothing, "free": freezes of each "per": "week", "month", "quarter" or "year", "counts": true: a period saved by a freeze adds 1, "repair_within": how long after its end a day can be repaired}. Errors: LY752, LY501 kind, LY003.';

CREATE FUNCTION streak_walk(member_id bigint, streak text, as_of timestamptz, known_at timestamptz,
	OUT length integer, OUT longest integer, OUT alive boolean, OUT last_day date, OUT freezes_left integer, OUT due_day date,
	OUT starts date[], OUT lengths integer[], OUT time_zone text) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	definition CONSTANT jsonb := loyalty.engagement_in_force('streak', streak, as_of);
	unit CONSTANT text := coalesce(definition ->> 'period', 'day');
	max_gap CONSTANT interval := definition ->> 'max_gap';
	facts record;
	holidays date[];
	held record;
BEGIN
	WITH fact AS (
		SELECT f.*, lag(f.at) OVER w AS last_at, lag(f.local_day) OVER w AS last_day, lag(f.time_zone) OVER w AS last_zone
		FROM loyalty.engagement_facts(member_id, definition, as_of, known_at) f
		WINDOW w AS (ORDER BY f.at, f.recorded_at, f.activity_id)
	), period AS (
		SELECT date_trunc(unit, f.local_day::timestamp)::date AS day FROM fact f GROUP BY 1
		HAVING count(*) >= coalesce((definition ->> 'at_least')::numeric, 1) AND sum(f.amount) >= coalesce((definition ->> 'amount')::numeric, 0)
	)
	SELECT (SELECT array_agg(p.day) FROM period p) AS days, (SELECT max(f.local_day) FROM fact f) AS last_day,
		(SELECT f.time_zone FROM fact f ORDER BY f.at DESC, f.recorded_at DESC, f.activity_id DESC LIMIT 1) AS zone,
		-- the later one lies east of the one before, and soon after it; a day that was not missed adds 1
		(SELECT array_agg(b::date) FROM fact f, generate_series(f.last_day + 1, f.local_day - 1, interval '1 day') b
			WHERE f.last_zone <> f.time_zone AND f.at - f.last_at <= max_gap
				AND (f.at AT TIME ZONE f.time_zone) - (f.at AT TIME ZONE 'UTC') > (f.last_at AT TIME ZONE f.last_zone) - (f.last_at AT TIME ZONE 'UTC')
				AND NOT EXISTS (SELECT FROM period p WHERE p.day = b)) AS bridged
	INTO facts;
	time_zone := coalesce(facts.zone, loyalty.program_time_zone());
	SELECT array_agg(h.day) INTO holidays FROM loyalty.holiday h WHERE h.holidays = definition ->> 'holidays';
	SELECT array_agg(z.from_day ORDER BY z.at, z.freeze_id) AS from_days, array_agg(z.until_day ORDER BY z.at, z.freeze_id) AS until_days,
		array_agg(z.for_day ORDER BY z.at, z.freeze_id) AS for_days
	INTO held
	FROM (SELECT f.at, f.freeze_id, f.from_day, f.until_day, f.for_day FROM loyalty.streak_freeze f,
			LATERAL generate_series(1, f.quantity + (SELECT coalesce(sum(t.quantity), 0)::integer FROM loyalty.streak_freeze t
				WHERE t.member_id = f.member_id AND t.of_freeze_id = f.freeze_id AND t.recorded_at <= coalesce(known_at, 'infinity')))
		WHERE f.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(member_id))) AND f.streak = streak AND f.quantity > 0
			AND f.at <= coalesce(as_of, statement_timestamp()) AND f.recorded_at <= coalesce(known_at, 'infinity')) z;
	SELECT w.* INTO length, longest, alive, last_day, freezes_left, due_day, starts, lengths
	FROM loyalty.walk_streak(facts.days, greatest((coalesce(as_of, statement_timestamp()) AT TIME ZONE time_zone)::date, facts.last_day), unit,
		(SELECT array_agg(d::integer) FROM jsonb_array_elements_text(definition -> 'weekdays') d), holidays, facts.bridged,
		held.from_days, held.until_days, held.for_days, (definition ->> 'free')::integer, definition ->> 'per', (definition ->> 'counts')::boolean) w;
END
$$;
COMMENT ON FUNCTION streak_walk(bigint, text, timestamptz, timestamptz) IS
'What walk_streak() says of a member''s streak, and the time zone that its days are in. Part of streak_of(). Error: LY751.';

CREATE FUNCTION streak_of(member_id bigint, streak text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT length integer, OUT longest integer, OUT alive boolean, OUT last_day date, OUT freezes_left integer, OUT due_at timestamptz) RETURNS record
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT w.length, w.longest, w.alive, w.last_day, w.freezes_left, (w.due_day + 1)::timestamp AT TIME ZONE w.time_zone
	FROM loyalty.streak_walk($1, $2, coalesce($3, statement_timestamp()), $4) w
$$;
COMMENT ON FUNCTION streak_of(bigint, text, timestamptz, timestamptz) IS
'How a member''s streak, under whichever number, stands at an instant (NULL: now), as known at another (NULL: now): how many periods in a row had activity, saved ones included where they count; at most; whether it is alive: a period that is not over ends nothing; its last period (the first day of it); the freezes that are left, which could save the period of then; and when it ends unless there is activity, or a freeze, before. Days are those that the activities were recorded with; today is that of the zone of the latest of them. Computed each time: nothing of it is stored. Error: LY751.';

CREATE FUNCTION grant_freeze(member_id bigint, streak text, quantity integer DEFAULT 1, for_day date DEFAULT NULL, valid_until timestamptz DEFAULT NULL,
	at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT freeze_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	definition jsonb;
	zone text;
	wrong text;
BEGIN
	IF member_id IS NULL OR at IS NULL OR NOT isfinite(at) OR NOT isfinite(valid_until) OR NOT isfinite(for_day)
		OR coalesce(quantity NOT BETWEEN 1 AND 1000, true) OR valid_until <= at OR for_day IS NOT NULL AND quantity <> 1 THEN
		RAISE EXCEPTION 'a freeze needs a member, an instant and a quantity from 1 to 1000'
			USING ERRCODE = 'LY003', DETAIL = 'Instants are finite, valid_until is after at, and a repair is one freeze.', HINT = 'Correct the argument.';
	END IF;
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('grant_freeze', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(streak, quantity, for_day, extract(epoch FROM valid_until), extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			freeze_id := earlier ->> 'freeze_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	definition := loyalty.engagement_in_force('streak', streak, at);
	zone := (loyalty.streak_walk(member_id, streak, at, NULL)).time_zone;
	IF for_day IS NOT NULL THEN
		wrong := CASE WHEN definition ->> 'repair_within' IS NULL THEN format('Days of streak "%s" are not repaired.', streak)
			WHEN for_day >= (at AT TIME ZONE zone)::date THEN format('%s is not over.', for_day)
			WHEN at > ((for_day + 1)::timestamp + (definition ->> 'repair_within')::interval) AT TIME ZONE zone
				THEN format('It can be repaired for %s after its end.', definition ->> 'repair_within') END;
		IF wrong IS NOT NULL THEN
			RAISE EXCEPTION 'day % cannot be repaired', for_day
				USING ERRCODE = 'LY003', DETAIL = wrong, HINT = 'See "repair_within" of define_streak().';
		END IF;
	END IF;
	INSERT INTO loyalty.streak_freeze AS f (member_id, streak, quantity, for_day, at, from_day, until_day, valid_until, reference)
	VALUES (member_id, streak, quantity, for_day, at, (at AT TIME ZONE zone)::date, (valid_until AT TIME ZONE zone)::date - 1, valid_until, reference)
	RETURNING f.freeze_id INTO freeze_id;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('grant_freeze', member_id, idempotency_key, jsonb_build_object('freeze_id', freeze_id));
	END IF;
END
$$;
COMMENT ON FUNCTION grant_freeze(bigint, text, integer, date, timestamptz, timestamptz, text, text) IS
'Grants freezes: each saves one missed period of the streak, of those that end after at and, unless valid_until is NULL, by valid_until; the oldest is used first. for_day: a repair, one freeze for that day alone, within "repair_within" of the streak. Returns its number, and whether this is the first result of a repeated idempotency_key. Errors: LY751 streak, LY003, LY004, LY115.';
