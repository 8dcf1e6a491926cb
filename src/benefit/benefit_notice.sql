/*
 * benefit: notices of what time brings.
 */

-- Not pinned, so that the planner can inline it: every name is qualified.
CREATE FUNCTION due_coupon_ending(until timestamptz, lead interval, scope text, behind bigint, up_to bigint)
RETURNS TABLE (member_id bigint, subject text, due_at timestamptz, at timestamptz, payload jsonb)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1000 SUPPORT require_setup
AS $$
	SELECT c.standing, pg_catalog.format('%s %s', c.coupon_id, pg_catalog.date_part('epoch', c.valid_until)), loyalty.due_at(c.valid_until, $2), c.valid_until,
		pg_catalog.jsonb_build_object('version', 1, 'coupon_id', c.coupon_id, 'benefit', c.benefit, 'uses_left', c.times OPERATOR(pg_catalog.-) c.uses)
	FROM (SELECT k.member_id AS standing, k.coupon_id, k.benefit, k.version, k.valid_until, k.uses, k.ended,
			coalesce((v.definition OPERATOR(pg_catalog.->>) 'times')::pg_catalog.int4, 1) AS times
		FROM loyalty.coupon k JOIN loyalty.benefit_version v ON v.benefit OPERATOR(pg_catalog.=) k.benefit AND v.version OPERATOR(pg_catalog.=) k.version
		WHERE ($4 IS NULL OR k.member_id OPERATOR(pg_catalog.>) $4) AND ($5 IS NULL OR k.member_id OPERATOR(pg_catalog.<=) $5)
			AND NOT EXISTS (SELECT FROM loyalty.member_merge g WHERE g.absorbed_id OPERATOR(pg_catalog.=) k.member_id AND g.unmerged_at IS NULL)
		-- coupons stay under their numbers: who stands for their members now is told
		UNION ALL
		SELECT loyalty.canonical_member(k.member_id), k.coupon_id, k.benefit, k.version, k.valid_until, k.uses, k.ended,
			coalesce((v.definition OPERATOR(pg_catalog.->>) 'times')::pg_catalog.int4, 1)
		FROM loyalty.member_merge g JOIN loyalty.coupon k ON k.member_id OPERATOR(pg_catalog.=) g.absorbed_id
			JOIN loyalty.benefit_version v ON v.benefit OPERATOR(pg_catalog.=) k.benefit AND v.version OPERATOR(pg_catalog.=) k.version
		WHERE g.unmerged_at IS NULL AND ($4 IS NULL OR loyalty.canonical_member(k.member_id) OPERATOR(pg_catalog.>) $4)
			AND ($5 IS NULL OR loyalty.canonical_member(k.member_id) OPERATOR(pg_catalog.<=) $5)) c
	WHERE c.ended IS NULL AND c.uses OPERATOR(pg_catalog.<) c.times AND ($3 IS NULL OR c.benefit OPERATOR(pg_catalog.=) $3)
		AND c.valid_until OPERATOR(pg_catalog.>) $1
		-- a day more than the lead, whatever the calendar: most coupons end here
		AND c.valid_until OPERATOR(pg_catalog.<=) ($1 OPERATOR(pg_catalog.+) $2 OPERATOR(pg_catalog.+) '1 day'::pg_catalog.interval)
		AND loyalty.due_at(c.valid_until, $2) OPERATOR(pg_catalog.<=) $1
$$;
COMMENT ON FUNCTION due_coupon_ending(timestamptz, interval, text, bigint, bigint) IS
'Notices of coupons whose time ends, and that can still be used: one for each coupon and instant, with how often; scope is a benefit. Part of due_notices().';
