-- Room trial: the type uplift value by value, what its text and bytes may be,
-- figures to their last digits, and names and shares of every size.
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = loyalty, public, pg_catalog;
\pset fieldsep '\n'
SELECT no_plan();

-- What a query answers, or the SQLSTATE, the message (where it says more than what it is about) and the DETAIL with which it ends.
CREATE FUNCTION outcome(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE answer text; message text; detail text;
BEGIN
	EXECUTE query INTO answer;
	RETURN answer;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' ', SQLSTATE, CASE WHEN message !~ '^invalid|^shares' THEN message || ':' END, nullif(detail, ''));
END $$;

-- Any bytes as the binary form of the type: a column of bytea is written as they are.
CREATE FUNCTION receive(bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE file text := current_setting('data_directory') || '/trial_values.copy'; value text;
BEGIN
	EXECUTE format('COPY (SELECT %L::bytea) TO %L (FORMAT binary)', bytes, file);
	CREATE TEMP TABLE received (value uplift);
	EXECUTE format('COPY received FROM %L (FORMAT binary)', file);
	SELECT r.value::text INTO value FROM received r;
	DROP TABLE received;
	RETURN value;
END $$;
CREATE FUNCTION near(have double precision, want double precision, what text, tolerance double precision DEFAULT 1e-12) RETURNS text LANGUAGE sql AS $$
	SELECT ok(abs(have / want - 1) <= tolerance, what) || CASE WHEN abs(have / want - 1) <= tolerance THEN '' ELSE format(E'\n# have %s, want %s', have, want) END
$$;
-- The text of a value: of each arm members, sum, before, squares, before squares, products.
CREATE FUNCTION value(kind text, decimals text, before_decimals text, VARIADIC arms text[]) RETURNS text LANGUAGE sql AS $$
	SELECT format('{"v":1,"kind":"%s","decimals":%s,"before_decimals":%s,"arms":[[%s]]}', kind, decimals, before_decimals, array_to_string(arms, '],['))
$$;

-- ---- sums: of so many decimals as any amount has, in groups of four digits

SELECT is(uplift_agg_amount(0, a ORDER BY a)::text, value('amount', '2', '0', '2,37500,0,731250000,0,0'), 'two decimals') FROM unnest('{1.50,2.25}'::numeric[]) a;
SELECT is(uplift_agg_amount(arm, a ORDER BY o)::text, value('amount', '5', '0', '4,600005000,0,155000000025000000,0,0', '2,-190000000,0,40100000000000000,0,0'), 'more decimals from row to row, and fewer again')
FROM (VALUES (1, 0, 3), (2, 0, 0.5), (3, 1, -2), (4, 0, 0.00005), (5, 0, 2.5), (6, 1, 0.1)) v (o, arm, a);
SELECT is(uplift_agg_amount(0, a ORDER BY o)::text, value('amount', '9', '0', '3,-5249999999000,0,56562500000000000001000000,0,0'), 'three groups at once')
FROM (VALUES (1, 2), (2, 0.000000001), (3, -7.25)) v (o, a);
SELECT is(uplift_agg_amount(0, a ORDER BY o)::text, value('amount', '2', '0', '2,17500,0,181250000,0,0'), 'two decimals instead of one are of the same group') FROM (VALUES (1, 0.5), (2, 1.25)) v (o, a);
CREATE TABLE part (o integer, side integer, arm integer, amount numeric, before numeric);
INSERT INTO part VALUES (1, 1, 0, 1.5, -2), (2, 2, 0, 0.00001, 0.5), (3, 2, 2, -3, 0.0000000001), (4, 1, 0, 2, 3), (5, 2, 2, 0.25, -4.125);
SELECT value('cuped', '5', '10', '3,350001000,1500000000000,62500000001000000,13250000000000000000000000,300000500000000000000', '0,0,0,0,0,0', '2,-275000000,-4124999999900,90625000000000000,17015625000000000000010000,-103125000030000000000') AS whole \gset
SELECT is(uplift_agg_cuped(arm, amount, before ORDER BY o)::text, :'whole', 'with what was before, and an arm of nobody'),
	is(uplift_agg_cuped(arm, amount, before ORDER BY o DESC)::text, :'whole', 'from the other end') FROM part;
SELECT is(uplift_rollup(u ORDER BY n)::text, :'whole', 'parts of other decimals and arms'), is(uplift_rollup(u ORDER BY n DESC)::text, :'whole', 'either to the other')
FROM (SELECT side * p AS n, uplift_agg_cuped(arm, amount, before ORDER BY o) AS u FROM part, (VALUES (1)) x (p) GROUP BY side, p) x;
SELECT is(uplift_merge(a, b)::text, uplift_merge(b, a)::text, format('%s and %s', a, b)) FROM (SELECT uplift_agg_cuped(arm, amount, before) AS u FROM part GROUP BY o) x (a), (SELECT uplift_agg_cuped(arm, amount, before) AS u FROM part GROUP BY o) y (b);
SELECT is(uplift_agg(arm, done ORDER BY o)::text, value('share', '0', '0', '2,1,0,0,0,0', '0,0,0,0,0,0', '0,0,0,0,0,0', '3,2,0,0,0,0'), 'shares') FROM (VALUES (1, 3, true), (2, 0, true), (3, 3, false), (4, 0, NULL), (5, 3, true), (6, NULL, true)) v (o, arm, done);
SELECT is(uplift_agg(63, true)::text, value('share', '0', '0', VARIADIC array_fill('0,0,0,0,0,0'::text, '{63}') || '1,1,0,0,0,0'::text), 'the last arm that there may be');

-- a transition that is called by itself changes a copy
SELECT is(u::text || uplift_accum(u, 0, true)::text || u::text, value('share', '0', '0', '1,0,0,0,0,0') || value('share', '0', '0', '2,1,0,0,0,0') || value('share', '0', '0', '1,0,0,0,0,0'), 'by itself')
FROM (SELECT value('share', '0', '0', '1,0,0,0,0,0')::uplift AS u OFFSET 0) x;
SELECT is(uplift_accum(NULL, NULL, true)::text, NULL, 'nobody, and nobody before'), is(uplift_accum_amount(NULL, NULL, 1)::text, NULL, 'no amount'), is(uplift_accum_cuped(NULL, NULL, 1, 1)::text, NULL, 'nor one before');
SELECT is(uplift_accum(u, NULL, true)::text, u::text, 'nobody more') FROM (SELECT uplift_agg(0, true) AS u) x;
SELECT is(uplift_accum_amount(u, NULL, 1)::text, u::text, 'no amount more') FROM (SELECT uplift_agg_amount(0, 2) AS u) x;
SELECT is(uplift_accum_cuped(u, NULL, 1, 1)::text, u::text, 'nor one before') FROM (SELECT uplift_agg_cuped(0, 2, 3) AS u) x;
SELECT is(outcome(format('SELECT %s(%s)', call, arguments)), 'LY003 this value of type uplift is of another kind: Shares, amounts, and amounts with what was before do not add up.', call)
FROM (VALUES ('uplift_accum', '(SELECT uplift_agg_amount(0, 1)), 0, true'), ('uplift_accum_amount', '(SELECT uplift_agg(0, true)), 0, 1'), ('uplift_accum_cuped', '(SELECT uplift_agg_amount(0, 1)), 0, 1, 1'),
	('uplift_accum_amount', '(SELECT uplift_agg_cuped(0, 1, 1)), 0, 1')) v (call, arguments);

-- ---- text: what goes in comes out; what no members can have led to is refused

\set most 170141183460469231731687303715884105727
\set square_of_most 28948022309329048855892746252171976962977213799489202546401021394546514198529
\set square_of_least 28948022309329048855892746252171976963317496166410141009864396001978282409984
\set widest 57896044618658097711785492504343953926634992332820282019728792003956564819967
SELECT is(outcome(format('SELECT %L::uplift', t)), t, t) FROM (VALUES
	(value('share', '0', '0', '9223372036854775807,9223372036854775807,0,0,0,0')), (value('share', '0', '0', '5,0,0,0,0,0')), (value('share', '0', '0', '0,0,0,0,0,0', '1,1,0,0,0,0')),
	(value('amount', '36', '0', '1,0,0,0,0,0')), (value('cuped', '36', '36', '1,-5,0,25,0,0')), (value('cuped', '0', '1', '1,0,-30000,0,900000000,0')), (value('amount', '10', '0', '1,5,0,25,0,0')),
	(value('amount', '0', '0', '1,' || :'most' || ',0,' || :'square_of_most' || ',0,0')), (value('amount', '0', '0', '1,-170141183460469231731687303715884105728,0,' || :'square_of_least' || ',0,0')),
	(value('cuped', '0', '0', '1,-18446744073709551616,-18446744073709551615,340282366920938463463374607431768211456,340282366920938463426481119284349108225,340282366920938463444927863358058659840')),
	(value('cuped', '0', '0', '2,0,0,' || :'widest' || ',' || :'widest' || ',-' || :'widest')), (value('cuped', '0', '0', '2,10,0,50,8,-20')), (value('amount', '0', '0', '0,0,0,0,0,0', '2,0,0,0,0,0')),
	(value('amount', '0', '0', VARIADIC array_fill('1,1,0,1,0,0'::text, '{64}')))) v (t);
-- the position is that of the character that cannot be
SELECT is(outcome(format('SELECT %L::uplift', t)), '22P02 Not understood from position ' || at || ' on.', t) FROM (VALUES
	('', 1), ('{"v":1,"kind":"', 16), ('{"v":2,"kind":"share","decimals":0,"before_decimals":0,"arms":[[1,1,0,0,0,0]]}', 1),
	(value('other', '0', '0', '1,1,0,0,0,0'), 16), (value('', '0', '0', '1,1,0,0,0,0'), 16), (value('shares', '0', '0', '1,1,0,0,0,0'), 21),
	(value('amount', '37', '0', '1,1,0,1,0,0'), 37), (value('amount', '-1', '0', '1,1,0,1,0,0'), 37), (value('amount', '', '0', '1,1,0,1,0,0'), 35), (value('cuped', '0', '37', '1,1,0,1,0,0'), 56), (value('cuped', '0', '-1', '1,1,0,1,0,0'), 56),
	(replace(value('cuped', '0', '0', '1,1,0,1,0,0'), '"before_', '"'), 35), (replace(value('cuped', '0', '0', '1,1,0,1,0,0'), '"arms"', '"arm"'), 55),
	(value('amount', '0', '0', '1,1,0,1,0,0', ''), 80), (value('amount', '0', '0', VARIADIC array_fill('1,1,0,1,0,0'::text, '{65}')), 65 + 64 * 14),
	(replace(value('amount', '0', '0', '1,1,0,1,0,0'), ']]}', ']}'), 78), (value('amount', '0', '0', '1,1,0,1,0,0') || '}', 80), (replace(value('amount', '0', '0', '1,1,0,1,0,0'), '[[', '[('), 65),
	(value('amount', '0', '0', '1'), 67), (value('amount', '0', '0', '1;1,0,1,0,0'), 67), (value('amount', '0', '0', '1,1;0,1,0,0'), 69), (value('amount', '0', '0', '1,1,0;1,0,0'), 71), (value('amount', '0', '0', '1,1,0,1;0,0'), 73),
	(value('amount', '0', '0', '1,1,0,1,0;0'), 75), (value('amount', '0', '0', '1,1,0,1,0,0;'), 77), (value('amount', '0', '0', '1,1,0,1,0,0,0'), 77), (value('amount', '0', '0', ',1,0,1,0,0'), 66), (value('amount', '0', '0', '1,,0,1,0,0'), 68),
	(value('amount', '0', '0', '1,1,,1,0,0'), 70), (value('amount', '0', '0', '1,1,0,,0,0'), 72), (value('amount', '0', '0', '1,1,0,1,,0'), 74), (value('amount', '0', '0', '1,1,0,1,0,'), 76),
	-- one way to write a number
	(value('amount', '0', '0', '1,01,0,1,0,0'), 70), (value('amount', '0', '0', '1,1,00,1,0,0'), 72), (value('amount', '0', '0', '1,1,-0,1,0,0'), 72), (value('amount', '0', '0', '1,-,0,1,0,0'), 69), (value('amount', '0', '0', '1,+1,0,1,0,0'), 68),
	(value('amount', '0', '0', '1,1/,0,1,0,0'), 69), (value('amount', '0', '0', '1,1:,0,1,0,0'), 69), (value('amount', '0', '0', '1,-01,0,1,0,0'), 71), (value('amount', '0', '0', '1, 1,0,1,0,0'), 68),
	-- counts of 64 bits, sums of 128, squares of 256
	(value('share', '0', '0', '9223372036854775808,1,0,0,0,0'), 84), (value('share', '0', '0', '-9223372036854775809,1,0,0,0,0'), 85),
	(value('amount', '0', '0', '1,170141183460469231731687303715884105728,0,' || :'square_of_least' || ',0,0'), 107), (value('amount', '0', '0', '1,-170141183460469231731687303715884105729,0,' || :'widest' || ',0,0'), 108),
	(value('cuped', '0', '0', '1,0,170141183460469231731687303715884105728,0,' || :'square_of_least' || ',0'), 108)) v (t, at);
SELECT is(outcome(format('SELECT %L::uplift', t)), '22P02 No members lead to it: ' || why || '.', t) FROM (VALUES
	(value('share', '1', '0', '1,1,0,0,0,0'), 'there are decimals where there are no amounts'), (value('share', '0', '1', '1,1,0,0,0,0'), 'there are decimals where there are no amounts'),
	(value('amount', '0', '1', '1,1,0,1,0,0'), 'there are decimals where there are no amounts'), (value('amount', '0', '0', '1,1,0,1,0,0', '0,0,0,0,0,0'), 'the last arm has no members'),
	(value('amount', '0', '0', '-1,0,0,0,0,0', '1,0,0,0,0,0'), 'a count is negative'), (value('amount', '0', '0', '1,0,0,0,0,0', '-1,0,0,0,0,0'), 'a count is negative'),
	(value('share', '0', '0', '2,3,0,0,0,0'), 'more members have converted than there are'), (value('share', '0', '0', '2,-1,0,0,0,0'), 'more members have converted than there are'),
	(value('share', '0', '0', '0,1,0,0,0,0', '1,0,0,0,0,0'), 'more members have converted than there are'), (value('share', '0', '0', '2,1,0,1,0,0'), 'more members have converted than there are'),
	(value('share', '0', '0', '2,1,1,0,0,0'), 'there is something before, and it is no value of uplift_agg_cuped()'), (value('amount', '0', '0', '2,1,1,1,1,0'), 'there is something before, and it is no value of uplift_agg_cuped()'),
	(value('amount', '0', '0', '2,1,0,1,1,0'), 'there is something before, and it is no value of uplift_agg_cuped()'), (value('amount', '0', '0', '2,1,0,1,0,1'), 'there is something before, and it is no value of uplift_agg_cuped()'),
	(value('amount', '0', '0', '0,1,0,0,0,0', '1,0,0,0,0,0'), 'there is an amount but no member'), (value('amount', '0', '0', '0,0,0,1,0,0', '1,0,0,0,0,0'), 'there is an amount but no member'),
	(value('cuped', '0', '0', '0,0,1,0,0,0', '1,0,0,0,0,0'), 'there is an amount but no member'), (value('cuped', '0', '0', '0,0,0,0,1,0', '1,0,0,0,0,0'), 'there is an amount but no member'),
	(value('cuped', '0', '0', '0,0,0,0,0,1', '1,0,0,0,0,0'), 'there is an amount but no member'), (value('amount', '0', '0', '1,0,0,-1,0,0'), 'sums and sums of squares do not fit'),
	(value('amount', '0', '0', '2,10,0,49,0,0'), 'sums and sums of squares do not fit'), (value('cuped', '0', '0', '2,10,10,50,49,0'), 'sums and sums of squares do not fit'), (value('cuped', '0', '0', '2,10,10,50,-1,0'), 'sums and sums of squares do not fit'),
	(value('cuped', '0', '0', '1,0,0,0,0,0', '2,10,10,50,49,0'), 'sums and sums of squares do not fit')) v (t, why);

-- ---- bytes: version, kind, decimals, number of arms; of each arm the count and five sums, in network order

SELECT is(uplift_send(t::uplift), sent, 'bytes of ' || t), is(receive(sent), t, 'and back') FROM (VALUES
	(value('share', '0', '0', '3,2,0,0,0,0'), '\x0101000001'::bytea || int8send(3) || decode(repeat('00', 15) || '02', 'hex') || decode(repeat('00', 112), 'hex')),
	(value('cuped', '5', '10', '2,-1,18446744073709551618,340282366920938463463374607431768211458,' || :'widest' || ',-6'),
		'\x0103050a01'::bytea || int8send(2) || int8send(-1) || int8send(-1) || int8send(1) || int8send(2) || int8send(0) || int8send(1) || int8send(0) || int8send(2)
			|| int8send(9223372036854775807) || int8send(-1) || int8send(-1) || int8send(-1) || int8send(-1) || int8send(-1) || int8send(-1) || int8send(-6)),
	(value('amount', '2', '0', '0,0,0,0,0,0', '1,30000,0,900000000,0,0'), '\x0102020002'::bytea || decode(repeat('00', 136), 'hex') || int8send(1) || int8send(0) || int8send(30000) || decode(repeat('00', 40), 'hex') || int8send(900000000) || decode(repeat('00', 64), 'hex'))) v (t, sent);
SELECT is(outcome(format('SELECT receive(%L)', bytes)), '22P03 No members lead to it: ' || why || '.', 'received: ' || why) FROM (VALUES
	('\x0201000001'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'the version is unknown'), ('\x0001000001'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'the version is unknown'),
	('\x0100000001'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'the kind is unknown'), ('\x0104000001'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'the kind is unknown'),
	('\x0102250001'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'there are more than 36 decimals'), ('\x0103002501'::bytea || int8send(1) || decode(repeat('00', 128), 'hex'), 'there are more than 36 decimals'),
	('\x0101000000'::bytea, 'it has no arm, or more than 64'), ('\x0101000041'::bytea || decode(repeat('0000000000000001' || repeat('00', 128), 64), 'hex'), 'it has more than 64 arms'),
	('\x0101000001'::bytea || int8send(0) || decode(repeat('00', 128), 'hex'), 'the last arm has no members')) v (bytes, why);
SELECT is(receive('\x0101000040'::bytea || decode(repeat('0000000000000001' || repeat('00', 128), 64), 'hex')), value('share', '0', '0', VARIADIC array_fill('1,0,0,0,0,0'::text, '{64}')), 'received: 64 arms');
SELECT is(left(outcome(format('SELECT receive(%L)', substr(sent, 1, n))), 5), '08P01', format('%s bytes of 141', n)) FROM (SELECT uplift_send(uplift_agg(0, true)) AS sent) x, unnest('{0,1,4,5,13,140}'::integer[]) n;
-- what another version of the extension may have stored: a function of the server's own that takes bytes as they are
CREATE FUNCTION stored(bytea, integer) RETURNS uplift LANGUAGE internal IMMUTABLE AS 'bytea_substr_no_len';
SELECT is(outcome(format('SELECT stored(%L::bytea || %L || %L, 1)', head, decode('01000000000000000100000000000000', 'hex'), decode(repeat('00', more), 'hex'))), want, format('stored as %s and %s bytes', head, more))
FROM (VALUES ('\x01010000'::bytea, 128, value('share', '0', '0', '1,0,0,0,0,0')), ('\x01010000', 127, 'XX001 uplift value has version 1, expected 1:'), ('\x02010000', 128, 'XX001 uplift value has version 2, expected 1:')) v (head, more, want);
SELECT is(outcome('SELECT uplift_accum_amount(stored(''\x0202000001000000000000000100000000000000''::bytea || decode(repeat(''00'', 128), ''hex''), 1), 0, 1)'),
	'LY003 this value of type uplift is of another kind: Shares, amounts, and amounts with what was before do not add up.', 'nor is another version added to');

-- ---- the ends of what can be summed

SELECT is(uplift_agg_amount(0, a)::text, value('amount', '0', '0', '2,0,0,57896044618658097711785492504343953925954427598978405092802042789093028397058,0,0'), 'two of the largest amounts') FROM (VALUES (:most), (-:most)) v (a);
SELECT is(uplift_agg_cuped(0, a, b)::text, min(t), min(format('%s and %s', a, b))) FROM (VALUES
	(1000000000000000000000000000000, 3, value('cuped', '0', '0', '1,1000000000000000000000000000000,3,1000000000000000000000000000000000000000000000000000000000000,9,3000000000000000000000000000000')),
	(-3, 1000000000000000000000000000000, value('cuped', '0', '0', '1,-3,1000000000000000000000000000000,9,1000000000000000000000000000000000000000000000000000000000000,-3000000000000000000000000000000')),
	(:most, -:most, value('cuped', '0', '0', '1,' || :'most' || ',-' || :'most' || ',' || :'square_of_most' || ',' || :'square_of_most' || ',-' || :'square_of_most')),
	(-9223372036854775808, 9223372036854775808, value('cuped', '0', '0', '1,-9223372036854775808,9223372036854775808,85070591730234615865843651857942052864,85070591730234615865843651857942052864,-85070591730234615865843651857942052864')),
	-- (2^64 + 1) and (2^65 - 1)
	(18446744073709551617, 36893488147419103231, value('cuped', '0', '0', '1,18446744073709551617,36893488147419103231,340282366920938463500268095579187314689,1361129467683753853779711453432234639361,680564733841876926945195958937245974527'))) v (a, b, t) GROUP BY t;
\set beyond 'LY301 sum of squares of amounts is out of range: It keeps 76 digits, decimals included.'
SELECT is(outcome(format('SELECT uplift_agg_amount(0, a) FROM (VALUES (%s), (-%s), (%s)) v (a)', :'most', :'most', :'most')), :'beyond', 'three of them');
SELECT is(outcome(format('SELECT uplift_merge(%L, %L)', value('cuped', '0', '0', '2,0,0,1,1,' || a), value('cuped', '0', '0', '2,0,0,1,1,' || b))), want, format('products %s and %s', a, b)) FROM (VALUES
	(:'widest', '1', :'beyond'), ('-' || :'widest', '-2', :'beyond'), (:'widest', '0', value('cuped', '0', '0', '4,0,0,2,2,' || :'widest')), (:'widest', '-' || :'widest', value('cuped', '0', '0', '4,0,0,2,2,0')), ('-5', '3', value('cuped', '0', '0', '4,0,0,2,2,-2')),
	('18446744073709551615', '1', value('cuped', '0', '0', '4,0,0,2,2,18446744073709551616'))) v (a, b, want);
-- 2^229 times 10^8 is behind 2^255, and 2^230 times it behind 2^256; 2^228 is not
SELECT is(outcome(format('SELECT uplift_merge(%L, %L)', value('amount', '0', '0', '2,0,0,' || squares || ',0,0'), value('amount', '1', '0', '1,0,0,0,0,0'))), want, 'with a decimal: ' || squares) FROM (VALUES
	('862718293348820473429344482784628181556388621521298319395315527974912', :'beyond'), ('1725436586697640946858688965569256363112777243042596638790631055949824', :'beyond'),
	('431359146674410236714672241392314090778194310760649159697657763987456', value('amount', '1', '0', '3,0,0,43135914667441023671467224139231409077819431076064915969765776398745600000000,0,0'))) v (squares, want);
SELECT is(outcome(format('SELECT uplift_merge(%L, %L)', value('amount', '0', '0', '1,' || :'most' || ',0,' || :'square_of_most' || ',0,0'), value('amount', '1', '0', '1,0,0,0,0,0'))), 'LY301 sum of amounts is out of range: A sum keeps 38 digits, decimals included, in groups of four.', 'no room for a decimal');
SELECT is(outcome(format('SELECT uplift_report(%L)', value('amount', '0', '0', '1000,0,0,' || :'widest' || ',0,0'))), :'beyond', 'a variance that cannot be computed exactly');
-- the least sum that there is: two numbers whose mean is -2^126; each is 2^126 - 1 from it
SELECT near(r.variance, 2 * (2::double precision ^ 126) ^ 2, 'the least sum') FROM uplift_report((SELECT uplift_agg_amount(0, a) FROM (VALUES (-:most), (-1)) v (a))) r;
SELECT near(r.variance, 2e60, 'variance of large amounts'), is(r.mean, 0::double precision, 'and their mean') FROM uplift_report((SELECT uplift_agg_amount(0, a) FROM (VALUES (1e30), (-1e30)) v (a))) r;
SELECT near(r.variance, 2e-60, 'and of small ones') FROM uplift_report((SELECT uplift_agg_amount(0, a) FROM (VALUES (1e-30), (-1e-30)) v (a))) r;

-- ---- figures

-- members, mean and variance of arm 0 and of arm 1
CREATE FUNCTION two_arms(n0 numeric, mean0 numeric, variance0 numeric, n1 numeric, mean1 numeric, variance1 numeric) RETURNS uplift LANGUAGE sql AS $$
	SELECT value('amount', '0', '0', format('%s,%s,0,%s,0,0', n0, n0 * mean0, variance0 * (n0 - 1) + n0 * mean0 * mean0), format('%s,%s,0,%s,0,0', n1, n1 * mean1, variance1 * (n1 - 1) + n1 * mean1 * mean1))::uplift
$$;
-- Student's numbers are at most t with A = t / sqrt(2 + t^2) for 2 degrees of freedom, 2 / pi atan(t) for 1, and sin a (1 + cos^2 a / 2), a = atan(t / 2), for 4
SELECT near(r.p_value, p, format('p of %s with %s members and variances %s, %s', d, n, v0, v1)), is(r.difference, d::double precision, 'the difference')
FROM (VALUES (2, 2, 2, 2, 1 - 1 / sqrt(2)), (2, 2, 2, 2000, 1 - 1 / sqrt(1.000001::numeric(40, 30))), (2, 2, 2, -2, 1 - 1 / sqrt(2)), (2, 2, 0, 1, 0.5), (2, 2, 0, 1000, 2 / pi() * atan(0.001)), (2, 0, 2, 1000, 2 / pi() * atan(0.001)),
	(3, 3, 3, 4, 1 - 7 / 6.0 * sqrt(2 / 3.0)), (2, 2, 2, 2000000, 1 - 1 / sqrt(1.000000000001::numeric(60, 50)))) v (n, v0, v1, d, p), uplift_report(two_arms(n, 10, v0, n, 10 + d, v1)) r WHERE r.arm = 1;
SELECT near(r.high - r.difference, half, format('half the interval of level %s, with %s members and variances %s, %s', level, n, v0, v1)), near(r.difference - r.low, half, 'to either side')
FROM (VALUES (2, 2, 2, 0.6, 1.5), (2, 2, 2, 0.8, 8 / 3.0), (2, 2, 2, 0.28, 7 / 12.0), (2, 2, 2, 0.001, 0.002 / sqrt(0.999999)), (2, 2, 0, 0.5, 1), (2, 2, 0, 0.9, tan(radians(81))), (2, 0, 2, 0.999, tan(radians(89.91))),
	(3, 3, 3, 7 / 6.0 * sqrt(2 / 3.0), 4), (2, 2, 2, 1 - 2::double precision ^ -40, 2 * (1 - 2::double precision ^ -40) / sqrt(2::double precision ^ -40 * (2 - 2::double precision ^ -40)))) v (n, v0, v1, level, half), uplift_report(two_arms(n, 10, v0, n, 20, v1), level) r WHERE r.arm = 1;
-- with so many members Student's distribution is the normal one
SELECT near((r.high - r.difference) / sqrt(2e-15), z, 'normal, level ' || level), near((r.difference - r.low) / sqrt(2e-15), z, 'to either side')
FROM (VALUES (0.5, 0.6744897501960817), (0.9, 1.6448536269514726), (0.95, 1.959963984540054), (0.99, 2.5758293035489), (0.999999999, 6.109410209383451)) v (level, z), uplift_report(two_arms(1e15, 0, 1, 1e15, 0, 1), level) r WHERE r.arm = 1;
SELECT near(r.p_value, 0.0026997960632601913, 'normal, 3 standard errors', 3e-8) FROM uplift_report(value('amount', '0', '0', '1000000000000000,0,0,1000000000000000,0,0', '1000000000000000,134164079,0,1000000000000000,0,0')::uplift) r WHERE r.arm = 1;
-- z + (z^3 + z) / (4 df)
SELECT near((r.high - r.difference) / sqrt(2e-6), 1.959963984540054 + (1.959963984540054 ^ 3 + 1.959963984540054) / (4 * 1999998.0), 'nearly normal', 1e-9) FROM uplift_report(two_arms(1e6, 0, 1, 1e6, 0, 1)) r WHERE r.arm = 1;
-- the delta method on the logarithm: t .75 sqrt(2), mean 12 of 10, errors 1 of 12 and 1 of 10
SELECT near(r.relative, 0.2, 'relative'), near(r.relative_low, 1.2 * exp(-0.75 * sqrt(2) * sqrt(1 / 144.0 + 1 / 100.0)) - 1, 'from'), near(r.relative_high, 1.2 * exp(0.75 * sqrt(2) * sqrt(1 / 144.0 + 1 / 100.0)) - 1, 'to')
FROM uplift_report(two_arms(2, 10, 2, 2, 12, 2), 0.6) r WHERE r.arm = 1;
SELECT is((r.difference, round(r.low::numeric, 9), round(r.p_value::numeric, 9), r.relative, r.relative_low)::text, want, format('means %s and %s, variances %s', mean0, mean1, spread)) FROM (VALUES
	(0, 1, 2, '(1,-0.500000000,0.552786405,,)'), (1, 0, 2, '(-1,-2.500000000,0.552786405,,)'), (-1, 1, 2, '(2,0.500000000,0.292893219,,)'), (1, -1, 2, '(-2,-3.500000000,0.292893219,,)'), (2, 3, 0, '(1,,,0.5,)')) v (mean0, mean1, spread, want),
	uplift_report(two_arms(2, mean0, spread, 2, mean1, spread), 0.6) r WHERE r.arm = 1;
SELECT is(array_agg((r.arm, r.members, r.mean, r.variance, r.difference, r.low, r.relative)::text ORDER BY r.arm), '{"(0,2,2,2,,,)","(1,0,,,,,)","(2,1,5,,3,,1.5)"}', 'an arm of nobody, and one of one')
FROM uplift_report((SELECT uplift_agg_amount(arm, a) FROM (VALUES (0, 1), (0, 3), (2, 5)) v (arm, a))) r;
SELECT is(array_agg((r.members, r.mean, r.variance)::text ORDER BY r.arm), '{"(4,0.25,0.1875)","(1,1,0)"}', 'the variance of shares') FROM uplift_report((SELECT uplift_agg(arm, done) FROM (VALUES (0, true), (0, false), (0, false), (0, false), (1, true)) v (arm, done))) r;
-- Wilson of 0 of 10 with z .6744897501960817: from 0 to z^2 / (10 + z^2); of 10 of 10 from 10 / (10 + z^2) to 1
SELECT near(r.high, 2 / sqrt(2) * 0.6744897501960817 ^ 2 / (10 + 0.6744897501960817 ^ 2) * sqrt(2) / 2, 'nobody of 10 against nobody of so many that none is missed', 1e-6)
FROM uplift_report(value('share', '0', '0', '1000000000000,0,0,0,0,0', '10,0,0,0,0,0')::uplift, 0.5) r WHERE r.arm = 1;
SELECT near(r.low, 10 / (10 + 0.6744897501960817 ^ 2), 'all of 10 against nobody', 1e-6) FROM uplift_report(value('share', '0', '0', '1000000000000,0,0,0,0,0', '10,10,0,0,0,0')::uplift, 0.5) r WHERE r.arm = 1;

-- what was before: an arm of nobody and one of one member change nothing for the others; where nobody differs there is nothing to adjust by
CREATE TABLE spent (arm integer, amount numeric, before numeric);
INSERT INTO spent VALUES (2, 13, 10), (2, 22, 20), (2, 34, 30), (2, 43, 40), (0, 12, 12), (0, 19, 18), (0, 32, 33), (0, 37, 37);
-- theta 921 / 926, mean of all before 25, as of either arm
SELECT is(array_agg((r.members, r.mean, round(r.variance::numeric, 6), r.difference, round(r.low::numeric, 5))::text ORDER BY r.arm), '{"(4,25,0.616811,,)","(0,,,,)","(4,28,0.707523,3,1.59045)"}', 'before, and an arm of nobody') FROM uplift_report((SELECT uplift_agg_cuped(arm, amount, before) FROM spent)) r;
-- a member with 9 before, and 4 then: grand mean 209 / 9
SELECT near(r.mean, CASE r.arm WHEN 3 THEN 4 - 921 / 926.0 * (9 - 209 / 9.0) ELSE CASE r.arm WHEN 0 THEN 25 ELSE 28 END - 921 / 926.0 * (25 - 209 / 9.0) END, 'adjusted mean of arm ' || r.arm), is(r.variance IS NULL, r.arm = 3, 'variance of arm ' || r.arm)
FROM uplift_report((SELECT uplift_agg_cuped(arm, amount, before) FROM (TABLE spent UNION ALL VALUES (3, 4, 9)) x)) r WHERE r.members > 0;
SELECT is(array_agg((r.mean, round(r.variance::numeric, 3), r.difference, round(r.low::numeric, 4))::text ORDER BY r.arm), '{"(25,132.667,,)","(,,,)","(28,174.000,3,-18.5197)"}', 'the same before') FROM uplift_report((SELECT uplift_agg_cuped(arm, amount, 7.5) FROM spent)) r;
-- decimals of either: hundredths of the amounts and thousandths of those before; theta is ten times 921 / 926
SELECT near(r.variance, w.variance / 10000, 'variance of hundredths, arm ' || r.arm), near(r.mean, w.mean / 100, 'their mean') FROM uplift_report((SELECT uplift_agg_cuped(arm, amount / 100, before * 0.00001) FROM spent)) r
JOIN uplift_report((SELECT uplift_agg_cuped(arm, amount, before) FROM spent)) w USING (arm) WHERE r.members > 0;
-- who spends less the more he spent before: amounts 10 - before are the same for all once that is taken out
SELECT near(r.mean, CASE r.arm WHEN 0 THEN 7.5 ELSE 8.5 END, 'theta below 0'), ok(r.variance BETWEEN 0 AND 1e-12, 'nothing is left') FROM uplift_report((SELECT uplift_agg_cuped(arm, 10 + arm - before, before) FROM (VALUES (0, 1), (0, 2), (1, 3), (1, 4)) v (arm, before))) r;
-- what is known altogether from before leaves no variance, and none below nothing
SELECT ok(r.variance BETWEEN 0 AND 1e-9, format('%s times what was before, arm %s', factor, r.arm)), near(r.mean - factor * (SELECT avg(b) FROM unnest(b0 || b1) b)::double precision, CASE r.arm WHEN 0 THEN c0 ELSE c1 END, 'and its mean')
FROM (VALUES (7, '{7,7,6}'::integer[], 3, '{3,3,4}'::integer[], 4), (11, '{8,2,0,8,5}', 3, '{3,5,9}', 3), (7, '{8,9}', 3, '{6,4,4}', 5), (11, '{3,3,5,7,7}', 4, '{6,5,8}', 5)) v (factor, b0, c0, b1, c1),
	LATERAL (SELECT uplift_agg_cuped(arm, factor * b + c, b) AS u FROM (SELECT 0 AS arm, b, c0 AS c FROM unnest(b0) b UNION ALL SELECT 1, b, c1 FROM unnest(b1) b) x) a, uplift_report(u) r;

-- ---- sizes of arms: chi-square beyond x is exp(-x / 2) with 2 degrees of freedom, and (1 + x / 2) times that with 4

SELECT near(s.chi_square, x, 'sizes ' || n::text), near(s.p_value, p, 'and how often that happens'), is(s.broken, p < 0.001, 'broken') FROM (VALUES
	('{100,0,0}'::integer[], '{0.5,0.25,0.25}'::numeric[], 100.0, exp(-50.0)), ('{52,24,24}', '{0.5,0.25,0.25}', 0.16, exp(-0.08)), ('{30,20,20,20,10}', '{0.2,0.2,0.2,0.2,0.2}', 10, 6 * exp(-5.0)), ('{21,20,20,20,19}', '{0.2,0.2,0.2,0.2,0.2}', 0.1, 1.05 * exp(-0.05)),
	('{100,1,0,0,0}', '{0.2,0.2,0.2,0.2,0.2}', 10001 / 20.2 - 101, (1 + (10001 / 20.2 - 101) / 2) * exp(-(10001 / 20.2 - 101) / 2)), ('{57,43}', '{0.5,0.5}', 1.96, 0.16151331846754208), ('{90,60,50}', '{0.5,0.25,0.25}', 3, exp(-1.5)),
	('{100,50,50}', '{0.4,0.3,0.3}', 8.333333333333334, exp(-8.333333333333334 / 2)), ('{65,35}', '{0.5,0.5}', 9, 0.0026997960632601913), ('{67,33}', '{0.5,0.5}', 11.56, 0.0006738585313537614)) v (n, shares, x, p),
	LATERAL (SELECT value('share', '0', '0', VARIADIC array_agg(m || ',0,0,0,0,0' ORDER BY o))::text AS t FROM unnest(n) WITH ORDINALITY y (m, o)) y, LATERAL (SELECT regexp_replace(t, '(,\[0,0,0,0,0,0\])+\]\}$', ']}')::uplift AS u) z, sample_ratio(u, shares) s;
SELECT is(s::text, '(0,1,f)', 'just as large as they should be') FROM sample_ratio(value('share', '0', '0', '1,0,0,0,0,0', '9,0,0,0,0,0')::uplift, '{0.1,0.9}') s;

-- ---- names, members and shares

-- the position, by the server's own SHA-256
CREATE FUNCTION position_of(experiment text, member bigint) RETURNS integer LANGUAGE sql AS $$
	SELECT mod(('x' || substr(h, 1, 8))::bit(32)::bigint::numeric * 4294967296 + ('x' || substr(h, 9, 8))::bit(32)::bigint, 10000)::integer
	FROM (SELECT encode(sha256('\x01' || int4send(octet_length(convert_to(experiment, 'UTF8'))) || convert_to(experiment, 'UTF8') || int8send(member)), 'hex') AS h) x
$$;
SELECT is(array_agg(arm_of(name, member, ARRAY[(p + 1) / 10000.0, 1 - (p + 1) / 10000.0]) || '-' || arm_of(name, member, ARRAY[p / 10000.0, 1 - p / 10000.0])), array_agg('0-1'::text), format('a name of %s bytes', octet_length(name)))
FROM (VALUES (''), ('x'), (E'Fr\u00FChling \u6625'), (repeat('x', 300)), (repeat('y', 70000))) e (name), unnest('{1,-1,255,256,65536,4294967296,1099511627776,281474976710656,72057594037927936,9223372036854775807,-9223372036854775808}'::bigint[]) member,
	position_of(name, member) p WHERE p BETWEEN 1 AND 9998 GROUP BY name;
SELECT is(arm_of('x', member, ARRAY[(p + 1) / 10000.0, 1 - (p + 1) / 10000.0], 'growthbook_2') || '-' || arm_of('x', member, ARRAY[p / 10000.0, 1 - p / 10000.0], 'growthbook_2'), '0-1', 'GrowthBook of ' || member)
FROM unnest('{1,-1,9223372036854775807,-9223372036854775808}'::bigint[]) member, growthbook_position('x', member::text) p;
SELECT is(arm_of('x', 1, array_fill(0.0156::numeric, '{63}') || 0.0172), position_of('x', 1) / 156, '64 arms');
SELECT is(outcome(format('SELECT arm_of(%L, 1, %L)', 'x', shares)), 'LY802 ' || why, left(shares::text, 60)) FROM (VALUES
	('{{0.5,0.5}}'::numeric[], 'It has more than one dimension.'), ('{}', 'There is nothing to compare, or more than 64 arms.'), ('{1}', 'There is nothing to compare, or more than 64 arms.'), (array_fill(0.01, '{65}'), 'There is nothing to compare, or more than 64 arms.'),
	('{NULL,1}', 'One of them is no number.'), ('{0.5,NaN}', 'One of them is no number.'), ('{Infinity,0.5}', 'One of them is no number.'), ('{0.5,-Infinity}', 'One of them is no number.'),
	('{0.00005,0.99995}', 'One of them is no multiple of .0001.'), ('{0,1}', 'One of them is not above 0, or above 1.'), ('{-0.5,1.5}', 'One of them is not above 0, or above 1.'), ('{1.5,-0.5}', 'One of them is not above 0, or above 1.'), ('{1.0001,0.5}', 'One of them is not above 0, or above 1.'),
	('{1e10,1}', 'One of them is not above 0, or above 1.'), ('{0.5,0.4999}', 'They do not sum to 1.'), ('{0.5,0.5001}', 'They do not sum to 1.'), ('{1,1}', 'They do not sum to 1.')) v (shares, why);
SELECT is(array_agg(arm_of(e, m, s::numeric[], h) ORDER BY o), '{1,0,0,1}', 'name, shares and hash may change from row to row')
FROM (VALUES (1, 'a', 1, NULL, 'sha256'), (2, 'b', 1, NULL, 'sha256'), (3, 'b', 1, NULL, 'growthbook_2'), (4, 'b', 1, NULL, 'growthbook_2')) v (o, e, m, x, h),
	LATERAL (SELECT CASE h WHEN 'sha256' THEN position_of(e, m) ELSE growthbook_position(e, m::text) END AS p) p,
	LATERAL (SELECT CASE WHEN o IN (1, 4) THEN ARRAY[p / 10000.0, 1 - p / 10000.0] ELSE ARRAY[(p + 1) / 10000.0, 1 - (p + 1) / 10000.0] END AS s) s;
SELECT * FROM finish();
