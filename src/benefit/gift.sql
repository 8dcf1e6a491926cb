/*
 * benefit: gifts, rights for a window, which facts of the member open.
 */

CREATE FUNCTION setup_gift_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE TABLE loyalty.gift_claim (
		member_id bigint NOT NULL,
		gift text NOT NULL,
		period_key text NOT NULL,
		version integer NOT NULL,
		at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		opens_at timestamptz NOT NULL,
		closes_at timestamptz NOT NULL,
		coupon_id bigint,
		use_id bigint,
		entry_id bigint,
		reference text,
		PRIMARY KEY (member_id, gift, period_key)
	);
	COMMENT ON TABLE loyalty.gift_claim IS 'Gifts that were claimed: one for each occasion. Append-only.';
	COMMENT ON COLUMN loyalty.gift_claim.member_id IS 'The member, under the number that was named.';
	COMMENT ON COLUMN loyalty.gift_claim.gift IS 'The benefit.';
	COMMENT ON COLUMN loyalty.gift_claim.period_key IS 'The occasion: its year (birthday, joined, yearly), month (monthly) or day (holiday, days), or once (welcome).';
	COMMENT ON COLUMN loyalty.gift_claim.version IS 'The version of the benefit.';
	COMMENT ON COLUMN loyalty.gift_claim.at IS 'When it was claimed; of points from when on the member has them.';
	COMMENT ON COLUMN loyalty.gift_claim.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.gift_claim.opens_at IS 'When its window opened.';
	COMMENT ON COLUMN loyalty.gift_claim.closes_at IS 'When it closes.';
	COMMENT ON COLUMN loyalty.gift_claim.coupon_id IS 'The coupon that it gave.';
	COMMENT ON COLUMN loyalty.gift_claim.use_id IS 'The further uses of an entitlement that it gave.';
	COMMENT ON COLUMN loyalty.gift_claim.entry_id IS 'The entry of the points that it gave.';
	COMMENT ON COLUMN loyalty.gift_claim.reference IS 'The caller''s own reference.';
END
$$;
COMMENT ON FUNCTION setup_gift_tables() IS 'Part of setup_benefit().';

CREATE FUNCTION lock_benefit(member_id bigint, benefit text) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_lock_benefit';
COMMENT ON FUNCTION lock_benefit(bigint, text) IS
'Locks what a member, under all its numbers, has of a benefit. Part of claim_gift(); 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION gift_windows(member_id bigint, from_at timestamptz, until_at timestamptz,
	OUT gift text, OUT version integer, OUT period_key text, OUT opens_at timestamptz, OUT closes_at timestamptz, OUT available boolean)
RETURNS SETOF record
LANGUAGE c STABLE ROWS 5 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_gift_windows';
COMMENT ON FUNCTION gift_windows(bigint, timestamptz, timestamptz) IS
'The windows of gifts that facts of a member open at some instant between two, by the definitions in force at the second, and of points by those in force when they opened; available: whether the member meets what the definition asks for, as of the second instant or the end of the window, of points as of its beginning. None of a household or a gift card, which are no persons. Part of available_gifts(), claim_gift() and book_gifts(). Error: LY003 a span of more than 1000 days.';

CREATE FUNCTION available_gifts(member_id bigint, as_of timestamptz DEFAULT NULL,
	OUT gift text, OUT name text, OUT period_key text, OUT opens_at timestamptz, OUT closes_at timestamptz, OUT state text, OUT gives jsonb)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	moment CONSTANT timestamptz := coalesce(as_of, statement_timestamp());
	claimed CONSTANT text[] := ARRAY(SELECT c.gift || ' ' || c.period_key FROM loyalty.gift_claim c
		WHERE c.member_id = ANY (loyalty.numbers_of($1)) AND c.at <= moment);
BEGIN
	RETURN QUERY
	SELECT w.gift, b.name, w.period_key, w.opens_at, w.closes_at, CASE WHEN c.is_claimed THEN 'claimed' ELSE 'open' END, v.definition -> 'gives'
	FROM loyalty.gift_windows($1, moment, moment) w
		JOIN loyalty.benefit b ON b.benefit = w.gift
		JOIN loyalty.benefit_version v ON v.benefit = w.gift AND v.version = w.version
		CROSS JOIN LATERAL (SELECT w.gift || ' ' || w.period_key = ANY (claimed)) c (is_claimed)
	WHERE w.available OR c.is_claimed
	ORDER BY w.gift, w.opens_at;
END
$$;
COMMENT ON FUNCTION available_gifts(bigint, timestamptz) IS
'The gifts whose window is open for a member, under whichever number, as of an instant (NULL: now), and which it may have: a right that follows from facts, so no job makes it. state: open or claimed.';

CREATE FUNCTION give_gift(member_id bigint, gift text, version integer, period_key text, opens_at timestamptz, closes_at timestamptz, at timestamptz, reference text,
	OUT coupon_id bigint, OUT use_id bigint, OUT entry_id bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	gives CONSTANT jsonb := (SELECT v.definition -> 'gives' FROM loyalty.benefit_version v WHERE v.benefit = give_gift.gift AND v.version = give_gift.version);
BEGIN
	-- points count from when on the window is open
	IF gives ? 'points' THEN
		at := opens_at;
	END IF;
	IF gives ? 'coupon' THEN
		coupon_id := (loyalty.put_coupon(member_id, gives ->> 'coupon', at, NULL, reference)).coupon_id;
	ELSIF gives ? 'entitlement' THEN
		use_id := loyalty.grant_uses(member_id, gives ->> 'entitlement', coalesce((gives ->> 'uses')::bigint, 1), at, NULL);
	ELSIF gives ? 'points' THEN
		entry_id := (loyalty.earn(member_id, (gives ->> 'points')::bigint, coalesce(gives ->> 'currency', 'points'), at, reference => reference,
			details => jsonb_build_object('gift', gift, 'period_key', period_key))).entry_id;
	END IF;
	INSERT INTO loyalty.gift_claim (member_id, gift, period_key, version, at, opens_at, closes_at, coupon_id, use_id, entry_id, reference)
	VALUES (member_id, gift, period_key, version, at, opens_at, closes_at, coupon_id, use_id, entry_id, reference);
	IF loyalty.is_heard('gift_claimed') THEN
		PERFORM loyalty.happen('gift_claimed', member_id, at, jsonb_strip_nulls(jsonb_build_object('version', 1, 'gift', gift, 'period_key', period_key,
			'coupon_id', coupon_id, 'use_id', use_id, 'entry_id', entry_id)));
	END IF;
END
$$;
COMMENT ON FUNCTION give_gift(bigint, text, integer, text, timestamptz, timestamptz, timestamptz, text) IS
'Hands out the gift of a window, and keeps that it was claimed. Part of claim_gift() and book_gifts_of(), which hold the lock of lock_benefit().';

CREATE FUNCTION claim_gift(member_id bigint, gift text, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT period_key text, OUT coupon_id bigint, OUT use_id bigint, OUT entry_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	x record;
	w record;
	is_open boolean := false;
	earlier_at timestamptz;
	claimed_at timestamptz;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('claim_gift', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(gift, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			period_key := earlier ->> 'period_key'; coupon_id := earlier ->> 'coupon_id'; use_id := earlier ->> 'use_id'; entry_id := earlier ->> 'entry_id';
			replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.lock_benefit(member_id, gift);
	-- the first that is open, or one that was claimed
	FOR x IN SELECT g.* FROM loyalty.gift_windows(member_id, at, at) g WHERE g.gift = claim_gift.gift ORDER BY g.opens_at LOOP
		SELECT c.at INTO earlier_at FROM loyalty.gift_claim c
		WHERE c.member_id = ANY (loyalty.numbers_of(member_id)) AND c.gift = x.gift AND c.period_key = x.period_key;
		IF FOUND THEN
			claimed_at := coalesce(claimed_at, earlier_at);
			period_key := coalesce(period_key, x.period_key);
		ELSIF x.available THEN
			w := x;
			is_open := true;
			EXIT;
		END IF;
	END LOOP;
	IF NOT is_open AND claimed_at IS NOT NULL THEN
		RAISE EXCEPTION 'gift "%" of % was claimed before', gift, period_key
			USING ERRCODE = 'LY615', DETAIL = format('It was at %s.', claimed_at), HINT = 'A gift is claimed once for each occasion.';
	ELSIF NOT is_open THEN
		PERFORM loyalty.has_access(member_id, gift, at);
		RAISE EXCEPTION 'member % may not claim gift "%"', member_id, gift
			USING ERRCODE = 'LY609', DETAIL = format('At %s no window of it is open, or its definition asks for something else.', at),
				HINT = 'See loyalty.available_gifts().';
	END IF;
	SELECT g.coupon_id, g.use_id, g.entry_id INTO coupon_id, use_id, entry_id
	FROM loyalty.give_gift(member_id, gift, w.version, w.period_key, w.opens_at, w.closes_at, at, reference) g;
	period_key := w.period_key;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('claim_gift', member_id, idempotency_key,
			jsonb_build_object('period_key', period_key, 'coupon_id', coupon_id, 'use_id', use_id, 'entry_id', entry_id));
	END IF;
END
$$;
COMMENT ON FUNCTION claim_gift(bigint, text, timestamptz, text, text) IS
'Claims a gift whose window is open, once for each occasion, and hands out what it gives: a coupon, further uses of an entitlement, or points, which the member has from the opening of the window on. Returns the key of the occasion, what was given, and whether this is the first result of a repeated idempotency_key. Errors: LY601 no such gift, LY609 no window is open, or the member may not have it, LY615 claimed before, LY614, LY616, LY617 of its coupon, LY003, LY004, LY115.';

CREATE FUNCTION book_gifts_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	m bigint;
	w record;
	given bigint := 0;
BEGIN
	FOREACH m IN ARRAY ARRAY(SELECT u FROM unnest(member_ids) u ORDER BY u) LOOP
		FOR w IN
			SELECT x.* FROM loyalty.gift_windows(m, as_of - interval '366 days', as_of) x
			WHERE x.available AND x.opens_at > as_of - interval '366 days' ORDER BY x.opens_at, x.gift
		LOOP
			CONTINUE WHEN NOT EXISTS (SELECT FROM loyalty.benefit_version v
				WHERE v.benefit = w.gift AND v.version = w.version AND v.definition #> '{gives,points}' IS NOT NULL);
			PERFORM loyalty.lock_benefit(m, w.gift);
			CONTINUE WHEN EXISTS (SELECT FROM loyalty.gift_claim c
				WHERE c.member_id = ANY (loyalty.numbers_of(m)) AND c.gift = w.gift AND c.period_key = w.period_key);
			PERFORM loyalty.give_gift(m, w.gift, w.version, w.period_key, w.opens_at, w.closes_at, w.opens_at, NULL);
			given := given + 1;
		END LOOP;
	END LOOP;
	RETURN given;
END
$$;
COMMENT ON FUNCTION book_gifts_of(bigint[], timestamptz, text) IS
'Gives some members the points of gifts whose windows have opened within 366 days up to an instant, as far as nobody has claimed them; returns how many gifts. Part of book_gifts(), by run_batch().';

CREATE FUNCTION next_book_gifts(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
BEGIN
	SELECT max(n.member_id), count(*), array_agg(n.member_id) FILTER (WHERE n.status = 'active') INTO up_to, seen, members
	FROM (SELECT m.member_id, m.status FROM loyalty.member m WHERE behind IS NULL OR m.member_id > behind ORDER BY m.member_id LIMIT batch_size) n;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.member') END;
END
$$;
COMMENT ON FUNCTION next_book_gifts(bigint, bigint, timestamptz, integer, text, bigint[]) IS 'The next members. Part of book_gifts(), by run_job().';

CREATE PROCEDURE book_gifts(as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('book_gifts', as_of, batch_size, 'members', 'gifts given');
END
$$;
COMMENT ON PROCEDURE book_gifts(timestamptz, integer) IS
'Gives members the points of gifts whose windows have opened by as_of (default: now), and that nobody has claimed; each entry is effective from the opening of the window on, so a run that comes late delays the posting and never changes its instant; one that comes later than 366 days gives nothing. All other gifts wait to be claimed. Commits after batch_size members. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';

CREATE FUNCTION check_gifts(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'gift', c.member_id, NULL::text, c.entry_id, format('gift "%s" of %s gave what is not there', c.gift, c.period_key)
	FROM loyalty.gift_claim c
	WHERE (c.coupon_id IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.coupon k WHERE k.member_id = c.member_id AND k.coupon_id = c.coupon_id))
		OR (c.use_id IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.entitlement_act a WHERE a.member_id = c.member_id AND a.use_id = c.use_id AND a.kind = 'granted'))
		OR (c.entry_id IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.all_entries() e
			WHERE e.member_id = ANY (loyalty.member_kin(c.member_id)) AND e.entry_id = c.entry_id AND e.kind = 'earn'))
	UNION ALL
	SELECT 'gift', c.member_id, NULL, NULL, format('gift "%s" of %s was claimed outside its window', c.gift, c.period_key)
	FROM loyalty.gift_claim c WHERE c.at < c.opens_at OR c.at >= c.closes_at
$$;
COMMENT ON FUNCTION check_gifts() IS
'Invariants of gifts: a row for each violation; part of check_benefit(). What was given is there; each was claimed within its window.';
