/*
 * tier: facts, and the tiers that are stored of them.
 */

CREATE FUNCTION insert_tier_event(member_id bigint, measure text, at timestamptz, counts_at timestamptz, amount numeric,
	reference text) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_insert_tier_event';
COMMENT ON FUNCTION insert_tier_event(bigint, text, timestamptz, timestamptz, numeric, text) IS 'Part of record_qualification().';

CREATE FUNCTION record_qualification(member_id bigint, measure text, amount numeric, at timestamptz DEFAULT statement_timestamp(),
	counts_at timestamptz DEFAULT NULL, reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, return_of text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF member_id IS NULL OR amount IS NULL OR at IS NULL THEN
		RAISE EXCEPTION 'member_id, amount and at must be given'
			USING ERRCODE = 'LY003', DETAIL = 'They make a fact.', HINT = 'Give all of them.';
	END IF;
	IF amount IN ('NaN', 'Infinity', '-Infinity') THEN
		RAISE EXCEPTION 'amount must be a finite number'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', amount), HINT = 'Leave such a fact out.';
	END IF;
	IF NOT EXISTS (SELECT FROM loyalty.tier_measure m WHERE m.measure = record_qualification.measure AND m.source <> 'points') THEN
		RAISE EXCEPTION 'measure "%" takes no facts', measure
			USING ERRCODE = 'LY404', DETAIL = 'It is no measure, or one of points or of a function.',
				HINT = 'Define it with loyalty.define_measure(); points are earned with loyalty.earn().';
	END IF;
	IF idempotency_key IS NOT NULL AND loyalty.claim_request('record_qualification', loyalty.kept_members(loyalty.tier_numbers_of(member_id)), idempotency_key,
		jsonb_build_array(measure, trim_scale(round(amount, 4)), extract(epoch FROM nullif(at, statement_timestamp())),
			extract(epoch FROM counts_at), reference, return_of)) IS NOT NULL THEN
		RETURN false;
	END IF;
	IF return_of IS NOT NULL THEN
		IF amount >= 0 THEN
			RAISE EXCEPTION 'the amount of a return must be negative'
				USING ERRCODE = 'LY003', DETAIL = format('It is %s, and return_of names the order "%s".', amount, return_of),
					HINT = 'Give what is taken back as a negative amount; what is no return has a reference, and no return_of.';
		ELSIF counts_at IS NOT NULL THEN
			RAISE EXCEPTION 'return_of and counts_at are given, and one of them tells'
				USING ERRCODE = 'LY003', DETAIL = format('The return counts at the instant of its order "%s", or at %s.', return_of, counts_at),
					HINT = 'Give return_of or counts_at.';
		END IF;
		SELECT e.at INTO counts_at FROM loyalty.tier_event e
		WHERE e.member_id IN (SELECT loyalty.one_with(record_qualification.member_id)) AND e.measure = record_qualification.measure
			AND e.reference = return_of AND e.amount > 0 AND e.at <= record_qualification.at
		ORDER BY e.at DESC LIMIT 1;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'member % has no % with the reference "%"', member_id, measure, return_of
				USING ERRCODE = 'LY003', DETAIL = format('A return of %s counts at the instant of its order.', at),
					HINT = 'Record the order with its reference first, or give counts_at, the instant of the order.';
		END IF;
	ELSIF counts_at < at AND NOT EXISTS (SELECT FROM loyalty.tier_event e
		WHERE e.member_id IN (SELECT loyalty.one_with(record_qualification.member_id)) AND e.measure = record_qualification.measure
			AND e.at = record_qualification.counts_at) THEN
		RAISE NOTICE 'member % has no % of %, at which this return counts', member_id, measure, counts_at
			USING HINT = 'Its windows are those of its order only if counts_at is the very instant of that; return_of finds it by its reference.';
	END IF;
	PERFORM loyalty.insert_tier_event(member_id, measure, at, counts_at, amount, reference);
	RETURN true;
END
$$;
COMMENT ON FUNCTION record_qualification(bigint, text, numeric, timestamptz, timestamptz, text, text, text) IS
'Records a qualifying fact and brings the tiers up to it in the same commit. A return (amount negative) counts at the instant of its order: return_of is the reference that the order was recorded with; counts_at is the instant itself, for orders that were not, and a NOTICE tells when nothing was recorded there. Returns whether it is new: false for a repeated idempotency_key. Errors: LY404 measure, LY003, LY004, LY115.';

-- Immutable as wallet_apply() is, and for the same reason.
CREATE FUNCTION step_tier(state record) RETURNS bytea
LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'loyalty_step_tier';
COMMENT ON FUNCTION step_tier(record) IS
'The machine of a row of tier_state one fact further; part of postings and of evaluate_tier(), cannot be called by itself.';

CREATE FUNCTION maintain_tier(member_id bigint, ladder text, as_of timestamptz DEFAULT NULL) RETURNS boolean
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_maintain_tier';
COMMENT ON FUNCTION maintain_tier(bigint, text, timestamptz) IS
'Computes the tier of one member from all its facts and stores it; whether that changed anything. Part of evaluate_tiers().';

CREATE FUNCTION maintain_member(member_id bigint) RETURNS void
LANGUAGE sql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.maintain_tier(maintain_member.member_id, l.ladder)
	FROM (SELECT x.ladder FROM loyalty.ladder x ORDER BY x.ladder) l
$$;
COMMENT ON FUNCTION maintain_member(bigint) IS 'maintain_tier() on each ladder.';

CREATE FUNCTION set_joined(member_id bigint, joined_at timestamptz) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF member_id IS NULL OR joined_at IS NULL OR NOT isfinite(joined_at) THEN
		RAISE EXCEPTION 'member_id and joined_at must be given, and finite'
			USING ERRCODE = 'LY003', DETAIL = 'Windows of anniversaries begin there.',
				HINT = 'Give the instant at which the member joined.';
	END IF;
	INSERT INTO loyalty.tier_joined AS j (member_id, joined_at) VALUES (member_id, joined_at)
	ON CONFLICT ON CONSTRAINT tier_joined_pkey DO UPDATE SET joined_at = excluded.joined_at;
	PERFORM loyalty.maintain_member(member_id);
	PERFORM loyalty.keep_act('set_joined', member_id);
END
$$;
COMMENT ON FUNCTION set_joined(bigint, timestamptz) IS
'Sets from when on the anniversaries of a member count; otherwise from its first fact or grant. Error: LY003.';

CREATE FUNCTION sample_measures(member_ids bigint[], ladder text, as_of timestamptz, OUT sampled_id bigint, OUT sampled text) RETURNS SETOF record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	m record;
	state text;
	context text;
BEGIN
	FOR m IN SELECT DISTINCT t.measure, loyalty.measure_function(t.function_name) AS fn
		FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
		JOIN loyalty.tier_measure t ON t.measure = d->>'measure' AND t.source = 'function'
		WHERE v.ladder = sample_measures.ladder
	LOOP
		-- who is absorbed has no value of its own; what was sampled last may be
		-- of somebody who was absorbed since
		BEGIN
			RETURN QUERY EXECUTE format($q$
				WITH RECURSIVE up (id) AS (
					SELECT unnest($3)
					UNION
					SELECT t.survivor_id FROM up JOIN loyalty.tier_merge t ON t.absorbed_id = up.id AND t.unmerged_at IS NULL
				), asked AS (
					SELECT k.member_id, round(%s(k.member_id, $2)::numeric, 4) AS value
					FROM up k (member_id)
					WHERE NOT EXISTS (SELECT FROM loyalty.tier_merge t
						WHERE t.absorbed_id = k.member_id AND t.unmerged_at IS NULL)
				), recorded AS (
					SELECT a.member_id,
						loyalty.insert_tier_event(a.member_id, $1, $2, NULL, a.value, 'sampled')::text AS done
					FROM asked a
					LEFT JOIN LATERAL (
						WITH RECURSIVE tree (id) AS (
							SELECT a.member_id
							UNION
							SELECT t.absorbed_id
							FROM tree JOIN loyalty.tier_merge t ON t.survivor_id = tree.id AND t.unmerged_at IS NULL
						)
						SELECT e.amount
						FROM tree JOIN loyalty.tier_event e ON e.member_id = tree.id AND e.measure = $1
						ORDER BY e.at DESC, e.amount DESC
						LIMIT 1
					) p ON true
					WHERE a.value IS NOT NULL AND a.value IS DISTINCT FROM p.amount
					ORDER BY a.member_id
					OFFSET 0
				)
				SELECT r.member_id, $1 FROM recorded r WHERE r.done IS NOT NULL$q$, m.fn)
			USING m.measure, as_of, member_ids;
		EXCEPTION
			WHEN OTHERS THEN
				-- not where it failed in our statement, but whose function it is
				GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, context = PG_EXCEPTION_CONTEXT;
				RAISE EXCEPTION 'function % of measure "%" failed: %', m.fn, m.measure, SQLERRM
					USING ERRCODE = state, DETAIL = format('It failed in %s.', split_part(context, E'\n', 1)),
						HINT = 'It sees no schema but pg_catalog: let it name those of its tables, or give it a search_path of its own.';
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION sample_measures(bigint[], text, timestamptz) IS
'Asks the functions behind a ladder''s measures for some members, or those who stand for them, and records what has changed as facts: of whom, and of what. Part of evaluate_tiers().';

CREATE FUNCTION tier_state_columns() RETURNS text[]
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_tier_state_columns';
COMMENT ON FUNCTION tier_state_columns() IS
'The columns of tier_state that are ours, in their order; part of evaluate_tiers().';

CREATE FUNCTION stored_tier_is(facts tier_facts, state record, ladder text, as_of timestamptz) RETURNS boolean
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_stored_tier_is';
COMMENT ON FUNCTION stored_tier_is(tier_facts, record, text, timestamptz) IS
'Whether a row of tier_state is what a member''s facts give at an instant; part of evaluate_tiers(). Error: LY003 it is no such row.';

CREATE FUNCTION compare_plain_tiers(ladder text, as_of timestamptz, behind bigint, up_to bigint,
	OUT differing bigint[], OUT undecided bigint[]) RETURNS record
LANGUAGE c STABLE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_compare_plain_tiers';
COMMENT ON FUNCTION compare_plain_tiers(text, timestamptz, bigint, bigint) IS
'Of the members behind one, as far as another, by table access: those whose stored tier is not what their entries and the clock give, or of whom none is stored, and those with reversals or activations, where more than one entry is to be read at a time. Both NULL where a table is not plain, or a ladder counts more than points. Part of evaluate_tiers().';

CREATE FUNCTION first_tier(base anyelement, member_id bigint, ladder text, facts tier_facts, as_of timestamptz, replayed_in bigint,
	OUT state anyelement, OUT step_starts timestamptz[], OUT step_levels text[], OUT step_events text[], OUT step_reasons text[],
	OUT step_valid_untils timestamptz[]) RETURNS record
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_first_tier';
COMMENT ON FUNCTION first_tier(anyelement, bigint, text, tier_facts, timestamptz, bigint) IS
'What is to be stored of a member of whom nothing is stored yet: its row of tier_state, of the type of base, and the columns of tier_history as arrays; replayed_in is the transaction. Part of evaluate_tiers(). Error: LY003 base is of another type.';

CREATE FUNCTION ladder_facts(ladder text, members text, OUT points boolean, OUT query text) RETURNS record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	-- each measure is a branch of its own, and one scan: a reversal looks up the
	-- entry behind it (tier_points.sql). That of a redemption gives NULL, which
	-- the aggregates ignore, and so do points that wait for an event.
	SELECT bool_and(m.source = 'points'), string_agg(
		CASE WHEN m.source = 'points' THEN format($q$
			SELECT e.member_id, %1$L::text AS measure,
				CASE WHEN e.target_entry_id IS NULL THEN nullif(%3$s, 'infinity')
					ELSE (SELECT nullif(greatest(e.effective_at, t.%4$I), 'infinity') FROM %5$s) END AS at,
				CASE WHEN e.target_entry_id IS NULL THEN e.requested
					ELSE (SELECT CASE WHEN t.taken_back THEN -e.requested ELSE e.requested END FROM %5$s) END AS amount,
				CASE WHEN e.target_entry_id IS NOT NULL THEN (SELECT t.%4$I FROM %5$s) END AS counts_at
			FROM loyalty.all_entries() e
			WHERE e.currency = %2$L AND e.kind IN ('earn', 'adjust', 'reverse') AND %6$s$q$, m.measure, m.currency,
			CASE WHEN m.pending THEN 'e.effective_at' ELSE $q$loyalty.points_available_at(e.requested, e.effective_at, e.available_at,
				(SELECT min(a.effective_at) FROM loyalty.all_entries() a
				WHERE a.member_id = e.member_id AND a.target_entry_id = e.entry_id AND a.kind = 'activate'))$q$ END,
			CASE WHEN m.pending THEN 'effective_at' ELSE 'available_at' END,
			'loyalty.reversed_points(ARRAY[e.member_id], e.target_entry_id, $t$infinity$t$) t', $2)
		ELSE format($q$
			SELECT e.member_id, e.measure, e.at, e.amount, e.counts_at FROM loyalty.tier_event e WHERE e.measure = %1$L AND %2$s$q$, m.measure, $2)
		END, ' UNION ALL ')
	FROM (SELECT DISTINCT d->>'measure' AS measure FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
		WHERE v.ladder = $1) used
	JOIN loyalty.tier_measure m ON m.measure = used.measure
$$;
COMMENT ON FUNCTION ladder_facts(text, text) IS
'The query that reads the facts of a ladder, of members who were never merged, and whether they are points alone; NULL for a ladder without measures. members is a condition on e.member_id, with parameters from $4 on. Part of evaluate_tiers().';

CREATE FUNCTION facts_by_member(ladder text, members text) RETURNS text
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN f.query IS NULL THEN 'SELECT NULL::bigint AS member_id, NULL::loyalty.tier_facts AS facts WHERE false'
		ELSE format('SELECT x.member_id, %s(x.measure, x.at, x.amount, x.counts_at) AS facts FROM (%s) x GROUP BY x.member_id',
			CASE WHEN f.points THEN 'loyalty.tier_points_agg' ELSE 'loyalty.tier_facts_agg' END, f.query) END
	FROM loyalty.ladder_facts($1, $2) f
$$;
COMMENT ON FUNCTION facts_by_member(text, text) IS
'The query that gathers what ladder_facts() reads, a row for each member. Part of evaluate_tiers().';

CREATE FUNCTION members_evaluated_alone(ladder text, behind bigint, up_to bigint) RETURNS SETOF bigint
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	RETURN QUERY
	SELECT g.member_id FROM loyalty.tier_grant g
	WHERE g.ladder = $1 AND (behind IS NULL OR g.member_id > behind) AND g.member_id <= up_to
	UNION
	SELECT t.absorbed_id FROM loyalty.tier_merge t WHERE (behind IS NULL OR t.absorbed_id > behind) AND t.absorbed_id <= up_to
	UNION
	SELECT t.survivor_id FROM loyalty.tier_merge t WHERE (behind IS NULL OR t.survivor_id > behind) AND t.survivor_id <= up_to
	UNION
	SELECT j.member_id FROM loyalty.tier_joined j WHERE (behind IS NULL OR j.member_id > behind) AND j.member_id <= up_to;
END
$$;
COMMENT ON FUNCTION members_evaluated_alone(text, bigint, bigint) IS
'Of the members behind one, as far as another, those whose tiers depend on more than their facts: grants, merges or a date of their own. Part of evaluate_tiers().';

CREATE FUNCTION is_sampled(ladder text) RETURNS boolean
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM loyalty.ladder_version v, jsonb_array_elements(v.definition->'measures') d
		JOIN loyalty.tier_measure t ON t.measure = d->>'measure' AND t.source = 'function' WHERE v.ladder = $1)
$$;
COMMENT ON FUNCTION is_sampled(text) IS 'Whether a ladder counts a measure that is a function. Part of evaluate_tiers().';

CREATE FUNCTION members_with_facts(ladder text, as_of timestamptz, behind bigint, up_to bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	of_functions CONSTANT boolean := loyalty.is_sampled(ladder);
	measures CONSTANT text[] := ARRAY(SELECT DISTINCT d ->> 'measure' FROM loyalty.ladder_version v, jsonb_array_elements(v.definition -> 'measures') d WHERE v.ladder = $1);
	currencies CONSTANT text[] := ARRAY(SELECT m.currency FROM loyalty.tier_measure m WHERE m.measure = ANY (measures) AND m.source = 'points');
	before_available CONSTANT text[] := ARRAY(SELECT m.currency FROM loyalty.tier_measure m WHERE m.measure = ANY (measures) AND m.source = 'points' AND m.pending);
BEGIN
	-- what is reversed stands with its member, and whose points wait for an event has them with the event
	RETURN ARRAY(
		SELECT e.member_id FROM loyalty.all_entries() e
		WHERE (behind IS NULL OR e.member_id > behind) AND e.member_id <= up_to AND e.currency = ANY (currencies)
			AND (e.kind IN ('earn', 'adjust') AND (e.available_at IS NOT NULL OR e.requested <= 0 OR e.currency = ANY (before_available)) OR e.kind = 'activate')
		UNION
		SELECT e.member_id FROM loyalty.tier_event e
		WHERE (behind IS NULL OR e.member_id > behind) AND e.member_id <= up_to AND e.measure = ANY (measures)
		UNION
		SELECT s.member_id FROM loyalty.tier_state s WHERE (behind IS NULL OR s.member_id > behind) AND s.member_id <= up_to
			AND (of_functions OR s.ladder = $1 AND (s.next_at <= as_of OR s.machine IS NULL))
		UNION
		SELECT w.member_id FROM loyalty.wallet w WHERE of_functions AND (behind IS NULL OR w.member_id > behind) AND w.member_id <= up_to
		UNION
		SELECT g.member_id FROM loyalty.tier_grant g WHERE g.ladder = $1 AND (behind IS NULL OR g.member_id > behind) AND g.member_id <= up_to
		UNION
		SELECT j.member_id FROM loyalty.tier_joined j WHERE (behind IS NULL OR j.member_id > behind) AND j.member_id <= up_to
		ORDER BY 1);
END
$$;
COMMENT ON FUNCTION members_with_facts(text, timestamptz, bigint, bigint) IS
'Where tables are spread, of the members behind one, as far as another: those who have facts of a ladder, or whose tiers depend on more than these. What is stored of them is compared on the machine of each. Part of evaluate_tiers().';

CREATE FUNCTION tiers_to_evaluate(ladder text, as_of timestamptz, behind bigint, up_to bigint) RETURNS bigint[]
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan SET jit = off
-- statistics may be missing, as after backfill(): then a hash of the facts of all would not fit; and how many members have facts nobody
-- can estimate, so that states are not looked up one by one
SET enable_hashagg = off SET enable_nestloop = off
AS $$
DECLARE
	alone bigint[];
	plain record;
	members text;
	differing bigint[];
BEGIN
	IF loyalty.tables_are_spread() THEN
		RETURN loyalty.members_with_facts(ladder, as_of, behind, up_to);
	END IF;
	alone := ARRAY(SELECT loyalty.members_evaluated_alone(ladder, behind, up_to));
	SELECT p.differing, p.undecided INTO plain FROM loyalty.compare_plain_tiers(ladder, as_of, behind, up_to) p;
	IF plain.undecided IS NULL OR cardinality(plain.undecided) > 0 THEN
		members := CASE WHEN plain.undecided IS NULL THEN '($4 IS NULL OR %1$s.member_id > $4) AND %1$s.member_id <= $5'
			ELSE '%1$s.member_id = ANY ($6)' END;
		EXECUTE format($q$
			SELECT array_agg(f.member_id) FROM (%s) f
			LEFT JOIN loyalty.tier_state s ON s.member_id = f.member_id AND s.ladder = $1 AND %s
			WHERE f.facts IS NOT NULL AND NOT EXISTS (SELECT FROM unnest($3) a (id) WHERE a.id = f.member_id)
				AND (s.member_id IS NULL OR NOT loyalty.stored_tier_is(f.facts, s, $1, $2))$q$,
			loyalty.facts_by_member(ladder, format(members, 'e')), format(members, 's'))
		INTO differing USING ladder, as_of, alone, behind, up_to, plain.undecided;
	END IF;
	RETURN ARRAY(
		SELECT unnest(plain.differing)
		UNION
		SELECT unnest(differing)
		UNION
		SELECT unnest(alone)
		UNION
		SELECT s.member_id FROM loyalty.tier_state s
		WHERE s.ladder = $1 AND (behind IS NULL OR s.member_id > behind) AND s.member_id <= up_to
			AND (s.next_at <= as_of OR s.machine IS NULL) AND plain.undecided IS NULL
		UNION
		-- whom the functions behind measures are asked about
		SELECT m.member_id
		FROM (SELECT s.member_id FROM loyalty.tier_state s WHERE (behind IS NULL OR s.member_id > behind) AND s.member_id <= up_to
			UNION SELECT w.member_id FROM loyalty.wallet w WHERE (behind IS NULL OR w.member_id > behind) AND w.member_id <= up_to) m
		WHERE loyalty.is_sampled($1)
		ORDER BY 1);
END
$$;
COMMENT ON FUNCTION tiers_to_evaluate(text, timestamptz, bigint, bigint) IS
'Of the members behind one, as far as another: those whose stored tier on a ladder is, or may be, not what their facts give, and those of whom nothing is stored. Writes and locks nothing. Part of evaluate_tiers().';

CREATE FUNCTION store_first_tiers(member_ids bigint[], ladder text, as_of timestamptz) RETURNS bigint[]
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET enable_hashagg = off
AS $$
DECLARE
	stored bigint[];
BEGIN
	-- what changes is told of one at a time; where tables are spread it is one
	IF loyalty.is_heard('tier_changed') OR loyalty.tables_are_spread() THEN
		RETURN '{}';
	END IF;
	-- Where somebody is faster, with a fact that this statement does not see, the
	-- state is there, and is left. In the order in which postings lock.
	EXECUTE format($q$
		WITH computed AS MATERIALIZED (
			SELECT m.member_id, loyalty.first_tier(NULL::loyalty.tier_state, m.member_id, $1, m.facts, $2, $3) AS t
			FROM (SELECT f.member_id, f.facts FROM (%s) f
				WHERE f.facts IS NOT NULL ORDER BY f.member_id OFFSET 0) m
		), first AS (
			INSERT INTO loyalty.tier_state (%s)
			SELECT %s FROM (SELECT (d.t).state FROM computed d) r
			ON CONFLICT DO NOTHING RETURNING member_id
		), steps AS (
			INSERT INTO loyalty.tier_history (member_id, ladder, starts_at, ends_at, level, event, reason, valid_until)
			SELECT d.member_id, $1, p.starts_at, (d.t).step_starts[p.n + 1], p.level, p.event, p.reason, p.valid_until
			FROM first JOIN computed d ON d.member_id = first.member_id
			CROSS JOIN LATERAL unnest((d.t).step_starts, (d.t).step_levels, (d.t).step_events, (d.t).step_reasons, (d.t).step_valid_untils)
				WITH ORDINALITY p(starts_at, level, event, reason, valid_until, n)
		)
		SELECT array_agg(f.member_id) FROM first f$q$,
		loyalty.facts_by_member(ladder, 'e.member_id = ANY ($4)'),
		(SELECT string_agg(c, ', ') FROM unnest(loyalty.tier_state_columns()) c),
		(SELECT string_agg('(r.state).' || c, ', ') FROM unnest(loyalty.tier_state_columns()) c))
	INTO stored USING ladder, as_of, pg_current_xact_id()::text::bigint,
		-- of whom nothing is stored, and who depends on nothing but facts
		ARRAY(SELECT m.id FROM unnest(member_ids) m (id)
			WHERE NOT EXISTS (SELECT FROM loyalty.tier_state s WHERE s.member_id = m.id AND s.ladder = store_first_tiers.ladder)
				AND NOT EXISTS (SELECT FROM loyalty.tier_history h WHERE h.member_id = m.id AND h.ladder = store_first_tiers.ladder)
				AND NOT EXISTS (SELECT FROM loyalty.tier_grant g WHERE g.member_id = m.id AND g.ladder = store_first_tiers.ladder)
				AND NOT EXISTS (SELECT FROM loyalty.tier_merge t WHERE t.absorbed_id = m.id)
				AND NOT EXISTS (SELECT FROM loyalty.tier_merge t WHERE t.survivor_id = m.id)
				AND NOT EXISTS (SELECT FROM loyalty.tier_joined j WHERE j.member_id = m.id));
	-- what is noted on a wallet is of another state, which is gone
	PERFORM loyalty.maintain_tier(w.member_id, ladder, as_of)
	FROM (SELECT x.member_id FROM loyalty.wallet x WHERE x.member_id = ANY (stored) AND x.tiers IS NOT NULL ORDER BY 1) w;
	RETURN coalesce(stored, '{}');
END
$$;
COMMENT ON FUNCTION store_first_tiers(bigint[], text, timestamptz) IS
'Stores tiers and histories of those of some members who have facts and of whom nothing is stored on a ladder, and returns who these were; nobody where changes of tiers are heard of. Part of evaluate_tiers().';

CREATE FUNCTION existing_ladder(ladder text) RETURNS text
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF ladder IS NULL OR NOT EXISTS (SELECT FROM loyalty.ladder l WHERE l.ladder = existing_ladder.ladder) THEN
		RAISE EXCEPTION 'ladder "%" does not exist', ladder
			USING ERRCODE = 'LY402', DETAIL = 'The table loyalty.ladder has no row with this code.',
				HINT = 'Create it with loyalty.define_ladder(), or see the table loyalty.ladder.';
	END IF;
	RETURN ladder;
END
$$;
COMMENT ON FUNCTION existing_ladder(text) IS 'Answers with the ladder; LY402 when there is no such one.';

CREATE FUNCTION evaluate_tiers_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	one text;
	sampled record;
	sampled_ids bigint[] := '{}';
	sampled_measures text[] := '{}';
	first_ids bigint[];
	members bigint[] := '{}';
	ladders text[] := '{}';
	total bigint := 0;
BEGIN
	as_of := loyalty.past_instant(as_of);
	FOR one IN SELECT l.ladder FROM loyalty.ladder l WHERE scope IS NULL OR l.ladder = scope ORDER BY 1 LOOP
		SELECT array_agg(s.sampled_id) AS ids, array_agg(s.sampled) AS measures INTO sampled
		FROM loyalty.sample_measures(member_ids, one, as_of) s WHERE loyalty.is_sampled(one);
		sampled_ids := sampled_ids || sampled.ids;
		sampled_measures := sampled_measures || sampled.measures;
		first_ids := loyalty.store_first_tiers(member_ids, one, as_of);
		total := total + cardinality(first_ids);
		SELECT members || array_agg(u.id), ladders || array_agg(one) INTO members, ladders
		FROM (SELECT m.id FROM unnest(member_ids) m (id) EXCEPT SELECT f.id FROM unnest(first_ids) f (id)) u;
	END LOOP;
	-- in the order in which postings lock; a sampled value was stored on all
	-- ladders that count it
	RETURN total + (SELECT count(*) FROM (
		SELECT d.member_id, d.ladder
		FROM (SELECT u.member_id, u.ladder FROM unnest(members, ladders) u(member_id, ladder) ORDER BY u.member_id, u.ladder OFFSET 0) d
		WHERE loyalty.maintain_tier(d.member_id, d.ladder, as_of)
		UNION
		SELECT u.member_id, v.ladder FROM unnest(sampled_ids, sampled_measures) u(member_id, measure)
		JOIN (SELECT DISTINCT x.ladder, m->>'measure' AS measure FROM loyalty.ladder_version x, jsonb_array_elements(x.definition->'measures') m) v
			ON v.measure = u.measure) stored);
END
$$;
COMMENT ON FUNCTION evaluate_tiers_of(bigint[], timestamptz, text) IS
'Computes the tiers of some members on a ladder (scope; NULL: on each) and stores what differs; returns how many states that were. What evaluate_member_tiers() does, and evaluate_tiers() by run_batch(). Part of evaluate_tiers() and evaluate_member_tiers().';

CREATE FUNCTION evaluate_member_tiers(member_id bigint, ladder text DEFAULT NULL, as_of timestamptz DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF member_id IS NULL THEN
		RAISE EXCEPTION 'member_id must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'It is one member whose tiers are evaluated.',
				HINT = 'CALL loyalty.evaluate_tiers() for all.';
	END IF;
	IF ladder IS NOT NULL THEN
		ladder := loyalty.existing_ladder(ladder);
	END IF;
	RETURN loyalty.evaluate_tiers_of(ARRAY[member_id], as_of, ladder);
END
$$;
COMMENT ON FUNCTION evaluate_member_tiers(bigint, text, timestamptz) IS
'Computes the tiers of a member on a ladder (NULL: on each) from the facts, samples measures that are functions, and stores what differs, of the history, too; returns how many states that were, on all ladders that count what was sampled. as_of: not in the future (NULL: now). For all members there is the job evaluate_tiers(). Errors: LY402 ladder, LY003.';

CREATE FUNCTION next_evaluate_tiers(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, ladder text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	last bigint;
	ladders CONSTANT text[] := ARRAY(SELECT l.ladder FROM loyalty.ladder l WHERE next_evaluate_tiers.ladder IS NULL OR l.ladder = next_evaluate_tiers.ladder);
BEGIN
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.ledger') + loyalty.estimated_rows('loyalty.tier_event') END;
	-- who has a wallet and no entry may be asked about, and has no facts otherwise
	up_to := loyalty.next_members(behind, 400000, '{ledger,tier_event,tier_state,tier_grant}'::text[] || CASE WHEN EXISTS (SELECT FROM unnest(ladders) l (ladder)
		WHERE loyalty.is_sampled(l.ladder)) THEN '{wallet}'::text[] END);
	last := coalesce(up_to, 9223372036854775807);
	seen := loyalty.rows_of_members(behind, last, '{ledger,tier_event}');
	SELECT array_agg(m.id ORDER BY l.ladder, m.id), array_agg(l.ladder ORDER BY l.ladder, m.id) INTO members, scopes
	FROM unnest(ladders) l (ladder), unnest(loyalty.tiers_to_evaluate(l.ladder, as_of, behind, last)) m (id);
END
$$;
COMMENT ON FUNCTION next_evaluate_tiers(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members, with about 400000 facts, and those whose stored tier on a ladder (NULL: on any) may be another. Part of evaluate_tiers(), by run_job().';

CREATE PROCEDURE evaluate_tiers(ladder text DEFAULT NULL, as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	IF ladder IS NOT NULL THEN
		ladder := loyalty.existing_ladder(ladder);
	END IF;
	CALL loyalty.run_job('evaluate_tiers', as_of, batch_size, 'facts', 'tiers stored', pg_catalog.jsonb_build_object('ladder', ladder), ladder);
END
$$;
COMMENT ON PROCEDURE evaluate_tiers(text, timestamptz, integer) IS
'Computes the tiers of all members who have facts, on a ladder (NULL: on each), samples measures that are functions, and stores what differs: after the first define_ladder() on members with facts, and after a new version. No answer of tier_of() changes by it. Compares without a lock, then commits after batch_size members that differ; one whom another session keeps locked is tried again at the end. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run: result is the number of states stored. Of members whose state is right the stored history is not looked at: evaluate_member_tiers(). Errors: LY402 ladder, LY006 it is running already, 25001 inside a transaction, LY003.';

CREATE FUNCTION book_tiers_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
	SELECT count(*) FILTER (WHERE loyalty.maintain_tier(d.member_id, d.ladder, $2) IS NOT NULL)
	FROM (SELECT s.member_id, s.ladder FROM loyalty.tier_state s
		WHERE s.member_id = ANY ($1) AND s.next_at <= $2 ORDER BY s.member_id, s.ladder OFFSET 0) d
$$;
COMMENT ON FUNCTION book_tiers_of(bigint[], timestamptz, text) IS
'Brings those states of some members up to an instant whose next_at has come; returns how many. Part of book_tiers(), by run_batch().';

CREATE FUNCTION next_book_tiers(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
	epoch CONSTANT timestamptz := '1970-01-01 00:00:00Z';
BEGIN
	-- what is booked is no longer due; several may be due at the instant at which the last batch ended
	SELECT (extract(epoch FROM max(d.next_at)) * 1000000)::bigint, count(*), array_agg(DISTINCT d.member_id) INTO up_to, seen, members
	FROM (SELECT s.member_id, s.next_at FROM loyalty.tier_state s
		WHERE s.next_at <= as_of AND (behind IS NULL OR s.next_at >= epoch + behind * interval '1 microsecond') AND s.member_id <> ALL (busy)
		ORDER BY s.next_at LIMIT batch_size) d;
	IF behind IS NULL THEN
		SELECT count(*) INTO total FROM loyalty.tier_state s WHERE s.next_at <= as_of;
	END IF;
END
$$;
COMMENT ON FUNCTION next_book_tiers(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The members of the next states that are due, in the order in which they are, but for the busy ones. Part of book_tiers(), by run_job().';

CREATE PROCEDURE book_tiers(as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('book_tiers', as_of, batch_size, 'tiers', 'tiers booked');
END
$$;
COMMENT ON PROCEDURE book_tiers(timestamptz, integer) IS
'Books what the clock did to tiers by as_of (default: now): states and history of those whose next_at has come. No answer of tier_of() changes by it. Commits after each batch_size tiers; a member whom another session keeps locked is tried again at the end, and then left to the next run. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';
