/*
 * ledger: postings.
 */

CREATE TYPE posting_result AS (entry_id bigint, available bigint, replayed boolean);
COMMENT ON TYPE posting_result IS 'What the posting functions return: the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key.';

CREATE FUNCTION earn(member_id bigint, points numeric, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL, pending boolean DEFAULT false) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_earn';
COMMENT ON FUNCTION earn(bigint, numeric, text, timestamptz, timestamptz, timestamptz, text, text, jsonb, boolean) IS
'Earns points: opens a lot, which repays debt first when it becomes available. The lot is open from available_at (default: effective_at), or, where it is pending, from activate() on, up to, and not at, expires_at (default: by the currency''s policy, counted from when it becomes available; infinity: never). An expires_at that is given is the latest there is, whatever activity follows. Errors: LY003 argument, LY004 key, LY102 currency, LY109 overflow. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION redeem(member_id bigint, points numeric, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_redeem';
COMMENT ON FUNCTION redeem(bigint, numeric, text, timestamptz, text, text, jsonb) IS
'Redeems points out of the lots that are available at effective_at, in the currency''s consumption order. Errors: LY101 not enough points, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION hold(member_id bigint, points numeric, hold_until timestamptz, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_hold';
COMMENT ON FUNCTION hold(bigint, numeric, timestamptz, text, timestamptz, text, text, jsonb) IS
'Sets available points aside until hold_until, when the hold lapses by itself. Held points do not expire. Settle it with capture() or release(). Errors: LY101 not enough points, LY106 hold_until not after effective_at, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION capture(member_id bigint, target_entry_id bigint, points numeric DEFAULT NULL, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_capture';
COMMENT ON FUNCTION capture(bigint, bigint, numeric, timestamptz, text, text, jsonb) IS
'Redeems all (points NULL) or part of a hold and releases the rest. Errors: LY103 no such entry, LY104 not a hold, LY106 lapsed, LY107 captured or released before, LY101 more than is held, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION release(member_id bigint, target_entry_id bigint, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_release';
COMMENT ON FUNCTION release(bigint, bigint, timestamptz, text, text, jsonb) IS
'Gives a hold back to its lots; what has expired meanwhile is expired. Errors: LY103 no such entry, LY104 not a hold, LY106 lapsed, LY107 captured or released before, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION reverse(member_id bigint, target_entry_id bigint, points numeric DEFAULT NULL, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_reverse';
COMMENT ON FUNCTION reverse(bigint, bigint, numeric, timestamptz, text, text, jsonb) IS
'Undoes all that is left (points NULL) or part of an earn, redeem, capture or adjust, or of the reversal of one. Of an earn, takes the points out of its own lot, then as far as the currency''s clawback_policy reaches out of other lots and into debt. Of a redeem, gives the points back to the very lots they came from, with their expiry (of a sliding currency, as if they had stayed there; where it has passed, refund_grace lets them live on), and so to the members whose lots they are by now. An entry that is undone wholly is no activity any more that keeps lots alive. Of a reversal that took points, gives them back to the lots they were in, with their expiry likewise, and takes off what had become debt; what the policy had left to the member counts as undone first and comes to nothing. Of a reversal that gave points back, takes them out of the lots they went to, then as of an earn. What is undone can be reversed again. Errors: LY103 no such entry, LY104 wrong kind (the undoing of a reversal, too), LY105 more than is left to reverse, LY114 of a redeem only the last reversal can be undone, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION activate(member_id bigint, target_entry_id bigint, effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_activate';
COMMENT ON FUNCTION activate(bigint, bigint, timestamptz, text, text, jsonb) IS
'Makes the pending points of an earn or adjust available from effective_at on. Their life is counted from then, by the currency''s policy, unless expires_at was given with them. Errors: LY103 no such entry, LY104 neither earn nor adjust, LY108 nothing pending, LY003, LY004. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION adjust(member_id bigint, points numeric, reason text, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	available_at timestamptz DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL, pending boolean DEFAULT false) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_adjust';
COMMENT ON FUNCTION adjust(bigint, numeric, text, text, timestamptz, timestamptz, timestamptz, text, text, jsonb, boolean) IS
'An operator''s correction: positive points open a lot, as earn() does, negative ones are taken out of available lots. Errors: LY101 not enough points, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION transfer(from_member_id bigint, to_member_id bigint, points numeric, currency text DEFAULT 'points', effective_at timestamptz DEFAULT statement_timestamp(),
	reference text DEFAULT NULL, idempotency_key text DEFAULT NULL, details jsonb DEFAULT NULL) RETURNS posting_result
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_transfer';
COMMENT ON FUNCTION transfer(bigint, bigint, numeric, text, timestamptz, text, text, jsonb) IS
'Moves available points to another member''s wallet; lots keep their identity, origin and expiry. Posts a transfer_out and a transfer_in; returns the sender''s. The idempotency_key is the sender''s. Errors: LY101 not enough points, LY112 same member, LY003, LY004, LY102. Returns the entry''s id, the available points after it, and whether it is the first result of a repeated idempotency_key. effective_at defaults to now.';

CREATE FUNCTION post_many(member_ids bigint[], kinds text[], points numeric[], currencies text[] DEFAULT NULL,
	effective_ats timestamptz[] DEFAULT NULL, available_ats timestamptz[] DEFAULT NULL,
	expires_ats timestamptz[] DEFAULT NULL, hold_untils timestamptz[] DEFAULT NULL,
	target_entry_ids bigint[] DEFAULT NULL, reasons text[] DEFAULT NULL, refs text[] DEFAULT NULL,
	idempotency_keys text[] DEFAULT NULL, details jsonb[] DEFAULT NULL, pending boolean[] DEFAULT NULL,
	OUT ordinal bigint, OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_post_many';
COMMENT ON FUNCTION post_many(bigint[], text[], numeric[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[], boolean[]) IS
'Posts one entry for each element, all or none: earn, redeem, hold, capture, release, reverse, activate or adjust. A NULL element means the default, as leaving the argument out of the single function does; what a kind has no use for is refused, and so is 0 for all there is. An error''s context names its element. Entries of one wallet are posted in the order given; wallets are locked in the order of their ids. Returns one row for each element, in the order given.';

CREATE FUNCTION backfill(history regclass, source text DEFAULT NULL,
	OUT entries bigint, OUT wallets bigint, OUT first_entry_id bigint, OUT last_entry_id bigint) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_backfill';
COMMENT ON FUNCTION backfill(regclass, text) IS
'Posts a whole history in one statement, keeping every rule and the hash chain. history is a table or view with the columns member_id bigint, points bigint, effective_at timestamptz and, where wanted, kind text (default earn), currency text (default points), available_at, expires_at, hold_until timestamptz, pending boolean, target_key text (idempotency_key of the row of the same wallet that a capture, release, reverse or activate refers to), reference, reason, idempotency_key text, details jsonb. Rows of a wallet are posted by effective_at, at one instant what comes in first. With source, idempotency_key and target_key (of the type of the row''s key, or text[] for several columns) are the keys of rows as award_points() with the same source knows them: what a row earned here it knows, and a reverse that names a row is part of it. available_at, pending and expires_at count for what opens a lot, hold_until for a hold. Errors are those of the single functions, whose context names the row, and 23505 for a key that was used before; nothing is posted then.';

-- ---------------------------------------------------------------------------
-- Program: moving points between members that are merged
-- ---------------------------------------------------------------------------

CREATE FUNCTION balance_homes(balance points_balance, OUT home_id bigint, OUT points bigint, OUT debt bigint) RETURNS SETOF record
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 2 AS 'MODULE_PATHNAME', 'loyalty_balance_homes';
COMMENT ON FUNCTION balance_homes(points_balance) IS
'To whom the points and the debt of a balance first came: one row for each home, 0 for the wallet''s own member; points in lots of any state, those that have expired included.';

CREATE FUNCTION lock_wallets(live_ids bigint[], moved_ids bigint[] DEFAULT '{}') RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_lock_wallets';
COMMENT ON FUNCTION lock_wallets(bigint[], bigint[]) IS
'Opens, where they are missing, and locks the wallets of members in every currency: first those of moved_ids, whose points are elsewhere, then those of live_ids, ascending by member and currency. Returns how many. Part of merge_members() and unmerge_members(), before move_points().';

CREATE FUNCTION move_points(from_id bigint, to_id bigint, homes bigint[] DEFAULT NULL, opened_by bigint[] DEFAULT NULL,
	settle boolean DEFAULT false, reason text DEFAULT NULL,
	OUT currency text, OUT points bigint, OUT lots bigint, OUT debt bigint, OUT entry_id bigint) RETURNS SETOF record
LANGUAGE c VOLATILE CALLED ON NULL INPUT ROWS 2 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_move_points';
COMMENT ON FUNCTION move_points(bigint, bigint, bigint[], bigint[], boolean, text) IS
'Moves lots of every state (available, pending, held, expired) and debt from all wallets of one member to those of another, by transfer_out and transfer_in entries effective now. Lots keep lot_id, origin, expiry, hold and home; debt is moved without being repaid. homes: only what first came to these members (NULL: everything); opened_by: only lots opened by these entries, and no debt (NULL: all). settle: what arrives belongs to to_id from now on and has no home elsewhere. One row for each currency in which something moved; entry_id is the last entry of the receiving wallet. Part of merge_members() and unmerge_members(); the wallets must be locked by lock_wallets().';

CREATE FUNCTION mark_wallets(member_id bigint, moved boolean) RETURNS bigint
LANGUAGE c VOLATILE STRICT SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_mark_wallets';
COMMENT ON FUNCTION mark_wallets(bigint, boolean) IS
'Notes on all wallets of a member that their points are elsewhere (true) or here (false); postings to a wallet whose points are elsewhere go to the member who stands for it. Returns how many. Part of merge_members() and unmerge_members().';

-- ---------------------------------------------------------------------------
-- Program: expiry
-- ---------------------------------------------------------------------------

CREATE FUNCTION book_expiry(member_id bigint, currency text, as_of timestamptz) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_book_expiry';
COMMENT ON FUNCTION book_expiry(bigint, text, timestamptz) IS
'Books what has expired in one wallet by as_of and was not booked yet; a negative result takes back what was booked too much after a late entry. Returns the points booked, 0 where there is nothing to book or no wallet. No balance changes by it. Errors: LY102 unknown currency, LY003 an argument that is NULL, as_of infinite or in the future.';

CREATE FUNCTION book_expiries_of(member_ids bigint[], as_of timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE sql VOLATILE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
	SELECT sum(loyalty.book_expiry(d.member_id, d.currency, $2))::bigint
	FROM (SELECT w.member_id, w.currency FROM loyalty.wallet w
		WHERE w.member_id = ANY ($1) AND loyalty.next_unbooked_expiry(w.balance) <= $2
		ORDER BY w.member_id, w.currency COLLATE "C" OFFSET 0) d
$$;
COMMENT ON FUNCTION book_expiries_of(bigint[], timestamptz, text) IS
'book_expiry() of all wallets of some members in which something is due; returns the points booked. Part of book_expiries(), by run_batch().';

CREATE FUNCTION next_book_expiries(run_id bigint, behind bigint, as_of timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	SELECT max(n.member_id) INTO up_to
	FROM (SELECT w.member_id FROM loyalty.wallet w WHERE behind IS NULL OR w.member_id > behind ORDER BY w.member_id LIMIT 20 * batch_size::bigint) n;
	SELECT count(*), array_agg(DISTINCT w.member_id) FILTER (WHERE loyalty.next_unbooked_expiry(w.balance) <= as_of)
	INTO seen, members
	FROM loyalty.wallet w WHERE (behind IS NULL OR w.member_id > behind) AND w.member_id <= up_to;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.wallet') END;
END
$$;
COMMENT ON FUNCTION next_book_expiries(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next wallets, and the members of whom something has expired by as_of and is not booked. Part of book_expiries(), by run_job().';

CREATE PROCEDURE book_expiries(as_of timestamptz DEFAULT NULL, batch_size integer DEFAULT 200)
LANGUAGE plpgsql
AS $$
BEGIN
	CALL loyalty.run_job('book_expiries', as_of, batch_size, 'wallets', 'points booked');
END
$$;
COMMENT ON PROCEDURE book_expiries(timestamptz, integer) IS
'Books, as entries of kind expire, what has expired by as_of (default: now) in all wallets. No balance changes by it: expiry needs no job. Commits after batch_size members of whom something is due; one whom another session keeps locked is tried again at the end, and then left to the next run. Can be stopped at any time; the same call goes on where it was. Progress is in the table job_run, total is an estimate. Errors: LY006 it is running already, 25001 inside a transaction, LY003.';

-- ---------------------------------------------------------------------------
-- Program: the archive
-- ---------------------------------------------------------------------------

CREATE FUNCTION archive_entries_of(member_ids bigint[], before timestamptz, scope text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_archive_entries_of';
COMMENT ON FUNCTION archive_entries_of(bigint[], timestamptz, text) IS
'Moves the entries of some members that were recorded before an instant to ledger_archive; returns how many. Postings to them wait meanwhile. Errors: 42501 not the owner of the tables, LY003 the archive lacks a column. What archive_entries() does by run_batch(). Part of archive_entries().';

CREATE FUNCTION next_archive_entries(run_id bigint, behind bigint, before timestamptz, batch_size integer, scope text, busy bigint[],
	OUT up_to bigint, OUT seen bigint, OUT members bigint[], OUT scopes text[], OUT result bigint, OUT unsound bigint, OUT total bigint) RETURNS record
LANGUAGE plpgsql STABLE SUPPORT require_setup SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_custom_plan
AS $$
BEGIN
	up_to := loyalty.next_members(behind, batch_size, '{ledger}');
	SELECT count(*), array_agg(DISTINCT e.member_id) FILTER (WHERE e.recorded_at < before) INTO seen, members
	FROM loyalty.ledger e WHERE (behind IS NULL OR e.member_id > behind) AND e.member_id <= up_to;
	total := CASE WHEN behind IS NULL THEN loyalty.estimated_rows('loyalty.ledger') END;
END
$$;
COMMENT ON FUNCTION next_archive_entries(bigint, bigint, timestamptz, integer, text, bigint[]) IS
'The next members with entries, and those who have old ones. Part of archive_entries(), by run_job().';

CREATE PROCEDURE archive_entries(before timestamptz, batch_size integer DEFAULT 1000)
LANGUAGE plpgsql
AS $$
BEGIN
	PERFORM loyalty.require_owner();
	IF before IS NULL THEN
		RAISE EXCEPTION 'before must be given'
			USING ERRCODE = 'LY003', DETAIL = 'It is NULL.', HINT = 'Name the instant before which entries are archived.';
	END IF;
	CALL loyalty.run_job('archive_entries', before, batch_size, 'entries', 'entries archived');
END
$$;
COMMENT ON PROCEDURE archive_entries(timestamptz, integer) IS
'Moves entries that were recorded before an instant from the ledger to the table ledger_archive, hash and all. Whatever reads entries reads both tables: balances as of the past, statements, reversals, keys, tiers, awards, forget_member(), check_all() and digests answer as before. Only postings gain: the ledger and its indexes stay small. A posting with a key to a wallet with archived entries looks for the key there, too. Called by the owner of the tables; commits after members with about batch_size entries; can be stopped at any time, and the same call goes on where it was; progress is in the table job_run: result is the number of entries moved. Errors: 42501 not the owner; LY003 before, batch_size, or a column that the archive lacks; LY006 it is running already; 25001 inside a transaction.';

-- ---------------------------------------------------------------------------
-- Program: triggers for anybody's orders
-- ---------------------------------------------------------------------------

CREATE FUNCTION trigger_term(arguments bytea, term text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_trigger_term';
COMMENT ON FUNCTION trigger_term(bytea, text) IS
'The value of a term that a trigger gives award_points(), out of pg_trigger.tgargs; NULL where it does not give it. Part of check_all().';

CREATE FUNCTION row_key(source text, VARIADIC key text[]) RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_row_key';
COMMENT ON FUNCTION row_key(text, text[]) IS
'The name of a row under which award_points() posts for it: source:key, with : ~ and \ escaped in the key''s columns, and a hash in their place where that is longer than 1000 bytes. All entries of the row have it as reference, the first has it as idempotency_key, the n-th followed by ~n. NULL for a key with a NULL. key is one value or several, such as those of a primary key, as text: times in ISO form and UTC.';

CREATE FUNCTION row_key_of(source text, key record) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'loyalty_row_key_of';
COMMENT ON FUNCTION row_key_of(text, record) IS
'row_key() of ROW(...), values of any type in the text form that award_points() gives them, whatever the session''s settings. Part of backfill() and check_awards().';

CREATE FUNCTION award_points() RETURNS trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'loyalty_award_points';
COMMENT ON FUNCTION award_points() IS
'Trigger function (AFTER INSERT OR UPDATE OR DELETE, FOR EACH ROW): the member of a row has what the row is worth as it stands, in the same commit, whatever became of the row and in whatever order; what was taken back and is due again goes back into its lots. Arguments are terms ''name=value''; a value is a column or an expression over the row''s columns, found in pg_catalog and the table''s schema. source (needed): the name under which the rows are known, one for each trigger of a currency, never changed. member (needed): NULL is nobody. points (needed): cut off to whole ones, nothing where not positive. at: when the points are earned; NULL or not given is now, and so is what lies ahead, with the row''s own time in details. when: whether the row counts; NULL is false. available_at: from when the points can be used; while they are pending, a change of it moves them. currency: a code (points). key: what names the row in its source, one or several values, unique and lasting (the primary key, of the topmost partitioned table). Times without zone are in the currency''s. Errors: LY003 a term that is missing, not known, or a source that two triggers share; 42703, 42804 and the like name the term; those of earn() and reverse().';

-- ---------------------------------------------------------------------------
-- Program: where tables are spread over several machines
-- ---------------------------------------------------------------------------

CREATE FUNCTION post_many_apart(member_ids bigint[], kinds text[], points numeric[], currencies text[],
	effective_ats timestamptz[], available_ats timestamptz[], expires_ats timestamptz[], hold_untils timestamptz[],
	target_entry_ids bigint[], reasons text[], refs text[], idempotency_keys text[], details jsonb[], pending boolean[],
	OUT ordinal bigint, OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_by_member';
COMMENT ON FUNCTION post_many_apart(bigint[], text[], numeric[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[], boolean[]) IS
'What post_many() does where tables are spread: post_many_of() for each member, ascending. Part of post_many().';

CREATE FUNCTION post_many_of(member_id bigint, ordinals bigint[], kinds text[], points numeric[], currencies text[],
	effective_ats timestamptz[], available_ats timestamptz[], expires_ats timestamptz[], hold_untils timestamptz[],
	target_entry_ids bigint[], reasons text[], refs text[], idempotency_keys text[], details jsonb[], pending boolean[],
	OUT ordinal bigint, OUT entry_id bigint, OUT available bigint, OUT replayed boolean) RETURNS SETOF record
LANGUAGE c VOLATILE ROWS 100 SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_of_one_member';
COMMENT ON FUNCTION post_many_of(bigint, bigint[], text[], numeric[], text[], timestamptz[], timestamptz[], timestamptz[], timestamptz[], bigint[], text[], text[], text[], jsonb[], boolean[]) IS
'post_many() with elements of one member, which have these numbers in the whole call. Sent to the machine of the member, where tables are spread. Part of post_many().';

CREATE FUNCTION take_wallet(member_id bigint, currency text) RETURNS void
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_take_wallet';
COMMENT ON FUNCTION take_wallet(bigint, text) IS
'Locks the wallet of a member before another one''s, or opens it. Sent to the machine of the member, where tables are spread. Part of transfer(). Errors: LY102 currency, LY202.';

CREATE FUNCTION post_transfer_out(member_id bigint, to_member_id bigint, points numeric, currency text, effective_at timestamptz,
	reference text, idempotency_key text, details jsonb,
	OUT entry_id bigint, OUT available bigint, OUT replayed boolean, OUT happened_at timestamptz, OUT lots points_lots) RETURNS record
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_post_transfer_out';
COMMENT ON FUNCTION post_transfer_out(bigint, bigint, numeric, text, timestamptz, text, text, jsonb) IS
'The sender''s half of a transfer (effective_at NULL: now): its entry, and when it happened and which lots left, unless it is the first result of a repeated idempotency_key. Sent to the machine of the member, where tables are spread. Part of transfer().';

CREATE FUNCTION post_transfer_in(member_id bigint, from_member_id bigint, points numeric, currency text, effective_at timestamptz, is_now boolean,
	reference text, details jsonb, lots points_lots) RETURNS bigint
LANGUAGE c VOLATILE SUPPORT require_setup AS 'MODULE_PATHNAME', 'loyalty_post_transfer_in';
COMMENT ON FUNCTION post_transfer_in(bigint, bigint, numeric, text, timestamptz, boolean, text, jsonb, points_lots) IS
'The receiver''s half of a transfer: its entry, with the lots that left. Sent to the machine of the member, where tables are spread. Part of transfer(). Error: LY003 the lots have other points.';

CREATE FUNCTION transfer_apart(from_member_id bigint, to_member_id bigint, points numeric, currency text, effective_at timestamptz,
	reference text, idempotency_key text, details jsonb) RETURNS posting_result
LANGUAGE plpgsql SUPPORT require_setup SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	sent record;
	result loyalty.posting_result;
BEGIN
	IF from_member_id = to_member_id THEN
		RAISE EXCEPTION 'member % cannot transfer points to itself', from_member_id
			USING ERRCODE = 'LY112', DETAIL = format('Member %s is the same as member %s.', to_member_id, from_member_id), HINT = 'Give two different members.';
	ELSIF effective_at IS NULL THEN
		RAISE EXCEPTION 'effective_at must not be NULL'
			USING ERRCODE = 'LY003', DETAIL = 'An entry is effective from an instant on.', HINT = 'Leave it out for now.';
	END IF;
	IF to_member_id < from_member_id THEN
		EXECUTE 'SELECT FROM loyalty.take_wallet($1, $2)' USING to_member_id, currency;
	END IF;
	EXECUTE 'SELECT * FROM loyalty.post_transfer_out($1, $2, $3, $4, $5, $6, $7, $8)' INTO sent
	USING from_member_id, to_member_id, points, currency, nullif(effective_at, statement_timestamp()), reference, idempotency_key, details;
	IF NOT sent.replayed THEN
		EXECUTE 'SELECT FROM loyalty.post_transfer_in($1, $2, $3, $4, $5, $6, $7, $8, $9)'
		USING to_member_id, from_member_id, points, currency, sent.happened_at, effective_at = statement_timestamp(), reference, details, sent.lots;
	END IF;
	result.entry_id := sent.entry_id;
	result.available := sent.available;
	result.replayed := sent.replayed;
	RETURN result;
END
$$;
COMMENT ON FUNCTION transfer_apart(bigint, bigint, numeric, text, timestamptz, text, text, jsonb) IS
'What transfer() does where tables are spread: its halves, each on the machine of its member, with wallets locked ascending. Part of transfer().';
