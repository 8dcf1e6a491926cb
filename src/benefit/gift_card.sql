/*
 * benefit: gift cards.  A card is a member of its own, whose wallet has what is
 * on it, so no second kind of balance: what is spent is redeemed, refunded and
 * never overdrawn as all points are.
 */

CREATE FUNCTION setup_gift_card_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE TABLE loyalty.gift_card (
		member_id bigint PRIMARY KEY,
		benefit text NOT NULL,
		version integer NOT NULL,
		currency text NOT NULL,
		decimals integer NOT NULL,
		code text NOT NULL,
		entry_id bigint NOT NULL,
		issued_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		reference text
	);
	COMMENT ON TABLE loyalty.gift_card IS 'Gift cards: each is a member, whose wallet has what is on it.';
	COMMENT ON COLUMN loyalty.gift_card.member_id IS 'The card, as a member.';
	COMMENT ON COLUMN loyalty.gift_card.benefit IS 'The benefit that it is of.';
	COMMENT ON COLUMN loyalty.gift_card.version IS 'The version of it that was in force.';
	COMMENT ON COLUMN loyalty.gift_card.currency IS 'The currency of its wallet, in the smallest units of money.';
	COMMENT ON COLUMN loyalty.gift_card.decimals IS 'How many decimals the money has.';
	COMMENT ON COLUMN loyalty.gift_card.code IS 'Its code as it is shown: whoever has it may spend what is on it.';
	COMMENT ON COLUMN loyalty.gift_card.entry_id IS 'The entry by which it was charged.';
	COMMENT ON COLUMN loyalty.gift_card.issued_at IS 'When it was issued.';
	COMMENT ON COLUMN loyalty.gift_card.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.gift_card.reference IS 'The caller''s own reference.';
END
$$;
COMMENT ON FUNCTION setup_gift_card_tables() IS 'Part of setup_benefit().';

CREATE FUNCTION make_bearer(at timestamptz, joined_via text) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made bigint;
BEGIN
	INSERT INTO loyalty.member AS m (member_id, status, joined_at, joined_via) VALUES (loyalty.draw_member_id(), 'no_person', at, joined_via) RETURNING m.member_id INTO made;
	INSERT INTO loyalty.member_act (member_id, act, channel, effective_at) VALUES (made, 'created', joined_via, at);
	IF loyalty.is_heard('member_created') THEN
		PERFORM loyalty.happen('member_created', made, at, jsonb_build_object('version', 1, 'channel', joined_via));
	END IF;
	RETURN made;
END
$$;
COMMENT ON FUNCTION make_bearer(timestamptz, text) IS 'A new member that is no person and has no identifiers. Part of issue_card() and create_household().';

CREATE FUNCTION card_units(amount numeric, decimals integer) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF amount IS NULL OR amount <= 0 OR amount IN ('NaN', 'Infinity') OR amount * 10::numeric ^ decimals % 1 <> 0 OR amount > 1e12 THEN
		RAISE EXCEPTION 'amount must be positive, with at most % decimals', decimals
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(amount::text, 'NULL')), HINT = 'Give an amount of the card''s money.';
	END IF;
	RETURN amount * 10::numeric ^ decimals;
END
$$;
COMMENT ON FUNCTION card_units(numeric, integer) IS 'An amount in smallest units of its money. Error: LY003. Part of the functions of gift cards.';

CREATE FUNCTION card_amount(units bigint, decimals integer) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT round(units / 10::numeric ^ decimals, decimals)
$$;
COMMENT ON FUNCTION card_amount(bigint, integer) IS 'An amount of money that is given in smallest units, with its decimals. Part of the functions of gift cards.';

CREATE TYPE gift_card_reading AS (member_id bigint, benefit text, currency text, decimals integer);
COMMENT ON TYPE gift_card_reading IS 'A gift card as find_card() returns it.';

CREATE FUNCTION find_card(code text) RETURNS gift_card_reading
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	card loyalty.gift_card_reading;
BEGIN
	SELECT c.member_id, c.benefit, c.currency, c.decimals INTO card FROM loyalty.coupon_code k JOIN loyalty.gift_card c ON c.member_id = k.member_id
	WHERE k.code = loyalty.normalize_code($1);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no gift card "%"', code
			USING ERRCODE = 'LY603', DETAIL = 'No card has this code.', HINT = 'Upper and lower case, blanks and dashes do not matter; all else does.';
	END IF;
	RETURN card;
END
$$;
COMMENT ON FUNCTION find_card(text) IS 'The card of a code; LY603 where there is none. Part of the functions of gift cards.';

CREATE FUNCTION issue_card(benefit text, amount numeric, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT card_id bigint, OUT code text, OUT entry_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	terms record;
	zone text;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('issue_card', '{0}', idempotency_key,
			jsonb_build_array(benefit, trim_scale(amount), extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			card_id := earlier ->> 'card_id'; code := earlier ->> 'code'; entry_id := earlier ->> 'entry_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.require_effective_at(at);
	SELECT v.version, v.definition ->> 'currency' AS currency, (v.definition ->> 'valid')::interval AS valid, loyalty.money_decimals(0, v.definition ->> 'money') AS decimals
	INTO terms FROM loyalty.benefit_version v
	WHERE v.benefit = issue_card.benefit AND v.definition ->> 'kind' = 'card' AND coalesce(v.effective_from, '-infinity') <= at ORDER BY v.version DESC LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no gift card "%"', benefit
			USING ERRCODE = 'LY601', DETAIL = format('No benefit of kind card has this name, and is in force at %s.', at), HINT = 'Define it with loyalty.define_benefit().';
	END IF;
	zone := coalesce((SELECT v.definition ->> 'time_zone' FROM loyalty.benefit_version v WHERE v.benefit = issue_card.benefit AND v.version = terms.version),
		loyalty.program_time_zone());
	card_id := loyalty.make_bearer(at, 'gift_card');
	entry_id := (loyalty.earn(card_id, loyalty.card_units(amount, terms.decimals), terms.currency, at,
		expires_at => (at AT TIME ZONE zone + terms.valid) AT TIME ZONE zone, reference => reference)).entry_id;
	LOOP
		code := loyalty.make_code();
		INSERT INTO loyalty.coupon_code (code, shown, benefit, member_id) VALUES (loyalty.normalize_code(code), code, benefit, card_id) ON CONFLICT DO NOTHING;
		EXIT WHEN FOUND;
	END LOOP;
	INSERT INTO loyalty.gift_card (member_id, benefit, version, currency, decimals, code, entry_id, issued_at, reference)
	VALUES (card_id, benefit, terms.version, terms.currency, terms.decimals, code, entry_id, at, reference);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('issue_card', 0, idempotency_key, jsonb_build_object('card_id', card_id, 'code', code, 'entry_id', entry_id));
	END IF;
END
$$;
COMMENT ON FUNCTION issue_card(text, numeric, timestamptz, text, text) IS
'Issues a gift card with an amount of money on it: a member of its own, whose wallet has the amount in smallest units, and a code, whose bearer may spend it. Valid as its definition says, or by the policy of its currency. Returns the card''s number as a member, its code, the entry, and whether this is the first result of a repeated idempotency_key. Errors: LY601 no benefit of kind card, LY003, LY004.';

CREATE FUNCTION card_balance(code text, as_of timestamptz DEFAULT NULL, OUT amount numeric, OUT currency text, OUT expires_at timestamptz) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.card_amount(b.available, c.decimals), c.currency, b.next_expiry_at
	FROM loyalty.find_card($1) c, LATERAL loyalty.balance(c.member_id, c.currency, coalesce($2, statement_timestamp())) b
$$;
COMMENT ON FUNCTION card_balance(text, timestamptz) IS
'What is on a gift card as of an instant (NULL: now), and when it expires (NULL: never, or there is nothing on it). Error: LY603 no such card.';

CREATE FUNCTION redeem_card(code text, amount numeric, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT card_id bigint, OUT entry_id bigint, OUT remaining numeric, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	card CONSTANT loyalty.gift_card_reading := loyalty.find_card(code);
	posted record;
BEGIN
	posted := loyalty.redeem(card.member_id, loyalty.card_units(amount, card.decimals), card.currency, at, reference, idempotency_key);
	card_id := card.member_id;
	entry_id := posted.entry_id;
	remaining := loyalty.card_amount(posted.available, card.decimals);
	replayed := posted.replayed;
END
$$;
COMMENT ON FUNCTION redeem_card(text, numeric, timestamptz, text, text) IS
'Spends an amount of what is on a gift card; give it back with refund_card(). Returns the card, the entry, what is left, and whether this is the first result of a repeated idempotency_key (which belongs to the card). Errors: LY603 no such card, LY101 it has not so much, LY003, LY004.';

CREATE FUNCTION refund_card(code text, entry_id bigint, amount numeric DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT refund_id bigint, OUT remaining numeric, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	card CONSTANT loyalty.gift_card_reading := loyalty.find_card(code);
	posted record;
BEGIN
	-- of what charged the card, a reversal would take it off
	IF EXISTS (SELECT FROM loyalty.all_entries() e WHERE e.member_id = card.member_id AND e.entry_id = refund_card.entry_id AND e.kind NOT IN ('redeem', 'capture')) THEN
		RAISE EXCEPTION 'gift card "%" was not spent by entry %', code, entry_id
			USING ERRCODE = 'LY103', DETAIL = 'It is another kind of entry.', HINT = 'Give the entry_id that redeem_card() returned.';
	END IF;
	posted := loyalty.reverse(card.member_id, entry_id, CASE WHEN amount IS NOT NULL THEN loyalty.card_units(amount, card.decimals) END, at, reference, idempotency_key);
	refund_id := posted.entry_id;
	remaining := loyalty.card_amount(posted.available, card.decimals);
	replayed := posted.replayed;
END
$$;
COMMENT ON FUNCTION refund_card(text, bigint, numeric, timestamptz, text, text) IS
'Gives back what redeem_card() has spent, all (amount NULL) or a part, with its expiry and never more than was spent. Returns the entry, what is on the card then, and whether this is the first result of a repeated idempotency_key. Errors: LY603 no such card, LY103 no such entry of it, LY105 more than is left of it, LY003, LY004.';

CREATE FUNCTION claim_card(member_id bigint, code text, amount numeric DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL,
	idempotency_key text DEFAULT NULL, OUT entry_id bigint, OUT claimed numeric, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	card CONSTANT loyalty.gift_card_reading := loyalty.find_card(code);
	units bigint;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('claim_card', loyalty.kept_members(loyalty.numbers_of(member_id)), idempotency_key,
			jsonb_build_array(card.member_id, trim_scale(amount), extract(epoch FROM nullif(at, statement_timestamp())), reference));
		IF earlier IS NOT NULL THEN
			entry_id := earlier ->> 'entry_id'; claimed := earlier ->> 'claimed'; replayed := true;
			RETURN;
		END IF;
	END IF;
	-- whoever claims all waits for who spends, and comes after
	PERFORM loyalty.lock_wallets(ARRAY[card.member_id]);
	claimed := coalesce(amount, (loyalty.card_balance(code, at)).amount);
	IF amount IS NULL AND claimed = 0 THEN
		RAISE EXCEPTION 'there is nothing on gift card "%"', code
			USING ERRCODE = 'LY615', DETAIL = format('As of %s it was spent or claimed before.', at), HINT = 'See loyalty.card_balance().';
	END IF;
	units := loyalty.card_units(claimed, card.decimals);
	claimed := loyalty.card_amount(units, card.decimals);
	entry_id := (loyalty.transfer(card.member_id, member_id, units, card.currency, at, reference)).entry_id;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('claim_card', member_id, idempotency_key, jsonb_build_object('entry_id', entry_id, 'claimed', claimed));
	END IF;
END
$$;
COMMENT ON FUNCTION claim_card(bigint, text, numeric, timestamptz, text, text) IS
'Puts what is on a gift card, or an amount of it, into a member''s own wallet of the same currency, with its expiry. Returns the entry, how much it was, and whether this is the first result of a repeated idempotency_key. Errors: LY603 no such card, LY615 nothing is on it, LY101 it has not so much, LY003, LY004, LY115.';
