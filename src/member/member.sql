/*
 * member: one person, one member.
 *
 * Primitives, which need no tables, are in this file: connected components over
 * pairs of bigint or of text, and the normal form of identifiers.
 *
 * The program, on tables that setup_member() makes, is in member_*.sql.  The
 * reasons are in src/member/member.h.
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
 * with the canonical member of its home.  A merge adds an edge to a tree, an
 * unmerge takes any edge away; both move what the absorbed tree brought.
 */

/* connected components */

CREATE FUNCTION components_accum(state aggregate_state, a bigint, b bigint) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_accum';
COMMENT ON FUNCTION components_accum(aggregate_state, bigint, bigint) IS 'Transition function of components_agg.';

CREATE FUNCTION components_text_accum(state aggregate_state, a text, b text) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_text_accum';
COMMENT ON FUNCTION components_text_accum(aggregate_state, text, text) IS 'Transition function of components_text_agg.';

CREATE FUNCTION components_combine(state aggregate_state, other aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_combine';
COMMENT ON FUNCTION components_combine(aggregate_state, aggregate_state) IS 'Joins partial states of components_agg or components_text_agg.';

CREATE FUNCTION components_final(state aggregate_state) RETURNS bigint[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_final';
COMMENT ON FUNCTION components_final(aggregate_state) IS 'Final function of components_agg.';

CREATE FUNCTION components_text_final(state aggregate_state) RETURNS text[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_components_text_final';
COMMENT ON FUNCTION components_text_final(aggregate_state) IS 'Final function of components_text_agg.';

CREATE AGGREGATE components_agg(a bigint, b bigint) (
	SFUNC = components_accum,
	STYPE = aggregate_state,
	SSPACE = 8192,
	FINALFUNC = components_final,
	COMBINEFUNC = components_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE components_agg(bigint, bigint) IS
'Connected components of the graph whose edges are the rows (a, b): an n by 2 array of [node, component], ascending by node, each component named by its smallest node; ''{}'' without rows. A row with one NULL adds the other end as a node; two NULLs add nothing. The same for any order of rows, any plan and any number of workers. Memory goes with the number of nodes (30 to 60 bytes each, half as much again for an instant while it grows, and 24 for listing them), not of edges; it is not bounded by work_mem, as with array_agg, but a hashed GROUP BY counts it. At most 67 million nodes in one group. Expand it with expand_components; pass stored components as edges again to add new edges to them.';

CREATE AGGREGATE components_text_agg(a text, b text) (
	SFUNC = components_text_accum,
	STYPE = aggregate_state,
	SSPACE = 8192,
	FINALFUNC = components_text_final,
	COMBINEFUNC = components_combine,
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
namespace ''phone'': E.164, + and at most 15 digits. Accepts + or tel:; 00, or what default_country (ISO 3166-1, two letters) dials for calls abroad; numbers as written in default_country, with or without trunk prefix, also with Argentina''s 15, with carriers'' codes (Brazil), and without area code where there is one only; the calling code without +; a trunk prefix behind it, as in +44 (0)20; digits of other scripts. Where digits without + can be read with and without the calling code, that code is taken in countries that always write the trunk prefix at home (Germany), elsewhere the number of the country. Checked: calling code exists, length and leading digits have numbers of subscribers in the country''s plan, or had in 2022. Not checked: whether the number is assigned, mobile or fixed, or reachable. Extensions, letters and short codes are garbage, and so are six digits or more that are all the same, or count up or down (0 follows 9), as written or behind the calling code: people who have no number type them.
namespace ''email'': case-folded, one @, domain of two labels or more; mailto: and <> around it are taken off. The domain comes out in ASCII: labels beyond it, mapped by NFKC and simple case folding (nearly UTS #46, and the German sharp s is not ss, nor a final sigma another), become Punycode (xn--); labels that came as Punycode are decoded and mapped alike, and are garbage if that fails. With provider_rules also without +tag for providers that ignore it, and without dots for gmail.com and googlemail.com (both gmail.com). Not checked: whether domain and mailbox exist, dots of the local part; quoted local parts and names beside the address are garbage.
any other namespace: opaque; simple case folding unless fold_case is false (ids of messengers are often case-sensitive), white space inside stays, control characters are garbage.
on_garbage: ''null'' gives NULL, ''error'' raises LY201 with the reason. Error LY003 for an unknown default_country or on_garbage.';
