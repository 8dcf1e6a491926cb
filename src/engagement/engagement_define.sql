/*
 * engagement: definitions, and what counts for them.
 */

CREATE FUNCTION engagement_in_force(what text, name text, at timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found jsonb;
BEGIN
	SELECT v.definition INTO found FROM loyalty.engagement_version v
	WHERE v.what = $1 AND v.name = $2 AND (v.effective_from IS NULL OR v.effective_from <= coalesce($3, statement_timestamp()))
	ORDER BY v.version DESC LIMIT 1;
	IF found IS NULL THEN
		RAISE EXCEPTION 'there is no % "%"', what, name
			USING ERRCODE = 'LY751', DETAIL = 'The table loyalty.engagement_version has no row of it that is in force then.',
				HINT = format('Define it with loyalty.define_%s().', what);
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION engagement_in_force(text, text, timestamptz) IS
'The definition of a streak, badge or the like that is in force at an instant (NULL: now), the latest that has begun. Error: LY751.';

CREATE FUNCTION require_named(what text, definition jsonb) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	effects CONSTANT jsonb := coalesce(CASE what WHEN 'draw' THEN definition -> 'prizes' WHEN 'journey' THEN jsonb_path_query_array(definition, '$.steps[*].do[*]') END, '[]');
	n record;
BEGIN
	-- what is not there would stop whatever is recorded later, or count nothing for ever
	FOR n IN
		SELECT DISTINCT k #>> '{}' AS kind
		FROM jsonb_path_query(definition, '$.kind[*]') k(k) WHERE what <> 'draw'
		UNION SELECT k #>> '{}' FROM jsonb_path_query(definition, '$.*.kind[*]') k(k) WHERE what = 'journey'
		UNION SELECT k #>> '{}' FROM jsonb_path_query(definition, '$.steps[*].if.kind[*]') k(k) WHERE what = 'journey'
	LOOP
		IF NOT EXISTS (SELECT FROM loyalty.activity_kind a WHERE a.kind = n.kind) THEN
			RAISE EXCEPTION 'kind "%" of activities does not exist', n.kind
				USING ERRCODE = 'LY501', DETAIL = 'The table loyalty.activity_kind has no row of it.', HINT = 'Define it with loyalty.define_activity_kind().';
		END IF;
	END LOOP;
	FOR n IN
		SELECT 'streak' AS what, definition ->> 'streak' AS name WHERE what = 'badge'
		UNION ALL SELECT 'club', definition ->> 'club' WHERE what = 'board'
		UNION ALL SELECT e.key, e.value FROM jsonb_array_elements(effects) x, LATERAL (VALUES ('badge', x ->> 'badge'), ('streak', x ->> 'freeze'), ('draw', x ->> 'spin')) e (key, value)
	LOOP
		PERFORM loyalty.engagement_in_force(n.what, n.name, 'infinity') WHERE n.name IS NOT NULL;
	END LOOP;
	FOR n IN SELECT x ->> 'coupon' AS coupon, x ->> 'benefit' AS benefit, coalesce(x ->> 'currency', 'points') AS currency, x ->> 'points' IS NOT NULL AS pays FROM jsonb_array_elements(effects) x LOOP
		PERFORM loyalty.engagement_benefit(b) FROM unnest(ARRAY[n.coupon, n.benefit]) b WHERE b IS NOT NULL;
		IF n.pays AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = n.currency) THEN
			RAISE EXCEPTION 'currency "%" does not exist', n.currency
				USING ERRCODE = 'LY102', DETAIL = 'The table loyalty.currency has no row with this code.', HINT = 'Create it with loyalty.create_currency().';
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION require_named(text, jsonb) IS
'Refuses a definition that names a kind of activities, streak, club, badge, draw, benefit or currency that there is not. Errors: LY501, LY751, LY601, LY102. Part of define_badge() and the like.';

CREATE FUNCTION put_engagement(what text, name text, definition jsonb, effective_from timestamptz) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.engagement_version;
BEGIN
	IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a %: "%"', what, name
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	ELSIF NOT isfinite(effective_from) THEN
		RAISE EXCEPTION 'effective_from must be a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', effective_from), HINT = 'Leave it out for always, or now.';
	END IF;
	definition := CASE what WHEN 'draw' THEN loyalty.check_draw_definition(definition)
		ELSE loyalty.check_engagement_definition(what, definition) END;
	PERFORM loyalty.require_named(what, definition);
	PERFORM loyalty.lock_key(format('%s %s', what, name));
	SELECT * INTO last FROM loyalty.engagement_version v WHERE v.what = put_engagement.what AND v.name = put_engagement.name
	ORDER BY v.version DESC LIMIT 1;
	-- asked for again: the version that there is
	IF last.definition = definition AND (last.effective_from < effective_from) IS NOT TRUE THEN
		RETURN last.version;
	END IF;
	effective_from := coalesce(effective_from, CASE WHEN last.version IS NOT NULL THEN statement_timestamp() END);
	IF effective_from < last.effective_from THEN
		RAISE EXCEPTION '% "%" cannot have this version', what, name
			USING ERRCODE = 'LY752', DETAIL = format('It would begin at %s, before version %s at %s.', effective_from, last.version, last.effective_from),
				HINT = 'A version begins no earlier than the one before.';
	END IF;
	IF what = 'board' AND definition ->> 'period' = 'lifetime' AND effective_from IS NOT NULL THEN
		RAISE EXCEPTION 'board "%" cannot have this version', name
			USING ERRCODE = 'LY752', DETAIL = 'A version scores the periods that begin after it, and a lifetime has begun.', HINT = 'Define another board.';
	END IF;
	INSERT INTO loyalty.engagement_version AS v (what, name, version, effective_from, definition)
	VALUES (what, name, coalesce(last.version, 0) + 1, effective_from, definition);
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION put_engagement(text, text, jsonb, timestamptz) IS
'What define_streak() and the like do: a new version from effective_from on (NULL: always, of the first; now, of a later one); the same again makes none. Returns its number. Errors: LY003, LY752, and those of require_named(). Part of define_streak(), define_badge() and the like.';

CREATE FUNCTION engagement_facts(member_id bigint, definition jsonb, as_of timestamptz, known_at timestamptz,
	OUT activity_id bigint, OUT at timestamptz, OUT local_day date, OUT time_zone text, OUT value numeric, OUT amount numeric, OUT recorded_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	RETURN QUERY
	SELECT f.activity_id, f.at, f.local_day, f.time_zone,
		CASE coalesce($2 ->> 'measure', 'count') WHEN 'amount' THEN f.amount
			WHEN 'days' THEN (row_number() OVER (PARTITION BY f.local_day ORDER BY f.at, f.recorded_at, f.activity_id) = 1)::integer
			ELSE 1 END::numeric, f.amount, f.recorded_at
	FROM (SELECT a.activity_id, a.at, a.local_day, r.time_zone, a.recorded_at,
			CASE WHEN ($2 ->> 'whole')::boolean THEN floor(coalesce(a.amount, 0)) ELSE coalesce(a.amount, 0) END AS amount
		FROM jsonb_array_elements_text(CASE jsonb_typeof($2 -> 'kind') WHEN 'array' THEN $2 -> 'kind' ELSE jsonb_build_array($2 -> 'kind') END) k (kind),
			LATERAL loyalty.activities($1, k.kind, $3, $4) a,
			-- of each its own row, by the key
			LATERAL (SELECT x.time_zone FROM loyalty.activity x WHERE x.member_id = a.recorded_for AND x.activity_id = a.activity_id OFFSET 0) r
		WHERE NOT a.cancelled AND NOT a.returned
			AND ($2 ->> 'money' IS NULL OR a.money = $2 ->> 'money')
			AND ($2 -> 'when' IS NULL OR loyalty.fact_holds($2 -> 'when', a.activity_kind, a.at, r.time_zone, a.channel, a.amount, a.money, a.lines, a.document))) f;
END
$$;
COMMENT ON FUNCTION engagement_facts(bigint, jsonb, timestamptz, timestamptz) IS
'The activities of a member, under whichever number, that count for a definition, as of an instant and as known at another (NULL: all): with the value that the measure gives each, and the amount. Part of what reads streaks, badges and the like.';

CREATE FUNCTION forget_engagement(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.streak_freeze f SET reference = NULL WHERE f.member_id = ANY ($1) AND f.reference IS NOT NULL$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.member_badge b SET reason = NULL WHERE b.member_id = ANY ($1) AND b.reason IS NOT NULL$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.referral r SET evidence = NULL, decision_reason = NULL
		WHERE r.member_id = ANY ($1) AND (r.evidence IS NOT NULL OR r.decision_reason IS NOT NULL)$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.draw_grant g SET reference = NULL WHERE g.member_id = ANY ($1) AND g.reference IS NOT NULL$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.club_membership a SET reason = NULL WHERE a.member_id = ANY ($1) AND a.reason IS NOT NULL$q$, $1)
$$;
COMMENT ON FUNCTION forget_engagement(bigint[]) IS
'What forget_member() means here: references, reasons and evidence are deleted. Numbers, days and places stay with the number of the member, as the ledger does. Part of forget_member().';
