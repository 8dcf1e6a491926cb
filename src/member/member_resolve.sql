/*
 * Identifiers: who is it, and what belongs to whom.
 *
 * What resolve_member() and link_identifier() call plans with the settings that
 * they have set.
 */

CREATE FUNCTION member_of(namespace text, value text) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.member_id
	FROM loyalty.identifier_namespace n JOIN loyalty.identifier i ON i.namespace = n.namespace AND i.exclusive
		AND i.value = loyalty.normalize_identifier(n.kind, $2, n.default_country, n.provider_rules, n.fold_case)
	WHERE n.namespace = $1
		AND CASE WHEN n.shared_above IS NULL THEN true ELSE loyalty.members_with_value(i.namespace, i.value, false) <= n.shared_above END
$$;
COMMENT ON FUNCTION member_of(text, text) IS
'The member whom an identifier finds that is not verified now, NULL when it finds nobody. Reads only: nothing is created or noted.';

CREATE TYPE given_identifier AS (
	ordinal bigint,
	namespace text,
	value text,
	verified boolean,
	priority integer,
	max_per_member integer,
	exclusive boolean,
	merge_unverified boolean,
	shared_above integer,
	ignored text
);
COMMENT ON TYPE given_identifier IS
'An identifier that resolve_member() was given, normalized, with the settings of its namespace. exclusive is false for a value that several members may have, or that too many have; ignored says why one is not used: garbage or blocked.';

CREATE TYPE weighed_identifier AS (
	namespace text,
	value text,
	identifier_id bigint,
	member_id bigint,
	home_member_id bigint,
	priority integer,
	verified boolean,
	proven boolean,
	owned boolean,
	contested boolean
);
COMMENT ON TYPE weighed_identifier IS
'What is known of an identifier that resolve_member() was given, and what it is worth: proven, it shows that the member is whoever gave it; owned, something of the member was verified; contested, it was verified now, and the member that has it is somebody else''s. The table of rules is in src/member/member.h.';

CREATE FUNCTION require_identifiers(identifiers jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	example CONSTANT text := 'Pass [{"namespace": "email", "value": "a@b.example", "verified": true}] or {"email": "a@b.example"}.';
	wrong text;
BEGIN
	IF identifiers IS NULL OR jsonb_typeof(identifiers) NOT IN ('array', 'object') THEN
		RAISE EXCEPTION 'identifiers must be an array or an object'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(jsonb_typeof(identifiers), 'NULL')), HINT = example;
	END IF;
	IF jsonb_typeof(identifiers) = 'object' THEN
		identifiers := (SELECT coalesce(jsonb_agg(jsonb_build_object('namespace', o.key, 'value', o.value) ORDER BY o.key), '[]')
			FROM jsonb_each(identifiers) o);
	END IF;
	SELECT CASE WHEN jsonb_typeof(e.value) <> 'object' THEN format('An element is %s.', e.value)
		WHEN jsonb_typeof(e.value -> 'verified') NOT IN ('boolean', 'null') THEN format('verified is %s, not true or false.', e.value -> 'verified')
		WHEN jsonb_typeof(e.value -> 'value') NOT IN ('string', 'number', 'null') THEN format('value is %s, no text or number.', e.value -> 'value')
		WHEN jsonb_typeof(e.value -> 'country') NOT IN ('string', 'null') THEN format('country is %s, no text.', e.value -> 'country')
		ELSE (SELECT format('It has the key "%s".', k) FROM jsonb_object_keys(e.value) k
			WHERE k NOT IN ('namespace', 'value', 'verified', 'country') LIMIT 1) END INTO wrong
	FROM jsonb_array_elements(identifiers) WITH ORDINALITY e
	WHERE CASE WHEN jsonb_typeof(e.value) <> 'object' THEN true
		ELSE jsonb_typeof(e.value -> 'verified') NOT IN ('boolean', 'null') OR jsonb_typeof(e.value -> 'value') NOT IN ('string', 'number', 'null')
			OR jsonb_typeof(e.value -> 'country') NOT IN ('string', 'null') OR e.value - '{namespace,value,verified,country}'::text[] <> '{}' END
	ORDER BY e.ordinality LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'malformed identifier' USING ERRCODE = 'LY003', DETAIL = wrong, HINT = example;
	END IF;
	SELECT coalesce(e.value ->> 'namespace', 'NULL') INTO wrong
	FROM jsonb_array_elements(identifiers) e
	WHERE NOT EXISTS (SELECT FROM loyalty.identifier_namespace n WHERE n.namespace = e.value ->> 'namespace')
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'unknown namespace "%"', wrong
			USING ERRCODE = 'LY210',
				DETAIL = 'The table loyalty.identifier_namespace has no row with this name.',
				HINT = 'Make it with loyalty.configure_namespace().';
	END IF;
	RETURN identifiers;
END
$$;
COMMENT ON FUNCTION require_identifiers(jsonb) IS
'Identifiers as an application passes them, as an array of objects. Errors: LY003 malformed, LY210 unknown namespace. Part of resolve_member().';

CREATE FUNCTION read_identifiers(identifiers jsonb) RETURNS SETOF given_identifier
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	identifiers := loyalty.require_identifiers(identifiers);
	RETURN QUERY
	SELECT min(x.ordinality), x.namespace, x.value, bool_or(x.verified), x.priority, x.max_per_member,
		NOT x.shared AND (x.shared_above IS NULL OR loyalty.members_with_value(x.namespace, x.value, bool_or(x.verified)) <= x.shared_above),
		x.merge_unverified, x.shared_above, CASE WHEN x.value IS NULL THEN 'garbage' WHEN x.blocked THEN 'blocked' END
	FROM (SELECT e.ordinality, n.namespace, v.value, coalesce((e.value ->> 'verified')::boolean, false) AS verified,
			n.priority, n.max_per_member, n.shared, n.merge_unverified, n.shared_above,
			0 < (SELECT count(*) FROM loyalty.blocked_identifier b WHERE b.namespace IN (n.namespace, '*')
				AND b.value IN (v.value, lower(btrim(e.value ->> 'value')))) AS blocked
		FROM jsonb_array_elements(identifiers) WITH ORDINALITY e
		CROSS JOIN LATERAL (SELECT i.* FROM loyalty.identifier_namespace i WHERE i.namespace = e.value ->> 'namespace' LIMIT 1) n
		CROSS JOIN LATERAL (SELECT loyalty.normalize_identifier(n.kind, e.value ->> 'value', coalesce(e.value ->> 'country', n.default_country),
			n.provider_rules, n.fold_case) AS value OFFSET 0) v) x
	GROUP BY x.namespace, x.value, x.priority, x.max_per_member, x.shared, x.merge_unverified, x.shared_above, x.blocked;
END
$$;
COMMENT ON FUNCTION read_identifiers(jsonb) IS
'Identifiers as an application passes them, normalized, each once. Errors: LY003, LY210. Part of resolve_member().';

CREATE FUNCTION members_with_value(namespace text, value text, verified boolean) RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (SELECT count(*) FROM loyalty.identifier i WHERE i.exclusive AND i.namespace = $1 AND i.value = $2 AND i.verified >= $3)
		+ (SELECT count(*) FROM loyalty.identifier i WHERE NOT i.exclusive AND i.namespace = $1 AND i.value = $2 AND i.verified >= $3);
END
$$;
COMMENT ON FUNCTION members_with_value(text, text, boolean) IS
'How many members came with a value, or verified it, each counted under the number that it had then. Part of resolve_member().';

CREATE FUNCTION weigh_identifiers(given given_identifier[]) RETURNS SETOF weighed_identifier
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT f.namespace, f.value, f.identifier_id, f.member_id, f.home_member_id, f.priority, f.verified, f.proven, f.owned,
		f.verified_now AND NOT bool_or(f.proven) OVER (PARTITION BY f.member_id)
	FROM (
		SELECT i.namespace, i.value, i.identifier_id, i.member_id, i.home_member_id, g.priority, g.verified AS verified_now,
			i.verified OR g.verified AS verified, o.owned,
			(g.verified OR g.merge_unverified) AND NOT i.claimed AND (i.verified OR g.merge_unverified OR NOT o.owned) AS proven
		FROM unnest(given) g
		CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x
			WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
		CROSS JOIN LATERAL (SELECT 0 < (SELECT count(*) FROM (
			SELECT FROM loyalty.identifier x WHERE x.member_id = i.member_id AND x.exclusive AND NOT x.claimed
				AND (x.verified OR (SELECT n.merge_unverified FROM loyalty.identifier_namespace n WHERE n.namespace = x.namespace))
			LIMIT 1) y) AS owned OFFSET 0) o
		WHERE g.exclusive AND g.ignored IS NULL
	) f;
END
$$;
COMMENT ON FUNCTION weigh_identifiers(given_identifier[]) IS
'What is known of identifiers given, and what each is worth. Part of resolve_member().';

CREATE FUNCTION evidence_of(given given_identifier[]) RETURNS weighed_identifier[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (SELECT coalesce(array_agg(w ORDER BY w.proven DESC, w.priority, w.member_id, w.identifier_id), '{}')
		FROM loyalty.weigh_identifiers(given) w);
END
$$;
COMMENT ON FUNCTION evidence_of(given_identifier[]) IS 'What weigh_identifiers() finds, what counts most first. Part of resolve_member().';

CREATE FUNCTION draw_member_id() RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	numbers CONSTANT regclass := pg_get_serial_sequence('loyalty.member', 'member_id');
	-- wherever something of a member can stand
	is_taken CONSTANT text := 'SELECT EXISTS (SELECT FROM loyalty.member_fact WHERE home_member_id = $1)'
		|| (SELECT string_agg(format(' OR EXISTS (SELECT FROM loyalty.%I WHERE member_id = $1)', t.name), '')
			FROM (SELECT unnest('{member,wallet,member_alias}'::text[]) UNION SELECT unnest(h.tables) FROM loyalty.merge_handler h) t (name)
			WHERE to_regclass(format('loyalty.%I', t.name)) IS NOT NULL);
	taken boolean;
	step bigint := 1;
	id bigint;
BEGIN
	LOOP
		id := nextval(numbers);
		EXECUTE is_taken INTO taken USING id;
		EXIT WHEN NOT taken;
		-- ids that an application gave stand in blocks
		PERFORM setval(numbers, id + step - 1);
		step := step * 2;
	END LOOP;
	RETURN id;
END
$$;
COMMENT ON FUNCTION draw_member_id() IS
'A number for a new member, under which nothing stands: no points, no facts, no grants, no alias. Part of resolve_member().';

CREATE FUNCTION note_company(given given_identifier[], evidence weighed_identifier[]) RETURNS given_identifier[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	crowded loyalty.given_identifier[];
BEGIN
	WITH company AS (
		SELECT DISTINCT g.namespace, g.value, g.shared_above, g.verified, o.home_member_id, o.member_id
		FROM unnest(given) g
		JOIN unnest(evidence) f ON f.namespace = g.namespace AND f.value = g.value
		JOIN unnest(evidence) o ON o.proven AND o.home_member_id <> f.home_member_id
		WHERE g.exclusive AND g.shared_above IS NOT NULL
			AND 0 = (SELECT count(*) FROM loyalty.identifier i WHERE NOT i.exclusive AND i.namespace = g.namespace AND i.value = g.value
				AND i.home_member_id = o.home_member_id AND i.verified >= g.verified)
	), added AS (
		INSERT INTO loyalty.identifier (member_id, namespace, value, home_member_id, verified, exclusive)
		SELECT c.member_id, c.namespace, c.value, c.home_member_id, c.verified, false FROM company c
		ORDER BY c.namespace COLLATE "C", c.value COLLATE "C", c.home_member_id
		ON CONFLICT (namespace, value, home_member_id) WHERE NOT exclusive DO UPDATE SET verified = true WHERE excluded.verified
	)
	SELECT array_agg(g) INTO crowded
	FROM unnest(given) g
	JOIN (SELECT x.namespace, x.value, x.shared_above, x.verified, count(*) AS more
		FROM company x GROUP BY x.namespace, x.value, x.shared_above, x.verified) c
		ON c.namespace = g.namespace AND c.value = g.value AND c.shared_above = g.shared_above AND c.verified = g.verified
	WHERE loyalty.members_with_value(c.namespace, c.value, c.verified) + c.more > c.shared_above;
	IF crowded IS NULL THEN
		RETURN NULL;
	END IF;
	-- claims, however many, take nothing from whoever verified it
	UPDATE loyalty.identifier i SET exclusive = false
	FROM unnest(crowded) c
	WHERE i.exclusive AND i.namespace = c.namespace AND i.value = c.value AND c.verified >= i.verified;
	FOR n IN 1 .. cardinality(given) LOOP
		IF EXISTS (SELECT FROM unnest(crowded) c WHERE c.namespace = given[n].namespace AND c.value = given[n].value) THEN
			given[n].exclusive := false;
		END IF;
	END LOOP;
	RETURN given;
END
$$;
COMMENT ON FUNCTION note_company(given_identifier[], weighed_identifier[]) IS
'Notes that members came with a value that another member has, where its namespace counts that (shared_above), and who verified it. When it is of too many by now, it finds nobody from now on, a claim by all who came, what is verified by those who verified it: then returns what was given, with that told. Part of resolve_member().';

CREATE FUNCTION is_somebody_else(given given_identifier[], evidence weighed_identifier[]) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (SELECT coalesce(bool_or(NOT f.contested) AND NOT bool_or(f.proven), false) FROM unnest(evidence) f)
		AND EXISTS (SELECT FROM unnest(given) g
			WHERE g.exclusive AND g.ignored IS NULL AND (g.verified OR g.merge_unverified
				AND (SELECT bool_or(e.owned) AND bool_and((e.namespace, e.value) <> (g.namespace, g.value)) FROM unnest(evidence) e)));
END
$$;
COMMENT ON FUNCTION is_somebody_else(given_identifier[], weighed_identifier[]) IS
'Whether members are found by claims alone, and whoever gave them proved something of his own beside. Part of resolve_member().';

CREATE FUNCTION refusal_of(given given_identifier[], evidence weighed_identifier[], on_conflict text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known bigint[];
	proven bigint[];
	reason text;
BEGIN
	IF on_conflict = 'first' THEN
		RETURN NULL;
	END IF;
	SELECT array_agg(DISTINCT f.member_id), array_agg(DISTINCT f.member_id) FILTER (WHERE f.proven) INTO known, proven
	FROM unnest(evidence) f WHERE NOT f.contested;

	IF cardinality(known) > 1 AND on_conflict = 'refuse' THEN
		RETURN 'identifiers of several members';
	ELSIF cardinality(known) > 1 AND known <> coalesce(proven, '{}') THEN
		RETURN (SELECT format('member %s is known by nothing that may merge', m) FROM unnest(known) m
			WHERE m <> ALL (coalesce(proven, '{}')) ORDER BY m LIMIT 1);
	ELSIF loyalty.is_somebody_else(given, evidence) THEN
		RETURN format('member %s is found by nothing that was verified; what was verified is not linked to it', known[1]);
	END IF;
	SELECT format('together they would have %s identifiers of namespace "%s", of which a member may have %s', x.have, x.namespace, x.max_per_member)
	INTO reason
	FROM loyalty.limit_exceeded(known) x WHERE cardinality(known) > 1 LIMIT 1;
	IF FOUND THEN
		RETURN reason;
	END IF;
	-- what was verified is never left out without a word
	SELECT format('another identifier of namespace "%s" was verified, of which a member may have %s', c.namespace, c.max_per_member) INTO reason
	FROM (SELECT g.namespace, g.max_per_member, count(*) AS coming
		FROM unnest(given) g
		WHERE g.exclusive AND g.ignored IS NULL AND g.verified AND g.max_per_member IS NOT NULL
			AND NOT EXISTS (SELECT FROM unnest(evidence) f
				WHERE NOT f.contested AND f.namespace = g.namespace AND f.value = g.value)
		GROUP BY g.namespace, g.max_per_member) c
	WHERE c.coming + (SELECT count(*) FROM loyalty.identifier i
		WHERE i.member_id = ANY (known) AND i.namespace = c.namespace AND i.exclusive AND i.verified) > c.max_per_member
	ORDER BY c.namespace LIMIT 1;
	RETURN reason;
END
$$;
COMMENT ON FUNCTION refusal_of(given_identifier[], weighed_identifier[], text) IS
'Why identifiers given, with what weigh_identifiers() found of them, lead to no member; NULL when they do. Part of resolve_member().';

CREATE FUNCTION give_way(fresh given_identifier[], known bigint[], channel text, effective_at timestamptz) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	WITH gone AS (
		DELETE FROM loyalty.identifier i
		USING (SELECT x.identifier_id, x.member_id, c.max_per_member - c.coming - (SELECT count(*) FROM loyalty.identifier v
					WHERE v.member_id = ANY (known) AND v.namespace = c.namespace AND v.exclusive AND v.verified) AS room,
				row_number() OVER (PARTITION BY x.namespace ORDER BY x.claimed, x.last_seen DESC, x.identifier_id) AS nth
			FROM (SELECT g.namespace, g.max_per_member, count(*) AS coming
				FROM unnest(fresh) g
				WHERE g.verified AND g.max_per_member IS NOT NULL GROUP BY g.namespace, g.max_per_member) c
			CROSS JOIN LATERAL (SELECT * FROM loyalty.identifier v WHERE v.member_id = ANY (known) AND v.namespace = c.namespace
				AND v.exclusive AND NOT v.verified OFFSET 0) x) x
		WHERE x.nth > greatest(x.room, 0) AND i.member_id = x.member_id AND i.identifier_id = x.identifier_id
		RETURNING i.home_member_id, i.identifier_id, i.namespace
	)
	INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, reason, effective_at)
	SELECT g.home_member_id, 'unlinked', g.identifier_id, g.namespace, give_way.channel, 'another was verified', give_way.effective_at
	FROM gone g ORDER BY g.identifier_id;
END
$$;
COMMENT ON FUNCTION give_way(given_identifier[], bigint[], text, timestamptz) IS
'Unlinks identifiers of members that were not verified, where others of their namespace that are would be too many beside. Part of resolve_member().';

CREATE FUNCTION move_contested(evidence weighed_identifier[], member_id bigint, home_member_id bigint, channel text, effective_at timestamptz)
RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	moved jsonb;
BEGIN
	WITH moving AS (
		UPDATE loyalty.identifier i
		SET member_id = move_contested.member_id, home_member_id = move_contested.home_member_id, verified = true, claimed = false,
			last_seen = greatest(i.last_seen, effective_at)
		FROM unnest(evidence) f
		WHERE f.contested AND i.member_id = f.member_id AND i.identifier_id = f.identifier_id
		RETURNING i.identifier_id, i.namespace, f.home_member_id AS former_id
	), noted AS (
		INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, reason, effective_at)
		SELECT a.id, a.act, v.identifier_id, v.namespace, channel, a.reason, effective_at
		FROM moving v, LATERAL (VALUES (v.former_id, 'unlinked', format('verified by member %s', home_member_id)),
			(home_member_id, 'linked', NULL)) a (id, act, reason)
		ORDER BY v.identifier_id, a.act DESC
	)
	SELECT coalesce(jsonb_agg(jsonb_build_object('identifier_id', v.identifier_id, 'namespace', v.namespace, 'from', v.former_id)
		ORDER BY v.identifier_id), '[]') INTO moved FROM moving v;
	RETURN moved;
END
$$;
COMMENT ON FUNCTION move_contested(weighed_identifier[], bigint, bigint, text, timestamptz) IS
'Moves identifiers that were verified now, and are with somebody else who never did that, to a member; returns them. Part of resolve_member().';

CREATE FUNCTION link_new(fresh given_identifier[], member_id bigint, home_member_id bigint, known bigint[], claimed boolean, channel text,
	effective_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	linked jsonb;
BEGIN
	-- in one order for all sessions, so that nobody waits in a circle
	WITH added AS (
		INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, claimed, exclusive, channel, first_seen, last_seen)
		SELECT member_id, g.namespace, g.value, home_member_id, g.verified, claimed, true, channel, effective_at, effective_at
		FROM (SELECT r.*, row_number() OVER (PARTITION BY r.namespace ORDER BY r.verified DESC, r.ordinal) AS nth FROM unnest(fresh) r) g
		WHERE g.max_per_member IS NULL OR g.nth + (SELECT count(*) FROM loyalty.identifier i
			WHERE i.member_id = ANY (coalesce(known, '{}') || member_id) AND i.namespace = g.namespace AND i.exclusive) <= g.max_per_member
		ORDER BY g.namespace COLLATE "C", g.value COLLATE "C"
		RETURNING i.identifier_id, i.namespace
	), noted AS (
		INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, effective_at)
		SELECT home_member_id, 'linked', a.identifier_id, a.namespace, channel, effective_at FROM added a ORDER BY a.identifier_id
	)
	SELECT coalesce(jsonb_agg(to_jsonb(a) ORDER BY a.identifier_id), '[]') INTO linked FROM added a;
	RETURN linked;
END
$$;
COMMENT ON FUNCTION link_new(given_identifier[], bigint, bigint, bigint[], boolean, text, timestamptz) IS
'Links identifiers that nobody has to a member, as many as their namespaces allow; returns them. Part of resolve_member().';

CREATE FUNCTION attach_identifiers(given given_identifier[], evidence weighed_identifier[], member_id bigint, home_member_id bigint, known bigint[],
	channel text, effective_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	claimed CONSTANT boolean := known IS NOT NULL AND NOT EXISTS (SELECT FROM unnest(evidence) f
		WHERE f.proven AND f.member_id = attach_identifiers.member_id);
	fresh loyalty.given_identifier[];
	moved jsonb;
BEGIN
	-- what nobody has, and what was verified now and is with somebody who has not proven it
	fresh := (SELECT array_agg(g) FROM unnest(given) g
		WHERE g.exclusive AND g.ignored IS NULL
			AND NOT EXISTS (SELECT FROM unnest(evidence) f WHERE f.namespace = g.namespace AND f.value = g.value AND NOT f.contested));
	IF fresh IS NULL THEN
		RETURN '{"linked": [], "moved": []}';
	END IF;
	-- whoever has a value is not noted as one who came with it, too
	DELETE FROM loyalty.identifier i USING unnest(fresh) g
	WHERE NOT i.exclusive AND i.namespace = g.namespace AND i.value = g.value AND i.home_member_id = attach_identifiers.home_member_id;
	PERFORM loyalty.give_way(fresh, known, channel, effective_at);
	moved := loyalty.move_contested(evidence, member_id, home_member_id, channel, effective_at);
	fresh := (SELECT array_agg(g) FROM unnest(fresh) g
		WHERE NOT EXISTS (SELECT FROM unnest(evidence) f WHERE f.namespace = g.namespace AND f.value = g.value));
	RETURN jsonb_build_object('moved', moved, 'linked',
		loyalty.link_new(fresh, member_id, home_member_id, known, claimed, channel, effective_at));
END
$$;
COMMENT ON FUNCTION attach_identifiers(given_identifier[], weighed_identifier[], bigint, bigint, bigint[], text, timestamptz) IS
'Links identifiers that nobody has to a member, and those that were verified now and are with somebody else who never did that; by the table of rules in src/member/member.h. Returns what was linked and what was moved. Part of resolve_member().';

CREATE FUNCTION make_member(given given_identifier[], evidence weighed_identifier[], channel text, effective_at timestamptz) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	made loyalty.weighed_identifier;
BEGIN
	INSERT INTO loyalty.member AS m (member_id, joined_at, joined_via) VALUES (loyalty.draw_member_id(), effective_at, channel)
	RETURNING m.member_id, m.member_id, true INTO made.member_id, made.home_member_id, made.proven;
	INSERT INTO loyalty.member_act (member_id, act, channel, effective_at) VALUES (made.member_id, 'created', channel, effective_at);
	IF loyalty.is_heard('member_created') THEN
		PERFORM loyalty.happen('member_created', made.member_id, effective_at, jsonb_build_object('version', 1, 'channel', channel));
	END IF;
	PERFORM loyalty.note_company(given, evidence || made);
	RETURN made.member_id;
END
$$;
COMMENT ON FUNCTION make_member(given_identifier[], weighed_identifier[], text, timestamptz) IS
'Makes a member, and notes that it came with what others have. Part of resolve_member().';

CREATE FUNCTION lock_found(given given_identifier[], evidence weighed_identifier[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.try_to_lock_members((SELECT array_agg(DISTINCT f.member_id) FROM unnest(evidence) f));
	IF evidence IS DISTINCT FROM loyalty.evidence_of(given) THEN
		PERFORM loyalty.restart_call('identifiers changed hands at this moment');
	END IF;
END
$$;
COMMENT ON FUNCTION lock_found(given_identifier[], weighed_identifier[]) IS
'Locks the members that were found; restart_call() when others are found then. Part of resolve_member().';

CREATE FUNCTION find_or_make_member(INOUT given given_identifier[], on_conflict text, channel text, effective_at timestamptz,
	OUT evidence weighed_identifier[], OUT known bigint[], OUT member_id bigint, OUT home_member_id bigint, OUT outcome text,
	OUT attached jsonb, OUT refusal text) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	crowded loyalty.given_identifier[];
	violated_schema text;
	violated text;
	restarts integer := 0;
BEGIN
	LOOP
		known := NULL; member_id := NULL; home_member_id := NULL; attached := '{}'; outcome := 'conflict';
		evidence := loyalty.evidence_of(given);
		IF evidence = '{}' AND NOT EXISTS (SELECT FROM unnest(given) g WHERE g.exclusive AND g.ignored IS NULL) THEN
			refusal := 'no identifier that tells who it is';
			RETURN;
		END IF;
		-- a subtransaction, and none within: whoever begins anew has given back what he locked, and who waits for it is told
		BEGIN
			IF evidence <> '{}' THEN
				PERFORM loyalty.lock_found(given, evidence);
				crowded := loyalty.note_company(given, evidence);
				IF crowded IS NOT NULL THEN
					given := crowded;
					CONTINUE;
				END IF;
			END IF;
			refusal := loyalty.refusal_of(given, evidence, on_conflict);
			IF refusal IS NOT NULL THEN
				RETURN;
			END IF;
			SELECT array_agg(DISTINCT f.member_id), (array_agg(f.member_id ORDER BY f.proven DESC, f.priority, f.member_id, f.identifier_id))[1],
				(array_agg(f.home_member_id ORDER BY f.proven DESC, f.priority, f.member_id, f.identifier_id))[1]
			INTO known, member_id, home_member_id
			FROM unnest(evidence) f WHERE NOT f.contested;
			outcome := 'matched';
			IF known IS NULL OR loyalty.is_somebody_else(given, evidence) THEN
				known := NULL;
				member_id := loyalty.make_member(given, evidence, channel, effective_at);
				home_member_id := member_id;
				outcome := 'created';
			END IF;
			attached := loyalty.attach_identifiers(given, evidence, member_id, home_member_id,
				CASE WHEN on_conflict = 'first' AND cardinality(known) > 1 THEN ARRAY[member_id] ELSE known END, channel, effective_at);
			RETURN;
		EXCEPTION WHEN unique_violation OR SQLSTATE 'LX001' THEN
			-- another session was faster: it knows the person now
			GET STACKED DIAGNOSTICS violated_schema = SCHEMA_NAME, violated = CONSTRAINT_NAME;
			IF NOT loyalty.may_restart(SQLSTATE, violated_schema, violated) THEN
				RAISE;
			END IF;
			restarts := loyalty.count_restart(restarts, SQLERRM);
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION find_or_make_member(given_identifier[], text, text, timestamptz) IS
'Finds whom identifiers are of, or makes somebody, and links what is new to him; all who were found are locked then. given comes back as it counts now; refusal says why there is nobody. Part of resolve_member().';

CREATE FUNCTION note_seen(given given_identifier[], evidence weighed_identifier[], member_id bigint, home_member_id bigint, channel text,
	effective_at timestamptz) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	seen record;
BEGIN
	FOR seen IN
		SELECT f.member_id, f.identifier_id, f.verified
		FROM unnest(evidence) f
		CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.member_id = f.member_id AND x.identifier_id = f.identifier_id) i
		WHERE NOT f.contested AND (i.last_seen < effective_at - interval '1 day' OR f.verified AND NOT i.verified)
	LOOP
		UPDATE loyalty.identifier i
		SET last_seen = greatest(i.last_seen, effective_at), verified = i.verified OR seen.verified, claimed = i.claimed AND NOT seen.verified
		WHERE i.member_id = seen.member_id AND i.identifier_id = seen.identifier_id;
	END LOOP;
	-- values that several members may have
	UPDATE loyalty.identifier i SET verified = true
	FROM unnest(given) g
	WHERE NOT g.exclusive AND g.ignored IS NULL AND g.verified AND NOT i.exclusive AND NOT i.verified
		AND i.namespace = g.namespace AND i.value = g.value AND i.home_member_id = note_seen.home_member_id;
	INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, exclusive, channel, first_seen, last_seen)
	SELECT member_id, g.namespace, g.value, home_member_id, g.verified, false, channel, effective_at, effective_at
	FROM unnest(given) g
	WHERE NOT g.exclusive AND g.ignored IS NULL
		AND 0 = (SELECT count(*) FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value
			AND x.home_member_id = note_seen.home_member_id)
	ORDER BY g.namespace COLLATE "C", g.value COLLATE "C"
	ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION note_seen(given_identifier[], weighed_identifier[], bigint, bigint, text, timestamptz) IS
'Notes of the identifiers that found a member when they were seen, and what was verified; and of shared values who came with them. Part of resolve_member().';

CREATE FUNCTION join_found(evidence weighed_identifier[], known bigint[], member_id bigint) RETURNS bigint[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	merges bigint[] := '{}';
	other record;
BEGIN
	-- all wallets in one order, before the first of several merges
	PERFORM loyalty.lock_wallets(known);
	FOR other IN
		SELECT e.member_id AS id, array_agg(DISTINCT e.identifier_id) || w.ids AS ids,
			array_agg(DISTINCT e.namespace) || w.namespaces AS namespaces,
			bool_or(e.verified) AND w.verified AS verified, greatest(min(e.priority), w.priority) AS priority
		FROM unnest(evidence) e,
			(SELECT array_agg(DISTINCT x.identifier_id) AS ids, array_agg(DISTINCT x.namespace) AS namespaces,
					bool_or(x.verified) AS verified, min(x.priority) AS priority
				FROM unnest(evidence) x WHERE x.member_id = join_found.member_id AND x.proven) w
		WHERE e.member_id <> join_found.member_id AND e.proven
		GROUP BY e.member_id, w.ids, w.namespaces, w.verified, w.priority
		ORDER BY e.member_id
	LOOP
		merges := merges || loyalty.join_members(member_id, other.id, member_id, other.id, 'identifier', NULL,
			other.ids, other.namespaces, other.verified, other.priority);
	END LOOP;
	RETURN merges;
END
$$;
COMMENT ON FUNCTION join_found(weighed_identifier[], bigint[], bigint) IS
'Merges all members that were found into one of them; returns the merges. Part of resolve_member().';

CREATE FUNCTION note_attributes(attributes jsonb, member_id bigint, home_member_id bigint, is_new boolean, channel text, effective_at timestamptz)
RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	-- a channel that repeats its last value has given it once more
	WITH repeated AS (
		UPDATE loyalty.member_fact f
		SET given_at = least(f.given_at, effective_at), last_given_at = greatest(f.last_given_at, effective_at), times = f.times + 1
		FROM jsonb_each(attributes) a
		WHERE f.home_member_id = note_attributes.home_member_id AND f.value = a.value
			AND f.fact_id = (SELECT l.fact_id FROM loyalty.member_fact l
				WHERE l.home_member_id = note_attributes.home_member_id AND l.attribute = a.key
					AND l.channel IS NOT DISTINCT FROM note_attributes.channel
				ORDER BY l.last_given_at DESC, l.fact_id DESC LIMIT 1)
		RETURNING f.attribute
	)
	INSERT INTO loyalty.member_fact (home_member_id, attribute, value, channel, given_at, last_given_at)
	SELECT home_member_id, a.key, a.value, channel, effective_at, effective_at
	FROM jsonb_each(attributes) a
	WHERE 0 = (SELECT count(*) FROM repeated r WHERE r.attribute = a.key)
	ORDER BY a.key;
	IF FOUND AND NOT is_new THEN
		INSERT INTO loyalty.member_act (member_id, act, channel, effective_at)
		VALUES (home_member_id, 'attributes', channel, effective_at);
	END IF;
	PERFORM loyalty.refresh_attributes(member_id);
END
$$;
COMMENT ON FUNCTION note_attributes(jsonb, bigint, bigint, boolean, text, timestamptz) IS
'Keeps attributes that were given for a member, and chooses those that count. Part of resolve_member().';

CREATE FUNCTION why_resolved(given given_identifier[], evidence weighed_identifier[], known bigint[], member_id bigint, attached jsonb, merges bigint[],
	reason text) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN jsonb_strip_nulls(jsonb_build_object(
		'found', (SELECT jsonb_agg(to_jsonb(f) - '{value,home_member_id,owned,contested,ordinality}'::text[] ORDER BY f.ordinality)
			FROM unnest(evidence) WITH ORDINALITY f WHERE NOT f.contested),
		'linked', nullif(attached -> 'linked', '[]'), 'moved', nullif(attached -> 'moved', '[]'),
		'merges', CASE WHEN merges <> '{}' THEN to_jsonb(merges) END,
		'ignored', (SELECT jsonb_agg(jsonb_build_object('namespace', g.namespace, 'reason', x.reason) ORDER BY g.namespace)
			FROM unnest(given) g,
				LATERAL (SELECT coalesce(g.ignored, CASE WHEN NOT g.exclusive THEN 'shared'
					WHEN member_id IS NULL OR 0 < (SELECT count(*) FROM loyalty.identifier i
						WHERE i.exclusive AND i.namespace = g.namespace AND i.value = g.value
							AND (i.member_id = ANY (known) OR i.member_id = why_resolved.member_id)) THEN NULL
					WHEN EXISTS (SELECT FROM unnest(evidence) f WHERE f.namespace = g.namespace AND f.value = g.value) THEN 'of another member'
					ELSE 'too many of this namespace' END) AS reason) x
			WHERE x.reason IS NOT NULL),
		'reason', reason));
END
$$;
COMMENT ON FUNCTION why_resolved(given_identifier[], weighed_identifier[], bigint[], bigint, jsonb, bigint[], text) IS
'What resolve_member() answers as why. Part of resolve_member().';

CREATE FUNCTION require_resolvable(on_conflict text, effective_at timestamptz, attributes jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF on_conflict IS NULL OR on_conflict NOT IN ('merge', 'first', 'refuse') THEN
		RAISE EXCEPTION 'unknown on_conflict "%"', coalesce(on_conflict, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It says what to do where identifiers belong to several members.',
				HINT = 'It is merge, first or refuse.';
	END IF;
	PERFORM loyalty.require_effective_at(effective_at);
	IF attributes IS NOT NULL AND jsonb_typeof(attributes) <> 'object' THEN
		RAISE EXCEPTION 'attributes must be an object'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', jsonb_typeof(attributes)), HINT = 'Pass {"name": "value", ...}.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_resolvable(text, timestamptz, jsonb) IS 'LY003 unless resolve_member() can use these arguments. Part of resolve_member().';

CREATE FUNCTION resolve_member_fully(identifiers jsonb, channel text, attributes jsonb, on_conflict text,
	effective_at timestamptz, idempotency_key text,
	OUT member_id bigint, OUT outcome text, OUT why jsonb, OUT merge_id bigint, OUT home_member_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	given loyalty.given_identifier[];
	found record;
	merges bigint[] := '{}';
	earlier jsonb;
BEGIN
	replayed := false;
	PERFORM loyalty.require_resolvable(on_conflict, effective_at, attributes);
	given := (SELECT coalesce(array_agg(r ORDER BY r.priority, r.namespace COLLATE "C", r.value COLLATE "C"), '{}')
		FROM loyalty.read_identifiers(identifiers) r);
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('resolve_member', '{0}', idempotency_key, jsonb_build_array(identifiers, channel, attributes,
			on_conflict, extract(epoch FROM nullif(effective_at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			member_id := earlier ->> 'member_id'; outcome := earlier ->> 'outcome'; why := earlier -> 'why';
			merge_id := earlier ->> 'merge_id'; home_member_id := earlier ->> 'home_member_id'; replayed := true;
			RETURN;
		END IF;
	END IF;

	SELECT * INTO found FROM loyalty.find_or_make_member(given, on_conflict, channel, effective_at);
	given := found.given; member_id := found.member_id; home_member_id := found.home_member_id; outcome := found.outcome;
	IF member_id IS NOT NULL THEN
		PERFORM loyalty.note_seen(given, found.evidence, member_id, home_member_id, channel, effective_at);
		IF cardinality(found.known) > 1 AND on_conflict = 'merge' THEN
			merges := loyalty.join_found(found.evidence, found.known, member_id);
			merge_id := merges[cardinality(merges)];
			outcome := CASE WHEN merge_id IS NULL THEN outcome ELSE 'merged' END;
		END IF;
		IF attributes <> '{}' THEN
			PERFORM loyalty.note_attributes(attributes, member_id, home_member_id, outcome = 'created', channel, effective_at);
		END IF;
	END IF;
	why := loyalty.why_resolved(given, found.evidence, found.known, member_id, found.attached, merges,
		coalesce(found.refusal, CASE WHEN cardinality(found.known) > 1 AND on_conflict = 'first' THEN 'identifiers of several members; the first counts' END));
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('resolve_member', 0, idempotency_key, jsonb_build_object('member_id', member_id, 'outcome', outcome,
			'why', why, 'merge_id', merge_id, 'home_member_id', home_member_id), member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text) IS
'resolve_member() where there is something to write: somebody new, new identifiers, attributes, members to join. Called by resolve_member().';

CREATE FUNCTION resolve_member(identifiers jsonb, channel text DEFAULT NULL, attributes jsonb DEFAULT NULL,
	on_conflict text DEFAULT 'merge', effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT member_id bigint, OUT outcome text, OUT why jsonb, OUT merge_id bigint, OUT home_member_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_resolve_member';
COMMENT ON FUNCTION resolve_member(jsonb, text, jsonb, text, timestamptz, text) IS
'Who is it? Finds the member by identifiers, or makes one, or joins several, or says why not. identifiers: [{"namespace": "email", "value": "a@b.example", "verified": true, "country": "DE"}, ...] or {"email": "a@b.example"}; verified says that it was proven now (a code was sent and came back); country is that of a national telephone number, instead of the default_country of its namespace. Garbage, blocked and shared values find nobody. A value that was not proven finds its member, and no more: nothing verified is linked to that member then, the answer is a conflict. A value that is proven now and is with a member who never proved it, and has proven others, is moved to whoever proves it. Other new identifiers are linked to the member found; one that was verified and is one too many of its namespace is a conflict. Where identifiers belong to several members, on_conflict merge joins them into the one found by the highest priority (then the oldest), if each is known by a value that proves him and no namespace has too many; first answers who is proven, makes somebody new of what is new and verified where nobody is, joins nothing and leaves out the rest; refuse answers none. A value proves a member when it is verified now or its namespace says merge_unverified, and it was proven before, or nobody has proven anything of that member and it did not come by a mere claim. outcome: matched, created, merged, or conflict (member_id NULL). why: found (identifiers by number, with their members; proven says whether each proves him), linked, moved, merges, ignored with reasons, reason. merge_id: the last merge, for unmerge_members(). home_member_id: the member to whom the identifier belongs that found it: what is posted to it goes to member_id, what is new is linked to it, and both go back with it when a merge is undone. replayed: the first result of a repeated idempotency_key (unique among all resolves). Two sessions that resolve the same new person get one member. Errors: LY003, LY004, LY210 unknown namespace.';

CREATE FUNCTION require_usable_identifier(namespace text, value text, verified boolean) RETURNS given_identifier
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	g loyalty.given_identifier;
BEGIN
	SELECT * INTO g FROM loyalty.read_identifiers(jsonb_build_array(jsonb_build_object('namespace', namespace, 'value', value, 'verified', coalesce(verified, false))));
	IF g.ignored = 'garbage' THEN
		RAISE EXCEPTION '"%" is no valid identifier of namespace "%"', coalesce(value, 'NULL'), namespace
			USING ERRCODE = 'LY201', DETAIL = 'Nothing is left of it that could tell one member from another.',
				HINT = 'loyalty.normalize_identifier() with on_garbage => ''error'' tells what is wrong.';
	ELSIF g.ignored = 'blocked' THEN
		RAISE EXCEPTION '"%" is blocked in namespace "%"', value, namespace
			USING ERRCODE = 'LY205', DETAIL = 'It identifies nobody.', HINT = 'See loyalty.blocked_identifier.';
	END IF;
	RETURN g;
END
$$;
COMMENT ON FUNCTION require_usable_identifier(text, text, boolean) IS
'An identifier, normalized, with the settings of its namespace. Errors: LY201 garbage, LY205 blocked, LY210 unknown namespace. Part of link_identifier().';

CREATE FUNCTION put_identifier(g given_identifier, member_id bigint, move boolean, channel text, effective_at timestamptz,
	OUT identifier_id bigint, OUT linked boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	locked bigint[];
	canonical bigint;
	have record;
BEGIN
	locked := loyalty.try_to_lock_members(ARRAY[member_id] || (SELECT array_agg(w.member_id) FROM loyalty.weigh_identifiers(ARRAY[g]) w));
	canonical := locked[1];
	PERFORM loyalty.require_not_forgotten(ARRAY[member_id, canonical]);
	SELECT w.identifier_id, w.member_id, w.home_member_id, w.contested INTO have FROM loyalty.weigh_identifiers(ARRAY[g]) w;
	IF NOT FOUND AND NOT g.exclusive THEN
		SELECT i.identifier_id, i.member_id, i.home_member_id, false AS contested INTO have FROM loyalty.identifier i
		WHERE i.namespace = g.namespace AND i.value = g.value AND i.member_id = canonical ORDER BY i.exclusive DESC LIMIT 1;
	END IF;
	IF have.member_id <> ALL (locked) THEN
		PERFORM loyalty.restart_call('the identifier changed hands at this moment');
	END IF;
	linked := have.member_id IS DISTINCT FROM canonical;
	IF NOT linked THEN
		identifier_id := have.identifier_id;
		UPDATE loyalty.identifier i SET verified = i.verified OR g.verified, claimed = false, last_seen = greatest(i.last_seen, effective_at)
		WHERE i.member_id = canonical AND i.identifier_id = put_identifier.identifier_id;
		RETURN;
	END IF;
	PERFORM loyalty.require_linkable(g, canonical, have.member_id, have.identifier_id, move OR have.contested);
	IF g.exclusive THEN
		DELETE FROM loyalty.identifier i
		WHERE NOT i.exclusive AND i.namespace = g.namespace AND i.value = g.value AND i.home_member_id = put_identifier.member_id;
	END IF;
	IF have.member_id IS NOT NULL THEN
		UPDATE loyalty.identifier i SET member_id = canonical, home_member_id = put_identifier.member_id, verified = true, claimed = false,
			last_seen = greatest(i.last_seen, effective_at)
		WHERE i.member_id = have.member_id AND i.identifier_id = have.identifier_id;
		INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, reason, effective_at)
		VALUES (have.home_member_id, 'unlinked', have.identifier_id, g.namespace, channel, format('verified by member %s', member_id), effective_at);
		identifier_id := have.identifier_id;
	ELSE
		INSERT INTO loyalty.identifier AS i (member_id, namespace, value, home_member_id, verified, exclusive, channel, first_seen, last_seen)
		VALUES (canonical, g.namespace, g.value, member_id, g.verified, g.exclusive, channel, effective_at, effective_at)
		RETURNING i.identifier_id INTO identifier_id;
	END IF;
	INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, channel, effective_at)
	VALUES (member_id, 'linked', identifier_id, g.namespace, channel, effective_at);
END
$$;
COMMENT ON FUNCTION put_identifier(given_identifier, bigint, boolean, text, timestamptz) IS
'Links an identifier to a member, or notes that it has it; restart_call() when others have it once members are locked. Part of link_identifier().';

CREATE FUNCTION require_linkable(g given_identifier, canonical bigint, owner_id bigint, identifier_id bigint, may_move boolean) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF owner_id IS NOT NULL AND may_move IS NOT TRUE THEN
		RAISE EXCEPTION 'that identifier of namespace "%" belongs to member %', g.namespace, owner_id
			USING ERRCODE = 'LY204',
				DETAIL = format('It was linked there as identifier %s.', identifier_id),
				HINT = 'Merge the members with loyalty.merge_members(), unlink it there first, or move it here if this member proved it (verified => true, move => true).';
	END IF;
	IF g.exclusive AND g.max_per_member <= (SELECT count(*) FROM loyalty.identifier i
			WHERE i.member_id = canonical AND i.namespace = g.namespace AND i.exclusive) THEN
		RAISE EXCEPTION 'member % has % identifiers of namespace "%" already', canonical, g.max_per_member, g.namespace
			USING ERRCODE = 'LY206', DETAIL = 'It is the max_per_member of the namespace.',
				HINT = 'Unlink one, or raise max_per_member with loyalty.configure_namespace().';
	END IF;
END
$$;
COMMENT ON FUNCTION require_linkable(given_identifier, bigint, bigint, bigint, boolean) IS
'LY204 when an identifier is somebody''s from whom it may not be moved, LY206 when the member has as many as it may. Part of link_identifier().';

CREATE FUNCTION link_identifier(member_id bigint, namespace text, value text, verified boolean DEFAULT false, channel text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL, move boolean DEFAULT false,
	OUT identifier_id bigint, OUT linked boolean, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	g loyalty.given_identifier;
	earlier jsonb;
	violated_schema text;
	violated text;
	restarts integer := 0;
BEGIN
	replayed := false;
	PERFORM loyalty.require_effective_at(effective_at);
	IF move AND verified IS NOT TRUE THEN
		RAISE EXCEPTION 'only what was verified can be moved'
			USING ERRCODE = 'LY003', DETAIL = 'move is true, verified is not.', HINT = 'Let the member prove it, and pass verified => true.';
	END IF;
	member_id := (loyalty.require_members(ARRAY[member_id]))[1];
	g := loyalty.require_usable_identifier(namespace, value, verified);
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('link_identifier', loyalty.numbers_of(member_id), idempotency_key, jsonb_build_array(namespace, g.value,
			verified, channel, extract(epoch FROM nullif(effective_at, statement_timestamp())), move));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; linked := earlier ->> 'linked'; replayed := true;
			RETURN;
		END IF;
	END IF;
	LOOP
		-- a subtransaction, as in find_or_make_member(): who has it is known only once both are locked
		BEGIN
			SELECT * INTO identifier_id, linked FROM loyalty.put_identifier(g, member_id, move, channel, effective_at);
			EXIT;
		EXCEPTION WHEN unique_violation OR SQLSTATE 'LX001' THEN
			GET STACKED DIAGNOSTICS violated_schema = SCHEMA_NAME, violated = CONSTRAINT_NAME;
			IF NOT loyalty.may_restart(SQLSTATE, violated_schema, violated) THEN
				RAISE;
			END IF;
			restarts := loyalty.count_restart(restarts, SQLERRM);
		END;
	END LOOP;
	IF linked OR verified THEN
		PERFORM loyalty.keep_act('link_identifier', member_id, identifier_id);
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('link_identifier', member_id, idempotency_key, jsonb_build_object('identifier_id', identifier_id, 'linked', linked));
	END IF;
END
$$;
COMMENT ON FUNCTION link_identifier(bigint, text, text, boolean, text, timestamptz, text, boolean) IS
'Links an identifier to a member; its home is the member named, even an absorbed one. linked is false when the member had it; then it may become verified. One that this member verified and another member has, whom nothing shows to be its owner, is moved here; one that was verified there, too, such as the telephone number of a former subscriber, only with move => true. Errors: LY201 garbage, LY202 no such member, LY203 forgotten, LY204 it belongs to another member, LY205 blocked, LY206 too many of this namespace, LY210 unknown namespace, LY003, LY004.';

CREATE FUNCTION unlink_identifier(member_id bigint, namespace text, value text, reason text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT identifier_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	canonical bigint;
	g record;
	earlier jsonb;
BEGIN
	replayed := false;
	PERFORM loyalty.require_effective_at(effective_at);
	member_id := (loyalty.require_members(ARRAY[member_id]))[1];
	SELECT * INTO g FROM loyalty.read_identifiers(jsonb_build_array(jsonb_build_object('namespace', namespace, 'value', value)));
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('unlink_identifier', loyalty.numbers_of(member_id), idempotency_key, jsonb_build_array(namespace, g.value,
			reason, extract(epoch FROM nullif(effective_at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	canonical := (loyalty.lock_members(ARRAY[member_id]))[1];
	-- members who were merged may each have had a value that several share
	WITH gone AS (
		DELETE FROM loyalty.identifier i
		WHERE i.member_id = canonical AND i.namespace = g.namespace AND i.value = g.value
		RETURNING i.identifier_id, i.home_member_id, i.exclusive
	), noted AS (
		INSERT INTO loyalty.member_act (member_id, act, identifier_id, namespace, reason, effective_at)
		SELECT x.home_member_id, 'unlinked', x.identifier_id, g.namespace, reason, effective_at FROM gone x ORDER BY x.identifier_id
	)
	SELECT x.identifier_id INTO identifier_id FROM gone x
	ORDER BY x.exclusive DESC, x.home_member_id = unlink_identifier.member_id DESC, x.identifier_id LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % has no such identifier of namespace "%"', member_id, namespace
			USING ERRCODE = 'LY212', DETAIL = 'It is with somebody else, with nobody, or was unlinked before.',
				HINT = 'loyalty.identifier lists what the member has.';
	END IF;
	PERFORM loyalty.keep_act('unlink_identifier', member_id, identifier_id);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('unlink_identifier', member_id, idempotency_key, jsonb_build_object('identifier_id', identifier_id));
	END IF;
END
$$;
COMMENT ON FUNCTION unlink_identifier(bigint, text, text, text, timestamptz, text) IS
'Takes an identifier away from a member, and from anybody for whom it stands; returns its number (of several the one that finds the member, then the one of that member). Merges that it caused stay: undo them with unmerge_members(). Errors: LY202 no such member, LY212 the member has no such identifier, LY210 unknown namespace, LY003, LY004.';
