-- cohort: funnels, paths and retention of one member, against published cases
-- and slow ways to the same.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
SET timezone = 'UTC';
SELECT no_plan();
-- the same rows, each as often, in any order
CREATE FUNCTION pg_temp.same(a text, b text, label text) RETURNS text LANGUAGE sql AS
$$SELECT is_empty(format('((%1$s) EXCEPT ALL (%2$s)) UNION ALL ((%2$s) EXCEPT ALL (%1$s))', a, b), label)$$;
SELECT setseed(0.4);

-- ---- window_funnel_agg: cases with known answers.  Events are letters, one
-- for each second; conditions are the letters of the funnel.
CREATE FUNCTION pg_temp.funnel(events text, chain text, win interval, mode text) RETURNS int LANGUAGE sql AS $$
	SELECT window_funnel_agg(win, mode, timestamptz '2024-01-01 00:00+00' + k * interval '1 s', VARIADIC
		(SELECT array_agg(e = c ORDER BY i) FROM string_to_table(chain, NULL) WITH ORDINALITY x(c, i)))
	FROM string_to_table(events, NULL) WITH ORDINALITY y(e, k)$$;
SELECT is(pg_temp.funnel(events, chain, win::interval, mode), want, format('funnel %s in %s within %s, %s', chain, events, win, coalesce(mode, 'default')))
FROM (VALUES
	('abcdefghi', 'a', '10000 s', NULL, 1), ('abcdefghi', 'ab', '10000 s', NULL, 2), ('abcdefghi', 'abci', '10000 s', NULL, 4),
	('abcdefghi', 'defgh', '2 s', NULL, 3), ('abcdefghi', 'defgh', '3 s', NULL, 4), ('abcdefghi', 'defgh', '4 s', NULL, 5),
	('abcdefghi', 'ia', '1 day', NULL, 1), ('abcdefghi', 'x', '1 day', NULL, 0), ('abcdefghi', 'a', '0', NULL, 1),
	('abcdeffghi', 'abcdefg', '10000 s', 'strict_deduplication', 6), ('abcdeffghi', 'abcdefg', '10000 s', NULL, 7),
	('abcbd', 'abcd', '1 day', 'strict_deduplication', 3), ('abcabacbd', 'abcd', '1 day', 'strict_deduplication', 3), ('abdb', 'abcd', '1 day', 'strict_deduplication', 2),
	('abc', 'abc', '1 day', NULL, 3), ('adbc', 'abc', '1 day', NULL, 3), ('aabbcc', 'abc', '1 day', NULL, 3), ('aabbdcc', 'abc', '1 day', NULL, 3), ('ccbbaa', 'abc', '1 day', NULL, 1),
	('abc', 'abc', '1 day', 'strict_order', 3), ('adbc', 'abc', '1 day', 'strict_order', 1), ('aabbcc', 'abc', '1 day', 'strict_order', 3),
	('aaaabbcc', 'abc', '1 day', 'strict_order', 3), ('aabbdcc', 'abc', '1 day', 'strict_order', 2), ('ccbbaa', 'abc', '1 day', 'strict_order', 1), ('acb', 'abc', '10 s', 'strict_order', 1),
	('abdc', 'abc', '1 day', 'strict_order', 2), ('dddabc', 'abc', '1 day', 'strict_order', 3),
	('abc', 'abc', '1 day', 'strict_deduplication, strict_order', 3), ('aabbcc', 'abc', '1 day', 'strict_deduplication,strict_order', 2), ('aaaabbcc', 'abc', '1 day', 'strict_order strict_deduplication', 2),
	('abac', 'abc', '1 day', 'strict_order', 2), ('ababc', 'abc', '1 day', 'strict_order', 2), ('abcbd', 'abc', '1 day', 'strict_order', 3), ('abcabcd', 'abc', '1 day', 'strict_order', 3),
	('abac', 'abc', '1 day', 'strict_order, allow_reentry', 3), ('ababc', 'abc', '1 day', 'strict_order, allow_reentry', 3), ('acb', 'abc', '1 day', 'strict_order, allow_reentry', 2), ('adb', 'abc', '1 day', 'strict_order, allow_reentry', 1), ('acbdc', 'abc', '1 day', 'strict_order, allow_reentry', 2), ('acbc', 'abc', '1 day', 'strict_order, allow_reentry', 3),
	('abac', 'abcd', '1 day', 'strict_order', 2), ('abcbd', 'abcd', '1 day', 'strict_order', 4), ('abcabcd', 'abcd', '1 day', 'strict_order', 3), ('abcabcd', 'abcd', '1 day', 'strict_order, allow_reentry', 4),
	('abac', 'abc', '1 day', 'strict_order, allow_reentry, strict_deduplication', 3), ('aabc', 'abc', '1 day', 'strict_order, allow_reentry', 3),
	('cvcp', 'cvcp', '1 hour', 'strict_order', 4), ('cvvcp', 'cvcp', '1 hour', 'strict_order', 4), ('cvcvp', 'cvcp', '1 hour', 'strict_order', 4), ('cvpcp', 'cvcp', '1 hour', 'strict_order', 2), ('bvbc', 'bvbc', '1 day', 'strict_order, strict_once', 4),
	('bvbc', 'bvbc', '1 day', 'strict_order, strict_increase', 4), ('bvbc', 'bvbc', '1 day', 'strict_order, strict_deduplication', 4), ('abab', 'abab', '1 day', 'strict_order', 4), ('abab', 'abab', '1 day', 'strict_order, strict_deduplication', 3), ('cvcp', 'cvcp', '1 hour', 'strict_order, allow_reentry', 4),
	('ffs', 'ffs', '200 s', 'strict_once', 3), ('ff', 'ffs', '200 s', 'strict_once', 2), ('sfs', 'ffs', '200 s', 'strict_once', 1),
	('ffs', 'ffs', '200 s', 'strict_once, strict_increase', 3), ('ffs', 'ffs', '200 s', 'strict_once, strict_deduplication', 3),
	('x', 'xxx', '1 day', NULL, 3), ('x', 'xxx', '1 day', 'strict_once', 1), ('x', 'xxx', '1 day', 'strict_increase', 1),
	('abxxxxxab', 'abc', '3 s', 'strict_order', 2), ('axxxxxabc', 'abc', '3 s', NULL, 3)) v(events, chain, win, mode, want);
-- events of one instant
SELECT is(window_funnel_agg('1 day', mode, at, e = 'a', e = 'b', e = 'c', e = 'd', e = 'e'), want, 'events of one instant, ' || coalesce(mode, 'default'))
FROM (VALUES ('2024-01-01 00:00:00+00'::timestamptz, 'a'), ('2024-01-01 00:00:01+00', 'd'), ('2024-01-01 00:00:01+00', 'c'), ('2024-01-01 00:00:01+00', 'b'), ('2024-01-01 00:00:02+00', 'e')) x(at, e),
	(VALUES (NULL, 5), ('strict_increase', 2), ('strict_once', 5)) m(mode, want) GROUP BY mode, want;
SELECT is(window_funnel_agg('1 day', 'strict_once', now(), c1, c2, c3), want, 'one instant, rows that meet several conditions: ' || g)
FROM (VALUES (1, true, true, false, 2), (1, true, false, false, 2), (2, true, true, true, 3), (2, true, true, false, 3), (2, true, false, false, 3), (3, true, true, true, 1), (4, true, true, true, 2), (4, true, true, true, 2)) v(g, c1, c2, c3, want) GROUP BY g, want;
SELECT is(window_funnel_agg('1 day', NULL, at, c1, c2), want, label)
FROM (VALUES ('NULL conditions are false', now(), NULL, true, 0), ('NULL instants are left out', NULL, true, true, 0), ('both', now(), true, NULL, 1)) v(label, at, c1, c2, want) GROUP BY label, want;
SELECT is(window_funnel_agg('1 day', NULL, now(), true), NULL, 'no rows, no level') FROM (SELECT WHERE false) x;
SELECT is(window_funnel_agg('1 day', NULL, at, at < '0100-01-01', at > '1900-01-01'), 1, 'BC')
FROM unnest('{4713-01-01 00:00+00 BC,2024-01-01 00:00+00,294276-12-31 00:00+00}'::timestamptz[]) at;
SELECT throws_ok(format('SELECT window_funnel_agg(%s)', args), state, NULL, args)
FROM (VALUES ($$'1 month', NULL, now(), true$$, 'LY345'), ($$'-1 s', NULL, now(), true$$, 'LY345'), ($$NULL, NULL, now(), true$$, 'LY345'),
	($$'1 s', 'strict', now(), true$$, 'LY345'), ($$'1 s', 'allow_reentry', now(), true$$, 'LY345'), ($$'1 s', NULL, 'infinity', true$$, 'LY342'),
	($$'1 s', NULL, now(), VARIADIC '{}'::bool[]$$, 'LY345'), ($$'1 s', NULL, now(), VARIADIC array_fill(true, '{33}')$$, 'LY345'), ($$'1 s', NULL, now(), VARIADIC NULL$$, 'LY345')) v(args, state);
SELECT throws_ok($$SELECT window_funnel_agg(w, NULL, now(), true) FROM unnest('{1 s,2 s}'::interval[]) w$$, 'LY344', NULL, 'a window that varies is refused');
SELECT throws_ok($$SELECT window_funnel_agg('1 s', NULL, now(), VARIADIC c) FROM (VALUES ('{t}'::bool[]), ('{t,f}')) v(c)$$, 'LY344', NULL, 'a number of conditions that varies is refused');

-- ... and every combination of modes against slow ways to the same
CREATE TEMP TABLE ev AS SELECT g, i, timestamptz '2024-01-01 00:00+00' + (random() * 6)::int * interval '1 s' AS at, random() < 0.4 AS c1, random() < 0.4 AS c2, random() < 0.4 AS c3
FROM generate_series(1, 500) g, generate_series(1, 6) i WHERE random() < 0.8;
CREATE TEMP TABLE chain AS
WITH RECURSIVE chain AS (
	SELECT g, 1 AS level, at AS start, at AS last, ARRAY[i] AS used, true AS increasing, true AS once FROM ev WHERE c1
	UNION ALL
	SELECT c.g, level + 1, start, e.at, used || i, increasing AND e.at > last, once AND e.i <> ALL (used)
	FROM chain c JOIN ev e ON e.g = c.g AND e.at >= c.last AND (CASE level WHEN 1 THEN e.c2 WHEN 2 THEN e.c3 END)
	WHERE level < 3)
SELECT * FROM chain;
CREATE INDEX ON chain (g);
SELECT pg_temp.same(format($$SELECT g, w, window_funnel_agg(w * interval '1 s', %L, at, c1, c2, c3) FROM ev, generate_series(0, 5) w GROUP BY 1, 2$$, mode),
	format($$SELECT g, w, coalesce((SELECT max(level) FROM chain c WHERE c.g = e.g AND last - start <= w * interval '1 s' AND (%s)), 0)
	FROM (SELECT DISTINCT g FROM ev) e, generate_series(0, 5) w$$, filter), 'window_funnel_agg is a search through all chains, ' || coalesce(mode, 'default'))
FROM (VALUES (NULL, 'true'), ('strict_increase', 'increasing'), ('strict_once', 'once'), ('strict_increase,strict_once', 'increasing')) v(mode, filter);
-- strict_deduplication: the search through all chains ends at the first instant at which a condition beyond the first is
-- met that a chain had reached before, and behind one at which it is met twice
CREATE FUNCTION pg_temp.deduplicated(filter text) RETURNS TABLE (g int, w int, level int) LANGUAGE plpgsql AS $$ BEGIN
	RETURN QUERY EXECUTE format($q$
	WITH c AS (SELECT c.g, w, level, last FROM chain c, generate_series(0, 5) w WHERE c.g <= 100 AND last - start <= w * interval '1 s' AND (%s)),
	met AS (SELECT e.g, e.at, k, count(*) AS times FROM ev e, LATERAL (VALUES (2, c2), (3, c3)) x(k, holds) WHERE holds GROUP BY 1, 2, 3),
	stop AS (
		SELECT c.g, c.w, min(m.at) AS before, NULL::timestamptz AS behind FROM c JOIN met m ON m.g = c.g AND m.k = c.level AND m.at > c.last GROUP BY 1, 2
		UNION ALL SELECT c.g, c.w, NULL, min(m.at) FROM c JOIN met m ON m.g = c.g AND m.k = c.level AND m.at >= c.last AND m.times > 1 GROUP BY 1, 2)
	SELECT e.g, w, coalesce((SELECT max(c.level) FROM c WHERE c.g = e.g AND c.w = w.w
		AND c.last < coalesce((SELECT min(s.before) FROM stop s WHERE s.g = e.g AND s.w = w.w), 'infinity')
		AND c.last <= coalesce((SELECT min(s.behind) FROM stop s WHERE s.g = e.g AND s.w = w.w), 'infinity')), 0)
	FROM (SELECT DISTINCT g FROM ev WHERE ev.g <= 100) e, generate_series(0, 5) w$q$, filter);
END $$;
SELECT pg_temp.same(format($$SELECT g, w, window_funnel_agg(w * interval '1 s', %L, at, c1, c2, c3) FROM ev, generate_series(0, 5) w WHERE g <= 100 GROUP BY 1, 2$$, mode),
	format('SELECT * FROM pg_temp.deduplicated(%L)', filter), 'ends where a condition repeats, ' || mode)
FROM (VALUES ('strict_deduplication', 'true'), ('strict_deduplication,strict_increase', 'increasing'), ('strict_deduplication,strict_once', 'once'), ('strict_deduplication,strict_increase,strict_once', 'increasing')) v(mode, filter);
-- strict_order, event by event; those of one instant in the order of the conditions that they meet
CREATE FUNCTION pg_temp.in_order(of_g int, w int, mode text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	e record; chain timestamptz[] := '{}'; best int := 0; repeats boolean; taken int;
	dedup boolean := mode ~ 'dedup'; one boolean := mode ~ 'once|increase'; later boolean := mode ~ 'increase'; reentry boolean := mode ~ 'reentry';
BEGIN
	FOR e IN SELECT at, ARRAY[c1, c2, c3] AS c FROM ev WHERE g = of_g ORDER BY at, c1 DESC, c2 DESC, c3 DESC LOOP
		IF e.at - chain[1] > w * interval '1 s' THEN chain := '{}'; END IF;
		IF cardinality(chain) > 0 THEN
			CONTINUE WHEN later AND e.at <= chain[cardinality(chain)];
			repeats := cardinality(chain) >= 2 AND e.c[2] OR cardinality(chain) >= 3 AND e.c[3];
			EXIT WHEN dedup AND repeats;
			IF NOT e.c[cardinality(chain) + 1] THEN
				IF e.c[1] AND cardinality(chain) = 1 THEN chain := ARRAY[e.at];
				ELSIF repeats THEN NULL;
				ELSIF reentry AND true = ANY (e.c) THEN NULL;
				ELSE EXIT;
				END IF;
				CONTINUE;
			END IF;
		ELSIF NOT e.c[1] THEN
			CONTINUE;
		END IF;
		taken := 0;
		WHILE cardinality(chain) < 3 AND e.c[cardinality(chain) + 1] AND (taken = 0 OR NOT one) LOOP
			chain := chain || e.at; taken := taken + 1;
		END LOOP;
		best := greatest(best, cardinality(chain));
		EXIT WHEN best = 3;
	END LOOP;
	RETURN best;
END $$;
SELECT pg_temp.same(format($$SELECT g, w, window_funnel_agg(w * interval '1 s', %L, at, c1, c2, c3) FROM ev, generate_series(0, 5, 2) w WHERE g <= 250 GROUP BY 1, 2$$, mode),
	format('SELECT g, w, pg_temp.in_order(g, w, %L) FROM (SELECT DISTINCT g FROM ev WHERE g <= 250) e, generate_series(0, 5, 2) w', mode), 'event by event: ' || mode)
FROM (SELECT concat_ws(',', 'strict_order', r, d, i, o) AS mode FROM unnest('{allow_reentry,NULL}'::text[]) r, unnest('{strict_deduplication,NULL}'::text[]) d, unnest('{strict_increase,NULL}'::text[]) i, unnest('{strict_once,NULL}'::text[]) o) m;

-- ---- funnel_agg: cases with known answers; the letter - excludes
CREATE FUNCTION pg_temp.steps(events text, chain text, win interval, mode text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', level, extract(epoch FROM first_at - timestamptz '2024-01-01 00:00+00')::int || '-' || extract(epoch FROM last_at - timestamptz '2024-01-01 00:00+00')::int,
		(SELECT string_agg(coalesce(extract(epoch FROM s - timestamptz '2024-01-01 00:00+00')::int::text, '.'), ',' ORDER BY i) FROM unnest(steps) WITH ORDINALITY x(s, i)))
	FROM (SELECT (funnel_agg(win, mode, timestamptz '2024-01-01 00:00+00' + k * interval '1 s', e = '-', VARIADIC
		(SELECT array_agg(e = c ORDER BY i) FROM string_to_table(chain, NULL) WITH ORDINALITY x(c, i)))).*
	FROM string_to_table(events, NULL) WITH ORDINALITY y(e, k) WHERE e <> ' ') f$$;
SELECT is(pg_temp.steps(events, chain, win::interval, mode), want, format('steps %s in %s within %s, %s', chain, events, win, coalesce(mode, 'in order')))
FROM (VALUES
	('abc', 'abc', '1 day', NULL, '3 1-3 1,2,3'), ('xxx', 'abc', '1 day', NULL, '0 .,.,.'), ('ba', 'abc', '1 day', NULL, '1 2-2 2,.,.'),
	-- complete first, begun last
	('aab bc c', 'abc', '1 day', NULL, '3 2-6 2,3,6'), ('ab   abc', 'abc', '1 day', NULL, '3 6-8 6,7,8'), ('abcabc', 'abc', '1 day', NULL, '3 1-3 1,2,3'),
	('a b', 'ab', '2 s', NULL, '2 1-3 1,3'), ('a  b', 'ab', '2 s', NULL, '1 1-1 1,.'), ('a  ab', 'ab', '2 s', NULL, '2 4-5 4,5'),
	-- in any order
	('cba', 'abc', '1 day', NULL, '1 3-3 3,.,.'), ('cba', 'abc', '1 day', 'any_order', '3 1-3 3,2,1'), ('ccba', 'abc', '1 day', 'any_order', '3 2-4 4,3,2'),
	('c  ba', 'abc', '2 s', 'any_order', '2 4-5 5,4,.'), ('c ba', 'abc', '3 s', 'any_order', '3 1-4 4,3,1'), ('abcabc', 'abc', '1 day', 'any_order', '3 1-3 1,2,3'), ('ab', 'abc', '1 day', 'any_order', '2 1-2 1,2,.'),
	('bb', 'abc', '1 day', 'any_order', '1 1-1 .,1,.'),
	-- exclusions between steps, before them and behind
	('a-b', 'ab', '1 day', NULL, '1 1-1 1,.'), ('-ab', 'ab', '1 day', NULL, '2 2-3 2,3'), ('ab-', 'ab', '1 day', NULL, '2 1-2 1,2'), ('a-ab', 'ab', '1 day', NULL, '2 3-4 3,4'), ('ab-c', 'abc', '1 day', NULL, '2 1-2 1,2,.'),
	('ab-abc', 'abc', '1 day', NULL, '3 4-6 4,5,6'), ('b-a', 'ab', '1 day', 'any_order', '1 1-1 .,1'), ('b-ab', 'ab', '1 day', 'any_order', '2 3-4 3,4'), ('cb-a', 'abc', '1 day', 'any_order', '2 1-2 .,2,1')) v(events, chain, win, mode, want);
SELECT is((SELECT took FROM (SELECT (funnel_agg('30 days', NULL, at, false, e = 'a', e = 'b')).* FROM (VALUES (timestamptz '2024-01-01 10:00+00', 'a'), ('2024-01-03 12:30+00', 'b')) v(at, e)) f), interval '2 days 02:30', 'the time to convert');
SELECT is((SELECT ROW(f.*) FROM (SELECT (funnel_agg('1 day', mode, at, x, a, b)).* FROM (VALUES (timestamptz '2024-01-01 00:00+00', false, true, true)) v(at, x, a, b)) f)::text, want, 'one event that meets two conditions, ' || coalesce(mode, 'in order'))
FROM (VALUES (NULL, '(2,"2024-01-01 00:00:00+00","2024-01-01 00:00:00+00",00:00:00,"{""2024-01-01 00:00:00+00"",""2024-01-01 00:00:00+00""}")'), ('any_order', '(2,"2024-01-01 00:00:00+00","2024-01-01 00:00:00+00",00:00:00,"{""2024-01-01 00:00:00+00"",""2024-01-01 00:00:00+00""}")'),
	('strict_increase', '(1,"2024-01-01 00:00:00+00","2024-01-01 00:00:00+00",00:00:00,"{""2024-01-01 00:00:00+00"",NULL}")')) m(mode, want);
SELECT is(funnel_agg('1 day', NULL, at, true, true), NULL, 'no rows, no funnel') FROM (SELECT now() AS at WHERE false) x;
SELECT is((funnel_agg('1 day', NULL, NULL, NULL, true, NULL)).level, 0, 'NULL instants are left out');
SELECT throws_ok(format('SELECT funnel_agg(%s)', args), state, NULL, args)
FROM (VALUES ($$'1 s', 'strict_once', now(), false, true$$, 'LY345'), ($$'1 s', 'any_order,strict_increase', now(), false, true$$, 'LY345'), ($$NULL, NULL, now(), false, true$$, 'LY345'),
	($$'1 s', NULL, now(), false, VARIADIC array_fill(true, '{32}')$$, 'LY345'), ($$'1 s', NULL, 'infinity', false, true$$, 'LY342')) v(args, state);
SELECT lives_ok($$SELECT funnel_agg('1 s', NULL, now(), true, VARIADIC array_fill(true, '{31}'))$$, '31 conditions and an exclusion');
SELECT throws_ok($$SELECT window_funnel_agg('1 s', 'any_order', now(), true)$$, 'LY345', NULL, 'any_order is no mode of window_funnel_agg');
-- ... and against a search through all chains, c3 excluding, and through all pairs
SELECT pg_temp.same(format($$SELECT g, w, level, last_at, first_at FROM (SELECT g, w, (funnel_agg(w * interval '1 s', %L, at, c3, c1, c2)).* FROM ev, generate_series(0, 5) w WHERE g <= 150 GROUP BY 1, 2) x$$, mode),
	format($$SELECT e.g, w, coalesce(c.level, 0), c.last, c.start FROM (SELECT DISTINCT g FROM ev WHERE g <= 150) e CROSS JOIN generate_series(0, 5) w LEFT JOIN LATERAL (
		SELECT * FROM (
			SELECT level, last, start FROM chain c WHERE c.g = e.g AND level <= 2 AND NOT %2$L AND (c.increasing OR NOT %3$L)
			UNION ALL SELECT 1, at, at FROM ev x WHERE %2$L AND x.g = e.g AND (c1 OR c2)
			UNION ALL SELECT 2, greatest(x.at, y.at), least(x.at, y.at) FROM ev x, ev y WHERE %2$L AND x.g = e.g AND y.g = e.g AND x.c1 AND y.c2) c
		WHERE last - start <= w * interval '1 s' AND NOT EXISTS (SELECT FROM ev x WHERE x.g = e.g AND x.c3 AND x.at > start AND x.at < last)
		ORDER BY level DESC, last, start DESC LIMIT 1) c ON true$$, mode, coalesce(mode = 'any_order', false), coalesce(mode = 'strict_increase', false)), 'funnel_agg is a search through all chains, ' || coalesce(mode, 'in order'))
FROM unnest('{NULL,strict_increase,any_order}'::text[]) mode;

-- ---- sequence_match_agg and sequence_count_agg: published cases
CREATE TEMP TABLE seq AS SELECT timestamptz '2024-01-01 00:00+00' + (i - 1) * interval '1 s' AS at, d FROM unnest('{0,0,0,0,1,2,0,0,0,0,1,1}'::int[]) WITH ORDINALITY x(d, i);
SELECT is((SELECT ROW(sequence_match_agg(pattern, at, d = 0, d = 1, d = 2, d = 3), sequence_count_agg(pattern, at, d = 0, d = 1, d = 2, d = 3)) FROM seq)::text, format('(%s,%s)', left((want > 0)::text, 1), want), 'pattern ' || pattern)
FROM (VALUES ('', 12), ('.', 12), ('.*', 12), ('(?1)', 8), ('(?2)', 3), ('(?3)', 1), ('(?4)', 0), ('(?1)(?1)', 4), ('(?1)(?1)(?1)', 2), ('(?1)(?1)(?1)(?1)', 2), ('(?1)(?1)(?1)(?1)(?1)', 0),
	('(?1)(?1)(?1)(?1)(?2)', 2), ('(?1)(?t>10)(?2)', 1), ('(?1)(?t>11)(?2)', 0), ('(?1)(?t<11)(?2)', 2), ('(?1)(?t<3)(?3)', 1), ('(?1)(?t<=2)(?3)', 1), ('(?1)(?t<2)(?3)', 0),
	('(?2)(?t>=7)(?2)', 1), ('(?2)(?t>7)(?2)', 0), ('(?2)(?3)(?1)', 1), ('(?3)(?t==5)(?2)', 1), ('(?3)(?t==4)(?2)', 0), ('(?3)(?t>=5)(?t<6)(?2)', 1), ('(?3)(?t>5)(?t<6)(?2)', 0), ('(?1).(?3)', 1), ('(?3).*(?2).*(?2)', 1)) v(pattern, want);
SELECT is(sequence_match_agg('(?1)(?t==2)(?2)', at, d = 1, d = 2), false, 'two seconds are not one') FROM seq;
SELECT is(sequence_match_agg('(?1)(?t==1)(?2)', at, d = 1, d = 2), true, 'one second is') FROM seq;
SELECT is(sequence_match_agg('(?1)(?2)', k * interval '1 s' + timestamptz '2024-01-01 00:00+00', VARIADIC CASE c WHEN 0 THEN ARRAY[n = 1, n = 2] ELSE ARRAY[n = 1, n = 2, n = c] END), want, 'a third condition on ' || c)
FROM (VALUES (1, 1), (2, 3), (3, 2)) t(k, n), (VALUES (0, true), (3, false), (4, true)) w(c, want) GROUP BY c, want;
SELECT is(sequence_count_agg('(?1).*(?2)', k * interval '1 s' + timestamptz '2024-01-01 00:00+00', n = 1, n = 2), 2::bigint, 'two chains that do not overlap') FROM (VALUES (1, 1), (2, 3), (3, 2), (4, 1), (5, 3), (6, 2)) t(k, n);
SELECT is(sequence_match_agg('(?1)', now(), NULL::bool), false, 'NULL conditions are false');
SELECT is(sequence_match_agg('(?1)', NULL, true), false, 'NULL instants are left out');
SELECT is(sequence_match_agg('', now(), false), false, 'without events nothing matches');
SELECT is(sequence_match_agg('(?1)', now(), true), NULL, 'no rows, no answer') FROM (SELECT WHERE false) x;
SELECT throws_ok(format('SELECT sequence_match_agg(%L, now(), true, false)', pattern), 'LY346', NULL, 'pattern ' || coalesce(pattern, 'NULL'))
FROM unnest(ARRAY['(?0)', '(?33)', '(?3)', '(?1', '(?t>1)(?1)', '(?1)(?t>1)', '(?1)(?t)(?2)', '(?1)(?t=1)(?2)', '(?1)(?t>1.5)(?2)', '(?1)(?t>99999999999999999999)(?2)', 'a', '*', '(1)', NULL, repeat('.', 65)]) pattern;
SELECT throws_ok(format('SELECT sequence_match_agg(p, now(), true, true) FROM unnest(%L::text[]) p', ps), 'LY344', NULL, ps || ' varies') FROM unnest(ARRAY['{.,.*}', '{.*,.}', '{(?1),(?2)}', '{"",.}', '{.,""}']) ps;
-- what is wrong is said where it is
CREATE FUNCTION pg_temp.problem(pattern text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN
	PERFORM sequence_match_agg(pattern, now(), true, false);
	RETURN 'none';
EXCEPTION WHEN SQLSTATE 'LY346' THEN RETURN substring(SQLERRM FROM ' at (character .*)$');
END $$;
SELECT is(pg_temp.problem(pattern), want, 'what is wrong with ' || left(pattern, 100)) FROM (VALUES
	('(?1)(?2)', 'none'), ('.*.(?1).*', 'none'), ('(?1)(?t<=60)(?2)', 'none'), ('(?1)(?t<=60)(?t>0).*(?2)', 'none'), ('(?1).*(?t==60)(?2)', 'none'), (repeat('.', 64), 'none'), (repeat('.', 64) || '.*', 'none'),
	(repeat('.', 65), 'character 65: the pattern is too long'), ('(?1)x', 'character 5: only (?N), (?t op seconds), . and .* can stand here'), ('(', 'character 1: only (?N), (?t op seconds), . and .* can stand here'), ('.(1)', 'character 2: only (?N), (?t op seconds), . and .* can stand here'),
	('(?', 'character 1: an event is (?N) with the number of a condition'), ('.(?1', 'character 2: an event is (?N) with the number of a condition'), ('(?x)', 'character 1: an event is (?N) with the number of a condition'), ('(?0)', 'character 1: an event is (?N) with the number of a condition'), ('(?33)', 'character 1: an event is (?N) with the number of a condition'), ('(?18446744073709551617)', 'character 1: an event is (?N) with the number of a condition'),
	('(?t>1)(?1)', 'character 1: a time needs an event before it'), ('.*(?t>1)(?1)', 'character 3: a time needs an event before it'), ('(?1)(?t>1)', 'character 11: a time needs an event behind it'), ('(?1)(?t>1).*', 'character 13: a time needs an event behind it'),
	('.(?t', 'character 2: a time has one of the operators >=, >, <, <= and =='), ('.(?t1).', 'character 2: a time has one of the operators >=, >, <, <= and =='), ('.(?t=1).', 'character 2: a time has one of the operators >=, >, <, <= and =='), ('.(?t=', 'character 2: a time has one of the operators >=, >, <, <= and =='), ('.(?t!=1).', 'character 2: a time has one of the operators >=, >, <, <= and =='),
	('.(?t<', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t>=', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t<>1).', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t>1.5).', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t>1', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t>-1).', 'character 2: a time ends with a whole number of seconds and a parenthesis'), ('.(?t>9223372036854775807).', 'character 2: a time ends with a whole number of seconds and a parenthesis')) v(pattern, want);
SELECT is(sequence_match_agg(pattern, at, a, b), want, pattern || ' of events 10 s apart, and of one 20 s behind') FROM (VALUES ('(?1)(?t>=10)(?2)', true), ('(?1)(?t>20)(?2)', true), ('(?1)(?t>30)(?2)', false), ('(?1)(?t<=10)(?2)', true), ('(?1)(?t<10)(?2)', false), ('(?1)(?t==30)(?2)', true), ('(?1)(?t==20)(?2)', false), ('(?1)(?t>10)(?t<30)(?2)', false), ('(?1)(?t>10)(?t<=30)(?2)', true), ('(?1)(?t<=30)(?t>=20)(?t>10)(?2)', true), ('(?1)(?t==10)(?2)(?t==20)(?2)', true), ('(?1)(?t==10)(?2)(?2)', true), ('(?1)(?t==30)(?2)(?2)', false)) p(pattern, want),
	(VALUES (timestamptz '2024-01-01 00:00+00', true, false), ('2024-01-01 00:00:10+00', false, true), ('2024-01-01 00:00:30+00', false, true)) e(at, a, b) GROUP BY pattern, want;
SELECT throws_ok($$SELECT sequence_count_agg('.', '-infinity', true)$$, 'LY342', NULL, 'infinite instants are refused');
-- ... against regular expressions over one letter for each event
CREATE TEMP VIEW word AS
SELECT g, string_agg(chr(96 + c1::int * 4 + c2::int * 2 + c3::int), '' ORDER BY at, c1 DESC, c2 DESC, c3 DESC) AS word FROM ev WHERE c1 OR c2 OR c3 GROUP BY g;
SELECT pg_temp.same(format('SELECT g, sequence_match_agg(%L, at, c1, c2, c3) FROM ev GROUP BY 1 HAVING bool_or(c1 OR c2 OR c3)', p),
	format('SELECT g, word ~ %L FROM word', replace(replace(replace(p, '(?1)', '[defg]'), '(?2)', '[bcfg]'), '(?3)', '[aceg]')), 'sequence_match_agg is a regular expression: ' || p)
FROM unnest('{(?1)(?2),(?1).*(?2),(?1).(?3),(?1)(?1)(?2),(?3).*(?2).*(?1),(?2)(?3).*(?1)(?1),.(?1).*,(?1).*.(?2),.....}'::text[]) p;
-- ... and times against a join of events in their order
CREATE TEMP VIEW numbered AS SELECT *, row_number() OVER (PARTITION BY g ORDER BY at, c1 DESC, c2 DESC, c3 DESC) AS n FROM ev WHERE c1 OR c2 OR c3;
SELECT pg_temp.same(format($$SELECT g, sequence_match_agg('(?1)(?t%s%s)(?2)(?t<=2)(?3)', at, c1, c2, c3) FROM ev GROUP BY 1 HAVING bool_or(c1 OR c2 OR c3)$$, op, s),
	format($$SELECT g, EXISTS (SELECT FROM numbered a JOIN numbered b USING (g) JOIN numbered c USING (g) WHERE g = x.g AND a.c1 AND b.c2 AND c.c3 AND a.n < b.n AND b.n < c.n
		AND extract(epoch FROM b.at - a.at) %s %s AND c.at - b.at <= interval '2 s') FROM (SELECT DISTINCT g FROM numbered) x$$, replace(op, '==', '='), s), format('times: %s %s', op, s))
FROM unnest('{<,<=,==,>=,>}'::text[]) op, unnest('{0,1,3}'::int[]) s;

-- ---- retention
CREATE TEMP TABLE visit AS SELECT d, uid FROM (VALUES (date '2020-01-01', 5), ('2020-01-02', 10), ('2020-01-03', 15)) v(d, n), generate_series(0, n - 1) uid;
SELECT pg_temp.same($$SELECT uid, retention(d = '2020-01-01', d = '2020-01-02', d = '2020-01-03') FROM visit GROUP BY 1$$,
	$$SELECT uid, array_fill(uid < 5, '{3}') FROM generate_series(0, 14) uid$$, 'retention');
SELECT is(retention(a, b), want, label) FROM (VALUES ('in other rows', true, false, '{t,t}'::bool[]), ('in other rows', false, true, '{t,t}'), ('NULL is false', NULL, true, '{f,f}'), ('the first alone', true, NULL, '{t,f}')) v(label, a, b, want) GROUP BY label, want;
SELECT is(retention(true), NULL, 'no rows, no answer') FROM (SELECT WHERE false) x;
SELECT is(retention(VARIADIC array_fill(true, '{32}')), array_fill(true, '{32}'), '32 conditions');
SELECT throws_ok($$SELECT retention(VARIADIC array_fill(true, '{33}'))$$, 'LY345', NULL, '33 conditions are refused');
SELECT throws_ok($$SELECT retention(VARIADIC c) FROM (VALUES ('{t}'::bool[]), ('{t,f}')) v(c)$$, 'LY344', NULL, 'a number of conditions that varies is refused');

SELECT * FROM finish();
