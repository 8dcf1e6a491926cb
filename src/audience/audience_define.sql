/*
 * audience: definitions.
 *
 * An expression becomes a tree:
 *
 *	{"op": "&" | "-" | "|", "left": tree, "right": tree}
 *	{"audience": name}						another one, by its version at the instant
 *	{"term": kind, "argument": ..., "text": as it was written}
 */

CREATE FUNCTION expression_tokens(expression text, OUT kind text, OUT token text, OUT place integer) RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	-- a letter of another script is whatever is no ASCII, whether the database's locale knows it or not, but spaces and punctuation
	other CONSTANT text := '(?![[:space:][:punct:]\u00A0\u2000-\u206F\u3000-\u3003\u3008-\u3020\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65])[^\u0001-\u007F]';
	word CONSTANT text := format('^(?:[A-Za-z]|%1$s)(?:[A-Za-z0-9_]|%1$s)*', other);
	rest text;
	depth integer;
	quoted boolean;
	c text;
BEGIN
	place := 1;
	WHILE place <= length(expression) LOOP
		rest := substr(expression, place);
		IF rest ~ '^\s' THEN
			place := place + 1;
			CONTINUE;
		END IF;
		token := NULL;
		token := substring(rest FROM word);
		IF token IS NOT NULL THEN
			kind := CASE WHEN token ~ '^[a-z][a-z0-9_]*$' THEN 'name' ELSE 'value' END;
		ELSIF rest ~ '^(>=|<=|[=<>])' THEN
			kind := 'comparison';
			token := substring(rest FROM '^(?:>=|<=|[=<>])');
		ELSIF rest ~ '^[-&|()]' THEN
			kind := 'operator';
			token := left(rest, 1);
		ELSIF rest ~ '^[0-9.]' THEN
			kind := 'value';
			token := substring(rest FROM '^[0-9.]+');
		ELSIF rest ~ '^"' THEN
			kind := 'value';
			token := substring(rest FROM '^"(?:[^"\\]|\\.)*"');
		ELSIF rest ~ '^\{' THEN
			kind := 'json';
			depth := 0;
			quoted := false;
			FOR i IN 1 .. length(rest) LOOP
				c := substr(rest, i, 1);
				IF c = '"' AND (i = 1 OR length(substring(left(rest, i - 1) FROM '\\*$')) % 2 = 0) THEN
					quoted := NOT quoted;
				ELSIF NOT quoted THEN
					depth := depth + CASE c WHEN '{' THEN 1 WHEN '}' THEN -1 ELSE 0 END;
				END IF;
				IF depth = 0 THEN
					token := left(rest, i);
					EXIT;
				END IF;
			END LOOP;
		END IF;
		IF token IS NULL THEN
			PERFORM loyalty.refuse_expression(expression, place, format('Nothing can begin with "%s", or it has no end.', left(rest, 10)));
		END IF;
		RETURN NEXT;
		place := place + length(token);
	END LOOP;
	kind := 'end';
	token := '';
	RETURN NEXT;
END
$$;
COMMENT ON FUNCTION expression_tokens(text) IS 'The words of an audience''s expression, each with its kind and place. Error: LY705. Part of define_audience().';

CREATE FUNCTION refuse_expression(expression text, place integer, why text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	RAISE EXCEPTION 'invalid expression of an audience, at character %', place
		USING ERRCODE = 'LY705', DETAIL = why, HINT = 'Names and terms are joined by &, - and |, with parentheses; & and - bind closer than |.';
END
$$;
COMMENT ON FUNCTION refuse_expression(text, integer, text) IS 'Raises LY705 for an expression, with the place. Part of define_audience().';

CREATE FUNCTION read_name(expression text, name text, place integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	kind CONSTANT text := (SELECT a.kind FROM loyalty.audience a WHERE a.audience = read_name.name);
	label CONSTANT text := (SELECT l.kind FROM loyalty.label l WHERE l.label = read_name.name);
BEGIN
	IF name = 'members' THEN
		RETURN jsonb_build_object('term', 'members', 'text', name);
	ELSIF kind = 'list' THEN
		RETURN jsonb_build_object('term', 'list', 'argument', name, 'text', name);
	ELSIF kind IS NOT NULL THEN
		RETURN jsonb_build_object('audience', name);
	ELSIF label IS NOT NULL AND label <> 'consent' THEN
		RETURN jsonb_build_object('term', 'label', 'argument', name, 'text', name);
	END IF;
	PERFORM loyalty.refuse_expression(expression, place, format('"%s" is neither an audience nor a label.', name));
END
$$;
COMMENT ON FUNCTION read_name(text, text, integer) IS 'What a name in an expression means: an audience or list, otherwise a label. Error: LY705. Part of define_audience().';

CREATE FUNCTION read_json_term(expression text, token text, place integer) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	given jsonb;
	kind text;
BEGIN
	BEGIN
		given := token::jsonb;
	EXCEPTION WHEN data_exception THEN
		PERFORM loyalty.refuse_expression(expression, place, 'A term in braces is a JSON object.');
	END;
	IF (SELECT count(*) FROM jsonb_object_keys(given)) <> 1 THEN
		PERFORM loyalty.refuse_expression(expression, place, 'A term is an object with one key, such as {"tier": {"club": ["gold"]}}.');
	END IF;
	kind := (SELECT k FROM jsonb_object_keys(given) k);
	IF loyalty.room_function('audience_term_' || kind, 'jsonb') IS NULL OR kind IN ('list', 'members') THEN
		PERFORM loyalty.refuse_expression(expression, place, format('There is no term "%s".', kind));
	END IF;
	RETURN jsonb_build_object('term', kind, 'argument', given -> kind, 'text', given::text);
END
$$;
COMMENT ON FUNCTION read_json_term(text, text, integer) IS 'A term in braces. Error: LY705. Part of define_audience().';

CREATE FUNCTION parse_expression(expression text) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	t record;
	name text;
	name_place integer;
	comparison text;
	wants_term boolean := true;
	operands jsonb[] := '{}';
	operators text[] := '{}';
	places integer[] := '{}';
	n integer;
BEGIN
	IF expression IS NULL THEN
		PERFORM loyalty.refuse_expression(expression, 0, 'It is NULL.');
	END IF;
	FOR t IN SELECT x.* FROM loyalty.expression_tokens(expression) x LOOP
		-- a name, which may be compared with a value
		IF name IS NOT NULL AND comparison IS NULL AND t.kind = 'comparison' THEN
			comparison := t.token;
			CONTINUE;
		ELSIF comparison IS NOT NULL THEN
			IF t.kind NOT IN ('name', 'value') OR comparison <> '=' AND t.token !~ '^[0-9.]+$' THEN
				PERFORM loyalty.refuse_expression(expression, t.place, 'Here should be a value: a word, a number, or a text in double quotes.');
			END IF;
			t.token := CASE WHEN t.token ~ '^"' THEN t.token::jsonb #>> '{}' ELSE t.token END;
			operands := operands || jsonb_build_object('term', 'label', 'argument', jsonb_build_object(name,
				CASE comparison WHEN '=' THEN to_jsonb(ARRAY[t.token]) ELSE jsonb_build_object(comparison, t.token::numeric) END),
				'text', concat(name, ' ', comparison, ' ', t.token));
			name := NULL;
			comparison := NULL;
			CONTINUE;
		ELSIF name IS NOT NULL THEN
			operands := operands || loyalty.read_name(expression, name, name_place);
			name := NULL;
		END IF;
		IF t.kind = 'name' OR t.kind = 'json' OR t.token = '(' THEN
			IF NOT wants_term THEN
				PERFORM loyalty.refuse_expression(expression, t.place, 'Here should be &, - or |.');
			END IF;
			IF t.token = '(' THEN
				operators := operators || t.token;
				places := places || t.place;
				CONTINUE;
			END IF;
			wants_term := false;
			IF t.kind = 'name' THEN
				name := t.token;
				name_place := t.place;
			ELSE
				operands := operands || loyalty.read_json_term(expression, t.token, t.place);
			END IF;
		ELSIF wants_term OR t.kind NOT IN ('operator', 'end') THEN
			PERFORM loyalty.refuse_expression(expression, t.place, CASE WHEN wants_term THEN 'Here should be a name, a term or (.' ELSE 'Here should be &, - or |.' END);
		ELSE
			-- what binds as close comes before
			n := cardinality(operators);
			WHILE n > 0 AND operators[n] <> '(' AND (t.token <> ALL ('{&,-}') OR operators[n] <> '|') LOOP
				operands := operands[: cardinality(operands) - 2] || jsonb_build_object('op', operators[n],
					'left', operands[cardinality(operands) - 1], 'right', operands[cardinality(operands)]);
				n := n - 1;
			END LOOP;
			operators := operators[: n];
			places := places[: n];
			IF t.token IN ('&', '-', '|') THEN
				operators := operators || t.token;
				places := places || t.place;
				wants_term := true;
			ELSIF t.token = ')' AND n > 0 THEN
				operators := operators[: n - 1];
				places := places[: n - 1];
			ELSIF t.token = ')' OR n > 0 THEN
				PERFORM loyalty.refuse_expression(expression, coalesce(places[n], t.place), 'This parenthesis has no other.');
			END IF;
		END IF;
	END LOOP;
	RETURN operands[1];
END
$$;
COMMENT ON FUNCTION parse_expression(text) IS 'An audience''s expression as a tree, with its names as they are understood now. Error: LY705, with the place. Part of define_audience().';

CREATE FUNCTION term_sql(tree jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	EXECUTE format('SELECT t.* FROM loyalty.%I($1) t', 'audience_term_' || (tree ->> 'term')) INTO members, test, why, now_only USING tree -> 'argument';
	test := coalesce(test, format('EXISTS (%s)', members));
END
$$;
COMMENT ON FUNCTION term_sql(jsonb) IS 'The SQL of a term of a tree, as its room has it. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_sql(tree jsonb, of_set boolean) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	IF tree ? 'op' THEN
		RETURN format(CASE WHEN of_set THEN '(%s OPERATOR(loyalty.' || (tree ->> 'op') || ') %s)'
				ELSE CASE tree ->> 'op' WHEN '&' THEN '(%s AND %s)' WHEN '|' THEN '(%s OR %s)' ELSE '(%s AND NOT %s)' END END,
			loyalty.audience_sql(tree -> 'left', of_set), loyalty.audience_sql(tree -> 'right', of_set));
	ELSIF tree ? 'audience' THEN
		RETURN format(CASE WHEN of_set THEN 'loyalty.live_members(%L, $1, $2, $3, $4)' ELSE 'loyalty.is_in_audience($1, %L, $3, $4)' END, tree ->> 'audience');
	ELSIF of_set THEN
		RETURN format('(SELECT loyalty.member_set_agg(q.member_id) FROM (%s) q)', (loyalty.term_sql(tree)).members);
	END IF;
	RETURN format('coalesce(%s, false)', (loyalty.term_sql(tree)).test);
END
$$;
COMMENT ON FUNCTION audience_sql(jsonb, boolean) IS
'The SQL of an expression: a member_set of the members from $1 to $2, or whether member $1 (and $2) is in it; as of $3, as known at $4. Part of live_members() and in_audience().';

CREATE FUNCTION tree_names(tree jsonb) RETURNS SETOF text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT jsonb_path_query($1, 'strict $.**.audience') #>> '{}'
$$;
COMMENT ON FUNCTION tree_names(jsonb) IS 'The audiences that a tree names. Part of define_audience().';

CREATE FUNCTION require_no_circle(audience text, tree jsonb, effective_from timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	way text[];
BEGIN
	WITH RECURSIVE version AS (
		-- what is in force at any time from then on
		SELECT v.audience, v.parsed FROM (SELECT x.*, lead(x.effective_from) OVER (PARTITION BY x.audience ORDER BY x.version) AS until FROM loyalty.audience_version x) v
		WHERE v.audience <> require_no_circle.audience AND (v.until > effective_from) IS NOT FALSE
	), walk AS (
		SELECT ARRAY[audience, n] AS way FROM loyalty.tree_names(tree) n
		UNION ALL
		SELECT w.way || n FROM walk w JOIN version v ON v.audience = w.way[cardinality(w.way)], LATERAL loyalty.tree_names(v.parsed) n
		WHERE n <> ALL (w.way[2 :])
	)
	SELECT w.way INTO way FROM walk w WHERE w.way[cardinality(w.way)] = audience ORDER BY cardinality(w.way), w.way LIMIT 1;
	IF way IS NOT NULL THEN
		RAISE EXCEPTION 'audience "%" would be in itself', audience
			USING ERRCODE = 'LY704', DETAIL = array_to_string(way, ' -> ') || '.', HINT = 'Let one of them name what the other is made of.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_no_circle(text, jsonb, timestamptz) IS 'Raises LY704, with the way, where an audience would be in itself. Part of define_audience().';

CREATE FUNCTION put_audience(audience text, kind text, name text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	before text;
BEGIN
	IF audience IS NULL OR audience !~ '^[a-z][a-z0-9_]{0,62}$' OR audience = 'members' THEN
		RAISE EXCEPTION 'invalid name of an audience: "%"', coalesce(audience, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters, begins with a letter, and is not members.',
				HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	INSERT INTO loyalty.audience AS a (audience, kind, name) VALUES (audience, kind, coalesce(name, initcap(replace(audience, '_', ' ')))) ON CONFLICT DO NOTHING;
	SELECT a.kind INTO before FROM loyalty.audience a WHERE a.audience = put_audience.audience FOR UPDATE;
	IF before <> kind THEN
		RAISE EXCEPTION 'audience "%" is %', audience, CASE before WHEN 'list' THEN 'a list' ELSE 'an expression' END
			USING ERRCODE = 'LY003', DETAIL = 'Others may name it as that.', HINT = 'Give another name.';
	END IF;
	UPDATE loyalty.audience a SET name = put_audience.name WHERE a.audience = put_audience.audience AND a.name <> put_audience.name;
END
$$;
COMMENT ON FUNCTION put_audience(text, text, text) IS 'The row of an audience, locked. Error: LY003. Part of define_audience() and define_list().';

CREATE FUNCTION define_audience(audience text, expression text, effective_from timestamptz DEFAULT NULL, name text DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	tree jsonb;
	last loyalty.audience_version;
BEGIN
	IF NOT isfinite(effective_from) THEN
		RAISE EXCEPTION 'effective_from must be finite'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', effective_from), HINT = 'Leave it out: the first version holds from ever, later ones from now.';
	END IF;
	-- others that are defined at the same time could name this one
	PERFORM loyalty.lock_key('audience');
	PERFORM loyalty.put_audience(audience, 'expression', name);
	tree := loyalty.parse_expression(expression);
	-- each term is found good by its room
	PERFORM loyalty.audience_sql(tree, false);
	SELECT v.* INTO last FROM loyalty.audience_version v WHERE v.audience = define_audience.audience ORDER BY v.version DESC LIMIT 1;
	IF last.expression = expression AND last.parsed = tree AND (last.effective_from < effective_from) IS NOT TRUE THEN
		RETURN last.version;
	END IF;
	effective_from := coalesce(effective_from, CASE WHEN last.version IS NOT NULL THEN statement_timestamp() END);
	IF effective_from < last.effective_from THEN
		RAISE EXCEPTION 'version % of audience "%" would begin before version %', last.version + 1, audience, last.version
			USING ERRCODE = 'LY003', DETAIL = format('That begins at %s.', last.effective_from), HINT = 'Give that instant or a later one.';
	END IF;
	PERFORM loyalty.require_no_circle(audience, tree, coalesce(effective_from, '-infinity'));
	INSERT INTO loyalty.audience_version AS v (audience, version, effective_from, expression, parsed)
	VALUES (audience, coalesce(last.version, 0) + 1, effective_from, expression, tree);
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_audience(text, text, timestamptz, text) IS
'Defines an audience by an expression, or a new version of it from effective_from on (default: from ever, of the first; now, of a later one). Names are of audiences, lists and labels, as they are understood now; name = value and name >= number ask for values of labels; members is everybody who is known. Operators: & and, - and not, from left to right; | or, which binds less; parentheses. Terms: {"label": "vegan"}, {"label": {"city": ["Bonn"]}}, {"label": {"share": {">=": 0.3}}}; {"tier": {"club": ["gold"]}}; {"attribute": {"city": ["Bonn"]}} (as it is now); {"joined": {"via": ["app"], "within": "30 days"}}; {"count": {"kind": "order", "within": "90 days", "channel": ["app"], ">=": 2}}; {"spent": {...}}; {"bought": {"sku": [...], "category": [...], "brand": [...], "grade": [...], "within": ..., ">=": 1}}; {"contacts": {"channel": "*", "purpose": "news", "within": "7 days", "<": 2}}; {"stage": {"in": ["dormant"], "policy": {}}}; {"segment": {"in": ["Champions"], "breaks": {...}, "scheme": "code125"}}; {"value": {"model": {...}, "read": "value", "horizon": "365 days", ">=": 100}}; {"measure": {"of": "visits", "within": "1 year", ">=": 10}}. Numbers: ">=", ">", "<=", "<", "="; none: at least 1. Returns the version; the same again makes no new one. Errors: LY705 with the place, LY704 it would be in itself, LY003.';

CREATE FUNCTION put_list(audience text, add bigint[], remove bigint[], at timestamptz, OUT member_id bigint, OUT change_no bigint, OUT listed boolean) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
	IF (SELECT a.kind FROM loyalty.audience a WHERE a.audience = put_list.audience FOR UPDATE) IS DISTINCT FROM 'list' THEN
		RAISE EXCEPTION 'there is no list "%"', coalesce(audience, 'NULL')
			USING ERRCODE = 'LY703', DETAIL = 'The table loyalty.audience has no list with this name.', HINT = 'Make it with loyalty.define_list().';
	ELSIF at IS NULL OR NOT isfinite(at) OR array_position(add || remove, NULL) IS NOT NULL OR EXISTS (SELECT FROM unnest(add || remove) m WHERE m < 0) THEN
		RAISE EXCEPTION 'members and instant do not fit'
			USING ERRCODE = 'LY003', DETAIL = 'Members have numbers from 0 on; at is a finite instant.', HINT = 'Give both.';
	END IF;
	PERFORM loyalty.require_not_forgotten(loyalty.kept_members(array(SELECT DISTINCT m FROM unnest(add || remove) m ORDER BY m)));
	RETURN QUERY
	WITH now_on AS (
		SELECT l.member_id FROM (SELECT DISTINCT ON (x.member_id) x.member_id, x.listed FROM loyalty.audience_list x
			WHERE x.audience = put_list.audience AND x.member_id = ANY (add || remove) AND x.at <= put_list.at
			ORDER BY x.member_id, x.at DESC, x.recorded_at DESC, x.change_no DESC) l WHERE l.listed
	), put AS (
		INSERT INTO loyalty.audience_list AS x (member_id, audience, at, listed)
		SELECT m.id, audience, at, m.listed
		FROM (SELECT DISTINCT a AS id, true AS listed FROM unnest(add) a WHERE a <> ALL (coalesce(remove, '{}'))
			UNION ALL SELECT DISTINCT r, false FROM unnest(remove) r) m
		WHERE m.listed <> EXISTS (SELECT FROM now_on n WHERE n.member_id = m.id)
		ORDER BY m.id
		RETURNING x.member_id, x.change_no, x.listed
	)
	SELECT p.member_id, p.change_no, p.listed FROM put p;
END
$$;
COMMENT ON FUNCTION put_list(text, bigint[], bigint[], timestamptz) IS
'Puts members on a list and takes others off; a row for each whom that changed. Errors: LY703 no such list, LY003, LY203. Part of change_list() and define_list().';

CREATE FUNCTION change_list(audience text, add bigint[] DEFAULT '{}', remove bigint[] DEFAULT '{}', at timestamptz DEFAULT statement_timestamp(),
	OUT added bigint, OUT removed bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
	change record;
BEGIN
	added := 0; removed := 0;
	FOR change IN SELECT p.* FROM loyalty.put_list($1, $2, $3, $4) p LOOP
		added := added + change.listed::integer; removed := removed + (NOT change.listed)::integer;
		PERFORM loyalty.keep_act('change_list', change.member_id, change.change_no, format('%s %s', $1, CASE WHEN change.listed THEN 'on' ELSE 'off' END));
	END LOOP;
END
$$;
COMMENT ON FUNCTION change_list(text, bigint[], bigint[], timestamptz) IS
'Puts members on a list and takes others off, from an instant on; who is in both arrays is taken off. An act by hand for each of them whom that changes. Returns how many these are; again, none. Errors: LY703 no such list, LY003, LY203.';

CREATE FUNCTION define_list(audience text, member_ids bigint[] DEFAULT '{}', name text DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(),
	OUT added bigint, OUT removed bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
	PERFORM loyalty.lock_key('audience');
	PERFORM loyalty.put_audience(audience, 'list', name);
	SELECT count(*) FILTER (WHERE p.listed), count(*) FILTER (WHERE NOT p.listed) INTO added, removed
	FROM loyalty.put_list(audience, member_ids, array(SELECT DISTINCT l.member_id FROM loyalty.audience_list l WHERE l.audience = define_list.audience AND l.member_id <> ALL (member_ids)), at) p;
END
$$;
COMMENT ON FUNCTION define_list(text, bigint[], text, timestamptz) IS
'Makes an audience of these members and no others, a list, from an instant on. Returns how many that put on it and took off. Errors: LY003, also where an expression has the name, LY203.';
