/*
 * audience: who is in it, live and as recorded.
 */

CREATE FUNCTION require_audience(audience text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	kind text;
BEGIN
	SELECT a.kind INTO kind FROM loyalty.audience a WHERE a.audience = $1;
	IF kind IS NULL THEN
		RAISE EXCEPTION 'there is no audience "%"', coalesce(audience, 'NULL')
			USING ERRCODE = 'LY703', DETAIL = 'The table loyalty.audience has no row with this name.', HINT = 'Define it with loyalty.define_audience() or define_list().';
	END IF;
	RETURN kind;
END
$$;
COMMENT ON FUNCTION require_audience(text) IS 'The kind of an audience; LY703 when there is none.';

CREATE FUNCTION audience_tree(audience text, as_of timestamptz, OUT version integer, OUT tree jsonb) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	IF loyalty.require_audience(audience) = 'list' THEN
		tree := jsonb_build_object('term', 'list', 'argument', audience, 'text', audience);
		RETURN;
	END IF;
	SELECT v.version, v.parsed INTO version, tree FROM loyalty.audience_version v
	WHERE v.audience = $1 AND (v.effective_from > as_of) IS NOT TRUE
	ORDER BY v.version DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION audience_tree(text, timestamptz) IS 'What an audience is at an instant: the version in force then, and its tree; NULL where there was none yet. Error: LY703.';

CREATE FUNCTION audience_test(audience text, version integer) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT loyalty.audience_sql(v.parsed, false) FROM loyalty.audience_version v WHERE v.audience = $1 AND v.version = $2
$$;
COMMENT ON FUNCTION audience_test(text, integer) IS 'The SQL that says whether a member is in a version of an audience. Part of in_audience().';

CREATE FUNCTION require_known(tree jsonb, as_of timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	term jsonb;
BEGIN
	FOR term IN SELECT jsonb_path_query(tree, 'strict $.** ? (exists(@.term))') LOOP
		IF (loyalty.term_sql(term)).now_only THEN
			RAISE EXCEPTION 'term % cannot be asked as known at an instant', term ->> 'text'
				USING ERRCODE = 'LY705', DETAIL = 'It reads what is kept as it is now, without a history.', HINT = 'Leave known_at out.';
		END IF;
	END LOOP;
	PERFORM loyalty.require_known((loyalty.audience_tree(n, as_of)).tree, as_of) FROM loyalty.tree_names(tree) n;
END
$$;
COMMENT ON FUNCTION require_known(jsonb, timestamptz) IS 'Raises LY705 for a tree that has a term without a history. Part of in_audience().';

CREATE FUNCTION is_in_audience(member_id bigint, audience text, as_of timestamptz, known_at timestamptz) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_is_in_audience';
COMMENT ON FUNCTION is_in_audience(bigint, text, timestamptz, timestamptz) IS
'in_audience() of somebody who stands for itself, as known at an instant that is infinity for now. Part of it. Error: LY703.';

CREATE FUNCTION in_audience(member_id bigint, audience text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_in_audience';
COMMENT ON FUNCTION in_audience(bigint, text, timestamptz, timestamptz) IS
'Whether a member, under whichever number, is in an audience at an instant (NULL: now), as known at another (NULL: now): from the facts, by the version in force at that instant. Late facts count. What refreshes recorded is in audience_members(). Errors: LY703 audience, LY705 a term has no history and known_at is given, LY003.';

CREATE FUNCTION live_members(audience text, from_id bigint, to_id bigint, as_of timestamptz, known_at timestamptz) RETURNS member_set
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	tree CONSTANT jsonb := (loyalty.audience_tree(audience, as_of)).tree;
	members loyalty.member_set;
BEGIN
	IF tree IS NULL THEN
		RETURN '{}';
	END IF;
	EXECUTE 'SELECT ' || loyalty.audience_sql(tree, true) INTO members USING from_id, to_id, as_of, known_at;
	RETURN members;
END
$$;
COMMENT ON FUNCTION live_members(text, bigint, bigint, timestamptz, timestamptz) IS
'Who of the members from one to another is in an audience, from the facts, at an instant, as known at another (infinity: now); by those who stand for others. The same as in_audience() of each. Error: LY703.';

CREATE FUNCTION audience_state(audience text, OUT taken_at timestamptz, OUT version integer, OUT members bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	PERFORM loyalty.require_audience(audience);
	SELECT a.taken_at, a.version, a.members INTO taken_at, version, members FROM loyalty.audience a WHERE a.audience = $1;
END
$$;
COMMENT ON FUNCTION audience_state(text) IS 'The last refresh of an audience that came to its end: as of when, by which version, how many members; NULL: none yet, or a list. Error: LY703.';

CREATE FUNCTION audience_set(audience text, as_of timestamptz DEFAULT NULL) RETURNS member_set
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	kind CONSTANT text := loyalty.require_audience(audience);
	a loyalty.audience;
	members loyalty.member_set;
	absorbed loyalty.member_set;
	gone loyalty.member_set;
	entered loyalty.member_set;
BEGIN
	IF kind = 'list' THEN
		RETURN loyalty.live_members(audience, -9223372036854775808, 9223372036854775807, coalesce(as_of, statement_timestamp()), 'infinity');
	END IF;
	SELECT x.* INTO a FROM loyalty.audience x WHERE x.audience = $1;
	members := (SELECT loyalty.member_set_rollup(c.members) FROM (
		SELECT DISTINCT ON (x.chunk) x.members FROM loyalty.audience_chunk x
		WHERE x.audience = $1 AND x.snapshot <= a.snapshot ORDER BY x.chunk, x.snapshot DESC) c);
	IF as_of < a.taken_at THEN
		-- back through the changes since, each member to before its first one
		SELECT loyalty.member_set_agg(c.member_id) FILTER (WHERE c.entered), loyalty.member_set_agg(c.member_id) FILTER (WHERE NOT c.entered)
		INTO entered, gone FROM (SELECT DISTINCT ON (x.member_id) x.member_id, x.entered FROM loyalty.audience_change x
			WHERE x.audience = $1 AND x.changed_at > as_of AND x.snapshot <= a.snapshot ORDER BY x.member_id, x.snapshot) c;
		members := loyalty.member_set_or(loyalty.member_set_minus(members, entered), gone);
	END IF;
	-- who was merged since
	SELECT loyalty.member_set_agg(l.member_id), loyalty.member_set_agg(l.canonical_id) INTO absorbed, entered
	FROM loyalty.member_alias l WHERE loyalty.contains(members, l.member_id);
	RETURN loyalty.member_set_or(loyalty.member_set_minus(members, absorbed), entered);
END
$$;
COMMENT ON FUNCTION audience_set(text, timestamptz) IS
'The members of an audience as the last refresh at or before an instant (NULL: the last) recorded them, by those who stand for others now; of a list those who are on it then. Facts that came later do not change it: in_audience() looks at those. The empty set before the first refresh. Error: LY703.';

CREATE FUNCTION audience_members(audience text, as_of timestamptz DEFAULT NULL) RETURNS SETOF bigint
LANGUAGE sql STABLE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT loyalty.unnest_members(loyalty.audience_set($1, $2))
$$;
COMMENT ON FUNCTION audience_members(text, timestamptz) IS 'The members of audience_set(), one row each, ascending. Error: LY703.';

CREATE FUNCTION audience_overlap(audiences text[], as_of timestamptz DEFAULT NULL, OUT a text, OUT b text, OUT members_a bigint, OUT members_b bigint,
	OUT in_both bigint, OUT jaccard numeric, OUT lift numeric) RETURNS SETOF record
LANGUAGE sql STABLE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH s AS MATERIALIZED (
		SELECT n.name, n.place, loyalty.audience_set(n.name, $2) AS members
		FROM (SELECT u.name, min(u.place) AS place FROM unnest($1) WITH ORDINALITY u (name, place) GROUP BY u.name) n
	), everybody AS MATERIALIZED (
		SELECT count(*) AS n FROM loyalty.member m WHERE m.status = 'active' AND m.joined_at <= coalesce($2, statement_timestamp())
	)
	SELECT x.name, y.name, loyalty.count_members(x.members), loyalty.count_members(y.members), o.in_both, o.jaccard,
		round(o.in_both::numeric * e.n / nullif(loyalty.count_members(x.members)::numeric * loyalty.count_members(y.members), 0), 4)
	FROM s x JOIN s y ON x.place < y.place, everybody e, LATERAL loyalty.overlap(x.members, y.members) o
	ORDER BY x.place, y.place
$$;
COMMENT ON FUNCTION audience_overlap(text[], timestamptz) IS
'How far audiences overlap, as recorded (see audience_set()): a row for each two, with their sizes, how many are in both, the Jaccard index, and the lift: how much more often somebody is in both than if one said nothing of the other (in_both times all known members, by the product of the sizes). Error: LY703.';

CREATE FUNCTION tree_terms(tree jsonb, as_of timestamptz, path text DEFAULT '') RETURNS TABLE (within text, term jsonb)
LANGUAGE plpgsql STABLE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	IF tree ? 'op' THEN
		RETURN QUERY SELECT t.* FROM loyalty.tree_terms(tree -> 'left', as_of, path) t;
		RETURN QUERY SELECT t.* FROM loyalty.tree_terms(tree -> 'right', as_of, path) t;
	ELSIF tree ? 'audience' THEN
		RETURN QUERY SELECT t.* FROM loyalty.tree_terms((loyalty.audience_tree(tree ->> 'audience', as_of)).tree, as_of, path || (tree ->> 'audience') || ': ') t;
	ELSIF tree IS NOT NULL THEN
		within := path;
		term := tree;
		RETURN NEXT;
	END IF;
END
$$;
COMMENT ON FUNCTION tree_terms(jsonb, timestamptz, text) IS 'The terms of a tree, those of audiences that it names included, in their order, with the names of these. Part of explain_membership().';

CREATE FUNCTION explain_membership(member_id bigint, audience text, as_of timestamptz DEFAULT NULL, OUT term text, OUT holds boolean, OUT why text) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	person CONSTANT bigint := loyalty.canonical_member(member_id);
	at CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	t record;
	s record;
BEGIN
	FOR t IN SELECT x.* FROM loyalty.tree_terms((loyalty.audience_tree(audience, at)).tree, at) x LOOP
		SELECT * INTO s FROM loyalty.term_sql(t.term);
		term := t.within || (t.term ->> 'text');
		EXECUTE format('SELECT coalesce(%s, false), %s', s.test, coalesce(s.why, 'NULL::pg_catalog.text')) INTO holds, why USING person, person, at, 'infinity'::timestamptz;
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION explain_membership(bigint, text, timestamptz) IS
'Why a member is in an audience, or not, at an instant (NULL: now), from the facts: a row for each term of its expression, in its order, those of audiences that it names with their name before them; whether it holds, and what was looked at. Error: LY703.';
