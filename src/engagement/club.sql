/*
 * engagement: clubs: communities that members join and leave.
 */

CREATE FUNCTION define_club(club text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	before bigint;
	capacity CONSTANT bigint := (definition ->> 'capacity')::numeric;
	is_new boolean;
	version integer;
BEGIN
	PERFORM loyalty.lock_key('club ' || club);
	SELECT (v.definition ->> 'capacity')::numeric INTO before FROM loyalty.engagement_version v WHERE v.what = 'club' AND v.name = club ORDER BY v.version DESC LIMIT 1;
	is_new := NOT FOUND;
	IF NOT is_new AND (before IS NULL) <> (capacity IS NULL) THEN
		RAISE EXCEPTION 'club "%" cannot have this version', club
			USING ERRCODE = 'LY752', DETAIL = format('It has %s capacity, and the one before %s.', CASE WHEN capacity IS NULL THEN 'no' ELSE 'a' END, CASE WHEN before IS NULL THEN 'none' ELSE 'one' END),
				HINT = 'A club keeps whether it has one; its size may change.';
	END IF;
	version := loyalty.put_engagement('club', club, definition, effective_from);
	IF is_new AND capacity IS NOT NULL THEN
		PERFORM loyalty.refuse_distributed('define_club');
		PERFORM loyalty.open_escrow('club/' || club, capacity);
	ELSIF capacity <> before THEN
		PERFORM loyalty.change_escrow('club/' || club, capacity - before);
	END IF;
	RETURN version;
END
$$;
COMMENT ON FUNCTION define_club(text, jsonb, timestamptz) IS
'Defines a club, or a new version of it. Returns the version. The definition: {"join": "open" (default), "invitation" (who was invited by club_act()) or "approval" (who asks is approved by it), "capacity": at most so many members; where there is one it may change, at once}. Errors: LY752, LY003.';

CREATE FUNCTION club_spans(member_id bigint, club text, as_of timestamptz, known_at timestamptz,
	OUT home bigint, OUT joined_at timestamptz, OUT left_at timestamptz, OUT role text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 2 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	-- where it is banned, nobody of it is in
	WITH act AS (
		SELECT a.*, a.act IN ('join', 'approve') AS is_in, a.act IN ('leave', 'remove', 'ban') AS is_out FROM loyalty.club_membership a
		WHERE a.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND a.club = $2
			AND a.at <= coalesce($3, 'infinity') AND a.recorded_at <= coalesce($4, 'infinity')
	), span AS (
		SELECT a.member_id, a.at AS joined_at, (SELECT min(o.at) FROM act o WHERE o.member_id = a.member_id AND o.is_out AND (o.at, o.act_no) > (a.at, a.act_no)) AS left_at, a.club_role AS role
		FROM act a WHERE a.is_in
	), banned AS (
		SELECT b.at AS since, (SELECT min(l.at) FROM act l WHERE l.member_id = b.member_id AND l.act = 'lift' AND (l.at, l.act_no) > (b.at, b.act_no)) AS until FROM act b WHERE b.act = 'ban'
	)
	SELECT s.member_id, s.joined_at, nullif(least(coalesce(s.left_at, 'infinity'), coalesce((SELECT min(b.since) FROM banned b WHERE b.since > s.joined_at), 'infinity')), 'infinity'),
		coalesce((SELECT p.club_role FROM act p WHERE p.member_id = s.member_id AND p.act = 'promote' AND p.at >= s.joined_at AND (s.left_at IS NULL OR p.at < s.left_at)
			ORDER BY p.at DESC, p.act_no DESC LIMIT 1), s.role)
	FROM span s
	WHERE NOT EXISTS (SELECT FROM banned b WHERE b.since <= s.joined_at AND (b.until IS NULL OR b.until > s.joined_at))
$$;
COMMENT ON FUNCTION club_spans(bigint, text, timestamptz, timestamptz) IS
'When a member, under each of its numbers, was in a club, as of an instant and as known at another (NULL: all): from joined_at on, until left_at (NULL: still), with the role of last. Part of clubs().';

CREATE FUNCTION clubs(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT club text, OUT role text, OUT joined_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.club, (array_agg(s.role ORDER BY array_position('{member,host,moderator}'::text[], s.role) DESC) FILTER (WHERE s.left_at IS NULL))[1],
		-- without a gap since
		max(s.joined_at) FILTER (WHERE s.begins)
	FROM (SELECT DISTINCT a.club FROM loyalty.club_membership a WHERE a.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1)))) c,
		LATERAL (SELECT x.*, (max(coalesce(x.left_at, 'infinity')) OVER (ORDER BY x.joined_at, x.left_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) >= x.joined_at) IS NOT TRUE AS begins
			FROM loyalty.club_spans($1, c.club, coalesce($2, statement_timestamp()), $3) x) s
	GROUP BY c.club HAVING bool_or(s.left_at IS NULL) ORDER BY c.club
$$;
COMMENT ON FUNCTION clubs(bigint, timestamptz, timestamptz) IS
'The clubs that a member, under whichever number, is in at an instant (NULL: now), as known at another (NULL: now), with its role and since when. Of merged members what either has holds: the earlier joining, the higher role, a ban.';

CREATE FUNCTION is_in_club(member_id bigint, club text, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM loyalty.club_spans($1, $2, coalesce($3, statement_timestamp()), NULL) s WHERE s.left_at IS NULL)
$$;
COMMENT ON FUNCTION is_in_club(bigint, text, timestamptz) IS 'Whether a member, under whichever number, is in a club at an instant (NULL: now).';

CREATE FUNCTION club_members(club text, as_of timestamptz DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.member_id FROM (SELECT DISTINCT loyalty.canonical_member(a.member_id) AS member_id FROM loyalty.club_membership a WHERE a.club = $1) m
	WHERE loyalty.is_in_club(m.member_id, $1, $2) ORDER BY m.member_id
$$;
COMMENT ON FUNCTION club_members(text, timestamptz) IS 'The members of a club at an instant (NULL: now), ascending.';

CREATE FUNCTION put_club_act(member_id bigint, club text, act text, at timestamptz, role text, reason text) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	names text[];
	act_no bigint;
BEGIN
	INSERT INTO loyalty.club_membership AS a (member_id, club, act, club_role, at, reason)
	VALUES (member_id, club, act, role, at, reason) RETURNING a.act_no INTO act_no;
	IF act IN ('join', 'approve') THEN
		PERFORM loyalty.record_activity(member_id, 'club', at, document => jsonb_build_object('club', club, 'role', role));
	END IF;
	-- boards of the club are of whoever is in it
	SELECT array_agg(DISTINCT v.name) INTO names FROM loyalty.engagement_version v WHERE v.what = 'board' AND v.definition ->> 'club' = club;
	PERFORM loyalty.put_scores(loyalty.canonical_member(member_id), names) WHERE names IS NOT NULL;
	RETURN act_no;
END
$$;
COMMENT ON FUNCTION put_club_act(bigint, text, text, timestamptz, text, text) IS 'Keeps an act of a member and a club; returns its number. Part of join_club(), leave_club() and club_act().';

CREATE FUNCTION require_club_act(member_id bigint, club text, at timestamptz) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last timestamptz;
BEGIN
	IF member_id IS NULL OR at IS NULL OR NOT isfinite(at) OR at > clock_timestamp() THEN
		RAISE EXCEPTION 'member_id and at must be given'
			USING ERRCODE = 'LY003', DETAIL = 'An act is of a member, at an instant that is not ahead.', HINT = 'Give both, or leave at out for now.';
	END IF;
	PERFORM loyalty.lock_engagement(loyalty.canonical_member(member_id));
	SELECT max(a.at) INTO last FROM loyalty.club_membership a WHERE a.member_id = ANY (loyalty.numbers_of(member_id)) AND a.club = require_club_act.club;
	IF last > at THEN
		RAISE EXCEPTION 'there is a later act of member % in club "%"', member_id, club
			USING ERRCODE = 'LY003', DETAIL = format('It is of %s.', last), HINT = 'Acts are told in the order in which they happened.';
	END IF;
	RETURN loyalty.engagement_in_force('club', club, at);
END
$$;
COMMENT ON FUNCTION require_club_act(bigint, text, timestamptz) IS
'The definition of a club, for an act of a member, who is locked. Errors: LY751 club, LY003. Part of join_club().';

CREATE FUNCTION join_club(member_id bigint, club text, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT status text, OUT why text, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	definition jsonb;
	last text;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('join_club', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(club, extract(epoch FROM nullif(at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			status := earlier ->> 'status'; why := earlier ->> 'why'; replayed := true;
			RETURN;
		END IF;
	END IF;
	definition := loyalty.require_club_act(member_id, club, at);
	SELECT a.act INTO last FROM loyalty.club_membership a
	WHERE a.member_id = ANY (loyalty.numbers_of(member_id)) AND a.club = join_club.club AND a.act <> 'promote' ORDER BY a.at DESC, a.act_no DESC LIMIT 1;
	IF loyalty.is_in_club(member_id, club, at) THEN
		status := 'in';
	ELSIF loyalty.is_banned(member_id, club) THEN
		status := 'refused'; why := 'banned';
	ELSIF definition ->> 'join' = 'invitation' AND last IS DISTINCT FROM 'invite' THEN
		status := 'refused'; why := 'not invited';
	ELSIF definition ->> 'join' = 'approval' THEN
		status := 'asked';
		PERFORM loyalty.put_club_act(member_id, club, 'ask', at, NULL, NULL) WHERE last IS DISTINCT FROM 'ask';
	ELSIF definition ->> 'capacity' IS NOT NULL AND loyalty.take_from_escrow('club/' || club, 1) = 0 THEN
		status := 'refused'; why := 'full';
	ELSE
		status := 'in';
		PERFORM loyalty.put_club_act(member_id, club, 'join', at, 'member', NULL);
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('join_club', member_id, idempotency_key, jsonb_build_object('status', status, 'why', why));
	END IF;
END
$$;
COMMENT ON FUNCTION join_club(bigint, text, timestamptz, text) IS
'A member joins a club: returns in, asked (it waits for an approval by club_act()) or refused, and why: banned, not invited, full (nobody is queued: ask again); and whether this is the first result of a repeated idempotency_key. Who joins has an activity of kind club. Errors: LY751 club, LY003, LY004, LY115.';

CREATE FUNCTION is_banned(member_id bigint, club text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM loyalty.club_membership b WHERE b.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND b.club = $2 AND b.act = 'ban'
		AND NOT EXISTS (SELECT FROM loyalty.club_membership l WHERE l.member_id = b.member_id AND l.club = $2 AND l.act = 'lift' AND l.act_no > b.act_no))
$$;
COMMENT ON FUNCTION is_banned(bigint, text) IS 'Whether a member, under any of its numbers, is banned from a club. Part of join_club().';

CREATE FUNCTION end_club_membership(member_id bigint, club text, act text, at timestamptz, reason text) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	h bigint;
	act_no bigint;
	capacity CONSTANT boolean := loyalty.engagement_in_force('club', club, at) ->> 'capacity' IS NOT NULL;
BEGIN
	-- under each number under which it is in
	FOR h IN SELECT DISTINCT s.home FROM loyalty.club_spans(member_id, club, at, NULL) s WHERE s.left_at IS NULL ORDER BY 1 LOOP
		act_no := loyalty.put_club_act(h, club, act, at, NULL, reason);
		PERFORM loyalty.put_into_escrow('club/' || club, 1) WHERE capacity;
	END LOOP;
	RETURN act_no;
END
$$;
COMMENT ON FUNCTION end_club_membership(bigint, text, text, timestamptz, text) IS 'A member leaves a club, under each of its numbers; its place is free. Returns the number of the last act. Part of leave_club().';

CREATE FUNCTION leave_club(member_id bigint, club text, at timestamptz DEFAULT statement_timestamp(), reason text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.require_club_act(member_id, club, at);
	IF NOT loyalty.is_in_club(member_id, club, at) THEN
		RAISE EXCEPTION 'member % is not in club "%"', member_id, club
			USING ERRCODE = 'LY759', DETAIL = format('It is not at %s.', at), HINT = 'See loyalty.clubs().';
	END IF;
	PERFORM loyalty.end_club_membership(member_id, club, 'leave', at, reason);
END
$$;
COMMENT ON FUNCTION leave_club(bigint, text, timestamptz, text) IS
'A member leaves a club; what it did there stays. Errors: LY759 it is not in it, LY751 club, LY003.';

CREATE FUNCTION club_act(member_id bigint, club text, act text, reason text DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(), role text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	definition CONSTANT jsonb := loyalty.require_club_act(member_id, club, at);
	inside CONSTANT boolean := loyalty.is_in_club(member_id, club, at);
	act_no bigint;
BEGIN
	IF coalesce(act NOT IN ('invite', 'approve', 'remove', 'ban', 'lift', 'promote'), true)
		OR (act = 'promote') IS DISTINCT FROM (role IS NOT NULL) OR role NOT IN ('member', 'host', 'moderator') THEN
		RAISE EXCEPTION 'an act must be invite, approve, remove, ban, lift or promote'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s, with role %s.', coalesce(quote_ident(act), 'NULL'), coalesce(quote_ident(role), 'NULL')),
				HINT = 'promote needs a role: member, host or moderator; the others have none.';
	ELSIF inside <> (act IN ('remove', 'promote')) AND act NOT IN ('ban', 'lift') OR act IN ('invite', 'approve') AND loyalty.is_banned(member_id, club) THEN
		RAISE EXCEPTION 'member % is % club "%"', member_id, CASE WHEN inside THEN 'in' WHEN act IN ('invite', 'approve') THEN 'banned from' ELSE 'not in' END, club
			USING ERRCODE = 'LY759', DETAIL = format('%s at %s means nothing then.', act, at), HINT = 'See loyalty.clubs().';
	ELSIF act = 'approve' AND definition ->> 'capacity' IS NOT NULL AND loyalty.take_from_escrow('club/' || club, 1) = 0 THEN
		RAISE EXCEPTION 'club "%" is full', club
			USING ERRCODE = 'LY758', DETAIL = format('It has %s members.', definition ->> 'capacity'), HINT = 'Let somebody leave, or define a version with a larger capacity.';
	END IF;
	IF act = 'remove' THEN
		act_no := loyalty.end_club_membership(member_id, club, act, at, reason);
	ELSE
		IF act = 'ban' THEN
			PERFORM loyalty.end_club_membership(member_id, club, 'remove', at, reason);
		END IF;
		act_no := loyalty.put_club_act(member_id, club, act, at, CASE act WHEN 'approve' THEN 'member' ELSE role END, reason);
	END IF;
	PERFORM loyalty.keep_act('club_act', member_id, act_no, concat_ws(' ', club, act, role));
END
$$;
COMMENT ON FUNCTION club_act(bigint, text, text, text, timestamptz, text) IS
'What a club does: invite and approve (of a club by invitation or approval), remove, ban (who is banned is in it no more, and cannot join), lift (a ban) and promote, to a role: member, host or moderator. Errors: LY751 club, LY758 it is full, LY759 the member is in it, or is not, LY003.';

CREATE FUNCTION club_figures(club text, from_at timestamptz, until timestamptz, period text DEFAULT 'month', time_zone text DEFAULT NULL, kind text DEFAULT 'order',
	OUT period_start date, OUT members bigint, OUT joined bigint, OUT gone bigint, OUT active bigint, OUT orders bigint, OUT amount numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 12 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	zone CONSTANT text := loyalty.require_time_zone(coalesce($5, loyalty.program_time_zone()));
BEGIN
	IF coalesce($4 NOT IN ('day', 'week', 'month', 'quarter', 'year'), true) OR $2 IS NULL OR $3 IS NULL OR NOT isfinite($2) OR NOT isfinite($3) THEN
		RAISE EXCEPTION 'from_at, until and a period must be given'
			USING ERRCODE = 'LY003', DETAIL = format('The period is %s.', coalesce(quote_ident($4), 'NULL')), HINT = 'Give day, week, month, quarter or year.';
	END IF;
	PERFORM loyalty.engagement_in_force('club', $1, 'infinity');
	RETURN QUERY
	WITH span AS MATERIALIZED (
		SELECT m.member_id, s.joined_at, coalesce(s.left_at, 'infinity') AS left_at
		FROM (SELECT DISTINCT loyalty.canonical_member(a.member_id) AS member_id FROM loyalty.club_membership a WHERE a.club = $1) m, LATERAL loyalty.club_spans(m.member_id, $1, NULL, NULL) s
	), fact AS MATERIALIZED (
		SELECT m.member_id, f.at, f.amount
		FROM (SELECT DISTINCT s.member_id FROM span s) m, LATERAL loyalty.activities(m.member_id, $6, NULL, NULL) f
		WHERE f.at >= $2 AND f.at < $3 AND NOT f.cancelled AND NOT f.returned
			AND EXISTS (SELECT FROM span s WHERE s.member_id = m.member_id AND f.at >= s.joined_at AND f.at < s.left_at)
	), slice AS (
		SELECT p.start::date AS start, greatest(p.start AT TIME ZONE zone, $2) AS since,
			least((p.start + CASE $4 WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || $4)::interval END) AT TIME ZONE zone, $3) AS until
		FROM generate_series(date_trunc($4, $2 AT TIME ZONE zone), ($3 AT TIME ZONE zone) - interval '1 microsecond',
			CASE $4 WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || $4)::interval END) p (start)
	)
	SELECT x.start, (SELECT count(DISTINCT s.member_id) FROM span s WHERE s.joined_at < x.until AND s.left_at >= x.until),
		(SELECT count(DISTINCT s.member_id) FROM span s WHERE s.joined_at >= x.since AND s.joined_at < x.until),
		(SELECT count(DISTINCT s.member_id) FROM span s WHERE s.left_at >= x.since AND s.left_at < x.until),
		(SELECT count(DISTINCT f.member_id) FROM fact f WHERE f.at >= x.since AND f.at < x.until),
		(SELECT count(*) FROM fact f WHERE f.at >= x.since AND f.at < x.until),
		(SELECT coalesce(sum(f.amount), 0) FROM fact f WHERE f.at >= x.since AND f.at < x.until)
	FROM slice x ORDER BY x.start;
END
$$;
COMMENT ON FUNCTION club_figures(text, timestamptz, timestamptz, text, text, text) IS
'A club by periods (day, week, month, quarter or year, by the clock of time_zone; NULL: the program''s): its members at the end, how many joined and left, how many were active, and their orders (activities of kind) and amounts, of what they did while they were in it. Errors: LY751 club, LY003.';
