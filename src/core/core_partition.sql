/*
 * core: tables of members in partitions.
 *
 * partition_tables() makes a table anew, partitioned by hash of the member, and
 * puts on it what the one before had.  What makes that is asked of the catalog
 * before the table that is there is renamed, and all statements name the table
 * by its name, so that they then mean the new one: constraints, indexes,
 * triggers, rules, policies, statistics, grants, comments, publications, and the
 * views that read it, which stay what they are and read the new one.
 *
 * A room names the tables that grow with its members and what they do in
 * <room>_growing().
 */

CREATE FUNCTION core_growing() RETURNS text[]
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '{request}'::text[]
$$;
COMMENT ON FUNCTION core_growing() IS 'The tables of room core that grow with members and what they do; see growing_tables(). Part of partition_tables().';

CREATE FUNCTION growing_tables() RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	room text;
	of_room text[];
	found text[] := '{}';
BEGIN
	FOREACH room IN ARRAY loyalty.rooms() LOOP
		IF loyalty.room_function(room || '_growing', '') IS NOT NULL THEN
			EXECUTE format('SELECT loyalty.%I()', room || '_growing') INTO of_room;
			found := found || of_room;
		END IF;
	END LOOP;
	RETURN found;
END
$$;
COMMENT ON FUNCTION growing_tables() IS
'The tables that grow with members and what they do, from the <room>_growing() of all rooms: those that partition_tables() partitions unless others are named. Part of partition_tables().';

CREATE FUNCTION is_part_of_ours(relation regclass) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_partition_ancestors($1) a JOIN pg_class c ON c.oid = a.relid
		WHERE a.relid <> $1 AND c.relnamespace = 'loyalty'::regnamespace)
$$;
COMMENT ON FUNCTION is_part_of_ours(regclass) IS 'Whether a table is a partition of one in our schema. Part of setup() and grant_access().';

CREATE FUNCTION partition_column(relation regclass) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.attname FROM pg_constraint o JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = o.conkey[1]
	WHERE o.conrelid = $1 AND o.contype = 'p' AND a.atttypid = 'bigint'::regtype
$$;
COMMENT ON FUNCTION partition_column(regclass) IS
'The member of a row: the first column of the primary key, where it is a bigint; or NULL. Part of partition_tables().';

CREATE FUNCTION dependents_left_behind(relation regclass, OUT what text, OUT remedy text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH part AS (
		SELECT 'pg_class'::regclass AS class, c.oid AS object FROM pg_class c WHERE c.oid = $1
		UNION ALL
		SELECT 'pg_type'::regclass, t.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reltype OR t.oid = (SELECT r.typarray FROM pg_type r WHERE r.oid = c.reltype)
		WHERE c.oid = $1
		UNION ALL
		SELECT 'pg_constraint'::regclass, o.oid FROM pg_constraint o WHERE o.conrelid = $1
	)
	SELECT format('%s depends on it', pg_describe_object(d.classid, d.objid, d.objsubid)),
		CASE WHEN v.relkind = 'v' AND w.rulename = '_RETURN' THEN format('Let %s drop it, or give it to %s; make it again afterwards.', v.relowner::regrole, c.relowner::regrole)
			ELSE 'Drop it, and make it again afterwards.' END
	FROM pg_class c CROSS JOIN part p JOIN pg_depend d ON d.refclassid = p.class AND d.refobjid = p.object AND d.deptype = 'n'
	LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid LEFT JOIN pg_class v ON v.oid = w.ev_class
	WHERE c.oid = $1
		-- a view reads the new table when it is made again as it is
		AND NOT coalesce(v.relkind = 'v' AND w.rulename = '_RETURN' AND pg_has_role(v.relowner, 'USAGE') AND d.refclassid <> 'pg_type'::regclass, false)
		-- parts of the table itself
		AND w.ev_class IS DISTINCT FROM c.oid
		AND NOT EXISTS (SELECT FROM pg_attrdef x WHERE d.classid = 'pg_attrdef'::regclass AND x.oid = d.objid AND x.adrelid = c.oid)
		AND NOT EXISTS (SELECT FROM pg_trigger x WHERE d.classid = 'pg_trigger'::regclass AND x.oid = d.objid AND x.tgrelid = c.oid)
		AND NOT EXISTS (SELECT FROM pg_policy x WHERE d.classid = 'pg_policy'::regclass AND x.oid = d.objid AND x.polrelid = c.oid)
		AND NOT EXISTS (SELECT FROM pg_constraint x WHERE d.classid = 'pg_constraint'::regclass AND x.oid = d.objid AND x.conrelid = c.oid)
	GROUP BY d.classid, d.objid, d.objsubid, v.relkind, w.rulename, v.relowner, c.relowner
$$;
COMMENT ON FUNCTION dependents_left_behind(regclass, OUT text, OUT text) IS
'What depends on a table and cannot be made to depend on another of the same name, and what to do about it. Part of partition_tables().';

CREATE FUNCTION why_not_partitioned(relation regclass, partitions integer, OUT what text, OUT remedy text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH t AS (
		SELECT c.*, a.attname, a.attnum FROM pg_class c
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = loyalty.partition_column(c.oid)
		WHERE c.oid = $1
	)
	SELECT 'its primary key does not begin with a member', 'Only tables with the rows of members can be partitioned by them.' FROM t WHERE t.attname IS NULL
	UNION ALL
	SELECT 'it is a partition, or inherits, or others inherit from it', 'Take it out of there (ALTER TABLE ... NO INHERIT, DETACH PARTITION).'
	FROM t WHERE t.relispartition OR t.relhassubclass OR t.reloftype <> 0 OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = t.oid)
	UNION ALL
	SELECT format('its index "%s" is unique among all members', i.relname), 'Unique within a partition is what has the member among its columns: drop the index, or leave the table in one piece.'
	FROM t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
	WHERE x.indisunique AND t.attnum <> ALL (x.indkey::smallint[])
	UNION ALL
	SELECT format('its constraint "%s" excludes rows of other members', o.conname), 'Let it compare the member by =, or drop it.'
	FROM t JOIN pg_constraint o ON o.conrelid = t.oid AND o.contype = 'x'
	WHERE NOT EXISTS (SELECT FROM unnest(o.conkey, o.conexclop) k (attnum, operator) JOIN pg_operator p ON p.oid = k.operator
		WHERE k.attnum = t.attnum AND p.oprname = '=')
	UNION ALL
	SELECT format('its trigger "%s" sees the rows of a statement, row by row', g.tgname), 'Make it a statement trigger, or drop it.'
	FROM t JOIN pg_trigger g ON g.tgrelid = t.oid WHERE coalesce(g.tgoldtable, g.tgnewtable) IS NOT NULL AND g.tgtype & 1 = 1
	UNION ALL
	SELECT 'rows come into it by subscription', 'Partition the tables before the subscription is made, or drop the subscription and make it again.'
	FROM t JOIN pg_subscription_rel s ON s.srrelid = t.oid
	UNION ALL
	SELECT format('publication %I names partitions, which the subscriber does not have', p.pubname), format('ALTER PUBLICATION %I SET (publish_via_partition_root = true);', p.pubname)
	FROM t JOIN pg_publication_tables v ON v.schemaname = t.relnamespace::regnamespace::text AND v.tablename = t.relname JOIN pg_publication p ON p.pubname = v.pubname
	WHERE NOT p.pubviaroot
	UNION ALL
	SELECT format('publication %I has all tables, and would send the rows once more', p.pubname), 'Name the tables in the publication, or drop it and copy again afterwards.'
	FROM t JOIN pg_publication_tables v ON v.schemaname = t.relnamespace::regnamespace::text AND v.tablename = t.relname JOIN pg_publication p ON p.pubname = v.pubname
	WHERE NOT EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid AND r.prrelid = t.oid)
	UNION ALL
	SELECT 'it has security labels', 'Take them off, and put them on again afterwards.'
	FROM t WHERE EXISTS (SELECT FROM pg_seclabel s WHERE s.classoid = 'pg_class'::regclass AND s.objoid = t.oid)
	UNION ALL
	SELECT format('there is a table loyalty.%I', c.relname), 'Rename it: the partition would have that name.'
	FROM t JOIN generate_series(0, $2 - 1) n ON true JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = format('%s_p%s', t.relname, n)
	UNION ALL
	SELECT b.what, b.remedy FROM loyalty.dependents_left_behind($1) b
$$;
COMMENT ON FUNCTION why_not_partitioned(regclass, integer, OUT text, OUT text) IS
'Why a table in one piece cannot be partitioned by members, and what to do about it; no rows: it can. Part of partition_tables().';

CREATE FUNCTION grants_of(acl aclitem[], object text, OUT statement text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('GRANT %s ON %s TO %s%s', string_agg(g.privilege_type, ', ' ORDER BY g.privilege_type), $2,
		CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END)
	FROM aclexplode($1) g GROUP BY g.grantee, g.is_grantable
	ORDER BY 1
$$;
COMMENT ON FUNCTION grants_of(aclitem[], text, OUT text) IS 'The statements that grant what an access list says. Part of partition_tables().';

CREATE FUNCTION what_makes_table(relation regclass, OUT step integer, OUT statement text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off SET quote_all_identifiers = off
AS $$
	WITH t AS (
		SELECT c.*, format('%I.%I', c.relnamespace::regnamespace, c.relname) AS name FROM pg_class c WHERE c.oid = $1
	), own_index AS (
		SELECT x.indexrelid, x.indisexclusion, s.spcname, CASE WHEN o.oid IS NULL THEN replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON ')
			ELSE format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.name, o.conname, regexp_replace(pg_get_constraintdef(o.oid), '( DEFERRABLE.*)?$',
				(SELECT format(' WITH (%s)\1', string_agg(format('%I = %L', p.option_name, p.option_value), ', ')) FROM pg_options_to_table(i.reloptions) p HAVING count(*) > 0
					UNION ALL SELECT '\1' LIMIT 1))) END AS definition
		FROM t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid LEFT JOIN pg_tablespace s ON s.oid = i.reltablespace
		LEFT JOIN pg_constraint o ON o.conindid = x.indexrelid AND o.conrelid = x.indrelid AND o.contype IN ('p', 'u', 'x')
		WHERE x.indisvalid AND x.indisready
	), own_column AS (
		SELECT a.* FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
	)
	SELECT 1, CASE WHEN x.spcname IS NULL THEN x.definition
		ELSE format('SET LOCAL default_tablespace = %I; %s; SET LOCAL default_tablespace = %L', x.spcname, x.definition, '') END
	FROM own_index x WHERE NOT x.indisexclusion
	UNION ALL
	SELECT 1, format('ALTER TABLE %s ADD CONSTRAINT %I %s', t.name, o.conname, pg_get_constraintdef(o.oid))
	FROM t JOIN pg_constraint o ON o.conrelid = t.oid WHERE o.contype = 'f'
	UNION ALL
	SELECT 1, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s WHERE s.stxrelid = $1
	UNION ALL
	SELECT 1, format('ALTER SEQUENCE %s OWNED BY %s.%I', d.objid::regclass, t.name, a.attname)
	FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
	JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN own_column a ON a.attnum = d.refobjsubid
	UNION ALL
	SELECT 2, pg_get_ruledef(w.oid) FROM pg_rewrite w WHERE w.ev_class = $1
	UNION ALL
	SELECT 2, pg_get_triggerdef(g.oid) FROM pg_trigger g WHERE g.tgrelid = $1 AND NOT g.tgisinternal
	UNION ALL
	SELECT 2, format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.policyname, t.name, p.permissive, p.cmd,
		(SELECT string_agg(CASE r WHEN 'public' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ') FROM unnest(p.roles) r),
		' USING (' || p.qual || ')', ' WITH CHECK (' || p.with_check || ')')
	FROM t JOIN pg_policies p ON p.schemaname = t.relnamespace::regnamespace::text AND p.tablename = t.relname
	UNION ALL
	SELECT 3, format('ALTER TABLE %s %s %s %I', t.name, CASE f.enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' ELSE 'ENABLE REPLICA' END, f.kind, f.name)
	FROM t, (SELECT 'TRIGGER', g.tgname, g.tgenabled FROM pg_trigger g WHERE g.tgrelid = $1 AND NOT g.tgisinternal
		UNION ALL SELECT 'RULE', w.rulename, w.ev_enabled FROM pg_rewrite w WHERE w.ev_class = $1) f (kind, name, enabled)
	WHERE f.enabled <> 'O'
	UNION ALL
	SELECT 3, format('ALTER TABLE %s %s ROW LEVEL SECURITY', t.name, x.what)
	FROM t, LATERAL (VALUES ('ENABLE', t.relrowsecurity), ('FORCE', t.relforcerowsecurity)) x (what, is_so) WHERE x.is_so
	UNION ALL
	SELECT 3, g.statement FROM t, loyalty.grants_of(coalesce(t.relacl, acldefault('r', t.relowner)), t.name) g
	UNION ALL
	SELECT 3, format('GRANT %s (%I) ON %s TO %s%s', g.privilege_type, a.attname, t.name,
		CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END, CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' END)
	FROM t, own_column a, aclexplode(a.attacl) g
	UNION ALL
	SELECT 3, format('COMMENT ON %s IS %L', c.object, c.comment)
	FROM t, LATERAL (
		SELECT 'TABLE ' || t.name, obj_description(t.oid, 'pg_class')
		UNION ALL SELECT format('INDEX %s', x.indexrelid::regclass), obj_description(x.indexrelid, 'pg_class') FROM own_index x WHERE NOT x.indisexclusion
		UNION ALL SELECT format('CONSTRAINT %I ON %s', o.conname, t.name), obj_description(o.oid, 'pg_constraint')
			FROM pg_constraint o WHERE o.conrelid = t.oid AND o.contype IN ('p', 'u', 'f')
		UNION ALL SELECT format('TRIGGER %I ON %s', g.tgname, t.name), obj_description(g.oid, 'pg_trigger') FROM pg_trigger g WHERE g.tgrelid = t.oid
		UNION ALL SELECT format('POLICY %I ON %s', p.polname, t.name), obj_description(p.oid, 'pg_policy') FROM pg_policy p WHERE p.polrelid = t.oid
		UNION ALL SELECT format('RULE %I ON %s', w.rulename, t.name), obj_description(w.oid, 'pg_rewrite') FROM pg_rewrite w WHERE w.ev_class = t.oid
		UNION ALL SELECT format('STATISTICS %I.%I', s.stxnamespace::regnamespace, s.stxname), obj_description(s.oid, 'pg_statistic_ext') FROM pg_statistic_ext s WHERE s.stxrelid = t.oid
	) c (object, comment) WHERE c.comment IS NOT NULL
	UNION ALL
	SELECT 4, format('CREATE OR REPLACE VIEW %s%s AS %s', v.oid::regclass,
		(SELECT format(' WITH (%s)', string_agg(format('%I = %L', p.option_name, p.option_value), ', ')) FROM pg_options_to_table(v.reloptions) p HAVING count(*) > 0),
		rtrim(pg_get_viewdef(v.oid), ';'))
	FROM pg_class v WHERE v.relkind = 'v' AND v.oid IN (SELECT w.ev_class FROM pg_depend d JOIN pg_rewrite w ON w.oid = d.objid
		WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = $1 AND d.classid = 'pg_rewrite'::regclass)
	UNION ALL
	-- last: rows that were copied before are not sent to subscribers once more
	SELECT 5, format('ALTER PUBLICATION %I ADD TABLE %s%s%s', p.pubname, t.name,
		CASE WHEN to_jsonb(r) ->> 'prattrs' IS NOT NULL THEN (SELECT ' (' || string_agg(quote_ident(a), ', ') || ')' FROM jsonb_array_elements_text(to_jsonb(v) -> 'attnames') a) END,
		' WHERE ' || (to_jsonb(v) ->> 'rowfilter'))
	FROM t JOIN pg_publication_rel r ON r.prrelid = t.oid JOIN pg_publication p ON p.oid = r.prpubid
	JOIN pg_publication_tables v ON v.pubname = p.pubname AND v.schemaname = t.relnamespace::regnamespace::text AND v.tablename = t.relname
$$;
COMMENT ON FUNCTION what_makes_table(regclass, OUT integer, OUT text) IS
'What makes a table what it is, beyond its columns and their settings: statements, in steps, for one of the same name. Part of partition_tables().';

CREATE FUNCTION what_makes_columns(relation regclass, OUT statement text) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT format('ALTER COLUMN %I %s', a.attname, x.setting)
	FROM pg_attribute a, LATERAL (
		SELECT format('SET STATISTICS %s', a.attstattarget) WHERE a.attstattarget >= 0
		UNION ALL
		SELECT format('SET (%s)', string_agg(format('%I = %L', p.option_name, p.option_value), ', ')) FROM pg_options_to_table(a.attoptions) p
		WHERE p.option_name LIKE 'n_distinct%' HAVING count(*) > 0
	) x (setting)
	WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
$$;
COMMENT ON FUNCTION what_makes_columns(regclass, OUT text) IS 'Settings of columns that a table and each of its partitions have for themselves. Part of partition_tables().';

CREATE FUNCTION make_partitions(old regclass, new regclass, partitions integer) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	storage CONSTANT text := (
		SELECT concat(' USING ' || quote_ident(m.amname),
			(SELECT format(' WITH (%s)', string_agg(format('%s%I = %L', x.prefix, p.option_name, p.option_value), ', '))
				FROM (VALUES ('', c.reloptions), ('toast.', toast.reloptions)) x (prefix, options), pg_options_to_table(x.options) p HAVING count(*) > 0),
			' TABLESPACE ' || quote_ident(s.spcname))
		FROM pg_class c JOIN pg_am m ON m.oid = c.relam LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
		LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE c.oid = old);
	name CONSTANT text := (SELECT c.relname FROM pg_class c WHERE c.oid = new);
	part text;
BEGIN
	FOR n IN 0 .. partitions - 1 LOOP
		part := format('loyalty.%I', format('%s_p%s', name, n));
		EXECUTE format('CREATE TABLE %s PARTITION OF %s FOR VALUES WITH (MODULUS %s, REMAINDER %s)%s', part, new, partitions, n, storage);
		EXECUTE format('COMMENT ON TABLE %s IS %L', part, format('Partition %s of %s of table %s, by hash of the member.', n + 1, partitions, new));
		-- read and written through the whole table, with the rights for that
		PERFORM loyalty.revoke_all_from_others(part::regclass);
	END LOOP;
END
$$;
COMMENT ON FUNCTION make_partitions(regclass, regclass, integer) IS 'Makes the partitions of a table, each stored as the one before was. Part of partition_tables().';

CREATE FUNCTION revoke_all_from_others(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	grantee text;
BEGIN
	FOR grantee IN
		SELECT DISTINCT CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END FROM pg_class c, aclexplode(c.relacl) g
		WHERE c.oid = relation AND g.grantee <> c.relowner
	LOOP
		EXECUTE format('REVOKE ALL ON TABLE %s FROM %s', relation, grantee);
	END LOOP;
END
$$;
COMMENT ON FUNCTION revoke_all_from_others(regclass) IS 'Takes back what default privileges gave to others than the owner of a new table or sequence. Part of partition_tables().';

CREATE FUNCTION move_identities(old regclass, new regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s record;
	stands record;
	sequence regclass;
	statement text;
BEGIN
	FOR s IN
		SELECT q.*, c.relname, c.relacl, c.relowner, c.oid::regclass AS relation, a.attname, obj_description(c.oid, 'pg_class') AS comment,
			CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END AS generated
		FROM pg_attribute a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
			AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
		JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'S' JOIN pg_sequence q ON q.seqrelid = c.oid
		WHERE a.attrelid = old AND a.attidentity <> ''
	LOOP
		EXECUTE format('SELECT last_value, is_called FROM %s', s.relation) INTO stands;
		EXECUTE format('ALTER SEQUENCE %s RENAME TO %I', s.relation, format('before_%s', s.seqrelid));
		EXECUTE format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY (SEQUENCE NAME loyalty.%I START %s INCREMENT %s MINVALUE %s MAXVALUE %s CACHE %s %s CYCLE)',
			new, s.attname, s.generated, s.relname, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
			CASE WHEN s.seqcycle THEN '' ELSE 'NO' END);
		sequence := format('loyalty.%I', s.relname)::regclass;
		PERFORM setval(sequence, stands.last_value, stands.is_called);
		PERFORM loyalty.revoke_all_from_others(sequence);
		FOR statement IN SELECT g.statement FROM loyalty.grants_of(coalesce(s.relacl, acldefault('s', s.relowner)), format('SEQUENCE %s', sequence)) g LOOP
			EXECUTE statement;
		END LOOP;
		IF s.comment IS NOT NULL THEN
			EXECUTE format('COMMENT ON SEQUENCE %s IS %L', sequence, s.comment);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION move_identities(regclass, regclass) IS
'Gives a table the identity columns of another, which number on where those stand, under the same names. Part of partition_tables().';

CREATE FUNCTION set_aside(relation regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	statement text;
BEGIN
	FOR statement IN
		SELECT format('ALTER INDEX %s RENAME TO %I', x.indexrelid::regclass, format('before_%s', x.indexrelid)) FROM pg_index x WHERE x.indrelid = relation
		UNION ALL
		SELECT format('ALTER STATISTICS %I.%I RENAME TO %I', s.stxnamespace::regnamespace, s.stxname, format('before_%s', s.oid))
		FROM pg_statistic_ext s WHERE s.stxrelid = relation
		UNION ALL
		SELECT format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', relation)
		UNION ALL
		SELECT format('ALTER TABLE %s RENAME TO %I', relation, format('before_%s', relation::oid))
	LOOP
		EXECUTE statement;
	END LOOP;
END
$$;
COMMENT ON FUNCTION set_aside(regclass) IS 'Gives a table, its indexes and statistics other names; what is read of it are all its rows. Part of partition_tables().';

CREATE FUNCTION put_replica_identity(new regclass, kind "char", index_name text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part record;
BEGIN
	FOR part IN
		SELECT p.relid::regclass AS relation, CASE kind WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING'
			WHEN 'i' THEN format('USING INDEX %I', (SELECT i.relname FROM pg_partition_tree(format('loyalty.%I', index_name)::regclass) t
				JOIN pg_index x ON x.indexrelid = t.relid AND x.indrelid = p.relid JOIN pg_class i ON i.oid = x.indexrelid)) END AS identity
		FROM pg_partition_tree(new) p WHERE kind <> 'd'
	LOOP
		EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', part.relation, part.identity);
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_replica_identity(regclass, "char", text) IS 'Says how rows are told to subscribers, of a table and its partitions. Part of partition_tables().';

CREATE FUNCTION partition_table(table_name text, partitions integer) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off SET jit = off SET default_tablespace = ''
AS $$
DECLARE
	name CONSTANT text := format('loyalty.%I', table_name);
	old CONSTANT regclass := name::regclass;
	replica CONSTANT "char" := (SELECT c.relreplident FROM pg_class c WHERE c.oid = old);
	replica_index CONSTANT text := (SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = old AND x.indisreplident);
	exclusions CONSTANT text[] := ARRAY(SELECT pg_get_constraintdef(o.oid) FROM pg_constraint o WHERE o.conrelid = old AND o.contype = 'x' ORDER BY 1);
	statements CONSTANT text[] := ARRAY(SELECT m.statement FROM loyalty.what_makes_table(old) m ORDER BY m.step, m.statement);
	settings CONSTANT text[] := ARRAY(SELECT m.statement FROM loyalty.what_makes_columns(old) m ORDER BY 1);
	columns CONSTANT text := (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_attribute a
		WHERE a.attrelid = old AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '');
	new regclass;
	statement text;
	moved bigint;
BEGIN
	PERFORM loyalty.set_aside(old);
	EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS) PARTITION BY HASH (%I)',
		name, old, loyalty.partition_column(old));
	new := name::regclass;
	PERFORM loyalty.revoke_all_from_others(new);
	PERFORM loyalty.move_identities(old, new);
	PERFORM loyalty.make_partitions(old, new, partitions);
	EXECUTE format('INSERT INTO %s (%s) OVERRIDING SYSTEM VALUE SELECT %2$s FROM %s', new, columns, old);
	GET DIAGNOSTICS moved = ROW_COUNT;
	FOR statement IN
		SELECT format('ALTER TABLE %s ADD %s', p.relid::regclass, x) FROM pg_partition_tree(new) p, unnest(exclusions) x WHERE p.isleaf
		UNION ALL
		SELECT format('ALTER TABLE ONLY %s %s', p.relid::regclass, x) FROM pg_partition_tree(new) p, unnest(settings) x
	LOOP
		EXECUTE statement;
	END LOOP;
	FOREACH statement IN ARRAY statements LOOP
		EXECUTE statement;
	END LOOP;
	PERFORM loyalty.put_replica_identity(new, replica, replica_index);
	EXECUTE format('DROP TABLE %s', old);
	IF moved > 0 THEN
		EXECUTE format('ANALYZE %s', new);
	END IF;
	RETURN moved;
END
$$;
COMMENT ON FUNCTION partition_table(text, integer) IS 'Partitions one table; returns how many rows it has. Part of partition_tables().';

CREATE FUNCTION partition_tables(partitions integer DEFAULT 8, tables text[] DEFAULT NULL, OUT table_name text, OUT parts bigint, OUT moved bigint,
	OUT took interval) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	chosen CONSTANT text[] := coalesce(tables, loyalty.growing_tables());
	whole text[];
	problem record;
	began timestamptz;
BEGIN
	IF partitions IS NULL OR partitions NOT BETWEEN 2 AND 1024 THEN
		RAISE EXCEPTION 'partitions is %, not 2 to 1024', coalesce(partitions::text, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It is the number of partitions of each table.', HINT = 'Each posting goes to one partition; 8 to 64 keep each of them small enough to be vacuumed and indexed.';
	END IF;
	PERFORM loyalty.require_own_schema();
	PERFORM loyalty.lock_key('setup');
	PERFORM loyalty.refuse_distributed('partition_tables');
	SELECT min(x) INTO table_name FROM unnest(chosen) x
	WHERE NOT EXISTS (SELECT FROM loyalty.program_object o WHERE o.kind = 'table' AND o.table_name = x AND to_regclass(format('loyalty.%I', x)) IS NOT NULL);
	IF table_name IS NOT NULL OR array_position(chosen, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'loyalty has no table "%"', coalesce(table_name, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'setup() has made no table of this name.', HINT = format('Those that grow with members and what they do: %s.', array_to_string(loyalty.growing_tables(), ', '));
	END IF;
	SELECT array_agg(x ORDER BY array_position(loyalty.growing_tables(), x), x) INTO whole
	FROM (SELECT DISTINCT u AS x FROM unnest(chosen) u) d JOIN pg_class c ON c.oid = format('loyalty.%I', d.x)::regclass WHERE c.relkind <> 'p';
	IF whole IS NOT NULL THEN
		EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', (SELECT string_agg(format('loyalty.%I', x), ', ' ORDER BY i) FROM unnest(whole) WITH ORDINALITY u (x, i)));
	END IF;
	SELECT x AS name, w.* INTO problem
	FROM unnest(whole) WITH ORDINALITY u (x, i), loyalty.why_not_partitioned(format('loyalty.%I', u.x)::regclass, partitions) w ORDER BY u.i, w.what LIMIT 1;
	IF problem.name IS NOT NULL THEN
		RAISE EXCEPTION 'table loyalty.% cannot be partitioned by member', problem.name
			USING ERRCODE = 'LY003', DETAIL = format('%s%s.', upper(left(problem.what, 1)), substr(problem.what, 2)), HINT = problem.remedy;
	END IF;
	FOR table_name IN
		SELECT x FROM unnest(chosen) x GROUP BY x ORDER BY array_position(loyalty.growing_tables(), x), x
	LOOP
		began := clock_timestamp();
		moved := CASE WHEN table_name = ANY (whole) THEN loyalty.partition_table(table_name, partitions) END;
		took := CASE WHEN moved IS NOT NULL THEN clock_timestamp() - began END;
		parts := (SELECT count(*) FROM pg_partition_tree(format('loyalty.%I', table_name)::regclass) p WHERE p.isleaf);
		RETURN NEXT;
	END LOOP;
	PERFORM loyalty.put_objects();
	PERFORM loyalty.put_triggers();
END
$$;
COMMENT ON FUNCTION partition_tables(integer, text[], OUT text, OUT bigint, OUT bigint, OUT interval) IS
'Partitions tables by hash of the member, with all that is on them: indexes, constraints, triggers, policies, grants, statistics, settings, comments, publications, and columns, indexes and views of yours. Without names those that grow with members and what they do. A row for each: how many partitions it has, how many rows were moved and how long that took; NULL where it was partitioned before, and so stays as it is. In one transaction, in which nobody else reads or writes the tables, and which needs the space of both; on empty tables a moment. By the owner of the tables; guards are on every partition, and run setup() after you have attached or split one. Errors: LY003 a number that is not 2 to 1024, no such table, or one that cannot be partitioned, with what is in the way and the way around it; 42501 the caller is not the owner.';
