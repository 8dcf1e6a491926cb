/*
 * benefit: what a member gets.  Primitives, which need no tables: codes, and
 * what coupons take off a basket.
 */

CREATE FUNCTION normalize_code(code text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_normalize_code';
COMMENT ON FUNCTION normalize_code(text) IS
'A code of a coupon as it is compared: ASCII letters in upper case, without blanks and dashes.';

CREATE FUNCTION make_code() RETURNS text
LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_make_code';
COMMENT ON FUNCTION make_code() IS
'A new code such as 7KQ4-XH2M-9TPA: eleven random characters of 31 (no 0, O, 1, I, L), and one that checks them, by which any wrong character, or two that changed places, are noticed. Kept nowhere: see generate_codes().';

CREATE FUNCTION spread_amount(total numeric, weights numeric[], decimals integer DEFAULT 2) RETURNS numeric[]
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_spread_amount';
COMMENT ON FUNCTION spread_amount(numeric, numeric[], integer) IS
'Spreads an amount over parts in proportion to their weights, so that the shares add up to it exactly: each is rounded down to the decimals of the money, and what is left goes to the largest remainders, one unit each, the first of equal ones. How a discount is spread over the lines of an order. A weight that is NULL is 0. Error: LY003 negative, finer than the money, or all weights 0.';

CREATE FUNCTION price_basket(lines jsonb, definitions jsonb, shipping numeric DEFAULT 0, decimals integer DEFAULT 2, choose boolean DEFAULT true,
	OUT coupon integer, OUT line integer, OUT discount numeric, OUT why text) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'loyalty_price_basket';
COMMENT ON FUNCTION price_basket(jsonb, jsonb, numeric, integer, boolean) IS
'What coupons of these definitions (an array; see define_benefit()) take off a basket: a row for each line of which a coupon takes something (line 0: of shipping, what the basket has beyond its lines), or one without line for a coupon that takes nothing. coupon: place in definitions. why: applies; no_lines: nothing is meant; minimum; nothing: there is nothing to take off; excluded: another of the same "exclusive" takes more. choose => false: all are wanted, whatever they exclude. lines as of record_activity(), before coupons. Needs no tables. Errors: LY505 lines, LY602 a definition, LY003.';

CREATE FUNCTION check_benefit_definition(definition jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_check_benefit_definition';
COMMENT ON FUNCTION check_benefit_definition(jsonb) IS
'Answers with the definition of a benefit. Error: LY602, whose detail names each mistake with its place.';
