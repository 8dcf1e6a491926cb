/*
 * What the writing functions share: locks, attributes.
 *
 * Functions that write plan each statement once, with indexes only: tables may be
 * empty when a long-lived connection first plans, and such a plan would read
 * them whole once they have grown.  For the same reason look-ups for each of a
 * few rows are written as LATERAL with LIMIT or OFFSET, or as scalar
 * subqueries: the order of a join would be chosen for an empty table.
 */

/* locks */

CREATE FUNCTION try_to_lock_members(member_ids bigint[], whole_trees boolean DEFAULT false) RETURNS bigint[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	canonical_ids bigint[] := (SELECT array_agg(coalesce((SELECT a.canonical_id FROM loyalty.member_alias a WHERE a.member_id = m.id), m.id) ORDER BY m.n)
		FROM unnest(member_ids) WITH ORDINALITY m (id, n));
	others bigint[] := '{}';
BEGIN
	IF whole_trees THEN
		others := (SELECT array_agg(t.id) FROM unnest(canonical_ids) r (id), unnest(loyalty.member_tree(r.id)) t (id));
	END IF;
	PERFORM FROM loyalty.member m WHERE m.member_id = ANY (canonical_ids || member_ids || others) ORDER BY m.member_id FOR NO KEY UPDATE;
	-- a lock alone leaves no trace for whoever has an older snapshot
	UPDATE loyalty.member m SET acts = m.acts + 1 WHERE m.member_id = ANY (canonical_ids || member_ids || others);
	IF canonical_ids <> (SELECT array_agg(coalesce((SELECT a.canonical_id FROM loyalty.member_alias a WHERE a.member_id = m.id), m.id) ORDER BY m.n)
			FROM unnest(member_ids) WITH ORDINALITY m (id, n))
		OR whole_trees AND NOT others @> (SELECT array_agg(t.id) FROM unnest(canonical_ids) r (id), unnest(loyalty.member_tree(r.id)) t (id)) THEN
		PERFORM loyalty.restart_call('members were merged or unmerged at this moment');
	END IF;
	RETURN canonical_ids;
END
$$;
COMMENT ON FUNCTION try_to_lock_members(bigint[], boolean) IS
'Locks members and those who stand for them (whole_trees: with all who are absorbed in those), ascending, and returns the latter in the order of the argument. restart_call() when others stand for them once they are locked: the caller''s subtransaction, which must be that of the call itself, gives the locks back. Part of the writing functions.';

CREATE FUNCTION numbers_of(member_id bigint) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $1 || array_remove(loyalty.member_tree(loyalty.canonical_member($1)), $1)
$$;
COMMENT ON FUNCTION numbers_of(bigint) IS 'The numbers under which a member is known now: the one given first, then those of all who are one with it. For claim_request().';

CREATE FUNCTION may_restart(state text, schema_name text, constraint_name text) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	violated CONSTANT regclass := CASE WHEN state = '23505' AND schema_name <> '' THEN to_regclass(format('%I.%I', schema_name, constraint_name)) END;
BEGIN
	IF state = '23505' AND NOT coalesce(coalesce(pg_partition_root(violated), violated)
			IN (to_regclass('loyalty.identifier_value'), to_regclass('loyalty.identifier_shared_value')), false) THEN
		RETURN false;
	END IF;
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
		RAISE EXCEPTION 'could not serialize access due to a concurrent change of this member'
			USING ERRCODE = 'serialization_failure', HINT = 'Begin the transaction anew.';
	END IF;
	RETURN true;
END
$$;
COMMENT ON FUNCTION may_restart(text, text, text) IS
'Whether an error, by its SQLSTATE and the constraint that it names, says that another session was faster: restart_call(), or a duplicate of an identifier. Not one that a trigger or an index of users raised. Error: 40001 where the snapshot of the transaction is kept, and beginning anew would find the same. Part of the writing functions.';

CREATE FUNCTION require_effective_at(effective_at timestamptz) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'effective_at must be a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(effective_at::text, 'NULL')),
				HINT = 'Leave it out for now.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_effective_at(timestamptz) IS 'LY003 unless it is a finite instant. Part of the writing functions.';

CREATE FUNCTION require_members(member_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing bigint;
BEGIN
	SELECT m INTO missing FROM unnest(member_ids) m
	WHERE m IS NULL OR (SELECT count(*) FROM loyalty.member x WHERE x.member_id = m) = 0 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no member %', coalesce(missing::text, 'NULL')
			USING ERRCODE = 'LY202', DETAIL = 'The table loyalty.member has no row with this number.',
				HINT = 'Members are made by loyalty.resolve_member().';
	END IF;
	RETURN member_ids;
END
$$;
COMMENT ON FUNCTION require_members(bigint[]) IS 'Answers with the members; LY202 when one of the numbers is of no member. Part of the writing functions.';

CREATE FUNCTION require_merge(merge_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF merge_id IS NULL OR NOT EXISTS (SELECT FROM loyalty.member_merge m WHERE m.merge_id = require_merge.merge_id) THEN
		RAISE EXCEPTION 'there is no merge %', coalesce(merge_id::text, 'NULL')
			USING ERRCODE = 'LY211', DETAIL = 'The table loyalty.member_merge has no row with this number.',
				HINT = 'merge_members(), resolve_member() and member_history() give its number.';
	END IF;
	RETURN merge_id;
END
$$;
COMMENT ON FUNCTION require_merge(bigint) IS 'Answers with the merge; LY211 when there is none of this number. Part of the writing functions.';

CREATE FUNCTION lock_members(member_ids bigint[], whole_trees boolean DEFAULT false) RETURNS bigint[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	restarts integer := 0;
BEGIN
	member_ids := loyalty.require_members(member_ids);
	LOOP
		BEGIN
			RETURN loyalty.try_to_lock_members(member_ids, whole_trees);
		EXCEPTION WHEN SQLSTATE 'LX001' THEN
			restarts := loyalty.count_restart(restarts, SQLERRM);
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_members(bigint[], boolean) IS
'Locks members and those who stand for them as try_to_lock_members(), as often as it takes. Errors: LY202 no such member, 54000 as of count_restart(). Part of the writing functions.';

CREATE FUNCTION kept_members(member_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- of all acts only forget_member() changes a column that a key could refer to; there is none where tables are spread
	IF NOT loyalty.tables_are_spread() THEN
		PERFORM FROM loyalty.member m WHERE m.member_id = ANY (member_ids) ORDER BY m.member_id FOR KEY SHARE;
	END IF;
	RETURN member_ids;
END
$$;
COMMENT ON FUNCTION kept_members(bigint[]) IS
'Answers with the members, and keeps them from being forgotten until the transaction ends; waits for nothing else, and 40001 where they were forgotten since its snapshot. Part of writing functions that lock no members and claim a key.';

-- Volatile: its snapshot is taken after that of whoever calls it, who may have waited for them in the same statement.
CREATE FUNCTION require_not_forgotten(member_ids bigint[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	forgotten bigint;
BEGIN
	SELECT m.member_id INTO forgotten FROM loyalty.member m
	WHERE m.member_id = ANY (member_ids) AND m.status = 'forgotten' LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'member % is forgotten', forgotten
			USING ERRCODE = 'LY203', DETAIL = 'Its identifiers and attributes were removed for good.',
				HINT = 'Nothing about the person can be linked, merged or taken apart any more.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_not_forgotten(bigint[]) IS 'LY203 when one of the members is forgotten. Part of the writing functions.';

CREATE FUNCTION is_forgotten(member_ids bigint[]) RETURNS boolean
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = ANY (member_ids) AND m.status = 'forgotten');
END
$$;
COMMENT ON FUNCTION is_forgotten(bigint[]) IS 'Whether one of the members is forgotten: what it did is kept without keys, so that nothing more can be recorded for it under a key of ours. Part of room engagement.';

/* attributes */

CREATE FUNCTION surviving_attributes(member_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	RETURN (
		SELECT coalesce(jsonb_object_agg(w.attribute, w.value) FILTER (WHERE w.value <> 'null'), '{}')
		FROM (
			SELECT DISTINCT ON (x.attribute) x.attribute, x.value
			FROM (
				SELECT f.attribute, f.value, f.given_at, f.last_given_at, f.fact_id, coalesce(r.rule, o.rule, 'recent') AS rule,
					coalesce(array_position(coalesce(r.channels, o.channels), f.channel), 2147483647) AS rank,
					sum(f.times) OVER (PARTITION BY f.attribute, f.value) AS times
				FROM loyalty.member_fact f
				LEFT JOIN loyalty.attribute_rule r ON r.attribute = f.attribute
				LEFT JOIN loyalty.attribute_rule o ON o.attribute = '*'
				WHERE f.home_member_id = ANY ($1)
			) x
			WHERE x.rule = 'recent' OR x.value <> 'null'
			ORDER BY x.attribute,
				CASE WHEN x.rule = 'frequent' THEN -x.times WHEN x.rule = 'priority' THEN x.rank END,
				CASE WHEN x.rule = 'first' THEN x.given_at END,
				CASE WHEN x.rule = 'first' THEN x.fact_id END,
				x.last_given_at DESC, x.fact_id DESC
		) w
	);
END
$$;
COMMENT ON FUNCTION surviving_attributes(bigint[]) IS
'The attributes that the rules of attribute_rule choose among all that were given for these members. Part of merges.';

CREATE FUNCTION refresh_attributes(member_id bigint) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	UPDATE loyalty.member m SET attributes = s.attributes
	FROM (SELECT r.canonical, loyalty.surviving_attributes(loyalty.member_tree(r.canonical)) AS attributes
		FROM (SELECT coalesce((SELECT a.canonical_id FROM loyalty.member_alias a WHERE a.member_id = $1), $1) AS canonical) r) s
	WHERE m.member_id = s.canonical AND m.attributes <> s.attributes;
END
$$;
COMMENT ON FUNCTION refresh_attributes(bigint) IS 'Computes a member''s attributes again, under whichever of its numbers, after a rule was changed.';
