/*
 * access: who may call what.
 *
 * The tables belong to whoever ran setup().  grant_access() gives a role a
 * level, by grants on tables, which a dump, a restore and pg_upgrade keep:
 *
 *	reader		SELECT on our tables
 *	app			and INSERT on the view may_post: post points, resolve members
 *	operator	and on may_operate: adjust, merge, grant, forget, run jobs
 *	admin		and on may_define: currencies, ladders, namespaces, handlers
 *
 * INSERT, though these views take no rows: whoever may read all tables, such
 * as a member of pg_read_all_data, must have no right to write by that.
 *
 * Functions that read work with the rights of their caller.  Functions that
 * write check the caller and then work as the owner of the tables: nobody else
 * needs a right to write into a table, or has one.  All functions may be
 * executed by PUBLIC: what they can do is what their caller may do.
 *
 * The room stands last, since it puts that check before functions of all rooms.
 */

CREATE FUNCTION acting_role() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_acting_role';
COMMENT ON FUNCTION acting_role() IS
'The role that acts: that of the session, or the one that SET ROLE chose, also where a function works as the owner of our tables.';

CREATE FUNCTION setup_access(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	member record;
BEGIN
	IF have < 1 THEN
		CREATE VIEW loyalty.may_post AS SELECT 'app' AS level;
		CREATE VIEW loyalty.may_operate AS SELECT 'operator' AS level;
		CREATE VIEW loyalty.may_define AS SELECT 'admin' AS level;
		COMMENT ON VIEW loyalty.may_post IS 'Takes no rows; whoever has INSERT on it may post points, hold, redeem and reverse them, and resolve and link members. Granted by grant_access().';
		COMMENT ON VIEW loyalty.may_operate IS 'Takes no rows; whoever has INSERT on it may adjust points, merge, unmerge and forget members, grant tiers, and run jobs. Granted by grant_access().';
		COMMENT ON VIEW loyalty.may_define IS 'Takes no rows; whoever has INSERT on it may define currencies, ladders, namespaces and the like, and bring in history. Granted by grant_access().';
		COMMENT ON COLUMN loyalty.may_post.level IS 'The level that comes with it.';
		COMMENT ON COLUMN loyalty.may_operate.level IS 'The level that comes with it.';
		COMMENT ON COLUMN loyalty.may_define.level IS 'The level that comes with it.';

		CREATE VIEW loyalty.access AS
			SELECT r.rolname::text AS role,
				CASE WHEN bool_or(c.relname = 'may_define') THEN 'admin' WHEN bool_or(c.relname = 'may_operate') THEN 'operator'
					WHEN bool_or(c.relname = 'may_post') THEN 'app' ELSE 'reader' END AS level,
				bool_or(c.relowner = r.oid) AS owner
			FROM pg_class c CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a JOIN pg_roles r ON r.oid = a.grantee
			WHERE c.relnamespace = 'loyalty'::regnamespace
				AND (c.relname, a.privilege_type) IN (('wallet', 'SELECT'), ('may_post', 'INSERT'), ('may_operate', 'INSERT'), ('may_define', 'INSERT'))
			GROUP BY r.rolname;
		COMMENT ON VIEW loyalty.access IS 'Which role has which level, by the grants on our tables; members of a role have what it has.';
		COMMENT ON COLUMN loyalty.access.role IS 'The role.';
		COMMENT ON COLUMN loyalty.access.level IS 'reader, app, operator or admin; each includes those before it.';
		COMMENT ON COLUMN loyalty.access.owner IS 'Whether the tables belong to the role, which may do everything.';
	END IF;

	-- tables that came with this version
	FOR member IN SELECT x.role, x.level FROM loyalty.access x WHERE NOT x.owner LOOP
		PERFORM loyalty.grant_access(member.role, member.level);
	END LOOP;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_access(integer) IS 'Creates the views of room access, and grants what came with a new version to the roles that have a level; called by setup().';

CREATE FUNCTION grant_access(role text, level text) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	grantee CONSTANT regrole := to_regrole(quote_ident(role));
	rank CONSTANT integer := array_position('{reader,app,operator,admin}', level);
	entry record;
BEGIN
	PERFORM loyalty.require_owner();
	IF grantee IS NULL THEN
		RAISE EXCEPTION 'role "%" does not exist', coalesce(role, 'NULL')
			USING ERRCODE = 'undefined_object', HINT = 'Levels are for roles, and not for PUBLIC: CREATE ROLE first.';
	END IF;
	IF rank IS NULL THEN
		RAISE EXCEPTION 'unknown level "%"', coalesce(level, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A level is what a role may do.', HINT = 'It is reader, app, operator or admin.';
	END IF;
	IF NOT has_schema_privilege(grantee, 'loyalty', 'USAGE') THEN
		EXECUTE format('GRANT USAGE ON SCHEMA loyalty TO %s', grantee);
	END IF;
	IF NOT has_schema_privilege(grantee, 'loyalty', 'USAGE') THEN
		RAISE EXCEPTION 'role "%" may not let others use schema loyalty', current_user
			USING ERRCODE = 'insufficient_privilege', DETAIL = format('It belongs to %s.', (SELECT n.nspowner::regrole FROM pg_namespace n WHERE n.nspname = 'loyalty')),
				HINT = format('Let its owner GRANT USAGE ON SCHEMA loyalty TO %s; or, WITH GRANT OPTION, to the owner of the tables.', grantee);
	END IF;
	FOR entry IN
		SELECT c.oid::regclass AS relation, array_position('{may_post,may_operate,may_define}', c.relname::text) + 1 AS rank,
			has_table_privilege(grantee, c.oid, 'INSERT') AS has
		FROM pg_class c
		WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p', 'v')
		ORDER BY c.relname
	LOOP
		EXECUTE format('GRANT SELECT ON %s TO %s', entry.relation, grantee);
		IF entry.rank <= rank THEN
			EXECUTE format('GRANT INSERT ON %s TO %s', entry.relation, grantee);
		ELSIF entry.rank > rank AND entry.has THEN
			EXECUTE format('REVOKE INSERT ON %s FROM %s', entry.relation, grantee);
		END IF;
	END LOOP;
	RETURN format('%s: %s', grantee, level);
END
$$;
COMMENT ON FUNCTION grant_access(text, text) IS
'Gives a role a level, in place of the one that it had: reader (balances, tiers, statements, all our tables), app (and post points, resolve members), operator (and adjust, merge, grant, forget, run jobs), admin (and define). These are grants on tables, made by their owner, who calls it. Errors: 42704 no such role, LY003 no such level, 42501 the caller is not the owner, or the schema is somebody else''s, who has to grant its use.';

CREATE FUNCTION revoke_access(role text) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	grantee CONSTANT regrole := to_regrole(quote_ident(role));
BEGIN
	PERFORM loyalty.require_owner();
	IF grantee IS NULL THEN
		RAISE EXCEPTION 'role "%" does not exist', coalesce(role, 'NULL')
			USING ERRCODE = 'undefined_object', HINT = 'See the view loyalty.access.';
	END IF;
	EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA loyalty FROM %s', grantee);
	EXECUTE format('REVOKE USAGE ON SCHEMA loyalty FROM %s', grantee);
	RETURN format('%s: none', grantee);
END
$$;
COMMENT ON FUNCTION revoke_access(text) IS
'Takes from a role what grant_access() gave it, and whatever else it may do with our tables. What it has as a member of other roles stays. Errors: 42704 no such role, 42501 the caller is not the owner.';

CREATE FUNCTION require_owner() RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner CONSTANT regrole := (SELECT c.relowner FROM pg_class c WHERE c.oid = to_regclass('loyalty.layout'));
BEGIN
	IF NOT pg_has_role(owner, 'USAGE') THEN
		RAISE EXCEPTION 'role "%" does not own the tables of loyalty', current_user
			USING ERRCODE = 'insufficient_privilege', DETAIL = format('They belong to %s.', owner), HINT = 'Their owner grants access to them.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_owner() IS 'Raises 42501 unless the caller has the rights of the owner of our tables. Part of grant_access() and revoke_access().';

/*
 * Which function needs which right.  Each of these moves to another schema,
 * where nobody calls it, and in its place a function is put that checks its
 * caller and then runs it as the owner of the tables (src/core/rights.c).
 *
 * Those in PL/pgSQL that read and may refuse move as well, and run as their
 * caller: what stands before them keeps lines of ours out of the context of a
 * refusal.
 */
CREATE SCHEMA loyalty_as_owner;
COMMENT ON SCHEMA loyalty_as_owner IS 'What is behind those functions of loyalty that write: they check their caller, and run these as the owner of the tables.';
CREATE SCHEMA loyalty_as_caller;
COMMENT ON SCHEMA loyalty_as_caller IS 'What is behind some functions of loyalty that read: they run these as their caller.';

DO $block$
DECLARE
	path CONSTANT text := pg_catalog.current_setting('search_path');
	f record;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	FOR f IN
		SELECT l.before, CASE l.before WHEN 'as_caller' THEN 'loyalty_as_caller' ELSE 'loyalty_as_owner' END AS schema,
			n.name, p.oid, pg_get_function_identity_arguments(p.oid) AS identity, pg_get_function_arguments(p.oid) AS arguments,
			pg_get_function_result(p.oid) AS result, p.proisstrict, p.proretset, p.prorows, obj_description(p.oid, 'pg_proc') AS comment,
			CASE WHEN l.before = 'as_caller' AND p.provolatile = 's' THEN 'STABLE' ELSE 'VOLATILE' END AS volatility,
			CASE WHEN l.before <> 'as_caller' OR p.prosupport <> 0 THEN 'SUPPORT loyalty.require_setup' END AS support
		FROM (VALUES
			('may_post', '{earn, redeem, hold, capture, release, reverse, activate, transfer, post_many,
				resolve_member, link_identifier, unlink_identifier, record_qualification}'::text[]),
			('may_operate', '{adjust, merge_members, unmerge_members, forget_member, refresh_attributes, grant_tier, renew_grant, end_grant,
				evaluate_member_tiers, evaluate_tiers_of, book_tiers_of, tiers_to_evaluate, maintain_tier, book_expiry, book_expiries_of, rebuild_wallets_of, ledger_digest, lock_job, unlock_job, begin_job, note_job, end_job, store_findings}'),
			('may_define', '{configure_program, create_currency, configure_namespace, block_identifier, register_merge_handler,
				define_rfm_scheme, drop_rfm_scheme, define_measure, define_ladder}'),
			('as_caller', '{rfm_table, rfm_transitions, preview_merge, export_member, preview_ladder, verify_ledger}')) l (before, names),
			unnest(l.names) n (name) LEFT JOIN pg_proc p ON p.proname = n.name AND p.pronamespace = 'loyalty'::regnamespace
	LOOP
		EXECUTE format('ALTER FUNCTION loyalty.%I(%s) SET SCHEMA %I', f.name, f.identity, f.schema);
		EXECUTE format('CREATE FUNCTION loyalty.%I(%s) RETURNS %s LANGUAGE c %s %s %s %s AS %L, %L',
			f.name, f.arguments, f.result, f.volatility, CASE WHEN f.proisstrict THEN 'STRICT' END,
			CASE WHEN f.proretset THEN 'ROWS ' || f.prorows END, f.support, 'MODULE_PATHNAME', 'loyalty_' || f.before);
		EXECUTE format('COMMENT ON FUNCTION loyalty.%I(%s) IS %L', f.name, f.identity, f.comment);
		EXECUTE format('COMMENT ON FUNCTION %I.%I(%s) IS %L', f.schema, f.name, f.identity,
			format('What loyalty.%s() does, as its caller; part of it.', f.name));
	END LOOP;
	PERFORM pg_catalog.set_config('search_path', path, true);
END
$block$;
