/*
 * member: one person, one member.
 *
 * Primitives, which need no tables: connected components over pairs of bigint
 * or of text, and the normal form of identifiers.
 *
 * The program, on tables that setup_member() makes.  The reasons are in
 * src/member/member.h.
 *
 *	table					holds
 *	member					member_id, public_id, status, joined, attributes
 *	member_alias			absorbed member -> canonical member, depth one
 *	identifier				(namespace, value) -> member and home member
 *	identifier_namespace	normal form, priority, limits, merge rules
 *	blocked_identifier		values that identify nobody
 *	attribute_rule			which of several values of an attribute counts
 *	member_fact				every attribute as it was given
 *	member_merge			merges: edges of a forest, standing or undone
 *	member_merge_item		what each merge moved
 *	member_act				history of acts, append-only, without values
 *	member_request			idempotency keys
 *	merge_handler			how things of other rooms are merged
 *
 *	function				does
 *	resolve_member			finds, makes, joins, or says why not
 *	link_identifier, unlink_identifier
 *	merge_members, unmerge_members, preview_merge
 *	canonical_member		the member who stands for a member, for ever
 *	configure_namespace, block_identifier, register_merge_handler
 *	why_merged				identifiers and acts that join two members
 *	member_history			what happened to a member
 *	forget_member			personal data gone, points as they were
 *	check_member			the present state follows from the history
 *
 * Everything that moves has a home, the member to whom it first came, and is
 * with the root of its home's tree of standing merges.  A merge adds an edge,
 * an unmerge takes any edge away; both move what the subtree brought.
 */

/* connected components */

CREATE FUNCTION components_accum(state internal, a bigint, b bigint) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_accum';
COMMENT ON FUNCTION components_accum(internal, bigint, bigint) IS 'Transition function of components_agg.';

CREATE FUNCTION components_text_accum(state internal, a text, b text) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_text_accum';
COMMENT ON FUNCTION components_text_accum(internal, text, text) IS 'Transition function of components_text_agg.';

CREATE FUNCTION components_combine(state internal, other internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_combine';
COMMENT ON FUNCTION components_combine(internal, internal) IS 'Joins partial states of components_agg or components_text_agg.';

CREATE FUNCTION components_serialize(state internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_serialize';
COMMENT ON FUNCTION components_serialize(internal) IS 'Writes a partial state of components_agg or components_text_agg for another process.';

CREATE FUNCTION components_deserialize(bytes bytea, state internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_deserialize';
COMMENT ON FUNCTION components_deserialize(bytea, internal) IS 'Reads what components_serialize wrote.';

CREATE FUNCTION components_final(state internal) RETURNS bigint[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_final';
COMMENT ON FUNCTION components_final(internal) IS 'Final function of components_agg.';

CREATE FUNCTION components_text_final(state internal) RETURNS text[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_text_final';
COMMENT ON FUNCTION components_text_final(internal) IS 'Final function of components_text_agg.';

CREATE AGGREGATE components_agg(a bigint, b bigint) (
	SFUNC = components_accum,
	STYPE = internal,
	SSPACE = 8192,
	FINALFUNC = components_final,
	COMBINEFUNC = components_combine,
	SERIALFUNC = components_serialize,
	DESERIALFUNC = components_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE components_agg(bigint, bigint) IS
'Connected components of the graph whose edges are the rows (a, b): an n by 2 array of [node, component], ascending by node, each component named by its smallest node; ''{}'' without rows. A row with one NULL adds the other end as a node; two NULLs add nothing. The same for any order of rows, any plan and any number of workers. Memory goes with the number of nodes (30 to 60 bytes each, half as much again for an instant while it grows, and 24 for listing them), not of edges; it is not bounded by work_mem, as with array_agg, but a hashed GROUP BY counts it. At most 67 million nodes in one group. Expand it with expand_components; pass stored components as edges again to add new edges to them.';

CREATE AGGREGATE components_text_agg(a text, b text) (
	SFUNC = components_text_accum,
	STYPE = internal,
	SSPACE = 8192,
	FINALFUNC = components_text_final,
	COMBINEFUNC = components_combine,
	SERIALFUNC = components_serialize,
	DESERIALFUNC = components_deserialize,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE components_text_agg(text, text) IS
'Connected components of the graph whose edges are the rows (a, b), as components_agg, for nodes of text: an n by 2 array of [node, component]. Nodes are the same when their bytes are; order, and so the smallest node, is by bytes (collation "C"), whatever the collation. The result must fit in 1 GB. Expand it with expand_components_text.';

CREATE FUNCTION expand_components(components bigint[], OUT node bigint, OUT component bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_expand_components';
COMMENT ON FUNCTION expand_components(bigint[]) IS
'Rows (node, component) of a value of components_agg, ascending by node. Use it in FROM: SELECT c.node, c.component FROM (SELECT components_agg(a, b) AS v FROM edge) e, expand_components(e.v) c. Error LY003 for an array that is not n by 2 or contains NULL.';

CREATE FUNCTION expand_components_text(components text[], OUT node text, OUT component text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_expand_components_text';
COMMENT ON FUNCTION expand_components_text(text[]) IS
'Rows (node, component) of a value of components_text_agg, ascending by node in the order of bytes. Error LY003 for an array that is not n by 2 or contains NULL.';

CREATE FUNCTION connected_components(pairs bigint[], OUT node bigint, OUT component bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_connected_components';
COMMENT ON FUNCTION connected_components(bigint[]) IS
'Rows (node, component), ascending by node, for the edges in an n by 2 array, for example ''{{1,2},{2,3}}'' or array_agg(ARRAY[a, b]): the components as components_agg finds them, for edges that an application passes. For edges in a table components_agg needs less memory. Error LY003 for an array that is not n by 2.';

CREATE FUNCTION connected_components_text(pairs text[], OUT node text, OUT component text) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_connected_components_text';
COMMENT ON FUNCTION connected_components_text(text[]) IS
'Rows (node, component), ascending by node in the order of bytes, for the edges in an n by 2 array of text: the components as components_text_agg finds them. Error LY003 for an array that is not n by 2.';

/* identifiers */

CREATE FUNCTION normalize_identifier(namespace text, raw text, default_country text DEFAULT NULL,
	provider_rules boolean DEFAULT false, fold_case boolean DEFAULT true, on_garbage text DEFAULT 'null') RETURNS text
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_normalize_identifier';
COMMENT ON FUNCTION normalize_identifier(text, text, text, boolean, boolean, text) IS
'The one spelling under which an identifier is stored and compared; NULL for NULL. All: Unicode NFKC, white space and invisible characters off both ends, at most 1024 bytes. Independent of locale and settings; applying it twice changes nothing.
namespace ''phone'': E.164, + and at most 15 digits. Accepts + or tel:, the international prefix of default_country (ISO 3166-1, two letters; without it 00), national numbers of default_country with or without trunk prefix, a trunk prefix as in +44 (0)20, the calling code of default_country without +, digits of other scripts. Checked: calling code exists, number of digits for the country, North American area code and exchange begin with 2 to 9. Not checked: whether the number is assigned, mobile or fixed, or reachable; dialling of carriers and inner 9 or 15 of Argentina. Extensions, letters and short codes are garbage.
namespace ''email'': case-folded, one @, domain of two labels or more; with provider_rules also without +tag for providers that ignore it, and without dots for gmail.com and googlemail.com (both gmail.com). Not checked: whether domain and mailbox exist, dots of the local part; quoted local parts are garbage; international domains stay as written (no Punycode).
any other namespace: opaque; simple case folding unless fold_case is false (ids of messengers are often case-sensitive), white space inside stays, control characters are garbage.
on_garbage: ''null'' gives NULL, ''error'' raises LY201 with the reason. Error LY003 for an unknown default_country or on_garbage.';

/* tables of the program */

SET LOCAL check_function_bodies = off;

CREATE FUNCTION setup_member() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM loyalty.layout l WHERE l.room = 'member') THEN
		RETURN;
	END IF;

	CREATE TABLE loyalty.member (
		member_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
		public_id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
		status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'absorbed', 'forgotten')),
		joined_at timestamptz NOT NULL DEFAULT now(),
		joined_via text,
		attributes jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object')
	);
	COMMENT ON TABLE loyalty.member IS 'One row for each member. A member never changes its id; one that was merged into another is absorbed, and its id works for ever.';
	COMMENT ON COLUMN loyalty.member.member_id IS 'Number of the member.';
	COMMENT ON COLUMN loyalty.member.public_id IS 'Number to show outside: not guessable.';
	COMMENT ON COLUMN loyalty.member.status IS 'active; absorbed (another member stands for it, see canonical_member()); forgotten.';
	COMMENT ON COLUMN loyalty.member.joined_at IS 'When the member joined.';
	COMMENT ON COLUMN loyalty.member.joined_via IS 'Channel in which the member joined.';
	COMMENT ON COLUMN loyalty.member.attributes IS 'Attributes by the rules of attribute_rule, of all members for which this one stands; empty for an absorbed one.';

	CREATE TABLE loyalty.member_alias (
		member_id bigint PRIMARY KEY,
		canonical_id bigint NOT NULL,
		merge_id bigint NOT NULL
	);
	CREATE INDEX member_alias_canonical ON loyalty.member_alias (canonical_id);
	COMMENT ON TABLE loyalty.member_alias IS 'Who stands for each absorbed member: depth one, however many merges. Read it with canonical_member().';
	COMMENT ON COLUMN loyalty.member_alias.member_id IS 'The absorbed member.';
	COMMENT ON COLUMN loyalty.member_alias.canonical_id IS 'The member who stands for it, itself not absorbed.';
	COMMENT ON COLUMN loyalty.member_alias.merge_id IS 'The merge in which it was absorbed.';

	CREATE TABLE loyalty.identifier_namespace (
		namespace text PRIMARY KEY CHECK (namespace ~ '^[a-z][a-z0-9_]{0,62}$'),
		kind text NOT NULL CHECK (kind IN ('phone', 'email', 'opaque')),
		default_country text,
		provider_rules boolean NOT NULL DEFAULT false,
		fold_case boolean NOT NULL DEFAULT true,
		priority integer NOT NULL DEFAULT 100,
		max_per_member integer CHECK (max_per_member > 0),
		shared boolean NOT NULL DEFAULT false,
		merge_unverified boolean NOT NULL DEFAULT false,
		personal boolean NOT NULL DEFAULT true
	);
	COMMENT ON TABLE loyalty.identifier_namespace IS 'Kinds of identifiers and what they may do; made by configure_namespace().';
	COMMENT ON COLUMN loyalty.identifier_namespace.namespace IS 'Name of the namespace, such as phone or shop_customer.';
	COMMENT ON COLUMN loyalty.identifier_namespace.kind IS 'How values are normalized: phone, email, opaque.';
	COMMENT ON COLUMN loyalty.identifier_namespace.default_country IS 'Country of national telephone numbers.';
	COMMENT ON COLUMN loyalty.identifier_namespace.provider_rules IS 'Whether e-mail providers'' own rules apply (dots, +tags).';
	COMMENT ON COLUMN loyalty.identifier_namespace.fold_case IS 'Whether opaque values are compared without case.';
	COMMENT ON COLUMN loyalty.identifier_namespace.priority IS 'Which identifier finds the member first: the smallest.';
	COMMENT ON COLUMN loyalty.identifier_namespace.max_per_member IS 'At most so many for one member; NULL is any number. Stops shared devices from swallowing hundreds of people.';
	COMMENT ON COLUMN loyalty.identifier_namespace.shared IS 'Several members may have the same value (a family tablet): it finds nobody and merges nobody.';
	COMMENT ON COLUMN loyalty.identifier_namespace.merge_unverified IS 'Whether a value that nobody verified may join two members.';
	COMMENT ON COLUMN loyalty.identifier_namespace.personal IS 'Whether values are personal data.';
	INSERT INTO loyalty.identifier_namespace (namespace, kind, priority)
	VALUES ('phone', 'phone', 10), ('email', 'email', 20);

	CREATE TABLE loyalty.blocked_identifier (
		namespace text NOT NULL,
		value text NOT NULL,
		reason text,
		PRIMARY KEY (namespace, value)
	);
	COMMENT ON TABLE loyalty.blocked_identifier IS 'Values that identify nobody; made by block_identifier().';
	COMMENT ON COLUMN loyalty.blocked_identifier.namespace IS 'The namespace, or * for every one.';
	COMMENT ON COLUMN loyalty.blocked_identifier.value IS 'The normalized value, or what is written in its place, in lower case.';
	COMMENT ON COLUMN loyalty.blocked_identifier.reason IS 'Why it is blocked.';
	INSERT INTO loyalty.blocked_identifier (namespace, value, reason)
	SELECT '*', v, 'placeholder'
	FROM unnest('{unknown,none,"null",nil,undefined,n/a,na,-,0,00000000,0000000000,1234567890,anonymous,guest,test}'::text[]) v;
	INSERT INTO loyalty.blocked_identifier (namespace, value, reason)
	SELECT 'email', v, 'test address'
	FROM unnest('{test@test.com,test@example.com,noreply@example.com,no@no.com}'::text[]) v;

	CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.identifier_namespace
		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();
	CREATE TRIGGER forget_cached AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON loyalty.blocked_identifier
		FOR EACH STATEMENT EXECUTE FUNCTION loyalty.forget_cached();

	CREATE TABLE loyalty.identifier (
		identifier_id bigint GENERATED BY DEFAULT AS IDENTITY,
		member_id bigint NOT NULL,
		namespace text NOT NULL,
		value text NOT NULL,
		home_member_id bigint NOT NULL,
		verified boolean NOT NULL DEFAULT false,
		exclusive boolean NOT NULL DEFAULT true,
		channel text,
		first_seen timestamptz NOT NULL DEFAULT now(),
		last_seen timestamptz NOT NULL DEFAULT now(),
		PRIMARY KEY (member_id, identifier_id)
	);
	CREATE UNIQUE INDEX identifier_value ON loyalty.identifier (namespace, value) WHERE exclusive;
	CREATE UNIQUE INDEX identifier_shared_value ON loyalty.identifier (namespace, value, home_member_id) WHERE NOT exclusive;
	CREATE INDEX identifier_home ON loyalty.identifier (home_member_id);
	CREATE INDEX identifier_id ON loyalty.identifier (identifier_id);
	COMMENT ON TABLE loyalty.identifier IS 'By what members are known. Written by resolve_member(), link_identifier() and merges.';
	COMMENT ON COLUMN loyalty.identifier.identifier_id IS 'Number of the identifier.';
	COMMENT ON COLUMN loyalty.identifier.member_id IS 'The member it finds: the one who stands for its home.';
	COMMENT ON COLUMN loyalty.identifier.namespace IS 'Namespace, see identifier_namespace.';
	COMMENT ON COLUMN loyalty.identifier.value IS 'Normalized value.';
	COMMENT ON COLUMN loyalty.identifier.home_member_id IS 'The member to whom it was linked; an undone merge takes it back there.';
	COMMENT ON COLUMN loyalty.identifier.verified IS 'Whether somebody proved that it is his.';
	COMMENT ON COLUMN loyalty.identifier.exclusive IS 'False for a value that several members may have.';
	COMMENT ON COLUMN loyalty.identifier.channel IS 'Channel in which it was first seen.';
	COMMENT ON COLUMN loyalty.identifier.first_seen IS 'When it was first seen.';
	COMMENT ON COLUMN loyalty.identifier.last_seen IS 'When it was last seen, to the day.';

	CREATE TABLE loyalty.attribute_rule (
		attribute text PRIMARY KEY,
		rule text NOT NULL DEFAULT 'recent' CHECK (rule IN ('recent', 'frequent', 'priority', 'non_null', 'first')),
		channels text[] NOT NULL DEFAULT '{}'
	);
	COMMENT ON TABLE loyalty.attribute_rule IS 'Which of several values of an attribute counts.';
	COMMENT ON COLUMN loyalty.attribute_rule.attribute IS 'Name of the attribute, or * for all others.';
	COMMENT ON COLUMN loyalty.attribute_rule.rule IS 'recent: given last, a null clears; non_null: given last and not null; frequent: given most often; priority: of the channel that comes first in channels; first: given first. Ties: given last.';
	COMMENT ON COLUMN loyalty.attribute_rule.channels IS 'Channels in order of trust (priority).';
	INSERT INTO loyalty.attribute_rule (attribute, rule) VALUES ('*', 'recent');

	CREATE TABLE loyalty.member_fact (
		home_member_id bigint NOT NULL,
		fact_id bigint GENERATED BY DEFAULT AS IDENTITY,
		attribute text NOT NULL,
		value jsonb NOT NULL,
		channel text,
		given_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		PRIMARY KEY (home_member_id, fact_id)
	);
	COMMENT ON TABLE loyalty.member_fact IS 'Every attribute as it was given: what member.attributes is computed from.';
	COMMENT ON COLUMN loyalty.member_fact.home_member_id IS 'The member for whom it was given.';
	COMMENT ON COLUMN loyalty.member_fact.fact_id IS 'Number of the fact.';
	COMMENT ON COLUMN loyalty.member_fact.attribute IS 'Name of the attribute.';
	COMMENT ON COLUMN loyalty.member_fact.value IS 'Its value; null clears.';
	COMMENT ON COLUMN loyalty.member_fact.channel IS 'Channel that gave it.';
	COMMENT ON COLUMN loyalty.member_fact.given_at IS 'When it was given.';
	COMMENT ON COLUMN loyalty.member_fact.recorded_at IS 'When the database learned of it.';

	CREATE TABLE loyalty.member_merge (
		merge_id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
		survivor_id bigint NOT NULL,
		absorbed_id bigint NOT NULL,
		asked_survivor_id bigint NOT NULL,
		asked_absorbed_id bigint NOT NULL,
		cause text NOT NULL CHECK (cause IN ('identifier', 'operator')),
		identifier_ids bigint[] NOT NULL DEFAULT '{}',
		namespaces text[] NOT NULL DEFAULT '{}',
		verified boolean NOT NULL DEFAULT false,
		priority integer,
		reason text,
		effective_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		unmerged_at timestamptz,
		unmerge_reason text,
		earned_since text
	);
	CREATE UNIQUE INDEX member_merge_standing ON loyalty.member_merge (absorbed_id) WHERE unmerged_at IS NULL;
	CREATE INDEX member_merge_absorbed ON loyalty.member_merge (absorbed_id);
	CREATE INDEX member_merge_survivor ON loyalty.member_merge (survivor_id);
	COMMENT ON TABLE loyalty.member_merge IS 'Merges, standing or undone. Those that stand are the edges of a forest whose roots are the canonical members.';
	COMMENT ON COLUMN loyalty.member_merge.merge_id IS 'Number of the merge.';
	COMMENT ON COLUMN loyalty.member_merge.survivor_id IS 'The member that went on, itself not absorbed at the time.';
	COMMENT ON COLUMN loyalty.member_merge.absorbed_id IS 'The member that was absorbed.';
	COMMENT ON COLUMN loyalty.member_merge.asked_survivor_id IS 'The survivor as the caller named it.';
	COMMENT ON COLUMN loyalty.member_merge.asked_absorbed_id IS 'The absorbed one as the caller named it.';
	COMMENT ON COLUMN loyalty.member_merge.cause IS 'identifier: identifiers that came together; operator: somebody asked for it.';
	COMMENT ON COLUMN loyalty.member_merge.identifier_ids IS 'Identifiers that caused it.';
	COMMENT ON COLUMN loyalty.member_merge.namespaces IS 'Namespaces of these identifiers.';
	COMMENT ON COLUMN loyalty.member_merge.verified IS 'Whether all of these were verified then.';
	COMMENT ON COLUMN loyalty.member_merge.priority IS 'The lowest priority (largest number) among their namespaces.';
	COMMENT ON COLUMN loyalty.member_merge.reason IS 'Why, in the caller''s words.';
	COMMENT ON COLUMN loyalty.member_merge.effective_at IS 'When it was decided. Points move when it is recorded.';
	COMMENT ON COLUMN loyalty.member_merge.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.member_merge.unmerged_at IS 'When it was undone; NULL while it stands.';
	COMMENT ON COLUMN loyalty.member_merge.unmerge_reason IS 'Why it was undone.';
	COMMENT ON COLUMN loyalty.member_merge.earned_since IS 'The policy it was undone with.';

	CREATE TABLE loyalty.member_merge_item (
		merge_id bigint NOT NULL,
		item_id bigint GENERATED BY DEFAULT AS IDENTITY,
		direction text NOT NULL CHECK (direction IN ('merge', 'unmerge')),
		room text NOT NULL,
		kind text NOT NULL,
		item jsonb NOT NULL,
		PRIMARY KEY (merge_id, item_id)
	);
	COMMENT ON TABLE loyalty.member_merge_item IS 'What each merge, and each undoing of one, moved.';
	COMMENT ON COLUMN loyalty.member_merge_item.merge_id IS 'The merge.';
	COMMENT ON COLUMN loyalty.member_merge_item.item_id IS 'Number of the item.';
	COMMENT ON COLUMN loyalty.member_merge_item.direction IS 'merge, or unmerge for the way back.';
	COMMENT ON COLUMN loyalty.member_merge_item.room IS 'Room whose things moved.';
	COMMENT ON COLUMN loyalty.member_merge_item.kind IS 'What moved: points, identifiers, members, or as the room names it.';
	COMMENT ON COLUMN loyalty.member_merge_item.item IS 'Particulars; numbers only, no personal data.';

	CREATE TABLE loyalty.member_act (
		member_id bigint NOT NULL,
		act_id bigint GENERATED BY DEFAULT AS IDENTITY,
		act text NOT NULL CHECK (act IN ('created', 'linked', 'unlinked', 'merged', 'unmerged', 'attributes', 'forgotten')),
		other_member_id bigint,
		identifier_id bigint,
		namespace text,
		merge_id bigint,
		channel text,
		reason text,
		effective_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		PRIMARY KEY (member_id, act_id)
	);
	COMMENT ON TABLE loyalty.member_act IS 'What happened to members. Names identifiers by number, never by value. Read it with member_history().';
	COMMENT ON COLUMN loyalty.member_act.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty.member_act.act_id IS 'Number of the act.';
	COMMENT ON COLUMN loyalty.member_act.act IS 'created, linked, unlinked, merged, unmerged, attributes or forgotten.';
	COMMENT ON COLUMN loyalty.member_act.other_member_id IS 'The other member of a merge.';
	COMMENT ON COLUMN loyalty.member_act.identifier_id IS 'The identifier.';
	COMMENT ON COLUMN loyalty.member_act.namespace IS 'Its namespace.';
	COMMENT ON COLUMN loyalty.member_act.merge_id IS 'The merge.';
	COMMENT ON COLUMN loyalty.member_act.channel IS 'Channel in which it happened.';
	COMMENT ON COLUMN loyalty.member_act.reason IS 'Why, in the caller''s words; erased when the member is forgotten.';
	COMMENT ON COLUMN loyalty.member_act.effective_at IS 'When it happened.';
	COMMENT ON COLUMN loyalty.member_act.recorded_at IS 'When the database learned of it.';

	CREATE TABLE loyalty.member_request (
		member_id bigint NOT NULL,
		idempotency_key text NOT NULL,
		fingerprint bytea NOT NULL,
		result jsonb,
		result_member_id bigint,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		PRIMARY KEY (member_id, idempotency_key)
	);
	CREATE INDEX member_request_result ON loyalty.member_request (result_member_id) WHERE result_member_id IS NOT NULL;
	COMMENT ON TABLE loyalty.member_request IS 'Idempotency keys of this room''s calls, with their results.';
	COMMENT ON COLUMN loyalty.member_request.member_id IS 'The member that the call addressed; 0 for resolve_member().';
	COMMENT ON COLUMN loyalty.member_request.idempotency_key IS 'Unique within the member, for ever.';
	COMMENT ON COLUMN loyalty.member_request.fingerprint IS 'Of the arguments.';
	COMMENT ON COLUMN loyalty.member_request.result IS 'What the first call returned.';
	COMMENT ON COLUMN loyalty.member_request.result_member_id IS 'The member that resolve_member() returned.';
	COMMENT ON COLUMN loyalty.member_request.recorded_at IS 'When the first call was made.';

	CREATE TABLE loyalty.merge_handler (
		room text PRIMARY KEY,
		tables text[] NOT NULL,
		merge_function text,
		unmerge_function text,
		preview_function text,
		forget_function text
	);
	COMMENT ON TABLE loyalty.merge_handler IS 'How things of other rooms that belong to a member are merged; made by register_merge_handler().';
	COMMENT ON COLUMN loyalty.merge_handler.room IS 'The room.';
	COMMENT ON COLUMN loyalty.merge_handler.tables IS 'Its tables in schema loyalty that have a column member_id.';
	COMMENT ON COLUMN loyalty.merge_handler.merge_function IS 'schema.function(merge_id bigint, survivor_id bigint, absorbed_id bigint) returning jsonb.';
	COMMENT ON COLUMN loyalty.merge_handler.unmerge_function IS 'schema.function(merge_id bigint, root_id bigint, member_id bigint, subtree bigint[]) returning jsonb.';
	COMMENT ON COLUMN loyalty.merge_handler.preview_function IS 'schema.function(survivor_id bigint, absorbed_id bigint) returning jsonb.';
	COMMENT ON COLUMN loyalty.merge_handler.forget_function IS 'schema.function(member_ids bigint[]).';

	INSERT INTO loyalty.layout (room, version) VALUES ('member', 1);
END
$$;
COMMENT ON FUNCTION setup_member() IS 'Creates and migrates the tables of room member; called by setup().';

/* settings */

CREATE FUNCTION configure_namespace(namespace text, kind text DEFAULT NULL, default_country text DEFAULT NULL,
	provider_rules boolean DEFAULT NULL, fold_case boolean DEFAULT NULL, priority integer DEFAULT NULL,
	max_per_member integer DEFAULT NULL, shared boolean DEFAULT NULL, merge_unverified boolean DEFAULT NULL,
	personal boolean DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	n loyalty.identifier_namespace;
	normalize_anew boolean;
BEGIN
	IF namespace IS NULL OR namespace !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid name of a namespace: "%"', coalesce(namespace, 'NULL')
			USING ERRCODE = 'LY003', HINT = 'Use lower-case letters, digits and underscores.';
	END IF;
	IF coalesce(kind, 'opaque') NOT IN ('phone', 'email', 'opaque') OR coalesce(max_per_member, 1) < 0 THEN
		RAISE EXCEPTION 'invalid setting of namespace "%"', namespace
			USING ERRCODE = 'LY003', DETAIL = format('kind is %L, max_per_member is %s.', kind, max_per_member),
				HINT = 'kind is phone, email or opaque; max_per_member is positive, 0 for any number.';
	END IF;
	-- an unknown country is refused
	PERFORM loyalty.normalize_identifier('phone', NULL, default_country);

	SELECT * INTO n FROM loyalty.identifier_namespace i WHERE i.namespace = configure_namespace.namespace FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO loyalty.identifier_namespace AS i (namespace, kind, default_country, provider_rules, fold_case,
			priority, max_per_member, shared, merge_unverified, personal)
		VALUES (namespace, coalesce(kind, CASE WHEN namespace IN ('phone', 'email') THEN namespace ELSE 'opaque' END),
			upper(default_country), coalesce(provider_rules, false), coalesce(fold_case, true), coalesce(priority, 100),
			nullif(max_per_member, 0), coalesce(shared, false), coalesce(merge_unverified, false), coalesce(personal, true));
		RETURN namespace;
	END IF;

	normalize_anew := coalesce(kind, n.kind) <> n.kind
		OR upper(coalesce(default_country, n.default_country)) IS DISTINCT FROM n.default_country AND n.default_country IS NOT NULL
		OR coalesce(provider_rules, n.provider_rules) <> n.provider_rules
		OR coalesce(fold_case, n.fold_case) <> n.fold_case
		OR coalesce(shared, n.shared) <> n.shared;
	IF normalize_anew AND EXISTS (SELECT FROM loyalty.identifier i WHERE i.namespace = configure_namespace.namespace) THEN
		RAISE EXCEPTION 'namespace "%" has identifiers already', namespace
			USING ERRCODE = 'LY003', DETAIL = 'kind, default_country, provider_rules, fold_case and shared decide how they are stored.',
				HINT = 'Configure another namespace, and link the identifiers there.';
	END IF;
	UPDATE loyalty.identifier_namespace AS i
	SET kind = coalesce(configure_namespace.kind, i.kind),
		default_country = coalesce(upper(configure_namespace.default_country), i.default_country),
		provider_rules = coalesce(configure_namespace.provider_rules, i.provider_rules),
		fold_case = coalesce(configure_namespace.fold_case, i.fold_case),
		priority = coalesce(configure_namespace.priority, i.priority),
		max_per_member = CASE WHEN configure_namespace.max_per_member IS NULL THEN i.max_per_member
			ELSE nullif(configure_namespace.max_per_member, 0) END,
		shared = coalesce(configure_namespace.shared, i.shared),
		merge_unverified = coalesce(configure_namespace.merge_unverified, i.merge_unverified),
		personal = coalesce(configure_namespace.personal, i.personal)
	WHERE i.namespace = configure_namespace.namespace;
	RETURN namespace;
END
$$;
COMMENT ON FUNCTION configure_namespace(text, text, text, boolean, boolean, integer, integer, boolean, boolean, boolean) IS
'Makes a namespace of identifiers, or changes the settings that are given. kind: phone, email or opaque, how values are normalized (with default_country, provider_rules, fold_case as normalize_identifier()); priority: the smallest finds first (default 100); max_per_member: 0 for any number; shared: values that several members may have, such as a family tablet, which never find or merge anybody; merge_unverified: whether a value that nobody verified may join two members; personal: whether values are personal data. What decides how values are stored cannot be changed once there are any. Returns the namespace. Error: LY003.';

CREATE FUNCTION block_identifier(namespace text, value text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	n loyalty.identifier_namespace;
	blocked text;
BEGIN
	IF value IS NULL OR btrim(value) = '' THEN
		RAISE EXCEPTION 'value must not be empty' USING ERRCODE = 'LY003', HINT = 'Give the value that identifies nobody.';
	END IF;
	IF namespace IS DISTINCT FROM '*' THEN
		SELECT * INTO n FROM loyalty.identifier_namespace i WHERE i.namespace = block_identifier.namespace;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'unknown namespace "%"', coalesce(namespace, 'NULL')
				USING ERRCODE = 'LY210', HINT = 'Make it with loyalty.configure_namespace(), or pass * for every namespace.';
		END IF;
		blocked := loyalty.normalize_identifier(n.kind, value, n.default_country, n.provider_rules, n.fold_case);
	END IF;
	blocked := coalesce(blocked, lower(btrim(value)));
	INSERT INTO loyalty.blocked_identifier AS b (namespace, value, reason) VALUES (namespace, blocked, reason)
	ON CONFLICT ON CONSTRAINT blocked_identifier_pkey DO UPDATE SET reason = excluded.reason;
	RETURN blocked;
END
$$;
COMMENT ON FUNCTION block_identifier(text, text, text) IS
'Blocks a value that identifies nobody (unknown, 0000000000, a test address): resolve_member() ignores it, link_identifier() refuses it. namespace * blocks it everywhere. Identifiers that are linked already stay. Returns the value as stored. Errors: LY003, LY210 unknown namespace.';

CREATE FUNCTION register_merge_handler(room text, tables text[], merge_function text DEFAULT NULL,
	unmerge_function text DEFAULT NULL, preview_function text DEFAULT NULL, forget_function text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	missing text;
BEGIN
	IF room IS NULL OR tables IS NULL THEN
		RAISE EXCEPTION 'room and tables must not be NULL' USING ERRCODE = 'LY003', HINT = 'Name the room and its tables.';
	END IF;
	SELECT f.name || f.arguments INTO missing
	FROM (VALUES (merge_function, '(bigint,bigint,bigint)'), (unmerge_function, '(bigint,bigint,bigint,bigint[])'),
			(preview_function, '(bigint,bigint)'), (forget_function, '(bigint[])')) f (name, arguments)
	WHERE f.name IS NOT NULL AND to_regprocedure(f.name || f.arguments) IS NULL
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'function % does not exist', missing
			USING ERRCODE = 'LY003', HINT = 'Name it with its schema; see the comments of loyalty.merge_handler for the arguments.';
	END IF;
	INSERT INTO loyalty.merge_handler AS h (room, tables, merge_function, unmerge_function, preview_function, forget_function)
	VALUES (room, tables, merge_function, unmerge_function, preview_function, forget_function)
	ON CONFLICT ON CONSTRAINT merge_handler_pkey DO UPDATE SET tables = excluded.tables, merge_function = excluded.merge_function,
		unmerge_function = excluded.unmerge_function, preview_function = excluded.preview_function,
		forget_function = excluded.forget_function;
	RETURN room;
END
$$;
COMMENT ON FUNCTION register_merge_handler(text, text[], text, text, text, text) IS
'Says how things of a room that belong to a member are merged, unmerged, previewed and forgotten: names of functions with their schema (NULL: nothing to do), called with member rows and wallets locked. merge(merge_id, survivor_id, absorbed_id) returns jsonb, what moved; unmerge(merge_id, root_id, member_id, subtree) returns jsonb: the things whose home is in subtree go from root_id back to member_id; preview(survivor_id, absorbed_id) returns jsonb; forget(member_ids). tables: the room''s tables with a column member_id; check() reports tables that no room registered. Error: LY003.';

/* reading: who is who */

CREATE FUNCTION canonical_member(member_id bigint) RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_canonical_member';
COMMENT ON FUNCTION canonical_member(bigint) IS
'The member who stands for a member: itself, or the one it was merged into, over however many merges. One index look-up; in a query over many rows a look-up in memory (of work_mem). An id that is no member stands for itself.';

CREATE FUNCTION member_tree(member_id bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	-- most members stand for nobody else
	IF NOT EXISTS (SELECT FROM loyalty.member_merge m WHERE m.survivor_id = $1 AND m.unmerged_at IS NULL) THEN
		RETURN ARRAY[$1];
	END IF;
	RETURN (
		WITH RECURSIVE tree (id) AS (
			SELECT $1
			UNION
			SELECT m.absorbed_id FROM tree t,
			LATERAL (SELECT x.absorbed_id FROM loyalty.member_merge x WHERE x.survivor_id = t.id AND x.unmerged_at IS NULL OFFSET 0) m
		)
		SELECT array_agg(t.id ORDER BY t.id) FROM tree t
	);
END
$$;
COMMENT ON FUNCTION member_tree(bigint) IS
'A member and all that were absorbed in it, and in those, by merges that stand; ascending. Of a canonical member: everybody for whom it stands.';

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
			USING ERRCODE = 'LY003', DETAIL = 'value is a text or a number, verified is true or false.';
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

/* idempotency */

CREATE FUNCTION claim_request(member_id bigint, idempotency_key text, arguments text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	mark CONSTANT bytea := sha256(convert_to(arguments, 'UTF8'));
	earlier record;
BEGIN
	IF idempotency_key = '' THEN
		RAISE EXCEPTION 'idempotency_key must not be empty'
			USING ERRCODE = 'LY003', HINT = 'Give a key of the caller''s own choice, or leave it out.';
	END IF;
	INSERT INTO loyalty.member_request AS r (member_id, idempotency_key, fingerprint)
	VALUES (member_id, idempotency_key, mark) ON CONFLICT DO NOTHING;
	IF FOUND THEN
		RETURN NULL;
	END IF;
	SELECT r.fingerprint, r.result INTO earlier FROM loyalty.member_request r
	WHERE r.member_id = claim_request.member_id AND r.idempotency_key = claim_request.idempotency_key;
	IF earlier.fingerprint <> mark THEN
		RAISE EXCEPTION 'idempotency key "%" was used with other arguments', idempotency_key
			USING ERRCODE = 'LY004', HINT = 'Repeat a call with the very same arguments, or use a new key.';
	END IF;
	RETURN coalesce(earlier.result, '{}');
END
$$;
COMMENT ON FUNCTION claim_request(bigint, text, text) IS
'The result of an earlier call with this idempotency key; NULL when this is the first. LY004 when its arguments were others. Part of the writing functions.';

CREATE FUNCTION finish_request(member_id bigint, idempotency_key text, result jsonb, result_member_id bigint DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE loyalty.member_request r SET result = $3, result_member_id = $4
	WHERE r.member_id = $1 AND r.idempotency_key = $2;
END
$$;
COMMENT ON FUNCTION finish_request(bigint, text, jsonb, bigint) IS 'Keeps the result of a call with an idempotency key. Part of the writing functions.';

/* locks and attributes */

/*
 * Functions that write plan each statement once, with indexes only: tables may be
 * empty when a long-lived connection first plans, and such a plan would read
 * them whole once they have grown.  For the same reason look-ups for each of a
 * few rows are written as LATERAL with LIMIT or OFFSET, or as scalar
 * subqueries: the order of a join would be chosen for an empty table.
 */

CREATE FUNCTION lock_members(member_ids bigint[]) RETURNS bigint[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	roots bigint[];
	again bigint[];
	missing bigint;
BEGIN
	SELECT m INTO missing FROM unnest(member_ids) m
	WHERE m IS NULL OR (SELECT count(*) FROM loyalty.member x WHERE x.member_id = m) = 0 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'there is no member %', coalesce(missing::text, 'NULL')
			USING ERRCODE = 'LY202', HINT = 'Members are made by loyalty.resolve_member().';
	END IF;
	LOOP
		roots := (SELECT array_agg(coalesce((SELECT a.canonical_id FROM loyalty.member_alias a WHERE a.member_id = m.id), m.id) ORDER BY m.n)
			FROM unnest(member_ids) WITH ORDINALITY m (id, n));
		BEGIN
			-- a subtransaction, so that locks on members that stand for nobody any more are given back
			PERFORM FROM loyalty.member m WHERE m.member_id = ANY (roots || member_ids) ORDER BY m.member_id FOR NO KEY UPDATE;
			again := (SELECT array_agg(coalesce((SELECT a.canonical_id FROM loyalty.member_alias a WHERE a.member_id = m.id), m.id) ORDER BY m.n)
			FROM unnest(member_ids) WITH ORDINALITY m (id, n));
			IF again = roots THEN
				RETURN roots;
			END IF;
			RAISE EXCEPTION 'members were merged at this moment' USING ERRCODE = 'LY207';
		EXCEPTION WHEN SQLSTATE 'LY207' THEN
			NULL;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION lock_members(bigint[]) IS
'Locks members and those who stand for them, ascending, and returns the latter in the order of the argument. LY202 no such member. Part of the writing functions.';

CREATE FUNCTION require_not_forgotten(member_ids bigint[]) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	forgotten bigint;
BEGIN
	SELECT m.member_id INTO forgotten FROM loyalty.member m
	WHERE m.member_id = ANY (member_ids) AND m.status = 'forgotten' LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'member % is forgotten', forgotten
			USING ERRCODE = 'LY203', HINT = 'Nothing about the person can be linked, merged or taken apart any more.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_not_forgotten(bigint[]) IS 'LY203 when one of the members is forgotten. Part of the writing functions.';

CREATE FUNCTION surviving_attributes(member_ids bigint[]) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	RETURN (
		SELECT coalesce(jsonb_object_agg(w.attribute, w.value) FILTER (WHERE w.value <> 'null'), '{}')
		FROM (
			SELECT DISTINCT ON (x.attribute) x.attribute, x.value
			FROM (
				SELECT f.attribute, f.value, f.given_at, f.fact_id, coalesce(r.rule, o.rule, 'recent') AS rule,
					coalesce(array_position(coalesce(r.channels, o.channels), f.channel), 2147483647) AS rank,
					count(*) OVER (PARTITION BY f.attribute, f.value) AS times
				FROM loyalty.member_fact f
				LEFT JOIN loyalty.attribute_rule r ON r.attribute = f.attribute
				LEFT JOIN loyalty.attribute_rule o ON o.attribute = '*'
				WHERE f.home_member_id = ANY ($1)
			) x
			WHERE x.rule = 'recent' OR x.value <> 'null'
			ORDER BY x.attribute,
				CASE WHEN x.rule = 'frequent' THEN -x.times WHEN x.rule = 'priority' THEN x.rank END,
				CASE WHEN x.rule = 'first' THEN x.given_at END,
				CASE WHEN x.rule = 'first' THEN x.fact_id END,
				x.given_at DESC, x.fact_id DESC
		) w
	);
END
$$;
COMMENT ON FUNCTION surviving_attributes(bigint[]) IS
'The attributes that the rules of attribute_rule choose among all that were given for these members. Part of merges.';

CREATE FUNCTION refresh_attributes(member_id bigint) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
BEGIN
	UPDATE loyalty.member m SET attributes = s.attributes
	FROM (SELECT loyalty.surviving_attributes(loyalty.member_tree($1)) AS attributes) s
	WHERE m.member_id = $1 AND m.attributes <> s.attributes;
END
$$;
COMMENT ON FUNCTION refresh_attributes(bigint) IS 'Computes a canonical member''s attributes again, after a rule was changed.';

/* merging */

CREATE FUNCTION limit_exceeded(survivor_id bigint, absorbed_id bigint, OUT namespace text, OUT have bigint, OUT allowed integer) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT n.namespace, count(DISTINCT i.value), n.max_per_member
	FROM loyalty.identifier i JOIN loyalty.identifier_namespace n ON n.namespace = i.namespace
	WHERE i.member_id IN ($1, $2) AND n.max_per_member IS NOT NULL
	GROUP BY n.namespace, n.max_per_member
	HAVING count(DISTINCT i.value) > n.max_per_member
	ORDER BY n.namespace;
END
$$;
COMMENT ON FUNCTION limit_exceeded(bigint, bigint) IS 'The namespaces of which two members together would have more identifiers than one member may have.';

CREATE FUNCTION join_members(survivor_id bigint, absorbed_id bigint, asked_survivor_id bigint, asked_absorbed_id bigint,
	cause text, reason text, effective_at timestamptz, identifier_ids bigint[] DEFAULT '{}', namespaces text[] DEFAULT '{}',
	verified boolean DEFAULT false, priority integer DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	merge_id bigint;
	members bigint[] := loyalty.member_tree(absorbed_id);
	moved bigint;
	h loyalty.merge_handler;
	item jsonb;
BEGIN
	INSERT INTO loyalty.member_merge AS m (survivor_id, absorbed_id, asked_survivor_id, asked_absorbed_id, cause,
		identifier_ids, namespaces, verified, priority, reason, effective_at)
	VALUES (survivor_id, absorbed_id, asked_survivor_id, asked_absorbed_id, cause,
		identifier_ids, namespaces, verified, priority, reason, effective_at)
	RETURNING m.merge_id INTO merge_id;

	-- points: wallets are locked before the alias is written, so that a posting comes before the merge or after it
	PERFORM loyalty.lock_wallets(ARRAY[survivor_id, absorbed_id]);
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'merge', 'ledger', 'points', to_jsonb(p)
	FROM loyalty.move_points(absorbed_id, survivor_id, reason => format('merge %s', merge_id)) p;
	PERFORM loyalty.mark_wallets(absorbed_id, true), loyalty.mark_wallets(survivor_id, false);

	UPDATE loyalty.member_alias a SET canonical_id = survivor_id WHERE a.canonical_id = absorbed_id;
	INSERT INTO loyalty.member_alias (member_id, canonical_id, merge_id) VALUES (absorbed_id, survivor_id, merge_id);
	UPDATE loyalty.member m SET status = 'absorbed', attributes = '{}' WHERE m.member_id = absorbed_id;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	VALUES (merge_id, 'merge', 'member', 'members', to_jsonb(members));

	WITH moving AS (
		UPDATE loyalty.identifier i SET member_id = survivor_id WHERE i.member_id = absorbed_id RETURNING i.identifier_id
	)
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'merge', 'member', 'identifiers', jsonb_agg(v.identifier_id ORDER BY v.identifier_id)
	FROM moving v HAVING count(*) > 0;

	PERFORM loyalty.refresh_attributes(survivor_id);

	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.merge_function IS NOT NULL ORDER BY x.room LOOP
		EXECUTE format('SELECT %s($1, $2, $3)', h.merge_function) INTO item USING merge_id, survivor_id, absorbed_id;
		IF item IS NOT NULL THEN
			INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
			VALUES (merge_id, 'merge', h.room, 'handler', item);
		END IF;
	END LOOP;

	INSERT INTO loyalty.member_act (member_id, act, other_member_id, merge_id, reason, effective_at)
	VALUES (survivor_id, 'merged', absorbed_id, merge_id, reason, effective_at),
		(absorbed_id, 'merged', survivor_id, merge_id, reason, effective_at);
	RETURN merge_id;
END
$$;
COMMENT ON FUNCTION join_members(bigint, bigint, bigint, bigint, text, text, timestamptz, bigint[], text[], boolean, integer) IS
'Merges one canonical member into another; both are locked already. Returns merge_id. Part of merge_members() and resolve_member().';

CREATE FUNCTION moved_items(merge_id bigint, direction text) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT coalesce(jsonb_agg(jsonb_build_object('room', i.room, 'kind', i.kind, 'item', i.item) ORDER BY i.item_id), '[]')
		FROM loyalty.member_merge_item i WHERE i.merge_id = $1 AND i.direction = $2
	);
END
$$;
COMMENT ON FUNCTION moved_items(bigint, text) IS 'What a merge, or its undoing, moved: an array of {room, kind, item}.';

CREATE FUNCTION merge_members(survivor_id bigint, absorbed_id bigint, reason text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT merge_id bigint, OUT moved jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	roots bigint[];
	earlier jsonb;
	over record;
BEGIN
	replayed := false;
	IF survivor_id IS NULL OR absorbed_id IS NULL OR effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'survivor_id, absorbed_id and effective_at must be given'
			USING ERRCODE = 'LY003', HINT = 'Name both members; effective_at is a finite instant.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(survivor_id, idempotency_key, format('merge %s %s %L %L', survivor_id, absorbed_id, reason,
			nullif(effective_at, statement_timestamp())));
		IF earlier IS NOT NULL THEN
			merge_id := earlier ->> 'merge_id'; moved := earlier -> 'moved'; replayed := true;
			RETURN;
		END IF;
	END IF;

	roots := loyalty.lock_members(ARRAY[survivor_id, absorbed_id]);
	PERFORM loyalty.require_not_forgotten(roots || survivor_id || absorbed_id);
	IF roots[1] = roots[2] THEN
		RAISE EXCEPTION 'members % and % are one already', survivor_id, absorbed_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', roots[1]),
				HINT = 'loyalty.why_merged() tells why.';
	END IF;
	SELECT * INTO over FROM loyalty.limit_exceeded(roots[1], roots[2]) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'members % and % may not be joined', survivor_id, absorbed_id
			USING ERRCODE = 'LY207', DETAIL = format('Together they have %s identifiers of namespace "%s", of which a member may have %s.',
				over.have, over.namespace, over.allowed),
				HINT = 'Unlink identifiers, or raise max_per_member with loyalty.configure_namespace().';
	END IF;
	merge_id := loyalty.join_members(roots[1], roots[2], survivor_id, absorbed_id, 'operator', reason, effective_at);
	moved := loyalty.moved_items(merge_id, 'merge');
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(survivor_id, idempotency_key, jsonb_build_object('merge_id', merge_id, 'moved', moved));
	END IF;
END
$$;
COMMENT ON FUNCTION merge_members(bigint, bigint, text, timestamptz, text) IS
'Merges two members: absorbed_id, with all that were merged into it, into survivor_id. Either may name any member of its tree; the act is on those who stand for them. Points move at once, by ledger entries: lots keep identity, origin, expiry and holds, debt is carried and not repaid. Identifiers, attributes (by attribute_rule) and what other rooms registered follow. Old ids work for ever; unmerge_members() takes it back. Returns merge_id, what moved as an array of {room, kind, item}, and whether it is the first result of a repeated idempotency_key (which belongs to survivor_id). Errors: LY202 no such member, LY203 forgotten, LY207 too many identifiers together, LY209 one member already, LY003, LY004.';

CREATE FUNCTION unmerge_members(merge_id bigint, earned_since text DEFAULT 'home', reason text DEFAULT NULL,
	effective_at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT member_id bigint, OUT moved jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	m loyalty.member_merge;
	root bigint;
	members bigint[];
	since bigint[];
	earlier jsonb;
	h loyalty.merge_handler;
	item jsonb;
	note CONSTANT text := format('unmerge %s', merge_id);
BEGIN
	replayed := false;
	IF earned_since IS NULL OR earned_since NOT IN ('home', 'survivor', 'identifier') THEN
		RAISE EXCEPTION 'unknown earned_since "%"', coalesce(earned_since, 'NULL')
			USING ERRCODE = 'LY003', HINT = 'It is home, survivor or identifier.';
	END IF;
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		RAISE EXCEPTION 'effective_at must be a finite instant' USING ERRCODE = 'LY003', HINT = 'Leave it out for now.';
	END IF;
	SELECT * INTO m FROM loyalty.member_merge x WHERE x.merge_id = unmerge_members.merge_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no merge %', coalesce(merge_id::text, 'NULL')
			USING ERRCODE = 'LY211', HINT = 'merge_members(), resolve_member() and member_history() give its number.';
	END IF;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(m.absorbed_id, idempotency_key, format('unmerge %s %s %L %L', merge_id, earned_since, reason,
			nullif(effective_at, statement_timestamp())));
		IF earlier IS NOT NULL THEN
			member_id := earlier ->> 'member_id'; moved := earlier -> 'moved'; replayed := true;
			RETURN;
		END IF;
	END IF;

	root := (loyalty.lock_members(ARRAY[m.absorbed_id]))[1];
	SELECT * INTO m FROM loyalty.member_merge x WHERE x.merge_id = unmerge_members.merge_id;
	IF m.unmerged_at IS NOT NULL THEN
		RAISE EXCEPTION 'merge % is undone already', merge_id
			USING ERRCODE = 'LY208', DETAIL = format('It was undone at %s.', m.unmerged_at), HINT = 'Nothing is left to do.';
	END IF;
	member_id := m.absorbed_id;
	members := loyalty.member_tree(member_id);
	PERFORM loyalty.require_not_forgotten(members || root);

	PERFORM loyalty.lock_wallets(ARRAY[root], ARRAY[member_id]);
	PERFORM loyalty.mark_wallets(member_id, false);
	IF earned_since = 'identifier' THEN
		-- what was posted to others since, in the name of an identifier that goes back
		since := (SELECT array_agg(e.entry_id)
			FROM loyalty.ledger e
			WHERE e.member_id = ANY (loyalty.member_tree(root)) AND e.recorded_at >= m.recorded_at
				AND e.kind IN ('earn', 'adjust') AND NOT coalesce(e.home_id, e.member_id) = ANY (members)
				AND e.details ->> 'identifier_id' IN (SELECT i.identifier_id::text FROM loyalty.identifier i
					WHERE i.home_member_id = ANY (members)));
	ELSIF earned_since = 'survivor' THEN
		since := (SELECT array_agg(e.entry_id)
			FROM loyalty.ledger e
			WHERE e.member_id = ANY (loyalty.member_tree(root)) AND e.recorded_at >= m.recorded_at
				AND e.kind IN ('earn', 'adjust') AND e.home_id = ANY (members));
	END IF;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'unmerge', 'ledger', 'points', to_jsonb(p)
	FROM loyalty.move_points(root, member_id, homes => members, reason => note) p;
	IF since IS NOT NULL AND earned_since = 'identifier' THEN
		INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
		SELECT merge_id, 'unmerge', 'ledger', 'points earned since', to_jsonb(p)
		FROM loyalty.move_points(root, member_id, opened_by => since, settle => true, reason => note) p;
	ELSIF since IS NOT NULL THEN
		INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
		SELECT merge_id, 'unmerge', 'ledger', 'points that stay', to_jsonb(p)
		FROM loyalty.move_points(member_id, root, opened_by => since, settle => true, reason => note) p;
	END IF;

	UPDATE loyalty.member_merge x
	SET unmerged_at = clock_timestamp(), unmerge_reason = reason, earned_since = unmerge_members.earned_since
	WHERE x.merge_id = unmerge_members.merge_id;
	DELETE FROM loyalty.member_alias a WHERE a.member_id = unmerge_members.member_id;
	UPDATE loyalty.member_alias a SET canonical_id = unmerge_members.member_id WHERE a.member_id = ANY (members);
	UPDATE loyalty.member x SET status = 'active' WHERE x.member_id = unmerge_members.member_id;
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	VALUES (merge_id, 'unmerge', 'member', 'members', to_jsonb(members));

	WITH moving AS (
		UPDATE loyalty.identifier i SET member_id = unmerge_members.member_id
		WHERE i.member_id = root AND i.home_member_id = ANY (members) RETURNING i.identifier_id
	)
	INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
	SELECT merge_id, 'unmerge', 'member', 'identifiers', jsonb_agg(v.identifier_id ORDER BY v.identifier_id)
	FROM moving v HAVING count(*) > 0;

	PERFORM loyalty.refresh_attributes(root), loyalty.refresh_attributes(member_id);

	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.unmerge_function IS NOT NULL ORDER BY x.room DESC LOOP
		EXECUTE format('SELECT %s($1, $2, $3, $4)', h.unmerge_function) INTO item USING merge_id, root, member_id, members;
		IF item IS NOT NULL THEN
			INSERT INTO loyalty.member_merge_item (merge_id, direction, room, kind, item)
			VALUES (merge_id, 'unmerge', h.room, 'handler', item);
		END IF;
	END LOOP;

	INSERT INTO loyalty.member_act (member_id, act, other_member_id, merge_id, reason, effective_at)
	VALUES (root, 'unmerged', member_id, merge_id, reason, effective_at),
		(member_id, 'unmerged', root, merge_id, reason, effective_at);
	moved := loyalty.moved_items(merge_id, 'unmerge');
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request(m.absorbed_id, idempotency_key, jsonb_build_object('member_id', member_id, 'moved', moved));
	END IF;
END
$$;
COMMENT ON FUNCTION unmerge_members(bigint, text, text, timestamptz, text) IS
'Takes a merge back, whichever it is and in whatever order: the absorbed member, with those merged into it, stands for itself again. It gets what is left of the lots that came to it or to them, and their debt, holds, identifiers and attributes; what was spent is spent, by whoever''s lot it was. earned_since says whose points are that were posted since: home, of the member that the posting addressed (post to resolve_member()''s home_member_id); survivor, all stay with the member who stood for both; identifier, as home, and also postings whose details name the identifier_id of an identifier that goes back. Returns the member that stands for itself again, what moved, and whether it is a replay; the idempotency_key belongs to that member. Errors: LY211 no such merge, LY208 undone already, LY203 forgotten, LY003, LY004.';

CREATE FUNCTION preview_merge(survivor_id bigint, absorbed_id bigint, OUT room text, OUT kind text, OUT item jsonb) RETURNS SETOF record
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	s bigint := loyalty.canonical_member(survivor_id);
	a bigint := loyalty.canonical_member(absorbed_id);
	h loyalty.merge_handler;
BEGIN
	IF (SELECT count(*) FROM loyalty.member m WHERE m.member_id IN (survivor_id, absorbed_id)) < 2 AND survivor_id IS DISTINCT FROM absorbed_id
		OR s IS NULL OR a IS NULL THEN
		RAISE EXCEPTION 'there is no member % or %', coalesce(survivor_id::text, 'NULL'), coalesce(absorbed_id::text, 'NULL')
			USING ERRCODE = 'LY202', HINT = 'Members are made by loyalty.resolve_member().';
	END IF;
	PERFORM loyalty.require_not_forgotten(ARRAY[s, a]);
	IF s = a THEN
		RAISE EXCEPTION 'members % and % are one already', survivor_id, absorbed_id
			USING ERRCODE = 'LY209', DETAIL = format('Member %s stands for both.', s), HINT = 'loyalty.why_merged() tells why.';
	END IF;
	RETURN QUERY
	SELECT 'member', 'refusal', jsonb_build_object('namespace', l.namespace, 'have', l.have, 'allowed', l.allowed)
	FROM loyalty.limit_exceeded(s, a) l;
	RETURN QUERY
	SELECT 'ledger', 'points', jsonb_build_object('currency', w.currency, 'points', b.points,
		'lots', jsonb_array_length(w.balance::jsonb -> 'lots'), 'debt', b.debt)
	FROM loyalty.wallet w,
		LATERAL (SELECT sum(x.points) AS points, sum(x.debt) AS debt FROM loyalty.balance_homes(w.balance) x) b
	WHERE w.member_id = a AND b.points + b.debt > 0
	ORDER BY w.currency;
	RETURN QUERY SELECT 'member', 'members', to_jsonb(loyalty.member_tree(a));
	RETURN QUERY
	SELECT 'member', 'identifiers', jsonb_agg(i.identifier_id ORDER BY i.identifier_id)
	FROM loyalty.identifier i WHERE i.member_id = a HAVING count(*) > 0;
	RETURN QUERY
	SELECT 'member', 'attributes', loyalty.surviving_attributes(loyalty.member_tree(s) || loyalty.member_tree(a));
	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.preview_function IS NOT NULL ORDER BY x.room LOOP
		room := h.room; kind := 'handler';
		EXECUTE format('SELECT %s($1, $2)', h.preview_function) INTO item USING s, a;
		IF item IS NOT NULL THEN
			RETURN NEXT;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION preview_merge(bigint, bigint) IS
'What merge_members() would move, as rows of what it returns; nothing changes. kind refusal: why it would be refused. kind attributes: those that the survivor would have. Errors: LY202, LY203, LY209.';

/* resolving and linking */

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
			nullif(effective_at, statement_timestamp())));
		IF earlier IS NOT NULL THEN
			member_id := earlier ->> 'member_id'; outcome := earlier ->> 'outcome'; why := earlier -> 'why';
			merge_id := earlier ->> 'merge_id'; home_member_id := earlier ->> 'home_member_id'; replayed := true;
			RETURN;
		END IF;
	END IF;

	<<attempts>>
	LOOP
		owners := (SELECT array_agg(DISTINCT i.member_id)
			FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text)
			CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
			WHERE g.exclusive AND g.ignored IS NULL);
		EXIT WHEN owners IS NULL AND NOT usable;
		IF owners IS NOT NULL THEN
			owners := (SELECT array_agg(DISTINCT m) FROM unnest(loyalty.lock_members(owners)) m);
			again := (SELECT array_agg(DISTINCT i.member_id)
				FROM jsonb_to_recordset(given) g (namespace text, value text, exclusive boolean, ignored text)
				CROSS JOIN LATERAL (SELECT x.* FROM loyalty.identifier x WHERE x.exclusive AND x.namespace = g.namespace AND x.value = g.value LIMIT 1) i
				WHERE g.exclusive AND g.ignored IS NULL);
			CONTINUE attempts WHEN again IS DISTINCT FROM owners;
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

		BEGIN
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
		EXCEPTION WHEN unique_violation THEN
			-- another session was faster: it knows the person now
			member_id := NULL;
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
			INSERT INTO loyalty.member_fact (home_member_id, attribute, value, channel, given_at)
			SELECT home_member_id, a.key, a.value, channel, effective_at
			FROM jsonb_each(attributes) a
			WHERE a.value IS DISTINCT FROM (SELECT f.value FROM loyalty.member_fact f
				WHERE f.home_member_id = resolve_member_fully.home_member_id AND f.attribute = a.key
					AND f.channel IS NOT DISTINCT FROM resolve_member_fully.channel
				ORDER BY f.given_at DESC, f.fact_id DESC LIMIT 1)
			ORDER BY a.key;
			IF FOUND THEN
				PERFORM loyalty.refresh_attributes(member_id);
				IF outcome <> 'created' THEN
					INSERT INTO loyalty.member_act (member_id, act, channel, effective_at)
					VALUES (home_member_id, 'attributes', channel, effective_at);
				END IF;
			END IF;
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
	root := (loyalty.lock_members(ARRAY[member_id]))[1];
	PERFORM loyalty.require_not_forgotten(ARRAY[member_id, root]);
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(member_id, idempotency_key, format('link %s %L %L %s %L %s', member_id, namespace, g.value, verified, channel,
			nullif(effective_at, statement_timestamp())));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; linked := earlier ->> 'linked'; replayed := true;
			RETURN;
		END IF;
	END IF;

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
	root := (loyalty.lock_members(ARRAY[member_id]))[1];
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request(member_id, idempotency_key, format('unlink %s %L %L %L %s', member_id, namespace, g.value, reason,
			nullif(effective_at, statement_timestamp())));
		IF earlier IS NOT NULL THEN
			identifier_id := earlier ->> 'identifier_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
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

/* explaining */

CREATE FUNCTION why_merged(a bigint, b bigint)
RETURNS TABLE (step bigint, member_id bigint, joined_to bigint, merge_id bigint, cause text, namespaces text[],
	identifier_ids bigint[], verified boolean, priority integer, reason text, merged_at timestamptz, weakest boolean)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE climb (side, depth, id, edge) AS (
		SELECT s.side, 0, s.id, NULL::bigint FROM (VALUES (1, $1), (2, $2)) s (side, id)
		UNION ALL
		SELECT c.side, c.depth + 1, m.survivor_id, m.merge_id
		FROM climb c JOIN loyalty.member_merge m ON m.absorbed_id = c.id AND m.unmerged_at IS NULL
	), meeting AS (
		-- where the two paths to the root meet
		SELECT x.depth AS a_depth, y.depth AS b_depth
		FROM climb x JOIN climb y ON x.side = 1 AND y.side = 2 AND x.id = y.id
		ORDER BY x.depth LIMIT 1
	), path AS (
		SELECT c.side, CASE c.side WHEN 1 THEN c.depth ELSE -c.depth END AS place, c.edge
		FROM climb c, meeting t
		WHERE c.edge IS NOT NULL AND c.depth <= CASE c.side WHEN 1 THEN t.a_depth ELSE t.b_depth END
	), judged AS (
		SELECT p.side, p.place, m.*,
			row_number() OVER (ORDER BY (m.cause = 'operator'), m.verified, m.priority DESC NULLS LAST, m.merge_id) = 1 AS weak
		FROM path p JOIN loyalty.member_merge m ON m.merge_id = p.edge
	)
	SELECT row_number() OVER (ORDER BY j.side, j.place), j.absorbed_id, j.survivor_id, j.merge_id, j.cause, j.namespaces,
		j.identifier_ids, j.verified, j.priority, j.reason, j.recorded_at, j.weak
	FROM judged j
	ORDER BY 1
$$;
COMMENT ON FUNCTION why_merged(bigint, bigint) IS
'Why two members are one: the merges that join them, from a to b, each with the identifiers (by number) and namespaces it stands on, or the operator''s reason. weakest marks the link to doubt first: an unverified identifier, then the one of the lowest priority, then an operator''s act; unmerge_members(merge_id) cuts it. No rows when they are not one, or a is b.';

CREATE FUNCTION member_history(member_id bigint)
RETURNS TABLE (recorded_at timestamptz, effective_at timestamptz, member_id bigint, act text, other_member_id bigint,
	merge_id bigint, identifier_id bigint, namespace text, value text, channel text, reason text)
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT h.recorded_at, h.effective_at, h.member_id, h.act, h.other_member_id, h.merge_id, h.identifier_id, h.namespace,
		i.value, h.channel, h.reason
	FROM loyalty.member_act h
	LEFT JOIN loyalty.identifier i ON i.identifier_id = h.identifier_id
	WHERE h.member_id = ANY (loyalty.member_tree($1))
		AND NOT (h.act IN ('merged', 'unmerged') AND h.other_member_id = ANY (loyalty.member_tree($1))
			AND h.member_id <> (SELECT m.absorbed_id FROM loyalty.member_merge m WHERE m.merge_id = h.merge_id))
	ORDER BY h.act_id
$$;
COMMENT ON FUNCTION member_history(bigint) IS
'What happened to a member and to those absorbed in it, in the order in which it was recorded: created, linked, unlinked, merged, unmerged, attributes, forgotten. value is that of an identifier that is still linked.';

/* forgetting */

CREATE FUNCTION forget_member(member_id bigint, reason text DEFAULT NULL,
	OUT members bigint[], OUT identifiers bigint, OUT facts bigint) RETURNS record
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
	SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off
AS $$
#variable_conflict use_variable
DECLARE
	root bigint := (loyalty.lock_members(ARRAY[member_id]))[1];
	h loyalty.merge_handler;
BEGIN
	members := loyalty.member_tree(root);
	PERFORM FROM loyalty.member m WHERE m.member_id = ANY (members) ORDER BY m.member_id FOR NO KEY UPDATE;
	DELETE FROM loyalty.identifier i WHERE i.member_id = root;
	GET DIAGNOSTICS identifiers = ROW_COUNT;
	DELETE FROM loyalty.member_fact f WHERE f.home_member_id = ANY (members);
	GET DIAGNOSTICS facts = ROW_COUNT;
	UPDATE loyalty.member m SET attributes = '{}', status = 'forgotten' WHERE m.member_id = ANY (members);
	UPDATE loyalty.member_merge m SET reason = NULL, unmerge_reason = NULL
	WHERE m.absorbed_id = ANY (members) OR m.survivor_id = ANY (members);
	UPDATE loyalty.member_act a SET reason = NULL WHERE a.member_id = ANY (members) AND a.reason IS NOT NULL;
	-- the keys stay used; what identified the person in their arguments is gone with the fingerprint
	UPDATE loyalty.member_request r SET result = '{}', fingerprint = ''
	WHERE r.member_id = ANY (members) OR r.result_member_id = ANY (members);
	FOR h IN SELECT * FROM loyalty.merge_handler x WHERE x.forget_function IS NOT NULL ORDER BY x.room LOOP
		EXECUTE format('SELECT %s($1)', h.forget_function) USING members;
	END LOOP;
	INSERT INTO loyalty.member_act (member_id, act, effective_at)
	SELECT m, 'forgotten', statement_timestamp() FROM unnest(members) m;
END
$$;
COMMENT ON FUNCTION forget_member(bigint, text) IS
'Forgets a person: the member, everybody it stands for, and the one who stands for it. Identifiers, attributes with their history, reasons and stored results of calls are deleted; members stay by number, with their points and ledger, as forgotten. Their merges can no longer be undone (LY203). Later identifiers of that person make a new member. What callers wrote into references and details of the ledger is theirs and stays. Returns the members forgotten and how much was deleted. Safe to repeat. reason is not kept. Error: LY202.';

/* proof */

CREATE FUNCTION check_member(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE standing AS MATERIALIZED (
		SELECT m.absorbed_id, m.survivor_id, m.merge_id FROM loyalty.member_merge m WHERE m.unmerged_at IS NULL
	), climb (member_id, above) AS (
		SELECT s.absorbed_id, s.survivor_id FROM standing s
		UNION
		SELECT c.member_id, s.survivor_id FROM climb c JOIN standing s ON s.absorbed_id = c.above
	), root AS MATERIALIZED (
		SELECT c.member_id, c.above AS root_id FROM climb c
		WHERE NOT EXISTS (SELECT FROM standing s WHERE s.absorbed_id = c.above)
	)
	SELECT 'merge', s.absorbed_id, NULL::text, NULL::bigint, format('merge %s is part of a circle of merges', s.merge_id)
	FROM standing s WHERE NOT EXISTS (SELECT FROM root r WHERE r.member_id = s.absorbed_id)
	UNION ALL
	SELECT 'alias', coalesce(r.member_id, a.member_id), NULL, NULL,
		format('member %s stands for it, by the merges that stand it should be %s', coalesce(a.canonical_id::text, 'nobody'), coalesce(r.root_id::text, 'nobody'))
	FROM root r FULL JOIN loyalty.member_alias a ON a.member_id = r.member_id
	WHERE a.canonical_id IS DISTINCT FROM r.root_id
	UNION ALL
	SELECT 'alias', a.member_id, NULL, NULL, format('member %s stands for it, and is absorbed itself', a.canonical_id)
	FROM loyalty.member_alias a JOIN loyalty.member_alias b ON b.member_id = a.canonical_id
	UNION ALL
	SELECT 'alias', a.member_id, NULL, NULL, format('merge %s, in which it was absorbed, does not stand', a.merge_id)
	FROM loyalty.member_alias a
	WHERE NOT EXISTS (SELECT FROM standing s WHERE s.merge_id = a.merge_id AND s.absorbed_id = a.member_id)
	UNION ALL
	SELECT 'status', coalesce(m.member_id, a.member_id), NULL, NULL, format('its status is %s', coalesce(m.status, 'missing: there is no such member'))
	FROM loyalty.member m FULL JOIN loyalty.member_alias a ON a.member_id = m.member_id
	WHERE m.member_id IS NULL OR m.status = 'active' AND a.member_id IS NOT NULL OR m.status = 'absorbed' AND a.member_id IS NULL
	UNION ALL
	SELECT 'identifier', i.member_id, NULL, NULL,
		format('identifier %s is with it, by its home %s it should be with %s', i.identifier_id, i.home_member_id, coalesce(r.root_id, i.home_member_id))
	FROM loyalty.identifier i LEFT JOIN root r ON r.member_id = i.home_member_id
	WHERE i.member_id <> coalesce(r.root_id, i.home_member_id)
	UNION ALL
	SELECT 'identifier', i.member_id, NULL, NULL, format('identifier %s points at a member that is %s', i.identifier_id, coalesce(m.status, 'missing'))
	FROM loyalty.identifier i LEFT JOIN loyalty.member m ON m.member_id = i.member_id
	WHERE m.status IS DISTINCT FROM 'active'
	UNION ALL
	SELECT 'identifier', min(i.member_id), NULL, NULL, format('namespace %s: one value of %s members', i.namespace, count(*))
	FROM loyalty.identifier i WHERE i.exclusive GROUP BY i.namespace, i.value HAVING count(*) > 1
	UNION ALL
	SELECT 'forgotten', m.member_id, NULL, NULL, 'it is forgotten, and has personal data'
	FROM loyalty.member m
	WHERE m.status = 'forgotten' AND (m.attributes <> '{}'
		OR EXISTS (SELECT FROM loyalty.member_fact f WHERE f.home_member_id = m.member_id)
		OR EXISTS (SELECT FROM loyalty.identifier i WHERE i.home_member_id = m.member_id)
		OR EXISTS (SELECT FROM loyalty.member_act a WHERE a.member_id = m.member_id AND a.reason IS NOT NULL))
	UNION ALL
	SELECT 'attributes', m.member_id, NULL, NULL, 'an absorbed member has attributes'
	FROM loyalty.member m WHERE m.status = 'absorbed' AND m.attributes <> '{}'
	UNION ALL
	SELECT 'attributes', m.member_id, NULL, NULL, 'its attributes are not those that the rules choose'
	FROM loyalty.member m
	WHERE m.status = 'active' AND m.member_id IN (SELECT coalesce(r.root_id, f.home_member_id)
			FROM loyalty.member_fact f LEFT JOIN root r ON r.member_id = f.home_member_id)
		AND m.attributes <> loyalty.surviving_attributes(loyalty.member_tree(m.member_id))
	UNION ALL
	SELECT 'wallet', w.member_id, w.currency, NULL,
		CASE WHEN w.moved THEN 'its points are marked as moved, but it is not absorbed' ELSE 'it is absorbed, but its points are not marked as moved' END
	FROM loyalty.wallet w LEFT JOIN loyalty.member_alias a ON a.member_id = w.member_id
	WHERE (a.member_id IS NOT NULL) <> coalesce(w.moved, false)
	UNION ALL
	SELECT 'home', w.member_id, w.currency, NULL, format('%s points and a debt of %s are with it, by their home %s they should be with %s',
		b.points, b.debt, h.home_id, coalesce(r.root_id, h.home_id))
	FROM loyalty.wallet w, loyalty.balance_homes(w.balance) b, LATERAL (SELECT coalesce(nullif(b.home_id, 0), w.member_id) AS home_id) h
		LEFT JOIN root r ON r.member_id = h.home_id
	WHERE (b.home_id <> 0 OR w.moved IS NOT NULL) AND coalesce(r.root_id, h.home_id) <> w.member_id
	UNION ALL
	SELECT 'handler', NULL, NULL, NULL, format('no room has registered how table %s is merged', c.relname)
	FROM pg_class c
	WHERE c.relnamespace = to_regnamespace('loyalty') AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'member_id' AND NOT a.attisdropped)
		AND c.relname NOT IN ('wallet', 'ledger', 'member', 'member_alias', 'identifier', 'member_act', 'member_request')
		AND NOT EXISTS (SELECT FROM loyalty.merge_handler h WHERE c.relname = ANY (h.tables))
$$;
COMMENT ON FUNCTION check_member() IS
'Every invariant of room member: a row for each violation; part of check(). The merges that stand form a forest; aliases are its roots, depth one; every identifier, point and debt is with the root of its home, a live member; no exclusive value twice; attributes are what the rules choose; forgotten members have no personal data; every table of a member''s things has a room that says how it is merged.';

/* rights */

REVOKE EXECUTE ON FUNCTION
	setup_member(),
	configure_namespace(text, text, text, boolean, boolean, integer, integer, boolean, boolean, boolean),
	block_identifier(text, text, text),
	register_merge_handler(text, text[], text, text, text, text),
	claim_request(bigint, text, text),
	finish_request(bigint, text, jsonb, bigint),
	lock_members(bigint[]),
	refresh_attributes(bigint),
	join_members(bigint, bigint, bigint, bigint, text, text, timestamptz, bigint[], text[], boolean, integer),
	merge_members(bigint, bigint, text, timestamptz, text),
	unmerge_members(bigint, text, text, timestamptz, text),
	resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text),
	resolve_member(jsonb, text, jsonb, text, timestamptz, text),
	link_identifier(bigint, text, text, boolean, text, timestamptz, text),
	unlink_identifier(bigint, text, text, text, timestamptz, text),
	forget_member(bigint, text)
	FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	setup_member(),
	configure_namespace(text, text, text, boolean, boolean, integer, integer, boolean, boolean, boolean),
	block_identifier(text, text, text),
	register_merge_handler(text, text[], text, text, text, text),
	claim_request(bigint, text, text),
	finish_request(bigint, text, jsonb, bigint),
	lock_members(bigint[]),
	refresh_attributes(bigint),
	join_members(bigint, bigint, bigint, bigint, text, text, timestamptz, bigint[], text[], boolean, integer),
	merge_members(bigint, bigint, text, timestamptz, text),
	unmerge_members(bigint, text, text, timestamptz, text),
	resolve_member_fully(jsonb, text, jsonb, text, timestamptz, text),
	resolve_member(jsonb, text, jsonb, text, timestamptz, text),
	link_identifier(bigint, text, text, boolean, text, timestamptz, text),
	unlink_identifier(bigint, text, text, text, timestamptz, text),
	forget_member(bigint, text)
	TO @extowner@;
