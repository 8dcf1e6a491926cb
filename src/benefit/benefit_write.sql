/*
 * benefit: coupons are issued, claimed, reserved, released, revoked and
 * transferred.  They are redeemed with an activity: see record_activity().
 */

CREATE FUNCTION put_coupon(member_id bigint, benefit text, at timestamptz, valid_until timestamptz, reference text,
	OUT coupon_id bigint, OUT code text) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_put_coupon';
COMMENT ON FUNCTION put_coupon(bigint, text, timestamptz, timestamptz, text) IS 'What issue_coupon() does, without its key; part of it.';

CREATE FUNCTION claim_coupon(member_id bigint, code text, at timestamptz, reference text,
	OUT coupon_id bigint, OUT benefit text) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_claim_coupon';
COMMENT ON FUNCTION claim_coupon(bigint, text, timestamptz, text) IS 'What claim_code() does, without its key; part of it.';

CREATE FUNCTION hold_coupons(member_id bigint, basket text, codes text[], until timestamptz, at timestamptz,
	OUT code text, OUT coupon_id bigint, OUT benefit text, OUT valid_until timestamptz) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 2 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_hold_coupons';
COMMENT ON FUNCTION hold_coupons(bigint, text, text[], timestamptz, timestamptz) IS 'What reserve_coupons() does, without its key; part of it.';

CREATE FUNCTION let_coupons_go(member_id bigint, basket text, codes text[], at timestamptz) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_let_coupons_go';
COMMENT ON FUNCTION let_coupons_go(bigint, text, text[], timestamptz) IS 'What release_coupons() does; part of it.';

CREATE FUNCTION end_coupon(member_id bigint, coupon_id bigint, at timestamptz, reason text) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_end_coupon';
COMMENT ON FUNCTION end_coupon(bigint, bigint, timestamptz, text) IS 'What revoke_coupon() does, without its key; part of it.';

CREATE FUNCTION hand_over_coupon(from_member_id bigint, to_member_id bigint, coupon_id bigint, at timestamptz, reference text) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_hand_over_coupon';
COMMENT ON FUNCTION hand_over_coupon(bigint, bigint, bigint, timestamptz, text) IS 'What transfer_coupon() does, without its key; part of it.';

CREATE FUNCTION issue_coupon(member_id bigint, benefit text, at timestamptz DEFAULT statement_timestamp(), valid_until timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, OUT coupon_id bigint, OUT code text, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('issue_coupon', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(benefit, extract(epoch FROM nullif(at, statement_timestamp())), extract(epoch FROM valid_until), reference));
		IF earlier IS NOT NULL THEN
			coupon_id := earlier ->> 'coupon_id'; code := earlier ->> 'code'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT p.coupon_id, p.code INTO coupon_id, code FROM loyalty.put_coupon(member_id, benefit, at, valid_until, reference) p;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('issue_coupon', member_id, idempotency_key, jsonb_build_object('coupon_id', coupon_id, 'code', code));
	END IF;
END
$$;
COMMENT ON FUNCTION issue_coupon(bigint, text, timestamptz, timestamptz, text, text) IS
'Issues a coupon to a member, by the version of the benefit that is in force at an instant: valid as that says, or until valid_until, though never beyond "between". Its code is a new one, or the next of the pool; NULL of a generic benefit, whose code everybody knows. Returns the number of the coupon, its code, and whether this is the first result of a repeated idempotency_key. Errors: LY601 benefit, LY614 the pool is empty, LY616 the member has as many as it may have, LY617 all are given out, LY003, LY004, LY115.';

CREATE FUNCTION claim_code(member_id bigint, code text, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT coupon_id bigint, OUT benefit text, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('claim_code', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(code, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			coupon_id := earlier ->> 'coupon_id'; benefit := earlier ->> 'benefit'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT p.coupon_id, p.benefit INTO coupon_id, benefit FROM loyalty.claim_coupon(member_id, code, at, reference) p;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('claim_code', member_id, idempotency_key, jsonb_build_object('coupon_id', coupon_id, 'benefit', benefit));
	END IF;
END
$$;
COMMENT ON FUNCTION claim_code(bigint, text, timestamptz, text, text) IS
'Puts the coupon of a code into a member''s hands: of a printed voucher (generate_codes()), which has one, or of a generic code, of which each member has its own. Returns the coupon, its benefit, and whether this is the first result of a repeated idempotency_key. Errors: LY603 no such code, LY615 claimed already, LY616, LY617, LY003, LY004, LY115.';

CREATE FUNCTION reserve_coupons(member_id bigint, basket text, codes text[], until timestamptz, at timestamptz DEFAULT statement_timestamp(),
	idempotency_key text DEFAULT NULL, OUT code text, OUT coupon_id bigint, OUT benefit text, OUT valid_until timestamptz, OUT replayed boolean)
RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('reserve_coupons', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(basket, codes, extract(epoch FROM until), extract(epoch FROM nullif(at, statement_timestamp()))));
	END IF;
	IF earlier IS NULL THEN
		earlier := (SELECT coalesce(jsonb_agg(to_jsonb(h)), '[]') FROM loyalty.hold_coupons(member_id, basket, codes, until, at) h);
		replayed := false;
		IF idempotency_key IS NOT NULL THEN
			PERFORM loyalty.finish_request('reserve_coupons', member_id, idempotency_key, earlier);
		END IF;
	ELSE
		replayed := true;
	END IF;
	RETURN QUERY
	SELECT h.code, h.coupon_id, h.benefit, h.valid_until, replayed
	FROM jsonb_to_recordset(earlier) h (code text, coupon_id bigint, benefit text, valid_until timestamptz);
END
$$;
COMMENT ON FUNCTION reserve_coupons(bigint, text, text[], timestamptz, timestamptz, text) IS
'Sets coupons aside for a basket, a name of the caller''s choice, until an instant: nobody else can use them, and the basket can, also when their own time passes meanwhile. A reservation ends by itself; asked for again, it is made longer or shorter. A generic code gets the member a coupon on the spot, which counts until it is released, or has lapsed and is needed. What they take off is said when they are redeemed. Returns a row for each code. Errors: LY603 no such code, LY604 not valid yet, LY605 expired, LY606 reserved by another basket, LY607 used, LY608 revoked, LY616, LY617, LY003, LY004, LY115.';

CREATE FUNCTION release_coupons(member_id bigint, basket text, codes text[] DEFAULT NULL, at timestamptz DEFAULT statement_timestamp()) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN loyalty.let_coupons_go(member_id, basket, codes, at);
END
$$;
COMMENT ON FUNCTION release_coupons(bigint, text, text[], timestamptz) IS
'Ends the reservations of a basket, or those of some codes, and returns how many there were; again, none. Error: LY003.';

CREATE FUNCTION revoke_coupon(member_id bigint, coupon_id bigint, reason text DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(),
	idempotency_key text DEFAULT NULL, OUT replayed boolean) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	replayed := idempotency_key IS NOT NULL AND loyalty.claim_request('revoke_coupon', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
		jsonb_build_array(coupon_id, reason, extract(epoch FROM nullif(at, statement_timestamp())))) IS NOT NULL;
	IF NOT replayed THEN
		PERFORM loyalty.end_coupon(member_id, coupon_id, at, reason), loyalty.keep_act('revoke_coupon', member_id, coupon_id);
	END IF;
END
$$;
COMMENT ON FUNCTION revoke_coupon(bigint, bigint, text, timestamptz, text) IS
'Takes a coupon away, also from a basket that has reserved it; unused, it counts in no limit any more. Returns whether this is the first result of a repeated idempotency_key. Errors: LY603 no such coupon, LY607 used, LY608 revoked already, LY003, LY004, LY115.';

CREATE FUNCTION transfer_coupon(from_member_id bigint, to_member_id bigint, coupon_id bigint, at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, OUT new_coupon_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('transfer_coupon', loyalty.kept_members(loyalty.numbers_of(from_member_id)), idempotency_key,
			jsonb_build_array(to_member_id, coupon_id, extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			new_coupon_id := earlier ->> 'new_coupon_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	new_coupon_id := loyalty.hand_over_coupon(from_member_id, to_member_id, coupon_id, at, reference);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('transfer_coupon', from_member_id, idempotency_key, jsonb_build_object('new_coupon_id', new_coupon_id));
	END IF;
END
$$;
COMMENT ON FUNCTION transfer_coupon(bigint, bigint, bigint, timestamptz, text, text) IS
'Gives a coupon that was never used to another member: there it is a new one, with the same code and the same time. It counts in the limit of whom it was issued to. Returns its number there, and whether this is the first result of a repeated idempotency_key (which belongs to from_member_id). Errors: LY603 no such coupon, LY605 expired, LY606 reserved, LY607 used, LY608 revoked, LY003, LY004, LY115.';
