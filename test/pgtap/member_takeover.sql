-- Room member: whose is it?  What was not proven finds, and gives nobody
-- anything.  A table of stories, then random ones: persons who prove what is
-- theirs and claim what is not never come to another's member.
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
SELECT no_plan();

-- mail: one a member; card: proves without being verified; desk: of two members at most before it counts as shared
SELECT loyalty.configure_namespace('openid', priority => 5), loyalty.configure_namespace('mail', kind => 'email', max_per_member => 1),
	loyalty.configure_namespace('card', priority => 6, merge_unverified => true),
	loyalty.configure_namespace('desk', priority => 50, shared_above => 2) \g /dev/null

-- "email:v openid:s+": two values, the second verified
CREATE FUNCTION pg_temp.identifiers(said text) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_agg(jsonb_build_object('namespace', split_part(w, ':', 1), 'value', CASE
			WHEN split_part(w, ':', 1) IN ('email', 'mail') THEN rtrim(split_part(w, ':', 2), '+') || '@x.example'
			WHEN split_part(w, ':', 1) = 'phone' THEN '+4930123450' || rtrim(split_part(w, ':', 2), '+')
			ELSE rtrim(split_part(w, ':', 2), '+') END, 'verified', w LIKE '%+'))
	FROM regexp_split_to_table(said, ' ') w
$$;
-- One step of a story; members are numbered as they come.
CREATE FUNCTION pg_temp.step(said text, first bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	word text[] := regexp_split_to_array(said, ' ');
	i jsonb := CASE WHEN word[1] IN ('link', 'move', 'unlink') THEN pg_temp.identifiers(word[3]) -> 0 END;
	m bigint := CASE WHEN i IS NOT NULL OR word[1] = 'merge' THEN word[2]::bigint + first END;
BEGIN
	RETURN CASE
		WHEN word[1] IN ('link', 'move') THEN (SELECT CASE linked WHEN true THEN 'linked' ELSE 'had' END
			FROM loyalty.link_identifier(m, i ->> 'namespace', i ->> 'value', (i -> 'verified')::boolean, move => word[1] = 'move'))
		WHEN word[1] = 'unlink' THEN (SELECT 'unlinked' FROM loyalty.unlink_identifier(m, i ->> 'namespace', i ->> 'value'))
		WHEN word[1] = 'merge' THEN (SELECT 'merged' FROM loyalty.merge_members(m, word[3]::bigint + first))
		WHEN word[1] = 'unmerge' THEN (SELECT 'unmerged' FROM loyalty.unmerge_members((SELECT max(merge_id) FROM loyalty.member_merge)))
		WHEN word[1] IN ('first', 'refuse') THEN (SELECT concat_ws(' ', outcome, member_id - first)
			FROM loyalty.resolve_member(pg_temp.identifiers(array_to_string(word[2:], ' ')), on_conflict => word[1]))
		ELSE (SELECT concat_ws(' ', outcome, member_id - first) FROM loyalty.resolve_member(pg_temp.identifiers(said))) END;
EXCEPTION WHEN OTHERS THEN
	IF SQLSTATE LIKE 'LY%' THEN
		RETURN SQLSTATE;
	END IF;
	RAISE;
END $$;
CREATE FUNCTION pg_temp.story(VARIADIC steps text[]) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	first CONSTANT bigint := nextval(pg_get_serial_sequence('loyalty.member', 'member_id'));
	told text[] := '{}';
	said text;
	wrong text;
BEGIN
	FOREACH said IN ARRAY steps LOOP
		told := told || pg_temp.step(said, first);
	END LOOP;
	wrong := (SELECT c::text FROM loyalty.check_all() c LIMIT 1);
	RAISE EXCEPTION USING ERRCODE = 'LYRLB';
EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
	RETURN CASE WHEN wrong IS NULL THEN told ELSE told || wrong END;
END $$;

SELECT is(pg_temp.story(VARIADIC regexp_split_to_array(steps, ', ')), regexp_split_to_array(answers, ', '), format('%s: %s', what, steps)) FROM (VALUES
-- the victim first, then the stranger who claims its address
('a claim finds', 'email:v+, email:v', 'created 1, matched 1'),
('and gives no key', 'email:v+, email:v openid:s+, openid:s+', 'created 1, conflict, created 2'),
('in any order of names', 'email:v+, openid:s+ email:v, openid:s', 'created 1, conflict, created 2'),
('first: somebody new', 'email:v+, first email:v openid:s+, openid:s+, email:v', 'created 1, created 2, matched 2, matched 1'),
('first: found', 'email:v+, first email:v phone:1, phone:1', 'created 1, matched 1, matched 1'),
('refuse', 'email:v+, refuse email:v openid:s+', 'created 1, conflict'),
('nor to a member that is nobody''s yet', 'email:v, email:v openid:s+, openid:s+', 'created 1, conflict, created 2'),
('a card is a key, too', 'email:v+, email:v card:c, card:c', 'created 1, conflict, created 2'),
('verified, it is linked', 'email:v+, email:v+ openid:s+, openid:s', 'created 1, matched 1, matched 1'),
('beside what is verified a claim of the same member is harmless', 'email:v+ phone:1+, email:v phone:1+ openid:s+', 'created 1, matched 1'),
('no joining by a claim', 'email:v+, openid:s+, email:v openid:s+, openid:s', 'created 1, created 2, conflict, matched 2'),
('first: whoever proved himself', 'phone:1+, email:v+, first phone:1 email:v+', 'created 1, created 2, matched 2'),
('nor of what was verified once', 'card:c email:v+, openid:s+, openid:s+ email:v', 'created 1, created 2, conflict'),
-- the stranger first, who plants the address, then the victim
('an address planted opens nothing', 'openid:s+ email:v, email:v+, openid:s+, email:v', 'created 1, created 2, matched 1, matched 2'),
('by a card as well', 'card:c email:v, email:v+, card:c, email:v', 'created 1, created 2, matched 1, matched 2'),
('with a link', 'openid:s+, link 1 email:v, email:v+, openid:s', 'created 1, linked, created 2, matched 1'),
('whom the victim knows already', 'openid:s+ email:v, openid:w+, openid:w+ email:v+, email:v', 'created 1, created 2, matched 2, matched 2'),
('and links', 'openid:s+ email:v, openid:w+, link 2 email:v+, email:v', 'created 1, created 2, linked, matched 2'),
('or only claims', 'openid:s+ email:v, openid:w+, link 2 email:v, email:v', 'created 1, created 2, LY204, matched 1'),
('it was his own: he proves both', 'openid:s+ email:v, openid:s+ email:v+, email:v+', 'created 1, matched 1, matched 1'),
('or is logged in', 'openid:s+ email:v, link 1 email:v+, email:v+', 'created 1, had, matched 1'),
-- nothing is verified yet: the first to verify what a member was made with has it
('a customer of the till verifies', 'email:v phone:1, email:v+, email:v, phone:1', 'created 1, matched 1, matched 1, matched 1'),
('and the other value has lost its say', 'email:v phone:1, email:v+, phone:1+, phone:1, email:v', 'created 1, matched 1, created 2, matched 2, matched 1'),
-- third values: what a claim brought along
('claims may be added', 'email:v, email:v phone:1, phone:1', 'created 1, matched 1, matched 1'),
('verifying them opens nothing', 'email:v, email:v phone:1, phone:1+, email:v+, phone:1', 'created 1, matched 1, created 2, matched 1, matched 2'),
('to a verified member likewise', 'email:v+, email:v phone:1, phone:1+, email:v, phone:1', 'created 1, matched 1, created 2, matched 1, matched 2'),
('nor do they join', 'email:v, email:v card:c, openid:s+, card:c openid:s+', 'created 1, matched 1, created 2, conflict'),
('until the member proves himself with them', 'email:v+, email:v phone:1, email:v+ phone:1+, phone:1+', 'created 1, matched 1, matched 1, matched 1'),
('or they are linked for him', 'email:v+, email:v phone:1, link 1 phone:1, phone:1', 'created 1, matched 1, had, matched 1'),
('what came with a card is its own', 'card:c, card:c email:v, unlink 1 card:c, email:v+', 'created 1, matched 1, unlinked, matched 1'),
('claims of two members', 'email:v+, phone:1+, email:v phone:1', 'created 1, created 2, conflict'),
('one proven, one claimed', 'email:v+, phone:1+, email:v+ phone:1', 'created 1, created 2, conflict'),
('both proven', 'email:v+, phone:1+, email:v+ phone:1+, phone:1', 'created 1, created 2, merged 2, matched 2'),
('planted with a third value that joins', 'card:c email:v, openid:s+ card:c, email:v+, openid:s', 'created 1, matched 1, created 2, matched 1'),
-- merging and its undoing
('merged by hand, planted before', 'email:v, openid:s+, merge 2 1, email:v+, email:v', 'created 1, created 2, merged, created 3, matched 3'),
('and taken back', 'email:v, openid:s+, merge 2 1, unmerge, email:v+', 'created 1, created 2, merged, unmerged, matched 1'),
('taken away while merged, it does not come back', 'email:v, openid:s+, merge 2 1, email:v+, unmerge, email:v', 'created 1, created 2, merged, created 3, unmerged, matched 3'),
('what came with one of the two goes home with it', 'openid:a+, openid:b+, merge 1 2, openid:b+ email:v, unmerge, email:v', 'created 1, created 2, merged, matched 1, unmerged, matched 2'),
('or with the other', 'openid:a+, openid:b+, merge 1 2, openid:a+ email:v, unmerge, email:v', 'created 1, created 2, merged, matched 1, unmerged, matched 1'),
('verified while merged, by the other''s key', 'openid:a+, openid:b+, merge 1 2, openid:b+ phone:1+, unmerge, phone:1+', 'created 1, created 2, merged, matched 1, unmerged, matched 2'),
-- what was verified contradicts the member found
('a recycled number', 'mail:old+ phone:1+, mail:new+ phone:1+, phone:1', 'created 1, conflict, matched 1'),
('first: without it', 'mail:old+ phone:1+, first mail:new+ phone:1+, mail:new+', 'created 1, matched 1, created 2'),
('is moved', 'mail:old+ phone:1+, mail:new+, move 2 phone:1+, mail:new+ phone:1+, mail:old', 'created 1, created 2, linked, matched 2, matched 1'),
('not without a proof', 'mail:old+ phone:1+, mail:new+, move 2 phone:1', 'created 1, created 2, LY003'),
('and not by a link', 'mail:old+ phone:1+, mail:new+, link 2 phone:1+', 'created 1, created 2, LY204'),
('a claim is left out, as ever', 'mail:old+ phone:1+, mail:new phone:1+', 'created 1, matched 1'),
('a claim gives way', 'mail:old phone:1+, mail:new+ phone:1+, mail:new, mail:old+', 'created 1, matched 1, matched 1, created 2'),
('two at once', 'mail:a+ mail:b+', 'conflict'),
('on joining', 'mail:a+ phone:1+, mail:b+ phone:2+, phone:1+ phone:2+', 'created 1, created 2, conflict'),
-- what many share: of two members it may be, with the third it finds nobody
('a desk''s telephone', 'card:1 desk:d, card:2 desk:d, first card:2 desk:d, first card:3 desk:d, card:4 desk:d, desk:d, card:1 desk:d',
	'created 1, conflict, created 2, created 3, created 4, conflict, matched 1'),
('known of members that are there', 'card:1 desk:d, card:2, card:3, card:2 desk:d, card:3 desk:d, card:2 desk:d, desk:d',
	'created 1, created 2, created 3, conflict, matched 3, matched 2, conflict'),
('who verifies it is counted once', 'card:1 desk:d, card:2, card:2 desk:d, card:2 desk:d+, card:3, card:3 desk:d, card:4, card:4 desk:d, desk:d',
	'created 1, created 2, conflict, matched 2, created 3, conflict, created 4, matched 4, conflict'),
('or links it', 'card:1 desk:d, card:2, card:2 desk:d, link 2 desk:d+, card:3, card:3 desk:d, card:4, card:4 desk:d, desk:d',
	'created 1, created 2, conflict, linked, created 3, conflict, created 4, matched 4, conflict'),
('joined by it, then no more', 'desk:d+, card:2, card:2 desk:d+, card:3, card:3 desk:d+, desk:d+',
	'created 1, created 2, merged 2, created 3, matched 3, conflict'),
-- claims alone count against claims: whoever verified it is found by verifying it, as often as he likes, and nobody else is
('claims lock nobody out', 'desk:d+, openid:a+, openid:a+ desk:d, openid:b+, openid:b+ desk:d, openid:c+, openid:c+ desk:d, desk:d, desk:d+, desk:d+, desk:d',
	'created 1, created 2, conflict, created 3, matched 3, created 4, matched 4, conflict, matched 1, matched 1, conflict'),
('nor what came with it', 'phone:1+ desk:d+, openid:a+, openid:a+ desk:d, openid:b+, openid:b+ desk:d, desk:d+, phone:1+ desk:d, phone:1 desk:d+',
	'created 1, created 2, conflict, created 3, matched 3, matched 1, matched 1, matched 1'),
('nor whoever was there first with a claim', 'desk:d, card:1, card:1 desk:d, card:2, card:2 desk:d, openid:v+ desk:d+, desk:d+, desk:d',
	'created 1, created 2, conflict, created 3, matched 3, created 4, matched 4, conflict'),
('a link of a claim changes nothing', 'desk:d+, card:1, card:1 desk:d, card:2, card:2 desk:d, link 1 desk:d, link 2 desk:d, desk:d+',
	'created 1, created 2, conflict, created 3, matched 3, had, had, matched 1'),
('verified by too many, claimed before', 'desk:d+, card:2, card:2 desk:d, card:2 desk:d+, card:3, card:3 desk:d, card:3 desk:d+, desk:d+',
	'created 1, created 2, conflict, merged 2, created 3, matched 3, matched 3, conflict'),
('who was joined by it had it twice', 'desk:d+, card:2, card:2 desk:d+, unlink 1 desk:d, unlink 2 desk:d, desk:d+',
	'created 1, created 2, merged 2, unlinked, LY212, created 3')) v (what, steps, answers);

-- Five persons, each with a few values: they prove their own, claim anybody's,
-- are merged by hand with themselves, and such merges are undone.  No rule of
-- the room is used to judge: what was proven stands with nobody else's, points
-- that somebody earned with a proof are never another's, and who proves only
-- what is his own gets an answer, and it is his.
\set soak `test -n "$LOYALTY_SOAK" && echo true || echo false`
\if :soak \set stories 300 \else \set stories 100 \endif
\set seed `echo "${LOYALTY_SEED:-$(test -n "$LOYALTY_SOAK" && date +%j || echo 1)}"`
CREATE FUNCTION pg_temp.value(person int, n int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT jsonb_build_object('namespace', (ARRAY['email', 'openid', 'phone', 'card'])[n],
		'value', format((ARRAY['p%s@x.example', 'o%s', '+4930123450%s', 'c%s'])[n], person), 'verified', true)
$$;
CREATE FUNCTION pg_temp.person_of(value text) RETURNS int LANGUAGE sql IMMUTABLE AS
	$$ SELECT substring(value FROM '([0-9])(@x.example)?$')::int $$;
-- what a person gives: some of his own proven, some values of anybody (but no card, which is a proof) claimed
CREATE FUNCTION pg_temp.said(person int, proofs int, claims int) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT jsonb_agg(DISTINCT v) FROM (
		SELECT pg_temp.value(person, 1 + floor(random() * 4)::int) AS v FROM generate_series(1, proofs)
		UNION ALL SELECT pg_temp.value(1 + floor(random() * 5)::int, 1 + floor(random() * 3)::int) || '{"verified": false}' FROM generate_series(1, claims)) x
$$;
CREATE FUNCTION pg_temp.act() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	person int := 1 + floor(random() * 5);
	proofs int := floor(random() * 3);
	claims int := CASE WHEN random() < 0.6 OR proofs = 0 THEN 1 + floor(random() * 2) ELSE 0 END;
	said jsonb := pg_temp.said(person, proofs, claims);
	choice text := (ARRAY['merge', 'merge', 'first'])[1 + floor(random() * 3)::int];
	r record;
BEGIN
	CASE floor(random() * 12)::int
		WHEN 0 THEN
			-- the same person under two numbers
			PERFORM loyalty.merge_members(a.member_id, b.member_id) FROM loyalty.identifier a, loyalty.identifier b
			WHERE a.verified AND b.verified AND a.member_id <> b.member_id AND pg_temp.person_of(a.value) = pg_temp.person_of(b.value) LIMIT 1;
		WHEN 1 THEN
			PERFORM loyalty.unmerge_members(m.merge_id) FROM loyalty.member_merge m WHERE m.unmerged_at IS NULL ORDER BY random() LIMIT 1;
		WHEN 2 THEN
			-- logged in: whoever was proven links what is his, or claims
			PERFORM loyalty.link_identifier(i.member_id, v ->> 'namespace', v ->> 'value', (v -> 'verified')::boolean, move => random() < 0.3 AND (v -> 'verified')::boolean)
			FROM (SELECT x.member_id, pg_temp.said(pg_temp.person_of(x.value), floor(random() * 2)::int, 1) -> 0 AS v
				FROM loyalty.identifier x WHERE x.verified ORDER BY random() LIMIT 1) i;
		ELSE
			SELECT * INTO r FROM loyalty.resolve_member(said, on_conflict => choice);
			IF claims = 0 AND r.outcome = 'conflict' THEN
				RETURN format('%s proved nothing but his own and got no answer: %s', person, said);
			END IF;
			IF proofs > 0 AND r.member_id IS NOT NULL THEN
				IF EXISTS (SELECT FROM jsonb_array_elements(said) v WHERE (v -> 'verified')::boolean
						AND loyalty.member_of(v ->> 'namespace', v ->> 'value') IS DISTINCT FROM r.member_id) AND choice = 'merge' THEN
					RETURN format('%s proved %s, and is not found by all of it', person, said);
				END IF;
				PERFORM loyalty.earn(r.home_member_id, 1, reference => person::text);
			END IF;
	END CASE;
	RETURN NULL;
EXCEPTION WHEN SQLSTATE 'LY204' OR SQLSTATE 'LY209' THEN
	RETURN NULL;
END $$;
-- What must hold: of each member everything proven is of one person, and so are the points.
CREATE FUNCTION pg_temp.wrong() RETURNS text LANGUAGE sql AS $$
	SELECT format('member %s has what %s proved', i.member_id, array_agg(DISTINCT pg_temp.person_of(i.value)))
	FROM loyalty.identifier i WHERE i.verified OR i.namespace = 'card'
	GROUP BY i.member_id HAVING count(DISTINCT pg_temp.person_of(i.value)) > 1
	UNION ALL
	SELECT format('member %s, proven by %s, has points of %s', i.member_id, pg_temp.person_of(i.value), e.reference)
	FROM loyalty.ledger e JOIN loyalty.identifier i ON i.member_id = loyalty.canonical_member(coalesce(e.home_id, e.member_id))
	WHERE e.kind = 'earn' AND (i.verified OR i.namespace = 'card') AND pg_temp.person_of(i.value) <> e.reference::int
	UNION ALL
	SELECT c::text FROM loyalty.check_all() c
	LIMIT 1
$$;
CREATE TABLE finding (story int, what text);
CREATE PROCEDURE pg_temp.run(stories int, seed int) LANGUAGE plpgsql AS $$
DECLARE
	wrong text;
BEGIN
	FOR s IN 1 .. stories LOOP
		PERFORM setseed((seed - 1) % 25 * 0.04 + s / 100000.0);
		BEGIN
			FOR i IN 1 .. 20 LOOP
				wrong := pg_temp.act();
				EXIT WHEN wrong IS NOT NULL;
			END LOOP;
			wrong := coalesce(wrong, pg_temp.wrong());
			RAISE EXCEPTION USING ERRCODE = 'LYRLB';
		EXCEPTION WHEN SQLSTATE 'LYRLB' THEN
			NULL;
		END;
		IF wrong IS NOT NULL THEN
			INSERT INTO finding VALUES (s, wrong);
			EXIT WHEN (SELECT count(*) FROM finding) >= 5;
		END IF;
		COMMIT;
	END LOOP;
END $$;
CALL pg_temp.run(:stories, :seed);
SELECT is_empty('TABLE finding', format('%s random stories of five persons: nobody has what another proved', :stories));
SELECT * FROM finish();
