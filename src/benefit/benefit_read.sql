/*
 * benefit: what members have.
 */

CREATE FUNCTION fold_coupons(member_ids bigint[], as_of timestamptz, known_at timestamptz,
	OUT member_id bigint, OUT coupon_id bigint, OUT state text, OUT acts integer, OUT uses integer, OUT basket text,
	OUT reserved_until timestamptz, OUT valid_until timestamptz, OUT given_back boolean) RETURNS SETOF record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_fold_coupons';
COMMENT ON FUNCTION fold_coupons(bigint[], timestamptz, timestamptz) IS
'The states of coupons (NULL: of all members), folded from the acts that were effective and known by then. Part of coupons() and check_benefit().';

CREATE FUNCTION coupons(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT coupon_id bigint, OUT benefit text, OUT code text, OUT state text, OUT valid_from timestamptz, OUT valid_until timestamptz,
	OUT reserved_until timestamptz, OUT uses_left integer) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT f.coupon_id, c.benefit, c.code, f.state, c.valid_from, f.valid_until, CASE WHEN f.state = 'reserved' THEN f.reserved_until END,
		CASE WHEN f.state IN ('issued', 'reserved') THEN coalesce((v.definition ->> 'times')::numeric::integer, 1) - f.uses ELSE 0 END
	FROM loyalty.fold_coupons(loyalty.numbers_of($1), coalesce($2, statement_timestamp()), coalesce($3, 'infinity')) f
	JOIN loyalty.coupon c ON c.member_id = f.member_id AND c.coupon_id = f.coupon_id
	JOIN loyalty.benefit_version v ON v.benefit = c.benefit AND v.version = c.version
	ORDER BY f.coupon_id
$$;
COMMENT ON FUNCTION coupons(bigint, timestamptz, timestamptz) IS
'The coupons of a member, under whichever number, as of an instant (NULL: now), as known at one (NULL: now). state: issued, reserved, redeemed (as often as it may be), expired, revoked or transferred. valid_until NULL: for ever.';
