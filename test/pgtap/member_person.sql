-- Forgetting and giving out what is kept of a person.  Jane is in every table;
-- everything that anybody wrote of her has "jane" in it, or is +4930123456.
CREATE EXTENSION pgtap;
SET client_min_messages = warning;
CREATE EXTENSION loyalty CASCADE;
SELECT loyalty.setup() \g /dev/null
SET search_path = public, pg_catalog;
SET jit = off;
SELECT no_plan();

SELECT loyalty.create_currency('miles') \g /dev/null
SELECT loyalty.define_measure('orders') \g /dev/null
SELECT
	loyalty.define_ladder('club', '{"levels": [{"level": "silver", "any": {"orders": 100}}], "measures": [{"measure": "orders", "window": "lifetime"}]}') \g /dev/null
CREATE TABLE shop_order (number text PRIMARY KEY, member_id bigint, amount numeric);
CREATE TRIGGER award AFTER INSERT OR UPDATE OR DELETE ON shop_order FOR EACH ROW
	EXECUTE FUNCTION loyalty.award_points('source=shop', 'member=member_id', 'points=amount');

SELECT member_id AS jane FROM loyalty.resolve_member('{"email": "jane@example.org", "phone": "+4930123456"}', 'shop',
	'{"name": "Jane Doe"}', idempotency_key => 'signup of jane@example.org') \gset
SELECT member_id AS jane2 FROM loyalty.resolve_member('{"email": "jane.doe@example.org"}', attributes => '{"nick": "Jane II"}') \gset
SELECT member_id AS bob FROM loyalty.resolve_member('{"email": "bob@example.org"}', attributes => '{"name": "Bob"}') \gset
SELECT member_id AS twin FROM loyalty.resolve_member('{"email": "twin@example.org"}') \gset

-- The twin was taken for Jane: what is hers is in Jane's wallet, and the other way round.
SELECT merge_id AS m FROM loyalty.merge_members(:jane, :twin, 'said to be Jane', 'merge of jane and twin') \gset
SELECT entry_id AS of_twin FROM loyalty.earn(:twin, 100, reference => 'order of the twin', idempotency_key => 'twin 1') \gset
SELECT entry_id AS together FROM loyalty.redeem(:jane, 50, reference => 'cap for Jane', idempotency_key => 'jane redeems') \gset
SELECT loyalty.unmerge_members(:m, reason => 'Jane complained') \g /dev/null
SELECT merge_id AS m2 FROM loyalty.merge_members(:bob, :jane, 'Jane is Bob') \gset
SELECT entry_id AS at_bobs FROM loyalty.earn(:jane, 70, reference => 'Jane as Bob', idempotency_key => 'jane at bob''s') \gset
SELECT loyalty.unmerge_members(:m2) \g /dev/null
SELECT loyalty.merge_members(:jane, :jane2, 'both are Jane') \g /dev/null

SELECT entry_id AS e FROM loyalty.earn(:jane, 1000, reference => 'jane@example.org', idempotency_key => 'jane 1', details => '{"phone": "+4930123456"}') \gset
SELECT loyalty.earn(:jane2, 10, 'miles', idempotency_key => 'jane miles'), loyalty.earn(:jane, 1, 'miles') \g /dev/null
SELECT loyalty.adjust(:jane, -5, 'Jane called', idempotency_key => 'jane 2'), loyalty.reverse(:jane, :e, 10, reference => 'Jane', idempotency_key => 'jane 3') \g /dev/null
SELECT entry_id AS h FROM loyalty.hold(:jane, 20, now() + interval '1 day', reference => 'desk of Jane', idempotency_key => 'jane 4') \gset
SELECT loyalty.capture(:jane, :h, 5, reference => 'desk of Jane', idempotency_key => 'jane 5') \g /dev/null
SELECT loyalty.transfer(:jane, :bob, 7, reference => 'from Jane, happy birthday', idempotency_key => 'jane 6', details => '{"by": "Jane"}') \g /dev/null
SELECT loyalty.transfer(:bob, :jane, 3, reference => 'from Bob', idempotency_key => 'bob 1') \g /dev/null
SELECT count(*) FROM loyalty.post_many(ARRAY[:jane, :bob], '{earn,earn}', '{1,2}', refs => '{"Jane","Bob"}', idempotency_keys => '{"jane 7","bob 2"}') \g /dev/null
-- what it took was the twin's, who has it back, with Jane's key
SELECT loyalty.reverse(:jane, :together, 20, reference => 'cap of Jane came back', idempotency_key => 'jane 11') \g /dev/null
CREATE TABLE history AS SELECT :jane::bigint AS member_id, 11 AS points, now() AS effective_at, 'order of Jane' AS reference, 'jane 8' AS idempotency_key;
SELECT loyalty.backfill('history') \g /dev/null
DROP TABLE history;
INSERT INTO shop_order VALUES ('jane@example.org/1', :jane, 100), ('jane@example.org/2', :jane, 50), ('bob@example.org/1', :bob, 30);
SELECT loyalty.record_qualification(:jane, 'orders', 120, reference => 'order of Jane', idempotency_key => 'jane 9') \g /dev/null
SELECT loyalty.grant_tier(:jane, 'club', 'silver', 'manual', reason => 'Jane asked nicely', idempotency_key => 'jane 10') \g /dev/null
SELECT loyalty.link_identifier(:jane, 'email', 'jane+shop@example.org', idempotency_key => 'link jane') \g /dev/null
SELECT loyalty.unlink_identifier(:jane, 'email', 'jane+shop@example.org', 'Jane mistyped it') \g /dev/null
SELECT activity_id AS a FROM loyalty.record_activity(:jane, 'order', amount => 10, lines => '[{"sku": "tea", "amount": 10, "note": "a card for Jane"}]',
	document => '{"to": "Jane Doe"}', external_id => 'order of jane', idempotency_key => 'jane 13') \gset
SELECT loyalty.revise_activity(:jane, :a, lines => '[{"sku": "tea", "amount": 12, "note": "for Jane"}]', document => '{"to": "Jane"}', reference => 'Jane called',
	idempotency_key => 'jane 14') \g /dev/null
SELECT loyalty.define_label('nickname', 'single'), loyalty.define_purpose('news') \g /dev/null
SELECT loyalty.set_label(:jane, 'nickname', 'Jane', 'Jane herself', evidence => '{"asked": "Jane"}', idempotency_key => 'jane 21') \g /dev/null
SELECT loyalty.retract_label(:jane, 'nickname', source => 'Jane herself', reason => 'Jane forgot', idempotency_key => 'jane 22') \g /dev/null
SELECT loyalty.set_consent(:jane, 'email', 'news', true, evidence => '{"by": "Jane"}', idempotency_key => 'jane 23') \g /dev/null
SELECT loyalty.define_benefit('thanks', '{"kind": "coupon", "discount": {"amount": 1}}') \g /dev/null
SELECT code FROM loyalty.issue_coupon(:jane, 'thanks', reference => 'Jane waited', idempotency_key => 'jane 15') \gset
SELECT count(*) FROM loyalty.reserve_coupons(:jane, 'basket of Jane', ARRAY[:'code'], now() + interval '1 hour', idempotency_key => 'jane 16') \g /dev/null
SELECT loyalty.define_streak('daily', '{"kind": "check_in"}') \g /dev/null
SELECT loyalty.grant_freeze(:jane, 'daily', reference => 'Jane was ill', idempotency_key => 'jane 17') \g /dev/null
SELECT loyalty.define_badge('founder', '{}') \g /dev/null
SELECT loyalty.give_badge(:jane, 'founder', reason => 'Jane was there', idempotency_key => 'jane 18') \g /dev/null
SELECT loyalty.define_referral('friends', '{"within": "30 days"}') \g /dev/null
SELECT loyalty.create_referral_code(:bob, 'friends', 'FRIENDOFBOB') \g /dev/null
SELECT loyalty.refer(:jane, 'FRIENDOFBOB', evidence => '{"device": "phone of Jane"}', idempotency_key => 'jane 19') \g /dev/null
SELECT loyalty.define_club('readers', '{}') \g /dev/null
SELECT loyalty.club_act(:jane, 'readers', 'ban', 'Jane was rude') \g /dev/null
SELECT loyalty.define_draw('wheel', '{"prizes": [{"prize": "none", "weight": 1}], "client_seed": true}') \g /dev/null
SELECT loyalty.grant_spin(:jane, 'wheel', reference => 'Jane complained', idempotency_key => 'jane 20') \g /dev/null
SELECT loyalty.review_referral(:jane, 'accept', 'Jane is a friend') \g /dev/null
SELECT loyalty.define_trial('persons', jsonb_build_object('shares', CASE loyalty.arm_of('persons', :jane, '{0.5,0.5}') WHEN 1 THEN '[0.5, 0.5]'::jsonb ELSE '[0.0001, 0.9999]' END),
	now() - interval '1 hour', now() + interval '1 day') \g /dev/null
SELECT loyalty.expose(:jane, 'persons', 'letter to Jane', idempotency_key => 'jane 17') \g /dev/null
SELECT loyalty.define_match('person', '{"fields": {"name": "name", "nick": "name", "born": "date"}}') \g /dev/null
SELECT loyalty.review_pair(:jane, :bob, 'different', 'Jane is not Bob', idempotency_key => 'jane 20') \g /dev/null
INSERT INTO loyalty.match_pair (member_id, other_id, match, weight, probability, pattern, parts, model_no) VALUES (:jane, :bob, 'person', 1, 0.6, '3', '{}', 1);
INSERT INTO loyalty.match_link (member_id, merge_id, other_id, match, parts) VALUES (:jane, :m2, :bob, 'person', '{"fields": {"jane": {}}}');
SELECT loyalty.define_benefit('lounge', '{"kind": "entitlement", "quota": 1}'), loyalty.define_benefit('mug', '{"kind": "reward", "points": 1}'),
	loyalty.define_benefit('hello', '{"kind": "gift", "window": {"welcome": {"after": 30}}, "gives": {"item": "card"}}') \g /dev/null
SELECT loyalty.use_entitlement(:jane, 'lounge', reference => 'Jane flies', idempotency_key => 'jane 17'),
	loyalty.order_reward(:jane, 'mug', reference => 'Jane drinks', idempotency_key => 'jane 18'), loyalty.claim_gift(:jane, 'hello', reference => 'Jane smiled', idempotency_key => 'jane 19') \g /dev/null
SELECT loyalty.earn(:bob, 40, reference => 'order of Bob', idempotency_key => 'bob 3', details => '{"shop": 1}') \g /dev/null

SELECT loyalty.queue_earn(:jane, 1, reference => 'Jane gave blood', idempotency_key => 'jane 1', details => '{"of": "Jane"}') \g /dev/null
SELECT loyalty.post_queued_earns() \g /dev/null

CREATE ROLE person_clerk;
SELECT loyalty.grant_access('person_clerk', 'clerk') \g /dev/null
SELECT request_id AS r FROM loyalty.request_act('adjust', jsonb_build_object('member_id', :jane, 'points', 3, 'reason', 'Jane called again'), 'Jane is patient', idempotency_key => 'jane 12') \gset
SET SESSION AUTHORIZATION person_clerk;
SELECT loyalty.refuse_act(:r, 'Jane shouted') \g /dev/null
RESET SESSION AUTHORIZATION;
SELECT loyalty.request_act('merge_members', jsonb_build_object('survivor_id', :bob, 'absorbed_id', :jane2, 'reason', 'Bob is Jane'), 'so says Jane') \g /dev/null

INSERT INTO loyalty.check_finding (run_id, room, invariant, member_id, detail) VALUES (1, 'ledger', 'award', :jane, 'row "shop:jane@example.org/1" is missing'),
	(1, 'ledger', 'award', NULL, '1 rows, the first is "shop:jane@example.org/1"');

-- All that is written anywhere, by table and column, whatever its type; bytes as text, too.
CREATE FUNCTION pg_temp.written() RETURNS TABLE (relation name, attribute name, value text) LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT t.oid::regclass AS oid, t.relname, a.attname, a.atttypid FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE t.relnamespace = 'loyalty'::regnamespace AND t.relkind IN ('r', 'p', 'm') LOOP
		RETURN QUERY EXECUTE format('SELECT %L::name, %L::name, %s FROM %s t WHERE t.%I IS NOT NULL', c.relname, c.attname,
			CASE WHEN c.atttypid = 'bytea'::regtype THEN format('encode(t.%1$I, $e$hex$e$) || $e$ $e$ || encode(t.%1$I, $e$escape$e$)', c.attname) ELSE format('t.%I::text', c.attname) END,
			c.oid, c.attname);
	END LOOP;
END
$$;
CREATE TEMP VIEW traces AS SELECT DISTINCT relation, attribute FROM pg_temp.written() w WHERE w.value ~* 'jane|4930123456|30 ?123456';
-- what could be guessed from: hashes of arguments, and numbers shown outside
CREATE TEMP TABLE fingerprints AS
SELECT encode(fingerprint, 'hex') AS value FROM loyalty.ledger WHERE idempotency_key ~* 'jane' UNION ALL
SELECT encode(salt, 'hex') FROM loyalty.ledger WHERE concat(reference, reason, details, idempotency_key) ~* 'jane' UNION ALL
SELECT encode(fingerprint, 'hex') FROM loyalty.request WHERE idempotency_key ~* 'jane' UNION ALL
SELECT public_id::text FROM loyalty.member WHERE member_id IN (:jane, :jane2);
SELECT cmp_ok(count(*), '>=', 30::bigint, 'there is much to be guessed from') FROM fingerprints;

-- A table that is new has to be in this story: each with text of members in it is.
SELECT bag_has('SELECT relation::text, attribute::text FROM pg_temp.traces', $$VALUES ('match_review', 'reason'), ('match_link', 'parts'),
	('ledger', 'reference'), ('ledger', 'reason'), ('ledger', 'details'), ('ledger', 'idempotency_key'),
	('identifier', 'value'), ('member', 'attributes'), ('member_fact', 'value'), ('member_act', 'reason'), ('member_merge', 'reason'), ('member_merge', 'unmerge_reason'),
	('queued_earn', 'reference'), ('queued_earn', 'idempotency_key'), ('queued_earn', 'details'), ('queued_earn', 'refused'),
	('request', 'idempotency_key'), ('act_request', 'arguments'), ('act_request', 'reason'), ('act_request', 'decision_reason'), ('tier_event', 'reference'), ('tier_grant', 'reason'),
	('activity', 'lines'), ('activity', 'document'), ('activity', 'external_id'), ('activity', 'idempotency_key'), ('activity_revision', 'reference'),
	('activity_revision', 'idempotency_key'), ('activity_revision', 'was_lines'), ('activity_revision', 'was_document'),
	('member_label', 'value'), ('member_label', 'source'), ('member_label', 'evidence'), ('member_label', 'reason'),
	('coupon', 'basket'), ('coupon_act', 'basket'), ('coupon_act', 'reference'), ('entitlement_act', 'reference'), ('reward_order', 'reference'),
	('reward_act', 'reference'), ('gift_claim', 'reference'),
	('streak_freeze', 'reference'), ('member_badge', 'reason'), ('referral', 'evidence'), ('referral', 'decision_reason'), ('draw_grant', 'reference'), ('club_membership', 'reason'), ('trial_exposure', 'channel')$$, 'Jane is everywhere');
SELECT is_empty($$
	SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 'loyalty'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'ledger_archive' AND a.atttypid IN ('text'::regtype, 'jsonb'::regtype, 'text[]'::regtype)
		AND EXISTS (SELECT FROM pg_attribute m WHERE m.attrelid = c.oid AND m.attname IN ('member_id', 'home_member_id', 'survivor_id') AND NOT m.attisdropped)
		AND NOT EXISTS (SELECT FROM pg_temp.traces t WHERE (t.relation, t.attribute) = (c.relname, a.attname))
		AND (c.relname || '.' || a.attname) NOT IN (
			-- codes and words of ours
			'ledger.currency', 'ledger.kind', 'wallet.currency', 'queued_earn.currency', 'member.status', 'member_merge.cause', 'member_merge.namespaces', 'member_merge.earned_since', 'member_act.act',
			'check_finding.room', 'check_finding.invariant', 'check_finding.currency', 'tier_grant.kind', 'tier_history.event', 'tier_history.reason',
			'event.kind', 'event.payload', 'notice.consumer', 'notice.notice', 'notice.subject',
			'award.kind', 'award.currency', 'award.limited_by', 'award.kept_because', 'award.cause', 'award_counter.counter',
			'coupon.ended', 'coupon_act.kind', 'entitlement_act.kind', 'reward_order.state', 'reward_order.currency', 'reward_act.kind', 'member_label.label', 'member_label.says', 'audience_list.audience', 'audience_change.audience',
			-- names of channels, namespaces, attributes, ladders, levels and measures, which are settings
			'member.joined_via', 'identifier.channel', 'identifier.namespace', 'member_act.channel', 'member_act.namespace', 'member_fact.attribute', 'member_fact.channel',
			'tier_event.measure', 'tier_grant.ladder', 'tier_grant.level', 'tier_grant.fee_currency', 'tier_state.ladder', 'tier_state.level', 'tier_state.earned_level',
			'tier_history.ladder', 'tier_history.level', 'award.campaign', 'award.item',
			'tier_history.ladder', 'tier_history.level', 'award.campaign', 'trial_exposure.trial',
			'activity.kind', 'activity.channel', 'activity.time_zone', 'activity.money', 'activity_revision.was_channel', 'activity_revision.was_time_zone',
			'activity_revision.was_money',
			-- codes of coupons, and of what they are
			'coupon.code', 'coupon_code.code', 'coupon_code.shown', 'coupon.benefit', 'coupon_code.benefit', 'coupon_limit.benefit', 'entitlement_act.benefit', 'reward_order.reward', 'gift_claim.gift', 'gift_claim.period_key', 'gift_card.benefit', 'gift_card.currency', 'gift_card.code', 'gift_card.reference', 'household.name',
			'household_act.kind', 'household_act.role', 'household_act.period', 'household_act.currency', 'household_spend.currency',
			-- names of streaks and the like
			'streak_freeze.streak', 'member_badge.badge', 'member_badge.act', 'challenge_entry.challenge', 'board_score.board', 'board_place.board', 'referral_code.code', 'referral_code.shown',
			'referral_code.referral', 'referral.referral', 'referral.code', 'referral.why', 'referral.decision',
			'draw_grant.draw', 'draw_spin.draw', 'draw_spin.drawn', 'draw_spin.prize', 'draw_spin.client_seed', 'club_membership.club', 'club_membership.act',
			'club_membership.club_role', 'journey_step.journey', 'journey_step.step', 'journey_step.outcome',
			-- names of matches, levels of fields and decisions
			'match_pair.match', 'match_pair.pattern', 'match_pair.parts', 'match_review.decision', 'match_link.match',
			-- answers of settings: a level, a number, yes or no
			'award.inputs',
			'operator_act.act', 'operator_act.currency', 'operator_act.subject', 'act_request.act', 'act_request.decision',
			-- names of roles and of people who act for them
			'operator_act.session_role', 'operator_act.role', 'operator_act.actor', 'operator_act.person', 'act_request.session_role', 'act_request.role', 'act_request.actor',
			'act_request.person', 'act_request.decided_session_role', 'act_request.decided_role', 'act_request.decided_actor', 'act_request.decided_person',
			-- why history was changed, of all members alike
			'award.reason',
			-- numbers
			'coupon_act.spread', 'request.call', 'request.result', 'tier_grant.end_reason', 'act_request.result')$$, 'every column for text of a member is in this test');

-- Giving it out: Jane, by any of her numbers.
CREATE TEMP TABLE exported AS SELECT loyalty.export_member(:jane2) AS e;
SELECT is((SELECT e -> 'members' FROM exported), jsonb_build_array(:jane, :jane2), 'the person, under every number');
SELECT is((SELECT e #> '{tables,operator_act,0,person}' FROM exported), NULL, 'but nobody''s who acted for the program');
SELECT is_empty($$SELECT r FROM exported, jsonb_each(e -> 'tables') t, jsonb_array_elements(t.value) r WHERE r ?| loyalty.actor_columns()$$, 'in no table');
SELECT cmp_ok((SELECT jsonb_array_length(e #> '{tables,operator_act}') FROM exported), '>', 0, 'which has what was done');
SELECT is_empty($$SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_attribute s ON s.attrelid = a.attrelid AND s.attname = 'session_role'
	JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = 'loyalty'::regnamespace
	WHERE a.attname ~ '(role|actor|person)$' AND a.attname <> ALL (loyalty.actor_columns())$$, 'every column with such a name is left out');
SELECT is((SELECT loyalty.export_member(:jane) #- '{exported_at}' FROM exported), (SELECT e #- '{exported_at}' FROM exported), 'by any of them');
CREATE FUNCTION pg_temp.rows_of(members bigint[]) RETURNS TABLE (relation text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT t.relname FROM pg_class t WHERE t.relnamespace = 'loyalty'::regnamespace AND t.relkind IN ('r', 'p') AND t.relname <> 'ledger'
			AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = t.oid AND a.attname = 'member_id' AND NOT a.attisdropped) LOOP
		RETURN QUERY EXECUTE format('SELECT %L, count(*) FROM loyalty.%I WHERE member_id = ANY ($1) HAVING count(*) > 0', c.relname, c.relname) USING members;
	END LOOP;
END
$$;
SELECT is_empty(format($$
	SELECT r.* FROM pg_temp.rows_of('{%s,%s}') r, exported x
	WHERE coalesce(jsonb_array_length(x.e -> 'tables' -> r.relation), 0) < r.n$$, :jane, :jane2), 'every table with a column member_id, with all rows');
SELECT results_eq($$SELECT k, jsonb_array_length(e -> 'tables' -> k) FROM exported, unnest('{member,member_alias,identifier,member_fact,member_merge,request,wallet,tier_event,tier_grant,tier_history,tier_state}'::text[]) k$$,
	$$VALUES ('member', 2), ('member_alias', 1), ('identifier', 3), ('member_fact', 2), ('member_merge', 3), ('request', 20), ('wallet', 4), ('tier_event', 1), ('tier_grant', 1), ('tier_history', 1), ('tier_state', 2)$$,
	'so many of each');
SELECT results_eq($$SELECT r ->> 'currency', r -> 'balance' ? 'lots' FROM exported, jsonb_array_elements(e -> 'tables' -> 'wallet') r WHERE (r -> 'member_id')::bigint = (e -> 'members' -> 0)::bigint$$,
	$$VALUES ('miles', true), ('points', true)$$, 'balances are JSON');
SELECT is((SELECT bool_and(e::text LIKE '%' || v || '%') FROM exported, unnest('{jane at bob''s,cap for Jane,desk of Jane,jane 8,Jane asked nicely,from Bob,shop:jane@example.org/1}'::text[]) v), true,
	'her entries, also those in Bob''s wallet, and what others sent her');
SELECT is((SELECT bool_or(e::text LIKE '%' || v || '%') FROM exported, unnest('{order of the twin,order of Bob,bob@example.org/1,twin@}'::text[]) v), false, 'and nothing of others');
SELECT throws_ok('SELECT loyalty.export_member(999999)', 'LY202', NULL, 'nobody: LY202');
SELECT throws_ok('SELECT loyalty.export_member(NULL)', 'LY202', NULL, 'NULL: LY202');
BEGIN;
SELECT loyalty.earn(424242, 5, reference => 'no member') \g /dev/null
SELECT is(loyalty.export_member(424242) #>> '{tables,ledger,0,reference}', 'no member', 'of a number that is in no table of members');
ROLLBACK;
SELECT (loyalty.export_member(:jane) #- '{exported_at}')::text AS expected \gset
CREATE ROLE person_reader;
SET ROLE person_reader;
SELECT throws_ok(format('SELECT loyalty.export_member(%s)', :jane), '42501', NULL, 'who may not read: 42501');
RESET ROLE;
SELECT loyalty.grant_access('person_reader', 'reader') \g /dev/null
SET ROLE person_reader;
SELECT is((loyalty.export_member(:jane) #- '{exported_at}')::text, :'expected', 'a reader gets the same');
RESET ROLE;

-- Forgetting her.
SELECT loyalty.ledger_digest() AS digest \gset
CREATE TEMP TABLE others AS SELECT * FROM loyalty.ledger e WHERE coalesce(e.home_id, e.member_id) NOT IN (:jane, :jane2);
CREATE TEMP TABLE before AS SELECT member_id, entry_id, currency, kind, points, requested, available, effective_at, lots::text, hash FROM loyalty.ledger;
SELECT count(*) AS n FROM loyalty.ledger WHERE salt IS NOT NULL AND coalesce(home_id, member_id) IN (:jane, :jane2) \gset
SELECT results_eq(format('SELECT members, identifiers, facts, entries FROM loyalty.forget_member(%s)', :jane2),
	format($$VALUES (ARRAY[%s, %s]::bigint[], 3::bigint, 2::bigint, %s + 2::bigint)$$, :jane, :jane2, :n), 'she is forgotten: her entries, and two copies with others');
SELECT is_empty('SELECT * FROM pg_temp.traces', 'no trace of her anywhere');
SELECT is_empty('SELECT w.relation, w.attribute FROM pg_temp.written() w JOIN fingerprints f ON w.value LIKE $$%$$ || f.value || $$%$$', 'nor of what could be guessed from');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all invariants hold');
SELECT is((loyalty.verify_ledger(:'digest')).intact, true, 'a digest of before is proven');
SELECT is((loyalty.verify_ledger(loyalty.ledger_digest())).intact, true, 'and one of now');
SELECT is_empty('SELECT member_id, entry_id, currency, kind, points, requested, available, effective_at, lots::text, hash FROM loyalty.ledger EXCEPT SELECT * FROM before', 'entries stay what they were');
SELECT is(loyalty.rebuild_wallets_of(ARRAY[:jane, :jane2, :bob, :twin]), 0::bigint, 'and so do wallets');
SELECT results_eq(format('SELECT kind COLLATE "default", (e.reference, e.reason, e.details, e.idempotency_key, e.fingerprint, e.salt) IS NULL, octet_length(e.texts_hash) FROM loyalty.ledger e WHERE entry_id = %s', :e),
	$$VALUES ('earn', true, 32)$$, 'one hash stands for what an entry said');
SELECT results_eq('SELECT e.kind COLLATE "default", e.points FROM loyalty.ledger e JOIN others o USING (member_id, entry_id) WHERE to_jsonb(e) <> to_jsonb(o) ORDER BY e.entry_id',
	$$VALUES ('transfer_in', 7::bigint), ('reverse', 20)$$, 'of others'' entries only copies of hers are erased: what Bob got from her, what came back to the twin');
SELECT is((SELECT array_agg(DISTINCT status) FROM loyalty.member WHERE member_id IN (:jane, :jane2)), '{forgotten}', 'both numbers are forgotten');
SELECT results_eq(format('SELECT entries, identifiers FROM loyalty.forget_member(%s)', :jane), 'VALUES (0::bigint, 0::bigint)', 'again');
SELECT is(loyalty.export_member(:jane) #> '{tables,ledger,0,reference}', 'null', 'what is kept of her now can be given out, too');

-- A repeated call never pays twice.
CREATE TEMP TABLE points AS SELECT member_id, currency, sum(points) AS points, count(*) AS n FROM loyalty.ledger GROUP BY 1, 2;
CREATE TABLE again AS SELECT :jane::bigint AS member_id, 11 AS points, now() AS effective_at, 'jane 8' AS idempotency_key;
SELECT throws_ok(format(call, :jane, :jane2, :e, :together, :bob), 'LY115', NULL, call) FROM unnest(ARRAY[
	$$SELECT loyalty.earn(%1$s, 1000, reference => 'jane@example.org', idempotency_key => 'jane 1', details => '{"phone": "+4930123456"}')$$,
	$$SELECT loyalty.earn(%2$s, 10, 'miles', idempotency_key => 'jane miles')$$,
	$$SELECT loyalty.earn(%1$s, 70, idempotency_key => 'jane at bob''s')$$,
	$$SELECT loyalty.redeem(%1$s, 1, idempotency_key => 'new')$$,
	$$SELECT loyalty.reverse(%1$s, %3$s, 10, reference => 'Jane', idempotency_key => 'jane 3')$$,
	$$SELECT loyalty.reverse(%1$s, %4$s, 10, idempotency_key => 'new')$$,
	$$SELECT loyalty.reverse(%1$s, %4$s, 20, reference => 'cap of Jane came back', idempotency_key => 'jane 11')$$,
	$$SELECT loyalty.transfer(%1$s, %5$s, 7, idempotency_key => 'jane 6')$$,
	$$SELECT loyalty.adjust(%1$s, -5, 'called', idempotency_key => 'jane 2')$$,
	$$SELECT loyalty.post_many('{%1$s}', '{earn}', '{1}', idempotency_keys => '{jane 7}')$$,
	$$SELECT loyalty.backfill('again')$$,
	$$SELECT loyalty.record_qualification(%1$s, 'orders', 120, reference => 'order', idempotency_key => 'jane 9')$$,
	$$SELECT loyalty.grant_tier(%1$s, 'club', 'silver', 'manual', idempotency_key => 'jane 10')$$]) call;
INSERT INTO shop_order VALUES ('jane@example.org/3', :jane, 500);
UPDATE shop_order SET amount = 1000 WHERE number = 'jane@example.org/1';
DELETE FROM shop_order WHERE number = 'jane@example.org/2';
INSERT INTO shop_order VALUES ('jane@example.org/2', :jane2, 50);
SELECT is_empty('SELECT member_id, currency, sum(points), count(*) FROM loyalty.ledger GROUP BY 1, 2 EXCEPT SELECT * FROM points', 'nor does a row, whatever becomes of it');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'and nobody misses what it is worth');
UPDATE shop_order SET member_id = NULL WHERE member_id IN (:jane, :jane2);
SELECT is((SELECT replayed FROM loyalty.earn(:twin, 100, reference => 'order of the twin', idempotency_key => 'twin 1')), true, 'keys of others are as they were: the twin''s in her wallet');
SELECT is((SELECT replayed FROM loyalty.earn(:bob, 40, reference => 'order of Bob', idempotency_key => 'bob 3', details => '{"shop": 1}')), true, 'and Bob''s');
SELECT is((SELECT replayed FROM loyalty.earn(:bob, 41, idempotency_key => 'bob 4')), false, 'who goes on to earn');
SELECT is((SELECT available - lag FROM loyalty.earn(:jane, 5), (SELECT available AS lag FROM loyalty.balance(:jane)) b), 5::bigint, 'without a key she does as well');
SELECT is((SELECT outcome FROM loyalty.resolve_member('{"email": "jane@example.org"}', idempotency_key => 'signup of jane@example.org')), 'created', 'whoever comes with her address is somebody new');
SELECT is_empty('SELECT * FROM loyalty.check_all()', 'all invariants hold');

-- Nobody else erases, changes or restores anything.
CREATE ROLE person_writer;
GRANT USAGE ON SCHEMA loyalty TO person_writer;
GRANT ALL ON ALL TABLES IN SCHEMA loyalty TO person_writer;
REVOKE TRIGGER ON ALL TABLES IN SCHEMA loyalty FROM person_writer;
SET ROLE person_writer;
SELECT throws_ok(format(sql, :bob), '42501', NULL, sql) FROM unnest('{SELECT loyalty.mark_erased(ARRAY[%s]),"SELECT loyalty.erase_entries(ARRAY[%s], ARRAY[1])",SELECT loyalty.erase_tier_events(ARRAY[%s])}'::text[]) sql;
RESET ROLE;
DROP OWNED BY person_writer, person_reader;
DROP ROLE person_writer, person_reader;
SELECT throws_ok(sql, 'LY005', NULL, sql) FROM unnest('{UPDATE loyalty.ledger SET reference = NULL,UPDATE loyalty.tier_event SET reference = NULL,DELETE FROM loyalty.ledger,UPDATE loyalty.wallet SET erased = NULL}'::text[]) sql;
CREATE FUNCTION pg_temp.tampered(change text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	found text[];
BEGIN
	ALTER TABLE loyalty.ledger DISABLE TRIGGER USER;
	ALTER TABLE loyalty.wallet DISABLE TRIGGER USER;
	EXECUTE change;
	found := (SELECT array_agg(DISTINCT c.invariant ORDER BY c.invariant) FROM loyalty.check_all() c WHERE c.room <> 'core');
	RAISE EXCEPTION USING ERRCODE = 'XX999', MESSAGE = coalesce(found::text, 'nothing');
EXCEPTION WHEN SQLSTATE 'XX999' THEN
	RETURN nullif(SQLERRM, 'nothing')::text[];
END
$$;
SELECT is(pg_temp.tampered(format(change, :e, :bob)), found::text[], change) FROM (VALUES
	('SELECT 1', NULL),
	($$UPDATE loyalty.ledger SET reference = 'Jane' WHERE entry_id = %1$s$$, '{chain}'),
	($$UPDATE loyalty.ledger SET salt = '\x00' WHERE entry_id = %1$s$$, '{chain}'),
	($$UPDATE loyalty.ledger SET texts_hash = sha256('') WHERE entry_id = %1$s$$, '{chain}'),
	($$UPDATE loyalty.ledger SET texts_hash = NULL WHERE entry_id = %1$s$$, '{chain}'),
	($$UPDATE loyalty.ledger SET reference = 'another' WHERE idempotency_key = 'bob 3'$$, '{chain}'),
	($$UPDATE loyalty.ledger SET idempotency_key = NULL WHERE idempotency_key = 'bob 3'$$, '{chain}'),
	($$UPDATE loyalty.ledger SET salt = NULL WHERE idempotency_key = 'bob 3'$$, '{chain}'),
	($$UPDATE loyalty.ledger SET texts_hash = sha256('') WHERE idempotency_key = 'bob 3'$$, '{chain,erased}'),
	($$SELECT loyalty.erase_entries(array_agg(member_id), array_agg(entry_id)) FROM loyalty.ledger WHERE idempotency_key = 'bob 3'$$, '{erased}'),
	($$SELECT loyalty.mark_erased('{%2$s}')$$, '{award,erased}')) v (change, found);
SELECT is((SELECT count(DISTINCT salt) = count(*) AND min(octet_length(salt)) = 16 FROM loyalty.ledger WHERE salt IS NOT NULL), true, 'each entry has a salt of its own');
SELECT is_empty('SELECT FROM loyalty.ledger WHERE (salt IS NOT NULL) <> (num_nonnulls(reference, reason, details, idempotency_key) > 0)', 'and none without texts has one');

-- A value that was blocked stays: it is nobody's.
SELECT member_id AS carl FROM loyalty.resolve_member('{"email": "carl@example.org"}') \gset
SELECT loyalty.block_identifier('email', 'carl@example.org', 'the shop wrote it by default'), loyalty.forget_member(:carl) \g /dev/null
SELECT is((SELECT outcome FROM loyalty.resolve_member('{"email": "carl@example.org"}')), 'conflict', 'what is blocked stays blocked');
DROP OWNED BY person_clerk;
SELECT * FROM finish();
