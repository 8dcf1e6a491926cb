-- clv: the types' values one by one, what their text and bytes may be, and
-- samples that are merged part by part.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
\pset fieldsep '\n'
SELECT no_plan();

-- What a query answers, or the SQLSTATE and the DETAIL it ends with.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; detail text;
BEGIN
	EXECUTE query INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, detail);
END $$;

-- Any bytes as the binary form of a type: a column of bytea is written as they are.
CREATE FUNCTION receive(type text, bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE file text := current_setting('data_directory') || '/clv_values.copy'; value text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	EXECUTE format('CREATE TEMP TABLE received (value %s)', type);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
	SELECT r.value::text INTO value FROM received r;
	DROP TABLE received;
	RETURN value;
END $$;

-- ---- Samples: histories of members, repeat orders, age of the last, age, mean;
-- with a holdout, orders and amount in it.  The same by text and by bytes.
CREATE FUNCTION sample_text(horizon bigint, VARIADIC numbers numeric[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"v":1,"horizon":%s,"histories":[%s]}', horizon, string_agg(h, ',' ORDER BY i)) FROM (
		SELECT i, format('[%s]', string_agg(numbers[i * w + j]::text, ',' ORDER BY j)) AS h FROM (SELECT CASE horizon WHEN 0 THEN 5 ELSE 7 END AS w) x, generate_series(0, cardinality(numbers) / w - 1) i, generate_series(1, w) j GROUP BY i) y $$;
CREATE FUNCTION sample_bytes(horizon bigint, VARIADIC numbers numeric[]) RETURNS bytea LANGUAGE sql AS $$
	SELECT '\x01' || int8send(horizon) || int8send(max(cardinality(numbers) / w)) || string_agg(CASE WHEN j IN (5, 7) THEN float8send(numbers[i * w + j]::float8) ELSE int8send(numbers[i * w + j]::bigint) END, '' ORDER BY i, j)
	FROM (SELECT CASE horizon WHEN 0 THEN 5 ELSE 7 END AS w) x, generate_series(0, cardinality(numbers) / w - 1) i, generate_series(1, w) j $$;
CREATE TABLE sample_case (horizon bigint, numbers numeric[], problem text);
INSERT INTO sample_case VALUES
	(0, '{1,0,0,0,0}', NULL), (0, '{3,0,0,5,0}', NULL), (0, '{1,2,3,4,5.5}', NULL), (0, '{1,2,3,3,0}', NULL), (0, '{1,0,0,9,0,1,1,1,2,0,1,1,1,3,0,1,1,2,3,0,1,1,2,3,1}', NULL), (9, '{1,2,3,4,5,6,7.5}', NULL), (1, '{1,2,3,4,5,6,7.5}', NULL), (9, '{1,2,3,4,5,0,0}', NULL), (9, '{1,2,3,4,5,1,0}', NULL), (9, '{1,2,3,4,5,1,0,1,2,3,4,5,2,0,1,2,3,4,5,2,1}', NULL),
	(0, '{0,0,0,0,0}', 'a count is negative, or no member has the history'), (0, '{-1,0,0,0,0}', 'a count is negative, or no member has the history'), (0, '{1,-1,1,1,1}', 'a count is negative, or no member has the history'), (9, '{1,2,3,4,5,-1,7}', 'a count is negative, or no member has the history'),
	(0, '{1,1,-1,5,1}', 'the last purchase is not between the first and the end'), (0, '{1,1,4,3,1}', 'the last purchase is not between the first and the end'), (0, '{1,0,0,-1,0}', 'the last purchase is not between the first and the end'),
	(0, '{1,0,1,5,0}', 'x and t_x disagree on whether there was a repeat purchase'), (0, '{1,1,0,5,1}', 'x and t_x disagree on whether there was a repeat purchase'),
	(0, '{1,1,1,5,-1}', 'a mean amount is negative, no number, or has no purchase'), (0, '{1,1,1,5,NaN}', 'a mean amount is negative, no number, or has no purchase'), (0, '{1,1,1,5,Infinity}', 'a mean amount is negative, no number, or has no purchase'), (0, '{1,0,0,5,1}', 'a mean amount is negative, no number, or has no purchase'),
	(9, '{1,2,3,4,5,1,-1}', 'a held-out amount is negative, no number, or has no purchase'), (9, '{1,2,3,4,5,1,NaN}', 'a held-out amount is negative, no number, or has no purchase'), (9, '{1,2,3,4,5,1,Infinity}', 'a held-out amount is negative, no number, or has no purchase'), (9, '{1,2,3,4,5,0,1}', 'a held-out amount is negative, no number, or has no purchase'),
	(0, '{1,1,1,2,0,1,1,1,2,0}', 'histories are not in order'), (0, '{1,1,1,2,0,1,0,0,3,0}', 'histories are not in order'), (0, '{1,1,1,3,0,1,1,1,2,1}', 'histories are not in order'), (0, '{1,1,2,3,0,1,1,1,3,1}', 'histories are not in order'), (0, '{1,1,1,3,2,1,1,1,3,1}', 'histories are not in order'), (9, '{1,2,3,4,5,2,1,1,2,3,4,5,1,1}', 'histories are not in order'), (9, '{1,2,3,4,5,1,2,1,2,3,4,5,1,1}', 'histories are not in order'),
	(0, '{9223372036854775807,0,0,1,0}', NULL), (0, '{9223372036854775806,0,0,1,0,1,0,0,2,0}', NULL), (0, '{9223372036854775807,0,0,1,0,1,0,0,2,0}', 'the number of members is out of range'), (-1, '{1,2,3,4,5,0,0}', 'the horizon is negative');
-- the text has no way to write below zero, or what is no number
SELECT CASE WHEN t ~ '-|NaN|Infinity' THEN matches(outcome(format('SELECT %L::clv_sample', t)), '^22P02 Not understood from position \d+ on\.$', 'no text: ' || t)
	ELSE is(outcome(format('SELECT %L::clv_sample', t)), coalesce('22P02 No members lead to it: ' || problem || '.', t), 'text of ' || t) END FROM (SELECT problem, sample_text(horizon, VARIADIC numbers) AS t FROM sample_case) x;
SELECT is(outcome(format('SELECT receive(''clv_sample'', %L)', sample_bytes(horizon, VARIADIC numbers))), coalesce('22P03 No members lead to it: ' || problem || '.', sample_text(horizon, VARIADIC numbers)), format('bytes of %s, %s', horizon, numbers)) FROM sample_case WHERE horizon >= 0;
SELECT is(outcome(format('SELECT receive(''clv_sample'', %L)', b)), '22P03 No members lead to it: ' || problem || '.', 'bytes: ' || problem) FROM (VALUES
	('\x02'::bytea || int8send(0) || int8send(0), 'the version is not known'), ('\x01'::bytea || int8send(-1) || int8send(1) || substr(sample_bytes(0, 1, 0, 0, 0, 0), 18), 'the horizon is negative'), ('\x01'::bytea || int8send(0) || int8send(0), 'it has no member'), ('\x01'::bytea || int8send(0) || int8send(-1), 'the number of histories does not match'),
	('\x01'::bytea || int8send(0) || int8send(2) || substr(sample_bytes(0, 1, 0, 0, 0, 0), 18), 'the number of histories does not match'), ('\x01'::bytea || int8send(9) || int8send(1) || substr(sample_bytes(0, 1, 0, 0, 0, 0), 18), 'the number of histories does not match')) v(b, problem);
SELECT matches(outcome(format('SELECT receive(''clv_sample'', %L)', sample_bytes(9, 1, 2, 3, 4, 5, 6, 7) || '\x00')), '^22P03', 'bytes to spare');
SELECT is(outcome(format('SELECT %L::clv_sample', t)), coalesce(want, '22P02 Not understood from position ' || at || ' on.'), 'text ' || t) FROM (VALUES
	(E' { "v" :\t1 , "horizon": 0 ,\n"histories" : [ [ 1 , 0 , 0 , 5 , 0 ] ] } ', 0, '{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]}'), ('{"v":1,"horizon":0,"histories":[[1,1,1,5,1e-400]]}', 0, '{"v":1,"horizon":0,"histories":[[1,1,1,5,0]]}'), ('{"v":1,"horizon":0,"histories":[[1,1,1,5,1.5e1]]}', 0, '{"v":1,"horizon":0,"histories":[[1,1,1,5,15]]}'),
	('', 1, NULL), ('["v":1', 1, NULL), ('{"w":1', 2, NULL), ('{"v" 1', 6, NULL), ('{"v":2,', 7, NULL), ('{"v":1;', 7, NULL), ('{"v":1,"horison"', 8, NULL), ('{"v":1,"horizon";', 17, NULL), ('{"v":1,"horizon":x', 18, NULL), ('{"v":1,"horizon":-1', 18, NULL), ('{"v":1,"horizon":0;', 19, NULL), ('{"v":1,"horizon":0,"history"', 20, NULL),
	('{"v":1,"horizon":0,"histories";', 31, NULL), ('{"v":1,"horizon":0,"histories":{', 32, NULL), ('{"v":1,"horizon":0,"histories":[]}', 33, NULL), ('{"v":1,"horizon":0,"histories":[[1;', 35, NULL), ('{"v":1,"horizon":0,"histories":[[1,0;', 37, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0;', 39, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5;', 41, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0;', 43, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0,0,0]]}', 43, NULL),
	('{"v":1,"horizon":9,"histories":[[1,0,0,5,0]]}', 43, NULL), ('{"v":1,"horizon":9,"histories":[[1,0,0,5,0,1;', 45, NULL), ('{"v":1,"horizon":9,"histories":[[1,0,0,5,0,1,x', 46, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0]}', 44, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]', 45, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]}x', 46, NULL), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0],]}', 45, NULL),
	('{"v":1,"horizon":0,"histories":[[9223372036854775808', 53, NULL), ('{"v":1,"horizon":0,"histories":[[1,1,1,5,1e400', 47, NULL)) v(t, at, want);
-- more histories than there is room for at first, and in every order
CREATE TABLE many AS SELECT rfm_agg(timestamptz '2026-01-01' + i * (1 + g % 3) * interval '1 day', g % 5) AS s, '2026-06-01'::timestamptz + g % 100 * interval '1 day' AS as_of, g FROM generate_series(1, 400) g, generate_series(0, g % 4) i GROUP BY g;
SELECT is(t::clv_sample::text, t, 'text of many histories') FROM (SELECT clv_agg(s, as_of)::text AS t FROM many) x;
SELECT bag_eq('SELECT members, repeat_orders, t_x_days, t_days, mean_amount FROM clv_histories((SELECT clv_agg(s, as_of ORDER BY g * 7919 % 401) FROM many))',
	$$SELECT count(*), x, d, t, m FROM (SELECT g % 4 AS x, (g % 4 * (1 + g % 3))::numeric AS d, 151 + (g % 100)::numeric AS t, CASE WHEN g % 4 > 0 THEN (g % 5)::numeric END AS m FROM many) y GROUP BY 2, 3, 4, 5$$, 'histories as they were');

-- What a summary says of a history: the first instant is the beginning, not a repeat.
CREATE FUNCTION history(ats timestamptz[], amounts numeric[], as_of timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT clv_agg(s, as_of)::text::json ->> 'histories' FROM (SELECT rfm_agg(at, x) AS s FROM unnest(ats, amounts) u(at, x)) y $$;
SELECT is(history(ats::timestamptz[], amounts::numeric[], as_of), want, format('%s of %s as of %s', amounts, ats, as_of)) FROM (VALUES
	('{2026-01-01}', '{5}', '2026-01-01'::timestamptz, '[[1,0,0,0,0]]'), ('{2026-01-01,2026-01-01}', '{5,6}', '2026-01-02', '[[1,0,0,86400000000,0]]'), ('{2026-01-01,2026-01-02}', '{5,6}', '2026-01-02', '[[1,1,86400000000,86400000000,6]]'), ('{2026-01-01,2026-01-02,2026-01-02}', '{5,6,9}', '2026-01-03', '[[1,2,86400000000,172800000000,7.5]]'),
	('{2026-01-01,2026-01-02}', '{5,0}', '2026-01-02', '[[1,1,86400000000,86400000000,0]]'), ('{2026-01-01,2026-01-02,2026-01-02}', '{5,6,-4}', '2026-01-02', '[[1,1,86400000000,86400000000,6]]'), ('{2026-01-01}', '{-5}', '2026-01-02', NULL)) v(ats, amounts, as_of, want);
SELECT is(outcome($$SELECT history('{4713-01-01 BC}', '{1}', '294276-12-31')$$), '22008 They are more than 292,000 years apart.', 'ages that no bigint holds');
CREATE FUNCTION held_out(at timestamptz, until timestamptz) RETURNS text LANGUAGE sql AS $$ SELECT clv_holdout_agg(s, '2026-01-10', h, until)::text FROM (SELECT rfm_agg('2026-01-01', 5) AS s, rfm_agg(at, 7) FILTER (WHERE at IS NOT NULL) AS h) x $$;
SELECT is(outcome(format('SELECT held_out(%L, %L)', at, until)), want, format('held out at %s until %s', at, until)) FROM (VALUES
	('2026-01-10 00:00:00.000001+00', '2026-01-10 00:00:00.000001+00', '{"v":1,"horizon":1,"histories":[[1,0,0,777600000000,0,1,7]]}'), ('2026-01-11', '2026-01-11', '{"v":1,"horizon":86400000000,"histories":[[1,0,0,777600000000,0,1,7]]}'), (NULL, '2026-01-11', '{"v":1,"horizon":86400000000,"histories":[[1,0,0,777600000000,0,0,0]]}'), ('2026-01-11', NULL, NULL),
	('2026-01-10', '2026-01-11', 'LY320 One is at 2026-01-10 00:00:00+00.'), ('2026-01-11 00:00:00.000001', '2026-01-11', 'LY320 One is at 2026-01-11 00:00:00.000001+00.'), (NULL, '2026-01-10', 'LY320 It begins behind as_of and ends at until, 2026-01-10 00:00:00+00.'), (NULL, 'infinity', 'LY320 It begins behind as_of and ends at until, infinity.')) v(at, until, want);
SELECT is(outcome('SELECT clv_holdout_agg(s, as_of, NULL, as_of + g * interval ''1 day'' ORDER BY g) FROM many WHERE g < 3'), 'LY320 One is 1.000000 days long, another 2.000000 days.', 'holdouts of one length');

-- ---- Samples are merged whatever part is empty.
CREATE TABLE part (k int, s rfm, as_of timestamptz) PARTITION BY LIST (k);
CREATE TABLE part0 PARTITION OF part FOR VALUES IN (0);
CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2);
CREATE TABLE part3 PARTITION OF part FOR VALUES IN (3);
INSERT INTO part SELECT 1 + g % 2, CASE WHEN g % 10 > 0 THEN s END, as_of FROM many;
CREATE TABLE alone AS TABLE part;
SET enable_partitionwise_aggregate = on;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE asked (q text);
INSERT INTO asked VALUES ('clv_agg(s, as_of)'), ($$clv_holdout_agg(s, as_of, NULL, as_of + interval '1 day')$$), ($$clv_rollup(CASE k WHEN 1 THEN '{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]}'::clv_sample END)$$);
CREATE FUNCTION explained(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS OFF) ' || query; END $$;
SELECT ok(EXISTS (SELECT FROM explained(format('SELECT %s FROM part', q)) l WHERE l ~ 'Partial Aggregate'), 'computed in parts: ' || q) FROM asked;
SELECT is(outcome(format('SELECT (%s)::text FROM part WHERE %s', q, filter)), outcome(format('SELECT (%s)::text FROM alone WHERE %s', q, filter)), format('in parts: %s where %s', q, filter)) FROM asked, unnest('{true,k = 1,k = 2,false,s IS NULL,k = 1 OR s IS NULL,k = 2 OR s IS NULL}'::text[]) filter;
SELECT is(outcome('SELECT clv_holdout_agg(s, as_of, NULL, as_of + k * interval ''1 day'') FROM part'), 'LY320 One is 1.000000 days long, another 2.000000 days.', 'holdouts of one length, in parts');
SELECT is(outcome($$SELECT clv_rollup(CASE k WHEN 1 THEN '{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]}' ELSE '{"v":1,"horizon":86400000000,"histories":[[1,0,0,5,0,0,0]]}' END::clv_sample) FROM alone$$), 'LY320 One is 0.000000 days long, another 1.000000 days.', 'samples with a holdout and without are not one');
RESET enable_partitionwise_aggregate;

-- ---- Models: every key must be there, of its kind and within its bounds.
CREATE TABLE model AS SELECT '{"v": 1, "model": "bg/nbd", "unit_days": 7, "status": "converged", "iterations": 5, "members": 9, "repeat_members": 4, "parameters": {"r": 1, "alpha": 2, "a": 3, "b": 4}, "std_errors": {"r": 0.1, "alpha": 0, "a": null, "b": 0.4}, "loglik": -5.5,
	"spend_status": "given", "spend_iterations": 6, "spend_members": 3, "spend_parameters": {"p": 5, "q": 6, "v": 7}, "spend_std_errors": {"p": 0.5, "q": null, "v": 0}, "spend_loglik": null}'::jsonb AS j;
SELECT is(j::clv_model::text::jsonb, j, 'a model comes out as it went in'), is(receive('clv_model', clv_model_send(j::clv_model))::jsonb, j, 'by bytes as well') FROM model;
SELECT is(outcome(format('SELECT %L::jsonb::clv_model', j - key)), format('22P02 Key "%s" is missing or has a value of the wrong kind.', key), 'without ' || key) FROM model, jsonb_object_keys(j) key;
SELECT is(outcome(format('SELECT %L::jsonb::clv_model', jsonb_set(j, path::text[], value::jsonb))), format('22P02 Key "%s" is missing or has a value of the wrong kind.', (path::text[])[1]), format('%s in %s', value, path)) FROM model, (VALUES
	('{v}', '2'), ('{v}', '"1"'), ('{model}', '"bg"'), ('{model}', '"bg/nbdx"'), ('{model}', '1'), ('{unit_days}', '"7"'), ('{status}', '"fine"'), ('{status}', '1'), ('{iterations}', '-1'), ('{iterations}', '1.5'), ('{iterations}', '2147483648'), ('{iterations}', 'null'), ('{members}', '-1'), ('{members}', '9007199254740994'), ('{repeat_members}', '0.5'), ('{spend_members}', '-1'), ('{spend_iterations}', '2147483648'), ('{spend_iterations}', '-1'),
	('{parameters}', '5'), ('{parameters}', '[1,2,3,4]'), ('{parameters,r}', '"1"'), ('{std_errors,b}', '"1"'), ('{spend_parameters,v}', 'true'), ('{spend_std_errors,p}', '[]'), ('{loglik}', '"x"'), ('{spend_loglik}', 'true'), ('{spend_status}', '"fine"')) v(path, value);
SELECT is(outcome(format('SELECT %L::jsonb::clv_model', jsonb_set(j, path::text[], value::jsonb))), '22P02 No fit leads to it: ' || problem || '.', format('%s in %s', value, path)) FROM model, (VALUES
	('{unit_days}', '0', 'unit_days is not above zero'), ('{unit_days}', '-1', 'unit_days is not above zero'), ('{unit_days}', 'null', 'unit_days is not above zero'), ('{unit_days}', '1e400', 'unit_days is not above zero'), ('{parameters,r}', '0', 'a parameter is missing or not above zero'), ('{parameters,b}', '-1', 'a parameter is missing or not above zero'), ('{parameters,a}', 'null', 'a parameter is missing or not above zero'), ('{parameters,a}', '1e400', 'a parameter is missing or not above zero'),
	('{spend_parameters,p}', '0', 'a parameter of spend is missing or not above zero'), ('{spend_parameters,v}', 'null', 'a parameter of spend is missing or not above zero'), ('{std_errors,b}', '-0.1', 'a standard error is negative or infinite'), ('{std_errors,r}', '1e400', 'a standard error is negative or infinite'), ('{spend_std_errors,v}', '-1', 'a standard error is negative or infinite'), ('{spend_std_errors,p}', '1e400', 'a standard error is negative or infinite'),
	('{loglik}', '-1e400', 'a log-likelihood is infinite'), ('{spend_loglik}', '1e400', 'a log-likelihood is infinite')) v(path, value, problem);
SELECT is(outcome(format('SELECT %L::jsonb::clv_model::text', jsonb_set(j, path::text[], value::jsonb)))::jsonb, jsonb_set(j, path::text[], value::jsonb), format('%s in %s', value, path)) FROM model, (VALUES ('{members}', '9007199254740992'), ('{iterations}', '2147483647'), ('{members}', '0'), ('{iterations}', '0'), ('{repeat_members}', '0'), ('{spend_iterations}', '0'), ('{spend_members}', '0'), ('{status}', '"given"'), ('{status}', '"too_few"'), ('{parameters}', '{"r": null, "alpha": null, "a": null, "b": null}'), ('{loglik}', '0.5'), ('{model}', '"mbg/nbd"'), ('{parameters,r}', '1e-300')) v(path, value);
SELECT is(outcome(format('SELECT receive(''clv_model'', %L)', overlay(sent PLACING byte FROM place + 1))), '22P03 No fit leads to it: ' || problem || '.', problem) FROM (SELECT clv_model_send(j::clv_model) AS sent FROM model) x, (VALUES
	(0, '\x02'::bytea, 'the version is not known'), (1, '\x00', 'the model is none of bg/nbd, mbg/nbd, pareto/nbd'), (1, '\x04', 'the model is none of bg/nbd, mbg/nbd, pareto/nbd'), (2, '\x05', 'the status is unknown'), (3, '\x05', 'the status is unknown'), (4, int4send(-1), 'a count is negative'), (8, int4send(-1), 'a count is negative'), (20, int8send(-1), 'a count is negative'), (28, int8send(-1), 'a count is negative'), (36, int8send(-1), 'a count is negative'),
	(12, float8send(0), 'unit_days is not above zero'), (12, float8send('NaN'), 'unit_days is not above zero'), (44, float8send(0), 'a parameter is missing or not above zero'), (68, float8send('Infinity'), 'a parameter is missing or not above zero'), (76, float8send(-1), 'a standard error is negative or infinite'), (108, float8send('-Infinity'), 'a log-likelihood is infinite'), (132, float8send(-1), 'a parameter of spend is missing or not above zero'), (140, float8send('Infinity'), 'a standard error is negative or infinite'), (164, float8send('Infinity'), 'a log-likelihood is infinite')) v(place, byte, problem);
SELECT is(receive('clv_model', overlay(clv_model_send(j::clv_model) PLACING '\x7ff8000000000001'::bytea FROM 109)), jsonb_set(j, '{loglik}', 'null')::clv_model::text, 'one NaN for all') FROM model;

-- ---- The naive forecast, worked out by hand: x / T a day, of mean amount m.  Two members bought twice in 14 days,
-- so once in the week of the holdout, where they bought three times; one never bought again, and did once.
\set week 604800000000
SELECT is(concat_ws(' ', e.members, e.orders, round(e.expected_orders, 5), coalesce(round(e.orders_off, 5)::text, '-'), round(e.mean_absolute_error, 5), round(e.root_mean_square_error, 5), round(e.amount, 5), round(e.expected_amount, 5), coalesce(round(e.amount_off, 5)::text, '-'), round(e.holdout_days, 5)),
	want, 'the naive forecast: ' || want) FROM (VALUES
	('[1,0,0,' || :week || ',0,1,5],[2,2,9,' || 2 * :week || ',10,3,30]', '3 7 2.00000 -0.71429 1.66667 1.73205 65.00000 20.00000 -0.69231 7.00000'),
	('[1,0,0,' || :week || ',0,0,0]', '1 0 0.00000 - 0.00000 0.00000 0.00000 0.00000 - 7.00000'), ('[1,0,0,0,0,2,8]', '1 2 0.00000 -1.00000 2.00000 2.00000 8.00000 0.00000 -1.00000 7.00000'), ('[3,7,1,1,2,0,0]', '3 0 12700800000000.00000 - 4233600000000.00000 4233600000000.00000 0.00000 25401600000000.00000 - 7.00000')) v(h, want), LATERAL clv_holdout_error(format('{"v":1,"horizon":%s,"histories":[%s]}', :week, h)::clv_sample, NULL) e;
SELECT is((clv_holdout_error(format('{"v":1,"horizon":9,"histories":[[1,0,0,0,0,1,1e16]%s]}', string_agg(format(',[1,0,0,%s,0,1,1]', i), '' ORDER BY i))::clv_sample, NULL)).amount, 10000000000001000::numeric, 'a thousand ones beside 1e16 are not lost') FROM generate_series(1, 1000) i;
SELECT is((clv_holdout_error('{"v":1,"horizon":9,"histories":[[1,0,0,5,0,1,5]]}', make_clv_model('bg/nbd', 1, 1, 1, 1))).expected_amount, NULL, 'no parameters of spend, no amount expected');

-- ---- Who buys at the very end is alive; a microsecond later, nearly so.
CREATE FUNCTION loglik(kind text, more bigint) RETURNS numeric LANGUAGE sql AS $$
	SELECT (clv_report(clv_fit(format('{"v":1,"horizon":0,"histories":[[9,0,0,%1$s,0],[4,1,%2$s,%1$s,10],[3,2,%3$s,%1$s,12],[2,4,%4$s,%5$s,8]]}', 30 * d, 4 * d, 12 * d, 30 * d, 30 * d + more)::clv_sample, kind))).loglik::numeric FROM (VALUES (86400000000)) v(d) $$;
SELECT cmp_ok(abs(loglik(kind, 0) / loglik(kind, 1) - 1), '<', 1e-5, kind || ': a last purchase at the end') FROM unnest('{bg/nbd,mbg/nbd,pareto/nbd}'::text[]) kind;

-- ---- Bounds of arguments: the last that is taken, and the first that is not.
CREATE FUNCTION member() RETURNS rfm LANGUAGE sql AS $$ SELECT rfm_agg(at, 5) FROM unnest('{2026-01-01,2026-02-01}'::timestamptz[]) at $$;
SELECT is(split_part(outcome(format('SELECT (%s) IS NOT NULL', call)), ' ', 1), want, call) FROM (VALUES
	('lifetime_value(member(), make_clv_model(''bg/nbd'', 1, 1, 1, 1, p => 2, q => 3, v => 4), ''1 year'', 1000, ''2026-03-01'')', 'true'), ('lifetime_value(member(), make_clv_model(''bg/nbd'', 1, 1, 1, 1, p => 2, q => 3, v => 4), ''1 year'', 1000.1, ''2026-03-01'')', 'LY003'), ('lifetime_value(member(), make_clv_model(''bg/nbd'', 1, 1, 1, 1, p => 2, q => 3, v => 4), ''1 year'', 0, ''2026-03-01'')', 'true'), ('lifetime_value(member(), make_clv_model(''bg/nbd'', 1, 1, 1, 1, p => 2, q => 3, v => 4), ''1 year'', -1e-9, ''2026-03-01'')', 'LY003'),
	('new_member_probability(make_clv_model(''bg/nbd'', 1, 1, 1, 1), 0, ''1 year'')', 'true'), ('new_member_probability(make_clv_model(''bg/nbd'', 1, 1, 1, 1), 1000000, ''1 year'')', 'true'), ('new_member_probability(make_clv_model(''bg/nbd'', 1, 1, 1, 1), 1000001, ''1 year'')', 'LY003'), ('new_member_probability(make_clv_model(''bg/nbd'', 1, 1, 1, 1), -1, ''1 year'')', 'LY003'),
	('new_member_orders(make_clv_model(''bg/nbd'', 1, 1, 1, 1), ''1000 years'')', 'true'), ('new_member_orders(make_clv_model(''bg/nbd'', 1, 1, 1, 1), ''1000 years 1 day'')', 'LY003'), ('new_member_orders(make_clv_model(''bg/nbd'', 1, 1, 1, 1), ''0'')', 'true'), ('new_member_orders(make_clv_model(''bg/nbd'', 1, 1, 1, 1), ''-1 us'')', 'LY003'),
	('make_clv_model(''bg/nbd'', 1, 1, 1, 1, unit_days => 1 / 86400.0)', 'true'), ('make_clv_model(''bg/nbd'', 1, 1, 1, 1, unit_days => 1 / 86401.0)', 'LY003'), ('make_clv_model(''bg/nbd'', 1, 1, 1, 1, unit_days => 365250)', 'true'), ('make_clv_model(''bg/nbd'', 1, 1, 1, 1, unit_days => 365251)', 'LY003'), ('make_clv_model(''bg/nb'', 1, 1, 1, 1)', 'LY003'), ('make_clv_model(''BG/NBD'', 1, 1, 1, 1)', 'true'), ('make_clv_model(''bg/nbdx'', 1, 1, 1, 1)', 'LY003')) v(call, want);

SELECT is(m::text, NULL, 'no name or no unit, no model') FROM unnest(ARRAY[make_clv_model(NULL, 1, 1, 1, 1), make_clv_model('bg/nbd', 1, 1, 1, 1, unit_days => NULL)]) m;
SELECT is(outcome(format('SELECT (%s)::text FROM (SELECT rfm_agg(''2026-01-01'', -5) AS s, make_clv_model(''bg/nbd'', 1, 1, 1, 1, p => 2, q => 3, v => 4) AS m) x', call)), NULL, 'no purchase, no forecast: ' || call)
FROM unnest('{"p_alive(s, m)","expected_orders(s, m, ''1 year'')","expected_spend(s, m)","lifetime_value(s, m, ''1 year'', 0)","clv_forecast(s, m, ''1 year'', 0)","next_order(s, m)"}'::text[]) call;
SELECT is((SELECT ROW(held_orders, held_amount) FROM clv_histories(s))::text, want, 'held out: ' || want) FROM (VALUES ('{"v":1,"horizon":1,"histories":[[1,0,0,5,0,1,5]]}'::clv_sample, '(1,5)'), ('{"v":1,"horizon":1,"histories":[[1,0,0,5,0,0,0]]}', '(0,0)'), ('{"v":1,"horizon":0,"histories":[[1,0,0,5,0]]}', '(,)')) v(s, want);

-- ---- Fits: who counts, how many steps they take, and that they stop when told.
SELECT is((SELECT ROW(members, repeat_members, spend_members) FROM clv_report(clv_fit(format('{"v":1,"horizon":0,"histories":[[7,1,%1$s,%4$s,3],[5,1,%1$s,%2$s,0],[6,1,%1$s,%2$s,4],[4,2,%1$s,%2$s,6],[3,2,%1$s,%3$s,5]]}', :week, 8 * :week, 9 * :week, 7 * :week)::clv_sample)))::text, '(25,25,20)', 'all bought again, five of them for nothing');
-- by a fixed rule, so many histories of 50 weeks
CREATE FUNCTION histories(n int) RETURNS clv_sample LANGUAGE sql AS $$
	SELECT format('{"v":1,"horizon":0,"histories":[%s]}', string_agg(format('[%s,%s,%s,%s,%s]', n, x, t_x, 50 * 604800000000, CASE WHEN x > 0 THEN 10 + x ELSE 0 END), ',' ORDER BY x, t_x))::clv_sample
	FROM (SELECT count(*) AS n, x, t_x
		FROM (SELECT active, floor(rate * active)::int AS x FROM (SELECT -0.3 * ln(1 - g * 0.6180339887 % 1) AS rate, least(50, 12 * (power(1 - g * 0.7548776662 % 1, -1 / 0.8) - 1)) AS active FROM generate_series(1, $1) g) u) v,
			LATERAL (SELECT (604800000000 * active * x / (x + 0.5))::bigint AS t_x) z GROUP BY x, t_x) w $$;
CREATE TABLE fitted AS SELECT n, kind, s, clv_fit(s, kind) AS model FROM (SELECT n, histories(n) AS s FROM unnest('{3000,12000}'::int[]) n) x, unnest('{bg/nbd,mbg/nbd}'::text[]) kind;
SELECT ok(min(iterations) FILTER (WHERE n = 3000) > 4 AND max(iterations) FILTER (WHERE n = 12000) < min(iterations) FILTER (WHERE n = 3000) - 2, kind || ': some of many histories take most of the steps') FROM fitted, clv_report(model) GROUP BY kind;
SELECT is((clv_report(clv_fit(s, kind, max_iterations => steps))).status, want, format('%s in %s steps', kind, steps)) FROM fitted, clv_report(model), LATERAL (VALUES (iterations, 'converged'), (2, 'not_converged')) v(steps, want) WHERE n = 3000;

-- ---- Orders of a new member, counted out in numeric: so many purchases, were there no dropout, and the chance to outlive them.
CREATE FUNCTION purchases(r numeric, alpha numeric, t numeric, n int, OUT just numeric, OUT more numeric) LANGUAGE plpgsql AS $$
DECLARE term numeric := round(1 / (1 + t / alpha) ^ r, 400); w numeric := t / (alpha + t);
BEGIN
	more := 0;
	FOR j IN 0 .. n + 200 + (4 * r * t / alpha + 40 * t / alpha)::int LOOP
		IF j = n THEN just := term; END IF;
		IF j >= n THEN more := more + term; END IF;
		term := round(term * w * (r + j) / (j + 1), 400);
	END LOOP;
END $$;
SELECT cmp_ok(abs(new_member_probability(make_clv_model(kind, r, alpha, a, b, unit_days => 1), n, t * interval '1 day') / want - 1), '<', 1e-11, format('%s orders in %s days by %s of %s, %s, %s, %s', n, t, kind, r, alpha, a, b))
FROM (VALUES (0.5, 10.0, 0.8, 2.5, 40, 0), (0.5, 10, 0.8, 2.5, 40, 1), (0.5, 10, 0.8, 2.5, 40, 2), (0.5, 10, 0.8, 2.5, 40, 25), (3, 2, 1, 0.3, 40, 20), (3, 2, 1, 0.3, 40, 60), (3, 2, 1, 0.3, 40, 61), (3, 2, 1, 0.3, 40, 100), (400, 1, 2, 300, 6, 2390), (400, 1, 2, 300, 6, 2400), (400, 1, 2, 300, 6, 2450)) v(r, alpha, a, b, t, n),
	(VALUES ('bg/nbd', 0), ('mbg/nbd', 1)) k(kind, first), purchases(r, alpha, t, n) p,
	LATERAL (SELECT coalesce(exp(sum(ln((b + i) / (a + b + i)))), 1) AS outlived FROM generate_series(0, n + first - 1) i) o,
	LATERAL (SELECT outlived * (just + CASE WHEN n + first > 0 THEN a / (b + n + first - 1) * more ELSE 0 END) AS want) x;
SELECT is(new_member_probability(make_clv_model(kind, r => 1, alpha => 1, a => a, b => a, s => s, beta => s), n, '0'), want, format('%s orders in no time by %s', n, kind)) FROM (VALUES ('bg/nbd', 1, NULL), ('mbg/nbd', 1, NULL), ('pareto/nbd', NULL, 1)) k(kind, a, s), (VALUES (0, 1::numeric), (1, 0)) v(n, want);

-- ---- What is a part of an aggregate is no function for itself, by whatever types it is called.
CREATE SCHEMA outside;
CREATE TABLE inside AS SELECT proname, probin, prosrc, string_agg(replace(t::regtype::text, 'internal', 'bigint'), ', ' ORDER BY i) AS types, string_agg(CASE t WHEN 'bytea'::regtype THEN '''''' ELSE 'NULL' END, ', ' ORDER BY i) AS args
FROM pg_proc, unnest(proargtypes) WITH ORDINALITY u(t, i) WHERE pronamespace = 'loyalty'::regnamespace AND proname ~ '^clv_' AND 'internal'::regtype = ANY (proargtypes) AND proname !~ '_recv$' GROUP BY pg_proc.oid;
DO $$ DECLARE f record; BEGIN FOR f IN TABLE inside LOOP EXECUTE format('CREATE FUNCTION outside.%I(%s) RETURNS text LANGUAGE c AS %L, %L', f.proname, f.types, f.probin, f.prosrc); END LOOP; END $$;
SELECT throws_ok(format('SELECT outside.%I(%s)', proname, args), '0A000', proname || ' was called outside an aggregate', proname) FROM inside ORDER BY proname;

SELECT * FROM finish();
