/*
 * rule: readers.
 */

CREATE FUNCTION awards(member_id bigint, as_of timestamptz DEFAULT NULL, known_at timestamptz DEFAULT NULL, OUT activity_id bigint,
	OUT campaign text, OUT version integer, OUT effect integer, OUT kind text, OUT currency text, OUT points bigint, OUT wanted bigint,
	OUT limited_by text, OUT kept_because text, OUT cause text, OUT window_start date, OUT item text, OUT item_id bigint, OUT at timestamptz) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE ROWS 50 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN a.window_start IS NULL AND a.cause IS NULL THEN a.activity_id END, a.campaign, (array_agg(a.version ORDER BY a.award_id DESC))[1], a.effect, a.kind, a.currency,
		sum(a.points)::bigint, (array_agg(a.wanted ORDER BY a.award_id DESC))[1], (array_agg(a.limited_by ORDER BY a.award_id DESC))[1],
		(array_agg(a.kept_because ORDER BY a.award_id DESC))[1], a.cause, a.window_start, a.item, (array_agg(a.item_id ORDER BY a.award_id DESC))[1], (array_agg(a.at ORDER BY a.award_id DESC))[1]
	FROM loyalty.award a
	WHERE a.member_id = ANY (loyalty.member_tree(loyalty.canonical_member($1)))
		AND a.at <= coalesce($2, 'infinity') AND a.recorded_at <= coalesce($3, 'infinity')
	GROUP BY a.member_id, 1, a.campaign, a.effect, a.kind, a.currency, a.cause, a.window_start, a.item
	ORDER BY min(a.award_id)
$$;
COMMENT ON FUNCTION awards(bigint, timestamptz, timestamptz) IS
'What a member''s activities hold by campaigns: of those that happened up to an instant (as_of), as known at another (known_at). One row for each effect of a campaign and activity, or window, or cause: points is what is left of it, wanted what it would be without limits, limited_by the limit. Of what is no points (kind coupon, grant, message, and what other rooms have) item says which, and points are 1, or 0 where it was taken back; kept_because says why it was not.';

CREATE FUNCTION explain_award(member_id bigint, activity_id bigint, OUT campaign text, OUT version integer, OUT matched boolean, OUT failed_at text,
	OUT effect integer, OUT item text, OUT points bigint, OUT wanted bigint, OUT limited_by text, OUT lost_to text, OUT inputs jsonb) RETURNS SETOF record
LANGUAGE c STABLE ROWS 20 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_explain_award';
COMMENT ON FUNCTION explain_award(bigint, bigint) IS
'Why an activity earned what it earned: every campaign that looked at it, by the code that decides. matched: whether its conditions hold, otherwise failed_at is the place in its definition; item: what it gives beside points; points: what it holds; wanted: without limits; limited_by: the limit; lost_to: the campaign that won in its group, or stopped it; inputs: what was known of the member, or the cause of what the activity made happen. Error: LY502.';

CREATE FUNCTION preview_activity(member_id bigint, kind text DEFAULT 'order', at timestamptz DEFAULT NULL, amount numeric DEFAULT NULL,
	lines jsonb DEFAULT NULL, channel text DEFAULT NULL, document jsonb DEFAULT NULL, money text DEFAULT NULL, time_zone text DEFAULT NULL,
	confirmed boolean DEFAULT true, definitions jsonb DEFAULT NULL, OUT campaign text, OUT effect integer, OUT currency text, OUT points bigint,
	OUT wanted bigint, OUT item text, OUT limited_by text, OUT why text) RETURNS SETOF record
LANGUAGE c STABLE ROWS 20 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_preview_activity';
COMMENT ON FUNCTION preview_activity(bigint, text, timestamptz, numeric, jsonb, text, jsonb, text, text, boolean, jsonb) IS
'What an activity would earn, by the code that decides when it is recorded; writes nothing, and works on a standby. member_id NULL: for somebody of whom nothing is known. at may lie ahead: then by what is known now. definitions: {"code": definition} in place of those that are defined, null for one that shall not be there. Every campaign that looks at it: points it would add, wanted without limits, item the coupon, limited_by the limit, why where it does not match, or lost. Errors: LY202, LY501, LY505, LY521.';

CREATE FUNCTION preview_basket(member_id bigint, kind text DEFAULT 'order', at timestamptz DEFAULT NULL, amount numeric DEFAULT NULL,
	lines jsonb DEFAULT NULL, channel text DEFAULT NULL, document jsonb DEFAULT NULL, money text DEFAULT NULL, time_zone text DEFAULT NULL,
	codes text[] DEFAULT NULL, basket text DEFAULT NULL, confirmed boolean DEFAULT true, use_points bigint DEFAULT NULL,
	use_currency text DEFAULT 'points', payment text DEFAULT NULL, definitions jsonb DEFAULT NULL,
	OUT what text, OUT line integer, OUT item text, OUT price numeric, OUT discount numeric, OUT due numeric, OUT benefit text, OUT campaign text,
	OUT effect integer, OUT currency text, OUT points bigint, OUT wanted bigint, OUT limited_by text, OUT refusal text, OUT why text, OUT details jsonb)
RETURNS SETOF record
LANGUAGE c STABLE ROWS 20 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_preview_basket';
COMMENT ON FUNCTION preview_basket(bigint, text, timestamptz, numeric, jsonb, text, jsonb, text, text, text[], text, boolean, bigint, text, text, jsonb) IS
'What record_activity() with these arguments, and redeem() of use_points, would do: coupons come off first, then campaigns look at what is left; writes nothing, and works on a standby. member_id NULL: for somebody of whom nothing is known. at may lie ahead: then by what is known now. Rows by what they are of. line: its number, sku (item), price before coupons, discount, what is due, as it would be stored (details), and whose member price it has (benefit; see price_lines()). rest: likewise, what amount has beyond the lines (shipping), or lacks. coupon: for each code (item) its benefit, the discount and over which lines it is spread (details), or the SQLSTATE (refusal) with which it would be refused, and why; of those that shut each other out the best applies. points: how many of those wanted can be spent, by which payment, the best unless it is named, and what they are worth (discount); limited_by balance or payment; refusal LY101 where they are not there. total: item is the money; due is what is left to be paid in money. award: what each campaign adds, as in preview_activity(), whose definitions are those here; of a coupon, label or badge (item) points are 1 or 0. Errors: LY003, LY102, LY202, LY501, LY505, LY521, LY601 payment.';

CREATE FUNCTION backtest_campaigns(definitions jsonb, from_at timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', kinds text[] DEFAULT NULL,
	currency text DEFAULT 'points', OUT member_id bigint, OUT activities bigint, OUT points_now bigint, OUT points_then bigint) RETURNS SETOF record
LANGUAGE c STABLE ROWS 10000 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_backtest_campaigns';
COMMENT ON FUNCTION backtest_campaigns(jsonb, timestamptz, timestamptz, text[], text) IS
'What members would have earned: replays all activities with their revisions, in the order in which they were recorded, from empty limits and full budgets. points_now: by the campaigns that are defined, each version in its time; points_then: with definitions {"code": definition} in place of them, in force always, and those with null never. Of activities that happened from from_at until until, of some kinds or all, in one currency. Tiers and what happened are taken from history as it is. Errors: LY521, LY102 no such currency, LY501 no such kind, LY003.';

CREATE FUNCTION backtest_summary(definitions jsonb, from_at timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity', kinds text[] DEFAULT NULL,
	currency text DEFAULT 'points', OUT measure text, OUT value_now numeric, OUT value_then numeric, OUT at_now timestamptz, OUT at_then timestamptz) RETURNS SETOF record
LANGUAGE c STABLE ROWS 10 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_backtest_summary';
COMMENT ON FUNCTION backtest_summary(jsonb, timestamptz, timestamptz, text[], text) IS
'What backtest_campaigns() comes to: points, awards (activities that got any), members (with points), trimmed (activities of which a limit took something), winners, losers and same (members with more, fewer and as many points then, in value_then), and for each budget "budget <campaign>" ("budget <campaign>/<currency>", "budget <campaign>/times") what is left of it, and in at_now and at_then when it ended. Errors: as of backtest_campaigns().';
