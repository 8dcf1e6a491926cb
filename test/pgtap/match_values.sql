-- Room match: what texts come to, every mistake in a definition, in counts, in a
-- model and in options by its place, and all that a fit says of itself.
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, loyalty, pg_catalog;
SET jit = off;
\pset fieldsep '\n'
SELECT no_plan();

-- What a query answers, or the SQLSTATE and the DETAIL with which it ends.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; detail text;
BEGIN
	EXECUTE query INTO answer;
	RETURN coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, nullif(detail, ''));
END $$;
CREATE FUNCTION near(have double precision, want double precision, what text, tolerance double precision DEFAULT 1e-6) RETURNS text LANGUAGE sql AS $$
	SELECT ok(abs(have - want) <= tolerance, what) || CASE WHEN abs(have - want) <= tolerance THEN '' ELSE format(E'\n# have %s, want %s', have, want) END
$$;

-- ---- texts

SELECT is(compare_values('a' || chr(c) || 'b', 'a b', 'category'), 'equal', format('U+%s is a blank', to_hex(c))) FROM unnest('{9,10,31,127,160,8192,8202,8203,8207,8232,8239,8287,8288,12288,65279}'::integer[]) c;
SELECT is(compare_values('a' || chr(c) || 'b', 'a b', 'category'), 'different', format('U+%s is none', to_hex(c))) FROM unnest('{33,126,128,161,8208,8231,8240,8289,12289}'::integer[]) c;
SELECT is(compare_values(a, b, kind), level, format('%s: "%s" and "%s"', kind, left(a, 20), left(b, 20))) FROM (VALUES
	('name', E' \t Ann \n  Lee ', 'ann lee', 'equal'), ('name', E'\u00C9mile', E'e\u0301mile', 'equal'), ('name', E'\uFB01ne', 'fine', 'equal'), ('name', E'\u2163', 'iv', 'equal'),
	('category', repeat(' ', 1019) || 'ab', 'a', 'equal'), ('category', repeat(' ', 1018) || 'ab', 'ab', 'equal'), ('category', repeat('a', 254) || 'bc', repeat('a', 254) || 'b', 'equal'), ('category', repeat('a', 254) || 'b', repeat('a', 254) || 'c', 'different'),
	('category', repeat(E'\u738B', 1019) || 'a', repeat(E'\u738B', 255), 'equal'), ('category', 'a', 'b', 'different'), ('category', 'a b', 'ab', 'different'), ('key', 'a', 'A', 'equal'),
	-- letters and digits of a code, and what is none beside each of them
	('code', '1/2:3@4[5`6{7~8 9.0', '1234567890', 'equal'), ('code', 'A0Z9', 'a0z9', 'equal'), ('code', 'a0z9', 'a0z', 'close'), ('code', '0z9', 'a0z9', 'close'), ('code', 'az9', 'a0z9', 'close'), ('code', 'a09', 'a0z9', 'close'),
	('code', E'\u00E91', '1', 'close'), ('code', E'\u738B1', E'\u738B1', 'equal'), ('code', E'\u738B12', E'\u738B21', 'close'), ('code', E'\u738B12', '12', 'close'), ('code', E'\u738B\u738B12', '12', 'different'),
	-- a date is year, month and day, whatever is between them and behind them
	('date', '1960-2-1', '19600201', 'equal'), ('date', '1960.2.01', '19600201', 'equal'), ('date', '1960  2  1', '19600201', 'equal'), ('date', E'1960\u5E742\u67081\u65E5', '19600201', 'equal'), ('date', '19600201 10:30', '19600201', 'equal'),
	('date', '1960-02-01T10:30:00', '19600201', 'equal'), ('date', '1960-02-01 23', '19600201', 'equal'), ('date', '1960-0-0', '19600000', 'equal'), ('date', '2-1-1960', '19600102', 'different'), ('date', 'on 1960-02-01', '19600201', 'different'),
	('date', '60-02-01', '19600201', 'different'), ('date', '1960-002-01', '19600201', 'different'), ('date', '1960-02-001', '19600201', 'different'), ('date', '19600-2-1', '19600201', 'different'), ('date', '1960-02', '19600201', 'different'), ('date', '1960-02', '1960-02', 'equal'),
	('date', '1960', '19600201', 'different'), ('date', '196002011', '19600201', 'close'), ('date', 'spring', 'sprign', 'close'), ('date', E'\u738B\u5C0F', E'\u738B\u5C0F\u660E', 'close'), ('date', E'\u738B\u5C0F', E'\u738B\u5C0F\u660E\u660E', 'different'), ('date', '1960-', '1960', 'close'),
	('date', '19600201', '19600210', 'close'), ('date', '19601201', '19600112', 'close'), ('date', '19601203', '19610312', 'different'), ('date', '19600110', '19610203', 'different'), ('date', '19600110', '19720110', 'similar'), ('date', '19600110', '19601210', 'similar'), ('date', '19600110', '19600925', 'different'),
	('email', 'none', 'a@example.org', NULL), ('phone', '', '+4930123456', NULL), ('name', E'\u738B', 'wang', 'different'), ('name', E'\u738Bx', E'\u738Bxx', 'close'), ('name', E'\u4E00\u9FFF', E'\u9FFF\u4E00', 'close'), ('name', E'\u3400\u4DBF', E'\u4DBF\u3400', 'close'),
	-- four characters in another order are close if they are Chinese, and not if they are others
	('name', E'\u4E00\u9FFF\u3400\u4DBF', E'\u4DBF\u3400\u9FFF\u4E00', 'close'), ('name', E'\uF900\uFAFF\U00020000\U0003FFFF', E'\U0003FFFF\U00020000\uFAFF\uF900', 'close'), ('name', E'\u3041\u3042\u3043\u3044', E'\u3044\u3043\u3042\u3041', 'different'),
	('name', E'\uAC00\uAC01\uAC02\uAC03', E'\uAC03\uAC02\uAC01\uAC00', 'different'), ('name', E'\U0001F600\U0001F601\U0001F602\U0001F603', E'\U0001F603\U0001F602\U0001F601\U0001F600', 'different')) v (kind, a, b, level);
SELECT is(jaro_winkler(a, b), NULL, 'with nobody') FROM (VALUES ('', 'a'), ('a', NULL), (NULL, 'a'), (' ', ' ')) v (a, b);
SELECT is(round(jaro_winkler(a, b)::numeric, 12), s, format('%s and %s', a, b)) FROM (VALUES ('a', 'ab', 0.85), ('ab', 'a', 0.85), ('abcdef', 'abcdef', 1), ('abc', 'xyz', 0), ('ab', 'ba', 0)) v (a, b, s);
SELECT is(outcome(format('SELECT compare_values(%L, %L, %L, %L)', 'a', 'b', kind, country)), want, format('kind %s, country %s', kind, country)) FROM (VALUES
	('nose', NULL, 'LY003 The kinds are name, address, date, code, phone, email, category and key.'), ('name', 'XX', 'LY003 No numbering plan of that name is known.'), ('name', 'DE', 'close')) v (kind, country, want);

-- ---- definitions

SELECT is(outcome(format('SELECT match_fields(%L)', d)), want, left(d::text, 80)) FROM (VALUES
	('[]'::jsonb, 'LY844 It must be an object.'), ('{}', 'LY844 It has no fields.'), ('{"fields": {}}', 'LY844 It has no fields that are compared.'), ('{"fields": []}', 'LY844 fields must be an object.'), ('{"fields": {"a": "key"}}', 'LY844 It has no fields that are compared.'),
	('{"fields": {"a": "name"}, "fild": 1}', 'LY844 fild is not known here.'), ('{"fields": {"a": {"frequencies": true}}}', 'LY844 fields.a has no kind.'), ('{"fields": {"a": {"kind": "name", "x": 1}}}', 'LY844 fields.a.x is not known here.'),
	('{"fields": {"a": {"kind": "name", "frequencies": 1}}}', 'LY844 fields.a.frequencies must be true or false.'), ('{"fields": {"a": "nose", "b": 5}}', 'LY844 fields.a is "nose", and must be one of: name, address, date, code, phone, email, category, key. fields.b must be a text.'),
	('{"fields": {"a": "name"}, "blocks": []}', 'LY844 blocks is empty, so no pair is ever looked at.'), ('{"fields": {"a": "name"}, "blocks": "a"}', 'LY844 blocks must be an array.'), ('{"fields": {"a": "name"}, "blocks": [["a", "a"]]}', 'LY844 blocks[0] has "a" twice.'),
	('{"fields": {"a": "name"}, "blocks": [["a"], ["b"]]}', 'LY844 blocks[1] has "b", which is no field.'), ('{"fields": {"a": "name", "b": "name"}, "blocks": [["a", "b"], ["b", "a"]]}', 'LY844 blocks[1] is there twice.'), ('{"fields": {"a": "name"}, "blocks": [["a"], []]}', 'LY844 blocks[1] is empty, so nothing can ever be in it.'),
	('{"fields": {"a": "name", "b": "name", "c": "name", "d": "name", "e": "name", "f": "name", "g": "name"}, "blocks": [["a", "b", "c", "d", "e", "f", "g"]]}', 'LY844 blocks[0] has 7 fields, and 6 are possible.'),
	('{"fields": {"a": "name", "b": "name", "c": "name", "d": "name", "e": "name", "f": "name", "g": "name"}, "blocks": [["a", "b", "c", "d", "e", "f"]]}', '{a,b,c,d,e,f,g}'),
	('{"fields": {"a": "name", "k": "key"}, "blocks": [["k"], ["a", "k"]]}', 'LY844 It has blocks of keys only, and how many matches they miss would be unknown: one of compared fields is needed.'), ('{"fields": {"a": "name", "k": "key"}, "blocks": [["k"], ["a"]]}', '{a}'),
	('{"fields": {"a": "name", "k": "key"}}', '{a}'), ('{"fields": {"k": "key", "aa": "name", "b": {"kind": "code"}}}', '{b,aa}'), ('{"fields": {"a": "name"}, "blocks": "k", "link": 2}', 'LY844 blocks must be an array. link must be a probability, from 0 to 1.'),
	('{"fields": {"a": "name"}, "pairs_per_record": 0}', 'LY844 pairs_per_record must be a whole number from 1 to 10000.'), ('{"fields": {"a": "name"}, "pairs_per_record": 10001}', 'LY844 pairs_per_record must be a whole number from 1 to 10000.'),
	('{"fields": {"a": "name"}, "pairs_per_record": 1}', '{a}'), ('{"fields": {"a": "name"}, "pairs_per_record": 10000}', '{a}'), ('{"fields": {"a": "name"}, "largest_key": 1}', 'LY844 largest_key must be a whole number from 2 to 1000000.'), ('{"fields": {"a": "name"}, "largest_key": 1000001}', 'LY844 largest_key must be a whole number from 2 to 1000000.'),
	('{"fields": {"a": "name"}, "largest_key": 2}', '{a}'), ('{"fields": {"a": "name"}, "largest_key": 1000000}', '{a}'), ('{"fields": {"a": "name"}, "oversized": "maybe"}', 'LY844 oversized is "maybe", and must be one of: refuse, skip.'), ('{"fields": {"a": "name"}, "oversized": "refuse"}', '{a}'),
	('{"fields": {"a": "name"}, "country": "XX"}', 'LY844 country is "XX", and must be a country code of two letters.'), ('{"fields": {"a": "name"}, "country": 5}', 'LY844 country must be a text.'), ('{"fields": {"a": "name"}, "country": "DE"}', '{a}'), ('{"fields": {"a": "name"}, "id": 5}', 'LY844 id must be a text.'),
	('{"fields": {"a": "name"}, "in": ""}', 'LY844 in must be a text.'), ('{"fields": {"a": "name"}, "garbage": "x"}', 'LY844 garbage must be an array.'), ('{"fields": {"a": "name"}, "garbage": ["x", 5]}', 'LY844 garbage[1] must be a text.'),
	('{"fields": {"a": "name"}, "link": -0.1}', 'LY844 link is -0.1, and must be from 0 to 999999999999, with at most 6 decimals.'), ('{"fields": {"a": "name"}, "link": 1.000001}', 'LY844 link must be a probability, from 0 to 1.'), ('{"fields": {"a": "name"}, "link": 1, "review": 1}', '{a}'),
	('{"fields": {"a": "name"}, "link": 0.9, "review": 0.9}', '{a}'), ('{"fields": {"a": "name"}, "link": 0.9, "review": 0.900001}', 'LY844 review is above link.'), ('{"fields": {"a": "name"}, "review": 0.990001}', 'LY844 review is above link.'), ('{"fields": {"a": "name"}, "review": "x"}', 'LY844 review must be a number.')) v (d, want);
-- so many fields, keys and blocks
CREATE FUNCTION of_fields(compared integer, keys integer, blocks integer DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('fields', (SELECT jsonb_object_agg(chr(96 + i), CASE WHEN i <= compared THEN 'name' ELSE 'key' END) FROM generate_series(1, compared + keys) i)) || CASE WHEN blocks IS NULL THEN '{}' ELSE
		jsonb_build_object('blocks', (SELECT jsonb_agg(jsonb_build_array(chr(96 + i), chr(96 + k))) FROM (SELECT i, k FROM generate_series(1, compared) i, generate_series(1, compared) k WHERE i < k ORDER BY i, k LIMIT blocks) x)) END
$$;
SELECT is(outcome(format('SELECT match_fields(%L)', of_fields(c, k, b))), want, format('%s fields, %s keys, %s blocks', c, k, b)) FROM (VALUES
	(16, 8, 64, '{a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p}'), (17, 0, NULL, 'LY844 fields.q is one field too many; 16 may be compared.'), (16, 9, NULL, 'LY844 fields.y is one field too many; there may be 16, and 8 keys.'), (16, 0, 65, 'LY844 blocks[64] is one block too many; there may be 64.')) v (c, k, b, want);

-- ---- counts, models and options

CREATE FUNCTION fields(what jsonb, n integer) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('field', 'f' || i) || what) FROM generate_series(1, n) i
$$;
SELECT is(outcome(format('SELECT match_fit(%L)', c)), 'LY003 ' || want, left(c::text, 80)) FROM (VALUES
	('[]'::jsonb, 'It must be an object.'), ('{"patterns": {"111": 5}, "x": 1}', 'x is not known here.'), ('{}', 'It has no patterns.'), ('{"patterns": []}', 'patterns must be an object.'), ('{"patterns": {"111": 5, "0": 1}}', 'patterns has "111", which is no pattern of 1 fields.'),
	('{"patterns": {"111": -5}}', 'patterns is -5, and must be from 0 to 999999999999, with at most 6 decimals.'), ('{"patterns": {"111": 1.5}}', 'patterns must be a whole number from 0 to 9223372036854.'), ('{"patterns": {"11/": 5}}', 'patterns has "11/", which is no pattern of 3 fields.'), ('{"patterns": {"114": 5}}', 'patterns has "114", which is no pattern of 3 fields.'),
	('{"patterns": {"11111111111111111": 5}}', 'patterns has "11111111111111111", which is no pattern of 16 fields.'), ('{"fields": 5, "patterns": {"111": 5}}', 'fields must be an array.'), (jsonb_build_object('fields', fields('{}', 17), 'patterns', '{}'::jsonb), 'fields has more than 16 fields.'),
	('{"fields": [{"field": "a"}, {"kind": "name"}], "patterns": {"11": 5}}', 'fields[1] has no "field", its name.'), ('{"fields": [{"field": 5}, {"field": "b"}, {"field": "c"}], "blocks": [["b"]], "patterns": {"111": 5}}', 'fields[0].field must be a text.'), ('{"fields": [{"field": ""}, {"field": "b"}], "patterns": {"11": 5}}', 'fields[0].field must be a text.'),
	('{"fields": [5, {"field": "b"}, {"field": "c"}], "patterns": {"111": 5}}', 'fields[0] must be an object.'), ('{"fields": [{"field": "a", "kind": "nose"}], "patterns": {"1": 5}}', 'fields[0].kind is "nose", and must be one of: name, address, date, code, phone, email, category, key.'),
	('{"fields": [{"field": "a", "frequencies": 5}], "patterns": {"1": 5}}', 'fields[0].frequencies must be true or false.'), ('{"fields": [{"field": "a", "present": 1.5}], "patterns": {"1": 5}}', 'fields[0].present must be from 0 to 1.'), ('{"fields": [{"field": "a", "values": -1}], "patterns": {"1": 5}}', 'fields[0].values must be from 0 to 1e+18.'),
	('{"fields": [{"field": "a", "compared": "x"}], "patterns": {"1": 5}}', 'fields[0].compared must be a number.'), ('{"fields": [{"field": "a", "x": 1}], "patterns": {"1": 5}}', 'fields[0].x is not known here.'), ('{"fields": [{"field": "a"}, {"field": "b"}, {"field": "a"}], "patterns": {"111": 5}}', 'fields[2] has the name "a", as an earlier one has.'),
	('{"fields": [{"field": "a"}, {"field": "a"}, {"field": "b"}], "patterns": {"111": 5}}', 'fields[1] has the name "a", as an earlier one has.'), ('{"fields": [{"field": "a", "agreement": [1]}], "patterns": {"1": 5}}', 'fields[0].agreement must have from 2 to 4 levels.'), ('{"fields": [{"field": "a", "agreement": [1, 0, 0, 0, 0]}], "patterns": {"1": 5}}', 'fields[0].agreement must have from 2 to 4 levels.'),
	('{"fields": [{"field": "a", "agreement": [1, 1.1]}], "patterns": {"1": 5}}', 'fields[0].agreement[1] must be from 0 to 1.'), ('{"fields": [{"field": "a", "agreement": 1}], "patterns": {"1": 5}}', 'fields[0].agreement must be an array.'), ('{"fields": [{"field": "a", "agreement": [1, 0], "resolution": [0, 0, 0]}], "patterns": {"1": 5}}', 'fields[0] has 2 levels in one place and 3 in another.'),
	('{"fields": [{"field": "a", "kind": "name", "agreement": [1, 0]}], "patterns": {"1": 5}}', 'fields[0] has 4 levels in one place and 2 in another.'), ('{"fields": [{"field": "a", "kind": "category"}, {"field": "b"}, {"field": "c"}], "patterns": {"211": 5}}', 'patterns has level 2 of field "a", which has 2 levels.'),
	('{"fields": [{"field": "a", "agreement": [1, 0]}, {"field": "b", "agreement": [1, 0]}, {"field": "c", "agreement": [1, 0]}], "patterns": {"121": 5}}', 'patterns has level 2 of field "b", which has 2 levels.'),
	('{"fields": [{"field": "a"}], "blocks": 5, "patterns": {"1": 5}}', 'blocks must be an array.'), ('{"fields": [{"field": "a"}], "blocks": [[]], "patterns": {"1": 5}}', 'blocks[0] is empty, so nothing can ever be in it.'), ('{"fields": [{"field": "a"}], "blocks": [["a"], ["b"]], "patterns": {"1": 5}}', 'blocks[1] has "b", which is no field.'),
	(jsonb_build_object('fields', fields('{}', 3), 'patterns', '{"111": 5}'::jsonb, 'blocks', (SELECT jsonb_agg('["f1"]'::jsonb) FROM generate_series(1, 65))), 'blocks has more than 64 blocks.'), ('{"keys": 5, "patterns": {"111": 5}}', 'keys must be true or false.'),
	('{"pairs": 4, "patterns": {"111": 5}}', 'pairs must be from 5 to 1e+30.'), ('{"records": -1, "patterns": {"111": 5}}', 'records must be from 0 to 1e+15.'), ('{"pairs": 6, "patterns": {"111": 5}}', 'It has more pairs than its patterns, and not the agreement of each field over all pairs.'),
	('{"pairs": 6, "fields": [{"field": "a", "agreement": [1, 0]}, {"field": "b"}, {"field": "c", "agreement": [1, 0]}], "patterns": {"111": 5}}', 'It has more pairs than its patterns, and not the agreement of each field over all pairs.')) v (c, want);
\set a '{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1]}'
SELECT is(outcome(format('SELECT match_report(%L)', m)), 'LY003 ' || want, left(m, 80)) FROM (VALUES
	('[]', 'It must be an object.'), ('{"fields": [' || :'a' || ']}', 'It has no lambda.'), ('{"lambda": 0.1}', 'It has no fields.'), ('{"lambda": 0.1, "fields": []}', 'It has no fields.'), ('{"lambda": 1.1, "fields": [' || :'a' || ']}', 'lambda must be from 0 to 1.'), ('{"lambda": -0.1, "fields": [' || :'a' || ']}', 'lambda must be from 0 to 1.'),
	('{"lambda": "x", "fields": [' || :'a' || ']}', 'lambda must be a number.'), ('{"lambda": 0.1, "fields": [{"field": "a", "u": [0.9, 0.1]}]}', 'fields[0] has no m.'), ('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.9, 0.1]}]}', 'fields[0] has no u.'), ('{"lambda": 0.1, "fields": [' || :'a' || ', {"field": "b", "m": [0.1, 0.9], "u": [1, 0, 0]}]}', 'fields[1] has 2 levels in one place and 3 in another.'),
	('{"lambda": 0.1, "fields": [{"field": "a", "kind": "code", "m": [0.1, 0.9], "u": [0.9, 0.1]}]}', 'fields[0] has 3 levels in one place and 2 in another.'), ('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9], "u": [0.9, 0.1], "x": 5}]}', 'fields[0].x is not known here.'),
	('{"lambda": 0.1, "x": 1, "fields": [' || :'a' || ']}', 'x is not known here.'), ('{"lambda": 0.1, "remarks": "x", "fields": [' || :'a' || ']}', 'remarks must be an array.'), ('{"lambda": 0.1, "remarks": [5], "fields": [' || :'a' || ']}', 'remarks[0] must be a text.'), ('{"lambda": 0.1, "converged": 5, "fields": [' || :'a' || ']}', 'converged must be true or false.')) v (m, want)
UNION ALL SELECT is(outcome(format('SELECT match_report(%L)', format('{"lambda": 0.1, "%s": %s, "fields": [%s]}', key, number, :'a'))), format('LY003 %s must be from 0 to %s.', key, most), key) FROM (VALUES ('records', '-1', '1e+15'), ('pairs', '-1', '1e+30'), ('expected_matches', '-1', '1e+30'),
	('matches_in_blocks', '-1', '1e+30'), ('pairs_in_blocks', '-1', '1e+30'), ('matches_outside', '-1', '1e+30'), ('recall_of_blocks', '1.1', '1'), ('iterations', '-1', '1e+09')) v (key, number, most);
SELECT is(outcome(format('SELECT match_report(%L)', format('{"lambda": 0.1, %s, "fields": [%s]}', part, :'a'))), 'LY003 It expects more matches than it has pairs.', part) FROM unnest('{"\"pairs\": 9, \"expected_matches\": 9.5","\"expected_matches\": 1"}'::text[]) part;
-- of nine pairs that are all expected to match no other is left, so that an equal value says nothing
SELECT is((match_weight(format('{"lambda": 1, "pairs": 9, "expected_matches": 9, "fields": [%s]}', :'a')::jsonb, v.pattern)).parts -> 'fields' -> 'a' ->> 'weight', v.weight, 'nobody else, ' || v.pattern) FROM (VALUES ('1', '0.000000'), ('0', '-3.169925')) v (pattern, weight);
SELECT is(outcome(format('SELECT match_fit(%L, %L)', '{"patterns": {"111": 5}}', o)), 'LY003 ' || want, o::text) FROM (VALUES
	('[]'::jsonb, 'It must be an object.'), ('{"x": 1}', 'x is not known here.'), ('{"lambda": 0}', 'lambda must be from 1e-18 to 1.'), ('{"lambda": 1.1}', 'lambda must be from 1e-18 to 1.'), ('{"m": 1.1}', 'm must be from 0 to 1.'), ('{"m": -0.1}', 'm must be from 0 to 1.'), ('{"u": 1.1}', 'u must be from 0 to 1.'), ('{"u": "x"}', 'u must be a number.'),
	('{"tolerance": 1.1}', 'tolerance must be from 0 to 1.'), ('{"tolerance": -1}', 'tolerance must be from 0 to 1.'), ('{"max_iterations": 0}', 'max_iterations must be from 1 to 1e+06.'), ('{"max_iterations": 1000001}', 'max_iterations must be from 1 to 1e+06.'), ('{"clip": 5}', 'clip must be an array.'),
	('{"clip": [0.5]}', 'clip must be two bounds.'), ('{"clip": [0.1, 0.5, 0.9]}', 'clip must be two bounds.'), ('{"clip": [0.9, 0.1]}', 'clip must be a lower bound and an upper one.'), ('{"clip": [-0.1, 0.5]}', 'clip[0] must be from 0 to 1.'), ('{"clip": [0, 1.1]}', 'clip[1] must be from 0 to 1.')) v (o, want);

-- ---- what a model says

\set model '{"lambda": 0.25, "records": 40, "pairs": 780, "fields": [{"field": "a", "kind": "name", "frequencies": true, "values": 30, "compared": 20, "present": 0.9, "m": [0.1, 0, 0.1, 0.8], "u": [0.5, 0.5, 0, 0]}, {"field": "b", "values": 3, "m": [0, 0, 1], "u": [0.5, 0, 0.5]}, {"field": "c", "kind": "code", "values": 4, "compared": 4, "m": [0.001, 0.099, 0.9], "u": [0.9, 0.095, 0.005]}], "blocks": [["a"], ["b", "c"]], "keys": true, "expected_matches": 100, "matches_in_blocks": 90, "pairs_in_blocks": 300, "matches_outside": 10, "recall_of_blocks": 0.9, "iterations": 7, "converged": true, "remarks": ["one", "unsafe: two"]}'
SELECT results_eq(format('SELECT item, round(value, 6), remark FROM match_report(%L)', :'model'), $$VALUES ('verdict', NULL::numeric, 'unsafe'), ('lambda', 0.25, 'share of matches among all pairs'), ('records', 40, NULL), ('pairs', 780, 'of all records'), ('expected matches', 100, NULL),
	('pairs in blocks', 300, 'that are a function of levels'), ('lambda in blocks', 0.3, 'share of matches among their pairs'), ('matches outside', 10, 'expected where no block looks'), ('recall of blocks', 0.9, 'share of the expected matches that are in blocks'), ('iterations', 7, 'converged'),
	('values of a compared', 0.666667, 'share of its values of which pairs were compared for u of nearly equal ones'), ('values of c compared', 1, 'share of its values of which pairs were compared for u of nearly equal ones'), ('remark', NULL, 'one'), ('remark', NULL, 'unsafe: two')$$, 'a report');
SELECT results_eq(format('SELECT item, value, remark FROM match_report(%L) WHERE item <> ALL (%L)', :'model'::jsonb - 'recall_of_blocks' || '{"remarks": ["un", "not unsafe: "], "converged": false, "pairs_in_blocks": 0}', '{lambda,records,pairs,expected matches,pairs in blocks,matches outside,values of a compared,values of c compared,remark}'::text[]),
	$$VALUES ('verdict', NULL::numeric, 'safe'), ('lambda in blocks', 0, 'share of matches among their pairs'), ('recall of blocks', 1, 'share of the expected matches that are in blocks'), ('iterations', 7, 'not converged')$$, 'another one');
SELECT results_eq(format('SELECT item, value, remark FROM match_report(%L)', '{"lambda": 0.1, "fields": [' || :'a' || ']}'), $$VALUES ('verdict', NULL::numeric, 'given, not fitted'), ('lambda', 0.1, 'share of matches among all pairs')$$, 'one by hand');
-- 100 matches and 680 others: from -log2(101) to log2(681); log2(.099 / .095), log2(.9 / .005)
SELECT results_eq(format('SELECT field, level, meaning, weight FROM match_levels(%L)', :'model'), $$VALUES ('a', 3, 'equal', 9.411511), ('a', 2, 'close', 9.411511), ('a', 1, 'similar', -6.658211), ('a', 0, 'different', -2.321928), ('b', 2, 'equal', 1.000000), ('b', 1, 'level 1', 0.000000), ('b', 0, 'different', -6.658211),
	('c', 2, 'equal', 7.491853), ('c', 1, 'close', 0.059501), ('c', 0, 'different', -6.658211)$$, 'levels of a fitted model');
-- log2(.005 / .00001) is 8.965784, and 9.411511 less 7.491853 are left
SELECT is((match_weight(:'model', '--2', '{"c": 0.00001}')).parts, '{"prior": -1.584963, "fields": {"a": {"level": "missing", "weight": 0.000000}, "b": {"level": "missing", "weight": 0.000000}, "c": {"level": "equal", "weight": 7.491853, "frequency": 1.919658}}}', 'no more than its numbers can say');
SELECT is((match_weight(:'model', '3--', '{"a": 0.5}')).weight, 9.411511 - 1.584963, 'nor of a value that no other pair has');
SELECT results_eq(format('SELECT level, weight FROM match_levels(%L)', '{"lambda": 0.1, "fields": [{"field": "a", "m": [0, 0.4, 0, 0.6], "u": [0.5, 0.5, 0, 0]}]}'), $$VALUES (3, 1074.000000), (2, 0.000000), (1, -0.321928), (0, -1074.000000)$$, 'levels by hand');
SELECT is(w.weight::text || ' ' || w.probability, want, 'lambda ' || lambda) FROM (VALUES ('0', '-1074.000000 0.000000000'), ('1', '1074.000000 1.000000000'), ('0.5', '0.000000 0.500000000'), ('0.2', '-2.000000 0.200000000'), ('1e-300', '-996.578428 0.000000000')) v (lambda, want), match_weight(('{"lambda": ' || lambda || ', "fields": [' || :'a' || ']}')::jsonb, '-') w;
SELECT is(outcome(format('SELECT weight FROM match_weight(%L, %L, %L)', '{"lambda": 0.5, "fields": [' || :'a' || ']}', p, f)), want, format('pattern %s, frequencies %s', p, f)) FROM (VALUES
	('1', '{"a": 1}', '-0.152003'), ('1', '{"a": 0.1}', '3.169925'), ('0', '{"a": 0.01}', '-3.169925'), ('1', '{"b": 5}', '3.169925'), ('1', '{"a": 1.01}', 'LY003 That of "a" is 1.01.'), ('1', '{"a": -1}', 'LY003 That of "a" is -1.'), ('1', '{"a": true}', 'LY003 That of "a" is none.'),
	('2', NULL, 'LY003 It has 1 fields.'), ('11', NULL, 'LY003 It has 1 fields.'), ('', NULL, 'LY003 It has 1 fields.'), ('x', NULL, 'LY003 It has 1 fields.')) v (p, f, want);
-- models may change from row to row
SELECT is(array_agg((match_weight(m::jsonb, '1')).weight ORDER BY o), '{3.169925,0.000000,3.169925,-3.169925}', 'other models') FROM (VALUES (1, '{"lambda": 0.5, "fields": [' || :'a' || ']}'), (2, '{"lambda": 0.1, "fields": [' || :'a' || ']}'), (3, '{"lambda": 0.5, "fields": [' || :'a' || ']}'), (4, '{"lambda": 0.1, "fields": [{"field": "a", "m": [0.5, 0.5], "u": [0.5, 0.5]}]}')) v (o, m);

-- ---- counts that no model has, where a fit begins with nothing but matches: its shares are shares, or it is refused

CREATE FUNCTION fit_or_null(counts jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	RETURN match_fit(counts, '{"lambda": 1, "m": 0.99}');
EXCEPTION WHEN SQLSTATE 'LY843' THEN
	RETURN NULL;
END $$;
CREATE TEMPORARY TABLE odd AS
SELECT n, fit_or_null(jsonb_build_object('pairs', 100 + 7 * n, 'fields', c.fields, 'blocks', '[["a"], ["b", "c"]]'::jsonb, 'patterns', jsonb_build_object('111', n % 13 + 1, '110', n % 7 * 3, '101', 3, '011', n % 5))) AS model
FROM generate_series(1, 200) n, LATERAL (SELECT jsonb_agg(jsonb_build_object('field', f.name, 'present', f.present, 'agreement', jsonb_build_array(1 - f.agree, f.agree))) AS fields FROM (VALUES
	('a', n % 7 / 10.0 + 0.2, n % 9 / 10.0 + 0.1), ('b', 1, n % 11 / 12.0 + 0.05), ('c', n % 5 / 10.0 + 0.1, n % 8 / 10.0 + 0.2)) f (name, present, agree)) c;
SELECT ok(count(model) >= 100, 'odd counts are fitted') FROM odd;
SELECT is_empty($$SELECT n, x.share FROM odd, LATERAL (SELECT model -> 'lambda' AS share UNION ALL SELECT s FROM jsonb_array_elements(model -> 'fields') f, jsonb_array_elements((f -> 'm') || (f -> 'u')) s) x
	WHERE NOT (x.share::double precision BETWEEN 0 AND 1)$$, 'lambda, m and u of odd counts');
SELECT is_empty($$SELECT n FROM odd WHERE model IS NOT NULL AND outcome(format('SELECT match_report(%L)', model)) LIKE 'LY%'$$, 'a model of odd counts can be read');

-- ---- what a fit says of itself

CREATE FUNCTION remarks(model jsonb) RETURNS SETOF text LANGUAGE sql AS $$ SELECT jsonb_array_elements_text(model -> 'remarks') $$;
\set eight '{"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056, "001": 1756, "000": 4044}'
SELECT is(match_fit(jsonb_build_object('patterns', :'eight'::jsonb)) - 'fields' - 'lambda' - 'iterations' - 'expected_matches' - 'matches_in_blocks', '{"records": 0, "pairs": 10000, "blocks": [], "pairs_in_blocks": 10000, "matches_outside": 0, "recall_of_blocks": 1, "converged": true, "remarks": []}', 'a good fit');
SELECT is(jsonb_agg(f - 'm' - 'u'), '[{"field": "1", "levels": 2, "frequencies": false, "values": 0, "compared": 0, "present": 1}, {"field": "2", "levels": 2, "frequencies": false, "values": 0, "compared": 0, "present": 1}, {"field": "3", "levels": 2, "frequencies": false, "values": 0, "compared": 0, "present": 1}]', 'its fields') FROM jsonb_array_elements(match_fit(jsonb_build_object('patterns', :'eight'::jsonb)) -> 'fields') f;
SELECT is(jsonb_agg(f - 'm' - 'u'), '[{"field": "x", "kind": "category", "levels": 2, "frequencies": true, "values": 5, "compared": 4, "present": 1}, {"field": "y", "levels": 2, "frequencies": false, "values": 0, "compared": 0, "present": 1}, {"field": "z", "levels": 2, "frequencies": false, "values": 0, "compared": 0, "present": 1}]', 'fields with names')
FROM jsonb_array_elements(match_fit(jsonb_build_object('records', 7, 'keys', true, 'fields', '[{"field": "x", "kind": "category", "frequencies": true, "values": 5, "compared": 4}, {"field": "y"}, {"field": "z"}]'::jsonb, 'patterns', :'eight'::jsonb)) -> 'fields') f;
SELECT is((m -> 'records', m -> 'keys', m -> 'remarks')::text, '(7,true,"[""how many matches only blocks with keys find is not known""]")', 'records and keys') FROM match_fit(jsonb_build_object('records', 7, 'keys', true, 'patterns', :'eight'::jsonb)) m;
SELECT is((m -> 'iterations', m -> 'converged', m -> 'remarks')::text, '(3,false,"[""unsafe: not converged after 3 iterations""]")', 'three iterations') FROM match_fit(jsonb_build_object('patterns', :'eight'::jsonb), '{"max_iterations": 3}') m;
-- blocks on b or c have all matches but (1 - .8) (1 - .7) of them
SELECT is(array_agg(r), '{"unsafe: the blocks have 94.0 % of the matches that are expected"}', 'blocks that miss some') FROM match_fit('{"pairs": 10000, "fields": [{"field": "a", "agreement": [0.74, 0.26]}, {"field": "b", "agreement": [0.68, 0.32]}, {"field": "c", "agreement": [0.62, 0.38]}], "blocks": [["b"], ["c"]],
	"patterns": {"111": 1056, "110": 544, "101": 444, "011": 544, "010": 1056, "001": 1756}}') m, remarks(m) r;
-- lambda .2, m (.9, .8, .7, .2), u (.1, .2, .3, .4)
SELECT is(array_agg(r), '{"unsafe: field \"4\" is equal no more often in matches (0.200000) than in other pairs (0.400000)"}', 'a field that says the contrary') FROM match_fit('{"patterns": {"1111": 2208, "1110": 8352, "1101": 1312, "1100": 4128, "1011": 1272, "1010": 3168, "1001": 2008, "1000": 3552,
	"0111": 1952, "0110": 3488, "0101": 4128, "0100": 6432, "0011": 6968, "0010": 10592, "0001": 16152, "0000": 24288}}') m, remarks(m) r;
SELECT ok(EXISTS (SELECT FROM remarks(m) r WHERE r = 'field "1" is equal in all matches, so that one that differs is hardly ever found'), 'a field that is equal in all matches') FROM match_fit('{"patterns": {"111": 1056, "110": 544, "101": 444, "100": 556, "011": 544, "010": 1056}}', '{"lambda": 0.05, "m": 0.95, "u": 0.02}') m;
-- a, b and c tell matches, .02 of all pairs; other pairs that have d have e as well, ten of twelve: m (.9, .9, .9, .02, .02), u (.01, .01, .01, .12, .12).
-- What a model expects is lambda m m + (1 - lambda) u u of all pairs; of blocks on a or b, in the share of pairs that agree in either.
\set cells '{"11111": 59300, "11110": 2857876, "11101": 2857876, "11100": 140034748, "11011": 103500, "11010": 336924, "11001": 336924, "11000": 16392852, "10111": 103500, "10110": 336924, "10101": 336924, "10100": 16392852, "10011": 9605700, "10010": 1956276, "10001": 1956276, "10000": 84331548, "01111": 103500, "01110": 336924, "01101": 336924, "01100": 16392852, "01011": 9605700, "01010": 1956276, "01001": 1956276, "01000": 84331548, "00111": 9605700, "00110": 1956276, "00101": 1956276, "00100": 84331548, "00011": 950893100, "00010": 190182524, "00001": 190182524, "00000": 8177872052}'
\set outside '["00111", "00110", "00101", "00100", "00011", "00010", "00001", "00000"]'
CREATE FUNCTION remark_of_d_and_e(model jsonb, cells jsonb, blocks boolean) RETURNS text LANGUAGE sql AS $$
	SELECT format('fields "%s" and "%s" are equal together in %s pairs, where %s are expected: they say the same twice', model #>> '{fields,3,field}', model #>> '{fields,4,field}',
		(SELECT sum(c.value::numeric) FROM jsonb_each_text(cells) c WHERE c.key ~ '11$'), round((10000000000 * sum(share * taken * d * e))::numeric))
	FROM (SELECT CASE what WHEN 'm' THEN lambda ELSE 1 - lambda END AS share, CASE WHEN blocks THEN 1 - (1 - p[1]) * (1 - p[2]) ELSE 1 END AS taken, p[4] AS d, p[5] AS e
		FROM (SELECT (model ->> 'lambda')::float8 AS lambda) l, unnest('{m,u}'::text[]) what, LATERAL (SELECT array_agg((f #>> ARRAY[what, '1'])::float8 ORDER BY n) AS p FROM jsonb_array_elements(model -> 'fields') WITH ORDINALITY x (f, n)) y) z
$$;
SELECT is(array_agg(r), ARRAY[remark_of_d_and_e(min(m::text)::jsonb, :'cells', false)], 'what is equal together, of all pairs') FROM match_fit(jsonb_build_object('patterns', :'cells'::jsonb)) m, remarks(m) r WHERE r ~ 'together';
SELECT is(array_agg(r), ARRAY[remark_of_d_and_e(min(m::text)::jsonb, :'cells'::jsonb - ARRAY(SELECT jsonb_array_elements_text(:'outside')), true)], 'and of pairs in blocks') FROM match_fit(jsonb_build_object('pairs', 10000000000,
	'fields', '[{"field": "a", "agreement": [0.9722, 0.0278]}, {"field": "b", "agreement": [0.9722, 0.0278]}, {"field": "c", "agreement": [0.9722, 0.0278]}, {"field": "d", "agreement": [0.882, 0.118]}, {"field": "e", "agreement": [0.882, 0.118]}]'::jsonb, 'blocks', '[["a"], ["b"]]'::jsonb, 'patterns', :'cells'::jsonb - ARRAY(SELECT jsonb_array_elements_text(:'outside')))) m, remarks(m) r WHERE r ~ 'together';

-- ---- sources

CREATE TABLE six AS SELECT i AS id, (ARRAY['ann', 'ann', 'anna', 'bob', 'bob', 'bob'])[i] AS name, 'v' || i % 2 AS odd, CASE WHEN i < 4 THEN 'low' END AS level, NULLIF(i % 3, 0)::text AS third FROM generate_series(1, 6) i;
\set of_six '"id": "id", "fields": {"odd": "category", "name": "name", "level": "category", "third": "key"}'
-- records 1 and 2 agree in name and level, 4 and 6 in name and odd; 1 and 4, 2 and 5 in third alone. Names: 4 of 15 pairs equal, 2 close, 9 of 3 values different
SELECT is(x - 'fields', '{"records": 6, "pairs": 15, "blocks": [["odd", "name"], ["name", "level"]], "keys": true, "patterns": {"13-": 1, "031": 1}, "beside": {"00-": 2}}', 'all that is counted'),
	is(x #> '{fields,0}', format('{"field": "odd", "kind": "category", "levels": 2, "frequencies": true, "values": 2, "compared": 0, "present": 1, "agreement": [0.6, 0.4], "resolution": [%s, %s]}', 0.5::float8 / 15, 0.5::float8 / 15)::jsonb, 'of a category'),
	is((x #> '{fields,1}') - 'agreement'::text, format('{"field": "name", "kind": "name", "levels": 4, "frequencies": false, "values": 3, "compared": 3, "present": 1, "resolution": [%s, %s, %s, %s]}', 0.5::float8 / 3, 0.5::float8 / 3, 0.5::float8 / 3, 0.5::float8 / 15)::jsonb, 'of names'),
	is((SELECT array_agg(round(15 * a::numeric, 9) ORDER BY n) FROM jsonb_array_elements(x #> '{fields,1,agreement}') WITH ORDINALITY y (a, n)), '{9,0,2,4}', 'which agree so often'),
	is(x #> '{fields,2}', format('{"field": "level", "kind": "category", "levels": 2, "frequencies": true, "values": 1, "compared": 0, "present": 0.2, "agreement": [0, 1], "resolution": [%s, %s]}', 0.5::float8 / 3, 0.5::float8 / 3)::jsonb, 'of what half of them have')
FROM match_patterns('six', '{"id": "id", "fields": {"odd": "category", "name": {"kind": "name", "frequencies": false}, "level": "category", "third": "key"}, "blocks": [["third"], ["odd", "name"], ["level", "name"]]}') x;

-- a key that too many share is named: the largest, and of two as large that of the smaller id
SELECT is(outcome(format('SELECT match_pairs(%L, %L)', 'six', '{' || :'of_six' || ', "largest_key": 2, "blocks": [' || blocks || ']}')), want, blocks) FROM (VALUES
	('["name"]', 'LY841 The key is "bob"; largest_key is 2.'), ('["odd"]', 'LY841 The key is "v1"; largest_key is 2.'), ('["third"], ["odd"]', 'LY841 The key is "v1"; largest_key is 2.'), ('["level"]', 'LY841 The key is "low"; largest_key is 2.')) v (blocks, want);
CREATE TABLE keyed (id integer PRIMARY KEY, a text, b text);
INSERT INTO keyed VALUES (1, E'\u738B', 'x'), (2, 'zoe', 'y'), (3, 'zoe', 'y'), (4, E'\u738B', 'x'), (5, 'amy', 'x'), (6, 'amy', 'x'), (7, 'amy', 'z'), (8, 'zoe', 'y');
SELECT results_eq($$SELECT * FROM preview_blocks('keyed', '{"fields": {"a": "name", "b": "category"}, "largest_key": 3, "blocks": [["a"], ["b", "a"], ["b"]]}')$$,
	$$VALUES ('a', 7::bigint, 3::bigint, 'zoe', 3::bigint, false), ('b + a', 5, 3, 'y + zoe', 3, false), ('b', 9, 2, 'x', 4, true)$$, 'sizes of blocks');
SELECT results_eq($$SELECT * FROM preview_blocks('keyed', '{"fields": {"a": "name", "b": "category"}, "garbage": ["zoe", "AMY"], "blocks": [["a"], ["a", "b"]]}')$$,
	format($$VALUES ('a', 1::bigint, 1::bigint, %L, 2::bigint, false), ('a + b', 1, 1, %L, 2, false)$$, E'\u738B', E'\u738B + x'), 'keys in Chinese');
SELECT results_eq($$SELECT * FROM preview_blocks('keyed', '{"fields": {"a": "name", "b": "category"}, "garbage": ["zoe", "amy", "x", "y", "z"], "blocks": [["b"]]}')$$, $$VALUES ('b', 0::bigint, 0::bigint, NULL, 0::bigint, false)$$, 'a block of nothing');

-- from which probability on: m and u make a pair that is equal 4 to 1 of lambda .2, so weight 0, and one that differs 1 to 4
\set even '{"lambda": 0.2, "fields": [{"field": "a", "kind": "category", "m": [0.2, 0.8], "u": [0.8, 0.2]}, {"field": "b", "kind": "category", "frequencies": false, "m": [0.5, 0.5], "u": [0.5, 0.5]}]}'
SELECT is(outcome(format('SELECT string_agg(a || b || decision, %L) FROM find_matches(%L, %L, %L)', ' ', 'keyed', '{"fields": {"a": {"kind": "category", "frequencies": false}, "b": {"kind": "category", "frequencies": false}}, "blocks": [["b"]], ' || t || '}', :'even')), want, t) FROM (VALUES
	('"link": 0.5, "review": 0.5', '14link 23link 28link 38link 56link'), ('"link": 0.500001, "review": 0.5', '14review 23review 28review 38review 56review'), ('"review": 0.500001', 'NULL'), ('"link": 1, "review": 1', 'NULL'), ('"link": 1, "review": 0.4', '14review 23review 28review 38review 56review'),
	('"link": 0, "review": 0', '14link 15link 16link 23link 28link 38link 45link 46link 56link'), ('"link": 0.5, "review": 0', '14link 15review 16review 23link 28link 38link 45review 46review 56link'),
	-- a weight of -4 is .058824
	('"link": 0.5, "review": 0.058823', '14link 15review 16review 23link 28link 38link 45review 46review 56link'), ('"link": 0.5, "review": 0.058824', '14link 23link 28link 38link 56link')) v (t, want);
-- a model says which blocks were chosen, unless the definition names others
SELECT is(outcome(format('SELECT string_agg(a || b || block, %L) FROM find_matches(%L, %L, %L)', ' ', 'keyed', '{"fields": {"a": "category", "b": "category"}, "link": 0, "review": 0' || blocks || '}', :'even'::jsonb || more::jsonb)), want, more || blocks) FROM (VALUES
	('{"blocks": [["a", "b"], ["a"]]}', '', '141 231 281 381 561 572 672'), ('{"blocks": [["a"]]}', ', "blocks": [["b"]]', '141 151 161 231 281 381 451 461 561'), ('{"blocks": [["b"]]}', '', '141 151 161 231 281 381 451 461 561')) v (more, blocks, want);
SELECT is(outcome(format('SELECT count(*) FROM find_matches(%L, %L, %L)', 'keyed', '{"fields": ' || fields || ', "blocks": [["a"]]}', :'even')), want, fields) FROM (VALUES
	('{"a": "category", "b": "category"}', '7'), ('{"a": "category"}', 'LY003 A model has the fields of its definition, in the order in which jsonb has them, with the levels of their kinds.'), ('{"a": "category", "b": "name"}', 'LY003 A model has the fields of its definition, in the order in which jsonb has them, with the levels of their kinds.'),
	('{"a": "category", "c": "category"}', 'LY003 A model has the fields of its definition, in the order in which jsonb has them, with the levels of their kinds.'), ('{"a": "category", "b": "category", "c": "category"}', 'LY003 A model has the fields of its definition, in the order in which jsonb has them, with the levels of their kinds.')) v (fields, want);
-- more values than pairs are compared of: 2,001 of 2,010
CREATE TABLE much AS SELECT i AS id, 'n' || i % 2010 AS a, 'c' || i % 2001 AS b, 'd' || i % 2002 AS c FROM generate_series(1, 4020) i;
SELECT is(string_agg(concat_ws(' ', f ->> 'field', f ->> 'values', f ->> 'compared'), ', '), 'a 2010 2001, b 2001 2001, c 2002 2001', 'so many values are compared'),
	near(sum((f #>> '{agreement,3}')::float8 * 4020 * 4019 / 2), 2010 + 1983 + 18 * 3 + 1986 + 16 * 3, 'equal ones are counted of all', 1e-3), near(sum((SELECT sum(x::float8) FROM jsonb_array_elements_text(f -> 'agreement') x)), 3, 'in all', 1e-9), near(max((f #>> '{resolution,0}')::float8), 0.5 / 2001000, 'what can be told', 1e-15)
FROM match_patterns('much', '{"id": "id", "fields": {"a": "name", "b": "name", "c": "name"}, "blocks": [["a"]]}') p, jsonb_array_elements(p -> 'fields') f;
-- 16 fields of three values in 40 records: a value is that of 14 records or more, two together are not, and there may be 64 blocks of the 120
SELECT format('CREATE TABLE broad AS SELECT i AS id, %s FROM generate_series(1, 40) i', string_agg(format('(ascii(md5(i || %L)) %% 3)::text AS %I', '-' || k, chr(96 + k)), ', ')) FROM generate_series(1, 16) k \gexec
SELECT is(count(*), 64::bigint, 'so many blocks are chosen'), is(array_agg(DISTINCT length(block)), '{5}', 'of two fields') FROM preview_blocks('broad', (SELECT jsonb_build_object('id', 'id', 'pairs_per_record', 200, 'largest_key', 13, 'fields', jsonb_object_agg(chr(96 + k), 'category')) FROM generate_series(1, 16) k));

-- ---- clusters

SELECT is(outcome(format('SELECT cluster_pairs(%s)', arguments)), want, arguments) FROM (VALUES
	($$'{1,2}', '{2}', '{1,1}'$$, 'LY003 The lists belong together: a pair has an element in each.'), ($$'{1}', '{2}', '{}'$$, 'LY003 The lists belong together: a pair has an element in each.'), ($$'{1}', '{2}', NULL$$, 'LY003 The lists belong together: a pair has an element in each.'), ($$'{1}', '{2}', '{1}', '{}'$$, 'LY003 The lists belong together: a pair has an element in each.'),
	($$'{1}', '{2}', '{1}', NULL, '{}', '{3}'$$, 'LY003 The lists belong together: a pair has an element in each.'), ($$'{1}', '{2}', '{NULL}'$$, 'LY003 It is that of pair (1, 2).'), ($$'{NULL}', '{2}', '{1}'$$, 'LY003 Its elements are ids.'), ($$'{1}', '{{2}}', '{1}'$$, 'LY003 Its elements are ids.'),
	($$'{1}', '{2}', '{1}', '{NULL}'$$, '(1,1,1,2,1,,)'), ($$'{1}', '{2}', '{1}', NULL, NULL, NULL$$, '(1,1,1,2,1,,)'), ($$'{2}', '{1}', '{NaN}'$$, '(1,1,1,2,NaN,,)'), ($$'{3}', '{3}', '{1}'$$, '(3,3,,,,,)')) v (arguments, want);
SELECT * FROM finish();
