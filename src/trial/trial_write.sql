/*
 * trial: definitions, exposures and costs.
 */

CREATE FUNCTION require_trial(trial text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM loyalty.trial t WHERE t.trial = $1) THEN
		RAISE EXCEPTION 'there is no trial "%"', $1
			USING ERRCODE = 'LY801', DETAIL = 'The table loyalty.trial has no row of it.', HINT = 'Define it with loyalty.define_trial().';
	END IF;
	RETURN $1;
END
$$;
COMMENT ON FUNCTION require_trial(text) IS 'Answers with the trial; LY801 where there is none. Part of the functions of room trial.';

CREATE FUNCTION define_trial(trial text, definition jsonb, starts_at timestamptz, ends_at timestamptz) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	mistake text;
	violated text;
BEGIN
	SELECT format('%s is not known', k) INTO mistake FROM jsonb_object_keys(coalesce(definition, '{}')) k
	WHERE k <> ALL ('{shares,hash,population,analysed_at,kinds,money,margin,primary,adjusted}') LIMIT 1;
	mistake := coalesce(mistake, CASE
		WHEN jsonb_typeof(definition -> 'shares') <> 'array' THEN 'shares must be an array of numbers'
		WHEN jsonb_typeof(definition -> 'kinds') <> 'array' OR definition -> 'kinds' = '[]' THEN 'kinds must be an array of kinds of activities'
		WHEN jsonb_typeof(definition -> 'adjusted') <> 'boolean' THEN 'adjusted must be true or false'
		WHEN jsonb_typeof(definition -> 'margin') <> 'number' THEN 'margin must be a number'
		WHEN jsonb_typeof(definition -> 'population') = 'object' AND definition #>> '{population,audience}' IS NULL
			OR definition ->> 'population' = 'audience' THEN 'population must be "members", "triggered" or {"audience": name}'
		WHEN definition ->> 'primary' = 'margin' AND definition -> 'margin' IS NULL THEN 'primary is margin, and no margin is given' END);
	IF mistake IS NULL THEN
		PERFORM loyalty.require_audience(definition #>> '{population,audience}') WHERE jsonb_typeof(definition -> 'population') = 'object';
		INSERT INTO loyalty.trial AS t (trial, shares, hash, population, audience, starts_at, ends_at, analysed_at, kinds, money, margin, primary_measure, adjusted)
		SELECT trial, coalesce((SELECT array_agg(s.value::numeric ORDER BY s.place) FROM jsonb_array_elements_text(definition -> 'shares') WITH ORDINALITY s (value, place)), '{0.1,0.9}'),
			coalesce(definition ->> 'hash', 'sha256'), CASE WHEN jsonb_typeof(definition -> 'population') = 'object' THEN 'audience'
				ELSE coalesce(definition ->> 'population', 'members') END, definition #>> '{population,audience}', starts_at, ends_at,
			coalesce((definition ->> 'analysed_at')::timestamptz, ends_at),
			coalesce((SELECT array_agg(k.value ORDER BY k.place) FROM jsonb_array_elements_text(definition -> 'kinds') WITH ORDINALITY k (value, place)), '{order}'),
			definition ->> 'money', (definition ->> 'margin')::numeric, coalesce(definition ->> 'primary', 'conversion'),
			coalesce((definition ->> 'adjusted')::boolean, false)
		ON CONFLICT ON CONSTRAINT trial_pkey DO UPDATE SET shares = excluded.shares, hash = excluded.hash, population = excluded.population,
			audience = excluded.audience, starts_at = excluded.starts_at, ends_at = excluded.ends_at, analysed_at = excluded.analysed_at,
			kinds = excluded.kinds, money = excluded.money, margin = excluded.margin, primary_measure = excluded.primary_measure, adjusted = excluded.adjusted
		-- asked for again
		WHERE (t.shares, t.hash, t.population, t.audience, t.starts_at, t.ends_at, t.analysed_at, t.kinds, t.money, t.margin, t.primary_measure, t.adjusted)
			IS DISTINCT FROM (excluded.shares, excluded.hash, excluded.population, excluded.audience, excluded.starts_at, excluded.ends_at,
				excluded.analysed_at, excluded.kinds, excluded.money, excluded.margin, excluded.primary_measure, excluded.adjusted);
		RETURN trial;
	END IF;
	RAISE EXCEPTION 'invalid definition of trial "%"', trial
		USING ERRCODE = 'LY003', DETAIL = format('%s.', mistake), HINT = 'The comment of loyalty.define_trial() lists what a definition may have.';
EXCEPTION
	WHEN check_violation OR not_null_violation THEN
		GET STACKED DIAGNOSTICS violated = PG_EXCEPTION_DETAIL;
		RAISE EXCEPTION 'invalid definition of trial "%"', trial
			USING ERRCODE = 'LY003', DETAIL = violated,
				HINT = 'A name has up to 63 small letters, digits, _ and -; a trial ends after it starts; the comment of loyalty.define_trial() lists what a definition may have.';
	WHEN invalid_text_representation OR invalid_datetime_format OR datetime_field_overflow THEN
		RAISE EXCEPTION 'invalid definition of trial "%"', trial
			USING ERRCODE = 'LY003', DETAIL = format('%s.', SQLERRM), HINT = 'The comment of loyalty.define_trial() lists what a definition may have.';
END
$$;
COMMENT ON FUNCTION define_trial(text, jsonb, timestamptz, timestamptz) IS
'Defines a trial, from one instant until another, or changes it. A campaign names it in "treat": {"trial": name}, and gives nothing to its control. From its start on shares, hash, population and start are fixed. The definition, all of which may be left out: {"shares": [0.1, 0.9] (of the arms, the control first), "hash": "sha256" or "growthbook_2" (see arm_of()), "population": "members" (default), "triggered" or {"audience": name}, "kinds": ["order"] (activities that are an outcome), "money": the only one that counts, "margin": what part of an amount is margin, "primary": "conversion" (default), "activities", "amount" or "margin", "adjusted": true (activities, amounts and margins are adjusted by those before, see uplift_agg_cuped()), "analysed_at": when it is to be looked at (default: its end)}. Returns the name; the same again changes nothing. Errors: LY802 shares, LY804 it has started, LY003.';

CREATE FUNCTION expose(member_id bigint, trial text, channel text, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT exposure_id bigint, OUT arm integer, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	t CONSTANT loyalty.trial := (SELECT r FROM loyalty.trial r WHERE r.trial = loyalty.require_trial($2));
	home CONSTANT bigint := loyalty.canonical_member(member_id);
	earlier jsonb;
BEGIN
	IF member_id IS NULL OR coalesce(channel, '') = '' OR at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'member_id, channel and at must be given'
			USING ERRCODE = 'LY003', DETAIL = 'An exposure is of a member, through a channel, at a finite instant.', HINT = 'Give all three, or leave at out for now.';
	END IF;
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('expose', loyalty.numbers_of(member_id), idempotency_key,
			jsonb_build_array(trial, channel, extract(epoch FROM nullif(at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			exposure_id := earlier ->> 'exposure_id'; arm := earlier ->> 'arm'; replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.require_not_forgotten(ARRAY[home, member_id]);
	arm := loyalty.arm_of(trial, home, t.shares, t.hash);
	IF arm = 0 THEN
		RAISE EXCEPTION 'member % is in the control of trial "%"', member_id, trial
			USING ERRCODE = 'LY805', DETAIL = 'Whoever is held out is not treated, and an exposure says that somebody was.', HINT = 'Ask loyalty.trial_arm() before something is sent.';
	ELSIF at < t.starts_at OR at >= t.ends_at THEN
		RAISE EXCEPTION 'trial "%" does not run at %', trial, at
			USING ERRCODE = 'LY003', DETAIL = format('It runs from %s until %s.', t.starts_at, t.ends_at), HINT = 'Give when the treatment reached the member.';
	END IF;
	INSERT INTO loyalty.trial_exposure AS e (member_id, trial, channel, at) VALUES (home, trial, channel, at) RETURNING e.exposure_id INTO exposure_id;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('expose', member_id, idempotency_key, jsonb_build_object('exposure_id', exposure_id, 'arm', arm));
	END IF;
END
$$;
COMMENT ON FUNCTION expose(bigint, text, text, timestamptz, text) IS
'Records that a treatment reached a member: a message was handed out, a page was shown. It says how far a trial got and what that cost; who counts in the trial is who was assigned. Returns the number of the exposure, the arm, and whether this is the first result of a repeated idempotency_key. Errors: LY801 trial, LY805 the member is in the control, LY203 it was forgotten, LY003, LY004, LY115.';

CREATE FUNCTION set_channel_cost(channel text, from_at timestamptz, until timestamptz, amount numeric) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	last record;
	cost_id bigint;
BEGIN
	IF coalesce(channel, '') = '' OR (abs(amount) < 1e15) IS NOT TRUE OR NOT isfinite(from_at) OR NOT isfinite(until) OR (from_at < until) IS NOT TRUE THEN
		RAISE EXCEPTION 'channel, a period and an amount below 1e15 must be given'
			USING ERRCODE = 'LY003', DETAIL = format('They are %s, %s to %s, %s.', coalesce(channel, 'NULL'), coalesce(from_at::text, 'NULL'), coalesce(until::text, 'NULL'), coalesce(amount::text, 'NULL')),
				HINT = 'A period begins before it ends.';
	END IF;
	PERFORM loyalty.lock_key('channel_cost ' || channel);
	SELECT c.cost_id, c.amount INTO last FROM loyalty.channel_cost c
	WHERE c.channel = set_channel_cost.channel AND c.from_at = set_channel_cost.from_at AND c.until = set_channel_cost.until ORDER BY c.cost_id DESC LIMIT 1;
	IF last.amount = amount THEN
		RETURN last.cost_id;
	END IF;
	INSERT INTO loyalty.channel_cost AS c (channel, from_at, until, amount) VALUES (channel, from_at, until, amount) RETURNING c.cost_id INTO cost_id;
	RETURN cost_id;
END
$$;
COMMENT ON FUNCTION set_channel_cost(text, timestamptz, timestamptz, numeric) IS
'Says what a channel cost in a period, from one instant until another; said again for the same period it takes the place of what was said before. Returns the number of the row; the same again makes no new one. Error: LY003.';

CREATE FUNCTION forget_exposures(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows('DELETE FROM loyalty.trial_exposure e WHERE e.member_id = ANY ($1)', $1)
$$;
COMMENT ON FUNCTION forget_exposures(bigint[]) IS 'What forget_member() means here: the exposures are deleted. Part of forget_member().';
