-- Room engagement: what check_engagement() finds.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT no_plan();
SELECT loyalty.setup() \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 20);
SELECT loyalty.define_board('top', '{"kind": "order", "measure": "amount", "period": "lifetime"}'), loyalty.define_badge('buyer', '{"kind": "order", "levels": [1]}'),
	loyalty.define_referral('friends', '{"within": "30 days"}'), loyalty.create_referral_code(1, 'friends', 'ANNA'), loyalty.define_club('small', '{"capacity": 5}'),
	loyalty.define_draw('wheel', '{"prizes": [{"prize": "a", "weight": 1}, {"prize": "b", "weight": 1, "stock": 5}]}', '00112233') \g /dev/null
SELECT loyalty.refer(2, 'ANNA') \g /dev/null
SELECT loyalty.record_activity(m, 'order', amount => 10 * m) FROM generate_series(1, 4) m \g /dev/null
SELECT loyalty.join_club(3, 'small'), loyalty.grant_spin(3, 'wheel', 9) \g /dev/null
SELECT loyalty.draw(3, 'wheel') FROM generate_series(1, 8) \g /dev/null
SELECT is((SELECT count(*) FROM loyalty.activity WHERE kind = 'invite'), 2::bigint, 'there is something to be looked at');
SELECT is_empty('SELECT * FROM loyalty.check_engagement()', 'all is well');
-- each kind of damage
CREATE FUNCTION found(damage text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE r text;
BEGIN
	BEGIN
		SET LOCAL session_replication_role = replica;
		EXECUTE damage;
		SELECT string_agg(DISTINCT invariant, ',' ORDER BY invariant) INTO r FROM loyalty.check_engagement();
		RAISE EXCEPTION USING ERRCODE = 'ZZ999', MESSAGE = coalesce(r, 'nothing');
	EXCEPTION WHEN SQLSTATE 'ZZ999' THEN
		RETURN SQLERRM;
	END;
END $$;
SELECT is(found(c.damage), c.invariant, c.damage)
FROM (VALUES ('SELECT 1', 'nothing'),
	('UPDATE loyalty.board_score SET score = 99 WHERE member_id = 3', 'score'),
	('DELETE FROM loyalty.board_change WHERE score = 30', 'bucket'),
	('DELETE FROM loyalty.board_score WHERE member_id = 3', 'bucket'),
	($$UPDATE loyalty.member_badge SET earned_at = earned_at + interval '1 second' WHERE member_id = 3$$, 'badge'),
	($$UPDATE loyalty.activity SET cancelled = true WHERE kind = 'invite' AND member_id = 1$$, 'referral'),
	('DELETE FROM loyalty.draw_spin WHERE nonce = 2', 'spin'),
	($$DELETE FROM loyalty.draw_spin WHERE nonce = 8 AND prize = 'a'$$, 'nothing'),
	($$UPDATE loyalty.escrow SET remaining = remaining + 1 WHERE name = 'draw/wheel/b' AND slot = 0$$, 'stock'),
	($$UPDATE loyalty.escrow SET remaining = remaining + 1 WHERE name = 'club/small' AND slot = 0$$, 'capacity'),
	($$INSERT INTO loyalty.club_membership (member_id, club, act, at) VALUES (3, 'small', 'join', now() + interval '1 minute')$$, 'capacity,club'),
	($$INSERT INTO loyalty.journey_step (member_id, journey, started_at, step, due_at, outcome, taken_at) VALUES (3, 'j', now(), 's', now(), 'given', now() - interval '1 day')$$, 'journey'),
	($$UPDATE loyalty.draw_seed SET seed = '00'$$, 'draw')) c (damage, invariant);
SELECT loyalty.reveal_draw('wheel') \g /dev/null
SELECT is(found($$UPDATE loyalty.draw_spin SET ticket = 1 - ticket WHERE nonce = 3$$), 'draw', 'a ticket that the seed does not draw');
SELECT is(found($$UPDATE loyalty.draw_commitment SET seed = '11'$$), 'draw', 'another seed');
SELECT * FROM finish();
