/*
 * Identifiers: who is it, and what belongs to whom.
 */

CREATE FUNCTION member_of(namespace text, value text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.member_id
	FROM loyalty.identifier_namespace n JOIN loyalty.identifier i ON i.namespace = n.namespace AND i.exclusive
		AND i.value = loyalty.normalize_identifier(n.kind, $2, n.default_country, n.provider_rules, n.fold_case)
	WHERE n.namespace = $1
$$;
COMMENT ON FUNCTION member_of(text, text) IS
'The member whom an identifier finds, NULL when it finds nobody. Reads only: nothing is created or noted.';

CREATE FUNCTION read_identifiers(identifiers jsonb,
	OUT ordinal bigint, OUT namespace text, OUT value text, OUT verified boolean, OUT priority integer,
	OUT max_per_member integer, OUT exclusive boolean, OUT merge_unverified boolean, OUT ignored text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	unknown text;
BEGIN
	IF identifiers IS NULL OR jsonb_typeof(identifiers) NOT IN ('array', 'object') THEN
		RAISE EXCEPTION 'identifiers must be an array or an object'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(jsonb_typeof(identifiers), 'NULL')),
				HINT = 'Pass [{"namespace": "email", "value": "a@b.example", "verified": true}] or {"email": "a@b.example"}.';
	END IF;
	IF jsonb_typeof(identifiers) = 'object' THEN
		identifiers := (SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', o.key, 'value', o.value) ORDER BY o.key), '[]')
			FROM jsonb_each(identifiers) o);
	END IF;
	SELECT coalesce(e.value ->> 'namespace', 'NULL') INTO unknown
	FROM jsonb_array_elements(identifiers) e
	WHERE NOT EXISTS (SELECT FROM loyalty.identifier_namespace n WHERE n.namespace = e.value ->> 'namespace')
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'unknown namespace "%"', unknown
			USING ERRCODE = 'LY210', HINT = 'Make it with loyalty.configure_namespace().';
	END IF;
	IF EXISTS (SELECT FROM jsonb_array_elements(identifiers) e
			WHERE jsonb_typeof(e.value -> 'verified') NOT IN ('boolean', 'null')
				OR jsonb_typeof(e.value -> 'value') NOT IN ('string', 'number', 'null')) THEN
		RAISE EXCEPTION 'malformed identifier'
			USING ERRCODE = 'LY003', DETAIL = 'value is a text or a number, verified is true or false.',
				HINT = 'Pass [{"namespace": "email", "value": "a@b.example", "verified": true}] or {"email": "a@b.example"}.';
	END IF;
	RETURN QUERY
	SELECT min(x.ordinality), x.namespace, x.value, bool_or(x.verified), x.priority, x.max_per_member, NOT x.shared, x.merge_unverified,
		CASE WHEN x.value IS NULL THEN 'garbage' WHEN x.blocked THEN 'blocked' END
	FROM (SELECT e.ordinality, n.namespace, v.value, coalesce((e.value ->> 'verified')::boolean, false) AS verified,
			n.priority, n.max_per_member, n.shared, n.merge_unverified,
			0 < (SELECT count(*) FROM loyalty.blocked_identifier b WHERE b.namespace IN (n.namespace, '*')
				AND b.value IN (v.value, lower(btrim(e.value ->> 'value')))) AS blocked
		FROM jsonb_array_elements(identifiers) WITH ORDINALITY e
		JOIN loyalty.identifier_namespace n ON n.namespace = e.value ->> 'namespace',
		LATERAL (SELECT loyalty.normalize_identifier(n.kind, e.value ->> 'value', n.default_country,
			n.provider_rules, n.fold_case) AS value OFFSET 0) v) x
	GROUP BY x.namespace, x.value, x.priority, x.max_per_member, x.shared, x.merge_unverified, x.blocked;
END
$$;
COMMENT ON FUNCTION read_identifiers(jsonb) IS
'Identifiers as an application passes them, normalized, each once, with the settings of their namespaces; ignored says why one is not used: garbage or blocked. Part of resolve_member().';

CREATE FUNCTION resolve_member_fully(identifiers jsonb, channel text, attributes jsonb, on_conflict text,
	effective_at timestamptz, idempotency_key text,
	OUT member_id bigint, OUT outcome text, OUT why jsonb, OUT merge_id bigint, OUT home_member_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	given jsonb;
	owners bigint[];
	again bigint[];
	linked jsonb := '[]';
	evidence jsonb := '[]';
	merges bigint[] := '{}';
	refusal text;
	other record;
	usable boolean;
	earlier jsonb;
BEGIN
	replayed := false;
	IF on_conflict IS NULL OR on_conflict NOT IN ('merge', 'first', 'refuse') THEN
		RAISE EXCEPTION 'unknown on_conflict "%"', coalesce(on_conflict, 'NULL')
			USING ERRCODE = 'LY003', HINT = 'It is merge, first or refuse.';
	END IF;
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'effective_at must be a finite instant' USING ERRCODE = 'LY003', HINT = 'Leave it out for now.';
	END IF;
	IF attributes IS NOT NULL AND jsonb_typeof(attributes) <> 'object' THEN
		RAISE EXCEPTION 'attributes must be an object'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', jsonb_typeof(attributes)), HINT = 'Pass {"name": "value", ...}.';
	END IF;
	-- the settings of namespaces, and with them which values are usable
	SELECT coalesce(jsonb_agg(to_jsonb(r) ORDER BY r.priority, r.namespace COLLATE "C", r.value COLLATE "C"), '[]'),
		coalesce(bool_or(r.exclusive AND r.ignored IS NULL), false)
	INTO given, usable
	FROM loyalty.read_identifiers(identifiers) r;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(0, idempotency_key, format('resolve %s %L %s %s %s', identifiers, channel, attributes, on_conflict,
			extract(epoch FROM nullif(effective_at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			member_id := earlier ->> 'member_id'; outcome := earlier ->> 'outcome'; why := earlier -> 'why';
			merge_id := earlier ->> 'merge_id'; home_member_id := earlier ->> 'home_member_id'; replayed := true;
			RETURN;
		END IF;
	END IF;

	<<attempts>>
	LOOP
		evidence := '[]';
		refusal := NULL;
		owners := (SELECT array_agg(DISTINCT i.member_id)
			FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text)
			CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
			WHERE g.exclusive AND g.ignored IS NULL);
		EXIT WHEN owners IS NULL AND NOT usable;
		-- a subtransaction, and none within: whoever begins anew has given back what he locked, and who waits for it is told
		BEGIN
			IF owners IS NOT NULL THEN
				owners := (SELECT array_agg(DISTINCT m) FROM unnest(loyalty.try_to_lock_members(owners)) m);
				again := (SELECT array_agg(DISTINCT i.member_id)
					FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text)
					CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
					WHERE g.exclusive AND g.ignored IS NULL);
				IF again IS DISTINCT FROM owners THEN
					RAISE EXCEPTION 'identifiers changed hands at this moment' USING ERRCODE = 'LY207';
				END IF;
				SELECT i.member_id, i.home_member_id INTO member_id, home_member_id
				FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text, priority integer)
				CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
				WHERE g.exclusive AND g.ignored IS NULL
				ORDER BY g.priority, i.member_id, i.identifier_id LIMIT 1;
				outcome := 'matched';
				evidence := (SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', i.namespace, 'identifier_id', i.identifier_id,
						'member_id', i.member_id, 'verified', i.verified OR g.verified,
						'may_merge', i.verified OR g.verified OR g.merge_unverified, 'priority', g.priority) ORDER BY g.priority, i.member_id), '[]')
					FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text, priority integer,
						verified boolean, merge_unverified boolean)
					CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
					WHERE g.exclusive AND g.ignored IS NULL);
				IF cardinality(owners) > 1 AND on_conflict = 'refuse' THEN
					refusal := 'identifiers of several members';
				ELSIF cardinality(owners) > 1 AND on_conflict = 'first' THEN
					refusal := NULL;
				ELSIF cardinality(owners) > 1 THEN
					SELECT format('member %s is known by nothing that may merge', m) INTO refusal
					FROM unnest(owners) m
					WHERE NOT EXISTS (SELECT FROM jsonb_to_recordset(evidence) e (member_id bigint, may_merge boolean)
						WHERE e.member_id = m AND e.may_merge) LIMIT 1;
					IF refusal IS NULL THEN
						SELECT format('together they would have %s identifiers of namespace "%s", of which a member may have %s', x.have, x.namespace, x.max_per_member)
						INTO refusal
						FROM (SELECT n.namespace, n.max_per_member, count(DISTINCT i.value) AS have
							FROM loyalty.identifier i JOIN loyalty.identifier_namespace n ON n.namespace = i.namespace
							WHERE i.member_id = ANY (owners) AND n.max_per_member IS NOT NULL
							GROUP BY n.namespace, n.max_per_member) x
						WHERE x.have > x.max_per_member ORDER BY x.namespace LIMIT 1;
					END IF;
				END IF;
				IF refusal IS NOT NULL THEN
					member_id := NULL; home_member_id := NULL; outcome := 'conflict';
					EXIT attempts;
				END IF;
			END IF;

			IF owners IS NULL THEN
				INSERT INTO loyalty.member AS m (joined_at, joined_via) VALUES (effective_at, channel)
				RETURNING m.member_id INTO member_id;
				home_member_id := member_id;
				outcome := 'created';
			END IF;
			-- in one order for all sessions, so that nobody waits in a circle
			WITH added AS (
				INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, exclusive, channel, first_seen, last_seen)
				SELECT member_id, g.namespace, g.value, member_id, g.verified, true, channel, effective_at, effective_at
				FROM (SELECT r.*, row_number() OVER (PARTITION BY r.namespace ORDER BY r.ordinal) AS nth
					FROM jsonb_to_recordset(given) r (ordinal bigint, namespace text, value text, exclusive boolean, ignored text, verified boolean, max_per_member integer)
					WHERE r.exclusive AND r.ignored IS NULL
						AND (SELECT count(*) FROM loyalty.identifier i WHERE i.exclusive AND i.namespace = r.namespace AND i.value = r.value) = 0) g
				WHERE g.max_per_member IS NULL OR g.nth + (SELECT count(*) FROM loyalty.identifier i
					WHERE i.member_id = ANY (coalesce(CASE WHEN on_conflict = 'first' THEN ARRAY[member_id] ELSE owners END, '{}'))
						AND i.namespace = g.namespace) <= g.max_per_member
				ORDER BY g.namespace COLLATE "C", g.value COLLATE "C"
				RETURNING i.identifier_id, i.namespace
			)
			SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.identifier_id), '[]') INTO linked FROM added a;
			EXIT attempts;
		EXCEPTION WHEN unique_violation OR SQLSTATE 'LY207' THEN
			-- another session was faster: it knows the person now
			member_id := NULL;
			home_member_id := NULL;
			IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
				RAISE EXCEPTION 'could not serialize access due to another resolve of this person'
					USING ERRCODE = 'serialization_failure', HINT = 'Begin the transaction anew.';
			END IF;
		END;
	END LOOP;

	IF member_id IS NOT NULL THEN
		IF outcome = 'created' THEN
			INSERT INTO loyalty.member_act (member_id, act, channel, effective_at) VALUES (member_id, 'created', channel, effective_at);
		END IF;
		INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, effective_at)
		SELECT member_id, 'linked', l.identifier_id, l.namespace, channel, effective_at
		FROM jsonb_to_recordset(linked) l (identifier_id bigint, namespace text);
		FOR other IN
			SELECT i.member_id, i.identifier_id, g.verified
			FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text, verified boolean)
			CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
			WHERE g.exclusive AND g.ignored IS NULL AND i.member_id = ANY (owners)
				AND (i.last_seen < effective_at - interval '1 day' OR g.verified AND NOT i.verified)
		LOOP
			UPDATE loyalty.identifier i
			SET last_seen = greatest(i.last_seen, effective_at), verified = i.verified OR other.verified
			WHERE i.member_id = other.member_id AND i.identifier_id = other.identifier_id;
		END LOOP;
		INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, exclusive, channel, first_seen, last_seen)
		SELECT member_id, g.namespace, g.value, home_member_id, g.verified, false, channel, effective_at, effective_at
		FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text, verified boolean)
		WHERE NOT g.exclusive AND g.ignored IS NULL
		ORDER BY g.namespace COLLATE "C", g.value COLLATE "C"
		ON CONFLICT DO NOTHING;

		IF cardinality(owners) > 1 AND on_conflict = 'merge' THEN
			-- all wallets in one order, before the first of several merges
			PERFORM loyalty.lock_wallets(owners);
			FOR other IN
				SELECT e.member_id AS id, array_agg(DISTINCT e.identifier_id) || w.ids AS ids,
					array_agg(DISTINCT e.namespace) || w.namespaces AS namespaces,
					bool_or(e.verified) AND w.verified AS verified, greatest(min(e.priority), w.priority) AS priority
				FROM jsonb_to_recordset(evidence) e (member_id bigint, identifier_id bigint, namespace text, verified boolean, priority integer, may_merge boolean),
					(SELECT array_agg(DISTINCT x.identifier_id) AS ids, array_agg(DISTINCT x.namespace) AS namespaces,
							bool_or(x.verified) AS verified, min(x.priority) AS priority
						FROM jsonb_to_recordset(evidence) x (member_id bigint, identifier_id bigint, namespace text, verified boolean, priority integer, may_merge boolean)
						WHERE x.member_id = resolve_member_fully.member_id AND x.may_merge) w
				WHERE e.member_id <> resolve_member_fully.member_id AND e.may_merge
				GROUP BY e.member_id, w.ids, w.namespaces, w.verified, w.priority
				ORDER BY e.member_id
			LOOP
				merge_id := loyalty.join_members(member_id, other.id, member_id, other.id, 'identifier', NULL, effective_at,
					other.ids, other.namespaces, other.verified, other.priority);
				merges := merges || merge_id;
				outcome := 'merged';
			END LOOP;
		END IF;

		IF attributes IS NOT NULL AND attributes <> '{}' THEN
			-- a channel that repeats its last value has given it once more
			WITH repeated AS (
				UPDATE loyalty.member_fact f
				SET given_at = least(f.given_at, effective_at), last_given_at = greatest(f.last_given_at, effective_at), times = f.times + 1
				FROM jsonb_each(attributes) a
				WHERE f.home_member_id = resolve_member_fully.home_member_id AND f.value = a.value
					AND f.fact_id = (SELECT l.fact_id FROM loyalty.member_fact l
						WHERE l.home_member_id = resolve_member_fully.home_member_id AND l.attribute = a.key
							AND l.channel IS NOT DISTINCT FROM resolve_member_fully.channel
						ORDER BY l.last_given_at DESC, l.fact_id DESC LIMIT 1)
				RETURNING f.attribute
			)
			INSERT INTO loyalty.member_fact (home_member_id, attribute, value, channel, given_at, last_given_at)
			SELECT home_member_id, a.key, a.value, channel, effective_at, effective_at
			FROM jsonb_each(attributes) a
			WHERE 0 = (SELECT count(*) FROM repeated r WHERE r.attribute = a.key)
			ORDER BY a.key;
			IF FOUND AND outcome <> 'created' THEN
				INSERT INTO loyalty.member_act (member_id, act, channel, effective_at)
				VALUES (home_member_id, 'attributes', channel, effective_at);
			END IF;
			PERFORM loyalty.refresh_attributes(member_id);
		END IF;
	ELSIF NOT usable THEN
		outcome := 'conflict';
		refusal := 'no identifier that tells who it is';
	END IF;

	why := jsonb_strip_nulls(jsonb_build_object(
		'found', nullif(evidence, '[]'), 'linked', nullif(linked, '[]'),
		'merges', CASE WHEN merges <> '{}' THEN to_jsonb(merges) END,
		'ignored', (SELECT jsonb_agg(jsonb_build_object('namespace', g.namespace, 'reason', x.reason) ORDER BY g.namespace)
			FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text),
				LATERAL (SELECT coalesce(g.ignored, CASE WHEN NOT g.exclusive THEN 'shared'
					WHEN member_id IS NOT NULL AND 0 = (SELECT count(*) FROM loyalty.identifier i
						WHERE i.exclusive AND i.namespace = g.namespace AND i.value = g.value) THEN 'too many of this namespace' END) AS reason) x
			WHERE x.reason IS NOT NULL),
		'reason', coalesce(refusal, CASE WHEN cardinality(owners) > 1 AND on_conflict = 'first' THEN 'identifiers of several members; the first counts' END)));
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(0, idempotency_key, jsonb_build_object('member_id', member_id, 'outcome', outcome, 'why', why,
			'merge_id', merge_id, 'home_member_id', home_member_id), member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text) IS
'resolve_member() where there is something to write: somebody new, new identifiers, attributes, members to join. Called by resolve_member().';

CREATE FUNCTION resolve_member(identifiers jsonb, channel text DEFAULT NULL, attributes jsonb DEFAULT NULL,
	on_conflict text DEFAULT 'merge', effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT member_id bigint, OUT outcome text, OUT why jsonb, OUT merge_id bigint, OUT home_member_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_resolve_member';
COMMENT ON FUNCTION resolve_member(jsonb, text, jsonb, text, timestamptz, text) IS
'Who is it? Finds the member by identifiers, or makes one, or joins several, or says why not. identifiers: [{"namespace": "email", "value": "a@b.example", "verified": true}, ...] or {"email": "a@b.example"}; normalized by their namespaces. Garbage, blocked and shared values find nobody. Identifiers that are new are linked to the member found, unless it has too many of their namespace; attributes are noted for it. Where identifiers belong to several members, on_conflict merge joins them into the one found by the highest priority (then the oldest), if each is known by a value that may merge (verified, or merge_unverified) and no namespace has too many; first answers that one and joins nothing; refuse answers none. outcome: matched, created, merged, or conflict (member_id NULL). why: found (identifiers by number, with their members), linked, merges, ignored with reasons, reason. merge_id: the last merge, for unmerge_members(). home_member_id: the member to whom the identifier belongs that found it; what is posted to it goes to member_id, and goes back with it when a merge is undone. replayed: the first result of a repeated idempotency_key (unique among all resolves). Two sessions that resolve the same new person get one member. Errors: LY003, LY004, LY210 unknown namespace.';

CREATE FUNCTION link_identifier(member_id bigint, namespace text, value text, verified boolean DEFAULT false, channel text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT identifier_id bigint, OUT linked boolean, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	root bigint;
	g record;
	have record;
	earlier jsonb;
BEGIN
	replayed := false;
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'effective_at must be a finite instant' USING ERRCODE = 'LY003', HINT = 'Leave it out for now.';
	END IF;
	SELECT * INTO g FROM loyalty.read_identifiers(jsonb_build_array(jsonb_build_object('namespace', namespace, 'value', value, 'verified', coalesce(verified, false))));
	IF g.ignored = 'garbage' THEN
		RAISE EXCEPTION '"%" is no valid identifier of namespace "%"', coalesce(value, 'NULL'), namespace
			USING ERRCODE = 'LY201', HINT = 'loyalty.normalize_identifier() with on_garbage => ''error'' tells what is wrong.';
	ELSIF g.ignored = 'blocked' THEN
		RAISE EXCEPTION '"%" is blocked in namespace "%"', value, namespace
			USING ERRCODE = 'LY205', DETAIL = 'It identifies nobody.', HINT = 'See loyalty.blocked_identifier.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(member_id, idempotency_key, format('link %s %L %L %s %L %s', member_id, namespace, g.value, verified, channel,
			extract(epoch FROM nullif(effective_at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; linked := earlier ->> 'linked'; replayed := true;
			RETURN;
		END IF;
	END IF;
	root := (loyalty.lock_members(ARRAY[member_id]))[1];
	PERFORM loyalty.require_not_forgotten(ARRAY[member_id, root]);

	linked := false;
	LOOP
		SELECT i.identifier_id, i.member_id INTO have FROM loyalty.identifier i
		WHERE i.namespace = g.namespace AND i.value = g.value
			AND CASE WHEN g.exclusive THEN i.exclusive ELSE NOT i.exclusive AND i.member_id = root END
		LIMIT 1;
		IF FOUND AND have.member_id <> root THEN
			RAISE EXCEPTION 'that identifier of namespace "%" belongs to member %', namespace, have.member_id
				USING ERRCODE = 'LY204', HINT = 'Merge the members with loyalty.merge_members(), or unlink it there first.';
		ELSIF FOUND THEN
			identifier_id := have.identifier_id;
			UPDATE loyalty.identifier i SET verified = i.verified OR g.verified, last_seen = greatest(i.last_seen, effective_at)
			WHERE i.member_id = root AND i.identifier_id = link_identifier.identifier_id;
			EXIT;
		END IF;
		IF g.max_per_member <= (SELECT count(*) FROM loyalty.identifier i WHERE i.member_id = root AND i.namespace = g.namespace) THEN
			RAISE EXCEPTION 'member % has % identifiers of namespace "%" already', root, g.max_per_member, namespace
				USING ERRCODE = 'LY206', HINT = 'Unlink one, or raise max_per_member with loyalty.configure_namespace().';
		END IF;
		INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, exclusive, channel, first_seen, last_seen)
		VALUES (root, g.namespace, g.value, member_id, g.verified, g.exclusive, channel, effective_at, effective_at)
		ON CONFLICT DO NOTHING
		RETURNING i.identifier_id INTO identifier_id;
		IF FOUND THEN
			linked := true;
			INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, effective_at)
			VALUES (member_id, 'linked', identifier_id, g.namespace, channel, effective_at);
			EXIT;
		END IF;
	END LOOP;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(member_id, idempotency_key, jsonb_build_object('identifier_id', identifier_id, 'linked', linked));
	END IF;
END
$$;
COMMENT ON FUNCTION link_identifier(bigint, text, text, boolean, text, timestamptz, text) IS
'Links an identifier to a member; its home is the member named, even an absorbed one. linked is false when the member had it; then it may become verified. Errors: LY201 garbage, LY202 no such member, LY203 forgotten, LY204 it belongs to another member, LY205 blocked, LY206 too many of this namespace, LY210 unknown namespace, LY003, LY004.';

CREATE FUNCTION unlink_identifier(member_id bigint, namespace text, value text, reason text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT identifier_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	root bigint;
	g record;
	home bigint;
	earlier jsonb;
BEGIN
	replayed := false;
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'effective_at must be a finite instant' USING ERRCODE = 'LY003', HINT = 'Leave it out for now.';
	END IF;
	SELECT * INTO g FROM loyalty.read_identifiers(jsonb_build_array(jsonb_build_object('namespace', namespace, 'value', value)));
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(member_id, idempotency_key, format('unlink %s %L %L %L %s', member_id, namespace, g.value, reason,
			extract(epoch FROM nullif(effective_at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	root := (loyalty.lock_members(ARRAY[member_id]))[1];
	DELETE FROM loyalty.identifier i
	WHERE i.member_id = root AND i.namespace = g.namespace AND i.value = g.value
	RETURNING i.identifier_id, i.home_member_id INTO identifier_id, home;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % has no such identifier of namespace "%"', member_id, namespace
			USING ERRCODE = 'LY212', HINT = 'loyalty.identifier lists what the member has.';
	END IF;
	INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, reason, effective_at)
	VALUES (home, 'unlinked', identifier_id, g.namespace, reason, effective_at);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(member_id, idempotency_key, jsonb_build_object('identifier_id', identifier_id));
	END IF;
END
$$;
COMMENT ON FUNCTION unlink_identifier(bigint, text, text, text, timestamptz, text) IS
'Takes an identifier away from a member, or from anybody for whom it stands. Merges that it caused stay: undo them with unmerge_members(). Errors: LY202 no such member, LY212 the member has no such identifier, LY210 unknown namespace, LY003, LY004.';

/* rights */

REVOKE EXECUTE ON FUNCTION
	resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text),
	resolve_member(jsonb, text, jsonb, text, timestamptz, text),
	link_identifier(bigint, text, text, boolean, text, timestamptz, text),
	unlink_identifier(bigint, text, text, text, timestamptz, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text),
	resolve_member(jsonb, text, jsonb, text, timestamptz, text),
	link_identifier(bigint, text, text, boolean, text, timestamptz, text),
	unlink_identifier(bigint, text, text, text, timestamptz, text)
	TO @extowner@;
