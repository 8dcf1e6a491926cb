/*
 * benefit: a member's card, all that an app shows of it, in one call.  It reads
 * what the others say, and computes nothing of its own.
 */

CREATE FUNCTION points_worth(member_id bigint, currency text, points bigint, at timestamptz, OUT worth numeric, OUT money text) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT trunc($3 * (p.definition ->> 'worth')::numeric / (p.definition ->> 'points')::numeric, loyalty.money_decimals(0, p.definition ->> 'money')), p.definition ->> 'money'
	FROM (SELECT DISTINCT ON (v.benefit) v.benefit, v.definition FROM loyalty.benefit b JOIN loyalty.benefit_version v ON v.benefit = b.benefit
		WHERE b.kind = 'payment' AND coalesce(v.effective_from, '-infinity') <= $4 ORDER BY v.benefit, v.version DESC
		OFFSET 0) p		-- has_access() is asked of these alone
	WHERE coalesce(p.definition ->> 'currency', 'points') = $2 AND loyalty.has_access($1, p.benefit, $4)
	ORDER BY 1 DESC, p.benefit LIMIT 1
$$;
COMMENT ON FUNCTION points_worth(bigint, text, bigint, timestamptz) IS
'What points are worth to a member when it pays with them, by the best of the payments that it may use, whatever their steps; NULL where there is none. Part of card_rows().';

CREATE FUNCTION card_rows(member_id bigint, as_of timestamptz DEFAULT NULL,
	OUT section text, OUT item text, OUT state text, OUT amount numeric, OUT until timestamptz, OUT details jsonb) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH t AS (SELECT coalesce($2, statement_timestamp()) AS at, loyalty.canonical_member($1) AS id)
	SELECT 'tier', l.ladder, h.level, NULL::numeric, h.valid_until, jsonb_strip_nulls(jsonb_build_object('name', h.name, 'since', h.starts_at))
	FROM t, loyalty.ladder l LEFT JOIN LATERAL (SELECT m.level, m.name, m.starts_at, m.valid_until FROM t, loyalty.member_tiers($1, l.ladder, t.at) m
		WHERE m.level IS NOT NULL AND (m.ends_at IS NULL OR m.ends_at > t.at) ORDER BY m.starts_at DESC LIMIT 1) h ON true
	UNION ALL
	SELECT 'progress', p.ladder, p.goal, p.missing, p.due_at, jsonb_build_object('level', p.level, 'measure', p.measure, 'have', p.have, 'needed', p.needed)
	FROM t, loyalty.tier_progress($1, NULL, t.at) p
	UNION ALL
	SELECT 'points', w.currency, NULL, b.available, b.next_expiry_at,
		jsonb_strip_nulls(jsonb_build_object('pending', b.pending, 'held', b.held, 'debt', b.debt, 'expiring', b.next_expiry_points, 'worth', x.worth, 'money', x.money))
	FROM t JOIN loyalty.wallet w ON w.member_id = t.id, LATERAL loyalty.balance($1, w.currency, t.at) b, LATERAL loyalty.points_worth($1, w.currency, b.available, t.at) x
	UNION ALL
	SELECT 'coupon', c.benefit, c.state, c.uses_left, c.valid_until, jsonb_strip_nulls(jsonb_build_object('coupon_id', c.coupon_id, 'code', c.code, 'valid_from', c.valid_from))
	FROM t, loyalty.coupons($1, t.at) c WHERE c.state IN ('issued', 'reserved')
	UNION ALL
	SELECT 'entitlement', e.benefit, e.why, e.remaining, e.period_end, jsonb_build_object('allowed', e.allowed, 'used', e.used, 'period_start', e.period_start)
	FROM t, loyalty.entitlements($1, t.at) e WHERE e.why <> 'not_entitled' OR e.remaining > 0 OR e.used > 0
	UNION ALL
	SELECT 'gift', g.gift, g.state, NULL, g.closes_at, jsonb_build_object('period_key', g.period_key, 'gives', g.gives) FROM t, loyalty.available_gifts($1, t.at) g
	UNION ALL
	SELECT 'order', o.reward, o.state, o.points, o.hold_until, jsonb_build_object('order_id', o.order_id, 'quantity', o.quantity, 'money', o.money)
	FROM t, loyalty.reward_orders($1, t.at) o WHERE o.state IN ('reserved', 'paid')
	UNION ALL
	SELECT 'household', h.name, m.role, greatest(m.may_spend - m.spent, 0), NULL, jsonb_build_object('household_id', h.member_id, 'may_spend', m.may_spend, 'period', m.period)
	FROM t, loyalty.household h, LATERAL (SELECT x.* FROM loyalty.household_members(h.member_id, t.at) x WHERE x.member_id = ANY (loyalty.numbers_of($1)) LIMIT 1) m
	WHERE h.member_id = loyalty.household_of($1, t.at)
$$;
COMMENT ON FUNCTION card_rows(bigint, timestamptz) IS
'All that a member, under whichever number, has as of an instant (NULL: now), as rows. section: tier (item: the ladder, state: the level), progress (what is missing to a level), points (item: the currency; amount: available; until: when the first expire), coupon (amount: uses left), entitlement (amount: remaining), gift, order (that waits or is to be fulfilled), household (amount: what is left of its allowance). details: the rest.';

CREATE FUNCTION member_card(member_id bigint, as_of timestamptz DEFAULT NULL) RETURNS jsonb
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object('version', 1, 'member_id', loyalty.canonical_member($1), 'as_of', coalesce($2, statement_timestamp())) || coalesce((
		SELECT jsonb_object_agg(s.section, s.items)
		FROM (SELECT r.section, jsonb_agg(jsonb_strip_nulls(jsonb_build_object('item', r.item, 'state', r.state, 'amount', r.amount, 'until', r.until)) || r.details
				ORDER BY r.item COLLATE "C", r.until, r.details) AS items
			FROM loyalty.card_rows($1, $2) r GROUP BY r.section) s), '{}')
$$;
COMMENT ON FUNCTION member_card(bigint, timestamptz) IS
'card_rows() as one object for an app: {"version": 1, "member_id", "as_of", and for each section that has rows an array of {"item", "state", "amount", "until", and its details}}. member_id is the one who stands for it.';
