/*
 * audience: terms of expressions.
 *
 * A term {"<kind>": argument} is known by a function audience_term_<kind>(), of
 * this room or one to its right.  It answers with SQL, whose every name is
 * qualified, over
 *
 *	$1, $2		the members from one to another, by those who stand for others
 *	$3, $4		as of an instant, as known at another (infinity: now)
 *
 *	members		a query for member_id, of those for whom it holds
 *	test		whether it holds for member $1 alone (then $2 is the same);
 *				NULL: whether members finds it
 *	why			an expression of text, what of member $1 it looked at; or NULL
 *	now_only	whether it reads what has no history, so that it cannot be asked
 *				as known at an instant
 */

CREATE FUNCTION refuse_term(kind text, argument jsonb, why text) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'term % of an audience is wrong', jsonb_build_object(kind, argument)
		USING ERRCODE = 'LY705', DETAIL = why, HINT = format('See define_audience() on "%s".', kind);
END
$$;
COMMENT ON FUNCTION refuse_term(text, jsonb, text) IS 'Raises LY705 for a term of an audience. Part of define_audience().';

CREATE FUNCTION term_keys(kind text, argument jsonb, known text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	unknown text;
BEGIN
	IF jsonb_typeof(argument) IS DISTINCT FROM 'object' THEN
		PERFORM loyalty.refuse_term(kind, argument, 'It must be an object.');
	END IF;
	unknown := (SELECT min(k) FROM jsonb_object_keys(argument) k WHERE k <> ALL (known));
	IF unknown IS NOT NULL THEN
		PERFORM loyalty.refuse_term(kind, argument, format('"%s" is not known here; there are %s.', unknown, array_to_string(known, ', ')));
	END IF;
END
$$;
COMMENT ON FUNCTION term_keys(text, jsonb, text[]) IS 'Refuses (LY705) an argument of a term that is no object, or has other keys than these. Part of define_audience().';

CREATE FUNCTION term_texts(kind text, argument jsonb, given jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF jsonb_typeof(given) = 'string' THEN
		RETURN ARRAY[given #>> '{}'];
	ELSIF jsonb_typeof(given) IS DISTINCT FROM 'array' OR given = '[]' OR jsonb_path_exists(given, '$[*] ? (@.type() != "string")') THEN
		PERFORM loyalty.refuse_term(kind, argument, format('%s is neither a text nor an array of texts.', coalesce(given::text, 'It')));
	END IF;
	RETURN ARRAY(SELECT t FROM jsonb_array_elements_text(given) t);
END
$$;
COMMENT ON FUNCTION term_texts(text, jsonb, jsonb) IS 'A text, or an array of texts, in a term of an audience; LY705 for another value. Part of define_audience().';

CREATE FUNCTION term_range(kind text, argument jsonb, given jsonb, value text, OUT condition text, OUT has_zero boolean) RETURNS record
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r record;
BEGIN
	has_zero := true;
	FOR r IN SELECT * FROM jsonb_each(given) x WHERE x.key IN ('>=', '>', '<=', '<', '=') ORDER BY x.key LOOP
		IF jsonb_typeof(r.value) <> 'number' THEN
			PERFORM loyalty.refuse_term(kind, argument, format('"%s" wants a number.', r.key));
		END IF;
		condition := concat_ws(' AND ', condition, format('%s OPERATOR(pg_catalog.%s) %L::pg_catalog.numeric', value, r.key, r.value));
		has_zero := has_zero AND CASE r.key WHEN '>=' THEN 0 >= r.value::numeric WHEN '>' THEN 0 > r.value::numeric WHEN '<=' THEN 0 <= r.value::numeric
			WHEN '<' THEN 0 < r.value::numeric ELSE 0 = r.value::numeric END;
	END LOOP;
	IF condition IS NULL THEN
		condition := format('%s OPERATOR(pg_catalog.>=) 1', value);
		has_zero := false;
	END IF;
END
$$;
COMMENT ON FUNCTION term_range(text, jsonb, jsonb, text) IS 'What a term says of a number, by ">=", ">", "<=", "<" and "=" (none: at least 1), as a condition, and whether 0 meets it.';

CREATE FUNCTION term_since(kind text, argument jsonb) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	span interval;
BEGIN
	IF NOT argument ? 'within' THEN
		RETURN '''-infinity''::pg_catalog.timestamptz';
	END IF;
	BEGIN
		span := CASE jsonb_typeof(argument -> 'within') WHEN 'string' THEN (argument ->> 'within')::interval END;
	EXCEPTION WHEN data_exception THEN
		span := NULL;
	END;
	IF (span BETWEEN interval '1 microsecond' AND interval '1000 years') IS NOT TRUE THEN
		PERFORM loyalty.refuse_term(kind, argument, '"within" is no positive interval.');
	END IF;
	RETURN format('loyalty.due_at($3, %L::pg_catalog.interval)', span);
END
$$;
COMMENT ON FUNCTION term_since(text, jsonb) IS 'When the window "within" of a term began, behind which it looks. Error: LY705. Part of define_audience().';

CREATE FUNCTION term_members() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'SELECT m.member_id FROM loyalty.member m WHERE m.member_id OPERATOR(pg_catalog.>=) $1 AND m.member_id OPERATOR(pg_catalog.<=) $2 '
		'AND m.status OPERATOR(pg_catalog.=) ''active'' AND m.joined_at OPERATOR(pg_catalog.<=) $3'
$$;
COMMENT ON FUNCTION term_members() IS 'The query for all members who are known, and whom nobody stands for. Part of terms of audiences.';

CREATE FUNCTION term_by_number(kind text, argument jsonb, from_what text, condition text, has_zero boolean, value text, unit text,
	OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- of whom there is nothing, the number is 0: all members but those for whom it is another
	members := CASE WHEN has_zero THEN format('%s AND NOT EXISTS (SELECT FROM (SELECT x.person FROM %s GROUP BY x.person HAVING NOT (%s)) n WHERE n.person OPERATOR(pg_catalog.=) m.member_id)',
			loyalty.term_members(), from_what, condition)
		ELSE format('SELECT x.person AS member_id FROM %s GROUP BY x.person HAVING %s', from_what, condition) END;
	test := concat(CASE WHEN has_zero THEN format('EXISTS (%s) AND ', loyalty.term_members()) END, format('(SELECT %s FROM %s)', condition, from_what));
	test := format('(%s)', test);
	why := format('(SELECT pg_catalog.concat(%s, %L) FROM %s)', value, ' ' || unit, from_what);
	now_only := false;
END
$$;
COMMENT ON FUNCTION term_by_number(text, jsonb, text, text, boolean, text, text) IS 'The SQL of a term that compares a number over the rows of a person. Part of terms of audiences.';

CREATE FUNCTION numbers_between(among text) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT t.member_id, t.member_id AS person FROM (SELECT DISTINCT f.member_id FROM %s f WHERE f.member_id OPERATOR(pg_catalog.>=) $1 AND f.member_id OPERATOR(pg_catalog.<=) $2) t '
		'WHERE NOT EXISTS (SELECT FROM loyalty.member_alias l WHERE l.member_id OPERATOR(pg_catalog.=) t.member_id) '
		'UNION ALL SELECT l.member_id, l.canonical_id FROM loyalty.member_alias l WHERE l.canonical_id OPERATOR(pg_catalog.>=) $1 AND l.canonical_id OPERATOR(pg_catalog.<=) $2)', $1)
$$;
COMMENT ON FUNCTION numbers_between(text) IS 'The query for member_id and person: all numbers, out of a table of facts, of those who stand for others and lie between two. Part of terms of audiences.';

CREATE FUNCTION points_of_measure(currency text, pending boolean) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT p.person, CASE WHEN e.target_entry_id IS NULL THEN %2$s ELSE (SELECT greatest(e.effective_at, t.%3$I) FROM %4$s) END AS at, '
		'CASE WHEN e.target_entry_id IS NULL THEN e.requested ELSE (SELECT CASE WHEN t.taken_back THEN OPERATOR(pg_catalog.-) e.requested ELSE e.requested END FROM %4$s) END AS amount, '
		'CASE WHEN e.target_entry_id IS NOT NULL THEN (SELECT t.%3$I FROM %4$s) END AS counts_at '
		'FROM %5$s p JOIN loyalty.all_entries() e ON e.member_id OPERATOR(pg_catalog.=) p.member_id '
		'WHERE e.currency OPERATOR(pg_catalog.=) %1$L AND e.kind OPERATOR(pg_catalog.=) ANY (''{earn,adjust,reverse}'') AND e.recorded_at OPERATOR(pg_catalog.<=) $4',
		$1, CASE WHEN $2 THEN 'e.effective_at' ELSE 'loyalty.points_available_at(e.requested, e.effective_at, e.available_at, '
			'(SELECT pg_catalog.min(a.effective_at) FROM loyalty.all_entries() a WHERE a.member_id OPERATOR(pg_catalog.=) e.member_id '
			'AND a.target_entry_id OPERATOR(pg_catalog.=) e.entry_id AND a.kind OPERATOR(pg_catalog.=) ''activate'' AND a.recorded_at OPERATOR(pg_catalog.<=) $4))' END,
		CASE WHEN $2 THEN 'effective_at' ELSE 'available_at' END,
		'loyalty.reversed_points(loyalty.member_tree(p.person), e.target_entry_id, $4) t', loyalty.numbers_between('loyalty.wallet'))
$$;
COMMENT ON FUNCTION points_of_measure(text, boolean) IS 'The query for the facts of a measure of points, by persons, as evaluate_tiers() reads them. Part of terms of audiences.';

CREATE FUNCTION audience_term_members(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	members := loyalty.term_members();
	now_only := false;
END
$$;
COMMENT ON FUNCTION audience_term_members(jsonb) IS 'Term members of audiences: everybody who is known. Part of define_audience().';

CREATE FUNCTION audience_term_label(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	label_name text := argument #>> '{}';
	given jsonb;
	kind text;
	wanted text[];
	condition text;
BEGIN
	IF jsonb_typeof(argument) = 'object' THEN
		IF (SELECT count(*) FROM jsonb_object_keys(argument)) <> 1 THEN
			PERFORM loyalty.refuse_term('label', argument, 'It names one label.');
		END IF;
		SELECT k.key, k.value INTO label_name, given FROM jsonb_each(argument) k;
	ELSIF jsonb_typeof(argument) IS DISTINCT FROM 'string' THEN
		PERFORM loyalty.refuse_term('label', argument, 'It must be the name of a label, or an object such as {"city": ["Bonn"]}.');
	END IF;
	kind := (SELECT l.kind FROM loyalty.label l WHERE l.label = label_name);
	IF kind IS NULL OR kind = 'consent' THEN
		PERFORM loyalty.refuse_term('label', argument, format('There is no label "%s".', label_name));
	END IF;
	members := format('SELECT h.member_id FROM loyalty.label_holders(%L, $3, $4, $1, $2) h', label_name);
	IF given IS NULL THEN
		test := format('loyalty.has_label($1, %L, NULL, $3, $4)', label_name);
	ELSIF jsonb_typeof(given) = 'object' THEN
		IF kind <> 'number' THEN
			PERFORM loyalty.refuse_term('label', argument, format('Label "%s" is no number.', label_name));
		END IF;
		condition := (loyalty.term_range('label', argument, given, 'h.value::pg_catalog.numeric')).condition;
		members := members || ' WHERE ' || condition;
	ELSE
		IF kind = 'flag' THEN
			PERFORM loyalty.refuse_term('label', argument, format('Label "%s" has no values.', label_name));
		END IF;
		wanted := loyalty.term_texts('label', argument, given);
		members := members || format(' WHERE h.value OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', wanted);
		test := (SELECT '(' || string_agg(format('loyalty.has_label($1, %L, %L, $3, $4)', label_name, w), ' OR ') || ')' FROM unnest(wanted) w);
	END IF;
	why := format('(SELECT pg_catalog.string_agg(pg_catalog.concat(h.value, CASE WHEN h.value IS NOT NULL THEN '' '' END, ''by '', h.source, '' ('', h.confidence, '')''), '', '') FROM loyalty.label_holders(%L, $3, $4, $1, $2) h)', label_name);
	now_only := false;
END
$$;
COMMENT ON FUNCTION audience_term_label(jsonb) IS 'Term {"label": "vegan"}, {"label": {"city": ["Bonn"]}} or {"label": {"discount_share": {">=": 0.3}}} of audiences. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_list(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- of each number the last change; somebody is on it if one of the numbers is
	members := format('SELECT DISTINCT c.person AS member_id FROM (SELECT DISTINCT ON (l.member_id) l.listed, l.person FROM ('
		'SELECT x.member_id AS person, x.* FROM loyalty.audience_list x WHERE x.audience OPERATOR(pg_catalog.=) %1$L '
		'AND x.member_id OPERATOR(pg_catalog.>=) $1 AND x.member_id OPERATOR(pg_catalog.<=) $2 '
		'AND NOT EXISTS (SELECT FROM loyalty.member_alias a WHERE a.member_id OPERATOR(pg_catalog.=) x.member_id) '
		'UNION ALL SELECT a.canonical_id, x.* FROM loyalty.member_alias a JOIN loyalty.audience_list x ON x.member_id OPERATOR(pg_catalog.=) a.member_id '
		'WHERE x.audience OPERATOR(pg_catalog.=) %1$L AND a.canonical_id OPERATOR(pg_catalog.>=) $1 AND a.canonical_id OPERATOR(pg_catalog.<=) $2) l '
		'WHERE l.at OPERATOR(pg_catalog.<=) $3 AND l.recorded_at OPERATOR(pg_catalog.<=) $4 '
		'ORDER BY l.member_id, l.at DESC, l.recorded_at DESC, l.change_no DESC) c WHERE c.listed', argument #>> '{}');
	now_only := false;
END
$$;
COMMENT ON FUNCTION audience_term_list(jsonb) IS 'What a list means in an audience. Part of define_audience().';

CREATE FUNCTION audience_term_tier(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ladder_name text;
	levels text[];
	tier text;
BEGIN
	IF jsonb_typeof(argument) IS DISTINCT FROM 'object' OR (SELECT count(*) FROM jsonb_object_keys(argument)) <> 1 THEN
		PERFORM loyalty.refuse_term('tier', argument, 'It must be an object such as {"club": ["gold"]}.');
	END IF;
	SELECT k.key, loyalty.term_texts('tier', argument, k.value) INTO ladder_name, levels FROM jsonb_each(argument) k;
	IF NOT EXISTS (SELECT FROM loyalty.ladder l WHERE l.ladder = ladder_name) THEN
		PERFORM loyalty.refuse_term('tier', argument, format('There is no ladder "%s".', ladder_name));
	END IF;
	tier := 'loyalty.tier_of(%s, ' || quote_literal(ladder_name) || ', $3, nullif($4, ''infinity''))';
	-- a level that is a household's is held by persons who have none stored
	IF EXISTS (SELECT FROM loyalty.ladder_version v WHERE v.ladder = ladder_name AND v.definition ->> 'household' = 'best') THEN
		members := format('%s AND %s OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', loyalty.term_members(), format(tier, 'm.member_id'), levels);
	ELSE
		members := format('SELECT s.member_id FROM loyalty.tier_state s WHERE s.ladder OPERATOR(pg_catalog.=) %L AND s.member_id OPERATOR(pg_catalog.>=) $1 '
			'AND s.member_id OPERATOR(pg_catalog.<=) $2 AND s.merged_into IS NULL AND %s OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', ladder_name, format(tier, 's.member_id'), levels);
	END IF;
	test := format('(%s OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[]))', format(tier, '$1'), levels);
	why := format(tier, '$1');
	now_only := false;
END
$$;
COMMENT ON FUNCTION audience_term_tier(jsonb) IS 'Term {"tier": {"club": ["gold"]}} of audiences. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_attribute(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text;
	wanted text[];
BEGIN
	IF jsonb_typeof(argument) IS DISTINCT FROM 'object' OR (SELECT count(*) FROM jsonb_object_keys(argument)) <> 1 THEN
		PERFORM loyalty.refuse_term('attribute', argument, 'It must be an object such as {"city": ["Bonn"]}.');
	END IF;
	SELECT k.key, loyalty.term_texts('attribute', argument, k.value) INTO name, wanted FROM jsonb_each(argument) k;
	members := format('%s AND (m.attributes OPERATOR(pg_catalog.->>) %L) OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', loyalty.term_members(), name, wanted);
	why := format('(SELECT m.attributes OPERATOR(pg_catalog.->>) %L FROM loyalty.member m WHERE m.member_id OPERATOR(pg_catalog.=) $1)', name);
	now_only := true;
END
$$;
COMMENT ON FUNCTION audience_term_attribute(jsonb) IS 'Term {"attribute": {"city": ["Bonn"]}} of audiences: attributes as they are now. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_joined(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.term_keys('joined', argument, '{via,within}');
	members := concat(loyalty.term_members(), ' AND m.joined_at OPERATOR(pg_catalog.>) ' || loyalty.term_since('joined', argument),
		CASE WHEN argument ? 'via' THEN format(' AND m.joined_via OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', loyalty.term_texts('joined', argument, argument -> 'via')) END);
	why := '(SELECT pg_catalog.concat_ws('' '', m.joined_at, m.joined_via) FROM loyalty.member m WHERE m.member_id OPERATOR(pg_catalog.=) $1)';
	now_only := false;
END
$$;
COMMENT ON FUNCTION audience_term_joined(jsonb) IS 'Term {"joined": {"via": ["app"], "within": "30 days"}} of audiences: who joined by a channel, or lately. Error: LY705. Part of define_audience().';

CREATE FUNCTION term_over_activities(kind text, argument jsonb, selection text, condition text, has_zero boolean, value text, unit text,
	OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	activity CONSTANT text := CASE WHEN kind = 'contacts' THEN 'contact' ELSE coalesce(argument ->> 'kind', 'order') END;
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.activity_kind k WHERE k.kind = activity) THEN
		PERFORM loyalty.refuse_term(kind, argument, format('There is no kind of activity "%s".', activity));
	END IF;
	SELECT * INTO members, test, why, now_only FROM loyalty.term_by_number(kind, argument,
		format('loyalty.activities_between($1, $2, %L, $3, $4) x WHERE x.at OPERATOR(pg_catalog.>) %s%s%s', activity, loyalty.term_since(kind, argument),
			CASE WHEN argument ? 'channel' AND argument -> 'channel' <> '"*"'
				THEN format(' AND x.channel OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', loyalty.term_texts(kind, argument, argument -> 'channel')) END, selection),
		condition, has_zero, value, unit);
END
$$;
COMMENT ON FUNCTION term_over_activities(text, jsonb, text, text, boolean, text, text) IS
'The SQL of a term that compares what is found out of activities of a kind, within a time, by a channel. Part of terms of audiences. Error: LY705.';

CREATE FUNCTION term_of_activities(kind text, argument jsonb, number text, unit text, selection text,
	OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r record;
BEGIN
	SELECT * INTO r FROM loyalty.term_range(kind, argument, argument, number);
	SELECT * INTO members, test, why, now_only FROM loyalty.term_over_activities(kind, argument, selection, r.condition, r.has_zero, number, unit);
END
$$;
COMMENT ON FUNCTION term_of_activities(text, jsonb, text, text, text) IS 'The SQL of a term that compares a number of activities. Part of terms of audiences. Error: LY705.';

CREATE FUNCTION audience_term_count(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.term_keys('count', argument, '{kind,within,channel,>=,>,<=,<,=}');
	SELECT * INTO members, test, why, now_only FROM loyalty.term_of_activities('count', argument, 'pg_catalog.count(*)', coalesce(argument ->> 'kind', 'order'), NULL);
END
$$;
COMMENT ON FUNCTION audience_term_count(jsonb) IS 'Term {"count": {"kind": "order", "within": "90 days", "channel": ["app"], ">=": 2}} of audiences: how many activities. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_spent(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.term_keys('spent', argument, '{kind,within,channel,>=,>,<=,<,=}');
	SELECT * INTO members, test, why, now_only FROM loyalty.term_of_activities('spent', argument, 'coalesce(pg_catalog.sum(x.amount), 0)', 'spent', NULL);
END
$$;
COMMENT ON FUNCTION audience_term_spent(jsonb) IS 'Term {"spent": {"kind": "order", "within": "1 year", ">=": 500}} of audiences: the sum of amounts. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_bought(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted text;
BEGIN
	PERFORM loyalty.term_keys('bought', argument, '{sku,category,brand,grade,kind,within,channel,>=,>,<=,<,=}');
	wanted := (SELECT string_agg(format(' AND (l.value OPERATOR(pg_catalog.->>) %L) OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', k.key, loyalty.term_texts('bought', argument, k.value)), '' ORDER BY k.key)
		FROM jsonb_each(argument) k WHERE k.key IN ('sku', 'category', 'brand', 'grade'));
	IF wanted IS NULL THEN
		PERFORM loyalty.refuse_term('bought', argument, 'It says what was bought by sku, category, brand or grade.');
	END IF;
	SELECT * INTO members, test, why, now_only FROM loyalty.term_of_activities('bought', argument, 'pg_catalog.count(*)', coalesce(argument ->> 'kind', 'order') || ' with it',
		' AND EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(x.lines) l WHERE true' || wanted || ')');
END
$$;
COMMENT ON FUNCTION audience_term_bought(jsonb) IS 'Term {"bought": {"sku": ["85123A"], "category": ["tea"], "within": "90 days", ">=": 2}} of audiences: how many orders have such a line. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_contacts(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.term_keys('contacts', argument, '{channel,purpose,within,>=,>,<=,<,=}');
	SELECT * INTO members, test, why, now_only FROM loyalty.term_of_activities('contacts', argument, 'pg_catalog.count(*)', 'contacts',
		CASE WHEN argument ? 'purpose' AND argument -> 'purpose' <> '"*"' THEN format(' AND (x.document OPERATOR(pg_catalog.->>) ''purpose'') OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])',
			loyalty.term_texts('contacts', argument, argument -> 'purpose')) END);
END
$$;
COMMENT ON FUNCTION audience_term_contacts(jsonb) IS 'Term {"contacts": {"channel": "*", "purpose": "news", "within": "7 days", "<": 2}} of audiences: how often members were written to (activities of kind contact). Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_stage(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	stages text[];
	stage text;
BEGIN
	PERFORM loyalty.term_keys('stage', argument, '{in,kind,policy}');
	stages := loyalty.term_texts('stage', argument, argument -> 'in');
	IF NOT stages <@ '{prospect,new,active,loyal,won_back,at_risk,dormant,lost}' THEN
		PERFORM loyalty.refuse_term('stage', argument, 'Stages are prospect, new, active, loyal, won_back, at_risk, dormant and lost; see lifecycle_stage().');
	END IF;
	BEGIN
		PERFORM loyalty.lifecycle_stage(NULL, now(), coalesce(argument -> 'policy', '{}'));
	EXCEPTION WHEN SQLSTATE 'LY347' THEN
		PERFORM loyalty.refuse_term('stage', argument, SQLERRM || '.');
	END;
	stage := format('loyalty.lifecycle_stage(loyalty.rfm_agg(x.at, greatest(x.amount, 0)), $3, %L, loyalty.program_time_zone())', coalesce(argument -> 'policy', '{}'));
	SELECT * INTO members, test, why, now_only FROM loyalty.term_over_activities('stage', argument, '',
		format('%s OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', stage, stages), 'prospect' = ANY (stages), stage, '');
END
$$;
COMMENT ON FUNCTION audience_term_stage(jsonb) IS 'Term {"stage": {"in": ["dormant"], "kind": "order", "policy": {}}} of audiences: the stage of life by lifecycle_stage(). Error: LY705. Part of define_audience().';
