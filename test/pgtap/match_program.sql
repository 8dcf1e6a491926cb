-- Room match: members who are one person: finding, deciding, merging, taking
-- it back, forgetting.
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, loyalty, pg_catalog;
SET jit = off;
\pset fieldsep '\n'
SELECT no_plan();
SELECT throws_ok($$SELECT define_match('person', '{"fields": {"a": "name", "b": "name", "c": "name"}}')$$, 'LY001', NULL, 'before setup()');
SELECT setup() \g /dev/null
SELECT configure_namespace('crm', 'opaque') \g /dev/null

-- Definitions
SELECT throws_ok(c.sql, c.state, c.message, c.sql) FROM (VALUES
	($$SELECT define_match('Person', '{"fields": {"a": "name", "b": "name", "c": "name"}}')$$, 'LY003', 'invalid name of a match: "Person"'),
	($$SELECT define_match(NULL, '{"fields": {"a": "name", "b": "name", "c": "name"}}')$$, 'LY003', NULL),
	($$SELECT define_match('person', NULL)$$, 'LY003', 'definition must not be NULL'),
	($$SELECT define_match('person', '{"fields": {"a": "name", "b": "name"}}')$$, 'LY842', '2 fields do not tell matches from other pairs'),
	($$SELECT define_match('person', '{"id": "x", "fields": {"a": "name", "b": "name", "c": "name"}}')$$, 'LY844', 'invalid definition of a match'),
	($$SELECT define_match('person', '{"fields": {"a": "nose", "b": "name", "c": "name"}}')$$, 'LY844', 'invalid definition of a match'),
	($$SELECT match_candidates('nobody')$$, 'LY840', 'there is no match "nobody"'), ($$SELECT review_queue('nobody')$$, 'LY840', 'there is no match "nobody"'),
	($$SELECT match_clusters('nobody')$$, 'LY840', 'there is no match "nobody"'), ($$SELECT fit_match('nobody')$$, 'LY840', 'there is no match "nobody"'),
	($$SELECT find_duplicates_of('nobody')$$, 'LY840', 'there is no match "nobody"'), ($$SELECT merge_match('nobody', 1, 2)$$, 'LY840', 'there is no match "nobody"'),
	($$SELECT merge_matches('nobody')$$, 'LY840', 'there is no match "nobody"'), ($$CALL find_duplicates('person')$$, '25001', NULL)) c (sql, state, message);
SELECT is(define_match('person', '{"fields": {"given": "name", "surname": "name", "born": "date", "street": "address", "city": "category"}}'), 1, 'a definition');
SELECT is(define_match('person', '{"fields": {"surname": "name", "given": "name", "born": "date", "street": "address", "city": "category"}}'), 1, 'the same again is no new one');

-- 400 members; each fourth once more (numbers 1,004 to 1,400), with a typing error in the street or the surname
CREATE FUNCTION told(i integer, again boolean DEFAULT false) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('given', substr(md5('g' || i % 40), 1, 6), 'surname', CASE WHEN again AND i % 8 = 0 THEN 'x' ELSE '' END || substr(md5('s' || i % 97), 1, 7),
		'born', date '1950-01-01' + i * 37 % 20000, 'street', substr(md5('t' || i), 1, 9) || CASE WHEN again AND i % 8 <> 0 THEN 'x' ELSE '' END || ' street', 'city', 'c' || i % 9)
$$;
DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		PERFORM loyalty.resolve_member(jsonb_build_object('crm', i), 'shop', told(i));
	END LOOP;
	FOR i IN 4 .. 400 BY 4 LOOP
		PERFORM setval(pg_get_serial_sequence('loyalty.member', 'member_id'), 999 + i);
		PERFORM loyalty.resolve_member(jsonb_build_object('crm', 1000 + i), 'shop', told(i, true));
	END LOOP;
END
$$;
CALL find_duplicates('person');
SELECT results_eq('SELECT job, status, done, result, message FROM job_run', $$VALUES ('find_duplicates', 'finished', 100::bigint, 100::bigint, '100 pairs new or changed')$$, 'a run');
SELECT is_empty('SELECT * FROM match_pair WHERE other_id <> member_id + 1000', 'the right ones');
SELECT is(count(*), 100::bigint, 'all of them') FROM match_pair WHERE probability >= 0.99;
SELECT is(count(*), 100::bigint, 'candidates'), is(count(*) FILTER (WHERE accepted), 0::bigint, 'nobody has accepted one') FROM match_candidates('person');
SELECT is(count(DISTINCT cluster), 100::bigint, 'clusters'), is(count(*), 200::bigint, 'of two') FROM match_clusters('person');
SELECT is_empty($$SELECT * FROM review_queue('person')$$, 'nothing to ask');
SELECT is((SELECT remark FROM match_model, match_report(model) WHERE item = 'verdict'), 'safe', 'a safe model');
SELECT is_empty('SELECT * FROM check_all()', 'all is well');

-- Another run changes nothing; new members, by what happened since
CALL find_duplicates('person');
SELECT is((SELECT result FROM job_run ORDER BY run_id DESC LIMIT 1), 0::bigint, 'nothing new');
SELECT clock_timestamp() AS before \gset
SELECT member_id AS late FROM resolve_member('{"crm": "late"}', 'shop', told(3)) \gset
SELECT results_eq(format('SELECT * FROM find_duplicates_of(%L, %L)', 'person', :'before'), 'VALUES (1::bigint, 1::bigint, 0::bigint)', 'a new member');
SELECT is((SELECT member_id FROM match_pair WHERE other_id = :late), 3::bigint, 'is found');
-- who changes is one no longer
SELECT clock_timestamp() AS before \gset
SELECT resolve_member('{"crm": "late"}', 'shop', '{"given": "zzz", "surname": "qqqqq", "born": "1911-11-11", "street": "elsewhere", "city": "c8"}') \g /dev/null
SELECT results_eq(format('SELECT * FROM find_duplicates_of(%L, %L)', 'person', :'before'), 'VALUES (0::bigint, 0::bigint, 1::bigint)', 'a member who is another now');

-- Merging: the evidence is the cause
SELECT throws_ok($$SELECT merge_match('person', 1, 2)$$, 'LY845', 'match "person" does not link members 1 and 2', 'no evidence');
SELECT throws_ok($$SELECT merge_match('person', 1, NULL)$$, 'LY003', NULL, 'with nobody');
SELECT throws_ok($$SELECT merge_match('person', 4, 999999)$$, 'LY202', NULL, 'with nobody known');
SELECT merge_id AS m FROM merge_match('person', 4, 1004, 'key') \gset
SELECT is((SELECT replayed FROM merge_match('person', 4, 1004, 'key')), true, 'once');
SELECT throws_ok($$SELECT merge_match('person', 4, 1008, 'key')$$, 'LY004', NULL, 'not with another');
SELECT throws_ok($$SELECT merge_match('person', 1004, 4)$$, 'LY209', NULL, 'they are one');
SELECT is(canonical_member(1004), 4::bigint, 'merged');
SELECT matches(reason, '^match person; \d+\.\d\d bits by model 1: (born equal|street close) \d+\.\d\d, ', 'the evidence') FROM member_merge WHERE merge_id = :m;
SELECT results_eq(format('SELECT member_id, other_id, match, model_no, decision_no FROM match_link WHERE merge_id = %s', :m), $$VALUES (4::bigint, 1004::bigint, 'person', 1, NULL::bigint)$$, 'is kept');
SELECT is(count(*), 99::bigint, 'the others are left') FROM match_candidates('person');
SELECT is(count(*), 3::bigint, 'merged by three') FROM merge_matches('person', 3);
SELECT is(count(*), 96::bigint, 'and the rest') FROM merge_matches('person', 1000);
SELECT is_empty($$SELECT * FROM merge_matches('person')$$, 'then there is nobody');
SELECT throws_ok($$SELECT merge_matches('person', 0)$$, 'LY003', NULL, 'none at a time');
SELECT is_empty('SELECT * FROM check_all()', 'all is well after merging');
-- and taken back
SELECT unmerge_members(:m) \g /dev/null
SELECT is((SELECT array_agg(member_id || '-' || other_id) FROM match_candidates('person')), '{4-1004}', 'who is two again is a candidate again');
CALL find_duplicates('person');
SELECT is((SELECT array_agg(member_id || '-' || other_id) FROM match_candidates('person')), '{4-1004}', 'also after another run');
SELECT is(preview_merge.item ->> 'probability', '1.000000000', 'preview_merge() knows') FROM preview_merge(4, 1004) WHERE room = 'match';

-- 11. A decision outlives models, follows merges, and comes apart with them
SELECT throws_ok(c.sql, c.state, NULL, c.sql) FROM (VALUES ($$SELECT review_pair(1, 2, 'perhaps')$$, 'LY003'), ($$SELECT review_pair(1, 2, NULL)$$, 'LY003'), ($$SELECT review_pair(NULL, 2, 'same')$$, 'LY003'),
	($$SELECT review_pair(1, 1, 'same')$$, 'LY209'), ($$SELECT review_pair(8, 1008, 'different')$$, 'LY209'), ($$SELECT review_pair(1, 999999, 'same')$$, 'LY202')) c (sql, state);
SELECT decision_no AS d FROM review_pair(1004, 4, 'different', 'father and son', 'review') \gset
SELECT is((SELECT replayed FROM review_pair(1004, 4, 'different', 'father and son', 'review')), true, 'once');
SELECT throws_ok($$SELECT review_pair(1004, 4, 'same', 'father and son', 'review')$$, 'LY004', NULL, 'not otherwise');
SELECT results_eq(format('SELECT member_id, other_id, decision, reason FROM match_review WHERE decision_no = %s', :d), $$VALUES (4::bigint, 1004::bigint, 'different', 'father and son')$$, 'a decision');
SELECT is((SELECT count(*) FROM who_did(4) w WHERE w.act = 'review_pair'), 1::bigint, 'whose it was is known');
CREATE FUNCTION asked() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce((SELECT string_agg(format('%s-%s', member_id, other_id), ' ' ORDER BY member_id, other_id) FROM match_candidates('person')), 'nobody') || '; ' ||
		coalesce((SELECT string_agg(format('%s-%s: %s', member_id, other_id, question), ' ' ORDER BY member_id, other_id) FROM review_queue('person')), 'nothing')
$$;
SELECT is(asked(), 'nobody; nothing', 'it is not asked again');
CALL find_duplicates('person', refit => true);
SELECT is((SELECT max(model_no) FROM match_model), 2, 'another model');
SELECT is(asked(), 'nobody; nothing', 'nor by another model');
SELECT throws_ok($$SELECT merge_match('person', 4, 1004)$$, 'LY845', 'members 4 and 1004 were found not to be the same', 'nor merged');
SELECT is(preview_merge.item ->> 'decision', 'different', 'preview_merge() says so') FROM preview_merge(4, 1004) WHERE room = 'match';
SELECT is_empty('SELECT * FROM check_all()', 'all is well after decisions');

-- Pairs made by hand, of members without attributes, under a match of their own
SELECT define_match('hand', '{"fields": {"a": "name", "b": "name", "c": "name"}}') \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(3001, 3009);
CREATE FUNCTION weighed(pairs jsonb) RETURNS void LANGUAGE sql AS $$
	DELETE FROM loyalty.match_pair WHERE match = 'hand';
	INSERT INTO loyalty.match_pair (member_id, other_id, match, weight, probability, pattern, parts, model_no)
	SELECT (p ->> 0)::bigint, (p ->> 1)::bigint, 'hand', (p ->> 2)::numeric, round(1 / (1 + 2 ^ -(p ->> 2)::numeric), 9), '333', '{}', 1 FROM jsonb_array_elements(pairs) p
$$;
CREATE FUNCTION state() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws('; ',
		(SELECT string_agg(format('%s of %s-%s %s', members, weakest_a, weakest_b, weight), ', ' ORDER BY cluster)
			FROM (SELECT cluster, array_agg(member_id ORDER BY member_id) AS members, weakest_a, weakest_b, weight FROM match_clusters('hand') GROUP BY 1, 3, 4, 5) x),
		(SELECT string_agg(format('%s-%s: %s', member_id, other_id, question), ', ') FROM review_queue('hand')))
$$;
SELECT weighed('[[3001, 3002, 12], [3002, 3003, 9]]') \g /dev/null
SELECT is(state(), '{3001,3002,3003} of 3002-3003 9', 'a chain');
-- 13.
SELECT review_pair(3001, 3003, 'different') \g /dev/null
SELECT is(state(), '{3001,3002} of 3001-3002 12; 3002-3003: would join 3001 and 3003, who were found not to be the same', 'a refusal cuts it at its weaker end');
SELECT review_pair(3002, 3003, 'same') \g /dev/null
SELECT is(state(), '{3002,3003} of 3002-3003 9; 3001-3002: would join 3001 and 3003, who were found not to be the same', 'what a person accepted comes first');
SELECT is((SELECT string_agg(format('%s-%s %s', member_id, other_id, accepted), ' ') FROM match_candidates('hand')), '3002-3003 t', 'candidates go with it');
SELECT is((SELECT string_agg(survivor_id || '-' || absorbed_id, ' ') FROM merge_matches('hand')), '3002-3003', 'and so do merges');
SELECT is(state(), '', 'whom they would join is not asked: he was found to be another');
SELECT throws_ok($$SELECT merge_match('hand', 3001, 3002)$$, 'LY845', NULL, 'nor merged through another');
SELECT review_pair(3003, 3001, 'same', 'she has shown her passport') \g /dev/null
SELECT is(state(), '{3001,3002} of 3001-3002 12', 'a later decision takes its place');
SELECT merge_id AS h FROM merge_match('hand', 3001, 3003) \gset
SELECT ok(decision_no IS NOT NULL AND weight = 12, 'on a decision, and a pair') FROM match_link WHERE merge_id = :h;
SELECT bag_eq('SELECT DISTINCT invariant FROM check_match()', $$VALUES ('weight')$$, 'but for weights by hand all is well');

-- 11. (3004, 3005) refused, then 3004 merged with 3006: (3005, 3006) is not asked; unmerged, it may be
SELECT weighed('[[3004, 3005, 3], [3005, 3006, 3]]') \g /dev/null
SELECT is(state(), '3004-3005: are they the same?, 3005-3006: are they the same?', 'a queue');
SELECT review_pair(3004, 3005, 'different') \g /dev/null
SELECT is(state(), '3005-3006: are they the same?', 'one is answered');
SELECT merge_id AS k FROM merge_members(3004, 3006) \gset
SELECT is(state(), '', 'the other one is about the same persons then');
SELECT unmerge_members(:k) \g /dev/null
SELECT is(state(), '3005-3006: are they the same?', 'and of its own again');
-- identifiers in common override what was decided, and are no violation
SELECT merge_id AS k FROM merge_members(3004, 3005, 'both have shown one card') \gset
SELECT is_empty($$SELECT * FROM check_match() WHERE invariant = 'refused'$$, 'another cause');
SELECT unmerge_members(:k) \g /dev/null

-- What cannot be is found
INSERT INTO match_pair (member_id, other_id, match, weight, probability, pattern, parts, model_no) VALUES (3007, 99999, 'hand', 1, 0.6, '333', '{}', 1);
INSERT INTO match_review (member_id, other_id, decision, decided_at) VALUES (3008, 3009, 'different', now());
UPDATE match_pair SET weight = weight + 0.000001 WHERE member_id = 4;
INSERT INTO match_link (member_id, merge_id, other_id, match) SELECT 3008, merge_id, 3009, 'hand' FROM merge_members(3008, 3009);
-- refused (3011, 3013), and joined through 3012; a word about others of the same person excuses nothing, and neither does what was joined before
INSERT INTO loyalty.member (member_id) SELECT generate_series(3011, 3014);
INSERT INTO match_review (member_id, other_id, decision) VALUES (3011, 3013, 'different'), (3013, 3014, 'same');
INSERT INTO match_link (member_id, merge_id, other_id, match) SELECT 3013, merge_id, 3014, 'hand' FROM merge_members(3013, 3014);
INSERT INTO match_link (member_id, merge_id, other_id, match) SELECT 3011, merge_id, 3012, 'hand' FROM merge_members(3011, 3012);
INSERT INTO match_link (member_id, merge_id, other_id, match) SELECT 3012, merge_id, 3014, 'hand' FROM merge_members(3012, 3014);
INSERT INTO match_model (match, model_no, version, model, patterns) SELECT match, 7, version, model, jsonb_set(patterns, '{patterns}', '{}') FROM match_model WHERE model_no = 1;
SELECT bag_eq($$SELECT invariant, member_id FROM check_match() WHERE member_id IS DISTINCT FROM 3004 AND member_id IS DISTINCT FROM 3005 AND NOT (invariant = 'weight' AND member_id = 3007)$$,
	$$VALUES ('member', 3007::bigint), ('probability', 3007), ('refused', 3008), ('refused', 3012), ('weight', 4), ('patterns', NULL)$$, 'violations');

-- Who is forgotten is in no pair, decision or evidence
SELECT forget_member(3001), forget_member(8), forget_member(3009) \g /dev/null
SELECT is_empty($$SELECT member_id FROM match_pair WHERE 8 IN (member_id, other_id) OR 1008 IN (member_id, other_id) UNION ALL
	SELECT member_id FROM match_review WHERE (member_id IN (3001, 3002, 3003) OR other_id IN (3001, 3002, 3003, 3009)) AND reason IS NOT NULL UNION ALL
	SELECT member_id FROM match_link WHERE member_id IN (8, 3001, 3002, 3008) AND parts IS NOT NULL$$, 'nothing of them is left');
SELECT throws_ok($$SELECT review_pair(3001, 3004, 'same')$$, 'LY203', NULL, 'nor decided about');
SELECT throws_ok($$SELECT merge_match('person', 3001, 3004)$$, 'LY845', NULL, 'nor merged');

-- Rights
CREATE ROLE match_reader; CREATE ROLE match_app; CREATE ROLE match_clerk; CREATE ROLE match_admin; CREATE ROLE match_nobody;
SELECT grant_access('match_reader', 'reader'), grant_access('match_app', 'app'), grant_access('match_clerk', 'clerk'), grant_access('match_admin', 'admin') \g /dev/null
SET ROLE match_reader;
SELECT lives_ok($$SELECT * FROM match_candidates('person'), review_queue('person'), match_clusters('person')$$, 'a reader reads');
SELECT throws_ok(c.sql, '42501', NULL, 'a reader: ' || c.sql) FROM (VALUES ($$SELECT review_pair(3004, 3006, 'same')$$), ($$SELECT fit_match('person')$$), ($$SELECT find_duplicates_of('person')$$),
	($$SELECT merge_match('person', 4, 1004)$$), ($$SELECT merge_matches('person')$$), ($$SELECT define_match('person', '{"fields": {"a": "name", "b": "name", "c": "name"}}')$$),
	($$INSERT INTO match_review (member_id, other_id, decision) VALUES (1, 2, 'same')$$)) c (sql);
SET ROLE match_app;
SELECT throws_ok($$SELECT review_pair(3004, 3006, 'same')$$, '42501', NULL, 'an application that posts does not decide');
SET ROLE match_clerk;
SELECT lives_ok($$SELECT review_pair(3004, 3006, 'same')$$, 'a clerk decides');
SELECT throws_ok($$SELECT define_match('person', '{"fields": {"a": "name", "b": "name", "c": "name"}}')$$, '42501', NULL, 'and defines nothing');
SET ROLE match_admin;
SELECT is(define_match('person', '{"fields": {"a": "name", "b": "name", "c": "name"}}'), 2, 'an administrator defines');
SET ROLE match_nobody;
SELECT throws_ok($$SELECT * FROM loyalty.match_candidates('person')$$, '42501', NULL, 'others see nothing');
RESET ROLE;
SELECT throws_ok($$UPDATE match_review SET decision = 'same'$$, 'LY005', NULL, 'decisions are not changed');
SELECT throws_ok($$DELETE FROM match_model$$, 'LY005', NULL, 'nor models lost');
-- a model is somebody's, and one that a job fits is nobody's
SELECT define_match('kept', '{"fields": {"given": "name", "surname": "name", "born": "date", "street": "address", "city": "category"}}') \g /dev/null
SELECT find_duplicates_of('kept') \g /dev/null
SELECT is_empty($$SELECT FROM operator_act WHERE act = 'fit_match'$$, 'a job fits a model');
SET ROLE match_clerk;
SELECT is(model_no, 2, 'a clerk fits another') FROM fit_match('kept');
RESET ROLE;
SELECT results_eq($$SELECT subject, role FROM operator_act WHERE act = 'fit_match'$$, $$VALUES ('kept 2', 'match_clerk')$$, 'which is kept');

SELECT * FROM finish();
