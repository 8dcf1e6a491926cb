-- Room engagement: tickets and their proofs.  Expected numbers are those of another implementation of HMAC-SHA256 (Python's).
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
\set seed '''00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff'''
CREATE FUNCTION complaint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; d text;
BEGIN
	EXECUTE call;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, d = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' / ', SQLSTATE, m, d);
END $$;

-- keys as long as a block and longer, and nothing at all
SELECT is(encode(loyalty.hmac_sha256(c.key, c.data), 'hex'), c.mac, format('a key of %s bytes, %s bytes of data', octet_length(c.key), octet_length(c.data)))
FROM (VALUES (''::bytea, ''::bytea, 'b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad'), ('k', 'Hi', '834ca019c7135bff172aa349578db2ae0843626a80d8f329af49e816e4c5f3e4'),
	('Jefe', '', '923598ca6d64af2a5dba79dcd021a8a0fe5c5f557519adaaf0ad532d4506dd30'),
	(repeat('a', 64)::bytea, 'Hi', '999863129d4448648a4349206cff0ab06acedbc6652653a64e9bc4dc3a5cca0c'), (repeat('a', 65)::bytea, 'Hi', '95057680592e27f58b0ceb8e670ad7c57ae091e135d3b8b41d6eead463d26565')) c (key, data, mac);
-- the counter goes on where bits are rejected: here one time in four
SELECT is(loyalty.draw_ticket(:seed, 'spring', 42, c.spin, 6917529027641081857), c.ticket, format('spin %s has its number from counter %s', c.spin, c.counter))
FROM (VALUES (3, 6593724083361436967, 0), (1, 2848115157644947887, 1), (5, 3651821206104234376, 2), (2, 1859947428711378606, 3)) c (spin, ticket, counter);
SELECT is(loyalty.draw_ticket(:seed, c.draw, 42, 1, 10000, c.client_seed), c.ticket, c.what)
FROM (VALUES ('spring', repeat('x', 64), 4544::bigint, 'the longest seed of a member'), ('frühling', NULL, 5941, 'a name beyond ASCII'), ('spring', repeat('ü', 32), 8512, 'whose length is in bytes')) c (draw, client_seed, ticket, what);
SELECT is(loyalty.draw_ticket(repeat('ab', 1024), 'd', 1, 1, 1000000), 677338::bigint, 'the longest seed');
SELECT is(loyalty.commit_seed(repeat('ab', 1024)), '4555555dc68d872c2270ba89ecc5f6f094812f65372b37e50071fe5168031c49', 'and its commitment');
SELECT is(loyalty.ticket_of_bits(c.bits, c.total), c.number, format('%s below %s', c.bits, c.total))
FROM (VALUES ('\x0000000000000000'::bytea, 3::bigint, 0::bigint), ('\x0000000000000102', 1000, 258), ('\x0000000000000003', 3, 0), ('\xffffffffffffffff', 1, 0),
	('\x8000000000000000', 9223372036854775807, 1), ('\xfffffffffffffffd', 9223372036854775807, 9223372036854775806), ('\xfffffffffffffffe', 9223372036854775807, NULL)) c (bits, total, number);
-- prizes begin and end where the weights before them add up
CREATE TABLE wheel AS SELECT '{"prizes": [{"prize": "none", "weight": 4000}, {"prize": "low", "weight": 2000, "stock": 1}, {"prize": "mid", "weight": 2000, "stock": 1}, {"prize": "top", "weight": 2000, "stock": 1}]}'::jsonb AS terms;
CREATE TABLE deck AS SELECT '{"tickets": 10, "prizes": [{"prize": "car", "count": 1}, {"prize": "bicycle", "count": 1}]}'::jsonb AS terms;
SELECT is(loyalty.prize_of_ticket(terms, t), p, format('ticket %s', t))
FROM wheel, (VALUES (0, 'none'), (3999, 'none'), (4000, 'low'), (5999, 'low'), (6000, 'mid'), (7999, 'mid'), (8000, 'top'), (9999, 'top')) c (t, p);
SELECT is(loyalty.prize_of_ticket(terms, t), p, format('ticket %s of a deck', t)) FROM deck, (VALUES (0, 'car'), (1, 'bicycle'), (2, NULL), (9, NULL)) c (t, p);

-- what is refused, and why
SELECT is(complaint(c.call), c.answer, c.call)
FROM (VALUES ($$SELECT loyalty.draw_ticket('00', 'd', 1, 1, 9, repeat('x', 65))$$, 'LY003 / client_seed must have at most 64 bytes / It has 65.'),
	($$SELECT loyalty.draw_ticket('00', 'd', 1, 1, 0)$$, 'LY003 / total must be positive / It is 0.'),
	($$SELECT loyalty.draw_ticket(NULL, 'd', 1, 1, 1)$$, 'LY003 / seed must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.draw_ticket('00', NULL, 1, 1, 1)$$, 'LY003 / draw must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.draw_ticket('00', 'd', 1, NULL, 1)$$, 'LY003 / nonce must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.draw_ticket('00', 'd', 1, 1, NULL)$$, 'LY003 / total must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.ticket_of_bits('\x00000000000000', 3)$$, 'LY003 / bits must have 8 bytes, and total be positive / They have 7, and it is 3.'),
	($$SELECT loyalty.ticket_of_bits('\x0000000000000000', 0)$$, 'LY003 / bits must have 8 bytes, and total be positive / They have 8, and it is 0.'),
	($$SELECT loyalty.shuffle_deck('00', 'd', NULL)$$, 'LY003 / n must not be NULL / It has no default that NULL could stand for.'),
	($$SELECT loyalty.shuffle_deck('00', 'd', 0)$$, 'LY003 / n must be from 1 to 1000000 / It is 0.'),
	($$SELECT loyalty.shuffle_deck('00', 'd', 1000001)$$, 'LY003 / n must be from 1 to 1000000 / It is 1000001.'),
	($$SELECT loyalty.prize_of_ticket(terms, -1) FROM wheel$$, 'LY003 / ticket must be from 0 to 9999 / It is -1.'),
	($$SELECT loyalty.prize_of_ticket(terms, 10000) FROM wheel$$, 'LY003 / ticket must be from 0 to 9999 / It is 10000.'),
	($$SELECT loyalty.prize_of_ticket(terms, 10) FROM deck$$, 'LY003 / ticket must be from 0 to 9 / It is 10.')) c (call, answer);
-- digits of a seed, and what stands beside them in ASCII
SELECT is(complaint(format('SELECT loyalty.commit_seed(%L)', c.seed)), format('LY003 / a seed must be from 1 to 1024 bytes in hexadecimal digits / It has %s characters.', length(c.seed)), left(c.seed, 10))
FROM (VALUES (''), ('123'), ('0g'), ('g0'), ('0g00'), ('0/'), ('0:'), ('0@'), ('0G'), ('0`'), (repeat('00', 1025))) c (seed);
SELECT is(loyalty.commit_seed(c.seed), encode(sha256(decode(c.seed, 'hex')), 'hex'), c.seed) FROM (VALUES ('0123456789abcdef'), ('ABCDEF'), ('00'), ('a9F0')) c (seed);

-- spins as [member, number, ticket, drawn, given, the member's seed]: what is wrong with them
CREATE FUNCTION problems(draw text, definition jsonb, spins jsonb, seeds boolean DEFAULT false, commitment text DEFAULT '4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws(' ', v.member_id, v.nonce, v.problem), '; ' ORDER BY v.ordinality), 'none')
	FROM (SELECT array_agg((s ->> 0)::bigint ORDER BY o) AS m, array_agg((s ->> 1)::bigint ORDER BY o) AS n, array_agg((s ->> 2)::bigint ORDER BY o) AS t,
			array_agg(s ->> 3 ORDER BY o) AS d, array_agg(s ->> 4 ORDER BY o) AS p, array_agg(s ->> 5 ORDER BY o) AS c FROM jsonb_array_elements(spins) WITH ORDINALITY x (s, o)) s,
		LATERAL loyalty.verify_draw(draw, definition, commitment, '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff', s.m, s.n, s.t, s.d, s.p,
			CASE WHEN seeds THEN s.c END) WITH ORDINALITY v $$;
SELECT is(problems('spring', terms, c.spins::jsonb), c.problems, c.what)
FROM wheel, (VALUES
	('[[42, 3, 6967, "mid", "mid"], [43, 3, 9093, "top", "top"], [42, 1, 3052, "none", "none"], [43, 1, 6838, "mid", "none"], [42, 2, 4254, "low", "low"], [43, 2, 4204, "low", "none"]]',
		'none', 'in any order: one of each prize, and then the first'),
	('[[42, 1, 3052, "none", "none"], [42, 3, 6967, "mid", "mid"]]', '42 3 its number is 3, and should be 2', 'the second is not told'),
	('[[42, 1, 3052, "none", "none"], [42, 1, 3052, "none", "none"]]', '42 1 its number is 1, and should be 2', 'the first is told twice'),
	('[[43, 3, 9093, "top", "top"]]', '43 3 its number is 3, and should be 1', 'the first two are not told'),
	('[[43, 1, 6838, "mid", "none"]]', '43 1 prize "mid" was still there, and "none" was given', 'the highest that was passed over is named, once'),
	('[[43, 1, 6838, "mid", "low"]]', '43 1 prize "mid" was still there, and "low" was given', 'also where the next one was given'),
	('[[43, 1, 6838, "mid", "top"]]', '43 1 it draws "mid", and "top" was given', 'a better prize'),
	('[[43, 1, 6838, "mid", null]]', '43 1 it draws "mid", and nothing was given', 'no prize'),
	('[[43, 1, 6838, "mid", "cat"]]', '43 1 it draws "mid", and "cat" was given', 'a prize that there is not'),
	('[[43, 1, 6838, null, "none"]]', '43 1 ticket 6838 draws "mid", and not nothing; 43 1 it draws nothing, and "none" was given', 'nothing was drawn'),
	('[[43, 1, 6838, "cat", "none"]]', '43 1 ticket 6838 draws "mid", and not "cat"; 43 1 it draws "cat", and "none" was given', 'something else was drawn'),
	('[[43, 1, 6839, "mid", "mid"]]', '43 1 ticket 6839 was told, and the seed draws 6838', 'another ticket'),
	('[[42, 1, 3052, "none", "none"], [42, 2, 4254, "low", "low"], [42, 3, 6967, "mid", "low"], [43, 1, 6838, "mid", "mid"]]', 'prize "low" was given 2 times, of 1', 'more than the stock')) c (spins, problems, what);
-- a member's own seed
SELECT is(problems('spring', terms || c.more::jsonb, c.spins::jsonb, c.seeds), c.problems, c.what)
FROM (SELECT '{"prizes": [{"prize": "none", "weight": 10000}]}'::jsonb AS terms) w, (VALUES
	('{"client_seed": true}', '[[42, 1, 2864, "none", "none", "lucky"], [42, 2, 1505, "none", "none", "lucky"]]', true, 'none', 'is part of what is drawn'),
	('{"client_seed": true}', '[[42, 1, 2864, "none", "none", "lucky"], [42, 2, 4254, "none", "none", null]]', true, '42 2 the member gave no seed', 'and must be there'),
	('{"client_seed": true}', '[[42, 1, 3052, "none", "none"]]', false, '42 1 the member gave no seed', 'for each spin'),
	('{}', '[[42, 1, 3052, "none", "none", null]]', true, 'none', 'but where the draw asks for none')) c (more, spins, seeds, problems, what);
-- of ten tickets the car lies at place 4, and the bicycle at place 8
SELECT is(problems('scratch', terms, c.spins::jsonb), c.problems, c.what)
FROM deck, (VALUES
	('[[1, 1, 4, "car", "car"], [2, 1, 8, "bicycle", "bicycle"], [3, 1, 0, null, null], [3, 2, 9, null, null]]', 'none', 'prizes and blanks, the first place and the last'),
	('[[1, 1, -1, null, null]]', '1 1 place -1 is not in the deck', 'before the first place'),
	('[[1, 1, 10, null, null]]', '1 1 place 10 is not in the deck', 'after the last place'),
	('[[1, 1, 4, "car", "bicycle"]]', '1 1 at place 4 lies "car"; "car" was drawn and "bicycle" given', 'given is something else'),
	('[[1, 1, 4, "bicycle", "car"]]', '1 1 at place 4 lies "car"; "bicycle" was drawn and "car" given', 'drawn is something else'),
	('[[1, 1, 4, null, null]]', '1 1 at place 4 lies "car"; nothing was drawn and nothing given', 'a prize is kept back'),
	('[[1, 1, 5, "cat", null]]', '1 1 at place 5 lies nothing; "cat" was drawn and nothing given', 'a blank drew something that there is not'),
	('[[1, 1, 5, null, "cat"]]', '1 1 at place 5 lies nothing; nothing was drawn and "cat" given', 'or gave it'),
	('[[1, 2, 5, null, null]]', '1 2 its number is 2, and should be 1', 'spins of a deck are numbered, too')) c (spins, problems, what);
SELECT matches(problems('scratch', terms, '[[1, 1, 8, "bicycle", "bicycle"], [2, 1, 4, "car", "car"], [3, 1, 8, "bicycle", "bicycle"]]'), '^[13] 1 place 8 was sold twice$', 'a place that is sold twice is named once') FROM deck;
SELECT is(problems('spring', terms, '[[42, 1, 3052, "none", "none"]]', commitment => c.commitment), c.problems, c.what)
FROM wheel, (VALUES ('4773D12E2371BB935B9A0F5439B4A1C3AD3F2414B86980F8418D1CFABDFADFEF', 'none', 'a commitment in upper case'),
	('', 'the seed is that of the commitment 4773d12e2371bb935b9a0f5439b4a1c3ad3f2414b86980f8418d1cfabdfadfef', 'none at all')) c (commitment, problems, what);
SELECT is_empty(format('SELECT * FROM loyalty.verify_draw(%L, %L, loyalty.commit_seed(%L), %3$L, %L, %4$L, %4$L, %4$L, %4$L, %4$L)', 'd', terms, '00', '{}'), 'no spins, nothing wrong')
FROM (SELECT terms FROM wheel UNION ALL SELECT terms FROM deck) x;
SELECT is(complaint(format('SELECT * FROM loyalty.verify_draw(%s)', c.arguments)), 'LY003 / ' || c.answer, c.arguments)
FROM (VALUES
	($$NULL, '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', '{a}', '{a}'$$, 'draw must not be NULL / It has no default that NULL could stand for.'),
	($$'d', NULL, '', '00', '{1}', '{1}', '{0}', '{a}', '{a}'$$, 'definition must not be NULL / It has no default that NULL could stand for.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', NULL, '00', '{1}', '{1}', '{0}', '{a}', '{a}'$$, 'commitment must not be NULL / It has no default that NULL could stand for.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', NULL, '{1}', '{1}', '{0}', '{a}', '{a}'$$, 'seed must not be NULL / It has no default that NULL could stand for.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', NULL, '{a}', '{a}'$$, 'tickets must not be NULL / It has no default that NULL could stand for.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', NULL, '{a}'$$, 'drawn must not be NULL / It has no default that NULL could stand for.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{}', '{0}', '{a}', '{a}'$$, 'nonces must have as many elements as member_ids / They have 0 and 1.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', '{a}', '{a,a}'$$, 'prizes must have as many elements as member_ids / They have 2 and 1.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', '{a}', '{a}', '{}'$$, 'client_seeds must have as many elements as member_ids / They have 0 and 1.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1}', '{1}', '{0}', '{a}', '{a}', array[repeat('x', 65)]$$, 'client_seed must have at most 64 bytes / It has 65.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1,NULL}', '{1,2}', '{0,0}', '{a,a}', '{a,a}'$$, 'a spin must have a member, a nonce and a ticket / Number 2 has not.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1,1}', '{1,NULL}', '{0,0}', '{a,a}', '{a,a}'$$, 'a spin must have a member, a nonce and a ticket / Number 2 has not.'),
	($$'d', '{"prizes": [{"prize": "a", "weight": 1}]}', '', '00', '{1,1}', '{1,2}', '{NULL,0}', '{a,a}', '{a,a}'$$, 'a spin must have a member, a nonce and a ticket / Number 1 has not.')) c (arguments, answer);
SELECT * FROM finish();
