/*
 * Settings: namespaces, blocked values, and how other rooms are merged.
 */

CREATE FUNCTION configure_namespace(namespace text, kind text DEFAULT NULL, default_country text DEFAULT NULL,
	provider_rules boolean DEFAULT NULL, fold_case boolean DEFAULT NULL, priority integer DEFAULT NULL,
	max_per_member integer DEFAULT NULL, shared boolean DEFAULT NULL, merge_unverified boolean DEFAULT NULL,
	personal boolean DEFAULT NULL, shared_above integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	n loyalty.identifier_namespace;
	normalize_anew boolean;
BEGIN
	IF namespace IS NULL OR namespace !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a namespace: "%"', coalesce(namespace, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	IF coalesce(kind, 'opaque') NOT IN ('phone', 'email', 'opaque') OR coalesce(max_per_member, 1) < 0 OR coalesce(shared_above, 1) < 0 THEN
		RAISE EXCEPTION 'invalid setting of namespace "%"', namespace
			USING ERRCODE = 'LY003', DETAIL = format('kind is %L, max_per_member is %s, shared_above is %s.', kind, max_per_member, shared_above),
				HINT = 'kind is phone, email or opaque; max_per_member and shared_above are positive, 0 for any number.';
	END IF;
	-- an unknown country is refused
	PERFORM loyalty.normalize_identifier('phone', NULL, default_country);

	INSERT INTO loyalty.identifier_namespace AS i (namespace, kind, default_country, provider_rules, fold_case,
		priority, max_per_member, shared, merge_unverified, personal, shared_above)
	VALUES (namespace, coalesce(kind, CASE WHEN namespace IN ('phone', 'email') THEN namespace ELSE 'opaque' END),
		upper(default_country), coalesce(provider_rules, false), coalesce(fold_case, true), coalesce(priority, 100),
		nullif(max_per_member, 0), coalesce(shared, false), coalesce(merge_unverified, false), coalesce(personal, true),
		nullif(shared_above, 0))
	ON CONFLICT ON CONSTRAINT identifier_namespace_pkey DO NOTHING;
	IF FOUND THEN
		RETURN namespace;
	END IF;
	SELECT * INTO n FROM loyalty.identifier_namespace i WHERE i.namespace = configure_namespace.namespace FOR UPDATE;

	normalize_anew := coalesce(kind, n.kind) <> n.kind
		OR upper(coalesce(default_country, n.default_country)) IS DISTINCT FROM n.default_country AND n.default_country IS NOT NULL
		OR coalesce(provider_rules, n.provider_rules) <> n.provider_rules
		OR coalesce(fold_case, n.fold_case) <> n.fold_case
		OR coalesce(shared, n.shared) <> n.shared;
	IF normalize_anew AND EXISTS (SELECT FROM loyalty.identifier i WHERE i.namespace = configure_namespace.namespace) THEN
		RAISE EXCEPTION 'namespace "%" has identifiers already', namespace
			USING ERRCODE = 'LY003', DETAIL = 'kind, default_country, provider_rules, fold_case and shared decide how they are stored.',
				HINT = 'Configure another namespace, and link the identifiers there.';
	END IF;
	UPDATE loyalty.identifier_namespace AS i
	SET kind = coalesce(configure_namespace.kind, i.kind),
		default_country = coalesce(upper(configure_namespace.default_country), i.default_country),
		provider_rules = coalesce(configure_namespace.provider_rules, i.provider_rules),
		fold_case = coalesce(configure_namespace.fold_case, i.fold_case),
		priority = coalesce(configure_namespace.priority, i.priority),
		max_per_member = CASE WHEN configure_namespace.max_per_member IS NULL THEN i.max_per_member
			ELSE nullif(configure_namespace.max_per_member, 0) END,
		shared = coalesce(configure_namespace.shared, i.shared),
		merge_unverified = coalesce(configure_namespace.merge_unverified, i.merge_unverified),
		personal = coalesce(configure_namespace.personal, i.personal),
		shared_above = CASE WHEN configure_namespace.shared_above IS NULL THEN i.shared_above
			ELSE nullif(configure_namespace.shared_above, 0) END
	WHERE i.namespace = configure_namespace.namespace
		-- asked for again
		AND (coalesce(configure_namespace.kind, i.kind), coalesce(upper(configure_namespace.default_country), i.default_country),
			coalesce(configure_namespace.provider_rules, i.provider_rules), coalesce(configure_namespace.fold_case, i.fold_case),
			coalesce(configure_namespace.priority, i.priority), coalesce(configure_namespace.max_per_member, i.max_per_member, 0),
			coalesce(configure_namespace.shared, i.shared), coalesce(configure_namespace.merge_unverified, i.merge_unverified),
			coalesce(configure_namespace.personal, i.personal), coalesce(configure_namespace.shared_above, i.shared_above, 0))
		IS DISTINCT FROM (i.kind, i.default_country, i.provider_rules, i.fold_case, i.priority, coalesce(i.max_per_member, 0),
			i.shared, i.merge_unverified, i.personal, coalesce(i.shared_above, 0));
	-- values that are of too many already; whoever was joined by one that is verified had verified it
	UPDATE loyalty.identifier i SET exclusive = false
	FROM loyalty.members_by_value() v
	WHERE shared_above > 0 AND v.namespace = configure_namespace.namespace AND i.exclusive
		AND i.namespace = v.namespace AND i.value = v.value
		AND CASE WHEN i.verified THEN v.verified ELSE v.members END > shared_above;
	RETURN namespace;
END
$$;
COMMENT ON FUNCTION configure_namespace(text, text, text, boolean, boolean, integer, integer, boolean, boolean, boolean, integer) IS
'Makes a namespace of identifiers, or changes the settings that are given. kind: phone, email or opaque, how values are normalized (with default_country, provider_rules, fold_case as normalize_identifier()); priority: the smallest finds first (default 100); max_per_member: 0 for any number; shared: values that several members may have, such as a family tablet, which never find or merge anybody; shared_above: when more members than this came with a value, such as the number of a shop''s own telephone, a claim of it is treated as shared from then on; verified now, it is so only when more members than this verified it, whoever else claims it (0: never; see shared_values()); merge_unverified: whether a value proves its member without being verified, and so may join two members; personal: whether values are personal data. What decides how values are stored cannot be changed once there are any. Returns the namespace. Error: LY003.';

CREATE FUNCTION members_by_value(OUT namespace text, OUT value text, OUT members bigint, OUT verified bigint, OUT exclusive boolean)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH came AS (
		SELECT i.namespace, i.value, i.home_member_id AS member_id, i.verified, i.exclusive FROM loyalty.identifier i
		UNION ALL
		SELECT i.namespace, i.value, e.member_id, i.verified, i.exclusive
		FROM loyalty.member_merge m, LATERAL unnest(m.identifier_ids) x (identifier_id), LATERAL (VALUES (m.survivor_id), (m.absorbed_id)) e (member_id),
			loyalty.identifier i
		WHERE i.identifier_id = x.identifier_id
	)
	SELECT c.namespace, c.value, count(DISTINCT c.member_id), count(DISTINCT c.member_id) FILTER (WHERE c.verified), bool_or(c.exclusive)
	FROM came c
	GROUP BY c.namespace, c.value
$$;
COMMENT ON FUNCTION members_by_value() IS
'Of each value how many members came with it, how many verified it, and whether it is somebody''s. Part of shared_values().';

CREATE FUNCTION shared_values(at_least bigint DEFAULT 3, OUT namespace text, OUT value text, OUT members bigint, OUT counts_as_shared boolean)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v.namespace, v.value, v.members, NOT v.exclusive OR n.shared_above IS NOT NULL
		AND loyalty.members_with_value(v.namespace, v.value, false) > n.shared_above
	FROM loyalty.members_by_value() v LEFT JOIN loyalty.identifier_namespace n ON n.namespace = v.namespace
	WHERE v.members >= $1
	ORDER BY v.members DESC, v.namespace COLLATE "C", v.value COLLATE "C"
$$;
COMMENT ON FUNCTION shared_values(bigint) IS
'Values with which at_least so many members came, most first: under whose number they are, who was merged by them, and, in namespaces with shared_above, who else came with them; each member under the number that it had then. counts_as_shared says that such a value finds nobody (any more), unless whoever verified it does so again. Reads all identifiers and merges.';

CREATE FUNCTION block_identifier(namespace text, value text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	n loyalty.identifier_namespace;
	blocked text;
BEGIN
	IF value IS NULL OR btrim(value) = '' THEN
		RAISE EXCEPTION 'value must not be empty'
			USING ERRCODE = 'LY003', DETAIL = 'An empty value is garbage everywhere.',
				HINT = 'Give the value that identifies nobody.';
	END IF;
	IF namespace IS DISTINCT FROM '*' THEN
		SELECT * INTO n FROM loyalty.identifier_namespace i WHERE i.namespace = block_identifier.namespace;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'unknown namespace "%"', coalesce(namespace, 'NULL')
				USING ERRCODE = 'LY210',
					DETAIL = 'The table loyalty.identifier_namespace has no row with this name.',
					HINT = 'Make it with loyalty.configure_namespace(), or pass * for every namespace.';
		END IF;
		blocked := loyalty.normalize_identifier(n.kind, value, n.default_country, n.provider_rules, n.fold_case);
	END IF;
	blocked := coalesce(blocked, lower(btrim(value)));
	INSERT INTO loyalty.blocked_identifier AS b (namespace, value, reason) VALUES (namespace, blocked, reason)
	ON CONFLICT ON CONSTRAINT blocked_identifier_pkey DO UPDATE SET reason = excluded.reason WHERE b.reason IS DISTINCT FROM excluded.reason;
	RETURN blocked;
END
$$;
COMMENT ON FUNCTION block_identifier(text, text, text) IS
'Blocks a value that identifies nobody (unknown, 0000000000, a test address): resolve_member() ignores it, link_identifier() refuses it. namespace * blocks it everywhere. Identifiers that are linked already stay. Returns the value as stored. Errors: LY003, LY210 unknown namespace.';

CREATE FUNCTION put_merge_handler(room text, tables text[], merge_function text, unmerge_function text, preview_function text,
	forget_function text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	unfit CONSTANT text := (SELECT t.name FROM unnest(tables) t (name) WHERE NOT EXISTS (SELECT FROM pg_attribute a
		WHERE a.attrelid = to_regclass('loyalty.' || quote_ident(t.name)) AND a.attname = 'member_id' AND NOT a.attisdropped) LIMIT 1);
BEGIN
	IF room IS NULL OR tables IS NULL THEN
		RAISE EXCEPTION 'room and tables must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'A handler says which tables of a room follow a member.',
				HINT = 'Name the room and its tables.';
	END IF;
	IF unfit IS NOT NULL OR array_position(tables, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'schema loyalty has no table "%" with a column member_id', coalesce(unfit, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'Whether a number is free for a new member is looked up there.',
				HINT = 'Name the tables without their schema.';
	END IF;
	PERFORM loyalty.stored_function(f.name, f.arguments)
	FROM (VALUES (merge_function, 'bigint,bigint,bigint'), (unmerge_function, 'bigint,bigint,bigint,bigint[]'),
			(preview_function, 'bigint,bigint'), (forget_function, 'bigint[]')) f (name, arguments)
	WHERE f.name IS NOT NULL;
	-- setup() registers again each time, on a standby, too
	IF NOT EXISTS (SELECT FROM loyalty.merge_handler h
		WHERE (h.room, h.tables, h.merge_function, h.unmerge_function, h.preview_function, h.forget_function)
			IS NOT DISTINCT FROM (room, tables, merge_function, unmerge_function, preview_function, forget_function)) THEN
		INSERT INTO loyalty.merge_handler AS h (room, tables, merge_function, unmerge_function, preview_function, forget_function)
		VALUES (room, tables, merge_function, unmerge_function, preview_function, forget_function)
		ON CONFLICT ON CONSTRAINT merge_handler_pkey DO UPDATE SET tables = excluded.tables, merge_function = excluded.merge_function,
			unmerge_function = excluded.unmerge_function, preview_function = excluded.preview_function,
			forget_function = excluded.forget_function;
	END IF;
END
$$;
COMMENT ON FUNCTION put_merge_handler(text, text[], text, text, text, text) IS
'Records a handler: what register_merge_handler() does, for rooms of ours, too. Part of setup().';

CREATE FUNCTION register_merge_handler(room text, tables text[], merge_function text DEFAULT NULL,
	unmerge_function text DEFAULT NULL, preview_function text DEFAULT NULL, forget_function text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF room = ANY (loyalty.rooms()) THEN
		RAISE EXCEPTION 'room "%" is loyalty''s own', room
			USING ERRCODE = 'LY003', DETAIL = 'Its handler is put in place by setup(), and merges need it.',
				HINT = 'Give your room another name.';
	END IF;
	PERFORM loyalty.put_merge_handler(room, tables, merge_function, unmerge_function, preview_function, forget_function);
	RETURN room;
END
$$;
COMMENT ON FUNCTION register_merge_handler(text, text[], text, text, text, text) IS
'Says how things of a room of yours that belong to a member are merged, unmerged, previewed and forgotten: names of functions with their schema (NULL: nothing to do), called with member rows and wallets locked. merge(merge_id, survivor_id, absorbed_id) returns jsonb, what moved; unmerge(merge_id, canonical_id, member_id, tree) returns jsonb: the things whose home is in tree go from canonical_id back to member_id; preview(survivor_id, absorbed_id) returns jsonb; forget(member_ids). tables: the room''s tables with a column member_id; check_all() reports tables that no room registered. Handlers run with the rights of whoever merges, so each must belong to the owner of our tables or to a superuser. They run in install order of the rooms, others after them; unmerging runs them backwards. Errors: LY003, 42501.';
