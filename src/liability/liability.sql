/*
 * liability: what the points outstanding are worth, and what was earned by them.
 *
 * First the primitives, which need no tables: the triangle of what was redeemed
 * at which age, what it says of the rest, what is outstanding, and the
 * arithmetic of deferral.  Then the program.
 */

-- ---------------------------------------------------------------------------
-- The triangle
-- ---------------------------------------------------------------------------

CREATE TYPE triangle_cell AS (cohort date, months integer, age integer, issued bigint, redeemed bigint, expired bigint);
COMMENT ON TYPE triangle_cell IS
'A cell of a redemption triangle: cohort, the first day of the period of issue; months, its length; age, in periods from there; issued, at age 0; redeemed at that age; expired at its end.';

CREATE FUNCTION redemption_triangle_trans(aggregate_state, issued_at timestamptz, issued bigint, redeemed_at timestamptz, redeemed bigint, expires_at timestamptz, period text, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'loyalty_redemption_triangle_trans';
COMMENT ON FUNCTION redemption_triangle_trans(aggregate_state, timestamptz, bigint, timestamptz, bigint, timestamptz, text, text) IS 'Transition function of redemption_triangle_agg.';

CREATE FUNCTION grid_combine(aggregate_state, aggregate_state) RETURNS aggregate_state
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_grid_combine';
COMMENT ON FUNCTION grid_combine(aggregate_state, aggregate_state) IS 'Combine function of redemption_triangle_agg, entry_triangle_agg and outstanding_agg.';

CREATE FUNCTION redemption_triangle_final(aggregate_state) RETURNS triangle_cell[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_redemption_triangle_final';
COMMENT ON FUNCTION redemption_triangle_final(aggregate_state) IS 'Final function of redemption_triangle_agg and entry_triangle_agg.';

CREATE AGGREGATE redemption_triangle_agg(issued_at timestamptz, issued bigint, redeemed_at timestamptz, redeemed bigint, expires_at timestamptz, period text, time_zone text) (
	SFUNC = redemption_triangle_trans,
	STYPE = aggregate_state,
	FINALFUNC = redemption_triangle_final,
	COMBINEFUNC = grid_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE redemption_triangle_agg(timestamptz, bigint, timestamptz, bigint, timestamptz, text, text) IS
'What was issued in each period (month, quarter, year or another number of months), and how much of that was redeemed at which age. A row is an issue (issued_at, issued, NULL, NULL) or a redemption (issued_at, NULL, redeemed_at, redeemed; negative for a refund), never both: LY003. What is taken back is a negative issue. expires_at, of both, is when the lot expires (NULL: never): what is left of it has expired then. Rows without issued_at or both numbers are left out. Read it with triangle_cells(), development_factors(), hazards() and ultimate_rate(). Errors: LY003, LY340, LY342.';

CREATE FUNCTION entry_triangle_trans(aggregate_state, kind text, points bigint, effective_at timestamptz, expires_at timestamptz, lots points_lots, of_kind text, origin_at timestamptz, period text, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 2 AS 'MODULE_PATHNAME', 'loyalty_entry_triangle_trans';
COMMENT ON FUNCTION entry_triangle_trans(aggregate_state, text, bigint, timestamptz, timestamptz, points_lots, text, timestamptz, text, text) IS 'Transition function of entry_triangle_agg.';

CREATE AGGREGATE entry_triangle_agg(kind text, points bigint, effective_at timestamptz, expires_at timestamptz, lots points_lots, of_kind text, origin_at timestamptz, period text, time_zone text) (
	SFUNC = entry_triangle_trans,
	STYPE = aggregate_state,
	FINALFUNC = redemption_triangle_final,
	COMBINEFUNC = grid_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE entry_triangle_agg(text, bigint, timestamptz, timestamptz, points_lots, text, timestamptz, text, text) IS
'redemption_triangle_agg() of entries of the ledger, as they are: earned and adjusted points are issued, what repaid a debt is redeemed at once; redeemed lots are redemptions; what is taken back was never issued; a refund is a negative redemption. of_kind: of a reversal the kind of the entry that it undoes; origin_at: when that was, of the reversal of a reversal when that was of which that is. Other kinds are left out. Part of redemption_triangle(). Errors: LY003, LY340, LY342.';

CREATE FUNCTION triangle_cells(t triangle_cell[], as_of date, OUT cohort date, OUT age integer, OUT issued bigint, OUT redeemed bigint, OUT cumulative bigint, OUT expired bigint) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 100 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.cohort, a.age, c.issued, coalesce(r.redeemed, 0), (sum(coalesce(r.redeemed, 0)) OVER w)::bigint, (sum(coalesce(r.expired, 0)) OVER w)::bigint
	FROM (SELECT u.cohort, u.months, sum(u.issued)::bigint AS issued FROM unnest($1) u GROUP BY u.cohort, u.months) c,
		LATERAL generate_series(0, floor(loyalty.months_between(c.cohort, $2)::numeric / c.months)::integer - 1) a (age)
	LEFT JOIN LATERAL (SELECT sum(u.redeemed)::bigint AS redeemed, sum(u.expired)::bigint AS expired FROM unnest($1) u WHERE u.cohort = c.cohort AND u.age = a.age) r ON true
	WINDOW w AS (PARTITION BY c.cohort ORDER BY a.age)
	ORDER BY c.cohort, a.age
$$;
COMMENT ON FUNCTION triangle_cells(triangle_cell[], date) IS
'The cells of a triangle whose age was over by the begin of a day: what was issued in the cohort, what was redeemed at that age, and up to it (cumulative), and what had expired by its end. An age that is not over yet would look as if nobody wanted to redeem.';

CREATE FUNCTION development_factors(t triangle_cell[], as_of date, OUT age integer, OUT factor numeric) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.age, sum(c.cumulative) / nullif(sum(p.cumulative), 0)
	FROM loyalty.triangle_cells($1, $2) c JOIN loyalty.triangle_cells($1, $2) p ON p.cohort = c.cohort AND p.age = c.age - 1
	GROUP BY c.age ORDER BY c.age
$$;
COMMENT ON FUNCTION development_factors(triangle_cell[], date) IS
'By how much what is redeemed grows from one age to the next: the sums over all cohorts that have both behind them (the chain ladder, volume-weighted). NULL where nothing had been redeemed.';

CREATE FUNCTION hazards(t triangle_cell[], as_of date, OUT age integer, OUT outstanding bigint, OUT redeemed bigint, OUT hazard numeric) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.age, sum(c.there)::bigint, sum(c.redeemed)::bigint, coalesce(least(greatest(sum(c.redeemed) / nullif(sum(c.there), 0), 0), 1), 0)
	FROM (SELECT x.age, x.redeemed, x.issued - x.cumulative + x.redeemed - coalesce(lag(x.expired) OVER (PARTITION BY x.cohort ORDER BY x.age), 0) AS there
		FROM loyalty.triangle_cells($1, $2) x) c
	GROUP BY c.age ORDER BY c.age
$$;
COMMENT ON FUNCTION hazards(triangle_cell[], date) IS
'What part of the points that are there at the begin of an age is redeemed at that age, over all cohorts that have it behind them; what has expired before is not there. Kept between 0 and 1.';

CREATE FUNCTION ultimate_rate(t triangle_cell[], as_of date, method text DEFAULT 'chain_ladder',
	OUT cohort date, OUT age integer, OUT issued bigint, OUT redeemed bigint, OUT ultimate numeric, OUT rate numeric) RETURNS SETOF record
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE ROWS 20 SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	factors numeric[] := ARRAY(SELECT f.factor FROM loyalty.development_factors(t, as_of) f ORDER BY f.age);
BEGIN
	IF method IS NULL OR method NOT IN ('chain_ladder', 'latest') THEN
		RAISE EXCEPTION 'unknown method "%"', method
			USING ERRCODE = 'LY003', DETAIL = 'It tells what will have been redeemed in the end.', HINT = 'It is chain_ladder or latest.';
	ELSIF method = 'latest' THEN
		factors := '{}';
	ELSIF cardinality(factors) < 2 THEN
		RAISE WARNING 'the triangle has fewer than 3 ages'
			USING ERRCODE = 'LY823', DETAIL = format('It has %s that are over by %s; what was redeemed so far is taken as all there will be.', cardinality(factors) + 1, as_of),
				HINT = 'Wait, or set a rate.';
		factors := '{}';
	END IF;
	RETURN QUERY
	SELECT c.cohort, c.age, c.issued, c.cumulative, u.ultimate, u.ultimate / nullif(c.issued, 0)
	FROM (SELECT DISTINCT ON (x.cohort) x.* FROM loyalty.triangle_cells(t, as_of) x ORDER BY x.cohort, x.age DESC) c,
		LATERAL (WITH RECURSIVE developed (age, ultimate) AS (
				SELECT c.age, c.cumulative::numeric
				UNION ALL
				SELECT d.age + 1, d.ultimate * coalesce(factors[d.age + 1], 1) FROM developed d WHERE d.age < cardinality(factors))
			SELECT d.ultimate FROM developed d ORDER BY d.age DESC LIMIT 1) u
	ORDER BY c.cohort;
END
$$;
COMMENT ON FUNCTION ultimate_rate(triangle_cell[], date, text) IS
'What of each cohort will have been redeemed in the end, and as a part of what was issued: chain_ladder, by the development factors of the ages that it has before it; latest, what was redeemed so far, which is taken also where there are fewer than 3 ages (warning LY823). It knows no expiry and may exceed 1: a figure for people to look at. Error: LY003.';

-- ---------------------------------------------------------------------------
-- What is outstanding
-- ---------------------------------------------------------------------------

CREATE TYPE outstanding_cell AS (issued_in date, lives_until date, available bigint, pending bigint, held bigint, owed bigint);
COMMENT ON TYPE outstanding_cell IS
'Points of lots that were issued in one period and live until another: first days of these; lives_until, the last period in which they live, NULL for ever. What is owed has a cell without periods.';

CREATE FUNCTION outstanding_trans(aggregate_state, balance points_balance, as_of timestamptz, period text, time_zone text) RETURNS aggregate_state
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL SAFE COST 20 AS 'MODULE_PATHNAME', 'loyalty_outstanding_trans';
COMMENT ON FUNCTION outstanding_trans(aggregate_state, points_balance, timestamptz, text, text) IS 'Transition function of outstanding_agg.';

CREATE FUNCTION outstanding_final(aggregate_state) RETURNS outstanding_cell[]
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_outstanding_final';
COMMENT ON FUNCTION outstanding_final(aggregate_state) IS 'Final function of outstanding_agg.';

CREATE AGGREGATE outstanding_agg(balance points_balance, as_of timestamptz, period text, time_zone text) (
	SFUNC = outstanding_trans,
	STYPE = aggregate_state,
	FINALFUNC = outstanding_final,
	COMBINEFUNC = grid_combine,
	PARALLEL = SAFE
);
COMMENT ON AGGREGATE outstanding_agg(points_balance, timestamptz, text, text) IS
'What balances have left that has not expired as of an instant: available, pending, held and owed, by the period in which it was issued and the last in which it lives. as_of NULL is now, or the last entry of a balance where that is later, so that nobody''s posting of meanwhile is an error; a given one before it is (LY110). Errors: LY110, LY340.';

-- ---------------------------------------------------------------------------
-- Deferral
-- ---------------------------------------------------------------------------

CREATE FUNCTION allocate_price(amount numeric, ssp_goods numeric, points numeric, point_value numeric, redemption_rate numeric, scale integer DEFAULT 2,
	OUT goods numeric, OUT deferred numeric) RETURNS record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT $1 - d.deferred, d.deferred
	FROM (SELECT coalesce(round($1 * ($3 * $4 * $5) / nullif($2 + $3 * $4 * $5, 0), $6), 0) AS deferred) d
$$;
COMMENT ON FUNCTION allocate_price(numeric, numeric, numeric, numeric, numeric, integer) IS
'Shares the price of a sale between goods and points, by their stand-alone selling prices: that of the goods, and points times their value times the part of them that will be redeemed. deferred, what belongs to the points, is rounded half up to scale; goods is the rest, so the two sum to the amount. (IFRS 15, ASC 606; no advice.)';

CREATE FUNCTION recognised(deferred numeric, redeemed numeric, expected numeric) RETURNS numeric
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $3 <= $2 THEN $1 ELSE $1 * $2 / $3 END
$$;
COMMENT ON FUNCTION recognised(numeric, numeric, numeric) IS
'What was earned so far of what was deferred: in the part that points redeemed are of all that are expected to be; all of it once nothing more is expected. A changed estimate changes the figure since the beginning.';

CREATE FUNCTION redeemed_share(hazards numeric[], tail numeric, from_age integer, until_age integer) RETURNS numeric
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	left_over numeric := 1;
	last CONSTANT integer := CASE WHEN until_age IS NULL THEN cardinality(hazards) - 1 ELSE until_age END;
BEGIN
	IF hazards IS NULL THEN
		RETURN NULL;
	END IF;
	FOR age IN greatest(from_age, 0) .. least(last, cardinality(hazards) - 1) LOOP
		left_over := round(left_over * (1 - hazards[age + 1]), 30);
	END LOOP;
	-- beyond what was ever observed
	IF tail > 0 AND until_age IS NULL THEN
		RETURN 1;
	ELSIF tail > 0 AND last >= cardinality(hazards) THEN
		left_over := left_over * (1 - tail) ^ (last - greatest(from_age, cardinality(hazards)) + 1);
	END IF;
	RETURN 1 - left_over;
END
$$;
COMMENT ON FUNCTION redeemed_share(numeric[], numeric, integer, integer) IS
'What part of points of an age will be redeemed up to the end of another (NULL: ever), by the hazards of ages 0, 1, ...; beyond those each age has the hazard tail.';
