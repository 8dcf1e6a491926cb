/*
 * tier: levels that are granted, for a while or without end, for a fee or not.
 */

CREATE FUNCTION add_period(at timestamptz, period interval, ladder text) RETURNS timestamptz
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (at AT TIME ZONE z.zone + period) AT TIME ZONE z.zone
	FROM (SELECT coalesce(v.definition->>'time_zone', 'UTC') AS zone FROM loyalty.ladder_version v
		WHERE v.ladder = $3 ORDER BY v.version DESC LIMIT 1) z
$$;
COMMENT ON FUNCTION add_period(timestamptz, interval, text) IS
'An instant and a period after it, months and days by the wall clock of a ladder; part of grant_tier() and renew_grant().';

CREATE FUNCTION money_decimals(fee numeric, fee_currency text DEFAULT NULL, fee_decimals integer DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	-- ISO 4217: what is not here has two
	decimals CONSTANT integer := coalesce(fee_decimals, CASE
		WHEN fee_currency IN ('BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND', 'VUV', 'XAF', 'XOF', 'XPF') THEN 0
		WHEN fee_currency IN ('BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND') THEN 3
		WHEN fee_currency IN ('CLF', 'UYW') THEN 4
		WHEN fee_currency IS NOT NULL THEN 2
		ELSE greatest(2, scale(trim_scale(fee))) END);
	wrong CONSTANT text := CASE WHEN fee_currency !~ '^[A-Z]{3}$' THEN format('fee_currency "%s" is no code of ISO 4217.', fee_currency)
		WHEN fee_currency IS NOT NULL AND fee_decimals IS NOT NULL THEN 'fee_currency and fee_decimals are given, and one of them tells.'
		WHEN decimals NOT BETWEEN 0 AND 10 THEN format('fee_decimals is %s; it must be from 0 to 10.', decimals)
		WHEN scale(trim_scale(fee)) > decimals THEN format('The fee is %s, and its money has %s decimals.', fee, decimals) END;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid fee' USING ERRCODE = 'LY003', DETAIL = wrong, HINT = 'Give a code such as EUR, JPY or KWD, or a number of decimals.';
	END IF;
	RETURN decimals;
END
$$;
COMMENT ON FUNCTION money_decimals(numeric, text, integer) IS
'How many decimals the money of a fee has: those given, or those of its currency (ISO 4217), or, with neither, two, and more where the fee has. Error: LY003 when the fee has more than its money.';

CREATE FUNCTION one_with(member_id bigint) RETURNS SETOF bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE up (id) AS (
		SELECT $1 UNION SELECT t.survivor_id FROM up JOIN loyalty.tier_merge t ON t.absorbed_id = up.id AND t.unmerged_at IS NULL
	), tree (id) AS (
		SELECT u.id FROM up u UNION SELECT t.absorbed_id FROM tree JOIN loyalty.tier_merge t ON t.survivor_id = tree.id AND t.unmerged_at IS NULL
	)
	SELECT k.id FROM tree k
$$;
COMMENT ON FUNCTION one_with(bigint) IS 'All who are one member now, under whichever of their numbers; part of renew_grant(), end_grant() and record_qualification().';

CREATE FUNCTION tier_numbers_of(member_id bigint) RETURNS bigint[]
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $1 || array_agg(o ORDER BY o) FILTER (WHERE o <> $1) FROM loyalty.one_with($1) o
$$;
COMMENT ON FUNCTION tier_numbers_of(bigint) IS 'The numbers under which a member is known now, the one given first; for claim_request().';

CREATE FUNCTION grant_holder(member_id bigint, grant_id bigint) RETURNS bigint
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	holder bigint;
BEGIN
	SELECT t.member_id INTO holder FROM loyalty.tier_grant t
	WHERE t.member_id IN (SELECT loyalty.one_with(grant_holder.member_id)) AND t.grant_id = grant_holder.grant_id
	ORDER BY t.member_id = grant_holder.member_id DESC, t.member_id LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % has no grant %', member_id, grant_id
			USING ERRCODE = 'LY405', DETAIL = 'Grants are numbered for each member.',
				HINT = 'See the table loyalty.tier_grant.';
	END IF;
	RETURN holder;
END
$$;
COMMENT ON FUNCTION grant_holder(bigint, bigint) IS
'The member to whom a grant was given, asked under any number that is one with it; LY405 when there is none. Part of renew_grant() and end_grant().';

CREATE FUNCTION grant_tier(member_id bigint, ladder text, level text, kind text DEFAULT 'manual',
	starts_at timestamptz DEFAULT statement_timestamp(), ends_at timestamptz DEFAULT NULL, period interval DEFAULT NULL,
	fee numeric DEFAULT 0, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	renews_grant_id bigint DEFAULT NULL, fee_currency text DEFAULT NULL, fee_decimals integer DEFAULT NULL,
	OUT grant_id bigint, OUT valid_until timestamptz, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	earlier jsonb;
	decimals integer;
	missing text;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('grant_tier', loyalty.kept_members(loyalty.tier_numbers_of(member_id)), idempotency_key, jsonb_build_array(ladder, level, kind,
			extract(epoch FROM nullif(starts_at, statement_timestamp())), extract(epoch FROM ends_at), encode(interval_send(period), 'hex'),
			trim_scale(fee), reason, renews_grant_id, fee_currency, fee_decimals));
		IF earlier IS NOT NULL THEN
			grant_id := earlier ->> 'grant_id'; valid_until := earlier ->> 'valid_until'; replayed := true;
			RETURN;
		END IF;
	END IF;
	ladder := loyalty.existing_ladder(ladder);
	decimals := loyalty.money_decimals(fee, fee_currency, fee_decimals);
	PERFORM loyalty.require_level(ladder, level);
	valid_until := coalesce(ends_at, loyalty.add_period(starts_at, period, ladder));
	missing := CASE WHEN member_id IS NULL THEN 'member_id must be given.'
		WHEN kind IS NULL OR kind NOT IN ('manual', 'invited', 'matched', 'paid') THEN 'kind is manual, invited, matched or paid.'
		WHEN starts_at IS NULL OR NOT isfinite(starts_at) THEN 'starts_at must be a finite instant.'
		WHEN valid_until <= starts_at THEN 'It must end after it starts.'
		WHEN NOT isfinite(valid_until) THEN 'ends_at is finite, or NULL for no end.'
		WHEN (fee >= 0 AND fee < 1e15) IS NOT TRUE THEN 'fee must be from 0 to less than 1e15.'
		WHEN fee > 0 AND kind <> 'paid' THEN 'Only a paid grant has a fee.'
		WHEN kind = 'paid' AND valid_until IS NULL THEN 'A paid grant needs period or ends_at.' END;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'invalid grant'
			USING ERRCODE = 'LY003', DETAIL = missing,
				HINT = 'See the comment of loyalty.grant_tier().';
	END IF;
	INSERT INTO loyalty.tier_grant AS g (member_id, ladder, level, kind, starts_at, ends_at, period, fee, fee_currency, fee_decimals,
		renews_grant_id, reason)
	VALUES (member_id, ladder, level, kind, starts_at, valid_until, period, fee, fee_currency, decimals,
		renews_grant_id, reason)
	RETURNING g.grant_id INTO grant_id;
	PERFORM loyalty.keep_act('grant_tier', member_id, grant_id);
	PERFORM loyalty.maintain_tier(member_id, ladder);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('grant_tier', member_id, idempotency_key, jsonb_build_object('grant_id', grant_id, 'valid_until', valid_until));
	END IF;
END
$$;
COMMENT ON FUNCTION grant_tier(bigint, text, text, text, timestamptz, timestamptz, interval, numeric, text, text, bigint, text, integer) IS
'Grants a level from starts_at to ends_at, or for a period, or (neither) without end: a floor that never shortens what was earned. kind: manual, invited, matched (from another program) or paid, with its fee, whose money has the decimals of fee_currency (ISO 4217: JPY none, EUR two, KWD three) or fee_decimals; refunds are rounded to them. Returns the number of the grant, its end, and whether it is the first result of a repeated idempotency_key. Errors: LY402 ladder, LY403 level, LY003, LY004.';

CREATE FUNCTION open_grant(holder_id bigint, grant_id bigint,
	OUT ladder text, OUT level text, OUT kind text, OUT starts_at timestamptz, OUT ends_at timestamptz, OUT period interval,
	OUT fee numeric, OUT fee_currency text, OUT fee_decimals integer) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	ended_at timestamptz;
BEGIN
	-- a lock alone leaves no trace for whoever has an older snapshot, and renews it as well
	UPDATE loyalty.tier_grant t SET recorded_at = t.recorded_at WHERE t.member_id = $1 AND t.grant_id = $2
	RETURNING t.ladder, t.level, t.kind, t.starts_at, t.ends_at, t.period, t.fee, t.fee_currency, t.fee_decimals, t.ended_at
	INTO open_grant.ladder, open_grant.level, open_grant.kind, open_grant.starts_at, open_grant.ends_at, open_grant.period,
		open_grant.fee, open_grant.fee_currency, open_grant.fee_decimals, ended_at;
	IF ended_at IS NOT NULL THEN
		RAISE EXCEPTION 'grant % was ended', $2
			USING ERRCODE = 'LY406', DETAIL = format('It ended at %s.', ended_at), HINT = 'Grant the level anew.';
	END IF;
END
$$;
COMMENT ON FUNCTION open_grant(bigint, bigint) IS 'A grant of its holder, locked; LY406 when it was ended early. Part of renew_grant() and end_grant().';

CREATE FUNCTION renew_grant(member_id bigint, grant_id bigint, fee numeric DEFAULT NULL, period interval DEFAULT NULL,
	idempotency_key text DEFAULT NULL, starts_at timestamptz DEFAULT NULL,
	OUT new_grant_id bigint, OUT valid_until timestamptz, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	holder CONSTANT bigint := loyalty.grant_holder(member_id, grant_id);
	g record;
	renewal bigint;
	first_at timestamptz;
	terms integer;
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		-- the first result of a key is given again, whatever has become of the grant
		earlier := loyalty.claim_request('renew_grant', loyalty.kept_members(loyalty.tier_numbers_of(member_id)), idempotency_key,
			jsonb_build_array(grant_id, trim_scale(fee), encode(interval_send(period), 'hex'), extract(epoch FROM starts_at)));
		IF earlier IS NOT NULL THEN
			new_grant_id := earlier ->> 'new_grant_id'; valid_until := earlier ->> 'valid_until'; replayed := true;
			RETURN;
		END IF;
	END IF;
	g := loyalty.open_grant(holder, grant_id);
	SELECT max(t.grant_id) INTO renewal FROM loyalty.tier_grant t
	WHERE t.member_id = holder AND t.renews_grant_id = renew_grant.grant_id AND t.ended_at IS NULL;
	IF renewal IS NOT NULL THEN
		RAISE EXCEPTION 'grant % was renewed', grant_id
			USING ERRCODE = 'LY406', DETAIL = format('Grant %s follows it.', renewal), HINT = 'Renew that one.';
	END IF;
	IF g.ends_at IS NULL THEN
		RAISE EXCEPTION 'grant % has no end', grant_id
			USING ERRCODE = 'LY406', DETAIL = 'It holds for ever.',
				HINT = 'It needs no renewal.';
	END IF;
	-- time that is over is not sold: one that has lapsed begins anew
	starts_at := coalesce(starts_at, greatest(g.ends_at, statement_timestamp()));
	period := coalesce(period, g.period, g.ends_at - g.starts_at);
	-- counted from the first of equal periods, so that month ends do not drift
	WITH RECURSIVE line (starts_at, before_id, terms) AS (
		SELECT t.starts_at, t.renews_grant_id, 1 FROM loyalty.tier_grant t
		WHERE t.member_id = holder AND t.grant_id = renew_grant.grant_id
		UNION ALL
		SELECT t.starts_at, t.renews_grant_id, l.terms + 1 FROM line l JOIN loyalty.tier_grant t
			ON t.member_id = holder AND t.grant_id = l.before_id AND t.ends_at = l.starts_at AND t.period = renew_grant.period)
	SELECT l.starts_at, l.terms INTO first_at, terms FROM line l ORDER BY l.terms DESC LIMIT 1;
	valid_until := CASE WHEN starts_at = g.ends_at AND loyalty.add_period(first_at, terms * period, g.ladder) = g.ends_at
		THEN loyalty.add_period(first_at, (terms + 1) * period, g.ladder) ELSE loyalty.add_period(starts_at, period, g.ladder) END;
	IF starts_at < g.ends_at OR valid_until <= statement_timestamp() THEN
		RAISE EXCEPTION 'grant % cannot be renewed from % to %', grant_id, starts_at, valid_until
			USING ERRCODE = 'LY003', DETAIL = CASE WHEN starts_at < g.ends_at THEN format('It lasts until %s.', g.ends_at) ELSE 'That time is over.' END,
				HINT = 'Give starts_at from its end on, or none: from now on, or from its end, whichever is later.';
	END IF;
	SELECT r.grant_id, r.valid_until INTO new_grant_id, valid_until
	FROM loyalty.grant_tier(member_id => holder, ladder => g.ladder, level => g.level, kind => g.kind, starts_at => starts_at,
		ends_at => valid_until, period => period,
		fee => coalesce(fee, g.fee), fee_currency => g.fee_currency, fee_decimals => CASE WHEN g.fee_currency IS NULL THEN g.fee_decimals END,
		reason => 'renewal', renews_grant_id => grant_id) r;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('renew_grant', member_id, idempotency_key,
			jsonb_build_object('new_grant_id', new_grant_id, 'valid_until', valid_until));
	END IF;
END
$$;
COMMENT ON FUNCTION renew_grant(bigint, bigint, numeric, interval, text, timestamptz) IS
'Grants the same level for one more period (default: the grant''s) at a fee (default: the same): from the end of the grant on, or, where that has passed, from now on, or from starts_at on, which is not before that end. Time that is over is not sold. Asked under any number of merged members; the renewal is the holder''s. A repeated idempotency_key gives the first result. Errors: LY405 no such grant, LY406 ended early, renewed already or without end, LY003, LY004.';

CREATE FUNCTION refund_due(fee numeric, starts_at timestamptz, ends_at timestamptz, at timestamptz, mode text DEFAULT 'pro_rata',
	fee_currency text DEFAULT NULL, fee_decimals integer DEFAULT NULL) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT round(CASE mode WHEN 'none' THEN 0 WHEN 'full' THEN fee
		WHEN 'pro_rata' THEN fee * extract(epoch FROM ends_at - least(greatest(at, starts_at), ends_at))::numeric
			/ extract(epoch FROM ends_at - starts_at)::numeric END, loyalty.money_decimals(fee, fee_currency, fee_decimals))
$$;
COMMENT ON FUNCTION refund_due(numeric, timestamptz, timestamptz, timestamptz, text, text, integer) IS
'What of a fee is to be paid back when its time is ended at an instant: mode full, none, or pro_rata: fee * time left / whole time, rounded to the decimals of its money, as of grant_tier(). What end_grant() pays back. Error: LY003.';

CREATE FUNCTION end_grant(member_id bigint, grant_id bigint, refund text DEFAULT 'none', at timestamptz DEFAULT statement_timestamp(),
	reason text DEFAULT NULL, OUT refunded numeric, OUT ended_at timestamptz) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	moment CONSTANT timestamptz := clock_timestamp();
	holder CONSTANT bigint := loyalty.grant_holder(member_id, grant_id);
	g record;
BEGIN
	IF refund IS NULL OR refund NOT IN ('none', 'full', 'pro_rata') OR at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'refund is none, full or pro_rata, and at is a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('refund is %s, at is %s.', coalesce(refund, 'NULL'), coalesce(at::text, 'NULL')),
				HINT = 'Give one of the three, and the instant at which the grant ends.';
	END IF;
	g := loyalty.open_grant(holder, grant_id);
	IF g.ends_at IS NOT NULL AND at >= g.ends_at AND refund <> 'full' THEN
		RAISE EXCEPTION 'grant % has ended', grant_id
			USING ERRCODE = 'LY406', DETAIL = format('It ended at %s.', g.ends_at),
				HINT = 'Grant the level anew.';
	END IF;
	-- a grant that has not begun never was
	ended_at := least(greatest(at, g.starts_at), g.ends_at);
	refunded := coalesce(loyalty.refund_due(g.fee, g.starts_at, g.ends_at, at, refund, g.fee_currency,
		CASE WHEN g.fee_currency IS NULL THEN g.fee_decimals END), 0);
	UPDATE loyalty.tier_grant t SET ended_at = end_grant.ended_at, ended_recorded_at = moment,
		refunded = end_grant.refunded, end_reason = reason
	WHERE t.member_id = holder AND t.grant_id = end_grant.grant_id;
	PERFORM loyalty.keep_act('end_grant', holder, grant_id);
	PERFORM loyalty.maintain_tier(holder, g.ladder);
END
$$;
COMMENT ON FUNCTION end_grant(bigint, bigint, text, timestamptz, text) IS
'Ends a grant early, or refunds it: refund none, full, or pro_rata (see refund_due). One that has not begun then never was. The tier falls to what was earned. Asked under any number of merged members. Returns what is to be paid back and when it ended. Errors: LY405 no such grant, LY406 ended, LY003.';

CREATE FUNCTION require_level(ladder text, level text) RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.existing_ladder($1);
	IF NOT EXISTS (SELECT FROM loyalty.tier_level t WHERE t.ladder = $1 AND t.level = $2) THEN
		RAISE EXCEPTION 'ladder "%" has no level "%"', $1, $2
			USING ERRCODE = 'LY403', DETAIL = 'It is none of the levels of the version in force.',
				HINT = 'See the table loyalty.tier_level.';
	END IF;
END
$$;
COMMENT ON FUNCTION require_level(text, text) IS 'Refuses a level that a ladder does not have. Part of grant_tier() and define_campaign(). Errors: LY402, LY403.';

CREATE FUNCTION award_grant(member_id bigint, ladder text, level text, starts_at timestamptz, period interval, campaign text) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	grant_id bigint;
BEGIN
	INSERT INTO loyalty.tier_grant AS g (member_id, ladder, level, kind, starts_at, ends_at, period, reason)
	VALUES (member_id, ladder, level, 'awarded', starts_at, loyalty.add_period(starts_at, period, ladder), period, campaign)
	RETURNING g.grant_id INTO grant_id;
	PERFORM loyalty.maintain_tier(member_id, ladder);
	RETURN grant_id;
END
$$;
COMMENT ON FUNCTION award_grant(bigint, text, text, timestamptz, interval, text) IS
'Grants a level because a campaign gives it, for a period (NULL: without end). Returns the number of the grant. Part of record_activity().';

CREATE FUNCTION take_grant_back(member_id bigint, grant_id bigint, at timestamptz, campaign text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	moment CONSTANT timestamptz := clock_timestamp();
	holder CONSTANT bigint := loyalty.grant_holder(member_id, grant_id);
	ended text;
BEGIN
	-- one that ended before, by itself or by hand, stays as it is
	UPDATE loyalty.tier_grant t SET ended_at = greatest(take_grant_back.at, t.starts_at), ended_recorded_at = moment, refunded = 0, end_reason = campaign
	WHERE t.member_id = holder AND t.grant_id = take_grant_back.grant_id AND t.ended_at IS NULL AND (t.ends_at IS NULL OR t.ends_at > take_grant_back.at)
	RETURNING t.ladder INTO ended;
	IF FOUND THEN
		PERFORM loyalty.maintain_tier(holder, ended);
	END IF;
END
$$;
COMMENT ON FUNCTION take_grant_back(bigint, bigint, timestamptz, text) IS
'Ends a grant because what earned it was returned; it was held until then. Part of revise_activity() and record_return().';
