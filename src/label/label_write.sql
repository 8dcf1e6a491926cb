/*
 * label: saying something of a member.
 */

CREATE FUNCTION define_label(label text, kind text DEFAULT 'flag', allowed text[] DEFAULT NULL, ranks jsonb DEFAULT '{}', at_least numeric DEFAULT 0,
	name text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	wrong text := CASE
		WHEN label IS NULL OR label !~ '^[a-z][a-z0-9_]{0,62}$' OR label = 'members'
			THEN 'A name has up to 63 characters, lower-case letters, digits and underscores, begins with a letter, and is not members.'
		WHEN label = 'consent' THEN 'It is there, and means consent; see define_purpose().'
		WHEN kind IS NULL OR kind NOT IN ('flag', 'single', 'set', 'number') THEN 'A kind is flag, single, set or number.'
		WHEN cardinality(allowed) = 0 OR array_position(allowed, NULL) IS NOT NULL OR allowed IS NOT NULL AND kind NOT IN ('single', 'set')
			THEN 'Values are listed of single labels and of sets, at least one, and none is NULL.'
		WHEN ranks IS NULL OR jsonb_typeof(ranks) <> 'object'
			OR EXISTS (SELECT FROM jsonb_each_text(ranks) r WHERE r.value !~ '^[0-9]{1,6}$') THEN 'Ranks are an object of whole numbers, by sources.'
		WHEN at_least IS NULL OR at_least NOT BETWEEN 0 AND 1 OR scale(at_least) > 6 THEN 'at_least is from 0 to 1, with at most six decimals.' END;
	before text;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'label "%" cannot be defined so', coalesce(label, 'NULL')
			USING ERRCODE = 'LY702', DETAIL = wrong, HINT = 'For example define_label(''city'', ''single'').';
	END IF;
	INSERT INTO loyalty.label AS l (label, kind, allowed, ranks, at_least, name)
	VALUES (label, kind, allowed, ranks, at_least, coalesce(name, initcap(replace(label, '_', ' '))))
	ON CONFLICT ON CONSTRAINT label_pkey DO UPDATE SET allowed = excluded.allowed, ranks = excluded.ranks, at_least = excluded.at_least,
		name = coalesce(define_label.name, l.name)
	-- asked for again
	WHERE (l.allowed, l.ranks, l.at_least, l.name) IS DISTINCT FROM (excluded.allowed, excluded.ranks, excluded.at_least, coalesce(define_label.name, l.name));
	SELECT l.kind INTO before FROM loyalty.label l WHERE l.label = define_label.label;
	IF before <> kind THEN
		RAISE EXCEPTION 'label "%" is a %', label, before
			USING ERRCODE = 'LY702', DETAIL = 'What was said of members was said of that kind.', HINT = 'Define another label.';
	END IF;
	RETURN label;
END
$$;
COMMENT ON FUNCTION define_label(text, text, text[], jsonb, numeric, text) IS
'Defines something to say of members, or changes how it is read. kind: flag, single (one value), set (any number of values) or number; it stays. allowed: its values (NULL: any). ranks: of sources, where they differ from self 1, operator 2, rule 3, model 4, import 5, others last; what a rule, a model or an import says may be called model:<name>. at_least: from which confidence on a member has it. Returns the label. Error: LY702.';

CREATE FUNCTION label_value(label text, value text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	l loyalty.label;
	wrong text;
BEGIN
	SELECT x.* INTO l FROM loyalty.label x WHERE x.label = $1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no label "%"', coalesce(label, 'NULL')
			USING ERRCODE = 'LY701', DETAIL = 'The labels are in loyalty.label.', HINT = 'Define it with loyalty.define_label().';
	END IF;
	wrong := CASE
		WHEN l.kind = 'consent' THEN 'Consent is given and withdrawn by set_consent().'
		WHEN l.kind = 'flag' AND value NOT IN ('true', 'false') THEN 'A flag is true (or NULL) or false.'
		WHEN l.kind <> 'flag' AND (value IS NULL OR value = '' OR octet_length(value) > 1000) THEN format('A %s needs a value, of at most 1000 bytes.', l.kind)
		WHEN l.kind = 'number' AND value !~ '^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)$' THEN 'The value is no decimal number.'
		WHEN l.kind IN ('single', 'set') AND value <> ALL (l.allowed) THEN format('Its values are %s.', array_to_string(l.allowed, ', ')) END;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'label "%" cannot be %', label, coalesce('"' || left(value, 100) || '"', 'NULL')
			USING ERRCODE = 'LY702', DETAIL = wrong, HINT = 'See loyalty.label.';
	END IF;
	RETURN CASE l.kind WHEN 'flag' THEN coalesce(value, 'true') WHEN 'number' THEN trim_scale(value::numeric)::text ELSE value END;
END
$$;
COMMENT ON FUNCTION label_value(text, text) IS 'The value of a label as it is kept. Errors: LY701 no such label, LY702 no such value. Part of set_label().';

CREATE FUNCTION require_source(source text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF source IS NULL OR source = '' OR octet_length(source) > 200 THEN
		RAISE EXCEPTION 'source must be given'
			USING ERRCODE = 'LY003', DETAIL = 'Who says it has a name of at most 200 bytes.', HINT = 'Such as self, operator, model or import.';
	END IF;
	RETURN source;
END
$$;
COMMENT ON FUNCTION require_source(text) IS 'Answers with the source of an assertion; LY003 without one. Part of the writing functions.';

CREATE FUNCTION insert_assertion(member_id bigint, label text, value text, says text, source text, confidence numeric, valid_from timestamptz,
	valid_until timestamptz, evidence jsonb, reason text, identifier_id bigint DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	no bigint;
	kind CONSTANT text := CASE WHEN label <> 'consent' THEN CASE says WHEN 'nothing' THEN 'label_retracted' ELSE 'label_set' END
		ELSE CASE says WHEN 'yes' THEN 'consent_given' ELSE 'consent_withdrawn' END END;
BEGIN
	IF member_id IS NULL OR valid_from IS NULL OR NOT isfinite(valid_from) OR NOT isfinite(valid_until) OR valid_until <= valid_from THEN
		RAISE EXCEPTION 'member and instants do not fit'
			USING ERRCODE = 'LY003', DETAIL = format('Member %s, from %s until %s.', coalesce(member_id::text, 'NULL'), coalesce(valid_from::text, 'NULL'), coalesce(valid_until::text, 'NULL')),
				HINT = 'Give a member and finite instants, the second later than the first, or NULL for no end.';
	ELSIF confidence IS NULL OR confidence NOT BETWEEN 0 AND 1 OR scale(trim_scale(confidence)) > 6 THEN
		RAISE EXCEPTION 'confidence is %', coalesce(confidence::text, 'NULL')
			USING ERRCODE = 'LY702', DETAIL = 'It is from 0 to 1, with at most six decimals.', HINT = 'Leave it out for 1.';
	END IF;
	-- a member who is being forgotten is waited for
	PERFORM loyalty.require_not_forgotten(loyalty.kept_members(loyalty.numbers_of(member_id)));
	INSERT INTO loyalty.member_label AS m (member_id, label, value, says, source, confidence, valid_from, valid_until, identifier_id, evidence, reason)
	VALUES (member_id, label, value, says, loyalty.require_source(source), trim_scale(confidence), valid_from, valid_until, identifier_id, evidence, reason)
	RETURNING m.assertion_no INTO no;
	IF loyalty.is_heard(kind) THEN
		PERFORM loyalty.happen(kind, member_id, valid_from, jsonb_strip_nulls(jsonb_build_object('version', 1, 'label', label, 'value', value, 'says', says,
			'source', source, 'confidence', confidence, 'valid_until', valid_until)));
	END IF;
	RETURN no;
END
$$;
COMMENT ON FUNCTION insert_assertion(bigint, text, text, text, text, numeric, timestamptz, timestamptz, jsonb, text, bigint) IS
'Writes what was said of a member. Errors: LY003, LY702 confidence, LY203. Part of the writing functions.';

CREATE FUNCTION set_label(member_id bigint, label text, value text DEFAULT NULL, source text DEFAULT 'operator', confidence numeric DEFAULT 1,
	valid_from timestamptz DEFAULT statement_timestamp(), valid_until timestamptz DEFAULT NULL, evidence jsonb DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT assertion_no bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	kept CONSTANT text := loyalty.label_value(label, value);
	is_flag CONSTANT boolean := (SELECT l.kind = 'flag' FROM loyalty.label l WHERE l.label = set_label.label);
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('set_label', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(label, kept, source, confidence, extract(epoch FROM nullif(valid_from, statement_timestamp())),
				extract(epoch FROM valid_until), evidence));
		IF earlier IS NOT NULL THEN
			assertion_no := earlier ->> 'assertion_no'; replayed := true;
			RETURN;
		END IF;
	END IF;
	assertion_no := loyalty.insert_assertion(member_id, label, CASE WHEN NOT is_flag THEN kept END,
		CASE WHEN is_flag AND kept = 'false' THEN 'no' ELSE 'yes' END, source, confidence, valid_from, valid_until, evidence, NULL);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('set_label', member_id, idempotency_key, jsonb_build_object('assertion_no', assertion_no));
	END IF;
END
$$;
COMMENT ON FUNCTION set_label(bigint, text, text, text, numeric, timestamptz, timestamptz, jsonb, text) IS
'Says something of a member: a flag (value NULL or true; false says that it is not so), or a label with a value, valid from an instant until another (NULL: no end). A source replaces what it said itself, as long as the newer one is valid; what others say stays, and the rank of sources decides. Returns the number of the assertion, and whether this is the first result of a repeated idempotency_key. Errors: LY701 label, LY702 value or confidence, LY003, LY004, LY115, LY203.';

CREATE FUNCTION retract_label(member_id bigint, label text, value text DEFAULT NULL, source text DEFAULT 'operator',
	at timestamptz DEFAULT statement_timestamp(), reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT assertion_no bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	kind CONSTANT text := (SELECT l.kind FROM loyalty.label l WHERE l.label = retract_label.label);
	kept text := value;
	said text;
	earlier jsonb;
BEGIN
	replayed := false;
	-- that there is such a label, and of a set such a value
	IF kind IS NULL OR kind = 'set' OR kind = 'consent' OR value IS NOT NULL THEN
		kept := loyalty.label_value(label, value);
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('retract_label', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(label, kept, source, extract(epoch FROM nullif(at, statement_timestamp())), reason));
		IF earlier IS NOT NULL THEN
			assertion_no := earlier ->> 'assertion_no'; replayed := true;
			RETURN;
		END IF;
	END IF;
	IF kept IS NOT NULL AND kind <> 'set' THEN
		said := (SELECT CASE m.says WHEN 'nothing' THEN NULL WHEN 'no' THEN 'false' ELSE coalesce(m.value, 'true') END FROM loyalty.member_label m
			WHERE m.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(retract_label.member_id)))
				AND m.label = retract_label.label AND m.source = retract_label.source AND m.valid_from <= at AND (m.valid_until > at) IS NOT FALSE
			ORDER BY m.recorded_at DESC, m.member_id DESC, m.assertion_no DESC LIMIT 1);
		IF said IS DISTINCT FROM kept THEN
			RAISE EXCEPTION 'source "%" does not say "%" of label "%"', source, kept, label
				USING ERRCODE = 'LY702', DETAIL = format('At %s it says %s.', at, coalesce('"' || said || '"', 'nothing')),
					HINT = 'Leave value out to retract whatever it says.';
		END IF;
	END IF;
	assertion_no := loyalty.insert_assertion(member_id, label, CASE WHEN kind = 'set' THEN kept END, 'nothing', source, 1, at, NULL, NULL, reason);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('retract_label', member_id, idempotency_key, jsonb_build_object('assertion_no', assertion_no));
	END IF;
END
$$;
COMMENT ON FUNCTION retract_label(bigint, text, text, text, timestamptz, text, text) IS
'Takes back what a source says of a member, from an instant on; of a set a value. What other sources say stays. Of other labels value is NULL, or what the source says. What was never said can be taken back, and changes nothing. Returns as set_label(). Errors: LY701 label, LY702 the source says another value, LY003, LY004, LY115, LY203.';
