-- Room member: connected components and normalized identifiers
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SET search_path = loyalty, public;

-- components over pairs of bigint: named by the smallest node, in any order
SELECT components_agg(a, b) FROM (VALUES (5, 2), (2, 9), (7, 7), (1, NULL), (NULL, 3), (NULL, NULL)) v(a, b);
SELECT components_agg(a, b) FROM (VALUES (-9223372036854775808, 9223372036854775807), (0, -1), (-1, -9223372036854775808)) v(a, b);
SELECT components_agg(1, 2) FROM generate_series(1, 0);
SELECT components_agg(NULL, NULL) FROM generate_series(1, 3);
SELECT g, components_agg(a, b) FROM (VALUES (1, 1, 2), (2, 1, 2), (1, 2, 3), (2, 3, 4)) v(g, a, b) GROUP BY g ORDER BY g;

-- as rows
SELECT c.node, c.component
FROM (SELECT components_agg(a, b) AS v FROM (VALUES (5, 2), (2, 9), (7, 7)) v(a, b)) e, expand_components(e.v) c;
SELECT * FROM connected_components('{{5,2},{2,9},{7,7},{NULL,1},{NULL,NULL}}');
SELECT * FROM connected_components('{}');
SELECT * FROM connected_components(NULL);
SELECT (connected_components('{{2,1}}')).*;

-- over pairs of text: by bytes, whatever the collation
SELECT components_text_agg(a, b) FROM (VALUES ('b', 'a'), ('B', 'Ä'), ('Ä', 'a'), ('', NULL), ('z ', 'z')) v(a, b);
SELECT * FROM connected_components_text('{{e,b},{b,z},{q,q},{NULL,a},{bb,b}}');
SELECT * FROM expand_components_text('{{a,a},{b,a}}');
SELECT components_text_agg('1', '2') FROM generate_series(1, 0);

-- stored components take new edges
SELECT components_agg(a, b) FROM (
	SELECT node AS a, component AS b FROM expand_components('{{1,1},{2,1},{8,8},{9,8}}')
	UNION ALL SELECT 9, 2) e;

-- a final function may be called more than once
SELECT a, components_agg(a, b) OVER (ORDER BY a) FROM (VALUES (1, 4), (2, 5), (3, 4), (4, 5)) v(a, b);

-- what is no list of pairs
SELECT * FROM expand_components('{1,2}');
SELECT * FROM expand_components('{{1,2,3}}');
SELECT * FROM expand_components('{{1,NULL}}');
SELECT * FROM connected_components('{{{1,2}}}');
SELECT * FROM connected_components_text('{a}');
SELECT * FROM expand_components_text('{{a,NULL}}');

-- telephone numbers
SELECT raw, country, normalize_identifier('phone', raw, country) FROM (VALUES
	('+49 (0)30 1234-567', NULL), ('0049 30 1234567', NULL), ('030 1234567', NULL), ('030 1234567', 'DE'),
	('tel:+1-415-555-2671', NULL), ('(415) 555-2671', 'US'), ('1 415 555 2671', 'us'), ('011 49 30 1234567', 'US'),
	('415 155 2671', 'US'), ('13812345678', 'CN'), ('8613812345678', 'CN'), ('8 (812) 123-45-67', 'RU'),
	('8121234567', 'RU'), ('+7 8 812 123 45 67', NULL), ('02 1234 5678', 'IT'), ('+39 02 1234 5678', NULL),
	('0412 345 678', 'AU'), ('0011 44 20 7946 0958', 'AU'), ('020 7946 0958', 'GB'), ('8 029 123 45 67', 'BY'),
	('06 20 123 4567', 'HU'), ('+36 06 20 123 4567', NULL), ('+52 1 55 1234 5678', NULL), ('09087654312', 'JP'),
	('010 81 90 8765 4312', 'JP'), ('+800 12345679', NULL), ('+49.151.12345678', 'CN'),
	('123', 'DE'), ('abc', 'DE'), ('0000000000', 'DE'), ('+49 30 1234567 ext 5', NULL), ('+999123456789', NULL),
	('+', NULL), ('++4930123456', NULL), ('49+30123456', 'DE'), ('', 'DE'), (NULL, 'DE'),
	('+4930123456789012345678901234567890', NULL)) v(raw, country);

-- e-mail, without and with what is known of providers
SELECT raw, normalize_identifier('email', raw) AS plain, normalize_identifier('email', raw, provider_rules => true) AS provider
FROM (VALUES (' John.Doe+x@GMAIL.com '), ('a.b+c@googlemail.com'), ('+x@gmail.com'), ('a.b+c@outlook.com'), ('a.b+c@example.org'),
	('a@x.de.'), ('o''neil@x.de'), ('a..b@x.ne.jp'), ('a@b'), ('a@@b.c'), ('@b.c'), ('a@'), ('a b@c.de'), ('x@y.123'),
	('"a b"@x.de'), ('a@-x.de'), ('a@x_y.de'), ('a@.de'), ('x'), ('')) v(raw);
SELECT normalize_identifier('email', repeat('a', 64) || '@x.de') IS NOT NULL AS fits,
	   normalize_identifier('email', repeat('a', 65) || '@x.de') IS NULL AS too_long;

-- opaque ids
SELECT '"' || normalize_identifier('openid', '  oAbC 1 ') || '"' AS folded,
	   '"' || normalize_identifier('openid', '  oAbC 1 ', fold_case => false) || '"' AS kept,
	   normalize_identifier('card', E'\t \n') AS empty, normalize_identifier('card', E'a\tb') AS control,
	   normalize_identifier('card', NULL) AS of_null, normalize_identifier(NULL, 'a') AS in_null,
	   normalize_identifier('card', repeat('x', 1025)) AS too_long;

-- garbage as an error, and misspelt settings
SELECT normalize_identifier('email', 'nope', on_garbage => 'error');
SELECT normalize_identifier('phone', '030 1234567', on_garbage => 'error');
SELECT normalize_identifier('phone', '030 1', default_country => 'DE', on_garbage => 'error');
SELECT normalize_identifier('card', '   ', on_garbage => 'error');
SELECT normalize_identifier('phone', NULL, default_country => 'ZZ');
SELECT normalize_identifier('phone', NULL, default_country => 'DEU');
SELECT normalize_identifier('phone', NULL, on_garbage => 'raise');
