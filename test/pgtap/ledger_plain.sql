-- Postings by table access and by statements: the same results; and a table
-- that is not plain any more is written by statements, with all that they do.
\set ON_ERROR_STOP on
\pset format unaligned
\pset tuples_only on
\pset pager off
SET client_min_messages = warning;
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();

-- What a call answers, or its SQLSTATE and message; entry ids as they stand in
-- the member's ledger.
CREATE FUNCTION pg_temp.answer(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	detail text;
BEGIN
	EXECUTE format('SELECT string_agg(to_jsonb(x)::text, '' '') FROM (SELECT to_jsonb(c) - ''{entry_id,lot_id,hold_id}''::text[] AS x FROM %s c) s', call) INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_CONTEXT;
	RETURN concat_ws(' ', SQLSTATE, regexp_replace(SQLERRM, '(entry|hold|member) \d+', '\1', 'g'), (regexp_match(detail, 'element \d+'))[1]);
END
$$;

-- A column of ours that the user wants filled, while there are no entries yet.
ALTER TABLE loyalty.ledger ALTER reference SET NOT NULL;
SELECT loyalty.earn(900, 5, reference => 'given') \g /dev/null
SELECT throws_ok('SELECT loyalty.earn(900, 6)', '23502', 'null value in column "reference" of relation "ledger" violates not-null constraint', 'a column that must be filled');
SELECT throws_ok($$SELECT loyalty.post_many('{900,900}', '{earn,earn}', '{1,2}', refs => '{x,NULL}')$$, '23502', NULL, 'also by several postings at once');
SELECT is(pg_temp.answer($$loyalty.post_many('{901,900}', '{earn,earn}', '{1,2}', refs => '{NULL,x}')$$), '23502 null value in column "reference" of relation "ledger" violates not-null constraint element 1', 'and by a batch, of its element');
SELECT results_eq('SELECT available FROM loyalty.balance(900)', 'VALUES (5::bigint)', 'which changes nothing');
ALTER TABLE loyalty.ledger ALTER reference DROP NOT NULL;

-- A batch: what a row is refused for when all go in together is said of its element.
BEGIN;
CREATE UNIQUE INDEX mine ON loyalty.ledger (reference);
CREATE TEMP TABLE refused (call text);
INSERT INTO refused VALUES ($$loyalty.post_many('{912,911,910,914,913}', array_fill('earn'::text, '{5}'), '{1,2,3,4,5}', refs => '{a,b,c,d,b}')$$);
SELECT is(pg_temp.answer(call), '23505 duplicate key value violates unique constraint "mine" element 5', 'a unique index of the user''s, in a batch') FROM refused;
SET LOCAL loyalty.table_access = off;
SELECT is(pg_temp.answer(call), '23505 duplicate key value violates unique constraint "mine" element 5', 'and by statements') FROM refused;
SELECT is((SELECT count(*) FROM loyalty.wallet WHERE member_id BETWEEN 910 AND 914), 0::bigint, 'nothing of it stays');
ROLLBACK;

-- A column of ours of the type declared, but shorter.
BEGIN;
ALTER TABLE loyalty.ledger ALTER hold_until TYPE timestamptz(0);
SELECT loyalty.earn(901, 5) \g /dev/null
SELECT loyalty.hold(901, 5, '2999-01-01 00:00:00.6+00') \g /dev/null
SELECT results_eq($$SELECT hold_until FROM loyalty.ledger WHERE member_id = 901 AND kind = 'hold'$$, $$VALUES ('2999-01-01 00:00:01+00'::timestamptz)$$, 'values are as long as their column');
ROLLBACK;

-- A unique index to which other values are equal.
BEGIN;
SELECT loyalty.create_currency('po_ints') \g /dev/null
SELECT loyalty.earn(902, 5) \g /dev/null
CREATE COLLATION public.no_marks (provider = icu, locale = 'und-u-ka-shifted-ks-level2', deterministic = false);
CREATE UNIQUE INDEX mine ON loyalty.wallet (member_id, currency COLLATE public.no_marks);
SELECT results_eq($$SELECT available FROM loyalty.balance(902, 'po_ints')$$, 'VALUES (0::bigint)', 'a wallet is found by the equality of its columns');
ROLLBACK;

-- As a partition of somebody's table.
BEGIN;
CREATE TABLE public.ledgers (LIKE loyalty.ledger) PARTITION BY RANGE (member_id);
ALTER TABLE public.ledgers ATTACH PARTITION loyalty.ledger FOR VALUES FROM (1) TO (1000);
SELECT throws_ok('SELECT loyalty.earn(1000, 5)', '23514', NULL, 'bounds of a partition');
ROLLBACK;

-- The story, of member $m (and $m + 1); {x} is the entry with that reference.
CREATE TEMP TABLE story (step int GENERATED ALWAYS AS IDENTITY, call text);
INSERT INTO story (call) VALUES
	($$earn($m, 100, effective_at => '2024-01-01', reference => 'first', idempotency_key => 'a')$$),
	($$earn($m, 100, effective_at => '2024-01-01', reference => 'first', idempotency_key => 'a')$$),
	($$earn($m, 101, effective_at => '2024-01-01', reference => 'first', idempotency_key => 'a')$$),
	($$earn($m, 50, effective_at => '2024-01-02', pending => true, reference => 'waiting', details => '{"a": [1, 2]}')$$),
	($$redeem($m, 500, effective_at => '2024-01-03')$$),
	($$redeem($m, 500, effective_at => '2024-01-03', idempotency_key => 'b')$$),
	($$redeem($m, 30, effective_at => '2024-01-03', reference => 'burn', idempotency_key => 'b')$$),
	($$hold($m, 20, '2999-01-01', effective_at => '2024-01-04', reference => 'held')$$),
	($$capture($m, {held}, 5, effective_at => '2024-01-05')$$),
	($$capture($m, {held}, 5, effective_at => '2024-01-05')$$),
	($$reverse($m, {burn}, 10, effective_at => '2024-01-06', idempotency_key => 'c')$$),
	($$reverse($m, {burn}, 10, effective_at => '2024-01-06', idempotency_key => 'c')$$),
	($$reverse($m, {burn}, 30, effective_at => '2024-01-06')$$),
	($$activate($m, {waiting}, effective_at => '2024-01-07')$$),
	($$adjust($m, -7, 'a mistake', effective_at => '2024-01-08')$$),
	($$transfer($m, $m + 1, 11, effective_at => '2024-01-09', idempotency_key => 'd')$$),
	($$transfer($m, $m + 1, 11, effective_at => '2024-01-09', idempotency_key => 'd')$$),
	($$reverse($m, {first}, effective_at => '2024-01-10')$$),
	($$balance($m, as_of => '2024-02-01')$$),
	-- runs: alone, a key twice, one that was used, a reference between, two wallets
	($$post_many(ARRAY[$m, $m, $m], '{earn,redeem,earn}', '{10,3,1}', effective_ats => array_fill('2024-02-02'::timestamptz, '{3}'), idempotency_keys => '{e,f,g}')$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,redeem,earn}', '{10,3,1}', effective_ats => array_fill('2024-02-02'::timestamptz, '{3}'), idempotency_keys => '{e,f,g}')$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,earn,earn}', '{4,5,5}', effective_ats => array_fill('2024-02-03'::timestamptz, '{3}'), idempotency_keys => '{h,i,i}')$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,earn,earn}', '{4,5,6}', effective_ats => array_fill('2024-02-03'::timestamptz, '{3}'), idempotency_keys => '{j,k,k}')$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,earn,earn}', '{4,4,6}', effective_ats => array_fill('2024-02-03'::timestamptz, '{3}'), idempotency_keys => '{l,h,m}')$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,redeem,earn}', '{4,9999,6}', effective_ats => array_fill('2024-02-03'::timestamptz, '{3}'))$$),
	($$post_many(ARRAY[$m, $m, $m], '{earn,reverse,earn}', '{4,1,6}', target_entry_ids => ARRAY[NULL, {burn}, NULL], effective_ats => array_fill('2024-02-04'::timestamptz, '{3}'))$$),
	($$post_many(ARRAY[$m + 1, $m, $m + 1, $m], '{earn,earn,redeem,adjust}', '{4,1,2,-2}', reasons => '{NULL,NULL,NULL,why}', effective_ats => array_fill('2024-02-05'::timestamptz, '{4}'))$$),
	($$post_many(array_fill($m, '{600}'), array_fill('earn'::text, '{600}'), ARRAY(SELECT i FROM generate_series(1, 600) i), effective_ats => array_fill('2024-02-06'::timestamptz, '{600}'))$$),
	($$post_many(array_fill($m, '{2}'), '{redeem,hold}', '{100000,80000}', hold_untils => '{NULL,2999-01-01}', effective_ats => array_fill('2024-02-07'::timestamptz, '{2}'))$$),
	($$balance($m, as_of => '2024-03-01')$$), ($$balance($m + 1, as_of => '2024-03-01')$$),
	($$lots($m, as_of => '2024-03-01')$$);

CREATE FUNCTION pg_temp.tell(m bigint, OUT step int, OUT answer text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	s record;
	call text;
BEGIN
	FOR s IN SELECT * FROM story st ORDER BY st.step LOOP
		call := replace(s.call, '$m', m || '::bigint');
		SELECT replace(call, x[1], coalesce((SELECT l.entry_id FROM loyalty.ledger l WHERE l.member_id = m AND l.reference = x[2] LIMIT 1)::text, '0'))
			INTO call FROM regexp_match(call, '(\{([a-z]+)\})') x WHERE x[2] IN ('first', 'waiting', 'burn', 'held')
			UNION ALL SELECT call LIMIT 1;
		step := s.step;
		answer := regexp_replace(pg_temp.answer('loyalty.' || call), '\m' || m || '\M', 'm', 'g');
		RETURN NEXT;
	END LOOP;
END
$$;
CREATE FUNCTION pg_temp.entries(m bigint) RETURNS TABLE (n bigint, entry jsonb) LANGUAGE sql AS $$
	SELECT row_number() OVER (ORDER BY l.entry_id),
		to_jsonb(l) - '{member_id,entry_id,target_entry_id,counterparty_id,recorded_at,salt,hash,lots,texts_hash,fingerprint}'::text[]
			|| jsonb_build_object('of', l.member_id - m, 'lots', loyalty.total_points(l.lots))
	FROM loyalty.ledger l WHERE l.member_id IN (m, m + 1)
$$;

CREATE TEMP TABLE told AS
SELECT 'on' AS way, * FROM pg_temp.tell(1000);
SET loyalty.table_access = off;
INSERT INTO told SELECT 'off', * FROM pg_temp.tell(2000);
RESET loyalty.table_access;
SELECT results_eq($$SELECT step, answer FROM told WHERE way = 'on' ORDER BY step$$, $$SELECT step, answer FROM told WHERE way = 'off' ORDER BY step$$, 'both ways answer the same');
SELECT results_eq('SELECT * FROM pg_temp.entries(1000)', 'SELECT * FROM pg_temp.entries(2000)', 'and record the same');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all of it is sound');
-- what the answers are, where it matters
SELECT ok(t.answer LIKE w.answer, format('%s: %s', (SELECT call FROM story WHERE step = w.step), t.answer))
FROM (VALUES (2, '{"replayed": true, "available": 100}'), (3, 'LY004 idempotency key "a" was used with other arguments'), (5, 'LY101 %'),
	(9, '{"replayed": false, "available": 65}'), (10, 'LY107 %'), (12, '{"replayed": true, "available": 75}'), (13, 'LY105 %'),
	(22, '%"ordinal": 2, "replayed": false, "available": %"ordinal": 3, "replayed": true, %'),
	(23, 'LY004 idempotency key "k" was used with other arguments element 3'),
	(24, '%"ordinal": 2, "replayed": true, %"ordinal": 3, "replayed": false, %'), (25, 'LY101 % element 2')) w(step, answer)
JOIN told t ON t.step = w.step AND t.way = 'on';

-- A batch of many wallets, which it opens, and again; of merged members, too.
CREATE FUNCTION pg_temp.big(first bigint) RETURNS TABLE (ordinal bigint, available bigint, replayed boolean) LANGUAGE sql AS $$
	SELECT ordinal, available, replayed FROM loyalty.post_many(ARRAY(SELECT first + i * 7919 % 700 FROM generate_series(1, 1500) i),
		ARRAY(SELECT CASE WHEN i > 1400 THEN 'redeem' ELSE 'earn' END FROM generate_series(1, 1500) i),
		ARRAY(SELECT CASE WHEN i > 1400 THEN 1 ELSE 1 + i % 50 END FROM generate_series(1, 1500) i),
		effective_ats => array_fill('2024-01-01'::timestamptz, '{1500}'),
		idempotency_keys => ARRAY(SELECT 'k' || i / 2 FROM generate_series(1, 1500) i))
$$;
CREATE FUNCTION pg_temp.of_merged(first bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO loyalty.member (member_id) SELECT first + i FROM generate_series(0, 3) i;
	PERFORM loyalty.earn(first, 1, effective_at => '2024-01-01', idempotency_key => 'a'), loyalty.earn(first + 1, 2, effective_at => '2024-01-01', idempotency_key => 'b'),
		loyalty.earn(first + 3, 4, effective_at => '2024-01-01', idempotency_key => 'c');
	PERFORM loyalty.merge_members(first + 2, first + 3);
	RETURN pg_temp.answer(format('loyalty.post_many(ARRAY[%1$s, %1$s + 3, %1$s + 1, %1$s + 2, %1$s]::bigint[], array_fill(''earn''::text, ''{5}''), ''{8,4,16,32,1}'', effective_ats => array_fill(''2024-01-01''::timestamptz, ''{5}''), idempotency_keys => ''{d,c,e,f,a}'')', first));
END
$$;
CREATE TEMP TABLE batch AS SELECT 'on' AS way, 1 AS n, * FROM pg_temp.big(4000);
INSERT INTO batch SELECT 'on', 2, * FROM pg_temp.big(4000);
SET loyalty.table_access = off;
INSERT INTO batch SELECT 'off', 1, * FROM pg_temp.big(5000);
INSERT INTO batch SELECT 'off', 2, * FROM pg_temp.big(5000);
RESET loyalty.table_access;
SELECT results_eq($$SELECT n, ordinal, available, replayed FROM batch WHERE way = 'on' ORDER BY n, ordinal$$, $$SELECT n, ordinal, available, replayed FROM batch WHERE way = 'off' ORDER BY n, ordinal$$, 'a batch answers the same');
SELECT results_eq($$SELECT n, replayed, count(*) FROM batch WHERE way = 'on' GROUP BY n, replayed ORDER BY n$$, 'VALUES (1, false, 1500::bigint), (2, true, 1500)', 'once');
SELECT results_eq($$SELECT member_id, kind, points, available, idempotency_key FROM loyalty.ledger WHERE member_id BETWEEN 4000 AND 4699 ORDER BY member_id, entry_id$$,
	$$SELECT member_id - 1000, kind, points, available, idempotency_key FROM loyalty.ledger WHERE member_id BETWEEN 5000 AND 5699 ORDER BY member_id, entry_id$$, 'and records the same');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all of it is sound');
BEGIN;
INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet;
CREATE TEMP TABLE merged AS SELECT '{"ordinal": 1, "replayed": false, "available": 9} {"ordinal": 2, "replayed": true, "available": 4} {"ordinal": 3, "replayed": false, "available": 18} {"ordinal": 4, "replayed": false, "available": 36} {"ordinal": 5, "replayed": true, "available": 1}' AS answer;
SELECT is(pg_temp.of_merged(6000), answer, 'keys of merged members') FROM merged;
SET LOCAL loyalty.table_access = off;
SELECT is(pg_temp.of_merged(6010), answer, 'and by statements') FROM merged;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and all of it is sound');
ROLLBACK;

-- What was is read either way: late entries, other currencies, entries in the archive.
SELECT loyalty.create_currency('other_points') \g /dev/null
SELECT loyalty.earn(1000, 9, 'other_points', effective_at => '2024-02-01'), loyalty.earn(1000, 3, effective_at => '2024-01-05', reference => 'late') \g /dev/null
CREATE FUNCTION pg_temp.past(m bigint) RETURNS TABLE (what text, answer text) LANGUAGE sql AS $$
	SELECT 'statement', s::text FROM loyalty.statement(m) s
	UNION ALL SELECT 'part', s::text FROM loyalty.statement(m, 'points', '2024-01-03', '2024-02-03') s
	UNION ALL SELECT 'known', s::text FROM loyalty.statement(m, known_at => (SELECT recorded_at - interval '1 microsecond' FROM loyalty.ledger WHERE member_id = m AND reference = 'late')) s
	UNION ALL SELECT 'other', s::text FROM loyalty.statement(m, 'other_points') s
	UNION ALL SELECT 'balance', loyalty.balance(m, as_of => d)::text FROM generate_series('2024-01-01', '2024-02-08', interval '1 day') d
$$;
CREATE TEMP TABLE past AS SELECT row_number() OVER () AS n, * FROM pg_temp.past(1000);
SET loyalty.table_access = off;
SELECT results_eq('SELECT what, answer FROM past ORDER BY n', 'SELECT * FROM pg_temp.past(1000)', 'the past by statements, as by table access');
RESET loyalty.table_access;
SELECT results_eq($$SELECT what, count(*) FROM past GROUP BY 1 ORDER BY 1$$, $$SELECT * FROM (VALUES ('balance', 39::bigint), ('known', (SELECT count(*) - 1 FROM loyalty.ledger WHERE member_id = 1000 AND currency = 'points')), ('other', 1), ('part', (SELECT count(*) FROM loyalty.ledger WHERE member_id = 1000 AND currency = 'points' AND effective_at >= '2024-01-03' AND effective_at < '2024-02-03')), ('statement', (SELECT count(*) FROM loyalty.ledger WHERE member_id = 1000 AND currency = 'points'))) v$$, 'all of it');

-- Each makes a table other than plain, in the same session, and is heeded.
CREATE TABLE public.seen (what text);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (TG_ARGV[0]); RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END; END $$;
CREATE FUNCTION pg_temp.state_of(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
-- make and unmake, what a posting of 5 to member 3000 ends with meanwhile, and what was seen
CREATE TEMP TABLE obstacle (made text, unmade text, ended text, seen bigint);
INSERT INTO obstacle VALUES
	('CREATE TRIGGER mine AFTER INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.ledger', 'done', 1),
	('CREATE TRIGGER mine AFTER INSERT ON loyalty.ledger EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.ledger', 'done', 1),
	('CREATE TRIGGER mine BEFORE INSERT ON loyalty.ledger FOR EACH ROW EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.ledger', 'done', 1),
	('CREATE TRIGGER mine BEFORE UPDATE ON loyalty.wallet FOR EACH ROW EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.wallet', 'done', 1),
	('CREATE TRIGGER mine AFTER UPDATE OF balance ON loyalty.wallet FOR EACH STATEMENT EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.wallet', 'done', 1),
	('CREATE CONSTRAINT TRIGGER mine AFTER INSERT ON loyalty.ledger DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION public.note(''a'')', 'DROP TRIGGER mine ON loyalty.ledger', 'done', 1),
	('ALTER TABLE loyalty.ledger ADD CONSTRAINT mine CHECK (points < 5) NOT VALID', 'ALTER TABLE loyalty.ledger DROP CONSTRAINT mine', '23514', 0),
	('ALTER TABLE loyalty.ledger ADD CONSTRAINT mine FOREIGN KEY (member_id) REFERENCES loyalty.member NOT VALID', 'ALTER TABLE loyalty.ledger DROP CONSTRAINT mine', '23503', 0),
	('CREATE UNIQUE INDEX mine ON loyalty.ledger (entry_id)', 'DROP INDEX loyalty.mine', 'done', 0),
	('CREATE INDEX mine ON loyalty.ledger ((points % 10)) WHERE points > 3', 'DROP INDEX loyalty.mine', 'done', 0),
	('ALTER TABLE loyalty.ledger ADD mine int NOT NULL DEFAULT 7', 'ALTER TABLE loyalty.ledger DROP mine', 'done', 0),
	('CREATE DOMAIN public.seven AS int DEFAULT 7 CHECK (value IS NOT NULL); ALTER TABLE loyalty.ledger ADD mine public.seven', 'ALTER TABLE loyalty.ledger DROP mine; DROP DOMAIN public.seven', 'done', 0),
	('ALTER TABLE loyalty.ledger ADD mine bigint GENERATED ALWAYS AS (points * 2) STORED', 'ALTER TABLE loyalty.ledger DROP mine', 'done', 0),
	('ALTER TABLE loyalty.ledger ADD mine text; ALTER TABLE loyalty.ledger ADD other text', 'ALTER TABLE loyalty.ledger DROP mine; ALTER TABLE loyalty.ledger DROP other', 'done', 0),
	('CREATE RULE mine AS ON INSERT TO loyalty.ledger DO ALSO INSERT INTO public.seen VALUES (''r'')', 'DROP RULE mine ON loyalty.ledger', 'done', 1),
	('ALTER TABLE loyalty.wallet ADD CONSTRAINT mine CHECK (opened_at < ''2000-01-01'') NOT VALID', 'ALTER TABLE loyalty.wallet DROP CONSTRAINT mine', '23514', 0);
SELECT loyalty.earn(3000, 1) \g /dev/null

CREATE FUNCTION pg_temp.try(made text, unmade text, OUT ended text, OUT seen bigint, OUT after text, OUT gained bigint) LANGUAGE plpgsql AS $$
DECLARE
	before bigint := (SELECT available FROM loyalty.balance(3000, as_of => '9999-01-01'));
BEGIN
	PERFORM loyalty.earn(3000, 0 + 2);		-- plain: what is known is of before
	TRUNCATE public.seen;
	EXECUTE made;
	ended := pg_temp.state_of('SELECT loyalty.earn(3000, 5)');
	seen := (SELECT count(*) FROM public.seen);
	EXECUTE unmade;
	after := pg_temp.state_of('SELECT loyalty.earn(3000, 5)');
	gained := (SELECT available FROM loyalty.balance(3000, as_of => '9999-01-01')) - before;
END
$$;
SELECT is((t.ended, t.seen, t.after, t.gained), (o.ended, o.seen, 'done'::text, CASE o.ended WHEN 'done' THEN 12 ELSE 7 END::bigint), o.made)
FROM obstacle o, pg_temp.try(o.made, o.unmade) t;

-- A column with a default gets it, one without stays empty.
ALTER TABLE loyalty.ledger ADD mine int DEFAULT 7;
SELECT loyalty.earn(3001, 5) \g /dev/null
ALTER TABLE loyalty.ledger ADD other int;
ALTER TABLE loyalty.ledger ALTER mine DROP DEFAULT;
SELECT loyalty.earn(3001, 6) \g /dev/null
SELECT results_eq('SELECT points, mine, other FROM loyalty.ledger WHERE member_id = 3001 ORDER BY entry_id', 'VALUES (5::bigint, 7, NULL::int), (6, NULL, NULL)', 'columns of the user''s');
ALTER TABLE loyalty.ledger DROP mine, DROP other;

-- A unique index of the user's.
CREATE UNIQUE INDEX mine ON loyalty.ledger (reference, member_id);
SELECT loyalty.earn(3004, 5, reference => 'unique') \g /dev/null
SELECT throws_ok($$SELECT loyalty.earn(3004, 5, reference => 'unique')$$, '23505', NULL, 'a unique index of the user''s');
SET enable_seqscan = off;
SELECT results_eq($$SELECT member_id FROM loyalty.ledger WHERE reference = 'unique'$$, 'VALUES (3004::bigint)', 'which has what was posted');
RESET enable_seqscan;
DROP INDEX loyalty.mine;
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all of it is sound');

-- Savepoints, and rows that this transaction changed itself.
BEGIN;
SELECT loyalty.earn(3002, 5, idempotency_key => 's') \g /dev/null
SAVEPOINT one;
SELECT loyalty.earn(3002, 6, idempotency_key => 't') \g /dev/null
SELECT loyalty.redeem(3002, 1) \g /dev/null
ROLLBACK TO one;
SELECT results_eq($$SELECT available, replayed FROM loyalty.earn(3002, 6, idempotency_key => 't')$$, 'VALUES (11::bigint, false)', 'what was rolled back was not used');
SELECT results_eq($$SELECT available, replayed FROM loyalty.earn(3002, 5, idempotency_key => 's')$$, 'VALUES (5::bigint, true)', 'what was not, was');
COMMIT;
SELECT results_eq('SELECT available FROM loyalty.balance(3002)', 'VALUES (11::bigint)', 'savepoints');

-- A transaction that may only read.
BEGIN READ ONLY;
SELECT throws_ok('SELECT loyalty.earn(3002, 1)', '25006', NULL, 'read only');
COMMIT;

-- Ids rise within a wallet, whatever the sequence says; its class stays.
SELECT loyalty.earn(3005, 5) \g /dev/null
CREATE TEMP TABLE last_id AS SELECT max(entry_id) AS id FROM loyalty.ledger;
SELECT setval('loyalty.ledger_entry_id_seq', 3) \g /dev/null
SELECT results_eq('SELECT entry_id - (SELECT id FROM last_id) FROM loyalty.earn(3005, 6)', 'VALUES (1::bigint)', 'a sequence that was left behind is drawn forward');
ALTER SEQUENCE loyalty.ledger_entry_id_seq INCREMENT BY 1024;
SELECT setval('loyalty.ledger_entry_id_seq', 7) \g /dev/null
SELECT results_eq('SELECT entry_id % 1024, entry_id > (SELECT id + 1 FROM last_id), entry_id <= (SELECT id + 1025 FROM last_id) FROM loyalty.redeem(3005, 2)',
	'VALUES (7::bigint, true, true)', 'by steps: the next of its class');
SELECT results_eq('SELECT entry_id % 1024, available FROM loyalty.earn(3005, 1)', 'VALUES (7::bigint, 10::bigint)', 'and on from there');
SELECT results_eq($$SELECT kind, points, available FROM loyalty.statement(3005)$$, $$VALUES ('earn', 5::bigint, 5::bigint), ('earn', 6, 11), ('redeem', -2, 9), ('earn', 1, 10)$$, 'in order');
SELECT results_eq($$SELECT b.available FROM loyalty.statement(3005) s, loyalty.balance(3005, as_of => s.recorded_at, known_at => s.recorded_at) b ORDER BY s.entry_id$$,
	'VALUES (5::bigint), (11), (9), (10)', 'and so is the past');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all of it is sound');
ALTER SEQUENCE loyalty.ledger_entry_id_seq INCREMENT BY 1;

-- Partitions by hash of the member, of which one has a trigger of the user's.
ALTER SEQUENCE loyalty.ledger_entry_id_seq OWNED BY NONE;
ALTER TABLE loyalty.ledger RENAME TO whole_ledger;
ALTER TABLE loyalty.whole_ledger DISABLE TRIGGER USER;
CREATE TABLE loyalty.ledger (LIKE loyalty.whole_ledger INCLUDING ALL) PARTITION BY HASH (member_id);
CREATE TABLE loyalty.ledger_0 PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE loyalty.ledger_1 PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE loyalty.ledger_2 PARTITION OF loyalty.ledger FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO loyalty.ledger SELECT * FROM loyalty.whole_ledger;
DROP TABLE loyalty.whole_ledger;
SELECT loyalty.setup() \g /dev/null
CREATE TRIGGER mine AFTER INSERT ON loyalty.ledger_1 FOR EACH ROW EXECUTE FUNCTION public.note('p');
TRUNCATE public.seen;
SELECT results_eq('SELECT available, replayed FROM pg_temp.big(8000) ORDER BY ordinal', $$SELECT available, replayed FROM batch WHERE way = 'off' AND n = 1 ORDER BY ordinal$$, 'a batch for partitions');
CREATE TABLE public.history AS SELECT 9000 + i % 100 AS member_id, 1 + i % 7 AS points, '2024-01-01'::timestamptz + i * interval '1 second' AS effective_at FROM generate_series(1, 2000) i;
SELECT results_eq($$SELECT entries, wallets FROM loyalty.backfill('public.history')$$, 'VALUES (2000::bigint, 100::bigint)', 'and a history');
SELECT results_eq('SELECT member_id, count(*), sum(points) FROM loyalty.ledger WHERE member_id BETWEEN 9000 AND 9099 GROUP BY 1 ORDER BY 1', 'SELECT member_id::bigint, count(*), sum(points)::numeric FROM public.history GROUP BY 1 ORDER BY 1', 'all of it is there');
SELECT results_eq('SELECT count(*) FROM public.seen', 'SELECT count(*) FROM loyalty.ledger_1 WHERE member_id >= 8000', 'its trigger fires for its rows');
SELECT cmp_ok((SELECT count(*) FROM public.seen), '>', 500::bigint, 'of which there are many');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all of it is sound');

SELECT * FROM finish();
