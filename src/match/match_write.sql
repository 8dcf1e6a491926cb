/*
 * match: definitions, models, finding, deciding, merging.
 */

CREATE FUNCTION match_fields(definition jsonb) RETURNS text[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_match_fields';
COMMENT ON FUNCTION match_fields(jsonb) IS
'The fields of a definition (see find_matches()) that are compared, in the order in which patterns have them. Error: LY844, with the place of each mistake.';

CREATE FUNCTION existing_match(match text, OUT version integer, OUT definition jsonb, OUT link numeric, OUT review numeric) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	SELECT d.version, d.definition || '{"id": "member_id", "in": "attributes"}', coalesce((d.definition ->> 'link')::numeric, 0.99),
		coalesce((d.definition ->> 'review')::numeric, 0.5)
	INTO version, definition, link, review
	FROM loyalty.match_definition d WHERE d.match = $1 ORDER BY d.version DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no match "%"', coalesce($1, 'NULL')
			USING ERRCODE = 'LY840', DETAIL = 'The table loyalty.match_definition has no row of it.', HINT = 'Define it with loyalty.define_match().';
	END IF;
END
$$;
COMMENT ON FUNCTION existing_match(text) IS
'The last version of a match: its definition, as of the table member, and its two probabilities. Error: LY840. Part of the functions of room match.';

CREATE FUNCTION define_match(match text, definition jsonb) RETURNS integer
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last loyalty.match_definition;
BEGIN
	IF match IS NULL OR match !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a match: "%"', match
			USING ERRCODE = 'LY003', DETAIL = 'A name has up to 63 characters and begins with a letter.',
				HINT = 'Use lower-case letters, digits and underscores.';
	ELSIF definition IS NULL THEN
		RAISE EXCEPTION 'definition must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'It says what is compared.', HINT = 'Give {"fields": {"surname": "name", ...}}.';
	ELSIF definition ?| '{id,in}' THEN
		RAISE EXCEPTION 'invalid definition of a match'
			USING ERRCODE = 'LY844', DETAIL = 'It has "id" or "in"; members are told apart by their numbers, and fields are their attributes.',
				HINT = 'Leave both out.';
	ELSIF cardinality(loyalty.match_fields(definition)) < 3 THEN
		RAISE EXCEPTION '% fields do not tell matches from other pairs', cardinality(loyalty.match_fields(definition))
			USING ERRCODE = 'LY842', DETAIL = 'With fewer than three fields, different models fit the same counts.', HINT = 'Compare three fields or more.';
	END IF;
	PERFORM loyalty.lock_key('match/' || match);
	SELECT * INTO last FROM loyalty.match_definition d WHERE d.match = define_match.match ORDER BY d.version DESC LIMIT 1;
	IF last.definition = definition THEN
		RETURN last.version;
	END IF;
	INSERT INTO loyalty.match_definition (match, version, definition) VALUES (match, coalesce(last.version, 0) + 1, definition);
	RETURN coalesce(last.version, 0) + 1;
END
$$;
COMMENT ON FUNCTION define_match(text, jsonb) IS
'Defines how members are found who are one person, or a new version of it: a definition as find_matches() takes it, without id and in; its fields are attributes of members. Returns the version; the same again makes no new one. A version needs a model of its own: fit_match(), or the next find_duplicates(). Errors: LY844 a mistake, with its place; LY842 fewer than three fields; LY003.';

CREATE FUNCTION put_match_model(match text, OUT model_no integer, OUT verdict text, OUT expected_matches numeric) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	m record;
	counted jsonb;
	fitted jsonb;
BEGIN
	PERFORM loyalty.refuse_distributed('fit_match');
	SELECT * INTO m FROM loyalty.existing_match(match);
	PERFORM loyalty.lock_key('match/' || match);
	counted := loyalty.match_patterns('loyalty.member', m.definition);
	fitted := loyalty.match_fit(counted);
	INSERT INTO loyalty.match_model AS x (match, model_no, version, model, patterns)
	VALUES (match, coalesce((SELECT max(y.model_no) FROM loyalty.match_model y WHERE y.match = put_match_model.match), 0) + 1, m.version, fitted, counted)
	RETURNING x.model_no INTO model_no;
	verdict := (SELECT r.remark FROM loyalty.match_report(fitted) r WHERE r.item = 'verdict');
	expected_matches := fitted ->> 'expected_matches';
END
$$;
COMMENT ON FUNCTION put_match_model(text) IS 'Fits a model to the members, and keeps it. Part of fit_match() and find_duplicates().';

CREATE FUNCTION fit_match(match text, OUT model_no integer, OUT verdict text, OUT expected_matches numeric) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT m.* INTO model_no, verdict, expected_matches FROM loyalty.put_match_model($1) m;
	PERFORM loyalty.keep_act('fit_match', subject => format('%s %s', $1, model_no));
END
$$;
COMMENT ON FUNCTION fit_match(text) IS
'Fits a model to the members as they are, and keeps it as the one that find_duplicates() weighs by from now on. Reads all members; decisions of reviewers stay what they are. Returns its number, the verdict of match_report(), and how many pairs are expected to be one person. Errors: LY840 match; LY841 a key that too many members share; LY843 swapped; LY007 the tables are distributed.';

CREATE FUNCTION members_changed_since(since timestamptz) RETURNS bigint[]
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY(
		SELECT a.member_id FROM loyalty.member_act a
		WHERE a.recorded_at >= $1 AND a.act IN ('created', 'attributes', 'merged', 'unmerged')
		UNION
		SELECT loyalty.canonical_member(a.member_id) FROM loyalty.member_act a
		WHERE a.recorded_at >= $1 AND a.act IN ('created', 'attributes', 'merged', 'unmerged')
	)
$$;
COMMENT ON FUNCTION members_changed_since(timestamptz) IS
'The members who were made, given attributes, merged or unmerged since an instant, and those who stand for them. Part of find_duplicates().';

CREATE FUNCTION find_duplicates_of(match text, since timestamptz DEFAULT NULL, refit boolean DEFAULT false,
	OUT pairs bigint, OUT changed bigint, OUT gone bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	m record;
	used record;
	new record;
	members bigint[];
BEGIN
	PERFORM loyalty.refuse_distributed('find_duplicates');
	SELECT * INTO m FROM loyalty.existing_match(match);
	PERFORM loyalty.lock_key('match/' || match);
	SELECT x.model_no, x.model INTO used FROM loyalty.match_model x
	WHERE x.match = find_duplicates_of.match AND x.version = m.version AND refit IS NOT TRUE ORDER BY x.model_no DESC LIMIT 1;
	IF NOT FOUND THEN
		PERFORM loyalty.put_match_model(match);
		SELECT x.model_no, x.model INTO used FROM loyalty.match_model x
		WHERE x.match = find_duplicates_of.match ORDER BY x.model_no DESC LIMIT 1;
	END IF;
	IF since IS NOT NULL THEN
		members := loyalty.members_changed_since(since);
	END IF;
	SELECT array_agg(f.a::bigint) AS a, array_agg(f.b::bigint) AS b, array_agg(f.weight) AS weight, array_agg(f.probability) AS probability,
		array_agg(f.pattern) AS pattern, array_agg(f.parts) AS parts, count(*) AS n
	INTO new FROM loyalty.find_matches('loyalty.member', m.definition, used.model, members::text[]) f;

	-- from here on nobody is forgotten whose pairs are written
	PERFORM loyalty.lock_key('match_pair');
	DELETE FROM loyalty.match_pair p
	WHERE p.match = find_duplicates_of.match AND (members IS NULL OR p.member_id = ANY (members) OR p.other_id = ANY (members))
		AND NOT EXISTS (SELECT FROM unnest(new.a, new.b) n (a, b) WHERE n.a = p.member_id AND n.b = p.other_id);
	GET DIAGNOSTICS gone = ROW_COUNT;
	INSERT INTO loyalty.match_pair AS p (member_id, other_id, match, weight, probability, pattern, parts, model_no)
	SELECT n.a, n.b, match, n.weight, n.probability, n.pattern, n.parts, used.model_no
	FROM unnest(new.a, new.b, new.weight, new.probability, new.pattern, new.parts) n (a, b, weight, probability, pattern, parts)
	WHERE (SELECT count(*) FROM loyalty.member x WHERE x.member_id IN (n.a, n.b) AND x.status <> 'forgotten') = 2
	ON CONFLICT ON CONSTRAINT match_pair_pkey DO UPDATE
	SET weight = excluded.weight, probability = excluded.probability, pattern = excluded.pattern, parts = excluded.parts,
		model_no = excluded.model_no, found_at = excluded.found_at
	WHERE (p.weight, p.pattern, p.parts, p.model_no) IS DISTINCT FROM (excluded.weight, excluded.pattern, excluded.parts, excluded.model_no);
	GET DIAGNOSTICS changed = ROW_COUNT;
	pairs := new.n;
END
$$;
COMMENT ON FUNCTION find_duplicates_of(text, timestamptz, boolean) IS
'What find_duplicates() does, in one transaction: how many pairs there are now (since: with a member who is new or changed), how many of them are new or weigh otherwise, and how many are no longer any. Errors: as of find_duplicates(). Part of find_duplicates().';

CREATE PROCEDURE find_duplicates(match text, since timestamptz DEFAULT NULL, refit boolean DEFAULT false)
LANGUAGE plpgsql
AS $$
DECLARE
	run record;
	result record;
BEGIN
	PERFORM loyalty.require_autocommit('find_duplicates');
	PERFORM loyalty.existing_match(match);
	SELECT * INTO run FROM loyalty.begin_job('find_duplicates', NULL, 1, 'pairs',
		pg_catalog.jsonb_build_object('match', match, 'since', since AT TIME ZONE 'UTC', 'refit', refit));
	COMMIT;
	SELECT * INTO result FROM loyalty.find_duplicates_of(match, since, refit);
	PERFORM loyalty.note_job(run.run_id, done => result.pairs, result => result.changed, total => result.pairs);
	PERFORM loyalty.end_job(run.run_id, 'pairs new or changed');
	COMMIT;
	PERFORM loyalty.unlock_job('find_duplicates');
END
$$;
COMMENT ON PROCEDURE find_duplicates(text, timestamptz, boolean) IS
'Finds pairs of members who are probably one person, by the last model of the last version (one is fitted where there is none; refit: anew), and stores those from "review" on; pairs that are none any more are deleted. since: only pairs with a member who was made, changed, merged or unmerged since then. Merges nobody: see match_candidates(), review_queue(), merge_match(). Locks no member; holds a snapshot while it compares. Progress is in the table job_run. Errors: LY840 match; LY841 a key that too many members share; LY843 the fit has it the wrong way round; LY006 it is running already; 25001 inside a transaction.';

CREATE FUNCTION decision_between(member_ids bigint[], other_ids bigint[], OUT decision text, OUT decision_no bigint) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.decision, r.decision_no
	FROM (
		SELECT x.* FROM loyalty.match_review x WHERE x.member_id = ANY ($1) AND x.other_id = ANY ($2)
		UNION ALL
		SELECT x.* FROM loyalty.match_review x WHERE x.member_id = ANY ($2) AND x.other_id = ANY ($1)
	) r
	ORDER BY r.decision_no DESC LIMIT 1
$$;
COMMENT ON FUNCTION decision_between(bigint[], bigint[]) IS
'The last decision about any of some members and any of some others; NULL where there is none. Part of the functions of room match.';

CREATE FUNCTION evidence_between(match text, member_ids bigint[], other_ids bigint[],
	OUT weight numeric, OUT probability numeric, OUT parts jsonb, OUT model_no integer) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.weight, p.probability, p.parts, p.model_no
	FROM (
		SELECT x.* FROM loyalty.match_pair x WHERE x.member_id = ANY ($2) AND x.other_id = ANY ($3)
		UNION ALL
		SELECT x.* FROM loyalty.match_pair x WHERE x.member_id = ANY ($3) AND x.other_id = ANY ($2)
	) p
	WHERE $1 IS NULL OR p.match = $1
	ORDER BY p.weight DESC, p.member_id, p.other_id LIMIT 1
$$;
COMMENT ON FUNCTION evidence_between(text, bigint[], bigint[]) IS
'The pair of any of some members and any of some others that weighs most, of a match (NULL: of any); NULL where there is none. Part of the functions of room match.';

CREATE FUNCTION review_pair(member_id bigint, other_id bigint, decision text, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT decision_no bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	canonical_ids bigint[];
	earlier jsonb;
BEGIN
	replayed := false;
	IF member_id IS NULL OR other_id IS NULL OR decision IS NULL OR decision NOT IN ('same', 'different') THEN
		RAISE EXCEPTION 'member_id, other_id and decision must be given'
			USING ERRCODE = 'LY003', DETAIL = format('The decision is %s, and must be same or different.', coalesce(quote_literal(decision), 'NULL')),
				HINT = 'Leave a pair alone of which you are not sure.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('review_pair', loyalty.numbers_of(member_id), idempotency_key, jsonb_build_array(other_id, decision, reason));
		IF earlier IS NOT NULL THEN
			decision_no := earlier ->> 'decision_no'; replayed := true;
			RETURN;
		END IF;
	END IF;
	canonical_ids := loyalty.lock_members(ARRAY[member_id, other_id]);
	PERFORM loyalty.require_not_forgotten(canonical_ids || member_id || other_id);
	IF canonical_ids[1] = canonical_ids[2] THEN
		RAISE EXCEPTION 'members % and % are one already', member_id, other_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', canonical_ids[1]),
				HINT = 'loyalty.why_merged() tells why; loyalty.unmerge_members() takes it back first.';
	END IF;
	INSERT INTO loyalty.match_review AS r (member_id, other_id, decision, reason)
	VALUES (least(member_id, other_id), greatest(member_id, other_id), decision, reason)
	RETURNING r.decision_no INTO decision_no;
	PERFORM loyalty.keep_act('review_pair', least(member_id, other_id), decision_no, decision);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('review_pair', member_id, idempotency_key, jsonb_build_object('decision_no', decision_no));
	END IF;
END
$$;
COMMENT ON FUNCTION review_pair(bigint, bigint, text, text, text) IS
'Decides that two members are the same person, or different ones. The decision holds between the persons that they are part of, follows merges and comes apart with them, outlives every model, and is not asked again; a later one about the same persons takes its place. same merges nobody by itself: see merge_match(). Returns the number of the decision, and whether it is the first result of a repeated idempotency_key (which belongs to member_id). Errors: LY202 no such member, LY203 forgotten, LY209 one person already, LY003, LY004.';

CREATE FUNCTION link_members(match text, link numeric, survivor_id bigint, absorbed_id bigint, canonical_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	survivors CONSTANT bigint[] := loyalty.member_tree(canonical_ids[1]);
	others CONSTANT bigint[] := loyalty.member_tree(canonical_ids[2]);
	decided record;
	evidence record;
	merge_id bigint;
BEGIN
	SELECT * INTO decided FROM loyalty.decision_between(survivors, others);
	SELECT * INTO evidence FROM loyalty.evidence_between(match, survivors, others);
	IF decided.decision = 'different' THEN
		RAISE EXCEPTION 'members % and % were found not to be the same', survivor_id, absorbed_id
			USING ERRCODE = 'LY845', DETAIL = format('Decision %s says so.', decided.decision_no),
				HINT = 'Decide anew with loyalty.review_pair(), if that was wrong.';
	ELSIF decided.decision IS NULL AND (evidence.probability >= link) IS NOT TRUE THEN
		RAISE EXCEPTION 'match "%" does not link members % and %', match, survivor_id, absorbed_id
			USING ERRCODE = 'LY845', DETAIL = CASE WHEN evidence.probability IS NULL THEN 'No pair of them was found.'
				ELSE format('Their probability is %s, below %s.', evidence.probability, link) END,
				HINT = 'Decide with loyalty.review_pair(), or merge them with loyalty.merge_members().';
	END IF;
	merge_id := (loyalty.merge_members(survivor_id, absorbed_id, concat_ws('; ',
		format('match %s', match),
		CASE WHEN evidence.weight IS NOT NULL THEN format('%s bits by model %s: %s', round(evidence.weight, 2), evidence.model_no,
			(SELECT string_agg(format('%s %s %s', f.key, f.value ->> 'level',
					round((f.value ->> 'weight')::numeric + coalesce((f.value ->> 'frequency')::numeric, 0), 2)), ', '
				ORDER BY (f.value ->> 'weight')::numeric + coalesce((f.value ->> 'frequency')::numeric, 0) DESC, f.key COLLATE "C")
			FROM jsonb_each(evidence.parts -> 'fields') f)) END,
		CASE WHEN decided.decision IS NOT NULL THEN format('decision %s', decided.decision_no) END))).merge_id;
	INSERT INTO loyalty.match_link (member_id, merge_id, other_id, match, weight, probability, parts, model_no, decision_no)
	VALUES (survivor_id, merge_id, absorbed_id, match, evidence.weight, evidence.probability, evidence.parts, evidence.model_no, decided.decision_no);
	RETURN merge_id;
END
$$;
COMMENT ON FUNCTION link_members(text, numeric, bigint, bigint, bigint[]) IS
'Merges two members, who are locked, for the evidence that there is, and keeps it. Errors: LY845 no evidence, or they were found not to be the same, and those of merge_members(). Part of merge_match() and merge_matches().';

CREATE FUNCTION merge_match(match text, survivor_id bigint, absorbed_id bigint, idempotency_key text DEFAULT NULL,
	OUT merge_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	link CONSTANT numeric := (loyalty.existing_match(match)).link;
	canonical_ids bigint[];
	earlier jsonb;
BEGIN
	replayed := false;
	IF survivor_id IS NULL OR absorbed_id IS NULL THEN
		RAISE EXCEPTION 'survivor_id and absorbed_id must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A merge joins one member to another.', HINT = 'Name both members.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('merge_match', loyalty.numbers_of(survivor_id), idempotency_key, jsonb_build_array(match, absorbed_id));
		IF earlier IS NOT NULL THEN
			merge_id := earlier ->> 'merge_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	canonical_ids := loyalty.lock_members(ARRAY[survivor_id, absorbed_id]);
	IF canonical_ids[1] = canonical_ids[2] THEN
		RAISE EXCEPTION 'members % and % are one already', survivor_id, absorbed_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', canonical_ids[1]), HINT = 'loyalty.why_merged() tells why.';
	END IF;
	merge_id := loyalty.link_members(match, link, survivor_id, absorbed_id, canonical_ids);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('merge_match', survivor_id, idempotency_key, jsonb_build_object('merge_id', merge_id));
	END IF;
END
$$;
COMMENT ON FUNCTION merge_match(text, bigint, bigint, text) IS
'Merges two members whom a match links, or who were found to be the same: merge_members(), with the evidence as its reason, which is kept in match_link, too. unmerge_members() takes it back. Returns the merge, and whether it is the first result of a repeated idempotency_key (which belongs to survivor_id). Errors: LY840 match; LY845 neither links them, or they were found not to be the same; LY209 one person already; and those of merge_members().';

CREATE FUNCTION merge_matches(match text, row_count integer DEFAULT 100,
	OUT merge_id bigint, OUT survivor_id bigint, OUT absorbed_id bigint, OUT weight numeric) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	link CONSTANT numeric := (loyalty.existing_match(match)).link;
	pairs CONSTANT jsonb := (SELECT coalesce(jsonb_agg(jsonb_build_array(c.member_id, c.other_id, c.weight)), '[]')
		FROM loyalty.match_candidates(match, row_count) c);
	pair jsonb;
	canonical_ids bigint[];
BEGIN
	IF row_count IS NULL OR row_count < 1 OR row_count > 10000 THEN
		RAISE EXCEPTION 'row_count must be from 1 to 10000'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(row_count::text, 'NULL')), HINT = 'Call it again for more.';
	END IF;
	-- all of them in one order, before the first merge
	PERFORM loyalty.lock_members(ARRAY(SELECT DISTINCT x::bigint FROM jsonb_array_elements(pairs) p, LATERAL (VALUES (p ->> 0), (p ->> 1)) v (x) ORDER BY 1), true);
	FOR pair IN SELECT p FROM jsonb_array_elements(pairs) WITH ORDINALITY x (p, n) ORDER BY x.n LOOP
		survivor_id := pair ->> 0; absorbed_id := pair ->> 1; weight := pair ->> 2;
		canonical_ids := ARRAY[loyalty.canonical_member(survivor_id), loyalty.canonical_member(absorbed_id)];
		-- what came before may have made them one, or set somebody between them
		CONTINUE WHEN canonical_ids[1] = canonical_ids[2]
			OR (loyalty.decision_between(loyalty.member_tree(canonical_ids[1]), loyalty.member_tree(canonical_ids[2]))).decision = 'different';
		merge_id := loyalty.link_members(match, link, survivor_id, absorbed_id, canonical_ids);
		RETURN NEXT;
	END LOOP;
END
$$;
COMMENT ON FUNCTION merge_matches(text, integer) IS
'Merges the first row_count pairs of match_candidates() (as of now) as merge_match() does, in their order, the member with the smaller number surviving; call it until it returns nothing. All of it is one transaction, and one whom another session keeps locked is waited for. Errors: LY840 match, LY003, and those of merge_members().';

CREATE FUNCTION erase_match_texts(member_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_erase_match_texts';
COMMENT ON FUNCTION erase_match_texts(bigint[]) IS
'Erases reasons of decisions about members, and the evidence of their merges; returns of how many. Part of forget_member(); 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION forget_matches(member_ids bigint[]) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- find_duplicates() writes no pair of theirs from here on
	PERFORM loyalty.lock_key('match_pair');
	PERFORM loyalty.erase_rows('DELETE FROM loyalty.match_pair x WHERE x.member_id = ANY ($1) OR x.other_id = ANY ($1)', member_ids),
		loyalty.erase_match_texts(member_ids);
END
$$;
COMMENT ON FUNCTION forget_matches(bigint[]) IS
'What forget_member() means here: pairs with the members are deleted, reasons of decisions about them and the evidence of their merges are erased. Decisions and weights stay with the numbers of the members. Waits for find_duplicates() while it writes. Part of forget_member().';
