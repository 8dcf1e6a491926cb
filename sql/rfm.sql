--
-- rfm: the summary, its aggregates, scores and segments
--
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';

CREATE TABLE purchase (member_id int, at timestamptz, amount numeric, order_id text);
INSERT INTO purchase VALUES
	(1, '2026-01-05 10:00+00', 10.00, 'a'), (1, '2026-01-05 18:00+00', 5.50, 'b'),
	(1, '2026-01-20 09:00+00', 20.00, 'c'), (1, '2026-01-22 09:00+00', -4.25, 'c-'),
	(2, '2026-01-31 23:30+00', 0, 'd'), (2, '2026-01-31 23:30+00', 7.125, 'd'),
	(3, '2026-01-01 00:00+00', -3, 'e'), (4, NULL, 1, 'f'), (4, '2026-01-01', NULL, 'g');

-- one summary for each member; rows with a NULL are left out, refunds are no purchases
SELECT member_id, rfm_agg(at, amount) FROM purchase GROUP BY member_id ORDER BY member_id;
SELECT rfm_agg(at, amount) FROM purchase WHERE false;
SELECT member_id, recency(s, '2026-02-01'), frequency(s), monetary_total(s), round(monetary_mean(s), 4) AS mean,
	   repeat_mean(s), tenure(s, '2026-02-01'), purchase_total(s), refund_total(s), refund_count(s)
FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM purchase GROUP BY member_id) x ORDER BY member_id;
SELECT member_id, first_purchase_at(s), second_purchase_at(s), previous_purchase_at(s), last_purchase_at(s)
FROM (SELECT member_id, rfm_agg(at, amount) AS s FROM purchase GROUP BY member_id) x ORDER BY member_id;

-- rollup and + are the aggregate over all the events
SELECT rollup(s) = (SELECT rfm_agg(at, amount) FROM purchase) AS same
FROM (SELECT rfm_agg(at, amount) AS s FROM purchase GROUP BY member_id, order_id) x;
SELECT (SELECT rfm_agg(at, amount) FROM purchase WHERE order_id < 'c') +
	   (SELECT rfm_agg(at, amount) FROM purchase WHERE order_id >= 'c') =
	   (SELECT rfm_agg(at, amount) FROM purchase) AS same;
SELECT rollup(s) FROM (VALUES (NULL::rfm)) x (s);
-- as a window, each row has its own
SELECT at, frequency(rfm_agg(at, amount) OVER (ORDER BY at)) FROM purchase WHERE member_id = 1 ORDER BY at;

-- collapsed: by day of a zone, by order
SELECT member_id, rfm_agg_by(at, amount, 'day', 'UTC') FROM purchase WHERE member_id < 3 GROUP BY member_id ORDER BY member_id;
SELECT rfm_agg_by(at, amount, 'day', 'Asia/Shanghai') FROM purchase WHERE member_id = 1;
SELECT unit, frequency(rfm_agg_by(at, amount, unit, 'UTC')), first_purchase_at(rfm_agg_by(at, amount, unit, 'UTC'))
FROM purchase, unnest('{hour,day,week,month}'::text[]) WITH ORDINALITY u (unit, n) WHERE member_id = 1 GROUP BY n, unit ORDER BY n;
SELECT member_id, rfm_agg_by_key(at, amount, rtrim(order_id, '-')) FROM purchase WHERE member_id < 3 GROUP BY member_id ORDER BY member_id;
SELECT rfm_agg_by(at, amount, 'day', 'UTC') IS NULL AS none, rfm_agg_by_key(at, amount, order_id) IS NULL AS none FROM purchase WHERE member_id = 4;

-- extremes
SELECT rfm_agg(at, amount) FROM (VALUES ('4713-01-01 00:00:00+00 BC'::timestamptz, 1e30), ('294276-12-31 23:59:59.999999+00', 0.001)) v (at, amount);
SELECT monetary_total(rfm_agg('2026-01-01', 42535295865117307932921825928.97)) * 4 AS near_the_top;
SELECT frequency(rfm_agg('2026-01-01', 0.01)), monetary_total(rfm_agg('2026-01-01', 0.01)), first_purchase_at(rfm_agg('2026-01-01', 0.01))
FROM generate_series(1, 100000);
SELECT frequency(rfm_agg_by_key('2026-01-01', 0.01, 'one')), monetary_total(rfm_agg_by('2026-01-01', 0.01, 'day', 'UTC'))
FROM generate_series(1, 100000);
SELECT monetary_total(rfm_agg('2026-01-01', x)) FROM (VALUES (100 / 1.2), (0.000000000000000000000000000000000001), (1e-9)) v (x);

-- refusals: each with its SQLSTATE
CREATE FUNCTION try(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE query;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', state, message, nullif(detail, ''), nullif(hint, ''));
END
$$;
SELECT try(q) FROM (VALUES
	(1, $$SELECT rfm_agg('2026-01-01', 'NaN')$$),
	(2, $$SELECT rfm_agg('2026-01-01', x) FROM unnest('{Infinity}'::numeric[]) x$$),
	(3, $$SELECT rfm_agg('2026-01-01', 1e40)$$),
	(4, $$SELECT rfm_agg('2026-01-01', 1e-37)$$),
	(5, $$SELECT rfm_agg('2026-01-01', 1e34) FROM generate_series(1, 20000)$$),
	(6, $$SELECT rfm_agg('2026-01-01', x) FROM unnest('{1e30,0.000000000001}'::numeric[]) x$$),
	(7, $$SELECT rfm_agg('infinity', 1)$$),
	(8, $$SELECT rfm_agg('-infinity', 1)$$),
	(9, $$SELECT rfm_agg_by('2026-01-01', 1, 'fortnight', 'UTC')$$),
	(10, $$SELECT rfm_agg_by('2026-01-01', 1, 'day', 'Middle/Earth')$$),
	(11, $$SELECT rfm_agg_by('2026-01-01', 1, u, 'UTC') FROM unnest('{day,hour}'::text[]) u$$),
	(12, $$SELECT rfm_agg_by('2026-01-01', 1, NULL, 'UTC')$$),
	(13, $$SELECT recency(rfm_agg('2026-01-02', 1), '2026-01-01')$$),
	(14, $$SELECT recency(rfm_agg('2026-01-02', 1), 'infinity')$$),
	(15, $$SELECT rfm_agg('2026-01-02', 1e38) + rfm_agg('2026-01-02', 9e37)$$),
	(16, $$SELECT rollup(s) FROM (SELECT rfm_agg('2026-01-02', 9e37) s FROM generate_series(1, 2) g GROUP BY g) x$$)
) v (n, q) ORDER BY n;

-- text and binary come back the same under any setting; garbage is refused
CREATE TABLE stored AS SELECT member_id, rfm_agg(at, amount) AS s FROM purchase GROUP BY member_id;
INSERT INTO stored SELECT 100 + g, rfm_agg(timestamptz '0044-03-15 12:00:00.5 BC' + g * i * interval '1 day', g * 0.1 * i) FROM generate_series(1, 50) g, generate_series(-3, g) i GROUP BY g;
SET timezone = 'America/New_York';
SET datestyle = 'German, DMY';
SELECT count(*) AS stored, count(*) FILTER (WHERE s::text::rfm = s) AS same FROM stored;
RESET datestyle;
SET timezone = 'UTC';
SELECT count(*) FROM (SELECT DISTINCT s FROM stored WHERE s IS NOT NULL) x;
SELECT s::text::jsonb -> 'bought' AS bought FROM stored WHERE member_id = 1;
SELECT try(format('SELECT %L::rfm', t)) FROM (VALUES
	(1, ''), (2, 'x'), (3, '{}'), (4, '{"v":2}'),
	(5, '{"v":1,"unit":"row","purchases":1,"refunds":0,"first_purchases":1,"first":"2026-02-30 00:00:00+00","second":null,"previous":null,"last":"2026-02-30 00:00:00+00","bought":1,"refunded":0,"first_bought":1}'),
	(6, '{"v":1,"unit":"row","purchases":1,"refunds":0,"first_purchases":1,"first":"2026-01-01 00:00:00+00","second":null,"previous":null,"last":"2026-01-01 00:00:00+00","bought":1.00,"refunded":0,"first_bought":1}'),
	(7, '{"v":1,"unit":"row","purchases":1,"refunds":0,"first_purchases":1,"first":"2026-01-01 00:00:00+00","second":null,"previous":null,"last":"2026-01-01 00:00:00+00","bought":1,"refunded":0,"first_bought":2}'),
	(8, '{"v":1,"unit":"row","purchases":0,"refunds":0,"first_purchases":0,"first":null,"second":null,"previous":null,"last":"2026-01-01 00:00:00+00","bought":0,"refunded":0,"first_bought":0}'),
	(9, '{"v":1,"unit":"row","purchases":1,"refunds":0,"first_purchases":1,"first":"2026-01-01 00:00:00+00","second":null,"previous":null,"last":"2026-01-01 00:00:00+00","bought":1,"refunded":0,"first_bought":1} '),
	(10, '{"v":1,"unit":"row","purchases":0,"refunds":0,"first_purchases":0,"first":null,"second":null,"previous":null,"last":null,"bought":0,"refunded":0,"first_bought":0}'),
	(11, '{"v":1,"unit":"row","purchases":99999999999999999999,"refunds":0,"first_purchases":0,"first":null,"second":null,"previous":null,"last":null,"bought":0,"refunded":0,"first_bought":0}')
) v (n, t) ORDER BY n;

-- the empty value changes nothing
SELECT s + '{"v":1,"unit":"row","purchases":0,"refunds":0,"first_purchases":0,"first":null,"second":null,"previous":null,"last":null,"bought":0,"refunded":0,"first_bought":0}' = s AS same
FROM stored WHERE member_id = 1;

-- breaks: every method on twelve members; scores at the cut points
CREATE TABLE twelve AS
SELECT g AS member_id, rfm_agg(timestamptz '2026-01-31' - g * interval '1 day' - i * interval '1 year', least(g, 8) * 10)
	AS s
FROM generate_series(1, 12) g, generate_series(0, (g - 1) / 3) i GROUP BY g;
SELECT m, rfm_breaks(s, '2026-01-31', m::rfm_breaks) FROM twelve, unnest('{quantile(4),ntile(4),rfmr(4),mean}'::text[]) m GROUP BY m ORDER BY m;
SELECT t.member_id, recency(s, '2026-01-31'), frequency(s), monetary_total(s), q.r, q.f, q.m, n.r, n.f, n.m, k.r, k.f, k.m, a.r, a.f, a.m, h.r, h.f, h.m
FROM twelve t,
	 (SELECT rfm_breaks(s, '2026-01-31', 'quantile(4)') AS q, rfm_breaks(s, '2026-01-31', 'ntile(4)') AS n,
			 rfm_breaks_keyed(s, '2026-01-31', 'ntile(4)', to_char(member_id, '00')) AS k,
			 rfm_breaks(s, '2026-01-31', 'mean') AS a FROM twelve) b,
	 rfm_score(s, b.q, '2026-01-31') q, rfm_score(s, b.n, '2026-01-31') n,
	 rfm_score(s, b.k, '2026-01-31', to_char(member_id, '00')) k, rfm_score(s, b.a, '2026-01-31') a,
	 rfm_score(s, rfm_thresholds('{3,6,9}', '{2,3,4}', '{30,60,80}'), '2026-01-31') h
ORDER BY t.member_id;
-- the two readings of monetary
SELECT rfm_cuts(rfm_breaks(s, '2026-01-31', rfm_method('quantile', 3, reading)), 'monetary')
FROM twelve, unnest('{total,mean}'::text[]) reading GROUP BY reading ORDER BY reading;
-- one member, fewer members than tiles, none
SELECT rfm_breaks(s, '2026-01-31', 'quantile(3)'), rfm_breaks(s, '2026-01-31', 'ntile(3)') FROM twelve WHERE member_id = 1;
SELECT (rfm_score(s, b, '2026-01-31')).* FROM twelve, (SELECT rfm_breaks(s, '2026-01-31', 'ntile(10)') b FROM twelve WHERE member_id <= 3) x WHERE member_id <= 3 ORDER BY member_id;
SELECT rfm_breaks(s, '2026-01-31', 'ntile') FROM twelve WHERE false;
SELECT rfm_score(NULL, rfm_thresholds('{1}', '{1}', '{1}'), '2026-01-31');
-- text of breaks comes back the same
SELECT m, rfm_breaks_keyed(s, '2026-01-31', rfm_method(m, NULL, 'mean', 'Asia/Shanghai'), E'k"\\' || member_id)::text::rfm_breaks::text =
	   rfm_breaks_keyed(s, '2026-01-31', rfm_method(m, NULL, 'mean', 'Asia/Shanghai'), E'k"\\' || member_id)::text AS same
FROM twelve, unnest('{quantile,ntile,rfmr,mean}'::text[]) m GROUP BY m ORDER BY m;
SELECT try(q) FROM (VALUES
	(1, $$SELECT rfm_method('octile')$$),
	(2, $$SELECT rfm_method('quantile', 11)$$),
	(3, $$SELECT rfm_method('quantile', 1)$$),
	(4, $$SELECT rfm_method('mean', 5)$$),
	(5, $$SELECT rfm_method('ntile', 5, 'median')$$),
	(6, $$SELECT rfm_method('ntile', 5, 'mean', 'Middle/Earth')$$),
	(7, $$SELECT rfm_thresholds('{3,2}', '{1}', '{1}')$$),
	(8, $$SELECT rfm_thresholds('{}', '{1}', '{1}')$$),
	(9, $$SELECT rfm_thresholds('{1,NULL}', '{1}', '{1}')$$),
	(10, $$SELECT rfm_thresholds('{NaN}', '{1}', '{1}')$$),
	(11, $$SELECT rfm_score(s, 'quantile', '2026-01-31') FROM twelve$$),
	(12, $$SELECT rfm_score(s, rfm_thresholds('{1}', '{1}', '{1}'), '2020-01-31') FROM twelve$$),
	(13, $$SELECT rfm_breaks(s, '2020-01-31', 'ntile') FROM twelve$$),
	(14, $$SELECT rfm_breaks(s, '2026-01-31', m::rfm_breaks) FROM twelve, unnest('{ntile,mean}'::text[]) m$$),
	(15, $$SELECT rfm_breaks(s, NULL, 'ntile') FROM twelve$$),
	(16, $$SELECT 'quantile(0)'::rfm_breaks$$),
	(17, $$SELECT 'threshold'::rfm_breaks$$),
	(18, $$SELECT '{"v":1}'::rfm_breaks$$),
	(19, $$SELECT '{"v":1,"method":"mean","monetary":"total","time_zone":"UTC","bins":[2,2,2],"cuts":[[1],[2]],"keys":null}'::rfm_breaks$$),
	(20, $$SELECT '{"v":1,"method":"mean","monetary":"total","time_zone":"Mars","bins":[2,2,2],"cuts":[[1],[2],[3]],"keys":null}'::rfm_breaks$$),
	(21, $$SELECT '{"v":1,"method":"quantile","monetary":"total","time_zone":"UTC","bins":[3,2,2],"cuts":[[2,1],[2],[3]],"keys":null}'::rfm_breaks$$),
	(22, $$SELECT rfm_cuts('ntile', 'depth')$$)
) v (n, q) ORDER BY n;

-- segments: names, schemes, what is wrong with them
SELECT rfm_segment(5, 5, 5), rfm_segment(5, 5, 5, language => 'zh'), rfm_segment(1, 1, 1), rfm_segment(2, 1, 2, 'cn_8_quadrant', 'zh'),
	   rfm_segment(1, 1, 3, 'rfm_r_v022'), rfm_segment(NULL, 1, 1);
SELECT scheme, count(p.problem) FILTER (WHERE p.problem = 'unreachable') AS unreachable,
	   count(p.problem) FILTER (WHERE p.problem = 'overlapping') AS overlapping,
	   coalesce(sum(cardinality(p.codes)) FILTER (WHERE p.problem = 'left over'), 0) AS left_over
FROM builtin_rfm_schemes() b LEFT JOIN LATERAL list_rfm_scheme_problems(b.definition) p ON true GROUP BY scheme ORDER BY scheme;
SELECT * FROM list_rfm_scheme_problems('{"bins": 2, "rules": [{"segment": "good", "r": 2}, {"segment": "rich", "m": 2}, {"segment": "best", "codes": ["222"]}]}');
SELECT rfm_segment(10, 9, 1, '{"bins": 10, "rules": [{"segment": "odd", "codes": ["10-9-1"]}], "otherwise": {"segment": "rest"}}'),
	   rfm_segment(10, 9, 2, '{"bins": 10, "rules": [{"segment": "odd", "codes": ["10-9-1"]}], "otherwise": {"segment": "rest"}}');
SELECT try($$SELECT * FROM define_rfm_scheme('mine', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$);
SELECT setup() IS NOT NULL AS done;
SELECT * FROM define_rfm_scheme('mine', '{"bins": 2, "rules": [{"segment": "good", "r": 2, "zh": "好"}]}');
SELECT rfm_segment(2, 1, 1, 'mine'), rfm_segment(2, 1, 1, 'mine', 'zh'), rfm_segment(1, 1, 1, 'mine') IS NULL AS none;
SELECT count(*) AS violations FROM loyalty.check_all() WHERE room = 'rfm';
SELECT try(q) FROM (VALUES
	(1, $$SELECT rfm_segment(6, 1, 1)$$),
	(2, $$SELECT rfm_segment(0, 1, 1)$$),
	(3, $$SELECT rfm_segment(1, 1, 1, 'nobodys')$$),
	(4, $$SELECT rfm_segment(1, 1, 1, language => 'fr')$$),
	(5, $$SELECT define_rfm_scheme('code125', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$),
	(6, $$SELECT define_rfm_scheme('Mine', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$),
	(7, $$SELECT define_rfm_scheme('strict', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}', true)$$),
	(8, $$SELECT define_rfm_scheme('bad', '[]')$$),
	(9, $$SELECT define_rfm_scheme('bad', '{"bins": 11, "rules": [{"segment": "good", "r": 2}]}')$$),
	(10, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": []}')$$),
	(11, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"r": 2}]}')$$),
	(12, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"segment": "x", "r": [3, 2]}]}')$$),
	(13, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"segment": "x", "codes": ["556"]}]}')$$),
	(14, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"segment": "x"}]}')$$),
	(15, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"segment": "x", "r": 1, "colour": 1}]}')$$),
	(16, $$SELECT define_rfm_scheme('bad', '{"bins": 5, "rules": [{"segment": "x", "r": 1}], "color": 1}')$$)
) v (n, q) ORDER BY n;
SELECT drop_rfm_scheme('mine'), drop_rfm_scheme('mine');

-- a whole table in one call
SELECT member_id, summary = rfm_agg(at, amount) AS same FROM purchase JOIN rfm_members('purchase', as_of => '2026-12-31') USING (member_id) GROUP BY member_id, summary ORDER BY member_id;
SELECT count(*) FROM rfm_members('purchase', as_of => '2000-01-01');
SELECT * FROM rfm_table('purchase'::regclass, as_of => '2026-02-01', method => 'ntile(2)', scheme => 'cn_8_quadrant') ORDER BY member;
SELECT * FROM rfm_table('purchase'::regclass, as_of => '2026-02-01', method => rfm_thresholds('{5}', '{2}', '{10}'), scheme => 'cn_8_quadrant', key_column => 'order_id', language => 'zh') ORDER BY member;
SELECT * FROM rfm_segment_sizes('purchase'::regclass, as_of => '2026-02-01', method => 'mean', scheme => 'cn_8_quadrant');
SELECT * FROM rfm_transitions('purchase'::regclass, '2026-01-10', '2026-02-01', method => rfm_thresholds('{5}', '{2}', '{10}'), scheme => 'cn_8_quadrant');
SELECT count(*) FROM rfm_table('purchase'::regclass, as_of => '2000-01-01');
-- from before anybody bought: everybody came after, and is scored among those who did
SELECT * FROM rfm_transitions('purchase'::regclass, '2000-01-01', '2026-02-01', method => 'mean', scheme => 'cn_8_quadrant');
SELECT * FROM rfm_transitions('purchase'::regclass, '2000-01-01', '2026-02-01', method => rfm_thresholds('{5}', '{2}', '{10}'), scheme => 'cn_8_quadrant');
-- members with refunds only have no scores, even where all are such
CREATE VIEW refund AS SELECT * FROM purchase WHERE amount < 0;
SELECT * FROM rfm_table('refund'::regclass, as_of => '2026-02-01') ORDER BY member;
SELECT * FROM rfm_segment_sizes('refund'::regclass, as_of => '2026-02-01');
SELECT * FROM rfm_transitions('refund'::regclass, '2026-01-10', '2026-02-01');
SELECT try(q) FROM (VALUES
	(1, $$SELECT * FROM rfm_table('purchase'::regclass, merged_once => NULL)$$),
	(2, $$SELECT * FROM rfm_table('purchase'::regclass, at_column => 'when')$$),
	(3, $$SELECT * FROM rfm_transitions('purchase'::regclass, '2026-02-01', '2026-01-01')$$),
	(4, $$SELECT * FROM rfm_members('purchase', 'order_id')$$),
	(5, $$SELECT * FROM rfm_members('purchase', at_column => 'when; DROP TABLE purchase')$$),
	(6, $$SELECT * FROM rfm_members(0::regclass)$$),
	(7, $$SELECT * FROM rfm_table('purchase'::regclass, method => 'quantile(4)')$$),
	(8, $$SELECT * FROM rfm_segment_sizes('purchase'::regclass, scheme => 'cn_8_quadrant')$$),
	(9, $$SELECT * FROM rfm_transitions('purchase'::regclass, '2026-01-10', method => 'ntile(3)', scheme => '{"bins": 4, "rules": [{"segment": "x", "r": 4}]}')$$),
	(10, $$SELECT * FROM rfm_table('purchase'::regclass, scheme => 'no_such')$$),
	(11, $$SELECT * FROM rfm_table('purchase'::regclass, method => 'ntile(4)', scheme => '{"rules": []}')$$)
) v (n, q) ORDER BY n;
