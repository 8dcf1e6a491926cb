/*
 * activity: readers, and what becomes of activities when a member is forgotten.
 */

CREATE FUNCTION activities(member_id bigint, kind text DEFAULT NULL, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT activity_id bigint, OUT revision integer, OUT recorded_for bigint, OUT activity_kind text, OUT at timestamptz, OUT local_day date,
	OUT channel text, OUT amount numeric, OUT money text, OUT lines jsonb, OUT document jsonb, OUT external_id text,
	OUT confirmed boolean, OUT cancelled boolean, OUT returned boolean, OUT recorded_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	-- planned once: what reads members asks this of each
	RETURN QUERY
	SELECT a.activity_id, coalesce(u.revision - 1, a.revision), a.member_id, a.kind, s.at, s.local_day,
		s.channel, s.amount, s.money, s.lines, s.document, a.external_id, s.confirmed, s.cancelled, s.returned, a.recorded_at
	FROM loyalty.activity a
	-- the first revision that was not known then, and the first that was not, or had not happened by then
	LEFT JOIN LATERAL (
		SELECT r.revision, r.from_member_id FROM loyalty.activity_revision r
		WHERE r.member_id = a.member_id AND r.activity_id = a.activity_id AND r.recorded_at > $4
		ORDER BY r.revision LIMIT 1) k ON true
	LEFT JOIN LATERAL (
		SELECT r.* FROM loyalty.activity_revision r
		WHERE r.member_id = a.member_id AND r.activity_id = a.activity_id AND (r.recorded_at > $4 OR r.is_return AND r.at > $3)
		ORDER BY r.revision LIMIT 1) u ON true,
	LATERAL (
		SELECT a.at, a.local_day, a.channel, a.amount, a.money, a.lines, a.document, a.confirmed, a.cancelled, a.returned
		WHERE u.revision IS NULL
		UNION ALL
		SELECT u.was_at, u.was_local_day, u.was_channel, u.was_amount, u.was_money, u.was_lines, u.was_document,
			u.was_confirmed, u.was_cancelled, u.was_returned
		WHERE u.revision IS NOT NULL) s
	WHERE a.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND ($2 IS NULL OR a.kind = $2)
		AND a.recorded_at <= coalesce($4, 'infinity') AND s.at <= coalesce($3, 'infinity')
		-- it had not come here yet, or had gone
		AND k.from_member_id IS NULL AND (a.moved_to IS NULL OR k.revision IS NOT NULL)
	ORDER BY s.at, a.activity_id;
END
$$;
COMMENT ON FUNCTION activities(bigint, text, timestamptz, timestamptz) IS
'What a member did, under whichever number (recorded_for), in order of its instants: of one kind, or of all. as_of: what had happened by then, less what was returned by then; known_at: as the database knew it then; each NULL: all. Those that are cancelled are there, too; not those that were moved to another member.';

CREATE FUNCTION find_activity(member_id bigint, kind text, external_id text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.activity_id FROM loyalty.activity a
	WHERE a.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND a.kind = $2 AND a.external_id = $3 AND a.moved_to IS NULL
	ORDER BY a.at DESC, a.activity_id DESC LIMIT 1
$$;
COMMENT ON FUNCTION find_activity(bigint, text, text) IS
'The number of an activity by what it is outside, such as the number of an order; of several the latest, NULL where there is none.';

CREATE FUNCTION forget_activities(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.activity a SET document = NULL, external_id = NULL, same_key = NULL, idempotency_key = NULL, fingerprint = NULL,
			lines = loyalty.impersonal_lines(a.lines)
		WHERE a.member_id = ANY ($1)$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.activity_revision r SET was_document = NULL, reference = NULL, idempotency_key = NULL, fingerprint = NULL,
			was_lines = loyalty.impersonal_lines(r.was_lines)
		WHERE r.member_id = ANY ($1)$q$, $1)
$$;
COMMENT ON FUNCTION forget_activities(bigint[]) IS
'What forget_member() means here: documents, external ids, references and keys are deleted, and of lines all but what loyalty knows of them. Kinds, instants, channels, products and amounts stay with the number of the member, as the ledger does. Part of forget_member().';

CREATE FUNCTION impersonal_lines(lines jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_agg((SELECT coalesce(jsonb_object_agg(k.key, k.value), '{}') FROM jsonb_each(l.line) k
		WHERE k.key = ANY ('{line,sku,category,brand,grade,earns,quantity,price,discount,amount,coupon_discount,sold}')) ORDER BY l.place)
	FROM jsonb_array_elements(lines) WITH ORDINALITY l (line, place)
$$;
COMMENT ON FUNCTION impersonal_lines(jsonb) IS 'Lines with what loyalty knows of them, and nothing else. Part of forget_member().';
