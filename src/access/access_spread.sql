/*
 * access: the tables spread over several machines, by Citus.
 *
 * CALL distribute() on the coordinator, after setup().  Rows of members go to
 * the machine of their member, all of a member to the same; everything else,
 * settings and what must be unique among all members, is on every machine
 * (reference tables).  A function of a member then runs where the member is:
 * see src/core/spread_call.c.  What works elsewhere, and what does not work at all, is
 * said here, for all rooms: whatever is not named is refused (LY007).
 *
 * All that is asked of Citus is asked by statements made here, since neither its
 * functions nor its catalogs are there where it is not.
 */

CREATE FUNCTION spread_tables(OUT table_name text, OUT relation regclass, OUT distribution_column text) RETURNS SETOF record
LANGUAGE sql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT t.table_name, t.relation,
		CASE WHEN t.table_name <> 'member_alias' AND NOT EXISTS (SELECT FROM pg_index i
			WHERE i.indrelid = t.relation AND (i.indisunique OR i.indisexclusion) AND a.attnum <> ALL (i.indkey)) THEN a.attname::text END
	FROM loyalty.tables_of_program() t
	LEFT JOIN pg_attribute a ON a.attrelid = t.relation AND a.attnotnull
		AND a.attname = CASE t.table_name WHEN 'member_fact' THEN 'home_member_id' ELSE 'member_id' END
	ORDER BY t.table_name <> 'layout', t.table_name <> 'wallet', t.table_name
$$;
COMMENT ON FUNCTION spread_tables() IS
'How distribute() spreads our tables, in its order: by the member where every unique key has the member (distribution_column), and otherwise as a reference table, which is on every machine (NULL). The one of layouts goes first: from then on nothing is written until all are spread. Part of distribute().';

CREATE FUNCTION spread_functions(OUT function regprocedure, OUT place text) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT p.oid,
		CASE
			WHEN p.proname = ANY ('{merge_members, unmerge_members, forget_member, transfer_coupon, post_queued_earns,
				link_identifier, unlink_identifier, create_referral_code,
				configure_namespace, subscribe, define_approval, revise_activity, record_return, export_member, member_card, card_rows, member_history, who_did, refresh_attributes,
				preview_tier, tier_problem, card_balance,
				define_badge, define_challenge, define_club, define_draw, define_journey, define_referral, define_streak, reveal_draw, refresh_engagement,
				enrol, grant_freeze, streak_of, progress, journeys, join_club, leave_club, club_act, draw, grant_spin, spins_left}'::text[]) THEN 'one machine'
			WHEN p.proname = ANY ('{
				check_all, check_wallets, audience_state, board_period, campaign_budget_left, canonical_member, current_channel_costs, declared_happenings,
				engagement_in_force, escrow_left, estimate_at, existing_ladder, find_rfm_scheme, member_of, notice_source, point_value_at,
				program_time_zone, require_audience, require_consumer, require_goal, require_notices, rfm_segment, rfm_segment_of, reward_stock,
				stored_function, numbers_of, why_merged, check_rfm, has_rows, heard_since,
				ledger_digest, verify_ledger,
				rfm_members, rfm_reading, rfm_segment_sizes, rfm_table, rfm_transitions, next_best, product_affinity,
				check_definition, check_benefit_definition, check_draw_definition, check_engagement_definition, check_rfm_bins, check_orders_column,
				evaluate_campaigns, campaign_points, price_basket, prize_of_ticket, fact_holds, term_since,
				acting_person, put_access, put_engagement, resolve_member_fully, consent_question, limit_exceeded, audience_tree}'::text[])
				OR p.proname LIKE 'audience\_term\_%' THEN 'everywhere'
			WHEN (p.proargnames)[1] = 'member_id' AND (p.proargtypes)[0] = 'bigint'::regtype AND p.prokind = 'f' THEN 'member'
			WHEN p.prokind = 'p' AND p.proname = ANY ('{book_expiries, book_tiers, evaluate_tiers, book_gifts, reapply_campaign, run_checks, rebuild_wallets}'::text[]) THEN 'coordinator'
			WHEN p.proname = ANY ('{post_many, record_many, transfer}'::text[]) THEN 'everywhere'
			WHEN p.proname = 'resolve_member' OR p.prosrc = 'loyalty_may_define' OR p.proname = ANY ('{grant_access, revoke_access, trust_actors}'::text[]) THEN 'coordinator'
			ELSE 'one machine'
		END
	FROM pg_proc p
	WHERE p.pronamespace = 'loyalty'::regnamespace AND p.prokind IN ('f', 'p') AND p.provolatile <> 'i'
		AND (p.prosupport = 'loyalty.require_setup'::regproc OR p.prokind = 'p' AND p.proname NOT IN ('distribute', 'run_job'))
		-- what is called by those that work
		AND p.proname <> ALL ('{all_entries, evaluate_tiers_of, rebuild_wallets_of, reapply_terms, label_holders, take_steps_of}'::text[])
		AND (obj_description(p.oid, 'pg_proc') !~ 'Part of |; part of |see program_triggers\(\)|called by setup\(\)'
			OR obj_description(p.oid, 'pg_proc') ~ 'Sent to the machine of the member')
$$;
COMMENT ON FUNCTION spread_functions() IS
'Where each function that is no part of another one works once tables are spread: with the member that is its first argument (member), on the coordinator, everywhere, or on one machine only: that is refused (LY007). Part of distribute().';

CREATE FUNCTION require_cluster() RETURNS void
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	problem text;
	repair text;
	is_spread boolean;
BEGIN
	PERFORM loyalty.require_owner();
	IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		RAISE EXCEPTION 'role "%" is no superuser', current_user
			USING ERRCODE = 'insufficient_privilege', DETAIL = 'Functions of the extension are altered on every machine.', HINT = 'Call it as a superuser.';
	END IF;
	IF to_regclass('pg_catalog.pg_dist_partition') IS NULL THEN
		problem := 'this database has no Citus';
		repair := 'CREATE EXTENSION citus in it on every machine, and citus_add_node() for each on the coordinator.';
	ELSE
		EXECUTE $q$
			SELECT 'this machine is not the coordinator', 'CALL loyalty.distribute() there.'
			FROM pg_catalog.pg_dist_local_group l WHERE l.groupid <> 0
			UNION ALL
			SELECT 'the coordinator does not know its own address', 'SELECT citus_set_coordinator_host(''its address'');'
			WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_dist_node n WHERE n.groupid = 0)
			UNION ALL
			SELECT format('a machine has group %s', max(n.groupid)), 'Numbers of entries are for 1024 machines.'
			FROM pg_catalog.pg_dist_node n HAVING max(n.groupid) > 1023
			UNION ALL
			SELECT format('citus.enable_unsafe_triggers is off on node %s', r.nodeid), 'Set it on every machine: our tables have triggers.'
			FROM pg_catalog.run_command_on_all_nodes('SHOW citus.enable_unsafe_triggers') r WHERE r.result <> 'on'
			LIMIT 1$q$
		INTO problem, repair;
		EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = ''loyalty.wallet''::pg_catalog.regclass)' INTO is_spread;
		IF problem IS NULL THEN
			EXECUTE $q$
				SELECT format('table %s is not spread as loyalty.wallet is', t.relation), 'All rows of a member must be on one machine. Restore a dump into a database without Citus, and spread that.'
				FROM loyalty.spread_tables() t JOIN pg_catalog.pg_dist_partition d ON d.logicalrelid = t.relation
				WHERE t.distribution_column IS NOT NULL AND (d.partmethod <> 'h'
					OR d.colocationid IS DISTINCT FROM (SELECT w.colocationid FROM pg_catalog.pg_dist_partition w WHERE w.logicalrelid = 'loyalty.wallet'::pg_catalog.regclass))
				ORDER BY 1 LIMIT 1$q$
			INTO problem, repair;
		END IF;
		IF problem IS NULL AND NOT is_spread THEN
			SELECT x.problem, x.repair INTO problem, repair
			FROM (
				SELECT format('table %s is partitioned', t.relation), 'Spread are ordinary tables; Citus makes the parts.'
				FROM loyalty.spread_tables() t JOIN pg_class c ON c.oid = t.relation WHERE c.relkind = 'p' OR c.relispartition
				UNION ALL
				SELECT 'there are members who are merged', 'A merge concerns two members, who may be on two machines: this works on one machine only.'
				WHERE EXISTS (SELECT FROM loyalty.member_alias)
				UNION ALL
				SELECT format('there is a %s', v.what), 'Of engagement, boards and badges that are given by hand work on several machines.'
				FROM loyalty.engagement_version v WHERE v.what <> 'board' AND (v.what <> 'badge' OR v.definition ? 'kind')
				UNION ALL
				SELECT 'there are points of members who are not known',
					'INSERT INTO loyalty.member (member_id) SELECT DISTINCT member_id FROM loyalty.wallet ON CONFLICT DO NOTHING;'
				WHERE EXISTS (SELECT FROM loyalty.wallet w WHERE NOT EXISTS (SELECT FROM loyalty.member m WHERE m.member_id = w.member_id))
				UNION ALL
				SELECT format('%s needs approval', p.act), 'Requests work on one machine only: SELECT loyalty.drop_approval(act, currency) FROM loyalty.approval_policy;'
				FROM loyalty.approval_policy p
				UNION ALL
				SELECT 'there are consumers of events', 'Their positions hold on one machine only: SELECT loyalty.unsubscribe(consumer) FROM loyalty.event_consumer;'
				WHERE EXISTS (SELECT FROM loyalty.event_consumer)
				LIMIT 1) x (problem, repair);
		END IF;
	END IF;
	IF problem IS NOT NULL THEN
		RAISE EXCEPTION 'the tables cannot be spread over several machines'
			USING ERRCODE = 'LY007', DETAIL = upper(left(problem, 1)) || substr(problem, 2) || '.', HINT = repair;
	END IF;
END
$$;
COMMENT ON FUNCTION require_cluster() IS
'Raises LY007, with what to do, where distribute() cannot work; 42501 unless the caller is a superuser who has the rights of the owner of our tables. Part of distribute().';

CREATE FUNCTION spread_table(relation regclass, distribution_column text, shard_count integer) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
	is_spread boolean;
	is_first CONSTANT boolean := relation = 'loyalty.wallet'::regclass;
BEGIN
	PERFORM loyalty.require_owner();
	EXECUTE 'SELECT EXISTS (SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = $1)' INTO is_spread USING relation;
	IF is_spread THEN
		RETURN false;
	END IF;
	-- what is there goes where it belongs; the guards stop nobody but others
	SET LOCAL citus.propagate_set_commands = 'local';
	SET LOCAL session_replication_role = 'replica';
	IF distribution_column IS NULL THEN
		EXECUTE 'SELECT pg_catalog.create_reference_table($1)' USING relation;
	ELSIF is_first THEN
		EXECUTE 'SELECT pg_catalog.create_distributed_table($1, $2, colocate_with => ''none'', shard_count => $3)'
			USING relation, distribution_column, shard_count;
	ELSE
		EXECUTE 'SELECT pg_catalog.create_distributed_table($1, $2, colocate_with => ''loyalty.wallet'')' USING relation, distribution_column;
	END IF;
	EXECUTE 'SELECT pg_catalog.truncate_local_data_after_distributing_table($1)' USING relation;
	RETURN true;
END
$$;
COMMENT ON FUNCTION spread_table(regclass, text, integer) IS
'Spreads a table by a column, or puts it on every machine (NULL); false where it is spread already. Part of distribute().';

CREATE FUNCTION spread_definition(function regprocedure) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $$
DECLARE
	p record;
	body text;
	definition text;
	given text;
BEGIN
	SELECT r.prosrc, r.provolatile = 'v' AND r.prosrc ~ '^\s*SELECT\s[^;]*$' AND r.prorettype <> 'void'::regtype AS volatile_query, r.proretset, r.prorettype, r.provolatile, r.prosupport, r.proname, l.lanname,
		array_to_string(ARRAY(SELECT quote_ident(r.proargnames[i]) FROM generate_series(1, cardinality(r.proargmodes)) i
			WHERE r.proargmodes[i] IN ('o', 'b') ORDER BY i), ', ') AS columns,
		(SELECT count(DISTINCT a) = count(a) FROM unnest(r.proargnames) a WHERE a <> '') AS distinct_names,
		-- what is wrong with members, whoever they are
		r.pronargs, r.proname ~ '^check_' AND r.proname !~ '_totals$' AND r.pronargs IN (0, 2)
			AND r.proargnames[r.pronargs + 1 :] = '{invariant,member_id,currency,entry_id,detail}' AS finds
	INTO p FROM pg_proc r JOIN pg_language l ON l.oid = r.prolang WHERE r.oid = function AND r.prokind = 'f';
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	body := replace(p.prosrc, 'loyalty.all_entries()', 'loyalty.every_entry');
	-- nobody is merged with anybody, so everybody is one by himself: known while the statement is planned
	body := regexp_replace(body, 'loyalty\.canonical_member\((\$1|\w+(?:\.\w+)?)\)', '\1', 'g');
	body := regexp_replace(body, 'loyalty\.(?:member_tree|numbers_of|tier_numbers_of|member_kin)\((\$1|\w+(?:\.\w+)?)\)', 'ARRAY[\1]', 'g');
	body := regexp_replace(body, '= ANY \(ARRAY\[(\$1|\w+(?:\.\w+)?)\]\)', '= \1', 'g');
	definition := pg_get_functiondef(function);
	IF p.lanname = 'sql' AND (p.prosupport = 'loyalty.require_setup'::regproc AND p.provolatile = 's' OR p.volatile_query)
		AND p.proname <> 'all_entries' AND p.proname NOT LIKE 'spread\_%' AND p.distinct_names THEN
		body := rtrim(body, E'; \t\n') || E'\n';
		given := coalesce(nullif(p.columns, ''), 'result');
		body := E'\n#variable_conflict use_column\n' || CASE WHEN given = 'result' AND NOT p.proretset THEN format(E'DECLARE\n\tresult %s;\n', format_type(p.prorettype, NULL)) ELSE '' END
			|| CASE WHEN p.proretset THEN format(E'BEGIN\n\tRETURN QUERY %s;\nEND\n', body)
				ELSE format(E'BEGIN\n\tFOR %s IN %s LOOP\n\t\tRETURN%s;\n\tEND LOOP;\n\tRETURN%s;\nEND\n', given, body,
					CASE given WHEN 'result' THEN ' result' ELSE '' END, CASE given WHEN 'result' THEN ' NULL' ELSE '' END) END;
		definition := replace(definition, E'\n LANGUAGE sql\n', E'\n LANGUAGE plpgsql\n');
	END IF;
	IF p.finds AND strpos(body, 'loyalty.found_on_machines(') = 0 THEN
		body := format(E'\n#variable_conflict use_column\nBEGIN\n\tIF NOT loyalty.sees_part() THEN\n\t\tRETURN QUERY SELECT f.invariant, f.member_id, f.currency, f.entry_id, f.detail FROM loyalty.found_on_machines(%L, %s) f;\n\t\tRETURN;\n\tEND IF;\n%s;\nEND\n',
			p.proname, CASE p.pronargs WHEN 2 THEN '$1, $2' ELSE 'NULL, NULL' END, rtrim(regexp_replace(body, '#variable_conflict \w+', ''), E'; \t\n'));
	END IF;
	-- what the engine cannot plan, of a member alone: where its rows are, as if there were no others
	IF p.proname = ANY ('{activities, explain_entry, consents, may_contact}'::text[]) AND p.lanname <> 'c' AND strpos(body, 'loyalty.see_part_of(') = 0 THEN
		body := format(E'\n%s\nBEGIN\n\tPERFORM loyalty.see_part_of($1);\n%s;\nEND\n', substring(body from '#variable_conflict \w+'),
			rtrim(regexp_replace(body, '#variable_conflict \w+', ''), E'; \t\n'));
		definition := regexp_replace(definition, E'\nAS \\$', E'\n SET loyalty.part TO \'\'\nAS $');
	END IF;
	RETURN CASE WHEN body <> p.prosrc THEN replace(definition, p.prosrc, body) END;
END
$$;
COMMENT ON FUNCTION spread_definition(regprocedure) IS
'A function as Citus can plan what is in it: one in SQL in PL/pgSQL, since it plans with the values of parameters, which are known there; all entries by a view; members by their own numbers, since nobody is merged; checks by asking the machines (found_on_machines()), unless they read one part. NULL where it can as it is. Part of distribute().';

CREATE FUNCTION prepare_machines() RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $$
DECLARE
	command text;
	failed text;
	last bigint;
BEGIN
	PERFORM loyalty.require_owner();
	EXECUTE $q$SELECT pg_catalog.replicate_reference_tables('block_writes')$q$;
	-- beyond whatever is drawn: up to there a digest may say that there is nothing more
	SELECT max(a.answer::bigint) INTO last FROM loyalty.ask_machines($q$
		SELECT CASE WHEN l.groupid = 0 OR q.seqincrement = 1024 AND s.last_value % 1024 = l.groupid THEN s.last_value ELSE 0 END
		FROM loyalty.ledger_entry_id_seq s, pg_catalog.pg_sequence q, pg_catalog.pg_dist_local_group l WHERE q.seqrelid = 'loyalty.ledger_entry_id_seq'::regclass$q$) a;
	SELECT greatest(last, max(e.entry_id)) INTO last FROM loyalty.every_entry e WHERE e.entry_id > last;
	SELECT format($c$
		DO $do$
		DECLARE
			machine CONSTANT integer := (SELECT l.groupid FROM pg_catalog.pg_dist_local_group l);
			f record;
		BEGIN
			PERFORM pg_catalog.set_config('citus.enable_ddl_propagation', 'off', true);
			-- a machine that was added has got the increment of the others, and numbers of its own range
			IF (SELECT q.seqincrement <> 1024 OR q.seqstart %% 1024 <> machine
				FROM pg_catalog.pg_sequence q WHERE q.seqrelid = 'loyalty.ledger_entry_id_seq'::regclass) THEN
				EXECUTE pg_catalog.format('ALTER SEQUENCE loyalty.ledger_entry_id_seq INCREMENT 1024 MINVALUE 1 NO MAXVALUE START %%1$s RESTART %%1$s',
					%s + machine);
			END IF;
			FOR f IN
				SELECT d.definition FROM pg_catalog.pg_proc g CROSS JOIN LATERAL loyalty.spread_definition(g.oid) d (definition)
				WHERE g.pronamespace::regnamespace IN ('loyalty', 'loyalty_as_owner', 'loyalty_as_caller') AND g.prokind = 'f'
					AND g.prolang IN (SELECT l.oid FROM pg_catalog.pg_language l WHERE l.lanname IN ('sql', 'plpgsql'))
					AND g.proname NOT IN ('spread_definition', 'prepare_machines', 'spread_views') AND d.definition IS NOT NULL
				ORDER BY g.oid::regprocedure::text
			LOOP
				EXECUTE f.definition;
			END LOOP;
			FOR f IN
				SELECT g.oid::regprocedure AS function FROM pg_catalog.pg_proc g
				WHERE g.pronamespace::regnamespace IN ('loyalty', 'loyalty_as_owner', 'loyalty_as_caller') AND 'plan_cache_mode=force_generic_plan' = ANY (g.proconfig)
			LOOP
				EXECUTE pg_catalog.format('ALTER FUNCTION %%s SET plan_cache_mode = auto', f.function);
			END LOOP;
			%s
		END
		$do$
		$c$,
		(last / 1024 + 1) * 1024,
		string_agg(format('ALTER %s %s SET loyalty.only_on = %L;', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, f.function,
			f.place || ' ' || p.proname), '' ORDER BY f.function::text) FILTER (WHERE f.place = 'one machine' OR f.place = 'coordinator' AND p.prokind = 'f') ||
		-- its statements run in those that the engine has put on the machine, and stay there
		string_agg(format('ALTER FUNCTION %s SET citus.allow_nested_distributed_execution = on;', f.function), '' ORDER BY f.function::text)
			FILTER (WHERE f.place = 'member'))
	INTO command FROM loyalty.spread_functions() f JOIN pg_proc p ON p.oid = f.function;
	EXECUTE 'SELECT min(format(''node %s: %s'', r.nodeid, r.result)) FROM pg_catalog.run_command_on_all_nodes($1) r WHERE NOT r.success'
		INTO failed USING command;
	IF failed IS NOT NULL THEN
		RAISE EXCEPTION 'a machine could not be prepared'
			USING ERRCODE = 'LY007', DETAIL = failed, HINT = 'Every machine needs the same version of loyalty; then CALL loyalty.distribute() again.';
	END IF;
END
$$;
COMMENT ON FUNCTION prepare_machines() IS
'On every machine: numbers of entries that no other machine draws, and functions that are refused there; plans with the values of parameters, by which Citus finds the machine. Part of distribute().';

CREATE FUNCTION send_functions() RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM loyalty.require_owner();
	EXECUTE $q$
		SELECT pg_catalog.create_distributed_function(f.function, '$1', colocate_with => 'loyalty.wallet', force_delegation => true)
		FROM loyalty.spread_functions() f WHERE f.place = 'member' ORDER BY f.function::text$q$;
END
$$;
COMMENT ON FUNCTION send_functions() IS 'Has Citus send calls of functions of a member to the machine of the member. Part of distribute().';

CREATE FUNCTION spread_views() RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
AS $$
DECLARE
	v record;
	command text;
BEGIN
	PERFORM loyalty.require_owner();
	CREATE OR REPLACE VIEW loyalty.every_entry AS
		SELECT e.member_id, e.entry_id, e.currency, e.kind, e.points, e.requested, e.available, e.effective_at, e.recorded_at, e.available_at,
			e.expires_at, e.hold_until, e.extends_to, e.target_entry_id, e.counterparty_id, e.reference, e.reason, e.details,
			e.idempotency_key, e.fingerprint, e.salt, e.texts_hash, e.lots, e.hash, e.home_id, e.expires_by, e.never_expires
		FROM loyalty.ledger e
		UNION ALL
		SELECT a.member_id, a.entry_id, a.currency, a.kind, a.points, a.requested, a.available, a.effective_at, a.recorded_at, a.available_at,
			a.expires_at, a.hold_until, a.extends_to, a.target_entry_id, a.counterparty_id, a.reference, a.reason, a.details,
			a.idempotency_key, a.fingerprint, a.salt, a.texts_hash, a.lots, a.hash, a.home_id, a.expires_by, a.never_expires
		FROM loyalty.ledger_archive a;
	-- in the order in which they were made: a view comes after those that it reads
	FOR v IN
		SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name, c.relacl, c.relowner, c.reloptions
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname IN ('loyalty', 'loyalty_bi') AND c.relkind = 'v' ORDER BY c.oid
	LOOP
		-- Citus makes it on the other machines as well
		EXECUTE format('CREATE OR REPLACE VIEW %s %s AS %s', v.name, 'WITH (' || array_to_string(v.reloptions, ', ') || ')', pg_get_viewdef(v.oid));
		FOR command IN
			SELECT format('GRANT %s ON %s TO %s', a.privilege_type, v.name, coalesce(quote_ident(r.rolname), 'PUBLIC'))
			FROM aclexplode(v.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee WHERE a.grantee <> v.relowner ORDER BY 1
		LOOP
			EXECUTE command;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION spread_views() IS
'Makes our views on every machine, with what is granted on them: those on which it stands who may post. Part of distribute().';

CREATE PROCEDURE distribute(shard_count integer DEFAULT 32)
LANGUAGE plpgsql
AS $$
DECLARE
	t record;
BEGIN
	PERFORM loyalty.require_autocommit('distribute');
	PERFORM loyalty.require_cluster();
	FOR t IN SELECT s.*, row_number() OVER () AS n, count(*) OVER () AS of_n FROM loyalty.spread_tables() s LOOP
		IF loyalty.spread_table(t.relation, t.distribution_column, shard_count) THEN
			RAISE NOTICE 'table % of %: % is %', t.n, t.of_n, t.relation, coalesce('spread by ' || t.distribution_column, 'on every machine');
		END IF;
		COMMIT;
	END LOOP;
	PERFORM loyalty.spread_views();
	COMMIT;
	PERFORM loyalty.send_functions();
	COMMIT;
	PERFORM loyalty.prepare_machines();
	RAISE NOTICE 'views and functions are ready on every machine';
END
$$;
COMMENT ON PROCEDURE distribute(integer) IS
'Spreads the tables over the machines of Citus: rows of members by member_id in so many shards, all of a member on one machine, everything else on every machine. Called on the coordinator, after setup() and again after each setup() and each machine that is added; goes on where it was stopped, and says by notices how far it is. From then on members must be in the table member (LY202), functions of a member, post_many(), record_many(), transfer(), the checks and the proof work from every machine, definitions and some jobs on the coordinator, and what else concerns several members is refused (LY007); spread_functions() says it of each. Errors: LY007 no Citus, a worker, triggers not allowed (citus.enable_unsafe_triggers), merged or unknown members, acts that need approval, or consumers of events that are there, tables that are spread in two ways; 25001 inside a transaction; 42501.';
