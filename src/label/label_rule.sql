/*
 * label: labels that are found out from what members did: where they come from,
 * the hour, weekday and channel that they prefer, whether they buy at a discount.
 * A job says them by source rule:<rule>, with the version and the instant as
 * evidence; between two runs they lapse by themselves.
 */

-- Not pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION activities_between(from_id bigint, to_id bigint, kind text, as_of timestamptz, known_at timestamptz)
RETURNS TABLE (person bigint, activity_id bigint, at timestamptz, channel text, amount numeric, lines jsonb, document jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT x.person, x.activity_id, s.at, s.channel, s.amount, s.lines, s.document
	FROM (
		SELECT a.member_id AS person, a.* FROM loyalty.activity a
		WHERE a.member_id OPERATOR(pg_catalog.>=) $1 AND a.member_id OPERATOR(pg_catalog.<=) $2 AND a.kind OPERATOR(pg_catalog.=) $3
			AND NOT EXISTS (SELECT FROM loyalty.member_alias l WHERE l.member_id OPERATOR(pg_catalog.=) a.member_id)
		UNION ALL
		SELECT l.canonical_id, a.* FROM loyalty.member_alias l JOIN loyalty.activity a ON a.member_id OPERATOR(pg_catalog.=) l.member_id
		WHERE l.canonical_id OPERATOR(pg_catalog.>=) $1 AND l.canonical_id OPERATOR(pg_catalog.<=) $2 AND a.kind OPERATOR(pg_catalog.=) $3) x
	-- the first revision that was not known then, and the first that was not, or had not happened by then
	LEFT JOIN LATERAL (
		SELECT r.revision, r.from_member_id FROM loyalty.activity_revision r
		WHERE x.revision OPERATOR(pg_catalog.>) 0 AND r.member_id OPERATOR(pg_catalog.=) x.member_id
			AND r.activity_id OPERATOR(pg_catalog.=) x.activity_id AND r.recorded_at OPERATOR(pg_catalog.>) $5
		ORDER BY r.revision LIMIT 1) k ON true
	LEFT JOIN LATERAL (
		SELECT r.* FROM loyalty.activity_revision r
		WHERE x.revision OPERATOR(pg_catalog.>) 0 AND r.member_id OPERATOR(pg_catalog.=) x.member_id AND r.activity_id OPERATOR(pg_catalog.=) x.activity_id
			AND (r.recorded_at OPERATOR(pg_catalog.>) $5 OR r.is_return AND r.at OPERATOR(pg_catalog.>) $4)
		ORDER BY r.revision LIMIT 1) u ON true,
	LATERAL (
		SELECT CASE WHEN u.revision IS NULL THEN x.at ELSE u.was_at END AS at, CASE WHEN u.revision IS NULL THEN x.channel ELSE u.was_channel END AS channel,
			CASE WHEN u.revision IS NULL THEN x.amount ELSE u.was_amount END AS amount, CASE WHEN u.revision IS NULL THEN x.lines ELSE u.was_lines END AS lines,
			CASE WHEN u.revision IS NULL THEN x.document ELSE u.was_document END AS document,
			CASE WHEN u.revision IS NULL THEN x.cancelled OR x.returned ELSE u.was_cancelled OR u.was_returned END AS gone) s
	WHERE x.recorded_at OPERATOR(pg_catalog.<=) $5 AND s.at OPERATOR(pg_catalog.<=) $4 AND NOT s.gone
		AND k.from_member_id IS NULL AND (x.moved_to IS NULL OR k.revision IS NOT NULL)
$$;
COMMENT ON FUNCTION activities_between(bigint, bigint, text, timestamptz, timestamptz) IS
'What the members from one to another did, of one kind, by those who stand for others, up to an instant, as known at another: those that count, neither cancelled nor returned by then. Part of refresh_labels() and of terms of audiences.';

CREATE FUNCTION label_rule_query(definition jsonb) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source CONSTANT text := definition ->> 'from';
	facts CONSTANT text := format('loyalty.activities_between($1, $2, %L, $3, ''infinity'') x WHERE x.at > $4', coalesce(definition ->> 'kind', 'order'));
BEGIN
	RETURN CASE source
		WHEN 'joined_via' THEN 'SELECT m.member_id, m.joined_via AS value, 1::numeric AS share, 1::bigint AS events FROM loyalty.member m '
			'WHERE m.member_id BETWEEN $1 AND $2 AND m.status = ''active'' AND m.joined_at <= $3 AND $4 < $3'
		WHEN 'first_channel' THEN 'SELECT x.person, (array_agg(x.channel ORDER BY x.at, x.activity_id))[1] AS value, 1::numeric AS share, count(*) AS events FROM '
			|| facts || ' GROUP BY x.person'
		WHEN 'discount_share' THEN 'SELECT p.person, trim_scale(round((p.d).share::numeric, 6))::text AS value, 1::numeric AS share, (p.d).total AS events FROM (SELECT x.person, loyalty.discount_agg(x.amount, '
			'(SELECT sum((l ->> ''discount'')::numeric + 0) FROM jsonb_array_elements(x.lines) l)) AS d FROM ' || facts || ' GROUP BY x.person) p'
		WHEN 'category' THEN 'SELECT p.person, (p.d).value, round((p.d).share::numeric, 6) AS share, (p.d).total AS events FROM (SELECT x.person, loyalty.preferred_value_agg(l ->> ''category'') AS d FROM '
			|| replace(facts, ' x WHERE', ' x, jsonb_array_elements(x.lines) l WHERE') || ' GROUP BY x.person) p'
		ELSE format('SELECT p.person, (p.d).value::text, round((p.d).share::numeric, 6) AS share, (p.d).total AS events FROM (SELECT x.person, %s AS d FROM ',
			CASE source WHEN 'hour' THEN 'loyalty.preferred_hour_agg(x.at, NULL)' WHEN 'weekday' THEN 'loyalty.preferred_weekday_agg(x.at, NULL)'
				WHEN 'channel' THEN 'loyalty.preferred_value_agg(x.channel)' END) || facts || ' GROUP BY x.person) p' END;
END
$$;
COMMENT ON FUNCTION label_rule_query(jsonb) IS
'The query for what a rule finds out of the members from $1 to $2, as of $3, of what lies behind $4: the value, its share and how many events there are. Part of refresh_labels().';

CREATE FUNCTION define_label_rule(rule text, definition jsonb) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	source CONSTANT text := definition ->> 'from';
	kind CONSTANT text := (SELECT l.kind FROM loyalty.label l WHERE l.label = definition ->> 'label');
	last record;
	wrong text;
BEGIN
	wrong := CASE
		WHEN rule IS NULL OR rule !~ '^[a-z][a-z0-9_]{0,62}$' THEN 'A name has up to 63 characters, lower-case letters, digits and underscores, and begins with a letter.'
		WHEN jsonb_typeof(definition) IS DISTINCT FROM 'object' THEN 'A definition is an object.'
		WHEN EXISTS (SELECT FROM jsonb_object_keys(definition) k WHERE k <> ALL ('{label,from,kind,within,at_least,share,valid_for}'))
			THEN 'It says label, from, kind, within, at_least, share and valid_for, and nothing else.'
		WHEN source IS NULL OR source <> ALL ('{joined_via,first_channel,channel,category,hour,weekday,discount_share}')
			THEN '"from" is joined_via, first_channel, channel, category, hour, weekday or discount_share.'
		WHEN kind IS NULL THEN format('There is no label "%s".', definition ->> 'label')
		WHEN kind <> CASE WHEN source IN ('hour', 'weekday', 'discount_share') THEN 'number' ELSE 'single' END THEN format('Label "%s" is a %s.', definition ->> 'label', kind)
		WHEN NOT EXISTS (SELECT FROM loyalty.activity_kind k WHERE k.kind = coalesce(definition ->> 'kind', 'order')) THEN 'There is no such kind of activity.'
		WHEN coalesce(definition ->> 'at_least', '1') !~ '^[1-9][0-9]{0,5}$' THEN '"at_least" is a whole number from 1 on.'
		WHEN coalesce(definition ->> 'share', '0') !~ '^(0|0?[.][0-9]+|0[.][0-9]+|1)$' THEN '"share" is from 0 to 1.' END;
	BEGIN
		IF wrong IS NULL AND ((definition ->> 'within')::interval <= interval '0' OR (definition ->> 'valid_for')::interval <= interval '0') THEN
			wrong := '"within" and "valid_for" are positive intervals.';
		END IF;
	EXCEPTION WHEN data_exception THEN
		wrong := '"within" and "valid_for" are positive intervals.';
	END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'rule "%" cannot be defined so', coalesce(rule, 'NULL')
			USING ERRCODE = 'LY702', DETAIL = wrong,
				HINT = 'For example {"label": "preferred_hour", "from": "hour", "within": "365 days", "at_least": 5, "share": 0.4, "valid_for": "90 days"}.';
	END IF;
	PERFORM loyalty.lock_key('label_rule ' || rule);
	SELECT r.version, r.definition INTO last FROM loyalty.label_rule r WHERE r.rule = define_label_rule.rule ORDER BY r.version DESC LIMIT 1;
	IF last.definition = definition THEN
		RETURN last.version;
	END IF;
	INSERT INTO loyalty.label_rule (rule, version, definition) VALUES (rule, coalesce(last.version, 0) + 1, definition);
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_label_rule(text, jsonb) IS
'Defines how a label is found out from what members did, or a new version of that: {"label": "preferred_hour", "from": "hour", "kind": "order", "within": "365 days", "at_least": 5, "share": 0.4, "valid_for": "90 days"}. from: joined_via (the channel in which they joined), first_channel (of the first activity), channel, category (of lines), hour, weekday (1 is Monday; by the program''s time zone): the most frequent, whose share is the confidence; discount_share: which part of the orders has a discount. Said of members with at_least events and such a share, by refresh_labels(); it lapses after valid_for. Returns the version. Error: LY702.';

CREATE FUNCTION next_refresh_labels(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	r loyalty.label_rule;
	-- behind the largest number there is nobody
	from_id CONSTANT bigint := coalesce(nullif(behind, 9223372036854775807) + 1, -9223372036854775807);
	valid_for interval;
	rule_label text;
	source CONSTANT text := 'rule:' || scope;
BEGIN
	SELECT x.* INTO r FROM loyalty.label_rule x WHERE x.rule = scope ORDER BY x.version DESC LIMIT 1;
	rule_label := r.definition ->> 'label';
	valid_for := r.definition ->> 'valid_for';
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.member') END;
	up_to := loyalty.next_members(behind, batch_size, '{member,activity,member_label}');
	IF up_to IS NULL THEN
		RETURN;
	END IF;
	EXECUTE format($q$
		WITH found AS MATERIALIZED (
			SELECT f.person, f.value, f.share, f.events FROM (%s) f (person, value, share, events)
			WHERE f.value IS NOT NULL AND f.events >= $5 AND f.share >= $6
				AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = f.person AND m.status = 'forgotten')
		), said AS MATERIALIZED (
			-- what the rule said last
			SELECT DISTINCT ON (s.person) s.person, s.value, s.valid_until FROM (
				SELECT loyalty.canonical_member(m.member_id) AS person, m.* FROM loyalty.member_label m
				WHERE m.label = $7 AND m.source = $8 AND (m.member_id BETWEEN $1 AND $2
					OR m.member_id IN (SELECT a.member_id FROM loyalty.member_alias a WHERE a.canonical_id BETWEEN $1 AND $2))) s
			WHERE s.person BETWEEN $1 AND $2
			ORDER BY s.person, s.recorded_at DESC, s.member_id DESC, s.assertion_no DESC
		)
		INSERT INTO loyalty.member_label (member_id, label, value, says, source, confidence, valid_from, valid_until, evidence)
		SELECT coalesce(f.person, s.person), $7, f.value, CASE WHEN f.person IS NULL THEN 'nothing' ELSE 'yes' END, $8, trim_scale(coalesce(f.share, 1)), $3,
			CASE WHEN f.person IS NOT NULL THEN $3 + $9 END, jsonb_build_object('rule', $10::text, 'version', $11::integer, 'as_of', $3, 'events', f.events)
		FROM found f FULL JOIN said s ON s.person = f.person
		-- another value, or one whose time is more than half over
		WHERE CASE WHEN f.person IS NULL THEN s.value IS NOT NULL AND (s.valid_until > $3) IS NOT FALSE
			ELSE f.value IS DISTINCT FROM s.value OR s.valid_until <= $3 + $9 / 2 END
		ORDER BY 1$q$, loyalty.label_rule_query(r.definition))
	USING from_id, up_to, as_of, as_of - coalesce((r.definition ->> 'within')::interval, interval '1000 years'),
		coalesce((r.definition ->> 'at_least')::bigint, 1), coalesce((r.definition ->> 'share')::numeric, 0), rule_label, source, valid_for, scope, r.version;
	GET DIAGNOSTICS result = ROW_COUNT;
	seen := (SELECT count(*) FROM loyalty.member m WHERE m.member_id BETWEEN from_id AND up_to);
END
$$;
COMMENT ON FUNCTION next_refresh_labels(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'Says of the next members what a rule finds out of them, where that differs from what it said. Part of refresh_labels(), by run_job().';

CREATE FUNCTION require_label_rule(rule text) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.label_rule r WHERE r.rule = $1) THEN
		RAISE EXCEPTION 'there is no rule "%" of labels', coalesce(rule, 'NULL')
			USING ERRCODE = 'LY701', DETAIL = 'The table loyalty.label_rule has no row with this name.', HINT = 'Define it with loyalty.define_label_rule().';
	END IF;
END
$$;
COMMENT ON FUNCTION require_label_rule(text) IS 'Raises LY701 where there is no such rule. Part of refresh_labels().';

CREATE PROCEDURE refresh_labels(rule text, as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 100000)
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM loyalty.require_label_rule(rule);
	CALL loyalty.run_job('refresh_labels', as_of, batch_size, 'members', 'labels said', pg_catalog.jsonb_build_object('rule', rule), rule);
END
$$;
COMMENT ON PROCEDURE refresh_labels(text, timestamptz, integer) IS
'Says of all members what a rule finds out of them as of an instant (NULL: now), by its last version: where the value is another than it said last, or its time is more than half over; and takes back what it does not find any more. Commits about each batch_size members. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run: result is how many labels were said. Errors: LY701 rule, LY006 it is running already, 25001 inside a transaction, LY003.';
