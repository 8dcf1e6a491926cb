/*
 * engagement: referrals: members who bring members.
 */

CREATE FUNCTION define_referral(referral text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('referral', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_referral(text, jsonb, timestamptz) IS
'Defines a referral programme, or a new version of it; a referral goes by the version in force at its instant. Returns the version. The definition: {"kind": "order" (default), "when", "money": which activities qualify, as of define_badge(), "within": interval after the referral in which one has to lie, "minimum": what has to be left of its amount, "orders": "first" (default: the first one in that time, or none) or "any", "return_window": interval after it in which returns count, "at_most": referrals of a member in each "per", an interval}. Once a referral qualifies, both members have an activity of kind invite at the instant of the order, in its commit, with {"referral", "referral_id", "role": "referrer" or "referee", "order"} as document, for campaigns to reward (with "available_after": the return window); both are cancelled where the referral is undone. Errors: LY752, LY501 kind, LY003.';

CREATE FUNCTION create_referral_code(member_id bigint, referral text, code text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	had record;
BEGIN
	IF member_id IS NULL OR octet_length(code) > 200 OR loyalty.normalize_code(code) = '' THEN
		RAISE EXCEPTION 'a code of a referral needs a member, and from 1 to 200 bytes'
			USING ERRCODE = 'LY003', DETAIL = 'Blanks and dashes do not count.', HINT = 'Leave the code out for a random one.';
	END IF;
	PERFORM loyalty.refuse_distributed('create_referral_code');
	PERFORM loyalty.engagement_in_force('referral', referral);
	PERFORM loyalty.kept_members(ARRAY[member_id]);
	-- asked for again: the code that there is
	SELECT c.* INTO had FROM loyalty.referral_code c
	WHERE c.member_id = create_referral_code.member_id AND c.referral = create_referral_code.referral AND (code IS NULL OR c.code = loyalty.normalize_code(code))
	ORDER BY c.created_at, c.code LIMIT 1;
	IF FOUND THEN
		RETURN had.shown;
	END IF;
	LOOP
		had.shown := coalesce(code, loyalty.make_code());
		INSERT INTO loyalty.referral_code AS c (code, shown, member_id, referral)
		VALUES (loyalty.normalize_code(had.shown), had.shown, member_id, referral) ON CONFLICT DO NOTHING;
		IF FOUND THEN
			RETURN had.shown;
		ELSIF code IS NOT NULL THEN
			RAISE EXCEPTION 'code "%" is another member''s', code
				USING ERRCODE = 'LY003', DETAIL = 'A code names one member.', HINT = 'Choose another, or leave it out for a random one.';
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION create_referral_code(bigint, text, text) IS
'Returns the code by which a member refers others: a random one, or the given one. Asked for again, it is the same. Errors: LY751 referral, LY003, also for a code that another member has.';

CREATE FUNCTION referral_order(referee_id bigint, referral text, since timestamptz, order_id bigint, as_of timestamptz,
	OUT activity_id bigint, OUT at timestamptz, OUT final_at timestamptz) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	definition CONSTANT jsonb := jsonb_build_object('kind', 'order') || loyalty.engagement_in_force('referral', referral, since) || '{"measure": "amount"}';
	zone CONSTANT text := loyalty.program_time_zone();
	window_after CONSTANT interval := coalesce((definition ->> 'return_window')::interval, '0');
	any_order CONSTANT boolean := coalesce(definition ->> 'orders' = 'any', false);
	o record;
BEGIN
	FOR o IN
		SELECT f.activity_id, f.at, ((f.at AT TIME ZONE zone) + window_after) AT TIME ZONE zone AS final_at
		-- as they were sold: what was returned is looked at below
		FROM loyalty.activities(referee_id, NULL, NULL, NULL) f
		WHERE f.activity_kind IN (SELECT jsonb_array_elements_text(CASE jsonb_typeof(definition -> 'kind') WHEN 'array' THEN definition -> 'kind' ELSE jsonb_build_array(definition -> 'kind') END))
			AND f.at >= since AND f.at < ((since AT TIME ZONE zone) + (definition ->> 'within')::interval) AT TIME ZONE zone
			AND f.at <= coalesce(as_of, 'infinity') AND NOT f.cancelled
		-- what was promised by an order stays, also where an earlier one comes late
		ORDER BY f.activity_id IS DISTINCT FROM order_id, f.at, f.recorded_at, f.activity_id
	LOOP
		IF EXISTS (SELECT FROM loyalty.engagement_facts(referee_id, definition, least(as_of, CASE WHEN o.final_at > o.at THEN o.final_at - interval '1 microsecond' ELSE o.at END), NULL) f
			WHERE f.activity_id = o.activity_id AND f.amount >= coalesce((definition ->> 'minimum')::numeric, 0)) THEN
			activity_id := o.activity_id; at := o.at; final_at := o.final_at;
			RETURN;
		END IF;
		EXIT WHEN NOT any_order;
	END LOOP;
END
$$;
COMMENT ON FUNCTION referral_order(bigint, text, timestamptz, bigint, timestamptz) IS
'The activity by which a referral qualifies, as of an instant (NULL: all), and until when it can be returned; order_id is that by which it did before. NULL where there is none. Part of referrals().';

CREATE FUNCTION referral_states(member_id bigint, as_of timestamptz,
	OUT referral_id bigint, OUT referral text, OUT referee_id bigint, OUT referrer_id bigint, OUT at timestamptz, OUT status text, OUT why text,
	OUT order_id bigint, OUT qualified_at timestamptz, OUT final_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.referral_id, r.referral, r.member_id, r.referrer_id, r.at,
		CASE WHEN y.refused THEN 'refused'
			WHEN y.undone IS NOT NULL THEN 'reversed'
			WHEN q.activity_id IS NOT NULL THEN CASE WHEN coalesce($2, statement_timestamp()) < q.final_at THEN 'qualified' ELSE 'final' END
			WHEN i.order_id IS NOT NULL THEN 'reversed'
			WHEN coalesce($2, statement_timestamp()) < x.lapses_at THEN 'waiting' ELSE 'lapsed' END,
		CASE WHEN y.refused THEN coalesce(r.decision_reason, r.why) WHEN y.undone IS NOT NULL THEN y.undone
			WHEN q.activity_id IS NULL AND i.order_id IS NOT NULL THEN 'returned' END,
		q.activity_id, q.at, q.final_at
	FROM (SELECT r.*, row_number() OVER (ORDER BY r.decision = 'refuse' OR r.decision IS NULL AND r.why IS NOT NULL, r.at, r.referral_id) AS n FROM loyalty.referral r
			WHERE r.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1))) AND r.at <= coalesce($2, 'infinity')) r
		CROSS JOIN LATERAL (SELECT r.decision IS NOT DISTINCT FROM 'refuse' OR r.decision IS NULL AND r.why IS NOT NULL AS refused,
			CASE WHEN loyalty.canonical_member(r.referrer_id) = loyalty.canonical_member(r.member_id) THEN 'self'
				WHEN r.n > 1 THEN 'referred earlier' END AS undone) y
		CROSS JOIN LATERAL (SELECT ((r.at AT TIME ZONE loyalty.program_time_zone()) + (loyalty.engagement_in_force('referral', r.referral, r.at) ->> 'within')::interval)
			AT TIME ZONE loyalty.program_time_zone() AS lapses_at) x
		LEFT JOIN LATERAL (SELECT (a.document ->> 'order')::bigint AS order_id FROM loyalty.activity a
			WHERE a.member_id = r.member_id AND a.kind = 'invite' AND a.external_id = format('referral %s', r.referral_id) AND a.moved_to IS NULL
				AND a.at <= coalesce($2, 'infinity')) i ON true
		LEFT JOIN LATERAL loyalty.referral_order(r.member_id, r.referral, r.at, i.order_id, $2) q ON NOT y.refused AND y.undone IS NULL
$$;
COMMENT ON FUNCTION referral_states(bigint, timestamptz) IS
'What became of the referrals by which a member came, under whichever number, as of an instant (NULL: all that is known). Part of referrals().';

CREATE FUNCTION referrals(member_id bigint, as_of timestamptz DEFAULT NULL,
	OUT referral_id bigint, OUT referral text, OUT role text, OUT referrer_id bigint, OUT referee_id bigint, OUT at timestamptz, OUT status text, OUT why text,
	OUT order_id bigint, OUT qualified_at timestamptz, OUT final_at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 5 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.referral_id, s.referral, CASE WHEN s.referee_id = ANY (t.numbers) THEN 'referee' ELSE 'referrer' END, s.referrer_id, s.referee_id, s.at, s.status, s.why,
		s.order_id, s.qualified_at, s.final_at
	FROM (SELECT loyalty.member_tree(loyalty.canonical_member($1)) AS numbers) t,
		LATERAL (SELECT DISTINCT loyalty.canonical_member(r.member_id) AS referee FROM loyalty.referral r
			WHERE r.member_id = ANY (t.numbers) OR r.referrer_id = ANY (t.numbers)) m,
		LATERAL loyalty.referral_states(m.referee, coalesce($2, statement_timestamp())) s
	WHERE s.referrer_id = ANY (t.numbers) OR s.referee_id = ANY (t.numbers)
	ORDER BY s.at, s.referral_id
$$;
COMMENT ON FUNCTION referrals(bigint, timestamptz) IS
'Whom a member referred, and by whom it was referred, under whichever number, as of an instant (NULL: now). status: waiting (for an order), lapsed (there was none in time), qualified (it can still be returned), final, reversed (why: returned, self: both are one, referred earlier: so was another number of the referee), refused (why: as of refer(), or the reason of a review). Computed from what is known; nothing of it is stored.';

CREATE FUNCTION put_referrals(member_id bigint) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	s record;
	side record;
	had record;
	stands boolean;
BEGIN
	FOR s IN SELECT * FROM loyalty.referral_states(member_id, NULL) ORDER BY at, referral_id LOOP
		stands := s.order_id IS NOT NULL;
		-- both in one transaction, members ascending
		FOR side IN SELECT x.* FROM (VALUES (s.referee_id, 'referee'), (s.referrer_id, 'referrer')) x (member_id, role) ORDER BY loyalty.canonical_member(x.member_id), x.role LOOP
			CONTINUE WHEN loyalty.is_forgotten(ARRAY[side.member_id, loyalty.canonical_member(side.member_id)]);
			SELECT a.* INTO had FROM loyalty.activity a
			WHERE a.member_id = side.member_id AND a.kind = 'invite' AND a.external_id = format('referral %s', s.referral_id);
			IF NOT FOUND THEN
				PERFORM loyalty.record_activity(side.member_id, 'invite', s.qualified_at, external_id => format('referral %s', s.referral_id),
					document => jsonb_build_object('referral', s.referral, 'referral_id', s.referral_id, 'role', side.role, 'order', s.order_id)) WHERE stands;
			ELSIF stands AND (had.cancelled OR (had.document ->> 'order')::bigint IS DISTINCT FROM s.order_id) THEN
				PERFORM loyalty.revise_activity(side.member_id, had.activity_id, cancelled => false, at => s.qualified_at,
					document => had.document || jsonb_build_object('order', s.order_id));
			ELSIF NOT stands AND NOT had.cancelled THEN
				PERFORM loyalty.revise_activity(side.member_id, had.activity_id, cancelled => true);
			END IF;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_referrals(bigint) IS
'Records the invitations of those referrals of a member that qualify now, and cancels those of others; a side that is forgotten gets none. Part of engage().';

CREATE FUNCTION referral_refusal(referee_id bigint, referrer_id bigint, referral text, at timestamptz) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	definition CONSTANT jsonb := jsonb_build_object('kind', 'order') || loyalty.engagement_in_force('referral', referral, at);
	referees CONSTANT bigint[] := loyalty.member_tree(loyalty.canonical_member(referee_id));
	referrers CONSTANT bigint[] := loyalty.member_tree(loyalty.canonical_member(referrer_id));
BEGIN
	RETURN CASE
		WHEN referees = referrers THEN 'self'
		WHEN EXISTS (SELECT FROM loyalty.engagement_facts(referee_id, definition, NULL, NULL) f WHERE f.at < referral_refusal.at) THEN 'known'
		WHEN EXISTS (
			WITH RECURSIVE above (member_id) AS (
				SELECT loyalty.canonical_member(referrer_id)
				UNION
				SELECT loyalty.canonical_member(r.referrer_id) FROM above a, LATERAL (SELECT r.referrer_id FROM loyalty.referral r
					WHERE r.member_id = ANY (loyalty.member_tree(a.member_id)) AND (r.decision = 'accept' OR r.decision IS NULL AND r.why IS NULL)) r)
			SELECT FROM above a WHERE a.member_id = ANY (referees)) THEN 'cycle'
		WHEN EXISTS (SELECT FROM loyalty.identifier i JOIN loyalty.identifier o ON o.namespace = i.namespace AND o.value = i.value
			WHERE i.member_id = ANY (referees) AND o.member_id = ANY (referrers)) THEN 'identifier'
		WHEN (SELECT count(*) FROM loyalty.referral r WHERE r.referrer_id = ANY (referrers) AND r.at <= referral_refusal.at
			AND r.at > referral_refusal.at - (definition ->> 'per')::interval) >= (definition ->> 'at_most')::numeric THEN 'velocity' END;
END
$$;
COMMENT ON FUNCTION referral_refusal(bigint, bigint, text, timestamptz) IS
'Why a referral is refused; NULL: it is not. Part of refer().';

CREATE FUNCTION refer(referee_id bigint, code text, at timestamptz DEFAULT statement_timestamp(), evidence jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT referral_id bigint, OUT status text, OUT why text, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	known loyalty.referral_code;
	numbers bigint[];
BEGIN
	IF referee_id IS NULL OR code IS NULL OR at IS NULL OR NOT isfinite(at) OR at > clock_timestamp() THEN
		RAISE EXCEPTION 'referee_id, code and at must be given'
			USING ERRCODE = 'LY003', DETAIL = 'A referral is of a member, at an instant that is not ahead.', HINT = 'Give them, or leave at out for now.';
	END IF;
	replayed := false;
	numbers := loyalty.numbers_of(referee_id);
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('refer', loyalty.kept_members(numbers), idempotency_key,
			jsonb_build_array(code, extract(epoch FROM nullif(at, statement_timestamp())), evidence));
		IF earlier IS NOT NULL THEN
			referral_id := earlier ->> 'referral_id'; status := earlier ->> 'status'; why := earlier ->> 'why'; replayed := true;
			RETURN;
		END IF;
	END IF;
	SELECT * INTO known FROM loyalty.referral_code c WHERE c.code = loyalty.normalize_code(refer.code);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no code "%" of a referral', code
			USING ERRCODE = 'LY751', DETAIL = 'The table loyalty.referral_code has no row of it.', HINT = 'See loyalty.create_referral_code().';
	END IF;
	PERFORM loyalty.lock_engagement(m)
	FROM (SELECT DISTINCT loyalty.canonical_member(x) AS m FROM unnest(ARRAY[referee_id, known.member_id]) x ORDER BY 1) y;
	SELECT r.referral_id, 'refused', 'referred already' INTO referral_id, status, why FROM loyalty.referral r WHERE r.member_id = ANY (numbers) ORDER BY r.at LIMIT 1;
	IF NOT FOUND THEN
		why := loyalty.referral_refusal(referee_id, known.member_id, known.referral, at);
		INSERT INTO loyalty.referral AS r (member_id, referral, code, referrer_id, at, why, evidence)
		VALUES (referee_id, known.referral, known.shown, known.member_id, at, why, evidence)
		RETURNING r.referral_id INTO referral_id;
		-- what it ordered may be known already
		PERFORM loyalty.put_referrals(referee_id);
		SELECT s.status INTO status FROM loyalty.referral_states(referee_id, statement_timestamp()) s WHERE s.referral_id = refer.referral_id;
	END IF;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('refer', referee_id, idempotency_key, jsonb_build_object('referral_id', referral_id, 'status', status, 'why', why));
	END IF;
END
$$;
COMMENT ON FUNCTION refer(bigint, text, timestamptz, jsonb, text) IS
'A member was referred, by the code of another. There is one referral of a member, for ever. Returns its number, its status (see referrals()), why it is refused: self (both are one member), known (it has ordered before), cycle, identifier (they share one), velocity (too many of the referrer), referred already (number of the first); and whether this is the first result of a repeated idempotency_key. A refusal is no error: review_referral() may overrule it. evidence: whatever is to be kept for that. Errors: LY751 code, LY003, LY004, LY115.';

CREATE FUNCTION review_referral(referee_id bigint, decision text, reason text DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	r loyalty.referral;
	answer text;
BEGIN
	IF coalesce(decision NOT IN ('accept', 'refuse'), true) THEN
		RAISE EXCEPTION 'a decision must be accept or refuse'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(quote_ident(decision), 'NULL')), HINT = 'Give one of them.';
	END IF;
	SELECT * INTO r FROM loyalty.referral x WHERE x.member_id = review_referral.referee_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % was not referred', referee_id
			USING ERRCODE = 'LY751', DETAIL = 'The table loyalty.referral has no row of it.', HINT = 'Name the member as refer() did.';
	END IF;
	PERFORM loyalty.lock_engagement(m)
	FROM (SELECT DISTINCT loyalty.canonical_member(x) AS m FROM unnest(ARRAY[r.member_id, r.referrer_id]) x ORDER BY 1) y;
	UPDATE loyalty.referral x SET decision = review_referral.decision, decision_reason = reason, decided_at = clock_timestamp()
	WHERE x.member_id = r.member_id AND x.decision IS NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the referral of member % was reviewed already', referee_id
			USING ERRCODE = 'LY754', DETAIL = format('It was decided: %s.', (SELECT x.decision FROM loyalty.referral x WHERE x.member_id = r.member_id)), HINT = 'A decision stands.';
	END IF;
	PERFORM loyalty.keep_act('review_referral', r.member_id, r.referral_id, decision);
	PERFORM loyalty.put_referrals(r.member_id);
	SELECT s.status INTO answer FROM loyalty.referral_states(r.member_id, statement_timestamp()) s WHERE s.referral_id = r.referral_id;
	RETURN answer;
END
$$;
COMMENT ON FUNCTION review_referral(bigint, text, text) IS
'Decides about a referral, refused or not; the decision stands. Returns its status. Errors: LY751 the member was not referred, LY754 decided already, LY003.';
