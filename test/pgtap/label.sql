-- Room label: which assertion speaks, and consent; worked cases.
CREATE EXTENSION pgtap;
CREATE EXTENSION dblink;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SET timezone = 'UTC';
SELECT throws_ok('SELECT loyalty.set_label(1, ''vegan'')', 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT g FROM generate_series(1, 60) g;
SELECT setval('loyalty.member_member_id_seq', 1000) \g /dev/null

-- What was recorded when: the row as the call writes it, at another instant.
CREATE FUNCTION said(at timestamptz, call text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	no bigint;
BEGIN
	EXECUTE 'SELECT assertion_no FROM loyalty.' || call INTO no;
	UPDATE loyalty.member_label m SET recorded_at = at WHERE m.assertion_no = no;
END $$;
CREATE FUNCTION says(member_id bigint, label text, as_of timestamptz, known_at timestamptz DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(l.value, ',' ORDER BY l.value) FROM loyalty.labels($1, $3, $4) l WHERE l.label = $2
$$;

/* ---- definitions ---- */

SELECT throws_ok(format('SELECT loyalty.define_label(%s)', t.call), 'LY702', NULL, 'no label: ' || t.call)
FROM (VALUES ('NULL'), ('''Vegan'''), ('''1a'''), ('''members'''), ('''consent'''), ('''a'', ''tag'''), ('''a'', NULL'), ('''a'', allowed => ''{x}'''),
	('''a'', ''set'', allowed => ''{}'''), ('''a'', ''set'', allowed => ''{x,NULL}'''), ('''a'', ranks => ''[]'''), ('''a'', ranks => ''{"crm": "first"}'''),
	('''a'', ranks => ''{"crm": -1}'''), ('''a'', at_least => 1.1'), ('''a'', at_least => -0.1'), ('''a'', at_least => 0.1234567')) t (call);
SELECT is(loyalty.define_label('vegan'), 'vegan', 'a flag');
SELECT loyalty.define_label('city', 'single', ARRAY['Bonn', 'Köln']), loyalty.define_label('likes', 'set'), loyalty.define_label('discount_share', 'number'),
	loyalty.define_label('regular', at_least => 0.6), loyalty.define_label('town', 'single', ranks => '{"crm": 0, "self": 9}') \g /dev/null
SELECT throws_ok('SELECT loyalty.define_label(''vegan'', ''set'')', 'LY702', 'label "vegan" is a flag', 'its kind stays');
SELECT is(loyalty.define_label('vegan', name => 'Eats plants'), 'vegan', 'again');
SELECT is((SELECT l.name FROM loyalty.label l WHERE l.label = 'vegan'), 'Eats plants', 'with another name');

SELECT throws_ok('SELECT ' || t.call, t.code, t.message, t.call)
FROM (VALUES ('loyalty.set_label(1, ''nobody'')', 'LY701', 'there is no label "nobody"'), ('loyalty.set_label(1, NULL)', 'LY701', 'there is no label "NULL"'),
	('loyalty.set_label(NULL, ''vegan'')', 'LY003', NULL), ('loyalty.set_label(1, ''vegan'', ''maybe'')', 'LY702', 'label "vegan" cannot be "maybe"'),
	('loyalty.set_label(1, ''city'')', 'LY702', 'label "city" cannot be NULL'), ('loyalty.set_label(1, ''city'', ''Ulm'')', 'LY702', 'label "city" cannot be "Ulm"'),
	('loyalty.set_label(1, ''likes'', '''')', 'LY702', NULL), ('loyalty.set_label(1, ''discount_share'', ''NaN'')', 'LY702', NULL),
	('loyalty.set_label(1, ''discount_share'', ''1e5'')', 'LY702', NULL),
	('loyalty.set_label(1, ''consent'', ''email/news'')', 'LY702', NULL), ('loyalty.retract_label(1, ''consent'', ''email/news'')', 'LY702', NULL),
	('loyalty.set_label(1, ''vegan'', source => NULL)', 'LY003', NULL), ('loyalty.set_label(1, ''vegan'', source => '''')', 'LY003', NULL),
	('loyalty.set_label(1, ''vegan'', confidence => 1.5)', 'LY702', 'confidence is 1.5'), ('loyalty.set_label(1, ''vegan'', confidence => NULL)', 'LY702', NULL),
	('loyalty.set_label(1, ''vegan'', confidence => ''NaN'')', 'LY702', NULL),
	('loyalty.set_label(1, ''vegan'', valid_from => ''infinity'')', 'LY003', NULL), ('loyalty.set_label(1, ''vegan'', valid_from => NULL)', 'LY003', NULL),
	('loyalty.set_label(1, ''vegan'', valid_from => ''2026-02-01'', valid_until => ''2026-02-01'')', 'LY003', NULL),
	('loyalty.retract_label(1, ''nobody'')', 'LY701', NULL), ('loyalty.retract_label(1, ''likes'')', 'LY702', NULL),
	('loyalty.retract_label(1, ''city'', ''Bonn'')', 'LY702', 'source "operator" does not say "Bonn" of label "city"'),
	('loyalty.has_label(1, ''nobody'')', 'LY701', NULL), ('loyalty.has_label(NULL, ''vegan'')', 'LY003', NULL), ('* FROM loyalty.labels(NULL)', 'LY003', NULL),
	('* FROM loyalty.label_holders(NULL)', 'LY003', NULL), ('* FROM loyalty.label_holders(''nobody'')', 'LY701', NULL)) t (call, code, message);
SELECT is((SELECT count(*) FROM loyalty.member_label), 0::bigint, 'and nothing was written');

/* ---- two times ---- */

SELECT said('2026-01-10', $$set_label(1, 'vegan', source => 'survey', confidence => 0.8, valid_from => '2026-01-01', valid_until => '2026-04-01')$$);
SELECT said('2026-02-05', $$retract_label(1, 'vegan', source => 'survey', at => '2026-02-01')$$);
SELECT is(loyalty.has_label(1, 'vegan', NULL, t.as_of::timestamptz, t.known_at::timestamptz), t.has, 'vegan ' || t.as_of || coalesce(' known ' || t.known_at, ''))
FROM (VALUES ('2026-01-15', NULL, true), ('2026-02-10', NULL, false), ('2026-02-10', '2026-02-03', true), ('2026-04-02', NULL, false), ('2026-04-02', '2026-02-03', false),
	('2026-01-15', '2026-01-09', false), ('2026-01-01', NULL, true), ('2025-12-31', NULL, false), ('2026-02-01', NULL, false)) t (as_of, known_at, has);

/* ---- who speaks ---- */

-- by rank; of equal rank by confidence
SELECT said('2026-01-01', $$set_label(2, 'regular', source => 'model', confidence => 0.9, valid_from => '2026-01-01')$$);
SELECT said('2026-01-01', $$set_label(2, 'regular', source => 'operator', confidence => 0.5, valid_from => '2026-01-01')$$);
SELECT is(row(l.source, l.confidence), row('operator'::text, 0.5), 'operator .5 beats model .9') FROM loyalty.labels(2, '2026-01-02') l;
SELECT is(loyalty.has_label(2, 'regular', NULL, '2026-01-02'), false, 'which is less sure than the label wants');
SELECT said('2026-01-01', $$set_label(3, 'regular', source => 'model:a', confidence => 0.6, valid_from => '2026-01-01')$$);
SELECT said('2026-01-02', $$set_label(3, 'regular', source => 'model:b', confidence => 0.5, valid_from => '2026-01-01')$$);
SELECT said('2026-01-03', $$set_label(3, 'regular', source => 'model:b', confidence => 0.5, valid_from => '2026-01-01')$$);
SELECT is(row(l.source, l.confidence), row('model:a'::text, 0.6), 'equal rank: .6') FROM loyalty.labels(3, '2026-01-04') l;
SELECT is(loyalty.has_label(3, 'regular', NULL, '2026-01-04'), true, 'as sure as it wants');
-- of equal confidence the later valid_from, then the later recorded
SELECT said('2026-01-03', $$set_label(4, 'town', 'A', 'model:a', 0.5, '2026-01-01')$$);
SELECT said('2026-01-02', $$set_label(4, 'town', 'B', 'model:b', 0.5, '2026-01-02')$$);
SELECT is(says(4, 'town', '2026-01-05'), 'B', 'later valid_from');
SELECT said('2026-01-04', $$set_label(4, 'town', 'C', 'model:c', 0.5, '2026-01-02')$$);
SELECT is(says(4, 'town', '2026-01-05'), 'C', 'later recorded');
SELECT said('2026-01-01', $$set_label(4, 'town', 'D', 'crm', 0.1, '2026-01-01')$$);
SELECT said('2026-01-05', $$set_label(4, 'town', 'E', 'self', 1, '2026-01-01')$$);
SELECT is(says(4, 'town', '2026-01-05'), 'D', 'a rank of its own');
SELECT is(says(4, 'town', '2026-01-05'::timestamptz - interval '1 day' * 5), NULL, 'nothing before');

-- denial
SELECT said('2026-05-01', $$set_label(5, 'vegan', source => 'model', confidence => 0.9, valid_from => '2026-05-01')$$);
SELECT said('2026-05-05', $$set_label(5, 'vegan', 'false', source => 'self', valid_from => '2026-05-05')$$);
SELECT said('2026-05-09', $$retract_label(5, 'vegan', source => 'self', at => '2026-05-09')$$);
SELECT is(loyalty.has_label(5, 'vegan', NULL, t.as_of::timestamptz), t.has, 'denial ' || t.as_of)
FROM (VALUES ('2026-05-03', true), ('2026-05-07', false), ('2026-05-10', true)) t (as_of, has);
SELECT is((SELECT array_agg(l.value || ' ' || l.confidence) FROM loyalty.labels(5, '2026-05-07') l), '{"false 1"}', 'labels() shows the denial');
SELECT is((SELECT array_agg(l.value || ' ' || l.confidence) FROM loyalty.labels(5, '2026-05-10') l), '{"true 0.9"}', 'and the model again');

-- the same source
SELECT said('2026-01-01', $$set_label(6, 'city', 'Bonn', 'import', 1.0, '2026-01-01')$$);
SELECT said('2026-02-01', $$set_label(6, 'city', 'Köln', 'import', 0.5, '2026-03-01', '2026-04-01')$$);
SELECT is(says(6, 'city', '2026-03-15'), 'Köln', 'it replaced itself');
SELECT is(says(6, 'city', '2026-04-02'), 'Bonn', 'until then');
-- a value replaced
SELECT said('2026-03-01', $$set_label(7, 'city', 'Bonn', 'import', 1, '2026-03-01')$$);
SELECT said('2026-03-02', $$set_label(7, 'city', 'Köln', 'self', 1, '2026-03-02')$$);
SELECT said('2026-03-03', $$set_label(7, 'city', 'Bonn', 'import', 1, '2026-03-03')$$);
SELECT is(says(7, 'city', '2026-03-04'), 'Köln', 'by rank');
SELECT throws_ok($$SELECT loyalty.retract_label(7, 'city', 'Bonn', 'self')$$, 'LY702', 'source "self" does not say "Bonn" of label "city"', 'not what it says');
SELECT said('2026-03-05', $$retract_label(7, 'city', 'Köln', 'self', '2026-03-05')$$);
SELECT is(says(7, 'city', '2026-03-06'), 'Bonn', 'retracted');
-- a set: for each value
SELECT said('2026-01-01', format($$set_label(8, 'likes', %L, 'import', valid_from => '2026-01-01')$$, v)) FROM unnest('{tea,jam,cake}'::text[]) v;
SELECT said('2026-01-02', $$retract_label(8, 'likes', 'jam', 'import', '2026-01-02')$$);
SELECT said('2026-01-02', $$retract_label(8, 'likes', 'tea', 'self', '2026-01-02')$$);
SELECT said('2026-01-02', $$retract_label(8, 'likes', 'fish', 'self', '2026-01-02')$$);
SELECT is(says(8, 'likes', '2026-01-03'), 'cake,tea', 'of a set one value; of another source nothing');
SELECT is(loyalty.has_label(8, 'likes', v, '2026-01-03'), v <> 'jam', 'has ' || v) FROM unnest('{tea,jam,cake}'::text[]) v;
SELECT is(loyalty.has_label(8, 'likes', as_of => '2026-01-03'), true, 'any');
-- a number
SELECT said('2026-01-01', $$set_label(9, 'discount_share', '+0.250', 'model', valid_from => '2026-01-01')$$);
SELECT is(says(9, 'discount_share', '2026-01-03'), '0.25', 'a number');
-- retracted by an earlier recorded, later valid one: the last recorded counts where it is valid
SELECT said('2026-01-01', $$retract_label(10, 'vegan', source => 'self', at => '2026-02-01')$$);
SELECT said('2026-01-02', $$set_label(10, 'vegan', source => 'self', valid_from => '2026-01-01')$$);
SELECT is(loyalty.has_label(10, 'vegan', NULL, '2026-03-01'), true, 'said again after that was recorded');

/* ---- keys, history ---- */

SELECT is((SELECT replayed FROM loyalty.set_label(11, 'vegan', idempotency_key => 'k')), false, 'once');
SELECT is((SELECT replayed FROM loyalty.set_label(11, 'vegan', idempotency_key => 'k')), true, 'twice');
SELECT throws_ok($$SELECT loyalty.set_label(11, 'vegan', 'false', idempotency_key => 'k')$$, 'LY004', NULL, 'not with other arguments');
SELECT is((SELECT replayed FROM loyalty.retract_label(11, 'vegan', idempotency_key => 'k')), false, 'another call');
SELECT is((SELECT array_agg(h.says ORDER BY h.assertion_no) FROM loyalty.label_history(11) h), '{yes,nothing}', 'history');
SELECT is((SELECT array_agg(h.value ORDER BY h.assertion_no) FROM loyalty.label_history(8, 'likes') h), '{tea,jam,cake,jam,tea,fish}', 'history of a label');

/* ---- holders: the same as asking each ---- */

SELECT is_empty(format($$
	(SELECT h.member_id, h.value FROM loyalty.label_holders(%1$L, %2$L, %3$L) h
	EXCEPT SELECT m.member_id, nullif(x.value, 'true') FROM loyalty.member m, loyalty.labels(m.member_id, %2$L, %3$L) x
		WHERE x.label = %1$L AND x.value <> 'false' AND loyalty.has_label(m.member_id, %1$L, nullif(x.value, 'true'), %2$L, %3$L))
	UNION ALL
	(SELECT m.member_id, nullif(x.value, 'true') FROM loyalty.member m, loyalty.labels(m.member_id, %2$L, %3$L) x
		WHERE x.label = %1$L AND x.value <> 'false' AND loyalty.has_label(m.member_id, %1$L, nullif(x.value, 'true'), %2$L, %3$L)
	EXCEPT SELECT h.member_id, h.value FROM loyalty.label_holders(%1$L, %2$L, %3$L) h)$$, l, t, k), format('holders of %s at %s', l, t))
FROM unnest('{vegan,city,likes,regular,town,discount_share}'::text[]) l, unnest('{2026-01-05,2026-03-15,2026-05-10}'::timestamptz[]) t,
	unnest(ARRAY[NULL, '2026-02-03']::timestamptz[]) k;
SELECT is((SELECT array_agg(h.member_id) FROM loyalty.label_holders('likes', '2026-01-03', from_id => 8, to_id => 8) h), '{8,8}', 'of a range');
SELECT is((SELECT array_agg(h.member_id) FROM loyalty.label_holders('likes', '2026-01-03', from_id => 9) h), NULL, 'nobody behind');

/* ---- merging ---- */

SELECT said('2026-03-01', $$set_label(21, 'city', 'Bonn', 'import', 1, '2026-03-01')$$);
SELECT said('2026-03-02', $$set_label(22, 'city', 'Köln', 'import', 1, '2026-03-02')$$);
SELECT merge_id AS m FROM loyalty.merge_members(22, 21) \gset
SELECT is(says(21, 'city', '2026-03-05'), 'Köln', 'merged: the last recorded');
SELECT is(says(22, 'city', '2026-03-05'), 'Köln', 'of both numbers');
SELECT is((SELECT array_agg(h.member_id || h.value) FROM loyalty.label_holders('city', '2026-03-05', from_id => 20, to_id => 30) h), '{22Köln}', 'one holder');
SELECT is((SELECT array_agg(h.member_id || h.value) FROM loyalty.label_holders('city', '2026-03-05', from_id => 21, to_id => 21) h), NULL, 'who was absorbed is none');
SELECT loyalty.unmerge_members(:m) \g /dev/null
SELECT is(says(21, 'city', '2026-03-05'), 'Bonn', 'unmerged: each its own');
SELECT is(says(22, 'city', '2026-03-05'), 'Köln', 'as before');

/* ---- consent ---- */

SELECT throws_ok('SELECT ' || t.call, t.code, NULL, t.call)
FROM (VALUES ('loyalty.define_purpose(NULL)', 'LY707'), ('loyalty.define_purpose(''N'')', 'LY707'), ('loyalty.define_purpose(''news'', ''{}'')', 'LY707'),
	('loyalty.define_purpose(''news'', ''{"*": "perhaps"}'')', 'LY707'), ('loyalty.define_purpose(''news'', ''{"*": null}'')', 'LY707'), ('loyalty.define_purpose(''news'', ''[]'')', 'LY707'),
	('loyalty.may_contact(1, ''email'', ''news'')', 'LY707'), ('loyalty.set_consent(1, ''email'', ''news'', true)', 'LY707'),
	('loyalty.may_contact(1, ''email'', ''*'')', 'LY003'), ('loyalty.may_contact(NULL, ''email'', ''news'')', 'LY003')) t (call, code);
SELECT loyalty.define_purpose('news'), loyalty.define_purpose('offers', '{"*": "opt_in", "post": "opt_out"}'), loyalty.define_purpose('receipt', '{"*": "always"}') \g /dev/null
SELECT throws_ok('SELECT ' || t.call, t.code, NULL, t.call)
FROM (VALUES ('loyalty.set_consent(1, ''email'', ''news'', NULL)', 'LY003'), ('loyalty.set_consent(1, ''E mail'', ''news'', true)', 'LY003'), ('loyalty.set_consent(1, NULL, ''news'', true)', 'LY003'),
	('loyalty.set_consent(1, ''email'', NULL, true)', 'LY707'), ('loyalty.set_consent(1, ''email'', ''news'', false, valid_until => ''2030-01-01'')', 'LY003')) t (call, code);

SELECT said('2026-05-01 09:00', $$set_consent(31, 'email', 'news', true, '2026-05-01 09:00')$$);
SELECT said('2026-05-02 09:00', $$set_consent(31, '*', '*', false, '2026-05-02 09:00')$$);
SELECT said('2026-05-03 09:00', $$set_consent(31, 'email', 'news', true, '2026-05-03 09:00')$$);
SELECT is(loyalty.may_contact(31, t.channel, t.purpose, t.as_of::timestamptz), t.may, format('%s/%s %s', t.channel, t.purpose, t.as_of))
FROM (VALUES ('email', 'news', '2026-04-30', false), ('email', 'news', '2026-05-01 12:00', true), ('email', 'news', '2026-05-02 12:00', false), ('email', 'news', '2026-05-04 12:00', true),
	('sms', 'news', '2026-05-04 12:00', false), ('email', 'offers', '2026-05-04 12:00', false), ('post', 'offers', '2026-05-04 12:00', false), ('post', 'offers', '2026-05-01 12:00', true),
	('email', 'receipt', '2026-05-04 12:00', true)) t (channel, purpose, as_of, may);
SELECT is((SELECT array_agg(concat_ws(' ', c.channel, c.purpose, c.given, c.at, c.source)) FROM loyalty.consents(31, '2026-05-04') c),
	'{"* * f 2026-05-02 09:00:00+00 self","email news t 2026-05-03 09:00:00+00 self"}', 'consents()');

SELECT said('2026-05-01', $$set_consent(32, 'email', 'news', true, '2026-05-01')$$);
SELECT said('2026-05-08', $$set_consent(32, 'email', 'news', false, '2026-05-05', 'operator')$$);
SELECT said('2026-05-10', $$set_consent(32, 'email', 'news', true, '2026-05-01', 'import')$$);
SELECT is(loyalty.may_contact(32, 'email', 'news', t.as_of::timestamptz, t.known_at::timestamptz), t.may, format('late: %s, %s', t.as_of, t.known_at))
FROM (VALUES ('2026-05-06', NULL, false), ('2026-05-06', '2026-05-06', true), ('2026-05-11', NULL, false)) t (as_of, known_at, may);
-- of equal instants the withdrawal; a grant that ends
SELECT said('2026-05-01', $$set_consent(33, 'email', 'news', false, '2026-05-01')$$);
SELECT said('2026-05-02', $$set_consent(33, 'email', 'news', true, '2026-05-01')$$);
SELECT is(loyalty.may_contact(33, 'email', 'news', '2026-05-03'), false, 'at once: the withdrawal');
SELECT said('2026-05-02', $$set_consent(34, 'post', 'offers', true, '2026-05-01', valid_until => '2026-06-01')$$);
SELECT is(loyalty.may_contact(34, 'post', 'offers', '2026-05-31'), true, 'until');
SELECT is(loyalty.may_contact(34, 'post', 'offers', '2026-06-01'), false, 'it ends');

-- merged: all numbers that said something must agree; what was said since speaks for both
CREATE FUNCTION at_once(at timestamptz) RETURNS void LANGUAGE sql AS $$ UPDATE loyalty.member_merge SET recorded_at = at WHERE unmerged_at IS NULL $$;
SELECT said('2026-05-01', $$set_consent(41, 'sms', 'news', true, '2026-05-01')$$);
SELECT said('2026-04-02', $$set_consent(42, 'sms', 'news', false, '2026-04-02')$$);
SELECT is(loyalty.may_contact(41, 'sms', 'news', '2026-05-09'), true, 'A');
SELECT merge_id AS m FROM loyalty.merge_members(41, 42) \gset
SELECT at_once('2026-05-10');
SELECT is(loyalty.may_contact(n, 'sms', 'news', '2026-05-11'), false, 'merged ' || n) FROM unnest('{41,42}'::bigint[]) n;
SELECT said('2026-05-12', $$set_consent(41, 'sms', 'news', true, '2026-05-12')$$);
SELECT is(loyalty.may_contact(n, 'sms', 'news', '2026-05-12'), true, 'given anew ' || n) FROM unnest('{41,42}'::bigint[]) n;
SELECT loyalty.unmerge_members(:m) \g /dev/null
SELECT is(loyalty.may_contact(n, 'sms', 'news', '2026-05-14'), n = 41, 'unmerged ' || n) FROM unnest('{41,42}'::bigint[]) n;

/* ---- contacts, checks, forgetting ---- */

SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT loyalty.record_activity(32, 'contact', '2026-05-06', channel => 'email', document => '{"purpose": "news"}', external_id => 'c1') \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'a contact that was right when it was made');
SELECT loyalty.record_activity(32, 'contact', '2026-05-11', channel => 'email', document => '{"purpose": "news"}', external_id => 'c2') \g /dev/null
SELECT is((SELECT array_agg(c.room || ' ' || c.invariant || ' ' || c.member_id) FROM loyalty.check_all() c), '{"label consent 32"}', 'and one that was not');
DELETE FROM loyalty.activity WHERE external_id = 'c2';
UPDATE loyalty.member_label SET value = 'x' WHERE member_id = 5 AND says = 'no';
SELECT is((SELECT array_agg(c.invariant || ' ' || c.member_id) FROM loyalty.check_label() c), '{"assertion 5"}', 'an assertion that does not fit');
UPDATE loyalty.member_label SET value = NULL WHERE member_id = 5 AND says = 'no';
SELECT loyalty.forget_member(8) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.member_label WHERE member_id = 8), 0::bigint, 'forgotten');
SELECT throws_ok('SELECT loyalty.set_label(8, ''vegan'')', 'LY203', NULL, 'nothing is said of the forgotten');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

/* ---- consent for one address ---- */

SELECT member_id AS j FROM loyalty.resolve_member('{"email": "jane@example.org", "phone": "+4915112345678"}') \gset
SELECT loyalty.define_purpose('coupons', '{"*": "opt_out"}') \g /dev/null
SELECT throws_ok(format('SELECT loyalty.set_consent(%s, ''email'', ''news'', true, address => %L)', :j, t.address), t.code, NULL, 'no address of hers: ' || t.address)
FROM (VALUES ('{"email": "other@example.org"}', 'LY212'), ('{"email": "jane@example.org", "phone": "+4915112345678"}', 'LY212'), ('{}', 'LY212'), ('{"nothing": "x"}', 'LY210'), ('1', 'LY003')) t (address, code);
SELECT said('2026-05-01', format($$set_consent(%s, 'email', 'news', true, '2026-05-01', address => '{"email": "JANE@example.org"}')$$, :j));
SELECT is(loyalty.may_contact(:j, 'email', 'news', '2026-05-02', address => t.address), t.may, 'given for one address: ' || coalesce(t.address::text, 'none named'))
FROM (VALUES ('{"email": "jane@example.org"}'::jsonb, true), ('{"email": "other@example.org"}', false), ('{"phone": "+4915112345678"}', false), (NULL, false)) t (address, may);
SELECT said('2026-05-01', format($$set_consent(%s, 'sms', 'coupons', false, '2026-05-01', address => '{"phone": "+4915112345678"}')$$, :j));
SELECT is(loyalty.may_contact(:j, t.channel, 'coupons', t.at, address => t.address), t.may, format('withdrawn for one: %s %s', t.channel, coalesce(t.address::text, 'none named')))
FROM (VALUES ('sms', '{"phone": "+4915112345678"}'::jsonb, '2026-05-02'::timestamptz, false), ('sms', NULL, '2026-05-02', false), ('sms', '{"email": "jane@example.org"}', '2026-05-02', true),
	('email', NULL, '2026-05-02', true), ('sms', NULL, '2026-04-30', true)) t (channel, address, at, may);
-- a contact at an address names it; over once it is unlinked, and linking it again brings it back no more
SELECT loyalty.record_activity(:j, 'contact', '2026-05-03', channel => 'email', document => jsonb_build_object('purpose', 'news', 'identifier_id', i.identifier_id)) FROM loyalty.identifier i
WHERE i.value = 'jane@example.org' \g /dev/null
SELECT is_empty('SELECT * FROM loyalty.check_label()', 'a contact that was right');
SELECT loyalty.unlink_identifier(:j, 'email', 'jane@example.org', effective_at => '2026-05-10') \g /dev/null
SELECT is(loyalty.may_contact(:j, 'email', 'news', '2026-05-11', address => '{"email": "jane@example.org"}'), false, 'unlinked');
SELECT is_empty('SELECT * FROM loyalty.check_label()', 'it was right');
SELECT loyalty.link_identifier(:j, 'email', 'jane@example.org', effective_at => '2026-05-12') \g /dev/null
SELECT is(loyalty.may_contact(:j, 'email', 'news', '2026-05-13', address => '{"email": "jane@example.org"}'), false, 'linked again');

-- forgotten: what was withdrawn holds for whoever comes with the identifier, until it is given anew
SELECT said('2026-06-01', format($$set_consent(%s, '*', 'coupons', false, '2026-06-01')$$, :j));
SELECT loyalty.forget_member(:j) \g /dev/null
SELECT is((SELECT array_agg(concat_ws(' ', k.value, k.at::date, k.source) ORDER BY k.value, k.at) FROM loyalty.consent_kept k),
	'{"*/coupons 2026-06-01 self","*/coupons 2026-06-01 self","sms/coupons 2026-06-01 self"}', 'kept for both identifiers, and for the one');
SELECT is_empty($$SELECT FROM loyalty.consent_kept k WHERE position('jane'::bytea IN k.address) > 0 OR octet_length(k.address) <> 32$$, 'under hashes');
SELECT member_id AS k FROM loyalty.resolve_member('{"email": "jane@example.org"}', effective_at => '2026-07-01') \gset
SELECT ok(:j <> :k, 'somebody new');
SELECT is(loyalty.may_contact(:k, t.channel, 'coupons', '2026-07-02', address => t.address), t.may, format('by %s, %s', t.channel, coalesce(t.address::text, 'none named')))
FROM (VALUES ('email', NULL::jsonb, false), ('email', '{"email": "jane@example.org"}', false)) t (channel, address, may);
SELECT loyalty.link_identifier(:k, 'email', 'second@example.org', effective_at => '2026-07-03') \g /dev/null
SELECT is(loyalty.may_contact(:k, 'email', 'coupons', '2026-07-04', address => '{"email": "second@example.org"}'), true, 'not for another address');
SELECT loyalty.set_consent(:k, 'email', 'coupons', true, '2026-07-05') \g /dev/null
SELECT is(loyalty.may_contact(:k, 'email', 'coupons', '2026-07-06'), true, 'given anew');
SELECT is((SELECT member_id FROM loyalty.resolve_member('{"email": "nobody@example.org"}')), (:k + 1)::bigint, 'others come with nothing');
SELECT is(loyalty.may_contact(:k + 1, 'email', 'coupons'), true, 'and may be written to');
SELECT loyalty.forget_member(:k) \g /dev/null
SELECT member_id AS k FROM loyalty.resolve_member('{"email": "jane@example.org"}') \gset
SELECT is(loyalty.may_contact(:k, 'sms', 'coupons', '2026-08-01'), false, 'forgotten once more: the withdrawal holds');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

/* ---- labels that rules find out ---- */

SELECT throws_ok(format('SELECT loyalty.define_label_rule(%L, %L)', t.rule, t.definition), 'LY702', NULL, 'no rule: ' || coalesce(t.definition, 'NULL'))
FROM (VALUES ('r', NULL), (NULL, '{"label": "town", "from": "channel"}'), ('r', '[]'), ('r', '{"label": "nobody", "from": "hour"}'), ('r', '{"label": "town", "from": "hour"}'), ('r', '{"label": "discount_share", "from": "channel"}'),
	('r', '{"label": "town", "from": "mood"}'), ('r', '{"label": "town"}'), ('r', '{"label": "town", "from": "channel", "within": "often"}'), ('r', '{"label": "town", "from": "channel", "valid_for": "-1 day"}'),
	('r', '{"label": "town", "from": "channel", "at_least": 0}'), ('r', '{"label": "town", "from": "channel", "share": 1.5}'), ('r', '{"label": "town", "from": "channel", "kind": "nothing"}'), ('r', '{"label": "town", "from": "channel", "x": 1}')) t (rule, definition);
SELECT loyalty.define_label('preferred_hour', 'number'), loyalty.define_label('origin', 'single'), loyalty.define_label('favourite', 'single'), loyalty.define_label('at_discount', 'number'), loyalty.define_label('came_by', 'single') \g /dev/null
SELECT is(loyalty.define_label_rule('hour', '{"label": "preferred_hour", "from": "hour", "within": "365 days", "at_least": 3, "share": 0.5, "valid_for": "90 days"}'), 1, 'a rule');
SELECT is(loyalty.define_label_rule('hour', '{"label": "preferred_hour", "from": "hour", "within": "365 days", "at_least": 3, "share": 0.5, "valid_for": "90 days"}'), 1, 'the same');
SELECT loyalty.define_label_rule('origin', '{"label": "origin", "from": "first_channel"}'), loyalty.define_label_rule('favourite', '{"label": "favourite", "from": "category"}'),
	loyalty.define_label_rule('discount', '{"label": "at_discount", "from": "discount_share"}'), loyalty.define_label_rule('came', '{"label": "came_by", "from": "joined_via"}') \g /dev/null
UPDATE loyalty.member SET joined_via = 'live_room', joined_at = '2026-01-01' WHERE member_id = 44;
-- at 18 three of four times, then twice at 9: the share is a half; of 46 there are too few
SELECT count(loyalty.record_activity(m, 'order', at, CASE WHEN l IS NULL THEN 10 END, l, c)) FROM (VALUES (45, '2026-01-01 18:10'::timestamptz, '[{"category": "tea", "price": 10, "discount": 2}]'::jsonb, 'live_room'), (45, '2026-01-02 18:50', '[{"category": "jam", "amount": 10}, {"category": "tea", "amount": 1}]', 'app'),
	(45, '2026-01-03 18:00', NULL, 'app'), (45, '2026-01-04 09:00', NULL, 'app'), (46, '2026-01-01 18:10', NULL, NULL)) v (m, at, l, c) \g /dev/null
CREATE FUNCTION refresh(rule text, as_of timestamptz) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	PERFORM dblink_exec(format('host=%s port=%s dbname=%s', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()), format('CALL loyalty.refresh_labels(%L, %L)', rule, as_of));
	RETURN (SELECT j.result FROM loyalty.job_run j WHERE j.job = 'refresh_labels' ORDER BY j.run_id DESC LIMIT 1);
END $$;
SELECT is(refresh('hour', '2026-02-01'), 1::bigint, 'one label said');
SELECT is((SELECT array_agg(concat_ws(' ', h.member_id, h.value, h.confidence, h.source)) FROM loyalty.label_holders('preferred_hour', '2026-02-02') h), '{"45 18 0.75 rule:hour"}', 'the hour');
SELECT is((SELECT row(m.evidence ->> 'version', m.valid_until) FROM loyalty.member_label m WHERE m.label = 'preferred_hour'), row('1'::text, '2026-05-02'::timestamptz), 'its version, and until when');
SELECT is(refresh('hour', '2026-02-02'), 0::bigint, 'again: nothing');
SELECT is(loyalty.has_label(45, 'preferred_hour', NULL, '2026-05-02'), false, 'it lapses');
SELECT is(refresh('hour', '2026-04-01'), 1::bigint, 'more than half over: said again');
SELECT is(loyalty.has_label(45, 'preferred_hour', '18', '2026-05-02'), true, 'and holds longer');
SELECT count(loyalty.record_activity(45, 'order', at, 10)) FROM unnest('{2026-04-02 09:00,2026-04-03 10:00,2026-04-04 11:00,2026-04-05 12:00}'::timestamptz[]) at \g /dev/null
SELECT is(refresh('hour', '2026-04-06'), 1::bigint, 'taken back');
SELECT is(loyalty.has_label(45, 'preferred_hour', NULL, '2026-04-07'), false, 'three of eight are too few');
SELECT is(loyalty.has_label(45, 'preferred_hour', NULL, '2026-04-05'), true, 'as it was');
SELECT is(array(SELECT refresh(r, '2026-02-01') FROM unnest('{origin,favourite,discount,came}'::text[]) r), '{1,1,2,1}'::bigint[], 'others');
SELECT is((SELECT array_agg(concat_ws(' ', l.label, l.value, l.confidence) ORDER BY l.label) FROM loyalty.labels(45, '2026-02-02') l WHERE l.source LIKE 'rule:%'), '{"at_discount 0.25 1","favourite tea 0.666667","origin live_room 1","preferred_hour 18 0.75"}', 'found out');
SELECT is((SELECT array_agg(l.value) FROM loyalty.labels(44, '2026-02-02') l), '{live_room}', 'where it joined');
SELECT loyalty.set_label(9223372036854775807, 'vegan', valid_from => '2026-01-01') \g /dev/null
SELECT is(refresh('favourite', '2026-02-01'), 0::bigint, 'with the largest number of a member: nothing new');
SELECT throws_ok('SELECT refresh(''nobody'', now())', 'LY701', NULL, 'no such rule');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

/* ---- notices and consent ---- */

SELECT throws_ok('SELECT loyalty.define_notice(''n'', ''birthday'', ''3 days'', NULL, ' || t.arguments || ')', t.code, NULL, 'no notice: ' || t.arguments)
FROM (VALUES ('''email''', 'LY003'), ('NULL, ''news''', 'LY003'), ('''email'', ''nothing''', 'LY707'), ('''*'', ''news''', 'LY003')) t (arguments, code);
SELECT loyalty.define_notice('cards', 'birthday', '3 days', NULL, 'email', 'news'), loyalty.define_notice('all_cards', 'birthday', '3 days') \g /dev/null
UPDATE loyalty.member SET attributes = '{"birthday": "1990-06-10"}' WHERE member_id IN (47, 48, 49);
SELECT loyalty.set_consent(47, 'email', 'news', true, '2026-06-01'), loyalty.set_consent(48, 'email', 'news', true, '2026-06-09'), loyalty.set_consent(49, 'sms', 'news', true, '2026-06-01') \g /dev/null
SELECT is((SELECT array_agg(d.notice || ' ' || d.member_id ORDER BY d.notice, d.member_id) FROM loyalty.due_notices('2026-06-08') d), '{"all_cards 47","all_cards 48","all_cards 49","cards 47"}', 'who consented');
SELECT is((SELECT array_agg(d.member_id ORDER BY d.member_id) FROM loyalty.due_notices('2026-06-09', '{cards}') d), '{47,48}', 'and who did meanwhile');

/* ---- events ---- */

SELECT loyalty.subscribe('reader', '{label_set,label_retracted,consent_given,consent_withdrawn}') \g /dev/null
SELECT loyalty.set_label(50, 'likes', 'tea', valid_from => '2026-01-01'), loyalty.retract_label(50, 'likes', 'tea', at => '2026-02-01'),
	loyalty.set_consent(50, 'email', 'news', true, '2026-01-01'), loyalty.set_consent(50, 'email', 'news', false, '2026-02-01') \g /dev/null
SELECT is((SELECT array_agg(e.kind || ' ' || (e.payload ->> 'value') ORDER BY e.event_id) FROM loyalty.event e WHERE e.member_id = 50),
	'{"label_set tea","label_retracted tea","consent_given email/news","consent_withdrawn email/news"}', 'events');

/* ---- rights ---- */

CREATE ROLE label_app; CREATE ROLE label_reader; CREATE ROLE label_stranger;
SELECT loyalty.grant_access('label_app', 'app'), loyalty.grant_access('label_reader', 'reader') \g /dev/null
SET ROLE label_app;
SELECT lives_ok($$SELECT loyalty.set_label(51, 'vegan')$$, 'an application may');
SELECT lives_ok($$SELECT loyalty.set_consent(51, 'email', 'news', true)$$, 'consent, too');
SELECT throws_ok($$SELECT loyalty.define_label('other')$$, '42501', NULL, 'but not define');
SELECT throws_ok($$INSERT INTO loyalty.member_label (member_id, label, says, source, confidence, valid_from) VALUES (51, 'vegan', 'yes', 'self', 1, now())$$, '42501', NULL, 'nor write a row');
SET ROLE label_reader;
SELECT is(loyalty.has_label(51, 'vegan'), true, 'a reader reads');
SELECT is(loyalty.may_contact(51, 'email', 'news'), true, 'consent, too');
SELECT throws_ok($$SELECT loyalty.set_label(51, 'vegan')$$, '42501', NULL, 'and writes nothing');
SELECT throws_ok('SELECT * FROM loyalty.consent_secret', '42501', NULL, 'nor reads the key of hashes');
SET ROLE label_stranger;
SELECT throws_ok($$SELECT loyalty.has_label(51, 'vegan')$$, '42501', NULL, 'a stranger does not');
RESET ROLE;
/* ---- ranks and the last word ---- */

-- what is called crm:<name> has the rank of crm; a name as long is another one
SELECT said('2026-01-01', $$set_label(51, 'town', 'A', 'operator', 1, '2026-01-01')$$);
SELECT said('2026-01-01', $$set_label(51, 'town', 'B', 'crm:shop', 0.1, '2026-01-01')$$);
SELECT is(says(51, 'town', '2026-01-05'), 'B', 'one of a kind that the label ranks');
SELECT said('2026-01-01', $$set_label(52, 'town', 'A', 'import', 0.1, '2026-01-01')$$);
SELECT said('2026-01-01', $$set_label(52, 'town', 'B', 'cms', 1, '2026-01-01')$$);
SELECT is(says(52, 'town', '2026-01-05'), 'A', 'another source comes last');
-- ranks of a label lie among the usual ones: model is 4, import 5
SELECT loyalty.define_label('district', 'single', ranks => '{"crm": 4}') \g /dev/null
SELECT said('2026-01-01', $$set_label(53, 'district', 'A', 'crm', 0.6, '2026-01-01')$$);
SELECT said('2026-01-01', $$set_label(53, 'district', 'B', 'model', 0.5, '2026-01-01')$$);
SELECT is(says(53, 'district', '2026-01-05'), 'A', 'as much as a model: by confidence');
SELECT said('2026-01-01', $$set_label(53, 'district', 'C', 'rule', 0.1, '2026-01-01')$$);
SELECT is(says(53, 'district', '2026-01-05'), 'C', 'less than a rule');
-- of a set each value has its sources, and the last word of each
SELECT said('2026-01-01', $$set_label(54, 'likes', 'tea', 'self', 1, '2026-01-01')$$);
SELECT said('2026-01-02', $$set_label(54, 'likes', 'tea', 'import', 1, '2026-01-01')$$);
SELECT said('2026-01-03', $$retract_label(54, 'likes', 'tea', source => 'self', at => '2026-01-03')$$);
SELECT is(l.source, 'import', 'what was retracted does not speak, whatever others said since') FROM loyalty.labels(54, '2026-01-05') l WHERE l.label = 'likes';

SELECT * FROM finish();
DROP OWNED BY label_app, label_reader, label_stranger;
DROP ROLE label_app, label_reader, label_stranger;
