/*
 * Who stands for whom: merging, taking it back, and looking before.
 */

CREATE FUNCTION canonical_member(member_id bigint) RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_canonical_member';
COMMENT ON FUNCTION canonical_member(bigint) IS
'The member who stands for a member: itself, or the one it was merged into, over however many merges. One index look-up; in a query over many rows a look-up in memory (of work_mem). An id that is no member stands for itself.';

CREATE FUNCTION member_tree(member_id bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	-- most members stand for nobody else
	IF NOT EXISTS (SELECT FROM loyalty.member_merge m WHERE m.survivor_id = $1 AND m.unmerged_at IS NULL) THEN
		RETURN ARRAY[$1];
	END IF;
	RETURN (
		WITH RECURSIVE tree (id) AS (
			SELECT $1
			UNION
			SELECT m.absorbed_id FROM tree t,
			LATERAL (SELECT x.absorbed_id FROM loyalty.member_merge x WHERE x.survivor_id = t.id AND x.unmerged_at IS NULL OFFSET 0) m
		)
		SELECT array_agg(t.id ORDER BY t.id) FROM tree t
	);
END
$$;
COMMENT ON FUNCTION member_tree(bigint) IS
'A member and all that were absorbed in it, and in those, by merges that stand; ascending. Of a canonical member: everybody for whom it stands.';

CREATE FUNCTION limit_exceeded(members bigint[], OUT namespace text, OUT have bigint, OUT max_per_member integer) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT n.namespace, count(DISTINCT i.value), n.max_per_member
	FROM loyalty.identifier i JOIN loyalty.identifier_namespace n ON n.namespace = i.namespace
	WHERE i.member_id = ANY ($1) AND n.max_per_member IS NOT NULL AND (i.exclusive OR n.shared)
	GROUP BY n.namespace, n.max_per_member
	HAVING count(DISTINCT i.value) > n.max_per_member
	ORDER BY n.namespace;
END
$$;
COMMENT ON FUNCTION limit_exceeded(bigint[]) IS 'The namespaces of which members together would have more identifiers than one member may have.';

CREATE FUNCTION run_merge_handlers(direction text, merge_id bigint, survivor_id bigint, absorbed_id bigint, tree bigint[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	h record;
	item jsonb;
BEGIN
	FOR h IN
		SELECT x.room, CASE direction WHEN 'merge' THEN x.merge_function ELSE x.unmerge_function END AS name
		FROM (SELECT y.*, row_number() OVER (ORDER BY array_position(loyalty.rooms(), y.room), y.room) AS n FROM loyalty.merge_handler y) x
		ORDER BY CASE direction WHEN 'merge' THEN x.n ELSE -x.n END
	LOOP
		IF h.name IS NULL THEN
			CONTINUE;
		ELSIF direction = 'merge' THEN
			EXECUTE format('SELECT %s($1, $2, $3)', loyalty.stored_function(h.name, 'bigint,bigint,bigint'))
				INTO item USING merge_id, survivor_id, absorbed_id;
		ELSE
			EXECUTE format('SELECT %s($1, $2, $3, $4)', loyalty.stored_function(h.name, 'bigint,bigint,bigint,bigint[]'))
				INTO item USING merge_id, survivor_id, absorbed_id, tree;
		END IF;
		IF item IS NOT NULL THEN
			INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
			VALUES (merge_id, direction, h.room, 'handler', item);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION run_merge_handlers(text, bigint, bigint, bigint, bigint[]) IS
'Lets other rooms merge their things, in install order, or (direction unmerge, with the tree that parts) take that back, the other way round. Part of merge_members() and unmerge_members().';

CREATE FUNCTION join_members(survivor_id bigint, absorbed_id bigint, asked_survivor_id bigint, asked_absorbed_id bigint,
	cause text, reason text, identifier_ids bigint[] DEFAULT '{}', namespaces text[] DEFAULT '{}',
	verified boolean DEFAULT false, priority integer DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	merge_id bigint;
	members bigint[] := loyalty.member_tree(absorbed_id);
BEGIN
	INSERT INTO loyalty.member_merge AS m (survivor_id, absorbed_id, asked_survivor_id, asked_absorbed_id, cause,
		identifier_ids, namespaces, verified, priority, reason)
	VALUES (survivor_id, absorbed_id, asked_survivor_id, asked_absorbed_id, cause,
		identifier_ids, namespaces, verified, priority, reason)
	RETURNING m.merge_id INTO merge_id;

	-- points: wallets are locked before the alias is written, so that a posting comes before the merge or after it
	PERFORM loyalty.lock_wallets(ARRAY[survivor_id, absorbed_id]);
	PERFORM loyalty.expect_happening('members_merged', x.m) FROM (SELECT unnest(ARRAY[survivor_id, absorbed_id]) AS m ORDER BY 1) x;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'merge', 'ledger', 'points', to_jsonb(p)
	FROM loyalty.move_points(absorbed_id, survivor_id, reason => format('merge %s', merge_id)) p;
	PERFORM loyalty.mark_wallets(absorbed_id, true), loyalty.mark_wallets(survivor_id, false);

	UPDATE loyalty.member_alias a SET canonical_id = survivor_id WHERE a.canonical_id = absorbed_id;
	INSERT INTO loyalty.member_alias (member_id, canonical_id, merge_id) VALUES (absorbed_id, survivor_id, merge_id);
	UPDATE loyalty.member m SET status = 'absorbed', attributes = '{}' WHERE m.member_id = absorbed_id;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	VALUES (merge_id, 'merge', 'member', 'members', to_jsonb(members));

	WITH moving AS (
		UPDATE loyalty.identifier i SET member_id = survivor_id WHERE i.member_id = absorbed_id RETURNING i.identifier_id
	)
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'merge', 'member', 'identifiers', jsonb_agg(v.identifier_id ORDER BY v.identifier_id)
	FROM moving v HAVING count(*) > 0;

	PERFORM loyalty.refresh_attributes(survivor_id);

	PERFORM loyalty.run_merge_handlers('merge', merge_id, survivor_id, absorbed_id);
	INSERT INTO loyalty.member_act (member_id, act, other_member_id, merge_id, reason, effective_at)
	VALUES (survivor_id, 'merged', absorbed_id, merge_id, reason, clock_timestamp()),
		(absorbed_id, 'merged', survivor_id, merge_id, reason, clock_timestamp());
	IF loyalty.is_heard('members_merged') THEN
		PERFORM loyalty.happen('members_merged', survivor_id, clock_timestamp(),
			jsonb_build_object('version', 1, 'merge_id', merge_id, 'absorbed_id', absorbed_id, 'cause', cause));
	END IF;
	RETURN merge_id;
END
$$;
COMMENT ON FUNCTION join_members(bigint, bigint, bigint, bigint, text, text, bigint[], text[], boolean, integer) IS
'Merges one canonical member into another; both are locked already. Returns merge_id. Part of merge_members() and resolve_member().';

CREATE FUNCTION moved_items(merge_id bigint, direction text) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT coalesce(jsonb_agg(jsonb_build_object('room', i.room, 'kind', i.kind, 'item', i.item) ORDER BY i.item_id), '[]')
		FROM loyalty.member_merge_item i WHERE i.merge_id = $1 AND i.direction = $2
	);
END
$$;
COMMENT ON FUNCTION moved_items(bigint, text) IS 'What a merge, or its undoing, moved: an array of {room, kind, item}.';

CREATE FUNCTION merge_members(survivor_id bigint, absorbed_id bigint, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT merge_id bigint, OUT moved jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	canonical_ids bigint[];
	earlier jsonb;
	over record;
BEGIN
	replayed := false;
	IF survivor_id IS NULL OR absorbed_id IS NULL THEN
		RAISE EXCEPTION 'survivor_id and absorbed_id must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A merge joins one member to another.',
				HINT = 'Name both members.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('merge_members', loyalty.numbers_of(survivor_id), idempotency_key, jsonb_build_array(absorbed_id, reason));
		IF earlier IS NOT NULL THEN
			merge_id := earlier ->> 'merge_id'; moved := earlier -> 'moved'; replayed := true;
			RETURN;
		END IF;
	END IF;

	canonical_ids := loyalty.lock_members(ARRAY[survivor_id, absorbed_id]);
	PERFORM loyalty.require_not_forgotten(canonical_ids || survivor_id || absorbed_id);
	IF canonical_ids[1] = canonical_ids[2] THEN
		RAISE EXCEPTION 'members % and % are one already', survivor_id, absorbed_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', canonical_ids[1]),
				HINT = 'loyalty.why_merged() tells why.';
	END IF;
	SELECT * INTO over FROM loyalty.limit_exceeded(canonical_ids) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'members % and % may not be joined', survivor_id, absorbed_id
			USING ERRCODE = 'LY207', DETAIL = format('Together they have %s identifiers of namespace "%s", of which a member may have %s.',
				over.have, over.namespace, over.max_per_member),
				HINT = 'Unlink identifiers, or raise max_per_member with loyalty.configure_namespace().';
	END IF;
	merge_id := loyalty.join_members(canonical_ids[1], canonical_ids[2], survivor_id, absorbed_id, 'operator', reason);
	PERFORM loyalty.keep_act('merge_members', canonical_ids[2], merge_id);
	moved := loyalty.moved_items(merge_id, 'merge');
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('merge_members', survivor_id, idempotency_key, jsonb_build_object('merge_id', merge_id, 'moved', moved));
	END IF;
END
$$;
COMMENT ON FUNCTION merge_members(bigint, bigint, text, text) IS
'Merges two members: absorbed_id, with all that were merged into it, into survivor_id. Either may name any member of its tree; the act is on those who stand for them. Points move at once, by ledger entries at the instant of the call, which cannot be dated back: as of every instant from then on the survivor has both, before it each has its own. Lots keep identity, origin, expiry and holds, debt comes along, and what is available repays it, as all that becomes available does; undoing the merge does not undo that. Identifiers, attributes (by attribute_rule) and what other rooms registered follow. Old ids work for ever; unmerge_members() takes it back. Returns merge_id, what moved as an array of {room, kind, item}, and whether it is the first result of a repeated idempotency_key (which belongs to survivor_id). Errors: LY202 no such member, LY203 forgotten, LY207 too many identifiers together, LY209 one member already, LY003, LY004.';

CREATE FUNCTION posted_since(merged_at timestamptz, canonical bigint, members bigint[], earned_since text) RETURNS bigint[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT array_agg(e.entry_id)
		FROM loyalty.all_entries() e
		WHERE e.member_id = ANY (loyalty.member_tree(canonical)) AND e.recorded_at >= merged_at AND e.kind IN ('earn', 'adjust')
			AND CASE earned_since
				WHEN 'survivor' THEN e.home_id = ANY (members)
				-- in the name of an identifier that goes back
				WHEN 'identifier' THEN NOT coalesce(e.home_id, e.member_id) = ANY (members)
					AND e.details ->> 'identifier_id' IN (SELECT i.identifier_id::text FROM loyalty.identifier i
						WHERE i.home_member_id = ANY (members))
				ELSE false END
	);
END
$$;
COMMENT ON FUNCTION posted_since(timestamptz, bigint, bigint[], text) IS
'Entries that opened lots since a merge which, by earned_since, do not go with the member that the posting addressed; NULL where there are none. Part of unmerge_members().';

CREATE FUNCTION part_points(merge_id bigint, canonical bigint, member_id bigint, members bigint[], since bigint[], earned_since text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	note CONSTANT text := format('unmerge %s', merge_id);
BEGIN
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'unmerge', 'ledger', 'points', to_jsonb(p)
	FROM loyalty.move_points(canonical, member_id, homes => members, reason => note) p;
	IF since IS NOT NULL AND earned_since = 'identifier' THEN
		INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
		SELECT merge_id, 'unmerge', 'ledger', 'points earned since', to_jsonb(p)
		FROM loyalty.move_points(canonical, member_id, opened_by => since, settle => true, reason => note) p;
	ELSIF since IS NOT NULL THEN
		INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
		SELECT merge_id, 'unmerge', 'ledger', 'points that stay', to_jsonb(p)
		FROM loyalty.move_points(member_id, canonical, opened_by => since, settle => true, reason => note) p;
	END IF;
END
$$;
COMMENT ON FUNCTION part_points(bigint, bigint, bigint, bigint[], bigint[], text) IS
'Moves the points of a tree from the canonical member back to the member that parts, and what was posted since as earned_since says. Part of unmerge_members().';

CREATE FUNCTION part_members(merge_id bigint, canonical bigint, member_id bigint, members bigint[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	DELETE FROM loyalty.member_alias a WHERE a.member_id = part_members.member_id;
	UPDATE loyalty.member_alias a SET canonical_id = part_members.member_id WHERE a.member_id = ANY (members);
	UPDATE loyalty.member x SET status = 'active' WHERE x.member_id = part_members.member_id;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	VALUES (merge_id, 'unmerge', 'member', 'members', to_jsonb(members));

	WITH moving AS (
		UPDATE loyalty.identifier i SET member_id = part_members.member_id
		WHERE i.member_id = canonical AND i.home_member_id = ANY (members) RETURNING i.identifier_id
	)
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'unmerge', 'member', 'identifiers', jsonb_agg(v.identifier_id ORDER BY v.identifier_id)
	FROM moving v HAVING count(*) > 0;

	PERFORM loyalty.refresh_attributes(canonical), loyalty.refresh_attributes(member_id);
END
$$;
COMMENT ON FUNCTION part_members(bigint, bigint, bigint, bigint[]) IS
'Makes a member canonical again for its tree, with their identifiers and attributes. Part of unmerge_members().';

CREATE FUNCTION unmerge_members(merge_id bigint, earned_since text DEFAULT 'home', reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT member_id bigint, OUT moved jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	m loyalty.member_merge;
	canonical bigint;
	members bigint[];
	earlier jsonb;
BEGIN
	replayed := false;
	IF earned_since IS NULL OR earned_since NOT IN ('home', 'survivor', 'identifier') THEN
		RAISE EXCEPTION 'unknown earned_since "%"', coalesce(earned_since, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It says to whom what was posted since the merge belongs.',
				HINT = 'It is home, survivor or identifier.';
	END IF;
	SELECT * INTO m FROM loyalty.member_merge x WHERE x.merge_id = loyalty.require_merge(unmerge_members.merge_id);
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('unmerge_members', loyalty.numbers_of(m.absorbed_id), idempotency_key,
			jsonb_build_array(merge_id, earned_since, reason));
		IF earlier IS NOT NULL THEN
			member_id := earlier ->> 'member_id'; moved := earlier -> 'moved'; replayed := true;
			RETURN;
		END IF;
	END IF;

	canonical := (loyalty.lock_members(ARRAY[m.absorbed_id]))[1];
	SELECT * INTO m FROM loyalty.member_merge x WHERE x.merge_id = unmerge_members.merge_id;
	IF m.unmerged_at IS NOT NULL THEN
		RAISE EXCEPTION 'merge % is undone already', merge_id
			USING ERRCODE = 'LY208', DETAIL = format('It was undone at %s.', m.unmerged_at), HINT = 'Nothing is left to do.';
	END IF;
	member_id := m.absorbed_id;
	members := loyalty.member_tree(member_id);
	PERFORM loyalty.require_not_forgotten(members || canonical);

	PERFORM loyalty.lock_wallets(ARRAY[canonical], ARRAY[member_id]);
	PERFORM loyalty.expect_happening('merge_undone', x.m) FROM (SELECT unnest(ARRAY[canonical, member_id]) AS m ORDER BY 1) x;
	PERFORM loyalty.mark_wallets(member_id, false), loyalty.mark_wallets(canonical, false);
	PERFORM loyalty.part_points(merge_id, canonical, member_id, members,
		CASE WHEN earned_since <> 'home' THEN loyalty.posted_since(m.recorded_at, canonical, members, earned_since) END, earned_since);
	UPDATE loyalty.member_merge x
	SET unmerged_at = clock_timestamp(), unmerge_reason = reason, earned_since = unmerge_members.earned_since
	WHERE x.merge_id = unmerge_members.merge_id;
	PERFORM loyalty.part_members(merge_id, canonical, member_id, members);
	PERFORM loyalty.run_merge_handlers('unmerge', merge_id, canonical, member_id, members);
	INSERT INTO loyalty.member_act (member_id, act, other_member_id, merge_id, reason, effective_at)
	VALUES (canonical, 'unmerged', member_id, merge_id, reason, clock_timestamp()),
		(member_id, 'unmerged', canonical, merge_id, reason, clock_timestamp());
	IF loyalty.is_heard('merge_undone') THEN
		PERFORM loyalty.happen('merge_undone', canonical, clock_timestamp(),
			jsonb_build_object('version', 1, 'merge_id', merge_id, 'separated_id', member_id));
	END IF;
	PERFORM loyalty.keep_act('unmerge_members', member_id, merge_id);
	moved := loyalty.moved_items(merge_id, 'unmerge');
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('unmerge_members', m.absorbed_id, idempotency_key, jsonb_build_object('member_id', member_id, 'moved', moved));
	END IF;
END
$$;
COMMENT ON FUNCTION unmerge_members(bigint, text, text, text) IS
'Takes a merge back, whichever it is and in whatever order: the absorbed member, with those merged into it, stands for itself again. It gets what is left of the lots that came to it or to them, and their debt, holds, identifiers and attributes; what was spent is spent, by whoever''s lot it was, and what is given back of it later goes to the member to whom the lot was posted. earned_since says whose points are that were posted since: home, of the member that the posting addressed (post to resolve_member()''s home_member_id); survivor, all stay with the member who stood for both; identifier, as home, and also postings whose details name the identifier_id of an identifier that goes back. Returns the member that stands for itself again, what moved, and whether it is a replay; the idempotency_key belongs to that member. Errors: LY211 no such merge, LY208 undone already, LY203 forgotten, LY003, LY004.';

CREATE FUNCTION preview_merge(survivor_id bigint, absorbed_id bigint, OUT room text, OUT kind text, OUT item jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	s bigint := loyalty.canonical_member(survivor_id);
	a bigint := loyalty.canonical_member(absorbed_id);
	h loyalty.merge_handler;
BEGIN
	IF (SELECT count(*) FROM loyalty.member m WHERE m.member_id IN (survivor_id, absorbed_id)) < 2 AND survivor_id IS DISTINCT FROM absorbed_id
		OR s IS NULL OR a IS NULL THEN
		RAISE EXCEPTION 'there is no member % or %', coalesce(survivor_id::text, 'NULL'), coalesce(absorbed_id::text, 'NULL')
			USING ERRCODE = 'LY202', DETAIL = 'Both must exist.',
				HINT = 'Members are made by loyalty.resolve_member().';
	END IF;
	PERFORM loyalty.require_not_forgotten(ARRAY[s, a]);
	IF s = a THEN
		RAISE EXCEPTION 'members % and % are one already', survivor_id, absorbed_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', s), HINT = 'loyalty.why_merged() tells why.';
	END IF;
	RETURN QUERY
	SELECT 'member', 'refusal', jsonb_build_object('namespace', l.namespace, 'have', l.have, 'allowed', l.max_per_member)
	FROM loyalty.limit_exceeded(ARRAY[s, a]) l;
	RETURN QUERY
	SELECT 'ledger', 'points', jsonb_build_object('currency', w.currency, 'points', b.points,
		'lots', jsonb_array_length(w.balance::jsonb -> 'lots'), 'debt', b.debt)
	FROM loyalty.wallet w,
		LATERAL (SELECT sum(x.points) AS points, sum(x.debt) AS debt FROM loyalty.balance_homes(w.balance) x) b
	WHERE w.member_id = a AND b.points + b.debt > 0
	ORDER BY w.currency;
	RETURN QUERY SELECT 'member', 'members', to_jsonb(loyalty.member_tree(a));
	RETURN QUERY
	SELECT 'member', 'identifiers', jsonb_agg(i.identifier_id ORDER BY i.identifier_id)
	FROM loyalty.identifier i WHERE i.member_id = a HAVING count(*) > 0;
	RETURN QUERY
	SELECT 'member', 'attributes', loyalty.surviving_attributes(loyalty.member_tree(s) || loyalty.member_tree(a));
	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.preview_function IS NOT NULL
		ORDER BY array_position(loyalty.rooms(), x.room), x.room LOOP
		room := h.room; kind := 'handler';
		EXECUTE format('SELECT %s($1, $2)', loyalty.stored_function(h.preview_function, 'bigint,bigint')) INTO item USING s, a;
		IF item IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION preview_merge(bigint, bigint) IS
'What merge_members() would move, as rows of what it returns; nothing changes. kind refusal: why it would be refused. kind attributes: those that the survivor would have. Errors: LY202, LY203, LY209.';
