/*
 * benefit: forgotten members, and what must hold.
 */

CREATE FUNCTION erase_benefit_texts(member_ids bigint[]) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_erase_benefit_texts';
COMMENT ON FUNCTION erase_benefit_texts(bigint[]) IS
'Erases baskets, references and reasons of what was done to coupons, uses and orders of members; returns how many had one. Part of forget_member(). Error: 42501 not the owner of the tables.';

CREATE FUNCTION forget_benefits(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.coupon c SET basket = '' WHERE c.member_id = ANY ($1) AND c.basket <> ''$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.reward_order o SET reference = NULL WHERE o.member_id = ANY ($1) AND o.reference IS NOT NULL$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.gift_card c SET reference = NULL WHERE c.member_id = ANY ($1) AND c.reference IS NOT NULL$q$, $1);
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.household h SET name = '' WHERE h.member_id = ANY ($1) AND h.name <> ''$q$, $1);
	SELECT loyalty.forget_memberships($1);
	SELECT loyalty.erase_shared_entries($1);
	SELECT loyalty.erase_benefit_texts($1)
$$;
COMMENT ON FUNCTION forget_benefits(bigint[]) IS
'What forget_member() means here: names of baskets, references and reasons are deleted, and who is in a household leaves it; so are texts of entries in wallets of households and gift cards that are the person''s. Coupons, codes, uses, orders, dates and amounts stay with the number of the member, as the ledger does. Part of forget_member().';

CREATE FUNCTION check_benefit_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH latest AS (
		SELECT DISTINCT ON (v.benefit) v.benefit, (v.definition ->> 'total')::numeric::bigint AS total, (v.definition ->> 'stock')::numeric::bigint AS stock
		FROM loyalty.benefit_version v ORDER BY v.benefit, v.version DESC
	), issued AS MATERIALIZED (
		SELECT c.benefit, count(*) AS n FROM loyalty.coupon c WHERE NOT c.given_back AND c.from_coupon_id IS NULL GROUP BY c.benefit
	), ordered AS MATERIALIZED (
		SELECT o.reward, sum(o.quantity - o.cancelled) AS n FROM loyalty.reward_order o WHERE NOT o.stock_back GROUP BY o.reward
	)
	SELECT 'total', NULL::bigint, NULL::text, NULL::bigint, format('benefit "%s": %s are left and %s issued, of %s', l.benefit, e.n, c.n, l.total)
	FROM latest l, LATERAL (SELECT coalesce(sum(e.remaining), 0) AS n FROM loyalty.escrow e WHERE e.name = format('benefit/%s/total', l.benefit)) e,
		LATERAL (SELECT coalesce(sum(c.n), 0) AS n FROM issued c WHERE c.benefit = l.benefit) c
	WHERE e.n + c.n <> l.total
	UNION ALL
	SELECT 'stock', NULL, NULL, NULL, format('reward "%s": %s are left and %s ordered, of %s', l.benefit, e.n, o.n, l.stock)
	FROM latest l, LATERAL (SELECT coalesce(sum(e.remaining), 0) AS n FROM loyalty.escrow e WHERE e.name = format('benefit/%s/stock', l.benefit)) e,
		LATERAL (SELECT coalesce(sum(o.n), 0) AS n FROM ordered o WHERE o.reward = l.benefit) o
	WHERE e.n + o.n <> l.stock;

	RETURN QUERY
	SELECT 'household', a.person_id, NULL::text, NULL::bigint, format('it is in %s households', count(*))
	FROM loyalty.memberships(NULL, NULL, 'infinity') a GROUP BY a.person_id HAVING count(*) > 1;
END
$$;
COMMENT ON FUNCTION check_benefit_totals() IS
'What all members have together: what is left of the total of a benefit and what was issued; what is left of a stock and what was ordered; a person is in one household. Part of check_benefit().';

CREATE FUNCTION check_benefit(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH coupon AS MATERIALIZED (
		SELECT c.*, coalesce((v.definition ->> 'times')::numeric::integer, 1) AS times, (v.definition ->> 'member')::numeric::bigint AS member_limit,
			coalesce(v.definition ->> 'codes', 'unique') AS codes
		FROM loyalty.coupon c LEFT JOIN loyalty.benefit_version v ON v.benefit = c.benefit AND v.version = c.version
	), latest AS MATERIALIZED (
		SELECT DISTINCT v.benefit FROM loyalty.benefit_version v
	), used AS MATERIALIZED (
		-- what each activity has of each coupon, by the last act
		SELECT DISTINCT ON (a.activity_id, a.coupon_id) a.activity_id, a.coupon_id, a.member_id, a.kind, a.discount
		FROM loyalty.coupon_act a WHERE a.activity_id IS NOT NULL ORDER BY a.activity_id, a.coupon_id, a.act DESC
	)
	SELECT 'state', c.member_id, NULL::text, NULL::bigint, format('coupon %s has another state than its acts fold to', c.coupon_id)
	FROM coupon c LEFT JOIN loyalty.fold_coupons(NULL, 'infinity', 'infinity') f ON f.member_id = c.member_id AND f.coupon_id = c.coupon_id
	WHERE (c.acts, c.uses, c.basket, c.reserved_until, c.valid_until, c.given_back, c.ended)
		IS DISTINCT FROM (f.acts, f.uses, f.basket, f.reserved_until, f.valid_until, f.given_back,
			CASE WHEN f.state IN ('revoked', 'transferred') THEN f.state END)
	UNION ALL
	SELECT 'acts', a.member_id, NULL, NULL, format('coupon %s has %s acts, the last of which is number %s', a.coupon_id, count(*), max(a.act))
	FROM loyalty.coupon_act a GROUP BY a.member_id, a.coupon_id HAVING count(*) <> max(a.act)
	UNION ALL
	SELECT 'acts', a.member_id, NULL, NULL, format('act %s of coupon %s, which there is not', a.act, a.coupon_id)
	FROM loyalty.coupon_act a WHERE NOT EXISTS (SELECT FROM coupon c WHERE c.member_id = a.member_id AND c.coupon_id = a.coupon_id)
	UNION ALL
	SELECT 'uses', c.member_id, NULL, NULL, format('coupon %s is redeemed %s times, and may be %s', c.coupon_id, c.uses, c.times)
	FROM coupon c WHERE c.uses NOT BETWEEN 0 AND c.times
	UNION ALL
	SELECT 'uses', c.member_id, NULL, NULL, format('coupon %s is redeemed %s times, and activities have it %s times', c.coupon_id, c.uses, count(u.coupon_id))
	FROM coupon c LEFT JOIN used u ON u.coupon_id = c.coupon_id AND u.member_id = c.member_id AND u.kind IN ('redeemed', 'redeemed_again', 'repriced')
	GROUP BY c.member_id, c.coupon_id, c.uses HAVING c.uses <> count(u.coupon_id)
	UNION ALL
	SELECT 'member limit', c.member_id, NULL, NULL, format('it has %s coupons of benefit "%s", and may have %s', count(*), c.benefit, max(c.member_limit))
	FROM coupon c WHERE NOT c.given_back AND c.from_coupon_id IS NULL
	GROUP BY c.member_id, c.benefit HAVING count(*) > max(c.member_limit) AND bool_and(c.member_limit IS NOT NULL)
	UNION ALL
	SELECT t.* FROM loyalty.check_benefit_totals() t WHERE NOT loyalty.sees_part()
	UNION ALL
	SELECT 'pool', NULL, NULL, NULL, format('benefit "%s": slot %s has %s codes, up to place %s, and counts %s', l.benefit, e.slot, k.n, k.last, e.remaining)
	FROM latest l JOIN loyalty.escrow e ON e.name = format('benefit/%s/unused_codes', l.benefit),
		LATERAL (SELECT count(*) AS n, coalesce(max(k.place), 0) AS last FROM loyalty.coupon_code k WHERE k.benefit = l.benefit AND k.slot = e.slot) k
	WHERE k.n <> e.remaining OR k.last <> e.remaining
	UNION ALL
	SELECT 'code', k.member_id, NULL, NULL, format('code "%s" is of coupon %s, which has %s', k.shown, k.coupon_id, coalesce('"' || c.code || '"', 'none'))
	FROM loyalty.coupon_code k LEFT JOIN coupon c ON c.member_id = k.member_id AND c.coupon_id = k.coupon_id
	WHERE k.coupon_id IS NOT NULL AND (c.code IS NULL OR loyalty.normalize_code(c.code) <> k.code OR k.place IS NOT NULL)
	UNION ALL
	SELECT 'code', c.member_id, NULL, NULL, format('coupon %s has a code that is not its own', c.coupon_id)
	FROM coupon c LEFT JOIN loyalty.coupon_code k ON k.code = loyalty.normalize_code(c.code)
	WHERE c.code IS NOT NULL AND c.ended IS DISTINCT FROM 'transferred' AND CASE WHEN c.codes = 'generic' THEN k.code IS NULL OR k.coupon_id IS NOT NULL
		ELSE (k.member_id, k.coupon_id) IS DISTINCT FROM (c.member_id, c.coupon_id) END
	UNION ALL
	SELECT 'discount', a.member_id, NULL, NULL, format('coupons take %s off activity %s, and %s off its lines', u.discount, a.activity_id, l.discount)
	FROM (SELECT u.activity_id, sum(u.discount) AS discount, sum(s.beyond) AS beyond FROM used u
			LEFT JOIN LATERAL (SELECT sum((x ->> 'discount')::numeric) AS beyond FROM loyalty.coupon_act a, jsonb_array_elements(a.spread) x
				WHERE a.member_id = u.member_id AND a.coupon_id = u.coupon_id AND a.activity_id = u.activity_id AND (x -> 'line') = '0'
					AND a.act = (SELECT max(b.act) FROM loyalty.coupon_act b WHERE b.member_id = u.member_id AND b.coupon_id = u.coupon_id AND b.activity_id = u.activity_id)) s ON true
			WHERE u.kind IN ('redeemed', 'redeemed_again', 'repriced') GROUP BY u.activity_id) u
		JOIN loyalty.activity a ON a.activity_id = u.activity_id AND a.moved_to IS NULL,
		LATERAL (SELECT coalesce(sum((x ->> 'coupon_discount')::numeric), 0) AS discount FROM jsonb_array_elements(a.lines) x) l
	WHERE a.lines IS NOT NULL AND u.discount - coalesce(u.beyond, 0) <> l.discount
	UNION ALL
	SELECT * FROM loyalty.check_entitlements()
	UNION ALL
	SELECT * FROM loyalty.check_rewards()
	UNION ALL
	SELECT * FROM loyalty.check_gifts()
	UNION ALL
	SELECT * FROM loyalty.check_households()
$$;
COMMENT ON FUNCTION check_benefit() IS
'Every invariant of room benefit: a row for each violation; part of check_all(). The state of each coupon is the fold of its acts; none is redeemed more often than it may be, or than activities have it; limits of members hold; what is left of a total and what was issued are the total; what a pool counts it has; each code is in one place; what coupons take off an activity stands in its lines.';
