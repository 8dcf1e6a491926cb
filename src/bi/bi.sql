/*
 * bi: views for tools of business intelligence, in schema loyalty_bi.
 *
 * Each view answers one question, has columns of core types and one grain, which
 * its comment names, and counts members once, whatever was merged.  Days and
 * months are those of the program's time zone.  All are right as of the
 * statement that reads them, whatever job ran or did not.
 *
 * Views read tables with the rights of their owner.  Those of levels may have to
 * compute what no job has stored yet, and ask for the right to read as
 * tier_of() does: grant_access(role, 'reader') gives both.
 *
 * setup() makes the views, and makes all of them again where one is gone.  They
 * are ours: views of yours stand in a schema of yours.
 *
 * What was posted is added up once, by refresh_summaries(): points_by_day is
 * that sum and what was posted since.  An entry is in the sum if its id is at
 * most the settled id of the last refresh; no entry with a lesser id appears
 * after that.
 *
 * Tables, in schema loyalty as all of ours:
 *	points_day		what was posted, by currency, local day and movement
 *	points_day_to	up to which entry that is, and by which clock
 *	goal, goal_crossing		see bi_goal.sql
 */

CREATE FUNCTION movement_of(kind text, points bigint, target_kind text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
	SELECT CASE
		WHEN $1 OPERATOR(pg_catalog.=) 'earn' THEN 'earned'
		WHEN $1 OPERATOR(pg_catalog.=) ANY ('{redeem,capture}'::pg_catalog.text[]) THEN 'redeemed'
		WHEN $1 OPERATOR(pg_catalog.=) 'adjust' THEN 'adjusted'
		WHEN $1 OPERATOR(pg_catalog.=) 'transfer_in' THEN 'received'
		WHEN $1 OPERATOR(pg_catalog.=) 'transfer_out' THEN 'sent'
		WHEN $1 OPERATOR(pg_catalog.<>) 'reverse' THEN NULL
		WHEN $3 OPERATOR(pg_catalog.=) 'reverse' THEN 'undone'
		WHEN $3 OPERATOR(pg_catalog.=) 'adjust' THEN 'adjusted'
		WHEN $2 OPERATOR(pg_catalog.>) 0 THEN 'refunded'
		ELSE 'returned'
	END
$$;
COMMENT ON FUNCTION movement_of(text, bigint, text) IS
'What an entry of the ledger does to the points of its wallet, in one word: earned, redeemed (also by a capture), returned (an earn was reversed), refunded (a redemption was), undone (a reversal was), adjusted, received, sent. NULL for what moves none: hold, release, activate, expire. target_kind: of a reverse, the kind of the entry that it refers to.';

CREATE FUNCTION setup_bi(have integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF have < 1 THEN
		CREATE TABLE loyalty.points_day (
			currency text COLLATE "C" NOT NULL,
			local_day date NOT NULL,
			movement text COLLATE "C" NOT NULL,
			entries bigint NOT NULL,
			points numeric NOT NULL,
			PRIMARY KEY (currency, local_day, movement)
		);
		COMMENT ON TABLE loyalty.points_day IS 'What was posted, by day: a sum that refresh_summaries() keeps. Read it with loyalty_bi.points_by_day, which adds what is not in it yet.';
		COMMENT ON COLUMN loyalty.points_day.currency IS 'Code of the currency.';
		COMMENT ON COLUMN loyalty.points_day.local_day IS 'Day on which it happened, by the program''s clock.';
		COMMENT ON COLUMN loyalty.points_day.movement IS 'What it did; see movement_of().';
		COMMENT ON COLUMN loyalty.points_day.entries IS 'How many entries.';
		COMMENT ON COLUMN loyalty.points_day.points IS 'Their points, signed.';

		CREATE TABLE loyalty.points_day_to (
			only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
			entry_id bigint NOT NULL,
			time_zone text NOT NULL
		);
		COMMENT ON TABLE loyalty.points_day_to IS 'How far points_day is; no row: nothing is in it.';
		COMMENT ON COLUMN loyalty.points_day_to.only_one IS 'There is one row.';
		COMMENT ON COLUMN loyalty.points_day_to.entry_id IS 'All entries with ids up to this one are in it, and no others.';
		COMMENT ON COLUMN loyalty.points_day_to.time_zone IS 'The time zone of its days. After configure_program() has changed the program''s, the sum counts nothing until it is made anew.';

		PERFORM loyalty.setup_goal_tables();
	END IF;
	PERFORM loyalty.make_bi_schema();
	IF to_regnamespace('loyalty_bi') IS NOT NULL
		AND (have < 1 OR EXISTS (SELECT FROM loyalty.bi_views() v WHERE to_regclass('loyalty_bi.' || v) IS NULL)) THEN
		PERFORM loyalty.make_bi_views();
	END IF;
	RETURN 1;
END
$$;
COMMENT ON FUNCTION setup_bi(integer) IS
'Brings the tables of room bi from layout have (0: none) to the layout that it returns, and makes the views of schema loyalty_bi. Part of setup().';

-- A column that somebody took away must not keep the rest from being set up.
CREATE FUNCTION make_bi_views() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.setup_points_views();
	PERFORM loyalty.setup_member_views();
	PERFORM loyalty.setup_level_views();
	PERFORM loyalty.setup_benefit_views();
	PERFORM loyalty.setup_value_views();
	PERFORM loyalty.setup_segment_views();
	PERFORM loyalty.setup_offer_views();
	PERFORM loyalty.setup_goal_views();
	PERFORM loyalty.setup_running_views();
EXCEPTION WHEN undefined_column OR undefined_table THEN
	RAISE WARNING 'the views of schema loyalty_bi were not made: %', SQLERRM
		USING HINT = 'A table of ours was changed. Bring it back to what setup() makes, and call setup() again.';
END
$$;
COMMENT ON FUNCTION make_bi_views() IS 'Makes the views of schema loyalty_bi, or none of them. Part of setup().';

-- The owner of the tables may have no right to make a schema: then there are no
-- views until somebody has made it for them.
CREATE FUNCTION make_bi_schema() RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF to_regnamespace('loyalty_bi') IS NULL THEN
		IF NOT has_database_privilege(current_database(), 'CREATE') THEN
			RAISE WARNING 'the views of schema loyalty_bi were not made: role "%" may not make a schema in this database', current_user
				USING HINT = format('Let somebody who may CREATE SCHEMA loyalty_bi AUTHORIZATION %I, and call setup() again.', current_user);
			RETURN;
		END IF;
		CREATE SCHEMA loyalty_bi;
		COMMENT ON SCHEMA loyalty_bi IS 'Views for tools of business intelligence: plain types, one question and one grain each.';
	ELSIF NOT pg_has_role((SELECT n.nspowner FROM pg_namespace n WHERE n.nspname = 'loyalty_bi'), 'USAGE') THEN
		RAISE EXCEPTION 'schema loyalty_bi belongs to somebody else'
			USING ERRCODE = 'LY002', DETAIL = format('Its owner is %s.', (SELECT n.nspowner::regrole FROM pg_namespace n WHERE n.nspname = 'loyalty_bi')),
				HINT = format('ALTER SCHEMA loyalty_bi OWNER TO %I, or rename it.', current_user);
	END IF;
END
$$;
COMMENT ON FUNCTION make_bi_schema() IS 'Makes schema loyalty_bi. Part of setup().';

CREATE FUNCTION check_bi_totals(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text)
RETURNS SETOF record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT 'summary', NULL::bigint, coalesce(d.currency, e.currency), NULL::bigint,
		format('points_day has %s entries and %s points for %s, %s; the ledger has %s and %s', coalesce(d.entries, 0), coalesce(d.points, 0),
			coalesce(d.local_day, e.local_day), coalesce(d.movement, e.movement), coalesce(e.entries, 0), coalesce(e.points, 0))
	FROM (SELECT s.currency, s.local_day, s.movement, s.entries, s.points FROM loyalty.points_day s, loyalty.points_day_to) d
	FULL JOIN (SELECT p.currency, p.local_day, p.movement, p.entries, p.points
		FROM loyalty.points_day_to t, loyalty.add_up_all_points(0, t.entry_id, t.time_zone) p) e
		ON e.currency = d.currency AND e.local_day = d.local_day AND e.movement = d.movement
	WHERE d.entries IS DISTINCT FROM e.entries OR d.points IS DISTINCT FROM e.points;
END
$$;
COMMENT ON FUNCTION check_bi_totals() IS 'What all members have together: points_day is what the ledger adds up to. Part of check_bi().';

CREATE FUNCTION check_bi(OUT invariant text, OUT member_id bigint, OUT currency text, OUT entry_id bigint, OUT detail text)
RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET row_security = off
AS $$
	SELECT 'view', NULL::bigint, NULL::text, NULL::bigint, format('the view loyalty_bi.%s is gone; setup() makes it again', v)
	FROM loyalty.bi_views() v
	WHERE to_regnamespace('loyalty_bi') IS NOT NULL AND to_regclass('loyalty_bi.' || v) IS NULL
	UNION ALL
	SELECT t.* FROM loyalty.check_bi_totals() t WHERE NOT loyalty.sees_part()
	UNION ALL
	SELECT g.invariant, NULL, NULL, NULL, g.detail FROM loyalty.check_goals() g
$$;
COMMENT ON FUNCTION check_bi() IS
'Every invariant of room bi: a row for each violation; part of check_all(). The views are there, points_day is what the ledger adds up to, and crossings of goals alternate.';

CREATE FUNCTION add_up_points(behind bigint, up_to bigint, time_zone text,
	OUT currency text, OUT local_day date, OUT movement text, OUT entries bigint, OUT points numeric) RETURNS SETOF record
LANGUAGE sql STABLE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e.currency, (e.effective_at AT TIME ZONE $3)::date, e.movement, count(*), sum(e.points)
	FROM (SELECT l.currency, l.effective_at, l.points, loyalty.movement_of(l.kind, l.points,
			CASE WHEN l.kind = 'reverse' THEN loyalty.kind_of_target(l.member_id, l.target_entry_id) END) AS movement
		FROM loyalty.all_entries() l WHERE l.entry_id > $1 AND l.entry_id <= $2) e
	WHERE e.movement IS NOT NULL
	GROUP BY 1, 2, 3
$$;
COMMENT ON FUNCTION add_up_points(bigint, bigint, text) IS
'What entries behind an id, up to another, add up to by currency, day in a time zone, and movement. Part of refresh_summaries() and check_bi().';

CREATE FUNCTION add_up_all_points(behind bigint, up_to bigint, time_zone text,
	OUT currency text, OUT local_day date, OUT movement text, OUT entries bigint, OUT points numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE ROWS 1000 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	IF loyalty.tables_are_spread() THEN
		RETURN QUERY SELECT x.currency, x.local_day, x.movement, sum(x.entries)::bigint, sum(x.points)
		FROM loyalty.ask_parts(format('SELECT * FROM loyalty.add_up_points(%s, %s, %L)', behind, up_to, time_zone)) p,
			jsonb_to_recordset(p.answer) x (currency text, local_day date, movement text, entries bigint, points numeric) GROUP BY 1, 2, 3;
	ELSE
		RETURN QUERY SELECT * FROM loyalty.add_up_points(behind, up_to, time_zone);
	END IF;
END
$$;
COMMENT ON FUNCTION add_up_all_points(bigint, bigint, text) IS 'What add_up_points() does, of all machines together where tables are spread. Part of check_bi().';

CREATE FUNCTION kind_of_target(member_id bigint, target_entry_id bigint) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.kind FROM loyalty.all_entries() t WHERE t.member_id = ANY (loyalty.member_kin($1)) AND t.entry_id = $2
$$;
COMMENT ON FUNCTION kind_of_target(bigint, bigint) IS
'The kind of the entry that another one of a member refers to, which may stand with one who was merged with it. Part of room bi.';

CREATE FUNCTION add_to_summaries(batch_size integer, OUT up_to bigint, OUT seen bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	settled CONSTANT bigint := loyalty.settled_entry_id();
	zone CONSTANT text := (SELECT p.time_zone FROM loyalty.program p);
	done bigint;
BEGIN
	DELETE FROM loyalty.points_day USING loyalty.points_day_to t WHERE t.time_zone <> zone;
	DELETE FROM loyalty.points_day_to t WHERE t.time_zone <> zone;
	done := coalesce((SELECT t.entry_id FROM loyalty.points_day_to t), 0);
	total := settled - done;
	IF total <= 0 THEN
		RETURN;
	END IF;
	up_to := least(done + batch_size, settled);
	seen := up_to - done;
	INSERT INTO loyalty.points_day AS d SELECT a.* FROM loyalty.add_up_points(done, up_to, zone) a
	ON CONFLICT (currency, local_day, movement) DO UPDATE SET entries = d.entries + excluded.entries, points = d.points + excluded.points;
	INSERT INTO loyalty.points_day_to (entry_id, time_zone) VALUES (up_to, zone)
	ON CONFLICT (only_one) DO UPDATE SET entry_id = excluded.entry_id;
END
$$;
COMMENT ON FUNCTION add_to_summaries(integer) IS
'Adds the entries with the next batch_size ids to the sums: up to which id (NULL: there were none), how many ids, and how many there were to add. Part of refresh_summaries().';

CREATE FUNCTION next_refresh_summaries(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT a.up_to, a.seen, a.seen, CASE WHEN behind IS NULL THEN greatest(a.total, 0) END
	INTO up_to, seen, result, total FROM loyalty.add_to_summaries(batch_size) a;
END
$$;
COMMENT ON FUNCTION next_refresh_summaries(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'Adds the next entries to the sums. Part of refresh_summaries(), by run_job().';

CREATE PROCEDURE refresh_summaries(batch_size integer DEFAULT 1000000)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('refresh_summaries', NULL, batch_size, 'ids of entries', 'ids added');
END
$$;
COMMENT ON PROCEDURE refresh_summaries(integer) IS
'Adds to the sums behind loyalty_bi.points_by_day what was posted since the last time, batch_size ids of entries at a time, each committed. The view is right without it, and faster after it. Can be stopped at any time; the next call goes on where it was. Errors: LY006 it is running already, 25001 inside a transaction, LY007 on distributed tables.';
