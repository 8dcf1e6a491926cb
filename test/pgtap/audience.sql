-- Room audience: expressions, live and recorded; worked cases.
CREATE EXTENSION pgtap;
CREATE EXTENSION dblink;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SET timezone = 'UTC';
SELECT throws_ok('SELECT loyalty.in_audience(1, ''x'')', 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
INSERT INTO loyalty.member (member_id, joined_at, attributes, joined_via)
SELECT g, '2025-01-01', jsonb_build_object('city', CASE WHEN g % 2 = 0 THEN 'Bonn' ELSE 'Ulm' END), CASE WHEN g % 3 = 0 THEN 'app' ELSE 'store' END FROM generate_series(1, 60) g;
SELECT setval('loyalty.member_member_id_seq', 1000) \g /dev/null
CREATE FUNCTION live(expression text, as_of timestamptz DEFAULT now()) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM loyalty.define_audience('tried', expression);
	UPDATE loyalty.audience_version SET effective_from = NULL WHERE audience = 'tried';
	RETURN loyalty.live_members('tried', 0, 9223372036854775807, as_of, 'infinity')::text;
END $$;

/* ---- algebra of lists ---- */

SELECT is(row(d.*), row(10::bigint, 0::bigint), 'a list') FROM loyalty.define_list('a', array(SELECT generate_series(1, 10)), at => '2026-01-01') d;
SELECT loyalty.define_list('b', array(SELECT generate_series(2, 20, 2)), at => '2026-01-01'), loyalty.define_list('c', '{5,10,15,20}', at => '2026-01-01') \g /dev/null
SELECT is(live(t.expression), t.members, t.expression)
FROM (VALUES ('a', '{1,2,3,4,5,6,7,8,9,10}'), ('a & b', '{2,4,6,8,10}'), ('a & b - c', '{2,4,6,8}'), ('(a & b) - c', '{2,4,6,8}'), ('a - c & b', '{2,4,6,8}'), ('a - (c & b)', '{1,2,3,4,5,6,7,8,9}'),
	('a | b & c', '{1,2,3,4,5,6,7,8,9,10,20}'), ('(a | b) & c', '{5,10,20}'), ('a & b | c', '{2,4,5,6,8,10,15,20}'), ('c | a & b', '{2,4,5,6,8,10,15,20}'), ('c-a|a-b', '{1,3,5,7,9,15,20}'),
	('((a)) & ( b )', '{2,4,6,8,10}'), ('members - members', '{}'), ('members & c', '{5,10,15,20}'), ('a - b - c', '{1,3,7,9}'), ('a | b | c - members', '{1,2,3,4,5,6,7,8,9,10,12,14,16,18,20}')) t (expression, members);

SELECT throws_ok(format('SELECT loyalty.define_audience(''wrong'', %L)', t.expression), 'LY705', 'invalid expression of an audience, at character ' || t.place, 'no expression: ' || coalesce(t.expression, 'NULL'))
FROM (VALUES (NULL, 0), ('', 1), ('a b', 3), ('a &', 4), ('& a', 1), ('(a', 1), ('a)', 2), ('a & (b | c', 5), ('a !', 3), ('A', 1), ('nobody', 1), ('a & nobody', 5), ('a & ()', 6), ('{"tier": {}', 1), ('{}', 1), ('{"x": 1}', 1), ('{"list": "a"}', 1), ('{"label": "x", "tier": {}}', 1), ('{x}', 1),
	('consent', 1), ('a = ', 5), ('a & & b', 5), ('a (b)', 3)) t (expression, place);
SELECT throws_ok(format('SELECT loyalty.define_audience(''wrong'', %L)', t.expression), 'LY705', NULL, 'no term: ' || t.expression)
FROM (VALUES ('{"label": "nobody"}'), ('{"label": 5}'), ('{"tier": {"nobody": ["gold"]}}'), ('{"tier": "gold"}'), ('{"attribute": {"city": []}}'), ('{"attribute": {"city": [5]}}'), ('{"attribute": {}}'),
	('{"count": {"kind": "nothing"}}'), ('{"count": {"kinds": "order"}}'), ('{"count": []}'), ('{"count": {">=": "two"}}'), ('{"count": {"within": "often"}}'), ('{"count": {"within": "-1 day"}}'), ('{"count": {"within": 5}}'),
	('{"bought": {}}'), ('{"bought": {"sku": []}}'), ('{"stage": {"in": ["tired"]}}'), ('{"stage": {"in": ["lost"], "policy": {"active_days": -1}}}'), ('{"stage": {}}'), ('{"joined": {"by": "app"}}'), ('a >= 5')) t (expression);
SELECT is((SELECT count(*) FROM loyalty.audience WHERE audience = 'wrong'), 0::bigint, 'and nothing was defined');
SELECT throws_ok('SELECT ' || t.call, t.code, NULL, t.call)
FROM (VALUES ('loyalty.define_audience(''members'', ''a'')', 'LY003'), ('loyalty.define_audience(NULL, ''a'')', 'LY003'), ('loyalty.define_audience(''A'', ''a'')', 'LY003'), ('loyalty.define_audience(''a'', ''b'')', 'LY003'),
	('loyalty.define_audience(''x'', ''a'', ''infinity'')', 'LY003'), ('loyalty.define_list(''tried'', ''{1}'')', 'LY003'), ('loyalty.define_list(''x'', ''{1,NULL}'')', 'LY003'), ('loyalty.define_list(''x'', ''{-1}'')', 'LY003'),
	('loyalty.change_list(''nobody'', ''{1}'')', 'LY703'), ('loyalty.change_list(''tried'', ''{1}'')', 'LY703'), ('loyalty.change_list(''a'', ''{1}'', at => ''infinity'')', 'LY003'),
	('loyalty.in_audience(1, ''nobody'')', 'LY703'), ('loyalty.in_audience(NULL, ''a'')', 'LY003'), ('loyalty.in_audience(1, NULL)', 'LY003'), ('loyalty.audience_set(''nobody'')', 'LY703'),
	('loyalty.audience_set(NULL)', 'LY703'), ('* FROM loyalty.audience_state(''nobody'')', 'LY703'), ('* FROM loyalty.explain_membership(1, ''nobody'')', 'LY703'), ('* FROM loyalty.audience_members(''nobody'')', 'LY703'),
	('* FROM loyalty.audience_overlap(''{a,nobody}'')', 'LY703')) t (call, code);

-- words in any script, whatever the locale of the database
CREATE FUNCTION tokens(expression text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(format('%s:%s', left(t.kind, 1), t.token), ' ' ORDER BY t.place) FROM loyalty.expression_tokens(expression) t WHERE t.kind <> 'end' $$;
SELECT is(tokens(t.expression), t.tokens, 'words: ' || t.expression)
FROM (VALUES ('city = Köln', 'n:city c:= v:Köln'), ('city = köln - a', 'n:city c:= v:köln o:- n:a'), ('city = ōsaka', 'n:city c:= v:ōsaka'), ('diet = 素食 - diet = "清真"', 'n:diet c:= v:素食 o:- n:diet c:= v:"清真"'),
	('diet = 素食　& a', 'n:diet c:= v:素食 o:& n:a'), ('diet=茶2号|a', 'n:diet c:= v:茶2号 o:| n:a'), ('size = XL', 'n:size c:= v:XL'), ('size = xL', 'n:size c:= v:xL')) t (expression, tokens);
CREATE DATABASE audience_c TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';
SELECT is((SELECT * FROM dblink(format('host=%s port=%s dbname=audience_c', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port')),
	$$SET client_min_messages = warning; CREATE EXTENSION loyalty CASCADE; SELECT string_agg(t.token, ' ' ORDER BY t.place) FROM loyalty.expression_tokens('city = Köln & diet = 素食') t WHERE t.kind <> 'end'$$) x (tokens text)),
	'city = Köln & diet = 素食', 'in a database whose locale knows no letters');
DROP DATABASE audience_c;

/* ---- circles ---- */

SELECT loyalty.define_list('x', '{1}'), loyalty.define_list('y', '{2}'), loyalty.define_audience('aa', 'x') , loyalty.define_audience('bb', 'aa & y') \g /dev/null
SELECT throws_ok($$SELECT loyalty.define_audience('aa', 'bb | x')$$, 'LY704', 'audience "aa" would be in itself', 'a circle');
SELECT throws_ok($$SELECT loyalty.define_audience('aa', 'x - aa')$$, 'LY704', 'audience "aa" would be in itself', 'a small one');
CREATE FUNCTION detail_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE detail text;
BEGIN
	EXECUTE query; RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL; RETURN detail;
END $$;
SELECT is(detail_of($$SELECT loyalty.define_audience('aa', 'bb | x')$$), 'aa -> bb -> aa.', 'the way');
SELECT is(loyalty.define_audience('bb', 'y', '2099-01-01'), 2, 'bb will name it no more');
SELECT throws_ok($$SELECT loyalty.define_audience('aa', 'bb | x', '2098-01-01')$$, 'LY704', NULL, 'but until then');
SELECT is(loyalty.define_audience('aa', 'bb | x', '2099-01-01'), 2, 'and not from then on');

/* ---- terms ---- */

SELECT loyalty.define_label('vegan'), loyalty.define_label('city', 'single'), loyalty.define_label('likes', 'set'), loyalty.define_label('share', 'number') \g /dev/null
SELECT count(loyalty.set_label(m, l, v, s, valid_from => '2026-01-01')) FROM (VALUES (1, 'vegan', NULL, 'self'), (2, 'vegan', 'true', 'model'), (2, 'vegan', 'false', 'self'), (3, 'city', 'Bonn', 'self'), (4, 'city', 'Ulm', 'self'),
	(5, 'likes', 'tea', 'self'), (5, 'likes', 'jam', 'self'), (6, 'likes', 'jam', 'self'), (7, 'share', '0.3', 'model'), (8, 'share', '0.29', 'model'), (9, 'city', 'Bad Ems', 'self')) v (m, l, v, s) \g /dev/null
SELECT loyalty.define_measure('orders'), loyalty.define_ladder('club', '{"measures": [{"measure": "orders", "window": "lifetime"}], "levels": [{"level": "base"}, {"level": "gold", "all": {"orders": 100}}]}') \g /dev/null
SELECT count(loyalty.record_qualification(m, 'orders', 100, '2026-01-05')) FROM unnest('{11,12}'::bigint[]) m \g /dev/null
SELECT loyalty.record_qualification(13, 'orders', 5, '2026-01-05') \g /dev/null
SELECT loyalty.define_product('tea1', 'tea') \g /dev/null
SELECT count(loyalty.record_activity(m, 'order', at, amount, l, c, external_id => at::text)) FROM (VALUES
	(21, '2026-01-10'::timestamptz, 10, '[{"sku": "tea1", "amount": 10}]'::jsonb, 'app'), (21, '2026-02-10', 20, NULL, 'store'), (21, '2026-03-10', 30, NULL, 'store'),
	(22, '2026-01-10', 100, '[{"sku": "cup", "amount": 100}]', 'app'), (23, '2025-01-10', 5, NULL, 'store')) v (m, at, amount, l, c) \g /dev/null
SELECT is(live(t.expression, '2026-03-15'), t.members, t.expression)
FROM (VALUES ('vegan', '{1}'), ('city', '{3,4,9}'), ('city = Bonn', '{3}'), ('city = "Bonn"', '{3}'), ('city = "Bad Ems"', '{9}'), ('likes = tea', '{5}'), ('likes', '{5,6}'), ('{"label": {"likes": ["tea", "jam"]}}', '{5,6}'), ('likes = jam - likes = tea', '{6}'), ('share >= 0.3', '{7}'), ('share < 0.3 | share > 1', '{8}'),
	('{"tier": {"club": ["gold"]}}', '{11,12}'), ('{"tier": {"club": ["base", "gold"]}}', '{11,12,13}'), ('{"attribute": {"city": ["Bonn"]}} & a', '{2,4,6,8,10}'), ('{"joined": {"via": ["app"]}} & a', '{3,6,9}'), ('{"joined": {"within": "1 month"}}', '{}'),
	('{"count": {}}', '{21,22,23}'), ('{"count": {">=": 2}}', '{21}'), ('{"count": {"within": "40 days"}}', '{21}'), ('{"count": {"within": "90 days"}}', '{21,22}'), ('{"count": {"channel": ["app"], ">=": 1}}', '{21,22}'), ('c | {"count": {"=": 1}}', '{5,10,15,20,22,23}'),
	('{"joined": {}} - {"count": {"<": 1}}', '{21,22,23}'), ('{"spent": {">": 10}}', '{21,22}'), ('{"spent": {">": 10, "<=": 60}}', '{21}'), ('{"bought": {"category": ["tea"]}}', '{21}'), ('{"bought": {"sku": ["cup", "tea1"]}}', '{21,22}'), ('{"bought": {"sku": "cup", "category": "tea"}}', '{}'),
	('{"stage": {"in": ["loyal", "active"]}}', '{21,22}'), ('{"stage": {"in": ["lost"]}}', '{23}'), ('{"stage": {"in": ["prospect"]}} & a', '{1,2,3,4,5,6,7,8,9,10}'),
	('{"contacts": {"<": 1}} & c', '{5,10,15,20}')) t (expression, members);

-- what other rooms say: segments by cut points, value by a model, measures of tiers
SELECT loyalty.create_currency('pts'), loyalty.define_measure('points', 'points', 'pts') \g /dev/null
SELECT loyalty.earn(24, 50, 'pts', effective_at => '2026-01-10'), loyalty.earn(24, 30, 'pts', effective_at => '2026-03-01', idempotency_key => 'e'), loyalty.earn(25, 60, 'pts', effective_at => '2026-03-01') \g /dev/null
SELECT loyalty.reverse(24, e.entry_id, 10, effective_at => '2026-03-10') FROM loyalty.ledger e WHERE e.idempotency_key = 'e' \g /dev/null
CREATE TABLE model AS SELECT loyalty.make_clv_model('bg/nbd', r => 0.243, alpha => 4.414, a => 0.793, b => 2.426, p => 6.25, q => 3.74, v => 15.44)::jsonb AS m,
	(loyalty.rfm_thresholds('{30,90,180,365}', '{2,3,4,5}', '{20,50,90,200}')::text)::jsonb AS breaks;
CREATE TABLE valued AS SELECT x.person, loyalty.rfm_agg(x.at, x.amount) AS s FROM loyalty.activities_between(21, 23, 'order', '2026-03-15', 'infinity') x GROUP BY x.person;
SELECT is(live(format('{"segment": {"in": [%s], "breaks": %s}}', to_json(g.segment), m.breaks), '2026-03-15'), g.members, 'segment ' || g.segment)
FROM model m, (SELECT loyalty.rfm_segment_of(v.s, m.breaks::text::loyalty.rfm_breaks, '2026-03-15') AS segment, loyalty.member_set_agg(v.person)::text AS members FROM model m, valued v GROUP BY 1) g;
SELECT is((SELECT count(DISTINCT loyalty.rfm_segment_of(v.s, m.breaks::text::loyalty.rfm_breaks, '2026-03-15')) FROM model m, valued v) > 1, true, 'which are several');
SELECT is(live(format('{"value": {"model": %s, "read": %s, "horizon": "365 days", ">=": %s}}', m.m, to_json(t.read), t.number), '2026-03-15'),
	(SELECT coalesce(loyalty.member_set_agg(v.person), '{}')::text FROM valued v WHERE t.number <= CASE t.read WHEN 'value' THEN loyalty.lifetime_value(v.s, m.m::loyalty.clv_model, '365 days', 0, '2026-03-15')
		WHEN 'orders' THEN loyalty.expected_orders(v.s, m.m::loyalty.clv_model, '365 days', '2026-03-15') ELSE loyalty.p_alive(v.s, m.m::loyalty.clv_model, '2026-03-15') END), format('%s of %s', t.read, t.number))
FROM model m, (VALUES ('value', 1), ('value', 60), ('orders', 1), ('alive', 0.9)) t (read, number);
SELECT is(live(t.expression, '2026-03-15'), t.members, t.expression)
FROM (VALUES ('{"measure": {"of": "orders", ">=": 5}}', '{11,12,13}'), ('{"measure": {"of": "orders", ">": 5}}', '{11,12}'), ('{"measure": {"of": "orders", "within": "30 days"}}', '{}'), ('{"measure": {"of": "orders", "<": 1}} & a', '{1,2,3,4,5,6,7,8,9,10}'),
	('{"measure": {"of": "points", ">=": 60}}', '{24,25}'), ('{"measure": {"of": "points", "=": 70}}', '{24}'), ('{"measure": {"of": "points", "within": "30 days", ">": 20}}', '{25}'), ('{"measure": {"of": "points", "within": "30 days", "=": 20}}', '{24}')) t (expression, members);
SELECT is(live('{"measure": {"of": "points", "=": 80}}', '2026-03-09'), '{24}', 'before it was reversed');
SELECT throws_ok(format('SELECT loyalty.define_audience(''wrong'', %L)', t.expression), 'LY705', NULL, 'no term: ' || t.expression)
FROM (VALUES ('{"segment": {"in": ["Champions"]}}'), ('{"segment": {"in": ["Nobody"], "breaks": {}}}'), ('{"segment": {"in": ["Champions"], "breaks": {"v": 1}}}'), ('{"segment": {"in": ["Champions"], "scheme": "none", "breaks": {}}}'),
	('{"value": {">": 1}}'), ('{"value": {"model": {}, ">": 1}}'), ('{"value": {"model": 1, "read": "mood"}}'), ('{"measure": {"of": "nothing"}}'), ('{"measure": {}}'), ('{"measure": {"of": "orders", "x": 1}}'), ('{"measure": {"of": "orders", ">": "1"}}')) t (expression)
UNION ALL SELECT throws_ok(format('SELECT loyalty.define_audience(''wrong'', %L)', format('{"segment": {"in": ["Nobody"], "breaks": %s}}', m.breaks)), 'LY705', NULL, 'no segment of the scheme') FROM model m
UNION ALL SELECT throws_ok(format('SELECT loyalty.define_audience(''wrong'', %L)', format('{"segment": {"in": ["Champions"], "breaks": %s}}', loyalty.rfm_method())), 'LY705', NULL, 'breaks without cut points');

-- each alone: the same as the set
CREATE FUNCTION alone(expression text, as_of timestamptz, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM live(expression);
	RETURN (SELECT loyalty.member_set_agg(m.member_id) FROM loyalty.member m WHERE m.status <> 'absorbed' AND loyalty.in_audience(m.member_id, 'tried', as_of, known_at))::text;
END $$;
CREATE TABLE expression (e text);
INSERT INTO expression VALUES ('a & b - c'), ('a | b & c'), ('members - vegan'), ('city'), ('likes = jam - likes = tea'), ('share >= 0.3'), ('{"tier": {"club": ["gold"]}} | a'), ('{"attribute": {"city": ["Bonn"]}}'), ('{"joined": {"via": ["app"]}}'),
	('{"count": {">=": 2}}'), ('{"count": {"<": 2}}'), ('{"count": {"=": 0}}'), ('{"spent": {">": 10, "<=": 60}}'), ('{"bought": {"category": ["tea"]}}'), ('{"stage": {"in": ["prospect", "lost"]}}'), ('{"contacts": {"<": 1}} & aa');
INSERT INTO expression SELECT format(e, m.m, m.breaks) FROM model m, unnest(ARRAY['{"value": {"model": %1$s, ">=": 50}}', '{"segment": {"in": ["Champions", "New Customers", "Hibernating customers"], "breaks": %2$s}}',
	'{"measure": {"of": "points", "<": 65}} & (a | {"measure": {"of": "points"}})', '{"measure": {"of": "orders", "within": "60 days"}}']) e;
SELECT is(alone(x.e, t), live(x.e, t), format('alone and together: %s at %s', x.e, t)) FROM expression x, unnest('{2025-06-01,2026-01-20,2026-03-15}'::timestamptz[]) t;

/* ---- as of, known at ---- */

SELECT loyalty.define_audience('buyer', '{"count": {}}'), loyalty.define_audience('bonn', '{"attribute": {"city": ["Bonn"]}}'), loyalty.define_audience('bonn_buyer', 'bonn & buyer') \g /dev/null
UPDATE loyalty.activity SET recorded_at = '2026-03-12', revised_at = '2026-03-12' WHERE member_id = 22;
SELECT is(loyalty.in_audience(22, 'buyer', '2026-03-01'), true, 'as known now');
SELECT is(loyalty.in_audience(22, 'buyer', '2026-03-01', '2026-03-11'), false, 'not known then');
SELECT is(loyalty.in_audience(22, 'buyer', '2026-01-09'), false, 'not yet');
SELECT throws_ok($$SELECT loyalty.in_audience(22, 'bonn', '2026-03-01', '2026-03-11')$$, 'LY705', 'term {"attribute": {"city": ["Bonn"]}} cannot be asked as known at an instant', 'attributes have no history');
SELECT throws_ok($$SELECT loyalty.in_audience(22, 'bonn_buyer', '2026-03-01', '2026-03-11')$$, 'LY705', NULL, 'nor within another');
SELECT is(loyalty.in_audience(22, 'bonn_buyer', '2026-03-01'), true, 'as known now');
-- returned, as of and as known
SELECT loyalty.record_return(22, (SELECT activity_id FROM loyalty.activity WHERE member_id = 22), at => '2026-03-14') \g /dev/null
SELECT is(loyalty.in_audience(22, 'buyer', '2026-03-13'), true, 'before it was returned');
SELECT is(loyalty.in_audience(22, 'buyer', '2026-03-14'), false, 'all was returned');
SELECT is(loyalty.in_audience(22, 'buyer', '2026-03-14', '2026-03-20'), true, 'which was not known then');

-- versions: as of today the old one, from then on the new one
SELECT is(loyalty.define_audience('vip', 'a'), 1, 'a version');
SELECT is(loyalty.define_audience('vip', 'a'), 1, 'the same');
SELECT is(loyalty.define_audience('vip', 'b', '2099-01-01'), 2, 'another, later');
SELECT is(array(SELECT loyalty.in_audience(m, 'vip', t) FROM unnest('{1,2,12}'::bigint[]) m, unnest('{2026-06-01,2098-12-31,2099-01-01}'::timestamptz[]) t ORDER BY t, m), '{t,t,f,t,t,f,f,t,t}'::boolean[], 'in force');
SELECT throws_ok($$SELECT loyalty.define_audience('vip', 'c', '2098-01-01')$$, 'LY003', NULL, 'no version before the last');

/* ---- frequency of contact ---- */

SELECT loyalty.define_purpose('news', '{"*": "opt_out"}') \g /dev/null
SELECT loyalty.define_audience('quiet', '{"contacts": {"channel": "*", "purpose": "news", "within": "7 days", "<": 2}}') \g /dev/null
SELECT loyalty.record_activity(31, 'contact', at, channel => 'email', document => '{"purpose": "news"}') FROM unnest('{2026-05-01 10:00,2026-05-03 10:00}'::timestamptz[]) at \g /dev/null
SELECT is(loyalty.in_audience(31, 'quiet', t.as_of::timestamptz), t.may, 'at ' || t.as_of)
FROM (VALUES ('2026-05-05', false), ('2026-05-08 09:59', false), ('2026-05-08 10:00', true), ('2026-05-01 10:00', true), ('2026-05-03 10:00', false)) t (as_of, may);

/* ---- refreshing ---- */

CREATE FUNCTION refresh(audience text, as_of timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
	SELECT * INTO r FROM dblink(format('host=%s port=%s dbname=%s', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()),
		format('CALL loyalty.refresh_audience(%L, %L)', audience, as_of)) x (members bigint, entered bigint, gone bigint);
	RETURN concat_ws(' ', r.members, r.entered, r.gone);
END $$;
SELECT loyalty.define_list('l', '{1,2,3}', at => '2026-01-01'), loyalty.define_audience('walk', 'l') \g /dev/null
SELECT is(refresh('walk', '2026-05-01'), '3 3 0', 'three enter');
SELECT loyalty.define_list('l', '{2,3,4,5}', at => '2026-05-05') \g /dev/null
SELECT is(refresh('walk', '2026-05-08'), '4 2 1', '4 and 5 enter, 1 leaves');
SELECT is(array(SELECT loyalty.audience_members('walk')), '{2,3,4,5}'::bigint[], 'now');
SELECT is(array(SELECT loyalty.audience_members('walk', '2026-05-07')), '{1,2,3}'::bigint[], 'as of between');
SELECT is(array(SELECT loyalty.audience_members('walk', '2026-04-30')), '{}'::bigint[], 'before');
SELECT is((SELECT array_agg(concat_ws(' ', c.member_id, c.entered, c.snapshot) ORDER BY c.snapshot, c.member_id) FROM loyalty.audience_change c WHERE c.audience = 'walk'), '{"1 t 1","2 t 1","3 t 1","1 f 2","4 t 2","5 t 2"}', 'changes');
SELECT is((SELECT row(s.*) FROM loyalty.audience_state('walk') s), row('2026-05-08'::timestamptz, 1, 4::bigint), 'state');
SELECT is(refresh('walk', '2026-05-08'), '4 0 0', 'again: nothing');
SELECT throws_ok($$SELECT refresh('walk', '2026-05-07')$$, 'LY003', NULL, 'not backwards');
SELECT throws_ok($$SELECT refresh('l', '2026-05-07')$$, 'LY003', 'audience "l" is a list', 'no list');
SELECT throws_ok($$SELECT refresh('nobody', '2026-05-07')$$, 'LY703', NULL, 'nobody');
SELECT throws_ok($$CALL loyalty.refresh_audience('walk')$$, '25001', NULL, 'inside a transaction') FROM (SELECT 1) x WHERE false;

-- live against recorded: 6 meets it on 3 May, recorded on 10 May
SELECT loyalty.define_audience('tea', '{"bought": {"category": ["tea"]}} & members') \g /dev/null
SELECT is(refresh('tea', '2026-05-01'), '1 1 0', '1 May');
SELECT is(refresh('tea', '2026-05-08'), '1 0 0', '8 May');
SELECT loyalty.record_activity(6, 'order', '2026-05-03', lines => '[{"sku": "tea1", "amount": 1}]') \g /dev/null
UPDATE loyalty.activity SET recorded_at = '2026-05-10', revised_at = '2026-05-10' WHERE member_id = 6;
SELECT is(loyalty.in_audience(6, 'tea', '2026-05-04'), true, 'live');
SELECT is(loyalty.in_audience(6, 'tea', '2026-05-04', '2026-05-09'), false, 'as known then');
SELECT is(array(SELECT loyalty.audience_members('tea', t)), '{21}'::bigint[], 'the record as of ' || t) FROM unnest('{2026-05-04,2026-05-09}'::timestamptz[]) t;
SELECT is(refresh('tea', '2026-05-15'), '2 1 0', 'it enters at the next refresh');
SELECT is((SELECT c.changed_at FROM loyalty.audience_change c WHERE c.audience = 'tea' AND c.member_id = 6), '2026-05-15'::timestamptz, 'as of that');
SELECT is(array(SELECT loyalty.audience_members('tea', '2026-05-09')), '{21}'::bigint[], 'and the record stays');

-- chunks
INSERT INTO loyalty.member (member_id, joined_at) SELECT m, '2025-01-01' FROM unnest('{65535,65536,131071,131072,4294967301}'::bigint[]) m;
SELECT loyalty.define_list('far', '{65535,65536,131071,131072,4294967301}', at => '2026-01-01'), loyalty.define_audience('away', 'far') \g /dev/null
SELECT is(refresh('away', '2026-05-01'), '5 5 0', 'far away');
SELECT is((SELECT array_agg(concat_ws(' ', c.chunk, c.snapshot, c.members::text) ORDER BY c.chunk, c.snapshot) FROM loyalty.audience_chunk c WHERE c.audience = 'away'), '{"0 1 {65535}","1 1 {65536,131071}","2 1 {131072}","65536 1 {4294967301}"}', 'in four chunks');
SELECT loyalty.change_list('far', remove => '{65536}', at => '2026-05-02') \g /dev/null
SELECT is(refresh('away', '2026-05-03'), '4 0 1', 'one leaves');
SELECT is((SELECT array_agg(concat_ws(' ', c.chunk, c.snapshot, c.members::text) ORDER BY c.chunk, c.snapshot) FROM loyalty.audience_chunk c WHERE c.audience = 'away' AND c.snapshot = 2), '{"1 2 {131071}"}', 'its chunk alone is written');
SELECT loyalty.change_list('far', remove => '{65535}', at => '2026-05-04') \g /dev/null
SELECT is(refresh('away', '2026-05-05'), '3 0 1', 'another');
SELECT is((SELECT array_agg(concat_ws(' ', c.chunk, c.snapshot, c.members::text) ORDER BY c.chunk, c.snapshot) FROM loyalty.audience_chunk c WHERE c.audience = 'away' AND c.snapshot = 3), '{"0 3 {}"}', 'a chunk without members');
SELECT is((SELECT count(*) FROM loyalty.audience_chunk c WHERE c.audience = 'away' AND c.chunk = 1), 1::bigint, 'what was replaced is gone');
SELECT is(loyalty.audience_set('away')::text, '{131071,131072,4294967301}', 'who is left');
SELECT is(loyalty.audience_set('away', '2026-05-03')::text, '{65535,131071,131072,4294967301}', 'and was there');
SELECT is(loyalty.audience_set('away', '2026-05-02')::text, '{65535,65536,131071,131072,4294967301}', 'before');
SELECT loyalty.define_list('ends', '{0,9223372036854775807}', at => '2026-01-01'), loyalty.define_audience('both_ends', 'ends') \g /dev/null
SELECT is(refresh('both_ends', '2026-05-01'), '2 2 0', 'the smallest and the largest number');
SELECT is(refresh('both_ends', '2026-05-02'), '2 0 0', 'again: nothing');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

/* ---- overlap, explaining ---- */

SELECT is((SELECT array_agg(concat_ws(' ', o.a, o.b, o.members_a, o.members_b, o.in_both, o.jaccard, o.lift)) FROM loyalty.audience_overlap('{a,b,c}') o), '{"a b 10 10 5 0.333333 3.2500","a c 10 4 2 0.166667 3.2500","b c 10 4 2 0.166667 3.2500"}', 'overlap of lists among 65 members');
SELECT loyalty.define_audience('why', 'vip & city | {"count": {">=": 2}} - vegan') \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' / ', e.term, e.holds, e.why)) FROM loyalty.explain_membership(21, 'why', '2026-03-15') e), '{"vip: a / f","city / f","{\"count\": {\">=\": 2}} / t / 3 order","vegan / f"}', 'why');
SELECT is((SELECT array_agg(concat_ws(' / ', e.term, e.holds, e.why)) FROM loyalty.explain_membership(3, 'why', '2026-03-15') e), '{"vip: a / t","city / t / Bonn by self (1)","{\"count\": {\">=\": 2}} / f / 0 order","vegan / f"}', 'why');

/* ---- merging ---- */

SELECT loyalty.define_list('m', '{41,45}', at => '2026-01-01'), loyalty.define_audience('mm', 'm') \g /dev/null
SELECT refresh('mm', '2026-05-01') \g /dev/null
SELECT merge_id AS g FROM loyalty.merge_members(42, 41) \gset
SELECT is(loyalty.audience_set('m')::text, '{42,45}', 'a list: who stands for it');
SELECT is(loyalty.audience_set('mm')::text, '{42,45}', 'a record, too');
SELECT is(array(SELECT loyalty.in_audience(m, 'mm') FROM unnest('{41,42,45,46}'::bigint[]) m), '{t,t,t,f}'::boolean[], 'by both numbers');
SELECT loyalty.unmerge_members(:g) \g /dev/null
SELECT is(loyalty.audience_set('m')::text, '{41,45}', 'unmerged');
SELECT is(loyalty.audience_set('mm')::text, '{41,45}', 'a record, too');
SELECT loyalty.change_list('m', '{42}') \g /dev/null
SELECT merge_id AS g FROM loyalty.merge_members(42, 41) \gset
SELECT is(loyalty.audience_set('m')::text, '{42,45}', 'with both in');
SELECT is(refresh('mm', now()), '2 1 1', '42 enters, 41 is no number of its own');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT loyalty.unmerge_members(:g) \g /dev/null
SELECT is(loyalty.audience_set('m')::text, '{41,42,45}', 'and back');
SELECT is(refresh('mm', now()), '3 1 0', 'and back');

/* ---- consent ---- */

SELECT loyalty.define_label('preferred_hour', 'number'), loyalty.set_label(4, 'preferred_hour', '18') \g /dev/null
SELECT loyalty.set_consent(2, 'email', 'news', false) \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', c.member_id, c.hour) ORDER BY c.member_id) FROM loyalty.contact_list('walk', 'email', 'news') c), '{3,"4 18",5}', 'who may be written to');
SELECT is((SELECT array_agg(c.member_id ORDER BY c.member_id) FROM loyalty.contact_list('walk', 'email', 'news', ignore_consent => true) c), '{2,3,4,5}', 'or told otherwise');
SELECT is_empty($$SELECT * FROM loyalty.contact_list('walk', NULL, 'news')$$, 'nobody prefers a channel');
SELECT loyalty.define_label('preferred_channel', 'single'), loyalty.set_label(2, 'preferred_channel', 'email', valid_from => '2026-01-01'), loyalty.set_label(3, 'preferred_channel', 'sms', valid_from => '2026-01-01'),
	loyalty.set_label(4, 'preferred_channel', 'email', valid_from => '2026-01-01') \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', c.member_id, c.by_channel, c.hour) ORDER BY c.member_id) FROM loyalty.contact_list('walk', NULL, 'news') c), '{"3 sms","4 email 18"}', 'each by the channel that it prefers, if it may');
SELECT loyalty.record_activity(5, 'contact', now() - interval '1 day', channel => 'email', document => '{"purpose": "news"}') \g /dev/null
SELECT is((SELECT array_agg(c.member_id ORDER BY c.member_id) FROM loyalty.contact_list('walk', 'email', 'news', at_most => 1, within => '7 days') c), '{3,4}', 'nor too often');
SELECT throws_ok('SELECT * FROM ' || t.call, t.code, NULL, t.call)
FROM (VALUES ('loyalty.contact_list(''walk'', ''email'', ''nothing'')', 'LY707'), ('loyalty.contact_list(''walk'', ''email'', ''news'', at_most => 1)', 'LY003'), ('loyalty.contact_list(''walk'', ''email'', ''news'', at_most => 0, within => ''1 day'')', 'LY003'), ('loyalty.contact_list(''nobody'', ''email'', ''news'')', 'LY703')) t (call, code);

/* ---- forgetting ---- */

SELECT loyalty.forget_member(3) \g /dev/null
SELECT is(loyalty.audience_set('walk')::text, '{2,4,5}', 'forgotten: not in the record');
SELECT is(loyalty.in_audience(3, 'walk'), false, 'nor live');
SELECT is((SELECT count(*) FROM loyalty.audience_list WHERE member_id = 3) + (SELECT count(*) FROM loyalty.audience_change WHERE member_id = 3), 0::bigint, 'nor anywhere');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT is(refresh('walk', now()), '3 0 0', 'and nobody left');
SELECT loyalty.forget_member(23) \g /dev/null
SELECT refresh('buyer', '2026-03-15') \g /dev/null
SELECT is(loyalty.contains(loyalty.audience_set('buyer'), 23), false, 'whose orders are still there: in no record');

/* ---- events ---- */

SELECT loyalty.subscribe('reader', '{audience_entered,audience_left}') \g /dev/null
SELECT loyalty.change_list('l', '{9}', '{2}', at => now() - interval '1 second') \g /dev/null
SELECT refresh('walk', now()) \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', e.kind, e.member_id, e.payload ->> 'audience') ORDER BY e.member_id) FROM loyalty.event e WHERE e.kind LIKE 'audience%'), '{"audience_left 2 walk","audience_entered 9 walk"}', 'events');

/* ---- in campaigns ---- */

SELECT loyalty.create_currency('points') \g /dev/null
SELECT loyalty.define_campaign('vegans', '{"when": {"label": "vegan"}, "then": [{"points": 10}]}', '2020-01-01'), loyalty.define_campaign('vips', '{"when": {"audience": ["vip"]}, "then": [{"points": 100}]}', '2020-01-01'),
	loyalty.define_campaign('tea_lovers', '{"when": {"all": [{"label": {"likes": ["tea"]}}, {"not": {"audience": "nobody"}}]}, "then": [{"points": 1000}]}', '2020-01-01') \g /dev/null
SELECT is((SELECT points FROM loyalty.record_activity(m, 'order', '2026-06-01', 10)), p, 'points of ' || m) FROM (VALUES (1::bigint, 110::bigint), (2, 100), (30, 0), (5, 100)) v (m, p);
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

/* ---- labels that campaigns give ---- */

SELECT throws_ok('SELECT loyalty.define_campaign(''wrong'', ''{"then": [' || t.effect || ']}'', ''2020-01-01'')', t.code, NULL, 'no effect: ' || t.effect)
FROM (VALUES ('{"label": "nobody"}', 'LY701'), ('{"label": "city"}', 'LY702'), ('{"label": "vegan", "value": "maybe"}', 'LY702'), ('{"label": 5}', 'LY521'), ('{"label": "vegan", "valid_for": "often"}', 'LY521'),
	('{"label": "vegan", "confidence": 1.5}', 'LY521'), ('{"label": "vegan", "for": "1 day"}', 'LY521')) t (effect, code);
SELECT loyalty.define_campaign('tea', '{"when": {"lines": {"category": ["tea"]}}, "then": [{"label": "likes", "value": "tea", "valid_for": "90 days", "confidence": 0.8}]}', '2020-01-01') \g /dev/null
SELECT activity_id AS o1 FROM loyalty.record_activity(33, 'order', '2026-06-01', lines => '[{"sku": "tea1", "amount": 10}]') \gset
SELECT activity_id AS o2 FROM loyalty.record_activity(33, 'order', '2026-07-01', lines => '[{"sku": "tea1", "amount": 10}]') \gset
SELECT loyalty.record_activity(34, 'order', '2026-06-01', lines => '[{"sku": "cup", "amount": 10}]') \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', l.value, l.confidence, l.source, l.valid_until)) FROM loyalty.labels(33, '2026-06-15') l), ARRAY['tea 0.8 rule:tea/' || :o1 || ' 2026-08-30 00:00:00+00'], 'given');
SELECT is(array(SELECT loyalty.has_label(m, 'likes', 'tea', t) FROM unnest('{33,34}'::bigint[]) m, unnest('{2026-05-31,2026-08-29,2026-09-15,2026-10-01}'::timestamptz[]) t ORDER BY m, t), '{f,t,t,f,f,f,f,f}'::boolean[], 'it lapses by itself');
SELECT loyalty.record_return(33, :o1) \g /dev/null
SELECT is(array(SELECT loyalty.has_label(33, 'likes', 'tea', t) FROM unnest('{2026-06-15,2026-07-15}'::timestamptz[]) t ORDER BY t), '{f,t}'::boolean[], 'returned: what it brought is gone, what another brought stays');
SELECT loyalty.revise_activity(33, :o2, cancelled => true) \g /dev/null
SELECT is(loyalty.has_label(33, 'likes', 'tea', '2026-07-15'), false, 'cancelled');
SELECT loyalty.revise_activity(33, :o2, cancelled => false) \g /dev/null
SELECT is(loyalty.has_label(33, 'likes', 'tea', '2026-07-15'), true, 'and not');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

SELECT * FROM finish();
