/*
 * access: who did what by hand, and what one person may not do alone.
 */

CREATE FUNCTION named_actor() RETURNS text
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'loyalty_named_actor';
COMMENT ON FUNCTION named_actor() IS
'The actor that this transaction has named by SET LOCAL loyalty.actor; NULL where it has named none, whatever an earlier one did.';

CREATE FUNCTION acting_person() RETURNS text
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_acting_person';
COMMENT ON FUNCTION acting_person() IS
'As whose an act in this transaction counts: the actor that it has named, where the session''s role is trusted to name one (trust_actors), and otherwise that role, whatever SET ROLE says. Error: LY024 a trusted role has named nobody.';

CREATE FUNCTION approvable_acts(OUT act text, OUT function_name text, OUT has_points boolean, OUT of_the_known boolean) RETURNS SETOF record
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$
	VALUES ('adjust', 'adjust', true, false), ('reverse', 'reverse', true, false), ('merge_members', 'merge_members', false, true),
		('give_badge', 'give_badge', false, false), ('take_badge', 'take_badge', false, false), ('grant_spin', 'grant_spin', false, false),
		('review_referral', 'review_referral', false, false),
		('unmerge_members', 'unmerge_members', false, true), ('forget_member', 'forget_member', false, true),
		('grant_tier', 'grant_tier', false, false), ('grant_tier', 'renew_grant', false, false), ('end_grant', 'end_grant', false, false),
		('link_identifier', 'link_identifier', false, true), ('unlink_identifier', 'unlink_identifier', false, true)
$$;
COMMENT ON FUNCTION approvable_acts() IS
'The acts for which there may be a policy, the functions that do them, which request_act() takes, whether they have an amount, and whether their members must be in the table member, whatever configure_program() says.';

CREATE FUNCTION define_approval(act text, above numeric DEFAULT 0, currency text DEFAULT '*', within interval DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	has_points CONSTANT boolean := (SELECT a.has_points FROM loyalty.approvable_acts() a WHERE a.act = define_approval.act LIMIT 1);
	wrong CONSTANT text := CASE
		WHEN has_points IS NULL THEN format('There are no policies for act "%s".', coalesce(act, 'NULL'))
		WHEN above IS NULL OR above < 0 OR above = 'NaN' THEN format('above is %s.', coalesce(above::text, 'NULL'))
		WHEN currency IS NULL THEN 'currency is NULL.'
		WHEN within <= interval '0' THEN format('within is %s.', within)
		WHEN NOT has_points AND (above <> 0 OR currency <> '*' OR within IS NOT NULL) THEN format('%s has no points: it needs approval, or it does not.', act) END;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid policy'
			USING ERRCODE = 'LY003', DETAIL = wrong,
				HINT = 'above is not negative, within positive; both are for adjust and reverse. loyalty.approvable_acts() lists the acts.';
	END IF;
	IF currency <> '*' AND NOT EXISTS (SELECT FROM loyalty.currency c WHERE c.code = define_approval.currency) THEN
		RAISE EXCEPTION 'unknown currency "%"', currency
			USING ERRCODE = 'LY102', DETAIL = 'The table loyalty.currency has no row with this code.',
				HINT = 'Give the code of a currency, or * for all that have no policy of their own.';
	END IF;
	INSERT INTO loyalty.approval_policy AS p (act, currency, above, within) VALUES (act, currency, above, within)
	ON CONFLICT ON CONSTRAINT approval_policy_pkey DO UPDATE SET above = excluded.above, within = excluded.within
	WHERE (p.above, p.within) IS DISTINCT FROM (excluded.above, excluded.within);
	RETURN act;
END
$$;
COMMENT ON FUNCTION define_approval(text, numeric, text, interval) IS
'From now on an act needs the approval of another person (LY020): adjust and reverse of more points than above (0: always), in a currency, or in all that have no policy of their own (*); other acts always. within: all that one person did alone within this time counts together, whoever the members are. In place of the policy that there was. Binds everybody; is kept, as drop_approval() is. Errors: LY003, LY102 unknown currency.';

CREATE FUNCTION drop_approval(act text, currency text DEFAULT '*') RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM loyalty.approval_policy p WHERE p.act = drop_approval.act AND p.currency = drop_approval.currency;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION drop_approval(text, text) IS 'Drops a policy that define_approval() made; false when there was none.';

CREATE FUNCTION who_did(member_id bigint DEFAULT NULL, entry_id bigint DEFAULT NULL, merge_id bigint DEFAULT NULL, grant_id bigint DEFAULT NULL)
RETURNS TABLE (act_id bigint, recorded_at timestamptz, act text, member_id bigint, object_id bigint, currency text, points bigint,
	person text, session_role text, role text, actor text, reason text, request_id bigint, approved_by text, approved_at timestamptz, subject text)
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.act_id, a.recorded_at, a.act, a.member_id, a.object_id, a.currency, a.points,
		a.person, a.session_role, a.role, a.actor,
		CASE WHEN a.act IN ('adjust', 'reverse') THEN (SELECT e.reason FROM loyalty.all_entries() e WHERE e.member_id = a.member_id AND e.entry_id = a.object_id)
			WHEN a.act = 'merge_members' THEN (SELECT m.reason FROM loyalty.member_merge m WHERE m.merge_id = a.object_id)
			WHEN a.act = 'unmerge_members' THEN (SELECT m.unmerge_reason FROM loyalty.member_merge m WHERE m.merge_id = a.object_id)
			WHEN a.act = 'grant_tier' THEN (SELECT g.reason FROM loyalty.tier_grant g WHERE g.member_id = a.member_id AND g.grant_id = a.object_id)
			WHEN a.act = 'end_grant' THEN (SELECT g.end_reason FROM loyalty.tier_grant g WHERE g.member_id = a.member_id AND g.grant_id = a.object_id)
			WHEN a.act = 'unlink_identifier' THEN (SELECT h.reason FROM loyalty.member_act h WHERE h.member_id = a.member_id AND h.act = 'unlinked'
				AND h.identifier_id = a.object_id ORDER BY h.act_id DESC LIMIT 1)
			WHEN a.act = 'revoke_coupon' THEN (SELECT c.reference FROM loyalty.coupon_act c WHERE c.member_id = ANY (loyalty.numbers_of(a.member_id))
				AND c.coupon_id = a.object_id AND c.kind = 'revoked' ORDER BY c.act DESC LIMIT 1)
			WHEN a.act IN ('give_badge', 'take_badge') THEN (SELECT b.reason FROM loyalty.member_badge b WHERE b.member_id = a.member_id AND b.act_id = a.object_id)
			WHEN a.act = 'club_act' THEN (SELECT c.reason FROM loyalty.club_membership c WHERE c.member_id = ANY (loyalty.numbers_of(a.member_id)) AND c.act_no = a.object_id)
			WHEN a.act = 'review_referral' THEN (SELECT f.decision_reason FROM loyalty.referral f WHERE f.member_id = a.member_id)
			WHEN a.act = 'review_pair' THEN (SELECT v.reason FROM loyalty.match_review v WHERE v.decision_no = a.object_id) END,
		a.request_id, r.decided_person, r.decided_at, a.subject
	FROM loyalty.operator_act a LEFT JOIN loyalty.act_request r ON r.request_id = a.request_id
	WHERE ($1 IS NOT NULL OR $2 IS NOT NULL OR $3 IS NOT NULL OR $4 IS NOT NULL)
		AND ($1 IS NULL OR a.member_id = $1 OR a.act IN ('merge_members', 'unmerge_members')
			AND a.object_id IN (SELECT m.merge_id FROM loyalty.member_merge m WHERE m.survivor_id = $1))
		AND ($2 IS NULL OR a.object_id = $2 AND a.act IN ('adjust', 'reverse'))
		AND ($3 IS NULL OR a.object_id = $3 AND a.act IN ('merge_members', 'unmerge_members'))
		AND ($4 IS NULL OR a.object_id = $4 AND a.act IN ('grant_tier', 'end_grant'))
	ORDER BY a.act_id
$$;
COMMENT ON FUNCTION who_did(bigint, bigint, bigint, bigint) IS
'Who did what by hand to a member, an entry, a merge or a grant, oldest first: the person, the role that had logged in, the one that acted, the actor that was named, the reason as the act keeps it, who approved it, and what it was about, where no number tells: the badge and its level, the list and on or off, the club and what it did. No rows for what nobody did by hand. Of several arguments all must fit.';

CREATE FUNCTION forget_member_requests(member_ids bigint[]) RETURNS void
LANGUAGE sql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT loyalty.erase_rows($q$
		UPDATE loyalty.act_request r SET arguments = NULL, reason = NULL, decision_reason = NULL, result = NULL
		WHERE (r.member_id = ANY ($1) OR r.other_member_id = ANY ($1))
			AND (r.arguments IS NOT NULL OR r.reason IS NOT NULL OR r.decision_reason IS NOT NULL OR r.result IS NOT NULL)$q$, $1)
$$;
COMMENT ON FUNCTION forget_member_requests(bigint[]) IS
'What forget_member() means here: arguments, reasons and results of requests are deleted, and those that are open can no longer be approved. Who did what stays, by numbers and names of those who acted. Part of forget_member().';
