/*
 * label: what is said of members.
 */

CREATE FUNCTION labels(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT label text, OUT value text, OUT confidence numeric, OUT source text, OUT valid_from timestamptz, OUT valid_until timestamptz) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_labels';
COMMENT ON FUNCTION labels(bigint, timestamptz, timestamptz) IS
'The labels of a member, under whichever number, at an instant (NULL: now), as known at another (NULL: now): one row each, of a set one for each value, with the source that speaks. value of a flag: true, or false where it is denied. at_least does not matter here. Error: LY003.';

CREATE FUNCTION has_label(member_id bigint, label text, value text DEFAULT NULL, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_has_label';
COMMENT ON FUNCTION has_label(bigint, text, text, timestamptz, timestamptz) IS
'Whether a member, under whichever number, has a label, with a value (NULL: with any), at an instant (NULL: now), as known at another (NULL: now), as surely as its at_least wants. Errors: LY701, LY003.';

CREATE FUNCTION label_holders(label text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL, from_id bigint DEFAULT NULL, to_id bigint DEFAULT NULL,
	OUT member_id bigint, OUT value text, OUT confidence numeric, OUT source text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_label_holders';
COMMENT ON FUNCTION label_holders(text, timestamptz, timestamptz, bigint, bigint) IS
'Who has a label at an instant (NULL: now), as known at another (NULL: now): a row for each member and value, by those who stand for others, ascending; of the members from one to another (NULL: all). Errors: LY701, LY003.';

CREATE FUNCTION label_history(member_id bigint, label text DEFAULT NULL,
	OUT assertion_no bigint, OUT recorded_at timestamptz, OUT recorded_for bigint, OUT label_name text, OUT value text, OUT says text, OUT source text,
	OUT confidence numeric, OUT valid_from timestamptz, OUT valid_until timestamptz, OUT evidence jsonb, OUT reason text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.assertion_no, m.recorded_at, m.member_id, m.label, m.value, m.says, m.source, m.confidence, m.valid_from, m.valid_until, m.evidence, m.reason
	FROM loyalty.member_label m
	WHERE m.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND ($2 IS NULL OR m.label = $2)
	ORDER BY m.recorded_at, m.member_id, m.assertion_no
$$;
COMMENT ON FUNCTION label_history(bigint, text) IS
'What was ever said of a member, under whichever number (recorded_for), in the order in which it was recorded: of one label, or of all, consent included.';
