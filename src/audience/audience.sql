/*
 * audience: sets of members.  Primitives, which need no tables: type member_set,
 * its aggregates, algebra and probes.  See member_set.h.
 */

CREATE TYPE member_set;

CREATE FUNCTION member_set_in(cstring) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_in';
COMMENT ON FUNCTION member_set_in(cstring) IS 'Text input of type member_set: {1,2,3} in any order, or the portable form in hex. Error: LY706.';

CREATE FUNCTION member_set_out(member_set) RETURNS cstring
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_out';
COMMENT ON FUNCTION member_set_out(member_set) IS 'Text output of type member_set: {1,2,3}, or, of more than 100 members, the portable form in hex.';

CREATE FUNCTION member_set_recv(internal) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_recv';
COMMENT ON FUNCTION member_set_recv(internal) IS 'Binary input of type member_set: the portable form. Error: LY706.';

CREATE FUNCTION member_set_send(member_set) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_send';
COMMENT ON FUNCTION member_set_send(member_set) IS 'Binary output of type member_set: the portable form.';

CREATE TYPE member_set (
	INPUT = member_set_in,
	OUTPUT = member_set_out,
	RECEIVE = member_set_recv,
	SEND = member_set_send,
	INTERNALLENGTH = variable,
	ALIGNMENT = int4,
	STORAGE = extended
);
COMMENT ON TYPE member_set IS
'A set of ids of members, any bigint from 0 on. A few bits a member where they lie close, two bytes elsewhere, and 22 where each is alone in a range of 2^32. Equal sets have equal bytes: the portable form of 64-bit Roaring bitmaps, which other systems read and write. Made by member_set_agg; combined by & | - #, which have PostgreSQL''s precedence (- before the others, those from left to right: write parentheses).';

CREATE FUNCTION member_set_eq(member_set, member_set) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_eq';
COMMENT ON FUNCTION member_set_eq(member_set, member_set) IS 'Have the two sets the same members?';

CREATE FUNCTION member_set_ne(member_set, member_set) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_ne';
COMMENT ON FUNCTION member_set_ne(member_set, member_set) IS 'Is a member in one of the two sets only?';

CREATE FUNCTION member_set_hash(member_set) RETURNS integer
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_hash';
COMMENT ON FUNCTION member_set_hash(member_set) IS 'Hash of a set, for grouping and hash joins.';

CREATE FUNCTION member_set_hash_extended(member_set, bigint) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_hash_extended';
COMMENT ON FUNCTION member_set_hash_extended(member_set, bigint) IS 'Seeded 64-bit hash of a set, for hash partitioning.';

CREATE OPERATOR = (
	LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel, HASHES
);
COMMENT ON OPERATOR = (member_set, member_set) IS 'Have the two sets the same members?';

CREATE OPERATOR <> (
	LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (member_set, member_set) IS 'Is a member in one of the two sets only?';

CREATE OPERATOR CLASS member_set_hash_ops DEFAULT FOR TYPE member_set USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 member_set_hash(member_set),
	FUNCTION 2 member_set_hash_extended(member_set, bigint);
COMMENT ON OPERATOR CLASS member_set_hash_ops USING hash IS 'Hash support of type member_set, for GROUP BY, DISTINCT and joins.';

/* algebra */

CREATE FUNCTION member_set_and(member_set, member_set) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_and';
COMMENT ON FUNCTION member_set_and(member_set, member_set) IS 'The members of both sets.';

CREATE FUNCTION member_set_or(member_set, member_set) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_or';
COMMENT ON FUNCTION member_set_or(member_set, member_set) IS 'The members of either set.';

CREATE FUNCTION member_set_minus(member_set, member_set) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_minus';
COMMENT ON FUNCTION member_set_minus(member_set, member_set) IS 'The members of the first set who are not in the second.';

CREATE FUNCTION member_set_xor(member_set, member_set) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_xor';
COMMENT ON FUNCTION member_set_xor(member_set, member_set) IS 'The members of one of the two sets, and not of both.';

CREATE OPERATOR & (LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_and, COMMUTATOR = &);
COMMENT ON OPERATOR & (member_set, member_set) IS 'The members of both sets.';

CREATE OPERATOR | (LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_or, COMMUTATOR = |);
COMMENT ON OPERATOR | (member_set, member_set) IS 'The members of either set.';

CREATE OPERATOR - (LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_minus);
COMMENT ON OPERATOR - (member_set, member_set) IS 'The members of the first set who are not in the second.';

CREATE OPERATOR # (LEFTARG = member_set, RIGHTARG = member_set, FUNCTION = member_set_xor, COMMUTATOR = #);
COMMENT ON OPERATOR # (member_set, member_set) IS 'The members of one of the two sets, and not of both.';

CREATE FUNCTION count_members(set member_set) RETURNS bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_count_members';
COMMENT ON FUNCTION count_members(member_set) IS 'How many members a set has.';

CREATE FUNCTION contains(set member_set, member_id bigint) RETURNS boolean
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_contains';
COMMENT ON FUNCTION contains(member_set, bigint) IS
'Whether a member is in a set. A set of a table that many rows are asked about is unpacked once, not for each of them.';

CREATE FUNCTION unnest_members(set member_set) RETURNS SETOF bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 1000 AS 'MODULE_PATHNAME', 'loyalty_unnest_members';
COMMENT ON FUNCTION unnest_members(member_set) IS 'The members of a set, one row each, ascending.';

CREATE FUNCTION overlap(a member_set, b member_set, OUT in_both bigint, OUT in_either bigint, OUT jaccard numeric) RETURNS record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_overlap';
COMMENT ON FUNCTION overlap(member_set, member_set) IS
'How many members are in both sets, how many in either, and the Jaccard index, in_both / in_either, to six decimals (NULL where both are empty).';

/* casts */

CREATE FUNCTION set_bytes(set member_set) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_set_bytes';
COMMENT ON FUNCTION set_bytes(member_set) IS
'The portable form of 64-bit Roaring bitmaps, as CRoaring''s Roaring64Map and its kin in other languages read it. Part of the cast.';

CREATE FUNCTION set_from_bytes(bytes bytea) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_set_from_bytes';
COMMENT ON FUNCTION set_from_bytes(bytea) IS
'The set that the portable form of 64-bit Roaring bitmaps says, in whichever way it is written, runs included. Part of the cast. Error: LY706 they are none, with the reason, or ids are negative.';

CREATE FUNCTION set_members(set member_set) RETURNS bigint[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_set_members';
COMMENT ON FUNCTION set_members(member_set) IS 'The members of a set as an array, ascending. Part of the cast. Error: 54000 more than an array holds (134 million).';

CREATE FUNCTION set_from_members(member_ids bigint[]) RETURNS member_set
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_set_from_members';
COMMENT ON FUNCTION set_from_members(bigint[]) IS 'The set of members in an array, in any order; NULLs are left out. Part of the cast. Error: LY706 a negative id.';

CREATE CAST (member_set AS bytea) WITH FUNCTION set_bytes(member_set);
CREATE CAST (bytea AS member_set) WITH FUNCTION set_from_bytes(bytea);
CREATE CAST (member_set AS bigint[]) WITH FUNCTION set_members(member_set);
CREATE CAST (bigint[] AS member_set) WITH FUNCTION set_from_members(bigint[]);
COMMENT ON CAST (member_set AS bytea) IS 'The portable form of 64-bit Roaring bitmaps.';
COMMENT ON CAST (bytea AS member_set) IS 'The set that the portable form of 64-bit Roaring bitmaps says.';
COMMENT ON CAST (member_set AS bigint[]) IS 'The members of a set, ascending.';
COMMENT ON CAST (bigint[] AS member_set) IS 'The set of members in an array.';

/* aggregates */

CREATE FUNCTION member_set_accum(state aggregate_state, member_id bigint) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_accum';
COMMENT ON FUNCTION member_set_accum(aggregate_state, bigint) IS 'Transition function of member_set_agg.';

CREATE FUNCTION member_set_rollup_accum(state aggregate_state, set member_set) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_rollup_accum';
COMMENT ON FUNCTION member_set_rollup_accum(aggregate_state, member_set) IS 'Transition function of member_set_rollup.';

CREATE FUNCTION member_set_combine(state aggregate_state, other aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_combine';
COMMENT ON FUNCTION member_set_combine(aggregate_state, aggregate_state) IS 'Joins partial states of member_set_agg or member_set_rollup.';

CREATE FUNCTION member_set_final(aggregate_state) RETURNS member_set
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_member_set_final';
COMMENT ON FUNCTION member_set_final(aggregate_state) IS 'Final function of member_set_agg and member_set_rollup.';

CREATE AGGREGATE member_set_agg(member_id bigint) (
	SFUNC = member_set_accum,
	STYPE = aggregate_state,
	SSPACE = 1024,
	FINALFUNC = member_set_final,
	COMBINEFUNC = member_set_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE member_set_agg(bigint) IS
'The set of members of the rows, each once however often it comes; NULL is nobody, and no row the empty set. Same bits in any order, with any number of workers. Error: LY706 a negative id.';

CREATE AGGREGATE member_set_rollup(set member_set) (
	SFUNC = member_set_rollup_accum,
	STYPE = aggregate_state,
	SSPACE = 8192,
	FINALFUNC = member_set_final,
	COMBINEFUNC = member_set_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE member_set_rollup(member_set) IS 'The members of any of the sets: the union of all; NULL is no set.';
