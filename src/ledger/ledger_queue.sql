/*
 * ledger: a queue before wallets that everybody hits.
 *
 * Postings to one wallet wait for each other until they commit.  An earn needs
 * nothing of the wallet, so it may be queued in the transaction that it belongs
 * to, as a row of its own that waits for nobody, and be posted soon after, many
 * at once.  What is queued is no points yet: no balance, tier or report knows of
 * it before it is posted.  It is posted once, with its key, or stays in the queue
 * with the reason why not.
 */

CREATE FUNCTION queue_earn(member_id bigint, points numeric, currency text DEFAULT 'points', effective_at timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_queue_earn';
COMMENT ON FUNCTION queue_earn(bigint, numeric, text, timestamptz, text, text, jsonb) IS
'Queues an earn, for a wallet that many post to at once: it waits for nobody, and is posted by the next post_queued_earns(). Until then the points are in no balance. effective_at NULL: it is effective when it is posted. A call that is repeated with its idempotency_key is posted once, whether the first one still waits or not. Returns the number under which it waits in the table queued_earn. Errors: LY003 argument, LY004 key of another call that waits, LY102 currency. What only the wallet can tell is refused when it is posted, and check_all() says so.';

CREATE FUNCTION post_queued(member_ids bigint[], queued_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	q record;
BEGIN
	WITH taken AS (
		DELETE FROM loyalty.queued_earn e USING unnest(member_ids, queued_ids) g (member_id, queued_id)
		WHERE e.member_id = g.member_id AND e.queued_id = g.queued_id
		RETURNING e.*
	)
	SELECT array_agg(t.member_id ORDER BY t.queued_id) AS members, array_agg('earn'::text) AS kinds, array_agg(t.points::numeric ORDER BY t.queued_id) AS points,
		array_agg(t.currency::text ORDER BY t.queued_id) AS currencies, array_agg(t.effective_at ORDER BY t.queued_id) AS effective_ats,
		array_agg(t.reference ORDER BY t.queued_id) AS refs, array_agg(t.idempotency_key::text ORDER BY t.queued_id) AS keys,
		array_agg(t.details ORDER BY t.queued_id) AS details
	INTO q FROM taken t;
	PERFORM FROM loyalty.post_many(q.members, q.kinds, q.points, q.currencies, effective_ats => q.effective_ats, refs => q.refs,
		idempotency_keys => q.keys, details => q.details);
END
$$;
COMMENT ON FUNCTION post_queued(bigint[], bigint[]) IS
'Takes earns out of the queue, each named by its member and number, and posts them, all or none. Part of post_queued_earns(). Errors: those of post_many().';

CREATE FUNCTION post_queued_earns(member_id bigint DEFAULT NULL, batch_size integer DEFAULT 1000, retry boolean DEFAULT false,
	OUT posted bigint, OUT refused bigint) RETURNS record
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
AS $$
#variable_conflict use_variable
DECLARE
	members bigint[];
	numbers bigint[];
	reason text;
BEGIN
	IF batch_size IS NULL OR batch_size <= 0 THEN
		RAISE EXCEPTION 'batch_size must be positive'
			USING ERRCODE = 'LY003', DETAIL = format('It is %s.', coalesce(batch_size::text, 'NULL')),
				HINT = 'It is the number of earns that one call posts.';
	END IF;
	posted := 0;
	refused := 0;
	-- those that another session is posting are left to it
	SELECT array_agg(b.member_id ORDER BY b.queued_id), array_agg(b.queued_id ORDER BY b.queued_id) INTO members, numbers
	FROM (SELECT e.member_id, e.queued_id FROM loyalty.queued_earn e
		WHERE (post_queued_earns.member_id IS NULL OR e.member_id = post_queued_earns.member_id)
			AND (e.refused IS NULL OR retry AND e.refused NOT LIKE 'LY115:%')
		ORDER BY e.queued_id LIMIT batch_size FOR UPDATE SKIP LOCKED) b;
	IF members IS NULL THEN
		RETURN;
	END IF;
	BEGIN
		PERFORM loyalty.post_queued(members, numbers);
		posted := cardinality(members);
		RETURN;
	EXCEPTION WHEN OTHERS THEN
		IF SQLSTATE NOT LIKE 'LY%' THEN
			RAISE;
		END IF;
	END;
	-- one by one: what is wrong with one is nothing to the others
	FOR i IN 1 .. cardinality(members) LOOP
		BEGIN
			PERFORM loyalty.post_queued(members[i:i], numbers[i:i]);
			posted := posted + 1;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE NOT LIKE 'LY%' THEN
				RAISE;
			END IF;
			reason := SQLSTATE || ': ' || SQLERRM;
			-- of whoever was forgotten nothing is kept
			UPDATE loyalty.queued_earn e
			SET refused = CASE WHEN f.forgotten THEN 'LY115: the member was forgotten' ELSE reason END,
				reference = CASE WHEN NOT f.forgotten THEN e.reference END, details = CASE WHEN NOT f.forgotten THEN e.details END,
				idempotency_key = CASE WHEN NOT f.forgotten THEN e.idempotency_key END
			FROM (SELECT reason LIKE 'LY115:%') f (forgotten)
			WHERE e.member_id = members[i] AND e.queued_id = numbers[i];
			refused := refused + 1;
		END;
	END LOOP;
END
$$;
COMMENT ON FUNCTION post_queued_earns(bigint, integer, boolean) IS
'Posts earns that wait in the queue, of calls for one member or (NULL) for all, in the order in which they were queued, batch_size at most, as post_many() does, and takes them out. Returns how many were posted, those included whose key had been posted before, and how many were refused. To be called every second or so, until nothing is posted; and before a redeem that needs what waits. Several sessions may call it at once: each takes what no other has. One that is refused stays in the queue with the reason, where check_all() finds it, and is tried again with retry => true. Error: LY003 batch_size.';

CREATE FUNCTION queued_points(member_id bigint, currency text DEFAULT 'points') RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(sum(q.points), 0)::bigint FROM loyalty.queued_earn q
	WHERE q.member_id = ANY (loyalty.numbers_of($1)) AND q.currency = $2 AND q.refused IS NULL
$$;
COMMENT ON FUNCTION queued_points(bigint, text) IS
'The points that wait in the queue for a member and everybody it stands for: in no balance yet, and refused ones not counted. 0 where there are none.';

CREATE FUNCTION forget_queued_earns(member_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	m bigint;
	dealt record;
BEGIN
	FOREACH m IN ARRAY member_ids LOOP
		LOOP
			dealt := loyalty.post_queued_earns(m);
			EXIT WHEN dealt.posted + dealt.refused = 0;
		END LOOP;
	END LOOP;
	PERFORM loyalty.erase_rows('DELETE FROM loyalty.queued_earn q WHERE q.member_id = ANY ($1) AND q.refused IS NOT NULL', member_ids);
END
$$;
COMMENT ON FUNCTION forget_queued_earns(bigint[]) IS
'What forget_member() means here: what waits is posted, while keys are known; what was refused is deleted. Part of forget_member().';
