/*
 * bi: views of points.
 */

CREATE FUNCTION setup_points_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	CREATE OR REPLACE VIEW loyalty_bi.wallet AS
	SELECT w.member_id, w.currency, loyalty.available(w.balance, n.at) AS available, loyalty.pending(w.balance, n.at) AS pending,
		loyalty.held(w.balance, n.at) AS held, loyalty.debt(w.balance, n.at) AS debt, loyalty.expired(w.balance, n.at) AS expired,
		loyalty.next_expiry_at(w.balance, n.at) AS next_expiry_at, loyalty.next_expiry_points(w.balance, n.at) AS next_expiry_points,
		loyalty.earned(w.balance) AS earned, loyalty.redeemed(w.balance) AS redeemed, loyalty.restored(w.balance) AS restored,
		loyalty.revoked(w.balance) AS revoked, loyalty.adjusted_up(w.balance) AS adjusted_up, loyalty.adjusted_down(w.balance) AS adjusted_down,
		loyalty.transferred_in(w.balance) AS transferred_in, loyalty.transferred_out(w.balance) AS transferred_out, w.opened_at
	FROM loyalty.wallet w
	CROSS JOIN LATERAL (SELECT greatest(statement_timestamp(), loyalty.last_effective_at(w.balance)) AS at OFFSET 0) n
	WHERE w.moved IS NOT TRUE;
	COMMENT ON VIEW loyalty_bi.wallet IS 'What members have, now: a row for each member and currency. Members who were merged into others are left out: their points are with those.';
	COMMENT ON COLUMN loyalty_bi.wallet.member_id IS 'The member.';
	COMMENT ON COLUMN loyalty_bi.wallet.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.wallet.available IS 'Points that the member may redeem now.';
	COMMENT ON COLUMN loyalty_bi.wallet.pending IS 'Points that are not available yet.';
	COMMENT ON COLUMN loyalty_bi.wallet.held IS 'Points set aside by holds.';
	COMMENT ON COLUMN loyalty_bi.wallet.debt IS 'Points that the member owes.';
	COMMENT ON COLUMN loyalty_bi.wallet.expired IS 'Points that have expired, ever, booked or not.';
	COMMENT ON COLUMN loyalty_bi.wallet.next_expiry_at IS 'When points expire next; NULL: none ever will.';
	COMMENT ON COLUMN loyalty_bi.wallet.next_expiry_points IS 'How many then.';
	COMMENT ON COLUMN loyalty_bi.wallet.earned IS 'Points earned, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.redeemed IS 'Points redeemed, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.restored IS 'Points given back by refunds, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.revoked IS 'Points taken back by returns, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.adjusted_up IS 'Points given by adjustments, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.adjusted_down IS 'Points taken by adjustments, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.transferred_in IS 'Points received from other members, merged ones included, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.transferred_out IS 'Points sent to other members, ever.';
	COMMENT ON COLUMN loyalty_bi.wallet.opened_at IS 'When the wallet was opened.';

	CREATE OR REPLACE VIEW loyalty_bi.movement AS
	SELECT coalesce(a.canonical_id, e.member_id) AS member_id, e.entry_id, e.currency, e.movement, e.points, e.effective_at AS at,
		(e.effective_at AT TIME ZONE p.time_zone)::date AS local_day, e.recorded_at, e.member_id AS posted_to, coalesce(b.canonical_id, e.counterparty_id) AS counterparty_id, e.reference, e.reason
	FROM (SELECT l.member_id, l.entry_id, l.currency, l.points, l.effective_at, l.recorded_at, l.counterparty_id, l.reference, l.reason,
			loyalty.movement_of(l.kind, l.points, CASE WHEN l.kind = 'reverse' THEN loyalty.kind_of_target(l.member_id, l.target_entry_id) END) AS movement
		FROM loyalty.all_entries() l) e
	CROSS JOIN loyalty.program p
	LEFT JOIN loyalty.member_alias a ON a.member_id = e.member_id
	LEFT JOIN loyalty.member_alias b ON b.member_id = e.counterparty_id
	WHERE e.movement IS NOT NULL;
	COMMENT ON VIEW loyalty_bi.movement IS 'What moved points: a row for each entry of the ledger that did. Expiry is no movement here, since it needs no entry: see loyalty_bi.expiry.';
	COMMENT ON COLUMN loyalty_bi.movement.member_id IS 'The member, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.movement.entry_id IS 'Id of the entry.';
	COMMENT ON COLUMN loyalty_bi.movement.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.movement.movement IS 'earned, redeemed, returned, refunded, undone, adjusted, received or sent; see movement_of().';
	COMMENT ON COLUMN loyalty_bi.movement.points IS 'Points, signed.';
	COMMENT ON COLUMN loyalty_bi.movement.at IS 'When it happened.';
	COMMENT ON COLUMN loyalty_bi.movement.local_day IS 'On which day that was.';
	COMMENT ON COLUMN loyalty_bi.movement.recorded_at IS 'When the database learned of it.';
	COMMENT ON COLUMN loyalty_bi.movement.posted_to IS 'The member under whose number it stands.';
	COMMENT ON COLUMN loyalty_bi.movement.counterparty_id IS 'The other member of a transfer, or who stands for it now.';
	COMMENT ON COLUMN loyalty_bi.movement.reference IS 'The caller''s own reference, such as an order number.';
	COMMENT ON COLUMN loyalty_bi.movement.reason IS 'Why an operator made an adjustment.';

	CREATE OR REPLACE VIEW loyalty_bi.points_by_day AS
	SELECT u.currency, u.local_day, u.movement, sum(u.entries)::bigint AS entries, sum(u.points) AS points
	FROM (SELECT d.currency, d.local_day, d.movement, d.entries, d.points
		FROM loyalty.points_day d, loyalty.points_day_to t, loyalty.program p WHERE t.time_zone = p.time_zone
		UNION ALL
		SELECT e.currency, (e.effective_at AT TIME ZONE p.time_zone)::date, e.movement, 1, e.points
		FROM (SELECT l.currency, l.effective_at, l.points, loyalty.movement_of(l.kind, l.points,
				CASE WHEN l.kind = 'reverse' THEN loyalty.kind_of_target(l.member_id, l.target_entry_id) END) AS movement
			FROM loyalty.all_entries() l
			WHERE l.entry_id > (SELECT coalesce(max(t.entry_id), 0) FROM loyalty.points_day_to t, loyalty.program z WHERE z.time_zone = t.time_zone)) e,
			loyalty.program p
		WHERE e.movement IS NOT NULL) u
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.points_by_day IS 'What moved points, day by day: a row for each currency, day and movement. What refresh_summaries() has added up, and what was posted since.';
	COMMENT ON COLUMN loyalty_bi.points_by_day.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.points_by_day.local_day IS 'The day.';
	COMMENT ON COLUMN loyalty_bi.points_by_day.movement IS 'As in loyalty_bi.movement.';
	COMMENT ON COLUMN loyalty_bi.points_by_day.entries IS 'How many entries.';
	COMMENT ON COLUMN loyalty_bi.points_by_day.points IS 'Their points, signed.';

	CREATE OR REPLACE VIEW loyalty_bi.expiry AS
	SELECT w.currency, (l.expires_at AT TIME ZONE p.time_zone)::date AS local_day, l.state = 'expired' AS expired,
		sum(l.points) AS points, count(DISTINCT w.member_id) AS members
	FROM loyalty.program p, loyalty.wallet w
	CROSS JOIN LATERAL loyalty.balance_lots(w.balance, greatest(statement_timestamp(), loyalty.last_effective_at(w.balance))) l
	WHERE w.moved IS NOT TRUE AND l.expires_at IS NOT NULL AND l.state <> 'held'
	GROUP BY 1, 2, 3;
	COMMENT ON VIEW loyalty_bi.expiry IS 'What expires when, and what has: a row for each currency and day, two where the day is not over. No job is needed for it to be right. Held points are left out: they do not expire while they are held.';
	COMMENT ON COLUMN loyalty_bi.expiry.currency IS 'Code of the currency.';
	COMMENT ON COLUMN loyalty_bi.expiry.local_day IS 'The day on which the points expire.';
	COMMENT ON COLUMN loyalty_bi.expiry.expired IS 'Whether they have; otherwise they will, unless they are redeemed.';
	COMMENT ON COLUMN loyalty_bi.expiry.points IS 'How many points.';
	COMMENT ON COLUMN loyalty_bi.expiry.members IS 'Of how many members.';
END
$$;
COMMENT ON FUNCTION setup_points_views() IS 'Makes the views wallet, movement, points_by_day and expiry of schema loyalty_bi. Part of setup().';
