/*
 * audience: terms by what rooms to the left say of a member's orders and facts:
 * segments of rfm, value, measures of tiers.  See audience_term.sql.
 */

CREATE FUNCTION audience_term_segment(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	scheme CONSTANT text := coalesce(argument ->> 'scheme', 'code125');
	segments text[];
	unknown text;
	breaks loyalty.rfm_breaks;
	segment text;
BEGIN
	PERFORM loyalty.term_keys('segment', argument, '{in,breaks,scheme,kind,channel}');
	segments := loyalty.term_texts('segment', argument, argument -> 'in');
	BEGIN
		unknown := (SELECT min(s) FROM unnest(segments) s WHERE s NOT IN (
			SELECT r ->> 'segment' FROM jsonb_array_elements(loyalty.find_rfm_scheme(scheme) -> 'rules') r
			UNION ALL SELECT coalesce(d -> 'otherwise' ->> 'segment', '') FROM loyalty.find_rfm_scheme(scheme) d));
		breaks := (argument ->> 'breaks')::loyalty.rfm_breaks;
		PERFORM loyalty.check_rfm_bins(breaks, scheme);
	EXCEPTION WHEN SQLSTATE 'LY304' OR SQLSTATE 'LY303' OR SQLSTATE 'LY003' OR data_exception OR syntax_error THEN
		PERFORM loyalty.refuse_term('segment', argument, SQLERRM || '.');
	END;
	IF unknown IS NOT NULL THEN
		PERFORM loyalty.refuse_term('segment', argument, format('Scheme "%s" has no segment "%s".', scheme, unknown));
	ELSIF breaks IS NULL OR loyalty.rfm_cuts(breaks, 'recency') IS NULL THEN
		PERFORM loyalty.refuse_term('segment', argument, '"breaks" must have cut points: what rfm_breaks() found, or rfm_thresholds(), as JSON.');
	END IF;
	segment := format('loyalty.rfm_segment_of(loyalty.rfm_agg(x.at, x.amount), %L::loyalty.rfm_breaks, $3, %L)', breaks, scheme);
	SELECT * INTO members, test, why, now_only FROM loyalty.term_over_activities('segment', argument, '',
		format('%s OPERATOR(pg_catalog.=) ANY (%L::pg_catalog.text[])', segment, segments), false, segment, '');
END
$$;
COMMENT ON FUNCTION audience_term_segment(jsonb) IS
'Term {"segment": {"in": ["Champions"], "breaks": {...}, "scheme": "code125", "kind": "order"}} of audiences: the segment of rfm, by cut points that were found once (rfm_breaks()) or given (rfm_thresholds()). Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_value(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	reading CONSTANT text := coalesce(argument ->> 'read', 'value');
	model loyalty.clv_model;
	horizon interval;
	number text;
	r record;
BEGIN
	PERFORM loyalty.term_keys('value', argument, '{model,read,horizon,kind,channel,>=,>,<=,<,=}');
	IF reading NOT IN ('value', 'orders', 'alive') THEN
		PERFORM loyalty.refuse_term('value', argument, '"read" is value, orders or alive.');
	END IF;
	BEGIN
		model := (argument ->> 'model')::loyalty.clv_model;
		horizon := coalesce((argument ->> 'horizon')::interval, '365 days');
		number := CASE reading
			WHEN 'value' THEN format('loyalty.lifetime_value(loyalty.rfm_agg(x.at, x.amount), %L::loyalty.clv_model, %L::pg_catalog.interval, 0, $3)', model, horizon)
			WHEN 'orders' THEN format('loyalty.expected_orders(loyalty.rfm_agg(x.at, x.amount), %L::loyalty.clv_model, %L::pg_catalog.interval, $3)', model, horizon)
			ELSE format('loyalty.p_alive(loyalty.rfm_agg(x.at, x.amount), %L::loyalty.clv_model, $3)', model) END;
		-- that the model can say this
		EXECUTE format('SELECT %s FROM (VALUES ($1, 1::numeric), ($2, 1)) x (at, amount)', number)
		USING now() - interval '2 days', now() - interval '1 day', now();
	EXCEPTION WHEN SQLSTATE 'LY321' OR SQLSTATE 'LY003' OR data_exception OR syntax_error THEN
		PERFORM loyalty.refuse_term('value', argument, SQLERRM || '.');
	END;
	IF model IS NULL THEN
		PERFORM loyalty.refuse_term('value', argument, '"model" is what clv_fit() found, or make_clv_model(), as JSON.');
	END IF;
	number := format('coalesce(%s, 0)::pg_catalog.numeric', number);
	SELECT * INTO r FROM loyalty.term_range('value', argument, argument, number);
	SELECT * INTO members, test, why, now_only FROM loyalty.term_over_activities('value', argument, '', r.condition, r.has_zero,
		format('pg_catalog.round(%s, 4)', number), reading);
END
$$;
COMMENT ON FUNCTION audience_term_value(jsonb) IS
'Term {"value": {"model": {...}, "read": "value", "horizon": "365 days", ">=": 100}} of audiences: what a model of customer value expects: value (lifetime_value()), orders (expected_orders()) or alive (p_alive()), by a model that was fitted once; 0 without an order. Error: LY705. Part of define_audience().';

CREATE FUNCTION audience_term_measure(argument jsonb, OUT members text, OUT test text, OUT why text, OUT now_only boolean) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	m loyalty.tier_measure;
	number text := 'coalesce(pg_catalog.sum(x.amount), 0)';
	facts text;
	r record;
BEGIN
	PERFORM loyalty.term_keys('measure', argument, '{of,within,>=,>,<=,<,=}');
	SELECT t.* INTO m FROM loyalty.tier_measure t WHERE t.measure = argument ->> 'of';
	IF NOT FOUND THEN
		PERFORM loyalty.refuse_term('measure', argument, format('"of" names no measure; see define_measure(): "%s".', argument ->> 'of'));
	ELSIF m.source = 'function' AND argument ? 'within' THEN
		PERFORM loyalty.refuse_term('measure', argument, format('Measure "%s" is the last number of a function, and has no "within".', m.measure));
	END IF;
	facts := CASE WHEN m.source = 'points' THEN loyalty.points_of_measure(m.currency, m.pending)
		ELSE format('SELECT p.person, e.at, e.amount, e.counts_at FROM %s p JOIN loyalty.tier_event e ON e.member_id OPERATOR(pg_catalog.=) p.member_id '
			'WHERE e.measure OPERATOR(pg_catalog.=) %L AND e.recorded_at OPERATOR(pg_catalog.<=) $4', loyalty.numbers_between('loyalty.tier_event'), m.measure) END;
	IF m.source = 'function' THEN
		number := 'coalesce((pg_catalog.array_agg(x.amount ORDER BY x.at DESC, x.amount DESC))[1], 0)';
	END IF;
	SELECT * INTO r FROM loyalty.term_range('measure', argument, argument, number);
	SELECT * INTO members, test, why, now_only FROM loyalty.term_by_number('measure', argument,
		format('(%s) x WHERE x.at OPERATOR(pg_catalog.<=) $3 AND coalesce(x.counts_at, x.at) OPERATOR(pg_catalog.>) %s', facts, loyalty.term_since('measure', argument)),
		r.condition, r.has_zero, number, m.measure);
END
$$;
COMMENT ON FUNCTION audience_term_measure(jsonb) IS
'Term {"measure": {"of": "visits", "within": "1 year", ">=": 10}} of audiences: a measure of tiers (define_measure()): the sum of its facts, or of points; of a function what evaluate_tiers() found last. Error: LY705. Part of define_audience().';
