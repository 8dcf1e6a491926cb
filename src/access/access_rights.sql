/*
 * Which function needs which right.  Each of these moves to another schema,
 * where nobody calls it, and in its place a function is put that checks its
 * caller and then runs it as the owner of the tables (src/core/behind.c).
 *
 * Those in PL/pgSQL that read and may refuse move as well, and run as their
 * caller: what stands before them keeps lines of ours out of the context of a
 * refusal.
 */
CREATE SCHEMA loyalty_as_owner;
COMMENT ON SCHEMA loyalty_as_owner IS 'What is behind those functions of loyalty that write: they check their caller, and run these as the owner of the tables.';
CREATE SCHEMA loyalty_as_caller;
COMMENT ON SCHEMA loyalty_as_caller IS 'What is behind some functions of loyalty that read: they run these as their caller.';

DO $block$
DECLARE
	path CONSTANT text := pg_catalog.current_setting('search_path');
	f record;
BEGIN
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	FOR f IN
		SELECT l.before, CASE l.before WHEN 'as_caller' THEN 'loyalty_as_caller' ELSE 'loyalty_as_owner' END AS schema,
			n.name, p.oid, pg_get_function_identity_arguments(p.oid) AS identity, pg_get_function_arguments(p.oid) AS arguments,
			pg_get_function_result(p.oid) AS result, p.proisstrict, p.proretset, p.prorows, obj_description(p.oid, 'pg_proc') AS comment,
			CASE WHEN l.before = 'as_caller' AND p.provolatile = 's' THEN 'STABLE' ELSE 'VOLATILE' END AS volatility,
			CASE WHEN l.before <> 'as_caller' OR p.prosupport <> 0 THEN 'SUPPORT loyalty.require_setup' END AS support
		FROM (VALUES
			('may_post', '{earn, redeem, hold, capture, release, activate, transfer, take_wallet, post_transfer_out, post_transfer_in, post_many, queue_earn, post_queued_earns, resolve_member, record_qualification,
				record_activity, record_many, revise_activity, record_return,
				set_label, retract_label, set_consent,
				expose,
				use_entitlement, confirm_use, restore_use, order_reward, pay_reward, fulfil_reward, cancel_reward, claim_gift,
				issue_card, redeem_card, claim_card, create_household, join_household, leave_household, set_allowance, redeem_for,
				issue_coupon, claim_code, reserve_coupons, release_coupons, transfer_coupon, grant_freeze, enrol, refresh_engagement, create_referral_code, refer, draw, join_club, leave_club}'::text[]),
			('may_consume', '{poll_events, acknowledge, consume_events, consume_notices}'),
			('may_correct', '{reverse, refund_card, link_identifier, unlink_identifier, take_steps_of, request_act, approve_act, refuse_act, withdraw_act}'),
			('may_operate', '{adjust, book_expiry, book_expiries_of, rebuild_wallets_of, ledger_digest,
				lock_job, unlock_job, begin_job, note_job, end_job, store_findings,
				merge_members, unmerge_members, forget_member, refresh_attributes,
				grant_tier, renew_grant, end_grant, set_joined, evaluate_member_tiers, evaluate_tiers_of, book_tiers_of, tiers_to_evaluate, maintain_tier,
				prune_batch,
				change_list, next_refresh_audience, next_refresh_labels,
				reapply_terms, reapply_campaign_of,
				revoke_coupon, book_gifts_of,
				fit_match, find_duplicates_of, review_pair, merge_match, merge_matches,
				give_badge, take_badge, grant_spin, club_act, review_referral, begin_closing, close_board_of, refresh_engagements_of,
				close_month,
				add_to_summaries, evaluate_goal}'),
			('may_define', '{configure_program, create_currency, configure_namespace, block_identifier, register_merge_handler,
				define_rfm_scheme, drop_rfm_scheme, define_measure, define_ladder,
				define_activity_kind, define_product, define_holidays,
				define_label, define_label_rule, define_purpose, define_audience, define_list,
				define_benefit, add_codes, generate_codes,
				define_streak, define_badge, define_challenge, define_board, define_referral, define_draw, reveal_draw, define_club, define_journey,
				define_campaign, end_campaign,
				define_match,
				set_point_value, set_redemption_estimate, estimate_redemption,
				define_trial, set_channel_cost,
				define_goal, drop_goal,
				define_approval, drop_approval,
				subscribe, unsubscribe, define_notice, drop_notice}'),
			('as_caller', '{rfm_table, rfm_transitions, preview_merge, export_member, preview_ladder, verify_ledger, due_notices}')) l (before, names),
			unnest(l.names) n (name) LEFT JOIN pg_proc p ON p.proname = n.name AND p.pronamespace = 'loyalty'::regnamespace
		-- after an update most of them stand behind already
		WHERE p.prosrc IS DISTINCT FROM 'loyalty_' || l.before
	LOOP
		EXECUTE format('ALTER FUNCTION loyalty.%I(%s) SET SCHEMA %I', f.name, f.identity, f.schema);
		EXECUTE format('CREATE FUNCTION loyalty.%I(%s) RETURNS %s LANGUAGE c %s %s %s %s AS %L, %L',
			f.name, f.arguments, f.result, f.volatility, CASE WHEN f.proisstrict THEN 'STRICT' END,
			CASE WHEN f.proretset THEN 'ROWS ' || f.prorows END, f.support, 'MODULE_PATHNAME', 'loyalty_' || f.before);
		EXECUTE format('COMMENT ON FUNCTION loyalty.%I(%s) IS %L', f.name, f.identity, f.comment);
		EXECUTE format('COMMENT ON FUNCTION %I.%I(%s) IS %L', f.schema, f.name, f.identity,
			format('What loyalty.%s() does, as its caller; part of it.', f.name));
	END LOOP;
	PERFORM pg_catalog.set_config('search_path', path, true);
END
$block$;
