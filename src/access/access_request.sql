/*
 * access: requests.  One person asks for an act, another does it or refuses.
 *
 * Locks: the key of the request, then whatever the act locks, then the row of
 * the request.  forget_member() locks members and then that row, so no two
 * wait for each other.
 */

CREATE FUNCTION act_arguments(function_name text, OUT name text, OUT type text, OUT required boolean) RETURNS SETOF record
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
	SELECT p.proargnames[a.n], format_type(a.type, NULL), a.n <= p.pronargs - p.pronargdefaults
	FROM pg_proc p, unnest(p.proargtypes) WITH ORDINALITY a (type, n)
	WHERE p.proname = $1 AND p.oid = loyalty.room_function($1, oidvectortypes(p.proargtypes))
		AND $1 IN (SELECT x.function_name FROM loyalty.approvable_acts() x)
	ORDER BY a.n
$$;
COMMENT ON FUNCTION act_arguments(text) IS 'The arguments of a function that request_act() takes; none for others.';

CREATE FUNCTION read_act_arguments(act text, arguments jsonb) RETURNS jsonb
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET intervalstyle = iso_8601
AS $$
DECLARE
	known CONSTANT text[] := ARRAY(SELECT a.name FROM loyalty.act_arguments(act) a);
	taken CONSTANT text := 'It takes ' || array_to_string(known, ', ') || '.';
	given record;
	at timestamptz;
	value jsonb;
	result jsonb := '{}';
	wrong text;
BEGIN
	IF known = '{}' THEN
		RAISE EXCEPTION 'act "%" cannot be requested', coalesce(act, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It is none of those that another may approve.', HINT = 'loyalty.approvable_acts() lists them.';
	END IF;
	IF arguments IS NULL OR jsonb_typeof(arguments) <> 'object' THEN
		RAISE EXCEPTION 'arguments of % must be an object', act
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(left(arguments::text, 100), 'NULL')), HINT = taken;
	END IF;
	SELECT format('It has no argument "%s".', k) INTO wrong FROM jsonb_object_keys(arguments) k WHERE k <> ALL (known) ORDER BY k LIMIT 1;
	IF wrong IS NULL THEN
		SELECT format('%s must be given.', a.name) INTO wrong FROM loyalty.act_arguments(act) a
		WHERE a.required AND coalesce(jsonb_typeof(arguments -> a.name), 'null') = 'null' LIMIT 1;
	END IF;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid arguments of %', act USING ERRCODE = 'LY003', DETAIL = wrong, HINT = taken;
	END IF;
	FOR given IN SELECT a.name, a.type, arguments -> a.name AS value FROM loyalty.act_arguments(act) a
		WHERE jsonb_typeof(arguments -> a.name) <> 'null'
	LOOP
		BEGIN
			IF given.type = 'jsonb' THEN
				value := given.value;
			ELSIF jsonb_typeof(given.value) IN ('object', 'array') THEN
				RAISE data_exception;
			ELSIF given.type = 'timestamp with time zone' THEN
				at := given.value #>> '{}';
				value := CASE WHEN isfinite(at) THEN to_jsonb((to_jsonb(at AT TIME ZONE 'UTC') #>> '{}') || 'Z') ELSE to_jsonb(at) END;
			ELSE
				EXECUTE format('SELECT to_jsonb($1::%s)', given.type) INTO value USING given.value #>> '{}';
			END IF;
		EXCEPTION
			WHEN data_exception THEN
				RAISE EXCEPTION 'invalid arguments of %', act
					USING ERRCODE = 'LY003', DETAIL = format('%s is %s, which is no %s.', given.name, left(given.value::text, 100), given.type), HINT = taken;
		END;
		result := result || jsonb_build_object(given.name, value);
	END LOOP;
	RETURN result;
END
$$;
COMMENT ON FUNCTION read_act_arguments(text, jsonb) IS
'Arguments of an act as they are kept until it is approved: checked against the function''s own, nulls left out, and in a form that no setting of a session changes. Error: LY003. Part of request_act().';

CREATE FUNCTION run_act(act text, arguments jsonb) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET intervalstyle = iso_8601
AS $$
DECLARE
	list text;
	result jsonb;
BEGIN
	SELECT string_agg(format('%I => ($1 %s %L)::%s', a.name, CASE a.type WHEN 'jsonb' THEN '->' ELSE '->>' END, a.name, a.type), ', ')
	INTO list FROM loyalty.act_arguments(act) a WHERE arguments ? a.name;
	IF list IS NULL THEN
		RAISE EXCEPTION 'act "%" cannot be requested', coalesce(act, 'NULL')
			USING ERRCODE = 'LY003', DETAIL = 'It is none of those that another may approve.', HINT = 'loyalty.approvable_acts() lists them.';
	END IF;
	EXECUTE format('SELECT to_jsonb(r) FROM loyalty.%I(%s) r', act, list) INTO result USING arguments;
	RETURN result;
END
$$;
COMMENT ON FUNCTION run_act(text, jsonb) IS 'Calls a function with arguments that read_act_arguments() has read. Part of approve_act().';

CREATE FUNCTION perform_act(request_id bigint, act text, arguments jsonb) RETURNS jsonb
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_perform_act';
COMMENT ON FUNCTION perform_act(bigint, text, jsonb) IS
'run_act(), as approved: kept with the request, and bound by no policy. Part of approve_act(); 42501 for whoever has not the rights of the owner of our tables.';

CREATE FUNCTION require_operator() RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_require_operator';
COMMENT ON FUNCTION require_operator() IS 'Raises 42501 unless the role that called the function that is running may operate. Part of requests.';

CREATE FUNCTION require_right_of(act text) RETURNS void
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- whoever came here has one of the two rights already
	IF (SELECT p.prosrc FROM pg_proc p WHERE p.proname = act AND p.oid = loyalty.room_function(act, oidvectortypes(p.proargtypes))) <> 'loyalty_may_correct' THEN
		PERFORM loyalty.require_operator();
	END IF;
END
$$;
COMMENT ON FUNCTION require_right_of(text) IS 'Raises 42501 unless the caller may do the act himself. Part of requests.';

CREATE FUNCTION request_act(act text, arguments jsonb, reason text, lapses_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL,
	OUT request_id bigint, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	who CONSTANT text := loyalty.acting_person();
	read CONSTANT jsonb := loyalty.read_act_arguments(act, arguments);
	wrong text := CASE WHEN btrim(coalesce(reason, '')) = '' THEN 'reason must say why.'
		WHEN NOT isfinite(lapses_at) THEN 'lapses_at must be finite.' END;
	subject record;
	members bigint[];
	earlier jsonb;
BEGIN
	PERFORM loyalty.require_right_of(act);
	SELECT coalesce((read ->> 'member_id')::bigint, (read ->> 'survivor_id')::bigint, (read ->> 'referee_id')::bigint, m.survivor_id) AS member_id,
		coalesce((read ->> 'absorbed_id')::bigint, m.absorbed_id) AS other_member_id
	INTO subject
	FROM (VALUES (1)) one (row) LEFT JOIN loyalty.member_merge m ON m.merge_id = (read ->> 'merge_id')::bigint;
	IF act = 'unmerge_members' THEN
		PERFORM loyalty.require_merge((read ->> 'merge_id')::bigint);
	END IF;
	members := array_remove(ARRAY[subject.member_id, subject.other_member_id], NULL);
	IF EXISTS (SELECT FROM loyalty.approvable_acts() a WHERE a.function_name = request_act.act AND a.of_the_known)
		OR (SELECT p.known_members_only FROM loyalty.program p) THEN
		members := loyalty.require_members(members);
	END IF;
	-- of whoever is forgotten nothing is written down any more
	PERFORM loyalty.require_not_forgotten(loyalty.kept_members(members));
	replayed := false;
	IF idempotency_key IS NOT NULL THEN
		earlier := loyalty.claim_request('request_act', ARRAY[coalesce(subject.member_id, 0)], idempotency_key,
			jsonb_build_array(who, act, read, reason, extract(epoch FROM lapses_at)));
		IF earlier IS NOT NULL THEN
			request_id := earlier ->> 'request_id';
			replayed := true;
			RETURN;
		END IF;
	END IF;
	IF lapses_at <= clock_timestamp() THEN
		wrong := format('lapses_at is %s, which is no instant in the future.', lapses_at);
	END IF;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION 'invalid request' USING ERRCODE = 'LY003', DETAIL = wrong, HINT = 'See the comment of loyalty.request_act().';
	END IF;
	INSERT INTO loyalty.act_request AS r (act, arguments, member_id, other_member_id, reason, session_role, role, actor, person, lapses_at)
	VALUES (act, read, subject.member_id, subject.other_member_id, reason, session_user, loyalty.acting_role(), loyalty.named_actor(), who,
		coalesce(lapses_at, clock_timestamp() + interval '7 days'))
	RETURNING r.request_id INTO request_id;
	IF idempotency_key IS NOT NULL THEN
		PERFORM loyalty.finish_request('request_act', coalesce(subject.member_id, 0), idempotency_key, jsonb_build_object('request_id', request_id));
	END IF;
END
$$;
COMMENT ON FUNCTION request_act(text, jsonb, text, timestamptz, text) IS
'Asks for an act that another person has to approve: the name of its function, see approvable_acts(), its arguments by name, and why. Whoever may do the act may ask for it, and must not need approval to do so. The arguments are checked and kept as they are now (a time without zone is in the session''s); what is left out has its default when the act is done. lapses_at: until when it can be approved (NULL: 7 days). Returns the number of the request, and whether it is the first result of a repeated idempotency_key, which belongs to the member concerned. Errors: LY202 no such member, LY203 forgotten, LY211 no such merge, LY003, LY004, LY024, 42501.';

CREATE FUNCTION refuse_closed(request_id bigint, why text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION 'request % is closed', request_id
		USING ERRCODE = 'LY022', DETAIL = why, HINT = 'If it is still wanted, it must be requested anew.';
END
$$;
COMMENT ON FUNCTION refuse_closed(bigint, text) IS 'Raises LY022: a request can no longer be decided. Part of decide_request().';

CREATE FUNCTION decide_request(request_id bigint, decision text, reason text, OUT result jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	who CONSTANT text := loyalty.acting_person();
	r loyalty.act_request;
	mine boolean;
	closed text;
BEGIN
	PERFORM loyalty.lock_key(format('act_request %s', request_id));
	SELECT * INTO r FROM loyalty.act_request q WHERE q.request_id = decide_request.request_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'there is no request %', coalesce(request_id::text, 'NULL')
			USING ERRCODE = 'LY021', DETAIL = 'The table loyalty.act_request has no row with this number.', HINT = 'See the view loyalty.open_request.';
	END IF;
	PERFORM loyalty.require_right_of(r.act);
	replayed := r.decision = decision AND lower(r.decided_person) = lower(who);
	IF replayed THEN
		result := r.result;
		RETURN;
	END IF;
	replayed := false;
	closed := CASE WHEN r.decision IS NOT NULL THEN format('It was %s by %s at %s.', r.decision, r.decided_person, r.decided_at)
		WHEN r.lapses_at <= clock_timestamp() THEN format('It lapsed at %s.', r.lapses_at)
		WHEN r.arguments IS NULL THEN 'Its member was forgotten.' END;
	IF closed IS NOT NULL THEN
		PERFORM loyalty.refuse_closed(request_id, closed);
	END IF;
	mine := lower(r.person) = lower(who);
	IF mine AND decision <> 'withdrawn' THEN
		RAISE EXCEPTION 'request % was made by the same person', request_id
			USING ERRCODE = 'LY023', DETAIL = format('"%s" asked for it, and "%s" is the person who acts now.', r.person, who),
				HINT = 'Another person must decide; who asked may take it back by loyalty.withdraw_act().';
	ELSIF NOT mine AND decision = 'withdrawn' THEN
		RAISE EXCEPTION 'request % was made by another person', request_id
			USING ERRCODE = 'LY023', DETAIL = format('"%s" asked for it, and "%s" is the person who acts now.', r.person, who),
				HINT = 'Others refuse it by loyalty.refuse_act().';
	END IF;
	IF decision = 'approved' THEN
		result := loyalty.perform_act(request_id, r.act, r.arguments);
	END IF;
	UPDATE loyalty.act_request q
	SET decision = decide_request.decision, decided_session_role = session_user, decided_role = loyalty.acting_role(), decided_actor = loyalty.named_actor(),
		decided_person = who, decided_at = clock_timestamp(), decision_reason = reason,
		-- an act that forgets a member leaves nothing of it here
		result = CASE WHEN q.arguments IS NOT NULL THEN decide_request.result END
	WHERE q.request_id = decide_request.request_id AND (q.arguments IS NOT NULL OR q.act = 'forget_member');
	IF NOT FOUND THEN
		PERFORM loyalty.refuse_closed(request_id, 'Its member was forgotten at this moment.');
	END IF;
END
$$;
COMMENT ON FUNCTION decide_request(bigint, text, text) IS 'Decides a request: approved, refused or withdrawn. What approve_act(), refuse_act() and withdraw_act() do. Part of approve_act(), refuse_act() and withdraw_act().';

CREATE FUNCTION approve_act(request_id bigint, OUT result jsonb, OUT replayed boolean) RETURNS record
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	SELECT d.* INTO result, replayed FROM loyalty.decide_request($1, 'approved', NULL) d;
END
$$;
COMMENT ON FUNCTION approve_act(bigint) IS
'Does what another person asked for by request_act(), with the arguments of the request, in this transaction; both persons are kept. Whoever may do the act himself may approve it. Where the act fails, its error is raised and the request stays open. Returns what the act returned; the same person may repeat the call, and gets the first result. Errors: LY021 no such request, LY022 it was decided, or has lapsed, or its member was forgotten, LY023 the same person asked for it, LY024, 42501, and those of the act.';

CREATE FUNCTION refuse_act(request_id bigint, reason text, OUT replayed boolean) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF btrim(coalesce(reason, '')) = '' THEN
		RAISE EXCEPTION 'reason must say why'
			USING ERRCODE = 'LY003', DETAIL = 'Who asked wants to know.', HINT = 'Give a text that is not empty.';
	END IF;
	replayed := (SELECT d.replayed FROM loyalty.decide_request($1, 'refused', $2) d);
END
$$;
COMMENT ON FUNCTION refuse_act(bigint, text) IS
'Refuses what another person asked for by request_act(), with a reason. Whoever may do the act himself may refuse it. Returns whether the same person had refused it before. Errors: as of approve_act(), and LY003 no reason.';

CREATE FUNCTION withdraw_act(request_id bigint, reason text DEFAULT NULL, OUT replayed boolean) RETURNS boolean
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	replayed := (SELECT d.replayed FROM loyalty.decide_request($1, 'withdrawn', $2) d);
END
$$;
COMMENT ON FUNCTION withdraw_act(bigint, text) IS
'Takes back what the same person asked for by request_act(). Returns whether that was done before. Errors: LY021 no such request, LY022 it is closed, LY023 another person asked for it, LY024, 42501.';
