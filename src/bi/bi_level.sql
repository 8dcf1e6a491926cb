/*
 * bi: views of tiers.
 *
 * A stored state says all between its last step and the next one, if it knows
 * every version of the ladder, and that does not ask for households; otherwise
 * the level is computed from the facts.
 */

CREATE FUNCTION setup_level_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.member_level AS
	SELECT m.member_id, l.ladder, t.level, n.name, n.rank, t.starts_at, t.valid_until
	FROM (SELECT x.member_id FROM loyalty.member x UNION SELECT x.member_id FROM loyalty.wallet x UNION SELECT x.member_id FROM loyalty.tier_state x) m
	CROSS JOIN (SELECT v.ladder, count(*) AS versions, max(v.version) FILTER (WHERE coalesce(v.effective_from, '-infinity') <= statement_timestamp()) AS version,
			coalesce(bool_or(v.definition ->> 'household' = 'best'), false) AS asks_household
		FROM loyalty.ladder_version v GROUP BY v.ladder) l
	LEFT JOIN loyalty.tier_state s ON s.member_id = m.member_id AND s.ladder = l.ladder AND s.versions = l.versions AND NOT l.asks_household
		AND s.event_at <= statement_timestamp() AND (s.next_at IS NULL OR s.next_at > statement_timestamp())
	LEFT JOIN LATERAL (
		SELECT s.level COLLATE "C" AS level, s.event_at AS starts_at, s.valid_until WHERE s.member_id IS NOT NULL
		UNION ALL
		(SELECT h.level COLLATE "C", h.starts_at, h.valid_until FROM loyalty.member_tiers(m.member_id, l.ladder) h
			WHERE s.member_id IS NULL ORDER BY h.starts_at DESC LIMIT 1)) t ON true
	LEFT JOIN loyalty.tier_level n ON n.ladder = l.ladder AND n.version = l.version AND n.level = t.level
	WHERE NOT EXISTS (SELECT FROM loyalty.member_alias a WHERE a.member_id = m.member_id)
		AND NOT EXISTS (SELECT FROM loyalty.member n WHERE n.member_id = m.member_id AND n.status = 'no_person');
	COMMENT ON VIEW loyalty_bi.member_level IS 'Which level persons have, now: a row for each member and ladder, also without one, and none for households and gift cards.';
	COMMENT ON COLUMN loyalty_bi.member_level.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.member_level.ladder IS 'The ladder.';
	COMMENT ON COLUMN loyalty_bi.member_level.level IS 'The level; NULL: none.';
	COMMENT ON COLUMN loyalty_bi.member_level.name IS 'Its name.';
	COMMENT ON COLUMN loyalty_bi.member_level.rank IS 'Its rank, from 1, the lowest.';
	COMMENT ON COLUMN loyalty_bi.member_level.starts_at IS 'When the last step was: reached, renewed, lowered; NULL: there was none.';
	COMMENT ON COLUMN loyalty_bi.member_level.valid_until IS 'Until when it holds as things stand; NULL: without end.';

	CREATE OR REPLACE VIEW loyalty_bi.level_now AS
	SELECT m.ladder, m.level, m.name, m.rank, count(*) AS members
	FROM loyalty_bi.member_level m GROUP BY 1, 2, 3, 4;
	COMMENT ON VIEW loyalty_bi.level_now IS 'How many members have which level, now: a row for each ladder and level that somebody has, and one for those without.';
	COMMENT ON COLUMN loyalty_bi.level_now.ladder IS 'The ladder.';
	COMMENT ON COLUMN loyalty_bi.level_now.level IS 'The level; NULL: none.';
	COMMENT ON COLUMN loyalty_bi.level_now.name IS 'Its name.';
	COMMENT ON COLUMN loyalty_bi.level_now.rank IS 'Its rank, from 1, the lowest.';
	COMMENT ON COLUMN loyalty_bi.level_now.members IS 'How many members.';

	CREATE OR REPLACE VIEW loyalty_bi.level_move AS
	SELECT h.member_id, h.ladder, h.starts_at AS at, (h.starts_at AT TIME ZONE p.time_zone)::date AS local_day, h.event,
		lag(h.level) OVER (PARTITION BY h.member_id, h.ladder ORDER BY h.starts_at) AS from_level, h.level AS to_level, h.reason
	FROM loyalty.program p CROSS JOIN (
		SELECT m.member_id, l.ladder, t.starts_at, t.event, t.level, t.reason
		FROM (SELECT x.member_id FROM loyalty.member x UNION SELECT x.member_id FROM loyalty.wallet x UNION SELECT x.member_id FROM loyalty.tier_state x) m
		CROSS JOIN (SELECT v.ladder, count(*) AS versions, coalesce(bool_or(v.definition ->> 'household' = 'best'), false) AS asks_household FROM loyalty.ladder_version v GROUP BY v.ladder) l
		LEFT JOIN loyalty.tier_state s ON s.member_id = m.member_id AND s.ladder = l.ladder AND s.versions = l.versions AND NOT l.asks_household
			AND s.event_at <= statement_timestamp() AND (s.next_at IS NULL OR s.next_at > statement_timestamp())
		CROSS JOIN LATERAL (
			SELECT y.starts_at, y.event COLLATE "C" AS event, y.level COLLATE "C" AS level, y.reason COLLATE "C" AS reason FROM loyalty.tier_history y
			WHERE y.member_id = s.member_id AND y.ladder = s.ladder AND y.starts_at <= statement_timestamp()
			UNION ALL
			SELECT y.starts_at, y.event COLLATE "C", y.level COLLATE "C", y.reason COLLATE "C" FROM loyalty.member_tiers(m.member_id, l.ladder) y WHERE s.member_id IS NULL) t
		WHERE NOT EXISTS (SELECT FROM loyalty.member_alias a WHERE a.member_id = m.member_id)
			AND NOT EXISTS (SELECT FROM loyalty.member n WHERE n.member_id = m.member_id AND n.status = 'no_person')) h;
	COMMENT ON VIEW loyalty_bi.level_move IS 'Who came from which level to which, up to now: a row for each step of a member on a ladder, renewals included.';
	COMMENT ON COLUMN loyalty_bi.level_move.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.level_move.ladder IS 'The ladder.';
	COMMENT ON COLUMN loyalty_bi.level_move.at IS 'When.';
	COMMENT ON COLUMN loyalty_bi.level_move.local_day IS 'On which day that was.';
	COMMENT ON COLUMN loyalty_bi.level_move.event IS 'enrolled, upgraded, renewed, grace_started, downgraded, locked or expired.';
	COMMENT ON COLUMN loyalty_bi.level_move.from_level IS 'The level before; NULL: none.';
	COMMENT ON COLUMN loyalty_bi.level_move.to_level IS 'The level from then on; NULL: none.';
	COMMENT ON COLUMN loyalty_bi.level_move.reason IS 'Why.';
END
$$;
COMMENT ON FUNCTION setup_level_views() IS 'Makes the views member_level, level_now and level_move of schema loyalty_bi. Part of setup().';
