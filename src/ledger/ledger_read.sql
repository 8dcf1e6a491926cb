/*
 * ledger: balances, lots and statements, as of any instant.
 */

CREATE TYPE wallet_figures AS (available bigint, pending bigint, held bigint, debt bigint,
	next_expiry_at timestamptz, next_expiry_points bigint, earned bigint, redeemed bigint,
	expired bigint, revoked bigint, restored bigint, adjusted_up bigint, adjusted_down bigint,
	transferred_in bigint, transferred_out bigint);
COMMENT ON TYPE wallet_figures IS 'The figures that balance() shows.';

CREATE FUNCTION balance(member_id bigint, currency text DEFAULT 'points',
	as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL) RETURNS wallet_figures
LANGUAGE c STABLE PARALLEL SAFE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_balance';
COMMENT ON FUNCTION balance(bigint, text, timestamptz, timestamptz) IS
'The balance of a member in a currency, as of an instant and as known at another (NULL of either: now): points available, pending, held, owed (debt); when available points expire next, and how many; lifetime totals. One row, zeros where there is no wallet. Right even when no job ever ran. Reads only. Errors: LY102 unknown currency, LY003 infinite instant.';

CREATE FUNCTION lots(member_id bigint, currency text DEFAULT 'points',
	as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL)
RETURNS TABLE (lot_id bigint, points bigint, state text, earned_at timestamptz,
	available_at timestamptz, expires_at timestamptz, hold_id bigint)
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_lots';
COMMENT ON FUNCTION lots(bigint, text, timestamptz, timestamptz) IS
'The lots of a member in a currency that have points left, in consumption order, with their state (available, pending, held, expired) as of an instant (NULL: now); expires_at NULL is never, available_at NULL of pending points waits for activate(). lot_id is the id of the entry that opened it, of joined lots the first of them. Errors: LY102 unknown currency, LY003 no member_id or currency, infinite instant.';

CREATE FUNCTION statement(member_id bigint, currency text DEFAULT 'points',
	from_at timestamptz DEFAULT NULL, until_at timestamptz DEFAULT NULL,
	known_at timestamptz DEFAULT NULL)
RETURNS TABLE (entry_id bigint, effective_at timestamptz, recorded_at timestamptz, kind text,
	points bigint, available bigint, target_entry_id bigint, counterparty_id bigint, reference text, reason text)
LANGUAGE c STABLE PARALLEL SAFE ROWS 50 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_statement';
COMMENT ON FUNCTION statement(bigint, text, timestamptz, timestamptz, timestamptz) IS
'The entries of a member in a currency that are effective from from_at up to, and not at, until_at, recorded by known_at, by their instants; NULL is no bound. available is what could be redeemed after the entry, as of its own instant, as balance() has it then. Errors: LY102 unknown currency, LY003 no member_id or currency.';

CREATE FUNCTION expiring(member_id bigint, currency text DEFAULT 'points',
	until timestamptz DEFAULT NULL, as_of timestamptz DEFAULT now(), known_at timestamptz DEFAULT NULL)
RETURNS TABLE (expires_at timestamptz, points bigint, lots bigint)
LANGUAGE c STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_expiring';
COMMENT ON FUNCTION expiring(bigint, text, timestamptz, timestamptz, timestamptz) IS
'When the available and pending points of a member will expire, and how many, up to an instant (until; NULL: all that ever will), as of another (NULL: now). Held points are left out: they do not expire while they are held. Errors: LY102 unknown currency, LY003 no member_id or currency, infinite as_of or known_at.';

CREATE FUNCTION explain_entry(member_id bigint, entry_id bigint)
RETURNS TABLE (step bigint, lot_id bigint, points bigint, effect text, earned_at timestamptz, expires_at timestamptz, why text)
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- what an entry refers to is with its member, or with one who was merged with it
	RETURN QUERY
	WITH entry AS (
		SELECT e.*, k.kin, c.consumption_order, c.clawback_policy, c.expiry_policy,
			coalesce(loyalty.total_points(e.lots), CASE WHEN e.kind IN ('earn', 'adjust') AND e.points > 0 THEN e.points ELSE 0 END) AS in_lots,
			t.kind = 'reverse' AS undoes, t.kind = 'reverse' AND t.points <= 0 AS gives_back
		FROM loyalty.all_entries() e JOIN loyalty.currency c ON c.code = e.currency
		CROSS JOIN (SELECT loyalty.member_kin($1) AS kin OFFSET 0) k
		LEFT JOIN loyalty.all_entries() t ON t.member_id = ANY (k.kin) AND t.entry_id = e.target_entry_id
		WHERE e.member_id = $1 AND e.entry_id = $2
	), steps AS (
		-- the lots that were touched
		SELECT 1 AS part, u.ordinality, u.lot_id, u.points, u.earned_at, u.expires_at, u.hold_id, u.joined
		FROM entry e, loyalty.unnest_lots(e.lots) WITH ORDINALITY u
	), joined_target AS (
		-- the expiry of the joined lot in which the lot of a reversed earn is now:
		-- its own, or where lots are extended the first that is not earlier
		SELECT min(coalesce(s.expires_at, 'infinity')) AS expires_at
		FROM entry e, steps s,
			LATERAL (SELECT coalesce((SELECT a.expires_at FROM loyalty.all_entries() a
					WHERE a.member_id = t.member_id AND a.target_entry_id = t.entry_id AND a.kind = 'activate' LIMIT 1),
					t.expires_at, 'infinity') AS until
				FROM loyalty.all_entries() t WHERE t.member_id = ANY (e.kin) AND t.entry_id = e.target_entry_id OFFSET 0) t
		WHERE e.kind = 'reverse' AND e.points < 0 AND s.joined AND (coalesce(s.expires_at, 'infinity') = t.until
			OR e.expiry_policy = 'sliding' AND coalesce(s.expires_at, 'infinity') > t.until)
	)
	SELECT row_number() OVER (ORDER BY x.part, x.ordinality), x.lot_id, x.points, x.effect, x.earned_at, x.expires_at, x.why
	FROM (
		SELECT 1 AS part, s.ordinality, s.lot_id, s.points,
			CASE
				WHEN e.kind IN ('redeem', 'capture') THEN 'consumed'
				WHEN e.kind = 'hold' THEN 'set aside'
				WHEN e.kind = 'release' THEN 'released'
				WHEN e.kind = 'transfer_out' THEN 'sent'
				WHEN e.kind = 'transfer_in' THEN 'received'
				WHEN e.kind = 'reverse' AND e.points > 0 THEN 'given back'
				WHEN e.kind = 'reverse' THEN 'taken back'
				WHEN e.points > 0 THEN 'opened'
				ELSE 'consumed'
			END AS effect,
			s.earned_at, s.expires_at,
			CASE
				WHEN e.kind IN ('redeem', 'hold', 'transfer_out') OR (e.kind = 'adjust' AND e.points < 0) THEN
					format('available at %s; %s', e.effective_at,
						CASE e.consumption_order WHEN 'oldest_first' THEN 'the oldest is consumed first'
						ELSE 'the earliest to expire is consumed first' END)
				WHEN e.kind = 'capture' THEN format('set aside by hold %s', e.target_entry_id)
				WHEN e.kind = 'release' THEN format('back from hold %s', e.target_entry_id)
				WHEN e.kind = 'transfer_in' THEN format('sent by member %s; keeps its origin and expiry', e.counterparty_id)
				WHEN e.kind = 'reverse' AND e.points > 0 AND e.expires_at = s.expires_at THEN
					format('came from this lot in entry %s, and had expired; lives until %s', e.target_entry_id, e.expires_at)
				WHEN e.kind = 'reverse' AND e.points > 0 THEN
					format('came from this lot in entry %s; keeps its expiry', e.target_entry_id)
				WHEN e.undoes AND e.points < 0 AND EXISTS (SELECT FROM loyalty.all_entries() t, loyalty.unnest_lots(t.lots) g
						WHERE t.member_id = ANY (e.kin) AND t.entry_id = e.target_entry_id AND g.lot_id = s.lot_id) THEN
					format('entry %s had given back to this lot', e.target_entry_id)
				WHEN e.kind = 'reverse' AND s.lot_id = e.target_entry_id THEN 'the lot of the entry that is reversed'
				WHEN e.kind = 'reverse' AND s.joined AND coalesce(s.expires_at, 'infinity') = (SELECT j.expires_at FROM joined_target j) THEN
					'the lot of the entry that is reversed is part of this one'
				WHEN e.kind = 'reverse' THEN format('that lot had no more; clawback policy %s', e.clawback_policy)
				ELSE 'what is left after debt was repaid'
			END || CASE WHEN s.joined THEN '; lots of one expiry, joined: it has the id of the first' ELSE '' END AS why
		FROM steps s, entry e
		UNION ALL
		SELECT 0, 0, e.entry_id, e.points, 'opened', e.effective_at, e.expires_at,
			CASE
				WHEN e.available_at IS NULL THEN 'pending until it is activated'
				WHEN e.available_at > e.effective_at THEN format('pending until %s', e.available_at)
				ELSE 'available at once'
			END
		FROM entry e
		WHERE e.points > 0 AND e.kind IN ('earn', 'adjust') AND e.lots IS NULL
		UNION ALL
		SELECT 0, 0, NULL, e.points - e.in_lots, 'repaid debt', NULL, NULL,
			CASE e.kind WHEN 'reverse' THEN 'what had been owed is taken off the debt'
			WHEN 'transfer_in' THEN format('member %s has taken it over', e.counterparty_id)
			ELSE 'debt is repaid before a lot is opened' END
		FROM entry e
		WHERE e.kind IN ('earn', 'adjust', 'reverse', 'transfer_in') AND e.points > e.in_lots
		UNION ALL
		SELECT 2, 0, NULL, -e.points - e.in_lots, 'became debt', NULL, NULL,
			CASE e.kind WHEN 'transfer_out' THEN format('member %s had owed it', e.counterparty_id)
			ELSE format('no lot had it; clawback policy %s', e.clawback_policy) END
		FROM entry e
		WHERE e.kind IN ('reverse', 'transfer_out') AND e.points < 0 AND -e.points > e.in_lots
		UNION ALL
		SELECT 3, 0, NULL, e.requested + e.points, 'not taken', NULL, NULL,
			format('clawback policy %s reaches no further', e.clawback_policy)
		FROM entry e
		WHERE e.kind = 'reverse' AND e.points <= 0 AND e.requested > -e.points AND e.gives_back IS NOT TRUE
		UNION ALL
		SELECT 3, 0, NULL, e.requested - e.points, 'not given back', NULL, NULL,
			format('entry %s had not taken it', e.target_entry_id)
		FROM entry e
		WHERE e.gives_back AND e.requested > e.points
		UNION ALL
		SELECT 0, 0, e.target_entry_id, e.requested, 'activated', NULL, e.expires_at, 'pending points are available from now on'
		FROM entry e
		WHERE e.kind = 'activate'
		UNION ALL
		SELECT 0, 0, NULL, e.requested, 'booked', NULL, NULL,
			format('expired by %s; the balance had it so already', e.effective_at)
		FROM entry e
		WHERE e.kind = 'expire'
		UNION ALL
		SELECT 4, 0, NULL, NULL, 'extended', NULL, e.extends_to, 'sliding expiry: every open lot lives at least until then'
		FROM entry e
		WHERE e.extends_to IS NOT NULL
	) x
	ORDER BY 1;
END
$$;
COMMENT ON FUNCTION explain_entry(bigint, bigint) IS
'Which lots an entry touched, what it did to them, and why, one row for each. Beyond 64 lots of a wallet, those that are available and expire at the same instant are joined: the row then stands for all of them, under the id and origin of the first. No rows when the member has no such entry.';
