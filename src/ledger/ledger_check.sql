/*
 * ledger: the proof.  check_all(), digests, and wallets made anew from the ledger.
 */

CREATE FUNCTION unsound_wallets(behind bigint, up_to bigint, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_check_wallets';
COMMENT ON FUNCTION unsound_wallets(bigint, bigint) IS 'What check_wallets() does, of the wallets that statements read. Part of check_wallets().';

CREATE FUNCTION check_wallets(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT w.invariant, w.member_id, w.currency, w.entry_id, w.detail FROM loyalty.unsound_wallets($1, $2) w
$$;
COMMENT ON FUNCTION check_wallets(bigint, bigint) IS
'Folds and hashes every entry of every wallet again, of members behind one and up to another (NULL: no bound); a row for each violation: chain, order, fold, entry, debt (available beside points that are owed), conservation, wallet.';

CREATE FUNCTION award_triggers(OUT name name, OUT relation text, OUT relkind "char", OUT is_root boolean, OUT path text,
	OUT source text, OUT currency text, OUT others text, OUT trusted boolean, OUT makers text, OUT terms text[]) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH award AS (
		SELECT oid, tgname, tgrelid, tgargs, coalesce(pg_partition_root(tgrelid), tgrelid) AS root,
			loyalty.trigger_term(tgargs, 'source') AS source,
			coalesce(loyalty.trigger_term(tgargs, 'currency'), 'points') AS code
		FROM pg_trigger WHERE tgparentid = 0 AND tgfoid = 'loyalty.award_points()'::regprocedure
	)
	SELECT g.tgname, format('%I.%I', n.nspname, c.relname), c.relkind, g.root = g.tgrelid,
		-- the schema of the terms, unless others make functions and operators there, which the caller would run
		(SELECT format('pg_catalog, %spg_temp', CASE WHEN NOT EXISTS (
				SELECT FROM (SELECT s.nspowner AS maker UNION
					SELECT a.grantee FROM aclexplode(s.nspacl) a WHERE a.privilege_type = 'CREATE' UNION
					SELECT p.proowner FROM pg_proc p WHERE p.pronamespace = s.oid UNION
					SELECT p.oprowner FROM pg_operator p WHERE p.oprnamespace = s.oid) k
				LEFT JOIN pg_roles m ON m.oid = k.maker
				WHERE (CASE m.rolname WHEN 'pg_database_owner' THEN o.oid = l.relowner OR o.rolsuper OR o.rolname = current_user
					ELSE m.oid = l.relowner OR m.rolsuper OR m.rolname = current_user END) IS NOT TRUE) THEN format('%I, ', s.nspname) END)
			FROM pg_class rc JOIN pg_namespace s ON s.oid = rc.relnamespace, pg_database d JOIN pg_roles o ON o.oid = d.datdba
			WHERE rc.oid = g.root AND d.datname = current_database()),
		g.source, g.code,
		(SELECT string_agg(format('trigger %I on %I.%I', o.tgname, m.nspname, d.relname), ', ' ORDER BY o.oid)
			FROM award o JOIN pg_class d ON d.oid = o.tgrelid JOIN pg_namespace m ON m.oid = d.relnamespace
			WHERE o.oid <> g.oid AND o.source = g.source AND o.code = g.code AND (o.tgrelid = g.tgrelid OR o.root <> g.root)),
		c.relowner = l.relowner OR r.rolsuper OR r.rolname = current_user,
		(SELECT string_agg(coalesce(quote_ident(m.rolname), 'PUBLIC'), ', ' ORDER BY m.rolname)
			FROM aclexplode(c.relacl) a LEFT JOIN pg_roles m ON m.oid = a.grantee
			WHERE a.privilege_type = 'TRIGGER' AND a.grantee <> c.relowner AND m.rolsuper IS NOT TRUE),
		-- member, points, when and key, as a column or an expression; the key is the primary key where none is named
		(SELECT array_agg(coalesce(quote_ident(a.attname), loyalty.trigger_term(g.tgargs, w.term), CASE w.term WHEN 'key' THEN (
				SELECT string_agg(quote_ident(b.attname), ', ' ORDER BY k.n)
				FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, n), pg_attribute b
				WHERE i.indrelid = g.root AND i.indisprimary AND k.n <= i.indnkeyatts AND b.attrelid = i.indrelid AND b.attnum = k.attnum) END)
			ORDER BY w.n)
			FROM unnest('{member,points,when,key}'::text[]) WITH ORDINALITY w (term, n)
			LEFT JOIN pg_attribute a ON a.attrelid = g.tgrelid AND a.attname = loyalty.trigger_term(g.tgargs, w.term) AND a.attnum > 0)
	FROM award g
	JOIN pg_class c ON c.oid = g.tgrelid
	JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_roles r ON r.oid = c.relowner,
		(SELECT relowner FROM pg_class WHERE oid = 'loyalty.layout'::regclass) l
	ORDER BY g.source, g.code, g.oid
$$;
COMMENT ON FUNCTION award_triggers() IS
'The triggers award_points() with their terms, the others of the same source, whether their table''s owner is trusted with the rights of the caller, who else may have made them, and the search_path that their terms are read with. Part of check_awards().';

CREATE FUNCTION award_query(currency text, source text, terms text[], relation text, whole boolean) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format($q$
		WITH posted AS (
			SELECT coalesce(e.home_id, e.member_id) AS home_id, e.entry_id, e.kind, e.requested,
				CASE WHEN strpos(e.idempotency_key, '~') = 0 THEN e.idempotency_key
					ELSE substring(e.idempotency_key from '^(?:[^\\~]|\\.)*') END AS key
			FROM loyalty.all_entries() e
			WHERE e.currency = %1$L AND e.idempotency_key >= %2$L || ':' AND e.idempotency_key < %2$L || ';'
		), undone AS (
			SELECT u.target_entry_id, sum(u.requested) AS points FROM loyalty.all_entries() u WHERE u.kind = 'reverse' GROUP BY u.target_entry_id
		), reversal AS (
			SELECT r.target_entry_id, sum(r.requested::numeric - coalesce(u.points, 0)) AS of_all,
				sum(r.requested::numeric - coalesce(u.points, 0)) FILTER (WHERE o.entry_id IS NOT NULL) AS of_row
			FROM loyalty.all_entries() r JOIN posted e ON e.entry_id = r.target_entry_id AND e.kind = 'earn'
			LEFT JOIN undone u ON u.target_entry_id = r.entry_id LEFT JOIN posted o ON o.entry_id = r.entry_id
			WHERE r.kind = 'reverse' GROUP BY r.target_entry_id
		), stands AS (
			SELECT p.home_id, p.key, sum(p.requested::numeric - coalesce(r.of_row, 0)) AS points, sum(p.requested::numeric - coalesce(r.of_all, 0)) AS reversible
			FROM posted p LEFT JOIN reversal r ON r.target_entry_id = p.entry_id
			WHERE p.kind = 'earn' GROUP BY p.home_id, p.key
		), worth AS (
			SELECT (%3$s)::bigint AS member_id, loyalty.row_key_of(%2$L, ROW(%4$s)) AS key,
				CASE WHEN %5$s THEN greatest(trunc(coalesce((%6$s)::numeric, 0)), 0) ELSE 0 END AS points
			FROM %7$s AS "new"
		), difference AS (
			SELECT coalesce(w.member_id, s.home_id) AS member_id, coalesce(w.key, s.key) AS key, coalesce(w.points, 0) AS worth,
				coalesce(s.points, 0) AS stands, w.key IS NULL AS gone, w.key IS NOT NULL AND k.key IS NULL AS unknown
			FROM (SELECT * FROM worth WHERE member_id IS NOT NULL
				-- of whoever was forgotten nobody can tell what stands
				AND NOT EXISTS (SELECT FROM loyalty.wallet e WHERE e.member_id = worth.member_id AND e.erased)) w
			FULL JOIN stands s ON s.home_id = w.member_id AND s.key = w.key
			LEFT JOIN (SELECT DISTINCT p.key FROM posted p) k ON k.key = w.key
			WHERE coalesce(w.points, 0) > coalesce(s.points, 0)
				OR coalesce(w.points, 0) < s.points AND s.reversible > 0::numeric AND (w.key IS NOT NULL OR %8$L)
		)
		SELECT d.*, count(*) OVER (PARTITION BY d.unknown) AS n, row_number() OVER (PARTITION BY d.unknown ORDER BY d.key) AS i
		FROM difference d ORDER BY d.key, d.member_id$q$,
		currency, source, terms[1], terms[4], coalesce(terms[3], 'true'), terms[2], relation, whole)
$$;
COMMENT ON FUNCTION award_query(text, text, text[], text, boolean) IS
'The query that compares what rows are worth by the terms of a trigger award_points() with what stands for them: written, not run. Part of check_awards().';

CREATE FUNCTION check_awards(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
-- how many entries a source has nobody can estimate; a plan that is forbidden looks too costly not to compile
SET enable_nestloop = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	t record;
	found record;
BEGIN
	invariant := 'award';
	FOR t IN SELECT * FROM loyalty.award_triggers() LOOP
		member_id := NULL;
		currency := t.currency;
		IF t.others IS NOT NULL THEN
			detail := format('source "%s" of trigger %I on %s is also that of %s', t.source, t.name, t.relation, t.others);
			RETURN NEXT;
			CONTINUE;
		END IF;
		CONTINUE WHEN NOT t.trusted;
		IF t.makers IS NOT NULL THEN
			detail := format('trigger %1$I on %2$s is not proven, since others than its owner may have made it: REVOKE TRIGGER ON %2$s FROM %3$s',
				t.name, t.relation, t.makers);
			RETURN NEXT;
			CONTINUE;
		END IF;
		BEGIN
			PERFORM set_config('search_path', t.path, true);
			FOR found IN EXECUTE loyalty.award_query(t.currency, t.source, t.terms,
				CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || t.relation, t.is_root)
			LOOP
				CONTINUE WHEN found.unknown AND found.i > 1;
				member_id := CASE WHEN NOT found.unknown THEN found.member_id END;
				detail := CASE
					WHEN found.unknown THEN format('%s rows of %s are worth points, but no entry has their keys (the first is "%s"): bring this history in by backfill() with source => %L, or leave it out by the term "when"',
						found.n, t.relation, found.key, t.source)
					WHEN found.gone THEN format('row "%s" is no longer in %s as this member''s, and %s points stand for it', found.key, t.relation, found.stands)
					ELSE format('row "%s" of %s is worth %s points, and %s stand for it', found.key, t.relation, found.worth, found.stands) END;
				RETURN NEXT;
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			member_id := NULL;
			detail := format('trigger %I on %s: %s%s', t.name, t.relation, SQLERRM, CASE WHEN t.path = 'pg_catalog, pg_temp'
				THEN ' (nothing is looked up in its schema, since others make functions there)' END);
			RETURN NEXT;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION check_awards() IS
'What the triggers with award_points() should have posted: a row for each table row that is worth other than what stands for it, one for all history that has no keys, one for each source that two triggers share, each trigger whose terms cannot be read. Looks only at tables of the caller, of the owner of our tables, and of superusers, since it evaluates what their triggers say; a row, too, where others may make triggers on such a table. Where others make functions or operators in its schema, or may, terms find only what is in pg_catalog or named with a schema. Part of check_ledger().';

CREATE FUNCTION member_kin(member_id bigint) RETURNS bigint[]
LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_member_kin';
COMMENT ON FUNCTION member_kin(bigint) IS 'The members who were ever merged with a member, and itself: in whose wallets an entry of the member may be. Part of checks.';

CREATE FUNCTION check_ledger(behind bigint DEFAULT NULL, up_to bigint DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY SELECT * FROM loyalty.check_wallets(behind, up_to);

	RETURN QUERY
	SELECT 'archive', a.member_id, a.currency, min(a.entry_id), 'it is archived, and its wallet is not marked, so that its key could be used again'
	FROM loyalty.ledger_archive a
	WHERE (behind IS NULL OR a.member_id > behind) AND (up_to IS NULL OR a.member_id <= up_to)
		AND NOT EXISTS (SELECT FROM loyalty.wallet w WHERE w.member_id = a.member_id AND w.currency = a.currency AND w.archived)
	GROUP BY a.member_id, a.currency;

	RETURN QUERY
	SELECT 'currency', min(w.member_id), w.currency, NULL::bigint, format('%s wallets are in a currency that does not exist', count(*))
	FROM loyalty.wallet w
	WHERE (behind IS NULL OR w.member_id > behind) AND (up_to IS NULL OR w.member_id <= up_to)
		AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = w.currency)
	GROUP BY w.currency;

	-- what an entry refers to is with its member, or with one who was merged with it
	RETURN QUERY
	SELECT 'target', e.member_id, e.currency, e.entry_id,
		format('%s refers to entry %s, which %s', e.kind, e.target_entry_id,
			CASE WHEN t.entry_id IS NULL THEN 'does not exist'
			ELSE format('is of kind %s and currency %s', t.kind, t.currency) END)
	FROM loyalty.all_entries() e
	LEFT JOIN loyalty.all_entries() o ON o.member_id = e.member_id AND o.entry_id = e.target_entry_id
	LEFT JOIN LATERAL (SELECT k.entry_id, k.kind, k.currency FROM loyalty.all_entries() k
		WHERE o.entry_id IS NULL AND k.member_id = ANY (loyalty.member_kin(e.member_id)) AND k.entry_id = e.target_entry_id LIMIT 1) k ON true
	CROSS JOIN LATERAL (SELECT coalesce(o.entry_id, k.entry_id) AS entry_id, coalesce(o.kind, k.kind) AS kind,
		coalesce(o.currency, k.currency) AS currency) t
	WHERE e.target_entry_id IS NOT NULL AND (behind IS NULL OR e.member_id > behind) AND (up_to IS NULL OR e.member_id <= up_to)
		AND (t.entry_id IS NULL OR t.currency <> e.currency OR t.entry_id >= e.entry_id
			OR NOT CASE e.kind WHEN 'capture' THEN t.kind = 'hold' WHEN 'release' THEN t.kind = 'hold'
				WHEN 'activate' THEN t.kind IN ('earn', 'adjust')
				WHEN 'reverse' THEN t.kind IN ('earn', 'redeem', 'capture', 'adjust', 'reverse') ELSE false END);

	-- what was undone of a reversal is there to be reversed again
	RETURN QUERY
	WITH reversed AS MATERIALIZED (
		SELECT d.target_entry_id, loyalty.member_kin(d.member_id) AS kin
		FROM (SELECT DISTINCT e.member_id, e.target_entry_id FROM loyalty.all_entries() e
			WHERE e.kind = 'reverse' AND e.target_entry_id IS NOT NULL
				AND (behind IS NULL OR e.member_id > behind) AND (up_to IS NULL OR e.member_id <= up_to)) d
	)
	SELECT DISTINCT 'reversal', t.member_id, t.currency, t.entry_id, format('%s of its %s points are reversed', r.points, abs(t.requested))
	FROM reversed d
	JOIN loyalty.all_entries() t ON t.member_id = ANY (d.kin) AND t.entry_id = d.target_entry_id
	CROSS JOIN LATERAL (SELECT sum(e.requested - coalesce((SELECT sum(u.requested) FROM loyalty.all_entries() u
			WHERE u.member_id = ANY (d.kin) AND u.target_entry_id = e.entry_id AND u.kind = 'reverse'), 0)) AS points
		FROM loyalty.all_entries() e WHERE e.member_id = ANY (d.kin) AND e.target_entry_id = d.target_entry_id AND e.kind = 'reverse') r
	WHERE r.points > abs(t.requested);

	IF NOT loyalty.sees_part() THEN
		-- What went from one member to another came there in the same transaction. The sender's entry names whom he
		-- addressed, who may be absorbed: those who were ever merged are one here. Said of the first who has such an entry.
		RETURN QUERY
		WITH pair AS MATERIALIZED (
			SELECT DISTINCT d.member_id, d.currency, k.kin, o.kin AS others
			FROM (SELECT DISTINCT e.member_id, e.currency, e.counterparty_id FROM loyalty.all_entries() e
				WHERE e.kind IN ('transfer_in', 'transfer_out') AND (behind IS NULL OR e.member_id > behind) AND (up_to IS NULL OR e.member_id <= up_to)) d,
				LATERAL (SELECT array_agg(m ORDER BY m) AS kin FROM unnest(loyalty.member_kin(d.member_id)) m) k,
				LATERAL (SELECT coalesce(array_agg(m ORDER BY m), '{}') AS kin FROM unnest(loyalty.member_kin(d.counterparty_id)) m) o
		)
		SELECT 'transfer', p.member_id, p.currency, NULL::bigint, format('transfers between members %s and %s leave %s points that one of them alone has',
			array_to_string(least(p.kin, p.others), ', '), array_to_string(greatest(p.kin, p.others), ', '), t.points)
		FROM pair p
		CROSS JOIN LATERAL (SELECT sum(e.points) AS points, min(e.member_id) AS first FROM loyalty.all_entries() e
			WHERE e.member_id = ANY (p.kin || p.others) AND e.currency = p.currency AND e.kind IN ('transfer_in', 'transfer_out')
				AND (e.member_id = ANY (p.kin) AND coalesce(e.counterparty_id = ANY (p.others), p.others = '{}')
					OR e.member_id = ANY (p.others) AND e.counterparty_id = ANY (p.kin))) t
		WHERE t.points <> 0 AND t.first = p.member_id;
	END IF;

	RETURN QUERY
	SELECT 'queue', q.member_id, q.currency, NULL::bigint, format('queued earn %s of %s points was refused: %s', q.queued_id, q.points, q.refused)
	FROM loyalty.queued_earn q
	WHERE q.refused IS NOT NULL AND (behind IS NULL OR q.member_id > behind) AND (up_to IS NULL OR q.member_id <= up_to);

	IF behind IS NULL THEN
		RETURN QUERY SELECT * FROM loyalty.check_awards();
	END IF;
END
$$;
COMMENT ON FUNCTION check_ledger(bigint, bigint) IS
'Every invariant of room ledger, of members as check_all() takes them: a row for each violation. Awards are checked where no member is left out at the beginning. Part of check_all().';

CREATE FUNCTION check_ledger_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- nobody is merged there
	RETURN QUERY
	SELECT 'transfer', t.first, t.currency, NULL::bigint, format('transfers between members %s and %s leave %s points that one of them alone has',
		CASE WHEN t.known THEN t.a::text ELSE '' END, t.b, t.points)
	FROM (SELECT least(e.member_id, e.counterparty_id) AS a, greatest(e.member_id, e.counterparty_id) AS b, e.counterparty_id IS NOT NULL AS known, e.currency,
			sum(e.points) AS points, min(e.member_id) AS first
		FROM loyalty.all_entries() e WHERE e.kind IN ('transfer_in', 'transfer_out') GROUP BY 1, 2, 3, 4) t
	WHERE t.points <> 0;
END
$$;
COMMENT ON FUNCTION check_ledger_totals() IS 'What members of several machines have together, once tables are spread: what went from one to another came there. Part of check_ledger().';

CREATE FUNCTION store_findings(run_id bigint, behind bigint, up_to bigint) RETURNS bigint
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	found bigint;
BEGIN
	INSERT INTO loyalty.check_finding (run_id, room, invariant, member_id, currency, entry_id, detail)
	SELECT $1, c.room, c.invariant, c.member_id, c.currency, c.entry_id, c.detail FROM loyalty.check_all($2, $3) c;
	GET DIAGNOSTICS found = ROW_COUNT;
	RETURN found;
END
$$;
COMMENT ON FUNCTION store_findings(bigint, bigint, bigint) IS 'Keeps what check_all() finds of some members, and returns how much that is. Part of run_checks().';

CREATE FUNCTION next_run_checks(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- behind this one is everybody; up to it, whatever concerns no member
	nobody CONSTANT bigint := -9223372036854775808;
BEGIN
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.ledger') END;
	up_to := loyalty.next_members(behind, batch_size, '{ledger,wallet}');
	seen := loyalty.rows_of_members(behind, up_to, '{ledger}');
	result := loyalty.store_findings(run_id, coalesce(behind, nobody), up_to);
	IF up_to IS NULL THEN
		result := result + loyalty.store_findings(run_id, NULL, nobody);
	END IF;
END
$$;
COMMENT ON FUNCTION next_run_checks(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'Checks the next members, as of now; at last whatever concerns no member, or all of them together. Part of run_checks(), by run_job().';

CREATE PROCEDURE run_checks(batch_size integer DEFAULT 100000)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('run_checks', NULL, batch_size, 'entries', 'violations found');
END
$$;
COMMENT ON PROCEDURE run_checks(integer) IS
'What check_all() does, in ranges of members with about batch_size entries, each as of its own instant and committed: holds no snapshot for longer than a range, and nothing that a posting needs. Can be stopped at any time; the same call goes on where it was, so that a large ledger is checked in nights. Violations are kept in the table check_finding, progress is in the table job_run: result is the number of violations. What concerns no member, and awards, is checked at the end, in one statement. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';

CREATE FUNCTION rebuilt_balance(bytes bytea) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rebuilt_balance';
COMMENT ON FUNCTION rebuilt_balance(bytea) IS 'A balance from its binary format; part of rebuild_wallets_of().';

CREATE FUNCTION rebuild_wallets_of(member_ids bigint[], as_of timestamptz DEFAULT NULL, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup SET row_security = off AS 'MODULE_PATHNAME', 'loyalty_rebuild_wallets_of';
COMMENT ON FUNCTION rebuild_wallets_of(bigint[], timestamptz, text) IS
'Makes the wallets of some members the fold of their ledger entries again, and returns how many had to be changed. Postings to them wait meanwhile. Where the entries themselves are not sound it is an error, XX001, or, with scope sound, leaves that wallet alone. What rebuild_wallets() does by run_batch(). Part of rebuild_wallets() and rebuild_member_wallets().';

CREATE FUNCTION rebuild_member_wallets(member_id bigint) RETURNS bigint
LANGUAGE sql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.rebuild_wallets_of(ARRAY[$1])
$$;
COMMENT ON FUNCTION rebuild_member_wallets(bigint) IS
'Makes the wallets of one member the fold of their ledger entries again, and returns how many had to be changed. Error: XX001 where the entries themselves are not sound (check_all()).';

CREATE FUNCTION next_rebuild_wallets(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.wallet') END;
	up_to := loyalty.next_members(behind, 100000, '{ledger,wallet}');
	IF up_to IS NULL THEN
		RETURN;
	END IF;
	SELECT count(*) INTO seen FROM loyalty.wallet w WHERE (behind IS NULL OR w.member_id > behind) AND w.member_id <= up_to;
	SELECT array_agg(x.member_id ORDER BY x.member_id) FILTER (WHERE x.of_wallets), count(*) FILTER (WHERE NOT x.of_wallets)
	INTO members, unsound
	FROM (SELECT c.member_id, bool_and(c.invariant IN ('wallet', 'conservation')) AS of_wallets
		FROM loyalty.check_wallets(behind, up_to) c GROUP BY c.member_id) x;
END
$$;
COMMENT ON FUNCTION next_rebuild_wallets(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The wallets of the next members, with about 100000 entries, and the members with one that is not the fold of its entries; unsound are those whose entries are not sound. Part of rebuild_wallets(), by run_job().';

CREATE PROCEDURE rebuild_wallets(batch_size integer DEFAULT 100)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('rebuild_wallets', NULL, batch_size, 'wallets', 'wallets rebuilt', scope => 'sound');
END
$$;
COMMENT ON PROCEDURE rebuild_wallets(integer) IS
'Makes every wallet the fold of its ledger entries again, where it is not. Wallets are compared without a lock; those that differ are computed again under their locks, and it commits after batch_size members. Members whose entries themselves are not sound are left as they are and counted in message. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run: result is the number of wallets that were changed. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';

CREATE FUNCTION verify_chain(up_to bigint, ahead bigint[] DEFAULT NULL, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_verify_chain';
COMMENT ON FUNCTION verify_chain(bigint, bigint[]) IS
'Hashes every entry with an id up to up_to again, and not beyond what ahead has for the remainder of its id by 1024 (NULL: no such bound); a row for the first broken entry of each wallet. Part of verify_ledger().';

CREATE FUNCTION settled_entry_id() RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_settled_entry_id';
COMMENT ON FUNCTION settled_entry_id() IS
'An entry id up to which nothing will be recorded any more: waits for the transactions that are posting at this moment, and blocks none. Where tables are spread over several machines, of those that this one draws. In READ COMMITTED only. Part of ledger_digest().';

CREATE FUNCTION block_digests(after bigint, up_to bigint, width bigint, behind bigint[] DEFAULT NULL, ahead bigint[] DEFAULT NULL,
	low integer DEFAULT NULL, high integer DEFAULT NULL, OUT block bigint, OUT entries bigint, OUT digest bytea) RETURNS SETOF record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_block_digests';
COMMENT ON FUNCTION block_digests(bigint, bigint, bigint, bigint[], bigint[], integer, integer) IS
'SHA-256 over the hashes of the entries in each block of width ids behind after, as far as up_to, in the order of the ids; empty blocks are left out. behind and ahead: only those beyond the one and not beyond the other, which have an id for each remainder of ids by 1024; low and high: only of members whose hash lies there (NULL: all). Part of ledger_digest().';

CREATE FUNCTION ledger_digest(previous text DEFAULT NULL, blocks integer DEFAULT 256, up_to bigint DEFAULT NULL) RETURNS text
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
#variable_conflict use_variable
DECLARE
	after bigint := 0;
	of_machines boolean;
	settled bigint;
	width bigint;
	result text;
BEGIN
	IF blocks IS NULL OR blocks NOT BETWEEN 1 AND 65536 THEN
		RAISE EXCEPTION 'blocks must be between 1 and 65536'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(blocks::text, 'NULL')),
				HINT = 'More blocks make a longer digest that locates a difference more closely.';
	END IF;
	IF loyalty.tables_are_spread() THEN
		RETURN loyalty.spread_digest(previous, blocks, up_to);
	END IF;
	PERFORM loyalty.refuse_distributed('ledger_digest');
	IF previous IS NOT NULL THEN
		SELECT d.up_to, d.ahead IS NOT NULL INTO after, of_machines FROM loyalty.read_digest(previous) d;
		IF of_machines THEN
			RAISE EXCEPTION 'the previous digest is of several machines, and the tables are on one now'
				USING ERRCODE = 'LY113', DETAIL = 'Each machine drew its own ids.', HINT = 'Verify it once more, and begin with a digest without a previous one.';
		END IF;
	END IF;
	settled := loyalty.settled_entry_id();
	IF after > settled THEN
		RAISE EXCEPTION 'the previous digest reaches beyond this ledger'
			USING ERRCODE = 'LY113', DETAIL = format('It covers ids up to %s, the last one here is %s.', after, settled),
				HINT = 'Entries were lost since it was taken, or it is of another ledger: see verify_ledger().';
	END IF;
	IF up_to < after THEN
		RAISE EXCEPTION 'up_to lies before the end of the previous digest'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s; the previous digest covers ids up to %s.', up_to, after),
				HINT = 'Give a later id, or leave it out: then the digest goes as far as it can.';
	END IF;
	up_to := least(up_to, settled);
	width := greatest(1, (up_to - after + blocks - 1) / blocks);
	SELECT format('loyalty-digest-1:%s:%s:%s:%s:%s:%s:%s', after, up_to, coalesce(sum(d.entries), 0), width,
			coalesce(encode(sha256(convert_to(previous, 'UTF8')), 'hex'), '-'),
			encode(sha256(coalesce(string_agg(int8send(d.block) || d.digest, ''::bytea ORDER BY d.block), ''::bytea)), 'hex'),
			coalesce(string_agg(d.block || '=' || left(encode(d.digest, 'hex'), 16), ',' ORDER BY d.block), ''))
	INTO result
	FROM loyalty.block_digests(after, up_to, width) d;
	RETURN result;
END
$$;
COMMENT ON FUNCTION ledger_digest(text, integer, bigint) IS
'A value to keep outside the database: proves later, by verify_ledger(), that no entry recorded before it was changed, removed or inserted. Waits for the transactions that are posting at this moment. With the previous digest it covers only the entries since, and is bound to it; with up_to only those with ids up to it, so that a large ledger is digested piece by piece. More blocks make a longer digest that locates a difference more closely. Where tables are spread over several machines it is of all of them, asked from any: each waits for those who post there. Errors: LY113 previous is no digest, or of another ledger, LY003 blocks, LY007 a machine does not answer, or tables are spread otherwise than by distribute(), 25001 the transaction has used other machines, 0A000 outside READ COMMITTED, 25006 on a standby.';

CREATE FUNCTION read_digest(digest text, OUT after bigint, OUT up_to bigint, OUT entries bigint,
	OUT width bigint, OUT previous_hash text, OUT total_hash text, OUT blocks text, OUT behind text, OUT ahead text, OUT ranges text) RETURNS record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts text[] := regexp_match(digest,
		'^loyalty-digest-1:(\d{1,18}):(\d{1,18}):(\d{1,18}):([1-9]\d{0,17}):(-|[0-9a-f]{64}):([0-9a-f]{64}):((?:\d+=[0-9a-f]{16}(?:,|$))*)$');
BEGIN
	IF parts IS NULL THEN
		parts := regexp_match(digest, '^loyalty-digest-2:((?:\d{1,18};?)(?:\d{1,4}=\d{1,18}(?:;|(?=:)))*):((?:\d{1,18};?)(?:\d{1,4}=\d{1,18}(?:;|(?=:)))*):'
			'(\d{1,18}):([1-9]\d{0,17}):(-|[0-9a-f]{64}):([0-9a-f]{64}):((?:-?\d{1,10}/-?\d{1,10}(?:,|(?=:)))+):((?:\d+/\d+=[0-9a-f]{16}(?:,|$))*)$');
		behind := parts[1]; ahead := parts[2]; ranges := parts[7];
		parts := ARRAY[(SELECT min(b)::text FROM unnest(loyalty.read_horizons(behind)) b), (SELECT max(a)::text FROM unnest(loyalty.read_horizons(ahead)) a)]
			|| parts[3:6] || parts[8];
	END IF;
	IF parts[1] IS NULL OR parts[2]::bigint < parts[1]::bigint THEN
		RAISE EXCEPTION 'not a ledger digest: "%"', left(coalesce(digest, 'NULL'), 60)
			USING ERRCODE = 'LY113', DETAIL = 'A digest begins with loyalty-digest-1, or -2 where it is of several machines.',
				HINT = 'Give a value that loyalty.ledger_digest() returned, whole.';
	END IF;
	after := parts[1]; up_to := parts[2]; entries := parts[3]; width := parts[4];
	previous_hash := parts[5]; total_hash := parts[6]; blocks := parts[7];
END
$$;
COMMENT ON FUNCTION read_digest(text) IS 'The parts of a ledger digest; behind, ahead (see read_horizons()) and ranges only of one of several machines. LY113 when it is none. Part of verify_ledger() and ledger_digest().';

CREATE FUNCTION verify_ledger(digest text, chains boolean DEFAULT true, OUT intact boolean, OUT first_entry_id bigint,
	OUT member_id bigint, OUT currency text, OUT detail text) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
#variable_conflict use_variable
DECLARE
	d record;
	total_hash text;
	bad record;
	from_id bigint;
	to_id bigint;
	broken boolean := false;
BEGIN
	IF NOT loyalty.tables_are_spread() THEN
		PERFORM loyalty.refuse_distributed('verify_ledger');
	END IF;
	d := loyalty.read_digest(digest);
	intact := true;
	IF coalesce(chains, true) THEN
		SELECT v.entry_id, v.member_id, v.currency, v.detail INTO bad FROM loyalty.broken_chains(d.up_to, d.ahead) v ORDER BY v.entry_id LIMIT 1;
		broken := FOUND;
	END IF;
	IF broken THEN
		intact := false;
		first_entry_id := bad.entry_id; member_id := bad.member_id; currency := bad.currency;
		detail := bad.detail;
	END IF;

	-- the blocks as they are now, against those of the digest: of the whole ledger, or of each range of members
	WITH now AS MATERIALIZED (
		SELECT 0::bigint AS part, b.block, b.digest FROM loyalty.block_digests(d.after, d.up_to, d.width) b WHERE d.ranges IS NULL
		UNION ALL
		SELECT array_position(string_to_array(d.ranges, ','), p.low || '/' || p.high) - 1, p.block, p.digest
		FROM loyalty.part_digests(d.after, d.up_to, d.width, d.behind, d.ahead, d.ranges) p WHERE d.ranges IS NOT NULL AND p.block IS NOT NULL
	)
	SELECT encode(sha256(coalesce(string_agg(CASE WHEN d.ranges IS NULL THEN ''::bytea ELSE int8send(n.part) END || int8send(n.block) || n.digest,
			''::bytea ORDER BY n.part, n.block), ''::bytea)), 'hex'),
		min(coalesce(n.block, o.block)) FILTER (WHERE left(encode(n.digest, 'hex'), 16) IS DISTINCT FROM o.digest)
	INTO total_hash, from_id
	FROM now n FULL JOIN (SELECT CASE WHEN d.ranges IS NULL THEN 0 ELSE split_part(b, '/', 1)::bigint END AS part,
			regexp_replace(b, '^\d+/|=.*$', '', 'g')::bigint AS block, split_part(b, '=', 2) AS digest
		FROM unnest(string_to_array(nullif(d.blocks, ''), ',')) b) o ON o.part = n.part AND o.block = n.block;
	IF total_hash <> d.total_hash THEN
		intact := false;
		to_id := least(d.up_to, d.after + (from_id + 1) * d.width);
		from_id := d.after + from_id * d.width + 1;
		IF first_entry_id IS NULL OR first_entry_id > to_id THEN
			first_entry_id := from_id;
			member_id := NULL; currency := NULL;
			detail := format('an entry with an id from %s to %s was changed with its chain, removed, or inserted', from_id, to_id);
		ELSE
			detail := format('%s; the digest differs from id %s to %s on', detail, from_id, to_id);
		END IF;
	ELSIF intact THEN
		detail := format('%s entries with ids from %s to %s are as they were', d.entries, d.after + 1, d.up_to);
	END IF;
END
$$;
COMMENT ON FUNCTION verify_ledger(text, boolean) IS
'Whether every entry that a digest covers is as it was: intact, or the first entry that is not. An edited entry, or the one behind a removed one, is named by its chain; where a chain was written anew, or its end removed, the id is the first of a block of ids, which detail gives. chains false: only the blocks of this digest are read, and not the chains of all wallets, which run_checks() hashes as well. Where tables are spread over several machines, each reads its own, whatever has moved since the digest was taken; one that was taken on a single machine is compared in this session. Errors: LY113 no digest, LY007 a machine does not answer, or tables are spread otherwise than by distribute().';
