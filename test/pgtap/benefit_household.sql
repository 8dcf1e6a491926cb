-- Room benefit: gift cards, households, and the member's card.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
SET timezone = 'UTC';
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT throws_ok($$SELECT loyalty.issue_card('x', 1)$$, 'LY001', NULL, 'before setup()');
SELECT loyalty.setup() \g /dev/null

CREATE FUNCTION answer(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	EXECUTE statement INTO said;
	RETURN coalesce(said, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END$$;
CREATE TABLE person (name text PRIMARY KEY, id bigint);
INSERT INTO person SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'), effective_at => '2026-01-01')) FROM unnest('{a,b,c,d,e}'::text[]) n;
CREATE FUNCTION id(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT p.id FROM person p WHERE p.name = $1';

-- whoever hears of members hears of cards and households, too, which are members by number
SELECT loyalty.subscribe('crm', '{member_created}') \g /dev/null
-- Gift cards: 50.00 for a bearer.
SELECT loyalty.create_currency('gift_eur') \g /dev/null
SELECT loyalty.define_benefit('card', '{"kind": "card", "currency": "gift_eur", "money": "EUR", "valid": "3 years"}') \g /dev/null
CREATE TABLE card AS SELECT * FROM loyalty.issue_card('card', 50.00, '2026-03-01', 'sold', 'k1');
CREATE FUNCTION code() RETURNS text LANGUAGE sql STABLE AS 'SELECT c.code FROM card c';
SELECT is(answer(s.statement), s.expected, format('%s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT i.code = code() AND replayed FROM loyalty.issue_card('card', 50.00, '2026-03-01', 'sold', 'k1') i$$, 'true'),
	(2, $$SELECT loyalty.issue_card('card', 60.00, '2026-03-01', 'sold', 'k1')$$, 'LY004'),
	(3, $$SELECT loyalty.card_balance(lower(replace(code(), '-', ' ')), '2026-03-02')$$, '(50.00,gift_eur,"2029-03-01 00:00:00+00")'),
	(4, $$SELECT remaining FROM loyalty.redeem_card(code(), 30, '2026-03-02', idempotency_key => 'r')$$, '20.00'),
	(5, $$SELECT remaining || replayed::text FROM loyalty.redeem_card(code(), 30, '2026-03-02', idempotency_key => 'r')$$, '20.00true'),
	(6, $$SELECT loyalty.redeem_card(code(), 30, '2026-03-02')$$, 'LY101'),
	(7, $$SELECT loyalty.redeem_card('7KQ4-XH2M-9TPA', 30)$$, 'LY603'),
	(8, $$SELECT loyalty.redeem_card(code(), 0.001)$$, 'LY003'),
	(9, $$SELECT loyalty.redeem_card(code(), -1)$$, 'LY003'),
	-- refunded: as it was, with the same expiry
	(10, $$SELECT remaining FROM loyalty.refund_card(code(), (SELECT max(entry_id) FROM loyalty.ledger), 10, '2026-03-03')$$, '30.00'),
	(11, $$SELECT remaining FROM loyalty.refund_card(code(), (SELECT entry_id FROM loyalty.ledger WHERE kind = 'redeem'), at => '2026-03-03')$$, '50.00'),
	(12, $$SELECT loyalty.refund_card(code(), (SELECT entry_id FROM loyalty.ledger WHERE kind = 'redeem'), at => '2026-03-03')$$, 'LY105'),
	(13, $$SELECT expires_at::date FROM loyalty.card_balance(code(), '2026-03-04')$$, '2029-03-01'),
	-- what charged it was not spent by it: a refund of that would take it off
	(13.5, $$SELECT loyalty.refund_card(code(), (SELECT c.entry_id FROM card c), at => '2026-03-03')$$, 'LY103'),
	-- split, and claimed
	(14, $$SELECT claimed FROM loyalty.claim_card(id('a'), code(), 12.50, '2026-03-05')$$, '12.50'),
	(15, $$SELECT loyalty.claim_card(id('a'), code(), 40, '2026-03-05')$$, 'LY101'),
	(16, $$SELECT claimed FROM loyalty.claim_card(id('b'), code(), at => '2026-03-05', idempotency_key => 'c')$$, '37.50'),
	(17, $$SELECT claimed || replayed::text FROM loyalty.claim_card(id('b'), code(), at => '2026-03-05', idempotency_key => 'c')$$, '37.50true'),
	(18, $$SELECT loyalty.claim_card(id('a'), code(), at => '2026-03-05')$$, 'LY615'),
	(19, $$SELECT (b).available || ' ' || (b).next_expiry_at::date FROM loyalty.balance(id('b'), 'gift_eur', '2026-03-06') b$$, '3750 2029-03-01'),
	-- it is no coupon, and no person
	(20, $$SELECT loyalty.claim_code(id('a'), code())$$, 'LY603'),
	(21, $$SELECT loyalty.record_activity(id('a'), 'order', amount => 5, codes => ARRAY[code()])$$, 'LY603'),
	(22, $$SELECT loyalty.issue_coupon(id('a'), 'card')$$, 'LY601'),
	(23, $$SELECT loyalty.generate_codes('card', 1)$$, 'LY601'),
	(24, $$SELECT loyalty.merge_members(id('a'), (SELECT card_id FROM card))$$, 'LY619'),
	(25, $$SELECT loyalty.issue_card('card', 0)$$, 'LY003'),
	(26, $$SELECT loyalty.issue_card('nothing', 1)$$, 'LY601'),
	(27, $$SELECT loyalty.refund_card(code(), (SELECT min(entry_id) FROM loyalty.ledger WHERE kind = 'transfer_out'), at => '2026-03-06')$$, 'LY103'),
	(28, $$SELECT loyalty.card_balance(code(), '2026-03-06')$$, '(0.00,gift_eur,)')) s (n, statement, expected) ORDER BY s.n;

-- Households.  Own lots: A contributes 300 until 31 December, B 200 until 30 June.
CREATE TABLE home (name text PRIMARY KEY, id bigint);
CREATE FUNCTION home(name text) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT h.id FROM home h WHERE h.name = $1';
INSERT INTO home SELECT 'H', household_id FROM loyalty.create_household('Family H', id('a'), '2026-02-01', 'k');
CREATE FUNCTION spent(home text, name text, points numeric, at timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT concat_ws(' ', r.available, r.allowance_left) FROM loyalty.redeem_for(home($1), id($2), $3, effective_at => $4) r$$;
CREATE FUNCTION persons(home text, as_of timestamptz) RETURNS text LANGUAGE sql AS
$$SELECT string_agg(concat_ws(' ', p.name, nullif(m.role, 'person'), m.may_spend), ', ' ORDER BY p.name) FROM loyalty.household_members(home($1), $2) m JOIN person p ON p.id = m.member_id$$;
SELECT is(answer(s.statement), s.expected, format('household %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT loyalty.join_household(home('H'), id('b'), at => '2026-02-01')$$, 'false'),
	(2, $$SELECT loyalty.join_household(home('H'), id('b'), at => '2026-02-02')$$, 'LY619'),
	(3, $$SELECT (loyalty.earn(id('a'), 300, effective_at => '2026-02-15', expires_at => '2027-01-01')).available$$, '300'),
	(4, $$SELECT (loyalty.earn(id('b'), 200, effective_at => '2026-02-15', expires_at => '2026-07-01')).replayed$$, 'false'),
	(5, $$SELECT (loyalty.transfer(id('a'), home('H'), 300, effective_at => '2026-03-01')).available$$, '0'),
	(6, $$SELECT (loyalty.transfer(id('b'), home('H'), 200, effective_at => '2026-03-01')).available$$, '0'),
	-- 200 of B's, the earliest to expire, then 50 of A's
	(7, $$SELECT spent('H', 'b', 250, '2026-03-05')$$, '250'),
	(8, $$SELECT spent('H', 'c', 10, '2026-03-05')$$, 'LY619'),
	(9, $$SELECT spent('H', 'a', 10, '2026-01-05')$$, 'LY619'),
	(10, $$SELECT persons('H', '2026-03-05')$$, 'a head, b'),
	(11, $$SELECT loyalty.household_of(id('a'), '2026-03-05') = home('H')$$, 'true'),
	(12, $$SELECT points FROM loyalty.leave_household(home('H'), id('b'), 'own', '2026-04-01')$$, '0'),
	(13, $$SELECT loyalty.join_household(home('H'), id('b'), at => '2026-04-02')$$, 'false'),
	(14, $$SELECT points FROM loyalty.leave_household(home('H'), id('a'), 'own', '2026-04-03')$$, '250'),
	(15, $$SELECT (b).available || ' ' || (b).next_expiry_at::date FROM loyalty.balance(id('a')) b$$, '250 2027-01-01'),
	(16, $$SELECT (loyalty.balance(home('H'))).available$$, '0'),
	-- the last head hands over
	(17, $$SELECT persons('H', '2026-04-04')$$, 'b head'),
	(18, $$SELECT persons('H', '2026-04-02 12:00')$$, 'a head, b'),
	(19, $$SELECT persons('H', '2026-04-01 12:00')$$, 'a head'),
	(20, $$SELECT loyalty.leave_household(home('H'), id('a'))$$, 'LY619'),
	(21, $$SELECT loyalty.leave_household(home('H'), id('b'), 'all')$$, 'LY003'),
	(22, $$SELECT loyalty.join_household(0, id('a'))$$, 'LY618'),
	(23, $$SELECT loyalty.join_household(home('H'), home('H'))$$, 'LY619'),
	(24, $$SELECT loyalty.join_household(home('H'), 0)$$, 'LY202'),
	(25, $$SELECT loyalty.join_household(home('H'), id('c'), 'guest')$$, 'LY003'),
	(26, $$SELECT loyalty.join_household(home('H'), id('c'), may_spend => -1)$$, 'LY003'),
	(27, $$SELECT loyalty.create_household('', id('c'))$$, 'LY003'),
	(28, $$SELECT loyalty.merge_members(id('a'), home('H'))$$, 'LY619'),
	(29, $$SELECT household_id = home('H') AND replayed FROM loyalty.create_household('Family H', id('a'), '2026-02-01', 'k')$$, 'true')) s (n, statement, expected) ORDER BY s.n;

-- An allowance of 100 a month, of 500 points.
INSERT INTO home SELECT 'K', household_id FROM loyalty.create_household('Family K', id('c'), '2026-02-01');
SELECT loyalty.earn(home('K'), 500, effective_at => '2026-04-01') \g /dev/null
CREATE FUNCTION back(home text, at timestamptz) RETURNS bigint LANGUAGE sql AS
$$SELECT (loyalty.reverse(home($1), (SELECT min(s.entry_id) FROM loyalty.household_spend s WHERE s.member_id = home($1) AND NOT EXISTS
	(SELECT FROM loyalty.ledger e WHERE e.member_id = s.member_id AND e.target_entry_id = s.entry_id)), effective_at => $2)).available$$;
SELECT is(answer(s.statement), s.expected, format('allowance %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT loyalty.join_household(home('K'), id('d'), may_spend => 100, at => '2026-04-01')$$, 'false'),
	(2, $$SELECT spent('K', 'd', 60, '2026-05-03')$$, '440 40'),
	(3, $$SELECT spent('K', 'd', 60, '2026-05-20')$$, 'LY612'),
	(4, $$SELECT back('K', '2026-05-21')$$, '500'),
	(5, $$SELECT spent('K', 'd', 60, '2026-05-21')$$, '440 40'),
	(6, $$SELECT spent('K', 'd', 100, '2026-06-01')$$, '340 0'),
	-- the 60 of May are given back to May
	(7, $$SELECT back('K', '2026-06-02')$$, '400'),
	(8, $$SELECT spent('K', 'd', 1, '2026-06-02')$$, 'LY612'),
	(9, $$SELECT spent('K', 'd', 100, '2026-05-31')$$, '300 0'),
	(10, $$SELECT spent('K', 'c', 200, '2026-06-03')$$, '100'),
	(11, $$SELECT spent('K', 'c', 200, '2026-06-03')$$, 'LY101'),
	(12, $$SELECT loyalty.set_allowance(home('K'), id('d'), 150, 'month', at => '2026-06-03')$$, 'false'),
	(13, $$SELECT spent('K', 'd', 50, '2026-06-04')$$, '50 0'),
	(14, $$SELECT persons('K', '2026-06-04')$$, 'c head, d 150'),
	(15, $$SELECT persons('K', '2026-06-02')$$, 'c head, d 100'),
	(16, $$SELECT available || replayed::text FROM loyalty.redeem_for(home('K'), id('c'), 10, effective_at => '2026-06-05', idempotency_key => 'k')$$, '40false'),
	(17, $$SELECT available || replayed::text FROM loyalty.redeem_for(home('K'), id('c'), 10, effective_at => '2026-06-05', idempotency_key => 'k')$$, '40true'),
	(18, $$SELECT loyalty.redeem_for(home('K'), id('d'), 10, effective_at => '2026-06-05', idempotency_key => 'k')$$, 'LY004'),
	(19, $$SELECT string_agg(p.name || m.spent, ' ' ORDER BY p.name) FROM loyalty.household_members(home('K'), '2026-06-30') m JOIN person p ON p.id = m.member_id$$, 'c210 d150')) s (n, statement, expected) ORDER BY s.n;

-- What a person has spent, as of an instant and as known at one; and what is left is never negative.
SELECT is((SELECT string_agg(p.name || m.spent, ' ' ORDER BY p.name) FROM loyalty.household_members(home('K'), s.as_of, s.known_at) m JOIN person p ON p.id = m.member_id), s.expected, s.as_of::text)
FROM (VALUES (timestamptz '2026-05-10', NULL::timestamptz, 'c0 d60'), ('2026-05-20', NULL, 'c0 d60'), ('2026-05-21', NULL, 'c0 d60'), -- effective by then, though the 60 were given back on 2 June
	('2026-05-31', NULL, 'c0 d160'),
	('2026-06-01', NULL, 'c0 d100'), ('2026-06-03', NULL, 'c200 d100')) s (as_of, known_at, expected);
SELECT is((SELECT count(*) FROM loyalty.household_members(home('K'), '2026-06-30', '2026-06-30')), 0::bigint, 'nobody knew of it then');
SELECT loyalty.set_allowance(home('K'), id('d'), 20, at => '2026-06-10') \g /dev/null
SELECT is((SELECT r.amount FROM loyalty.card_rows(id('d'), '2026-06-11') r WHERE r.section = 'household'), 0::numeric, 'nothing is left, and no less');

-- 800 points: A may spend 500 a month, B as many as there are.  A leaves, the points stay; A joins anew, and has had what it has had.
INSERT INTO person SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'), effective_at => '2026-01-01')) FROM unnest('{v,w,x,y}'::text[]) n;
INSERT INTO home SELECT 'V', household_id FROM loyalty.create_household('Family V', id('w'), '2026-02-01');
SELECT is(answer(s.statement), s.expected, format('anew %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT loyalty.join_household(home('V'), id('v'), may_spend => 500, at => '2026-02-01')$$, 'false'),
	(2, $$SELECT (loyalty.earn(home('V'), 800, effective_at => '2026-02-01')).available$$, '800'),
	(3, $$SELECT spent('V', 'v', 300, '2026-02-10')$$, '500 200'),
	(4, $$SELECT spent('V', 'v', 300, '2026-02-10')$$, 'LY612'),
	(5, $$SELECT spent('V', 'w', 500, '2026-02-11')$$, '0'),
	(6, $$SELECT (loyalty.earn(home('V'), 400, effective_at => '2026-02-12')).available$$, '400'),
	(7, $$SELECT points FROM loyalty.leave_household(home('V'), id('v'), at => '2026-02-13')$$, '0'),
	(8, $$SELECT (loyalty.balance(home('V'), 'points', '2026-02-14')).available$$, '400'),
	(9, $$SELECT spent('V', 'v', 1, '2026-02-14')$$, 'LY619'),
	(10, $$SELECT loyalty.join_household(home('V'), id('v'), may_spend => 500, at => '2026-02-20')$$, 'false'),
	(11, $$SELECT spent('V', 'v', 201, '2026-02-21')$$, 'LY612'),
	(12, $$SELECT spent('V', 'v', 200, '2026-02-21')$$, '200 0'),
	-- left before it joined anew: that is done already
	(13, $$SELECT loyalty.leave_household(home('V'), id('v'), at => '2026-02-10')$$, 'LY619'),
	(14, $$SELECT loyalty.leave_household(home('V'), id('v'), at => '2026-02-13')$$, 'LY619'),
	(15, $$SELECT loyalty.set_allowance(home('V'), id('v'), 50, at => '2026-03-10')$$, 'false'),
	(16, $$SELECT points FROM loyalty.leave_household(home('V'), id('v'), at => '2026-03-05')$$, '0'),
	-- what it was allowed later is of the membership that it has left by then
	(17, $$SELECT loyalty.join_household(home('V'), id('v'), may_spend => 150, at => '2026-03-07')$$, 'false'),
	(18, $$SELECT persons('V', '2026-03-11')$$, 'v 150, w head'),
	(19, $$SELECT spent('V', 'v', 'NaN', '2026-03-11')$$, 'LY003'),
	(20, $$SELECT spent('V', 'v', 'Infinity', '2026-03-11')$$, 'LY003'),
	(21, $$SELECT spent('V', 'v', NULL, '2026-03-11')$$, 'LY003'),
	(22, $$SELECT spent('V', 'v', -1, '2026-03-11')$$, 'LY003'),
	(23, $$SELECT spent('V', 'v', 1e30, '2026-03-11')$$, 'LY612')) s (n, statement, expected) ORDER BY s.n;

-- Own are the lots that a person brought, whoever earned them: X's 100, which went to Y, who brought 60 of them, and X 40 of another lot.
SELECT is(answer(s.statement), s.expected, format('brought %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT string_agg(loyalty.join_household(home('V'), id(n), at => '2026-04-01')::text, ' ') FROM unnest('{x,y}'::text[]) n$$, 'false false'),
	(2, $$SELECT (loyalty.earn(id('x'), 100, effective_at => '2026-03-01', expires_at => '2027-03-01')).available$$, '100'),
	(3, $$SELECT (loyalty.transfer(id('x'), id('y'), 100, effective_at => '2026-03-02')).available$$, '0'),
	(4, $$SELECT (loyalty.transfer(id('y'), home('V'), 60, effective_at => '2026-04-02')).available$$, '40'),
	(5, $$SELECT (loyalty.earn(id('x'), 40, effective_at => '2026-04-02', expires_at => '2027-06-01')).available$$, '40'),
	(6, $$SELECT (loyalty.transfer(id('x'), home('V'), 40, effective_at => '2026-04-02')).available$$, '0'),
	(7, $$SELECT points FROM loyalty.leave_household(home('V'), id('x'), 'own', '2026-04-03')$$, '40'),
	(8, $$SELECT points FROM loyalty.leave_household(home('V'), id('y'), 'own', '2026-04-03')$$, '60'),
	(9, $$SELECT (b).available || ' ' || (b).next_expiry_at::date FROM loyalty.balance(id('y')) b$$, '100 2027-03-01')) s (n, statement, expected) ORDER BY s.n;

-- An allowance is of the program's months: in Tokyo June begins at 15:00 UTC on 31 May.
SELECT FROM loyalty.configure_program(time_zone => 'Asia/Tokyo');
INSERT INTO home SELECT 'T', household_id FROM loyalty.create_household('Family T', id('x'), '2026-05-01');
SELECT loyalty.join_household(home('T'), id('y'), may_spend => 100, at => '2026-05-01'), loyalty.earn(home('T'), 500, effective_at => '2026-05-01') \g /dev/null
SELECT is(answer(s.statement), s.expected, format('months %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT spent('T', 'y', 60, '2026-05-03')$$, '440 40'),
	(2, $$SELECT spent('T', 'y', 60, '2026-05-31 14:59:59')$$, 'LY612'),
	(3, $$SELECT spent('T', 'y', 100, '2026-05-31 15:00')$$, '340 0')) s (n, statement, expected) ORDER BY s.n;
SELECT FROM loyalty.configure_program(time_zone => 'UTC');

-- Households and gift cards are no persons: nobody counts them as such, and a gift is of a person.
SELECT loyalty.define_audience('everybody', '{"joined": {}}') \g /dev/null
SELECT is((SELECT array_agg(m) FROM loyalty.unnest_members(loyalty.live_members('everybody', 0, 1000, '2026-05-02', 'infinity')) m), (SELECT array_agg(p.id ORDER BY p.id) FROM person p), 'an audience is of persons');
SELECT set_eq('SELECT member_id FROM loyalty_bi.member', 'SELECT id FROM person', 'and so is the view of members');
SELECT loyalty.define_benefit('day', '{"kind": "gift", "window": {"yearly": {"on": "05-02"}}, "gives": {"points": 1}}') \g /dev/null
SELECT is((SELECT array_agg((SELECT count(*) FROM loyalty.available_gifts(m, '2026-05-02 12:00'))) FROM unnest(ARRAY[id('a'), home('V'), (SELECT card_id FROM card)]) m), '{1,0,0}', 'a gift is of a person');
SELECT is(answer(format($$SELECT loyalty.claim_gift(%s, 'day', '2026-05-02 12:00')$$, home('V'))), 'LY609', 'who is none does not claim it');

-- Merged within a household: the survivor's allowance holds, and what both used adds up; unmerged each has its own.
INSERT INTO home SELECT 'M', household_id FROM loyalty.create_household('Family M', id('e'), '2026-07-01');
INSERT INTO person SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'))) FROM unnest('{f,g,h}'::text[]) n;
SELECT loyalty.earn(home('M'), 500, effective_at => '2026-07-01') \g /dev/null
SELECT loyalty.join_household(home('M'), id('f'), may_spend => 100, at => '2026-07-01'), loyalty.join_household(home('M'), id('g'), may_spend => 50, at => '2026-07-01') \g /dev/null
SELECT spent('M', 'f', 30, '2026-07-02'), spent('M', 'g', 40, '2026-07-02') \g /dev/null
SELECT loyalty.merge_members(id('f'), id('g')) \g /dev/null
SELECT is(answer($$SELECT spent('M', 'g', 31, '2026-07-03')$$), 'LY612', 'merged: 100 less 70');
SELECT is(persons('M', now()) || '; ' || persons('M', '2026-07-02 12:00'), 'e head, f 100; e head, f 100, g 50', 'it is one person, and was two');
SELECT is(answer($$SELECT spent('M', 'g', 30, '2026-07-03')$$), '400 0', 'and no more');
SELECT loyalty.reverse(home('M'), max(entry_id)) FROM loyalty.household_spend \g /dev/null
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(answer($$SELECT spent('M', 'f', 70, '2026-07-03')$$) || ', ' || answer($$SELECT spent('M', 'g', 10, '2026-07-03')$$), '360 0, 350 0', 'unmerged: 70, and 10');
-- across two: in the survivor's since ever, in the other's until the merge
SELECT loyalty.leave_household(home('M'), id('f'), at => '2026-07-04') \g /dev/null
SELECT loyalty.join_household(home('H'), id('f'), at => '2026-07-05') \g /dev/null
SELECT loyalty.merge_members(id('f'), id('g')) \g /dev/null
SELECT is(loyalty.household_of(id('g')) = home('H'), true, 'it is in the household of the survivor');
SELECT is(persons('M', now()) || '; ' || persons('M', '2026-07-10'), 'e head; e head, g 50', 'in the other until the merge');
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(persons('M', now()), 'e head, g 50', 'and again, without a gap');

-- A head who is merged into somebody elsewhere, or forgotten, is head no more; whoever is there for the longest time is it.
INSERT INTO person SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'))) FROM unnest('{i,j,k,l}'::text[]) n;
INSERT INTO home SELECT 'J', household_id FROM loyalty.create_household('王家', id('i'), '2026-07-01');
INSERT INTO home SELECT 'L', household_id FROM loyalty.create_household('李家', id('l'), '2026-07-01');
SELECT loyalty.join_household(home('J'), id('j'), may_spend => 100, at => '2026-07-02'), loyalty.join_household(home('J'), id('k'), at => '2026-07-03'),
	loyalty.earn(home('J'), 1000, effective_at => '2026-07-01'), loyalty.create_currency('stamps'), loyalty.earn(home('J'), 50, 'stamps', effective_at => '2026-07-01') \g /dev/null
SELECT is(persons('J', now()), 'i head, j 100, k', 'the head');
SELECT loyalty.merge_members(id('l'), id('i')) \g /dev/null
SELECT is(persons('J', now()) || '; ' || persons('J', '2026-07-10') || '; ' || persons('L', now()), 'j head 100, k; i head, j 100, k; l head', 'merged into somebody elsewhere: with the allowance that it had');
SELECT loyalty.set_allowance(home('J'), id('j'), 200, at => '2026-07-10') \g /dev/null
SELECT loyalty.unmerge_members(max(merge_id)) FROM loyalty.member_merge \g /dev/null
SELECT is(persons('J', now()), 'i head, j 200, k', 'unmerged: as it was');
SELECT loyalty.set_allowance(home('J'), id('i'), NULL, role => 'person', at => '2026-07-20') \g /dev/null
SELECT is(persons('J', now()), 'i head, j 200, k', 'one is it, also where nobody is to be');
SELECT loyalty.set_allowance(home('J'), id('k'), NULL, role => 'head', at => '2026-07-21') \g /dev/null
SELECT is(persons('J', now()), 'i, j 200, k head', 'handed over');
SELECT loyalty.forget_member(id('k')) \g /dev/null
SELECT is(persons('J', now()) || '; ' || persons('J', '2026-07-22'), 'i head, j 200; i, j 200, k head', 'who is forgotten has left');
SELECT is(answer($$SELECT spent('J', 'k', 1, now())$$) || ' ' || (loyalty.balance(home('J'))).available, 'LY619 1000', 'and the points stay');

-- What calls for a person have written leaves with it, in whosever wallet and under whosever number it stands: nothing of it
-- is in any table, and a call that is repeated books nothing again.  Whatever somebody writes into the details of an entry of
-- a household, its persons may leave.
CREATE FUNCTION has(relation regclass, word text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	found boolean;
BEGIN
	EXECUTE format('SELECT EXISTS (SELECT FROM %s x WHERE x::text LIKE $1)', relation) INTO found USING '%' || word || '%';
	RETURN found;
END
$$;
CREATE FUNCTION tables_with(word text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(c.relname, ' ' ORDER BY c.relname) FROM pg_class c
	WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND has(c.oid, word)
$$;
INSERT INTO person SELECT n, (SELECT member_id FROM loyalty.resolve_member(jsonb_build_object('email', n || '@example.com'))) FROM unnest('{m2,n2}'::text[]) n;
INSERT INTO home SELECT 'M2', household_id FROM loyalty.create_household('Home', id('m2'), '2026-01-01');
SELECT loyalty.join_household(home('M2'), id('n2'), at => '2026-01-02', idempotency_key => 'hush join'), loyalty.set_allowance(home('M2'), id('n2'), 100, at => '2026-01-03', idempotency_key => 'hush allowance'),
	loyalty.define_campaign('shared', '{"to": "household", "then": [{"points": {"give": 1, "per": 1}}]}', '2026-01-01'), loyalty.define_benefit('card', '{"kind": "card", "currency": "points"}') \g /dev/null
SELECT loyalty.record_activity(id('n2'), 'order', '2026-02-01', 120, external_id => 'hush order'), loyalty.earn(home('M2'), 5, details => '{"person_id": "nobody"}') \g /dev/null
SELECT loyalty.redeem_for(home('M2'), id('n2'), 50, effective_at => '2026-03-01', reference => 'hush purchase', idempotency_key => 'hush purchase'), loyalty.end_campaign('shared') \g /dev/null
SELECT loyalty.claim_card(id('n2'), code, reference => 'hush card', idempotency_key => 'hush card') FROM loyalty.issue_card('card', 5) \g /dev/null
SELECT is(tables_with('hush'), 'activity ledger request', 'what calls for a person have written');
SELECT is(loyalty.export_member(id('n2')) #>> '{tables,request,0,idempotency_key}' LIKE 'hush%' AND jsonb_array_length(loyalty.export_member(id('n2')) #> '{tables,request}') = 4, true, 'its keys with a household are among what is kept of it');
SELECT loyalty.forget_member(id('n2')) \g /dev/null
SELECT is(tables_with('hush'), NULL, 'is forgotten with it');
SELECT is(answer(s.statement), s.expected, format('forgotten: %s', s.statement)) FROM (VALUES
	(1, $$SELECT loyalty.join_household(home('M2'), id('n2'), at => '2026-01-02', idempotency_key => 'hush join')$$, 'LY115'),
	(2, $$SELECT loyalty.redeem_for(home('M2'), id('n2'), 50, effective_at => '2026-03-01', reference => 'hush purchase', idempotency_key => 'hush purchase')$$, 'LY115'),
	(3, $$SELECT loyalty.join_household(home('M2'), id('n2'))$$, 'LY203'),
	(4, $$SELECT loyalty.set_allowance(home('M2'), id('n2'), 5)$$, 'LY619'),
	(5, $$SELECT (loyalty.balance(home('M2'))).available$$, '75'),
	(6, $$SELECT points FROM loyalty.leave_household(home('M2'), id('m2'), 'own')$$, '0')) s (n, statement, expected) ORDER BY s.n;
SELECT is((SELECT count(*) FROM loyalty.check_all()), 0::bigint, 'and all is well');

-- An allowance is of each currency, none counted against another; one may have its own.
SELECT is(answer(s.statement), s.expected, format('currencies %s: %s', s.n, s.statement)) FROM (VALUES
	(1, $$SELECT spent('J', 'j', 150, '2026-08-01')$$, '850 50'),
	(2, $$SELECT allowance_left FROM loyalty.redeem_for(home('J'), id('j'), 20, 'stamps', '2026-08-01')$$, '180'),
	(3, $$SELECT loyalty.set_allowance(home('J'), id('j'), 30, 'year', currency => 'stamps', at => '2026-08-02')$$, 'false'),
	(4, $$SELECT allowance_left FROM loyalty.redeem_for(home('J'), id('j'), 11, 'stamps', '2026-08-03')$$, 'LY612'),
	(5, $$SELECT allowance_left FROM loyalty.redeem_for(home('J'), id('j'), 10, 'stamps', '2026-08-03')$$, '0'),
	(6, $$SELECT spent('J', 'j', 50, '2026-08-03')$$, '800 0'),
	(7, $$SELECT string_agg(concat_ws('/', m.may_spend, m.period, m.spent), ' ' ORDER BY c) FROM unnest('{points,stamps}'::text[]) c, loyalty.household_members(home('J'), '2026-08-04', currency => c) m WHERE m.member_id = id('j')$$,
		'200/month/200 30/year/30'),
	(8, $$SELECT loyalty.set_allowance(home('J'), id('j'), 30, currency => 'nothing')$$, 'LY102'),
	(9, $$SELECT loyalty.set_allowance(home('J'), id('j'), 30, currency => 'stamps', at => '2026-08-01', idempotency_key => 'a')$$, 'false'),
	(10, $$SELECT loyalty.set_allowance(home('J'), id('j'), 30, at => '2026-08-01', idempotency_key => 'a')$$, 'LY004')) s (n, statement, expected) ORDER BY s.n;

-- The card: all in one call.
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.define_ladder('club', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "gold", "any": {"visits": 10}}]}') \g /dev/null
SELECT loyalty.define_benefit(b.name, b.definition) FROM (VALUES
	('mall', '{"kind": "payment", "points": 100, "worth": 1, "money": "EUR"}'::jsonb), ('tea_5', '{"kind": "coupon", "discount": {"amount": 5}}'),
	('lounge', '{"kind": "entitlement", "quota": 4, "period": "year"}'), ('hello', '{"kind": "gift", "window": {"welcome": {"after": 30}}, "gives": {"item": "mug"}}'),
	('mug', '{"kind": "reward", "points": 100}')) b (name, definition) \g /dev/null
SELECT loyalty.earn(id('h'), 250, effective_at => '2026-08-01'), loyalty.record_qualification(id('h'), 'visits', 4, at => '2026-08-01'),
	loyalty.issue_coupon(id('h'), 'tea_5', '2026-08-01'), loyalty.use_entitlement(id('h'), 'lounge', at => '2026-08-02'),
	loyalty.order_reward(id('h'), 'mug', at => '2026-08-03'), loyalty.join_household(home('M'), id('h'), may_spend => 20, at => '2026-08-01') \g /dev/null
UPDATE loyalty.member SET joined_at = '2026-08-01' WHERE member_id = id('h');
SELECT results_eq($$SELECT r.section, r.item, r.state, r.amount::text FROM loyalty.card_rows(id('h'), '2026-08-04') r ORDER BY 1, 2$$,
	$$VALUES ('coupon', 'tea_5', 'issued', '1'), ('entitlement', 'lounge', 'open', '3'), ('gift', 'hello', 'open', NULL), ('household', 'Family M', 'person', '20'),
		('order', 'mug', 'paid', '100'), ('points', 'points', NULL, '150'), ('progress', 'club', 'reach', '6'), ('tier', 'club', NULL, NULL)$$, 'as rows');
SELECT is(loyalty.member_card(id('h'), '2026-08-04') #>> '{points,0,worth}', '1.50', 'and what points are worth');
SET enable_nestloop = off;
SELECT is(loyalty.member_card(id('h'), '2026-08-04') #>> '{points,0,worth}', '1.50', 'whatever the order in which benefits are looked at');
SELECT results_eq($$SELECT reward, affordable FROM loyalty.rewards(id('h'), '2026-08-04')$$, $$VALUES ('mug', true)$$, 'so are rewards');
RESET enable_nestloop;
SELECT is((SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(loyalty.member_card(id('h'), '2026-08-04')) k),
	'{as_of,coupon,entitlement,gift,household,member_id,order,points,progress,tier,version}', 'as one object');
SELECT is(loyalty.member_card(id('h'), '2026-07-01') - 'as_of' - 'member_id' - 'tier' - 'progress' - 'points', '{"version": 1, "entitlement": [{"item": "lounge", "state": "open", "amount": 4, "until": "2027-01-01T00:00:00+00:00",
	"allowed": 4, "used": 0, "period_start": "2026-01-01T00:00:00+00:00"}]}', 'before');
SELECT is(loyalty.member_card(0) - 'as_of' ? 'coupon', false, 'of somebody nobody knows');

SELECT throws_ok('UPDATE loyalty.household_act SET at = now()', 'LY005', NULL, 'acts are never changed');
SELECT set_eq($$SELECT e.member_id, e.payload ->> 'channel' FROM loyalty.event e WHERE e.payload ->> 'channel' IN ('household', 'gift_card')$$,
	$$SELECT m.member_id, m.joined_via FROM loyalty.member m WHERE m.status = 'no_person'$$, 'events of all that are no persons');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
SELECT * FROM finish();
