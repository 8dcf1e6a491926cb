/*
 * engagement: boards: scores of members by periods, and their ranks.
 */

CREATE FUNCTION define_board(board text, definition jsonb, effective_from timestamptz DEFAULT NULL) RETURNS integer
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.put_engagement('board', $1, $2, $3)
$$;
COMMENT ON FUNCTION define_board(text, jsonb, timestamptz) IS
'Defines a board, or a new version of it, by which periods are scored that begin then or later (default: all, of the first; those after now, of a later one). Returns the version. The definition: {"kind", "when", "money", "measure", "whole": as of define_badge(), "period": "day", "week" (from Monday), "month", "quarter", "year" or "lifetime", by the instant of an activity and the clock of "time_zone" (default: the program''s), "ties": "share" (default: 1, 2, 2, 4), "dense" (1, 2, 2, 3) or "first" (who reached the score first, then the smaller member_id), "places": how many close_board() rewards, "club": only members of it, by what they did while they were}. Members who did something before have scores after refresh_engagements(). Errors: LY752, LY501 kind, LY751 club, LY003.';

CREATE FUNCTION board_version(board text, period_start date, OUT n integer, OUT definition jsonb) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	SELECT v.version, v.definition || jsonb_build_object('time_zone', coalesce(v.definition ->> 'time_zone', loyalty.program_time_zone())) INTO n, definition
	FROM loyalty.engagement_version v
	WHERE v.what = 'board' AND v.name = $1 AND (v.effective_from IS NULL OR v.definition ->> 'period' <> 'lifetime'
		AND ($2::timestamp AT TIME ZONE coalesce(v.definition ->> 'time_zone', loyalty.program_time_zone())) >= v.effective_from)
	ORDER BY v.version DESC LIMIT 1;
END
$$;
COMMENT ON FUNCTION board_version(text, date) IS
'The version by which a period of a board is scored, and its definition, its time zone filled in; NULL: none is. Part of member_scores().';

CREATE FUNCTION board_in_force(board text, period_start date) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found CONSTANT jsonb := (SELECT v.definition FROM loyalty.board_version($1, $2) v);
BEGIN
	IF found IS NULL THEN
		RAISE EXCEPTION 'there is no board "%"', board
			USING ERRCODE = 'LY751', DETAIL = 'The table loyalty.engagement_version has no row of it by which that period is scored.',
				HINT = 'Define it with loyalty.define_board().';
	END IF;
	RETURN found;
END
$$;
COMMENT ON FUNCTION board_in_force(text, date) IS
'The definition by which a period of a board is scored, its time zone filled in. Error: LY751. Part of rank_on().';

CREATE FUNCTION board_period(board text, at timestamptz) RETURNS date
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE d.definition ->> 'period' WHEN 'lifetime' THEN date '2000-01-01'
		ELSE date_trunc(d.definition ->> 'period', $2 AT TIME ZONE coalesce(d.definition ->> 'time_zone', loyalty.program_time_zone()))::date END
	FROM (SELECT loyalty.engagement_in_force('board', $1, $2) AS definition) d
$$;
COMMENT ON FUNCTION board_period(text, timestamptz) IS
'The first day of the period of a board in which an instant lies; of a lifetime 2000-01-01, which only stands for it. Error: LY751.';

CREATE FUNCTION board_end(definition jsonb, period_start date) RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE $1 ->> 'period' WHEN 'lifetime' THEN NULL WHEN 'quarter' THEN ($2 + interval '3 months') AT TIME ZONE ($1 ->> 'time_zone')
		ELSE ($2 + ('1 ' || ($1 ->> 'period'))::interval) AT TIME ZONE ($1 ->> 'time_zone') END
$$;
COMMENT ON FUNCTION board_end(jsonb, date) IS 'When a period of a board ends; NULL: never. Part of close_board().';

CREATE FUNCTION member_scores(member_id bigint, board text, period date, as_of timestamptz, known_at timestamptz,
	OUT period_start date, OUT score numeric, OUT activities bigint, OUT reached_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_variable
DECLARE
	version record;
BEGIN
	-- each period by its version; what lies before the first one is not scored
	FOR version IN
		SELECT v.version AS n, v.definition || jsonb_build_object('time_zone', coalesce(v.definition ->> 'time_zone', loyalty.program_time_zone())) AS definition
		FROM loyalty.engagement_version v WHERE v.what = 'board' AND v.name = board ORDER BY v.version
	LOOP
		RETURN QUERY
		SELECT x.start, sum(x.n), count(*), greatest(max(x.at) FILTER (WHERE x.n > 0 OR version.definition ->> 'measure' IS DISTINCT FROM 'days'), max(x.returned_at))
		FROM (SELECT f.*, p.start,
				CASE version.definition ->> 'measure' WHEN 'days' THEN (row_number() OVER (PARTITION BY p.start, f.local_day ORDER BY f.at, f.recorded_at, f.activity_id) = 1)::integer
					ELSE f.value END AS n,
				(SELECT max(r.at) FROM loyalty.activity_revision r WHERE r.member_id = ANY (loyalty.member_tree(loyalty.canonical_member(member_scores.member_id)))
					AND r.activity_id = f.activity_id AND r.is_return AND r.at <= coalesce(as_of, 'infinity') AND r.recorded_at <= coalesce(known_at, 'infinity')) AS returned_at
			FROM loyalty.engagement_facts(member_id, version.definition, as_of, known_at) f,
				LATERAL (SELECT CASE version.definition ->> 'period' WHEN 'lifetime' THEN date '2000-01-01'
					ELSE date_trunc(version.definition ->> 'period', f.at AT TIME ZONE (version.definition ->> 'time_zone'))::date END) p (start)) x
		WHERE (period IS NULL OR x.start = period)
			-- who left a club is not ranked; who comes back is, with what it did while it was there
			AND (version.definition ->> 'club' IS NULL
				OR EXISTS (SELECT FROM loyalty.club_spans(member_id, version.definition ->> 'club', coalesce(as_of, statement_timestamp()), known_at) c WHERE c.left_at IS NULL)
				AND EXISTS (SELECT FROM loyalty.club_spans(member_id, version.definition ->> 'club', as_of, known_at) c WHERE x.at >= c.joined_at AND (c.left_at IS NULL OR x.at < c.left_at)))
		GROUP BY x.start HAVING version.n = (SELECT o.n FROM loyalty.board_version(board, x.start) o);
	END LOOP;
END
$$;
COMMENT ON FUNCTION member_scores(bigint, text, date, timestamptz, timestamptz) IS
'The scores of a member on a board, by its activities, as of an instant and as known at another (NULL: all): of one period, or of all. Part of put_scores().';

CREATE FUNCTION put_scores(member_id bigint, boards text[], period date DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	name text;
	canonical CONSTANT bigint := loyalty.canonical_member(member_id);
BEGIN
	FOREACH name IN ARRAY boards LOOP
		WITH want AS MATERIALIZED (
			SELECT w.* FROM loyalty.member_scores(member_id, name, period, NULL, NULL) w WHERE member_id = canonical
		), have AS MATERIALIZED (
			SELECT s.* FROM loyalty.board_score s WHERE s.member_id = put_scores.member_id AND s.board = name AND (period IS NULL OR s.period_start = period)
		), gone AS (
			DELETE FROM loyalty.board_score s USING have h
			WHERE s.member_id = h.member_id AND s.board = h.board AND s.period_start = h.period_start
				AND NOT EXISTS (SELECT FROM want w WHERE w.period_start = h.period_start)
		), put AS (
			INSERT INTO loyalty.board_score AS s (member_id, board, period_start, score, activities, reached_at)
			SELECT member_id, name, w.period_start, w.score, w.activities, w.reached_at FROM want w
			ON CONFLICT ON CONSTRAINT board_score_pkey DO UPDATE SET score = excluded.score, activities = excluded.activities, reached_at = excluded.reached_at
			WHERE (s.score, s.activities, s.reached_at) IS DISTINCT FROM (excluded.score, excluded.activities, excluded.reached_at)
		)
		INSERT INTO loyalty.board_change (board, period_start, was, score)
		SELECT name, coalesce(w.period_start, h.period_start), h.score, w.score FROM want w FULL JOIN have h ON h.period_start = w.period_start
		WHERE h.score IS DISTINCT FROM w.score;
	END LOOP;
END
$$;
COMMENT ON FUNCTION put_scores(bigint, text[], date) IS
'Makes the scores of a member on boards what its activities say, of one period or all; an absorbed member has none. The member is locked. Part of engage().';

CREATE FUNCTION fold_board(board text, period_start date) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	large record;
BEGIN
	-- one at a time, and nobody waits; of a transaction with an older snapshot others see more
	IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted')
		OR NOT pg_try_advisory_xact_lock(hashtextextended(format('loyalty fold_board %s %s', board, period_start), 0)) THEN
		RETURN;
	END IF;
	INSERT INTO loyalty.board_bucket (board, period_start, lower, n, tried) VALUES (board, period_start, 0, 0, 0) ON CONFLICT DO NOTHING;
	WITH gone AS (
		DELETE FROM loyalty.board_change c WHERE c.board = fold_board.board AND c.period_start = fold_board.period_start RETURNING c.was, c.score
	), change AS (
		SELECT (SELECT max(b.lower) FROM loyalty.board_bucket b WHERE b.board = fold_board.board AND b.period_start = fold_board.period_start AND b.lower <= x.score) AS lower,
			sum(x.n) AS n
		FROM (SELECT g.score, 1 AS n FROM gone g WHERE g.score IS NOT NULL UNION ALL SELECT g.was, -1 FROM gone g WHERE g.was IS NOT NULL) x GROUP BY 1
	)
	UPDATE loyalty.board_bucket b SET n = b.n + c.n FROM change c
	WHERE b.board = fold_board.board AND b.period_start = fold_board.period_start AND b.lower = c.lower AND c.n <> 0;
	FOR large IN
		SELECT b.lower, b.n, (SELECT min(o.lower) FROM loyalty.board_bucket o
			WHERE o.board = b.board AND o.period_start = b.period_start AND o.lower > b.lower) AS upper
		FROM loyalty.board_bucket b
		WHERE b.board = fold_board.board AND b.period_start = fold_board.period_start AND b.n >= 2000 AND b.n >= 2 * b.tried ORDER BY b.lower
	LOOP
		-- what is not folded yet comes on top of it
		WITH live AS MATERIALIZED (
			SELECT s.score FROM loyalty.board_score s WHERE s.board = fold_board.board AND s.period_start = fold_board.period_start
				AND s.score >= large.lower AND s.score < coalesce(large.upper, 'NaN')
		), cut AS (
			SELECT DISTINCT unnest(percentile_disc((SELECT array_agg(i / ceil(large.n / 500.0)) FROM generate_series(1, ceil(large.n / 500.0)::integer - 1) i)::float8[])
				WITHIN GROUP (ORDER BY l.score)) AS lower FROM live l
			UNION SELECT large.lower
		), cuts AS MATERIALIZED (
			SELECT array_agg(c.lower ORDER BY c.lower) AS lowers FROM cut c
		), counted AS (
			SELECT width_bucket(l.score, k.lowers) AS i, count(*) AS n FROM live l, cuts k GROUP BY 1
		), changed AS (
			SELECT width_bucket(x.score, k.lowers) AS i, sum(x.n) AS n
			FROM (SELECT c.score, 1 AS n FROM loyalty.board_change c WHERE c.board = fold_board.board AND c.period_start = fold_board.period_start UNION ALL
				SELECT c.was, -1 FROM loyalty.board_change c WHERE c.board = fold_board.board AND c.period_start = fold_board.period_start) x, cuts k
			WHERE x.score >= large.lower AND x.score < coalesce(large.upper, 'NaN') GROUP BY 1
		)
		INSERT INTO loyalty.board_bucket AS b (board, period_start, lower, n, tried)
		SELECT board, period_start, k.lowers[i.i], x.n, x.n
		FROM cuts k, generate_subscripts(k.lowers, 1) i (i) LEFT JOIN counted l ON l.i = i.i LEFT JOIN changed c ON c.i = i.i,
			LATERAL (SELECT coalesce(l.n, 0) - coalesce(c.n, 0) AS n) x
		ON CONFLICT ON CONSTRAINT board_bucket_pkey DO UPDATE SET n = excluded.n, tried = excluded.tried;
	END LOOP;
END
$$;
COMMENT ON FUNCTION fold_board(text, date) IS
'Folds what changed on a board into the counts of its buckets, and splits those that are large; does nothing while another session does it. A rank is exact without. Part of record_activity() and refresh_engagements().';

CREATE FUNCTION place_of(board text, period_start date, ties text, own numeric, own_reached_at timestamptz, own_member_id bigint,
	OUT rank bigint, OUT members bigint, OUT below bigint) RETURNS record
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	WITH bucket AS (
		-- that of the score, and where the next begins
		SELECT coalesce((SELECT b.lower FROM loyalty.board_bucket b WHERE b.board = $1 AND b.period_start = $2 AND b.lower <= $4 ORDER BY b.lower DESC LIMIT 1), 0) AS lower,
			(SELECT b.lower FROM loyalty.board_bucket b WHERE b.board = $1 AND b.period_start = $2 AND b.lower > $4 ORDER BY b.lower LIMIT 1) AS upper
	), counted AS (
		SELECT coalesce(sum(b.n), 0) AS n, coalesce(sum(b.n) FILTER (WHERE b.lower >= k.upper), 0) AS above, coalesce(sum(b.n) FILTER (WHERE b.lower < k.lower), 0) AS below
		FROM bucket k LEFT JOIN loyalty.board_bucket b ON b.board = $1 AND b.period_start = $2
	), changed AS (
		SELECT count(c.score) - count(c.was) AS n,
			count(*) FILTER (WHERE c.score >= k.upper) - count(*) FILTER (WHERE c.was >= k.upper) AS above,
			count(*) FILTER (WHERE c.score < k.lower) - count(*) FILTER (WHERE c.was < k.lower) AS below
		FROM bucket k LEFT JOIN loyalty.board_change c ON c.board = $1 AND c.period_start = $2
	), inside AS (
		-- of no range that has an end all scores are less than NaN: a range of the index, and no filter
		SELECT (SELECT count(*) FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = $2 AND s.score > $4 AND s.score < coalesce(k.upper, 'NaN')) AS above,
			(SELECT count(*) FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = $2 AND s.score >= k.lower AND s.score < $4) AS below
		FROM bucket k
	)
	SELECT CASE $3
			WHEN 'dense' THEN 1 + (
				-- from one score to the next
				WITH RECURSIVE step (score) AS (
					(SELECT s.score FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = $2 AND s.score > $4 ORDER BY s.score DESC LIMIT 1)
					UNION ALL
					SELECT (SELECT s.score FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = $2 AND s.score > $4 AND s.score < p.score ORDER BY s.score DESC LIMIT 1)
					FROM step p WHERE p.score IS NOT NULL)
				SELECT count(p.score) FROM step p)
			WHEN 'first' THEN 1 + c.above + d.above + i.above + (SELECT count(*) FROM loyalty.board_score s
				WHERE s.board = $1 AND s.period_start = $2 AND s.score = $4 AND (s.reached_at, s.member_id) < ($5, $6))
			ELSE 1 + c.above + d.above + i.above END::bigint,
		(c.n + d.n)::bigint, (c.below + d.below + i.below)::bigint
	FROM counted c, changed d, inside i
$$;
COMMENT ON FUNCTION place_of(text, date, text, numeric, timestamptz, bigint) IS
'The rank of a score on a board, how many are ranked, and how many are below. Part of rank_on().';

CREATE FUNCTION board_standing(board text, period_start date, as_of timestamptz, known_at timestamptz, among bigint[],
	OUT rank bigint, OUT member_id bigint, OUT score numeric, OUT reached_at timestamptz, OUT members bigint, OUT percentile double precision) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	definition CONSTANT jsonb := loyalty.board_in_force($1, $2);
	ties CONSTANT text := coalesce(definition ->> 'ties', 'share');
	others CONSTANT bigint[] := (SELECT array_agg(DISTINCT loyalty.canonical_member(a)) FROM unnest(among) a);
BEGIN
	RETURN QUERY
	WITH scored AS (
		SELECT s.member_id, s.score, s.reached_at FROM loyalty.board_score s
		WHERE $3 IS NULL AND $4 IS NULL AND s.board = $1 AND s.period_start = $2 AND (among IS NULL OR s.member_id = ANY (others))
		UNION ALL
		SELECT m.member_id, s.score, s.reached_at
		FROM (SELECT DISTINCT loyalty.canonical_member(a.member_id) AS member_id FROM loyalty.activity a
				WHERE ($3 IS NOT NULL OR $4 IS NOT NULL)
					AND a.kind IN (SELECT jsonb_array_elements_text(CASE jsonb_typeof(definition -> 'kind') WHEN 'array' THEN definition -> 'kind' ELSE jsonb_build_array(definition -> 'kind') END))) m,
			LATERAL loyalty.member_scores(m.member_id, $1, $2, $3, $4) s
		WHERE among IS NULL OR m.member_id = ANY (others)
	)
	SELECT CASE ties WHEN 'dense' THEN dense_rank() OVER w WHEN 'first' THEN row_number() OVER f ELSE rank() OVER w END,
		s.member_id, s.score, s.reached_at, count(*) OVER (), percent_rank() OVER (ORDER BY s.score)
	FROM scored s
	WINDOW w AS (ORDER BY s.score DESC), f AS (ORDER BY s.score DESC, s.reached_at, s.member_id);
END
$$;
COMMENT ON FUNCTION board_standing(text, date, timestamptz, timestamptz, bigint[]) IS
'A whole board, or that of some members, of a period: as it is now, or computed from the activities as of an instant and as known at another. Part of rank_on(). Error: LY751.';

CREATE FUNCTION rank_on(board text, member_id bigint, as_of timestamptz DEFAULT NULL, period_start date DEFAULT NULL, among bigint[] DEFAULT NULL, known_at timestamptz DEFAULT NULL,
	OUT rank bigint, OUT score numeric, OUT members bigint, OUT percentile double precision) RETURNS record
LANGUAGE plpgsql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	canonical CONSTANT bigint := loyalty.canonical_member(member_id);
	period CONSTANT date := coalesce(period_start, loyalty.board_period(board, coalesce(as_of, statement_timestamp())));
	definition CONSTANT jsonb := loyalty.board_in_force(board, period);
	own record;
BEGIN
	IF as_of IS NULL AND known_at IS NULL AND among IS NULL THEN
		SELECT s.score, s.reached_at, p.* INTO own
		FROM loyalty.board_score s, LATERAL loyalty.place_of(board, period, coalesce(definition ->> 'ties', 'share'), s.score, s.reached_at, canonical) p
		WHERE s.member_id = canonical AND s.board = rank_on.board AND s.period_start = period;
		rank := own.rank; score := own.score; members := own.members;
		percentile := CASE WHEN members > 1 THEN own.below::double precision / (members - 1) ELSE 0 END;
		IF score IS NULL THEN
			members := NULL; percentile := NULL;
		END IF;
		RETURN;
	END IF;
	SELECT s.rank, s.score, s.members, s.percentile INTO rank, score, members, percentile
	FROM loyalty.board_standing(board, period, as_of, known_at, among) s WHERE s.member_id = canonical;
END
$$;
COMMENT ON FUNCTION rank_on(text, bigint, timestamptz, date, bigint[], timestamptz) IS
'The rank of a member, under whichever number, on a board: of the period that begins on period_start (NULL: that of as_of), its score, how many members are ranked, and the share of the others that are below (as percent_rank()). NULL where the member has no score. among: the rank among those of these members that have one, such as friends or a league. as_of, known_at: as it was then, and as it was known then, computed from all activities; without, it is exact now, in milliseconds on a board of a million. Error: LY751.';

CREATE FUNCTION board_top(board text, places bigint DEFAULT 10, as_of timestamptz DEFAULT NULL, period_start date DEFAULT NULL, among bigint[] DEFAULT NULL,
	OUT rank bigint, OUT member_id bigint, OUT score numeric, OUT reached_at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	period CONSTANT date := coalesce($4, loyalty.board_period($1, coalesce($3, statement_timestamp())));
	ties CONSTANT text := coalesce(loyalty.board_in_force($1, period) ->> 'ties', 'share');
BEGIN
	IF $3 IS NULL AND $5 IS NULL THEN
		RETURN QUERY
		SELECT CASE ties WHEN 'dense' THEN dense_rank() OVER w WHEN 'first' THEN row_number() OVER f ELSE rank() OVER w END, s.member_id, s.score, s.reached_at
		FROM (SELECT s.* FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = period
			ORDER BY s.score DESC, s.reached_at, s.member_id LIMIT $2) s
		WINDOW w AS (ORDER BY s.score DESC), f AS (ORDER BY s.score DESC, s.reached_at, s.member_id)
		ORDER BY s.score DESC, s.reached_at, s.member_id;
		RETURN;
	END IF;
	RETURN QUERY
	SELECT s.rank, s.member_id, s.score, s.reached_at FROM loyalty.board_standing($1, period, $3, NULL, $5) s
	ORDER BY s.score DESC, s.reached_at, s.member_id LIMIT $2;
END
$$;
COMMENT ON FUNCTION board_top(text, bigint, timestamptz, date, bigint[]) IS
'The first members of a board, at most so many: of the period that begins on period_start (NULL: that of as_of), of all or among some, now or as of an instant. Of members with one score who reached it first stands first. Error: LY751.';

CREATE FUNCTION board_around(board text, member_id bigint, places bigint DEFAULT 5, period_start date DEFAULT NULL,
	OUT rank bigint, OUT neighbour_id bigint, OUT score numeric) RETURNS SETOF record
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 11 SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	canonical CONSTANT bigint := loyalty.canonical_member($2);
	period CONSTANT date := coalesce($4, loyalty.board_period($1, statement_timestamp()));
	ties CONSTANT text := coalesce(loyalty.board_in_force($1, period) ->> 'ties', 'share');
BEGIN
	RETURN QUERY
	WITH own AS (
		SELECT s.* FROM loyalty.board_score s WHERE s.member_id = canonical AND s.board = $1 AND s.period_start = period
	), near AS (
		(SELECT s.* FROM own o, LATERAL (SELECT s.* FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = period
				AND (s.score > o.score OR s.score = o.score AND (s.reached_at, s.member_id) < (o.reached_at, o.member_id))
			ORDER BY s.score, s.reached_at DESC, s.member_id DESC LIMIT $3) s)
		UNION ALL TABLE own UNION ALL
		(SELECT s.* FROM own o, LATERAL (SELECT s.* FROM loyalty.board_score s WHERE s.board = $1 AND s.period_start = period
				AND (s.score < o.score OR s.score = o.score AND (s.reached_at, s.member_id) > (o.reached_at, o.member_id))
			ORDER BY s.score DESC, s.reached_at, s.member_id LIMIT $3) s)
	)
	SELECT p.rank, n.member_id, n.score
	FROM near n, LATERAL loyalty.place_of($1, period, ties, n.score, n.reached_at, n.member_id) p
	ORDER BY n.score DESC, n.reached_at, n.member_id;
END
$$;
COMMENT ON FUNCTION board_around(text, bigint, bigint, date) IS
'A member on a board now, with so many neighbours above and below; no row where it has no score. Error: LY751.';

CREATE FUNCTION begin_closing(board text, period_start date) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	definition CONSTANT jsonb := loyalty.board_in_force(board, period_start);
	ends_at CONSTANT timestamptz := loyalty.board_end(definition, period_start);
	known_at CONSTANT timestamptz := clock_timestamp();
	n bigint;
BEGIN
	IF ends_at IS NULL OR ends_at > known_at OR period_start IS DISTINCT FROM loyalty.board_period(board, ends_at - interval '1 microsecond') THEN
		RAISE EXCEPTION 'period % of board "%" cannot be closed', period_start, board
			USING ERRCODE = 'LY003', DETAIL = CASE WHEN ends_at > known_at THEN format('It ends at %s.', ends_at) ELSE 'No period begins then that ends.' END,
				HINT = 'Give the first day of a period that is over.';
	END IF;
	INSERT INTO loyalty.board_close AS c (board, period_start, known_at, places)
	VALUES (board, period_start, known_at, coalesce((definition ->> 'places')::numeric, 0)) ON CONFLICT DO NOTHING RETURNING c.places INTO n;
	PERFORM loyalty.keep_act('close_board', subject => format('%s %s', board, period_start)) WHERE n IS NOT NULL;
	IF n > 0 THEN
		INSERT INTO loyalty.board_place (member_id, board, period_start, place, score)
		SELECT t.member_id, board, period_start, t.rank, t.score
		-- a little more than the places: there may be ties at the last
		FROM loyalty.board_top(board, (SELECT count(*) FROM loyalty.board_score s WHERE s.board = begin_closing.board AND s.period_start = begin_closing.period_start
			AND s.score >= (SELECT min(x.score) FROM (SELECT y.score FROM loyalty.board_score y WHERE y.board = begin_closing.board
				AND y.period_start = begin_closing.period_start ORDER BY y.score DESC LIMIT CASE definition ->> 'ties' WHEN 'dense' THEN NULL ELSE n END) x)), NULL, period_start) t
		WHERE t.rank <= n ORDER BY t.member_id;
	END IF;
	RETURN n;
END
$$;
COMMENT ON FUNCTION begin_closing(text, date) IS
'Fixes who has which place of a period that is over, once. Returns how many places are rewarded; NULL: it was done before. Part of close_board(). Errors: LY751, LY003.';

CREATE FUNCTION close_board_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
	n bigint := 0;
BEGIN
	FOR p IN SELECT x.* FROM loyalty.board_place x
		WHERE x.member_id = ANY (member_ids) AND x.board = split_part(scope, ' ', 1) AND x.period_start = split_part(scope, ' ', 2)::date AND x.activity_id IS NULL
		ORDER BY x.member_id FOR UPDATE
	LOOP
		CONTINUE WHEN loyalty.is_forgotten(ARRAY[p.member_id, loyalty.canonical_member(p.member_id)]);
		UPDATE loyalty.board_place x SET activity_id = (SELECT r.activity_id FROM loyalty.record_activity(p.member_id, 'board_place',
			loyalty.board_end(loyalty.board_in_force(p.board, p.period_start), p.period_start), external_id => scope,
			document => jsonb_build_object('board', p.board, 'period_start', p.period_start, 'place', p.place, 'score', p.score)) r)
		WHERE x.member_id = p.member_id AND x.board = p.board AND x.period_start = p.period_start;
		n := n + 1;
	END LOOP;
	RETURN n;
END
$$;
COMMENT ON FUNCTION close_board_of(bigint[], timestamptz, text) IS
'Records the places of some members on a board that was closed, but for those who are forgotten; returns how many. Part of close_board(), by run_batch().';

CREATE FUNCTION next_close_board(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT max(n.member_id), count(*), array_agg(n.member_id ORDER BY n.member_id), array_agg(scope) INTO up_to, seen, members, scopes
	FROM (SELECT p.member_id FROM loyalty.board_place p
		WHERE p.board = split_part(scope, ' ', 1) AND p.period_start = split_part(scope, ' ', 2)::date AND p.activity_id IS NULL
			AND (behind IS NULL OR p.member_id > behind)
		ORDER BY p.member_id LIMIT batch_size) n;
	total := CASE WHEN behind IS NULL THEN (SELECT count(*) FROM loyalty.board_place p
		WHERE p.board = split_part(scope, ' ', 1) AND p.period_start = split_part(scope, ' ', 2)::date AND p.activity_id IS NULL) END;
END
$$;
COMMENT ON FUNCTION next_close_board(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members whose places on a closed board are still to be recorded. Part of close_board(), by run_job().';

CREATE PROCEDURE close_board(board text, period_start date, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM loyalty.require_autocommit('close_board');
	PERFORM loyalty.begin_closing(board, period_start);
	CALL loyalty.run_job('close_board', NULL, batch_size, 'places', 'places recorded',
		pg_catalog.jsonb_build_object('board', board, 'period_start', period_start), board OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) period_start::pg_catalog.text);
END
$$;
COMMENT ON PROCEDURE close_board(text, date, integer) IS
'Closes a period of a board that is over: fixes who has which of its "places", and records each as an activity of kind board_place, at the end of the period, with {"board", "period_start", "place", "score"} as document, for campaigns to reward; once, whatever is returned or comes later. With ties "share" and "dense" all at a place have it. Commits after batch_size members; can be stopped at any time, the same call goes on. Errors: LY751 board, LY003 the period is not over, or of a lifetime, LY006 it is running already, 25001 inside a transaction.';

CREATE FUNCTION refresh_engagements_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	m bigint;
BEGIN
	FOR m IN SELECT DISTINCT loyalty.canonical_member(x) FROM unnest(member_ids) x ORDER BY 1 LOOP
		PERFORM loyalty.lock_engagement(m);
		PERFORM loyalty.engage(m, NULL);
	END LOOP;
	RETURN cardinality(member_ids);
END
$$;
COMMENT ON FUNCTION refresh_engagements_of(bigint[], timestamptz, text) IS
'refresh_engagement() of some members. Part of refresh_engagements(), by run_batch().';

CREATE FUNCTION next_refresh_engagements(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	up_to := loyalty.next_members(behind, batch_size, '{activity}');
	SELECT count(*), array_agg(DISTINCT a.member_id) INTO seen, members
	FROM loyalty.activity a WHERE (behind IS NULL OR a.member_id > behind) AND a.member_id <= up_to;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.activity') END;
END
$$;
COMMENT ON FUNCTION next_refresh_engagements(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members with activities. Part of refresh_engagements(), by run_job().';

CREATE PROCEDURE refresh_engagements(batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('refresh_engagements', NULL, batch_size, 'activities', 'members refreshed');
END
$$;
COMMENT ON PROCEDURE refresh_engagements(integer) IS
'refresh_engagement() of all members with activities: once after a board, badge or challenge was defined that counts what was there before. Commits after batch_size members; can be stopped at any time, the same call goes on. Errors: LY006 it is running already, 25001 inside a transaction.';
