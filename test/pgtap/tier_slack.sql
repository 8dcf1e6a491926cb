-- tier: postings that change no tier leave its state alone, and every answer is
-- what a replay of the facts gives: at random instants of random histories, for
-- each kind of window, validity and end.
\set members `echo ${LOYALTY_SOAK:+36}`
CREATE EXTENSION pgtap;
CREATE EXTENSION loyalty CASCADE;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
-- by statements there is no slack
SET loyalty.table_access = on;
SELECT no_plan();
SELECT ok(loyalty.setup() IS NOT NULL, 'set up');
SELECT setseed(0.1);
SELECT coalesce(nullif(:'members', '')::integer, 12) AS members
\gset

-- A ladder for each currency: some that leave slack, and some that cannot.
CREATE TABLE kind (ladder text, definition jsonb, slack boolean);
INSERT INTO kind VALUES
	('rolling', '{"time_zone": "Europe/Berlin", "measures": [{"measure": "rolling", "window": "rolling", "interval": "3 months"}], "validity": "interval", "validity_interval": "6 months", "at_end": "soft_landing",
		"levels": [{"level": "a"}, {"level": "b", "all": {"rolling": 300}}, {"level": "c", "all": {"rolling": 700}, "renew": {"all": {"rolling": 200}}}, {"level": "d", "all": {"rolling": 1500}}]}', true),
	('days', '{"measures": [{"measure": "days", "window": "rolling", "interval": "50 days"}], "levels": [{"level": "a", "all": {"days": 200}}, {"level": "b", "all": {"days": 600}}]}', true),
	('month', '{"time_zone": "America/Los_Angeles", "measures": [{"measure": "month", "window": "month"}], "period": "month", "validity": "period", "at_end": "reassess", "carry_over": true,
		"levels": [{"level": "a"}, {"level": "b", "all": {"month": 150}}, {"level": "c", "all": {"month": 400}}]}', true),
	('quarter', '{"measures": [{"measure": "quarter", "window": "quarter"}], "period": "quarter", "validity": "period", "at_end": "reassess", "grace": "20 days", "returns": "keep",
		"levels": [{"level": "a", "all": {"quarter": 50}}, {"level": "b", "all": {"quarter": 350}}, {"level": "c", "all": {"quarter": 900}, "at_end": "never_down"}]}', true),
	('year', '{"time_zone": "Asia/Shanghai", "measures": [{"measure": "year", "window": "year"}], "period": "year", "validity": "period", "at_end": "soft_landing", "upgrade": "next_period", "returns": "take_back",
		"levels": [{"level": "a"}, {"level": "b", "all": {"year": 800}}, {"level": "c", "all": {"year": 2000}}]}', true),
	('anniversary', '{"measures": [{"measure": "anniversary", "window": "anniversary"}], "period": "anniversary", "validity": "period", "at_end": "reassess", "minimum": "a", "carry_over": true, "returns": "take_back",
		"levels": [{"level": "a"}, {"level": "b", "all": {"anniversary": 900}}, {"level": "c", "all": {"anniversary": 2500}}]}', true),
	('term', '{"measures": [{"measure": "term", "window": "term"}], "validity": "interval", "validity_interval": "100 days", "at_end": "reassess", "grace": "15 days", "carry_over": true, "returns": "take_back",
		"levels": [{"level": "a", "all": {"term": 30}}, {"level": "b", "all": {"term": 400}}, {"level": "c", "all": {"term": 1000}}]}', true),
	('lifetime', '{"measures": [{"measure": "lifetime", "window": "lifetime"}], "returns": "take_back",
		"levels": [{"level": "a"}, {"level": "b", "all": {"lifetime": 1000.5}}, {"level": "c", "all": {"lifetime": 5000}}, {"level": "d", "all": {"lifetime": 12000}}]}', true),
	('several', '{"measures": [{"measure": "several", "window": "lifetime"}, {"measure": "lately", "window": "rolling", "interval": "1 month"}], "validity": "interval", "validity_interval": "60 days",
		"at_end": "reassess", "returns": "take_back", "levels": [{"level": "a"}, {"level": "b", "any": {"several": 900, "lately": 300}}, {"level": "c", "need": 2, "of": {"several": 3000, "lately": 150}}]}', true),
	('latest', '{"measures": [{"measure": "latest", "window": "latest"}], "levels": [{"level": "a"}, {"level": "b", "all": {"latest": 30}}]}', false),
	('visits', '{"measures": [{"measure": "visits", "window": "lifetime"}, {"measure": "bought", "window": "lifetime"}], "levels": [{"level": "a"}, {"level": "b", "all": {"visits": 3, "bought": 500}}]}', false);
SELECT loyalty.create_currency(ladder) FROM kind \g /dev/null
SELECT loyalty.define_measure(ladder, 'points', ladder) FROM kind WHERE ladder <> 'visits' \g /dev/null
SELECT loyalty.define_measure('lately', 'points', 'several', pending => true) \g /dev/null
SELECT loyalty.define_measure('bought', 'points', 'visits') \g /dev/null
SELECT loyalty.define_measure('visits') \g /dev/null
SELECT loyalty.define_ladder(ladder, definition) FROM kind \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, :members);
CREATE TABLE somebody AS SELECT member_id FROM loyalty.member;

-- Merges come at the instants of the histories.
CREATE FUNCTION merge_at(merge_id bigint, survivor_id bigint, absorbed_id bigint) RETURNS jsonb LANGUAGE sql AS
	$$SELECT to_jsonb(loyalty.merge_tier($1, $2, $3, current_setting('test.merged_at')::timestamptz)::text)$$;
UPDATE loyalty.merge_handler SET merge_function = 'public.merge_at' WHERE room = 'tier';

-- Truth: with known_at, tier_of() replays all facts.
CREATE TABLE wrong (n integer, what text, member_id bigint, ladder text, as_of timestamptz, stored text, truth text);
CREATE TABLE asked (n bigint);
CREATE FUNCTION compare(n integer, what float8, member_id bigint, ladder text, as_of timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	stored text := loyalty.tier_of(member_id, ladder, as_of);
	truth text := loyalty.tier_of(member_id, ladder, as_of, clock_timestamp());
	problem text := loyalty.tier_problem(member_id, ladder);
	at_once text;
	from_facts text;
BEGIN
	INSERT INTO asked VALUES (n);
	IF stored IS DISTINCT FROM truth THEN
		INSERT INTO wrong VALUES (n, 'tier_of after ' || what, member_id, ladder, as_of, stored, truth);
	END IF;
	IF problem IS NOT NULL AND EXISTS (SELECT FROM loyalty.tier_state s WHERE s.member_id = $3 AND s.ladder = $4) THEN
		INSERT INTO wrong VALUES (n, 'check_tier after ' || what, member_id, ladder, as_of, problem);
	END IF;
	SELECT string_agg(p::text, ' ' ORDER BY p::text) INTO at_once FROM loyalty.tier_progress(member_id, ladder, as_of) p;
	BEGIN
		DELETE FROM loyalty.tier_state s WHERE s.ladder = $4;
		SELECT string_agg(p::text, ' ' ORDER BY p::text) INTO from_facts FROM loyalty.tier_progress(member_id, ladder, as_of) p;
		RAISE EXCEPTION USING ERRCODE = 'ZZ001';
	EXCEPTION
		WHEN SQLSTATE 'ZZ001' THEN
			NULL;
	END;
	IF at_once IS DISTINCT FROM from_facts THEN
		INSERT INTO wrong VALUES (n, 'tier_progress after ' || what, member_id, ladder, as_of, at_once, from_facts);
	END IF;
END $$;

-- The very last point that changes nothing, and the one after it, for each kind
-- of window: across the end of a year, and where what leaves a window is negative.
CREATE FUNCTION edge(member_id bigint, ladder text, points bigint[], ats timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text := '';
BEGIN
	FOR i IN 1 .. cardinality(points) LOOP
		IF points[i] > 0 THEN
			PERFORM loyalty.earn($1, points[i], $2, ats[i]);
		ELSE
			PERFORM loyalty.adjust($1, points[i], 'test', $2, ats[i]);
		END IF;
		answer := answer || coalesce(loyalty.tier_of($1, $2, ats[i]), '-')
			|| CASE WHEN (SELECT s.evaluated_at < ats[i] FROM loyalty.tier_state s WHERE s.member_id = $1 AND s.ladder = $2) THEN '.' ELSE '' END;
	END LOOP;
	RETURN answer;
END $$;
-- a dot: the state was left alone; the first entry replays, and leaves no slack
INSERT INTO loyalty.member (member_id) SELECT generate_series(1001, 1007);
SELECT is(edge(1000 + row_number() OVER (), ladder, points, ats::timestamptz[]), expected, format('%s: %s', ladder, expected)) FROM (VALUES
	('rolling', '{100,100,5,94,1}'::bigint[], '{2018-11-20,2018-12-15,2019-01-02,2019-01-03,2019-01-04}'::text[], 'aaaa.b'),
	('rolling', '{200,-150,10,100,80,59,1,49,1}', '{2018-11-01,2018-11-20,2018-12-02,2018-12-03,2019-02-10,2019-02-11,2019-02-12,2019-02-22,2019-02-23}', 'aaa.a.a.a.aa.b'),
	('days', '{100,50,4,30,15,1}', '{2018-12-01,2018-12-10,2018-12-11,2019-01-02,2019-01-03,2019-01-04}', '----.-.a'),
	('month', '{10,10,100,29,1}', '{2019-01-05,2019-01-06,2019-01-07,2019-01-08,2019-01-09}', 'aaa.a.b'),
	('quarter', '{60,10,100,179,1}', '{2019-01-05,2019-01-06,2019-01-07,2019-01-08,2019-01-09}', 'aaa.a.b'),
	('lifetime', '{10,10,880,100,1,100}', '{2019-01-05,2019-01-06,2019-01-07,2019-01-08,2019-01-09,2019-01-10}', 'aaa.a.bb.'),
	('latest', '{10,29,1,30}', '{2019-01-05,2019-01-06,2019-01-07,2019-01-08}', 'aaab')) v (ladder, points, ats, expected);
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'as a replay has it');

CREATE PROCEDURE live(rounds integer) LANGUAGE plpgsql AS $$
DECLARE
	t timestamptz := '2010-12-01';	-- so that also ten years of a long run are over
	addressed bigint;
	m bigint;
	l text;
	what float8;
	size float8;
	other bigint;
	merge_row record;
BEGIN
	FOR n IN 1 .. rounds LOOP
		t := t + random() * random() * interval '20 hours';
		SELECT s.member_id INTO addressed FROM somebody s ORDER BY random() LIMIT 1;
		SELECT k.ladder INTO l FROM kind k ORDER BY random() LIMIT 1;
		m := loyalty.canonical_member(addressed);
		what := random();
		size := random();
		IF what < 0.80 THEN
			-- by statements, too, and for whom another stands
			PERFORM set_config('loyalty.table_access', CASE WHEN size < 0.03 THEN 'off' ELSE 'on' END, true);
			PERFORM loyalty.earn(CASE WHEN n % 2 = 0 THEN m ELSE addressed END, 1 + (size * size * 40)::bigint, l, t);
			PERFORM set_config('loyalty.table_access', 'on', true);
		ELSIF what < 0.82 THEN
			PERFORM loyalty.adjust(m, 60 - (size * 80)::bigint, 'test', l, t) FROM loyalty.balance(m, l) b WHERE b.available > 80 AND (size * 80)::bigint <> 60;
		ELSIF what < 0.85 THEN
			-- late
			PERFORM loyalty.earn(m, 1 + (size * 100)::bigint, l, t - size * interval '60 days');
		ELSIF what < 0.87 THEN
			-- at the very instant of another
			PERFORM loyalty.earn(m, 5, l, e.effective_at)
			FROM (SELECT x.effective_at FROM loyalty.ledger x WHERE x.member_id = m AND x.currency = l ORDER BY x.entry_id DESC LIMIT 1) e;
		ELSIF what < 0.89 THEN
			PERFORM loyalty.earn(m, 1 + (size * 100)::bigint, l, t, CASE WHEN n % 2 = 0 THEN t + size * interval '40 days' END, pending => n % 2 = 1);
		ELSIF what < 0.91 THEN
			-- of his own: what came while another was merged with him went with that one
			PERFORM loyalty.reverse(m, e.entry_id, effective_at => greatest(t, e.effective_at))
			FROM (SELECT x.entry_id, x.effective_at FROM loyalty.ledger x WHERE x.member_id = m AND x.currency = l AND x.kind = 'earn' AND loyalty.canonical_member(coalesce(x.home_id, m)) = m
					AND NOT EXISTS (SELECT FROM loyalty.ledger r WHERE r.member_id = m AND r.target_entry_id = x.entry_id)
					AND (n % 3 <> 0 OR x.available_at IS NOT NULL) ORDER BY x.entry_id DESC LIMIT 1) e;
		ELSIF what < 0.92 THEN
			PERFORM loyalty.activate(m, e.entry_id, greatest(t, e.effective_at))
			FROM (SELECT x.entry_id, x.effective_at FROM loyalty.ledger x WHERE x.member_id = m AND x.currency = l AND x.kind = 'earn' AND x.available_at IS NULL AND loyalty.canonical_member(coalesce(x.home_id, m)) = m
					AND NOT EXISTS (SELECT FROM loyalty.ledger r WHERE r.member_id = m AND r.target_entry_id = x.entry_id) LIMIT 1) e;
		ELSIF what < 0.93 THEN
			PERFORM loyalty.grant_tier(m, l, (SELECT x.level FROM loyalty.tier_level x WHERE x.ladder = l ORDER BY random() LIMIT 1), 'manual',
				t - interval '10 days' + size * interval '30 days', t + (1 + size) * interval '40 days');
		ELSIF what < 0.935 THEN
			PERFORM loyalty.set_joined(m, t - size * interval '3 years');
		ELSIF what < 0.955 THEN
			PERFORM loyalty.book_tiers_of(ARRAY[m], t);
		ELSIF what < 0.97 THEN
			PERFORM loyalty.evaluate_member_tiers(m, CASE WHEN size < 0.5 THEN l END, t);
		ELSIF what < 0.975 THEN
			PERFORM loyalty.record_qualification(m, 'visits', 1, t);
		ELSIF what < 0.98 THEN
			-- what is rolled back has never been
			BEGIN
				PERFORM loyalty.earn(m, 400, l, t), loyalty.earn(m, 1, l, t + interval '1 second');
				RAISE EXCEPTION USING ERRCODE = 'ZZ001';
			EXCEPTION
				WHEN SQLSTATE 'ZZ001' THEN
					NULL;
			END;
		ELSIF what < 0.985 THEN
			CREATE TEMP TABLE history ON COMMIT DROP AS
			SELECT m AS member_id, l AS currency, (1 + i * size * 10)::bigint AS points, t + i * interval '1 hour' AS effective_at FROM generate_series(1, 4) i;
			PERFORM loyalty.backfill('history');
			DROP TABLE history;
			t := t + interval '5 hours';
		ELSIF what < 0.99 THEN
			PERFORM loyalty.post_many(ARRAY[m, m, m], '{earn,earn,earn}', ARRAY[1, 2, 30], ARRAY[l, l, l], effective_ats => ARRAY[t, t, t + interval '1 minute']);
		ELSIF what < 0.991 THEN
			SELECT loyalty.canonical_member(s.member_id) INTO other FROM somebody s ORDER BY random() LIMIT 1;
			IF other <> m THEN
				PERFORM set_config('test.merged_at', t::text, true);
				PERFORM loyalty.merge_members(other, m);
			END IF;
		ELSE
			FOR merge_row IN SELECT x.merge_id FROM loyalty.tier_merge x WHERE x.survivor_id = m AND x.unmerged_at IS NULL ORDER BY x.merge_id DESC LIMIT 1 LOOP
				PERFORM loyalty.unmerge_members(merge_row.merge_id);
			END LOOP;
		END IF;
		-- some acts bring states up to the present, where no fact of ours would be
		-- in order; the next one makes such a state anew
		DELETE FROM loyalty.tier_history h USING loyalty.tier_state x
		WHERE x.evaluated_at > t + interval '50 days' AND x.merged_into IS NULL AND (h.member_id, h.ladder) = (x.member_id, x.ladder);
		DELETE FROM loyalty.tier_state x WHERE x.evaluated_at > t + interval '50 days' AND x.merged_into IS NULL;
		IF n % 3 = 0 THEN
			PERFORM compare(n, what, m, l, t + (random() * 300 - 30) * interval '1 day');
			PERFORM compare(n, what, m, l, t);
		END IF;
		IF n % 500 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;
CALL live(:members * 500);

SELECT cmp_ok(count(*), '>', :members * 300::bigint, 'many answers') FROM asked;
SELECT is_empty('SELECT * FROM wrong ORDER BY n LIMIT 20', 'are what a replay gives');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and so is all that is stored');
SELECT set_eq($$SELECT DISTINCT s.ladder FROM loyalty.tier_state s WHERE s.counted_to IS NOT NULL$$,
	$$SELECT ladder FROM kind WHERE slack$$, 'on which ladders states leave entries out');
SELECT cmp_ok(count(*), '>', (:members * 5)::bigint, 'many entries are left out at the end')
FROM loyalty.tier_state s JOIN loyalty.ledger e ON e.member_id = s.member_id AND e.entry_id > s.counted_to AND e.currency = s.ladder;
SELECT is_empty($$SELECT FROM loyalty.wallet w JOIN loyalty.tier_state s ON s.member_id = w.member_id AND s.ladder = w.currency
	WHERE w.tiers IS NOT NULL AND s.counted_to IS NULL$$, 'where a wallet has a note, the state knows');

-- To evaluate them all, those of whom no state is there too, and again.
CREATE FUNCTION pg_temp.stored() RETURNS bigint LANGUAGE sql AS
$$SELECT coalesce(r.result, 0) FROM loyalty.job_run r WHERE r.job = 'evaluate_tiers' AND r.status = 'finished' ORDER BY r.run_id DESC LIMIT 1$$;
SELECT min(evaluated_at) AS earliest FROM loyalty.tier_state \gset
CALL loyalty.evaluate_tiers(as_of => :'earliest');
CREATE TABLE kept AS SELECT member_id, ladder, counted_to FROM loyalty.tier_state;
CALL loyalty.evaluate_tiers(as_of => :'earliest');
SELECT is(pg_temp.stored(), 0::bigint, 'evaluate_tiers() finds them right');
SELECT set_eq('SELECT member_id, ladder, counted_to FROM loyalty.tier_state', 'SELECT * FROM kept', 'and leaves them alone');
CALL loyalty.book_tiers();
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'booked');

-- States that are deleted and made anew: what wallets note is of the old ones.
DELETE FROM loyalty.tier_history;
DELETE FROM loyalty.tier_state;
CALL loyalty.evaluate_tiers();
SELECT is_empty('SELECT * FROM loyalty.check_tier()', 'made anew');
SELECT is_empty('SELECT FROM loyalty.wallet WHERE tiers IS NOT NULL AND currency IN (SELECT ladder FROM kind WHERE slack)', 'no note is left');

-- A version makes all notes void.
SELECT loyalty.earn(member_id, 1, 'lifetime') FROM somebody \g /dev/null
SELECT isnt_empty($$SELECT FROM loyalty.tier_state WHERE ladder = 'lifetime' AND counted_to IS NOT NULL$$, 'slack again');
SELECT loyalty.define_ladder('lifetime', '{"measures": [{"measure": "lifetime", "window": "lifetime"}], "levels": [{"level": "a"}, {"level": "b", "all": {"lifetime": 1}}]}') \g /dev/null
SELECT loyalty.earn(member_id, 1, 'lifetime') FROM somebody \g /dev/null
SELECT is_empty($$SELECT FROM loyalty.tier_state s WHERE s.ladder = 'lifetime' AND s.level IS DISTINCT FROM 'b' AND s.merged_into IS NULL$$, 'the next posting goes by the new one');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');

-- Only postings, and what changes states, may note.
SELECT throws_ok($$UPDATE loyalty.wallet SET tiers = NULL$$, 'LY005', NULL, 'nobody else');
SELECT * FROM finish();
