/*
 * engagement: challenges: so much within so long, once or again and again.
 */

CREATE FUNCTION define_challenge(challenge text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('challenge', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_challenge(text, jsonb, timestamptz) IS
'Defines a challenge, or a new version of it, by which rounds go that begin then or later (default: all, of the first; those after now, of a later one; of a challenge without rounds, the only one). Returns the version. The definition: {"kind", "when", "money", "measure", "whole": as of define_badge(), "target": 5, "from", "until": local times of "time_zone" (default: the program''s) between which activities count, "period": "day", "week", "month", "quarter" or "year": anew in each of the member''s local ones, "enrol": true: only what comes after enrol() counts, for "within", an interval, where it is given, "times": how often it may be completed in a round (1), each by another target}. It cannot count kinds challenge and journey, which follow from it. Each completion is an activity of kind challenge of the member, in the same commit, with {"challenge", "round"} as its document, for campaigns to reward; it is cancelled where what completed it is undone. Errors: LY752, LY501 kind, LY003.';

CREATE FUNCTION challenge_entries(member_id bigint, challenge text, as_of timestamptz, known_at timestamptz,
	OUT entry_id bigint, OUT at timestamptz, OUT until_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 2 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	e record;
	definition jsonb;
	zone text;
	out_from timestamptz := '-infinity';
BEGIN
	FOR e IN
		SELECT x.entry_id, x.at FROM loyalty.challenge_entry x
		WHERE x.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(member_id))) AND x.challenge = challenge_entries.challenge
			AND x.at <= coalesce(as_of, 'infinity') AND x.recorded_at <= coalesce(known_at, 'infinity')
		ORDER BY x.at, x.entry_id
	LOOP
		-- who is in it is in it
		CONTINUE WHEN e.at < out_from;
		definition := loyalty.engagement_in_force('challenge', challenge, e.at);
		zone := coalesce(definition ->> 'time_zone', loyalty.program_time_zone());
		entry_id := e.entry_id;
		at := e.at;
		until_at := ((at AT TIME ZONE zone) + (definition ->> 'within')::interval) AT TIME ZONE zone;
		out_from := coalesce(until_at, 'infinity');
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION challenge_entries(bigint, text, timestamptz, timestamptz) IS
'The enrolments of a member in a challenge, under whichever number, as of an instant and as known at another (NULL: all), and until when what it does counts (NULL: as long as the challenge goes). One that lies within an earlier one is none, in whichever order they were told. Part of enrol() and progress().';

CREATE FUNCTION challenge_rounds(member_id bigint, challenge text, as_of timestamptz, known_at timestamptz,
	OUT round text, OUT have numeric, OUT needed numeric, OUT until_at timestamptz, OUT completed_at timestamptz[]) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	v record;
	definition jsonb;
	zone text;
	unit text;
	from_at timestamptz;
	end_at timestamptz;
	target numeric;
	times integer;
	enrols boolean;
BEGIN
	PERFORM loyalty.engagement_in_force('challenge', challenge, as_of);
	-- each round by the version with which it begins; one that has no beginning by the last
	FOR v IN
		SELECT x.definition, CASE WHEN lag(x.version) OVER w IS NULL THEN '-infinity' ELSE x.effective_from END AS since, coalesce(lead(x.effective_from) OVER w, 'infinity') AS until
		FROM loyalty.engagement_version x
		WHERE x.what = 'challenge' AND x.name = challenge AND (x.effective_from IS NULL OR x.effective_from <= coalesce(as_of, statement_timestamp()))
		WINDOW w AS (ORDER BY x.version) ORDER BY x.version
	LOOP
		definition := v.definition;
		zone := coalesce(definition ->> 'time_zone', loyalty.program_time_zone());
		unit := definition ->> 'period';
		from_at := coalesce((definition ->> 'from')::timestamp AT TIME ZONE zone, '-infinity');
		end_at := coalesce((definition ->> 'until')::timestamp AT TIME ZONE zone, 'infinity');
		target := definition ->> 'target';
		times := coalesce((definition ->> 'times')::numeric, 1);
		enrols := coalesce((definition ->> 'enrol')::boolean, false);
		RETURN QUERY
		WITH span AS (
			SELECT NULL::bigint AS entry_id, from_at AS since, end_at AS until WHERE NOT enrols AND (unit IS NOT NULL OR v.until = 'infinity')
			UNION ALL
			SELECT e.entry_id, greatest(e.at, from_at), least(coalesce(e.until_at, 'infinity'), end_at)
			FROM loyalty.challenge_entries(member_id, challenge, as_of, known_at) e
			WHERE enrols AND (unit IS NOT NULL OR e.at >= v.since AND e.at < v.until)
		), fact AS (
			SELECT s.entry_id, s.since, s.until, f.*, CASE WHEN unit IS NOT NULL THEN date_trunc(unit, f.local_day::timestamp)::date END AS start
			FROM span s JOIN loyalty.engagement_facts(member_id, definition, as_of, known_at) f ON f.at >= s.since AND f.at < s.until
		), counted AS (
			SELECT f.*, CASE definition ->> 'measure' WHEN 'days' THEN (row_number() OVER (PARTITION BY f.entry_id, f.start, f.local_day ORDER BY f.at, f.recorded_at, f.activity_id) = 1)::integer
				ELSE f.value END AS n
			FROM fact f
		), summed AS (
			SELECT c.*, sum(c.n) OVER (PARTITION BY c.entry_id, c.start ORDER BY c.at, c.recorded_at, c.activity_id) AS total FROM counted c
		), today AS (
			-- the round of now is there, also where nothing was done in it
			SELECT s.entry_id, CASE WHEN unit IS NOT NULL THEN date_trunc(unit, coalesce(as_of, statement_timestamp()) AT TIME ZONE zone)::date END AS start, s.since, s.until FROM span s
		), bucket AS (
			SELECT f.entry_id, f.start, f.since, f.until FROM fact f UNION SELECT t.entry_id, t.start, t.since, t.until FROM today t
		)
		SELECT coalesce(b.start::text, b.entry_id::text, '1'), coalesce(x.total, 0), target,
			nullif(least(b.until, (b.start + ('1 ' || CASE unit WHEN 'quarter' THEN 'month' ELSE unit END)::interval * CASE unit WHEN 'quarter' THEN 3 ELSE 1 END)::timestamp AT TIME ZONE zone), 'infinity'),
			(SELECT array_agg(c.at ORDER BY k) FROM generate_series(1, least(times, floor(x.total / target))::integer) k,
				LATERAL (SELECT s.at FROM summed s WHERE s.entry_id IS NOT DISTINCT FROM b.entry_id AND s.start IS NOT DISTINCT FROM b.start AND s.total >= k * target
					ORDER BY s.at, s.recorded_at, s.activity_id LIMIT 1) c)
		FROM bucket b LEFT JOIN LATERAL (SELECT max(s.total) AS total FROM summed s
			WHERE s.entry_id IS NOT DISTINCT FROM b.entry_id AND s.start IS NOT DISTINCT FROM b.start) x ON true
		WHERE b.start IS NULL OR b.start::timestamp AT TIME ZONE zone >= v.since AND b.start::timestamp AT TIME ZONE zone < v.until
		ORDER BY b.start, b.since;
	END LOOP;
END
$$;
COMMENT ON FUNCTION challenge_rounds(bigint, text, timestamptz, timestamptz) IS
'The rounds of a member''s challenge, as of an instant and as known at another (NULL: all): by period (its first day), by enrolment (its number), or the only one; what the member has, what a target is, until when it is, and the instants at which it was completed. Part of progress().';

CREATE FUNCTION progress(member_id bigint, challenge text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT have numeric, OUT needed numeric, OUT due_at timestamptz, OUT completed_at timestamptz, OUT times integer) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	round text;
BEGIN
	-- of rounds the one of now, which is the last that has begun
	SELECT r.round, r.have, r.needed, r.until_at, r.completed_at[cardinality(r.completed_at)], coalesce(cardinality(r.completed_at), 0)
	INTO round, have, needed, due_at, completed_at, times
	FROM (SELECT r.*, row_number() OVER () AS n FROM loyalty.challenge_rounds(member_id, challenge, coalesce(as_of, statement_timestamp()), known_at) r) r
	ORDER BY r.n DESC LIMIT 1;
	IF round IS NULL THEN
		RAISE EXCEPTION 'member % is not enrolled in challenge "%"', member_id, challenge
			USING ERRCODE = 'LY753', DETAIL = 'What it does counts from its enrolment on.', HINT = 'Call loyalty.enrol().';
	END IF;
END
$$;
COMMENT ON FUNCTION progress(bigint, text, timestamptz, timestamptz) IS
'How far a member is in a challenge, under whichever number, at an instant (NULL: now), as known at another (NULL: now): what it has in the round of then, what the target is, when the round ends (NULL: never), when it was completed last, and how often, in this round. Errors: LY751 challenge, LY753 not enrolled.';

CREATE FUNCTION enrol(member_id bigint, challenge text, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT entry_id bigint, OUT until_at timestamptz, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	definition jsonb;
BEGIN
	IF member_id IS NULL OR at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'member_id and at must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A member enrols at a finite instant.', HINT = 'Give both, or leave at out for now.';
	END IF;
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('enrol', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(challenge, extract(epoch FROM nullif(at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			entry_id := earlier ->> 'entry_id'; until_at := (earlier ->> 'until_at')::timestamptz; replayed := true;
			RETURN;
		END IF;
	END IF;
	definition := loyalty.engagement_in_force('challenge', challenge, at);
	IF (definition ->> 'enrol')::boolean IS NOT TRUE THEN
		RAISE EXCEPTION 'nobody enrols in challenge "%"', challenge
			USING ERRCODE = 'LY003', DETAIL = 'Everybody takes part.', HINT = 'Define it with "enrol": true.';
	END IF;
	PERFORM loyalty.lock_engagement(loyalty.canonical_member(member_id));
	SELECT e.entry_id INTO entry_id FROM loyalty.challenge_entries(member_id, challenge, at, NULL) e WHERE (e.until_at > enrol.at) IS NOT FALSE;
	IF entry_id IS NULL THEN
		INSERT INTO loyalty.challenge_entry AS e (member_id, challenge, at) VALUES (member_id, challenge, at) RETURNING e.entry_id INTO entry_id;
		PERFORM loyalty.put_challenges(loyalty.canonical_member(member_id), ARRAY[challenge]);
	END IF;
	SELECT e.until_at INTO until_at FROM loyalty.challenge_entries(member_id, challenge, at, NULL) e WHERE e.entry_id = enrol.entry_id;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('enrol', member_id, idempotency_key, jsonb_build_object('entry_id', entry_id, 'until_at', until_at));
	END IF;
END
$$;
COMMENT ON FUNCTION enrol(bigint, text, timestamptz, text) IS
'Enrols a member in a challenge from an instant on; who is in it already stays so, in whichever order that is told. Returns the number of the enrolment, until when what the member does counts (NULL: as long as the challenge goes), and whether this is the first result of a repeated idempotency_key. Errors: LY751 challenge, LY003, LY004, LY115.';

CREATE FUNCTION put_challenges(member_id bigint, challenges text[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	numbers CONSTANT bigint[] := loyalty.member_tree(loyalty.canonical_member(member_id));
	name text;
	d record;
BEGIN
	IF loyalty.is_forgotten(numbers) THEN
		RETURN;
	END IF;
	FOREACH name IN ARRAY challenges LOOP
		FOR d IN
			WITH want AS (
				SELECT format('%s %s %s', name, r.round, c.k) AS external_id, r.round, c.at
				FROM loyalty.challenge_rounds(member_id, name, NULL, NULL) r, unnest(r.completed_at) WITH ORDINALITY c (at, k)
			), have AS (
				SELECT a.member_id, a.activity_id, a.external_id, a.at, a.cancelled,
					-- merged members may both have it: the earlier one stands
					row_number() OVER (PARTITION BY a.external_id ORDER BY a.recorded_at, a.activity_id) AS n
				FROM loyalty.activity a
				WHERE a.member_id = ANY (numbers) AND a.kind = 'challenge' AND a.external_id ^@ (name || ' ') AND a.moved_to IS NULL
			)
			SELECT w.external_id, w.round, w.at, h.member_id, h.activity_id, h.at AS had_at, h.cancelled, w.external_id IS NULL OR h.n > 1 AS is_gone
			FROM want w FULL JOIN have h ON h.external_id = w.external_id
			ORDER BY coalesce(w.external_id, h.external_id), h.activity_id
		LOOP
			IF d.activity_id IS NULL THEN
				PERFORM loyalty.record_activity(member_id, 'challenge', d.at, document => jsonb_build_object('challenge', name, 'round', d.round), external_id => d.external_id);
			ELSIF d.is_gone AND NOT d.cancelled THEN
				PERFORM loyalty.revise_activity(d.member_id, d.activity_id, cancelled => true);
			ELSIF NOT d.is_gone AND (d.cancelled OR d.at <> d.had_at) THEN
				PERFORM loyalty.revise_activity(d.member_id, d.activity_id, cancelled => false, at => d.at);
			END IF;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_challenges(bigint, text[]) IS
'Records completions of challenges that the member''s activities reach now, and cancels those that they reach no more. Part of engage().';
