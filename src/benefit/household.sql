/*
 * benefit: households.  A household is a member, without identifiers, whose
 * wallets its persons share: one fold, no second kind of balance.
 *
 * Who belongs to it is the fold of acts (household_act), as of any instant.  The
 * lots that a person has transferred to it keep their identity, so who leaves
 * can take what is left of them along.
 */

CREATE FUNCTION setup_household_tables() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE TABLE loyalty.household (
		member_id bigint PRIMARY KEY,
		name text NOT NULL,
		created_at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		acts integer NOT NULL DEFAULT 0
	);
	COMMENT ON TABLE loyalty.household IS 'Households: each is a member, whose wallets its persons share.';
	COMMENT ON COLUMN loyalty.household.member_id IS 'The household, as a member.';
	COMMENT ON COLUMN loyalty.household.name IS 'Name that people read.';
	COMMENT ON COLUMN loyalty.household.created_at IS 'Since when it is.';
	COMMENT ON COLUMN loyalty.household.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.household.acts IS 'How many acts it has; its row is the lock of all that is done to it.';

	CREATE TABLE loyalty.household_act (
		member_id bigint NOT NULL,
		act integer NOT NULL,
		person_id bigint NOT NULL,
		kind text NOT NULL,
		role text,
		may_spend bigint,
		period text,
		currency text,
		at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		PRIMARY KEY (member_id, act)
	);
	CREATE UNIQUE INDEX household_act_person ON loyalty.household_act (person_id, member_id, act);
	COMMENT ON TABLE loyalty.household_act IS 'Who joined and left households, and how much each may spend. Append-only.';
	COMMENT ON COLUMN loyalty.household_act.member_id IS 'The household.';
	COMMENT ON COLUMN loyalty.household_act.act IS 'Number of the act, from 1, in the order in which they were recorded.';
	COMMENT ON COLUMN loyalty.household_act.person_id IS 'The person, under the number that was named.';
	COMMENT ON COLUMN loyalty.household_act.kind IS 'joined, left, or allowed (its role or allowance changes).';
	COMMENT ON COLUMN loyalty.household_act.role IS 'head or person, from then on (joined, allowed).';
	COMMENT ON COLUMN loyalty.household_act.may_spend IS 'How many points it may spend in a period (joined, allowed); NULL: as many as there are.';
	COMMENT ON COLUMN loyalty.household_act.period IS 'That period: day, week, month, quarter, year or lifetime, of the clock of the program.';
	COMMENT ON COLUMN loyalty.household_act.currency IS 'Of which currency it may spend so much (allowed); NULL: of each one that has no allowance of its own.';
	COMMENT ON COLUMN loyalty.household_act.at IS 'When it was done, in the business.';
	COMMENT ON COLUMN loyalty.household_act.recorded_at IS 'When the database learned of it.';

	CREATE TABLE loyalty.household_spend (
		member_id bigint NOT NULL,
		entry_id bigint NOT NULL,
		person_id bigint NOT NULL,
		points bigint NOT NULL,
		currency text NOT NULL,
		at timestamptz NOT NULL,
		recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		may_spend bigint,
		period_start timestamptz,
		period_end timestamptz,
		PRIMARY KEY (member_id, entry_id)
	);
	COMMENT ON TABLE loyalty.household_spend IS 'Which person spent points of a household: redeem_for(). Append-only.';
	COMMENT ON COLUMN loyalty.household_spend.member_id IS 'The household.';
	COMMENT ON COLUMN loyalty.household_spend.entry_id IS 'The entry of the ledger.';
	COMMENT ON COLUMN loyalty.household_spend.person_id IS 'The person, under the number that was named.';
	COMMENT ON COLUMN loyalty.household_spend.points IS 'Points that it redeemed; what is reversed of them is in the ledger.';
	COMMENT ON COLUMN loyalty.household_spend.currency IS 'Their currency.';
	COMMENT ON COLUMN loyalty.household_spend.at IS 'When, in the business.';
	COMMENT ON COLUMN loyalty.household_spend.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty.household_spend.may_spend IS 'How many the person might spend in its period; NULL: as many as there were.';
	COMMENT ON COLUMN loyalty.household_spend.period_start IS 'That period; NULL: without beginning.';
	COMMENT ON COLUMN loyalty.household_spend.period_end IS 'And its end; NULL: without end.';
END
$$;
COMMENT ON FUNCTION setup_household_tables() IS 'Part of setup_benefit().';

CREATE FUNCTION memberships(household_ids bigint[], person_ids bigint[], as_of timestamptz, known_at timestamptz DEFAULT NULL, currency text DEFAULT NULL,
	OUT household_id bigint, OUT person_id bigint, OUT role text, OUT joined_at timestamptz, OUT may_spend bigint, OUT period text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH act AS (
		SELECT a.* FROM loyalty.household_act a
		WHERE ($1 IS NULL OR a.member_id = ANY ($1)) AND ($2 IS NULL OR a.person_id = ANY ($2))
			AND a.at <= $3 AND a.recorded_at <= coalesce($4, 'infinity')
	), gate AS (
		SELECT DISTINCT ON (a.member_id, a.person_id) a.member_id, a.person_id, a.kind, a.at, a.act
		FROM act a WHERE a.kind <> 'allowed' ORDER BY a.member_id, a.person_id, a.at DESC, a.act DESC
	)
	-- what an earlier membership was allowed later than this one began is of that one
	SELECT g.member_id, g.person_id, r.role, g.at, t.may_spend, t.period
	FROM gate g, LATERAL (SELECT a.role FROM act a
			WHERE a.member_id = g.member_id AND a.person_id = g.person_id AND a.act >= g.act ORDER BY a.at DESC, a.act DESC LIMIT 1) r,
		LATERAL (SELECT a.may_spend, a.period FROM act a
			WHERE a.member_id = g.member_id AND a.person_id = g.person_id AND a.act >= g.act AND (a.currency IS NULL OR a.currency = $5)
			ORDER BY a.currency IS NULL, a.at DESC, a.act DESC LIMIT 1) t
	WHERE g.kind = 'joined'
$$;
COMMENT ON FUNCTION memberships(bigint[], bigint[], timestamptz, timestamptz, text) IS
'Which persons, under the numbers that were named, are in which households (NULL: all) as of an instant, by the acts known at one, and what they may spend of a currency. Part of household_members().';

CREATE FUNCTION household_spells(member_id bigint, known_at timestamptz DEFAULT NULL,
	OUT household_id bigint, OUT starts_at timestamptz, OUT ends_at timestamptz) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL SAFE ROWS 1 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_household_spells';
COMMENT ON FUNCTION household_spells(bigint, timestamptz) IS
'When a person, under whichever number, was in which household, as known at an instant (NULL: now): from starts_at up to ends_at (NULL: it goes on). Of merged persons the membership of the survivor holds, from the merge on.';

CREATE FUNCTION household_of(member_id bigint, as_of timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.household_id FROM (SELECT coalesce($2, statement_timestamp())) t (at), loyalty.household_spells($1) s
	WHERE s.starts_at <= t.at AND t.at < coalesce(s.ends_at, 'infinity')
$$;
COMMENT ON FUNCTION household_of(bigint, timestamptz) IS
'The household in which a person, under whichever number, is as of an instant (NULL: now); NULL for none. Of merged persons that of the survivor.';

CREATE FUNCTION household_members(household_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL, currency text DEFAULT 'points',
	OUT member_id bigint, OUT role text, OUT joined_at timestamptz, OUT may_spend bigint, OUT period text, OUT spent bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH number AS (
		SELECT m.*, t.at, CASE WHEN g.is_absorbed THEN loyalty.canonical_member(m.person_id) ELSE m.person_id END AS stands
		FROM (SELECT coalesce($2, statement_timestamp())) t (at), loyalty.memberships(ARRAY[loyalty.canonical_member($1)], NULL, t.at, $3, $4) m,
			LATERAL (SELECT EXISTS (SELECT FROM loyalty.member_merge g
				WHERE g.absorbed_id = m.person_id AND g.unmerged_at IS NULL AND g.recorded_at <= t.at) AS is_absorbed) g
		-- who was merged into a member of another household is there, from then on
		WHERE NOT g.is_absorbed OR loyalty.household_of(loyalty.canonical_member(m.person_id), t.at) = m.household_id
	), person AS (
		-- who was merged with another one of it is one person, with the allowance of the survivor
		SELECT DISTINCT ON (n.stands) n.*, min(n.joined_at) OVER (PARTITION BY n.stands) AS since, bool_or(n.role = 'head') OVER () AS has_head
		FROM number n ORDER BY n.stands, n.person_id <> n.stands, n.joined_at
	)
	-- where no head is left, who is there for the longest time is it
	SELECT p.person_id, CASE WHEN NOT p.has_head AND row_number() OVER (ORDER BY p.since, p.person_id) = 1 THEN 'head' ELSE p.role END,
		p.since, p.may_spend, p.period, loyalty.spent_in_period($1, p.person_id, p.period, p.at, p.at, $3, $4)
	FROM person p ORDER BY p.since, p.person_id
$$;
COMMENT ON FUNCTION household_members(bigint, timestamptz, timestamptz, text) IS
'The persons of a household as of an instant (NULL: now), as known at one (NULL: now), and how many points of a currency each has spent by then in the period of its allowance. There is always a head: where the last one has left, was merged into somebody elsewhere or was forgotten, it is who is there for the longest time. may_spend NULL: as much as there is.';

CREATE FUNCTION period_of(period text, at timestamptz, OUT period_start timestamptz, OUT period_end timestamptz) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $1 <> 'lifetime' THEN l.first AT TIME ZONE z.zone END,
		CASE WHEN $1 <> 'lifetime' THEN (l.first + CASE $1 WHEN 'quarter' THEN interval '3 months' ELSE ('1 ' || $1)::interval END) AT TIME ZONE z.zone END
	FROM (SELECT loyalty.program_time_zone() AS zone) z, LATERAL (SELECT date_trunc(CASE $1 WHEN 'lifetime' THEN 'year' ELSE $1 END, $2 AT TIME ZONE z.zone) AS first) l
$$;
COMMENT ON FUNCTION period_of(text, timestamptz) IS 'The calendar period of the program''s clock in which an instant lies; NULL: without end. Part of redeem_for().';

CREATE FUNCTION spent_in_period(household_id bigint, person_id bigint, period text, at timestamptz, as_of timestamptz, known_at timestamptz DEFAULT NULL,
	currency text DEFAULT 'points') RETURNS bigint
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(sum(s.points - r.points), 0)::bigint
	FROM loyalty.period_of(coalesce($3, 'lifetime'), $4) p
		JOIN loyalty.household_spend s ON s.at >= coalesce(p.period_start, '-infinity') AND s.at < coalesce(p.period_end, 'infinity'),
		LATERAL (SELECT coalesce(sum(CASE e.kind WHEN 'reverse' THEN e.points ELSE 0 END), 0) AS points FROM loyalty.all_entries() e
			WHERE e.member_id = s.member_id AND e.target_entry_id = s.entry_id AND e.effective_at <= $5 AND e.recorded_at <= coalesce($6, 'infinity')) r
	WHERE s.member_id = loyalty.canonical_member($1) AND s.person_id = ANY (loyalty.numbers_of($2))
		AND s.currency = $7 AND s.at <= $5 AND s.recorded_at <= coalesce($6, 'infinity')
$$;
COMMENT ON FUNCTION spent_in_period(bigint, bigint, text, timestamptz, timestamptz, timestamptz, text) IS
'How many points of a currency of a household a person, under whichever number, has spent in the period in which an instant lies, less what was given back of them: as of an instant, by what was known at one. Part of redeem_for().';

CREATE FUNCTION take_household(household_id bigint) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	taken bigint;
BEGIN
	-- changed, so that a transaction with an older snapshot does not pass
	UPDATE loyalty.household h SET acts = h.acts WHERE h.member_id = loyalty.canonical_member($1) RETURNING h.member_id INTO taken;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no household %', household_id
			USING ERRCODE = 'LY618', DETAIL = 'The table loyalty.household has no row with this number.', HINT = 'Households are made by loyalty.create_household().';
	END IF;
	RETURN taken;
END
$$;
COMMENT ON FUNCTION take_household(bigint) IS 'Locks a household and answers with its number; LY618 where there is none. Part of the functions of households.';

CREATE FUNCTION keep_household_act(household_id bigint, person_id bigint, kind text, role text, may_spend bigint, period text, at timestamptz,
	currency text DEFAULT NULL) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH h AS (UPDATE loyalty.household h SET acts = h.acts + 1 WHERE h.member_id = $1 RETURNING h.member_id, h.acts)
	INSERT INTO loyalty.household_act (member_id, act, person_id, kind, role, may_spend, period, at, currency)
	SELECT h.member_id, h.acts, $2, $3, $4, $5, $6, $7, $8 FROM h
$$;
COMMENT ON FUNCTION keep_household_act(bigint, bigint, text, text, bigint, text, timestamptz, text) IS 'Keeps an act of a household that is locked. Part of the functions of households.';

CREATE FUNCTION require_allowance(role text, may_spend bigint, period text, at timestamptz) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong CONSTANT text := CASE WHEN role IS NULL OR role NOT IN ('head', 'person') THEN format('role is %s; it is head or person.', coalesce(role, 'NULL'))
		WHEN may_spend < 0 THEN format('may_spend is %s; it is not negative, or NULL for no limit.', may_spend)
		WHEN period IS NULL OR period NOT IN ('day', 'week', 'month', 'quarter', 'year', 'lifetime') THEN format('period is %s.', coalesce(period, 'NULL'))
		WHEN at IS NULL OR NOT isfinite(at) THEN 'at must be a finite instant.' END;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid membership of a household' USING ERRCODE = 'LY003', DETAIL = wrong, HINT = 'See the comment of loyalty.join_household().';
	END IF;
END
$$;
COMMENT ON FUNCTION require_allowance(text, bigint, text, timestamptz) IS 'LY003 unless they are a role, an allowance, a period and an instant. Part of the functions of households.';

CREATE FUNCTION join_household(household_id bigint, member_id bigint, role text DEFAULT 'person', may_spend bigint DEFAULT NULL, period text DEFAULT 'month',
	at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL, OUT replayed boolean) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	household bigint;
	other bigint;
BEGIN
	replayed := idempotency_key IS NOT NULL AND loyalty.claim_request('join_household', ARRAY[loyalty.canonical_member(household_id)], idempotency_key,
		jsonb_build_array(member_id, role, may_spend, period, extract(epoch FROM nullif(at, statement_timestamp()))), member_id) IS NOT NULL;
	IF replayed THEN
		RETURN;
	END IF;
	PERFORM loyalty.require_allowance(role, may_spend, period, at), loyalty.require_members(ARRAY[member_id]);
	household := loyalty.take_household(household_id);
	PERFORM loyalty.lock_benefit(member_id, 'household'), loyalty.require_not_forgotten(ARRAY[member_id]);
	-- in one household at a time, now and whenever it joined one since
	SELECT m.household_id INTO other FROM loyalty.memberships(NULL, loyalty.numbers_of(member_id), 'infinity') m LIMIT 1;
	IF other IS NOT NULL OR EXISTS (SELECT FROM loyalty.household_act a WHERE a.person_id = ANY (loyalty.numbers_of(member_id)) AND a.kind <> 'allowed' AND a.at > at)
		OR EXISTS (SELECT FROM loyalty.household h WHERE h.member_id = ANY (loyalty.numbers_of(member_id))) THEN
		RAISE EXCEPTION 'member % cannot join household %', member_id, household_id
			USING ERRCODE = 'LY619', DETAIL = CASE WHEN other IS NULL THEN 'It is a household, or was in one after that instant.' ELSE format('It is in household %s.', other) END,
				HINT = 'A person is in one household at a time; see loyalty.leave_household().';
	END IF;
	PERFORM loyalty.keep_household_act(household, member_id, 'joined', role, may_spend, period, at);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('join_household', household, idempotency_key, '{}', member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION join_household(bigint, bigint, text, bigint, text, timestamptz, text) IS
'A person joins a household: as head or person, and may spend so many of its points, of each currency, in each calendar period (NULL: as many as there are; see set_allowance()). Returns whether this is the first result of a repeated idempotency_key (which belongs to the household). Errors: LY618 no such household, LY619 the person is in one, LY202 no such member, LY203 forgotten, LY003, LY004.';

CREATE FUNCTION create_household(name text, head_id bigint, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL,
	OUT household_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('create_household', loyalty.kept_members(loyalty.numbers_of(head_id)), idempotency_key,
			jsonb_build_array(name, extract(epoch FROM nullif(at, statement_timestamp()))));
		IF earlier IS NOT NULL THEN
			household_id := earlier ->> 'household_id'; replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.require_effective_at(at);
	IF coalesce(name, '') = '' THEN
		RAISE EXCEPTION 'name must be given' USING ERRCODE = 'LY003', DETAIL = 'It is empty.', HINT = 'Give a name that people read.';
	END IF;
	household_id := loyalty.make_bearer(at, 'household');
	INSERT INTO loyalty.household (member_id, name, created_at) VALUES (household_id, name, at);
	PERFORM loyalty.join_household(household_id, head_id, 'head', at => at);
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('create_household', head_id, idempotency_key, jsonb_build_object('household_id', household_id));
	END IF;
END
$$;
COMMENT ON FUNCTION create_household(text, bigint, timestamptz, text) IS
'Makes a household, a member of its own without identifiers, with its head. Returns its number, under which it earns, has tiers, coupons and entitlements as any member, but no gifts, which are of persons, and whether this is the first result of a repeated idempotency_key. Errors: LY619 the head is in another household, LY202, LY003, LY004, LY115.';

CREATE FUNCTION require_membership(household_id bigint, member_id bigint, at timestamptz, currency text DEFAULT 'points',
	OUT person_id bigint, OUT role text, OUT joined_at timestamptz, OUT may_spend bigint, OUT period text) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	-- of merged persons the allowance of the survivor holds
	SELECT m.member_id, m.role, m.joined_at, m.may_spend, m.period INTO person_id, role, joined_at, may_spend, period
	FROM loyalty.household_members(household_id, at, currency => currency) m WHERE m.member_id = ANY (loyalty.numbers_of($2))
	ORDER BY m.member_id <> loyalty.canonical_member($2), m.joined_at LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'member % is not in household %', $2, household_id
			USING ERRCODE = 'LY619', DETAIL = format('It is not as of %s.', at), HINT = 'See loyalty.household_members().';
	END IF;
END
$$;
COMMENT ON FUNCTION require_membership(bigint, bigint, timestamptz, text) IS 'The membership of a person in a household as of an instant; LY619 where there is none. Part of the functions of households.';

CREATE FUNCTION set_allowance(household_id bigint, member_id bigint, may_spend bigint, period text DEFAULT 'month', role text DEFAULT NULL,
	currency text DEFAULT NULL, at timestamptz DEFAULT statement_timestamp(), idempotency_key text DEFAULT NULL, OUT replayed boolean) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	household bigint;
	m record;
BEGIN
	replayed := idempotency_key IS NOT NULL AND loyalty.claim_request('set_allowance', ARRAY[loyalty.canonical_member(household_id)], idempotency_key,
		jsonb_build_array(member_id, may_spend, period, role, currency, extract(epoch FROM nullif(at, statement_timestamp()))), member_id) IS NOT NULL;
	IF replayed THEN
		RETURN;
	END IF;
	PERFORM loyalty.require_allowance(coalesce(role, 'person'), may_spend, period, at);
	IF currency IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = currency) THEN
		RAISE EXCEPTION 'currency "%" does not exist', currency
			USING ERRCODE = 'LY102', DETAIL = 'The table loyalty.currency has no row with this code.', HINT = 'NULL is each currency that has no allowance of its own.';
	END IF;
	household := loyalty.take_household(household_id);
	m := loyalty.require_membership(household, member_id, at);
	-- who is head since no other is left does not stay it when there is one
	PERFORM loyalty.keep_household_act(household, m.person_id, 'allowed', coalesce(role, x.role), may_spend, period, at, currency)
	FROM loyalty.memberships(ARRAY[household], ARRAY[m.person_id], at) x;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('set_allowance', household, idempotency_key, '{}', member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION set_allowance(bigint, bigint, bigint, text, text, text, timestamptz, text) IS
'From an instant on a person may spend so many points of its household in each calendar period (NULL: as many as there are), and has a role (NULL: as before). Points of a currency, or (NULL) of each currency that has no allowance of its own; none is counted against another. Returns whether this is the first result of a repeated idempotency_key (which belongs to the household). Errors: LY618, LY619 not in it, LY102, LY003, LY004.';

CREATE FUNCTION own_lots(household_id bigint, member_id bigint, currency text, OUT lot_id bigint, OUT points bigint) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT l.lot_id, l.points FROM loyalty.lots($1, $3, statement_timestamp()) l, LATERAL (
		-- a lot has the number of the entry that earned it
		SELECT coalesce((SELECT e.counterparty_id FROM loyalty.all_entries() e, loyalty.unnest_lots(e.lots) x
				WHERE e.member_id = $1 AND e.currency = $3 AND e.kind = 'transfer_in' AND x.lot_id = l.lot_id ORDER BY e.entry_id DESC LIMIT 1),
			-- whatever others have written there
			(SELECT n FROM unnest(loyalty.numbers_of($2)) n, loyalty.all_entries() e
				WHERE e.member_id = $1 AND e.entry_id = l.lot_id AND e.kind = 'earn' AND e.details -> 'person_id' = to_jsonb(n))) AS person_id) b
	WHERE l.state IN ('available', 'pending') AND b.person_id = ANY (loyalty.numbers_of($2))
$$;
COMMENT ON FUNCTION own_lots(bigint, bigint, text) IS
'What is left in a household of the lots that a person was the last to transfer to it, whoever earned them, or that a campaign gave it for what the person did, but for what is held. Part of leave_household().';

CREATE FUNCTION leave_household(household_id bigint, member_id bigint, take text DEFAULT 'nothing', at timestamptz DEFAULT statement_timestamp(),
	idempotency_key text DEFAULT NULL, OUT points bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	household bigint;
	m record;
	lots bigint[];
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('leave_household', ARRAY[loyalty.canonical_member(household_id)], idempotency_key,
			jsonb_build_array(member_id, take, extract(epoch FROM nullif(at, statement_timestamp()))), member_id);
		IF earlier IS NOT NULL THEN
			points := earlier ->> 'points'; replayed := true;
			RETURN;
		END IF;
	END IF;
	IF take IS NULL OR take NOT IN ('nothing', 'own') OR at IS NULL OR NOT isfinite(at) THEN
		RAISE EXCEPTION 'take is nothing or own, and at is a finite instant'
			USING ERRCODE = 'LY003', DETAIL = format('take is %s, at is %s.', coalesce(take, 'NULL'), coalesce(at::text, 'NULL')), HINT = 'own takes what is left of the lots that the person brought.';
	END IF;
	household := loyalty.take_household(household_id);
	m := loyalty.require_membership(household, member_id, at);
	IF EXISTS (SELECT FROM loyalty.household_act a WHERE a.member_id = household AND a.person_id = ANY (loyalty.numbers_of(member_id)) AND a.kind <> 'allowed' AND a.at > at) THEN
		RAISE EXCEPTION 'member % has left household % already', member_id, household_id
			USING ERRCODE = 'LY619', DETAIL = format('It left, or joined anew, after %s.', at), HINT = 'See loyalty.household_spells().';
	END IF;
	points := 0;
	IF take = 'own' THEN
		PERFORM loyalty.lock_wallets(ARRAY[household, loyalty.canonical_member(member_id)]);
		SELECT array_agg(o.lot_id) INTO lots
		FROM loyalty.wallet w, LATERAL loyalty.own_lots(household, member_id, w.currency) o WHERE w.member_id = household;
		IF lots IS NOT NULL THEN
			SELECT coalesce(sum(p.points), 0) INTO points
			FROM loyalty.move_points(household, loyalty.canonical_member(member_id), opened_by => lots, settle => true, reason => 'left the household') p;
		END IF;
	END IF;
	PERFORM loyalty.keep_household_act(household, x.person_id, 'left', NULL, NULL, NULL, at)
	FROM loyalty.memberships(ARRAY[household], loyalty.numbers_of(member_id), at) x;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('leave_household', household, idempotency_key, jsonb_build_object('points', points), member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION leave_household(bigint, bigint, text, timestamptz, text) IS
'A person leaves its household and takes nothing, or (own) what is left of the lots that it brought by transfer(), or that campaigns gave the household for what it did, with their expiry, but for what is held; moved now, whenever it left. The last head hands over to the person who is there for the longest time, whose allowance stays what it is. Returns the points, and whether this is the first result of a repeated idempotency_key (which belongs to the household). Errors: LY618, LY619 not in it, LY003, LY004.';

CREATE FUNCTION redeem_for(household_id bigint, member_id bigint, points numeric, currency text DEFAULT 'points',
	effective_at timestamptz DEFAULT statement_timestamp(), reference text DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT entry_id bigint, OUT available bigint, OUT allowance_left bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	earlier jsonb;
	household bigint;
	m record;
	p record;
	spent bigint;
BEGIN
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('redeem_for', ARRAY[loyalty.canonical_member(household_id)], idempotency_key,
			jsonb_build_array(member_id, trim_scale(points), currency, extract(epoch FROM nullif(effective_at, statement_timestamp())), reference), member_id);
		IF earlier IS NOT NULL THEN
			entry_id := earlier ->> 'entry_id'; available := earlier ->> 'available'; allowance_left := earlier ->> 'allowance_left'; replayed := true;
			RETURN;
		END IF;
	END IF;
	PERFORM loyalty.require_effective_at(effective_at);
	household := loyalty.take_household(household_id);
	m := loyalty.require_membership(household, member_id, effective_at, currency);
	spent := loyalty.spent_in_period(household, member_id, m.period, effective_at, 'infinity', currency => currency);
	-- what is no number of points redeem() refuses
	IF spent + points > m.may_spend AND points < 'Infinity' THEN
		RAISE EXCEPTION 'member % may not spend % points of household %', member_id, points, household_id
			USING ERRCODE = 'LY612', DETAIL = format('Of its allowance of %s a %s, %s are left.', m.may_spend, m.period, greatest(m.may_spend - spent, 0)),
				HINT = 'See loyalty.set_allowance().';
	END IF;
	SELECT r.entry_id, r.available INTO entry_id, available
	FROM loyalty.redeem(household, points, currency, effective_at, reference, details => jsonb_build_object('person_id', m.person_id)) r;
	p := loyalty.period_of(m.period, effective_at);
	INSERT INTO loyalty.household_spend (member_id, entry_id, person_id, points, currency, at, may_spend, period_start, period_end)
	VALUES (household, entry_id, member_id, points, currency, effective_at, m.may_spend, p.period_start, p.period_end);
	allowance_left := m.may_spend - spent - points;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('redeem_for', household, idempotency_key,
			jsonb_build_object('entry_id', entry_id, 'available', available, 'allowance_left', allowance_left), member_id);
	END IF;
END
$$;
COMMENT ON FUNCTION redeem_for(bigint, bigint, numeric, text, timestamptz, text, text) IS
'A person spends points of its household, as far as its allowance goes: that of the period in which effective_at lies, in which what is reversed of it is given back as well. Nobody wins twice: it is one wallet. Returns the entry, the available points after it, what is left of the allowance (NULL: as many as there are), and whether this is the first result of a repeated idempotency_key (which belongs to the household). Errors: LY618, LY619 not in it then, LY612 the allowance is used up, LY101 not enough points, LY102, LY003, LY004.';

CREATE FUNCTION forget_memberships(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.keep_household_act(m.household_id, m.person_id, 'left', NULL, NULL, NULL, greatest(statement_timestamp(), m.joined_at))
	FROM loyalty.memberships(NULL, $1, 'infinity') m
$$;
COMMENT ON FUNCTION forget_memberships(bigint[]) IS
'Members who are forgotten leave their households, and take nothing. Part of forget_member().';

CREATE FUNCTION erase_shared_entries(member_ids bigint[]) RETURNS bigint
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	-- their keys are in the table request, and marked as erased: no call is booked again
	SELECT loyalty.erase_entries(array_agg(s.member_id), array_agg(s.entry_id)) FROM (
		SELECT e.member_id, e.entry_id
		FROM (SELECT DISTINCT a.member_id FROM loyalty.household_act a WHERE a.person_id = ANY ($1)) h,
			LATERAL (SELECT x.* FROM loyalty.all_entries() x WHERE x.member_id = h.member_id OFFSET 0) e
		WHERE e.details -> 'person_id' IN (SELECT to_jsonb(m) FROM unnest($1) m) AND e.idempotency_key IS NULL
		UNION ALL
		SELECT x.member_id, x.entry_id
		FROM (SELECT DISTINCT e.member_id, e.counterparty_id FROM unnest($1) m,
				LATERAL (SELECT o.* FROM loyalty.all_entries() o WHERE o.member_id = m OFFSET 0) e
			WHERE e.kind = 'transfer_in' AND EXISTS (SELECT FROM loyalty.gift_card c WHERE c.member_id = e.counterparty_id)) c,
			LATERAL (SELECT o.* FROM loyalty.all_entries() o WHERE o.member_id = c.counterparty_id OFFSET 0) x
		WHERE x.kind = 'transfer_out' AND x.counterparty_id = c.member_id AND x.idempotency_key IS NULL) s
$$;
COMMENT ON FUNCTION erase_shared_entries(bigint[]) IS
'Erases what calls for a person have written into wallets that are not its own: of households, what it spent and what they were given for what it did; of gift cards, what it claimed. Returns how many entries had any. Part of forget_member().';

CREATE FUNCTION merge_benefits(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM loyalty.household h WHERE h.member_id IN (survivor_id, absorbed_id))
		OR EXISTS (SELECT FROM loyalty.gift_card c WHERE c.member_id IN (survivor_id, absorbed_id)) THEN
		RAISE EXCEPTION 'members % and % are not merged', survivor_id, absorbed_id
			USING ERRCODE = 'LY619', DETAIL = 'One of them is a household or a gift card, and no person.', HINT = 'Let the person join the household, or claim the card.';
	END IF;
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION merge_benefits(bigint, bigint, bigint) IS
'What a merge means here: rows stay where they are, and whoever reads asks for all numbers of the person. Error: LY619 one is a household or a gift card. Part of merge_members().';

CREATE FUNCTION check_households(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'household', h.member_id, NULL::text, NULL::bigint, format('household %s has %s acts, the last of which is number %s, and counts %s', h.member_id, count(a.act), max(a.act), h.acts)
	FROM loyalty.household h LEFT JOIN loyalty.household_act a ON a.member_id = h.member_id
	GROUP BY h.member_id HAVING h.acts <> count(a.act) OR h.acts IS DISTINCT FROM max(a.act)
	UNION ALL
	SELECT 'household', i.member_id, NULL, NULL, 'a household or gift card has an identifier'
	FROM loyalty.identifier i WHERE i.member_id IN (SELECT h.member_id FROM loyalty.household h UNION ALL SELECT c.member_id FROM loyalty.gift_card c)
	UNION ALL
	SELECT 'household', a.member_id, NULL, NULL, format('person %s %s after it %s', a.person_id, a.kind, a.before)
	FROM (SELECT a.member_id, a.person_id, a.kind, lag(a.kind, 1, 'left') OVER (PARTITION BY a.member_id, a.person_id ORDER BY a.act) AS before
		FROM loyalty.household_act a WHERE a.kind <> 'allowed') a WHERE a.kind = a.before
	UNION ALL
	SELECT 'allowance', s.member_id, s.currency, s.entry_id, format('person %s had spent %s of %s', s.person_id, s.points + e.points, s.may_spend)
	FROM loyalty.household_spend s, LATERAL (
		SELECT coalesce(sum(f.points - r.points), 0) AS points FROM loyalty.household_spend f, LATERAL (
			SELECT coalesce(sum(CASE e.kind WHEN 'reverse' THEN e.points ELSE 0 END), 0) AS points FROM loyalty.all_entries() e
			WHERE e.member_id = f.member_id AND e.target_entry_id = f.entry_id AND e.recorded_at < s.recorded_at) r
		WHERE f.member_id = s.member_id AND f.person_id = s.person_id AND f.currency = s.currency AND f.recorded_at < s.recorded_at
			AND f.at >= coalesce(s.period_start, '-infinity') AND f.at < coalesce(s.period_end, 'infinity')) e
	WHERE s.points + e.points > s.may_spend
	UNION ALL
	SELECT 'allowance', s.member_id, s.currency, s.entry_id, format('person %s spent %s, and its entry has %s', s.person_id, s.points, coalesce(e.points::text, 'not been posted'))
	FROM loyalty.household_spend s LEFT JOIN loyalty.all_entries() e ON e.member_id = s.member_id AND e.entry_id = s.entry_id
	WHERE e.points IS DISTINCT FROM -s.points
	UNION ALL
	SELECT 'erased', s.member_id, s.currency, s.entry_id, format('its texts are erased, and person %s is not forgotten', s.person_id)
	FROM loyalty.household_spend s JOIN loyalty.all_entries() e ON e.member_id = s.member_id AND e.entry_id = s.entry_id
	WHERE e.texts_hash IS NOT NULL AND NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = s.person_id AND m.status = 'forgotten')
$$;
COMMENT ON FUNCTION check_households() IS
'Invariants of households: a row for each violation; part of check_benefit(). Acts alternate; nobody has spent more than it might, by what was recorded before; households and gift cards have no identifiers.';
