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
