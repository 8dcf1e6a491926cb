-- Points that go back to where they came from, after a merge was undone: what
-- was redeemed, captured, released or taken back while members were one belongs
-- to the members whose lots it was.  A table of stories, then random ones that
-- end with everything given back: each member then has what it has earned.
\set ECHO none
\set QUIET on
\pset format unaligned
\pset tuples_only on
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SET jit = off;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT loyalty.create_currency('old', consumption_order => 'oldest_first') \g /dev/null
SELECT no_plan();

-- Members a, b, c; "earn b 50 3": 50 points that live 3 years, and those that live shorter go first
CREATE TABLE story (members jsonb, entry bigint, hold bigint, taken bigint, merges bigint[]);
CREATE FUNCTION pg_temp.step(said text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	w text[] := regexp_split_to_array(said, ' ');
	s story := (SELECT x FROM story x);
	m bigint := s.members ->> w[2];
	e bigint;
	n bigint := CASE WHEN w[3] ~ '^[0-9]+$' THEN w[3]::bigint END;
BEGIN
	CASE w[1]
		WHEN 'earn' THEN PERFORM loyalty.earn(m, n, expires_at => now() + w[4]::int * interval '1 year');
		WHEN 'redeem' THEN
			SELECT entry_id INTO e FROM loyalty.redeem(m, n, idempotency_key => w[4]);
			UPDATE story SET entry = e;
		WHEN 'hold' THEN
			SELECT entry_id INTO e FROM loyalty.hold(m, n, now() + interval '1 hour');
			UPDATE story SET hold = e;
		WHEN 'capture' THEN
			SELECT entry_id INTO e FROM loyalty.capture(m, s.hold, n, idempotency_key => w[4]);
			UPDATE story SET entry = e;
		WHEN 'release' THEN PERFORM loyalty.release(m, s.hold);
		WHEN 'adjust' THEN
			SELECT entry_id INTO e FROM loyalty.adjust(m, -n, 'test');
			UPDATE story SET entry = e;
		WHEN 'refund' THEN PERFORM loyalty.reverse(m, s.entry, n, idempotency_key => w[4]);
		WHEN 'many' THEN PERFORM * FROM loyalty.post_many(ARRAY[(s.members ->> 'c')::bigint, m], '{earn,reverse}', ARRAY[1, n], target_entry_ids => ARRAY[NULL, s.entry]);
		WHEN 'return' THEN
			-- of everything the member earned first
			SELECT r.entry_id INTO e FROM (SELECT min(entry_id) AS entry_id FROM loyalty.ledger WHERE kind = 'earn' AND coalesce(home_id, member_id) = m) x,
				loyalty.reverse(m, x.entry_id) r;
			UPDATE story SET taken = e;
		WHEN 'undo' THEN PERFORM loyalty.reverse(m, s.taken);
		WHEN 'mistake' THEN
			SELECT entry_id INTO e FROM loyalty.reverse(m, s.entry, n);
			UPDATE story SET taken = e;
		WHEN 'merge' THEN
			SELECT merge_id INTO e FROM loyalty.merge_members(m, (s.members ->> w[3])::bigint);
			UPDATE story SET merges = e || merges;
		WHEN 'unmerge' THEN
			PERFORM loyalty.unmerge_members(s.merges[1]);
			UPDATE story SET merges = merges[2:];
	END CASE;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	IF SQLSTATE LIKE 'LY%' THEN
		RETURN SQLSTATE;
	END IF;
	RAISE;
END $$;
CREATE FUNCTION pg_temp.story(steps text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	told text := '';
	said text;
BEGIN
	INSERT INTO story SELECT jsonb_object_agg(x, r.member_id), NULL, NULL, NULL, '{}'
	FROM unnest('{a,b,c}'::text[]) x, LATERAL loyalty.resolve_member(jsonb_build_object('email', x || '@x.example')) r;
	FOREACH said IN ARRAY regexp_split_to_array(steps, ', ') LOOP
		told := concat_ws(' ', told, pg_temp.step(said));
	END LOOP;
	told := concat(ltrim(told || ' '), (SELECT string_agg(concat_ws(' ', m.key, b.available, CASE WHEN b.held > 0 THEN 'held ' || b.held END,
			CASE WHEN b.debt > 0 THEN 'owes ' || b.debt END), ', ' ORDER BY m.key)
		FROM story, jsonb_each_text(members) m, loyalty.balance(m.value::bigint) b WHERE m.key < 'c' OR b.available > 0),
		(SELECT ' ' || c FROM loyalty.check_all() c LIMIT 1), (SELECT nullif(' wallets ' || loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1)), ' wallets 0')));
	RAISE EXCEPTION USING ERRCODE = 'LYRLB';
EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
	RETURN told;
END $$;

SELECT is(pg_temp.story('earn a 10 2, earn b 50 1, merge a b, ' || steps), have, steps) FROM (VALUES
	-- 50 of b's lot, then 5 of a's
	('redeem a 55', 'a 5, b 5'),
	('redeem a 55, refund a', 'a 60, b 60'),
	('redeem a 55, unmerge, refund a', 'a 10, b 50'),
	('redeem a 55, refund a, unmerge', 'a 10, b 50'),
	('redeem b 55, unmerge, refund b', 'a 10, b 50'),
	('redeem b 55, unmerge, refund a', 'LY103 a 5, b 0'),
	-- what was consumed last comes back first
	('redeem a 55, unmerge, refund a 5', 'a 10, b 0'),
	('redeem a 55, unmerge, refund a 6', 'a 10, b 1'),
	('redeem a 55, unmerge, refund a 5, refund a 30, refund a', 'a 10, b 50'),
	('redeem a 55, refund a 20, unmerge, refund a 30', 'a 10, b 45'),
	('redeem a 55, unmerge, refund a 20, merge a b, refund a', 'a 60, b 60'),
	('redeem a 55, unmerge, refund a 20, merge b a, refund a, unmerge', 'a 10, b 50'),
	('redeem a 55, unmerge, refund a, refund a', 'LY105 a 10, b 50'),
	('redeem a 55, unmerge, refund a 56', 'LY105 a 5, b 0'),
	-- a key books once, whoever got the points
	('redeem a 55, unmerge, refund a 5 k, refund a 5 k', 'a 10, b 0'),
	('redeem a 55, unmerge, refund a 5, refund a 20 k, refund a 20 k', 'a 10, b 20'),
	('redeem a 55, unmerge, refund a 30 k, merge b a, refund a 30 k', 'a 35, b 35'),
	('redeem a 55, unmerge, refund a 30 k, refund a 20 k', 'LY004 a 10, b 25'),
	-- and is used up for the member to whom the call was addressed: nobody else's call is its repetition once they are two
	('redeem b 5 k, redeem a 5 k', 'a 55, b 55'),
	('redeem b 5 k, unmerge, redeem b 5 k', 'a 10, b 45'),
	('redeem b 5 k, unmerge, redeem a 5 k', 'LY004 a 10, b 45'),
	('redeem b 20 k, unmerge, redeem a 20 k', 'LY004 a 10, b 30'),
	('redeem b 5 k, unmerge, redeem a 6 k', 'LY004 a 10, b 45'),
	('redeem a 5 k, unmerge, redeem a 5 k', 'a 10, b 45'),
	('redeem a 5 k, unmerge, redeem b 5 k', 'a 10, b 40'),
	('redeem b 5 k, unmerge, merge a b, redeem a 5 k', 'a 55, b 55'),
	('redeem b 5 k, unmerge, merge b a, redeem a 5 k', 'a 55, b 55'),
	('redeem b 5 k, unmerge, merge c a, redeem a 5 k', 'a 5, b 45, c 5'),
	-- only the other's lots
	('redeem a 40, unmerge, refund a', 'a 10, b 50'),
	('redeem a 40, unmerge, refund a 15', 'a 10, b 25'),
	('redeem b 40, unmerge, refund b', 'a 10, b 50'),
	-- in a batch, with a wallet after both
	('redeem a 55, unmerge, many a 55', 'a 10, b 50, c 1'),
	-- the adjustment of an operator
	('adjust a 55, unmerge, refund a', 'a 10, b 50'),
	-- each repays his own debt
	('redeem a 55, unmerge, return b, refund a', 'a 10, b 0'),
	('redeem a 55, unmerge, return a, refund a', 'a 0, b 50'),
	('redeem a 55, unmerge, return b, return a, refund a', 'a 0, b 0'),
	('redeem a 55, unmerge, return b, refund a 30', 'a 10, b 0 owes 25'),
	-- the owner has been merged into a third, or the asker has
	('redeem a 55, unmerge, merge c b, refund a', 'a 10, b 50, c 50'),
	('redeem a 55, unmerge, merge c b, refund a, unmerge', 'a 10, b 50'),
	('redeem a 55, unmerge, merge c a, refund a', 'a 10, b 50, c 10'),
	('earn c 7 3, merge c a, redeem a 62, unmerge, unmerge, refund a', 'a 10, b 50, c 7'),
	('earn c 7 3, merge c a, redeem b 62, unmerge, unmerge, refund b', 'a 10, b 50, c 7'),
	-- lots of whoever stands for the one addressed are his own
	('earn c 7 1, merge c a, redeem b 60, refund b, unmerge, unmerge', 'a 10, b 50, c 7'),
	-- holds: what was set aside together is captured and released together
	('hold a 55', 'a 5 held 55, b 5 held 55'),
	('hold a 55, unmerge', 'a 5 held 5, b 0 held 50'),
	('hold a 55, unmerge, capture a', 'a 5, b 0'),
	('hold a 55, unmerge, capture b', 'a 5, b 0'),
	('hold a 55, unmerge, capture a 52', 'a 8, b 0'),
	('hold a 55, unmerge, capture a 30', 'a 10, b 20'),
	('hold a 55, unmerge, release a', 'a 10, b 50'),
	('hold a 55, unmerge, release b', 'a 10, b 50'),
	('hold a 55, unmerge, capture a 56', 'LY101 a 5 held 5, b 0 held 50'),
	('hold a 55, unmerge, capture a, capture a', 'LY107 a 5, b 0'),
	('hold a 55, unmerge, capture a 55 k, capture a 55 k', 'a 5, b 0'),
	('hold a 40, unmerge, capture a 40 k, capture a 40 k', 'a 10, b 10'),
	('hold a 55, unmerge, capture a, refund a', 'a 10, b 50'),
	('hold a 55, unmerge, capture a, refund a 20', 'a 10, b 15'),
	('hold a 55, unmerge, capture a, refund a 20, refund a 35', 'a 10, b 50'),
	('hold a 55, unmerge, capture a, refund a 56', 'LY105 a 5, b 0'),
	('hold a 55, capture a, unmerge, refund a', 'a 10, b 50'),
	('hold a 55, unmerge, merge c b, capture a, refund a', 'a 10, b 50, c 50'),
	-- returns: the order of b, after and before the undoing
	('unmerge, return b', 'a 10, b 0'),
	('return b, unmerge', 'a 10, b 0'),
	('redeem a 55, unmerge, return b', 'a 5, b 0 owes 50'),
	('redeem a 55, return b', 'a 0 owes 45, b 0 owes 45'),
	('redeem a 55, return b, unmerge', 'a 0, b 0 owes 45'),
	-- and what such reversals did is undone where it was done
	('return b, unmerge, undo b', 'a 10, b 50'),
	('redeem a 55, return b, unmerge, undo b', 'a 5, b 0'),
	('redeem a 55, return b, unmerge, undo b, refund a', 'a 10, b 50'),
	('redeem a 55, mistake a, unmerge, undo a', 'a 5, b 0'),
	('redeem a 55, mistake a 20, unmerge, undo a', 'a 5, b 0'),
	('redeem a 55, mistake a 20, unmerge, undo a, refund a', 'a 10, b 50'),
	('redeem a 55, unmerge, mistake a 20, undo a', 'LY114 a 10, b 15'),
	('redeem a 40, unmerge, mistake a 20, merge a b, undo a', 'a 20, b 20')) v (steps, have);

-- Five members, whose points are given back in the end: everybody has what he
-- has earned himself, wherever it was spent and whoever stood for him then.
\set soak `test -n "$LOYALTY_SOAK" && echo true || echo false`
\if :soak \set stories 300 \else \set stories 120 \endif
\set seed `echo "${LOYALTY_SEED:-$(test -n "$LOYALTY_SOAK" && date +%j || echo 1)}"`
CREATE FUNCTION pg_temp.someone() RETURNS bigint LANGUAGE sql VOLATILE AS
	$$ SELECT member_id FROM loyalty.member ORDER BY random() LIMIT 1 $$;
CREATE FUNCTION pg_temp.act() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	m bigint := pg_temp.someone();
	currency text := CASE WHEN random() < 0.7 THEN 'points' ELSE 'old' END;
	points bigint := 1 + floor(random() * 40);
	e record;
BEGIN
	SELECT coalesce(l.home_id, l.member_id) AS m, l.entry_id, l.kind INTO e FROM loyalty.ledger l
	WHERE l.kind = ANY (CASE WHEN random() < 0.5 THEN '{hold}'::text[] ELSE '{redeem,capture}' END) ORDER BY random() LIMIT 1;
	CASE floor(random() * 12)::int
		WHEN 0, 1, 2 THEN PERFORM loyalty.earn(m, points, currency, expires_at => now() + floor(random() * 20) * interval '1 year' + interval '1 year');
		WHEN 3, 4 THEN PERFORM loyalty.redeem(m, points, currency);
		WHEN 5 THEN PERFORM loyalty.hold(m, points, now() + interval '1 hour', currency);
		WHEN 6, 7 THEN
			CASE WHEN e.kind IS NULL THEN NULL;
				WHEN e.kind = 'hold' AND random() < 0.6 THEN PERFORM loyalty.capture(e.m, e.entry_id, CASE WHEN random() < 0.5 THEN points END);
				WHEN e.kind = 'hold' THEN PERFORM loyalty.release(e.m, e.entry_id);
				ELSE PERFORM loyalty.reverse(e.m, e.entry_id, CASE WHEN random() < 0.6 THEN points / 3 + 1 END); END CASE;
		WHEN 8, 9 THEN PERFORM loyalty.merge_members(m, pg_temp.someone());
		ELSE PERFORM loyalty.unmerge_members(x.merge_id) FROM loyalty.member_merge x WHERE x.unmerged_at IS NULL ORDER BY random() LIMIT 1;
	END CASE;
EXCEPTION WHEN OTHERS THEN
	IF SQLSTATE NOT LIKE 'LY1%' AND SQLSTATE NOT LIKE 'LY2%' THEN
		RAISE;
	END IF;
END $$;
CREATE FUNCTION pg_temp.give_back() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	e record;
BEGIN
	-- before or after the members are others again
	FOR i IN 1 .. 2 LOOP
		FOR e IN SELECT coalesce(l.home_id, l.member_id) AS m, l.* FROM loyalty.ledger l WHERE l.kind IN ('hold', 'redeem', 'capture')
				AND (i = 2 OR random() < 0.3) ORDER BY (l.kind = 'capture'), random() LOOP
			BEGIN
				IF e.kind = 'hold' THEN
					PERFORM loyalty.release(e.m, e.entry_id);
				ELSE
					PERFORM loyalty.reverse(e.m, e.entry_id);
				END IF;
			EXCEPTION WHEN SQLSTATE 'LY105' OR SQLSTATE 'LY107' THEN
				NULL;
			END;
		END LOOP;
		PERFORM loyalty.unmerge_members(x.merge_id) FROM loyalty.member_merge x WHERE x.unmerged_at IS NULL;
	END LOOP;
	RETURN (SELECT format('member %s has %s %s of %s', m.member_id, b.available, c.code, x.earned)
		FROM loyalty.member m, loyalty.currency c, LATERAL (SELECT coalesce(sum(l.points), 0) AS earned FROM loyalty.ledger l
			WHERE l.kind = 'earn' AND l.currency = c.code AND coalesce(l.home_id, l.member_id) = m.member_id) x, loyalty.balance(m.member_id, c.code) b
		WHERE b.available <> x.earned OR b.held > 0 OR b.debt > 0 LIMIT 1);
END $$;
CREATE TABLE finding (story int, what text);
CREATE TABLE tally (stories int, entries bigint, parts bigint);
INSERT INTO tally VALUES (0, 0, 0);
CREATE PROCEDURE pg_temp.run(stories int, seed int) LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
	n bigint;
	more bigint;
BEGIN
	FOR s IN 1 .. stories LOOP
		PERFORM setseed((seed - 1) % 25 * 0.04 + s / 100000.0);
		BEGIN
			PERFORM loyalty.resolve_member(jsonb_build_object('email', i || '@x.example')) FROM generate_series(1, 5) i;
			PERFORM loyalty.earn(member_id, 30, expires_at => now() + member_id % 7 * interval '1 year' + interval '1 year') FROM loyalty.member;
			FOR i IN 1 .. 40 LOOP
				PERFORM pg_temp.act();
			END LOOP;
			wrong := (SELECT c::text FROM loyalty.check_all() c LIMIT 1);
			wrong := coalesce(wrong, pg_temp.give_back(), (SELECT c::text FROM loyalty.check_all() c LIMIT 1),
				nullif('wallets ' || loyalty.rebuild_wallets_of(ARRAY(SELECT DISTINCT member_id FROM loyalty.ledger ORDER BY 1)), 'wallets 0'));
			SELECT count(*), count(*) FILTER (WHERE l.kind = 'reverse' AND t.member_id <> l.member_id) INTO n, more
			FROM loyalty.ledger l LEFT JOIN loyalty.ledger t ON t.entry_id = l.target_entry_id;
			RAISE EXCEPTION USING ERRCODE = 'LYRLB';
		EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
			NULL;
		END;
		UPDATE tally t SET stories = t.stories + 1, entries = t.entries + n, parts = t.parts + more;
		IF wrong IS NOT NULL THEN
			INSERT INTO finding VALUES (s, wrong);
			EXIT WHEN (SELECT count(*) FROM finding) >= 5;
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL pg_temp.run(:stories, :seed);
SELECT diag(format('%s stories: %s entries, %s of them reversals in another wallet', stories, entries, parts)) FROM tally;
SELECT is_empty('TABLE finding', format('%s random stories: what is given back goes to whoever earned it', :stories));
SELECT cmp_ok((SELECT parts FROM tally), '>', :stories / 4::bigint, 'much of it to other wallets');
-- the error names the member for whom the key was used
SELECT member_id AS one FROM loyalty.resolve_member('{"email": "one@x.example"}') \gset
SELECT member_id AS other FROM loyalty.resolve_member('{"email": "other@x.example"}') \gset
SELECT loyalty.earn(:one, 30), loyalty.earn(:other, 30) \g /dev/null
SELECT merge_id FROM loyalty.merge_members(:one, :other) \gset
SELECT loyalty.redeem(:other, 20, idempotency_key => 'bk') \g /dev/null
SELECT loyalty.unmerge_members(:merge_id) \g /dev/null
SELECT throws_ok(format('SELECT loyalty.redeem(%s, 20, idempotency_key => ''bk'')', :one), 'LY004',
	format('idempotency key "bk" was used for member %s', :other), 'a key that another member has used');
SELECT * FROM finish();
