/*
 * tier: what entries of the ledger mean to measures of points.
 *
 * An earn or an adjust is a fact of its own instant; to a measure that counts
 * available points, of the instant at which they are.  A reversal of one is a
 * fact of the reversal's instant that counts at that of the entry it takes
 * back, and so is the reversal of a reversal, which gives back.  The reversal
 * of anything else is none.  Written for all who read the ledger: postings
 * (tier_entry.c), replays (tier_gather.c) and evaluate_tiers().
 */

CREATE FUNCTION points_available_at(requested bigint, effective_at timestamptz, available_at timestamptz, activated_at timestamptz)
RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT CASE WHEN $1 OPERATOR(pg_catalog.>) 0 AND ($3 OPERATOR(pg_catalog.>) $2) IS NOT FALSE
		THEN least(coalesce($3, 'infinity'), $4) ELSE $2 END
$$;
COMMENT ON FUNCTION points_available_at(bigint, timestamptz, timestamptz, timestamptz) IS
'From when on the points of an earn or adjust are available, given its columns and when they were activated (NULL: never): infinity while they wait for an event, its own instant where it takes points. Part of evaluate_tiers().';

CREATE FUNCTION reversed_points(wallets bigint[], target_entry_id bigint, known_at timestamptz)
RETURNS TABLE (home_id bigint, effective_at timestamptz, available_at timestamptz, taken_back boolean)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1 SUPPORT require_setup
AS $$
	SELECT coalesce(t.home_id, t.member_id), t.effective_at,
		loyalty.points_available_at(t.requested, t.effective_at, t.available_at, (SELECT pg_catalog.min(a.effective_at)
			FROM loyalty.all_entries() a WHERE a.member_id OPERATOR(pg_catalog.=) ANY ($1)
				AND a.target_entry_id OPERATOR(pg_catalog.=) t.entry_id AND a.kind OPERATOR(pg_catalog.=) 'activate'
				AND a.recorded_at OPERATOR(pg_catalog.<=) $3)),
		(t.requested OPERATOR(pg_catalog.>) 0) OPERATOR(pg_catalog.<>) (r.kind OPERATOR(pg_catalog.=) 'reverse')
	FROM loyalty.all_entries() r JOIN loyalty.all_entries() t ON t.member_id OPERATOR(pg_catalog.=) ANY ($1)
		AND t.entry_id OPERATOR(pg_catalog.=) CASE WHEN r.kind OPERATOR(pg_catalog.=) 'reverse' THEN r.target_entry_id ELSE r.entry_id END
		AND t.kind OPERATOR(pg_catalog.=) ANY ('{earn,adjust}')
	WHERE r.member_id OPERATOR(pg_catalog.=) ANY ($1) AND r.entry_id OPERATOR(pg_catalog.=) $2
$$;
COMMENT ON FUNCTION reversed_points(bigint[], bigint, timestamptz) IS
'Of a reversal whose target is given, the earn or adjust behind it: whose that is, its instant, when its points became available by what was known at an instant, and whether they are taken back (otherwise given back). No row where it reverses something else. wallets are the members in whose wallets all three may be recorded. Part of evaluate_tiers().';
