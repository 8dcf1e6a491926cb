/*
 * What is kept of a person: giving it out, and forgetting it.
 *
 * A person is a member with everybody for whom it stands.  What callers wrote
 * of it stands in its entries wherever these are recorded: in the wallet of
 * whoever stood for it then, and in copies that its own calls left in wallets
 * of others (the other side of a transfer; parts of a reversal, whose key is
 * with one of them).
 *
 * Numbers stay: those of members, of entries and of points.  Keys go with the
 * texts, since a key may be an address; whoever repeats a call of a forgotten
 * member is refused (LY115) or makes somebody new (resolve_member()).  What is
 * in blocked_identifier stays: it says of a value that it identifies nobody,
 * and of no member that it had it.
 */

CREATE FUNCTION personal_entries(member_ids bigint[], OUT member_id bigint, OUT entry_id bigint, OUT is_copy boolean) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH RECURSIVE kin (id) AS (
		SELECT m.id FROM unnest(member_ids) m (id)
		UNION
		SELECT n.id FROM kin k, LATERAL (
			SELECT m.survivor_id FROM loyalty.member_merge m WHERE m.absorbed_id = k.id
			UNION ALL SELECT m.absorbed_id FROM loyalty.member_merge m WHERE m.survivor_id = k.id OFFSET 0) n (id)
	), own AS MATERIALIZED (
		SELECT e.* FROM kin k, LATERAL (SELECT x.member_id, x.entry_id, x.kind, x.currency, x.points, x.counterparty_id
			FROM loyalty.all_entries() x WHERE x.member_id = k.id AND coalesce(x.home_id, x.member_id) = ANY (member_ids) OFFSET 0) e
	)
	SELECT o.member_id, o.entry_id, false FROM own o
	UNION ALL
	SELECT t.member_id, t.entry_id, true
	FROM own o, LATERAL (SELECT x.* FROM loyalty.all_entries() x
		WHERE x.member_id = o.counterparty_id AND x.entry_id > o.entry_id AND x.kind = 'transfer_in' AND x.counterparty_id = o.member_id
			AND x.currency = o.currency AND x.points = -o.points
		ORDER BY x.entry_id LIMIT 1) t
	WHERE o.kind = 'transfer_out' AND coalesce(t.home_id, t.member_id) <> ALL (member_ids) AND (t.reference IS NOT NULL OR t.details IS NOT NULL)
	UNION ALL
	SELECT p.member_id, p.entry_id, true
	FROM own o, LATERAL (SELECT x.member_id, x.entry_id FROM kin k, loyalty.all_entries() x
		WHERE x.member_id = k.id AND x.target_entry_id = o.entry_id
			AND coalesce(x.home_id, x.member_id) <> ALL (member_ids) OFFSET 0) p;
END
$$;
COMMENT ON FUNCTION personal_entries(bigint[]) IS
'The entries of members, in whosever wallets they are recorded, and copies of their texts in entries of others (is_copy): the receiver''s side of a transfer, parts of a reversal. Part of forget_member() and export_member().';

CREATE FUNCTION forget_member(member_id bigint, reason text DEFAULT NULL,
	OUT members bigint[], OUT identifiers bigint, OUT facts bigint, OUT entries bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	canonical bigint := (loyalty.lock_members(ARRAY[member_id], whole_trees => true))[1];
	merges bigint[];
	newly bigint[];
	h loyalty.merge_handler;
BEGIN
	members := loyalty.member_tree(canonical);
	PERFORM loyalty.forget_queued_earns(members);
	PERFORM loyalty.mark_erased(members);
	entries := (SELECT loyalty.erase_entries(array_agg(p.member_id), array_agg(p.entry_id)) FROM loyalty.personal_entries(members) p);
	entries := coalesce(entries, 0);
	DELETE FROM loyalty.member_fact f WHERE f.home_member_id = ANY (members);
	GET DIAGNOSTICS facts = ROW_COUNT;
	newly := (SELECT array_agg(m.member_id ORDER BY m.member_id) FROM loyalty.member m WHERE m.member_id = ANY (members) AND m.status <> 'forgotten');
	INSERT INTO loyalty.member_act (member_id, act, effective_at) SELECT m, 'forgotten', statement_timestamp() FROM unnest(newly) m;
	-- what was shown outside leads here no more
	UPDATE loyalty.member m SET attributes = '{}', status = 'forgotten', public_id = gen_random_uuid() WHERE m.member_id = ANY (members);
	PERFORM loyalty.keep_act('forget_member', m) FROM unnest(members) m;
	-- reasons, and those of merges with members who are others again: both have the act
	merges := (SELECT array_agg(m.merge_id) FROM (SELECT x.merge_id FROM loyalty.member_merge x
		WHERE x.absorbed_id = ANY (members) OR x.survivor_id = ANY (members) ORDER BY x.merge_id FOR NO KEY UPDATE) m);
	UPDATE loyalty.member_act a SET reason = NULL WHERE a.member_id = ANY (members) AND a.reason IS NOT NULL;
	UPDATE loyalty.member_act a SET reason = NULL FROM loyalty.member_merge m
	WHERE m.merge_id = ANY (merges) AND a.member_id IN (m.absorbed_id, m.survivor_id) AND a.merge_id = m.merge_id AND a.reason IS NOT NULL;
	UPDATE loyalty.member_merge m SET reason = NULL, unmerge_reason = NULL WHERE m.merge_id = ANY (merges);
	PERFORM loyalty.forget_requests(members);
	-- what a check found of rows names their keys; the next one finds it again
	PERFORM loyalty.erase_rows('DELETE FROM loyalty.check_finding f WHERE f.member_id = ANY ($1) OR f.member_id IS NULL', members);
	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.forget_function IS NOT NULL
		ORDER BY array_position(loyalty.rooms(), x.room), x.room LOOP
		EXECUTE format('SELECT %s($1)', loyalty.stored_function(h.forget_function, 'bigint[]')) USING members;
	END LOOP;
	-- rooms have seen whose they were
	DELETE FROM loyalty.identifier i WHERE i.member_id = canonical;
	GET DIAGNOSTICS identifiers = ROW_COUNT;
	IF loyalty.is_heard('member_forgotten') THEN
		PERFORM loyalty.happen('member_forgotten', m, statement_timestamp(), jsonb_build_object('version', 1)) FROM unnest(newly) m;
	END IF;
END
$$;
COMMENT ON FUNCTION forget_member(bigint, text) IS
'Forgets a person: the member, everybody it stands for, and the one who stands for it. Identifiers, attributes with their history, reasons, the keys and results of calls, and what entries of the ledger say (reference, reason, details, idempotency_key) are deleted, in the copies that are with others, too; public_id is a new one. Members stay by number, with their points and the proof of their entries, as forgotten. Their merges can no longer be undone (LY203); a call with an idempotency_key is refused for them (LY115), since it may be the repetition of one before; rows with award_points() post no more for them. Later identifiers of that person make a new member. Returns the members forgotten, and how many identifiers and attributes were deleted and how many entries erased. Safe to repeat. reason is not kept. Error: LY202.';

CREATE FUNCTION export_member(member_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET quote_all_identifiers = off SET jit = off
AS $$
DECLARE
	members CONSTANT bigint[] := loyalty.member_tree(loyalty.canonical_member(member_id));
	exported jsonb := '{}';
	t record;
	found jsonb;
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = $1) AND NOT EXISTS (SELECT FROM loyalty.wallet w WHERE w.member_id = $1) THEN
		RAISE EXCEPTION 'there is no member %', coalesce(member_id::text, 'NULL')
			USING ERRCODE = 'LY202', DETAIL = 'Neither loyalty.member nor loyalty.wallet has a row with this number.',
				HINT = 'Members are made by loyalty.resolve_member().';
	END IF;
	FOR t IN
		SELECT c.oid::regclass AS relation, c.relname, x.belongs,
			-- types of ours are written as JSON, not as text that holds it
			(SELECT string_agg(format(' || jsonb_build_object(%L, t.%I::jsonb)', a.attname, a.attname), '' ORDER BY a.attnum)
				FROM pg_attribute a JOIN pg_cast s ON s.castsource = a.atttypid AND s.casttarget = 'jsonb'::regtype
				WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid <> 'json'::regtype) AS as_json,
			-- who acted for the program is another person
			CASE WHEN EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'session_role' AND NOT a.attisdropped)
				THEN format(' - %L::text[]', loyalty.actor_columns()) END AS withheld,
			(SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY k.n)
				FROM pg_index i, unnest(i.indkey) WITH ORDINALITY k (attnum, n), pg_attribute a
				WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts AND a.attrelid = c.oid AND a.attnum = k.attnum) AS in_order
		FROM (
			VALUES ('wallet', 't.member_id = ANY ($1)'),
				('ledger', '(t.member_id, t.entry_id) IN (SELECT p.member_id, p.entry_id FROM loyalty.personal_entries($1) p WHERE NOT p.is_copy)'),
				('ledger_archive', '(t.member_id, t.entry_id) IN (SELECT p.member_id, p.entry_id FROM loyalty.personal_entries($1) p WHERE NOT p.is_copy)'),
				('queued_earn', 't.member_id = ANY ($1)'), ('member', 't.member_id = ANY ($1)'), ('member_alias', 't.member_id = ANY ($1)'),
				('identifier', 't.member_id = ANY ($1)'), ('member_fact', 't.home_member_id = ANY ($1)'),
				('member_act', 't.member_id = ANY ($1)'),
				('check_finding', 't.member_id = ANY ($1)'),
				('request', 't.member_id = ANY ($1) OR t.result_member_id = ANY ($1)'),
				('member_merge', 't.survivor_id = ANY ($1) OR t.absorbed_id = ANY ($1)'),
				('member_merge_item', 't.merge_id IN (SELECT m.merge_id FROM loyalty.member_merge m WHERE m.survivor_id = ANY ($1) OR m.absorbed_id = ANY ($1))')
			UNION ALL
			SELECT DISTINCT r.name, 't.member_id = ANY ($1)' FROM loyalty.merge_handler h, unnest(h.tables) r (name)
		) x (name, belongs)
		JOIN pg_class c ON c.oid = to_regclass('loyalty.' || quote_ident(x.name)) AND c.relkind IN ('r', 'p')
			AND c.relowner = (SELECT l.relowner FROM pg_class l WHERE l.oid = 'loyalty.layout'::regclass)
	LOOP
		EXECUTE format('SELECT jsonb_agg(to_jsonb(t)%s%s%s) FROM %s t WHERE %s', t.withheld, t.as_json, ' ORDER BY ' || t.in_order, t.relation, t.belongs)
			INTO found USING members;
		IF found IS NOT NULL THEN
			exported := exported || jsonb_build_object(t.relname, found);
		END IF;
	END LOOP;
	RETURN jsonb_build_object('members', to_jsonb(members), 'exported_at', now(), 'tables', exported);
END
$$;
COMMENT ON FUNCTION export_member(bigint) IS
'Everything that is kept of a person, for a request for access: the member, everybody it stands for, and the one who stands for it. {"members": their numbers, "exported_at": now, "tables": {"ledger": [rows], ...}}, with every table of loyalty, and of rooms that were registered by register_merge_handler(), that has rows of theirs; entries of the ledger also where they were recorded in the wallet of a member they are separate from now. Rows of others are not in it, nor the names of who acted for the program (see who_did()). Needs SELECT on the tables, as a reader has it; works on a standby. Error: LY202 no such member.';
