-- Every act by hand is kept with who did it: each function that only a clerk,
-- an operator or an admin may call, and that writes.
CREATE EXTENSION pgtap;
SET search_path = public, pg_catalog;
SET client_min_messages = error;
CREATE ROLE kept_clerk;
CREATE ROLE kept_other;
CREATE ROLE kept_boss;
CREATE ROLE kept_till;
CREATE ROLE kept_pool;		-- of an application that names who acts
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SELECT no_plan();
SELECT loyalty.grant_access(r, l) FROM (VALUES ('kept_clerk', 'clerk'), ('kept_other', 'clerk'), ('kept_boss', 'admin'), ('kept_till', 'app'), ('kept_pool', 'operator')) x (r, l) \g /dev/null
SELECT loyalty.trust_actors('kept_pool') \g /dev/null
INSERT INTO loyalty.member (member_id) SELECT generate_series(1, 60);
CREATE FUNCTION pg_temp.as(who text, sql text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE format('SET SESSION AUTHORIZATION kept_%s', split_part(who, '/', 1));
	PERFORM set_config('loyalty.actor', split_part(who, '/', 2), true);
	EXECUTE sql INTO result;
	RESET SESSION AUTHORIZATION;
	RETURN result;
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE;
END
$$;
CREATE FUNCTION pg_temp.last() RETURNS bigint LANGUAGE sql AS 'SELECT coalesce(max(act_id), 0) FROM loyalty.operator_act';
-- what was kept since an act
CREATE FUNCTION pg_temp.kept(since bigint) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws('|', a.act, coalesce(a.member_id::text, '-'), coalesce(a.object_id::text, '-'), coalesce(a.subject, '-'), a.person), ', ' ORDER BY a.act_id), 'nothing')
	FROM loyalty.operator_act a WHERE a.act_id > since
$$;

-- A program in which there is something to do by hand
SELECT loyalty.define_badge('founder', '{}'), loyalty.define_campaign('bonus', '{"on": ["badge_earned"], "then": [{"points": 500}]}', '2020-01-01Z'),
	loyalty.define_draw('wheel', '{"prizes": [{"prize": "tea", "weight": 1}]}'), loyalty.define_club('runners', '{"join": "invitation"}'),
	loyalty.define_referral('friends', '{"within": "30 days", "minimum": 50, "return_window": "1 day"}'), loyalty.create_referral_code(1, 'friends', 'CODE1'), loyalty.define_list('guests', '{}'),
	loyalty.define_board('may', '{"kind": "game", "period": "month", "time_zone": "UTC", "places": 1}'),
	loyalty.define_benefit('tea', '{"kind": "coupon", "discount": {"amount": 1}}'),
	loyalty.define_measure('orders'), loyalty.define_ladder('club', '{"measures": [{"measure": "orders", "window": "lifetime"}],
		"levels": [{"level": "blue", "all": {"orders": 0}}, {"level": "gold", "all": {"orders": 5}}]}'),
	loyalty.define_match('person', '{"fields": {"given": "name", "surname": "name", "born": "date"}}') \g /dev/null
SELECT loyalty.record_activity(8, 'game', '2024-05-05Z'), loyalty.refer(9, 'CODE1'), loyalty.earn(2, 100), loyalty.issue_coupon(10, 'tea'), loyalty.set_point_value('points', 0.02),
	loyalty.earn(11, 100) \g /dev/null

-- Each act by hand: what it takes, what is kept. %o stands for what the call returned.
CREATE TEMP TABLE did (n serial, function_name text, sql text, kept text, reason text);
INSERT INTO did (function_name, sql, kept, reason) VALUES
	('adjust', $$SELECT entry_id FROM loyalty.adjust(2, 50, 'why')$$, 'adjust|2|%o|-', 'why'),
	('reverse', $$SELECT entry_id FROM loyalty.reverse(2, (SELECT min(entry_id) FROM loyalty.ledger WHERE member_id = 2), 20)$$, 'reverse|2|%o|-', NULL),
	('merge_members', $$SELECT merge_id FROM loyalty.merge_members(3, 4, 'why')$$, 'merge_members|4|%o|-', 'why'),
	('unmerge_members', $$SELECT 1 FROM loyalty.unmerge_members(1, reason => 'why')$$, 'unmerge_members|4|%o|-', 'why'),
	('grant_tier', $$SELECT grant_id FROM loyalty.grant_tier(5, 'club', 'gold', 'paid', period => '1 year', fee => 10, reason => 'why')$$, 'grant_tier|5|%o|-', 'why'),
	('renew_grant', 'SELECT new_grant_id FROM loyalty.renew_grant(5, 1)', 'grant_tier|5|%o|-', 'renewal'),
	('end_grant', $$SELECT 2 FROM loyalty.end_grant(5, 2, 'full', reason => 'why')$$, 'end_grant|5|%o|-', 'why'),
	('set_joined', $$SELECT '-' FROM loyalty.set_joined(5, '2020-05-01')$$, 'set_joined|5|%o|-', NULL),
	('link_identifier', $$SELECT identifier_id FROM loyalty.link_identifier(5, 'email', 'five@kept.example')$$, 'link_identifier|5|%o|-', NULL),
	('unlink_identifier', $$SELECT identifier_id FROM loyalty.unlink_identifier(5, 'email', 'five@kept.example', 'why')$$, 'unlink_identifier|5|%o|-', 'why'),
	('revoke_coupon', $$SELECT 1 FROM loyalty.revoke_coupon(10, 1, 'why')$$, 'revoke_coupon|10|%o|-', 'why'),
	('give_badge', $$SELECT act_id FROM loyalty.give_badge(7, 'founder', 2, reason => 'why')$$, 'give_badge|7|%o|founder 2', 'why'),
	('take_badge', $$SELECT act_id FROM loyalty.take_badge(7, 'founder', 2, reason => 'why')$$, 'take_badge|7|%o|founder 2', 'why'),
	('grant_spin', $$SELECT grant_id FROM loyalty.grant_spin(7, 'wheel', 3)$$, 'grant_spin|7|%o|wheel 3', NULL),
	('club_act', $$SELECT 1 FROM loyalty.club_act(7, 'runners', 'invite', 'why')$$, 'club_act|7|%o|runners invite', 'why'),
	('club_act', $$SELECT 2 FROM loyalty.club_act(7, 'runners', 'ban', 'so')$$, 'club_act|7|%o|runners ban', 'so'),
	('review_referral', $$SELECT referral_id FROM loyalty.referral r WHERE r.member_id = 9 AND loyalty.review_referral(9, 'accept', 'why') IS NOT NULL$$, 'review_referral|9|%o|accept', 'why'),
	('change_list', $$SELECT '-' FROM loyalty.change_list('guests', '{7}')$$, 'change_list|7|1|guests on', NULL),
	('review_pair', $$SELECT decision_no FROM loyalty.review_pair(12, 13, 'same', 'why')$$, 'review_pair|12|%o|same', 'why'),
	('merge_match', $$SELECT merge_id FROM loyalty.merge_match('person', 12, 13)$$, 'merge_members|13|%o|-', 'match person; decision 1'),
	('forget_member', $$SELECT '-' FROM loyalty.forget_member(6)$$, 'forget_member|6|%o|-', NULL),
	('begin_closing', $$SELECT '-' FROM loyalty.begin_closing('may', '2024-05-01')$$, 'close_board|-|%o|may 2024-05-01', NULL),
	('close_month', $$SELECT '-' FROM loyalty.close_month('points', '2024-05-15')$$, 'close_month|-|%o|points 2024-05', NULL),
	('reapply_terms', $$SELECT '-' FROM loyalty.reapply_terms('bonus', '2024-01-01', '2024-02-01', 'why', false)$$, 'reapply_campaign|-|%o|bonus', NULL);
CREATE FUNCTION pg_temp.do_it(d did) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	before CONSTANT bigint := pg_temp.last();
	object CONSTANT text := pg_temp.as('clerk', d.sql);
BEGIN
	RETURN NEXT is(pg_temp.kept(before), replace(d.kept, '%o', object) || '|kept_clerk', format('%s. %s', d.n, d.function_name));
	RETURN NEXT is((SELECT string_agg(format('%s: %s, %s', w.act, w.reason, w.subject), '; ') FROM loyalty.who_did(nullif(split_part(d.kept, '|', 2), '-')::bigint) w WHERE w.act_id > before),
		CASE WHEN split_part(d.kept, '|', 2) <> '-' THEN format('%s: %s, %s', split_part(d.kept, '|', 1), d.reason, nullif(split_part(d.kept, '|', 4), '-')) END,
		format('%s. %s: why, and about what', d.n, d.function_name));
END
$$;
SELECT pg_temp.do_it(d) FROM did d ORDER BY n;
SELECT is((SELECT available FROM loyalty.balance(7)), 500::bigint, 'what a badge set off was given');
SELECT is((SELECT count(*) FROM loyalty.who_did(7) w WHERE w.act = 'give_badge' AND w.person = 'kept_clerk'), 1::bigint, 'and who gave the badge is known');

-- These are kept no act: why
CREATE TEMP TABLE none (function_name text, why text);
INSERT INTO none VALUES
	('book_expiry', 'books what has expired'), ('book_expiries_of', 'a job: books what has expired'), ('rebuild_wallets_of', 'keeps one where a wallet was wrong'), ('ledger_digest', 'reads'),
	('lock_job', 'part of jobs'), ('unlock_job', 'part of jobs'), ('begin_job', 'part of jobs'), ('note_job', 'part of jobs'), ('end_job', 'part of jobs'), ('store_findings', 'part of jobs'),
	('refresh_attributes', 'computes what follows from facts and rules'), ('evaluate_member_tiers', 'computes'), ('evaluate_tiers_of', 'a job: computes'), ('book_tiers_of', 'a job: computes'),
	('tiers_to_evaluate', 'reads'), ('maintain_tier', 'computes'), ('prune_batch', 'a job: deletes what consumers have seen'), ('next_refresh_audience', 'a job: computes'),
	('next_refresh_labels', 'a job: computes'), ('reapply_campaign_of', 'a job: who began it is kept'), ('book_gifts_of', 'a job: books what has lapsed'), ('find_duplicates_of', 'a job: computes'),
	('merge_matches', 'each merge is kept, as merge_match() does it'), ('close_board_of', 'a job: who began it is kept'), ('refresh_engagements_of', 'a job: computes'),
	('take_steps_of', 'a job: gives what is due'), ('add_to_summaries', 'a job: computes'), ('evaluate_goal', 'computes'), ('fit_match', 'kept with the match; see match_program.sql'), ('refund_card', 'is a reversal, kept as that; below'),
	('request_act', 'kept in act_request'), ('approve_act', 'kept in act_request'), ('refuse_act', 'kept in act_request'), ('withdraw_act', 'kept in act_request');
SELECT results_eq($$SELECT p.proname::text COLLATE "C" FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prosrc IN ('loyalty_may_operate', 'loyalty_may_correct') ORDER BY 1$$,
	$$SELECT function_name COLLATE "C" FROM did UNION SELECT function_name FROM none ORDER BY 1$$, 'every function above the level app keeps an act, or it is said why not');
-- of what defines, the function before it keeps one
SELECT is_empty($$SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prosrc LIKE 'loyalty\_may\_%'
	AND p.prosrc NOT IN ('loyalty_may_post', 'loyalty_may_consume', 'loyalty_may_operate', 'loyalty_may_correct', 'loyalty_may_define')$$, 'and there is no other level');

-- What is repeated or changes nothing keeps none
SELECT is(pg_temp.as('clerk', sql), result, sql) FROM (VALUES
	($$SELECT replayed FROM loyalty.give_badge(14, 'founder', idempotency_key => 'k')$$, 'false'), ($$SELECT replayed FROM loyalty.take_badge(14, 'founder', idempotency_key => 'k')$$, 'false'),
	($$SELECT replayed FROM loyalty.grant_spin(14, 'wheel', idempotency_key => 'k')$$, 'false'), ($$SELECT added FROM loyalty.change_list('guests', '{14,15}')$$, '2')) x (sql, result);
SELECT pg_temp.last() AS last \gset
SELECT is(pg_temp.as('clerk', sql), result, 'again: ' || sql) FROM (VALUES
	($$SELECT replayed FROM loyalty.give_badge(14, 'founder', idempotency_key => 'k')$$, 'true'), ($$SELECT replayed FROM loyalty.take_badge(14, 'founder', idempotency_key => 'k')$$, 'true'),
	($$SELECT replayed FROM loyalty.grant_spin(14, 'wheel', idempotency_key => 'k')$$, 'true'), ($$SELECT added FROM loyalty.change_list('guests', '{14,15}')$$, '0'),
	($$SELECT coalesce(loyalty.begin_closing('may', '2024-05-01'), -1)$$, '-1'), ($$SELECT replayed FROM loyalty.close_month('points', '2024-05-01')$$, 'true'),
	($$SELECT loyalty.review_referral(9, 'accept')$$, 'LY754'), ($$SELECT loyalty.take_badge(14, 'founder', 9)$$, 'LY003'), ($$SELECT loyalty.grant_spin(14, 'none')$$, 'LY751')) x (sql, result);
SELECT is(pg_temp.kept(:last), 'nothing', 'none of these leaves an act');
-- a refund of a gift card is a reversal
SELECT loyalty.create_currency('gift_eur'), loyalty.define_benefit('card', '{"kind": "card", "currency": "gift_eur", "money": "EUR", "valid": "3 years"}') \g /dev/null
SELECT card_id AS card, code FROM loyalty.issue_card('card', 50) \gset
SELECT entry_id AS spent FROM loyalty.redeem_card(:'code', 30) \gset
SELECT pg_temp.last() AS last \gset
SELECT is(pg_temp.as('clerk', format('SELECT remaining FROM loyalty.refund_card(%L, %s, 10)', :'code', :spent)), '30.00', 'a refund');
SELECT is(pg_temp.kept(:last), format('reverse|%s|%s|-|kept_clerk', :card, (SELECT max(entry_id) FROM loyalty.ledger WHERE member_id = :card)), 'is kept as a reversal');
-- what a campaign or a journey gives is nobody's act
SELECT loyalty.define_campaign('given', '{"on": ["game"], "then": [{"badge": "founder"}, {"spin": "wheel"}]}', '2020-01-01Z') \g /dev/null
SELECT pg_temp.last() AS last \gset
SELECT is(pg_temp.as('till', $$SELECT activity_id IS NOT NULL FROM loyalty.record_activity(16, 'game', '2024-06-01Z')$$), 'true', 'a game is told by the till');
SELECT is((SELECT count(*) FROM loyalty.badges(16)) || ' ' || loyalty.spins_left(16, 'wheel') || ' ' || pg_temp.kept(:last), '1 1 nothing', 'and what the campaign gives is no act');
-- each member of a list, and who defines it says all of it
SELECT results_eq($$SELECT member_id, subject FROM loyalty.who_did(15)$$, $$VALUES (15::bigint, 'guests on')$$, 'who put a member on a list');
SELECT is(pg_temp.as('clerk', $$SELECT removed FROM loyalty.change_list('guests', remove => '{15}')$$), '1', 'and took it off');
SELECT results_eq($$SELECT subject FROM loyalty.who_did(15)$$, $$VALUES ('guests on'), ('guests off')$$, 'both are known');
SELECT pg_temp.last() AS last \gset
SELECT is(pg_temp.as('boss', $$SELECT added FROM loyalty.define_list('guests', '{20,21}')$$), '2', 'a list is defined');
SELECT is(pg_temp.kept(:last), 'define_list|-|-|guests|kept_boss', 'which is one act');
-- a role that is trusted names who acts
SELECT is(pg_temp.as(who, sql), state, format('%s: %s', who, sql)) FROM (VALUES ('pool', $$SELECT loyalty.give_badge(22, 'founder')$$, 'LY024'), ('till', $$SELECT loyalty.give_badge(22, 'founder')$$, '42501'),
	('pool/carol', $$SELECT replayed FROM loyalty.give_badge(22, 'founder')$$, 'false')) x (who, sql, state);
SELECT is((SELECT person FROM loyalty.who_did(22)), 'carol', 'who gave it');

-- What is defined is kept once, and not again where it says nothing new
CREATE TEMP TABLE said (n serial, sql text);
INSERT INTO said (sql) VALUES
	($$configure_program('Asia/Kathmandu')$$), ($$create_currency('stars')$$), ($$configure_namespace('card', 'opaque', shared_above => 3)$$), ($$block_identifier('email', 'x@kept.example', 'test')$$),
	($$define_rfm_scheme('two', '{"bins": 2, "rules": [{"segment": "good", "r": 2}]}')$$), ($$define_measure('visits')$$), ($$define_ladder('visitors', '{"measures": [{"measure": "visits", "window": "lifetime"}], "levels": [{"level": "blue", "all": {"visits": 0}}]}')$$),
	($$define_activity_kind('walk', 'A walk')$$), ($$define_product('tea', 'drinks', effective_from => '2024-01-01')$$), ($$define_holidays('de', '{2024-01-01}')$$),
	($$define_label('vegan')$$), ($$define_label('city', 'single', name => 'Town')$$), ($$define_label_rule('hours', '{"label": "hour", "from": "hour"}')$$), ($$define_purpose('news')$$),
	($$define_audience('drinkers', 'vegan', name => 'Who drinks')$$), ($$define_list('staff', '{1,2}')$$), ($$define_benefit('cake', '{"kind": "coupon", "discount": {"amount": 1}}')$$),
	($$define_streak('daily', '{"kind": "game"}')$$), ($$define_badge('regular', '{"kind": "game", "levels": [1]}')$$), ($$define_challenge('ten', '{"kind": "game", "target": 10}')$$),
	($$define_board('june', '{"kind": "game", "period": "month"}')$$), ($$define_referral('any', '{"within": "30 days", "minimum": 50, "return_window": "1 day"}')$$), ($$define_draw('drum', '{"prizes": [{"prize": "tea", "weight": 1}]}')$$), ($$reveal_draw('drum')$$),
	($$define_club('cooks', '{}')$$), ($$define_campaign('base', '{"then": [{"points": 1}]}', name => 'Base')$$), ($$end_campaign('base')$$),
	($$define_match('persons', '{"fields": {"given": "name", "surname": "name", "born": "date"}}')$$), ($$set_point_value('points', 0.01)$$), ($$set_redemption_estimate('points', 0.8)$$),
	($$define_trial('test', '{}', '2024-01-01', '2024-02-01')$$), ($$set_channel_cost('app', '2024-01-01', '2024-02-01', 100)$$),
	($$define_approval('reverse', 100)$$), ($$drop_approval('reverse')$$), ($$subscribe('mail', '{badge_earned}')$$), ($$define_notice('soon', 'birthday', '7 days')$$);
INSERT INTO loyalty.label (label, kind, name) VALUES ('hour', 'number', 'Hour') ON CONFLICT DO NOTHING;
CREATE FUNCTION pg_temp.say_twice(s said) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	function_name CONSTANT text := split_part(s.sql, '(', 1);
	before bigint := pg_temp.last();
BEGIN
	RETURN NEXT isnt(pg_temp.as('boss', format('SELECT 0 FROM loyalty.%s', s.sql)), '42501', s.sql);
	RETURN NEXT is((SELECT string_agg(a.act || ' ' || a.person, ', ') FROM loyalty.operator_act a WHERE a.act_id > before), function_name || ' kept_boss', function_name || ': is kept');
	before := pg_temp.last();
	PERFORM pg_temp.as('boss', format('SELECT 0 FROM loyalty.%s', s.sql));
	RETURN NEXT is(pg_temp.kept(before), 'nothing', function_name || ': said again it is no act');
END
$$;
SELECT pg_temp.say_twice(s) FROM said s ORDER BY n;
-- a name alone is something new
SELECT pg_temp.last() AS last \gset
SELECT is(pg_temp.as('boss', 'SELECT loyalty.' || sql), result, sql) FROM (VALUES ($$define_benefit('cake', '{"kind": "coupon", "discount": {"amount": 1}}', name => 'A cake')$$, '1'),
	($$define_label('city', 'single', name => 'City')$$, 'city'), ($$create_currency('stars')$$, 'stars'), ($$drop_approval('reverse')$$, 'false')) x (sql, result);
SELECT is(pg_temp.kept(:last), 'define_benefit|-|-|cake|kept_boss, define_label|-|-|city|kept_boss', 'only these two said something new');
BEGIN;
SET LOCAL track_counts = off;
SELECT loyalty.create_currency('stars') \g /dev/null
SELECT isnt(pg_temp.kept(:last), 'define_benefit|-|-|cake|kept_boss, define_label|-|-|city|kept_boss', 'where nobody counts rows, it is kept all the same');
ROLLBACK;

-- What gives something to a member may need another person
SELECT loyalty.define_approval(a) FROM unnest('{give_badge,take_badge,grant_spin,review_referral}'::text[]) a \g /dev/null
SELECT loyalty.refer(23, 'CODE1') \g /dev/null
CREATE TEMP TABLE asked (n serial, act text, arguments jsonb, sql text, done text);
INSERT INTO asked (act, arguments, sql, done) VALUES
	('give_badge', '{"member_id": 23, "badge": "founder", "level": 3, "reason": "why"}', $$SELECT loyalty.give_badge(23, 'founder', 3)$$, 'SELECT level = 3 FROM loyalty.badges(23)'),
	('take_badge', '{"member_id": 23, "badge": "founder", "level": 3}', $$SELECT loyalty.take_badge(23, 'founder', 3)$$, 'SELECT count(*) = 0 FROM loyalty.badges(23)'),
	('grant_spin', '{"member_id": 23, "draw": "wheel", "quantity": 2}', $$SELECT loyalty.grant_spin(23, 'wheel', 2)$$, $$SELECT loyalty.spins_left(23, 'wheel') = 2$$),
	('review_referral', '{"referee_id": 23, "decision": "refuse", "reason": "why"}', $$SELECT loyalty.review_referral(23, 'refuse')$$, $$SELECT decision = 'refuse' FROM loyalty.referral WHERE member_id = 23$$);
CREATE FUNCTION pg_temp.ask(a asked) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	request text;
	before CONSTANT bigint := pg_temp.last();
BEGIN
	RETURN NEXT is(pg_temp.as('clerk', a.sql), 'LY020', a.act || ': not alone');
	request := pg_temp.as('clerk', format('SELECT request_id FROM loyalty.request_act(%L, %L, %L)', a.act, a.arguments, 'because'));
	RETURN NEXT is((SELECT r.member_id FROM loyalty.open_request r WHERE r.request_id = request::bigint), 23::bigint, a.act || ': is asked for, of the member');
	RETURN NEXT is(pg_temp.as('clerk', format('SELECT replayed FROM loyalty.approve_act(%s)', request)), 'LY023', a.act || ': nor by oneself');
	RETURN NEXT is(pg_temp.as('other', format('SELECT replayed FROM loyalty.approve_act(%s)', request)), 'false', a.act || ': by another');
	RETURN NEXT is(pg_temp.as('other', a.done), 'true', a.act || ': it is done');
	RETURN NEXT is((SELECT string_agg(w.act || ' ' || w.person || ' ' || w.approved_by, ', ') FROM loyalty.who_did(23) w WHERE w.act_id > before), a.act || ' kept_clerk kept_other', a.act || ': by both');
END
$$;
SELECT pg_temp.ask(a) FROM asked a ORDER BY n;
SELECT is(pg_temp.as('till', $$SELECT activity_id IS NOT NULL FROM loyalty.record_activity(24, 'game', '2024-06-01Z')$$), 'true', 'a game');
SELECT is((SELECT count(*) FROM loyalty.badges(24) b WHERE b.badge = 'founder') || ' ' || loyalty.spins_left(24, 'wheel'), '1 1', 'what a campaign gives no policy binds');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all is well');
DROP OWNED BY kept_clerk, kept_other, kept_boss, kept_till, kept_pool;
SELECT * FROM finish();
