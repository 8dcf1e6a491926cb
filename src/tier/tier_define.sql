/*
 * tier: what members qualify by, ladders, and what a changed ladder would do.
 */

CREATE FUNCTION measure_function(name text) RETURNS regproc
LANGUAGE plpgsql STABLE STRICT SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found regproc;
BEGIN
	found := loyalty.stored_function(name, 'bigint,timestamptz');
	IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = found AND NOT p.proretset
			AND p.prorettype IN ('numeric'::regtype, 'bigint'::regtype, 'integer'::regtype, 'smallint'::regtype, 'real'::regtype, 'double precision'::regtype)) THEN
		RAISE EXCEPTION 'function % does not return a number', found
			USING ERRCODE = 'LY003', DETAIL = 'What it returns is compared with the thresholds of levels.',
				HINT = 'A measure''s function takes (member_id bigint, as_of timestamptz) and returns one number.';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION measure_function(text) IS
'The function of a name with the arguments (bigint, timestamptz) that returns a number, as stored_function() finds it. Part of define_measure() and evaluate_tiers(). Errors: LY003, 42501.';

CREATE FUNCTION define_measure(measure text, source text DEFAULT 'event', currency text DEFAULT NULL,
	function_name text DEFAULT NULL, pending boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier loyalty.tier_measure;
	differences text;
	fn regproc;
BEGIN
	IF source = 'points' AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = define_measure.currency) THEN
		RAISE EXCEPTION 'currency "%" does not exist', currency
			USING ERRCODE = 'LY102', DETAIL = 'The table loyalty.currency has no row with this code.',
				HINT = 'Create it with loyalty.create_currency().';
	END IF;
	IF source = 'function' THEN
		fn := loyalty.measure_function(function_name);
	END IF;
	INSERT INTO loyalty.tier_measure AS m (measure, source, currency, function_name, pending)
	VALUES (measure, source, currency, function_name, pending)
	ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		SELECT * INTO earlier FROM loyalty.tier_measure m WHERE m.measure = define_measure.measure;
		differences := loyalty.list_differences(to_jsonb(earlier), jsonb_build_object('source', source, 'currency', currency,
			'function_name', function_name, 'pending', pending));
		IF differences IS NOT NULL THEN
			RAISE EXCEPTION 'measure "%" exists already, with other arguments', measure
				USING ERRCODE = 'LY003', DETAIL = format('Its %s.', differences), HINT = 'Define another measure: facts of this one are counted.';
		END IF;
	END IF;
	RETURN measure;
EXCEPTION
	WHEN check_violation OR not_null_violation THEN
		RAISE EXCEPTION 'invalid measure "%"', measure
			USING ERRCODE = 'LY003', DETAIL = SQLERRM,
				HINT = 'source points needs currency, function needs function_name; see the comments of loyalty.tier_measure.';
END
$$;
COMMENT ON FUNCTION define_measure(text, text, text, text, boolean) IS
'Defines what members can qualify by. source: points (earned or adjusted in a currency, less what is reversed), event (facts recorded by record_qualification() or by evaluate_tier() on a table), function (function_name(member_id, as_of) returning a number, sampled by evaluate_tiers(), with the rights of whoever calls it: so it must belong to the owner of our tables or to a superuser; use window latest). Points count from when they become available on; with pending, from when they are earned on. Returns the measure; with the same arguments it may be repeated. Errors: LY003 invalid, or exists with others, LY102, 42501.';

CREATE FUNCTION check_definition(definition jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	unknown text;
BEGIN
	IF definition IS NULL THEN
		RAISE EXCEPTION 'definition must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'A ladder is made of its definition.',
				HINT = 'See the comment of loyalty.define_ladder().';
	END IF;
	definition := loyalty.read_ladder(definition);
	SELECT m->>'measure' INTO unknown FROM jsonb_array_elements(definition->'measures') m
	WHERE NOT EXISTS (SELECT FROM loyalty.tier_measure t WHERE t.measure = m->>'measure') LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'measure "%" does not exist', unknown
			USING ERRCODE = 'LY404', DETAIL = 'The definition counts it.',
				HINT = 'Define it with loyalty.define_measure().';
	END IF;
	RETURN definition;
END
$$;
COMMENT ON FUNCTION check_definition(jsonb) IS
'Answers with the definition. Raises LY401 when it is no definition of a ladder, LY404 when one of its measures does not exist, LY003 when it is NULL.';

CREATE FUNCTION define_ladder(ladder text, definition jsonb, effective_from timestamptz DEFAULT NULL,
	name text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.ladder_version;
	same loyalty.ladder_version;
BEGIN
	definition := loyalty.check_definition(definition);
	IF ladder IS NULL OR ladder !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a ladder: "%"', ladder
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	INSERT INTO loyalty.ladder AS l (ladder, name)
	VALUES (ladder, coalesce(name, initcap(replace(ladder, '_', ' '))))
	ON CONFLICT DO NOTHING;
	PERFORM FROM loyalty.ladder l WHERE l.ladder = define_ladder.ladder FOR UPDATE;
	SELECT * INTO last FROM loyalty.ladder_version v WHERE v.ladder = define_ladder.ladder ORDER BY v.version DESC LIMIT 1;
	-- asked for again: the version that there is
	SELECT * INTO same FROM loyalty.ladder_version v
	WHERE v.ladder = define_ladder.ladder AND v.definition = jsonb_build_object('time_zone', v.definition->'time_zone') || define_ladder.definition
		AND (effective_from IS NULL OR v.effective_from = effective_from
			OR (v.version = last.version AND (v.effective_from < effective_from) IS NOT FALSE))
	ORDER BY v.version DESC LIMIT 1;
	IF FOUND THEN
		IF same.version < last.version AND effective_from IS NULL THEN
			RAISE NOTICE 'ladder "%" stays as it is: this is its version %, and version % came after it', ladder, same.version, last.version
				USING HINT = 'To go back to it, give effective_from.';
		END IF;
		UPDATE loyalty.ladder l SET name = define_ladder.name
		WHERE l.ladder = define_ladder.ladder AND l.name <> define_ladder.name;
		RETURN same.version;
	END IF;
	-- a lock alone leaves no trace for whoever has an older snapshot
	UPDATE loyalty.ladder l SET name = coalesce(define_ladder.name, l.name) WHERE l.ladder = define_ladder.ladder;
	-- it keeps the program's time zone of now
	definition := jsonb_build_object('time_zone', loyalty.program_time_zone()) || definition;
	IF last.version IS NOT NULL THEN
		effective_from := coalesce(effective_from, clock_timestamp());
	END IF;
	IF NOT isfinite(effective_from) OR effective_from <= last.effective_from THEN
		RAISE EXCEPTION 'effective_from must be a finite instant after the last version''s'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s%s.', effective_from,
					'; version ' || last.version || ' is in force from ' || last.effective_from),
				HINT = 'Give a later instant, or leave it out: then a first version holds always, a later one from now on.';
	END IF;
	INSERT INTO loyalty.ladder_version AS v (ladder, version, effective_from, definition)
	VALUES (ladder, coalesce(last.version, 0) + 1, effective_from, definition);
	INSERT INTO loyalty.tier_level AS t (ladder, version, rank, level, name)
	SELECT define_ladder.ladder, coalesce(last.version, 0) + 1, x.rank, x.level, x.name FROM loyalty.ladder_levels(definition) x;
	PERFORM loyalty.watch_facts(x.source) FROM (SELECT DISTINCT CASE WHEN m.source = 'points' THEN 'points' ELSE 'event' END AS source
		FROM jsonb_array_elements(definition->'measures') d JOIN loyalty.tier_measure m ON m.measure = d->>'measure' ORDER BY 1 DESC) x;
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_ladder(text, jsonb, timestamptz, text) IS
'Defines a ladder, or a new version of it from effective_from on (default: always, of the first; now, of a later one), under the name given (NULL: as before, or made of the code). Returns the version. The same again makes no new one: that of before is returned; to go back to an earlier definition, give effective_from. The definition: {"time_zone" (none: the program''s of now), "measures": [{"measure", "window": rolling (with "interval"), month, quarter, year, anniversary, term, lifetime or latest}], "levels" (the lowest first): [{"level", "name", "any" | "all": {measure: threshold} | "need": n, "of": {...} (none: whoever has a fact), "renew": {the same; default: as to reach it}, and of the following what differs}], "validity": forever, interval (with "validity_interval") or period (to the end of the following "period": month, quarter, year or anniversary), "at_end": reassess, soft_landing or never_down, "grace": interval, "minimum": level, "carry_over": boolean, "upgrade": at_once or next_period, "returns": take_back or keep, "household": own or best (the level of a person is the better of its own and that of the household in which it is)}. Whoever qualifies for more under a new version rises at once; nobody falls before the term ends. All facts recorded before count too: tier_of() knows of them at once, evaluate_tiers() stores what they give. Waits for transactions that are posting, by turns, so that others post meanwhile (55P03 after lock_timeout, where it is set), and others wait for its commit. Errors: LY401 definition, LY404 measure, LY003.';

CREATE FUNCTION preview_tier(member_id bigint, ladder text, definition jsonb, as_of timestamptz DEFAULT NULL, whole_history boolean DEFAULT false,
	OUT level_now text, OUT rank_now integer, OUT valid_until_now timestamptz,
	OUT level_then text, OUT rank_then integer, OUT valid_until_then timestamptz) RETURNS record
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_preview_tier';
COMMENT ON FUNCTION preview_tier(bigint, text, jsonb, timestamptz, boolean) IS
'The tier of a member on a ladder, and under a new definition of it: in force from as_of on, or (whole_history) as if it had been so always. Nothing is written. Errors: LY401 definition, LY402 ladder.';

CREATE FUNCTION ladder_moves(definition_now jsonb, definition_then jsonb,
	OUT level_now text, OUT level_then text, OUT move text) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	WITH old AS (
		SELECT o.rank, o.level, s.rank AS rank_then FROM loyalty.ladder_levels($1) o
		LEFT JOIN LATERAL (SELECT n.rank FROM loyalty.ladder_levels($2) n
			WHERE n.level = o.level OR n.name = o.name ORDER BY n.level = o.level DESC, n.rank LIMIT 1) s ON true
	), new AS (
		SELECT n.rank, n.level, (SELECT min(o.rank) FROM old o WHERE o.rank_then = n.rank) AS rank_now FROM loyalty.ladder_levels($2) n
	), pair AS (
		-- how far up it is: in the ladder of now, in that of then, or, where each
		-- level is in one of them only, past a level that is in both
		SELECT o.level AS level_now, n.level AS level_then, CASE WHEN o.rank_then = n.rank THEN 0
			ELSE coalesce(n.rank_now - o.rank, n.rank - o.rank_then,
				(SELECT 1 FROM old s WHERE s.rank > o.rank AND s.rank_then < n.rank LIMIT 1),
				(SELECT -1 FROM old s WHERE s.rank < o.rank AND s.rank_then > n.rank LIMIT 1),
				n.rank - o.rank) END AS up
		FROM old o CROSS JOIN new n
	)
	SELECT p.level_now, p.level_then, CASE WHEN p.up > 0 THEN 'up' WHEN p.up < 0 THEN 'down' ELSE 'stays' END FROM pair p
$$;
COMMENT ON FUNCTION ladder_moves(jsonb, jsonb) IS
'What it is to members to come from each level of a ladder to each level of another definition of it: up, down or stays. Levels are the same by code or by name; the ladder that members know tells which is higher, or else the other. Part of preview_ladder().';

CREATE FUNCTION preview_ladder(ladder text, definition jsonb, as_of timestamptz DEFAULT NULL, whole_history boolean DEFAULT false,
	OUT member_id bigint, OUT level_now text, OUT level_then text, OUT move text, OUT valid_until_then timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	ladder := loyalty.existing_ladder($1);
	definition := loyalty.check_definition($2);
	RETURN QUERY
	WITH counted AS (
		SELECT t.measure, t.source, t.currency FROM loyalty.tier_measure t
		WHERE t.measure IN (SELECT d->>'measure' FROM jsonb_array_elements($2->'measures') d
			UNION SELECT d->>'measure' FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d WHERE v.ladder = $1)
	), concerned AS (
		SELECT s.member_id FROM loyalty.tier_state s WHERE s.ladder = $1
		-- of whom nothing is stored: with facts that only the new one counts, or not evaluated yet
		UNION SELECT w.member_id FROM loyalty.wallet w WHERE w.currency IN (SELECT c.currency FROM counted c)
		UNION SELECT e.member_id FROM loyalty.tier_event e WHERE e.measure IN (SELECT c.measure FROM counted c WHERE c.source <> 'points')
		UNION SELECT g.member_id FROM loyalty.tier_grant g WHERE g.ladder = $1
		UNION SELECT t.survivor_id FROM loyalty.tier_merge t WHERE t.unmerged_at IS NULL
		EXCEPT SELECT t.absorbed_id FROM loyalty.tier_merge t WHERE t.unmerged_at IS NULL
	)
	SELECT c.member_id, p.level_now, p.level_then,
		CASE WHEN p.level_now IS NOT NULL AND p.level_then IS NOT NULL THEN m.move
			WHEN p.level_then IS NOT NULL THEN 'enters' WHEN p.level_now IS NOT NULL THEN 'leaves' ELSE 'none' END,
		p.valid_until_then
	FROM concerned c
	CROSS JOIN LATERAL loyalty.preview_tier(c.member_id, $1, $2, $3, $4) p
	LEFT JOIN (SELECT v.definition FROM loyalty.ladder_version v
		WHERE v.ladder = $1 AND (v.effective_from <= coalesce($3, statement_timestamp())) IS NOT FALSE ORDER BY v.version DESC LIMIT 1) now ON true
	LEFT JOIN LATERAL loyalty.ladder_moves(now.definition, $2) m ON m.level_now = p.level_now AND m.level_then = p.level_then
	WHERE p.rank_now > 0 OR p.rank_then > 0 OR EXISTS (SELECT FROM loyalty.tier_state s WHERE s.member_id = c.member_id AND s.ladder = $1)
	ORDER BY c.member_id;
END
$$;
COMMENT ON FUNCTION preview_ladder(text, jsonb, timestamptz, boolean) IS
'Who would move where under a new definition of a ladder: move is enters, up, stays, down, leaves or none, as members see it: by the levels'' codes and names, and by their order in the ladder that they know. From as_of (NULL: now) on as define_ladder() would do it, where nobody falls before the term ends; or, with whole_history, as if it had been so always, which also shows who would not have climbed. Merged members are listed as the one that stands for them. Nothing is written. Errors: LY401 definition, LY402 ladder, LY404 measure, LY003.';
