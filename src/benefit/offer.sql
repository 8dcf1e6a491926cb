/*
 * benefit: prices and access.
 */

CREATE FUNCTION has_access(member_id bigint, benefit text, at timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_has_access';
COMMENT ON FUNCTION has_access(bigint, text, timestamptz) IS
'Whether a member, under whichever number, may have a benefit of kind access as of an instant (NULL: now), or a reward, gift, member price or payment: whether its "available" holds. What is not known of the member does not hold. Errors: LY601 no such benefit, or one of another kind, LY003.';

CREATE FUNCTION price_of(member_id bigint, sku text, list_price numeric, at timestamptz DEFAULT NULL, money text DEFAULT NULL,
	OUT price numeric, OUT why text) RETURNS record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_price_of';
COMMENT ON FUNCTION price_of(bigint, text, numeric, timestamptz, text) IS
'What goods cost a member as of an instant (NULL: now): the lowest of the list price and of the member prices that it may have, and whose that is: list_price or the benefit. They do not add up. price NULL: they are for members only, and why is the benefit of kind access that would have to be open. Goods are what the catalogue (define_product()) says of the sku. money: ISO 4217, of which alone prices count that name one. Errors: LY003, LY505.';

CREATE FUNCTION price_lines(member_id bigint, lines jsonb, at timestamptz DEFAULT NULL, money text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN jsonb_typeof($2) = 'array' THEN (
		SELECT coalesce(jsonb_agg(CASE
				WHEN p.of ->> 'price' IS NULL AND p.of IS NOT NULL THEN p.line || jsonb_build_object('members_only', p.of -> 'why')
				WHEN p.of ->> 'why' <> 'list_price' THEN p.line || jsonb_build_object('price', p.of -> 'price', 'list_price', p.line -> 'price', 'member_price', p.of -> 'why')
				ELSE p.line END ORDER BY p.n), '[]')
		FROM (SELECT l.line, l.n, CASE WHEN jsonb_typeof(l.line -> 'price') = 'number' AND l.line ->> 'sku' IS NOT NULL AND NOT l.line ?| '{amount,discount}'
				THEN to_jsonb(loyalty.price_of($1, l.line ->> 'sku', (l.line ->> 'price')::numeric, $3, $4)) END AS of
			FROM jsonb_array_elements($2) WITH ORDINALITY l (line, n)) p)
		ELSE $2 END
$$;
COMMENT ON FUNCTION price_lines(bigint, jsonb, timestamptz, text) IS
'Lines of a basket, of which "price" is the list price of one, with the prices that the member has (price_of()): where its is lower, "price" is that, "list_price" what it was and "member_price" the benefit; goods that are not for it keep their price, and "members_only" names the benefit that would have to be open. Lines without a sku, or with an amount or a discount of their own, stay as they are. For preview_basket() and record_activity(). Errors: LY003, LY505.';
