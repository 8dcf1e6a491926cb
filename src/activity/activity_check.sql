/*
 * activity: what must hold.
 */

CREATE FUNCTION check_activity(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint,
	OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT p.invariant, a.member_id, NULL::text, NULL::bigint, format('activity %s: %s', a.activity_id, p.problem)
	FROM loyalty.activity a
	LEFT JOIN loyalty.activity_kind k ON k.kind = a.kind
	CROSS JOIN LATERAL (
		SELECT count(*) AS n, max(r.revision) AS last, max(r.recorded_at) AS last_at,
			(array_agg(r.to_member_id ORDER BY r.revision DESC))[1] AS left_for
		FROM loyalty.activity_revision r WHERE r.member_id = a.member_id AND r.activity_id = a.activity_id) r
	CROSS JOIN LATERAL (VALUES
		('kind', CASE WHEN k.kind IS NULL THEN format('there is no kind "%s"', a.kind) END),
		('local_day', CASE WHEN a.local_day NOT BETWEEN (a.at AT TIME ZONE 'UTC')::date - 1 AND (a.at AT TIME ZONE 'UTC')::date + 1
			THEN format('%s is not the day of %s', a.local_day, a.at) END),
		('revision', CASE WHEN r.n <> a.revision OR r.last <> a.revision OR r.last_at <> a.revised_at
			THEN format('it is revision %s of %s, and of %s that are kept the last is %s of %s', a.revision, a.revised_at, r.n, r.last, r.last_at) END),
		('moved', CASE WHEN a.moved_to IS DISTINCT FROM r.left_for OR a.moved_to IS NOT NULL AND loyalty.is_here(a.moved_to) AND NOT (a.cancelled AND EXISTS (
			SELECT FROM loyalty.activity o WHERE o.member_id = a.moved_to AND o.activity_id = a.activity_id AND o.revision >= a.revision))
			THEN format('it moved to member %s, who does not have it', a.moved_to) END),
		('amount', CASE WHEN a.amount < 0 OR a.amount IN ('NaN', 'Infinity') THEN format('its amount is %s', a.amount) END),
		('lines', CASE WHEN jsonb_typeof(a.lines) <> 'array' THEN 'its lines are no array'
			WHEN EXISTS (SELECT FROM loyalty.activity_line l WHERE l.member_id = a.member_id AND l.activity_id = a.activity_id
				GROUP BY l.line HAVING count(*) > 1 OR min(l.quantity) < 0 OR min(l.amount) < 0)
			THEN 'it has two lines of one number, or one that is negative' END)
	) p (invariant, problem)
	WHERE (behind IS NULL OR a.member_id > behind) AND (up_to IS NULL OR a.member_id <= up_to) AND p.problem IS NOT NULL;

	RETURN QUERY
	SELECT 'revision', r.member_id, NULL::text, NULL::bigint, format('revision %s is of activity %s, which is not there', r.revision, r.activity_id)
	FROM loyalty.activity_revision r
	WHERE (behind IS NULL OR r.member_id > behind) AND (up_to IS NULL OR r.member_id <= up_to)
		AND NOT EXISTS (SELECT FROM loyalty.activity a WHERE a.member_id = r.member_id AND a.activity_id = r.activity_id);
END
$$;
COMMENT ON FUNCTION check_activity(bigint, bigint) IS
'Every invariant of room activity, of members as check_all() takes them: a row for each violation. Kinds are defined; an activity is as its last revision left it, and each revision has its activity; what moved is where it moved to; local days are days of their instants; amounts and quantities are not negative. Part of check_all().';

CREATE FUNCTION check_activity_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a record;
BEGIN
	invariant := 'moved';
	FOR a IN SELECT x.member_id, x.activity_id, x.moved_to, x.revision, x.cancelled FROM loyalty.activity x WHERE x.moved_to IS NOT NULL LOOP
		IF NOT (a.cancelled AND EXISTS (SELECT FROM loyalty.activity o WHERE o.member_id = a.moved_to AND o.activity_id = a.activity_id AND o.revision >= a.revision)) THEN
			member_id := a.member_id;
			detail := format('activity %s: it moved to member %s, who does not have it', a.activity_id, a.moved_to);
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION check_activity_totals() IS 'What members of several machines have together, once tables are spread: what moved is where it moved to. Part of check_activity().';
