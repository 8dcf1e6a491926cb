/*
 * benefit: entitlements, what members may use how often.
 */

CREATE FUNCTION setup_entitlement_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE SEQUENCE loyalty.entitlement_use_id;
	CREATE TABLE loyalty.entitlement_act (
		member_id bigint NOT NULL,
		use_id bigint NOT NULL,
		act integer NOT NULL,
		kind text NOT NULL,
		benefit text NOT NULL,
		version integer,
		quantity bigint NOT NULL,
		granted bigint,
		at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		reserved_until timestamptz,
		allowed bigint,
		period_start timestamptz,
		period_end timestamptz,
		order_id bigint,
		reference text,
		PRIMARY KEY (member_id, use_id, act)
	);
	ALTER SEQUENCE loyalty.entitlement_use_id OWNED BY loyalty.entitlement_act.use_id;
	COMMENT ON TABLE loyalty.entitlement_act IS 'What was done to uses of entitlements. Append-only; read it with entitlements(), which knows what the clock has done to them.';
	COMMENT ON COLUMN loyalty.entitlement_act.member_id IS 'The member, under the number that was named.';
	COMMENT ON COLUMN loyalty.entitlement_act.use_id IS 'Number of the use.';
	COMMENT ON COLUMN loyalty.entitlement_act.act IS 'Number of the act, from 1.';
	COMMENT ON COLUMN loyalty.entitlement_act.kind IS 'used, reserved, confirmed (what was reserved is used), restored (given back), granted (further uses, bought or given), revoked (those taken back).';
	COMMENT ON COLUMN loyalty.entitlement_act.benefit IS 'The entitlement.';
	COMMENT ON COLUMN loyalty.entitlement_act.version IS 'The version of it that was in force (used, reserved, granted).';
	COMMENT ON COLUMN loyalty.entitlement_act.quantity IS 'How many uses.';
	COMMENT ON COLUMN loyalty.entitlement_act.granted IS 'How many of them are of further uses, because the quota had no more; NULL of those themselves.';
	COMMENT ON COLUMN loyalty.entitlement_act.at IS 'When it was done, in the business.';
	COMMENT ON COLUMN loyalty.entitlement_act.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.entitlement_act.reserved_until IS 'When the reservation ends by itself (reserved).';
	COMMENT ON COLUMN loyalty.entitlement_act.allowed IS 'How many the period had when it was decided (used, reserved); NULL: as many as one likes.';
	COMMENT ON COLUMN loyalty.entitlement_act.period_start IS 'The period in which it lies (used, reserved); NULL: without beginning.';
	COMMENT ON COLUMN loyalty.entitlement_act.period_end IS 'And its end; NULL: without end.';
	COMMENT ON COLUMN loyalty.entitlement_act.order_id IS 'The order of a reward that gave the uses (granted).';
	COMMENT ON COLUMN loyalty.entitlement_act.reference IS 'The caller''s own reference.';
END
$$;
COMMENT ON FUNCTION setup_entitlement_tables() IS 'Part of setup_benefit().';

CREATE FUNCTION entitlements(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT benefit text, OUT allowed bigint, OUT used bigint, OUT remaining bigint, OUT period_start timestamptz, OUT period_end timestamptz,
	OUT why text) RETURNS SETOF record
LANGUAGE c STABLE ROWS 5 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_entitlements';
COMMENT ON FUNCTION entitlements(bigint, timestamptz, timestamptz) IS
'What a member, under whichever number, may use as of an instant (NULL: now), by the uses that were known at one (NULL: now): a row for each entitlement, by its name. allowed: uses of the period in which the instant lies, with what was carried to it (NULL: as many as one likes); used: of those; remaining: how many more it can use then, further ones that were bought or given among them. The period is half-open; NULL: without end. why: open; used_up; not_entitled (the level held then, or what else the quota asks for, gives none); not_available; not_joined (there is no anchor to count from). Right whether or not any job ever ran.';

CREATE FUNCTION put_use(member_id bigint, benefit text, quantity bigint, at timestamptz, until timestamptz, reference text,
	OUT use_id bigint, OUT remaining bigint) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_put_use';
COMMENT ON FUNCTION put_use(bigint, text, bigint, timestamptz, timestamptz, text) IS 'What use_entitlement() does, without its key; part of it.';

CREATE FUNCTION settle_use(member_id bigint, use_id bigint, kind text, at timestamptz, reference text,
	OUT settled_id bigint, OUT remaining bigint) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_settle_use';
COMMENT ON FUNCTION settle_use(bigint, bigint, text, timestamptz, text) IS 'What confirm_use() and restore_use() do, without their keys; part of them.';

CREATE FUNCTION grant_uses(member_id bigint, benefit text, quantity bigint, at timestamptz, order_id bigint) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_grant_uses';
COMMENT ON FUNCTION grant_uses(bigint, text, bigint, timestamptz, bigint) IS
'Gives a member further uses of an entitlement, which are used where its quota has no more, whoever the member is by then; returns their number. Part of orders of rewards and of gifts. Errors: LY601 benefit, LY003.';

CREATE FUNCTION revoke_uses(member_id bigint, use_id bigint, at timestamptz) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_revoke_uses';
COMMENT ON FUNCTION revoke_uses(bigint, bigint, timestamptz) IS
'Takes further uses back. Part of orders of rewards that are cancelled. Errors: LY607 some of them are used, LY620, LY622, LY003.';

CREATE FUNCTION use_entitlement(member_id bigint, benefit text, quantity bigint DEFAULT 1, at timestamptz DEFAULT statement_timestamp(),
	until timestamptz DEFAULT NULL, reference text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT use_id bigint, OUT remaining bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('use_entitlement', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(benefit, quantity, extract(epoch FROM nullif(at, statement_timestamp())), extract(epoch FROM until), reference));
		IF earlier IS NOT NULL THEN
			use_id := earlier ->> 'use_id'; remaining := earlier ->> 'remaining'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT p.use_id, p.remaining INTO use_id, remaining FROM loyalty.put_use(member_id, benefit, quantity, at, until, reference) p;
	IF loyalty.is_heard('entitlement_used') THEN
		PERFORM loyalty.happen('entitlement_used', member_id, at, jsonb_strip_nulls(jsonb_build_object('version', 1, 'use_id', use_id, 'benefit', benefit,
			'quantity', quantity, 'reserved_until', until, 'remaining', remaining)));
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('use_entitlement', member_id, idempotency_key, jsonb_build_object('use_id', use_id, 'remaining', remaining));
	END IF;
END
$$;
COMMENT ON FUNCTION use_entitlement(bigint, text, bigint, timestamptz, timestamptz, text, text) IS
'Uses an entitlement, of the period in which at lies, as whoever the member is then; or, with until, reserves uses that lapse by themselves at that instant unless confirm_use() came before. Returns the number of the use, how many more it can use (NULL: as many as it likes), and whether this is the first result of a repeated idempotency_key. Errors: LY601 benefit, LY609 the member may not use it, LY612 its quota is used up, LY003, LY004, LY115.';

CREATE FUNCTION confirm_use(member_id bigint, use_id bigint, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT remaining bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('confirm_use', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(use_id, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			remaining := earlier ->> 'remaining'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT s.remaining INTO remaining FROM loyalty.settle_use(member_id, use_id, 'confirmed', at, reference) s;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('confirm_use', member_id, idempotency_key, jsonb_build_object('remaining', remaining));
	END IF;
END
$$;
COMMENT ON FUNCTION confirm_use(bigint, bigint, timestamptz, text, text) IS
'What was reserved is used: at an instant before its reservation ends, whoever the member is by then. It stays in the period in which it was reserved. Returns how many more it can use. Errors: LY620 no such use, LY621 the reservation has lapsed, LY622 it is used already or was given back, LY612 it is recorded after others have used what it had reserved, LY003, LY004, LY115.';

CREATE FUNCTION restore_use(member_id bigint, use_id bigint, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT remaining bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('restore_use', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(use_id, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			remaining := earlier ->> 'remaining'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT s.remaining INTO remaining FROM loyalty.settle_use(member_id, use_id, 'restored', at, reference) s;
	IF loyalty.is_heard('entitlement_restored') THEN
		PERFORM loyalty.happen('entitlement_restored', member_id, at, jsonb_strip_nulls(jsonb_build_object('version', 1, 'use_id', use_id, 'remaining', remaining)));
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('restore_use', member_id, idempotency_key, jsonb_build_object('remaining', remaining));
	END IF;
END
$$;
COMMENT ON FUNCTION restore_use(bigint, bigint, timestamptz, text, text) IS
'Gives a use back to the period in which it lies, or ends its reservation: of a booking that was cancelled, say. Returns how many the member can use then. Errors: LY620 no such use, LY621 its reservation has lapsed, LY622 it was given back before, LY003, LY004, LY115.';

CREATE FUNCTION check_entitlements(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'use', a.member_id, NULL::text, NULL::bigint, format('use %s has %s acts, the last of which is number %s', a.use_id, count(*), max(a.act))
	FROM loyalty.entitlement_act a GROUP BY a.member_id, a.use_id HAVING count(*) <> max(a.act)
	UNION ALL
	SELECT 'use', b.member_id, NULL, NULL, format('use %s was %s after it was %s', b.use_id, b.kind, a.kind)
	FROM loyalty.entitlement_act b LEFT JOIN loyalty.entitlement_act a ON a.member_id = b.member_id AND a.use_id = b.use_id AND a.act = b.act - 1
	WHERE (coalesce(a.kind, ''), b.kind) NOT IN (('', 'used'), ('', 'reserved'), ('', 'granted'), ('used', 'restored'), ('reserved', 'confirmed'),
		('reserved', 'restored'), ('confirmed', 'restored'), ('granted', 'revoked'))
	UNION ALL
	-- by what was recorded before it: merged members, who came later, are not asked for
	SELECT 'quota', a.member_id, NULL, NULL, format('use %s of "%s" made %s of a period that had %s', a.use_id, a.benefit, a.quantity - a.granted + e.used, a.allowed)
	FROM loyalty.entitlement_act a, LATERAL (
		SELECT coalesce(sum(f.quantity - f.granted), 0) AS used
		FROM loyalty.entitlement_act f
			CROSS JOIN LATERAL (SELECT l.kind, l.reserved_until FROM loyalty.entitlement_act l
				WHERE l.member_id = f.member_id AND l.use_id = f.use_id AND l.recorded_at < a.recorded_at ORDER BY l.act DESC LIMIT 1) l
		WHERE f.member_id = a.member_id AND f.benefit = a.benefit AND f.act = 1 AND f.kind <> 'granted' AND f.use_id <> a.use_id AND f.recorded_at < a.recorded_at
			AND f.at >= coalesce(a.period_start, '-infinity') AND f.at < coalesce(a.period_end, 'infinity')
			AND l.kind <> 'restored' AND (l.kind <> 'reserved' OR l.reserved_until > a.at)) e
	WHERE a.kind IN ('used', 'reserved') AND a.quantity > a.granted AND a.quantity - a.granted + e.used > a.allowed
	UNION ALL
	SELECT 'further uses', a.member_id, NULL, NULL, format('of further uses of "%s", %s were used, and %s given', a.benefit,
		sum(a.granted) FILTER (WHERE a.kind <> 'granted'), coalesce(sum(a.quantity) FILTER (WHERE a.kind = 'granted'), 0))
	FROM loyalty.entitlement_act a JOIN LATERAL (SELECT l.kind FROM loyalty.entitlement_act l
			WHERE l.member_id = a.member_id AND l.use_id = a.use_id ORDER BY l.act DESC LIMIT 1) l ON l.kind IN ('used', 'confirmed', 'granted')
	WHERE a.act = 1 AND NOT EXISTS (SELECT FROM loyalty.member_merge m WHERE m.survivor_id = a.member_id OR m.absorbed_id = a.member_id)
	GROUP BY a.member_id, a.benefit
	HAVING coalesce(sum(a.granted) FILTER (WHERE a.kind <> 'granted'), 0) > coalesce(sum(a.quantity) FILTER (WHERE a.kind = 'granted'), 0)
$$;
COMMENT ON FUNCTION check_entitlements() IS
'Invariants of entitlements: a row for each violation; part of check_benefit(). Acts of a use follow each other as they may; each use found its place in its quota, by what was recorded before it; no more further uses are used than were given.';
