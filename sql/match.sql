-- Room match: what users see.
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, loyalty;
CREATE TABLE customer (id bigint PRIMARY KEY, given text, surname text, born date, street text, city text);
INSERT INTO customer
SELECT i, substr(md5('g' || i % 40), 1, 6), substr(md5('s' || i % 97), 1, 7), date '1950-01-01' + i * 37 % 20000,
	substr(md5('t' || i), 1, 9) || ' street', 'city ' || i % 9
FROM generate_series(1, 400) i;
INSERT INTO customer
SELECT 1000 + id, given, CASE WHEN id % 8 = 0 THEN surname || 'x' ELSE surname END, born,
	CASE WHEN id % 8 = 0 THEN street ELSE overlay(street PLACING 'x' FROM 2) END, city
FROM customer WHERE id % 4 = 0;
\set definition '{"fields": {"given": "name", "surname": "name", "born": "date", "street": "address", "city": "category"}}'
SELECT * FROM preview_blocks('customer', :'definition');
SELECT a, b, weight, probability, decision, block, pattern FROM find_matches('customer', :'definition') LIMIT 3;
SELECT jsonb_pretty(parts) FROM find_matches('customer', :'definition') LIMIT 1;
CREATE TABLE fitted AS SELECT p AS patterns, match_fit(p) AS model FROM match_patterns('customer', :'definition') p;
SELECT item, round(value, 6) AS value, remark FROM fitted, match_report(model);
SELECT field, level, meaning, round(m, 6) AS m, round(u, 6) AS u, weight FROM fitted, match_levels(model);
SELECT t.* FROM fitted, match_thresholds(model, patterns) t;
SELECT match_fields(:'definition');
-- refusals say what to do
SELECT find_matches('customer', '{"fields": {"given": "nose", "sur": "name"}, "block": 1}');
SELECT find_matches('customer', '{"fields": {"given": "name", "sur": "name"}}');
SELECT find_matches('customer', '{"fields": {"given": "name", "surname": "name"}}');
SELECT match_pairs('customer', '{"fields": {"city": "category"}, "largest_key": 10, "blocks": [["city"]]}');
SELECT match_weight('{"lambda": 0.1, "fields": [{"field": "a", "m": [0.1, 0.9]}]}', '1');
