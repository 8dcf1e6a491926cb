/*
 * audience: forgotten members, and what must hold.
 */

CREATE FUNCTION forget_audiences(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT loyalty.erase_rows('DELETE FROM loyalty.audience_list l WHERE l.member_id = ANY ($1)', $1);
	SELECT loyalty.erase_rows('DELETE FROM loyalty.audience_change c WHERE c.member_id = ANY ($1)', $1);
	WITH without AS (
		UPDATE loyalty.audience_chunk c SET members = loyalty.member_set_minus(c.members, loyalty.set_from_members($1))
		WHERE c.chunk = ANY (ARRAY(SELECT DISTINCT m >> 16 FROM unnest($1) m))
			AND loyalty.count_members(loyalty.member_set_and(c.members, loyalty.set_from_members($1))) > 0
		RETURNING c.audience, c.snapshot
	)
	UPDATE loyalty.audience a SET members = (SELECT coalesce(sum(loyalty.count_members(loyalty.member_set_minus(c.members, loyalty.set_from_members($1)))), 0)
		FROM (SELECT DISTINCT ON (k.chunk) k.members FROM loyalty.audience_chunk k WHERE k.audience = a.audience AND k.snapshot <= a.snapshot ORDER BY k.chunk, k.snapshot DESC) c)
	WHERE EXISTS (SELECT FROM without w WHERE w.audience = a.audience AND w.snapshot <= a.snapshot)
$$;
COMMENT ON FUNCTION forget_audiences(bigint[]) IS 'What forget_member() means here: the members are taken out of lists, of what refreshes recorded, and of its changes. Part of forget_member().';

CREATE FUNCTION check_audience_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH chunk AS (
		SELECT DISTINCT ON (k.audience, k.chunk) k.audience, k.chunk, k.members FROM loyalty.audience_chunk k JOIN loyalty.audience a ON a.audience = k.audience AND k.snapshot <= a.snapshot
		ORDER BY k.audience, k.chunk, k.snapshot DESC
	), recorded AS MATERIALIZED (
		SELECT a.audience, loyalty.member_set_rollup(c.members) AS members
		FROM loyalty.audience a LEFT JOIN chunk c ON c.audience = a.audience WHERE a.snapshot > 0 GROUP BY a.audience
	), inside AS MATERIALIZED (
		SELECT x.audience, loyalty.member_set_agg(x.member_id) AS members
		FROM (SELECT c.member_id, c.audience, (array_agg(c.entered ORDER BY c.snapshot DESC))[1] AS entered
			FROM loyalty.audience_change c JOIN loyalty.audience a ON a.audience = c.audience AND c.snapshot <= a.snapshot GROUP BY c.member_id, c.audience) x
		WHERE x.entered GROUP BY x.audience
	)
	SELECT 'change', NULL::bigint, NULL::text, NULL::bigint, format('audience "%s": %s members are in it, and %s by its changes', r.audience, loyalty.count_members(r.members), loyalty.count_members(c.members))
	FROM recorded r, LATERAL (SELECT loyalty.member_set_rollup(i.members) AS members FROM inside i WHERE i.audience = r.audience) c
	WHERE loyalty.member_set_ne(r.members, c.members);
END
$$;
COMMENT ON FUNCTION check_audience_totals() IS 'What all members have together: an audience has those who entered and did not leave. Part of check_audience().';

CREATE FUNCTION check_audience(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH chunk AS MATERIALIZED (
		SELECT DISTINCT ON (k.audience, k.chunk) k.audience, k.chunk, k.members FROM loyalty.audience_chunk k JOIN loyalty.audience a ON a.audience = k.audience AND k.snapshot <= a.snapshot
		ORDER BY k.audience, k.chunk, k.snapshot DESC
	), recorded AS MATERIALIZED (
		SELECT a.audience, a.members AS count, loyalty.member_set_rollup(c.members) AS members
		FROM loyalty.audience a LEFT JOIN chunk c ON c.audience = a.audience WHERE a.snapshot > 0 GROUP BY a.audience, a.members
	), change AS MATERIALIZED (
		SELECT c.*, lag(c.entered) OVER (PARTITION BY c.member_id, c.audience ORDER BY c.snapshot) AS before
		FROM loyalty.audience_change c JOIN loyalty.audience a ON a.audience = c.audience AND c.snapshot <= a.snapshot
	)
	SELECT 'chunk', NULL::bigint, NULL::text, NULL::bigint, format('audience "%s": chunk %s has members who belong elsewhere', k.audience, k.chunk)
	FROM loyalty.audience_chunk k WHERE EXISTS (SELECT FROM loyalty.split_set(k.members) s WHERE s.chunk <> k.chunk)
	UNION ALL
	SELECT 'members', NULL, NULL, NULL, format('audience "%s" has %s members, and says %s', r.audience, loyalty.count_members(r.members), r.count)
	FROM recorded r WHERE loyalty.count_members(r.members) <> r.count
	UNION ALL
	SELECT 'change', x.member_id, NULL, NULL, format('audience "%s": it %s twice in a row', x.audience, CASE WHEN x.entered THEN 'entered' ELSE 'left' END)
	FROM change x WHERE x.entered = coalesce(x.before, false)
	UNION ALL
	SELECT t.* FROM loyalty.check_audience_totals() t WHERE NOT loyalty.sees_part()
	UNION ALL
	SELECT 'forgotten', m.member_id, NULL, NULL, format('the member is forgotten, and in audience "%s"', r.audience)
	FROM loyalty.member m JOIN recorded r ON loyalty.contains(r.members, m.member_id) WHERE m.status = 'forgotten'
	UNION ALL
	SELECT 'forgotten', l.member_id, NULL, NULL, format('the member is forgotten, and was on list "%s"', l.audience)
	FROM loyalty.audience_list l JOIN loyalty.member m ON m.member_id = l.member_id WHERE m.status = 'forgotten'
$$;
COMMENT ON FUNCTION check_audience() IS
'Every invariant of room audience: a row for each violation; part of check_all(). Every member of a chunk belongs into it; an audience has as many members as it says, those who entered and did not leave; who entered comes before who left; of forgotten members there is nothing.';

CREATE FUNCTION contact_list(audience text, channel text, purpose text, as_of timestamptz DEFAULT NULL, at_most integer DEFAULT NULL, within interval DEFAULT NULL,
	ignore_consent boolean DEFAULT false, OUT member_id bigint, OUT by_channel text, OUT hour integer) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	at CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	labels CONSTANT text[] := array(SELECT l.label FROM loyalty.label l WHERE (l.label, l.kind) IN (('preferred_hour', 'number'), ('preferred_channel', 'single')));
BEGIN
	PERFORM loyalty.consent_value(coalesce(channel, '*'), purpose);
	IF (at_most IS NULL) <> (within IS NULL) OR at_most < 1 OR within <= interval '0' OR ignore_consent IS NULL OR channel = '*' OR purpose = '*' THEN
		RAISE EXCEPTION 'channel, at_most and within do not fit'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s, %s and %s.', coalesce(channel, 'NULL'), coalesce(at_most::text, 'NULL'), coalesce(within::text, 'NULL')),
				HINT = 'Give at_most and within both, such as 2 and ''7 days'', or none; channel NULL is what members prefer.';
	END IF;
	RETURN QUERY
	SELECT m.id, w.by_channel, h.value FROM loyalty.audience_members(audience, as_of) m (id)
	LEFT JOIN LATERAL (SELECT x.value FROM loyalty.label_holders('preferred_channel', at, NULL, m.id, m.id) x WHERE channel IS NULL AND 'preferred_channel' = ANY (labels)) p ON true
	CROSS JOIN LATERAL (SELECT coalesce(channel, p.value) AS by_channel) w
	LEFT JOIN LATERAL (SELECT x.value::numeric::integer AS value FROM loyalty.label_holders('preferred_hour', at, NULL, m.id, m.id) x WHERE 'preferred_hour' = ANY (labels)) h ON true
	WHERE w.by_channel IS NOT NULL AND (ignore_consent OR loyalty.may_contact(m.id, w.by_channel, purpose, at))
		AND (within IS NULL OR at_most > (SELECT count(*) FROM loyalty.activities_between(m.id, m.id, 'contact', at, 'infinity') c
			WHERE c.at > loyalty.due_at(at, within) AND c.channel = w.by_channel AND c.document ->> 'purpose' = contact_list.purpose))
		AND NOT EXISTS (SELECT FROM loyalty.member f WHERE f.member_id = m.id AND f.status = 'forgotten');
END
$$;
COMMENT ON FUNCTION contact_list(text, text, text, timestamptz, integer, interval, boolean) IS
'Whom of an audience, as recorded (see audience_set()), to write to by a channel (NULL: by the one that label preferred_channel names, and those whom it names none are left out) for a purpose: those who consented, and who were written to less than at_most times so within an interval (activities of kind contact). hour: label preferred_hour, where there is one. ignore_consent => true leaves consent out. Errors: LY703 audience, LY707 purpose, LY003.';
