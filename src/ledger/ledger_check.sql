/*
 * ledger: the proof.  check_all(), digests, and wallets made anew from the ledger.
 */

CREATE FUNCTION check_wallets(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_check_wallets';
COMMENT ON FUNCTION check_wallets() IS
'Folds and hashes every entry of every wallet again; a row for each violation: chain, order, fold, entry, debt (available beside points that are owed), conservation, wallet.';

CREATE FUNCTION check_awards(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
-- how many entries a source has nobody can estimate; a plan that is forbidden looks too costly not to compile
SET enable_nestloop = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
	t record;
	terms text[];
	found record;
BEGIN
	invariant := 'award';
	FOR t IN
		SELECT g.*, format('%I.%I', n.nspname, c.relname) AS relation, c.relkind,
			(SELECT rn.nspname FROM pg_class rc JOIN pg_namespace rn ON rn.oid = rc.relnamespace WHERE rc.oid = g.root) AS nspname,
			c.relowner = l.relowner OR r.rolsuper OR r.rolname = current_user AS trusted,
			(SELECT string_agg(coalesce(quote_ident(m.rolname), 'PUBLIC'), ', ' ORDER BY m.rolname)
				FROM aclexplode(c.relacl) a LEFT JOIN pg_roles m ON m.oid = a.grantee
				WHERE a.privilege_type = 'TRIGGER' AND a.grantee <> c.relowner AND m.rolsuper IS NOT TRUE) AS makers
		FROM (SELECT oid, tgname, tgrelid, tgargs, coalesce(pg_partition_root(tgrelid), tgrelid) AS root,
				loyalty.trigger_term(tgargs, 'source') AS source,
				coalesce(loyalty.trigger_term(tgargs, 'currency'), 'points') AS code
			FROM pg_trigger WHERE tgparentid = 0 AND tgfoid = 'loyalty.award_points()'::regprocedure) g
		JOIN pg_class c ON c.oid = g.tgrelid
		JOIN pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_roles r ON r.oid = c.relowner,
			(SELECT relowner FROM pg_class WHERE oid = 'loyalty.layout'::regclass) l
		ORDER BY g.source, g.code, g.oid
	LOOP
		member_id := NULL;
		currency := t.code;
		SELECT string_agg(format('trigger %I on %I.%I', o.tgname, n.nspname, c.relname), ', ' ORDER BY o.oid) AS others INTO found
		FROM pg_trigger o JOIN pg_class c ON c.oid = o.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE o.tgfoid = 'loyalty.award_points()'::regprocedure AND o.tgparentid = 0 AND o.oid <> t.oid
			AND loyalty.trigger_term(o.tgargs, 'source') = t.source
			AND coalesce(loyalty.trigger_term(o.tgargs, 'currency'), 'points') = t.code
			AND (o.tgrelid = t.tgrelid OR coalesce(pg_partition_root(o.tgrelid), o.tgrelid) <> t.root);
		IF found.others IS NOT NULL THEN
			detail := format('source "%s" of trigger %I on %s is also that of %s', t.source, t.tgname, t.relation, found.others);
			RETURN NEXT;
			CONTINUE;
		END IF;
		CONTINUE WHEN NOT t.trusted;
		IF t.makers IS NOT NULL THEN
			detail := format('trigger %1$I on %2$s is not proven, since others than its owner may have made it: REVOKE TRIGGER ON %2$s FROM %3$s',
				t.tgname, t.relation, t.makers);
			RETURN NEXT;
			CONTINUE;
		END IF;

		-- member, points, when and key, as a column or an expression
		SELECT array_agg(coalesce(quote_ident(a.attname), loyalty.trigger_term(t.tgargs, w.term)) ORDER BY w.n) INTO terms
		FROM unnest('{member,points,when,key}'::text[]) WITH ORDINALITY w (term, n)
		LEFT JOIN pg_attribute a ON a.attrelid = t.tgrelid AND a.attname = loyalty.trigger_term(t.tgargs, w.term) AND a.attnum > 0;
		terms[4] := coalesce(terms[4],
			(SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.n)
			FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, n), pg_attribute a
			WHERE i.indrelid = t.root AND i.indisprimary AND k.n <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum));

		BEGIN
			PERFORM set_config('search_path', format('pg_catalog, %I, pg_temp', t.nspname), true);
			FOR found IN EXECUTE format($q$
				WITH posted AS (
					SELECT coalesce(e.home_id, e.member_id) AS home_id, e.entry_id, e.kind, e.requested,
						CASE WHEN strpos(e.idempotency_key, '~') = 0 THEN e.idempotency_key
							ELSE substring(e.idempotency_key from '^(?:[^\\~]|\\.)*') END AS key
					FROM loyalty.ledger e
					WHERE e.currency = %1$L AND e.idempotency_key >= %2$L || ':' COLLATE "C" AND e.idempotency_key < %2$L || ';' COLLATE "C"
				), undone AS (
					SELECT u.target_entry_id, sum(u.requested) AS points FROM loyalty.ledger u WHERE u.kind = 'reverse' GROUP BY u.target_entry_id
				), reversal AS (
					SELECT r.target_entry_id, sum(r.requested - coalesce(u.points, 0)) AS of_all,
						sum(r.requested - coalesce(u.points, 0)) FILTER (WHERE o.entry_id IS NOT NULL) AS of_row
					FROM loyalty.ledger r JOIN posted e ON e.entry_id = r.target_entry_id AND e.kind = 'earn'
					LEFT JOIN undone u ON u.target_entry_id = r.entry_id LEFT JOIN posted o ON o.entry_id = r.entry_id
					WHERE r.kind = 'reverse' GROUP BY r.target_entry_id
				), stands AS (
					SELECT p.home_id, p.key, sum(p.requested - coalesce(r.of_row, 0)) AS points, sum(p.requested - coalesce(r.of_all, 0)) AS reversible
					FROM posted p LEFT JOIN reversal r ON r.target_entry_id = p.entry_id
					WHERE p.kind = 'earn' GROUP BY p.home_id, p.key
				), worth AS (
					SELECT (%3$s)::bigint AS member_id, loyalty.row_key_of(%2$L, ROW(%4$s)) AS key,
						CASE WHEN %5$s THEN greatest(trunc(coalesce((%6$s)::numeric, 0)), 0) ELSE 0 END AS points
					FROM %7$s AS "new"
				), difference AS (
					SELECT coalesce(w.member_id, s.home_id) AS member_id, coalesce(w.key, s.key) AS key, coalesce(w.points, 0) AS worth,
						coalesce(s.points, 0) AS stands, w.key IS NULL AS gone, w.key IS NOT NULL AND k.key IS NULL AS unknown
					FROM (SELECT * FROM worth WHERE member_id IS NOT NULL) w
					FULL JOIN stands s ON s.home_id = w.member_id AND s.key = w.key
					LEFT JOIN (SELECT DISTINCT p.key FROM posted p) k ON k.key = w.key
					WHERE coalesce(w.points, 0) > coalesce(s.points, 0)
						OR coalesce(w.points, 0) < s.points AND s.reversible > 0 AND (w.key IS NOT NULL OR %8$L)
				)
				SELECT d.*, count(*) OVER (PARTITION BY d.unknown) AS n, row_number() OVER (PARTITION BY d.unknown ORDER BY d.key) AS i
				FROM difference d ORDER BY d.key, d.member_id$q$,
				t.code, t.source, terms[1], terms[4], coalesce(terms[3], 'true'), terms[2],
				CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || t.relation, t.root = t.tgrelid)
			LOOP
				CONTINUE WHEN found.unknown AND found.i > 1;
				member_id := CASE WHEN NOT found.unknown THEN found.member_id END;
				detail := CASE
					WHEN found.unknown THEN format('%s rows of %s are worth points, but no entry has their keys (the first is "%s"): bring this history in by backfill() with source => %L, or leave it out by the term "when"',
						found.n, t.relation, found.key, t.source)
					WHEN found.gone THEN format('row "%s" is no longer in %s, and %s points stand for it', found.key, t.relation, found.stands)
					ELSE format('row "%s" of %s is worth %s points, and %s stand for it', found.key, t.relation, found.worth, found.stands) END;
				RETURN NEXT;
			END LOOP;
		EXCEPTION WHEN OTHERS THEN
			member_id := NULL;
			detail := format('trigger %I on %s: %s', t.tgname, t.relation, SQLERRM);
			RETURN NEXT;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION check_awards() IS
'What the triggers with award_points() should have posted: a row for each table row that is worth other than what stands for it, one for all history that has no keys, one for each source that two triggers share, each trigger whose terms cannot be read. Looks only at tables of the caller, of the owner of our tables, and of superusers, since it evaluates what their triggers say; a row, too, where others may make triggers on such a table. Part of check_ledger().';

CREATE FUNCTION check_ledger(OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM loyalty.check_wallets()
	UNION ALL
	SELECT 'target', e.member_id, e.currency, e.entry_id,
		format('%s refers to entry %s, which %s', e.kind, e.target_entry_id,
			CASE WHEN t.entry_id IS NULL THEN 'does not exist'
			ELSE format('is of kind %s and currency %s', t.kind, t.currency) END)
	FROM loyalty.ledger e LEFT JOIN loyalty.ledger t ON t.entry_id = e.target_entry_id
	WHERE e.target_entry_id IS NOT NULL
		AND (t.entry_id IS NULL OR t.currency <> e.currency OR t.entry_id >= e.entry_id
			OR NOT CASE e.kind WHEN 'capture' THEN t.kind = 'hold' WHEN 'release' THEN t.kind = 'hold'
				WHEN 'activate' THEN t.kind IN ('earn', 'adjust')
				WHEN 'reverse' THEN t.kind IN ('earn', 'redeem', 'capture', 'adjust', 'reverse') ELSE false END)
	UNION ALL
	-- what was undone of a reversal is there to be reversed again
	SELECT 'reversal', t.member_id, t.currency, t.entry_id,
		format('%s of its %s points are reversed', r.points, abs(t.requested))
	FROM (SELECT e.target_entry_id, sum(e.requested - coalesce(u.points, 0)) AS points
		FROM loyalty.ledger e
		LEFT JOIN (SELECT i.target_entry_id, sum(i.requested) AS points FROM loyalty.ledger i
			WHERE i.kind = 'reverse' GROUP BY i.target_entry_id) u ON u.target_entry_id = e.entry_id
		WHERE e.kind = 'reverse' AND e.target_entry_id IS NOT NULL
		GROUP BY e.target_entry_id) r
	JOIN loyalty.ledger t ON t.entry_id = r.target_entry_id
	WHERE r.points > abs(t.requested)
	UNION ALL
	SELECT 'transfer', NULL, e.currency, NULL, format('%s points were received more than were sent', sum(e.points))
	FROM loyalty.ledger e WHERE e.kind IN ('transfer_in', 'transfer_out')
	GROUP BY e.currency
	HAVING sum(e.points) <> 0
	UNION ALL
	SELECT * FROM loyalty.check_awards()
$$;
COMMENT ON FUNCTION check_ledger() IS
'Every invariant of room ledger: a row for each violation; part of check_all().';

CREATE FUNCTION rebuilt_balance(bytes bytea) RETURNS points_balance
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_rebuilt_balance';
COMMENT ON FUNCTION rebuilt_balance(bytea) IS 'A balance from its binary format; part of rebuild_wallets().';

CREATE FUNCTION rebuild_wallets() RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup SET row_security = off AS 'MODULE_PATHNAME', 'loyalty_rebuild_wallets';
COMMENT ON FUNCTION rebuild_wallets() IS
'Recomputes every wallet from the ledger and writes those that differ; returns how many. Postings wait meanwhile. Raises XX001 when the ledger itself cannot be folded.';

CREATE FUNCTION verify_chain(up_to bigint, OUT invariant text, OUT member_id bigint, OUT currency text,
	OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE c STABLE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_verify_chain';
COMMENT ON FUNCTION verify_chain(bigint) IS
'Hashes every entry with an id up to up_to again; a row for the first broken entry of each wallet.';

CREATE FUNCTION settled_entry_id() RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_settled_entry_id';
COMMENT ON FUNCTION settled_entry_id() IS
'An entry id up to which nothing will be recorded any more: waits for the transactions that are posting at this moment, and blocks none. In READ COMMITTED only.';

CREATE FUNCTION block_digests(after bigint, up_to bigint, width bigint,
	OUT block bigint, OUT entries bigint, OUT digest bytea) RETURNS SETOF record
LANGUAGE c STABLE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_block_digests';
COMMENT ON FUNCTION block_digests(bigint, bigint, bigint) IS
'SHA-256 over the hashes of the entries in each block of width ids behind after, as far as up_to, in the order of the ids; empty blocks are left out.';

CREATE FUNCTION ledger_digest(previous text DEFAULT NULL, blocks integer DEFAULT 256) RETURNS text
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
DECLARE
	after bigint := 0;
	up_to bigint;
	width bigint;
	result text;
BEGIN
	IF blocks IS NULL OR blocks NOT BETWEEN 1 AND 65536 THEN
		RAISE EXCEPTION 'blocks must be between 1 and 65536'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(blocks::text, 'NULL')),
				HINT = 'More blocks make a longer digest that locates a difference more closely.';
	END IF;
	IF previous IS NOT NULL THEN
		after := (loyalty.read_digest(previous)).up_to;
	END IF;
	up_to := loyalty.settled_entry_id();
	IF after > up_to THEN
		RAISE EXCEPTION 'the previous digest reaches beyond this ledger'
			USING ERRCODE = 'LY113', DETAIL = format('It covers ids up to %s, the last one here is %s.', after, up_to),
				HINT = 'Entries were lost since it was taken, or it is of another ledger: see verify_ledger().';
	END IF;
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
COMMENT ON FUNCTION ledger_digest(text, integer) IS
'A value to keep outside the database: proves later, by verify_ledger(), that no entry recorded before it was changed, removed or inserted. Waits for the transactions that are posting at this moment. With the previous digest it covers only the entries since, and is bound to it. More blocks make a longer digest that locates a difference more closely. Errors: LY113 previous is no digest, or of another ledger, LY003 blocks, 0A000 outside READ COMMITTED, 25006 on a standby.';

CREATE FUNCTION read_digest(digest text, OUT after bigint, OUT up_to bigint, OUT entries bigint,
	OUT width bigint, OUT previous_hash text, OUT total_hash text, OUT blocks text) RETURNS record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	parts text[] := regexp_match(digest,
		'^loyalty-digest-1:(\d{1,18}):(\d{1,18}):(\d{1,18}):([1-9]\d{0,17}):(-|[0-9a-f]{64}):([0-9a-f]{64}):((?:\d+=[0-9a-f]{16}(?:,|$))*)$');
BEGIN
	IF parts IS NULL OR parts[2]::bigint < parts[1]::bigint THEN
		RAISE EXCEPTION 'not a ledger digest: "%"', left(coalesce(digest, 'NULL'), 60)
			USING ERRCODE = 'LY113', DETAIL = 'A digest begins with loyalty-digest-1.',
				HINT = 'Give a value that loyalty.ledger_digest() returned, whole.';
	END IF;
	after := parts[1]; up_to := parts[2]; entries := parts[3]; width := parts[4];
	previous_hash := parts[5]; total_hash := parts[6]; blocks := parts[7];
END
$$;
COMMENT ON FUNCTION read_digest(text) IS 'The parts of a ledger digest; LY113 when it is none.';

CREATE FUNCTION verify_ledger(digest text, OUT intact boolean, OUT first_entry_id bigint,
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
BEGIN
	d := loyalty.read_digest(digest);
	intact := true;
	SELECT v.entry_id, v.member_id, v.currency, v.detail INTO bad
	FROM loyalty.verify_chain(d.up_to) v ORDER BY v.entry_id LIMIT 1;
	IF FOUND THEN
		intact := false;
		first_entry_id := bad.entry_id; member_id := bad.member_id; currency := bad.currency;
		detail := bad.detail;
	END IF;

	-- the blocks as they are now, against those of the digest
	SELECT encode(sha256(coalesce(string_agg(int8send(n.block) || n.digest, ''::bytea ORDER BY n.block), ''::bytea)), 'hex'),
		min(coalesce(n.block, o.block)) FILTER (WHERE left(encode(n.digest, 'hex'), 16) IS DISTINCT FROM o.digest)
	INTO total_hash, from_id
	FROM loyalty.block_digests(d.after, d.up_to, d.width) n
	FULL JOIN (SELECT split_part(b, '=', 1)::bigint AS block, split_part(b, '=', 2) AS digest
		FROM unnest(string_to_array(nullif(d.blocks, ''), ',')) b) o ON o.block = n.block;
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
COMMENT ON FUNCTION verify_ledger(text) IS
'Whether every entry that a digest covers is as it was: intact, or the first entry that is not. An edited entry, or the one behind a removed one, is named by its chain; where a chain was written anew, or its end removed, the id is the first of a block of ids, which detail gives. Error: LY113 no digest.';
