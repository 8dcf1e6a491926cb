/*
 * label: consent to be written to, by channel and purpose.
 */

CREATE FUNCTION define_purpose(purpose text, defaults jsonb DEFAULT '{"*": "opt_in"}') RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
BEGIN
	IF purpose IS NULL OR purpose !~ '^[a-z][a-z0-9_]{0,62}$' OR defaults IS NULL OR jsonb_typeof(defaults) <> 'object' OR NOT defaults ? '*'
		OR EXISTS (SELECT FROM jsonb_each_text(defaults) d WHERE d.value IS NULL OR d.value NOT IN ('opt_in', 'opt_out', 'always') OR d.key !~ '^([*]|[a-z][a-z0-9_]{0,62})$') THEN
		RAISE EXCEPTION 'purpose "%" cannot be defined so', coalesce(purpose, 'NULL')
			USING ERRCODE = 'LY707', DETAIL = format('Its defaults are %s.', coalesce(defaults::text, 'NULL')),
				HINT = 'Give opt_in, opt_out or always by channel, and * for the others, such as {"*": "opt_in", "post": "opt_out"}.';
	END IF;
	INSERT INTO loyalty.consent_purpose AS p (purpose, defaults) VALUES (purpose, defaults)
	ON CONFLICT ON CONSTRAINT consent_purpose_pkey DO UPDATE SET defaults = excluded.defaults WHERE p.defaults <> excluded.defaults;
	RETURN purpose;
END
$$;
COMMENT ON FUNCTION define_purpose(text, jsonb) IS
'Defines what members are written to for, or changes what holds where they said nothing. defaults, by channel (* for the others): opt_in, no; opt_out, yes; always, whatever they said, as of receipts. Returns the purpose. Error: LY707.';

CREATE FUNCTION consent_value(channel text, purpose text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	IF purpose IS NULL OR purpose <> '*' AND NOT EXISTS (SELECT FROM loyalty.consent_purpose p WHERE p.purpose = $2) THEN
		RAISE EXCEPTION 'there is no purpose "%"', coalesce(purpose, 'NULL')
			USING ERRCODE = 'LY707', DETAIL = 'The purposes are in loyalty.consent_purpose.', HINT = 'Define it with loyalty.define_purpose().';
	ELSIF channel IS NULL OR channel !~ '^([*]|[a-z][a-z0-9_]{0,62})$' THEN
		RAISE EXCEPTION 'invalid channel "%"', coalesce(channel, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'A channel is a short word of a-z, 0-9 and _, or *.', HINT = 'Such as email, sms or push.';
	END IF;
	RETURN channel || '/' || purpose;
END
$$;
COMMENT ON FUNCTION consent_value(text, text) IS 'Channel and purpose as consent names them. Errors: LY707 purpose, LY003 channel. Part of set_consent() and may_contact().';

CREATE FUNCTION values_covering(value text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT ARRAY[$1, split_part($1, '/', 1) || '/*', '*/' || split_part($1, '/', 2), '*/*']
$$;
COMMENT ON FUNCTION values_covering(text) IS 'The values of consent that cover a channel and purpose. Part of may_contact() and consents().';

CREATE FUNCTION own_addresses(member_id bigint, address jsonb) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT CASE WHEN $2 IS NOT NULL THEN array(
		SELECT i.identifier_id FROM loyalty.read_identifiers($2) g JOIN loyalty.identifier i ON i.namespace = g.namespace AND i.value = g.value
		WHERE i.member_id = loyalty.canonical_member($1) ORDER BY i.identifier_id) END
$$;
COMMENT ON FUNCTION own_addresses(bigint, jsonb) IS 'The identifiers of a person that an address names; NULL without one. Error: LY210. Part of set_consent() and may_contact().';

CREATE FUNCTION set_consent(member_id bigint, channel text, purpose text, given boolean, at timestamptz DEFAULT statement_timestamp(),
	source text DEFAULT 'self', evidence jsonb DEFAULT NULL, valid_until timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
	address jsonb DEFAULT NULL, OUT assertion_no bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	value CONSTANT text := loyalty.consent_value(channel, purpose);
	own bigint[];
	earlier jsonb;
BEGIN
	IF given IS NULL OR NOT given AND valid_until IS NOT NULL THEN
		RAISE EXCEPTION 'consent is given or withdrawn, and a withdrawal has no end'
			USING ERRCODE = 'LY003', DETAIL = format('given is %s, valid_until %s.', coalesce(given::text, 'NULL'), coalesce(valid_until::text, 'NULL')),
				HINT = 'What ends a withdrawal is that consent is given.';
	END IF;
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('set_consent', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(value, given, extract(epoch FROM nullif(at, statement_timestamp())), source, evidence, extract(epoch FROM valid_until))
				|| CASE WHEN address IS NULL THEN '[]' ELSE jsonb_build_array(address) END);
		IF earlier IS NOT NULL THEN
			assertion_no := earlier ->> 'assertion_no'; replayed := true;
			RETURN;
		END IF;
	END IF;
	own := loyalty.own_addresses(member_id, address);
	IF cardinality(own) <> 1 THEN
		RAISE EXCEPTION 'member % has no such address', member_id
			USING ERRCODE = 'LY212', DETAIL = format('Of its identifiers %s are that.', cardinality(own)),
				HINT = 'address names one identifier of the member, such as {"email": "jane@example.org"}; NULL is for all.';
	END IF;
	assertion_no := loyalty.insert_assertion(member_id, 'consent', value, CASE WHEN given THEN 'yes' ELSE 'no' END, source, 1, at, valid_until, evidence, NULL,
		own[1]);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('set_consent', member_id, idempotency_key, jsonb_build_object('assertion_no', assertion_no));
	END IF;
END
$$;
COMMENT ON FUNCTION set_consent(bigint, text, text, boolean, timestamptz, text, jsonb, timestamptz, text, jsonb) IS
'Records that a member consented to be written to, or withdrew it, at an instant: by a channel (* for all), for a purpose (* for all). Of all that covers channel and purpose the latest instant counts, whoever said it; of equal ones the withdrawal. A grant may end (valid_until). With address, an identifier of the member such as {"email": "jane@example.org"}, it is for that address alone, and over once it is unlinked. Double opt-in: record the confirmation. Returns as set_label(). Errors: LY707 purpose, LY212 address, LY003, LY004, LY115, LY203.';

CREATE FUNCTION consent_of_person(member_ids bigint[], values_covering text[], as_of timestamptz, known_at timestamptz, identifier_ids bigint[],
	OUT given boolean, OUT at timestamptz, OUT source text) RETURNS record
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH RECURSIVE one AS (
		-- since when two numbers are one person: the latest merge on the way
		SELECT h AS home, h AS other, '-infinity'::timestamptz AS since FROM unnest($1) h
		UNION
		SELECT o.home, n.id, greatest(o.since, n.recorded_at) FROM one o, LATERAL (
			SELECT m.survivor_id AS id, m.recorded_at FROM loyalty.member_merge m WHERE m.absorbed_id = o.other AND m.unmerged_at IS NULL
			UNION ALL
			SELECT m.absorbed_id, m.recorded_at FROM loyalty.member_merge m WHERE m.survivor_id = o.other AND m.unmerged_at IS NULL) n
		WHERE cardinality($1) > 1
	), standing AS (
		SELECT DISTINCT ON (o.home) o.home, m.says = 'yes' AND (m.valid_until > $3) IS NOT FALSE AS given, m.valid_from, m.source
		FROM (SELECT o.home, o.other, min(o.since) AS since FROM one o GROUP BY o.home, o.other) o
			JOIN loyalty.member_label m ON m.member_id = o.other AND m.recorded_at >= o.since
		WHERE m.label = 'consent' AND m.value = ANY ($2) AND m.valid_from <= $3 AND m.recorded_at <= coalesce($4, 'infinity')
			-- of one address alone: as long as it is theirs; where none was named, what was withdrawn counts
			AND (m.identifier_id IS NULL OR CASE WHEN $5 IS NULL THEN m.says = 'no' ELSE m.identifier_id = ANY ($5) END
				AND NOT EXISTS (SELECT FROM loyalty.member_act u WHERE u.member_id = ANY ($1) AND u.act = 'unlinked' AND u.identifier_id = m.identifier_id
					AND u.effective_at <= $3 AND u.recorded_at <= coalesce($4, 'infinity')))
		ORDER BY o.home, m.valid_from DESC, m.says = 'no' DESC, m.recorded_at DESC, m.member_id DESC, m.assertion_no DESC
	)
	SELECT s.given, s.valid_from, s.source FROM standing s ORDER BY s.given, s.valid_from DESC, s.home LIMIT 1
$$;
COMMENT ON FUNCTION consent_of_person(bigint[], text[], timestamptz, timestamptz, bigint[]) IS
'Whether a person consented, by what was said of these channels and purposes to any of its numbers; NULL: nothing was said. All numbers that said something must agree. What was said of one address alone counts for identifier_ids; without these a withdrawal counts, and a grant does not. Part of may_contact() and consents().';

CREATE FUNCTION consented(member_id bigint, channel text, purpose text, as_of timestamptz, known_at timestamptz, identifier_ids bigint[]) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	otherwise text;
	given boolean;
BEGIN
	IF member_id IS NULL OR channel = '*' OR purpose = '*' THEN
		RAISE EXCEPTION 'member, channel and purpose must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A contact is of a member, by one channel, for one purpose.', HINT = 'Name each of them.';
	END IF;
	SELECT coalesce(p.defaults ->> channel, p.defaults ->> '*') INTO otherwise FROM loyalty.consent_purpose p WHERE p.purpose = consented.purpose;
	IF otherwise = 'always' THEN
		RETURN true;
	END IF;
	given := (SELECT c.given FROM loyalty.consent_of_person(loyalty.member_tree(loyalty.canonical_member(member_id)),
		loyalty.values_covering(loyalty.consent_value(channel, purpose)), coalesce(as_of, statement_timestamp()), known_at, identifier_ids) c);
	RETURN coalesce(given, otherwise = 'opt_out');
END
$$;
COMMENT ON FUNCTION consented(bigint, text, text, timestamptz, timestamptz, bigint[]) IS 'may_contact() at one of these identifiers; NULL: whichever. Errors: LY707, LY003. Part of it.';

CREATE FUNCTION may_contact(member_id bigint, channel text, purpose text, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	address jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT loyalty.consented($1, $2, $3, $4, $5, loyalty.own_addresses($1, $6))
$$;
COMMENT ON FUNCTION may_contact(bigint, text, text, timestamptz, timestamptz, jsonb) IS
'Whether a member, under whichever number, may be written to by a channel for a purpose, at an instant (NULL: now), as known at another (NULL: now); where nothing was said, by the default of the purpose. address: at which, such as {"email": "jane@example.org"}; without it what was withdrawn for one address counts, and what was given for one does not. Of merged members what was said since the merge speaks for both, and of what was said before every one must agree. Errors: LY707 purpose, LY210 namespace, LY003.';

CREATE FUNCTION consents(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT channel text, OUT purpose text, OUT given boolean, OUT at timestamptz, OUT source text) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT split_part(v.value, '/', 1), split_part(v.value, '/', 2), c.given, c.at, c.source
	FROM (SELECT loyalty.member_tree(loyalty.canonical_member($1)) AS members OFFSET 0) t,
		LATERAL (SELECT DISTINCT m.value FROM loyalty.member_label m
			WHERE m.member_id = ANY (t.members) AND m.label = 'consent' AND m.valid_from <= coalesce($2, statement_timestamp())
				AND m.recorded_at <= coalesce($3, 'infinity')) v,
		LATERAL loyalty.consent_of_person(t.members, loyalty.values_covering(v.value),
			coalesce($2, statement_timestamp()), $3, NULL) c
	ORDER BY v.value
$$;
COMMENT ON FUNCTION consents(bigint, timestamptz, timestamptz) IS
'What a member said of being written to, at an instant (NULL: now), as known at another (NULL: now): a row for each channel and purpose that was named, with what stands for it, and when and by whom that was said. may_contact() says it for one contact, with defaults.';

/*
 * What forgotten members withdrew holds for their identifiers: it is kept under
 * hashes of these, and goes to whoever comes with one.
 */

CREATE FUNCTION consent_address(namespace text, value text) RETURNS bytea
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT sha256(s.secret || sha256(s.secret || convert_to(jsonb_build_array($1, $2)::text, 'UTF8'))) FROM loyalty.consent_secret s
$$;
COMMENT ON FUNCTION consent_address(text, text) IS 'The hash of an identifier, with a secret key. Part of forget_member() and bring_withdrawals().';

CREATE FUNCTION keep_withdrawals(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH own AS MATERIALIZED (
		SELECT loyalty.consent_address(i.namespace, i.value) AS address, array_agg(i.identifier_id) AS identifier_ids
		FROM loyalty.identifier i WHERE i.member_id = ANY ($1) GROUP BY 1
	), withdrawn AS MATERIALIZED (
		SELECT o.address, v.value, c.at, c.source
		FROM own o, LATERAL (SELECT DISTINCT m.value FROM loyalty.member_label m WHERE m.member_id = ANY ($1) AND m.label = 'consent' AND m.says = 'no'
				AND (m.identifier_id IS NULL OR m.identifier_id = ANY (o.identifier_ids))) v,
			LATERAL loyalty.consent_of_person($1, loyalty.values_covering(v.value), 'infinity', NULL, o.identifier_ids) c
		WHERE NOT c.given AND c.at IS NOT NULL
	), gone AS (
		-- what came with them, and was given anew
		DELETE FROM loyalty.consent_kept k USING own o WHERE k.address = o.address
			AND NOT EXISTS (SELECT FROM withdrawn w WHERE w.address = k.address AND w.value = k.value)
	)
	INSERT INTO loyalty.consent_kept (address, value, at, source) SELECT w.address, w.value, w.at, w.source FROM withdrawn w ORDER BY w.address, w.value
	ON CONFLICT ON CONSTRAINT consent_kept_pkey DO UPDATE SET at = excluded.at, source = excluded.source
$$;
COMMENT ON FUNCTION keep_withdrawals(bigint[]) IS 'Keeps what members withdrew under hashes of their identifiers. Part of forget_member().';

CREATE FUNCTION bring_kept(member_id bigint, identifier_id bigint, namespace text, value text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
BEGIN
	IF EXISTS (SELECT FROM loyalty.consent_kept) THEN
		INSERT INTO loyalty.member_label (member_id, label, value, says, source, confidence, valid_from, identifier_id, reason)
		SELECT $1, 'consent', k.value, 'no', k.source, 1, k.at, $2, 'withdrawn before somebody was forgotten'
		FROM loyalty.consent_kept k WHERE k.address = loyalty.consent_address($3, $4) ORDER BY k.value;
	END IF;
END
$$;
COMMENT ON FUNCTION bring_kept(bigint, bigint, text, text) IS 'Says of an identifier that was linked to a member what a forgotten one withdrew for it. Part of bring_withdrawals().';

CREATE FUNCTION bring_withdrawals() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.bring_kept(NEW.home_member_id, NEW.identifier_id, NEW.namespace, NEW.value);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION bring_withdrawals() IS 'Gives an identifier that is linked what a forgotten member withdrew for it: CREATE TRIGGER bring_withdrawals AFTER INSERT ON loyalty.identifier FOR EACH ROW EXECUTE FUNCTION loyalty.bring_withdrawals().';
