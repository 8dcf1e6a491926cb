/*
 * label: forgotten members, and what must hold.
 */

CREATE FUNCTION forget_labels(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT loyalty.keep_withdrawals($1);
	SELECT loyalty.erase_rows('DELETE FROM loyalty.member_label m WHERE m.member_id = ANY ($1)', $1)
$$;
COMMENT ON FUNCTION forget_labels(bigint[]) IS 'What forget_member() means here: what was said of the members is deleted, consent included; what they withdrew is kept under hashes of their identifiers. Part of forget_member().';

CREATE FUNCTION check_label(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT 'assertion', m.member_id, NULL::text, NULL::bigint, format('assertion %s does not fit label "%s"', m.assertion_no, m.label)
	FROM loyalty.member_label m LEFT JOIN loyalty.label l ON l.label = m.label
	WHERE ($1 IS NULL OR m.member_id > $1) AND ($2 IS NULL OR m.member_id <= $2) AND (
		m.says NOT IN ('yes', 'no', 'nothing') OR m.confidence NOT BETWEEN 0 AND 1 OR NOT isfinite(m.valid_from) OR m.valid_until <= m.valid_from
		OR m.says = 'nothing' AND m.valid_until IS NOT NULL
		OR CASE l.kind WHEN 'flag' THEN m.value IS NOT NULL WHEN 'set' THEN m.value IS NULL OR m.says = 'no'
			WHEN 'consent' THEN m.value IS NULL OR m.value !~ '^([*]|[a-z0-9_]+)/([*]|[a-z0-9_]+)$' OR m.says = 'nothing'
			ELSE (m.value IS NULL) <> (m.says = 'nothing') OR m.says = 'no' END IS NOT FALSE)
	UNION ALL
	SELECT 'forgotten', m.member_id, NULL, NULL, format('the member is forgotten, and assertion %s is there', m.assertion_no)
	FROM loyalty.member_label m JOIN loyalty.member p ON p.member_id = m.member_id
	WHERE p.status = 'forgotten' AND ($1 IS NULL OR m.member_id > $1) AND ($2 IS NULL OR m.member_id <= $2)
	UNION ALL
	SELECT 'consent', a.member_id, NULL, NULL, format('contact %s by %s for %s was against what was known then', a.activity_id, a.channel, a.document ->> 'purpose')
	FROM loyalty.activity a
	WHERE a.kind = 'contact' AND NOT a.cancelled AND a.moved_to IS NULL AND ($1 IS NULL OR a.member_id > $1) AND ($2 IS NULL OR a.member_id <= $2)
		AND CASE WHEN a.channel IS NOT NULL AND EXISTS (SELECT FROM loyalty.consent_purpose p WHERE p.purpose = a.document ->> 'purpose')
			THEN NOT loyalty.consented(a.member_id, a.channel, a.document ->> 'purpose', a.at, a.at,
				CASE WHEN a.document ->> 'identifier_id' ~ '^[0-9]{1,18}$' THEN ARRAY[(a.document ->> 'identifier_id')::bigint] END) END
$$;
COMMENT ON FUNCTION check_label(bigint, bigint) IS
'Every invariant of room label: a row for each violation; part of check_all(). Every assertion fits its label; of forgotten members there is none; every contact of a purpose that is defined was with the consent of its instant, as known then.';
