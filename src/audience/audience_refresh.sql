/*
 * audience: recording who is in it.  See audience.h.
 */

CREATE FUNCTION split_set(set member_set, OUT chunk bigint, OUT members member_set) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 16 AS 'MODULE_PATHNAME', 'loyalty_split_set';
COMMENT ON FUNCTION split_set(member_set) IS 'A set in chunks, ascending: members whose numbers, divided by 65536 and rounded down, are the same. Part of refresh_audience().';

CREATE FUNCTION next_refresh_audience(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	facts CONSTANT text[] := '{member,member_label,activity,audience_list,tier_state,audience_change}';
	a loyalty.audience;
	-- behind the largest number there is nobody
	from_id CONSTANT bigint := greatest(nullif(behind, 9223372036854775807) + 1, 0);
	now_in loyalty.member_set;
	was_in loyalty.member_set;
	by_version integer;
BEGIN
	SELECT x.* INTO a FROM loyalty.audience x WHERE x.audience = scope FOR UPDATE;
	IF behind IS NULL OR a.next_as_of IS NULL THEN
		-- what one that was given up had begun, and what nobody can see any more
		DELETE FROM loyalty.audience_change c WHERE c.audience = scope AND c.snapshot > a.snapshot;
		DELETE FROM loyalty.audience_chunk c WHERE c.audience = scope AND (c.snapshot > a.snapshot
			OR EXISTS (SELECT FROM loyalty.audience_chunk n WHERE n.audience = scope AND n.chunk = c.chunk AND n.snapshot > c.snapshot AND n.snapshot <= a.snapshot));
		a.next_as_of := as_of;
		-- whoever has written by now is waited for: what is recorded later is not looked at
		a.next_known_at := clock_timestamp();
		PERFORM loyalty.writers_have_ended('{member,member_label,activity,audience_list,member_alias,tier_event,tier_state,wallet}', '1 minute');
		UPDATE loyalty.audience x SET next_as_of = a.next_as_of, next_known_at = a.next_known_at WHERE x.audience = scope;
		total := loyalty.estimated_rows('loyalty.member');
	END IF;
	seen := 0;
	up_to := loyalty.next_members(greatest(behind, -1), batch_size, facts);
	by_version := (loyalty.audience_tree(scope, a.next_as_of)).version;
	IF up_to IS NULL THEN
		UPDATE loyalty.audience x SET snapshot = a.snapshot + 1, taken_at = a.next_as_of, known_at = a.next_known_at, version = by_version,
			next_as_of = NULL, next_known_at = NULL, members = (SELECT coalesce(sum(loyalty.count_members(c.members)), 0) FROM (
				SELECT DISTINCT ON (k.chunk) k.members FROM loyalty.audience_chunk k WHERE k.audience = scope AND k.snapshot <= a.snapshot + 1
				ORDER BY k.chunk, k.snapshot DESC) c)
		WHERE x.audience = scope;
		RETURN;
	END IF;
	-- whole chunks
	up_to := up_to | 65535;
	now_in := loyalty.member_set_minus(loyalty.live_members(scope, from_id, up_to, a.next_as_of, a.next_known_at),
		(SELECT loyalty.member_set_agg(m.member_id) FROM loyalty.member m WHERE m.member_id BETWEEN from_id AND up_to AND m.status = 'forgotten'));
	WITH before AS MATERIALIZED (
		SELECT DISTINCT ON (k.chunk) k.chunk, k.members FROM loyalty.audience_chunk k
		WHERE k.audience = scope AND k.chunk BETWEEN from_id >> 16 AND up_to >> 16 AND k.snapshot <= a.snapshot
		ORDER BY k.chunk, k.snapshot DESC
	), put AS (
		INSERT INTO loyalty.audience_chunk (audience, chunk, snapshot, members)
		SELECT scope, coalesce(n.chunk, b.chunk), a.snapshot + 1, coalesce(n.members, '{}')
		FROM loyalty.split_set(now_in) n FULL JOIN before b ON b.chunk = n.chunk
		WHERE loyalty.member_set_ne(coalesce(n.members, '{}'), coalesce(b.members, '{}'))
	)
	SELECT loyalty.member_set_rollup(b.members) INTO was_in FROM before b;
	INSERT INTO loyalty.audience_change (member_id, audience, snapshot, changed_at, entered, version)
	SELECT m.id, scope, a.snapshot + 1, a.next_as_of, m.entered, by_version
	FROM (SELECT e AS id, true AS entered FROM loyalty.unnest_members(loyalty.member_set_minus(now_in, was_in)) e
		UNION ALL SELECT g, false FROM loyalty.unnest_members(loyalty.member_set_minus(was_in, now_in)) g) m;
	GET DIAGNOSTICS result = ROW_COUNT;
	IF result > 0 AND (loyalty.is_heard('audience_entered') OR loyalty.is_heard('audience_left')) THEN
		PERFORM loyalty.happen(k.kind, c.member_id, c.changed_at, jsonb_build_object('version', 1, 'audience', scope, 'snapshot', c.snapshot))
		FROM loyalty.audience_change c, LATERAL (SELECT CASE WHEN c.entered THEN 'audience_entered' ELSE 'audience_left' END AS kind) k
		WHERE c.audience = scope AND c.snapshot = a.snapshot + 1 AND c.member_id BETWEEN from_id AND up_to AND loyalty.is_heard(k.kind);
	END IF;
	seen := (SELECT count(*) FROM loyalty.member m WHERE m.member_id BETWEEN from_id AND up_to);
END
$$;
COMMENT ON FUNCTION next_refresh_audience(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'Records who of the next members is in an audience, by whole chunks; at the end, makes the record visible. Part of refresh_audience(), by run_job().';

CREATE FUNCTION require_refreshable(audience text, as_of timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	taken CONSTANT timestamptz := (loyalty.audience_state(audience)).taken_at;
BEGIN
	IF loyalty.require_audience(audience) = 'list' THEN
		RAISE EXCEPTION 'audience "%" is a list', audience
			USING ERRCODE = 'LY003', DETAIL = 'Who is on it is known without.', HINT = 'Refresh an expression that names it.';
	ELSIF as_of < taken THEN
		RAISE EXCEPTION 'as_of must not be before the last refresh'
			USING ERRCODE = 'LY003', DETAIL = format('That recorded as of %s.', taken), HINT = 'Leave it out for now; in_audience() looks back.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_refreshable(text, timestamptz) IS 'Refuses to refresh a list, or as of before the last refresh: LY003. Error: LY703. Part of refresh_audience().';

CREATE FUNCTION last_refresh(audience text, OUT members bigint, OUT entered bigint, OUT gone bigint) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.members, c.entered, c.gone
	FROM loyalty.audience a, LATERAL (SELECT count(*) FILTER (WHERE c.entered) AS entered, count(*) FILTER (WHERE NOT c.entered) AS gone
		FROM loyalty.audience_change c WHERE c.audience = a.audience AND c.changed_at = a.taken_at AND c.snapshot = a.snapshot) c
	WHERE a.audience = $1
$$;
COMMENT ON FUNCTION last_refresh(text) IS 'How many members an audience has by its last refresh, and how many entered and left by it. Part of refresh_audience().';

CREATE PROCEDURE refresh_audience(audience text, as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 200000,
	INOUT members bigint DEFAULT NULL, INOUT entered bigint DEFAULT NULL, INOUT gone bigint DEFAULT NULL)
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM loyalty.require_refreshable(audience, as_of);
	CALL loyalty.run_job('refresh_audience', as_of, batch_size, 'members', 'changes', pg_catalog.jsonb_build_object('audience', audience), audience);
	SELECT r.members, r.entered, r.gone INTO members, entered, gone FROM loyalty.last_refresh(audience) r;
END
$$;
COMMENT ON PROCEDURE refresh_audience(text, timestamptz, integer, bigint, bigint, bigint) IS
'Records who is in an audience as of an instant (NULL: now; not before the last refresh), for audience_set() and its kin, and who entered and left since the refresh before, as rows of audience_change, and as events audience_entered and audience_left where somebody subscribed to them. Commits about each batch_size members; readers see the record once it is complete. Can be stopped at any time; the same call goes on where it was. Returns the number of members, and of those who entered and left (gone). Progress is in the table job_run. Errors: LY703 audience, LY006 a refresh is running, 25001 inside a transaction, LY003.';
